/*
 * The reply side of RESP: framing, not parsing. The scanner finds where a
 * reply ends, in any number of pieces, without keeping a byte of it. RESP2 and
 * RESP3 (https://github.com/redis/redis-specifications, RESP3.md).
 */
#ifndef KW_BASE_RESP_REPLY_H
#define KW_BASE_RESP_REPLY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum kw_reply_result {
    KW_REPLY_MORE,  /* all bytes belong to the reply; it goes on */
    KW_REPLY_DONE,  /* the reply ends after `*used` bytes */
    KW_REPLY_ERROR, /* not RESP */
};

/* Zeroed: at the start of a reply. Becomes so again after each DONE. */
struct kw_reply_scan {
    uint64_t pending; /* elements still to come, the current one included */
    uint64_t skip;    /* payload bytes (with CRLF) still to come */
    int64_t number;   /* of the header line being read */
    uint8_t state;
    char type;  /* of the element being read */
    char first; /* type of the whole reply */
    bool negative;
    uint8_t digits;
};

enum kw_reply_result kw_reply_scan(struct kw_reply_scan *scan, const char *buf, size_t len, size_t *used);

/* True between two replies. */
bool kw_reply_scan_idle(const struct kw_reply_scan *scan);

#endif
