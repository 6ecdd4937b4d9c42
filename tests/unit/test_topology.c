/*
 * Views and their merge: the formats of Redis 7.0 and Valkey 8, malformed
 * text, and the stories in which one node's word must not be believed. A view
 * is written as the lines a node would print; single letters stand for ids.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/str.h"
#include "cluster/seeds.h"
#include "cluster/topology.h"

/* ---- writing views ---- */

static const char *id_of(char letter) {
    static char ids[8][KW_TOPO_ID_LEN + 1];
    static unsigned next;
    char *id = ids[next++ % 8];
    memset(id, letter, KW_TOPO_ID_LEN);
    id[KW_TOPO_ID_LEN] = '\0';
    return id;
}

/* One line: `flags` begins with "master" or "slave"; `of` is 0 or the letter of its primary. */
static void line(struct kw_str *out, char letter, const char *flags, char of, unsigned epoch, const char *slots) {
    kw_str_printf(out, "%s 127.0.0.1:%d@%d %s %s 0 1700000000000 %u connected%s%s\n", id_of(letter),
                  7000 + letter - 'a', 17000 + letter - 'a', flags, of ? id_of(of) : "-", epoch, slots[0] ? " " : "",
                  slots);
}

static struct kw_topo_view *parse_from(const char *text, const char *from) {
    struct kw_topo_view *view = NULL;
    assert_int_equal(kw_topo_view_parse(&view, text, strlen(text), from), 0);
    assert_non_null(view);
    return view;
}

/* Parses what was written, and empties the string for the next view. */
static struct kw_topo_view *view_of(struct kw_str *out) {
    struct kw_topo_view *view = parse_from(out->data, "127.0.0.1");
    kw_str_deinit(out);
    return view;
}

static struct kw_topology *merge_free(struct kw_topo_view **views, size_t n, const struct kw_topology *current) {
    struct kw_topology *topo = kw_topology_merge((const struct kw_topo_view *const *)views, n, current);
    for (size_t i = 0; i < n; i++) kw_topo_view_free(views[i]);
    return topo;
}

static char owner(const struct kw_topology *topo, unsigned slot) {
    return topo->owner[slot] < 0 ? '-' : topo->nodes[topo->owner[slot]].id[0];
}

static const struct kw_topo_node *node(const struct kw_topology *topo, char letter) {
    int index = kw_topology_find_id(topo, id_of(letter));
    return index < 0 ? NULL : &topo->nodes[index];
}

/* The view of `self` on a, b, c (primaries of a third each, epochs 1 to 3) and d, a's replica; `a_flag` is added to
 * a's. */
static struct kw_topo_view *calm_view(char self, const char *a_flag) {
    static const char *const slots[] = {"0-5460", "5461-10922", "10923-16383"};
    struct kw_str out = {0};
    for (char at = 'a'; at <= 'd'; at++) {
        char flags[64];
        snprintf(flags, sizeof(flags), "%s%s%s", at == self ? "myself," : "", at == 'd' ? "slave" : "master",
                 at == 'a' && at != self ? a_flag : "");
        line(&out, at, flags, at == 'd' ? 'a' : 0, at == 'd' ? 1 : (unsigned)(at - 'a' + 1),
             at == 'd' ? "" : slots[at - 'a']);
    }
    return view_of(&out);
}

/* The same after d took over from a at epoch 4. */
static struct kw_topo_view *failed_over_view(char self) {
    struct kw_str out = {0};
    line(&out, 'a', self == 'a' ? "myself,slave" : "master,fail", self == 'a' ? 'd' : 0, self == 'a' ? 4 : 1, "");
    line(&out, 'b', self == 'b' ? "myself,master" : "master", 0, 2, "5461-10922");
    line(&out, 'c', self == 'c' ? "myself,master" : "master", 0, 3, "10923-16383");
    line(&out, 'd', self == 'd' ? "myself,master" : "master", 0, 4, "0-5460");
    return view_of(&out);
}

static struct kw_topology *calm_map(void) {
    struct kw_topo_view *views[] = {calm_view('a', ""), calm_view('b', ""), calm_view('c', ""), calm_view('d', "")};
    return merge_free(views, 4, NULL);
}

/* ---- parsing ---- */

static void formats_of_servers(void **state) {
    struct kw_str text = {0};
    (void)state;
    kw_str_printf(&text, "%s 10.0.0.1:7000@17000 myself,master - 0 0 1 connected 0-99 200 [5->-%s] [6-<-%s]\n",
                  id_of('a'), id_of('b'), id_of('b'));
    kw_str_printf(&text, "%s 10.0.0.2:7000@17000,redis-2.example master - 0 1 2 connected 100-199\n", id_of('b'));
    kw_str_printf(&text, "%s 10.0.0.3:7000@17000,,tls-port=0,shard-id=%s slave %s 0 1 1 disconnected\n", id_of('c'),
                  id_of('f'), id_of('a'));
    kw_str_printf(&text, "%s fe80::1:7000@17000 slave,fail? %s 0 1 2 connected\r\n", id_of('d'), id_of('b'));
    kw_str_printf(&text, "%s :0@0 master,noaddr - 0 1 0 disconnected\n", id_of('e'));
    kw_str_printf(&text, "%s 10.0.0.9:7000@17000 handshake - 0 0 0 connected\n", id_of('f'));
    kw_str_printf(&text, "%s :7007@17007,named.example,shard-id=%s slave,nofailover %s 0 1 2 connected\n", id_of('g'),
                  id_of('f'), id_of('b'));
    struct kw_topo_view *view = parse_from(text.data, "10.0.0.1");
    kw_str_deinit(&text);
    assert_string_equal(kw_topo_view_self_id(view), id_of('a'));
    assert_true(kw_topo_view_self_primary(view));

    struct kw_topology *topo = merge_free(&view, 1, NULL);
    assert_int_equal(topo->node_count, 5); /* without noaddr and handshake */
    assert_string_equal(node(topo, 'b')->addr, "10.0.0.2:7000");
    assert_string_equal(node(topo, 'd')->host, "fe80::1");
    assert_string_equal(node(topo, 'd')->addr, "fe80::1:7000");
    assert_int_equal(node(topo, 'd')->port, 7000);
    assert_false(node(topo, 'd')->failed);
    assert_string_equal(node(topo, 'g')->host, "named.example");
    assert_int_equal(owner(topo, 99), 'a');
    assert_int_equal(owner(topo, 199), 'b');
    assert_int_equal(owner(topo, 200), 'a');
    assert_int_equal(owner(topo, 201), '-');
    assert_int_equal(topo->owned_slots, 201);
    assert_int_equal(topo->primary_count, 2);
    assert_true(kw_topology_slot_open(topo, 5) && kw_topology_slot_open(topo, 6));
    assert_false(kw_topology_slot_open(topo, 7));
    assert_int_equal(node(topo, 'b')->replica_count, 2);
    int b = kw_topology_find_id(topo, id_of('b'));
    assert_int_equal(kw_topology_replica(topo, (unsigned)b, 0), kw_topology_find_id(topo, id_of('d')));
    assert_int_equal(kw_topology_replica(topo, (unsigned)b, 1), kw_topology_find_id(topo, id_of('g')));
    assert_int_equal(kw_topology_replica(topo, (unsigned)b, 2), -1);
    assert_int_equal(kw_topology_find_addr(topo, "10.0.0.2", 7000), b);
    kw_topology_unref(topo);
}

static void own_address_is_repaired(void **state) {
    static const struct {
        const char *own, *from, *expected;
    } cases[] = {
        {"", "10.1.1.1", "10.1.1.1:7000"},
        {"127.0.0.1", "10.1.1.1", "10.1.1.1:7000"},
        {"127.0.0.1", "localhost", "127.0.0.1:7000"},
        {"10.2.2.2", "10.1.1.1", "10.2.2.2:7000"},
        {"::1", "::1", "::1:7000"},
    };
    (void)state;
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        struct kw_str text = {0};
        kw_str_printf(&text, "%s %s:7000@17000 myself,master - 0 0 0 connected\n", id_of('a'), cases[i].own);
        struct kw_topo_view *view = parse_from(text.data, cases[i].from);
        kw_str_deinit(&text);
        struct kw_topology *topo = merge_free(&view, 1, NULL);
        assert_string_equal(topo->nodes[0].addr, cases[i].expected);
        kw_topology_unref(topo);
    }
}

#define ID   "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"

static void garbage_is_refused(void **state) {
    static const char *const texts[] = {
        "",
        "\n\n",
        "x",
        "-ERR no",
        ID,
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1\n",                 /* cut off */
        ID " 127.0.0.1:7000@17000 master - 0 0 1 connected\n",              /* nobody is myself */
        ID " 127.0.0.1:7000@17000 myself,master,slave - 0 0 1 connected\n", /* both roles */
        ID "a 127.0.0.1:7000@17000 myself,master - 0 0 1 connected\n",      /* long id */
        "../aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa 127.0.0.1:7000@17000 myself,master - 0 0 1 connected\n",
        ID " 127.0.0.1@17000 myself,master - 0 0 1 connected\n",         /* no port */
        ID " 127.0.0.1:70000@17000 myself,master - 0 0 1 connected\n",   /* port too large */
        ID " 127.0.0.1:-1@17000 myself,master - 0 0 1 connected\n",      /* negative port */
        ID " 127.0.0.\x01:7000@17000 myself,master - 0 0 1 connected\n", /* control byte */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 x connected\n",    /* epoch */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 99999999999999999999 connected\n",
        ID " 127.0.0.1:7000@17000 myself,slave zz 0 0 1 connected\n",       /* primary's id */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 16384\n", /* slot too large */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 5-4\n",   /* backwards */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 5-\n",
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected -5\n",
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 1 1\n", /* a slot twice */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected [99999->-" ID "]\n",
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected [\n",
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 1\n" ID_B
           " 127.0.0.1:7001@17001 myself,master - 0 0 1 connected\n", /* two selves */
        ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 1\n" ID_B
           " 127.0.0.1:7001@17001 master - 0 0 1 connected 1\n", /* two owners */
    };
    (void)state;
    for (size_t i = 0; i < KW_ARRAY_LEN(texts); i++) {
        struct kw_topo_view *view = NULL;
        int rc = kw_topo_view_parse(&view, texts[i], strlen(texts[i]), "127.0.0.1");
        if (rc != KW_EPROTOCOL) print_error("case %zu\n", i);
        assert_int_equal(rc, KW_EPROTOCOL);
        assert_null(view);
    }
}

static void hosts_are_bounded(void **state) {
    (void)state;
    for (int len = KW_TOPO_HOST_MAX - 1; len <= KW_TOPO_HOST_MAX + 1; len++) {
        struct kw_str text = {0};
        struct kw_topo_view *view = NULL;
        kw_str_printf(&text, "%s %0*d:65535@17000 myself,master - 0 0 1 connected\n", id_of('a'), len, 0);
        int rc = kw_topo_view_parse(&view, text.data, text.len, "h");
        assert_int_equal(rc, len <= KW_TOPO_HOST_MAX ? 0 : KW_EPROTOCOL);
        if (rc == 0) {
            struct kw_topology *topo = merge_free(&view, 1, NULL);
            assert_int_equal(strlen(topo->nodes[0].addr), len + 6);
            kw_topology_unref(topo);
        }
        kw_str_deinit(&text);
    }
}

static void nodes_are_bounded(void **state) {
    struct kw_str text = {0};
    struct kw_topo_view *view = NULL;
    (void)state;
    for (int i = 0; i < KW_TOPO_NODES_MAX + 2; i++) {
        kw_str_printf(&text, "%040d 10.0.0.1:%d@1 %smaster - 0 0 1 connected\n", i, 1000 + i, i == 0 ? "myself," : "");
    }
    assert_int_equal(kw_topo_view_parse(&view, text.data, text.len, "h"), KW_ELIMIT);
    kw_str_deinit(&text);
}

static void memory_may_fail(void **state) {
    const char *text = ID " 127.0.0.1:7000@17000 myself,master - 0 0 1 connected 1-5\n";
    (void)state;
    for (long nth = 1; nth <= 2; nth++) {
        struct kw_topo_view *view = NULL;
        kw_alloc_fail_nth(nth);
        assert_int_equal(kw_topo_view_parse(&view, text, strlen(text), "h"), KW_ENOMEM);
        assert_null(view);
    }
    kw_alloc_fail_nth(0);
}

static void every_prefix_is_safe(void **state) {
    struct kw_str out = {0};
    (void)state;
    line(&out, 'a', "myself,master", 0, 1, "0-5460 [7->-" ID_B "]");
    line(&out, 'b', "master", 0, 2, "5461-16383");
    for (size_t len = 0; len <= out.len; len++) {
        struct kw_topo_view *view = NULL;
        char *copy = kw_malloc(len); /* exact size, so that a sanitizer sees a byte too many */
        memcpy(copy, out.data, len);
        if (kw_topo_view_parse(&view, copy, len, "h") == 0) kw_topo_view_free(view);
        kw_free(copy);
    }
    kw_str_deinit(&out);
}

static void views_compare(void **state) {
    struct kw_topo_view *a = calm_view('a', ""), *again = calm_view('a', "");
    struct kw_topo_view *b = calm_view('b', ""), *fail = calm_view('b', ",fail");
    (void)state;
    assert_true(kw_topo_view_equal(a, again));
    assert_false(kw_topo_view_equal(a, b));
    assert_false(kw_topo_view_equal(b, fail));
    kw_topo_view_free(a);
    kw_topo_view_free(again);
    kw_topo_view_free(b);
    kw_topo_view_free(fail);
}

/* ---- merging ---- */

static void calm_cluster(void **state) {
    struct kw_topology *topo = calm_map(), *again = calm_map();
    (void)state;
    assert_int_equal(topo->node_count, 4);
    assert_int_equal(topo->primary_count, 3);
    assert_int_equal(topo->owned_slots, KW_SLOT_COUNT);
    assert_int_equal(topo->cluster_epoch, 3);
    assert_int_equal(owner(topo, 0), 'a');
    assert_int_equal(owner(topo, 16383), 'c');
    assert_false(node(topo, 'd')->primary);
    assert_true(node(topo, 'd')->reachable);
    assert_int_equal(node(topo, 'd')->primary_index, kw_topology_find_id(topo, id_of('a')));
    assert_true(kw_topology_equal(topo, again));
    assert_false(kw_topology_troubled(topo));
    kw_topology_ref(topo);
    kw_topology_unref(topo);
    kw_topology_unref(topo);
    kw_topology_unref(again);
}

static void newest_epoch_wins(void **state) {
    /* b and c have not heard yet; a still believes in itself. */
    struct kw_topo_view *views[] = {calm_view('a', ""), calm_view('b', ""), calm_view('c', ""), failed_over_view('d')};
    struct kw_topology *topo = merge_free(views, 4, NULL);
    (void)state;
    assert_int_equal(owner(topo, 0), 'd');
    assert_int_equal(owner(topo, 5460), 'd');
    assert_true(node(topo, 'd')->primary);
    assert_int_equal(node(topo, 'd')->config_epoch, 4);
    assert_int_equal(topo->primary_count, 3);
    kw_topology_unref(topo);
}

static void stale_minority_takes_nothing_back(void **state) {
    struct kw_topo_view *after[] = {failed_over_view('b'), failed_over_view('c'), failed_over_view('d')};
    struct kw_topology *map = merge_free(after, 3, NULL);
    (void)state;
    assert_int_equal(owner(map, 0), 'd');
    assert_true(node(map, 'a')->failed);

    /* All that answers now is the old primary, which was frozen: the map must not turn back. */
    struct kw_topo_view *stale = calm_view('a', "");
    struct kw_topology *topo = merge_free(&stale, 1, map);
    assert_int_equal(owner(topo, 0), 'd');
    assert_true(node(topo, 'd')->primary);
    assert_false(node(topo, 'd')->reachable);

    /* ... nor at the next round, when the map before is itself such a one. */
    stale = calm_view('a', "");
    struct kw_topology *next = merge_free(&stale, 1, topo);
    assert_int_equal(owner(next, 0), 'd');
    assert_int_equal(node(next, 'd')->config_epoch, 4);
    kw_topology_unref(next);
    kw_topology_unref(topo);
    kw_topology_unref(map);
}

static void demoted_primary_becomes_replica(void **state) {
    struct kw_topo_view *views[] = {failed_over_view('a'), failed_over_view('b'), failed_over_view('d')};
    struct kw_topology *topo = merge_free(views, 3, NULL);
    (void)state;
    assert_false(node(topo, 'a')->primary);
    assert_int_equal(node(topo, 'a')->primary_index, kw_topology_find_id(topo, id_of('d')));
    assert_int_equal(node(topo, 'd')->replica_count, 1);
    kw_topology_unref(topo);
}

static void own_word_beats_hearsay(void **state) {
    struct kw_str out = {0};
    (void)state;
    /* a gave slot 5460 up at the epoch that it has; nobody took it; b has not noticed. */
    line(&out, 'a', "myself,master", 0, 1, "0-5459");
    line(&out, 'b', "master", 0, 2, "5461-16383");
    struct kw_topo_view *views[2] = {view_of(&out), NULL};
    line(&out, 'a', "master", 0, 1, "0-5460");
    line(&out, 'b', "myself,master", 0, 2, "5461-16383");
    views[1] = view_of(&out);
    struct kw_topology *topo = merge_free(views, 2, NULL);
    assert_int_equal(owner(topo, 5459), 'a');
    assert_int_equal(owner(topo, 5460), '-');
    assert_true(kw_topology_troubled(topo));
    kw_topology_unref(topo);
}

static void ties_go_to_owner_then_votes_then_id(void **state) {
    struct kw_str out = {0};
    struct kw_topo_view *views[3];
    (void)state;
    /* Equal epochs (a collision): b says of itself that it owns slot 1; c has only heard of a, which is silent. */
    line(&out, 'a', "master", 0, 5, "1");
    line(&out, 'b', "master", 0, 5, "");
    line(&out, 'c', "myself,master", 0, 1, "2");
    views[0] = view_of(&out);
    line(&out, 'a', "master", 0, 5, "");
    line(&out, 'b', "myself,master", 0, 5, "1");
    line(&out, 'c', "master", 0, 1, "2");
    views[1] = view_of(&out);
    struct kw_topology *topo = merge_free(views, 2, NULL);
    assert_int_equal(owner(topo, 1), 'b');
    kw_topology_unref(topo);

    /* Neither speaks: two votes for b against one for a. Then one each: the smaller id. */
    for (size_t voters = 3; voters >= 2; voters--) {
        for (size_t i = 0; i < voters; i++) {
            line(&out, 'a', "master", 0, 5, i == 0 ? "1" : "");
            line(&out, 'b', "master", 0, 5, i == 0 ? "" : "1");
            for (char at = 'c'; at <= 'e'; at++)
                line(&out, at, at == (char)('c' + i) ? "myself,master" : "master", 0, 1, "");
            views[i] = view_of(&out);
        }
        topo = merge_free(views, voters, NULL);
        assert_int_equal(owner(topo, 1), voters == 3 ? 'b' : 'a');
        kw_topology_unref(topo);
    }
}

static void failed_needs_a_majority(void **state) {
    (void)state;
    struct kw_topo_view *suspected[] = {calm_view('b', ",fail?"), calm_view('c', ",fail?"), calm_view('d', ",fail?")};
    struct kw_topology *topo = merge_free(suspected, 3, NULL);
    assert_false(node(topo, 'a')->failed);
    assert_false(node(topo, 'a')->reachable);
    assert_true(kw_topology_troubled(topo));
    kw_topology_unref(topo);

    /* One of two that can vote, and it answers us itself. A replica's flag is no vote. */
    struct kw_topo_view *half[] = {calm_view('a', ""), calm_view('b', ",fail"), calm_view('c', ""),
                                   calm_view('d', ",fail")};
    topo = merge_free(half, 4, NULL);
    assert_false(node(topo, 'a')->failed);
    kw_topology_unref(topo);

    /* One of two, but silent to us as well. */
    struct kw_topo_view *silent[] = {calm_view('b', ",fail"), calm_view('c', "")};
    topo = merge_free(silent, 2, NULL);
    assert_true(node(topo, 'a')->failed);
    kw_topology_unref(topo);

    /* All others agree, though it answers us: it is cut off from them. */
    struct kw_topo_view *agreed[] = {calm_view('a', ""), calm_view('b', ",fail"), calm_view('c', ",fail")};
    topo = merge_free(agreed, 3, NULL);
    assert_true(node(topo, 'a')->failed);
    assert_true(node(topo, 'a')->reachable);
    assert_int_equal(owner(topo, 0), 'a');
    kw_topology_unref(topo);
}

static struct kw_topo_view *lonely_view(char self) {
    struct kw_str out = {0};
    line(&out, self, "myself,master", 0, 0, "");
    return view_of(&out);
}

static void amnesia_is_ignored(void **state) {
    struct kw_topology *map = calm_map();
    (void)state;
    /* a was reset softly: same id, knows nobody. x was reset hard: a new id. */
    struct kw_topo_view *views[] = {lonely_view('a'), lonely_view('x'), calm_view('b', ""), calm_view('c', "")};
    struct kw_topology *topo = merge_free(views, 4, map);
    assert_int_equal(topo->node_count, 4);
    assert_null(node(topo, 'x'));
    assert_int_equal(owner(topo, 0), 'a');
    assert_false(node(topo, 'a')->reachable);
    kw_topology_unref(topo);
    kw_topology_unref(map);
}

static struct kw_topo_view *foreign_view(char self) {
    struct kw_str out = {0};
    line(&out, 'x', self == 'x' ? "myself,master" : "master", 0, 90, "0-16383");
    line(&out, 'y', self == 'y' ? "myself,slave" : "slave", 'x', 90, "");
    return view_of(&out);
}

static void foreign_clusters_are_ignored(void **state) {
    struct kw_topology *map = calm_map();
    (void)state;
    struct kw_topo_view *views[] = {foreign_view('x'), foreign_view('y'), calm_view('b', "")};
    struct kw_topology *topo = merge_free(views, 3, map);
    assert_int_equal(topo->node_count, 4);
    assert_int_equal(owner(topo, 6000), 'b');
    kw_topology_unref(topo);

    /* They are all there is: the cluster was replaced. */
    struct kw_topo_view *only[] = {foreign_view('x'), foreign_view('y')};
    topo = merge_free(only, 2, map);
    assert_int_equal(topo->node_count, 2);
    assert_int_equal(owner(topo, 6000), 'x');
    kw_topology_unref(topo);
    kw_topology_unref(map);

    /* Without a map the cluster with more slots is taken. */
    struct kw_topo_view *start[] = {lonely_view('z'), calm_view('b', "")};
    topo = merge_free(start, 2, NULL);
    assert_int_equal(topo->node_count, 4);
    kw_topology_unref(topo);
}

static void forgotten_nodes_leave(void **state) {
    struct kw_str out = {0};
    (void)state;
    /* e was forgotten by all, but still knows them; it even claims a slot at a high epoch. */
    line(&out, 'a', "master", 0, 1, "1-5460");
    line(&out, 'b', "master", 0, 2, "5461-10922");
    line(&out, 'e', "myself,master", 0, 99, "0");
    struct kw_topo_view *views[] = {calm_view('a', ""), calm_view('b', ""), view_of(&out)};
    struct kw_topology *topo = merge_free(views, 3, NULL);
    assert_null(node(topo, 'e'));
    assert_int_equal(owner(topo, 0), 'a');
    kw_topology_unref(topo);
}

static void one_node_over_two_links_is_one_voice(void **state) {
    struct kw_topo_view *views[] = {calm_view('b', ",fail"), calm_view('b', ",fail"), calm_view('b', ",fail"),
                                    calm_view('c', ""), calm_view('a', "")};
    struct kw_topology *topo = merge_free(views, 5, NULL);
    (void)state;
    assert_false(node(topo, 'a')->failed);
    kw_topology_unref(topo);
}

static void replica_of_a_replica_follows_to_the_primary(void **state) {
    struct kw_str out = {0};
    (void)state;
    line(&out, 'a', "slave", 'd', 4, "");
    line(&out, 'd', "myself,master", 0, 4, "0-16383");
    line(&out, 'e', "slave", 'a', 1, "");
    line(&out, 'f', "slave", 'g', 1, "");
    line(&out, 'g', "slave", 'f', 1, "");
    struct kw_topo_view *view = view_of(&out);
    struct kw_topology *topo = merge_free(&view, 1, NULL);
    int d = kw_topology_find_id(topo, id_of('d'));
    assert_int_equal(node(topo, 'e')->primary_index, d);
    assert_int_equal(node(topo, 'f')->primary_index, -1); /* a circle has none */
    assert_int_equal(topo->nodes[d].replica_count, 2);
    kw_topology_unref(topo);
}

static void nothing_gives_nothing(void **state) {
    (void)state;
    assert_null(kw_topology_merge(NULL, 0, NULL));
    kw_topology_unref(NULL);
    kw_topo_view_free(NULL);
}

static void standalone_owns_all(void **state) {
    struct kw_topology *topo = kw_topology_standalone("redis.example", 6379);
    (void)state;
    assert_true(topo->standalone);
    assert_int_equal(topo->primary_count, 1);
    assert_int_equal(topo->owned_slots, KW_SLOT_COUNT);
    assert_string_equal(topo->nodes[0].addr, "redis.example:6379");
    assert_int_equal(strlen(topo->nodes[0].id), KW_TOPO_ID_LEN);

    /* A cluster that appears there later takes its place. */
    struct kw_topo_view *view = calm_view('a', "");
    struct kw_topology *cluster = merge_free(&view, 1, topo);
    assert_int_equal(cluster->node_count, 4);
    assert_false(kw_topology_equal(topo, cluster));
    kw_topology_unref(cluster);
    kw_topology_unref(topo);
}

static void seeds(void **state) {
    static const char *const bad[] = {"",      " , ",      "a",     "a:",   ":1",    "a:0",    "a:65536", "a:1x",
                                      "[::1]", "::1:7000", "a b:1", "[]:1", "a/b:1", "[::1:5", "a:1,,b"};
    struct kw_seed *list;
    char why[100];
    (void)state;
    assert_int_equal(
        kw_seeds_parse(&list, "10.0.0.1:7000, redis-2.example:65535,[::1]:1\n10.0.0.1:7000", why, sizeof(why)), 3);
    assert_string_equal(list[1].host, "redis-2.example");
    assert_int_equal(list[1].port, 65535);
    assert_string_equal(list[2].host, "::1");
    kw_free(list);
    for (size_t i = 0; i < KW_ARRAY_LEN(bad); i++) {
        why[0] = '\0';
        if (kw_seeds_parse(NULL, bad[i], why, sizeof(why)) != KW_EINVALID) print_error("seeds '%s'\n", bad[i]);
        assert_int_equal(kw_seeds_parse(NULL, bad[i], why, sizeof(why)), KW_EINVALID);
        assert_true(why[0] != '\0');
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(formats_of_servers),
        cmocka_unit_test(own_address_is_repaired),
        cmocka_unit_test(garbage_is_refused),
        cmocka_unit_test(hosts_are_bounded),
        cmocka_unit_test(nodes_are_bounded),
        cmocka_unit_test(memory_may_fail),
        cmocka_unit_test(every_prefix_is_safe),
        cmocka_unit_test(views_compare),
        cmocka_unit_test(calm_cluster),
        cmocka_unit_test(newest_epoch_wins),
        cmocka_unit_test(stale_minority_takes_nothing_back),
        cmocka_unit_test(demoted_primary_becomes_replica),
        cmocka_unit_test(own_word_beats_hearsay),
        cmocka_unit_test(ties_go_to_owner_then_votes_then_id),
        cmocka_unit_test(failed_needs_a_majority),
        cmocka_unit_test(amnesia_is_ignored),
        cmocka_unit_test(foreign_clusters_are_ignored),
        cmocka_unit_test(forgotten_nodes_leave),
        cmocka_unit_test(one_node_over_two_links_is_one_voice),
        cmocka_unit_test(replica_of_a_replica_follows_to_the_primary),
        cmocka_unit_test(nothing_gives_nothing),
        cmocka_unit_test(standalone_owns_all),
        cmocka_unit_test(seeds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
