/*
 * One thread, one epoll. Nothing for 30 s while something is in flight, a lost connection, a reply that is none: each
 * ends the process, because what was measured until then means nothing.
 */
#include "tests/bench/load/run.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "tests/bench/load/load.h"

enum { EVENTS_AT_ONCE = 256, CHUNK_MIN = 4096, CHUNK_MAX = 64 * 1024 };

static const uint64_t SILENCE_NS = 30 * LOAD_NS_PER_SECOND;
static const uint64_t LOOK_NS = LOAD_NS_PER_SECOND; /* how often silence is looked for */

/* ---- Clients. */

static void client_init(struct load_run *run, uint32_t index) {
    struct load_client *client = &run->clients[index];
    client->index = index;
    client->conns = kw_calloc(run->conns_each, sizeof(*client->conns));
    client->requests = kw_calloc(run->options.pipeline, sizeof(*client->requests));
    for (uint32_t i = 0; i < run->options.pipeline; i++) client->requests[i].next = i + 1;
    for (unsigned i = 0; i < run->conns_each; i++) {
        struct load_conn *conn = &client->conns[i];
        unsigned node = run->nodes->cluster ? i : index % run->nodes->count;
        conn->client = client;
        conn->looking = run->source->reply != NULL;
        load_conn_open(conn, &run->nodes->list[node], run->epoll, run->options.pipeline);
    }
}

static void client_deinit(struct load_run *run, struct load_client *client) {
    for (unsigned i = 0; i < run->conns_each; i++) load_conn_close(&client->conns[i], run->pool);
    kw_free(client->conns);
    kw_free(client->requests);
}

static void client_flush(struct load_run *run, struct load_client *client) {
    for (unsigned i = 0; i < run->conns_each; i++) {
        struct load_conn *conn = &client->conns[i];
        if (conn->out.bytes > 0) load_conn_flush(conn, run->epoll, run->pool);
    }
}

struct load_conn *load_client_conn(struct load_run *run, struct load_client *client, const struct load_frame *frame) {
    if (run->conns_each == 1) return &client->conns[0];
    if (!frame->has_key) return &client->conns[run->turn++ % run->conns_each];
    return &client->conns[load_nodes_for_key(run->nodes, load_frame_key(frame), frame->key_len, 0)];
}

void load_client_expect(struct load_client *client, struct load_conn *conn, uint32_t request) {
    client->requests[request].parts++;
    load_conn_expect(conn, request);
}

void load_client_send(struct load_run *run, struct load_client *client, const struct load_frame *frame,
                      uint32_t request) {
    struct load_conn *conn = load_client_conn(run, client, frame);
    load_frame_append(frame, &conn->out, run->pool, run->chunk_bytes);
    load_client_expect(client, conn, request);
}

/* ---- Sending. */

static void request_begin(struct load_run *run, struct load_client *client, uint64_t start_ns) {
    uint32_t index = client->free;
    struct load_request *request = &client->requests[index];
    client->free = request->next;
    client->in_flight++;
    request->start_ns = start_ns;
    request->parts = 0;
    run->source->request(run->source, run, client, index);
}

/* Closed loop: the next batch of a client that has nothing in flight. */
static void batch_send(struct load_run *run, struct load_client *client, uint64_t now) {
    uint64_t left = run->limit - run->issued;
    if (left == 0 || (run->stop_ns > 0 && now >= run->stop_ns)) return;
    uint64_t count = left < run->options.pipeline ? left : run->options.pipeline;
    run->issued += count;
    while (count-- > 0) request_begin(run, client, 0);
    client->batch_ns = load_clock_ns();
    client_flush(run, client);
}

/* When request number `k` of the phase is due. */
static uint64_t due_ns(const struct load_run *run, uint64_t k) {
    return run->seen.begin_ns + (uint64_t)((double)k * run->interval_ns);
}

/* Open loop: sends what a client owes, as far as its pipeline goes. */
static void owed_send(struct load_run *run, struct load_client *client) {
    if (client->late == 0) return;
    while (client->late > 0 && client->in_flight < run->options.pipeline) {
        client->late--;
        request_begin(run, client, due_ns(run, client->next_due));
        client->next_due += run->options.clients;
    }
    client_flush(run, client);
}

/* Open loop: everything that has become due; answers when the next will be. */
static uint64_t schedule_run(struct load_run *run, uint64_t now) {
    while (run->issued < run->limit) {
        uint64_t due = due_ns(run, run->issued);
        if (due > now) return due;
        struct load_client *client = &run->clients[run->issued++ % run->options.clients];
        client->late++;
        owed_send(run, client);
    }
    return UINT64_MAX;
}

/* ---- Receiving. */

static void error_note(struct load_seen *seen, const struct load_reply *reply) {
    seen->errors++;
    if (seen->first_error.len > 0) return;
    size_t skip = reply->len > 1 && reply->bytes[0] == '-' ? 1 : 0;
    kw_str_append(&seen->first_error, reply->bytes + skip, strcspn(reply->bytes + skip, "\r"));
}

void load_request_part_done(struct load_run *run, struct load_client *client, uint32_t index, uint64_t now) {
    struct load_request *request = &client->requests[index];
    if (--request->parts > 0) return;
    uint64_t start = load_request_start(client, index);
    load_histogram_add(&run->seen.latency, now > start ? now - start : 0);
    run->seen.requests++;
    run->seen.end_ns = now;
    request->next = client->free;
    client->free = index;
    client->in_flight--;
}

static void reply_done(struct load_run *run, struct load_client *client, const struct load_reply *reply, uint64_t now) {
    if (KW_UNLIKELY(reply->error)) error_note(&run->seen, reply);
    if (reply->nil) run->seen.nils++;
    if (run->source->reply) run->source->reply(run->source, client, reply);
    load_request_part_done(run, client, reply->request, now);
}

void load_client_go_on(struct load_run *run, struct load_client *client, uint64_t now) {
    if (run->options.rate > 0) {
        owed_send(run, client);
    } else if (client->in_flight == 0) {
        batch_send(run, client, now);
    }
}

static void conn_read(struct load_run *run, struct load_conn *conn) {
    struct load_client *client = conn->client;
    size_t got = load_conn_read(conn, run->buffer, LOAD_READ_BYTES);
    if (got == 0) return;
    run->buffer[got] = '\0';
    uint64_t now = load_clock_ns();
    run->heard_ns = now;
    run->seen.bytes_in += got;
    for (size_t at = 0; at < got;) {
        struct load_reply reply;
        load_conn_take(conn, run->buffer + at, got - at, &reply);
        at += reply.used;
        if (reply.done) reply_done(run, client, &reply, now);
    }
    load_client_go_on(run, client, now);
}

static void events_run(struct load_run *run, uint64_t wait_ns) {
    struct epoll_event events[EVENTS_AT_ONCE];
    struct timespec wait = {.tv_sec = (time_t)(wait_ns / LOAD_NS_PER_SECOND),
                            .tv_nsec = (long)(wait_ns % LOAD_NS_PER_SECOND)};
    int count = epoll_pwait2(run->epoll, events, EVENTS_AT_ONCE, &wait, NULL);
    if (count < 0 && errno != EINTR) load_die("epoll_pwait2: %m");
    for (int i = 0; i < count; i++) {
        struct load_conn *conn = events[i].data.ptr;
        if (events[i].events & EPOLLOUT) load_conn_flush(conn, run->epoll, run->pool);
        if (!(events[i].events & ~(uint32_t)EPOLLOUT)) continue;
        if (conn->client) {
            conn_read(run, conn);
        } else {
            run->source->read(run->source, run, conn);
        }
    }
}

/* ---- Phases. */

static void phase_reset(struct load_run *run, uint64_t requests, double seconds) {
    kw_str_deinit(&run->seen.first_error);
    memset(&run->seen, 0, sizeof(run->seen));
    run->seen.begin_ns = load_clock_ns();
    run->seen.end_ns = run->seen.begin_ns;
    run->heard_ns = run->seen.begin_ns;
    run->draw->now_ms = kw_clock_wall_us() / LOAD_US_PER_MS;
    run->limit = requests > 0 ? requests : UINT64_MAX;
    run->stop_ns = requests > 0 ? 0 : run->seen.begin_ns + (uint64_t)(seconds * (double)LOAD_NS_PER_SECOND);
    run->issued = 0;
    if (run->options.rate == 0) return;
    run->interval_ns = (double)LOAD_NS_PER_SECOND / run->options.rate;
    if (requests == 0) run->limit = (uint64_t)(seconds * run->options.rate);
    for (uint32_t i = 0; i < run->options.clients; i++) run->clients[i].next_due = i;
}

/* True while a reply is to come or a request is to be sent. */
static bool phase_goes_on(const struct load_run *run) {
    if (run->seen.requests < run->issued) return true;
    return run->options.rate > 0 && run->issued < run->limit;
}

static void silence_check(const struct load_run *run, uint64_t now) {
    if (run->seen.requests == run->issued || now - run->heard_ns < SILENCE_NS) return;
    load_die("no reply for %llu s: %llu of %llu requests are done", SILENCE_NS / LOAD_NS_PER_SECOND,
             (unsigned long long)run->seen.requests, (unsigned long long)run->issued);
}

void load_run_phase(struct load_run *run, uint64_t requests, double seconds) {
    phase_reset(run, requests, seconds);
    bool open_loop = run->options.rate > 0;
    for (uint32_t i = 0; i < run->options.clients && !open_loop; i++) {
        batch_send(run, &run->clients[i], run->seen.begin_ns);
    }
    while (phase_goes_on(run)) {
        uint64_t now = load_clock_ns();
        uint64_t wait_ns = LOOK_NS;
        run->draw->now_ms = kw_clock_wall_us() / LOAD_US_PER_MS;
        if (open_loop) {
            uint64_t due = schedule_run(run, now);
            now = load_clock_ns();
            if (due < now + LOOK_NS) wait_ns = due > now ? due - now : 0;
        }
        silence_check(run, now);
        events_run(run, wait_ns);
    }
}

/* ---- Life. */

/* The sizes that the pool keeps: the smallest one that holds a batch. */
static size_t chunk_for(size_t batch) {
    size_t bytes = CHUNK_MIN;
    while (bytes < batch && bytes < CHUNK_MAX) bytes *= 4;
    return bytes;
}

void load_run_init(struct load_run *run, const struct load_run_options *options, const struct load_nodes *nodes,
                   struct load_source *source, struct load_draw *draw, struct kw_pool *pool) {
    *run = (struct load_run){.options = *options, .nodes = nodes, .source = source, .draw = draw, .pool = pool};
    KW_ASSERT(options->clients > 0 && options->pipeline > 0);
    /* A sleep ends when it is due, not up to 50 us later. */
    if (prctl(PR_SET_TIMERSLACK, 1UL, 0UL, 0UL, 0UL) != 0) load_die("prctl: %m");
    run->epoll = epoll_create1(EPOLL_CLOEXEC);
    if (run->epoll < 0) load_die("epoll_create1: %m");
    run->buffer = kw_malloc(LOAD_READ_BYTES + 1);
    run->chunk_bytes = chunk_for(options->pipeline * source->bytes);
    run->conns_each = nodes->cluster ? nodes->count : 1;
    run->clients = kw_calloc(options->clients, sizeof(*run->clients));
    for (uint32_t i = 0; i < options->clients; i++) client_init(run, i);
}

void load_run_deinit(struct load_run *run) {
    for (uint32_t i = 0; i < run->options.clients; i++) client_deinit(run, &run->clients[i]);
    kw_free(run->clients);
    kw_free(run->buffer);
    kw_str_deinit(&run->seen.first_error);
    close(run->epoll);
}
