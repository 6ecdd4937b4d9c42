/*
 * Membership changes, one at a time, each a chain of libraft's own steps:
 *   add       ADDING (a spare) -> PROMOTING (catches up, a voter); too slow: UNDOING (out again), KW_ETIMEOUT
 *   remove    a voter: DEMOTING (a standby) -> PARTING -> REMOVING; others and this node itself: REMOVING
 *   transfer  TRANSFERRING
 * A node that is taken out gets no log any more, so the entry that takes it out would never tell it. Hence the step as
 * a standby, which it does get: PARTING waits until it has that entry and a few heartbeats have said that it is
 * committed, or its process has ended.
 *
 * What can fail: leadership is lost at any step (in doubt: the same call again goes on from where it stopped); libraft
 * refuses a step.
 */
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

enum { PARTING_POLL_MS = 20, PARTING_MAX_MS = 2000, PARTING_HEARTBEATS = 4 };

static void on_change(struct raft_change *request, int status);

static void finish(struct kw_replica *replica, int code) {
    struct kw_change *change = &replica->change;
    kw_replica_done *done = change->done;
    uv_timer_stop(&change->timer);
    change->step = KW_CHANGE_NONE;
    change->done = NULL;
    kw_log(KW_LOG_NOTICE, "raft: the membership change of node %llu has ended: %s", (unsigned long long)change->id,
           code ? kw_error_text(code) : "done");
    kw_replica_call(replica, done, change->ctx, code, NULL);
}

static int code_of(int raft_code) {
    switch (raft_code) {
    case 0: return 0;
    case RAFT_NOTLEADER: return KW_ENOTLEADER;
    case RAFT_BADID:
    case RAFT_BADROLE:
    case RAFT_NOTFOUND:
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS: return KW_EINVALID;
    case RAFT_LEADERSHIPLOST:
    case RAFT_SHUTDOWN: return KW_EINDOUBT;
    case RAFT_NOCONNECTION: return KW_ETIMEOUT;
    default: return KW_ELIMIT; /* CANTCHANGE, NOSPACE, NOMEM: later, perhaps */
    }
}

/* libraft keeps the request of a step that it refused. */
static void forget_request(struct kw_replica *replica) {
    if (replica->raft.legacy.change == &replica->change.request) replica->raft.legacy.change = NULL;
}

static int assign(struct kw_replica *replica, enum kw_change_step step, int role) {
    struct kw_change *change = &replica->change;
    change->step = step;
    int code = raft_assign(&replica->raft, &change->request, change->id, role, on_change);
    if (code) forget_request(replica);
    return code_of(code);
}

static int take_out(struct kw_replica *replica, enum kw_change_step step) {
    struct kw_change *change = &replica->change;
    change->step = step;
    return code_of(raft_remove(&replica->raft, &change->request, change->id, on_change));
}

static void on_parting(uv_timer_t *timer) {
    struct kw_replica *replica = timer->data;
    struct kw_change *change = &replica->change;
    raft_index match = 0;
    uint64_t now = kw_clock_ms();
    if (change->step != KW_CHANGE_PARTING || replica->closing) return;
    if (!kw_replica_leads(replica)) {
        finish(replica, KW_EINDOUBT);
        return;
    }
    raft_match_index(&replica->raft, change->id, &match);
    if (match < change->index && now < change->until_ms) return;
    if (match >= change->index && change->index > 0) {
        uint64_t told_ms = now + (uint64_t)PARTING_HEARTBEATS * replica->options.heartbeat_ms;
        change->index = 0;
        if (told_ms < change->until_ms) change->until_ms = told_ms;
    }
    if (now < change->until_ms) return;
    uv_timer_stop(timer);
    int code = take_out(replica, KW_CHANGE_REMOVING);
    if (code) finish(replica, code == KW_ENOTLEADER ? KW_EINDOUBT : code);
}

static void part(struct kw_replica *replica) {
    struct kw_change *change = &replica->change;
    change->step = KW_CHANGE_PARTING;
    change->index = replica->raft.configuration_committed_index;
    change->until_ms = kw_clock_ms() + PARTING_MAX_MS;
    uv_timer_start(&change->timer, on_parting, PARTING_POLL_MS, PARTING_POLL_MS);
}

void kw_replica_change_peer_gone(struct kw_replica *replica, uint64_t id) {
    if (replica->change.step == KW_CHANGE_PARTING && replica->change.id == id) replica->change.until_ms = 0;
}

/* A step has ended well: the next one. */
static int step_on(struct kw_replica *replica) {
    switch (replica->change.step) {
    case KW_CHANGE_ADDING: return assign(replica, KW_CHANGE_PROMOTING, RAFT_VOTER);
    case KW_CHANGE_DEMOTING: part(replica); return 0;
    case KW_CHANGE_UNDOING: finish(replica, KW_ETIMEOUT); return 0;
    default: finish(replica, 0); return 0;
    }
}

static void on_change(struct raft_change *request, int status) {
    struct kw_change *change = KW_CONTAINER_OF(request, struct kw_change, request);
    struct kw_replica *replica = KW_CONTAINER_OF(change, struct kw_replica, change);
    if (change->step == KW_CHANGE_NONE) return; /* given up meanwhile */
    int code = replica->closing ? KW_ECLOSED : code_of(status);
    if (code == 0)
        code = step_on(replica);
    else if (code == KW_ETIMEOUT && change->step == KW_CHANGE_PROMOTING)
        code = take_out(replica, KW_CHANGE_UNDOING);
    /* An earlier step may have come to pass. */
    if (code) finish(replica, code == KW_ENOTLEADER ? KW_EINDOUBT : code);
}

/* A promotion whose entry libraft could not submit is never answered. */
void kw_replica_change_check(struct kw_replica *replica) {
    struct kw_change *change = &replica->change;
    struct raft *raft = &replica->raft;
    if (change->step != KW_CHANGE_PROMOTING || raft->legacy.change != &change->request || !kw_replica_leads(replica))
        return;
    if (raft->leader_state.promotee_id != 0 || raft->configuration_uncommitted_index != 0) return;
    forget_request(replica);
    int code = take_out(replica, KW_CHANGE_UNDOING);
    if (code) finish(replica, code);
}

static int begin(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx) {
    if (!kw_replica_leads(replica)) return KW_ENOTLEADER;
    if (replica->change.step != KW_CHANGE_NONE || kw_replica_hands_on(replica)) return KW_ELIMIT;
    if (replica->raft.configuration_uncommitted_index != 0) return KW_ELIMIT;
    replica->change.id = id;
    replica->change.done = done;
    replica->change.ctx = ctx;
    return 0;
}

/* What `begin` opened, if the first step was refused. */
static int begun(struct kw_replica *replica, int code) {
    if (code) {
        replica->change.step = KW_CHANGE_NONE;
        replica->change.done = NULL;
    }
    return code;
}

static unsigned voters(const struct raft_configuration *conf) {
    unsigned count = 0;
    for (unsigned i = 0; i < conf->n; i++) count += conf->servers[i].role == RAFT_VOTER;
    return count;
}

int kw_replica_add(struct kw_replica *replica, const struct kw_meta_peer *peer, kw_replica_done *done, void *ctx) {
    char address[KW_META_ADDRESS_SIZE];
    const struct raft_configuration *conf = &replica->raft.configuration;
    int code = begin(replica, peer->id, done, ctx);
    if (code) return code;
    kw_meta_address_print(&peer->address, address);
    const struct raft_server *known = kw_replica_server(conf, peer->id);
    /* A spare was left by an addition that was cut off. */
    if (known && known->role == RAFT_SPARE && strcmp(known->address, address) == 0) {
        return begun(replica, assign(replica, KW_CHANGE_PROMOTING, RAFT_VOTER));
    }
    if (known || conf->n >= KW_META_PEERS_MAX || peer->id == 0) return begun(replica, KW_EINVALID);
    replica->change.step = KW_CHANGE_ADDING;
    return begun(replica, code_of(raft_add(&replica->raft, &replica->change.request, peer->id, address, on_change)));
}

int kw_replica_remove(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx) {
    const struct raft_configuration *conf = &replica->raft.configuration;
    int code = begin(replica, id, done, ctx);
    if (code) return code;
    const struct raft_server *server = kw_replica_server(conf, id);
    if (!server) return begun(replica, KW_EINVALID);
    bool voter = server->role == RAFT_VOTER;
    if (voter && voters(conf) == 1) return begun(replica, KW_EINVALID);
    if (voter && id != replica->options.id) return begun(replica, assign(replica, KW_CHANGE_DEMOTING, RAFT_STANDBY));
    return begun(replica, take_out(replica, KW_CHANGE_REMOVING));
}

static void on_transfer(struct raft_transfer *transfer) {
    struct kw_change *change = KW_CONTAINER_OF(transfer, struct kw_change, transfer);
    struct kw_replica *replica = KW_CONTAINER_OF(change, struct kw_replica, change);
    if (replica->closing)
        finish(replica, KW_ECLOSED);
    else
        finish(replica, replica->raft.state == RAFT_LEADER ? KW_ETIMEOUT : 0);
}

int kw_replica_transfer(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx) {
    int code = begin(replica, id, done, ctx);
    if (code) return code;
    replica->change.step = KW_CHANGE_TRANSFERRING;
    return begun(replica, code_of(raft_transfer(&replica->raft, &replica->change.transfer, id, on_transfer)));
}
