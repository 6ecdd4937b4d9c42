/* Two nested digests; the key is in both, padded to a block and masked differently. */
#include "base/hmac.h"

#include <string.h>

enum { INNER_MASK = 0x36, OUTER_MASK = 0x5c };

void kw_hmac_init(struct kw_hmac *hmac, const void *key, size_t key_len) {
    unsigned char pad[KW_SHA256_BLOCK] = {0};
    if (key_len > sizeof(pad)) {
        struct kw_sha256 sha;
        kw_sha256_init(&sha);
        kw_sha256_update(&sha, key, key_len);
        kw_sha256_final(&sha, pad);
    } else if (key_len > 0) {
        memcpy(pad, key, key_len);
    }
    for (size_t i = 0; i < sizeof(pad); i++) {
        hmac->outer_pad[i] = pad[i] ^ OUTER_MASK;
        pad[i] ^= INNER_MASK;
    }
    kw_sha256_init(&hmac->inner);
    kw_sha256_update(&hmac->inner, pad, sizeof(pad));
    explicit_bzero(pad, sizeof(pad));
}

void kw_hmac_update(struct kw_hmac *hmac, const void *bytes, size_t len) {
    kw_sha256_update(&hmac->inner, bytes, len);
}

void kw_hmac_final(struct kw_hmac *hmac, unsigned char mac[KW_HMAC_SIZE]) {
    struct kw_sha256 outer;
    kw_sha256_final(&hmac->inner, mac);
    kw_sha256_init(&outer);
    kw_sha256_update(&outer, hmac->outer_pad, sizeof(hmac->outer_pad));
    kw_sha256_update(&outer, mac, KW_HMAC_SIZE);
    kw_sha256_final(&outer, mac);
    explicit_bzero(hmac, sizeof(*hmac));
}

bool kw_hmac_equal(const void *a, const void *b, size_t len) {
    const volatile unsigned char *left = a, *right = b;
    unsigned char differs = 0;
    for (size_t i = 0; i < len; i++) differs = (unsigned char)(differs | (left[i] ^ right[i]));
    return differs == 0;
}
