/*
 * Splitting by slot and sending to many nodes. Each part is a command of its
 * own with a place of its own in session->active, so that redirects and order
 * concern it alone; parts for one node leave with one write all the same.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/group.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

static struct kw_request *parent_new(struct kw_session *session, const struct kw_command *cmd, uint32_t part_count,
                                     uint32_t key_count) {
    struct kw_worker *worker = session->worker;
    struct kw_request *parent = kw_request_new(worker);
    parent->cmd = cmd;
    parent->start_us = kw_worker_now_us(worker);
    parent->group = kw_group_new(part_count, key_count);
    kw_request_enqueue(session, parent);
    return parent;
}

static struct kw_request *part_new(struct kw_session *session, struct kw_request *parent, uint32_t index, int slot) {
    struct kw_request *part = kw_request_new(session->worker);
    part->cmd = parent->cmd;
    part->session = session;
    part->parent = parent;
    part->part_index = index;
    part->start_us = parent->start_us;
    part->slot = (int16_t)slot;
    part->flags |= parent->flags & (KW_REQF_RESP3 | KW_REQF_CACHING_YES | KW_REQF_CACHING_NO);
    if (parent->cmd->flags & KW_CMD_READONLY) part->flags |= KW_REQF_READONLY;
    parent->group->parts[index] = part;
    return part;
}

/* Sends a part whose bytes are in `text`. False when memory is gone. */
static bool send_part(struct kw_session *session, struct kw_request *part, const struct kw_str *text) {
    if (text->len < KW_REF_MIN) {
        kw_dispatch_new(session, part, text->data, text->len);
        return true;
    }
    struct kw_chunk *chunk = kw_chunk_new_try(session->worker->pool, text->len);
    if (!chunk) return false;
    memcpy(chunk->data, text->data, text->len);
    chunk->len = text->len;
    part->frame.chunk = chunk;
    part->frame.len = text->len;
    kw_dispatch_new(session, part, NULL, 0);
    return true;
}

/* A part with a large value among its pairs: text so far goes in front of the value, by reference. */
static bool add_big(struct kw_worker *worker, struct kw_request *part, struct kw_str *text, struct kw_outq *big) {
    if (!kw_outq_copy_try(&part->frame.rest, worker->pool, text->data, text->len, text->len)) return false;
    kw_str_clear(text);
    kw_outq_splice(&part->frame.rest, big);
    return true;
}

static bool send_pairs(struct kw_session *session, struct kw_request *part, struct kw_str *text) {
    struct kw_worker *worker = session->worker;
    if (part->frame.rest.bytes == 0) return send_part(session, part, text);
    if (!kw_outq_copy_try(&part->frame.rest, worker->pool, text->data, text->len, text->len)) return false;
    kw_dispatch_new(session, part, NULL, 0);
    return true;
}

static void fail_part(struct kw_session *session, struct kw_request *part) {
    kw_request_reply_error(session->worker, part, "ERR out of memory");
    kw_request_complete(session->worker, part);
}

void kw_split_request(struct kw_session *session, const struct kw_command *cmd, const struct kw_plan *plan,
                      const struct kw_arg *argv, struct kw_outq *bigs) {
    struct kw_worker *worker = session->worker;
    uint32_t part_count = plan->part_count;
    bool pairs = plan->serve == KW_SERVE_SPLIT_SET;
    uint32_t in_order = plan->serve == KW_SERVE_SPLIT_GET ? plan->key_count : 0;
    struct kw_request *parent = parent_new(session, cmd, part_count, in_order);
    struct kw_group *group = parent->group;
    group->merge = kw_merge_for(cmd, plan->serve);
    if (in_order) memcpy(group->key_part, plan->key_part, in_order * sizeof(uint32_t));
    for (uint32_t p = 0; p < part_count; p++) part_new(session, parent, p, plan->parts[p].slot);
    /* The worker's scratch is free here: what a part's failure writes comes after its text was taken. */
    struct kw_str text = worker->scratch;
    worker->scratch = (struct kw_str){0};
    for (uint32_t p = 0; p < part_count; p++) {
        const struct kw_plan_part *spec = &plan->parts[p];
        struct kw_request *part = group->parts[p];
        bool ok = true;
        kw_str_clear(&text);
        kw_str_resp_array(&text, 1 + (size_t)spec->key_count * (pairs ? 2 : 1));
        kw_str_resp_bulk(&text, cmd->name, cmd->name_len);
        for (uint32_t k = 0; k < spec->key_count && ok; k++) {
            unsigned at = plan->keys[plan->order[spec->start + k]];
            kw_str_resp_bulk(&text, argv[at].data, argv[at].len);
            if (!pairs) continue;
            if (argv[at + 1].data) {
                kw_str_resp_bulk(&text, argv[at + 1].data, argv[at + 1].len);
            } else {
                kw_str_printf(&text, "$%zu\r\n", argv[at + 1].len);
                ok = add_big(worker, part, &text, &bigs[at + 1]);
                kw_str_append(&text, "\r\n", 2);
            }
        }
        if (spec->key_count > 1) part->flags |= KW_REQF_MULTIKEY;
        /* The last part may complete the parent: neither is touched after this. */
        if (!ok || !send_pairs(session, part, &text)) fail_part(session, part);
    }
    kw_str_deinit(&worker->scratch);
    worker->scratch = text;
}

static bool is_meant(const struct kw_node *node, const struct kw_broadcast_options *options) {
    if (options->only) return node == options->only;
    switch (options->to) {
    case KW_TO_NODES: return node->in_topology;
    case KW_TO_LIVE_NODES: return node->in_topology && !node->failed;
    default: return node->serves_slots;
    }
}

static uint32_t count_meant(const struct kw_worker *worker, const struct kw_broadcast_options *options) {
    uint32_t count = 0;
    for (const struct kw_node *node = worker->nodes; node; node = node->next) count += is_meant(node, options);
    return options->to == KW_TO_ANY_SHARD && count > 1 ? 1 : count;
}

static void broadcast_part(struct kw_session *session, struct kw_request *parent, uint32_t index, struct kw_node *node,
                           const struct kw_broadcast_options *options) {
    uint64_t timeout_us = kw_server_limits(session->worker->server)->request_timeout_us;
    struct kw_request *part = part_new(session, parent, index, -1);
    /* Any shard: which one is seen when it is sent, so that one that is down is passed over. */
    part->target = options->to == KW_TO_ANY_SHARD ? NULL : node;
    part->flags |= KW_REQF_ANY_SLOT;
    if (options->own_links) part->flags |= KW_REQF_EXCLUSIVE;
    if (options->blocks) part->flags |= KW_REQF_UNBOUNDED | KW_REQF_READONLY;
    part->skip_total = options->skip;
    if (options->plain) part->flags &= ~(uint32_t)KW_REQF_RESP3;
    /* Time runs out earlier for one that is counted as started earlier. */
    if (options->wait_us && options->wait_us < timeout_us) part->start_us -= timeout_us - options->wait_us;
}

const char *kw_group_part_name(const struct kw_worker *worker, const struct kw_request *part) {
    /* It may have left the cluster since. */
    for (const struct kw_node *node = worker->nodes; node; node = node->next) {
        if (node == part->target) return node->addr;
    }
    return "that has left the cluster";
}

void kw_broadcast(struct kw_session *session, const struct kw_command *cmd, const char *frame, size_t len,
                  const struct kw_broadcast_options *options) {
    struct kw_worker *worker = session->worker;
    uint32_t count = count_meant(worker, options);
    struct kw_request *parent = parent_new(session, cmd, count ? count : 1, 0);
    struct kw_group *group = parent->group;
    group->merge = options->merge;
    group->tolerant = options->tolerant;
    group->context = options->context;
    group->free_context = options->free_context;
    if (count == 0) {
        struct kw_request *part = part_new(session, parent, 0, -1);
        kw_request_reply_error(worker, part, "CLUSTERDOWN No shard is known: no node of the cluster has answered yet");
        kw_request_complete(worker, part);
        return;
    }
    if (options->blocks) {
        parent->flags |= KW_REQF_EXCLUSIVE;
        session->hold = true;
    }
    uint32_t index = 0;
    for (struct kw_node *node = worker->nodes; node && index < count; node = node->next) {
        if (is_meant(node, options)) broadcast_part(session, parent, index++, node, options);
    }
    struct kw_str text = {0};
    kw_str_append(&text, frame, len);
    for (uint32_t i = 0; i < count; i++) {
        struct kw_request *part = group->parts[i];
        if (!send_part(session, part, &text)) fail_part(session, part);
    }
    kw_str_deinit(&text);
}
