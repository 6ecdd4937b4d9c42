/*
 * Workers with streams. Each client owns a stream and a consumer in its group; of ten requests eight add an entry, one
 * reads up to ten new ones and one acknowledges what was read. Ids are taken from the replies; what a pipeline has not
 * read yet is acknowledged by a later batch.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load/sources.h"

const char load_stream_group[] = "workers";

enum { ROUND = 10, TURN_READ = 8, TURN_ACK = 9, READ_COUNT = 10, ID_BYTES = 48 };

struct reader {
    struct load_frame add, read;
    char stream[32];
    unsigned turn;
    char (*ids)[ID_BYTES]; /* own: read and not acknowledged */
    size_t count, cap;
};

struct stream {
    struct load_source source;
    uint32_t clients;
    struct reader *readers; /* own: one a client */
    struct kw_str ack;      /* the command that is being written */
};

void load_stream_name(char name[32], uint64_t number) {
    (void)snprintf(name, 32, "stream:%012llu", (unsigned long long)number);
}

/* ---- Sending. */

/* The last ones that were read, ten at most. */
static void ack_send(struct stream *stream, struct reader *reader, struct load_run *run, struct load_client *client,
                     uint32_t request) {
    size_t count = reader->count < READ_COUNT ? reader->count : READ_COUNT;
    struct kw_str *ack = &stream->ack;
    kw_str_clear(ack);
    kw_str_resp_array(ack, 3 + count);
    kw_str_resp_text(ack, "XACK");
    kw_str_resp_text(ack, reader->stream);
    kw_str_resp_text(ack, load_stream_group);
    while (count-- > 0) kw_str_resp_text(ack, reader->ids[--reader->count]);
    struct load_conn *conn = load_client_conn(run, client, &reader->read);
    if (!kw_outq_copy_try(&conn->out, run->pool, ack->data, ack->len, run->chunk_bytes)) load_die("out of memory");
    load_client_expect(client, conn, request);
}

static void request(struct load_source *source, struct load_run *run, struct load_client *client, uint32_t index) {
    struct stream *stream = KW_CONTAINER_OF(source, struct stream, source);
    struct reader *reader = &stream->readers[client->index];
    unsigned turn = reader->turn++ % ROUND;
    if (turn == TURN_ACK && reader->count > 0) {
        ack_send(stream, reader, run, client, index);
        return;
    }
    struct load_frame *frame = turn == TURN_READ ? &reader->read : &reader->add;
    load_frame_fill(frame, run->draw);
    load_client_send(run, client, frame, index);
}

/* ---- What was read. */

/* The next header or bulk string: its number, past it; false at the end or where there is another type. */
static bool header(const char **at, const char *end, char type, size_t *number) {
    const char *lf = memchr(*at, '\n', (size_t)(end - *at));
    if (!lf || **at != type) return false;
    *number = kw_digits(*at + 1, lf);
    *at = lf + 1;
    return *number != SIZE_MAX;
}

static bool bulk(const char **at, const char *end, const char **bytes, size_t *len) {
    if (!header(at, end, '$', len) || (size_t)(end - *at) < *len + 2) return false;
    *bytes = *at;
    *at += *len + 2;
    return true;
}

static bool entry(struct reader *reader, const char **at, const char *end) {
    const char *bytes = NULL;
    size_t count = 0;
    size_t len = 0;
    if (!header(at, end, '*', &count) || count != 2 || !bulk(at, end, &bytes, &len) || len >= ID_BYTES) return false;
    if (reader->count == reader->cap) {
        reader->cap = reader->cap ? reader->cap * 2 : 16;
        reader->ids = kw_realloc(reader->ids, reader->cap * sizeof(*reader->ids));
    }
    memcpy(reader->ids[reader->count], bytes, len);
    reader->ids[reader->count++][len] = '\0';
    if (!header(at, end, '*', &count)) return false;
    while (count-- > 0) {
        if (!bulk(at, end, &bytes, &len)) return false;
    }
    return true;
}

/* XREADGROUP's reply: a list of one stream, its name and its entries. */
static bool entries(struct reader *reader, const char *at, const char *end) {
    const char *name = NULL;
    size_t len = 0;
    size_t count = 0;
    if (!header(&at, end, '*', &count) || count != 1 || !header(&at, end, '*', &count) || count != 2) return false;
    if (!bulk(&at, end, &name, &len) || !header(&at, end, '*', &count)) return false;
    while (count-- > 0) {
        if (!entry(reader, &at, end)) return false;
    }
    return true;
}

/* Lists come from XREADGROUP only. */
static void reply_look(struct load_source *source, struct load_client *client, const struct load_reply *reply) {
    struct stream *stream = KW_CONTAINER_OF(source, struct stream, source);
    if (reply->bytes[0] != '*' || reply->nil) return;
    if (!entries(&stream->readers[client->index], reply->bytes, reply->bytes + reply->len)) {
        load_die("XREADGROUP answered what is no list of entries: %.*s", (int)(reply->len < 100 ? reply->len : 100),
                 reply->bytes);
    }
}

/* ---- Life. */

static void reader_init(struct reader *reader, uint32_t index, const struct load_value *value,
                        const struct load_draw *draw) {
    char text[160];
    load_stream_name(reader->stream, index % draw->keys);
    (void)snprintf(text, sizeof(text), "XADD %s MAXLEN ~ 10000 * f __value__", reader->stream);
    load_frame_command(&reader->add, value, draw, text, NULL, 0);
    (void)snprintf(text, sizeof(text), "XREADGROUP GROUP %s client:%u COUNT %d STREAMS %s >", load_stream_group, index,
                   READ_COUNT, reader->stream);
    load_frame_command(&reader->read, value, draw, text, NULL, 0);
}

static void stream_free(struct load_source *source) {
    struct stream *stream = KW_CONTAINER_OF(source, struct stream, source);
    for (uint32_t i = 0; i < stream->clients; i++) {
        load_frame_deinit(&stream->readers[i].add);
        load_frame_deinit(&stream->readers[i].read);
        kw_free(stream->readers[i].ids);
    }
    kw_free(stream->readers);
    kw_str_deinit(&stream->ack);
    kw_free(stream);
}

struct load_source *load_source_stream(uint32_t clients, const struct load_value *value, const struct load_draw *draw) {
    struct stream *stream = kw_calloc(1, sizeof(*stream));
    stream->source = (struct load_source){.request = request, .reply = reply_look, .free = stream_free};
    stream->clients = clients;
    stream->readers = kw_calloc(clients, sizeof(*stream->readers));
    for (uint32_t i = 0; i < clients; i++) reader_init(&stream->readers[i], i, value, draw);
    stream->source.bytes = load_frame_bytes(&stream->readers[0].add);
    return &stream->source;
}
