/* See script_load.h. The set forgets everything when it is full: the price is one more SCRIPT LOAD each. */
#include "proxy/upstream/script_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_request.h"
#include "base/sha1.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/upstream/scripts.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { SET_FIRST = 16, SET_MAX = 8192 };

void kw_script_set_deinit(struct kw_script_set *set) {
    kw_free(set->digests);
    *set = (struct kw_script_set){0};
}

/* 64 of the digest's bits; never 0. */
static uint64_t key_of(const char *sha1) {
    char text[17];
    memcpy(text, sha1, 16);
    text[16] = '\0';
    return strtoull(text, NULL, 16) | 1;
}

static void put(uint64_t *digests, uint32_t cap, uint64_t key) {
    uint32_t at = (uint32_t)(key >> 1) & (cap - 1);
    while (digests[at]) at = (at + 1) & (cap - 1);
    digests[at] = key;
}

static bool has(const struct kw_script_set *set, uint64_t key) {
    if (!set->cap) return false;
    uint32_t at = (uint32_t)(key >> 1) & (set->cap - 1);
    while (set->digests[at] && set->digests[at] != key) at = (at + 1) & (set->cap - 1);
    return set->digests[at] == key;
}

static void add(struct kw_script_set *set, uint64_t key) {
    if (set->count * 2 >= set->cap) {
        uint32_t cap = set->cap ? set->cap * 2 : SET_FIRST;
        bool keep = cap <= SET_MAX;
        if (!keep) cap = SET_FIRST;
        uint64_t *digests = kw_calloc(cap, sizeof(*digests));
        for (uint32_t i = 0; keep && i < set->cap; i++) {
            if (set->digests[i]) put(digests, cap, set->digests[i]);
        }
        if (!keep) set->count = 0;
        kw_free(set->digests);
        set->digests = digests;
        set->cap = cap;
    }
    put(set->digests, set->cap, key);
    set->count++;
}

bool kw_script_send(struct kw_link *link, const char *sha1, size_t len) {
    struct kw_str text = {0}, load = {0};
    bool known = kw_scripts_find(kw_server_scripts(link->worker->server), sha1, len, &text);
    if (known) {
        kw_str_resp_array(&load, 3);
        kw_str_resp_text(&load, "SCRIPT");
        kw_str_resp_text(&load, "LOAD");
        kw_str_resp_bulk(&load, text.data ? text.data : "", text.len);
        known = kw_link_send_internal(link, load.data, load.len, 0, NULL) == 0;
    }
    kw_str_deinit(&text);
    kw_str_deinit(&load);
    return known;
}

static void ensure(struct kw_link *link, const char *sha1, size_t len) {
    if (len != KW_SHA1_HEX) return;
    struct kw_script_set *set = &link->scripts;
    uint64_t generation = kw_scripts_generation(kw_server_scripts(link->worker->server));
    if (KW_UNLIKELY(set->generation != generation)) {
        kw_script_set_deinit(set);
        set->generation = generation;
    }
    uint64_t key = key_of(sha1);
    if (KW_LIKELY(has(set, key))) return;
    if (kw_script_send(link, sha1, len)) add(set, key);
}

bool kw_script_digest(const struct kw_request *req, const char **sha1, size_t *len) {
    if (!req->frame.chunk || req->frame.rest.bytes) return false;
    struct kw_arg word;
    if (!kw_request_second_word(req->frame.chunk->data + req->frame.off, req->frame.len, &word)) return false;
    *sha1 = word.data;
    *len = word.len;
    return true;
}

static bool is_evalsha(const char *name, size_t len) {
    return (len == 7 && strncasecmp(name, "evalsha", 7) == 0) ||
           (len == 10 && strncasecmp(name, "evalsha_ro", 10) == 0);
}

/* Every EVALSHA among the commands of a transaction. */
static void ensure_all(struct kw_link *link, const char *bytes, size_t len) {
    struct kw_request_parse parse;
    kw_request_parse_init(&parse);
    while (len > 0 && kw_request_parse(&parse, &kw_request_unlimited, bytes, len) == KW_REQUEST_COMPLETE) {
        const struct kw_request_arg *args = parse.args;
        if (parse.argc > 1 && is_evalsha(bytes + args[0].off, args[0].len)) {
            ensure(link, bytes + args[1].off, args[1].len);
        }
        bytes += parse.frame_len;
        len -= parse.frame_len;
        kw_request_parse_reset(&parse);
    }
    kw_request_parse_deinit(&parse);
}

void kw_script_ensure(struct kw_link *link, const struct kw_request *req, const char *bytes, size_t len) {
    if (!bytes) {
        if (!req->frame.chunk || req->frame.rest.bytes) return;
        bytes = req->frame.chunk->data + req->frame.off;
        len = req->frame.len;
    }
    struct kw_arg sha1;
    if (req->skip_total > 0) {
        ensure_all(link, bytes, len);
    } else if (kw_request_second_word(bytes, len, &sha1)) {
        ensure(link, sha1.data, sha1.len);
    }
}
