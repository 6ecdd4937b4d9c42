/*
 * A way to the metadata service that follows its leader: it goes from node to
 * node as they point (NOTLEADER), waits while there is no leader, and repeats
 * what may be repeated, within one time limit a call. Main thread.
 */
#ifndef KW_CLI_META_LINK_H
#define KW_CLI_META_LINK_H

#include <hiredis/hiredis.h>
#include <stddef.h>

#include "cli/meta_target.h"

struct kw_cli_meta_link;

enum kw_cli_meta_mode {
    KW_CLI_META_ANY,    /* a read that any node may answer from its own state */
    KW_CLI_META_LEADER, /* a read that only the leader answers: sent as KEYWAY LINEAR */
    KW_CLI_META_WRITE,  /* a write under a request id: repeated, and done once all the same */
    KW_CLI_META_ONCE,   /* a write that knows no id: never sent again once its outcome is unknown */
};

/* `target` is resolved and borrowed. Nothing is connected yet. */
struct kw_cli_meta_link *kw_cli_meta_link_new(const struct kw_cli_meta_target *target);
void kw_cli_meta_link_free(struct kw_cli_meta_link *link); /* NULL is allowed */

/* How long a call may take in all (default 5 s). */
void kw_cli_meta_link_limit(struct kw_cli_meta_link *link, unsigned limit_ms);

/*
 * KEYWAY and the words up to NULL. Returns the reply, never an error reply, which the caller frees; NULL with the code
 * and the text below when there is none: KW_EUNREACHABLE (no node answers), KW_ENOTLEADER (none is the leader),
 * KW_EINDOUBT (sent, outcome unknown), KW_EINVALID (not let in), KW_EUNKNOWN, KW_ECONFLICT, KW_EPROTOCOL (refused).
 */
redisReply *kw_cli_meta_ask(struct kw_cli_meta_link *link, enum kw_cli_meta_mode mode, ...);

/* The same for `count` words of any bytes. */
redisReply *kw_cli_meta_ask_words(struct kw_cli_meta_link *link, enum kw_cli_meta_mode mode, const char **words,
                                  const size_t *lens, size_t count);

/* Of the last call that returned NULL. The text is borrowed until the next call. */
int kw_cli_meta_link_code(const struct kw_cli_meta_link *link);
const char *kw_cli_meta_link_error(const struct kw_cli_meta_link *link);

/* "host:port" of the node that answered last. Borrowed until the next call. */
const char *kw_cli_meta_link_node(const struct kw_cli_meta_link *link);

#endif
