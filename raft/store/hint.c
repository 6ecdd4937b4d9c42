/*
 * Two lists: the connections that we dial, one a peer, on which we ask, and
 * those that peers dial, on which we answer, and by which they notice our end. A dialled one is always in one of three
 * states: under way (`dial`), up (`tcp`) or waiting (`retry` is active); taken off the list, it goes when the last of
 * these has ended.
 */
#include "raft/store/hint.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/store/transport_internal.h"

enum { RETRY_MS = 150, QUESTION_BYTES = 8, ANSWER_BYTES = 16, FRAMES_MAX = 8 };

struct kw_hint {
    struct kw_hint *next;
    struct kw_meta_transport *transport; /* ref */
    uint64_t id;
    char *address; /* own */
    struct kw_meta_dial *dial;
    uv_tcp_t *tcp;
    uv_timer_t retry;
    bool listed, ending;
    unsigned char in[ANSWER_BYTES * FRAMES_MAX];
    size_t in_len;
};

struct kw_heard {
    struct kw_heard *next;
    struct kw_meta_transport *transport; /* ref */
    uint64_t id;
    uv_tcp_t *tcp; /* own */
    unsigned char in[QUESTION_BYTES * FRAMES_MAX];
    size_t in_len;
};

static void hint_dial(struct kw_hint *hint);

static void number_write(unsigned char *to, uint64_t number) {
    for (unsigned i = 0; i < 8; i++) to[i] = (unsigned char)(number >> (8 * i));
}

static uint64_t number_read(const unsigned char *from) {
    uint64_t number = 0;
    for (unsigned i = 0; i < 8; i++) number |= (uint64_t)from[i] << (8 * i);
    return number;
}

/* What is left of a frame moves to the front. */
static void consume(unsigned char *in, size_t *in_len, size_t done) {
    *in_len -= done;
    memmove(in, in + done, *in_len);
}

static void on_hint_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct kw_hint *hint = handle->data;
    (void)suggested;
    *buf = uv_buf_init((char *)hint->in + hint->in_len, (unsigned)(sizeof(hint->in) - hint->in_len));
}

static void on_heard_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct kw_heard *heard = handle->data;
    (void)suggested;
    *buf = uv_buf_init((char *)heard->in + heard->in_len, (unsigned)(sizeof(heard->in) - heard->in_len));
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

static void hint_lost(struct kw_hint *hint) {
    struct kw_meta_transport *transport = hint->transport;
    close_tcp(transport, hint->tcp);
    hint->tcp = NULL;
    hint_wait(hint);
    if (transport->on_peer) transport->on_peer(transport->ctx, hint->id, false);
}

/* The last answer counts for all questions before it. */
static void on_hint_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    struct kw_hint *hint = stream->data;
    struct kw_meta_transport *transport = hint->transport;
    (void)buf;
    if (count == 0) return;
    if (count < 0) {
        hint_lost(hint);
        return;
    }
    hint->in_len += (size_t)count;
    size_t whole = hint->in_len - hint->in_len % ANSWER_BYTES;
    if (whole == 0) return;
    const unsigned char *last = hint->in + whole - ANSWER_BYTES;
    uint64_t number = number_read(last), term = number_read(last + 8);
    consume(hint->in, &hint->in_len, whole);
    if (transport->on_term) transport->on_term(transport->ctx, hint->id, number, term);
}

/* What the kernel does not take at all is for a peer that has not read for long: the next question may reach it. */
static bool hint_ask(struct kw_hint *hint, uint64_t number) {
    unsigned char question[QUESTION_BYTES];
    number_write(question, number);
    uv_buf_t buf = uv_buf_init((char *)question, sizeof(question));
    int sent = hint->tcp ? uv_try_write((uv_stream_t *)hint->tcp, &buf, 1) : UV_ENOTCONN;
    if (sent > 0 && sent < QUESTION_BYTES) hint_lost(hint); /* the rest would be taken for the next one */
    return sent == QUESTION_BYTES;
}

unsigned kw_hints_ask(struct kw_meta_transport *transport, uint64_t number) {
    unsigned asked = 0;
    for (struct kw_hint *hint = transport->hints.dialled; hint; hint = hint->next) asked += hint_ask(hint, number);
    return asked;
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
        hint->in_len = 0;
        if (uv_read_start((uv_stream_t *)tcp, on_hint_alloc, on_hint_read) == 0) {
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

static bool heard_answer(struct kw_heard *heard) {
    const struct kw_meta_transport *transport = heard->transport;
    unsigned char answers[ANSWER_BYTES * FRAMES_MAX];
    size_t whole = heard->in_len - heard->in_len % QUESTION_BYTES, len = 0;
    uint64_t term = transport->term ? transport->term(transport->ctx) : 0;
    for (size_t at = 0; transport->term && at < whole; at += QUESTION_BYTES, len += ANSWER_BYTES) {
        memcpy(answers + len, heard->in + at, QUESTION_BYTES);
        number_write(answers + len + QUESTION_BYTES, term);
    }
    consume(heard->in, &heard->in_len, whole);
    if (len == 0) return true;
    uv_buf_t buf = uv_buf_init((char *)answers, (unsigned)len);
    return uv_try_write((uv_stream_t *)heard->tcp, &buf, 1) == (int)len;
}

static void on_heard_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    (void)buf;
    if (count == 0) return;
    struct kw_heard *heard = stream->data, **at = &heard->transport->hints.heard;
    if (count > 0) heard->in_len += (size_t)count;
    if (count > 0 && heard_answer(heard)) return;
    while (*at != heard) at = &(*at)->next;
    heard_end(at);
}

void kw_hints_take(struct kw_meta_transport *transport, uint64_t id, uv_tcp_t *tcp) {
    struct kw_heard **at = &transport->hints.heard;
    while (*at && (*at)->id != id) at = &(*at)->next;
    if (*at) heard_end(at);
    struct kw_heard *heard = kw_calloc(1, sizeof(*heard));
    tcp->data = heard;
    if (uv_read_start((uv_stream_t *)tcp, on_heard_alloc, on_heard_read) != 0) {
        kw_free(heard);
        close_tcp(transport, tcp);
        return;
    }
    heard->transport = transport;
    heard->id = id;
    heard->tcp = tcp;
    heard->next = transport->hints.heard;
    transport->hints.heard = heard;
}

void kw_hints_close(struct kw_meta_transport *transport) {
    struct kw_hints *hints = &transport->hints;
    for (struct kw_hint *hint = hints->dialled; hint; hint = hint->next) hint->listed = false;
    prune(hints);
    while (hints->heard) heard_end(&hints->heard);
}
