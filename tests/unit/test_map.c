/*
 * The cluster map: from a topology to bytes, to differences, to text and back;
 * and bytes that are no map. Maps are drawn at random (the seed is fixed).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/map.h"
#include "raft/state/map_internal.h"

static uint64_t seed = 1;

static uint32_t pick(uint32_t below) {
    seed = seed * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)((seed >> 33) % below);
}

/* ---- maps to try ---- */

static struct kw_map *map_new(unsigned nodes, uint64_t version) {
    struct kw_map *map = kw_map_new_try(nodes);
    assert_non_null(map);
    map->version = version;
    return map;
}

static void set_node(struct kw_map *map, unsigned index, unsigned id, bool primary) {
    struct kw_map_node *node = &map->nodes[index];
    snprintf(node->id, sizeof(node->id), "%040u", id);
    snprintf(node->host, sizeof(node->host), id % 7 == 3 ? "fd00::0%u" : "10.0.0.%u", id);
    node->port = 7000 + id;
    node->primary = primary;
    node->primary_index = primary ? (int)index : -1;
    node->config_epoch = 1;
}

/* `shards` primaries with a replica each, slots in equal parts. */
static struct kw_map *even_map(unsigned shards, uint64_t version) {
    struct kw_map *map = map_new(shards * 2, version);
    for (unsigned i = 0; i < shards * 2; i++) {
        set_node(map, i, i + 1, i < shards);
        if (i >= shards) map->nodes[i].primary_index = (int)(i - shards);
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) map->owner[slot] = (int16_t)(slot * shards / KW_SLOT_COUNT);
    map->highest_epoch = 1;
    return map;
}

static int random_primary(const struct kw_map *map) {
    for (int tries = 0; tries < 50; tries++) {
        int index = (int)pick(map->node_count);
        if (map->nodes[index].primary) return index;
    }
    return -1;
}

/* Any map over some of 40 ids. */
static struct kw_map *random_map(uint64_t version) {
    bool used[40];
    unsigned count = 0;
    for (unsigned i = 0; i < 40; i++) count += used[i] = pick(2);
    struct kw_map *map = map_new(count, version);
    map->highest_epoch = pick(1000);
    for (unsigned i = 0, at = 0; i < 40; i++) {
        if (used[i]) set_node(map, at++, i + 1, pick(3) != 0);
    }
    for (unsigned i = 0; i < count; i++) {
        struct kw_map_node *node = &map->nodes[i];
        node->failed = pick(5) == 0;
        node->config_epoch = pick(100);
        if (!node->primary) node->primary_index = random_primary(map);
    }
    int owner = -1;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT && count > 0; slot++) {
        if (pick(300) == 0) owner = pick(4) ? random_primary(map) : -1;
        map->owner[slot] = (int16_t)owner;
    }
    return map;
}

/* The map with a few things changed. */
static struct kw_map *changed_map(const struct kw_map *from, uint64_t version) {
    struct kw_map *map = map_new(from->node_count, version);
    map->highest_epoch = from->highest_epoch + pick(3);
    memcpy(map->nodes, from->nodes, from->node_count * sizeof(*map->nodes));
    memcpy(map->owner, from->owner, sizeof(map->owner));
    for (uint32_t n = pick(3); n > 0 && map->node_count > 0; n--) {
        struct kw_map_node *node = &map->nodes[pick(map->node_count)];
        node->failed = !node->failed;
        node->config_epoch += pick(2);
    }
    for (uint32_t n = pick(6), to; n > 0 && map->node_count > 0; n--) {
        unsigned first = pick(KW_SLOT_COUNT - 20);
        to = pick(20);
        int owner = random_primary(map);
        for (unsigned slot = first; slot < first + to; slot++) map->owner[slot] = (int16_t)owner;
    }
    return map;
}

static void assert_same(const struct kw_map *a, const struct kw_map *b) {
    assert_true(kw_map_equal(a, b));
    assert_true(a->version == b->version);
    assert_true(a->highest_epoch == b->highest_epoch);
}

static int decode(struct kw_map **out, const void *bytes, size_t len) {
    unsigned char *exact = kw_malloc(len);
    memcpy(exact, bytes, len);
    int rc = kw_map_decode(out, exact, len);
    kw_free(exact);
    return rc;
}

static int patch(struct kw_map **out, const struct kw_map *from, const void *bytes, size_t len) {
    unsigned char *exact = kw_malloc(len);
    memcpy(exact, bytes, len);
    int rc = kw_map_patch(out, from, exact, len);
    kw_free(exact);
    return rc;
}

/* ---- bytes ---- */

static void assert_comes_back(const struct kw_map *map) {
    struct kw_str bytes = {0}, again = {0};
    struct kw_map *read;
    kw_str_append(&bytes, "before", 6);
    kw_map_encode(&bytes, map);
    assert_int_equal(decode(&read, bytes.data + 6, bytes.len - 6), 0);
    assert_same(map, read);
    kw_map_encode(&again, read);
    assert_int_equal(again.len, bytes.len - 6);
    assert_memory_equal(again.data, bytes.data + 6, again.len);
    kw_map_unref(read);
    kw_str_deinit(&bytes);
    kw_str_deinit(&again);
}

static void maps_come_back(void **state) {
    (void)state;
    struct kw_map *map = kw_map_empty();
    assert_int_equal(map->version, 0);
    assert_int_equal(map->node_count, 0);
    assert_int_equal(map->owner[0], -1);
    assert_comes_back(map);
    kw_map_unref(map);
    for (unsigned i = 0; i < 200; i++) {
        map = random_map(i);
        assert_comes_back(map);
        kw_map_unref(map);
    }
    map = even_map(KW_TOPO_NODES_MAX / 2, UINT64_MAX);
    assert_comes_back(map);
    kw_map_unref(map);
}

static void every_cut_and_every_flip_is_refused(void **state) {
    (void)state;
    struct kw_map *map = even_map(3, 7), *read = NULL;
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, map);
    for (size_t len = 0; len < bytes.len; len++) assert_int_equal(decode(&read, bytes.data, len), KW_EPROTOCOL);
    for (size_t bit = 0; bit < bytes.len * 8; bit++) {
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
        assert_int_equal(decode(&read, bytes.data, bytes.len), KW_EPROTOCOL);
        bytes.data[bit / 8] = (char)(bytes.data[bit / 8] ^ (1 << bit % 8));
    }
    assert_null(read);
    kw_str_deinit(&bytes);
    kw_map_unref(map);
}

enum { HEAD = 24, NODE = KW_MAP_NODE_BYTES + 8 }; /* of even_map: all hosts are as long as "10.0.0.1" */

/* Each with its checksum right. */
static void impossible_maps_are_refused(void **state) {
    (void)state;
    static const struct {
        size_t at;
        unsigned size;
        uint64_t value;
        int code;
    } lies[] = {
        {0, 1, 'X', KW_EPROTOCOL},                      /* another mark */
        {4, 1, 0, KW_EPROTOCOL},                        /* no format */
        {4, 1, 2, KW_EUNKNOWN},                         /* a format of the future */
        {5, 1, 2, KW_EPROTOCOL},                        /* an unknown flag */
        {5, 1, 1, KW_EPROTOCOL},                        /* standalone, with more than one node */
        {6, 2, 65535, KW_EPROTOCOL},                    /* more nodes than there are bytes */
        {6, 2, 3, KW_EPROTOCOL},                        /* one fewer: the rest is no slots */
        {HEAD, 1, 0, KW_EPROTOCOL},                     /* an id with NUL */
        {HEAD, 1, ' ', KW_EPROTOCOL},                   /* or blank */
        {HEAD + 39, 1, '9', KW_EPROTOCOL},              /* ids out of order */
        {HEAD + 39, 1, '2', KW_EPROTOCOL},              /* an id twice */
        {HEAD + 40, 1, 4, KW_EPROTOCOL},                /* an unknown flag */
        {HEAD + 40, 1, 0, KW_EPROTOCOL},                /* the owner of slots is no primary */
        {HEAD + 41, 2, 0, KW_EPROTOCOL},                /* port 0 */
        {HEAD + 43, 2, 2, KW_EPROTOCOL},                /* a primary that follows another */
        {HEAD + 43, 2, 0, KW_EPROTOCOL},                /* or nobody */
        {HEAD + 53, 1, 0, KW_EPROTOCOL},                /* no host: what comes next does not fit */
        {HEAD + 53, 1, 255, KW_EPROTOCOL},              /* too long a host */
        {HEAD + 54, 1, ' ', KW_EPROTOCOL},              /* a host with a blank */
        {HEAD + 54, 1, 0, KW_EPROTOCOL},                /* with NUL */
        {HEAD + 54, 1, '\n', KW_EPROTOCOL},             /* with a line's end */
        {HEAD + 54, 1, ',', KW_EPROTOCOL},              /* with what ends it in CLUSTER NODES */
        {HEAD + 3 * NODE + 43, 2, 4, KW_EPROTOCOL},     /* a replica that follows a replica */
        {HEAD + 3 * NODE + 43, 2, 5, KW_EPROTOCOL},     /* a node that there is not */
        {HEAD + 3 * NODE + 43, 2, 65535, KW_EPROTOCOL}, /* nor this */
        {HEAD + 4 * NODE, 2, 0, KW_EPROTOCOL},          /* a run of no slots */
        {HEAD + 4 * NODE, 2, 16385, KW_EPROTOCOL},      /* of too many */
        {HEAD + 4 * NODE, 2, 8191, KW_EPROTOCOL},       /* the last slot has no run */
        {HEAD + 4 * NODE + 2, 2, 2, KW_EPROTOCOL},      /* neighbours with one owner */
        {HEAD + 4 * NODE + 2, 2, 5, KW_EPROTOCOL},      /* an owner that there is not */
        {HEAD + 4 * NODE + 2, 2, 3, KW_EPROTOCOL},      /* a replica as owner */
        {HEAD + 4 * NODE + 2, 2, 65535, KW_EPROTOCOL},  /* none at all */
    };
    struct kw_map *map = even_map(2, 7), *read = NULL;
    struct kw_str bytes = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(lies); i++) {
        kw_str_clear(&bytes);
        kw_map_encode(&bytes, map);
        bytes.len -= KW_MAP_SUM;
        kw_bytes_put(bytes.data + lies[i].at, lies[i].size, lies[i].value);
        kw_map_seal(&bytes, 0);
        int rc = decode(&read, bytes.data, bytes.len);
        if (rc != lies[i].code) fail_msg("lie %zu: %d", i, rc);
    }
    kw_str_clear(&bytes);
    kw_map_encode(&bytes, map);
    kw_put64(bytes.data + bytes.len - KW_MAP_SUM, 0); /* something behind the slots */
    kw_map_seal(&bytes, 0);
    assert_int_equal(decode(&read, bytes.data, bytes.len), KW_EPROTOCOL);
    kw_str_deinit(&bytes);
    kw_map_unref(map);
}

/* ---- differences ---- */

/* The way there and its length; 0 where the whole is shorter. */
static size_t assert_leads(const struct kw_map *from, const struct kw_map *to) {
    struct kw_str diff = {0}, whole = {0};
    struct kw_map *read = NULL;
    kw_str_append(&diff, "before", 6);
    kw_map_encode(&whole, to);
    bool shorter = kw_map_diff(&diff, from, to);
    size_t len = diff.len - 6;
    if (shorter) {
        assert_true(len < whole.len);
        assert_int_equal(patch(&read, from, diff.data + 6, len), 0);
        assert_same(to, read);
        kw_map_unref(read);
    } else {
        assert_int_equal(len, 0);
        assert_memory_equal(diff.data, "before", 7); /* left as it was, with its NUL */
    }
    kw_str_deinit(&diff);
    kw_str_deinit(&whole);
    return len;
}

static void differences_lead_there(void **state) {
    (void)state;
    unsigned shorter = 0;
    seed = 77;
    for (unsigned i = 0; i < 300; i++) {
        struct kw_map *from = random_map(i), *near = changed_map(from, i + 1), *other = random_map(i + 2);
        shorter += assert_leads(from, near) > 0;
        assert_leads(from, other);
        assert_leads(near, from);
        kw_map_unref(from);
        kw_map_unref(near);
        kw_map_unref(other);
    }
    assert_true(shorter > 150);
}

/* A node that comes moves the places of all behind it: still only the node is sent. */
static void a_new_node_costs_a_node(void **state) {
    (void)state;
    struct kw_map *from = even_map(100, 1), *to = map_new(201, 2);
    set_node(to, 0, 0, true);
    for (unsigned i = 0; i < 200; i++) {
        to->nodes[i + 1] = from->nodes[i];
        to->nodes[i + 1].primary_index++;
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) to->owner[slot] = (int16_t)(from->owner[slot] + 1);
    assert_in_range(assert_leads(from, to), 1, 200);
    assert_in_range(assert_leads(to, from), 1, 200); /* and one that goes, less */

    to->owner[5000] = 0; /* a slot moves to it */
    assert_in_range(assert_leads(from, to), 1, 210);
    kw_map_unref(from);
    kw_map_unref(to);
}

static void a_failover_costs_little(void **state) {
    (void)state;
    struct kw_map *from = even_map(3, 1), *to = even_map(3, 2);
    to->nodes[0].primary = false;
    to->nodes[0].failed = true;
    to->nodes[0].primary_index = 3;
    to->nodes[3].primary = true;
    to->nodes[3].primary_index = 3;
    to->nodes[3].config_epoch = to->highest_epoch = 9;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (to->owner[slot] == 0) to->owner[slot] = 3;
    }
    assert_in_range(assert_leads(from, to), 1, 220);
    kw_map_unref(from);
    kw_map_unref(to);
}

/* It needs exactly the map that it was made from. */
static void another_start_is_refused(void **state) {
    (void)state;
    struct kw_map *from = even_map(5, 1), *to = even_map(5, 2), *read = NULL;
    struct kw_map *older = even_map(5, 0), *like = even_map(5, 1);
    struct kw_str diff = {0};
    to->nodes[2].failed = true;
    like->nodes[4].failed = true; /* the version is right, the map is not */
    assert_true(kw_map_diff(&diff, from, to));
    assert_int_equal(patch(&read, older, diff.data, diff.len), KW_EINVALID);
    assert_int_equal(patch(&read, like, diff.data, diff.len), KW_EINVALID);
    assert_int_equal(patch(&read, to, diff.data, diff.len), KW_EINVALID);
    assert_int_equal(patch(&read, from, diff.data, diff.len), 0);
    kw_map_unref(read);
    kw_map_unref(from);
    kw_map_unref(to);
    kw_map_unref(older);
    kw_map_unref(like);
    kw_str_deinit(&diff);
}

static void damaged_differences_are_refused(void **state) {
    (void)state;
    struct kw_map *from = even_map(3, 1), *to = even_map(3, 2), *read = NULL;
    struct kw_str diff = {0};
    to->owner[3] = -1;
    to->nodes[1].failed = true;
    assert_true(kw_map_diff(&diff, from, to));
    for (size_t len = 0; len < diff.len; len++) {
        assert_int_equal(patch(&read, from, diff.data, len), KW_EPROTOCOL);
    }
    for (size_t i = 0; i < diff.len; i++) { /* a flip is seen; with a right checksum it leads there or nowhere */
        for (int sealed = 0; sealed < 2; sealed++) {
            struct kw_str bad = {0};
            kw_str_append(&bad, diff.data, diff.len);
            bad.data[i] = (char)(bad.data[i] ^ 1);
            if (sealed) bad.len -= KW_MAP_SUM;
            if (sealed) kw_map_seal(&bad, 0);
            int rc = patch(&read, from, bad.data, bad.len);
            if (rc == 0) {
                assert_true(sealed);
                assert_same(read, to);
                kw_map_unref(read);
            } else if (!sealed) {
                assert_int_equal(rc, KW_EPROTOCOL);
            }
            kw_str_deinit(&bad);
        }
    }
    kw_str_deinit(&diff);
    kw_map_unref(from);
    kw_map_unref(to);
}

/* ---- topologies and text ---- */

static struct kw_map *map_of_text(const char *text, size_t len) {
    struct kw_topo_view *view;
    assert_int_equal(kw_topo_view_parse(&view, text, len, "10.9.9.9"), 0);
    struct kw_topology *topo = kw_topology_merge((const struct kw_topo_view *const *)&view, 1, NULL);
    struct kw_map *map = kw_map_from_topology(topo);
    kw_topology_unref(topo);
    kw_topo_view_free(view);
    return map;
}

/* Through CLUSTER NODES, the parser and the merge: the same map. */
static void text_comes_back(void **state) {
    (void)state;
    seed = 3;
    for (unsigned i = 0; i < 100; i++) {
        struct kw_map *map = random_map(i);
        if (map->node_count > 0) {
            struct kw_str text = {0};
            for (unsigned j = 0; j < map->node_count; j++) map->nodes[j].failed = false; /* a vote of many */
            kw_map_nodes_text(&text, map, pick(map->node_count));
            struct kw_map *read = map_of_text(text.data, text.len);
            assert_true(kw_map_equal(map, read));
            kw_map_unref(read);
            kw_str_deinit(&text);
        }
        kw_map_unref(map);
    }
}

static void text_is_as_redis_writes_it(void **state) {
    (void)state;
    struct kw_map *map = even_map(2, 1);
    struct kw_str text = {0};
    map->nodes[3].failed = true;
    map->nodes[1].port = 60000; /* no room for a bus port */
    map->owner[0] = -1;
    map->owner[16383] = 0;
    kw_map_nodes_text(&text, map, 1);
    assert_string_equal(
        text.data,
        "0000000000000000000000000000000000000001 10.0.0.1:7001@17001 master - 0 0 1 connected 1-8191 16383\n"
        "0000000000000000000000000000000000000002 10.0.0.2:60000@0 myself,master - 0 0 1 connected 8192-16382\n"
        "0000000000000000000000000000000000000003 fd00::03:7003@17003 slave "
        "0000000000000000000000000000000000000001 0 0 1 connected\n"
        "0000000000000000000000000000000000000004 10.0.0.4:7004@17004 slave,fail "
        "0000000000000000000000000000000000000002 0 0 1 connected\n");
    kw_str_deinit(&text);
    kw_map_unref(map);
}

static void a_topology_is_taken_whole(void **state) {
    (void)state;
    struct kw_topology *topo = kw_topology_standalone("127.0.0.1", 6379);
    struct kw_map *map = kw_map_from_topology(topo), *read;
    struct kw_str bytes = {0};
    assert_true(map->standalone);
    assert_int_equal(map->version, 0);
    assert_int_equal(map->node_count, 1);
    assert_int_equal(map->nodes[0].port, 6379);
    assert_int_equal(map->owner[16383], 0);
    assert_int_equal(atomic_load(&map->refs), 1);
    kw_map_encode(&bytes, map);
    assert_int_equal(decode(&read, bytes.data, bytes.len), 0);
    assert_true(read->standalone);
    kw_map_unref(read);
    kw_map_unref(map);
    kw_topology_unref(topo);
    kw_str_deinit(&bytes);

    static const char text[] =
        "0000000000000000000000000000000000000001 10.0.0.1:7001 myself,master - 0 0 5 connected\n"
        "0000000000000000000000000000000000000002 10.0.0.2:7002 master,fail - 0 0 8 connected 7\n";
    map = map_of_text(text, sizeof(text) - 1);
    assert_int_equal(map->highest_epoch, 8);
    assert_true(map->nodes[1].failed);
    assert_int_equal(map->owner[7], 1);
    assert_int_equal(map->owner[8], -1);
    kw_map_unref(map);
}

/* Each thing that counts makes a difference; versions and highest epochs do not. */
static void equality(void **state) {
    (void)state;
    struct kw_map *a = even_map(3, 1);
    for (int change = 0; change < 10; change++) {
        struct kw_map *b = even_map(change == 9 ? 2 : 3, 2);
        b->highest_epoch = 50;
        assert_true(change == 9 || kw_map_equal(a, b));
        switch (change) {
        case 0: b->nodes[5].id[0] = 'f'; break;
        case 1: b->nodes[5].host[0] = 'f'; break;
        case 2: b->nodes[5].port++; break;
        case 3: b->nodes[5].primary = true; break;
        case 4: b->nodes[5].failed = true; break;
        case 5: b->nodes[5].primary_index = 0; break;
        case 6: b->nodes[5].config_epoch++; break;
        case 7: b->owner[KW_SLOT_COUNT - 1] = -1; break;
        case 8: b->standalone = true; break;
        default: break;
        }
        assert_false(kw_map_equal(a, b));
        kw_map_unref(b);
    }
    assert_true(kw_map_equal(a, kw_map_ref(a)));
    kw_map_unref(a);
    kw_map_unref(a);
    kw_map_unref(NULL);
}

/* Nodes of these numbers, which ascend. */
static struct kw_map *map_of_ids(const unsigned *ids, unsigned count) {
    struct kw_map *map = map_new(count, 1);
    for (unsigned i = 0; i < count; i++) set_node(map, i, ids[i], true);
    return map;
}

static void nodes_in_two_maps(void **state) {
    (void)state;
    static const struct {
        unsigned a[4], b[4]; /* up to 0 */
        bool shares;
    } cases[] = {
        {{0}, {0}, false},
        {{1}, {0}, false},
        {{1}, {1}, true},
        {{1}, {2}, false},
        {{1, 2, 3}, {4, 5, 6}, false},
        {{1, 3, 5}, {2, 4, 6}, false},
        {{1, 3, 5}, {5, 6}, true}, /* the last, the first */
        {{1, 2, 3}, {1, 5, 6}, true},
        {{2, 4, 9}, {1, 3, 9}, true},
        {{1, 2, 9}, {9}, true},
        {{1, 2, 8}, {9}, false},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        unsigned a_count = 0, b_count = 0;
        while (a_count < 4 && cases[i].a[a_count]) a_count++;
        while (b_count < 4 && cases[i].b[b_count]) b_count++;
        struct kw_map *a = map_of_ids(cases[i].a, a_count), *b = map_of_ids(cases[i].b, b_count);
        if (b_count > 0) snprintf(b->nodes[0].host, sizeof(b->nodes[0].host), "elsewhere"); /* the id counts */
        assert_int_equal(kw_map_shares_a_node(a, b), cases[i].shares);
        assert_int_equal(kw_map_shares_a_node(b, a), cases[i].shares);
        kw_map_unref(a);
        kw_map_unref(b);
    }
}

static void no_memory_leaves_nothing(void **state) {
    (void)state;
    struct kw_map *from = even_map(3, 1), *to = even_map(3, 2), *read;
    struct kw_str bytes = {0}, diff = {0};
    to->nodes[0].failed = true;
    kw_map_encode(&bytes, from);
    assert_true(kw_map_diff(&diff, from, to));
    long decode_failures = 0, patch_failures = 0;
    int rc = KW_ENOMEM;
    for (long nth = 1; rc != 0; nth++, decode_failures++) {
        kw_alloc_fail_nth(nth);
        rc = kw_map_decode(&read, bytes.data, bytes.len);
        assert_true(rc == 0 || rc == KW_ENOMEM);
    }
    kw_map_unref(read);
    rc = KW_ENOMEM;
    for (long nth = 1; rc != 0; nth++, patch_failures++) {
        kw_alloc_fail_nth(nth);
        rc = kw_map_patch(&read, from, diff.data, diff.len);
        assert_true(rc == 0 || rc == KW_ENOMEM);
    }
    kw_alloc_fail_nth(0);
    assert_same(read, to);
    assert_int_equal(decode_failures, 3); /* and one that was right */
    assert_int_equal(patch_failures, 6);
    kw_map_unref(read);
    kw_map_unref(from);
    kw_map_unref(to);
    kw_str_deinit(&bytes);
    kw_str_deinit(&diff);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(maps_come_back),
        cmocka_unit_test(every_cut_and_every_flip_is_refused),
        cmocka_unit_test(impossible_maps_are_refused),
        cmocka_unit_test(differences_lead_there),
        cmocka_unit_test(a_new_node_costs_a_node),
        cmocka_unit_test(a_failover_costs_little),
        cmocka_unit_test(another_start_is_refused),
        cmocka_unit_test(damaged_differences_are_refused),
        cmocka_unit_test(text_comes_back),
        cmocka_unit_test(text_is_as_redis_writes_it),
        cmocka_unit_test(a_topology_is_taken_whole),
        cmocka_unit_test(equality),
        cmocka_unit_test(nodes_in_two_maps),
        cmocka_unit_test(no_memory_leaves_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
