/*
 * keyway-meta's protocol. A connection begins with HELLO 3, so that pushes can be told from replies by their first
 * byte. Replies come in the order of the requests: their tags wait in a ring. A reply that is not whole waits in
 * `part`.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/resp_reply.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/link.h"

enum { RING_FIRST = 64 };

#define TAG_HELLO UINT64_MAX

struct resp {
    struct kw_reply_scan scan;
    struct kw_str part;
    uint64_t *tags; /* own; a ring */
    unsigned head, count, cap;
};

static void tag_push(struct resp *resp, uint64_t tag) {
    if (resp->count == resp->cap) {
        unsigned cap = resp->cap ? resp->cap * 2 : RING_FIRST;
        uint64_t *tags = kw_malloc(cap * sizeof(*tags));
        for (unsigned i = 0; i < resp->count; i++) tags[i] = resp->tags[(resp->head + i) % resp->cap];
        kw_free(resp->tags);
        resp->tags = tags;
        resp->head = 0;
        resp->cap = cap;
    }
    resp->tags[(resp->head + resp->count++) % resp->cap] = tag;
}

static uint64_t tag_pop(struct meta_link *link) {
    struct resp *resp = link->state;
    if (resp->count == 0)
        load_die("%s:%u sent what was not asked for", link->address->host, (unsigned)link->address->port);
    uint64_t tag = resp->tags[resp->head];
    resp->head = (resp->head + 1) % resp->cap;
    resp->count--;
    return tag;
}

static void open_resp(struct meta_link *link) {
    link->state = kw_calloc(1, sizeof(struct resp));
    const char *const words[] = {"HELLO", "3", "AUTH", "default", link->secret};
    size_t count = link->secret[0] ? KW_ARRAY_LEN(words) : 2;
    kw_str_resp_array(&link->out, count);
    for (size_t i = 0; i < count; i++) kw_str_resp_text(&link->out, words[i]);
    tag_push(link->state, TAG_HELLO);
}

static void close_resp(struct meta_link *link) {
    struct resp *resp = link->state;
    kw_str_deinit(&resp->part);
    kw_free(resp->tags);
    kw_free(resp);
}

static void request_resp(struct meta_link *link, enum meta_request request, const struct kw_str *key,
                         const struct kw_str *value, uint64_t tag) {
    struct kw_str *out = &link->out;
    tag_push(link->state, tag);
    if (request == META_PING) {
        kw_str_append_text(out, "*1\r\n$4\r\nPING\r\n");
        return;
    }
    kw_str_append_text(out, request == META_PUT ? "*5\r\n$6\r\nKEYWAY\r\n$3\r\nPUT\r\n"
                                                : "*5\r\n$6\r\nKEYWAY\r\n$6\r\nLINEAR\r\n$3\r\nGET\r\n");
    kw_str_resp_text(out, link->table);
    kw_str_resp_bulk(out, key->data, key->len);
    if (request == META_PUT) kw_str_resp_bulk(out, value->data, value->len);
}

void meta_link_command(struct meta_link *link, const char *const *words, const size_t *lens, size_t count,
                       uint64_t tag) {
    link->due++;
    tag_push(link->state, tag);
    kw_str_resp_array(&link->out, count);
    for (size_t i = 0; i < count; i++) kw_str_resp_bulk(&link->out, words[i], lens ? lens[i] : strlen(words[i]));
}

/* A whole reply or push. */
static void whole(struct meta_link *link, const char *bytes, size_t len) {
    if (bytes[0] == '>') {
        if (link->owner->pushed) link->owner->pushed(link, bytes, len);
        return;
    }
    struct meta_answer answer = {
        .tag = tag_pop(link), .failed = bytes[0] == '-', .missing = bytes[0] == '_', .text = bytes + 1, .len = len - 3};
    if (answer.tag == TAG_HELLO) {
        if (answer.failed) load_die("%.*s", (int)answer.len, answer.text);
        return;
    }
    link->due--;
    link->owner->answered(link, &answer);
}

static void take_resp(struct meta_link *link, const char *bytes, size_t len) {
    struct resp *resp = link->state;
    while (len > 0 && !link->dead) {
        size_t used = 0;
        enum kw_reply_result result = kw_reply_scan(&resp->scan, bytes, len, &used);
        if (result == KW_REPLY_ERROR) {
            load_die("%s:%u sent what is no RESP", link->address->host, (unsigned)link->address->port);
        }
        if (result == KW_REPLY_MORE) {
            kw_str_append(&resp->part, bytes, used);
            return;
        }
        if (resp->part.len > 0) {
            kw_str_append(&resp->part, bytes, used);
            whole(link, resp->part.data, resp->part.len);
            kw_str_clear(&resp->part);
        } else {
            whole(link, bytes, used);
        }
        bytes += used;
        len -= used;
    }
}

const struct meta_protocol meta_protocol_resp = {"keyway", open_resp, close_resp, request_resp, take_resp};
