/*
 * The proxy of a local cluster: the keyway-proxy beside this very program.
 *
 * Happy path: write its configuration (0600: it may hold the secret of the
 * metadata nodes, which must not stand on a command line), record the child, let it exec, then send it a read and a
 * write for one key on each primary until all are answered. The write is DEL of a key that nobody has, so nothing is
 * left behind.
 *
 * What can fail: there is no keyway-proxy beside keyway-cli, its port is
 * taken, it ends or does not serve before the deadline; the end of its log is
 * shown then.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/meta_target.h"
#include "cli/port.h"
#include "cli/report.h"

#define PROXY_NAME "keyway-proxy"
#define LOG_NAME   "proxy.log"
#define CONF_NAME  "proxy.conf"

enum { PROXY_TIMEOUT_MS = 3000, NODE_TIMEOUT_MS = 1000, POLL_MS = 50, PROBES_MAX = 100000 };

static void addresses_print(struct kw_str *out, const char *directive, const struct kw_cli_local_state *state,
                            bool metas) {
    unsigned count = metas ? state->meta_count : state->node_count;
    kw_str_append_text(out, directive);
    for (unsigned i = 0; i < count; i++) {
        kw_str_printf(out, "%c127.0.0.1:%u", i > 0 ? ',' : ' ',
                      (unsigned)(metas ? state->metas[i].port : state->nodes[i].port));
    }
    kw_str_append_text(out, "\n");
}

/* With metadata nodes the shards stay in the configuration: what to fall back to when none of those answers. */
static int conf_write(const struct kw_cli_local_state *state) {
    struct kw_str text = {0};
    kw_str_printf(&text, "# Written by keyway-cli at each start.\nport %u\nbind 127.0.0.1\n",
                  (unsigned)state->proxy_port);
    addresses_print(&text, "cluster-nodes", state, false);
    kw_str_append_text(&text, "logfile " LOG_NAME "\npidfile proxy.pid\n");
    int rc = 0;
    if (state->meta_count > 0) {
        char secret[KW_CLI_SECRET_MAX];
        rc = kw_cli_secret_read(kw_cli_local_path(state, KW_CLI_LOCAL_SECRET), secret);
        addresses_print(&text, "meta-nodes", state, true);
        kw_str_printf(&text, "meta-secret %s\n", rc == 0 ? secret : "");
        explicit_bzero(secret, sizeof(secret));
    }
    if (rc == 0) rc = kw_cli_local_private_write(kw_cli_local_path(state, CONF_NAME), text.data, text.len);
    kw_str_deinit(&text);
    return rc;
}

int kw_cli_local_proxy_start(struct kw_cli_local_state *state) {
    char path[PATH_MAX];
    char log[PATH_MAX + 256];
    char conf[] = CONF_NAME;
    char *argv[] = {path, conf, NULL};
    int rc = kw_cli_local_program(PROXY_NAME, path);
    if (rc != 0) return rc;
    if (!kw_port_free(state->proxy_port)) {
        kw_report_error("port %u is in use by another process; choose another with --port",
                        (unsigned)state->proxy_port);
        return KW_ELIMIT;
    }
    rc = conf_write(state);
    (void)snprintf(log, sizeof(log), "%s", kw_cli_local_path(state, LOG_NAME));
    return rc == 0 ? kw_cli_local_run(state, &state->proxy, argv, state->dir, log) : rc;
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
