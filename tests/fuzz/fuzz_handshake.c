/*
 * What a peer may send: a handshake, and behind it libraft's messages. The first byte says to whom: an acceptor, a
 * dialer, or the filter; with bit 2 set the proofs are mended, so that the rest of the handshake is reached, too.
 * Checked: bytes in pieces lead where the whole leads, nobody gets through without the secret or with a folder that is
 * not the known one, a frame that is refused is not read on, and a message that passes holds what its lengths say.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/hmac.h"
#include "raft/store/handshake.h"
#include "raft/store/transport_filter.h"

enum { TO_ACCEPTOR, TO_DIALER, TO_FILTER, KINDS, MEND = 4, ANSWERS_MAX = 1024 };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char secret[] = "correct horse";
static const unsigned char nonce[KW_HANDSHAKE_NONCE] = "once";
static const uint64_t unwelcome = 0x0707070707070707; /* the folder of one that was another's before */

static enum kw_handshake_reason judge(void *ctx, uint64_t id, uint64_t incarnation, bool proved) {
    (void)ctx;
    (void)proved;
    KW_ASSERT(id != 0);
    return incarnation == unwelcome ? KW_REASON_INCARNATION : KW_REASON_NONE;
}

static const struct kw_handshake_self self = {.id = 2,
                                              .incarnation = 9,
                                              .address = "127.0.0.1:7380:17380",
                                              .cluster = "orders",
                                              .secret = secret,
                                              .secret_len = sizeof(secret) - 1,
                                              .judge = judge};

struct outcome {
    enum kw_handshake_step step;
    struct kw_handshake shake;
    size_t read, said;
    unsigned char answers[ANSWERS_MAX];
};

static void listen_to_answer(struct outcome *outcome) {
    const unsigned char *out;
    size_t len = kw_handshake_out(&outcome->shake, &out);
    KW_ASSERT(outcome->said + len <= ANSWERS_MAX);
    memcpy(outcome->answers + outcome->said, out, len);
    outcome->said += len;
}

/* The frame is whole: its proof is made the right one, of the verdict that is in front of it. */
static void mend(struct kw_handshake *shake, bool dialer) {
    struct kw_hmac hmac;
    unsigned char *proof = shake->in + (dialer ? KW_HANDSHAKE_PROOF : KW_HANDSHAKE_WELCOME) - KW_HMAC_SIZE;
    kw_hmac_init(&hmac, secret, sizeof(secret) - 1);
    kw_hmac_update(&hmac, dialer ? "dialer  " : "acceptor", 8);
    kw_hmac_update(&hmac, shake->hello, sizeof(shake->hello));
    kw_hmac_update(&hmac, shake->challenge, sizeof(shake->challenge));
    kw_hmac_update(&hmac, proof - 8, 8);
    kw_hmac_final(&hmac, proof);
}

static void shake_hands(struct outcome *outcome, unsigned kind, bool mends, const uint8_t *data, size_t size,
                        size_t piece) {
    memset(outcome, 0, sizeof(*outcome));
    struct kw_handshake *shake = &outcome->shake;
    if (kind == TO_ACCEPTOR) kw_handshake_accept(shake, &self, nonce);
    if (kind == TO_DIALER) kw_handshake_dial(shake, &self, 1, KW_PURPOSE_RAFT, nonce);
    listen_to_answer(outcome);
    while (outcome->step == KW_HANDSHAKE_MORE && size > 0) {
        unsigned char *at;
        size_t room = kw_handshake_room(shake, &at), n = piece < size ? piece : size;
        KW_ASSERT(room > 0);
        if (n > room) n = room;
        memcpy(at, data, n);
        bool proving = n == room && outcome->said > (kind == TO_ACCEPTOR ? 0U : KW_HANDSHAKE_HELLO);
        if (mends && proving) mend(shake, kind == TO_ACCEPTOR);
        outcome->step = kw_handshake_took(shake, n);
        outcome->read += n;
        data += n;
        size -= n;
        listen_to_answer(outcome);
    }
}

static void try_handshake(unsigned kind, bool mends, const uint8_t *data, size_t size) {
    static const size_t pieces[] = {SIZE_MAX, 1, 7, 64};
    struct outcome whole, cut;
    shake_hands(&whole, kind, mends, data, size, pieces[0]);
    for (size_t i = 1; i < KW_ARRAY_LEN(pieces); i++) {
        shake_hands(&cut, kind, mends, data, size, pieces[i]);
        KW_ASSERT(cut.step == whole.step && cut.shake.reason == whole.shake.reason && cut.said == whole.said);
        KW_ASSERT(memcmp(cut.answers, whole.answers, whole.said) == 0);
        KW_ASSERT(cut.read <= whole.read); /* garbage may be told earlier */
    }
    KW_ASSERT(whole.step != KW_HANDSHAKE_DONE || (mends && whole.shake.peer_incarnation != unwelcome));
    KW_ASSERT(!whole.shake.proved || mends); /* nor is a stranger believed what it says of this node */
    KW_ASSERT((whole.step == KW_HANDSHAKE_REFUSED) == (whole.shake.reason != KW_REASON_NONE));
    if (whole.step == KW_HANDSHAKE_DONE && kind == TO_ACCEPTOR) {
        const struct kw_handshake *shake = &whole.shake;
        KW_ASSERT(shake->peer_id != 0 && shake->peer_id != self.id && strcmp(shake->peer_cluster, "orders") == 0);
        KW_ASSERT(strlen(shake->peer_address) > 0 && strlen(shake->peer_address) < KW_META_ADDRESS_SIZE);
    }
}

/* One message after the other, each in memory of its own, so that a read past its end is seen. */
static void try_filter(const uint8_t *data, size_t size) {
    while (size >= KW_FILTER_PREAMBLE) {
        struct kw_filter filter;
        if (!kw_filter_preamble(&filter, data)) return;
        KW_ASSERT(filter.header_len > 0 && filter.header_len <= KW_FILTER_HEADER_MAX);
        data += KW_FILTER_PREAMBLE;
        size -= KW_FILTER_PREAMBLE;
        if (filter.header_len > size) return;
        unsigned char *header = malloc(filter.header_len);
        memcpy(header, data, filter.header_len);
        bool passes = kw_filter_header(&filter, header);
        free(header);
        if (!passes) return;
        KW_ASSERT(filter.payload_len <= KW_FILTER_SNAPSHOT_BYTES_MAX);
        data += filter.header_len;
        size -= filter.header_len;
        if (filter.payload_len > size) return;
        data += filter.payload_len;
        size -= filter.payload_len;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0) return 0;
    unsigned kind = (data[0] & 3U) % KINDS;
    if (kind == TO_FILTER) {
        try_filter(data + 1, size - 1);
    } else {
        try_handshake(kind, data[0] & MEND, data + 1, size - 1);
    }
    return 0;
}
