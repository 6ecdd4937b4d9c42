/*
 * The crash hint: a connection to each peer. When the peer's process ends, for whatever reason, its kernel closes the
 * connection, and that is known here a network latency later, long before heartbeats have been missed. A frozen process
 * or a lost machine is not told by it any sooner than by those.
 *
 * All that passes on it is a leader's question and the answer: a number of eight bytes, and back that number and the
 * term that the peer is in, eight bytes each, the lowest first. A term that is still the leader's own, said after the
 * question was put, is a promise kept until then: no other leader has had that peer's vote. A majority of such answers
 * confirms a leader without a disk.
 *
 * One that ended, or never came to be, is dialled again every 150 ms. On the loop's thread; part of the transport.
 */
#ifndef KW_RAFT_STORE_HINT_H
#define KW_RAFT_STORE_HINT_H

#include <stdint.h>
#include <uv.h>

struct kw_hint;
struct kw_heard;
struct kw_meta_transport;
struct raft_configuration;

struct kw_hints {
    struct kw_hint *dialled; /* own: one a peer */
    struct kw_heard *heard;  /* own: what peers have dialled, one a peer */
};

/* The peers from now on. */
void kw_hints_peers(struct kw_meta_transport *transport, const struct raft_configuration *conf);
/* A peer's connection, which is ours from here on; an older one of the same peer is closed. */
void kw_hints_take(struct kw_meta_transport *transport, uint64_t id, uv_tcp_t *tcp);
/* Puts the question to all that are up; returns how many. */
unsigned kw_hints_ask(struct kw_meta_transport *transport, uint64_t number);
void kw_hints_close(struct kw_meta_transport *transport);

#endif
