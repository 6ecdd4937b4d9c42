/*
 * SHA-256 (FIPS 180-4): the digest of bytes that come in pieces, and of a
 * short input as the hexadecimal text by which Redis shows a password.
 * Allocates nothing; nothing can fail. Any thread.
 */
#ifndef KW_BASE_SHA256_H
#define KW_BASE_SHA256_H

#include <stddef.h>
#include <stdint.h>

enum { KW_SHA256_SIZE = 32, KW_SHA256_BLOCK = 64, KW_SHA256_HEX_SIZE = 65 /* with its NUL */ };

struct kw_sha256 {
    uint32_t state[8];
    uint64_t bytes;                       /* taken in so far */
    unsigned char block[KW_SHA256_BLOCK]; /* the last of them, not yet a whole block */
};

void kw_sha256_init(struct kw_sha256 *sha);
void kw_sha256_update(struct kw_sha256 *sha, const void *bytes, size_t len);
/* Ends it and wipes `sha`, which may have seen secrets. */
void kw_sha256_final(struct kw_sha256 *sha, unsigned char digest[KW_SHA256_SIZE]);

void kw_sha256_hex(const void *bytes, size_t len, char hex[KW_SHA256_HEX_SIZE]);

#endif
