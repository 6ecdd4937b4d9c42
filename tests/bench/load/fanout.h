/* Publish and subscribe: one channel, many subscribers. */
#ifndef KW_BENCH_LOAD_FANOUT_H
#define KW_BENCH_LOAD_FANOUT_H

#include "tests/bench/load/report.h"

/* The whole workload, with its report. A message that is lost, doubled or out of order ends the process. */
void load_fanout(const struct load_options *options, const struct load_nodes *nodes, struct kw_pool *pool);

#endif
