/*
 * CLIENT TRACKING: nodes remember which keys a *connection* has read, so a client
 * that tracks has connections of its own to the nodes, one each, and everything
 * it asks goes by them; what the nodes push comes back the same way.
 *
 *   RESP3                      its link to a node speaks RESP3 and brings both replies and pushes
 *   RESP2, or with REDIRECT    a companion link takes the pushes; the link speaks what the client speaks
 *
 * Whenever something may have been missed (a link was lost, a slot has another
 * owner) the client is told to forget everything.
 */
#ifndef KW_PROXY_TRACKING_H
#define KW_PROXY_TRACKING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/str.h"

struct kw_command;
struct kw_link;
struct kw_node;
struct kw_request;
struct kw_session;
struct kw_worker;

enum kw_caching { KW_CACHING_UNSAID, KW_CACHING_YES, KW_CACHING_NO };

struct kw_tracking_options {
    bool bcast, optin, optout, noloop;
    uint64_t redirect;        /* client id; 0: none */
    unsigned redirect_worker; /* where that client lives */
    struct kw_arg *prefixes;  /* own, with their bytes */
    size_t prefix_count;
};
void kw_tracking_options_deinit(struct kw_tracking_options *options);

/* Starts, or goes on with more prefixes; takes the options over. Nothing may be in flight for the session. */
void kw_tracking_start(struct kw_session *session, struct kw_tracking_options *options);
/* Answers `req` (asynchronous) with OK when the nodes that have to be heard track; with an error if that takes long. */
void kw_tracking_confirm(struct kw_session *session, struct kw_request *req);
/* Ends; also at the session's end. */
void kw_tracking_stop(struct kw_session *session);
/* The client speaks another protocol from here on; nothing of it is in flight. */
void kw_tracking_protocol(struct kw_session *session);

/* What is in force; NULL: not tracking. */
const struct kw_tracking_options *kw_tracking_options(const struct kw_session *session);
/* The client that was redirected to is gone. */
bool kw_tracking_is_broken(const struct kw_session *session);

/* CLIENT CACHING: for the next command (or transaction). */
void kw_tracking_caching(struct kw_session *session, enum kw_caching caching);
/* A command begins: what CLIENT CACHING said before it holds for it, and no longer (but for other CLIENT commands). */
void kw_tracking_next_command(struct kw_session *session, const struct kw_command *cmd);
enum kw_caching kw_tracking_caching_now(const struct kw_session *session);

/* The session's link to that node; NULL while there is none (yet). */
struct kw_link *kw_tracking_link(struct kw_session *session, struct kw_node *node);

/* CLIENT CACHING in front of a command, on a tracking link. 0 or KW_ENOMEM. */
int kw_tracking_send_caching(struct kw_link *link, const struct kw_request *req);

/* Slots have other owners: keys that were absent there could be set unseen. */
void kw_tracking_flush_all(struct kw_worker *worker);
/* Links to primaries that lack are made. */
void kw_tracking_tick(struct kw_worker *worker);

/* This session may be told of others' keys (REDIRECT). */
void kw_tracking_make_target(struct kw_session *session);
void kw_tracking_leave_target(struct kw_session *session);

#endif
