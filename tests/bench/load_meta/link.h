/*
 * A connection to one node of a metadata service, and the two ways to speak on it: RESP to keyway-meta, gRPC over
 * HTTP/2 to etcd. Requests go out in one write a turn; each answer brings back the tag of its request. Whoever owns the
 * link learns of its end by `ended`; without that function the end of a connection ends the process.
 */
#ifndef KW_BENCH_META_LINK_H
#define KW_BENCH_META_LINK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cluster/seeds.h"

enum meta_request { META_PUT, META_GET, META_PING };

struct meta_link;

/* One answer; `text` is the value that was read, or what went wrong, borrowed for the call. */
struct meta_answer {
    uint64_t tag;
    bool failed;
    bool missing; /* a read that found nothing */
    const char *text;
    size_t len;
};

struct meta_owner {
    void (*answered)(struct meta_link *link, const struct meta_answer *answer);
    void (*pushed)(struct meta_link *link, const char *bytes, size_t len); /* NULL: pushes are passed over */
    void (*ended)(struct meta_link *link);                                 /* NULL: the process ends */
};

/* How a protocol frames requests and answers. `open` makes `link->state`. */
struct meta_protocol {
    const char *name;
    void (*open)(struct meta_link *link);
    void (*close)(struct meta_link *link);
    void (*request)(struct meta_link *link, enum meta_request request, const struct kw_str *key,
                    const struct kw_str *value, uint64_t tag);
    void (*take)(struct meta_link *link, const char *bytes, size_t len);
};

extern const struct meta_protocol meta_protocol_resp, meta_protocol_grpc;

struct meta_link {
    const struct meta_protocol *protocol;
    const struct meta_owner *owner;
    void *ctx;
    void *state;        /* of the protocol; own */
    const char *secret; /* keyway-meta's; borrowed; "": none */
    const char *table;  /* of its records; borrowed */
    const struct kw_seed *address;
    int epoll, fd;
    bool writing; /* EPOLLOUT is asked for */
    bool dead;
    struct kw_str out;
    size_t out_done;
    unsigned due; /* requests without an answer */
};

/* Connects, says what the protocol begins with, and joins `epoll` (events carry the link). */
void meta_link_open(struct meta_link *link, int epoll);
void meta_link_close(struct meta_link *link);
void meta_link_request(struct meta_link *link, enum meta_request request, const struct kw_str *key,
                       const struct kw_str *value, uint64_t tag);
/* A RESP command that is no request of the load; it is answered like one. */
void meta_link_command(struct meta_link *link, const char *const *words, const size_t *lens, size_t count,
                       uint64_t tag);
void meta_link_flush(struct meta_link *link);

/* One turn: waits up to `timeout_ns`, reads and answers what came, writes what was queued. False: nothing came. */
bool meta_turn(int epoll, uint64_t timeout_ns);

#endif
