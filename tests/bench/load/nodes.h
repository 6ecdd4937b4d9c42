/*
 * Where connections go: the targets, or in cluster mode the primaries and who of them owns which slot, as the first
 * target says at the start. Nothing is followed later: a MOVED is an error reply like any other.
 */
#ifndef KW_BENCH_LOAD_NODES_H
#define KW_BENCH_LOAD_NODES_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "cluster/slot.h"
#include "tests/bench/load/options.h"

struct load_node {
    char host[KW_SEED_HOST_MAX + 1];
    unsigned port;
};

struct load_nodes {
    struct load_node *list; /* own */
    unsigned count;
    bool cluster;
    uint16_t owner[KW_SLOT_COUNT]; /* node index; only in cluster mode */
};

/* Ends the process where the cluster cannot be asked or leaves a slot without owner. */
void load_nodes_init(struct load_nodes *nodes, const struct load_addresses *addresses, bool cluster);
void load_nodes_deinit(struct load_nodes *nodes);

/* The node for a key: its slot's owner in cluster mode, else the given one. */
unsigned load_nodes_for_key(const struct load_nodes *nodes, const char *key, size_t len, unsigned otherwise);

/* A blocking connection for preparations; and one for the load: non-blocking, without Nagle. Both end the process on
 * failure, naming the node. */
redisContext *load_node_link(const struct load_node *node);
int load_node_connect(const struct load_node *node);

#endif
