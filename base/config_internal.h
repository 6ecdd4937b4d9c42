/*
 * What the files of the configuration engine share; nobody else includes
 * this. A value under way between text and settings is a struct
 * kw_config_value; it is committed by swapping it with the field, so that
 * the old value is at hand for the way back.
 */
#ifndef KW_BASE_CONFIG_INTERNAL_H
#define KW_BASE_CONFIG_INTERNAL_H

#include "base/base.h"
#include "base/config.h"

#define KW_CONFIG_WHY_MAX 320

struct kw_config {
    const struct kw_config_row *rows; /* borrowed */
    size_t row_count;
    void *settings; /* borrowed; the strings in it are ours */
    void *ctx;      /* borrowed: for apply hooks */
    char *path;     /* own; absolute; NULL without a file */
    bool *given;    /* own; a flag a row: a line or SET has named it */
    bool checking;  /* a scratch copy for REWRITE: validate hooks stay out */
};

struct kw_config_value {
    long long number; /* BOOL, INT, BYTES, ENUM */
    char *text;       /* own; the other types */
};

/* ---- config.c ---- */

/* As kw_config_new, but NULL when memory is gone; `checking`: without the validate hooks. */
struct kw_config *kw_config_new_try(const struct kw_config_row *rows, size_t row_count, void *settings, bool checking);
KW_PRINTF(2, 3) void kw_config_fail(struct kw_config_error *err, const char *fmt, ...); /* control bytes become '?' */
int kw_config_fail_nomem(struct kw_config_error *err);                                  /* returns KW_ENOMEM */
/* The directive nearest to a mistyped name; NULL when none is near. */
const char *kw_config_suggest(const struct kw_config *cfg, const char *name, size_t len);

/* ---- config_words.c: text that grows with _try, words and quoting ---- */

/* After one failed append every later one does nothing, and taking the text gives NULL: check once, at the end. */
struct kw_config_text {
    char *data; /* own */
    size_t len, cap;
    bool failed;
};

void kw_config_text_append(struct kw_config_text *text, const void *bytes, size_t len);
void kw_config_text_puts(struct kw_config_text *text, const char *string);
void kw_config_text_word(struct kw_config_text *text, const char *word, size_t len); /* quoted where needed */
char *kw_config_text_take(struct kw_config_text *text); /* own, NUL-terminated; NULL: no memory. Leaves it empty */
void kw_config_text_deinit(struct kw_config_text *text);

struct kw_config_words {
    struct kw_arg *word; /* own; each word is NUL-terminated and may hold NULs besides; one block with the bytes */
    size_t count;
};

/* Splits a line as sdssplitargs does. 0, KW_EINVALID (unbalanced quotes), KW_ENOMEM. Free with words_deinit. */
int kw_config_words_split(struct kw_config_words *words, const char *text, size_t len);
void kw_config_words_deinit(struct kw_config_words *words);

/* Steps through lines: without the '\n', with a '\r' if there is one. False at the end. */
bool kw_config_line_next(const char **cursor, const char *end, const char **line, size_t *len);

/* ---- config_value.c ---- */

bool kw_config_is_text(const struct kw_config_row *row);
bool kw_config_is_secret(const struct kw_config_row *row);
void kw_config_range(const struct kw_config_row *row, long long *min, long long *max);
bool kw_config_parse_bytes(const char *text, size_t len, long long *value);
bool kw_config_parse_int(const char *text, size_t len, int base, long long *value);
int kw_config_name_index(const char *const *names, const char *text, size_t len); /* -1: none */
void kw_config_names_join(const char *const *names, const char *between, char *buf, size_t size);
/* "1gb" where that is exact, as CONFIG REWRITE writes. */
void kw_config_format_bytes(long long value, char *buf, size_t size);

size_t kw_config_field_size(const struct kw_config_row *row); /* in the settings struct, bytes */
/* The value now in the settings; its text is borrowed. */
struct kw_config_value kw_config_value_peek(const struct kw_config *cfg, const struct kw_config_row *row);
void kw_config_value_swap(struct kw_config *cfg, const struct kw_config_row *row, struct kw_config_value *value);
void kw_config_value_deinit(const struct kw_config_row *row, struct kw_config_value *value); /* wipes secrets */
bool kw_config_value_same(const struct kw_config_row *row, const struct kw_config_value *a,
                          const struct kw_config_value *b);

/*
 * Makes a value of the words of one line (or the arguments of one option). `base` is the table's text that the
 * entries are merged into; other types ignore it. On 0 *value is the caller's; otherwise `why` has the reason.
 */
int kw_config_value_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, const char *base,
                          bool hooks, struct kw_config_value *value, char *why, size_t why_size);
/* The same from one text, as CONFIG SET and the defaults give it. */
int kw_config_value_parse_text(const struct kw_config_row *row, const char *text, size_t len, const char *base,
                               bool hooks, struct kw_config_value *value, char *why, size_t why_size);
/* As CONFIG GET prints it. Own; NULL: no memory. */
char *kw_config_value_format(const struct kw_config_row *row, const struct kw_config_value *value);

/* ---- config_table.c ---- */

bool kw_config_table_keyed(const struct kw_config_row *row); /* one entry for each name */
int kw_config_list_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, bool hooks,
                         char **out, char *why, size_t why_size);
int kw_config_table_parse(const struct kw_config_row *row, const struct kw_arg *words, size_t count, const char *base,
                          bool hooks, char **out, char *why, size_t why_size);
/* The entry of `table` with the first word of `entry`; NULL if there is none. */
const char *kw_config_table_find(const char *table, const char *entry, size_t entry_len, size_t *len);

/* ---- config_file.c ---- */

/* Parses one directive's words and stores the result. `where` and `option_prefix` ("" or "--") are for the error. */
int kw_config_take(struct kw_config *cfg, const char *where, const char *option_prefix, const struct kw_arg *words,
                   size_t count, struct kw_config_error *err);
/* As load_text, but includes are read, relative to the folder of `path` (NULL: the working directory). */
int kw_config_load_text_at(struct kw_config *cfg, const char *source, const char *path, const char *text, size_t len,
                           struct kw_config_error *err);
int kw_config_load_stdin(struct kw_config *cfg, struct kw_config_error *err);
/* Reads a whole open file, at most KW_CONFIG_FILE_MAX. *data own. `name` is for the error. */
int kw_config_slurp(int fd, const char *name, char **data, size_t *len, struct kw_config_error *err);

#endif
