/*
 * The table of the replicated state against a plain model: every operation,
 * sizes on both sides of each limit, images that never change, loading what
 * was written, and refusing everything else.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/str.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/table.h"
#include "raft/state/table_internal.h"

enum { HEADER = 40 }; /* of an image */

static uint64_t seed;

static uint32_t pick(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

/* ---- images as bytes ---- */

/* The caller frees the list. */
static struct kw_piece *pieces_of(const struct kw_ptable_image *image, size_t *count) {
    *count = kw_ptable_image_count(image);
    struct kw_piece *pieces = kw_malloc(*count * sizeof(*pieces));
    kw_ptable_image_pieces(image, pieces);
    return pieces;
}

static void gather(struct kw_str *out, const struct kw_ptable_image *image) {
    size_t count;
    struct kw_piece *pieces = pieces_of(image, &count);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    kw_free(pieces);
}

static void bytes_of(struct kw_str *out, struct kw_ptable *table) {
    struct kw_ptable_image *image = kw_ptable_freeze(table);
    gather(out, image);
    kw_ptable_image_free(image);
}

static void assert_same_bytes(struct kw_ptable *a, struct kw_ptable *b) {
    struct kw_str one = {0}, other = {0};
    bytes_of(&one, a);
    bytes_of(&other, b);
    assert_int_equal(one.len, other.len);
    assert_memory_equal(one.data, other.data, one.len);
    kw_str_deinit(&one);
    kw_str_deinit(&other);
}

/* Loads from memory of exactly that size, so that a sanitizer sees each byte read beyond it. */
static int load(struct kw_ptable **out, const void *bytes, size_t len, char *why, size_t why_size) {
    unsigned char *exact = kw_malloc(len);
    size_t used = 0;
    memcpy(exact, bytes, len);
    int rc = kw_ptable_load(out, exact, len, &used, why, why_size);
    if (rc == 0) assert_int_equal(used, len);
    kw_free(exact);
    return rc;
}

static struct kw_ptable *reloaded(struct kw_ptable *table) {
    struct kw_str bytes = {0};
    struct kw_ptable *copy = NULL;
    char why[128] = "";
    bytes_of(&bytes, table);
    assert_int_equal(load(&copy, bytes.data, bytes.len, why, sizeof(why)), 0);
    kw_str_deinit(&bytes);
    return copy;
}

/* ---- a model: key number -> what it should hold ---- */

enum { KEYS = 3000 };

struct model {
    bool there[KEYS];
    uint32_t value_len[KEYS];
    uint64_t version[KEYS];
    size_t count;
};

static size_t key_of(uint32_t number, char key[64]) {
    return (size_t)snprintf(key, 64, "key:%u", number);
}

/* The content of a value follows from its version. */
static void fill(unsigned char *value, size_t len, uint64_t version) {
    for (size_t i = 0; i < len; i++) value[i] = (unsigned char)(version * 31 + i * 7);
}

static uint32_t pick_len(void) {
    switch (pick(20)) {
    case 0: return 0;
    case 1: return 990 + pick(60); /* about the limit of a page of one's own */
    case 2: return 3000 + pick(70000);
    default: return pick(200);
    }
}

static void model_step(struct kw_ptable *table, struct model *model, uint32_t keys, uint64_t version) {
    static unsigned char value[80000];
    char key[64];
    uint32_t number = pick(keys);
    size_t key_len = key_of(number, key);
    if (pick(100) < 35) {
        assert_int_equal(kw_ptable_delete(table, key, key_len), model->there[number]);
        model->count -= model->there[number];
        model->there[number] = false;
        return;
    }
    uint32_t len = pick_len();
    fill(value, len, version);
    assert_int_equal(kw_ptable_put(table, key, key_len, value, len, version), model->there[number]);
    model->count += !model->there[number];
    model->there[number] = true;
    model->value_len[number] = len;
    model->version[number] = version;
}

static void check_record(const struct model *model, uint32_t number, const struct kw_ptable_item *item) {
    static unsigned char value[80000];
    assert_int_equal(item->version, model->version[number]);
    assert_int_equal(item->value_len, model->value_len[number]);
    fill(value, item->value_len, item->version);
    if (item->value_len) assert_memory_equal(item->value, value, item->value_len);
}

static void check_model(const struct kw_ptable *table, const struct model *model) {
    struct kw_ptable_item item;
    char key[64];
    size_t walked = 0;
    assert_int_equal(kw_ptable_count(table), model->count);
    for (uint32_t number = 0; number < KEYS; number++) {
        bool there = kw_ptable_get(table, key, key_of(number, key), &item);
        assert_int_equal(there, model->there[number]);
        if (there) check_record(model, number, &item);
    }
    for (uint64_t cursor = 0; kw_ptable_next(table, &cursor, &item); walked++) {
        char text[64] = "";
        assert_in_range(item.key_len, 5, 60);
        memcpy(text, item.key, item.key_len);
        check_record(model, (uint32_t)strtoul(text + 4, NULL, 10), &item);
    }
    assert_int_equal(walked, model->count);
}

/* Grows, shrinks and grows again; one table is reloaded over and over and must stay the same byte for byte. */
static void equals_model(void **state) {
    (void)state;
    static struct model model, twin_model;
    struct kw_ptable *table = kw_ptable_new(), *twin = kw_ptable_new();
    static const uint32_t keys[] = {KEYS, 40, KEYS, 3};
    uint64_t version = 0;
    for (size_t phase = 0; phase < sizeof(keys) / sizeof(keys[0]); phase++) {
        for (int step = 0; step < 6000; step++) {
            uint64_t at = seed = (version + 1) * 977;
            version++;
            model_step(table, &model, keys[phase], version);
            seed = at;
            model_step(twin, &twin_model, keys[phase], version);
            if (step % 1500 == 0) {
                struct kw_ptable *copy = reloaded(twin);
                kw_ptable_free(twin);
                twin = copy;
            }
        }
        check_model(table, &model);
        check_model(twin, &model);
        assert_same_bytes(table, twin);
        assert_int_equal(kw_ptable_newest(table), kw_ptable_newest(twin));
    }
    kw_ptable_free(table);
    kw_ptable_free(twin);
}

/* All deleted: the pages are given back, and the bytes are those of a table that never held anything but the newest. */
static void shrinks_to_nothing(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new();
    size_t empty = kw_ptable_bytes(table);
    char key[64], value[100] = {0};
    for (uint32_t i = 0; i < 20000; i++) kw_ptable_put(table, key, key_of(i, key), value, sizeof(value), i + 1);
    size_t full = kw_ptable_bytes(table);
    assert_in_range(full, 20000 * 110, 20000 * 180);
    for (uint32_t i = 0; i < 20000; i++) assert_true(kw_ptable_delete(table, key, key_of(i, key)));
    assert_int_equal(kw_ptable_count(table), 0);
    assert_in_range(kw_ptable_bytes(table), empty, empty + 16 * 1024);
    struct kw_str bytes = {0};
    bytes_of(&bytes, table);
    assert_int_equal(bytes.len, HEADER + KW_PAGE_HEADER); /* one empty page */
    kw_str_deinit(&bytes);
    kw_ptable_free(table);
}

static void any_bytes_are_keys(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new();
    struct kw_ptable_item item;
    char *long_key = kw_calloc(KW_KEY_MAX, 1);
    assert_false(kw_ptable_put(table, "", 0, "empty", 5, 1));
    assert_false(kw_ptable_put(table, "\0", 1, "zero", 4, 2));
    assert_false(kw_ptable_put(table, "\0\0", 2, NULL, 0, 3));
    assert_false(kw_ptable_put(table, long_key, KW_KEY_MAX, "long", 4, 4));
    assert_true(kw_ptable_put(table, long_key, KW_KEY_MAX, "longer", 6, 5));
    assert_int_equal(kw_ptable_count(table), 4);
    assert_true(kw_ptable_get(table, "", 0, &item));
    assert_memory_equal(item.value, "empty", 5);
    assert_true(kw_ptable_get(table, "\0\0", 2, &item));
    assert_int_equal(item.value_len, 0);
    assert_true(kw_ptable_get(table, long_key, KW_KEY_MAX, &item));
    assert_memory_equal(item.value, "longer", 6);
    assert_int_equal(item.version, 5);
    assert_false(kw_ptable_get(table, long_key, KW_KEY_MAX - 1, &item));
    struct kw_ptable *copy = reloaded(table);
    assert_same_bytes(table, copy);
    kw_ptable_free(copy);
    kw_ptable_free(table);
    kw_free(long_key);
}

/* A record moves between a bucket's page and one of its own; the others' references follow. */
static void large_come_and_go(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new();
    struct kw_ptable_item item;
    static char value[5000];
    char key[64];
    for (uint32_t i = 0; i < 50; i++) {
        memset(value, (int)('0' + i), sizeof(value));
        kw_ptable_put(table, key, key_of(i, key), value, sizeof(value), i + 1);
    }
    for (uint32_t i = 0; i < 50; i += 2) {
        if (i % 4) {
            assert_true(kw_ptable_delete(table, key, key_of(i, key)));
        } else {
            assert_true(kw_ptable_put(table, key, key_of(i, key), "small", 5, 100 + i));
        }
    }
    for (uint32_t i = 0; i < 50; i++) {
        bool there = kw_ptable_get(table, key, key_of(i, key), &item);
        assert_int_equal(there, i % 4 != 2);
        if (!there) continue;
        assert_int_equal(item.value_len, i % 4 == 0 ? 5 : sizeof(value));
        assert_int_equal(((const char *)item.value)[0], i % 4 == 0 ? 's' : (int)('0' + i));
    }
    struct kw_ptable *copy = reloaded(table);
    assert_same_bytes(table, copy);
    kw_ptable_free(copy);
    kw_ptable_free(table);
}

/* Any cursor is answered; those of another table's walk too. */
static void cursors_from_strangers(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new();
    struct kw_ptable_item item;
    char key[64];
    for (uint32_t i = 0; i < 500; i++) kw_ptable_put(table, key, key_of(i, key), "value", 5, 1);
    for (int i = 0; i < 2000; i++) {
        uint64_t cursor = ((uint64_t)pick(i % 2 ? UINT32_MAX : 64) << 32) | pick(i % 3 ? UINT32_MAX : 64);
        if (kw_ptable_next(table, &cursor, &item)) assert_memory_equal(item.value, "value", 5);
    }
    uint64_t cursor = UINT64_MAX;
    assert_false(kw_ptable_next(table, &cursor, &item));
    kw_ptable_free(table);
}

/* ---- images ---- */

static void image_never_changes(void **state) {
    (void)state;
    static struct model model;
    memset(&model, 0, sizeof(model));
    struct kw_ptable *table = kw_ptable_new();
    struct kw_ptable_image *images[6];
    struct kw_str then[6] = {{0}}, now = {0};
    uint64_t version = 1;
    seed = 5;
    for (int i = 0; i < 6; i++) {
        for (int step = 0; step < 2500; step++) model_step(table, &model, i % 2 ? 30 : KEYS, version++);
        images[i] = kw_ptable_freeze(table);
        gather(&then[i], images[i]);
    }
    kw_ptable_image_free(images[2]); /* one from the middle: the others keep what they share with it */
    for (int step = 0; step < 3000; step++) model_step(table, &model, KEYS, version++);
    check_model(table, &model);
    kw_ptable_free(table); /* the images live on */
    for (int i = 0; i < 6; i++) {
        if (i != 2) {
            kw_str_clear(&now);
            gather(&now, images[i]);
            assert_int_equal(now.len, then[i].len);
            assert_memory_equal(now.data, then[i].data, now.len);
            kw_ptable_image_free(images[i]);
        }
        kw_str_deinit(&then[i]);
    }
    kw_str_deinit(&now);
}

/* After a freeze only what is written is copied. */
static void copies_little(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new();
    char key[64], value[120] = {0};
    for (uint32_t i = 0; i < 50000; i++) kw_ptable_put(table, key, key_of(i, key), value, sizeof(value), 1);
    struct kw_ptable_image *image = kw_ptable_freeze(table);
    size_t count;
    struct kw_piece *before = pieces_of(image, &count);
    kw_ptable_put(table, key, key_of(77, key), value, sizeof(value), 2);
    struct kw_ptable_image *after_image = kw_ptable_freeze(table);
    struct kw_piece *after = pieces_of(after_image, &count);
    size_t differ = 0;
    assert_true(count > 3000);
    for (size_t i = 1; i < count; i++) differ += before[i].base != after[i].base;
    assert_int_equal(differ, 1);
    kw_free(before);
    kw_free(after);
    kw_ptable_image_free(image);
    kw_ptable_image_free(after_image);
    kw_ptable_free(table);
}

struct reader {
    struct kw_ptable_image *image;
    uint64_t sum, expected;
};

static uint64_t image_sum(const struct kw_ptable_image *image) {
    size_t count;
    uint64_t sum = 0;
    struct kw_piece *pieces = pieces_of(image, &count);
    for (size_t i = 0; i < count; i++) sum = kw_hash64(pieces[i].base, pieces[i].len, sum);
    kw_free(pieces);
    return sum;
}

static void *read_and_free(void *arg) {
    struct reader *reader = arg;
    reader->sum = image_sum(reader->image);
    kw_ptable_image_free(reader->image);
    return NULL;
}

/* Another thread reads and frees images while this one goes on writing; for the thread sanitizer above all. */
static void images_on_another_thread(void **state) {
    (void)state;
    static struct model model;
    memset(&model, 0, sizeof(model));
    struct kw_ptable *table = kw_ptable_new();
    uint64_t version = 1;
    seed = 9;
    for (int step = 0; step < 3000; step++) model_step(table, &model, KEYS, version++);
    for (int round = 0; round < 20; round++) {
        pthread_t thread;
        struct reader reader = {.image = kw_ptable_freeze(table)};
        reader.expected = image_sum(reader.image);
        assert_int_equal(pthread_create(&thread, NULL, read_and_free, &reader), 0);
        for (int step = 0; step < 300; step++) model_step(table, &model, KEYS, version++);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_true(reader.sum == reader.expected);
    }
    check_model(table, &model);
    kw_ptable_free(table);
}

/* ---- refusing ---- */

static struct kw_ptable *sample(void) {
    struct kw_ptable *table = kw_ptable_new();
    static char value[2000];
    char key[64];
    for (uint32_t i = 0; i < 30; i++) kw_ptable_put(table, key, key_of(i, key), "some value", 10, i + 1);
    kw_ptable_put(table, "large", 5, value, sizeof(value), 31);
    kw_ptable_put(table, "larger", 6, value, sizeof(value), 32);
    return table;
}

static void every_cut_and_every_flip_is_refused(void **state) {
    (void)state;
    struct kw_ptable *table = sample(), *out = NULL;
    struct kw_str bytes = {0};
    char why[128];
    bytes_of(&bytes, table);
    for (size_t len = 0; len < bytes.len; len++) {
        why[0] = '\0';
        assert_int_equal(load(&out, bytes.data, len, why, sizeof(why)), KW_EPROTOCOL);
        assert_true(why[0] != '\0');
    }
    for (size_t i = 0; i < bytes.len; i++) {
        bytes.data[i] = (char)(bytes.data[i] ^ (1 << i % 8));
        assert_int_equal(load(&out, bytes.data, bytes.len, why, sizeof(why)), KW_EPROTOCOL);
        bytes.data[i] = (char)(bytes.data[i] ^ (1 << i % 8));
    }
    assert_null(out);
    kw_str_deinit(&bytes);
    kw_ptable_free(table);
}

/* Writes the header's checksum anew. */
static void reseal_header(char *image) {
    kw_put64(image + 32, kw_hash64(image, 32, kw_get32(image)));
}

/* Writes a page's checksum anew. */
static void reseal_page(char *page) {
    kw_put64(page + 8, kw_hash64(page + KW_PAGE_HEADER, kw_get32(page), kw_get32(page + 4)));
}

/* Each lie is told with right checksums: the content itself gives it away. */
static void lies_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        unsigned size;
        uint64_t value;
        int code;
        const char *why;
    } lies[] = {
        {4, 4, 2, KW_EUNKNOWN, "newer format"},
        {8, 4, 0, KW_EPROTOCOL, "page"},
        {8, 4, UINT32_MAX, KW_EPROTOCOL, "page"},
        {12, 4, UINT32_MAX, KW_EPROTOCOL, "page"},
        {16, 8, 31, KW_EPROTOCOL, "number of records"},
        {16, 8, UINT64_MAX, KW_EPROTOCOL, "number of records"},
        {24, 8, 30, KW_EPROTOCOL, "newer than the newest"},
        {12, 4, 1, KW_EPROTOCOL, "not there"}, /* one large page fewer: a reference leads nowhere */
    };
    struct kw_ptable *table = sample(), *out = NULL;
    struct kw_str bytes = {0};
    char why[128];
    bytes_of(&bytes, table);
    for (size_t i = 0; i < sizeof(lies) / sizeof(lies[0]); i++) {
        struct kw_str lie = {0};
        kw_str_append(&lie, bytes.data, bytes.len);
        kw_bytes_put(lie.data + lies[i].at, lies[i].size, lies[i].value);
        reseal_header(lie.data);
        assert_int_equal(load(&out, lie.data, lie.len, why, sizeof(why)), lies[i].code);
        if (!strstr(why, lies[i].why)) fail_msg("lie %zu: %s", i, why);
        kw_str_deinit(&lie);
    }
    kw_str_deinit(&bytes);
    kw_ptable_free(table);
}

/* A table of one bucket with the given items, sealed. */
static void forge(struct kw_str *out, const void *items, size_t len, uint64_t count) {
    struct kw_ptable *table = kw_ptable_new();
    bytes_of(out, table);
    kw_ptable_free(table);
    kw_str_append(out, items, len);
    kw_put32(out->data + HEADER, (uint32_t)len);
    kw_put64(out->data + 16, count);
    kw_put64(out->data + 24, 9);
    reseal_header(out->data);
    reseal_page(out->data + HEADER);
}

static void put_item(struct kw_str *items, const char *key, size_t key_len, size_t value_len) {
    kw_str_append_number(items, 2, key_len);
    kw_str_append_number(items, 2, value_len);
    kw_str_append_number(items, 8, 1);
    kw_str_append(items, key, key_len);
    for (size_t i = 0; i < value_len; i++) kw_str_append(items, "v", 1);
}

static void assert_forged(struct kw_str *items, uint64_t count, const char *expected) {
    struct kw_str image = {0};
    struct kw_ptable *out = NULL;
    char why[128] = "";
    forge(&image, items->data, items->len, count);
    int rc = load(&out, image.data, image.len, why, sizeof(why));
    if (expected) {
        assert_int_equal(rc, KW_EPROTOCOL);
        if (!strstr(why, expected)) fail_msg("%s", why);
    } else {
        assert_int_equal(rc, 0);
        kw_ptable_free(out);
    }
    kw_str_deinit(&image);
    kw_str_clear(items);
}

static void forged_pages_are_refused(void **state) {
    (void)state;
    struct kw_str items = {0};
    put_item(&items, "a", 1, 3);
    put_item(&items, "b", 1, 3);
    assert_forged(&items, 2, NULL); /* that is how one looks that is right */
    put_item(&items, "a", 1, 3);
    put_item(&items, "b", 1, 3);
    put_item(&items, "a", 1, 5);
    assert_forged(&items, 3, "twice");
    for (uint32_t i = 0; i < 200; i++) { /* so many that they are sorted */
        char key[64];
        put_item(&items, key, key_of(i, key), 1);
    }
    put_item(&items, "key:7", 5, 1);
    assert_forged(&items, 201, "twice");
    put_item(&items, "a", 1, 1100); /* too large for a bucket's page */
    assert_forged(&items, 1, "do not fit");
    put_item(&items, "a", 1, 3);
    items.len--;
    assert_forged(&items, 1, "do not fit");
    put_item(&items, "a", 1, 3);
    kw_str_append(&items, "12345", 5);
    assert_forged(&items, 1, "do not fit");
    kw_str_deinit(&items);
}

/* A record in a bucket that is not its own. */
static void wrong_bucket_is_refused(void **state) {
    (void)state;
    struct kw_ptable *table = kw_ptable_new(), *out = NULL;
    struct kw_str bytes = {0}, swapped = {0};
    char key[64], value[100] = {0}, why[128] = "";
    for (uint32_t i = 0; kw_ptable_bytes(table) < 4096; i++) {
        kw_ptable_put(table, key, key_of(i, key), value, sizeof(value), 1);
    }
    bytes_of(&bytes, table);
    size_t first = KW_PAGE_HEADER + kw_get32(bytes.data + HEADER);
    size_t second = KW_PAGE_HEADER + kw_get32(bytes.data + HEADER + first);
    kw_str_append(&swapped, bytes.data, HEADER);
    kw_str_append(&swapped, bytes.data + HEADER + first, second);
    kw_str_append(&swapped, bytes.data + HEADER, first);
    kw_str_append(&swapped, bytes.data + HEADER + first + second, bytes.len - HEADER - first - second);
    assert_int_equal(load(&out, swapped.data, swapped.len, why, sizeof(why)), KW_EPROTOCOL);
    assert_non_null(strstr(why, "wrong place"));
    kw_str_deinit(&bytes);
    kw_str_deinit(&swapped);
    kw_ptable_free(table);
}

/* Memory that runs out at any point of a load leaves nothing behind. */
static void load_survives_no_memory(void **state) {
    (void)state;
    struct kw_ptable *table = sample(), *out = NULL;
    struct kw_str bytes = {0};
    char why[128];
    size_t used;
    int rc = KW_ENOMEM;
    long failures = 0;
    bytes_of(&bytes, table);
    for (long nth = 1; rc != 0; nth++) {
        kw_alloc_fail_nth(nth);
        rc = kw_ptable_load(&out, bytes.data, bytes.len, &used, why, sizeof(why));
        kw_alloc_fail_nth(0);
        if (rc == 0) break;
        assert_int_equal(rc, KW_ENOMEM);
        failures++;
    }
    assert_true(failures > 5);
    assert_same_bytes(table, out);
    kw_ptable_free(out);
    kw_ptable_free(table);
    kw_str_deinit(&bytes);
}

/* The hash is part of the formats on disk. */
static void hash_stays_as_it_is(void **state) {
    (void)state;
    unsigned char bytes[100];
    for (size_t i = 0; i < sizeof(bytes); i++) bytes[i] = (unsigned char)i;
    assert_true(kw_hash64(NULL, 0, 0) == UINT64_C(0x09d331b8b0d7f47f));
    assert_true(kw_hash64("a", 1, 0) == UINT64_C(0x4cf949a26018d950));
    assert_true(kw_hash64(bytes, sizeof(bytes), 1) == UINT64_C(0xc0c58e8d2f29d02e));
    for (size_t len = 0; len <= sizeof(bytes); len++) { /* each byte and each length counts, at any alignment */
        unsigned char moved[110];
        uint64_t sum = kw_hash64(bytes, len, 7);
        memcpy(moved + 3, bytes, len);
        assert_true(kw_hash64(moved + 3, len, 7) == sum);
        assert_true(kw_hash64(bytes, len, 8) != sum);
        for (size_t i = 0; i < len; i++) {
            moved[3 + i] ^= 0x10;
            assert_true(kw_hash64(moved + 3, len, 7) != sum);
            moved[3 + i] ^= 0x10;
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(equals_model),
        cmocka_unit_test(shrinks_to_nothing),
        cmocka_unit_test(any_bytes_are_keys),
        cmocka_unit_test(large_come_and_go),
        cmocka_unit_test(cursors_from_strangers),
        cmocka_unit_test(image_never_changes),
        cmocka_unit_test(copies_little),
        cmocka_unit_test(images_on_another_thread),
        cmocka_unit_test(every_cut_and_every_flip_is_refused),
        cmocka_unit_test(lies_are_refused),
        cmocka_unit_test(forged_pages_are_refused),
        cmocka_unit_test(wrong_bucket_is_refused),
        cmocka_unit_test(load_survives_no_memory),
        cmocka_unit_test(hash_stays_as_it_is),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
