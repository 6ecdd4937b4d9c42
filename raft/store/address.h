/*
 * A metadata node's address: host, client port (RESP) and raft port. As text, in the
 * configuration and in raft's own configuration: "host:port" or "host:port:raftport", an IPv6 host in brackets; the
 * raft port is the client port + 10000 unless it is said. Pure; any thread.
 */
#ifndef KW_RAFT_STORE_ADDRESS_H
#define KW_RAFT_STORE_ADDRESS_H

#include <stddef.h>
#include <stdint.h>

enum { KW_META_HOST_MAX = 255, KW_META_ADDRESS_SIZE = 288, KW_META_PEERS_MAX = 9, KW_META_RAFT_PORT_OFFSET = 10000 };

struct kw_meta_address {
    char host[KW_META_HOST_MAX + 1]; /* without brackets */
    unsigned port;                   /* RESP */
    unsigned raft_port;
};

struct kw_meta_peer {
    uint64_t id;
    struct kw_meta_address address;
};

/* 0, or KW_EINVALID with the reason in `why`. */
int kw_meta_address_parse(struct kw_meta_address *out, const char *text, size_t len, char *why, size_t why_size);
/* "host:port:raftport", always whole: what raft's configuration holds. */
void kw_meta_address_print(const struct kw_meta_address *address, char out[KW_META_ADDRESS_SIZE]);
/* "1=host:port[:raftport] 2=..." separated by blanks or commas: their number, or KW_EINVALID (also: an id or address
 * twice). */
int kw_meta_peers_parse(struct kw_meta_peer out[KW_META_PEERS_MAX], const char *text, char *why, size_t why_size);

#endif
