/*
 * The body of a replica, shared by the files replica*.c:
 *   replica.c          life: what is opened, in which order, and how it ends
 *   replica_turn.c     what is done in each turn of the loop, and how long turns take
 *   replica_fsm.c      libraft's calls into the state machine
 *   replica_submit.c   the queue, and the entries that are made of it
 *   replica_read.c     linearizable reads, by the log
 *   replica_round.c    linearizable reads, by asking a majority
 *   replica_role.c     role, term and leader; membership as it comes to hold
 *   replica_hint.c     the election at once when the leader's process ends
 *   replica_warm.c     libraft's connections are kept fit for use
 *   replica_members.c  membership changes and transfer of leadership
 *   replica_space.c    room on the disk
 *   replica_facts.c    what INFO shows
 */
#ifndef KW_RAFT_STORE_REPLICA_INTERNAL_H
#define KW_RAFT_STORE_REPLICA_INTERNAL_H

#include <raft.h>
#include <raft/uv.h>

#include "base/base.h"
#include "base/str.h"
#include "raft/store/disk.h"
#include "raft/store/guard.h"
#include "raft/store/replica.h"
#include "raft/store/transport.h"

enum {
    KW_REPLICA_BATCH_MAX = 256,  /* records of one entry: what is applied at a time, while the loop waits */
    KW_REPLICA_ENTRIES_MAX = 4,  /* entries of ours under way at once */
    KW_REPLICA_BARRIERS_MAX = 2, /* barriers under way at once */
    KW_REPLICA_ROUNDS_MAX = 4,   /* rounds of questions under way at once */
    KW_REPLICA_EXIT_DISK = 70,   /* exit code: the disk failed */
};

/* Reads that wait together. */
struct kw_reads {
    struct kw_read {
        kw_replica_done *done;
        void *ctx;
    } * list; /* own */
    size_t count, cap;
};

struct kw_batch_waiter {
    kw_replica_done *done; /* may be NULL */
    void *ctx;
    struct kw_meta_result result;
};

/* Records that travel as one entry. Filled at the end of the queue, sent from its head. */
struct kw_batch {
    struct kw_batch *next;
    struct kw_replica *replica;
    struct raft_apply apply; /* apply.index: 0 until it is sent */
    struct kw_str entry;     /* empty once it is sent */
    size_t bytes;            /* of the entry, as counted against the queue's limit */
    unsigned count, cap;
    struct kw_batch_waiter *waiters; /* own */
    struct kw_reads reads;           /* confirmed by this entry */
    uint64_t term;                   /* in which it was sent */
};

struct kw_batch_list {
    struct kw_batch *head, *tail;
    unsigned count;
};

struct kw_barrier {
    struct raft_barrier request;
    struct kw_replica *replica;
    struct kw_reads reads;
};

/* Reads that wait for a majority's word that nobody else leads. */
struct kw_round {
    uint64_t number, term;
    uint64_t index;                    /* committed when the question was put: to be applied first */
    uint64_t heard[KW_META_PEERS_MAX]; /* ids */
    unsigned heard_count;
    uint64_t began_ms;
    struct kw_reads reads;
};

/* The crash hint that is being followed. */
struct kw_replica_hint {
    uv_timer_t timer;
    uint64_t leader, term; /* who is gone, and our term then; 0: none */
    unsigned tries;
    bool yielded;           /* waited once for the one that has our vote */
    bool due;               /* the time has come: after the next poll */
    uint64_t last, last_ms; /* the last one that was followed */
    uint64_t followed;
};

enum kw_change_step {
    KW_CHANGE_NONE,
    KW_CHANGE_ADDING,    /* becomes a spare */
    KW_CHANGE_PROMOTING, /* catches up, becomes a voter */
    KW_CHANGE_UNDOING,   /* did not catch up: is taken out again */
    KW_CHANGE_DEMOTING,  /* becomes a standby */
    KW_CHANGE_PARTING,   /* is given time to learn it */
    KW_CHANGE_REMOVING,
    KW_CHANGE_TRANSFERRING,
};

/* The membership change under way. */
struct kw_change {
    enum kw_change_step step;
    uint64_t id;
    uint64_t index; /* PARTING: of the entry that it should know */
    uint64_t until_ms;
    struct raft_change request;
    struct raft_transfer transfer;
    uv_timer_t timer;
    kw_replica_done *done;
    void *ctx;
};

struct kw_replica {
    struct kw_replica_options options; /* the texts are own; peers are not kept */
    uv_loop_t *loop;

    struct raft raft;
    struct raft_fsm fsm;
    struct kw_guard *guard;              /* own */
    struct raft_io *io;                  /* the guard's */
    struct kw_meta_transport *transport; /* own */
    struct kw_disk *disk;                /* own */
    struct kw_meta_state *state;         /* own */
    struct kw_meta_image *image;         /* own; of the snapshot being written */

    uv_prepare_t prepare;
    uv_check_t check;
    uv_idle_t idle; /* active: the loop must not block, something waits for the next turn */
    uv_timer_t second;
    uv_timer_t warm_again;
    unsigned handles; /* not closed yet, and images that are being freed elsewhere */
    bool handles_up;

    struct kw_batch_list queue; /* filled at its tail */
    struct kw_batch_list sent;  /* under way */
    uint64_t records;           /* waiting or under way */
    size_t bytes;
    struct kw_reads reads; /* came since the last turn's end */
    uint64_t reads_open;   /* waiting or under way */
    unsigned barriers_open;
    struct kw_round rounds[KW_REPLICA_ROUNDS_MAX]; /* the oldest first */
    unsigned round_count;
    uint64_t round_number;
    uint64_t settled_term; /* the last term in which an entry of ours was committed */
    uint64_t no_space_ms;  /* since when libraft refuses entries for want of room; 0: it does not */

    struct kw_replica_hint hint;
    struct kw_change change;

    /* As seen at the last turn's end. */
    int seen_state;
    uint64_t seen_term, seen_leader;
    uint64_t seen_committed, seen_uncommitted; /* configuration indexes */
    uint64_t stood_term;                       /* the last term in which this node was a candidate */
    bool was_member;

    bool applied;    /* on_applied is due */
    bool called_out; /* a callback ran in this phase */
    bool uv_up;      /* raft_uv_init succeeded */
    bool raft_up;    /* raft_init succeeded */
    bool closing;
    bool failed; /* nothing is applied any more */
    bool fatal_due;
    uint64_t fatal_at_ms; /* not before */
    int fatal_code;
    char fatal[KW_DISK_WHY_SIZE];
    void (*closed)(void *ctx);
    void *closed_ctx;

    bool short_of_space;
    uint64_t append_start_us; /* of the last one */
    uint64_t append_since_us; /* since when none has ended while some are under way */
    unsigned appends_open;
    int64_t append_us; /* smoothed */
    uint64_t disk_free;
    uint64_t turn_start_us, turn_idle_us, turn_cpu_us, turn_longest_us, turn_longest_cpu_us;
    uint64_t submitted, rejected, entries, reads_total, barriers, rounds_total, snapshots, elections;
};

/* replica.c */
/* Ends the work with a reason for people; on_fatal runs at the turn's end, `delay_ms` later at the earliest. The first
 * reason stays. */
void kw_replica_fail(struct kw_replica *replica, unsigned delay_ms, const char *fmt, ...) KW_PRINTF(3, 4);

/* Frees the replica when all of it is closed. */
void kw_replica_maybe_closed(struct kw_replica *replica);

/* replica_turn.c */
void kw_replica_turn_start(struct kw_replica *replica);
/* There is something for a turn's end to do: the loop must not block before it was there. */
void kw_replica_wake(struct kw_replica *replica);
/* Runs `done`, if there is one, and remembers that a callback ran. */
void kw_replica_call(struct kw_replica *replica, kw_replica_done *done, void *ctx, int code,
                     const struct kw_meta_result *result);

/* replica_fsm.c */
void kw_replica_fsm_init(struct kw_replica *replica);

/* replica_submit.c */
/* True while this node may submit entries. */
bool kw_replica_leads(const struct kw_replica *replica);
/* True while leadership is being handed on: libraft takes no entries then. */
bool kw_replica_hands_on(const struct kw_replica *replica);
void kw_replica_submit_flush(struct kw_replica *replica);
/* Answers what was not sent yet. */
void kw_replica_submit_fail(struct kw_replica *replica, int code);
/* The batch that was sent as the entry at `index`, or NULL. */
struct kw_batch *kw_replica_batch_at(const struct kw_replica *replica, uint64_t index);
/* What libraft's code for a submission that it refused means; KW_OK: try again in the next turn. */
int kw_replica_refusal(struct kw_replica *replica, int code);

/* replica_read.c */
void kw_replica_read_flush(struct kw_replica *replica);
void kw_replica_read_fail(struct kw_replica *replica, int code);
/* Moves all that wait to `to`, which is empty. */
void kw_replica_read_take(struct kw_replica *replica, struct kw_reads *to);
void kw_replica_read_give(struct kw_replica *replica, struct kw_reads *reads, int code);
/* They wait again. */
void kw_replica_read_return(struct kw_replica *replica, struct kw_reads *reads);

/* replica_round.c */
/* True while a round may confirm reads. */
bool kw_replica_round_possible(const struct kw_replica *replica);
/* Takes the reads that wait into a round; false: the log must confirm them. */
bool kw_replica_round_begin(struct kw_replica *replica);
/* Gives what has been confirmed. */
void kw_replica_round_settle(struct kw_replica *replica);
void kw_replica_round_answer(struct kw_replica *replica, uint64_t id, uint64_t number, uint64_t term);
/* A connection went or came: what waits for it is asked anew. */
void kw_replica_round_retry(struct kw_replica *replica);
/* Once a second: what has waited long is asked anew. */
void kw_replica_round_check(struct kw_replica *replica);
void kw_replica_round_fail(struct kw_replica *replica, int code);

/* replica_role.c */
void kw_replica_role_poll(struct kw_replica *replica);
const struct raft_server *kw_replica_server(const struct raft_configuration *conf, uint64_t id);

/* replica_hint.c */
void kw_replica_hint_peer(struct kw_replica *replica, uint64_t id);
/* In the check phase. */
void kw_replica_hint_poll(struct kw_replica *replica);

/* replica_members.c */
/* The peer's process ended: it need not be waited for. */
void kw_replica_change_peer_gone(struct kw_replica *replica, uint64_t id);
/* Once a second: ends a change that libraft lost. */
void kw_replica_change_check(struct kw_replica *replica);

/* replica_warm.c */
void kw_replica_warm_all(struct kw_replica *replica);
/* The peer's process has ended, or come. */
void kw_replica_warm_peer(struct kw_replica *replica, uint64_t id);

/* replica_space.c */
void kw_replica_space_check(struct kw_replica *replica);

#endif
