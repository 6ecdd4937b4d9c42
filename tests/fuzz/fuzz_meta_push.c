/*
 * What a metadata node sends to a client, value by value: pushes, of which maps and differences lead from one map to
 * the next; the members in replies; redirections; and replies made fit for RESP2. Each value is cut out as the link
 * does it and stands in memory of just its length; its beginnings are read as well. What is found lies within the
 * value, the list of nodes stays within its bounds and keeps those of the configuration, and RESP2 made into RESP2 is
 * the same.
 */
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "base/resp_reply.h"
#include "raft/client/meta_frame.h"
#include "raft/client/meta_nodes.h"
#include "raft/state/map_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 64 * 1024, BEGINNINGS_MAX = 64, CONFIGURED = 2 };

struct value {
    const char *data;
    size_t len;
};

static void must_lie_within(const struct value *value, const char *data, size_t len) {
    if (len == 0) return;
    KW_ASSERT(data >= value->data && len <= value->len && (size_t)(data - value->data) <= value->len - len);
}

/* ---- pushes */

static void take_map(struct kw_map **map, const struct kw_meta_push *push) {
    struct kw_map *next = NULL;
    int err = push->kind == KW_META_PUSH_MAP ? kw_map_decode(&next, push->bytes.data, push->bytes.len)
              : *map                         ? kw_map_patch(&next, *map, push->bytes.data, push->bytes.len)
                                             : KW_EINVALID;
    if (err) return;
    KW_ASSERT(next && kw_map_valid(next));
    kw_map_unref(*map);
    *map = next;
}

static void read_push(const struct value *value, struct kw_map **map, struct kw_meta_nodes *nodes) {
    struct kw_meta_push push;
    int err = kw_meta_push_parse(&push, value->data, value->len);
    KW_ASSERT(err == 0 || err == KW_EPROTOCOL);
    if (err) return;
    must_lie_within(value, push.bytes.data, push.bytes.len);
    must_lie_within(value, push.leader.data, push.leader.len);
    if (push.kind == KW_META_PUSH_ALIVE) {
        kw_meta_nodes_learn(nodes, push.leader.data, push.leader.len);
    } else if (push.kind != KW_META_PUSH_OTHER) {
        take_map(map, &push);
    }
}

/* ---- replies */

struct reading {
    const struct value *value;
    struct kw_meta_nodes *nodes;
};

static void on_member(void *ctx, const char *address, size_t len) {
    struct reading *reading = ctx;
    must_lie_within(reading->value, address, len);
    kw_meta_nodes_member(reading->nodes, address, len);
}

static void read_members(const struct value *value, struct kw_meta_nodes *nodes) {
    struct reading reading = {value, nodes};
    char before[KW_META_CLIENT_ADDRESS_SIZE], after[KW_META_CLIENT_ADDRESS_SIZE];
    kw_meta_node_print(kw_meta_nodes_current(nodes), before);
    kw_meta_nodes_members_begin(nodes);
    kw_meta_members_each(value->data, value->len, on_member, &reading);
    kw_meta_nodes_members_end(nodes);
    kw_meta_node_print(kw_meta_nodes_current(nodes), after);
    KW_ASSERT(nodes->at < nodes->count && strcmp(before, after) == 0); /* the one in use stays so */
    kw_meta_nodes_advance(nodes);
}

static void read_error(const struct value *value, struct kw_meta_nodes *nodes) {
    struct kw_arg address = {0};
    if (!kw_meta_is_notleader(value->data, value->len, &address)) return;
    KW_ASSERT(kw_meta_is_error(value->data, value->len, "NOTLEADER"));
    KW_ASSERT(!kw_meta_is_error(value->data, value->len, "NOLEADER"));
    must_lie_within(value, address.data, address.len);
    kw_meta_nodes_learn(nodes, address.data, address.len);
}

static void make_resp2(const struct value *value, bool whole) {
    struct kw_str once = {0}, twice = {0};
    struct kw_reply_scan scan = {0};
    size_t used = 0;
    int err = kw_meta_to_resp2(&once, value->data, value->len);
    KW_ASSERT(err == 0 || err == KW_EPROTOCOL);
    if (err == 0 && whole && once.len > 0) {
        KW_ASSERT(kw_reply_scan(&scan, once.data, once.len, &used) == KW_REPLY_DONE && used == once.len);
        KW_ASSERT(memchr("+-:$*", once.data[0], 5));
        KW_ASSERT(kw_meta_to_resp2(&twice, once.data, once.len) == 0);
        KW_ASSERT(twice.len == once.len && memcmp(once.data, twice.data, once.len) == 0);
    }
    kw_str_deinit(&once);
    kw_str_deinit(&twice);
}

/* ---- the list of nodes */

static void must_be_sound(struct kw_meta_nodes *nodes) {
    KW_ASSERT(nodes->count >= CONFIGURED && nodes->count <= KW_META_CLIENT_NODES_MAX && nodes->at < nodes->count);
    for (unsigned i = 0; i < nodes->count; i++) {
        char text[KW_META_CLIENT_ADDRESS_SIZE];
        KW_ASSERT(nodes->list[i].configured == (i < CONFIGURED));
        kw_meta_node_print(&nodes->list[i], text);
        KW_ASSERT(kw_meta_nodes_learn(nodes, text, strlen(text)) == (int)i);
    }
}

static void read_value(const char *bytes, size_t len, bool whole, struct kw_map **map, struct kw_meta_nodes *nodes) {
    char *exact = kw_malloc(len);
    struct value value = {exact, len};
    memcpy(exact, bytes, len);
    read_push(&value, map, nodes);
    read_members(&value, nodes);
    read_error(&value, nodes);
    make_resp2(&value, whole);
    kw_free(exact);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    const char *bytes = (const char *)data;
    struct kw_meta_nodes nodes;
    struct kw_map *map = NULL;
    static bool quiet;
    if (!quiet) quiet = kw_log_open("/dev/null", KW_LOG_WARNING) == 0;
    if (size > INPUT_MAX) return 0;
    KW_ASSERT(kw_meta_nodes_init(&nodes, "10.0.0.1:7380, [::1]:7381") == 0);
    for (size_t at = 0, used = 0; at < size; at += used) {
        struct kw_reply_scan scan = {0};
        bool whole = kw_reply_scan(&scan, bytes + at, size - at, &used) == KW_REPLY_DONE;
        if (!whole) used = size - at;
        for (size_t len = 1; len < used && len < BEGINNINGS_MAX; len++)
            read_value(bytes + at, len, false, &map, &nodes);
        read_value(bytes + at, used, whole, &map, &nodes);
        must_be_sound(&nodes);
    }
    kw_map_unref(map);
    return 0;
}
