/*
 * Client connections: accept, read, write, limits, close. What the bytes mean
 * is the intake's business. Freed in the close callback; requests that are
 * still at nodes then belong to nobody, and their replies are dropped.
 */
#include "proxy/session/session.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/log.h"
#include "base/str.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/group.h"
#include "proxy/request/orphan.h"
#include "proxy/request/request.h"
#include "proxy/request/stream.h"
#include "proxy/server.h"
#include "proxy/session/intake.h"
#include "proxy/session/monitor.h"
#include "proxy/session/transaction.h"
#include "proxy/session/watch.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/link.h"
#include "proxy/upstream/upstream.h"
#include "proxy/upstream/writer.h"
#include "proxy/worker.h"

enum {
    WINDOW_BYTES = 4 * 1024 * 1024, /* replies in flight for one client, by its average */
    FIRST_REPLY_GUESS = 32 * 1024,
    OUT_HIGH = 1024 * 1024, /* unread replies: take no more requests */
    STALL_LOW = 512 * 1024,
    STALL_S = 1,
    UNPAUSE_READ_MAX = 64 * 1024,
};

static void rare_free(struct kw_session *session) {
    struct kw_session_rare *rare = session->rare;
    if (!rare) return;
    kw_outq_clear(&rare->pushes, session->worker->pool);
    kw_free(rare->name);
    kw_free(rare->lib_name);
    kw_free(rare->lib_version);
    kw_free(rare);
}

static void on_closed(uv_handle_t *handle) {
    struct kw_session *session = (struct kw_session *)handle;
    struct kw_worker *worker = session->worker;
    kw_outq_clear(&session->out, worker->pool);
    kw_write_free(session->writing);
    kw_intake_free(session);
    kw_transaction_discard(session);
    rare_free(session);
    kw_free(session);
}

static void release_part(struct kw_worker *worker, struct kw_request *part) {
    if (part->state != KW_REQ_INFLIGHT) {
        kw_request_free(worker, part);
        return;
    }
    kw_outq_clear(&part->reply, worker->pool);
    part->session = NULL;
    part->parent = NULL;
}

/* A request whose client has gone: freed now, or when its reply has come. */
static void release_request(struct kw_worker *worker, struct kw_request *req) {
    req->queue_next = NULL;
    if (req->flags & KW_REQF_ASYNC) {
        req->session = NULL;
        return;
    }
    if (req->group) {
        for (uint32_t i = 0; i < req->group->part_count; i++) {
            struct kw_request *part = req->group->parts[i];
            req->group->parts[i] = NULL;
            if (!part) continue;
            bool alone = part->flags & KW_REQF_EXCLUSIVE && part->state == KW_REQ_INFLIGHT;
            struct kw_link *link = alone ? part->link : NULL;
            release_part(worker, part);
            if (link) kw_link_close_later(link);
        }
        kw_request_free(worker, req);
        return;
    }
    struct kw_link *link = req->state == KW_REQ_INFLIGHT ? req->link : NULL;
    bool exclusive = req->flags & KW_REQF_EXCLUSIVE;
    bool probing = exclusive && link && link->streaming == req && !kw_link_awaits(link, req);
    if (exclusive && link && link->streaming == req) link->streaming = NULL;
    if (exclusive && link && req->flags & KW_REQF_UNBOUNDED && kw_orphan_adopt(link, req)) return;
    if (probing) {
        /* It is in no list of the link yet: only the question before it is. */
        kw_request_free(worker, req);
    } else {
        release_part(worker, req);
    }
    /* The node stops working for a client that has gone. */
    if (exclusive && link) kw_link_close_later(link);
}

static void leave_lists(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    if (session->prev) {
        session->prev->next = session->next;
    } else {
        worker->sessions = session->next;
    }
    if (session->next) session->next->prev = session->prev;
    worker->session_count--;
    atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
}

void kw_session_close(struct kw_session *session) {
    if (session->closing) return;
    session->closing = true;
    struct kw_worker *worker = session->worker;
    leave_lists(session);
    kw_monitor_end(session);
    kw_dispatch_drop_session(session);
    struct kw_request *req = session->queue_head;
    session->queue_head = session->queue_tail = NULL;
    session->active_head = session->active_tail = NULL;
    session->inflight = 0;
    session->held_bytes = 0;
    while (req) {
        struct kw_request *next = req->queue_next;
        release_request(worker, req);
        req = next;
    }
    kw_watch_release(session);
    kw_pubsub_leave(session);
    kw_tracking_stop(session);
    if (worker->target_count) kw_tracking_leave_target(session);
    if (session->stalls_link) worker->recheck_paused = true;
    uv_read_stop((uv_stream_t *)&session->tcp);
    /* The handle is closed at the end of the turn: callers may still look at the session. */
    kw_session_mark_dirty(session);
}

void kw_session_close_after_reply(struct kw_session *session) {
    session->close_after_reply = true;
    kw_session_mark_dirty(session);
}

void kw_session_mark_dirty(struct kw_session *session) {
    if (session->dirty) return;
    session->dirty = true;
    session->dirty_next = session->worker->dirty_sessions;
    session->worker->dirty_sessions = session;
}

size_t kw_session_output_bytes(const struct kw_session *session) {
    return session->out.bytes +
           (session->writing ? uv_stream_get_write_queue_size((const uv_stream_t *)&session->tcp) : 0);
}

bool kw_session_full(const struct kw_session *session) {
    /* While the process is ending, what has been started is finished and nothing new is. */
    if (session->closing || session->close_after_reply || session->worker->draining) return true;
    if (session->hold) return !(session->intake && session->intake->streaming && kw_stream_ready(session));
    if (session->wait_idle || session->wait_unpause) return true;
    size_t max = kw_server_limits(session->worker->server)->max_inflight;
    if (session->inflight >= max) return true;
    /* So many replies of the usual size are what the window holds; four are always allowed. */
    if (session->inflight >= 4 && (session->inflight + 1) * ((size_t)session->reply_avg + 1) > WINDOW_BYTES)
        return true;
    return kw_session_output_bytes(session) > OUT_HIGH || session->held_bytes > WINDOW_BYTES;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct kw_session *session = (struct kw_session *)handle;
    struct kw_chunk *chunk = kw_worker_read_chunk(session->worker);
    *buf = chunk ? uv_buf_init(chunk->data, (unsigned)chunk->cap) : uv_buf_init(NULL, 0);
}

static void client_ended(struct kw_session *session, ssize_t status) {
    /* A client may close its sending side behind a pipeline: what is on its way is still answered. */
    bool waiting = kw_intake_waiting(session) && !session->wait_unpause;
    if (status == UV_EOF && !session->hold && (session->inflight > 0 || waiting)) {
        session->ended = true;
        uv_read_stop((uv_stream_t *)&session->tcp);
        session->paused = true;
        return;
    }
    kw_session_close(session);
}

/* During CLIENT PAUSE a little more is read, to see clients that leave. */
static bool reads_on(const struct kw_session *session) {
    return session->wait_unpause && kw_intake_bytes_held(session) < UNPAUSE_READ_MAX;
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    (void)buf;
    struct kw_session *session = (struct kw_session *)stream;
    struct kw_worker *worker = session->worker;
    if (session->closing || nread == 0) return;
    if (nread < 0) {
        if (nread != UV_ENOBUFS) client_ended(session, nread);
        return;
    }
    session->last_s = (uint32_t)(kw_worker_now_us(worker) / 1000000);
    worker->stats.bytes_in += (uint64_t)nread;
    kw_intake_bytes(session, worker->rbuf, 0, (size_t)nread);
    if (!session->closing && !session->paused && kw_session_full(session) && kw_intake_waiting(session) &&
        !reads_on(session)) {
        session->paused = true;
        uv_read_stop((uv_stream_t *)&session->tcp);
    }
}

void kw_session_resume(struct kw_session *session) {
    if (session->closing || kw_session_full(session)) return;
    if (kw_intake_waiting(session)) {
        kw_session_mark_dirty(session);
        session->intake_due = true;
        return;
    }
    if (session->ended) kw_session_close_after_reply(session);
    if (!session->paused || session->ended) return;
    session->paused = false;
    uv_read_start((uv_stream_t *)&session->tcp, on_alloc, on_read);
}

void kw_session_accept(struct kw_worker *worker, int fd) {
    struct kw_session *session = kw_calloc(1, sizeof(*session));
    session->worker = worker;
    uv_tcp_init(&worker->loop, &session->tcp);
    session->id = kw_server_next_client_id(worker->server);
    session->reply_avg = FIRST_REPLY_GUESS;
    session->created_s = session->last_s = (uint32_t)(kw_worker_now_us(worker) / 1000000);
    session->authenticated = !kw_server_limits(worker->server)->needs_password;
    session->next = worker->sessions;
    if (worker->sessions) worker->sessions->prev = session;
    worker->sessions = session;
    worker->session_count++;
    worker->stats.connections++;
    int err = uv_tcp_open(&session->tcp, fd);
    if (err) {
        close(fd);
        kw_session_close(session);
        return;
    }
    uv_tcp_nodelay(&session->tcp, 1);
    unsigned keepalive_s = kw_server_limits(worker->server)->tcp_keepalive_s;
    if (keepalive_s) uv_tcp_keepalive(&session->tcp, 1, keepalive_s);
    uv_read_start((uv_stream_t *)&session->tcp, on_alloc, on_read);
}

static void on_write_done(uv_stream_t *stream, int status) {
    struct kw_session *session = (struct kw_session *)stream;
    kw_write_free(session->writing);
    session->writing = NULL;
    if (session->closing) return;
    if (status < 0) {
        kw_session_close(session);
        return;
    }
    session->last_s = session->wrote_s = (uint32_t)(kw_worker_now_us(session->worker) / 1000000);
    kw_session_mark_dirty(session);
}

static bool everything_left(const struct kw_session *session) {
    return session->out.bytes == 0 && !session->writing && !session->queue_head;
}

/* Gives the kernel what it takes. False: the session is being closed. */
static bool write_out(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    size_t before = session->out.bytes;
    if (!before) return true;
    int err =
        kw_writer_flush((uv_stream_t *)&session->tcp, &session->out, worker->pool, &session->writing, on_write_done);
    worker->stats.bytes_out += before - session->out.bytes;
    if (!session->writing) session->last_s = session->wrote_s = (uint32_t)(kw_worker_now_us(worker) / 1000000);
    if (err) kw_session_close(session);
    return err == 0;
}

static void flush(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    if (!write_out(session)) return;
    if (session->stalls_link && kw_session_output_bytes(session) < STALL_LOW) {
        session->stalls_link = false;
        worker->recheck_paused = true;
    }
    if (session->close_after_reply && everything_left(session)) {
        kw_session_close(session);
        return;
    }
    if (session->paused || session->intake) kw_session_resume(session);
}

void kw_session_flush_large(struct kw_worker *worker) {
    for (struct kw_session *session = worker->dirty_sessions; session; session = session->dirty_next) {
        if (session->out.bytes >= KW_REF_MIN && !session->closing) write_out(session);
    }
}

void kw_session_flush_all(struct kw_worker *worker) {
    struct kw_session *session;
    while ((session = worker->dirty_sessions)) {
        worker->dirty_sessions = session->dirty_next;
        session->dirty = false;
        if (!session->closing && session->intake_due) {
            session->intake_due = false;
            kw_intake_resume(session);
        }
        if (!session->closing) flush(session);
        if (session->closing && !session->dirty && !uv_is_closing((uv_handle_t *)&session->tcp)) {
            uv_close((uv_handle_t *)&session->tcp, on_closed);
        }
    }
}

static const struct kw_output_limit *output_limit(const struct kw_session *session) {
    const struct kw_limits *limits = kw_server_limits(session->worker->server);
    return &limits->output[session->subscribed ? KW_OUTPUT_PUBSUB : KW_OUTPUT_NORMAL];
}

static size_t unread_bytes(const struct kw_session *session) {
    return kw_session_output_bytes(session) + session->held_bytes + (session->rare ? session->rare->pushes.bytes : 0);
}

bool kw_session_over_limit(const struct kw_session *session) {
    const struct kw_output_limit *limit = output_limit(session);
    if (!limit->hard || unread_bytes(session) <= limit->hard) return false;
    static struct kw_log_limit often;
    kw_log_limited(&often, KW_LOG_WARNING, "client id=%llu closed for overcoming of output buffer limits (%zu bytes)",
                   (unsigned long long)session->id, unread_bytes(session));
    session->worker->stats.output_limit_closed++;
    return true;
}

static void check_output_limit(struct kw_session *session, uint32_t now_s) {
    const struct kw_output_limit *limits = output_limit(session);
    size_t bytes = unread_bytes(session);
    /* What waits at a node because this client does not read is owed to it as well. */
    if (session->stalls_link && now_s - session->wrote_s > STALL_S)
        bytes += (size_t)session->inflight * session->reply_avg;
    bool over_hard = limits->hard && bytes > limits->hard;
    bool over_soft = limits->soft && bytes > limits->soft;
    if (!over_soft) {
        session->over_soft_s = 0;
    } else if (!session->over_soft_s) {
        session->over_soft_s = now_s;
    }
    if (over_hard || (over_soft && now_s - session->over_soft_s > limits->soft_s)) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING,
                       "client id=%llu closed for overcoming of output buffer limits (%zu bytes)",
                       (unsigned long long)session->id, bytes);
        session->worker->stats.output_limit_closed++;
        kw_session_close(session);
    }
}

void kw_session_tick(struct kw_session *session) {
    const struct kw_limits *limits = kw_server_limits(session->worker->server);
    uint32_t now_s = (uint32_t)(kw_worker_now_us(session->worker) / 1000000);
    if (session->out.bytes || session->writing || session->held_bytes) {
        check_output_limit(session, now_s);
    } else {
        session->over_soft_s = 0;
    }
    if (session->closing) return;
    /* As in Redis: who waits to be told something is not idle. */
    bool listens = session->subscribed || session->monitor || session->wait_unpause;
    if (limits->idle_timeout_s && !listens && session->inflight == 0 &&
        now_s - session->last_s > limits->idle_timeout_s) {
        kw_log(KW_LOG_VERBOSE, "closing idle client id=%llu", (unsigned long long)session->id);
        kw_session_close(session);
    }
}

void kw_session_print_address(const struct sockaddr *addr, char *out, size_t len) {
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (addr->sa_family == AF_INET6) {
        const struct sockaddr_in6 *in6 = (const struct sockaddr_in6 *)addr;
        inet_ntop(AF_INET6, &in6->sin6_addr, host, sizeof(host));
        port = ntohs(in6->sin6_port);
    } else if (addr->sa_family == AF_INET) {
        const struct sockaddr_in *in = (const struct sockaddr_in *)addr;
        inet_ntop(AF_INET, &in->sin_addr, host, sizeof(host));
        port = ntohs(in->sin_port);
    }
    snprintf(out, len, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

bool kw_session_has_left(const struct kw_session *session) {
    uv_os_fd_t fd;
    char byte;
    if (session->closing || uv_fileno((const uv_handle_t *)&session->tcp, &fd)) return true;
    return recv(fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 0;
}

void kw_session_peer(const struct kw_session *session, char *out, size_t len) {
    struct sockaddr_storage addr = {0};
    int size = sizeof(addr);
    if (uv_tcp_getpeername(&session->tcp, (struct sockaddr *)&addr, &size)) addr.ss_family = AF_UNSPEC;
    kw_session_print_address((struct sockaddr *)&addr, out, len);
}

void kw_session_local(const struct kw_session *session, char *out, size_t len) {
    struct sockaddr_storage addr = {0};
    int size = sizeof(addr);
    if (uv_tcp_getsockname(&session->tcp, (struct sockaddr *)&addr, &size)) addr.ss_family = AF_UNSPEC;
    kw_session_print_address((struct sockaddr *)&addr, out, len);
}

struct kw_session_rare *kw_session_rare(struct kw_session *session) {
    if (!session->rare) {
        session->rare = kw_calloc(1, sizeof(*session->rare));
        session->rare->watch_slot = -1;
    }
    return session->rare;
}

/* Half of a reply has left: nothing may come between it and the other half. */
static bool in_reply(const struct kw_session *session) {
    const struct kw_request *head = session->queue_head;
    return head && head->flags & KW_REQF_REPLYING;
}

struct kw_outq *kw_session_push_queue(struct kw_session *session) {
    kw_session_mark_dirty(session);
    return in_reply(session) ? &kw_session_rare(session)->pushes : &session->out;
}

void kw_session_push(struct kw_session *session, struct kw_outq *frame) {
    kw_outq_splice(kw_session_push_queue(session), frame);
}
