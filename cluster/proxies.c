/*
 * The list of proxies. It grows by doubling; a word that is no address ends
 * the parse with nothing kept. Freed by kw_proxies_deinit.
 */
#include "cluster/proxies.h"

#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "base/error.h"
#include "base/sha1.h"
#include "cluster/slot.h"

_Static_assert((int)KW_PROXY_ID_LEN == (int)KW_SHA1_HEX, "ids are digests");

static bool is_address(const char *host) {
    struct in6_addr any;
    return inet_pton(AF_INET, host, &any) == 1 || inet_pton(AF_INET6, host, &any) == 1;
}

static void name_proxy(struct kw_proxy *proxy) {
    char text[sizeof("shard ") + KW_SEED_HOST_MAX + 8];
    int len = snprintf(text, sizeof(text), "shard %s:%u", proxy->host, proxy->port);
    size_t skip = strlen("shard ");
    kw_sha1_hex(text + skip, (size_t)len - skip, proxy->id);
    kw_sha1_hex(text, (size_t)len, proxy->shard);
    proxy->named = !is_address(proxy->host);
}

static void add(struct kw_proxies *proxies, const char *host, unsigned port) {
    if (kw_proxies_find(proxies, host, port) >= 0) return;
    unsigned count = proxies->count;
    /* A power of two is full. */
    if ((count & (count - 1)) == 0) {
        proxies->list = kw_realloc(proxies->list, (count ? 2 * (size_t)count : 1) * sizeof(*proxies->list));
    }
    struct kw_proxy *proxy = &proxies->list[proxies->count++];
    *proxy = (struct kw_proxy){.port = port};
    snprintf(proxy->host, sizeof(proxy->host), "%s", host);
    name_proxy(proxy);
}

static void share_slots(struct kw_proxies *proxies) {
    unsigned n = proxies->count;
    for (unsigned i = 0; i < n; i++) {
        proxies->list[i].first_slot = KW_SLOT_COUNT * i / n;
        proxies->list[i].last_slot = KW_SLOT_COUNT * (i + 1) / n - 1;
    }
}

static int add_word(struct kw_proxies *proxies, const char *word, size_t len) {
    char why[1], *text = kw_strndup(word, len);
    struct kw_seed *seed = NULL;
    int count = kw_seeds_parse(&seed, text, why, sizeof(why));
    if (count == 1) add(proxies, seed->host, seed->port);
    if (count > 0) kw_free(seed);
    kw_free(text);
    return count == 1 ? 0 : KW_EINVALID;
}

int kw_proxies_parse(struct kw_proxies *out, const char *text) {
    *out = (struct kw_proxies){0};
    size_t len;
    const char *word;
    while ((word = kw_config_list_next(&text, &len)) != NULL) {
        int err = add_word(out, word, len);
        if (err) {
            kw_proxies_deinit(out);
            return err;
        }
    }
    share_slots(out);
    return 0;
}

void kw_proxies_one(struct kw_proxies *out, const char *host, unsigned port) {
    *out = (struct kw_proxies){0};
    add(out, host, port);
    share_slots(out);
}

void kw_proxies_deinit(struct kw_proxies *proxies) {
    kw_free(proxies->list);
    *proxies = (struct kw_proxies){0};
}

int kw_proxies_find(const struct kw_proxies *proxies, const char *host, unsigned port) {
    for (unsigned i = 0; i < proxies->count; i++) {
        if (proxies->list[i].port == port && strcmp(proxies->list[i].host, host) == 0) return (int)i;
    }
    return -1;
}

int kw_proxies_find_text(const struct kw_proxies *proxies, const char *address) {
    const char *colon = strrchr(address, ':');
    char host[KW_SEED_HOST_MAX + 1];
    if (!colon || (size_t)(colon - address) >= sizeof(host)) return -1;
    snprintf(host, sizeof(host), "%.*s", (int)(colon - address), address);
    return kw_proxies_find(proxies, host, (unsigned)strtoul(colon + 1, NULL, 10));
}

int kw_proxies_find_port(const struct kw_proxies *proxies, unsigned port) {
    int found = -1;
    for (unsigned i = 0; i < proxies->count; i++) {
        if (proxies->list[i].port != port) continue;
        if (found >= 0) return -1;
        found = (int)i;
    }
    return found;
}

int kw_proxies_find_id(const struct kw_proxies *proxies, const char *id, size_t len) {
    for (unsigned i = 0; i < proxies->count && len == KW_PROXY_ID_LEN; i++) {
        if (memcmp(proxies->list[i].id, id, len) == 0) return (int)i;
    }
    return -1;
}
