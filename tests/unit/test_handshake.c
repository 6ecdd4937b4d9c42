/* The handshake without sockets: two of them fed to each other, and one fed by somebody who knows less or lies. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/hmac.h"
#include "raft/store/handshake.h"

static const unsigned char nonce_a[KW_HANDSHAKE_NONCE] = "nonce of the one who dials", //
    nonce_b[KW_HANDSHAKE_NONCE] = "nonce of the one who accepts";

static struct kw_handshake_self self_of(uint64_t id, const char *cluster, const char *secret) {
    struct kw_handshake_self self = {
        .id = id,
        .incarnation = 0x1111111111111111 * id,
        .address = "10.0.0.1:7380:17380",
        .secret = secret,
        .secret_len = strlen(secret),
    };
    snprintf(self.cluster, sizeof(self.cluster), "%s", cluster);
    return self;
}

/* Gives `to` all that `bytes` holds, `chunk` bytes at a time; what it answered is in `answer`. */
static enum kw_handshake_step give(struct kw_handshake *to, const unsigned char *bytes, size_t len, size_t chunk,
                                   unsigned char *answer, size_t *answer_len) {
    enum kw_handshake_step step = KW_HANDSHAKE_MORE;
    const unsigned char *out;
    unsigned char *at;
    while (len > 0 && step == KW_HANDSHAKE_MORE) {
        size_t room = kw_handshake_room(to, &at), n = len < chunk ? len : chunk;
        assert_true(room > 0);
        if (n > room) n = room;
        memcpy(at, bytes, n);
        bytes += n;
        len -= n;
        step = kw_handshake_took(to, n);
    }
    *answer_len = kw_handshake_out(to, &out);
    memcpy(answer, out, *answer_len);
    return step;
}

struct pair {
    struct kw_handshake_self dialer_self, acceptor_self;
    struct kw_handshake dialer, acceptor;
    enum kw_handshake_step dialer_step, acceptor_step;
    unsigned char wire[KW_HANDSHAKE_HELLO]; /* what was said last */
    size_t wire_len, said;
};

/* One frame passes; false when there was none. */
static bool pass(struct pair *pair, bool to_acceptor, size_t chunk) {
    if (pair->wire_len == 0) return false;
    unsigned char frame[KW_HANDSHAKE_HELLO];
    size_t len = pair->wire_len;
    memcpy(frame, pair->wire, len);
    enum kw_handshake_step step =
        give(to_acceptor ? &pair->acceptor : &pair->dialer, frame, len, chunk, pair->wire, &pair->wire_len);
    *(to_acceptor ? &pair->acceptor_step : &pair->dialer_step) = step;
    pair->said++;
    return true;
}

static void meet(struct pair *pair, uint64_t looks_for, enum kw_handshake_purpose purpose) {
    const unsigned char *out;
    kw_handshake_dial(&pair->dialer, &pair->dialer_self, looks_for, purpose, nonce_a);
    kw_handshake_accept(&pair->acceptor, &pair->acceptor_self, nonce_b);
    pair->dialer_step = pair->acceptor_step = KW_HANDSHAKE_MORE;
    pair->wire_len = kw_handshake_out(&pair->dialer, &out);
    memcpy(pair->wire, out, pair->wire_len);
    pair->said = 0;
}

static struct pair pair_of(const char *cluster_a, const char *secret_a, const char *cluster_b, const char *secret_b) {
    return (struct pair){.dialer_self = self_of(1, cluster_a, secret_a),
                         .acceptor_self = self_of(2, cluster_b, secret_b)};
}

static void run(struct pair *pair, size_t chunk) {
    for (bool to_acceptor = true; pass(pair, to_acceptor, chunk); to_acceptor = !to_acceptor) {
    }
}

static void test_both_prove_themselves(void **state) {
    (void)state;
    static const enum kw_handshake_purpose purposes[] = {KW_PURPOSE_RAFT, KW_PURPOSE_HINT};
    for (size_t chunk = 1; chunk <= KW_HANDSHAKE_HELLO; chunk += chunk < 70 ? 1 : 50) {
        for (size_t i = 0; i < KW_ARRAY_LEN(purposes); i++) {
            struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
            meet(&pair, 2, purposes[i]);
            run(&pair, chunk);
            assert_int_equal(pair.said, 4);
            assert_int_equal(pair.dialer_step, KW_HANDSHAKE_DONE);
            assert_int_equal(pair.acceptor_step, KW_HANDSHAKE_DONE);
            assert_int_equal(pair.acceptor.peer_id, 1);
            assert_int_equal(pair.acceptor.purpose, purposes[i]);
            assert_true(pair.acceptor.peer_incarnation == 0x1111111111111111);
            assert_true(pair.dialer.peer_incarnation == 0x2222222222222222);
            assert_true(pair.acceptor.proved && pair.dialer.proved);
            assert_string_equal(pair.acceptor.peer_address, "10.0.0.1:7380:17380");
        }
    }
}

/* The longest that may be. */
static void test_long_names(void **state) {
    (void)state;
    char cluster[KW_HANDSHAKE_CLUSTER_MAX + 1] = {0};
    memset(cluster, 'c', sizeof(cluster) - 1);
    struct pair pair = pair_of(cluster, "", cluster, "");
    memset(pair.dialer_self.address, 'h', sizeof(pair.dialer_self.address) - 1);
    meet(&pair, 2, KW_PURPOSE_RAFT);
    run(&pair, 1000);
    assert_int_equal(pair.acceptor_step, KW_HANDSHAKE_DONE);
    assert_string_equal(pair.acceptor.peer_address, pair.dialer_self.address);
    assert_string_equal(pair.acceptor.peer_cluster, cluster);
}

static void expect_refusal(struct pair *pair, uint64_t looks_for, enum kw_handshake_reason reason) {
    meet(pair, looks_for, KW_PURPOSE_RAFT);
    run(pair, 1000);
    assert_int_equal(pair->acceptor_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(pair->acceptor.reason, reason);
    assert_false(pair->acceptor.by_peer);
    assert_int_equal(pair->dialer_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(pair->dialer.reason, reason);
    assert_true(pair->dialer.by_peer);
}

static void test_refusals_say_why_to_both(void **state) {
    (void)state;
    struct pair secret = pair_of("orders", "a secret", "orders", "b secret");
    expect_refusal(&secret, 2, KW_REASON_SECRET);
    struct pair none = pair_of("orders", "", "orders", "b secret");
    expect_refusal(&none, 2, KW_REASON_SECRET);
    struct pair cluster = pair_of("orders", "a secret", "order", "a secret");
    expect_refusal(&cluster, 2, KW_REASON_CLUSTER);
    struct pair id = pair_of("orders", "a secret", "orders", "a secret");
    expect_refusal(&id, 3, KW_REASON_NODE);
    struct pair same = pair_of("orders", "a secret", "orders", "a secret");
    same.dialer_self.id = 2;
    expect_refusal(&same, 2, KW_REASON_NODE);
}

/* Whoever is dialled must know the secret, too: a welcome with a wrong proof. */
static void test_acceptor_must_prove_itself(void **state) {
    (void)state;
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    for (unsigned byte = 0; byte < KW_HMAC_SIZE; byte++) {
        meet(&pair, 2, KW_PURPOSE_RAFT);
        for (int i = 0; i < 3; i++) pass(&pair, i % 2 == 0, 1000);
        assert_int_equal(pair.wire_len, KW_HANDSHAKE_WELCOME);
        pair.wire[KW_HANDSHAKE_WELCOME - 1 - byte] ^= 1;
        pass(&pair, false, 1000);
        assert_int_equal(pair.dialer_step, KW_HANDSHAKE_REFUSED);
        assert_int_equal(pair.dialer.reason, KW_REASON_SECRET);
        assert_false(pair.dialer.by_peer);
    }
}

/* Somebody else answers: nothing is proved to it. */
static void test_another_node_answers(void **state) {
    (void)state;
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    meet(&pair, 2, KW_PURPOSE_RAFT);
    pass(&pair, true, 1000);
    pair.wire[23] = 3; /* the challenge's id */
    pass(&pair, false, 1000);
    assert_int_equal(pair.dialer_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(pair.dialer.reason, KW_REASON_NODE);
    assert_int_equal(pair.wire_len, 0);
}

/* Every bit of all four frames is covered: no change of one passes both sides. */
static void test_no_bit_can_be_changed(void **state) {
    (void)state;
    static const size_t sizes[] = {KW_HANDSHAKE_HELLO, KW_HANDSHAKE_CHALLENGE, KW_HANDSHAKE_PROOF,
                                   KW_HANDSHAKE_WELCOME};
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    for (size_t frame = 0; frame < KW_ARRAY_LEN(sizes); frame++) {
        for (size_t bit = 0; bit < sizes[frame] * 8; bit++) {
            meet(&pair, 2, KW_PURPOSE_RAFT);
            for (size_t i = 0; i < frame; i++) pass(&pair, i % 2 == 0, 1000);
            pair.wire[bit / 8] ^= (unsigned char)(1U << bit % 8);
            for (size_t i = frame; pass(&pair, i % 2 == 0, 1000); i++) {
            }
            assert_false(pair.dialer_step == KW_HANDSHAKE_DONE && pair.acceptor_step == KW_HANDSHAKE_DONE);
            if (frame < 3) assert_int_not_equal(pair.acceptor_step, KW_HANDSHAKE_DONE);
        }
    }
}

/* A proof that was heard is worth nothing against another nonce, nor in the other direction. */
static void test_replay_and_reflection(void **state) {
    (void)state;
    unsigned char hello[KW_HANDSHAKE_HELLO], proof[KW_HANDSHAKE_PROOF], answer[KW_HANDSHAKE_HELLO];
    size_t len;
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    meet(&pair, 2, KW_PURPOSE_RAFT);
    memcpy(hello, pair.wire, sizeof(hello));
    pass(&pair, true, 1000);
    pass(&pair, false, 1000);
    memcpy(proof, pair.wire, sizeof(proof));

    struct kw_handshake again;
    kw_handshake_accept(&again, &pair.acceptor_self, nonce_b);
    assert_int_equal(give(&again, hello, sizeof(hello), 1000, answer, &len), KW_HANDSHAKE_MORE);
    assert_int_equal(give(&again, proof, sizeof(proof), 1000, answer, &len), KW_HANDSHAKE_DONE); /* the same nonce */
    kw_handshake_accept(&again, &pair.acceptor_self, nonce_a);
    assert_int_equal(give(&again, hello, sizeof(hello), 1000, answer, &len), KW_HANDSHAKE_MORE);
    assert_int_equal(give(&again, proof, sizeof(proof), 1000, answer, &len), KW_HANDSHAKE_REFUSED);

    /* The dialer's own proof as a welcome. */
    unsigned char welcome[KW_HANDSHAKE_WELCOME] = "kwmeta<\n";
    memcpy(welcome + sizeof(welcome) - sizeof(proof), proof, sizeof(proof));
    assert_int_equal(give(&pair.dialer, welcome, sizeof(welcome), 1000, answer, &len), KW_HANDSHAKE_REFUSED);
    assert_int_equal(pair.dialer.reason, KW_REASON_SECRET);
}

/* What one side remembers of the other. */
struct memory {
    uint64_t id, incarnation; /* of the peer; 0: nothing */
    bool cannot_write;
    unsigned checked, noted;
};

static enum kw_handshake_reason judge(void *ctx, uint64_t id, uint64_t incarnation, bool proved) {
    struct memory *memory = ctx;
    (*(proved ? &memory->noted : &memory->checked))++;
    if (memory->id == id && memory->incarnation != incarnation) return KW_REASON_INCARNATION;
    if (memory->id == id || !proved) return KW_REASON_NONE;
    if (memory->cannot_write) return KW_REASON_RECORD;
    memory->id = id;
    memory->incarnation = incarnation;
    return KW_REASON_NONE;
}

/* One and two, who have met before or never. */
static struct pair acquainted(struct memory *of_dialer, struct memory *of_acceptor) {
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    pair.dialer_self.judge = pair.acceptor_self.judge = judge;
    pair.dialer_self.judge_ctx = of_dialer;
    pair.acceptor_self.judge_ctx = of_acceptor;
    return pair;
}

/* Each writes down the other when that one has proved itself, not before. */
static void test_the_incarnation_is_noted(void **state) {
    (void)state;
    struct memory one = {0}, two = {0};
    struct pair pair = acquainted(&one, &two);
    meet(&pair, 2, KW_PURPOSE_RAFT);
    pass(&pair, true, 1000);
    assert_int_equal(two.checked + two.noted, 0); /* a claim so far */
    pass(&pair, false, 1000);
    assert_int_equal(one.checked, 1);
    assert_int_equal(one.id, 0);
    pass(&pair, true, 1000);
    assert_true(two.id == 1 && two.incarnation == 0x1111111111111111);
    assert_int_equal(one.id, 0);
    pass(&pair, false, 1000);
    assert_true(one.id == 2 && one.incarnation == 0x2222222222222222);
    assert_int_equal(pair.dialer_step, KW_HANDSHAKE_DONE);
    meet(&pair, 2, KW_PURPOSE_HINT); /* and again */
    run(&pair, 1000);
    assert_int_equal(pair.dialer_step, KW_HANDSHAKE_DONE);
    assert_int_equal(pair.acceptor_step, KW_HANDSHAKE_DONE);
}

/* A node whose folder is another one is refused whoever dials, and can be sure of who says so. */
static void test_another_incarnation_is_refused(void **state) {
    (void)state;
    struct memory none = {0}, other_one = {.id = 1, .incarnation = 7}, other_two = {.id = 2, .incarnation = 7};
    struct pair comes = acquainted(&none, &other_one);
    expect_refusal(&comes, 2, KW_REASON_INCARNATION);
    assert_true(comes.dialer.proved);
    assert_int_equal(comes.said, 4);
    assert_int_equal(none.id, 0);

    struct pair stays = acquainted(&other_two, &none);
    meet(&stays, 2, KW_PURPOSE_RAFT);
    run(&stays, 1000);
    assert_int_equal(stays.dialer_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(stays.dialer.reason, KW_REASON_INCARNATION);
    assert_false(stays.dialer.by_peer);
    assert_int_equal(stays.acceptor_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(stays.acceptor.reason, KW_REASON_INCARNATION);
    assert_true(stays.acceptor.by_peer && stays.acceptor.proved);
    assert_int_equal(none.id, 0);
}

/* What cannot be remembered is not let in. */
static void test_a_note_that_cannot_be_written(void **state) {
    (void)state;
    struct memory none = {0}, full = {.cannot_write = true};
    struct pair comes = acquainted(&none, &full);
    expect_refusal(&comes, 2, KW_REASON_RECORD);
    struct pair stays = acquainted(&full, &none);
    meet(&stays, 2, KW_PURPOSE_RAFT);
    run(&stays, 1000);
    assert_int_equal(stays.dialer_step, KW_HANDSHAKE_REFUSED);
    assert_int_equal(stays.dialer.reason, KW_REASON_RECORD);
}

/* Who does not know the secret can say it in every frame, and is not believed in any. */
static void test_a_stranger_cannot_disown(void **state) {
    (void)state;
    static const size_t verdict_at[] = {0, 10, 0, 8}; /* of challenge, proof and welcome */
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    for (size_t frame = 1; frame <= 3; frame++) {
        meet(&pair, 2, KW_PURPOSE_RAFT);
        for (size_t i = 0; i < frame; i++) pass(&pair, i % 2 == 0, 1000);
        pair.wire[verdict_at[frame]] = KW_REASON_INCARNATION;
        pass(&pair, frame % 2 == 0, 1000);
        const struct kw_handshake *told = frame % 2 == 0 ? &pair.acceptor : &pair.dialer;
        assert_int_equal(frame % 2 == 0 ? pair.acceptor_step : pair.dialer_step, KW_HANDSHAKE_REFUSED);
        assert_false(told->proved);
        assert_int_equal(told->reason, frame == 1 ? KW_REASON_INCARNATION : KW_REASON_SECRET);
    }
}

/* Who does not speak the protocol is told by its first bytes, and gets no answer. */
static void test_garbage_at_once_and_without_an_answer(void **state) {
    (void)state;
    static const char *const garbage[] = {"P", "*1\r\n$4\r\nPING\r\n", "GET / HTTP/1.1\r\n", "\x16\x03\x01", "kwmetb"};
    struct kw_handshake_self self = self_of(2, "orders", "a secret");
    unsigned char answer[KW_HANDSHAKE_HELLO];
    size_t len;
    for (size_t i = 0; i < KW_ARRAY_LEN(garbage); i++) {
        struct kw_handshake shake;
        kw_handshake_accept(&shake, &self, nonce_b);
        const unsigned char *bytes = (const unsigned char *)garbage[i];
        assert_int_equal(give(&shake, bytes, strlen(garbage[i]), 1, answer, &len), KW_HANDSHAKE_REFUSED);
        assert_int_equal(shake.reason, KW_REASON_GARBAGE);
        assert_int_equal(len, 0);
    }
}

static void put(unsigned char *hello, size_t at, unsigned value) {
    hello[at] = (unsigned char)value;
}

/* A hello that begins well and goes on wrongly. */
static void test_unsound_hellos(void **state) {
    (void)state;
    static const struct {
        size_t at;
        unsigned value;
        enum kw_handshake_reason reason;
    } rows[] = {
        {8, 1, KW_REASON_VERSION},     {9, 0, KW_REASON_VERSION},    {9, 2, KW_REASON_VERSION},
        {10, 0, KW_REASON_GARBAGE},    {10, 3, KW_REASON_GARBAGE},   {11, 0, KW_REASON_GARBAGE},
        {11, 5, KW_REASON_GARBAGE},    {11, 7, KW_REASON_GARBAGE},   {11, 65, KW_REASON_GARBAGE},
        {11, 255, KW_REASON_GARBAGE},  {12, 255, KW_REASON_GARBAGE}, {13, 0, KW_REASON_GARBAGE},
        {13, 18, KW_REASON_GARBAGE},   {13, 20, KW_REASON_GARBAGE},  {14, 1, KW_REASON_GARBAGE},
        {15, 1, KW_REASON_GARBAGE},    {23, 0, KW_REASON_GARBAGE},   {23, 2, KW_REASON_NODE},
        {31, 9, KW_REASON_NODE},       {72, 0, KW_REASON_GARBAGE},   {72, 'p', KW_REASON_CLUSTER},
        {78, 'x', KW_REASON_GARBAGE},  {135, 1, KW_REASON_GARBAGE},  {136, 0, KW_REASON_GARBAGE},
        {423, 'x', KW_REASON_GARBAGE},
    };
    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        meet(&pair, 2, KW_PURPOSE_RAFT);
        put(pair.wire, rows[i].at, rows[i].value);
        pass(&pair, true, 1000);
        assert_int_equal(pair.acceptor_step, KW_HANDSHAKE_REFUSED);
        assert_int_equal(pair.acceptor.reason, rows[i].reason);
        assert_int_equal(pair.wire_len, rows[i].reason == KW_REASON_GARBAGE ? 0 : KW_HANDSHAKE_CHALLENGE);
        for (size_t at = 16; at < pair.wire_len; at++) assert_int_equal(pair.wire[at], 0); /* nothing is given away */
    }
}

/* Never a byte of what follows: the room is what is left of the frame. */
static void test_room_ends_with_the_frame(void **state) {
    (void)state;
    struct kw_handshake_self self = self_of(2, "orders", "a secret");
    struct kw_handshake shake;
    unsigned char *at;
    kw_handshake_accept(&shake, &self, nonce_b);
    assert_int_equal(kw_handshake_room(&shake, &at), KW_HANDSHAKE_HELLO);
    static const unsigned char magic[8] = "kwmeta>\n";
    memcpy(at, magic, sizeof(magic));
    assert_int_equal(kw_handshake_took(&shake, 8), KW_HANDSHAKE_MORE);
    assert_int_equal(kw_handshake_room(&shake, &at), KW_HANDSHAKE_HELLO - 8);

    struct pair pair = pair_of("orders", "a secret", "orders", "a secret");
    meet(&pair, 2, KW_PURPOSE_RAFT);
    assert_int_equal(kw_handshake_room(&pair.dialer, &at), KW_HANDSHAKE_CHALLENGE);
    pass(&pair, true, 1000);
    assert_int_equal(kw_handshake_room(&pair.acceptor, &at), KW_HANDSHAKE_PROOF);
    pass(&pair, false, 1000);
    assert_int_equal(kw_handshake_room(&pair.dialer, &at), KW_HANDSHAKE_WELCOME);
    pass(&pair, true, 1000);
    assert_int_equal(kw_handshake_room(&pair.acceptor, &at), 0);
    pass(&pair, false, 1000);
    assert_int_equal(kw_handshake_room(&pair.dialer, &at), 0);
}

static void test_every_reason_has_words(void **state) {
    (void)state;
    for (unsigned i = 0; i < KW_REASON_COUNT; i++) {
        assert_true(strlen(kw_handshake_reason_text((enum kw_handshake_reason)i)) > 8);
    }
    assert_non_null(kw_handshake_reason_text((enum kw_handshake_reason)200));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_both_prove_themselves),
        cmocka_unit_test(test_long_names),
        cmocka_unit_test(test_refusals_say_why_to_both),
        cmocka_unit_test(test_acceptor_must_prove_itself),
        cmocka_unit_test(test_another_node_answers),
        cmocka_unit_test(test_no_bit_can_be_changed),
        cmocka_unit_test(test_replay_and_reflection),
        cmocka_unit_test(test_garbage_at_once_and_without_an_answer),
        cmocka_unit_test(test_unsound_hellos),
        cmocka_unit_test(test_room_ends_with_the_frame),
        cmocka_unit_test(test_every_reason_has_words),
        cmocka_unit_test(test_the_incarnation_is_noted),
        cmocka_unit_test(test_another_incarnation_is_refused),
        cmocka_unit_test(test_a_note_that_cannot_be_written),
        cmocka_unit_test(test_a_stranger_cannot_disown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
