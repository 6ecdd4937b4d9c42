/*
 * The guard's frame: its life, which functions it puts before the backend's,
 * its counters. The rules are in guard_receive.c, guard_send.c and
 * guard_disk.c. Nothing here fails.
 */
#include "raft/store/guard.h"

#include "base/alloc.h"
#include "base/base.h"
#include "raft/store/guard_internal.h"

struct kw_guard *kw_guard_new(const struct kw_guard_options *options) {
    struct kw_guard *guard = kw_calloc(1, sizeof(*guard));
    guard->options = *options;
    return guard;
}

void kw_guard_free(struct kw_guard *guard) {
    kw_free(guard);
}

struct raft_io *kw_guard_io(struct kw_guard *guard) {
    return &guard->io;
}

/* The backend may still have work under way that comes back to libraft; nothing new may begin (rule 9). */
static void guard_close(struct raft_io *io, raft_io_close_cb cb) {
    struct kw_guard *guard = kw_guard_of(io);
    guard->closing = true;
    guard->inner.close(io, cb);
}

void kw_guard_wrap(struct kw_guard *guard) {
    struct raft_io *io = &guard->io;
    KW_ASSERT(io->start && !guard->inner.start);
    guard->inner = *io;
    io->start = kw_guard_start;
    io->close = guard_close;
    io->load = kw_guard_load;
    io->set_term = kw_guard_set_term;
    io->set_vote = kw_guard_set_vote;
    io->append = kw_guard_append;
    io->truncate = kw_guard_truncate;
    io->send = kw_guard_send;
    io->snapshot_put = kw_guard_snapshot_put;
    io->snapshot_get = kw_guard_snapshot_get;
}

void kw_guard_inject(struct kw_guard *guard, struct raft_message *message) {
    if (!guard->receive || guard->closing) return;
    kw_guard_receive(&guard->io, message);
}

bool kw_guard_has(const struct kw_guard *guard, enum kw_guard_rule rule) {
    return (guard->options.rules & (unsigned)rule) != 0;
}

void kw_guard_acted(struct kw_guard *guard, enum kw_guard_rule rule) {
    guard->counts[__builtin_ctz((unsigned)rule)]++;
}

unsigned long long kw_guard_count(const struct kw_guard *guard, unsigned rule_bit) {
    return rule_bit < KW_GUARD_RULE_COUNT ? guard->counts[rule_bit] : 0;
}
