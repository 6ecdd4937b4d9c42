/*
 * CRC-32, eight bytes a step: table[k] holds what a byte does to the remainder
 * when k more bytes follow it, so that eight look-ups replace eight dependent
 * ones. The tables are made at first use. Owns nothing else, cannot fail.
 */
#include "base/crc32.h"

#include <pthread.h>

enum { SLICES = 8 };

static uint32_t table[SLICES][256];
static pthread_once_t table_once = PTHREAD_ONCE_INIT;

static void table_make(void) {
    for (uint32_t byte = 0; byte < 256; byte++) {
        uint32_t crc = byte << 24;
        for (int bit = 0; bit < 8; bit++) crc = crc & 0x80000000U ? crc << 1 ^ 0x04c11db7U : crc << 1;
        table[0][byte] = crc;
    }
    for (int slice = 1; slice < SLICES; slice++) {
        for (int byte = 0; byte < 256; byte++) {
            uint32_t before = table[slice - 1][byte];
            table[slice][byte] = before << 8 ^ table[0][before >> 24];
        }
    }
}

static uint32_t big_endian(const unsigned char *p) {
    return (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
}

uint32_t kw_crc32(uint32_t crc, const void *data, size_t len) {
    const unsigned char *p = data;
    pthread_once(&table_once, table_make);
    for (; len >= SLICES; p += SLICES, len -= SLICES) {
        uint32_t high = crc ^ big_endian(p), low = big_endian(p + 4);
        crc = table[7][high >> 24] ^ table[6][high >> 16 & 255] ^ table[5][high >> 8 & 255] ^ table[4][high & 255] ^
              table[3][low >> 24] ^ table[2][low >> 16 & 255] ^ table[1][low >> 8 & 255] ^ table[0][low & 255];
    }
    for (; len > 0; p++, len--) crc = crc << 8 ^ table[0][crc >> 24 ^ *p];
    return crc;
}
