/* SHA-256 by the examples of FIPS 180-4, in pieces of every size; HMAC by all test cases of RFC 4231. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/hmac.h"
#include "base/sha256.h"

static void to_hex(const unsigned char *bytes, size_t len, char *out) {
    for (size_t i = 0; i < len; i++) snprintf(out + 2 * i, 3, "%02x", bytes[i]);
}

static void check_digest(const void *data, size_t len, const char *want) {
    char got[KW_SHA256_HEX_SIZE];
    kw_sha256_hex(data, len, got);
    assert_string_equal(got, want);
}

static void test_published_digests(void **state) {
    (void)state;
    check_digest("", 0, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
    check_digest("abc", 3, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    check_digest("abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 56,
                 "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1");
    char *million = kw_malloc(1000000);
    memset(million, 'a', 1000000);
    check_digest(million, 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0");
    kw_free(million);
}

/* Where the padding just fits into the last block, and where it does not; as sha256sum has it. */
static void test_padding(void **state) {
    (void)state;
    static const struct {
        size_t len;
        const char *digest;
    } rows[] = {
        {55, "9f4390f8d30c2dd92ec9f095b65e2b9ae9b0a925a5258e241c9f1e910f734318"},
        {56, "b35439a4ac6f0948b6d6f9e3c6af0f5f590ce20f1bde7090ef7970686ec6738a"},
        {63, "7d3e74a05d7db15bce4ad9ec0658ea98e3f06eeecf16b4c6fff2da457ddc2f34"},
        {64, "ffe054fe7ae0cb6dc65c3af9b61d5209f439851db43d0ba5997337df154668eb"},
        {119, "31eba51c313a5c08226adf18d4a359cfdfd8d2e816b13f4af952f7ea6584dcfb"},
        {120, "2f3d335432c70b580af0e8e1b3674a7c020d683aa5f73aaaedfdc55af904c21c"},
    };
    char data[128];
    memset(data, 'a', sizeof(data));
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) check_digest(data, rows[i].len, rows[i].digest);
}

/* Every length over two block borders, cut in two everywhere: the same as in one piece. */
static void test_pieces_do_not_matter(void **state) {
    (void)state;
    unsigned char data[200], whole[KW_SHA256_SIZE], cut[KW_SHA256_SIZE];
    for (size_t i = 0; i < sizeof(data); i++) data[i] = (unsigned char)(i * 7);
    for (size_t len = 0; len <= sizeof(data); len++) {
        struct kw_sha256 sha;
        kw_sha256_init(&sha);
        for (size_t i = 0; i < len; i++) kw_sha256_update(&sha, data + i, 1);
        kw_sha256_final(&sha, whole);
        for (size_t at = 0; at <= len; at++) {
            kw_sha256_init(&sha);
            kw_sha256_update(&sha, data, at);
            kw_sha256_update(&sha, data + at, len - at);
            kw_sha256_final(&sha, cut);
            assert_memory_equal(cut, whole, sizeof(whole));
        }
    }
}

struct vector {
    unsigned char key[131];
    size_t key_len;
    const char *data;
    size_t data_len;
    const char *mac; /* as many digits as are to be compared */
};

static void fill(struct vector *vector, int byte, size_t len) {
    memset(vector->key, byte, len);
    vector->key_len = len;
}

static void check_vector(const struct vector *vector) {
    unsigned char mac[KW_HMAC_SIZE];
    char hex[2 * KW_HMAC_SIZE + 1];
    for (size_t cut = 0; cut <= vector->data_len; cut++) {
        struct kw_hmac hmac;
        kw_hmac_init(&hmac, vector->key, vector->key_len);
        kw_hmac_update(&hmac, vector->data, cut);
        kw_hmac_update(&hmac, vector->data + cut, vector->data_len - cut);
        kw_hmac_final(&hmac, mac);
        to_hex(mac, sizeof(mac), hex);
        hex[strlen(vector->mac)] = 0;
        assert_string_equal(hex, vector->mac);
    }
}

static void test_rfc_4231(void **state) {
    (void)state;
    char dd[50], cd[50];
    memset(dd, 0xdd, sizeof(dd));
    memset(cd, 0xcd, sizeof(cd));
#define TEXT(t) .data = (t), .data_len = sizeof(t) - 1
    struct vector vectors[] = {
        {TEXT("Hi There"), .mac = "b0344c61d8db38535ca8afceaf0bf12b881dc200c9833da726e9376c2e32cff7"},
        {.key = "Jefe",
         .key_len = 4,
         TEXT("what do ya want for nothing?"),
         .mac = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"},
        {.data = dd, .data_len = 50, .mac = "773ea91e36800e46854db8ebd09181a72959098b3ef8c122d9635514ced565fe"},
        {.data = cd, .data_len = 50, .mac = "82558a389a443c0ea4cc819899f2083a85f0faa3e578f8077a2e3ff46729665b"},
        {TEXT("Test With Truncation"), .mac = "a3b6167473100ee06e0c796c2955552b"},
        {TEXT("Test Using Larger Than Block-Size Key - Hash Key First"),
         .mac = "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"},
        {TEXT("This is a test using a larger than block-size key and a larger than block-size data. The key needs to "
              "be hashed before being used by the HMAC algorithm."),
         .mac = "9b09ffa71b942fcb27635fbcd5b0e944bfdc63644f0713938a7f51535c3a35e2"},
    };
#undef TEXT
    fill(&vectors[0], 0x0b, 20);
    fill(&vectors[2], 0xaa, 20);
    for (size_t i = 0; i < 25; i++) vectors[3].key[i] = (unsigned char)(i + 1);
    vectors[3].key_len = 25;
    fill(&vectors[4], 0x0c, 20);
    fill(&vectors[5], 0xaa, 131);
    fill(&vectors[6], 0xaa, 131);
    for (size_t i = 0; i < KW_ARRAY_LEN(vectors); i++) check_vector(&vectors[i]);
}

static void test_equal_sees_every_bit(void **state) {
    (void)state;
    unsigned char a[KW_HMAC_SIZE] = {0}, b[KW_HMAC_SIZE] = {0};
    assert_true(kw_hmac_equal(a, b, sizeof(a)));
    for (unsigned bit = 0; bit < 8 * sizeof(a); bit++) {
        b[bit / 8] = (unsigned char)(b[bit / 8] ^ 1U << bit % 8);
        assert_false(kw_hmac_equal(a, b, sizeof(a)));
        b[bit / 8] = 0;
    }
    assert_true(kw_hmac_equal(a, b, 0));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_published_digests),    cmocka_unit_test(test_padding),
        cmocka_unit_test(test_pieces_do_not_matter), cmocka_unit_test(test_rfc_4231),
        cmocka_unit_test(test_equal_sees_every_bit),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
