/*
 * See orphan.h. CLIENT UNBLOCK goes by a shared link: the answer on the private
 * one then says for certain whether anything was taken. Closing the connection
 * instead would lose a reply that is on its way. It may come too early, before
 * the command that it is to end (or before the node has told the connection's
 * number), so it is repeated until that is answered. If the link is lost
 * meanwhile, or the list has become something else, what was taken is gone.
 */
#include "proxy/request/orphan.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/log.h"
#include "base/resp_request.h"
#include "base/str.h"
#include "proxy/local/local.h"
#include "proxy/request/request.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

/* How the words of a reply (key first) go back. */
enum back { PUSH, PUSH_REVERSED, ADD_MEMBER, ADD_MEMBERS };

static const struct {
    const char *name;
    const char *left, *right; /* the command that puts it back, by the end it was taken from */
    enum back how;
} rows[] = {
    {"blpop", "LPUSH", "LPUSH", PUSH},           {"brpop", "RPUSH", "RPUSH", PUSH},
    {"blmpop", "LPUSH", "RPUSH", PUSH_REVERSED}, {"bzpopmin", "ZADD", "ZADD", ADD_MEMBER},
    {"bzpopmax", "ZADD", "ZADD", ADD_MEMBER},    {"bzmpop", "ZADD", "ZADD", ADD_MEMBERS},
};

static int row_of(const struct kw_request *req) {
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (req->cmd && strcmp(rows[i].name, req->cmd->name) == 0) return (int)i;
    }
    return -1;
}

void kw_orphan_unblock(struct kw_link *link) {
    struct kw_link *shared = link->node_client_id ? kw_link_pick(link->node, KW_LINK_SHARED, 0) : NULL;
    if (!shared) return;
    char id[24];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)link->node_client_id);
    struct kw_str text = {0};
    kw_str_resp_array(&text, 4);
    kw_str_resp_text(&text, "CLIENT");
    kw_str_resp_text(&text, "UNBLOCK");
    kw_str_resp_text(&text, id);
    kw_str_resp_text(&text, "TIMEOUT");
    kw_link_send_internal(shared, text.data, text.len, 0, NULL);
    kw_str_deinit(&text);
}

bool kw_orphan_adopt(struct kw_link *link, struct kw_request *req) {
    if (row_of(req) < 0 || !link->connected || link->closing || req->parent) return false;
    kw_outq_clear(&req->reply, link->worker->pool);
    req->session = NULL;
    req->flags |= KW_REQF_ORPHAN;
    /* It may have waited for hours, and rightly so; from here on the node owes an answer. */
    req->sent_us = kw_worker_now_us(link->worker);
    kw_orphan_unblock(link);
    return true;
}

/* The scalars of a reply, whatever the arrays around them; *count of them. Own. */
static struct kw_arg *scalars(const char *text, size_t len, size_t *count) {
    struct kw_arg *found = NULL;
    const char *at = text, *end = text + len;
    *count = 0;
    while (at < end) {
        char type = *at;
        const char *lf = memchr(at, '\n', (size_t)(end - at));
        if (!lf) break;
        struct kw_arg word = {at + 1, (size_t)(lf - at) - 2};
        long long number = strtoll(at + 1, NULL, 10);
        at = lf + 1;
        if (type == '$') {
            if (number < 0 || end - at < number + 2) break;
            word = (struct kw_arg){at, (size_t)number};
            at += number + 2;
        } else if (type != ',' && type != ':') {
            if (type != '*') break; /* an error, or null */
            continue;
        }
        found = kw_realloc(found, (*count + 1) * sizeof(*found));
        found[(*count)++] = word;
    }
    return found;
}

/* BLMPOP ... LEFT|RIGHT: from which end. */
static bool from_right(const struct kw_request *req) {
    if (!req->frame.chunk) return false;
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    const char *base = req->frame.chunk->data + req->frame.off;
    bool right = false;
    if (kw_request_parse(&parse, &kw_request_unlimited, base, req->frame.len) == KW_REQUEST_COMPLETE &&
        parse.argc > 3) {
        struct kw_arg number = {base + parse.args[2].off, parse.args[2].len};
        long long keys;
        if (kw_arg_int(&number, &keys) && keys > 0 && keys < (long long)parse.argc - 3) {
            const struct kw_request_arg *where = &parse.args[keys + 3];
            right = where->len == 5 && strncasecmp(base + where->off, "right", 5) == 0;
        }
    }
    kw_request_parse_deinit(&parse);
    return right;
}

static void put_back(struct kw_link *link, const struct kw_request *req, int row, const struct kw_arg *words,
                     size_t count) {
    struct kw_worker *worker = link->worker;
    struct kw_str text = {0};
    kw_str_resp_array(&text, count + 1);
    kw_str_resp_text(&text, rows[row].how == PUSH_REVERSED && from_right(req) ? rows[row].right : rows[row].left);
    kw_str_resp_bulk(&text, words[0].data, words[0].len);
    for (size_t i = 1; i < count; i++) {
        size_t from = i;
        if (rows[row].how == PUSH_REVERSED) from = count - i;
        if (rows[row].how == ADD_MEMBER || rows[row].how == ADD_MEMBERS) from = i % 2 ? i + 1 : i - 1; /* score first */
        kw_str_resp_bulk(&text, words[from].data, words[from].len);
    }
    struct kw_node *owner = req->slot >= 0 ? kw_worker_owner(worker, (unsigned)req->slot) : NULL;
    struct kw_link *shared = owner ? kw_link_pick(owner, KW_LINK_SHARED, 0) : NULL;
    if (!shared || kw_link_send_internal(shared, text.data, text.len, 0, NULL)) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING,
                       "an element taken for a client that had left could not be put back to '%.*s'",
                       words[0].len > 100 ? 100 : (int)words[0].len, words[0].data);
    }
    kw_str_deinit(&text);
}

void kw_orphan_answered(struct kw_link *link, struct kw_request *req) {
    int row = row_of(req);
    size_t len = req->reply.bytes, count = 0;
    char *text = kw_malloc(len + 1);
    kw_outq_peek(&req->reply, text, len);
    text[len] = '\0';
    struct kw_arg *words = scalars(text, len, &count);
    bool pairs = rows[row].how == ADD_MEMBER || rows[row].how == ADD_MEMBERS;
    if (count > 1 && (!pairs || count % 2 == 1)) put_back(link, req, row, words, count);
    kw_free(words);
    kw_free(text);
}
