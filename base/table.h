/*
 * A chained hash table whose nodes are part of what they hold: no memory of its
 * own but the buckets, which double as it fills. Keys are bytes. One thread.
 */
#ifndef KW_BASE_TABLE_H
#define KW_BASE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Embed it; KW_CONTAINER_OF leads back. */
struct kw_table_node {
    struct kw_table_node *next;
    const void *key; /* borrowed: must live as long as the node is in a table */
    size_t len;
    uint64_t hash;
};

/* Zeroed is empty. */
struct kw_table {
    struct kw_table_node **buckets; /* own */
    size_t bucket_count;            /* a power of two, or 0 */
    size_t count;
};

/* The node with that key, or NULL. */
struct kw_table_node *kw_table_find(const struct kw_table *table, const void *key, size_t len);

/* Adds a node (key and len are set here); there must be none with that key. */
void kw_table_add(struct kw_table *table, struct kw_table_node *node, const void *key, size_t len);

/* Takes out a node that is in the table. */
void kw_table_remove(struct kw_table *table, struct kw_table_node *node);

/*
 * Walks all nodes in no order: begin with NULL, go on with what was returned; NULL is the end. The node returned last
 * may be removed (and freed) only after the next one was asked for.
 */
struct kw_table_node *kw_table_next(const struct kw_table *table, const struct kw_table_node *node);

/* Gives the buckets back; the nodes are their owner's. */
void kw_table_deinit(struct kw_table *table);

#endif
