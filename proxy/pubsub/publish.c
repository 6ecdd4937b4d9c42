/* See publish.h. The channels are read from the request's kept bytes. */
#include "proxy/pubsub/publish.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/resp_reply.h"
#include "base/resp_request.h"
#include "proxy/pubsub/topics.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

void kw_publish_mark(struct kw_worker *worker, struct kw_request *req) {
    req->flags |= KW_REQF_PUBLISH;
    req->moment = kw_topics_moment(kw_server_topics(worker->server));
}

static long long receivers(const struct kw_link *link, const struct kw_request *req, enum kw_topic_kind kind,
                           const struct kw_arg *channel, const char *number) {
    return kw_topics_receivers(kw_server_topics(link->worker->server), kind, channel->data, channel->len,
                               link->node->addr, strtoll(number + 1, NULL, 10), req->moment);
}

static void count_one(struct kw_link *link, struct kw_request *req, const char *reply, struct kw_str *out) {
    const char *head = NULL;
    size_t len = 0;
    if (req->frame.chunk) {
        head = req->frame.chunk->data + req->frame.off;
        len = req->frame.len;
    } else if (req->frame.rest.head) {
        head = req->frame.rest.head->chunk->data + req->frame.rest.head->off;
        len = req->frame.rest.head->len;
    }
    struct kw_arg channel;
    if (!head || reply[0] != ':' || !kw_request_second_word(head, len, &channel)) return;
    enum kw_topic_kind kind = req->cmd->first_key > 0 ? KW_TOPIC_SHARD : KW_TOPIC_CHANNEL;
    kw_str_resp_int(out, receivers(link, req, kind, &channel, reply));
}

static bool word_is(const struct kw_request_parse *parse, const char *base, uint32_t arg, const char *word) {
    return parse->args[arg].len == strlen(word) && strncasecmp(base + parse->args[arg].off, word, strlen(word)) == 0;
}

/* One element of EXEC's reply, and the command that it answers. */
static void count_element(struct kw_link *link, const struct kw_request *req, const struct kw_request_parse *parse,
                          const char *command, const char *element, size_t len, struct kw_str *out) {
    bool shard = word_is(parse, command, 0, "spublish");
    if (element[0] != ':' || parse->argc != 3 || !(shard || word_is(parse, command, 0, "publish"))) {
        kw_str_append(out, element, len);
        return;
    }
    struct kw_arg channel = {command + parse->args[1].off, parse->args[1].len};
    kw_str_resp_int(out, receivers(link, req, shard ? KW_TOPIC_SHARD : KW_TOPIC_CHANNEL, &channel, element));
}

/* The frames of a transaction (MULTI first) beside the elements of its reply. `out` stays empty when they do not fit.
 */
static void count_transaction(struct kw_link *link, struct kw_request *req, const char *reply, size_t len,
                              struct kw_str *out) {
    if (!req->frame.chunk || req->frame.rest.bytes || reply[0] != '*') return;
    const char *command = req->frame.chunk->data + req->frame.off, *end = command + req->frame.len;
    const char *at = memchr(reply, '\n', len);
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    bool ok = at && kw_request_parse(&parse, &kw_request_unlimited, command, req->frame.len) == KW_REQUEST_COMPLETE;
    if (ok) kw_str_append(out, reply, (size_t)(++at - reply));
    for (uint32_t i = 1; ok && i < req->skip_total; i++) {
        struct kw_reply_scan scan = {0};
        size_t used = 0;
        command += parse.frame_len;
        kw_request_parse_reset(&parse);
        ok = kw_request_parse(&parse, &kw_request_unlimited, command, (size_t)(end - command)) == KW_REQUEST_COMPLETE &&
             kw_reply_scan(&scan, at, len - (size_t)(at - reply), &used) == KW_REPLY_DONE;
        if (ok) count_element(link, req, &parse, command, at, used, out);
        at += used;
    }
    if (!ok) kw_str_clear(out);
    kw_request_parse_deinit(&parse);
}

void kw_publish_count(struct kw_link *link, struct kw_request *req) {
    size_t len = req->reply.bytes;
    char *reply = kw_malloc(len + 1);
    kw_outq_peek(&req->reply, reply, len);
    reply[len] = '\0';
    struct kw_str out = {0};
    if (req->skip_total > 0) {
        count_transaction(link, req, reply, len, &out);
    } else {
        count_one(link, req, reply, &out);
    }
    if (out.len) kw_request_reply_text(link->worker, req, out.data, out.len);
    kw_str_deinit(&out);
    kw_free(reply);
}
