/*
 * The number of receivers, corrected on its way to the client: PUBLISH and
 * SPUBLISH alone and among the commands of a transaction, and every reply that
 * has to stay as the node gave it. Who subscribes is real; the process is not.
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
#include "proxy/pubsub/publish.h"
#include "proxy/pubsub/topics.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

static char node_addr[] = "127.0.0.1:7001";
static struct kw_topics *topics;
static struct kw_worker *worker;
static struct kw_node node;
static struct kw_link *upstream;
static struct kw_request *req;

struct kw_topics *__wrap_kw_server_topics(struct kw_server *server);
struct kw_topics *__wrap_kw_server_topics(struct kw_server *server KW_UNUSED) {
    return topics;
}

/* "news" has 3 clients behind one subscription at the node; the shard channel of that name 5. */
static int set_up(void **state KW_UNUSED) {
    topics = kw_topics_new();
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    node.addr = node_addr;
    upstream = kw_calloc(1, sizeof(*upstream));
    upstream->worker = worker;
    upstream->node = &node;
    req = kw_request_new(worker);
    kw_topics_add_clients(topics, KW_TOPIC_CHANNEL, "news", 4, 3);
    kw_topics_add_upstream(topics, KW_TOPIC_CHANNEL, "news", 4, node_addr, 1);
    kw_topics_add_clients(topics, KW_TOPIC_SHARD, "news", 4, 5);
    kw_topics_add_upstream(topics, KW_TOPIC_SHARD, "news", 4, node_addr, 1);
    kw_publish_mark(worker, req);
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    kw_request_free(worker, req);
    while (worker->free_requests) {
        struct kw_request *next = worker->free_requests;
        worker->free_requests = next->queue_next;
        kw_free(next);
    }
    kw_outq_clear(&worker->park, worker->pool);
    kw_pool_free(worker->pool);
    kw_free(upstream);
    kw_free(worker);
    kw_topics_free(topics);
    return 0;
}

/* What the client gets where the node answered `frame` (kept) with `reply`. */
static void assert_counted(const char *frame, const char *reply, const char *want) {
    char got[512] = "";
    kw_frame_clear(worker, &req->frame);
    assert_int_equal(kw_request_keep_copy(worker, req, frame, strlen(frame)), 0);
    kw_request_reply_text(worker, req, reply, strlen(reply));
    kw_publish_count(upstream, req);
    assert_true(req->reply.bytes < sizeof(got));
    kw_outq_peek(&req->reply, got, sizeof(got) - 1);
    assert_string_equal(got, want);
}

static void is_command(const char *name) {
    req->cmd = kw_command_lookup(name, strlen(name));
    assert_non_null(req->cmd);
}

#define PUBLISH(name)  "*3\r\n$7\r\nPUBLISH\r\n$4\r\n" name "\r\n$2\r\nhi\r\n"
#define SPUBLISH(name) "*3\r\n$8\r\nSPUBLISH\r\n$4\r\n" name "\r\n$2\r\nhi\r\n"
#define MULTI          "*1\r\n$5\r\nMULTI\r\n"
#define EXEC           "*1\r\n$4\r\nEXEC\r\n"
#define INCR           "*2\r\n$4\r\nINCR\r\n$1\r\nn\r\n"

static void test_alone(void **state KW_UNUSED) {
    is_command("publish");
    assert_counted(PUBLISH("news"), ":1\r\n", ":3\r\n");
    assert_counted(PUBLISH("news"), ":4\r\n", ":6\r\n"); /* and three strangers */
    assert_counted(PUBLISH("NEWS"), ":2\r\n", ":2\r\n");
    is_command("spublish");
    assert_counted(SPUBLISH("news"), ":1\r\n", ":5\r\n");
}

/* Who came after it was marked, while it was on its way, is not counted. */
static void test_later_subscribers(void **state KW_UNUSED) {
    is_command("publish");
    kw_topics_add_clients(topics, KW_TOPIC_CHANNEL, "news", 4, 2);
    assert_counted(PUBLISH("news"), ":1\r\n", ":3\r\n");
    kw_publish_mark(worker, req);
    assert_counted(PUBLISH("news"), ":1\r\n", ":5\r\n");
}

static void test_errors_stay(void **state KW_UNUSED) {
    is_command("publish");
    assert_counted(PUBLISH("news"), "-NOPERM no\r\n", "-NOPERM no\r\n");
    assert_counted(PUBLISH("news"), "+QUEUED\r\n", "+QUEUED\r\n");
}

/* The message does not matter: a large one is not even there. */
static void test_the_channel_among_the_first_bytes(void **state KW_UNUSED) {
    static const char head[] = "*3\r\n$7\r\nPUBLISH\r\n$4\r\nnews\r\n$99999\r\n";
    char got[16] = "";
    is_command("publish");
    assert_non_null(kw_outq_copy_try(&req->frame.rest, worker->pool, head, sizeof(head) - 1, 64));
    kw_request_reply_text(worker, req, ":1\r\n", 4);
    kw_publish_count(upstream, req);
    kw_outq_peek(&req->reply, got, sizeof(got) - 1);
    assert_string_equal(got, ":3\r\n");
}

/* Wherever the kept bytes end: all of the channel, or the node's own number. */
static void test_bytes_that_end_early(void **state KW_UNUSED) {
    static const char frame[] = PUBLISH("news");
    size_t channel_end = (size_t)(strstr(frame, "news") - frame) + 4;
    is_command("publish");
    for (size_t len = 1; len < sizeof(frame); len++) {
        char cut[sizeof(frame)] = "";
        memcpy(cut, frame, len);
        assert_counted(cut, ":1\r\n", len >= channel_end ? ":3\r\n" : ":1\r\n");
    }
}

static void test_in_a_transaction_each_element_is_its_own(void **state KW_UNUSED) {
    is_command("exec");
    req->skip_total = 5;
    assert_counted(MULTI INCR PUBLISH("news") SPUBLISH("news") INCR EXEC, "*4\r\n:1\r\n:1\r\n:1\r\n:2\r\n",
                   "*4\r\n:1\r\n:3\r\n:5\r\n:2\r\n");
}

static void test_elements_of_any_shape_are_stepped_over(void **state KW_UNUSED) {
    is_command("exec");
    req->skip_total = 5;
    assert_counted(MULTI INCR INCR PUBLISH("news") PUBLISH("news") EXEC,
                   "*4\r\n*2\r\n$3\r\n:\r\n\r\n*1\r\n:1\r\n%1\r\n+a\r\n_\r\n-ERR no\r\n:1\r\n",
                   "*4\r\n*2\r\n$3\r\n:\r\n\r\n*1\r\n:1\r\n%1\r\n+a\r\n_\r\n-ERR no\r\n:3\r\n");
}

static void test_a_transaction_that_did_not_run_stays(void **state KW_UNUSED) {
    is_command("exec");
    req->skip_total = 2;
    assert_counted(MULTI PUBLISH("news") EXEC, "*-1\r\n", "*-1\r\n");
    assert_counted(MULTI PUBLISH("news") EXEC, "_\r\n", "_\r\n");
    assert_counted(MULTI PUBLISH("news") EXEC, "-EXECABORT no\r\n", "-EXECABORT no\r\n");
}

/* Fewer elements than commands, bytes that end early on either side: the reply is the node's own. */
static void test_what_does_not_fit_together_stays(void **state KW_UNUSED) {
    static const char commands[] = MULTI PUBLISH("news") PUBLISH("news") EXEC, reply[] = "*2\r\n:1\r\n:1\r\n";
    is_command("exec");
    req->skip_total = 3;
    assert_counted(commands, "*1\r\n:1\r\n", "*1\r\n:1\r\n");
    assert_counted(commands, "*0\r\n", "*0\r\n");
    for (size_t len = 1; len < sizeof(reply) - 1; len++) {
        char cut[sizeof(reply)] = "";
        memcpy(cut, reply, len);
        assert_counted(commands, cut, cut);
    }
    size_t needed = strlen(MULTI PUBLISH("news") PUBLISH("news"));
    for (size_t len = 1; len < sizeof(commands); len++) {
        char cut[sizeof(commands)] = "";
        memcpy(cut, commands, len);
        assert_counted(cut, reply, len >= needed ? "*2\r\n:3\r\n:3\r\n" : reply);
    }
}

static void test_a_reply_in_pieces(void **state KW_UNUSED) {
    static const char reply[] = "*2\r\n:1\r\n:1\r\n";
    char got[64] = "";
    is_command("exec");
    req->skip_total = 3;
    assert_int_equal(
        kw_request_keep_copy(worker, req, MULTI INCR PUBLISH("news") EXEC, strlen(MULTI INCR PUBLISH("news") EXEC)), 0);
    for (size_t i = 0; i < sizeof(reply) - 1; i++) {
        struct kw_chunk *chunk = kw_chunk_new_try(worker->pool, 1);
        assert_non_null(chunk);
        chunk->data[0] = reply[i];
        chunk->len = 1;
        assert_int_equal(kw_outq_ref_try(&req->reply, worker->pool, chunk, 0, 1), 0);
        kw_chunk_unref(chunk);
    }
    kw_publish_count(upstream, req);
    kw_outq_peek(&req->reply, got, sizeof(got) - 1);
    assert_string_equal(got, "*2\r\n:1\r\n:3\r\n");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_alone),
        TEST(test_later_subscribers),
        TEST(test_errors_stay),
        TEST(test_the_channel_among_the_first_bytes),
        TEST(test_bytes_that_end_early),
        TEST(test_in_a_transaction_each_element_is_its_own),
        TEST(test_elements_of_any_shape_are_stepped_over),
        TEST(test_a_transaction_that_did_not_run_stays),
        TEST(test_what_does_not_fit_together_stays),
        TEST(test_a_reply_in_pieces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
