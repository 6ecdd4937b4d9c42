/*
 * Start: judge the settings, take the port, open the data folder, and only then
 * let clients in. End: no new clients, leadership handed on (for a second at
 * most, so that the service is not without a leader for an election), observer
 * and replica closed, what they answered still written, connections closed.
 *
 * What can fail: see the exit codes in server.h. A failure of the disk ends the
 * process at once: what it has promised is on the other nodes.
 */
#include "raft/server.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/bind.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/door/door.h"
#include "raft/observer.h"
#include "raft/settings.h"
#include "raft/store/replica.h"

enum { HAND_ON_MS = 1000, WHY_SIZE = 1024 };

struct kw_meta_server {
    uv_loop_t loop;
    uv_signal_t on_term, on_int;
    uv_timer_t hand_on; /* bounds the transfer of leadership */
    struct kw_config *cfg;
    struct kw_meta_settings *settings;
    struct kw_meta_identity identity;
    struct kw_replica *replica;
    struct kw_observer *observer;
    struct kw_door *door;
    bool stopping, closing;
};

static void complain(const struct kw_meta_settings *settings, const char *why) {
    fprintf(stderr, "keyway-meta: %s\n", why);
    if (settings->logfile[0]) kw_log(KW_LOG_WARNING, "%s", why);
}

/* ---- the replica's events */

static void on_applied(void *ctx) {
    struct kw_meta_server *server = ctx;
    if (server->closing || !server->observer) return;
    kw_door_applied(server->door);
    kw_observer_update(server->observer, kw_replica_role(server->replica) == KW_ROLE_LEADER);
}

static void on_role(void *ctx) {
    struct kw_meta_server *server = ctx;
    if (server->closing || !server->observer) return;
    kw_door_role(server->door);
    kw_observer_update(server->observer, kw_replica_role(server->replica) == KW_ROLE_LEADER);
}

static void on_fatal(void *ctx, int code, const char *why) {
    struct kw_meta_server *server = ctx;
    complain(server->settings, why);
    if (server->settings->pidfile[0]) unlink(server->settings->pidfile);
    _exit(code == KW_EINVALID ? KW_META_EXIT_FOLDER : KW_META_EXIT_DISK);
}

/* ---- settings that change */

void kw_meta_server_log_changed(struct kw_meta_server *server) {
    kw_log_set_level((enum kw_log_level)server->settings->loglevel);
}

void kw_meta_server_auth_changed(struct kw_meta_server *server) {
    if (!server->observer) return;
    kw_observer_set_auth(server->observer, server->settings->cluster_username, server->settings->cluster_password);
}

/* ---- the end */

static void on_door_closed(void *ctx) {
    struct kw_meta_server *server = ctx;
    server->door = NULL;
    uv_close((uv_handle_t *)&server->on_term, NULL);
    uv_close((uv_handle_t *)&server->on_int, NULL);
    uv_close((uv_handle_t *)&server->hand_on, NULL);
}

static void on_replica_closed(void *ctx) {
    struct kw_meta_server *server = ctx;
    server->replica = NULL;
    kw_door_close(server->door, on_door_closed, server);
}

static void on_observer_closed(void *ctx) {
    ((struct kw_meta_server *)ctx)->observer = NULL;
}

static void close_all(struct kw_meta_server *server) {
    if (server->closing) return;
    server->closing = true;
    uv_timer_stop(&server->hand_on);
    kw_door_hush(server->door);
    kw_observer_close(server->observer, on_observer_closed, server);
    kw_replica_close(server->replica, on_replica_closed, server);
}

static void on_hand_on_over(uv_timer_t *timer) {
    close_all(timer->data);
}

static void on_handed_on(void *ctx, int code, const struct kw_meta_result *result) {
    struct kw_meta_server *server = ctx;
    (void)result;
    if (server->closing) return;
    kw_log(KW_LOG_NOTICE, "leadership was %shanded on%s%s", code ? "not " : "", code ? ": " : "",
           code ? kw_error_text(code) : "");
    /* Not from within the replica, which is closed next. */
    uv_timer_start(&server->hand_on, on_hand_on_over, 0, 0);
}

static void stop(struct kw_meta_server *server) {
    if (server->stopping) return;
    server->stopping = true;
    kw_door_shut(server->door);
    uv_timer_start(&server->hand_on, on_hand_on_over, HAND_ON_MS, 0);
    bool leads = kw_replica_role(server->replica) == KW_ROLE_LEADER;
    int err = leads ? kw_replica_transfer(server->replica, 0, on_handed_on, server) : KW_ENOTLEADER;
    if (err) uv_timer_start(&server->hand_on, on_hand_on_over, 0, 0);
}

static void on_signal(uv_signal_t *handle, int signum) {
    struct kw_meta_server *server = handle->data;
    if (server->stopping) {
        kw_log(KW_LOG_WARNING, "second signal %d: leaving at once", signum);
        _exit(1);
    }
    kw_log(KW_LOG_NOTICE, "signal %d: stopping", signum);
    stop(server);
}

static void on_shutdown(void *ctx) {
    stop(ctx);
}

/* ---- the start */

static int write_pidfile(const struct kw_meta_settings *settings) {
    if (!settings->pidfile[0]) return 0;
    FILE *file = fopen(settings->pidfile, "w");
    if (file) {
        fprintf(file, "%d\n", (int)getpid());
        if (fclose(file) == 0) return 0;
    }
    fprintf(stderr, "keyway-meta: cannot write pidfile %s: %s\n", settings->pidfile, strerror(errno));
    return KW_EIO;
}

static int open_door(struct kw_meta_server *server, char *why, size_t why_size) {
    struct kw_door_options options = {
        .cfg = server->cfg,
        .settings = server->settings,
        .on_shutdown = on_shutdown,
        .ctx = server,
    };
    return kw_door_open(&server->door, &server->loop, &options, why, why_size);
}

static int open_replica(struct kw_meta_server *server, char *why, size_t why_size) {
    const struct kw_meta_settings *settings = server->settings;
    struct kw_replica_options options = {
        .id = (uint64_t)settings->id,
        .address = server->identity.address,
        .bind = settings->bind,
        .dir = settings->dir,
        .secret = settings->secret,
        .cluster = settings->cluster_name,
        .peers = server->identity.peer_count ? server->identity.peers : NULL,
        .peer_count = server->identity.peer_count,
        .join = settings->join,
        .heartbeat_ms = (unsigned)settings->heartbeat_ms,
        .election_ms = (unsigned)settings->election_timeout_ms,
        .disk_timeout_ms = (unsigned)settings->disk_timeout_ms,
        .snapshot_entries = (unsigned)settings->snapshot_entries,
        .on_applied = on_applied,
        .on_role = on_role,
        .on_fatal = on_fatal,
        .ctx = server,
    };
    return kw_replica_new(&server->replica, &server->loop, &options, why, why_size);
}

static void start_signals(struct kw_meta_server *server) {
    signal(SIGPIPE, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    uv_signal_init(&server->loop, &server->on_term);
    uv_signal_init(&server->loop, &server->on_int);
    uv_timer_init(&server->loop, &server->hand_on);
    server->on_term.data = server->on_int.data = server->hand_on.data = server;
    uv_signal_start(&server->on_term, on_signal, SIGTERM);
    uv_signal_start(&server->on_int, on_signal, SIGINT);
}

static void say_ready(const struct kw_meta_settings *settings) {
    const char *cursor = settings->bind;
    struct kw_bind_host at;
    if (!kw_bind_next(&cursor, &at)) return;
    kw_log(KW_LOG_NOTICE, "ready: node %lld serves clients on %.*s:%lld", settings->id, (int)at.len, at.host,
           settings->port);
}

/* The exit code, or 0 when all is open. */
static int open_all(struct kw_meta_server *server) {
    const struct kw_meta_settings *settings = server->settings;
    char why[WHY_SIZE] = "";
    if (kw_meta_settings_judge(settings, &server->identity, why, sizeof(why)) || open_door(server, why, sizeof(why))) {
        complain(settings, why);
        return KW_META_EXIT_CONFIG;
    }
    int err = open_replica(server, why, sizeof(why));
    if (err) {
        complain(settings, why);
        return err == KW_EIO ? KW_META_EXIT_CONFIG : KW_META_EXIT_FOLDER;
    }
    return write_pidfile(settings) ? KW_META_EXIT_CONFIG : 0;
}

int kw_meta_server_run(struct kw_config *cfg, struct kw_meta_settings *settings) {
    struct kw_meta_server *server = kw_calloc(1, sizeof(*server));
    server->cfg = cfg;
    server->settings = settings;
    uv_loop_init(&server->loop);
    uv_loop_configure(&server->loop, UV_METRICS_IDLE_TIME);
    start_signals(server);
    kw_config_bind(cfg, server);
    int code = open_all(server);
    if (code) return code; /* the process ends, and takes all of it along */
    server->observer =
        kw_observer_new(&server->loop, server->replica, settings->cluster_username, settings->cluster_password);
    kw_door_start(server->door, server->replica, server->observer);
    on_role(server);
    say_ready(settings);
    uv_run(&server->loop, UV_RUN_DEFAULT);
    kw_log(KW_LOG_NOTICE, "bye");
    if (settings->pidfile[0]) unlink(settings->pidfile);
    uv_loop_close(&server->loop);
    kw_free(server);
    return 0;
}
