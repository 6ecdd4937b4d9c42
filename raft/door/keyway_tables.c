/*
 * KEYWAY CONFIG, GET, VERSION, COUNT, SCAN, PUT and DELETE: the tables of the
 * replicated state, record by record.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/glob.h"
#include "raft/door/door_internal.h"

enum {
    SCAN_COUNT = 10,
    SCAN_COUNT_MAX = 1000,
    SCAN_BYTES_MAX = 1024 * 1024, /* a page ends behind so much, whatever COUNT says */
};

static const struct kw_ptable *table_of(const struct kw_door_call *call, enum kw_meta_table table) {
    return kw_meta_state_table(kw_door_state(call->door), table);
}

/* ---- reading */

static bool find_record(struct kw_door_call *call, struct kw_ptable_item *item, bool *found) {
    struct kw_door_table table;
    if (!kw_door_table_find(call->out, &call->args[0], &table)) return false;
    const struct kw_arg *key = &call->args[1];
    *found = kw_ptable_get(table_of(call, table.table), key->data, key->len, item);
    return true;
}

void kw_door_get(struct kw_door_call *call) {
    struct kw_ptable_item item;
    bool found;
    if (!find_record(call, &item, &found)) return;
    if (found) {
        kw_str_resp_bulk(call->out, item.value, item.value_len);
    } else {
        kw_str_resp_null(call->out, call->resp);
    }
}

void kw_door_version(struct kw_door_call *call) {
    struct kw_ptable_item item;
    bool found;
    if (!find_record(call, &item, &found)) return;
    kw_str_resp_int(call->out, found ? (long long)item.version : 0);
}

void kw_door_count(struct kw_door_call *call) {
    struct kw_door_table table;
    if (!kw_door_table_find(call->out, &call->args[0], &table)) return;
    kw_str_resp_int(call->out, (long long)kw_ptable_count(table_of(call, table.table)));
}

static bool scan_args(struct kw_door_call *call, struct kw_door_table *table, uint64_t *cursor, long long *count) {
    *count = SCAN_COUNT;
    if (!kw_door_table_find(call->out, &call->args[0], table)) return false;
    if (!kw_door_u64(&call->args[1], cursor)) {
        kw_str_resp_error(call->out, "ERR invalid cursor");
    } else if (call->arg_count != 2 && !(call->arg_count == 4 && kw_door_is(&call->args[2], "count"))) {
        kw_door_syntax(call);
    } else if (call->arg_count == 4 && !kw_door_int(&call->args[3], count)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
    } else if (*count < 1) {
        kw_door_syntax(call);
    } else {
        return true;
    }
    return false;
}

void kw_door_scan(struct kw_door_call *call) {
    struct kw_door_table table;
    struct kw_ptable_item item;
    struct kw_str page = {0};
    uint64_t cursor;
    long long count, taken = 0;
    bool more = true;
    char text[24];
    if (!scan_args(call, &table, &cursor, &count)) return;
    if (count > SCAN_COUNT_MAX) count = SCAN_COUNT_MAX;
    while (taken < count && page.len < SCAN_BYTES_MAX &&
           (more = kw_ptable_next(table_of(call, table.table), &cursor, &item))) {
        kw_str_resp_bulk(&page, item.key, item.key_len);
        kw_str_resp_bulk(&page, item.value, item.value_len);
        kw_str_resp_int(&page, (long long)item.version);
        taken++;
    }
    snprintf(text, sizeof(text), "%llu", more ? (unsigned long long)cursor : 0ULL);
    kw_str_resp_array(call->out, 2);
    kw_str_resp_text(call->out, text);
    kw_str_resp_array(call->out, (size_t)taken * 3);
    if (page.len) kw_str_append(call->out, page.data, page.len);
    kw_str_deinit(&page);
}

/* ---- CONFIG GET: sorted by name, each name once */

static bool matches_any(const struct kw_door_call *call, const struct kw_ptable_item *item) {
    for (size_t i = 0; i < call->arg_count; i++) {
        if (kw_glob_match(call->args[i].data, call->args[i].len, item->key, item->key_len, false)) return true;
    }
    return false;
}

static int by_key(const void *a, const void *b) {
    const struct kw_ptable_item *one = a, *two = b;
    size_t least = one->key_len < two->key_len ? one->key_len : two->key_len;
    int cmp = memcmp(one->key, two->key, least);
    return cmp ? cmp : (one->key_len > two->key_len) - (one->key_len < two->key_len);
}

static bool is_literal(const struct kw_arg *pattern) {
    for (size_t i = 0; i < pattern->len; i++) {
        if (strchr("*?[\\", pattern->data[i])) return false; /* a NUL, too: the long way serves it as well */
    }
    return true;
}

void kw_door_table_config_get(struct kw_door_call *call) {
    const struct kw_ptable *table = table_of(call, KW_META_CONFIG);
    size_t room = kw_ptable_count(table), count = 0;
    struct kw_ptable_item *items = kw_calloc(room + 1, sizeof(*items));
    if (call->arg_count == 1 && is_literal(&call->args[0])) {
        count = kw_ptable_get(table, call->args[0].data, call->args[0].len, &items[0]);
    } else {
        uint64_t cursor = 0;
        while (count < room && kw_ptable_next(table, &cursor, &items[count])) count += matches_any(call, &items[count]);
    }
    if (count) qsort(items, count, sizeof(*items), by_key);
    kw_str_resp_map(call->out, call->resp, count);
    for (size_t i = 0; i < count; i++) {
        kw_str_resp_bulk(call->out, items[i].key, items[i].key_len);
        kw_str_resp_bulk(call->out, items[i].value, items[i].value_len);
    }
    kw_free(items);
}

/* ---- writing */

static struct kw_record record_of(enum kw_record_type type, const struct kw_door_table *table, const struct kw_arg *key,
                                  const struct kw_arg *value, uint64_t expect) {
    return (struct kw_record){
        .type = type,
        .table = (unsigned)table->table,
        .expect = expect,
        .key = key->data,
        .key_len = key->len,
        .value = value ? value->data : NULL,
        .value_len = value ? value->len : 0,
    };
}

void kw_door_put(struct kw_door_call *call) {
    struct kw_door_table table;
    uint64_t expect;
    const struct kw_arg *key = &call->args[1], *value = &call->args[2];
    if (!kw_door_table_find(call->out, &call->args[0], &table) ||
        !kw_door_expect(call->out, call->args + 3, call->arg_count - 3, true, &expect) ||
        !kw_door_table_fits(call->out, &table, key, value))
        return;
    struct kw_record record = record_of(KW_RECORD_PUT, &table, key, value, expect);
    kw_door_submit(call, &record, kw_door_answer_version);
}

void kw_door_delete(struct kw_door_call *call) {
    struct kw_door_table table;
    uint64_t expect;
    const struct kw_arg *key = &call->args[1];
    if (!kw_door_table_find(call->out, &call->args[0], &table) ||
        !kw_door_expect(call->out, call->args + 2, call->arg_count - 2, false, &expect) ||
        !kw_door_table_fits(call->out, &table, key, NULL))
        return;
    struct kw_record record = record_of(KW_RECORD_DELETE, &table, key, NULL, expect);
    kw_door_submit(call, &record, kw_door_answer_deleted);
}

static bool config_table(struct kw_door_call *call, struct kw_door_table *table) {
    static const struct kw_arg name = {"config", 6};
    return kw_door_table_find(call->out, &name, table);
}

void kw_door_table_config_set(struct kw_door_call *call) {
    struct kw_door_table table;
    if (!config_table(call, &table) || !kw_door_table_fits(call->out, &table, &call->args[0], &call->args[1])) return;
    struct kw_record record = record_of(KW_RECORD_PUT, &table, &call->args[0], &call->args[1], KW_EXPECT_ANY);
    kw_door_submit(call, &record, kw_door_answer_ok);
}

/* One record a key, in one entry as a rule; the answer is how many there were, or the first failure. */
static void on_key_deleted(void *ctx, int code, const struct kw_meta_result *result) {
    struct kw_door_slot *slot = ctx;
    if (code && !slot->code) slot->code = code;
    if (!code) slot->count += result->code == 0;
    if (--slot->waiting > 0) return;
    if (slot->session && slot->code) {
        kw_door_outcome(slot->door, &slot->reply, slot->code);
    } else {
        kw_str_resp_int(&slot->reply, slot->count);
    }
    kw_door_slot_done(slot);
}

void kw_door_table_config_del(struct kw_door_call *call) {
    struct kw_door_table table;
    if (!config_table(call, &table)) return;
    for (size_t i = 0; i < call->arg_count; i++) {
        if (!kw_door_table_fits(call->out, &table, &call->args[i], NULL)) return;
    }
    struct kw_door_slot *slot = kw_door_later(call);
    slot->waiting = 1; /* until all are submitted */
    for (size_t i = 0; i < call->arg_count; i++) {
        struct kw_record record = record_of(KW_RECORD_DELETE, &table, &call->args[i], NULL, KW_EXPECT_ANY);
        kw_door_request_id(record.request_id, call, (unsigned)i);
        kw_door_submit_more(slot, &record, on_key_deleted);
    }
    static const struct kw_meta_result nothing = {.code = KW_EUNKNOWN};
    on_key_deleted(slot, 0, &nothing);
}
