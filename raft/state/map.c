/*
 * The map as an object: its memory, where it comes from, what makes one valid,
 * comparison. Whoever makes one holds the first reference; the last one given
 * back frees.
 */
#include "raft/state/map.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/state/map_internal.h"

struct kw_map *kw_map_new_try(unsigned nodes) {
    struct kw_map *map = kw_calloc_try(1, sizeof(*map));
    struct kw_map_node *list = kw_calloc_try(nodes, sizeof(*list));
    if (!map || !list) {
        kw_free(map);
        kw_free(list);
        return NULL;
    }
    map->nodes = list;
    map->node_count = nodes;
    memset(map->owner, 0xff, sizeof(map->owner));
    atomic_init(&map->refs, 1);
    return map;
}

struct kw_map *kw_map_ref(struct kw_map *map) {
    unsigned before = atomic_fetch_add_explicit(&map->refs, 1, memory_order_relaxed);
    KW_ASSERT(before > 0);
    return map;
}

void kw_map_unref(struct kw_map *map) {
    if (!map) return;
    unsigned before = atomic_fetch_sub_explicit(&map->refs, 1, memory_order_acq_rel);
    KW_ASSERT(before > 0);
    if (before > 1) return;
    kw_free(map->nodes);
    kw_free(map);
}

struct kw_map *kw_map_empty(void) {
    struct kw_map *map = kw_map_new_try(0);
    KW_ASSERT(map);
    return map;
}

struct kw_map *kw_map_from_topology(const struct kw_topology *topo) {
    struct kw_map *map = kw_map_new_try(topo->node_count);
    KW_ASSERT(map);
    map->highest_epoch = topo->cluster_epoch;
    map->standalone = topo->standalone;
    memcpy(map->owner, topo->owner, sizeof(map->owner));
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *from = &topo->nodes[i];
        struct kw_map_node *node = &map->nodes[i];
        memcpy(node->id, from->id, sizeof(node->id));
        memcpy(node->host, from->host, sizeof(node->host));
        node->port = from->port;
        node->primary = from->primary;
        node->failed = from->failed;
        node->primary_index = from->primary_index;
        node->config_epoch = from->config_epoch;
        if (node->config_epoch > map->highest_epoch) map->highest_epoch = node->config_epoch;
    }
    return map;
}

bool kw_map_node_equal(const struct kw_map_node *a, const struct kw_map_node *b) {
    return strcmp(a->id, b->id) == 0 && strcmp(a->host, b->host) == 0 && a->port == b->port &&
           a->primary == b->primary && a->failed == b->failed && a->primary_index == b->primary_index &&
           a->config_epoch == b->config_epoch;
}

bool kw_map_equal(const struct kw_map *a, const struct kw_map *b) {
    if (a == b) return true;
    if (a->node_count != b->node_count || a->standalone != b->standalone ||
        memcmp(a->owner, b->owner, sizeof(a->owner)) != 0) {
        return false;
    }
    for (unsigned i = 0; i < a->node_count; i++) {
        if (!kw_map_node_equal(&a->nodes[i], &b->nodes[i])) return false;
    }
    return true;
}

static bool id_valid(const char *id) {
    for (size_t i = 0; i < KW_TOPO_ID_LEN; i++) {
        char c = id[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return false;
    }
    return id[KW_TOPO_ID_LEN] == '\0';
}

/* As it may stand in a line of CLUSTER NODES. */
static bool host_valid(const char *host) {
    for (const char *c = host; *c; c++) {
        if (*c <= ' ' || *c > '~' || *c == ',' || *c == '@') return false;
    }
    return host[0] != '\0';
}

static bool node_valid(const struct kw_map *map, unsigned index) {
    const struct kw_map_node *node = &map->nodes[index];
    if (!id_valid(node->id) || !host_valid(node->host) || node->port == 0 || node->port > UINT16_MAX) return false;
    if (index > 0 && strcmp(map->nodes[index - 1].id, node->id) >= 0) return false;
    if (node->primary) return node->primary_index == (int)index;
    if (node->primary_index == -1) return true;
    return node->primary_index >= 0 && node->primary_index < (int)map->node_count &&
           map->nodes[node->primary_index].primary;
}

bool kw_map_valid(const struct kw_map *map) {
    if (map->node_count > KW_TOPO_NODES_MAX || (map->standalone && map->node_count != 1)) return false;
    for (unsigned i = 0; i < map->node_count; i++) {
        if (!node_valid(map, i)) return false;
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int owner = map->owner[slot];
        if (owner < -1 || owner >= (int)map->node_count || (owner >= 0 && !map->nodes[owner].primary)) return false;
    }
    return true;
}

bool kw_map_shares_a_node(const struct kw_map *a, const struct kw_map *b) {
    for (unsigned i = 0, j = 0; i < a->node_count && j < b->node_count;) {
        int cmp = strcmp(a->nodes[i].id, b->nodes[j].id); /* both are sorted by id */
        if (cmp == 0) return true;
        if (cmp < 0) {
            i++;
        } else {
            j++;
        }
    }
    return false;
}
