/*
 * A blocking command that is sent again carries what is left of its timeout:
 * which argument that is in each command, what stands for ever, and which
 * frames are left as they are. No loop: a worker with a pool and a clock.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/str.h"
#include "proxy/request/blocking.h"
#include "proxy/request/request.h"
#include "proxy/worker.h"

enum { PARSED_US = 10 * 1000 * 1000 };

static struct kw_worker *worker;
static struct kw_request *made; /* of this test, if it is still there */

static int set_up(void **state KW_UNUSED) {
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    worker->now_valid = true;
    return 0;
}

static void release(void) {
    kw_request_free(worker, made);
    made = NULL;
}

static int tear_down(void **state KW_UNUSED) {
    if (made) release();
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_outq_clear(&worker->park, worker->pool);
    kw_pool_free(worker->pool);
    kw_free(worker);
    return 0;
}

/* The words of `line`, which single blanks part, as a frame. */
static void frame_of(struct kw_str *frame, const char *line) {
    size_t words = 1;
    for (const char *at = line; *at; at++) words += *at == ' ';
    kw_str_resp_array(frame, words);
    for (const char *at = line; words-- > 0;) {
        size_t len = strcspn(at, " ");
        kw_str_resp_bulk(frame, at, len);
        at += len + (at[len] == ' ');
    }
}

static struct kw_request *request_of(const char *line) {
    struct kw_str frame = {0};
    struct kw_request *req = made = kw_request_new(worker);
    frame_of(&frame, line);
    req->cmd = kw_command_lookup(line, strcspn(line, " "));
    assert_non_null(req->cmd);
    req->flags = KW_REQF_UNBOUNDED | KW_REQF_EXCLUSIVE;
    req->start_us = PARSED_US;
    assert_int_equal(kw_request_keep_copy(worker, req, frame.data, frame.len), 0);
    kw_str_deinit(&frame);
    return req;
}

static void assert_frame(const struct kw_request *req, const char *line) {
    struct kw_str want = {0};
    frame_of(&want, line);
    assert_int_equal(req->frame.len, want.len);
    assert_memory_equal(req->frame.chunk->data + req->frame.off, want.data, want.len);
    kw_str_deinit(&want);
}

/* What `line` becomes when it is sent again so long after it was parsed. */
static void assert_shortened(const char *line, uint64_t passed_us, const char *want) {
    struct kw_request *req = request_of(line);
    worker->now_us = PARSED_US + passed_us;
    kw_blocking_shorten(worker, req);
    assert_frame(req, want);
    release();
}

/* Every command that blocks has a row, with its timeout where Redis has it. */
static const struct {
    const char *name, *line, *after, *for_ever; /* `after` 1.5 seconds; `for_ever` does not change */
} rows[] = {
    {"blmove", "BLMOVE 7 8 LEFT RIGHT 9", "BLMOVE 7 8 LEFT RIGHT 7.500", "BLMOVE 7 8 LEFT RIGHT 0"},
    {"blmpop", "BLMPOP 9 2 7 8 LEFT COUNT 6", "BLMPOP 7.500 2 7 8 LEFT COUNT 6", "BLMPOP 0 2 7 8 LEFT"},
    {"blpop", "blpop 7 8 9.25", "blpop 7 8 7.750", "BLPOP 7 8 0"},
    {"brpop", "BRPOP 7 9", "BRPOP 7 7.500", "BRPOP 7 0"},
    {"brpoplpush", "BRPOPLPUSH 7 8 9", "BRPOPLPUSH 7 8 7.500", "BRPOPLPUSH 7 8 0"},
    {"bzmpop", "BZMPOP 9 1 7 MIN", "BZMPOP 7.500 1 7 MIN", "BZMPOP 0 1 7 MIN"},
    {"bzpopmax", "BZPOPMAX 7 9", "BZPOPMAX 7 7.500", "BZPOPMAX 7 0.0"},
    {"bzpopmin", "BZPOPMIN 7 9", "BZPOPMIN 7 7.500", "BZPOPMIN 7 0"},
    {"xread", "XREAD COUNT 5 block 9000 STREAMS s 0", "XREAD COUNT 5 block 7500 STREAMS s 0",
     "XREAD BLOCK 0 STREAMS s 0"},
    {"xreadgroup", "XREADGROUP GROUP g c BLOCK 9000 STREAMS s >", "XREADGROUP GROUP g c BLOCK 7500 STREAMS s >",
     "XREADGROUP GROUP g c BLOCK 0 STREAMS s >"},
};

static void test_what_is_left_of_the_timeout_goes_along(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) assert_shortened(rows[i].line, 1500 * 1000, rows[i].after);
}

static void test_for_ever_stays_for_ever(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) assert_shortened(rows[i].for_ever, 1500 * 1000, rows[i].for_ever);
}

/* Time is up, or nearly: 0 would be for ever, so a moment is left. */
static void test_a_timeout_never_becomes_for_ever(void **state KW_UNUSED) {
    assert_shortened("BLPOP k 9", 9 * 1000 * 1000, "BLPOP k 0.001");
    assert_shortened("BLPOP k 9", 3600ULL * 1000 * 1000, "BLPOP k 0.001");
    assert_shortened("BLPOP k 0.0001", 0, "BLPOP k 0.001");
    assert_shortened("XREAD BLOCK 9000 STREAMS s 0", 9 * 1000 * 1000, "XREAD BLOCK 1 STREAMS s 0");
    assert_shortened("XREAD BLOCK 1 STREAMS s 0", 3600ULL * 1000 * 1000, "XREAD BLOCK 1 STREAMS s 0");
}

static void test_every_command_that_blocks_is_known(void **state KW_UNUSED) {
    for (unsigned id = 0; id < kw_command_table_count(); id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        size_t i = 0;
        /* WAIT has its timeout last as well, but is never asked of one node. */
        if (!(cmd->flags & KW_CMD_BLOCKING) || strncmp(cmd->name, "wait", 4) == 0) continue;
        while (i < KW_ARRAY_LEN(rows) && strcmp(rows[i].name, cmd->name) != 0) i++;
        if (i == KW_ARRAY_LEN(rows)) fail_msg("%s has no row", cmd->name);
    }
}

/* Streams, groups, consumers may be called like an option; the option itself stands before STREAMS. */
static void test_names_are_no_options(void **state KW_UNUSED) {
    static const char *const same[] = {
        "XREAD STREAMS block 9000",
        "XREAD COUNT 3 STREAMS block 9000",
        "XREAD STREAMS a block 9000 0",
        "XREADGROUP GROUP block 9000 STREAMS s >",
        "XREADGROUP GROUP g block STREAMS 9000 >",
        "XREADGROUP GROUP g c NOACK STREAMS block 9000",
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(same); i++) assert_shortened(same[i], 1500 * 1000, same[i]);
    assert_shortened("XREADGROUP GROUP block 8000 BLOCK 9000 STREAMS block >", 1500 * 1000,
                     "XREADGROUP GROUP block 8000 BLOCK 7500 STREAMS block >");
    assert_shortened("XREADGROUP GROUP streams group COUNT 2 BLOCK 9000 STREAMS s >", 1500 * 1000,
                     "XREADGROUP GROUP streams group COUNT 2 BLOCK 7500 STREAMS s >");
    assert_shortened("XREADGROUP NOACK BLOCK 9000 GROUP block c STREAMS s >", 1500 * 1000,
                     "XREADGROUP NOACK BLOCK 7500 GROUP block c STREAMS s >");
}

/* Sent again a second time: from the second sending on, only what has passed since the first is taken off. */
static void test_twice_takes_off_each_second_once(void **state KW_UNUSED) {
    struct kw_request *req = request_of("BLPOP k 9");
    worker->now_us = PARSED_US + 2000 * 1000;
    kw_blocking_shorten(worker, req);
    assert_frame(req, "BLPOP k 7.000");
    worker->now_us += 500 * 1000;
    kw_blocking_shorten(worker, req);
    assert_frame(req, "BLPOP k 6.500");
    release();
}

static void test_what_is_no_timeout_is_left_to_the_node(void **state KW_UNUSED) {
    static const char *const same[] = {"BLPOP k nine", "BLPOP k -9",
                                       "XREAD BLOCK",  "BLPOP k 9999999999999999999999999999999999999999",
                                       "LPOP k 9",     "WAIT 1 9000"};
    for (size_t i = 0; i < KW_ARRAY_LEN(same); i++) assert_shortened(same[i], 1500 * 1000, same[i]);
}

/* Large payloads are kept beside the frame: it cannot be written anew, and waits a little longer instead. */
static void test_large_frames_are_left_alone(void **state KW_UNUSED) {
    struct kw_request *req = request_of("BLPOP k 9");
    assert_non_null(kw_outq_copy_try(&req->frame.rest, worker->pool, "x", 1, 64));
    worker->now_us = PARSED_US + 1500 * 1000;
    kw_blocking_shorten(worker, req);
    assert_frame(req, "BLPOP k 9");
    release();
    req = made = kw_request_new(worker);
    req->cmd = kw_command_lookup("blpop", 5);
    kw_blocking_shorten(worker, req); /* nothing is kept of it */
    assert_null(req->frame.chunk);
    release();
}

/* Whichever allocation fails: the frame is the old one with its clock, or the new one with the new clock. */
static void test_without_memory_the_frame_stays(void **state KW_UNUSED) {
    unsigned stayed = 0;
    for (long nth = 1; nth <= 4; nth++) {
        struct kw_request *req = request_of("BLPOP k 9");
        worker->now_us = PARSED_US + 1500 * 1000;
        kw_outq_clear(&worker->park, worker->pool); /* room for a copy has to be asked for */
        kw_alloc_fail_nth(nth);
        kw_blocking_shorten(worker, req);
        kw_alloc_fail_nth(0);
        bool old = req->start_us == PARSED_US;
        assert_frame(req, old ? "BLPOP k 9" : "BLPOP k 7.500");
        stayed += old;
        release();
        kw_pool_trim(worker->pool);
    }
    assert_true(stayed > 0);
    assert_true(stayed < 4);
}

static void test_which_requests_wait_as_long_as_they_say(void **state KW_UNUSED) {
    struct kw_request parent = {0};
    struct kw_request *req = request_of("BLPOP k 9");
    assert_true(kw_blocking_is(req));
    req->parent = &parent;
    assert_false(kw_blocking_is(req));
    req->parent = NULL;
    req->flags &= ~(uint32_t)KW_REQF_UNBOUNDED; /* XREAD without BLOCK */
    assert_false(kw_blocking_is(req));
    req->flags |= KW_REQF_UNBOUNDED;
    req->cmd = kw_command_lookup("eval", 4);
    assert_false(kw_blocking_is(req));
    req->cmd = NULL;
    assert_false(kw_blocking_is(req));
    release();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_what_is_left_of_the_timeout_goes_along),
        TEST(test_for_ever_stays_for_ever),
        TEST(test_a_timeout_never_becomes_for_ever),
        TEST(test_every_command_that_blocks_is_known),
        TEST(test_names_are_no_options),
        TEST(test_twice_takes_off_each_second_once),
        TEST(test_what_is_no_timeout_is_left_to_the_node),
        TEST(test_large_frames_are_left_alone),
        TEST(test_without_memory_the_frame_stays),
        TEST(test_which_requests_wait_as_long_as_they_say),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
