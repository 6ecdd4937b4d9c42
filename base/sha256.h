/*
 * SHA-256 (FIPS 180-4), for the one place that shows a password as Redis does:
 * by its digest. Not for large inputs.
 */
#ifndef KW_PROXY_SHA256_H
#define KW_PROXY_SHA256_H

#include <stddef.h>

enum { KW_SHA256_HEX_SIZE = 65 }; /* with its NUL */

void kw_sha256_hex(const void *bytes, size_t len, char hex[KW_SHA256_HEX_SIZE]);

#endif
