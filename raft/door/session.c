/*
 * A connection: accepted, read, its bytes cut into requests, closed. A request
 * that lies whole in the read buffer is run there; one that does not is carried
 * over. Reading stops while the client has too much under way or unread, or
 * while its next request must wait for those before it. Freed in the close callback.
 */
#include <limits.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/log.h"
#include "raft/door/door_internal.h"

enum { KEEPALIVE_S = 60, UNKNOWN_BULK_MAX = 16384, UNKNOWN_ARGS_MAX = 10, CARRY_FIRST = 16 * 1024 };

static const size_t carry_max = 1024ULL * 1024 * 1024;

static struct kw_request_limits limits_of(const struct kw_door_session *session) {
    return (struct kw_request_limits){
        .max_bulk_len = KW_DOOR_BULK_MAX,
        .max_multibulk = session->authenticated ? INT_MAX : UNKNOWN_ARGS_MAX,
        .max_bulk_unauth = session->authenticated ? KW_DOOR_BULK_MAX : UNKNOWN_BULK_MAX,
        .big_min = SIZE_MAX,
    };
}

/* ---- bytes in */

static bool too_much(const struct kw_door_session *session) {
    return session->slot_count >= KW_DOOR_INFLIGHT_MAX || kw_door_unread_bytes(session) >= KW_DOOR_OUT_HIGH;
}

static void protocol_error(struct kw_door_session *session, const char *text) {
    struct kw_str reply = {0};
    kw_log(KW_LOG_VERBOSE, "protocol error from client id=%llu: %s", (unsigned long long)session->id, text);
    kw_str_resp_error(&reply, "ERR Protocol error: %s", text);
    session->ending = true;
    kw_door_reply(session, &reply);
    kw_str_deinit(&reply);
}

/* Browsers can be made to send requests here; what they say gives them away. */
static bool is_http(const struct kw_arg *word) {
    return kw_door_is(word, "post") || kw_door_is(word, "host:");
}

/* Runs the request that the parser has found. False: it must wait. */
static bool run_frame(struct kw_door_session *session, const char *base) {
    struct kw_door *door = session->door;
    const struct kw_request_parse *parse = &session->parse;
    const char *from = parse->is_inline ? parse->unquoted : base;
    if (door->argv_cap < parse->argc) {
        door->argv_cap = parse->argc < 16 ? 16 : parse->argc;
        door->argv = kw_realloc(door->argv, door->argv_cap * sizeof(*door->argv));
    }
    for (uint32_t i = 0; i < parse->argc; i++) {
        door->argv[i] = (struct kw_arg){from + parse->args[i].off, parse->args[i].len};
    }
    if (parse->is_inline && is_http(&door->argv[0])) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING, "client id=%llu speaks HTTP: closed", (unsigned long long)session->id);
        session->ending = true;
        kw_door_mark(session);
        return true;
    }
    return kw_door_run(session, door->argv, parse->argc);
}

/* One request, or what it comes to; false when there is nothing more to take for now. */
static bool take_one(struct kw_door_session *session, const char *base, size_t len, size_t *used) {
    struct kw_request_limits limits = limits_of(session);
    struct kw_request_parse *parse = &session->parse;
    switch (kw_request_parse(parse, &limits, base, len)) {
    case KW_REQUEST_COMPLETE:
        session->held = !run_frame(session, base);
        *used = session->held ? 0 : parse->frame_len;
        break;
    case KW_REQUEST_EMPTY: *used = parse->frame_len; break;
    case KW_REQUEST_ERROR:
        protocol_error(session, parse->error);
        *used = len;
        return false;
    case KW_REQUEST_NOMEM:
        kw_log(KW_LOG_WARNING, "client id=%llu closed: out of memory for its request", (unsigned long long)session->id);
        kw_door_close_session(session);
        return false;
    case KW_REQUEST_BIG: /* big_min is beyond any size */
    case KW_REQUEST_MORE: return false;
    }
    kw_request_parse_reset(parse);
    return !session->held;
}

/* Returns how many bytes are done with. */
static size_t take(struct kw_door_session *session, const char *base, size_t len) {
    size_t at = 0;
    while (at < len && !session->closing && !session->ending) {
        if (too_much(session)) break;
        size_t used = 0;
        bool more = take_one(session, base + at, len - at, &used);
        at += used;
        if (!more) break;
    }
    return session->ending ? len : at;
}

static bool carry_reserve(struct kw_door_session *session, size_t room) {
    size_t want = session->carry_len + room;
    if (want <= session->carry_cap) return true;
    if (want > carry_max) return false;
    size_t cap = session->carry_cap ? session->carry_cap * 2 : CARRY_FIRST;
    while (cap < want) cap *= 2;
    char *grown = kw_realloc_try(session->carry, cap);
    if (!grown) return false;
    session->carry = grown;
    session->carry_cap = cap;
    return true;
}

static void carry_drop(struct kw_door_session *session) {
    kw_free(session->carry);
    session->carry = NULL;
    session->carry_len = session->carry_cap = 0;
}

static void no_room(struct kw_door_session *session) {
    kw_log(KW_LOG_WARNING, "client id=%llu closed: its request is too large", (unsigned long long)session->id);
    kw_door_close_session(session);
}

static void take_carried(struct kw_door_session *session) {
    size_t used = take(session, session->carry, session->carry_len);
    session->carry_len -= used;
    if (session->carry_len == 0) {
        carry_drop(session);
    } else if (used) {
        memmove(session->carry, session->carry + used, session->carry_len);
    }
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    (void)suggested;
    struct kw_door_session *session = (struct kw_door_session *)handle;
    if (session->carry_len == 0) {
        *buf = uv_buf_init(session->door->read_buffer, KW_DOOR_READ_SIZE);
    } else if (carry_reserve(session, CARRY_FIRST)) {
        *buf = uv_buf_init(session->carry + session->carry_len, (unsigned)(session->carry_cap - session->carry_len));
    } else {
        *buf = uv_buf_init(NULL, 0); /* on_read gets UV_ENOBUFS */
    }
}

static void read_start(struct kw_door_session *session);

static void read_pause(struct kw_door_session *session) {
    session->paused = true;
    uv_read_stop((uv_stream_t *)&session->tcp);
}

static void on_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buf) {
    struct kw_door_session *session = (struct kw_door_session *)stream;
    if (session->closing || got == 0) return;
    if (got < 0) {
        if (got == UV_ENOBUFS) {
            no_room(session);
        } else {
            kw_door_close_session(session);
        }
        return;
    }
    session->door->bytes_in += (uint64_t)got;
    session->last_ms = uv_now(session->door->loop);
    if (session->ending) return;
    if (buf->base != session->door->read_buffer) {
        session->carry_len += (size_t)got;
        take_carried(session);
    } else {
        size_t used = take(session, buf->base, (size_t)got);
        size_t left = (size_t)got - used;
        if (left && !session->closing) {
            if (!carry_reserve(session, left)) {
                no_room(session);
                return;
            }
            memcpy(session->carry, buf->base + used, left);
            session->carry_len = left;
        }
    }
    if (!session->closing && (session->held || too_much(session))) read_pause(session);
}

static void read_start(struct kw_door_session *session) {
    session->paused = false;
    uv_read_start((uv_stream_t *)&session->tcp, on_alloc, on_read);
}

void kw_door_read_stop(struct kw_door_session *session) {
    uv_read_stop((uv_stream_t *)&session->tcp);
}

void kw_door_resume(struct kw_door_session *session) {
    if (!session->paused || session->ending || session->door->hushed || too_much(session)) return;
    if (session->held && session->head) return;
    session->held = false;
    if (session->carry_len) take_carried(session);
    if (!session->closing && !session->ending && !session->held && !too_much(session)) read_start(session);
}

/* ---- life */

static void on_closed(uv_handle_t *handle) {
    struct kw_door_session *session = (struct kw_door_session *)handle;
    kw_outq_clear(&session->out, session->door->pool);
    kw_request_parse_deinit(&session->parse);
    carry_drop(session);
    kw_free(session->name);
    kw_free(session->lib_name);
    kw_free(session->lib_version);
    kw_door_session_gone(session);
}

void kw_door_close_session(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    if (session->closing) return;
    session->closing = true;
    if (session->prev) {
        session->prev->next = session->next;
    } else {
        door->sessions = session->next;
    }
    if (session->next) session->next->prev = session->prev;
    door->session_count--;
    kw_door_watch_stop(session);
    kw_door_slots_forget(session);
    uv_close((uv_handle_t *)&session->tcp, on_closed);
}

static void on_refused(uv_handle_t *handle) {
    struct kw_door *door = handle->data;
    door->open_handles--;
    kw_free(handle);
}

static void refuse(struct kw_door *door, uv_stream_t *listener) {
    static const char text[] = "-ERR max number of clients reached\r\n";
    uv_tcp_t *tcp = kw_calloc(1, sizeof(*tcp));
    uv_buf_t buf = uv_buf_init((char *)text, sizeof(text) - 1);
    uv_tcp_init(door->loop, tcp);
    tcp->data = door;
    door->open_handles++;
    door->rejected++;
    if (uv_accept(listener, (uv_stream_t *)tcp) == 0) uv_try_write((uv_stream_t *)tcp, &buf, 1);
    uv_close((uv_handle_t *)tcp, on_refused);
}

void kw_door_accept(struct kw_door *door, uv_stream_t *listener) {
    if ((long long)door->session_count >= door->options.settings->maxclients) {
        refuse(door, listener);
        return;
    }
    struct kw_door_session *session = kw_calloc(1, sizeof(*session));
    session->door = door;
    session->id = door->next_id++;
    session->resp = 2;
    session->authenticated = !kw_door_needs_secret(door);
    session->since_ms = session->last_ms = uv_now(door->loop);
    kw_request_parse_init(&session->parse);
    uv_tcp_init(door->loop, &session->tcp);
    door->open_handles++;
    door->connections++;
    session->next = door->sessions;
    if (session->next) session->next->prev = session;
    door->sessions = session;
    door->session_count++;
    if (uv_accept(listener, (uv_stream_t *)&session->tcp)) {
        kw_door_close_session(session);
        return;
    }
    uv_tcp_nodelay(&session->tcp, 1);
    uv_tcp_keepalive(&session->tcp, 1, KEEPALIVE_S);
    read_start(session);
}
