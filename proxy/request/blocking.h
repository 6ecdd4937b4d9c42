/*
 * Blocking commands that have to be sent again: their node failed over, or their
 * slot moved, while the client waited. What is left of the timeout goes with them.
 */
#ifndef KW_PROXY_BLOCKING_H
#define KW_PROXY_BLOCKING_H

#include <stdbool.h>

struct kw_request;
struct kw_worker;

/* The client waits for as long as its command says. */
bool kw_blocking_is(const struct kw_request *req);

/* The request, about to be sent again: its timeout becomes what is left of it. */
void kw_blocking_shorten(struct kw_worker *worker, struct kw_request *req);

#endif
