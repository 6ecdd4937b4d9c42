/*
 * Commands that the proxy answers itself: a handler each, behind a table by
 * name. A handler either writes the reply, or arranges that it comes later.
 */
#ifndef KW_PROXY_LOCAL_H
#define KW_PROXY_LOCAL_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arg.h"
#include "base/str.h"
#include "cluster/command.h"

struct kw_session;
struct kw_worker;
struct kw_request;

/* One call of a local command. */
struct kw_local_call {
    struct kw_session *session;
    const struct kw_command *cmd;
    const struct kw_arg *argv; /* borrowed for the call */
    size_t argc;
    int resp;           /* 2 or 3: what the client speaks */
    struct kw_str *out; /* the reply; left empty when it comes later */
};

typedef void kw_local_handler(struct kw_local_call *call);

/* Runs the command; its reply leaves in its order. */
void kw_local_run(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc);

/* Whether the command runs only when everything before it has been answered. */
bool kw_local_wants_idle(const struct kw_command *cmd);

/* command_request.c: queues a reply of ours in its order. */
void kw_command_answer(struct kw_session *session, const struct kw_str *reply);

/* cluster.c: whether this client is told that it speaks to a cluster (INFO, HELLO). */
bool kw_local_shows_cluster(const struct kw_session *session);
/* INFO as a cluster client sends it to find out whether there is one: see cluster.c. */
bool kw_local_asks_for_cluster(const struct kw_local_call *call);

bool kw_arg_is(const struct kw_arg *arg, const char *word); /* ignoring case */
bool kw_arg_int(const struct kw_arg *arg, long long *out);

/* Handlers, by file. */
kw_local_handler kw_local_auth, kw_local_echo, kw_local_hello, kw_local_ping, kw_local_quit, kw_local_reset,
    kw_local_select, kw_local_time; /* connection.c */
kw_local_handler kw_local_client_id, kw_local_client_info, kw_local_client_kill, kw_local_client_list,
    kw_local_client_getname, kw_local_client_setname, kw_local_client_setinfo, kw_local_client_no_evict,
    kw_local_client_help, kw_local_client_getredir, kw_local_client_reply, kw_local_client_trackinginfo,
    kw_local_client_unblock, kw_local_client_pause, kw_local_client_unpause; /* local_client*.c */
/* The error of a subcommand with too many arguments, where Redis itself looks at their number. */
kw_local_handler kw_local_client_syntax;
kw_local_handler kw_local_monitor; /* monitor.c */
kw_local_handler kw_local_asking, kw_local_readonly, kw_local_readwrite, kw_local_cluster_count_failure_reports,
    kw_local_cluster_help, kw_local_cluster_info, kw_local_cluster_keyslot, kw_local_cluster_links,
    kw_local_cluster_myid, kw_local_cluster_myshardid, kw_local_cluster_nodes, kw_local_cluster_replicas,
    kw_local_cluster_shards, kw_local_cluster_slots; /* cluster.c */
kw_local_handler kw_local_command;                   /* command.c */
kw_local_handler kw_local_config_get, kw_local_config_set, kw_local_config_rewrite, kw_local_config_resetstat,
    kw_local_config_help;                                                           /* config.c */
kw_local_handler kw_local_keyway;                                                   /* keyway.c */
kw_local_handler kw_local_randomkey, kw_local_scan;                                 /* keyspace.c */
kw_local_handler kw_local_multi, kw_local_exec, kw_local_discard, kw_local_unwatch; /* transaction.c */
kw_local_handler kw_local_acl_cat, kw_local_acl_dryrun, kw_local_acl_genpass, kw_local_acl_getuser, kw_local_acl_list,
    kw_local_acl_log, kw_local_acl_users, kw_local_acl_whoami; /* acl.c */
kw_local_handler kw_local_latency_doctor, kw_local_latency_graph, kw_local_latency_histogram, kw_local_latency_history,
    kw_local_latency_latest;                                   /* latency.c */
kw_local_handler kw_local_memory_stats, kw_local_memory_texts; /* memory.c */
kw_local_handler kw_local_function_stats, kw_local_role, kw_local_script_debug, kw_local_script_exists,
    kw_local_script_kill;                                           /* server.c */
kw_local_handler kw_local_wait;                                     /* wait.c */
kw_local_handler kw_local_client_tracking, kw_local_client_caching; /* tracking.c */
kw_local_handler kw_local_subscribe, kw_local_psubscribe, kw_local_ssubscribe, kw_local_unsubscribe,
    kw_local_punsubscribe, kw_local_sunsubscribe, kw_local_pubsub_channels, kw_local_pubsub_shardchannels,
    kw_local_pubsub_numsub, kw_local_pubsub_shardnumsub, kw_local_pubsub_numpat; /* pubsub.c */
kw_local_handler kw_local_info;                                                  /* info.c */
kw_local_handler kw_local_slowlog_get, kw_local_slowlog_len, kw_local_slowlog_reset,
    kw_local_slowlog_help; /* slowlog.c */

#endif
