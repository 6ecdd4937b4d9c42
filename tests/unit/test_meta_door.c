/*
 * The parts of the door and of the process that need no connection: the command table, words and small replies, runs
 * of slots, what the observer believes, and what the settings must be together.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"
#include "raft/observer.h"
#include "raft/observer_offsets.h"
#include "raft/settings.h"

/* Words between blanks as arguments. */
static size_t words_of(const char *text, struct kw_arg out[16]) {
    const char *at = text, *end = text + strlen(text);
    size_t count = 0;
    while (at < end && count < 16) out[count++] = kw_door_word(&at, end);
    return count;
}

static struct kw_arg arg(const char *text) {
    return (struct kw_arg){text, strlen(text)};
}

static const struct kw_door_row *find(const char *text) {
    struct kw_arg words[16];
    return kw_door_find(words, words_of(text, words));
}

/* ---- the table */

static void test_table_is_sorted_and_every_row_is_found(void **state KW_UNUSED) {
    size_t count;
    const struct kw_door_row *rows = kw_door_rows(&count);
    for (size_t i = 0; i < count; i++) {
        char text[64];
        snprintf(text, sizeof(text), "%s", rows[i].name);
        for (char *c = text; *c; c++) *c = (char)(*c == '|' ? ' ' : *c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        if (i) assert_true(strcmp(rows[i - 1].name, rows[i].name) < 0);
        assert_ptr_equal(find(text), &rows[i]);
        assert_int_equal(rows[i].kind == KW_DOOR_GROUP, rows[i].run == NULL);
        if (rows[i].help) assert_non_null(rows[i].args);
    }
}

static void test_rows_that_are_not_there(void **state KW_UNUSED) {
    assert_null(find("nosuch"));
    assert_null(find("keyway|get"));
    assert_null(find("pin"));
    assert_null(find("pingg"));
    assert_string_equal(find("keyway nosuch")->name, "keyway");
    assert_string_equal(find("keyway config nosuch")->name, "keyway|config");
    assert_string_equal(find("ping keyway")->name, "ping");
    assert_string_equal(find("command nosuch")->name, "command");
    struct kw_arg empty = {"", 0};
    assert_null(kw_door_find(&empty, 1));
}

static const char *resolved(const char *text, struct kw_door_call *call, bool *insist) {
    static struct kw_arg words[16];
    static struct kw_str out;
    kw_str_clear(&out);
    *call = (struct kw_door_call){.argv = words, .argc = words_of(text, words), .resp = 2, .out = &out};
    return kw_door_resolve(call, insist) ? call->row->name : out.data;
}

static void test_prefixes(void **state KW_UNUSED) {
    struct kw_door_call call;
    bool insist;
    assert_string_equal(resolved("keyway linear GET config a", &call, &insist), "keyway|get");
    assert_true(insist);
    assert_int_equal(call.arg_count, 2);
    assert_memory_equal(call.args[1].data, "a", 1);
    assert_string_equal(resolved("KEYWAY ID 000102030405060708090a0b0c0d0E0F config set a b", &call, &insist),
                        "keyway|config|set");
    assert_false(insist);
    assert_true(call.has_id);
    for (unsigned i = 0; i < 16; i++) assert_int_equal(call.request_id[i], i);
    assert_memory_equal(call.args[0].data, "a", 1);
    assert_string_equal(resolved("keyway id 1 put config a b", &call, &insist),
                        "-ERR the request id must be 32 hex digits, not all zero\r\n");
    assert_string_equal(resolved("keyway linear put config a b", &call, &insist),
                        "-ERR KEYWAY LINEAR is for reads, 'keyway|put' is none\r\n");
    assert_string_equal(resolved("keyway id", &call, &insist),
                        "-ERR wrong number of arguments for 'keyway|id' command\r\n");
    assert_string_equal(resolved("keyway id 11111111111111111111111111111111 meta remove 1", &call, &insist),
                        "-ERR 'keyway|meta|remove' takes no request id\r\n");
}

static void test_numbers_of_words(void **state KW_UNUSED) {
    struct kw_door_call call;
    bool insist;
    assert_string_equal(resolved("keyway get config", &call, &insist),
                        "-ERR wrong number of arguments for 'keyway|get' command\r\n");
    assert_string_equal(resolved("keyway meta", &call, &insist),
                        "-ERR wrong number of arguments for 'keyway|meta' command\r\n");
    assert_string_equal(resolved("keyway meta foo", &call, &insist),
                        "-ERR unknown subcommand 'foo'. Try KEYWAY HELP.\r\n");
    assert_string_equal(resolved("foo a b", &call, &insist),
                        "-ERR unknown command 'foo', with args beginning with: 'a' 'b' \r\n");
}

static void test_each_record_of_a_request_has_an_id_of_its_own(void **state KW_UNUSED) {
    struct kw_door_call call = {.has_id = true};
    unsigned char first[KW_REQUEST_ID_SIZE], other[KW_REQUEST_ID_SIZE], none[KW_REQUEST_ID_SIZE] = {0};
    memset(call.request_id, 7, sizeof(call.request_id));
    kw_door_request_id(first, &call, 0);
    assert_memory_equal(first, call.request_id, sizeof(first));
    kw_door_request_id(first, &call, 1);
    kw_door_request_id(other, &call, 257);
    assert_memory_not_equal(first, call.request_id, sizeof(first));
    assert_memory_not_equal(first, other, sizeof(first));
    call.has_id = false;
    kw_door_request_id(first, &call, 3);
    assert_memory_equal(first, none, sizeof(first));
}

/* The id as a number whose lowest byte is the last one (`last`), or the first. */
static void id_add(unsigned char id[KW_REQUEST_ID_SIZE], unsigned number, bool last) {
    for (unsigned i = 0; i < KW_REQUEST_ID_SIZE && number > 0; i++, number >>= 8) {
        unsigned char *byte = &id[last ? KW_REQUEST_ID_SIZE - 1 - i : i];
        number += *byte;
        *byte = (unsigned char)number;
    }
}

/* Two requests of which one's records bear ids of the other would answer each other. */
static void test_records_do_not_meet_the_next_requests_of_who_counts(void **state KW_UNUSED) {
    enum { RECORDS = 1000, NEXT = 1000 };
    static const unsigned char starts[][KW_REQUEST_ID_SIZE] = {
        {1}, {[KW_REQUEST_ID_SIZE - 1] = 1}, {0x9e, 0x37, 0x79, 0xb9, 0x7f, 0x4a, 0x7c, 0x15, 0xff, 0xff, 0xff, 0xff}};
    static unsigned char ids[RECORDS][KW_REQUEST_ID_SIZE];
    unsigned char next[KW_REQUEST_ID_SIZE], again[KW_REQUEST_ID_SIZE];
    for (size_t s = 0; s < 2 * KW_ARRAY_LEN(starts); s++) {
        struct kw_door_call call = {.has_id = true};
        memcpy(call.request_id, starts[s / 2], sizeof(call.request_id));
        for (unsigned nth = 0; nth < RECORDS; nth++) kw_door_request_id(ids[nth], &call, nth);
        assert_memory_equal(ids[0], call.request_id, sizeof(call.request_id));
        for (unsigned nth = 0; nth < RECORDS; nth++) {
            kw_door_request_id(again, &call, nth);
            assert_memory_equal(again, ids[nth], sizeof(again));
        }
        for (unsigned step = 0; step <= NEXT; step++) {
            memcpy(next, call.request_id, sizeof(next));
            id_add(next, step, s % 2);
            for (unsigned nth = 1; nth < RECORDS; nth++) {
                if (memcmp(ids[nth], next, sizeof(next)) == 0) fail_msg("record %u has the id %u further", nth, step);
            }
        }
    }
}

/* ---- words */

static void test_numbers(void **state KW_UNUSED) {
    static const char *const bad[] = {
        "", "-", "+1", " 1", "1 ", "01", "1x", "18446744073709551616", "99999999999999999999"};
    uint64_t u;
    long long i;
    for (size_t n = 0; n < KW_ARRAY_LEN(bad); n++) {
        struct kw_arg word = arg(bad[n]);
        assert_false(kw_door_u64(&word, &u));
        assert_false(kw_door_int(&word, &i));
    }
    struct kw_arg most = arg("18446744073709551615"), least = arg("-9223372036854775807"), zero = arg("0");
    assert_true(kw_door_u64(&most, &u) && u == UINT64_MAX);
    assert_false(kw_door_int(&most, &i));
    assert_true(kw_door_int(&least, &i) && i == -INT64_MAX);
    assert_true(kw_door_u64(&zero, &u) && u == 0);
}

static void test_expect(void **state KW_UNUSED) {
    struct kw_str out = {0};
    struct kw_arg words[16] = {0};
    uint64_t expect;
    assert_true(kw_door_expect(&out, words, 0, true, &expect));
    assert_true(expect == KW_EXPECT_ANY);
    assert_true(kw_door_expect(&out, words, words_of("expect ABSENT", words), true, &expect));
    assert_true(expect == KW_EXPECT_ABSENT);
    assert_true(kw_door_expect(&out, words, words_of("EXPECT 17", words), false, &expect));
    assert_int_equal(expect, 17);
    assert_null(out.data);
    static const char *const bad[] = {"expect",    "17 expect", "expect x", "expect -1", "expect 18446744073709551615",
                                      "expect 1 2"};
    for (size_t n = 0; n < KW_ARRAY_LEN(bad); n++) {
        kw_str_clear(&out);
        assert_false(kw_door_expect(&out, words, words_of(bad[n], words), true, &expect));
        assert_int_equal(out.data[0], '-');
    }
    assert_false(kw_door_expect(&out, words, words_of("expect absent", words), false, &expect));
    kw_str_deinit(&out);
}

static void test_tables_and_what_fits(void **state KW_UNUSED) {
    struct kw_str out = {0};
    struct kw_door_table table;
    struct kw_arg name = arg("LOCKS"), wrong = arg("lock"), key = arg("k"), none = arg("");
    static char big[5000];
    assert_true(kw_door_table_find(&out, &name, &table));
    assert_int_equal(table.table, KW_META_LOCKS);
    assert_true(kw_door_table_fits(&out, &table, &key, &none));
    assert_null(out.data);
    struct kw_arg value = {big, 4096}, long_value = {big, 4097}, long_key = {big, 1025};
    assert_true(kw_door_table_fits(&out, &table, &key, &value));
    assert_false(kw_door_table_fits(&out, &table, &key, &long_value));
    assert_false(kw_door_table_fits(&out, &table, &long_key, NULL));
    assert_false(kw_door_table_fits(&out, &table, &none, NULL));
    kw_str_clear(&out);
    assert_false(kw_door_table_find(&out, &wrong, &table));
    assert_string_equal(out.data,
                        "-ERR there is no table 'lock'; there are: config scripts families proxies operations "
                        "sessions locks\r\n");
    kw_str_deinit(&out);
}

static void test_secrets(void **state KW_UNUSED) {
    struct kw_arg right = arg("secret"), shorter = arg("secre"), longer = arg("secretsecret"), none = arg("");
    assert_true(kw_door_same_secret("secret", &right));
    assert_false(kw_door_same_secret("secret", &shorter));
    assert_false(kw_door_same_secret("secret", &longer));
    assert_false(kw_door_same_secret("secret", &none));
    assert_true(kw_door_same_secret("", &none));
    assert_false(kw_door_same_secret("", &right));
}

static void test_addresses_and_words(void **state KW_UNUSED) {
    char text[KW_DOOR_ADDRESS_SIZE];
    kw_door_host_port(text, "10.0.0.1", 7380);
    assert_string_equal(text, "10.0.0.1:7380");
    kw_door_host_port(text, "::1", 7380);
    assert_string_equal(text, "[::1]:7380");
    const char *at = "  one  two", *end = at + 10;
    struct kw_arg word = kw_door_word(&at, end);
    assert_int_equal(word.len, 3);
    word = kw_door_word(&at, end);
    assert_memory_equal(word.data, "two", 3);
    assert_int_equal(kw_door_word(&at, end).len, 0);
}

static void test_offsets(void **state KW_UNUSED) {
    static const char primary[] = "# Replication\r\nrole:master\r\nmaster_repl_offset:4711\r\nrepl_backlog_size:1\r\n";
    static const char replica[] =
        "role:slave\r\nslave_read_repl_offset:8\r\nslave_repl_offset:7\r\nmaster_repl_offset:9\r\n";
    assert_int_equal(kw_offsets_parse(primary, sizeof(primary) - 1), 4711);
    assert_int_equal(kw_offsets_parse(replica, sizeof(replica) - 1), 7);
    assert_int_equal(kw_offsets_parse("role:master\r\n", 13), -1);
    assert_int_equal(kw_offsets_parse("", 0), -1);
    assert_int_equal(kw_offsets_parse("master_repl_offset:", 19), -1);
    assert_int_equal(kw_offsets_parse("master_repl_offset:12", 20), 1);
}

/* ---- maps */

/* A cluster of two shards: a0 with slots up to `split`, b0 with the rest, a1 a replica of a0. */
static struct kw_topology *topology(unsigned split, const char *first_owner, unsigned epoch_a, unsigned epoch_b) {
    char text[1024];
    bool a_is_primary = strcmp(first_owner, "a0") == 0;
    snprintf(text, sizeof(text),
             "%040d 127.0.0.1:7000@17000 myself,%s %s 0 0 %u connected%s\n"
             "%040d 127.0.0.1:7001@17001 %s %s 0 0 %u connected%s\n"
             "%040d 127.0.0.1:7002@17002 master - 0 0 %u connected %u-16383\n",
             1, a_is_primary ? "master" : "slave", a_is_primary ? "-" : "0000000000000000000000000000000000000002",
             epoch_a, "", 2, a_is_primary ? "slave" : "master",
             a_is_primary ? "0000000000000000000000000000000000000001" : "-", epoch_a, "", 3, epoch_b, split + 1);
    /* The slots of the first shard, at the end of its primary's line. */
    char slots[32], whole[1200];
    snprintf(slots, sizeof(slots), " 0-%u", split);
    char *line = a_is_primary ? text : strchr(text, '\n') + 1;
    char *end = strchr(line, '\n');
    snprintf(whole, sizeof(whole), "%.*s%s%s", (int)(end - text), text, slots, end);
    struct kw_topo_view *view;
    assert_int_equal(kw_topo_view_parse(&view, whole, strlen(whole), "127.0.0.1"), 0);
    const struct kw_topo_view *views[] = {view};
    struct kw_topology *topo = kw_topology_merge(views, 1, NULL);
    kw_topo_view_free(view);
    assert_non_null(topo);
    return topo;
}

static void test_ranges(void **state KW_UNUSED) {
    static struct kw_door_range ranges[KW_SLOT_COUNT];
    struct kw_topology *topo = topology(99, "a0", 1, 2);
    struct kw_map *map = kw_map_from_topology(topo);
    assert_int_equal(kw_door_ranges(map, ranges), 2);
    assert_int_equal(ranges[0].first, 0);
    assert_int_equal(ranges[0].last, 99);
    assert_int_equal(ranges[1].first, 100);
    assert_int_equal(ranges[1].last, 16383);
    assert_int_not_equal(ranges[0].owner, ranges[1].owner);
    /* A hole, and every second slot. */
    map->owner[50] = -1;
    assert_int_equal(kw_door_ranges(map, ranges), 3);
    assert_int_equal(ranges[1].first, 51);
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) map->owner[slot] = (int16_t)(slot % 2);
    assert_int_equal(kw_door_ranges(map, ranges), KW_SLOT_COUNT);
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) map->owner[slot] = -1;
    assert_int_equal(kw_door_ranges(map, ranges), 0);
    kw_map_unref(map);
    kw_topology_unref(topo);
}

static const char *refusal(struct kw_topology *recorded, struct kw_topology *seen) {
    struct kw_map *map = kw_map_from_topology(recorded), *fresh = kw_map_from_topology(seen);
    const char *why = kw_observer_refusal(map, seen, fresh);
    kw_map_unref(map);
    kw_map_unref(fresh);
    return why;
}

static void all_reachable(struct kw_topology *topo, bool reachable) {
    for (unsigned i = 0; i < topo->node_count; i++) topo->nodes[i].reachable = reachable;
}

static void test_what_the_observer_believes(void **state KW_UNUSED) {
    struct kw_topology *before = topology(8191, "a0", 1, 2), *after = topology(8191, "a1", 3, 2);
    struct kw_topology *old = topology(8191, "a0", 1, 2);
    all_reachable(after, true);
    assert_null(refusal(before, after));
    all_reachable(after, false);
    assert_string_equal(refusal(before, after), "no node answers");
    /* The old primary is cut off and knows nothing of its successor, which does not answer us. */
    all_reachable(old, true);
    old->nodes[1].reachable = false;
    assert_string_equal(refusal(after, old), "only nodes answer that missed the last change");
    /* The successor itself says so: then it is so. */
    old->nodes[1].reachable = true;
    assert_null(refusal(after, old));
    all_reachable(after, true);
    after->owned_slots = 0;
    assert_string_equal(refusal(before, after), "no slot has an owner");
    after->owned_slots = KW_SLOT_COUNT;
    for (unsigned i = 0; i < after->node_count; i++) after->nodes[i].id[0] = 'f';
    assert_string_equal(refusal(before, after), "it is another cluster");
    kw_topology_unref(before);
    kw_topology_unref(after);
    kw_topology_unref(old);
}

/* ---- settings */

static const char *judged(const char *text, struct kw_meta_identity *identity) {
    static char why[512];
    struct kw_meta_settings settings;
    struct kw_config_error err;
    struct kw_config *cfg = kw_config_new(kw_meta_settings_rows, kw_meta_settings_row_count, &settings);
    why[0] = '\0';
    *identity = (struct kw_meta_identity){0};
    if (kw_config_load_text(cfg, "test", text, strlen(text), &err)) {
        snprintf(why, sizeof(why), "%s", err.text);
    } else {
        kw_meta_settings_judge(&settings, identity, why, sizeof(why));
    }
    kw_config_free(cfg);
    return why;
}

static void test_settings_that_go_together(void **state KW_UNUSED) {
    struct kw_meta_identity identity;
    assert_string_equal(judged("peers 1=10.0.0.1:7380 2=10.0.0.2:7390:7399\n", &identity), "");
    assert_int_equal(identity.peer_count, 2);
    assert_string_equal(identity.address.host, "10.0.0.1");
    assert_int_equal(identity.address.raft_port, 17380);
    assert_int_equal(identity.peers[1].address.raft_port, 7399);
    assert_string_equal(judged("join yes\nid 4\nport 7400\n", &identity), "");
    assert_int_equal(identity.peer_count, 0);
    assert_string_equal(identity.address.host, "127.0.0.1");
    assert_int_equal(identity.address.port, 7400);
    assert_int_equal(identity.address.raft_port, 17400);
    assert_string_equal(judged("join yes\nbind *\nsecret longenough\nannounce meta-4\nraft-port 5\n", &identity), "");
    assert_string_equal(identity.address.host, "meta-4");
    assert_int_equal(identity.address.raft_port, 5);
    assert_string_equal(judged("join yes\nbind 127.0.0.2 ::1 localhost\n", &identity), "");
    assert_string_equal(judged("join yes\nbind -127.0.0.3 -::1\n", &identity), "");
    assert_string_equal(identity.address.host, "127.0.0.3");
}

static void test_ports_agree_with_peers(void **state KW_UNUSED) {
    static const struct {
        const char *text;
        unsigned port, raft_port; /* of the own address */
    } agree[] = {
        {"port 7400\npeers 1=10.0.0.1:7400\n", 7400, 17400},
        {"port 7400\nraft-port 17400\npeers 1=10.0.0.1:7400\n", 7400, 17400},
        {"port 7400\nraft-port 7499\npeers 1=10.0.0.1:7400:7499\n", 7400, 7499},
        {"port 7400\npeers 1=10.0.0.1:7400:7499\n", 7400, 7499}, /* raft-port was left to the list */
        {"port 7400\npeers 1=10.0.0.1:7400 2=10.0.0.1:7401\n", 7400, 17400},
        /* Others reach it elsewhere than where it listens: it says so. */
        {"port 7400\nannounce 10.0.0.9\npeers 1=10.0.0.9:7500:7599\n", 7400, 17400},
        {"join yes\nid 3\nport 7400\npeers 1=10.0.0.1:7380\n", 7400, 17400}, /* it is not in the list */
    };
    static const struct {
        const char *text, *of_peers, *of_settings;
    } disagree[] = {
        {"peers 1=10.0.0.1:7400\n", "7400 and 17400", "7380 and 17380"},
        {"port 7400\npeers 1=10.0.0.1:7380\n", "7380 and 17380", "7400 and 17400"},
        {"port 7400\nraft-port 7499\npeers 1=10.0.0.1:7400\n", "7400 and 17400", "7400 and 7499"},
        {"port 7400\nraft-port 7499\npeers 1=10.0.0.1:7400:7498\n", "7400 and 7498", "7400 and 7499"},
        {"port 7400\nraft-port 17400\npeers 1=10.0.0.1:7401:17400\n", "7401 and 17400", "7400 and 17400"},
        {"id 2\nport 7400\njoin yes\npeers 1=10.0.0.1:7400 2=10.0.0.2:7401\n", "7401 and 17401", "7400 and 17400"},
    };
    struct kw_meta_identity identity;
    for (size_t i = 0; i < KW_ARRAY_LEN(agree); i++) {
        assert_string_equal(judged(agree[i].text, &identity), "");
        assert_int_equal(identity.address.port, agree[i].port);
        assert_int_equal(identity.address.raft_port, agree[i].raft_port);
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(disagree); i++) {
        const char *why = judged(disagree[i].text, &identity);
        if (!strstr(why, disagree[i].of_peers) || !strstr(why, disagree[i].of_settings) || !strstr(why, "announce")) {
            fail_msg("'%s': '%s'", disagree[i].text, why);
        }
    }
}

static void test_settings_that_do_not(void **state KW_UNUSED) {
    static const struct {
        const char *text, *why;
    } cases[] = {
        {"", "peers is empty"},
        {"peers 2=10.0.0.1:7380\n", "does not name this node"},
        {"peers 1=10.0.0.1\n", "peers '1=10.0.0.1'"},
        {"join yes\nbind 10.0.0.1\n", "secret is empty"},
        {"join yes\nbind 127.0.0.1 *\n", "secret is empty"},
        {"join yes\nbind 1270.0.0.1\n", "secret is empty"},
        {"secret short\n", "at least 8 characters"},
        {"join yes\nbind -10.0.0.1\n", "secret is empty"},
        {"join yes\nbind 0.0.0.0\nsecret longenough\n", "set announce"},
        {"join yes\nbind ::*\nsecret longenough\n", "set announce"},
        {"join yes\nport 60000\n", "set raft-port"},
        {"join yes\nheartbeat 200\n", "election-timeout 300 ms"},
        {"cluster-name \"two words\"\n", "without blanks"},
    };
    struct kw_meta_identity identity;
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        const char *why = judged(cases[i].text, &identity);
        if (!strstr(why, cases[i].why)) fail_msg("'%s': '%s' lacks '%s'", cases[i].text, why, cases[i].why);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table_is_sorted_and_every_row_is_found),
        cmocka_unit_test(test_rows_that_are_not_there),
        cmocka_unit_test(test_prefixes),
        cmocka_unit_test(test_numbers_of_words),
        cmocka_unit_test(test_each_record_of_a_request_has_an_id_of_its_own),
        cmocka_unit_test(test_records_do_not_meet_the_next_requests_of_who_counts),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_expect),
        cmocka_unit_test(test_tables_and_what_fits),
        cmocka_unit_test(test_secrets),
        cmocka_unit_test(test_addresses_and_words),
        cmocka_unit_test(test_offsets),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_what_the_observer_believes),
        cmocka_unit_test(test_settings_that_go_together),
        cmocka_unit_test(test_ports_agree_with_peers),
        cmocka_unit_test(test_settings_that_do_not),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
