/*
 * A replica's life. Opened in this order: the data folder, the state, the transport, libraft's disk and network part,
 * the guard around it, libraft itself, our handles, and then it starts; closed the other way round: libraft
 * first, which closes the transport, and when it and our handles are gone, the rest is freed.
 *
 * What can fail: the folder is refused; libraft will not open it; no address to listen on. Before libraft is
 * initialised that is undone on the spot; afterwards the loop must run until libraft has closed.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/aio.h"
#include "raft/store/replica_internal.h"

enum {
    HEARTBEAT_MS = 50,
    ELECTION_MS = 300,
    DISK_TIMEOUT_MS = 5000,
    DISK_RETRY_MS = 24 * 3600 * 1000, /* libraft's retry of a failed write follows a null pointer */
    CONNECT_RETRY_MS = 150,
    INSTALL_TIMEOUT_MS = 5000,
    CATCH_UP_MS = 30000, /* one round of it; the first may carry a snapshot */
    SEGMENT_BYTES = 8 * 1024 * 1024,
    SNAPSHOT_ENTRIES = 8192,
    TRAILING_MAX = 2048, /* and at most a quarter of the entries between snapshots */
    QUEUE_MAX = 16384,
    QUEUE_BYTES_MAX = 64 * 1024 * 1024,
};

void kw_replica_fail(struct kw_replica *replica, unsigned delay_ms, const char *fmt, ...) {
    if (replica->failed) return;
    va_list args;
    va_start(args, fmt);
    vsnprintf(replica->fatal, sizeof(replica->fatal), fmt, args);
    va_end(args);
    replica->failed = true;
    replica->fatal_due = true;
    replica->fatal_code = KW_EIO;
    replica->fatal_at_ms = kw_clock_ms() + delay_ms;
    kw_log(KW_LOG_WARNING, "raft: node %llu stops: %s", (unsigned long long)replica->options.id, replica->fatal);
    if (replica->handles_up) kw_replica_wake(replica);
}

/* Nothing may be acknowledged after a write that failed, and libraft would go on. */
static void on_disk_error(void *ctx, const char *operation, int code) {
    struct kw_replica *replica = ctx;
    kw_log(KW_LOG_WARNING, "raft: %s failed in %s: %s. The process ends", operation, replica->options.dir,
           raft_strerror(code));
    _exit(KW_REPLICA_EXIT_DISK);
}

/* How long the disk takes is smoothed over the last ten or so. Appends overlap: an end is counted from the last start.
 */
static void on_append(void *ctx, bool started) {
    struct kw_replica *replica = ctx;
    uint64_t now = kw_clock_us();
    kw_disk_append(replica->disk, started);
    if (!started || replica->appends_open == 0) replica->append_since_us = now;
    replica->appends_open = started ? replica->appends_open + 1 : replica->appends_open - 1;
    if (started)
        replica->append_start_us = now;
    else
        replica->append_us += ((int64_t)(now - replica->append_start_us) - replica->append_us) / 8;
}

/*
 * A leader whose disk stands still could show forever that it lives and never commit. It is silent instead, so that
 * another one is elected, and steps down when it no longer hears from a majority. The process ends only when the disk
 * does not come back (disk_timeout_ms): a disk that all nodes share may stand still for all of them at once.
 */
static bool is_silent(void *ctx) {
    const struct kw_replica *replica = ctx;
    if (replica->appends_open == 0) return false;
    return kw_clock_us() - replica->append_since_us > (uint64_t)replica->options.election_ms * 1000;
}

static void on_peer(void *ctx, uint64_t id, bool up) {
    kw_replica_warm_peer(ctx, id);
    kw_replica_round_retry(ctx);
    if (up) return;
    kw_replica_hint_peer(ctx, id);
    kw_replica_change_peer_gone(ctx, id);
}

static uint64_t own_term(void *ctx) {
    const struct kw_replica *replica = ctx;
    return replica->failed ? 0 : replica->raft.current_term;
}

static void on_term(void *ctx, uint64_t id, uint64_t number, uint64_t term) {
    kw_replica_round_answer(ctx, id, number, term);
}

static enum kw_handshake_reason judge_peer(void *ctx, uint64_t id, uint64_t incarnation, bool proved) {
    struct kw_replica *replica = ctx;
    int code =
        proved ? kw_disk_peer_note(replica->disk, id, incarnation) : kw_disk_peer_check(replica->disk, id, incarnation);
    if (code == 0 || code == KW_EUNKNOWN) return KW_REASON_NONE;
    return code == KW_EINVALID ? KW_REASON_INCARNATION : KW_REASON_RECORD;
}

/* One peer that remembers is enough: it wrote that down, and this node has forgotten what it promised. */
static void on_disowned(void *ctx, uint64_t by) {
    struct kw_replica *replica = ctx;
    if (replica->failed || replica->closing) return;
    unsigned long long id = (unsigned long long)replica->options.id;
    kw_replica_fail(replica, 0,
                    "this node's data folder is not the one with which node %llu took part before (node %llu remembers "
                    "that one): start with an empty folder and a new id, then `keyway-cli meta remove %llu` and "
                    "`keyway-cli meta add NEW HOST:PORT` (folder: %s)",
                    id, (unsigned long long)by, id, replica->options.dir);
    replica->fatal_code = KW_EINVALID;
}

static void options_copy(struct kw_replica_options *out, const struct kw_replica_options *in) {
    *out = *in;
    out->bind = kw_strdup(in->bind);
    out->dir = kw_strdup(in->dir);
    out->secret = kw_strdup(in->secret ? in->secret : "");
    out->cluster = kw_strdup(in->cluster);
    out->peers = NULL;
    if (!out->heartbeat_ms) out->heartbeat_ms = HEARTBEAT_MS;
    if (!out->election_ms) out->election_ms = ELECTION_MS;
    if (!out->disk_timeout_ms) out->disk_timeout_ms = DISK_TIMEOUT_MS;
    if (!out->snapshot_entries) out->snapshot_entries = SNAPSHOT_ENTRIES;
    if (!out->queue_max) out->queue_max = QUEUE_MAX;
    if (!out->queue_bytes_max) out->queue_bytes_max = QUEUE_BYTES_MAX;
}

static void options_deinit(struct kw_replica_options *options) {
    kw_free((void *)(uintptr_t)options->bind);
    kw_free((void *)(uintptr_t)options->dir);
    kw_free((void *)(uintptr_t)options->secret);
    kw_free((void *)(uintptr_t)options->cluster);
}

/* All that needs no loop; what is not there yet is NULL. */
static void replica_free(struct kw_replica *replica) {
    if (replica->uv_up) raft_uv_close(replica->io);
    if (replica->guard) kw_guard_free(replica->guard);
    kw_meta_transport_free(replica->transport);
    kw_disk_close(replica->disk);
    if (replica->image) kw_meta_image_free(replica->image);
    kw_meta_state_free(replica->state);
    options_deinit(&replica->options);
    kw_free(replica);
}

static int transport_open(struct kw_replica *replica, char *why, size_t why_size) {
    struct kw_meta_transport_options options = {
        .bind = replica->options.bind,
        .raft_port = replica->options.address.raft_port,
        .secret = replica->options.secret,
        .cluster = replica->options.cluster,
        .on_peer = on_peer,
        .term = own_term,
        .on_term = on_term,
        .incarnation = kw_disk_incarnation(replica->disk),
        .judge = judge_peer,
        .on_disowned = on_disowned,
        .ctx = replica,
    };
    int code = kw_meta_transport_new(&replica->transport, replica->loop, &options);
    if (code) {
        snprintf(why, why_size,
                 "the transport on '%s' port %u cannot be made: the cluster's name must have 1 to %d bytes, the secret "
                 "none or at least %d, the port must be 1 to 65535",
                 options.bind, options.raft_port, KW_HANDSHAKE_CLUSTER_MAX, KW_META_SECRET_MIN);
    }
    return code;
}

static int refuse_raft(struct kw_replica *replica, const char *what, int code, char *why, size_t why_size) {
    const char *detail = replica->raft_up ? raft_errmsg(&replica->raft) : replica->io->errmsg;
    if (!detail[0]) detail = kw_meta_transport_raft(replica->transport)->errmsg;
    if (replica->failed)
        snprintf(why, why_size, "%s", replica->fatal);
    else
        snprintf(why, why_size, "%s: %s%s%s", what, raft_strerror(code), detail[0] ? ": " : "", detail);
    return replica->failed ? KW_EPROTOCOL : KW_EIO;
}

/* libraft's disk and network part, behind the guard. */
static int io_open(struct kw_replica *replica, char *why, size_t why_size) {
    struct kw_guard_options options = {
        .raft = &replica->raft,
        .rules = KW_GUARD_ALL,
        .on_disk_error = on_disk_error,
        .silent = is_silent,
        .on_append = on_append,
        .ctx = replica,
    };
    replica->guard = kw_guard_new(&options);
    replica->io = kw_guard_io(replica->guard);
    int code =
        raft_uv_init(replica->io, replica->loop, replica->options.dir, kw_meta_transport_raft(replica->transport));
    if (code) return refuse_raft(replica, "cannot open the data folder", code, why, why_size);
    replica->uv_up = true;
    raft_uv_set_segment_size(replica->io, SEGMENT_BYTES);
    raft_uv_set_connect_retry_delay(replica->io, CONNECT_RETRY_MS);
    raft_uv_set_disk_retry(replica->io, DISK_RETRY_MS);
    raft_uv_set_auto_recovery(replica->io, false); /* it forgets acknowledged entries */
    kw_guard_wrap(replica->guard);
    return 0;
}

static void raft_settings(struct kw_replica *replica) {
    struct raft *raft = &replica->raft;
    unsigned trailing = replica->options.snapshot_entries / 4;
    if (trailing > TRAILING_MAX) trailing = TRAILING_MAX;
    raft_set_election_timeout(raft, replica->options.election_ms);
    raft_set_heartbeat_timeout(raft, replica->options.heartbeat_ms);
    raft_set_install_snapshot_timeout(raft, INSTALL_TIMEOUT_MS);
    raft_set_max_catch_up_round_duration(raft, CATCH_UP_MS);
    /* All nodes apply the same entries, but their disks should not write snapshots at the same moment, least of all one
     * that they share: the first comes later, by the node's id, and so do all that follow. */
    unsigned later = (unsigned)(replica->options.id % 3) * (replica->options.snapshot_entries / 3);
    raft_set_snapshot_threshold(raft, replica->options.snapshot_entries + later);
    raft_set_snapshot_trailing(raft, trailing ? trailing : 1); /* 0 would drop what followers still need */
    raft_set_pre_vote(raft, false);                            /* it can leave all without a leader for ever */
}

static int raft_open(struct kw_replica *replica, char *why, size_t why_size) {
    char address[KW_META_ADDRESS_SIZE];
    kw_replica_fsm_init(replica);
    kw_meta_address_print(&replica->options.address, address);
    replica->raft.data = replica;
    int code = raft_init(&replica->raft, replica->io, &replica->fsm, replica->options.id, address);
    if (code) return refuse_raft(replica, "cannot open the data folder", code, why, why_size);
    replica->raft_up = true;
    /* libraft's own seed is the time in ms: nodes that were started together would stand for election together. */
    uint64_t seed = (kw_clock_wall_us() + replica->options.id) * 0x9e3779b97f4a7c15U;
    raft_seed(&replica->raft, (unsigned)(seed >> 32));
    raft_settings(replica);
    return 0;
}

/* The peers in the order of their ids: every first member must write the same first entry. */
static int bootstrap(struct kw_replica *replica, const struct kw_replica_options *options, char *why, size_t why_size) {
    struct raft_configuration conf;
    char address[KW_META_ADDRESS_SIZE];
    int code = 0;
    raft_configuration_init(&conf);
    for (uint64_t last = 0; code == 0;) {
        const struct kw_meta_peer *next = NULL;
        for (unsigned i = 0; i < options->peer_count; i++) {
            const struct kw_meta_peer *peer = &options->peers[i];
            if (peer->id > last && (!next || peer->id < next->id)) next = peer;
        }
        if (!next) break;
        kw_meta_address_print(&next->address, address);
        code = raft_configuration_add(&conf, next->id, address, RAFT_VOTER);
        last = next->id;
    }
    if (code == 0) code = raft_bootstrap(&replica->raft, &conf);
    raft_configuration_close(&conf);
    return code ? refuse_raft(replica, "cannot write the first entry", code, why, why_size) : 0;
}

static void handles_open(struct kw_replica *replica) {
    uv_loop_t *loop = replica->loop;
    uv_prepare_init(loop, &replica->prepare);
    uv_check_init(loop, &replica->check);
    uv_idle_init(loop, &replica->idle);
    uv_timer_init(loop, &replica->second);
    uv_timer_init(loop, &replica->warm_again);
    uv_timer_init(loop, &replica->hint.timer);
    uv_timer_init(loop, &replica->change.timer);
    replica->prepare.data = replica->check.data = replica->idle.data = replica;
    replica->second.data = replica->warm_again.data = replica->hint.timer.data = replica->change.timer.data = replica;
    replica->handles_up = true;
}

void kw_replica_maybe_closed(struct kw_replica *replica) {
    if (!replica->closing || replica->handles > 0 || replica->raft_up) return;
    void (*closed)(void *ctx) = replica->closed;
    void *ctx = replica->closed_ctx;
    replica_free(replica);
    if (closed) closed(ctx);
}

static void on_handle_closed(uv_handle_t *handle) {
    struct kw_replica *replica = handle->data;
    replica->handles--;
    kw_replica_maybe_closed(replica);
}

static void on_raft_closed(struct raft *raft) {
    struct kw_replica *replica = raft->data;
    replica->raft_up = false;
    kw_replica_maybe_closed(replica);
}

static void handles_close(struct kw_replica *replica) {
    uv_handle_t *const handles[] = {
        (uv_handle_t *)&replica->prepare,      (uv_handle_t *)&replica->check,      (uv_handle_t *)&replica->idle,
        (uv_handle_t *)&replica->second,       (uv_handle_t *)&replica->warm_again, (uv_handle_t *)&replica->hint.timer,
        (uv_handle_t *)&replica->change.timer,
    };
    if (!replica->handles_up) return;
    replica->handles_up = false;
    replica->handles += KW_ARRAY_LEN(handles);
    for (unsigned i = 0; i < KW_ARRAY_LEN(handles); i++) uv_close(handles[i], on_handle_closed);
}

void kw_replica_close(struct kw_replica *replica, void (*closed)(void *ctx), void *ctx) {
    KW_ASSERT(!replica->closing);
    replica->closing = true;
    replica->closed = closed;
    replica->closed_ctx = ctx;
    kw_replica_submit_fail(replica, KW_ECLOSED);
    kw_replica_read_fail(replica, KW_ECLOSED);
    handles_close(replica);
    raft_close(&replica->raft, on_raft_closed); /* answers what was sent */
}

static void on_undone(void *ctx) {
    *(bool *)ctx = true;
}

/* A start that failed. */
static void undo(struct kw_replica *replica) {
    bool undone = false;
    uv_loop_t *loop = replica->loop;
    if (!replica->raft_up) {
        replica_free(replica);
        return;
    }
    kw_replica_close(replica, on_undone, &undone);
    while (!undone) uv_run(loop, UV_RUN_ONCE);
}

static int start(struct kw_replica *replica, char *why, size_t why_size) {
    handles_open(replica);
    /* Before libraft's own, which run first for that: the last handle started is the first to run. */
    kw_replica_turn_start(replica);
    int code = raft_start(&replica->raft);
    if (code) return refuse_raft(replica, "cannot start", code, why, why_size);
    if (kw_disk_watch(replica->disk, replica->options.disk_timeout_ms)) {
        snprintf(why, why_size, "the watchdog of the disk cannot be started");
        return KW_EIO;
    }
    kw_replica_space_check(replica);
    return 0;
}

static int open_all(struct kw_replica *replica, const struct kw_replica_options *options, char *why, size_t why_size) {
    enum kw_disk_found found = KW_DISK_EMPTY;
    int code = kw_disk_open(&replica->disk, options->dir, options->id, options->cluster, &found, why, why_size);
    if (code) return code;
    if (kw_disk_reserve_make(replica->disk) != 0) {
        kw_log(KW_LOG_WARNING, "no room for the reserve of %d MiB in %s", KW_DISK_RESERVE_BYTES / (1024 * 1024),
               options->dir);
        replica->short_of_space = true;
    }
    replica->state = kw_meta_state_new();
    code = transport_open(replica, why, why_size);
    if (!code) code = io_open(replica, why, why_size);
    if (!code) code = raft_open(replica, why, why_size);
    if (!code && found == KW_DISK_EMPTY && options->peer_count > 0 && !options->join) {
        code = bootstrap(replica, options, why, why_size);
    }
    return code ? code : start(replica, why, why_size);
}

int kw_replica_new(struct kw_replica **out, uv_loop_t *loop, const struct kw_replica_options *options, char *why,
                   size_t why_size) {
    KW_ASSERT(options->id != 0 && why_size > 0);
    struct kw_replica *replica = kw_calloc(1, sizeof(*replica));
    options_copy(&replica->options, options);
    replica->loop = loop;
    kw_aio_offload();
    replica->seen_state = RAFT_FOLLOWER;
    why[0] = '\0';
    int code = open_all(replica, options, why, why_size);
    if (code) {
        undo(replica);
        return code;
    }
    *out = replica;
    return 0;
}
