/*
 * The common case costs one send and one recv a batch: EPOLLIN is asked for once, EPOLLOUT only while the kernel has
 * no room. Epoll is level-triggered, so that one recv an event is enough.
 */
#include "tests/bench/load/conn.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"

enum { IOV_MAX_AT_ONCE = 64, NIL_BYTES = 5 /* "$-1" or "*-1" and CRLF */ };

static void watch(struct load_conn *conn, int epoll, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = conn};
    if (epoll_ctl(epoll, operation, conn->fd, &event) != 0) load_die("epoll_ctl: %m");
}

void load_conn_open(struct load_conn *conn, const struct load_node *node, int epoll, uint32_t expect) {
    conn->node = node;
    conn->fd = load_node_connect(node);
    conn->due_cap = 1;
    while (conn->due_cap < expect) conn->due_cap *= 2;
    conn->due = kw_malloc(conn->due_cap * sizeof(*conn->due));
    watch(conn, epoll, EPOLL_CTL_ADD, EPOLLIN);
}

void load_conn_close(struct load_conn *conn, struct kw_pool *pool) {
    close(conn->fd);
    kw_outq_clear(&conn->out, pool);
    kw_str_deinit(&conn->reply);
    kw_free(conn->due);
}

static void due_grow(struct load_conn *conn) {
    uint32_t *due = kw_malloc(2UL * conn->due_cap * sizeof(*due));
    for (uint32_t i = 0; i < conn->due_count; i++) due[i] = conn->due[(conn->due_head + i) & (conn->due_cap - 1)];
    kw_free(conn->due);
    conn->due = due;
    conn->due_head = 0;
    conn->due_cap *= 2;
}

void load_conn_expect(struct load_conn *conn, uint32_t request) {
    if (conn->due_count == conn->due_cap) due_grow(conn);
    conn->due[(conn->due_head + conn->due_count++) & (conn->due_cap - 1)] = request;
}

static ssize_t send_some(const struct load_conn *conn) {
    struct iovec iov[IOV_MAX_AT_ONCE];
    int count = kw_outq_iov(&conn->out, iov, IOV_MAX_AT_ONCE);
    if (count == 1) return send(conn->fd, iov[0].iov_base, iov[0].iov_len, MSG_NOSIGNAL);
    struct msghdr message = {.msg_iov = iov, .msg_iovlen = (size_t)count};
    return sendmsg(conn->fd, &message, MSG_NOSIGNAL);
}

void load_conn_flush(struct load_conn *conn, int epoll, struct kw_pool *pool) {
    bool full = false;
    while (conn->out.bytes > 0 && !full) {
        ssize_t sent = send_some(conn);
        if (sent < 0 && errno == EINTR) continue;
        if (sent < 0 && errno != EAGAIN) load_die("%s:%u: write: %m", conn->node->host, conn->node->port);
        full = sent < 0;
        if (!full) kw_outq_consume(&conn->out, pool, (size_t)sent);
    }
    if (full == conn->writing) return;
    conn->writing = full;
    watch(conn, epoll, EPOLL_CTL_MOD, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

size_t load_conn_read(const struct load_conn *conn, char *buf, size_t size) {
    ssize_t got = recv(conn->fd, buf, size, 0);
    if (got > 0) return (size_t)got;
    if (got == 0) {
        load_die("%s:%u closed a connection; %u replies were due", conn->node->host, conn->node->port, conn->due_count);
    }
    if (errno != EAGAIN && errno != EINTR) load_die("%s:%u: read: %m", conn->node->host, conn->node->port);
    return 0;
}

void load_conn_take(struct load_conn *conn, const char *buf, size_t len, struct load_reply *reply) {
    if (conn->due_count == 0) {
        load_die("%s:%u sent what was not asked for: %.*s", conn->node->host, conn->node->port,
                 (int)(len < 100 ? len : 100), buf);
    }
    enum kw_reply_result result = kw_reply_scan(&conn->scan, buf, len, &reply->used);
    if (result == KW_REPLY_ERROR) {
        load_die("%s:%u sent what is no RESP: %.*s", conn->node->host, conn->node->port, (int)(len < 100 ? len : 100),
                 buf);
    }
    reply->done = result == KW_REPLY_DONE;
    reply->error = conn->scan.first == '-' || conn->scan.first == '!';
    bool keep = reply->error || conn->looking;
    if (!reply->done) {
        if (keep) kw_str_append(&conn->reply, buf, reply->used);
        conn->reply_bytes += reply->used;
        return;
    }
    reply->nil = conn->reply_bytes + reply->used == NIL_BYTES && (conn->scan.first == '$' || conn->scan.first == '*');
    reply->request = conn->due[conn->due_head];
    conn->due_head = (conn->due_head + 1) & (conn->due_cap - 1);
    conn->due_count--;
    reply->bytes = buf;
    reply->len = reply->used;
    if (keep && conn->reply_bytes > 0) {
        kw_str_append(&conn->reply, buf, reply->used);
        reply->bytes = conn->reply.data;
        reply->len = conn->reply.len;
        conn->reply.len = 0;
    }
    conn->reply_bytes = 0;
}
