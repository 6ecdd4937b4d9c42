/*
 * bench_meta: a load on keyway-meta or, with the same loop and the same histogram, on etcd; one line of JSON says what
 * came of it. A run that is not whole prints nothing on standard output.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/work.h"

void load_die(const char *fmt, ...) {
    int saved = errno;
    va_list args;
    (void)fputs("bench_meta: ", stderr);
    va_start(args, fmt);
    errno = saved; /* for %m */
    (void)vfprintf(stderr, fmt, args);
    va_end(args);
    (void)fputc('\n', stderr);
    exit(LOAD_EXIT_FAILED);
}

struct meta_link *meta_links_open(const struct meta_options *options, const struct meta_owner *owner, void *ctx,
                                  const struct kw_seed *targets, int target_count, uint64_t count, int epoll) {
    struct meta_link *links = kw_calloc(count, sizeof(*links));
    for (uint64_t i = 0; i < count; i++) {
        links[i] = (struct meta_link){.protocol = options->protocol,
                                      .owner = owner,
                                      .ctx = ctx,
                                      .secret = options->secret,
                                      .table = options->table,
                                      .address = &targets[i % (uint64_t)target_count]};
        meta_link_open(&links[i], epoll);
    }
    return links;
}

void meta_links_close(struct meta_link *links, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) meta_link_close(&links[i]);
    kw_free(links);
}

void meta_latency_append(struct kw_str *line, const char *name, const struct load_histogram *latency) {
    static const struct {
        const char *name;
        double part;
    } rows[] = {{"p50", 0.5}, {"p99", 0.99}, {"p999", 0.999}, {"max", 1}};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        kw_str_printf(line, ",\"%s%s_us\":%.1f", name, rows[i].name,
                      (double)load_histogram_at(latency, rows[i].part) / LOAD_NS_PER_US);
    }
}

int main(int argc, char **argv) {
    static void (*const run[])(const struct meta_options *, int) = {[META_WORK_LOAD] = meta_work_load,
                                                                    [META_WORK_FAILOVER] = meta_work_failover,
                                                                    [META_WORK_PUSH] = meta_work_push};
    struct meta_options options;
    meta_options_parse(&options, argc, argv);
    int epoll = epoll_create1(EPOLL_CLOEXEC);
    if (epoll < 0) load_die("epoll_create1: %m");
    run[options.work](&options, epoll);
    close(epoll);
    meta_options_deinit(&options);
    return 0;
}
