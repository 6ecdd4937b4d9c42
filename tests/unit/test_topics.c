/*
 * Who subscribes to what: how many receive a message when a node counts each
 * worker once, how many subscribe to a channel when all nodes are asked, and
 * which names are ours alone. The numbers follow what is added and taken away;
 * a name that nobody has any more is forgotten.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "proxy/pubsub/topics.h"

#define NODE_A "127.0.0.1:7001"
#define NODE_B "127.0.0.1:7002"

static struct kw_topics *topics;

static int set_up(void **state KW_UNUSED) {
    topics = kw_topics_new();
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    kw_topics_free(topics);
    return 0;
}

static void clients(enum kw_topic_kind kind, const char *name, int change) {
    kw_topics_add_clients(topics, kind, name, strlen(name), change);
}

static void upstream(enum kw_topic_kind kind, const char *name, const char *node, int change) {
    kw_topics_add_upstream(topics, kind, name, strlen(name), node, change);
}

/* Receivers of a message to `name` that NODE_A counted `at_node` times. */
static long long receivers(enum kw_topic_kind kind, const char *name, long long at_node) {
    return kw_topics_receivers(topics, kind, name, strlen(name), NODE_A, at_node, kw_topics_moment(topics));
}

static long long subscribers(enum kw_topic_kind kind, const char *name, long long at_nodes) {
    return kw_topics_subscribers(topics, kind, name, strlen(name), at_nodes);
}

static bool may_show(enum kw_topic_kind kind, const char *name) {
    return kw_topics_may_show(topics, kind, name, strlen(name));
}

static void test_without_clients_the_node_is_right(void **state KW_UNUSED) {
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 0), 0);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 3), 3);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 2), 2);
    assert_true(may_show(KW_TOPIC_CHANNEL, "news")); /* somebody else's */
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_CHANNEL), 0);
}

/* Five clients behind two workers, one stranger: the node counts three. */
static void test_each_client_counts_and_strangers_as_well(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 2);
    clients(KW_TOPIC_CHANNEL, "news", 3);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, 1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, 1);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 3), 6);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 2), 5);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "new", 2), 2); /* another name */
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news!", 2), 2);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 3), 6);
}

/* Published at one node, subscribed at another: what we have elsewhere is not taken from what this one counted. */
static void test_only_the_publishing_node_is_corrected(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 4);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_B, 2);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 0), 4);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 1), 5); /* a stranger */
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 3), 5);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, NODE_B, 3, kw_topics_moment(topics)), 5);
}

/* While a subscription is on its way, the node counts fewer than there are of ours: never below the clients. */
static void test_a_node_that_is_behind_takes_nobody_away(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, 3);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 0), 1);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 1), 1);
}

static void test_patterns_receive_what_they_match(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news.art", 1);
    clients(KW_TOPIC_PATTERN, "news.*", 2);
    clients(KW_TOPIC_PATTERN, "*", 4);
    clients(KW_TOPIC_PATTERN, "sport.*", 8);
    upstream(KW_TOPIC_CHANNEL, "news.art", NODE_A, 1);
    upstream(KW_TOPIC_PATTERN, "news.*", NODE_A, 2);
    upstream(KW_TOPIC_PATTERN, "*", NODE_A, 1);
    upstream(KW_TOPIC_PATTERN, "sport.*", NODE_A, 1);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news.art", 4), 7);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news.art", 5), 8); /* a stranger's */
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "sport.golf", 2), 12);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news.art", 1), 1); /* NUMSUB knows no patterns */
}

static void test_shard_channels_are_apart(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 1);
    clients(KW_TOPIC_SHARD, "news", 2);
    clients(KW_TOPIC_PATTERN, "*", 4);
    upstream(KW_TOPIC_SHARD, "news", NODE_A, 1);
    assert_int_equal(receivers(KW_TOPIC_SHARD, "news", 1), 2);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 0), 5);
}

static void test_names_are_bytes(void **state KW_UNUSED) {
    kw_topics_add_clients(topics, KW_TOPIC_CHANNEL, "a\0b", 3, 1);
    kw_topics_add_clients(topics, KW_TOPIC_CHANNEL, "", 0, 1);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "a\0b", 3, NODE_A, 0, kw_topics_moment(topics)), 1);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "a\0c", 3, NODE_A, 0, kw_topics_moment(topics)), 0);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "a", 0), 0);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "", 0), 1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_CHANNEL), 2);
}

/* PUBSUB CHANNELS: a node still lists what our last client has just left; that must not be shown. */
static void test_a_name_without_clients_is_hidden_until_the_node_has_dropped_it(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, 1);
    assert_true(may_show(KW_TOPIC_CHANNEL, "news"));
    clients(KW_TOPIC_CHANNEL, "news", -1);
    assert_false(may_show(KW_TOPIC_CHANNEL, "news"));
    assert_true(may_show(KW_TOPIC_SHARD, "news"));
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 1), 0);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 1), 0);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, -1);
    assert_true(may_show(KW_TOPIC_CHANNEL, "news"));
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 1), 1); /* forgotten: a stranger now */
}

static void test_the_number_of_names_is_of_those_with_clients(void **state KW_UNUSED) {
    clients(KW_TOPIC_PATTERN, "a*", 1);
    clients(KW_TOPIC_PATTERN, "a*", 1);
    clients(KW_TOPIC_PATTERN, "b*", 1);
    upstream(KW_TOPIC_PATTERN, "c*", NODE_A, 1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_PATTERN), 2);
    clients(KW_TOPIC_PATTERN, "a*", -1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_PATTERN), 2);
    clients(KW_TOPIC_PATTERN, "a*", -1);
    clients(KW_TOPIC_PATTERN, "b*", -1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_PATTERN), 0);
    clients(KW_TOPIC_PATTERN, "c*", 1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_PATTERN), 1);
    assert_int_equal(kw_topics_count(topics, KW_TOPIC_CHANNEL), 0);
}

/* Whoever comes or goes while a message is on its way may have missed it; nobody is counted who has. */
static void test_changes_while_a_message_is_on_its_way(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, 1);
    uint32_t sent = kw_topics_moment(topics);
    clients(KW_TOPIC_PATTERN, "n*", 1);
    upstream(KW_TOPIC_PATTERN, "n*", NODE_A, 1);
    clients(KW_TOPIC_PATTERN, "x*", 1);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 1), 2);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, NODE_A, 1, sent), 1);
    sent = kw_topics_moment(topics);
    clients(KW_TOPIC_CHANNEL, "news", -1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_B, 1);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_B, -1);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, NODE_A, 3, sent), 2);
    upstream(KW_TOPIC_CHANNEL, "news", NODE_A, -1);
    assert_int_equal(receivers(KW_TOPIC_CHANNEL, "news", 2), 2);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, NODE_A, 2, sent), 1);
}

/* More changes than are remembered: none is taken twice. */
static void test_very_many_changes_while_a_message_is_on_its_way(void **state KW_UNUSED) {
    clients(KW_TOPIC_CHANNEL, "news", 1);
    uint32_t sent = kw_topics_moment(topics);
    for (int i = 0; i < 5000; i++) {
        clients(KW_TOPIC_CHANNEL, "other", 1);
        clients(KW_TOPIC_CHANNEL, "other", -1);
    }
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, NODE_A, 0, sent), 1);
    assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "other", 5, NODE_A, 0, sent), 0);
}

/* Nodes come and go; the order of their going does not matter. */
static void test_subscriptions_at_many_nodes(void **state KW_UNUSED) {
    char addr[32];
    clients(KW_TOPIC_CHANNEL, "news", 1);
    for (int i = 0; i < 20; i++) {
        snprintf(addr, sizeof(addr), "10.0.0.%d:6379", i);
        upstream(KW_TOPIC_CHANNEL, "news", addr, 1);
        upstream(KW_TOPIC_CHANNEL, "news", addr, 1);
    }
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 41), 2);
    for (int i = 0; i < 20; i += 2) {
        snprintf(addr, sizeof(addr), "10.0.0.%d:6379", i);
        upstream(KW_TOPIC_CHANNEL, "news", addr, -1);
        upstream(KW_TOPIC_CHANNEL, "news", addr, -1);
        assert_int_equal(kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, addr, 2, kw_topics_moment(topics)),
                         3);
    }
    assert_int_equal(
        kw_topics_receivers(topics, KW_TOPIC_CHANNEL, "news", 4, "10.0.0.19:6379", 2, kw_topics_moment(topics)), 1);
    assert_int_equal(subscribers(KW_TOPIC_CHANNEL, "news", 21), 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_without_clients_the_node_is_right),
        TEST(test_each_client_counts_and_strangers_as_well),
        TEST(test_only_the_publishing_node_is_corrected),
        TEST(test_a_node_that_is_behind_takes_nobody_away),
        TEST(test_patterns_receive_what_they_match),
        TEST(test_shard_channels_are_apart),
        TEST(test_names_are_bytes),
        TEST(test_a_name_without_clients_is_hidden_until_the_node_has_dropped_it),
        TEST(test_the_number_of_names_is_of_those_with_clients),
        TEST(test_changes_while_a_message_is_on_its_way),
        TEST(test_very_many_changes_while_a_message_is_on_its_way),
        TEST(test_subscriptions_at_many_nodes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
