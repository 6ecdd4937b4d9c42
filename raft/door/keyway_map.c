/* KEYWAY SHARDS, NODES, SLOTS and MAP: the cluster map, for people and for programs. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/door/door_internal.h"

size_t kw_door_ranges(const struct kw_map *map, struct kw_door_range *out) {
    size_t count = 0;
    for (int slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int owner = map->owner[slot];
        if (owner < 0) continue;
        if (count && out[count - 1].last == slot - 1 && out[count - 1].owner == owner) {
            out[count - 1].last = slot;
        } else {
            out[count++] = (struct kw_door_range){slot, slot, owner};
        }
    }
    return count;
}

/* The map with what is counted over it, for the length of a call. */
struct picture {
    const struct kw_map *map;
    struct kw_door_range *ranges; /* own */
    size_t range_count;
    unsigned *slots;    /* own; of each node */
    unsigned *runs;     /* own; of each node */
    unsigned *replicas; /* own; of each node */
};

static void picture_init(struct picture *p, const struct kw_door *door) {
    const struct kw_map *map = kw_meta_state_map(kw_door_state(door));
    *p = (struct picture){.map = map};
    p->ranges = kw_calloc(KW_SLOT_COUNT, sizeof(*p->ranges));
    p->slots = kw_calloc(map->node_count + 1, sizeof(*p->slots));
    p->runs = kw_calloc(map->node_count + 1, sizeof(*p->runs));
    p->replicas = kw_calloc(map->node_count + 1, sizeof(*p->replicas));
    p->range_count = kw_door_ranges(map, p->ranges);
    for (size_t i = 0; i < p->range_count; i++) {
        const struct kw_door_range *range = &p->ranges[i];
        p->runs[range->owner]++;
        p->slots[range->owner] += (unsigned)(range->last - range->first + 1);
    }
    for (unsigned i = 0; i < map->node_count; i++) {
        const struct kw_map_node *node = &map->nodes[i];
        if (!node->primary && node->primary_index >= 0) p->replicas[node->primary_index]++;
    }
}

static void picture_deinit(struct picture *p) {
    kw_free(p->ranges);
    kw_free(p->slots);
    kw_free(p->runs);
    kw_free(p->replicas);
}

static bool is_replica_of(const struct kw_map_node *node, unsigned primary) {
    return !node->primary && node->primary_index == (int)primary;
}

static void pair_address(struct kw_str *out, const char *name, const struct kw_map_node *node) {
    char address[KW_DOOR_ADDRESS_SIZE];
    kw_door_host_port(address, node->host, node->port);
    kw_door_pair_text(out, name, address);
}

static void add_shard(struct kw_door_call *call, const struct picture *p, unsigned index) {
    const struct kw_map_node *node = &p->map->nodes[index];
    char address[KW_DOOR_ADDRESS_SIZE];
    kw_str_resp_map(call->out, call->resp, 6);
    kw_door_pair_text(call->out, "primary", node->id);
    pair_address(call->out, "address", node);
    kw_door_pair_int(call->out, "epoch", (long long)node->config_epoch);
    kw_str_resp_text(call->out, "slots");
    kw_str_resp_array(call->out, p->runs[index]);
    for (size_t i = 0; i < p->range_count; i++) {
        if (p->ranges[i].owner != (int)index) continue;
        kw_str_resp_array(call->out, 2);
        kw_str_resp_int(call->out, p->ranges[i].first);
        kw_str_resp_int(call->out, p->ranges[i].last);
    }
    kw_door_pair_int(call->out, "slot_count", p->slots[index]);
    kw_str_resp_text(call->out, "replicas");
    kw_str_resp_array(call->out, p->replicas[index]);
    for (unsigned i = 0; i < p->map->node_count; i++) {
        if (!is_replica_of(&p->map->nodes[i], index)) continue;
        kw_door_host_port(address, p->map->nodes[i].host, p->map->nodes[i].port);
        kw_str_resp_text(call->out, address);
    }
}

void kw_door_shards(struct kw_door_call *call) {
    struct picture p;
    size_t shards = 0;
    picture_init(&p, call->door);
    for (unsigned i = 0; i < p.map->node_count; i++) shards += p.slots[i] > 0;
    kw_str_resp_array(call->out, shards);
    for (unsigned i = 0; i < p.map->node_count; i++) {
        if (p.slots[i]) add_shard(call, &p, i);
    }
    picture_deinit(&p);
}

/* What the observer knows beyond the map: only the leader has it. */
static void add_observed(struct kw_door_call *call, const struct kw_map *map, const struct kw_map_node *node) {
    const struct kw_observer *observer = call->door->observer;
    const struct kw_topology *seen = kw_observer_topology(observer);
    int index = seen ? kw_topology_find_id(seen, node->id) : -1;
    int64_t offset = kw_observer_offset(observer, node->host, node->port), lag = -1;
    if (offset >= 0 && !node->primary && node->primary_index >= 0) {
        const struct kw_map_node *primary = &map->nodes[node->primary_index];
        int64_t ahead = kw_observer_offset(observer, primary->host, primary->port);
        /* They are asked one after the other: a replica may have got on meanwhile. */
        if (ahead >= 0) lag = ahead > offset ? ahead - offset : 0;
    } else if (offset >= 0 && node->primary) {
        lag = 0;
    }
    kw_door_pair_int(call->out, "reachable", index < 0 ? -1 : seen->nodes[index].reachable);
    kw_door_pair_int(call->out, "offset", offset);
    kw_door_pair_int(call->out, "lag", lag);
}

void kw_door_nodes(struct kw_door_call *call) {
    struct picture p;
    picture_init(&p, call->door);
    kw_str_resp_array(call->out, p.map->node_count);
    for (unsigned i = 0; i < p.map->node_count; i++) {
        const struct kw_map_node *node = &p.map->nodes[i];
        bool has_primary = !node->primary && node->primary_index >= 0;
        kw_str_resp_map(call->out, call->resp, 10);
        kw_door_pair_text(call->out, "id", node->id);
        pair_address(call->out, "address", node);
        kw_door_pair_text(call->out, "role", node->primary ? "primary" : "replica");
        kw_door_pair_text(call->out, "primary", has_primary ? p.map->nodes[node->primary_index].id : "");
        kw_door_pair_int(call->out, "epoch", (long long)node->config_epoch);
        kw_door_pair_int(call->out, "slots", p.slots[i]);
        kw_door_pair_int(call->out, "failed", node->failed);
        add_observed(call, p.map, node);
    }
    picture_deinit(&p);
}

static void add_place(struct kw_str *out, const struct kw_map_node *node) {
    kw_str_resp_array(out, 3);
    kw_str_resp_text(out, node->host);
    kw_str_resp_int(out, node->port);
    kw_str_resp_text(out, node->id);
}

void kw_door_slots(struct kw_door_call *call) {
    struct picture p;
    picture_init(&p, call->door);
    kw_str_resp_array(call->out, p.range_count);
    for (size_t i = 0; i < p.range_count; i++) {
        const struct kw_door_range *range = &p.ranges[i];
        unsigned owner = (unsigned)range->owner;
        kw_str_resp_array(call->out, 3 + p.replicas[owner]);
        kw_str_resp_int(call->out, range->first);
        kw_str_resp_int(call->out, range->last);
        add_place(call->out, &p.map->nodes[owner]);
        for (unsigned n = 0; n < p.map->node_count && p.replicas[owner]; n++) {
            if (is_replica_of(&p.map->nodes[n], owner)) add_place(call->out, &p.map->nodes[n]);
        }
    }
    picture_deinit(&p);
}

void kw_door_map(struct kw_door_call *call) {
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, kw_meta_state_map(kw_door_state(call->door)));
    kw_str_resp_bulk(call->out, bytes.data, bytes.len);
    kw_str_deinit(&bytes);
}
