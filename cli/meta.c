/*
 * `keyway-cli meta list|add|remove|transfer|backup|restore`: reads the
 * command line by a table and hands over. A mistake on the command line is
 * reported before anybody is asked.
 */
#include "cli/meta.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "cli/command.h"
#include "cli/report.h"

/* By default longer than a node that is added may take to come (raft/store: 30 s), so that its own answer is heard. */
enum { DEFAULT_TIMEOUT_S = 45, TIMEOUT_MAX_S = 3600 };
enum { OPT_TIMEOUT = KW_CLI_META_OPT_LAST + 1, OPT_FORCE, OPT_JSON };
enum { ON_LIST = 1, ON_CHANGE = 2, ON_BACKUP = 4 };

static const struct kw_cli_option options_table[] = {
    KW_CLI_META_OPTIONS,
    {"timeout", "N", "seconds until it gives up (default 45)", OPT_TIMEOUT, 0},
    {"force", NULL, "overwrite the file (backup)", OPT_FORCE, ON_BACKUP},
    {"json", NULL, "for programs (list)", OPT_JSON, ON_LIST},
};

static const struct action {
    const char *name; /* first: kw_cli_args_nearest */
    const char *words;
    const char *help;
    unsigned mask;
    unsigned words_min, words_max;
    int (*run)(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
} actions[] = {
    {"list", "", "the members, their leader, how far each is", ON_LIST, 0, 0, kw_cli_meta_list},
    {"add", "ID HOST:PORT[:RAFTPORT]",
     "make a voter of a node that was started with `join yes`;\na new or wiped data folder takes an ID never used "
     "before",
     ON_CHANGE, 2, 2, kw_cli_meta_add},
    {"remove", "ID", "take a member out; its ID is never used again", ON_CHANGE, 1, 1, kw_cli_meta_remove},
    {"transfer", "[ID]", "have another member lead (this one, or any)", ON_CHANGE, 0, 1, kw_cli_meta_transfer},
    {"backup", "FILE", "write all that the service holds to FILE", ON_BACKUP, 1, 1, kw_cli_meta_backup},
    {"restore", "FILE", "give a new, empty service what a backup holds", ON_CHANGE, 1, 1, kw_cli_meta_restore},
};

static void usage_print(FILE *out) {
    (void)fputs("usage: keyway-cli meta SUBCOMMAND [ARGUMENT ...] [OPTION ...]\n\n", out);
    for (size_t i = 0; i < KW_ARRAY_LEN(actions); i++) {
        const char *help = actions[i].help;
        char left[48];
        (void)snprintf(left, sizeof(left), "%s %s", actions[i].name, actions[i].words);
        for (int len; *help != '\0'; help += len + (help[len] == '\n')) {
            len = (int)strcspn(help, "\n");
            (void)fprintf(out, "  %-29s %.*s\n", left, len, help);
            left[0] = '\0';
        }
    }
    (void)fputc('\n', out);
}

static int help(void) {
    usage_print(stdout);
    kw_cli_args_options_print(options_table, KW_ARRAY_LEN(options_table));
    return KW_EXIT_OK;
}

static bool option_take(struct kw_cli_meta_options *options, int id, const char *value) {
    uint64_t number;
    if (kw_cli_meta_target_option(&options->target, id, value)) return true;
    switch (id) {
    case OPT_TIMEOUT:
        if (!kw_cli_args_number("--timeout", value, 1, TIMEOUT_MAX_S, &number)) return false;
        options->timeout_s = (unsigned)number;
        return true;
    case OPT_FORCE: options->force = true; return true;
    case OPT_JSON: options->json = true; return true;
    default: return false;
    }
}

static int words_wrong(const struct action *action) {
    kw_report_error("it is `keyway-cli meta %s%s%s`", action->name, action->words[0] != '\0' ? " " : "", action->words);
    return KW_EXIT_USAGE;
}

/* Returns KW_EXIT_OK to go on; *leave says to leave with what is returned. */
static int parse(struct kw_cli_meta_options *options, const struct action *action, int argc, char **argv, bool *leave) {
    char command[32];
    (void)snprintf(command, sizeof(command), "meta %s", action->name);
    struct kw_cli_args args = {.argc = argc,
                               .argv = argv,
                               .command = command,
                               .options = options_table,
                               .option_count = KW_ARRAY_LEN(options_table),
                               .mask = action->mask};
    int id;
    *leave = true;
    while ((id = kw_cli_args_next(&args)) != KW_CLI_ARGS_END) {
        if (id == KW_CLI_ARGS_HELP) return help();
        if (id == KW_CLI_ARGS_WORD) {
            if (options->word_count == action->words_max) return words_wrong(action);
            options->words[options->word_count++] = args.value;
        } else if (!option_take(options, id, args.value)) {
            return KW_EXIT_USAGE;
        }
    }
    if (options->word_count < action->words_min) return words_wrong(action);
    *leave = false;
    return KW_EXIT_OK;
}

int kw_cli_meta_failed(const struct kw_cli_meta_link *link, const struct kw_cli_meta_target *target, const char *what) {
    const char *error = kw_cli_meta_link_error(link);
    switch (kw_cli_meta_link_code(link)) {
    case KW_EUNREACHABLE: kw_report_error("%s: no metadata node answers (%s): %s", what, target->origin, error); break;
    case KW_EINDOUBT:
        kw_report_error("%s: the answer was lost, so it may have been done or not: look with `keyway-cli status` (%s)",
                        what, error);
        break;
    case KW_ENOTLEADER: kw_report_error("%s: the metadata service has no leader now (%s)", what, error); break;
    default: kw_report_error("%s: %s", what, error); break;
    }
    return KW_EXIT_FAILED;
}

static int run(const struct action *action, int argc, char **argv) {
    struct kw_cli_meta_options options = {.timeout_s = DEFAULT_TIMEOUT_S};
    bool leave;
    int code = parse(&options, action, argc, argv, &leave);
    if (leave) return code;
    code = KW_EXIT_FAILED;
    if (kw_cli_meta_target_resolve(&options.target) == 0) {
        struct kw_cli_meta_link *link = kw_cli_meta_link_new(&options.target);
        kw_cli_meta_link_limit(link, options.timeout_s * 1000);
        code = action->run(link, &options);
        kw_cli_meta_link_free(link);
    }
    kw_cli_meta_target_deinit(&options.target);
    return code;
}

int kw_cli_command_meta(int argc, char **argv) {
    if (argc < 2) {
        usage_print(stderr);
        return KW_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) return help();
    for (size_t i = 0; i < KW_ARRAY_LEN(actions); i++) {
        if (strcmp(argv[1], actions[i].name) == 0) return run(&actions[i], argc - 1, argv + 1);
    }
    const char *near = kw_cli_args_nearest(argv[1], actions, KW_ARRAY_LEN(actions), sizeof(actions[0]));
    if (near != NULL)
        kw_report_error("there is no `meta %s`; did you mean `meta %s`?", argv[1], near);
    else
        kw_report_error("there is no `meta %s`; see `keyway-cli meta --help`", argv[1]);
    return KW_EXIT_USAGE;
}
