/*
 * The folder's files by kind, and a file's bytes. Names are those that libraft
 * writes; libraft itself reads them with less care ("1-5" is a segment to it),
 * so whatever it would read and never writes is refused here.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "raft/store/disk_internal.h"

/* Reads the numbers of a name of this kind as libraft does: how many, and whether the name ends there. */
static bool name_parse(const char *name, enum kw_disk_kind kind, struct kw_disk_file *out) {
    uint64_t *number = out->number;
    int used = 0, matched = 0;
    memset(out, 0, sizeof(*out));
    switch (kind) {
    case KW_FILE_CLOSED:
        matched = sscanf(name, "%16" SCNu64 "-%16" SCNu64 "%n", &number[0], &number[1], &used) == 2;
        break;
    case KW_FILE_OPEN: matched = sscanf(name, "open-%" SCNu64 "%n", &number[0], &used) == 1; break;
    case KW_FILE_SNAPSHOT:
        matched = sscanf(name, "snapshot-%" SCNu64 "-%" SCNu64 "-%" SCNu64 "%n", &number[0], &number[1], &number[2],
                         &used) == 3;
        break;
    case KW_FILE_SNAPSHOT_META:
        matched = sscanf(name, "snapshot-%" SCNu64 "-%" SCNu64 "-%" SCNu64 ".meta%n", &number[0], &number[1],
                         &number[2], &used) == 3;
        break;
    case KW_FILE_KINDS: break;
    }
    return matched && used > 0 && name[used] == '\0';
}

void kw_disk_file_name(char out[KW_DISK_NAME_SIZE], enum kw_disk_kind kind, const struct kw_disk_file *file) {
    const uint64_t *number = file->number;
    switch (kind) {
    case KW_FILE_CLOSED: snprintf(out, KW_DISK_NAME_SIZE, "%016" PRIu64 "-%016" PRIu64, number[0], number[1]); return;
    case KW_FILE_OPEN: snprintf(out, KW_DISK_NAME_SIZE, "open-%" PRIu64, number[0]); return;
    case KW_FILE_SNAPSHOT:
    case KW_FILE_SNAPSHOT_META:
    case KW_FILE_KINDS: break;
    }
    snprintf(out, KW_DISK_NAME_SIZE, "snapshot-%" PRIu64 "-%" PRIu64 "-%" PRIu64 "%s", number[0], number[1], number[2],
             kind == KW_FILE_SNAPSHOT_META ? ".meta" : "");
}

static void add(struct kw_disk_files *files, const struct kw_disk_file *file) {
    if (files->count == files->cap) {
        files->cap = files->cap ? files->cap * 2 : 16;
        files->file = kw_realloc(files->file, files->cap * sizeof(*files->file));
    }
    files->file[files->count++] = *file;
}

static int take_name(struct kw_disk_list *list, const char *name, const struct kw_disk_why *why) {
    for (enum kw_disk_kind kind = 0; kind < KW_FILE_KINDS; kind++) {
        struct kw_disk_file file;
        char canonical[KW_DISK_NAME_SIZE];
        if (!name_parse(name, kind, &file)) continue;
        kw_disk_file_name(canonical, kind, &file);
        bool possible = strcmp(canonical, name) == 0;
        if (kind == KW_FILE_CLOSED) possible = possible && file.number[0] > 0 && file.number[1] >= file.number[0];
        if (!possible) return kw_disk_refuse_damage(why, name, 0, "a name that no node gives to a file");
        add(&list->of[kind], &file);
    }
    return 0;
}

static int compare(const void *a, const void *b) {
    const struct kw_disk_file *left = a, *right = b;
    for (unsigned i = 0; i < KW_ARRAY_LEN(left->number); i++) {
        if (left->number[i] != right->number[i]) return left->number[i] < right->number[i] ? -1 : 1;
    }
    return 0;
}

int kw_disk_list_read(int dir_fd, struct kw_disk_list *out, const struct kw_disk_why *why) {
    int fd = openat(dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    memset(out, 0, sizeof(*out));
    if (!dir) {
        int saved = errno;
        if (fd >= 0) close(fd);
        return kw_disk_refuse(why, KW_EIO, "cannot list the data folder %s: %s", why->dir, strerror(saved));
    }
    int code = 0;
    while (code == 0) {
        errno = 0;
        const struct dirent *entry = readdir(dir);
        if (!entry) break;
        code = take_name(out, entry->d_name, why);
    }
    if (code == 0 && errno != 0) {
        code = kw_disk_refuse(why, KW_EIO, "cannot list the data folder %s: %s", why->dir, strerror(errno));
    }
    closedir(dir);
    for (unsigned kind = 0; kind < KW_FILE_KINDS; kind++) {
        if (out->of[kind].count > 1) qsort(out->of[kind].file, out->of[kind].count, sizeof(*out->of[0].file), compare);
    }
    return code;
}

void kw_disk_list_deinit(struct kw_disk_list *list) {
    for (unsigned kind = 0; kind < KW_FILE_KINDS; kind++) kw_free(list->of[kind].file);
}

static int read_all(int fd, struct kw_disk_bytes *out) {
    for (size_t at = 0; at < out->len;) {
        ssize_t got = pread(fd, out->data + at, out->len - at, (off_t)at);
        if (got < 0 && errno == EINTR) continue;
        if (got == 0) errno = EIO;
        if (got <= 0) return KW_EIO;
        at += (size_t)got;
    }
    return 0;
}

int kw_disk_file_read(int dir_fd, const char *name, size_t max, struct kw_disk_bytes *out,
                      const struct kw_disk_why *why) {
    struct stat facts = {0};
    int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 && errno == ENOENT) return KW_EUNKNOWN;
    int code = fd < 0 || fstat(fd, &facts) != 0 ? KW_EIO : 0;
    bool regular = S_ISREG(facts.st_mode);
    if (code == 0 && regular && (uint64_t)facts.st_size <= max) {
        out->len = (size_t)facts.st_size;
        if (out->len > out->cap) {
            out->cap = out->len;
            out->data = kw_realloc(out->data, out->cap);
        }
        code = read_all(fd, out);
    } else if (code == 0) {
        code = KW_EPROTOCOL;
    }
    int saved = errno;
    if (fd >= 0) close(fd);
    if (code == KW_EPROTOCOL && !regular) return kw_disk_refuse_damage(why, name, 0, "this is not a file");
    if (code == KW_EPROTOCOL) return kw_disk_refuse_damage(why, name, max, "it is longer than a node makes it");
    if (code == 0) return 0;
    return kw_disk_refuse(
        why, KW_EIO,
        "cannot read %s/%s: %s. If the disk has failed, start with an empty folder on another one and a "
        "new id, then `keyway-cli meta remove %llu` and `keyway-cli meta add NEW HOST:PORT`",
        why->dir, name, strerror(saved), (unsigned long long)why->id);
}
