/*
 * The topology: one immutable picture of the cluster - nodes, roles, who owns
 * which slot - made by merging what the nodes say of it.
 *
 * Life: views are parsed from `CLUSTER NODES` replies (untrusted bytes),
 * merged into a new topology, completed by discovery, published. From then on
 * nothing writes to it: any thread may read it for as long as it holds a
 * reference. Pure C: no loop, no socket, no clock.
 */
#ifndef KW_CLUSTER_TOPOLOGY_H
#define KW_CLUSTER_TOPOLOGY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/slot.h"

enum {
    KW_TOPO_ID_LEN = 40,      /* characters of a node id */
    KW_TOPO_HOST_MAX = 255,   /* bytes of a host name or address */
    KW_TOPO_NODES_MAX = 2048, /* nodes that a view may name; more is refused */
    KW_TOPO_ADDR_SIZE = 264,  /* "host:port" with its NUL */
};

struct kw_topo_node {
    char id[KW_TOPO_ID_LEN + 1];
    char host[KW_TOPO_HOST_MAX + 1];
    unsigned port;
    char addr[KW_TOPO_ADDR_SIZE]; /* "host:port"; an IPv6 host as it is, without brackets */
    bool primary;                 /* by role; it may own no slot */
    /*
     * The cluster agrees that it is down (FAIL; a mere suspicion does not
     * count). A node may be failed and reachable: it has just come back, or
     * it is cut off from its peers but not from us.
     */
    bool failed;
    bool reachable;         /* our control link is up and the node answers with a view */
    int primary_index;      /* node index of a replica's primary; its own for a primary; -1 unknown */
    unsigned slot_count;    /* slots it owns */
    unsigned replica_first; /* its replicas: replicas[replica_first ...] of the topology */
    unsigned replica_count;
    uint64_t config_epoch;
    uint64_t repl_offset; /* 0 where not known */
};

struct kw_topology {
    uint64_t version;       /* grows by one each time discovery publishes */
    uint64_t cluster_epoch; /* highest configuration epoch seen */
    unsigned node_count;
    unsigned primary_count;                  /* primaries that own at least one slot: the shards */
    unsigned owned_slots;                    /* slots that have an owner */
    bool standalone;                         /* a plain Redis without cluster mode, shown as one shard */
    char server_name[16];                    /* "redis" or "valkey"; "" unknown */
    char server_version[32];                 /* lowest version among the nodes; "" unknown */
    struct kw_topo_node *nodes;              /* own; sorted by id */
    uint16_t *replicas;                      /* own; node indexes, grouped by primary */
    int16_t owner[KW_SLOT_COUNT];            /* node index of the primary, or -1 */
    uint64_t open_slots[KW_SLOT_COUNT / 64]; /* bit set: the slot is migrating or importing somewhere */
    _Atomic unsigned refs;                   /* private to ref/unref; the last member */
};

/* One more reference to `topo`, which is returned. Any thread that holds one. */
struct kw_topology *kw_topology_ref(struct kw_topology *topo);

/* Gives a reference back; the last one frees. NULL is allowed. Any thread. */
void kw_topology_unref(struct kw_topology *topo);

/* Node index of the `nth` replica of a primary, or -1 when it has fewer. Failed ones are included. */
int kw_topology_replica(const struct kw_topology *topo, unsigned primary_index, unsigned nth);

/* Node index by node id, or by address ("host:port" of the topology); -1 when there is none. */
int kw_topology_find_id(const struct kw_topology *topo, const char *id);
int kw_topology_find_addr(const struct kw_topology *topo, const char *host, unsigned port);

/* True while `slot` (below KW_SLOT_COUNT) is migrating or importing on a node. */
static inline bool kw_topology_slot_open(const struct kw_topology *topo, unsigned slot) {
    return (topo->open_slots[slot / 64] >> (slot % 64)) & 1U;
}

/* True when both say the same; the version is not compared. */
bool kw_topology_equal(const struct kw_topology *a, const struct kw_topology *b);

/* A slot lacks an owner, or an owner is failed or not reachable: worth asking more often. */
bool kw_topology_troubled(const struct kw_topology *topo);

/*
 * A topology of one primary that owns every slot, for a Redis without cluster
 * mode. The caller holds the only reference.
 */
struct kw_topology *kw_topology_standalone(const char *host, unsigned port);

/* Logs what differs between two published topologies; `old` may be NULL. */
void kw_topology_log_change(const struct kw_topology *old, const struct kw_topology *fresh);

/* One node's word on the cluster: a parsed `CLUSTER NODES` reply. */
struct kw_topo_view;

/*
 * Parses a `CLUSTER NODES` reply of Redis 4 to 7 and Valkey 7 to 9.
 * `from_host` is the address by which we reached the node: it stands in for
 * an own address that the node does not know yet (or knows as loopback while
 * we came from elsewhere). Returns 0 and a view in `*out` that the caller
 * frees, KW_EPROTOCOL for text that is malformed or has not exactly one
 * "myself" line, KW_ELIMIT for too many nodes, KW_ENOMEM.
 */
int kw_topo_view_parse(struct kw_topo_view **out, const char *text, size_t len, const char *from_host);
void kw_topo_view_free(struct kw_topo_view *view); /* NULL is allowed */

/* Id of the node that this is the view of. Borrowed: lives as long as the view. */
const char *kw_topo_view_self_id(const struct kw_topo_view *view);
/* Whether the node takes itself for a primary. */
bool kw_topo_view_self_primary(const struct kw_topo_view *view);
/* True when both say the same of the cluster (ping and pong times are no part of a view). */
bool kw_topo_view_equal(const struct kw_topo_view *a, const struct kw_topo_view *b);

/*
 * Merges views into a new topology, to which the caller holds the only
 * reference; NULL when `n` is 0. Views are borrowed. `current` (may be NULL)
 * is the map in use: views that share no node with it are ignored, unless
 * there are no others. topology_merge.c says by which rules.
 */
struct kw_topology *kw_topology_merge(const struct kw_topo_view *const *views, size_t n,
                                      const struct kw_topology *current);

#endif
