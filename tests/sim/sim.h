/*
 * A cluster of libraft nodes behind their guards in one process: virtual time,
 * an event heap, disks, a network and faults, all driven by one seeded
 * generator, so that a seed is a story that can be told again. One process
 * lives one seed: nothing is freed, and the first violation ends it.
 *
 *   sim_events.c   time, the heap, the generator      sim_server.c   a node's life, its state machine, raft_io
 *   sim_memory.c   libraft's heap, poisoned           sim_check.c    what must always hold
 *   sim_disk.c     what survives a crash              sim_plan.c     what a seed does: load, faults, healing
 *   sim_net.c      links                              sim_main.c     seeds in parallel, mutations, results
 */
#ifndef KW_TESTS_SIM_H
#define KW_TESTS_SIM_H

#include <raft.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "raft/store/guard.h"

enum { SIM_SERVERS_MAX = 5, SIM_MS = 1000 }; /* virtual time counts microseconds */

struct sim;
struct sim_server;
struct sim_event;

typedef void sim_run(struct sim *sim, struct sim_event *event);

struct sim_event {
    uint64_t at;
    uint64_t order;            /* among those of the same moment */
    struct sim_server *server; /* NULL: nobody's */
    unsigned life;             /* of the server; an event of an earlier life is void */
    bool inside;               /* runs in the server's process: waits while that is frozen */
    sim_run *run;
    void *subject;
    uint64_t number;
};

/* The log and snapshots as they are on disk. */
struct sim_entry {
    raft_term term;
    enum raft_entry_type type;
    uint64_t command; /* 0: not a command */
    size_t len;
    uint8_t *bytes;
};

struct sim_snapshot {
    raft_index index;
    raft_term term;
    raft_index conf_index;
    uint64_t applied; /* commands that it contains */
    size_t len;
    uint8_t *bytes;
};

struct sim_write;

struct sim_disk {
    raft_term term;
    raft_id vote;
    raft_index first; /* index of entries[0] */
    struct sim_entry *entries;
    uint64_t count, room;
    struct sim_snapshot snapshots[2]; /* the last is the newest */
    unsigned snapshot_count;
    /* Not on disk yet, in order; and an own snapshot, which is written beside them. */
    struct sim_write *head, *tail;
    struct sim_write *beside;
    uint64_t called_back; /* when the last callback is due: they come in order */
    uint64_t slow_until;
};

struct sim_fsm {
    struct raft_fsm fsm;
    uint64_t applied;
};

struct sim_server {
    struct sim *sim;
    raft_id id;
    char address[8];
    struct sim_disk disk;
    /* Of this life; raft is NULL while down. */
    unsigned life;
    struct raft *raft;
    struct kw_guard *guard;
    struct raft_io *io;
    struct sim_fsm *fsm;
    raft_io_tick_cb tick;
    raft_io_recv_cb receive;
    raft_io_close_cb closed;
    uint64_t tick_us;
    unsigned outstanding; /* requests of raft_io that have not called back */
    bool closing;
    bool started_empty;
    uint64_t frozen_until;
    unsigned long long acted[KW_GUARD_RULE_COUNT]; /* the guards of former lives */
};

struct sim_link {
    unsigned cuts; /* faults that cut it now */
    uint64_t slow_until;
    uint64_t sent, delivered; /* the last one's time, for order */
};

/* What becomes of each command; the index is its number, from 1. */
struct sim_command {
    raft_index index;
    uint64_t position; /* in the history, from 1; 0: not applied anywhere yet */
    bool answered;
};

struct sim_options {
    uint64_t seed;
    unsigned nodes;
    unsigned rules; /* of the guard */
    bool disorder;
    bool trace;
    int report; /* file descriptor for the reason of a failure */
};

/* Chosen once from the seed. Times in microseconds unless said. */
struct sim_plan {
    uint64_t load_gap, fault_gap;
    unsigned burst, entry_words;
    uint64_t disk_latency, net_latency;
    uint64_t load_latency; /* at most, of each half of a snapshot's loading: as if it were large */
    unsigned snapshot_entries, trailing, install_timeout_ms;
    unsigned weights[8];                      /* of the kinds of fault */
    unsigned duplicates, failed_loads, stuck; /* per mille */
    uint64_t faults_end, end;
    bool transfers;
};

struct sim {
    struct sim_options options;
    struct sim_plan plan;
    uint64_t random;
    uint64_t now, order;
    struct sim_event *heap;
    uint64_t heap_count, heap_room;
    struct sim_server servers[SIM_SERVERS_MAX];
    struct sim_link links[SIM_SERVERS_MAX][SIM_SERVERS_MAX]; /* from, to */
    bool healed;
    /* Commands, the one history, and its running digest by position. */
    struct sim_command *commands;
    uint64_t command_count, command_room;
    uint64_t *history, *digests;
    uint64_t history_count, history_room;
    raft_id *leaders; /* by term */
    uint64_t leader_room;
    uint64_t answered, answered_since_healing;
};

/* sim_events.c */
uint64_t sim_random(struct sim *sim, uint64_t below); /* 0 .. below - 1 */
bool sim_chance(struct sim *sim, unsigned per_mille);
/* Mostly near `typical`, sometimes far above. */
uint64_t sim_delay(struct sim *sim, uint64_t typical);
void sim_at(struct sim *sim, uint64_t at, struct sim_server *server, bool inside, sim_run *run, void *subject,
            uint64_t number);
/* Runs until `until` or sim->healed work is done; see sim_plan.c. */
void sim_run_until(struct sim *sim, uint64_t until, bool (*done)(struct sim *sim));
void *sim_grow(void *array, uint64_t *room, uint64_t need, size_t size);

/* sim_memory.c: what libraft allocates lies between marks and is poisoned when freed. */
void sim_memory_install(struct sim *sim);
/* Leaves bytes of a known pattern on the stack, where variables that are never set will find them. */
void sim_scribble(struct sim *sim);

/* sim_disk.c */
/* For a log that there is before the first start. */
void sim_disk_put_copy(struct sim_disk *disk, const struct sim_entry *entry);
void sim_disk_put_entry(struct sim_disk *disk, raft_term term, uint64_t command, unsigned words);
void sim_disk_put_configuration(struct sim *sim, struct sim_disk *disk);
void sim_disk_crash(struct sim_server *server);
bool sim_disk_holds(const struct sim *sim, const struct sim_disk *disk, uint64_t command);
int sim_disk_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                  raft_index *start, struct raft_entry **entries, size_t *count);
int sim_disk_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                    raft_io_append_cb cb);
int sim_disk_truncate(struct raft_io *io, raft_index index);
int sim_disk_snapshot_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                          const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb);
int sim_disk_snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
void sim_configuration(const struct sim *sim, struct raft_configuration *out);

/* sim_net.c */
int sim_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb);

/* sim_server.c */
void sim_server_start(struct sim_server *server);
void sim_server_crash(struct sim_server *server);
void sim_server_close(struct sim_server *server);
bool sim_server_up(const struct sim_server *server); /* and not about to close */
bool sim_server_leads(const struct sim_server *server);
void sim_server_submit(struct sim_server *server);
void sim_server_request_done(struct sim_server *server); /* of raft_io */
uint64_t sim_command_read(struct sim *sim, const void *bytes, size_t len);
void sim_command_write(uint64_t command, uint8_t *bytes, size_t len);

/* sim_check.c */
KW_NORETURN void sim_fail(struct sim *sim, const char *fmt, ...) KW_PRINTF(2, 3);
void sim_trace(struct sim *sim, const struct sim_server *server, const char *fmt, ...) KW_PRINTF(3, 4);
uint64_t sim_check_new_command(struct sim *sim);
void sim_check_applied(struct sim_server *server, uint64_t command);
void sim_check_restored(struct sim_server *server, uint64_t applied, uint64_t digest);
uint64_t sim_check_digest(const struct sim *sim, uint64_t applied);
void sim_check_answered(struct sim_server *server, uint64_t command);
void sim_check_leader(struct sim_server *server);
void sim_check_leads(struct sim *sim, raft_term term, raft_id id);

/* How often the nodes' guards have acted by a rule. */
unsigned long long sim_acted(const struct sim *sim, unsigned rule_bit);

/* sim_plan.c: a whole seed; returns if all held. */
void sim_live(struct sim *sim);

#endif
