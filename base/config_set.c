/*
 * CONFIG SET as one transaction: stage (find, parse and validate all), swap
 * all values in, run the apply hooks, each hook once. If a hook fails, the
 * values are swapped back and the hooks that had run are run again with them,
 * last first. The staged values are owned by the list of changes; after the
 * swap it owns the old ones, and frees what it owns at the end either way.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/config_internal.h"
#include "base/error.h"

struct change {
    const struct kw_config_row *row;
    struct kw_config_value value; /* the new one; the old one once swapped */
    bool changed;                 /* differs from the old one */
    bool applied;                 /* this row's hook was called here */
};

static int refuse(struct kw_config_error *err, const struct kw_config_row *row, int rc, const char *why) {
    kw_config_fail(err, "CONFIG SET failed (possibly related to argument '%s') - %s", row->name, why);
    return rc;
}

static int refuse_unknown(const struct kw_config *cfg, const struct kw_arg *name, struct kw_config_error *err) {
    const char *near = kw_config_suggest(cfg, name->data, name->len);
    kw_config_fail(err, "Unknown option or number of arguments for CONFIG SET - '%.*s'%s%s%s",
                   (int)(name->len < 128 ? name->len : 128), name->data, near ? "; did you mean '" : "",
                   near ? near : "", near ? "'?" : "");
    return KW_EUNKNOWN;
}

/* Makes changes[at] of a name and a value; those before it are staged already. */
static int stage(struct kw_config *cfg, struct change *changes, size_t at, const struct kw_arg *name,
                 const struct kw_arg *value, struct kw_config_error *err) {
    const struct kw_config_row *row = kw_config_find(cfg, name->data, name->len);
    if (!row) return refuse_unknown(cfg, name, err);
    if (!(row->flags & KW_CONFIG_MUTABLE)) {
        return refuse(err, row, KW_EINVALID, "can't set immutable config: it can't be set at run time, only at start");
    }
    for (size_t i = 0; i < at; i++) {
        if (changes[i].row == row) return refuse(err, row, KW_EINVALID, "duplicate parameter");
    }
    char why[KW_CONFIG_WHY_MAX];
    struct kw_config_value now = kw_config_value_peek(cfg, row);
    bool merges = row->type == KW_CONFIG_TABLE && kw_config_table_keyed(row);
    int rc = kw_config_value_parse_text(row, value->data, value->len, merges ? now.text : "", true, &changes[at].value,
                                        why, sizeof(why));
    if (rc) return refuse(err, row, rc, why);
    changes[at].row = row;
    changes[at].changed = !kw_config_value_same(row, &changes[at].value, &now);
    return 0;
}

static void swap_all(struct kw_config *cfg, struct change *changes, size_t count) {
    for (size_t i = 0; i < count; i++) kw_config_value_swap(cfg, changes[i].row, &changes[i].value);
}

static bool hook_ran(const struct change *changes, size_t count, const struct kw_config_row *row) {
    for (size_t i = 0; i < count; i++) {
        if (changes[i].applied && changes[i].row->apply == row->apply) return true;
    }
    return false;
}

/* Back to the old values; `tried` changes have been through the hooks. Returns how many hooks refused to go back. */
static size_t roll_back(struct kw_config *cfg, struct change *changes, size_t count, size_t tried) {
    char why[KW_CONFIG_WHY_MAX];
    size_t stuck = 0;
    swap_all(cfg, changes, count);
    for (size_t i = tried; i-- > 0;) {
        if (changes[i].applied && changes[i].row->apply(cfg->ctx, why, sizeof(why)) != 0) stuck++;
    }
    return stuck;
}

static int apply_all(struct kw_config *cfg, struct change *changes, size_t count, struct kw_config_error *err) {
    for (size_t i = 0; i < count; i++) {
        const struct kw_config_row *row = changes[i].row;
        bool due = changes[i].changed || (row->flags & KW_CONFIG_VOLATILE);
        if (!row->apply || !due || hook_ran(changes, i, row)) continue;
        char why[KW_CONFIG_WHY_MAX] = "it could not be applied";
        int rc = row->apply(cfg->ctx, why, sizeof(why));
        if (rc) {
            size_t stuck = roll_back(cfg, changes, count, i);
            size_t used = strlen(why);
            if (stuck) snprintf(why + used, sizeof(why) - used, " (and %zu old values could not be applied)", stuck);
            return refuse(err, row, rc, why);
        }
        changes[i].applied = true;
    }
    return 0;
}

int kw_config_set_many(struct kw_config *cfg, const struct kw_arg *args, size_t arg_count,
                       struct kw_config_error *err) {
    size_t count = arg_count / 2, staged = 0;
    if (count == 0 || arg_count % 2 != 0) {
        kw_config_fail(err, "wrong number of arguments for CONFIG SET: it takes pairs of name and value");
        return KW_EINVALID;
    }
    struct change *changes = kw_calloc_try(count, sizeof(*changes));
    if (!changes) return kw_config_fail_nomem(err);
    int rc = 0;
    for (; staged < count && rc == 0; staged++) {
        rc = stage(cfg, changes, staged, &args[2 * staged], &args[2 * staged + 1], err);
    }
    if (rc == 0) {
        swap_all(cfg, changes, count);
        rc = apply_all(cfg, changes, count, err);
    }
    for (size_t i = 0; i < staged; i++) {
        if (!changes[i].row) continue; /* the one that was refused */
        if (rc == 0) cfg->given[changes[i].row - cfg->rows] = true;
        kw_config_value_deinit(changes[i].row, &changes[i].value);
    }
    kw_free(changes);
    return rc;
}

int kw_config_set(struct kw_config *cfg, const char *name, const char *value, struct kw_config_error *err) {
    struct kw_arg args[2] = {{name, strlen(name)}, {value, strlen(value)}};
    return kw_config_set_many(cfg, args, 2, err);
}
