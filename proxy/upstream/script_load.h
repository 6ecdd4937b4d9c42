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

#include "base/arg.h"

struct kw_link;
struct kw_request;
struct kw_scripts;

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

/* Whether a node would look at the text of an EVAL with so many words: another number of keys is refused before. */
bool kw_script_takes_text(const struct kw_arg *number_of_keys, size_t argc);

/* Keeps the texts of each EVAL and EVAL_RO among the commands of a transaction that is about to run. */
void kw_scripts_remember_all(struct kw_scripts *scripts, const char *bytes, size_t len);

/* The node could not compile what the request brought: EVAL or SCRIPT LOAD. Nobody is told that it is known. */
void kw_script_refused(struct kw_scripts *scripts, const struct kw_request *req);

/* Sends the script of that digest. False: unknown at that moment (scripts.h), or no memory. */
bool kw_script_send(struct kw_link *link, const char *sha1, size_t len, uint32_t moment);

/* The digest in the request's kept bytes. */
bool kw_script_digest(const struct kw_request *req, const char **sha1, size_t *len);

void kw_script_set_deinit(struct kw_script_set *set);

#endif
