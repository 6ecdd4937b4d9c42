/* Errors by which a node says "not here" or "not now": acted on, while the client waits. */
#ifndef KW_PROXY_REDIRECT_H
#define KW_PROXY_REDIRECT_H

#include <stdbool.h>
#include <stddef.h>

struct kw_link;
struct kw_request;

/*
 * `text` is the error line of a reply (at least its beginning). True: the
 * request was parked to be sent again. False: the reply is the client's.
 */
bool kw_redirect_handle(struct kw_link *link, struct kw_request *req, const char *text, size_t len);

#endif
