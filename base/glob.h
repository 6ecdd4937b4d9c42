/*
 * Glob patterns as Redis matches them (KEYS, PSUBSCRIBE, CONFIG GET): `*`,
 * `?`, `[abc]`, `[^a-z]`, and `\` before a literal character. Owns nothing,
 * allocates nothing, cannot fail. Any thread.
 */
#ifndef KW_BASE_GLOB_H
#define KW_BASE_GLOB_H

#include <stdbool.h>
#include <stddef.h>

/*
 * True where the whole of `text` matches the whole of `pattern`; `nocase`
 * ignores the case of ASCII letters. Any bytes are allowed in both, and a
 * malformed pattern has the meaning that Redis 7.0 gives it (an unclosed `[`
 * ends with the pattern; only the empty pattern matches the empty text). Time is at most pattern_len * text_len steps,
 * no matter how many stars there are: callers bound the two lengths. Source of the rules: stringmatchlen() in Redis's
 * util.c.
 */
bool kw_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len, bool nocase);

#endif
