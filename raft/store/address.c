/*
 * Reads and prints addresses of metadata nodes. A text is taken whole or not at all; the only failure is one that is no
 * address, with the reason in words.
 */
#include "raft/store/address.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/arg.h"
#include "base/base.h"
#include "base/error.h"

enum { PORT_MAX = 65535, QUOTED_MAX = 80 };

static const char separators[] = ", \t\r\n";

static int refuse(char *why, size_t why_size, const char *text, size_t len, const char *reason) {
    int shown = (int)(len > QUOTED_MAX ? QUOTED_MAX : len);
    snprintf(why, why_size, "'%.*s': %s", shown, text, reason);
    return KW_EINVALID;
}

static bool host_char(char c, bool bracketed) {
    bool word = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
    return word || c == '.' || c == '-' || c == '_' || (bracketed && (c == ':' || c == '%'));
}

static bool host_valid(const char *host, size_t len, bool bracketed) {
    if (len == 0 || len > KW_META_HOST_MAX) return false;
    for (size_t i = 0; i < len; i++) {
        if (!host_char(host[i], bracketed)) return false;
    }
    return true;
}

/* A number from 1 to 65535 of nothing but digits; 0: it is none. */
static unsigned port_parse(const char *at, const char *end) {
    for (const char *digit = at; digit < end; digit++) {
        if (*digit < '0' || *digit > '9') return 0;
    }
    size_t port = kw_digits(at, end);
    return port <= PORT_MAX ? (unsigned)port : 0;
}

/* Where the host ends and its colon begins; NULL: nowhere. */
static const char *host_cut(const char *text, const char *end, bool bracketed) {
    if (!bracketed) return memchr(text, ':', (size_t)(end - text));
    const char *close = memchr(text, ']', (size_t)(end - text));
    return close && close + 1 < end && close[1] == ':' ? close + 1 : NULL;
}

int kw_meta_address_parse(struct kw_meta_address *out, const char *text, size_t len, char *why, size_t why_size) {
    const char *end = text + len;
    bool bracketed = len > 0 && text[0] == '[';
    const char *colon = host_cut(text, end, bracketed);
    if (!colon) return refuse(why, why_size, text, len, "expected host:port");
    const char *host = bracketed ? text + 1 : text;
    size_t host_len = (size_t)(colon - host) - (bracketed ? 1 : 0);
    if (!host_valid(host, host_len, bracketed)) return refuse(why, why_size, text, len, "the host is not valid");

    const char *second = memchr(colon + 1, ':', (size_t)(end - colon) - 1);
    unsigned port = port_parse(colon + 1, second ? second : end);
    unsigned raft_port = second ? port_parse(second + 1, end) : port + KW_META_RAFT_PORT_OFFSET;
    if (port == 0 || raft_port == 0) return refuse(why, why_size, text, len, "a port is a number from 1 to 65535");
    if (raft_port > PORT_MAX) {
        return refuse(why, why_size, text, len,
                      "the port + 10000 is above 65535: give the raft port, host:port:raftport");
    }
    if (raft_port == port) return refuse(why, why_size, text, len, "the raft port must be another one than the port");

    memcpy(out->host, host, host_len);
    out->host[host_len] = '\0';
    out->port = port;
    out->raft_port = raft_port;
    return 0;
}

void kw_meta_address_print(const struct kw_meta_address *address, char out[KW_META_ADDRESS_SIZE]) {
    const char *form = strchr(address->host, ':') ? "[%s]:%u:%u" : "%s:%u:%u";
    snprintf(out, KW_META_ADDRESS_SIZE, form, address->host, address->port, address->raft_port);
}

/* True when both would listen on one port of one host. */
static bool collides(const struct kw_meta_address *a, const struct kw_meta_address *b) {
    if (strcmp(a->host, b->host) != 0) return false;
    return a->port == b->port || a->raft_port == b->raft_port || a->port == b->raft_port || a->raft_port == b->port;
}

static int peer_parse(struct kw_meta_peer *out, const char *word, size_t len, char *why, size_t why_size) {
    const char *equals = memchr(word, '=', len);
    if (!equals) return refuse(why, why_size, word, len, "expected id=host:port");
    for (const char *digit = word; digit < equals; digit++) {
        if (*digit < '0' || *digit > '9') return refuse(why, why_size, word, len, "the id is a number from 1");
    }
    size_t id = kw_digits(word, equals);
    if (id == 0 || id == SIZE_MAX) return refuse(why, why_size, word, len, "the id is a number from 1");
    out->id = id;
    return kw_meta_address_parse(&out->address, equals + 1, len - (size_t)(equals + 1 - word), why, why_size);
}

static const char *clash(const struct kw_meta_peer *list, int count, const struct kw_meta_peer *peer) {
    for (int i = 0; i < count; i++) {
        if (list[i].id == peer->id) return "this id is listed twice";
        if (collides(&list[i].address, &peer->address)) return "another peer has this address";
    }
    return NULL;
}

int kw_meta_peers_parse(struct kw_meta_peer out[KW_META_PEERS_MAX], const char *text, char *why, size_t why_size) {
    int count = 0;
    for (const char *at = text + strspn(text, separators); *at != '\0'; at += strspn(at, separators)) {
        size_t len = strcspn(at, separators);
        struct kw_meta_peer peer = {0};
        int code = peer_parse(&peer, at, len, why, why_size);
        if (code) return code;
        const char *reason = clash(out, count, &peer);
        if (!reason && count == KW_META_PEERS_MAX) reason = "more peers than the 9 that are allowed";
        if (reason) return refuse(why, why_size, at, len, reason);
        out[count++] = peer;
        at += len;
    }
    if (count == 0) return refuse(why, why_size, text, strlen(text), "expected id=host:port ...");
    return count;
}
