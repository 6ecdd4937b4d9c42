/*
 * The addresses of metadata nodes: those of the configuration, which stay, and
 * those that the service has named, which come and go with its members.
 */
#ifndef KW_RAFT_CLIENT_META_NODES_H
#define KW_RAFT_CLIENT_META_NODES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cluster/seeds.h"
#include "raft/client/meta_client.h"

struct kw_meta_node {
    char host[KW_SEED_HOST_MAX + 1]; /* IPv6 without brackets */
    unsigned port;
    bool configured;
    bool named;           /* by the list of members being read */
    unsigned avoid_ms;    /* how long not to follow a hint to it the next time it fails */
    uint64_t avoid_until; /* hints to it are not followed before then */
};

struct kw_meta_nodes {
    struct kw_meta_node list[KW_META_CLIENT_NODES_MAX];
    unsigned count;
    unsigned at; /* the one in use, or to be tried */
};

/* 0, or KW_EINVALID. */
int kw_meta_nodes_init(struct kw_meta_nodes *nodes, const char *text);

/* Index of an address, taken in where there is room; -1: no address, or no room. */
int kw_meta_nodes_learn(struct kw_meta_nodes *nodes, const char *address, size_t len);

/* A list of members: begin, one call each, end. Whoever is neither on it nor configured, nor in use, is forgotten. */
void kw_meta_nodes_members_begin(struct kw_meta_nodes *nodes);
void kw_meta_nodes_member(struct kw_meta_nodes *nodes, const char *address, size_t len);
void kw_meta_nodes_members_end(struct kw_meta_nodes *nodes);

/* The next in turn. */
void kw_meta_nodes_advance(struct kw_meta_nodes *nodes);
const struct kw_meta_node *kw_meta_nodes_current(const struct kw_meta_nodes *nodes);

/* A hint led to this one in vain; or it answers after all. */
void kw_meta_nodes_avoid(struct kw_meta_nodes *nodes, unsigned index, uint64_t now_ms);
void kw_meta_nodes_trust(struct kw_meta_nodes *nodes, unsigned index);
bool kw_meta_nodes_avoided(const struct kw_meta_nodes *nodes, unsigned index, uint64_t now_ms);

/* "host:port", an IPv6 host in brackets. */
void kw_meta_node_print(const struct kw_meta_node *node, char out[KW_META_CLIENT_ADDRESS_SIZE]);

#endif
