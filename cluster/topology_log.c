/*
 * What changed between two published topologies, told to people in a few
 * lines: the sum, who took over whose slots, which nodes came, went, failed
 * or recovered. At most MAX_LINES of each kind. Owns nothing, cannot fail.
 */
#include <string.h>

#include "base/log.h"
#include "cluster/topology.h"

enum { MAX_LINES = 8 };

/* Slots that went from one node to another. -1 stands for nobody. */
struct move {
    int from; /* index in the old topology */
    int to;   /* index in the new one */
    unsigned slots;
};

static bool same_node(const struct kw_topology *old, int from, const struct kw_topology *fresh, int to) {
    if (from < 0 || to < 0) return from == to;
    return strcmp(old->nodes[from].id, fresh->nodes[to].id) == 0;
}

/* Collects the moves; returns how many there are, of which `max` are kept. */
static unsigned collect_moves(const struct kw_topology *old, const struct kw_topology *fresh, struct move *moves,
                              unsigned max) {
    unsigned count = 0;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int from = old->owner[slot], to = fresh->owner[slot];
        if (same_node(old, from, fresh, to)) continue;
        unsigned i = 0;
        while (i < count && i < max && !(moves[i].from == from && moves[i].to == to)) i++;
        if (i == max) {
            count = max + 1;
        } else if (i == count) {
            moves[count++] = (struct move){from, to, 1};
        } else {
            moves[i].slots++;
        }
    }
    return count;
}

static void log_move(const struct kw_topology *old, const struct kw_topology *fresh, const struct move *move) {
    if (move->from < 0) {
        kw_log(KW_LOG_NOTICE, "%u slots without an owner are now served by %s", move->slots,
               fresh->nodes[move->to].addr);
    } else if (move->to < 0) {
        kw_log(KW_LOG_WARNING, "%u slots of %s have no owner now", move->slots, old->nodes[move->from].addr);
    } else if (move->slots == old->nodes[move->from].slot_count && old->nodes[move->from].slot_count > 0) {
        kw_log(KW_LOG_NOTICE, "slots of %s are now served by %s (%u slots)", old->nodes[move->from].addr,
               fresh->nodes[move->to].addr, move->slots);
    } else {
        kw_log(KW_LOG_NOTICE, "%u slots moved from %s to %s", move->slots, old->nodes[move->from].addr,
               fresh->nodes[move->to].addr);
    }
}

static void log_moves(const struct kw_topology *old, const struct kw_topology *fresh) {
    struct move moves[MAX_LINES];
    unsigned count = collect_moves(old, fresh, moves, MAX_LINES);
    for (unsigned i = 0; i < count && i < MAX_LINES; i++) log_move(old, fresh, &moves[i]);
    if (count > MAX_LINES) kw_log(KW_LOG_NOTICE, "... and further slot moves");
}

static void log_nodes(const struct kw_topology *old, const struct kw_topology *fresh) {
    unsigned lines = 0;
    for (unsigned i = 0; i < fresh->node_count && lines < MAX_LINES; i++) {
        const struct kw_topo_node *now = &fresh->nodes[i];
        int was_index = kw_topology_find_id(old, now->id);
        const struct kw_topo_node *was = was_index >= 0 ? &old->nodes[was_index] : NULL;
        lines++;
        if (!was) {
            kw_log(KW_LOG_NOTICE, "node %s (%.8s) joined", now->addr, now->id);
        } else if (strcmp(was->addr, now->addr) != 0) {
            kw_log(KW_LOG_NOTICE, "node %.8s moved from %s to %s", now->id, was->addr, now->addr);
        } else if (was->failed != now->failed) {
            kw_log(now->failed ? KW_LOG_WARNING : KW_LOG_NOTICE, "node %s is %s", now->addr,
                   now->failed ? "failed by the word of the cluster" : "no longer failed");
        } else if (was->reachable != now->reachable) {
            kw_log(now->reachable ? KW_LOG_NOTICE : KW_LOG_WARNING, "node %s is %s", now->addr,
                   now->reachable ? "reachable" : "not reachable");
        } else {
            lines--;
        }
    }
    for (unsigned i = 0; i < old->node_count && lines < MAX_LINES; i++) {
        if (kw_topology_find_id(fresh, old->nodes[i].id) >= 0) continue;
        kw_log(KW_LOG_NOTICE, "node %s (%.8s) left", old->nodes[i].addr, old->nodes[i].id);
        lines++;
    }
}

static bool sums_equal(const struct kw_topology *a, const struct kw_topology *b) {
    return a->primary_count == b->primary_count && a->node_count == b->node_count && a->owned_slots == b->owned_slots &&
           memcmp(a->owner, b->owner, sizeof(a->owner)) == 0;
}

void kw_topology_log_change(const struct kw_topology *old, const struct kw_topology *fresh) {
    bool told = old && sums_equal(old, fresh);
    kw_log(told ? KW_LOG_VERBOSE : KW_LOG_NOTICE, "topology %llu: %u shards, %u nodes, %u slots%s",
           (unsigned long long)fresh->version, fresh->primary_count, fresh->node_count, fresh->owned_slots,
           fresh->standalone ? " (a single Redis without cluster mode)" : "");
    if (!old) return;
    log_moves(old, fresh);
    log_nodes(old, fresh);
}
