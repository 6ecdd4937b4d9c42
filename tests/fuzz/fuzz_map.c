/*
 * Maps and their differences from a peer. The input is a length (two bytes,
 * least significant first), a map of that length, and a second map or a
 * difference; each is tried as it is and with its checksum put right. A map
 * that is read is written as the same bytes, and its text is one that the
 * parser of CLUSTER NODES takes. From one map to the other a difference leads
 * exactly there.
 */
#include <stdint.h>
#include <string.h>

#include "base/base.h"
#include "base/str.h"
#include "raft/state/bytes.h"
#include "raft/state/map.h"
#include "raft/state/map_internal.h"

enum { DIFF_FROM_VERSION = 12, DIFF_FROM_SUM = 36, DIFF_HEAD = 52 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check_text(const struct kw_map *map) {
    struct kw_str text = {0};
    struct kw_topo_view *view = NULL;
    kw_map_nodes_text(&text, map, 0);
    int rc = kw_topo_view_parse(&view, text.data ? text.data : "", text.len, "10.0.0.1");
    KW_ASSERT((rc == 0) == (map->node_count > 0));
    kw_topo_view_free(view);
    kw_str_deinit(&text);
}

/* The map that the bytes are, with their checksum put right; NULL: they are none. */
static struct kw_map *read_map(const uint8_t *data, size_t size) {
    struct kw_map *map = NULL;
    struct kw_str bytes = {0}, again = {0};
    if (kw_map_decode(&map, data, size) == 0) kw_map_unref(map);
    map = NULL;
    kw_str_append(&bytes, data, size < KW_MAP_SUM ? 0 : size - KW_MAP_SUM);
    kw_map_seal(&bytes, 0);
    if (kw_map_decode(&map, bytes.data, bytes.len) == 0) {
        kw_map_encode(&again, map);
        KW_ASSERT(again.len == bytes.len && memcmp(again.data, bytes.data, bytes.len) == 0);
        check_text(map);
    }
    kw_str_deinit(&bytes);
    kw_str_deinit(&again);
    return map;
}

static void check_diff(const struct kw_map *from, const struct kw_map *to) {
    struct kw_str diff = {0};
    struct kw_map *there = NULL;
    if (kw_map_diff(&diff, from, to)) {
        KW_ASSERT(kw_map_patch(&there, from, diff.data, diff.len) == 0);
        KW_ASSERT(kw_map_equal(there, to) && there->version == to->version);
        KW_ASSERT(there->highest_epoch == to->highest_epoch);
        kw_map_unref(there);
    }
    kw_str_deinit(&diff);
}

/* The bytes as a difference that starts at `from`. */
static void try_patch(const struct kw_map *from, const uint8_t *data, size_t size) {
    struct kw_map *there = NULL;
    struct kw_str bytes = {0}, whole = {0};
    if (kw_map_patch(&there, from, data, size) == 0) kw_map_unref(there);
    kw_map_encode(&whole, from);
    kw_str_append(&bytes, data, size < KW_MAP_SUM ? 0 : size - KW_MAP_SUM);
    if (bytes.len >= DIFF_HEAD) {
        kw_put64(bytes.data + DIFF_FROM_VERSION, from->version);
        kw_put64(bytes.data + DIFF_FROM_SUM, kw_get64(whole.data + whole.len - KW_MAP_SUM));
    }
    kw_map_seal(&bytes, 0);
    if (kw_map_patch(&there, from, bytes.data, bytes.len) == 0) {
        KW_ASSERT(kw_map_valid(there));
        kw_map_unref(there);
    }
    kw_str_deinit(&bytes);
    kw_str_deinit(&whole);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t first = kw_get16(data);
    data += 2;
    size -= 2;
    if (first > size) first = size;
    struct kw_map *from = read_map(data, first), *to = read_map(data + first, size - first);
    if (from && to) {
        check_diff(from, to);
        check_diff(to, from);
    }
    if (from) try_patch(from, data + first, size - first);
    kw_map_unref(from);
    kw_map_unref(to);
    return 0;
}
