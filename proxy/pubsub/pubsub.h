/*
 * Pub/sub of one worker. A topic (channel, pattern or shard channel) that at
 * least one client subscribes to has one subscription at a node, by the feed to
 * that node; each message comes once and is handed to every subscriber.
 *
 *   client -- membership -- topic -- source -- feed -- node
 *
 * Channels and patterns: at the home node, where messages are published too, so
 * that order and the count of receivers are those of one Redis. Names that may
 * mean keyspace notifications: at every primary, for these stay at their node.
 * Shard channels: at the owner of their slot. After a failover, a slot move or
 * a lost link the topics concerned are subscribed anew, make before break.
 */
#ifndef KW_PROXY_PUBSUB_H
#define KW_PROXY_PUBSUB_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arg.h"
#include "base/str.h"
#include "proxy/pubsub/topics.h"

struct kw_node;
struct kw_pubsub;
struct kw_request;
struct kw_session;
struct kw_worker;

struct kw_pubsub *kw_pubsub_new(struct kw_worker *worker);
/* After the last session and link have gone. */
void kw_pubsub_free(struct kw_pubsub *pubsub);

/*
 * SUBSCRIBE and its like: the client is told when every name is subscribed at its nodes, or gets an error within
 * request-timeout. Nothing may be in flight for the session; until the answer it is given nothing else to do.
 */
void kw_pubsub_subscribe(struct kw_session *session, enum kw_topic_kind kind, const struct kw_arg *names, size_t count);

/*
 * UNSUBSCRIBE and its like; no names: all of that kind. The replies are appended to `out`, or come later when nodes
 * have to be told first: `out` is empty then. Nothing may be in flight for the session.
 */
void kw_pubsub_unsubscribe(struct kw_session *session, enum kw_topic_kind kind, const struct kw_arg *names,
                           size_t count, struct kw_str *out);
/* RESET: from everything, in the same way; `out` holds the reply already. */
void kw_pubsub_reset(struct kw_session *session, struct kw_str *out);

/* The session ends, or is reset: nothing is subscribed any more. */
void kw_pubsub_leave(struct kw_session *session);

/* Names of that kind that the session subscribes to. */
size_t kw_pubsub_count(const struct kw_session *session, enum kw_topic_kind kind);

/* Where channels and patterns live; NULL while no slot has an owner. */
struct kw_node *kw_pubsub_home(struct kw_worker *worker);

/* Owners may have changed: sources are put where they belong. */
void kw_pubsub_topology(struct kw_pubsub *pubsub);
/* About ten times a second: lost sources are tried again, waits end. */
void kw_pubsub_tick(struct kw_pubsub *pubsub);

#endif
