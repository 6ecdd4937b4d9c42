/*
 * Connecting out: resolves the name (only a name: an address needs no thread of the pool, which the disk uses too),
 * tries what it stands for one after the other, each within the handshake's time, and shakes hands. A failure is an
 * everyday matter, retried by whoever asked.
 */
#include <netdb.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/store/transport_internal.h"

static void on_ended(struct kw_meta_link *link, uv_tcp_t *tcp);

static void dial_finish(struct kw_meta_dial *dial, uv_tcp_t *tcp) {
    struct kw_meta_transport *transport = dial->transport;
    *(dial->prev ? &dial->prev->next : &transport->dials) = dial->next;
    if (dial->next) dial->next->prev = dial->prev;
    dial->done(dial->ctx, tcp, dial->canceled);
    kw_free(dial);
    kw_transport_gone(transport);
}

static void cannot(struct kw_meta_dial *dial, const char *what, int err) {
    kw_log_limited(&dial->transport->unreachables, KW_LOG_VERBOSE,
                   "metadata transport: cannot %s node %llu at %s, port %u: %s", what, (unsigned long long)dial->id,
                   dial->address.host, dial->address.raft_port, uv_strerror(err));
}

static void on_connected(uv_connect_t *connect, int status) {
    struct kw_meta_dial *dial = KW_CONTAINER_OF(connect, struct kw_meta_dial, connect);
    if (dial->link.end != KW_LINK_OPEN) return; /* being closed: this is how the request ends */
    if (status == 0) {
        kw_link_dial(&dial->link, dial->id, dial->purpose);
        return;
    }
    cannot(dial, "connect to", status);
    kw_link_fail(&dial->link, KW_LINK_GONE);
}

/* The next address. False: there is none, or no means. */
static bool dial_next(struct kw_meta_dial *dial) {
    if (dial->to_at == dial->to_count) return false;
    const struct sockaddr *to = (const struct sockaddr *)&dial->to[dial->to_at++];
    int err = kw_link_open(&dial->link, dial->transport, on_ended);
    if (err) {
        cannot(dial, "connect to", err);
        return false;
    }
    snprintf(dial->link.host, sizeof(dial->link.host), "%.60s:%u", dial->address.host, dial->address.raft_port);
    err = uv_tcp_connect(&dial->connect, dial->link.tcp, to, on_connected);
    if (err) {
        cannot(dial, "connect to", err);
        kw_link_fail(&dial->link, KW_LINK_GONE);
    } else {
        kw_link_tune(dial->link.tcp); /* its limits hold for connecting, too */
    }
    return true;
}

static void on_ended(struct kw_meta_link *link, uv_tcp_t *tcp) {
    struct kw_meta_dial *dial = KW_CONTAINER_OF(link, struct kw_meta_dial, link);
    if (!tcp && !dial->canceled && dial_next(dial)) return;
    dial_finish(dial, tcp);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *found) {
    struct kw_meta_dial *dial = KW_CONTAINER_OF(req, struct kw_meta_dial, resolve);
    dial->resolving = false;
    for (const struct addrinfo *at = found; at && dial->to_count < KW_DIAL_ADDRESSES_MAX; at = at->ai_next) {
        memcpy(&dial->to[dial->to_count++], at->ai_addr, at->ai_addrlen);
    }
    uv_freeaddrinfo(found);
    if (status != 0 && !dial->canceled) cannot(dial, "resolve the name of", status);
    if (dial->canceled || !dial_next(dial)) dial_finish(dial, NULL);
}

/* 0, or a libuv error: then nothing was begun. */
static int dial_begin(struct kw_meta_dial *dial) {
    const char *host = dial->address.host;
    int port = (int)dial->address.raft_port;
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    if (uv_ip4_addr(host, port, (struct sockaddr_in *)&dial->to[0]) == 0 ||
        uv_ip6_addr(host, port, (struct sockaddr_in6 *)&dial->to[0]) == 0) {
        dial->to_count = 1;
        return dial_next(dial) ? 0 : UV_ENOMEM;
    }
    snprintf(service, sizeof(service), "%d", port);
    int err = uv_getaddrinfo(dial->transport->loop, &dial->resolve, on_resolved, host, service, &hints);
    dial->resolving = err == 0;
    return err;
}

struct kw_meta_dial *kw_dial_start(struct kw_meta_transport *transport, uint64_t id, const char *address,
                                   enum kw_handshake_purpose purpose,
                                   void (*done)(void *ctx, uv_tcp_t *tcp, bool canceled), void *ctx) {
    struct kw_meta_dial *dial = kw_calloc(1, sizeof(*dial));
    char *why = transport->raft.errmsg;
    dial->transport = transport;
    dial->id = id;
    dial->purpose = purpose;
    dial->done = done;
    dial->ctx = ctx;
    if (kw_meta_address_parse(&dial->address, address, strlen(address), why, sizeof(transport->raft.errmsg)) != 0) {
        kw_free(dial);
        return NULL;
    }
    int err = dial_begin(dial);
    if (err) {
        snprintf(why, sizeof(transport->raft.errmsg), "cannot connect to %.160s: %s", address, uv_strerror(err));
        kw_free(dial);
        return NULL;
    }
    transport->objects++;
    dial->next = transport->dials;
    if (dial->next) dial->next->prev = dial;
    transport->dials = dial;
    return dial;
}

void kw_dial_cancel(struct kw_meta_dial *dial) {
    dial->canceled = true;
    if (dial->resolving) {
        uv_cancel((uv_req_t *)&dial->resolve); /* or it comes back when it is done */
    } else {
        kw_link_fail(&dial->link, KW_LINK_CANCELED);
    }
}
