/*
 * The crash hint: a connection to each peer on which nothing ever passes. When
 * the peer's process ends, for whatever reason, its kernel closes the connection, and that is known here a network
 * latency later, long before heartbeats have been missed. A frozen process or a lost machine is not told by it any
 * sooner than by those.
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
void kw_hints_close(struct kw_meta_transport *transport);

#endif
