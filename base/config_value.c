/*
 * One value: from words to number or text, into the settings field and back
 * to the text that CONFIG GET prints. A struct kw_config_value owns its text
 * until it is swapped into the settings; then it owns the text that was
 * there. Fails with a reason in Redis's own words, so that clients that
 * look for them find them; and with KW_ENOMEM.
 */
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

bool kw_config_is_text(const struct kw_config_row *row) {
    return row->type == KW_CONFIG_STRING || row->type == KW_CONFIG_SECRET || row->type == KW_CONFIG_LIST ||
           row->type == KW_CONFIG_TABLE;
}

bool kw_config_is_secret(const struct kw_config_row *row) {
    return row->type == KW_CONFIG_SECRET || (row->flags & KW_CONFIG_MASKED);
}

void kw_config_range(const struct kw_config_row *row, long long *min, long long *max) {
    *min = row->min;
    *max = row->min == 0 && row->max == 0 ? LLONG_MAX : row->max;
}

/* ---- numbers and names ---- */

bool kw_config_parse_int(const char *text, size_t len, int base, long long *value) {
    size_t i = 0;
    bool negative = len > 1 && text[0] == '-';
    if (negative) i++;
    if (i == len || (base == 10 && text[i] == '0' && len > 1)) return false; /* 007 is a slip, as in Redis */
    long long sum = 0;
    for (; i < len; i++) {
        int digit = text[i] - '0';
        if (digit < 0 || digit >= base) return false;
        if (__builtin_mul_overflow(sum, base, &sum)) return false;
        if (__builtin_add_overflow(sum, negative ? -digit : digit, &sum)) return false;
    }
    *value = sum;
    return true;
}

static const struct {
    const char *suffix;
    long long factor;
} byte_units[] = {
    {"", 1},        {"b", 1},          {"k", 1000},       {"kb", 1LL << 10},
    {"m", 1000000}, {"mb", 1LL << 20}, {"g", 1000000000}, {"gb", 1LL << 30},
};

bool kw_config_parse_bytes(const char *text, size_t len, long long *value) {
    size_t digits = 0;
    long long sum = 0;
    for (; digits < len && text[digits] >= '0' && text[digits] <= '9'; digits++) {
        if (__builtin_mul_overflow(sum, 10, &sum)) return false;
        if (__builtin_add_overflow(sum, text[digits] - '0', &sum)) return false;
    }
    if (digits == 0) return false;
    for (size_t i = 0; i < KW_ARRAY_LEN(byte_units); i++) {
        const char *suffix = byte_units[i].suffix;
        if (strlen(suffix) != len - digits || strncasecmp(text + digits, suffix, len - digits) != 0) continue;
        return !__builtin_mul_overflow(sum, byte_units[i].factor, value);
    }
    return false;
}

void kw_config_format_bytes(long long value, char *buf, size_t size) {
    for (size_t i = KW_ARRAY_LEN(byte_units); i-- > 0;) {
        if (byte_units[i].suffix[0] == '\0' || byte_units[i].suffix[1] == '\0') continue; /* powers of two only */
        if (value < byte_units[i].factor || value % byte_units[i].factor != 0) continue;
        snprintf(buf, size, "%lld%s", value / byte_units[i].factor, byte_units[i].suffix);
        return;
    }
    snprintf(buf, size, "%lld", value);
}

int kw_config_name_index(const char *const *names, const char *text, size_t len) {
    for (int i = 0; names[i]; i++) {
        if (strlen(names[i]) == len && strncasecmp(names[i], text, len) == 0) return i;
    }
    return -1;
}

void kw_config_names_join(const char *const *names, const char *between, char *buf, size_t size) {
    size_t used = 0;
    buf[0] = '\0';
    for (int i = 0; names[i] && used < size; i++) {
        int n = snprintf(buf + used, size - used, "%s%s", i ? between : "", names[i]);
        used += (size_t)n;
    }
}

/* ---- the field in the settings ---- */

size_t kw_config_field_size(const struct kw_config_row *row) {
    switch (row->type) {
    case KW_CONFIG_BOOL: return sizeof(bool);
    case KW_CONFIG_ENUM: return sizeof(int);
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES: return sizeof(long long);
    default: return sizeof(char *);
    }
}

static void *field(const struct kw_config *cfg, const struct kw_config_row *row) {
    return (char *)cfg->settings + row->offset;
}

struct kw_config_value kw_config_value_peek(const struct kw_config *cfg, const struct kw_config_row *row) {
    struct kw_config_value value = {0};
    const void *at = field(cfg, row);
    switch (row->type) {
    case KW_CONFIG_BOOL: value.number = *(const bool *)at; break;
    case KW_CONFIG_ENUM: value.number = *(const int *)at; break;
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES: value.number = *(const long long *)at; break;
    case KW_CONFIG_STRING:
    case KW_CONFIG_SECRET:
    case KW_CONFIG_LIST:
    case KW_CONFIG_TABLE: value.text = *(char *const *)at; break;
    }
    return value;
}

void kw_config_value_swap(struct kw_config *cfg, const struct kw_config_row *row, struct kw_config_value *value) {
    struct kw_config_value old = kw_config_value_peek(cfg, row);
    void *at = field(cfg, row);
    switch (row->type) {
    case KW_CONFIG_BOOL: *(bool *)at = value->number != 0; break;
    case KW_CONFIG_ENUM: *(int *)at = (int)value->number; break;
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES: *(long long *)at = value->number; break;
    case KW_CONFIG_STRING:
    case KW_CONFIG_SECRET:
    case KW_CONFIG_LIST:
    case KW_CONFIG_TABLE: *(char **)at = value->text; break;
    }
    *value = old;
}

void kw_config_value_deinit(const struct kw_config_row *row, struct kw_config_value *value) {
    if (value->text && kw_config_is_secret(row)) explicit_bzero(value->text, strlen(value->text));
    kw_free(value->text);
    value->text = NULL;
}

bool kw_config_value_same(const struct kw_config_row *row, const struct kw_config_value *a,
                          const struct kw_config_value *b) {
    if (!kw_config_is_text(row)) return a->number == b->number;
    return strcmp(a->text, b->text) == 0;
}

/* ---- parsing ---- */

static int parse_number(const struct kw_config_row *row, const struct kw_arg *word, long long *number, char *why,
                        size_t why_size) {
    long long min, max;
    kw_config_range(row, &min, &max);
    int base = row->flags & KW_CONFIG_OCTAL ? 8 : 10;
    if (row->type == KW_CONFIG_BYTES) {
        if (!kw_config_parse_bytes(word->data, word->len, number)) {
            snprintf(why, why_size, "argument must be a memory value (such as 100, 64kb, 1gb)");
            return KW_EINVALID;
        }
    } else if (!kw_config_parse_int(word->data, word->len, base, number)) {
        snprintf(why, why_size,
                 base == 8 ? "argument couldn't be parsed as an octal number (%llo to %llo)"
                           : "argument couldn't be parsed into an integer (%lld to %lld)",
                 min, max);
        return KW_EINVALID;
    }
    if (*number >= min && *number <= max) return 0;
    snprintf(why, why_size,
             base == 8 ? "argument must be between %llo and %llo inclusive%s%s"
                       : "argument must be between %lld and %lld inclusive%s%s",
             min, max, row->unit ? ", " : "", row->unit ? row->unit : "");
    return KW_ERANGE;
}

static int parse_name(const struct kw_config_row *row, const struct kw_arg *word, long long *number, char *why,
                      size_t why_size) {
    *number = kw_config_name_index(row->names, word->data, word->len);
    if (*number >= 0) return 0;
    char names[256];
    kw_config_names_join(row->names, ", ", names, sizeof(names));
    snprintf(why, why_size, "argument(s) must be one of the following: %s", names);
    return KW_EINVALID;
}

static int parse_bool(const struct kw_arg *word, long long *number, char *why, size_t why_size) {
    *number = strcasecmp(word->data, "yes") == 0;
    if (*number || strcasecmp(word->data, "no") == 0) return 0;
    snprintf(why, why_size, "argument must be 'yes' or 'no'");
    return KW_EINVALID;
}

static int parse_scalar(const struct kw_config_row *row, const struct kw_arg *word, struct kw_config_value *value,
                        char *why, size_t why_size) {
    switch (row->type) {
    case KW_CONFIG_BOOL: return parse_bool(word, &value->number, why, why_size);
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES: return parse_number(row, word, &value->number, why, why_size);
    case KW_CONFIG_ENUM: return parse_name(row, word, &value->number, why, why_size);
    default: break;
    }
    value->text = kw_malloc_try(word->len + 1);
    if (!value->text) return KW_ENOMEM;
    memcpy(value->text, word->data, word->len + 1);
    return 0;
}

/* What holds for every type: a bounded length and no NUL, which a C string could not carry. */
static int check_words(const struct kw_arg *words, size_t count, char *why, size_t why_size) {
    size_t total = 0;
    for (size_t i = 0; i < count; i++) {
        if (memchr(words[i].data, '\0', words[i].len)) {
            snprintf(why, why_size, "argument must not hold a NUL byte");
            return KW_EINVALID;
        }
        total += words[i].len + 1;
    }
    if (total <= KW_CONFIG_VALUE_MAX) return 0;
    snprintf(why, why_size, "argument is longer than %zu bytes", KW_CONFIG_VALUE_MAX);
    return KW_ELIMIT;
}

static int check_arity(const struct kw_config_row *row, const struct kw_arg *words, size_t count, char *why,
                       size_t why_size) {
    bool one = row->type != KW_CONFIG_LIST && row->type != KW_CONFIG_TABLE;
    if (count == 1 || (count > 1 && !one)) return 0;
    if (count == 0) {
        snprintf(why, why_size, "wrong number of arguments: it needs a value");
        return KW_EINVALID;
    }
    bool comment = words[1].len > 0 && words[1].data[0] == '#';
    snprintf(why, why_size, "wrong number of arguments: one expected, %zu given%s", count,
             comment ? " (a comment needs a line of its own)"
                     : (row->type == KW_CONFIG_STRING ? " (text with spaces goes in quotes)" : ""));
    return KW_EINVALID;
}

int kw_config_value_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, const char *base,
                          bool hooks, struct kw_config_value *value, char *why, size_t why_size) {
    *value = (struct kw_config_value){0};
    snprintf(why, why_size, "%s", kw_error_text(KW_ENOMEM)); /* every other failure overwrites it */
    int rc = check_arity(row, words, count, why, why_size);
    if (rc == 0) rc = check_words(words, count, why, why_size);
    if (rc) return rc;
    if (row->type == KW_CONFIG_LIST) {
        return kw_config_list_parse(row, words, count, hooks, &value->text, why, why_size);
    }
    if (row->type == KW_CONFIG_TABLE) {
        return kw_config_table_parse(row, words, count, base, hooks, &value->text, why, why_size);
    }
    rc = parse_scalar(row, &words[0], value, why, why_size);
    if (rc == 0 && hooks && row->validate) {
        rc = row->validate(words[0].data, why, why_size);
        if (rc) kw_config_value_deinit(row, value);
    }
    return rc;
}

/* A table's text: entries on lines of their own; where the shape gives their length, several on one line too. */
static int parse_table_text(const struct kw_config_row *row, const char *text, size_t len, const char *base, bool hooks,
                            struct kw_config_value *value, char *why, size_t why_size) {
    const char *cursor = text, *line;
    size_t line_len;
    bool any = false;
    while (kw_config_line_next(&cursor, text + len, &line, &line_len)) {
        struct kw_config_words words;
        struct kw_config_value merged = {0};
        int rc = kw_config_words_split(&words, line, line_len);
        if (rc == KW_EINVALID) snprintf(why, why_size, "unbalanced quotes");
        if (rc == 0 && words.count > 0) {
            rc = kw_config_value_parse(row, words.word, words.count, any ? value->text : base, hooks, &merged, why,
                                       why_size);
            if (rc == 0) {
                kw_config_value_deinit(row, value);
                *value = merged;
                any = true;
            }
        }
        kw_config_words_deinit(&words);
        if (rc) {
            kw_config_value_deinit(row, value);
            return rc;
        }
    }
    if (any) return 0;
    struct kw_arg empty = {"", 0};
    return kw_config_value_parse(row, &empty, 1, base, hooks, value, why, why_size);
}

int kw_config_value_parse_text(const struct kw_config_row *row, const char *text, size_t len, const char *base,
                               bool hooks, struct kw_config_value *value, char *why, size_t why_size) {
    *value = (struct kw_config_value){0};
    snprintf(why, why_size, "%s", kw_error_text(KW_ENOMEM));
    if (memchr(text, '\0', len)) {
        snprintf(why, why_size, "argument must not hold a NUL byte");
        return KW_EINVALID;
    }
    if (row->type == KW_CONFIG_TABLE) return parse_table_text(row, text, len, base, hooks, value, why, why_size);
    char *copy = kw_malloc_try(len + 1); /* arguments of a command are not NUL-terminated */
    if (!copy) return KW_ENOMEM;
    memcpy(copy, text, len);
    copy[len] = '\0';
    struct kw_arg word = {copy, len};
    int rc = kw_config_value_parse(row, &word, 1, base, hooks, value, why, why_size);
    explicit_bzero(copy, len);
    kw_free(copy);
    return rc;
}

/* ---- formatting ---- */

char *kw_config_value_format(const struct kw_config_row *row, const struct kw_config_value *value) {
    struct kw_config_text out = {0};
    char number[32];
    switch (row->type) {
    case KW_CONFIG_BOOL: kw_config_text_puts(&out, value->number ? "yes" : "no"); break;
    case KW_CONFIG_ENUM: kw_config_text_puts(&out, row->names[value->number]); break;
    case KW_CONFIG_INT:
    case KW_CONFIG_BYTES:
        snprintf(number, sizeof(number), row->flags & KW_CONFIG_OCTAL ? "%llo" : "%lld", value->number);
        kw_config_text_puts(&out, number);
        break;
    case KW_CONFIG_STRING:
    case KW_CONFIG_SECRET:
    case KW_CONFIG_LIST:
    case KW_CONFIG_TABLE: kw_config_text_puts(&out, value->text); break;
    }
    char *text = kw_config_text_take(&out);
    if (text && row->type == KW_CONFIG_TABLE && kw_config_table_keyed(row)) {
        for (char *c = text; *c; c++) { /* as Redis prints client-output-buffer-limit */
            if (*c == '\n') *c = ' ';
        }
    }
    return text;
}
