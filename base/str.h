/*
 * A growing byte string for replies and reports that people read (not for the
 * data path). Always NUL-terminated. Growth ends the process when memory is
 * gone: bound what you append.
 */
#ifndef KW_BASE_STR_H
#define KW_BASE_STR_H

#include <stdarg.h>
#include <stddef.h>

#include "base/base.h"

struct kw_str {
    char *data; /* own; NULL while empty */
    size_t len; /* bytes, without the NUL */
    size_t cap;
};

void kw_str_deinit(struct kw_str *str); /* frees; leaves an empty string */
void kw_str_clear(struct kw_str *str);  /* empties, keeps the memory */
void kw_str_append(struct kw_str *str, const void *bytes, size_t len);
void kw_str_append_text(struct kw_str *str, const char *text);
void kw_str_printf(struct kw_str *str, const char *fmt, ...) KW_PRINTF(2, 3);

/* RESP2 pieces appended to the string. */
void kw_str_resp_bulk(struct kw_str *str, const void *bytes, size_t len);
void kw_str_resp_text(struct kw_str *str, const char *text); /* a bulk string of a C string */
void kw_str_resp_int(struct kw_str *str, long long value);
void kw_str_resp_array(struct kw_str *str, size_t count);
void kw_str_resp_nil(struct kw_str *str);
void kw_str_resp_simple(struct kw_str *str, const char *text); /* +text */
/* -text; CR and LF in it become spaces, so that it cannot break the framing. */
void kw_str_resp_error(struct kw_str *str, const char *fmt, ...) KW_PRINTF(2, 3);

/*
 * The same for a client that speaks `resp` (2 or 3): RESP3's own type, or what RESP2 has in its place (a map is a flat
 * array, a boolean 1 or 0, a double its text).
 */
void kw_str_resp_map(struct kw_str *str, int resp, size_t pairs);
void kw_str_resp_set(struct kw_str *str, int resp, size_t count);
void kw_str_resp_push(struct kw_str *str, int resp, size_t count);
void kw_str_resp_null(struct kw_str *str, int resp);       /* RESP2: a nil bulk string */
void kw_str_resp_null_array(struct kw_str *str, int resp); /* RESP2: a nil array */
void kw_str_resp_bool(struct kw_str *str, int resp, int value);
void kw_str_resp_double(struct kw_str *str, int resp, double value);
/* Text for people (INFO, CLIENT LIST): a verbatim string of type "txt". */
void kw_str_resp_verbatim(struct kw_str *str, int resp, const void *bytes, size_t len);

#endif
