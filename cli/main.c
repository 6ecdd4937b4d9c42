/*
 * keyway-cli: finds the subcommand in the table and runs it. What a command
 * prints for people goes to standard output, what went wrong to standard
 * error, and the exit code says which it was (report.h).
 */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "cli/args.h"
#include "cli/command.h"
#include "cli/report.h"

static const struct kw_cli_command commands[] = {
    {"local", "start, stop and look at a whole cluster on this machine", kw_cli_command_local},
    {"status", "what the metadata service knows: shards, nodes, proxies, leader", kw_cli_command_status},
    {"attach", "adopt an existing Redis Cluster", kw_cli_command_attach},
    {"detach", "let it go again; it runs on", kw_cli_command_detach},
    {"meta", "the metadata nodes: list, add, remove, transfer, backup, restore", kw_cli_command_meta},
};

static void usage_print(FILE *out) {
    (void)fprintf(out, "usage: keyway-cli COMMAND [ARGUMENT ...]\n\n");
    for (size_t i = 0; i < KW_ARRAY_LEN(commands); i++) {
        (void)fprintf(out, "  %-10s %s\n", commands[i].name, commands[i].summary);
    }
    (void)fprintf(out, "  %-10s %s\n\n", "help", "this text, or that of a command");
    (void)fprintf(out, "`keyway-cli COMMAND --help` says more; `keyway-cli --version` prints the version.\n");
}

static const struct kw_cli_command *command_find(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(commands); i++) {
        if (strcmp(name, commands[i].name) == 0) return &commands[i];
    }
    const char *near = kw_cli_args_nearest(name, commands, KW_ARRAY_LEN(commands), sizeof(commands[0]));
    if (near != NULL)
        kw_report_error("there is no command '%s'; did you mean '%s'?", name, near);
    else
        kw_report_error("there is no command '%s'; see `keyway-cli help`", name);
    return NULL;
}

static int help(const char *name) {
    if (name == NULL) {
        usage_print(stdout);
        return KW_EXIT_OK;
    }
    const struct kw_cli_command *command = command_find(name);
    if (command == NULL) return KW_EXIT_USAGE;
    char word[] = "--help";
    char *argv[] = {NULL, word, NULL};
    return command->run(2, argv);
}

int main(int argc, char **argv) {
    if (argc < 2) {
        usage_print(stderr);
        return KW_EXIT_USAGE;
    }
    if (strcmp(argv[1], "--help") == 0 || strcmp(argv[1], "-h") == 0) return help(NULL);
    if (strcmp(argv[1], "help") == 0) return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(argv[1], "--version") == 0 || strcmp(argv[1], "version") == 0) {
        (void)printf("keyway-cli %s\n", KW_VERSION);
        return KW_EXIT_OK;
    }
    const struct kw_cli_command *command = command_find(argv[1]);
    return command == NULL ? KW_EXIT_USAGE : command->run(argc - 1, argv + 1);
}
