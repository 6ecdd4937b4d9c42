/*
 * The slow log: requests that took longer than slowlog-log-slower-than, with
 * the time spent at the node and the rest (in the proxy: waiting for redirects,
 * a failover, other parts, the client's turn) apart. One ring a worker.
 *
 * Many requests are slow at once, when a node stalls: recording one keeps bare
 * facts, and whoever reads the log makes text of them.
 */
#ifndef KW_PROXY_SLOWLOG_H
#define KW_PROXY_SLOWLOG_H

#include <netinet/in.h>
#include <stdint.h>

#include "base/str.h"

struct kw_worker;
struct kw_request;
struct kw_slowlog;

union kw_slow_address {
    struct sockaddr any; /* AF_UNSPEC: not known */
    struct sockaddr_in in;
    struct sockaddr_in6 in6;
};

struct kw_slow_entry {
    uint64_t id;
    uint64_t wall_s;
    uint64_t total_us;
    uint64_t node_us;
    uint64_t client_id; /* 0: it had gone */
    size_t argc;
    struct kw_str words; /* own; the client's name and the arguments that are shown, in slowlog.c's own form */
    union kw_slow_address address;
};

struct kw_slowlog *kw_slowlog_new(void);
void kw_slowlog_free(struct kw_slowlog *log);
/* Called for each completed request. */
void kw_slowlog_consider(struct kw_worker *worker, const struct kw_request *req, uint64_t total_us);
/* Gives the memory back, too. */
void kw_slowlog_clear(struct kw_slowlog *log);
size_t kw_slowlog_length(const struct kw_slowlog *log);
/* Copies the newest `max` entries into `out` (own words); returns how many. */
size_t kw_slowlog_copy(const struct kw_slowlog *log, struct kw_slow_entry *out, size_t max);

/* The arguments as an array, shortened as in Redis. */
void kw_slow_entry_print_args(struct kw_str *out, const struct kw_slow_entry *entry);
/* Two strings: the client's address and its name, both empty when it had gone. */
void kw_slow_entry_print_client(struct kw_str *out, const struct kw_slow_entry *entry);
void kw_slow_entry_deinit(struct kw_slow_entry *entry);

#endif
