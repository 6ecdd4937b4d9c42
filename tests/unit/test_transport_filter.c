/* The filter by itself: messages as libraft writes them pass, and each length or name that would mislead it does not.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <raft.h>

#include "base/base.h"
#include "raft/store/transport_filter.h"

enum { SIZE = 2048 };

struct message {
    unsigned char bytes[SIZE]; /* header */
    size_t len;
};

static void put(struct message *message, uint64_t value, unsigned bytes) {
    assert_true(message->len + bytes <= SIZE);
    for (unsigned i = 0; i < bytes; i++) message->bytes[message->len++] = (unsigned char)(value >> (8 * i));
}

static void put_text(struct message *message, const char *text) {
    do {
        put(message, (unsigned char)*text, 1);
    } while (*text++);
}

static bool preamble_passes(struct kw_filter *filter, unsigned type, unsigned version, uint64_t len) {
    struct message preamble = {.len = 0};
    put(&preamble, type, 1);
    put(&preamble, 0, 1);
    put(&preamble, version, 1);
    put(&preamble, 0, 5);
    put(&preamble, len, 8);
    assert_int_equal(preamble.len, KW_FILTER_PREAMBLE);
    return kw_filter_preamble(filter, preamble.bytes);
}

/* In memory of exactly its size, so that a sanitizer sees what is read behind it. */
static bool passes(const struct message *message, unsigned type, uint64_t payload) {
    struct kw_filter filter;
    if (!preamble_passes(&filter, type, 0, message->len)) return false;
    assert_int_equal(filter.header_len, message->len);
    unsigned char *exact = malloc(message->len);
    memcpy(exact, message->bytes, message->len);
    bool ok = kw_filter_header(&filter, exact);
    free(exact);
    if (ok) assert_int_equal(filter.payload_len, payload);
    return ok;
}

static void test_lengths_by_type(void **state) {
    (void)state;
    static const unsigned least[] = {
        [RAFT_APPEND_ENTRIES] = 40,      [RAFT_APPEND_ENTRIES_RESULT] = 32, [RAFT_REQUEST_VOTE] = 40,
        [RAFT_REQUEST_VOTE_RESULT] = 24, [RAFT_INSTALL_SNAPSHOT] = 48,      [RAFT_TIMEOUT_NOW] = 24};
    struct kw_filter filter;
    for (unsigned type = 0; type < 256; type++) {
        bool known = type < KW_ARRAY_LEN(least) && least[type];
        bool grows = type == RAFT_APPEND_ENTRIES || type == RAFT_INSTALL_SNAPSHOT;
        unsigned most = !known ? 0 : grows ? KW_FILTER_HEADER_MAX : least[type] + 256;
        if (known) assert_true(preamble_passes(&filter, type, 2, least[type]));
        if (known) assert_int_equal(filter.version, 2);
        if (known) assert_false(preamble_passes(&filter, type, 2, least[type] - 1));
        if (known) assert_true(preamble_passes(&filter, type, 2, most));
        assert_false(preamble_passes(&filter, type, 2, most + 1));
        assert_false(preamble_passes(&filter, type, 2, 0));
        assert_false(preamble_passes(&filter, type, 2, UINT64_MAX));
    }
}

static struct message entries(uint64_t count, unsigned written, unsigned type, uint64_t len) {
    struct message message = {.len = 0};
    for (unsigned i = 0; i < 4; i++) put(&message, i, 8);
    put(&message, count, 8);
    for (unsigned i = 0; i < written; i++) {
        put(&message, 3, 8);
        put(&message, type, 4);
        put(&message, len, 4);
    }
    put(&message, 0, 8);
    return message;
}

static void test_entries(void **state) {
    (void)state;
    static const struct {
        uint64_t count;
        unsigned written, type;
        uint64_t len;
        bool passes;
    } rows[] = {
        {0, 0, 0, 0, true},
        {1, 1, RAFT_COMMAND, 8, true},
        {3, 3, RAFT_BARRIER, 8, true},
        {3, 3, RAFT_CHANGE, 64, true},
        {2, 3, RAFT_COMMAND, 8, true}, /* a later version has more to say */
        {16, 16, RAFT_COMMAND, (uint64_t)64 << 20, true},
        {17, 17, RAFT_COMMAND, (uint64_t)64 << 20, false}, /* too much in all */
        {1, 1, 0, 8, false},
        {1, 1, RAFT_CHANGE + 1, 8, false},
        {1, 1, 255, 8, false},
        {1, 1, RAFT_COMMAND, 0, false},
        {1, 1, RAFT_COMMAND, 9, false},
        {1, 1, RAFT_COMMAND, UINT32_MAX, false},
        {2, 1, RAFT_COMMAND, 8, false}, /* more than there are */
        {(uint64_t)1 << 32, 1, RAFT_COMMAND, 8, false},
        {((uint64_t)1 << 32) + 1, 1, RAFT_COMMAND, 8, false},
        {(uint64_t)1 << 60, 1, RAFT_COMMAND, 8, false},
        {UINT64_MAX, 1, RAFT_COMMAND, 8, false},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        struct message message = entries(rows[i].count, rows[i].written, rows[i].type, rows[i].len);
        /* The last word is not an entry's. */
        if (passes(&message, RAFT_APPEND_ENTRIES, rows[i].count * rows[i].len) != rows[i].passes) {
            fail_msg("row %zu", i);
        }
    }
}

struct server {
    uint64_t id;
    const char *address;
    unsigned role;
};

static struct message snapshot(const struct server servers[2], uint64_t count, uint64_t conf_len, uint64_t data_len) {
    struct message message = {.len = 0}, conf = {.len = 0};
    put(&conf, 1, 1);
    put(&conf, count, 8);
    for (int i = 0; i < 2; i++) {
        put(&conf, servers[i].id, 8);
        put_text(&conf, servers[i].address);
        put(&conf, servers[i].role, 1);
    }
    while (conf.len % 8) put(&conf, 0, 1);
    for (unsigned i = 0; i < 4; i++) put(&message, i, 8);
    put(&message, conf_len == 0 ? conf.len : conf_len, 8);
    for (size_t i = 0; i < conf.len; i++) put(&message, conf.bytes[i], 1);
    put(&message, data_len, 8);
    put(&message, 0, 8);
    return message;
}

static void test_snapshots(void **state) {
    (void)state;
    static const struct {
        struct server second;
        uint64_t count, conf_len, data_len;
        bool passes;
    } rows[] = {
        {{2, "10.0.0.2:1:2", RAFT_STANDBY}, 2, 0, 1000, true},
        {{2, "10.0.0.2:1:2", RAFT_SPARE}, 2, 0, 0, true},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 1, 0, 8, true},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 0, (uint64_t)1 << 32, true},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 0, ((uint64_t)1 << 32) + 1, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 0, UINT64_MAX, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 3, 0, 8, false}, /* more servers than there are */
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 65, 0, 8, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, UINT64_MAX, 0, 8, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 80, 8, false}, /* beyond the header */
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, UINT64_MAX, 8, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 8, 8, false},
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 30, 0, false}, /* ends within an id */
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 45, 0, false}, /* within an address */
        {{2, "10.0.0.2:1:2", RAFT_VOTER}, 2, 52, 0, false}, /* before a role */
        {{2, "10.0.0.2:1:2", 9}, 2, 0, 8, false},
        {{0, "10.0.0.2:1:2", RAFT_VOTER}, 2, 0, 8, false},
        {{1, "10.0.0.2:1:2", RAFT_VOTER}, 2, 0, 8, false},
        {{2, "10.0.0.1:1:2", RAFT_VOTER}, 2, 0, 8, false},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        struct server servers[2] = {{1, "10.0.0.1:1:2", RAFT_VOTER}, rows[i].second};
        struct message message = snapshot(servers, rows[i].count, rows[i].conf_len, rows[i].data_len);
        if (passes(&message, RAFT_INSTALL_SNAPSHOT, rows[i].data_len) != rows[i].passes) fail_msg("row %zu", i);
    }
    struct server servers[2] = {{1, "10.0.0.1:1:2", RAFT_VOTER}, {2, "10.0.0.2:1:2", RAFT_VOTER}};
    struct message message = snapshot(servers, 2, 0, 8);
    message.bytes[40] = 2; /* the configuration's format */
    assert_false(passes(&message, RAFT_INSTALL_SNAPSHOT, 8));
}

static void test_as_many_servers_as_there_is_room_for(void **state) {
    (void)state;
    for (unsigned count = KW_FILTER_SERVERS_MAX; count <= KW_FILTER_SERVERS_MAX + 1; count++) {
        struct message message = {.len = 0};
        for (unsigned i = 0; i < 4; i++) put(&message, i, 8);
        put(&message, 1 + 8 + 12 * count, 8);
        put(&message, 1, 1);
        put(&message, count, 8);
        for (unsigned i = 1; i <= count; i++) {
            char address[] = {(char)('a' + i / 26), (char)('a' + i % 26), 0};
            put(&message, i, 8);
            put_text(&message, address);
            put(&message, RAFT_VOTER, 1);
        }
        put(&message, 8, 8);
        put(&message, 0, 8);
        assert_int_equal(passes(&message, RAFT_INSTALL_SNAPSHOT, 8), count <= KW_FILTER_SERVERS_MAX);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_lengths_by_type),
        cmocka_unit_test(test_entries),
        cmocka_unit_test(test_snapshots),
        cmocka_unit_test(test_as_many_servers_as_there_is_room_for),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
