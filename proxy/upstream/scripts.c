/*
 * A chained hash table behind a lock. EVAL comes with its text each time, so
 * what was seen last is recognised by a cheap hash before SHA-1 is computed.
 */
#include "proxy/upstream/scripts.h"

#include <ctype.h>
#include <stdatomic.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/sha1.h"

enum {
    BUCKETS = 4096,
    RECENT = 1024,
    LATER_MAX = 1 << 24,
    BYTES_MAX = 64 * 1024 * 1024, /* of all texts together */
};

struct script {
    struct script *next;
    char sha1[KW_SHA1_HEX + 1];
    size_t len;
    uint32_t moment; /* since when it is known */
    char text[];
};

struct kw_scripts {
    uv_mutex_t lock;
    struct script *buckets[BUCKETS]; /* own */
    uint64_t recent[RECENT];         /* hashes of texts that are in */
    size_t bytes;
    _Atomic uint64_t generation;
    _Atomic uint32_t moment;
};

uint64_t kw_scripts_generation(const struct kw_scripts *scripts) {
    return atomic_load_explicit(&scripts->generation, memory_order_relaxed);
}

uint32_t kw_scripts_moment(const struct kw_scripts *scripts) {
    return atomic_load_explicit(&scripts->moment, memory_order_relaxed);
}

static uint64_t hash(const char *text, size_t len) {
    uint64_t h = 0xcbf29ce484222325ULL ^ len; /* FNV-1a */
    for (size_t i = 0; i < len; i++) h = (h ^ (unsigned char)text[i]) * 0x100000001b3ULL;
    return h | 1;
}

static size_t bucket_of(const char *sha1) {
    return (size_t)hash(sha1, KW_SHA1_HEX) / 2 % BUCKETS;
}

struct kw_scripts *kw_scripts_new(void) {
    struct kw_scripts *scripts = kw_calloc(1, sizeof(*scripts));
    uv_mutex_init(&scripts->lock);
    return scripts;
}

static void clear(struct kw_scripts *scripts) {
    for (size_t i = 0; i < BUCKETS; i++) {
        while (scripts->buckets[i]) {
            struct script *script = scripts->buckets[i];
            scripts->buckets[i] = script->next;
            kw_free(script);
        }
    }
    memset(scripts->recent, 0, sizeof(scripts->recent));
    scripts->bytes = 0;
}

void kw_scripts_clear(struct kw_scripts *scripts) {
    uv_mutex_lock(&scripts->lock);
    clear(scripts);
    atomic_fetch_add_explicit(&scripts->generation, 1, memory_order_relaxed);
    uv_mutex_unlock(&scripts->lock);
}

void kw_scripts_free(struct kw_scripts *scripts) {
    if (!scripts) return;
    clear(scripts);
    uv_mutex_destroy(&scripts->lock);
    kw_free(scripts);
}

static struct script *find(struct kw_scripts *scripts, const char *sha1) {
    struct script *script = scripts->buckets[bucket_of(sha1)];
    while (script && memcmp(script->sha1, sha1, KW_SHA1_HEX) != 0) script = script->next;
    return script;
}

static void add(struct kw_scripts *scripts, const char *sha1, const char *text, size_t len) {
    if (find(scripts, sha1) || scripts->bytes + len > BYTES_MAX) return;
    struct script *script = kw_malloc_try(sizeof(*script) + len);
    if (!script) return; /* the client will hear NOSCRIPT where it would have anyway */
    memcpy(script->sha1, sha1, sizeof(script->sha1));
    memcpy(script->text, text, len);
    script->len = len;
    script->moment = atomic_fetch_add_explicit(&scripts->moment, 1, memory_order_relaxed) + 1;
    size_t bucket = bucket_of(sha1);
    script->next = scripts->buckets[bucket];
    scripts->buckets[bucket] = script;
    scripts->bytes += sizeof(*script) + len;
}

void kw_scripts_remember(struct kw_scripts *scripts, const char *text, size_t len) {
    char sha1[KW_SHA1_HEX + 1];
    uint64_t h = hash(text, len);
    uv_mutex_lock(&scripts->lock);
    bool known = scripts->recent[h / 2 % RECENT] == h;
    uv_mutex_unlock(&scripts->lock);
    if (known) return;
    kw_sha1_hex(text, len, sha1); /* takes a while, so not under the lock */
    uv_mutex_lock(&scripts->lock);
    add(scripts, sha1, text, len);
    scripts->recent[h / 2 % RECENT] = h;
    uv_mutex_unlock(&scripts->lock);
}

void kw_scripts_forget(struct kw_scripts *scripts, const char *text, size_t len) {
    char sha1[KW_SHA1_HEX + 1];
    uint64_t h = hash(text, len);
    kw_sha1_hex(text, len, sha1);
    uv_mutex_lock(&scripts->lock);
    struct script **at = &scripts->buckets[bucket_of(sha1)];
    while (*at && memcmp((*at)->sha1, sha1, KW_SHA1_HEX) != 0) at = &(*at)->next;
    struct script *script = *at;
    if (script) {
        *at = script->next;
        scripts->bytes -= sizeof(*script) + script->len;
        kw_free(script);
    }
    if (scripts->recent[h / 2 % RECENT] == h) scripts->recent[h / 2 % RECENT] = 0;
    uv_mutex_unlock(&scripts->lock);
}

bool kw_scripts_find(struct kw_scripts *scripts, const char *sha1, size_t len, uint32_t moment, struct kw_str *out) {
    if (len != KW_SHA1_HEX) return false;
    char lower[KW_SHA1_HEX];
    for (size_t i = 0; i < len; i++) lower[i] = (char)tolower((unsigned char)sha1[i]);
    uv_mutex_lock(&scripts->lock);
    struct script *script = find(scripts, lower);
    /* Later than that moment, by no more than a request can be old: the numbers go round. */
    if (script && script->moment - moment - 1U < LATER_MAX) script = NULL;
    if (script) kw_str_append(out, script->text, script->len);
    uv_mutex_unlock(&scripts->lock);
    return script != NULL;
}
