/*
 * Records and entries of a log that another version, or a broken disk, may
 * have written. Three ways: the input as one record (what is read is written
 * as the same bytes), as an entry, and as the records of an entry that is
 * right, which is applied: the state must come through a snapshot the same,
 * and the same entry again must find every request known.
 */
#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "base/str.h"
#include "raft/state/state.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void write_image(struct kw_str *out, struct kw_meta_state *meta) {
    struct kw_meta_image *image = kw_meta_state_freeze(meta);
    size_t count;
    const struct kw_piece *pieces = kw_meta_image_pieces(image, &count);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    kw_meta_image_free(image);
}

static bool same(const struct kw_str *str, const void *bytes, size_t len) {
    return str->len == len && str->data && bytes && memcmp(str->data, bytes, len) == 0;
}

static void check_snapshot(struct kw_meta_state *meta) {
    struct kw_str bytes = {0}, again = {0};
    struct kw_meta_state *fresh = kw_meta_state_new();
    char why[128];
    write_image(&bytes, meta);
    KW_ASSERT(kw_meta_state_load(fresh, bytes.data, bytes.len, why, sizeof(why)) == 0);
    write_image(&again, fresh);
    KW_ASSERT(same(&bytes, again.data, again.len));
    kw_meta_state_free(fresh);
    kw_str_deinit(&bytes);
    kw_str_deinit(&again);
}

struct results {
    unsigned count;
    struct kw_meta_result row[KW_RECORD_BATCH_MAX];
};

static void note_result(void *ctx, unsigned nth, const struct kw_meta_result *result) {
    struct results *results = ctx;
    KW_ASSERT(nth == results->count && nth < KW_RECORD_BATCH_MAX);
    results->row[results->count++] = *result;
}

/* How many records the input holds one behind the other, and in how many bytes. */
static unsigned count_records(const uint8_t *data, size_t size, size_t *len) {
    struct kw_record record;
    unsigned count = 0;
    size_t used;
    for (*len = 0; count < KW_RECORD_BATCH_MAX && *len < size; *len += used, count++) {
        if (kw_record_decode(&record, data + *len, size - *len, &used) != 0) break;
    }
    return count;
}

static void apply_records(const uint8_t *data, size_t size) {
    static struct results first, again;
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str entry = {0};
    size_t len;
    unsigned count = count_records(data, size, &len);
    first.count = again.count = 0;
    kw_entry_begin(&entry, size);
    kw_str_append(&entry, data, len);
    kw_entry_end(&entry, count);
    KW_ASSERT(entry.len % 8 == 0);
    KW_ASSERT(kw_meta_state_apply(meta, 3, entry.data, entry.len, note_result, &first) == 0 && first.count == count);
    KW_ASSERT(kw_meta_state_index(meta) == 3);
    check_snapshot(meta);
    KW_ASSERT(kw_meta_state_apply(meta, 5, entry.data, entry.len, note_result, &again) == 0 && again.count == count);
    check_snapshot(meta);

    struct kw_entry_reader reader;
    struct kw_record record;
    KW_ASSERT(kw_entry_open(&reader, entry.data, entry.len) == 0);
    for (unsigned i = 0; kw_entry_next(&reader, &record) > 0; i++) {
        static const unsigned char none[KW_REQUEST_ID_SIZE];
        if (memcmp(record.request_id, none, sizeof(none)) == 0) continue;
        if (kw_meta_state_recovery_epoch(meta) > 0) break; /* what a backup brought was answered before */
        KW_ASSERT(first.row[i].code == again.row[i].code && first.row[i].version == again.row[i].version);
    }
    kw_meta_state_free(meta);
    kw_str_deinit(&entry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    struct kw_record record;
    struct kw_str bytes = {0};
    size_t used;
    if (kw_record_decode(&record, data, size, &used) == 0) {
        KW_ASSERT(used <= size);
        kw_record_encode(&bytes, &record);
        KW_ASSERT(same(&bytes, data, used));
        (void)kw_record_check(&record);
    }
    kw_str_deinit(&bytes);

    struct kw_entry_reader reader;
    if (kw_entry_open(&reader, data, size) == 0) {
        unsigned left = reader.left;
        while (kw_entry_next(&reader, &record) > 0) KW_ASSERT(left-- > 0);
    }
    apply_records(data, size);
    return 0;
}
