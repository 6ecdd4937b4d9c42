/*
 * The state as a snapshot, and back:
 *
 *   "KWMETA", u16 format, u64 bytes in all, u64 index, u64 recovery epoch, u64 clock, u64 requests ever remembered,
 *   u64 bytes of the backup that is coming in, u32 flags (1: touched), u32 tables, u32 bytes of the map, u32 0,
 *   u64 checksum of these; the map (map.h); the parts of that backup, then the tables in their order (table.h);
 *   the pages of the requests (pages.h)
 *
 * A snapshot of an older version has fewer tables: the others are empty then.
 * Loading builds a state beside the present one and puts it in its place at
 * the end, so that a failure changes nothing.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/state_internal.h"

enum { FORMAT = 1, HEADER = 80, HEADER_SUMMED = 72, TOTAL_AT = 8, FLAG_TOUCHED = 1, SEED = 0x6d657461 /* "meta" */ };
enum { TABLES = KW_META_TABLE_COUNT + 1 }; /* and the parts */

static const char mark[6] = {'K', 'W', 'M', 'E', 'T', 'A'};

struct kw_meta_image {
    struct kw_str head; /* header and map */
    struct kw_ptable_image *tables[TABLES];
    struct kw_pages_image requests;
    struct kw_piece *pieces; /* own */
    size_t piece_count;
    size_t bytes;
};

/* Table `nth` of a snapshot. */
static struct kw_ptable **table_place(struct kw_meta_state *state, unsigned nth) {
    return nth == 0 ? &state->parts : &state->tables[nth - 1];
}

static void write_head(struct kw_str *out, const struct kw_meta_state *state) {
    kw_str_append(out, mark, sizeof(mark));
    kw_str_append_number(out, 2, FORMAT);
    kw_str_append_number(out, 8, 0); /* bytes in all, once known */
    kw_str_append_number(out, 8, state->index);
    kw_str_append_number(out, 8, state->recovery_epoch);
    kw_str_append_number(out, 8, state->clock);
    kw_str_append_number(out, 8, state->requests.added);
    kw_str_append_number(out, 8, state->parts_total);
    kw_str_append_number(out, 4, state->touched ? FLAG_TOUCHED : 0);
    kw_str_append_number(out, 4, TABLES);
    kw_str_append_number(out, 8, 0); /* bytes of the map, once known, and zeros */
    kw_str_append_number(out, 8, 0); /* the checksum */
    kw_map_encode(out, state->map);
    kw_put32(out->data + HEADER_SUMMED - 8, (uint32_t)(out->len - HEADER));
}

/* Lists what is to be written one behind the other: once, for the list itself is megabytes long. */
static void collect_pieces(struct kw_meta_image *image) {
    image->piece_count = 1 + image->requests.count;
    for (unsigned i = 0; i < TABLES; i++) image->piece_count += kw_ptable_image_count(image->tables[i]);
    image->pieces = kw_malloc(image->piece_count * sizeof(*image->pieces));
    struct kw_piece *at = image->pieces;
    *at++ = (struct kw_piece){image->head.data, image->head.len};
    for (unsigned i = 0; i < TABLES; i++) {
        kw_ptable_image_pieces(image->tables[i], at);
        at += kw_ptable_image_count(image->tables[i]);
    }
    kw_pages_image_pieces(&image->requests, at);
    for (size_t i = 0; i < image->piece_count; i++) image->bytes += image->pieces[i].len;
}

struct kw_meta_image *kw_meta_state_freeze(struct kw_meta_state *state) {
    struct kw_meta_image *image = kw_calloc(1, sizeof(*image));
    write_head(&image->head, state);
    for (unsigned i = 0; i < TABLES; i++) image->tables[i] = kw_ptable_freeze(*table_place(state, i));
    kw_pages_freeze(&state->requests.pages, &image->requests);
    collect_pieces(image);
    char *head = image->head.data;
    kw_put64(head + TOTAL_AT, image->bytes);
    kw_put64(head + HEADER_SUMMED, kw_hash64(head, HEADER_SUMMED, SEED));
    return image;
}

const struct kw_piece *kw_meta_image_pieces(const struct kw_meta_image *image, size_t *count) {
    *count = image->piece_count;
    return image->pieces;
}

size_t kw_meta_image_bytes(const struct kw_meta_image *image) {
    return image->bytes;
}

void kw_meta_image_free(struct kw_meta_image *image) {
    if (!image) return;
    for (unsigned i = 0; i < TABLES; i++) kw_ptable_image_free(image->tables[i]);
    kw_pages_image_deinit(&image->requests);
    kw_str_deinit(&image->head);
    kw_free(image->pieces);
    kw_free(image);
}

/* ---- back ---- */

struct loading {
    struct kw_meta_state *state;
    struct kw_reader reader;
    unsigned tables;
    size_t map_len;
    char *why;
    size_t why_size;
};

static int refuse(struct loading *l, int rc, const char *why) {
    snprintf(l->why, l->why_size, "%s", why);
    return rc;
}

static int load_head(struct loading *l, size_t len) {
    const unsigned char *head = kw_reader_take(&l->reader, HEADER);
    if (!head) return refuse(l, KW_EPROTOCOL, "too short for a snapshot");
    if (memcmp(head, mark, sizeof(mark)) != 0) return refuse(l, KW_EPROTOCOL, "no snapshot of keyway-meta");
    if (kw_get64(head + HEADER_SUMMED) != kw_hash64(head, HEADER_SUMMED, SEED)) {
        return refuse(l, KW_EPROTOCOL, "the header is damaged");
    }
    if (kw_get16(head + 6) != FORMAT) return refuse(l, KW_EUNKNOWN, "written by a newer version");
    struct kw_reader fields = {head + TOTAL_AT, head + HEADER_SUMMED, false};
    struct kw_meta_state *state = l->state;
    if (kw_reader_number(&fields, 8) != len) return refuse(l, KW_EPROTOCOL, "cut, or followed by something else");
    state->index = kw_reader_number(&fields, 8);
    state->recovery_epoch = kw_reader_number(&fields, 8);
    state->clock = kw_reader_number(&fields, 8);
    state->requests.added = kw_reader_number(&fields, 8);
    state->parts_total = kw_reader_number(&fields, 8);
    unsigned flags = (unsigned)kw_reader_number(&fields, 4);
    l->tables = (unsigned)kw_reader_number(&fields, 4);
    l->map_len = (size_t)kw_reader_number(&fields, 8);
    state->touched = flags & FLAG_TOUCHED;
    if (l->tables > TABLES || flags > FLAG_TOUCHED) return refuse(l, KW_EUNKNOWN, "written by a newer version");
    bool possible = state->index <= KW_META_NUMBER_MAX && state->recovery_epoch <= KW_META_NUMBER_MAX &&
                    state->clock <= KW_META_NUMBER_MAX;
    return possible ? 0 : refuse(l, KW_EPROTOCOL, "impossible numbers in the header");
}

static int load_map(struct loading *l) {
    const unsigned char *bytes = kw_reader_take(&l->reader, l->map_len);
    struct kw_map *map;
    int rc = bytes ? kw_map_decode(&map, bytes, l->map_len) : KW_EPROTOCOL;
    if (rc != 0) return refuse(l, rc, "the map is damaged");
    kw_map_unref(l->state->map);
    l->state->map = map;
    return map->version <= KW_META_NUMBER_MAX ? 0 : refuse(l, KW_EPROTOCOL, "impossible version of the map");
}

static int load_table(struct loading *l, unsigned nth) {
    struct kw_ptable *table, **place = table_place(l->state, nth);
    const char *name = nth == 0 ? "the backup that was coming in" : kw_meta_tables[nth - 1].name;
    char why[128];
    size_t used;
    int rc = kw_ptable_load(&table, l->reader.at, kw_reader_left(&l->reader), &used, why, sizeof(why));
    if (rc != 0) {
        snprintf(l->why, l->why_size, "%s: %s", name, why);
        return rc;
    }
    kw_ptable_free(*place);
    *place = table;
    kw_reader_take(&l->reader, used);
    return kw_ptable_newest(table) <= l->state->clock ? 0 : refuse(l, KW_EPROTOCOL, "a version from the future");
}

static int load_requests(struct loading *l) {
    struct kw_requests *requests = &l->state->requests;
    size_t pages = kw_requests_pages(requests->added), used;
    int rc = kw_pages_load(&requests->pages, pages, l->reader.at, kw_reader_left(&l->reader), &used);
    if (rc != 0) return refuse(l, rc, "the requests are damaged");
    kw_reader_take(&l->reader, used);
    return kw_requests_adopt(requests) ? 0 : refuse(l, KW_EPROTOCOL, "the requests are not possible ones");
}

static int load_all(struct loading *l, size_t len) {
    int rc = load_head(l, len);
    if (rc == 0) rc = load_map(l);
    for (unsigned i = 0; rc == 0 && i < l->tables; i++) rc = load_table(l, i);
    if (rc == 0 && !kw_meta_parts_valid(l->state)) rc = refuse(l, KW_EPROTOCOL, "impossible parts of a backup");
    if (rc == 0) rc = load_requests(l);
    if (rc == 0 && kw_reader_left(&l->reader) > 0) rc = refuse(l, KW_EPROTOCOL, "bytes behind its end");
    return rc;
}

int kw_meta_state_load(struct kw_meta_state *state, const void *bytes, size_t len, char *why, size_t why_size) {
    struct kw_meta_state fresh;
    struct loading l = {.state = &fresh,
                        .reader = {bytes, (const unsigned char *)bytes + len, false},
                        .why = why,
                        .why_size = why_size};
    kw_meta_state_init(&fresh);
    int rc = load_all(&l, len);
    if (rc != 0) {
        kw_meta_state_deinit(&fresh);
        return rc;
    }
    kw_meta_state_deinit(state);
    *state = fresh;
    return 0;
}
