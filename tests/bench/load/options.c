/*
 * Each option is a row: its kind says how its words are taken, its offset where they go. Rules between options are
 * checked at the end. A mistake is one line on standard error and exit code 2.
 */
#include "tests/bench/load/options.h"

#include <errno.h>
#include <math.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"

enum option_kind {
    OPTION_FLAG,
    OPTION_COUNT,
    OPTION_REAL,
    OPTION_ADDRESSES,
    OPTION_WORKLOAD,
    OPTION_COMMAND,
    OPTION_PIDS
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset;
    uint64_t min, max; /* of counts */
    const char *value; /* as the usage shows it */
    const char *help;
};

#define AT(field) offsetof(struct load_options, field)

static const struct option table[] = {
    {"--targets", OPTION_ADDRESSES, AT(targets), 0, 0, "HOST:PORT,...", "where the load goes; connections take turns"},
    {"--cluster", OPTION_FLAG, AT(cluster), 0, 0, "", "as a cluster client: CLUSTER SLOTS of the first target"},
    {"--workload", OPTION_WORKLOAD, AT(workload), 0, 0, "NAME", "one of those below"},
    {"--connections", OPTION_COUNT, AT(connections), 1, 1000000, "N", "clients; fanout: publishers (50)"},
    {"--pipeline", OPTION_COUNT, AT(pipeline), 1, 1000000, "N", "requests in flight of a client (1)"},
    {"--requests", OPTION_COUNT, AT(requests), 1, 1ULL << 50, "N", "how many are measured"},
    {"--seconds", OPTION_REAL, AT(seconds), 0, 0, "S", "or for how long"},
    {"--rate", OPTION_REAL, AT(rate), 0, 0, "R", "requests a second in total, by a fixed schedule"},
    {"--keys", OPTION_COUNT, AT(keys), 1, 1ULL << 32, "N", "different keys (100000)"},
    {"--boards", OPTION_COUNT, AT(boards), 1, 1000, "N", "leaderboards, which share the keys as members (16)"},
    {"--size", OPTION_COUNT, AT(size), 1, 512ULL << 20, "BYTES", "of a value or a message (64)"},
    {"--seed", OPTION_COUNT, AT(seed), 0, UINT64_MAX, "N", "of the random keys (1)"},
    {"--subscribers", OPTION_COUNT, AT(subscribers), 1, 1000000, "N", "of fanout"},
    {"--command", OPTION_COMMAND, AT(commands), 0, 0, "'WORD ...'", "of workload command; may be repeated"},
    {"--warmup", OPTION_COUNT, AT(warmup), 0, 1ULL << 50, "N", "requests before the measured ones"},
    {"--fill", OPTION_FLAG, AT(fill), 0, 0, "", "writes what the workload reads first"},
    {"--prepare", OPTION_ADDRESSES, AT(prepare), 0, 0, "HOST:PORT,...",
     "cluster nodes at which scripts, groups and --fill are done, in place of the targets"},
    {"--watch", OPTION_PIDS, AT(watched), 0, 0, "PID,...", "processes whose processor time is reported"},
};

static const uint64_t FILL_BYTES_MAX = 8ULL << 30;

KW_NORETURN static void refuse(const char *fmt, ...) KW_PRINTF(1, 2);

static void refuse(const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)fprintf(stderr, "bench_load: %s (--help lists the options)\n", text);
    exit(LOAD_EXIT_USAGE);
}

static void usage_print(void) {
    (void)printf("usage: bench_load --targets HOST:PORT --workload NAME (--requests N | --seconds S) [OPTION ...]\n\n");
    for (size_t i = 0; i < KW_ARRAY_LEN(table); i++) {
        (void)printf("  %-13s %-13s  %s\n", table[i].name, table[i].value, table[i].help);
    }
    (void)printf("\nworkloads:\n");
    for (const struct load_workload *w = NULL; (w = load_workload_next(w));) {
        (void)printf("  %-13s %s\n", w->name, w->summary);
    }
    (void)printf("\nOne line of JSON on standard output. Exit codes: 0 measured, 1 failed, 2 bad options.\n");
}

static uint64_t count_parse(const char *name, const char *text, uint64_t min, uint64_t max) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || value < min || value > max) {
        refuse("%s takes a number from %llu to %llu, not '%s'", name, (unsigned long long)min, (unsigned long long)max,
               text);
    }
    return value;
}

static double real_parse(const char *name, const char *text) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value) || value <= 0) {
        refuse("%s takes a number above 0, not '%s'", name, text);
    }
    return value;
}

static void addresses_parse(const char *name, const char *text, struct load_addresses *addresses) {
    char why[256];
    kw_free(addresses->list);
    addresses->list = NULL;
    addresses->count = kw_seeds_parse(&addresses->list, text, why, sizeof(why));
    if (addresses->count <= 0) refuse("%s: %s", name, why);
}

static void pids_parse(struct load_options *options, const char *name, const char *text) {
    char *copy = kw_strdup(text);
    char *rest = NULL;
    for (char *word = strtok_r(copy, ",", &rest); word; word = strtok_r(NULL, ",", &rest)) {
        if (options->watched_count == LOAD_WATCHED_MAX) refuse("%s takes at most %d", name, LOAD_WATCHED_MAX);
        options->watched[options->watched_count++] = (pid_t)count_parse(name, word, 1, INT32_MAX);
    }
    kw_free(copy);
}

static void take(struct load_options *options, const struct option *option, const char *value) {
    char *field = (char *)options + option->offset;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)(void *)field = true; break;
    case OPTION_COUNT: *(uint64_t *)(void *)field = count_parse(option->name, value, option->min, option->max); break;
    case OPTION_REAL: *(double *)(void *)field = real_parse(option->name, value); break;
    case OPTION_ADDRESSES: addresses_parse(option->name, value, (struct load_addresses *)(void *)field); break;
    case OPTION_WORKLOAD:
        options->workload = load_workload_find(value);
        if (!options->workload) refuse("there is no workload '%s'", value);
        break;
    case OPTION_COMMAND:
        if (options->command_count == LOAD_COMMANDS_MAX) refuse("more than %d commands", LOAD_COMMANDS_MAX);
        if (value[strspn(value, " \t")] == '\0') refuse("--command takes the words of a command");
        options->commands[options->command_count++] = value;
        break;
    case OPTION_PIDS: pids_parse(options, option->name, value); break;
    }
}

static const struct option *option_find(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    refuse("there is no option '%s'", name);
}

/* What one option cannot know of the others. */
static void check(const struct load_options *options) {
    const struct load_workload *workload = options->workload;
    if (options->targets.count == 0) refuse("--targets is missing");
    if (!workload) refuse("--workload is missing");
    bool idle = workload->kind == LOAD_IDLE;
    bool fanout = workload->kind == LOAD_FANOUT;
    bool free_commands = workload->kind == LOAD_COMMANDS && !workload->commands[0];
    if (options->requests > 0 && options->seconds > 0) refuse("--requests and --seconds exclude each other");
    if (!idle && options->requests == 0 && options->seconds == 0) refuse("--requests or --seconds is missing");
    if (idle && (options->requests > 0 || options->seconds > 0 || options->rate > 0 || options->warmup > 0)) {
        refuse("workload idle ends with its standard input: no --requests, --seconds, --rate or --warmup");
    }
    if (free_commands && options->command_count == 0) refuse("workload command wants --command");
    if (!free_commands && options->command_count > 0) refuse("--command is for workload command only");
    if (fanout && options->subscribers == 0) refuse("workload fanout wants --subscribers");
    if (fanout && options->size < LOAD_MESSAGE_MIN)
        refuse("a message of fanout has %d bytes at least", LOAD_MESSAGE_MIN);
    if (!fanout && options->subscribers > 0) refuse("--subscribers is for workload fanout only");
    if (options->fill && !workload->fill) refuse("workload %s has nothing to --fill", workload->name);
    if (options->fill && options->keys * options->size > FILL_BYTES_MAX) {
        refuse("--fill would write %.1f GiB: fewer --keys, or a smaller --size",
               (double)(options->keys * options->size) / (double)(1ULL << 30));
    }
}

void load_options_parse(struct load_options *options, int argc, char **argv) {
    *options =
        (struct load_options){.connections = 50, .pipeline = 1, .keys = 100000, .boards = 16, .size = 64, .seed = 1};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage_print();
            exit(0);
        }
        const struct option *option = option_find(argv[i]);
        if (option->kind == OPTION_FLAG) {
            take(options, option, NULL);
            continue;
        }
        if (++i == argc) refuse("%s takes a value", option->name);
        take(options, option, argv[i]);
    }
    check(options);
}

void load_options_deinit(struct load_options *options) {
    kw_free(options->targets.list);
    kw_free(options->prepare.list);
}
