/*
 * Records and entries: what is written is read again, nothing else is. And the
 * committed samples of records/, one of each type and version that ever was, an
 * entry, a map, a difference and a snapshot: they are read for ever, with the
 * same result.
 *
 * `test_record DIR` writes the samples that DIR lacks (a new version's), and
 * never touches one that is there.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/map.h"
#include "raft/state/record.h"
#include "raft/state/state.h"

#define SAMPLES "tests/unit/records"

static const struct kw_record put_record = {.type = KW_RECORD_PUT,
                                            .request_id = "sixteen bytes id",
                                            .table = KW_META_LOCKS,
                                            .expect = 42,
                                            .key = "the key",
                                            .key_len = 7,
                                            .value = "the value",
                                            .value_len = 9};

/* ---- one record ---- */

static void assert_same_record(const struct kw_record *a, const struct kw_record *b) {
    assert_int_equal(a->type, b->type);
    assert_memory_equal(a->request_id, b->request_id, KW_REQUEST_ID_SIZE);
    assert_int_equal(a->table, b->table);
    assert_true(a->expect == b->expect);
    assert_int_equal(a->key_len, b->key_len);
    assert_int_equal(a->value_len, b->value_len);
    if (a->key_len) assert_memory_equal(a->key, b->key, a->key_len);
    if (a->value_len) assert_memory_equal(a->value, b->value, a->value_len);
}

static void assert_round_trip(const struct kw_record *record) {
    struct kw_str bytes = {0};
    struct kw_record read;
    size_t used = 0;
    kw_record_encode(&bytes, record);
    kw_str_append(&bytes, "more", 4);
    assert_int_equal(kw_record_decode(&read, bytes.data, bytes.len, &used), 0);
    assert_int_equal(used, bytes.len - 4);
    assert_same_record(record, &read);
    for (size_t len = 0; len + 4 < bytes.len; len++) {
        unsigned char *exact = kw_malloc(len);
        memcpy(exact, bytes.data, len);
        assert_int_equal(kw_record_decode(&read, exact, len, &used), KW_EPROTOCOL);
        kw_free(exact);
    }
    kw_str_deinit(&bytes);
}

static void each_type_comes_back(void **state) {
    (void)state;
    struct kw_record record = put_record;
    assert_round_trip(&record);
    memset(record.request_id, 0, sizeof(record.request_id));
    assert_round_trip(&record);
    record.value = NULL;
    record.value_len = 0;
    assert_round_trip(&record);
    assert_round_trip(&(struct kw_record){
        .type = KW_RECORD_DELETE, .table = KW_META_CONFIG, .expect = KW_EXPECT_ANY, .key = "k", .key_len = 1});
    assert_round_trip(&(struct kw_record){.type = KW_RECORD_MAP, .expect = 3, .value = "bytes", .value_len = 5});
    assert_round_trip(&(struct kw_record){.type = KW_RECORD_DETACH, .expect = 3});
    assert_round_trip(&(struct kw_record){.type = KW_RECORD_RESTORE, .value = "part", .value_len = 4});
    assert_round_trip(&(struct kw_record){.type = KW_RECORD_NOP});
    assert_round_trip(&(struct kw_record){.type = KW_RECORD_NOP, .value = "pad", .value_len = 3});
}

/* One byte of the record is set; the answer is that. */
static void strange_records_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        unsigned char value;
        int code;
    } cases[] = {
        {0, 0, KW_EPROTOCOL},                                        /* no type */
        {0, 7, KW_EUNKNOWN},                                         /* a type of the future */
        {0, 255, KW_EUNKNOWN},  {1, 0, KW_EPROTOCOL},                /* no version */
        {1, 2, KW_EUNKNOWN},                                         /* a version of the future */
        {2, 3, KW_EUNKNOWN},                                         /* a flag of the future */
        {3, 128, KW_EUNKNOWN},  {7, 1, KW_EPROTOCOL},                /* longer than there are bytes */
        {7, 255, KW_EPROTOCOL}, {8 + 16 + 8 + 2, 200, KW_EPROTOCOL}, /* a key longer than the record */
    };
    struct kw_str bytes = {0};
    struct kw_record read;
    size_t used;
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        kw_str_clear(&bytes);
        kw_record_encode(&bytes, &put_record);
        bytes.data[cases[i].at] = (char)cases[i].value;
        assert_int_equal(kw_record_decode(&read, bytes.data, bytes.len, &used), cases[i].code);
    }
    kw_str_clear(&bytes);
    kw_record_encode(&bytes, &put_record);
    memset(bytes.data + 8, 0, KW_REQUEST_ID_SIZE); /* an id that is none */
    assert_int_equal(kw_record_decode(&read, bytes.data, bytes.len, &used), KW_EPROTOCOL);

    kw_str_clear(&bytes);
    kw_record_encode(&bytes, &(struct kw_record){.type = KW_RECORD_DETACH});
    kw_put32(bytes.data + 4, kw_get32(bytes.data + 4) + 1); /* a byte too many */
    kw_str_append(&bytes, "x", 1);
    assert_int_equal(kw_record_decode(&read, bytes.data, bytes.len, &used), KW_EPROTOCOL);
    kw_str_deinit(&bytes);
}

static void limits_come_from_the_table(void **state) {
    (void)state;
    char *big = kw_calloc(5 * 1024 * 1024, 1);
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        const struct kw_meta_table_limits *limits = &kw_meta_tables[i];
        struct kw_record record = {.type = KW_RECORD_PUT, .table = i, .key = big, .value = big};
        record.key_len = limits->key_max;
        record.value_len = limits->value_max;
        assert_int_equal(kw_record_check(&record), 0);
        record.key_len++;
        assert_int_equal(kw_record_check(&record), KW_EINVALID);
        record.key_len = 0;
        assert_int_equal(kw_record_check(&record), KW_EINVALID);
        record.key_len = 1;
        record.value_len++;
        assert_int_equal(kw_record_check(&record), KW_EINVALID);
        record.table = KW_META_TABLE_COUNT;
        assert_int_equal(kw_record_check(&record), KW_EINVALID);
        assert_int_equal(kw_meta_table_find(limits->name, strlen(limits->name)), i);
    }
    assert_int_equal(kw_record_check(&(struct kw_record){.type = (enum kw_record_type)99}), KW_EINVALID);
    assert_int_equal(
        kw_record_check(&(struct kw_record){.type = KW_RECORD_NOP, .value = big, .value_len = KW_RECORD_BYTES_MAX}),
        KW_EINVALID);
    assert_int_equal(kw_meta_table_find("LOCKS", 5), KW_META_LOCKS);
    assert_int_equal(kw_meta_table_find("LOCKSX", 6), KW_META_TABLE_COUNT);
    assert_int_equal(kw_meta_table_find("LOCK", 4), KW_META_TABLE_COUNT);
    assert_int_equal(kw_meta_table_find("", 0), KW_META_TABLE_COUNT);
    kw_free(big);
}

/* ---- entries ---- */

static void sample_entry(struct kw_str *entry) {
    kw_entry_begin(entry, UINT64_C(1700000000123));
    kw_record_encode(entry, &put_record);
    kw_record_encode(entry, &(struct kw_record){.type = KW_RECORD_NOP});
    kw_entry_end(entry, 2);
}

static void entry_comes_back(void **state) {
    (void)state;
    struct kw_str entry = {0};
    struct kw_entry_reader reader;
    struct kw_record record;
    kw_str_append(&entry, "left over", 9);
    for (unsigned extra = 0; extra < 20; extra++) { /* each remainder of the padding */
        kw_entry_begin(&entry, extra);
        kw_record_encode(&entry, &put_record);
        kw_record_encode(
            &entry, &(struct kw_record){.type = KW_RECORD_NOP, .value = "12345678901234567890", .value_len = extra});
        kw_entry_end(&entry, 2);
        assert_int_equal(entry.len % 8, 0);
        assert_int_equal(kw_entry_open(&reader, entry.data, entry.len), 0);
        assert_int_equal(reader.time_ms, extra);
        assert_int_equal(kw_entry_next(&reader, &record), 1);
        assert_same_record(&record, &put_record);
        assert_int_equal(kw_entry_next(&reader, &record), 1);
        assert_int_equal(record.value_len, extra);
        assert_int_equal(kw_entry_next(&reader, &record), 0);
        assert_int_equal(kw_entry_next(&reader, &record), 0);
    }
    kw_entry_begin(&entry, 1);
    kw_entry_end(&entry, 0);
    assert_int_equal(kw_entry_open(&reader, entry.data, entry.len), 0);
    assert_int_equal(kw_entry_next(&reader, &record), 0);
    kw_str_deinit(&entry);
}

static void damaged_entries_are_refused(void **state) {
    (void)state;
    struct kw_str entry = {0};
    struct kw_entry_reader reader;
    sample_entry(&entry);
    for (size_t len = 0; len < entry.len; len++) {
        unsigned char *exact = kw_malloc(len);
        memcpy(exact, entry.data, len);
        assert_int_equal(kw_entry_open(&reader, exact, len), KW_EPROTOCOL);
        kw_free(exact);
    }
    for (size_t bit = 0; bit < entry.len * 8; bit++) {
        entry.data[bit / 8] = (char)(entry.data[bit / 8] ^ (1 << bit % 8));
        bool format = bit / 8 == 2 || bit / 8 == 3;
        assert_int_equal(kw_entry_open(&reader, entry.data, entry.len), format ? KW_EUNKNOWN : KW_EPROTOCOL);
        entry.data[bit / 8] = (char)(entry.data[bit / 8] ^ (1 << bit % 8));
    }
    kw_str_append(&entry, "\0\0\0\0\0\0\0\0", 8);
    assert_int_equal(kw_entry_open(&reader, entry.data, entry.len), KW_EPROTOCOL); /* eight zeros too many */
    kw_str_deinit(&entry);
}

/* The count must be that of the records. */
static void miscounted_entries_are_refused(void **state) {
    (void)state;
    struct kw_str entry = {0};
    struct kw_entry_reader reader;
    struct kw_record record;
    for (unsigned count = 0; count < 4; count++) {
        kw_entry_begin(&entry, 1);
        kw_record_encode(&entry, &put_record);
        kw_record_encode(&entry, &put_record);
        kw_entry_end(&entry, count);
        assert_int_equal(kw_entry_open(&reader, entry.data, entry.len), 0);
        int rc = 1;
        unsigned read = 0;
        for (; rc > 0; read++) rc = kw_entry_next(&reader, &record);
        assert_int_equal(rc, count == 2 ? 0 : KW_EPROTOCOL);
        assert_true(read <= 3);
    }
    kw_str_deinit(&entry);
}

/* ---- samples ---- */

/* Two primaries and a replica; `version` and the first epoch as told. */
static struct kw_map *sample_map(uint64_t version, uint64_t epoch) {
    static const char text[] = "%040d 10.0.0.1:7001@17001 myself,master - 0 0 %u connected 0-8191\n"
                               "%040d 10.0.0.2:7002@17002 master - 0 0 2 connected 8192-16383\n"
                               "%040d node3.example:7003@17003 slave %040d 0 0 2 connected\n";
    char line[1024];
    int len = snprintf(line, sizeof(line), text, 1, (unsigned)epoch, 2, 3, 2);
    struct kw_topo_view *view = NULL;
    assert_int_equal(kw_topo_view_parse(&view, line, (size_t)len, "10.0.0.1"), 0);
    struct kw_topology *topo = kw_topology_merge((const struct kw_topo_view *const *)&view, 1, NULL);
    struct kw_map *map = kw_map_from_topology(topo);
    map->version = version;
    kw_topology_unref(topo);
    kw_topo_view_free(view);
    return map;
}

static void map_bytes(struct kw_str *out, uint64_t version, uint64_t epoch) {
    struct kw_map *map = sample_map(version, epoch);
    kw_map_encode(out, map);
    kw_map_unref(map);
}

static void diff_bytes(struct kw_str *out) {
    struct kw_map *from = sample_map(4, 1), *to = sample_map(5, 9);
    assert_true(kw_map_diff(out, from, to));
    kw_map_unref(from);
    kw_map_unref(to);
}

static void apply_one(struct kw_meta_state *meta, uint64_t index, const struct kw_record *record) {
    struct kw_str entry = {0};
    kw_entry_begin(&entry, index);
    kw_record_encode(&entry, record);
    kw_entry_end(&entry, 1);
    assert_int_equal(kw_meta_state_apply(meta, index, entry.data, entry.len, NULL, NULL), 0);
    kw_str_deinit(&entry);
}

/* A bit of everything that a snapshot can hold. */
static void snapshot_bytes(struct kw_str *out) {
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str map = {0};
    static char large[3000];
    uint64_t index = 1;
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        for (unsigned k = 0; k < 20; k++) {
            char key[32], value[32];
            struct kw_record record = {.type = KW_RECORD_PUT, .table = i, .expect = KW_EXPECT_ANY};
            record.key_len = (size_t)snprintf(key, sizeof(key), "key %u", k);
            record.value_len = (size_t)snprintf(value, sizeof(value), "value %u of %u", k, i);
            record.key = key;
            record.value = value;
            record.request_id[0] = (unsigned char)(i + 1);
            record.request_id[15] = (unsigned char)k;
            apply_one(meta, index++, &record);
        }
    }
    memset(large, 'x', sizeof(large));
    apply_one(meta, index++,
              &(struct kw_record){.type = KW_RECORD_PUT,
                                  .table = KW_META_SCRIPTS,
                                  .key = "large",
                                  .key_len = 5,
                                  .value = large,
                                  .value_len = sizeof(large)});
    map_bytes(&map, 0, 3);
    apply_one(meta, index++, &(struct kw_record){.type = KW_RECORD_MAP, .value = map.data, .value_len = map.len});
    struct kw_meta_image *image = kw_meta_state_freeze(meta);
    size_t count;
    const struct kw_piece *pieces = kw_meta_image_pieces(image, &count);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    kw_meta_image_free(image);
    kw_meta_state_free(meta);
    kw_str_deinit(&map);
}

/* The record of a type that has a sample; what its fields point to is in `scratch`. */
static struct kw_record record_of(enum kw_record_type type, struct kw_str *scratch) {
    struct kw_record record = {.type = type, .request_id = "and an id for it"};
    kw_str_clear(scratch);
    switch (type) {
    case KW_RECORD_PUT: return put_record;
    case KW_RECORD_DELETE:
        record.table = KW_META_FAMILIES;
        record.expect = KW_EXPECT_ANY;
        record.key = "limiter";
        record.key_len = 7;
        break;
    case KW_RECORD_MAP:
        map_bytes(scratch, 0, 3);
        record.value = scratch->data;
        record.value_len = scratch->len;
        break;
    case KW_RECORD_DETACH: record.expect = 1; break;
    case KW_RECORD_RESTORE: {
        struct kw_str image = {0};
        snapshot_bytes(&image);
        assert_true(kw_meta_restore_part(&record, scratch, image.data, image.len, 0));
        memcpy(record.request_id, "and an id for it", KW_REQUEST_ID_SIZE);
        kw_str_deinit(&image);
        break;
    }
    case KW_RECORD_NOP:
        record.value = "nothing";
        record.value_len = 7;
        break;
    }
    return record;
}

/* Newest version first in line of what this build writes; older rows stay for as long as there are samples. */
static const struct {
    enum kw_record_type type;
    const char *file;
} record_samples[] = {
    {KW_RECORD_PUT, "put-1"},       {KW_RECORD_DELETE, "delete-1"},   {KW_RECORD_MAP, "map-1"},
    {KW_RECORD_DETACH, "detach-1"}, {KW_RECORD_RESTORE, "restore-1"}, {KW_RECORD_NOP, "nop-1"},
};

static const struct {
    const char *file;
    void (*write)(struct kw_str *out);
} other_samples[] = {
    {"entry-1", sample_entry},
    {"mapdiff-1", diff_bytes},
    {"snapshot-1", snapshot_bytes},
};

static void sample_bytes(struct kw_str *out, enum kw_record_type type) {
    struct kw_str scratch = {0};
    struct kw_record record = record_of(type, &scratch);
    kw_record_encode(out, &record);
    kw_str_deinit(&scratch);
}

static void read_sample(struct kw_str *out, const char *name) {
    char path[256], part[4096];
    snprintf(path, sizeof(path), SAMPLES "/%s", name);
    FILE *file = fopen(path, "rb");
    if (!file) fail_msg("%s is missing: run the tests from the source folder", path);
    for (size_t got; (got = fread(part, 1, sizeof(part), file)) > 0;) kw_str_append(out, part, got);
    fclose(file);
}

static void record_samples_are_read(void **state) {
    (void)state;
    struct kw_str bytes = {0}, scratch = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(record_samples); i++) {
        struct kw_record read, expected = record_of(record_samples[i].type, &scratch);
        size_t used = 0;
        kw_str_clear(&bytes);
        read_sample(&bytes, record_samples[i].file);
        assert_int_equal(kw_record_decode(&read, bytes.data, bytes.len, &used), 0);
        assert_int_equal(used, bytes.len);
        assert_same_record(&read, &expected);
    }
    kw_str_deinit(&bytes);
    kw_str_deinit(&scratch);
}

/* Each type that this build writes has a sample of the version that it writes. */
static void what_is_written_has_a_sample(void **state) {
    (void)state;
    struct kw_str bytes = {0}, committed = {0};
    for (unsigned type = KW_RECORD_PUT; type <= KW_RECORD_NOP; type++) {
        bool found = false;
        kw_str_clear(&bytes);
        sample_bytes(&bytes, (enum kw_record_type)type);
        for (size_t i = 0; i < KW_ARRAY_LEN(record_samples) && !found; i++) {
            kw_str_clear(&committed);
            read_sample(&committed, record_samples[i].file);
            found = committed.len == bytes.len && memcmp(committed.data, bytes.data, bytes.len) == 0;
        }
        if (!found) fail_msg("no sample of what is written for type %u: add one, keep the old", type);
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(other_samples); i++) {
        kw_str_clear(&bytes);
        kw_str_clear(&committed);
        other_samples[i].write(&bytes);
        read_sample(&committed, other_samples[i].file);
        assert_int_equal(committed.len, bytes.len);
        assert_memory_equal(committed.data, bytes.data, bytes.len);
    }
    kw_str_deinit(&bytes);
    kw_str_deinit(&committed);
}

static void entry_sample_is_read(void **state) {
    (void)state;
    struct kw_str bytes = {0};
    struct kw_entry_reader reader;
    struct kw_record record;
    read_sample(&bytes, "entry-1");
    assert_int_equal(kw_entry_open(&reader, bytes.data, bytes.len), 0);
    assert_true(reader.time_ms == UINT64_C(1700000000123));
    assert_int_equal(kw_entry_next(&reader, &record), 1);
    assert_same_record(&record, &put_record);
    assert_int_equal(kw_entry_next(&reader, &record), 1);
    assert_int_equal(record.type, KW_RECORD_NOP);
    assert_int_equal(kw_entry_next(&reader, &record), 0);
    kw_str_deinit(&bytes);
}

static void map_samples_are_read(void **state) {
    (void)state;
    struct kw_str bytes = {0};
    struct kw_map *map, *from = sample_map(4, 1), *to = sample_map(5, 9);
    read_sample(&bytes, "mapdiff-1");
    assert_int_equal(kw_map_patch(&map, from, bytes.data, bytes.len), 0);
    assert_int_equal(map->version, 5);
    assert_true(kw_map_equal(map, to));
    kw_map_unref(map);
    kw_map_unref(from);
    kw_map_unref(to);
    kw_str_deinit(&bytes);
}

/* `backup`: it came as one, without the proxies. */
static void check_snapshot_content(const struct kw_meta_state *meta, bool backup) {
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        const struct kw_ptable *table = kw_meta_state_table(meta, (enum kw_meta_table)i);
        struct kw_ptable_item item;
        bool there = !backup || i != KW_META_PROXIES;
        assert_int_equal(kw_ptable_count(table), there ? 20U + (i == KW_META_SCRIPTS) : 0);
        assert_int_equal(kw_ptable_get(table, "key 7", 5, &item), there);
        if (!there) continue;
        char value[32];
        assert_int_equal(item.value_len, snprintf(value, sizeof(value), "value 7 of %u", i));
        assert_memory_equal(item.value, value, item.value_len);
        assert_int_equal(item.version, i * 20 + 8);
    }
    const struct kw_map *map = kw_meta_state_map(meta);
    assert_int_equal(map->version, backup ? KW_META_RESTORE_GAP + 1 : 1);
    assert_int_equal(map->node_count, 3);
    assert_string_equal(map->nodes[2].host, "node3.example");
    assert_int_equal(map->owner[8192], 1);
}

static void snapshot_sample_is_read(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str bytes = {0};
    char why[128] = "";
    read_sample(&bytes, "snapshot-1");
    assert_int_equal(kw_meta_state_load(meta, bytes.data, bytes.len, why, sizeof(why)), 0);
    assert_int_equal(kw_meta_state_index(meta), 142);
    check_snapshot_content(meta, false);
    kw_meta_state_free(meta);

    meta = kw_meta_state_new(); /* and the record that brings the same as a backup */
    struct kw_record record;
    size_t used;
    kw_str_clear(&bytes);
    read_sample(&bytes, "restore-1");
    assert_int_equal(kw_record_decode(&record, bytes.data, bytes.len, &used), 0);
    apply_one(meta, 3, &record);
    assert_int_equal(kw_meta_state_index(meta), 3);
    assert_int_equal(kw_meta_state_recovery_epoch(meta), 1);
    check_snapshot_content(meta, true);
    kw_meta_state_free(meta);
    kw_str_deinit(&bytes);
}

/* Writes one sample where there is none yet. 0, or 1 when it could not. */
static int write_missing(const char *dir, const char *name, const struct kw_str *bytes) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    FILE *file = fopen(path, "wbx");
    if (!file) return 0;
    int failed = fwrite(bytes->data, 1, bytes->len, file) != bytes->len;
    return fclose(file) != 0 || failed;
}

static int write_samples(const char *dir) {
    struct kw_str bytes = {0};
    int failed = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(record_samples); i++) {
        kw_str_clear(&bytes);
        sample_bytes(&bytes, record_samples[i].type);
        failed |= write_missing(dir, record_samples[i].file, &bytes);
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(other_samples); i++) {
        kw_str_clear(&bytes);
        other_samples[i].write(&bytes);
        failed |= write_missing(dir, other_samples[i].file, &bytes);
    }
    kw_str_deinit(&bytes);
    return failed;
}

int main(int argc, char **argv) {
    if (argc > 1) return write_samples(argv[1]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(each_type_comes_back),        cmocka_unit_test(strange_records_are_refused),
        cmocka_unit_test(limits_come_from_the_table),  cmocka_unit_test(entry_comes_back),
        cmocka_unit_test(damaged_entries_are_refused), cmocka_unit_test(miscounted_entries_are_refused),
        cmocka_unit_test(record_samples_are_read),     cmocka_unit_test(what_is_written_has_a_sample),
        cmocka_unit_test(entry_sample_is_read),        cmocka_unit_test(map_samples_are_read),
        cmocka_unit_test(snapshot_sample_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
