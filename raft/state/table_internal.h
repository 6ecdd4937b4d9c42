/* The body of a table, shared by its operations and its image; not for others. */
#ifndef KW_RAFT_STATE_TABLE_INTERNAL_H
#define KW_RAFT_STATE_TABLE_INTERNAL_H

#include "raft/state/pages.h"
#include "raft/state/table.h"

enum {
    KW_ITEM_HEADER = 12,      /* u16 key length, u16 value length, u64 version; key and value follow */
    KW_ITEM_SMALL_MAX = 1024, /* bytes of an item that lies on a bucket's page */
    KW_ITEM_LARGE = 0xffff,   /* value length: the record has a page of its own; 0, this, u64 hash, u32 number follow */
    KW_ITEM_LARGE_SIZE = 16,
    KW_LARGE_HEADER = 16, /* u64 version, u32 key length, u32 value length; key and value follow */
    KW_KEY_MAX = 64 * 1024,
    KW_VALUE_MAX = 16 * 1024 * 1024,
};

struct kw_ptable {
    struct kw_pages buckets; /* one page each */
    struct kw_pages large;   /* one page a record, in no order */
    size_t count;            /* records */
    uint64_t newest;         /* highest version ever put */
    uint64_t bytes;          /* on the buckets' pages */
    uint64_t mask;           /* 2^k - 1, the smallest that reaches all buckets */
};

/* One item of a bucket's page. */
struct kw_item {
    size_t size;                 /* on the page */
    bool large;                  /* then only `hash` and `number` are known */
    uint64_t hash;               /* of a large one's key */
    uint32_t number;             /* page in `large` */
    struct kw_ptable_item plain; /* of a small one */
};

/* Reads the item at the start of `len` bytes; false where there is none, or not all of it. */
bool kw_item_read(struct kw_item *item, const unsigned char *at, size_t len);
/* Reads a large page; false when the lengths do not fit. */
bool kw_item_read_large(struct kw_ptable_item *item, const unsigned char *at, size_t len);

uint64_t kw_ptable_hash(const void *key, size_t len);
/* The bucket of a hash. */
size_t kw_ptable_bucket(const struct kw_ptable *table, uint64_t hash);
/* The mask for that many buckets. */
uint64_t kw_ptable_mask(size_t buckets);

#endif
