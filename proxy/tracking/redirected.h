/*
 * Invalidations for somebody else (CLIENT TRACKING with REDIRECT): from the
 * worker of the client that tracks to the worker of the one that is told, as
 * messages, in order.
 */
#ifndef KW_PROXY_REDIRECTED_H
#define KW_PROXY_REDIRECTED_H

#include <stddef.h>
#include <stdint.h>

struct kw_session;

/*
 * `frame`: an invalidation in RESP3; copied. When no client of that id is there, `gone` runs on the sender's worker
 * with its session, if that still lives.
 */
void kw_redirected_send(struct kw_session *from, unsigned worker, uint64_t id, const char *frame, size_t len,
                        void (*gone)(void *session));

#endif
