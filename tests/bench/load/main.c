/*
 * bench_load: puts a load on a Redis endpoint or on the nodes of a cluster and says in one line of JSON what came of
 * it. Options first, then connections to where preparations are done, then the run of the workload's kind. A run that
 * is not whole prints nothing on standard output.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "base/alloc.h"
#include "tests/bench/load/fanout.h"
#include "tests/bench/load/idle.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load/prepare.h"
#include "tests/bench/load/report.h"
#include "tests/bench/load/sources.h"

enum { FILES_SPARE = 64 };

void load_die(const char *fmt, ...) {
    int saved = errno;
    va_list args;
    (void)fputs("bench_load: ", stderr);
    va_start(args, fmt);
    errno = saved; /* for %m */
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(LOAD_EXIT_FAILED);
}

/* Room for that many connections. */
static void files_raise(uint64_t connections) {
    struct rlimit limit;
    rlim_t wanted = connections + FILES_SPARE;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) load_die("getrlimit: %m");
    if (limit.rlim_cur >= wanted) return;
    struct rlimit raised = {.rlim_cur = wanted, .rlim_max = limit.rlim_max > wanted ? limit.rlim_max : wanted};
    if (setrlimit(RLIMIT_NOFILE, &raised) != 0) {
        load_die("%llu connections need a limit of %llu open files (ulimit -n): %m", (unsigned long long)connections,
                 (unsigned long long)wanted);
    }
}

static struct load_source *source_make(const struct load_options *options, const struct load_nodes *nodes,
                                       const struct load_value *value, const struct load_draw *draw) {
    const struct load_workload *workload = options->workload;
    size_t count = 0;
    if (workload->kind == LOAD_STREAM) return load_source_stream((uint32_t)options->connections, value, draw);
    if (!workload->commands[0]) {
        return load_source_commands(options->commands, options->command_count, NULL, 0, value, draw);
    }
    if (workload->repeat && nodes->cluster) {
        return load_source_split(workload->commands[0], workload->repeat, workload->times, value, draw);
    }
    while (workload->commands[count]) count++;
    return load_source_commands(workload->commands, count, workload->repeat, workload->times, value, draw);
}

/* Requests and replies: everything but fan-out. */
static void run_requests(const struct load_options *options, const struct load_nodes *nodes,
                         const struct load_value *value, struct kw_pool *pool) {
    struct load_draw draw;
    struct load_run *run = kw_calloc(1, sizeof(*run));
    struct load_cpu before;
    load_draw_init(&draw, options);
    struct load_source *source = source_make(options, nodes, value, &draw);
    struct load_run_options how = {
        .clients = (uint32_t)options->connections, .pipeline = (uint32_t)options->pipeline, .rate = options->rate};
    load_run_init(run, &how, nodes, source, &draw, pool);
    if (options->warmup > 0) load_run_phase(run, options->warmup, 0);
    load_cpu_read(&before, options);
    if (options->workload->kind == LOAD_IDLE) {
        load_idle(run);
    } else {
        load_run_phase(run, options->requests, options->seconds);
    }
    load_report_print(options, &run->seen, &before, NULL);
    load_run_deinit(run);
    load_source_free(source);
    kw_free(run);
}

static void prepare(const struct load_options *options, const struct load_nodes *nodes, const struct load_value *value,
                    struct kw_pool *pool) {
    if (options->prepare.count == 0) {
        load_prepare(options, nodes, value, pool);
        return;
    }
    struct load_nodes behind;
    load_nodes_init(&behind, &options->prepare, true);
    load_prepare(options, &behind, value, pool);
    load_nodes_deinit(&behind);
}

int main(int argc, char **argv) {
    struct load_options options;
    struct load_nodes nodes;
    struct load_value value;
    load_options_parse(&options, argc, argv);
    struct kw_pool *pool = kw_pool_new();
    load_nodes_init(&nodes, &options.targets, options.cluster);
    files_raise((options.connections + options.subscribers) * (options.cluster ? nodes.count : 1));
    load_value_init(&value, pool, options.size);
    prepare(&options, &nodes, &value, pool);
    if (options.workload->kind == LOAD_FANOUT) {
        load_fanout(&options, &nodes, pool);
    } else {
        run_requests(&options, &nodes, &value, pool);
    }
    load_value_deinit(&value);
    load_nodes_deinit(&nodes);
    kw_pool_free(pool);
    load_options_deinit(&options);
    return 0;
}
