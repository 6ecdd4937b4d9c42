/*
 * Feeds: one link a node for everything that the worker is subscribed to there.
 * Each command names one topic and is answered by one push or one error, in
 * order, so that a refusal can be told to whom it belongs. A lost feed takes its
 * sources with it; the topics find new ones.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/log.h"
#include "proxy/pubsub/pubsub_internal.h"
#include "proxy/request/dispatch.h"
#include "proxy/server.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { HEAD_MAX = 64 * 1024 };

/* A command whose answer is to come. */
struct op {
    struct op *next;
    uint64_t serial;
    enum kw_topic_kind kind;
    bool subscribe;
    struct kw_farewell *farewell; /* borrowed; told when this is answered */
    bool uncount;                 /* its confirmation ends a subscription that is counted */
    size_t len;
    char name[];
};

struct kw_feed {
    struct kw_feed *next;
    struct kw_pubsub *pubsub;
    struct kw_node *node; /* borrowed: lives as long as the link */
    struct kw_link *link; /* borrowed: tells when it is lost */
    struct op *head, *tail;
    unsigned users; /* sources */
    bool broken;    /* what was to be sent is missing: it is closed on the next tick */
};

static const struct {
    const char *subscribe, *unsubscribe, *message;
} words[KW_TOPIC_KINDS] = {
    [KW_TOPIC_CHANNEL] = {"subscribe", "unsubscribe", "message"},
    [KW_TOPIC_PATTERN] = {"psubscribe", "punsubscribe", "pmessage"},
    [KW_TOPIC_SHARD] = {"ssubscribe", "sunsubscribe", "smessage"},
};

static struct kw_topics *topics_of(const struct kw_feed *feed) {
    return kw_server_topics(feed->pubsub->worker->server);
}

struct kw_node *kw_feed_node(const struct kw_feed *feed) {
    return feed->node;
}

void kw_feed_uncount(struct kw_feed *feed, const struct kw_topic *topic) {
    kw_topics_add_upstream(topics_of(feed), topic->kind, topic->name, topic->node.len, feed->node->addr, -1);
}

void kw_feed_use(struct kw_feed *feed, int change) {
    feed->users += (unsigned)change;
}

uint64_t kw_feed_send(struct kw_feed *feed, const struct kw_topic *topic, bool subscribe) {
    struct op *op = kw_calloc(1, sizeof(*op) + topic->node.len + 1);
    op->serial = ++feed->pubsub->next_serial;
    op->kind = topic->kind;
    op->subscribe = subscribe;
    op->uncount = !subscribe;
    op->farewell = subscribe ? NULL : feed->pubsub->farewell;
    if (op->farewell) op->farewell->pending++;
    op->len = topic->node.len;
    memcpy(op->name, topic->name, op->len);
    if (feed->tail) {
        feed->tail->next = op;
    } else {
        feed->head = op;
    }
    feed->tail = op;
    if (subscribe) {
        kw_topics_add_upstream(topics_of(feed), op->kind, op->name, op->len, feed->node->addr, 1);
    }
    struct kw_str text = {0};
    kw_str_resp_array(&text, 2);
    kw_str_resp_text(&text, subscribe ? words[op->kind].subscribe : words[op->kind].unsubscribe);
    kw_str_resp_bulk(&text, op->name, op->len);
    uint64_t serial = op->serial;
    if (kw_link_send_unanswered(feed->link, text.data, text.len)) feed->broken = true;
    kw_str_deinit(&text);
    return serial;
}

static struct op *pop(struct kw_feed *feed) {
    struct op *op = feed->head;
    feed->head = op->next;
    if (!feed->head) feed->tail = NULL;
    return op;
}

static void op_free(struct op *op) {
    struct kw_farewell *farewell = op->farewell;
    kw_free(op);
    if (farewell) kw_pubsub_farewell_step(farewell);
}

static void uncount_op(struct kw_feed *feed, const struct op *op) {
    kw_topics_add_upstream(topics_of(feed), op->kind, op->name, op->len, feed->node->addr, -1);
}

/* ---- what the node says */

/* The bulk string at *at; advances behind it. */
static bool take_bulk(const char **at, const char *end, struct kw_arg *out) {
    if (*at >= end || **at != '$') return false;
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    if (!lf) return false;
    size_t len = kw_digits(*at + 1, lf), left = (size_t)(end - lf - 1);
    if (left < 2 || len > left - 2) return false; /* a null, $-1, has no digits */
    *out = (struct kw_arg){lf + 1, len};
    *at = lf + 1 + len + 2;
    return true;
}

static bool arg_is(const struct kw_arg *arg, const char *word) {
    return arg->len == strlen(word) && memcmp(arg->data, word, arg->len) == 0;
}

/* Answers the command at the head of the queue? Otherwise the node ended a subscription by itself: the slot has moved.
 */
static void take_answer(struct kw_feed *feed, enum kw_topic_kind kind, bool subscribe, const struct kw_arg *name) {
    struct op *op = feed->head;
    struct kw_topic *topic = kw_topic_find(feed->pubsub, kind, name->data, name->len);
    bool expected = op && op->kind == kind && op->subscribe == subscribe && op->len == name->len &&
                    memcmp(op->name, name->data, name->len) == 0;
    if (!expected) {
        if (subscribe || !topic) return;
        kw_feed_uncount(feed, topic);
        kw_topic_source_lost(topic, feed);
        kw_server_topology_doubt(feed->pubsub->worker->server);
        return;
    }
    pop(feed);
    if (!subscribe && op->uncount) uncount_op(feed, op);
    if (subscribe && topic) kw_topic_confirmed(topic, feed, op->serial);
    op_free(op);
}

static bool is_notification(const struct kw_arg *channel) {
    return channel->len > 11 &&
           (memcmp(channel->data, "__keyspace@", 11) == 0 || memcmp(channel->data, "__keyevent@", 11) == 0);
}

static void take_message(struct kw_feed *feed, enum kw_topic_kind kind, const struct kw_arg *name,
                         const struct kw_arg *channel, const struct kw_outq *frame) {
    struct kw_topic *topic = kw_topic_find(feed->pubsub, kind, name->data, name->len);
    if (!topic) return;
    topic->last_message_us = kw_worker_now_us(feed->pubsub->worker);
    /* Every node hears what is published anywhere; it is handed on once. Notifications are heard at their node only. */
    if (feed != topic->main && !(topic->everywhere && is_notification(channel))) return;
    kw_pubsub_deliver(topic, frame);
}

/* The frame with its first `len` bytes at `head`. False when these do not reach to what must be known. */
static bool take_frame(struct kw_feed *feed, const char *head, size_t len, const struct kw_outq *frame) {
    const char *at = memchr(head, '\n', len), *end = head + len;
    struct kw_arg what, name, channel;
    if (!at) return false;
    at++;
    if (!take_bulk(&at, end, &what) || !take_bulk(&at, end, &name)) return false;
    for (int i = 0; i < KW_TOPIC_KINDS; i++) {
        enum kw_topic_kind kind = (enum kw_topic_kind)i;
        bool subscribe = arg_is(&what, words[kind].subscribe);
        if (arg_is(&what, words[kind].message)) {
            channel = name;
            if (kind == KW_TOPIC_PATTERN && !take_bulk(&at, end, &channel)) return false;
            take_message(feed, kind, &name, &channel, frame);
        } else if (subscribe || arg_is(&what, words[kind].unsubscribe)) {
            take_answer(feed, kind, subscribe, &name);
        }
    }
    return true;
}

/* The head names the topic; the message behind it may be large and is not looked at. */
static void on_pushed(struct kw_link *link, struct kw_outq *frame) {
    struct kw_feed *feed = link->owner_ref;
    if (frame->head->len == frame->bytes || frame->head->len >= HEAD_MAX) {
        if (take_frame(feed, frame->head->chunk->data + frame->head->off, frame->head->len, frame)) return;
    }
    size_t len = frame->bytes < HEAD_MAX ? frame->bytes : HEAD_MAX;
    char *copy = kw_malloc(len);
    kw_outq_peek(frame, copy, len);
    bool known = take_frame(feed, copy, len, frame);
    if (!known && len < frame->bytes) {
        /* A name as long as that: the whole frame then. */
        copy = kw_realloc(copy, frame->bytes);
        kw_outq_peek(frame, copy, frame->bytes);
        take_frame(feed, copy, frame->bytes, frame);
    }
    kw_free(copy);
}

/* "-MOVED 3999 127.0.0.1:6381" to a shard channel: its slot has another owner. */
static void learn_owner(struct kw_feed *feed, const struct op *op, const char *text, size_t len) {
    struct kw_worker *worker = feed->pubsub->worker;
    char line[400];
    if (len >= sizeof(line)) len = sizeof(line) - 1;
    memcpy(line, text, len);
    line[len] = '\0';
    line[strcspn(line, "\r\n")] = '\0';
    char *addr = strncmp(line, "-MOVED ", 7) == 0 ? strchr(line + 7, ' ') : NULL;
    struct kw_node *node = addr ? kw_node_find(worker, addr + 1, strlen(addr + 1)) : NULL;
    struct kw_topic *topic = kw_topic_find(feed->pubsub, op->kind, op->name, op->len);
    if (node && topic && topic->slot >= 0) kw_dispatch_slot_moved(worker, (unsigned)topic->slot, node);
    kw_server_topology_doubt(worker->server);
}

/* A command was refused. One that would have ended the same subscription is still to be answered, and counts no more.
 */
static void on_refused(struct kw_link *link, const char *text, size_t len) {
    struct kw_feed *feed = link->owner_ref;
    if (!feed->head) return;
    struct op *op = pop(feed);
    static struct kw_log_limit limit;
    kw_log_limited(&limit, KW_LOG_NOTICE, "node %s refused a subscription: %.*s", feed->node->addr,
                   len > 200 ? 200 : (int)len, text);
    if (op->subscribe) {
        uncount_op(feed, op);
        learn_owner(feed, op, text, len);
        struct kw_topic *topic = kw_topic_find(feed->pubsub, op->kind, op->name, op->len);
        if (topic) kw_topic_source_lost(topic, feed);
        for (struct op *later = feed->head; later; later = later->next) {
            if (later->subscribe || later->kind != op->kind || later->len != op->len ||
                memcmp(later->name, op->name, op->len) != 0)
                continue;
            later->uncount = false;
            break;
        }
    } else if (op->uncount) {
        uncount_op(feed, op);
    }
    op_free(op);
}

static void on_lost(struct kw_link *link) {
    struct kw_feed *feed = link->owner_ref;
    struct kw_pubsub *pubsub = feed->pubsub;
    for (struct kw_feed **at = &pubsub->feeds; *at; at = &(*at)->next) {
        if (*at != feed) continue;
        *at = feed->next;
        break;
    }
    while (feed->head) {
        struct op *op = pop(feed);
        if (!op->subscribe && op->uncount) uncount_op(feed, op);
        op_free(op);
    }
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) {
        struct kw_table_node *node = kw_table_next(&pubsub->topics[kind], NULL);
        for (; node; node = kw_table_next(&pubsub->topics[kind], node)) {
            struct kw_topic *topic = KW_CONTAINER_OF(node, struct kw_topic, node);
            for (unsigned i = 0; i < topic->source_count; i++) {
                if (topic->sources[i].feed == feed) kw_feed_uncount(feed, topic);
            }
            kw_topic_source_lost(topic, feed);
        }
    }
    pubsub->unsettled = true;
    link->owner = NULL;
    kw_free(feed);
}

void kw_feed_tick(struct kw_pubsub *pubsub) {
    struct kw_feed *next;
    for (struct kw_feed *feed = pubsub->feeds; feed; feed = next) {
        next = feed->next;
        if (feed->broken) {
            kw_link_close(feed->link, "out of memory");
        } else if (feed->users == 0 && !feed->head) {
            kw_link_close(feed->link, "nobody subscribes any more");
        }
    }
}

static const struct kw_link_owner feed_owner = {.pushed = on_pushed, .refused = on_refused, .lost = on_lost};

struct kw_feed *kw_feed_get(struct kw_pubsub *pubsub, struct kw_node *node) {
    for (struct kw_feed *feed = pubsub->feeds; feed; feed = feed->next) {
        if (feed->node == node) return feed;
    }
    struct kw_feed *feed = kw_calloc(1, sizeof(*feed));
    feed->pubsub = pubsub;
    feed->node = node;
    feed->link = kw_link_new_push(node, &feed_owner, feed);
    if (!feed->link) {
        kw_free(feed);
        return NULL;
    }
    feed->next = pubsub->feeds;
    pubsub->feeds = feed;
    return feed;
}
