/* Slots: CRC vectors of the specification, the published hash tag cases, and the sliced CRC against a plain one. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "cluster/slot.h"

static unsigned slot_of(const char *text) {
    return kw_slot_of_key(text, strlen(text));
}

/* CRC16-XMODEM bit by bit, as the definition has it. */
static unsigned plain_slot(const unsigned char *at, size_t len) {
    unsigned crc = 0;
    for (size_t i = 0; i < len; i++) {
        crc ^= (unsigned)at[i] << 8;
        for (int bit = 0; bit < 8; bit++) crc = ((crc & 0x8000U) ? (crc << 1) ^ 0x1021U : crc << 1) & 0xffffU;
    }
    return crc % KW_SLOT_COUNT;
}

static void known_vectors(void **state) {
    (void)state;
    assert_int_equal(slot_of("123456789"), 0x31C3);
    assert_int_equal(slot_of("foo"), 12182);
    assert_int_equal(slot_of("bar"), 5061);
    assert_int_equal(slot_of("hello"), 866);
    assert_int_equal(slot_of(""), 0);
    assert_int_equal(kw_slot_of_key(NULL, 0), 0);
}

static void assert_tag(const char *key, const char *expected) {
    const char *tag;
    size_t len;
    kw_slot_hash_tag(key, strlen(key), &tag, &len);
    assert_int_equal(len, strlen(expected));
    assert_memory_equal(tag, expected, len);
    assert_true(tag >= key && tag + len <= key + strlen(key));
    assert_int_equal(slot_of(key), plain_slot((const unsigned char *)expected, len));
}

/* The cases of the Redis Cluster specification, "Hash tags". */
static void hash_tags(void **state) {
    (void)state;
    assert_tag("{user1000}.following", "user1000");
    assert_tag("{user1000}.followers", "user1000");
    assert_tag("foo{}{bar}", "foo{}{bar}");
    assert_tag("foo{{bar}}zap", "{bar");
    assert_tag("foo{bar}{zap}", "bar");
    assert_tag("{", "{");
    assert_tag("}{", "}{");
    assert_tag("a{b", "a{b");
    assert_tag("a}b", "a}b");
    assert_tag("a}b{c}", "c");
    assert_tag("{}", "{}");
    assert_tag("{a}", "a");
    assert_tag("x{a}", "a");
    assert_int_equal(slot_of("{user1000}.following"), slot_of("{user1000}.followers"));
}

/* Each length around the step of the slicing, at each alignment, with bytes of every value. */
static void sliced_equals_plain(void **state) {
    unsigned char bytes[300];
    uint32_t seed = 12345;
    (void)state;
    for (int round = 0; round < 20; round++) {
        for (size_t i = 0; i < sizeof(bytes); i++) {
            seed = seed * 1664525U + 1013904223U;
            bytes[i] = (unsigned char)(seed >> 24);
            if (bytes[i] == '{') bytes[i] = 'x';
        }
        for (size_t start = 0; start < 9; start++) {
            for (size_t len = 0; len + start <= sizeof(bytes); len++) {
                assert_int_equal(kw_slot_of_key((const char *)bytes + start, len), plain_slot(bytes + start, len));
            }
        }
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(known_vectors),
        cmocka_unit_test(hash_tags),
        cmocka_unit_test(sliced_equals_plain),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
