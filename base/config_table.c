/*
 * Values of several words: lists and tables. Both are kept as one canonical
 * text: a list as tokens joined by a space, a table as one entry a line, its
 * words quoted where needed and joined by a space, numbers plain. Equal
 * values therefore have equal texts. Results are own texts of the caller.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

/* ---- lists ---- */

static bool between_tokens(char c) {
    return c == ',' || c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

const char *kw_config_list_next(const char **cursor, size_t *len) {
    const char *start = *cursor;
    while (*start && between_tokens(*start)) start++;
    const char *end = start;
    while (*end && !between_tokens(*end)) end++;
    *cursor = end;
    *len = (size_t)(end - start);
    return *len > 0 ? start : NULL;
}

static int append_token(const struct kw_config_row *row, struct kw_config_text *list, const char *token, size_t len,
                        bool hooks, char *why, size_t why_size) {
    if (list->len > 0) kw_config_text_append(list, " ", 1);
    size_t start = list->len;
    kw_config_text_append(list, token, len);
    if (list->failed) return KW_ENOMEM;
    return hooks && row->validate ? row->validate(list->data + start, why, why_size) : 0;
}

int kw_config_list_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, bool hooks,
                         char **out, char *why, size_t why_size) {
    struct kw_config_text list = {0};
    for (size_t i = 0; i < count; i++) {
        const char *cursor = words[i].data, *token;
        size_t len;
        while ((token = kw_config_list_next(&cursor, &len))) {
            int rc = append_token(row, &list, token, len, hooks, why, why_size);
            if (rc) {
                kw_config_text_deinit(&list);
                return rc;
            }
        }
    }
    *out = kw_config_text_take(&list);
    return *out ? 0 : KW_ENOMEM;
}

/* ---- tables ---- */

bool kw_config_table_keyed(const struct kw_config_row *row) {
    return row->shape && row->shape[0] == 'e';
}

/* The first word of a canonical entry, quotes included: equal words have equal bytes. */
static size_t key_len(const char *entry, size_t len) {
    size_t i = 0;
    if (len > 0 && entry[0] == '"') {
        for (i = 1; i < len && entry[i] != '"'; i++) {
            if (entry[i] == '\\') i++;
        }
    }
    while (i < len && entry[i] != ' ') i++;
    return i < len ? i : len;
}

static bool same_key(const char *a, size_t a_len, const char *b, size_t b_len) {
    size_t len = key_len(a, a_len);
    return len == key_len(b, b_len) && memcmp(a, b, len) == 0;
}

const char *kw_config_table_find(const char *table, const char *entry, size_t entry_len, size_t *len) {
    const char *line, *cursor = table, *end = table + strlen(table);
    while (kw_config_line_next(&cursor, end, &line, len)) {
        if (same_key(line, *len, entry, entry_len)) return line;
    }
    return NULL;
}

static void append_line(struct kw_config_text *text, const char *line, size_t len, size_t *entries) {
    if ((*entries)++ > 0) kw_config_text_append(text, "\n", 1);
    kw_config_text_append(text, line, len);
}

/* True where the entry belongs before the line: a keyed table stands in the order of its names. */
static bool goes_before(const struct kw_config_row *row, const char *entry, size_t entry_len, const char *line,
                        size_t line_len) {
    return kw_config_table_keyed(row) && kw_config_name_index(row->names, entry, key_len(entry, entry_len)) <
                                             kw_config_name_index(row->names, line, key_len(line, line_len));
}

/* Puts the entry in the place of the one with its key, or where it belongs otherwise. */
static int merge(const struct kw_config_row *row, const char *table, const char *entry, char **out, char *why,
                 size_t why_size) {
    struct kw_config_text text = {0};
    const char *line, *cursor = table, *end = table + strlen(table);
    size_t len, entry_len = strlen(entry), entries = 0;
    bool placed = false;
    while (kw_config_line_next(&cursor, end, &line, &len)) {
        bool replaces = same_key(line, len, entry, entry_len);
        if (!placed && (replaces || goes_before(row, entry, entry_len, line, len))) {
            append_line(&text, entry, entry_len, &entries);
            placed = true;
        }
        if (!replaces) append_line(&text, line, len, &entries);
    }
    if (!placed) append_line(&text, entry, entry_len, &entries);
    if (entries > KW_CONFIG_TABLE_ENTRIES_MAX) {
        kw_config_text_deinit(&text);
        snprintf(why, why_size, "more than %d entries", KW_CONFIG_TABLE_ENTRIES_MAX);
        return KW_ELIMIT;
    }
    *out = kw_config_text_take(&text);
    return *out ? 0 : KW_ENOMEM;
}

/* One word in the canonical form that its letter asks for. */
static int append_word(const struct kw_config_row *row, char letter, const struct kw_arg *word,
                       struct kw_config_text *entry, char *why, size_t why_size) {
    char number[32], names[200];
    long long value;
    bool ok = true;
    switch (letter) {
    case 'e':
        value = kw_config_name_index(row->names, word->data, word->len);
        if (value >= 0) {
            kw_config_text_word(entry, row->names[value], strlen(row->names[value]));
            return 0;
        }
        kw_config_names_join(row->names, ", ", names, sizeof(names));
        snprintf(why, why_size, "'%.40s' must be one of the following: %s", word->data, names);
        return KW_EINVALID;
    case 'b':
        ok = kw_config_parse_bytes(word->data, word->len, &value);
        if (!ok) snprintf(why, why_size, "'%.40s' must be a memory value (such as 100, 64kb, 1gb)", word->data);
        break;
    case 'i':
        ok = kw_config_parse_int(word->data, word->len, 10, &value) && value >= 0;
        if (!ok) snprintf(why, why_size, "'%.40s' must be an integer, 0 or more", word->data);
        break;
    default: kw_config_text_word(entry, word->data, word->len); return 0;
    }
    if (!ok) return KW_EINVALID;
    snprintf(number, sizeof(number), "%lld", value);
    kw_config_text_puts(entry, number);
    return 0;
}

static int make_entry(const struct kw_config_row *row, const struct kw_arg *words, size_t count, bool hooks, char **out,
                      char *why, size_t why_size) {
    struct kw_config_text entry = {0};
    int rc = 0;
    for (size_t i = 0; i < count && rc == 0; i++) {
        if (i > 0) kw_config_text_append(&entry, " ", 1);
        rc = append_word(row, row->shape ? row->shape[i] : 's', &words[i], &entry, why, why_size);
    }
    if (rc) {
        kw_config_text_deinit(&entry);
        return rc;
    }
    *out = kw_config_text_take(&entry);
    if (!*out) return KW_ENOMEM;
    rc = hooks && row->validate ? row->validate(*out, why, why_size) : 0;
    if (rc) kw_free(*out);
    return rc;
}

int kw_config_table_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, const char *base,
                          bool hooks, char **out, char *why, size_t why_size) {
    bool clear = count == 1 && words[0].len == 0 && !kw_config_table_keyed(row);
    size_t width = row->shape ? strlen(row->shape) : count;
    if (!clear && count % width != 0) {
        snprintf(why, why_size, "wrong number of arguments: %zu words an entry expected, %zu given", width, count);
        return KW_EINVALID;
    }
    struct kw_config_text copy = {0};
    kw_config_text_puts(&copy, clear ? "" : base);
    char *table = kw_config_text_take(&copy);
    int rc = table ? 0 : KW_ENOMEM;
    for (size_t i = 0; i < count && rc == 0 && !clear; i += width) {
        char *entry, *merged = NULL;
        rc = make_entry(row, words + i, width, hooks, &entry, why, why_size);
        if (rc) break;
        rc = merge(row, table, entry, &merged, why, why_size);
        kw_free(entry);
        if (rc) break;
        kw_free(table);
        table = merged;
    }
    if (rc) {
        kw_free(table);
        return rc;
    }
    *out = table;
    return 0;
}

int kw_config_table_each(const char *value, int (*entry)(void *ctx, const struct kw_arg *words, size_t count),
                         void *ctx) {
    const char *line, *cursor = value, *end = value + strlen(value);
    size_t len;
    int rc = 0;
    while (rc == 0 && kw_config_line_next(&cursor, end, &line, &len)) {
        struct kw_config_words words;
        rc = kw_config_words_split(&words, line, len);
        if (rc == 0) rc = entry(ctx, words.word, words.count);
        kw_config_words_deinit(&words);
    }
    return rc;
}
