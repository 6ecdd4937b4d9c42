/*
 * The engine object: checks the table once, fills the settings with the
 * defaults, finds directives and names the one that a typing slip meant.
 * Nothing fails here but memory; the engine frees all strings in the
 * settings when it goes.
 */
#include "base/config.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

#define NAME_MAX_LEN 63 /* of a directive; bounds the edit distance table */

/* ---- errors ---- */

void kw_config_fail(struct kw_config_error *err, const char *fmt, ...) {
    if (!err) return;
    va_list args;
    va_start(args, fmt);
    int n = vsnprintf(err->text, sizeof(err->text), fmt, args);
    va_end(args);
    if (n < 0) err->text[0] = '\0';
    for (char *c = err->text; *c; c++) {
        if ((unsigned char)*c < ' ' || *c == 0x7f) *c = '?';
    }
}

int kw_config_fail_nomem(struct kw_config_error *err) {
    kw_config_fail(err, "%s", kw_error_text(KW_ENOMEM));
    return KW_ENOMEM;
}

/* ---- life ---- */

static void check_row(const struct kw_config *cfg, const struct kw_config_row *row) {
    size_t len = strlen(row->name);
    KW_ASSERT(len > 0 && len <= NAME_MAX_LEN);
    for (size_t i = 0; i < len; i++) KW_ASSERT(strchr("abcdefghijklmnopqrstuvwxyz0123456789-_", row->name[i]));
    KW_ASSERT(kw_config_find(cfg, row->name, len) == row); /* no name twice */
    KW_ASSERT(strcmp(row->name, "include") != 0);
    KW_ASSERT(row->help && row->value && row->min <= row->max);
    bool needs_names = row->type == KW_CONFIG_ENUM || (row->shape && strchr(row->shape, 'e'));
    KW_ASSERT(!needs_names || row->names);
    KW_ASSERT(!row->shape || (row->type == KW_CONFIG_TABLE && row->shape[0] != '\0'));
}

static int set_default(struct kw_config *cfg, const struct kw_config_row *row) {
    char why[KW_CONFIG_WHY_MAX];
    struct kw_config_value value;
    bool nothing = row->type == KW_CONFIG_TABLE && row->value[0] == '\0'; /* allowed for keyed tables too, here only */
    int rc = 0;
    if (nothing) {
        struct kw_config_text empty = {0};
        value = (struct kw_config_value){.text = kw_config_text_take(&empty)};
        if (!value.text) return KW_ENOMEM;
    } else {
        rc = kw_config_value_parse_text(row, row->value, strlen(row->value), "", !cfg->checking, &value, why,
                                        sizeof(why));
    }
    if (rc == KW_ENOMEM) return rc;
    if (rc) fprintf(stderr, "default of '%s': %s\n", row->name, why);
    KW_ASSERT(rc == 0);
    kw_config_value_swap(cfg, row, &value); /* the field was zero: nothing to free */
    return 0;
}

struct kw_config *kw_config_new_try(const struct kw_config_row *rows, size_t row_count, void *settings, bool checking) {
    struct kw_config *cfg = kw_calloc_try(1, sizeof(*cfg));
    if (!cfg) return NULL;
    cfg->given = kw_calloc_try(row_count, sizeof(*cfg->given));
    if (!cfg->given) goto err_after_cfg;
    cfg->rows = rows;
    cfg->settings = settings;
    cfg->checking = checking;
    for (size_t i = 0; i < row_count; i++) {
        cfg->row_count = i + 1; /* as many as kw_config_free may look at */
        check_row(cfg, &rows[i]);
        memset((char *)settings + rows[i].offset, 0, kw_config_field_size(&rows[i]));
        if (set_default(cfg, &rows[i])) goto err_after_rows;
    }
    return cfg;

err_after_rows:
    kw_config_free(cfg);
    return NULL;
err_after_cfg:
    kw_free(cfg);
    return NULL;
}

struct kw_config *kw_config_new(const struct kw_config_row *rows, size_t row_count, void *settings) {
    struct kw_config *cfg = kw_config_new_try(rows, row_count, settings, false);
    KW_ASSERT(cfg); /* sizes of our own choice */
    return cfg;
}

void kw_config_free(struct kw_config *cfg) {
    if (!cfg) return;
    for (size_t i = 0; i < cfg->row_count; i++) {
        if (!kw_config_is_text(&cfg->rows[i])) continue;
        struct kw_config_value none = {0};
        kw_config_value_swap(cfg, &cfg->rows[i], &none);
        kw_config_value_deinit(&cfg->rows[i], &none);
    }
    kw_free(cfg->given);
    kw_free(cfg->path);
    kw_free(cfg);
}

void kw_config_bind(struct kw_config *cfg, void *apply_ctx) {
    cfg->ctx = apply_ctx;
}

const char *kw_config_path(const struct kw_config *cfg) {
    return cfg->path;
}

/* ---- names ---- */

const struct kw_config_row *kw_config_find(const struct kw_config *cfg, const char *name, size_t len) {
    for (size_t i = 0; i < cfg->row_count; i++) {
        const char *known = cfg->rows[i].name;
        if (strlen(known) == len && strncasecmp(known, name, len) == 0) return &cfg->rows[i];
    }
    return NULL;
}

bool kw_config_is_given(const struct kw_config *cfg, const char *name) {
    const struct kw_config_row *row = kw_config_find(cfg, name, strlen(name));
    KW_ASSERT(row);
    return cfg->given[row - cfg->rows];
}

static int smaller(int a, int b) {
    return a < b ? a : b;
}

/* Edits between two names: insert, delete, replace, swap of neighbours (optimal string alignment distance). */
static int edit_distance(const char *a, int a_len, const char *b, int b_len) {
    int row[3][NAME_MAX_LEN + 1];
    for (int j = 0; j <= b_len; j++) row[0][j] = j;
    for (int i = 1; i <= a_len; i++) {
        int *now = row[i % 3], *above = row[(i + 2) % 3], *twice = row[(i + 1) % 3];
        now[0] = i;
        for (int j = 1; j <= b_len; j++) {
            int cost = strncasecmp(&a[i - 1], &b[j - 1], 1) != 0;
            now[j] = smaller(smaller(above[j] + 1, now[j - 1] + 1), above[j - 1] + cost);
            bool swapped = i > 1 && j > 1 && strncasecmp(&a[i - 1], &b[j - 2], 1) == 0 &&
                           strncasecmp(&a[i - 2], &b[j - 1], 1) == 0;
            if (swapped) now[j] = smaller(now[j], twice[j - 2] + 1);
        }
    }
    return row[a_len % 3][b_len];
}

const char *kw_config_suggest(const struct kw_config *cfg, const char *name, size_t len) {
    if (len == 0 || len > NAME_MAX_LEN) return NULL;
    const char *nearest = NULL;
    int best = smaller((int)len / 3 + 1, 4); /* the first distance that is too far */
    for (size_t i = 0; i < cfg->row_count; i++) {
        const char *known = cfg->rows[i].name;
        int distance = edit_distance(name, (int)len, known, (int)strlen(known));
        if (distance >= best) continue;
        best = distance;
        nearest = known;
    }
    return nearest;
}
