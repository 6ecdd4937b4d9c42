/*
 * Links to nodes, of one worker: for each node a few pipelined ones shared by
 * all its sessions, some for reads from replicas, and private ones for what
 * holds a connection. A link is used from the moment it is made: what is queued
 * leaves when it is connected.
 */
#ifndef KW_PROXY_UPSTREAM_H
#define KW_PROXY_UPSTREAM_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buffer.h"
#include "base/resp_reply.h"
#include "proxy/request/request.h"
#include "proxy/upstream/script_load.h"

struct kw_worker;

/* Reply shapes differ between RESP2 and RESP3, so sessions of either have links of their own. */
enum kw_link_kind {
    KW_LINK_SHARED,
    KW_LINK_REPLICA,
    KW_LINK_SHARED3,
    KW_LINK_REPLICA3,
    KW_LINK_SHARED_KINDS,
    KW_LINK_PRIVATE = KW_LINK_SHARED_KINDS, /* one user at a time */
    KW_LINK_PUSH,                           /* RESP3; for what the node sends unasked: messages, invalidations */
};

enum { KW_LINKS_MAX = 16 }; /* shared ones a node and kind */

struct kw_node {
    struct kw_node *next;
    struct kw_worker *worker;
    char *host; /* own */
    unsigned port;
    uint16_t index;                                            /* in worker->node_table */
    char *addr;                                                /* own; host:port */
    struct kw_link *links[KW_LINK_SHARED_KINDS][KW_LINKS_MAX]; /* own; by kind, packed */
    unsigned link_count[KW_LINK_SHARED_KINDS];
    unsigned link_turn;
    struct kw_link *idle_private; /* own; warm pool */
    unsigned idle_private_count;
    struct kw_link *all; /* every link that is not closed */
    bool in_topology;
    bool serves_slots;         /* a primary that owns slots */
    struct kw_node **replicas; /* own array of borrowed nodes */
    unsigned replica_count;
    bool failed;       /* the cluster says so */
    unsigned failures; /* connects in a row */
    uint64_t connect_not_before_us;
    uint64_t rtt_us; /* moving average, for read-from nearest */
    char last_error[96];
};

/* Who has a link to itself. Both may be NULL. */
struct kw_link_owner {
    /* A whole frame that nobody asked for; it is cleared when this returns. */
    void (*pushed)(struct kw_link *link, struct kw_outq *frame);
    /* An error that answers none of the requests in flight. */
    void (*refused)(struct kw_link *link, const char *text, size_t len);
    /* The node has answered what was flagged KW_REQF_READY, or told the link's number (KW_LINK_PUSH). */
    void (*ready)(struct kw_link *link);
    /* The link is closed; it will be freed at the end of the turn. */
    void (*lost)(struct kw_link *link);
};

struct kw_link {
    uv_tcp_t tcp; /* must be first */
    struct kw_worker *worker;
    struct kw_node *node;        /* borrowed; NULL when the node is gone */
    struct kw_link *prev, *next; /* node->all */
    struct kw_link *idle_next;
    struct kw_link *dirty_next;
    enum kw_link_kind kind;
    struct kw_outq out;
    struct kw_write *writing;
    uv_connect_t connect_req;
    struct kw_request *head, *tail; /* in flight, in order of their replies */
    struct kw_request *streaming;   /* borrowed; its bytes are still coming from the client */
    uint64_t enqueued;              /* stream offsets, bytes */
    uint64_t written;
    struct kw_reply_scan scan;
    const struct kw_link_owner *owner; /* NULL: nobody's in particular */
    void *owner_ref;                   /* borrowed; the owner's own */
    struct kw_script_set scripts;      /* that the node has been given by this link */
    struct kw_outq push;               /* the pushed frame being received */
    uint64_t node_client_id;           /* of this connection at its node; 0: not known (yet) */
    uint64_t connect_deadline_us;
    uint64_t last_read_us;
    uint64_t resumed_us; /* read again since then, after a pause; 0 if it was never paused */
    uint64_t idle_since_us;
    uint64_t blocked_since_us; /* the kernel takes no more; 0: it does */
    uint32_t inflight;
    uint32_t repeated; /* in-flight requests that were parked before: older than their place says */
    uint8_t resp;      /* protocol in which the node answers what is sent next */
    bool connected;
    bool closing;
    bool retiring;  /* closed when nothing is in flight any more */
    bool unwanted;  /* closed because its client left: says nothing of the node */
    bool resolving; /* a name look-up holds it */
    bool dirty;
    bool paused; /* not read: its head's client is slow */
    bool held;   /* a script at its head runs and runs: the node reads nothing more from this connection */
};

/* Finds the node, or makes it. */
struct kw_node *kw_node_get(struct kw_worker *worker, const char *host, unsigned port);
struct kw_node *kw_node_find(struct kw_worker *worker, const char *addr, size_t len);
/* Frees nodes that left the topology and have no link. */
void kw_node_sweep(struct kw_worker *worker);
void kw_node_close_links(struct kw_node *node, const char *why);

/*
 * A shared link to queue on, or NULL while the node cannot be reached
 * (node->last_error says why).
 */
struct kw_link *kw_link_pick(struct kw_node *node, enum kw_link_kind kind, uint64_t session_id);
/* A private link, warm or new, that speaks `resp`; the caller is its only user until kw_link_put_private. */
struct kw_link *kw_link_get_private(struct kw_node *node, int resp);
void kw_link_put_private(struct kw_link *link);
/* A new link for pushes; it lives until it is closed. NULL while the node cannot be reached. */
struct kw_link *kw_link_new_push(struct kw_node *node, const struct kw_link_owner *owner, void *owner_ref);

/*
 * Queues `bytes` (small; copied once, the request keeps a reference to the copy) or, when NULL, the
 * request's own frame; the link remembers it for the reply. 0 or KW_ENOMEM (nothing queued).
 */
int kw_link_send(struct kw_link *link, struct kw_request *req, const char *bytes, size_t len);
/* Queues a command of ours in front of what follows; its reply is swallowed. */
int kw_link_send_internal(struct kw_link *link, const char *bytes, size_t len, unsigned flags, struct kw_request **out);
/* Queues bytes whose replies, if any, come as pushes. 0 or KW_ENOMEM. */
int kw_link_send_unanswered(struct kw_link *link, const char *bytes, size_t len);
/* The next reply is this request's, whose bytes follow by kw_link_send_bytes. */
void kw_link_await(struct kw_link *link, struct kw_request *req);
/* For a streamed request: more of its bytes. */
int kw_link_send_bytes(struct kw_link *link, struct kw_chunk *chunk, size_t off, size_t len);

void kw_link_mark_dirty(struct kw_link *link);
void kw_link_flush_all(struct kw_worker *worker);

/* Closes; everything in flight is settled (link_lost). */
void kw_link_close(struct kw_link *link, const char *why);
/* The same for a link whose only client has gone: what is in flight is nobody's any more. */
void kw_link_close_later(struct kw_link *link);

/* Closes as soon as everything in flight is answered. */
void kw_link_retire(struct kw_link *link);

/* Stops reading while the client of its head is slow and nobody else waits behind it; goes on later. */
void kw_link_check_pause(struct kw_link *link);
void kw_upstream_recheck_paused(struct kw_worker *worker);

/* Deadlines of connects and requests; called about ten times a second. */
void kw_upstream_tick(struct kw_worker *worker);
void kw_upstream_close_all(struct kw_worker *worker);

/* link_reply.c: bytes from a node. False: the node does not speak RESP. */
bool kw_link_reply_bytes(struct kw_link *link, struct kw_chunk *chunk, size_t len);
/* link_reply.c: the link is gone; settles every request in flight honestly. */
void kw_link_settle(struct kw_link *link, const char *why);

#endif
