/*
 * A small state machine over lines and payloads: LEN reads "*n", HEADER reads
 * "$n", PAYLOAD waits for n bytes and CRLF, BIG waits for the CRLF behind a
 * payload that went elsewhere. Owns only the argument vector.
 */
#include "base/resp_request.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"

enum { STATE_START, STATE_LEN, STATE_HEADER, STATE_PAYLOAD, STATE_BIG, STATE_INLINE };
enum {
    LINE_LIMIT = 64 * 1024, /* Redis: PROTO_INLINE_MAX_SIZE */
    ARGS_KEPT = 1024,
    ARGS_FIRST = 16,
};

void kw_request_parse_init(struct kw_request_parse *p) {
    *p = (struct kw_request_parse){0};
}

void kw_request_parse_deinit(struct kw_request_parse *p) {
    kw_free(p->args);
    kw_free(p->unquoted);
    *p = (struct kw_request_parse){0};
}

void kw_request_parse_reset(struct kw_request_parse *p) {
    if (KW_UNLIKELY(p->unquoted != NULL)) {
        kw_free(p->unquoted);
        p->unquoted = NULL;
        p->unquoted_len = 0;
    }
    if (KW_UNLIKELY(p->args_cap > ARGS_KEPT)) {
        kw_free(p->args);
        p->args = NULL;
        p->args_cap = 0;
    }
    p->argc_seen = 0;
    p->argc = 0;
    p->state = STATE_START;
    p->is_inline = false;
    p->pos = 0;
    p->scanned = 0;
    p->need = 1;
    p->frame_len = 0;
}

bool kw_request_parse_started(const struct kw_request_parse *p) {
    return p->state != STATE_START;
}

static enum kw_request_result fail(struct kw_request_parse *p, const char *text) {
    snprintf(p->error, sizeof(p->error), "%s", text);
    return KW_REQUEST_ERROR;
}

/* Redis's string2ll: no sign but '-', no leading zero, no blanks. */
static bool parse_number(const char *text, size_t len, long long *out) {
    bool negative = false;
    size_t i = 0;
    if (len == 0 || len > 20) return false;
    if (len == 1 && text[0] == '0') {
        *out = 0;
        return true;
    }
    if (text[0] == '-') {
        negative = true;
        i = 1;
    }
    if (i == len || text[i] < '1' || text[i] > '9') return false;
    unsigned long long value = 0;
    for (; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') return false;
        unsigned digit = (unsigned)(text[i] - '0');
        if (value > (ULLONG_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    if (negative) {
        if (value > (unsigned long long)LLONG_MAX + 1) return false;
        *out = (long long)(0 - value);
    } else {
        if (value > LLONG_MAX) return false;
        *out = (long long)value;
    }
    return true;
}

static bool args_reserve(struct kw_request_parse *p, uint32_t count) {
    if (KW_LIKELY(count <= p->args_cap)) return true;
    uint32_t cap = p->args_cap ? p->args_cap : ARGS_FIRST;
    while (cap < count) cap *= 2;
    struct kw_request_arg *grown = kw_realloc_try(p->args, cap * sizeof(*grown));
    if (!grown) return false;
    p->args = grown;
    p->args_cap = cap;
    return true;
}

static bool args_push(struct kw_request_parse *p, size_t off, size_t len, bool big) {
    if (!args_reserve(p, p->argc_seen + 1)) return false;
    p->args[p->argc_seen++] = (struct kw_request_arg){.off = off, .len = len, .big = big};
    return true;
}

/*
 * Finds the line that starts at p->pos. Returns the offset of its CR, or
 * SIZE_MAX when it (or the byte behind the CR) is still to come.
 */
static size_t find_line(struct kw_request_parse *p, const char *buf, size_t len) {
    size_t from = p->scanned > p->pos ? p->scanned : p->pos;
    const char *cr = memchr(buf + from, '\r', len - from);
    if (!cr) {
        p->scanned = len;
        p->need = 1;
        return SIZE_MAX;
    }
    size_t at = (size_t)(cr - buf);
    p->scanned = at;
    if (at + 2 > len) {
        p->need = 1;
        return SIZE_MAX;
    }
    return at;
}

static enum kw_request_result step_len(struct kw_request_parse *p, const struct kw_request_limits *limits,
                                       const char *buf, size_t len) {
    size_t cr = find_line(p, buf, len);
    if (cr == SIZE_MAX) return len > LINE_LIMIT ? fail(p, "too big mbulk count string") : KW_REQUEST_MORE;
    long long count;
    if (!parse_number(buf + 1, cr - 1, &count) || count > INT_MAX) return fail(p, "invalid multibulk length");
    if (count > limits->max_multibulk) return fail(p, "unauthenticated multibulk length");
    p->pos = cr + 2;
    if (count <= 0) {
        p->frame_len = p->pos;
        return KW_REQUEST_EMPTY;
    }
    p->argc = (uint32_t)count;
    p->state = STATE_HEADER;
    return KW_REQUEST_COMPLETE;
}

static enum kw_request_result step_header(struct kw_request_parse *p, const struct kw_request_limits *limits,
                                          const char *buf, size_t len) {
    if (p->pos >= len) {
        p->need = 1;
        return KW_REQUEST_MORE;
    }
    size_t cr = find_line(p, buf, len);
    if (cr == SIZE_MAX) return len - p->pos > LINE_LIMIT ? fail(p, "too big bulk count string") : KW_REQUEST_MORE;
    if (buf[p->pos] != '$') {
        snprintf(p->error, sizeof(p->error), "expected '$', got '%c'", buf[p->pos]);
        return KW_REQUEST_ERROR;
    }
    long long bulk;
    if (!parse_number(buf + p->pos + 1, cr - p->pos - 1, &bulk) || bulk < 0 || bulk > limits->max_bulk_len) {
        return fail(p, "invalid bulk length");
    }
    if (bulk > limits->max_bulk_unauth) return fail(p, "unauthenticated bulk length");
    p->pos = cr + 2;
    p->bulk_len = bulk;
    p->state = STATE_PAYLOAD;
    if ((size_t)bulk >= limits->big_min && p->argc_seen > 0) {
        if (!args_push(p, p->pos, (size_t)bulk, true)) return KW_REQUEST_NOMEM;
        p->state = STATE_BIG;
        return KW_REQUEST_BIG;
    }
    return KW_REQUEST_COMPLETE;
}

static enum kw_request_result step_payload(struct kw_request_parse *p, size_t len) {
    size_t want = p->pos + (size_t)p->bulk_len + 2;
    if (want > len) {
        p->need = want - len;
        return KW_REQUEST_MORE;
    }
    if (!args_push(p, p->pos, (size_t)p->bulk_len, false)) return KW_REQUEST_NOMEM;
    p->pos = want;
    p->state = STATE_HEADER;
    return KW_REQUEST_COMPLETE;
}

static enum kw_request_result step_big(struct kw_request_parse *p, size_t len) {
    if (p->pos + 2 > len) {
        p->need = p->pos + 2 - len;
        return KW_REQUEST_MORE;
    }
    p->pos += 2;
    p->state = STATE_HEADER;
    return KW_REQUEST_COMPLETE;
}

static int hex_value(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* What the escape behind a backslash in double quotes stands for; *i is moved over it. */
static char unescape(const char *line, size_t len, size_t *i) {
    if (line[*i] == 'x' && *i + 2 < len && hex_value(line[*i + 1]) >= 0 && hex_value(line[*i + 2]) >= 0) {
        int value = hex_value(line[*i + 1]) * 16 + hex_value(line[*i + 2]);
        *i += 2;
        return (char)value;
    }
    switch (line[*i]) {
    case 'n': return '\n';
    case 'r': return '\r';
    case 't': return '\t';
    case 'b': return '\b';
    case 'a': return '\a';
    default: return line[*i];
    }
}

/*
 * Takes one word of an inline command from line[*i...] to p->unquoted, by the
 * rules of sdssplitargs. False when quotes are not balanced.
 */
static bool inline_word(struct kw_request_parse *p, const char *line, size_t len, size_t *i) {
    char quote = 0;
    for (;; (*i)++) {
        if (*i >= len || line[*i] == '\0') return quote == 0;
        char c = line[*i];
        if (quote == '"' && c == '\\' && *i + 1 < len) {
            (*i)++;
            p->unquoted[p->unquoted_len++] = unescape(line, len, i);
        } else if (quote == '\'' && c == '\\' && *i + 1 < len && line[*i + 1] == '\'') {
            (*i)++;
            p->unquoted[p->unquoted_len++] = '\'';
        } else if (quote && c == quote) {
            /* A closing quote must be followed by a blank or the end. */
            (*i)++;
            return *i >= len || line[*i] == '\0' || isspace((unsigned char)line[*i]);
        } else if (quote) {
            p->unquoted[p->unquoted_len++] = c;
        } else if (c == ' ' || c == '\n' || c == '\r' || c == '\t') {
            return true;
        } else if (c == '"' || c == '\'') {
            quote = c;
        } else {
            p->unquoted[p->unquoted_len++] = c;
        }
    }
}

static enum kw_request_result split_inline(struct kw_request_parse *p, const char *line, size_t len) {
    kw_free(p->unquoted);
    p->unquoted = kw_malloc_try(len + 1);
    if (!p->unquoted) return KW_REQUEST_NOMEM;
    p->unquoted_len = 0;
    size_t i = 0;
    for (;;) {
        while (i < len && line[i] != '\0' && isspace((unsigned char)line[i])) i++;
        if (i >= len || line[i] == '\0') break;
        size_t start = p->unquoted_len;
        if (!inline_word(p, line, len, &i)) return fail(p, "unbalanced quotes in request");
        if (!args_push(p, start, p->unquoted_len - start, false)) return KW_REQUEST_NOMEM;
    }
    p->argc = p->argc_seen;
    return p->argc == 0 ? KW_REQUEST_EMPTY : KW_REQUEST_COMPLETE;
}

static enum kw_request_result step_inline(struct kw_request_parse *p, const char *buf, size_t len) {
    const char *lf = memchr(buf + p->scanned, '\n', len - p->scanned);
    if (!lf) {
        p->scanned = len;
        p->need = 1;
        return len > LINE_LIMIT ? fail(p, "too big inline request") : KW_REQUEST_MORE;
    }
    size_t line = (size_t)(lf - buf);
    p->frame_len = line + 1;
    p->is_inline = true;
    if (line > 0 && buf[line - 1] == '\r') line--;
    return split_inline(p, buf, line);
}

/* "<type><digits>\r\n" at `at`, whole and without anything odd: the offset behind it, or 0. */
static inline size_t whole_header(const char *buf, size_t at, size_t len, char type, uint32_t *out) {
    enum { DIGITS_MAX = 9 };
    if (at + 4 > len || buf[at] != type) return 0;
    unsigned first = (unsigned)(unsigned char)buf[++at] - '0';
    if (first > 9) return 0;
    uint32_t n = first;
    size_t end = len - at > DIGITS_MAX ? at + DIGITS_MAX : len;
    for (at++; at < end; at++) {
        unsigned digit = (unsigned)(unsigned char)buf[at] - '0';
        if (digit > 9) break;
        if (n == 0) return 0; /* a leading zero */
        n = n * 10 + digit;
    }
    if (at + 2 > len || buf[at] != '\r' || buf[at + 1] != '\n') return 0;
    *out = n;
    return at + 2;
}

/*
 * A frame that lies whole in the buffer and is as ordinary as nearly all are, in one pass. KW_REQUEST_MORE for anything
 * else: the parser is as if nothing had been looked at, and the state machine takes it from the first byte.
 */
static enum kw_request_result parse_whole(struct kw_request_parse *p, const struct kw_request_limits *limits,
                                          const char *buf, size_t len) {
    enum { ARG_BYTES_LEAST = 6 };
    uint32_t argc, bulk;
    size_t pos = whole_header(buf, 0, len, '*', &argc);
    if (pos == 0 || argc == 0 || argc > len / ARG_BYTES_LEAST || (long long)argc > limits->max_multibulk) {
        return KW_REQUEST_MORE;
    }
    if (!args_reserve(p, argc)) return KW_REQUEST_NOMEM;
    long long most = limits->max_bulk_len < limits->max_bulk_unauth ? limits->max_bulk_len : limits->max_bulk_unauth;
    for (uint32_t i = 0; i < argc; i++) {
        size_t at = whole_header(buf, pos, len, '$', &bulk);
        if (at == 0 || bulk > most || bulk >= limits->big_min || len - at < (size_t)bulk + 2) return KW_REQUEST_MORE;
        p->args[i] = (struct kw_request_arg){.off = at, .len = bulk};
        pos = at + bulk + 2;
    }
    p->argc = p->argc_seen = argc;
    p->state = STATE_HEADER;
    p->pos = p->frame_len = pos;
    return KW_REQUEST_COMPLETE;
}

enum kw_request_result kw_request_parse(struct kw_request_parse *p, const struct kw_request_limits *limits,
                                        const char *buf, size_t len) {
    if (p->state == STATE_START) {
        if (len == 0) {
            p->need = 1;
            return KW_REQUEST_MORE;
        }
        enum kw_request_result whole = parse_whole(p, limits, buf, len);
        if (KW_LIKELY(whole != KW_REQUEST_MORE)) return whole;
        p->state = buf[0] == '*' ? STATE_LEN : STATE_INLINE;
    }
    for (;;) {
        enum kw_request_result result;
        switch (p->state) {
        case STATE_LEN: result = step_len(p, limits, buf, len); break;
        case STATE_HEADER:
            if (p->argc_seen == p->argc) {
                p->frame_len = p->pos;
                return KW_REQUEST_COMPLETE;
            }
            result = step_header(p, limits, buf, len);
            break;
        case STATE_PAYLOAD: result = step_payload(p, len); break;
        case STATE_BIG: result = step_big(p, len); break;
        default: return step_inline(p, buf, len);
        }
        if (result != KW_REQUEST_COMPLETE) return result;
    }
}

const struct kw_request_limits kw_request_unlimited = {
    .max_bulk_len = INT64_MAX,
    .max_multibulk = INT32_MAX,
    .max_bulk_unauth = INT64_MAX,
    .big_min = SIZE_MAX,
};

bool kw_request_second_word(const char *frame, size_t len, struct kw_arg *out) {
    const char *at = frame, *end = frame + len;
    /* "*N", "$7", "EVALSHA" */
    for (int line = 0; line < 3 && at; line++) {
        at = memchr(at, '\n', (size_t)(end - at));
        if (at) at++;
    }
    const char *lf = at && at < end && *at == '$' ? memchr(at, '\n', (size_t)(end - at)) : NULL;
    if (!lf) return false;
    *out = (struct kw_arg){lf + 1, kw_digits(at + 1, lf)};
    return (size_t)(end - lf - 1) >= out->len;
}
