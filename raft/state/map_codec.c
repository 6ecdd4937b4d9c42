/*
 * A map as bytes:
 *
 *   "KWMP", u8 format, u8 flags (1: standalone), u16 nodes, u64 version, u64 highest epoch
 *   nodes: 40 bytes id, u8 flags (1: primary, 2: failed), u16 port, u16 its primary + 1 (0: unknown), u64 epoch,
 *          u8 host length, host
 *   slots, in order: runs of u16 slots, u16 owner + 1 (0: none)
 *   u64 checksum
 *
 * One map has one encoding: neighbouring runs differ. Lengths are checked
 * before anything is allocated by them.
 */
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/state/hash.h"
#include "raft/state/map_internal.h"

enum { FORMAT = 1, FLAG_STANDALONE = 1, FLAG_PRIMARY = 1, FLAG_FAILED = 2, SEED = 0x6d6170 /* "map" */ };

static const char mark[4] = {'K', 'W', 'M', 'P'};

void kw_map_seal(struct kw_str *out, size_t start) {
    kw_str_append_number(out, KW_MAP_SUM, kw_hash64(out->data + start, out->len - start, SEED));
}

bool kw_map_open(struct kw_reader *reader, const void *bytes, size_t len) {
    const unsigned char *at = bytes;
    if (len < KW_MAP_SUM) return false;
    *reader = (struct kw_reader){at, at + len - KW_MAP_SUM, false};
    return kw_get64(reader->end) == kw_hash64(at, len - KW_MAP_SUM, SEED);
}

void kw_map_encode_node(struct kw_str *out, const struct kw_map_node *node) {
    size_t host_len = strlen(node->host);
    kw_str_append(out, node->id, KW_TOPO_ID_LEN);
    kw_str_append_number(out, 1, (node->primary ? FLAG_PRIMARY : 0U) | (node->failed ? FLAG_FAILED : 0U));
    kw_str_append_number(out, 2, node->port);
    kw_str_append_number(out, 2, (uint64_t)node->primary_index + 1);
    kw_str_append_number(out, 8, node->config_epoch);
    kw_str_append_number(out, 1, host_len);
    kw_str_append(out, node->host, host_len);
}

bool kw_map_decode_node(struct kw_map_node *node, struct kw_reader *reader) {
    memset(node, 0, sizeof(*node));
    const unsigned char *id = kw_reader_take(reader, KW_TOPO_ID_LEN);
    unsigned flags = (unsigned)kw_reader_number(reader, 1);
    node->port = (unsigned)kw_reader_number(reader, 2);
    node->primary_index = (int)kw_reader_number(reader, 2) - 1;
    node->config_epoch = kw_reader_number(reader, 8);
    size_t host_len = (size_t)kw_reader_number(reader, 1);
    const unsigned char *host = kw_reader_take(reader, host_len);
    if (!id || !host || flags > (FLAG_PRIMARY | FLAG_FAILED)) return false;
    memcpy(node->id, id, KW_TOPO_ID_LEN);
    memcpy(node->host, host, host_len);
    node->primary = flags & FLAG_PRIMARY;
    node->failed = flags & FLAG_FAILED;
    return strlen(node->id) == KW_TOPO_ID_LEN && strlen(node->host) == host_len;
}

void kw_map_encode(struct kw_str *out, const struct kw_map *map) {
    size_t start = out->len;
    KW_ASSERT(map->node_count <= KW_TOPO_NODES_MAX);
    kw_str_append(out, mark, sizeof(mark));
    kw_str_append_number(out, 1, FORMAT);
    kw_str_append_number(out, 1, map->standalone ? FLAG_STANDALONE : 0);
    kw_str_append_number(out, 2, map->node_count);
    kw_str_append_number(out, 8, map->version);
    kw_str_append_number(out, 8, map->highest_epoch);
    for (unsigned i = 0; i < map->node_count; i++) kw_map_encode_node(out, &map->nodes[i]);
    for (unsigned slot = 0, first = 0; slot < KW_SLOT_COUNT; first = slot) {
        while (slot < KW_SLOT_COUNT && map->owner[slot] == map->owner[first]) slot++;
        kw_str_append_number(out, 2, slot - first);
        kw_str_append_number(out, 2, (uint64_t)map->owner[first] + 1);
    }
    kw_map_seal(out, start);
}

static bool decode_slots(struct kw_map *map, struct kw_reader *reader) {
    int before = -2;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT;) {
        unsigned count = (unsigned)kw_reader_number(reader, 2);
        int owner = (int)kw_reader_number(reader, 2) - 1;
        if (count == 0 || count > KW_SLOT_COUNT - slot || owner == before || owner > INT16_MAX) return false;
        for (unsigned end = slot + count; slot < end; slot++) map->owner[slot] = (int16_t)owner;
        before = owner;
    }
    return kw_reader_left(reader) == 0 && !reader->bad;
}

int kw_map_decode(struct kw_map **out, const void *bytes, size_t len) {
    struct kw_reader reader;
    if (!kw_map_open(&reader, bytes, len)) return KW_EPROTOCOL;
    const unsigned char *start = kw_reader_take(&reader, sizeof(mark));
    if (!start || memcmp(start, mark, sizeof(mark)) != 0) return KW_EPROTOCOL;
    unsigned format = (unsigned)kw_reader_number(&reader, 1), flags = (unsigned)kw_reader_number(&reader, 1);
    if (format > FORMAT) return KW_EUNKNOWN;
    unsigned nodes = (unsigned)kw_reader_number(&reader, 2);
    if (format == 0 || flags > FLAG_STANDALONE || nodes > kw_reader_left(&reader) / KW_MAP_NODE_BYTES) {
        return KW_EPROTOCOL;
    }
    struct kw_map *map = kw_map_new_try(nodes);
    if (!map) return KW_ENOMEM;
    map->standalone = flags & FLAG_STANDALONE;
    map->version = kw_reader_number(&reader, 8);
    map->highest_epoch = kw_reader_number(&reader, 8);
    bool ok = true;
    for (unsigned i = 0; ok && i < nodes; i++) ok = kw_map_decode_node(&map->nodes[i], &reader);
    if (!ok || !decode_slots(map, &reader) || !kw_map_valid(map)) {
        kw_map_unref(map);
        return KW_EPROTOCOL;
    }
    *out = map;
    return 0;
}
