/*
 * libraft's heap. A block lies between two marks, is filled when it is given
 * out and again when it is freed, and is never given out twice: what is read
 * after its free, or before it was written, is nonsense each time and not by
 * chance; what is freed twice or written past its end is found at its free.
 */
#include <stdlib.h>
#include <string.h>

#include "sim.h"

enum { CHUNK = 1 << 20, FRESH = 0xa5, FREED = 0xdd };

static const uint64_t ALIVE_MARK = 0x4b57616c69766521u;
static const uint64_t DEAD_MARK = 0x4b57646561642121u;

struct block {
    uint64_t mark;
    size_t size;
};

static char *chunk;
static size_t chunk_left;

static void *take(size_t size) {
    if (size > chunk_left) {
        chunk_left = size > CHUNK ? size : CHUNK;
        chunk = malloc(chunk_left);
        KW_ASSERT(chunk);
    }
    void *taken = chunk;
    chunk += size;
    chunk_left -= size;
    return taken;
}

static void *block_new(size_t size, int fill) {
    size_t padded = (size + 15) / 16 * 16;
    struct block *block = take(sizeof(*block) + padded + 16);
    block->mark = ALIVE_MARK;
    block->size = size;
    memset(block + 1, fill, padded);
    memcpy((char *)(block + 1) + size, &ALIVE_MARK, sizeof(ALIVE_MARK));
    return block + 1;
}

static struct block *block_of(struct sim *sim, void *ptr) {
    struct block *block = (struct block *)ptr - 1;
    if (block->mark == DEAD_MARK) sim_fail(sim, "memory: freed twice");
    if (block->mark != ALIVE_MARK) sim_fail(sim, "memory: freed what was never allocated");
    if (memcmp((char *)ptr + block->size, &ALIVE_MARK, sizeof(ALIVE_MARK)) != 0) {
        sim_fail(sim, "memory: written past the end of %zu bytes", block->size);
    }
    return block;
}

static void *heap_malloc(void *data, size_t size) {
    (void)data;
    return block_new(size, FRESH);
}

static void heap_free(void *data, void *ptr) {
    if (!ptr) return;
    struct block *block = block_of(data, ptr);
    block->mark = DEAD_MARK;
    memset(ptr, FREED, block->size);
}

static void *heap_calloc(void *data, size_t count, size_t size) {
    (void)data;
    return block_new(count * size, 0);
}

static void *heap_realloc(void *data, void *ptr, size_t size) {
    void *grown = block_new(size, FRESH);
    if (!ptr) return grown;
    size_t old = block_of(data, ptr)->size;
    memcpy(grown, ptr, old < size ? old : size);
    heap_free(data, ptr);
    return grown;
}

static void *heap_aligned_alloc(void *data, size_t alignment, size_t size) {
    (void)data;
    void *ptr = NULL;
    return posix_memalign(&ptr, alignment, size) == 0 ? ptr : NULL;
}

static void heap_aligned_free(void *data, size_t alignment, void *ptr) {
    (void)data;
    (void)alignment;
    free(ptr);
}

void sim_memory_install(struct sim *sim) {
    static struct raft_heap heap;
    heap = (struct raft_heap){.data = sim,
                              .malloc = heap_malloc,
                              .free = heap_free,
                              .calloc = heap_calloc,
                              .realloc = heap_realloc,
                              .aligned_alloc = heap_aligned_alloc,
                              .aligned_free = heap_aligned_free};
    raft_heap_set(&heap);
}

__attribute__((noinline)) static void scribble(int fill) {
    char bytes[4096];
    memset(bytes, fill, sizeof(bytes));
    __asm__ volatile("" : : "r"(bytes) : "memory");
}

void sim_scribble(struct sim *sim) {
    static const int fills[] = {0, 1, 0x7f, 0xff};
    scribble(fills[sim_random(sim, KW_ARRAY_LEN(fills))]);
}
