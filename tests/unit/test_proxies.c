/*
 * The list of proxies: what it takes from a text, that the shares cover every
 * slot once and evenly, that ids depend on the address alone, and what is found.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/error.h"
#include "cluster/proxies.h"
#include "cluster/slot.h"

static struct kw_proxies proxies;

static void parse(const char *text, unsigned count) {
    kw_proxies_deinit(&proxies);
    assert_int_equal(kw_proxies_parse(&proxies, text), 0);
    assert_int_equal(proxies.count, count);
}

static int drop(void **state KW_UNUSED) {
    kw_proxies_deinit(&proxies);
    return 0;
}

static void words(void **state KW_UNUSED) {
    parse("", 0);
    parse("10.0.0.1:7379", 1);
    parse(" 10.0.0.1:7379,kw-2:7380  [fd00::1]:7379 ", 3);
    assert_string_equal(proxies.list[0].host, "10.0.0.1");
    assert_int_equal(proxies.list[0].port, 7379);
    assert_false(proxies.list[0].named);
    assert_string_equal(proxies.list[1].host, "kw-2");
    assert_int_equal(proxies.list[1].port, 7380);
    assert_true(proxies.list[1].named);
    assert_string_equal(proxies.list[2].host, "fd00::1");
    assert_false(proxies.list[2].named);
}

static void doubles_count_once(void **state KW_UNUSED) {
    parse("a:1 b:1 a:1 a:2", 3);
    assert_int_equal(proxies.list[2].port, 2);
}

static void not_addresses(void **state KW_UNUSED) {
    static const char *const bad[] = {"a", "a:1 b", "a:0", "a:70000", ":1", "a:1 b:x"};
    for (size_t i = 0; i < KW_ARRAY_LEN(bad); i++) {
        struct kw_proxies out;
        assert_int_equal(kw_proxies_parse(&out, bad[i]), KW_EINVALID);
        assert_int_equal(out.count, 0);
        assert_null(out.list);
    }
}

/* For every number of proxies up to some hundreds: no gap, no overlap, shares that differ by one at most. */
static void shares(void **state KW_UNUSED) {
    char text[8192] = "";
    size_t len = 0;
    for (unsigned n = 1; n <= 300; n++) {
        len += (size_t)snprintf(text + len, sizeof(text) - len, "h:%u ", n);
        parse(text, n);
        unsigned next = 0;
        for (unsigned i = 0; i < n; i++) {
            unsigned size = proxies.list[i].last_slot - proxies.list[i].first_slot + 1;
            assert_int_equal(proxies.list[i].first_slot, next);
            assert_in_range(size, KW_SLOT_COUNT / n, (KW_SLOT_COUNT + n - 1) / n);
            next = proxies.list[i].last_slot + 1;
        }
        assert_int_equal(next, KW_SLOT_COUNT);
    }
}

static void ids_come_from_the_address(void **state KW_UNUSED) {
    parse("10.0.0.1:7379 10.0.0.2:7379", 2);
    /* printf 10.0.0.1:7379 | sha1sum */
    assert_string_equal(proxies.list[0].id, "60ae41d83b7fff7314644336d80112e537959695");
    assert_string_not_equal(proxies.list[0].id, proxies.list[1].id);
    assert_string_not_equal(proxies.list[0].shard, proxies.list[1].shard);
    assert_string_not_equal(proxies.list[0].id, proxies.list[0].shard);
    struct kw_proxies other;
    kw_proxies_one(&other, "10.0.0.2", 7379);
    assert_string_equal(other.list[0].id, proxies.list[1].id);
    assert_string_equal(other.list[0].shard, proxies.list[1].shard);
    kw_proxies_deinit(&other);
}

static void one_has_all(void **state KW_UNUSED) {
    struct kw_proxies one;
    kw_proxies_one(&one, "::1", 7379);
    assert_int_equal(one.count, 1);
    assert_string_equal(one.list[0].host, "::1");
    assert_int_equal(one.list[0].first_slot, 0);
    assert_int_equal(one.list[0].last_slot, KW_SLOT_COUNT - 1);
    kw_proxies_deinit(&one);
}

static void finding(void **state KW_UNUSED) {
    parse("a:1 b:1 b:2 [fd00::1]:3", 4);
    assert_int_equal(kw_proxies_find(&proxies, "b", 1), 1);
    assert_int_equal(kw_proxies_find(&proxies, "b", 3), -1);
    assert_int_equal(kw_proxies_find_text(&proxies, "b:2"), 2);
    assert_int_equal(kw_proxies_find_text(&proxies, "fd00::1:3"), 3);
    assert_int_equal(kw_proxies_find_text(&proxies, "b"), -1);
    assert_int_equal(kw_proxies_find_text(&proxies, ":1"), -1);
    assert_int_equal(kw_proxies_find_port(&proxies, 2), 2);
    assert_int_equal(kw_proxies_find_port(&proxies, 1), -1);
    assert_int_equal(kw_proxies_find_port(&proxies, 9), -1);
    assert_int_equal(kw_proxies_find_id(&proxies, proxies.list[3].id, KW_PROXY_ID_LEN), 3);
    assert_int_equal(kw_proxies_find_id(&proxies, proxies.list[3].id, KW_PROXY_ID_LEN - 1), -1);
    assert_int_equal(kw_proxies_find_id(&proxies, proxies.list[3].shard, KW_PROXY_ID_LEN), -1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(words, drop),
        cmocka_unit_test_teardown(doubles_count_once, drop),
        cmocka_unit_test_teardown(not_addresses, drop),
        cmocka_unit_test_teardown(shares, drop),
        cmocka_unit_test_teardown(ids_come_from_the_address, drop),
        cmocka_unit_test_teardown(one_has_all, drop),
        cmocka_unit_test_teardown(finding, drop),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
