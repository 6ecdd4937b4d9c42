/*
 * Happy path: resolve (unless it is an address), connect, read. A value that
 * lies whole in what was read is handed over where it lies; one in pieces is
 * collected, up to KW_META_CLIENT_REPLY_MAX; beyond that it is only counted to
 * its end. What can fail: name, connect, the stream's end, bytes that are not
 * RESP; each is told once by on_end. The link frees itself in its last libuv
 * callback.
 */
#include "raft/client/meta_link.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/resp_reply.h"
#include "base/str.h"
#include "raft/client/meta_client.h"

enum { READ_SIZE = 64 * 1024, KEEP_MAX = 256 * 1024 };

struct kw_meta_link {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_getaddrinfo_t resolve;
    uv_loop_t *loop;
    struct kw_meta_link_hooks hooks;
    unsigned attempt;
    unsigned refs; /* the socket; a look-up under way */
    bool resolving;
    bool open;
    bool ended;   /* on_end was called */
    bool closing; /* hooks are silent */
    struct kw_reply_scan scan;
    struct kw_str partial; /* own; the beginning of a value */
    bool dropping;         /* the value being read is too large */
    char buffer[READ_SIZE];
};

struct write {
    uv_write_t req;
    char bytes[];
};

static void release(struct kw_meta_link *link) {
    if (--link->refs > 0) return;
    void (*closed)(void *ctx) = link->hooks.on_closed;
    void *ctx = link->hooks.ctx;
    kw_str_deinit(&link->partial);
    kw_free(link);
    closed(ctx);
}

static void end(struct kw_meta_link *link, int err, const char *why) {
    if (link->closing || link->ended) return;
    link->ended = true;
    link->open = false;
    link->hooks.on_end(link->hooks.ctx, err, why);
}

/* ---- reading ---- */

/* A whole value, or its last piece. */
static void hand_over(struct kw_meta_link *link, const char *piece, size_t len) {
    char type = link->scan.first;
    if (link->dropping || link->partial.len + len > KW_META_CLIENT_REPLY_MAX) {
        link->dropping = false;
        link->hooks.on_value(link->hooks.ctx, type, NULL, 0);
    } else if (link->partial.len == 0) {
        link->hooks.on_value(link->hooks.ctx, type, piece, len);
    } else {
        kw_str_append(&link->partial, piece, len);
        link->hooks.on_value(link->hooks.ctx, type, link->partial.data, link->partial.len);
    }
    kw_str_clear(&link->partial);
    if (link->partial.cap > KEEP_MAX) kw_str_deinit(&link->partial);
}

static void keep_piece(struct kw_meta_link *link, const char *piece, size_t len) {
    if (!link->dropping && link->partial.len + len > KW_META_CLIENT_REPLY_MAX) {
        link->dropping = true;
        kw_str_deinit(&link->partial);
    }
    if (!link->dropping) kw_str_append(&link->partial, piece, len);
}

static void take_bytes(struct kw_meta_link *link, const char *at, size_t len) {
    while (len > 0 && !link->closing && !link->ended) {
        size_t used = 0;
        switch (kw_reply_scan(&link->scan, at, len, &used)) {
        case KW_REPLY_MORE: keep_piece(link, at, len); return;
        case KW_REPLY_DONE: hand_over(link, at, used); break;
        case KW_REPLY_ERROR: end(link, KW_EPROTOCOL, "what it sends is not RESP"); return;
        }
        at += used;
        len -= used;
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct kw_meta_link *link = handle->data;
    (void)suggested;
    *buf = uv_buf_init(link->buffer, sizeof(link->buffer));
}

static void on_read(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct kw_meta_link *link = stream->data;
    if (nread > 0) {
        take_bytes(link, buf->base, (size_t)nread);
    } else if (nread < 0) {
        end(link, KW_ELINKLOST, nread == UV_EOF ? "closed by the node" : uv_strerror((int)nread));
    }
}

/* ---- connecting ---- */

static void on_connected(uv_connect_t *req, int status) {
    struct kw_meta_link *link = req->data;
    if (link->closing) return;
    if (status == 0) {
        uv_tcp_nodelay(&link->tcp, 1);
        uv_tcp_keepalive(&link->tcp, 1, 15);
        status = uv_read_start((uv_stream_t *)&link->tcp, on_alloc, on_read);
    }
    if (status != 0) {
        end(link, KW_EUNREACHABLE, uv_strerror(status));
        return;
    }
    link->open = true;
    link->hooks.on_open(link->hooks.ctx);
}

static int connect_to(struct kw_meta_link *link, const struct sockaddr *address) {
    link->connect.data = link;
    return uv_tcp_connect(&link->connect, &link->tcp, address, on_connected);
}

static void on_resolved(uv_getaddrinfo_t *req, int status, struct addrinfo *list) {
    struct kw_meta_link *link = req->data;
    link->resolving = false;
    if (!link->closing) {
        unsigned count = 0;
        for (const struct addrinfo *at = list; at; at = at->ai_next) count++;
        if (status == 0 && count > 0) {
            const struct addrinfo *pick = list;
            for (unsigned left = link->attempt % count; left > 0; left--) pick = pick->ai_next;
            status = connect_to(link, pick->ai_addr);
            if (status != 0) end(link, KW_EUNREACHABLE, uv_strerror(status));
        } else {
            end(link, KW_EUNREACHABLE, "its name is not resolved");
        }
    }
    uv_freeaddrinfo(list);
    release(link);
}

static int resolve_name(struct kw_meta_link *link, const char *host, unsigned port) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    char service[8];
    snprintf(service, sizeof(service), "%u", port & 0xffffU);
    link->resolve.data = link;
    int status = uv_getaddrinfo(link->loop, &link->resolve, on_resolved, host, service, &hints);
    if (status != 0) return status;
    link->resolving = true;
    link->refs++;
    return 0;
}

static void on_tcp_closed(uv_handle_t *handle) {
    release(handle->data);
}

struct kw_meta_link *kw_meta_link_open(uv_loop_t *loop, const char *host, unsigned port, unsigned attempt,
                                       const struct kw_meta_link_hooks *hooks) {
    struct kw_meta_link *link = kw_calloc(1, sizeof(*link));
    struct sockaddr_in v4;
    struct sockaddr_in6 v6;
    link->loop = loop;
    link->hooks = *hooks;
    link->attempt = attempt;
    link->refs = 1;
    int status = uv_tcp_init(loop, &link->tcp);
    KW_ASSERT(status == 0);
    link->tcp.data = link;
    if (uv_ip4_addr(host, (int)port, &v4) == 0) {
        status = connect_to(link, (const struct sockaddr *)&v4);
    } else if (uv_ip6_addr(host, (int)port, &v6) == 0) {
        status = connect_to(link, (const struct sockaddr *)&v6);
    } else {
        status = resolve_name(link, host, port);
    }
    if (status == 0) return link;
    link->closing = true;
    uv_close((uv_handle_t *)&link->tcp, on_tcp_closed);
    return NULL;
}

/* ---- the rest ---- */

static void on_written(uv_write_t *req, int status) {
    (void)status; /* a broken socket shows in on_read too */
    kw_free(KW_CONTAINER_OF(req, struct write, req));
}

int kw_meta_link_send(struct kw_meta_link *link, const void *bytes, size_t len) {
    if (!link->open) return KW_EUNREACHABLE;
    if (uv_stream_get_write_queue_size((uv_stream_t *)&link->tcp) + len > KW_META_CLIENT_UNSENT_MAX) return KW_ELIMIT;
    struct write *write = kw_malloc(sizeof(*write) + len);
    memcpy(write->bytes, bytes, len);
    uv_buf_t buf = uv_buf_init(write->bytes, (unsigned)len);
    if (uv_write(&write->req, (uv_stream_t *)&link->tcp, &buf, 1, on_written) != 0) {
        kw_free(write);
        return KW_EUNREACHABLE;
    }
    return 0;
}

void kw_meta_link_local_host(const struct kw_meta_link *link, char *out, size_t size) {
    struct sockaddr_storage address;
    int len = sizeof(address);
    out[0] = '\0';
    if (!link->open || uv_tcp_getsockname(&link->tcp, (struct sockaddr *)&address, &len) != 0) return;
    if (address.ss_family == AF_INET) {
        uv_ip4_name((const struct sockaddr_in *)&address, out, size);
    } else if (address.ss_family == AF_INET6) {
        uv_ip6_name((const struct sockaddr_in6 *)&address, out, size);
    }
}

void kw_meta_link_close(struct kw_meta_link *link) {
    KW_ASSERT(!link->closing);
    link->closing = true;
    link->open = false;
    if (link->resolving) uv_cancel((uv_req_t *)&link->resolve);
    uv_close((uv_handle_t *)&link->tcp, on_tcp_closed);
}
