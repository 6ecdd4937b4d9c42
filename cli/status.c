/*
 * `keyway-cli status`: one look at a cluster, or one every second.
 *
 * Happy path: find the metadata nodes, ask them, print tables or JSON. With
 * --watch on a terminal each look is drawn over the last one; elsewhere they
 * follow one another. Ctrl-C ends it between two looks. A service that cannot
 * be reached is said and, when watching, asked again.
 */
#include "cli/status.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/command.h"
#include "cli/grid.h"
#include "cli/process.h"
#include "cli/report.h"

enum { OPT_WATCH = KW_CLI_META_OPT_LAST + 1, OPT_JSON, WATCH_MS = 1000, WATCH_STEP_MS = 50 };

static const struct kw_cli_option options[] = {
    KW_CLI_META_OPTIONS,
    {"watch", NULL, "look again every second, until Ctrl-C", OPT_WATCH, 0},
    {"json", NULL, "for programs; with --watch a line each second", OPT_JSON, 0},
};

static void usage_print(void) {
    (void)fputs("usage: keyway-cli status [OPTION ...]\n"
                "\n"
                "Shows what the metadata service knows: shards, nodes, their roles, offsets and slots, the metadata\n"
                "nodes and their leader, proxies, operations that run.\n"
                "\n",
                stdout);
    kw_cli_args_options_print(options, KW_ARRAY_LEN(options));
    (void)fputs("\nExit code: 0 healthy, 3 degraded (the reasons stand at the top), 1 nobody can be reached.\n",
                stdout);
}

static volatile sig_atomic_t ended;

static void end_note(int sig) {
    (void)sig;
    ended = 1;
}

/* Draws over the last screen; what does not fit is counted. */
static void screen_draw(const char *text, unsigned rows) {
    unsigned line = 0;
    unsigned hidden = 0;
    (void)fputs("\033[H", stdout);
    for (const char *at = text; *at != '\0';) {
        int len = (int)strcspn(at, "\n");
        if (rows == 0 || line + 2 < rows)
            (void)printf("%.*s\033[K\n", len, at);
        else
            hidden++;
        line++;
        at += len + (at[len] == '\n');
    }
    if (hidden > 0) (void)printf("(%u more lines: make the window higher)\033[K", hidden);
    (void)fputs("\033[J", stdout);
    (void)fflush(stdout);
}

static int look(struct kw_cli_meta_link *link, const struct kw_cli_meta_target *target, bool json, bool watch) {
    struct kw_cli_status status;
    struct kw_str out = {0};
    unsigned columns;
    unsigned rows;
    kw_cli_status_read(&status, link, target);
    kw_cli_grid_terminal(&columns, &rows);
    if (json)
        kw_cli_status_json(&status, &out);
    else
        kw_cli_status_print(&status, columns, &out);
    if (watch && columns > 0 && !json) {
        screen_draw(out.data, rows);
    } else if (json || status.reached || watch) {
        (void)fputs(out.data, stdout);
        if (watch && !json) (void)fputc('\n', stdout);
        (void)fflush(stdout);
    }
    if (!status.reached && !watch && !json)
        kw_report_error("no metadata node can be reached (%s): %s", target->origin, status.error);
    int code = kw_cli_status_code(&status);
    kw_cli_status_deinit(&status);
    kw_str_deinit(&out);
    return code;
}

static int watch_run(struct kw_cli_meta_link *link, const struct kw_cli_meta_target *target, bool json) {
    struct sigaction action = {.sa_handler = end_note};
    (void)sigaction(SIGINT, &action, NULL);
    (void)sigaction(SIGTERM, &action, NULL);
    unsigned columns;
    unsigned rows;
    kw_cli_grid_terminal(&columns, &rows);
    if (columns > 0 && !json) (void)fputs("\033[2J", stdout);
    int code = KW_EXIT_OK;
    while (!ended && ferror(stdout) == 0) {
        code = look(link, target, json, true);
        for (unsigned waited = 0; !ended && waited < WATCH_MS; waited += WATCH_STEP_MS) {
            kw_process_pause_ms(WATCH_STEP_MS);
        }
    }
    return code;
}

/* Returns true to go on; otherwise *code is what to leave with. */
static bool options_parse(struct kw_cli_args *args, struct kw_cli_meta_target *target, bool *watch, bool *json,
                          int *code) {
    int id;
    *code = KW_EXIT_USAGE;
    while ((id = kw_cli_args_next(args)) != KW_CLI_ARGS_END) {
        if (kw_cli_meta_target_option(target, id, args->value)) continue;
        switch (id) {
        case OPT_WATCH: *watch = true; break;
        case OPT_JSON: *json = true; break;
        case KW_CLI_ARGS_HELP:
            usage_print();
            *code = KW_EXIT_OK;
            return false;
        case KW_CLI_ARGS_WORD:
            kw_report_error("'%s' is one word too many; see `keyway-cli status --help`", args->value);
            return false;
        default: return false;
        }
    }
    return true;
}

int kw_cli_command_status(int argc, char **argv) {
    struct kw_cli_meta_target target = {0};
    struct kw_cli_args args = {
        .argc = argc, .argv = argv, .command = "status", .options = options, .option_count = KW_ARRAY_LEN(options)};
    bool watch = false;
    bool json = false;
    int code;
    if (!options_parse(&args, &target, &watch, &json, &code)) return code;
    code = KW_EXIT_FAILED;
    if (kw_cli_meta_target_resolve(&target) == 0) {
        struct kw_cli_meta_link *link = kw_cli_meta_link_new(&target);
        kw_cli_meta_link_limit(link, KW_CLI_STATUS_TIMEOUT_MS);
        code = watch ? watch_run(link, &target, json) : look(link, &target, json, false);
        kw_cli_meta_link_free(link);
    }
    kw_cli_meta_target_deinit(&target);
    return code;
}
