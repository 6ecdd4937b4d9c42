/*
 * A preloaded library that lets the disk fail under a program, for the chaos
 * tests: writes, allocations and syncs of files below a folder fail or stall
 * as a control file says, from one call to the next.
 *
 *   DISK_SHIM_DIR      the folder; its path as /proc shows it
 *   DISK_SHIM_CONTROL  the control file; without it, or empty, nothing happens. One line:
 *       fail ENOSPC|EIO [KINDS]   each call fails so
 *       stall MS [KINDS]          each call takes so much longer
 *       hang [KINDS]              each call waits until the file says something else
 *     KINDS: any of w (write, append), s (fsync, fdatasync), a (allocate, truncate), o (open for writing);
 *     all of them if it is left out.
 *
 * libraft appends with Linux AIO, by syscall(2). Such a write never holds up
 * the caller: a stalled one is handed to the kernel later, by a thread; a
 * failed one goes to a file in memory that cannot be written, so that it comes
 * back where libraft waits for it, and there its error is put in place.
 *
 * Owns no state but the list of writes that are to fail, which is bounded; one
 * too many fails with EPERM.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/aio_abi.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { LINE_SIZE = 128, POLL_MS = 5, FAILED_MAX = 1024 };

enum action { PASS, FAIL, STALL, HANG };

struct order {
    enum action action;
    int error;
    unsigned ms;
    char kinds[8];
};

/* The call as the next library has it. */
#define NEXT(name) ((__typeof__(&name))next(#name))

static void *next(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}

static long raw(long number, long a, long b, long c, long d, long e, long f) {
    return NEXT(syscall)(number, a, b, c, d, e, f);
}

/* What the control file says now. Without stdio and without the calls that are stood in for. */
static struct order order_read(void) {
    char line[LINE_SIZE], word[16] = "", value[16] = "", kinds[8] = "";
    struct order order = {PASS, 0, 0, "wsao"};
    const char *path = getenv("DISK_SHIM_CONTROL");
    long fd = path ? raw(SYS_openat, AT_FDCWD, (long)path, O_RDONLY | O_CLOEXEC, 0, 0, 0) : -1;
    if (fd < 0) return order;
    long got = raw(SYS_read, fd, (long)line, LINE_SIZE - 1, 0, 0, 0);
    raw(SYS_close, fd, 0, 0, 0, 0, 0);
    line[got > 0 ? got : 0] = '\0';
    if (sscanf(line, "%15s", word) != 1) return order;
    if (strcmp(word, "hang") == 0) {
        order.action = HANG;
        sscanf(line, "%*s %7s", kinds);
    } else if (strcmp(word, "stall") == 0 && sscanf(line, "%*s %u %7s", &order.ms, kinds) >= 1) {
        order.action = STALL;
    } else if (strcmp(word, "fail") == 0 && sscanf(line, "%*s %15s %7s", value, kinds) >= 1) {
        order.action = FAIL;
        order.error = strcmp(value, "ENOSPC") == 0 ? ENOSPC : EIO;
    }
    if (kinds[0]) memcpy(order.kinds, kinds, sizeof(kinds));
    return order;
}

static bool path_is_ours(const char *path) {
    const char *dir = getenv("DISK_SHIM_DIR");
    size_t len = dir ? strlen(dir) : 0;
    return len > 0 && strncmp(path, dir, len) == 0 && (path[len] == '/' || path[len] == '\0');
}

/* Also a file without a name yet: /proc shows the folder's path and a number. */
static bool fd_is_ours(int fd) {
    char link[64], path[PATH_MAX];
    int saved = errno;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t len = readlink(link, path, sizeof(path) - 1);
    errno = saved;
    if (len <= 0) return false;
    path[len] = '\0';
    return path_is_ours(path);
}

static void nap(unsigned ms) {
    const struct timespec time = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
    nanosleep(&time, NULL);
}

static bool order_is_for(const struct order *order, char kind) {
    return order->action != PASS && strchr(order->kinds, kind);
}

/* Waits as long as the order says. A stall is of the time that was said when it began. */
static void wait_out(struct order order, char kind) {
    if (order.action == STALL) nap(order.ms);
    while (order_is_for(&order, kind) && order.action == HANG) {
        nap(POLL_MS);
        order = order_read();
    }
}

/* 0: go on; else the error of the call. */
static int verdict(int fd, char kind) {
    if (!getenv("DISK_SHIM_CONTROL") || !fd_is_ours(fd)) return 0;
    struct order order = order_read();
    if (!order_is_for(&order, kind)) return 0;
    if (order.action == FAIL) return order.error;
    wait_out(order, kind);
    return 0;
}

/* A call that answers -1 and sets errno. */
#define REFUSE_OR(fd, kind, call)                                                                                      \
    do {                                                                                                               \
        int error_ = verdict(fd, kind);                                                                                \
        if (error_ == 0) return call;                                                                                  \
        errno = error_;                                                                                                \
        return -1;                                                                                                     \
    } while (0)

ssize_t write(int fd, const void *bytes, size_t len) {
    REFUSE_OR(fd, 'w', NEXT(write)(fd, bytes, len));
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at) {
    REFUSE_OR(fd, 'w', NEXT(pwrite)(fd, bytes, len, at));
}

ssize_t pwrite64(int fd, const void *bytes, size_t len, off64_t at) {
    REFUSE_OR(fd, 'w', NEXT(pwrite64)(fd, bytes, len, at));
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    REFUSE_OR(fd, 'w', NEXT(writev)(fd, parts, count));
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t at) {
    REFUSE_OR(fd, 'w', NEXT(pwritev)(fd, parts, count, at));
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t at) {
    REFUSE_OR(fd, 'w', NEXT(pwritev64)(fd, parts, count, at));
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t at, int flags) {
    REFUSE_OR(fd, 'w', NEXT(pwritev2)(fd, parts, count, at, flags));
}

int fsync(int fd) {
    REFUSE_OR(fd, 's', NEXT(fsync)(fd));
}

int fdatasync(int fd) {
    REFUSE_OR(fd, 's', NEXT(fdatasync)(fd));
}

int ftruncate(int fd, off_t len) {
    REFUSE_OR(fd, 'a', NEXT(ftruncate)(fd, len));
}

int ftruncate64(int fd, off64_t len) {
    REFUSE_OR(fd, 'a', NEXT(ftruncate64)(fd, len));
}

int fallocate(int fd, int mode, off_t at, off_t len) {
    REFUSE_OR(fd, 'a', NEXT(fallocate)(fd, mode, at, len));
}

int fallocate64(int fd, int mode, off64_t at, off64_t len) {
    REFUSE_OR(fd, 'a', NEXT(fallocate64)(fd, mode, at, len));
}

/* These answer the error itself. */
int posix_fallocate(int fd, off_t at, off_t len) {
    int error = verdict(fd, 'a');
    return error ? error : NEXT(posix_fallocate)(fd, at, len);
}

int posix_fallocate64(int fd, off64_t at, off64_t len) {
    int error = verdict(fd, 'a');
    return error ? error : NEXT(posix_fallocate64)(fd, at, len);
}

/* ---- opening for writing ---- */

/* A path is compared as the folder of the descriptor or of the process makes it, without following links. */
static int open_verdict(int dir_fd, const char *path, int flags) {
    char whole[PATH_MAX * 2] = "", link[64];
    if (!getenv("DISK_SHIM_CONTROL") || (flags & O_ACCMODE) == O_RDONLY) return 0;
    if (path[0] != '/') {
        int saved = errno;
        snprintf(link, sizeof(link), dir_fd == AT_FDCWD ? "/proc/self/cwd" : "/proc/self/fd/%d", dir_fd);
        ssize_t len = readlink(link, whole, PATH_MAX);
        errno = saved;
        if (len <= 0) return 0;
        snprintf(whole + len, sizeof(whole) - (size_t)len, "/");
    }
    size_t used = strlen(whole);
    snprintf(whole + used, sizeof(whole) - used, "%s", path);
    struct order order = order_read();
    if (!path_is_ours(whole) || !order_is_for(&order, 'o')) return 0;
    if (order.action == FAIL) return order.error;
    wait_out(order, 'o');
    return 0;
}

#define OPEN(name, dir_fd, ...)                                                                                        \
    do {                                                                                                               \
        va_list args_;                                                                                                 \
        va_start(args_, flags);                                                                                        \
        mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(args_, mode_t) : 0;                                     \
        va_end(args_);                                                                                                 \
        int error_ = open_verdict(dir_fd, path, flags);                                                                \
        if (error_ == 0) return NEXT(name)(__VA_ARGS__, flags, mode);                                                  \
        errno = error_;                                                                                                \
        return -1;                                                                                                     \
    } while (0)

int open(const char *path, int flags, ...) {
    OPEN(open, AT_FDCWD, path);
}

int open64(const char *path, int flags, ...) {
    OPEN(open64, AT_FDCWD, path);
}

int openat(int dir_fd, const char *path, int flags, ...) {
    OPEN(openat, dir_fd, dir_fd, path);
}

int openat64(int dir_fd, const char *path, int flags, ...) {
    OPEN(openat64, dir_fd, dir_fd, path);
}

/* ---- Linux AIO ---- */

/* Writes that are to fail, by the caller's mark. */
struct failed {
    uint64_t mark;
    int error;
};

static pthread_mutex_t failed_lock = PTHREAD_MUTEX_INITIALIZER;
static struct failed failed[FAILED_MAX];
static unsigned failed_count;
static int unwritable = -1;

static void failed_add(uint64_t mark, int error) {
    pthread_mutex_lock(&failed_lock);
    if (unwritable < 0) {
        unwritable = memfd_create("disk_shim", MFD_CLOEXEC | MFD_ALLOW_SEALING);
        if (unwritable < 0 || fcntl(unwritable, F_ADD_SEALS, F_SEAL_WRITE) != 0) abort();
    }
    if (failed_count < FAILED_MAX) failed[failed_count++] = (struct failed){mark, error};
    pthread_mutex_unlock(&failed_lock);
}

/* The error of the write with this mark; 0: none. */
static int failed_take(uint64_t mark) {
    int error = 0;
    pthread_mutex_lock(&failed_lock);
    for (unsigned i = 0; i < failed_count && error == 0; i++) {
        if (failed[i].mark != mark) continue;
        error = failed[i].error;
        failed[i] = failed[--failed_count];
    }
    pthread_mutex_unlock(&failed_lock);
    return error;
}

/* The kernel copies the request, so what it is given may be ours. */
static long submit_to_fail(aio_context_t ctx, const struct iocb *request, int error) {
    struct iocb copy = *request, *list = &copy;
    failed_add(request->aio_data, error);
    copy.aio_fildes = (uint32_t)unwritable;
    copy.aio_rw_flags = 0;
    return raw(SYS_io_submit, (long)ctx, 1, (long)&list, 0, 0, 0);
}

struct late {
    aio_context_t ctx;
    struct iocb *request; /* the caller's: lives until its outcome is known */
    struct order order;
};

static void *submit_late(void *arg) {
    struct late late = *(struct late *)arg;
    free(arg);
    wait_out(late.order, 'w');
    /* Without RWF_NOWAIT: nobody is left who could try again. */
    struct iocb copy = *late.request, *list = &copy;
    copy.aio_rw_flags &= ~RWF_NOWAIT;
    raw(SYS_io_submit, (long)late.ctx, 1, (long)&list, 0, 0, 0);
    return NULL;
}

static long submit_later(aio_context_t ctx, struct iocb *request, struct order order) {
    pthread_t thread;
    struct late *late = malloc(sizeof(*late));
    if (!late) abort();
    *late = (struct late){ctx, request, order};
    if (pthread_create(&thread, NULL, submit_late, late) != 0) abort();
    pthread_detach(thread);
    return 1;
}

static long submit(aio_context_t ctx, long count, struct iocb **requests) {
    struct order order = {PASS, 0, 0, ""};
    if (getenv("DISK_SHIM_CONTROL") && count == 1 && fd_is_ours((int)requests[0]->aio_fildes)) order = order_read();
    if (!order_is_for(&order, 'w')) return raw(SYS_io_submit, (long)ctx, count, (long)requests, 0, 0, 0);
    if (order.action == FAIL) return submit_to_fail(ctx, requests[0], order.error);
    return submit_later(ctx, requests[0], order);
}

static long events(long ctx, long least, long most, struct io_event *out, long timeout) {
    long got = raw(SYS_io_getevents, ctx, least, most, (long)out, timeout, 0);
    for (long i = 0; i < got; i++) {
        int error = failed_take(out[i].data);
        if (error) out[i].res = -error;
    }
    return got;
}

long syscall(long number, ...) {
    va_list args;
    long arg[6];
    va_start(args, number);
    for (int i = 0; i < 6; i++) arg[i] = va_arg(args, long);
    va_end(args);
    if (number == SYS_io_submit) return submit((aio_context_t)arg[0], arg[1], (struct iocb **)arg[2]);
    if (number == SYS_io_getevents) return events(arg[0], arg[1], arg[2], (struct io_event *)arg[3], arg[4]);
    return raw(number, arg[0], arg[1], arg[2], arg[3], arg[4], arg[5]);
}
