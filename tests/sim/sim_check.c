/*
 * What must always hold: one history that every state machine applies a prefix
 * of, no command twice, one leader a term, and each acknowledged command on a
 * majority of the disks. The first violation ends the process with its reason.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "sim.h"

static void say(struct sim *sim, int fd, const char *text) {
    if (dprintf(fd, "%s (at %.3f s)\n", text, (double)sim->now / 1e6) < 0) _exit(3);
}

void sim_fail(struct sim *sim, const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    say(sim, sim->options.report, text);
    _exit(1);
}

void sim_trace(struct sim *sim, const struct sim_server *server, const char *fmt, ...) {
    char text[256];
    va_list args;
    if (!sim->options.trace) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    printf("%10.4f  %s  %s\n", (double)sim->now / 1e6, server ? server->address : "-", text);
}

uint64_t sim_check_new_command(struct sim *sim) {
    sim->command_count++;
    sim->commands = sim_grow(sim->commands, &sim->command_room, sim->command_count + 1, sizeof(*sim->commands));
    return sim->command_count;
}

uint64_t sim_check_digest(const struct sim *sim, uint64_t applied) {
    return applied ? sim->digests[applied - 1] : 0;
}

static void append_history(struct sim *sim, uint64_t command) {
    uint64_t count = sim->history_count;
    if (sim->commands[command].position) {
        sim_fail(sim, "command %llu is applied twice, as %llu and %llu", (unsigned long long)command,
                 (unsigned long long)sim->commands[command].position, (unsigned long long)count + 1);
    }
    uint64_t room = sim->history_room;
    sim->history = sim_grow(sim->history, &room, count + 1, sizeof(*sim->history));
    sim->digests = sim_grow(sim->digests, &sim->history_room, count + 1, sizeof(*sim->digests));
    sim->history[count] = command;
    sim->digests[count] = (sim_check_digest(sim, count) ^ command) * 0x9e3779b97f4a7c15u;
    sim->commands[command].position = ++sim->history_count;
}

void sim_check_applied(struct sim_server *server, uint64_t command) {
    struct sim *sim = server->sim;
    uint64_t place = server->fsm->applied++;
    if (place == sim->history_count) append_history(sim, command);
    if (sim->history[place] != command) {
        sim_fail(sim, "node %s applies command %llu where the history has %llu", server->address,
                 (unsigned long long)command, (unsigned long long)sim->history[place]);
    }
}

void sim_check_restored(struct sim_server *server, uint64_t applied, uint64_t digest) {
    struct sim *sim = server->sim;
    if (applied > sim->history_count || sim_check_digest(sim, applied) != digest) {
        sim_fail(sim, "node %s restores a snapshot of another history", server->address);
    }
    if (applied < server->fsm->applied) {
        sim_fail(sim, "node %s: its state goes back from %llu commands to %llu", server->address,
                 (unsigned long long)server->fsm->applied, (unsigned long long)applied);
    }
    server->fsm->applied = applied;
}

void sim_check_answered(struct sim_server *server, uint64_t command) {
    struct sim *sim = server->sim;
    unsigned holders = 0;
    if (!sim->commands[command].position) {
        sim_fail(sim, "command %llu is acknowledged and not applied", (unsigned long long)command);
    }
    for (unsigned i = 0; i < sim->options.nodes; i++) holders += sim_disk_holds(sim, &sim->servers[i].disk, command);
    if (holders <= sim->options.nodes / 2) {
        sim_fail(sim, "node %s acknowledges command %llu, which %u of %u disks hold", server->address,
                 (unsigned long long)command, holders, sim->options.nodes);
    }
    sim->commands[command].answered = true;
    sim->answered++;
    if (sim->healed) sim->answered_since_healing++;
}

void sim_check_leads(struct sim *sim, raft_term term, raft_id id) {
    sim->leaders = sim_grow(sim->leaders, &sim->leader_room, term + 1, sizeof(*sim->leaders));
    if (sim->leaders[term] != 0 && sim->leaders[term] != id) {
        sim_fail(sim, "term %llu has two leaders, %llu and %llu", term, sim->leaders[term], id);
    }
    if (sim->leaders[term] == 0) sim_trace(sim, &sim->servers[id - 1], "leads term %llu", term);
    sim->leaders[term] = id;
}

void sim_check_leader(struct sim_server *server) {
    if (!sim_server_up(server) || raft_state(server->raft) != RAFT_LEADER) return;
    raft_term term = raft_current_term(server->raft);
    if (term > 1000000) sim_fail(server->sim, "node %s: term %llu", server->address, term);
    sim_check_leads(server->sim, term, server->id);
}
