/*
 * Reading the settings back as text: CONFIG GET by pattern, and the dump of
 * what differs from the defaults with the secrets masked. Each value's text
 * lives for the visit only; it is wiped before it is freed.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"
#include "base/glob.h"

static bool wanted(const struct kw_config_row *row, const struct kw_arg *patterns, size_t count) {
    for (size_t i = 0; i < count; i++) {
        if (kw_glob_match(patterns[i].data, patterns[i].len, row->name, strlen(row->name), true)) return true;
    }
    return false;
}

static int visit_row(const struct kw_config *cfg, const struct kw_config_row *row, kw_config_visit *visit, void *ctx) {
    struct kw_config_value value = kw_config_value_peek(cfg, row);
    char *text = kw_config_value_format(row, &value);
    if (!text) return KW_ENOMEM;
    visit(ctx, row->name, text);
    if (kw_config_is_secret(row)) explicit_bzero(text, strlen(text));
    kw_free(text);
    return 0;
}

int kw_config_get(const struct kw_config *cfg, const struct kw_arg *patterns, size_t pattern_count,
                  kw_config_visit *visit, void *ctx) {
    int rc = 0;
    for (size_t i = 0; i < cfg->row_count && rc == 0; i++) {
        if (wanted(&cfg->rows[i], patterns, pattern_count)) rc = visit_row(cfg, &cfg->rows[i], visit, ctx);
    }
    return rc;
}

static int is_default(const struct kw_config *cfg, const struct kw_config_row *row, bool *yes) {
    char why[KW_CONFIG_WHY_MAX];
    struct kw_config_value fallback, now = kw_config_value_peek(cfg, row);
    if (row->type == KW_CONFIG_TABLE && row->value[0] == '\0') {
        *yes = now.text[0] == '\0';
        return 0;
    }
    int rc = kw_config_value_parse_text(row, row->value, strlen(row->value), "", false, &fallback, why, sizeof(why));
    if (rc) return rc;
    *yes = kw_config_value_same(row, &fallback, &now);
    kw_config_value_deinit(row, &fallback);
    return 0;
}

int kw_config_dump(const struct kw_config *cfg, kw_config_visit *visit, void *ctx) {
    for (size_t i = 0; i < cfg->row_count; i++) {
        const struct kw_config_row *row = &cfg->rows[i];
        bool same;
        int rc = is_default(cfg, row, &same);
        if (rc == 0 && !same) {
            if (kw_config_is_secret(row)) {
                visit(ctx, row->name, "***");
            } else {
                rc = visit_row(cfg, row, visit, ctx);
            }
        }
        if (rc) return rc;
    }
    return 0;
}
