/* SHA-1 (FIPS 180-4): names scripts, as Redis does. Not for anything that must be hard to forge. */
#ifndef KW_BASE_SHA1_H
#define KW_BASE_SHA1_H

#include <stddef.h>

enum { KW_SHA1_HEX = 40 };

/* The digest of `len` bytes, as lower-case hexadecimal digits with a NUL. Any thread. */
void kw_sha1_hex(const void *data, size_t len, char out[KW_SHA1_HEX + 1]);

#endif
