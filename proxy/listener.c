/* Plain sockets watched by uv_poll: a descriptor can then be given to another thread's loop. */
#include "proxy/listener.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/bind.h"
#include "base/error.h"
#include "base/log.h"

enum { ACCEPTS_A_TURN = 256, PAUSE_MS = 100 };

struct kw_listener {
    uv_poll_t polls[KW_BIND_MAX];
    int fds[KW_BIND_MAX];
    unsigned count;
    uv_timer_t pause; /* out of descriptors: try again a little later */
    struct kw_listener_hooks hooks;
    _Atomic uint64_t rejected;
    bool closed;
};

int kw_listener_open(struct kw_listener **out, uv_loop_t *loop, const struct kw_settings *settings,
                     const struct kw_listener_hooks *hooks) {
    struct kw_listener *listener = kw_calloc(1, sizeof(*listener));
    listener->hooks = *hooks;
    uv_timer_init(loop, &listener->pause);
    listener->pause.data = listener;
    char why[256];
    int count = kw_bind_open(listener->fds, settings->bind, (unsigned)settings->port, (int)settings->tcp_backlog, why,
                             sizeof(why));
    if (count < 0) {
        fprintf(stderr, "keyway-proxy: %s\n", why);
        return count; /* the process ends */
    }
    for (; listener->count < (unsigned)count; listener->count++) {
        uv_poll_t *poll = &listener->polls[listener->count];
        uv_poll_init(loop, poll, listener->fds[listener->count]);
        poll->data = listener;
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
