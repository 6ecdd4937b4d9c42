/* What passes as a message, and the two callbacks between libuv and libraft. Nothing allocates. */
#include "raft/store/transport_filter.h"

#include <raft.h>
#include <string.h>

#include "base/base.h"
#include "base/log.h"

/* Headers by type: the least that libraft reads of them. Those of a fixed size may grow by so much. */
enum { GROWTH = 256, WORD = 8, ENTRIES_AT = 4 * WORD, ENTRY = 2 * WORD, CONF_LEN_AT = 4 * WORD, CONF_FORMAT = 1 };

static const unsigned least[] = {
    [RAFT_APPEND_ENTRIES] = ENTRIES_AT + WORD, [RAFT_APPEND_ENTRIES_RESULT] = 32,          [RAFT_REQUEST_VOTE] = 40,
    [RAFT_REQUEST_VOTE_RESULT] = 24,           [RAFT_INSTALL_SNAPSHOT] = CONF_LEN_AT + 16, [RAFT_TIMEOUT_NOW] = 24,
};

static uint64_t get_int(const unsigned char *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = bytes; i > 0; i--) value = value << 8 | at[i - 1];
    return value;
}

bool kw_filter_preamble(struct kw_filter *filter, const unsigned char bytes[KW_FILTER_PREAMBLE]) {
    filter->type = bytes[0];
    filter->version = bytes[2];
    filter->header_len = get_int(bytes + WORD, WORD);
    filter->payload_len = 0;
    if (filter->type >= KW_ARRAY_LEN(least) || least[filter->type] == 0) return false;
    bool grows = filter->type == RAFT_APPEND_ENTRIES || filter->type == RAFT_INSTALL_SNAPSHOT;
    uint64_t most = grows ? KW_FILTER_HEADER_MAX : least[filter->type] + GROWTH;
    return filter->header_len >= least[filter->type] && filter->header_len <= most;
}

/* Number of entries, then of each its term, type and length. What libraft does with others: it dereferences NULL at an
 * unknown type, leaves entries without a byte half made, and steps over the payload in eights, whatever its length. */
static bool entries_pass(struct kw_filter *filter, const unsigned char *header) {
    uint64_t count = get_int(header + ENTRIES_AT, WORD);
    if (count > (filter->header_len - ENTRIES_AT - WORD) / ENTRY) return false;
    const unsigned char *at = header + ENTRIES_AT + WORD;
    for (uint64_t i = 0; i < count; i++, at += ENTRY) {
        unsigned type = at[WORD];
        uint64_t len = get_int(at + WORD + 4, 4);
        if (type < RAFT_COMMAND || type > RAFT_CHANGE || len == 0 || len % WORD != 0) return false;
        filter->payload_len += len;
    }
    return filter->payload_len <= KW_FILTER_ENTRIES_BYTES_MAX;
}

struct server {
    uint64_t id;
    const char *address;
};

static bool known(const struct server *servers, uint64_t count, const struct server *server) {
    for (uint64_t i = 0; i < count; i++) {
        if (servers[i].id == server->id || strcmp(servers[i].address, server->address) == 0) return true;
    }
    return false;
}

/* Format, number of servers, then of each its id, address (ended by a NUL) and role. One that libraft finds wrong it
 * frees twice. */
static bool configuration_passes(const unsigned char *at, uint64_t len) {
    struct server servers[KW_FILTER_SERVERS_MAX];
    const unsigned char *end = at + len;
    if (len < 1 + WORD || at[0] != CONF_FORMAT) return false;
    uint64_t count = get_int(at + 1, WORD);
    if (count > KW_FILTER_SERVERS_MAX) return false;
    at += 1 + WORD;
    for (uint64_t i = 0; i < count; i++) {
        if (end - at < WORD) return false;
        const unsigned char *nul = memchr(at + WORD, 0, (size_t)(end - at - WORD));
        if (!nul || end - nul < 2) return false;
        servers[i] = (struct server){.id = get_int(at, WORD), .address = (const char *)at + WORD};
        int role = nul[1];
        bool sound = servers[i].id != 0 && (role == RAFT_STANDBY || role == RAFT_VOTER || role == RAFT_SPARE);
        if (!sound || known(servers, i, &servers[i])) return false;
        at = nul + 2;
    }
    return true;
}

static bool snapshot_passes(struct kw_filter *filter, const unsigned char *header) {
    uint64_t left = filter->header_len - CONF_LEN_AT - WORD, conf_len = get_int(header + CONF_LEN_AT, WORD);
    const unsigned char *conf = header + CONF_LEN_AT + WORD;
    if (conf_len > left - WORD || !configuration_passes(conf, conf_len)) return false;
    filter->payload_len = get_int(conf + conf_len, WORD);
    return filter->payload_len <= KW_FILTER_SNAPSHOT_BYTES_MAX;
}

bool kw_filter_header(struct kw_filter *filter, const unsigned char *header) {
    if (filter->type == RAFT_APPEND_ENTRIES) return entries_pass(filter, header);
    if (filter->type == RAFT_INSTALL_SNAPSHOT) return snapshot_passes(filter, header);
    return true;
}

/* The part that is whole now is looked at; the next begins. */
static bool next_part(struct kw_filtered *stream) {
    struct kw_filter *filter = &stream->filter;
    bool passes = true;
    if (stream->part == KW_FILTER_IN_PREAMBLE) {
        passes = kw_filter_preamble(filter, stream->base);
        stream->part = KW_FILTER_IN_HEADER;
        stream->want = filter->header_len;
    } else {
        if (stream->part == KW_FILTER_IN_HEADER) {
            passes = kw_filter_header(filter, stream->base);
            stream->want = filter->payload_len;
        }
        bool payload = stream->part == KW_FILTER_IN_HEADER && filter->payload_len > 0;
        stream->part = payload ? KW_FILTER_IN_PAYLOAD : KW_FILTER_IN_PREAMBLE;
        if (!payload) stream->want = KW_FILTER_PREAMBLE;
    }
    stream->got = 0;
    return passes;
}

/*
 * libraft gathers each part in one piece of memory, as long as the part, and reads no further: it can be looked at
 * where it lies. Should another version of it do otherwise, its connections go on unfiltered.
 */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    static struct kw_log_limit limit;
    struct kw_filtered *stream = KW_CONTAINER_OF(handle, struct kw_filtered, tcp);
    stream->alloc(handle, suggested, buf);
    if (!buf->base || buf->len == 0) return; /* out of memory: its own matter */
    const unsigned char *base = (const unsigned char *)buf->base;
    if (stream->got == 0) stream->base = base;
    if (base == stream->base + stream->got && buf->len == stream->want - stream->got) return;
    kw_log_limited(&limit, KW_LOG_WARNING,
                   "metadata transport: this libraft reads in another way than is known: messages are not checked");
    stream->tcp.alloc_cb = stream->alloc;
    stream->tcp.read_cb = stream->read;
}

static void on_read(uv_stream_t *handle, ssize_t count, const uv_buf_t *buf) {
    static struct kw_log_limit limit;
    struct kw_filtered *stream = KW_CONTAINER_OF(handle, struct kw_filtered, tcp);
    if (count > 0) {
        stream->got += (uint64_t)count;
        if (stream->got == stream->want && !next_part(stream)) {
            kw_log_limited(&limit, KW_LOG_WARNING,
                           "metadata transport: node %llu sent what cannot be a message (type %u, header of %llu "
                           "bytes); its connection is closed",
                           (unsigned long long)stream->peer_id, stream->filter.type,
                           (unsigned long long)stream->filter.header_len);
            count = UV_EPROTO;
        }
    }
    stream->read(handle, count, buf);
}

void kw_filter_watch(struct kw_filtered *stream, uint64_t peer_id) {
    if (uv_is_closing((uv_handle_t *)&stream->tcp) || !uv_is_active((uv_handle_t *)&stream->tcp)) return;
    stream->peer_id = peer_id;
    stream->part = KW_FILTER_IN_PREAMBLE;
    stream->want = KW_FILTER_PREAMBLE;
    stream->got = 0;
    stream->alloc = stream->tcp.alloc_cb;
    stream->read = stream->tcp.read_cb;
    stream->tcp.alloc_cb = on_alloc;
    stream->tcp.read_cb = on_read;
}
