/*
 * The line that MONITOR shows of a command: how bytes are quoted, what is
 * secret, what has not arrived yet, and which commands are not shown. The time
 * and the address in front are the clock's and the socket's: only their form.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_request.h"
#include "base/str.h"
#include "proxy/session/alert.h"
#include "proxy/session/intake.h"
#include "proxy/session/monitor.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { ARGS = 16 };

static struct kw_worker *worker;
static struct kw_session *session;
static struct kw_alert alert;

static int set_up(void **state KW_UNUSED) {
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    worker->alert = &alert;
    atomic_store(&alert.word, KW_ALERT_MONITOR);
    session = kw_calloc(1, sizeof(*session));
    session->worker = worker;
    session->tcp.type = UV_TCP;
    session->tcp.io_watcher.fd = -1; /* not connected: the address is "?:0" */
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    kw_pool_free(worker->pool);
    kw_free(session);
    kw_free(worker);
    return 0;
}

/* The line less its head, whose form is looked at; "" when nothing is shown. */
static void print(const char *name, const struct kw_arg *argv, const struct kw_request_parse *parse,
                  const struct kw_big *bigs, struct kw_str *out) {
    struct kw_str line = {0};
    const struct kw_command *cmd = kw_command_by_full_name(name, strlen(name));
    assert_non_null(cmd);
    kw_monitor_line(session, cmd, argv, parse, bigs, &line);
    if (line.len) {
        unsigned long long seconds;
        unsigned micros;
        int head = 0;
        assert_int_equal(sscanf(line.data, "+%llu.%6u [0 ?:0]%n", &seconds, &micros, &head), 2);
        assert_true(head > 0 && seconds > 1600000000ULL);
        kw_str_append(out, line.data + head, line.len - (size_t)head);
    }
    kw_str_deinit(&line);
}

static void assert_printed(const char *name, const struct kw_arg *argv, uint32_t argc, const char *want) {
    struct kw_request_arg args[ARGS] = {0};
    struct kw_request_parse parse = {.args = args, .argc = argc, .argc_seen = argc};
    struct kw_str got = {0};
    print(name, argv, &parse, NULL, &got);
    assert_string_equal(got.data ? got.data : "", want);
    kw_str_deinit(&got);
}

/* Arguments that are C strings, up to a NULL. */
static void assert_words(const char *name, const char *const *words, const char *want) {
    struct kw_arg argv[ARGS];
    uint32_t argc = 0;
    for (; words[argc]; argc++) argv[argc] = (struct kw_arg){words[argc], strlen(words[argc])};
    assert_printed(name, argv, argc, want);
}

#define WORDS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void test_words(void **state KW_UNUSED) {
    assert_words("get", WORDS("GET", "key"), " \"GET\" \"key\"\r\n");
    assert_words("set", WORDS("set", "", "a b"), " \"set\" \"\" \"a b\"\r\n");
}

/* Redis's own escapes; every other byte that does not print is \xHH. A line stays one line. */
static void test_bytes(void **state KW_UNUSED) {
    struct kw_arg argv[] = {{"GET", 3}, {"\\\"\n\r\t\a\b\0\x1b\x7f\xff~ ", 13}};
    assert_printed("get", argv, 2, " \"GET\" \"\\\\\\\"\\n\\r\\t\\a\\b\\x00\\x1b\\x7f\\xff~ \"\r\n");
    for (int c = 0; c < 256; c++) {
        char byte = (char)c;
        struct kw_arg one[] = {{&byte, 1}};
        struct kw_request_arg args[1] = {0};
        struct kw_request_parse parse = {.args = args, .argc = 1, .argc_seen = 1};
        struct kw_str got = {0};
        print("get", one, &parse, NULL, &got);
        for (size_t i = 0; i < got.len - 2; i++) assert_in_range(got.data[i], ' ', '~');
        assert_string_equal(got.data + got.len - 3, "\"\r\n");
        kw_str_deinit(&got);
    }
}

static void test_secrets(void **state KW_UNUSED) {
#define GONE " \"(redacted)\""
    assert_words("auth", WORDS("AUTH", "pw"), " \"AUTH\"" GONE "\r\n");
    assert_words("auth", WORDS("AUTH", "user", "pw"), " \"AUTH\"" GONE GONE "\r\n");
    assert_words("hello", WORDS("HELLO", "3", "auth", "user", "pw", "SETNAME", "me"),
                 " \"HELLO\" \"3\" \"auth\"" GONE GONE " \"SETNAME\" \"me\"\r\n");
    assert_words("hello", WORDS("HELLO", "3"), " \"HELLO\" \"3\"\r\n");
    assert_words("migrate", WORDS("MIGRATE", "h", "1", "k", "0", "9", "AUTH", "pw", "KEYS", "k"),
                 " \"MIGRATE\" \"h\" \"1\" \"k\" \"0\" \"9\" \"AUTH\"" GONE " \"KEYS\" \"k\"\r\n");
    assert_words("migrate", WORDS("MIGRATE", "h", "1", "k", "0", "9", "AUTH2", "user", "pw", "KEYS", "k"),
                 " \"MIGRATE\" \"h\" \"1\" \"k\" \"0\" \"9\" \"AUTH2\"" GONE GONE " \"KEYS\" \"k\"\r\n");
    assert_words("get", WORDS("GET", "auth", "pw"), " \"GET\" \"auth\" \"pw\"\r\n");
#undef GONE
}

static void test_who_is_not_shown(void **state KW_UNUSED) {
    assert_words("config|set", WORDS("CONFIG", "SET", "requirepass", "pw"), ""); /* admin commands are not */
    atomic_store(&alert.word, KW_ALERT_PAUSE);
    assert_words("get", WORDS("GET", "key"), ""); /* nobody looks */
}

/* A value that is received in pieces of its own, and one that flows through: only its size is known. */
static void test_large_values(void **state KW_UNUSED) {
    struct kw_arg argv[] = {{"SET", 3}, {"key", 3}, {NULL, 5}};
    struct kw_request_arg args[3] = {{.len = 3}, {.len = 3}, {.len = 5, .big = true}};
    struct kw_request_parse parse = {.args = args, .argc = 5, .argc_seen = 3};
    struct kw_big big = {0};
    struct kw_str got = {0};
    assert_non_null(kw_outq_copy_try(&big.data, worker->pool, "ab\"", 3, 64));
    struct kw_chunk *chunk = kw_chunk_new_try(worker->pool, 2);
    assert_non_null(chunk);
    memcpy(chunk->data, "cd", chunk->len = 2);
    assert_int_equal(kw_outq_ref_try(&big.data, worker->pool, chunk, 0, 2), 0);
    kw_chunk_unref(chunk);
    print("set", argv, &parse, &big, &got);
    assert_string_equal(got.data, " \"SET\" \"key\" \"ab\\\"cd\" \"... (2 more arguments)\"\r\n");
    kw_str_clear(&got);
    print("set", argv, &parse, NULL, &got);
    assert_string_equal(got.data, " \"SET\" \"key\" \"... (5 more bytes)\" \"... (2 more arguments)\"\r\n");
    kw_str_deinit(&got);
    kw_outq_clear(&big.data, worker->pool);
}

/* A password that is large is as secret as any. */
static void test_a_large_secret(void **state KW_UNUSED) {
    struct kw_arg argv[] = {{"AUTH", 4}, {NULL, 70000}};
    struct kw_request_arg args[2] = {{.len = 4}, {.len = 70000, .big = true}};
    struct kw_request_parse parse = {.args = args, .argc = 2, .argc_seen = 2};
    struct kw_str got = {0};
    print("auth", argv, &parse, NULL, &got);
    assert_string_equal(got.data, " \"AUTH\" \"(redacted)\"\r\n");
    kw_str_deinit(&got);
}

static void test_a_monitor_does_not_use_the_keyspace(void **state KW_UNUSED) {
    static const struct {
        const char *name;
        bool refused;
    } rows[] = {{"get", true}, {"set", true}, {"publish", true}, {"ping", false}, {"info", false}, {"quit", false}};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        const struct kw_command *cmd = kw_command_by_full_name(rows[i].name, strlen(rows[i].name));
        session->monitor = false;
        assert_false(kw_monitor_refuses(session, cmd));
        session->monitor = true;
        assert_int_equal(kw_monitor_refuses(session, cmd), rows[i].refused);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_words),
        TEST(test_bytes),
        TEST(test_secrets),
        TEST(test_who_is_not_shown),
        TEST(test_large_values),
        TEST(test_a_large_secret),
        TEST(test_a_monitor_does_not_use_the_keyspace),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
