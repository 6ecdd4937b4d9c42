/*
 * Cuts a seed list into hosts and ports. The list is returned whole or not at
 * all; the only failure is a text that is no list, with the reason in words.
 */
#include "cluster/seeds.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"

static const char separators[] = ", \t\r\n";

static bool parse_port(const char *at, size_t len, unsigned *port) {
    unsigned sum = 0;
    if (len == 0 || len > 5) return false;
    for (size_t i = 0; i < len; i++) {
        if (at[i] < '0' || at[i] > '9') return false;
        sum = sum * 10 + (unsigned)(at[i] - '0');
    }
    *port = sum;
    return sum >= 1 && sum <= 65535;
}

static bool host_valid(const char *host, size_t len, bool bracketed) {
    if (len == 0 || len > KW_SEED_HOST_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        char c = host[i];
        bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
                    c == '-' || c == '_' || c == '%';
        if (!word && !(c == ':' && bracketed)) return false;
    }
    return true;
}

static bool parse_one(const char *at, size_t len, struct kw_seed *seed) {
    const char *colon = memrchr(at, ':', len);
    if (!colon) return false;
    size_t host_len = (size_t)(colon - at);
    bool bracketed = host_len >= 2 && at[0] == '[' && at[host_len - 1] == ']';
    const char *host = bracketed ? at + 1 : at;
    if (bracketed) host_len -= 2;
    if (!host_valid(host, host_len, bracketed) || !parse_port(colon + 1, len - (size_t)(colon - at) - 1, &seed->port)) {
        return false;
    }
    memcpy(seed->host, host, host_len);
    seed->host[host_len] = '\0';
    return true;
}

static bool listed(const struct kw_seed *list, int count, const struct kw_seed *seed) {
    for (int i = 0; i < count; i++) {
        if (list[i].port == seed->port && strcmp(list[i].host, seed->host) == 0) return true;
    }
    return false;
}

int kw_seeds_parse(struct kw_seed **out, const char *text, char *why, size_t why_len) {
    struct kw_seed *list = kw_calloc(KW_SEEDS_MAX, sizeof(*list));
    int count = 0;

    for (const char *at = text ? text : ""; *(at += strspn(at, separators));) {
        size_t len = strcspn(at, separators);
        struct kw_seed seed;
        if (!parse_one(at, len, &seed)) {
            snprintf(why, why_len, "'%.*s' is not host:port (IPv6 as [address]:port)", len > 80 ? 80 : (int)len, at);
            goto err_after_list;
        }
        at += len;
        if (listed(list, count, &seed)) continue;
        if (count == KW_SEEDS_MAX) {
            snprintf(why, why_len, "more than %d addresses", (int)KW_SEEDS_MAX);
            goto err_after_list;
        }
        list[count++] = seed;
    }
    if (count == 0) {
        snprintf(why, why_len, "no address given");
        goto err_after_list;
    }
    if (out) {
        *out = list;
    } else {
        kw_free(list);
    }
    return count;

err_after_list:
    kw_free(list);
    return KW_EINVALID;
}
