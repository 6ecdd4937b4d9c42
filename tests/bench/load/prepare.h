/* What must be there before a run: scripts, groups, the items that it reads. */
#ifndef KW_BENCH_LOAD_PREPARE_H
#define KW_BENCH_LOAD_PREPARE_H

#include "tests/bench/load/frame.h"
#include "tests/bench/load/nodes.h"

/*
 * Does at `nodes` what the workload of the options wants. A SCRIPT LOAD that is refused is a warning, as some proxies
 * cannot do it: EVALSHA will say whether the script is there. Any other failure ends the process.
 */
void load_prepare(const struct load_options *options, const struct load_nodes *nodes, const struct load_value *value,
                  struct kw_pool *pool);

#endif
