/*
 * One reply of many: parts are answered in any order, the last one merges, and
 * what the client gets is looked at in the session's output. No loop and no
 * socket: a worker of which only the pool is real. In the end nothing may be
 * left in the pool, and the session may hold no bytes.
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
#include "base/buffer.h"
#include "base/str.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

static const char unexpected[] = "-ERR a node answered in an unexpected shape\r\n";

enum { KEYS_MAX = 8 };

struct stage {
    struct kw_worker *worker;
    struct kw_session *session;
    struct kw_request *parent;
};

static void stage_init(struct stage *stage, uint32_t parts, kw_merge_fn merge) {
    stage->worker = kw_calloc(1, sizeof(*stage->worker));
    stage->worker->pool = kw_pool_new();
    stage->session = kw_calloc(1, sizeof(*stage->session));
    stage->session->worker = stage->worker;
    stage->parent = kw_request_new(stage->worker);
    stage->parent->group = kw_group_new(parts, KEYS_MAX);
    stage->parent->group->merge = merge;
    kw_request_enqueue(stage->session, stage->parent);
    for (uint32_t i = 0; i < parts; i++) {
        struct kw_request *part = kw_request_new(stage->worker);
        part->session = stage->session;
        part->parent = stage->parent;
        part->part_index = i;
        stage->parent->group->parts[i] = part;
    }
}

static void stage_key_parts(struct stage *stage, const uint32_t *key_part, uint32_t count) {
    struct kw_group *group = stage->parent->group;
    group->key_count = count;
    assert_true(count <= KEYS_MAX);
    memcpy(group->key_part, key_part, count * sizeof(*key_part));
}

static void answer_bytes(struct stage *stage, uint32_t part, const char *reply, size_t len) {
    struct kw_request *req = stage->parent->group->parts[part];
    kw_request_reply_text(stage->worker, req, reply, len);
    kw_request_complete(stage->worker, req);
}

static void answer(struct stage *stage, uint32_t part, const char *reply) {
    answer_bytes(stage, part, reply, strlen(reply));
}

/* What the client gets, compared whole; then everything is taken down. */
static void stage_expect(struct stage *stage, const char *want, size_t len) {
    struct kw_worker *worker = stage->worker;
    struct kw_session *session = stage->session;
    assert_null(session->queue_head);
    assert_int_equal(session->held_bytes, 0);
    assert_int_equal(session->inflight, 0);
    assert_int_equal(session->out.bytes, len);
    char *got = malloc(len + 1);
    assert_non_null(got);
    assert_int_equal(kw_outq_peek(&session->out, got, len), len);
    assert_memory_equal(got, want, len);
    free(got);
    kw_outq_clear(&session->out, worker->pool);
    kw_str_deinit(&worker->scratch);
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_pool_free(worker->pool);
    kw_free(session);
    kw_free(worker);
}

static void stage_expect_text(struct stage *stage, const char *want) {
    stage_expect(stage, want, strlen(want));
}

static kw_merge_fn merge_for(const char *name, enum kw_serve serve) {
    const struct kw_command *cmd = kw_command_by_full_name(name, strlen(name));
    assert_non_null(cmd);
    return kw_merge_for(cmd, serve);
}

static kw_merge_fn get_merge(void) {
    return merge_for("mget", KW_SERVE_SPLIT_GET);
}

/* ---- values ---- */

static void test_values_return_in_the_order_of_the_keys(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, get_merge());
    stage_key_parts(&stage, (const uint32_t[]){1, 0, 1, 2, 0, 1}, 6);
    answer(&stage, 2, "*1\r\n$1\r\nf\r\n");
    answer(&stage, 1, "*3\r\n$1\r\na\r\n$-1\r\n$0\r\n\r\n");
    assert_int_equal(stage.session->out.bytes, 0); /* not before the last */
    answer(&stage, 0, "*2\r\n$3\r\nb\r\n\r\n_\r\n");
    stage_expect_text(&stage, "*6\r\n$1\r\na\r\n$3\r\nb\r\n\r\n$-1\r\n$1\r\nf\r\n_\r\n$0\r\n\r\n");
}

/* A part's reply as the link leaves it: large values by reference, cut where the reads ended. */
static void answer_in_pieces(struct stage *stage, uint32_t part, const struct kw_str *reply, size_t piece) {
    struct kw_request *req = stage->parent->group->parts[part];
    struct kw_pool *pool = stage->worker->pool;
    for (size_t at = 0; at < reply->len; at += piece) {
        size_t len = reply->len - at < piece ? reply->len - at : piece;
        struct kw_chunk *chunk = kw_chunk_new_try(pool, len);
        assert_non_null(chunk);
        memcpy(chunk->data, reply->data + at, len);
        chunk->len = len;
        assert_int_equal(kw_outq_ref_try(&req->reply, pool, chunk, 0, len), 0);
        kw_chunk_unref(chunk);
    }
    req->reply_type = reply->data[0];
    stage->session->held_bytes += reply->len;
    kw_request_complete(stage->worker, req);
}

static void append_value(struct kw_str *text, size_t len, char fill) {
    char *value = malloc(len + 1);
    assert_non_null(value);
    memset(value, fill, len);
    kw_str_resp_bulk(text, value, len);
    free(value);
}

static void test_large_values_keep_their_order(void **state KW_UNUSED) {
    static const size_t sizes[] = {100000, 3, 70000, 0, 16384, 16383, 200000, 1};
    static const uint32_t key_part[] = {0, 1, 1, 0, 2, 0, 2, 1};
    static const size_t pieces[] = {1, 7, 4096, 65536, 1 << 20};
    for (size_t p = 0; p < KW_ARRAY_LEN(pieces); p++) {
        struct stage stage;
        struct kw_str replies[3] = {{0}}, want = {0};
        stage_init(&stage, 3, get_merge());
        stage_key_parts(&stage, key_part, KW_ARRAY_LEN(key_part));
        for (uint32_t i = 0; i < 3; i++) {
            size_t count = 0;
            for (size_t k = 0; k < KW_ARRAY_LEN(key_part); k++) count += key_part[k] == i;
            kw_str_resp_array(&replies[i], count);
        }
        kw_str_resp_array(&want, KW_ARRAY_LEN(key_part));
        for (size_t k = 0; k < KW_ARRAY_LEN(key_part); k++) {
            append_value(&replies[key_part[k]], sizes[k], (char)('a' + (char)k));
            append_value(&want, sizes[k], (char)('a' + (char)k));
        }
        /* One byte a piece is for the small part only: the others would take all day. */
        for (uint32_t i = 0; i < 3; i++) {
            answer_in_pieces(&stage, i, &replies[i], pieces[p] < 4096 && i != 1 ? 4096 : pieces[p]);
            kw_str_deinit(&replies[i]);
        }
        stage_expect(&stage, want.data, want.len);
        kw_str_deinit(&want);
    }
}

static void test_values_of_an_odd_shape_are_an_error(void **state KW_UNUSED) {
    static const char *const odd[] = {"+OK\r\n",           ":1\r\n", "*-1\r\n",           "$1\r\nx\r\n",
                                      "*1\r\n$1\r\na\r\n", "*0\r\n", "%1\r\n+a\r\n+b\r\n"};
    for (size_t i = 0; i < KW_ARRAY_LEN(odd); i++) {
        for (uint32_t at = 0; at < 2; at++) {
            struct stage stage;
            stage_init(&stage, 2, get_merge());
            stage_key_parts(&stage, (const uint32_t[]){0, 1, 0, 1}, 4);
            answer(&stage, 1 - at, "*2\r\n$1\r\nx\r\n$1\r\ny\r\n");
            answer(&stage, at, odd[i]);
            stage_expect_text(&stage, unexpected);
        }
    }
}

/* Headers that stand where values are moved from cannot fail; copies can: the reply is an error then, not a part. */
static void test_values_without_memory_are_an_error(void **state KW_UNUSED) {
    struct stage stage;
    struct kw_str big = {0};
    stage_init(&stage, 2, get_merge());
    stage_key_parts(&stage, (const uint32_t[]){0, 1}, 2);
    kw_str_resp_array(&big, 1);
    append_value(&big, 60000, 'v');
    answer_in_pieces(&stage, 0, &big, 10000);
    struct kw_request *last = stage.parent->group->parts[1];
    kw_request_reply_text(stage.worker, last, "*1\r\n$1\r\nx\r\n", 11);
    struct kw_chunk *drain[64];
    size_t drained = 0;
    /* Chunks that are free are taken out, so that the merge must ask the heap: its header first, then a copy. */
    while (drained < KW_ARRAY_LEN(drain)) drain[drained++] = kw_chunk_new_try(stage.worker->pool, 16384);
    kw_alloc_fail_nth(4);
    kw_request_complete(stage.worker, last);
    kw_alloc_fail_nth(0);
    while (drained > 0) kw_chunk_unref(drain[--drained]);
    char head[64] = "";
    kw_outq_peek(&stage.session->out, head, sizeof(head) - 1);
    assert_memory_equal(head, "-ERR out of memory\r\n", 20);
    stage_expect_text(&stage, "-ERR out of memory\r\n");
    kw_str_deinit(&big);
}

/* ---- numbers and agreement ---- */

static void test_sums(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, merge_for("del", KW_SERVE_SPLIT_SUM));
    answer(&stage, 0, ":0\r\n");
    answer(&stage, 2, ":4294967296\r\n");
    answer(&stage, 1, ":5\r\n");
    stage_expect_text(&stage, ":4294967301\r\n");

    static const char *const odd[] = {"+OK\r\n", "*1\r\n:1\r\n", "$1\r\n1\r\n", ":-1\r\n"};
    for (size_t i = 0; i < KW_ARRAY_LEN(odd); i++) {
        stage_init(&stage, 2, merge_for("dbsize", KW_SERVE_SHARDS));
        answer(&stage, 0, ":1\r\n");
        answer(&stage, 1, odd[i]);
        stage_expect_text(&stage, unexpected);
    }
}

static void test_all_ok_is_ok(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, merge_for("mset", KW_SERVE_SPLIT_SET));
    for (uint32_t i = 0; i < 3; i++) answer(&stage, i, "+OK\r\n");
    stage_expect_text(&stage, "+OK\r\n");
    stage_init(&stage, 2, merge_for("flushall", KW_SERVE_SHARDS));
    for (uint32_t i = 0; i < 2; i++) answer(&stage, i, "+OK\r\n");
    stage_expect_text(&stage, "+OK\r\n");
}

static void test_arrays_one_behind_the_other(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, merge_for("keys", KW_SERVE_SHARDS));
    answer(&stage, 2, "*1\r\n$1\r\nc\r\n");
    answer(&stage, 0, "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    answer(&stage, 1, "*0\r\n");
    stage_expect_text(&stage, "*3\r\n$1\r\na\r\n$1\r\nb\r\n$1\r\nc\r\n");
    stage_init(&stage, 2, merge_for("keys", KW_SERVE_SHARDS));
    answer(&stage, 0, "*0\r\n");
    answer(&stage, 1, "$-1\r\n");
    stage_expect_text(&stage, unexpected);
}

static void test_the_last_save_is_the_one_longest_ago(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, merge_for("lastsave", KW_SERVE_SHARDS));
    answer(&stage, 0, ":1700000020\r\n");
    answer(&stage, 2, ":1700000030\r\n");
    answer(&stage, 1, ":1700000010\r\n");
    stage_expect_text(&stage, ":1700000010\r\n");
    stage_init(&stage, 2, merge_for("lastsave", KW_SERVE_SHARDS));
    answer(&stage, 0, ":5\r\n");
    answer(&stage, 1, "+OK\r\n");
    stage_expect_text(&stage, unexpected);
}

static void test_events_that_were_reset_are_counted(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 2, merge_for("latency|reset", KW_SERVE_SHARDS));
    answer(&stage, 0, ":2\r\n");
    answer(&stage, 1, ":1\r\n");
    stage_expect_text(&stage, ":3\r\n");
}

/* ---- failures ---- */

static void test_a_failed_part_is_the_reply(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 3, get_merge());
    stage_key_parts(&stage, (const uint32_t[]){0, 1, 2}, 3);
    answer(&stage, 0, "*1\r\n$1\r\nx\r\n");
    answer(&stage, 2, "-WRONGTYPE later in order, earlier in time\r\n");
    answer(&stage, 1, "-LOADING first in order\r\n");
    stage_expect_text(&stage, "-LOADING first in order\r\n");
}

static void test_doubt_is_told_before_any_refusal(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 4, merge_for("mset", KW_SERVE_SPLIT_SET));
    answer(&stage, 0, "-OOM not written\r\n");
    answer(&stage, 1, "-INDOUBTFUL is another word\r\n");
    answer(&stage, 2, "-INDOUBT may have run\r\n");
    answer(&stage, 3, "+OK\r\n");
    stage_expect_text(&stage, "-INDOUBT may have run\r\n");
}

static unsigned merges;
static unsigned frees;

static bool count_merge(struct kw_worker *worker, struct kw_request *parent) {
    merges++;
    assert_int_equal(parent->group->parts[1]->reply_type, '-');
    kw_request_reply_text(worker, parent, "+merged\r\n", 9);
    return true;
}

static void count_free(void *context) {
    frees += *(unsigned *)context;
}

static void test_a_tolerant_merge_sees_the_failures_and_its_context_is_freed_once(void **state KW_UNUSED) {
    struct stage stage;
    unsigned one = 1;
    merges = frees = 0;
    stage_init(&stage, 2, count_merge);
    stage.parent->group->tolerant = true;
    stage.parent->group->context = &one;
    stage.parent->group->free_context = count_free;
    answer(&stage, 0, "+OK\r\n");
    assert_int_equal(merges, 0);
    answer(&stage, 1, "-ERR no\r\n");
    assert_int_equal(merges, 1);
    assert_int_equal(frees, 1);
    stage_expect_text(&stage, "+merged\r\n");
}

static void test_a_parent_whose_client_left_is_freed_without_a_word(void **state KW_UNUSED) {
    struct stage stage;
    stage_init(&stage, 2, merge_for("del", KW_SERVE_SPLIT_SUM));
    answer(&stage, 0, ":1\r\n");
    stage.session->queue_head = stage.session->queue_tail = NULL;
    stage.session->inflight = 0;
    stage.session->held_bytes = 0;
    stage.parent->session = NULL;
    stage.parent->group->parts[1]->session = NULL;
    answer(&stage, 1, ":1\r\n");
    stage_expect_text(&stage, "");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_values_return_in_the_order_of_the_keys),
        cmocka_unit_test(test_large_values_keep_their_order),
        cmocka_unit_test(test_values_of_an_odd_shape_are_an_error),
        cmocka_unit_test(test_values_without_memory_are_an_error),
        cmocka_unit_test(test_sums),
        cmocka_unit_test(test_all_ok_is_ok),
        cmocka_unit_test(test_arrays_one_behind_the_other),
        cmocka_unit_test(test_the_last_save_is_the_one_longest_ago),
        cmocka_unit_test(test_events_that_were_reset_are_counted),
        cmocka_unit_test(test_a_failed_part_is_the_reply),
        cmocka_unit_test(test_doubt_is_told_before_any_refusal),
        cmocka_unit_test(test_a_tolerant_merge_sees_the_failures_and_its_context_is_freed_once),
        cmocka_unit_test(test_a_parent_whose_client_left_is_freed_without_a_word),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
