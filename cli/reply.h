/*
 * Looks into what a metadata node answered. Maps come as flat arrays of name
 * and value (RESP2). A reply is never trusted to have a shape: what is not
 * there reads as the fallback. All borrowed from the reply. Main thread.
 */
#ifndef KW_CLI_REPLY_H
#define KW_CLI_REPLY_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stddef.h>

/* The value under `name`; NULL when there is none, or no map. `map` may be NULL. */
const redisReply *kw_cli_map_get(const redisReply *map, const char *name);

long long kw_cli_map_int(const redisReply *map, const char *name, long long fallback);
const char *kw_cli_map_text(const redisReply *map, const char *name); /* "" when there is none */

/* The `nth` element of an array; NULL beyond its end, or where `list` is none. */
const redisReply *kw_cli_list_at(const redisReply *list, size_t nth);
size_t kw_cli_list_len(const redisReply *list); /* 0 for what is no array, or NULL */

/* The integer that a reply is; `fallback` for anything else, NULL too. */
long long kw_cli_reply_int(const redisReply *reply, long long fallback);
/* The text that a reply is; "" for anything else, NULL too. */
const char *kw_cli_reply_text(const redisReply *reply);

#endif
