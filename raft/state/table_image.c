/*
 * A table's picture and its way back. The bytes: a header of its own checksum,
 * the buckets' pages, the large records' pages; each page has its checksum, so
 * that freezing computes only the header's. What comes back is checked for
 * everything that the operations rely on: that each item lies in its bucket
 * and once, that each large page is referred to once.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/table_internal.h"

/* u32 mark, u32 format, u32 buckets, u32 large pages, u64 records, u64 newest version, u64 checksum of these */
enum { HEADER = 40, HEADER_SUMMED = 32, MARK = 0x4c42544b /* "KTBL" */, FORMAT = 1 };

enum { FEW_ITEMS = 64 }; /* of a page, whose hashes are compared each with each */

struct kw_ptable_image {
    unsigned char header[HEADER];
    struct kw_pages_image buckets, large;
};

struct kw_ptable_image *kw_ptable_freeze(struct kw_ptable *table) {
    struct kw_ptable_image *image = kw_malloc(sizeof(*image));
    KW_ASSERT(table->buckets.count <= UINT32_MAX);
    kw_put32(image->header, MARK);
    kw_put32(image->header + 4, FORMAT);
    kw_put32(image->header + 8, (uint32_t)table->buckets.count);
    kw_put32(image->header + 12, (uint32_t)table->large.count);
    kw_put64(image->header + 16, table->count);
    kw_put64(image->header + 24, table->newest);
    kw_put64(image->header + HEADER_SUMMED, kw_hash64(image->header, HEADER_SUMMED, MARK));

    kw_pages_freeze(&table->buckets, &image->buckets);
    kw_pages_freeze(&table->large, &image->large);
    return image;
}

size_t kw_ptable_image_count(const struct kw_ptable_image *image) {
    return 1 + image->buckets.count + image->large.count;
}

void kw_ptable_image_pieces(const struct kw_ptable_image *image, struct kw_piece *pieces) {
    pieces[0] = (struct kw_piece){image->header, HEADER};
    kw_pages_image_pieces(&image->buckets, pieces + 1);
    kw_pages_image_pieces(&image->large, pieces + 1 + image->buckets.count);
}

void kw_ptable_image_free(struct kw_ptable_image *image) {
    kw_pages_image_deinit(&image->buckets);
    kw_pages_image_deinit(&image->large);
    kw_free(image);
}

/* ---- back ---- */

struct loading {
    struct kw_ptable *table;
    unsigned char *referred; /* own; per large page */
    size_t references;
    size_t items;
    const char *wrong; /* what is not as it must be */
};

static bool refuse(struct loading *l, const char *wrong) {
    l->wrong = wrong;
    return false;
}

/* One item of bucket `bucket`: its record in `*record`, its hash in `*hash`. */
static bool check_item(struct loading *l, size_t bucket, const struct kw_item *item, struct kw_ptable_item *record,
                       uint64_t *hash) {
    *record = item->plain;
    if (item->large) {
        size_t len;
        if (item->number >= l->table->large.count) return refuse(l, "a reference to a page that is not there");
        if (l->referred[item->number]) return refuse(l, "two references to one page");
        l->referred[item->number] = 1;
        l->references++;
        const unsigned char *page = kw_pages_read(&l->table->large, item->number, &len);
        if (!kw_item_read_large(record, page, len)) return refuse(l, "a large record whose lengths do not fit");
        if (KW_ITEM_HEADER + record->key_len + record->value_len <= KW_ITEM_SMALL_MAX) {
            return refuse(l, "a small record on a page of its own");
        }
    }
    *hash = kw_ptable_hash(record->key, record->key_len);
    if (item->large && *hash != item->hash) return refuse(l, "a reference to the page of another key");
    if (kw_ptable_bucket(l->table, *hash) != bucket) return refuse(l, "a record in the wrong place");
    if (record->version > l->table->newest) return refuse(l, "a version newer than the newest");
    return true;
}

static int by_key(const void *a, const void *b) {
    const struct kw_ptable_item *one = a, *other = b;
    if (one->key_len != other->key_len) return one->key_len < other->key_len ? -1 : 1;
    return one->key_len > 0 ? memcmp(one->key, other->key, one->key_len) : 0;
}

/* Whether a key is there twice. Pages of many items exist only where keys collide. */
static bool has_double(struct kw_ptable_item *records, const uint64_t *hashes, size_t count) {
    if (count > FEW_ITEMS) {
        qsort(records, count, sizeof(*records), by_key);
        for (size_t i = 1; i < count; i++) {
            if (by_key(&records[i - 1], &records[i]) == 0) return true;
        }
        return false;
    }
    for (size_t i = 1; i < count; i++) {
        for (size_t j = 0; j < i; j++) {
            if (hashes[i] == hashes[j] && by_key(&records[i], &records[j]) == 0) return true;
        }
    }
    return false;
}

/* Counts a page's items; false when they do not fill it. */
static bool count_items(const unsigned char *page, size_t len, size_t *count) {
    struct kw_item item;
    size_t at = 0;
    for (*count = 0; at < len && kw_item_read(&item, page + at, len - at); at += item.size) (*count)++;
    return at == len;
}

static int check_bucket(struct loading *l, size_t bucket) {
    struct kw_ptable_item few_records[FEW_ITEMS], *records = few_records;
    uint64_t few_hashes[FEW_ITEMS], *hashes = few_hashes;
    size_t len, count;
    const unsigned char *page = kw_pages_read(&l->table->buckets, bucket, &len);
    int rc = KW_EPROTOCOL;

    if (!count_items(page, len, &count)) {
        l->wrong = "a page whose records do not fit";
        return rc;
    }
    if (count > FEW_ITEMS) {
        records = kw_calloc_try(count, sizeof(*records));
        hashes = kw_calloc_try(count, sizeof(*hashes));
        if (!records || !hashes) {
            rc = KW_ENOMEM;
            goto done;
        }
    }
    struct kw_item item;
    for (size_t at = 0, i = 0; i < count; i++, at += item.size) {
        if (!kw_item_read(&item, page + at, len - at) || !check_item(l, bucket, &item, &records[i], &hashes[i])) {
            goto done;
        }
    }
    if (has_double(records, hashes, count)) {
        l->wrong = "a key that is there twice";
        goto done;
    }
    l->items += count;
    l->table->bytes += len;
    rc = 0;
done:
    if (records != few_records) kw_free(records);
    if (hashes != few_hashes) kw_free(hashes);
    return rc;
}

static int check_records(struct loading *l, size_t count) {
    for (size_t i = 0; i < l->table->buckets.count; i++) {
        int rc = check_bucket(l, i);
        if (rc != 0) return rc;
    }
    l->wrong = "a page without a reference";
    if (l->references != l->table->large.count) return KW_EPROTOCOL;
    l->wrong = "another number of records than announced";
    return l->items == count ? 0 : KW_EPROTOCOL;
}

/* Header and pages; the records are checked afterwards. */
static int load_pages(struct loading *l, const unsigned char *bytes, size_t len, size_t *used, size_t *count) {
    struct kw_ptable *table = l->table;
    l->wrong = "cut within a header";
    if (len < HEADER) return KW_EPROTOCOL;
    l->wrong = "a damaged header";
    if (kw_get32(bytes) != MARK || kw_get64(bytes + HEADER_SUMMED) != kw_hash64(bytes, HEADER_SUMMED, MARK)) {
        return KW_EPROTOCOL;
    }
    l->wrong = "a table of a newer format";
    if (kw_get32(bytes + 4) != FORMAT) return KW_EUNKNOWN;
    size_t buckets = kw_get32(bytes + 8), large = kw_get32(bytes + 12), part;
    table->newest = kw_get64(bytes + 24);
    *count = (size_t)kw_get64(bytes + 16);
    l->wrong = "a damaged or cut page";
    if (buckets == 0 || buckets + large > (len - HEADER) / KW_PAGE_HEADER) return KW_EPROTOCOL;

    *used = HEADER;
    int rc = kw_pages_load(&table->buckets, buckets, bytes + *used, len - *used, &part);
    if (rc != 0) return rc;
    *used += part;
    rc = kw_pages_load(&table->large, large, bytes + *used, len - *used, &part);
    if (rc != 0) return rc;
    *used += part;
    table->mask = kw_ptable_mask(buckets);
    table->count = *count;
    return 0;
}

int kw_ptable_load(struct kw_ptable **out, const void *bytes, size_t len, size_t *used, char *why, size_t why_size) {
    struct loading l = {.wrong = ""};
    size_t count = 0;
    int rc = KW_ENOMEM;

    l.table = kw_calloc_try(1, sizeof(*l.table));
    if (!l.table) goto err;
    rc = load_pages(&l, bytes, len, used, &count);
    if (rc != 0) goto err_after_table;
    l.referred = kw_calloc_try(l.table->large.count, 1);
    rc = l.referred ? check_records(&l, count) : KW_ENOMEM;
    kw_free(l.referred);
    if (rc != 0) goto err_after_table;
    *out = l.table;
    return 0;

err_after_table:
    kw_ptable_free(l.table);
err:
    snprintf(why, why_size, "%s", rc == KW_ENOMEM ? kw_error_text(rc) : l.wrong);
    return rc;
}
