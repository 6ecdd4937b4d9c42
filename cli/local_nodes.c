/*
 * The server processes of a local cluster.
 *
 * Happy path: for each node that does not run, look whether its ports are
 * free, write its configuration, record the child, let it exec; then wait
 * until all answer. A node's folder `node-PORT` holds node.conf (written anew
 * at each start), node.log, nodes.conf and the append-only file, and is the
 * node's working directory, so that no path is in the configuration.
 *
 * What can fail: a port that someone else took while the node was down, a
 * full or unwritable disk, a server that ends at once. Each is reported with
 * the node's port and, where there is one, the end of its log.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/port.h"
#include "cli/report.h"

enum { NODE_TIMEOUT_MS = 2000, POLL_MS = 50 };

static int conf_write(const char *path, uint16_t port) {
    FILE *file = fopen(path, "we");
    if (file == NULL) return KW_EIO;
    (void)fprintf(file,
                  "# Written by keyway-cli at each start.\n"
                  "bind 127.0.0.1\n"
                  "port %u\n"
                  "cluster-port %u\n"
                  "daemonize no\n"
                  "dir .\n"
                  "logfile node.log\n"
                  "cluster-enabled yes\n"
                  "cluster-config-file nodes.conf\n"
                  "cluster-node-timeout %d\n"
                  "cluster-require-full-coverage no\n"
                  "cluster-allow-replica-migration no\n"
                  "appendonly yes\n"
                  "save \"\"\n"
                  "repl-diskless-sync yes\n"
                  "repl-diskless-sync-delay 0\n",
                  (unsigned)port, (unsigned)port + KW_PORT_BUS_OFFSET, NODE_TIMEOUT_MS);
    bool good = ferror(file) == 0;
    if (fclose(file) == 0 && good) return 0;
    return KW_EIO;
}

static int node_start(struct kw_cli_local_state *state, unsigned index) {
    struct kw_cli_local_node *node = &state->nodes[index];
    char dir[PATH_MAX + 256];
    char log[PATH_MAX + 256];
    (void)snprintf(dir, sizeof(dir), "%s", kw_cli_local_node_path(state, index, ""));
    (void)snprintf(log, sizeof(log), "%s", kw_cli_local_node_path(state, index, "node.log"));
    if ((mkdir(dir, 0755) != 0 && errno != EEXIST) ||
        conf_write(kw_cli_local_node_path(state, index, "node.conf"), node->port) != 0) {
        kw_report_error("cannot prepare %s: %s", dir, strerror(errno));
        return KW_EIO;
    }

    char *argv[] = {state->server, "node.conf", NULL};
    return kw_cli_local_run(state, &node->process, argv, dir, log);
}

int kw_cli_local_nodes_start(struct kw_cli_local_state *state, unsigned *started) {
    *started = 0;
    for (unsigned i = 0; i < state->node_count; i++) {
        if (kw_process_alive(&state->nodes[i].process)) continue;
        uint16_t port = state->nodes[i].port;
        int rc = kw_cli_local_ports_check(port, (uint16_t)(port + KW_PORT_BUS_OFFSET), "node");
        if (rc != 0) return rc;
    }
    for (unsigned i = 0; i < state->node_count; i++) {
        if (kw_process_alive(&state->nodes[i].process)) continue;
        int rc = node_start(state, i);
        if (rc != 0) return rc;
        (*started)++;
    }
    return 0;
}

int kw_cli_local_nodes_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms) {
    for (unsigned i = 0; i < state->node_count;) {
        struct kw_cli_local_view view;
        kw_cli_local_view_read(&view, state->nodes[i].port);
        bool ready = view.answers && !view.loading;
        bool loading = view.loading;
        kw_cli_local_view_deinit(&view);
        bool alive = kw_process_alive(&state->nodes[i].process);
        if (ready && alive) {
            i++;
            continue;
        }
        if (alive && kw_clock_ms() < deadline_ms) {
            kw_process_pause_ms(POLL_MS);
            continue;
        }
        kw_report_error("node %u %s", (unsigned)state->nodes[i].port,
                        !alive    ? "ended"
                        : loading ? "is still loading its data; give it more with --timeout"
                                  : "does not answer");
        kw_report_log_tail(kw_cli_local_node_path(state, i, "node.log"));
        return alive ? KW_ETIMEOUT : KW_ECLOSED;
    }
    return 0;
}

int kw_cli_local_nodes_remove(const struct kw_cli_local_state *state) {
    for (unsigned i = 0; i < state->node_count; i++) {
        if (kw_cli_local_tree_remove(kw_cli_local_node_path(state, i, "")) != 0) return KW_EIO;
    }
    return 0;
}

unsigned kw_cli_local_nodes_alive(const struct kw_cli_local_state *state) {
    unsigned alive = 0;
    for (unsigned i = 0; i < state->node_count; i++) alive += kw_process_alive(&state->nodes[i].process);
    return alive;
}
