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

/* The header line of the element is complete: account for what it announces. */
static bool header_done(struct kw_reply_scan *scan) {
    int64_t n = scan->negative ? -1 : scan->number;
    scan->state = STATE_TYPE;
    scan->pending--;
    switch (scan->type) {
    case '$':
    case '=':
    case '!':
        if (n >= 0) {
            scan->skip = (uint64_t)n + 2;
            scan->state = STATE_SKIP;
            scan->pending++;
        }
        return true;
    case '%': n *= 2; break;
    case '|': n = n * 2 + 1; break; /* the attributed element follows */
    default: break;
    }
    if (n > 0) scan->pending += (uint64_t)n;
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

enum kw_reply_result kw_reply_scan(struct kw_reply_scan *scan, const char *buf, size_t len, size_t *used) {
    size_t i = 0;
    while (i < len) {
        switch (scan->state) {
        case STATE_TYPE:
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
