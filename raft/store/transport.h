/*
 * Our own transport between metadata nodes, in the shape that libraft's uv
 * backend wants: resolves names without blocking, proves on both sides that
 * the peer knows the secret and is who it says (handshake.h), bounds what a stranger can send (a few hundred bytes, for
 * a time, on a few connections), and then hands the bare socket to libraft. TCP_NODELAY, TCP_USER_TIMEOUT 2 s,
 * keepalive.
 *
 * What libraft reads from the socket afterwards comes from a peer that knows the secret, and still passes a filter that
 * checks lengths before libraft allocates by them (transport_filter.h).
 *
 * The same listener takes the crash-hint connections (hint.h). On the loop's thread. Nothing calls back inline.
 */
#ifndef KW_RAFT_STORE_TRANSPORT_H
#define KW_RAFT_STORE_TRANSPORT_H

#include <raft.h>
#include <raft/uv.h>
#include <stdint.h>
#include <uv.h>

#include "raft/store/handshake.h"

struct kw_meta_transport;

enum { KW_META_SECRET_MIN = 8 }; /* bytes */

struct kw_meta_transport_options {
    const char *bind; /* addresses to listen on, blank separated, "*" is all; copied */
    unsigned raft_port;
    const char *secret;            /* copied; "" is allowed for loopback addresses only (the caller checks) */
    const char *cluster;           /* name of the cluster, 1 to 64 bytes: nodes of another are refused; copied */
    unsigned handshake_timeout_ms; /* from connecting to having proved itself; 0: 2000 */
    unsigned pending_max;          /* connections that have not proved themselves; 0: 64. One more ends the oldest */
    /*
     * The crash-hint connection that we dialled: `up` when the peer has proved itself, then once down, when its process
     * or the way to it has ended. Not called for a peer that kw_meta_transport_peers left out, nor while closing. May
     * be NULL.
     */
    void (*on_peer)(void *ctx, uint64_t id, bool up);
    /* The term that this node is in, for a peer that asks (kw_meta_transport_ask). NULL: peers get no answer. */
    uint64_t (*term)(void *ctx);
    /* A peer's answer: it was in `term` after question `number` was put. */
    void (*on_term)(void *ctx, uint64_t id, uint64_t number, uint64_t term);
    /* Of this node's data folder; and what it remembers of those of the others, with `ctx` (handshake.h; may be NULL).
     */
    uint64_t incarnation;
    enum kw_handshake_reason (*judge)(void *ctx, uint64_t id, uint64_t incarnation, bool proved);
    /* Node `by`, which has proved itself, remembers another incarnation of this node. Each time; may be NULL. */
    void (*on_disowned)(void *ctx, uint64_t by);
    void *ctx;
};

/*
 * Makes a transport for raft_uv_init; binds nothing yet. 0; KW_EINVALID: a cluster's name that is empty or too long, a
 * secret that is too short, no port.
 */
int kw_meta_transport_new(struct kw_meta_transport **out, uv_loop_t *loop,
                          const struct kw_meta_transport_options *options);
/* Borrowed until kw_meta_transport_free. */
struct raft_uv_transport *kw_meta_transport_raft(struct kw_meta_transport *transport);
/* After libraft has closed the transport (raft_close has called back), or before raft_init. NULL is allowed. */
void kw_meta_transport_free(struct kw_meta_transport *transport);

/*
 * Keeps a hint connection open to each of these peers from now on (a list anew each time); own id excluded. After
 * raft_init, which says who we are. A peer whose address changed is dialled anew.
 */
void kw_meta_transport_peers(struct kw_meta_transport *transport, const struct raft_configuration *conf);

/*
 * Asks each peer whose crash-hint connection is up for its term; each answers once, or its connection ends (on_peer).
 * `number` grows with every call. Returns how many were asked.
 */
unsigned kw_meta_transport_ask(struct kw_meta_transport *transport, uint64_t number);

/* Of connections that came in, for INFO. */
struct kw_meta_transport_facts {
    uint64_t accepted;
    uint64_t refused_secret;
    uint64_t refused_protocol; /* garbage, another version, ended or was too slow before it proved itself */
    uint64_t refused_busy;     /* dropped, as the oldest of too many */
    uint64_t refused_cluster;  /* another cluster, looked for a node of another id, or either folder is not the known */
};
void kw_meta_transport_facts(const struct kw_meta_transport *transport, struct kw_meta_transport_facts *out);

#endif
