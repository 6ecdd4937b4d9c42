/*
 * The hash of the replicated state: of keys (which page a record lies on) and
 * of pages, entries and maps (has a byte changed?). It is part of the formats
 * on disk: it must never change. It has no secret, so that every member comes
 * to the same pages; whoever may write can make keys collide, and slows only
 * the page on which they lie. Not against forgers. Pure; any thread.
 */
#ifndef KW_RAFT_STATE_HASH_H
#define KW_RAFT_STATE_HASH_H

#include <stddef.h>
#include <stdint.h>

uint64_t kw_hash64(const void *bytes, size_t len, uint64_t seed);

#endif
