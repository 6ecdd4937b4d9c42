/*
 * One record:
 *
 *   u8 type, u8 version, u16 flags, u32 bytes that follow
 *   [16 bytes request id]           where the flag says so
 *   [u64 expect] [u16 table, u16 key length, key] [value: the rest]
 *
 * Which of the parts a type has, a row says. A new version of a type is a new
 * row; rows are never taken away. Bytes are decoded in place.
 */
#include "raft/state/record.h"

#include <string.h>
#include <strings.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"

enum { FLAG_REQUEST_ID = 1, FLAGS_KNOWN = FLAG_REQUEST_ID, HEADER = 8 };

const struct kw_meta_table_limits kw_meta_tables[KW_META_TABLE_COUNT] = {
#define X(id, text, key, value, count) {text, key, value, count},
    KW_META_TABLES(X)
#undef X
};

enum part { PART_EXPECT = 1, PART_KEY = 2, PART_VALUE = 4 };

struct layout {
    unsigned char type, version;
    unsigned parts;
};

/* Per type and version; the newest version of a type comes last. */
static const struct layout layouts[] = {
    {KW_RECORD_PUT, 1, PART_EXPECT | PART_KEY | PART_VALUE},
    {KW_RECORD_DELETE, 1, PART_EXPECT | PART_KEY},
    {KW_RECORD_MAP, 1, PART_EXPECT | PART_VALUE},
    {KW_RECORD_DETACH, 1, PART_EXPECT},
    {KW_RECORD_RESTORE, 1, PART_VALUE},
    {KW_RECORD_NOP, 1, PART_VALUE},
};

/* The row of a type in that version; 0: the newest. NULL: none. */
static const struct layout *layout_find(unsigned type, unsigned version) {
    const struct layout *found = NULL;
    for (size_t i = 0; i < KW_ARRAY_LEN(layouts); i++) {
        if (layouts[i].type == type && (version == 0 || layouts[i].version == version)) found = &layouts[i];
    }
    return found;
}

enum kw_meta_table kw_meta_table_find(const char *name, size_t len) {
    unsigned i = 0;
    while (i < KW_META_TABLE_COUNT &&
           (strlen(kw_meta_tables[i].name) != len || strncasecmp(kw_meta_tables[i].name, name, len) != 0)) {
        i++;
    }
    return (enum kw_meta_table)i;
}

static bool has_request_id(const struct kw_record *record) {
    static const unsigned char none[KW_REQUEST_ID_SIZE];
    return memcmp(record->request_id, none, sizeof(none)) != 0;
}

int kw_record_check(const struct kw_record *record) {
    const struct layout *layout = layout_find((unsigned)record->type, 0);
    if (!layout) return KW_EINVALID;
    if (layout->parts & PART_KEY) {
        if (record->table >= KW_META_TABLE_COUNT) return KW_EINVALID;
        const struct kw_meta_table_limits *limits = &kw_meta_tables[record->table];
        if (record->key_len == 0 || record->key_len > limits->key_max) return KW_EINVALID;
        if ((layout->parts & PART_VALUE) && record->value_len > limits->value_max) return KW_EINVALID;
    }
    bool fits = !(layout->parts & PART_VALUE) || record->value_len <= KW_RECORD_BYTES_MAX - 64;
    return fits ? 0 : KW_EINVALID;
}

void kw_record_encode(struct kw_str *out, const struct kw_record *record) {
    const struct layout *layout = layout_find((unsigned)record->type, 0);
    size_t start = out->len;
    bool id = has_request_id(record);
    KW_ASSERT(layout && (!(layout->parts & PART_KEY) || record->key_len <= UINT16_MAX));

    kw_str_append_number(out, 1, layout->type);
    kw_str_append_number(out, 1, layout->version);
    kw_str_append_number(out, 2, id ? FLAG_REQUEST_ID : 0);
    kw_str_append_number(out, 4, 0); /* the length, once known */
    if (id) kw_str_append(out, record->request_id, sizeof(record->request_id));
    if (layout->parts & PART_EXPECT) kw_str_append_number(out, 8, record->expect);
    if (layout->parts & PART_KEY) {
        kw_str_append_number(out, 2, record->table);
        kw_str_append_number(out, 2, record->key_len);
        kw_str_append(out, record->key, record->key_len);
    }
    if (layout->parts & PART_VALUE) kw_str_append(out, record->value, record->value_len);
    size_t bytes = out->len - start;
    KW_ASSERT(bytes <= KW_RECORD_BYTES_MAX);
    kw_put32(out->data + start + 4, (uint32_t)(bytes - HEADER));
}

static int decode_body(struct kw_record *out, const struct layout *layout, unsigned flags, struct kw_reader *body) {
    if (flags & FLAG_REQUEST_ID) {
        const unsigned char *id = kw_reader_take(body, KW_REQUEST_ID_SIZE);
        if (id) memcpy(out->request_id, id, KW_REQUEST_ID_SIZE);
    }
    if (layout->parts & PART_EXPECT) out->expect = kw_reader_number(body, 8);
    if (layout->parts & PART_KEY) {
        out->table = (unsigned)kw_reader_number(body, 2);
        out->key_len = (size_t)kw_reader_number(body, 2);
        out->key = kw_reader_take(body, out->key_len);
    }
    if (layout->parts & PART_VALUE) {
        out->value_len = kw_reader_left(body);
        out->value = kw_reader_take(body, out->value_len);
    }
    bool id_as_flagged = has_request_id(out) == ((flags & FLAG_REQUEST_ID) != 0);
    return body->bad || kw_reader_left(body) > 0 || !id_as_flagged ? KW_EPROTOCOL : 0;
}

int kw_record_decode(struct kw_record *out, const void *bytes, size_t len, size_t *used) {
    struct kw_reader reader = {bytes, (const unsigned char *)bytes + len, false};
    unsigned type = (unsigned)kw_reader_number(&reader, 1), version = (unsigned)kw_reader_number(&reader, 1);
    unsigned flags = (unsigned)kw_reader_number(&reader, 2);
    size_t body_len = (size_t)kw_reader_number(&reader, 4);
    const unsigned char *body = kw_reader_take(&reader, body_len);

    if (!body || type == 0 || version == 0 || body_len > KW_RECORD_BYTES_MAX - HEADER) return KW_EPROTOCOL;
    const struct layout *layout = layout_find(type, version);
    if (!layout || (flags & ~(unsigned)FLAGS_KNOWN) != 0) return KW_EUNKNOWN;
    *out = (struct kw_record){.type = (enum kw_record_type)type};
    *used = HEADER + body_len;
    struct kw_reader parts = {body, body + body_len, false};
    return decode_body(out, layout, flags, &parts);
}
