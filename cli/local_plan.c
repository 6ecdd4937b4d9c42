/*
 * What an `up` is going to run: the state of the folder, checked against the
 * command line, or a new one with ports and programs chosen.
 *
 * What can fail is reported here: no server program, no free ports, options
 * that do not fit what the folder holds, a state file that cannot be read.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/local.h"
#include "cli/port.h"
#include "cli/report.h"

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

/* The well-known ports for the cluster whose proxy has the well-known one, where they are free. */
static bool meta_ports_default(struct kw_cli_local_state *state) {
    if (state->proxy_port != KW_CLI_LOCAL_PROXY_PORT) return false;
    for (unsigned i = 0; i < state->meta_count; i++) {
        uint16_t port = (uint16_t)(KW_CLI_LOCAL_META_PORT + i);
        if (!kw_port_free(port) || !kw_port_free((uint16_t)(port + KW_PORT_RAFT_OFFSET))) return false;
        state->metas[i].port = port;
    }
    return true;
}

static bool node_has(const struct kw_cli_local_state *state, uint16_t port) {
    for (unsigned i = 0; i < state->node_count; i++) {
        if (state->nodes[i].port == port) return true;
    }
    return false;
}

/* Raft ports lie as far above as the nodes' bus ports, so one search serves both. The nodes have their ports. */
static int meta_ports_choose(struct kw_cli_local_state *state) {
    uint16_t ports[KW_CLI_LOCAL_NODES_MAX + KW_CLI_LOCAL_META_MAX];
    unsigned count = state->node_count + state->meta_count;
    if (state->meta_count == 0 || meta_ports_default(state)) return 0;
    if (kw_port_find_nodes(ports, count, dir_hash(state->dir), state->proxy_port) != 0) {
        kw_report_error("there are not enough free ports for %u metadata nodes", state->meta_count);
        return KW_ELIMIT;
    }
    unsigned taken = 0;
    for (unsigned i = 0; i < count && taken < state->meta_count; i++) {
        if (!node_has(state, ports[i])) state->metas[taken++].port = ports[i];
    }
    KW_ASSERT(taken == state->meta_count);
    return 0;
}

static int ports_choose(struct kw_cli_local_state *state) {
    uint16_t ports[KW_CLI_LOCAL_NODES_MAX];
    if (kw_port_find_nodes(ports, state->node_count, dir_hash(state->dir), state->proxy_port) != 0) {
        kw_report_error("there are not enough free ports for %u nodes", state->node_count);
        return KW_ELIMIT;
    }
    for (unsigned i = 0; i < state->node_count; i++) state->nodes[i].port = ports[i];
    return meta_ports_choose(state);
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
    state->meta_known = true;
    state->meta_formed = false;
    state->meta_count = options->meta;
    memset(state->metas, 0, sizeof(state->metas));
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
    bool taken = false;
    for (unsigned i = 0; i < state->node_count; i++) {
        taken = taken || port == state->nodes[i].port || port == state->nodes[i].port + KW_PORT_BUS_OFFSET;
    }
    for (unsigned i = 0; i < state->meta_count; i++) {
        taken = taken || port == state->metas[i].port || port == state->metas[i].port + KW_PORT_RAFT_OFFSET;
    }
    if (taken) {
        kw_report_error("port %u belongs to a node of this very cluster; choose another with --port", (unsigned)port);
        return KW_EINVALID;
    }
    state->proxy_port = port;
    return 0;
}

/*
 * Metadata nodes for a folder that has none: made by an older version, or with --meta 0 and now asked for. Not while
 * the cluster runs, because its proxy would not follow them. Reported; 0 or an error.
 */
static int metas_add(struct kw_cli_local_state *state, const struct kw_cli_local_options *options) {
    bool wanted = options->meta > 0 && (options->meta_given || !state->meta_known);
    if (state->meta_count > 0) {
        if (!options->meta_given || options->meta == state->meta_count) return 0;
        kw_report_error("%s holds a cluster with %u metadata node%s; use another --dir, or remove this one with "
                        "`keyway-cli local down --wipe`",
                        state->dir, state->meta_count, state->meta_count == 1 ? "" : "s");
        return KW_EINVALID;
    }
    if (wanted && (kw_process_alive(&state->proxy) || kw_cli_local_nodes_alive(state) > 0)) {
        (void)printf("It has no metadata nodes and goes on without; `keyway-cli local down`, then `up");
        if (state->meta_known) (void)printf(" --meta %u", options->meta);
        (void)printf("`, adds them.\n");
        return 0;
    }
    if (!wanted && state->meta_known) return 0;
    state->meta_known = true;
    state->meta_count = options->meta;
    if (wanted) (void)printf("This cluster had no metadata nodes: adding %u.\n", options->meta);
    int rc = meta_ports_choose(state);
    return rc == 0 ? kw_cli_local_record(state) : rc;
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
    int rc = other_port ? proxy_port_change(state, options->port) : 0;
    return rc == 0 ? metas_add(state, options) : rc;
}

int kw_cli_local_plan(struct kw_cli_local_state *state, const struct kw_cli_local_options *options) {
    int rc = kw_cli_local_state_load(state);
    if (rc == KW_EUNKNOWN) return state_make(state, options);
    if (rc != 0) {
        kw_report_error("the state file in %s cannot be read: %s", state->dir,
                        rc == KW_EIO ? strerror(errno) : "it is not one of keyway-cli's");
        return rc;
    }
    if (!state->formed && kw_cli_local_nodes_alive(state) + kw_cli_local_metas_alive(state) == 0) {
        /* An earlier `up` was cut off before there was a cluster: nothing is lost by a new beginning. */
        if (kw_cli_local_nodes_remove(state) != 0 || kw_cli_local_metas_remove(state) != 0) {
            kw_report_error("cannot clear %s: %s", state->dir, strerror(errno));
            return KW_EIO;
        }
        state->node_count = 0;
        return state_make(state, options);
    }
    return state_match(state, options);
}
