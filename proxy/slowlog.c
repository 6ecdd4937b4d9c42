/* A ring that grows to slowlog-max-len; the limits on arguments are those of Redis (slowlog.h). */
#include "proxy/slowlog.h"

#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/resp_request.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { ARGS_MAX = 32, ARG_BYTES_MAX = 128 };

struct kw_slowlog {
    struct kw_slow_entry *entries; /* own; newest last */
    size_t count;
    size_t cap;
};

static _Atomic uint64_t next_id;

struct kw_slowlog *kw_slowlog_new(void) {
    return kw_calloc(1, sizeof(struct kw_slowlog));
}

void kw_slowlog_clear(struct kw_slowlog *log) {
    for (size_t i = 0; i < log->count; i++) kw_free(log->entries[i].args);
    log->count = 0;
}

void kw_slowlog_free(struct kw_slowlog *log) {
    if (!log) return;
    kw_slowlog_clear(log);
    kw_free(log->entries);
    kw_free(log);
}

size_t kw_slowlog_length(const struct kw_slowlog *log) {
    return log->count;
}

static void print_args(struct kw_str *out, const struct kw_request_parse *parse, const char *base) {
    uint32_t shown = parse->argc > ARGS_MAX ? ARGS_MAX : parse->argc;
    kw_str_resp_array(out, shown);
    for (uint32_t i = 0; i < shown; i++) {
        char text[ARG_BYTES_MAX + 64];
        const char *arg = base + parse->args[i].off;
        size_t len = parse->args[i].len;
        if (i == ARGS_MAX - 1 && parse->argc > ARGS_MAX) {
            int n = snprintf(text, sizeof(text), "... (%u more arguments)", parse->argc - ARGS_MAX + 1);
            kw_str_resp_bulk(out, text, (size_t)n);
        } else if (len > ARG_BYTES_MAX) {
            memcpy(text, arg, ARG_BYTES_MAX);
            int n = snprintf(text + ARG_BYTES_MAX, 64, "... (%zu more bytes)", len - ARG_BYTES_MAX);
            kw_str_resp_bulk(out, text, ARG_BYTES_MAX + (size_t)n);
        } else {
            kw_str_resp_bulk(out, arg, len);
        }
    }
}

static void describe_args(struct kw_str *out, const struct kw_request *req) {
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    /* A split command is shown by its first part; a streamed or very large one by its name. */
    if (req->group && req->group->part_count > 0 && req->group->parts[0]) req = req->group->parts[0];
    const char *base = req->frame.chunk ? req->frame.chunk->data + req->frame.off : NULL;
    if (base && !req->frame.rest.bytes && !(req->flags & KW_REQF_STREAMED) &&
        kw_request_parse(&parse, &kw_request_unlimited, base, req->frame.len) == KW_REQUEST_COMPLETE) {
        print_args(out, &parse, base);
    } else {
        kw_str_resp_array(out, 1);
        kw_str_resp_bulk(out, req->cmd->name, req->cmd->name_len);
    }
    kw_request_parse_deinit(&parse);
}

static uint64_t node_time(const struct kw_request *req, uint64_t now_us, uint64_t total_us) {
    if (req->group) {
        uint64_t first = UINT64_MAX;
        for (uint32_t i = 0; i < req->group->part_count; i++) {
            const struct kw_request *part = req->group->parts[i];
            if (part && part->sent_us && part->sent_us < first) first = part->sent_us;
        }
        return first == UINT64_MAX ? 0 : now_us - first;
    }
    uint64_t node_us = req->sent_us ? now_us - req->sent_us : 0;
    return node_us < total_us ? node_us : total_us;
}

static void push(struct kw_slowlog *log, size_t max, const struct kw_slow_entry *entry) {
    while (log->count >= max && log->count > 0) {
        kw_free(log->entries[0].args);
        memmove(log->entries, log->entries + 1, --log->count * sizeof(*log->entries));
    }
    if (log->count == log->cap) {
        log->cap = log->cap ? log->cap * 2 : 16;
        log->entries = kw_realloc(log->entries, log->cap * sizeof(*log->entries));
    }
    log->entries[log->count++] = *entry;
}

void kw_slowlog_consider(struct kw_worker *worker, const struct kw_request *req, uint64_t total_us) {
    const struct kw_limits *limits = kw_server_limits(worker->server);
    if (KW_LIKELY(limits->slowlog_slower_us < 0 || total_us < (uint64_t)limits->slowlog_slower_us)) return;
    if (limits->slowlog_max_len == 0 || (req->flags & KW_REQF_UNBOUNDED)) return;
    struct kw_slow_entry entry = {
        .id = atomic_fetch_add(&next_id, 1),
        .wall_s = kw_clock_wall_us() / 1000000,
        .total_us = total_us,
        .node_us = node_time(req, kw_worker_now_us(worker), total_us),
    };
    struct kw_str args = {0};
    describe_args(&args, req);
    entry.args = args.data;
    entry.args_len = args.len;
    if (req->session) {
        kw_session_peer(req->session, entry.peer, sizeof(entry.peer));
        const struct kw_session_rare *who = req->session->rare;
        snprintf(entry.name, sizeof(entry.name), "%s", who && who->name ? who->name : "");
    }
    push(worker->slowlog, limits->slowlog_max_len, &entry);
}

size_t kw_slowlog_copy(const struct kw_slowlog *log, struct kw_slow_entry *out, size_t max) {
    size_t count = log->count < max ? log->count : max;
    for (size_t i = 0; i < count; i++) {
        out[i] = log->entries[log->count - 1 - i];
        out[i].args = kw_strndup(out[i].args, out[i].args_len);
    }
    return count;
}
