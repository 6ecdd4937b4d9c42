/*
 * The reserve: blocks that are ours already, in a file without use. On a full
 * disk it is removed, and what must still be written fits. Owns the file
 * "reserve"; fails where there is no room for it, and leaves nothing then.
 */
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/error.h"
#include "raft/store/disk_internal.h"

int kw_disk_reserve_make(struct kw_disk *disk) {
    int fd = openat(disk->dir_fd, KW_DISK_FILE_RESERVE, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return KW_EIO;
    /* Also where the file is there: a crash may have left it without all of its blocks. */
    int failed = posix_fallocate(fd, 0, KW_DISK_RESERVE_BYTES);
    if (failed == 0 && fsync(fd) != 0) failed = errno;
    close(fd);
    if (failed == 0) return 0;
    unlinkat(disk->dir_fd, KW_DISK_FILE_RESERVE, 0);
    errno = failed;
    return KW_EIO;
}

bool kw_disk_reserve_drop(struct kw_disk *disk) {
    return unlinkat(disk->dir_fd, KW_DISK_FILE_RESERVE, 0) == 0;
}

uint64_t kw_disk_free_bytes(const struct kw_disk *disk) {
    struct statvfs facts;
    if (fstatvfs(disk->dir_fd, &facts) != 0) return 0;
    return (uint64_t)facts.f_bavail * facts.f_frsize;
}
