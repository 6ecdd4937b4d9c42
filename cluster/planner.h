/*
 * What happens to a request: the one place where it is decided whether a
 * command is forwarded, split, spread over the shards, answered here, or
 * refused because its keys live in several slots. Pure: no socket, no clock.
 */
#ifndef KW_CLUSTER_PLANNER_H
#define KW_CLUSTER_PLANNER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/str.h"
#include "cluster/command.h"

/* How a command is served. A row of serve_table.inc each; commands without a row are served by their keys. */
enum kw_serve {
    KW_SERVE_KEYS,      /* forwarded to the slot of its keys */
    KW_SERVE_SPLIT_GET, /* array of values, one a key: MGET */
    KW_SERVE_SPLIT_SET, /* key value pairs, +OK: MSET */
    KW_SERVE_SPLIT_SUM, /* integer, summed: DEL, EXISTS... */
    KW_SERVE_LOCAL,     /* answered by the proxy */
    KW_SERVE_SHARDS,    /* sent to every primary, replies merged */
    KW_SERVE_ANY,       /* keyless, any primary will do */
    KW_SERVE_SLOT,      /* to the slot that its first argument names by number */
    KW_SERVE_BLOCKING,  /* by its keys, on a link of its own, for as long as it says */
    KW_SERVE_PUBLISH,   /* to where its channel lives */
    KW_SERVE_WATCH,     /* by its keys, on a link that stays the client's */
    KW_SERVE_REFUSED,   /* would break what others rely on, or not served yet */
};

enum kw_plan_kind {
    KW_PLAN_FORWARD,   /* whole, to `slot` */
    KW_PLAN_SPLIT,     /* by `parts` */
    KW_PLAN_LOCAL,     /* answered by the proxy */
    KW_PLAN_SHARDS,    /* to every primary */
    KW_PLAN_EXCLUSIVE, /* whole, to `slot`, on a link of its own */
    KW_PLAN_ERROR,     /* `error` is the reply, RESP */
};

struct kw_plan_part {
    uint16_t slot;
    uint32_t key_count;
    uint32_t start; /* its keys are order[start .. start+key_count) */
};

/* Scratch of one thread, reused for every request; results stay until the next call. */
struct kw_planner;

struct kw_plan {
    enum kw_plan_kind kind;
    enum kw_serve serve;
    int slot; /* FORWARD, EXCLUSIVE; -1: no key, any primary */
    unsigned part_count;
    unsigned key_count;
    const struct kw_plan_part *parts; /* borrowed until the next call */
    const uint32_t *order;            /* indexes into keys, grouped by part, ascending within one */
    const uint32_t *key_part;         /* part of each key */
    const unsigned *keys;             /* positions in argv */
    const struct kw_str *error;
};

struct kw_planner *kw_planner_new(void);
void kw_planner_free(struct kw_planner *planner);

/* How the command is served; `cmd` from kw_command_lookup or one of its subcommands. Any thread after kw_planner_new.
 */
enum kw_serve kw_planner_serve(const struct kw_command *cmd);

/* Decides for a complete request whose command is known and whose arity fits. */
void kw_planner_plan(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                     struct kw_plan *plan);

/*
 * Decides early, with argv[0..have) of `argc` known: 1 and `*slot` when the
 * whole request will go to one slot whatever follows, else 0.
 */
int kw_planner_plan_early(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv,
                          size_t argc, size_t have, int *slot);

/* Error replies in Redis's words. */
void kw_planner_unknown_error(struct kw_str *out, const struct kw_arg *argv, size_t argc);
void kw_planner_unknown_sub_error(struct kw_str *out, const struct kw_command *container, const struct kw_arg *argv);
void kw_planner_arity_error(struct kw_str *out, const struct kw_command *cmd);

#endif
