/*
 * Options by table. Nothing is allocated and nothing kept: values are the
 * caller's own argv. What can be wrong is said in one line that names the
 * word, and the nearest name that there is.
 */
#include "cli/args.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/report.h"

enum { NAME_MAX_LEN = 31, NEAR_MAX = 2, HELP_COLUMN = 28 };

static unsigned least(unsigned a, unsigned b, unsigned c) {
    unsigned low = a < b ? a : b;
    return low < c ? low : c;
}

/* Letters to insert, drop or exchange on the way from one word to the other; long words are as far as can be. */
static unsigned distance(const char *a, const char *b) {
    unsigned row[NAME_MAX_LEN + 1];
    size_t b_len = strlen(b);
    if (b_len > NAME_MAX_LEN || strlen(a) > NAME_MAX_LEN) return NAME_MAX_LEN;
    for (unsigned j = 0; j <= b_len; j++) row[j] = j;
    for (unsigned i = 1; a[i - 1] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = i;
        for (unsigned j = 1; j <= b_len; j++) {
            unsigned above = row[j];
            row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
            diagonal = above;
        }
    }
    return row[b_len];
}

const char *kw_cli_args_nearest(const char *word, const void *names, size_t count, size_t stride) {
    const char *best = NULL;
    unsigned best_distance = NEAR_MAX + 1;
    size_t len = strlen(word);
    for (size_t i = 0; i < count; i++) {
        const char *name;
        memcpy(&name, (const char *)names + i * stride, sizeof(name));
        unsigned away = len >= 2 && strncmp(name, word, len) == 0 ? 1 : distance(word, name);
        if (away >= best_distance || away >= strlen(name)) continue;
        best_distance = away;
        best = name;
    }
    return best;
}

static int unknown_report(const struct kw_cli_args *args, const char *word, const char *name) {
    const char *near = kw_cli_args_nearest(name, args->options, args->option_count, sizeof(*args->options));
    if (near != NULL)
        kw_report_error("there is no option '%s'; did you mean '--%s'?", word, near);
    else
        kw_report_error("there is no option '%s'; see `keyway-cli %s --help`", word, args->command);
    return KW_CLI_ARGS_BAD;
}

static const struct kw_cli_option *option_find(const struct kw_cli_args *args, const char *name, size_t len) {
    for (size_t i = 0; i < args->option_count; i++) {
        if (strncmp(args->options[i].name, name, len) == 0 && args->options[i].name[len] == '\0') {
            return &args->options[i];
        }
    }
    return NULL;
}

/* Takes the option whose word begins with "--". */
static int option_take(struct kw_cli_args *args, const char *word) {
    const char *name = word + 2;
    size_t len = strcspn(name, "=");
    const struct kw_cli_option *option = option_find(args, name, len);
    if (option == NULL) {
        char plain[NAME_MAX_LEN + 1];
        (void)snprintf(plain, sizeof(plain), "%.*s", len > NAME_MAX_LEN ? NAME_MAX_LEN : (int)len, name);
        return unknown_report(args, word, plain);
    }
    if (option->mask != 0 && (option->mask & args->mask) == 0) {
        kw_report_error("`keyway-cli %s` has no option --%s", args->command, option->name);
        return KW_CLI_ARGS_BAD;
    }
    bool attached = name[len] == '=';
    if (option->value == NULL) {
        args->value = NULL;
        if (!attached) return option->id;
        kw_report_error("--%s takes no value", option->name);
        return KW_CLI_ARGS_BAD;
    }
    if (!attached && args->at + 1 >= args->argc) {
        kw_report_error("--%s takes a value: --%s %s", option->name, option->name, option->value);
        return KW_CLI_ARGS_BAD;
    }
    args->value = attached ? name + len + 1 : args->argv[++args->at];
    return option->id;
}

int kw_cli_args_next(struct kw_cli_args *args) {
    if (args->at + 1 >= args->argc) return KW_CLI_ARGS_END;
    const char *word = args->argv[++args->at];
    if (!args->words_only && strcmp(word, "--") == 0) {
        args->words_only = true;
        return kw_cli_args_next(args);
    }
    if (args->words_only || word[0] != '-' || word[1] == '\0') {
        args->value = word;
        return KW_CLI_ARGS_WORD;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0) return KW_CLI_ARGS_HELP;
    return word[1] == '-' ? option_take(args, word) : unknown_report(args, word, word + 1);
}

static void option_print(const char *name, const char *value, const char *help) {
    int width = printf("  --%s%s%s", name, value != NULL ? " " : "", value != NULL ? value : "");
    while (*help != '\0') {
        int len = (int)strcspn(help, "\n");
        (void)printf("%*s%.*s\n", width < HELP_COLUMN ? HELP_COLUMN - width : 1, "", len, help);
        help += len + (help[len] == '\n');
        width = 0;
    }
}

void kw_cli_args_options_print(const struct kw_cli_option *options, size_t count) {
    for (size_t i = 0; i < count; i++) option_print(options[i].name, options[i].value, options[i].help);
    option_print("help", NULL, "this text");
}

bool kw_cli_args_number(const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *value) {
    char *end;
    errno = 0;
    unsigned long long number = strtoull(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < low || number > high) {
        kw_report_error("%s takes a number from %" PRIu64 " to %" PRIu64 ", not '%s'", name, low, high, text);
        return false;
    }
    *value = number;
    return true;
}
