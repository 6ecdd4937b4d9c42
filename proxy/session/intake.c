/*
 * Bytes from a client become requests. A frame that lies whole in the read
 * buffer is parsed there and nothing is kept. One that does not is carried over
 * in a chunk of its own, filled with exactly what the frame still needs; large
 * payloads stay where they were read, by reference. What must wait (the client
 * has enough in flight) goes to the backlog, and reading stops.
 */
#include "proxy/session/intake.h"

#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/request/stream.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { BIG_MIN = 64 * 1024, CARRY_FIRST = 512, RESUME_SLICE = 1024 * 1024 };

/* Bytes being looked at: a piece of a chunk. */
struct input {
    struct kw_chunk *chunk;
    size_t off;
    size_t len;
};

static void advance(struct input *in, size_t len) {
    in->off += len;
    in->len -= len;
}

static struct kw_request_limits limits_of(const struct kw_session *session) {
    const struct kw_limits *limits = kw_server_limits(session->worker->server);
    long long bulk = (long long)limits->max_bulk_len;
    return (struct kw_request_limits){
        .max_bulk_len = bulk,
        .max_multibulk = session->authenticated ? INT_MAX : 10,
        .max_bulk_unauth = session->authenticated ? bulk : 16384,
        .big_min = BIG_MIN,
    };
}

static struct kw_intake *intake_get(struct kw_session *session) {
    if (!session->intake) {
        session->intake = kw_calloc(1, sizeof(*session->intake));
        kw_request_parse_init(&session->intake->parse);
    }
    return session->intake;
}

/* The frame is done with; the backlog stays. */
static void frame_clear(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    struct kw_pool *pool = session->worker->pool;
    if (intake->carry) kw_chunk_unref(intake->carry);
    for (unsigned i = 0; i < intake->big_count; i++) kw_outq_clear(&intake->bigs[i].data, pool);
    kw_free(intake->bigs);
    kw_request_parse_reset(&intake->parse);
    intake->carry = NULL;
    intake->bigs = NULL;
    intake->big_count = 0;
    intake->big_left = intake->big_bytes = 0;
    intake->streaming = intake->stream_open = intake->ready = false;
    intake->stream = NULL;
    intake->stream_sent = 0;
}

void kw_intake_free(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    if (!intake) return;
    frame_clear(session);
    kw_outq_clear(&intake->backlog, session->worker->pool);
    kw_request_parse_deinit(&intake->parse);
    kw_free(intake);
    session->intake = NULL;
}

bool kw_intake_waiting(const struct kw_session *session) {
    return session->intake && (session->intake->backlog.bytes > 0 || session->intake->ready);
}

size_t kw_intake_bytes_held(const struct kw_session *session) {
    const struct kw_intake *intake = session->intake;
    if (!intake) return 0;
    return (intake->carry ? intake->carry->len : 0) + intake->big_bytes + intake->backlog.bytes;
}

/* An idle connection keeps nothing. */
static void release_if_idle(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    if (intake && !intake->carry && !intake->streaming && intake->backlog.bytes == 0) kw_intake_free(session);
}

static void protocol_error(struct kw_session *session, const char *text) {
    struct kw_worker *worker = session->worker;
    struct kw_request *req = kw_request_new(worker);
    req->flags |= KW_REQF_LOCAL | KW_REQF_CLOSE;
    kw_request_enqueue(session, req);
    kw_request_reply_error(worker, req, "ERR Protocol error: %s", text);
    kw_stats_error(&worker->stats, "-ERR", 4);
    kw_log(KW_LOG_VERBOSE, "protocol error from client id=%llu: %s", (unsigned long long)session->id, text);
    session->hold = true; /* nothing behind it is looked at */
    kw_request_complete(worker, req);
}

static bool carry_reserve(struct kw_session *session, size_t more) {
    struct kw_intake *intake = session->intake;
    size_t have = intake->carry ? intake->carry->len : 0;
    if (intake->carry && intake->carry->cap - have >= more) return true;
    size_t cap = have + more;
    if (cap < have * 2) cap = have * 2;
    if (cap < CARRY_FIRST) cap = CARRY_FIRST;
    struct kw_chunk *grown = kw_chunk_new_try(session->worker->pool, cap);
    if (!grown) return false;
    if (have) memcpy(grown->data, intake->carry->data, have);
    grown->len = have;
    if (intake->carry) kw_chunk_unref(intake->carry);
    intake->carry = grown;
    return true;
}

static bool carry_append(struct kw_session *session, struct input *in, size_t len) {
    if (!carry_reserve(session, len)) return false;
    struct kw_chunk *carry = session->intake->carry;
    memcpy(carry->data + carry->len, in->chunk->data + in->off, len);
    carry->len += len;
    advance(in, len);
    return true;
}

static void out_of_memory(struct kw_session *session) {
    kw_log(KW_LOG_WARNING, "client id=%llu closed: out of memory for its request", (unsigned long long)session->id);
    kw_session_close(session);
}

/* The frame goes over the edge of the read buffer: what is there moves to the carry, with the parser's state. */
static bool carry_over(struct kw_session *session, struct input *in, size_t len) {
    struct kw_worker *worker = session->worker;
    struct kw_intake *intake = intake_get(session);
    struct kw_request_parse spare = intake->parse;
    intake->parse = worker->parse;
    worker->parse = spare;
    kw_request_parse_reset(&worker->parse);
    size_t need = intake->parse.need < BIG_MIN * 2 ? intake->parse.need : 0;
    if (!carry_reserve(session, len + need) || !carry_append(session, in, len)) {
        out_of_memory(session);
        return false;
    }
    return true;
}

static bool big_begin(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    struct kw_big *grown = kw_realloc_try(intake->bigs, (intake->big_count + 1) * sizeof(*grown));
    if (!grown) {
        out_of_memory(session);
        return false;
    }
    intake->bigs = grown;
    intake->bigs[intake->big_count++] = (struct kw_big){.at = intake->parse.pos};
    intake->big_left = (size_t)intake->parse.bulk_len;
    if (!intake->streaming && intake->parse.bulk_len >= KW_STREAM_MIN) {
        intake->streaming = kw_command_stream(session, intake);
    }
    return true;
}

/* Passes on what of the carry has not been passed on yet (streaming). */
static void stream_carry(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    if (intake->carry && intake->stream_sent < intake->carry->len) {
        kw_stream_bytes(session, intake->carry, intake->stream_sent, intake->carry->len - intake->stream_sent);
        intake->stream_sent = intake->carry->len;
    }
}

static void big_bytes(struct kw_session *session, struct input *in) {
    struct kw_intake *intake = session->intake;
    size_t take = in->len < intake->big_left ? in->len : intake->big_left;
    if (intake->streaming) {
        stream_carry(session);
        kw_stream_bytes(session, in->chunk, in->off, take);
    } else {
        if (kw_outq_add_try(&intake->bigs[intake->big_count - 1].data, session->worker->pool, in->chunk, in->off,
                            take)) {
            out_of_memory(session);
            return;
        }
        intake->big_bytes += take;
    }
    intake->big_left -= take;
    advance(in, take);
}

/* Bytes for the carry: what the frame needs at least, up to a line's end where it waits for one. */
static size_t carry_wants(const struct kw_intake *intake, const struct input *in) {
    size_t need = intake->parse.need;
    if (need > 1) return need < in->len ? need : in->len;
    const char *start = in->chunk->data + in->off;
    const char *lf = memchr(start, '\n', in->len);
    return lf ? (size_t)(lf - start) + 1 : in->len;
}

/* Runs the frame that lies whole in the carry, or leaves it there until it may be run. */
static void run_carried(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    struct kw_frame_source frame = {
        .parse = &intake->parse,
        .base = intake->carry->data,
        .chunk = intake->carry,
        .len = intake->carry->len,
        .bigs = intake->bigs,
        .big_count = intake->big_count,
    };
    intake->ready = !kw_command_request(session, &frame);
    if (!intake->ready) frame_clear(session);
}

static void carried_frame_done(struct kw_session *session, struct input *in) {
    struct kw_intake *intake = session->intake;
    /* More than the frame may have been carried when a line ended oddly: give it back. */
    size_t surplus = intake->carry->len - intake->parse.frame_len;
    in->off -= surplus;
    in->len += surplus;
    intake->carry->len -= surplus;
    if (intake->streaming) {
        stream_carry(session);
        kw_stream_sent(session);
        frame_clear(session);
        return;
    }
    run_carried(session);
}

/* One step on a frame in progress. */
static void step_carried(struct kw_session *session, struct input *in) {
    struct kw_intake *intake = session->intake;
    if (intake->big_left > 0) {
        big_bytes(session, in);
        return;
    }
    if (!carry_append(session, in, carry_wants(intake, in))) {
        out_of_memory(session);
        return;
    }
    struct kw_request_limits limits = limits_of(session);
    switch (kw_request_parse(&intake->parse, &limits, intake->carry->data, intake->carry->len)) {
    case KW_REQUEST_COMPLETE: carried_frame_done(session, in); break;
    case KW_REQUEST_EMPTY: frame_clear(session); break;
    case KW_REQUEST_BIG: big_begin(session); break;
    case KW_REQUEST_ERROR: protocol_error(session, intake->parse.error); break;
    case KW_REQUEST_NOMEM: out_of_memory(session); break;
    case KW_REQUEST_MORE: break;
    }
}

/* One frame that starts in the read buffer. */
static void step_fresh(struct kw_session *session, struct input *in) {
    struct kw_worker *worker = session->worker;
    struct kw_request_parse *parse = &worker->parse;
    struct kw_request_limits limits = limits_of(session);
    const char *base = in->chunk->data + in->off;
    switch (kw_request_parse(parse, &limits, base, in->len)) {
    case KW_REQUEST_COMPLETE: {
        size_t len = parse->frame_len;
        struct kw_frame_source frame = {.parse = parse, .base = base, .chunk = in->chunk, .off = in->off, .len = len};
        if (kw_command_request(session, &frame)) advance(in, len);
        break;
    }
    case KW_REQUEST_EMPTY: advance(in, parse->frame_len); break;
    case KW_REQUEST_BIG:
        if (carry_over(session, in, parse->pos)) big_begin(session);
        return;
    case KW_REQUEST_MORE: carry_over(session, in, in->len); return;
    case KW_REQUEST_ERROR: protocol_error(session, parse->error); break;
    case KW_REQUEST_NOMEM: out_of_memory(session); break;
    }
    kw_request_parse_reset(parse);
}

static bool in_progress(const struct kw_session *session) {
    return session->intake && session->intake->carry;
}

/* Takes requests from the input as long as the session may have more; the rest stays in it. */
static void process(struct kw_session *session, struct input *in) {
    while (!kw_session_full(session)) {
        if (KW_UNLIKELY(session->intake && session->intake->ready)) {
            run_carried(session);
        } else if (in->len == 0) {
            break;
        } else if (in_progress(session)) {
            step_carried(session, in);
        } else {
            step_fresh(session, in);
        }
    }
}

static void check_query_limit(struct kw_session *session) {
    size_t held = kw_intake_bytes_held(session);
    if (held <= kw_server_limits(session->worker->server)->query_buffer_max) return;
    kw_log(KW_LOG_WARNING, "client id=%llu closed: client-query-buffer-limit reached (%zu bytes)",
           (unsigned long long)session->id, held);
    kw_session_close(session);
}

static void keep_rest(struct kw_session *session, struct input *in) {
    if (session->closing || in->len == 0) return;
    struct kw_intake *intake = intake_get(session);
    if (kw_outq_add_try(&intake->backlog, session->worker->pool, in->chunk, in->off, in->len)) {
        out_of_memory(session);
    }
}

void kw_intake_bytes(struct kw_session *session, struct kw_chunk *chunk, size_t off, size_t len) {
    struct input in = {chunk, off, len};
    if (!kw_intake_waiting(session)) process(session, &in);
    keep_rest(session, &in);
    if (!session->intake || session->closing) return;
    check_query_limit(session);
    if (!session->closing) release_if_idle(session);
}

void kw_intake_resume(struct kw_session *session) {
    size_t done = 0;
    while (!session->closing && kw_intake_waiting(session) && !kw_session_full(session) && done < RESUME_SLICE) {
        struct kw_seg *seg = session->intake->backlog.head;
        if (!seg) {
            struct input nothing = {0};
            process(session, &nothing);
            continue;
        }
        /* The chunk is held over the step: requests may go on referring to it. */
        struct input in = {kw_chunk_ref(seg->chunk), seg->off, seg->len};
        size_t before = in.len;
        process(session, &in);
        if (!session->closing && session->intake) {
            kw_outq_consume(&session->intake->backlog, session->worker->pool, before - in.len);
        }
        done += before - in.len;
        kw_chunk_unref(in.chunk);
    }
    if (session->closing) return;
    release_if_idle(session);
}
