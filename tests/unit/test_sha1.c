/* SHA-1 against the published vectors (FIPS 180-4 examples) and the digest that Redis documents for "return 1". */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/sha1.h"
#include "proxy/upstream/scripts.h"

static void check(const void *data, size_t len, const char *want) {
    char got[KW_SHA1_HEX + 1];
    kw_sha1_hex(data, len, got);
    assert_string_equal(got, want);
}

static void test_vectors(void **state) {
    (void)state;
    check("", 0, "da39a3ee5e6b4b0d3255bfef95601890afd80709");
    check("abc", 3, "a9993e364706816aba3e25717850c26c9cd0d89d");
    check("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56, "84983e441c3bd26ebaae4aa1f95129e5e54670f1");
    check("return 1", 8, "e0e1f9fabfc9d4800c877a703b823ac0578ff8db");
    char *million = kw_malloc(1000000);
    memset(million, 'a', 1000000);
    check(million, 1000000, "34aa973cd4c4daa4f61eeb2bdbad27316534016f");
    kw_free(million);
}

static void test_registry_finds_what_it_was_given(void **state) {
    (void)state;
    struct kw_scripts *scripts = kw_scripts_new();
    struct kw_str text = {0};
    const char *sha1 = "E0E1F9FABFC9D4800C877A703B823AC0578FF8DB";
    assert_false(kw_scripts_find(scripts, sha1, 40, kw_scripts_moment(scripts), &text));
    kw_scripts_remember(scripts, "return 1", 8);
    kw_scripts_remember(scripts, "return 1", 8);
    assert_true(kw_scripts_find(scripts, sha1, 40, kw_scripts_moment(scripts), &text));
    assert_string_equal(text.data, "return 1");
    assert_false(kw_scripts_find(scripts, sha1, 39, kw_scripts_moment(scripts), &text));
    kw_scripts_clear(scripts);
    assert_false(kw_scripts_find(scripts, sha1, 40, kw_scripts_moment(scripts), &text));
    /* What was cleared is taken in again. */
    kw_scripts_remember(scripts, "return 1", 8);
    assert_true(kw_scripts_find(scripts, sha1, 40, kw_scripts_moment(scripts), &text));
    kw_str_deinit(&text);
    kw_scripts_free(scripts);
}

static void test_registry_forgets_one(void **state) {
    (void)state;
    enum { COUNT = 20000 }; /* so that many share a bucket */
    struct kw_scripts *scripts = kw_scripts_new();
    struct kw_str text = {0};
    char line[32], sha1[KW_SHA1_HEX + 1];
    for (int turn = 0; turn < 2; turn++) {
        for (int n = 0; n < COUNT; n++)
            kw_scripts_remember(scripts, line, (size_t)snprintf(line, sizeof(line), "return %d", n));
        for (int n = 0; n < COUNT; n += 3)
            kw_scripts_forget(scripts, line, (size_t)snprintf(line, sizeof(line), "return %d", n));
        kw_scripts_forget(scripts, "return 'nobody'", 15);
        for (int n = 0; n < COUNT; n++) {
            kw_sha1_hex(line, (size_t)snprintf(line, sizeof(line), "return %d", n), sha1);
            assert_int_equal(kw_scripts_find(scripts, sha1, KW_SHA1_HEX, kw_scripts_moment(scripts), &text),
                             n % 3 != 0);
        }
    }
    kw_str_deinit(&text);
    kw_scripts_free(scripts);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors),
        cmocka_unit_test(test_registry_finds_what_it_was_given),
        cmocka_unit_test(test_registry_forgets_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
