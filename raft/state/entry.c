/*
 * One entry of the log:
 *
 *   "KE", u8 format, u8 0, u32 bytes of the records, u32 records, u32 checksum of all but this field,
 *   u64 time in ms; the records; zeros to a multiple of eight
 *
 * Nothing of an entry is used before its checksum was found right.
 */
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"
#include "raft/state/record.h"

enum { HEADER = 24, SUM_AT = 12, FORMAT = 1, ALIGN = 8 };

static const char mark[2] = {'K', 'E'};

static size_t padded(size_t len) {
    return (len + ALIGN - 1) / ALIGN * ALIGN;
}

/* Of the header's other fields and of the records; the padding is known to be zero. */
static uint32_t entry_sum(const unsigned char *entry, size_t body) {
    uint64_t head = kw_hash64(entry, SUM_AT, kw_get64(entry + SUM_AT + 4));
    return (uint32_t)kw_hash64(entry + HEADER, body, head);
}

void kw_entry_begin(struct kw_str *entry, uint64_t time_ms) {
    kw_str_clear(entry);
    kw_str_append(entry, mark, sizeof(mark));
    kw_str_append_number(entry, 2, FORMAT);
    kw_str_append_number(entry, 8, 0); /* length and count, once known */
    kw_str_append_number(entry, 4, 0); /* the checksum */
    kw_str_append_number(entry, 8, time_ms);
}

void kw_entry_end(struct kw_str *entry, unsigned record_count) {
    static const char zeros[ALIGN];
    KW_ASSERT(entry->len >= HEADER && entry->len - HEADER <= UINT32_MAX && record_count <= KW_RECORD_BATCH_MAX);
    size_t body = entry->len - HEADER;
    kw_str_append(entry, zeros, padded(entry->len) - entry->len);
    unsigned char *bytes = (unsigned char *)entry->data;
    kw_put32(bytes + 4, (uint32_t)body);
    kw_put32(bytes + 8, record_count);
    kw_put32(bytes + SUM_AT, entry_sum(bytes, body));
}

int kw_entry_open(struct kw_entry_reader *reader, const void *bytes, size_t len) {
    const unsigned char *entry = bytes;
    if (len < HEADER || memcmp(entry, mark, sizeof(mark)) != 0) return KW_EPROTOCOL;
    if (entry[2] != FORMAT || entry[3] != 0) return KW_EUNKNOWN;
    size_t body = kw_get32(entry + 4);
    if (body > len - HEADER || padded(HEADER + body) != len) return KW_EPROTOCOL;
    for (size_t i = HEADER + body; i < len; i++) {
        if (entry[i] != 0) return KW_EPROTOCOL;
    }
    reader->left = kw_get32(entry + 8);
    if (kw_get32(entry + SUM_AT) != entry_sum(entry, body) || reader->left > KW_RECORD_BATCH_MAX) return KW_EPROTOCOL;
    reader->at = entry + HEADER;
    reader->end = reader->at + body;
    reader->time_ms = kw_get64(entry + SUM_AT + 4);
    return 0;
}

int kw_entry_next(struct kw_entry_reader *reader, struct kw_record *out) {
    size_t used = 0;
    if (reader->left == 0) return reader->at == reader->end ? 0 : KW_EPROTOCOL;
    int rc = kw_record_decode(out, reader->at, (size_t)(reader->end - reader->at), &used);
    if (rc != 0) return rc;
    reader->at += used;
    reader->left--;
    return 1;
}
