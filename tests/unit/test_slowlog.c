/*
 * The slow log: what is kept of a request and how it is printed, which entries
 * stay, and that a full ring costs neither memory nor a system call. The
 * kernel's part (addresses, the clock) and the settings are ours here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <arpa/inet.h>
#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/str.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/settings.h"
#include "proxy/slowlog.h"
#include "proxy/worker.h"

enum { NOW_US = 5000000, WALL_S = 1700000000, SLOW_US = 700 };

static struct kw_limits limits;
static struct kw_worker *worker;
static struct kw_session *session;
static struct kw_session_rare rare;
static struct kw_request *req;

static const char *peer_text; /* NULL: there is none */
static unsigned peers_asked, clock_reads, allocations;

const struct kw_limits *__wrap_kw_server_limits(const struct kw_server *server);
const struct kw_limits *__wrap_kw_server_limits(const struct kw_server *server KW_UNUSED) {
    return &limits;
}

int __wrap_uv_tcp_getpeername(const uv_tcp_t *tcp, struct sockaddr *out, int *size);
int __wrap_uv_tcp_getpeername(const uv_tcp_t *tcp KW_UNUSED, struct sockaddr *out, int *size) {
    union kw_slow_address address = {0};
    peers_asked++;
    if (!peer_text) return UV_ENOTCONN;
    bool is_in6 = strchr(peer_text, ':') != NULL;
    void *host = is_in6 ? (void *)&address.in6.sin6_addr : (void *)&address.in.sin_addr;
    address.any.sa_family = is_in6 ? AF_INET6 : AF_INET;
    address.in.sin_port = htons(4321);
    assert_int_equal(inet_pton(address.any.sa_family, peer_text, host), 1);
    assert_true(*size >= (int)sizeof(address));
    memcpy(out, &address, sizeof(address));
    return 0;
}

uint64_t __wrap_kw_clock_wall_us(void);
uint64_t __wrap_kw_clock_wall_us(void) {
    return (WALL_S + clock_reads++) * 1000000ULL;
}

void *__real_kw_calloc(size_t count, size_t size);
void *__wrap_kw_calloc(size_t count, size_t size);
void *__wrap_kw_calloc(size_t count, size_t size) {
    allocations++;
    return __real_kw_calloc(count, size);
}

void *__real_kw_realloc(void *ptr, size_t size);
void *__wrap_kw_realloc(void *ptr, size_t size);
void *__wrap_kw_realloc(void *ptr, size_t size) {
    allocations++;
    return __real_kw_realloc(ptr, size);
}

static int set_up(void **state KW_UNUSED) {
    limits = (struct kw_limits){.slowlog_slower_us = SLOW_US, .slowlog_max_len = 128};
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    worker->slowlog = kw_slowlog_new();
    worker->now_us = NOW_US;
    worker->now_valid = true;
    session = kw_calloc(1, sizeof(*session));
    session->worker = worker;
    session->id = 1;
    rare = (struct kw_session_rare){0};
    session->rare = &rare;
    req = kw_request_new(worker);
    req->session = session;
    req->cmd = kw_command_by_full_name("mget", 4);
    peer_text = "10.1.2.3";
    peers_asked = clock_reads = allocations = 0;
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
    kw_slowlog_free(worker->slowlog);
    kw_pool_free(worker->pool);
    kw_free(session);
    kw_free(worker);
    return 0;
}

static void set_frame(struct kw_request *of, const void *bytes, size_t len) {
    kw_frame_clear(worker, &of->frame);
    assert_int_equal(kw_request_keep_copy(worker, of, bytes, len), 0);
}

static void set_frame_text(struct kw_request *of, const char *text) {
    set_frame(of, text, strlen(text));
}

/* "MGET" and `words` arguments more, each of them `len` bytes. */
static void set_frame_of(size_t words, size_t len) {
    char word[1024];
    struct kw_str frame = {0};
    assert_true(len <= sizeof(word));
    memset(word, 'w', sizeof(word));
    kw_str_resp_array(&frame, words + 1);
    kw_str_resp_text(&frame, "MGET");
    for (size_t i = 0; i < words; i++) kw_str_resp_bulk(&frame, word, len);
    set_frame(req, frame.data, frame.len);
    kw_str_deinit(&frame);
}

static void record(void) {
    kw_slowlog_consider(worker, req, SLOW_US);
}

/* The newest entry; the caller gives it back. */
static struct kw_slow_entry newest(void) {
    struct kw_slow_entry entry;
    assert_int_equal(kw_slowlog_copy(worker->slowlog, &entry, 1), 1);
    return entry;
}

static void assert_args_str(struct kw_str *want) {
    struct kw_str got = {0};
    record();
    struct kw_slow_entry entry = newest();
    kw_slow_entry_print_args(&got, &entry);
    assert_int_equal(got.len, want->len);
    assert_memory_equal(got.data, want->data, want->len);
    kw_slow_entry_deinit(&entry);
    kw_str_deinit(&got);
    kw_str_deinit(want);
}

static void assert_args(const char *text) {
    struct kw_str want = {0};
    kw_str_append_text(&want, text);
    assert_args_str(&want);
}

static void assert_client(const char *text) {
    struct kw_str got = {0};
    record();
    struct kw_slow_entry entry = newest();
    kw_slow_entry_print_client(&got, &entry);
    assert_string_equal(got.data, text);
    kw_slow_entry_deinit(&entry);
    kw_str_deinit(&got);
}

/* ------------------------------------------------------------------------------------------------------ arguments */

static void test_short_arguments(void **state KW_UNUSED) {
    static const char frame[] = "*3\r\n$3\r\nSET\r\n$0\r\n\r\n$4\r\na\0\r\n\r\n";
    struct kw_str want = {0};
    set_frame(req, frame, sizeof(frame) - 1);
    kw_str_append(&want, frame, sizeof(frame) - 1);
    assert_args_str(&want);
    /* Redis does not look at what ends a line, and a client's oddity is not shown. */
    set_frame_text(req, "*2\rX$3\rXGETXX$1\rXkXX");
    assert_args("*2\r\n$3\r\nGET\r\n$1\r\nk\r\n");
}

static void test_long_arguments(void **state KW_UNUSED) {
    static const struct {
        size_t len, shown;
        const char *more;
    } cases[] = {{127, 127, ""}, {128, 128, ""}, {129, 128, "... (1 more bytes)"}, {1000, 128, "... (872 more bytes)"}};
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_str want = {0};
        kw_str_append_text(&want, "*3\r\n$4\r\nMGET\r\n");
        for (int word = 0; word < 2; word++) {
            kw_str_printf(&want, "$%zu\r\n", cases[i].shown + strlen(cases[i].more));
            for (size_t n = 0; n < cases[i].shown; n++) kw_str_append(&want, "w", 1);
            kw_str_printf(&want, "%s\r\n", cases[i].more);
        }
        set_frame_of(2, cases[i].len);
        assert_args_str(&want);
    }
}

static void test_many_arguments(void **state KW_UNUSED) {
    static const struct {
        size_t argc, shown;
        const char *last;
    } cases[] = {{31, 31, ""},
                 {32, 32, ""},
                 {33, 32, "$22\r\n... (2 more arguments)\r\n"},
                 {1000, 32, "$24\r\n... (969 more arguments)\r\n"}};
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_str want = {0};
        size_t whole = cases[i].shown - (cases[i].last[0] != '\0');
        kw_str_resp_array(&want, cases[i].shown);
        kw_str_resp_text(&want, "MGET");
        for (size_t n = 1; n < whole; n++) kw_str_resp_text(&want, "w");
        kw_str_append_text(&want, cases[i].last);
        set_frame_of(cases[i].argc - 1, 1);
        assert_args_str(&want);
    }
}

/* What is not kept, or not whole, is shown by the command's name. */
static void test_what_cannot_be_read(void **state KW_UNUSED) {
    static const char *const name = "*1\r\n$4\r\nmget\r\n";
    static const char *const broken[] = {
        "*",
        "key",
        "*2\r\n",
        "$1\r\n$4\r\nMGET\r\n",
        "*1\r\n*4\r\nMGET\r\n",
        "*1\r\n$4\r\nMGET",
        "*2\r\n$4\r\nMGET\r\n",
        "*2\r\n$4\r\nMGET\r\n$9\r\nk\r\n",
        "*1\r\n$18446744073709551615\r\nMGET\r\n",
    };
    assert_args(name);
    for (size_t i = 0; i < KW_ARRAY_LEN(broken); i++) {
        set_frame_text(req, broken[i]);
        assert_args(name);
    }
    set_frame_of(1, 1);
    req->flags |= KW_REQF_STREAMED;
    assert_args(name);
    req->flags = 0;
    assert_non_null(kw_outq_copy_try(&req->frame.rest, worker->pool, "x", 1, 64));
    assert_args(name);
}

static void test_split_command_is_shown_by_its_first_part(void **state KW_UNUSED) {
    struct kw_group *group = kw_group_new(2, 0);
    req->group = group;
    set_frame_text(req, "*1\r\n$5\r\nWHOLE\r\n");
    for (uint32_t i = 0; i < group->part_count; i++) {
        group->parts[i] = kw_request_new(worker);
        group->parts[i]->cmd = req->cmd;
        group->parts[i]->sent_us = NOW_US - 300 + i;
        set_frame_text(group->parts[i], i ? "*1\r\n$6\r\nSECOND\r\n" : "*1\r\n$5\r\nFIRST\r\n");
    }
    assert_args("*1\r\n$5\r\nFIRST\r\n");
    struct kw_slow_entry entry = newest();
    assert_int_equal(entry.node_us, 300);
    kw_slow_entry_deinit(&entry);
}

/* --------------------------------------------------------------------------------------------------------- client */

static void test_addresses(void **state KW_UNUSED) {
    static const struct {
        const char *peer, *want;
    } cases[] = {
        {"10.1.2.3", "$13\r\n10.1.2.3:4321\r\n$0\r\n\r\n"},
        {"fe80::1", "$14\r\n[fe80::1]:4321\r\n$0\r\n\r\n"},
        {"::ffff:10.1.2.3", "$22\r\n[::ffff:10.1.2.3]:4321\r\n$0\r\n\r\n"},
        {NULL, "$3\r\n?:0\r\n$0\r\n\r\n"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        session->id++;
        peer_text = cases[i].peer;
        assert_client(cases[i].want);
    }
    req->session = NULL;
    assert_client("$0\r\n\r\n$0\r\n\r\n");
}

static void test_names(void **state KW_UNUSED) {
    char name[101] = "me";
    char want[128];
    rare.name = name;
    assert_client("$13\r\n10.1.2.3:4321\r\n$2\r\nme\r\n");
    memset(name, 'n', sizeof(name) - 1);
    snprintf(want, sizeof(want), "$13\r\n10.1.2.3:4321\r\n$63\r\n%.63s\r\n", name);
    assert_client(want);
    /* Neither is in the way of the other. */
    set_frame_of(1, 1);
    assert_args("*2\r\n$4\r\nMGET\r\n$1\r\nw\r\n");
    /* As it was then. */
    struct kw_slow_entry entry = newest();
    struct kw_str got = {0};
    rare.name = NULL;
    kw_slow_entry_print_client(&got, &entry);
    assert_string_equal(got.data, want);
    kw_slow_entry_deinit(&entry);
    kw_str_deinit(&got);
}

/* Clients of which one has the other's row take turns there; none ever gets the other's address. */
static void test_an_address_is_asked_once(void **state KW_UNUSED) {
    enum { ROWS = 1024 };
    for (int i = 0; i < 3; i++) {
        for (session->id = 1; session->id <= ROWS; session->id++) record();
    }
    assert_int_equal(peers_asked, ROWS);
    session->id = ROWS + 1;
    peer_text = "10.9.9.9";
    assert_client("$13\r\n10.9.9.9:4321\r\n$0\r\n\r\n");
    session->id = 1;
    peer_text = "10.1.2.3";
    assert_client("$13\r\n10.1.2.3:4321\r\n$0\r\n\r\n");
    assert_int_equal(peers_asked, ROWS + 2);
    session->id = 2 * ROWS + 1;
    peer_text = NULL;
    assert_client("$3\r\n?:0\r\n$0\r\n\r\n");
}

/* ----------------------------------------------------------------------------------------------------------- ring */

/* Entries are told apart by the size of their argument; newest first. */
static void assert_sizes(size_t newest_size, size_t oldest_size) {
    struct kw_slow_entry entries[256];
    size_t count = newest_size - oldest_size + 1;
    assert_int_equal(kw_slowlog_length(worker->slowlog), count);
    assert_int_equal(kw_slowlog_copy(worker->slowlog, entries, KW_ARRAY_LEN(entries)), count);
    for (size_t i = 0; i < count; i++) {
        struct kw_str got = {0}, want = {0};
        kw_str_append_text(&want, "*2\r\n$4\r\nMGET\r\n$");
        kw_str_printf(&want, "%zu\r\n", newest_size - i);
        kw_slow_entry_print_args(&got, &entries[i]);
        assert_memory_equal(got.data, want.data, want.len);
        if (i) assert_true(entries[i].id < entries[i - 1].id);
        kw_str_deinit(&got);
        kw_str_deinit(&want);
        kw_slow_entry_deinit(&entries[i]);
    }
}

static void record_sizes(size_t first, size_t last) {
    for (size_t size = first; size <= last; size++) {
        set_frame_of(1, size);
        record();
    }
}

static void test_the_newest_stay(void **state KW_UNUSED) {
    limits.slowlog_max_len = 5;
    record_sizes(1, 3);
    assert_sizes(3, 1);
    record_sizes(4, 40);
    assert_sizes(40, 36);
    /* More, from the middle of the ring; then fewer. */
    limits.slowlog_max_len = 60;
    record_sizes(41, 90);
    assert_sizes(90, 36);
    record_sizes(91, 120);
    assert_sizes(120, 61);
    limits.slowlog_max_len = 2;
    assert_sizes(120, 61);
    record_sizes(121, 121);
    assert_sizes(121, 120);
    limits.slowlog_max_len = 0;
    record_sizes(122, 122);
    assert_sizes(121, 120);
    kw_slowlog_clear(worker->slowlog);
    assert_int_equal(kw_slowlog_length(worker->slowlog), 0);
    struct kw_slow_entry none;
    assert_int_equal(kw_slowlog_copy(worker->slowlog, &none, 1), 0);
    limits.slowlog_max_len = 5;
    record_sizes(10, 20);
    assert_sizes(20, 16);
}

static void test_who_is_slow(void **state KW_UNUSED) {
    kw_slowlog_consider(worker, req, SLOW_US - 1);
    assert_int_equal(kw_slowlog_length(worker->slowlog), 0);
    req->flags = KW_REQF_UNBOUNDED;
    record();
    assert_int_equal(kw_slowlog_length(worker->slowlog), 0);
    req->flags = 0;
    limits.slowlog_slower_us = -1;
    record();
    assert_int_equal(kw_slowlog_length(worker->slowlog), 0);
    limits.slowlog_slower_us = SLOW_US;
    req->sent_us = NOW_US - 200;
    record();
    struct kw_slow_entry entry = newest();
    assert_int_equal(entry.total_us, SLOW_US);
    assert_int_equal(entry.node_us, 200);
    assert_int_equal(entry.wall_s, WALL_S);
    kw_slow_entry_deinit(&entry);
}

static void test_a_full_ring_costs_nothing(void **state KW_UNUSED) {
    set_frame_of(3, 100);
    for (int i = 0; i < 128; i++) record();
    allocations = clock_reads = peers_asked = 0;
    for (int i = 0; i < 1000; i++) record();
    assert_int_equal(allocations, 0);
    assert_int_equal(peers_asked, 0);
    assert_int_equal(clock_reads, 0);
    worker->now_us++; /* the next turn */
    record();
    record();
    assert_int_equal(clock_reads, 1);
}

int main(void) {
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(test_short_arguments),
        TEST(test_long_arguments),
        TEST(test_many_arguments),
        TEST(test_what_cannot_be_read),
        TEST(test_split_command_is_shown_by_its_first_part),
        TEST(test_addresses),
        TEST(test_names),
        TEST(test_an_address_is_asked_once),
        TEST(test_the_newest_stay),
        TEST(test_who_is_slow),
        TEST(test_a_full_ring_costs_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
