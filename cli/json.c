/* Writing JSON. The string is the caller's; nothing fails. */
#include "cli/json.h"

#include <string.h>

#include "cli/reply.h"

void kw_cli_json_text(struct kw_str *out, const char *text) {
    kw_str_append_text(out, "\"");
    for (; *text != '\0'; text++) {
        unsigned char c = (unsigned char)*text;
        if (c == '"' || c == '\\')
            kw_str_printf(out, "\\%c", c);
        else if (c < 0x20)
            kw_str_printf(out, "\\u%04x", c);
        else
            kw_str_append(out, text, 1);
    }
    kw_str_append_text(out, "\"");
}

static void array_print(struct kw_str *out, const redisReply *list) {
    kw_str_append_text(out, "[");
    for (size_t i = 0; i < list->elements; i++) {
        if (i > 0) kw_str_append_text(out, ", ");
        kw_cli_json_value(out, list->element[i]);
    }
    kw_str_append_text(out, "]");
}

void kw_cli_json_value(struct kw_str *out, const redisReply *value) {
    switch (value->type) {
    case REDIS_REPLY_INTEGER: kw_str_printf(out, "%lld", value->integer); break;
    case REDIS_REPLY_STRING:
    case REDIS_REPLY_STATUS:
    case REDIS_REPLY_ERROR: kw_cli_json_text(out, value->str); break;
    case REDIS_REPLY_ARRAY: array_print(out, value); break;
    default: kw_str_append_text(out, "null"); break;
    }
}

void kw_cli_json_map(struct kw_str *out, const redisReply *map, const char *skip) {
    const char *separator = "";
    kw_str_append_text(out, "{");
    for (size_t i = 0; i + 1 < kw_cli_list_len(map); i += 2) {
        const char *name = kw_cli_reply_text(map->element[i]);
        if (skip != NULL && strcmp(name, skip) == 0) continue;
        kw_str_append_text(out, separator);
        kw_cli_json_text(out, name);
        kw_str_append_text(out, ": ");
        kw_cli_json_value(out, map->element[i + 1]);
        separator = ", ";
    }
    kw_str_append_text(out, "}");
}

void kw_cli_json_maps(struct kw_str *out, const redisReply *list) {
    kw_str_append_text(out, "[");
    for (size_t i = 0; i < kw_cli_list_len(list); i++) {
        if (i > 0) kw_str_append_text(out, ", ");
        kw_cli_json_map(out, list->element[i], NULL);
    }
    kw_str_append_text(out, "]");
}
