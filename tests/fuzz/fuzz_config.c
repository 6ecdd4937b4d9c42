/*
 * A file of settings from anywhere. The input is the file's text; what
 * stands behind a line `---` is loaded on top of it, as CONFIG SET and the
 * command line would change things. Then three promises are held to: a
 * rewrite of the file succeeds, loading what it wrote gives the same values,
 * and a second rewrite changes nothing; and what CONFIG GET prints, CONFIG
 * SET takes.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "base/error.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct settings {
    bool flag;
    int color;
    long long port, mode, memory;
    char *title, *password, *bind, *limits, *families, *saves;
};

static const char *const colors[] = {"red", "green", "blue", NULL};
static const char *const classes[] = {"normal", "replica", "pubsub", NULL};

#define AT(kind, field) .offset = KW_CONFIG_##kind##_AT(struct settings, field)

static const struct kw_config_row rows[] = {
    {"flag", KW_CONFIG_BOOL, KW_CONFIG_MUTABLE, AT(BOOL, flag), .value = "no", .help = "a flag"},
    {"color", KW_CONFIG_ENUM, KW_CONFIG_MUTABLE, AT(ENUM, color), .value = "red", .names = colors, .help = "an enum"},
    {"port", KW_CONFIG_INT, KW_CONFIG_MUTABLE, AT(NUMBER, port), .value = "7379", .min = -5, .max = 65535, .help = "p"},
    {"mode", KW_CONFIG_INT, KW_CONFIG_MUTABLE | KW_CONFIG_OCTAL, AT(NUMBER, mode), .value = "700", .help = "octal"},
    {"memory", KW_CONFIG_BYTES, KW_CONFIG_MUTABLE, AT(NUMBER, memory), .value = "1gb", .help = "bytes"},
    {"title", KW_CONFIG_STRING, KW_CONFIG_MUTABLE, AT(TEXT, title), .value = "a title", .help = "a text"},
    {"password", KW_CONFIG_SECRET, KW_CONFIG_MUTABLE, AT(TEXT, password), .value = "", .help = "a secret"},
    {"bind", KW_CONFIG_LIST, KW_CONFIG_MUTABLE, AT(TEXT, bind), .value = "* -::*", .help = "a list"},
    {"limits", KW_CONFIG_TABLE, KW_CONFIG_MUTABLE, AT(TEXT, limits), .value = "normal 0 0 0\npubsub 32mb 8mb 60",
     .names = classes, .shape = "ebbi", .help = "a keyed table"},
    {"family", KW_CONFIG_TABLE, KW_CONFIG_MUTABLE, AT(TEXT, families), .value = "", .help = "a free table"},
    {"save", KW_CONFIG_TABLE, KW_CONFIG_MUTABLE, AT(TEXT, saves), .value = "3600 1\n300 100", .shape = "ii",
     .help = "t"},
};

static void check_same(const struct settings *a, const struct settings *b) {
    KW_ASSERT(a->flag == b->flag && a->color == b->color && a->port == b->port);
    KW_ASSERT(a->mode == b->mode && a->memory == b->memory);
    KW_ASSERT(strcmp(a->title, b->title) == 0 && strcmp(a->password, b->password) == 0);
    KW_ASSERT(strcmp(a->bind, b->bind) == 0 && strcmp(a->limits, b->limits) == 0);
    KW_ASSERT(strcmp(a->families, b->families) == 0 && strcmp(a->saves, b->saves) == 0);
}

static void set_from_get(void *ctx, const char *name, const char *value) {
    struct kw_config_error err = {""};
    if (strcmp(name, "limits") == 0 && value[0] == '\0') return;
    KW_ASSERT(kw_config_set(ctx, name, value, &err) == 0);
}

static void check_get_set(const struct kw_config *cfg, const struct settings *have) {
    struct settings copy;
    struct kw_config *other = kw_config_new(rows, KW_ARRAY_LEN(rows), &copy);
    struct kw_arg all = {"*", 1};
    KW_ASSERT(kw_config_get(cfg, &all, 1, set_from_get, other) == 0);
    check_same(have, &copy);
    kw_config_free(other);
}

static void check_rewrite(struct kw_config *cfg, const struct settings *have, const char *old, size_t old_len) {
    struct kw_config_error err = {""};
    char *text, *again;
    size_t len, again_len;
    int rc = kw_config_rewrite_text(cfg, NULL, old, old_len, &text, &len, &err);
    KW_ASSERT(rc == 0 || rc == KW_ELIMIT);
    if (rc) return;

    struct settings copy;
    struct kw_config *other = kw_config_new(rows, KW_ARRAY_LEN(rows), &copy);
    KW_ASSERT(kw_config_load_text(other, "rewritten", text, len, &err) == 0);
    check_same(have, &copy);
    KW_ASSERT(kw_config_rewrite_text(other, NULL, text, len, &again, &again_len, &err) == 0);
    KW_ASSERT(again_len == len && memcmp(again, text, len) == 0);
    kw_config_free(other);
    kw_free(again);
    kw_free(text);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const char cut[] = "\n---\n";
    const char *file = (const char *)data;
    const char *at = memmem(file, size, cut, sizeof(cut) - 1);
    size_t file_len = at ? (size_t)(at - file) : size;

    struct settings settings;
    struct kw_config_error err = {""};
    struct kw_config *cfg = kw_config_new(rows, KW_ARRAY_LEN(rows), &settings);
    int rc = kw_config_load_text(cfg, "input", file, file_len, &err);
    KW_ASSERT((rc == 0) == (err.text[0] == '\0'));
    if (at) {
        const char *changes = at + sizeof(cut) - 1;
        (void)kw_config_load_text(cfg, "changes", changes, size - (size_t)(changes - file), &err);
    }
    check_get_set(cfg, &settings);
    check_rewrite(cfg, &settings, file, rc == 0 ? file_len : 0);
    kw_config_free(cfg);
    return 0;
}
