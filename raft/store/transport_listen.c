/*
 * The listening sockets and those who come: at most `pending_max` connections
 * may be proving themselves; one more and the oldest has to go. An honest peer is through within a few
 * milliseconds, so strangers who hold connections open keep nobody out, however many they are.
 */
#include <stdio.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
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

/* 0, or a libuv error. */
static int listen_on(struct kw_meta_transport *transport, int fd) {
    uv_tcp_t *listener = &transport->listeners[transport->listener_count];
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

int kw_listen_open(struct kw_meta_transport *transport) {
    int fds[KW_BIND_MAX];
    char *why = transport->raft.errmsg;
    size_t why_size = sizeof(transport->raft.errmsg);
    int err = 0;
    int count = kw_bind_open(fds, transport->bind, transport->raft_port, BACKLOG, why, why_size);
    for (int i = 0; i < count; i++) {
        int rc = listen_on(transport, fds[i]);
        if (rc) err = rc;
    }
    if (err) snprintf(why, why_size, "cannot listen on port %u: %s", transport->raft_port, uv_strerror(err));
    return count < 0 || err ? RAFT_IOERR : 0;
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
