/*
 * The listening sockets and those who come: at most `pending_max` connections
 * may be proving themselves; one more and the oldest has to go. An honest peer is through within a few
 * milliseconds, so strangers who hold connections open keep nobody out, however many they are.
 */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "raft/store/transport_filter.h"
#include "raft/store/transport_internal.h"

enum { BACKLOG = 511 };

static void on_ended(struct kw_meta_link *link, uv_tcp_t *tcp) {
    struct kw_meta_guest *guest = KW_CONTAINER_OF(link, struct kw_meta_guest, link);
    struct kw_meta_transport *transport = link->transport;
    struct kw_handshake *shake = &link->shake;
    *(guest->older ? &guest->older->newer : &transport->oldest) = guest->newer;
    *(guest->newer ? &guest->newer->older : &transport->newest) = guest->older;
    if (tcp && shake->purpose == KW_PURPOSE_HINT) {
        kw_hints_take(transport, shake->peer_id, tcp);
    } else if (tcp) {
        transport->on_accept(&transport->raft, shake->peer_id, shake->peer_address, (uv_stream_t *)tcp);
        kw_filter_watch(KW_CONTAINER_OF(tcp, struct kw_filtered, tcp), shake->peer_id);
    }
    kw_free(guest);
    kw_transport_gone(transport);
}

static void drop_oldest(struct kw_meta_transport *transport) {
    struct kw_meta_guest *guest = transport->oldest;
    while (guest && guest->link.end != KW_LINK_OPEN) guest = guest->newer;
    if (guest) kw_link_fail(&guest->link, KW_LINK_CROWDED);
}

static void on_connection(uv_stream_t *listener, int status) {
    struct kw_meta_transport *transport = listener->data;
    struct kw_meta_guest *guest = kw_calloc(1, sizeof(*guest));
    if (status == 0) status = kw_link_open(&guest->link, transport, on_ended);
    if (status != 0) {
        kw_log_limited(&transport->accepts, KW_LOG_WARNING, "metadata transport: cannot accept a connection: %s",
                       uv_strerror(status));
        kw_free(guest);
        return;
    }
    transport->objects++;
    guest->older = transport->newest;
    *(guest->older ? &guest->older->newer : &transport->oldest) = guest;
    transport->newest = guest;
    if (uv_accept(listener, (uv_stream_t *)guest->link.tcp) != 0) {
        kw_link_fail(&guest->link, KW_LINK_CANCELED);
        return;
    }
    if (transport->pending >= transport->pending_max) drop_oldest(transport);
    kw_link_accept(&guest->link);
}

static int listening_socket(const struct addrinfo *at) {
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    if (at->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0) return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* 0, or a libuv error. */
static int listen_on(struct kw_meta_transport *transport, const struct addrinfo *at) {
    if (transport->listener_count == KW_LISTENERS_MAX) return UV_E2BIG;
    uv_tcp_t *listener = &transport->listeners[transport->listener_count];
    int fd = listening_socket(at);
    if (fd < 0) return fd;
    int err = uv_tcp_init(transport->loop, listener);
    if (err) {
        close(fd);
        return err;
    }
    transport->listener_count++;
    transport->objects++;
    listener->data = transport;
    err = uv_tcp_open(listener, fd);
    if (err) {
        close(fd);
        return err;
    }
    return uv_listen((uv_stream_t *)listener, BACKLOG, on_connection);
}

/* A name may stand for several addresses ("*" for all of the machine's): one that can be had is enough. */
static int listen_name(struct kw_meta_transport *transport, const char *name) {
    char service[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    unsigned opened = 0;
    int err = 0;
    snprintf(service, sizeof(service), "%u", transport->raft_port);
    int failed = getaddrinfo(strcmp(name, "*") == 0 ? NULL : name, service, &hints, &found);
    if (failed) {
        snprintf(transport->raft.errmsg, sizeof(transport->raft.errmsg), "bind %.150s: %s", name, gai_strerror(failed));
        return RAFT_IOERR;
    }
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        int rc = listen_on(transport, at);
        if (rc == 0) opened++;
        if (rc != 0) err = rc;
    }
    freeaddrinfo(found);
    if (opened > 0) return 0;
    snprintf(transport->raft.errmsg, sizeof(transport->raft.errmsg), "cannot listen on %.150s, port %u: %s", name,
             transport->raft_port, uv_strerror(err));
    return RAFT_IOERR;
}

int kw_listen_open(struct kw_meta_transport *transport) {
    const char *cursor = transport->bind, *word;
    size_t len;
    while ((word = kw_config_list_next(&cursor, &len))) {
        char name[KW_META_HOST_MAX + 1];
        snprintf(name, sizeof(name), "%.*s", (int)len, word);
        int err = listen_name(transport, name);
        if (err) return err;
    }
    if (transport->listener_count > 0) return 0;
    snprintf(transport->raft.errmsg, sizeof(transport->raft.errmsg), "bind names no address");
    return RAFT_IOERR;
}

static void on_listener_closed(uv_handle_t *handle) {
    kw_transport_gone(handle->data);
}

void kw_listen_close(struct kw_meta_transport *transport) {
    for (unsigned i = 0; i < transport->listener_count; i++) {
        uv_close((uv_handle_t *)&transport->listeners[i], on_listener_closed);
    }
    for (struct kw_meta_guest *guest = transport->oldest; guest; guest = guest->newer) {
        kw_link_fail(&guest->link, KW_LINK_CANCELED);
    }
}
