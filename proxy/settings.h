/*
 * The settings of keyway-proxy: one row each in settings.c, from which the
 * command line, the file, CONFIG GET/SET and the reference page follow. The
 * main thread owns them; workers read a copy of the numbers (struct kw_limits)
 * that is replaced as a whole.
 */
#ifndef KW_PROXY_SETTINGS_H
#define KW_PROXY_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "cluster/proxies.h"

/* Who is told that the proxies are the nodes of a cluster. */
enum { KW_CLUSTER_AUTO, KW_CLUSTER_YES, KW_CLUSTER_NO };
enum { KW_READ_PRIMARY, KW_READ_PREFER_REPLICA, KW_READ_REPLICA, KW_READ_NEAREST };

struct kw_settings {
    char *bind;
    long long port;
    long long workers;
    long long maxclients;
    long long timeout_s;
    long long tcp_keepalive_s;
    long long tcp_backlog;
    char *meta_nodes;
    char *meta_secret;
    char *cluster_nodes;
    char *cluster_username;
    char *cluster_password;
    int cluster_emulation;
    char *cluster_announce_proxies;
    long long request_timeout_ms;
    long long connect_timeout_ms;
    long long topology_refresh_ms;
    long long node_links;
    int read_from;
    char *requirepass;
    char *output_limits;
    long long query_buffer_limit;
    long long max_bulk_len;
    long long max_inflight;
    long long slowlog_slower_us;
    long long slowlog_max_len;
    long long shutdown_timeout_s;
    int loglevel;
    char *logfile;
    char *pidfile;
};

/* How much a client may leave unread, by what it is. */
enum kw_output_class { KW_OUTPUT_NORMAL, KW_OUTPUT_REPLICA, KW_OUTPUT_PUBSUB, KW_OUTPUT_CLASSES };
struct kw_output_limit {
    size_t hard; /* bytes; 0: none */
    size_t soft;
    uint32_t soft_s;
};

/* What workers read, immutable once published. */
struct kw_limits {
    uint64_t request_timeout_us;
    uint64_t connect_timeout_us;
    size_t max_inflight;
    size_t max_bulk_len;
    size_t query_buffer_max;
    struct kw_output_limit output[KW_OUTPUT_CLASSES];
    uint32_t idle_timeout_s; /* 0: none */
    unsigned tcp_keepalive_s;
    unsigned node_links;
    int read_from;
    bool needs_password;
    int cluster_emulation;
    struct kw_proxies proxies; /* own; empty: this one alone */
    int64_t slowlog_slower_us; /* negative: off */
    size_t slowlog_max_len;
    char *password;          /* own */
    char *cluster_username;  /* own */
    char *cluster_password;  /* own */
    struct kw_limits *older; /* own; earlier ones, which readers may still hold */
};

extern const struct kw_config_row kw_settings_rows[];
extern const size_t kw_settings_row_count;

/* A copy of what the settings say now. Own. */
struct kw_limits *kw_limits_new(const struct kw_settings *settings);
void kw_limits_free(struct kw_limits *limits); /* with all older ones */

#endif
