/*
 * The crash hint. Each node holds a connection to each other's process; when the leader's one ends, waiting for
 * an election timeout is idle. The node hands its own libraft a TIMEOUT_NOW, as a leader that hands its leadership on
 * would send it: that starts an election at once, which voters grant although they have heard of a leader
 * just now. One after another in the order of their ids, so that votes are not split; the next one only when nobody has
 * come to lead meanwhile. A hint that was wrong (the way to the leader broke, not the leader) costs an election, and a
 * leader is hinted at once in a while at most.
 */
#include "base/clock.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

enum {
    STAGGER_MS = 40, /* from one node's election to the next one's */
    YIELD_MS = 80,   /* longer, for the one that has our vote */
    RETRY_MS = 10,   /* while our log is being written */
    TRIES_MAX = 20,
    SAME_LEADER_MS = 2000,
    SLOW_DISK_MAX_MS = 150,
};

static raft_term last_term(const struct raft *raft) {
    const struct raft_trail *trail = &raft->trail;
    if (trail->front == trail->back) return trail->snapshot.term;
    unsigned last = (trail->back + trail->size - 1) % trail->size;
    return trail->records[last].term;
}

static uint64_t known_leader(const struct raft *raft) {
    return raft->state == RAFT_FOLLOWER ? raft->follower_state.current_leader.id : 0;
}

static void stand(struct kw_replica *replica) {
    struct raft *raft = &replica->raft;
    struct raft_message message = {
        .type = RAFT_TIMEOUT_NOW,
        .server_id = replica->hint.leader,
        .server_address = raft->follower_state.current_leader.address,
    };
    message.timeout_now.term = raft->current_term;
    message.timeout_now.last_log_index = raft_last_index(raft);
    message.timeout_now.last_log_term = last_term(raft);
    kw_log(KW_LOG_NOTICE, "raft: the leader %llu is gone, node %llu stands for election",
           (unsigned long long)replica->hint.leader, (unsigned long long)replica->options.id);
    replica->hint.leader = 0;
    replica->hint.followed++;
    kw_guard_inject(replica->guard, &message);
}

/* What has come from the others while we were busy counts first: the rest is done after the next poll. */
static void on_time(uv_timer_t *timer) {
    struct kw_replica *replica = timer->data;
    replica->hint.due = true;
}

static void again(struct kw_replica *replica, uint64_t delay_ms) {
    uv_timer_start(&replica->hint.timer, on_time, delay_ms, 0);
}

/* A candidate writes its term and its vote before it asks, a voter its vote before it answers: three more writes. */
static uint64_t slow_disk_ms(const struct kw_replica *replica) {
    uint64_t slow_ms = (uint64_t)replica->append_us * 3 / 1000;
    return slow_ms < SLOW_DISK_MAX_MS ? slow_ms : SLOW_DISK_MAX_MS;
}

static void follow(struct kw_replica *replica) {
    struct kw_replica_hint *hint = &replica->hint;
    struct raft *raft = &replica->raft;
    if (replica->closing || replica->failed || hint->leader == 0 || known_leader(raft) != hint->leader) return;
    if (raft->current_term > hint->term && raft->voted_for != 0 && !hint->yielded) {
        hint->yielded = true;
        again(replica, YIELD_MS + slow_disk_ms(replica));
        return;
    }
    if (raft->last_stored < raft_last_index(raft) || raft->snapshot.installing) {
        if (++hint->tries < TRIES_MAX) again(replica, RETRY_MS);
        return;
    }
    stand(replica);
}

void kw_replica_hint_poll(struct kw_replica *replica) {
    if (!replica->hint.due) return;
    replica->hint.due = false;
    follow(replica);
}

/* How many other voters stand before us. */
static unsigned rank_of(const struct kw_replica *replica, uint64_t gone) {
    const struct raft_configuration *conf = &replica->raft.configuration;
    unsigned rank = 0;
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *server = &conf->servers[i];
        if (server->role == RAFT_VOTER && server->id != gone && server->id < replica->options.id) rank++;
    }
    return rank;
}

void kw_replica_hint_peer(struct kw_replica *replica, uint64_t id) {
    struct kw_replica_hint *hint = &replica->hint;
    if (replica->closing || replica->failed || id == 0 || known_leader(&replica->raft) != id) return;
    uint64_t now = kw_clock_ms();
    if (hint->last == id && now - hint->last_ms < SAME_LEADER_MS) return;
    hint->last = id;
    hint->last_ms = now;
    hint->leader = id;
    hint->term = replica->raft.current_term;
    hint->tries = 0;
    hint->yielded = false;
    unsigned rank = rank_of(replica, id);
    if (rank == 0) {
        follow(replica);
    } else {
        again(replica, rank * (STAGGER_MS + slow_disk_ms(replica)));
    }
}
