/* The line of JSON, and the processor time that goes into it. */
#ifndef KW_BENCH_LOAD_REPORT_H
#define KW_BENCH_LOAD_REPORT_H

#include "tests/bench/load/run.h"

/* Processor time used so far: of this process, and of those of --watch. */
struct load_cpu {
    double own;
    double watched[LOAD_WATCHED_MAX];
};

/* A watched process that is gone ends this one. */
void load_cpu_read(struct load_cpu *cpu, const struct load_options *options);

/* `before` was read at the beginning of what was seen. `each`: times of single deliveries, or NULL. */
void load_report_print(const struct load_options *options, const struct load_seen *seen, const struct load_cpu *before,
                       const struct load_histogram *each);

#endif
