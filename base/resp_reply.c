/*
 * Aggregates need no stack: only the number of elements still to come counts,
 * and each header adds its own. Numbers are bounded, so that a hostile node
 * cannot make the count wrap.
 */
#include "base/resp_reply.h"

#include <string.h>

#include "base/base.h"

enum { STATE_TYPE, STATE_NUMBER, STATE_NUMBER_LF, STATE_LINE, STATE_SKIP };

static const uint64_t PENDING_MAX = 1ULL << 40;
static const int64_t NUMBER_MAX = 1LL << 32;

bool kw_reply_scan_idle(const struct kw_reply_scan *scan) {
    return scan->state == STATE_TYPE && scan->pending == 0;
}

/* What follows the type byte. Returns the next state, or -1 for no type of RESP. */
static int state_for_type(char type) {
    switch (type) {
    case '+':
    case '-':
    case ':':
    case '_': /* null */
    case '#': /* boolean */
    case ',': /* double */
    case '(': /* big number */ return STATE_LINE;
    case '$':
    case '=': /* verbatim string */
    case '!': /* blob error */
    case '*':
    case '%': /* map */
    case '~': /* set */
    case '|': /* attribute */
    case '>': /* push */ return STATE_NUMBER;
    default: return -1;
    }
}

/* A header line announces `n`: how many elements are still to come then, the current one done. */
static uint64_t announced(uint64_t pending, char type, int64_t n) {
    pending--;
    if (n < 0) return pending;
    switch (type) {
    case '%': return pending + (uint64_t)n * 2;
    case '|': return pending + (uint64_t)n * 2 + 1; /* the attributed element follows */
    default: return pending + (uint64_t)n;
    }
}

static bool has_payload(char type) {
    return type == '$' || type == '=' || type == '!';
}

/* The header line of the element is complete: account for what it announces. */
static bool header_done(struct kw_reply_scan *scan) {
    int64_t n = scan->negative ? -1 : scan->number;
    scan->state = STATE_TYPE;
    if (has_payload(scan->type) && n >= 0) {
        scan->skip = (uint64_t)n + 2;
        scan->state = STATE_SKIP;
        return true;
    }
    scan->pending = announced(scan->pending, scan->type, has_payload(scan->type) ? -1 : n);
    return scan->pending <= PENDING_MAX;
}

static enum kw_reply_result done(struct kw_reply_scan *scan, size_t *used, size_t at) {
    *used = at;
    scan->state = STATE_TYPE;
    return KW_REPLY_DONE;
}

static bool step_number(struct kw_reply_scan *scan, char c) {
    if (c == '\r') {
        scan->state = STATE_NUMBER_LF;
        return scan->digits > 0;
    }
    if (c == '-' && scan->digits == 0 && !scan->negative) {
        scan->negative = true;
        return true;
    }
    if (c < '0' || c > '9' || scan->number > NUMBER_MAX) return false;
    scan->number = scan->number * 10 + (c - '0');
    scan->digits = 1;
    return true;
}

static bool step_type(struct kw_reply_scan *scan, char c) {
    int next = state_for_type(c);
    if (next < 0) return false;
    if (scan->pending == 0) {
        scan->pending = 1;
        scan->first = c;
    }
    scan->type = c;
    scan->number = 0;
    scan->negative = false;
    scan->digits = 0;
    scan->state = (uint8_t)next;
    return true;
}

static const char nil[] = "$-1\r\n";
enum { NIL_LEN = sizeof(nil) - 1 };

/* Digits and the line's end, all there: the offset behind them, or 0 for anything else. */
static inline size_t whole_number(const char *buf, size_t at, size_t len, int64_t *out) {
    enum { DIGITS_MAX = 9 };
    size_t first = at;
    int64_t n = 0;
    size_t end = len - at > DIGITS_MAX ? at + DIGITS_MAX : len;
    for (; at < end; at++) {
        unsigned digit = (unsigned)(unsigned char)buf[at] - '0';
        if (digit > 9) break;
        n = n * 10 + digit;
    }
    if (at == first || at + 2 > len || buf[at] != '\r' || buf[at + 1] != '\n') return 0;
    *out = n;
    return at + 2;
}

/*
 * The common elements that lie whole in the buffer, from the start of one, with everything in registers. Stops at the
 * first that is anything else (cut off, a rare type, wrong): the state machine takes that. Returns how far it came; the
 * reply is complete when scan->pending is 0 behind at least one element.
 */
static size_t whole_elements(struct kw_reply_scan *scan, const char *buf, size_t len) {
    size_t at = 0;
    uint64_t pending = scan->pending;
    if (pending == 0) {
        pending = 1;
        scan->first = buf[0];
    }
    while (pending > 0 && at < len) {
        char type = buf[at];
        int64_t n;
        size_t next = 0;
        if (type == '$') {
            next = whole_number(buf, at + 1, len, &n);
            if (next > 0 && len - next >= (size_t)n + 2) {
                next += (size_t)n + 2;
            } else if (len - at >= NIL_LEN && memcmp(buf + at, nil, NIL_LEN) == 0) {
                next = at + NIL_LEN;
            } else {
                break;
            }
            pending--;
        } else if (type == ':' || type == '+' || type == '-') {
            const char *lf = memchr(buf + at, '\n', len - at);
            if (!lf) break;
            next = (size_t)(lf - buf) + 1;
            pending--;
        } else if (type == '*' || type == '%' || type == '~' || type == '>') {
            next = whole_number(buf, at + 1, len, &n);
            if (next == 0 || announced(pending, type, n) > PENDING_MAX) break;
            pending = announced(pending, type, n);
        } else {
            break;
        }
        at = next;
    }
    if (at > 0) scan->pending = pending;
    return at;
}

enum kw_reply_result kw_reply_scan(struct kw_reply_scan *scan, const char *buf, size_t len, size_t *used) {
    size_t i = 0;
    while (i < len) {
        switch (scan->state) {
        case STATE_TYPE:
            i += whole_elements(scan, buf + i, len - i);
            if (i > 0 && scan->pending == 0) return done(scan, used, i);
            if (i == len) break;
            if (!step_type(scan, buf[i++])) return KW_REPLY_ERROR;
            break;
        case STATE_NUMBER:
            if (!step_number(scan, buf[i++])) return KW_REPLY_ERROR;
            break;
        case STATE_NUMBER_LF:
            if (buf[i++] != '\n' || !header_done(scan)) return KW_REPLY_ERROR;
            if (scan->pending == 0) return done(scan, used, i);
            break;
        case STATE_LINE: {
            const char *lf = memchr(buf + i, '\n', len - i);
            if (!lf) {
                *used = len;
                return KW_REPLY_MORE;
            }
            i = (size_t)(lf - buf) + 1;
            scan->state = STATE_TYPE;
            if (--scan->pending == 0) return done(scan, used, i);
            break;
        }
        default: { /* STATE_SKIP */
            size_t take = len - i < scan->skip ? len - i : (size_t)scan->skip;
            scan->skip -= take;
            i += take;
            if (scan->skip > 0) break;
            scan->state = STATE_TYPE;
            if (--scan->pending == 0) return done(scan, used, i);
            break;
        }
        }
    }
    *used = len;
    return KW_REPLY_MORE;
}
