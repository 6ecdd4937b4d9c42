/*
 * The replica: libraft behind its guard, the state machine, and the ways in:
 * submit, linearizable read, membership. One loop thread owns all of it.
 *
 * Submissions of one loop turn travel as one log entry (up to 256 records or
 * KW_RECORD_ENTRY_MAX bytes) and at most a few entries are under way at once; the rest waits in a bounded queue. Reads
 * that ask for it are confirmed by a barrier that was submitted after they came; those of one turn share it, or ride on
 * that turn's entry.
 *
 * Callbacks come in the poll, timer, check or prepare phase of a loop turn. What a caller writes out later from a
 * prepare handle of its own still leaves within that turn: a callback of the prepare phase is followed by a turn that
 * does not block. The process must ignore SIGPIPE: libraft writes to sockets whose other side may be gone.
 */
#ifndef KW_RAFT_STORE_REPLICA_H
#define KW_RAFT_STORE_REPLICA_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "raft/state/state.h"
#include "raft/store/address.h"

struct kw_replica;

/* Encoded; larger ones are refused. Well below the 8 MB of a log segment. */
enum { KW_REPLICA_RECORD_MAX = 6 * 1024 * 1024, KW_REPLICA_GUARD_RULES = 11 };

enum kw_replica_role { KW_ROLE_FOLLOWER, KW_ROLE_CANDIDATE, KW_ROLE_LEADER, KW_ROLE_STOPPED };

struct kw_replica_options {
    uint64_t id;                    /* never 0, never reused for another data folder */
    struct kw_meta_address address; /* as the others reach it */
    const char *bind;               /* addresses to listen on, blank separated */
    const char *dir;
    const char *secret;
    const char *cluster; /* name */
    const struct kw_meta_peer
        *peers; /* the first members, this one among them; used by an empty folder only. None: waits to be added */
    unsigned peer_count;
    bool join;                 /* an empty folder that is added to a running cluster: never bootstraps */
    unsigned heartbeat_ms;     /* 0: 50 */
    unsigned election_ms;      /* 0: 300 */
    unsigned disk_timeout_ms;  /* an append that takes longer ends the process; 0: 5000 */
    unsigned snapshot_entries; /* entries between snapshots; 0: 8192 */
    unsigned queue_max;        /* records waiting or under way, and as many reads; 0: 16384 */
    size_t queue_bytes_max;    /* 0: 64 MiB */
    /* After entries were applied (once a turn at most), and after a snapshot was loaded. Never inline from a call of
     * this header. */
    void (*on_applied)(void *ctx);
    /* Role, term or leader changed. */
    void (*on_role)(void *ctx);
    /* Cannot go on; `why` is for people. The process must end. KW_EINVALID: this folder must not be used again, as from
     * kw_replica_new; any other error: something failed. */
    void (*on_fatal)(void *ctx, int code, const char *why);
    void *ctx;
};

/*
 * Opens the folder, checks it (disk.h), starts libraft and the transport. 0; or an error with what is wrong and what to
 * do in `why`: KW_EINVALID, KW_EPROTOCOL and KW_ELIMIT of kw_disk_open (the folder is refused), KW_EIO (nothing to
 * listen on, libraft will not start). Options are copied. A start that fails late runs the loop until all is closed.
 */
int kw_replica_new(struct kw_replica **out, uv_loop_t *loop, const struct kw_replica_options *options, char *why,
                   size_t why_size);
/* Answers everything that waits with KW_ECLOSED before it returns, then closes; `closed` runs from the loop, `replica`
 * is gone then. */
void kw_replica_close(struct kw_replica *replica, void (*closed)(void *ctx), void *ctx);

/*
 * The outcome of a submission: 0 and the state machine's result; KW_ENOTLEADER (nothing happened, kw_replica_leader may
 * know who is), KW_ELIMIT (no room on the disks of a majority, nothing happened), KW_EINDOUBT (leadership was lost
 * meanwhile: it may or may not come to pass; the same request id makes a retry safe), KW_ECLOSED. `result` is NULL
 * unless the code is 0 and it was a submission; borrowed for the call.
 */
typedef void kw_replica_done(void *ctx, int code, const struct kw_meta_result *result);

/* `record` is copied; `done` may be NULL. 0: `done` runs once, later. Otherwise it never runs: KW_ENOTLEADER, KW_ELIMIT
 * (queue full), KW_EINVALID (larger than KW_REPLICA_RECORD_MAX). */
int kw_replica_submit(struct kw_replica *replica, const struct kw_record *record, kw_replica_done *done, void *ctx);

/* Runs `done` once the state holds everything that was acknowledged anywhere before this call. Errors as for submit,
 * but never KW_EINDOUBT. */
int kw_replica_read(struct kw_replica *replica, kw_replica_done *done, void *ctx);

/* The state as this node has it: on a leader between turns everything applied. Borrowed. */
const struct kw_meta_state *kw_replica_state(const struct kw_replica *replica);

/* The leader that this node knows: its id, with its address in `out` (may be NULL); 0: none is known. Cheap. */
uint64_t kw_replica_leader(const struct kw_replica *replica, struct kw_meta_address *out);
enum kw_replica_role kw_replica_role(const struct kw_replica *replica);

struct kw_replica_member {
    struct kw_meta_peer peer;
    bool voter;
    uint64_t match_index; /* as leader; 0 unknown */
};

struct kw_replica_facts {
    uint64_t id, leader_id; /* 0: no leader known */
    struct kw_meta_address leader;
    enum kw_replica_role role;
    uint64_t term, commit_index, applied_index, last_index, snapshot_index;
    uint64_t submitted, rejected, entries, reads, barriers, rounds, snapshots, elections;
    uint64_t queue_records, queue_bytes;
    uint64_t disk_free_bytes;
    uint64_t guard[KW_REPLICA_GUARD_RULES]; /* how often each rule of the guard acted */
    uint64_t refused_peers;
    uint64_t longest_turn_us;     /* longest stall of the loop since kw_replica_turn_reset */
    uint64_t longest_turn_cpu_us; /* the same in processor time: without what the machine did meanwhile */
    unsigned member_count;
    struct kw_replica_member members[KW_META_PEERS_MAX];
};
void kw_replica_facts(struct kw_replica *replica, struct kw_replica_facts *out);
void kw_replica_turn_reset(struct kw_replica *replica);

/*
 * Membership, one change at a time (KW_ELIMIT while one is under way). Add: a new id; it gets the log as a spare first,
 * and is made a voter when it has caught up. Remove: any but the last voter; a voter is made a standby first, which
 * tells it that it is leaving: it ends itself. Transfer: leadership to `id`, 0: any. `done` gets 0, KW_ENOTLEADER,
 * KW_EINVALID (id or address known, unknown id), KW_ETIMEOUT (did not catch up: taken out again; leadership stayed),
 * KW_EINDOUBT. A call that returns an error never runs `done`.
 */
int kw_replica_add(struct kw_replica *replica, const struct kw_meta_peer *peer, kw_replica_done *done, void *ctx);
int kw_replica_remove(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx);
int kw_replica_transfer(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx);

/* An image of the state now, to be written out as a backup; own. */
struct kw_meta_image *kw_replica_backup(struct kw_replica *replica);

#endif
