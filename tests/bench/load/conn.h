/*
 * One connection: bytes out, replies counted in. It knows in which order replies are due and to which request each
 * belongs, and finds where they end; it keeps none of their bytes, unless the run looks at them.
 */
#ifndef KW_BENCH_LOAD_CONN_H
#define KW_BENCH_LOAD_CONN_H

#include <stdbool.h>
#include <stdint.h>

#include "base/buffer.h"
#include "base/resp_reply.h"
#include "base/str.h"
#include "tests/bench/load/nodes.h"

struct load_client;

struct load_conn {
    int fd;
    bool writing;                 /* EPOLLOUT is asked for */
    bool looking;                 /* whole replies are kept in `reply` */
    struct load_client *client;   /* borrowed; NULL: no client behind it */
    const struct load_node *node; /* borrowed */
    struct kw_outq out;
    struct kw_reply_scan scan;
    size_t reply_bytes;  /* of the reply that is coming */
    struct kw_str reply; /* of it, where it is an error or `looking` */
    uint32_t *due;       /* own: requests that wait for a reply, a ring */
    uint32_t due_head, due_count, due_cap;
};

/* Connects and adds it to `epoll`, whose events carry the connection. `expect` replies at once are usual. */
void load_conn_open(struct load_conn *conn, const struct load_node *node, int epoll, uint32_t expect);
void load_conn_close(struct load_conn *conn, struct kw_pool *pool);

/* One more reply is due, for that request. */
void load_conn_expect(struct load_conn *conn, uint32_t request);

/* Sends what is queued, as much as goes; the rest when EPOLLOUT comes. */
void load_conn_flush(struct load_conn *conn, int epoll, struct kw_pool *pool);

/* Reads once; 0: there was nothing. The end of the connection ends the process. */
size_t load_conn_read(const struct load_conn *conn, char *buf, size_t size);

/* What came in. */
struct load_reply {
    uint32_t request;
    size_t used;       /* bytes taken from the buffer */
    bool done;         /* else all of them, and the reply goes on */
    bool error;        /* an error reply */
    bool nil;          /* a nil, or an empty place of a list in RESP2 */
    const char *bytes; /* of an error, or where they are looked at: the whole; until the next call */
    size_t len;
};

/* Takes the next reply, or a part of it, from `buf`. What is no RESP or was not asked for ends the process. */
void load_conn_take(struct load_conn *conn, const char *buf, size_t len, struct load_reply *reply);

#endif
