/*
 * Linearizable reads without the log (Ongaro's thesis on Raft, 6.4): a leader that has committed an entry of its own
 * term has everything that was ever acknowledged, as long as no other leader has been elected; and none has while a
 * majority is still in the leader's term. So the reads of a turn wait for a round: each peer is asked, after the reads
 * came, for the term that it is in (hint.h), and when a majority, this node among it, has answered with ours, they see
 * the state as it is. A peer moves to a term before it votes in it: whoever is elected later has the vote of one that
 * had answered before, and what it acknowledges comes after the reads.
 *
 * No disk is waited for. What can fail: a peer's connection ends (those that wait are asked anew, or go by the log),
 * leadership ends (the reads fail: nothing has happened).
 */
#include "base/clock.h"
#include "base/error.h"
#include "raft/store/replica_internal.h"

enum { PATIENCE_MS = 100 };

static unsigned voters(const struct kw_replica *replica, bool *self) {
    const struct raft_configuration *conf = &replica->raft.configuration;
    unsigned count = 0;
    *self = false;
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].role != RAFT_VOTER) continue;
        count++;
        if (conf->servers[i].id == replica->options.id) *self = true;
    }
    return count;
}

bool kw_replica_round_possible(const struct kw_replica *replica) {
    return kw_replica_leads(replica) && !kw_replica_hands_on(replica) &&
           replica->settled_term == replica->raft.current_term;
}

static bool round_is_won(const struct kw_replica *replica, const struct kw_round *round) {
    bool self;
    unsigned all = voters(replica, &self), ours = self ? 1 : 0;
    for (unsigned i = 0; i < round->heard_count; i++) {
        const struct raft_server *server = kw_replica_server(&replica->raft.configuration, round->heard[i]);
        if (server && server->role == RAFT_VOTER) ours++;
    }
    return ours > all / 2;
}

static struct kw_reads round_pop(struct kw_replica *replica) {
    struct kw_reads reads = replica->rounds[0].reads;
    replica->round_count--;
    for (unsigned i = 0; i < replica->round_count; i++) replica->rounds[i] = replica->rounds[i + 1];
    replica->rounds[replica->round_count] = (struct kw_round){0};
    return reads;
}

/* Answers to a later question count for the earlier ones, so rounds are won in order. */
void kw_replica_round_settle(struct kw_replica *replica) {
    while (replica->round_count > 0 && round_is_won(replica, &replica->rounds[0])) {
        if (replica->raft.last_applied < replica->rounds[0].index) return;
        bool holds = kw_replica_round_possible(replica) && replica->rounds[0].term == replica->raft.current_term;
        struct kw_reads reads = round_pop(replica);
        kw_replica_read_give(replica, &reads, holds ? 0 : KW_ENOTLEADER);
    }
}

bool kw_replica_round_begin(struct kw_replica *replica) {
    bool self;
    if (!kw_replica_round_possible(replica)) return false;
    if (replica->round_count == KW_REPLICA_ROUNDS_MAX) return true; /* they gather for the next one */
    uint64_t number = ++replica->round_number;
    unsigned all = voters(replica, &self);
    if (kw_meta_transport_ask(replica->transport, number) + (self ? 1 : 0) <= all / 2) return false;
    struct kw_round *round = &replica->rounds[replica->round_count++];
    *round = (struct kw_round){.number = number,
                               .term = replica->raft.current_term,
                               .index = replica->raft.commit_index,
                               .began_ms = kw_clock_ms()};
    kw_replica_read_take(replica, &round->reads);
    replica->rounds_total++;
    kw_replica_round_settle(replica); /* alone, this node is the majority */
    return true;
}

static bool round_has(const struct kw_round *round, uint64_t id) {
    for (unsigned i = 0; i < round->heard_count; i++) {
        if (round->heard[i] == id) return true;
    }
    return false;
}

void kw_replica_round_answer(struct kw_replica *replica, uint64_t id, uint64_t number, uint64_t term) {
    if (replica->closing) return;
    for (unsigned i = 0; i < replica->round_count; i++) {
        struct kw_round *round = &replica->rounds[i];
        if (round->number > number || round->term != term || round_has(round, id)) continue;
        if (round->heard_count < KW_META_PEERS_MAX) round->heard[round->heard_count++] = id;
    }
    kw_replica_round_settle(replica);
    if (replica->reads.count > 0) kw_replica_wake(replica);
}

void kw_replica_round_retry(struct kw_replica *replica) {
    if (replica->closing) return;
    while (replica->round_count > 0) {
        struct kw_reads reads = round_pop(replica);
        kw_replica_read_return(replica, &reads);
    }
}

void kw_replica_round_check(struct kw_replica *replica) {
    if (replica->round_count == 0 || kw_clock_ms() - replica->rounds[0].began_ms < PATIENCE_MS) return;
    kw_replica_round_retry(replica);
}

void kw_replica_round_fail(struct kw_replica *replica, int code) {
    while (replica->round_count > 0) {
        struct kw_reads reads = round_pop(replica);
        kw_replica_read_give(replica, &reads, code);
    }
}
