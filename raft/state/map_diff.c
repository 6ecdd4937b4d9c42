/*
 * The difference of two maps, for proxies that have the older one:
 *
 *   "KWMD", u8 format, u8 flags (1: standalone), u16 nodes gone, u16 nodes new or changed, u16 runs of slots
 *   u64 version it starts at, u64 version it leads to, u64 highest epoch, u64 checksum of the older, of the newer map
 *   u16 place in the older map of each node that is gone; the new and changed nodes (map_codec.c);
 *   runs: u16 first slot, u16 slots, u16 owner + 1 in the newer map
 *   u64 checksum
 *
 * Nodes are known by their id: a node that only got another place in the list
 * is no change, and neither are its slots. The checksums say that it starts
 * from the right map and led to the right one.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/map_internal.h"

enum { FORMAT = 1, FLAG_STANDALONE = 1 };

static const char mark[4] = {'K', 'W', 'M', 'D'};

struct head {
    unsigned flags, gone, changed, runs;
    uint64_t from_version, version, highest_epoch, from_sum, sum;
};

enum { COUNTS_AT = 6 }; /* from its start */

/* The checksum at the end of a map's encoding: what tells it from any other. */
static uint64_t map_sum(const struct kw_map *map) {
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, map);
    uint64_t sum = kw_get64(bytes.data + bytes.len - KW_MAP_SUM);
    kw_str_deinit(&bytes);
    return sum;
}

/* Where each node of `from` is in `to`; -1: gone. Both are sorted by id. Own. */
static int *places(const struct kw_map *from, const struct kw_map *to) {
    int *place = kw_malloc(from->node_count * sizeof(*place));
    unsigned j = 0;
    for (unsigned i = 0; i < from->node_count; i++) {
        while (j < to->node_count && strcmp(to->nodes[j].id, from->nodes[i].id) < 0) j++;
        bool same = j < to->node_count && strcmp(to->nodes[j].id, from->nodes[i].id) == 0;
        place[i] = same ? (int)j : -1;
    }
    return place;
}

static int moved(const int *place, int index) {
    return index < 0 ? -1 : place[index];
}

/* ---- making one ---- */

static unsigned write_gone(struct kw_str *out, const struct kw_map *from, const int *place) {
    unsigned gone = 0;
    for (unsigned i = 0; i < from->node_count; i++) {
        if (place[i] >= 0) continue;
        kw_str_append_number(out, 2, i);
        gone++;
    }
    return gone;
}

static unsigned write_changed(struct kw_str *out, const struct kw_map *from, const struct kw_map *to,
                              const int *place) {
    unsigned changed = 0, i = 0;
    for (unsigned j = 0; j < to->node_count; j++) {
        while (i < from->node_count && place[i] < (int)j) i++;
        if (i < from->node_count && place[i] == (int)j) {
            struct kw_map_node was = from->nodes[i];
            was.primary_index = moved(place, was.primary_index);
            if (kw_map_node_equal(&was, &to->nodes[j])) continue;
        }
        kw_map_encode_node(out, &to->nodes[j]);
        changed++;
    }
    return changed;
}

static unsigned write_runs(struct kw_str *out, const struct kw_map *from, const struct kw_map *to, const int *place) {
    unsigned runs = 0;
    for (unsigned slot = 0, first; slot < KW_SLOT_COUNT;) {
        int owner = to->owner[slot];
        for (first = slot; slot < KW_SLOT_COUNT; slot++) {
            if (to->owner[slot] != owner || moved(place, from->owner[slot]) == owner) break;
        }
        if (slot == first) {
            slot++;
            continue;
        }
        kw_str_append_number(out, 2, first);
        kw_str_append_number(out, 2, slot - first);
        kw_str_append_number(out, 2, (uint64_t)owner + 1);
        runs++;
    }
    return runs;
}

bool kw_map_diff(struct kw_str *out, const struct kw_map *from, const struct kw_map *to) {
    struct kw_str whole = {0};
    size_t start = out->len;
    int *place = places(from, to);

    kw_map_encode(&whole, to);
    kw_str_append(out, mark, sizeof(mark));
    kw_str_append_number(out, 1, FORMAT);
    kw_str_append_number(out, 1, to->standalone ? FLAG_STANDALONE : 0);
    kw_str_append_number(out, 6, 0); /* the counts, once known */
    kw_str_append_number(out, 8, from->version);
    kw_str_append_number(out, 8, to->version);
    kw_str_append_number(out, 8, to->highest_epoch);
    kw_str_append_number(out, 8, map_sum(from));
    kw_str_append_number(out, 8, kw_get64(whole.data + whole.len - KW_MAP_SUM));
    unsigned gone = write_gone(out, from, place);
    unsigned changed = write_changed(out, from, to, place);
    unsigned runs = write_runs(out, from, to, place);
    kw_put16(out->data + start + COUNTS_AT, (uint16_t)gone);
    kw_put16(out->data + start + COUNTS_AT + 2, (uint16_t)changed);
    kw_put16(out->data + start + COUNTS_AT + 4, (uint16_t)runs);
    kw_map_seal(out, start);

    bool shorter = out->len - start < whole.len;
    if (!shorter) {
        out->len = start;
        out->data[start] = '\0';
    }
    kw_str_deinit(&whole);
    kw_free(place);
    return shorter;
}

/* ---- following one ---- */

static int read_head(struct head *head, struct kw_reader *reader) {
    const unsigned char *start = kw_reader_take(reader, sizeof(mark));
    if (!start || memcmp(start, mark, sizeof(mark)) != 0) return KW_EPROTOCOL;
    unsigned format = (unsigned)kw_reader_number(reader, 1);
    if (format > FORMAT) return KW_EUNKNOWN;
    head->flags = (unsigned)kw_reader_number(reader, 1);
    head->gone = (unsigned)kw_reader_number(reader, 2);
    head->changed = (unsigned)kw_reader_number(reader, 2);
    head->runs = (unsigned)kw_reader_number(reader, 2);
    head->from_version = kw_reader_number(reader, 8);
    head->version = kw_reader_number(reader, 8);
    head->highest_epoch = kw_reader_number(reader, 8);
    head->from_sum = kw_reader_number(reader, 8);
    head->sum = kw_reader_number(reader, 8);
    return format == 0 || reader->bad || head->flags > FLAG_STANDALONE ? KW_EPROTOCOL : 0;
}

/* Marks the nodes of `from` that go. Their places stand in rising order. */
static bool read_gone(bool *goes, const struct kw_map *from, unsigned count, struct kw_reader *reader) {
    int before = -1;
    for (unsigned i = 0; i < count; i++) {
        int place = (int)kw_reader_number(reader, 2);
        if (place <= before || place >= (int)from->node_count) return false;
        goes[place] = true;
        before = place;
    }
    return !reader->bad;
}

/*
 * The node list of the new map: those of `from` that stay and those that came or changed, in the order of their ids.
 * The changed ones know their primary's new place, the others their primary's old one: `old` remembers which.
 */
static bool merge_nodes(struct kw_map *map, bool *old, const struct kw_map *from, const bool *goes,
                        const struct kw_map_node *changed, unsigned changed_count) {
    unsigned count = 0, room = map->node_count, i = 0, j = 0;
    while (i < from->node_count || j < changed_count) {
        int order = i == from->node_count ? 1 : j == changed_count ? -1 : strcmp(from->nodes[i].id, changed[j].id);
        bool keep = order < 0 && !goes[i];
        if (order <= 0 && goes[i] && order == 0) return false; /* gone and changed at once */
        if (keep || order >= 0) {
            if (count == room) return false;
            old[count] = keep;
            map->nodes[count++] = keep ? from->nodes[i] : changed[j];
        }
        i += order <= 0;
        j += order >= 0;
    }
    map->node_count = count;
    return true;
}

static bool read_runs(struct kw_map *map, unsigned count, struct kw_reader *reader) {
    for (unsigned i = 0; i < count; i++) {
        unsigned first = (unsigned)kw_reader_number(reader, 2), slots = (unsigned)kw_reader_number(reader, 2);
        int owner = (int)kw_reader_number(reader, 2) - 1;
        if (first >= KW_SLOT_COUNT || slots > KW_SLOT_COUNT - first || owner > INT16_MAX) return false;
        for (unsigned slot = first; slot < first + slots; slot++) map->owner[slot] = (int16_t)owner;
    }
    return !reader->bad && kw_reader_left(reader) == 0;
}

/* Memory that following a difference needs beside the map. */
struct scratch {
    bool *goes, *old;
    struct kw_map_node *changed;
    int *place;
};

static bool follow(struct kw_map *map, const struct kw_map *from, const struct head *head, struct scratch *s,
                   struct kw_reader *reader) {
    if (!read_gone(s->goes, from, head->gone, reader)) return false;
    for (unsigned i = 0; i < head->changed; i++) {
        if (!kw_map_decode_node(&s->changed[i], reader)) return false;
    }
    if (!merge_nodes(map, s->old, from, s->goes, s->changed, head->changed)) return false;
    s->place = places(from, map);
    for (unsigned i = 0; i < map->node_count; i++) {
        if (s->old[i]) map->nodes[i].primary_index = moved(s->place, map->nodes[i].primary_index);
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        map->owner[slot] = (int16_t)moved(s->place, from->owner[slot]);
    }
    return read_runs(map, head->runs, reader) && kw_map_valid(map);
}

static int patch(struct kw_map **out, const struct kw_map *from, const struct head *head, struct kw_reader *reader) {
    unsigned room = from->node_count + head->changed;
    struct kw_map *map = kw_map_new_try(room);
    struct scratch s = {kw_calloc_try(from->node_count, sizeof(*s.goes)), kw_calloc_try(room, sizeof(*s.old)),
                        kw_calloc_try(head->changed, sizeof(*s.changed)), NULL};
    int rc = KW_ENOMEM;

    if (map && s.goes && s.old && s.changed) {
        map->version = head->version;
        map->highest_epoch = head->highest_epoch;
        map->standalone = head->flags & FLAG_STANDALONE;
        rc = follow(map, from, head, &s, reader) && map_sum(map) == head->sum ? 0 : KW_EPROTOCOL;
    }
    kw_free(s.goes);
    kw_free(s.old);
    kw_free(s.changed);
    kw_free(s.place);
    if (rc != 0) {
        kw_map_unref(map);
        return rc;
    }
    *out = map;
    return 0;
}

int kw_map_patch(struct kw_map **out, const struct kw_map *from, const void *bytes, size_t len) {
    struct kw_reader reader;
    struct head head;
    if (!kw_map_open(&reader, bytes, len)) return KW_EPROTOCOL;
    int rc = read_head(&head, &reader);
    if (rc != 0) return rc;
    if (head.from_version != from->version || head.from_sum != map_sum(from)) return KW_EINVALID;
    if (head.changed > kw_reader_left(&reader) / KW_MAP_NODE_BYTES) return KW_EPROTOCOL;
    return patch(out, from, &head, &reader);
}
