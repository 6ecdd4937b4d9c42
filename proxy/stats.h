/*
 * Counters of one worker, written by it alone. Whoever wants the sum asks each
 * worker in turn (tour.h): no locks, no atomics on the request path.
 */
#ifndef KW_PROXY_STATS_H
#define KW_PROXY_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "cluster/command.h"

enum { KW_STATS_ERRORS_MAX = 128, KW_STATS_ERROR_NAME = 24 };

struct kw_command_stats {
    uint64_t calls;
    uint64_t total_us; /* from parsed to replied, the node's time included */
    uint64_t rejected; /* refused before they ran */
    uint64_t failed;   /* answered with an error */
};

struct kw_error_stats {
    char name[KW_STATS_ERROR_NAME]; /* "ERR", "WRONGTYPE" */
    uint64_t count;
};

struct kw_stats {
    struct kw_command_stats *commands; /* own; by command id */
    size_t command_count;
    struct kw_error_stats errors[KW_STATS_ERRORS_MAX];
    unsigned error_count;
    uint64_t error_replies; /* of all names */
    uint64_t requests;
    uint64_t connections;
    uint64_t redirects;
    uint64_t output_limit_closed;
    uint64_t bytes_in, bytes_out;
    uint64_t clients, blocked, tracking, inflight, parked; /* filled when summed */
    uint64_t links, link_bytes;
    uint64_t pool_bytes;
};

void kw_stats_deinit(struct kw_stats *stats);
void kw_stats_reset(struct kw_stats *stats);
/* A command has been answered; `failed`: with an error. */
void kw_stats_command(struct kw_stats *stats, const struct kw_command *cmd, uint64_t total_us, bool failed);
void kw_stats_rejected(struct kw_stats *stats, const struct kw_command *cmd);
/* `reply` begins with "-NAME ". */
void kw_stats_error(struct kw_stats *stats, const char *reply, size_t len);
/* Adds `from` to `sum`. */
void kw_stats_add(struct kw_stats *sum, const struct kw_stats *from);
void kw_stats_print_commands(const struct kw_stats *stats, struct kw_str *out);
void kw_stats_print_errors(const struct kw_stats *stats, struct kw_str *out);

#endif
