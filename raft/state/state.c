/*
 * Applying entries. An entry is read through before its first record is
 * applied, so that one that cannot be read changes nothing. Each record then
 * gets its result: from the memory of requests where its id is known,
 * otherwise from the function of its type.
 *
 * Versions count writes, and are never below the index of the entry that wrote:
 * two writes of one entry have different ones, and no version comes back after
 * a restore.
 */
#include "raft/state/state.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/state_internal.h"

void kw_meta_state_init(struct kw_meta_state *state) {
    *state = (struct kw_meta_state){.map = kw_map_empty(), .parts = kw_ptable_new()};
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) state->tables[i] = kw_ptable_new();
}

void kw_meta_state_deinit(struct kw_meta_state *state) {
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) kw_ptable_free(state->tables[i]);
    kw_ptable_free(state->parts);
    kw_requests_deinit(&state->requests);
    kw_map_unref(state->map);
}

struct kw_meta_state *kw_meta_state_new(void) {
    struct kw_meta_state *state = kw_malloc(sizeof(*state));
    kw_meta_state_init(state);
    return state;
}

void kw_meta_state_free(struct kw_meta_state *state) {
    if (!state) return;
    kw_meta_state_deinit(state);
    kw_free(state);
}

uint64_t kw_meta_state_index(const struct kw_meta_state *state) {
    return state->index;
}

uint64_t kw_meta_state_recovery_epoch(const struct kw_meta_state *state) {
    return state->recovery_epoch;
}

struct kw_map *kw_meta_state_map(const struct kw_meta_state *state) {
    return state->map;
}

const struct kw_ptable *kw_meta_state_table(const struct kw_meta_state *state, enum kw_meta_table table) {
    KW_ASSERT((unsigned)table < KW_META_TABLE_COUNT);
    return state->tables[table];
}

size_t kw_meta_state_bytes(const struct kw_meta_state *state) {
    size_t bytes = sizeof(*state) + kw_ptable_bytes(state->parts) + kw_requests_bytes(&state->requests);
    for (unsigned i = 0; i < KW_META_TABLE_COUNT; i++) bytes += kw_ptable_bytes(state->tables[i]);
    return bytes + sizeof(*state->map) + state->map->node_count * sizeof(*state->map->nodes);
}

/* The version of a write that is about to be done. */
static uint64_t next_version(struct kw_meta_state *state) {
    state->clock = state->clock + 1 > state->index ? state->clock + 1 : state->index;
    return state->clock;
}

/* Proxies register by themselves: that is no use of the service that a restore would undo. */
static void note_write(struct kw_meta_state *state, bool counts) {
    if (!counts || state->touched) return;
    state->touched = true;
    kw_meta_drop_parts(state);
}

/* ---- tables ---- */

/* Whether what the record expects holds; the version that stands there (0: none) in `result`. */
static bool expectation_holds(const struct kw_meta_state *state, const struct kw_record *record,
                              struct kw_meta_result *result) {
    struct kw_ptable_item item;
    bool there = kw_ptable_get(state->tables[record->table], record->key, record->key_len, &item);
    result->version = there ? item.version : 0;
    if (record->expect == KW_EXPECT_ANY || record->expect == result->version) return true;
    result->code = KW_ECONFLICT;
    return false;
}

static void apply_put(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    struct kw_ptable *table = state->tables[record->table];
    if (!expectation_holds(state, record, result)) return;
    if (result->version == 0 && kw_ptable_count(table) >= kw_meta_tables[record->table].count_max) {
        result->code = KW_ELIMIT;
        return;
    }
    result->version = next_version(state);
    kw_ptable_put(table, record->key, record->key_len, record->value, record->value_len, result->version);
    note_write(state, record->table != KW_META_PROXIES);
}

static void apply_delete(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    if (!expectation_holds(state, record, result)) return;
    if (result->version == 0) {
        result->code = KW_EUNKNOWN;
        return;
    }
    kw_ptable_delete(state->tables[record->table], record->key, record->key_len);
    result->version = next_version(state);
    note_write(state, record->table != KW_META_PROXIES);
}

/* ---- the map ---- */

static bool map_expected(const struct kw_meta_state *state, const struct kw_record *record,
                         struct kw_meta_result *result) {
    result->version = state->map->version;
    if (record->expect == state->map->version) return true;
    result->code = KW_ECONFLICT;
    return false;
}

/* Takes over the reference to `map`. */
static void replace_map(struct kw_meta_state *state, struct kw_map *map, struct kw_meta_result *result) {
    if (map->highest_epoch < state->map->highest_epoch) map->highest_epoch = state->map->highest_epoch;
    for (unsigned i = 0; i < map->node_count; i++) {
        if (map->highest_epoch < map->nodes[i].config_epoch) map->highest_epoch = map->nodes[i].config_epoch;
    }
    map->version = state->map->version + 1;
    kw_map_unref(state->map);
    state->map = map;
    result->version = map->version;
    note_write(state, true);
}

static void apply_map(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    struct kw_map *map = NULL;
    if (!map_expected(state, record, result)) return;
    int rc = kw_map_decode(&map, record->value, record->value_len);
    KW_ASSERT(rc != KW_ENOMEM); /* one member must not come to another result than the others */
    if (rc == 0 && map->node_count > 0) {
        replace_map(state, map, result);
        return;
    }
    kw_map_unref(map);
    *result = (struct kw_meta_result){.code = KW_EINVALID};
}

static void apply_detach(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    if (map_expected(state, record, result)) replace_map(state, kw_map_empty(), result);
}

static void apply_nop(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    (void)state, (void)record, (void)result;
}

/* ---- entries ---- */

typedef void apply_fn(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result);

static apply_fn *const apply_of[] = {
    [KW_RECORD_PUT] = apply_put,       [KW_RECORD_DELETE] = apply_delete, [KW_RECORD_MAP] = apply_map,
    [KW_RECORD_DETACH] = apply_detach, [KW_RECORD_NOP] = apply_nop,       [KW_RECORD_RESTORE] = kw_meta_apply_restore,
};

static bool has_request_id(const struct kw_record *record) {
    static const unsigned char none[KW_REQUEST_ID_SIZE];
    return memcmp(record->request_id, none, sizeof(none)) != 0;
}

static void apply_record(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result) {
    bool id = has_request_id(record);
    struct kw_meta_result known;
    *result = (struct kw_meta_result){0};
    if (id && kw_requests_find(&state->requests, record->request_id, result)) return;
    result->code = kw_record_check(record);
    if (result->code == 0) apply_of[record->type](state, record, result);
    /* A restored backup may bring the id of the very record that restored it. */
    if (id && !kw_requests_find(&state->requests, record->request_id, &known)) {
        kw_requests_add(&state->requests, record->request_id, result);
    }
}

static int check_entry(const void *entry, size_t len) {
    struct kw_entry_reader reader;
    struct kw_record record;
    int rc = kw_entry_open(&reader, entry, len);
    if (rc != 0) return rc;
    do {
        rc = kw_entry_next(&reader, &record);
    } while (rc > 0);
    return rc;
}

int kw_meta_state_apply(struct kw_meta_state *state, uint64_t index, const void *entry, size_t len,
                        kw_meta_result_fn *fn, void *ctx) {
    if (index <= state->index || index > KW_META_NUMBER_MAX) return KW_ERANGE;
    int rc = check_entry(entry, len);
    if (rc != 0) return rc;

    struct kw_entry_reader reader;
    struct kw_record record;
    struct kw_meta_result result;
    kw_entry_open(&reader, entry, len);
    state->index = index;
    for (unsigned nth = 0; kw_entry_next(&reader, &record) > 0; nth++) {
        apply_record(state, &record, &result);
        if (fn) fn(ctx, nth, &result);
    }
    return 0;
}
