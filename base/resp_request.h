/*
 * The request side of RESP: multibulk frames and inline commands, parsed once,
 * in place, and resumable at every byte. The rules, limits and error texts are
 * those of Redis 7.0 (networking.c: processMultibulkBuffer, processInlineBuffer).
 *
 * The parser is given the bytes of one frame so far, contiguous from its first
 * byte, and called again with more. A bulk payload of `big_min` bytes or more is
 * not part of those bytes: the parser stops behind its header (KW_REQUEST_BIG),
 * the caller takes the payload elsewhere and goes on with the CRLF behind it.
 */
#ifndef KW_BASE_RESP_REQUEST_H
#define KW_BASE_RESP_REQUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"

enum kw_request_result {
    KW_REQUEST_MORE,     /* all bytes seen; `need` more at least to make progress */
    KW_REQUEST_COMPLETE, /* frame_len bytes are one frame */
    KW_REQUEST_EMPTY,    /* frame_len bytes carry no command (*0, blank line) */
    KW_REQUEST_BIG,      /* argument args[argc_seen-1] has its payload elsewhere */
    KW_REQUEST_ERROR,    /* `error` is the text behind "Protocol error: " */
    KW_REQUEST_NOMEM,
};

struct kw_request_limits {
    long long max_bulk_len;    /* proto-max-bulk-len, bytes */
    long long max_multibulk;   /* arguments; INT_MAX, or 10 before authentication */
    long long max_bulk_unauth; /* bytes; 16384 before authentication, else max_bulk_len */
    size_t big_min;            /* bytes; SIZE_MAX: payloads are never taken elsewhere */
};

/* For frames that were accepted once and are read again. */
extern const struct kw_request_limits kw_request_unlimited;

struct kw_request_arg {
    size_t off; /* from the frame's first byte (inline: within `unquoted`) */
    size_t len;
    bool big; /* payload is not among the frame's bytes; off is where it belongs */
};

struct kw_request_parse {
    struct kw_request_arg *args; /* own; grows */
    uint32_t args_cap;
    uint32_t argc_seen; /* arguments whose payload is complete, or announced as big */
    uint32_t argc;      /* declared */
    uint8_t state;
    bool is_inline;
    size_t pos;       /* bytes of the frame done */
    size_t scanned;   /* bytes searched for a line end in vain */
    size_t need;      /* see KW_REQUEST_MORE */
    size_t frame_len; /* with COMPLETE and EMPTY */
    long long bulk_len;
    char *unquoted; /* own; the arguments of an inline command */
    size_t unquoted_len;
    char error[64];
};

void kw_request_parse_init(struct kw_request_parse *p);
void kw_request_parse_deinit(struct kw_request_parse *p);
/* Ready for the next frame; keeps the memory unless it has grown large. */
void kw_request_parse_reset(struct kw_request_parse *p);

/* Goes on where the last call stopped. `buf` holds the frame from its first byte. */
enum kw_request_result kw_request_parse(struct kw_request_parse *p, const struct kw_request_limits *limits,
                                        const char *buf, size_t len);

/*
 * The second word of a multibulk frame (what EVALSHA calls, where PUBLISH goes) from its first bytes, without parsing
 * the rest. Borrowed from `frame`. False when it does not lie there whole.
 */
bool kw_request_second_word(const char *frame, size_t len, struct kw_arg *out);

/* True once a frame has been started. */
bool kw_request_parse_started(const struct kw_request_parse *p);

#endif
