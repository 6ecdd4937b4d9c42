/*
 * The listening sockets. Connections are accepted on the main thread and handed
 * on as descriptors; one too many is told so in Redis's words and closed.
 */
#ifndef KW_PROXY_LISTENER_H
#define KW_PROXY_LISTENER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "proxy/settings.h"

struct kw_listener;

struct kw_listener_hooks {
    void (*on_client)(void *ctx, int fd); /* takes the descriptor over */
    bool (*may_accept)(void *ctx);
    void *ctx;
};

/* Binds every address of `bind`. Prints why not to standard error. 0 or KW_EIO, KW_EINVALID. */
int kw_listener_open(struct kw_listener **out, uv_loop_t *loop, const struct kw_settings *settings,
                     const struct kw_listener_hooks *hooks);
void kw_listener_start(struct kw_listener *listener);
/* No new connections from here on. */
void kw_listener_close(struct kw_listener *listener);
/* After the loop has ended. */
void kw_listener_free(struct kw_listener *listener);
/* Connections refused for maxclients. Any thread. */
uint64_t kw_listener_rejected(const struct kw_listener *listener);

#endif
