/*
 * What every part of the load generator leans on: the end of the process on what cannot be gone on from, its clock and
 * its random numbers. One thread.
 */
#ifndef KW_BENCH_LOAD_H
#define KW_BENCH_LOAD_H

#include <stdint.h>
#include <time.h>

#include "base/base.h"

enum { LOAD_EXIT_FAILED = 1, LOAD_EXIT_USAGE = 2 };

/* "bench_load: text" on standard error, then the end of the process: a measurement that went wrong is none. */
KW_NORETURN void load_die(const char *fmt, ...) KW_PRINTF(1, 2);

enum { LOAD_NS_PER_US = 1000, LOAD_US_PER_MS = 1000 };
#define LOAD_NS_PER_SECOND 1000000000ULL

/* Monotonic, nanoseconds. */
static inline uint64_t load_clock_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * LOAD_NS_PER_SECOND + (uint64_t)now.tv_nsec;
}

/* xorshift64* (Vigna, "An experimental exploration of Marsaglia's xorshift generators, scrambled"). Never zero. */
static inline uint64_t load_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return *state * 0x2545F4914F6CDD1DULL;
}

/* A number below `bound`, which is at most 2^32. */
static inline uint64_t load_random_below(uint64_t *state, uint64_t bound) {
    return ((load_random(state) >> 32) * bound) >> 32;
}

#endif
