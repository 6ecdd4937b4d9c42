/*
 * bench_floor: the least that any proxy must pay for a request at pipeline 1. One thread; for each client that can be
 * read from one read() and one write() of a canned reply. It asks nobody and looks at requests only as far as their end
 * must be known: whatever was asked, the reply is a string of --reply-bytes.
 *
 * Connections are watched edge-triggered for both directions, so that no call beside those two and epoll_wait() is
 * made. Clients send arrays of strings, as clients do; what else they send is not answered rightly. Bad options and a
 * port that is taken end the process, a connection that fails is closed.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"

enum { BUFFER_BYTES = 64 * 1024, EVENTS = 1024, BACKLOG = 4096, FRAME_SPARE = 32 };

struct conn {
    int fd;
    size_t words;  /* of the request, that have not begun */
    size_t skip;   /* bytes of a word and its CRLF that have not come */
    size_t number; /* of the header line so far */
    size_t owed;   /* bytes of replies that have not been written */
};

static char buffer[BUFFER_BYTES];
static char *replies; /* as many as fit into a buffer, at least one */
static size_t reply_len, replies_len;

KW_NORETURN static void die(const char *what) {
    (void)fprintf(stderr, "bench_floor: %s\n", what);
    exit(1);
}

static void replies_make(size_t bytes) {
    char header[FRAME_SPARE];
    size_t header_len = (size_t)snprintf(header, sizeof(header), "$%zu\r\n", bytes);
    reply_len = header_len + bytes + 2;
    size_t copies = reply_len < BUFFER_BYTES ? BUFFER_BYTES / reply_len : 1;
    replies_len = copies * reply_len;
    replies = kw_malloc(replies_len);
    memset(replies, 'x', replies_len);
    for (char *at = replies; at < replies + replies_len; at += reply_len) {
        memcpy(at, header, header_len);
        memcpy(at + reply_len - 2, "\r\n", 2);
    }
}

/* How many requests end in these bytes, which may begin and end anywhere. */
static size_t requests_ended(struct conn *conn, const char *at, const char *end) {
    size_t ended = 0;
    while (at < end) {
        if (conn->skip > 0) {
            size_t step = conn->skip < (size_t)(end - at) ? conn->skip : (size_t)(end - at);
            at += step;
            conn->skip -= step;
            if (conn->skip == 0 && conn->words == 0) ended++;
        } else if (*at >= '0' && *at <= '9') {
            conn->number = conn->number * 10 + (size_t)(*at++ - '0');
        } else if (*at++ == '\n') {
            if (conn->words == 0) {
                conn->words = conn->number;
            } else {
                conn->words--;
                conn->skip = conn->number + 2;
            }
            conn->number = 0;
        }
    }
    return ended;
}

/* What is owed is the end of equal replies, which says where in them to go on. */
static void replies_write(struct conn *conn) {
    while (conn->owed > 0) {
        size_t begin = (reply_len - conn->owed % reply_len) % reply_len;
        size_t len = replies_len - begin < conn->owed ? replies_len - begin : conn->owed;
        ssize_t sent = write(conn->fd, replies + begin, len);
        if (sent < 0) return;
        conn->owed -= (size_t)sent;
    }
}

/* The end of a connection that came with bytes is told of once, so that it is read as well. */
static void conn_serve(struct conn *conn, bool ending) {
    ssize_t got;
    do {
        got = read(conn->fd, buffer, sizeof(buffer));
        if (got == 0 || (got < 0 && errno != EAGAIN)) {
            (void)close(conn->fd);
            kw_free(conn);
            return;
        }
        if (got > 0) conn->owed += reply_len * requests_ended(conn, buffer, buffer + got);
        replies_write(conn);
    } while (got > 0 && (ending || got == (ssize_t)sizeof(buffer)));
}

static void conns_accept(int epoll, int listener) {
    int on = 1;
    for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
        struct conn *conn = kw_calloc(1, sizeof(*conn));
        struct epoll_event event = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = conn};
        conn->fd = fd;
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
        if (epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0) die("epoll_ctl fails");
    }
}

static int port_listen(unsigned long port) {
    struct sockaddr_in addr = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&addr, sizeof(addr)) != 0 || listen(fd, BACKLOG) != 0) die("the port is taken");
    return fd;
}

int main(int argc, char **argv) {
    if (argc != 5 || strcmp(argv[1], "--port") != 0 || strcmp(argv[3], "--reply-bytes") != 0) {
        die("usage: bench_floor --port N --reply-bytes N");
    }
    static struct epoll_event events[EVENTS];
    struct epoll_event accepting = {.events = EPOLLIN};
    int listener = port_listen(strtoul(argv[2], NULL, 10));
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    replies_make(strtoul(argv[4], NULL, 10));
    (void)signal(SIGPIPE, SIG_IGN);
    if (epoll_ctl(epoll, EPOLL_CTL_ADD, listener, &accepting) != 0) die("epoll_ctl fails");
    for (;;) {
        int count = epoll_wait(epoll, events, EVENTS, -1);
        for (int i = 0; i < count; i++) {
            if (events[i].data.ptr) {
                conn_serve(events[i].data.ptr, (events[i].events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0);
            } else {
                conns_accept(epoll, listener);
            }
        }
    }
}
