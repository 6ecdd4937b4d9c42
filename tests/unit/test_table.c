/*
 * The hash table against a plain array: what was added is found, by its bytes
 * and nothing less, through every doubling and removal; and a walk meets each
 * node once, also while what was passed is taken out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/table.h"

enum { MANY = 5000 };

struct item {
    struct kw_table_node node;
    bool in;
    unsigned met;
    char name[16];
};

static struct item *make_items(void) {
    struct item *items = calloc(MANY, sizeof(*items));
    assert_non_null(items);
    for (int i = 0; i < MANY; i++) snprintf(items[i].name, sizeof(items[i].name), "name:%d", i);
    return items;
}

static void put(struct kw_table *table, struct item *item) {
    kw_table_add(table, &item->node, item->name, strlen(item->name));
    item->in = true;
}

static void take(struct kw_table *table, struct item *item) {
    kw_table_remove(table, &item->node);
    item->in = false;
}

/* Every item is found or not, as the array says; the count is theirs. */
static void assert_agrees(const struct kw_table *table, struct item *items) {
    size_t count = 0;
    for (int i = 0; i < MANY; i++) {
        struct kw_table_node *node = kw_table_find(table, items[i].name, strlen(items[i].name));
        assert_ptr_equal(node, items[i].in ? &items[i].node : NULL);
        count += items[i].in;
    }
    assert_int_equal(table->count, count);
}

/* A walk meets each that is in once, and none that is not. */
static void assert_walk(const struct kw_table *table, struct item *items) {
    for (int i = 0; i < MANY; i++) items[i].met = 0;
    for (struct kw_table_node *node = kw_table_next(table, NULL); node; node = kw_table_next(table, node)) {
        KW_CONTAINER_OF(node, struct item, node)->met++;
    }
    for (int i = 0; i < MANY; i++) assert_int_equal(items[i].met, items[i].in);
}

static void test_an_empty_one_has_nothing(void **state KW_UNUSED) {
    struct kw_table table = {0};
    assert_null(kw_table_find(&table, "a", 1));
    assert_null(kw_table_find(&table, "", 0));
    assert_null(kw_table_next(&table, NULL));
    kw_table_deinit(&table);
    assert_null(table.buckets);
}

static void test_what_is_added_is_found_through_every_doubling(void **state KW_UNUSED) {
    struct kw_table table = {0};
    struct item *items = make_items();
    for (int i = 0; i < MANY; i++) {
        put(&table, &items[i]);
        assert_int_equal(table.bucket_count & (table.bucket_count - 1), 0);
        assert_true(table.bucket_count >= table.count);
        if ((i & (i - 1)) == 0) assert_agrees(&table, items);
    }
    assert_agrees(&table, items);
    assert_walk(&table, items);
    kw_table_deinit(&table);
    assert_int_equal(table.count + table.bucket_count, 0);
    free(items);
}

static void test_adding_and_removing_in_any_order(void **state KW_UNUSED) {
    struct kw_table table = {0};
    struct item *items = make_items();
    uint32_t seed = 7;
    for (int i = 0; i < 8 * MANY; i++) {
        seed = seed * 1664525 + 1013904223;
        struct item *item = &items[(seed >> 8) % MANY];
        (item->in ? take : put)(&table, item);
        if (i % MANY == 0) assert_walk(&table, items);
    }
    assert_agrees(&table, items);
    for (int i = 0; i < MANY; i++) {
        if (items[i].in) take(&table, &items[i]);
    }
    assert_agrees(&table, items);
    assert_null(kw_table_next(&table, NULL));
    kw_table_deinit(&table);
    free(items);
}

/* The rule of kw_table_next: the one before may go as soon as the next is known. */
static void test_a_walk_may_take_out_what_it_has_passed(void **state KW_UNUSED) {
    struct kw_table table = {0};
    struct item *items = make_items();
    for (int i = 0; i < MANY; i++) put(&table, &items[i]);
    size_t passed = 0;
    struct kw_table_node *next;
    for (struct kw_table_node *node = kw_table_next(&table, NULL); node; node = next) {
        next = kw_table_next(&table, node);
        struct item *item = KW_CONTAINER_OF(node, struct item, node);
        assert_true(item->in);
        take(&table, item);
        passed++;
    }
    assert_int_equal(passed, MANY);
    assert_int_equal(table.count, 0);
    kw_table_deinit(&table);
    free(items);
}

static void test_keys_are_bytes(void **state KW_UNUSED) {
    static const struct {
        const char *key;
        size_t len;
    } keys[] = {{"", 0},     {"\0", 1}, {"\0\0", 2}, {"a", 1},       {"a\0", 2},
                {"a\0b", 3}, {"A", 1},  {"\xff", 1}, {"\xff\xff", 2}};
    struct kw_table table = {0};
    struct kw_table_node nodes[KW_ARRAY_LEN(keys)];
    for (size_t i = 0; i < KW_ARRAY_LEN(keys); i++) {
        assert_null(kw_table_find(&table, keys[i].key, keys[i].len));
        kw_table_add(&table, &nodes[i], keys[i].key, keys[i].len);
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(keys); i++) {
        char copy[4];
        memcpy(copy, keys[i].key, keys[i].len); /* the bytes count, not where they are */
        assert_ptr_equal(kw_table_find(&table, copy, keys[i].len), &nodes[i]);
        assert_ptr_equal(nodes[i].key, keys[i].key);
        assert_int_equal(nodes[i].len, keys[i].len);
    }
    kw_table_deinit(&table);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_an_empty_one_has_nothing),
        cmocka_unit_test(test_what_is_added_is_found_through_every_doubling),
        cmocka_unit_test(test_adding_and_removing_in_any_order),
        cmocka_unit_test(test_a_walk_may_take_out_what_it_has_passed),
        cmocka_unit_test(test_keys_are_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
