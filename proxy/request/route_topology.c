/*
 * What a new topology, or a redirect, means for a worker: owners of slots,
 * replicas of nodes, slots that are being moved, links to nodes that failed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/request/dispatch.h"
#include "proxy/server.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { OPEN_MARK_US = 3 * 1000 * 1000 };

static void mark_nodes(struct kw_worker *worker, const struct kw_topology *topology, struct kw_node **by_index) {
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        node->in_topology = node->serves_slots = false;
        node->replica_count = 0;
    }
    for (unsigned i = 0; i < topology->node_count; i++) {
        const struct kw_topo_node *from = &topology->nodes[i];
        struct kw_node *node = kw_node_get(worker, from->host, from->port);
        by_index[i] = node;
        node->in_topology = true;
        node->serves_slots = from->primary && from->slot_count > 0;
        /* One that answers us is just back, or cut off from its peers: then its own word counts. */
        bool failed = from->failed && !from->reachable;
        /* Waiting for a node that the cluster has given up helps nobody: what is in flight is settled now. */
        if (failed && !node->failed) kw_node_close_links(node, "the cluster says that the node has failed");
        node->failed = failed;
    }
}

static void mark_replicas(const struct kw_topology *topology, struct kw_node **by_index) {
    for (unsigned i = 0; i < topology->node_count; i++) {
        const struct kw_topo_node *from = &topology->nodes[i];
        struct kw_node *node = by_index[i];
        if (!from->replica_count) continue;
        node->replicas = kw_realloc(node->replicas, from->replica_count * sizeof(*node->replicas));
        for (unsigned nth = 0; nth < from->replica_count; nth++) {
            int at = kw_topology_replica(topology, i, nth);
            if (at >= 0) node->replicas[node->replica_count++] = by_index[at];
        }
    }
}

static void refresh_any_open(struct kw_worker *worker) {
    worker->any_open = false;
    for (size_t i = 0; i < KW_ARRAY_LEN(worker->open_slots); i++) worker->any_open |= worker->open_slots[i] != 0;
}

void kw_dispatch_topology(struct kw_worker *worker, struct kw_topology *topology) {
    struct kw_topology *old = worker->topology;
    worker->topology = kw_topology_ref(topology);
    kw_topology_unref(old);
    struct kw_node **by_index = kw_calloc(topology->node_count ? topology->node_count : 1, sizeof(*by_index));
    mark_nodes(worker, topology, by_index);
    mark_replicas(topology, by_index);
    bool moved = false;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int at = topology->owner[slot];
        uint16_t owner = at >= 0 ? by_index[at]->index : 0;
        moved |= worker->owner[slot] && worker->owner[slot] != owner;
        worker->owner[slot] = owner;
    }
    if (moved) kw_tracking_flush_all(worker);
    worker->home_slot = -1;
    for (int slot = 0; slot < KW_SLOT_COUNT && worker->home_slot < 0; slot++) {
        if (worker->owner[slot]) worker->home_slot = slot;
    }
    memcpy(worker->open_slots, topology->open_slots, sizeof(worker->open_slots));
    refresh_any_open(worker);
    worker->route_seq++;
    kw_free(by_index);
    kw_pubsub_topology(worker->pubsub);
    kw_node_sweep(worker);
    kw_dispatch_run_passes(worker, KW_RUN_ALL);
}

void kw_dispatch_slot_moved(struct kw_worker *worker, unsigned slot, struct kw_node *node) {
    if (worker->owner[slot] == node->index) return;
    worker->owner[slot] = node->index;
    kw_tracking_flush_all(worker);
    worker->route_seq++;
}

void kw_dispatch_slot_open(struct kw_worker *worker, unsigned slot) {
    worker->open_until_us = kw_worker_now_us(worker) + OPEN_MARK_US;
    if (kw_dispatch_slot_is_open(worker, slot)) return;
    worker->open_slots[slot / 64] |= 1ULL << (slot % 64);
    worker->any_open = true;
}

void kw_dispatch_expire_open(struct kw_worker *worker) {
    if (!worker->open_until_us || kw_worker_now_us(worker) < worker->open_until_us) return;
    worker->open_until_us = 0;
    if (worker->topology) memcpy(worker->open_slots, worker->topology->open_slots, sizeof(worker->open_slots));
    refresh_any_open(worker);
}
