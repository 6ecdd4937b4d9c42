/*
 * Term and vote, and the snapshots.
 *
 * metadata1 and metadata2, 32 bytes, little endian: format 1, a version that
 * grows by one with each write (odd ones in the first file, even ones in the
 * second), term, vote. They carry no checksum, so they are compared with each
 * other and with the log: whoever goes back to an older term or vote can vote
 * twice, and two leaders are the end of everything. So a file that is bad
 * or gone is refused unless it never held anything.
 *
 * snapshot-TERM-INDEX-TIME holds the state's image, which has a checksum of its
 * own; the file beside it with .meta: format 1, checksum (4 of 8 bytes), index
 * of the configuration, its length, the configuration. libraft goes back to an
 * older snapshot without a word when it cannot read the newest.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/crc32.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"

enum { METADATA_BYTES = 32, VOTE_AT = 24, SNAPSHOT_HEAD_BYTES = 32, CONFIGURATION_MAX = 1024 * 1024, FORMAT = 1 };

static const char *const metadata_names[2] = {"metadata1", "metadata2"};

struct metadata {
    bool written;
    uint64_t version, term, vote;
};

static uint64_t get64(const uint8_t *p) {
    uint64_t value = 0;
    for (int i = 7; i >= 0; i--) value = value << 8 | p[i];
    return value;
}

static bool all_zero(const struct kw_disk_bytes *bytes) {
    for (size_t i = 0; i < bytes->len; i++) {
        if (bytes->data[i] != 0) return false;
    }
    return true;
}

static int metadata_read(struct kw_disk_scan *scan, unsigned nth, struct metadata *out) {
    const char *name = metadata_names[nth];
    *out = (struct metadata){0};
    int code = kw_disk_file_read(scan->dir_fd, name, METADATA_BYTES, &scan->bytes, scan->why);
    if (code == KW_EUNKNOWN) return 0;
    if (code) return code;
    /* Its first write was cut off. libraft forgives the short file but not the one of zeros. */
    if (scan->bytes.len < METADATA_BYTES) return 0;
    if (all_zero(&scan->bytes)) {
        kw_disk_mends_remove(&scan->mends, name, "it was made and never written");
        return 0;
    }
    const uint8_t *at = scan->bytes.data;
    *out = (struct metadata){true, get64(at + 8), get64(at + 16), get64(at + VOTE_AT)};
    if (get64(at) != FORMAT) return kw_disk_refuse_damage(scan->why, name, 0, "it has a format that is not known");
    if (out->version == 0 || out->version % 2 != (nth + 1) % 2) {
        return kw_disk_refuse_damage(scan->why, name, 8, "it has a version that is not its own");
    }
    if (out->term == 0) return kw_disk_refuse_damage(scan->why, name, 16, "it has no term");
    return 0;
}

/*
 * What the second of two writes in a row can have changed: a new term has no vote yet, and a vote is given once. But
 * libraft stores the vote that it gives as the term, without a vote, and then the vote.
 */
static bool is_successor(const struct metadata *older, const struct metadata *newer) {
    if (newer->version != older->version + 1 || newer->term < older->term) return false;
    if (newer->term > older->term) return newer->vote == 0;
    return older->vote == 0 || newer->vote == 0 || newer->vote == older->vote;
}

int kw_disk_scan_metadata(struct kw_disk_scan *scan) {
    struct metadata both[2];
    for (unsigned nth = 0; nth < 2; nth++) {
        int code = metadata_read(scan, nth, &both[nth]);
        if (code) return code;
    }
    scan->log->has_metadata = both[0].written || both[1].written;
    if (!scan->log->has_metadata) return 0;
    if (!both[0].written || (!both[1].written && both[0].version != 1)) {
        return kw_disk_refuse_damage(scan->why, metadata_names[both[0].written ? 1 : 0], 0,
                                     "it is gone or cut off, and the latest term or vote may have been in it");
    }
    unsigned newer = both[1].version > both[0].version ? 1 : 0;
    if (both[1].written && !is_successor(&both[!newer], &both[newer])) {
        return kw_disk_refuse_damage(scan->why, metadata_names[newer], 8,
                                     "it does not follow from %s (versions %llu and %llu, terms %llu and %llu)",
                                     metadata_names[!newer], (unsigned long long)both[newer].version,
                                     (unsigned long long)both[!newer].version, (unsigned long long)both[newer].term,
                                     (unsigned long long)both[!newer].term);
    }
    if (both[newer].term == both[!newer].term && both[newer].vote == 0 && both[!newer].vote != 0) {
        kw_disk_mends_put(&scan->mends, metadata_names[newer], VOTE_AT, both[!newer].vote,
                          "the vote of this term was being stored once more");
    }
    scan->log->term = both[newer].term;
    scan->log->is_first_term = !both[1].written && both[0].term == 1 && both[0].vote == 0;
    return 0;
}

/* What is wrong with a snapshot's .meta in memory, and where; NULL: nothing. */
static const char *meta_flaw(const struct kw_disk_bytes *bytes, uint64_t index, uint64_t *at) {
    const uint8_t *head = bytes->data;
    *at = 0;
    if (bytes->len < SNAPSHOT_HEAD_BYTES) return "it is too short";
    if (get64(head) != FORMAT) return "it has a format that is not known";
    *at = 24;
    if (get64(head + 24) == 0 || get64(head + 24) != bytes->len - SNAPSHOT_HEAD_BYTES) {
        return "its length is not the one that it gives";
    }
    *at = 8;
    if (get64(head + 8) != kw_crc32(0, head + 16, bytes->len - 16)) return "its checksum is wrong";
    *at = 16;
    return get64(head + 16) > index ? "it has a configuration from behind the snapshot" : NULL;
}

/* 0; KW_EPROTOCOL, KW_EIO with the reason in `why`. */
static int snapshot_check(struct kw_disk_scan *scan, const struct kw_disk_file *file) {
    char name[KW_DISK_NAME_SIZE];
    struct stat facts;
    uint64_t at;
    kw_disk_file_name(name, KW_FILE_SNAPSHOT, file);
    if (fstatat(scan->dir_fd, name, &facts, 0) != 0) {
        return kw_disk_refuse(scan->why, KW_EIO, "cannot read %s/%s: %s", scan->why->dir, name, strerror(errno));
    }
    if (!S_ISREG(facts.st_mode)) return kw_disk_refuse_damage(scan->why, name, 0, "this is not a file");
    if (facts.st_size == 0) return kw_disk_refuse_damage(scan->why, name, 0, "it is empty");
    kw_disk_file_name(name, KW_FILE_SNAPSHOT_META, file);
    int code = kw_disk_file_read(scan->dir_fd, name, SNAPSHOT_HEAD_BYTES + CONFIGURATION_MAX, &scan->bytes, scan->why);
    if (code == KW_EUNKNOWN) return kw_disk_refuse_damage(scan->why, name, 0, "it has vanished");
    if (code) return code;
    const char *flaw = meta_flaw(&scan->bytes, file->number[1], &at);
    return flaw ? kw_disk_refuse_damage(scan->why, name, at, "%s", flaw) : 0;
}

static bool same(const struct kw_disk_file *a, const struct kw_disk_file *b) {
    return memcmp(a->number, b->number, sizeof(a->number)) == 0;
}

static bool has(const struct kw_disk_files *files, const struct kw_disk_file *file) {
    for (size_t i = 0; i < files->count; i++) {
        if (same(&files->file[i], file)) return true;
    }
    return false;
}

/*
 * The newest snapshot of which both files are there. The older one is only looked at by libraft when the newest is bad:
 * no reason to refuse.
 */
int kw_disk_scan_snapshots(struct kw_disk_scan *scan) {
    const struct kw_disk_files *metas = &scan->list.of[KW_FILE_SNAPSHOT_META];
    const struct kw_disk_files *images = &scan->list.of[KW_FILE_SNAPSHOT];
    for (size_t i = metas->count; i > 0; i--) {
        const struct kw_disk_file *file = &metas->file[i - 1];
        if (!has(images, file)) continue;
        int code = snapshot_check(scan, file);
        if (code) return code;
        scan->log->snapshot_term = file->number[0];
        scan->log->snapshot_index = file->number[1];
        return 0;
    }
    return 0;
}
