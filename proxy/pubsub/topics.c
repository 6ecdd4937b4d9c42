/* A table a kind, entries of names with their counts; an entry goes when nobody subscribes and no node has us on its
 * list. */
#include "proxy/pubsub/topics.h"

#include <stdatomic.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/glob.h"
#include "base/table.h"

/* Subscriptions of this process at one node. */
struct at_node {
    char *addr; /* own */
    long count;
};

struct entry {
    struct kw_table_node node;
    long clients;          /* of this process */
    struct at_node *nodes; /* own; few */
    unsigned node_count;
    char name[];
};

/* Changes that are remembered, at least as many as may come while a PUBLISH is on its way. */
enum { JOURNAL = 1024 };

/* Clients that came (the counts of now hold them), or subscriptions at a node that ended (they hold them no more). */
struct change {
    enum kw_topic_kind kind;
    int count;
    char *node; /* own; NULL: clients */
    char *name; /* own */
    size_t len;
};

struct kw_topics {
    uv_mutex_t lock;
    _Atomic uint32_t moment;
    struct change journal[JOURNAL];         /* the change that made the moment m at m % JOURNAL */
    struct kw_table tables[KW_TOPIC_KINDS]; /* own the entries */
    size_t used[KW_TOPIC_KINDS];            /* entries with clients */
};

struct kw_topics *kw_topics_new(void) {
    struct kw_topics *topics = kw_calloc(1, sizeof(*topics));
    uv_mutex_init(&topics->lock);
    return topics;
}

static void entry_free(struct entry *entry) {
    for (unsigned i = 0; i < entry->node_count; i++) kw_free(entry->nodes[i].addr);
    kw_free(entry->nodes);
    kw_free(entry);
}

static struct entry *entry_of(struct kw_table_node *node) {
    return node ? KW_CONTAINER_OF(node, struct entry, node) : NULL;
}

static void change_deinit(struct change *change) {
    kw_free(change->node);
    kw_free(change->name);
}

/* `node` NULL: clients. */
static void remember(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len, const char *node,
                     int count) {
    uint32_t moment = topics->moment + 1;
    struct change *change = &topics->journal[moment % JOURNAL];
    change_deinit(change);
    *change = (struct change){kind, count, node ? kw_strdup(node) : NULL, kw_strndup(name, len), len};
    topics->moment = moment;
}

uint32_t kw_topics_moment(struct kw_topics *topics) {
    return topics->moment;
}

void kw_topics_free(struct kw_topics *topics) {
    if (!topics) return;
    for (int kind = 0; kind < KW_TOPIC_KINDS; kind++) {
        struct kw_table_node *node = kw_table_next(&topics->tables[kind], NULL);
        while (node) {
            struct kw_table_node *next = kw_table_next(&topics->tables[kind], node);
            entry_free(entry_of(node));
            node = next;
        }
        kw_table_deinit(&topics->tables[kind]);
    }
    for (size_t i = 0; i < JOURNAL; i++) change_deinit(&topics->journal[i]);
    uv_mutex_destroy(&topics->lock);
    kw_free(topics);
}

static struct entry *get(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len) {
    struct entry *entry = entry_of(kw_table_find(&topics->tables[kind], name, len));
    if (entry) return entry;
    entry = kw_calloc(1, sizeof(*entry) + len + 1);
    memcpy(entry->name, name, len);
    kw_table_add(&topics->tables[kind], &entry->node, entry->name, len);
    return entry;
}

static void drop_if_unused(struct kw_topics *topics, enum kw_topic_kind kind, struct entry *entry) {
    if (entry->clients || entry->node_count) return;
    kw_table_remove(&topics->tables[kind], &entry->node);
    entry_free(entry);
}

void kw_topics_add_clients(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                           int change) {
    uv_mutex_lock(&topics->lock);
    struct entry *entry = get(topics, kind, name, len);
    bool was_used = entry->clients > 0;
    entry->clients += change;
    if (!was_used && entry->clients > 0) topics->used[kind]++;
    if (was_used && entry->clients == 0) topics->used[kind]--;
    if (change > 0) remember(topics, kind, name, len, NULL, change);
    drop_if_unused(topics, kind, entry);
    uv_mutex_unlock(&topics->lock);
}

static void count_at(struct entry *entry, const char *addr, int change) {
    unsigned i = 0;
    while (i < entry->node_count && strcmp(entry->nodes[i].addr, addr) != 0) i++;
    if (i == entry->node_count) {
        entry->nodes = kw_realloc(entry->nodes, (i + 1) * sizeof(*entry->nodes));
        entry->nodes[entry->node_count++] = (struct at_node){kw_strdup(addr), 0};
    }
    entry->nodes[i].count += change;
    if (entry->nodes[i].count > 0) return;
    kw_free(entry->nodes[i].addr);
    entry->nodes[i] = entry->nodes[--entry->node_count];
}

void kw_topics_add_upstream(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                            const char *node, int change) {
    uv_mutex_lock(&topics->lock);
    struct entry *entry = get(topics, kind, name, len);
    count_at(entry, node, change);
    if (change < 0) remember(topics, kind, name, len, node, -change);
    drop_if_unused(topics, kind, entry);
    uv_mutex_unlock(&topics->lock);
}

/* Subscriptions of ours: at one node, or (NULL) at all. */
static long long ours_at(const struct entry *entry, const char *addr) {
    long long count = 0;
    for (unsigned i = 0; i < entry->node_count; i++) {
        if (!addr || strcmp(entry->nodes[i].addr, addr) == 0) count += entry->nodes[i].count;
    }
    return count;
}

static long long with_others(long long clients, long long at_node, long long ours) {
    return (clients > 0 ? clients : 0) + (at_node > ours ? at_node - ours : 0);
}

static bool reaches(const struct change *change, enum kw_topic_kind kind, const char *name, size_t len) {
    if (change->kind == KW_TOPIC_PATTERN && kind == KW_TOPIC_CHANNEL) {
        return kw_glob_match(change->name, change->len, name, len, false);
    }
    return change->kind == kind && change->len == len && memcmp(change->name, name, len) == 0;
}

/* Takes clients that came after `since` off, and adds the subscriptions at the node that ended. */
static void take_back(const struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                      const char *addr, uint32_t since, long long *clients, long long *ours) {
    uint32_t count = topics->moment - since;
    if (count > JOURNAL) count = JOURNAL;
    for (uint32_t i = 0; i < count; i++) {
        const struct change *change = &topics->journal[(topics->moment - i) % JOURNAL];
        if (!change->name || !reaches(change, kind, name, len)) continue;
        if (!change->node) {
            *clients -= change->count;
        } else if (strcmp(change->node, addr) == 0) {
            *ours += change->count;
        }
    }
}

long long kw_topics_receivers(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                              const char *addr, long long at_node, uint32_t since) {
    long long clients = 0, ours = 0;
    uv_mutex_lock(&topics->lock);
    struct entry *entry = entry_of(kw_table_find(&topics->tables[kind], name, len));
    if (entry) {
        clients += entry->clients;
        ours += ours_at(entry, addr);
    }
    struct kw_table *patterns = &topics->tables[KW_TOPIC_PATTERN];
    struct kw_table_node *node = kind == KW_TOPIC_CHANNEL ? kw_table_next(patterns, NULL) : NULL;
    for (; node; node = kw_table_next(patterns, node)) {
        if (!kw_glob_match(node->key, node->len, name, len, false)) continue;
        clients += entry_of(node)->clients;
        ours += ours_at(entry_of(node), addr);
    }
    take_back(topics, kind, name, len, addr, since, &clients, &ours);
    uv_mutex_unlock(&topics->lock);
    return with_others(clients, at_node, ours);
}

long long kw_topics_subscribers(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                                long long at_nodes) {
    uv_mutex_lock(&topics->lock);
    struct entry *entry = entry_of(kw_table_find(&topics->tables[kind], name, len));
    long long count = with_others(entry ? entry->clients : 0, at_nodes, entry ? ours_at(entry, NULL) : 0);
    uv_mutex_unlock(&topics->lock);
    return count;
}

bool kw_topics_may_show(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len) {
    uv_mutex_lock(&topics->lock);
    struct entry *entry = entry_of(kw_table_find(&topics->tables[kind], name, len));
    bool show = !entry || entry->clients > 0;
    uv_mutex_unlock(&topics->lock);
    return show;
}

size_t kw_topics_count(struct kw_topics *topics, enum kw_topic_kind kind) {
    uv_mutex_lock(&topics->lock);
    size_t count = topics->used[kind];
    uv_mutex_unlock(&topics->lock);
    return count;
}
