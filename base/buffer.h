/*
 * Bytes on their way through: reference-counted chunks, and queues of pieces of
 * them. A frame read from one socket is either copied once into the chunk that
 * the next hop is filling (small) or referred to where it lies (large); it is
 * never assembled. A pool and all that came out of it belong to one thread.
 */
#ifndef KW_BASE_BUFFER_H
#define KW_BASE_BUFFER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

/* From this size on a piece is passed by reference instead of being copied, bytes. */
enum { KW_REF_MIN = 16 * 1024 };

enum kw_chunk_class { KW_CHUNK_4K, KW_CHUNK_16K, KW_CHUNK_64K, KW_CHUNK_CLASSES, KW_CHUNK_ODD = KW_CHUNK_CLASSES };

struct kw_pool;

struct kw_chunk {
    struct kw_pool *pool;  /* ref: where it returns to */
    struct kw_chunk *next; /* in the pool's free list */
    uint32_t refs;         /* not atomic: one thread */
    uint32_t cls;          /* enum kw_chunk_class */
    size_t cap;            /* bytes of data[] */
    size_t len;            /* bytes filled; appending continues here */
    char data[];
};

/* A piece of a chunk; holds one reference. */
struct kw_seg {
    struct kw_seg *next;
    struct kw_chunk *chunk;
    size_t off;
    size_t len;
};

/* A queue of pieces: what waits for a socket, or a reply that waits for its turn. Zeroed is empty. */
struct kw_outq {
    struct kw_seg *head;
    struct kw_seg *tail;
    size_t bytes;
};

struct kw_pool *kw_pool_new(void);
/* Every chunk and queue must have been given back before. */
void kw_pool_free(struct kw_pool *pool);
/* Bytes that the pool has from the heap: in use and free. */
size_t kw_pool_bytes(const struct kw_pool *pool);
/* Gives free chunks beyond a small reserve back to the heap; call now and then. */
void kw_pool_trim(struct kw_pool *pool);

/* A chunk with one reference and room for `cap` bytes at least; NULL when memory is gone. */
struct kw_chunk *kw_chunk_new_try(struct kw_pool *pool, size_t cap);
struct kw_chunk *kw_chunk_ref(struct kw_chunk *chunk);
void kw_chunk_unref(struct kw_chunk *chunk);

/*
 * Appends a copy of `len` bytes, contiguous in one chunk. `cap` is the size of
 * the chunk to start when the last one has no room. Returns where the copy lies
 * (borrowed: until the queue lets go of it; take a reference to `q->tail->chunk`
 * to keep it), or NULL when memory is gone; the queue is unchanged then.
 */
char *kw_outq_copy_try(struct kw_outq *q, struct kw_pool *pool, const void *bytes, size_t len, size_t cap);

/* Appends chunk[off, off+len) by reference. 0 or KW_ENOMEM. */
int kw_outq_ref_try(struct kw_outq *q, struct kw_pool *pool, struct kw_chunk *chunk, size_t off, size_t len);

/* Copies below KW_REF_MIN, refers from there on. 0 or KW_ENOMEM. */
int kw_outq_add_try(struct kw_outq *q, struct kw_pool *pool, struct kw_chunk *chunk, size_t off, size_t len);

/* Moves all of `src` to the end of `dst`. Cannot fail. */
void kw_outq_splice(struct kw_outq *dst, struct kw_outq *src);

/*
 * Moves the first `len` bytes of `src` (it has as many) to the end of `dst`. 0, or KW_ENOMEM: then part of them has
 * moved, none is lost.
 */
int kw_outq_move_try(struct kw_outq *dst, struct kw_outq *src, struct kw_pool *pool, size_t len);

/* The first pieces as an I/O vector, at most `max`; returns how many. */
int kw_outq_iov(const struct kw_outq *q, struct iovec *iov, int max);

/* Drops the first `len` bytes, or everything. */
void kw_outq_consume(struct kw_outq *q, struct kw_pool *pool, size_t len);
void kw_outq_clear(struct kw_outq *q, struct kw_pool *pool);

/* Copies up to `max` of the first bytes to `out`; returns how many. */
size_t kw_outq_peek(const struct kw_outq *q, char *out, size_t max);

#endif
