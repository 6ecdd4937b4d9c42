/*
 * Snapshots and backups from a broken disk or a hostile hand. The input is
 * loaded as it is, and with every checksum put right, so that what stands
 * behind them is reached. A state that was loaded is written as the same
 * bytes, can be read and changed in every way, and comes through a snapshot
 * again.
 */
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/str.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/pages.h"
#include "raft/state/requests.h"
#include "raft/state/state.h"

enum { HEAD = 80, HEAD_SUMMED = 72, TABLE_HEAD = 40, TABLE_SUMMED = 32, MAP_SUM = 8, TABLES = KW_META_TABLE_COUNT + 1 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* ---- checksums ---- */

static void mend_pages(struct kw_reader *reader, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        const unsigned char *page = kw_reader_take(reader, KW_PAGE_HEADER);
        size_t len = page ? kw_get32(page) : 0;
        if (!page || !kw_reader_take(reader, len)) return;
        kw_put64((unsigned char *)(uintptr_t)page + 8, kw_hash64(page + KW_PAGE_HEADER, len, kw_get32(page + 4)));
    }
}

static void mend_table(struct kw_reader *reader) {
    const unsigned char *head = kw_reader_take(reader, TABLE_HEAD);
    if (!head) return;
    kw_put64((unsigned char *)(uintptr_t)head + TABLE_SUMMED, kw_hash64(head, TABLE_SUMMED, kw_get32(head)));
    mend_pages(reader, kw_get32(head + 8));
    mend_pages(reader, kw_get32(head + 12));
}

static void mend(unsigned char *bytes, size_t size) {
    struct kw_reader reader = {bytes, bytes + size, false};
    if (!kw_reader_take(&reader, HEAD)) return;
    kw_put64(bytes + 8, size);
    kw_put64(bytes + HEAD_SUMMED, kw_hash64(bytes, HEAD_SUMMED, 0x6d657461));
    size_t map_len = kw_get32(bytes + 64);
    if (!kw_reader_take(&reader, map_len)) return;
    if (map_len >= MAP_SUM) {
        kw_put64(bytes + HEAD + map_len - MAP_SUM, kw_hash64(bytes + HEAD, map_len - MAP_SUM, 0x6d6170));
    }
    uint32_t tables = kw_get32(bytes + 60);
    for (uint32_t i = 0; i < tables && !reader.bad; i++) mend_table(&reader);
    mend_pages(&reader, kw_requests_pages(kw_get64(bytes + 40)));
}

/* ---- what was loaded ---- */

static void write_image(struct kw_str *out, struct kw_meta_state *meta) {
    struct kw_meta_image *image = kw_meta_state_freeze(meta);
    size_t count;
    const struct kw_piece *pieces = kw_meta_image_pieces(image, &count);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    KW_ASSERT(out->len == kw_meta_image_bytes(image));
    kw_meta_image_free(image);
}

static bool same(const struct kw_str *str, const void *bytes, size_t len) {
    return str->len == len && str->data && bytes && memcmp(str->data, bytes, len) == 0;
}

static void walk(const struct kw_meta_state *meta) {
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        const struct kw_ptable *table = kw_meta_state_table(meta, (enum kw_meta_table)i);
        struct kw_ptable_item item, same;
        size_t count = 0;
        for (uint64_t cursor = 0; kw_ptable_next(table, &cursor, &item); count++) {
            KW_ASSERT(kw_ptable_get(table, item.key, item.key_len, &same) && same.key == item.key);
        }
        KW_ASSERT(count == kw_ptable_count(table));
    }
}

/* Deletes some of what is there and adds some more. */
static void change(struct kw_meta_state *meta) {
    struct kw_str entry = {0}, key = {0};
    unsigned count = 0;
    kw_entry_begin(&entry, 0);
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        struct kw_ptable_item item;
        struct kw_record record = {.table = i, .expect = KW_EXPECT_ANY};
        uint64_t cursor = 0;
        for (int n = 0; n < 20 && kw_ptable_next(kw_meta_state_table(meta, (enum kw_meta_table)i), &cursor, &item);
             n++) {
            record.type = n % 2 ? KW_RECORD_DELETE : KW_RECORD_PUT;
            record.request_id[0] = (unsigned char)n;
            record.key = item.key;
            record.key_len = item.key_len;
            record.value = "changed";
            record.value_len = 7;
            kw_record_encode(&entry, &record);
            count++;
        }
        for (int n = 0; n < 20; n++) {
            kw_str_clear(&key);
            kw_str_printf(&key, "new %d", n);
            record.type = KW_RECORD_PUT;
            record.key = record.value = key.data;
            record.key_len = record.value_len = key.len;
            kw_record_encode(&entry, &record);
            count++;
        }
    }
    kw_entry_end(&entry, count);
    int rc = kw_meta_state_apply(meta, kw_meta_state_index(meta) + 1, entry.data, entry.len, NULL, NULL);
    KW_ASSERT(rc == 0 || kw_meta_state_index(meta) >= UINT64_MAX / 4);
    kw_str_deinit(&entry);
    kw_str_deinit(&key);
}

static void check(struct kw_meta_state *meta, const uint8_t *data, size_t size) {
    struct kw_str bytes = {0}, again = {0};
    struct kw_meta_state *fresh = kw_meta_state_new();
    char why[128];
    write_image(&bytes, meta);
    if (kw_get32(data + 60) == TABLES) { /* one with fewer tables is an older one */
        KW_ASSERT(same(&bytes, data, size));
    }
    walk(meta);
    change(meta);
    walk(meta);
    kw_str_clear(&bytes);
    write_image(&bytes, meta);
    KW_ASSERT(kw_meta_state_load(fresh, bytes.data, bytes.len, why, sizeof(why)) == 0);
    write_image(&again, fresh);
    KW_ASSERT(same(&bytes, again.data, again.len));
    kw_meta_state_free(fresh);
    kw_str_deinit(&bytes);
    kw_str_deinit(&again);
}

static void try_load(const uint8_t *data, size_t size) {
    struct kw_meta_state *meta = kw_meta_state_new();
    char why[128] = "";
    if (kw_meta_state_load(meta, data, size, why, sizeof(why)) == 0) {
        check(meta, data, size);
    } else {
        KW_ASSERT(why[0] != '\0');
    }
    kw_meta_state_free(meta);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kw_str mended = {0};
    try_load(data, size);
    kw_str_append(&mended, data, size);
    mend((unsigned char *)mended.data, size);
    try_load((const uint8_t *)mended.data, size);
    kw_str_deinit(&mended);
    return 0;
}
