/*
 * INFO as clients expect it of one Redis: what is true of the whole is summed
 * over the shards, what is the proxy's own is the proxy's. Two steps: every
 * primary is asked for its INFO (one that does not answer within a second is
 * left out, and counted), then every worker for its counters.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "proxy/local/info_fields.h"
#include "proxy/local/local.h"
#include "proxy/meta/follow.h"
#include "proxy/pubsub/topics.h"
#include "proxy/request/group.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { SHARD_WAIT_US = 1000 * 1000 };

struct info {
    struct kw_info_sections sections;
    struct kw_info_shards shards;
    struct kw_stats stats;
    struct kw_server *server;
    struct kw_topology *topology; /* own reference */
    bool shows_cluster;
    bool asked_for_cluster;
};

static void info_free(void *context) {
    struct info *info = context;
    kw_info_shards_deinit(&info->shards);
    kw_stats_deinit(&info->stats);
    kw_topology_unref(info->topology);
    kw_free(info);
}

static void visit(struct kw_worker *worker, void *context) {
    struct info *info = context;
    struct kw_stats here = worker->stats; /* borrowed: the array stays the worker's */
    here.clients = worker->session_count;
    here.blocked = here.inflight = here.parked = here.links = here.link_bytes = 0;
    for (struct kw_session *s = worker->sessions; s; s = s->next) {
        here.inflight += s->inflight;
        here.parked += s->parked;
        here.blocked += s->hold || s->wait_unpause;
        here.tracking += s->tracking;
    }
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        for (struct kw_link *link = node->all; link; link = link->next) {
            here.links++;
            here.link_bytes += link->out.bytes;
        }
    }
    here.pool_bytes = kw_pool_bytes(worker->pool);
    kw_stats_add(&info->stats, &here);
}

static void print_server(struct info *info, struct kw_str *out) {
    struct kw_server_facts facts;
    struct utsname os;
    kw_server_facts(info->server, &facts);
    uname(&os);
    uint64_t up_s = (kw_clock_ms() - facts.started_ms) / 1000;
    const char *version = kw_info_text(&info->shards, "redis_version");
    kw_str_printf(
        out,
        "# Server\r\nredis_version:%s\r\nredis_git_sha1:00000000\r\nredis_git_dirty:0\r\nredis_build_id:0\r\n"
        "redis_mode:%s\r\nos:%s %s %s\r\narch_bits:64\r\nmonotonic_clock:POSIX clock_gettime\r\n"
        "multiplexing_api:epoll\r\natomicvar_api:c11-builtin\r\nprocess_id:%d\r\nprocess_supervised:no\r\n"
        "run_id:%s\r\ntcp_port:%u\r\nserver_time_usec:%llu\r\nuptime_in_seconds:%llu\r\nuptime_in_days:%llu\r\n"
        "hz:10\r\nconfigured_hz:10\r\nlru_clock:0\r\nexecutable:%s\r\nconfig_file:%s\r\nkeyway_version:%s\r\n",
        version                                               ? version
        : info->topology && info->topology->server_version[0] ? info->topology->server_version
                                                              : "7.0.15",
        info->shows_cluster ? "cluster" : "standalone", os.sysname, os.release, os.machine, (int)getpid(), facts.run_id,
        facts.port, (unsigned long long)kw_clock_wall_us(), (unsigned long long)up_s,
        (unsigned long long)(up_s / 86400), facts.executable, facts.config_file, KW_VERSION);
}

static void print_clients(struct info *info, struct kw_str *out) {
    struct kw_server_facts facts;
    kw_server_facts(info->server, &facts);
    kw_str_printf(out,
                  "# Clients\r\nconnected_clients:%llu\r\ncluster_connections:0\r\nmaxclients:%lld\r\n"
                  "client_recent_max_input_buffer:0\r\nclient_recent_max_output_buffer:0\r\nblocked_clients:%llu\r\n"
                  "tracking_clients:%llu\r\nclients_in_timeout_table:0\r\n",
                  (unsigned long long)info->stats.clients, facts.maxclients, (unsigned long long)info->stats.blocked,
                  (unsigned long long)info->stats.tracking);
}

static void print_memory(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Memory\r\n");
    kw_info_print_fields(&info->shards, "memory", out);
}

static void print_persistence(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Persistence\r\n");
    kw_info_print_fields(&info->shards, "persistence", out);
}

static void print_stats(struct info *info, struct kw_str *out) {
    struct kw_server_facts facts;
    kw_server_facts(info->server, &facts);
    kw_str_printf(out,
                  "# Stats\r\ntotal_connections_received:%llu\r\ntotal_commands_processed:%llu\r\n"
                  "total_net_input_bytes:%llu\r\ntotal_net_output_bytes:%llu\r\nrejected_connections:%llu\r\n",
                  (unsigned long long)info->stats.connections, (unsigned long long)info->stats.requests,
                  (unsigned long long)info->stats.bytes_in, (unsigned long long)info->stats.bytes_out,
                  (unsigned long long)facts.rejected_connections);
    struct kw_topics *topics = kw_server_topics(info->server);
    kw_str_printf(out, "total_error_replies:%llu\r\n", (unsigned long long)info->stats.error_replies);
    kw_str_printf(out, "pubsub_channels:%zu\r\npubsub_patterns:%zu\r\npubsubshard_channels:%zu\r\n",
                  kw_topics_count(topics, KW_TOPIC_CHANNEL), kw_topics_count(topics, KW_TOPIC_PATTERN),
                  kw_topics_count(topics, KW_TOPIC_SHARD));
    kw_info_print_fields(&info->shards, "stats", out);
}

static void print_replication(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Replication\r\nrole:master\r\n");
    kw_info_print_fields(&info->shards, "replication", out);
    kw_str_append_text(out, "master_failover_state:no-failover\r\nsecond_repl_offset:-1\r\n");
}

static void print_cpu(struct info *info, struct kw_str *out) {
    (void)info;
    struct rusage self, children;
    getrusage(RUSAGE_SELF, &self);
    getrusage(RUSAGE_CHILDREN, &children);
    kw_str_printf(out,
                  "# CPU\r\nused_cpu_sys:%ld.%06ld\r\nused_cpu_user:%ld.%06ld\r\nused_cpu_sys_children:%ld.%06ld\r\n"
                  "used_cpu_user_children:%ld.%06ld\r\n",
                  (long)self.ru_stime.tv_sec, (long)self.ru_stime.tv_usec, (long)self.ru_utime.tv_sec,
                  (long)self.ru_utime.tv_usec, (long)children.ru_stime.tv_sec, (long)children.ru_stime.tv_usec,
                  (long)children.ru_utime.tv_sec, (long)children.ru_utime.tv_usec);
}

static void print_modules(struct info *info, struct kw_str *out) {
    (void)info;
    kw_str_append_text(out, "# Modules\r\n");
}

static void print_commandstats(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Commandstats\r\n");
    kw_stats_print_commands(&info->stats, out);
}

static void print_errorstats(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Errorstats\r\n");
    kw_stats_print_errors(&info->stats, out);
}

static void print_cluster(struct info *info, struct kw_str *out) {
    kw_str_printf(out, "# Cluster\r\ncluster_enabled:%d\r\n", info->shows_cluster);
    /* Python's splitlines() ends a line at a form feed as well; nobody else does. See kw_local_asks_for_cluster. */
    if (info->asked_for_cluster && !info->shows_cluster) {
        kw_str_append_text(out, "cluster_emulation:auto\fcluster_enabled:1\r\n");
    }
}

static void print_keyspace(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Keyspace\r\n");
    kw_info_print_keyspace(&info->shards, out);
}

static void print_keyway(struct info *info, struct kw_str *out) {
    const struct kw_topology *topology = info->topology;
    struct rusage self;
    getrusage(RUSAGE_SELF, &self);
    kw_str_printf(
        out,
        "# Keyway\r\nkeyway_version:%s\r\nworkers:%u\r\nproxy_used_memory:%zu\r\nproxy_max_rss:%ld\r\n"
        "buffer_pool_bytes:%llu\r\nrequests_in_flight:%llu\r\nrequests_waiting:%llu\r\nupstream_links:%llu\r\n"
        "redirects_followed:%llu\r\nclient_output_limit_disconnections:%llu\r\ntopology_version:%llu\r\n"
        "shards:%u\r\nshards_answering:%u\r\nslots_assigned:%u\r\n",
        KW_VERSION, kw_server_worker_count(info->server), kw_alloc_used_bytes(), self.ru_maxrss * 1024,
        (unsigned long long)info->stats.pool_bytes, (unsigned long long)info->stats.inflight,
        (unsigned long long)info->stats.parked, (unsigned long long)info->stats.links,
        (unsigned long long)info->stats.redirects, (unsigned long long)info->stats.output_limit_closed,
        (unsigned long long)(topology ? topology->version : 0), topology ? topology->primary_count : 0,
        info->shards.answered, topology ? topology->owned_slots : 0);
    unsigned nth = 0;
    for (unsigned i = 0; topology && i < topology->node_count; i++) {
        const struct kw_topo_node *node = &topology->nodes[i];
        if (!node->primary || node->slot_count == 0) continue;
        kw_str_printf(out, "shard%u:primary=%s,slots=%u,replicas=%u,state=%s\r\n", nth++, node->addr, node->slot_count,
                      node->replica_count,
                      node->failed      ? "failed"
                      : node->reachable ? "ok"
                                        : "unreachable");
    }
}

static void print_metadata(struct info *info, struct kw_str *out) {
    kw_str_append_text(out, "# Metadata\r\n");
    kw_follow_print(kw_server_follow(info->server), out);
}

static const struct {
    enum kw_info_section section;
    void (*print)(struct info *info, struct kw_str *out);
} printers[] = {
    {KW_INFO_SERVER, print_server},
    {KW_INFO_CLIENTS, print_clients},
    {KW_INFO_MEMORY, print_memory},
    {KW_INFO_PERSISTENCE, print_persistence},
    {KW_INFO_STATS, print_stats},
    {KW_INFO_REPLICATION, print_replication},
    {KW_INFO_CPU, print_cpu},
    {KW_INFO_MODULES, print_modules},
    {KW_INFO_COMMANDSTATS, print_commandstats},
    {KW_INFO_ERRORSTATS, print_errorstats},
    {KW_INFO_CLUSTER, print_cluster},
    {KW_INFO_KEYSPACE, print_keyspace},
    {KW_INFO_KEYWAY, print_keyway},
    {KW_INFO_METADATA, print_metadata},
};

static void finish(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    struct info *info = context;
    struct kw_str text = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(printers); i++) {
        if (!info->sections.wanted[printers[i].section]) continue;
        if (text.len) kw_str_append(&text, "\r\n", 2);
        printers[i].print(info, &text);
    }
    kw_str_resp_verbatim(out, resp, text.data ? text.data : "", text.len);
    kw_str_deinit(&text);
}

static void start_tour(struct kw_worker *worker, struct kw_request *req, struct info *info) {
    struct kw_tour tour = {visit, finish, info_free, info};
    kw_tour_start(worker, req, &tour);
}

/* Every shard has answered or has been given up: their texts are taken in, then the workers are asked. */
static bool shards_answered(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    struct info *info = group->context;
    group->context = NULL;
    group->free_context = NULL;
    for (uint32_t i = 0; i < group->part_count; i++) {
        struct kw_outq *reply = &group->parts[i]->reply;
        if (group->parts[i]->reply_type == '-') continue;
        char *text = kw_malloc(reply->bytes + 1);
        size_t len = kw_outq_peek(reply, text, reply->bytes);
        text[len] = '\0';
        kw_info_shards_add(&info->shards, text);
        kw_free(text);
    }
    parent->flags |= KW_REQF_ASYNC | KW_REQF_LOCAL;
    start_tour(worker, parent, info);
    return false;
}

void kw_local_info(struct kw_local_call *call) {
    struct kw_session *session = call->session;
    struct kw_worker *worker = session->worker;
    struct info *info = kw_calloc(1, sizeof(*info));
    info->server = worker->server;
    info->shows_cluster = kw_local_shows_cluster(session);
    info->asked_for_cluster = kw_local_asks_for_cluster(call);
    info->topology = worker->topology ? kw_topology_ref(worker->topology) : NULL;
    kw_info_sections_parse(&info->sections, call->argv + 1, call->argc - 1);
    if (!kw_info_sections_need_shards(&info->sections) || !worker->topology) {
        start_tour(worker, kw_request_new_async(session, call->cmd), info);
        return;
    }
    static const char ask[] = "*1\r\n$4\r\nINFO\r\n";
    struct kw_broadcast_options options = {
        .merge = shards_answered,
        .tolerant = true,
        .context = info,
        .free_context = info_free,
        .wait_us = SHARD_WAIT_US,
    };
    kw_broadcast(session, call->cmd, ask, sizeof(ask) - 1, &options);
}
