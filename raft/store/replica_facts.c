/* What INFO and STATUS show of a replica, as it is at the moment of the call. */
#include <string.h>

#include "raft/store/replica_internal.h"

_Static_assert((int)KW_REPLICA_GUARD_RULES == (int)KW_GUARD_RULE_COUNT, "each rule is shown");

const struct kw_meta_state *kw_replica_state(const struct kw_replica *replica) {
    return replica->state;
}

struct kw_meta_image *kw_replica_backup(struct kw_replica *replica) {
    return kw_meta_state_freeze(replica->state);
}

static uint64_t match_of(struct raft *raft, uint64_t id) {
    raft_index match = 0;
    if (raft->state != RAFT_LEADER || raft_match_index(raft, id, &match) != 0) return 0;
    return match;
}

static void fill_members(struct kw_replica *replica, struct kw_replica_facts *out) {
    const struct raft_configuration *conf = &replica->raft.configuration;
    char why[128];
    for (unsigned i = 0; i < conf->n && out->member_count < KW_META_PEERS_MAX; i++) {
        const struct raft_server *server = &conf->servers[i];
        struct kw_replica_member *member = &out->members[out->member_count];
        if (kw_meta_address_parse(&member->peer.address, server->address, strlen(server->address), why, sizeof(why))) {
            continue;
        }
        member->peer.id = server->id;
        member->voter = server->role == RAFT_VOTER;
        member->match_index = match_of(&replica->raft, server->id);
        out->member_count++;
    }
}

static void fill_raft(struct kw_replica *replica, struct kw_replica_facts *out) {
    struct raft *raft = &replica->raft;
    out->term = raft_current_term(raft);
    out->commit_index = raft_commit_index(raft);
    out->applied_index = raft_last_applied(raft);
    out->last_index = raft_last_index(raft);
    out->snapshot_index = raft->trail.snapshot.index;
    for (unsigned rule = 0; rule < KW_ARRAY_LEN(out->guard); rule++) {
        out->guard[rule] = kw_guard_count(replica->guard, rule);
    }
}

static uint64_t refused_peers(const struct kw_replica *replica) {
    struct kw_meta_transport_facts facts = {0};
    kw_meta_transport_facts(replica->transport, &facts);
    return facts.refused_secret + facts.refused_protocol + facts.refused_busy + facts.refused_cluster;
}

void kw_replica_facts(struct kw_replica *replica, struct kw_replica_facts *out) {
    *out = (struct kw_replica_facts){
        .id = replica->options.id,
        .role = kw_replica_role(replica),
        .submitted = replica->submitted,
        .rejected = replica->rejected,
        .entries = replica->entries,
        .reads = replica->reads_total,
        .barriers = replica->barriers,
        .rounds = replica->rounds_total,
        .snapshots = replica->snapshots,
        .elections = replica->elections,
        .queue_records = replica->records,
        .queue_bytes = replica->bytes,
        .disk_free_bytes = replica->disk_free,
        .longest_turn_us = replica->turn_longest_us,
        .longest_turn_cpu_us = replica->turn_longest_cpu_us,
        .refused_peers = refused_peers(replica),
    };
    if (replica->closing) return; /* libraft's own parts are going */
    out->leader_id = kw_replica_leader(replica, &out->leader);
    fill_raft(replica, out);
    fill_members(replica, out);
}
