/*
 * The main thread: listens, hands each client to the least busy worker, keeps
 * the topology (discovery) and the settings, and ends the process in order.
 * Start: bind first, so that a port in use is said before anything else runs.
 */
#include "proxy/server.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/bind.h"
#include "base/clock.h"
#include "base/config.h"
#include "base/error.h"
#include "base/log.h"
#include "cluster/discovery.h"
#include "proxy/listener.h"
#include "proxy/meta/follow.h"
#include "proxy/pubsub/topics.h"
#include "proxy/session/alert.h"
#include "proxy/session/pause.h"
#include "proxy/upstream/scripts.h"
#include "proxy/worker.h"

enum { OPEN_LATE_MS = 500 };

struct kw_server {
    uv_loop_t loop;
    uv_async_t wakeup;
    uv_signal_t on_term, on_int;
    uv_mutex_t mailbox_lock;
    struct kw_message *mailbox; /* own; newest first */
    struct kw_listener *listener;
    struct kw_discovery *discovery;
    struct kw_follow *follow;     /* own; NULL: there is no metadata service */
    struct kw_config *cfg;        /* borrowed */
    struct kw_settings *settings; /* borrowed */
    _Atomic(struct kw_limits *) limits;
    struct kw_worker *workers;
    unsigned worker_count;
    uv_thread_t joiner;
    _Atomic uint64_t next_client_id;
    _Atomic bool topology_doubt;
    _Atomic long long maxclients;
    struct kw_topology *topology; /* own reference */
    struct kw_scripts *scripts;   /* own */
    struct kw_alert alert;
    struct kw_topics *topics; /* own */
    uv_timer_t open_late;     /* clients wait for the first topology, but not for ever */
    char address[80];
    char run_id[41];
    char executable[512];
    uint64_t started_ms;
    bool stopping;
    _Atomic bool workers_done;
};

const struct kw_limits *kw_server_limits(const struct kw_server *server) {
    return atomic_load_explicit(&server->limits, memory_order_acquire);
}

uint64_t kw_server_next_client_id(struct kw_server *server) {
    return atomic_fetch_add(&server->next_client_id, 1);
}

const char *kw_server_address(const struct kw_server *server) {
    return server->address;
}

unsigned kw_server_worker_count(const struct kw_server *server) {
    return server->worker_count;
}

struct kw_worker *kw_server_worker(struct kw_server *server, unsigned index) {
    return &server->workers[index];
}

struct kw_scripts *kw_server_scripts(struct kw_server *server) {
    return server->scripts;
}

struct kw_topics *kw_server_topics(struct kw_server *server) {
    return server->topics;
}

struct kw_alert *kw_server_alert(struct kw_server *server) {
    return &server->alert;
}

struct kw_follow *kw_server_follow(struct kw_server *server) {
    return server->follow;
}

struct kw_config *kw_server_config(struct kw_server *server) {
    return server->cfg;
}

void kw_server_facts(const struct kw_server *server, struct kw_server_facts *facts) {
    *facts = (struct kw_server_facts){
        .run_id = server->run_id,
        .executable = server->executable,
        .config_file = kw_config_path(server->cfg) ? kw_config_path(server->cfg) : "",
        .port = (unsigned)server->settings->port,
        .maxclients = atomic_load(&server->maxclients),
        .started_ms = server->started_ms,
        .rejected_connections = kw_listener_rejected(server->listener),
    };
}

void kw_server_node_auth(const struct kw_server *server, struct kw_str *out) {
    const struct kw_limits *limits = kw_server_limits(server);
    if (!limits->cluster_password[0]) return;
    bool user = limits->cluster_username[0] != '\0';
    kw_str_resp_array(out, user ? 3 : 2);
    kw_str_resp_text(out, "AUTH");
    if (user) kw_str_resp_text(out, limits->cluster_username);
    kw_str_resp_text(out, limits->cluster_password);
}

void kw_server_topology_doubt(struct kw_server *server) {
    /* One wake-up is enough until the main thread has looked. */
    if (!atomic_exchange(&server->topology_doubt, true)) uv_async_send(&server->wakeup);
}

void kw_server_post(struct kw_server *server, struct kw_message *message) {
    uv_mutex_lock(&server->mailbox_lock);
    message->next = server->mailbox;
    server->mailbox = message;
    uv_mutex_unlock(&server->mailbox_lock);
    uv_async_send(&server->wakeup);
}

static void on_wakeup(uv_async_t *handle) {
    struct kw_server *server = handle->data;
    if (atomic_exchange(&server->topology_doubt, false) && server->discovery && !server->stopping) {
        kw_discovery_refresh_soon(server->discovery);
    }
    uv_mutex_lock(&server->mailbox_lock);
    struct kw_message *message = kw_messages_in_order(server->mailbox);
    server->mailbox = NULL;
    uv_mutex_unlock(&server->mailbox_lock);
    while (message) {
        struct kw_message *next = message->next;
        message->run(NULL, message);
        message = next;
    }
}

void kw_server_settings_changed(struct kw_server *server) {
    struct kw_limits *limits = kw_limits_new(server->settings);
    /* The old ones stay: a worker may be reading them. They are few and small. */
    limits->older = atomic_load(&server->limits);
    atomic_store_explicit(&server->limits, limits, memory_order_release);
    atomic_store(&server->maxclients, server->settings->maxclients);
    if (server->discovery) {
        kw_discovery_set_auth(server->discovery, server->settings->cluster_username,
                              server->settings->cluster_password);
    }
}

int kw_server_reopen_log(struct kw_server *server, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    kw_log_set_level((enum kw_log_level)server->settings->loglevel);
    return 0;
}

static void on_topology(void *ctx, struct kw_topology *topology) {
    struct kw_server *server = ctx;
    if (server->stopping) return;
    kw_topology_unref(server->topology);
    server->topology = kw_topology_ref(topology);
    kw_command_show_valkey(strcmp(topology->server_name, "valkey") == 0);
    /* Redis 7.0 and what is older; an unknown version may be anything. */
    const char *version = topology->server_version;
    kw_command_accept_newer(strcmp(topology->server_name, "redis") != 0 || strtod(version, NULL) > 7.05);
    for (unsigned i = 0; i < server->worker_count; i++) kw_worker_post_topology(&server->workers[i], topology);
    uv_timer_stop(&server->open_late);
    kw_listener_start(server->listener);
}

/* The least busy worker; a tie goes to the next in turn. */
static void on_client(void *ctx, int fd) {
    struct kw_server *server = ctx;
    static unsigned turn;
    unsigned best = turn++ % server->worker_count;
    size_t least = atomic_load_explicit(&server->workers[best].load, memory_order_relaxed);
    for (unsigned i = 0; i < server->worker_count; i++) {
        size_t load = atomic_load_explicit(&server->workers[i].load, memory_order_relaxed);
        if (load < least) {
            least = load;
            best = i;
        }
    }
    kw_worker_post_client(&server->workers[best], fd);
}

static size_t client_count(void *ctx) {
    struct kw_server *server = ctx;
    size_t count = 0;
    for (unsigned i = 0; i < server->worker_count; i++) {
        count += atomic_load_explicit(&server->workers[i].load, memory_order_relaxed);
    }
    return count;
}

static bool may_accept(void *ctx) {
    struct kw_server *server = ctx;
    return (long long)client_count(ctx) < atomic_load(&server->maxclients);
}

static void on_open_late(uv_timer_t *timer) {
    struct kw_server *server = timer->data;
    kw_listener_start(server->listener);
}

static void join_workers(void *arg) {
    struct kw_server *server = arg;
    for (unsigned i = 0; i < server->worker_count; i++) kw_worker_join(&server->workers[i]);
    atomic_store(&server->workers_done, true);
    uv_async_send(&server->wakeup);
}

static void on_discovery_closed(void *ctx) {
    ((struct kw_server *)ctx)->discovery = NULL;
}

static void on_follow_closed(void *ctx) {
    struct kw_server *server = ctx;
    server->follow = NULL;
    kw_discovery_close(server->discovery, on_discovery_closed, server);
}

static void on_all_joined(uv_async_t *handle) {
    struct kw_server *server = handle->data;
    on_wakeup(handle);
    if (!atomic_load(&server->workers_done) || uv_is_closing((uv_handle_t *)handle)) return;
    if (server->follow) {
        kw_follow_close(server->follow, on_follow_closed, server);
    } else {
        kw_discovery_close(server->discovery, on_discovery_closed, server);
    }
    uv_close((uv_handle_t *)&server->wakeup, NULL);
    uv_close((uv_handle_t *)&server->on_term, NULL);
    uv_close((uv_handle_t *)&server->on_int, NULL);
    uv_close((uv_handle_t *)&server->open_late, NULL);
}

static void on_signal(uv_signal_t *handle, int signum) {
    struct kw_server *server = handle->data;
    if (server->stopping) {
        kw_log(KW_LOG_WARNING, "second signal %d: leaving at once", signum);
        _exit(1);
    }
    server->stopping = true;
    kw_log(KW_LOG_NOTICE, "signal %d: finishing what is on its way, %lld s at most", signum,
           server->settings->shutdown_timeout_s);
    kw_listener_close(server->listener);
    uint64_t deadline_us = kw_clock_us() + (uint64_t)server->settings->shutdown_timeout_s * 1000000;
    for (unsigned i = 0; i < server->worker_count; i++) kw_worker_post_drain(&server->workers[i], deadline_us);
    uv_thread_create(&server->joiner, join_workers, server);
}

static int write_pidfile(const char *path) {
    if (!path[0]) return 0;
    FILE *file = fopen(path, "w");
    if (!file) {
        fprintf(stderr, "keyway-proxy: cannot write pidfile %s: %s\n", path, strerror(errno));
        return KW_EIO;
    }
    fprintf(file, "%d\n", (int)getpid());
    return fclose(file) ? KW_EIO : 0;
}

static void fill_identity(struct kw_server *server) {
    unsigned char bytes[20];
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) memset(bytes, 7, sizeof(bytes));
    for (size_t i = 0; i < sizeof(bytes); i++) snprintf(server->run_id + i * 2, 3, "%02x", bytes[i]);
    ssize_t len = readlink("/proc/self/exe", server->executable, sizeof(server->executable) - 1);
    server->executable[len > 0 ? len : 0] = '\0';
    const char *cursor = server->settings->bind;
    struct kw_bind_host at = {"", 0, false};
    kw_bind_next(&cursor, &at);
    snprintf(server->address, sizeof(server->address), "%.*s:%lld", (int)at.len, at.len ? at.host : "",
             server->settings->port);
    server->started_ms = kw_clock_ms();
}

static unsigned worker_count(const struct kw_settings *settings) {
    if (settings->workers > 0) return (unsigned)settings->workers;
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (unsigned)(online > 64 ? 64 : online) : 1;
}

static int start_workers(struct kw_server *server) {
    server->worker_count = worker_count(server->settings);
    server->workers = kw_calloc(server->worker_count, sizeof(*server->workers));
    for (unsigned i = 0; i < server->worker_count; i++) {
        int err = kw_worker_start(&server->workers[i], server, i);
        if (err) {
            fprintf(stderr, "keyway-proxy: cannot start worker %u: %s\n", i, kw_error_text(err));
            return err;
        }
    }
    return 0;
}

/* Where discovery begins; NULL: nowhere. Beside a metadata service what was said counts, not the default. */
static const char *seeds(const struct kw_server *server) {
    const struct kw_settings *settings = server->settings;
    bool said = kw_config_is_given(server->cfg, "cluster-nodes");
    bool none = settings->meta_nodes[0] && (!said || !settings->cluster_nodes[0]);
    return none ? NULL : settings->cluster_nodes;
}

static int start_discovery(struct kw_server *server) {
    const struct kw_settings *settings = server->settings;
    struct kw_discovery_options options = {
        .seeds = seeds(server),
        .user = settings->cluster_username,
        .password = settings->cluster_password,
        .refresh_ms = (unsigned)settings->topology_refresh_ms,
        .connect_timeout_ms = (unsigned)settings->connect_timeout_ms,
        .command_timeout_ms = 1000,
        .on_topology = on_topology,
        .learn = kw_command_learn_reply,
        .ctx = server,
    };
    int err = kw_discovery_new(&server->discovery, &server->loop, &options);
    if (err) {
        fprintf(stderr, "keyway-proxy: cluster-nodes '%s': %s\n", settings->cluster_nodes, kw_error_text(err));
        return err;
    }
    kw_discovery_start(server->discovery);
    return 0;
}

static int start_follow(struct kw_server *server) {
    const struct kw_settings *settings = server->settings;
    if (!settings->meta_nodes[0]) return 0;
    struct kw_follow_options options = {
        .nodes = settings->meta_nodes,
        .secret = settings->meta_secret,
        .id = server->run_id,
        .address = server->address,
        .workers = server->worker_count,
        .discovery = server->discovery,
    };
    int err = kw_follow_start(&server->follow, &server->loop, &options);
    if (err) fprintf(stderr, "keyway-proxy: meta-nodes '%s': %s\n", settings->meta_nodes, kw_error_text(err));
    return err;
}

static void start_signals(struct kw_server *server) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    uv_signal_init(&server->loop, &server->on_term);
    uv_signal_init(&server->loop, &server->on_int);
    server->on_term.data = server->on_int.data = server;
    uv_signal_start(&server->on_term, on_signal, SIGTERM);
    uv_signal_start(&server->on_int, on_signal, SIGINT);
}

int kw_server_run(struct kw_config *cfg, struct kw_settings *settings) {
    struct kw_server *server = kw_calloc(1, sizeof(*server));
    server->cfg = cfg;
    server->settings = settings;
    server->scripts = kw_scripts_new();
    kw_pause_init(&server->alert);
    server->topics = kw_topics_new();
    atomic_init(&server->next_client_id, 1);
    uv_loop_init(&server->loop);
    uv_mutex_init(&server->mailbox_lock);
    uv_async_init(&server->loop, &server->wakeup, on_all_joined);
    server->wakeup.data = server;
    fill_identity(server);
    kw_server_settings_changed(server);
    kw_config_bind(cfg, server);
    struct kw_listener_hooks hooks = {on_client, may_accept, server};
    if (kw_listener_open(&server->listener, &server->loop, settings, &hooks) || write_pidfile(settings->pidfile))
        return 1;
    start_signals(server);
    if (start_workers(server) || start_discovery(server) || start_follow(server)) return 1;
    /*
     * With the map known before the first request, nobody is told that there are no shards. Connections wait in the
     * backlog; when no node answers they are let in all the same.
     */
    uv_timer_init(&server->loop, &server->open_late);
    server->open_late.data = server;
    uv_timer_start(&server->open_late, on_open_late, OPEN_LATE_MS, 0);
    const char *nodes = seeds(server);
    kw_log(KW_LOG_NOTICE, "keyway-proxy %s serves on %s with %u workers%s%s%s%s", KW_VERSION, server->address,
           server->worker_count, nodes ? "; cluster-nodes " : "", nodes ? nodes : "",
           settings->meta_nodes[0] ? "; meta-nodes " : "", settings->meta_nodes);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    uv_thread_join(&server->joiner);
    kw_log(KW_LOG_NOTICE, "bye");
    if (settings->pidfile[0]) unlink(settings->pidfile);
    kw_topology_unref(server->topology);
    kw_listener_free(server->listener);
    kw_scripts_free(server->scripts);
    kw_pause_deinit(&server->alert);
    kw_topics_free(server->topics);
    kw_limits_free(atomic_load(&server->limits));
    kw_free(server->workers);
    uv_mutex_destroy(&server->mailbox_lock);
    uv_loop_close(&server->loop);
    kw_free(server);
    return 0;
}
