/*
 * `keyway-cli local`: a whole cluster on this machine, in one folder. The
 * parts: nodes (processes of the server), form (making them one cluster),
 * metadata nodes, proxy, and the three commands. Each reports its own trouble
 * on standard error before it returns non-zero. Main thread.
 */
#ifndef KW_CLI_LOCAL_H
#define KW_CLI_LOCAL_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/local_state.h"

/* The ports that are taken where nothing else is said and they are free. */
enum { KW_CLI_LOCAL_PROXY_PORT = 7379, KW_CLI_LOCAL_META_PORT = 7380 };

/* The command line, with a mark for what was said and not just assumed. */
struct kw_cli_local_options {
    char dir[PATH_MAX];
    const char *server; /* borrowed from argv; NULL: the default, or what the folder was made with */
    unsigned shards;
    unsigned replicas;
    unsigned meta; /* metadata nodes */
    uint16_t port; /* 0: any free one */
    unsigned timeout_s;
    bool shards_given;
    bool replicas_given;
    bool meta_given;
    bool port_given;
    bool wipe;
    bool json;
};

/* The three commands; each returns an enum kw_exit. */
int kw_cli_local_up(const struct kw_cli_local_options *options);
int kw_cli_local_down(const struct kw_cli_local_options *options);
int kw_cli_local_status(const struct kw_cli_local_options *options);

/* ---- local_plan.c: what an `up` is going to run ---- */

/* Reads the folder's state and judges the options by it, or makes one. Returns 0 or an error. */
int kw_cli_local_plan(struct kw_cli_local_state *state, const struct kw_cli_local_options *options);

/* ---- local_nodes.c ---- */

/*
 * Starts every node that does not run, recording each in the state file
 * before it may exec. *started is how many. Returns 0 or an error.
 */
int kw_cli_local_nodes_start(struct kw_cli_local_state *state, unsigned *started);

/* Waits until every node answers and has loaded its data. Returns 0, KW_ETIMEOUT, or KW_ECLOSED when one died. */
int kw_cli_local_nodes_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Removes the nodes' folders with all data. Returns 0 or KW_EIO with errno set. */
int kw_cli_local_nodes_remove(const struct kw_cli_local_state *state);

/* How many of the nodes run now. */
unsigned kw_cli_local_nodes_alive(const struct kw_cli_local_state *state);

/* ---- local_form.c ---- */

/*
 * Makes one cluster of the nodes: slots, meetings, replicas. Safe to run
 * again after an interrupted run. Sets and records state->formed.
 */
int kw_cli_local_form(struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Waits until every node says that the cluster is whole and every replica follows. Returns 0, KW_ETIMEOUT, KW_ECLOSED.
 */
int kw_cli_local_converge(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* ---- local_meta.c, local_attach.c: all of it is nothing to do where there are no metadata nodes ---- */

/* Whether those that do not run could be started: the program, the ports, the data of most of them. */
int kw_cli_local_metas_check(const struct kw_cli_local_state *state);

/* As kw_cli_local_nodes_start, for the metadata nodes; makes their secret the first time. */
int kw_cli_local_metas_start(struct kw_cli_local_state *state, unsigned *started);

/* Waits until they have a leader that all of them follow. Sets and records state->meta_formed. */
int kw_cli_local_metas_wait(struct kw_cli_local_state *state, uint64_t deadline_ms);

int kw_cli_local_metas_remove(const struct kw_cli_local_state *state);
unsigned kw_cli_local_metas_alive(const struct kw_cli_local_state *state);

/* True when a metadata node lost its data folder after the service was formed: it is never started again. */
bool kw_cli_local_meta_lost(const struct kw_cli_local_state *state, unsigned index);

/* Gives them the cluster's map, unless they have one. Waits until it is there. */
int kw_cli_local_attach(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* Waits until they have heard of the proxy at `since_ms` (kw_clock_ms) or later. */
int kw_cli_local_registered(const struct kw_cli_local_state *state, uint64_t since_ms, uint64_t deadline_ms);

/* ---- local_proxy.c ---- */

/* Starts the proxy, recording it before it may exec. */
int kw_cli_local_proxy_start(struct kw_cli_local_state *state);

/* Waits until a read and a write through the proxy reach every primary; leaves no key behind. */
int kw_cli_local_proxy_wait(const struct kw_cli_local_state *state, uint64_t deadline_ms);

/* ---- local_run.c ---- */

/* Saves the state; reports where it cannot. */
int kw_cli_local_record(const struct kw_cli_local_state *state);

/* The path of a program of ours, beside this very one. Returns 0 or KW_EUNKNOWN. */
int kw_cli_local_program(const char *name, char path[PATH_MAX]);

/*
 * Starts argv[0] in `cwd`, both outputs to `log_path`, recorded in `process`, which is part of `state`, before it may
 * exec.
 */
int kw_cli_local_run(struct kw_cli_local_state *state, struct kw_process *process, char *const argv[], const char *cwd,
                     const char *log_path);

/* Puts a file of mode 0600 in place in one step. Returns 0 or KW_EIO. */
int kw_cli_local_private_write(const char *path, const char *text, size_t len);

/* Whether both ports of `what` ("node") can be taken. Returns 0 or KW_ELIMIT. */
int kw_cli_local_ports_check(uint16_t port, uint16_t other, const char *what);

/* Removes a folder and all in it, if it is there. Not reported: KW_EIO with errno set. */
int kw_cli_local_tree_remove(const char *path);

/* Sends SIGTERM to all that runs, later SIGKILL, and waits. *stopped and *killed are counts. Returns 0 or KW_ETIMEOUT,
 * which is not reported. */
int kw_cli_local_stop_all(const struct kw_cli_local_state *state, unsigned *stopped, unsigned *killed);

#endif
