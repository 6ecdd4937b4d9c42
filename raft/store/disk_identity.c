/*
 * The identity file: a few lines of text that say whose folder this is, the
 * last one a checksum of those before it. Replaced as a whole: written beside
 * it, forced to the disk, renamed, and the folder forced to the disk.
 *
 *   keyway-meta 1
 *   id 3
 *   cluster main
 *   begun yes
 *   retired no
 *   incarnation 0123456789abcdef
 *   check 8c0ffee1
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/crc32.h"
#include "base/error.h"
#include "raft/store/disk_internal.h"

enum { FORMAT_VERSION = 1, TEXT_MAX = 512 };

static const char *yes_no(bool value) {
    return value ? "yes" : "no";
}

static size_t print(char out[TEXT_MAX], const struct kw_disk_identity *identity) {
    snprintf(out, TEXT_MAX,
             "keyway-meta %d\nid %" PRIu64 "\ncluster %s\nbegun %s\nretired %s\nincarnation %016" PRIx64 "\n",
             FORMAT_VERSION, identity->id, identity->cluster, yes_no(identity->begun), yes_no(identity->retired),
             identity->incarnation);
    size_t len = strlen(out);
    snprintf(out + len, TEXT_MAX - len, "check %08" PRIx32 "\n", kw_crc32(0, out, len));
    return strlen(out);
}

/* The value of the line "NAME VALUE" at `*at`, cut off in place; NULL if the line is another. */
static char *line(char **at, const char *name) {
    size_t len = strlen(name);
    char *end = strchr(*at, '\n');
    if (!end || strncmp(*at, name, len) != 0 || (*at)[len] != ' ') return NULL;
    char *value = *at + len + 1;
    *end = '\0';
    *at = end + 1;
    return value;
}

static bool flag(char **at, const char *name, bool *out) {
    const char *value = line(at, name);
    *out = value && strcmp(value, "yes") == 0;
    return value && (*out || strcmp(value, "no") == 0);
}

/* What was read is ours if it is what we would write: nothing is taken on trust, the checksum least of all. */
static bool parse(const char *text, size_t len, struct kw_disk_identity *out) {
    char copy[TEXT_MAX + 1], again[TEXT_MAX];
    memcpy(copy, text, len);
    copy[len] = '\0';
    char *at = copy;
    if (!line(&at, "keyway-meta")) return false;
    const char *id = line(&at, "id");
    const char *cluster = line(&at, "cluster");
    if (!id || !cluster || strlen(cluster) > KW_DISK_CLUSTER_MAX) return false;
    if (!flag(&at, "begun", &out->begun) || !flag(&at, "retired", &out->retired)) return false;
    const char *incarnation = line(&at, "incarnation");
    if (!incarnation) return false;
    out->id = strtoull(id, NULL, 10);
    out->incarnation = strtoull(incarnation, NULL, 16);
    snprintf(out->cluster, sizeof(out->cluster), "%s", cluster);
    return print(again, out) == len && memcmp(again, text, len) == 0;
}

static bool other_version(const char *text, size_t len, unsigned *version) {
    char head[32];
    snprintf(head, sizeof(head), "%.*s", (int)(len < sizeof(head) ? len : sizeof(head) - 1), text);
    return sscanf(head, "keyway-meta %u", version) == 1 && *version != FORMAT_VERSION;
}

int kw_disk_identity_read(int dir_fd, struct kw_disk_identity *out, const struct kw_disk_why *why) {
    char text[TEXT_MAX];
    unsigned version;
    int fd = openat(dir_fd, KW_DISK_FILE_IDENTITY, O_RDONLY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT) return KW_EUNKNOWN;
    ssize_t got = fd < 0 ? -1 : pread(fd, text, sizeof(text), 0);
    int saved = errno;
    if (fd >= 0) close(fd);
    if (got < 0) {
        return kw_disk_refuse(why, KW_EIO, "cannot read %s/%s: %s", why->dir, KW_DISK_FILE_IDENTITY, strerror(saved));
    }
    if (parse(text, (size_t)got, out)) return 0;
    if (other_version(text, (size_t)got, &version)) {
        return kw_disk_refuse(why, KW_EINVALID,
                              "%s/%s has format %u, this program knows format %d: start the version that wrote it",
                              why->dir, KW_DISK_FILE_IDENTITY, version, FORMAT_VERSION);
    }
    return kw_disk_refuse_damage(why, KW_DISK_FILE_IDENTITY, 0, "not what a node writes, or its checksum is wrong");
}

static int write_all(int fd, const char *text, size_t len) {
    while (len > 0) {
        ssize_t wrote = write(fd, text, len);
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) return KW_EIO;
        text += wrote;
        len -= (size_t)wrote;
    }
    return fsync(fd) == 0 ? 0 : KW_EIO;
}

int kw_disk_file_replace(int dir_fd, const char *name, const char *beside, const char *text, size_t len) {
    int fd = openat(dir_fd, beside, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0) return KW_EIO;
    int code = write_all(fd, text, len);
    int saved = errno;
    close(fd);
    errno = saved;
    if (code) return code;
    if (renameat(dir_fd, beside, dir_fd, name) != 0) return KW_EIO;
    return fsync(dir_fd) == 0 ? 0 : KW_EIO;
}

int kw_disk_identity_write(int dir_fd, const struct kw_disk_identity *identity) {
    char text[TEXT_MAX];
    size_t len = print(text, identity);
    return kw_disk_file_replace(dir_fd, KW_DISK_FILE_IDENTITY, KW_DISK_FILE_IDENTITY_NEW, text, len);
}
