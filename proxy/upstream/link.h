/* Inside of upstream links: shared by upstream.c, link.c and link_reply.c only. */
#ifndef KW_PROXY_LINK_H
#define KW_PROXY_LINK_H

#include "proxy/upstream/upstream.h"

/* Starts connecting; the handshake is queued. NULL when that failed at once (node->last_error). */
struct kw_link *kw_link_new(struct kw_node *node, enum kw_link_kind kind);

/* What is sent from here on is answered in that protocol. 0 or KW_ENOMEM. */
int kw_link_speak(struct kw_link *link, int resp);

/* The link leaves every list of its node. */
void kw_upstream_forget(struct kw_link *link);

/* Takes the first request in flight out; its reply is complete or will never be. */
struct kw_request *kw_link_pop(struct kw_link *link);

/* True when the request is among those whose replies are to come on this link. */
bool kw_link_awaits(const struct kw_link *link, const struct kw_request *req);

/* Answers requests that have been in flight for longer than request-timeout; their replies will be dropped. */
void kw_link_expire(struct kw_link *link, uint64_t now_us, uint64_t timeout_us);

/* Stream offset up to which the kernel has the bytes, at least. */
uint64_t kw_link_sent_offset(const struct kw_link *link);

#endif
