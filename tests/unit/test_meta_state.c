/*
 * The state machine: what each record comes to, that repeating a request does
 * nothing twice, that replaying a log gives the same bytes however often it was
 * interrupted by a snapshot, and the way of a backup.
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
#include "raft/state/hash.h"
#include "raft/state/map_internal.h"
#include "raft/state/requests.h"
#include "raft/state/state.h"

/* ---- driving a state ---- */

enum { RESULTS_MAX = KW_RECORD_BATCH_MAX };

struct results {
    unsigned count;
    struct kw_meta_result row[RESULTS_MAX];
};

static void note_result(void *ctx, unsigned nth, const struct kw_meta_result *result) {
    struct results *results = ctx;
    assert_int_equal(nth, results->count);
    results->row[results->count++] = *result;
}

static struct kw_meta_result apply(struct kw_meta_state *meta, uint64_t index, const struct kw_record *record) {
    struct kw_str entry = {0};
    struct results results = {0};
    kw_entry_begin(&entry, 0);
    kw_record_encode(&entry, record);
    kw_entry_end(&entry, 1);
    assert_int_equal(kw_meta_state_apply(meta, index, entry.data, entry.len, note_result, &results), 0);
    assert_int_equal(results.count, 1);
    assert_true(kw_meta_state_index(meta) == index);
    kw_str_deinit(&entry);
    return results.row[0];
}

/* Applies at the next index. */
static struct kw_meta_result next(struct kw_meta_state *meta, const struct kw_record *record) {
    return apply(meta, kw_meta_state_index(meta) + 1, record);
}

static void assert_result(struct kw_meta_result result, int code, uint64_t version) {
    if (result.code != code || result.version != version) {
        fail_msg("result %d, version %llu; expected %d, %llu", result.code, (unsigned long long)result.version, code,
                 (unsigned long long)version);
    }
}

static struct kw_record put_of(unsigned table, const char *key, const char *value, uint64_t expect) {
    return (struct kw_record){.type = KW_RECORD_PUT,
                              .table = table,
                              .expect = expect,
                              .key = key,
                              .key_len = strlen(key),
                              .value = value,
                              .value_len = strlen(value)};
}

static struct kw_meta_result put(struct kw_meta_state *meta, unsigned table, const char *key, const char *value,
                                 uint64_t expect) {
    struct kw_record record = put_of(table, key, value, expect);
    return next(meta, &record);
}

static struct kw_meta_result del(struct kw_meta_state *meta, unsigned table, const char *key, uint64_t expect) {
    struct kw_record record = put_of(table, key, "", expect);
    record.type = KW_RECORD_DELETE;
    return next(meta, &record);
}

static void assert_value(const struct kw_meta_state *meta, enum kw_meta_table table, const char *key,
                         const char *value) {
    struct kw_ptable_item item;
    bool there = kw_ptable_get(kw_meta_state_table(meta, table), key, strlen(key), &item);
    assert_int_equal(there, value != NULL);
    if (!value) return;
    assert_int_equal(item.value_len, strlen(value));
    assert_memory_equal(item.value, value, item.value_len);
}

static void bytes_of(struct kw_str *out, struct kw_meta_state *meta) {
    struct kw_meta_image *image = kw_meta_state_freeze(meta);
    size_t count;
    const struct kw_piece *pieces = kw_meta_image_pieces(image, &count);
    kw_str_clear(out);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    assert_int_equal(out->len, kw_meta_image_bytes(image));
    kw_meta_image_free(image);
}

static void assert_same_bytes(struct kw_meta_state *a, struct kw_meta_state *b) {
    struct kw_str one = {0}, other = {0};
    bytes_of(&one, a);
    bytes_of(&other, b);
    assert_int_equal(one.len, other.len);
    assert_memory_equal(one.data, other.data, one.len);
    kw_str_deinit(&one);
    kw_str_deinit(&other);
}

static int load(struct kw_meta_state *meta, const void *bytes, size_t len, char *why, size_t why_size) {
    unsigned char *exact = kw_malloc(len);
    memcpy(exact, bytes, len);
    int rc = kw_meta_state_load(meta, exact, len, why, why_size);
    kw_free(exact);
    return rc;
}

/* The state as a member has it that has just loaded it. */
static struct kw_meta_state *reloaded(struct kw_meta_state *meta) {
    struct kw_str bytes = {0};
    struct kw_meta_state *fresh = kw_meta_state_new();
    char why[128] = "";
    bytes_of(&bytes, meta);
    if (load(fresh, bytes.data, bytes.len, why, sizeof(why)) != 0) fail_msg("%s", why);
    kw_str_deinit(&bytes);
    return fresh;
}

/* ---- tables ---- */

static void expectations(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    assert_result(put(meta, KW_META_CONFIG, "a", "1", KW_EXPECT_ABSENT), 0, 1);
    assert_result(put(meta, KW_META_CONFIG, "a", "2", KW_EXPECT_ABSENT), KW_ECONFLICT, 1);
    assert_value(meta, KW_META_CONFIG, "a", "1");
    assert_result(put(meta, KW_META_CONFIG, "a", "3", 1), 0, 3);
    assert_result(put(meta, KW_META_CONFIG, "a", "4", 1), KW_ECONFLICT, 3);
    assert_result(put(meta, KW_META_CONFIG, "a", "5", KW_EXPECT_ANY), 0, 5);
    assert_result(put(meta, KW_META_CONFIG, "b", "6", 5), KW_ECONFLICT, 0);
    assert_value(meta, KW_META_CONFIG, "a", "5");
    assert_value(meta, KW_META_CONFIG, "b", NULL);
    assert_value(meta, KW_META_LOCKS, "a", NULL);

    assert_result(del(meta, KW_META_CONFIG, "a", 4), KW_ECONFLICT, 5);
    assert_result(del(meta, KW_META_CONFIG, "a", KW_EXPECT_ABSENT), KW_ECONFLICT, 5);
    assert_value(meta, KW_META_CONFIG, "a", "5");
    assert_result(del(meta, KW_META_CONFIG, "a", 5), 0, 9);
    assert_result(del(meta, KW_META_CONFIG, "a", 5), KW_ECONFLICT, 0);
    assert_result(del(meta, KW_META_CONFIG, "a", KW_EXPECT_ANY), KW_EUNKNOWN, 0);
    assert_result(apply(meta, 50, &(struct kw_record){.type = KW_RECORD_NOP}), 0, 0);
    assert_result(put(meta, KW_META_CONFIG, "a", "7", KW_EXPECT_ABSENT), 0, 51);
    kw_meta_state_free(meta);
}

static void refused_values(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    char *big = kw_calloc(65 * 1024 + 1, 1);
    memset(big, 'x', 65 * 1024);
    assert_result(put(meta, KW_META_CONFIG, "a", big, KW_EXPECT_ANY), KW_EINVALID, 0);
    assert_result(put(meta, KW_META_SCRIPTS, "a", big, KW_EXPECT_ANY), 0, 2);
    assert_result(put(meta, KW_META_CONFIG, "", "x", KW_EXPECT_ANY), KW_EINVALID, 0);
    assert_result(del(meta, KW_META_CONFIG, "", KW_EXPECT_ANY), KW_EINVALID, 0);
    assert_result(put(meta, KW_META_TABLE_COUNT, "a", "x", KW_EXPECT_ANY), KW_EINVALID, 0);
    assert_result(put(meta, 60000, "a", "x", KW_EXPECT_ANY), KW_EINVALID, 0);
    big[257] = '\0';
    assert_result(put(meta, KW_META_CONFIG, big, "x", KW_EXPECT_ANY), KW_EINVALID, 0);
    big[256] = '\0';
    assert_result(put(meta, KW_META_CONFIG, big, "x", KW_EXPECT_ANY), 0, 8);
    kw_free(big);
    kw_meta_state_free(meta);
}

static void a_full_table(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    char key[32];
    for (unsigned i = 0; i < 1000; i++) {
        snprintf(key, sizeof(key), "op %u", i);
        assert_result(put(meta, KW_META_OPERATIONS, key, "step", KW_EXPECT_ABSENT), 0, i + 1);
    }
    assert_result(put(meta, KW_META_OPERATIONS, "one more", "step", KW_EXPECT_ANY), KW_ELIMIT, 0);
    assert_result(put(meta, KW_META_OPERATIONS, "op 7", "over", KW_EXPECT_ANY), 0, 1002);
    assert_result(put(meta, KW_META_LOCKS, "another table", "x", KW_EXPECT_ANY), 0, 1003);
    assert_result(del(meta, KW_META_OPERATIONS, "op 8", KW_EXPECT_ANY), 0, 1004);
    assert_result(put(meta, KW_META_OPERATIONS, "one more", "step", KW_EXPECT_ANY), 0, 1005);
    assert_int_equal(kw_ptable_count(kw_meta_state_table(meta, KW_META_OPERATIONS)), 1000);
    kw_meta_state_free(meta);
}

/* Two writes of one entry have two versions: whoever made the first cannot take the second for its own. */
static void versions_of_one_entry_differ(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str entry = {0};
    struct results results = {0};
    struct kw_record first = put_of(KW_META_LOCKS, "k", "first", KW_EXPECT_ANY),
                     second = put_of(KW_META_LOCKS, "k", "second", KW_EXPECT_ANY);
    kw_entry_begin(&entry, 0);
    kw_record_encode(&entry, &first);
    kw_record_encode(&entry, &second);
    kw_entry_end(&entry, 2);
    assert_int_equal(kw_meta_state_apply(meta, 10, entry.data, entry.len, note_result, &results), 0);
    assert_int_equal(results.count, 2);
    assert_result(results.row[0], 0, 10);
    assert_result(results.row[1], 0, 11);
    assert_result(put(meta, KW_META_LOCKS, "k", "third", results.row[0].version), KW_ECONFLICT, 11);
    assert_result(put(meta, KW_META_LOCKS, "k", "third", results.row[1].version), 0, 12);
    kw_str_deinit(&entry);
    kw_meta_state_free(meta);
}

/* ---- entries that stop the process ---- */

static void unreadable_entries_change_nothing(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str entry = {0}, before = {0}, after = {0};
    struct results results = {0};
    struct kw_record record = put_of(KW_META_CONFIG, "a", "1", KW_EXPECT_ANY);
    next(meta, &record);
    bytes_of(&before, meta);

    static const struct {
        unsigned type, version, count;
        int code;
    } cases[] = {{7, 1, 2, KW_EUNKNOWN}, {1, 2, 2, KW_EUNKNOWN}, {0, 1, 2, KW_EPROTOCOL}, {1, 1, 3, KW_EPROTOCOL}};
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) { /* the first record is good, the second is not */
        kw_entry_begin(&entry, 0);
        kw_record_encode(&entry, &record);
        size_t second = entry.len;
        kw_record_encode(&entry, &record);
        entry.data[second] = (char)cases[i].type;
        entry.data[second + 1] = (char)cases[i].version;
        kw_entry_end(&entry, cases[i].count);
        assert_int_equal(kw_meta_state_apply(meta, 9, entry.data, entry.len, note_result, &results), cases[i].code);
    }
    kw_entry_begin(&entry, 0);
    kw_record_encode(&entry, &record);
    kw_entry_end(&entry, 1);
    assert_int_equal(kw_meta_state_apply(meta, 1, entry.data, entry.len, note_result, &results), KW_ERANGE);
    assert_int_equal(kw_meta_state_apply(meta, 0, entry.data, entry.len, note_result, &results), KW_ERANGE);
    entry.data[entry.len - 1] ^= 1;
    assert_int_equal(kw_meta_state_apply(meta, 9, entry.data, entry.len, note_result, &results), KW_EPROTOCOL);
    assert_int_equal(results.count, 0);
    bytes_of(&after, meta);
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    kw_str_deinit(&entry);
    kw_str_deinit(&before);
    kw_str_deinit(&after);
    kw_meta_state_free(meta);
}

/* ---- the map ---- */

static struct kw_map *sample_map(unsigned shards, uint64_t epoch) {
    struct kw_map *map = kw_map_new_try(shards);
    for (unsigned i = 0; i < shards; i++) {
        struct kw_map_node *node = &map->nodes[i];
        snprintf(node->id, sizeof(node->id), "%040u", i);
        snprintf(node->host, sizeof(node->host), "10.0.0.%u", i);
        node->port = 7000;
        node->primary = true;
        node->primary_index = (int)i;
        node->config_epoch = epoch;
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT && shards; slot++) map->owner[slot] = (int16_t)(slot % shards);
    map->version = 77;
    return map;
}

static struct kw_meta_result put_map(struct kw_meta_state *meta, unsigned shards, uint64_t epoch, uint64_t expect) {
    struct kw_map *map = sample_map(shards, epoch);
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, map);
    struct kw_meta_result result =
        next(meta,
             &(struct kw_record){.type = KW_RECORD_MAP, .expect = expect, .value = bytes.data, .value_len = bytes.len});
    kw_str_deinit(&bytes);
    kw_map_unref(map);
    return result;
}

static void maps_follow_each_other(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    assert_int_equal(kw_meta_state_map(meta)->version, 0);
    assert_result(put_map(meta, 3, 5, 1), KW_ECONFLICT, 0);
    assert_result(put_map(meta, 3, 5, KW_EXPECT_ANY), KW_ECONFLICT, 0);
    assert_result(put_map(meta, 3, 5, 0), 0, 1);
    assert_int_equal(kw_meta_state_map(meta)->node_count, 3);
    assert_int_equal(kw_meta_state_map(meta)->highest_epoch, 5);
    struct kw_map *kept = kw_map_ref(kw_meta_state_map(meta));
    assert_result(put_map(meta, 2, 4, 0), KW_ECONFLICT, 1);
    assert_result(put_map(meta, 2, 4, 1), 0, 2);
    assert_int_equal(kw_meta_state_map(meta)->version, 2);
    assert_int_equal(kw_meta_state_map(meta)->highest_epoch, 5); /* never falls */
    assert_result(put_map(meta, 0, 0, 2), KW_EINVALID, 0);       /* that is what DETACH is for */
    struct kw_record garbage = {.type = KW_RECORD_MAP, .expect = 2, .value = "garbage", .value_len = 7};
    assert_result(next(meta, &garbage), KW_EINVALID, 0);
    assert_int_equal(kw_meta_state_map(meta)->node_count, 2);

    struct kw_record detach = {.type = KW_RECORD_DETACH, .expect = 1};
    assert_result(next(meta, &detach), KW_ECONFLICT, 2);
    detach.expect = 2;
    assert_result(next(meta, &detach), 0, 3);
    assert_int_equal(kw_meta_state_map(meta)->node_count, 0);
    assert_int_equal(kw_meta_state_map(meta)->version, 3);
    assert_int_equal(kw_meta_state_map(meta)->highest_epoch, 5);
    assert_result(put_map(meta, 4, 9, 3), 0, 4);
    assert_int_equal(kw_meta_state_map(meta)->highest_epoch, 9);
    assert_int_equal(kept->version, 1); /* what a reader kept is as it was */
    assert_int_equal(kept->node_count, 3);
    kw_map_unref(kept);
    kw_meta_state_free(meta);
}

/* ---- requests ---- */

static void set_id(struct kw_record *record, uint64_t number) {
    kw_put64(record->request_id, number);
    record->request_id[KW_REQUEST_ID_SIZE - 1] = 1;
}

static void the_same_request_is_done_once(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_record record = put_of(KW_META_LOCKS, "k", "mine", KW_EXPECT_ABSENT);
    set_id(&record, 1);
    assert_result(next(meta, &record), 0, 1);
    assert_result(del(meta, KW_META_LOCKS, "k", KW_EXPECT_ANY), 0, 2);
    assert_result(next(meta, &record), 0, 1); /* the first answer, and nothing was written */
    assert_value(meta, KW_META_LOCKS, "k", NULL);
    set_id(&record, 2);
    record.expect = 44;
    assert_result(next(meta, &record), KW_ECONFLICT, 0); /* what was refused stays refused */
    put(meta, KW_META_LOCKS, "k", "x", KW_EXPECT_ANY);
    record.expect = KW_EXPECT_ANY;
    assert_result(next(meta, &record), KW_ECONFLICT, 0);
    struct kw_meta_state *fresh = reloaded(meta);
    assert_result(next(fresh, &record), KW_ECONFLICT, 0);
    set_id(&record, 1);
    assert_result(next(fresh, &record), 0, 1);
    set_id(&record, 3);
    assert_result(next(fresh, &record), 0, 9);
    kw_meta_state_free(fresh);
    kw_meta_state_free(meta);
}

/* An entry of `count` writes with the ids from `first` on. */
static void apply_ids(struct kw_meta_state *meta, uint64_t first, unsigned count, struct results *results) {
    struct kw_str entry = {0};
    results->count = 0;
    kw_entry_begin(&entry, 0);
    for (unsigned i = 0; i < count; i++) {
        struct kw_record record = put_of(KW_META_LOCKS, "counter", "x", KW_EXPECT_ANY);
        set_id(&record, first + i);
        kw_record_encode(&entry, &record);
    }
    kw_entry_end(&entry, count);
    uint64_t index = kw_meta_state_index(meta) + 1;
    assert_int_equal(kw_meta_state_apply(meta, index, entry.data, entry.len, note_result, results), 0);
    kw_str_deinit(&entry);
}

static void the_oldest_requests_are_forgotten(void **state) {
    (void)state;
    struct kw_meta_state *meta = kw_meta_state_new(), *fresh = NULL;
    static struct results results;
    enum { ROUNDS = 160, BATCH = 512 }; /* more than are remembered */
    for (uint64_t i = 0; i < ROUNDS; i++) {
        apply_ids(meta, i * BATCH, BATCH, &results);
        if (i == 40) fresh = reloaded(meta);
        if (i > 40) apply_ids(fresh, i * BATCH, BATCH, &results);
    }
    assert_same_bytes(meta, fresh);
    uint64_t last = ROUNDS * BATCH - 1, oldest = last + 1 - KW_REQUESTS_MAX;
    for (uint64_t first = oldest; first < last; first += BATCH) { /* each of them is known */
        apply_ids(meta, first, BATCH, &results);
        for (unsigned i = 0; i < BATCH; i++) assert_result(results.row[i], 0, first + i + 1);
    }
    struct kw_record record = put_of(KW_META_LOCKS, "counter", "x", KW_EXPECT_ANY);
    set_id(&record, last);
    assert_result(next(meta, &record), 0, last + 1);
    set_id(&record, oldest);
    assert_result(next(meta, &record), 0, oldest + 1);
    set_id(&record, oldest - 1); /* forgotten: done anew */
    assert_result(next(meta, &record), 0, last + 2);
    set_id(&record, oldest); /* and now the next has gone */
    assert_result(next(meta, &record), 0, last + 3);
    assert_in_range(kw_meta_state_bytes(meta), 65536 * 25, 65536 * 40);
    kw_meta_state_free(meta);
    kw_meta_state_free(fresh);
}

/* ---- the same log, the same bytes ---- */

static uint64_t seed;

static uint32_t pick(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

/* Any record, good or bad; what it points to is in `scratch`. */
static struct kw_record random_record(struct kw_str *scratch, const struct kw_meta_state *meta) {
    static char value[70000];
    struct kw_record record = {.type = (enum kw_record_type)(1 + pick(6)), .table = pick(KW_META_TABLE_COUNT + 1)};
    uint64_t map_version = kw_meta_state_map(meta)->version;
    if (pick(10) < 7) record.type = pick(3) ? KW_RECORD_PUT : KW_RECORD_DELETE;
    record.expect = pick(4) ? KW_EXPECT_ANY : pick(100);
    if (record.type == KW_RECORD_MAP || record.type == KW_RECORD_DETACH) record.expect = map_version + !pick(3);
    if (pick(2)) set_id(&record, pick(4000));
    memset(value, (int)pick(256), 100);
    record.value = value;
    record.value_len = pick(50) ? pick(250) : pick(sizeof(value));
    kw_str_clear(scratch);
    kw_str_printf(scratch, "key %u", pick(400));
    record.key_len = scratch->len;
    if (record.type == KW_RECORD_MAP && pick(4)) {
        struct kw_map *map = sample_map(1 + pick(5), pick(50));
        size_t at = scratch->len;
        kw_map_encode(scratch, map);
        record.value = scratch->data + at;
        record.value_len = scratch->len - at;
        kw_map_unref(map);
    }
    record.key = scratch->data;
    return record;
}

static void random_entry(struct kw_str *entry, const struct kw_meta_state *meta) {
    struct kw_str scratch = {0};
    unsigned count = pick(8);
    kw_entry_begin(entry, pick(1000));
    for (unsigned i = 0; i < count; i++) {
        struct kw_record record = random_record(&scratch, meta);
        kw_record_encode(entry, &record);
    }
    kw_entry_end(entry, count);
    kw_str_deinit(&scratch);
}

/* One member never reloads, one does now and then, one is far behind and catches up from a snapshot. */
static void replay(uint64_t of, unsigned entries) {
    struct kw_meta_state *steady = kw_meta_state_new(), *restless = kw_meta_state_new();
    struct kw_meta_image *old = NULL;
    struct kw_str entry = {0}, then = {0};
    uint64_t index = 0;
    seed = of;
    for (unsigned i = 0; i < entries; i++) {
        struct results a = {0}, b = {0};
        index += 1 + pick(3);
        random_entry(&entry, steady);
        assert_int_equal(kw_meta_state_apply(steady, index, entry.data, entry.len, note_result, &a), 0);
        assert_int_equal(kw_meta_state_apply(restless, index, entry.data, entry.len, note_result, &b), 0);
        assert_int_equal(a.count, b.count);
        for (unsigned n = 0; n < a.count; n++) assert_result(a.row[n], b.row[n].code, b.row[n].version);
        if (pick(200) == 0) {
            struct kw_meta_state *fresh = reloaded(restless);
            kw_meta_state_free(restless);
            restless = fresh;
            assert_same_bytes(steady, restless);
        }
        if (pick(300) == 0) { /* an image is held while entries go on */
            kw_meta_image_free(old);
            old = kw_meta_state_freeze(steady);
        }
    }
    assert_same_bytes(steady, restless);
    bytes_of(&then, steady);
    assert_true(kw_hash64(then.data, then.len, 0) != 0);
    kw_meta_image_free(old);
    kw_meta_state_free(steady);
    kw_meta_state_free(restless);
    kw_str_deinit(&entry);
    kw_str_deinit(&then);
}

static void a_log_gives_the_same_bytes(void **state) {
    (void)state;
    replay(1, 4000);
    replay(2, 4000);
    replay(3, 1500);
}

/* ---- snapshots that are none ---- */

static struct kw_meta_state *sample_state(void) {
    struct kw_meta_state *meta = kw_meta_state_new();
    static char large[1500];
    struct kw_record record = put_of(KW_META_CONFIG, "with an id", "x", KW_EXPECT_ANY);
    memset(large, 'l', sizeof(large) - 1);
    put(meta, KW_META_CONFIG, "a", "1", KW_EXPECT_ANY);
    put(meta, KW_META_SCRIPTS, "large", large, KW_EXPECT_ANY);
    put(meta, KW_META_PROXIES, "p1", "10.0.0.1 1.0", KW_EXPECT_ANY);
    put_map(meta, 2, 5, 0);
    set_id(&record, 5);
    next(meta, &record);
    return meta;
}

static void damaged_snapshots_are_refused(void **state) {
    (void)state;
    struct kw_meta_state *meta = sample_state(), *other = kw_meta_state_new();
    struct kw_str bytes = {0}, before = {0}, after = {0};
    char why[128];
    bytes_of(&bytes, meta);
    put(other, KW_META_LOCKS, "kept", "x", KW_EXPECT_ANY);
    bytes_of(&before, other);
    for (size_t len = 0; len < bytes.len; len++) {
        why[0] = '\0';
        assert_int_equal(load(other, bytes.data, len, why, sizeof(why)), KW_EPROTOCOL);
        assert_true(why[0] != '\0');
    }
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] = (char)(bytes.data[i] ^ 0x20);
        assert_int_equal(load(other, bytes.data, bytes.len, why, sizeof(why)), KW_EPROTOCOL);
        bytes.data[i] = (char)(bytes.data[i] ^ 0x20);
    }
    kw_str_append(&bytes, "x", 1);
    assert_int_equal(load(other, bytes.data, bytes.len, why, sizeof(why)), KW_EPROTOCOL);
    bytes_of(&after, other); /* and nothing has changed */
    assert_int_equal(before.len, after.len);
    assert_memory_equal(before.data, after.data, before.len);
    kw_str_deinit(&bytes);
    kw_str_deinit(&before);
    kw_str_deinit(&after);
    kw_meta_state_free(meta);
    kw_meta_state_free(other);
}

/* The header lies, with a right checksum. */
static void forged_headers_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        unsigned size;
        uint64_t value;
        int code;
        const char *why;
    } lies[] = {
        {0, 1, 'X', KW_EPROTOCOL, "no snapshot"},
        {6, 2, 2, KW_EUNKNOWN, "newer version"},
        {8, 8, 7, KW_EPROTOCOL, "cut"},
        {16, 8, UINT64_MAX, KW_EPROTOCOL, "impossible numbers"},
        {24, 8, UINT64_MAX, KW_EPROTOCOL, "impossible numbers"},
        {32, 8, UINT64_MAX, KW_EPROTOCOL, "impossible numbers"},
        {32, 8, 1, KW_EPROTOCOL, "from the future"},
        {40, 8, UINT64_MAX, KW_EPROTOCOL, "requests"},
        {40, 8, 0, KW_EPROTOCOL, "behind its end"},
        {40, 8, 2, KW_EPROTOCOL, "requests"},
        {48, 8, 1, KW_EPROTOCOL, "parts of a backup"},
        {56, 4, 2, KW_EUNKNOWN, "newer version"},
        {60, 4, 99, KW_EUNKNOWN, "newer version"},
        {60, 4, 3, KW_EPROTOCOL, "requests"},
        {64, 4, UINT32_MAX, KW_EPROTOCOL, "map"},
        {64, 4, 0, KW_EPROTOCOL, "map"},
        {68, 4, 1, KW_EPROTOCOL, "map"},
    };
    struct kw_meta_state *meta = sample_state(), *other = kw_meta_state_new();
    struct kw_str bytes = {0};
    char why[128];
    for (size_t i = 0; i < KW_ARRAY_LEN(lies); i++) {
        bytes_of(&bytes, meta);
        kw_bytes_put(bytes.data + lies[i].at, lies[i].size, lies[i].value);
        kw_put64(bytes.data + 72, kw_hash64(bytes.data, 72, 0x6d657461));
        int rc = load(other, bytes.data, bytes.len, why, sizeof(why));
        if (rc != lies[i].code || !strstr(why, lies[i].why)) fail_msg("lie %zu: %d, %s", i, rc, why);
    }
    kw_str_deinit(&bytes);
    kw_meta_state_free(meta);
    kw_meta_state_free(other);
}

static void load_survives_no_memory(void **state) {
    (void)state;
    struct kw_meta_state *meta = sample_state(), *other = kw_meta_state_new();
    struct kw_str bytes = {0};
    char why[128];
    int rc;
    long failures = 0;
    bytes_of(&bytes, meta);
    /* The state that is being filled is made first, of memory that we chose: 2 for the map, 2 a table. */
    for (long nth = 19; (rc = (kw_alloc_fail_nth(nth), load(other, bytes.data, bytes.len, why, sizeof(why)))) != 0;
         nth++) {
        assert_int_equal(rc, KW_ENOMEM);
        failures++;
    }
    kw_alloc_fail_nth(0);
    assert_true(failures > 10);
    assert_same_bytes(meta, other);
    kw_str_deinit(&bytes);
    kw_meta_state_free(meta);
    kw_meta_state_free(other);
}

/* ---- backup and restore ---- */

/* A state whose image has four parts. */
static struct kw_meta_state *large_state(void) {
    struct kw_meta_state *meta = sample_state();
    static char value[20000];
    char key[32];
    for (unsigned i = 0; i < 80; i++) {
        snprintf(key, sizeof(key), "script %u", i);
        memset(value, (int)(i + 1), sizeof(value) - 1);
        put(meta, KW_META_SCRIPTS, key, value, KW_EXPECT_ANY);
    }
    return meta;
}

static struct kw_meta_result restore_part(struct kw_meta_state *meta, const struct kw_str *image, unsigned nth,
                                          uint64_t id) {
    struct kw_record record;
    struct kw_str scratch = {0};
    assert_true(kw_meta_restore_part(&record, &scratch, image->data, image->len, nth));
    if (id) set_id(&record, id);
    struct kw_meta_result result = next(meta, &record);
    kw_str_deinit(&scratch);
    return result;
}

static void assert_restored(const struct kw_meta_state *meta, struct kw_meta_state *from) {
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) {
        if (i == KW_META_PROXIES) continue;
        assert_int_equal(kw_ptable_count(kw_meta_state_table(meta, (enum kw_meta_table)i)),
                         kw_ptable_count(kw_meta_state_table(from, (enum kw_meta_table)i)));
    }
    assert_value(meta, KW_META_CONFIG, "a", "1");
    assert_true(kw_map_equal(kw_meta_state_map(meta), kw_meta_state_map(from)));
    uint64_t had = kw_meta_state_map(from)->version;
    assert_int_equal(kw_meta_state_map(meta)->version, had ? had + KW_META_RESTORE_GAP : 0);
    assert_int_equal(kw_meta_state_recovery_epoch(meta), kw_meta_state_recovery_epoch(from) + 1);
}

static void a_backup_comes_back(void **state) {
    (void)state;
    struct kw_meta_state *from = large_state(), *meta = kw_meta_state_new();
    struct kw_str image = {0}, scratch = {0};
    struct kw_record none;
    bytes_of(&image, from);
    assert_in_range(image.len, 3 * 512 * 1024, 4 * 512 * 1024);
    assert_false(kw_meta_restore_part(&none, &scratch, image.data, image.len, 4));

    put(meta, KW_META_PROXIES, "p2", "10.0.0.2 1.1", KW_EXPECT_ANY); /* proxies do not wait to be asked */
    for (unsigned nth = 0; nth < 4; nth++) {
        assert_result(restore_part(meta, &image, nth, nth + 100), 0, nth == 3 ? 1 : 0);
        if (nth < 3) assert_value(meta, KW_META_CONFIG, "a", NULL); /* not before all are there */
        struct kw_meta_state *fresh = reloaded(meta);               /* a snapshot in between keeps them */
        assert_same_bytes(meta, fresh);
        kw_meta_state_free(meta);
        meta = fresh;
    }
    assert_restored(meta, from);
    assert_int_equal(kw_meta_state_index(meta), 5);
    assert_value(meta, KW_META_PROXIES, "p1", NULL);
    assert_value(meta, KW_META_PROXIES, "p2", "10.0.0.2 1.1");
    assert_in_range(kw_meta_state_bytes(meta), 0, image.len * 3 / 2); /* the parts are gone */

    assert_result(restore_part(meta, &image, 3, 103), 0, 1); /* repeated: the first answer */
    for (unsigned nth = 0; nth < 3; nth++) assert_result(restore_part(meta, &image, nth, nth + 100), 0, 0);
    assert_result(restore_part(meta, &image, 3, 0), KW_ECONFLICT, 0); /* anew: no */
    assert_result(restore_part(meta, &image, 0, 0), KW_ECONFLICT, 0);
    struct kw_record known = put_of(KW_META_CONFIG, "with an id", "y", KW_EXPECT_ANY);
    set_id(&known, 5); /* what was answered before the backup stays answered */
    assert_result(next(meta, &known), 0, 5);
    assert_value(meta, KW_META_CONFIG, "with an id", "x");
    assert_result(put(meta, KW_META_LOCKS, "k", "v", KW_EXPECT_ANY), 0,
                  KW_META_RESTORE_GAP + 86); /* no version comes twice */
    kw_str_deinit(&image);
    kw_str_deinit(&scratch);
    kw_meta_state_free(meta);
    kw_meta_state_free(from);
}

/* A second restore, of the restored one's backup, counts on. */
static void recovery_epochs_grow(void **state) {
    (void)state;
    struct kw_meta_state *meta = sample_state();
    struct kw_str image = {0};
    for (unsigned round = 1; round <= 3; round++) {
        bytes_of(&image, meta);
        struct kw_meta_state *fresh = kw_meta_state_new();
        assert_result(restore_part(fresh, &image, 0, 7), 0, round);
        assert_restored(fresh, meta);
        kw_meta_state_free(meta);
        meta = fresh;
    }
    kw_str_deinit(&image);
    kw_meta_state_free(meta);
}

static void restore_only_into_an_empty_state(void **state) {
    (void)state;
    struct kw_meta_state *from = large_state();
    struct kw_str image = {0};
    bytes_of(&image, from);
    for (unsigned way = 0; way < 4; way++) {
        struct kw_meta_state *meta = kw_meta_state_new();
        assert_result(restore_part(meta, &image, 0, 0), 0, 0);
        assert_result(next(meta, &(struct kw_record){.type = KW_RECORD_NOP}), 0, 0);  /* is no write */
        assert_result(del(meta, KW_META_CONFIG, "k", KW_EXPECT_ANY), KW_EUNKNOWN, 0); /* nor what was refused */
        assert_result(restore_part(meta, &image, 1, 0), 0, 0);
        if (way == 0) put(meta, KW_META_CONFIG, "k", "v", KW_EXPECT_ANY);
        if (way == 1) put_map(meta, 2, 5, 0);
        if (way == 2) next(meta, &(struct kw_record){.type = KW_RECORD_DETACH, .expect = 0});
        assert_result(restore_part(meta, &image, 2, 0), way == 3 ? 0 : KW_ECONFLICT, 0);
        assert_result(restore_part(meta, &image, 3, 0), way == 3 ? 0 : KW_ECONFLICT, way == 3);
        if (way == 0) assert_value(meta, KW_META_CONFIG, "k", "v");
        if (way != 3) assert_in_range(kw_meta_state_bytes(meta), 0, 200 * 1024); /* the parts are gone */
        kw_meta_state_free(meta);
    }
    kw_str_deinit(&image);
    kw_meta_state_free(from);
}

static void parts_come_in_order(void **state) {
    (void)state;
    struct kw_meta_state *from = large_state(), *meta = kw_meta_state_new();
    struct kw_str image = {0}, other = {0};
    bytes_of(&image, from);
    put(from, KW_META_SCRIPTS, "script 1", "x", KW_EXPECT_ANY);
    bytes_of(&other, from);
    assert_result(restore_part(meta, &image, 1, 0), KW_EINVALID, 0);
    assert_result(restore_part(meta, &image, 0, 0), 0, 0);
    assert_result(restore_part(meta, &image, 2, 0), KW_EINVALID, 0); /* one is missing: all over */
    assert_result(restore_part(meta, &image, 1, 0), KW_EINVALID, 0);
    assert_result(restore_part(meta, &image, 0, 0), 0, 0);
    assert_result(restore_part(meta, &other, 1, 0), KW_EINVALID, 0); /* of another backup */
    assert_result(restore_part(meta, &image, 0, 0), 0, 0);
    assert_result(restore_part(meta, &image, 1, 0), 0, 0);
    for (unsigned nth = 0; nth < 4; nth++) assert_result(restore_part(meta, &image, nth, 0), 0, nth == 3);
    kw_str_deinit(&image);
    kw_str_deinit(&other);
    kw_meta_state_free(meta);
    kw_meta_state_free(from);
}

/* A backup with one wrong byte: refused at the last part, and the state is as empty as before. */
static void a_bad_backup_leaves_nothing(void **state) {
    (void)state;
    struct kw_meta_state *from = large_state(), *meta = kw_meta_state_new(), *empty = kw_meta_state_new();
    struct kw_str image = {0};
    bytes_of(&image, from);
    image.data[image.len / 2] ^= 1;
    for (unsigned nth = 0; nth < 4; nth++) {
        assert_result(restore_part(meta, &image, nth, 0), nth == 3 ? KW_EINVALID : 0, 0);
    }
    for (unsigned i = 0; i < 4; i++) next(empty, &(struct kw_record){.type = KW_RECORD_NOP});
    assert_same_bytes(meta, empty);
    image.data[image.len / 2] ^= 1;
    for (unsigned nth = 0; nth < 4; nth++) assert_result(restore_part(meta, &image, nth, 0), 0, nth == 3);
    assert_restored(meta, from);
    kw_str_deinit(&image);
    kw_meta_state_free(meta);
    kw_meta_state_free(from);
    kw_meta_state_free(empty);
}

static void strange_parts_are_refused(void **state) {
    (void)state;
    static const struct {
        uint32_t nth, parts;
        uint64_t total;
        size_t len;
    } strange[] = {
        {0, 1, 0, 0},
        {0, 0, 0, 0},
        {0, 1, 5, 4},
        {0, 1, 5, 6},
        {1, 1, 5, 5},
        {0, 2, 5, 5},
        {0, UINT32_MAX, UINT64_MAX, 9},
        {0, 1, UINT64_MAX, 9},
        {0, 1, 4, 4}, /* possible, and no backup */
    };
    struct kw_meta_state *meta = kw_meta_state_new();
    struct kw_str value = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(strange); i++) {
        kw_str_clear(&value);
        kw_str_append_number(&value, 4, strange[i].nth);
        kw_str_append_number(&value, 4, strange[i].parts);
        kw_str_append_number(&value, 8, strange[i].total);
        kw_str_append(&value, "123456789", strange[i].len);
        struct kw_record record = {.type = KW_RECORD_RESTORE, .value = value.data, .value_len = value.len};
        assert_result(next(meta, &record), KW_EINVALID, 0);
    }
    for (size_t len = 0; len < 16; len++) {
        struct kw_record record = {.type = KW_RECORD_RESTORE, .value = value.data, .value_len = len};
        assert_result(next(meta, &record), KW_EINVALID, 0);
    }
    kw_str_deinit(&value);
    kw_meta_state_free(meta);
}

/* The record that restores carries an id that the backup knows: nothing breaks. */
static void a_backup_that_knows_the_id(void **state) {
    (void)state;
    struct kw_meta_state *from = sample_state(), *meta = kw_meta_state_new();
    struct kw_str image = {0};
    bytes_of(&image, from);
    assert_result(restore_part(meta, &image, 0, 5), 0, 1);
    assert_restored(meta, from);
    kw_str_deinit(&image);
    kw_meta_state_free(meta);
    kw_meta_state_free(from);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expectations),
        cmocka_unit_test(refused_values),
        cmocka_unit_test(a_full_table),
        cmocka_unit_test(versions_of_one_entry_differ),
        cmocka_unit_test(unreadable_entries_change_nothing),
        cmocka_unit_test(maps_follow_each_other),
        cmocka_unit_test(the_same_request_is_done_once),
        cmocka_unit_test(the_oldest_requests_are_forgotten),
        cmocka_unit_test(a_log_gives_the_same_bytes),
        cmocka_unit_test(damaged_snapshots_are_refused),
        cmocka_unit_test(forged_headers_are_refused),
        cmocka_unit_test(load_survives_no_memory),
        cmocka_unit_test(a_backup_comes_back),
        cmocka_unit_test(recovery_epochs_grow),
        cmocka_unit_test(restore_only_into_an_empty_state),
        cmocka_unit_test(parts_come_in_order),
        cmocka_unit_test(a_bad_backup_leaves_nothing),
        cmocka_unit_test(strange_parts_are_refused),
        cmocka_unit_test(a_backup_that_knows_the_id),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
