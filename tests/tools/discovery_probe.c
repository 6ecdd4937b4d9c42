/*
 * Runs discovery alone and prints every topology that it publishes as a line
 * of JSON, for tests/integration/test_discovery.py and for people:
 *
 *   discovery_probe SEEDS [PASSWORD [USER]]
 *
 * On standard input: "refresh" asks for a round, "quit" or the end of the
 * input closes in good order (exit status 0 shows that everything was given
 * back). The log goes to standard error. Nothing can fail but the seeds (2).
 */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "cluster/command.h"
#include "cluster/discovery.h"

struct probe {
    struct kw_discovery *discovery;
    uv_pipe_t input;
    char line[4096];
    bool closing;
};

static unsigned learned_replies;

static int learn(const struct redisReply *reply) {
    learned_replies++;
    return kw_command_learn_reply(reply);
}

static void print_slots(struct kw_str *out, const struct kw_topology *topo, int node) {
    const char *comma = "";
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (topo->owner[slot] != node) continue;
        unsigned first = slot;
        while (slot + 1 < KW_SLOT_COUNT && topo->owner[slot + 1] == node) slot++;
        kw_str_printf(out, "%s[%u,%u]", comma, first, slot);
        comma = ",";
    }
}

static void print_node(struct kw_str *out, const struct kw_topology *topo, unsigned index) {
    const struct kw_topo_node *node = &topo->nodes[index];
    kw_str_printf(out,
                  "{\"id\":\"%s\",\"addr\":\"%s\",\"primary\":%s,\"failed\":%s,\"reachable\":%s,\"primary_index\":%d,"
                  "\"epoch\":%llu,\"replicas\":[",
                  node->id, node->addr, node->primary ? "true" : "false", node->failed ? "true" : "false",
                  node->reachable ? "true" : "false", node->primary_index, (unsigned long long)node->config_epoch);
    for (unsigned nth = 0; kw_topology_replica(topo, index, nth) >= 0; nth++) {
        kw_str_printf(out, "%s%d", nth ? "," : "", kw_topology_replica(topo, index, nth));
    }
    kw_str_append_text(out, "],\"slots\":[");
    print_slots(out, topo, (int)index);
    kw_str_append_text(out, "]}");
}

static void on_topology(void *ctx, struct kw_topology *topo) {
    struct kw_str out = {0};
    const char *comma = "";
    (void)ctx;
    kw_str_printf(&out,
                  "{\"ms\":%llu,\"version\":%llu,\"shards\":%u,\"owned\":%u,\"standalone\":%s,\"server\":\"%s\","
                  "\"server_version\":\"%s\",\"epoch\":%llu,\"learned\":%u,\"open\":[",
                  (unsigned long long)kw_clock_ms(), (unsigned long long)topo->version, topo->primary_count,
                  topo->owned_slots, topo->standalone ? "true" : "false", topo->server_name, topo->server_version,
                  (unsigned long long)topo->cluster_epoch, learned_replies);
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (!kw_topology_slot_open(topo, slot)) continue;
        kw_str_printf(&out, "%s%u", comma, slot);
        comma = ",";
    }
    kw_str_append_text(&out, "],\"nodes\":[");
    for (unsigned i = 0; i < topo->node_count; i++) {
        if (i > 0) kw_str_append_text(&out, ",");
        print_node(&out, topo, i);
    }
    kw_str_append_text(&out, "]}\n");
    fputs(out.data, stdout);
    fflush(stdout);
    kw_str_deinit(&out);
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct probe *probe = handle->data;
    (void)suggested;
    *buf = uv_buf_init(probe->line, sizeof(probe->line));
}

static void on_input(uv_stream_t *stream, ssize_t nread, const uv_buf_t *buf) {
    struct probe *probe = stream->data;
    if (nread > 0 && memmem(buf->base, (size_t)nread, "refresh", 7)) kw_discovery_refresh_soon(probe->discovery);
    if (probe->closing || (nread >= 0 && !(nread > 0 && memmem(buf->base, (size_t)nread, "quit", 4)))) return;
    probe->closing = true;
    kw_discovery_close(probe->discovery, NULL, NULL);
    uv_close((uv_handle_t *)stream, NULL);
}

int main(int argc, char **argv) {
    struct probe probe = {0};
    uv_loop_t loop;

    if (argc < 2) {
        fprintf(stderr, "usage: %s SEEDS [PASSWORD [USER]]\n", argv[0]);
        return 2;
    }
    kw_log_open("/dev/stderr", KW_LOG_VERBOSE);
    uv_loop_init(&loop);
    struct kw_discovery_options opts = {
        .seeds = argv[1],
        .password = argc > 2 ? argv[2] : NULL,
        .user = argc > 3 ? argv[3] : NULL,
        .on_topology = on_topology,
        .learn = learn,
    };
    if (kw_discovery_new(&probe.discovery, &loop, &opts) != 0) {
        uv_loop_close(&loop);
        return 2;
    }
    kw_discovery_start(probe.discovery);
    uv_pipe_init(&loop, &probe.input, 0);
    probe.input.data = &probe;
    uv_pipe_open(&probe.input, 0);
    uv_read_start((uv_stream_t *)&probe.input, on_alloc, on_input);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop) == 0 ? 0 : 3;
}
