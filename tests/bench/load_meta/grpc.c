/*
 * etcd's protocol: unary gRPC calls over one HTTP/2 connection (libnghttp2), one stream a call. The messages of
 * etcdserverpb (rpc.proto: RangeRequest, PutRequest) are small enough to be written by hand:
 * field 1 is the key, field 2 of PutRequest the value; of an answer nothing is looked at but whether a Range has found
 * its key. Status and message of gRPC come in the trailers.
 */
#include <nghttp2/nghttp2.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/link.h"

enum { WINDOW = 1 << 30, PREFIX = 5, FIELD_BYTES = 2, RANGE_KVS = 2, TEXT_MAX = 256 };

struct grpc {
    nghttp2_session *session;
    bool receiving; /* nothing is sent from within its callbacks */
    char authority[300];
};

/* One call: its stream's user data. */
struct call {
    uint64_t tag;
    bool get;
    int status;       /* of gRPC; -1: not said */
    struct kw_str in; /* of the answer, with its prefix */
    struct kw_str message;
    size_t sent;
    char text[TEXT_MAX];
};

static void varint(struct kw_str *out, uint64_t value) {
    do {
        unsigned char byte = (unsigned char)((value & 0x7f) | (value > 0x7f ? 0x80 : 0));
        kw_str_append(out, &byte, 1);
        value >>= 7;
    } while (value);
}

static void field(struct kw_str *out, unsigned number, const struct kw_str *bytes) {
    varint(out, number << 3 | FIELD_BYTES);
    varint(out, bytes->len);
    kw_str_append(out, bytes->data, bytes->len);
}

/* gRPC's prefix: not compressed, and the length. */
static void message_make(struct kw_str *out, const struct kw_str *key, const struct kw_str *value) {
    kw_str_append(out, "\0\0\0\0\0", PREFIX);
    field(out, 1, key);
    if (value) field(out, 2, value);
    uint32_t len = (uint32_t)(out->len - PREFIX);
    for (int i = 0; i < 4; i++) out->data[1 + i] = (char)(len >> (24 - 8 * i));
}

/* Whether the answer of a Range has a field `kvs`. Fields are skipped by their wire types. */
static bool has_kvs(const struct kw_str *in) {
    const unsigned char *at = (const unsigned char *)in->data + PREFIX;
    const unsigned char *end = (const unsigned char *)in->data + in->len;
    while (in->len > PREFIX && at < end) {
        unsigned tag = *at++;
        if (tag >> 3 == RANGE_KVS) return true;
        uint64_t value = 0;
        for (unsigned shift = 0; at < end; shift += 7) {
            value |= (uint64_t)(*at & 0x7f) << shift;
            if (!(*at++ & 0x80)) break;
        }
        if ((tag & 7) == FIELD_BYTES) {
            if (value > (uint64_t)(end - at)) return false;
            at += value;
        }
    }
    return false;
}

static struct call *call_of(nghttp2_session *session, int32_t stream) {
    return nghttp2_session_get_stream_user_data(session, stream);
}

static ssize_t on_send(nghttp2_session *session, const uint8_t *data, size_t len, int flags, void *user) {
    struct meta_link *link = user;
    (void)session;
    (void)flags;
    kw_str_append(&link->out, data, len);
    return (ssize_t)len;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data, size_t len,
                   void *user) {
    struct call *call = call_of(session, stream);
    (void)flags;
    (void)user;
    if (call) kw_str_append(&call->in, data, len);
    return 0;
}

static bool header_is(const char *name, const uint8_t *bytes, size_t len) {
    return strlen(name) == len && memcmp(name, bytes, len) == 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_len,
                     const uint8_t *value, size_t value_len, uint8_t flags, void *user) {
    struct call *call = call_of(session, frame->hd.stream_id);
    (void)flags;
    (void)user;
    if (!call) return 0;
    if (header_is("grpc-status", name, name_len)) call->status = atoi((const char *)value);
    if (header_is("grpc-message", name, name_len)) {
        (void)snprintf(call->text, sizeof(call->text), "%.*s", (int)value_len, (const char *)value);
    }
    return 0;
}

static int on_stream_close(nghttp2_session *session, int32_t stream, uint32_t error, void *user) {
    struct meta_link *link = user;
    struct call *call = call_of(session, stream);
    if (!call) return 0;
    struct meta_answer answer = {.tag = call->tag,
                                 .failed = error != 0 || call->status != 0,
                                 .missing = call->get && !has_kvs(&call->in),
                                 .text = call->text,
                                 .len = strlen(call->text)};
    nghttp2_session_set_stream_user_data(session, stream, NULL);
    link->due--;
    link->owner->answered(link, &answer);
    kw_str_deinit(&call->in);
    kw_str_deinit(&call->message);
    kw_free(call);
    return 0;
}

static void flush(struct meta_link *link) {
    const struct grpc *grpc = link->state;
    if (grpc->receiving) return;
    int code = nghttp2_session_send(grpc->session);
    if (code != 0) load_die("HTTP/2: %s", nghttp2_strerror(code));
}

static void open_grpc(struct meta_link *link) {
    struct grpc *grpc = kw_calloc(1, sizeof(*grpc));
    nghttp2_session_callbacks *callbacks;
    nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW},
                                         {NGHTTP2_SETTINGS_ENABLE_PUSH, 0}};
    link->state = grpc;
    (void)snprintf(grpc->authority, sizeof(grpc->authority), "%s:%u", link->address->host,
                   (unsigned)link->address->port);
    if (nghttp2_session_callbacks_new(&callbacks) != 0) load_die("HTTP/2: no memory");
    nghttp2_session_callbacks_set_send_callback(callbacks, on_send);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
    if (nghttp2_session_client_new(&grpc->session, callbacks, link) != 0) load_die("HTTP/2: no memory");
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_submit_settings(grpc->session, NGHTTP2_FLAG_NONE, settings, KW_ARRAY_LEN(settings));
    nghttp2_session_set_local_window_size(grpc->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
    flush(link);
}

/* Calls without an answer go with the process. */
static void close_grpc(struct meta_link *link) {
    struct grpc *grpc = link->state;
    nghttp2_session_del(grpc->session);
    kw_free(grpc);
}

static ssize_t on_body(nghttp2_session *session, int32_t stream, uint8_t *buf, size_t size, uint32_t *flags,
                       nghttp2_data_source *source, void *user) {
    struct call *call = source->ptr;
    size_t left = call->message.len - call->sent;
    (void)session;
    (void)stream;
    (void)user;
    if (left > size) left = size;
    memcpy(buf, call->message.data + call->sent, left);
    call->sent += left;
    if (call->sent == call->message.len) *flags |= NGHTTP2_DATA_FLAG_EOF;
    return (ssize_t)left;
}

static nghttp2_nv header(const char *name, const char *value) {
    return (nghttp2_nv){.name = (uint8_t *)(uintptr_t)name,
                        .value = (uint8_t *)(uintptr_t)value,
                        .namelen = strlen(name),
                        .valuelen = strlen(value)};
}

static void request_grpc(struct meta_link *link, enum meta_request request, const struct kw_str *key,
                         const struct kw_str *value, uint64_t tag) {
    struct grpc *grpc = link->state;
    if (request == META_PING) load_die("etcd has no PING");
    bool get = request == META_GET;
    struct call *call = kw_calloc(1, sizeof(*call));
    call->tag = tag;
    call->get = get;
    call->status = -1;
    message_make(&call->message, key, get ? NULL : value);
    nghttp2_nv headers[] = {header(":method", "POST"),
                            header(":scheme", "http"),
                            header(":path", get ? "/etcdserverpb.KV/Range" : "/etcdserverpb.KV/Put"),
                            header(":authority", grpc->authority),
                            header("content-type", "application/grpc"),
                            header("te", "trailers")};
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_body};
    int32_t stream = nghttp2_submit_request(grpc->session, NULL, headers, KW_ARRAY_LEN(headers), &body, call);
    if (stream < 0) load_die("HTTP/2: %s", nghttp2_strerror(stream));
    flush(link);
}

static void take_grpc(struct meta_link *link, const char *bytes, size_t len) {
    struct grpc *grpc = link->state;
    grpc->receiving = true;
    ssize_t used = nghttp2_session_mem_recv(grpc->session, (const uint8_t *)bytes, len);
    grpc->receiving = false;
    if (used < 0) load_die("HTTP/2: %s", nghttp2_strerror((int)used));
    flush(link); /* acknowledgements, window updates, answers to pings */
}

const struct meta_protocol meta_protocol_grpc = {"etcd", open_grpc, close_grpc, request_grpc, take_grpc};
