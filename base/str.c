/* Doubling growth over kw_realloc; see str.h. */
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

static void reserve(struct kw_str *str, size_t more) {
    size_t need = str->len + more + 1;
    if (need <= str->cap) return;
    size_t cap = str->cap ? str->cap : 64;
    while (cap < need) cap *= 2;
    str->data = kw_realloc(str->data, cap);
    str->cap = cap;
}

void kw_str_deinit(struct kw_str *str) {
    kw_free(str->data);
    *str = (struct kw_str){0};
}

void kw_str_clear(struct kw_str *str) {
    str->len = 0;
    if (str->data) str->data[0] = '\0';
}

void kw_str_append(struct kw_str *str, const void *bytes, size_t len) {
    reserve(str, len);
    if (len) memcpy(str->data + str->len, bytes, len);
    str->len += len;
    str->data[str->len] = '\0';
}

void kw_str_append_text(struct kw_str *str, const char *text) {
    kw_str_append(str, text, strlen(text));
}

KW_PRINTF(2, 0) static void append_format(struct kw_str *str, const char *fmt, va_list args) {
    va_list again;
    va_copy(again, args);
    reserve(str, 128);
    size_t room = str->cap - str->len;
    int need = vsnprintf(str->data + str->len, room, fmt, args);
    KW_ASSERT(need >= 0);
    if ((size_t)need >= room) {
        reserve(str, (size_t)need);
        vsnprintf(str->data + str->len, str->cap - str->len, fmt, again);
    }
    str->len += (size_t)need;
    va_end(again);
}

void kw_str_printf(struct kw_str *str, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    append_format(str, fmt, args);
    va_end(args);
}

void kw_str_resp_bulk(struct kw_str *str, const void *bytes, size_t len) {
    kw_str_printf(str, "$%zu\r\n", len);
    kw_str_append(str, bytes, len);
    kw_str_append(str, "\r\n", 2);
}

void kw_str_resp_text(struct kw_str *str, const char *text) {
    kw_str_resp_bulk(str, text, strlen(text));
}

void kw_str_resp_int(struct kw_str *str, long long value) {
    kw_str_printf(str, ":%lld\r\n", value);
}

void kw_str_resp_array(struct kw_str *str, size_t count) {
    kw_str_printf(str, "*%zu\r\n", count);
}

void kw_str_resp_nil(struct kw_str *str) {
    kw_str_append(str, "$-1\r\n", 5);
}

void kw_str_resp_simple(struct kw_str *str, const char *text) {
    kw_str_printf(str, "+%s\r\n", text);
}

void kw_str_resp_error(struct kw_str *str, const char *fmt, ...) {
    kw_str_append(str, "-", 1);
    size_t start = str->len;
    va_list args;
    va_start(args, fmt);
    append_format(str, fmt, args);
    va_end(args);
    for (size_t i = start; i < str->len; i++) {
        if (str->data[i] == '\r' || str->data[i] == '\n') str->data[i] = ' ';
    }
    kw_str_append(str, "\r\n", 2);
}
