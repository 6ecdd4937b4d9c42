/*
 * WATCH: optimistic locking lives at the node, in the connection that watched.
 * The session keeps that (private) link from its first WATCH to EXEC, UNWATCH,
 * DISCARD, RESET or its end, and nothing else holds one: a transaction without
 * WATCH shares the ordinary links.
 *
 * When the link is lost, or the slot moves away, nobody can say whether the
 * keys were changed: EXEC then answers nil, as if they were.
 */
#ifndef KW_PROXY_WATCH_H
#define KW_PROXY_WATCH_H

#include <stdbool.h>

struct kw_link;
struct kw_request;
struct kw_session;
struct kw_worker;

/* The slot of what is watched, or -1. */
int kw_watch_slot(const struct kw_session *session);

/* The link on which something is watched, or NULL. */
struct kw_link *kw_watch_link(const struct kw_session *session);

/* True when something is watched, or was and cannot be told any more. */
bool kw_watch_holds(const struct kw_session *session);
/* True when EXEC can only answer nil. */
bool kw_watch_is_lost(const struct kw_session *session);

/* Nothing is watched any more; the link goes back to the pool. */
void kw_watch_release(struct kw_session *session);

/* The reply to WATCH, or to the EXEC that follows it, has come on `link`: keeps it, or gives it back. */
void kw_watch_answered(struct kw_request *req, struct kw_link *link);

/* EXEC can not be sent to where the keys are watched: it is answered with nil. Frees the request. */
void kw_watch_exec_failed(struct kw_worker *worker, struct kw_request *req);
/* Its reply becomes nil. */
void kw_watch_reply_nil(struct kw_worker *worker, struct kw_request *req);

/* The EXEC of a transaction with something watched (and not WATCH itself). */
bool kw_watch_is_exec(const struct kw_request *req);

#endif
