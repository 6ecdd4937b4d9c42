/* Writing JSON. The string is the caller's; nothing fails. */
#include "cli/json.h"

#include <string.h>

#include "cli/reply.h"

/* Bytes of the character at `text`; 0: it is no UTF-8 (RFC 3629: shortest form, no surrogates, up to U+10FFFF). */
static size_t character_len(const char *text, size_t len) {
    const unsigned char *at = (const unsigned char *)text;
    size_t want = at[0] < 0x80 ? 1 : at[0] < 0xc2 ? 0 : at[0] < 0xe0 ? 2 : at[0] < 0xf0 ? 3 : at[0] < 0xf5 ? 4 : 0;
    if (want > len) return 0;
    for (size_t i = 1; i < want; i++) {
        if ((at[i] & 0xc0) != 0x80) return 0;
    }
    if (want == 3 && ((at[0] == 0xe0 && at[1] < 0xa0) || (at[0] == 0xed && at[1] > 0x9f))) return 0;
    if (want == 4 && ((at[0] == 0xf0 && at[1] < 0x90) || (at[0] == 0xf4 && at[1] > 0x8f))) return 0;
    return want;
}

static void bytes_print(struct kw_str *out, const char *text, size_t len) {
    kw_str_append_text(out, "\"");
    for (size_t i = 0; i < len;) {
        unsigned char c = (unsigned char)text[i];
        size_t whole = character_len(text + i, len - i);
        if (c == '"' || c == '\\')
            kw_str_printf(out, "\\%c", c);
        else if (c < 0x20)
            kw_str_printf(out, "\\u%04x", c);
        else if (whole == 0)
            kw_str_append_text(out, "\\ufffd");
        else
            kw_str_append(out, text + i, whole);
        i += whole == 0 ? 1 : whole;
    }
    kw_str_append_text(out, "\"");
}

void kw_cli_json_text(struct kw_str *out, const char *text) {
    bytes_print(out, text, strlen(text));
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
    case REDIS_REPLY_ERROR: bytes_print(out, value->str, value->len); break;
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
