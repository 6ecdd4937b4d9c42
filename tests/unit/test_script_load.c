/*
 * Which scripts are sent in front of a command, on a link that sends nothing
 * anywhere: once a link and digest, also inside of a transaction, again after a
 * flush and after the link's memory of digests was full. The registry of texts
 * is real; the process is not.
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
#include "base/sha1.h"
#include "base/str.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/upstream/script_load.h"
#include "proxy/upstream/scripts.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { SET_MAX = 8192, HALF_FULL = SET_MAX / 2 }; /* as in script_load.c */

static struct kw_scripts *scripts;
static struct kw_worker *worker;
static struct kw_link *upstream;

struct kw_scripts *__wrap_kw_server_scripts(struct kw_server *server);
struct kw_scripts *__wrap_kw_server_scripts(struct kw_server *server KW_UNUSED) {
    return scripts;
}

static int set_up(void **state KW_UNUSED) {
    scripts = kw_scripts_new();
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    upstream = kw_calloc(1, sizeof(*upstream));
    upstream->worker = worker;
    return 0;
}

/* Forgets what was queued, as if the node had taken and answered it. */
static void drain(void) {
    kw_outq_clear(&upstream->out, worker->pool);
    while (upstream->head) {
        struct kw_request *req = upstream->head;
        upstream->head = req->link_next;
        req->link_next = NULL;
        kw_request_free(worker, req);
    }
    upstream->tail = NULL;
    upstream->inflight = 0;
}

static int tear_down(void **state KW_UNUSED) {
    drain();
    kw_script_set_deinit(&upstream->scripts);
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_outq_clear(&worker->park, worker->pool);
    kw_pool_free(worker->pool);
    kw_free(upstream);
    kw_free(worker);
    kw_scripts_free(scripts);
    return 0;
}

/* The n-th script, known from here on, and its digest. */
static void known(unsigned n, char sha1[KW_SHA1_HEX + 1]) {
    char text[64];
    int len = snprintf(text, sizeof(text), "return %u", n);
    kw_scripts_remember(scripts, text, (size_t)len);
    kw_sha1_hex(text, (size_t)len, sha1);
}

static void append_command(struct kw_str *frame, const char *name, const char *sha1) {
    kw_str_resp_array(frame, 4);
    kw_str_resp_text(frame, name);
    kw_str_resp_text(frame, sha1);
    kw_str_resp_text(frame, "1");
    kw_str_resp_text(frame, "key");
}

/* Makes sure of `sha1` before an EVALSHA; returns how many scripts were sent for it. */
static uint32_t ensure(const char *sha1) {
    struct kw_request req = {.moment = kw_scripts_moment(scripts)};
    struct kw_str frame = {0};
    append_command(&frame, "EVALSHA", sha1);
    drain();
    kw_script_ensure(upstream, &req, frame.data, frame.len);
    kw_str_deinit(&frame);
    return upstream->inflight;
}

static void assert_queued(const char *want) {
    size_t len = strlen(want);
    char *got = calloc(1, upstream->out.bytes + 1);
    assert_non_null(got);
    kw_outq_peek(&upstream->out, got, upstream->out.bytes);
    assert_string_equal(got, want);
    assert_int_equal(upstream->out.bytes, len);
    free(got);
}

#define LOAD(text) "*3\r\n$6\r\nSCRIPT\r\n$4\r\nLOAD\r\n$8\r\n" text "\r\n"

static void test_a_script_is_sent_once_a_link(void **state KW_UNUSED) {
    char sha1[2][KW_SHA1_HEX + 1];
    for (unsigned n = 0; n < 2; n++) known(n, sha1[n]);
    assert_int_equal(ensure(sha1[0]), 1);
    assert_queued(LOAD("return 0"));
    assert_true(upstream->head->flags & KW_REQF_INTERNAL);
    assert_int_equal(ensure(sha1[0]), 0);
    assert_int_equal(ensure(sha1[1]), 1);
    assert_queued(LOAD("return 1"));
    assert_int_equal(ensure(sha1[0]) + ensure(sha1[1]), 0);
    struct kw_script_set before = upstream->scripts;
    upstream->scripts = (struct kw_script_set){0}; /* another link */
    assert_int_equal(ensure(sha1[0]), 1);
    kw_script_set_deinit(&before);
}

static void test_the_case_of_a_digest_does_not_matter(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1], upper[KW_SHA1_HEX + 1];
    known(7, sha1);
    for (int i = 0; i <= KW_SHA1_HEX; i++) {
        upper[i] = (char)(sha1[i] >= 'a' && sha1[i] <= 'f' ? sha1[i] - 'a' + 'A' : sha1[i]);
    }
    assert_int_equal(ensure(upper), 1);
    assert_int_equal(ensure(sha1), 0);
}

/* Not sent, and not taken for sent: it may become known later. */
static void test_what_is_not_known_is_asked_for_again(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    kw_sha1_hex("return 5", 8, sha1);
    assert_int_equal(ensure(sha1), 0);
    assert_int_equal(upstream->scripts.count, 0);
    known(5, sha1);
    assert_int_equal(ensure(sha1), 1);
}

/* A pipeline is read ahead: the text behind an EVALSHA is none that it could have called. */
static void test_what_came_later_is_not_known(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    struct kw_request before = {.moment = kw_scripts_moment(scripts)};
    struct kw_str frame = {0};
    known(4, sha1);
    append_command(&frame, "EVALSHA", sha1);
    kw_script_ensure(upstream, &before, frame.data, frame.len);
    assert_int_equal(upstream->inflight, 0);
    assert_false(kw_script_send(upstream, sha1, KW_SHA1_HEX, before.moment));
    known(4, sha1); /* once more: known since then all the same */
    assert_int_equal(ensure(sha1), 1);
    kw_str_deinit(&frame);
}

/* As a node would that runs the transaction: refused calls leave nothing behind. */
static void test_texts_of_a_transaction(void **state KW_UNUSED) {
    static const char frames[] = "*1\r\n$5\r\nMULTI\r\n"
                                 "*3\r\n$4\r\nEVAL\r\n$8\r\nreturn 1\r\n$1\r\n0\r\n"
                                 "*4\r\n$7\r\neval_ro\r\n$8\r\nreturn 2\r\n$1\r\n1\r\n$1\r\nk\r\n"
                                 "*3\r\n$4\r\nEVAL\r\n$8\r\nreturn 3\r\n$1\r\n1\r\n"
                                 "*3\r\n$4\r\nEVAL\r\n$8\r\nreturn 4\r\n$2\r\n-1\r\n"
                                 "*3\r\n$4\r\nECHO\r\n$8\r\nreturn 5\r\n$1\r\n0\r\n"
                                 "*2\r\n$4\r\nEVAL\r\n$8\r\nreturn 6\r\n";
    static const bool kept[] = {false, true, true, false, false, false, false};
    kw_scripts_remember_all(scripts, frames, sizeof(frames) - 1);
    for (unsigned n = 0; n < KW_ARRAY_LEN(kept); n++) {
        char text[16], sha1[KW_SHA1_HEX + 1];
        kw_sha1_hex(text, (size_t)snprintf(text, sizeof(text), "return %u", n), sha1);
        assert_int_equal(ensure(sha1), kept[n]);
    }
}

static void test_what_is_no_digest_sends_nothing(void **state KW_UNUSED) {
    static const char *const odd[] = {"",
                                      "abc",
                                      "zzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzzz",
                                      "                                        ",
                                      "-0x000000000000000000000000000000000000f",
                                      "00000000000000000000000000000000000000000"};
    for (size_t i = 0; i < KW_ARRAY_LEN(odd); i++) assert_int_equal(ensure(odd[i]), 0);
    assert_int_equal(upstream->scripts.count, 0);
}

static void test_a_flush_forgets_all(void **state KW_UNUSED) {
    char sha1[2][KW_SHA1_HEX + 1];
    for (unsigned n = 0; n < 2; n++) known(n, sha1[n]);
    assert_int_equal(ensure(sha1[0]) + ensure(sha1[1]), 2);
    kw_scripts_clear(scripts);
    assert_int_equal(ensure(sha1[0]), 0); /* nobody knows it any more */
    assert_int_equal(upstream->scripts.count, 0);
    known(0, sha1[0]);
    assert_int_equal(ensure(sha1[0]), 1);
    assert_int_equal(ensure(sha1[0]), 0);
    assert_int_equal(upstream->scripts.count, 1);
}

/* The set doubles and keeps what it has; when it is full it begins anew, and never grows beyond. */
static void test_growth_and_forgetting(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    for (unsigned n = 0; n < HALF_FULL; n++) {
        known(n, sha1);
        assert_int_equal(ensure(sha1), 1);
        struct kw_script_set *set = &upstream->scripts;
        assert_int_equal(set->count, n + 1);
        assert_int_equal(set->cap & (set->cap - 1), 0);
        assert_true(set->count * 2 <= set->cap && set->cap <= SET_MAX);
        if ((n & (n - 1)) != 0) continue;
        for (unsigned k = 0; k <= n; k++) {
            known(k, sha1);
            assert_int_equal(ensure(sha1), 0);
        }
    }
    assert_int_equal(upstream->scripts.cap, SET_MAX);
    known(HALF_FULL, sha1);
    assert_int_equal(ensure(sha1), 1); /* one too many */
    assert_int_equal(upstream->scripts.count, 1);
    assert_true(upstream->scripts.cap < SET_MAX);
    assert_int_equal(ensure(sha1), 0);
    known(3, sha1);
    assert_int_equal(ensure(sha1), 1); /* forgotten: sent once more */
    assert_int_equal(ensure(sha1), 0);
}

static void test_every_evalsha_of_a_transaction(void **state KW_UNUSED) {
    char sha1[3][KW_SHA1_HEX + 1];
    struct kw_str frames = {0};
    struct kw_request req = {.skip_total = 6};
    for (unsigned n = 0; n < 3; n++) known(n, sha1[n]);
    kw_str_append_text(&frames, "*1\r\n$5\r\nMULTI\r\n");
    append_command(&frames, "evalsha", sha1[1]);
    append_command(&frames, "EVAL", sha1[0]); /* a text that looks like one */
    append_command(&frames, "EVALSHA_RO", sha1[2]);
    append_command(&frames, "EVALSHA", sha1[1]);
    kw_str_append_text(&frames, "*1\r\n$7\r\nEVALSHA\r\n*1\r\n$4\r\nEXEC\r\n");
    kw_script_ensure(upstream, &req, frames.data, frames.len);
    assert_queued(LOAD("return 1") LOAD("return 2"));
    drain();
    /* The same bytes, kept. */
    kw_script_set_deinit(&upstream->scripts);
    assert_int_equal(kw_request_keep_copy(worker, &req, frames.data, frames.len), 0);
    kw_script_ensure(upstream, &req, NULL, 0);
    assert_queued(LOAD("return 1") LOAD("return 2"));
    kw_frame_clear(worker, &req.frame);
    kw_str_deinit(&frames);
}

/* A frame that is cut, or kept beside its large payloads: what cannot be read sends nothing and reads nothing. */
static void test_frames_that_end_early(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    struct kw_str frame = {0};
    known(1, sha1);
    append_command(&frame, "EVALSHA", sha1);
    size_t digest_end = (size_t)(strstr(frame.data, sha1) - frame.data) + KW_SHA1_HEX;
    for (int transaction = 0; transaction < 2; transaction++) {
        struct kw_request req = {.skip_total = transaction ? 2 : 0, .moment = kw_scripts_moment(scripts)};
        for (size_t len = 0; len < frame.len; len++) {
            char *exact = malloc(len + 1);
            assert_non_null(exact);
            memcpy(exact, frame.data, len);
            exact = realloc(exact, len ? len : 1); /* exactly so many: a read beyond them is seen */
            drain();
            kw_script_set_deinit(&upstream->scripts);
            kw_script_ensure(upstream, &req, exact, len);
            assert_int_equal(upstream->inflight, !transaction && len >= digest_end);
            free(exact);
        }
    }
    kw_str_deinit(&frame);
}

static void test_the_digest_of_what_is_kept(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    struct kw_str frame = {0};
    struct kw_request req = {.moment = kw_scripts_moment(scripts)};
    const char *word;
    size_t len;
    known(1, sha1);
    append_command(&frame, "EVALSHA", sha1);
    assert_false(kw_script_digest(&req, &word, &len));
    assert_int_equal(kw_request_keep_copy(worker, &req, frame.data, frame.len), 0);
    assert_true(kw_script_digest(&req, &word, &len));
    assert_int_equal(len, KW_SHA1_HEX);
    assert_memory_equal(word, sha1, len);
    assert_non_null(kw_outq_copy_try(&req.frame.rest, worker->pool, "x", 1, 64));
    assert_false(kw_script_digest(&req, &word, &len));
    drain();
    kw_script_ensure(upstream, &req, NULL, 0);
    assert_int_equal(upstream->inflight, 0);
    kw_frame_clear(worker, &req.frame);
    kw_str_deinit(&frame);
}

static void test_no_memory_to_send_is_not_taken_for_sent(void **state KW_UNUSED) {
    char sha1[KW_SHA1_HEX + 1];
    known(1, sha1);
    kw_alloc_fail_nth(1);
    assert_int_equal(ensure(sha1), 0);
    kw_alloc_fail_nth(0);
    assert_int_equal(upstream->scripts.count, 0);
    assert_int_equal(ensure(sha1), 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_a_script_is_sent_once_a_link),
        TEST(test_the_case_of_a_digest_does_not_matter),
        TEST(test_what_is_not_known_is_asked_for_again),
        TEST(test_what_came_later_is_not_known),
        TEST(test_texts_of_a_transaction),
        TEST(test_what_is_no_digest_sends_nothing),
        TEST(test_a_flush_forgets_all),
        TEST(test_growth_and_forgetting),
        TEST(test_every_evalsha_of_a_transaction),
        TEST(test_frames_that_end_early),
        TEST(test_the_digest_of_what_is_kept),
        TEST(test_no_memory_to_send_is_not_taken_for_sent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
