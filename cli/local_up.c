/*
 * `keyway-cli local up`: a running cluster, whatever was there before.
 *
 * Happy path: lock the folder, read or make its state, start the nodes that
 * do not run, form the cluster if it never was, wait until it is whole, start
 * the proxy if it does not run, wait until it serves, say how to connect.
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

static bool program_usable(const char *path) {
    struct stat info;
    return stat(path, &info) == 0 && S_ISREG(info.st_mode) && access(path, X_OK) == 0;
}

/* The path made absolute, its last part as it is: it may be a link that acts by its name. */
static bool program_absolute(const char *path, char out[PATH_MAX]) {
    char dir[PATH_MAX];
    char resolved[PATH_MAX];
    const char *name = strrchr(path, '/') + 1;
    if ((size_t)snprintf(dir, sizeof(dir), "%.*s.", (int)(name - path), path) >= sizeof(dir)) return false;
    if (realpath(dir, resolved) == NULL) return false;
    return (size_t)snprintf(out, PATH_MAX, "%s/%s", resolved, name) < PATH_MAX;
}

/*
 * Finds the server program as a shell would. A link is not followed: Debian's
 * redis-server is one to a program that acts by the name it is called with. Returns 0 or KW_EUNKNOWN, reported.
 */
static int server_find(const char *name, char out[PATH_MAX]) {
    if (strchr(name, '/') != NULL) {
        if (program_usable(name) && program_absolute(name, out)) return 0;
        kw_report_error("%s is not a program that can be run", name);
        return KW_EUNKNOWN;
    }
    const char *path = getenv("PATH");
    for (const char *at = path; at != NULL && *at != '\0';) {
        size_t len = strcspn(at, ":");
        if (len > 0 && at[0] == '/' && (size_t)snprintf(out, PATH_MAX, "%.*s/%s", (int)len, at, name) < PATH_MAX &&
            program_usable(out)) {
            return 0;
        }
        at += len + (at[len] == ':');
    }
    kw_report_error("%s is not in PATH: install it (apt install %s) or name another with --server", name, name);
    return KW_EUNKNOWN;
}

/* Different folders begin their search for ports at different places. */
static uint64_t dir_hash(const char *dir) {
    uint64_t hash = 1469598103934665603ULL;
    for (; *dir != '\0'; dir++) hash = (hash ^ (unsigned char)*dir) * 1099511628211ULL;
    return hash ^ (hash >> 29);
}

static int ports_choose(struct kw_cli_local_state *state) {
    uint16_t ports[KW_CLI_LOCAL_NODES_MAX];
    if (kw_port_find_nodes(ports, state->node_count, dir_hash(state->dir), state->proxy_port) != 0) {
        kw_report_error("there are not enough free ports for %u nodes", state->node_count);
        return KW_ELIMIT;
    }
    for (unsigned i = 0; i < state->node_count; i++) state->nodes[i].port = ports[i];
    return 0;
}

static int proxy_port_choose(struct kw_cli_local_state *state, uint16_t wanted) {
    state->proxy_port = wanted != 0 ? wanted : kw_port_find_any();
    if (state->proxy_port != 0) return 0;
    kw_report_error("there is no free port for the proxy");
    return KW_ELIMIT;
}

/* A state for a folder that has none. */
static int state_make(struct kw_cli_local_state *state, const struct kw_cli_local_options *options) {
    state->shards = options->shards;
    state->replicas = options->replicas;
    state->node_count = state->shards * (1 + state->replicas);
    int rc = server_find(options->server != NULL ? options->server : "redis-server", state->server);
    if (rc == 0) rc = proxy_port_choose(state, options->port);
    if (rc == 0) rc = ports_choose(state);
    return rc == 0 ? kw_cli_local_record(state) : rc;
}

/* Another port for a proxy that does not run. Reported; 0 or KW_EINVALID. */
static int proxy_port_change(struct kw_cli_local_state *state, uint16_t port) {
    if (kw_process_alive(&state->proxy)) {
        kw_report_error("the proxy of %s already runs on port %u", state->dir, (unsigned)state->proxy_port);
        return KW_EINVALID;
    }
    for (unsigned i = 0; i < state->node_count; i++) {
        uint16_t node = state->nodes[i].port;
        if (port != node && port != node + KW_PORT_BUS_OFFSET) continue;
        kw_report_error("port %u belongs to a node of this very cluster; choose another with --port", (unsigned)port);
        return KW_EINVALID;
    }
    state->proxy_port = port;
    return 0;
}

/* Whether the options agree with what the folder holds. Reported; 0 or KW_EINVALID. */
static int state_match(struct kw_cli_local_state *state, const struct kw_cli_local_options *options) {
    if ((options->shards_given && options->shards != state->shards) ||
        (options->replicas_given && options->replicas != state->replicas)) {
        kw_report_error("%s holds a cluster of %u shards with %u replicas each; use another --dir, or remove this one "
                        "with `keyway-cli local down --wipe`",
                        state->dir, state->shards, state->replicas);
        return KW_EINVALID;
    }
    char server[PATH_MAX];
    if (options->server != NULL) {
        int rc = server_find(options->server, server);
        if (rc != 0) return rc;
        if (strcmp(server, state->server) != 0) {
            kw_report_error("%s holds data of %s, not of %s; use another --dir", state->dir, state->server, server);
            return KW_EINVALID;
        }
    } else if (access(state->server, X_OK) != 0) {
        kw_report_error("%s, with which this cluster was made, is gone: install it again", state->server);
        return KW_EINVALID;
    }
    bool other_port = options->port_given && options->port != 0 && options->port != state->proxy_port;
    return other_port ? proxy_port_change(state, options->port) : 0;
}

/* Reads the state, or makes one. */
static int state_open(struct kw_cli_local_state *state, const struct kw_cli_local_options *options) {
    int rc = kw_cli_local_state_load(state);
    if (rc == KW_EUNKNOWN) return state_make(state, options);
    if (rc != 0) {
        kw_report_error("the state file in %s cannot be read: %s", state->dir,
                        rc == KW_EIO ? strerror(errno) : "it is not one of keyway-cli's");
        return rc;
    }
    if (!state->formed && kw_cli_local_nodes_alive(state) == 0) {
        /* An earlier `up` was cut off before there was a cluster: nothing is lost by a new beginning. */
        if (kw_cli_local_nodes_remove(state) != 0) {
            kw_report_error("cannot clear %s: %s", state->dir, strerror(errno));
            return KW_EIO;
        }
        state->node_count = 0;
        return state_make(state, options);
    }
    return state_match(state, options);
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

static void result_print(const struct kw_cli_local_state *state, unsigned nodes_started, bool proxy_started) {
    if (nodes_started == 0 && !proxy_started) {
        (void)printf("Already running in %s.\n", state->dir);
    } else {
        const char *base = strrchr(state->server, '/');
        (void)printf("Running in %s: %u of %u nodes started (%s), proxy %s.\n", state->dir, nodes_started,
                     state->node_count, base != NULL ? base + 1 : state->server, proxy_started ? "started" : "kept");
    }
    (void)printf("\n  proxy    127.0.0.1:%u\n  shards   %u, with %u %s each\n  nodes   ", (unsigned)state->proxy_port,
                 state->shards, state->replicas, state->replicas == 1 ? "replica" : "replicas");
    for (unsigned i = 0; i < state->node_count; i++) {
        (void)printf("%s%u", i > 0 && i % 12 == 0 ? "\n           " : " ", (unsigned)state->nodes[i].port);
    }
    (void)printf("\n\nConnect:  redis-cli -p %u\n", (unsigned)state->proxy_port);
}

/* From a state to a cluster that serves. */
static int cluster_up(struct kw_cli_local_state *state, unsigned timeout_s) {
    uint64_t deadline_ms = kw_clock_ms() + timeout_s * 1000ULL;
    unsigned nodes_started;
    bool proxy_missing = !kw_process_alive(&state->proxy);
    if (proxy_missing && !kw_port_free(state->proxy_port)) {
        kw_report_error("port %u is in use by another process; choose another with --port",
                        (unsigned)state->proxy_port);
        return KW_ELIMIT;
    }
    int rc = kw_cli_local_nodes_start(state, &nodes_started);
    if (rc == 0) rc = kw_cli_local_nodes_wait(state, deadline_ms);
    if (rc == 0 && !state->formed) rc = kw_cli_local_form(state, deadline_ms);
    if (rc == 0) rc = kw_cli_local_converge(state, deadline_ms);
    if (rc == 0 && proxy_missing) rc = kw_cli_local_proxy_start(state);
    if (rc == 0) rc = kw_cli_local_proxy_wait(state, deadline_ms);
    if (rc == 0) result_print(state, nodes_started, proxy_missing);
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
    int rc = state_open(&state, options);
    if (rc == 0) rc = cluster_up(&state, options->timeout_s);
    close(lock);
    return rc == 0 ? KW_EXIT_OK : KW_EXIT_FAILED;
}
