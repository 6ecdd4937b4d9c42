/*
 * A message carries who published it, its number among those of its publisher, and the request that it is. So each
 * delivery is known for what it is, and each subscriber must see the numbers of each publisher one after the other. A
 * request waits for the reply to PUBLISH and for one delivery at each subscriber; then it is done.
 *
 * Deliveries all have the same length: a subscriber keeps the beginning of the one that is coming and counts the rest.
 */
#include "tests/bench/load/fanout.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "tests/bench/load/load.h"

enum {
    HEAD_MAX = 128,
    WAIT_MS = 30000,
    PUBLISHER_DIGITS = 8,
    NUMBER_DIGITS = 13,
    REQUEST_DIGITS = 8,
    CHANNEL_MAX = 32,
    LABEL_BYTES = PUBLISHER_DIGITS + NUMBER_DIGITS + REQUEST_DIGITS + 3, /* each with a colon behind it */
};

_Static_assert((int)LABEL_BYTES == (int)LOAD_MESSAGE_MIN, "the smallest message is a label");

struct subscriber {
    struct load_conn conn;
    size_t at; /* bytes of the delivery that have come */
    char head[HEAD_MAX];
    uint64_t *next; /* own: the number that is due of each publisher */
};

struct label {
    uint64_t publisher, number, request;
};

struct fanout {
    struct load_source source;
    struct load_nodes nodes;        /* of cluster nodes any will do: no slots; the list is borrowed */
    struct subscriber *subscribers; /* own */
    uint32_t subscriber_count;
    uint32_t publisher_count;
    uint64_t *published;       /* own: of each publisher */
    struct load_value value;   /* what follows the label */
    char channel[CHANNEL_MAX]; /* of this run only: what is late from one before must not come */
    struct kw_str command;     /* PUBLISH up to the label */
    char prefix[HEAD_MAX];     /* of a delivery, up to the label */
    size_t prefix_bytes;
    size_t frame_bytes; /* of a delivery */
    struct load_histogram each;
};

/* ---- Publishing. */

static void request(struct load_source *source, struct load_run *run, struct load_client *client, uint32_t index) {
    struct fanout *fanout = KW_CONTAINER_OF(source, struct fanout, source);
    struct load_conn *conn = &client->conns[0];
    char label[LABEL_BYTES + 1];
    (void)snprintf(label, sizeof(label), "%0*u:%0*llu:%0*u:", PUBLISHER_DIGITS, client->index, NUMBER_DIGITS,
                   (unsigned long long)fanout->published[client->index]++, REQUEST_DIGITS, index);
    struct kw_chunk *rest = fanout->value.chunk;
    if (!kw_outq_copy_try(&conn->out, run->pool, fanout->command.data, fanout->command.len, run->chunk_bytes) ||
        !kw_outq_copy_try(&conn->out, run->pool, label, LABEL_BYTES, run->chunk_bytes) ||
        kw_outq_add_try(&conn->out, run->pool, rest, 0, rest->len) != 0) {
        load_die("out of memory");
    }
    load_client_expect(client, conn, index);
    client->requests[index].parts += fanout->subscriber_count;
}

/* A message that was refused would be waited for. */
static void reply_look(struct load_source *source, struct load_client *client, const struct load_reply *reply) {
    (void)source;
    if (reply->error) load_die("publisher %u: %.*s", client->index, (int)reply->len - 2, reply->bytes);
}

/* ---- Deliveries. */

static struct label label_parse(const char *at) {
    struct label label;
    label.publisher = kw_digits(at, at + PUBLISHER_DIGITS);
    at += PUBLISHER_DIGITS + 1;
    label.number = kw_digits(at, at + NUMBER_DIGITS);
    at += NUMBER_DIGITS + 1;
    label.request = kw_digits(at, at + REQUEST_DIGITS);
    return label;
}

static void delivered(struct fanout *fanout, struct load_run *run, struct subscriber *subscriber, uint64_t now) {
    struct label label = label_parse(subscriber->head + fanout->prefix_bytes);
    unsigned index = (unsigned)(subscriber - fanout->subscribers);
    if (memcmp(subscriber->head, fanout->prefix, fanout->prefix_bytes) != 0 ||
        label.publisher >= fanout->publisher_count || label.request >= run->options.pipeline) {
        load_die("subscriber %u got what is no message: %.*s", index, (int)(fanout->prefix_bytes + LABEL_BYTES),
                 subscriber->head);
    }
    if (label.number != subscriber->next[label.publisher]) {
        load_die("subscriber %u got message %llu of publisher %llu in place of %llu", index,
                 (unsigned long long)label.number, (unsigned long long)label.publisher,
                 (unsigned long long)subscriber->next[label.publisher]);
    }
    subscriber->next[label.publisher]++;
    struct load_client *client = &run->clients[label.publisher];
    uint64_t start = load_request_start(client, (uint32_t)label.request);
    load_histogram_add(&fanout->each, now > start ? now - start : 0);
    load_request_part_done(run, client, (uint32_t)label.request, now);
    load_client_go_on(run, client, now);
}

static void deliveries_read(struct load_source *source, struct load_run *run, struct load_conn *conn) {
    struct fanout *fanout = KW_CONTAINER_OF(source, struct fanout, source);
    struct subscriber *subscriber = KW_CONTAINER_OF(conn, struct subscriber, conn);
    size_t head = fanout->prefix_bytes + LABEL_BYTES;
    size_t got = load_conn_read(conn, run->buffer, LOAD_READ_BYTES);
    uint64_t now = load_clock_ns();
    run->heard_ns = now;
    run->seen.bytes_in += got;
    for (size_t at = 0; at < got;) {
        size_t wanted = (subscriber->at < head ? head : fanout->frame_bytes) - subscriber->at;
        size_t taken = got - at < wanted ? got - at : wanted;
        if (subscriber->at < head) memcpy(subscriber->head + subscriber->at, run->buffer + at, taken);
        subscriber->at += taken;
        at += taken;
        if (subscriber->at < fanout->frame_bytes) continue;
        delivered(fanout, run, subscriber, now);
        subscriber->at = 0;
    }
}

/* ---- Subscribing. */

static void confirmation_wait(struct subscriber *subscriber, const struct kw_str *wanted) {
    size_t got = 0;
    while (got < wanted->len) {
        struct pollfd wait = {.fd = subscriber->conn.fd, .events = POLLIN};
        if (poll(&wait, 1, WAIT_MS) == 0) load_die("SUBSCRIBE is not answered");
        got += load_conn_read(&subscriber->conn, subscriber->head + got, wanted->len - got);
    }
    if (memcmp(subscriber->head, wanted->data, got) != 0) {
        load_die("SUBSCRIBE was answered by %.*s", (int)strcspn(subscriber->head, "\r"), subscriber->head);
    }
}

static void subscribe(struct fanout *fanout, struct load_run *run) {
    struct kw_str command = {0};
    struct kw_str confirmation = {0};
    kw_str_resp_array(&command, 2);
    kw_str_resp_text(&command, "SUBSCRIBE");
    kw_str_resp_text(&command, fanout->channel);
    kw_str_resp_array(&confirmation, 3);
    kw_str_resp_text(&confirmation, "subscribe");
    kw_str_resp_text(&confirmation, fanout->channel);
    kw_str_resp_int(&confirmation, 1);
    KW_ASSERT(confirmation.len <= HEAD_MAX);
    for (uint32_t i = 0; i < fanout->subscriber_count; i++) {
        struct subscriber *subscriber = &fanout->subscribers[i];
        subscriber->next = kw_calloc(fanout->publisher_count, sizeof(*subscriber->next));
        load_conn_open(&subscriber->conn, &fanout->nodes.list[i % fanout->nodes.count], run->epoll, 1);
        if (!kw_outq_copy_try(&subscriber->conn.out, run->pool, command.data, command.len, command.len)) {
            load_die("out of memory");
        }
        load_conn_flush(&subscriber->conn, run->epoll, run->pool);
    }
    for (uint32_t i = 0; i < fanout->subscriber_count; i++) confirmation_wait(&fanout->subscribers[i], &confirmation);
    kw_str_deinit(&command);
    kw_str_deinit(&confirmation);
}

/* ---- Life. */

static void fanout_init(struct fanout *fanout, const struct load_options *options, const struct load_nodes *nodes,
                        struct kw_pool *pool) {
    fanout->source = (struct load_source){
        .request = request, .reply = reply_look, .read = deliveries_read, .bytes = options->size + HEAD_MAX};
    (void)snprintf(fanout->channel, sizeof(fanout->channel), "bench:%016llx",
                   (unsigned long long)(kw_clock_wall_us() << 8 ^ (uint64_t)getpid()));
    fanout->nodes.list = nodes->list;
    fanout->nodes.count = nodes->count;
    fanout->publisher_count = (uint32_t)options->connections;
    fanout->published = kw_calloc(options->connections, sizeof(*fanout->published));
    fanout->subscriber_count = (uint32_t)options->subscribers;
    fanout->subscribers = kw_calloc(options->subscribers, sizeof(*fanout->subscribers));
    load_value_init(&fanout->value, pool, options->size - LABEL_BYTES);
    kw_str_resp_array(&fanout->command, 3);
    kw_str_resp_text(&fanout->command, "PUBLISH");
    kw_str_resp_text(&fanout->command, fanout->channel);
    kw_str_printf(&fanout->command, "$%llu\r\n", (unsigned long long)options->size);
    int length = snprintf(fanout->prefix, sizeof(fanout->prefix), "*3\r\n$7\r\nmessage\r\n$%zu\r\n%s\r\n$%llu\r\n",
                          strlen(fanout->channel), fanout->channel, (unsigned long long)options->size);
    KW_ASSERT(length > 0 && length + LABEL_BYTES <= HEAD_MAX);
    fanout->prefix_bytes = (size_t)length;
    fanout->frame_bytes = fanout->prefix_bytes + options->size + 2;
}

static void fanout_deinit(struct fanout *fanout, struct kw_pool *pool) {
    for (uint32_t i = 0; i < fanout->subscriber_count; i++) {
        load_conn_close(&fanout->subscribers[i].conn, pool);
        kw_free(fanout->subscribers[i].next);
    }
    kw_free(fanout->subscribers);
    kw_free(fanout->published);
    kw_str_deinit(&fanout->command);
    load_value_deinit(&fanout->value);
}

void load_fanout(const struct load_options *options, const struct load_nodes *nodes, struct kw_pool *pool) {
    struct fanout *fanout = kw_calloc(1, sizeof(*fanout));
    struct load_run *run = kw_calloc(1, sizeof(*run));
    struct load_run_options how = {
        .clients = (uint32_t)options->connections, .pipeline = (uint32_t)options->pipeline, .rate = options->rate};
    struct load_draw draw;
    struct load_cpu before;
    load_draw_init(&draw, options);
    fanout_init(fanout, options, nodes, pool);
    load_run_init(run, &how, &fanout->nodes, &fanout->source, &draw, pool);
    subscribe(fanout, run);
    if (options->warmup > 0) load_run_phase(run, options->warmup, 0);
    memset(&fanout->each, 0, sizeof(fanout->each));
    load_cpu_read(&before, options);
    load_run_phase(run, options->requests, options->seconds);
    load_report_print(options, &run->seen, &before, &fanout->each);
    load_run_deinit(run);
    fanout_deinit(fanout, pool);
    kw_free(run);
    kw_free(fanout);
}
