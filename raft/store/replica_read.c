/*
 * Linearizable reads where a majority cannot be asked (replica_round.c). A read waits for an entry that was submitted
 * after it came: what this turn sends anyway, else a barrier of its own, shared by all reads that wait then. While
 * KW_REPLICA_BARRIERS_MAX are under way the reads gather for the next one. Never joined: an entry or barrier that was
 * sent before the read came, since it says nothing about what was acknowledged in between.
 */
#include "base/alloc.h"
#include "base/error.h"
#include "raft/store/replica_internal.h"

static void reads_add(struct kw_reads *reads, kw_replica_done *done, void *ctx) {
    if (reads->count == reads->cap) {
        reads->cap = reads->cap ? reads->cap * 2 : 16;
        reads->list = kw_realloc(reads->list, reads->cap * sizeof(*reads->list));
    }
    reads->list[reads->count++] = (struct kw_read){done, ctx};
}

void kw_replica_read_take(struct kw_replica *replica, struct kw_reads *to) {
    *to = replica->reads;
    replica->reads = (struct kw_reads){0};
}

void kw_replica_read_give(struct kw_replica *replica, struct kw_reads *reads, int code) {
    struct kw_reads given = *reads;
    *reads = (struct kw_reads){0};
    replica->reads_open -= given.count;
    for (size_t i = 0; i < given.count; i++) {
        kw_replica_call(replica, given.list[i].done, given.list[i].ctx, code, NULL);
    }
    kw_free(given.list);
}

void kw_replica_read_return(struct kw_replica *replica, struct kw_reads *reads) {
    for (size_t i = 0; i < reads->count; i++) reads_add(&replica->reads, reads->list[i].done, reads->list[i].ctx);
    kw_free(reads->list);
    *reads = (struct kw_reads){0};
    kw_replica_wake(replica);
}

void kw_replica_read_fail(struct kw_replica *replica, int code) {
    kw_replica_round_fail(replica, code);
    kw_replica_read_give(replica, &replica->reads, code);
}

static void on_barrier(struct raft_barrier *request, int status) {
    struct kw_barrier *barrier = KW_CONTAINER_OF(request, struct kw_barrier, request);
    struct kw_replica *replica = barrier->replica;
    replica->barriers_open--;
    int code = replica->closing ? KW_ECLOSED : KW_ENOTLEADER;
    kw_replica_read_give(replica, &barrier->reads, status == 0 && !replica->failed ? 0 : code);
    kw_free(barrier);
}

void kw_replica_read_flush(struct kw_replica *replica) {
    kw_replica_round_settle(replica);
    if (replica->reads.count == 0) return;
    if (!kw_replica_leads(replica) || kw_replica_hands_on(replica)) return;
    if (kw_replica_round_begin(replica) || replica->barriers_open == KW_REPLICA_BARRIERS_MAX) return;
    struct kw_barrier *barrier = kw_calloc(1, sizeof(*barrier));
    barrier->replica = replica;
    int code = raft_barrier(&replica->raft, &barrier->request, on_barrier);
    if (code) {
        kw_free(barrier);
        int refusal = kw_replica_refusal(replica, code);
        if (refusal) kw_replica_read_fail(replica, refusal);
        return;
    }
    replica->no_space_ms = 0;
    replica->barriers++;
    replica->barriers_open++;
    kw_replica_read_take(replica, &barrier->reads);
}

int kw_replica_read(struct kw_replica *replica, kw_replica_done *done, void *ctx) {
    int code = !kw_replica_leads(replica)                          ? KW_ENOTLEADER
               : replica->reads_open >= replica->options.queue_max ? KW_ELIMIT
                                                                   : 0;
    if (code) {
        replica->rejected++;
        return code;
    }
    reads_add(&replica->reads, done, ctx);
    replica->reads_open++;
    replica->reads_total++;
    kw_replica_wake(replica);
    return 0;
}
