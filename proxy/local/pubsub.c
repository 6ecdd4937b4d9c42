/*
 * SUBSCRIBE and its like, and PUBSUB, which asks every node what is subscribed
 * there and adds what clients of this proxy are.
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/table.h"
#include "proxy/local/local.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/request/group.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

static void subscribe(struct kw_local_call *call, enum kw_topic_kind kind) {
    kw_stats_command(&call->session->worker->stats, call->cmd, 0, false);
    kw_pubsub_subscribe(call->session, kind, call->argv + 1, call->argc - 1);
}

static void unsubscribe(struct kw_local_call *call, enum kw_topic_kind kind) {
    kw_pubsub_unsubscribe(call->session, kind, call->argv + 1, call->argc - 1, call->out);
}

void kw_local_subscribe(struct kw_local_call *call) {
    subscribe(call, KW_TOPIC_CHANNEL);
}

void kw_local_psubscribe(struct kw_local_call *call) {
    subscribe(call, KW_TOPIC_PATTERN);
}

void kw_local_ssubscribe(struct kw_local_call *call) {
    subscribe(call, KW_TOPIC_SHARD);
}

void kw_local_unsubscribe(struct kw_local_call *call) {
    unsubscribe(call, KW_TOPIC_CHANNEL);
}

void kw_local_punsubscribe(struct kw_local_call *call) {
    unsubscribe(call, KW_TOPIC_PATTERN);
}

void kw_local_sunsubscribe(struct kw_local_call *call) {
    unsubscribe(call, KW_TOPIC_SHARD);
}

/* ---- PUBSUB */

/* What was asked, kept until the nodes have answered. */
struct asked {
    enum kw_topic_kind kind;
    struct kw_arg *names; /* own, with their bytes */
    size_t count;
};

static void asked_free(void *context) {
    struct asked *asked = context;
    for (size_t i = 0; i < asked->count; i++) kw_free((void *)asked->names[i].data);
    kw_free(asked->names);
    kw_free(asked);
}

/* A part's reply as contiguous text. Own. */
static char *flat_reply(const struct kw_request *part, size_t *len) {
    char *text = kw_malloc(part->reply.bytes + 1);
    *len = kw_outq_peek(&part->reply, text, part->reply.bytes);
    text[*len] = '\0';
    return text;
}

/* The header line at *at ("*3", "$5", ":1"): its number; -1 when it is none. */
static long long take_number(const char **at, const char *end) {
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    if (!lf) return -1;
    long long value = strtoll(*at + 1, NULL, 10);
    *at = lf + 1;
    return value;
}

struct name {
    struct kw_table_node node;
    char bytes[];
};

/* Adds every name of one node's list that is not there yet, unless only a subscription of ours is left of it. */
static void add_names(struct kw_table *names, struct kw_topics *topics, enum kw_topic_kind kind, const char *text,
                      size_t len) {
    const char *at = text, *end = text + len;
    long long count = take_number(&at, end);
    for (long long i = 0; i < count; i++) {
        long long size = take_number(&at, end);
        if (size < 0 || end - at < size + 2) return;
        if (!kw_table_find(names, at, (size_t)size) && kw_topics_may_show(topics, kind, at, (size_t)size)) {
            struct name *name = kw_calloc(1, sizeof(*name) + (size_t)size + 1);
            memcpy(name->bytes, at, (size_t)size);
            kw_table_add(names, &name->node, name->bytes, (size_t)size);
        }
        at += size + 2;
    }
}

static bool merge_channels(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    const struct asked *asked = group->context;
    struct kw_table names = {0};
    for (uint32_t i = 0; i < group->part_count; i++) {
        size_t len;
        char *text = flat_reply(group->parts[i], &len);
        add_names(&names, kw_server_topics(worker->server), asked->kind, text, len);
        kw_free(text);
    }
    struct kw_str out = {0};
    kw_str_resp_array(&out, names.count);
    struct kw_table_node *node = kw_table_next(&names, NULL);
    while (node) {
        struct kw_table_node *next = kw_table_next(&names, node);
        kw_str_resp_bulk(&out, node->key, node->len);
        kw_free(KW_CONTAINER_OF(node, struct name, node));
        node = next;
    }
    kw_table_deinit(&names);
    kw_request_reply_text(worker, parent, out.data, out.len);
    kw_str_deinit(&out);
    return true;
}

/* "name count name count ...": the counts of all nodes together. */
static bool merge_numsub(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    const struct asked *asked = group->context;
    long long *counts = kw_calloc(asked->count + 1, sizeof(*counts));
    for (uint32_t i = 0; i < group->part_count; i++) {
        size_t len;
        char *text = flat_reply(group->parts[i], &len);
        const char *at = text, *end = text + len;
        long long elements = take_number(&at, end);
        for (size_t k = 0; k < asked->count && (long long)k * 2 + 1 < elements; k++) {
            long long size = take_number(&at, end);
            if (size < 0 || end - at < size + 2) break;
            at += size + 2;
            counts[k] += take_number(&at, end);
        }
        kw_free(text);
    }
    struct kw_str out = {0};
    kw_str_resp_array(&out, asked->count * 2);
    for (size_t k = 0; k < asked->count; k++) {
        const struct kw_arg *name = &asked->names[k];
        kw_str_resp_bulk(&out, name->data, name->len);
        kw_str_resp_int(&out, kw_topics_subscribers(kw_server_topics(worker->server), asked->kind, name->data,
                                                    name->len, counts[k]));
    }
    kw_request_reply_text(worker, parent, out.data, out.len);
    kw_str_deinit(&out);
    kw_free(counts);
    return true;
}

static void ask_nodes(struct kw_local_call *call, enum kw_topic_kind kind,
                      bool (*merge)(struct kw_worker *worker, struct kw_request *parent)) {
    struct asked *asked = kw_calloc(1, sizeof(*asked));
    asked->kind = kind;
    asked->count = call->argc - 2;
    asked->names = kw_calloc(asked->count + 1, sizeof(*asked->names));
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, call->argc);
    for (size_t i = 0; i < call->argc; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    for (size_t i = 0; i < asked->count; i++) {
        const struct kw_arg *name = &call->argv[i + 2];
        asked->names[i] = (struct kw_arg){kw_strndup(name->data, name->len), name->len};
    }
    struct kw_broadcast_options options = {.merge = merge, .context = asked, .free_context = asked_free};
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}

void kw_local_pubsub_channels(struct kw_local_call *call) {
    ask_nodes(call, KW_TOPIC_CHANNEL, merge_channels);
}

void kw_local_pubsub_shardchannels(struct kw_local_call *call) {
    ask_nodes(call, KW_TOPIC_SHARD, merge_channels);
}

void kw_local_pubsub_numsub(struct kw_local_call *call) {
    ask_nodes(call, KW_TOPIC_CHANNEL, merge_numsub);
}

void kw_local_pubsub_shardnumsub(struct kw_local_call *call) {
    ask_nodes(call, KW_TOPIC_SHARD, merge_numsub);
}

/* Distinct patterns; those of other proxies cannot be told from ours. */
void kw_local_pubsub_numpat(struct kw_local_call *call) {
    size_t count = kw_topics_count(kw_server_topics(call->session->worker->server), KW_TOPIC_PATTERN);
    kw_str_resp_int(call->out, (long long)count);
}
