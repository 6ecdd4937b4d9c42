/*
 * One link: connect, handshake, write, read, close. Its happy path: made when a
 * request wants it, it lives until the node goes. Every way to fail ends in
 * kw_link_close, which settles what is in flight; the memory is given back in
 * the close callback.
 */
#include "proxy/upstream/link.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/writer.h"
#include "proxy/worker.h"

enum {
    OUT_CHUNK = 64 * 1024,
    PAUSE_ABOVE = 1024 * 1024, /* bytes that a client has not read */
    BACKOFF_FIRST_US = 10 * 1000,
    BACKOFF_LAST_US = 500 * 1000,
    USER_TIMEOUT_MS = 10000,
    KEEPALIVE_S = 15,
};

static void note_failure(struct kw_node *node, const char *why) {
    uint64_t pause = (uint64_t)BACKOFF_FIRST_US << (node->failures < 6 ? node->failures : 6);
    node->failures++;
    node->connect_not_before_us = kw_worker_now_us(node->worker) + (pause < BACKOFF_LAST_US ? pause : BACKOFF_LAST_US);
    snprintf(node->last_error, sizeof(node->last_error), "%s", why);
}

static void on_closed(uv_handle_t *handle) {
    struct kw_link *link = (struct kw_link *)handle;
    kw_outq_clear(&link->out, link->worker->pool);
    kw_outq_clear(&link->push, link->worker->pool);
    kw_script_set_deinit(&link->scripts);
    kw_write_free(link->writing);
    kw_free(link);
}

void kw_link_close(struct kw_link *link, const char *why) {
    if (link->closing) return;
    link->closing = true;
    struct kw_node *node = link->node;
    if (!link->connected && !link->unwanted) {
        note_failure(node, why);
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_NOTICE, "node %s: %s", node->addr, why);
    }
    kw_upstream_forget(link);
    kw_link_settle(link, why);
    if (link->owner && link->owner->lost) link->owner->lost(link);
    /* Held for its close callback only: a dirty one is skipped by the flush. */
    if (!link->dirty) kw_link_mark_dirty(link);
}

static void start_close(struct kw_link *link) {
    if (!uv_is_closing((uv_handle_t *)&link->tcp)) uv_close((uv_handle_t *)&link->tcp, on_closed);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct kw_link *link = (struct kw_link *)handle;
    struct kw_chunk *chunk = kw_worker_read_chunk(link->worker);
    *buf = chunk ? uv_buf_init(chunk->data, (unsigned)chunk->cap) : uv_buf_init(NULL, 0);
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    (void)buf;
    struct kw_link *link = (struct kw_link *)stream;
    if (link->closing || nread == 0) return;
    if (nread < 0) {
        if (nread == UV_ENOBUFS) return;
        kw_link_close(link, nread == UV_EOF ? "the node closed the connection" : uv_strerror((int)nread));
        kw_server_topology_doubt(link->worker->server);
        return;
    }
    link->last_read_us = kw_worker_now_us(link->worker);
    if (!kw_link_reply_bytes(link, link->worker->rbuf, (size_t)nread)) {
        kw_link_close(link, "the node does not speak RESP");
        return;
    }
    if (link->head && !link->closing) kw_link_check_pause(link);
    /* Something refers to the read buffer; once that has left, the next read finds it again, and warm. */
    if (link->worker->rbuf->refs > 1) kw_session_flush_large(link->worker);
}

static void on_connected(uv_connect_t *req, int status) {
    struct kw_link *link = (struct kw_link *)req->handle;
    if (link->closing) return;
    if (status < 0) {
        kw_link_close(link, uv_strerror(status));
        kw_server_topology_doubt(link->worker->server);
        return;
    }
    link->connected = true;
    link->node->failures = 0;
    link->node->last_error[0] = '\0';
    uv_tcp_nodelay(&link->tcp, 1);
    uv_tcp_keepalive(&link->tcp, 1, KEEPALIVE_S);
    uv_os_fd_t fd;
    if (uv_fileno((uv_handle_t *)&link->tcp, &fd) == 0) {
        int timeout_ms = USER_TIMEOUT_MS;
        setsockopt(fd, IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms));
    }
    uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    if (link->out.bytes) kw_link_mark_dirty(link);
}

static void on_resolved(uv_getaddrinfo_t *resolve, int status, struct addrinfo *found) {
    struct kw_link *link = resolve->data;
    kw_free(resolve);
    if (!link->closing) {
        int err = status ? status : uv_tcp_connect(&link->connect_req, &link->tcp, found->ai_addr, on_connected);
        if (err) kw_link_close(link, uv_strerror(err));
    }
    link->resolving = false;
    if (link->closing) start_close(link);
    uv_freeaddrinfo(found);
}

static int start_connect(struct kw_link *link) {
    struct sockaddr_storage addr;
    const char *host = link->node->host;
    int port = (int)link->node->port;
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&addr) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&addr) == 0) {
        return uv_tcp_connect(&link->connect_req, &link->tcp, (struct sockaddr *)&addr, on_connected);
    }
    uv_getaddrinfo_t *resolve = kw_malloc(sizeof(*resolve));
    char service[8];
    snprintf(service, sizeof(service), "%d", port & 0xffff);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    resolve->data = link;
    int err = uv_getaddrinfo(&link->worker->loop, resolve, on_resolved, host, service, &hints);
    if (err) {
        kw_free(resolve);
    } else {
        link->resolving = true;
    }
    return err;
}

int kw_link_speak(struct kw_link *link, int resp) {
    char hello[] = "*2\r\n$5\r\nHELLO\r\n$1\r\n2\r\n";
    hello[sizeof(hello) - 4] = (char)('0' + resp);
    int err = kw_link_send_internal(link, hello, sizeof(hello) - 1, 0, NULL);
    if (!err) link->resp = (uint8_t)resp;
    return err;
}

static const struct {
    bool resp3, readonly, tells_id;
} handshakes[] = {
    [KW_LINK_SHARED] = {false, false, false}, [KW_LINK_REPLICA] = {false, true, false},
    [KW_LINK_SHARED3] = {true, false, false}, [KW_LINK_REPLICA3] = {true, true, false},
    [KW_LINK_PRIVATE] = {false, false, true}, [KW_LINK_PUSH] = {true, false, true},
};

/* These are the first bytes of a new link: the pool has room for them, or nothing works any more. */
static void queue_handshake(struct kw_link *link) {
    struct kw_str text = {0};
    kw_server_node_auth(link->worker->server, &text);
    if (text.len) kw_link_send_internal(link, text.data, text.len, 0, NULL);
    if (handshakes[link->kind].resp3) kw_link_speak(link, 3);
    if (handshakes[link->kind].readonly) kw_link_send_internal(link, "*1\r\n$8\r\nREADONLY\r\n", 18, 0, NULL);
    static const char ask_id[] = "*2\r\n$6\r\nCLIENT\r\n$2\r\nID\r\n";
    if (handshakes[link->kind].tells_id) {
        kw_link_send_internal(link, ask_id, sizeof(ask_id) - 1, KW_REQF_CLIENT_ID, NULL);
    }
    kw_str_deinit(&text);
}

struct kw_link *kw_link_new(struct kw_node *node, enum kw_link_kind kind) {
    struct kw_worker *worker = node->worker;
    struct kw_link *link = kw_calloc(1, sizeof(*link));
    link->worker = worker;
    link->node = node;
    link->kind = kind;
    link->resp = 2;
    link->connect_deadline_us = kw_worker_now_us(worker) + kw_server_limits(worker->server)->connect_timeout_us;
    int err = uv_tcp_init(&worker->loop, &link->tcp);
    if (err) {
        note_failure(node, uv_strerror(err));
        kw_free(link);
        return NULL;
    }
    err = start_connect(link);
    if (err) {
        note_failure(node, uv_strerror(err));
        uv_close((uv_handle_t *)&link->tcp, on_closed);
        return NULL;
    }
    link->next = node->all;
    if (node->all) node->all->prev = link;
    node->all = link;
    queue_handshake(link);
    return link;
}

void kw_link_mark_dirty(struct kw_link *link) {
    if (link->dirty) return;
    link->dirty = true;
    link->dirty_next = link->worker->dirty_links;
    link->worker->dirty_links = link;
}

static void on_write_done(uv_stream_t *stream, int status) {
    struct kw_link *link = (struct kw_link *)stream;
    kw_write_free(link->writing);
    link->writing = NULL;
    link->blocked_since_us = 0;
    if (link->closing) return;
    if (status < 0) {
        kw_link_close(link, uv_strerror(status));
        return;
    }
    if (link->out.bytes) kw_link_mark_dirty(link);
    if (link->streaming && link->streaming->session) kw_session_resume(link->streaming->session);
}

void kw_link_flush_all(struct kw_worker *worker) {
    struct kw_link *link;
    while ((link = worker->dirty_links)) {
        worker->dirty_links = link->dirty_next;
        link->dirty = false;
        if (link->closing) {
            if (!link->resolving) start_close(link);
            continue;
        }
        if (!link->connected) continue;
        int err = kw_writer_flush((uv_stream_t *)&link->tcp, &link->out, worker->pool, &link->writing, on_write_done);
        if (link->writing && !link->blocked_since_us) link->blocked_since_us = kw_worker_now_us(worker);
        if (err) {
            kw_link_close(link, uv_strerror(err));
        } else if (link->streaming && link->streaming->session && !link->writing) {
            kw_session_resume(link->streaming->session);
        }
    }
}

uint64_t kw_link_sent_offset(const struct kw_link *link) {
    /* What waits inside libuv may have left in part: it counts as sent, to be honest about doubt. */
    return link->connected ? link->enqueued - link->out.bytes : 0;
}

static void fifo_push(struct kw_link *link, struct kw_request *req) {
    req->link = link;
    req->link_next = NULL;
    if (link->tail) {
        link->tail->link_next = req;
    } else {
        link->head = req;
    }
    link->tail = req;
    link->inflight++;
    req->sent_us = kw_worker_now_us(link->worker);
}

struct kw_request *kw_link_pop(struct kw_link *link) {
    struct kw_request *req = link->head;
    link->head = req->link_next;
    if (!link->head) {
        link->tail = NULL;
        link->repeated = 0;
    }
    link->inflight--;
    req->link_next = NULL;
    kw_request_prefetch(link->head);
    return req;
}

void kw_link_await(struct kw_link *link, struct kw_request *req) {
    req->link_end = UINT64_MAX; /* not sent whole, until kw_link_send_bytes says so */
    fifo_push(link, req);
}

void kw_link_close_later(struct kw_link *link) {
    for (struct kw_request *req = link->head; req; req = req->link_next) {
        if (!req->session) req->flags |= KW_REQF_INTERNAL;
    }
    link->unwanted = true;
    kw_link_close(link, "its client has gone");
}

int kw_link_send_internal(struct kw_link *link, const char *bytes, size_t len, unsigned flags,
                          struct kw_request **out) {
    struct kw_worker *worker = link->worker;
    if (!kw_outq_copy_try(&link->out, worker->pool, bytes, len, OUT_CHUNK)) return KW_ENOMEM;
    struct kw_request *req = kw_request_new(worker);
    req->flags = KW_REQF_INTERNAL | flags;
    req->state = KW_REQ_INFLIGHT;
    link->enqueued += len;
    req->link_end = link->enqueued;
    fifo_push(link, req);
    kw_link_mark_dirty(link);
    if (out) *out = req;
    return 0;
}

int kw_link_send_unanswered(struct kw_link *link, const char *bytes, size_t len) {
    if (!kw_outq_copy_try(&link->out, link->worker->pool, bytes, len, OUT_CHUNK)) return KW_ENOMEM;
    link->enqueued += len;
    kw_link_mark_dirty(link);
    return 0;
}

/* By reference where it is large: the frame stays with the request, to be sent again if need be. */
static int queue_frame(struct kw_link *link, struct kw_request *req) {
    struct kw_pool *pool = link->worker->pool;
    struct kw_frame *frame = &req->frame;
    int err = 0;
    if (frame->chunk && frame->len < KW_REF_MIN) {
        err =
            kw_outq_copy_try(&link->out, pool, frame->chunk->data + frame->off, frame->len, OUT_CHUNK) ? 0 : KW_ENOMEM;
    } else if (frame->chunk) {
        err = kw_outq_ref_try(&link->out, pool, frame->chunk, frame->off, frame->len);
    }
    for (struct kw_seg *seg = frame->rest.head; seg && !err; seg = seg->next) {
        err = kw_outq_ref_try(&link->out, pool, seg->chunk, seg->off, seg->len);
    }
    return err;
}

int kw_link_send(struct kw_link *link, struct kw_request *req, const char *bytes, size_t len) {
    struct kw_worker *worker = link->worker;
    if (KW_UNLIKELY(req->reply.bytes > 0)) {
        if (req->session) req->session->held_bytes -= req->reply.bytes;
        kw_outq_clear(&req->reply, worker->pool);
    }
    req->reply_type = 0;
    req->skip = req->skip_total;
    req->flags &= ~(uint32_t)KW_REQF_QUEUE_ERROR;
    if (KW_UNLIKELY(req->flags & KW_REQF_EVALSHA)) kw_script_ensure(link, req, bytes, len);
    if (KW_UNLIKELY(req->ask) && kw_link_send_internal(link, "*1\r\n$6\r\nASKING\r\n", 16, 0, NULL)) return KW_ENOMEM;
    if (KW_UNLIKELY(req->flags & (KW_REQF_CACHING_YES | KW_REQF_CACHING_NO)) && kw_tracking_send_caching(link, req)) {
        return KW_ENOMEM;
    }
    if (KW_LIKELY(bytes != NULL)) {
        char *copy = kw_outq_copy_try(&link->out, worker->pool, bytes, len, OUT_CHUNK);
        if (!copy) return KW_ENOMEM;
        struct kw_chunk *chunk = link->out.tail->chunk;
        req->frame.chunk = kw_chunk_ref(chunk);
        req->frame.off = (size_t)(copy - chunk->data);
        req->frame.len = len;
    } else {
        len = kw_frame_bytes(&req->frame);
        if (queue_frame(link, req)) {
            /* Part of a frame may be queued: the link is of no use any more. */
            kw_link_close(link, "out of memory");
            return KW_ENOMEM;
        }
    }
    link->enqueued += len;
    req->link_end = link->enqueued;
    fifo_push(link, req);
    kw_link_mark_dirty(link);
    return 0;
}

int kw_link_send_bytes(struct kw_link *link, struct kw_chunk *chunk, size_t off, size_t len) {
    int err = kw_outq_add_try(&link->out, link->worker->pool, chunk, off, len);
    if (err) return err;
    link->enqueued += len;
    kw_link_mark_dirty(link);
    return 0;
}

static bool only_one_session(const struct kw_link *link) {
    const struct kw_session *session = link->head->session;
    for (const struct kw_request *req = link->head; req; req = req->link_next) {
        if (req->session != session) return false;
    }
    return true;
}

/* The head's client has so much unread that its link should wait. */
static bool client_is_behind(const struct kw_link *link) {
    const struct kw_request *req = link->head;
    const struct kw_session *session = req->session;
    if (!session) return false;
    if (session->queue_head == req) return kw_session_output_bytes(session) > PAUSE_ABOVE;
    /* An early reply: what the client waits for must come by another link, or waiting here would never end. */
    const struct kw_request *first = session->queue_head;
    return session->held_bytes > PAUSE_ABOVE && first && !first->group && first->link && first->link != link;
}

void kw_link_check_pause(struct kw_link *link) {
    bool pause = link->head && !link->closing && client_is_behind(link) && only_one_session(link);
    if (pause) link->head->session->stalls_link = true;
    if (pause == link->paused) return;
    link->paused = pause;
    link->worker->route_seq++;
    if (pause) {
        uv_read_stop((uv_stream_t *)&link->tcp);
    } else if (!link->closing) {
        link->resumed_us = kw_worker_now_us(link->worker);
        uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    }
}
