/*
 * From records to log entries. The queue is a list of batches: records join the one at its end, encoded at once; at the
 * turn's end those at its head are sent, each as one entry, while fewer than KW_REPLICA_ENTRIES_MAX are under way. So
 * what one turn collected travels together, and a slow disk makes batches larger, not more of them.
 *
 * What can fail: the queue is full (said at once), this node does not lead or ceases to (what was not sent has not
 * happened, what was sent is in doubt), there is no room on the disks of a majority (tried again for a second).
 */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

enum { NO_SPACE_PATIENCE_MS = 1000, RECORD_OVERHEAD = 64 };

bool kw_replica_leads(const struct kw_replica *replica) {
    return !replica->closing && !replica->failed && replica->raft.state == RAFT_LEADER;
}

bool kw_replica_hands_on(const struct kw_replica *replica) {
    return replica->raft.state == RAFT_LEADER && replica->raft.leader_state.transferee != 0;
}

static void list_push(struct kw_batch_list *list, struct kw_batch *batch) {
    batch->next = NULL;
    if (list->tail)
        list->tail->next = batch;
    else
        list->head = batch;
    list->tail = batch;
    list->count++;
}

static struct kw_batch *list_pop(struct kw_batch_list *list) {
    struct kw_batch *batch = list->head;
    list->head = batch->next;
    if (!list->head) list->tail = NULL;
    list->count--;
    return batch;
}

static void list_unpop(struct kw_batch_list *list, struct kw_batch *batch) {
    batch->next = list->head;
    list->head = batch;
    if (!list->tail) list->tail = batch;
    list->count++;
}

static void list_remove(struct kw_batch_list *list, struct kw_batch *batch) {
    struct kw_batch *before = NULL;
    for (struct kw_batch *at = list->head; at != batch; at = at->next) before = at;
    if (before)
        before->next = batch->next;
    else
        list->head = batch->next;
    if (list->tail == batch) list->tail = before;
    list->count--;
}

struct kw_batch *kw_replica_batch_at(const struct kw_replica *replica, uint64_t index) {
    for (struct kw_batch *at = replica->sent.head; at; at = at->next) {
        if (at->apply.index == index) return at;
    }
    return NULL;
}

static struct kw_batch *batch_new(struct kw_replica *replica) {
    struct kw_batch *batch = kw_calloc(1, sizeof(*batch));
    batch->replica = replica;
    kw_entry_begin(&batch->entry, kw_clock_wall_us() / 1000);
    list_push(&replica->queue, batch);
    return batch;
}

/* The batch that a record of about `len` bytes joins. */
static struct kw_batch *batch_with_room(struct kw_replica *replica, size_t len) {
    struct kw_batch *batch = replica->queue.tail;
    if (!batch) return batch_new(replica);
    bool full = batch->count == KW_REPLICA_BATCH_MAX;
    if (full || (batch->count > 0 && batch->entry.len + len > KW_RECORD_ENTRY_MAX)) return batch_new(replica);
    return batch;
}

static void batch_add(struct kw_batch *batch, const struct kw_record *record, kw_replica_done *done, void *ctx) {
    if (batch->count == batch->cap) {
        batch->cap = batch->cap ? batch->cap * 2 : 8;
        batch->waiters = kw_realloc(batch->waiters, batch->cap * sizeof(*batch->waiters));
    }
    size_t before = batch->entry.len;
    kw_record_encode(&batch->entry, record);
    batch->waiters[batch->count++] = (struct kw_batch_waiter){.done = done, .ctx = ctx};
    batch->bytes += batch->entry.len - before;
    batch->replica->bytes += batch->entry.len - before;
}

/* Answers all of a batch, which is in no list any more, and frees it. */
static void batch_give(struct kw_batch *batch, int code) {
    struct kw_replica *replica = batch->replica;
    replica->records -= batch->count;
    replica->bytes -= batch->bytes;
    for (unsigned i = 0; i < batch->count; i++) {
        struct kw_batch_waiter *waiter = &batch->waiters[i];
        kw_replica_call(replica, waiter->done, waiter->ctx, code, code ? NULL : &waiter->result);
    }
    /* A read has changed nothing: it is never in doubt. */
    kw_replica_read_give(replica, &batch->reads, code == KW_EINDOUBT ? KW_ENOTLEADER : code);
    kw_str_deinit(&batch->entry);
    kw_free(batch->waiters);
    kw_free(batch);
}

static void on_applied(struct raft_apply *apply, int status, void *result) {
    struct kw_batch *batch = KW_CONTAINER_OF(apply, struct kw_batch, apply);
    struct kw_replica *replica = batch->replica;
    list_remove(&replica->sent, batch);
    KW_ASSERT(status != 0 || replica->failed || result == batch);
    if (status == 0) replica->settled_term = batch->term;
    int code = replica->closing ? KW_ECLOSED : KW_EINDOUBT;
    batch_give(batch, status == 0 && !replica->failed ? 0 : code);
}

int kw_replica_refusal(struct kw_replica *replica, int code) {
    if (code == RAFT_NOTLEADER) return kw_replica_leads(replica) ? 0 : KW_ENOTLEADER; /* leadership is handed on */
    uint64_t now = kw_clock_ms();
    if (replica->no_space_ms == 0) replica->no_space_ms = now;
    if (code == RAFT_NOSPACE && now - replica->no_space_ms < NO_SPACE_PATIENCE_MS) return 0;
    static struct kw_log_limit limit;
    kw_log_limited(&limit, KW_LOG_WARNING, "raft: writes are refused: %s", raft_strerror(code));
    return KW_ELIMIT;
}

/* libraft frees the buffer, which it wants as one piece from its own heap. 0, libraft's code, or KW_EINDOUBT. */
static int batch_hand_over(struct kw_batch *batch) {
    struct raft *raft = &batch->replica->raft;
    struct raft_buffer buffer = {.base = raft_malloc(batch->entry.len), .len = batch->entry.len};
    KW_ASSERT(buffer.base && buffer.len % 8 == 0);
    memcpy(buffer.base, batch->entry.data, buffer.len);
    raft_index last = raft_last_index(raft);
    int code = raft_apply(raft, &batch->apply, &buffer, 1, on_applied);
    /* An error after the entry has joined the log: the buffer is the log's, and nobody will call back. */
    if (code && raft_last_index(raft) != last) return KW_EINDOUBT;
    if (code) raft_free(buffer.base);
    return code;
}

/* False: nothing more can be sent now. */
static bool batch_send(struct kw_replica *replica) {
    struct kw_batch *batch = list_pop(&replica->queue);
    unsigned count = batch->count;
    struct kw_str *entry = &batch->entry;
    size_t open_len = entry->len;
    kw_entry_end(entry, count);
    list_push(&replica->sent, batch);
    int code = batch_hand_over(batch);
    if (code == 0) {
        replica->entries++;
        replica->no_space_ms = 0;
        batch->term = replica->raft.current_term;
        if (!kw_replica_round_possible(replica)) kw_replica_read_take(replica, &batch->reads);
        kw_str_deinit(entry);
        return true;
    }
    list_remove(&replica->sent, batch);
    int refusal = code == KW_EINDOUBT ? code : kw_replica_refusal(replica, code);
    if (refusal) {
        batch_give(batch, refusal);
        return refusal == KW_ELIMIT; /* the next one is answered alike */
    }
    entry->len = open_len; /* without the padding: more may join it */
    batch->apply.index = 0;
    list_unpop(&replica->queue, batch);
    return false;
}

void kw_replica_submit_flush(struct kw_replica *replica) {
    while (replica->queue.head && replica->sent.count < KW_REPLICA_ENTRIES_MAX) {
        if (!kw_replica_leads(replica) || kw_replica_hands_on(replica) || !batch_send(replica)) return;
    }
}

void kw_replica_submit_fail(struct kw_replica *replica, int code) {
    struct kw_batch_list failed = replica->queue;
    replica->queue = (struct kw_batch_list){0};
    while (failed.head) batch_give(list_pop(&failed), code);
}

int kw_replica_submit(struct kw_replica *replica, const struct kw_record *record, kw_replica_done *done, void *ctx) {
    size_t len = record->key_len + record->value_len + RECORD_OVERHEAD;
    int code = 0;
    if (!kw_replica_leads(replica))
        code = KW_ENOTLEADER;
    else if (len > KW_REPLICA_RECORD_MAX)
        code = KW_EINVALID;
    else if (replica->records >= replica->options.queue_max)
        code = KW_ELIMIT;
    else if (replica->bytes + len > replica->options.queue_bytes_max)
        code = KW_ELIMIT;
    if (code) {
        replica->rejected++;
        return code;
    }
    batch_add(batch_with_room(replica, len), record, done, ctx);
    replica->records++;
    replica->submitted++;
    kw_replica_wake(replica);
    return 0;
}
