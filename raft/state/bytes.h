/*
 * Numbers as bytes, least significant first on every machine, and a reader
 * over untrusted bytes that never runs past their end: once something was
 * missing it is `bad`, and gives zeros. Inline only; nothing can fail.
 */
#ifndef KW_RAFT_STATE_BYTES_H
#define KW_RAFT_STATE_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/str.h"

static inline uint64_t kw_bytes_get(const void *bytes, unsigned size) {
    const unsigned char *at = bytes;
    uint64_t value = 0;
    for (unsigned i = 0; i < size; i++) value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static inline void kw_bytes_put(void *bytes, unsigned size, uint64_t value) {
    unsigned char *at = bytes;
    for (unsigned i = 0; i < size; i++) at[i] = (unsigned char)(value >> (8 * i));
}

/* The compilers make one load of each. */
static inline uint16_t kw_get16(const void *bytes) {
    const unsigned char *at = bytes;
    return (uint16_t)(at[0] | at[1] << 8);
}

static inline uint32_t kw_get32(const void *bytes) {
    const unsigned char *at = bytes;
    return (uint32_t)at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[3] << 24;
}

static inline uint64_t kw_get64(const void *bytes) {
    const unsigned char *at = bytes;
    return (uint64_t)kw_get32(at) | (uint64_t)kw_get32(at + 4) << 32;
}

static inline void kw_put16(void *bytes, uint16_t value) {
    kw_bytes_put(bytes, 2, value);
}

static inline void kw_put32(void *bytes, uint32_t value) {
    kw_bytes_put(bytes, 4, value);
}

static inline void kw_put64(void *bytes, uint64_t value) {
    kw_bytes_put(bytes, 8, value);
}

/* Appends a number of `size` bytes (at most 8). */
static inline void kw_str_append_number(struct kw_str *str, unsigned size, uint64_t value) {
    unsigned char bytes[8];
    kw_bytes_put(bytes, size, value);
    kw_str_append(str, bytes, size);
}

struct kw_reader {
    const unsigned char *at, *end;
    bool bad; /* something was not there */
};

static inline size_t kw_reader_left(const struct kw_reader *reader) {
    return (size_t)(reader->end - reader->at);
}

/* The next `len` bytes, or NULL where there are not so many. */
static inline const unsigned char *kw_reader_take(struct kw_reader *reader, size_t len) {
    if (reader->bad || kw_reader_left(reader) < len) {
        reader->bad = true;
        return NULL;
    }
    const unsigned char *at = reader->at;
    reader->at += len;
    return at;
}

/* A number of `size` bytes (at most 8). */
static inline uint64_t kw_reader_number(struct kw_reader *reader, unsigned size) {
    const unsigned char *at = kw_reader_take(reader, size);
    return at ? kw_bytes_get(at, size) : 0;
}

#endif
