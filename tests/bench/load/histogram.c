/*
 * Buckets as HdrHistogram has them (http://hdrhistogram.org): each power of two is cut into 128 equal parts; below 128
 * every value has its own.
 */
#include "tests/bench/load/histogram.h"

#include <math.h>

enum { PARTS = 1 << LOAD_HISTOGRAM_BITS };

static unsigned bucket_of(uint64_t value) {
    if (value < PARTS) return (unsigned)value;
    unsigned shift = 63U - (unsigned)__builtin_clzll(value) - LOAD_HISTOGRAM_BITS;
    return (shift << LOAD_HISTOGRAM_BITS) + (unsigned)(value >> shift);
}

/* The highest value that falls into the bucket. */
static uint64_t bucket_edge(unsigned bucket) {
    if (bucket < PARTS) return bucket;
    unsigned shift = (bucket >> LOAD_HISTOGRAM_BITS) - 1;
    uint64_t lead = bucket - ((uint64_t)shift << LOAD_HISTOGRAM_BITS);
    return ((lead + 1) << shift) - 1;
}

void load_histogram_add(struct load_histogram *histogram, uint64_t value) {
    histogram->count[bucket_of(value)]++;
    histogram->total++;
    if (value > histogram->max) histogram->max = value;
}

uint64_t load_histogram_at(const struct load_histogram *histogram, double part) {
    uint64_t wanted = (uint64_t)ceil((double)histogram->total * part);
    uint64_t seen = 0;
    for (unsigned i = 0; i < LOAD_HISTOGRAM_BUCKETS && histogram->total > 0; i++) {
        seen += histogram->count[i];
        if (seen < wanted || seen == 0) continue;
        uint64_t edge = bucket_edge(i);
        return edge < histogram->max ? edge : histogram->max;
    }
    return histogram->max;
}
