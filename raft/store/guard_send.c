/*
 * The guard's rules for what goes out: 3, 4, 5 and 9. An error of the backend's
 * send goes back to libraft as it is. A copy of entries belongs to the guard
 * until the backend has called back.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/store/guard_internal.h"

/* An AppendEntries on its way: one allocation with its entries and their bytes behind it. */
struct copied_send {
    struct raft_io_send req;
    struct raft_message message;
    struct raft_entry entries[];
};

static void copied_send_done(struct raft_io_send *req, int status) {
    (void)status;
    kw_free(KW_CONTAINER_OF(req, struct copied_send, req));
}

static size_t entries_bytes(const struct raft_append_entries *append) {
    size_t bytes = 0;
    for (unsigned i = 0; i < append->n_entries; i++) bytes += append->entries[i].buf.len;
    return bytes;
}

static struct copied_send *copy_append(const struct raft_message *message) {
    const struct raft_append_entries *append = &message->append_entries;
    size_t table = append->n_entries * sizeof(struct raft_entry);
    struct copied_send *copy = kw_malloc(sizeof(*copy) + table + entries_bytes(append));
    char *bytes = (char *)copy->entries + table;
    copy->message = *message;
    copy->message.append_entries.entries = copy->entries;
    for (unsigned i = 0; i < append->n_entries; i++) {
        struct raft_entry *entry = &copy->entries[i];
        *entry = append->entries[i];
        if (entry->buf.len > 0) memcpy(bytes, entry->buf.base, entry->buf.len);
        entry->buf.base = bytes;
        entry->batch = NULL;
        bytes += entry->buf.len;
    }
    return copy;
}

/*
 * Rule 5. libraft holds the entries of a message by a count for each index and term, and forgets counts when a log is
 * truncated or restored; the bytes are freed while they are being written. It gets them back at once.
 */
static int send_append(struct kw_guard *guard, struct raft_io_send *req, const struct raft_message *message,
                       raft_io_send_cb cb) {
    if (guard->options.silent && guard->options.silent(guard->options.ctx)) {
        cb(req, 0);
        return 0;
    }
    if (!kw_guard_has(guard, KW_GUARD_COPY_ENTRIES) || message->append_entries.n_entries == 0) {
        return guard->inner.send(&guard->io, req, message, cb);
    }
    struct copied_send *copy = copy_append(message);
    int rv = guard->inner.send(&guard->io, &copy->req, &copy->message, copied_send_done);
    if (rv != 0) {
        kw_free(copy);
        return rv;
    }
    kw_guard_acted(guard, KW_GUARD_COPY_ENTRIES);
    cb(req, 0); /* frees what `message` lies in */
    return 0;
}

/*
 * Rule 3. Some answers hold an index that was never set, or more than the leader's message can have proved (a tail of
 * an older term). What is written to disk later is answered from outside of a receive, and counted rightly.
 */
static int send_result(struct kw_guard *guard, struct raft_io_send *req, const struct raft_message *message,
                       raft_io_send_cb cb) {
    struct raft_message honest = *message;
    struct raft_append_entries_result *result = &honest.append_entries_result;
    if (!kw_guard_has(guard, KW_GUARD_HONEST_RESULT) || !guard->received.active || result->rejected != 0) {
        return guard->inner.send(&guard->io, req, message, cb);
    }
    raft_index proved = guard->received.term < result->term ? 0 : guard->received.end;
    if (result->last_log_index > proved) {
        result->last_log_index = proved;
        kw_guard_acted(guard, KW_GUARD_HONEST_RESULT);
    }
    return guard->inner.send(&guard->io, req, &honest, cb);
}

/* Rules 4 and 9; libraft sends from within the callback that hands it the snapshot. */
static int send_install(struct kw_guard *guard, struct raft_io_send *req, const struct raft_message *message,
                        raft_io_send_cb cb) {
    if (guard->loaded.active && guard->loaded.lost) {
        cb(req, RAFT_CANCELED);
        return 0;
    }
    struct raft_message right = *message;
    if (kw_guard_has(guard, KW_GUARD_SNAPSHOT_TERM) && guard->loaded.active &&
        right.install_snapshot.last_term != guard->loaded.term) {
        right.install_snapshot.last_term = guard->loaded.term;
        kw_guard_acted(guard, KW_GUARD_SNAPSHOT_TERM);
    }
    return guard->inner.send(&guard->io, req, &right, cb);
}

int kw_guard_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                  raft_io_send_cb cb) {
    struct kw_guard *guard = kw_guard_of(io);
    switch (message->type) {
    case RAFT_APPEND_ENTRIES: return send_append(guard, req, message, cb);
    case RAFT_APPEND_ENTRIES_RESULT: return send_result(guard, req, message, cb);
    case RAFT_INSTALL_SNAPSHOT: return send_install(guard, req, message, cb);
    default: return guard->inner.send(io, req, message, cb);
    }
}

/* A snapshot_get of libraft's on its way. */
struct snapshot_load {
    struct raft_io_snapshot_get req;
    struct kw_guard *guard;
    struct raft_io_snapshot_get *outer;
    raft_io_snapshot_get_cb cb;
};

/* Stands for a snapshot that could not be loaded: never sent. libraft frees it as it would a real one. */
static struct raft_snapshot *empty_snapshot(void) {
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof(*snapshot));
    KW_ASSERT(snapshot);
    snapshot->bufs = raft_calloc(1, sizeof(*snapshot->bufs));
    KW_ASSERT(snapshot->bufs);
    snapshot->n_bufs = 1;
    snapshot->index = (raft_index)-1;
    return snapshot;
}

/*
 * Rule 9. When a load fails libraft frees a configuration and a buffer that it never set; when one ends after the close
 * has begun it sends all the same, which the backend does not bear.
 */
static void snapshot_loaded(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status) {
    struct snapshot_load *load = KW_CONTAINER_OF(req, struct snapshot_load, req);
    struct kw_guard *guard = load->guard;
    guard->loaded.lost = kw_guard_has(guard, KW_GUARD_LOST_SNAPSHOT) && (status != 0 || guard->closing);
    if (guard->loaded.lost) kw_guard_acted(guard, KW_GUARD_LOST_SNAPSHOT);
    if (guard->loaded.lost && status != 0) {
        raft_free(snapshot); /* bare: its contents were never set */
        snapshot = empty_snapshot();
        status = 0;
    }
    guard->loaded.active = true;
    guard->loaded.term = status == 0 ? snapshot->term : 0;
    load->cb(load->outer, snapshot, status);
    guard->loaded.active = false;
    kw_free(load);
}

int kw_guard_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    struct kw_guard *guard = kw_guard_of(io);
    struct snapshot_load *load = kw_calloc(1, sizeof(*load));
    load->guard = guard;
    load->outer = req;
    load->cb = cb;
    req->cb = cb;
    int rv = guard->inner.snapshot_get(io, &load->req, snapshot_loaded);
    if (rv != 0) kw_free(load);
    return rv;
}
