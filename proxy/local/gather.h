/*
 * Answers made of what every shard says, where the replies must be understood
 * and not only moved: each is asked in RESP2 and handed over as a tree.
 */
#ifndef KW_PROXY_GATHER_H
#define KW_PROXY_GATHER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct kw_local_call;
struct kw_outq;
struct redisReply;

struct kw_gathered {
    struct redisReply **replies; /* one a shard, none NULL */
    const char **names;          /* the address of each */
    uint32_t count;
    void *context;
    int resp;           /* what the client speaks: 2 or 3 */
    struct kw_str *out; /* the reply goes here */
};

/* Makes the reply. All in `all` is borrowed for the call. */
typedef void kw_gather_finish(struct kw_gathered *all);

struct kw_gather_options {
    bool tolerant; /* errors of shards are handed over too; otherwise one of them is the reply */
    void *context; /* own by free_context */
    void (*free_context)(void *context);
};

/* Sends the call as it is to every shard and answers with what `finish` makes of the replies. NULL: no options. */
void kw_gather(struct kw_local_call *call, kw_gather_finish *finish, const struct kw_gather_options *options);

/* For finish: texts for people, each under the name of its node, or once when all say the same. */
void kw_gather_texts(struct kw_gathered *all);

/* A reply in RESP2 as a tree. Own: freeReplyObject; NULL when the bytes are not one RESP value. */
struct redisReply *kw_reply_parse(const struct kw_outq *bytes);
/* The n-th element where there is one of that type (REDIS_REPLY_*), else NULL. */
const struct redisReply *kw_reply_at(const struct redisReply *reply, size_t n, int type);
/* Number of elements of an array; 0 for anything else. */
size_t kw_reply_len(const struct redisReply *reply);

#endif
