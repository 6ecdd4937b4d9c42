/*
 * Bookkeeping of requests in parts. A part that fails makes the whole fail:
 * the parent's reply is that error, the most telling one when there are several.
 */
#include "proxy/request/group.h"

#include <string.h>

#include "base/alloc.h"
#include "proxy/request/dispatch.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

struct kw_group *kw_group_new(uint32_t part_count, uint32_t key_count) {
    size_t parts_bytes = part_count * sizeof(struct kw_request *);
    struct kw_group *group = kw_calloc(1, sizeof(*group) + parts_bytes + key_count * sizeof(uint32_t));
    group->parts = (struct kw_request **)(group + 1);
    group->part_count = part_count;
    group->key_part = (uint32_t *)(group->parts + part_count);
    group->key_count = key_count;
    group->pending = part_count;
    return group;
}

void kw_group_free(struct kw_worker *worker, struct kw_group *group) {
    for (uint32_t i = 0; i < group->part_count; i++) {
        if (group->parts[i]) kw_request_free(worker, group->parts[i]);
    }
    if (group->free_context) group->free_context(group->context);
    kw_free(group);
}

/* "-INDOUBT" tells more than any refusal: something may have been done. */
static bool is_indoubt(const struct kw_request *part) {
    char head[9];
    return kw_outq_peek(&part->reply, head, 9) == 9 && memcmp(head, "-INDOUBT ", 9) == 0;
}

static struct kw_request *failed_part(const struct kw_group *group) {
    struct kw_request *failed = NULL;
    for (uint32_t i = 0; i < group->part_count; i++) {
        struct kw_request *part = group->parts[i];
        if (part->reply_type != '-') continue;
        if (is_indoubt(part)) return part;
        if (!failed) failed = part;
    }
    return failed;
}

static void account(struct kw_request *parent, const struct kw_group *group) {
    if (!parent->session) return;
    for (uint32_t i = 0; i < group->part_count; i++) parent->session->held_bytes -= group->parts[i]->reply.bytes;
}

void kw_group_part_done(struct kw_worker *worker, struct kw_request *part) {
    struct kw_request *parent = part->parent;
    struct kw_group *group = parent->group;
    KW_ASSERT(group->pending > 0);
    if (--group->pending > 0) return;
    account(parent, group);
    for (uint32_t i = 0; i < group->part_count; i++) group->parts[i]->session = NULL;
    struct kw_request *failed = group->tolerant ? NULL : failed_part(group);
    bool complete = true;
    if (failed) {
        kw_outq_splice(&parent->reply, &failed->reply);
        parent->reply_type = '-';
    } else {
        /* The merge accounts for nothing: what it made is added below. */
        struct kw_session *session = parent->session;
        parent->session = NULL;
        complete = group->merge(worker, parent);
        parent->session = session;
    }
    if (!complete) return;
    if (parent->session) parent->session->held_bytes += parent->reply.bytes;
    kw_request_complete(worker, parent);
}
