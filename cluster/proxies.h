/*
 * The proxies as cluster clients see them: each plays a node of a cluster and
 * has an even, contiguous share of the slots, in the order of the list. Names,
 * ids and shares follow from the list alone, so that every proxy which has the
 * same list tells the same story. Pure: no socket, no clock; any thread.
 */
#ifndef KW_CLUSTER_PROXIES_H
#define KW_CLUSTER_PROXIES_H

#include <stdbool.h>
#include <stddef.h>

#include "cluster/seeds.h"

enum { KW_PROXY_ID_LEN = 40 };

struct kw_proxy {
    char host[KW_SEED_HOST_MAX + 1]; /* IPv6 without its brackets */
    unsigned port;
    bool named;                      /* the host is a name, not an address */
    char id[KW_PROXY_ID_LEN + 1];    /* node id: hexadecimal digits made of host and port */
    char shard[KW_PROXY_ID_LEN + 1]; /* id of the shard that the proxy alone is */
    unsigned first_slot, last_slot;  /* its share, both included */
};

struct kw_proxies {
    struct kw_proxy *list; /* own */
    unsigned count;
};

/*
 * Fills `out` from "host:port [host:port ...]" (commas or blanks between them; one named twice counts once). An
 * empty text is an empty list. KW_EINVALID, with an empty list, when a word is no host:port.
 */
int kw_proxies_parse(struct kw_proxies *out, const char *text);
/* A list of one, which has every slot. */
void kw_proxies_one(struct kw_proxies *out, const char *host, unsigned port);
void kw_proxies_deinit(struct kw_proxies *proxies);

/* Indexes; -1: there is none. */
int kw_proxies_find(const struct kw_proxies *proxies, const char *host, unsigned port);
int kw_proxies_find_text(const struct kw_proxies *proxies, const char *address); /* "host:port", no brackets */
int kw_proxies_find_port(const struct kw_proxies *proxies, unsigned port);       /* the only one of that port */
int kw_proxies_find_id(const struct kw_proxies *proxies, const char *id, size_t len);

#endif
