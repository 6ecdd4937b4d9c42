/*
 * How two metadata nodes prove to each other, before anything else passes
 * between them, that both know the secret and that each is who it says.
 * Pure: bytes in, bytes and a verdict out; no socket, clock or randomness.
 *
 *     dialer                                        acceptor
 *       hello: version, purpose, both ids,
 *              own incarnation, cluster,
 *              own address, nonce            ----->  refuses another version, cluster or node
 *                                           <-----  challenge: id, incarnation, nonce
 *       proof: verdict,
 *              HMAC("dialer", all before)    ----->  refuses a wrong secret
 *                                           <-----  welcome: verdict, HMAC("acceptor", all before)
 *       refuses a wrong secret
 *
 * The one who wants to come in proves first: a stranger that dials is given nothing from which the secret could be
 * guessed at leisure. Both proofs cover both nonces, so none can be used twice, and who said them, so none can be sent
 * back. Frames have fixed sizes, integers are big endian. A refusal takes the place of the challenge or welcome and
 * says why, for the log on the other side; what is not our protocol at all gets no answer.
 *
 * The incarnation is that of a node's data folder: who comes back under a known id with another folder has forgotten
 * its votes. That is judged by the owner (`judge`), and the verdict on it is a refusal with a proof: the one who is
 * refused ends, so no stranger may be able to say it.
 *
 * What follows on the socket is neither encrypted nor authenticated: who can alter packets between two nodes can take
 * over after the handshake. The secret keeps out everybody else.
 */
#ifndef KW_RAFT_STORE_HANDSHAKE_H
#define KW_RAFT_STORE_HANDSHAKE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/store/address.h"

enum {
    KW_HANDSHAKE_VERSION = 1,
    KW_HANDSHAKE_NONCE = 32,
    KW_HANDSHAKE_CLUSTER_MAX = 64, /* bytes of a cluster's name */
    KW_HANDSHAKE_HELLO = 424,      /* sizes of the frames; the hello's is the same in every version */
    KW_HANDSHAKE_CHALLENGE = 64,
    KW_HANDSHAKE_PROOF = 40,
    KW_HANDSHAKE_WELCOME = 48,
};

enum kw_handshake_purpose {
    KW_PURPOSE_RAFT = 1, /* libraft's messages */
    KW_PURPOSE_HINT = 2, /* nothing: its end says that the process ended */
};

/* Why a handshake failed; the number travels in refusals, so rows are only ever added at the end.
 *        name        text, after "it " */
#define KW_HANDSHAKE_REASON_MAP(X)                                                                                     \
    X(NONE, "nothing wrong")                                                                                           \
    X(GARBAGE, "does not speak this protocol")                                                                         \
    X(VERSION, "speaks another version of this protocol")                                                              \
    X(CLUSTER, "belongs to another cluster")                                                                           \
    X(NODE, "disagrees on which node has which id")                                                                    \
    X(SECRET, "does not know the secret")                                                                              \
    X(INCARNATION, "has another data folder than the one with which its id took part before")                          \
    X(RECORD, "is not known yet, and could not be written down")

enum kw_handshake_reason {
#define X(name, text) KW_REASON_##name,
    KW_HANDSHAKE_REASON_MAP(X)
#undef X
        KW_REASON_COUNT
};

/* Static text. */
const char *kw_handshake_reason_text(enum kw_handshake_reason reason);

/* One side's own facts. Borrowed by its handshakes. */
struct kw_handshake_self {
    uint64_t id, incarnation;
    char address[KW_META_ADDRESS_SIZE];
    char cluster[KW_HANDSHAKE_CLUSTER_MAX + 1];
    const char *secret;
    size_t secret_len;
    /*
     * What this node remembers of `id`: NONE: this incarnation or nothing, INCARNATION: another one. `proved`: the peer
     * is who it says; what is new is on the disk before NONE is answered (RECORD: it cannot be). NULL: all are welcome.
     */
    enum kw_handshake_reason (*judge)(void *ctx, uint64_t id, uint64_t incarnation, bool proved);
    void *judge_ctx;
};

enum kw_handshake_step {
    KW_HANDSHAKE_MORE,    /* send what there is to send, then read on */
    KW_HANDSHAKE_DONE,    /* send what there is to send; the peer has proved itself */
    KW_HANDSHAKE_REFUSED, /* send what there is to send, then close; `reason`, `by_peer` */
};

struct kw_handshake {
    /* Of the peer; on the acceptor's side claims only, until done. */
    uint64_t peer_id, peer_incarnation;
    char peer_address[KW_META_ADDRESS_SIZE]; /* acceptor's side only */
    char peer_cluster[KW_HANDSHAKE_CLUSTER_MAX + 1];
    enum kw_handshake_purpose purpose;
    enum kw_handshake_reason reason;
    bool by_peer; /* it was the other side that refused */
    bool proved;  /* and it knows the secret */

    /* Private. */
    const struct kw_handshake_self *self;
    unsigned stage;                          /* which frame is expected */
    size_t got;                              /* bytes of it */
    unsigned char nonce[KW_HANDSHAKE_NONCE]; /* own */
    unsigned char in[KW_HANDSHAKE_HELLO];    /* the frame that is being read */
    unsigned char out[KW_HANDSHAKE_HELLO];   /* what is to be sent */
    size_t out_len;
    unsigned char hello[KW_HANDSHAKE_HELLO]; /* both as they went over the wire: what the proofs cover */
    unsigned char challenge[KW_HANDSHAKE_CHALLENGE];
};

/* Begin; `nonce` is fresh randomness. The dialer has its hello to send at once. */
void kw_handshake_dial(struct kw_handshake *shake, const struct kw_handshake_self *self, uint64_t peer_id,
                       enum kw_handshake_purpose purpose, const unsigned char nonce[KW_HANDSHAKE_NONCE]);
void kw_handshake_accept(struct kw_handshake *shake, const struct kw_handshake_self *self,
                         const unsigned char nonce[KW_HANDSHAKE_NONCE]);

/* Where the next bytes go, and how many at most: never one more than the frame that is expected has. */
size_t kw_handshake_room(struct kw_handshake *shake, unsigned char **at);
/* `len` bytes (at most the room) were put there. */
enum kw_handshake_step kw_handshake_took(struct kw_handshake *shake, size_t len);
/* What is to be sent now, and forgets it; valid until the next call. */
size_t kw_handshake_out(struct kw_handshake *shake, const unsigned char **bytes);

#endif
