/*
 * The clients' side of pub/sub: who subscribes to what, and handing on what
 * comes. A message is copied into each subscriber's output (a large one is
 * referred to); RESP2 and RESP3 differ in its first byte only. A subscriber
 * that does not read is closed at its limit and costs nobody else anything.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/pubsub/pubsub_internal.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

static const char *const subscribe_words[] = {"subscribe", "psubscribe", "ssubscribe"};
static const char *const unsubscribe_words[] = {"unsubscribe", "punsubscribe", "sunsubscribe"};

struct kw_pubsub *kw_pubsub_new(struct kw_worker *worker) {
    struct kw_pubsub *pubsub = kw_calloc(1, sizeof(*pubsub));
    pubsub->worker = worker;
    return pubsub;
}

void kw_pubsub_free(struct kw_pubsub *pubsub) {
    if (!pubsub) return;
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) {
        KW_ASSERT(pubsub->topics[kind].count == 0);
        kw_table_deinit(&pubsub->topics[kind]);
    }
    KW_ASSERT(!pubsub->feeds);
    kw_free(pubsub);
}

struct kw_node *kw_pubsub_home(struct kw_worker *worker) {
    return worker->home_slot >= 0 ? kw_worker_owner(worker, (unsigned)worker->home_slot) : NULL;
}

size_t kw_pubsub_count(const struct kw_session *session, enum kw_topic_kind kind) {
    return session->rare && session->rare->sub ? session->rare->sub->active[kind] : 0;
}

/* What a confirmation counts: shard channels apart from the rest. */
static size_t count_shown(const struct kw_subscriber *sub, enum kw_topic_kind kind) {
    if (kind == KW_TOPIC_SHARD) return sub->active[KW_TOPIC_SHARD];
    return sub->active[KW_TOPIC_CHANNEL] + sub->active[KW_TOPIC_PATTERN];
}

static void confirm(struct kw_str *out, int resp, const char *word, const char *name, size_t len, size_t count) {
    kw_str_resp_push(out, resp, 3);
    kw_str_resp_text(out, word);
    if (name) {
        kw_str_resp_bulk(out, name, len);
    } else {
        kw_str_resp_null(out, resp);
    }
    kw_str_resp_int(out, (long long)count);
}

static void note_state(struct kw_session *session) {
    const struct kw_subscriber *sub = session->rare->sub;
    session->subscribed = false;
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) session->subscribed |= sub && sub->active[kind] > 0;
}

/* ---- memberships */

static struct kw_membership *member_find(const struct kw_subscriber *sub, enum kw_topic_kind kind, const void *name,
                                         size_t len) {
    struct kw_table_node *node = kw_table_find(&sub->tables[kind], name, len);
    return node ? KW_CONTAINER_OF(node, struct kw_membership, node) : NULL;
}

static struct kw_membership *member_get(struct kw_session *session, enum kw_topic_kind kind,
                                        const struct kw_arg *name) {
    struct kw_subscriber *sub = session->rare->sub;
    struct kw_membership *member = member_find(sub, kind, name->data, name->len);
    if (member) return member;
    struct kw_topic *topic = kw_topic_get(session->worker->pubsub, kind, name->data, name->len);
    member = kw_calloc(1, sizeof(*member));
    member->topic = topic;
    member->session = session;
    member->pending = true;
    member->next = topic->members;
    if (topic->members) topic->members->prev = member;
    topic->members = member;
    kw_table_add(&sub->tables[kind], &member->node, topic->name, topic->node.len);
    return member;
}

static void member_activate(struct kw_membership *member) {
    if (!member->pending) return;
    member->pending = false;
    struct kw_topic *topic = member->topic;
    member->session->rare->sub->active[topic->kind]++;
    kw_topics_add_clients(kw_server_topics(member->session->worker->server), topic->kind, topic->name, topic->node.len,
                          1);
}

static void member_free(struct kw_membership *member) {
    struct kw_topic *topic = member->topic;
    struct kw_session *session = member->session;
    struct kw_subscriber *sub = session->rare->sub;
    if (!member->pending) {
        sub->active[topic->kind]--;
        kw_topics_add_clients(kw_server_topics(session->worker->server), topic->kind, topic->name, topic->node.len, -1);
    }
    kw_table_remove(&sub->tables[topic->kind], &member->node);
    if (member->prev) {
        member->prev->next = member->next;
    } else {
        topic->members = member->next;
    }
    if (member->next) member->next->prev = member->prev;
    kw_free(member);
    if (!topic->members) kw_topic_free(topic);
}

/* ---- SUBSCRIBE */

static void wait_free(struct kw_pubsub *pubsub, struct kw_subscribe_wait *wait) {
    if (wait->prev) {
        wait->prev->next = wait->next;
    } else {
        pubsub->waits = wait->next;
    }
    if (wait->next) wait->next->prev = wait->prev;
    wait->session->rare->sub->wait = NULL;
    kw_free(wait->named);
    kw_free(wait);
}

static bool all_ready(const struct kw_subscribe_wait *wait) {
    for (size_t i = 0; i < wait->count; i++) {
        if (wait->named[i]->pending && !kw_topic_ready(wait->named[i]->topic)) return false;
    }
    return true;
}

/* Tells the client; from here on it gets messages. */
static void finish(struct kw_subscribe_wait *wait) {
    struct kw_session *session = wait->session;
    struct kw_worker *worker = session->worker;
    struct kw_request *req = wait->req;
    struct kw_str out = {0};
    for (size_t i = 0; i < wait->count; i++) {
        struct kw_membership *member = wait->named[i];
        member_activate(member);
        confirm(&out, kw_session_resp(session), subscribe_words[wait->kind], member->topic->name,
                member->topic->node.len, count_shown(session->rare->sub, wait->kind));
    }
    note_state(session);
    wait_free(worker->pubsub, wait);
    /* Told even to a client that wants no replies: these are no replies. */
    req->flags &= ~(uint32_t)KW_REQF_SILENT;
    kw_request_reply_text(worker, req, out.data, out.len);
    kw_str_deinit(&out);
    kw_request_complete(worker, req);
}

static void give_up(struct kw_subscribe_wait *wait) {
    struct kw_session *session = wait->session;
    struct kw_worker *worker = session->worker;
    struct kw_request *req = wait->req;
    for (size_t i = 0; i < wait->count; i++) {
        struct kw_membership *member = wait->named[i];
        /* One that is named twice is freed once. */
        for (size_t k = i + 1; member && k < wait->count; k++) {
            if (wait->named[k] == member) wait->named[k] = NULL;
        }
        if (member && member->pending) member_free(member);
    }
    wait_free(worker->pubsub, wait);
    kw_request_reply_error(worker, req, "CLUSTERDOWN No node could be subscribed at within request-timeout");
    kw_request_complete(worker, req);
}

static void check_waits(struct kw_pubsub *pubsub, uint64_t now_us) {
    struct kw_subscribe_wait *next;
    for (struct kw_subscribe_wait *wait = pubsub->waits; wait; wait = next) {
        next = wait->next;
        if (all_ready(wait)) {
            finish(wait);
        } else if (now_us >= wait->deadline_us) {
            give_up(wait);
        }
    }
}

void kw_pubsub_ready(struct kw_topic *topic) {
    struct kw_membership *next;
    for (struct kw_membership *member = topic->members; member; member = next) {
        next = member->next;
        struct kw_subscribe_wait *wait = member->pending ? member->session->rare->sub->wait : NULL;
        if (wait && all_ready(wait)) finish(wait);
    }
}

void kw_pubsub_subscribe(struct kw_session *session, enum kw_topic_kind kind, const struct kw_arg *names,
                         size_t count) {
    struct kw_worker *worker = session->worker;
    struct kw_pubsub *pubsub = worker->pubsub;
    struct kw_session_rare *rare = kw_session_rare(session);
    if (!rare->sub) rare->sub = kw_calloc(1, sizeof(*rare->sub));
    struct kw_subscribe_wait *wait = kw_calloc(1, sizeof(*wait));
    wait->session = session;
    wait->kind = kind;
    wait->named = kw_calloc(count, sizeof(struct kw_membership *));
    wait->count = count;
    wait->deadline_us = kw_worker_now_us(worker) + kw_server_limits(worker->server)->request_timeout_us;
    wait->next = pubsub->waits;
    if (pubsub->waits) pubsub->waits->prev = wait;
    pubsub->waits = wait;
    rare->sub->wait = wait;
    wait->req = kw_request_new(worker);
    wait->req->flags |= KW_REQF_LOCAL | KW_REQF_EXCLUSIVE;
    kw_request_enqueue(session, wait->req);
    session->hold = true;
    for (size_t i = 0; i < count; i++) wait->named[i] = member_get(session, kind, &names[i]);
    if (all_ready(wait)) finish(wait);
}

/* ---- UNSUBSCRIBE */

static void leave_one(struct kw_session *session, enum kw_topic_kind kind, const char *name, size_t len,
                      struct kw_str *out) {
    struct kw_subscriber *sub = session->rare->sub;
    struct kw_membership *member = member_find(sub, kind, name, len);
    struct kw_str copy = {0};
    kw_str_append(&copy, name, len); /* the name may go with the topic */
    if (member) member_free(member);
    confirm(out, kw_session_resp(session), unsubscribe_words[kind], copy.data, copy.len, count_shown(sub, kind));
    kw_str_deinit(&copy);
}

/* From here on it is noted which nodes have to be told. */
static void farewell_begin(struct kw_session *session) {
    struct kw_farewell *farewell = kw_calloc(1, sizeof(*farewell));
    farewell->session = session;
    farewell->pending = 1; /* this call */
    session->worker->pubsub->farewell = farewell;
}

static void farewell_done(struct kw_farewell *farewell) {
    struct kw_session *session = farewell->session;
    struct kw_request *req = farewell->req;
    if (session && session->rare && session->rare->sub) session->rare->sub->farewell = NULL;
    kw_free(farewell);
    if (!session || !req) return;
    /* Its text is there already. */
    kw_request_complete(session->worker, req);
}

void kw_pubsub_farewell_step(struct kw_farewell *farewell) {
    if (--farewell->pending == 0) farewell_done(farewell);
}

/* Everybody is told or on the way of it: the reply leaves now, or when the last node has answered. */
static void farewell_end(struct kw_session *session, struct kw_str *out) {
    struct kw_worker *worker = session->worker;
    struct kw_farewell *farewell = worker->pubsub->farewell;
    worker->pubsub->farewell = NULL;
    if (farewell->pending > 1) {
        struct kw_request *req = kw_request_new(worker);
        req->flags |= KW_REQF_LOCAL | KW_REQF_EXCLUSIVE;
        kw_request_enqueue(session, req);
        req->flags &= ~(uint32_t)KW_REQF_SILENT;
        session->hold = true;
        kw_request_reply_text(worker, req, out->data, out->len);
        kw_str_clear(out);
        farewell->req = req;
        struct kw_session_rare *rare = kw_session_rare(session);
        if (!rare->sub) rare->sub = kw_calloc(1, sizeof(*rare->sub));
        rare->sub->farewell = farewell;
    }
    kw_pubsub_farewell_step(farewell);
}

void kw_pubsub_reset(struct kw_session *session, struct kw_str *out) {
    farewell_begin(session);
    kw_pubsub_leave(session);
    farewell_end(session, out);
}

void kw_pubsub_unsubscribe(struct kw_session *session, enum kw_topic_kind kind, const struct kw_arg *names,
                           size_t count, struct kw_str *out) {
    struct kw_session_rare *rare = kw_session_rare(session);
    if (!rare->sub) rare->sub = kw_calloc(1, sizeof(*rare->sub));
    struct kw_subscriber *sub = rare->sub;
    farewell_begin(session);
    for (size_t i = 0; i < count; i++) leave_one(session, kind, names[i].data, names[i].len, out);
    if (count == 0 && sub->tables[kind].count == 0) {
        confirm(out, kw_session_resp(session), unsubscribe_words[kind], NULL, 0, count_shown(sub, kind));
    }
    struct kw_table_node *node;
    while (count == 0 && (node = kw_table_next(&sub->tables[kind], NULL))) {
        leave_one(session, kind, node->key, node->len, out);
    }
    note_state(session);
    farewell_end(session, out);
}

void kw_pubsub_leave(struct kw_session *session) {
    struct kw_subscriber *sub = session->rare ? session->rare->sub : NULL;
    if (!sub) return;
    if (sub->wait) wait_free(session->worker->pubsub, sub->wait);
    if (sub->farewell) {
        sub->farewell->session = NULL;
        sub->farewell->req = NULL;
    }
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) {
        struct kw_table_node *node;
        while ((node = kw_table_next(&sub->tables[kind], NULL))) {
            member_free(KW_CONTAINER_OF(node, struct kw_membership, node));
        }
        kw_table_deinit(&sub->tables[kind]);
    }
    kw_free(sub);
    session->rare->sub = NULL;
    session->subscribed = false;
}

/* ---- messages */

static int append_frame(struct kw_outq *to, struct kw_pool *pool, const struct kw_outq *frame, char first) {
    int err = 0;
    if (frame->bytes < KW_REF_MIN && frame->head->len == frame->bytes) {
        char *copy = kw_outq_copy_try(to, pool, frame->head->chunk->data + frame->head->off, frame->bytes, 4096);
        if (!copy) return -1;
        *copy = first;
        return 0;
    }
    if (!kw_outq_copy_try(to, pool, &first, 1, 64)) return -1;
    size_t skip = 1;
    for (const struct kw_seg *seg = frame->head; seg && !err; seg = seg->next) {
        if (seg->len > skip) err = kw_outq_add_try(to, pool, seg->chunk, seg->off + skip, seg->len - skip);
        skip = 0;
    }
    return err;
}

void kw_pubsub_deliver(struct kw_topic *topic, const struct kw_outq *frame) {
    struct kw_pool *pool = topic->pubsub->worker->pool;
    struct kw_membership *next;
    for (struct kw_membership *member = topic->members; member; member = next) {
        next = member->next;
        struct kw_session *session = member->session;
        if (member->pending || session->closing) continue;
        struct kw_outq *to = kw_session_push_queue(session);
        /* Without memory for it, or a reader, the client cannot be served: it is closed, which stops what follows. */
        if (append_frame(to, pool, frame, session->resp3 ? '>' : '*') || kw_session_over_limit(session)) {
            kw_session_close(session);
            /* That may have ended the topic: no member but the closed one was there. */
            if (!next) return;
        }
    }
}

/* ---- the cluster changes */

static void place_all(struct kw_pubsub *pubsub) {
    pubsub->unsettled = false;
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) {
        struct kw_table_node *node = kw_table_next(&pubsub->topics[kind], NULL);
        for (; node; node = kw_table_next(&pubsub->topics[kind], node)) {
            kw_topic_place(KW_CONTAINER_OF(node, struct kw_topic, node));
        }
    }
}

void kw_pubsub_topology(struct kw_pubsub *pubsub) {
    place_all(pubsub);
    check_waits(pubsub, kw_worker_now_us(pubsub->worker));
}

void kw_pubsub_tick(struct kw_pubsub *pubsub) {
    if (pubsub->unsettled) place_all(pubsub); /* first: a feed that was refused may be of use again */
    if (pubsub->feeds) kw_feed_tick(pubsub);
    if (pubsub->waits) check_waits(pubsub, kw_worker_now_us(pubsub->worker));
}
