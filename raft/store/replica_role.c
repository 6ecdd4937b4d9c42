/*
 * What this node is, and who leads. libraft tells nobody, so it is asked at the end of each turn. A new leader commits
 * an entry of its own at once, since only that commits what earlier terms left. The configuration is watched alike: the
 * transport learns whom to watch, and a node that was made a standby, or is a member no more, knows that it was
 * removed: it retires its folder and ends.
 */
#include <string.h>

#include "base/error.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

/* The answer to who had it removed should still leave. */
enum { PARTING_MS = 200 };

const struct raft_server *kw_replica_server(const struct raft_configuration *conf, uint64_t id) {
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id == id) return &conf->servers[i];
    }
    return NULL;
}

enum kw_replica_role kw_replica_role(const struct kw_replica *replica) {
    if (replica->closing || replica->failed) return KW_ROLE_STOPPED;
    switch (replica->raft.state) {
    case RAFT_LEADER: return KW_ROLE_LEADER;
    case RAFT_CANDIDATE: return KW_ROLE_CANDIDATE;
    default: return KW_ROLE_FOLLOWER;
    }
}

static uint64_t leader_of(const struct kw_replica *replica, const char **address) {
    raft_id id = 0;
    *address = NULL;
    raft_leader((struct raft *)(uintptr_t)&replica->raft, &id, address);
    return id;
}

uint64_t kw_replica_leader(const struct kw_replica *replica, struct kw_meta_address *out) {
    const char *address = NULL;
    char why[128];
    uint64_t id = kw_replica_role(replica) == KW_ROLE_STOPPED ? 0 : leader_of(replica, &address);
    if (!out || id == 0) return id;
    if (!address || kw_meta_address_parse(out, address, strlen(address), why, sizeof(why)) != 0) {
        *out = (struct kw_meta_address){0};
    }
    return id;
}

static void leader_begin(struct kw_replica *replica) {
    struct kw_record nop = {.type = KW_RECORD_NOP};
    replica->no_space_ms = 0;
    kw_replica_submit(replica, &nop, NULL, NULL);
}

static void role_changed(struct kw_replica *replica, uint64_t term, uint64_t leader) {
    static const char *const names[] = {[KW_ROLE_FOLLOWER] = "follower",
                                        [KW_ROLE_CANDIDATE] = "candidate",
                                        [KW_ROLE_LEADER] = "leader",
                                        [KW_ROLE_STOPPED] = "stopped"};
    kw_log(KW_LOG_NOTICE, "raft: node %llu is %s in term %llu, the leader is %llu",
           (unsigned long long)replica->options.id, names[kw_replica_role(replica)], (unsigned long long)term,
           (unsigned long long)leader);
    if (kw_replica_leads(replica)) leader_begin(replica);
    replica->called_out = true;
    if (replica->options.on_role) replica->options.on_role(replica->options.ctx);
}

static void state_poll(struct kw_replica *replica) {
    const char *address;
    int state = replica->raft.state;
    uint64_t term = replica->raft.current_term, leader = leader_of(replica, &address);
    if (state != RAFT_FOLLOWER && term != replica->stood_term) {
        replica->stood_term = term;
        replica->elections++;
    }
    if (state == replica->seen_state && term == replica->seen_term && leader == replica->seen_leader) return;
    replica->seen_state = state;
    replica->seen_term = term;
    replica->seen_leader = leader;
    role_changed(replica, term, leader);
}

static void removed(struct kw_replica *replica) {
    if (replica->failed) return;
    int code = kw_disk_retire(replica->disk);
    kw_replica_fail(replica, PARTING_MS, "node %llu was removed from the cluster%s",
                    (unsigned long long)replica->options.id,
                    code ? "; that could not be written to its folder: delete it" : "");
    replica->fatal_code = KW_EINVALID; /* as a start on this folder is refused from now on */
}

/* Of what is committed. A standby is on its way out: members are spares first, then voters. */
static void membership_check(struct kw_replica *replica) {
    const struct raft_server *self = kw_replica_server(&replica->raft.configuration_committed, replica->options.id);
    if ((!self && replica->was_member) || (self && self->role == RAFT_STANDBY)) removed(replica);
    /* A spare that did not come in time is taken out again and may be added anew: its log then holds its own removal.
     */
    if (self && self->role == RAFT_VOTER) replica->was_member = true;
}

static void configuration_poll(struct kw_replica *replica) {
    uint64_t committed = replica->raft.configuration_committed_index;
    uint64_t uncommitted = replica->raft.configuration_uncommitted_index;
    if (committed == replica->seen_committed && uncommitted == replica->seen_uncommitted) return;
    replica->seen_committed = committed;
    replica->seen_uncommitted = uncommitted;
    kw_meta_transport_peers(replica->transport, &replica->raft.configuration);
    kw_replica_warm_all(replica);
    membership_check(replica);
}

void kw_replica_role_poll(struct kw_replica *replica) {
    configuration_poll(replica);
    state_poll(replica);
}
