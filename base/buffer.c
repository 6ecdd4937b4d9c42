/*
 * Chunk pool and piece queues. The happy path allocates nothing: chunks and
 * pieces come from free lists that the last loop turn filled. A failed
 * allocation leaves the queue as it was.
 */
#include "base/buffer.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"

enum {
    FREE_SEGS_MAX = 4096,
    FREE_BYTES_KEPT = 1024 * 1024, /* of each class, after a trim */
};

static const size_t class_bytes[KW_CHUNK_CLASSES] = {4096, 16 * 1024, 64 * 1024};

struct kw_pool {
    struct kw_chunk *free_chunks[KW_CHUNK_CLASSES];
    size_t free_count[KW_CHUNK_CLASSES];
    size_t low_water[KW_CHUNK_CLASSES]; /* fewest free since the last trim: those were not needed */
    struct kw_seg *free_segs;
    size_t free_seg_count;
    size_t live; /* chunks and pieces outside */
    size_t bytes;
};

struct kw_pool *kw_pool_new(void) {
    return kw_calloc(1, sizeof(struct kw_pool));
}

static void chunk_release(struct kw_pool *pool, struct kw_chunk *chunk) {
    pool->bytes -= sizeof(*chunk) + chunk->cap;
    kw_free(chunk);
}

static void trim_class(struct kw_pool *pool, int cls, size_t keep) {
    while (pool->free_count[cls] > keep) {
        struct kw_chunk *chunk = pool->free_chunks[cls];
        pool->free_chunks[cls] = chunk->next;
        pool->free_count[cls]--;
        chunk_release(pool, chunk);
    }
}

void kw_pool_trim(struct kw_pool *pool) {
    for (int cls = 0; cls < KW_CHUNK_CLASSES; cls++) {
        size_t unneeded = pool->low_water[cls];
        size_t reserve = FREE_BYTES_KEPT / class_bytes[cls] / 4;
        size_t drop = unneeded > reserve ? unneeded - reserve : 0;
        trim_class(pool, cls, pool->free_count[cls] - drop);
        pool->low_water[cls] = pool->free_count[cls];
    }
    while (pool->free_seg_count > FREE_SEGS_MAX / 4) {
        struct kw_seg *seg = pool->free_segs;
        pool->free_segs = seg->next;
        pool->free_seg_count--;
        pool->bytes -= sizeof(*seg);
        kw_free(seg);
    }
}

void kw_pool_free(struct kw_pool *pool) {
    if (!pool) return;
    KW_ASSERT(pool->live == 0);
    for (int cls = 0; cls < KW_CHUNK_CLASSES; cls++) trim_class(pool, cls, 0);
    while (pool->free_segs) {
        struct kw_seg *seg = pool->free_segs;
        pool->free_segs = seg->next;
        kw_free(seg);
    }
    kw_free(pool);
}

size_t kw_pool_bytes(const struct kw_pool *pool) {
    return pool->bytes;
}

static uint32_t class_for(size_t cap) {
    for (uint32_t cls = 0; cls < KW_CHUNK_CLASSES; cls++) {
        if (cap <= class_bytes[cls]) return cls;
    }
    return KW_CHUNK_ODD;
}

struct kw_chunk *kw_chunk_new_try(struct kw_pool *pool, size_t cap) {
    uint32_t cls = class_for(cap);
    struct kw_chunk *chunk = NULL;
    if (cls != KW_CHUNK_ODD && pool->free_chunks[cls]) {
        chunk = pool->free_chunks[cls];
        pool->free_chunks[cls] = chunk->next;
        if (--pool->free_count[cls] < pool->low_water[cls]) pool->low_water[cls] = pool->free_count[cls];
    } else {
        if (cls != KW_CHUNK_ODD) cap = class_bytes[cls];
        chunk = kw_malloc_try(sizeof(*chunk) + cap);
        if (!chunk) return NULL;
        chunk->pool = pool;
        chunk->cls = cls;
        chunk->cap = cap;
        pool->bytes += sizeof(*chunk) + cap;
    }
    chunk->next = NULL;
    chunk->refs = 1;
    chunk->len = 0;
    pool->live++;
    return chunk;
}

struct kw_chunk *kw_chunk_ref(struct kw_chunk *chunk) {
    chunk->refs++;
    return chunk;
}

void kw_chunk_unref(struct kw_chunk *chunk) {
    KW_ASSERT(chunk->refs > 0);
    if (--chunk->refs > 0) return;
    struct kw_pool *pool = chunk->pool;
    pool->live--;
    if (chunk->cls == KW_CHUNK_ODD) {
        chunk_release(pool, chunk);
        return;
    }
    chunk->next = pool->free_chunks[chunk->cls];
    pool->free_chunks[chunk->cls] = chunk;
    pool->free_count[chunk->cls]++;
}

static struct kw_seg *seg_new_try(struct kw_pool *pool) {
    struct kw_seg *seg = pool->free_segs;
    if (seg) {
        pool->free_segs = seg->next;
        pool->free_seg_count--;
    } else {
        seg = kw_malloc_try(sizeof(*seg));
        if (!seg) return NULL;
        pool->bytes += sizeof(*seg);
    }
    pool->live++;
    seg->next = NULL;
    return seg;
}

/* Gives the piece back, with the reference that it holds. */
static void seg_free(struct kw_pool *pool, struct kw_seg *seg) {
    kw_chunk_unref(seg->chunk);
    pool->live--;
    if (pool->free_seg_count >= FREE_SEGS_MAX) {
        pool->bytes -= sizeof(*seg);
        kw_free(seg);
        return;
    }
    seg->next = pool->free_segs;
    pool->free_segs = seg;
    pool->free_seg_count++;
}

static void push(struct kw_outq *q, struct kw_seg *seg) {
    if (q->tail) {
        q->tail->next = seg;
    } else {
        q->head = seg;
    }
    q->tail = seg;
    q->bytes += seg->len;
}

char *kw_outq_copy_try(struct kw_outq *q, struct kw_pool *pool, const void *bytes, size_t len, size_t cap) {
    struct kw_seg *tail = q->tail;
    /* The chunk is open for us only if nobody has filled it beyond our last byte. */
    if (!tail || tail->off + tail->len != tail->chunk->len || tail->chunk->cap - tail->chunk->len < len) {
        struct kw_seg *seg = seg_new_try(pool);
        if (!seg) return NULL;
        seg->chunk = kw_chunk_new_try(pool, len > cap ? len : cap);
        if (!seg->chunk) {
            pool->live--;
            pool->bytes -= sizeof(*seg);
            kw_free(seg);
            return NULL;
        }
        seg->off = 0;
        seg->len = 0;
        push(q, seg);
        tail = seg;
    }
    char *dest = tail->chunk->data + tail->chunk->len;
    memcpy(dest, bytes, len);
    tail->chunk->len += len;
    tail->len += len;
    q->bytes += len;
    return dest;
}

int kw_outq_ref_try(struct kw_outq *q, struct kw_pool *pool, struct kw_chunk *chunk, size_t off, size_t len) {
    if (len == 0) return 0;
    struct kw_seg *tail = q->tail;
    if (tail && tail->chunk == chunk && tail->off + tail->len == off) {
        tail->len += len;
        q->bytes += len;
        return 0;
    }
    struct kw_seg *seg = seg_new_try(pool);
    if (!seg) return KW_ENOMEM;
    seg->chunk = kw_chunk_ref(chunk);
    seg->off = off;
    seg->len = len;
    push(q, seg);
    return 0;
}

int kw_outq_add_try(struct kw_outq *q, struct kw_pool *pool, struct kw_chunk *chunk, size_t off, size_t len) {
    if (len >= KW_REF_MIN) return kw_outq_ref_try(q, pool, chunk, off, len);
    if (len == 0) return 0;
    size_t cap = q->bytes + len > 2048 ? class_bytes[KW_CHUNK_16K] : class_bytes[KW_CHUNK_4K];
    return kw_outq_copy_try(q, pool, chunk->data + off, len, cap) ? 0 : KW_ENOMEM;
}

void kw_outq_splice(struct kw_outq *dst, struct kw_outq *src) {
    if (!src->head) return;
    if (dst->tail) {
        dst->tail->next = src->head;
    } else {
        dst->head = src->head;
    }
    dst->tail = src->tail;
    dst->bytes += src->bytes;
    *src = (struct kw_outq){0};
}

int kw_outq_move_try(struct kw_outq *dst, struct kw_outq *src, struct kw_pool *pool, size_t len) {
    KW_ASSERT(len <= src->bytes);
    while (len > 0) {
        struct kw_seg *seg = src->head;
        size_t take = seg->len < len ? seg->len : len;
        int err = kw_outq_add_try(dst, pool, seg->chunk, seg->off, take);
        if (err) return err;
        kw_outq_consume(src, pool, take);
        len -= take;
    }
    return 0;
}

int kw_outq_iov(const struct kw_outq *q, struct iovec *iov, int max) {
    int count = 0;
    for (const struct kw_seg *seg = q->head; seg && count < max; seg = seg->next) {
        iov[count].iov_base = seg->chunk->data + seg->off;
        iov[count].iov_len = seg->len;
        count++;
    }
    return count;
}

void kw_outq_consume(struct kw_outq *q, struct kw_pool *pool, size_t len) {
    KW_ASSERT(len <= q->bytes);
    q->bytes -= len;
    while (q->head && len >= q->head->len) {
        struct kw_seg *seg = q->head;
        len -= seg->len;
        q->head = seg->next;
        if (!q->head) q->tail = NULL;
        seg_free(pool, seg);
    }
    if (len > 0) {
        KW_ASSERT(q->head);
        q->head->off += len;
        q->head->len -= len;
    }
}

void kw_outq_clear(struct kw_outq *q, struct kw_pool *pool) {
    if (q->bytes || q->head) kw_outq_consume(q, pool, q->bytes);
}

size_t kw_outq_peek(const struct kw_outq *q, char *out, size_t max) {
    size_t got = 0;
    for (const struct kw_seg *seg = q->head; seg && got < max; seg = seg->next) {
        size_t take = seg->len < max - got ? seg->len : max - got;
        memcpy(out + got, seg->chunk->data + seg->off, take);
        got += take;
    }
    return got;
}
