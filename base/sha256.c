/* SHA-256 as FIPS 180-4 has it, a block at a time. Allocates nothing; nothing can fail. */
#include "base/sha256.h"

#include <stdint.h>
#include <stdio.h>
#include <string.h>

enum { BLOCK = KW_SHA256_BLOCK, ROUNDS = 64, WORDS = 8, LENGTH_AT = 56 };

static const uint32_t round_constants[ROUNDS] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};

static uint32_t rotate(uint32_t x, unsigned n) {
    return x >> n | x << (32 - n);
}

static void expand(uint32_t w[ROUNDS], const unsigned char block[BLOCK]) {
    for (int i = 0; i < 16; i++) {
        const unsigned char *at = block + i * 4;
        w[i] = (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
    }
    for (int i = 16; i < ROUNDS; i++) {
        uint32_t low = rotate(w[i - 15], 7) ^ rotate(w[i - 15], 18) ^ w[i - 15] >> 3;
        uint32_t high = rotate(w[i - 2], 17) ^ rotate(w[i - 2], 19) ^ w[i - 2] >> 10;
        w[i] = w[i - 16] + low + w[i - 7] + high;
    }
}

static void take_block(uint32_t state[WORDS], const unsigned char block[BLOCK]) {
    uint32_t w[ROUNDS], v[WORDS];
    expand(w, block);
    memcpy(v, state, sizeof(v));
    for (int i = 0; i < ROUNDS; i++) {
        uint32_t high = rotate(v[4], 6) ^ rotate(v[4], 11) ^ rotate(v[4], 25);
        uint32_t choice = (v[4] & v[5]) ^ (~v[4] & v[6]);
        uint32_t first = v[7] + high + choice + round_constants[i] + w[i];
        uint32_t low = rotate(v[0], 2) ^ rotate(v[0], 13) ^ rotate(v[0], 22);
        uint32_t majority = (v[0] & v[1]) ^ (v[0] & v[2]) ^ (v[1] & v[2]);
        memmove(v + 1, v, (WORDS - 1) * sizeof(v[0]));
        v[4] += first;
        v[0] = first + low + majority;
    }
    for (int i = 0; i < WORDS; i++) state[i] += v[i];
}

void kw_sha256_init(struct kw_sha256 *sha) {
    *sha = (struct kw_sha256){
        .state = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19}};
}

void kw_sha256_update(struct kw_sha256 *sha, const void *bytes, size_t len) {
    const unsigned char *at = bytes;
    size_t held = sha->bytes % BLOCK;
    sha->bytes += len;
    if (held > 0) {
        size_t fits = len < BLOCK - held ? len : BLOCK - held;
        memcpy(sha->block + held, at, fits);
        if (held + fits < BLOCK) return;
        take_block(sha->state, sha->block);
        at += fits;
        len -= fits;
    }
    for (; len >= BLOCK; len -= BLOCK, at += BLOCK) take_block(sha->state, at);
    if (len > 0) memcpy(sha->block, at, len);
}

void kw_sha256_final(struct kw_sha256 *sha, unsigned char digest[KW_SHA256_SIZE]) {
    size_t held = sha->bytes % BLOCK;
    sha->block[held++] = 0x80;
    memset(sha->block + held, 0, BLOCK - held);
    if (held > LENGTH_AT) {
        take_block(sha->state, sha->block);
        memset(sha->block, 0, BLOCK);
    }
    uint64_t bits = sha->bytes * 8;
    for (int i = 0; i < 8; i++) sha->block[LENGTH_AT + i] = (unsigned char)(bits >> (56 - 8 * i));
    take_block(sha->state, sha->block);
    for (int i = 0; i < KW_SHA256_SIZE; i++) digest[i] = (unsigned char)(sha->state[i / 4] >> (24 - 8 * (i % 4)));
    explicit_bzero(sha, sizeof(*sha));
}

void kw_sha256_hex(const void *bytes, size_t len, char hex[KW_SHA256_HEX_SIZE]) {
    struct kw_sha256 sha;
    unsigned char digest[KW_SHA256_SIZE];
    kw_sha256_init(&sha);
    kw_sha256_update(&sha, bytes, len);
    kw_sha256_final(&sha, digest);
    for (int i = 0; i < KW_SHA256_SIZE; i++) snprintf(hex + (ptrdiff_t)i * 2, 3, "%02x", digest[i]);
}
