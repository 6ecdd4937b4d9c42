/*
 * Requests: pool, replies, and the order in which they leave. The happy path of
 * a forwarded command does not come through kw_request_complete with a reply of
 * its own: link_reply.c has put the bytes straight into the session's output.
 */
#include "proxy/request/request.h"

#include <stdarg.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/group.h"
#include "proxy/session/session.h"
#include "proxy/slowlog.h"
#include "proxy/stats.h"
#include "proxy/tracking/tracking.h"
#include "proxy/worker.h"

enum {
    FREE_REQUESTS_MAX = 16384,
    FREE_REQUESTS_KEPT = 1024, /* by a trim */
    STREAM_OUT_FROM = 64 * 1024,
    PARK_CHUNK = 16 * 1024,
    PARK_REPLY_MAX = 1024,
    COPY_OUT_MAX = 1024,
};

struct kw_request *kw_request_new(struct kw_worker *worker) {
    struct kw_request *req = worker->free_requests;
    if (KW_LIKELY(req != NULL)) {
        worker->free_requests = req->queue_next;
        if (--worker->free_request_count < worker->free_requests_low) {
            worker->free_requests_low = worker->free_request_count;
        }
        kw_request_prefetch(worker->free_requests);
        memset(req, 0, sizeof(*req));
    } else {
        req = kw_calloc(1, sizeof(*req));
    }
    req->slot = -1;
    return req;
}

void kw_request_trim(struct kw_worker *worker) {
    size_t unneeded =
        worker->free_requests_low > FREE_REQUESTS_KEPT ? worker->free_requests_low - FREE_REQUESTS_KEPT : 0;
    for (; unneeded > 0; unneeded--) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        worker->free_request_count--;
        kw_free(req);
    }
    worker->free_requests_low = worker->free_request_count;
}

void kw_frame_clear(struct kw_worker *worker, struct kw_frame *frame) {
    if (frame->chunk) kw_chunk_unref(frame->chunk);
    kw_outq_clear(&frame->rest, worker->pool);
    *frame = (struct kw_frame){0};
}

void kw_request_free(struct kw_worker *worker, struct kw_request *req) {
    kw_frame_clear(worker, &req->frame);
    kw_outq_clear(&req->reply, worker->pool);
    if (req->group) kw_group_free(worker, req->group);
    if (worker->free_request_count >= FREE_REQUESTS_MAX) {
        kw_free(req);
        return;
    }
    req->queue_next = worker->free_requests;
    worker->free_requests = req;
    worker->free_request_count++;
}

void kw_request_move(struct kw_request *req, enum kw_request_state state) {
#define BIT(name) (1U << KW_REQ_##name)
    static const unsigned may_follow[] = {
#define X(name, next) next,
        KW_REQUEST_STATES(X)
#undef X
    };
    KW_ASSERT(may_follow[req->state] & (1U << state));
    req->state = (uint8_t)state;
}

/* Copies small bytes to where those of many requests lie side by side. Borrowed from *chunk; NULL: no memory. */
static char *park(struct kw_worker *worker, const void *bytes, size_t len, struct kw_chunk **chunk) {
    /* The parking queue only gives out room: nothing is read from it in order. */
    char *copy = kw_outq_copy_try(&worker->park, worker->pool, bytes, len, PARK_CHUNK);
    if (!copy) return NULL;
    *chunk = worker->park.tail->chunk;
    while (KW_UNLIKELY(worker->park.head != worker->park.tail)) {
        kw_outq_consume(&worker->park, worker->pool, worker->park.head->len);
    }
    return copy;
}

int kw_request_keep_copy(struct kw_worker *worker, struct kw_request *req, const void *bytes, size_t len) {
    struct kw_chunk *chunk;
    char *copy = park(worker, bytes, len, &chunk);
    if (!copy) return KW_ENOMEM;
    req->frame.chunk = kw_chunk_ref(chunk);
    req->frame.off = (size_t)(copy - chunk->data);
    req->frame.len = len;
    return 0;
}

int kw_request_keep_reply(struct kw_worker *worker, struct kw_request *req, struct kw_chunk *chunk, size_t off,
                          size_t len) {
    /* A reply that is early would otherwise take a chunk of its own for its few bytes. */
    if (len < PARK_REPLY_MAX && !req->reply.head) {
        const char *copy = park(worker, chunk->data + off, len, &chunk);
        if (!copy) return KW_ENOMEM;
        return kw_outq_ref_try(&req->reply, worker->pool, chunk, (size_t)(copy - chunk->data), len);
    }
    return kw_outq_add_try(&req->reply, worker->pool, chunk, off, len);
}

void kw_request_reply_text(struct kw_worker *worker, struct kw_request *req, const char *bytes, size_t len) {
    if (req->session) req->session->held_bytes -= req->reply.bytes;
    kw_outq_clear(&req->reply, worker->pool);
    char *copy = kw_outq_copy_try(&req->reply, worker->pool, bytes, len, len);
    KW_ASSERT(copy || len > 65536); /* text of ours is small; the heap has room for that or the process ends */
    req->reply_type = bytes[0];
    if (req->session) req->session->held_bytes += req->reply.bytes;
}

void kw_request_reply_error(struct kw_worker *worker, struct kw_request *req, const char *fmt, ...) {
    struct kw_str text = {0};
    struct kw_str line = {0};
    va_list args;
    va_start(args, fmt);
    char plain[512];
    vsnprintf(plain, sizeof(plain), fmt, args);
    va_end(args);
    kw_str_append_text(&text, plain);
    kw_str_resp_error(&line, "%s", text.data);
    kw_request_reply_text(worker, req, line.data, line.len);
    kw_str_deinit(&text);
    kw_str_deinit(&line);
}

void kw_request_enqueue(struct kw_session *session, struct kw_request *req) {
    req->session = session;
    if (KW_UNLIKELY(session->reply_off || session->reply_skip)) req->flags |= KW_REQF_SILENT;
    if (KW_UNLIKELY(session->resp3)) req->flags |= KW_REQF_RESP3;
    if (KW_UNLIKELY(session->tracking)) {
        static const uint32_t caching_flags[] = {0, KW_REQF_CACHING_YES, KW_REQF_CACHING_NO};
        req->flags |= caching_flags[kw_tracking_caching_now(session)];
    }
    if (session->queue_tail) {
        session->queue_tail->queue_next = req;
    } else {
        session->queue_head = req;
    }
    session->queue_tail = req;
    session->inflight++;
}

static void record(struct kw_worker *worker, struct kw_request *req) {
    if (!req->cmd || (req->flags & KW_REQF_LOCAL)) return;
    uint64_t total_us = kw_worker_now_us(worker) - req->start_us;
    kw_stats_command(&worker->stats, req->cmd, total_us, req->reply_type == '-');
    if (KW_UNLIKELY(req->reply_type == '-')) {
        char head[64];
        size_t len = kw_outq_peek(&req->reply, head, sizeof(head));
        if (len) kw_stats_error(&worker->stats, head, len);
    }
    kw_slowlog_consider(worker, req, total_us);
}

void kw_request_complete(struct kw_worker *worker, struct kw_request *req) {
    kw_request_move(req, KW_REQ_DONE);
    if (req->parent) {
        kw_group_part_done(worker, req);
        return;
    }
    record(worker, req);
    struct kw_session *session = req->session;
    if (!session) {
        kw_request_free(worker, req);
        return;
    }
    if (session->queue_head == req) kw_request_emit_ready(session);
}

void kw_request_give_up(struct kw_request *req) {
    kw_dispatch_forget(req);
    kw_request_move(req, KW_REQ_DONE);
}

/* How many bytes a reply of this client has, on average: bounds what may be in flight for it. */
static void learn_reply_size(struct kw_session *session, uint32_t bytes) {
    int64_t avg = session->reply_avg;
    avg += ((int64_t)bytes - avg) / 8;
    session->reply_avg = (uint32_t)avg;
}

/* A small reply joins those before it in one piece: fewer pieces to write. */
static void take_reply(struct kw_session *session, struct kw_request *req) {
    const struct kw_seg *seg = req->reply.head;
    struct kw_pool *pool = session->worker->pool;
    bool small = seg && seg == req->reply.tail && seg->len <= COPY_OUT_MAX && session->out.tail;
    if (small && kw_outq_add_try(&session->out, pool, seg->chunk, seg->off, seg->len) == 0) {
        kw_outq_clear(&req->reply, pool);
    } else {
        kw_outq_splice(&session->out, &req->reply);
    }
}

static void leave(struct kw_session *session, struct kw_request *req) {
    session->queue_head = req->queue_next;
    if (!session->queue_head) session->queue_tail = NULL;
    session->inflight--;
    session->held_bytes -= req->reply.bytes;
    learn_reply_size(session, req->reply_bytes + (uint32_t)req->reply.bytes);
    if (KW_UNLIKELY(req->flags & KW_REQF_SILENT)) kw_outq_clear(&req->reply, session->worker->pool);
    take_reply(session, req);
    if (KW_UNLIKELY(session->rare != NULL)) kw_outq_splice(&session->out, &session->rare->pushes);
    if (req->flags & KW_REQF_CLOSE) session->close_after_reply = true;
    if (req->flags & KW_REQF_EXCLUSIVE) session->hold = false;
    kw_request_free(session->worker, req);
    if (KW_LIKELY(session->queue_head)) return;
    session->wait_idle = false;
}

void kw_request_emit_ready(struct kw_session *session) {
    struct kw_request *req = session->queue_head;
    while (req && req->state == KW_REQ_DONE) {
        leave(session, req);
        req = session->queue_head;
    }
    /* A large reply at the head flows on without being assembled. */
    if (req && req->state == KW_REQ_INFLIGHT && req->reply.bytes >= STREAM_OUT_FROM && !req->group &&
        req->reply_type != '-') {
        req->flags |= KW_REQF_REPLYING;
        req->reply_bytes += (uint32_t)req->reply.bytes;
        session->held_bytes -= req->reply.bytes;
        if (req->flags & KW_REQF_SILENT) kw_outq_clear(&req->reply, session->worker->pool);
        kw_outq_splice(&session->out, &req->reply);
    }
    kw_session_mark_dirty(session);
}
