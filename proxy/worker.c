/*
 * The loop of a worker. Order within a turn: callbacks read and decide, then
 * after_poll sends: passes over sessions with parked requests, then links, then
 * clients. What a flush makes due is done in the same turn.
 */
#include "proxy/worker.h"

#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/monitor.h"
#include "proxy/session/pause.h"
#include "proxy/session/session.h"
#include "proxy/slowlog.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/upstream.h"

enum {
    READ_CHUNK = 64 * 1024,
    TICK_MS = 100,
    RETRY_MS = 5,
    TRIM_US = 2 * 1000 * 1000,
    TURN_ROUNDS = 8,
    NODE_TABLE_FIRST = 16,
};

struct kw_chunk *kw_worker_read_chunk(struct kw_worker *worker) {
    if (worker->rbuf && worker->rbuf->refs == 1) return worker->rbuf;
    if (worker->rbuf) kw_chunk_unref(worker->rbuf);
    worker->rbuf = kw_chunk_new_try(worker->pool, READ_CHUNK);
    return worker->rbuf;
}

bool kw_worker_argv_reserve(struct kw_worker *worker, size_t argc) {
    if (KW_LIKELY(argc <= worker->argv_cap)) return true;
    struct kw_arg *grown = kw_realloc_try(worker->argv, argc * 2 * sizeof(*grown));
    if (!grown) return false;
    worker->argv = grown;
    worker->argv_cap = argc * 2;
    return true;
}

void kw_worker_arm_retry(struct kw_worker *worker) {
    worker->retry_wanted = true;
}

bool kw_worker_post(struct kw_worker *worker, struct kw_message *message) {
    uv_mutex_lock(&worker->mailbox_lock);
    bool open = !worker->mailbox_closed;
    if (open) {
        message->next = worker->mailbox;
        worker->mailbox = message;
        /* Under the lock: the handle cannot be closed before this returns. */
        uv_async_send(&worker->wakeup);
    }
    uv_mutex_unlock(&worker->mailbox_lock);
    return open;
}

static void on_wakeup(uv_async_t *handle) {
    struct kw_worker *worker = handle->data;
    uv_mutex_lock(&worker->mailbox_lock);
    struct kw_message *in_order = kw_messages_in_order(worker->mailbox);
    worker->mailbox = NULL;
    uv_mutex_unlock(&worker->mailbox_lock);
    while (in_order) {
        struct kw_message *next = in_order->next;
        in_order->run(worker, in_order);
        in_order = next;
    }
}

static void before_poll(uv_prepare_t *handle) {
    ((struct kw_worker *)handle->data)->now_valid = false;
}

static void on_retry(uv_timer_t *handle) {
    struct kw_worker *worker = handle->data;
    kw_dispatch_run_passes(worker, KW_RUN_DUE);
    if (!worker->irregular_count) {
        uv_timer_stop(handle);
        worker->retry_armed = false;
    }
}

static void end_of_turn(struct kw_worker *worker) {
    for (int round = 0; round < TURN_ROUNDS; round++) {
        kw_dispatch_run_passes(worker, KW_RUN_NEEDED);
        if (KW_UNLIKELY(worker->monitor_lines.len > 0)) kw_monitor_flush(worker);
        kw_link_flush_all(worker);
        kw_session_flush_all(worker);
        if (worker->recheck_paused) kw_upstream_recheck_paused(worker);
        if (!worker->dirty_links && !worker->dirty_sessions) break;
    }
    if (worker->retry_wanted && !worker->retry_armed) {
        worker->retry_armed = true;
        uv_timer_start(&worker->retry, on_retry, RETRY_MS, RETRY_MS);
    }
    worker->retry_wanted = false;
    /* Work that is left over must not wait for the next event. */
    if (worker->dirty_links || worker->dirty_sessions) uv_async_send(&worker->wakeup);
}

static void after_poll(uv_check_t *handle) {
    end_of_turn(handle->data);
}

static void begin_stop(struct kw_worker *worker) {
    if (worker->stopping) return;
    uv_mutex_lock(&worker->mailbox_lock);
    bool more = worker->mailbox != NULL;
    worker->mailbox_closed = !more;
    uv_mutex_unlock(&worker->mailbox_lock);
    if (more) return; /* the next tick tries again */
    worker->stopping = true;
    while (worker->sessions) kw_session_close(worker->sessions);
    kw_upstream_close_all(worker);
    end_of_turn(worker);
    uv_close((uv_handle_t *)&worker->before_poll, NULL);
    uv_close((uv_handle_t *)&worker->after_poll, NULL);
    uv_close((uv_handle_t *)&worker->tick, NULL);
    uv_close((uv_handle_t *)&worker->retry, NULL);
    kw_pause_worker_close(worker);
    uv_close((uv_handle_t *)&worker->wakeup, NULL);
}

/* Draining: a client whose requests are all answered is closed; when none is left, or time is up, the worker ends. */
static void drain_step(struct kw_worker *worker) {
    struct kw_session *next;
    bool late = kw_worker_now_us(worker) >= worker->drain_deadline_us;
    for (struct kw_session *session = worker->sessions; session; session = next) {
        next = session->next;
        if (late || (session->inflight == 0 && kw_session_output_bytes(session) == 0) || session->hold) {
            kw_session_close(session);
        }
    }
    if (!worker->sessions && !worker->async_requests) begin_stop(worker);
}

static void on_tick(uv_timer_t *handle) {
    struct kw_worker *worker = handle->data;
    struct kw_session *next;
    for (struct kw_session *session = worker->sessions; session; session = next) {
        next = session->next;
        kw_session_tick(session);
    }
    kw_upstream_tick(worker);
    kw_pubsub_tick(worker->pubsub);
    kw_tracking_tick(worker);
    kw_dispatch_expire(worker);
    kw_dispatch_expire_open(worker);
    if (kw_worker_now_us(worker) >= worker->trim_due_us) {
        worker->trim_due_us = kw_worker_now_us(worker) + TRIM_US;
        kw_pool_trim(worker->pool);
        kw_request_trim(worker);
    }
    if (worker->draining) drain_step(worker);
}

static void on_loop_ended(struct kw_worker *worker) {
    if (worker->rbuf) kw_chunk_unref(worker->rbuf);
    kw_outq_clear(&worker->park, worker->pool);
    kw_node_sweep(worker);
    kw_free(worker->node_table);
    kw_free(worker->irregular);
    kw_topology_unref(worker->topology);
    kw_request_parse_deinit(&worker->parse);
    kw_planner_free(worker->planner);
    kw_slowlog_free(worker->slowlog);
    kw_pubsub_free(worker->pubsub);
    kw_free(worker->targets);
    kw_stats_deinit(&worker->stats);
    kw_free(worker->argv);
    kw_str_deinit(&worker->scratch);
    kw_str_deinit(&worker->monitor_lines);
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_pool_free(worker->pool);
}

static void run(void *arg) {
    struct kw_worker *worker = arg;
    uv_run(&worker->loop, UV_RUN_DEFAULT);
    on_loop_ended(worker);
    int err = uv_loop_close(&worker->loop);
    if (err) kw_log(KW_LOG_WARNING, "worker %u ended with open handles", worker->index);
}

int kw_worker_start(struct kw_worker *worker, struct kw_server *server, unsigned index) {
    worker->index = index;
    worker->server = server;
    worker->alert = kw_server_alert(server);
    worker->pool = kw_pool_new();
    worker->planner = kw_planner_new();
    worker->slowlog = kw_slowlog_new();
    worker->pubsub = kw_pubsub_new(worker);
    worker->home_slot = -1;
    worker->node_table_size = NODE_TABLE_FIRST;
    worker->node_table = kw_calloc(NODE_TABLE_FIRST, sizeof(struct kw_node *));
    kw_request_parse_init(&worker->parse);
    int err = uv_loop_init(&worker->loop);
    if (err) return KW_EIO;
    uv_mutex_init(&worker->mailbox_lock);
    uv_async_init(&worker->loop, &worker->wakeup, on_wakeup);
    uv_prepare_init(&worker->loop, &worker->before_poll);
    uv_check_init(&worker->loop, &worker->after_poll);
    uv_timer_init(&worker->loop, &worker->tick);
    uv_timer_init(&worker->loop, &worker->retry);
    kw_pause_worker_init(worker);
    worker->wakeup.data = worker->before_poll.data = worker->after_poll.data = worker;
    worker->tick.data = worker->retry.data = worker;
    uv_prepare_start(&worker->before_poll, before_poll);
    uv_check_start(&worker->after_poll, after_poll);
    uv_timer_start(&worker->tick, on_tick, TICK_MS, TICK_MS);
    return uv_thread_create(&worker->thread, run, worker) ? KW_EIO : 0;
}

void kw_worker_join(struct kw_worker *worker) {
    uv_thread_join(&worker->thread);
    uv_mutex_destroy(&worker->mailbox_lock);
}

struct client_message {
    struct kw_message message;
    int fd;
};

static void take_client(struct kw_worker *worker, struct kw_message *message) {
    struct client_message *client = KW_CONTAINER_OF(message, struct client_message, message);
    kw_session_accept(worker, client->fd);
    kw_free(client);
}

void kw_worker_post_client(struct kw_worker *worker, int fd) {
    struct client_message *client = kw_calloc(1, sizeof(*client));
    client->message.run = take_client;
    client->fd = fd;
    atomic_fetch_add_explicit(&worker->load, 1, memory_order_relaxed);
    if (kw_worker_post(worker, &client->message)) return;
    atomic_fetch_sub_explicit(&worker->load, 1, memory_order_relaxed);
    close(fd);
    kw_free(client);
}

struct topology_message {
    struct kw_message message;
    struct kw_topology *topology; /* own reference */
};

static void take_topology(struct kw_worker *worker, struct kw_message *message) {
    struct topology_message *news = KW_CONTAINER_OF(message, struct topology_message, message);
    if (!worker->stopping) kw_dispatch_topology(worker, news->topology);
    kw_topology_unref(news->topology);
    kw_free(news);
}

void kw_worker_post_topology(struct kw_worker *worker, struct kw_topology *topology) {
    struct topology_message *news = kw_calloc(1, sizeof(*news));
    news->message.run = take_topology;
    news->topology = kw_topology_ref(topology);
    if (kw_worker_post(worker, &news->message)) return;
    kw_topology_unref(news->topology);
    kw_free(news);
}

struct drain_message {
    struct kw_message message;
    uint64_t deadline_us;
};

static void take_drain(struct kw_worker *worker, struct kw_message *message) {
    struct drain_message *drain = KW_CONTAINER_OF(message, struct drain_message, message);
    worker->draining = true;
    worker->drain_deadline_us = drain->deadline_us;
    kw_free(drain);
    drain_step(worker);
}

void kw_worker_post_drain(struct kw_worker *worker, uint64_t deadline_us) {
    struct drain_message *drain = kw_calloc(1, sizeof(*drain));
    drain->message.run = take_drain;
    drain->deadline_us = deadline_us;
    if (!kw_worker_post(worker, &drain->message)) kw_free(drain);
}
