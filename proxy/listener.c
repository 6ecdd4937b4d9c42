/* Plain sockets watched by uv_poll: a descriptor can then be given to another thread's loop. */
#include "proxy/listener.h"

#include <errno.h>
#include <netdb.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"

enum { SOCKETS_MAX = 16, ACCEPTS_A_TURN = 256, PAUSE_MS = 100 };

struct kw_listener {
    uv_poll_t polls[SOCKETS_MAX];
    int fds[SOCKETS_MAX];
    unsigned count;
    uv_timer_t pause; /* out of descriptors: try again a little later */
    struct kw_listener_hooks hooks;
    _Atomic uint64_t rejected;
    bool closed;
};

static int listen_on(const struct addrinfo *at, int backlog) {
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -1;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

static int open_address(struct kw_listener *listener, uv_loop_t *loop, const char *host, size_t len, int port,
                        int backlog) {
    char name[256], service[16];
    snprintf(name, sizeof(name), "%.*s", (int)len, host);
    snprintf(service, sizeof(service), "%d", port);
    const char *node = strcmp(name, "*") == 0 ? NULL : name;
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    int err = getaddrinfo(node, service, &hints, &found);
    if (err) {
        fprintf(stderr, "keyway-proxy: bind %s: %s\n", name, gai_strerror(err));
        return KW_EINVALID;
    }
    int fd = listener->count < SOCKETS_MAX ? listen_on(found, backlog) : -1;
    freeaddrinfo(found);
    if (fd < 0) {
        fprintf(stderr, "keyway-proxy: cannot listen on %s:%d: %s\n", name, port, strerror(errno));
        return KW_EIO;
    }
    listener->fds[listener->count] = fd;
    uv_poll_init(loop, &listener->polls[listener->count], fd);
    listener->polls[listener->count].data = listener;
    listener->count++;
    return 0;
}

int kw_listener_open(struct kw_listener **out, uv_loop_t *loop, const struct kw_settings *settings,
                     const struct kw_listener_hooks *hooks) {
    struct kw_listener *listener = kw_calloc(1, sizeof(*listener));
    listener->hooks = *hooks;
    uv_timer_init(loop, &listener->pause);
    listener->pause.data = listener;
    const char *cursor = settings->bind;
    size_t len;
    const char *host;
    while ((host = kw_config_list_next(&cursor, &len))) {
        int err = open_address(listener, loop, host, len, (int)settings->port, (int)settings->tcp_backlog);
        if (err) return err; /* the process ends */
    }
    if (listener->count == 0) {
        fprintf(stderr, "keyway-proxy: bind names no address\n");
        return KW_EINVALID;
    }
    *out = listener;
    return 0;
}

static void refuse(struct kw_listener *listener, int fd) {
    static const char text[] = "-ERR max number of clients reached\r\n";
    ssize_t ignored = write(fd, text, sizeof(text) - 1);
    (void)ignored;
    close(fd);
    atomic_fetch_add(&listener->rejected, 1);
}

static void on_ready(uv_poll_t *poll, int status, int events);

static void on_pause_over(uv_timer_t *timer) {
    kw_listener_start(timer->data);
}

static void on_ready(uv_poll_t *poll, int status, int events) {
    (void)status;
    (void)events;
    struct kw_listener *listener = poll->data;
    int listening;
    uv_fileno((uv_handle_t *)poll, &listening);
    for (int i = 0; i < ACCEPTS_A_TURN; i++) {
        int fd = accept4(listening, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd < 0) {
            if (errno == EINTR || errno == ECONNABORTED) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) {
                static struct kw_log_limit limit;
                kw_log_limited(&limit, KW_LOG_WARNING, "cannot accept: %s", strerror(errno));
                for (unsigned k = 0; k < listener->count; k++) uv_poll_stop(&listener->polls[k]);
                uv_timer_start(&listener->pause, on_pause_over, PAUSE_MS, 0);
            }
            return;
        }
        if (listener->hooks.may_accept(listener->hooks.ctx)) {
            listener->hooks.on_client(listener->hooks.ctx, fd);
        } else {
            refuse(listener, fd);
        }
    }
}

void kw_listener_start(struct kw_listener *listener) {
    if (listener->closed) return;
    for (unsigned i = 0; i < listener->count; i++) uv_poll_start(&listener->polls[i], UV_READABLE, on_ready);
}

static void on_poll_closed(uv_handle_t *handle) {
    struct kw_listener *listener = handle->data;
    for (unsigned i = 0; i < listener->count; i++) {
        if ((uv_handle_t *)&listener->polls[i] == handle) close(listener->fds[i]);
    }
}

void kw_listener_close(struct kw_listener *listener) {
    if (listener->closed) return;
    listener->closed = true;
    for (unsigned i = 0; i < listener->count; i++) {
        uv_poll_stop(&listener->polls[i]);
        uv_close((uv_handle_t *)&listener->polls[i], on_poll_closed);
    }
    uv_close((uv_handle_t *)&listener->pause, NULL);
}

void kw_listener_free(struct kw_listener *listener) {
    kw_free(listener);
}

uint64_t kw_listener_rejected(const struct kw_listener *listener) {
    return atomic_load(&listener->rejected);
}
