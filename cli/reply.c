/* Accessors over hiredis's replies. Owns nothing, fails at nothing: what is missing reads as the fallback. */
#include "cli/reply.h"

#include <string.h>

static bool is_text(const redisReply *reply) {
    return reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS;
}

size_t kw_cli_list_len(const redisReply *list) {
    return list != NULL && list->type == REDIS_REPLY_ARRAY ? list->elements : 0;
}

const redisReply *kw_cli_list_at(const redisReply *list, size_t nth) {
    return nth < kw_cli_list_len(list) ? list->element[nth] : NULL;
}

long long kw_cli_reply_int(const redisReply *reply, long long fallback) {
    return reply != NULL && reply->type == REDIS_REPLY_INTEGER ? reply->integer : fallback;
}

const char *kw_cli_reply_text(const redisReply *reply) {
    return reply != NULL && is_text(reply) ? reply->str : "";
}

const redisReply *kw_cli_map_get(const redisReply *map, const char *name) {
    for (size_t i = 0; i + 1 < kw_cli_list_len(map); i += 2) {
        if (strcmp(kw_cli_reply_text(map->element[i]), name) == 0) return map->element[i + 1];
    }
    return NULL;
}

long long kw_cli_map_int(const redisReply *map, const char *name, long long fallback) {
    return kw_cli_reply_int(kw_cli_map_get(map, name), fallback);
}

const char *kw_cli_map_text(const redisReply *map, const char *name) {
    return kw_cli_reply_text(kw_cli_map_get(map, name));
}
