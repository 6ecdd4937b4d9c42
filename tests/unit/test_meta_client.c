/*
 * The metadata client against nodes of the test's own, real listeners on the same loop that say what each case needs:
 * following, maps and differences, moving to the leader, silence, strangers' bytes, asking; then the pure parts, and
 * what a pushed map does as a hint in a merge of views.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <cmocka.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/resp_request.h"
#include "cluster/discovery_internal.h"
#include "raft/client/meta_client.h"
#include "raft/client/meta_frame.h"
#include "raft/client/meta_nodes.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ID_C "cccccccccccccccccccccccccccccccccccccccc"
#define ID_D "dddddddddddddddddddddddddddddddddddddddd"

enum {
    NODES = 3,
    PATIENCE_MS = 10 * 1000,
    ALIVE_MS = 20,
    AVOID_MS = 2000, /* of the client: so long a leader that could not be reached is left alone */
};

static uv_loop_t loop;

/* ---- maps ---- */

static struct kw_topo_view *view_of(const char *text) {
    struct kw_topo_view *view;
    assert_int_equal(kw_topo_view_parse(&view, text, strlen(text), "10.0.0.1"), 0);
    return view;
}

static struct kw_topology *merged(const struct kw_topo_view *view) {
    return kw_topology_merge(&view, 1, NULL);
}

/* Two shards; the first begins with `border` slots. */
static struct kw_map *new_map(uint64_t version, unsigned border) {
    char text[512];
    snprintf(text, sizeof(text),
             ID_A " 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-%u\n" ID_B
                  " 10.0.0.2:7000@17000 master - 0 0 2 connected %u-16383\n",
             border - 1, border);
    struct kw_topo_view *view = view_of(text);
    struct kw_topology *topo = merged(view);
    struct kw_map *map = kw_map_from_topology(topo);
    map->version = version;
    kw_topology_unref(topo);
    kw_topo_view_free(view);
    return map;
}

/* ---- a metadata node ---- */

struct conn;

struct node {
    uv_tcp_t server;
    uv_timer_t alive;
    unsigned port;
    bool listening;
    char address[64];
    struct conn *conns;
    /* How it behaves. */
    const char *secret;   /* NULL: wants none */
    const char *leader;   /* registrations and asks go there; NULL: it leads */
    const char *members;  /* of STATUS: RESP of the array; NULL: none */
    const char *answer;   /* to asks, RESP; NULL: an echo of the second word; "": none */
    const char *greeting; /* bytes in place of the answer to WATCH */
    uint64_t leader_id;   /* in alive */
    bool mute;            /* takes connections and says nothing */
    bool not_alive;       /* no signs of life */
    struct kw_map *map;   /* own; sent when WATCH comes */
    /* What it saw. */
    unsigned connects, hellos, watches, registers, removes, asks, statuses;
    uint64_t watched_version; /* of the last WATCH; 0: none said */
    struct kw_str registered; /* own; the words of the last registration */
    struct kw_str asked;      /* own; the words of the asks, "|" between two asks */
};

struct conn {
    uv_tcp_t tcp;
    struct node *node;
    struct conn *next;
    struct kw_request_parse parse;
    struct kw_str in;
    bool watching;
    bool stuck;    /* an ask is not answered, so nothing behind it is */
    unsigned owed; /* answers to STATUS */
    char buffer[65536];
};

static struct node nodes[NODES];

static void on_conn_closed(uv_handle_t *handle) {
    struct conn *conn = handle->data;
    kw_request_parse_deinit(&conn->parse);
    kw_str_deinit(&conn->in);
    kw_free(conn);
}

static void conn_close(struct conn *conn) {
    for (struct conn **at = &conn->node->conns; *at; at = &(*at)->next) {
        if (*at != conn) continue;
        *at = conn->next;
        uv_close((uv_handle_t *)&conn->tcp, on_conn_closed);
        return;
    }
}

static void on_sent(uv_write_t *req, int status KW_UNUSED) {
    kw_free(req->data);
    kw_free(req);
}

static void conn_send(struct conn *conn, const void *bytes, size_t len) {
    if (len == 0) return;
    uv_write_t *req = kw_malloc(sizeof(*req));
    char *copy = kw_malloc(len + 1);
    memcpy(copy, bytes, len);
    req->data = copy;
    uv_buf_t buf = uv_buf_init(copy, (unsigned)len);
    assert_int_equal(uv_write(req, (uv_stream_t *)&conn->tcp, &buf, 1, on_sent), 0);
}

static void conn_say(struct conn *conn, const char *text) {
    conn_send(conn, text, strlen(text));
}

static void push_map_bytes(struct conn *conn, uint64_t version, const char *how, const void *bytes, size_t len) {
    struct kw_str out = {0};
    kw_str_append_text(&out, ">5\r\n");
    kw_str_resp_text(&out, "keyway");
    kw_str_resp_text(&out, "map");
    kw_str_resp_int(&out, (long long)version);
    kw_str_resp_text(&out, how);
    kw_str_resp_bulk(&out, bytes, len);
    conn_send(conn, out.data, out.len);
    kw_str_deinit(&out);
}

static void push_map(struct conn *conn, const struct kw_map *map) {
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, map);
    push_map_bytes(conn, map->version, "full", bytes.data, bytes.len);
    kw_str_deinit(&bytes);
}

static void push_diff(struct node *node, const struct kw_map *from, const struct kw_map *to) {
    struct kw_str bytes = {0};
    assert_true(kw_map_diff(&bytes, from, to));
    for (struct conn *conn = node->conns; conn; conn = conn->next) {
        push_map_bytes(conn, to->version, "diff", bytes.data, bytes.len);
    }
    kw_str_deinit(&bytes);
}

static void push_alive(struct conn *conn) {
    struct kw_str out = {0};
    kw_str_append_text(&out, ">5\r\n");
    kw_str_resp_text(&out, "keyway");
    kw_str_resp_text(&out, "alive");
    kw_str_resp_int(&out, 42);
    kw_str_resp_int(&out, (long long)conn->node->leader_id);
    kw_str_resp_text(&out, conn->node->leader_id == 0 ? ""
                           : conn->node->leader       ? conn->node->leader
                                                      : conn->node->address);
    conn_send(conn, out.data, out.len);
    kw_str_deinit(&out);
}

static bool word_is(const struct conn *conn, unsigned nth, const char *word) {
    const struct kw_request_arg *arg = &conn->parse.args[nth];
    return nth < conn->parse.argc && arg->len == strlen(word) &&
           strncasecmp(conn->in.data + arg->off, word, arg->len) == 0;
}

static void note_words(struct conn *conn, struct kw_str *to, unsigned from) {
    for (unsigned i = from; i < conn->parse.argc; i++) {
        const struct kw_request_arg *arg = &conn->parse.args[i];
        kw_str_printf(to, "%s%.*s", i > from ? " " : "", (int)arg->len, conn->in.data + arg->off);
    }
}

static void say_notleader(struct conn *conn) {
    char text[100];
    snprintf(text, sizeof(text), "-NOTLEADER %s\r\n", conn->node->leader);
    conn_say(conn, text);
}

static void on_watch(struct conn *conn) {
    struct node *node = conn->node;
    node->watches++;
    node->watched_version = 0;
    if (word_is(conn, 2, "version"))
        node->watched_version = strtoull(conn->in.data + conn->parse.args[3].off, NULL, 10);
    if (node->greeting) {
        conn_say(conn, node->greeting);
        return;
    }
    conn_say(conn, "+OK\r\n");
    conn->watching = true;
    if (node->map && node->watched_version != node->map->version) push_map(conn, node->map);
    if (!node->not_alive) push_alive(conn);
}

static void on_ask(struct conn *conn) {
    struct node *node = conn->node;
    node->asks++;
    if (node->asked.len) kw_str_append_text(&node->asked, "|");
    note_words(conn, &node->asked, 1);
    if (node->leader) {
        say_notleader(conn);
    } else if (node->answer) {
        conn->stuck = conn->stuck || node->answer[0] == '\0';
        conn_say(conn, node->answer);
    } else {
        struct kw_str out = {0};
        const struct kw_request_arg *arg = &conn->parse.args[1];
        kw_str_resp_bulk(&out, conn->in.data + arg->off, arg->len);
        conn_send(conn, out.data, out.len);
        kw_str_deinit(&out);
    }
}

static void on_request(struct conn *conn) {
    struct node *node = conn->node;
    if (node->mute) return;
    if (word_is(conn, 0, "hello")) {
        node->hellos++;
        bool right = !node->secret || word_is(conn, 4, node->secret);
        conn_say(conn, right ? "%1\r\n+proto\r\n:3\r\n"
                       : node->secret && conn->parse.argc < 5
                           ? "-NOAUTH Authentication required.\r\n"
                           : "-WRONGPASS invalid username-password pair or user is disabled.\r\n");
    } else if (word_is(conn, 1, "watch")) {
        on_watch(conn);
    } else if (word_is(conn, 1, "status")) {
        node->statuses++;
        conn->owed += conn->stuck;
        if (!conn->stuck) conn_say(conn, node->members ? node->members : "%0\r\n");
    } else if (word_is(conn, 2, "register")) {
        node->registers++;
        kw_str_clear(&node->registered);
        note_words(conn, &node->registered, 3);
        if (node->leader) {
            say_notleader(conn);
        } else {
            conn_say(conn, "+OK\r\n");
        }
    } else if (word_is(conn, 2, "remove")) {
        node->removes++;
        conn_say(conn, ":1\r\n");
    } else {
        on_ask(conn);
    }
}

/* The answer that was not given. */
static void answer_late(struct conn *conn, const char *answer) {
    conn_say(conn, answer);
    conn->stuck = false;
    for (; conn->owed > 0; conn->owed--) conn_say(conn, "%0\r\n");
}

static void on_conn_alloc(uv_handle_t *handle, size_t suggested KW_UNUSED, uv_buf_t *buf) {
    struct conn *conn = handle->data;
    *buf = uv_buf_init(conn->buffer, sizeof(conn->buffer));
}

static void on_conn_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct conn *conn = stream->data;
    if (nread < 0) {
        conn_close(conn);
        return;
    }
    kw_str_append(&conn->in, buf->base, (size_t)nread);
    while (conn->in.len > 0 &&
           kw_request_parse(&conn->parse, &kw_request_unlimited, conn->in.data, conn->in.len) == KW_REQUEST_COMPLETE) {
        size_t used = conn->parse.frame_len;
        on_request(conn);
        kw_request_parse_reset(&conn->parse);
        memmove(conn->in.data, conn->in.data + used, conn->in.len - used);
        conn->in.len -= used;
    }
}

static void on_connection(uv_stream_t *server, int status) {
    struct node *node = server->data;
    struct conn *conn = kw_calloc(1, sizeof(*conn));
    assert_int_equal(status, 0);
    conn->node = node;
    conn->tcp.data = conn;
    kw_request_parse_init(&conn->parse);
    uv_tcp_init(&loop, &conn->tcp);
    assert_int_equal(uv_accept(server, (uv_stream_t *)&conn->tcp), 0);
    uv_tcp_nodelay(&conn->tcp, 1);
    uv_read_start((uv_stream_t *)&conn->tcp, on_conn_alloc, on_conn_read);
    conn->next = node->conns;
    node->conns = conn;
    node->connects++;
}

static void on_alive(uv_timer_t *timer) {
    struct node *node = timer->data;
    if (node->not_alive || node->mute) return;
    for (struct conn *conn = node->conns; conn; conn = conn->next) {
        if (conn->watching) push_alive(conn);
    }
}

/* Takes a port, the old one again after node_stop(). */
static void node_start(struct node *node) {
    struct sockaddr_in address;
    int len = sizeof(address);
    uv_tcp_init(&loop, &node->server);
    node->server.data = node->alive.data = node;
    uv_ip4_addr("127.0.0.1", (int)node->port, &address);
    assert_int_equal(uv_tcp_bind(&node->server, (const struct sockaddr *)&address, 0), 0);
    assert_int_equal(uv_listen((uv_stream_t *)&node->server, 64, on_connection), 0);
    uv_tcp_getsockname(&node->server, (struct sockaddr *)&address, &len);
    node->port = ntohs(address.sin_port);
    snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", node->port);
    uv_timer_init(&loop, &node->alive);
    node->alive.data = node;
    uv_timer_start(&node->alive, on_alive, ALIVE_MS, ALIVE_MS);
    node->listening = true;
}

static void node_drop_conns(struct node *node) {
    while (node->conns) conn_close(node->conns);
}

static void node_stop(struct node *node) {
    if (!node->listening) return;
    node->listening = false;
    node_drop_conns(node);
    uv_close((uv_handle_t *)&node->alive, NULL);
    uv_close((uv_handle_t *)&node->server, NULL);
}

/* ---- the client under test, and what it told ---- */

static struct kw_meta_client *client;
static bool asking; /* no signs of life, whose replies an answer that is not given would have to come before */
static bool hasty;  /* a node that says nothing is left soon; where that is not the subject, a machine that stands still
                       for a while must not look like one */
static struct {
    unsigned maps, ups, downs, facts, closed;
    struct kw_map *map; /* reference */
    struct kw_meta_client_facts last;
} seen;

static void on_map(void *ctx KW_UNUSED, struct kw_map *map) {
    seen.maps++;
    kw_map_unref(seen.map);
    seen.map = kw_map_ref(map);
}

static void on_link(void *ctx KW_UNUSED, bool up, const struct kw_meta_client_facts *facts) {
    seen.ups += up;
    seen.downs += !up;
    seen.last = *facts;
}

static void on_facts(void *ctx KW_UNUSED, const struct kw_meta_client_facts *facts) {
    seen.facts++;
    seen.last = *facts;
}

static void on_closed(void *ctx KW_UNUSED) {
    seen.closed++;
}

static uv_timer_t guard; /* open from set_up to tear_down */
static bool late;
static uint64_t stood_ms; /* how long the loop stood still, by nobody's doing: the nodes' timers turn it all the time */

static void on_impatient(uv_timer_t *timer KW_UNUSED) {
    late = true;
}

static void turn(void) {
    uint64_t began_ms = kw_clock_ms();
    uv_run(&loop, UV_RUN_ONCE);
    uint64_t took_ms = kw_clock_ms() - began_ms;
    if (took_ms > 5 * ALIVE_MS) stood_ms += took_ms;
}

/* Runs the loop until `cond` holds; fails with its name if it does not. */
#define RUN_UNTIL(cond)                                                                                                \
    do {                                                                                                               \
        late = false;                                                                                                  \
        uv_update_time(&loop);                                                                                         \
        uv_timer_start(&guard, on_impatient, PATIENCE_MS, 0);                                                          \
        while (!(cond) && !late) turn();                                                                               \
        uv_timer_stop(&guard);                                                                                         \
        if (late) fail_msg("line %d: waited in vain for %s", __LINE__, #cond);                                         \
    } while (0)

static void on_time(uv_timer_t *timer) {
    *(bool *)timer->data = true;
}

/* For what must not happen meanwhile. */
static void run_for(unsigned ms) {
    static bool over;
    static uv_timer_t timer;
    over = false;
    uv_timer_init(&loop, &timer);
    timer.data = &over;
    uv_timer_start(&timer, on_time, ms, 0);
    RUN_UNTIL(over);
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_NOWAIT);
}

static void begin(struct kw_meta_client_options *opts) {
    if (!opts->alive_timeout_ms) opts->alive_timeout_ms = hasty ? 400 : PATIENCE_MS * 10;
    if (!opts->register_ms) opts->register_ms = asking ? PATIENCE_MS * 10 : 100;
    if (!opts->connect_timeout_ms) opts->connect_timeout_ms = hasty ? 300 : PATIENCE_MS * 10;
    opts->on_map = on_map;
    opts->on_link = on_link;
    opts->on_facts = on_facts;
    assert_int_equal(kw_meta_client_new(&client, &loop, opts), 0);
}

static const struct kw_meta_client_identity identity = {"proxy-1", ":7379", "0.1.0", 4};

/* With the addresses of the first `count` nodes. */
static void begin_with(unsigned count, const char *secret, bool registers) {
    char list[256] = "";
    for (unsigned i = 0; i < count; i++) {
        int len = snprintf(list + strlen(list), sizeof(list) - strlen(list), "%s ", nodes[i].address);
        assert_in_range(len, 1, sizeof(list) - 1);
    }
    begin(&(struct kw_meta_client_options){.nodes = list, .secret = secret, .identity = registers ? &identity : NULL});
}

static int set_up(void **state KW_UNUSED) {
    kw_log_set_level(KW_LOG_WARNING);
    asking = hasty = false;
    memset(&seen, 0, sizeof(seen));
    memset(nodes, 0, sizeof(nodes));
    uv_loop_init(&loop);
    uv_timer_init(&loop, &guard);
    for (unsigned i = 0; i < NODES; i++) {
        nodes[i].leader_id = 1;
        node_start(&nodes[i]);
    }
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    if (client) {
        kw_meta_client_close(client, on_closed, NULL);
        client = NULL;
        RUN_UNTIL(seen.closed);
    }
    kw_map_unref(seen.map);
    for (unsigned i = 0; i < NODES; i++) {
        node_stop(&nodes[i]);
        kw_map_unref(nodes[i].map);
        kw_str_deinit(&nodes[i].registered);
        kw_str_deinit(&nodes[i].asked);
    }
    uv_close((uv_handle_t *)&guard, NULL);
    uv_run(&loop, UV_RUN_DEFAULT); /* only what closes is left */
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

static struct node *node_named(const char *address) {
    for (unsigned i = 0; i < NODES; i++) {
        if (strcmp(nodes[i].address, address) == 0) return &nodes[i];
    }
    return NULL;
}

static struct node *followed(void) {
    struct kw_meta_client_facts facts;
    kw_meta_client_facts(client, &facts);
    return facts.up ? node_named(facts.node) : NULL;
}

/* ---- following ---- */

static void test_follows_and_registers(void **state KW_UNUSED) {
    nodes[0].map = new_map(7, 8192);
    begin_with(1, NULL, true);
    RUN_UNTIL(seen.ups == 1 && seen.maps == 1 && nodes[0].registers >= 2 && seen.last.leader_id == 1);
    assert_true(seen.last.up);
    assert_string_equal(seen.last.node, nodes[0].address);
    assert_string_equal(seen.last.leader, nodes[0].address);
    assert_int_equal(seen.last.applied_index, 42);
    assert_int_equal(seen.last.map_version, 7);
    assert_int_equal(seen.last.reconnects, 0);
    assert_true(kw_map_equal(seen.map, nodes[0].map));
    /* The second one knows of the map; the host is the own end of the connection. */
    assert_string_equal(nodes[0].registered.data, "proxy-1 127.0.0.1:7379 0.1.0 4 7");
    assert_int_equal(nodes[0].watched_version, 0);
}

static void test_does_not_register_without_identity(void **state KW_UNUSED) {
    begin_with(1, NULL, false);
    RUN_UNTIL(nodes[0].statuses >= 3);
    assert_int_equal(nodes[0].registers, 0);
}

static void test_differences_follow_one_another(void **state KW_UNUSED) {
    struct kw_map *second = new_map(8, 8191), *third = new_map(9, 8190);
    nodes[0].map = new_map(7, 8192);
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.maps == 1);
    push_diff(&nodes[0], nodes[0].map, second);
    push_diff(&nodes[0], second, third);
    RUN_UNTIL(seen.maps == 3);
    assert_int_equal(seen.map->version, 9);
    assert_true(kw_map_equal(seen.map, third));
    assert_int_equal(nodes[0].watches, 1);
    kw_map_unref(second);
    kw_map_unref(third);
}

static void test_a_difference_that_does_not_fit_asks_for_the_whole(void **state KW_UNUSED) {
    struct kw_map *second = new_map(8, 8191), *third = new_map(9, 8190);
    nodes[0].map = new_map(7, 8192);
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.maps == 1);
    kw_map_unref(nodes[0].map);
    nodes[0].map = third;
    push_diff(&nodes[0], second, third);
    RUN_UNTIL(seen.maps == 2);
    assert_int_equal(nodes[0].watches, 2);
    assert_int_equal(nodes[0].watched_version, 0);
    assert_int_equal(nodes[0].connects, 1);
    assert_true(kw_map_equal(seen.map, third));
    kw_map_unref(second);
}

static void test_a_lost_node_is_replaced_by_the_next(void **state KW_UNUSED) {
    for (unsigned i = 0; i < 2; i++) nodes[i].map = new_map(7, 8192);
    begin_with(2, NULL, true);
    RUN_UNTIL(seen.ups == 1 && seen.maps == 1);
    struct node *first = followed(), *second = first == &nodes[0] ? &nodes[1] : &nodes[0];
    uint64_t began = kw_clock_ms();
    stood_ms = 0;
    node_stop(first);
    RUN_UNTIL(followed() == second);
    assert_true(kw_clock_ms() - began < 1000 + stood_ms);
    assert_int_equal(second->watched_version, 7);
    assert_int_equal(seen.downs, 0);
    assert_int_equal(seen.last.reconnects, 1);
    /* It had the map already. */
    RUN_UNTIL(second->registers > 0);
    assert_int_equal(seen.maps, 1);
}

static void test_all_gone_is_told_once_and_again_when_they_are_back(void **state KW_UNUSED) {
    begin_with(2, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    node_stop(&nodes[0]);
    node_stop(&nodes[1]);
    RUN_UNTIL(seen.downs == 1);
    assert_false(seen.last.up);
    assert_true(seen.last.why[0] != '\0');
    run_for(300);
    assert_int_equal(seen.downs, 1);
    node_start(&nodes[1]);
    RUN_UNTIL(seen.ups == 2);
    assert_ptr_equal(followed(), &nodes[1]);
    assert_int_equal(seen.downs, 1);
}

/* Who comes back may be another service, from a backup: its versions say nothing of the map that is held. */
static void test_who_was_gone_is_asked_for_the_whole_map(void **state KW_UNUSED) {
    nodes[0].map = new_map(7, 8192);
    nodes[1].map = new_map(7, 8000); /* the same number, another map */
    node_stop(&nodes[1]);
    begin_with(2, NULL, false);
    RUN_UNTIL(seen.ups == 1 && seen.maps == 1);
    node_stop(&nodes[0]);
    RUN_UNTIL(seen.downs == 1);
    node_start(&nodes[1]);
    RUN_UNTIL(seen.ups == 2 && seen.maps == 2);
    assert_int_equal(nodes[1].watches, 1);
    assert_int_equal(nodes[1].watched_version, 0);
    assert_true(kw_map_equal(seen.map, nodes[1].map));
}

static void test_attempts_become_rarer(void **state KW_UNUSED) {
    nodes[0].greeting = "-ERR not today\r\n";
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.downs == 1);
    run_for(1500);
    /* 50 + 100 + 200 + 400 + 800 ms, of which jitter may take half. */
    assert_in_range(nodes[0].connects, 1, 9);
    RUN_UNTIL(nodes[0].connects >= 3);
    assert_non_null(strstr(seen.last.why, "not today"));
}

static void test_silence_is_the_end_of_a_link(void **state KW_UNUSED) {
    unsigned connects = 0;
    hasty = true;
    nodes[0].not_alive = true;
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.ups >= 2);
    assert_int_equal(seen.downs, 1);
    nodes[0].not_alive = false;
    for (unsigned attempt = 0; attempt < 10; attempt++) {
        RUN_UNTIL(seen.last.up && seen.last.leader_id == 1);
        connects = nodes[0].connects;
        stood_ms = 0;
        run_for(900);
        if (stood_ms < 200) break; /* a machine that stands still is silent, too */
    }
    assert_int_equal(nodes[0].connects, connects);
}

static void test_a_node_that_takes_connections_only(void **state KW_UNUSED) {
    hasty = true;
    nodes[0].mute = true;
    begin_with(2, NULL, false);
    RUN_UNTIL(followed() == &nodes[1]);
    unsigned downs = seen.downs;
    node_stop(&nodes[1]);
    RUN_UNTIL(seen.downs == downs + 1 && nodes[0].connects >= 1);
}

/* ---- the secret ---- */

static void test_the_secret_is_given(void **state KW_UNUSED) {
    nodes[0].secret = "s3cret";
    begin_with(1, "s3cret", false);
    RUN_UNTIL(seen.ups == 1);
    assert_false(seen.last.refused);
}

static void test_a_wrong_secret_is_told(void **state KW_UNUSED) {
    nodes[0].secret = "s3cret";
    begin_with(1, "other", false);
    RUN_UNTIL(seen.downs == 1);
    assert_true(seen.last.refused);
    assert_non_null(strstr(seen.last.why, "WRONGPASS"));
    assert_null(strstr(seen.last.why, "other"));
}

static void test_a_missing_secret_is_told(void **state KW_UNUSED) {
    nodes[0].secret = "s3cret";
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.downs == 1);
    assert_true(seen.last.refused);
    assert_non_null(strstr(seen.last.why, "NOAUTH"));
}

/* ---- the leader ---- */

static void test_the_link_moves_to_the_leader(void **state KW_UNUSED) {
    nodes[0].leader = nodes[1].address; /* which is not in the configuration */
    begin_with(1, NULL, true);
    RUN_UNTIL(nodes[1].registers > 0 && followed() == &nodes[1]);
    assert_int_equal(nodes[0].connects, 1);
    assert_int_equal(seen.downs, 0);
}

static void test_two_that_name_each_other_are_not_stormed(void **state KW_UNUSED) {
    nodes[0].leader = nodes[1].address;
    nodes[1].leader = nodes[0].address;
    begin_with(2, NULL, true);
    RUN_UNTIL(nodes[0].connects > 0 && nodes[1].connects > 0);
    run_for(1500);
    assert_in_range(nodes[0].connects + nodes[1].connects, 2, 12);
    assert_int_equal(seen.downs, 0);
}

static void test_a_leader_that_cannot_be_reached_is_left_alone(void **state KW_UNUSED) {
    nodes[0].leader = nodes[2].address;
    node_stop(&nodes[2]);
    uint64_t began_ms = kw_clock_ms();
    begin_with(1, NULL, true);
    RUN_UNTIL(nodes[0].connects >= 2 && followed() == &nodes[0]);
    unsigned connects = nodes[0].connects;
    run_for(800);
    RUN_UNTIL(nodes[0].registers > 3);
    assert_true(nodes[0].connects - connects <= (kw_clock_ms() - began_ms) / AVOID_MS); /* as a rule none */
}

/* RESP of a STATUS that names the first two nodes as members. */
static const char *two_members(void) {
    static char text[400];
    snprintf(text, sizeof(text),
             "%%2\r\n+role\r\n+leader\r\n$7\r\nmembers\r\n*2\r\n%%2\r\n+id\r\n:1\r\n+address\r\n+%s\r\n"
             "%%2\r\n+address\r\n$%zu\r\n%s\r\n+voter\r\n:1\r\n",
             nodes[0].address, strlen(nodes[1].address), nodes[1].address);
    return text;
}

static void test_a_node_without_leader_is_left_for_another(void **state KW_UNUSED) {
    nodes[0].leader_id = 0;
    nodes[0].members = two_members();
    begin_with(1, NULL, false);
    RUN_UNTIL(followed() == &nodes[0]);
    RUN_UNTIL(followed() == &nodes[1] && seen.last.leader_id == 1);
    assert_int_equal(seen.downs, 0);
}

static void test_members_are_learned_and_forgotten(void **state KW_UNUSED) {
    nodes[0].members = two_members();
    begin_with(1, NULL, false);
    RUN_UNTIL(nodes[0].statuses >= 2);
    node_stop(&nodes[0]);
    RUN_UNTIL(followed() == &nodes[1]);
    assert_int_equal(nodes[2].connects, 0);
}

/* ---- what strangers send ---- */

static void test_other_bytes_end_the_link_and_nothing_else(void **state KW_UNUSED) {
    static const char *const bytes[] = {
        "HTTP/1.1 400 Bad Request\r\n\r\n",
        "+OK\r\n+OK\r\n+OK\r\n+OK\r\n+OK\r\n",                                          /* not asked for */
        "+OK\r\n>1\r\n$6\r\nkeyway\r\n",                                                /* no more words */
        "+OK\r\n>5\r\n$6\r\nkeyway\r\n$3\r\nmap\r\n:1\r\n$4\r\nfull\r\n$3\r\nabc\r\n",  /* no map */
        "+OK\r\n>5\r\n$6\r\nkeyway\r\n$3\r\nmap\r\n:1\r\n$5\r\nother\r\n$3\r\nabc\r\n", /* neither kind */
        "+OK\r\n>5\r\n$6\r\nkeyway\r\n$5\r\nalive\r\n$1\r\nx\r\n:1\r\n$0\r\n\r\n",      /* no number */
        "+OK\r\n>2\r\n$6\r\nkeyway\r\n*-1\r\n",
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(bytes); i++) {
        nodes[0].greeting = bytes[i];
        nodes[0].not_alive = true;
        begin_with(1, NULL, false);
        RUN_UNTIL(seen.downs == 1);
        assert_int_equal(seen.maps, 0);
        assert_null(strstr(seen.last.why, "silent")); /* at once */
        kw_meta_client_close(client, on_closed, NULL);
        RUN_UNTIL(seen.closed == 1);
        memset(&seen, 0, sizeof(seen));
    }
    client = NULL;
}

static void test_pushes_of_other_subjects_are_passed_over(void **state KW_UNUSED) {
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    conn_say(nodes[0].conns, ">2\r\n+invalidate\r\n_\r\n>3\r\n+keyway\r\n+weather\r\n:7\r\n");
    unsigned statuses = nodes[0].statuses;
    RUN_UNTIL(nodes[0].statuses > statuses + 1);
    assert_int_equal(nodes[0].connects, 1);
}

/* ---- asking ---- */

static struct {
    unsigned count;
    int err;
    struct kw_str text; /* own; all answers, one behind the other */
} answers;

static void on_answer(void *ctx KW_UNUSED, int err, const char *reply, size_t len) {
    answers.count++;
    answers.err = err;
    if (err == 0) kw_str_append(&answers.text, reply, len);
}

static int ask_as(const char *word, int resp, bool repeatable) {
    const char *argv[] = {"KEYWAY", word};
    return kw_meta_client_ask(
        client,
        &(struct kw_meta_client_ask){.argc = 2, .argv = argv, .resp = resp, .repeatable = repeatable, .fn = on_answer});
}

static int set_up_asking(void **state) {
    memset(&answers, 0, sizeof(answers));
    int rc = set_up(state);
    asking = true;
    return rc;
}

static int tear_down_asking(void **state) {
    int rc = tear_down(state);
    kw_str_deinit(&answers.text);
    return rc;
}

static void test_answers_come_in_order(void **state KW_UNUSED) {
    begin_with(1, NULL, false);
    /* The first waits for the link. */
    assert_int_equal(ask_as("ONE", 2, false), 0);
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(ask_as("TWO", 2, false), 0);
    assert_int_equal(ask_as("THREE", 3, true), 0);
    assert_int_equal(answers.count, 1);
    RUN_UNTIL(answers.count == 3);
    assert_int_equal(answers.err, 0);
    assert_string_equal(answers.text.data, "$3\r\nONE\r\n$3\r\nTWO\r\n$5\r\nTHREE\r\n");
}

static void test_answers_are_in_the_protocol_wanted(void **state KW_UNUSED) {
    nodes[0].answer = "%1\r\n+a\r\n*2\r\n_\r\n#t\r\n";
    begin_with(1, NULL, false);
    assert_int_equal(ask_as("X", 3, false), 0);
    assert_int_equal(ask_as("X", 2, false), 0);
    RUN_UNTIL(answers.count == 2);
    assert_string_equal(answers.text.data, "%1\r\n+a\r\n*2\r\n_\r\n#t\r\n*2\r\n+a\r\n*2\r\n$-1\r\n:1\r\n");
}

static void test_nobody_there_is_an_error(void **state KW_UNUSED) {
    for (unsigned i = 0; i < NODES; i++) node_stop(&nodes[i]);
    char list[160];
    snprintf(list, sizeof(list), "%s %s", nodes[0].address, nodes[1].address);
    begin(&(struct kw_meta_client_options){.nodes = list, .ask_timeout_ms = PATIENCE_MS * 2});
    uint64_t began = kw_clock_ms();
    assert_int_equal(ask_as("X", 2, true), 0); /* may yet succeed */
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(answers.err, KW_EUNREACHABLE);
    assert_true(kw_clock_ms() - began < 4000); /* as soon as all have been tried, not when its time is over */
    assert_int_equal(ask_as("X", 2, true), KW_EUNREACHABLE);
    assert_int_equal(answers.count, 1);
}

static void test_no_answer_in_time(void **state KW_UNUSED) {
    nodes[0].answer = "";
    begin(&(struct kw_meta_client_options){.nodes = nodes[0].address, .ask_timeout_ms = 1000});
    RUN_UNTIL(seen.ups == 1);
    assert_int_equal(ask_as("X", 2, false), 0);
    RUN_UNTIL(nodes[0].asks == 1 && answers.count == 1);
    assert_int_equal(answers.err, KW_ETIMEOUT);
    /* The late answer is nobody's, the next one is the next one's. */
    nodes[0].answer = NULL;
    answer_late(nodes[0].conns, "+late\r\n");
    assert_int_equal(ask_as("Y", 2, false), 0);
    RUN_UNTIL(answers.count == 2);
    assert_string_equal(answers.text.data, "$1\r\nY\r\n");
}

static void test_a_lost_link_is_told_or_asked_again(void **state KW_UNUSED) {
    nodes[0].answer = nodes[1].answer = "";
    begin_with(2, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    struct node *first = followed(), *second = first == &nodes[0] ? &nodes[1] : &nodes[0];
    second->answer = NULL;
    assert_int_equal(ask_as("ONCE", 2, false), 0);
    assert_int_equal(ask_as("AGAIN", 2, true), 0);
    RUN_UNTIL(first->asks == 2);
    node_stop(first);
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(answers.err, KW_ELINKLOST);
    RUN_UNTIL(answers.count == 2);
    assert_string_equal(answers.text.data, "$5\r\nAGAIN\r\n");
    assert_int_equal(second->asks, 1);
}

/* By a node that did nothing of it; each names no leader that could be followed. */
static const char *const refusals[] = {
    "-NOLEADER no leader is known\r\n", "-NOTLEADER \r\n",      "-NOTLEADER nonsense\r\n",
    "-BUSY too much at once\r\n",       "-LOADING not yet\r\n", "-BUSY\r\n",
};

static void test_a_first_try_that_is_refused_is_told_so(void **state KW_UNUSED) {
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    for (unsigned i = 0; i < KW_ARRAY_LEN(refusals); i++) {
        nodes[0].answer = refusals[i];
        for (unsigned repeatable = 0; repeatable < 2; repeatable++) {
            kw_str_clear(&answers.text);
            answers.count = 0;
            assert_int_equal(ask_as("X", 2, repeatable), 0);
            RUN_UNTIL(answers.count == 1);
            assert_int_equal(answers.err, 0);
            assert_string_equal(answers.text.data, refusals[i]);
        }
    }
    assert_int_equal(nodes[0].asks, 2 * KW_ARRAY_LEN(refusals));
    assert_int_equal(nodes[0].connects, 1);
}

/* The link is lost with the first try; the second one, at another node, is answered so. */
static void ask_twice(const char *answer) {
    nodes[0].answer = nodes[1].answer = "";
    nodes[0].asks = nodes[1].asks = 0;
    seen.closed = 0;
    kw_str_clear(&answers.text);
    answers.count = 0;
    begin_with(2, NULL, false);
    RUN_UNTIL(followed());
    struct node *first = followed(), *second = first == &nodes[0] ? &nodes[1] : &nodes[0];
    second->answer = answer;
    assert_int_equal(ask_as("X", 2, true), 0);
    RUN_UNTIL(first->asks == 1);
    node_drop_conns(first);
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(second->asks, 1);
    kw_meta_client_close(client, on_closed, NULL);
    client = NULL;
    RUN_UNTIL(seen.closed == 1);
}

static void test_a_second_try_that_is_refused_leaves_it_in_doubt(void **state KW_UNUSED) {
    for (unsigned i = 0; i < KW_ARRAY_LEN(refusals); i++) {
        ask_twice(refusals[i]);
        assert_int_equal(answers.err, KW_ELINKLOST);
        assert_int_equal(answers.text.len, 0);
    }
    /* What the service has decided is the answer. */
    static const char *const decided[] = {"+OK\r\n", "-CONFLICT it has version 4\r\n", "-BUSYKEY it is there\r\n"};
    for (unsigned i = 0; i < KW_ARRAY_LEN(decided); i++) {
        ask_twice(decided[i]);
        assert_int_equal(answers.err, 0);
        assert_string_equal(answers.text.data, decided[i]);
    }
}

static void test_an_ask_follows_to_the_leader(void **state KW_UNUSED) {
    nodes[0].leader = nodes[1].address;
    begin_with(1, NULL, false);
    assert_int_equal(ask_as("X", 2, false), 0);
    RUN_UNTIL(answers.count == 1);
    assert_string_equal(answers.text.data, "$1\r\nX\r\n");
    assert_int_equal(nodes[0].asks, 1);
    assert_int_equal(nodes[1].asks, 1);
}

static void test_an_ask_that_is_sent_round_in_circles_comes_back(void **state KW_UNUSED) {
    nodes[0].leader = nodes[1].address;
    nodes[1].leader = nodes[0].address;
    begin_with(1, NULL, false);
    assert_int_equal(ask_as("X", 2, false), 0);
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(answers.err, 0);
    assert_int_equal(strncmp(answers.text.data, "-NOTLEADER ", 11), 0);
    assert_in_range(nodes[0].asks + nodes[1].asks, 2, 5);
}

static void test_too_much_is_refused(void **state KW_UNUSED) {
    nodes[0].answer = "";
    begin_with(1, NULL, false);
    char *large = kw_malloc(KW_META_CLIENT_ASK_BYTES_MAX + 1);
    memset(large, 'x', KW_META_CLIENT_ASK_BYTES_MAX);
    large[KW_META_CLIENT_ASK_BYTES_MAX] = '\0';
    assert_int_equal(ask_as(large, 2, true), KW_ELIMIT);
    kw_free(large);
    for (unsigned i = 0; i < KW_META_CLIENT_ASKS_MAX; i++) assert_int_equal(ask_as("X", 2, true), 0);
    assert_int_equal(ask_as("X", 2, true), KW_ELIMIT);
    RUN_UNTIL(nodes[0].asks == KW_META_CLIENT_ASKS_MAX);
    kw_meta_client_close(client, on_closed, NULL);
    client = NULL;
    assert_int_equal(answers.count, KW_META_CLIENT_ASKS_MAX);
    assert_int_equal(answers.err, KW_ELINKLOST);
    RUN_UNTIL(seen.closed);
}

static void test_an_answer_that_is_too_large(void **state KW_UNUSED) {
    size_t len = KW_META_CLIENT_REPLY_MAX + 1;
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    nodes[0].answer = "";
    assert_int_equal(ask_as("X", 2, true), 0);
    RUN_UNTIL(nodes[0].asks == 1);
    char *large = kw_malloc(len + 32);
    int head = snprintf(large, 32, "$%zu\r\n", len);
    memset(large + head, 'x', len);
    memcpy(large + head + len, "\r\n", 3);
    answer_late(nodes[0].conns, large);
    kw_free(large);
    RUN_UNTIL(answers.count == 1);
    assert_int_equal(answers.err, KW_ELIMIT);
    nodes[0].answer = NULL;
    assert_int_equal(ask_as("Y", 2, true), 0);
    RUN_UNTIL(answers.count == 2);
    assert_string_equal(answers.text.data, "$1\r\nY\r\n");
    assert_int_equal(nodes[0].connects, 1);
}

static void test_answers_in_pieces(void **state KW_UNUSED) {
    static const char whole[] = "*2\r\n$5\r\nhello\r\n:12\r\n";
    nodes[0].answer = "";
    begin_with(1, NULL, false);
    RUN_UNTIL(seen.ups == 1);
    assert_int_equal(ask_as("X", 2, false), 0);
    RUN_UNTIL(nodes[0].asks == 1);
    nodes[0].not_alive = true; /* nothing may come in between */
    for (size_t i = 0; i < sizeof(whole) - 2; i++) {
        conn_send(nodes[0].conns, whole + i, 1);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    answer_late(nodes[0].conns, "\n");
    nodes[0].not_alive = false;
    RUN_UNTIL(answers.count == 1);
    assert_string_equal(answers.text.data, whole);
}

/* ---- closing ---- */

static void test_closing_takes_the_proxy_off_the_list(void **state KW_UNUSED) {
    begin_with(1, NULL, true);
    RUN_UNTIL(nodes[0].registers >= 2);
    kw_meta_client_close(client, on_closed, NULL);
    client = NULL;
    RUN_UNTIL(seen.closed);
    assert_int_equal(nodes[0].removes, 1);
}

static void test_closing_answers_what_waits(void **state KW_UNUSED) {
    begin_with(1, NULL, false);
    assert_int_equal(ask_as("X", 2, true), 0);
    kw_meta_client_close(client, on_closed, NULL);
    client = NULL;
    assert_int_equal(answers.count, 1);
    assert_int_equal(answers.err, KW_EUNREACHABLE);
    RUN_UNTIL(seen.closed);
}

static void test_closing_in_every_state(void **state KW_UNUSED) {
    for (unsigned turns = 0; turns < 40; turns++) {
        seen.closed = 0;
        nodes[2].mute = turns % 2;
        begin(&(struct kw_meta_client_options){.nodes = turns % 3 ? nodes[2].address : "localhost:1",
                                               .identity = &identity});
        for (unsigned i = 0; i < turns / 2; i++) uv_run(&loop, UV_RUN_NOWAIT);
        kw_meta_client_close(client, on_closed, NULL);
        assert_int_equal(seen.closed, 0);
        RUN_UNTIL(seen.closed == 1);
    }
    client = NULL;
}

static void test_bad_addresses_are_refused(void **state KW_UNUSED) {
    struct kw_meta_client *none;
    kw_log_set_level(KW_LOG_WARNING + 1);
    struct kw_meta_client_options opts = {.nodes = "nocolon", .on_map = on_map, .on_link = on_link};
    assert_int_equal(kw_meta_client_new(&none, &loop, &opts), KW_EINVALID);
    opts.nodes = "";
    assert_int_equal(kw_meta_client_new(&none, &loop, &opts), KW_EINVALID);
}

/* ---- the pure parts ---- */

static void test_resp2_of_every_type(void **state KW_UNUSED) {
    static const struct {
        const char *from, *to;
    } cases[] = {
        {"+OK\r\n", "+OK\r\n"},
        {"-ERR x\r\n", "-ERR x\r\n"},
        {":12\r\n", ":12\r\n"},
        {"$3\r\na\nb\r\n", "$3\r\na\nb\r\n"},
        {"$-1\r\n", "$-1\r\n"},
        {"*-1\r\n", "*-1\r\n"},
        {"_\r\n", "$-1\r\n"},
        {"#t\r\n", ":1\r\n"},
        {"#f\r\n", ":0\r\n"},
        {",1.5\r\n", "$3\r\n1.5\r\n"},
        {"(123\r\n", "$3\r\n123\r\n"},
        {"=6\r\ntxt:hi\r\n", "$2\r\nhi\r\n"},
        {"!5\r\nERR x\r\n", "-ERR x\r\n"},
        {"%1\r\n+a\r\n~1\r\n:1\r\n", "*2\r\n+a\r\n*1\r\n:1\r\n"},
        {"|1\r\n+ttl\r\n*1\r\n:1\r\n+OK\r\n", "+OK\r\n"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_str out = {0};
        size_t len = strlen(cases[i].from);
        assert_int_equal(kw_meta_to_resp2(&out, cases[i].from, len), 0);
        assert_string_equal(out.data, cases[i].to);
        /* Cut anywhere it is refused, or a shorter whole. */
        for (size_t cut = 0; cut < len; cut++) {
            kw_str_clear(&out);
            char *piece = kw_malloc(cut + 1);
            memcpy(piece, cases[i].from, cut);
            (void)kw_meta_to_resp2(&out, piece, cut);
            kw_free(piece);
        }
        kw_str_deinit(&out);
    }
}

static void test_notleader_names_an_address(void **state KW_UNUSED) {
    struct kw_arg address;
    static const char named[] = "-NOTLEADER [::1]:7380\r\n", unnamed[] = "-NOTLEADER \r\n",
                      other[] = "-NOTLEADERX a:1\r\n";
    assert_true(kw_meta_is_notleader(named, sizeof(named) - 1, &address));
    assert_int_equal(address.len, 10);
    assert_memory_equal(address.data, "[::1]:7380", 10);
    assert_true(kw_meta_is_notleader(unnamed, sizeof(unnamed) - 1, &address));
    assert_int_equal(address.len, 0);
    assert_false(kw_meta_is_notleader(other, sizeof(other) - 1, &address));
}

static int learn(struct kw_meta_nodes *list, const char *address) {
    return kw_meta_nodes_learn(list, address, strlen(address));
}

static void test_addresses_are_kept_and_dropped(void **state KW_UNUSED) {
    struct kw_meta_nodes list;
    char text[KW_META_CLIENT_ADDRESS_SIZE];
    assert_int_equal(kw_meta_nodes_init(&list, "10.0.0.1:1, [::1]:2"), 0);
    assert_int_equal(list.count, 2);
    kw_meta_node_print(&list.list[1], text);
    assert_string_equal(text, "[::1]:2");
    assert_int_equal(learn(&list, "10.0.0.1:1"), 0);
    assert_int_equal(learn(&list, "[::1]:2"), 1);
    assert_int_equal(learn(&list, "10.0.0.3:3"), 2);
    assert_int_equal(learn(&list, "10.0.0.4:4"), 3);
    assert_int_equal(learn(&list, "nonsense"), -1);
    assert_int_equal(learn(&list, "a:1 b:2"), -1);
    assert_int_equal(learn(&list, ""), -1);
    assert_int_equal(list.count, 4);
    list.at = 3;
    kw_meta_nodes_members_begin(&list);
    kw_meta_nodes_member(&list, "10.0.0.5:5", 10);
    kw_meta_nodes_members_end(&list);
    /* The configured ones, the one in use, the named one. */
    assert_int_equal(list.count, 4);
    assert_string_equal(kw_meta_nodes_current(&list)->host, "10.0.0.4");
    assert_int_equal(learn(&list, "10.0.0.3:3"), 4);
    for (unsigned i = 0; i < 2 * KW_META_CLIENT_NODES_MAX; i++) {
        snprintf(text, sizeof(text), "10.1.0.%u:9", i);
        int at = learn(&list, text);
        assert_true(at == -1 || at < KW_META_CLIENT_NODES_MAX);
    }
    assert_int_equal(list.count, KW_META_CLIENT_NODES_MAX);
    assert_false(kw_meta_nodes_avoided(&list, 1, 1000));
    kw_meta_nodes_avoid(&list, 1, 1000);
    assert_true(kw_meta_nodes_avoided(&list, 1, 1001));
    kw_meta_nodes_trust(&list, 1);
    assert_false(kw_meta_nodes_avoided(&list, 1, 1001));
}

/* ---- a map as a hint ---- */

/* What a merge makes of a hint (NULL: none), nodes' views up to NULL, and a map in use. */
static struct kw_topology *hinted(const char *hint_text, const char *const *texts, const struct kw_topology *current) {
    const struct kw_topo_view *all[8];
    struct kw_disc_hint *hint = kw_disc_hint_new(view_of(hint_text));
    unsigned count = KW_DISC_HINT_VIEWS;
    for (; texts && *texts; texts++) all[count++] = view_of(*texts);
    kw_disc_hint_views(hint, all + KW_DISC_HINT_VIEWS, count - KW_DISC_HINT_VIEWS, all);
    struct kw_topology *topo = kw_topology_merge(all, count, current);
    for (unsigned i = KW_DISC_HINT_VIEWS; i < count; i++) kw_topo_view_free((struct kw_topo_view *)all[i]);
    kw_disc_hint_free(hint);
    return topo;
}

#define NODE_A(flags, epoch, slots) ID_A " 10.0.0.1:7000@17000 " flags " - 0 0 " epoch " connected" slots "\n"
#define NODE_B(flags, epoch, slots) ID_B " 10.0.0.2:7000@17000 " flags " - 0 0 " epoch " connected" slots "\n"
#define REPLICA_C(of, epoch)        ID_C " 10.0.0.3:7000@17000 slave " of " 0 0 " epoch " connected\n"

static const char *owner_of(const struct kw_topology *topo, unsigned slot) {
    return topo->owner[slot] < 0 ? "nobody" : topo->nodes[topo->owner[slot]].id;
}

static const char both_shards[] =
    NODE_A("myself,master", "1", " 0-8191") NODE_B("master", "2", " 8192-16383") REPLICA_C(ID_A, "1");

static void test_a_hint_alone_is_a_map(void **state KW_UNUSED) {
    struct kw_topology *topo = hinted(both_shards, NULL, NULL);
    assert_int_equal(topo->node_count, 3);
    assert_int_equal(topo->owned_slots, KW_SLOT_COUNT);
    assert_int_equal(topo->primary_count, 2);
    assert_string_equal(owner_of(topo, 0), ID_A);
    assert_string_equal(owner_of(topo, 16383), ID_B);
    for (unsigned i = 0; i < 3; i++) assert_false(topo->nodes[i].reachable || topo->nodes[i].failed);
    assert_int_equal(topo->nodes[2].primary_index, 0);
    kw_topology_unref(topo);
}

static void test_a_later_epoch_at_a_node_beats_the_hint(void **state KW_UNUSED) {
    static const char *const views[] = {NODE_A("master,fail", "1", "") NODE_B("master", "2", " 8192-16383") ID_C
                                        " 10.0.0.3:7000@17000 myself,master - 0 0 3 connected 0-8191\n",
                                        NODE_A("master,fail", "1", "") NODE_B("myself,master", "2", " 8192-16383") ID_C
                                        " 10.0.0.3:7000@17000 master - 0 0 3 connected 0-8191\n",
                                        NULL};
    struct kw_topology *topo = hinted(both_shards, views, NULL);
    assert_string_equal(owner_of(topo, 0), ID_C);
    assert_int_equal(topo->node_count, 3);
    assert_true(topo->nodes[0].failed);
    assert_true(topo->nodes[2].reachable && topo->nodes[2].primary);
    kw_topology_unref(topo);
}

static void test_a_later_epoch_of_the_hint_beats_older_views(void **state KW_UNUSED) {
    static const char hint[] = NODE_A("myself,master,fail", "1", "") NODE_B("master", "2", " 8192-16383") ID_C
        " 10.0.0.3:7000@17000 master - 0 0 3 connected 0-8191\n";
    static const char *const views[] = {
        NODE_A("master", "1", " 0-8191") NODE_B("myself,master", "2", " 8192-16383") REPLICA_C(ID_A, "1"), NULL};
    struct kw_topology *topo = hinted(hint, views, NULL);
    assert_string_equal(owner_of(topo, 0), ID_C);
    assert_string_equal(owner_of(topo, 16383), ID_B);
    kw_topology_unref(topo);
}

static void test_a_node_denies_what_the_hint_says_of_it(void **state KW_UNUSED) {
    /* Slots given back without a new epoch. */
    static const char *const views[] = {
        NODE_A("myself,master", "1", " 0-99") NODE_B("master", "2", " 8192-16383") REPLICA_C(ID_A, "1"), NULL};
    struct kw_topology *topo = hinted(both_shards, views, NULL);
    assert_string_equal(owner_of(topo, 99), ID_A);
    assert_string_equal(owner_of(topo, 100), "nobody");
    kw_topology_unref(topo);
}

static void test_a_node_that_left_is_not_shown(void **state KW_UNUSED) {
    static const char *const views[] = {NODE_A("myself,master", "1", " 0-8191") NODE_B("master", "2", " 8192-16383"),
                                        NULL};
    struct kw_topology *topo = hinted(both_shards, views, NULL);
    assert_int_equal(topo->node_count, 2);
    kw_topology_unref(topo);
    /* While nobody speaks it may be there. */
    topo = hinted(both_shards, NULL, NULL);
    assert_int_equal(topo->node_count, 3);
    kw_topology_unref(topo);
}

static void test_an_old_hint_alone_takes_nothing_back(void **state KW_UNUSED) {
    static const char now[] = NODE_A("myself,master", "1", "") NODE_B("master", "5", " 0-16383");
    struct kw_topo_view *view = view_of(now);
    struct kw_topology *current = merged(view);
    struct kw_topology *topo = hinted(both_shards, NULL, current);
    assert_string_equal(owner_of(topo, 0), ID_B);
    kw_topology_unref(topo);
    kw_topology_unref(current);
    kw_topo_view_free(view);
}

static void test_a_hint_of_another_cluster(void **state KW_UNUSED) {
    static const char other[] = ID_D " 10.0.9.1:7000@17000 myself,master - 0 0 1 connected 0-16383\n";
    struct kw_topo_view *view = view_of(other), *of_a = view_of(both_shards);
    struct kw_topology *topo = merged(view);
    struct kw_disc_hint *hint = kw_disc_hint_new(view_of(both_shards));
    const struct kw_topo_view *views[] = {view, of_a};
    assert_true(kw_disc_hint_is_foreign(hint, topo));
    assert_false(kw_disc_hint_is_confirmed(hint, views, 1));
    assert_true(kw_disc_hint_is_confirmed(hint, views, 2));
    kw_topology_unref(topo);
    topo = merged(of_a);
    assert_false(kw_disc_hint_is_foreign(hint, topo));
    kw_topology_unref(topo);
    kw_disc_hint_free(hint);
    kw_topo_view_free(view);
    kw_topo_view_free(of_a);
    /* With no map in use the hint says which cluster is ours. */
    const char *const texts[] = {other, NULL};
    topo = hinted(both_shards, texts, NULL);
    assert_string_equal(owner_of(topo, 0), ID_A);
    assert_int_equal(topo->node_count, 3);
    kw_topology_unref(topo);
}

#define CASE(test)   cmocka_unit_test_setup_teardown(test, set_up, tear_down)
#define ASKING(test) cmocka_unit_test_setup_teardown(test, set_up_asking, tear_down_asking)

int main(void) {
    const struct CMUnitTest tests[] = {
        CASE(test_follows_and_registers),
        CASE(test_does_not_register_without_identity),
        CASE(test_differences_follow_one_another),
        CASE(test_a_difference_that_does_not_fit_asks_for_the_whole),
        CASE(test_a_lost_node_is_replaced_by_the_next),
        CASE(test_all_gone_is_told_once_and_again_when_they_are_back),
        CASE(test_who_was_gone_is_asked_for_the_whole_map),
        CASE(test_attempts_become_rarer),
        CASE(test_silence_is_the_end_of_a_link),
        CASE(test_a_node_that_takes_connections_only),
        CASE(test_the_secret_is_given),
        CASE(test_a_wrong_secret_is_told),
        CASE(test_a_missing_secret_is_told),
        CASE(test_the_link_moves_to_the_leader),
        CASE(test_two_that_name_each_other_are_not_stormed),
        CASE(test_a_leader_that_cannot_be_reached_is_left_alone),
        CASE(test_a_node_without_leader_is_left_for_another),
        CASE(test_members_are_learned_and_forgotten),
        CASE(test_other_bytes_end_the_link_and_nothing_else),
        CASE(test_pushes_of_other_subjects_are_passed_over),
        ASKING(test_answers_come_in_order),
        ASKING(test_answers_are_in_the_protocol_wanted),
        ASKING(test_nobody_there_is_an_error),
        ASKING(test_no_answer_in_time),
        ASKING(test_a_lost_link_is_told_or_asked_again),
        ASKING(test_a_first_try_that_is_refused_is_told_so),
        ASKING(test_a_second_try_that_is_refused_leaves_it_in_doubt),
        ASKING(test_an_ask_follows_to_the_leader),
        ASKING(test_an_ask_that_is_sent_round_in_circles_comes_back),
        ASKING(test_too_much_is_refused),
        ASKING(test_an_answer_that_is_too_large),
        ASKING(test_answers_in_pieces),
        CASE(test_closing_takes_the_proxy_off_the_list),
        ASKING(test_closing_answers_what_waits),
        CASE(test_closing_in_every_state),
        CASE(test_bad_addresses_are_refused),
        cmocka_unit_test(test_resp2_of_every_type),
        cmocka_unit_test(test_notleader_names_an_address),
        cmocka_unit_test(test_addresses_are_kept_and_dropped),
        cmocka_unit_test(test_a_hint_alone_is_a_map),
        cmocka_unit_test(test_a_later_epoch_at_a_node_beats_the_hint),
        cmocka_unit_test(test_a_later_epoch_of_the_hint_beats_older_views),
        cmocka_unit_test(test_a_node_denies_what_the_hint_says_of_it),
        cmocka_unit_test(test_a_node_that_left_is_not_shown),
        cmocka_unit_test(test_an_old_hint_alone_takes_nothing_back),
        cmocka_unit_test(test_a_hint_of_another_cluster),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
