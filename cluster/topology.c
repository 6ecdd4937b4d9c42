/*
 * The topology object: its memory, its look-ups, its comparison. The maker
 * (merge or standalone) holds the first reference; whoever gives back the last
 * one frees. Sizes are bounded by KW_TOPO_NODES_MAX, so that allocation goes
 * through the forms that cannot fail.
 */
#include "cluster/topology.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/topology_internal.h"

struct kw_topology *kw_topology_new(unsigned nodes) {
    KW_ASSERT(nodes <= INT16_MAX);
    struct kw_topology *topo = kw_calloc(1, sizeof(*topo));
    topo->nodes = kw_calloc(nodes, sizeof(*topo->nodes));
    topo->replicas = kw_calloc(nodes, sizeof(*topo->replicas));
    topo->node_count = nodes;
    memset(topo->owner, 0xff, sizeof(topo->owner));
    atomic_init(&topo->refs, 1);
    return topo;
}

struct kw_topology *kw_topology_ref(struct kw_topology *topo) {
    unsigned before = atomic_fetch_add_explicit(&topo->refs, 1, memory_order_relaxed);
    KW_ASSERT(before > 0);
    return topo;
}

void kw_topology_unref(struct kw_topology *topo) {
    if (!topo) return;
    unsigned before = atomic_fetch_sub_explicit(&topo->refs, 1, memory_order_acq_rel);
    KW_ASSERT(before > 0);
    if (before > 1) return;
    kw_free(topo->nodes);
    kw_free(topo->replicas);
    kw_free(topo);
}

struct kw_topology *kw_topology_clone(const struct kw_topology *topo) {
    struct kw_topology *copy = kw_topology_new(topo->node_count);
    struct kw_topo_node *nodes = copy->nodes;
    uint16_t *replicas = copy->replicas;

    memcpy(nodes, topo->nodes, topo->node_count * sizeof(*nodes));
    memcpy(replicas, topo->replicas, topo->node_count * sizeof(*replicas));
    memcpy(copy, topo, offsetof(struct kw_topology, refs));
    copy->nodes = nodes;
    copy->replicas = replicas;
    return copy;
}

void kw_topo_node_set_addr(struct kw_topo_node *node, const char *host, unsigned port) {
    snprintf(node->host, sizeof(node->host), "%s", host);
    node->port = port;
    snprintf(node->addr, sizeof(node->addr), "%s:%u", node->host, port & 0xffffU);
}

static bool has_primary(const struct kw_topology *topo, const struct kw_topo_node *node) {
    return !node->primary && node->primary_index >= 0 && topo->nodes[node->primary_index].primary;
}

void kw_topology_index(struct kw_topology *topo) {
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (topo->owner[slot] < 0) continue;
        topo->nodes[topo->owner[slot]].slot_count++;
        topo->owned_slots++;
    }
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        if (has_primary(topo, node)) topo->nodes[node->primary_index].replica_count++;
    }
    unsigned used = 0;
    for (unsigned i = 0; i < topo->node_count; i++) {
        struct kw_topo_node *node = &topo->nodes[i];
        if (node->slot_count > 0) topo->primary_count++;
        node->replica_first = used;
        used += node->replica_count;
        node->replica_count = 0; /* counted again while the list is filled */
    }
    for (unsigned i = 0; i < topo->node_count; i++) {
        if (!has_primary(topo, &topo->nodes[i])) continue;
        struct kw_topo_node *primary = &topo->nodes[topo->nodes[i].primary_index];
        topo->replicas[primary->replica_first + primary->replica_count++] = (uint16_t)i;
    }
}

int kw_topology_replica(const struct kw_topology *topo, unsigned primary_index, unsigned nth) {
    KW_ASSERT(primary_index < topo->node_count);
    const struct kw_topo_node *node = &topo->nodes[primary_index];
    return nth < node->replica_count ? topo->replicas[node->replica_first + nth] : -1;
}

int kw_topology_find_id(const struct kw_topology *topo, const char *id) {
    unsigned low = 0, high = topo->node_count;
    while (low < high) {
        unsigned mid = low + (high - low) / 2;
        int order = strcmp(topo->nodes[mid].id, id);
        if (order == 0) return (int)mid;
        if (order < 0) {
            low = mid + 1;
        } else {
            high = mid;
        }
    }
    return -1;
}

int kw_topology_find_addr(const struct kw_topology *topo, const char *host, unsigned port) {
    for (unsigned i = 0; i < topo->node_count; i++) {
        if (topo->nodes[i].port == port && strcmp(topo->nodes[i].host, host) == 0) return (int)i;
    }
    return -1;
}

static bool node_equal(const struct kw_topo_node *a, const struct kw_topo_node *b) {
    return strcmp(a->id, b->id) == 0 && a->port == b->port && strcmp(a->host, b->host) == 0 &&
           a->primary == b->primary && a->failed == b->failed && a->reachable == b->reachable &&
           a->primary_index == b->primary_index && a->config_epoch == b->config_epoch &&
           a->repl_offset == b->repl_offset;
}

bool kw_topology_equal(const struct kw_topology *a, const struct kw_topology *b) {
    if (a == b) return true;
    if (a->node_count != b->node_count || a->standalone != b->standalone || a->cluster_epoch != b->cluster_epoch ||
        strcmp(a->server_name, b->server_name) != 0 || strcmp(a->server_version, b->server_version) != 0 ||
        memcmp(a->owner, b->owner, sizeof(a->owner)) != 0 ||
        memcmp(a->open_slots, b->open_slots, sizeof(a->open_slots)) != 0) {
        return false;
    }
    for (unsigned i = 0; i < a->node_count; i++) {
        if (!node_equal(&a->nodes[i], &b->nodes[i])) return false;
    }
    return true;
}

bool kw_topology_troubled(const struct kw_topology *topo) {
    if (topo->owned_slots < KW_SLOT_COUNT) return true;
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        if (node->slot_count > 0 && (node->failed || !node->reachable)) return true;
    }
    return false;
}

struct kw_topology *kw_topology_standalone(const char *host, unsigned port) {
    struct kw_topology *topo = kw_topology_new(1);
    struct kw_topo_node *node = &topo->nodes[0];

    memset(node->id, '0', KW_TOPO_ID_LEN);
    kw_topo_node_set_addr(node, host, port);
    node->primary = true;
    node->primary_index = 0;
    topo->standalone = true;
    memset(topo->owner, 0, sizeof(topo->owner));
    kw_topology_index(topo);
    return topo;
}
