/*
 * Seeds: the addresses from which discovery starts, as people write them:
 * "10.0.0.1:7000, redis-2:7000, [::1]:7000". Pure text; any thread.
 */
#ifndef KW_CLUSTER_SEEDS_H
#define KW_CLUSTER_SEEDS_H

#include <stddef.h>

enum { KW_SEEDS_MAX = 128, KW_SEED_HOST_MAX = 255 };

struct kw_seed {
    char host[KW_SEED_HOST_MAX + 1]; /* IPv6 without its brackets */
    unsigned port;
};

/*
 * Parses a list of seeds, separated by commas or white space. Returns their
 * number (at least 1) and a list in `*out` that the caller frees with
 * kw_free; or KW_EINVALID with the reason in `why` (bounded by `why_len`).
 * `out` may be NULL: then the list is only checked. Doubles count once.
 */
int kw_seeds_parse(struct kw_seed **out, const char *text, char *why, size_t why_len);

#endif
