/*
 * What was answered to the last requests that carried an id, so that one that
 * is repeated gets the first answer again and is not done twice. The oldest
 * goes when a new one comes. Part of the state: the same on every member, kept
 * in pages (pages.h) for the snapshot. One thread.
 */
#ifndef KW_RAFT_STATE_REQUESTS_H
#define KW_RAFT_STATE_REQUESTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/state/pages.h"
#include "raft/state/record.h"
#include "raft/state/state.h"

enum { KW_REQUESTS_MAX = 65536 };

struct kw_requests {
    struct kw_pages pages; /* rows in a ring */
    uint64_t added;        /* ever; the next goes to row added % KW_REQUESTS_MAX */
    uint32_t *index;       /* own; open addressing: row + 1, 0 free */
    size_t index_room;     /* a power of two */
};

void kw_requests_deinit(struct kw_requests *requests);
size_t kw_requests_bytes(const struct kw_requests *requests);
size_t kw_requests_count(const struct kw_requests *requests);

/* The answer to `id`; false when there is none any more, or none yet. */
bool kw_requests_find(const struct kw_requests *requests, const unsigned char *id, struct kw_meta_result *result);
/* `id` must not be there. */
void kw_requests_add(struct kw_requests *requests, const unsigned char *id, const struct kw_meta_result *result);
/* The `nth` oldest that is still there. */
void kw_requests_row(const struct kw_requests *requests, size_t nth, const unsigned char **id,
                     struct kw_meta_result *result);

/* How many pages `added` requests fill. */
size_t kw_requests_pages(uint64_t added);
/* Takes over what was read from a snapshot (pages and `added` are set). False: not a possible content. */
bool kw_requests_adopt(struct kw_requests *requests);

#endif
