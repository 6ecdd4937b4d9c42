/*
 * One segment of libraft's log, in memory: is it whole, torn, or damaged?
 *
 *   8 bytes   format, 1
 *   batches:  4 checksum of the header, 4 checksum of the data,
 *             header: 8 number of entries, and for each 8 term, 1 type, 3 unused, 4 length of its data
 *             data of the entries, one behind the other; lengths are multiples of 8
 *
 * All numbers little endian. A closed segment ends with its last batch. An open
 * one was filled with zeros before use; batches are written into it in whole
 * blocks, the next write begins when the last one has ended. So a crash leaves
 * at most one torn write, at the end, whose entries nobody was told of.
 *
 * libraft drops whatever follows the first bad batch of an open segment,
 * acknowledged or not. Here a bad batch counts as torn only if it can be: a
 * disk writes a sector or does not, so something of it must be missing by whole
 * sectors (zeros); a batch of which every sector is there and that is wrong all
 * the same has been damaged. And nothing may lie behind it.
 *
 * Pure; nothing can fail. Reads no byte outside of what it was given.
 */
#include <string.h>

#include "base/crc32.h"
#include "raft/store/disk_internal.h"

enum {
    FORMAT = 1,
    FORMAT_BYTES = 8,
    CHECKSUM_BYTES = 8,
    COUNT_BYTES = 8,
    ENTRY_BYTES = 16,
    ALIGN = 8,
    SECTOR = 512,
    COUNT_MAX = 8 * 1024 * 1024 / 32, /* libraft's own bound */
    COUNT_BITS = 18,
    SEARCH_BUDGET = 1 << 20, /* entries and words looked at in the search for a good batch */
};

enum batch_state {
    BATCH_GOOD,
    BATCH_SHORT,  /* does not fit into the file */
    BATCH_NONE,   /* says that it has no entries */
    BATCH_COUNT,  /* has more than libraft writes */
    BATCH_HEADER, /* checksum of the header */
    BATCH_ENTRY,  /* the header's checksum is right, what it says is not possible */
    BATCH_DATA,   /* checksum of the data */
};

struct batch {
    size_t at, header, header_end, end; /* as far as the state tells them */
    uint64_t count;
};

static uint64_t get64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

static uint32_t get32(const uint8_t *p) {
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static const uint8_t *entry_at(const uint8_t *bytes, const struct batch *batch, uint64_t nth) {
    return bytes + batch->header + COUNT_BYTES + nth * ENTRY_BYTES;
}

static uint64_t entry_term(const uint8_t *entry) {
    return get64(entry);
}

static uint32_t entry_length(const uint8_t *entry) {
    return get32(entry + 12);
}

/* libraft's types: command, barrier, change. */
static bool entry_is_possible(const uint8_t *entry) {
    return entry[8] >= 1 && entry[8] <= 3 && entry_term(entry) > 0 && entry_length(entry) % ALIGN == 0;
}

/* The places that the batch at `at` claims, up to the end of its header. */
static enum batch_state batch_frame(const uint8_t *bytes, size_t len, size_t at, struct batch *out) {
    out->at = at;
    out->header = at + CHECKSUM_BYTES;
    if (len - at < CHECKSUM_BYTES + COUNT_BYTES) return BATCH_SHORT;
    out->count = get64(bytes + out->header);
    if (out->count == 0) return BATCH_NONE;
    if (out->count > COUNT_MAX) return BATCH_COUNT;
    out->header_end = out->header + COUNT_BYTES + (size_t)out->count * ENTRY_BYTES;
    return out->header_end > len ? BATCH_SHORT : BATCH_GOOD;
}

/* Where the data of its entries ends; false: not in this file, or an entry is not possible. */
static bool batch_extent(const uint8_t *bytes, size_t len, struct batch *batch) {
    batch->end = batch->header_end;
    for (uint64_t i = 0; i < batch->count; i++) {
        const uint8_t *entry = entry_at(bytes, batch, i);
        if (!entry_is_possible(entry) || entry_length(entry) > len - batch->end) return false;
        batch->end += entry_length(entry);
    }
    return true;
}

static bool header_matches(const uint8_t *bytes, const struct batch *batch) {
    return get32(bytes + batch->at) == kw_crc32(0, bytes + batch->header, batch->header_end - batch->header);
}

static bool data_matches(const uint8_t *bytes, const struct batch *batch) {
    return get32(bytes + batch->at + 4) == kw_crc32(0, bytes + batch->header_end, batch->end - batch->header_end);
}

static enum batch_state batch_read(const uint8_t *bytes, size_t len, size_t at, struct batch *out) {
    enum batch_state state = batch_frame(bytes, len, at, out);
    if (state != BATCH_GOOD) return state;
    if (!header_matches(bytes, out)) return BATCH_HEADER;
    if (!batch_extent(bytes, len, out)) return BATCH_ENTRY;
    return data_matches(bytes, out) ? BATCH_GOOD : BATCH_DATA;
}

/* First byte in [from, to) that is not zero; `to` if there is none. */
static size_t find_nonzero(const uint8_t *bytes, size_t from, size_t to) {
    static const uint8_t zeros[4096];
    while (to - from >= sizeof(zeros) && memcmp(bytes + from, zeros, sizeof(zeros)) == 0) from += sizeof(zeros);
    while (from < to && bytes[from] == 0) from++;
    return from;
}

/*
 * Is a sector of [from, to) without anything of the write that begins at `begin`? What lies before `begin` in the first
 * sector was there already.
 */
static bool misses_sector(const uint8_t *bytes, size_t len, size_t begin, size_t from, size_t to) {
    for (size_t sector = from / SECTOR * SECTOR; sector < to; sector += SECTOR) {
        size_t first = sector < begin ? begin : sector;
        size_t end = sector + SECTOR < len ? sector + SECTOR : len;
        if (find_nonzero(bytes, first, end) == end) return true;
    }
    return false;
}

/* Is there a good batch at or behind `from`? Also true when it costs too much to tell. */
static bool good_batch_follows(const uint8_t *bytes, size_t len, size_t from) {
    uint64_t spent = 0;
    struct batch batch;
    for (size_t at = from; at < len && spent < SEARCH_BUDGET; at += ALIGN) {
        if (batch_frame(bytes, len, at, &batch) != BATCH_GOOD || !entry_is_possible(entry_at(bytes, &batch, 0))) {
            continue;
        }
        bool possible = batch_extent(bytes, len, &batch);
        spent += batch.count;
        if (!possible) continue;
        spent += batch.count;
        if (header_matches(bytes, &batch)) return true;
    }
    return spent >= SEARCH_BUDGET;
}

/* The one damage to a header that can make it look torn: its number of entries, by one bit. */
static bool count_was_flipped(const uint8_t *bytes, size_t len, const struct batch *bad) {
    for (unsigned bit = 0; bit < COUNT_BITS; bit++) {
        struct batch batch = *bad;
        batch.count ^= 1U << bit;
        if (batch.count == 0 || batch.count > COUNT_MAX) continue;
        batch.header_end = batch.header + COUNT_BYTES + (size_t)batch.count * ENTRY_BYTES;
        if (batch.header_end > len) continue;
        uint8_t count[COUNT_BYTES] = {(uint8_t)batch.count, (uint8_t)(batch.count >> 8), (uint8_t)(batch.count >> 16)};
        uint32_t crc = kw_crc32(0, count, sizeof(count));
        crc = kw_crc32(crc, bytes + batch.header + COUNT_BYTES, batch.header_end - batch.header - COUNT_BYTES);
        if (crc == get32(bytes + batch.at)) return true;
    }
    return false;
}

/* What is wrong with the bad batch at the end of an open segment, or NULL: it is a torn write. */
static const char *why_not_torn(const uint8_t *bytes, size_t len, enum batch_state state, const struct batch *batch) {
    /* The format is written with the first batch. */
    size_t begin = batch->at == FORMAT_BYTES ? 0 : batch->at;
    static const char missing_nothing[] = "a checksum is wrong although the whole batch was written";
    static const char follows[] = "a bad batch with a good one behind it";
    switch (state) {
    case BATCH_NONE:
        /* The sector that should hold the number of entries. */
        if (!misses_sector(bytes, len, begin, batch->header, batch->header + 1)) return missing_nothing;
        return good_batch_follows(bytes, len, batch->at + ALIGN) ? follows : NULL;
    case BATCH_HEADER:
        if (!misses_sector(bytes, len, begin, batch->at, batch->header_end)) return missing_nothing;
        if (count_was_flipped(bytes, len, batch)) return missing_nothing;
        return good_batch_follows(bytes, len, batch->at + ALIGN) ? follows : NULL;
    case BATCH_DATA:
        if (find_nonzero(bytes, batch->end, len) < len) return "a bad batch with more behind it";
        if (!misses_sector(bytes, len, begin, batch->header_end, batch->end)) return missing_nothing;
        return NULL;
    case BATCH_SHORT:
    case BATCH_COUNT:
    case BATCH_ENTRY:
    case BATCH_GOOD: break;
    }
    return "a batch that cannot have been written";
}

static void corrupt(struct kw_segment *out, size_t at, const char *what) {
    out->verdict = KW_SEGMENT_CORRUPT;
    out->at = at;
    out->what = what;
}

/* Behind the good batches of an open segment, which end at `at`. */
static void check_tail(struct kw_segment *out, const uint8_t *bytes, size_t len, size_t at, enum batch_state state,
                       const struct batch *batch) {
    const char *what = NULL;
    out->at = at;
    if (find_nonzero(bytes, at, len) < len) {
        what = why_not_torn(bytes, len, state, batch);
        out->verdict = KW_SEGMENT_TORN;
    } else if (at == FORMAT_BYTES) {
        what = "the format without the batch that was written with it";
    } else if (len - at < CHECKSUM_BYTES + COUNT_BYTES) {
        /* libraft takes a rest that is too short for a batch's head for an error, and crashes on the way out. */
        out->keep = at;
    }
    if (what) corrupt(out, at, what);
}

/* An open segment whose first sector, with the format, is not there: unused, or its first write was torn. */
static void check_unformatted(struct kw_segment *out, const uint8_t *bytes, size_t len) {
    out->verdict = KW_SEGMENT_UNUSED;
    if (len < FORMAT_BYTES) out->keep = 0;
    if (find_nonzero(bytes, 0, len) == len) return;
    if (!misses_sector(bytes, len, 0, 0, 1) || good_batch_follows(bytes, len, FORMAT_BYTES)) {
        corrupt(out, 0, "the format is missing although entries follow");
        return;
    }
    out->verdict = KW_SEGMENT_TORN;
    out->keep = 0;
}

/* False: the terms of the log went back. */
static bool take_entries(struct kw_segment *out, const uint8_t *bytes, const struct batch *batch) {
    for (uint64_t i = 0; i < batch->count; i++) {
        uint64_t term = entry_term(entry_at(bytes, batch, i));
        if (term < out->last_term) return false;
        if (out->entries == 0) out->first_term = term;
        out->last_term = term;
        out->entries++;
    }
    return true;
}

static const char *batch_text(enum batch_state state) {
    static const char *const texts[] = {
        [BATCH_GOOD] = "",
        [BATCH_SHORT] = "it ends in the middle of a batch",
        [BATCH_NONE] = "a batch without entries",
        [BATCH_COUNT] = "a batch with more entries than can be",
        [BATCH_HEADER] = "the checksum of a batch's header is wrong",
        [BATCH_ENTRY] = "an entry that cannot have been written",
        [BATCH_DATA] = "the checksum of a batch's data is wrong",
    };
    return texts[state];
}

void kw_segment_check(struct kw_segment *out, const uint8_t *bytes, size_t len, bool open) {
    *out = (struct kw_segment){.verdict = KW_SEGMENT_WHOLE, .keep = len};
    uint64_t format = len < FORMAT_BYTES ? 0 : get64(bytes);
    if (open && format == 0) {
        check_unformatted(out, bytes, len);
        return;
    }
    if (format != FORMAT) {
        corrupt(out, 0, len < FORMAT_BYTES ? "it is too short" : "it has a format that is not known");
        return;
    }
    size_t at = FORMAT_BYTES;
    do {
        struct batch batch;
        enum batch_state state = batch_read(bytes, len, at, &batch);
        if (state != BATCH_GOOD && open) {
            check_tail(out, bytes, len, at, state, &batch);
            return;
        }
        if (state != BATCH_GOOD || !take_entries(out, bytes, &batch)) {
            corrupt(out, at, state != BATCH_GOOD ? batch_text(state) : "a term lower than the one before");
            return;
        }
        at = batch.end;
    } while (at < len);
    out->at = at;
}

uint32_t kw_segment_digest(const uint8_t *bytes, size_t len, uint64_t entries, uint64_t *last_term) {
    uint32_t digest = 0;
    *last_term = 0;
    for (size_t at = FORMAT_BYTES; entries > 0;) {
        struct batch batch;
        KW_ASSERT(batch_read(bytes, len, at, &batch) == BATCH_GOOD);
        size_t data = batch.header_end;
        for (uint64_t i = 0; i < batch.count && entries > 0; i++, entries--) {
            const uint8_t *entry = entry_at(bytes, &batch, i);
            digest = kw_crc32(digest, entry, ENTRY_BYTES);
            digest = kw_crc32(digest, bytes + data, entry_length(entry));
            data += entry_length(entry);
            *last_term = entry_term(entry);
        }
        at = batch.end;
    }
    return digest;
}
