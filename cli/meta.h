/* `keyway-cli meta`: its subcommands. Each reports its own trouble and returns an enum kw_exit. Main thread. */
#ifndef KW_CLI_META_H
#define KW_CLI_META_H

#include <stdbool.h>

#include "cli/meta_link.h"
#include "cli/meta_target.h"

enum { KW_CLI_META_WORDS_MAX = 2 };

struct kw_cli_meta_options {
    struct kw_cli_meta_target target;
    const char *words[KW_CLI_META_WORDS_MAX]; /* behind the subcommand; borrowed from argv */
    unsigned word_count;
    unsigned timeout_s;
    bool force; /* backup: overwrite */
    bool json;  /* list */
};

int kw_cli_meta_list(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
int kw_cli_meta_add(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
int kw_cli_meta_remove(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
int kw_cli_meta_transfer(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
int kw_cli_meta_backup(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);
int kw_cli_meta_restore(struct kw_cli_meta_link *link, const struct kw_cli_meta_options *options);

/* Says what a call came to nothing for. Returns KW_EXIT_FAILED. */
int kw_cli_meta_failed(const struct kw_cli_meta_link *link, const struct kw_cli_meta_target *target, const char *what);

#endif
