/*
 * libraft's calls into the state machine. All of them run on the loop; a snapshot's pieces are then written by a thread
 * of libraft's, while the image keeps them as they are.
 *
 * What can fail: an entry or a snapshot that cannot be read. Nothing is applied after that, no snapshot is taken (it
 * would lack what was not applied), and the process is asked to end.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "raft/store/replica_internal.h"

static void on_result(void *ctx, unsigned nth, const struct kw_meta_result *result) {
    struct kw_batch *batch = ctx;
    if (batch && nth < batch->count) batch->waiters[nth].result = *result;
}

static const char *unreadable(int code) {
    return code == KW_EUNKNOWN ? "it was written by a newer version: run that version on this node"
                               : "the log is damaged: wipe the folder and add this node under a new id";
}

/* libraft advances last_applied when this has returned. A failure is not told to libraft, which would go on all the
 * same: from then on nothing is applied. */
static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buffer, void **result) {
    struct kw_replica *replica = fsm->data;
    *result = NULL;
    if (replica->failed) return 0;
    uint64_t index = replica->raft.last_applied + 1;
    struct kw_batch *batch = kw_replica_batch_at(replica, index);
    int code = kw_meta_state_apply(replica->state, index, buffer->base, buffer->len, on_result, batch);
    if (code) {
        kw_replica_fail(replica, 0, "log entry %llu cannot be applied (%s): %s", (unsigned long long)index,
                        kw_error_text(code), unreadable(code));
        return 0;
    }
    *result = batch;
    replica->applied = true;
    return 0;
}

/* The pieces and their list are borrowed from the image until fsm_snapshot_done. */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct kw_replica *replica = fsm->data;
    if (replica->failed || replica->image) return RAFT_BUSY;
    replica->image = kw_meta_state_freeze(replica->state);
    raft_set_snapshot_threshold(&replica->raft, replica->options.snapshot_entries);
    size_t count = 0;
    const struct kw_piece *pieces = kw_meta_image_pieces(replica->image, &count);
    _Static_assert(sizeof(struct kw_piece) == sizeof(struct raft_buffer) &&
                       offsetof(struct kw_piece, base) == offsetof(struct raft_buffer, base) &&
                       offsetof(struct kw_piece, len) == offsetof(struct raft_buffer, len),
                   "a list of the one is a list of the other");
    *bufs = (struct raft_buffer *)(uintptr_t)pieces;
    *n_bufs = (unsigned)count;
    return 0;
}

struct release {
    uv_work_t work;
    struct kw_replica *replica;
    struct kw_meta_image *image;
};

static void release_run(uv_work_t *work) {
    kw_meta_image_free(KW_CONTAINER_OF(work, struct release, work)->image);
}

static void release_done(uv_work_t *work, int status) {
    struct release *release = KW_CONTAINER_OF(work, struct release, work);
    struct kw_replica *replica = release->replica;
    (void)status;
    kw_free(release);
    replica->handles--;
    kw_replica_maybe_closed(replica);
}

/* Pages that only the image had are freed one by one, which takes tens of milliseconds after many changes: elsewhere.
 */
static void release_image(struct kw_replica *replica) {
    struct release *release = kw_calloc(1, sizeof(*release));
    release->replica = replica;
    release->image = replica->image;
    replica->image = NULL;
    replica->handles++;
    int err = uv_queue_work(replica->loop, &release->work, release_run, release_done);
    KW_ASSERT(err == 0);
}

/* Runs after each fsm_snapshot that succeeded, whether it was written or not. */
static int fsm_snapshot_done(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct kw_replica *replica = fsm->data;
    *bufs = NULL;
    *n_bufs = 0;
    release_image(replica);
    if (!replica->closing) replica->snapshots++;
    return 0;
}

/* On success the bytes are ours to free, on failure libraft's. */
static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buffer) {
    struct kw_replica *replica = fsm->data;
    char why[KW_DISK_WHY_SIZE / 2] = "";
    int code = kw_meta_state_load(replica->state, buffer->base, buffer->len, why, sizeof(why));
    if (code) {
        kw_replica_fail(replica, 0, "the snapshot cannot be read (%s: %s): %s", kw_error_text(code), why,
                        unreadable(code));
        return RAFT_MALFORMED;
    }
    raft_free(buffer->base);
    replica->applied = true;
    return 0;
}

void kw_replica_fsm_init(struct kw_replica *replica) {
    replica->fsm = (struct raft_fsm){
        .version = 2, /* with snapshot_finalize */
        .data = replica,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .snapshot_finalize = fsm_snapshot_done,
        .restore = fsm_restore,
    };
}
