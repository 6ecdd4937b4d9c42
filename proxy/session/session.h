/*
 * A session: one client connection. Small while idle: the frame that is being
 * received, the name and the like exist only while there are any.
 */
#ifndef KW_PROXY_SESSION_H
#define KW_PROXY_SESSION_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/buffer.h"

struct kw_worker;
struct kw_request;
struct kw_intake;
struct kw_str;

/* What few clients have: a name, something watched, subscriptions. Allocated when the first of these comes. */
struct kw_session_rare {
    char *name;                      /* own */
    char *lib_name;                  /* own */
    char *lib_version;               /* own */
    struct kw_link *watch_link;      /* borrowed for as long as something is watched there; see watch.h */
    int watch_slot;                  /* of what is watched; -1: nothing */
    bool watch_lost;                 /* the node that watched is gone */
    struct kw_subscriber *sub;       /* own; see pubsub.h */
    struct kw_tracker *tracker;      /* own; see tracking.h */
    struct kw_session *monitor_next; /* of the worker's list; see monitor.h */
    struct kw_outq pushes;           /* wait for the end of the reply that is leaving */
};

struct kw_session {
    uv_tcp_t tcp; /* must be first: the handle is the session */
    struct kw_worker *worker;
    struct kw_session *prev, *next;
    struct kw_session *dirty_next;
    struct kw_intake *intake;           /* own; NULL between frames */
    struct kw_session_rare *rare;       /* own; NULL mostly */
    struct kw_transaction *transaction; /* own; NULL outside of MULTI */
    struct kw_outq out;
    struct kw_write *writing;                     /* own; what the kernel did not take at once */
    struct kw_request *queue_head, *queue_tail;   /* replies to come, in order */
    struct kw_request *active_head, *active_tail; /* on their way to nodes */
    uint64_t id;
    uint32_t irregular_at;      /* place in worker->irregular, from 1; 0: nothing is parked */
    uint32_t pass_due_ms;       /* of the next look at what is parked, if nothing else brings one */
    uint32_t route_seq;         /* worker's, when nothing was in flight */
    size_t held_bytes;          /* replies that wait for their turn */
    uint32_t inflight;          /* requests in queue */
    uint32_t parked;            /* of the active ones */
    uint32_t multikey;          /* of the active ones: those that hold back what follows in their slot */
    uint32_t writes;            /* of the active ones: what a message published behind them may tell of */
    uint32_t reply_avg;         /* bytes, moving average: how many may be in flight */
    uint32_t created_s, last_s; /* monotonic seconds */
    uint32_t wrote_s;           /* when the client last took bytes */
    uint32_t over_soft_s;       /* since when the output is over the soft limit; 0: it is not */
    uint16_t last_command;      /* id + 1 */
    uint16_t pass_pause_ms;     /* doubles while nothing can be sent */
    bool authenticated : 1;
    bool dirty : 1;
    bool needs_pass : 1;
    bool paused : 1;       /* not reading */
    bool hold : 1;         /* an exclusive request runs: no new ones */
    bool wait_idle : 1;    /* the next command waits until everything before it has been answered */
    bool wait_unpause : 1; /* it waits for the end of CLIENT PAUSE */
    bool queued_write : 1; /* the transaction has a command that may write */
    bool resp3 : 1;
    bool subscribed : 1; /* to a channel or a pattern */
    bool monitor : 1;
    bool tracking : 1;
    bool cluster_aware : 1; /* has asked for the cluster: see local/cluster.c */
    bool closing : 1;
    bool close_after_reply : 1;
    bool ended : 1; /* the client has sent all it will */
    bool no_evict : 1;
    bool reply_off : 1;       /* CLIENT REPLY OFF */
    bool reply_skip : 1;      /* the command being looked at is not answered */
    bool reply_skip_next : 1; /* CLIENT REPLY SKIP */
    bool stalls_link : 1;     /* a link waits for this client to read */
    bool intake_due : 1;      /* bytes that waited may be looked at now */
};

/* Takes over a connected socket. Worker's thread. */
void kw_session_accept(struct kw_worker *worker, int fd);

/* Closes now: replies that have not left are dropped. Safe to call twice. */
void kw_session_close(struct kw_session *session);
/* Closes as soon as what is in the queue has left. */
void kw_session_close_after_reply(struct kw_session *session);

/* Has something to write: it leaves at the end of the loop turn. */
void kw_session_mark_dirty(struct kw_session *session);
void kw_session_flush_all(struct kw_worker *worker);
/* Writes where much waits, without an end to the turn: large values leave while the processor's caches hold them. */
void kw_session_flush_large(struct kw_worker *worker);

/* Bytes that wait for this client to read. */
size_t kw_session_output_bytes(const struct kw_session *session);

/* True while no further requests should be taken from it. */
bool kw_session_full(const struct kw_session *session);
/* Goes on reading and parsing when it stood still and may go on. */
void kw_session_resume(struct kw_session *session);

/* Limits, timeouts; called about ten times a second. */
void kw_session_tick(struct kw_session *session);

/* The client's address and the one that it has connected to, as ip:port. */
void kw_session_peer(const struct kw_session *session, char *out, size_t len);
void kw_session_local(const struct kw_session *session, char *out, size_t len);
/* ip:port, or ?:0 for an address of another kind. */
void kw_session_print_address(const struct sockaddr *addr, char *out, size_t len);
struct kw_session_rare *kw_session_rare(struct kw_session *session);
/* The client has closed the connection, told yet or not. Asks the kernel: not for the data path. */
bool kw_session_has_left(const struct kw_session *session);

/* Sends what the client has not asked for, between two replies. The bytes of `frame` are moved. */
void kw_session_push(struct kw_session *session, struct kw_outq *frame);
/* The same for a caller who writes the frame himself, whole, to the end of this queue. */
struct kw_outq *kw_session_push_queue(struct kw_session *session);
/* More is unread than the hard limit of its class allows: it is to be closed. */
bool kw_session_over_limit(const struct kw_session *session);
/* 2 or 3. */
static inline int kw_session_resp(const struct kw_session *session) {
    return session->resp3 ? 3 : 2;
}

/* intake.c: bytes from the client become requests. */
void kw_intake_bytes(struct kw_session *session, struct kw_chunk *chunk, size_t off, size_t len);
void kw_intake_resume(struct kw_session *session);
void kw_intake_free(struct kw_session *session);
bool kw_intake_waiting(const struct kw_session *session);
size_t kw_intake_bytes_held(const struct kw_session *session);

#endif
