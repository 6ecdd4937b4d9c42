/* The command line of the load generator: one row of a table each. What makes no sense ends the process with code 2. */
#ifndef KW_BENCH_LOAD_OPTIONS_H
#define KW_BENCH_LOAD_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "cluster/seeds.h"
#include "tests/bench/load/workloads.h"

enum { LOAD_COMMANDS_MAX = 64, LOAD_WATCHED_MAX = 64, LOAD_MESSAGE_MIN = 32 };

struct load_addresses {
    struct kw_seed *list; /* own */
    int count;
};

struct load_options {
    struct load_addresses targets;
    struct load_addresses prepare; /* nodes of the cluster behind the targets; none: the targets prepare themselves */
    const struct load_workload *workload;
    const char *commands[LOAD_COMMANDS_MAX]; /* borrowed from argv */
    uint64_t command_count;
    pid_t watched[LOAD_WATCHED_MAX];
    uint64_t watched_count;
    bool cluster;
    bool fill;
    uint64_t connections;
    uint64_t pipeline;
    uint64_t requests; /* 0: as many as fit into `seconds` */
    double seconds;
    double rate; /* a second, of all connections; 0: closed loop */
    uint64_t keys;
    uint64_t boards;
    uint64_t size; /* bytes of a value */
    uint64_t seed;
    uint64_t subscribers;
    uint64_t warmup; /* requests */
};

void load_options_parse(struct load_options *options, int argc, char **argv);
void load_options_deinit(struct load_options *options);

#endif
