/*
 * The listeners, the turn of the loop, and the life of the door. What became due
 * in a turn is written in the prepare phase, before the loop waits again. A
 * timer of one second: signs of life to watchers, silent proxies, memory given back.
 */
#include "raft/door/door.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/door/door_internal.h"

enum { BACKLOG = 511, TICK_MS = 1000 };

bool kw_door_needs_secret(const struct kw_door *door) {
    return door->options.settings->secret[0] != '\0';
}

/* ---- events */

static void on_prepare(uv_prepare_t *handle) {
    kw_door_flush(handle->data);
}

static void on_tick(uv_timer_t *timer) {
    struct kw_door *door = timer->data;
    kw_pool_trim(door->pool);
    if (!door->replica) return;
    kw_door_watch_alive(door);
    kw_door_proxies_tick(door);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct kw_door *door = listener->data;
    if (status < 0) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING, "cannot accept: %s", uv_strerror(status));
        return;
    }
    kw_door_accept(door, listener);
}

void kw_door_applied(struct kw_door *door) {
    if (door->replica) kw_door_watch_applied(door);
}

void kw_door_role(struct kw_door *door) {
    if (!door->replica) return;
    kw_door_proxies_role(door);
    if (kw_replica_leader(door->replica, NULL) != door->alive_leader) kw_door_watch_alive(door);
}

/* ---- opening */

static int listen_on(struct kw_door *door, int fd) {
    uv_tcp_t *tcp = &door->listeners[door->listener_count++];
    uv_tcp_init(door->loop, tcp);
    tcp->data = door;
    door->open_handles++;
    int err = uv_tcp_open(tcp, fd);
    if (err) {
        close(fd);
        return err;
    }
    return uv_listen((uv_stream_t *)tcp, BACKLOG, on_connection);
}

static int open_listeners(struct kw_door *door, char *why, size_t why_size) {
    const struct kw_meta_settings *settings = door->options.settings;
    int fds[KW_BIND_MAX];
    int err = 0;
    int count = kw_bind_open(fds, settings->bind, (unsigned)settings->port, BACKLOG, why, why_size);
    for (int i = 0; i < count; i++) {
        int rc = listen_on(door, fds[i]);
        if (rc) err = rc;
    }
    if (count < 0) return count;
    if (err) snprintf(why, why_size, "cannot listen on port %lld: %s", settings->port, uv_strerror(err));
    return err ? KW_EIO : 0;
}

static void fill_run_id(struct kw_door *door) {
    unsigned char bytes[20];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) memset(bytes, 7, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) snprintf(door->run_id + i * 2, 3, "%02x", bytes[i]);
}

int kw_door_open(struct kw_door **out, uv_loop_t *loop, const struct kw_door_options *options, char *why,
                 size_t why_size) {
    struct kw_door *door = kw_calloc(1, sizeof(*door));
    door->loop = loop;
    door->options = *options;
    door->pool = kw_pool_new();
    door->read_buffer = kw_malloc(KW_DOOR_READ_SIZE);
    door->next_id = 1;
    door->started_ms = kw_clock_ms();
    fill_run_id(door);
    uv_prepare_init(loop, &door->flush);
    uv_idle_init(loop, &door->awake);
    uv_timer_init(loop, &door->tick);
    door->flush.data = door->awake.data = door->tick.data = door;
    door->open_handles = 3;
    *out = door;
    return open_listeners(door, why, why_size);
}

void kw_door_start(struct kw_door *door, struct kw_replica *replica, struct kw_observer *observer) {
    door->replica = replica;
    door->observer = observer;
    uv_prepare_start(&door->flush, on_prepare);
    uv_timer_start(&door->tick, on_tick, TICK_MS, TICK_MS);
    kw_door_applied(door);
    kw_door_role(door);
}

/* ---- closing */

static void free_when_last(struct kw_door *door) {
    if (--door->open_handles > 0) return;
    void (*closed)(void *) = door->closed;
    void *ctx = door->closed_ctx;
    kw_door_watch_deinit(door);
    kw_door_proxies_deinit(door);
    kw_str_deinit(&door->scratch);
    kw_pool_free(door->pool);
    kw_free(door->argv);
    kw_free(door->read_buffer);
    kw_free(door);
    if (closed) closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle) {
    free_when_last(handle->data);
}

void kw_door_session_gone(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    for (struct kw_door_session **at = &door->dirty; session->dirty && *at; at = &(*at)->dirty_next) {
        if (*at != session) continue;
        *at = session->dirty_next;
        break;
    }
    kw_free(session);
    free_when_last(door);
}

void kw_door_shut(struct kw_door *door) {
    if (door->shut) return;
    door->shut = true;
    for (unsigned i = 0; i < door->listener_count; i++) {
        uv_close((uv_handle_t *)&door->listeners[i], on_handle_closed);
    }
}

void kw_door_hush(struct kw_door *door) {
    door->hushed = true;
    door->replica = NULL;
    door->observer = NULL;
    for (struct kw_door_session *session = door->sessions; session; session = session->next) {
        kw_door_read_stop(session);
    }
}

void kw_door_close(struct kw_door *door, void (*closed)(void *ctx), void *ctx) {
    door->closed = closed;
    door->closed_ctx = ctx;
    kw_door_shut(door);
    kw_door_hush(door);
    kw_door_flush(door);
    while (door->sessions) kw_door_close_session(door->sessions);
    uv_close((uv_handle_t *)&door->flush, on_handle_closed);
    uv_close((uv_handle_t *)&door->awake, on_handle_closed);
    uv_close((uv_handle_t *)&door->tick, on_handle_closed);
}
