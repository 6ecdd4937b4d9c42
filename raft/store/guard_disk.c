/*
 * The guard's rules for the disk: 8, an error of a write that Raft rests on ends
 * the process, since libraft would go on as if it had been written; 10, a vote that was given is not written over. Also
 * what
 * the other rules need to know: which snapshot there is, whether one is being
 * written. The requests of append and snapshot_put are replaced by ones of the
 * guard's, freed when the backend has called back.
 */
#include <stdlib.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/log.h"
#include "raft/store/guard_internal.h"

/* Returns the code for what calls it; in production it does not return. */
static int disk_result(struct kw_guard *guard, const char *operation, int code) {
    if (code == 0 || !kw_guard_has(guard, KW_GUARD_DISK_ERRORS)) return code;
    kw_guard_acted(guard, KW_GUARD_DISK_ERRORS);
    if (guard->options.on_disk_error) {
        guard->options.on_disk_error(guard->options.ctx, operation, code);
        return code;
    }
    kw_log(KW_LOG_WARNING, "disk: %s failed: %s. This node ends, so that it does not promise what is not written",
           operation, raft_strerror(code));
    abort();
}

int kw_guard_load(struct raft_io *io, raft_term *term, raft_id *voted_for, struct raft_snapshot **snapshot,
                  raft_index *start_index, struct raft_entry *entries[], size_t *n_entries) {
    struct kw_guard *guard = kw_guard_of(io);
    int rv = guard->inner.load(io, term, voted_for, snapshot, start_index, entries, n_entries);
    if (rv == 0) guard->stored_term = *term;
    if (rv == 0 && *snapshot) {
        guard->snapshot_index = (*snapshot)->index;
        guard->snapshot_term = (*snapshot)->term;
    }
    return rv;
}

int kw_guard_set_term(struct raft_io *io, raft_term term) {
    struct kw_guard *guard = kw_guard_of(io);
    /* libraft stores the term anew before each vote. That writes a term without a vote, and a vote already given in it
     * would be forgotten by a crash before the next write. */
    if (term == guard->stored_term && kw_guard_has(guard, KW_GUARD_KEEP_VOTE)) {
        kw_guard_acted(guard, KW_GUARD_KEEP_VOTE);
        return 0;
    }
    int rv = guard->inner.set_term(io, term);
    if (rv == 0) guard->stored_term = term;
    return disk_result(guard, "storing the term", rv);
}

int kw_guard_set_vote(struct raft_io *io, raft_id id) {
    struct kw_guard *guard = kw_guard_of(io);
    return disk_result(guard, "storing the vote", guard->inner.set_vote(io, id));
}

int kw_guard_truncate(struct raft_io *io, raft_index index) {
    struct kw_guard *guard = kw_guard_of(io);
    return disk_result(guard, "truncating the log", guard->inner.truncate(io, index));
}

struct guarded_append {
    struct raft_io_append req;
    struct kw_guard *guard;
    struct raft_io_append *outer;
    raft_io_append_cb cb;
};

static void note_append(struct kw_guard *guard, bool started) {
    if (guard->options.on_append) guard->options.on_append(guard->options.ctx, started);
}

static void append_done(struct raft_io_append *req, int status) {
    struct guarded_append *append = KW_CONTAINER_OF(req, struct guarded_append, req);
    struct kw_guard *guard = append->guard;
    note_append(guard, false);
    if (status != RAFT_CANCELED) disk_result(guard, "appending to the log", status);
    append->cb(append->outer, status);
    kw_free(append);
}

int kw_guard_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                    raft_io_append_cb cb) {
    struct kw_guard *guard = kw_guard_of(io);
    struct guarded_append *append = kw_calloc(1, sizeof(*append));
    append->guard = guard;
    append->outer = req;
    append->cb = cb;
    req->cb = cb;
    note_append(guard, true);
    int rv = guard->inner.append(io, &append->req, entries, n, append_done);
    if (rv == 0) return 0;
    note_append(guard, false);
    kw_free(append);
    return disk_result(guard, "appending to the log", rv);
}

struct guarded_put {
    struct raft_io_snapshot_put req;
    struct kw_guard *guard;
    struct raft_io_snapshot_put *outer;
    raft_io_snapshot_put_cb cb;
    raft_index index;
    raft_term term;
};

static void put_done(struct raft_io_snapshot_put *req, int status) {
    struct guarded_put *put = KW_CONTAINER_OF(req, struct guarded_put, req);
    struct kw_guard *guard = put->guard;
    guard->snapshot_puts--;
    if (status == 0) {
        guard->snapshot_index = put->index;
        guard->snapshot_term = put->term;
    }
    put->cb(put->outer, status);
    kw_free(put);
}

int kw_guard_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct kw_guard *guard = kw_guard_of(io);
    struct guarded_put *put = kw_calloc(1, sizeof(*put));
    put->guard = guard;
    put->outer = req;
    put->cb = cb;
    put->index = snapshot->index;
    put->term = snapshot->term;
    req->cb = cb;
    guard->snapshot_puts++;
    int rv = guard->inner.snapshot_put(io, trailing, &put->req, snapshot, put_done);
    if (rv == 0) return 0;
    guard->snapshot_puts--;
    kw_free(put);
    return rv;
}
