/*
 * What the metadata service knows of a cluster, at one moment: read by
 * status_read.c, judged there, and shown by status_print.c. Main thread.
 */
#ifndef KW_CLI_STATUS_H
#define KW_CLI_STATUS_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cli/meta_link.h"

enum { KW_CLI_STATUS_MEMBERS_MAX = 16, KW_CLI_STATUS_TIMEOUT_MS = 2000, KW_CLI_STATUS_LOOK_MS = 1000 };

/* One metadata node by its own word. */
struct kw_cli_status_member {
    bool answers;
    char role[16]; /* "" unless it answers */
    long long term;
    long long applied_index;
    char error[128]; /* why it does not */
};

struct kw_cli_status {
    bool reached;
    char error[512];    /* why not */
    redisReply *status; /* own, as the other replies; NULL where it was not answered */
    redisReply *shards;
    redisReply *nodes;
    redisReply *proxies;
    redisReply *operations;
    struct kw_cli_status_member members[KW_CLI_STATUS_MEMBERS_MAX]; /* in the order of `members` in status */
    struct kw_str reasons;                                          /* own; why it is degraded, a line each */
    unsigned reason_count;
};

/* Asks, and judges. `status` is overwritten; kw_cli_status_deinit frees what is in it. */
void kw_cli_status_read(struct kw_cli_status *status, struct kw_cli_meta_link *link,
                        const struct kw_cli_meta_target *target);
void kw_cli_status_deinit(struct kw_cli_status *status);

/* The same for STATUS and the members alone. */
void kw_cli_status_read_members(struct kw_cli_status *status, struct kw_cli_meta_link *link,
                                const struct kw_cli_meta_target *target);

/* An enum kw_exit. */
int kw_cli_status_code(const struct kw_cli_status *status);

/* As tables fitted to `width` columns (0: any), and as one JSON object. */
void kw_cli_status_print(const struct kw_cli_status *status, unsigned width, struct kw_str *out);
void kw_cli_status_json(const struct kw_cli_status *status, struct kw_str *out);

/* The members alone, and the table of the shards alone. */
void kw_cli_status_members_json(const struct kw_cli_status *status, struct kw_str *out);
void kw_cli_status_members_print(const struct kw_cli_status *status, unsigned width, struct kw_str *out);
void kw_cli_status_shards_print(const redisReply *shards, const redisReply *nodes, unsigned width, struct kw_str *out);

#endif
