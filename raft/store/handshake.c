/* The frames and their checks; one function a frame that comes in. Nothing allocates. */
#include "raft/store/handshake.h"

#include <string.h>

#include "base/base.h"
#include "base/hmac.h"

static const unsigned char hello_magic[8] = "kwmeta>\n", answer_magic[8] = "kwmeta<\n";

enum { MAGIC = sizeof(hello_magic) };

/* Where things are in the frames. */
enum {
    VERSION_AT = MAGIC, /* of hello and challenge, in every version */
    HELLO_PURPOSE = 10,
    HELLO_CLUSTER_LEN = 11,
    HELLO_ADDRESS_LEN = 12,
    HELLO_DIALER = 16,
    HELLO_ACCEPTOR = 24,
    HELLO_INCARNATION = 32,
    HELLO_NONCE = 40,
    HELLO_CLUSTER = 72,
    HELLO_ADDRESS = HELLO_CLUSTER + KW_HANDSHAKE_CLUSTER_MAX,
    CHALLENGE_REASON = 10,
    CHALLENGE_ID = 16,
    CHALLENGE_INCARNATION = 24,
    CHALLENGE_NONCE = 32,
    VERDICT = 8, /* size: a reason and zeros; before the HMAC of proof and welcome, which covers it */
    WELCOME_VERDICT = MAGIC,
    WELCOME_PROOF = WELCOME_VERDICT + VERDICT,
};
_Static_assert(HELLO_ADDRESS + KW_META_ADDRESS_SIZE == KW_HANDSHAKE_HELLO, "an address fills the hello");
_Static_assert(CHALLENGE_NONCE + KW_HANDSHAKE_NONCE == KW_HANDSHAKE_CHALLENGE, "the nonce ends the challenge");
_Static_assert(WELCOME_PROOF + KW_HMAC_SIZE == KW_HANDSHAKE_WELCOME, "the proof ends the welcome");
_Static_assert((int)KW_HANDSHAKE_PROOF == (int)VERDICT + (int)KW_HMAC_SIZE, "the proof is a verdict and its HMAC");

static enum kw_handshake_step took_hello(struct kw_handshake *shake);
static enum kw_handshake_step took_challenge(struct kw_handshake *shake);
static enum kw_handshake_step took_proof(struct kw_handshake *shake);
static enum kw_handshake_step took_welcome(struct kw_handshake *shake);

enum stage { WAIT_HELLO, WAIT_CHALLENGE, WAIT_PROOF, WAIT_WELCOME, ENDED };

/* What each stage waits for: its size, what it begins with, who looks at it. */
static const struct {
    size_t size;
    const unsigned char *magic;
    enum kw_handshake_step (*took)(struct kw_handshake *shake);
} stages[] = {
    [WAIT_HELLO] = {KW_HANDSHAKE_HELLO, hello_magic, took_hello},
    [WAIT_CHALLENGE] = {KW_HANDSHAKE_CHALLENGE, answer_magic, took_challenge},
    [WAIT_PROOF] = {KW_HANDSHAKE_PROOF, NULL, took_proof},
    [WAIT_WELCOME] = {KW_HANDSHAKE_WELCOME, answer_magic, took_welcome},
    [ENDED] = {0, NULL, NULL},
};

const char *kw_handshake_reason_text(enum kw_handshake_reason reason) {
    static const char *const texts[] = {
#define X(name, text) [KW_REASON_##name] = text,
        KW_HANDSHAKE_REASON_MAP(X)
#undef X
    };
    return (unsigned)reason < KW_ARRAY_LEN(texts) ? texts[reason] : "a reason that this version does not know";
}

static void put_int(unsigned char *at, uint64_t value, unsigned bytes) {
    for (unsigned i = 0; i < bytes; i++) at[i] = (unsigned char)(value >> (8 * (bytes - 1 - i)));
}

static uint64_t get_int(const unsigned char *at, unsigned bytes) {
    uint64_t value = 0;
    for (unsigned i = 0; i < bytes; i++) value = value << 8 | at[i];
    return value;
}

/* The proof of one side, over everything that both have said before it, and its verdict on the other. */
static void prove(const struct kw_handshake *shake, bool dialer, const unsigned char verdict[VERDICT],
                  unsigned char mac[KW_HMAC_SIZE]) {
    struct kw_hmac hmac;
    kw_hmac_init(&hmac, shake->self->secret, shake->self->secret_len);
    kw_hmac_update(&hmac, dialer ? "dialer  " : "acceptor", 8);
    kw_hmac_update(&hmac, shake->hello, sizeof(shake->hello));
    kw_hmac_update(&hmac, shake->challenge, sizeof(shake->challenge));
    kw_hmac_update(&hmac, verdict, VERDICT);
    kw_hmac_final(&hmac, mac);
}

/* Verdict and proof are side by side in both frames that have them. */
static void put_proof(const struct kw_handshake *shake, bool dialer, unsigned char *at,
                      enum kw_handshake_reason verdict) {
    memset(at, 0, VERDICT);
    at[0] = (unsigned char)verdict;
    prove(shake, dialer, at, at + VERDICT);
}

static bool proves(const struct kw_handshake *shake, bool dialer, const unsigned char *at) {
    unsigned char expected[KW_HMAC_SIZE];
    prove(shake, dialer, at, expected);
    return kw_hmac_equal(expected, at + VERDICT, sizeof(expected));
}

static enum kw_handshake_reason judge(const struct kw_handshake *shake, bool proved) {
    const struct kw_handshake_self *self = shake->self;
    if (!self->judge) return KW_REASON_NONE;
    return self->judge(self->judge_ctx, shake->peer_id, shake->peer_incarnation, proved);
}

static void send(struct kw_handshake *shake, const void *bytes, size_t len) {
    memcpy(shake->out, bytes, len);
    shake->out_len = len;
}

static enum kw_handshake_step refuse(struct kw_handshake *shake, enum kw_handshake_reason reason) {
    shake->reason = reason;
    shake->stage = ENDED;
    return KW_HANDSHAKE_REFUSED;
}

static enum kw_handshake_step refused_by_peer(struct kw_handshake *shake, unsigned char reason) {
    shake->by_peer = true;
    return refuse(shake, (enum kw_handshake_reason)reason);
}

static void put_challenge(const struct kw_handshake *shake, unsigned char *frame, enum kw_handshake_reason reason) {
    memset(frame, 0, KW_HANDSHAKE_CHALLENGE);
    memcpy(frame, answer_magic, MAGIC);
    put_int(frame + VERSION_AT, KW_HANDSHAKE_VERSION, 2);
    frame[CHALLENGE_REASON] = (unsigned char)reason;
    if (reason != KW_REASON_NONE) return; /* nothing else is a stranger's business */
    put_int(frame + CHALLENGE_ID, shake->self->id, 8);
    put_int(frame + CHALLENGE_INCARNATION, shake->self->incarnation, 8);
    memcpy(frame + CHALLENGE_NONCE, shake->nonce, sizeof(shake->nonce));
}

static enum kw_handshake_step refuse_hello(struct kw_handshake *shake, enum kw_handshake_reason reason) {
    put_challenge(shake, shake->out, reason);
    shake->out_len = KW_HANDSHAKE_CHALLENGE;
    return refuse(shake, reason);
}

/* A text of `len` bytes in a field of `size`, where NULs follow it and none is within. */
static bool get_text(char *out, const unsigned char *field, size_t len, size_t size) {
    if (len == 0 || len > size || memchr(field, 0, len)) return false;
    for (size_t i = len; i < size; i++) {
        if (field[i]) return false;
    }
    memcpy(out, field, len);
    out[len] = 0;
    return true;
}

static enum kw_handshake_step took_hello(struct kw_handshake *shake) {
    const unsigned char *hello = shake->hello;
    memcpy(shake->hello, shake->in, sizeof(shake->hello));
    if (get_int(hello + VERSION_AT, 2) != KW_HANDSHAKE_VERSION) return refuse_hello(shake, KW_REASON_VERSION);

    unsigned purpose = hello[HELLO_PURPOSE];
    size_t address_len = (size_t)get_int(hello + HELLO_ADDRESS_LEN, 2);
    shake->peer_id = get_int(hello + HELLO_DIALER, 8);
    shake->peer_incarnation = get_int(hello + HELLO_INCARNATION, 8);
    bool sound =
        (purpose == KW_PURPOSE_RAFT || purpose == KW_PURPOSE_HINT) && shake->peer_id != 0 &&
        get_int(hello + HELLO_ADDRESS_LEN + 2, 2) == 0 && address_len < KW_META_ADDRESS_SIZE &&
        get_text(shake->peer_cluster, hello + HELLO_CLUSTER, hello[HELLO_CLUSTER_LEN], KW_HANDSHAKE_CLUSTER_MAX) &&
        get_text(shake->peer_address, hello + HELLO_ADDRESS, address_len, KW_META_ADDRESS_SIZE);
    if (!sound) return refuse(shake, KW_REASON_GARBAGE);
    shake->purpose = (enum kw_handshake_purpose)purpose;
    if (strcmp(shake->peer_cluster, shake->self->cluster) != 0) return refuse_hello(shake, KW_REASON_CLUSTER);
    bool misled = get_int(hello + HELLO_ACCEPTOR, 8) != shake->self->id || shake->peer_id == shake->self->id;
    if (misled) return refuse_hello(shake, KW_REASON_NODE);

    put_challenge(shake, shake->challenge, KW_REASON_NONE);
    send(shake, shake->challenge, sizeof(shake->challenge));
    shake->stage = WAIT_PROOF;
    return KW_HANDSHAKE_MORE;
}

static enum kw_handshake_step took_challenge(struct kw_handshake *shake) {
    const unsigned char *challenge = shake->challenge;
    memcpy(shake->challenge, shake->in, sizeof(shake->challenge));
    if (challenge[CHALLENGE_REASON] != KW_REASON_NONE) return refused_by_peer(shake, challenge[CHALLENGE_REASON]);
    if (get_int(challenge + VERSION_AT, 2) != KW_HANDSHAKE_VERSION) return refuse(shake, KW_REASON_VERSION);
    if (get_int(challenge + CHALLENGE_ID, 8) != shake->peer_id) return refuse(shake, KW_REASON_NODE);
    shake->peer_incarnation = get_int(challenge + CHALLENGE_INCARNATION, 8);

    enum kw_handshake_reason verdict = judge(shake, false);
    put_proof(shake, true, shake->out, verdict);
    shake->out_len = KW_HANDSHAKE_PROOF;
    if (verdict != KW_REASON_NONE) return refuse(shake, verdict);
    shake->stage = WAIT_WELCOME;
    return KW_HANDSHAKE_MORE;
}

static void put_welcome(struct kw_handshake *shake, enum kw_handshake_reason verdict, bool proved) {
    unsigned char *welcome = shake->out;
    memset(welcome, 0, KW_HANDSHAKE_WELCOME);
    memcpy(welcome, answer_magic, MAGIC);
    welcome[WELCOME_VERDICT] = (unsigned char)verdict;
    if (proved) put_proof(shake, false, welcome + WELCOME_VERDICT, verdict); /* a stranger gets none */
    shake->out_len = KW_HANDSHAKE_WELCOME;
}

static enum kw_handshake_step took_proof(struct kw_handshake *shake) {
    bool proved = proves(shake, true, shake->in);
    shake->proved = proved;
    if (proved && shake->in[0] != KW_REASON_NONE) return refused_by_peer(shake, shake->in[0]);
    enum kw_handshake_reason verdict = proved ? judge(shake, true) : KW_REASON_SECRET;
    put_welcome(shake, verdict, proved);
    if (verdict != KW_REASON_NONE) return refuse(shake, verdict);
    shake->stage = ENDED;
    return KW_HANDSHAKE_DONE;
}

static enum kw_handshake_step took_welcome(struct kw_handshake *shake) {
    const unsigned char *at = shake->in + WELCOME_VERDICT;
    if (at[0] == KW_REASON_SECRET) return refused_by_peer(shake, at[0]); /* who says that has proved nothing */
    shake->proved = proves(shake, false, at);
    if (!shake->proved) return refuse(shake, KW_REASON_SECRET);
    if (at[0] != KW_REASON_NONE) return refused_by_peer(shake, at[0]);
    enum kw_handshake_reason verdict = judge(shake, true);
    if (verdict != KW_REASON_NONE) return refuse(shake, verdict);
    shake->stage = ENDED;
    return KW_HANDSHAKE_DONE;
}

static void begin(struct kw_handshake *shake, const struct kw_handshake_self *self, enum stage stage,
                  const unsigned char nonce[KW_HANDSHAKE_NONCE]) {
    memset(shake, 0, sizeof(*shake));
    shake->self = self;
    shake->stage = stage;
    memcpy(shake->nonce, nonce, sizeof(shake->nonce));
}

void kw_handshake_dial(struct kw_handshake *shake, const struct kw_handshake_self *self, uint64_t peer_id,
                       enum kw_handshake_purpose purpose, const unsigned char nonce[KW_HANDSHAKE_NONCE]) {
    begin(shake, self, WAIT_CHALLENGE, nonce);
    shake->peer_id = peer_id;
    shake->purpose = purpose;
    memcpy(shake->peer_cluster, self->cluster, sizeof(shake->peer_cluster));

    unsigned char *hello = shake->hello;
    size_t cluster_len = strlen(self->cluster), address_len = strlen(self->address);
    memcpy(hello, hello_magic, MAGIC);
    put_int(hello + VERSION_AT, KW_HANDSHAKE_VERSION, 2);
    hello[HELLO_PURPOSE] = (unsigned char)purpose;
    hello[HELLO_CLUSTER_LEN] = (unsigned char)cluster_len;
    put_int(hello + HELLO_ADDRESS_LEN, address_len, 2);
    put_int(hello + HELLO_DIALER, self->id, 8);
    put_int(hello + HELLO_ACCEPTOR, peer_id, 8);
    put_int(hello + HELLO_INCARNATION, self->incarnation, 8);
    memcpy(hello + HELLO_NONCE, nonce, KW_HANDSHAKE_NONCE);
    memcpy(hello + HELLO_CLUSTER, self->cluster, cluster_len);
    memcpy(hello + HELLO_ADDRESS, self->address, address_len);
    send(shake, hello, KW_HANDSHAKE_HELLO);
}

void kw_handshake_accept(struct kw_handshake *shake, const struct kw_handshake_self *self,
                         const unsigned char nonce[KW_HANDSHAKE_NONCE]) {
    begin(shake, self, WAIT_HELLO, nonce);
}

size_t kw_handshake_room(struct kw_handshake *shake, unsigned char **at) {
    *at = shake->in + shake->got;
    return stages[shake->stage].size - shake->got;
}

enum kw_handshake_step kw_handshake_took(struct kw_handshake *shake, size_t len) {
    enum stage stage = (enum stage)shake->stage;
    KW_ASSERT(len <= stages[stage].size - shake->got);
    shake->got += len;
    /* Who speaks something else may never send a whole frame: told by its first bytes. */
    const unsigned char *magic = stages[stage].magic;
    if (magic && memcmp(shake->in, magic, shake->got < MAGIC ? shake->got : MAGIC) != 0) {
        return refuse(shake, KW_REASON_GARBAGE);
    }
    if (shake->got < stages[stage].size) return KW_HANDSHAKE_MORE;
    shake->got = 0;
    return stages[stage].took(shake);
}

size_t kw_handshake_out(struct kw_handshake *shake, const unsigned char **bytes) {
    size_t len = shake->out_len;
    *bytes = shake->out;
    shake->out_len = 0;
    return len;
}
