/*
 * Which metadata nodes a command talks to, and what it says to be let in:
 * options, environment, or the local cluster of this folder. Main thread.
 */
#ifndef KW_CLI_META_TARGET_H
#define KW_CLI_META_TARGET_H

#include <limits.h>
#include <stdbool.h>

#include "cli/args.h"
#include "cluster/seeds.h"

enum { KW_CLI_SECRET_MAX = 4096 };

struct kw_cli_meta_target {
    const char *meta;               /* --meta; borrowed from argv, NULL: not given */
    const char *secret_file;        /* --secret-file; the same */
    const char *dir;                /* --dir; the same */
    struct kw_seed *nodes;          /* own */
    unsigned node_count;            /* at least 1 once it is resolved */
    char secret[KW_CLI_SECRET_MAX]; /* "" none */
    char origin[PATH_MAX + 64];     /* where the addresses come from, for messages */
};

/* Ids of the options below; those of a command begin above. */
enum { KW_CLI_META_OPT_META = KW_CLI_ARGS_LAST + 1, KW_CLI_META_OPT_SECRET, KW_CLI_META_OPT_DIR, KW_CLI_META_OPT_LAST };

/* Rows for the table of a command that talks to metadata nodes. */
#define KW_CLI_META_OPTIONS                                                                                            \
    {"meta", "HOST:PORT,...",                                                                                          \
     "metadata nodes; one that answers is enough (default: those of\n"                                                 \
     "the local cluster in this folder, else 127.0.0.1:7380)",                                                         \
     KW_CLI_META_OPT_META, 0},                                                                                         \
        {"secret-file", "FILE", "file with their secret (or the environment: KEYWAY_SECRET)", KW_CLI_META_OPT_SECRET,  \
         0},                                                                                                           \
    {                                                                                                                  \
        "dir", "D", "folder of a local cluster: take its nodes and its secret", KW_CLI_META_OPT_DIR, 0                 \
    }

/* Takes one of these options. False when `id` is none of them. */
bool kw_cli_meta_target_option(struct kw_cli_meta_target *target, int id, const char *value);

/* Fills in the rest. 0, or an error that was reported. kw_cli_meta_target_deinit frees in either case. */
int kw_cli_meta_target_resolve(struct kw_cli_meta_target *target);
void kw_cli_meta_target_deinit(struct kw_cli_meta_target *target);

/* Reads the first line of a file into `secret`. 0 or an error that was reported. */
int kw_cli_secret_read(const char *path, char secret[KW_CLI_SECRET_MAX]);

#endif
