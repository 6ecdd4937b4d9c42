/*
 * The slow log: requests that took longer than slowlog-log-slower-than, with
 * the time spent at the node and the rest (in the proxy: waiting for redirects,
 * a failover, other parts, the client's turn) apart. One ring a worker.
 */
#ifndef KW_PROXY_SLOWLOG_H
#define KW_PROXY_SLOWLOG_H

#include <stdint.h>

#include "base/str.h"

struct kw_worker;
struct kw_request;
struct kw_slowlog;

struct kw_slow_entry {
    uint64_t id;
    uint64_t wall_s;
    uint64_t total_us;
    uint64_t node_us;
    char *args; /* own; RESP array of the arguments, shortened as in Redis */
    size_t args_len;
    char peer[80];
    char name[64];
};

struct kw_slowlog *kw_slowlog_new(void);
void kw_slowlog_free(struct kw_slowlog *log);
/* Called for each completed request. */
void kw_slowlog_consider(struct kw_worker *worker, const struct kw_request *req, uint64_t total_us);
void kw_slowlog_clear(struct kw_slowlog *log);
size_t kw_slowlog_length(const struct kw_slowlog *log);
/* Copies the newest `max` entries into `out` (own args); returns how many. */
size_t kw_slowlog_copy(const struct kw_slowlog *log, struct kw_slow_entry *out, size_t max);

#endif
