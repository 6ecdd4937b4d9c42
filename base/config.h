/*
 * The configuration engine: one table of rows describes every directive of a
 * program; parsing, validation, CONFIG GET/SET/REWRITE, --help and the
 * reference page all come from it. The values live in the program's own
 * settings struct, which the engine fills and whose strings it owns.
 *
 * Order of a program's start: kw_config_new (defaults), kw_config_load_args
 * (file, standard input, command line; later wins), kw_config_bind; then
 * kw_config_set at run time, and kw_config_free at the end.
 *
 * Everything here belongs to the main thread. No loop, no socket, no clock.
 */
#ifndef KW_BASE_CONFIG_H
#define KW_BASE_CONFIG_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "base/arg.h"

/* Bounds on what a file or an operator may send, in bytes unless named otherwise. */
#define KW_CONFIG_FILE_MAX          ((size_t)1024 * 1024)
#define KW_CONFIG_LINE_MAX          ((size_t)64 * 1024)
#define KW_CONFIG_VALUE_MAX         ((size_t)15 * 1024) /* one value or table entry: fits a line with every byte escaped */
#define KW_CONFIG_TABLE_ENTRIES_MAX 1024                /* entries */
#define KW_CONFIG_INCLUDE_DEPTH_MAX 10                  /* files inside files */
#define KW_CONFIG_INCLUDE_FILES_MAX 256                 /* files in all */

enum kw_config_type {
    KW_CONFIG_BOOL,   /* yes/no -> bool */
    KW_CONFIG_INT,    /* decimal, min..max -> long long */
    KW_CONFIG_BYTES,  /* 100, 1k = 1000, 1kb = 1024, m, mb, g, gb; min..max -> long long */
    KW_CONFIG_ENUM,   /* one of `names` -> int, its index */
    KW_CONFIG_STRING, /* any text without NUL -> char * own, never NULL */
    KW_CONFIG_SECRET, /* as STRING; shown by CONFIG GET and REWRITE only, `***` everywhere else */
    KW_CONFIG_LIST,   /* tokens between commas or spaces -> char * own, tokens joined by one space */
    KW_CONFIG_TABLE   /* entries of several words, see `shape` -> char * own, one canonical entry a line */
};

enum kw_config_flag {
    KW_CONFIG_MUTABLE = 1,  /* CONFIG SET may change it; without this it is set at start only */
    KW_CONFIG_VOLATILE = 2, /* apply even an unchanged value: it names something that changes, such as a file */
    KW_CONFIG_OCTAL = 4,    /* INT written in octal (file modes) */
    KW_CONFIG_MASKED = 8    /* LIST or TABLE that holds secrets: treated as SECRET is */
};

struct kw_config_row {
    const char *name; /* lower case, unique in the table */
    enum kw_config_type type;
    unsigned flags;           /* enum kw_config_flag, or-ed */
    size_t offset;            /* of the value in the settings struct: use the KW_CONFIG_*_AT macros */
    const char *value;        /* the default, as text; a table's entries are separated by newlines */
    long long min, max;       /* INT, BYTES: inclusive; both 0: from 0 up, no other limit */
    const char *const *names; /* ENUM, and `e` in a shape: NULL-terminated, static */
    const char *shape;        /* TABLE: a letter a word, `e` one of names, `b` bytes, `i` integer >= 0, `s` text;
                                 NULL: any number of words. When the first letter is `e` the table holds one entry
                                 for each name, so that a new line or CONFIG SET changes its entry and keeps the
                                 others; any other table is replaced by CONFIG SET, and its first line in the
                                 files or arguments replaces the default. An entry with the same first word as
                                 an earlier one replaces that one; "" alone empties the table. */
    const char *unit;         /* "milliseconds", "connections"; NULL: none */
    const char *help;         /* one line, without a full stop */
    /*
     * Optional. Judges a value that is already of the right type: the text of a scalar, one token of a list, one
     * entry of a table (words quoted where needed). Returns 0, or KW_EINVALID after writing the reason into `why`.
     */
    int (*validate)(const char *value, char *why, size_t why_size);
    /*
     * Optional. Puts a change into effect after kw_config_set: the settings struct holds the new values. Runs once
     * a call, even if several rows that share it were changed. Returns 0, or a negative code after writing the
     * reason into `why`; it must have changed nothing then, and the old values come back. Strings in the settings
     * are freed by the next change: what other threads use must be copied here. Not called while loading.
     */
    int (*apply)(void *ctx, char *why, size_t why_size);
};

/* Offsets that refuse to compile where the field has not the type that the row stores. */
#define KW_CONFIG_BOOL_AT(type, field)   _Generic(((type *)0)->field, bool : offsetof(type, field))
#define KW_CONFIG_NUMBER_AT(type, field) _Generic(((type *)0)->field, long long : offsetof(type, field))
#define KW_CONFIG_ENUM_AT(type, field)   _Generic(((type *)0)->field, int : offsetof(type, field))
#define KW_CONFIG_TEXT_AT(type, field)   _Generic(((type *)0)->field, char * : offsetof(type, field))

/* Why something was refused: one line, no control characters, no secrets. Untouched on success. */
struct kw_config_error {
    char text[512];
};

struct kw_config;

/*
 * An engine over `rows` (borrowed, must outlive it) and `settings` (borrowed; its fields are overwritten with the
 * defaults without being read). Own: free with kw_config_free. A bad row or default is a programmer's error.
 */
struct kw_config *kw_config_new(const struct kw_config_row *rows, size_t row_count, void *settings);

/* Frees the engine and the strings in the settings, which become NULL. NULL is allowed. */
void kw_config_free(struct kw_config *cfg);

/* The context that apply hooks get (borrowed); NULL before. */
void kw_config_bind(struct kw_config *cfg, void *apply_ctx);

/* ---- at start: config_file.c, config_args.c ---- */

/*
 * Reads a file in the syntax of redis.conf: `directive value ...`, '#' comment lines, "..." with \n \xHH escapes,
 * '...', CRLF or LF. `include path` reads another file there; a relative path starts at the including file's folder,
 * and * ? [] match several files, in order of name. Later lines win. Returns 0, or KW_EIO, KW_ENOMEM, KW_ELIMIT,
 * KW_EUNKNOWN, KW_EINVALID, KW_ERANGE; what stood before the bad line has been taken over by then.
 */
int kw_config_load_file(struct kw_config *cfg, const char *path, struct kw_config_error *err);

/* The same for text in memory; `source` names it in errors. `include` is refused. */
int kw_config_load_text(struct kw_config *cfg, const char *source, const char *text, size_t len,
                        struct kw_config_error *err);

/*
 * Takes main's arguments in the manner of redis-server: an optional file first, `-` (first or last) for standard
 * input, then `--directive value ...`, `--directive=value` or `"--directive value"`. The command line wins over
 * standard input, which wins over the file. The word behind `--directive` is its value even when it starts with
 * dashes, unless it is another known directive. Errors as for files.
 */
int kw_config_load_args(struct kw_config *cfg, int argc, char *const *argv, struct kw_config_error *err);

/* Absolute path of the main file loaded; NULL when there was none. Borrowed until the next load or free. */
const char *kw_config_path(const struct kw_config *cfg);

/* ---- at run time: config_set.c, config_get.c ---- */

/*
 * CONFIG SET of one or several: `args` is name, value, name, value... Either all take effect or none: everything is
 * validated first; if an apply hook fails, all values return and the hooks already run are run again with them.
 * The error text is the one of Redis ("CONFIG SET failed (possibly related to argument 'x') - reason").
 * Returns 0, KW_EUNKNOWN, KW_EINVALID (also: start-only, given twice), KW_ERANGE, KW_ENOMEM, or the hook's code.
 */
int kw_config_set_many(struct kw_config *cfg, const struct kw_arg *args, size_t arg_count, struct kw_config_error *err);
int kw_config_set(struct kw_config *cfg, const char *name, const char *value, struct kw_config_error *err);

/* Name and value are borrowed for the call. */
typedef void kw_config_visit(void *ctx, const char *name, const char *value);

/*
 * CONFIG GET: visits each directive whose name matches one of the glob patterns (ignoring case), once, in table
 * order, with its value as Redis prints it (bytes as a plain number). Secrets are shown in clear. Returns 0, or
 * KW_ENOMEM, after which some may have been visited.
 */
int kw_config_get(const struct kw_config *cfg, const struct kw_arg *patterns, size_t pattern_count,
                  kw_config_visit *visit, void *ctx);

/* Visits what differs from its default, secrets as `***`: for the log at start and for bug reports. As kw_config_get.
 */
int kw_config_dump(const struct kw_config *cfg, kw_config_visit *visit, void *ctx);

/* The row of a directive, any case; NULL if there is none. */
const struct kw_config_row *kw_config_find(const struct kw_config *cfg, const char *name, size_t len);

/* True once a file, the command line or kw_config_set has named the directive, which must be in the table. */
bool kw_config_is_given(const struct kw_config *cfg, const char *name);

/* ---- reading lists and tables ---- */

/*
 * Steps through a LIST value: returns the next token (not NUL-terminated, borrowed from the value) and its length,
 * NULL at the end. Start with *cursor at the value.
 */
const char *kw_config_list_next(const char **cursor, size_t *len);

/*
 * Calls `entry` with the unquoted, NUL-terminated words of each entry of a TABLE value, in order, until it returns
 * other than 0, and returns that; 0 at the end, KW_ENOMEM on no memory. Words are borrowed for the call.
 */
int kw_config_table_each(const char *value, int (*entry)(void *ctx, const struct kw_arg *words, size_t count),
                         void *ctx);

/* ---- CONFIG REWRITE: config_rewrite.c, config_save.c ---- */

/*
 * Writes the present values into the file at `path` (NULL: the main file that was loaded). Comments, order, includes
 * and lines that still hold stay as they are, changed lines are updated, the rest is appended under a marker line.
 * The new file is written beside the old one, synced and renamed over it (through symbolic links), so that any
 * failure (KW_EIO, KW_ENOMEM, KW_ELIMIT, or KW_EINVALID when the file on disk is not valid any more) leaves the old
 * one whole. Mode and, where allowed, owner are kept; a new file is readable by its owner only. Blocks on the disk.
 */
int kw_config_rewrite(struct kw_config *cfg, const char *path, struct kw_config_error *err);

/*
 * The pure half of it: makes from the text of the old file that of the new one (*out own, kw_free; NUL-terminated).
 * Proven before it returns: loading *out gives exactly the present values. `path` names the file and is where
 * relative includes start; NULL refuses includes.
 */
int kw_config_rewrite_text(struct kw_config *cfg, const char *path, const char *old, size_t old_len, char **out,
                           size_t *out_len, struct kw_config_error *err);

/* ---- pages from the table: config_help.c ---- */

void kw_config_help(const struct kw_config *cfg, FILE *to);      /* for --help: one directive a paragraph */
void kw_config_reference(const struct kw_config *cfg, FILE *to); /* Markdown table */

#endif
