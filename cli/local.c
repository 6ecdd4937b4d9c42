/*
 * `keyway-cli local up|down|status`: reads the command line into one struct
 * and hands over. Nothing is started or changed here; a mistake on the
 * command line is reported with the option's name.
 */
#include "cli/local.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/report.h"

#define DEFAULT_DIR ".keyway/local"

enum { DEFAULT_SHARDS = 3, DEFAULT_REPLICAS = 1, DEFAULT_META = 3, DEFAULT_TIMEOUT_S = 60 };

enum { ON_UP = 1, ON_DOWN = 2, ON_STATUS = 4 };
enum {
    OPT_DIR = KW_CLI_ARGS_LAST + 1,
    OPT_SHARDS,
    OPT_REPLICAS,
    OPT_META,
    OPT_PORT,
    OPT_SERVER,
    OPT_TIMEOUT,
    OPT_WIPE,
    OPT_JSON
};

static const struct kw_cli_option options_table[] = {
    {"dir", "D", "folder of the cluster (default " DEFAULT_DIR ")", OPT_DIR, 0},
    {"shards", "N", "up: primaries (default 3)", OPT_SHARDS, ON_UP},
    {"replicas", "N", "up: replicas of each primary (default 1)", OPT_REPLICAS, ON_UP},
    {"meta", "N", "up: metadata nodes, 0, 1, 3 or 5 (default 3)", OPT_META, ON_UP},
    {"port", "P", "up: port of the proxy; 0 takes any free one (default 7379)", OPT_PORT, ON_UP},
    {"server", "S", "up: server program, name or path (default redis-server)", OPT_SERVER, ON_UP},
    {"timeout", "N", "up: seconds until it gives up (default 60)", OPT_TIMEOUT, ON_UP},
    {"wipe", NULL, "down: remove the data as well", OPT_WIPE, ON_DOWN},
    {"json", NULL, "status: for programs", OPT_JSON, ON_STATUS},
};

static const struct action {
    const char *name;
    unsigned mask;
    int (*run)(const struct kw_cli_local_options *options);
    const char *help;
} actions[] = {
    {"up", ON_UP, kw_cli_local_up,
     "start shards, metadata nodes and a proxy on this machine, or resume those in the folder"},
    {"down", ON_DOWN, kw_cli_local_down, "stop what `up` started; the data stays"},
    {"status", ON_STATUS, kw_cli_local_status, "show its processes (exit code: 0 all well, 1 degraded, 3 not running)"},
};

static void usage_print(FILE *out) {
    (void)fputs("usage: keyway-cli local up|down|status [OPTION ...]\n\n", out);
    for (size_t i = 0; i < KW_ARRAY_LEN(actions); i++) {
        (void)fprintf(out, "  %-7s %s\n", actions[i].name, actions[i].help);
    }
}

static int help(void) {
    usage_print(stdout);
    (void)fputc('\n', stdout);
    kw_cli_args_options_print(options_table, KW_ARRAY_LEN(options_table));
    (void)fputs(
        "\n"
        "Several clusters can run side by side, each with a --dir and a --port of its own. The metadata nodes of\n"
        "the one on port 7379 are on 7380 and above where these ports are free, those of the others on free ones.\n",
        stdout);
    return KW_EXIT_OK;
}

/* A number of an option into a field. */
static bool number_take(const char *name, const char *text, unsigned low, unsigned high, unsigned *field) {
    uint64_t number;
    if (!kw_cli_args_number(name, text, low, high, &number)) return false;
    *field = (unsigned)number;
    return true;
}

static bool meta_take(struct kw_cli_local_options *options, const char *text) {
    options->meta_given = true;
    if (!number_take("--meta", text, 0, KW_CLI_LOCAL_META_MAX, &options->meta)) return false;
    if (options->meta == 0 || options->meta % 2 == 1) return true;
    kw_report_error("--meta takes 0, 1, 3 or 5: an even number of metadata nodes bears no more failures than one less");
    return false;
}

static bool option_take(struct kw_cli_local_options *options, int id, const char *text) {
    unsigned port = 0;
    switch (id) {
    case OPT_DIR:
        if (text[0] != '\0' && (size_t)snprintf(options->dir, sizeof(options->dir), "%s", text) < PATH_MAX) return true;
        kw_report_error("--dir takes the path of a folder");
        return false;
    case OPT_SHARDS:
        options->shards_given = true;
        return number_take("--shards", text, 1, KW_CLI_LOCAL_SHARDS_MAX, &options->shards);
    case OPT_REPLICAS:
        options->replicas_given = true;
        return number_take("--replicas", text, 0, KW_CLI_LOCAL_REPLICAS_MAX, &options->replicas);
    case OPT_META: return meta_take(options, text);
    case OPT_PORT:
        options->port_given = true;
        if (!number_take("--port", text, 0, UINT16_MAX, &port)) return false;
        options->port = (uint16_t)port;
        return true;
    case OPT_SERVER: options->server = text; return true;
    case OPT_TIMEOUT: return number_take("--timeout", text, 1, 3600, &options->timeout_s);
    case OPT_WIPE: options->wipe = true; return true;
    case OPT_JSON: options->json = true; return true;
    default: return false;
    }
}

/* Returns true to go on; otherwise *code is what to leave with. */
static bool options_parse(struct kw_cli_local_options *options, const struct action *action, int argc, char **argv,
                          int *code) {
    char command[16];
    (void)snprintf(command, sizeof(command), "local %s", action->name);
    struct kw_cli_args args = {.argc = argc,
                               .argv = argv,
                               .command = command,
                               .options = options_table,
                               .option_count = KW_ARRAY_LEN(options_table),
                               .mask = action->mask};
    int id;
    *code = KW_EXIT_USAGE;
    while ((id = kw_cli_args_next(&args)) != KW_CLI_ARGS_END) {
        if (id == KW_CLI_ARGS_HELP) {
            *code = help();
            return false;
        }
        if (id == KW_CLI_ARGS_WORD) {
            kw_report_error("'%s' is one word too many; see `keyway-cli local --help`", args.value);
            return false;
        }
        if (!option_take(options, id, args.value)) return false;
    }
    if (options->shards * (1 + options->replicas) > KW_CLI_LOCAL_NODES_MAX) {
        kw_report_error("%u shards with %u replicas each are more than %d nodes", options->shards, options->replicas,
                        KW_CLI_LOCAL_NODES_MAX);
        return false;
    }
    return true;
}

int kw_cli_command_local(int argc, char **argv) {
    if (argc < 2) {
        usage_print(stderr);
        return KW_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) return help();
    struct kw_cli_local_options options = {
        .dir = DEFAULT_DIR,
        .shards = DEFAULT_SHARDS,
        .replicas = DEFAULT_REPLICAS,
        .meta = DEFAULT_META,
        .port = KW_CLI_LOCAL_PROXY_PORT,
        .timeout_s = DEFAULT_TIMEOUT_S,
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(actions); i++) {
        if (strcmp(argv[1], actions[i].name) != 0) continue;
        int code;
        if (!options_parse(&options, &actions[i], argc - 1, argv + 1, &code)) return code;
        return actions[i].run(&options);
    }
    const char *near = kw_cli_args_nearest(argv[1], actions, KW_ARRAY_LEN(actions), sizeof(actions[0]));
    kw_report_error("`local` knows up, down and status, not '%s'%s%s%s", argv[1],
                    near != NULL ? "; did you mean '" : "", near != NULL ? near : "", near != NULL ? "'?" : "");
    return KW_EXIT_USAGE;
}
