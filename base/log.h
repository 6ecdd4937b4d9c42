/*
 * The log: one line an event, Redis's levels, to standard output or a file.
 * Thread-safe: each line is one write(2). Nothing on the request path logs
 * at notice or above without a limit (kw_log_limited).
 */
#ifndef KW_BASE_LOG_H
#define KW_BASE_LOG_H

#include <stdbool.h>
#include <stdint.h>

#include "base/base.h"

enum kw_log_level { KW_LOG_DEBUG, KW_LOG_VERBOSE, KW_LOG_NOTICE, KW_LOG_WARNING };

/*
 * Sends lines of `level` and above to `path` (appended to; NULL or "" is
 * standard output). Returns 0, or KW_EIO with errno set; the old target
 * stays then. Main thread.
 */
int kw_log_open(const char *path, enum kw_log_level level);
void kw_log_set_level(enum kw_log_level level);
bool kw_log_enabled(enum kw_log_level level);

/* Writes one line; control characters in the text are replaced by '?'. Any thread. */
void kw_log(enum kw_log_level level, const char *fmt, ...) KW_PRINTF(2, 3);

/* One counter a call site: at most one line a second, the next says how many were left out. */
struct kw_log_limit {
    _Atomic uint64_t last_ms;
    _Atomic uint64_t suppressed;
};

void kw_log_limited(struct kw_log_limit *limit, enum kw_log_level level, const char *fmt, ...) KW_PRINTF(3, 4);

#endif
