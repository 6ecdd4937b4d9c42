/*
 * What a crash left behind, lost nothing by, and libraft would stumble over:
 * noted while the folder is looked at, done once everything else in it has
 * been found good. A refused folder is left as it was.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"

static void add(struct kw_disk_mends *mends, const char *name, struct kw_disk_mend mend) {
    if (mends->count == mends->cap) {
        mends->cap = mends->cap ? mends->cap * 2 : 4;
        mends->mend = kw_realloc(mends->mend, mends->cap * sizeof(*mends->mend));
    }
    snprintf(mend.name, sizeof(mend.name), "%s", name);
    mends->mend[mends->count++] = mend;
}

void kw_disk_mends_remove(struct kw_disk_mends *mends, const char *name, const char *reason) {
    add(mends, name, (struct kw_disk_mend){.kind = KW_MEND_REMOVE, .reason = reason});
}

void kw_disk_mends_cut(struct kw_disk_mends *mends, const char *name, uint64_t length, const char *reason) {
    add(mends, name, (struct kw_disk_mend){.kind = KW_MEND_CUT, .place = length, .reason = reason});
}

void kw_disk_mends_put(struct kw_disk_mends *mends, const char *name, uint64_t place, uint64_t value,
                       const char *reason) {
    add(mends, name, (struct kw_disk_mend){.kind = KW_MEND_PUT, .place = place, .value = value, .reason = reason});
}

static bool put(int fd, uint64_t place, uint64_t value) {
    uint8_t bytes[8];
    for (unsigned i = 0; i < sizeof(bytes); i++) bytes[i] = (uint8_t)(value >> 8 * i);
    return pwrite(fd, bytes, sizeof(bytes), (off_t)place) == (ssize_t)sizeof(bytes);
}

static bool apply(const struct kw_disk_mend *mend, int dir_fd) {
    if (mend->kind == KW_MEND_REMOVE) return unlinkat(dir_fd, mend->name, 0) == 0;
    int fd = openat(dir_fd, mend->name, O_WRONLY | O_CLOEXEC);
    if (fd < 0) return false;
    bool done = mend->kind == KW_MEND_CUT ? ftruncate(fd, (off_t)mend->place) == 0 : put(fd, mend->place, mend->value);
    done = done && fsync(fd) == 0;
    int saved = errno;
    close(fd);
    errno = saved;
    return done;
}

int kw_disk_mends_apply(const struct kw_disk_mends *mends, int dir_fd, const struct kw_disk_why *why) {
    static const char *const did[] = {[KW_MEND_REMOVE] = "removed", [KW_MEND_CUT] = "cut", [KW_MEND_PUT] = "completed"};
    for (size_t i = 0; i < mends->count; i++) {
        const struct kw_disk_mend *mend = &mends->mend[i];
        if (why->only_look) {
            kw_log(KW_LOG_NOTICE, "a start mends this after a crash, nothing is lost: %s: %s", mend->name,
                   mend->reason);
            continue;
        }
        if (!apply(mend, dir_fd)) {
            return kw_disk_refuse(why, KW_EIO, "cannot mend %s/%s after a crash: %s", why->dir, mend->name,
                                  strerror(errno));
        }
        kw_log(KW_LOG_NOTICE, "the log is mended after a crash, nothing is lost: %s %s: %s", mend->name,
               did[mend->kind], mend->reason);
    }
    if (mends->count == 0 || why->only_look || fsync(dir_fd) == 0) return 0;
    return kw_disk_refuse(why, KW_EIO, "cannot write the data folder %s: %s", why->dir, strerror(errno));
}

void kw_disk_mends_deinit(struct kw_disk_mends *mends) {
    kw_free(mends->mend);
}
