/*
 * One connection to one metadata node: resolves, connects, cuts what comes
 * into RESP values, sends. It neither tries again nor keeps time; that is
 * meta_client.c's. Loop thread.
 */
#ifndef KW_RAFT_CLIENT_META_LINK_H
#define KW_RAFT_CLIENT_META_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <uv.h>

struct kw_meta_link;

struct kw_meta_link_hooks {
    void (*on_open)(void *ctx);
    /* One RESP value, borrowed; NULL bytes: it was larger than allowed and has been dropped. */
    void (*on_value)(void *ctx, char type, const char *bytes, size_t len);
    /* It failed, or ended: to be closed by whoever is told. */
    void (*on_end)(void *ctx, int err, const char *why);
    void (*on_closed)(void *ctx); /* its memory is gone */
    void *ctx;
};

/* Begins to connect. `attempt` picks one of several addresses of a name. NULL: it failed at once; on_closed follows. */
struct kw_meta_link *kw_meta_link_open(uv_loop_t *loop, const char *host, unsigned port, unsigned attempt,
                                       const struct kw_meta_link_hooks *hooks);

/* Sends a copy. 0, KW_ELIMIT (the node does not read), KW_EUNREACHABLE (not open). */
int kw_meta_link_send(struct kw_meta_link *link, const void *bytes, size_t len);

/* The own end of the connection, without a port; "" where not known. */
void kw_meta_link_local_host(const struct kw_meta_link *link, char *out, size_t size);

/* No hook but on_closed runs from now on. What was sent and has not left is dropped. */
void kw_meta_link_close(struct kw_meta_link *link);

#endif
