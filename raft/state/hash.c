/*
 * Words of eight bytes are stirred into four sums side by side, so that a page
 * costs a tenth of a microsecond. Each step is reversible in the word and in
 * the sum: a change of one word can never go unseen. See hash.h.
 */
#include "raft/state/hash.h"

#include "raft/state/bytes.h"

/* Square roots of 2, 3, 5 and 7 behind the point: no pattern in them; odd, so that multiplying loses nothing. */
#define FACTOR_A UINT64_C(0x6a09e667f3bcc909)
#define FACTOR_B UINT64_C(0xbb67ae8584caa73b)
#define FACTOR_C UINT64_C(0x3c6ef372fe94f82b)
#define FACTOR_D UINT64_C(0xa54ff53a5f1d36f1)

enum { WORD = 8, LANES = 4, STRIPE = WORD * LANES };

static inline uint64_t turn(uint64_t value, unsigned bits) {
    return (value << bits) | (value >> (64 - bits));
}

static inline uint64_t stir(uint64_t sum, uint64_t word, uint64_t factor) {
    return turn(sum ^ word, 31) * factor;
}

static uint64_t finish(uint64_t sum) {
    sum = (sum ^ (sum >> 32)) * FACTOR_C;
    sum = (sum ^ (sum >> 29)) * FACTOR_A;
    return sum ^ (sum >> 32);
}

uint64_t kw_hash64(const void *bytes, size_t len, uint64_t seed) {
    const unsigned char *at = bytes;
    size_t left = len;
    uint64_t sum = (seed ^ FACTOR_D) + (uint64_t)len * FACTOR_B;

    if (left >= STRIPE) {
        uint64_t a = sum ^ FACTOR_A, b = sum ^ FACTOR_B, c = sum ^ FACTOR_C, d = sum ^ FACTOR_D;
        for (; left >= STRIPE; left -= STRIPE, at += STRIPE) {
            a = stir(a, kw_get64(at), FACTOR_B);
            b = stir(b, kw_get64(at + WORD), FACTOR_C);
            c = stir(c, kw_get64(at + 2 * WORD), FACTOR_D);
            d = stir(d, kw_get64(at + 3 * WORD), FACTOR_A);
        }
        sum = stir(stir(stir(stir(sum, a, FACTOR_A), b, FACTOR_B), c, FACTOR_C), d, FACTOR_D);
    }
    for (; left >= WORD; left -= WORD, at += WORD) sum = stir(sum, kw_get64(at), FACTOR_A);
    if (left > 0) sum = stir(sum, kw_bytes_get(at, (unsigned)left), FACTOR_B);
    return finish(sum);
}
