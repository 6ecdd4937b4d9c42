/* See table.h. The hash is FNV-1a from a seed drawn once a process, so that clients cannot choose colliding names. */
#include "base/table.h"

#include <stdatomic.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/base.h"

enum { BUCKETS_FIRST = 8 };

static uint64_t seed_of_process(void) {
    static _Atomic uint64_t seed;
    uint64_t value = atomic_load_explicit(&seed, memory_order_relaxed);
    if (KW_LIKELY(value)) return value;
    uint64_t fresh = 0;
    if (getrandom(&fresh, sizeof(fresh), 0) != (ssize_t)sizeof(fresh) || fresh == 0) fresh = 0xcbf29ce484222325ULL;
    /* Whoever is first decides for all threads. */
    return atomic_compare_exchange_strong(&seed, &value, fresh) ? fresh : value;
}

static uint64_t hash_of(const void *key, size_t len) {
    const unsigned char *bytes = key;
    uint64_t hash = seed_of_process() ^ len;
    for (size_t i = 0; i < len; i++) hash = (hash ^ bytes[i]) * 0x100000001b3ULL;
    return hash ^ hash >> 29;
}

struct kw_table_node *kw_table_find(const struct kw_table *table, const void *key, size_t len) {
    if (table->count == 0) return NULL;
    uint64_t hash = hash_of(key, len);
    struct kw_table_node *node = table->buckets[hash & (table->bucket_count - 1)];
    while (node && !(node->hash == hash && node->len == len && memcmp(node->key, key, len) == 0)) node = node->next;
    return node;
}

static void grow(struct kw_table *table) {
    size_t count = table->bucket_count ? table->bucket_count * 2 : BUCKETS_FIRST;
    struct kw_table_node **buckets = kw_calloc(count, sizeof(struct kw_table_node *));
    for (size_t i = 0; i < table->bucket_count; i++) {
        struct kw_table_node *next;
        for (struct kw_table_node *node = table->buckets[i]; node; node = next) {
            next = node->next;
            struct kw_table_node **bucket = &buckets[node->hash & (count - 1)];
            node->next = *bucket;
            *bucket = node;
        }
    }
    kw_free(table->buckets);
    table->buckets = buckets;
    table->bucket_count = count;
}

void kw_table_add(struct kw_table *table, struct kw_table_node *node, const void *key, size_t len) {
    if (table->count >= table->bucket_count) grow(table);
    node->key = key;
    node->len = len;
    node->hash = hash_of(key, len);
    struct kw_table_node **bucket = &table->buckets[node->hash & (table->bucket_count - 1)];
    node->next = *bucket;
    *bucket = node;
    table->count++;
}

void kw_table_remove(struct kw_table *table, struct kw_table_node *node) {
    struct kw_table_node **at = &table->buckets[node->hash & (table->bucket_count - 1)];
    while (*at && *at != node) at = &(*at)->next;
    KW_ASSERT(*at);
    *at = node->next;
    node->next = NULL;
    table->count--;
}

struct kw_table_node *kw_table_next(const struct kw_table *table, const struct kw_table_node *node) {
    if (node && node->next) return node->next;
    size_t i = node ? (node->hash & (table->bucket_count - 1)) + 1 : 0;
    for (; i < table->bucket_count; i++) {
        if (table->buckets[i]) return table->buckets[i];
    }
    return NULL;
}

void kw_table_deinit(struct kw_table *table) {
    kw_free(table->buckets);
    *table = (struct kw_table){0};
}
