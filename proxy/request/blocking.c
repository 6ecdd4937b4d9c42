/* See blocking.h. Where each command has its timeout is a row; the kept frame is written anew. */
#include "proxy/request/blocking.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/resp_request.h"
#include "proxy/request/request.h"
#include "proxy/worker.h"

enum where { LAST, FIRST, BEHIND_BLOCK };

static const struct {
    const char *name;
    enum where where;
} rows[] = {
    {"blmove", LAST},  {"blmpop", FIRST},  {"blpop", LAST},    {"brpop", LAST},         {"brpoplpush", LAST},
    {"bzmpop", FIRST}, {"bzpopmax", LAST}, {"bzpopmin", LAST}, {"xread", BEHIND_BLOCK}, {"xreadgroup", BEHIND_BLOCK},
};

bool kw_blocking_is(const struct kw_request *req) {
    return req->flags & KW_REQF_UNBOUNDED && req->cmd && req->cmd->flags & KW_CMD_BLOCKING && !req->parent;
}

static bool is_word(const char *at, size_t len, const char *word) {
    return len == strlen(word) && strncasecmp(at, word, len) == 0;
}

/* The argument behind BLOCK; 0: none. Groups, consumers and streams may have the names of options. */
static uint32_t behind_block(const struct kw_request_parse *parse, const char *base) {
    for (uint32_t i = 1; i + 1 < parse->argc; i++) {
        const char *at = base + parse->args[i].off;
        size_t len = parse->args[i].len;
        if (is_word(at, len, "block")) return i + 1;
        if (is_word(at, len, "streams")) return 0;
        if (is_word(at, len, "group")) i += 2;
        if (is_word(at, len, "count")) i++;
    }
    return 0;
}

/* The argument that is the timeout; 0: none. */
static uint32_t find_timeout(const struct kw_request *req, const struct kw_request_parse *parse, const char *base,
                             bool *in_ms) {
    *in_ms = false;
    for (size_t r = 0; r < KW_ARRAY_LEN(rows); r++) {
        if (strcmp(rows[r].name, req->cmd->name) != 0) continue;
        if (rows[r].where == LAST) return parse->argc - 1;
        if (rows[r].where == FIRST) return 1;
        *in_ms = true;
        return behind_block(parse, base);
    }
    return 0;
}

/* The timeout less what has passed; at least a moment, for 0 would be for ever. */
static void print_left(char *out, size_t size, const char *text, bool in_ms, uint64_t passed_us) {
    if (in_ms) {
        long long left = strtoll(text, NULL, 10) - (long long)(passed_us / 1000);
        snprintf(out, size, "%lld", left > 1 ? left : 1);
    } else {
        double left = strtod(text, NULL) - (double)passed_us / 1e6;
        snprintf(out, size, "%.3f", left > 0.001 ? left : 0.001);
    }
}

static void rewrite(struct kw_worker *worker, struct kw_request *req, const struct kw_request_parse *parse,
                    const char *base) {
    bool in_ms;
    char text[40], left[40];
    uint32_t at = find_timeout(req, parse, base, &in_ms);
    if (!at || at >= parse->argc || parse->args[at].len >= sizeof(text)) return;
    memcpy(text, base + parse->args[at].off, parse->args[at].len);
    text[parse->args[at].len] = '\0';
    if (strtod(text, NULL) <= 0) return; /* for ever */
    uint64_t now_us = kw_worker_now_us(worker);
    print_left(left, sizeof(left), text, in_ms, now_us - req->start_us);
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, parse->argc);
    for (uint32_t i = 0; i < parse->argc; i++) {
        if (i == at) {
            kw_str_resp_text(&frame, left);
        } else {
            kw_str_resp_bulk(&frame, base + parse->args[i].off, parse->args[i].len);
        }
    }
    struct kw_chunk *old = req->frame.chunk;
    if (kw_request_keep_copy(worker, req, frame.data, frame.len) == 0) {
        kw_chunk_unref(old);
        req->start_us = now_us;
    }
    kw_str_deinit(&frame);
}

void kw_blocking_shorten(struct kw_worker *worker, struct kw_request *req) {
    if (!req->frame.chunk || req->frame.rest.bytes) return;
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    const char *base = req->frame.chunk->data + req->frame.off;
    if (kw_request_parse(&parse, &kw_request_unlimited, base, req->frame.len) == KW_REQUEST_COMPLETE) {
        rewrite(worker, req, &parse, base);
    }
    kw_request_parse_deinit(&parse);
}
