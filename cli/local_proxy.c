/*
 * The proxy of a local cluster: the keyway-proxy beside this very program.
 *
 * Happy path: record the child, let it exec, then send it a read and a write
 * for one key on each primary until all are answered. The write is DEL of a
 * key that nobody has, so nothing is left behind.
 *
 * What can fail: there is no keyway-proxy beside keyway-cli, its port is
 * taken, it ends or does not serve before the deadline; the end of its log is
 * shown then.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/port.h"
#include "cli/report.h"

#define PROXY_NAME "keyway-proxy"
#define LOG_NAME   "proxy.log"

enum { PROXY_TIMEOUT_MS = 3000, NODE_TIMEOUT_MS = 1000, POLL_MS = 50, PROBES_MAX = 100000 };

/* The proxy's path, beside ours. Returns 0 or KW_EUNKNOWN. */
static int proxy_find(char path[PATH_MAX]) {
    char self[PATH_MAX - sizeof(PROXY_NAME)];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    if (len <= 0) return KW_EUNKNOWN;
    self[len] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) return KW_EUNKNOWN;
    *slash = '\0';
    (void)snprintf(path, PATH_MAX, "%s/" PROXY_NAME, self);
    if (access(path, X_OK) == 0) return 0;
    kw_report_error("there is no " PROXY_NAME " beside keyway-cli (%s): build it first", path);
    return KW_EUNKNOWN;
}

static void nodes_print(const struct kw_cli_local_state *state, struct kw_str *out) {
    for (unsigned i = 0; i < state->node_count; i++) {
        kw_str_printf(out, "%s127.0.0.1:%u", i > 0 ? "," : "", (unsigned)state->nodes[i].port);
    }
}

static int proxy_spawn(struct kw_cli_local_state *state, char *path, char *nodes) {
    char port[8];
    char log[PATH_MAX + 256];
    char pidfile[PATH_MAX + 256];
    (void)snprintf(port, sizeof(port), "%u", (unsigned)state->proxy_port);
    (void)snprintf(log, sizeof(log), "%s", kw_cli_local_path(state, LOG_NAME));
    (void)snprintf(pidfile, sizeof(pidfile), "%s", kw_cli_local_path(state, "proxy.pid"));
    char *argv[] = {path,  "--port",    port, "--bind",    "127.0.0.1", "--cluster-nodes",
                    nodes, "--logfile", log,  "--pidfile", pidfile,     NULL};

    struct kw_process_pending pending;
    if (kw_process_prepare(&pending, argv, state->dir, log) != 0) {
        kw_report_error("cannot start a process: %s", strerror(errno));
        return KW_EIO;
    }
    state->proxy = pending.process;
    if (kw_cli_local_record(state) != 0) {
        kw_process_abandon(&pending);
        return KW_EIO;
    }
    if (kw_process_release(&pending) != 0) {
        kw_report_error("cannot run %s: %s", path, strerror(errno));
        return KW_EIO;
    }
    return 0;
}

int kw_cli_local_proxy_start(struct kw_cli_local_state *state) {
    char path[PATH_MAX];
    int rc = proxy_find(path);
    if (rc != 0) return rc;
    if (!kw_port_free(state->proxy_port)) {
        kw_report_error("port %u is in use by another process; choose another with --port",
                        (unsigned)state->proxy_port);
        return KW_ELIMIT;
    }
    struct kw_str nodes = {0};
    nodes_print(state, &nodes);
    rc = proxy_spawn(state, path, nodes.data);
    kw_str_deinit(&nodes);
    return rc;
}

/* Which node has which slot, and which nodes were reached through the proxy. */
struct probe {
    uint16_t owner[KW_CLI_LOCAL_SLOTS]; /* node index + 1; 0: none */
    bool reached[KW_CLI_LOCAL_NODES_MAX];
    unsigned missing; /* primaries with slots not reached yet */
    uint16_t current; /* while owners are filled in */
};

static void owner_set(void *arg, unsigned first, unsigned last) {
    struct probe *probe = arg;
    for (unsigned slot = first; slot <= last; slot++) probe->owner[slot] = probe->current;
}

static void probe_fill(struct probe *probe, const struct kw_cli_local_state *state) {
    memset(probe, 0, sizeof(*probe));
    for (unsigned i = 0; i < state->node_count; i++) {
        struct kw_cli_local_view view;
        kw_cli_local_view_read(&view, state->nodes[i].port);
        probe->current = (uint16_t)(i + 1);
        if (view.answers && view.primary && view.slot_count > 0) {
            kw_cli_local_view_each_range(&view, owner_set, probe);
            probe->missing++;
        }
        kw_cli_local_view_deinit(&view);
    }
}

/* The slot of a key, asked of a node; KW_CLI_LOCAL_SLOTS when it does not say. */
static unsigned slot_ask(redisContext *node, const char *key) {
    unsigned slot = KW_CLI_LOCAL_SLOTS;
    redisReply *reply = kw_cli_link_command(node, "CLUSTER KEYSLOT %s", key);
    if (reply != NULL && reply->type == REDIS_REPLY_INTEGER && reply->integer >= 0 &&
        reply->integer < KW_CLI_LOCAL_SLOTS) {
        slot = (unsigned)reply->integer;
    }
    if (reply != NULL) freeReplyObject(reply);
    return slot;
}

/* One round of questions. Returns true when each primary was reached; else `error` says what was in the way. */
static bool probe_run(struct probe *probe, redisContext *proxy, redisContext *node, char *error, size_t error_size) {
    if (!kw_cli_link_succeeds(proxy, error, error_size, "PING")) return false;
    (void)snprintf(error, error_size, "no node has slots");
    if (probe->missing == 0) return false;
    for (unsigned i = 0; i < PROBES_MAX && probe->missing > 0; i++) {
        char key[48];
        (void)snprintf(key, sizeof(key), "keyway-cli:probe:%u", i);
        unsigned slot = slot_ask(node, key);
        if (slot == KW_CLI_LOCAL_SLOTS) break;
        unsigned owner = probe->owner[slot];
        if (owner == 0 || probe->reached[owner - 1]) continue;
        if (!kw_cli_link_succeeds(proxy, error, error_size, "EXISTS %s", key) ||
            !kw_cli_link_succeeds(proxy, error, error_size, "DEL %s", key)) {
            return false;
        }
        probe->reached[owner - 1] = true;
        probe->missing--;
    }
    return probe->missing == 0;
}

static bool proxy_serves(const struct kw_cli_local_state *state, char *error, size_t error_size) {
    struct probe probe;
    bool good = false;
    (void)snprintf(error, error_size, "it does not accept connections");
    redisContext *proxy = kw_cli_link_open(state->proxy_port, PROXY_TIMEOUT_MS);
    if (proxy == NULL) return false;
    redisContext *node = kw_cli_link_open(state->nodes[0].port, NODE_TIMEOUT_MS);
    if (node != NULL) {
        probe_fill(&probe, state);
        good = probe_run(&probe, proxy, node, error, error_size);
        redisFree(node);
    }
    redisFree(proxy);
    return good;
}

int kw_cli_local_proxy_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms) {
    char error[256];
    for (;;) {
        bool alive = kw_process_alive(&state->proxy);
        if (alive && proxy_serves(state, error, sizeof(error))) return 0;
        if (!alive || kw_clock_ms() >= deadline_ms) {
            if (!alive)
                kw_report_error("the proxy ended");
            else
                kw_report_error("the proxy does not serve: %s", error);
            kw_report_log_tail(kw_cli_local_path(state, LOG_NAME));
            return alive ? KW_ETIMEOUT : KW_ECLOSED;
        }
        kw_process_pause_ms(POLL_MS);
    }
}
