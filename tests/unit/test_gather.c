/*
 * Replies as trees: what a node may say becomes a tree in however many pieces
 * it arrives, and what is no whole reply becomes nothing, whatever its bytes.
 * Then what is asked of a tree, and texts under the names of their nodes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <hiredis/hiredis.h>

#include "base/base.h"
#include "base/buffer.h"
#include "base/resp_reply.h"
#include "base/str.h"
#include "proxy/local/gather.h"

static struct kw_pool *pool;

static int set_up(void **state KW_UNUSED) {
    pool = kw_pool_new();
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    kw_pool_free(pool);
    return 0;
}

/* Parses the bytes as a link keeps them: in pieces of that size. */
static redisReply *parse(const char *bytes, size_t len, size_t piece) {
    struct kw_outq queue = {0};
    for (size_t at = 0; at < len; at += piece) {
        size_t part = len - at < piece ? len - at : piece;
        struct kw_chunk *chunk = kw_chunk_new_try(pool, part);
        assert_non_null(chunk);
        memcpy(chunk->data, bytes + at, part);
        chunk->len = part;
        assert_int_equal(kw_outq_ref_try(&queue, pool, chunk, 0, part), 0);
        kw_chunk_unref(chunk);
    }
    redisReply *reply = kw_reply_parse(&queue);
    kw_outq_clear(&queue, pool);
    return reply;
}

static redisReply *parse_text(const char *text) {
    redisReply *reply = parse(text, strlen(text), strlen(text) + 1);
    assert_non_null(reply);
    return reply;
}

#define LITERAL(text) (text), sizeof(text) - 1

static void test_a_tree_in_pieces_of_any_size(void **state KW_UNUSED) {
    static const char bytes[] =
        "*5\r\n$4\r\na\0\r\n\r\n:-9223372036854775808\r\n*2\r\n+OK\r\n-ERR no\r\n$-1\r\n*-1\r\n";
    for (size_t piece = 1; piece <= sizeof(bytes); piece++) {
        redisReply *reply = parse(LITERAL(bytes), piece);
        assert_non_null(reply);
        assert_int_equal(kw_reply_len(reply), 5);
        const redisReply *text = kw_reply_at(reply, 0, REDIS_REPLY_STRING);
        assert_non_null(text);
        assert_int_equal(text->len, 4);
        assert_memory_equal(text->str, "a\0\r\n", 4);
        assert_int_equal(kw_reply_at(reply, 1, REDIS_REPLY_INTEGER)->integer, INT64_MIN);
        const redisReply *inner = kw_reply_at(reply, 2, REDIS_REPLY_ARRAY);
        assert_string_equal(kw_reply_at(inner, 0, REDIS_REPLY_STATUS)->str, "OK");
        assert_string_equal(kw_reply_at(inner, 1, REDIS_REPLY_ERROR)->str, "ERR no");
        assert_non_null(kw_reply_at(reply, 3, REDIS_REPLY_NIL));
        assert_non_null(kw_reply_at(reply, 4, REDIS_REPLY_NIL));
        freeReplyObject(reply);
    }
}

static void test_what_is_not_whole_is_nothing(void **state KW_UNUSED) {
    static const char bytes[] = "*3\r\n$3\r\nabc\r\n:12\r\n*1\r\n+OK\r\n";
    for (size_t len = 0; len < sizeof(bytes) - 1; len++) {
        for (size_t piece = 1; piece <= 4; piece += 3) assert_null(parse(bytes, len, piece));
    }
    redisReply *reply = parse(LITERAL(bytes), 5);
    assert_non_null(reply);
    freeReplyObject(reply);
}

static void test_hostile_bytes_are_nothing(void **state KW_UNUSED) {
    static const struct {
        const char *bytes;
        size_t len;
    } rows[] = {
        {LITERAL("\0")},
        {LITERAL("\r\n")},
        {LITERAL("OK\r\n")},
        {LITERAL("*x\r\n")},
        {LITERAL(":\r\n")},
        {LITERAL(":1x\r\n")},
        {LITERAL(":99999999999999999999\r\n")},
        {LITERAL("$-2\r\n")},
        {LITERAL("$99999999999999999999\r\nx\r\n")},
        {LITERAL("$9223372036854775807\r\nx\r\n")},
        {LITERAL("$18446744073709551615\r\nx\r\n")},
        {LITERAL("$1000000000\r\nx\r\n")},
        {LITERAL("*-2\r\n")},
        {LITERAL("*9223372036854775807\r\n")},
        {LITERAL("*4294967296\r\n:1\r\n")},
        {LITERAL("*18446744073709551615\r\n")},
        {LITERAL("*1\r\n?\r\n")},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        for (size_t piece = 1; piece < 16; piece += 7) assert_null(parse(rows[i].bytes, rows[i].len, piece));
    }
}

/* Arrays in arrays: a tree, or nothing where that is too deep; never the end of the process. */
static void test_depth(void **state KW_UNUSED) {
    static const unsigned depths[] = {1, 7, 8, 9, 100, 5000};
    for (size_t i = 0; i < KW_ARRAY_LEN(depths); i++) {
        struct kw_str text = {0};
        for (unsigned k = 0; k < depths[i]; k++) kw_str_resp_array(&text, 1);
        kw_str_resp_int(&text, 7);
        redisReply *reply = parse(text.data, text.len, 4096);
        if (depths[i] <= 7) assert_non_null(reply); /* more than Redis ever answers with */
        const redisReply *at = reply;
        unsigned depth = 0;
        while (at && kw_reply_len(at) == 1) {
            at = at->element[0];
            depth++;
        }
        if (reply) assert_int_equal(depth, depths[i]);
        if (reply) freeReplyObject(reply);
        kw_str_deinit(&text);
    }
}

static void test_asking_for_what_is_not_there(void **state KW_UNUSED) {
    redisReply *reply = parse_text("*3\r\n:1\r\n$1\r\n2\r\n*0\r\n");
    assert_non_null(kw_reply_at(reply, 0, REDIS_REPLY_INTEGER));
    assert_null(kw_reply_at(reply, 0, REDIS_REPLY_STRING));
    assert_null(kw_reply_at(reply, 3, REDIS_REPLY_INTEGER));
    assert_null(kw_reply_at(reply, SIZE_MAX, REDIS_REPLY_INTEGER));
    assert_int_equal(kw_reply_len(reply->element[2]), 0);
    assert_int_equal(kw_reply_len(reply->element[1]), 0); /* a string is no array */
    assert_null(kw_reply_at(reply->element[1], 0, REDIS_REPLY_STRING));
    freeReplyObject(reply);
}

/* What the client gets where the nodes "a" and "b" said these. */
static void assert_texts(const char *a, const char *b, int resp, const char *want) {
    struct kw_str out = {0};
    redisReply *replies[] = {parse_text(a), parse_text(b)};
    const char *names[] = {"a", "b"};
    struct kw_gathered all = {.replies = replies, .names = names, .count = 2, .resp = resp, .out = &out};
    kw_gather_texts(&all);
    assert_string_equal(out.data ? out.data : "", want);
    kw_str_deinit(&out);
    for (size_t i = 0; i < 2; i++) freeReplyObject(replies[i]);
}

static void test_texts(void **state KW_UNUSED) {
    assert_texts("$4\r\nsame\r\n", "$4\r\nsame\r\n", 2, "$4\r\nsame\r\n");
    assert_texts("$4\r\nsame\r\n", "$4\r\nsame\r\n", 3, "=8\r\ntxt:same\r\n");
    assert_texts("$0\r\n\r\n", "$0\r\n\r\n", 2, "$0\r\n\r\n");
    assert_texts("$1\r\nx\r\n", "$1\r\ny\r\n", 2, "$21\r\n# Node a\nx\n# Node b\ny\r\n");
    assert_texts("$1\r\nx\r\n", "$2\r\nxx\r\n", 3, "=26\r\ntxt:# Node a\nx\n# Node b\nxx\r\n");
    /* Any other shape is the caller's to report. */
    assert_texts("$1\r\nx\r\n", ":1\r\n", 2, "");
    assert_texts("$-1\r\n", "$1\r\nx\r\n", 2, "");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_tree_in_pieces_of_any_size), TEST(test_what_is_not_whole_is_nothing),
        TEST(test_hostile_bytes_are_nothing),    TEST(test_depth),
        TEST(test_asking_for_what_is_not_there), TEST(test_texts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
