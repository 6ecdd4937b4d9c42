/*
 * The small change of the configuration syntax: splitting a line into words,
 * quoting a word, stepping through lines, and a text that grows without
 * ending the process. Sizes here come from files, so every allocation is a
 * _try one; a failed growth is remembered and reported when the text is
 * taken. Words are freed by kw_config_words_deinit, texts by whoever took
 * them.
 */
#include <ctype.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

void kw_config_text_append(struct kw_config_text *text, const void *bytes, size_t len) {
    if (text->failed) return;
    if (text->cap - text->len <= len) {
        size_t cap = (text->len + len + 1) * 2;
        char *data = kw_realloc_try(text->data, cap);
        if (!data) {
            text->failed = true;
            return;
        }
        text->data = data;
        text->cap = cap;
    }
    if (len > 0) memcpy(text->data + text->len, bytes, len);
    text->len += len;
    text->data[text->len] = '\0';
}

void kw_config_text_puts(struct kw_config_text *text, const char *string) {
    kw_config_text_append(text, string, strlen(string));
}

char *kw_config_text_take(struct kw_config_text *text) {
    kw_config_text_append(text, "", 0); /* so that an empty text is "" and not NULL */
    char *data = text->failed ? NULL : text->data;
    if (!data) kw_free(text->data);
    *text = (struct kw_config_text){0};
    return data;
}

void kw_config_text_deinit(struct kw_config_text *text) {
    kw_free(text->data);
    *text = (struct kw_config_text){0};
}

static bool needs_quotes(const char *word, size_t len) {
    if (len == 0) return true;
    for (size_t i = 0; i < len; i++) {
        unsigned char c = (unsigned char)word[i];
        if (c <= ' ' || c == 0x7f || c == '"' || c == '\'') return true;
    }
    return false;
}

static void append_escaped(struct kw_config_text *text, char c) {
    static const char named[] = "\n\r\t\b\a", letters[] = "nrtba";
    char escape[8];
    const char *at = c ? strchr(named, c) : NULL;
    unsigned char byte = (unsigned char)c;
    if (c == '"' || c == '\\') {
        snprintf(escape, sizeof(escape), "\\%c", c);
    } else if (at) {
        snprintf(escape, sizeof(escape), "\\%c", letters[at - named]);
    } else if (byte < ' ' || byte == 0x7f) {
        snprintf(escape, sizeof(escape), "\\x%02x", byte);
    } else {
        kw_config_text_append(text, &c, 1);
        return;
    }
    kw_config_text_puts(text, escape);
}

void kw_config_text_word(struct kw_config_text *text, const char *word, size_t len) {
    if (!needs_quotes(word, len)) {
        kw_config_text_append(text, word, len);
        return;
    }
    kw_config_text_append(text, "\"", 1);
    for (size_t i = 0; i < len; i++) append_escaped(text, word[i]);
    kw_config_text_append(text, "\"", 1);
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* The character behind a backslash inside "..."; returns the bytes of input it takes. */
static size_t unescape(const char *at, const char *end, char *c) {
    static const char letters[] = "nrtba", named[] = "\n\r\t\b\a";
    if (end - at >= 3 && at[0] == 'x' && hex_digit(at[1]) >= 0 && hex_digit(at[2]) >= 0) {
        *c = (char)(hex_digit(at[1]) * 16 + hex_digit(at[2]));
        return 3;
    }
    const char *letter = at[0] ? strchr(letters, at[0]) : NULL;
    *c = letter ? named[letter - letters] : at[0];
    return 1;
}

static bool is_space(char c) {
    return isspace((unsigned char)c) != 0;
}

static bool ends_word(char c) {
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

/* One word from *at on, unquoted into *out. False where quotes are not closed or something is glued behind them. */
static bool take_word(const char **at, const char *end, char **out) {
    const char *p = *at;
    char *o = *out;
    char quote = 0;
    for (; p < end; p++) {
        if (!quote) {
            if (ends_word(*p)) break;
            if (*p == '"' || *p == '\'') {
                quote = *p;
            } else {
                *o++ = *p;
            }
        } else if (*p == quote) {
            if (p + 1 < end && !is_space(p[1])) return false;
            quote = 0;
            p++;
            break;
        } else if (*p == '\\' && quote == '"' && p + 1 < end) {
            p += unescape(p + 1, end, o++);
        } else if (*p == '\\' && quote == '\'' && p + 1 < end && p[1] == '\'') {
            *o++ = *++p;
        } else {
            *o++ = *p;
        }
    }
    *at = p;
    *out = o;
    return quote == 0;
}

int kw_config_words_split(struct kw_config_words *words, const char *text, size_t len) {
    /* Words are apart by a byte at least, so each NUL has its place in len + 1, and there are at most len / 2 + 1. */
    size_t array = (len / 2 + 1) * sizeof(struct kw_arg);
    struct kw_arg *word = kw_malloc_try(array + len + 1);
    *words = (struct kw_config_words){word, 0};
    if (!word) return KW_ENOMEM;

    const char *at = text, *end = text + len;
    char *out = (char *)word + array;
    for (;;) {
        while (at < end && is_space(*at)) at++;
        if (at == end) return 0;
        char *start = out;
        if (!take_word(&at, end, &out)) {
            kw_config_words_deinit(words);
            return KW_EINVALID;
        }
        word[words->count++] = (struct kw_arg){start, (size_t)(out - start)};
        *out++ = '\0';
    }
}

void kw_config_words_deinit(struct kw_config_words *words) {
    kw_free(words->word);
    *words = (struct kw_config_words){0};
}

bool kw_config_line_next(const char **cursor, const char *end, const char **line, size_t *len) {
    if (*cursor >= end) return false;
    const char *newline = memchr(*cursor, '\n', (size_t)(end - *cursor));
    *line = *cursor;
    *len = (size_t)((newline ? newline : end) - *cursor);
    *cursor = newline ? newline + 1 : end;
    return true;
}
