/* Inside of pub/sub: shared by pubsub.c (clients), topic.c (where topics live) and feed.c (links to nodes). */
#ifndef KW_PROXY_PUBSUB_INTERNAL_H
#define KW_PROXY_PUBSUB_INTERNAL_H

#include <stdint.h>

#include "base/buffer.h"
#include "base/table.h"
#include "proxy/pubsub/pubsub.h"

struct kw_feed;
struct kw_link;

/* A client's subscription to one topic. */
struct kw_membership {
    struct kw_table_node node;         /* in the subscriber's table */
    struct kw_topic *topic;            /* borrowed: lives as long as it has members */
    struct kw_session *session;        /* borrowed */
    struct kw_membership *prev, *next; /* of the topic */
    bool pending;                      /* the client has not been told yet: no message goes to it */
};

/* A subscription of the worker at a node. */
struct kw_source {
    struct kw_feed *feed; /* borrowed */
    uint64_t serial;      /* of the command that made it */
    bool active;          /* confirmed */
    bool wanted;
};

struct kw_topic {
    struct kw_table_node node;
    struct kw_pubsub *pubsub;
    enum kw_topic_kind kind;
    int slot;        /* SHARD */
    bool everywhere; /* may mean keyspace notifications */
    struct kw_membership *members;
    struct kw_source *sources; /* own */
    unsigned source_count;
    struct kw_feed *main;     /* borrowed; whose ordinary messages are handed on */
    uint64_t last_message_us; /* heard from any node */
    char name[];
};

/* SUBSCRIBE that waits for nodes. One a session at most. */
struct kw_subscribe_wait {
    struct kw_subscribe_wait *prev, *next;
    struct kw_session *session; /* borrowed */
    struct kw_request *req;     /* borrowed; in the session's queue */
    enum kw_topic_kind kind;
    struct kw_membership **named; /* own; in the order of the command, repetitions included */
    size_t count;
    uint64_t deadline_us;
};

/*
 * UNSUBSCRIBE that waits for nodes: what the client publishes next must not be counted, or heard, as if it still
 * listened. It outlives its client if need be.
 */
struct kw_farewell {
    struct kw_session *session; /* borrowed; NULL once the client is gone */
    struct kw_request *req;     /* borrowed; in the session's queue; NULL until the reply is known to come later */
    unsigned pending;           /* commands to nodes that are not answered yet */
};

/* What a client subscribes to. */
struct kw_subscriber {
    struct kw_table tables[KW_TOPIC_KINDS]; /* own the memberships */
    size_t active[KW_TOPIC_KINDS];          /* those that the client was told of */
    struct kw_subscribe_wait *wait;         /* own */
    struct kw_farewell *farewell;           /* borrowed: ends with its last answer */
};

struct kw_pubsub {
    struct kw_worker *worker;
    struct kw_table topics[KW_TOPIC_KINDS]; /* own */
    struct kw_feed *feeds;                  /* own; list */
    struct kw_subscribe_wait *waits;        /* list */
    uint64_t next_serial;
    struct kw_farewell *farewell; /* borrowed; collects what is sent to nodes just now */
    bool unsettled;               /* something is not where it belongs */
};

/* ---- topic.c */
struct kw_topic *kw_topic_find(struct kw_pubsub *pubsub, enum kw_topic_kind kind, const void *name, size_t len);
struct kw_topic *kw_topic_get(struct kw_pubsub *pubsub, enum kw_topic_kind kind, const char *name, size_t len);
/* The last member has left. */
void kw_topic_free(struct kw_topic *topic);
/* Adds and drops sources so that they are where they belong. */
void kw_topic_place(struct kw_topic *topic);
/* Every node that it needs, and that can be reached, has confirmed. */
bool kw_topic_ready(const struct kw_topic *topic);
/* A node confirmed, refused or ended the subscription. */
void kw_topic_confirmed(struct kw_topic *topic, const struct kw_feed *feed, uint64_t serial);
void kw_topic_source_lost(struct kw_topic *topic, const struct kw_feed *feed);

/* ---- feed.c */
/* The feed to that node; made when there is none. NULL while the node cannot be reached. */
struct kw_feed *kw_feed_get(struct kw_pubsub *pubsub, struct kw_node *node);
struct kw_node *kw_feed_node(const struct kw_feed *feed);
/* Subscribes or unsubscribes at the node. Returns the command's serial. */
uint64_t kw_feed_send(struct kw_feed *feed, const struct kw_topic *topic, bool subscribe);
/* A source more, or less; a feed without any is closed. */
void kw_feed_use(struct kw_feed *feed, int change);
/* Closes feeds that cannot go on, or that nobody needs. */
void kw_feed_tick(struct kw_pubsub *pubsub);
/* For a source that is gone with its feed: the count of our own subscriptions. */
void kw_feed_uncount(struct kw_feed *feed, const struct kw_topic *topic);

/* ---- pubsub.c */
/* A message for the topic: `frame` as the node sent it, RESP3. */
void kw_pubsub_deliver(struct kw_topic *topic, const struct kw_outq *frame);
/* One of its commands is answered, or never will be. */
void kw_pubsub_farewell_step(struct kw_farewell *farewell);
/* A topic has become ready: clients that wait for it may be told. */
void kw_pubsub_ready(struct kw_topic *topic);

#endif
