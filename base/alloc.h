/*
 * The heap. Everything allocates through here, so that tests can make the
 * Nth allocation fail and so that one place says what happens when memory is
 * gone: kw_malloc and friends end the process (sizes that we chose), the
 * _try forms return NULL (sizes that a peer chose). jemalloc is linked
 * underneath in release builds; sanitizer builds use theirs.
 */
#ifndef KW_BASE_ALLOC_H
#define KW_BASE_ALLOC_H

#include <stddef.h>

void *kw_malloc(size_t size);
void *kw_calloc(size_t count, size_t size);
void *kw_realloc(void *ptr, size_t size);
char *kw_strdup(const char *text);
char *kw_strndup(const char *text, size_t len);

void *kw_malloc_try(size_t size);
void *kw_calloc_try(size_t count, size_t size);
void *kw_realloc_try(void *ptr, size_t size);

void kw_free(void *ptr);

/*
 * Test hook: the `nth` _try allocation from now (1 is the next) fails, and
 * only that one; 0 switches it off. Not thread-safe: for single-threaded tests.
 */
void kw_alloc_fail_nth(long nth);

/* Bytes the process has from the allocator now; 0 where it cannot tell. */
size_t kw_alloc_used_bytes(void);

#endif
