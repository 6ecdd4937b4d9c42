/* Single commands go one by one over connections of their own; items are written by a run, in their order. */
#include "tests/bench/load/prepare.h"

#include <stdio.h>
#include <string.h>

#include "tests/bench/load/load.h"
#include "tests/bench/load/sources.h"

enum { FILL_CLIENTS = 4, FILL_PIPELINE = 256, FILL_BYTES_IN_FLIGHT = 1024 * 1024 };

static void script_load(const struct load_nodes *nodes, const struct load_value *value) {
    for (unsigned i = 0; i < nodes->count; i++) {
        const struct load_node *node = &nodes->list[i];
        redisContext *link = load_node_link(node);
        redisReply *reply = redisCommand(link, "SCRIPT LOAD %s", load_script);
        bool loaded = reply && reply->type == REDIS_REPLY_STRING && strcmp(reply->str, value->sha) == 0;
        if (!loaded) {
            const char *why = !reply ? link->errstr : reply->str ? reply->str : "another digest";
            (void)fprintf(stderr, "bench_load: %s:%u does not take SCRIPT LOAD: %s\n", node->host, node->port, why);
        }
        if (reply) freeReplyObject(reply);
        redisFree(link);
    }
}

static void group_make(redisContext *link, const char *stream) {
    redisReply *reply = redisCommand(link, "XGROUP CREATE %s %s $ MKSTREAM", stream, load_stream_group);
    /* Of an earlier run: it shall begin at the end as well. */
    if (reply && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "BUSYGROUP", 9) == 0) {
        freeReplyObject(reply);
        reply = redisCommand(link, "XGROUP SETID %s %s $", stream, load_stream_group);
    }
    if (!reply || reply->type == REDIS_REPLY_ERROR) {
        load_die("cannot make the group of %s: %s", stream, reply ? reply->str : link->errstr);
    }
    freeReplyObject(reply);
}

static void groups_make(const struct load_options *options, const struct load_nodes *nodes) {
    uint64_t count = options->connections < options->keys ? options->connections : options->keys;
    for (unsigned i = 0; i < nodes->count; i++) {
        redisContext *link = load_node_link(&nodes->list[i]);
        for (uint64_t k = 0; k < count; k++) {
            char stream[32];
            load_stream_name(stream, k);
            if (load_nodes_for_key(nodes, stream, strlen(stream), i) == i) group_make(link, stream);
        }
        redisFree(link);
    }
}

static void items_write(const struct load_options *options, const struct load_nodes *nodes,
                        const struct load_value *value, struct kw_pool *pool) {
    struct load_draw draw;
    struct load_run run;
    uint64_t pipeline = FILL_BYTES_IN_FLIGHT / options->size;
    load_draw_init(&draw, options);
    draw.sequential = true;
    struct load_source *source = load_source_commands(&options->workload->fill, 1, NULL, 0, value, &draw);
    struct load_run_options how = {.clients = FILL_CLIENTS, .pipeline = FILL_PIPELINE};
    if (pipeline < how.pipeline) how.pipeline = pipeline > 0 ? (uint32_t)pipeline : 1;
    load_run_init(&run, &how, nodes, source, &draw, pool);
    load_run_phase(&run, options->keys, 0);
    if (run.seen.errors > 0) {
        load_die("%llu of %llu writes of --fill failed: %s", (unsigned long long)run.seen.errors,
                 (unsigned long long)options->keys, run.seen.first_error.data);
    }
    load_run_deinit(&run);
    load_source_free(source);
}

void load_prepare(const struct load_options *options, const struct load_nodes *nodes, const struct load_value *value,
                  struct kw_pool *pool) {
    if (options->workload->script) script_load(nodes, value);
    if (options->workload->kind == LOAD_STREAM) groups_make(options, nodes);
    if (options->fill) items_write(options, nodes, value, pool);
}
