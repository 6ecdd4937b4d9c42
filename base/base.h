/*
 * What every file may lean on: the assertion that stays alive in release
 * builds, the compiler hints, and container arithmetic. Owns nothing.
 */
#ifndef KW_BASE_BASE_H
#define KW_BASE_BASE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KW_LIKELY(x)                    __builtin_expect(!!(x), 1)
#define KW_UNLIKELY(x)                  __builtin_expect(!!(x), 0)
#define KW_PRINTF(fmt_index, first_arg) __attribute__((format(printf, fmt_index, first_arg)))
#define KW_NORETURN                     __attribute__((noreturn))
#define KW_UNUSED                       __attribute__((unused))
#define KW_ARRAY_LEN(a)                 (sizeof(a) / sizeof((a)[0]))

/* The object of `type` whose member `member` lives at `ptr`. */
#define KW_CONTAINER_OF(ptr, type, member) ((type *)(void *)((char *)(ptr)-offsetof(type, member)))

/*
 * A programmer's error ends the process with file, line and condition on
 * standard error, in every build type. Never used for what a peer sent.
 */
#define KW_ASSERT(cond) ((void)(KW_LIKELY(cond) || (kw_assert_failed(#cond, __FILE__, __LINE__), 0)))

KW_NORETURN void kw_assert_failed(const char *cond, const char *file, int line);

#endif
