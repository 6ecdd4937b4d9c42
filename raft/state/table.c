/*
 * Linear hashing: bucket after bucket is split in two as the table grows, and
 * joined again as it shrinks, so that no operation ever touches more than a
 * few pages. How many buckets there are follows from the bytes in them. Items
 * lie packed, in the order in which they came. A record too large for that has
 * a page of its own, to which a small item refers by number; where one goes,
 * the last one takes its number.
 *
 * Nothing fails. The page that an operation changed is sealed before it
 * returns, so that an image can be taken at any time.
 */
#include "raft/state/table.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/table_internal.h"

enum {
    FULL = 1280,          /* bytes a bucket, on average, above which one is split */
    SPARSE = 480,         /* below which two are joined */
    STEPS_MAX = 2,        /* splits or joins for one change */
    CURSOR_NTH = 32,      /* bits of a cursor that count the items of a bucket */
    HASH_SEED = 0x6b6579, /* "key" */
};

/* Where a key is, or would be. */
struct spot {
    bool found;
    size_t bucket, at; /* offset on its page */
    uint64_t hash;
    struct kw_item item;          /* when found */
    struct kw_ptable_item record; /* when found */
};

/* ---- items ---- */

bool kw_item_read(struct kw_item *item, const unsigned char *at, size_t len) {
    if (len < KW_ITEM_HEADER) return false;
    size_t key_len = kw_get16(at), value_len = kw_get16(at + 2);
    uint64_t number = kw_get64(at + 4);
    item->large = value_len == KW_ITEM_LARGE;
    if (item->large) {
        item->size = KW_ITEM_LARGE_SIZE;
        if (key_len != 0 || len < item->size) return false;
        item->hash = number;
        item->number = kw_get32(at + KW_ITEM_HEADER);
        return true;
    }
    item->size = KW_ITEM_HEADER + key_len + value_len;
    item->plain =
        (struct kw_ptable_item){at + KW_ITEM_HEADER, key_len, at + KW_ITEM_HEADER + key_len, value_len, number};
    return item->size <= len && item->size <= KW_ITEM_SMALL_MAX;
}

bool kw_item_read_large(struct kw_ptable_item *item, const unsigned char *at, size_t len) {
    if (len < KW_LARGE_HEADER) return false;
    size_t key_len = kw_get32(at + 8), value_len = kw_get32(at + 12);
    *item =
        (struct kw_ptable_item){at + KW_LARGE_HEADER, key_len, at + KW_LARGE_HEADER + key_len, value_len, kw_get64(at)};
    return key_len <= KW_KEY_MAX && value_len <= KW_VALUE_MAX && len == KW_LARGE_HEADER + key_len + value_len;
}

static void copy(unsigned char *to, const void *from, size_t len) {
    if (len > 0) memcpy(to, from, len);
}

static void write_small(unsigned char *at, const struct kw_ptable_item *item) {
    kw_put16(at, (uint16_t)item->key_len);
    kw_put16(at + 2, (uint16_t)item->value_len);
    kw_put64(at + 4, item->version);
    copy(at + KW_ITEM_HEADER, item->key, item->key_len);
    copy(at + KW_ITEM_HEADER + item->key_len, item->value, item->value_len);
}

static void write_large(unsigned char *at, const struct kw_ptable_item *item) {
    kw_put64(at, item->version);
    kw_put32(at + 8, (uint32_t)item->key_len);
    kw_put32(at + 12, (uint32_t)item->value_len);
    copy(at + KW_LARGE_HEADER, item->key, item->key_len);
    copy(at + KW_LARGE_HEADER + item->key_len, item->value, item->value_len);
}

static void write_reference(unsigned char *at, uint64_t hash, uint32_t number) {
    kw_put16(at, 0);
    kw_put16(at + 2, KW_ITEM_LARGE);
    kw_put64(at + 4, hash);
    kw_put32(at + KW_ITEM_HEADER, number);
}

/* ---- buckets ---- */

uint64_t kw_ptable_hash(const void *key, size_t len) {
    return kw_hash64(key, len, HASH_SEED);
}

size_t kw_ptable_bucket(const struct kw_ptable *table, uint64_t hash) {
    uint64_t bucket = hash & table->mask;
    return (size_t)(bucket < table->buckets.count ? bucket : hash & (table->mask >> 1));
}

uint64_t kw_ptable_mask(size_t buckets) {
    uint64_t mask = 0;
    while (mask + 1 < buckets) mask = mask * 2 + 1;
    return mask;
}

/* An item of a page of ours, as a record. */
static struct kw_ptable_item item_record(const struct kw_ptable *table, const struct kw_item *item) {
    if (!item->large) return item->plain;
    struct kw_ptable_item record;
    size_t len;
    const unsigned char *page = kw_pages_read(&table->large, item->number, &len);
    bool ok = kw_item_read_large(&record, page, len);
    KW_ASSERT(ok);
    return record;
}

static uint64_t item_hash(const struct kw_item *item) {
    return item->large ? item->hash : kw_ptable_hash(item->plain.key, item->plain.key_len);
}

static bool item_is(const struct kw_ptable *table, const struct kw_item *item, const struct spot *spot, const void *key,
                    size_t key_len, struct kw_ptable_item *record) {
    if (item->large ? item->hash != spot->hash : item->plain.key_len != key_len) return false;
    *record = item_record(table, item);
    return record->key_len == key_len && (key_len == 0 || memcmp(record->key, key, key_len) == 0);
}

static void find(const struct kw_ptable *table, const void *key, size_t key_len, struct spot *spot) {
    spot->found = false;
    spot->hash = kw_ptable_hash(key, key_len);
    spot->bucket = kw_ptable_bucket(table, spot->hash);
    size_t len;
    const unsigned char *page = kw_pages_read(&table->buckets, spot->bucket, &len);
    for (spot->at = 0; spot->at < len; spot->at += spot->item.size) {
        bool ok = kw_item_read(&spot->item, page + spot->at, len - spot->at);
        KW_ASSERT(ok);
        spot->found = item_is(table, &spot->item, spot, key, key_len, &spot->record);
        if (spot->found) return;
    }
}

/* Splits the next bucket in turn. Items keep their order. */
static void split(struct kw_ptable *table) {
    size_t fresh = table->buckets.count, len;
    table->mask = kw_ptable_mask(fresh + 1);
    size_t from = fresh & (size_t)(table->mask >> 1);
    const unsigned char *page = kw_pages_read(&table->buckets, from, &len);
    unsigned char *stay = kw_malloc(len), *go = kw_malloc(len);
    size_t stay_len = 0, go_len = 0;
    struct kw_item item;
    for (size_t at = 0; at < len && kw_item_read(&item, page + at, len - at); at += item.size) {
        bool goes = (item_hash(&item) & table->mask) == fresh;
        memcpy(goes ? go + go_len : stay + stay_len, page + at, item.size);
        *(goes ? &go_len : &stay_len) += item.size;
    }
    KW_ASSERT(stay_len + go_len == len);
    copy(kw_pages_push(&table->buckets, go_len), go, go_len);
    kw_pages_seal(&table->buckets, fresh);
    copy(kw_pages_edit(&table->buckets, from, 0, len, stay_len), stay, stay_len);
    kw_pages_seal(&table->buckets, from);
    kw_free(stay);
    kw_free(go);
}

/* Joins the last bucket with the one that it was split from. */
static void join(struct kw_ptable *table) {
    size_t last = table->buckets.count - 1, to = last & (size_t)(table->mask >> 1), len, to_len;
    kw_pages_read(&table->buckets, to, &to_len);
    kw_pages_read(&table->buckets, last, &len);
    unsigned char *room = kw_pages_edit(&table->buckets, to, to_len, 0, len);
    copy(room, kw_pages_read(&table->buckets, last, &len), len);
    kw_pages_seal(&table->buckets, to);
    kw_pages_pop(&table->buckets);
    table->mask = kw_ptable_mask(last);
}

static void balance(struct kw_ptable *table) {
    for (int step = 0; step < STEPS_MAX && table->bytes > table->buckets.count * FULL; step++) split(table);
    for (int step = 0; step < STEPS_MAX && table->buckets.count > 1 && table->bytes < table->buckets.count * SPARSE;
         step++) {
        join(table);
    }
}

/* Replaces what is at the spot (nothing: at its page's end) by `size` bytes, which the caller writes and seals. */
static unsigned char *replace(struct kw_ptable *table, const struct spot *spot, size_t size) {
    size_t old = spot->found ? spot->item.size : 0;
    table->bytes += size - old;
    return kw_pages_edit(&table->buckets, spot->bucket, spot->at, old, size);
}

/* ---- large records ---- */

/* Has the item that refers to the large page `number` refer to `now`. */
static void renumber(struct kw_ptable *table, uint32_t number, uint32_t now) {
    size_t len;
    struct kw_ptable_item record;
    const unsigned char *page = kw_pages_read(&table->large, number, &len);
    bool ok = kw_item_read_large(&record, page, len);
    KW_ASSERT(ok);
    struct spot spot;
    find(table, record.key, record.key_len, &spot);
    KW_ASSERT(spot.found && spot.item.large && spot.item.number == number);
    write_reference(replace(table, &spot, KW_ITEM_LARGE_SIZE), spot.hash, now);
    kw_pages_seal(&table->buckets, spot.bucket);
}

/* Gives a large page back. The item that refers to it is for the caller to replace. */
static void drop_large(struct kw_ptable *table, uint32_t number) {
    uint32_t last = (uint32_t)(table->large.count - 1);
    if (number != last) renumber(table, last, number);
    kw_pages_drop(&table->large, number);
}

static void put_large(struct kw_ptable *table, const struct spot *spot, const struct kw_ptable_item *item) {
    size_t size = KW_LARGE_HEADER + item->key_len + item->value_len, old;
    if (spot->found && spot->item.large) {
        kw_pages_read(&table->large, spot->item.number, &old);
        write_large(kw_pages_edit(&table->large, spot->item.number, 0, old, size), item);
        kw_pages_seal(&table->large, spot->item.number);
        return;
    }
    size_t number = table->large.count;
    KW_ASSERT(number < UINT32_MAX);
    write_large(kw_pages_push(&table->large, size), item);
    kw_pages_seal(&table->large, number);
    write_reference(replace(table, spot, KW_ITEM_LARGE_SIZE), spot->hash, (uint32_t)number);
    kw_pages_seal(&table->buckets, spot->bucket);
}

/* ---- what others call ---- */

struct kw_ptable *kw_ptable_new(void) {
    struct kw_ptable *table = kw_calloc(1, sizeof(*table));
    kw_pages_push(&table->buckets, 0);
    kw_pages_seal(&table->buckets, 0);
    return table;
}

void kw_ptable_free(struct kw_ptable *table) {
    if (!table) return;
    kw_pages_deinit(&table->buckets);
    kw_pages_deinit(&table->large);
    kw_free(table);
}

size_t kw_ptable_count(const struct kw_ptable *table) {
    return table->count;
}

size_t kw_ptable_bytes(const struct kw_ptable *table) {
    return sizeof(*table) + table->buckets.heap + table->large.heap;
}

uint64_t kw_ptable_newest(const struct kw_ptable *table) {
    return table->newest;
}

bool kw_ptable_get(const struct kw_ptable *table, const void *key, size_t key_len, struct kw_ptable_item *out) {
    struct spot spot;
    find(table, key, key_len, &spot);
    if (spot.found) *out = spot.record;
    return spot.found;
}

bool kw_ptable_put(struct kw_ptable *table, const void *key, size_t key_len, const void *value, size_t value_len,
                   uint64_t version) {
    KW_ASSERT(key_len <= KW_KEY_MAX && value_len <= KW_VALUE_MAX);
    const struct kw_ptable_item item = {key, key_len, value, value_len, version};
    size_t size = KW_ITEM_HEADER + key_len + value_len;
    struct spot spot;

    find(table, key, key_len, &spot);
    if (size > KW_ITEM_SMALL_MAX) {
        put_large(table, &spot, &item);
    } else {
        if (spot.found && spot.item.large) drop_large(table, spot.item.number);
        write_small(replace(table, &spot, size), &item);
        kw_pages_seal(&table->buckets, spot.bucket);
    }
    if (!spot.found) table->count++;
    if (version > table->newest) table->newest = version;
    balance(table);
    return spot.found;
}

bool kw_ptable_delete(struct kw_ptable *table, const void *key, size_t key_len) {
    struct spot spot;
    find(table, key, key_len, &spot);
    if (!spot.found) return false;
    if (spot.item.large) drop_large(table, spot.item.number);
    replace(table, &spot, 0);
    kw_pages_seal(&table->buckets, spot.bucket);
    table->count--;
    balance(table);
    return true;
}

/* A cursor counts items, not bytes, so that one from a stranger cannot lead into the middle of an item. */
bool kw_ptable_next(const struct kw_ptable *table, uint64_t *cursor, struct kw_ptable_item *out) {
    uint64_t nth = *cursor & ((UINT64_C(1) << CURSOR_NTH) - 1);
    for (uint64_t bucket = *cursor >> CURSOR_NTH; bucket < table->buckets.count; bucket++, nth = 0) {
        size_t len, at = 0;
        const unsigned char *page = kw_pages_read(&table->buckets, (size_t)bucket, &len);
        struct kw_item item;
        for (uint64_t i = 0; at < len && kw_item_read(&item, page + at, len - at); at += item.size, i++) {
            if (i < nth) continue;
            *out = item_record(table, &item);
            *cursor = (bucket << CURSOR_NTH) + nth + 1;
            return true;
        }
    }
    return false;
}
