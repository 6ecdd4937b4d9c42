/*
 * CRC16 by slicing: eight bytes a step through eight tables of 256 entries
 * (4 KiB, which stay in the first-level cache), then four, then byte by byte.
 * Table k holds the remainder of a byte followed by k zero bytes. Filled once
 * before main() starts, constant from then on. Nothing can fail.
 *
 * Slicing: Kounavis and Berry, "A Systematic Approach to Building High
 * Performance Software-Based CRC Generators" (ISCC 2005).
 */
#include "cluster/slot.h"

#include <stdint.h>
#include <string.h>

enum { SLICES = 8, POLYNOMIAL = 0x1021 };

static uint16_t crc_table[SLICES][256];

__attribute__((constructor)) static void fill_tables(void) {
    for (unsigned byte = 0; byte < 256; byte++) {
        unsigned crc = byte << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc & 0x8000U) ? (crc << 1) ^ POLYNOMIAL : crc << 1;
        }
        crc_table[0][byte] = (uint16_t)crc;
    }
    for (unsigned slice = 1; slice < SLICES; slice++) {
        for (unsigned byte = 0; byte < 256; byte++) {
            unsigned crc = crc_table[slice - 1][byte];
            crc_table[slice][byte] = (uint16_t)((crc << 8) ^ crc_table[0][(crc >> 8) & 0xffU]);
        }
    }
}

static unsigned crc16(const unsigned char *at, size_t len) {
    unsigned crc = 0;

    for (; len >= SLICES; at += SLICES, len -= SLICES) {
        crc = (unsigned)crc_table[7][at[0] ^ (crc >> 8)] ^ crc_table[6][at[1] ^ (crc & 0xffU)] ^ crc_table[5][at[2]] ^
              crc_table[4][at[3]] ^ crc_table[3][at[4]] ^ crc_table[2][at[5]] ^ crc_table[1][at[6]] ^
              crc_table[0][at[7]];
    }
    if (len >= SLICES / 2) {
        crc = (unsigned)crc_table[3][at[0] ^ (crc >> 8)] ^ crc_table[2][at[1] ^ (crc & 0xffU)] ^ crc_table[1][at[2]] ^
              crc_table[0][at[3]];
        at += SLICES / 2;
        len -= SLICES / 2;
    }
    for (; len > 0; at++, len--) {
        crc = ((crc << 8) & 0xffffU) ^ crc_table[0][(crc >> 8) ^ *at];
    }
    return crc;
}

void kw_slot_hash_tag(const char *key, size_t len, const char **tag, size_t *tag_len) {
    *tag = key;
    *tag_len = len;
    if (len == 0) return;

    const char *open = memchr(key, '{', len);
    if (!open) return;
    open++;
    size_t left = len - (size_t)(open - key);
    if (left == 0) return;
    const char *close = memchr(open, '}', left);
    if (!close || close == open) return;
    *tag = open;
    *tag_len = (size_t)(close - open);
}

unsigned kw_slot_of_key(const char *key, size_t len) {
    const char *tag;
    size_t tag_len;

    kw_slot_hash_tag(key, len, &tag, &tag_len);
    return crc16((const unsigned char *)tag, tag_len) & (KW_SLOT_COUNT - 1);
}
