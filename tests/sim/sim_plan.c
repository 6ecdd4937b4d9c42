/*
 * What a seed does: its settings, the logs that the nodes start with, the load,
 * the faults, and the healing, after which everything must come together again
 * within a bounded time.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "sim.h"

enum {
    FAULTS_MS = 6000,
    HEALING_MS = 30000,
    ANSWERS_AFTER_HEALING = 3,
    HEALED_LOAD_MS = 40,
};

static uint64_t between(struct sim *sim, uint64_t low, uint64_t high) {
    return low + sim_random(sim, high - low + 1);
}

static struct sim_server *any_server(struct sim *sim) {
    return &sim->servers[sim_random(sim, sim->options.nodes)];
}

/* Faults. Each lasts for a while; the event that ends it does nothing after the healing. */

static void restart(struct sim *sim, struct sim_event *event) {
    struct sim_server *server = event->subject;
    if (server->closing && server->raft) {
        sim_at(sim, sim->now + 5 * SIM_MS, NULL, false, restart, server, 0);
    } else if (!server->raft) {
        sim_server_start(server);
    }
}

static void fault_crash(struct sim *sim, uint64_t until) {
    struct sim_server *server = any_server(sim);
    sim_server_crash(server);
    sim_at(sim, until, NULL, false, restart, server, 0);
}

static void fault_close(struct sim *sim, uint64_t until) {
    struct sim_server *server = any_server(sim);
    sim_server_close(server);
    sim_at(sim, until, NULL, false, restart, server, 0);
}

static void fault_freeze(struct sim *sim, uint64_t until) {
    struct sim_server *server = any_server(sim);
    if (!sim_server_up(server) || server->frozen_until > sim->now) return;
    sim_trace(sim, server, "freezes for %llu ms", (unsigned long long)(until - sim->now) / SIM_MS);
    server->frozen_until = until;
}

static void mend(struct sim *sim, struct sim_event *event) {
    struct sim_link *link = event->subject;
    (void)sim;
    if (link->cuts > 0) link->cuts--;
}

static void cut(struct sim *sim, unsigned from, unsigned to, uint64_t until) {
    sim->links[from][to].cuts++;
    sim_at(sim, until, NULL, false, mend, &sim->links[from][to], 0);
}

/* `side` holds a bit for each node: links across are cut. */
static void cut_between(struct sim *sim, uint64_t side, uint64_t until) {
    sim_trace(sim, NULL, "cut around nodes %#llx for %llu ms", (unsigned long long)side,
              (unsigned long long)(until - sim->now) / SIM_MS);
    for (unsigned from = 0; from < sim->options.nodes; from++) {
        for (unsigned to = 0; to < sim->options.nodes; to++) {
            if ((side >> from & 1) != (side >> to & 1)) cut(sim, from, to, until);
        }
    }
}

static void fault_isolate(struct sim *sim, uint64_t until) {
    cut_between(sim, 1u << sim_random(sim, sim->options.nodes), until);
}

static void fault_split(struct sim *sim, uint64_t until) {
    cut_between(sim, between(sim, 1, (1u << sim->options.nodes) - 2), until);
}

static void fault_one_way(struct sim *sim, uint64_t until) {
    cut(sim, (unsigned)sim_random(sim, sim->options.nodes), (unsigned)sim_random(sim, sim->options.nodes), until);
}

static void fault_slow_disk(struct sim *sim, uint64_t until) {
    any_server(sim)->disk.slow_until = until;
}

static void fault_slow_links(struct sim *sim, uint64_t until) {
    unsigned node = (unsigned)sim_random(sim, sim->options.nodes);
    for (unsigned other = 0; other < sim->options.nodes; other++) {
        sim->links[node][other].slow_until = until;
        if (sim_chance(sim, 500)) sim->links[other][node].slow_until = until;
    }
}

/* The kinds of fault, the highest weight that a seed may give each, and how long it may last. */
static const struct {
    void (*begin)(struct sim *sim, uint64_t until);
    unsigned weight_max;
    unsigned longest_ms;
} FAULTS[] = {
    {fault_crash, 10, 1200}, {fault_close, 4, 800},    {fault_freeze, 8, 1500},   {fault_isolate, 8, 1500},
    {fault_split, 5, 1500},  {fault_one_way, 6, 1000}, {fault_slow_disk, 6, 800}, {fault_slow_links, 6, 800},
};

static void next_fault(struct sim *sim, struct sim_event *event) {
    const struct sim_plan *plan = &sim->plan;
    unsigned total = 0;
    (void)event;
    if (sim->healed) return;
    for (size_t i = 0; i < KW_ARRAY_LEN(FAULTS); i++) total += plan->weights[i];
    uint64_t pick = sim_random(sim, total);
    size_t kind = 0;
    while (pick >= plan->weights[kind]) pick -= plan->weights[kind++];
    FAULTS[kind].begin(sim, sim->now + between(sim, 10 * SIM_MS, (uint64_t)FAULTS[kind].longest_ms * SIM_MS));
    sim_at(sim, sim->now + sim_delay(sim, plan->fault_gap), NULL, false, next_fault, NULL, 0);
}

/* Load: whoever thinks that it leads gets a burst. */

static void transferred(struct raft_transfer *req) {
    (void)req;
}

static void burst(struct sim *sim, struct sim_event *event) {
    struct sim_server *server = event->server;
    if (!sim_server_leads(server)) return;
    uint64_t count = sim->healed ? 1 : between(sim, 1, sim->plan.burst);
    for (uint64_t i = 0; i < count && sim_server_leads(server); i++) sim_server_submit(server);
    if (sim->plan.transfers && !sim->healed && sim_chance(sim, 10) && raft_transferee(server->raft) == 0) {
        struct raft_transfer *req = kw_calloc(1, sizeof(*req));
        raft_transfer(server->raft, req, 0, transferred);
    }
}

static void next_load(struct sim *sim, struct sim_event *event) {
    (void)event;
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        struct sim_server *server = &sim->servers[i];
        if (sim_server_leads(server)) sim_at(sim, sim->now, server, true, burst, NULL, 0);
    }
    if (sim->answered_since_healing >= ANSWERS_AFTER_HEALING) return;
    uint64_t gap = sim->healed ? (uint64_t)HEALED_LOAD_MS * SIM_MS : sim->plan.load_gap;
    sim_at(sim, sim->now + sim_delay(sim, gap), NULL, false, next_load, NULL, 0);
}

/* The beginning: logs as an earlier history of elections may have left them. */

static struct sim_entry *last_entry(struct sim_disk *disk) {
    return disk->count > 0 ? &disk->entries[disk->count - 1] : NULL;
}

static bool may_vote_for(struct sim_disk *voter, struct sim_disk *candidate) {
    const struct sim_entry *mine = last_entry(voter);
    const struct sim_entry *its = last_entry(candidate);
    if (!mine || !its) return !mine;
    return mine->term != its->term ? mine->term < its->term : voter->count <= candidate->count;
}

static void add_command(struct sim *sim, struct sim_disk *disk, raft_term term) {
    uint64_t command = sim_check_new_command(sim);
    sim->commands[command].index = disk->first + disk->count;
    sim_disk_put_entry(disk, term, command, (unsigned)between(sim, 1, sim->plan.entry_words));
}

/* The follower has taken some of the leader's log, as one does: nothing that agrees is lost. */
static void take_some(struct sim *sim, struct sim_disk *from, struct sim_disk *to) {
    size_t same = 0;
    while (same < to->count && same < from->count && to->entries[same].term == from->entries[same].term) same++;
    size_t want = same + sim_random(sim, from->count - same + 1);
    if (want == same) return;
    to->count = same;
    for (size_t i = same; i < want; i++) sim_disk_put_copy(to, &from->entries[i]);
}

/* A leader of this term wins its election, writes, and reaches few. */
static void earlier_term(struct sim *sim, raft_term term) {
    struct sim_server *leader = any_server(sim);
    unsigned nodes = sim->options.nodes;
    unsigned voters = 0;
    if (leader->started_empty) return;
    for (unsigned i = 0; i < nodes; i++) voters += may_vote_for(&sim->servers[i].disk, &leader->disk);
    if (voters <= nodes / 2) return;
    for (unsigned i = 0; i < nodes; i++) {
        struct sim_disk *disk = &sim->servers[i].disk;
        if (sim->servers[i].started_empty || !may_vote_for(disk, &leader->disk)) continue;
        disk->term = term;
        disk->vote = leader->id;
    }
    sim_check_leads(sim, term, leader->id);
    for (uint64_t left = between(sim, 1, 20); left > 0; left--) add_command(sim, &leader->disk, term);
    for (unsigned i = 0; i < nodes; i++) {
        struct sim_server *follower = &sim->servers[i];
        if (follower == leader || follower->started_empty || follower->disk.term != term) continue;
        if (sim_chance(sim, 400)) take_some(sim, &leader->disk, &follower->disk);
    }
}

static void write_beginning(struct sim *sim) {
    if (sim_chance(sim, 150)) any_server(sim)->started_empty = true;
    uint64_t common = sim_random(sim, sim_chance(sim, 700) ? 30 : 300);
    struct sim_disk first = {.first = 1};
    sim_disk_put_configuration(sim, &first);
    for (uint64_t i = 0; i < common; i++) add_command(sim, &first, 1);
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        struct sim_server *server = &sim->servers[i];
        server->disk.first = 1;
        if (server->started_empty) continue;
        uint64_t has = sim_chance(sim, 700) ? first.count : between(sim, 1, first.count);
        for (size_t at = 0; at < has; at++) sim_disk_put_copy(&server->disk, &first.entries[at]);
        server->disk.term = 1;
    }
    uint64_t terms = sim_chance(sim, 500) ? between(sim, 1, 4) : 0;
    for (uint64_t i = 0; i < terms; i++) earlier_term(sim, 2 + i);
}

static void choose_plan(struct sim *sim) {
    struct sim_plan *plan = &sim->plan;
    plan->load_gap = between(sim, 2, 60) * SIM_MS;
    plan->fault_gap = between(sim, 40, 400) * SIM_MS;
    plan->burst = (unsigned)between(sim, 1, 30);
    plan->entry_words = (unsigned)between(sim, 1, 24);
    plan->disk_latency = between(sim, 100, 8000);
    plan->net_latency = between(sim, 100, 8000);
    plan->snapshot_entries = (unsigned)between(sim, 4, 60);
    plan->trailing = (unsigned)between(sim, 1, sim_chance(sim, 500) ? 8 : (uint64_t)plan->snapshot_entries * 2);
    plan->load_latency = sim_chance(sim, 500) ? 0 : sim_random(sim, 1200 * SIM_MS);
    static const unsigned timeouts[] = {300, 1000, 5000};
    plan->install_timeout_ms = timeouts[sim_random(sim, KW_ARRAY_LEN(timeouts))];
    for (size_t i = 0; i < KW_ARRAY_LEN(FAULTS); i++) {
        plan->weights[i] = (unsigned)sim_random(sim, FAULTS[i].weight_max + 1);
    }
    plan->weights[0]++;
    plan->duplicates = (unsigned)between(sim, 0, 100);
    plan->stuck = sim_chance(sim, 500) ? 0 : (unsigned)between(sim, 1, 60);
    plan->failed_loads = sim_chance(sim, 300) ? 50 : 0;
    plan->transfers = sim_chance(sim, 300);
    plan->faults_end = (uint64_t)FAULTS_MS * SIM_MS;
    plan->end = plan->faults_end + (uint64_t)HEALING_MS * SIM_MS;
}

static void heal(struct sim *sim) {
    sim_trace(sim, NULL, "everything heals");
    sim->healed = true;
    sim->plan.failed_loads = 0;
    for (unsigned from = 0; from < sim->options.nodes; from++) {
        struct sim_server *server = &sim->servers[from];
        for (unsigned to = 0; to < sim->options.nodes; to++) {
            sim->links[from][to].cuts = 0;
            sim->links[from][to].slow_until = 0;
        }
        server->disk.slow_until = 0; /* who is frozen stays so until its time: what waited for it keeps its order */
        sim_at(sim, sim->now, NULL, false, restart, server, 0);
    }
}

static bool came_together(struct sim *sim) {
    if (!sim->healed || sim->answered_since_healing < ANSWERS_AFTER_HEALING) return false;
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        const struct sim_server *server = &sim->servers[i];
        if (!sim_server_up(server) || server->fsm->applied != sim->history_count) return false;
    }
    return true;
}

static void fail_apart(struct sim *sim) {
    char states[256] = "";
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        const struct sim_server *server = &sim->servers[i];
        size_t len = strlen(states);
        if (!server->raft) {
            snprintf(states + len, sizeof(states) - len, " %s:down", server->address);
        } else {
            snprintf(states + len, sizeof(states) - len, " %s:%s,t%llu,%llu,%llu/%llu%s", server->address,
                     raft_state_name((int)raft_state(server->raft)), raft_current_term(server->raft),
                     (unsigned long long)server->fsm->applied, server->raft->last_stored, raft_last_index(server->raft),
                     server->disk.head ? ",writing" : "");
        }
    }
    sim_fail(sim, "no convergence, %llu answers since the healing, history %llu;%s",
             (unsigned long long)sim->answered_since_healing, (unsigned long long)sim->history_count, states);
}

void sim_live(struct sim *sim) {
    sim->random = sim->options.seed * 8 + sim->options.nodes + (sim->options.disorder ? 1 : 0);
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        struct sim_server *server = &sim->servers[i];
        server->sim = sim;
        server->id = i + 1;
        snprintf(server->address, sizeof(server->address), "%u", i + 1);
    }
    choose_plan(sim);
    sim_memory_install(sim);
    write_beginning(sim);
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        sim_at(sim, sim_random(sim, 100 * SIM_MS), NULL, false, restart, &sim->servers[i], 0);
    }
    sim_at(sim, sim->plan.load_gap, NULL, false, next_load, NULL, 0);
    sim_at(sim, sim_delay(sim, 500 * SIM_MS), NULL, false, next_fault, NULL, 0);
    sim_run_until(sim, sim->plan.faults_end, NULL);
    heal(sim);
    sim_run_until(sim, sim->plan.end, came_together);
    if (!came_together(sim)) fail_apart(sim);
}
