/*
 * A request in parts: split by slot, or sent to every primary. The parent waits
 * in the session's queue; when the last part is done a merge function makes
 * the parent's reply from theirs.
 */
#ifndef KW_PROXY_GROUP_H
#define KW_PROXY_GROUP_H

#include <stdint.h>

#include "cluster/planner.h"
#include "proxy/request/request.h"

struct kw_group {
    struct kw_request **parts; /* behind the group; NULL where the part was lost with its client */
    uint32_t part_count;
    uint32_t pending;
    uint32_t *key_part; /* behind the parts; part of each key, in the order of the command (MGET) */
    uint32_t key_count; /* 0: not asked for */
    bool tolerant;      /* failed parts are the merge's business */
    void *context;      /* own by free_context */
    void (*free_context)(void *context);
    /* Sets the parent's reply. True: complete; false: somebody completes the parent later. */
    bool (*merge)(struct kw_worker *worker, struct kw_request *parent);
};

/* With room for `part_count` parts and the part of each of `key_count` keys. */
struct kw_group *kw_group_new(uint32_t part_count, uint32_t key_count);
void kw_group_free(struct kw_worker *worker, struct kw_group *group);
/* A part is done: the last one merges and completes the parent. */
void kw_group_part_done(struct kw_worker *worker, struct kw_request *part);

/* Splits a planned command (kind SPLIT) of `session` and sends the parts. */
void kw_split_request(struct kw_session *session, const struct kw_command *cmd, const struct kw_plan *plan,
                      const struct kw_arg *argv, struct kw_outq *bigs);

/* Who gets it. */
enum kw_broadcast_to {
    KW_TO_SHARDS,     /* every primary that owns slots */
    KW_TO_ANY_SHARD,  /* one of these */
    KW_TO_NODES,      /* every node of the topology, replicas too */
    KW_TO_LIVE_NODES, /* those of them that the cluster does not take for failed */
};

struct kw_broadcast_options {
    bool (*merge)(struct kw_worker *worker, struct kw_request *parent); /* makes the reply; see struct kw_group */
    enum kw_broadcast_to to;
    struct kw_node *only; /* borrowed; this node and no other; NULL: as `to` says */
    bool tolerant;        /* a part that fails does not make the whole fail */
    bool plain;           /* the nodes answer in RESP2, whatever the client speaks */
    bool blocks;          /* for as long as it says, with own_links: nothing else of the client goes on meanwhile */
    uint32_t skip;        /* replies in front of the one that counts */
    bool own_links;       /* on private links: a script that runs on a shared one holds it until it ends */
    uint64_t wait_us;     /* give a part up after this, when that is less than request-timeout; 0: that */
    void *context;        /* own by free_context */
    void (*free_context)(void *context);
};

/* Sends `frame` (RESP) to these nodes. Fails when there is no topology yet. */
void kw_broadcast(struct kw_session *session, const struct kw_command *cmd, const char *frame, size_t len,
                  const struct kw_broadcast_options *options);

/* Merges by response policy: for the commands served by every shard. */
typedef bool (*kw_merge_fn)(struct kw_worker *worker, struct kw_request *parent);
kw_merge_fn kw_merge_for(const struct kw_command *cmd, enum kw_serve serve);

/* The address of the node that a part of a broadcast was for. Borrowed for the call of merge. */
const char *kw_group_part_name(const struct kw_worker *worker, const struct kw_request *part);

#endif
