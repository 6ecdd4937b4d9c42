/* The command line of bench_meta: one row of a table each. What makes no sense ends the process with code 2. */
#ifndef KW_BENCH_META_OPTIONS_H
#define KW_BENCH_META_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "cluster/seeds.h"
#include "tests/bench/load_meta/link.h"

enum meta_work { META_WORK_NONE, META_WORK_LOAD, META_WORK_FAILOVER, META_WORK_PUSH };

struct meta_options {
    struct kw_seed *targets; /* own */
    struct kw_seed *leader;  /* own; of workload push */
    int target_count, leader_count;
    const struct meta_protocol *protocol;
    enum meta_work work;
    enum meta_request request; /* of META_WORK_LOAD */
    const char *workload;
    const char *secret, *table;
    const char *text[2]; /* file names; of workload push */
    uint64_t clients, pipeline, requests, keys, size, kill, watchers, changes;
    double seconds, warmup, rate;
    bool sequential;
};

void meta_options_parse(struct meta_options *options, int argc, char **argv);
void meta_options_deinit(struct meta_options *options);

#endif
