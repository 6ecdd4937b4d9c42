/*
 * Looks at libraft's messages on their way in, before libraft does: it allocates whatever a length field says, and
 * reads as far as one says, past the end of what has come. A message passes when its lengths agree with each other and
 * with the bounds below; what its numbers mean is raft's business.
 *
 * A message is a preamble (16 bytes: type, format version, header's length), a header, and the payload whose length
 * follows from the header; as libraft 0.22 writes them, little endian. Later versions may add to the end of headers.
 *
 * Pure, except for kw_filter_watch. Costs nothing to speak of: payloads, which are most of it, are only counted.
 */
#ifndef KW_RAFT_STORE_TRANSPORT_FILTER_H
#define KW_RAFT_STORE_TRANSPORT_FILTER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

enum {
    KW_FILTER_PREAMBLE = 16,
    KW_FILTER_HEADER_MAX = 64 * 1024, /* four thousand entries a message; libraft sends 32 */
    KW_FILTER_SERVERS_MAX = 64,       /* of a configuration */
};
#define KW_FILTER_ENTRIES_BYTES_MAX  ((uint64_t)1 << 30)
#define KW_FILTER_SNAPSHOT_BYTES_MAX ((uint64_t)1 << 32)

struct kw_filter {
    unsigned type, version;
    uint64_t header_len, payload_len; /* payload_len is known once the header has passed */
};

/* The preamble of a message. False: refused. */
bool kw_filter_preamble(struct kw_filter *filter, const unsigned char bytes[KW_FILTER_PREAMBLE]);
/* Its header, `header_len` bytes. */
bool kw_filter_header(struct kw_filter *filter, const unsigned char *header);

/*
 * An accepted connection: its handle, which libraft frees as a whole, and what the filter has seen of it. Handles of
 * this kind are made by the link.
 */
struct kw_filtered {
    uv_tcp_t tcp; /* first: libraft knows only this */
    uv_alloc_cb alloc;
    uv_read_cb read; /* libraft's */
    uint64_t peer_id;
    struct kw_filter filter;
    enum { KW_FILTER_IN_PREAMBLE, KW_FILTER_IN_HEADER, KW_FILTER_IN_PAYLOAD } part;
    const unsigned char *base; /* where libraft gathers this part */
    uint64_t got, want;        /* bytes of this part */
};

/*
 * Puts the filter between the socket and libraft, which has begun to read from it. What is refused ends the connection
 * with a line in the log; the peer may connect anew.
 */
void kw_filter_watch(struct kw_filtered *stream, uint64_t peer_id);

#endif
