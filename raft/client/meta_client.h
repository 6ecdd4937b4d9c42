/*
 * A client of the metadata service: follows one of its nodes at a time. It is
 * sent each new cluster map, tells the service that this process lives, and
 * carries commands to it. One connection; when it ends, stays silent or leads
 * nowhere, the next node is tried, for as long as the client lives.
 *
 * Everything here runs on the thread of the loop; callbacks never run inline.
 * Memory is bounded by the limits below. What the nodes send is untrusted.
 */
#ifndef KW_RAFT_CLIENT_META_CLIENT_H
#define KW_RAFT_CLIENT_META_CLIENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "raft/state/map.h"

enum {
    KW_META_CLIENT_NODES_MAX = 64,                /* addresses known at once, configured or learned */
    KW_META_CLIENT_ASKS_MAX = 1024,               /* commands under way */
    KW_META_CLIENT_ASK_BYTES_MAX = 1024 * 1024,   /* of one command */
    KW_META_CLIENT_REPLY_MAX = 16 * 1024 * 1024,  /* of one reply or push; a larger reply is KW_ELIMIT */
    KW_META_CLIENT_UNSENT_MAX = 16 * 1024 * 1024, /* commands that the node has not taken yet */
    KW_META_CLIENT_ADDRESS_SIZE = 272,            /* "host:port", an IPv6 host in brackets */
    KW_META_CLIENT_WHY_SIZE = 200,
};

struct kw_meta_client;

/* What PROXY REGISTER says of this process. */
struct kw_meta_client_identity {
    const char *id;      /* at most 64 bytes, the same for the life of the process */
    const char *address; /* "host:port"; ":port": the host is the own end of the connection to the service */
    const char *version;
    unsigned workers;
};

/* What is known of the link. Texts are "" where not known. */
struct kw_meta_client_facts {
    bool up;                                  /* a node is being followed */
    bool refused;                             /* the last attempt failed because a node did not take the secret */
    char node[KW_META_CLIENT_ADDRESS_SIZE];   /* being followed, or tried last */
    char leader[KW_META_CLIENT_ADDRESS_SIZE]; /* as that node said last */
    uint64_t leader_id;                       /* 0: none is known */
    uint64_t applied_index;                   /* of that node, as it said last */
    uint64_t map_version;                     /* of the map held; 0: none */
    uint64_t last_seen_ms;                    /* kw_clock_ms() when a node was last heard; 0: never */
    uint64_t reconnects;                      /* links established, without the first */
    char why[KW_META_CLIENT_WHY_SIZE];        /* how the last attempt or link ended */
};

struct kw_meta_client_options {
    const char *nodes;                              /* see cluster/seeds.h */
    const char *secret;                             /* NULL or "": none */
    const struct kw_meta_client_identity *identity; /* NULL: does not register */
    unsigned connect_timeout_ms;                    /* resolve, connect and greet together; 0: 1000 */
    unsigned alive_timeout_ms;                      /* a node silent for longer is left; 0: 3000 */
    unsigned register_ms;                           /* between signs of life; 0: 5000 */
    unsigned ask_timeout_ms;                        /* 0: 5000 */
    /* A map, borrowed: kw_map_ref() to keep it. Without nodes: the service knows of no cluster. */
    void (*on_map)(void *ctx, struct kw_map *map);
    /*
     * `up`: a node is being followed now, perhaps another one than before. Not `up`: every node known has been tried in
     * vain since then; told once, the attempts go on.
     */
    void (*on_link)(void *ctx, bool up, const struct kw_meta_client_facts *facts);
    void (*on_facts)(void *ctx, const struct kw_meta_client_facts *facts); /* something of them is new; may be NULL */
    void *ctx;
};

/* Copies the options and begins to connect. 0, or KW_EINVALID when the nodes are no list of addresses. */
int kw_meta_client_new(struct kw_meta_client **out, uv_loop_t *loop, const struct kw_meta_client_options *opts);

/*
 * The answer to a command: 0 and one RESP value, borrowed for the call; or KW_EUNREACHABLE (no node took it),
 * KW_ELINKLOST and KW_ETIMEOUT (it may have run), KW_ELIMIT (the reply is too large).
 */
typedef void kw_meta_client_reply_fn(void *ctx, int err, const char *reply, size_t len);

struct kw_meta_client_ask {
    size_t argc;
    const char *const *argv;
    const size_t *argv_len; /* NULL: texts */
    int resp;               /* of the reply: 2 or 3 */
    /* Once more does no harm (a read, a write with a request id): sent again when the link is lost. */
    bool repeatable;
    kw_meta_client_reply_fn *fn;
    void *ctx;
};

/*
 * Sends a command; one that is answered NOTLEADER follows the link to the leader. While a link is being made it waits.
 * 0: `fn` runs exactly once, later. KW_EUNREACHABLE (no node answers), KW_ELIMIT (too many, or too large): it never
 * runs.
 */
int kw_meta_client_ask(struct kw_meta_client *client, const struct kw_meta_client_ask *ask);

void kw_meta_client_facts(const struct kw_meta_client *client, struct kw_meta_client_facts *facts);

/*
 * Takes this process off the list of proxies as well as it can, and closes. Commands under way are answered before this
 * returns; no other callback but `closed` (may be NULL) runs afterwards, from the loop, when all memory is given
 * back. `client` is gone then.
 */
void kw_meta_client_close(struct kw_meta_client *client, void (*closed)(void *ctx), void *ctx);

#endif
