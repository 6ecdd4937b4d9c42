/*
 * Asking every shard and understanding the answers; see gather.h. Meant for
 * what people ask now and then: each reply is copied and parsed. A reply that
 * is no whole RESP value makes the whole an error.
 */
#include "proxy/local/gather.h"

#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/request/group.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

struct gather {
    kw_gather_finish *finish;
    void *context; /* own by free_context */
    void (*free_context)(void *context);
};

static void gather_free(void *context) {
    struct gather *gather = context;
    if (gather->free_context) gather->free_context(gather->context);
    kw_free(gather);
}

struct redisReply *kw_reply_parse(const struct kw_outq *bytes) {
    redisReader *reader = redisReaderCreate();
    if (!reader) return NULL;
    void *reply = NULL;
    int err = REDIS_OK;
    for (const struct kw_seg *seg = bytes->head; seg && err == REDIS_OK; seg = seg->next) {
        err = redisReaderFeed(reader, seg->chunk->data + seg->off, seg->len);
    }
    if (err == REDIS_OK) err = redisReaderGetReply(reader, &reply);
    if (err != REDIS_OK) reply = NULL;
    redisReaderFree(reader);
    return reply;
}

static bool merge(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    struct gather *gather = group->context;
    struct kw_str out = {0};
    struct kw_gathered all = {
        .replies = kw_calloc(group->part_count, sizeof(redisReply *)),
        .names = kw_calloc(group->part_count, sizeof(char *)),
        .count = group->part_count,
        .context = gather->context,
        .resp = kw_request_resp(parent),
        .out = &out,
    };
    bool whole = true;
    for (uint32_t i = 0; i < group->part_count; i++) {
        all.replies[i] = kw_reply_parse(&group->parts[i]->reply);
        all.names[i] = kw_group_part_name(worker, group->parts[i]);
        whole = whole && all.replies[i];
    }
    if (whole) gather->finish(&all);
    if (out.len == 0) kw_str_resp_error(&out, "ERR a node answered in an unexpected shape");
    kw_request_reply_text(worker, parent, out.data, out.len);
    for (uint32_t i = 0; i < group->part_count; i++) {
        if (all.replies[i]) freeReplyObject(all.replies[i]);
    }
    kw_free(all.replies);
    kw_free(all.names);
    kw_str_deinit(&out);
    return true;
}

void kw_gather(struct kw_local_call *call, kw_gather_finish *finish, const struct kw_gather_options *options) {
    struct gather *gather = kw_calloc(1, sizeof(*gather));
    gather->finish = finish;
    if (options) {
        gather->context = options->context;
        gather->free_context = options->free_context;
    }
    struct kw_broadcast_options broadcast = {
        .merge = merge,
        .tolerant = options && options->tolerant,
        .plain = true,
        .context = gather,
        .free_context = gather_free,
    };
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, call->argc);
    for (size_t i = 0; i < call->argc; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &broadcast);
    kw_str_deinit(&frame);
}

static bool all_say_the_same(const struct kw_gathered *all) {
    for (uint32_t i = 1; i < all->count; i++) {
        const redisReply *a = all->replies[0], *b = all->replies[i];
        if (a->len != b->len || memcmp(a->str, b->str, a->len) != 0) return false;
    }
    return true;
}

void kw_gather_texts(struct kw_gathered *all) {
    for (uint32_t i = 0; i < all->count; i++) {
        if (all->replies[i]->type != REDIS_REPLY_STRING) return;
    }
    struct kw_str text = {0};
    if (all_say_the_same(all)) {
        kw_str_append(&text, all->replies[0]->str, all->replies[0]->len);
    } else {
        for (uint32_t i = 0; i < all->count; i++) {
            kw_str_printf(&text, "%s# Node %s\n", i ? "\n" : "", all->names[i]);
            kw_str_append(&text, all->replies[i]->str, all->replies[i]->len);
        }
    }
    kw_str_resp_verbatim(all->out, all->resp, text.data ? text.data : "", text.len);
    kw_str_deinit(&text);
}

size_t kw_reply_len(const struct redisReply *reply) {
    return reply->type == REDIS_REPLY_ARRAY ? reply->elements : 0;
}

const struct redisReply *kw_reply_at(const struct redisReply *reply, size_t n, int type) {
    if (n >= kw_reply_len(reply) || reply->element[n]->type != type) return NULL;
    return reply->element[n];
}
