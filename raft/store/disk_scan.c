/*
 * The log as a whole: do the snapshot, the closed segments and the open ones,
 * in this order, hold every entry once? libraft checks less, and whatever it
 * does find wrong ends in an error without an explanation, or in a crash.
 *
 * What a crash of the node leaves and is mended here, since libraft would not
 * start from it although nothing is lost:
 *   - a rest of 8 bytes at the end of a full open segment (cut);
 *   - an open segment whose first write was torn in its first sector (cut);
 *   - a segment cut short beside its original, when the removal of the log's
 *     end was interrupted (the shorter one is removed);
 *   - segments that a snapshot from the leader has replaced, when their removal
 *     was interrupted (removed). Left alone they would be given the numbers of
 *     other entries later.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"

/* libraft writes segments of 8 MiB; twice that bounds the memory. */
enum { SEGMENT_MAX = 16 * 1024 * 1024 };

static int segment_read(struct kw_disk_scan *scan, enum kw_disk_kind kind, const struct kw_disk_file *file,
                        char name[KW_DISK_NAME_SIZE], struct kw_segment *out) {
    *out = (struct kw_segment){0};
    kw_disk_file_name(name, kind, file);
    int code = kw_disk_file_read(scan->dir_fd, name, SEGMENT_MAX, &scan->bytes, scan->why);
    if (code == KW_EUNKNOWN) return kw_disk_refuse_damage(scan->why, name, 0, "it has vanished");
    if (code) return code;
    kw_segment_check(out, scan->bytes.data, scan->bytes.len, kind == KW_FILE_OPEN);
    scan->log->bytes += scan->bytes.len;
    if (out->verdict != KW_SEGMENT_CORRUPT) return 0;
    return kw_disk_refuse_damage(scan->why, name, out->at, "%s", out->what);
}

/* The entries of the segment in memory follow those so far. */
static int entries_follow(struct kw_disk_scan *scan, const char *name, const struct kw_segment *segment) {
    struct kw_disk_log *log = scan->log;
    uint64_t term = 0, first = log->last + 1, last = log->last + segment->entries;
    if (segment->entries == 0) return 0;
    if (segment->first_term < log->last_term) {
        return kw_disk_refuse_damage(scan->why, name, 0, "its first entry has the term %llu, the one before has %llu",
                                     (unsigned long long)segment->first_term, (unsigned long long)log->last_term);
    }
    if (log->snapshot_index >= first && log->snapshot_index <= last) {
        kw_segment_digest(scan->bytes.data, scan->bytes.len, log->snapshot_index - log->last, &term);
        if (term != log->snapshot_term) {
            return kw_disk_refuse_damage(scan->why, name, 0,
                                         "entry %llu has the term %llu, the snapshot of that entry has %llu",
                                         (unsigned long long)log->snapshot_index, (unsigned long long)term,
                                         (unsigned long long)log->snapshot_term);
        }
    }
    log->last = last;
    log->last_term = segment->last_term;
    return 0;
}

static int closed_check(struct kw_disk_scan *scan, const struct kw_disk_file *file) {
    char name[KW_DISK_NAME_SIZE];
    struct kw_segment segment;
    int code = segment_read(scan, KW_FILE_CLOSED, file, name, &segment);
    if (code) return code;
    uint64_t expected = file->number[1] - file->number[0] + 1;
    if (segment.entries != expected) {
        return kw_disk_refuse_damage(scan->why, name, segment.at, "it holds %llu entries, its name says %llu",
                                     (unsigned long long)segment.entries, (unsigned long long)expected);
    }
    return entries_follow(scan, name, &segment);
}

/* The digest of the first entries of a closed segment that must be whole. */
static int closed_digest(struct kw_disk_scan *scan, const struct kw_disk_file *file, uint64_t entries,
                         uint32_t *digest) {
    char name[KW_DISK_NAME_SIZE];
    struct kw_segment segment;
    uint64_t term;
    int code = segment_read(scan, KW_FILE_CLOSED, file, name, &segment);
    if (code) return code;
    if (segment.entries < entries) return kw_disk_refuse_damage(scan->why, name, segment.at, "entries are missing");
    *digest = kw_segment_digest(scan->bytes.data, scan->bytes.len, entries, &term);
    return 0;
}

/* Two segments that begin alike: the one that was cut short and its original, or nonsense. */
static int twins_check(struct kw_disk_scan *scan, const struct kw_disk_file *shorter,
                       const struct kw_disk_file *longer) {
    char name[KW_DISK_NAME_SIZE];
    uint64_t entries = shorter->number[1] - shorter->number[0] + 1;
    uint32_t of_shorter = 0, of_longer = 0;
    int code = closed_digest(scan, shorter, entries, &of_shorter);
    if (code == 0) code = closed_digest(scan, longer, entries, &of_longer);
    if (code) return code;
    kw_disk_file_name(name, KW_FILE_CLOSED, shorter);
    if (of_shorter != of_longer) {
        return kw_disk_refuse_damage(scan->why, name, 0,
                                     "another segment begins with the same index and other entries");
    }
    kw_disk_mends_remove(&scan->mends, name, "the segment that it was to replace is still there");
    return 0;
}

/* Sees to it that no two segments overlap, taking out those that are on their way to replace another. */
static int closed_overlaps(struct kw_disk_scan *scan) {
    struct kw_disk_files *closed = &scan->list.of[KW_FILE_CLOSED];
    size_t kept = 0;
    for (size_t i = 0; i < closed->count; i++) {
        const struct kw_disk_file file = closed->file[i];
        const struct kw_disk_file *before = kept > 0 ? &closed->file[kept - 1] : NULL;
        if (before && before->number[0] == file.number[0]) {
            int code = twins_check(scan, before, &file);
            if (code) return code;
            kept--;
        } else if (before && before->number[1] >= file.number[0]) {
            char name[KW_DISK_NAME_SIZE];
            kw_disk_file_name(name, KW_FILE_CLOSED, &file);
            return kw_disk_refuse_damage(scan->why, name, 0, "its entries are in the segment before as well");
        }
        closed->file[kept++] = file;
    }
    closed->count = kept;
    return 0;
}

/* The first of the closed segments that reach without a gap to the last one. */
static size_t chain_begin(const struct kw_disk_files *closed) {
    size_t i = closed->count - 1;
    while (i > 0 && closed->file[i - 1].number[1] + 1 == closed->file[i].number[0]) i--;
    return i;
}

static void closed_drop_all(struct kw_disk_scan *scan) {
    struct kw_disk_files *closed = &scan->list.of[KW_FILE_CLOSED];
    char name[KW_DISK_NAME_SIZE];
    for (size_t i = 0; i < closed->count; i++) {
        kw_disk_file_name(name, KW_FILE_CLOSED, &closed->file[i]);
        kw_disk_mends_remove(&scan->mends, name, "a snapshot from the leader has replaced it");
    }
    closed->count = 0;
    scan->replaced = true;
}

static int closed_scan(struct kw_disk_scan *scan) {
    struct kw_disk_log *log = scan->log;
    const struct kw_disk_files *closed = &scan->list.of[KW_FILE_CLOSED];
    log->first = log->snapshot_index + 1;
    log->last = log->snapshot_index;
    log->last_term = log->snapshot_term;
    int code = closed_overlaps(scan);
    if (code || closed->count == 0) return code;
    if (closed->file[closed->count - 1].number[1] < log->snapshot_index) {
        closed_drop_all(scan);
        return 0;
    }
    /* Behind a gap that a snapshot covers, older segments are of no use. Without snapshot there may be none. */
    size_t begin = chain_begin(closed);
    uint64_t first = closed->file[begin].number[0];
    if (first > log->snapshot_index + 1) {
        char name[KW_DISK_NAME_SIZE];
        kw_disk_file_name(name, KW_FILE_CLOSED, &closed->file[begin]);
        return kw_disk_refuse_damage(
            scan->why, name, 0, "the entries before it, from %llu to %llu, are missing",
            (unsigned long long)(begin > 0 ? closed->file[begin - 1].number[1] + 1 : log->snapshot_index + 1),
            (unsigned long long)(first - 1));
    }
    log->first = first;
    log->last = first - 1;
    log->last_term = 0;
    for (size_t i = begin; code == 0 && i < closed->count; i++) code = closed_check(scan, &closed->file[i]);
    return code;
}

/* Open segments are used in the order of their numbers: nothing may follow one that is unused, torn or gone. */
struct open_order {
    uint64_t counter;
    const char *ended; /* why nothing may follow */
};

static int open_check(struct kw_disk_scan *scan, const struct kw_disk_file *file, struct open_order *order) {
    char name[KW_DISK_NAME_SIZE];
    struct kw_segment segment;
    int code = segment_read(scan, KW_FILE_OPEN, file, name, &segment);
    if (code) return code;
    if (order->counter > 0 && file->number[0] != order->counter + 1) order->ended = "the open segment before is gone";
    order->counter = file->number[0];
    bool used = segment.entries > 0 || segment.verdict == KW_SEGMENT_TORN;
    if (used && order->ended)
        return kw_disk_refuse_damage(scan->why, name, 0, "it is in use although %s", order->ended);
    if (segment.verdict == KW_SEGMENT_TORN) {
        order->ended = "the one before ends in a torn write";
        kw_log(KW_LOG_NOTICE, "%s ends at byte %" PRIu64 " in a write that a crash cut off; nobody was told of it",
               name, segment.at);
    } else if (!used) {
        order->ended = "the one before holds nothing";
    }
    if (segment.keep != scan->bytes.len) {
        kw_disk_mends_cut(&scan->mends, name, segment.keep, "libraft cannot read what is behind the last entry");
    }
    return entries_follow(scan, name, &segment);
}

static int open_scan(struct kw_disk_scan *scan) {
    const struct kw_disk_files *open = &scan->list.of[KW_FILE_OPEN];
    struct open_order order = {.ended = scan->replaced ? "the closed segments end before the snapshot" : NULL};
    int code = 0;
    for (size_t i = 0; code == 0 && i < open->count; i++) code = open_check(scan, &open->file[i], &order);
    return code;
}

/*
 * A snapshot's image without its .meta: libraft removes it and goes on from what else there is. The .meta comes first
 * and goes first, so one that is newer than everything else has lost it.
 */
static int orphans_check(struct kw_disk_scan *scan) {
    const struct kw_disk_files *images = &scan->list.of[KW_FILE_SNAPSHOT];
    char name[KW_DISK_NAME_SIZE];
    if (images->count == 0 || images->file[images->count - 1].number[1] <= scan->log->last) return 0;
    kw_disk_file_name(name, KW_FILE_SNAPSHOT_META, &images->file[images->count - 1]);
    return kw_disk_refuse_damage(scan->why, name, 0, "it is gone, and the log ends at entry %llu",
                                 (unsigned long long)scan->log->last);
}

static int terms_check(struct kw_disk_scan *scan) {
    const struct kw_disk_log *log = scan->log;
    uint64_t term = log->last_term > log->snapshot_term ? log->last_term : log->snapshot_term;
    if (log->has_log && !log->has_metadata) {
        return kw_disk_refuse_damage(scan->why, "metadata1 and metadata2", 0, "they are gone");
    }
    if (log->has_log && log->term < term) {
        return kw_disk_refuse_damage(scan->why, "metadata1 and metadata2", 16,
                                     "the term %llu is older than that of the last entry, %llu",
                                     (unsigned long long)log->term, (unsigned long long)term);
    }
    return 0;
}

static int scan_all(struct kw_disk_scan *scan) {
    struct kw_disk_log *log = scan->log;
    int code = kw_disk_list_read(scan->dir_fd, &scan->list, scan->why);
    if (code == 0) code = kw_disk_scan_metadata(scan);
    if (code == 0) code = kw_disk_scan_snapshots(scan);
    if (code == 0) code = closed_scan(scan);
    if (code == 0) code = open_scan(scan);
    if (code) return code;
    log->has_log = log->snapshot_index > 0 || log->last >= log->first;
    code = orphans_check(scan);
    if (code == 0) code = terms_check(scan);
    return code ? code : kw_disk_mends_apply(&scan->mends, scan->dir_fd, scan->why);
}

int kw_disk_scan(int dir_fd, struct kw_disk_log *out, const struct kw_disk_why *why) {
    struct kw_disk_scan scan = {.dir_fd = dir_fd, .why = why, .log = out};
    memset(out, 0, sizeof(*out));
    int code = scan_all(&scan);
    kw_disk_list_deinit(&scan.list);
    kw_disk_mends_deinit(&scan.mends);
    kw_free(scan.bytes.data);
    return code;
}
