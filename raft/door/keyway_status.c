/* KEYWAY STATUS and OPS: what this node is, and what runs. */
#include <stdio.h>

#include "base/base.h"
#include "raft/door/door_internal.h"

static const char *role_name(enum kw_replica_role role) {
    switch (role) {
    case KW_ROLE_LEADER: return "leader";
    case KW_ROLE_CANDIDATE: return "candidate";
    case KW_ROLE_FOLLOWER:
    case KW_ROLE_STOPPED: break;
    }
    return "follower";
}

static void status_cluster(struct kw_door_call *call) {
    const struct kw_meta_state *state = kw_door_state(call->door);
    const struct kw_map *map = kw_meta_state_map(state);
    long long shards = 0, slots = 0;
    unsigned char owns[KW_TOPO_NODES_MAX] = {0};
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int owner = map->owner[slot];
        if (owner < 0) continue;
        slots++;
        if (owner >= KW_TOPO_NODES_MAX || owns[owner]) continue;
        owns[owner] = 1;
        shards++;
    }
    kw_door_pair_int(call->out, "map_version", (long long)map->version);
    kw_door_pair_int(call->out, "attached", map->node_count > 0);
    kw_door_pair_int(call->out, "shards", shards);
    kw_door_pair_int(call->out, "nodes", map->node_count);
    kw_door_pair_int(call->out, "slots", slots);
    kw_door_pair_int(call->out, "proxies", (long long)kw_ptable_count(kw_meta_state_table(state, KW_META_PROXIES)));
    kw_door_pair_int(call->out, "operations",
                     (long long)kw_ptable_count(kw_meta_state_table(state, KW_META_OPERATIONS)));
}

void kw_door_status(struct kw_door_call *call) {
    struct kw_replica_facts facts;
    char leader[KW_DOOR_ADDRESS_SIZE] = "";
    kw_replica_facts(call->door->replica, &facts);
    if (facts.leader_id) kw_door_host_port(leader, facts.leader.host, facts.leader.port);
    kw_str_resp_map(call->out, call->resp, 17);
    kw_door_pair_int(call->out, "id", (long long)facts.id);
    kw_door_pair_text(call->out, "role", role_name(facts.role));
    kw_door_pair_int(call->out, "term", (long long)facts.term);
    kw_door_pair_int(call->out, "leader", (long long)facts.leader_id);
    kw_door_pair_text(call->out, "leader_address", leader);
    kw_door_pair_text(call->out, "consistency", call->linear ? "linearizable" : "local");
    kw_door_pair_text(call->out, "cluster", call->door->options.settings->cluster_name);
    kw_door_pair_int(call->out, "recovery_epoch", (long long)kw_meta_state_recovery_epoch(kw_door_state(call->door)));
    kw_door_pair_int(call->out, "applied_index", (long long)kw_meta_state_index(kw_door_state(call->door)));
    status_cluster(call);
    kw_str_resp_text(call->out, "members");
    kw_door_members(call->door, &facts, call->out, call->resp);
}

/* A running operation is recorded as "kind step detail ...". */
void kw_door_ops(struct kw_door_call *call) {
    const struct kw_ptable *table = kw_meta_state_table(kw_door_state(call->door), KW_META_OPERATIONS);
    struct kw_ptable_item item;
    uint64_t cursor = 0;
    kw_str_resp_array(call->out, kw_ptable_count(table));
    while (kw_ptable_next(table, &cursor, &item)) {
        const char *at = item.value, *end = at + item.value_len;
        struct kw_arg kind = kw_door_word(&at, end), step = kw_door_word(&at, end);
        if (at < end) at++;
        kw_str_resp_map(call->out, call->resp, 4);
        kw_door_pair_bulk(call->out, "id", item.key, item.key_len);
        kw_door_pair_bulk(call->out, "kind", kind.data, kind.len);
        kw_door_pair_bulk(call->out, "step", step.data, step.len);
        kw_door_pair_bulk(call->out, "detail", at, (size_t)(end - at));
    }
}
