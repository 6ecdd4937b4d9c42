/*
 * The three kinds of work. Each opens its links, runs to its end and prints one line of JSON on standard output; what
 * cannot be measured ends the process.
 */
#ifndef KW_BENCH_META_WORK_H
#define KW_BENCH_META_WORK_H

#include "tests/bench/load/histogram.h"
#include "tests/bench/load_meta/options.h"

/* put, get, ping: closed loop, or open with --rate. */
void meta_work_load(const struct meta_options *options, int epoll);
/* Kills a node and writes at the others until one write is committed. */
void meta_work_failover(const struct meta_options *options, int epoll);
/* Changes the map and waits until every watcher has it. */
void meta_work_push(const struct meta_options *options, int epoll);

/* `count` links over the targets in turns, open. Own: meta_links_close. */
struct meta_link *meta_links_open(const struct meta_options *options, const struct meta_owner *owner, void *ctx,
                                  const struct kw_seed *targets, int target_count, uint64_t count, int epoll);
void meta_links_close(struct meta_link *links, uint64_t count);

/* Percentiles as members of an object, behind others: ,"NAMEp50_us":1.0 ... */
void meta_latency_append(struct kw_str *line, const char *name, const struct load_histogram *latency);

#endif
