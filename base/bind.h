/*
 * What `bind` names, as listening sockets. The words are those of redis.conf: an address or a name, `*` for all
 * IPv4 addresses of the machine, `::*` for all IPv6 ones, and a `-` in front of what the machine need not have.
 */
#ifndef KW_BASE_BIND_H
#define KW_BASE_BIND_H

#include <stdbool.h>
#include <stddef.h>

enum { KW_BIND_MAX = 16 };

/* One word of `bind`, without what only says how to listen on it. */
struct kw_bind_host {
    const char *host; /* borrowed from the list */
    size_t len;
    bool optional; /* nothing is wrong when the machine does not have it */
};

/* The next word; false at the end of the list. */
bool kw_bind_next(const char **cursor, struct kw_bind_host *out);

/* True for a host that stands for all addresses of the machine, so for none that a peer could connect to. */
bool kw_bind_everywhere(const char *host, size_t len);

/*
 * Opens them all, bound and listening, not blocking; the caller closes the descriptors. A name with several addresses
 * listens on each that the machine has. Returns how many, or KW_EINVALID for a bad list and KW_EIO for an address that
 * cannot be had, in which case nothing stays open and `why` says it in a sentence. Blocks while names are resolved.
 */
int kw_bind_open(int fds[KW_BIND_MAX], const char *bind, unsigned port, int backlog, char *why, size_t why_size);

#endif
