/* The table of settings and the copy that workers read. */
#include "proxy/settings.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cluster/discovery.h"
#include "proxy/server.h"

static const char *const read_from_names[] = {"primary", "prefer-replica", "replica", "nearest", NULL};
static const char *const cluster_emulation_names[] = {"auto", "yes", "no", NULL};
static const char *const loglevel_names[] = {"debug", "verbose", "notice", "warning", NULL};
static const char *const client_classes[] = {"normal", "replica", "pubsub", NULL};

static int valid_nodes(const char *value, char *why, size_t why_size) {
    return kw_discovery_seeds_check(value, why, why_size);
}

static int apply_limits(void *ctx, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    kw_server_settings_changed(ctx);
    return 0;
}

static int apply_log(void *ctx, char *why, size_t why_size) {
    return kw_server_reopen_log(ctx, why, why_size);
}

#define S struct kw_settings
#define INT(name, field, flags, value, min, max, unit, help, apply)                                                    \
    { name, KW_CONFIG_INT, flags, KW_CONFIG_NUMBER_AT(S, field), value, min, max, NULL, NULL, unit, help, NULL, apply }
#define BYTES(name, field, value, min, max, help)                                                                      \
    {                                                                                                                  \
        name, KW_CONFIG_BYTES, KW_CONFIG_MUTABLE, KW_CONFIG_NUMBER_AT(S, field), value, min, max, NULL, NULL, "bytes", \
            help, NULL, apply_limits                                                                                   \
    }
#define TEXT(name, type, field, flags, value, help, validate, apply)                                                   \
    { name, type, flags, KW_CONFIG_TEXT_AT(S, field), value, 0, 0, NULL, NULL, NULL, help, validate, apply }
#define ENUM(name, field, value, names, help, apply)                                                                   \
    {                                                                                                                  \
        name, KW_CONFIG_ENUM, KW_CONFIG_MUTABLE, KW_CONFIG_ENUM_AT(S, field), value, 0, 0, names, NULL, NULL, help,    \
            NULL, apply                                                                                                \
    }

/* clang-format off */
const struct kw_config_row kw_settings_rows[] = {
    TEXT("bind", KW_CONFIG_LIST, bind, 0, "127.0.0.1", "Addresses to listen on; * is all IPv4 ones, ::* all IPv6 ones; a - in front: no error where the machine lacks it", NULL, NULL),
    INT("port", port, 0, "7379", 1, 65535, NULL, "TCP port of the endpoint", NULL),
    INT("workers", workers, 0, "0", 0, 256, "threads", "Worker threads; 0 is one a processor", NULL),
    INT("maxclients", maxclients, KW_CONFIG_MUTABLE, "10000", 1, 1000000, "connections", "Clients connected at once; one more is told so and closed", apply_limits),
    INT("timeout", timeout_s, KW_CONFIG_MUTABLE, "0", 0, INT_MAX, "seconds", "Close a client that has been idle for so long; 0 is never", apply_limits),
    INT("tcp-keepalive", tcp_keepalive_s, KW_CONFIG_MUTABLE, "300", 0, 100000, "seconds", "Probe silent clients after so long; 0 is never", apply_limits),
    INT("tcp-backlog", tcp_backlog, 0, "511", 1, 65535, "connections", "Connections that the kernel holds until they are accepted", NULL),
    TEXT("meta-nodes", KW_CONFIG_LIST, meta_nodes, 0, "", "Nodes of the metadata service to follow, host:port; one that answers is enough; empty is none", valid_nodes, NULL),
    TEXT("meta-secret", KW_CONFIG_SECRET, meta_secret, 0, "", "Secret of the metadata service; empty is none", NULL, NULL),
    TEXT("cluster-nodes", KW_CONFIG_LIST, cluster_nodes, 0, "127.0.0.1:7000", "Nodes to learn the cluster from, host:port; one that answers is enough; with meta-nodes the default is not used, and what is said here serves beside it", valid_nodes, NULL),
    TEXT("cluster-username", KW_CONFIG_STRING, cluster_username, KW_CONFIG_MUTABLE, "", "User towards the nodes; empty is the default user", NULL, apply_limits),
    TEXT("cluster-password", KW_CONFIG_SECRET, cluster_password, KW_CONFIG_MUTABLE, "", "Password towards the nodes; empty is none", NULL, apply_limits),
    ENUM("cluster-emulation", cluster_emulation, "auto", cluster_emulation_names, "Who is told that the proxies are a cluster: auto, clients that ask (CLUSTER, READONLY, ASKING); yes, everybody (INFO says cluster_enabled:1); no, nobody", apply_limits),
    TEXT("cluster-announce-proxies", KW_CONFIG_LIST, cluster_announce_proxies, KW_CONFIG_MUTABLE, "", "The proxies, host:port, as cluster clients reach them; they share the slots evenly; the same list in the same order at each; empty is this one alone, under the address by which the client came", valid_nodes, apply_limits),
    INT("request-timeout", request_timeout_ms, KW_CONFIG_MUTABLE, "5000", 10, 3600000, "milliseconds", "How long a request may take, redirects and waiting for a failover included", apply_limits),
    INT("connect-timeout", connect_timeout_ms, KW_CONFIG_MUTABLE, "1000", 10, 60000, "milliseconds", "How long connecting to a node may take", apply_limits),
    INT("topology-refresh", topology_refresh_ms, 0, "1000", 50, 60000, "milliseconds", "How often the nodes are asked who serves what, when nothing happens", NULL),
    INT("node-links", node_links, KW_CONFIG_MUTABLE, "1", 1, 8, "connections", "Shared links to each node, of each worker", apply_limits),
    ENUM("read-from", read_from, "primary", read_from_names, "Where reads go: primary, prefer-replica, replica, or nearest by measured latency", apply_limits),
    TEXT("requirepass", KW_CONFIG_SECRET, requirepass, KW_CONFIG_MUTABLE, "", "Password that clients must give; empty is none", NULL, apply_limits),
    {"client-output-buffer-limit", KW_CONFIG_TABLE, KW_CONFIG_MUTABLE, KW_CONFIG_TEXT_AT(S, output_limits), "normal 268435456 67108864 60\nreplica 268435456 67108864 60\npubsub 33554432 8388608 60", 0, 0, client_classes, "ebbi", NULL, "Class, hard limit, soft limit, soft seconds: a client that reads too slowly is closed", NULL, apply_limits},
    BYTES("client-query-buffer-limit", query_buffer_limit, "1gb", 1024 * 1024, LLONG_MAX, "Bytes of a request that may be held while it is received"),
    BYTES("proto-max-bulk-len", max_bulk_len, "512mb", 1024 * 1024, LLONG_MAX, "Largest argument of a command"),
    INT("client-max-inflight", max_inflight, KW_CONFIG_MUTABLE, "1024", 1, 1000000, "requests", "Requests of one client on their way at once; reading stops there", apply_limits),
    INT("slowlog-log-slower-than", slowlog_slower_us, KW_CONFIG_MUTABLE, "10000", -1, LLONG_MAX, "microseconds", "Requests that took longer go to the slow log; -1 is off", apply_limits),
    INT("slowlog-max-len", slowlog_max_len, KW_CONFIG_MUTABLE, "128", 0, 1000000, "entries", "Length of the slow log, of each worker", apply_limits),
    INT("shutdown-timeout", shutdown_timeout_s, KW_CONFIG_MUTABLE, "10", 0, 3600, "seconds", "How long requests on their way may take to finish after SIGTERM", apply_limits),
    ENUM("loglevel", loglevel, "notice", loglevel_names, "Least important kind of line that is logged", apply_log),
    TEXT("logfile", KW_CONFIG_STRING, logfile, 0, "", "File to log to; empty is standard output", NULL, NULL),
    TEXT("pidfile", KW_CONFIG_STRING, pidfile, 0, "", "File to write the process id to; empty is none", NULL, NULL),
};
/* clang-format on */
const size_t kw_settings_row_count = KW_ARRAY_LEN(kw_settings_rows);

static int take_output_limit(void *ctx, const struct kw_arg *words, size_t count) {
    struct kw_limits *limits = ctx;
    for (int class = 0; count >= 4 && class < KW_OUTPUT_CLASSES; class ++) {
        if (strcasecmp(words[0].data, client_classes[class]) != 0) continue;
        limits->output[class] = (struct kw_output_limit){
            .hard = strtoull(words[1].data, NULL, 10),
            .soft = strtoull(words[2].data, NULL, 10),
            .soft_s = (uint32_t)strtoul(words[3].data, NULL, 10),
        };
    }
    return 0;
}

struct kw_limits *kw_limits_new(const struct kw_settings *settings) {
    struct kw_limits *limits = kw_calloc(1, sizeof(*limits));
    *limits = (struct kw_limits){
        .request_timeout_us = (uint64_t)settings->request_timeout_ms * 1000,
        .connect_timeout_us = (uint64_t)settings->connect_timeout_ms * 1000,
        .max_inflight = (size_t)settings->max_inflight,
        .max_bulk_len = (size_t)settings->max_bulk_len,
        .query_buffer_max = (size_t)settings->query_buffer_limit,
        .idle_timeout_s = (uint32_t)settings->timeout_s,
        .tcp_keepalive_s = (unsigned)settings->tcp_keepalive_s,
        .node_links = (unsigned)settings->node_links,
        .read_from = settings->read_from,
        .cluster_emulation = settings->cluster_emulation,
        .needs_password = settings->requirepass[0] != '\0',
        .slowlog_slower_us = settings->slowlog_slower_us,
        .slowlog_max_len = (size_t)settings->slowlog_max_len,
        .password = kw_strdup(settings->requirepass),
        .cluster_username = kw_strdup(settings->cluster_username),
        .cluster_password = kw_strdup(settings->cluster_password),
    };
    kw_config_table_each(settings->output_limits, take_output_limit, limits);
    int err = kw_proxies_parse(&limits->proxies, settings->cluster_announce_proxies);
    KW_ASSERT(err == 0); /* each word was judged when it was set */
    return limits;
}

void kw_limits_free(struct kw_limits *limits) {
    while (limits) {
        struct kw_limits *older = limits->older;
        kw_free(limits->password);
        kw_free(limits->cluster_username);
        kw_free(limits->cluster_password);
        kw_proxies_deinit(&limits->proxies);
        kw_free(limits);
        limits = older;
    }
}
