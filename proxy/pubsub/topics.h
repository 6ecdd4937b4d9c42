/*
 * Who subscribes to what, counted over the whole process: the clients of all
 * workers, and the workers' own subscriptions at the nodes. A node counts each
 * worker as one subscriber; with this the true number of receivers can be told.
 * One a process, behind a lock; the message path does not come here.
 */
#ifndef KW_PROXY_TOPICS_H
#define KW_PROXY_TOPICS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* What can be subscribed to. */
enum kw_topic_kind { KW_TOPIC_CHANNEL, KW_TOPIC_PATTERN, KW_TOPIC_SHARD, KW_TOPIC_KINDS };

struct kw_topics;

struct kw_topics *kw_topics_new(void);
void kw_topics_free(struct kw_topics *topics);

/* Adds to the number of clients that subscribe. Any thread. */
void kw_topics_add_clients(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len, int change);

/* Adds to the number of subscriptions of ours at the node of that address. Any thread. */
void kw_topics_add_upstream(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                            const char *node, int change);

/* A moment in the order of all changes, for kw_topics_receivers. Wraps. Any thread, without the lock. */
uint32_t kw_topics_moment(struct kw_topics *topics);

/*
 * How many received a message, when the node that published it counted `at_node`: clients of ours, and whoever else is
 * subscribed there. `kind` is CHANNEL (patterns count too) or SHARD. `since`: the moment before the message was sent.
 * What changed after it may have come before the message at the node or behind it: such clients are not counted, and
 * such subscriptions at the node are taken for ours, so that no receiver is told of who did not get the message. Any
 * thread.
 */
long long kw_topics_receivers(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                              const char *node, long long at_node, uint32_t since);

/* Subscribers to one channel, when all nodes together say `at_nodes` (PUBSUB NUMSUB). Any thread. */
long long kw_topics_subscribers(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len,
                                long long at_nodes);

/* False when only subscriptions of ours without a client are left at the nodes, as far as is known here. Any thread. */
bool kw_topics_may_show(struct kw_topics *topics, enum kw_topic_kind kind, const char *name, size_t len);

/* Names that clients of ours subscribe to. Any thread. */
size_t kw_topics_count(struct kw_topics *topics, enum kw_topic_kind kind);

#endif
