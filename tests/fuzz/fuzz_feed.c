/*
 * What a node pushes to a worker that is subscribed there: confirmations,
 * messages, refusals, in any order and of any shape, in pieces. Four clients
 * subscribe, one of each kind and one to keyspace notifications; whatever
 * they are sent must be whole replies, and in the end nothing is left. The first
 * byte seeds the lengths of the pieces and says who leaves in the middle. Node,
 * link and process are stand-ins.
 */
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/log.h"
#include "base/resp_reply.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/pubsub/topics.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/settings.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv);

enum { CLIENTS = 4 };

static struct kw_topics *topics;
static const struct kw_limits limits = {.request_timeout_us = 1000000};
static char node_addr[] = "127.0.0.1:7001";
static struct kw_node node = {.addr = node_addr, .in_topology = true, .serves_slots = true};
static struct kw_link feed_link;

struct kw_topics *__wrap_kw_server_topics(struct kw_server *server);
const struct kw_limits *__wrap_kw_server_limits(const struct kw_server *server);
void __wrap_kw_server_topology_doubt(struct kw_server *server);
struct kw_link *__wrap_kw_link_new_push(struct kw_node *at, const struct kw_link_owner *owner, void *owner_ref);
int __wrap_kw_link_send_unanswered(struct kw_link *link, const char *bytes, size_t len);

struct kw_topics *__wrap_kw_server_topics(struct kw_server *server KW_UNUSED) {
    return topics;
}

const struct kw_limits *__wrap_kw_server_limits(const struct kw_server *server KW_UNUSED) {
    return &limits;
}

void __wrap_kw_server_topology_doubt(struct kw_server *server KW_UNUSED) {
}

/* One link at a time: it is lost only at the end, when no topic asks for another. */
struct kw_link *__wrap_kw_link_new_push(struct kw_node *at, const struct kw_link_owner *owner, void *owner_ref) {
    KW_ASSERT(!feed_link.owner);
    feed_link = (struct kw_link){.worker = at->worker, .node = at, .kind = KW_LINK_PUSH, .connected = true};
    feed_link.owner = owner;
    feed_link.owner_ref = owner_ref;
    return &feed_link;
}

int __wrap_kw_link_send_unanswered(struct kw_link *link KW_UNUSED, const char *bytes KW_UNUSED, size_t len KW_UNUSED) {
    return 0;
}

static void subscribe(struct kw_session *session, unsigned nth) {
    static const struct {
        enum kw_topic_kind kind;
        const char *name;
    } rows[CLIENTS] = {
        {KW_TOPIC_CHANNEL, "c"},
        {KW_TOPIC_PATTERN, "p*"},
        {KW_TOPIC_SHARD, "s"},
        {KW_TOPIC_PATTERN, "__keyspace@0__:*"},
    };
    struct kw_arg name = {rows[nth].name, strlen(rows[nth].name)};
    kw_pubsub_subscribe(session, rows[nth].kind, &name, 1);
}

/* What the client got so far are whole replies. */
static void take_output(struct kw_worker *worker, struct kw_session *session) {
    struct kw_reply_scan scan = {0};
    for (const struct kw_seg *seg = session->out.head; seg; seg = seg->next) {
        for (size_t at = 0, used; at < seg->len; at += used) {
            KW_ASSERT(kw_reply_scan(&scan, seg->chunk->data + seg->off + at, seg->len - at, &used) != KW_REPLY_ERROR);
        }
    }
    KW_ASSERT(kw_reply_scan_idle(&scan));
    kw_outq_clear(&session->out, worker->pool);
}

static void feed_bytes(struct kw_worker *worker, struct kw_session **sessions, const uint8_t *data, size_t size) {
    uint32_t seed = data[0];
    size_t piece_max = data[0] & 1 ? 1 + (size_t)data[0] / 4 : SIZE_MAX;
    bool speaks_resp = true;
    for (size_t at = 1; at < size && speaks_resp;) {
        seed = seed * 1664525 + 1013904223;
        size_t piece = 1 + (seed >> 8) % piece_max;
        if (piece > size - at || piece_max == SIZE_MAX) piece = size - at;
        struct kw_chunk *chunk = kw_chunk_new_try(worker->pool, piece);
        KW_ASSERT(chunk);
        memcpy(chunk->data, data + at, piece);
        chunk->len = piece;
        speaks_resp = kw_link_reply_bytes(&feed_link, chunk, piece);
        kw_chunk_unref(chunk);
        for (unsigned i = 0; i < CLIENTS; i++) take_output(worker, sessions[i]);
        if (data[0] & 2) kw_pubsub_leave(sessions[seed % CLIENTS]);
        at += piece;
    }
}

static void session_free(struct kw_worker *worker, struct kw_session *session) {
    kw_pubsub_leave(session);
    while (session->queue_head) {
        struct kw_request *req = session->queue_head;
        session->queue_head = req->queue_next;
        kw_request_free(worker, req);
    }
    take_output(worker, session);
    if (session->rare) kw_outq_clear(&session->rare->pushes, worker->pool);
    kw_free(session->rare);
    kw_free(session);
}

int LLVMFuzzerInitialize(int *argc KW_UNUSED, char ***argv KW_UNUSED) {
    return kw_log_open("/dev/null", KW_LOG_WARNING);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    static struct kw_worker fresh, work;
    struct kw_worker *worker = &work;
    struct kw_session *sessions[CLIENTS];
    work = fresh;
    topics = kw_topics_new();
    worker->pool = kw_pool_new();
    worker->pubsub = kw_pubsub_new(worker);
    worker->now_valid = true;
    worker->nodes = &node;
    node.worker = worker;
    static struct kw_node *table[] = {NULL, &node};
    worker->node_table = table;
    worker->node_table_size = KW_ARRAY_LEN(table);
    node.index = 1;
    for (unsigned i = 0; i < KW_SLOT_COUNT; i++) worker->owner[i] = node.index;
    for (unsigned i = 0; i < CLIENTS; i++) {
        sessions[i] = kw_calloc(1, sizeof(*sessions[i]));
        sessions[i]->worker = worker;
        sessions[i]->resp3 = i % 2;
        subscribe(sessions[i], i);
    }
    feed_bytes(worker, sessions, data, size);
    kw_outq_clear(&feed_link.push, worker->pool);
    worker->home_slot = -1; /* no other link is asked for any more */
    memset(worker->owner, 0, sizeof(worker->owner));
    worker->nodes = NULL;
    if (feed_link.owner) feed_link.owner->lost(&feed_link);
    KW_ASSERT(!feed_link.owner);
    for (unsigned i = 0; i < CLIENTS; i++) session_free(worker, sessions[i]);
    KW_ASSERT(kw_topics_count(topics, KW_TOPIC_CHANNEL) + kw_topics_count(topics, KW_TOPIC_PATTERN) == 0);
    kw_pubsub_free(worker->pubsub);
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_str_deinit(&worker->scratch);
    kw_pool_free(worker->pool);
    kw_topics_free(topics);
    return 0;
}
