/*
 * `keyway-cli local`: a whole cluster on this machine, in one folder. The
 * parts: nodes (processes of the server), form (making them one cluster),
 * proxy, and the three commands. Each reports its own trouble on standard
 * error before it returns non-zero. Main thread.
 */
#ifndef KW_CLI_LOCAL_H
#define KW_CLI_LOCAL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/local_state.h"

/* The command line, with a mark for what was said and not just assumed. */
struct kw_cli_local_options {
    char dir[PATH_MAX];
    const char *server; /* borrowed from argv; NULL: the default, or what the folder was made with */
    unsigned shards;
    unsigned replicas;
    uint16_t port; /* 0: any free one */
    unsigned timeout_s;
    bool shards_given;
    bool replicas_given;
    bool port_given;
    bool wipe;
    bool json;
};

/* The three commands; each returns an enum kw_exit. */
int kw_cli_local_up(const struct kw_cli_local_options *options);
int kw_cli_local_down(const struct kw_cli_local_options *options);
int kw_cli_local_status(const struct kw_cli_local_options *options);

/*
 * Starts every node that does not run, recording each in the state file
 * before it may exec. *started is how many. Returns 0 or an error.
 */
int kw_cli_local_nodes_start(struct kw_cli_local_state *state, unsigned *started);

/* Waits until every node answers and has loaded its data. Returns 0, KW_ETIMEOUT, or KW_ECLOSED when one died. */
int kw_cli_local_nodes_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Removes the nodes' folders with all data. Returns 0 or KW_EIO with errno set. */
int kw_cli_local_nodes_remove(const struct kw_cli_local_state *state);

/*
 * Makes one cluster of the nodes: slots, meetings, replicas. Safe to run
 * again after an interrupted run. Sets and records state->formed.
 */
int kw_cli_local_form(struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Waits until every node says that the cluster is whole and every replica follows. Returns 0, KW_ETIMEOUT, KW_ECLOSED.
 */
int kw_cli_local_converge(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Starts the proxy, recording it before it may exec. */
int kw_cli_local_proxy_start(struct kw_cli_local_state *state);

/* Waits until a read and a write through the proxy reach every primary; leaves no key behind. */
int kw_cli_local_proxy_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Sends SIGTERM to all that runs, later SIGKILL, and waits. *stopped and *killed are counts. Returns 0 or KW_ETIMEOUT.
 */
int kw_cli_local_stop_all(struct kw_cli_local_state *state, unsigned *stopped, unsigned *killed);

/* How many of the nodes run now. */
unsigned kw_cli_local_nodes_alive(const struct kw_cli_local_state *state);

/* Saves the state; reports where it cannot. */
int kw_cli_local_record(const struct kw_cli_local_state *state);

#endif
