/* The table of local commands. Rows are found by command id, filled in once. */
#include "proxy/local/local.h"

#include <errno.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/session/session.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

/*
 * IDLE: what is in flight would be answered in the wrong shape or order, so the command waits until nothing is.
 */
enum { AT_ONCE, IDLE };

static const struct row {
    const char *name;
    kw_local_handler *run;
    int when;
} rows[] = {
    {"acl|cat", kw_local_acl_cat, AT_ONCE},
    {"acl|dryrun", kw_local_acl_dryrun, AT_ONCE},
    {"acl|genpass", kw_local_acl_genpass, AT_ONCE},
    {"acl|getuser", kw_local_acl_getuser, AT_ONCE},
    {"acl|list", kw_local_acl_list, AT_ONCE},
    {"acl|log", kw_local_acl_log, AT_ONCE},
    {"acl|users", kw_local_acl_users, AT_ONCE},
    {"acl|whoami", kw_local_acl_whoami, AT_ONCE},
    {"asking", kw_local_asking, AT_ONCE},
    {"auth", kw_local_auth, AT_ONCE},
    {"client|caching", kw_local_client_caching, AT_ONCE},
    {"client|getname", kw_local_client_getname, AT_ONCE},
    {"client|getredir", kw_local_client_getredir, AT_ONCE},
    {"client|help", kw_local_client_help, AT_ONCE},
    {"client|id", kw_local_client_id, AT_ONCE},
    {"client|info", kw_local_client_info, AT_ONCE},
    {"client|kill", kw_local_client_kill, AT_ONCE},
    {"client|list", kw_local_client_list, AT_ONCE},
    {"client|no-evict", kw_local_client_no_evict, AT_ONCE},
    {"client|pause", kw_local_client_pause, AT_ONCE},
    {"client|reply", kw_local_client_reply, AT_ONCE},
    {"client|setinfo", kw_local_client_setinfo, AT_ONCE},
    {"client|setname", kw_local_client_setname, AT_ONCE},
    {"client|tracking", kw_local_client_tracking, IDLE},
    {"client|trackinginfo", kw_local_client_trackinginfo, AT_ONCE},
    {"client|unblock", kw_local_client_unblock, AT_ONCE},
    {"client|unpause", kw_local_client_unpause, AT_ONCE},
    {"cluster|count-failure-reports", kw_local_cluster_count_failure_reports, AT_ONCE},
    {"cluster|help", kw_local_cluster_help, AT_ONCE},
    {"cluster|info", kw_local_cluster_info, AT_ONCE},
    {"cluster|keyslot", kw_local_cluster_keyslot, AT_ONCE},
    {"cluster|links", kw_local_cluster_links, AT_ONCE},
    {"cluster|myid", kw_local_cluster_myid, AT_ONCE},
    {"cluster|myshardid", kw_local_cluster_myshardid, AT_ONCE},
    {"cluster|nodes", kw_local_cluster_nodes, AT_ONCE},
    {"cluster|replicas", kw_local_cluster_replicas, AT_ONCE},
    {"cluster|shards", kw_local_cluster_shards, AT_ONCE},
    {"cluster|slaves", kw_local_cluster_replicas, AT_ONCE},
    {"cluster|slots", kw_local_cluster_slots, AT_ONCE},
    {"command", kw_local_command, AT_ONCE},
    {"config|get", kw_local_config_get, AT_ONCE},
    {"config|help", kw_local_config_help, AT_ONCE},
    {"config|resetstat", kw_local_config_resetstat, AT_ONCE},
    {"config|rewrite", kw_local_config_rewrite, AT_ONCE},
    {"config|set", kw_local_config_set, AT_ONCE},
    {"discard", kw_local_discard, AT_ONCE},
    {"echo", kw_local_echo, AT_ONCE},
    {"exec", kw_local_exec, AT_ONCE},
    {"function|kill", kw_local_script_kill, AT_ONCE},
    {"function|stats", kw_local_function_stats, AT_ONCE},
    {"hello", kw_local_hello, IDLE},
    {"info", kw_local_info, AT_ONCE},
    {"keyway", kw_local_keyway, AT_ONCE},
    {"latency|doctor", kw_local_latency_doctor, AT_ONCE},
    {"latency|graph", kw_local_latency_graph, AT_ONCE},
    {"latency|histogram", kw_local_latency_histogram, AT_ONCE},
    {"latency|history", kw_local_latency_history, AT_ONCE},
    {"latency|latest", kw_local_latency_latest, AT_ONCE},
    {"memory|doctor", kw_local_memory_texts, AT_ONCE},
    {"memory|malloc-stats", kw_local_memory_texts, AT_ONCE},
    {"memory|stats", kw_local_memory_stats, AT_ONCE},
    {"monitor", kw_local_monitor, IDLE},
    {"multi", kw_local_multi, AT_ONCE},
    {"ping", kw_local_ping, AT_ONCE},
    {"psubscribe", kw_local_psubscribe, IDLE},
    {"pubsub|channels", kw_local_pubsub_channels, AT_ONCE},
    {"pubsub|numpat", kw_local_pubsub_numpat, AT_ONCE},
    {"pubsub|numsub", kw_local_pubsub_numsub, AT_ONCE},
    {"pubsub|shardchannels", kw_local_pubsub_shardchannels, AT_ONCE},
    {"pubsub|shardnumsub", kw_local_pubsub_shardnumsub, AT_ONCE},
    {"punsubscribe", kw_local_punsubscribe, IDLE},
    {"quit", kw_local_quit, AT_ONCE},
    {"randomkey", kw_local_randomkey, AT_ONCE},
    {"readonly", kw_local_readonly, AT_ONCE},
    {"readwrite", kw_local_readwrite, AT_ONCE},
    {"reset", kw_local_reset, IDLE},
    {"role", kw_local_role, AT_ONCE},
    {"scan", kw_local_scan, AT_ONCE},
    {"script|debug", kw_local_script_debug, AT_ONCE},
    {"script|exists", kw_local_script_exists, AT_ONCE},
    {"script|kill", kw_local_script_kill, AT_ONCE},
    {"select", kw_local_select, AT_ONCE},
    {"slowlog|get", kw_local_slowlog_get, AT_ONCE},
    {"slowlog|help", kw_local_slowlog_help, AT_ONCE},
    {"slowlog|len", kw_local_slowlog_len, AT_ONCE},
    {"slowlog|reset", kw_local_slowlog_reset, AT_ONCE},
    {"ssubscribe", kw_local_ssubscribe, IDLE},
    {"subscribe", kw_local_subscribe, IDLE},
    {"sunsubscribe", kw_local_sunsubscribe, IDLE},
    {"time", kw_local_time, AT_ONCE},
    {"wait", kw_local_wait, AT_ONCE},
    {"unsubscribe", kw_local_unsubscribe, IDLE},
    {"unwatch", kw_local_unwatch, AT_ONCE},
};

static const struct row **row_by_id; /* filled once, then constant */
static uv_once_t row_once = UV_ONCE_INIT;

static const struct row *find_row(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].name, name) == 0) return &rows[i];
    }
    return NULL;
}

static void build_rows(void) {
    unsigned count = kw_command_table_count();
    const struct row **table = kw_calloc(count, sizeof(*table));
    for (unsigned id = 0; id < count; id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        table[id] = find_row(cmd->name);
        if (!table[id] && cmd->parent) table[id] = find_row(cmd->parent->name);
    }
    row_by_id = table;
}

static const struct row *row_of(const struct kw_command *cmd) {
    uv_once(&row_once, build_rows);
    return cmd->id < kw_command_table_count() ? row_by_id[cmd->id] : NULL;
}

bool kw_local_wants_idle(const struct kw_command *cmd) {
    const struct row *row = row_of(cmd);
    return row && row->when == IDLE;
}

bool kw_arg_is(const struct kw_arg *arg, const char *word) {
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

bool kw_arg_int(const struct kw_arg *arg, long long *out) {
    char text[32];
    if (arg->len == 0 || arg->len >= sizeof(text)) return false;
    memcpy(text, arg->data, arg->len);
    text[arg->len] = '\0';
    char *end;
    errno = 0;
    *out = strtoll(text, &end, 10);
    return errno != ERANGE && *end == '\0' && end == text + arg->len && text[0] != ' ' && text[0] != '+';
}

void kw_local_run(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc) {
    struct kw_worker *worker = session->worker;
    struct kw_str out = worker->scratch;
    worker->scratch = (struct kw_str){0};
    kw_str_clear(&out);
    const struct row *row = row_of(cmd);
    struct kw_local_call call = {session, cmd, argv, argc, kw_session_resp(session), &out};
    if (row) {
        row->run(&call);
    } else {
        kw_str_resp_error(&out, "ERR '%s' is not supported through Keyway yet", cmd->name);
    }
    if (out.len) {
        kw_stats_command(&worker->stats, cmd, 0, out.data[0] == '-');
        if (out.data[0] == '-') kw_stats_error(&worker->stats, out.data, out.len);
        kw_command_answer(session, &out);
    }
    kw_str_deinit(&worker->scratch);
    if (out.cap > 64 * 1024) kw_str_deinit(&out);
    worker->scratch = out;
}
