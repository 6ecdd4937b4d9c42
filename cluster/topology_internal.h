/* The body of a view, shared by the parser and the merge; not for others. */
#ifndef KW_CLUSTER_TOPOLOGY_INTERNAL_H
#define KW_CLUSTER_TOPOLOGY_INTERNAL_H

#include "cluster/topology.h"

struct kw_topo_view_node {
    char id[KW_TOPO_ID_LEN + 1];
    char primary_id[KW_TOPO_ID_LEN + 1]; /* "" for a primary */
    char host[KW_TOPO_HOST_MAX + 1];     /* "" where the view knows no address */
    unsigned port;                       /* 0 where not known */
    bool primary;
    bool fail;
    uint64_t epoch;
    unsigned slot_count;
};

struct kw_topo_view {
    unsigned node_count;
    unsigned self;                           /* index of the "myself" node */
    unsigned owned_slots;                    /* slots that have an owner in this view */
    struct kw_topo_view_node *nodes;         /* own; nodes in handshake are left out */
    int16_t owner[KW_SLOT_COUNT];            /* index into nodes, or -1 */
    uint64_t open_slots[KW_SLOT_COUNT / 64]; /* from the "myself" line */
};

/* An empty topology with room for `nodes`, one reference, no slot owned. */
struct kw_topology *kw_topology_new(unsigned nodes);

/* A copy of a topology, not yet published: one reference, every field the same. */
struct kw_topology *kw_topology_clone(const struct kw_topology *topo);

/* Fills what follows from roles and owners: slot counts, shard count, replica lists. */
void kw_topology_index(struct kw_topology *topo);

/* Writes host, port and addr. */
void kw_topo_node_set_addr(struct kw_topo_node *node, const char *host, unsigned port);

#endif
