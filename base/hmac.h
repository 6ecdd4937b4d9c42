/*
 * HMAC-SHA-256 (RFC 2104 with FIPS 180-4), and the comparison that goes with
 * it: one whose duration says nothing about where two values differ.
 * Allocates nothing; nothing can fail. Any thread.
 */
#ifndef KW_BASE_HMAC_H
#define KW_BASE_HMAC_H

#include <stdbool.h>
#include <stddef.h>

#include "base/sha256.h"

enum { KW_HMAC_SIZE = KW_SHA256_SIZE };

struct kw_hmac {
    struct kw_sha256 inner;
    unsigned char outer_pad[KW_SHA256_BLOCK];
};

/* A key of any length, an empty one too. */
void kw_hmac_init(struct kw_hmac *hmac, const void *key, size_t key_len);
void kw_hmac_update(struct kw_hmac *hmac, const void *bytes, size_t len);
/* Ends it and wipes `hmac`. */
void kw_hmac_final(struct kw_hmac *hmac, unsigned char mac[KW_HMAC_SIZE]);

/* Equal? Takes the same time wherever the first difference is. */
bool kw_hmac_equal(const void *a, const void *b, size_t len);

#endif
