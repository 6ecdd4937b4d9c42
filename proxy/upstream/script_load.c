/* See script_load.h. The set forgets everything when it is full: the price is one more SCRIPT LOAD each. */
#include "proxy/upstream/script_load.h"

#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_request.h"
#include "base/sha1.h"
#include "proxy/local/local.h"
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

bool kw_script_send(struct kw_link *link, const char *sha1, size_t len, uint32_t moment) {
    struct kw_str text = {0}, load = {0};
    bool known = kw_scripts_find(kw_server_scripts(link->worker->server), sha1, len, moment, &text);
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

static void ensure(struct kw_link *link, const char *sha1, size_t len, uint32_t moment) {
    if (len != KW_SHA1_HEX) return;
    struct kw_script_set *set = &link->scripts;
    uint64_t generation = kw_scripts_generation(kw_server_scripts(link->worker->server));
    if (KW_UNLIKELY(set->generation != generation)) {
        kw_script_set_deinit(set);
        set->generation = generation;
    }
    uint64_t key = key_of(sha1);
    if (KW_LIKELY(has(set, key))) return;
    if (kw_script_send(link, sha1, len, moment)) add(set, key);
}

bool kw_script_digest(const struct kw_request *req, const char **sha1, size_t *len) {
    if (!req->frame.chunk || req->frame.rest.bytes) return false;
    struct kw_arg word;
    if (!kw_request_second_word(req->frame.chunk->data + req->frame.off, req->frame.len, &word)) return false;
    *sha1 = word.data;
    *len = word.len;
    return true;
}

/* Commands one after the other: the name and two words behind it, empty where there are none. */
struct walk {
    struct kw_request_parse parse;
    const char *at;
    size_t left;
    struct kw_arg name, word, third;
    size_t argc;
};

static bool walk_next(struct walk *walk) {
    kw_request_parse_reset(&walk->parse);
    if (walk->left == 0 ||
        kw_request_parse(&walk->parse, &kw_request_unlimited, walk->at, walk->left) != KW_REQUEST_COMPLETE) {
        return false;
    }
    struct kw_arg *const words[] = {&walk->name, &walk->word, &walk->third};
    for (size_t i = 0; i < KW_ARRAY_LEN(words); i++) {
        const struct kw_request_arg *arg = i < walk->parse.argc ? &walk->parse.args[i] : NULL;
        *words[i] = arg ? (struct kw_arg){walk->at + arg->off, arg->len} : (struct kw_arg){"", 0};
    }
    walk->argc = walk->parse.argc;
    walk->at += walk->parse.frame_len;
    walk->left -= walk->parse.frame_len;
    return true;
}

/* Every EVALSHA among the commands of a transaction, whose own texts are known. */
static void ensure_all(struct kw_link *link, const char *bytes, size_t len) {
    uint32_t now = kw_scripts_moment(kw_server_scripts(link->worker->server));
    struct walk walk = {.at = bytes, .left = len};
    kw_request_parse_init(&walk.parse);
    while (walk_next(&walk)) {
        bool by_digest = kw_arg_is(&walk.name, "evalsha") || kw_arg_is(&walk.name, "evalsha_ro");
        if (by_digest && walk.argc > 1) ensure(link, walk.word.data, walk.word.len, now);
    }
    kw_request_parse_deinit(&walk.parse);
}

bool kw_script_takes_text(const struct kw_arg *number_of_keys, size_t argc) {
    long long keys;
    return kw_arg_int(number_of_keys, &keys) && keys >= 0 && keys <= (long long)argc - 3;
}

void kw_scripts_remember_all(struct kw_scripts *scripts, const char *bytes, size_t len) {
    struct walk walk = {.at = bytes, .left = len};
    kw_request_parse_init(&walk.parse);
    while (walk_next(&walk)) {
        bool by_text = kw_arg_is(&walk.name, "eval") || kw_arg_is(&walk.name, "eval_ro");
        if (by_text && kw_script_takes_text(&walk.third, walk.argc)) {
            kw_scripts_remember(scripts, walk.word.data, walk.word.len);
        }
    }
    kw_request_parse_deinit(&walk.parse);
}

void kw_script_refused(struct kw_scripts *scripts, const struct kw_request *req) {
    if (!req->frame.chunk || req->frame.rest.bytes) return;
    struct walk walk = {.at = req->frame.chunk->data + req->frame.off, .left = req->frame.len};
    kw_request_parse_init(&walk.parse);
    if (walk_next(&walk)) {
        const struct kw_arg *text = kw_arg_is(&walk.name, "script") ? &walk.third : &walk.word;
        kw_scripts_forget(scripts, text->data, text->len);
    }
    kw_request_parse_deinit(&walk.parse);
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
        ensure(link, sha1.data, sha1.len, req->moment);
    }
}
