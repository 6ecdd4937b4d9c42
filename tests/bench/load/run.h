/*
 * Clients that send requests and wait for replies: the measured part, the warm-up and the filling are each a phase of a
 * run. What is sent comes from a source.
 *
 * Closed loop: each client sends a batch of `pipeline` requests, waits for all of its replies, sends the next. Latency
 * counts from the moment in which the batch is handed to the kernel.
 *
 * Open loop: request number k of a phase is due at its beginning + k / rate, on client k modulo their number, whatever
 * came of those before. A client with `pipeline` requests in flight sends it when one of them is done, but its latency
 * counts from the moment in which it was due.
 */
#ifndef KW_BENCH_LOAD_RUN_H
#define KW_BENCH_LOAD_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "tests/bench/load/conn.h"
#include "tests/bench/load/frame.h"
#include "tests/bench/load/histogram.h"
#include "tests/bench/load/nodes.h"

enum { LOAD_READ_BYTES = 256 * 1024 };

struct load_request {
    uint64_t start_ns; /* 0: that of its batch */
    uint32_t parts;    /* replies still to come */
    uint32_t next;     /* in the list of free ones */
};

struct load_client {
    struct load_conn *conns;       /* own: one, or one a node in cluster mode */
    struct load_request *requests; /* own: `pipeline` of them */
    uint32_t free;
    uint32_t in_flight;
    uint32_t index;
    uint32_t late;     /* open loop: requests that are due and were not sent */
    uint64_t next_due; /* open loop: the number of the request that it sends next */
    uint64_t batch_ns;
};

struct load_run;

/* What is sent. One object serves all clients of a run. */
struct load_source {
    /* Queues one request: load_client_send() for each of its commands. */
    void (*request)(struct load_source *source, struct load_run *run, struct load_client *client, uint32_t request);
    /* Looks at a whole reply; NULL: replies are not kept. */
    void (*reply)(struct load_source *source, struct load_client *client, const struct load_reply *reply);
    /* Reads a connection that is not a client's. */
    void (*read)(struct load_source *source, struct load_run *run, struct load_conn *conn);
    void (*free)(struct load_source *source);
    size_t bytes; /* of a request, about */
};

/* What was seen in a phase. */
struct load_seen {
    uint64_t requests, errors, nils, bytes_in;
    uint64_t begin_ns, end_ns;
    struct kw_str first_error; /* own */
    struct load_histogram latency;
};

struct load_run_options {
    uint32_t clients;
    uint32_t pipeline;
    double rate; /* 0: closed loop */
};

struct load_run {
    struct load_run_options options;
    const struct load_nodes *nodes; /* borrowed */
    struct load_source *source;     /* borrowed */
    struct load_draw *draw;         /* borrowed */
    struct kw_pool *pool;           /* borrowed */
    struct load_client *clients;    /* own */
    unsigned conns_each;
    char *buffer; /* own: what a read fills, LOAD_READ_BYTES and a NUL */
    int epoll;
    size_t chunk_bytes; /* of output */
    uint64_t limit;     /* requests of this phase */
    uint64_t stop_ns;   /* or no new ones from then on; 0: never */
    uint64_t issued;
    uint64_t heard_ns; /* when something last came */
    double interval_ns;
    unsigned turn; /* commands without keys go to each node in turn */
    struct load_seen seen;
};

/* Connects everything. */
void load_run_init(struct load_run *run, const struct load_run_options *options, const struct load_nodes *nodes,
                   struct load_source *source, struct load_draw *draw, struct kw_pool *pool);
void load_run_deinit(struct load_run *run);

/* Sends `requests` requests, or for that many seconds where it is 0, and waits for the replies. `seen` starts anew. */
void load_run_phase(struct load_run *run, uint64_t requests, double seconds);

/* ---- For sources. */

/* Queues the frame as it is filled as one command of the request, on the connection to its key's node. */
void load_client_send(struct load_run *run, struct load_client *client, const struct load_frame *frame,
                      uint32_t request);

/* The same in pieces, for commands of many frames: which connection, and that a reply is due there. */
struct load_conn *load_client_conn(struct load_run *run, struct load_client *client, const struct load_frame *frame);
void load_client_expect(struct load_client *client, struct load_conn *conn, uint32_t request);

/* When its latency began to count. */
static inline uint64_t load_request_start(const struct load_client *client, uint32_t request) {
    uint64_t start_ns = client->requests[request].start_ns;
    return start_ns > 0 ? start_ns : client->batch_ns;
}

/* One of the parts that the request waits for is there. */
void load_request_part_done(struct load_run *run, struct load_client *client, uint32_t request, uint64_t now);

/* Sends what the client has to send, now that some of its requests may be done. */
void load_client_go_on(struct load_run *run, struct load_client *client, uint64_t now);

#endif
