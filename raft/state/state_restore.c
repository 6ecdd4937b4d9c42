/*
 * A backup that comes back, in parts of one record each:
 *
 *   u32 part, u32 parts, u64 bytes in all, the bytes of this part
 *
 * The parts wait in a table, which is in the snapshots like everything else,
 * until the last one is there; then the image is loaded as a snapshot is, and
 * becomes the state. Part 0 begins anew. What cannot be a part, or is not the
 * next one, ends the attempt.
 *
 * What is not taken from the backup: the proxies, which register anew; the
 * position in the log. What was answered to requests is kept from both.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/state_internal.h"

enum { PART_BYTES = 512 * 1024, PART_HEADER = 16 };

/* A backup of more bytes is none of ours. */
#define TOTAL_MAX (UINT64_C(1) << 40)

struct part {
    uint64_t nth, parts, total;
    const unsigned char *bytes; /* borrowed */
    size_t len;
};

static uint64_t parts_of(uint64_t total) {
    return (total + PART_BYTES - 1) / PART_BYTES;
}

static size_t part_len(uint64_t total, uint64_t nth) {
    uint64_t left = total - nth * PART_BYTES;
    return (size_t)(left < PART_BYTES ? left : PART_BYTES);
}

bool kw_meta_restore_part(struct kw_record *out, struct kw_str *scratch, const void *bytes, size_t len, unsigned nth) {
    uint64_t parts = parts_of(len);
    if (nth >= parts) return false;
    size_t part = part_len(len, nth);
    kw_str_clear(scratch);
    kw_str_append_number(scratch, 4, nth);
    kw_str_append_number(scratch, 4, parts);
    kw_str_append_number(scratch, 8, len);
    kw_str_append(scratch, (const char *)bytes + (size_t)nth * PART_BYTES, part);
    *out = (struct kw_record){.type = KW_RECORD_RESTORE, .value = scratch->data, .value_len = scratch->len};
    return true;
}

static bool read_part(struct part *part, const struct kw_record *record) {
    const unsigned char *value = record->value;
    struct kw_reader reader = {value, value + record->value_len, false};
    part->nth = kw_reader_number(&reader, 4);
    part->parts = kw_reader_number(&reader, 4);
    part->total = kw_reader_number(&reader, 8);
    part->bytes = reader.at;
    part->len = kw_reader_left(&reader);
    return !reader.bad && part->total > 0 && part->total <= TOTAL_MAX && part->parts == parts_of(part->total) &&
           part->nth < part->parts && part->len == part_len(part->total, part->nth);
}

void kw_meta_drop_parts(struct kw_meta_state *state) {
    if (kw_ptable_count(state->parts) == 0) return;
    kw_ptable_free(state->parts);
    state->parts = kw_ptable_new();
    state->parts_total = 0;
}

static void keep_part(struct kw_meta_state *state, const struct part *part) {
    unsigned char key[4];
    kw_put32(key, (uint32_t)part->nth);
    kw_ptable_put(state->parts, key, sizeof(key), part->bytes, part->len, 0);
    state->parts_total = part->total;
}

bool kw_meta_parts_valid(const struct kw_meta_state *state) {
    uint64_t count = kw_ptable_count(state->parts), parts = parts_of(state->parts_total);
    if (count == 0) return state->parts_total == 0;
    if (state->parts_total > TOTAL_MAX || count >= parts) return false;
    for (uint64_t nth = 0; nth < count; nth++) {
        struct kw_ptable_item item;
        unsigned char key[4];
        kw_put32(key, (uint32_t)nth);
        if (!kw_ptable_get(state->parts, key, sizeof(key), &item)) return false;
        if (item.value_len != part_len(state->parts_total, nth)) return false;
    }
    return true;
}

/* The backup in one piece, own. All parts are there. */
static unsigned char *join_parts(const struct kw_meta_state *state) {
    unsigned char *bytes = kw_malloc((size_t)state->parts_total);
    for (uint64_t nth = 0; nth < parts_of(state->parts_total); nth++) {
        struct kw_ptable_item item;
        unsigned char key[4];
        kw_put32(key, (uint32_t)nth);
        bool there = kw_ptable_get(state->parts, key, sizeof(key), &item);
        KW_ASSERT(there && item.value_len == part_len(state->parts_total, nth));
        memcpy(bytes + nth * PART_BYTES, item.value, item.value_len);
    }
    return bytes;
}

/* What this service answered stays answered: a RESTORE that is repeated must not be refused. */
static void carry_requests(struct kw_meta_state *to, const struct kw_meta_state *from) {
    for (size_t i = 0; i < kw_requests_count(&from->requests); i++) {
        const unsigned char *id;
        struct kw_meta_result result, known;
        kw_requests_row(&from->requests, i, &id, &result);
        if (!kw_requests_find(&to->requests, id, &known)) kw_requests_add(&to->requests, id, &result);
    }
}

/* Puts the loaded backup in the place of the state. */
static void take_over(struct kw_meta_state *state, struct kw_meta_state *backup) {
    struct kw_ptable *proxies = state->tables[KW_META_PROXIES];
    state->tables[KW_META_PROXIES] = backup->tables[KW_META_PROXIES];
    backup->tables[KW_META_PROXIES] = proxies;
    backup->index = state->index;
    backup->recovery_epoch++;
    if (backup->clock < state->clock) backup->clock = state->clock;
    backup->clock += KW_META_RESTORE_GAP;
    if (backup->map->version > 0) backup->map->version += KW_META_RESTORE_GAP; /* just read: nobody else holds it */
    backup->touched = true;
    kw_meta_drop_parts(backup);
    carry_requests(backup, state);
    kw_meta_state_deinit(state);
    *state = *backup;
}

static bool restore(struct kw_meta_state *state) {
    struct kw_meta_state backup;
    char why[128];
    unsigned char *bytes = join_parts(state);
    kw_meta_state_init(&backup);
    int rc = kw_meta_state_load(&backup, bytes, (size_t)state->parts_total, why, sizeof(why));
    KW_ASSERT(rc != KW_ENOMEM); /* one member must not come to another result than the others */
    kw_free(bytes);
    if (rc != 0) {
        kw_meta_state_deinit(&backup);
        return false;
    }
    take_over(state, &backup);
    return true;
}

void kw_meta_apply_restore(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    struct part part;
    if (state->touched) {
        result->code = KW_ECONFLICT;
        return;
    }
    bool ok = read_part(&part, record);
    if (ok && part.nth == 0) kw_meta_drop_parts(state);
    ok = ok && part.nth == kw_ptable_count(state->parts) && (part.nth == 0 || part.total == state->parts_total);
    if (ok) keep_part(state, &part);
    if (ok && part.nth + 1 == part.parts) ok = restore(state);
    if (!ok) {
        kw_meta_drop_parts(state);
        result->code = KW_EINVALID;
    } else if (part.nth + 1 == part.parts) {
        result->version = state->recovery_epoch;
    }
}
