/* Pieces of JSON, appended to a string. Main thread. */
#ifndef KW_CLI_JSON_H
#define KW_CLI_JSON_H

#include <hiredis/hiredis.h>

#include "base/str.h"

/* A JSON string; quotes and control characters escaped, U+FFFD for bytes that are no UTF-8. */
void kw_cli_json_text(struct kw_str *out, const char *text);

/* A value of a reply as it is: number, string, null, array. */
void kw_cli_json_value(struct kw_str *out, const redisReply *value);

/* A flat array of name and value as an object, without what stands under `skip` (NULL: with all). */
void kw_cli_json_map(struct kw_str *out, const redisReply *map, const char *skip);

/* An array of such maps. NULL is an empty one. */
void kw_cli_json_maps(struct kw_str *out, const redisReply *list);

#endif
