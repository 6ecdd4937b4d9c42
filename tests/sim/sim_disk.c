/*
 * A node's disk. Term and vote are durable at once. Appends, truncations and
 * installed snapshots are done one after the other, each after a delay; an own
 * snapshot starts after the writes before it and is written beside the later
 * ones, as libraft's uv backend does it. A crash keeps a random prefix of what
 * is under way. The two newest snapshots are kept.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "sim.h"

enum write_kind { WRITE_APPEND, WRITE_TRUNCATE, WRITE_INSTALL, WRITE_SNAPSHOT };

struct sim_write {
    enum write_kind kind;
    struct sim_write *next;
    raft_index index; /* of a truncation */
    struct sim_entry *entries;
    unsigned count;
    struct sim_snapshot snapshot;
    unsigned trailing;
    struct raft_io_append *append;
    struct raft_io_snapshot_put *put;
    bool durable;
};

static raft_index next_index(const struct sim_disk *disk) {
    return disk->first + disk->count;
}

static void add_entry(struct sim_disk *disk, struct sim_entry entry) {
    disk->entries = sim_grow(disk->entries, &disk->room, disk->count + 1, sizeof(*disk->entries));
    disk->entries[disk->count++] = entry;
}

/* Drops what lies before `first`. */
static void forget_until(struct sim_disk *disk, raft_index first) {
    if (first <= disk->first) return;
    size_t gone = first - disk->first;
    if (gone > disk->count) gone = disk->count;
    disk->count -= gone;
    memmove(disk->entries, disk->entries + gone, disk->count * sizeof(*disk->entries));
    disk->first += gone;
}

static void add_snapshot(struct sim_disk *disk, struct sim_snapshot snapshot) {
    if (disk->snapshot_count == 2) disk->snapshots[0] = disk->snapshots[--disk->snapshot_count];
    /* The newest is found by term, then index, as by the uv backend's file names. */
    unsigned place = disk->snapshot_count++;
    const struct sim_snapshot *before = place ? &disk->snapshots[0] : NULL;
    if (before && (before->term > snapshot.term || (before->term == snapshot.term && before->index > snapshot.index))) {
        disk->snapshots[1] = disk->snapshots[0];
        place = 0;
    }
    disk->snapshots[place] = snapshot;
}

static void do_truncate(struct sim_server *server, raft_index index) {
    struct sim_disk *disk = &server->disk;
    if (index > next_index(disk)) sim_fail(server->sim, "disk %s: log would have a gap", server->address);
    if (index < disk->first) sim_fail(server->sim, "disk %s: truncates what was compacted", server->address);
    disk->count = index - disk->first;
}

static void do_install(struct sim_disk *disk, const struct sim_snapshot *snapshot) {
    add_snapshot(disk, *snapshot);
    disk->count = 0;
    disk->first = snapshot->index + 1;
}

static void do_snapshot(struct sim_disk *disk, const struct sim_snapshot *snapshot, unsigned trailing) {
    add_snapshot(disk, *snapshot);
    if (snapshot->index > trailing) forget_until(disk, snapshot->index - trailing + 1);
}

static void make_durable(struct sim_server *server, struct sim_write *write) {
    struct sim_disk *disk = &server->disk;
    switch (write->kind) {
    case WRITE_APPEND:
        for (unsigned i = 0; i < write->count; i++) add_entry(disk, write->entries[i]);
        break;
    case WRITE_TRUNCATE: do_truncate(server, write->index); break;
    case WRITE_INSTALL: do_install(disk, &write->snapshot); break;
    case WRITE_SNAPSHOT: do_snapshot(disk, &write->snapshot, write->trailing); break;
    }
    write->durable = true;
}

static void call_back(struct sim *sim, struct sim_event *event) {
    (void)sim;
    struct sim_write *write = event->subject;
    struct sim_server *server = event->server;
    int status = write->durable ? 0 : RAFT_CANCELED;
    if (write->append) write->append->cb(write->append, status);
    if (write->put) write->put->cb(write->put, status);
    sim_server_request_done(server);
}

static void call_back_soon(struct sim_server *server, struct sim_write *write) {
    if (write->kind == WRITE_TRUNCATE) return;
    struct sim *sim = server->sim;
    uint64_t at = sim->now + sim_delay(sim, SIM_MS / 20);
    if (at < server->disk.called_back) at = server->disk.called_back;
    server->disk.called_back = at;
    sim_at(sim, at, server, true, call_back, write, 0);
}

static uint64_t latency(struct sim_server *server) {
    struct sim *sim = server->sim;
    uint64_t typical = sim->plan.disk_latency;
    if (server->disk.slow_until > sim->now) typical += 40 * SIM_MS;
    return sim_delay(sim, typical);
}

static void start_head(struct sim_server *server);

static void beside_done(struct sim *sim, struct sim_event *event) {
    (void)sim;
    struct sim_write *write = event->subject;
    event->server->disk.beside = NULL;
    make_durable(event->server, write);
    call_back_soon(event->server, write);
}

static struct sim_write *take_head(struct sim_disk *disk) {
    struct sim_write *write = disk->head;
    disk->head = write->next;
    if (!disk->head) disk->tail = NULL;
    return write;
}

static void begin_beside(struct sim_server *server, struct sim_write *write) {
    struct sim *sim = server->sim;
    if (server->disk.beside) sim_fail(sim, "disk %s: two snapshots at once", server->address);
    server->disk.beside = write;
    sim_at(sim, sim->now + 2 * latency(server), server, false, beside_done, write, 0);
}

/* `number` appends or one other write; appends that waited together are written together. */
static void head_done(struct sim *sim, struct sim_event *event) {
    struct sim_server *server = event->server;
    (void)sim;
    for (uint64_t left = event->number; left > 0; left--) {
        struct sim_write *write = take_head(&server->disk);
        if (write->kind == WRITE_SNAPSHOT) {
            begin_beside(server, write);
        } else {
            make_durable(server, write);
            call_back_soon(server, write);
        }
    }
    start_head(server);
}

/* libraft truncates before each append, mostly where the log ends: that joins them. */
static uint64_t count_together(struct sim *sim, const struct sim_write *write) {
    uint64_t count = 1;
    if (write->kind != WRITE_APPEND) return 1;
    while ((write = write->next) && (write->kind == WRITE_APPEND || write->kind == WRITE_TRUNCATE)) count++;
    return 1 + sim_random(sim, count);
}

static void start_head(struct sim_server *server) {
    struct sim_write *write = server->disk.head;
    if (!write) return;
    uint64_t delay = write->kind == WRITE_APPEND || write->kind == WRITE_INSTALL ? latency(server) : 0;
    sim_at(server->sim, server->sim->now + delay, server, false, head_done, NULL, count_together(server->sim, write));
}

static void enqueue(struct sim_server *server, struct sim_write *write) {
    struct sim_disk *disk = &server->disk;
    if (server->closing) sim_fail(server->sim, "disk %s: written after the close", server->address);
    if (write->append || write->put) server->outstanding++;
    if (disk->tail) {
        disk->tail->next = write;
        disk->tail = write;
        return;
    }
    disk->head = disk->tail = write;
    start_head(server);
}

static struct sim_server *server_of(struct raft_io *io) {
    return io->impl;
}

int sim_disk_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                    raft_io_append_cb cb) {
    struct sim_server *server = server_of(io);
    struct sim_write *write = kw_calloc(1, sizeof(*write));
    write->kind = WRITE_APPEND;
    write->append = req;
    write->entries = kw_calloc(n, sizeof(*write->entries));
    write->count = n;
    for (unsigned i = 0; i < n; i++) {
        const struct raft_entry *entry = &entries[i];
        uint8_t *bytes = kw_malloc(entry->buf.len);
        memcpy(bytes, entry->buf.base, entry->buf.len);
        write->entries[i] =
            (struct sim_entry){.term = entry->term, .type = entry->type, .len = entry->buf.len, .bytes = bytes};
        if (entry->type == RAFT_COMMAND)
            write->entries[i].command = sim_command_read(server->sim, bytes, entry->buf.len);
    }
    req->cb = cb;
    sim_trace(server->sim, server, "appends %u entries", n);
    enqueue(server, write);
    return 0;
}

int sim_disk_truncate(struct raft_io *io, raft_index index) {
    struct sim_write *write = kw_calloc(1, sizeof(*write));
    write->kind = WRITE_TRUNCATE;
    write->index = index;
    sim_trace(server_of(io)->sim, server_of(io), "truncates from %llu", index);
    enqueue(server_of(io), write);
    return 0;
}

static struct sim_snapshot copy_snapshot(struct sim *sim, const struct raft_snapshot *snapshot) {
    struct sim_snapshot copy = {
        .index = snapshot->index, .term = snapshot->term, .conf_index = snapshot->configuration_index};
    if (snapshot->configuration.n != sim->options.nodes) sim_fail(sim, "snapshot without its configuration");
    for (unsigned i = 0; i < snapshot->n_bufs; i++) copy.len += snapshot->bufs[i].len;
    copy.bytes = kw_malloc(copy.len);
    size_t at = 0;
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        memcpy(copy.bytes + at, snapshot->bufs[i].base, snapshot->bufs[i].len);
        at += snapshot->bufs[i].len;
    }
    memcpy(&copy.applied, copy.bytes, sizeof(copy.applied));
    return copy;
}

int sim_disk_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    struct sim_server *server = server_of(io);
    if (server->closing) return RAFT_CANCELED;
    struct sim_write *write = kw_calloc(1, sizeof(*write));
    write->kind = trailing ? WRITE_SNAPSHOT : WRITE_INSTALL;
    write->put = req;
    write->snapshot = copy_snapshot(server->sim, snapshot);
    write->trailing = trailing;
    req->cb = cb;
    sim_trace(server->sim, server, "%s snapshot %llu^%llu", trailing ? "takes" : "installs", snapshot->index,
              snapshot->term);
    enqueue(server, write);
    return 0;
}

static void fill_snapshot(const struct sim *sim, const struct sim_snapshot *from, struct raft_snapshot *to) {
    to->index = from->index;
    to->term = from->term;
    to->configuration_index = from->conf_index;
    sim_configuration(sim, &to->configuration);
    to->bufs = raft_malloc(sizeof(*to->bufs));
    to->n_bufs = 1;
    to->bufs[0].len = from->len;
    to->bufs[0].base = raft_malloc(from->len);
    memcpy(to->bufs[0].base, from->bytes, from->len);
}

/* What was newest when it was read; a copy is handed over later. */
struct read_snapshot {
    struct raft_io_snapshot_get *req;
    struct sim_snapshot found;
    bool failed;
};

static void snapshot_read(struct sim *sim, struct sim_event *event) {
    struct read_snapshot *read = event->subject;
    struct raft_snapshot *snapshot = NULL;
    if (!read->failed) {
        snapshot = raft_malloc(sizeof(*snapshot));
        fill_snapshot(sim, &read->found, snapshot);
    }
    read->req->cb(read->req, snapshot, read->failed ? RAFT_IOERR : 0);
    sim_server_request_done(event->server);
}

static void snapshot_reads(struct sim *sim, struct sim_event *event) {
    struct read_snapshot *read = event->subject;
    struct sim_disk *disk = &event->server->disk;
    if (disk->snapshot_count == 0)
        sim_fail(sim, "disk %s: a snapshot is read but there is none", event->server->address);
    read->found = disk->snapshots[disk->snapshot_count - 1];
    read->failed = sim_chance(sim, sim->plan.failed_loads);
    uint64_t at = sim->now + sim_delay(sim, SIM_MS / 10) + sim_random(sim, sim->plan.load_latency + 1);
    sim_at(sim, at, event->server, true, snapshot_read, read, 0);
}

int sim_disk_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    struct sim_server *server = server_of(io);
    if (server->closing) sim_fail(server->sim, "disk %s: read after the close", server->address);
    struct read_snapshot *read = kw_calloc(1, sizeof(*read));
    read->req = req;
    req->cb = cb;
    server->outstanding++;
    struct sim *sim = server->sim;
    uint64_t at = sim->now + latency(server) + sim_random(sim, sim->plan.load_latency + 1);
    sim_at(sim, at, server, false, snapshot_reads, read, 0);
    return 0;
}

static struct raft_entry *load_entries(const struct sim_disk *disk) {
    size_t bytes = 0;
    if (disk->count == 0) return NULL;
    for (size_t i = 0; i < disk->count; i++) bytes += disk->entries[i].len;
    struct raft_entry *entries = raft_malloc(disk->count * sizeof(*entries));
    uint8_t *batch = raft_malloc(bytes);
    uint8_t *at = batch;
    for (size_t i = 0; i < disk->count; i++) {
        const struct sim_entry *entry = &disk->entries[i];
        memcpy(at, entry->bytes, entry->len);
        entries[i] = (struct raft_entry){
            .term = entry->term, .type = entry->type, .buf = {.base = at, .len = entry->len}, .batch = batch};
        at += entry->len;
    }
    return entries;
}

int sim_disk_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                  raft_index *start, struct raft_entry **entries, size_t *count) {
    struct sim_server *server = server_of(io);
    struct sim_disk *disk = &server->disk;
    *term = disk->term;
    *vote = disk->vote;
    *snapshot = NULL;
    if (disk->snapshot_count > 0) {
        const struct sim_snapshot *newest = &disk->snapshots[disk->snapshot_count - 1];
        if (disk->count == 0) disk->first = newest->index + 1;
        if (disk->first > newest->index + 1 || next_index(disk) <= newest->index) {
            sim_fail(server->sim, "disk %s: log %llu..%llu does not meet its snapshot at %llu", server->address,
                     disk->first, next_index(disk) - 1, newest->index);
        }
        *snapshot = raft_malloc(sizeof(**snapshot));
        fill_snapshot(server->sim, newest, *snapshot);
    }
    *start = disk->first;
    *entries = load_entries(disk);
    *count = disk->count;
    return 0;
}

void sim_disk_crash(struct sim_server *server) {
    struct sim *sim = server->sim;
    struct sim_disk *disk = &server->disk;
    if (disk->beside && sim_chance(sim, 500)) make_durable(server, disk->beside);
    unsigned kept = 0;
    for (struct sim_write *write = disk->head; write && sim_chance(sim, 600); write = write->next, kept++) {
        if (write->kind != WRITE_SNAPSHOT || sim_chance(sim, 500)) make_durable(server, write);
    }
    disk->head = disk->tail = disk->beside = NULL;
    disk->called_back = 0;
}

bool sim_disk_holds(const struct sim *sim, const struct sim_disk *disk, uint64_t command) {
    const struct sim_command *wanted = &sim->commands[command];
    for (unsigned i = 0; i < disk->snapshot_count; i++) {
        if (wanted->position && disk->snapshots[i].applied >= wanted->position) return true;
    }
    if (wanted->index < disk->first || wanted->index >= next_index(disk)) return false;
    return disk->entries[wanted->index - disk->first].command == command;
}

void sim_configuration(const struct sim *sim, struct raft_configuration *out) {
    raft_configuration_init(out);
    for (unsigned i = 0; i < sim->options.nodes; i++) {
        int rv = raft_configuration_add(out, sim->servers[i].id, sim->servers[i].address, RAFT_VOTER);
        KW_ASSERT(rv == 0);
    }
}

void sim_disk_put_copy(struct sim_disk *disk, const struct sim_entry *entry) {
    add_entry(disk, *entry);
}

void sim_disk_put_configuration(struct sim *sim, struct sim_disk *disk) {
    struct raft_configuration conf;
    struct raft_buffer buf;
    sim_configuration(sim, &conf);
    int rv = raft_configuration_encode(&conf, &buf);
    KW_ASSERT(rv == 0);
    add_entry(disk, (struct sim_entry){.term = 1, .type = RAFT_CHANGE, .len = buf.len, .bytes = buf.base});
    disk->term = 1;
}

void sim_disk_put_entry(struct sim_disk *disk, raft_term term, uint64_t command, unsigned words) {
    size_t len = (size_t)words * 8;
    uint8_t *bytes = kw_malloc(len);
    sim_command_write(command, bytes, len);
    add_entry(disk,
              (struct sim_entry){.term = term, .type = RAFT_COMMAND, .command = command, .len = len, .bytes = bytes});
    disk->term = term;
}
