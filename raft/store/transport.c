/*
 * The transport as libraft sees it: init, listen, connect, close. All its
 * objects are counted; close cancels each of them and calls back when the last has gone. Whatever fails before a
 * connection is given to libraft is retried by libraft itself.
 */
#include "raft/store/transport.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/store/transport_internal.h"

enum { TRANSPORT_VERSION = 1, HANDSHAKE_TIMEOUT_MS = 2000, PENDING_MAX = 64 };

void kw_transport_gone(struct kw_meta_transport *transport) {
    KW_ASSERT(transport->objects > 0);
    if (--transport->objects > 0 || !transport->closing) return;
    transport->opened = false;
    transport->on_closed(&transport->raft);
}

static int transport_init(struct raft_uv_transport *raft, raft_id id, const char *address) {
    struct kw_meta_transport *transport = raft->impl;
    if (id == 0 || strlen(address) >= sizeof(transport->self.address)) {
        snprintf(raft->errmsg, sizeof(raft->errmsg), "id 0, or an address that is too long");
        return RAFT_INVALID;
    }
    transport->self.id = id;
    memcpy(transport->self.address, address, strlen(address) + 1);
    transport->opened = true;
    return 0;
}

static int transport_listen(struct raft_uv_transport *raft, raft_uv_accept_cb on_accept) {
    struct kw_meta_transport *transport = raft->impl;
    transport->on_accept = on_accept;
    return kw_listen_open(transport);
}

static void on_dialled(void *ctx, uv_tcp_t *tcp, bool canceled) {
    struct raft_uv_connect *req = ctx;
    int status = tcp ? 0 : canceled ? RAFT_CANCELED : RAFT_NOCONNECTION;
    req->cb(req, (uv_stream_t *)tcp, status);
}

static int transport_connect(struct raft_uv_transport *raft, struct raft_uv_connect *req, raft_id id,
                             const char *address, raft_uv_connect_cb cb) {
    struct kw_meta_transport *transport = raft->impl;
    if (transport->closing) return RAFT_CANCELED;
    req->cb = cb;
    return kw_dial_start(transport, id, address, KW_PURPOSE_RAFT, on_dialled, req) ? 0 : RAFT_NOCONNECTION;
}

static void on_last_closed(uv_handle_t *handle) {
    kw_transport_gone(handle->data);
}

static void transport_close(struct raft_uv_transport *raft, raft_uv_transport_close_cb on_closed) {
    struct kw_meta_transport *transport = raft->impl;
    transport->closing = true;
    transport->on_closed = on_closed;
    transport->objects++;
    uv_timer_init(transport->loop, &transport->last);
    transport->last.data = transport;
    uv_close((uv_handle_t *)&transport->last, on_last_closed);
    kw_hints_close(transport);
    for (struct kw_meta_dial *dial = transport->dials; dial; dial = dial->next) kw_dial_cancel(dial);
    kw_listen_close(transport);
}

int kw_meta_transport_new(struct kw_meta_transport **out, uv_loop_t *loop,
                          const struct kw_meta_transport_options *options) {
    size_t cluster_len = strlen(options->cluster), secret_len = strlen(options->secret);
    if (cluster_len == 0 || cluster_len > KW_HANDSHAKE_CLUSTER_MAX) return KW_EINVALID;
    if (secret_len > 0 && secret_len < KW_META_SECRET_MIN) return KW_EINVALID;
    if (options->raft_port == 0 || options->raft_port > UINT16_MAX) return KW_EINVALID;

    struct kw_meta_transport *transport = kw_calloc(1, sizeof(*transport));
    transport->loop = loop;
    transport->bind = kw_strdup(options->bind);
    transport->secret = kw_strdup(options->secret);
    transport->self.secret = transport->secret;
    transport->self.secret_len = secret_len;
    memcpy(transport->self.cluster, options->cluster, cluster_len + 1);
    transport->raft_port = options->raft_port;
    transport->handshake_timeout_ms =
        options->handshake_timeout_ms ? options->handshake_timeout_ms : HANDSHAKE_TIMEOUT_MS;
    transport->pending_max = options->pending_max ? options->pending_max : PENDING_MAX;
    transport->self.incarnation = options->incarnation;
    transport->self.judge = options->judge;
    transport->self.judge_ctx = options->ctx;
    transport->on_peer = options->on_peer;
    transport->term = options->term;
    transport->on_term = options->on_term;
    transport->on_disowned = options->on_disowned;
    transport->ctx = options->ctx;
    transport->raft = (struct raft_uv_transport){
        .version = TRANSPORT_VERSION,
        .impl = transport,
        .init = transport_init,
        .listen = transport_listen,
        .connect = transport_connect,
        .close = transport_close,
    };
    *out = transport;
    return 0;
}

struct raft_uv_transport *kw_meta_transport_raft(struct kw_meta_transport *transport) {
    return &transport->raft;
}

void kw_meta_transport_free(struct kw_meta_transport *transport) {
    if (!transport) return;
    KW_ASSERT(transport->objects == 0);
    explicit_bzero(transport->secret, strlen(transport->secret));
    kw_free(transport->secret);
    kw_free(transport->bind);
    kw_free(transport);
}

void kw_meta_transport_peers(struct kw_meta_transport *transport, const struct raft_configuration *conf) {
    if (transport->closing) return;
    KW_ASSERT(transport->opened);
    kw_hints_peers(transport, conf);
}

unsigned kw_meta_transport_ask(struct kw_meta_transport *transport, uint64_t number) {
    return transport->closing ? 0 : kw_hints_ask(transport, number);
}

void kw_meta_transport_facts(const struct kw_meta_transport *transport, struct kw_meta_transport_facts *out) {
    *out = transport->facts;
}
