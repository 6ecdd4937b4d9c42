/*
 * Two lists: the connections that we dial, one a peer, and those that peers
 * dial, held only so that they can notice our end. A dialled one is always in one of three states: under way (`dial`),
 * up (`tcp`) or waiting (`retry` is active); taken off the list, it goes when the last of these has ended.
 */
#include "raft/store/hint.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/store/transport_internal.h"

enum { RETRY_MS = 150 };

struct kw_hint {
    struct kw_hint *next;
    struct kw_meta_transport *transport; /* ref */
    uint64_t id;
    char *address; /* own */
    struct kw_meta_dial *dial;
    uv_tcp_t *tcp;
    uv_timer_t retry;
    bool listed, ending;
};

struct kw_heard {
    struct kw_heard *next;
    struct kw_meta_transport *transport; /* ref */
    uint64_t id;
    uv_tcp_t *tcp; /* own */
};

static void hint_dial(struct kw_hint *hint);

/* Nothing is to come; what comes all the same is not kept. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    static char nowhere[16];
    (void)handle;
    (void)suggested;
    *buf = uv_buf_init(nowhere, sizeof(nowhere));
}

static void on_tcp_closed(uv_handle_t *handle) {
    struct kw_meta_transport *transport = handle->data;
    raft_free(handle);
    kw_transport_gone(transport);
}

/* Its memory goes by itself; the reader is not called again. */
static void close_tcp(struct kw_meta_transport *transport, uv_tcp_t *tcp) {
    transport->objects++;
    tcp->data = transport;
    uv_close((uv_handle_t *)tcp, on_tcp_closed);
}

static void on_retry(uv_timer_t *timer) {
    hint_dial(timer->data);
}

static void hint_wait(struct kw_hint *hint) {
    uv_timer_start(&hint->retry, on_retry, RETRY_MS, 0);
}

static void on_hint_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    (void)buf;
    if (count == 0) return;
    struct kw_hint *hint = stream->data;
    struct kw_meta_transport *transport = hint->transport;
    close_tcp(transport, hint->tcp);
    hint->tcp = NULL;
    hint_wait(hint);
    if (transport->on_peer) transport->on_peer(transport->ctx, hint->id, false);
}

static void hint_gone(struct kw_hint *hint) {
    struct kw_meta_transport *transport = hint->transport;
    if (hint->dial || hint->retry.data) return;
    kw_free(hint->address);
    kw_free(hint);
    kw_transport_gone(transport);
}

static void on_dialled(void *ctx, uv_tcp_t *tcp, bool canceled) {
    (void)canceled;
    struct kw_hint *hint = ctx;
    struct kw_meta_transport *transport = hint->transport;
    hint->dial = NULL;
    if (tcp && !hint->ending) {
        tcp->data = hint;
        if (uv_read_start((uv_stream_t *)tcp, on_alloc, on_hint_read) == 0) {
            hint->tcp = tcp;
            if (transport->on_peer) transport->on_peer(transport->ctx, hint->id, true);
            return;
        }
    }
    if (tcp) close_tcp(transport, tcp);
    if (hint->ending) {
        hint_gone(hint);
    } else {
        hint_wait(hint);
    }
}

static void hint_dial(struct kw_hint *hint) {
    hint->dial = kw_dial_start(hint->transport, hint->id, hint->address, KW_PURPOSE_HINT, on_dialled, hint);
    if (!hint->dial) hint_wait(hint);
}

static void hint_new(struct kw_meta_transport *transport, uint64_t id, const char *address) {
    struct kw_hint *hint = kw_calloc(1, sizeof(*hint));
    transport->objects++;
    hint->transport = transport;
    hint->id = id;
    hint->address = kw_strdup(address);
    hint->listed = true;
    uv_timer_init(transport->loop, &hint->retry);
    hint->retry.data = hint;
    hint->next = transport->hints.dialled;
    transport->hints.dialled = hint;
    hint_dial(hint);
}

static void on_retry_closed(uv_handle_t *handle) {
    struct kw_hint *hint = handle->data;
    hint->retry.data = NULL;
    hint_gone(hint);
}

/* Off the list already. */
static void hint_end(struct kw_hint *hint) {
    hint->ending = true;
    if (hint->dial) kw_dial_cancel(hint->dial);
    if (hint->tcp) close_tcp(hint->transport, hint->tcp);
    hint->tcp = NULL;
    uv_close((uv_handle_t *)&hint->retry, on_retry_closed);
}

/* Ends those that are not listed. */
static void prune(struct kw_hints *hints) {
    struct kw_hint **at = &hints->dialled;
    while (*at) {
        struct kw_hint *hint = *at;
        if (hint->listed) {
            at = &hint->next;
        } else {
            *at = hint->next;
            hint_end(hint);
        }
    }
}

static struct kw_hint *find(struct kw_hints *hints, uint64_t id, const char *address) {
    for (struct kw_hint *hint = hints->dialled; hint; hint = hint->next) {
        if (hint->id == id && strcmp(hint->address, address) == 0) return hint;
    }
    return NULL;
}

void kw_hints_peers(struct kw_meta_transport *transport, const struct raft_configuration *conf) {
    struct kw_hints *hints = &transport->hints;
    for (struct kw_hint *hint = hints->dialled; hint; hint = hint->next) hint->listed = false;
    for (unsigned i = 0; i < conf->n; i++) {
        struct kw_hint *known = find(hints, conf->servers[i].id, conf->servers[i].address);
        if (known) known->listed = true;
    }
    prune(hints);
    for (unsigned i = 0; i < conf->n; i++) {
        const struct raft_server *server = &conf->servers[i];
        if (server->id == transport->self.id || find(hints, server->id, server->address)) continue;
        hint_new(transport, server->id, server->address);
    }
}

static void heard_end(struct kw_heard **at) {
    struct kw_heard *heard = *at;
    *at = heard->next;
    close_tcp(heard->transport, heard->tcp);
    kw_free(heard);
}

static void on_heard_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    (void)buf;
    if (count == 0) return;
    struct kw_heard *heard = stream->data, **at = &heard->transport->hints.heard;
    while (*at != heard) at = &(*at)->next;
    heard_end(at);
}

void kw_hints_take(struct kw_meta_transport *transport, uint64_t id, uv_tcp_t *tcp) {
    struct kw_heard **at = &transport->hints.heard;
    while (*at && (*at)->id != id) at = &(*at)->next;
    if (*at) heard_end(at);
    if (uv_read_start((uv_stream_t *)tcp, on_alloc, on_heard_read) != 0) {
        close_tcp(transport, tcp);
        return;
    }
    struct kw_heard *heard = kw_calloc(1, sizeof(*heard));
    heard->transport = transport;
    heard->id = id;
    heard->tcp = tcp;
    heard->next = transport->hints.heard;
    transport->hints.heard = heard;
    tcp->data = heard;
}

void kw_hints_close(struct kw_meta_transport *transport) {
    struct kw_hints *hints = &transport->hints;
    for (struct kw_hint *hint = hints->dialled; hint; hint = hint->next) hint->listed = false;
    prune(hints);
    while (hints->heard) heard_end(&hints->heard);
}
