/*
 * What is known of one local cluster: the file `local.state` in its folder,
 * and the lock that lets one command at a time change it. Main thread.
 */
#ifndef KW_CLI_LOCAL_STATE_H
#define KW_CLI_LOCAL_STATE_H

#include <limits.h>
#include <stdbool.h>
#include <stdint.h>

#include "cli/process.h"

enum {
    KW_CLI_LOCAL_SHARDS_MAX = 64,
    KW_CLI_LOCAL_REPLICAS_MAX = 5,
    KW_CLI_LOCAL_NODES_MAX = 256,
    KW_CLI_LOCAL_META_MAX = 5
};

/* The file in the folder that holds the metadata nodes' secret. */
#define KW_CLI_LOCAL_SECRET "meta.secret"

struct kw_cli_local_node {
    uint16_t port;             /* client port; the bus is KW_PORT_BUS_OFFSET above */
    struct kw_process process; /* as last started */
};

/* A metadata node; its id is its index + 1. */
struct kw_cli_local_meta {
    uint16_t port;             /* for clients; the raft port is KW_PORT_RAFT_OFFSET above */
    struct kw_process process; /* as last started */
};

struct kw_cli_local_state {
    char dir[PATH_MAX];      /* absolute; not in the file, so that a folder may be moved */
    char server[PATH_MAX];   /* the server program, absolute */
    unsigned shards;         /* primaries */
    unsigned replicas;       /* of each primary */
    uint16_t proxy_port;     /* of the proxy */
    bool formed;             /* the cluster came together once: never form it again */
    struct kw_process proxy; /* as last started */
    bool meta_known;         /* the file says how many metadata nodes there are: older files do not */
    bool meta_formed;        /* they had a leader once: an empty folder must never begin anew */
    unsigned meta_count;     /* 0: none */
    struct kw_cli_local_meta metas[KW_CLI_LOCAL_META_MAX];
    unsigned node_count;                                    /* shards * (1 + replicas) */
    struct kw_cli_local_node nodes[KW_CLI_LOCAL_NODES_MAX]; /* the first `shards` began as primaries */
};

/*
 * Reads the state of the folder state->dir. Returns 0; KW_EUNKNOWN when there
 * is none; KW_EIO with errno set; KW_EPROTOCOL when the file is not of ours.
 * Processes recorded before the last boot are gone and come back as pid 0.
 */
int kw_cli_local_state_load(struct kw_cli_local_state *state);

/* Replaces the file in one step (written beside, synced, renamed). Returns 0 or KW_EIO with errno set. */
int kw_cli_local_state_save(const struct kw_cli_local_state *state);

/* No process is recorded any more. */
void kw_cli_local_state_forget(struct kw_cli_local_state *state);

/* Removes the file and the lock file, which the caller holds. Returns 0 or KW_EIO with errno set. */
int kw_cli_local_state_remove(const struct kw_cli_local_state *state);

/* Path of `name` in the folder, or of `name` in the folder of (metadata) node `index`. Borrowed: valid until the next
 * call. */
const char *kw_cli_local_path(const struct kw_cli_local_state *state, const char *name);
const char *kw_cli_local_node_path(const struct kw_cli_local_state *state, unsigned index, const char *name);
const char *kw_cli_local_meta_path(const struct kw_cli_local_state *state, unsigned index, const char *name);

/*
 * Takes the folder's lock without waiting. Returns a descriptor (closing it,
 * or the end of the process, gives the lock back), KW_ELIMIT when another
 * process has it (its pid in *holder, 0 when unknown), or KW_EIO with errno.
 */
int kw_cli_local_lock(const char *dir, pid_t *holder);

#endif
