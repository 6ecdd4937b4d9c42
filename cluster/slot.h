/*
 * Hash slots: which of the 16384 slots a key belongs to. Pure functions over
 * constant tables; owns nothing, cannot fail, any thread.
 */
#ifndef KW_CLUSTER_SLOT_H
#define KW_CLUSTER_SLOT_H

#include <stddef.h>

enum { KW_SLOT_COUNT = 16384 };

/*
 * The slot of a key, 0 to KW_SLOT_COUNT - 1: CRC16-XMODEM of its hash tag
 * modulo 16384 (Redis Cluster specification, "Key distribution model").
 * `key` may hold any bytes, and may be NULL when `len` is 0.
 */
unsigned kw_slot_of_key(const char *key, size_t len);

/*
 * The part of a key that is hashed: what stands between the first '{' and the
 * first '}' behind it, where that is not empty; otherwise the whole key.
 * `*tag` points into `key`.
 */
void kw_slot_hash_tag(const char *key, size_t len, const char **tag, size_t *tag_len);

#endif
