/*
 * Writing a queue to a socket: everything at once, straight to the kernel, as
 * often as it takes it; what it does not take waits in one uv_write.
 */
#ifndef KW_PROXY_WRITER_H
#define KW_PROXY_WRITER_H

#include <uv.h>

#include "base/buffer.h"

struct kw_write {
    uv_write_t req;
    struct kw_pool *pool;
    struct kw_outq pending;
    void (*done)(uv_stream_t *stream, int status);
};

/*
 * Writes from `out`. Returns 0, or libuv's error when the socket is dead. What
 * is left stays in `out` and in *writing (own; allocated on need, `done` runs on the loop when the
 * kernel took it: free it with kw_write_free and flush again). While *writing is set nothing is written.
 */
int kw_writer_flush(uv_stream_t *stream, struct kw_outq *out, struct kw_pool *pool, struct kw_write **writing,
                    void (*done)(uv_stream_t *stream, int status));

void kw_write_free(struct kw_write *writing);

#endif
