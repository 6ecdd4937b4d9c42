/* Thin shell over the C heap; see alloc.h for the two kinds of failure. */
#include "base/alloc.h"

#include <malloc.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

#ifdef KW_HAVE_JEMALLOC
#include <jemalloc/jemalloc.h>
#endif

static long fail_nth;

static bool must_fail(void) {
    return KW_UNLIKELY(fail_nth > 0) && --fail_nth == 0;
}

void kw_alloc_fail_nth(long nth) {
    fail_nth = nth;
}

KW_NORETURN static void out_of_memory(size_t size) {
    fprintf(stderr, "keyway: out of memory allocating %zu bytes\n", size);
    abort();
}

void *kw_malloc_try(size_t size) {
    return must_fail() ? NULL : malloc(size ? size : 1);
}

void *kw_calloc_try(size_t count, size_t size) {
    return must_fail() ? NULL : calloc(count ? count : 1, size ? size : 1);
}

void *kw_realloc_try(void *ptr, size_t size) {
    return must_fail() ? NULL : realloc(ptr, size ? size : 1);
}

void *kw_malloc(size_t size) {
    void *ptr = malloc(size ? size : 1);
    if (KW_UNLIKELY(!ptr)) out_of_memory(size);
    return ptr;
}

void *kw_calloc(size_t count, size_t size) {
    void *ptr = calloc(count ? count : 1, size ? size : 1);
    if (KW_UNLIKELY(!ptr)) out_of_memory(size);
    return ptr;
}

void *kw_realloc(void *ptr, size_t size) {
    void *grown = realloc(ptr, size ? size : 1);
    if (KW_UNLIKELY(!grown)) out_of_memory(size);
    return grown;
}

char *kw_strndup(const char *text, size_t len) {
    char *copy = kw_malloc(len + 1);
    memcpy(copy, text, len);
    copy[len] = '\0';
    return copy;
}

char *kw_strdup(const char *text) {
    return kw_strndup(text, strlen(text));
}

void kw_free(void *ptr) {
    free(ptr);
}

size_t kw_alloc_used_bytes(void) {
#ifdef KW_HAVE_JEMALLOC
    uint64_t epoch = 1;
    size_t len = sizeof(epoch);
    mallctl("epoch", &epoch, &len, &epoch, len);
    size_t used = 0;
    len = sizeof(used);
    if (mallctl("stats.allocated", &used, &len, NULL, 0) == 0) return used;
#endif
#if defined(__GLIBC__)
    struct mallinfo2 info = mallinfo2();
    return info.uordblks + info.hblkhd;
#else
    return 0;
#endif
}
