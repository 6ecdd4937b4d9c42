/*
 * Control link: one connection to one node for the few commands by which the
 * cluster is watched and steered (never for clients' traffic). It connects by
 * itself, authenticates, checks with PING that the node really answers, and
 * after a loss connects again with capped backoff until it is closed.
 *
 * hiredis formats and parses; the socket is libuv's own. (hiredis 0.14's async
 * layer resolves names in the calling thread, has no connect deadline, and its
 * libuv adapter ignores poll errors, so that a refused connection may never be
 * reported.) Everything runs on the thread of the loop.
 */
#ifndef KW_CLUSTER_CONTROL_LINK_H
#define KW_CLUSTER_CONTROL_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct kw_control_link;
struct redisReply;

/* Credentials; read anew at each connect. NULL or "" password: no AUTH. NULL or "" user: the default user. */
struct kw_control_link_auth {
    const char *user;
    const char *password;
};

/*
 * A reply, borrowed for the length of the call; NULL when the link was lost
 * or closed first (then the command may have run).
 */
typedef void kw_control_link_reply_fn(void *ctx, const struct redisReply *reply);

struct kw_control_link_options {
    const char *host; /* name or address; copied */
    unsigned port;
    const struct kw_control_link_auth *auth; /* borrowed as long as the link lives; may be NULL */
    unsigned connect_timeout_ms;             /* resolve, connect, AUTH and PING together; 0: 500 */
    unsigned command_timeout_ms;             /* per command; 0: 1000. A command without reply in time ends the link */
    size_t reply_max;                        /* bytes of one reply; 0: 8 MiB. A larger one ends the link */
    void (*on_up)(void *ctx);
    /* Lost (`was_up`) or an attempt failed. `why` is for people. The next attempt is already planned. */
    void (*on_down)(void *ctx, int err, const char *why, bool was_up);
    void *ctx;
};

/* Makes a link; the first attempt starts with the next turn of the loop. Callbacks never run inline. */
struct kw_control_link *kw_control_link_new(uv_loop_t *loop, const struct kw_control_link_options *opts);

/*
 * Sends a command. 0: `fn` runs exactly once, later. KW_EUNREACHABLE (the
 * link is not up), KW_ELIMIT (too many under way), KW_ENOMEM: it never runs.
 */
int kw_control_link_command(struct kw_control_link *link, kw_control_link_reply_fn *fn, void *ctx, int argc,
                            const char **argv, const size_t *argv_len);

/* True from on_up to on_down. */
bool kw_control_link_is_up(const struct kw_control_link *link);

/*
 * Closes for good. Commands under way get NULL before this returns; on_down
 * is not called. `closed` (may be NULL) runs from the loop when the link's
 * memory is gone.
 */
void kw_control_link_close(struct kw_control_link *link, void (*closed)(void *ctx), void *ctx);

#endif
