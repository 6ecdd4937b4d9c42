/*
 * `keyway-cli local up`: a running cluster, whatever was there before.
 *
 * Happy path: lock the folder, read or make its state, start the nodes that
 * do not run, form the cluster if it never was, wait until it is whole, have
 * the metadata nodes know it, start the proxy if it does not run, wait until
 * it serves and has registered, say how to connect.
 * Every step looks first, so the same command resumes after `down`, after a
 * crash of a part and after an `up` that was interrupted.
 *
 * What can fail is reported where it happens; what was started stays and is
 * on record, for the next `up` or `down`.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/local.h"
#include "cli/port.h"
#include "cli/report.h"

/* mkdir -p. Returns 0 or KW_EIO with errno set. */
static int dir_make(const char *dir) {
    char path[PATH_MAX];
    (void)snprintf(path, sizeof(path), "%s", dir);
    for (char *at = path + 1; *at != '\0'; at++) {
        if (*at != '/') continue;
        *at = '\0';
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return KW_EIO;
        *at = '/';
    }
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return KW_EIO;
    return 0;
}

static int folder_lock(const char *dir) {
    pid_t holder;
    int lock = kw_cli_local_lock(dir, &holder);
    if (lock == KW_ELIMIT) {
        kw_report_error("another keyway-cli (pid %d) is at work in %s", (int)holder, dir);
    } else if (lock < 0) {
        kw_report_error("cannot write in %s: %s", dir, strerror(errno));
    }
    return lock;
}

/* What this run has started. */
struct started {
    unsigned nodes;
    unsigned metas;
    bool proxy;
};

static void ports_print(const char *title, const uint16_t *ports, unsigned count) {
    (void)printf("  %-9s", title);
    for (unsigned i = 0; i < count; i++)
        (void)printf("%s%u", i > 0 && i % 12 == 0 ? "\n            " : " ", (unsigned)ports[i]);
    (void)fputc('\n', stdout);
}

static void result_print(const struct kw_cli_local_state *state, const struct started *started) {
    uint16_t nodes[KW_CLI_LOCAL_NODES_MAX] = {0};
    uint16_t metas[KW_CLI_LOCAL_META_MAX] = {0};
    for (unsigned i = 0; i < state->node_count; i++) nodes[i] = state->nodes[i].port;
    for (unsigned i = 0; i < state->meta_count; i++) metas[i] = state->metas[i].port;

    if (started->nodes + started->metas == 0 && !started->proxy) {
        (void)printf("Already running in %s.\n", state->dir);
    } else {
        const char *base = strrchr(state->server, '/');
        (void)printf("Running in %s: %u of %u nodes started (%s), ", state->dir, started->nodes, state->node_count,
                     base != NULL ? base + 1 : state->server);
        if (state->meta_count > 0) (void)printf("%u of %u metadata nodes, ", started->metas, state->meta_count);
        (void)printf("proxy %s.\n", started->proxy ? "started" : "kept");
    }
    (void)printf("\n  proxy     127.0.0.1:%u\n  shards    %u, with %u %s each\n", (unsigned)state->proxy_port,
                 state->shards, state->replicas, state->replicas == 1 ? "replica" : "replicas");
    ports_print("nodes", nodes, state->node_count);
    if (state->meta_count > 0) ports_print("metadata", metas, state->meta_count);
    (void)printf("\nConnect:  redis-cli -p %u\n", (unsigned)state->proxy_port);
}

/* Starts what does not run and brings it together. */
static int parts_start(struct kw_cli_local_state *state, struct started *started, uint64_t deadline_ms) {
    int rc = kw_cli_local_nodes_start(state, &started->nodes);
    if (rc == 0) rc = kw_cli_local_nodes_wait(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_metas_start(state, &started->metas);
    if (rc == 0 && !state->formed) rc = kw_cli_local_form(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_converge(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_metas_wait(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_attach(state, deadline_ms);
    return rc;
}

/* From a state to a cluster that serves. */
static int cluster_up(struct kw_cli_local_state *state, unsigned timeout_s) {
    uint64_t deadline_ms = kw_clock_ms() + timeout_s * 1000ULL;
    uint64_t since_ms = 0; /* a proxy that ran before has registered at any time */
    struct started started = {.proxy = !kw_process_alive(&state->proxy)};
    if (started.proxy && !kw_port_free(state->proxy_port)) {
        kw_report_error("port %u is in use by another process; choose another with --port",
                        (unsigned)state->proxy_port);
        return KW_ELIMIT;
    }
    int rc = kw_cli_local_metas_check(state); /* before anything runs */
    if (rc == 0) rc = parts_start(state, &started, deadline_ms);
    if (rc == 0 && started.proxy) {
        since_ms = kw_clock_ms();
        rc = kw_cli_local_proxy_start(state);
    }
    if (rc == 0) rc = kw_cli_local_proxy_wait(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_registered(state, since_ms, deadline_ms);
    if (rc == 0) result_print(state, &started);
    return rc;
}

int kw_cli_local_up(const struct kw_cli_local_options *options) {
    struct kw_cli_local_state state = {0};
    if (dir_make(options->dir) != 0 || realpath(options->dir, state.dir) == NULL) {
        kw_report_error("cannot make the folder %s: %s", options->dir, strerror(errno));
        return KW_EXIT_FAILED;
    }
    int lock = folder_lock(state.dir);
    if (lock < 0) return KW_EXIT_FAILED;
    int rc = kw_cli_local_plan(&state, options);
    if (rc == 0) rc = cluster_up(&state, options->timeout_s);
    close(lock);
    return rc == 0 ? KW_EXIT_OK : KW_EXIT_FAILED;
}
