/*
 * A worker: one thread, one libuv loop, its share of the clients and its own
 * links to the nodes. Workers share nothing on the request path; what comes
 * from elsewhere (a new client, a new topology, a question from another
 * worker) arrives as a message in the mailbox.
 *
 * A loop turn: read what the kernel has (sessions and links), decide, and at
 * the end of the turn write once to each socket that has something to send.
 */
#ifndef KW_PROXY_WORKER_H
#define KW_PROXY_WORKER_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "base/base.h"
#include "base/buffer.h"
#include "base/clock.h"
#include "base/resp_request.h"
#include "base/str.h"
#include "cluster/planner.h"
#include "cluster/slot.h"
#include "cluster/topology.h"
#include "proxy/stats.h"

struct kw_server;
struct kw_session;
struct kw_request;
struct kw_node;
struct kw_link;
struct kw_slowlog;
struct kw_alert;
struct kw_worker;

/* What may follow on a slot, in a dispatch pass. */
enum { KW_PASS_FREE, KW_PASS_READS, KW_PASS_BLOCKED };

/* A message runs on the worker's thread; it frees itself. */
struct kw_message {
    struct kw_message *next;
    void (*run)(struct kw_worker *worker, struct kw_message *message);
};

/* A mailbox is newest first: its list turned round. */
static inline struct kw_message *kw_messages_in_order(struct kw_message *newest) {
    struct kw_message *in_order = NULL;
    while (newest) {
        struct kw_message *next = newest->next;
        newest->next = in_order;
        in_order = newest;
        newest = next;
    }
    return in_order;
}

/* Commands with several keys on their way, of one slot. */
struct kw_slot_use {
    uint32_t all;
    uint32_t writes;
};

struct kw_worker {
    unsigned index;
    struct kw_server *server; /* borrowed */
    uv_loop_t loop;
    uv_thread_t thread;
    uv_async_t wakeup;
    uv_prepare_t before_poll;
    uv_check_t after_poll;
    uv_timer_t tick;
    uv_timer_t retry;

    uv_mutex_t mailbox_lock;
    struct kw_message *mailbox; /* own; newest first */
    bool mailbox_closed;
    unsigned async_requests; /* that somebody else will complete: the worker stays for them */

    struct kw_pool *pool;
    struct kw_chunk *rbuf;         /* what sockets are read into */
    struct kw_outq park;           /* small frames that wait are kept here */
    struct kw_request_parse parse; /* for frames that lie whole in rbuf */
    struct kw_planner *planner;
    struct kw_arg *argv; /* own; scratch of the request being planned */
    size_t argv_cap;
    struct kw_str scratch;   /* replies being written */
    uint16_t command_before; /* id + 1 of what the client said before the command being looked at */

    struct kw_request *free_requests;
    size_t free_request_count;
    size_t free_requests_low; /* fewest since the last trim */

    struct kw_topology *topology; /* own reference; NULL until the first */
    struct kw_node *nodes;        /* own; list */
    struct kw_node **node_table;  /* own array, by index; NULL where it is free; row 0 always */
    unsigned node_table_size;
    uint16_t owner[KW_SLOT_COUNT];              /* index of the owner; 0: none. Small, as every request looks here */
    struct kw_slot_use multikey[KW_SLOT_COUNT]; /* over all sessions */
    uint64_t open_slots[KW_SLOT_COUNT / 64];    /* being moved, as far as known here */
    uint64_t open_until_us;                     /* marks of our own hold until then */
    bool any_open;
    int home_slot;       /* lowest slot with an owner, where channels live; -1: none */
    uint32_t route_seq;  /* grows whenever a slot or a link may be chosen differently */
    bool recheck_paused; /* a client read: links that waited for it may go on */

    struct kw_session *sessions;       /* list of all */
    struct kw_session *dirty_sessions; /* something to write */
    struct kw_session **irregular;     /* own array: those with parked requests */
    uint32_t irregular_count;
    uint32_t irregular_cap;
    struct kw_link *dirty_links;
    size_t session_count;
    bool retry_armed;
    bool retry_wanted;

    /* Scratch of a dispatch pass, valid where stamped. */
    uint32_t pass_generation;
    uint32_t pass_stamp[KW_SLOT_COUNT];
    struct kw_link *pass_link[KW_SLOT_COUNT];
    uint8_t pass_blocked[KW_SLOT_COUNT];
    bool pass_write;                     /* a write is before this point */
    bool pass_barrier;                   /* nothing behind this point may go */
    const struct kw_request *pass_group; /* parent of the parts for all slots that were met last */
    bool pass_group_free;                /* nothing was before the first of them */
    const struct kw_request *pass_seen;  /* the last one before this point; NULL: none */

    uint64_t now_us; /* monotonic, read once a loop turn */
    bool now_valid;
    uint64_t trim_due_us;
    bool draining;
    bool stopping;
    uint64_t drain_deadline_us;

    struct kw_stats stats;
    struct kw_slowlog *slowlog;
    struct kw_alert *alert;         /* borrowed; the process's */
    uv_timer_t unpause;             /* see pause.h */
    struct kw_session *monitors;    /* list; see monitor.h */
    struct kw_str monitor_lines;    /* own; not sent yet */
    _Atomic unsigned monitor_count; /* of that list, read by every worker */
    struct kw_pubsub *pubsub;       /* own */
    struct kw_tracker *trackers;    /* list; sessions own them */
    struct kw_session **targets;    /* own array; who may be told of others' keys */
    size_t target_count;
    _Atomic size_t load; /* sessions and what is on its way to become one; read by the acceptor */
};

/* Starts the thread. 0 or a negative code. */
int kw_worker_start(struct kw_worker *worker, struct kw_server *server, unsigned index);
/* After its thread has ended. */
void kw_worker_join(struct kw_worker *worker);

/*
 * Runs message->run on the worker's thread, soon. Any thread; takes ownership. False when the worker has ended: the
 * message stays the caller's.
 */
bool kw_worker_post(struct kw_worker *worker, struct kw_message *message);

/* The time of this loop turn, monotonic microseconds. Worker's thread. */
static inline uint64_t kw_worker_now_us(struct kw_worker *worker) {
    if (KW_UNLIKELY(!worker->now_valid)) {
        worker->now_us = kw_clock_us();
        worker->now_valid = true;
    }
    return worker->now_us;
}

/* Who serves a slot, by the topology as corrected by MOVED; borrowed; NULL: nobody. */
static inline struct kw_node *kw_worker_owner(const struct kw_worker *worker, unsigned slot) {
    return worker->node_table[worker->owner[slot]];
}

/* The chunk to read a socket into: nobody else holds it. NULL when memory is gone. */
struct kw_chunk *kw_worker_read_chunk(struct kw_worker *worker);

/* Room for `argc` arguments in worker->argv; false when memory is gone. */
bool kw_worker_argv_reserve(struct kw_worker *worker, size_t argc);

/* Makes sure that the retry timer runs while sessions have parked requests. */
void kw_worker_arm_retry(struct kw_worker *worker);

/* Message makers. Any thread. */
void kw_worker_post_client(struct kw_worker *worker, int fd);
void kw_worker_post_topology(struct kw_worker *worker, struct kw_topology *topology);
void kw_worker_post_drain(struct kw_worker *worker, uint64_t deadline_us);

#endif
