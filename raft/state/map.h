/*
 * The cluster map: which Redis nodes there are, who replicates whom, who owns
 * which slot, as the metadata service has recorded it. Built from what nodes
 * say (attach, observation), committed whole, pushed to proxies whole or as a
 * difference. Immutable once made. Pure; any thread that holds a reference.
 */
#ifndef KW_RAFT_STATE_MAP_H
#define KW_RAFT_STATE_MAP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cluster/topology.h"

struct kw_map_node {
    char id[KW_TOPO_ID_LEN + 1];
    char host[KW_TOPO_HOST_MAX + 1];
    unsigned port;
    bool primary;
    bool failed;
    int primary_index; /* of a replica; its own for a primary; -1 unknown */
    uint64_t config_epoch;
};

struct kw_map {
    uint64_t version;       /* counts changes, detaching among them; 0: there never was a cluster */
    uint64_t highest_epoch; /* ever recorded; never falls */
    bool standalone;
    unsigned node_count;          /* 0: there is no cluster (detached, or never attached) */
    struct kw_map_node *nodes;    /* own; sorted by id */
    int16_t owner[KW_SLOT_COUNT]; /* node index, or -1 */
    _Atomic unsigned refs;
};

struct kw_map *kw_map_ref(struct kw_map *map);
void kw_map_unref(struct kw_map *map); /* NULL is allowed */
/* Whether any node, by its id, is in both: they are of one cluster then. */
bool kw_map_shares_a_node(const struct kw_map *a, const struct kw_map *b);

/* An empty map of version 0. */
struct kw_map *kw_map_empty(void);
/* What a topology says, with version 0; the caller holds the only reference. */
struct kw_map *kw_map_from_topology(const struct kw_topology *topo);
/* True when both describe the same cluster: nodes, roles, owners, epochs; versions and highest epochs are not
 * compared. */
bool kw_map_equal(const struct kw_map *a, const struct kw_map *b);

/* Bytes (versioned, checksummed, host order independent). Decode: 0, KW_EPROTOCOL, KW_EUNKNOWN, KW_ENOMEM; untrusted.
 */
void kw_map_encode(struct kw_str *out, const struct kw_map *map);
int kw_map_decode(struct kw_map **out, const void *bytes, size_t len);

/* What leads from `from` to `to`, where that is shorter than the whole; false: send the whole. Patch needs exactly that
 * `from`. */
bool kw_map_diff(struct kw_str *out, const struct kw_map *from, const struct kw_map *to);
/* 0; KW_EINVALID when `from` is not the one that the difference starts at; KW_EPROTOCOL, KW_ENOMEM. */
int kw_map_patch(struct kw_map **out, const struct kw_map *from, const void *bytes, size_t len);

/* The map as the text of a `CLUSTER NODES` reply of the node `self` (index), for kw_topo_view_parse. */
void kw_map_nodes_text(struct kw_str *out, const struct kw_map *map, unsigned self);

#endif
