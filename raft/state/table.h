/*
 * A table of the replicated state: keys and values in hashed pages of plain
 * bytes that are at once the form in memory and the form in a snapshot. Taking
 * an image costs a reference a page, whatever the table holds; what is changed
 * afterwards copies only its own page. So a snapshot of a million records stalls
 * nobody (snapshot.h).
 *
 * Pure and deterministic: the pages follow from the sequence of operations
 * alone, on every machine. One thread, except that an image may be read and
 * given back on another one.
 */
#ifndef KW_RAFT_STATE_TABLE_H
#define KW_RAFT_STATE_TABLE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kw_ptable;

/* A record, borrowed until the next change of the table. */
struct kw_ptable_item {
    const void *key;
    size_t key_len;
    const void *value;
    size_t value_len;
    uint64_t version; /* as it was put */
};

struct kw_ptable *kw_ptable_new(void);
void kw_ptable_free(struct kw_ptable *table); /* NULL is allowed; images of it live on */

size_t kw_ptable_count(const struct kw_ptable *table);
/* Bytes of heap, images' own copies not counted. */
size_t kw_ptable_bytes(const struct kw_ptable *table);
/* The highest version that was ever put; 0: none. */
uint64_t kw_ptable_newest(const struct kw_ptable *table);

bool kw_ptable_get(const struct kw_ptable *table, const void *key, size_t key_len, struct kw_ptable_item *out);
/*
 * Writes anew or over. Any length up to 16 MiB of value, 64 KiB of key; neither may lie in this table. True when the
 * key was there before.
 */
bool kw_ptable_put(struct kw_ptable *table, const void *key, size_t key_len, const void *value, size_t value_len,
                   uint64_t version);
/* True when the key was there. */
bool kw_ptable_delete(struct kw_ptable *table, const void *key, size_t key_len);

/*
 * Walks through all records, in an order that is the same wherever the same operations were done. `*cursor` starts at
 * 0; false at the end. The table must not change in between.
 */
bool kw_ptable_next(const struct kw_ptable *table, uint64_t *cursor, struct kw_ptable_item *out);

/* A picture of the table as it is now; it never changes. Costs a reference for every few pages. */
struct kw_ptable_image;
struct kw_ptable_image *kw_ptable_freeze(struct kw_ptable *table);
/* Its pieces, to be written one behind the other: each carries its checksum, and is borrowed until
 * kw_ptable_image_free. `pieces` has room for kw_ptable_image_count of them. */
struct kw_piece {
    const void *base;
    size_t len;
};
size_t kw_ptable_image_count(const struct kw_ptable_image *image);
void kw_ptable_image_pieces(const struct kw_ptable_image *image, struct kw_piece *pieces);
void kw_ptable_image_free(struct kw_ptable_image *image); /* any thread */

/*
 * The table that an image's bytes describe. Untrusted: 0 and a table in `*out`, with `*used` bytes read; with the
 * reason in `why` KW_EPROTOCOL for bytes that are cut, changed (checksum) or not canonical, KW_EUNKNOWN for a newer
 * format, KW_ENOMEM.
 */
int kw_ptable_load(struct kw_ptable **out, const void *bytes, size_t len, size_t *used, char *why, size_t why_size);

#endif
