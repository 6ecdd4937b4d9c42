/*
 * CLUSTER NODES from hostile nodes: the input is cut at NUL bytes into views
 * (at most eight); those that parse are merged, first without and then with
 * the merged map as the one in use. Checked: the invariants that readers of a
 * topology lean on.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cluster/topology.h"

enum { VIEWS_MAX = 8 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(const struct kw_topology *topo) {
    unsigned owned = 0, listed = 0, shards = 0;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        KW_ASSERT(topo->owner[slot] >= -1 && topo->owner[slot] < (int)topo->node_count);
        if (topo->owner[slot] < 0) continue;
        KW_ASSERT(topo->nodes[topo->owner[slot]].primary);
        owned++;
    }
    KW_ASSERT(owned == topo->owned_slots);
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        KW_ASSERT(strlen(node->id) == KW_TOPO_ID_LEN && node->host[0] && node->port > 0);
        KW_ASSERT(i == 0 || strcmp(topo->nodes[i - 1].id, node->id) < 0);
        KW_ASSERT(kw_topology_find_id(topo, node->id) == (int)i);
        KW_ASSERT(node->primary_index >= -1 && node->primary_index < (int)topo->node_count);
        KW_ASSERT(!node->primary || node->primary_index == (int)i);
        for (unsigned nth = 0; nth < node->replica_count; nth++) {
            int replica = kw_topology_replica(topo, i, nth);
            KW_ASSERT(replica >= 0 && !topo->nodes[replica].primary && topo->nodes[replica].primary_index == (int)i);
        }
        listed += node->replica_count;
        shards += node->slot_count > 0;
    }
    KW_ASSERT(listed <= topo->node_count && shards == topo->primary_count);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kw_topo_view *views[VIEWS_MAX] = {NULL};
    size_t count = 0;

    while (size > 0 && count < VIEWS_MAX) {
        const uint8_t *end = memchr(data, 0, size);
        size_t len = end ? (size_t)(end - data) : size;
        if (kw_topo_view_parse(&views[count], (const char *)data, len, "10.0.0.1") == 0) {
            KW_ASSERT(kw_topo_view_equal(views[count], views[count]));
            count++;
        }
        data += end ? len + 1 : len;
        size -= end ? len + 1 : len;
    }
    struct kw_topology *topo = kw_topology_merge((const struct kw_topo_view *const *)views, count, NULL);
    if (topo) {
        check(topo);
        struct kw_topology *again = kw_topology_merge((const struct kw_topo_view *const *)views, count, topo);
        check(again);
        kw_topology_unref(again);
    }
    kw_topology_unref(topo);
    for (size_t i = 0; i < count; i++) kw_topo_view_free(views[i]);
    return 0;
}
