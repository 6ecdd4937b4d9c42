/*
 * KEYWAY PROXIES and PROXY: who is registered, and who still lives. A proxy says every five
 * seconds what it is; only what changed is written to the log, as
 * "address version workers map_version". When it was heard last is known to the
 * leader alone, on its own clock: after 30 s of silence it deletes the record.
 * A new leader counts from the moment it began to lead.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/table.h"
#include "raft/door/door_internal.h"

enum { SILENCE_MAX_MS = 30 * 1000, DELETES_A_TICK = 256, TEXT_MAX = 256 };

struct heard {
    struct kw_table_node node;
    uint64_t at_ms;
    bool spoke; /* to this leader; else at_ms is when it began to lead */
    size_t id_len;
    char id[];
};

static struct heard *heard_find(struct kw_door *door, const void *id, size_t len) {
    struct kw_table_node *node = kw_table_find(&door->heard, id, len);
    return node ? KW_CONTAINER_OF(node, struct heard, node) : NULL;
}

static struct heard *heard_get(struct kw_door *door, const void *id, size_t len) {
    struct heard *one = heard_find(door, id, len);
    if (one) return one;
    one = kw_calloc(1, sizeof(*one) + len);
    memcpy(one->id, id, len);
    one->id_len = len;
    one->at_ms = uv_now(door->loop);
    kw_table_add(&door->heard, &one->node, one->id, len);
    return one;
}

static void heard_drop(struct kw_door *door, struct heard *one) {
    kw_table_remove(&door->heard, &one->node);
    kw_free(one);
}

/* ---- silence */

/* Drops what was heard of proxies that have no record (any more), or everything. */
static void forget(struct kw_door *door, const struct kw_ptable *unless_in) {
    struct kw_table_node *next;
    for (struct kw_table_node *node = kw_table_next(&door->heard, NULL); node; node = next) {
        struct heard *one = KW_CONTAINER_OF(node, struct heard, node);
        struct kw_ptable_item item;
        next = kw_table_next(&door->heard, node);
        if (!unless_in || !kw_ptable_get(unless_in, one->id, one->id_len, &item)) heard_drop(door, one);
    }
}

static void delete_silent(struct kw_door *door, const struct kw_ptable_item *item) {
    struct kw_record record = {
        .type = KW_RECORD_DELETE,
        .table = KW_META_PROXIES,
        .expect = item->version,
        .key = item->key,
        .key_len = item->key_len,
    };
    /* A record that is written anew meanwhile stays: `expect` does not hold then. */
    kw_replica_submit(door->replica, &record, NULL, NULL);
}

void kw_door_proxies_tick(struct kw_door *door) {
    if (!door->leading) return;
    const struct kw_ptable *table = kw_meta_state_table(kw_door_state(door), KW_META_PROXIES);
    struct kw_ptable_item item;
    uint64_t cursor = 0, now = uv_now(door->loop);
    unsigned deletes = 0;
    while (deletes < DELETES_A_TICK && kw_ptable_next(table, &cursor, &item)) {
        struct heard *one = heard_get(door, item.key, item.key_len);
        if (now - one->at_ms < SILENCE_MAX_MS) continue;
        delete_silent(door, &item);
        deletes++;
    }
    if (door->heard.count > kw_ptable_count(table)) forget(door, table);
}

void kw_door_proxies_role(struct kw_door *door) {
    bool leads = kw_replica_role(door->replica) == KW_ROLE_LEADER;
    if (leads == door->leading) return;
    door->leading = leads;
    forget(door, NULL);
    kw_door_proxies_tick(door);
}

void kw_door_proxies_deinit(struct kw_door *door) {
    forget(door, NULL);
    kw_table_deinit(&door->heard);
}

/* ---- PROXIES */

static long long number_of(struct kw_arg word) {
    long long value;
    return kw_door_int(&word, &value) ? value : 0;
}

void kw_door_proxies(struct kw_door_call *call) {
    struct kw_door *door = call->door;
    const struct kw_ptable *table = kw_meta_state_table(kw_door_state(door), KW_META_PROXIES);
    struct kw_ptable_item item;
    uint64_t cursor = 0, now = uv_now(door->loop);
    kw_str_resp_array(call->out, kw_ptable_count(table));
    while (kw_ptable_next(table, &cursor, &item)) {
        const char *at = item.value, *end = at + item.value_len;
        struct kw_arg address = kw_door_word(&at, end), version = kw_door_word(&at, end);
        struct kw_arg workers = kw_door_word(&at, end), map_version = kw_door_word(&at, end);
        struct heard *one = door->leading ? heard_find(door, item.key, item.key_len) : NULL;
        kw_str_resp_map(call->out, call->resp, 6);
        kw_door_pair_bulk(call->out, "id", item.key, item.key_len);
        kw_door_pair_bulk(call->out, "address", address.data, address.len);
        kw_door_pair_bulk(call->out, "version", version.data, version.len);
        kw_door_pair_int(call->out, "workers", number_of(workers));
        kw_door_pair_int(call->out, "map_version", number_of(map_version));
        kw_door_pair_int(call->out, "idle_ms", one && one->spoke ? (long long)(now - one->at_ms) : -1);
    }
}

/* ---- PROXY REGISTER, REMOVE */

static bool is_word(const struct kw_arg *arg) {
    for (size_t i = 0; i < arg->len; i++) {
        if (arg->data[i] <= ' ' || arg->data[i] > '~') return false;
    }
    return arg->len > 0 && arg->len <= TEXT_MAX;
}

static bool proxy_table(struct kw_door_call *call, struct kw_door_table *table, const struct kw_arg *id) {
    static const struct kw_arg name = {"proxies", 7};
    if (!is_word(id)) {
        kw_str_resp_error(call->out, "ERR the id of a proxy is printable text without blanks");
        return false;
    }
    return kw_door_table_find(call->out, &name, table) && kw_door_table_fits(call->out, table, id, NULL);
}

/* REGISTER id address version workers map_version */
void kw_door_proxy_register(struct kw_door_call *call) {
    struct kw_door *door = call->door;
    struct kw_door_table table;
    const struct kw_arg *id = &call->args[0];
    uint64_t workers, map_version;
    if (!proxy_table(call, &table, id)) return;
    if (!is_word(&call->args[1]) || !is_word(&call->args[2])) {
        kw_str_resp_error(call->out, "ERR address and version are printable text without blanks");
        return;
    }
    if (!kw_door_u64(&call->args[3], &workers) || !kw_door_u64(&call->args[4], &map_version)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
        return;
    }
    if (kw_replica_role(door->replica) != KW_ROLE_LEADER) {
        kw_door_outcome(door, call->out, KW_ENOTLEADER);
        return;
    }
    struct kw_str value = {0};
    struct kw_ptable_item item;
    kw_str_printf(&value, "%.*s %.*s %llu %llu", (int)call->args[1].len, call->args[1].data, (int)call->args[2].len,
                  call->args[2].data, (unsigned long long)workers, (unsigned long long)map_version);
    struct heard *one = heard_get(door, id->data, id->len);
    one->at_ms = uv_now(door->loop);
    one->spoke = true;
    bool known = kw_ptable_get(kw_meta_state_table(kw_door_state(door), KW_META_PROXIES), id->data, id->len, &item);
    if (known && item.value_len == value.len && memcmp(item.value, value.data, value.len) == 0) {
        kw_str_resp_simple(call->out, "OK");
    } else {
        struct kw_record record = {
            .type = KW_RECORD_PUT,
            .table = KW_META_PROXIES,
            .expect = KW_EXPECT_ANY,
            .key = id->data,
            .key_len = id->len,
            .value = value.data,
            .value_len = value.len,
        };
        kw_door_submit(call, &record, kw_door_answer_ok);
    }
    kw_str_deinit(&value);
}

void kw_door_proxy_remove(struct kw_door_call *call) {
    struct kw_door_table table;
    const struct kw_arg *id = &call->args[0];
    if (!proxy_table(call, &table, id)) return;
    struct kw_record record = {
        .type = KW_RECORD_DELETE,
        .table = KW_META_PROXIES,
        .expect = KW_EXPECT_ANY,
        .key = id->data,
        .key_len = id->len,
    };
    kw_door_submit(call, &record, kw_door_answer_deleted);
}
