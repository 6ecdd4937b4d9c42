/*
 * The reply scanner: where each kind of RESP2 and RESP3 reply ends, whole, cut
 * at every byte and byte by byte; what is no RESP; numbers that would overflow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/resp_reply.h"
#include "base/str.h"

#define BYTES(text) text, sizeof(text) - 1

struct reply {
    const char *bytes;
    size_t len;
};

static const struct reply good[] = {
    {BYTES("+OK\r\n")},
    {BYTES("+\r\n")},
    {BYTES("-ERR no such thing\r\n")},
    {BYTES(":0\r\n")},
    {BYTES(":-9223372036854775808\r\n")},
    {BYTES("$5\r\nhello\r\n")},
    {BYTES("$0\r\n\r\n")},
    {BYTES("$-1\r\n")},
    {BYTES("$12\r\n+OK\r\n$-1\r\n\r\n\r\n")},
    {BYTES("$3\r\n\0\n\r\r\n")},
    {BYTES("$007\r\n1234567\r\n")},
    {BYTES("*0\r\n")},
    {BYTES("*-1\r\n")},
    {BYTES("*1\r\n*-1\r\n")},
    {BYTES("*3\r\n:1\r\n$-1\r\n+x\r\n")},
    {BYTES("*2\r\n*2\r\n:1\r\n*0\r\n*3\r\n$1\r\na\r\n$-1\r\n-ERR x\r\n")},
    {BYTES("*1\r\n*1\r\n*1\r\n*1\r\n*1\r\n$0\r\n\r\n")},
    {BYTES("*2\r\n*1\r\n*0\r\n*0\r\n")},
    /* RESP3 */
    {BYTES("_\r\n")},
    {BYTES("#t\r\n")},
    {BYTES("#f\r\n")},
    {BYTES(",1.23\r\n")},
    {BYTES(",-inf\r\n")},
    {BYTES("(3492890328409238509324850943850943825024385\r\n")},
    {BYTES("=15\r\ntxt:Some string\r\n")},
    {BYTES("!21\r\nSYNTAX invalid syntax\r\n")},
    {BYTES("%0\r\n")},
    {BYTES("%2\r\n+a\r\n:1\r\n$1\r\nb\r\n*2\r\n#t\r\n_\r\n")},
    {BYTES("%1\r\n%1\r\n+k\r\n~1\r\n:1\r\n%0\r\n")},
    {BYTES("~0\r\n")},
    {BYTES("~3\r\n+x\r\n,1\r\n~2\r\n:1\r\n:2\r\n")},
    {BYTES(">3\r\n+message\r\n$2\r\nch\r\n$0\r\n\r\n")},
    /* An attribute belongs to what follows it. */
    {BYTES("|1\r\n+ttl\r\n:3600\r\n$5\r\nhello\r\n")},
    {BYTES("|0\r\n+OK\r\n")},
    {BYTES("|1\r\n|1\r\n+a\r\n+b\r\n+k\r\n:1\r\n*1\r\n|1\r\n+x\r\n*0\r\n:1\r\n")},
    {BYTES("*2\r\n|1\r\n+ttl\r\n:3600\r\n:1\r\n:2\r\n")},
};

static const struct reply bad[] = {
    {BYTES("\r\n")},
    {BYTES("OK\r\n")},
    {BYTES("HTTP/1.1 400 Bad Request\r\n")},
    {BYTES("\0")},
    {BYTES("*1\r\nx")},
    {BYTES("*2\r\n:1\r\n\r\n")},
    {BYTES("$\r\n")},
    {BYTES("$-\r\n")},
    {BYTES("$--1\r\n")},
    {BYTES("$+1\r\n")},
    {BYTES("$1-\r\n")},
    {BYTES("$1 \r\n")},
    {BYTES("$ 1\r\n")},
    {BYTES("$a\r\n")},
    {BYTES("$?\r\n")}, /* streamed strings: no server sends them */
    {BYTES("*\r\n")},
    {BYTES("*1\n")},
    {BYTES("*1\rx")},
    {BYTES("$5\r\nhello\r\nx")},
    /* Numbers that would wrap if they were believed. */
    {BYTES("$99999999999999999999\r\n")},
    {BYTES("$18446744073709551615\r\n")},
    {BYTES("$9223372036854775807\r\n")},
    {BYTES("*9223372036854775807\r\n")},
    {BYTES("%9223372036854775807\r\n")},
    {BYTES("|9223372036854775807\r\n")},
    {BYTES("*18446744073709551616\r\n")},
};

/* Scans an exact copy, so that a read beyond the bytes is seen. */
static enum kw_reply_result scan_exact(struct kw_reply_scan *scan, const char *bytes, size_t len, size_t *used) {
    char *exact = malloc(len + (len == 0));
    assert_non_null(exact);
    if (len) memcpy(exact, bytes, len);
    enum kw_reply_result result = kw_reply_scan(scan, exact, len, used);
    free(exact);
    return result;
}

static void assert_done(struct kw_reply_scan *scan, const struct reply *reply, size_t from) {
    size_t used = 0;
    assert_int_equal(scan_exact(scan, reply->bytes + from, reply->len - from, &used), KW_REPLY_DONE);
    assert_int_equal(used, reply->len - from);
    assert_int_equal(scan->first, reply->bytes[0]);
    assert_true(kw_reply_scan_idle(scan));
}

static void assert_more(struct kw_reply_scan *scan, const char *bytes, size_t len) {
    size_t used = SIZE_MAX;
    assert_int_equal(scan_exact(scan, bytes, len, &used), KW_REPLY_MORE);
    assert_int_equal(used, len);
}

static void test_every_kind_ends_where_it_ends(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(good); i++) {
        struct kw_reply_scan scan = {0};
        assert_true(kw_reply_scan_idle(&scan));
        assert_done(&scan, &good[i], 0);
    }
}

static void test_split_at_every_byte_equals_whole(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(good); i++) {
        for (size_t cut = 0; cut < good[i].len; cut++) {
            struct kw_reply_scan scan = {0};
            assert_more(&scan, good[i].bytes, cut);
            assert_int_equal(kw_reply_scan_idle(&scan), cut == 0);
            assert_done(&scan, &good[i], cut);
        }
        struct kw_reply_scan scan = {0};
        for (size_t at = 0; at + 1 < good[i].len; at++) assert_more(&scan, good[i].bytes + at, 1);
        assert_done(&scan, &good[i], good[i].len - 1);
    }
}

static void test_one_scanner_serves_a_pipeline(void **state KW_UNUSED) {
    struct kw_str stream = {0};
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < KW_ARRAY_LEN(good); i++) kw_str_append(&stream, good[i].bytes, good[i].len);
    }
    struct kw_reply_scan scan = {0};
    size_t at = 0;
    for (size_t i = 0; i < 2 * KW_ARRAY_LEN(good); i++) {
        const struct reply *reply = &good[i % KW_ARRAY_LEN(good)];
        size_t used = 0;
        assert_int_equal(kw_reply_scan(&scan, stream.data + at, stream.len - at, &used), KW_REPLY_DONE);
        assert_int_equal(used, reply->len);
        assert_int_equal(scan.first, reply->bytes[0]);
        at += used;
    }
    assert_int_equal(at, stream.len);
    kw_str_deinit(&stream);
}

/* The index of the byte at which the bytes are refused when they come one by one; len: never. */
static size_t refused_at(const struct reply *reply) {
    struct kw_reply_scan scan = {0};
    for (size_t at = 0; at < reply->len; at++) {
        size_t used;
        if (scan_exact(&scan, reply->bytes + at, 1, &used) == KW_REPLY_ERROR) return at;
    }
    return reply->len;
}

static void test_what_is_no_resp_is_refused(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(bad); i++) {
        size_t refused = refused_at(&bad[i]);
        assert_true(refused < bad[i].len);
        for (size_t cut = 0; cut <= refused; cut++) {
            struct kw_reply_scan scan = {0};
            size_t used = 0;
            enum kw_reply_result first = scan_exact(&scan, bad[i].bytes, cut, &used);
            if (first == KW_REPLY_DONE) { /* the error is behind a good reply */
                assert_true(kw_reply_scan_idle(&scan));
                assert_int_equal(scan_exact(&scan, bad[i].bytes + used, bad[i].len - used, &used), KW_REPLY_ERROR);
                continue;
            }
            assert_int_equal(first, KW_REPLY_MORE);
            size_t done = 0;
            enum kw_reply_result rest = scan_exact(&scan, bad[i].bytes + cut, bad[i].len - cut, &done);
            if (rest == KW_REPLY_DONE) {
                rest = scan_exact(&scan, bad[i].bytes + cut + done, bad[i].len - cut - done, &done);
            }
            assert_int_equal(rest, KW_REPLY_ERROR);
        }
    }
}

static void test_huge_counts_end_in_an_error_before_they_wrap(void **state KW_UNUSED) {
    struct kw_reply_scan scan = {0};
    static const char header[] = "%4294967295\r\n";
    uint64_t before = 0;
    for (int depth = 0;; depth++) {
        size_t used;
        enum kw_reply_result result = kw_reply_scan(&scan, header, sizeof(header) - 1, &used);
        if (result == KW_REPLY_ERROR) {
            assert_true(depth > 1);
            return;
        }
        assert_int_equal(result, KW_REPLY_MORE);
        assert_true(scan.pending > before);
        before = scan.pending;
        assert_true(depth < 1000);
    }
}

static void test_a_bulk_beyond_four_gigabytes_is_counted_right(void **state KW_UNUSED) {
    struct kw_reply_scan scan = {0};
    assert_more(&scan, BYTES("$5000000000\r\n"));
    assert_true(scan.skip == 5000000002ULL);
    scan.skip = 3; /* all but the last byte and the line's end have come */
    const struct reply rest = {BYTES("x\r\n")};
    size_t used = 0;
    assert_int_equal(scan_exact(&scan, rest.bytes, rest.len, &used), KW_REPLY_DONE);
    assert_int_equal(used, 3);
}

static void test_depth_costs_nothing(void **state KW_UNUSED) {
    enum { DEPTH = 100000 };
    struct kw_str nested = {0};
    for (int i = 0; i < DEPTH; i++) kw_str_append_text(&nested, i % 2 ? "*1\r\n" : "*2\r\n");
    for (int i = 0; i < DEPTH / 2 + 1; i++) kw_str_append_text(&nested, ":1\r\n");
    struct kw_reply_scan scan = {0};
    size_t used = 0;
    assert_int_equal(kw_reply_scan(&scan, nested.data, nested.len, &used), KW_REPLY_DONE);
    assert_int_equal(used, nested.len);
    kw_str_deinit(&nested);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_kind_ends_where_it_ends),
        cmocka_unit_test(test_split_at_every_byte_equals_whole),
        cmocka_unit_test(test_one_scanner_serves_a_pipeline),
        cmocka_unit_test(test_what_is_no_resp_is_refused),
        cmocka_unit_test(test_huge_counts_end_in_an_error_before_they_wrap),
        cmocka_unit_test(test_a_bulk_beyond_four_gigabytes_is_counted_right),
        cmocka_unit_test(test_depth_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
