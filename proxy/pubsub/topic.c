/*
 * Topics: which nodes each has to be subscribed at. What changes, changes by
 * kw_topic_place: it compares what is wanted with what there is, asks for what
 * lacks, and drops the old source only when its successor has confirmed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/slot.h"
#include "proxy/pubsub/pubsub_internal.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { QUIET_US = 250 * 1000 };

static const char *const notification_prefixes[] = {"__keyspace@", "__keyevent@"};

/* Whether a name, or what a pattern matches, may be a keyspace notification. */
static bool may_notify(enum kw_topic_kind kind, const char *name, size_t len) {
    if (kind == KW_TOPIC_SHARD) return false;
    size_t plain = 0;
    bool pattern = kind == KW_TOPIC_PATTERN;
    while (plain < len && !(pattern && strchr("*?[\\", name[plain]) && name[plain])) plain++;
    for (size_t i = 0; i < KW_ARRAY_LEN(notification_prefixes); i++) {
        size_t prefix = strlen(notification_prefixes[i]);
        bool whole = plain >= prefix;
        if (!whole && plain == len) continue; /* a name that is too short */
        if (memcmp(name, notification_prefixes[i], whole ? prefix : plain) == 0) return true;
    }
    return false;
}

struct kw_topic *kw_topic_find(struct kw_pubsub *pubsub, enum kw_topic_kind kind, const void *name, size_t len) {
    struct kw_table_node *node = kw_table_find(&pubsub->topics[kind], name, len);
    return node ? KW_CONTAINER_OF(node, struct kw_topic, node) : NULL;
}

struct kw_topic *kw_topic_get(struct kw_pubsub *pubsub, enum kw_topic_kind kind, const char *name, size_t len) {
    struct kw_topic *topic = kw_topic_find(pubsub, kind, name, len);
    if (topic) return topic;
    topic = kw_calloc(1, sizeof(*topic) + len + 1);
    memcpy(topic->name, name, len);
    topic->pubsub = pubsub;
    topic->kind = kind;
    topic->slot = kind == KW_TOPIC_SHARD ? (int)kw_slot_of_key(name, len) : -1;
    topic->everywhere = may_notify(kind, name, len);
    kw_table_add(&pubsub->topics[kind], &topic->node, topic->name, len);
    kw_topic_place(topic);
    return topic;
}

static void drop_source(struct kw_topic *topic, unsigned at, bool tell) {
    struct kw_feed *feed = topic->sources[at].feed;
    if (tell) kw_feed_send(feed, topic, false);
    kw_feed_use(feed, -1);
    if (topic->main == feed) topic->main = NULL;
    topic->sources[at] = topic->sources[--topic->source_count];
}

void kw_topic_free(struct kw_topic *topic) {
    while (topic->source_count > 0) drop_source(topic, 0, true);
    kw_table_remove(&topic->pubsub->topics[topic->kind], &topic->node);
    kw_free(topic->sources);
    kw_free(topic);
}

static struct kw_source *source_at(const struct kw_topic *topic, const struct kw_feed *feed) {
    for (unsigned i = 0; i < topic->source_count; i++) {
        if (topic->sources[i].feed == feed) return &topic->sources[i];
    }
    return NULL;
}

/* The node that every message of the topic reaches. */
static struct kw_node *main_node(const struct kw_topic *topic) {
    struct kw_worker *worker = topic->pubsub->worker;
    return topic->slot >= 0 ? kw_worker_owner(worker, (unsigned)topic->slot) : kw_pubsub_home(worker);
}

static void want(struct kw_topic *topic, struct kw_node *node) {
    struct kw_feed *feed = kw_feed_get(topic->pubsub, node);
    if (!feed) {
        topic->pubsub->unsettled = true;
        return;
    }
    struct kw_source *source = source_at(topic, feed);
    if (!source) {
        topic->sources = kw_realloc(topic->sources, (topic->source_count + 1) * sizeof(*topic->sources));
        source = &topic->sources[topic->source_count++];
        *source = (struct kw_source){.feed = feed, .serial = kw_feed_send(feed, topic, true)};
        kw_feed_use(feed, 1);
    }
    source->wanted = true;
}

/*
 * After a planned failover the old node still hears everything, each node at its own pace: changing over in the middle
 * of a stream of messages would bring some twice and others never. A quiet moment is waited for.
 */
static bool may_switch(const struct kw_topic *topic, const struct kw_feed *to) {
    if (!topic->main || topic->main == to) return true;
    const struct kw_node *old = kw_feed_node(topic->main);
    if (!old->in_topology || old->failed) return true;
    return kw_worker_now_us(topic->pubsub->worker) - topic->last_message_us > QUIET_US;
}

void kw_topic_place(struct kw_topic *topic) {
    struct kw_worker *worker = topic->pubsub->worker;
    struct kw_node *main = main_node(topic);
    for (unsigned i = 0; i < topic->source_count; i++) topic->sources[i].wanted = false;
    if (main) {
        want(topic, main);
    } else {
        topic->pubsub->unsettled = true;
    }
    for (struct kw_node *node = worker->nodes; node && topic->everywhere; node = node->next) {
        if (node->serves_slots && node != main && !node->failed) want(topic, node);
    }
    for (unsigned i = 0; i < topic->source_count; i++) {
        struct kw_source *source = &topic->sources[i];
        if (source->active && kw_feed_node(source->feed) == main && may_switch(topic, source->feed)) {
            topic->main = source->feed;
        }
    }
    /* Until the new one is heard, the old one goes on. */
    for (unsigned i = topic->source_count; i-- > 0;) {
        struct kw_source *source = &topic->sources[i];
        if (source->wanted) continue;
        if (source->feed != topic->main) {
            drop_source(topic, i, true);
        } else {
            topic->pubsub->unsettled = true;
        }
    }
}

bool kw_topic_ready(const struct kw_topic *topic) {
    if (!topic->main) return false;
    for (unsigned i = 0; i < topic->source_count; i++) {
        if (!topic->sources[i].active) return false;
    }
    return true;
}

void kw_topic_confirmed(struct kw_topic *topic, const struct kw_feed *feed, uint64_t serial) {
    struct kw_source *source = source_at(topic, feed);
    if (!source || source->serial != serial) return;
    source->active = true;
    kw_topic_place(topic);
    if (kw_topic_ready(topic)) kw_pubsub_ready(topic);
}

void kw_topic_source_lost(struct kw_topic *topic, const struct kw_feed *feed) {
    struct kw_source *source = source_at(topic, feed);
    if (!source) return;
    drop_source(topic, (unsigned)(source - topic->sources), false);
    topic->pubsub->unsettled = true;
}
