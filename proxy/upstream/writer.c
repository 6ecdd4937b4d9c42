/* uv_try_write first, uv_write for the rest; see writer.h. */
#include "proxy/upstream/writer.h"

#include "base/alloc.h"
#include "base/base.h"

enum { IOV_MAX_COUNT = 128, ROUNDS = 4 };

static void on_written(uv_write_t *req, int status) {
    struct kw_write *writing = KW_CONTAINER_OF(req, struct kw_write, req);
    writing->done(req->handle, status);
}

/* Moves the first `count` pieces, which the I/O vector names, out of `out`. */
static void take_pieces(struct kw_outq *from, struct kw_outq *to, int count) {
    for (int i = 0; i < count; i++) {
        struct kw_seg *seg = from->head;
        KW_ASSERT(seg);
        from->head = seg->next;
        if (!from->head) from->tail = NULL;
        from->bytes -= seg->len;
        seg->next = NULL;
        if (to->tail) {
            to->tail->next = seg;
        } else {
            to->head = seg;
        }
        to->tail = seg;
        to->bytes += seg->len;
    }
}

static int write_later(uv_stream_t *stream, struct kw_outq *out, struct kw_pool *pool, struct kw_write **writing,
                       void (*done)(uv_stream_t *, int)) {
    struct iovec iov[IOV_MAX_COUNT];
    int count = kw_outq_iov(out, iov, IOV_MAX_COUNT);
    struct kw_write *later = kw_calloc(1, sizeof(*later));
    later->pool = pool;
    later->done = done;
    take_pieces(out, &later->pending, count);
    *writing = later;
    int err = uv_write(&later->req, stream, (uv_buf_t *)iov, (unsigned)count, on_written);
    if (err) {
        kw_write_free(later);
        *writing = NULL;
    }
    return err;
}

int kw_writer_flush(uv_stream_t *stream, struct kw_outq *out, struct kw_pool *pool, struct kw_write **writing,
                    void (*done)(uv_stream_t *stream, int status)) {
    if (*writing) return 0;
    for (int round = 0; out->bytes > 0; round++) {
        struct iovec iov[IOV_MAX_COUNT];
        size_t offered = 0;
        int count = kw_outq_iov(out, iov, IOV_MAX_COUNT);
        for (int i = 0; i < count; i++) offered += iov[i].iov_len;
        /* uv_buf_t is laid out as struct iovec on every Unix (uv/unix.h). */
        int wrote = uv_try_write(stream, (uv_buf_t *)iov, (unsigned)count);
        if (wrote < 0 && wrote != UV_EAGAIN) return wrote;
        if (wrote > 0) kw_outq_consume(out, pool, (size_t)wrote);
        if (wrote < 0 || (size_t)wrote < offered || round == ROUNDS) {
            return out->bytes ? write_later(stream, out, pool, writing, done) : 0;
        }
    }
    return 0;
}

void kw_write_free(struct kw_write *writing) {
    if (!writing) return;
    kw_outq_clear(&writing->pending, writing->pool);
    kw_free(writing);
}
