/*
 * One connection while both sides prove themselves. It ends in one of two ways:
 * proved (reading stops, the clock's handle closes, then the bare socket is given on, with every byte after the
 * handshake still in the kernel), or failed (socket and clock close). The frames are small and the socket is new, so
 * each goes out in one write or the link fails.
 */
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "raft/store/transport_filter.h"
#include "raft/store/transport_internal.h"

enum { USER_TIMEOUT_MS = 2000, KEEPALIVE_IDLE_S = 1, KEEPALIVE_EVERY_S = 1, KEEPALIVE_PROBES = 2 };

void kw_link_tune(const uv_tcp_t *tcp) {
    static const struct {
        int level, option, value;
    } options[] = {
        {IPPROTO_TCP, TCP_NODELAY, 1},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, USER_TIMEOUT_MS},
        {SOL_SOCKET, SO_KEEPALIVE, 1},
        {IPPROTO_TCP, TCP_KEEPIDLE, KEEPALIVE_IDLE_S},
        {IPPROTO_TCP, TCP_KEEPINTVL, KEEPALIVE_EVERY_S},
        {IPPROTO_TCP, TCP_KEEPCNT, KEEPALIVE_PROBES},
    };
    int fd;
    if (uv_fileno((const uv_handle_t *)tcp, &fd) != 0) return;
    for (size_t i = 0; i < KW_ARRAY_LEN(options); i++) {
        setsockopt(fd, options[i].level, options[i].option, &options[i].value, sizeof(options[i].value));
    }
}

static void on_closed(uv_handle_t *handle) {
    struct kw_meta_link *link = handle->data;
    if (handle == (uv_handle_t *)link->tcp) {
        raft_free(link->tcp);
        link->tcp = NULL;
    }
    if (--link->open > 0) return;
    uv_tcp_t *tcp = link->tcp;
    link->tcp = NULL;
    link->ended(link, tcp);
}

/* Who it is, as far as it has said. */
static void describe(const struct kw_meta_link *link, char *out, size_t size) {
    const struct kw_handshake *shake = &link->shake;
    if (!shake->peer_id) {
        snprintf(out, size, "%s", link->host);
    } else if (!link->accepted) {
        snprintf(out, size, "node %llu at %s", (unsigned long long)shake->peer_id, link->host);
    } else {
        snprintf(out, size, "%s (says it is node %llu of cluster \"%s\")", link->host,
                 (unsigned long long)shake->peer_id, shake->peer_cluster);
    }
}

static void tell(struct kw_meta_link *link) {
    struct kw_meta_transport *transport = link->transport;
    const struct kw_handshake *shake = &link->shake;
    char who[KW_LINK_HOST_SIZE + KW_HANDSHAKE_CLUSTER_MAX + 64];
    describe(link, who, sizeof(who));
    if (link->end == KW_LINK_LATE) {
        kw_log_limited(&transport->lates, KW_LOG_NOTICE, "metadata transport: %s did not prove itself within %u ms",
                       who, transport->handshake_timeout_ms);
    } else if (link->end == KW_LINK_CROWDED) {
        kw_log_limited(&transport->crowds, KW_LOG_WARNING,
                       "metadata transport: dropped %s, the oldest of %u connections that have not proved themselves",
                       who, transport->pending_max);
    } else if (link->end == KW_LINK_REFUSED) {
        unsigned row = (unsigned)shake->reason < KW_REASON_COUNT ? shake->reason : KW_REASON_NONE;
        kw_log_limited(&transport->refusals[row], KW_LOG_WARNING, "metadata transport: %s %s: %s %s",
                       shake->by_peer ? "refused by" : "refused", who, shake->by_peer ? "this node, it says," : "it",
                       kw_handshake_reason_text(shake->reason));
    }
}

static void count(struct kw_meta_link *link) {
    struct kw_meta_transport_facts *facts = &link->transport->facts;
    if (link->end == KW_LINK_PROVED) facts->accepted++;
    if (link->end == KW_LINK_LATE || link->end == KW_LINK_GONE) facts->refused_protocol++;
    if (link->end == KW_LINK_CROWDED) facts->refused_busy++;
    if (link->end != KW_LINK_REFUSED) return;
    if (link->shake.reason == KW_REASON_SECRET) {
        facts->refused_secret++;
    } else if (link->shake.reason == KW_REASON_CLUSTER || link->shake.reason == KW_REASON_NODE ||
               link->shake.reason == KW_REASON_INCARNATION) {
        facts->refused_cluster++;
    } else {
        facts->refused_protocol++;
    }
}

/* Only with a proof: a stranger must not be able to end this node. */
static bool disowned(const struct kw_meta_link *link) {
    const struct kw_handshake *shake = &link->shake;
    return link->end == KW_LINK_REFUSED && shake->reason == KW_REASON_INCARNATION && shake->by_peer && shake->proved;
}

/* Both ways out pass here, once. */
static void finish(struct kw_meta_link *link, enum kw_link_end end) {
    link->end = end;
    if (link->accepted) {
        link->transport->pending--;
        count(link);
    }
    if (end != KW_LINK_PROVED && end != KW_LINK_CANCELED) tell(link);
    uv_close((uv_handle_t *)&link->deadline, on_closed);
    const struct kw_meta_transport *transport = link->transport;
    if (disowned(link) && transport->on_disowned) transport->on_disowned(transport->ctx, link->shake.peer_id);
}

void kw_link_fail(struct kw_meta_link *link, enum kw_link_end end) {
    bool first = link->end == KW_LINK_OPEN;
    if (!first && (link->end != KW_LINK_PROVED || uv_is_closing((uv_handle_t *)link->tcp))) return;
    if (first) finish(link, end);
    /* Proved already but not given on yet: only its socket is left to be closed. */
    if (!first) link->open++;
    uv_close((uv_handle_t *)link->tcp, on_closed);
}

static void prove(struct kw_meta_link *link) {
    link->open--; /* the socket stays open */
    uv_read_stop((uv_stream_t *)link->tcp);
    finish(link, KW_LINK_PROVED);
}

/* False: the link has failed. A socket that does not take a few hundred bytes at once has lost its peer. */
static bool flush(struct kw_meta_link *link) {
    const unsigned char *bytes;
    size_t len = kw_handshake_out(&link->shake, &bytes);
    if (len == 0) return true;
    uv_buf_t buf = uv_buf_init((char *)(uintptr_t)bytes, (unsigned)len);
    return uv_try_write((uv_stream_t *)link->tcp, &buf, 1) == (int)len;
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct kw_meta_link *link = handle->data;
    unsigned char *at;
    size_t len = kw_handshake_room(&link->shake, &at);
    *buf = uv_buf_init((char *)at, (unsigned)len);
}

static void on_read(uv_stream_t *stream, ssize_t count_read, const uv_buf_t *buf) {
    (void)buf;
    struct kw_meta_link *link = stream->data;
    if (count_read == 0) return;
    if (count_read < 0) {
        kw_link_fail(link, KW_LINK_GONE);
        return;
    }
    enum kw_handshake_step step = kw_handshake_took(&link->shake, (size_t)count_read);
    bool sent = flush(link);
    if (step == KW_HANDSHAKE_REFUSED) {
        kw_link_fail(link, KW_LINK_REFUSED);
    } else if (!sent) {
        kw_link_fail(link, KW_LINK_GONE);
    } else if (step == KW_HANDSHAKE_DONE) {
        prove(link);
    }
}

static void on_deadline(uv_timer_t *timer) {
    kw_link_fail(timer->data, KW_LINK_LATE);
}

int kw_link_open(struct kw_meta_link *link, struct kw_meta_transport *transport,
                 void (*ended)(struct kw_meta_link *link, uv_tcp_t *tcp)) {
    memset(link, 0, sizeof(*link));
    link->transport = transport;
    link->ended = ended;
    link->tcp = raft_malloc(sizeof(struct kw_filtered));
    if (!link->tcp) return UV_ENOMEM;
    int err = uv_tcp_init(transport->loop, link->tcp);
    if (err) {
        raft_free(link->tcp);
        link->tcp = NULL;
        return err;
    }
    link->tcp->data = link;
    uv_timer_init(transport->loop, &link->deadline);
    link->deadline.data = link;
    link->open = 2;
    uv_timer_start(&link->deadline, on_deadline, transport->handshake_timeout_ms, 0);
    return 0;
}

/* The peer's address as text, for the log. */
static void name_host(struct kw_meta_link *link) {
    struct sockaddr_storage peer;
    int len = sizeof(peer);
    char ip[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (uv_tcp_getpeername(link->tcp, (struct sockaddr *)&peer, &len) == 0) {
        uv_ip_name((const struct sockaddr *)&peer, ip, sizeof(ip));
        port = ntohs(peer.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&peer)->sin6_port
                                                : ((struct sockaddr_in *)&peer)->sin_port);
    }
    snprintf(link->host, sizeof(link->host), strchr(ip, ':') ? "[%s]:%u" : "%s:%u", ip, port);
}

/* What nobody can guess. The kernel's generator is ready long before this runs; failing that, nothing is safe. */
static void draw_nonce(unsigned char nonce[KW_HANDSHAKE_NONCE]) {
    ssize_t got;
    while ((got = getrandom(nonce, KW_HANDSHAKE_NONCE, 0)) < 0 && errno == EINTR) {
    }
    KW_ASSERT(got == KW_HANDSHAKE_NONCE);
}

static void start(struct kw_meta_link *link) {
    name_host(link);
    kw_link_tune(link->tcp);
    if (uv_read_start((uv_stream_t *)link->tcp, on_alloc, on_read) != 0 || !flush(link)) {
        kw_link_fail(link, KW_LINK_GONE);
    }
}

void kw_link_accept(struct kw_meta_link *link) {
    unsigned char nonce[KW_HANDSHAKE_NONCE];
    draw_nonce(nonce);
    link->accepted = true;
    link->transport->pending++;
    kw_handshake_accept(&link->shake, &link->transport->self, nonce);
    start(link);
}

void kw_link_dial(struct kw_meta_link *link, uint64_t id, enum kw_handshake_purpose purpose) {
    unsigned char nonce[KW_HANDSHAKE_NONCE];
    draw_nonce(nonce);
    kw_handshake_dial(&link->shake, &link->transport->self, id, purpose, nonce);
    start(link);
}
