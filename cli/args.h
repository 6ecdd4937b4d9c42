/*
 * The command line of a subcommand, read by a table of its options: the same
 * table makes the help. Options may stand before, between and behind the
 * words; `--name value` and `--name=value` are the same; `--` ends them. A
 * mistake is reported, with what was probably meant. Main thread.
 */
#ifndef KW_CLI_ARGS_H
#define KW_CLI_ARGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kw_cli_option {
    const char *name;  /* without its dashes */
    const char *value; /* what the value is called in the help; NULL: it takes none */
    const char *help;  /* for people; a newline goes on in the next line */
    int id;            /* what kw_cli_args_next returns for it; above KW_CLI_ARGS_LAST */
    unsigned mask;     /* which actions of the command know it; 0: all */
};

/* What kw_cli_args_next returns beside the ids of options. */
enum { KW_CLI_ARGS_END, KW_CLI_ARGS_WORD, KW_CLI_ARGS_HELP, KW_CLI_ARGS_BAD, KW_CLI_ARGS_LAST };

/* All borrowed. Zero `at` and `words_only` to begin; argv[0] is not looked at. */
struct kw_cli_args {
    int argc;
    char **argv;
    const char *command; /* "local up", for messages */
    const struct kw_cli_option *options;
    size_t option_count;
    unsigned mask;     /* of the action at hand */
    int at;            /* the last word taken */
    bool words_only;   /* behind `--` */
    const char *value; /* of the option, or the word */
};

/* The next option or word. KW_CLI_ARGS_BAD was reported and ends in KW_EXIT_USAGE. */
int kw_cli_args_next(struct kw_cli_args *args);

/* Prints the options of a table as a paragraph of help, --help at the end. */
void kw_cli_args_options_print(const struct kw_cli_option *options, size_t count);

/* A whole number within the bounds; reports under `name` ("--shards") and returns false otherwise. */
bool kw_cli_args_number(const char *name, const char *text, uint64_t low, uint64_t high, uint64_t *value);

/*
 * The name out of `count`, each the first member (a const char *) of a struct of `stride` bytes, that a mistyped `word`
 * most likely stands for; NULL when none is near.
 */
const char *kw_cli_args_nearest(const char *word, const void *names, size_t count, size_t stride);

#endif
