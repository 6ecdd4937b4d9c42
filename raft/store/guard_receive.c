/*
 * The guard's rules for what comes from the network: 1, 2, 6, 7 and 11. Each
 * either lets the message pass, takes from it what it must not say, or drops
 * it, which to Raft is a message lost on the way. A dropped message's memory
 * is freed here, since libraft would have.
 */
#include "raft/store/guard_internal.h"

int kw_guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb receive) {
    struct kw_guard *guard = kw_guard_of(io);
    guard->receive = receive;
    return guard->inner.start(io, msecs, tick, kw_guard_receive);
}

/* All entries of a message lie in one batch. */
static void free_entries(struct raft_append_entries *message) {
    if (message->n_entries == 0) return;
    raft_free(message->entries[0].batch);
    raft_free(message->entries);
    message->entries = NULL;
    message->n_entries = 0;
}

/*
 * Rule 7. libraft would take entries from index 1 on into a log whose beginning has been compacted away, which corrupts
 * it. A leader that sends them does not know how far we are. What we hold a snapshot of is committed, so the leader of
 * a term that we accept has it too: the message becomes a heartbeat that stands on our snapshot, and our answer tells
 * the leader where to go on. (Dropping it would leave a leader whose first answer was lost in the dark for ever.)
 */
static void stand_on_snapshot(struct kw_guard *guard, struct raft_append_entries *message) {
    if (!kw_guard_has(guard, KW_GUARD_PREV_ZERO) || message->prev_log_index != 0 || message->n_entries == 0) return;
    if (guard->snapshot_index == 0) return;
    free_entries(message);
    message->prev_log_index = guard->snapshot_index;
    message->prev_log_term = guard->snapshot_term;
    message->leader_commit = 0;
    kw_guard_acted(guard, KW_GUARD_PREV_ZERO);
}

/*
 * Rule 11. libraft notes a change of the members under the index of the first entry that came with it, and then never
 * takes it for committed. What is cut off, the leader sends again; the entries share one piece of memory, which goes
 * with those that stay.
 */
static void change_comes_first(struct kw_guard *guard, struct raft_append_entries *message) {
    if (!kw_guard_has(guard, KW_GUARD_CHANGE_FIRST)) return;
    for (unsigned i = 1; i < message->n_entries; i++) {
        if (message->entries[i].type != RAFT_CHANGE) continue;
        message->n_entries = i;
        kw_guard_acted(guard, KW_GUARD_CHANGE_FIRST);
        return;
    }
}

/* Rule 1, and what rule 3 will ask. libraft takes the lesser of leader_commit and the message's end even if that takes
 * its commit index back. */
static void receive_append(struct kw_guard *guard, struct raft_append_entries *message) {
    stand_on_snapshot(guard, message);
    change_comes_first(guard, message);
    raft_index end = message->prev_log_index + message->n_entries;
    guard->received.term = message->term;
    guard->received.end = end;
    if (kw_guard_has(guard, KW_GUARD_CLAMP_COMMIT) && message->leader_commit > end) {
        message->leader_commit = end;
        kw_guard_acted(guard, KW_GUARD_CLAMP_COMMIT);
    }
}

/* Rule 2, and what rule 3 will ask. False: dropped; the leader repeats it. */
static bool receive_install(struct kw_guard *guard, struct raft_install_snapshot *message) {
    if (kw_guard_has(guard, KW_GUARD_DROP_INSTALL) && guard->snapshot_puts > 0) {
        raft_configuration_close(&message->conf);
        raft_free(message->data.base);
        kw_guard_acted(guard, KW_GUARD_DROP_INSTALL);
        return false;
    }
    guard->received.term = message->term;
    guard->received.end = message->last_index;
    return true;
}

/* Rule 6. What is matched stays matched: such a rejection is late. */
static bool receive_result(struct kw_guard *guard, raft_id from, const struct raft_append_entries_result *message) {
    struct raft *raft = guard->options.raft;
    raft_index match = 0;
    if (!kw_guard_has(guard, KW_GUARD_STALE_REJECTION) || message->rejected == 0) return true;
    if (raft_state(raft) != RAFT_LEADER || message->term != raft_current_term(raft)) return true;
    if (raft_match_index(raft, from, &match) != 0 || message->rejected > match) return true;
    kw_guard_acted(guard, KW_GUARD_STALE_REJECTION);
    return false;
}

static bool may_pass(struct kw_guard *guard, struct raft_message *message) {
    switch (message->type) {
    case RAFT_APPEND_ENTRIES: receive_append(guard, &message->append_entries); return true;
    case RAFT_INSTALL_SNAPSHOT: return receive_install(guard, &message->install_snapshot);
    case RAFT_APPEND_ENTRIES_RESULT: return receive_result(guard, message->server_id, &message->append_entries_result);
    default: return true;
    }
}

void kw_guard_receive(struct raft_io *io, struct raft_message *message) {
    struct kw_guard *guard = kw_guard_of(io);
    if (!guard->closing && !may_pass(guard, message)) return;
    guard->received.active = message->type == RAFT_APPEND_ENTRIES || message->type == RAFT_INSTALL_SNAPSHOT;
    guard->receive(io, message);
    guard->received.active = false;
}
