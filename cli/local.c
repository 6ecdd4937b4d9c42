/*
 * `keyway-cli local up|down|status`: reads the command line into one struct
 * and hands over. Nothing is started or changed here; a mistake on the
 * command line is reported with the option's name.
 */
#include "cli/local.h"

#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/command.h"
#include "cli/report.h"

#define DEFAULT_DIR ".keyway/local"

enum { DEFAULT_SHARDS = 3, DEFAULT_REPLICAS = 1, DEFAULT_PORT = 7379, DEFAULT_TIMEOUT_S = 60 };

static const char usage[] =
    "usage: keyway-cli local up|down|status [OPTION ...]\n"
    "\n"
    "  up      start a cluster and a proxy on this machine, or resume the one in the folder\n"
    "  down    stop what `up` started; the data stays\n"
    "  status  show the nodes and the proxy (exit code: 0 all well, 1 degraded, 3 not running)\n"
    "\n"
    "  --dir D        folder of the cluster                      (default " DEFAULT_DIR ")\n"
    "  --shards N     primaries                                  (up; default 3)\n"
    "  --replicas N   replicas of each primary                   (up; default 1)\n"
    "  --port P       port of the proxy; 0 takes any free one    (up; default 7379)\n"
    "  --server S     server program, name or path               (up; default redis-server)\n"
    "  --timeout N    seconds until `up` gives up                (up; default 60)\n"
    "  --wipe         remove the data as well                    (down)\n"
    "  --json         for programs                               (status)\n"
    "  --help         this text\n"
    "\n"
    "Several clusters can run side by side, each with a --dir and a --port of its own.\n";

enum { ON_UP = 1, ON_DOWN = 2, ON_STATUS = 4 };

static const struct action {
    const char *name;
    unsigned mask;
    int (*run)(const struct kw_cli_local_options *options);
} actions[] = {
    {"up", ON_UP, kw_cli_local_up},
    {"down", ON_DOWN, kw_cli_local_down},
    {"status", ON_STATUS, kw_cli_local_status},
};

/* Options that only some of the three commands know; --dir and --help are for all. */
static const struct option long_options[] = {
    {"dir", required_argument, NULL, 'd'},      {"shards", required_argument, NULL, 's'},
    {"replicas", required_argument, NULL, 'r'}, {"port", required_argument, NULL, 'p'},
    {"server", required_argument, NULL, 'S'},   {"timeout", required_argument, NULL, 't'},
    {"wipe", no_argument, NULL, 'w'},           {"json", no_argument, NULL, 'j'},
    {"help", no_argument, NULL, 'h'},           {NULL, 0, NULL, 0},
};

static unsigned option_mask(int letter) {
    switch (letter) {
    case 'd':
    case 'h': return ON_UP | ON_DOWN | ON_STATUS;
    case 'w': return ON_DOWN;
    case 'j': return ON_STATUS;
    default: return ON_UP;
    }
}

/* A whole number within the bounds; reports and returns false otherwise. */
static bool number_parse(const char *name, const char *text, unsigned low, unsigned high, unsigned *value) {
    char *end;
    errno = 0;
    unsigned long number = strtoul(text, &end, 10);
    if (text[0] < '0' || text[0] > '9' || *end != '\0' || errno != 0 || number < low || number > high) {
        kw_report_error("--%s takes a number from %u to %u, not '%s'", name, low, high, text);
        return false;
    }
    *value = (unsigned)number;
    return true;
}

static bool option_take(struct kw_cli_local_options *options, int letter, const char *text) {
    unsigned port;
    switch (letter) {
    case 'd':
        if (text[0] != '\0' && (size_t)snprintf(options->dir, sizeof(options->dir), "%s", text) < PATH_MAX) return true;
        kw_report_error("--dir takes the path of a folder");
        return false;
    case 's':
        options->shards_given = true;
        return number_parse("shards", text, 1, KW_CLI_LOCAL_SHARDS_MAX, &options->shards);
    case 'r':
        options->replicas_given = true;
        return number_parse("replicas", text, 0, KW_CLI_LOCAL_REPLICAS_MAX, &options->replicas);
    case 'p':
        options->port_given = true;
        if (!number_parse("port", text, 0, UINT16_MAX, &port)) return false;
        options->port = (uint16_t)port;
        return true;
    case 'S': options->server = text; return true;
    case 't': return number_parse("timeout", text, 1, 3600, &options->timeout_s);
    case 'w': options->wipe = true; return true;
    case 'j': options->json = true; return true;
    default: return false;
    }
}

/* Returns true to go on; otherwise *code is what to leave with. */
static bool options_parse(struct kw_cli_local_options *options, const struct action *action, int argc, char **argv,
                          int *code) {
    int letter;
    int at = 0;
    *code = KW_EXIT_USAGE;
    optind = 1;
    opterr = 0;
    while ((letter = getopt_long(argc, argv, "+:h", long_options, &at)) != -1) {
        if (letter == 'h') {
            (void)fputs(usage, stdout);
            *code = KW_EXIT_OK;
            return false;
        }
        if (letter == ':' || letter == '?') {
            kw_report_error(letter == ':' ? "%s takes a value" : "there is no option '%s'", argv[optind - 1]);
            return false;
        }
        if ((option_mask(letter) & action->mask) == 0) {
            kw_report_error("`local %s` has no option --%s", action->name, long_options[at].name);
            return false;
        }
        if (!option_take(options, letter, optarg)) return false;
    }
    if (optind < argc) {
        kw_report_error("'%s' is one word too many; see `keyway-cli local --help`", argv[optind]);
        return false;
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
        (void)fputs(usage, stderr);
        return KW_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) {
        (void)fputs(usage, stdout);
        return KW_EXIT_OK;
    }
    struct kw_cli_local_options options = {
        .dir = DEFAULT_DIR,
        .shards = DEFAULT_SHARDS,
        .replicas = DEFAULT_REPLICAS,
        .port = DEFAULT_PORT,
        .timeout_s = DEFAULT_TIMEOUT_S,
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(actions); i++) {
        if (strcmp(argv[1], actions[i].name) != 0) continue;
        int code;
        if (!options_parse(&options, &actions[i], argc - 1, argv + 1, &code)) return code;
        return actions[i].run(&options);
    }
    kw_report_error("`local` knows up, down and status, not '%s'", argv[1]);
    return KW_EXIT_USAGE;
}
