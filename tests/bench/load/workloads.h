/*
 * The workloads: rows of a table. A command is text, its words parted by blanks; frame.h lists what is replaced in
 * them. The commands of a row are sent in turn.
 */
#ifndef KW_BENCH_LOAD_WORKLOADS_H
#define KW_BENCH_LOAD_WORKLOADS_H

#include <stdbool.h>

enum load_workload_kind {
    LOAD_COMMANDS, /* requests and replies */
    LOAD_STREAM,   /* what is sent follows from what was read */
    LOAD_FANOUT,   /* a request is done when all subscribers have the message */
    LOAD_IDLE,     /* connections that are held */
};

enum { LOAD_WORKLOAD_COMMANDS = 5 };

struct load_workload {
    const char *name;
    const char *summary;
    enum load_workload_kind kind;
    const char *commands[LOAD_WORKLOAD_COMMANDS + 1]; /* NULL ends them; none: those of the command line */
    const char *repeat; /* words behind the first command's, `times` times; a cluster client splits them by slot */
    unsigned times;
    const char *fill; /* the command that writes item number __item__ */
    bool script;      /* load_script is loaded first: __sha__ */
};

/* The workload of that name, or NULL. */
const struct load_workload *load_workload_find(const char *name);

/* The row after `workload`, the first for NULL; NULL at the end. */
const struct load_workload *load_workload_next(const struct load_workload *workload);

/* A rate limiter: the Lua text that `script` is about. */
extern const char load_script[];

#endif
