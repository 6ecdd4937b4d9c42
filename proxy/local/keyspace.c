/*
 * The keyspace as one: SCAN walks the shards one after the other, RANDOMKEY
 * picks a shard by its size. The shards are numbered by the lowest slot that
 * they own, so that a failover does not change their order.
 */
#include <ctype.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/request/group.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

/* A cursor is the node's own, shifted, with the number of the shard below it. */
enum { SHARD_BITS = 10, SHARDS_MAX = 1 << SHARD_BITS };

struct scan {
    unsigned shard;
    bool last; /* no shard behind it */
    bool over; /* there is no such shard: asked only for what is wrong with the arguments */
};

/* The shard of that number; *more: there are others behind it. NULL: there are fewer. */
static struct kw_node *nth_shard(struct kw_worker *worker, unsigned wanted, bool *more) {
    struct kw_node *seen[SHARDS_MAX];
    unsigned count = 0;
    *more = false;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        struct kw_node *node = kw_worker_owner(worker, slot);
        if (!node || (count > 0 && seen[count - 1] == node)) continue;
        unsigned i = 0;
        while (i < count && seen[i] != node) i++;
        if (i < count || count == SHARDS_MAX) continue;
        seen[count++] = node;
        if (count > wanted + 1) break;
    }
    *more = count > wanted + 1;
    return wanted < count ? seen[wanted] : NULL;
}

/* As lenient as the servers: an empty text is 0, signs are taken, white space in front and what does not fit are not.
 */
static bool parse_cursor(const struct kw_arg *arg, unsigned long long *out) {
    char text[64];
    if (arg->len >= sizeof(text)) return false;
    memcpy(text, arg->data, arg->len);
    text[arg->len] = '\0';
    char *end;
    errno = 0;
    *out = strtoull(text, &end, 10);
    return !isspace((unsigned char)text[0]) && *end == '\0' && errno != ERANGE;
}

/* "*2 $n cursor *m keys..." with the node's cursor: the header is replaced, the keys stay where they are. */
static bool merge_scan(struct kw_worker *worker, struct kw_request *parent) {
    const struct scan *scan = parent->group->context;
    struct kw_outq *reply = &parent->group->parts[0]->reply;
    char head[80];
    size_t len = kw_outq_peek(reply, head, sizeof(head) - 1);
    head[len] = '\0';
    unsigned long long cursor;
    int header = 0;
    if (sscanf(head, "*2\r\n$%*u\r\n%llu\r\n%n", &cursor, &header) != 1 || header == 0 || cursor >> (64 - SHARD_BITS)) {
        kw_request_reply_error(worker, parent, "ERR a node answered SCAN in an unexpected shape");
        return true;
    }
    if (scan->over) {
        kw_request_reply_text(worker, parent, "*2\r\n$1\r\n0\r\n*0\r\n", 15);
        return true;
    }
    unsigned long long next = cursor << SHARD_BITS | scan->shard;
    if (cursor == 0) next = scan->last ? 0 : scan->shard + 1;
    char text[24];
    snprintf(text, sizeof(text), "%llu", next);
    struct kw_str fresh = {0};
    kw_str_resp_array(&fresh, 2);
    kw_str_resp_text(&fresh, text);
    kw_outq_consume(reply, worker->pool, (size_t)header);
    kw_request_reply_text(worker, parent, fresh.data, fresh.len);
    kw_outq_splice(&parent->reply, reply);
    kw_str_deinit(&fresh);
    return true;
}

void kw_local_scan(struct kw_local_call *call) {
    struct kw_worker *worker = call->session->worker;
    unsigned long long cursor;
    if (!parse_cursor(&call->argv[1], &cursor)) {
        kw_str_resp_error(call->out, "ERR invalid cursor");
        return;
    }
    unsigned shard = (unsigned)(cursor & (SHARDS_MAX - 1));
    bool more;
    struct kw_node *node = nth_shard(worker, shard, &more);
    /* A cursor from before the cluster shrank: the walk is over. */
    bool over = !node;
    if (over) node = nth_shard(worker, 0, &more);
    char text[24];
    snprintf(text, sizeof(text), "%llu", cursor >> SHARD_BITS);
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, call->argc);
    kw_str_resp_text(&frame, "SCAN");
    kw_str_resp_text(&frame, text);
    for (size_t i = 2; i < call->argc; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    struct scan *scan = kw_calloc(1, sizeof(*scan));
    scan->shard = shard;
    scan->last = !more;
    scan->over = over;
    struct kw_broadcast_options options = {.merge = merge_scan, .only = node, .context = scan, .free_context = kw_free};
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}

/* Each shard answered "*2 :size $key": the key of one of them, by chance in proportion to its size. */
static bool merge_random(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    unsigned long long total = 0;
    uint32_t chosen = 0;
    for (uint32_t i = 0; i < group->part_count; i++) {
        struct kw_outq *reply = &group->parts[i]->reply;
        char head[48];
        size_t len = kw_outq_peek(reply, head, sizeof(head) - 1);
        head[len] = '\0';
        unsigned long long size;
        int header = 0;
        if (sscanf(head, "*2\r\n:%llu\r\n%n", &size, &header) != 1 || header == 0) {
            kw_request_reply_error(worker, parent, "ERR a node answered RANDOMKEY in an unexpected shape");
            return true;
        }
        kw_outq_consume(reply, worker->pool, (size_t)header);
        /* Everything there may have expired. */
        if (head[header] != '$' || head[header + 1] == '-') continue;
        total += size;
        /* Reservoir: the i-th is taken with the chance size / total so far. */
        unsigned long long dice = ((unsigned long long)random() << 31 | (unsigned long long)random());
        if (size > 0 && dice % total < size) chosen = i;
    }
    kw_outq_splice(&parent->reply, &group->parts[chosen]->reply);
    parent->reply_type = '$';
    return true;
}

void kw_local_randomkey(struct kw_local_call *call) {
    static const char script[] = "return {redis.call('dbsize'), redis.call('randomkey')}";
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, 3);
    kw_str_resp_text(&frame, "EVAL");
    kw_str_resp_text(&frame, script);
    kw_str_resp_text(&frame, "0");
    struct kw_broadcast_options options = {.merge = merge_random};
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}
