/* One argument of a command, as the parser found it. Borrowed: valid while the request's bytes are. */
#ifndef KW_BASE_ARG_H
#define KW_BASE_ARG_H

#include <stddef.h>
#include <stdint.h>

struct kw_arg {
    const char *data; /* borrowed; not NUL-terminated; NULL when the payload is large and not contiguous */
    size_t len;       /* bytes */
};

/* The number that begins at `at`, of bytes that need not end with NUL; SIZE_MAX: no digit is there, or too many. */
static inline size_t kw_digits(const char *at, const char *end) {
    size_t number = 0;
    const char *first = at;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (number > SIZE_MAX / 10 - 1) return SIZE_MAX;
        number = number * 10 + (size_t)(*at - '0');
    }
    return at > first ? number : SIZE_MAX;
}

#endif
