/*
 * The guard's body, shared by the files that hold its rules: guard_receive.c
 * (1, 2, 6, 7), guard_send.c (3, 4, 5, 9) and guard_disk.c (8, 10, and what
 * the rules of the others need to know of snapshots).
 */
#ifndef KW_RAFT_STORE_GUARD_INTERNAL_H
#define KW_RAFT_STORE_GUARD_INTERNAL_H

#include "raft/store/guard.h"

struct kw_guard {
    struct raft_io io;    /* first: libraft and the backend know this address only */
    struct raft_io inner; /* the backend's functions, as they were */
    struct kw_guard_options options;
    raft_io_recv_cb receive; /* libraft's */
    bool closing;
    unsigned snapshot_puts; /* under way */
    raft_term stored_term;  /* on disk */
    /* The newest snapshot that this node holds as libraft knows it; index 0: none. */
    raft_index snapshot_index;
    raft_term snapshot_term;
    /* The message that is being received: what an answer from within may claim. */
    struct {
        bool active;
        raft_term term;
        raft_index end;
    } received;
    /* The snapshot that libraft has just been given, and is about to send. */
    struct {
        bool active;
        bool lost; /* there is none to send */
        raft_term term;
    } loaded;
    unsigned long long counts[KW_GUARD_RULE_COUNT];
};

static inline struct kw_guard *kw_guard_of(struct raft_io *io) {
    return (struct kw_guard *)(void *)io;
}

/* Whether the rule is on; counted separately, since a rule that is on seldom has to act. */
bool kw_guard_has(const struct kw_guard *guard, enum kw_guard_rule rule);
void kw_guard_acted(struct kw_guard *guard, enum kw_guard_rule rule);

/* The functions that stand before the backend's. */
int kw_guard_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb receive);
void kw_guard_receive(struct raft_io *io, struct raft_message *message);
int kw_guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb);
int kw_guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
int kw_guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                  raft_index *start_index, struct raft_entry *entries[], size_t *n_entries);
int kw_guard_set_term(struct raft_io *io, raft_term term);
int kw_guard_set_vote(struct raft_io *io, raft_id id);
int kw_guard_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                    raft_io_append_cb cb);
int kw_guard_truncate(struct raft_io *io, raft_index index);
int kw_guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);

#endif
