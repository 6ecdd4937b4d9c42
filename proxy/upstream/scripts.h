/*
 * The texts of scripts that clients have sent, by SHA-1: a node that does not
 * know one (it was loaded at another shard, or the node has just been promoted)
 * is given it, and the client never hears NOSCRIPT. One registry a process.
 */
#ifndef KW_PROXY_SCRIPTS_H
#define KW_PROXY_SCRIPTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

struct kw_scripts;

struct kw_scripts *kw_scripts_new(void);
void kw_scripts_free(struct kw_scripts *scripts);

/* Keeps a copy, unless it is known or the registry is full (it is bounded). Any thread. */
void kw_scripts_remember(struct kw_scripts *scripts, const char *text, size_t len);

/* A node says that it is no script. Any thread. */
void kw_scripts_forget(struct kw_scripts *scripts, const char *text, size_t len);

/* Where the registry stands: grows with each new text. Any thread. */
uint32_t kw_scripts_moment(const struct kw_scripts *scripts);

/*
 * Appends the text of that name (40 hexadecimal digits, any case) to `out`; false when it was not known at that
 * moment: a text that comes behind a request in a pipeline is nothing that the request could call. Any thread.
 */
bool kw_scripts_find(struct kw_scripts *scripts, const char *sha1, size_t len, uint32_t moment, struct kw_str *out);

/* Grows with each clearing. Any thread. */
uint64_t kw_scripts_generation(const struct kw_scripts *scripts);

/* After SCRIPT FLUSH. Any thread. */
void kw_scripts_clear(struct kw_scripts *scripts);

#endif
