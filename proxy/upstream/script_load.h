/*
 * EVALSHA at a node that does not know the script. A digest that a link has not
 * carried yet gets its text in front (SCRIPT LOAD, whose reply is swallowed), so
 * that commands pipelined behind it keep their order. Where that was not enough
 * (the node forgot) redirect.c repairs the NOSCRIPT.
 */
#ifndef KW_PROXY_SCRIPT_LOAD_H
#define KW_PROXY_SCRIPT_LOAD_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kw_link;
struct kw_request;

/* Digests that a link has carried; zeroed is empty. */
struct kw_script_set {
    uint64_t *digests; /* own; 0: free */
    uint32_t cap;      /* a power of two */
    uint32_t count;
    uint64_t generation; /* of the registry; another one: nothing in here counts */
};

/* Before the request goes to the link: loads what it calls, as far as known. `bytes`: its frame, or NULL: the kept one.
 */
void kw_script_ensure(struct kw_link *link, const struct kw_request *req, const char *bytes, size_t len);

/* Sends the script of that digest. False: unknown, or no memory. */
bool kw_script_send(struct kw_link *link, const char *sha1, size_t len);

/* The digest in the request's kept bytes. */
bool kw_script_digest(const struct kw_request *req, const char **sha1, size_t *len);

void kw_script_set_deinit(struct kw_script_set *set);

#endif
