/*
 * Redis's glob without its recursion. Only the last star ever needs to be
 * tried again: whatever an earlier star could have swallowed more, the later
 * one can swallow instead. So one saved position is enough, and a pattern
 * such as a*a*a*a*b cannot take exponential time.
 */
#include "base/glob.h"

static int fold(char c, bool nocase) {
    if (nocase && c >= 'A' && c <= 'Z') return c - 'A' + 'a';
    /* Redis compares plain chars; on its platforms of reference they are signed, which matters for ranges. */
    return (signed char)c;
}

static bool in_range(char from, char to, char c, bool nocase) {
    if ((signed char)from > (signed char)to) {
        char swap = from;
        from = to;
        to = swap;
    }
    return fold(c, nocase) >= fold(from, nocase) && fold(c, nocase) <= fold(to, nocase);
}

/* A class, `pattern` just behind its '['. Returns how many bytes it takes with the ']', and whether it holds `c`. */
static size_t match_class(const char *pattern, size_t len, char c, bool nocase, bool *holds) {
    size_t i = 0;
    bool found = false;
    bool negated = len > 0 && pattern[0] == '^';
    if (negated) i++;
    while (i < len && pattern[i] != ']') {
        if (pattern[i] == '\\' && len - i >= 2) {
            if (pattern[i + 1] == c) found = true; /* the case always matters here, as in Redis */
            i += 2;
        } else if (len - i >= 3 && pattern[i + 1] == '-') {
            if (in_range(pattern[i], pattern[i + 2], c, nocase)) found = true;
            i += 3;
        } else {
            if (fold(pattern[i], nocase) == fold(c, nocase)) found = true;
            i++;
        }
    }
    *holds = found != negated;
    return i < len ? i + 1 : i;
}

/* Matches one character of text against the head of the pattern; returns the bytes of pattern it takes, 0: no match. */
static size_t match_one(const char *pattern, size_t len, char c, bool nocase) {
    if (len == 0) return 0;
    if (pattern[0] == '?') return 1;
    if (pattern[0] == '[') {
        bool holds;
        size_t used = 1 + match_class(pattern + 1, len - 1, c, nocase, &holds);
        return holds ? used : 0;
    }
    size_t at = pattern[0] == '\\' && len >= 2 ? 1 : 0;
    return fold(pattern[at], nocase) == fold(c, nocase) ? at + 1 : 0;
}

bool kw_glob_match(const char *pattern, size_t pattern_len, const char *text, size_t text_len, bool nocase) {
    size_t p = 0, t = 0;
    size_t star_p = 0, star_t = 0; /* behind the last star, and where the text stood there */
    bool star = false;

    if (text_len == 0) return pattern_len == 0; /* in Redis not even a star matches the empty text */
    while (t < text_len) {
        if (p < pattern_len && pattern[p] == '*') {
            star = true;
            star_p = ++p;
            star_t = t;
            if (p == pattern_len) return true;
            continue;
        }
        size_t used = match_one(pattern + p, pattern_len - p, text[t], nocase);
        if (used > 0) {
            p += used;
            t++;
        } else if (star) {
            p = star_p;
            t = ++star_t;
        } else {
            return false;
        }
    }
    while (p < pattern_len && pattern[p] == '*') p++;
    return p == pattern_len;
}
