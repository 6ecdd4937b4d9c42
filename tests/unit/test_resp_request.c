/*
 * The request parser: every frame of a corpus whole, cut at each byte, byte by
 * byte and with another frame behind it; large payloads that go elsewhere; the
 * limits and the error texts of Redis 7.0; memory that runs out.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <limits.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_request.h"
#include "base/str.h"

static const struct kw_request_limits open_limits = {512LL * 1024 * 1024, INT_MAX, 512LL * 1024 * 1024, SIZE_MAX};
static const struct kw_request_limits unauth_limits = {512LL * 1024 * 1024, 10, 16384, SIZE_MAX};

/* What came out of a frame; arguments as "<a><b>", large payloads included. */
struct outcome {
    enum kw_request_result result;
    struct kw_str args;
    size_t taken; /* bytes of the input, large payloads included */
    unsigned bigs;
    bool is_inline;
    char error[64];
};

/* The intake in small: the frame's bytes without the large payloads, and where these lie in the input. */
struct feed {
    struct kw_request_parse parse;
    const char *input;
    size_t at;   /* next byte of the input */
    size_t left; /* of a large payload */
    char *carry; /* own; exactly as long as what it holds, so that a read beyond it is seen */
    size_t carry_len;
    size_t big_at[16]; /* in the input, by order */
    unsigned bigs;
    size_t needed; /* bytes that the last MORE asked for, counted from the carry's start */
};

static void feed_init(struct feed *feed, const char *input) {
    *feed = (struct feed){.input = input};
    kw_request_parse_init(&feed->parse);
}

static void feed_deinit(struct feed *feed) {
    kw_request_parse_deinit(&feed->parse);
    free(feed->carry);
}

static void carry_set(struct feed *feed, size_t keep, size_t more) {
    char *exact = malloc(keep + more + (keep + more == 0));
    assert_non_null(exact);
    if (keep) memcpy(exact, feed->carry, keep);
    if (more) memcpy(exact + keep, feed->input + feed->at, more);
    free(feed->carry);
    feed->carry = exact;
    feed->carry_len = keep + more;
    feed->at += more;
}

/* Lets the parser see the input up to `upto`. */
static enum kw_request_result feed_upto(struct feed *feed, const struct kw_request_limits *limits, size_t upto) {
    for (;;) {
        size_t skip = upto - feed->at < feed->left ? upto - feed->at : feed->left;
        feed->at += skip;
        feed->left -= skip;
        if (feed->left > 0) return KW_REQUEST_MORE;
        carry_set(feed, feed->carry_len, upto - feed->at);
        enum kw_request_result result = kw_request_parse(&feed->parse, limits, feed->carry, feed->carry_len);
        if (result == KW_REQUEST_MORE) {
            assert_true(feed->parse.need >= 1);
            feed->needed = feed->carry_len + feed->parse.need;
        }
        if (result != KW_REQUEST_BIG) return result;
        assert_true(feed->bigs < KW_ARRAY_LEN(feed->big_at));
        feed->at -= feed->carry_len - feed->parse.pos;
        carry_set(feed, feed->parse.pos, 0);
        feed->big_at[feed->bigs++] = feed->at;
        feed->left = (size_t)feed->parse.bulk_len;
    }
}

static void take_outcome(const struct feed *feed, enum kw_request_result result, struct outcome *out) {
    const struct kw_request_parse *p = &feed->parse;
    *out = (struct outcome){.result = result, .bigs = feed->bigs, .is_inline = p->is_inline};
    if (result == KW_REQUEST_ERROR) snprintf(out->error, sizeof(out->error), "%s", p->error);
    if (result != KW_REQUEST_COMPLETE && result != KW_REQUEST_EMPTY) return;
    assert_true(p->frame_len <= feed->carry_len);
    out->taken = feed->at - (feed->carry_len - p->frame_len);
    if (result == KW_REQUEST_EMPTY) return;
    assert_int_equal(p->argc, p->argc_seen);
    for (unsigned i = 0, nth = 0; i < p->argc; i++) {
        const struct kw_request_arg *arg = &p->args[i];
        const char *from = p->is_inline ? p->unquoted + arg->off : feed->carry + arg->off;
        if (arg->big) from = feed->input + feed->big_at[nth++];
        kw_str_append(&out->args, "<", 1);
        kw_str_append(&out->args, from, arg->len);
        kw_str_append(&out->args, ">", 1);
    }
}

static void parse_whole(const char *input, size_t len, const struct kw_request_limits *limits, struct outcome *out) {
    struct feed feed;
    feed_init(&feed, input);
    take_outcome(&feed, feed_upto(&feed, limits, len), out);
    feed_deinit(&feed);
}

/* In pieces: up to `cut`, then `step` bytes at a time. */
static void parse_pieces(const char *input, size_t len, const struct kw_request_limits *limits, size_t cut, size_t step,
                         struct outcome *out) {
    struct feed feed;
    feed_init(&feed, input);
    enum kw_request_result result;
    for (size_t upto = cut;; upto = upto + step < len ? upto + step : len) {
        result = feed_upto(&feed, limits, upto);
        if (result != KW_REQUEST_MORE || upto == len) break;
    }
    take_outcome(&feed, result, out);
    feed_deinit(&feed);
}

static void assert_same_outcome(const struct outcome *a, const struct outcome *b) {
    assert_int_equal(a->result, b->result);
    assert_int_equal(a->taken, b->taken);
    assert_int_equal(a->bigs, b->bigs);
    assert_int_equal(a->is_inline, b->is_inline);
    assert_string_equal(a->error, b->error);
    assert_int_equal(a->args.len, b->args.len);
    if (a->args.len) assert_memory_equal(a->args.data, b->args.data, a->args.len);
}

static void assert_pieces_agree(const char *input, size_t len, const struct kw_request_limits *limits, size_t stride) {
    struct outcome whole, pieces;
    parse_whole(input, len, limits, &whole);
    for (size_t cut = 0; cut <= len; cut += stride) {
        parse_pieces(input, len, limits, cut, len, &pieces);
        assert_same_outcome(&whole, &pieces);
        kw_str_deinit(&pieces.args);
    }
    parse_pieces(input, len, limits, 0, stride, &pieces);
    assert_same_outcome(&whole, &pieces);
    kw_str_deinit(&pieces.args);
    kw_str_deinit(&whole.args);
}

/* ---- the corpus ---- */

#define BYTES(text) text, sizeof(text) - 1

struct frame {
    const char *bytes;
    size_t len;
    enum kw_request_result result;
    const char *want; /* arguments, or the error */
    size_t want_len;
};

#define GOOD(text, args)                                                                                               \
    { BYTES(text), KW_REQUEST_COMPLETE, BYTES(args) }
#define EMPTY(text)                                                                                                    \
    { BYTES(text), KW_REQUEST_EMPTY, BYTES("") }
#define BAD(text, why)                                                                                                 \
    { BYTES(text), KW_REQUEST_ERROR, BYTES(why) }
#define OTHER(text, result)                                                                                            \
    { BYTES(text), KW_REQUEST_##result, BYTES("") }

static const struct frame corpus[] = {
    /* multibulk */
    GOOD("*1\r\n$4\r\nPING\r\n", "<PING>"),
    GOOD("*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$5\r\nhello\r\n", "<SET><k><hello>"),
    GOOD("*2\r\n$3\r\nGET\r\n$0\r\n\r\n", "<GET><>"),
    GOOD("*2\r\n$3\r\nGET\r\n$6\r\na\r\n\0\r\n\r\n", "<GET><a\r\n\0\r\n>"),
    GOOD("*2\r\n$4\r\nECHO\r\n$14\r\n*1\r\n$4\r\nPING\r\n\r\n", "<ECHO><*1\r\n$4\r\nPING\r\n>"),
    GOOD("*10\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n$1\r\nd\r\n$1\r\ne\r\n$1\r\nf\r\n$1\r\ng\r\n$1\r\nh\r\n$1\r\ni\r\n"
         "$2\r\nkk\r\n",
         "<a><b><c><d><e><f><g><h><i><kk>"),
    GOOD("*1\r\n$10\r\n0123456789\r\n", "<0123456789>"),
    /* As in Redis the bytes behind a CR, and those behind a payload, are not looked at. */
    GOOD("*1\rX$4\rXPINGXY", "<PING>"),
    EMPTY("*0\r\n"),
    EMPTY("*-1\r\n"),
    EMPTY("*-9223372036854775808\r\n"),
    /* inline */
    GOOD("PING\r\n", "<PING>"),
    GOOD("PING\n", "<PING>"),
    GOOD("  set \t k  v \r\n", "<set><k><v>"),
    GOOD("set k \"a b\\n\\r\\t\\a\\b\\x41\\x7a\\\\\\\"\\q\"\n", "<set><k><a b\n\r\t\a\bAz\\\"q>"),
    GOOD("set k \"\\xzz\\x4\"\n", "<set><k><xzzx4>"),
    GOOD("set k 'a \\' \\n \"'\n", "<set><k><a ' \\n \">"),
    GOOD("set \"\" ''\n", "<set><><>"),
    GOOD("set ab\"cd ef\" x'y z'\n", "<set><abcd ef><xy z>"),
    GOOD("get a\\nb\n", "<get><a\\nb>"),
    GOOD("get \xff\x80\n", "<get><\xff\x80>"),
    EMPTY("\r\n"),
    EMPTY("\n"),
    EMPTY("   \t \r\n"),
    /* what is wrong with it */
    BAD("*\r\n", "invalid multibulk length"),
    BAD("*a\r\n", "invalid multibulk length"),
    BAD("*+1\r\n", "invalid multibulk length"),
    BAD("*01\r\n", "invalid multibulk length"),
    BAD("*-0\r\n", "invalid multibulk length"),
    BAD("* 1\r\n", "invalid multibulk length"),
    BAD("*1 \r\n", "invalid multibulk length"),
    BAD("*--1\r\n", "invalid multibulk length"),
    BAD("*2147483648\r\n", "invalid multibulk length"),
    BAD("*9223372036854775807\r\n", "invalid multibulk length"),
    BAD("*9223372036854775808\r\n", "invalid multibulk length"),
    BAD("*-9223372036854775809\r\n", "invalid multibulk length"),
    BAD("*18446744073709551617\r\n", "invalid multibulk length"),
    BAD("*100000000000000000000000000\r\n", "invalid multibulk length"),
    BAD("*1\r\nPING\r\n", "expected '$', got 'P'"),
    BAD("*1\r\n:4\r\n", "expected '$', got ':'"),
    BAD("*2\r\n$3\r\nGET\r\n*1\r\n", "expected '$', got '*'"),
    BAD("*1\r\n\r\n", "expected '$', got '\r'"),
    BAD("*1\r\n$\r\n", "invalid bulk length"),
    BAD("*1\r\n$-1\r\n", "invalid bulk length"),
    BAD("*1\r\n$+4\r\n", "invalid bulk length"),
    BAD("*1\r\n$04\r\n", "invalid bulk length"),
    BAD("*1\r\n$4a\r\n", "invalid bulk length"),
    BAD("*1\r\n$536870913\r\n", "invalid bulk length"),
    BAD("*1\r\n$99999999999999999999\r\n", "invalid bulk length"),
    BAD("set k \"unfinished\n", "unbalanced quotes in request"),
    BAD("set k 'unfinished\r\n", "unbalanced quotes in request"),
    BAD("set k \"a\"b\n", "unbalanced quotes in request"),
    BAD("set k 'a'b\n", "unbalanced quotes in request"),
    BAD("set k \"a\\\"\n", "unbalanced quotes in request"),
    /* HTTP is told by its words, which are the caller's business. */
    GOOD("POST / HTTP/1.1\r\n", "<POST></><HTTP/1.1>"),
    GOOD("Host: localhost\r\n", "<Host:><localhost>"),
    /* unfinished */
    OTHER("", MORE),
    OTHER("*", MORE),
    OTHER("*1\r", MORE),
    OTHER("*1\r\n", MORE),
    OTHER("*1\r\n$4\r\nPING\r", MORE),
    OTHER("*2147483647\r\n$1\r\na\r\n", MORE),
    OTHER("*1\r\n$536870912\r\nabc", MORE),
    OTHER("PING", MORE),
    OTHER("PING\r", MORE),
};

static void test_corpus_gives_what_redis_gives(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) {
        const struct frame *f = &corpus[i];
        struct outcome out;
        parse_whole(f->bytes, f->len, &open_limits, &out);
        if (out.result != f->result) print_error("frame %zu: %s\n", i, f->bytes);
        assert_int_equal(out.result, f->result);
        if (f->result == KW_REQUEST_ERROR) assert_string_equal(out.error, f->want);
        if (f->result == KW_REQUEST_COMPLETE) {
            assert_int_equal(out.args.len, f->want_len);
            assert_memory_equal(out.args.data, f->want, f->want_len);
        }
        if (f->result == KW_REQUEST_COMPLETE || f->result == KW_REQUEST_EMPTY) assert_int_equal(out.taken, f->len);
        kw_str_deinit(&out.args);
    }
}

static void test_corpus_split_at_every_byte_equals_whole(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) {
        assert_pieces_agree(corpus[i].bytes, corpus[i].len, &open_limits, 1);
    }
}

static void test_bytes_behind_a_frame_change_nothing(void **state KW_UNUSED) {
    static const char next[] = "*1\r\n$4\r\nPING\r\n'";
    for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) {
        const struct frame *f = &corpus[i];
        if (f->result == KW_REQUEST_MORE) continue;
        struct kw_str both = {0};
        kw_str_append(&both, f->bytes, f->len);
        kw_str_append(&both, next, sizeof(next) - 1);
        struct outcome alone, followed;
        parse_whole(f->bytes, f->len, &open_limits, &alone);
        parse_whole(both.data, both.len, &open_limits, &followed);
        assert_same_outcome(&alone, &followed);
        assert_pieces_agree(both.data, both.len, &open_limits, 1);
        kw_str_deinit(&alone.args);
        kw_str_deinit(&followed.args);
        kw_str_deinit(&both);
    }
}

static void test_every_beginning_of_a_frame_asks_for_no_more_than_it_lacks(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) {
        const struct frame *f = &corpus[i];
        if (f->result != KW_REQUEST_COMPLETE && f->result != KW_REQUEST_EMPTY) continue;
        for (size_t len = 0; len < f->len; len++) {
            struct feed feed;
            feed_init(&feed, f->bytes);
            assert_int_equal(feed_upto(&feed, &open_limits, len), KW_REQUEST_MORE);
            assert_true(feed.needed > len && feed.needed <= f->len);
            assert_int_equal(kw_request_parse_started(&feed.parse), len > 0);
            feed_deinit(&feed);
        }
    }
}

static void test_a_payload_is_asked_for_at_once(void **state KW_UNUSED) {
    static const char head[] = "*2\r\n$3\r\nGET\r\n$1000\r\nab";
    struct feed feed;
    feed_init(&feed, head);
    assert_int_equal(feed_upto(&feed, &open_limits, sizeof(head) - 1), KW_REQUEST_MORE);
    assert_int_equal(feed.parse.need, 1000);
    feed_deinit(&feed);
}

static void test_one_parser_serves_a_pipeline(void **state KW_UNUSED) {
    struct kw_str input = {0};
    for (int round = 0; round < 3; round++) {
        for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) {
            if (corpus[i].result == KW_REQUEST_COMPLETE) kw_str_append(&input, corpus[i].bytes, corpus[i].len);
        }
    }
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    size_t at = 0, frames = 0;
    while (at < input.len) {
        assert_int_equal(kw_request_parse(&parse, &open_limits, input.data + at, input.len - at), KW_REQUEST_COMPLETE);
        at += parse.frame_len;
        frames++;
        kw_request_parse_reset(&parse);
        assert_false(kw_request_parse_started(&parse));
        assert_null(parse.unquoted);
    }
    size_t good = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(corpus); i++) good += corpus[i].result == KW_REQUEST_COMPLETE;
    assert_int_equal(frames, 3 * good);
    kw_request_parse_deinit(&parse);
    kw_str_deinit(&input);
}

/* ---- large payloads ---- */

static void append_filled(struct kw_str *text, size_t len, char from) {
    kw_str_printf(text, "$%zu\r\n", len);
    for (size_t i = 0; i < len; i++) {
        char c = (char)(from + (char)(i % 23));
        kw_str_append(text, &c, 1);
    }
    kw_str_append(text, "\r\n", 2);
}

static void test_large_payloads_go_elsewhere(void **state KW_UNUSED) {
    struct kw_request_limits limits = open_limits;
    limits.big_min = 100;
    static const struct {
        size_t sizes[4];
        unsigned bigs;
    } shapes[] = {
        {{3, 5, 99, 7}, 0},      {{3, 5, 100, 7}, 1}, {{3, 5, 7, 101}, 1},
        {{3, 200, 150, 300}, 3}, {{3, 0, 100, 0}, 1}, {{200, 1, 1, 1}, 0}, /* the name is always at hand */
        {{200, 1, 200, 1}, 1},
    };
    for (size_t s = 0; s < KW_ARRAY_LEN(shapes); s++) {
        struct kw_str frame = {0};
        kw_str_append_text(&frame, "*4\r\n");
        for (int i = 0; i < 4; i++) append_filled(&frame, shapes[s].sizes[i], (char)('A' + i));
        size_t frame_len = frame.len;
        kw_str_append_text(&frame, "*1\r\n$4\r\nPING\r\n");
        struct outcome contiguous, apart;
        parse_whole(frame.data, frame.len, &open_limits, &contiguous);
        parse_whole(frame.data, frame.len, &limits, &apart);
        assert_int_equal(apart.result, KW_REQUEST_COMPLETE);
        assert_int_equal(apart.bigs, shapes[s].bigs);
        assert_int_equal(apart.taken, frame_len);
        assert_int_equal(contiguous.args.len, apart.args.len);
        assert_memory_equal(contiguous.args.data, apart.args.data, apart.args.len);
        assert_pieces_agree(frame.data, frame.len, &limits, 1);
        kw_str_deinit(&contiguous.args);
        kw_str_deinit(&apart.args);
        kw_str_deinit(&frame);
    }
}

static void test_a_megabyte_in_pieces(void **state KW_UNUSED) {
    struct kw_str frame = {0};
    kw_str_append_text(&frame, "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n");
    append_filled(&frame, 1024 * 1024, '0');
    struct kw_request_limits limits = open_limits;
    assert_pieces_agree(frame.data, frame.len, &limits, 99991);
    limits.big_min = 65536;
    assert_pieces_agree(frame.data, frame.len, &limits, 99991);
    kw_str_deinit(&frame);
}

static void test_many_arguments_are_found_and_their_memory_is_let_go(void **state KW_UNUSED) {
    enum { COUNT = 20000 };
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, COUNT);
    for (int i = 0; i < COUNT; i++) kw_str_resp_bulk(&frame, "key", (size_t)(i % 4));
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    assert_int_equal(kw_request_parse(&parse, &open_limits, frame.data, frame.len), KW_REQUEST_COMPLETE);
    assert_int_equal(parse.argc, COUNT);
    for (uint32_t i = 0; i < COUNT; i++) {
        assert_int_equal(parse.args[i].len, i % 4);
        assert_memory_equal(frame.data + parse.args[i].off, "key", i % 4);
    }
    kw_request_parse_reset(&parse);
    assert_null(parse.args);
    kw_request_parse_deinit(&parse);
    kw_str_deinit(&frame);
}

/* ---- limits ---- */

static void assert_result(const char *text, size_t len, const struct kw_request_limits *limits,
                          enum kw_request_result result, const char *error) {
    struct outcome out;
    parse_whole(text, len, limits, &out);
    assert_int_equal(out.result, result);
    assert_string_equal(out.error, error);
    kw_str_deinit(&out.args);
    assert_pieces_agree(text, len, limits, len > 4096 ? 997 : 1);
}

static void test_strangers_get_little(void **state KW_UNUSED) {
    assert_result(BYTES("*10\r\n"), &unauth_limits, KW_REQUEST_MORE, "");
    assert_result(BYTES("*11\r\n"), &unauth_limits, KW_REQUEST_ERROR, "unauthenticated multibulk length");
    assert_result(BYTES("*2147483648\r\n"), &unauth_limits, KW_REQUEST_ERROR, "invalid multibulk length");
    assert_result(BYTES("*1\r\n$16384\r\n"), &unauth_limits, KW_REQUEST_MORE, "");
    assert_result(BYTES("*1\r\n$16385\r\n"), &unauth_limits, KW_REQUEST_ERROR, "unauthenticated bulk length");
    assert_result(BYTES("*1\r\n$536870913\r\n"), &unauth_limits, KW_REQUEST_ERROR, "invalid bulk length");
}

static void test_the_bulk_limit_is_the_settings(void **state KW_UNUSED) {
    struct kw_request_limits limits = {1024, INT_MAX, 1024, SIZE_MAX};
    assert_result(BYTES("*1\r\n$1024\r\n"), &limits, KW_REQUEST_MORE, "");
    assert_result(BYTES("*1\r\n$1025\r\n"), &limits, KW_REQUEST_ERROR, "invalid bulk length");
}

/* A line that never ends: refused once more than 64 KiB of it have come. */
static void assert_endless(const char *head, char fill, const char *error) {
    enum { LIMIT = 64 * 1024 };
    struct kw_str line = {0};
    kw_str_append_text(&line, head);
    size_t head_len = strcmp(head, "*1\r\n$") == 0 ? 4 : 0; /* counted from the start of the line */
    while (line.len < LIMIT + head_len) kw_str_append(&line, &fill, 1);
    assert_result(line.data, line.len, &open_limits, KW_REQUEST_MORE, "");
    kw_str_append(&line, &fill, 1);
    assert_result(line.data, line.len, &open_limits, KW_REQUEST_ERROR, error);
    kw_str_deinit(&line);
}

static void test_lines_without_end_are_refused(void **state KW_UNUSED) {
    assert_endless("*", '1', "too big mbulk count string");
    assert_endless("*1\r\n$", '1', "too big bulk count string");
    assert_endless("P", 'x', "too big inline request");
}

/* ---- memory ---- */

static void test_each_failing_allocation_is_reported_and_survived(void **state KW_UNUSED) {
    struct kw_str multibulk = {0};
    kw_str_resp_array(&multibulk, 70);
    for (int i = 0; i < 70; i++) kw_str_resp_text(&multibulk, i == 40 ? "a rather large payload" : "x");
    const char *inputs[] = {multibulk.data, "set a b c d e f g h i j k l m n o p q r s t\r\n"};
    const int least[] = {1, 2};
    struct kw_request_limits limits = open_limits;
    limits.big_min = 20;
    for (size_t i = 0; i < KW_ARRAY_LEN(inputs); i++) {
        int failures = 0;
        for (long nth = 1;; nth++) {
            struct feed feed;
            feed_init(&feed, inputs[i]);
            kw_alloc_fail_nth(nth);
            enum kw_request_result result = feed_upto(&feed, &limits, strlen(inputs[i]));
            kw_alloc_fail_nth(0);
            feed_deinit(&feed);
            if (result == KW_REQUEST_COMPLETE) break;
            assert_int_equal(result, KW_REQUEST_NOMEM);
            failures++;
        }
        assert_true(failures >= least[i]);
    }
    kw_str_deinit(&multibulk);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_corpus_gives_what_redis_gives),
        cmocka_unit_test(test_corpus_split_at_every_byte_equals_whole),
        cmocka_unit_test(test_bytes_behind_a_frame_change_nothing),
        cmocka_unit_test(test_every_beginning_of_a_frame_asks_for_no_more_than_it_lacks),
        cmocka_unit_test(test_a_payload_is_asked_for_at_once),
        cmocka_unit_test(test_one_parser_serves_a_pipeline),
        cmocka_unit_test(test_large_payloads_go_elsewhere),
        cmocka_unit_test(test_a_megabyte_in_pieces),
        cmocka_unit_test(test_many_arguments_are_found_and_their_memory_is_let_go),
        cmocka_unit_test(test_strangers_get_little),
        cmocka_unit_test(test_the_bulk_limit_is_the_settings),
        cmocka_unit_test(test_lines_without_end_are_refused),
        cmocka_unit_test(test_each_failing_allocation_is_reported_and_survived),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
