/* Each option is a row: its kind says how its word is taken, its offset where it goes. */
#include "tests/bench/load_meta/options.h"

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
    OPTION_TEXT,
    OPTION_ADDRESSES,
    OPTION_PROTOCOL,
    OPTION_WORK
};

struct option {
    const char *name;
    enum option_kind kind;
    size_t offset, count_offset; /* the latter of addresses */
    const char *value;           /* as the usage shows it */
    const char *help;
};

#define AT(field) offsetof(struct meta_options, field)

static const struct option table[] = {
    {"--protocol", OPTION_PROTOCOL, 0, 0, "NAME", "keyway or etcd"},
    {"--targets", OPTION_ADDRESSES, AT(targets), AT(target_count), "HOST:PORT,...", "connections take turns"},
    {"--workload", OPTION_WORK, 0, 0, "NAME", "put, get (linearizable), ping, failover or push"},
    {"--secret", OPTION_TEXT, AT(secret), 0, "TEXT", "of keyway-meta"},
    {"--table", OPTION_TEXT, AT(table), 0, "NAME", "of keyway-meta's records (config)"},
    {"--clients", OPTION_COUNT, AT(clients), 0, "N", "connections (1)"},
    {"--pipeline", OPTION_COUNT, AT(pipeline), 0, "N", "requests under way on each (1)"},
    {"--requests", OPTION_COUNT, AT(requests), 0, "N", "how many are measured"},
    {"--seconds", OPTION_REAL, AT(seconds), 0, "S", "or for how long"},
    {"--warmup", OPTION_REAL, AT(warmup), 0, "S", "before the measured ones"},
    {"--rate", OPTION_REAL, AT(rate), 0, "R", "requests a second by a fixed schedule, whatever the answers do"},
    {"--keys", OPTION_COUNT, AT(keys), 0, "N", "different keys (1000)"},
    {"--sequential", OPTION_FLAG, AT(sequential), 0, "", "each key in its turn, not at random"},
    {"--size", OPTION_COUNT, AT(size), 0, "BYTES", "of a value (100)"},
    {"--kill", OPTION_COUNT, AT(kill), 0, "PID", "failover: killed with signal 9; the targets are the other nodes"},
    {"--leader", OPTION_ADDRESSES, AT(leader), AT(leader_count), "HOST:PORT", "push: where the map is changed"},
    {"--text-a", OPTION_TEXT, AT(text[0]), 0, "FILE", "push: CLUSTER NODES, in turns with"},
    {"--text-b", OPTION_TEXT, AT(text[1]), 0, "FILE", "this one"},
    {"--watchers", OPTION_COUNT, AT(watchers), 0, "N", "push: connections that watch (50)"},
    {"--changes", OPTION_COUNT, AT(changes), 0, "N", "push: how many (20)"},
};

static const struct {
    const char *name;
    enum meta_work work;
    enum meta_request request;
} works[] = {{"put", META_WORK_LOAD, META_PUT},
             {"get", META_WORK_LOAD, META_GET},
             {"ping", META_WORK_LOAD, META_PING},
             {"failover", META_WORK_FAILOVER, META_PUT},
             {"push", META_WORK_PUSH, META_PUT}};

KW_NORETURN static void refuse(const char *fmt, ...) KW_PRINTF(1, 2);

static void refuse(const char *fmt, ...) {
    char text[512];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)fprintf(stderr, "bench_meta: %s (--help shows all options)\n", text);
    exit(LOAD_EXIT_USAGE);
}

static void usage_print(void) {
    (void)puts("usage: bench_meta OPTION ...\n\nA load on a metadata service; one line of JSON.\n");
    for (size_t i = 0; i < KW_ARRAY_LEN(table); i++) {
        (void)printf("  %-12s %-14s %s\n", table[i].name, table[i].value, table[i].help);
    }
}

static uint64_t count_parse(const char *name, const char *text) {
    char *end = NULL;
    errno = 0;
    unsigned long long value = strtoull(text, &end, 10);
    if (errno != 0 || *text < '0' || *text > '9' || *end != '\0' || value < 1 || value > 1ULL << 32) {
        refuse("%s takes a number from 1 to 2^32, not '%s'", name, text);
    }
    return value;
}

static double real_parse(const char *name, const char *text) {
    char *end = NULL;
    double value = strtod(text, &end);
    if (*end != '\0' || !isfinite(value) || value <= 0) refuse("%s takes a number above 0, not '%s'", name, text);
    return value;
}

static void addresses_parse(const struct option *option, const char *text, struct kw_seed **list, int *count) {
    char why[256];
    kw_free(*list);
    *list = NULL;
    *count = kw_seeds_parse(list, text, why, sizeof(why));
    if (*count <= 0) refuse("%s: %s", option->name, why);
}

static void protocol_parse(struct meta_options *options, const char *text) {
    const struct meta_protocol *const known[] = {&meta_protocol_resp, &meta_protocol_grpc};
    options->protocol = NULL;
    for (size_t i = 0; i < KW_ARRAY_LEN(known); i++) {
        if (strcmp(known[i]->name, text) == 0) options->protocol = known[i];
    }
    if (!options->protocol) refuse("there is no protocol '%s'", text);
}

static void work_parse(struct meta_options *options, const char *text) {
    options->work = META_WORK_NONE;
    for (size_t i = 0; i < KW_ARRAY_LEN(works); i++) {
        if (strcmp(works[i].name, text) != 0) continue;
        options->work = works[i].work;
        options->request = works[i].request;
        options->workload = works[i].name;
    }
    if (options->work == META_WORK_NONE) refuse("there is no workload '%s'", text);
}

static void take(struct meta_options *options, const struct option *option, const char *value) {
    char *field = (char *)options + option->offset;
    char *count = (char *)options + option->count_offset;
    switch (option->kind) {
    case OPTION_FLAG: *(bool *)(void *)field = true; break;
    case OPTION_COUNT: *(uint64_t *)(void *)field = count_parse(option->name, value); break;
    case OPTION_REAL: *(double *)(void *)field = real_parse(option->name, value); break;
    case OPTION_TEXT: *(const char **)(void *)field = value; break;
    case OPTION_ADDRESSES:
        addresses_parse(option, value, (struct kw_seed **)(void *)field, (int *)(void *)count);
        break;
    case OPTION_PROTOCOL: protocol_parse(options, value); break;
    case OPTION_WORK: work_parse(options, value); break;
    }
}

static void check(const struct meta_options *options) {
    if (!options->protocol) refuse("--protocol is missing");
    if (options->work == META_WORK_NONE) refuse("--workload is missing");
    if (options->target_count == 0) refuse("--targets is missing");
    bool resp = options->protocol == &meta_protocol_resp;
    bool load = options->work == META_WORK_LOAD;
    if (load && (options->requests > 0) == (options->seconds > 0)) refuse("either --requests or --seconds");
    if (!resp && (options->request == META_PING || options->work == META_WORK_PUSH)) {
        refuse("etcd has no workload %s", options->workload);
    }
    if (options->work == META_WORK_FAILOVER && options->kill == 0) refuse("workload failover wants --kill");
    if (options->work == META_WORK_PUSH && (options->leader_count != 1 || !options->text[0] || !options->text[1])) {
        refuse("workload push wants --leader, --text-a and --text-b");
    }
}

static const struct option *option_find(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    refuse("there is no option '%s'", name);
}

void meta_options_parse(struct meta_options *options, int argc, char **argv) {
    *options = (struct meta_options){.secret = "",
                                     .table = "config",
                                     .clients = 1,
                                     .pipeline = 1,
                                     .keys = 1000,
                                     .size = 100,
                                     .watchers = 50,
                                     .changes = 20};
    for (int i = 1; i < argc; i++) {
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) {
            usage_print();
            exit(0);
        }
        const struct option *option = option_find(argv[i]);
        bool flag = option->kind == OPTION_FLAG;
        if (!flag && i + 1 == argc) refuse("%s takes a value", option->name);
        take(options, option, flag ? NULL : argv[++i]);
    }
    check(options);
}

void meta_options_deinit(struct meta_options *options) {
    kw_free(options->targets);
    kw_free(options->leader);
}
