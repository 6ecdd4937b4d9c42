/*
 * One control link. Happy path:
 *
 *   WAITING --timer--> RESOLVING --address--> CONNECTING --connected-->
 *   GREETING (AUTH, PING) --reply--> UP
 *
 * and from every state back to WAITING when the attempt fails or the link is
 * lost, with a delay that doubles from 50 ms to 1 s. One timer serves all
 * states: the delay, the deadline of the attempt, the deadline of the oldest
 * command. What can fail: name, connect, credentials, silence, end of stream,
 * malformed or oversized reply; each ends in link_fail().
 *
 * A socket (struct conn) and a name look-up (struct resolve) own themselves:
 * the link lets go of them by clearing their back pointer, and they free
 * themselves in their last libuv callback.
 */
#include "cluster/control_link.h"

#include <hiredis/hiredis.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"

enum {
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 1000,
    CONNECT_TIMEOUT_MS = 500,
    COMMAND_TIMEOUT_MS = 1000,
    SECOND_LOOK_MS = 10, /* before a deadline counts: replies may lie unread if we were stopped ourselves */
    PENDING_MAX = 1024,
    READ_SIZE = 16 * 1024,
    REPLY_MAX = 8 * 1024 * 1024,
    ARRAY_MAX = 64 * 1024,
    WHY_SIZE = 160,
};

enum state { WAITING, RESOLVING, CONNECTING, GREETING, UP, CLOSED };

/* A command under way. */
struct pending {
    struct pending *next;
    kw_control_link_reply_fn *fn;
    void *ctx;
    uint64_t deadline_ms;
    bool overdue; /* the deadline passed once; the next look is final */
};

struct conn {
    uv_tcp_t tcp;
    uv_connect_t connect;
    struct kw_control_link *link; /* NULL once abandoned */
    redisReader *reader;          /* own */
    redisReplyObjectFunctions functions;
    size_t unparsed; /* bytes since the end of the last reply */
    char buffer[READ_SIZE];
};

struct resolve {
    uv_getaddrinfo_t req;
    struct kw_control_link *link; /* NULL once abandoned */
};

struct write {
    uv_write_t req;
    char *bytes; /* own, hiredis's */
};

struct kw_control_link {
    uv_loop_t *loop;
    struct kw_control_link_options opts; /* host is our own copy */
    char *host;
    enum state state;
    uv_timer_t timer;
    struct conn *conn;       /* while CONNECTING to UP */
    struct resolve *resolve; /* while RESOLVING */
    struct pending *head, **tail;
    unsigned pending_count;
    unsigned attempt; /* picks the next of several addresses */
    unsigned backoff_ms;
    char refusal[WHY_SIZE]; /* what the node said against us while greeting */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

static void link_fail(struct kw_control_link *link, int err, const char *fmt, ...) KW_PRINTF(3, 4);
static void on_timer(uv_timer_t *timer);

/* ---- the socket ---- */

static void on_conn_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;
    if (conn->reader) redisReaderFree(conn->reader);
    kw_free(conn);
}

static void conn_abandon(struct kw_control_link *link) {
    struct conn *conn = link->conn;
    if (!conn) return;
    link->conn = NULL;
    conn->link = NULL;
    uv_close((uv_handle_t *)&conn->tcp, on_conn_closed);
}

static void resolve_abandon(struct kw_control_link *link) {
    if (!link->resolve) return;
    link->resolve->link = NULL;
    uv_cancel((uv_req_t *)&link->resolve->req);
    link->resolve = NULL;
}

/* hiredis allocates what an array header announces; bound what a peer may announce. */
#if HIREDIS_MAJOR >= 1
typedef size_t array_count;
#else
typedef int array_count;
#endif

typedef void *array_fn(const redisReadTask *task, array_count count);
static _Atomic(array_fn *) create_array; /* hiredis's own; the same for every reader */

static void *create_bounded_array(const redisReadTask *task, array_count count) {
    return count > ARRAY_MAX ? NULL : create_array(task, count);
}

static struct conn *conn_new(struct kw_control_link *link) {
    struct conn *conn = kw_calloc(1, sizeof(*conn));
    conn->reader = redisReaderCreate();
    if (!conn->reader || uv_tcp_init(link->loop, &conn->tcp) != 0) {
        if (conn->reader) redisReaderFree(conn->reader);
        kw_free(conn);
        return NULL;
    }
    conn->functions = *conn->reader->fn;
    create_array = conn->functions.createArray;
    conn->functions.createArray = create_bounded_array;
    conn->reader->fn = &conn->functions;
    conn->tcp.data = conn;
    conn->connect.data = conn;
    conn->link = link;
    return conn;
}

/* ---- commands under way ---- */

static void pending_fail_all(struct kw_control_link *link) {
    struct pending *p = link->head;
    link->head = NULL;
    link->tail = &link->head;
    link->pending_count = 0;
    while (p) {
        struct pending *next = p->next;
        p->fn(p->ctx, NULL);
        kw_free(p);
        p = next;
    }
}

/* In UP the timer belongs to the oldest command. */
static void arm_deadline(struct kw_control_link *link) {
    if (link->state != UP) return;
    if (!link->head) {
        uv_timer_stop(&link->timer);
        return;
    }
    uint64_t now = kw_clock_ms();
    uint64_t wait = link->head->deadline_ms > now ? link->head->deadline_ms - now : 0;
    if (link->head->overdue) wait = SECOND_LOOK_MS;
    uv_timer_start(&link->timer, on_timer, wait, 0);
}

static void check_deadline(struct kw_control_link *link) {
    struct pending *oldest = link->head;
    if (oldest && kw_clock_ms() >= oldest->deadline_ms) {
        if (oldest->overdue) {
            link_fail(link, KW_ETIMEOUT, "no reply within %u ms", link->opts.command_timeout_ms);
            return;
        }
        oldest->overdue = true;
    }
    arm_deadline(link);
}

static void on_written(uv_write_t *req, int status) {
    (void)status; /* a broken socket shows in the read callback too */
    struct write *write = KW_CONTAINER_OF(req, struct write, req);
    free(write->bytes);
    kw_free(write);
}

static int send_command(struct kw_control_link *link, kw_control_link_reply_fn *fn, void *ctx, int argc,
                        const char **argv, const size_t *argv_len) {
    if (link->pending_count >= PENDING_MAX) return KW_ELIMIT;
    struct write *write = kw_calloc(1, sizeof(*write));
    int len = (int)redisFormatCommandArgv(&write->bytes, argc, argv, argv_len);
    if (len < 0) {
        kw_free(write);
        return KW_ENOMEM;
    }
    uv_buf_t buf = uv_buf_init(write->bytes, (unsigned)len);
    if (uv_write(&write->req, (uv_stream_t *)&link->conn->tcp, &buf, 1, on_written) != 0) {
        free(write->bytes);
        kw_free(write);
        return KW_EUNREACHABLE;
    }
    struct pending *p = kw_calloc(1, sizeof(*p));
    p->fn = fn;
    p->ctx = ctx;
    p->deadline_ms = kw_clock_ms() + link->opts.command_timeout_ms;
    *link->tail = p;
    link->tail = &p->next;
    link->pending_count++;
    if (link->head == p) arm_deadline(link);
    return 0;
}

static void deliver(struct kw_control_link *link, const redisReply *reply) {
    struct pending *p = link->head;
    link->head = p->next;
    if (!link->head) link->tail = &link->head;
    link->pending_count--;
    p->fn(p->ctx, reply);
    kw_free(p);
}

/* ---- reading ---- */

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct conn *conn = handle->data;
    (void)suggested;
    *buf = uv_buf_init(conn->buffer, sizeof(conn->buffer));
}

/* Hands out the complete replies; stops where a callback gave the socket up. */
static void read_replies(struct conn *conn) {
    while (conn->link) {
        void *reply = NULL;
        if (redisReaderGetReply(conn->reader, &reply) != REDIS_OK) {
            link_fail(conn->link, KW_EPROTOCOL, "%s", conn->reader->errstr);
            return;
        }
        if (!reply) break;
        conn->unparsed = conn->reader->len - conn->reader->pos;
        if (conn->link->head) {
            deliver(conn->link, reply);
            freeReplyObject(reply);
        } else {
            const redisReply *stray = reply;
            link_fail(conn->link, KW_EPROTOCOL, "unasked reply: %.80s", stray->str ? stray->str : "not a text");
            freeReplyObject(reply);
            return;
        }
    }
    if (conn->link) {
        if (conn->unparsed > conn->link->opts.reply_max) {
            link_fail(conn->link, KW_ELIMIT, "reply above %zu bytes", conn->link->opts.reply_max);
        } else {
            arm_deadline(conn->link);
        }
    }
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct conn *conn = stream->data;
    if (nread == 0 || !conn->link) return;
    if (nread < 0) {
        if (nread == UV_EOF) {
            link_fail(conn->link, KW_ELINKLOST, "closed by the node%s%s", conn->link->refusal[0] ? ": " : "",
                      conn->link->refusal);
        } else {
            link_fail(conn->link, KW_ELINKLOST, "%s", uv_strerror((int)nread));
        }
        return;
    }
    conn->unparsed += (size_t)nread;
    if (redisReaderFeed(conn->reader, buf->base, (size_t)nread) != REDIS_OK) {
        link_fail(conn->link, KW_ENOMEM, "%s", conn->reader->errstr);
        return;
    }
    read_replies(conn);
}

/* ---- greeting ---- */

static void on_auth(void *ctx, const redisReply *reply) {
    struct kw_control_link *link = ctx;
    if (!reply || reply->type != REDIS_REPLY_ERROR) return;
    snprintf(link->refusal, sizeof(link->refusal), "%s", reply->str);
}

/* Any answer shows a living node (it may be loading); only missing credentials keep us out. */
static void on_ping(void *ctx, const redisReply *reply) {
    static struct kw_log_limit limit;
    struct kw_control_link *link = ctx;
    if (!reply) return;
    if (reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "NOAUTH", 6) == 0) {
        link_fail(link, KW_EUNREACHABLE, "%s", link->refusal[0] ? link->refusal : reply->str);
        return;
    }
    if (link->refusal[0]) {
        kw_log_limited(&limit, KW_LOG_WARNING, "node %s:%u refused our credentials but serves without: %s", link->host,
                       link->opts.port, link->refusal);
    }
    link->state = UP;
    link->backoff_ms = BACKOFF_MIN_MS;
    uv_timer_stop(&link->timer);
    link->opts.on_up(link->opts.ctx);
}

static int greet(struct kw_control_link *link) {
    const struct kw_control_link_auth *auth = link->opts.auth;
    link->refusal[0] = '\0';
    if (auth && auth->password && auth->password[0]) {
        const char *argv[3] = {"AUTH", auth->password, NULL};
        int argc = 2;
        if (auth->user && auth->user[0]) {
            argv[1] = auth->user;
            argv[2] = auth->password;
            argc = 3;
        }
        int rc = send_command(link, on_auth, link, argc, argv, NULL);
        if (rc != 0) return rc;
    }
    const char *ping[] = {"PING"};
    return send_command(link, on_ping, link, 1, ping, NULL);
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status) {
    struct conn *conn = req->data;
    struct kw_control_link *link = conn->link;
    if (!link) return;
    if (status == 0) {
        uv_tcp_nodelay(&conn->tcp, 1);
        uv_tcp_keepalive(&conn->tcp, 1, 15);
        status = uv_read_start((uv_stream_t *)&conn->tcp, on_alloc, on_read);
    }
    if (status != 0) {
        link_fail(link, KW_EUNREACHABLE, "%s", uv_strerror(status));
        return;
    }
    link->state = GREETING;
    int rc = greet(link);
    if (rc != 0) link_fail(link, rc, "%s", kw_error_text(rc));
}

static void connect_to(struct kw_control_link *link, const struct sockaddr *address) {
    link->state = CONNECTING;
    link->conn = conn_new(link);
    int status = link->conn ? uv_tcp_connect(&link->conn->connect, &link->conn->tcp, address, on_connected) : UV_ENOMEM;
    if (status != 0) link_fail(link, KW_EUNREACHABLE, "%s", uv_strerror(status));
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list) {
    struct resolve *resolve = KW_CONTAINER_OF(req, struct resolve, req);
    struct kw_control_link *link = resolve->link;
    kw_free(resolve);
    if (link) {
        link->resolve = NULL;
        unsigned count = 0;
        for (const struct addrinfo *at = list; at; at = at->ai_next) count++;
        if (status != 0 || count == 0) {
            link_fail(link, KW_EUNREACHABLE, "name not resolved: %s", status ? uv_strerror(status) : "no address");
        } else {
            const struct addrinfo *pick = list;
            for (unsigned skip = link->attempt++ % count; skip > 0; skip--) pick = pick->ai_next;
            connect_to(link, pick->ai_addr);
        }
    }
    uv_freeaddrinfo(list);
}

static void resolve_name(struct kw_control_link *link) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char port[8];

    snprintf(port, sizeof(port), "%u", link->opts.port & 0xffffU);
    link->state = RESOLVING;
    link->resolve = kw_calloc(1, sizeof(*link->resolve));
    link->resolve->link = link;
    int status = uv_getaddrinfo(link->loop, &link->resolve->req, on_resolved, link->host, port, &hints);
    if (status != 0) {
        kw_free(link->resolve);
        link->resolve = NULL;
        link_fail(link, KW_EUNREACHABLE, "name not resolved: %s", uv_strerror(status));
    }
}

static void begin_attempt(struct kw_control_link *link) {
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;

    uv_timer_start(&link->timer, on_timer, link->opts.connect_timeout_ms, 0);
    if (uv_ip4_addr(link->host, (int)link->opts.port, &v4) == 0) {
        connect_to(link, (const struct sockaddr *)&v4);
    } else if (uv_ip6_addr(link->host, (int)link->opts.port, &v6) == 0) {
        connect_to(link, (const struct sockaddr *)&v6);
    } else {
        resolve_name(link);
    }
}

/* Up to a quarter less than the backoff, so that many proxies do not knock in step. */
static uint64_t jittered(unsigned ms) {
    return ms - (kw_clock_us() % (ms / 4 + 1));
}

static void link_fail(struct kw_control_link *link, int err, const char *fmt, ...) {
    char why[WHY_SIZE * 2];
    va_list args;
    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);

    bool was_up = link->state == UP;
    link->state = WAITING;
    conn_abandon(link);
    resolve_abandon(link);
    uv_timer_start(&link->timer, on_timer, jittered(link->backoff_ms), 0);
    link->backoff_ms = link->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : link->backoff_ms * 2;
    pending_fail_all(link);
    if (link->state == WAITING) link->opts.on_down(link->opts.ctx, err, why, was_up);
}

static void on_timer(uv_timer_t *timer) {
    struct kw_control_link *link = timer->data;
    switch (link->state) {
    case WAITING: begin_attempt(link); break;
    case RESOLVING:
    case CONNECTING: link_fail(link, KW_ETIMEOUT, "no connection within %u ms", link->opts.connect_timeout_ms); break;
    case GREETING: link_fail(link, KW_ETIMEOUT, "connected, but no answer to PING"); break;
    case UP: check_deadline(link); break;
    case CLOSED: break;
    }
}

/* ---- public ---- */

struct kw_control_link *kw_control_link_new(uv_loop_t *loop, const struct kw_control_link_options *opts) {
    KW_ASSERT(opts->on_up && opts->on_down && opts->port <= UINT16_MAX);
    struct kw_control_link *link = kw_calloc(1, sizeof(*link));
    link->loop = loop;
    link->opts = *opts;
    link->host = kw_strdup(opts->host);
    link->opts.host = link->host;
    if (link->opts.connect_timeout_ms == 0) link->opts.connect_timeout_ms = CONNECT_TIMEOUT_MS;
    if (link->opts.command_timeout_ms == 0) link->opts.command_timeout_ms = COMMAND_TIMEOUT_MS;
    if (link->opts.reply_max == 0) link->opts.reply_max = REPLY_MAX;
    link->tail = &link->head;
    link->backoff_ms = BACKOFF_MIN_MS;
    link->state = WAITING;
    int rc = uv_timer_init(loop, &link->timer);
    KW_ASSERT(rc == 0);
    link->timer.data = link;
    uv_timer_start(&link->timer, on_timer, 0, 0);
    return link;
}

int kw_control_link_command(struct kw_control_link *link, kw_control_link_reply_fn *fn, void *ctx, int argc,
                            const char **argv, const size_t *argv_len) {
    if (link->state != UP) return KW_EUNREACHABLE;
    return send_command(link, fn, ctx, argc, argv, argv_len);
}

bool kw_control_link_is_up(const struct kw_control_link *link) {
    return link->state == UP;
}

static void on_timer_closed(uv_handle_t *handle) {
    struct kw_control_link *link = handle->data;
    void (*closed)(void *ctx) = link->closed;
    void *ctx = link->closed_ctx;
    kw_free(link->host);
    kw_free(link);
    if (closed) closed(ctx);
}

void kw_control_link_close(struct kw_control_link *link, void (*closed)(void *ctx), void *ctx) {
    KW_ASSERT(link->state != CLOSED);
    link->state = CLOSED;
    link->closed = closed;
    link->closed_ctx = ctx;
    uv_timer_stop(&link->timer);
    uv_close((uv_handle_t *)&link->timer, on_timer_closed); /* before the socket: libuv runs the callbacks in reverse */
    conn_abandon(link);
    resolve_abandon(link);
    pending_fail_all(link);
}
