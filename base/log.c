/* Formats a line on the stack and writes it with one call. Owns the log's file descriptor. */
#include "base/log.h"

#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"

enum { LINE_MAX_BYTES = 1024 };

static _Atomic int log_fd = STDOUT_FILENO;
static _Atomic int log_level = KW_LOG_NOTICE;

int kw_log_open(const char *path, enum kw_log_level level) {
    int fd = STDOUT_FILENO;
    if (path && *path) {
        fd = open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
        if (fd < 0) return KW_EIO;
    }
    int old = atomic_exchange(&log_fd, fd);
    if (old > STDERR_FILENO) close(old);
    kw_log_set_level(level);
    return 0;
}

void kw_log_set_level(enum kw_log_level level) {
    atomic_store(&log_level, (int)level);
}

bool kw_log_enabled(enum kw_log_level level) {
    return (int)level >= atomic_load_explicit(&log_level, memory_order_relaxed);
}

KW_PRINTF(2, 0) static void write_line(enum kw_log_level level, const char *fmt, va_list args) {
    static const char marks[] = ".-*#";
    char line[LINE_MAX_BYTES];
    struct timespec now;
    struct tm parts;
    clock_gettime(CLOCK_REALTIME, &now);
    gmtime_r(&now.tv_sec, &parts);
    size_t len = strftime(line, sizeof(line), "%Y-%m-%dT%H:%M:%S", &parts);
    len += (size_t)snprintf(line + len, sizeof(line) - len, ".%03ldZ %d %c ", now.tv_nsec / 1000000L, (int)getpid(),
                            marks[level]);
    size_t text = len;
    int wrote = vsnprintf(line + len, sizeof(line) - len - 1, fmt, args);
    if (wrote > 0) len += (size_t)wrote < sizeof(line) - len - 1 ? (size_t)wrote : sizeof(line) - len - 2;
    for (size_t i = text; i < len; i++) {
        if ((unsigned char)line[i] < ' ') line[i] = '?';
    }
    line[len++] = '\n';
    ssize_t ignored = write(atomic_load(&log_fd), line, len);
    (void)ignored; /* a log that cannot be written has nowhere to complain to */
}

void kw_log(enum kw_log_level level, const char *fmt, ...) {
    if (!kw_log_enabled(level)) return;
    va_list args;
    va_start(args, fmt);
    write_line(level, fmt, args);
    va_end(args);
}

void kw_log_limited(struct kw_log_limit *limit, enum kw_log_level level, const char *fmt, ...) {
    if (!kw_log_enabled(level)) return;
    uint64_t now = kw_clock_ms();
    uint64_t last = atomic_load(&limit->last_ms);
    if ((last != 0 && now - last < 1000) || !atomic_compare_exchange_strong(&limit->last_ms, &last, now)) {
        atomic_fetch_add(&limit->suppressed, 1);
        return;
    }
    uint64_t left_out = atomic_exchange(&limit->suppressed, 0);
    va_list args;
    va_start(args, fmt);
    write_line(level, fmt, args);
    va_end(args);
    if (left_out) kw_log(level, "(%llu similar lines left out)", (unsigned long long)left_out);
}

void kw_assert_failed(const char *cond, const char *file, int line) {
    fprintf(stderr, "keyway: assertion failed: %s (%s:%d)\n", cond, file, line);
    abort();
}
