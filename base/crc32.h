/*
 * CRC-32 with the polynomial 0x04c11db7, most significant bit first, without
 * inversion before or after: the checksum that libraft puts into its files.
 * Not for anything that must be hard to forge.
 */
#ifndef KW_BASE_CRC32_H
#define KW_BASE_CRC32_H

#include <stddef.h>
#include <stdint.h>

/* Goes on from `crc` (0 at the beginning) over `len` bytes. Any thread. */
uint32_t kw_crc32(uint32_t crc, const void *data, size_t len);

#endif
