/*
 * How often which duration was seen, in buckets of less than one percent width: constant memory, any number of
 * samples. Zeroed is empty. Cannot fail.
 */
#ifndef KW_BENCH_LOAD_HISTOGRAM_H
#define KW_BENCH_LOAD_HISTOGRAM_H

#include <stdint.h>

enum { LOAD_HISTOGRAM_BITS = 7, LOAD_HISTOGRAM_BUCKETS = (64 - LOAD_HISTOGRAM_BITS + 1) << LOAD_HISTOGRAM_BITS };

struct load_histogram {
    uint64_t total;
    uint64_t max; /* exact */
    uint64_t count[LOAD_HISTOGRAM_BUCKETS];
};

void load_histogram_add(struct load_histogram *histogram, uint64_t value);

/* The value that `part` (0 to 1) of all samples do not exceed: the upper edge of its bucket. 0 without samples. */
uint64_t load_histogram_at(const struct load_histogram *histogram, double part);

#endif
