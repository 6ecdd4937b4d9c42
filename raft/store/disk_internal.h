/*
 * What the files of the data folder's guardian share: the folder itself, its
 * identity, the log's scan, the watchdog. Nobody else includes this but the
 * tests and the fuzzer.
 *
 * A function that may refuse takes `why`: it then holds what is wrong, where,
 * and what to do, ready to be shown.
 */
#ifndef KW_RAFT_STORE_DISK_INTERNAL_H
#define KW_RAFT_STORE_DISK_INTERNAL_H

#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/base.h"
#include "base/log.h"
#include "raft/store/disk.h"

#define KW_DISK_FILE_LOCK         "lock"
#define KW_DISK_FILE_IDENTITY     "identity"
#define KW_DISK_FILE_IDENTITY_NEW "identity.new"
#define KW_DISK_FILE_PEERS        "peers"
#define KW_DISK_FILE_PEERS_NEW    "peers.new"
#define KW_DISK_FILE_RESERVE      "reserve"

enum { KW_DISK_CLUSTER_MAX = 64, KW_DISK_KNOWN_PEERS_MAX = 1024 };

/* A refusal under way: the text is the caller's. */
struct kw_disk_why {
    char *text;
    size_t size;
    const char *dir;
    uint64_t id;    /* of the node, for the advice */
    bool only_look; /* nothing in the folder is changed */
};

/* ---- identity: disk_identity.c ---- */

struct kw_disk_identity {
    uint64_t id;
    uint64_t incarnation; /* of the folder: drawn when it is made, never 0 */
    char cluster[KW_DISK_CLUSTER_MAX + 1];
    bool begun;   /* the log has held something: a folder without log is a wiped one from now on */
    bool retired; /* must never run again */
};

/* 0; KW_EUNKNOWN: there is none; KW_EPROTOCOL: not one that we wrote; KW_EIO. */
int kw_disk_identity_read(int dir_fd, struct kw_disk_identity *out, const struct kw_disk_why *why);
/* All or nothing, and on the disk when it returns 0. Else KW_EIO with errno set; the old one stays. */
int kw_disk_identity_write(int dir_fd, const struct kw_disk_identity *identity);
/* The same for any file: written as `beside`, forced to the disk, renamed to `name`. */
int kw_disk_file_replace(int dir_fd, const char *name, const char *beside, const char *text, size_t len);

/* ---- which folders the peers have: disk_peers.c ---- */

struct kw_disk_peers {
    struct kw_disk_peer {
        uint64_t id, incarnation;
    } * peer; /* own; in the order in which they came */
    size_t count;
    struct kw_log_limit failures;
};

/* 0, also where there is no file; KW_EPROTOCOL: not one that we wrote; KW_EIO. */
int kw_disk_peers_read(int dir_fd, struct kw_disk_peers *out, const struct kw_disk_why *why);
void kw_disk_peers_deinit(struct kw_disk_peers *peers);

/* ---- one segment in memory: disk_segment.c ---- */

enum kw_segment_verdict {
    KW_SEGMENT_WHOLE,   /* good batches to the end; an open one: and then zeros */
    KW_SEGMENT_UNUSED,  /* open: only zeros, or of no length */
    KW_SEGMENT_TORN,    /* open: ends in a write that was cut off, nothing behind it */
    KW_SEGMENT_CORRUPT, /* `what` at byte `at` */
};

struct kw_segment {
    enum kw_segment_verdict verdict;
    uint64_t at;   /* end of the good batches; where it is bad */
    uint64_t keep; /* libraft reads it without loss if it is cut to this length; its length if it need not be cut */
    const char *what;
    uint64_t entries;
    uint64_t first_term, last_term; /* 0 without entries */
};

/* Never reads beyond `len`. `open`: the segment was not closed, so a torn tail is normal. */
void kw_segment_check(struct kw_segment *out, const uint8_t *bytes, size_t len, bool open);
/* Checksum of the first `entries` entries however they are cut into batches; and the term of the last of them. The
 * segment must be whole and hold that many. */
uint32_t kw_segment_digest(const uint8_t *bytes, size_t len, uint64_t entries, uint64_t *last_term);

/* ---- the files of the folder: disk_list.c ---- */

/* Those that libraft reads, by the numbers in their names. */
enum kw_disk_kind { KW_FILE_CLOSED, KW_FILE_OPEN, KW_FILE_SNAPSHOT, KW_FILE_SNAPSHOT_META, KW_FILE_KINDS };

enum { KW_DISK_NAME_SIZE = 80 };

struct kw_disk_file {
    uint64_t number[3]; /* closed: first and last index; open: counter; snapshots: term, index, time */
};

struct kw_disk_files {
    struct kw_disk_file *file; /* own; sorted by its numbers */
    size_t count, cap;
};

struct kw_disk_list {
    struct kw_disk_files of[KW_FILE_KINDS];
};

/* 0; KW_EIO; KW_EPROTOCOL for a name that libraft would take for one of its own and never writes. */
int kw_disk_list_read(int dir_fd, struct kw_disk_list *out, const struct kw_disk_why *why);
void kw_disk_list_deinit(struct kw_disk_list *list);
void kw_disk_file_name(char out[KW_DISK_NAME_SIZE], enum kw_disk_kind kind, const struct kw_disk_file *file);

/* A file's bytes; the memory is used again for the next one. */
struct kw_disk_bytes {
    uint8_t *data; /* own */
    size_t len, cap;
};

/* Reads a whole file of at most `max` bytes. 0; KW_EUNKNOWN: there is none; KW_EPROTOCOL: longer, not a file; KW_EIO.
 */
int kw_disk_file_read(int dir_fd, const char *name, size_t max, struct kw_disk_bytes *out,
                      const struct kw_disk_why *why);

/* ---- what a crash left, to be mended once all else is found good: disk_mend.c ---- */

enum kw_disk_mend_kind { KW_MEND_REMOVE, KW_MEND_CUT, KW_MEND_PUT };

struct kw_disk_mend {
    char name[KW_DISK_NAME_SIZE];
    enum kw_disk_mend_kind kind;
    uint64_t place; /* cut here; put here */
    uint64_t value;
    const char *reason;
};

struct kw_disk_mends {
    struct kw_disk_mend *mend; /* own */
    size_t count, cap;
};

void kw_disk_mends_remove(struct kw_disk_mends *mends, const char *name, const char *reason);
void kw_disk_mends_cut(struct kw_disk_mends *mends, const char *name, uint64_t length, const char *reason);
/* Eight bytes, little endian. */
void kw_disk_mends_put(struct kw_disk_mends *mends, const char *name, uint64_t place, uint64_t value,
                       const char *reason);
/* Does them all, says so in the log, and forces them to the disk. 0, KW_EIO. */
int kw_disk_mends_apply(const struct kw_disk_mends *mends, int dir_fd, const struct kw_disk_why *why);
void kw_disk_mends_deinit(struct kw_disk_mends *mends);

/* ---- term, vote and snapshots: disk_meta.c ---- */

struct kw_disk_log {
    bool has_log;                           /* an entry or a snapshot */
    bool has_metadata;                      /* a term was written */
    bool is_first_term;                     /* and nothing since: term 1, no vote */
    uint64_t first, last;                   /* indexes of the entries; last = first - 1 without */
    uint64_t term;                          /* of the newest metadata */
    uint64_t last_term;                     /* of the newest entry, or of the snapshot */
    uint64_t snapshot_index, snapshot_term; /* 0: none */
    uint64_t bytes;                         /* of segments that were checked */
};

struct kw_disk_scan {
    int dir_fd;
    const struct kw_disk_why *why;
    struct kw_disk_list list;
    struct kw_disk_bytes bytes;
    struct kw_disk_mends mends;
    struct kw_disk_log *log;
    bool replaced; /* the closed segments end before the snapshot */
};

/* These fill the scan's log. 0, KW_EPROTOCOL, KW_EIO. */
int kw_disk_scan_metadata(struct kw_disk_scan *scan);
int kw_disk_scan_snapshots(struct kw_disk_scan *scan);

/* ---- the whole folder: disk_scan.c ---- */

/*
 * Looks at everything that libraft will read. Where a crash left something that libraft could not load although nothing
 * is lost, mends that (and logs it) once all else was found good. KW_EPROTOCOL, KW_EIO with `why`.
 */
int kw_disk_scan(int dir_fd, struct kw_disk_log *out, const struct kw_disk_why *why);

/* ---- watchdog: disk_watch.c ---- */

struct kw_disk_watch {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    pthread_t thread;
    bool running, stop;
    unsigned limit_ms;
    uint64_t looked_ms;   /* last */
    uint64_t *started_ms; /* own; ring of the appends under way, oldest first: they end in order */
    size_t cap, head, count;
};

void kw_disk_watch_init(struct kw_disk_watch *watch);
void kw_disk_watch_deinit(struct kw_disk_watch *watch);
void kw_disk_watch_append(struct kw_disk_watch *watch, bool started);

/* ---- the folder: disk.c ---- */

struct kw_disk {
    int dir_fd, lock_fd;
    struct kw_disk_identity identity;
    struct kw_disk_peers peers;
    struct kw_disk_watch watch;
};

/* Fills `why` and returns `code`. */
int kw_disk_refuse(const struct kw_disk_why *why, int code, const char *fmt, ...) KW_PRINTF(3, 4);
/* The same for damage: "FILE, byte AT: ..." with the advice to begin anew under a new id. Returns KW_EPROTOCOL. */
int kw_disk_refuse_damage(const struct kw_disk_why *why, const char *file, uint64_t at, const char *fmt, ...)
    KW_PRINTF(4, 5);

#endif
