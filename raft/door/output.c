/*
 * Bytes out: everything that became due for a connection in a loop turn leaves
 * with one write before the loop waits again. What the socket does not take
 * stays queued, bounded: a client that leaves more than KW_DOOR_OUTPUT_MAX
 * unread is closed, and from KW_DOOR_OUT_HIGH on no more requests of its are
 * taken. A backup is longer than that: it is passed on piece by piece.
 */
#include <string.h>

#include "base/log.h"
#include "raft/door/door_internal.h"

enum { IOV_COUNT = 64, CHUNK_SIZE = 16 * 1024, SHORT_SIZE = 4 * 1024, PIECE_SIZE = 64 * 1024 };

size_t kw_door_unread_bytes(const struct kw_door_session *session) {
    return session->out.bytes + session->held_bytes;
}

static void on_awake(uv_idle_t *awake) {
    uv_idle_stop(awake);
}

void kw_door_mark(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    if (session->dirty || session->closing) return;
    session->dirty = true;
    session->dirty_next = door->dirty;
    door->dirty = session;
    /* What is marked behind our place in the turn must not wait for the next event. */
    if (!uv_is_active((uv_handle_t *)&door->awake) && !uv_is_closing((uv_handle_t *)&door->awake)) {
        uv_idle_start(&door->awake, on_awake);
    }
}

static bool sent(struct kw_door_session *session, bool ok) {
    if (ok && kw_door_unread_bytes(session) <= KW_DOOR_OUTPUT_MAX) {
        kw_door_mark(session);
        return true;
    }
    static struct kw_log_limit limit;
    kw_log_limited(&limit, KW_LOG_WARNING, "client id=%llu closed: %s", (unsigned long long)session->id,
                   ok ? "it does not read what it is sent" : "out of memory for its replies");
    session->door->slow_closed += ok;
    kw_door_close_session(session);
    return false;
}

bool kw_door_send(struct kw_door_session *session, const void *bytes, size_t len) {
    if (session->closing) return false;
    if (len == 0) return true;
    size_t cap = session->out.bytes + len > SHORT_SIZE ? CHUNK_SIZE : SHORT_SIZE;
    return sent(session, kw_outq_copy_try(&session->out, session->door->pool, bytes, len, cap) != NULL);
}

bool kw_door_send_chunk(struct kw_door_session *session, struct kw_chunk *chunk) {
    if (session->closing) return false;
    return sent(session, kw_outq_add_try(&session->out, session->door->pool, chunk, 0, chunk->len) == 0);
}

bool kw_door_stream(struct kw_door_session *session) {
    struct kw_door_slot *slot = session->head;
    size_t count;
    const struct kw_piece *pieces = kw_meta_image_pieces(slot->image, &count);
    if (!slot->begun) {
        struct kw_str head = {0};
        kw_str_printf(&head, "$%zu\r\n", kw_meta_image_bytes(slot->image));
        slot->begun = true;
        bool ok = kw_door_send(session, head.data, head.len);
        kw_str_deinit(&head);
        if (!ok) return false;
    }
    while (slot->piece < count) {
        if (session->out.bytes >= KW_DOOR_OUT_HIGH) return false;
        const struct kw_piece *piece = &pieces[slot->piece];
        size_t left = piece->len - slot->piece_off;
        size_t take = left < PIECE_SIZE ? left : PIECE_SIZE;
        if (!kw_door_send(session, (const char *)piece->base + slot->piece_off, take)) return false;
        slot->piece_off += take;
        if (slot->piece_off < piece->len) continue;
        slot->piece++;
        slot->piece_off = 0;
    }
    kw_meta_image_free(slot->image);
    slot->image = NULL;
    return kw_door_send(session, "\r\n", 2);
}

static void write_out(struct kw_door_session *session);

static void took(struct kw_door_session *session, size_t len) {
    session->door->bytes_out += len;
    kw_outq_consume(&session->out, session->door->pool, len);
}

static void on_written(uv_write_t *req, int status) {
    struct kw_door_session *session = req->data;
    session->writing = false;
    if (session->closing) return;
    if (status < 0) {
        kw_door_close_session(session);
        return;
    }
    took(session, session->write_len);
    kw_door_mark(session);
}

static void write_later(struct kw_door_session *session) {
    struct iovec iov[IOV_COUNT];
    int count = kw_outq_iov(&session->out, iov, IOV_COUNT);
    session->write_len = 0;
    for (int i = 0; i < count; i++) session->write_len += iov[i].iov_len;
    session->write.data = session;
    /* uv_buf_t is laid out as struct iovec on every Unix (uv/unix.h). */
    int err = uv_write(&session->write, (uv_stream_t *)&session->tcp, (uv_buf_t *)iov, (unsigned)count, on_written);
    if (err) {
        kw_door_close_session(session);
    } else {
        session->writing = true;
    }
}

static void write_out(struct kw_door_session *session) {
    while (session->out.bytes > 0 && !session->writing && !session->closing) {
        struct iovec iov[IOV_COUNT];
        size_t offered = 0;
        int count = kw_outq_iov(&session->out, iov, IOV_COUNT);
        for (int i = 0; i < count; i++) offered += iov[i].iov_len;
        int wrote = uv_try_write((uv_stream_t *)&session->tcp, (uv_buf_t *)iov, (unsigned)count);
        if (wrote < 0 && wrote != UV_EAGAIN) {
            kw_door_close_session(session);
            return;
        }
        if (wrote > 0) took(session, (size_t)wrote);
        if (wrote < 0 || (size_t)wrote < offered) {
            write_later(session);
            return;
        }
    }
}

static void flush_session(struct kw_door_session *session) {
    write_out(session);
    if (session->closing) return;
    if (session->out.bytes < KW_DOOR_OUT_HIGH) {
        if (session->head && session->head->done) kw_door_slots_advance(session);
        if (session->closing) return;
        kw_door_resume(session);
    }
    if (session->ending && !session->closing && session->out.bytes == 0 && !session->head) {
        kw_door_close_session(session);
    }
}

void kw_door_flush(struct kw_door *door) {
    struct kw_door_session *session = door->dirty;
    door->dirty = NULL;
    while (session) {
        struct kw_door_session *next = session->dirty_next;
        session->dirty = false;
        if (!session->closing) flush_session(session);
        session = next;
    }
}
