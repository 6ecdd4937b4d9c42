/* Doubling growth over kw_realloc; see str.h. */
#include "base/str.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"

enum { KW_HEADER_MAX = 24 }; /* a type, 20 digits, the line's end */

static void reserve(struct kw_str *str, size_t more) {
    if (more < str->cap - str->len) return; /* and one for NUL */
    size_t need = str->len + more + 1;
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

/* "<type><number>\r\n" to `out` (KW_HEADER_MAX bytes); returns its length. */
static size_t write_header(char *out, char type, unsigned long long number) {
    char digits[24];
    size_t at = sizeof(digits);
    do {
        digits[--at] = (char)('0' + number % 10);
        number /= 10;
    } while (number);
    size_t len = sizeof(digits) - at;
    out[0] = type;
    memcpy(out + 1, digits + at, len);
    out[len + 1] = '\r';
    out[len + 2] = '\n';
    return len + 3;
}

static void header(struct kw_str *str, char type, size_t count) {
    reserve(str, KW_HEADER_MAX);
    str->len += write_header(str->data + str->len, type, count);
    str->data[str->len] = '\0';
}

void kw_str_resp_bulk(struct kw_str *str, const void *bytes, size_t len) {
    reserve(str, KW_HEADER_MAX + len + 2);
    char *at = str->data + str->len;
    at += write_header(at, '$', len);
    if (len) memcpy(at, bytes, len);
    memcpy(at + len, "\r\n", 3); /* and the NUL */
    str->len = (size_t)(at + len + 2 - str->data);
}

void kw_str_resp_text(struct kw_str *str, const char *text) {
    kw_str_resp_bulk(str, text, strlen(text));
}

void kw_str_resp_int(struct kw_str *str, long long value) {
    if (value >= 0) {
        header(str, ':', (size_t)value);
    } else {
        kw_str_printf(str, ":%lld\r\n", value);
    }
}

void kw_str_resp_array(struct kw_str *str, size_t count) {
    header(str, '*', count);
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

void kw_str_resp_map(struct kw_str *str, int resp, size_t pairs) {
    header(str, resp >= 3 ? '%' : '*', resp >= 3 ? pairs : pairs * 2);
}

void kw_str_resp_set(struct kw_str *str, int resp, size_t count) {
    header(str, resp >= 3 ? '~' : '*', count);
}

void kw_str_resp_push(struct kw_str *str, int resp, size_t count) {
    header(str, resp >= 3 ? '>' : '*', count);
}

void kw_str_resp_null(struct kw_str *str, int resp) {
    kw_str_append_text(str, resp >= 3 ? "_\r\n" : "$-1\r\n");
}

void kw_str_resp_null_array(struct kw_str *str, int resp) {
    kw_str_append_text(str, resp >= 3 ? "_\r\n" : "*-1\r\n");
}

void kw_str_resp_bool(struct kw_str *str, int resp, int value) {
    kw_str_append_text(str, resp >= 3 ? (value ? "#t\r\n" : "#f\r\n") : (value ? ":1\r\n" : ":0\r\n"));
}

void kw_str_resp_double(struct kw_str *str, int resp, double value) {
    char text[40];
    /* As Redis 7.0 prints it: 17 digits, no more than are needed. */
    snprintf(text, sizeof(text), "%.17g", value);
    if (resp >= 3) {
        kw_str_printf(str, ",%s\r\n", text);
    } else {
        kw_str_resp_text(str, text);
    }
}

void kw_str_resp_verbatim(struct kw_str *str, int resp, const void *bytes, size_t len) {
    if (resp < 3) {
        kw_str_resp_bulk(str, bytes, len);
        return;
    }
    kw_str_printf(str, "=%zu\r\ntxt:", len + 4);
    kw_str_append(str, bytes, len);
    kw_str_append(str, "\r\n", 2);
}
