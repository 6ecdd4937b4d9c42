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
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/port.h"
#include "cli/report.h"

enum { NODE_TIMEOUT_MS = 2000, STOP_TERM_MS = 15000, STOP_KILL_MS = 5000, POLL_MS = 50 };

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

int kw_cli_local_record(const struct kw_cli_local_state *state) {
    int rc = kw_cli_local_state_save(state);
    if (rc != 0) kw_report_error("cannot write the state file in %s: %s", state->dir, strerror(errno));
    return rc;
}

static int ports_check(uint16_t port) {
    uint16_t bus = (uint16_t)(port + KW_PORT_BUS_OFFSET);
    uint16_t taken = !kw_port_free(port) ? port : !kw_port_free(bus) ? bus : 0;
    if (taken == 0) return 0;
    kw_report_error("port %u, which belongs to node %u of this cluster, is in use by another process", (unsigned)taken,
                    (unsigned)port);
    return KW_ELIMIT;
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

    struct kw_process_pending pending;
    char *argv[] = {state->server, "node.conf", NULL};
    if (kw_process_prepare(&pending, argv, dir, log) != 0) {
        kw_report_error("cannot start a process: %s", strerror(errno));
        return KW_EIO;
    }
    node->process = pending.process;
    if (kw_cli_local_record(state) != 0) {
        kw_process_abandon(&pending);
        return KW_EIO;
    }
    if (kw_process_release(&pending) != 0) {
        kw_report_error("cannot run %s: %s", state->server, strerror(errno));
        return KW_EIO;
    }
    return 0;
}

int kw_cli_local_nodes_start(struct kw_cli_local_state *state, unsigned *started) {
    *started = 0;
    for (unsigned i = 0; i < state->node_count; i++) {
        if (kw_process_alive(&state->nodes[i].process)) continue;
        int rc = ports_check(state->nodes[i].port);
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

static int entry_remove(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

int kw_cli_local_nodes_remove(const struct kw_cli_local_state *state) {
    for (unsigned i = 0; i < state->node_count; i++) {
        if (nftw(kw_cli_local_node_path(state, i, ""), entry_remove, 16, FTW_DEPTH | FTW_PHYS) != 0 &&
            errno != ENOENT) {
            return KW_EIO;
        }
    }
    return 0;
}

unsigned kw_cli_local_nodes_alive(const struct kw_cli_local_state *state) {
    unsigned alive = 0;
    for (unsigned i = 0; i < state->node_count; i++) alive += kw_process_alive(&state->nodes[i].process);
    return alive;
}

/* A stopped (frozen) process acts on SIGTERM only once it is continued. */
static unsigned signal_all(const struct kw_process *processes, unsigned count, int sig) {
    unsigned sent = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!kw_process_signal(&processes[i], sig)) continue;
        (void)kw_process_signal(&processes[i], SIGCONT);
        sent++;
    }
    return sent;
}

int kw_cli_local_stop_all(struct kw_cli_local_state *state, unsigned *stopped, unsigned *killed) {
    struct kw_process processes[KW_CLI_LOCAL_NODES_MAX];
    for (unsigned i = 0; i < state->node_count; i++) processes[i] = state->nodes[i].process;

    /* The proxy first, so that it does not see its nodes die one by one. */
    *killed = 0;
    *stopped = signal_all(&state->proxy, 1, SIGTERM);
    int rc = kw_process_wait_gone(&state->proxy, 1, STOP_TERM_MS);
    if (rc != 0) {
        *killed += signal_all(&state->proxy, 1, SIGKILL);
        rc = kw_process_wait_gone(&state->proxy, 1, STOP_KILL_MS);
        if (rc != 0) return rc;
    }
    *stopped += signal_all(processes, state->node_count, SIGTERM);
    rc = kw_process_wait_gone(processes, state->node_count, STOP_TERM_MS);
    if (rc != 0) {
        *killed += signal_all(processes, state->node_count, SIGKILL);
        rc = kw_process_wait_gone(processes, state->node_count, STOP_KILL_MS);
    }
    return rc;
}
