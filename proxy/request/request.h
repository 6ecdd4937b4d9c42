/*
 * A request: one command of a client on its way to a node and back, or one
 * part of a split command. It belongs to one worker.
 *
 *   NEW -> PARKED -> INFLIGHT -> DONE      (PARKED <-> INFLIGHT on redirects)
 *
 * A client's top-level requests hang in session->queue in the order in which
 * their replies must leave; everything that goes to a node hangs in
 * session->active in order of arrival, which is what order per slot is judged by.
 */
#ifndef KW_PROXY_REQUEST_H
#define KW_PROXY_REQUEST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/base.h"
#include "base/buffer.h"
#include "cluster/command.h"

struct kw_worker;
struct kw_session;
struct kw_link;
struct kw_node;
struct kw_group;

/*                 name      may be followed by */
#define KW_REQUEST_STATES(X)                                                                                           \
    X(NEW, BIT(PARKED) | BIT(DONE))                                                                                    \
    X(PARKED, BIT(INFLIGHT) | BIT(DONE))                                                                               \
    X(INFLIGHT, BIT(PARKED) | BIT(DONE))                                                                               \
    X(DONE, 0)

enum kw_request_state {
#define X(name, next) KW_REQ_##name,
    KW_REQUEST_STATES(X)
#undef X
};

enum kw_request_flag {
    KW_REQF_READONLY = 1 << 0,     /* may be repeated: a read */
    KW_REQF_INTERNAL = 1 << 1,     /* ours (handshake, ASKING): its reply is swallowed */
    KW_REQF_EXCLUSIVE = 1 << 2,    /* runs alone, on a link of its own */
    KW_REQF_STREAMED = 1 << 3,     /* its bytes are not kept: it cannot be repeated */
    KW_REQF_REPLYING = 1 << 4,     /* part of its reply has left already */
    KW_REQF_CLOSE = 1 << 5,        /* the session closes behind its reply */
    KW_REQF_ANY_SLOT = 1 << 6,     /* concerns all slots: nothing of the session overtakes it */
    KW_REQF_SCRIPT = 1 << 7,       /* may answer any error text */
    KW_REQF_PROBE = 1 << 8,        /* internal: answers whether the slot is here */
    KW_REQF_ERROR = 1 << 9,        /* the reply is an error */
    KW_REQF_LOCAL = 1 << 10,       /* answered by the proxy */
    KW_REQF_UNBOUNDED = 1 << 11,   /* blocks as long as its client says: no request timeout */
    KW_REQF_ASYNC = 1 << 12,       /* somebody else will complete it, even when the client has gone */
    KW_REQF_MULTIKEY = 1 << 13,    /* several keys of one slot: may be refused while a later one would run */
    KW_REQF_SILENT = 1 << 14,      /* CLIENT REPLY OFF or SKIP: the reply is dropped */
    KW_REQF_QUEUE_ERROR = 1 << 15, /* a node refused a queued command: `reply` holds its words */
    KW_REQF_RESP3 = 1 << 16,       /* the node is to answer in RESP3 */
    KW_REQF_CLIENT_ID = 1 << 19,   /* internal: answers what the link's connection is called at its node */
    KW_REQF_READY = 1 << 20,       /* internal: its answer is told to the link's owner */
    KW_REQF_CACHING_YES = 1 << 21, /* CLIENT CACHING goes in front of it */
    KW_REQF_CACHING_NO = 1 << 22,
    KW_REQF_EVALSHA = 1 << 23, /* it calls scripts by digest */
    KW_REQF_ORPHAN = 1 << 24,  /* its client left while it blocked: see orphan.h */
    KW_REQF_WATCH = 1 << 17,   /* WATCH: its link stays the session's */
    KW_REQF_PUBLISH = 1 << 18, /* its reply counts receivers: see publish.h */
};

/* The bytes of a command: one contiguous piece, or a queue when large payloads are among them. */
struct kw_frame {
    struct kw_chunk *chunk; /* one reference; NULL when `rest` has everything or nothing is kept */
    size_t off;
    size_t len;
    struct kw_outq rest;
};

struct kw_request {
    struct kw_request *queue_next;
    struct kw_request *active_prev, *active_next;
    struct kw_request *link_next;
    struct kw_session *session; /* borrowed; NULL once the client is gone */
    struct kw_request *parent;  /* borrowed; of a part */
    struct kw_group *group;     /* own; of a parent */
    struct kw_link *link;       /* borrowed; where it is in flight */
    struct kw_node *target;     /* borrowed; a node that a redirect or a broadcast names, else NULL */
    const struct kw_command *cmd;
    struct kw_frame frame;
    struct kw_outq reply;
    uint64_t start_us; /* parsed */
    uint64_t sent_us;  /* handed to the link */
    uint64_t retry_us; /* PARKED: not before */
    uint64_t link_end; /* the link's stream offset behind its last byte */
    uint32_t reply_bytes;
    uint32_t part_index;
    uint32_t skip_total; /* replies before the one that counts: MULTI and what was queued */
    uint32_t skip;       /* of these still to come */
    uint32_t flags;
    uint32_t moment; /* with KW_REQF_PUBLISH: see topics.h; of an EVALSHA: see scripts.h */
    int16_t slot;    /* -1: any primary */
    uint8_t state;
    uint8_t attempts;
    bool ask;            /* to `target` with ASKING in front */
    bool overtaken;      /* a later request of the slot ran while this one was refused */
    bool later_inflight; /* PARKED: a later one of its slot is still at a node */
    char reply_type;     /* first byte of the reply */
};

/* The protocol in which the reply is due: 2 or 3. */
static inline int kw_request_resp(const struct kw_request *req) {
    return req->flags & KW_REQF_RESP3 ? 3 : 2;
}

/* A pipeline keeps more requests than the caches do: asks for the one that is needed next. NULL is allowed. */
static inline void kw_request_prefetch(const struct kw_request *req) {
    if (!req) return;
    enum { CACHE_LINE = 64 };
    for (size_t at = 0; at < sizeof(*req); at += CACHE_LINE) __builtin_prefetch((const char *)req + at, 1);
}

/* From the worker's free list; ends the process when memory is gone. */
struct kw_request *kw_request_new(struct kw_worker *worker);
/* Gives requests that were not needed since the last call back to the heap, but for a reserve; call now and then. */
void kw_request_trim(struct kw_worker *worker);
/* Gives everything back. Must be in no list but the caller's. */
void kw_request_free(struct kw_worker *worker, struct kw_request *req);

/* Moves to `state`, checked against the table. */
void kw_request_move(struct kw_request *req, enum kw_request_state state);

/* PUBLISH or SPUBLISH: it tells of what was written before it, so it waits for that. */
static inline bool kw_request_is_message(const struct kw_request *req) {
    return req->flags & KW_REQF_PUBLISH && req->skip_total == 0;
}

/* May have changed what a later message tells of. */
static inline bool kw_request_is_write(const struct kw_request *req) {
    return !(req->flags & KW_REQF_READONLY) && !kw_request_is_message(req);
}

/* Size of the command on the wire, bytes. */
static inline size_t kw_frame_bytes(const struct kw_frame *frame) {
    return frame->len + frame->rest.bytes;
}

/* Keeps a copy of `bytes` (small) in the worker's parking chunk. 0 or KW_ENOMEM. */
int kw_request_keep_copy(struct kw_worker *worker, struct kw_request *req, const void *bytes, size_t len);
/* Adds what has come of a reply that must wait: small ones are packed together, large ones kept by reference. */
int kw_request_keep_reply(struct kw_worker *worker, struct kw_request *req, struct kw_chunk *chunk, size_t off,
                          size_t len);
void kw_frame_clear(struct kw_worker *worker, struct kw_frame *frame);

/* The reply text replaces what was there. */
void kw_request_reply_text(struct kw_worker *worker, struct kw_request *req, const char *bytes, size_t len);
void kw_request_reply_error(struct kw_worker *worker, struct kw_request *req, const char *fmt, ...) KW_PRINTF(3, 4);

/* Appends to the session's reply queue: its reply will leave in this order. */
void kw_request_enqueue(struct kw_session *session, struct kw_request *req);

/*
 * The reply is complete: merges into the parent, or leaves for the client as
 * soon as those before it have. Frees the request (then or later).
 */
void kw_request_complete(struct kw_worker *worker, struct kw_request *req);

/* No reply will come and the session is about to close, which frees it. */
void kw_request_give_up(struct kw_request *req);

/* Sends what can leave: finished requests at the head of the session's queue. */
void kw_request_emit_ready(struct kw_session *session);

#endif
