/*
 * The data folder from its opening to its end: made if need be, locked, its
 * identity compared, its log looked at. Owns the descriptors of the folder and
 * of its lock; the lock goes with the process, however that ends.
 *
 * What can fail: another process holds the lock; the folder belongs to another
 * node, or to nobody and is not empty; the log is damaged; input/output. Each
 * refusal names the file and what to do about it.
 */
#include "raft/store/disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"

/* libraft copies the folder's path into a buffer of its own. */
enum { DIR_MAX = 850 };

int kw_disk_refuse(const struct kw_disk_why *why, int code, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    vsnprintf(why->text, why->size, fmt, args);
    va_end(args);
    return code;
}

int kw_disk_refuse_damage(const struct kw_disk_why *why, const char *file, uint64_t at, const char *fmt, ...) {
    char what[256];
    va_list args;
    va_start(args, fmt);
    vsnprintf(what, sizeof(what), fmt, args);
    va_end(args);
    return kw_disk_refuse(
        why, KW_EPROTOCOL,
        "the log is damaged: %s, byte %llu: %s. This node cannot go on from it. Move the folder away, "
        "start with an empty one and a new id, then `keyway-cli meta remove %llu` and `keyway-cli meta "
        "add NEW HOST:PORT` (folder: %s)",
        file, (unsigned long long)at, what, (unsigned long long)why->id, why->dir);
}

/* A name that is written on a line of its own and shown to people. */
static bool cluster_is_plain(const char *cluster) {
    size_t len = strlen(cluster);
    if (len == 0 || len > KW_DISK_CLUSTER_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        if ((unsigned char)cluster[i] < ' ' || cluster[i] == 0x7f) return false;
    }
    return true;
}

/* The folder's name is on the disk once its parent is. */
static void sync_parent(const char *dir) {
    char copy[PATH_MAX];
    snprintf(copy, sizeof(copy), "%s", dir);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return;
    fsync(fd);
    close(fd);
}

static int folder_open(struct kw_disk *disk, const struct kw_disk_why *why) {
    if (!why->only_look && mkdir(why->dir, 0700) == 0) {
        sync_parent(why->dir);
    } else if (!why->only_look && errno != EEXIST) {
        return kw_disk_refuse(why, KW_EIO, "cannot make the data folder %s: %s", why->dir, strerror(errno));
    }
    disk->dir_fd = open(why->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (disk->dir_fd < 0) {
        return kw_disk_refuse(why, KW_EIO, "cannot open the data folder %s: %s", why->dir, strerror(errno));
    }
    return 0;
}

/* The holder writes its process id into the file, for the one who is refused. */
static int folder_lock(struct kw_disk *disk, const struct kw_disk_why *why) {
    char text[32] = "";
    int how = why->only_look ? O_RDONLY : O_RDWR | O_CREAT;
    disk->lock_fd = openat(disk->dir_fd, KW_DISK_FILE_LOCK, how | O_CLOEXEC, 0600);
    if (disk->lock_fd < 0 && why->only_look && errno == ENOENT) return 0;
    if (disk->lock_fd < 0) {
        return kw_disk_refuse(why, KW_EIO, "cannot open %s/%s: %s", why->dir, KW_DISK_FILE_LOCK, strerror(errno));
    }
    if (flock(disk->lock_fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK) {
            return kw_disk_refuse(why, KW_EIO, "cannot lock %s/%s: %s", why->dir, KW_DISK_FILE_LOCK, strerror(errno));
        }
        ssize_t got = pread(disk->lock_fd, text, sizeof(text) - 1, 0);
        if (got > 0) text[strcspn(text, "\n")] = '\0';
        return kw_disk_refuse(
            why, KW_ELIMIT,
            "the data folder %s is in use by the process %s: end that one, or give this node a folder "
            "of its own",
            why->dir, text[0] ? text : "(not known)");
    }
    if (why->only_look) return 0;
    int len = snprintf(text, sizeof(text), "%ld\n", (long)getpid());
    if (ftruncate(disk->lock_fd, 0) != 0 || pwrite(disk->lock_fd, text, (size_t)len, 0) != len) {
        kw_log(KW_LOG_VERBOSE, "cannot write the process id to %s/%s", why->dir, KW_DISK_FILE_LOCK);
    }
    return 0;
}

/* What may lie in a folder that no node has used: what a start that was cut off leaves, and the file system's own. */
static bool name_is_harmless(const char *name) {
    static const char *const harmless[] = {".", "..", KW_DISK_FILE_LOCK, KW_DISK_FILE_IDENTITY_NEW, "lost+found", NULL};
    for (unsigned i = 0; harmless[i]; i++) {
        if (strcmp(name, harmless[i]) == 0) return true;
    }
    return false;
}

static int folder_must_be_empty(const struct kw_disk *disk, const struct kw_disk_why *why) {
    char stranger[NAME_MAX + 1] = "";
    int fd = openat(disk->dir_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        int saved = errno;
        if (fd >= 0) close(fd);
        return kw_disk_refuse(why, KW_EIO, "cannot list the data folder %s: %s", why->dir, strerror(saved));
    }
    for (const struct dirent *entry; !stranger[0] && (entry = readdir(dir));) {
        if (!name_is_harmless(entry->d_name)) snprintf(stranger, sizeof(stranger), "%s", entry->d_name);
    }
    closedir(dir);
    if (!stranger[0]) return 0;
    return kw_disk_refuse(why, KW_EINVALID,
                          "the data folder %s holds \"%.64s\" but no file \"%s\": it is not this node's. Give an empty "
                          "folder; one that has lost its identity cannot be used again, begin with an empty one and a "
                          "new id",
                          why->dir, stranger, KW_DISK_FILE_IDENTITY);
}

/* What no other folder has. The kernel's generator is ready long before this runs; failing that, nothing is safe. */
static uint64_t draw_incarnation(void) {
    uint64_t value = 0;
    while (value == 0) {
        ssize_t got = getrandom(&value, sizeof(value), 0);
        KW_ASSERT(got == (ssize_t)sizeof(value) || (got < 0 && errno == EINTR));
        if (got < 0) value = 0;
    }
    return value;
}

static int identity_begin(struct kw_disk *disk, const char *cluster, const struct kw_disk_why *why) {
    int code = folder_must_be_empty(disk, why);
    if (code) return code;
    disk->identity = (struct kw_disk_identity){.id = why->id, .incarnation = draw_incarnation()};
    snprintf(disk->identity.cluster, sizeof(disk->identity.cluster), "%s", cluster);
    if (kw_disk_identity_write(disk->dir_fd, &disk->identity) == 0) return 0;
    return kw_disk_refuse(why, KW_EIO, "cannot write %s/%s: %s", why->dir, KW_DISK_FILE_IDENTITY, strerror(errno));
}

static int identity_compare(const struct kw_disk *disk, const char *cluster, const struct kw_disk_why *why) {
    const struct kw_disk_identity *identity = &disk->identity;
    unsigned long long id = (unsigned long long)identity->id;
    if (identity->retired) {
        return kw_disk_refuse(
            why, KW_EINVALID,
            "node %llu was removed from the cluster \"%s\" and must not come back: start with an empty "
            "folder and a new id, then `keyway-cli meta add NEW HOST:PORT` (folder: %s)",
            id, identity->cluster, why->dir);
    }
    if (strcmp(identity->cluster, cluster) != 0) {
        return kw_disk_refuse(why, KW_EINVALID,
                              "the data folder %s belongs to the cluster \"%s\", not to \"%s\": correct the name, or "
                              "give another folder",
                              why->dir, identity->cluster, cluster);
    }
    if (identity->id != why->id) {
        return kw_disk_refuse(
            why, KW_EINVALID,
            "the data folder %s belongs to node %llu, not to node %llu: correct the id, or give another "
            "folder",
            why->dir, id, (unsigned long long)why->id);
    }
    return 0;
}

/*
 * A node that was killed before its first entry is still a new one: without this it would wait for ever, since libraft
 * begins no log where a term was written. Term 1 without a vote says nothing that must be remembered.
 */
static int first_start_again(const struct kw_disk *disk, const struct kw_disk_log *log, const struct kw_disk_why *why) {
    if (!log->is_first_term || why->only_look) return 0;
    if ((unlinkat(disk->dir_fd, "metadata1", 0) != 0 && errno != ENOENT) || fsync(disk->dir_fd) != 0) {
        return kw_disk_refuse(why, KW_EIO, "cannot remove %s/metadata1: %s", why->dir, strerror(errno));
    }
    return 0;
}

static int log_compare(struct kw_disk *disk, const struct kw_disk_log *log, enum kw_disk_found *found,
                       const struct kw_disk_why *why) {
    if (log->has_log) {
        *found = KW_DISK_OURS;
        if (disk->identity.begun || why->only_look) return 0;
        disk->identity.begun = true;
        if (kw_disk_identity_write(disk->dir_fd, &disk->identity) == 0) return 0;
        return kw_disk_refuse(why, KW_EIO, "cannot write %s/%s: %s", why->dir, KW_DISK_FILE_IDENTITY, strerror(errno));
    }
    if (disk->identity.begun) {
        return kw_disk_refuse_damage(why, "the log's files", 0, "are gone, although this node has had some");
    }
    *found = log->has_metadata && !log->is_first_term ? KW_DISK_OURS : KW_DISK_EMPTY;
    return first_start_again(disk, log, why);
}

static int open_known(struct kw_disk *disk, const char *cluster, enum kw_disk_found *found,
                      const struct kw_disk_why *why) {
    struct kw_disk_log log;
    int code = identity_compare(disk, cluster, why);
    if (code == 0) code = kw_disk_peers_read(disk->dir_fd, &disk->peers, why);
    if (code == 0) code = kw_disk_scan(disk->dir_fd, &log, why);
    return code ? code : log_compare(disk, &log, found, why);
}

static int open_all(struct kw_disk *disk, const char *cluster, enum kw_disk_found *found,
                    const struct kw_disk_why *why) {
    int code = folder_open(disk, why);
    if (code == 0) code = folder_lock(disk, why);
    if (code) return code;
    code = kw_disk_identity_read(disk->dir_fd, &disk->identity, why);
    if (code == 0) return open_known(disk, cluster, found, why);
    if (code != KW_EUNKNOWN) return code;
    if (why->only_look) {
        return kw_disk_refuse(why, KW_EINVALID, "%s has no file \"%s\"", why->dir, KW_DISK_FILE_IDENTITY);
    }
    *found = KW_DISK_EMPTY;
    return identity_begin(disk, cluster, why);
}

static int open_judged(struct kw_disk **out, const char *cluster, enum kw_disk_found *found,
                       const struct kw_disk_why *why) {
    if (why->id == 0) return kw_disk_refuse(why, KW_EINVALID, "a node's id is a number from 1 on");
    if (why->dir[0] == '\0' || strlen(why->dir) > DIR_MAX) {
        return kw_disk_refuse(why, KW_EINVALID, "the data folder's path must have 1 to %d bytes", DIR_MAX);
    }
    if (!cluster_is_plain(cluster)) {
        return kw_disk_refuse(why, KW_EINVALID,
                              "the cluster's name must have 1 to %d bytes, none of them a control "
                              "character",
                              KW_DISK_CLUSTER_MAX);
    }
    struct kw_disk *disk = kw_calloc(1, sizeof(*disk));
    disk->dir_fd = disk->lock_fd = -1;
    kw_disk_watch_init(&disk->watch);
    int code = open_all(disk, cluster, found, why);
    if (code) {
        kw_disk_close(disk);
        return code;
    }
    *out = disk;
    return 0;
}

int kw_disk_open(struct kw_disk **out, const char *dir, uint64_t id, const char *cluster, enum kw_disk_found *found,
                 char *why_text, size_t why_size) {
    const struct kw_disk_why why = {.text = why_text, .size = why_size, .dir = dir, .id = id};
    return open_judged(out, cluster, found, &why);
}

int kw_disk_look(const char *dir, uint64_t id, const char *cluster, enum kw_disk_found *found, char *why_text,
                 size_t why_size) {
    const struct kw_disk_why why = {.text = why_text, .size = why_size, .dir = dir, .id = id, .only_look = true};
    struct kw_disk *disk = NULL;
    int code = open_judged(&disk, cluster, found, &why);
    kw_disk_close(disk);
    return code;
}

void kw_disk_close(struct kw_disk *disk) {
    if (!disk) return;
    kw_disk_watch_deinit(&disk->watch);
    kw_disk_peers_deinit(&disk->peers);
    if (disk->lock_fd >= 0) close(disk->lock_fd);
    if (disk->dir_fd >= 0) close(disk->dir_fd);
    kw_free(disk);
}

int kw_disk_retire(struct kw_disk *disk) {
    struct kw_disk_identity identity = disk->identity;
    if (identity.retired) return 0;
    identity.retired = true;
    int code = kw_disk_identity_write(disk->dir_fd, &identity);
    if (code == 0) disk->identity = identity;
    return code;
}

/* Once in the node's life: from its first entry on, a folder without log is a wiped one. */
static void identity_mark_begun(struct kw_disk *disk) {
    disk->identity.begun = true;
    if (kw_disk_identity_write(disk->dir_fd, &disk->identity) == 0) return;
    disk->identity.begun = false;
    kw_log(KW_LOG_WARNING, "cannot write the file \"%s\": %s", KW_DISK_FILE_IDENTITY, strerror(errno));
}

void kw_disk_append(struct kw_disk *disk, bool started) {
    if (!started && !disk->identity.begun) identity_mark_begun(disk);
    kw_disk_watch_append(&disk->watch, started);
}
