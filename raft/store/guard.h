/*
 * The guard: stands between libraft and its I/O, and mends what libraft 0.22
 * does wrong there (docs/decisions/0007-libraft-guard.md has each rule, the failure without it,
 * and how it was found). Works on any struct raft_io: the real one on disk and
 * sockets, and the simulator's. On the loop's thread.
 *
 * The struct raft_io lives inside the guard, since both libraft's core and the backend find their own things in it by
 * its address (data, impl) and so must the guard. Order of use:
 *
 *   guard = kw_guard_new(&options);
 *   raft_uv_init(kw_guard_io(guard), ...);          or any other backend that fills it
 *   kw_guard_wrap(guard);
 *   raft_init(options.raft, kw_guard_io(guard), ...);
 *   ... raft_close, and in its callback: raft_uv_close(kw_guard_io(guard)); kw_guard_free(guard);
 */
#ifndef KW_RAFT_STORE_GUARD_H
#define KW_RAFT_STORE_GUARD_H

#include <raft.h>
#include <stdbool.h>

/* Rules that may be switched off, for the simulator's proof that it would notice. */
enum kw_guard_rule {
    KW_GUARD_CLAMP_COMMIT = 1 << 0,    /* 1: AppendEntries: commit never beyond what it carries */
    KW_GUARD_DROP_INSTALL = 1 << 1,    /* 2: no InstallSnapshot while an own snapshot is written */
    KW_GUARD_HONEST_RESULT = 1 << 2,   /* 3: a follower claims no more than the message that it answers proved */
    KW_GUARD_SNAPSHOT_TERM = 1 << 3,   /* 4: InstallSnapshot carries the term of the snapshot that was loaded */
    KW_GUARD_COPY_ENTRIES = 1 << 4,    /* 5: entries are sent from a copy */
    KW_GUARD_STALE_REJECTION = 1 << 5, /* 6: rejections of what is matched already are ignored */
    KW_GUARD_PREV_ZERO = 1 << 6,       /* 7: AppendEntries from the beginning to a compacted log is made a heartbeat */
    KW_GUARD_DISK_ERRORS = 1 << 7,     /* 8: an error of set_term, set_vote, append or truncate ends the process */
    KW_GUARD_LOST_SNAPSHOT = 1 << 8,   /* 9: a snapshot that cannot be loaded, or comes too late, is not sent */
    KW_GUARD_KEEP_VOTE = 1 << 9,       /* 10: the term that is stored already is not stored again without its vote */
    KW_GUARD_CHANGE_FIRST = 1 << 10,   /* 11: a change of the members is the first entry of its message */
    KW_GUARD_ALL = 0x7ff,
};
enum { KW_GUARD_RULE_COUNT = 11 };

struct kw_guard;

struct kw_guard_options {
    struct raft *raft; /* borrowed; may not be initialised yet */
    unsigned rules;    /* KW_GUARD_ALL */
    /* A disk error under rule 8. Must not return in production (NULL: logs and aborts). */
    void (*on_disk_error)(void *ctx, const char *operation, int code);
    /* Asked before each AppendEntries; true: it is lost. May be NULL. For a leader whose disk stands still. */
    bool (*silent)(void *ctx);
    /* Each append as it is handed to the disk and as it has ended; may be NULL. For the watchdog. */
    void (*on_append)(void *ctx, bool started);
    void *ctx;
};

/* Options are copied. Free after raft_close has called back. */
struct kw_guard *kw_guard_new(const struct kw_guard_options *options);
void kw_guard_free(struct kw_guard *guard);

/* Zeroed at first: for the backend to fill, then for raft_init. Lives as long as the guard. */
struct raft_io *kw_guard_io(struct kw_guard *guard);

/* Puts the guard before the functions that the backend has set. Once, before raft_init. */
void kw_guard_wrap(struct kw_guard *guard);

/* Hands raft a message as if it came from the network; lost before raft_start and after raft_close. What the message
 * points to passes to raft, as from the network. For the crash hint. */
void kw_guard_inject(struct kw_guard *guard, struct raft_message *message);

/* How often each rule (index: bit number) has acted. */
unsigned long long kw_guard_count(const struct kw_guard *guard, unsigned rule_bit);

#endif
