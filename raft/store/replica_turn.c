/*
 * A turn of the loop. What the poll phase collected is sent in the check phase right behind it, what timers collected
 * in the prepare phase, just before the loop blocks: nothing waits for company longer than it would have to anyway.
 * libraft's own prepare and check handles were started later and so run first; the answers that it found are out by
 * then.
 *
 * An idle handle keeps the loop from blocking: from a submission until the turn's end that sends it, and for one turn
 * after callbacks that ran in the prepare phase, since others may want to write out what came of them.
 *
 * The loop's own count of the time that it was blocked says how long a turn took, whatever its phases did.
 */
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

enum { SECOND_MS = 1000 };

static void on_idle(uv_idle_t *idle) {
    uv_idle_stop(idle);
}

void kw_replica_wake(struct kw_replica *replica) {
    if (!replica->closing) uv_idle_start(&replica->idle, on_idle);
}

void kw_replica_call(struct kw_replica *replica, kw_replica_done *done, void *ctx, int code,
                     const struct kw_meta_result *result) {
    replica->called_out = true;
    if (done) done(ctx, code, result);
}

static void tell_applied(struct kw_replica *replica) {
    if (!replica->applied || replica->failed || replica->closing) return;
    replica->applied = false;
    replica->called_out = true;
    if (replica->options.on_applied) replica->options.on_applied(replica->options.ctx);
}

static void tell_fatal(struct kw_replica *replica) {
    if (!replica->fatal_due || replica->closing || kw_clock_ms() < replica->fatal_at_ms) return;
    replica->fatal_due = false;
    replica->called_out = true;
    if (replica->options.on_fatal) replica->options.on_fatal(replica->options.ctx, replica->fatal_code, replica->fatal);
}

static void turn_end(struct kw_replica *replica) {
    if (replica->closing) return;
    uv_idle_stop(&replica->idle);
    kw_replica_role_poll(replica);
    tell_applied(replica);
    if (!replica->closing && !kw_replica_leads(replica)) {
        kw_replica_submit_fail(replica, KW_ENOTLEADER);
        kw_replica_read_fail(replica, KW_ENOTLEADER);
    }
    kw_replica_submit_flush(replica);
    kw_replica_read_flush(replica);
    tell_fatal(replica);
}

static void measure(struct kw_replica *replica) {
    uint64_t now = kw_clock_us();
    uint64_t cpu = kw_clock_thread_us();
    uint64_t blocked = uv_metrics_idle_time(replica->loop) / 1000;
    if (replica->turn_start_us) {
        uint64_t whole = now - replica->turn_start_us, idle = blocked - replica->turn_idle_us;
        uint64_t busy = whole > idle ? whole - idle : 0;
        if (busy > replica->turn_longest_us) replica->turn_longest_us = busy;
        if (cpu - replica->turn_cpu_us > replica->turn_longest_cpu_us) {
            replica->turn_longest_cpu_us = cpu - replica->turn_cpu_us;
        }
    }
    replica->turn_cpu_us = cpu;
    replica->turn_start_us = now;
    replica->turn_idle_us = blocked;
}

static void on_check(uv_check_t *check) {
    struct kw_replica *replica = check->data;
    kw_replica_hint_poll(replica);
    turn_end(replica);
    replica->called_out = false; /* there is a prepare phase to come */
}

static void on_prepare(uv_prepare_t *prepare) {
    struct kw_replica *replica = prepare->data;
    turn_end(replica);
    if (replica->called_out || replica->hint.due) kw_replica_wake(replica);
    replica->called_out = false;
    measure(replica);
}

static void on_second(uv_timer_t *timer) {
    struct kw_replica *replica = timer->data;
    kw_replica_space_check(replica);
    kw_replica_change_check(replica);
    kw_replica_round_check(replica);
    kw_replica_warm_all(replica);
}

void kw_replica_turn_start(struct kw_replica *replica) {
    uv_loop_configure(replica->loop, UV_METRICS_IDLE_TIME);
    uv_prepare_start(&replica->prepare, on_prepare);
    uv_check_start(&replica->check, on_check);
    uv_timer_start(&replica->second, on_second, SECOND_MS, SECOND_MS);
}

void kw_replica_turn_reset(struct kw_replica *replica) {
    replica->turn_longest_us = replica->turn_longest_cpu_us = 0;
}
