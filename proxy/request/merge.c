/*
 * Making one reply of many. Values are moved, not parsed: the scanner finds
 * where each element ends, large pieces change hands by reference, so that a
 * merge costs time in proportion to the reply.
 */
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/resp_reply.h"
#include "proxy/request/group.h"
#include "proxy/worker.h"

/* The header line at the front ("*3\r\n", ":5\r\n"): its number; the line is consumed. -2: not such a line. */
static long long take_header(struct kw_worker *worker, struct kw_outq *q, char type) {
    if (!q->head) return -2;
    char copied[32];
    const char *line = q->head->chunk->data + q->head->off;
    size_t len = q->head->len;
    const char *end = memchr(line, '\n', len < sizeof(copied) ? len : sizeof(copied));
    if (KW_UNLIKELY(!end)) {
        /* Cut between two pieces. */
        len = kw_outq_peek(q, copied, sizeof(copied));
        line = copied;
        end = memchr(line, '\n', len);
    }
    if (!end || line[0] != type) return -2;
    bool negative = line[1] == '-';
    size_t value = kw_digits(line + 1 + negative, end);
    kw_outq_consume(q, worker->pool, (size_t)(end - line) + 1);
    if (value > INT64_MAX) return -2;
    return negative ? -(long long)value : (long long)value;
}

/* Bytes of the element at the front; 0 when it is not complete. */
static size_t element_bytes(const struct kw_outq *q) {
    struct kw_reply_scan scan = {0};
    size_t total = 0;
    for (const struct kw_seg *seg = q->head; seg; seg = seg->next) {
        size_t used;
        enum kw_reply_result result = kw_reply_scan(&scan, seg->chunk->data + seg->off, seg->len, &used);
        total += used;
        if (result == KW_REPLY_DONE) return total;
        if (result == KW_REPLY_ERROR) return 0;
    }
    return 0;
}

static void set_text(struct kw_worker *worker, struct kw_request *parent, const struct kw_str *text) {
    kw_request_reply_text(worker, parent, text->data, text->len);
}

static bool fail(struct kw_worker *worker, struct kw_request *parent, const char *why) {
    kw_request_reply_error(worker, parent, "ERR %s", why);
    return true;
}

static const char unexpected[] = "a node answered in an unexpected shape";

/* MGET: the elements of the parts, in the order of the keys. */
static bool merge_values(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    for (uint32_t i = 0; i < group->part_count; i++) {
        if (take_header(worker, &group->parts[i]->reply, '*') < 0) return fail(worker, parent, unexpected);
    }
    kw_str_clear(&worker->scratch);
    kw_str_resp_array(&worker->scratch, group->key_count);
    set_text(worker, parent, &worker->scratch);
    for (uint32_t i = 0; i < group->key_count; i++) {
        struct kw_outq *from = &group->parts[group->key_part[i]]->reply;
        size_t len = element_bytes(from);
        if (len == 0) return fail(worker, parent, unexpected);
        if (kw_outq_move_try(&parent->reply, from, worker->pool, len)) return fail(worker, parent, "out of memory");
    }
    return true;
}

static bool merge_sum(struct kw_worker *worker, struct kw_request *parent) {
    long long sum = 0;
    for (uint32_t i = 0; i < parent->group->part_count; i++) {
        long long value = take_header(worker, &parent->group->parts[i]->reply, ':');
        if (value < 0) return fail(worker, parent, unexpected);
        sum += value;
    }
    kw_str_clear(&worker->scratch);
    kw_str_resp_int(&worker->scratch, sum);
    set_text(worker, parent, &worker->scratch);
    return true;
}

/* All succeeded: they said the same. */
static bool merge_first(struct kw_worker *worker, struct kw_request *parent) {
    (void)worker;
    struct kw_request *first = parent->group->parts[0];
    kw_outq_splice(&parent->reply, &first->reply);
    parent->reply_type = first->reply_type;
    return true;
}

/* Arrays, one behind the other (KEYS). */
static bool merge_concat(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    long long total = 0;
    for (uint32_t i = 0; i < group->part_count; i++) {
        long long count = take_header(worker, &group->parts[i]->reply, '*');
        if (count < 0) return fail(worker, parent, unexpected);
        total += count;
    }
    kw_str_clear(&worker->scratch);
    kw_str_resp_array(&worker->scratch, (size_t)total);
    set_text(worker, parent, &worker->scratch);
    for (uint32_t i = 0; i < group->part_count; i++) kw_outq_splice(&parent->reply, &group->parts[i]->reply);
    return true;
}

/* LASTSAVE: everything is as safe as where the last save is longest ago. */
static bool merge_least(struct kw_worker *worker, struct kw_request *parent) {
    long long least = 0;
    for (uint32_t i = 0; i < parent->group->part_count; i++) {
        long long value = take_header(worker, &parent->group->parts[i]->reply, ':');
        if (value < 0) return fail(worker, parent, unexpected);
        if (i == 0 || value < least) least = value;
    }
    kw_str_clear(&worker->scratch);
    kw_str_resp_int(&worker->scratch, least);
    set_text(worker, parent, &worker->scratch);
    return true;
}

/* Where the policies of the command table do not say it. */
static const struct {
    const char *name;
    kw_merge_fn merge;
} by_name[] = {
    {"keys", merge_concat},
    {"lastsave", merge_least},
    {"latency|reset", merge_sum},
};

kw_merge_fn kw_merge_for(const struct kw_command *cmd, enum kw_serve serve) {
    if (serve == KW_SERVE_SPLIT_GET) return merge_values;
    if (serve == KW_SERVE_SPLIT_SUM) return merge_sum;
    if (serve == KW_SERVE_SPLIT_SET) return merge_first;
    for (size_t i = 0; i < KW_ARRAY_LEN(by_name); i++) {
        if (strcmp(cmd->name, by_name[i].name) == 0) return by_name[i].merge;
    }
    return cmd->response_policy == KW_RESP_AGG_SUM ? merge_sum : merge_first;
}
