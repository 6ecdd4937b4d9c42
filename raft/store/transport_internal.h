/*
 * What the transport's files share. A connection lives in one of these, one
 * after the other: a link (it is proving itself, either side; transport_link.c), on the accepting side one of
 * those that the listener counts (transport_listen.c), on the dialling side part of a dial
 * (transport_dial.c), and then it is libraft's or a hint's (hint.c).
 *
 * Each of these objects, and each socket that is ours, is counted in `objects` until its last handle has closed; the
 * transport is closed when none is left. Sockets are allocated with raft_malloc, since libraft frees them.
 */
#ifndef KW_RAFT_STORE_TRANSPORT_INTERNAL_H
#define KW_RAFT_STORE_TRANSPORT_INTERNAL_H

#include <stdbool.h>
#include <sys/socket.h>
#include <uv.h>

#include "base/bind.h"
#include "base/log.h"
#include "raft/store/handshake.h"
#include "raft/store/hint.h"
#include "raft/store/transport.h"

enum { KW_DIAL_ADDRESSES_MAX = 8, KW_LINK_HOST_SIZE = 80 };

/* How a link ended. The first ones are counted and logged as refusals. */
enum kw_link_end {
    KW_LINK_OPEN,
    KW_LINK_PROVED,
    KW_LINK_REFUSED,  /* shake.reason says why */
    KW_LINK_LATE,     /* its time was up */
    KW_LINK_GONE,     /* the peer closed, or the network */
    KW_LINK_CROWDED,  /* too many that had not proved themselves; this was the oldest */
    KW_LINK_CANCELED, /* by us */
};

struct kw_meta_link {
    struct kw_meta_transport *transport; /* ref */
    uv_tcp_t *tcp;                       /* own, a struct kw_filtered; NULL once handed over */
    uv_timer_t deadline;
    unsigned open; /* handles not closed yet */
    enum kw_link_end end;
    bool accepted;
    char host[KW_LINK_HOST_SIZE]; /* of the peer, for people */
    struct kw_handshake shake;
    /* Runs once, from the loop, when no handle of the link is open: `tcp` is its owner's now, NULL if the link failed.
     * The link's memory is the owner's. */
    void (*ended)(struct kw_meta_link *link, uv_tcp_t *tcp);
};

/* Makes the socket and starts the clock. 0, or a libuv error: then nothing is to be ended. */
int kw_link_open(struct kw_meta_link *link, struct kw_meta_transport *transport,
                 void (*ended)(struct kw_meta_link *link, uv_tcp_t *tcp));
/* The socket is connected: shakes hands. */
void kw_link_accept(struct kw_meta_link *link);
void kw_link_dial(struct kw_meta_link *link, uint64_t id, enum kw_handshake_purpose purpose);
/* Ends it now, if nothing has. */
void kw_link_fail(struct kw_meta_link *link, enum kw_link_end end);
/* TCP_NODELAY, TCP_USER_TIMEOUT, keepalive. */
void kw_link_tune(const uv_tcp_t *tcp);

/* A connection that was accepted, until its link has ended. */
struct kw_meta_guest {
    struct kw_meta_link link;
    struct kw_meta_guest *older, *newer;
};

struct kw_meta_dial {
    struct kw_meta_link link;
    struct kw_meta_dial *prev, *next;
    struct kw_meta_transport *transport; /* ref */
    uint64_t id;
    enum kw_handshake_purpose purpose;
    struct kw_meta_address address;
    uv_getaddrinfo_t resolve;
    uv_connect_t connect;
    struct sockaddr_storage to[KW_DIAL_ADDRESSES_MAX];
    unsigned to_count, to_at;
    bool resolving, canceled;
    void (*done)(void *ctx, uv_tcp_t *tcp, bool canceled);
    void *ctx;
};

/*
 * Connects to node `id` at `address` (host:port:raftport) and shakes hands. `done` runs once, from the loop: the socket
 * is the caller's then, or NULL. NULL instead of a dial: the address makes no sense, or a resource is missing; why is
 * in the transport's errmsg.
 */
struct kw_meta_dial *kw_dial_start(struct kw_meta_transport *transport, uint64_t id, const char *address,
                                   enum kw_handshake_purpose purpose,
                                   void (*done)(void *ctx, uv_tcp_t *tcp, bool canceled), void *ctx);
void kw_dial_cancel(struct kw_meta_dial *dial); /* `done` still runs */

/* Binds what `bind` names. 0, or RAFT_IOERR with errmsg. */
int kw_listen_open(struct kw_meta_transport *transport);
void kw_listen_close(struct kw_meta_transport *transport);

struct kw_meta_transport {
    struct raft_uv_transport raft;
    uv_loop_t *loop; /* ref */
    struct kw_handshake_self self;
    char *bind, *secret; /* own */
    unsigned raft_port, handshake_timeout_ms, pending_max;
    void (*on_peer)(void *ctx, uint64_t id, bool up);
    uint64_t (*term)(void *ctx);
    void (*on_term)(void *ctx, uint64_t id, uint64_t number, uint64_t term);
    void (*on_disowned)(void *ctx, uint64_t by);
    void *ctx;

    raft_uv_accept_cb on_accept;
    raft_uv_transport_close_cb on_closed;
    uv_tcp_t listeners[KW_BIND_MAX];
    unsigned listener_count;
    struct kw_meta_guest *oldest, *newest;
    unsigned pending; /* guests that neither have proved themselves nor are being closed */
    struct kw_meta_dial *dials;
    struct kw_hints hints;
    uv_timer_t last; /* so that even a transport with nothing open closes on a later turn */
    unsigned objects;
    bool opened, closing;

    struct kw_meta_transport_facts facts;
    struct kw_log_limit refusals[KW_REASON_COUNT], lates, crowds, unreachables, accepts;
};

/* One object of the transport has gone. */
void kw_transport_gone(struct kw_meta_transport *transport);

#endif
