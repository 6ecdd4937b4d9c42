/*
 * Sockets and epoll: one send and one recv an event. Epoll is level-triggered, so that one recv an event is enough;
 * EPOLLOUT is asked for only while the kernel has no room.
 */
#include "tests/bench/load_meta/link.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/bench/load/load.h"

enum { READ_BYTES = 256 * 1024, EVENTS_MAX = 128 };

static int connect_to(const struct kw_seed *address) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    char port[16];
    int on = 1;
    (void)snprintf(port, sizeof(port), "%u", (unsigned)address->port);
    int code = getaddrinfo(address->host, port, &hints, &found);
    if (code != 0) load_die("%s: %s", address->host, gai_strerror(code));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        load_die("cannot connect to %s:%s: %m", address->host, port);
    }
    freeaddrinfo(found);
    (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
    return fd;
}

static void watch(struct meta_link *link, int operation, uint32_t events) {
    struct epoll_event event = {.events = events, .data.ptr = link};
    if (epoll_ctl(link->epoll, operation, link->fd, &event) != 0) load_die("epoll_ctl: %m");
}

void meta_link_open(struct meta_link *link, int epoll) {
    link->epoll = epoll;
    link->fd = connect_to(link->address);
    watch(link, EPOLL_CTL_ADD, EPOLLIN);
    link->protocol->open(link);
    meta_link_flush(link);
}

void meta_link_close(struct meta_link *link) {
    link->protocol->close(link);
    if (!link->dead) close(link->fd);
    kw_str_deinit(&link->out);
}

static void end(struct meta_link *link, const char *why) {
    if (!link->owner->ended) {
        load_die("%s:%u %s; %u answers were due", link->address->host, (unsigned)link->address->port, why, link->due);
    }
    link->dead = true;
    close(link->fd);
    link->owner->ended(link);
}

void meta_link_request(struct meta_link *link, enum meta_request request, const struct kw_str *key,
                       const struct kw_str *value, uint64_t tag) {
    link->due++;
    link->protocol->request(link, request, key, value, tag);
}

void meta_link_flush(struct meta_link *link) {
    bool full = false;
    while (!link->dead && link->out_done < link->out.len && !full) {
        ssize_t sent = send(link->fd, link->out.data + link->out_done, link->out.len - link->out_done,
                            MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno == EINTR) continue;
        full = sent < 0 && errno == EAGAIN;
        if (sent < 0 && !full) {
            end(link, "takes nothing any more");
            return;
        }
        if (!full) link->out_done += (size_t)sent;
    }
    if (link->out_done == link->out.len) {
        link->out_done = 0;
        kw_str_clear(&link->out);
    }
    if (link->dead || full == link->writing) return;
    link->writing = full;
    watch(link, EPOLL_CTL_MOD, full ? EPOLLIN | EPOLLOUT : EPOLLIN);
}

static void read_some(struct meta_link *link) {
    static char buf[READ_BYTES];
    ssize_t got = recv(link->fd, buf, sizeof(buf), MSG_DONTWAIT);
    if (got > 0) {
        link->protocol->take(link, buf, (size_t)got);
    } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
        end(link, "closed a connection");
    }
}

bool meta_turn(int epoll, uint64_t timeout_ns) {
    struct epoll_event events[EVENTS_MAX];
    struct timespec wait = {.tv_sec = (time_t)(timeout_ns / LOAD_NS_PER_SECOND),
                            .tv_nsec = (long)(timeout_ns % LOAD_NS_PER_SECOND)};
    int count = epoll_pwait2(epoll, events, EVENTS_MAX, &wait, NULL);
    if (count < 0 && errno != EINTR) load_die("epoll_pwait2: %m");
    for (int i = 0; i < count; i++) {
        struct meta_link *link = events[i].data.ptr;
        if (!link->dead && (events[i].events & (EPOLLIN | EPOLLERR | EPOLLHUP))) read_some(link);
        if (!link->dead) meta_link_flush(link);
    }
    return count > 0;
}
