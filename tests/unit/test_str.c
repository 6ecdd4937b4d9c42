/*
 * The small tools: growing strings and the RESP that they write, the columns
 * of the error table, the lines of the log.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "base/resp_reply.h"
#include "base/str.h"

static void assert_text(struct kw_str *str, const char *want, size_t len) {
    assert_int_equal(str->len, len);
    assert_memory_equal(str->data, want, len + 1); /* with the NUL behind it */
    kw_str_deinit(str);
    assert_null(str->data);
    assert_int_equal(str->len + str->cap, 0);
}

#define assert_str(str, literal) assert_text(str, literal, sizeof(literal) - 1)

static void test_appending_grows_and_ends_with_nul(void **state KW_UNUSED) {
    struct kw_str str = {0};
    kw_str_append(&str, NULL, 0);
    assert_string_equal(str.data, "");
    kw_str_append_text(&str, "one");
    kw_str_append(&str, " \0two", 5);
    assert_str(&str, "one \0two");
    for (size_t len = 0; len < 5000; len++) {
        assert_int_equal(str.len, len);
        kw_str_append(&str, "x", 1);
        assert_true(str.cap > str.len);
        assert_int_equal(str.data[str.len], '\0');
    }
    char *kept = str.data;
    kw_str_clear(&str);
    assert_ptr_equal(str.data, kept);
    assert_str(&str, "");
}

static void test_printf_of_every_length(void **state KW_UNUSED) {
    char word[700];
    memset(word, 'w', sizeof(word));
    for (int len = 0; len < (int)sizeof(word); len++) {
        struct kw_str str = {0};
        kw_str_append_text(&str, "<");
        kw_str_printf(&str, "%.*s", len, word);
        kw_str_printf(&str, "%s", ">");
        assert_int_equal(str.len, (size_t)len + 2);
        assert_int_equal(strlen(str.data), str.len);
        assert_int_equal(str.data[str.len - 1], '>');
        kw_str_deinit(&str);
    }
}

static void test_resp_pieces(void **state KW_UNUSED) {
    struct kw_str str = {0};
    kw_str_resp_array(&str, 6);
    kw_str_resp_bulk(&str, "a\0b", 3);
    kw_str_resp_text(&str, "");
    kw_str_resp_int(&str, INT64_MIN);
    kw_str_resp_nil(&str);
    kw_str_resp_simple(&str, "OK");
    kw_str_resp_error(&str, "ERR '%s' at %d", "x", 7);
    struct kw_reply_scan scan = {0};
    size_t used = 0;
    assert_int_equal(kw_reply_scan(&scan, str.data, str.len, &used), KW_REPLY_DONE);
    assert_int_equal(used, str.len);
    assert_str(&str, "*6\r\n$3\r\na\0b\r\n$0\r\n\r\n:-9223372036854775808\r\n$-1\r\n+OK\r\n-ERR 'x' at 7\r\n");
}

/* Each piece for RESP2 and for RESP3, as Redis 7.0 writes it for either. */
static void test_resp3_types_and_what_resp2_has_in_their_place(void **state KW_UNUSED) {
    static const char *const want[] = {
        [2] = "*4\r\n*3\r\n*2\r\n$-1\r\n*-1\r\n:1\r\n:0\r\n$3\r\n1.5\r\n$4\r\na\r\nb\r\n*0\r\n*0\r\n",
        [3] = "%2\r\n~3\r\n>2\r\n_\r\n_\r\n#t\r\n#f\r\n,1.5\r\n=8\r\ntxt:a\r\nb\r\n%0\r\n~0\r\n",
    };
    for (int resp = 2; resp <= 3; resp++) {
        struct kw_str str = {0};
        kw_str_resp_map(&str, resp, 2);
        kw_str_resp_set(&str, resp, 3);
        kw_str_resp_push(&str, resp, 2);
        kw_str_resp_null(&str, resp);
        kw_str_resp_null_array(&str, resp);
        kw_str_resp_bool(&str, resp, 7); /* anything but 0 is true */
        kw_str_resp_bool(&str, resp, 0);
        kw_str_resp_double(&str, resp, 1.5);
        kw_str_resp_verbatim(&str, resp, "a\r\nb", 4);
        kw_str_resp_map(&str, resp, 0);
        kw_str_resp_set(&str, resp, 0);
        assert_text(&str, want[resp], strlen(want[resp]));
    }
}

static void test_resp3_doubles(void **state KW_UNUSED) {
    static const struct {
        double value;
        const char *text;
    } rows[] = {
        {0, "0"},
        {-3, "-3"},
        {10.5, "10.5"},
        {1e21, "1e+21"},
        {INFINITY, "inf"},
        {-INFINITY, "-inf"},
        {0.1, "0.10000000000000001"},
        {1e-300, "1e-300"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        struct kw_str resp2 = {0}, resp3 = {0}, want2 = {0}, want3 = {0};
        kw_str_resp_double(&resp2, 2, rows[i].value);
        kw_str_resp_double(&resp3, 3, rows[i].value);
        kw_str_resp_text(&want2, rows[i].text);
        kw_str_printf(&want3, ",%s\r\n", rows[i].text);
        assert_text(&resp2, want2.data, want2.len);
        assert_text(&resp3, want3.data, want3.len);
        kw_str_deinit(&want2);
        kw_str_deinit(&want3);
    }
}

/* Counts are right in both: two pairs hold four values, so the whole is one reply. */
static void test_a_map_is_one_reply_in_either_protocol(void **state KW_UNUSED) {
    for (int resp = 2; resp <= 3; resp++) {
        struct kw_str str = {0};
        kw_str_resp_map(&str, resp, 2);
        kw_str_resp_set(&str, resp, 2);
        kw_str_resp_verbatim(&str, resp, "", 0);
        kw_str_resp_null(&str, resp);
        kw_str_resp_null_array(&str, resp);
        kw_str_resp_bool(&str, resp, 1);
        kw_str_resp_double(&str, resp, 2.25);
        struct kw_reply_scan scan = {0};
        size_t used = 0;
        assert_int_equal(kw_reply_scan(&scan, str.data, str.len, &used), KW_REPLY_DONE);
        assert_int_equal(used, str.len);
        kw_str_deinit(&str);
    }
}

static void test_an_error_cannot_break_the_framing(void **state KW_UNUSED) {
    struct kw_str str = {0};
    kw_str_append_text(&str, "+OK\r\n"); /* what stood before is left alone */
    kw_str_resp_error(&str, "ERR %s", "a\r\n+forged\r\nb\n");
    assert_str(&str, "+OK\r\n-ERR a  +forged  b \r\n");
}

static void test_error_columns(void **state KW_UNUSED) {
    assert_int_equal(KW_OK, 0);
    assert_string_equal(kw_error_text(0), "ok");
    assert_string_equal(kw_error_text(KW_ENOMEM), "out of memory");
    assert_string_equal(kw_error_text(1), "unknown error");
    assert_string_equal(kw_error_text(-1000), "unknown error");
    assert_false(kw_error_retryable(-1000) || kw_error_may_have_run(-1000));
    assert_false(kw_error_retryable(0) || kw_error_may_have_run(0));
    static const struct {
        int code;
        bool retry, ran;
    } rows[] = {
#define X(name, retry, ran, text) {KW_E##name, retry, ran},
        KW_ERROR_MAP(X)
#undef X
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        assert_int_equal(rows[i].code, -(int)(i + 1)); /* dense: a code is also a place in a table */
        assert_int_equal(kw_error_retryable(rows[i].code), rows[i].retry);
        assert_int_equal(kw_error_may_have_run(rows[i].code), rows[i].ran);
        assert_string_not_equal(kw_error_text(rows[i].code), "unknown error");
    }
    /* Only these leave a client in doubt. */
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        bool doubt = rows[i].code == KW_ELINKLOST || rows[i].code == KW_ETIMEOUT || rows[i].code == KW_EINDOUBT;
        assert_int_equal(kw_error_may_have_run(rows[i].code), doubt);
    }
}

/* ---- log ---- */

static char log_path[] = "/tmp/keyway-test-log-XXXXXX";

static int open_log(void **state KW_UNUSED) {
    int fd = mkstemp(log_path);
    return fd < 0 || close(fd) != 0;
}

static int remove_log(void **state KW_UNUSED) {
    return kw_log_open(NULL, KW_LOG_NOTICE) != 0 || unlink(log_path) != 0;
}

/* What the log holds now; it is emptied. */
static void read_log(struct kw_str *out) {
    char buf[8192];
    kw_str_clear(out);
    FILE *file = fopen(log_path, "r");
    assert_non_null(file);
    size_t got;
    while ((got = fread(buf, 1, sizeof(buf), file)) > 0) kw_str_append(out, buf, got);
    fclose(file);
    assert_int_equal(truncate(log_path, 0), 0);
}

static size_t count_lines(const struct kw_str *text) {
    size_t lines = 0;
    for (size_t i = 0; i < text->len; i++) lines += text->data[i] == '\n';
    return lines;
}

static void test_log_writes_one_clean_line_an_event(void **state KW_UNUSED) {
    struct kw_str text = {0};
    assert_int_equal(kw_log_open(log_path, KW_LOG_VERBOSE), 0);
    assert_false(kw_log_enabled(KW_LOG_DEBUG));
    assert_true(kw_log_enabled(KW_LOG_VERBOSE));
    kw_log(KW_LOG_DEBUG, "not this one");
    kw_log(KW_LOG_WARNING, "a\nb\tc\x1b[0m %d", 42);
    read_log(&text);
    assert_int_equal(count_lines(&text), 1);
    assert_non_null(strstr(text.data, " # a?b?c?[0m 42\n"));
    assert_int_equal(text.data[10], 'T');
    assert_int_equal(text.data[23], 'Z');

    char longest[3000];
    memset(longest, 'l', sizeof(longest) - 1);
    longest[sizeof(longest) - 1] = '\0';
    kw_log(KW_LOG_NOTICE, "%s", longest);
    read_log(&text);
    assert_int_equal(count_lines(&text), 1);
    assert_true(text.len > 900 && text.len <= 1024);
    assert_int_equal(text.data[text.len - 1], '\n');
    kw_str_deinit(&text);
}

static void test_a_log_that_cannot_be_opened_keeps_the_old_one(void **state KW_UNUSED) {
    struct kw_str text = {0};
    assert_int_equal(kw_log_open(log_path, KW_LOG_NOTICE), 0);
    assert_int_equal(kw_log_open("/nonexistent/folder/log", KW_LOG_DEBUG), KW_EIO);
    assert_false(kw_log_enabled(KW_LOG_DEBUG));
    kw_log(KW_LOG_NOTICE, "still here");
    read_log(&text);
    assert_non_null(strstr(text.data, " * still here\n"));
    kw_str_deinit(&text);
}

static void test_limited_lines_are_counted(void **state KW_UNUSED) {
    static struct kw_log_limit limit;
    struct kw_str text = {0};
    assert_int_equal(kw_log_open(log_path, KW_LOG_NOTICE), 0);
    for (int i = 0; i < 100; i++) kw_log_limited(&limit, KW_LOG_WARNING, "again and again");
    read_log(&text);
    assert_true(count_lines(&text) < 10);
    unsigned long long suppressed = atomic_load(&limit.suppressed);
    assert_true(suppressed > 90);
    atomic_store(&limit.last_ms, 1); /* long ago */
    kw_log_limited(&limit, KW_LOG_WARNING, "again and again");
    read_log(&text);
    assert_int_equal(count_lines(&text), 2);
    assert_non_null(strstr(text.data, "similar lines left out)"));
    assert_int_equal(atomic_load(&limit.suppressed), 0);
    kw_str_deinit(&text);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_appending_grows_and_ends_with_nul),
        cmocka_unit_test(test_printf_of_every_length),
        cmocka_unit_test(test_resp_pieces),
        cmocka_unit_test(test_resp3_types_and_what_resp2_has_in_their_place),
        cmocka_unit_test(test_resp3_doubles),
        cmocka_unit_test(test_a_map_is_one_reply_in_either_protocol),
        cmocka_unit_test(test_an_error_cannot_break_the_framing),
        cmocka_unit_test(test_error_columns),
        cmocka_unit_test(test_log_writes_one_clean_line_an_event),
        cmocka_unit_test(test_a_log_that_cannot_be_opened_keeps_the_old_one),
        cmocka_unit_test(test_limited_lines_are_counted),
    };
    return cmocka_run_group_tests(tests, open_log, remove_log);
}
