/*
 * Making one cluster out of empty nodes.
 *
 * Happy path: each future primary takes its share of the slots and an epoch
 * of its own, every node meets every other (gossip alone would take seconds),
 * and once all know all, the rest become replicas. Each step first looks
 * whether it is done already, so an interrupted run is simply run again.
 *
 * What can fail: a node dies or refuses; the deadline passes. Links are
 * opened and closed within each step.
 */
#include <stdio.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/report.h"

enum { COMMAND_TIMEOUT_MS = 2000, MEET_AGAIN_MS = 2000, POLL_MS = 50 };

static redisContext *node_open(const struct kw_cli_local_state *state, unsigned index) {
    redisContext *link = kw_cli_link_open(state->nodes[index].port, COMMAND_TIMEOUT_MS);
    if (link == NULL) kw_report_error("node %u does not answer", (unsigned)state->nodes[index].port);
    return link;
}

/* The epochs differ from the start, so the nodes need not settle collisions later; a node that has one refuses. */
static int slots_assign(const struct kw_cli_local_state *state, unsigned index) {
    char error[256];
    unsigned first = KW_CLI_LOCAL_SLOTS * index / state->shards;
    unsigned last = KW_CLI_LOCAL_SLOTS * (index + 1) / state->shards - 1;
    redisContext *link = node_open(state, index);
    if (link == NULL) return KW_EUNREACHABLE;
    bool good = kw_cli_link_succeeds(link, error, sizeof(error), "CLUSTER ADDSLOTSRANGE %u %u", first, last);
    if (!good) kw_report_error("node %u refused its slots: %s", (unsigned)state->nodes[index].port, error);
    (void)kw_cli_link_succeeds(link, error, sizeof(error), "CLUSTER SET-CONFIG-EPOCH %u", index + 1);
    redisFree(link);
    return good ? 0 : KW_EPROTOCOL;
}

static int meet_others(const struct kw_cli_local_state *state, unsigned index) {
    char error[256];
    redisContext *link = node_open(state, index);
    if (link == NULL) return KW_EUNREACHABLE;
    bool good = true;
    for (unsigned other = index + 1; good && other < state->node_count; other++) {
        good = kw_cli_link_succeeds(link, error, sizeof(error), "CLUSTER MEET 127.0.0.1 %u",
                                    (unsigned)state->nodes[other].port);
    }
    if (!good) kw_report_error("node %u refused to meet the others: %s", (unsigned)state->nodes[index].port, error);
    redisFree(link);
    return good ? 0 : KW_EPROTOCOL;
}

static int replica_attach(const struct kw_cli_local_state *state, unsigned index, const char *primary_id) {
    char error[256];
    redisContext *link = node_open(state, index);
    if (link == NULL) return KW_EUNREACHABLE;
    bool good = kw_cli_link_succeeds(link, error, sizeof(error), "CLUSTER REPLICATE %s", primary_id);
    if (!good) kw_report_error("node %u refused to be a replica: %s", (unsigned)state->nodes[index].port, error);
    redisFree(link);
    return good ? 0 : KW_EPROTOCOL;
}

/* Reads the view of a node that must answer. The caller deinits it in either case. */
static int view_need(struct kw_cli_local_view *view, const struct kw_cli_local_state *state, unsigned index) {
    kw_cli_local_view_read(view, state->nodes[index].port);
    if (view->answers && !view->loading) return 0;
    kw_report_error("node %u does not answer", (unsigned)state->nodes[index].port);
    return KW_EUNREACHABLE;
}

static bool view_met(const struct kw_cli_local_view *view, unsigned node_count) {
    return view->answers && view->peers_settled && view->known_nodes >= node_count &&
           view->slots_ok == KW_CLI_LOCAL_SLOTS;
}

typedef bool (*view_good_fn)(const struct kw_cli_local_view *view, unsigned node_count);

/* Index of the first node whose view is not good; node_count when all are. */
static unsigned first_not(const struct kw_cli_local_state *state, view_good_fn good) {
    for (unsigned i = 0; i < state->node_count; i++) {
        struct kw_cli_local_view view;
        kw_cli_local_view_read(&view, state->nodes[i].port);
        bool yes = good(&view, state->node_count);
        kw_cli_local_view_deinit(&view);
        if (!yes) return i;
    }
    return state->node_count;
}

/* Waits a little. Returns 0 to look again, or what to give up with. */
static int wait_step(const struct kw_cli_local_state *state, unsigned index, uint64_t deadline_ms, const char *what) {
    if (!kw_process_alive(&state->nodes[index].process)) {
        kw_report_error("node %u ended", (unsigned)state->nodes[index].port);
        kw_report_log_tail(kw_cli_local_node_path(state, index, "node.log"));
        return KW_ECLOSED;
    }
    if (kw_clock_ms() >= deadline_ms) {
        kw_report_error("node %u did not %s in time", (unsigned)state->nodes[index].port, what);
        kw_report_log_tail(kw_cli_local_node_path(state, index, "node.log"));
        return KW_ETIMEOUT;
    }
    kw_process_pause_ms(POLL_MS);
    return 0;
}

/* A lost meeting is forgotten by the nodes after the node timeout: meet again now and then. */
static int meet_all(const struct kw_cli_local_state *state, uint64_t deadline_ms) {
    uint64_t meet_at = 0;
    unsigned index;
    while ((index = first_not(state, view_met)) < state->node_count) {
        if (kw_clock_ms() >= meet_at) {
            meet_at = kw_clock_ms() + MEET_AGAIN_MS;
            for (unsigned i = 0; i + 1 < state->node_count; i++) {
                int rc = meet_others(state, i);
                if (rc != 0) return rc;
            }
        }
        int rc = wait_step(state, index, deadline_ms, "meet the others");
        if (rc != 0) return rc;
    }
    return 0;
}

/* Gives a primary its slots, unless it has some already. */
static int primary_complete(const struct kw_cli_local_state *state, unsigned index) {
    struct kw_cli_local_view view;
    int rc = view_need(&view, state, index);
    if (rc == 0 && view.primary && view.slot_count == 0) rc = slots_assign(state, index);
    kw_cli_local_view_deinit(&view);
    return rc;
}

/* Makes a replica of what is still an empty primary. */
static int replica_complete(const struct kw_cli_local_state *state, unsigned index) {
    struct kw_cli_local_view view;
    struct kw_cli_local_view primary;
    KW_ASSERT(state->shards > 0);
    int rc = view_need(&view, state, index);
    if (rc != 0 || !view.primary) goto out_after_view;
    rc = view_need(&primary, state, index % state->shards);
    if (rc == 0) rc = replica_attach(state, index, primary.id);
    kw_cli_local_view_deinit(&primary);
out_after_view:
    kw_cli_local_view_deinit(&view);
    return rc;
}

int kw_cli_local_form(struct kw_cli_local_state *state, uint64_t deadline_ms) {
    int rc = 0;
    for (unsigned i = 0; rc == 0 && i < state->shards; i++) rc = primary_complete(state, i);
    if (rc == 0) rc = meet_all(state, deadline_ms);
    for (unsigned i = state->shards; rc == 0 && i < state->node_count; i++) rc = replica_complete(state, i);
    if (rc != 0) return rc;
    state->formed = true;
    return kw_cli_local_record(state);
}

int kw_cli_local_converge(const struct kw_cli_local_state *state, uint64_t deadline_ms) {
    unsigned index;
    while ((index = first_not(state, kw_cli_local_view_settled)) < state->node_count) {
        int rc = wait_step(state, index, deadline_ms, "see the cluster whole");
        if (rc != 0) return rc;
    }
    return 0;
}
