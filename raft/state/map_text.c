/*
 * The map in the words of Redis: a CLUSTER NODES reply, as the node `self`
 * would give it, so that what reads nodes' views can read maps as well.
 */
#include "base/alloc.h"
#include "base/base.h"
#include "raft/state/map.h"

/* Slots next to each other with one owner. */
struct run {
    unsigned first, last;
    int next; /* run of the same owner; -1: none */
};

/* All runs with an owner; `*head` gets each node's first. Both own. */
static struct run *find_runs(const struct kw_map *map, int **head) {
    struct run *runs = kw_malloc(KW_SLOT_COUNT * sizeof(*runs));
    int count = 0;
    *head = kw_malloc(map->node_count * sizeof(**head));
    for (unsigned i = 0; i < map->node_count; i++) (*head)[i] = -1;
    for (unsigned end = KW_SLOT_COUNT, slot; end > 0; end = slot) { /* backwards, so that lists run forwards */
        int owner = map->owner[end - 1];
        for (slot = end - 1; slot > 0 && map->owner[slot - 1] == owner;) slot--;
        if (owner < 0) continue;
        runs[count] = (struct run){slot, end - 1, (*head)[owner]};
        (*head)[owner] = count++;
    }
    return runs;
}

static void write_slots(struct kw_str *out, const struct run *runs, int nth) {
    for (; nth >= 0; nth = runs[nth].next) {
        kw_str_printf(out, " %u", runs[nth].first);
        if (runs[nth].last > runs[nth].first) kw_str_printf(out, "-%u", runs[nth].last);
    }
}

void kw_map_nodes_text(struct kw_str *out, const struct kw_map *map, unsigned self) {
    int *head;
    struct run *runs = find_runs(map, &head);
    for (unsigned i = 0; i < map->node_count; i++) {
        const struct kw_map_node *node = &map->nodes[i];
        bool follows = !node->primary && node->primary_index >= 0;
        unsigned bus = node->port + 10000 <= UINT16_MAX ? node->port + 10000 : 0;
        kw_str_printf(out, "%s %s:%u@%u %s%s%s %s 0 0 %llu connected", node->id, node->host, node->port, bus,
                      i == self ? "myself," : "", node->primary ? "master" : "slave", node->failed ? ",fail" : "",
                      follows ? map->nodes[node->primary_index].id : "-", (unsigned long long)node->config_epoch);
        write_slots(out, runs, head[i]);
        kw_str_append_text(out, "\n");
    }
    kw_free(runs);
    kw_free(head);
}
