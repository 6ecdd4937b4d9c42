/*
 * A node's lives: started from its disk, crashed (forgotten in the middle of
 * everything) or closed properly; its raft_io, and its state machine, which
 * counts commands and checks each against the one history.
 */
#include <string.h>

#include "base/alloc.h"
#include "sim.h"

enum { HEARTBEAT_MS = 50, ELECTION_MS = 300 };

/* A command's bytes: its number, then a pattern that shows whether they are whole. */
void sim_command_write(uint64_t command, uint8_t *bytes, size_t len) {
    memset(bytes, (int)(command * 37 % 251), len);
    memcpy(bytes, &command, sizeof(command));
}

uint64_t sim_command_read(struct sim *sim, const void *bytes, size_t len) {
    uint64_t command;
    const uint8_t *at = bytes;
    if (len < sizeof(command)) sim_fail(sim, "an entry is cut short");
    memcpy(&command, bytes, sizeof(command));
    if (command == 0 || command > sim->command_count) sim_fail(sim, "an entry's bytes are damaged");
    for (size_t i = sizeof(command); i < len; i++) {
        if (at[i] != (uint8_t)(command * 37 % 251)) sim_fail(sim, "an entry's bytes are damaged");
    }
    return command;
}

static struct sim_server *server_of(const struct raft_io *io) {
    return io->impl;
}

static int io_init(struct raft_io *io, raft_id id, const char *address) {
    (void)io, (void)id, (void)address;
    return 0;
}

static void tick(struct sim *sim, struct sim_event *event) {
    struct sim_server *server = event->server;
    if (server->closing) return;
    server->tick(server->io);
    sim_at(sim, sim->now + server->tick_us, server, true, tick, NULL, 0);
}

static int io_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick_cb, raft_io_recv_cb receive) {
    struct sim_server *server = server_of(io);
    server->tick = tick_cb;
    server->receive = receive;
    server->tick_us = (uint64_t)msecs * SIM_MS;
    sim_at(server->sim, server->sim->now + server->tick_us, server, true, tick, NULL, 0);
    return 0;
}

static void end_life(struct sim_server *server) {
    for (unsigned i = 0; i < KW_GUARD_RULE_COUNT; i++) server->acted[i] += kw_guard_count(server->guard, i);
    sim_disk_crash(server);
    server->raft = NULL;
    server->receive = NULL;
    server->life++;
}

unsigned long long sim_acted(const struct sim *sim, unsigned rule_bit) {
    unsigned long long acted = 0;
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        const struct sim_server *server = &sim->servers[i];
        acted += server->acted[rule_bit] + (server->raft ? kw_guard_count(server->guard, rule_bit) : 0);
    }
    return acted;
}

/* After a close, once everything that is under way has called back. */
static void close_if_done(struct sim_server *server) {
    if (!server->closing || server->outstanding > 0) return;
    sim_trace(server->sim, server, "closed");
    server->closed(server->io);
    end_life(server);
}

static void run_close(struct sim *sim, struct sim_event *event) {
    (void)sim;
    close_if_done(event->server);
}

void sim_server_request_done(struct sim_server *server) {
    server->outstanding--;
    if (server->closing && server->outstanding == 0) {
        sim_at(server->sim, server->sim->now, server, false, run_close, NULL, 0);
    }
}

static void io_close(struct raft_io *io, raft_io_close_cb cb) {
    struct sim_server *server = server_of(io);
    server->closing = true;
    server->closed = cb;
    if (server->outstanding == 0) sim_at(server->sim, server->sim->now, server, false, run_close, NULL, 0);
}

static int io_bootstrap(struct raft_io *io, const struct raft_configuration *conf) {
    (void)io, (void)conf;
    return RAFT_CANTBOOTSTRAP;
}

static int io_set_term(struct raft_io *io, raft_term term) {
    struct sim_disk *disk = &server_of(io)->disk;
    if (term < disk->term) sim_fail(server_of(io)->sim, "node %s: the term goes back", server_of(io)->address);
    disk->term = term;
    disk->vote = 0;
    return 0;
}

static int io_set_vote(struct raft_io *io, raft_id id) {
    struct sim_disk *disk = &server_of(io)->disk;
    if (id != 0 && disk->vote != 0 && disk->vote != id) {
        sim_fail(server_of(io)->sim, "node %s: votes twice in term %llu", server_of(io)->address, disk->term);
    }
    disk->vote = id;
    return 0;
}

static raft_time io_time(struct raft_io *io) {
    return server_of(io)->sim->now / SIM_MS;
}

static int io_random(struct raft_io *io, int min, int max) {
    return min + (int)sim_random(server_of(io)->sim, (uint64_t)(max - min));
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result) {
    struct sim_server *server = fsm->data;
    *result = NULL;
    sim_check_applied(server, sim_command_read(server->sim, buf->base, buf->len));
    return 0;
}

/* How many commands, the digest of all of them, and some weight. */
static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    struct sim_server *server = fsm->data;
    uint64_t words[2] = {server->fsm->applied, sim_check_digest(server->sim, server->fsm->applied)};
    struct raft_buffer *buf = raft_malloc(sizeof(*buf));
    buf->len = sizeof(words) + 8 * sim_random(server->sim, 64);
    buf->base = raft_calloc(1, buf->len);
    memcpy(buf->base, words, sizeof(words));
    *bufs = buf;
    *n_bufs = 1;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf) {
    uint64_t words[2];
    memcpy(words, buf->base, sizeof(words));
    sim_check_restored(fsm->data, words[0], words[1]);
    raft_free(buf->base);
    return 0;
}

static void fill_io(struct sim_server *server, struct raft_io *io) {
    io->version = 2;
    io->capacity = 32768; /* KiB: more than libraft's own threshold */
    io->impl = server;
    io->init = io_init;
    io->close = io_close;
    io->load = sim_disk_load;
    io->start = io_start;
    io->bootstrap = io_bootstrap;
    io->recover = io_bootstrap;
    io->set_term = io_set_term;
    io->set_vote = io_set_vote;
    io->send = sim_net_send;
    io->append = sim_disk_append;
    io->truncate = sim_disk_truncate;
    io->snapshot_put = sim_disk_snapshot_put;
    io->snapshot_get = sim_disk_snapshot_get;
    io->time = io_time;
    io->random = io_random;
}

static void disk_error(void *ctx, const char *operation, int code) {
    struct sim_server *server = ctx;
    sim_fail(server->sim, "node %s: %s: %s", server->address, operation, raft_strerror(code));
}

void sim_server_start(struct sim_server *server) {
    const struct sim_plan *plan = &server->sim->plan;
    sim_trace(server->sim, server, "starts");
    server->closing = false;
    server->outstanding = 0;
    server->frozen_until = 0;
    server->raft = kw_calloc(1, sizeof(*server->raft));
    server->fsm = kw_calloc(1, sizeof(*server->fsm));
    server->fsm->fsm = (struct raft_fsm){
        .version = 1, .data = server, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    struct kw_guard_options options = {
        .raft = server->raft, .rules = server->sim->options.rules, .on_disk_error = disk_error, .ctx = server};
    server->guard = kw_guard_new(&options);
    server->io = kw_guard_io(server->guard);
    fill_io(server, server->io);
    kw_guard_wrap(server->guard);
    sim_scribble(server->sim);
    int rv = raft_init(server->raft, server->io, &server->fsm->fsm, server->id, server->address);
    KW_ASSERT(rv == 0);
    raft_set_election_timeout(server->raft, ELECTION_MS);
    raft_set_heartbeat_timeout(server->raft, HEARTBEAT_MS);
    raft_set_install_snapshot_timeout(server->raft, plan->install_timeout_ms);
    raft_set_snapshot_threshold(server->raft, plan->snapshot_entries);
    raft_set_snapshot_trailing(server->raft, plan->trailing);
    rv = raft_start(server->raft);
    if (rv != 0) sim_fail(server->sim, "node %s: does not start: %s", server->address, raft_strerror(rv));
    sim_check_leader(server);
}

void sim_server_crash(struct sim_server *server) {
    if (!server->raft) return;
    sim_trace(server->sim, server, "crashes");
    end_life(server);
}

void sim_server_close(struct sim_server *server) {
    if (!sim_server_up(server) || server->frozen_until > server->sim->now) return;
    sim_trace(server->sim, server, "is closed");
    raft_close(server->raft, NULL);
}

bool sim_server_up(const struct sim_server *server) {
    return server->raft && !server->closing;
}

bool sim_server_leads(const struct sim_server *server) {
    return sim_server_up(server) && server->frozen_until <= server->sim->now && raft_state(server->raft) == RAFT_LEADER;
}

struct submission {
    struct raft_apply req;
    struct sim_server *server;
    uint64_t command;
    bool called;
};

static void submission_done(struct raft_apply *req, int status, void *result) {
    struct submission *submission = KW_CONTAINER_OF(req, struct submission, req);
    (void)result;
    if (submission->called) sim_fail(submission->server->sim, "an answer came twice");
    submission->called = true;
    if (status == 0) sim_check_answered(submission->server, submission->command);
}

void sim_server_submit(struct sim_server *server) {
    struct sim *sim = server->sim;
    struct submission *submission = kw_calloc(1, sizeof(*submission));
    struct raft_buffer buf = {.len = 8 * (1 + sim_random(sim, sim->plan.entry_words))};
    buf.base = raft_malloc(buf.len);
    submission->server = server;
    submission->command = sim_check_new_command(sim);
    sim->commands[submission->command].index = raft_last_index(server->raft) + 1;
    sim_command_write(submission->command, buf.base, buf.len);
    if (raft_apply(server->raft, &submission->req, &buf, 1, submission_done) != 0) raft_free(buf.base);
}
