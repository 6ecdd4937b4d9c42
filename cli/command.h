/* The table of subcommands: one row each, one file each. */
#ifndef KW_CLI_COMMAND_H
#define KW_CLI_COMMAND_H

struct kw_cli_command {
    const char *name;
    const char *summary; /* one line, for help */
    /* argv[0] is the command's own name. Returns an enum kw_exit. */
    int (*run)(int argc, char **argv);
};

int kw_cli_command_local(int argc, char **argv);
int kw_cli_command_status(int argc, char **argv);
int kw_cli_command_meta(int argc, char **argv);
int kw_cli_command_attach(int argc, char **argv);
int kw_cli_command_detach(int argc, char **argv);

#endif
