/*
 * keyway-cli: finds the subcommand in the table and runs it. What a command
 * prints for people goes to standard output, what went wrong to standard
 * error, and the exit code says which it was (report.h).
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/command.h"
#include "cli/report.h"

static const struct kw_cli_command commands[] = {
    {"local", "start, stop and look at a cluster on this machine", kw_cli_command_local},
};

static void usage_print(FILE *out) {
    (void)fprintf(out, "usage: keyway-cli COMMAND [ARGUMENT ...]\n\n");
    for (size_t i = 0; i < KW_ARRAY_LEN(commands); i++) {
        (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(out, "\n`keyway-cli COMMAND --help` says more; `keyway-cli --version` prints the version.\n");
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage_print(stderr);
        return KW_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0 || strcmp(argv[1], "help") == 0) {
        usage_print(stdout);
        return KW_EXIT_OK;
    }
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        (void)printf("keyway-cli %s\n", KW_VERSION);
        return KW_EXIT_OK;
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(commands); i++) {
        if (strcmp(argv[1], commands[i].name) == 0) return commands[i].run(argc - 1, argv + 1);
    }
    kw_report_error("there is no command '%s'", argv[1]);
    usage_print(stderr);
    return KW_EXIT_USAGE;
}
