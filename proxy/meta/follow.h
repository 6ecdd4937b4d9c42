/*
 * The metadata service, as the proxy follows it: maps that it pushes become
 * hints of discovery, the proxy is registered there, commands reach it. When no
 * node of it answers the hint is taken back, so that nothing old is believed,
 * and the proxy goes on with what the Redis nodes say themselves.
 */
#ifndef KW_PROXY_META_FOLLOW_H
#define KW_PROXY_META_FOLLOW_H

#include <uv.h>

#include "base/str.h"
#include "raft/client/meta_client.h"

struct kw_follow;
struct kw_discovery;

struct kw_follow_options {
    const char *nodes, *secret;
    const char *id;                 /* of this process */
    const char *address;            /* "host:port" that it listens on; any host may be a wildcard */
    unsigned workers;               /* threads */
    struct kw_discovery *discovery; /* borrowed: outlives the follow */
};

/* Main thread. 0, or KW_EINVALID. */
int kw_follow_start(struct kw_follow **out, uv_loop_t *loop, const struct kw_follow_options *opts);

/* As kw_meta_client_ask. Main thread. */
int kw_follow_ask(struct kw_follow *follow, const struct kw_meta_client_ask *ask);

/* The fields of INFO's section; NULL: none is configured. Any thread. */
void kw_follow_print(struct kw_follow *follow, struct kw_str *out);

/* Main thread; `closed` runs from the loop, when all memory is given back. */
void kw_follow_close(struct kw_follow *follow, void (*closed)(void *ctx), void *ctx);

#endif
