/*
 * Records: what a log entry of ours is made of. An entry is a batch of them,
 * each a versioned command to the state machine. Encoding and decoding; the
 * bytes are untrusted (another version may have written them). Pure; any
 * thread. docs/metadata.md has the layout, tests/unit/records/ a sample of
 * each type and version that ever was: those stay readable for ever.
 */
#ifndef KW_RAFT_STATE_RECORD_H
#define KW_RAFT_STATE_RECORD_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum {
    KW_RECORD_BATCH_MAX = 512,             /* records of one entry that can be read; the replica writes fewer */
    KW_RECORD_ENTRY_MAX = 1024 * 1024,     /* bytes of one entry; a single record may be larger */
    KW_RECORD_BYTES_MAX = 16 * 1024 * 1024 /* bytes of one record */
};

/* The tables of the state, and what may stand in them. X(NAME, "name", key bytes, value bytes, records) */
#define KW_META_TABLES(X)                                                                                              \
    X(CONFIG, "config", 256, 64 * 1024, 10000)          /* live settings of the whole */                               \
    X(SCRIPTS, "scripts", 64, 4 * 1024 * 1024, 1000000) /* sha1 -> text, and function libraries */                     \
    X(FAMILIES, "families", 256, 64 * 1024, 1000000)    /* co-location rules */                                        \
    X(PROXIES, "proxies", 64, 4096, 10000)              /* proxy id -> address, version */                             \
    X(OPERATIONS, "operations", 64, 64 * 1024, 1000)    /* running failovers and slot moves, with their step */        \
    X(SESSIONS, "sessions", 128, 4096, 10000000)        /* leases */                                                   \
    X(LOCKS, "locks", 1024, 4096, 10000000)             /* name -> holders, queue, token */

enum kw_meta_table {
#define X(name, text, key, value, count) KW_META_##name,
    KW_META_TABLES(X)
#undef X
        KW_META_TABLE_COUNT
};

enum kw_record_type {
    KW_RECORD_PUT = 1, /* table, key, value; `expect`: KW_EXPECT_ANY, KW_EXPECT_ABSENT, or the version it must have */
    KW_RECORD_DELETE = 2,  /* table, key; `expect` as above */
    KW_RECORD_MAP = 3,     /* the cluster map (map.h) in `value`; `expect`: version of the map that it replaces */
    KW_RECORD_DETACH = 4,  /* forget the cluster: the map becomes empty; `expect` as MAP */
    KW_RECORD_RESTORE = 5, /* a part of a backup: only on a state that nothing else was written to (state_restore) */
    KW_RECORD_NOP = 6,     /* nothing; for measuring and for a leader's first entry */
};

#define KW_EXPECT_ANY    UINT64_MAX
#define KW_EXPECT_ABSENT ((uint64_t)0)

enum { KW_REQUEST_ID_SIZE = 16 };

struct kw_record {
    enum kw_record_type type;
    unsigned char request_id[KW_REQUEST_ID_SIZE]; /* all zero: none. The same id again gets the first answer again */
    unsigned table;                               /* enum kw_meta_table; PUT, DELETE */
    uint64_t expect;
    const void *key; /* borrowed */
    size_t key_len;
    const void *value; /* borrowed */
    size_t value_len;
};

/*
 * Whether the record may be written: 0; KW_EINVALID for a type or table that there is not, an empty or too long key, a
 * value that is too long. For whoever makes records from what people ask for.
 */
int kw_record_check(const struct kw_record *record);

/* Name, and limits, of a table. */
struct kw_meta_table_limits {
    const char *name;
    size_t key_max, value_max, count_max;
};
extern const struct kw_meta_table_limits kw_meta_tables[KW_META_TABLE_COUNT];
/* The table of that name (letters in any case), or KW_META_TABLE_COUNT. */
enum kw_meta_table kw_meta_table_find(const char *name, size_t len);

/* Appends the record in its newest version. It must be one that kw_record_check allows. */
void kw_record_encode(struct kw_str *out, const struct kw_record *record);

/*
 * Reads one record; its fields point into `bytes`. 0 with `*used`; KW_EPROTOCOL for bytes that are no record;
 * KW_EUNKNOWN for a type or version from the future.
 */
int kw_record_decode(struct kw_record *out, const void *bytes, size_t len, size_t *used);

/*
 * An entry: begin (empties `entry`), add encoded records, end (pads with zeros to a multiple of 8 as libraft wants,
 * fills in count and checksum). `time_ms` is data for the state machine: the leader's wall clock, for people only.
 */
void kw_entry_begin(struct kw_str *entry, uint64_t time_ms);
void kw_entry_end(struct kw_str *entry, unsigned record_count);

struct kw_entry_reader {
    const unsigned char *at, *end;
    unsigned left; /* records */
    uint64_t time_ms;
};
/* 0, KW_EPROTOCOL (cut, checksum, padding), KW_EUNKNOWN (version). */
int kw_entry_open(struct kw_entry_reader *reader, const void *bytes, size_t len);
/* The next record: 1, 0 at the end, or the error of kw_record_decode. */
int kw_entry_next(struct kw_entry_reader *reader, struct kw_record *out);

#endif
