/* The table of local commands. Rows are found by command id, filled in once. */
#include "proxy/local.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/session.h"
#include "proxy/stats.h"
#include "proxy/worker.h"

static const struct {
    const char *name;
    kw_local_handler *run;
} rows[] = {
    {"auth", kw_local_auth},
    {"client|getname", kw_local_client_getname},
    {"client|getredir", kw_local_client_getredir},
    {"client|help", kw_local_client_help},
    {"client|id", kw_local_client_id},
    {"client|info", kw_local_client_info},
    {"client|kill", kw_local_client_kill},
    {"client|list", kw_local_client_list},
    {"client|no-evict", kw_local_client_no_evict},
    {"client|reply", kw_local_client_reply},
    {"client|setinfo", kw_local_client_setinfo},
    {"client|setname", kw_local_client_setname},
    {"command", kw_local_command},
    {"config|get", kw_local_config_get},
    {"config|help", kw_local_config_help},
    {"config|resetstat", kw_local_config_resetstat},
    {"config|rewrite", kw_local_config_rewrite},
    {"config|set", kw_local_config_set},
    {"discard", kw_local_discard},
    {"echo", kw_local_echo},
    {"exec", kw_local_exec},
    {"hello", kw_local_hello},
    {"info", kw_local_info},
    {"multi", kw_local_multi},
    {"ping", kw_local_ping},
    {"quit", kw_local_quit},
    {"randomkey", kw_local_randomkey},
    {"reset", kw_local_reset},
    {"scan", kw_local_scan},
    {"select", kw_local_select},
    {"slowlog|get", kw_local_slowlog_get},
    {"slowlog|help", kw_local_slowlog_help},
    {"slowlog|len", kw_local_slowlog_len},
    {"slowlog|reset", kw_local_slowlog_reset},
    {"time", kw_local_time},
    {"unwatch", kw_local_unwatch},
};

static kw_local_handler *find_handler(const struct kw_command *cmd) {
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (strcmp(rows[i].name, cmd->name) == 0) return rows[i].run;
    }
    return cmd->parent ? find_handler(cmd->parent) : NULL;
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
    *out = strtoll(text, &end, 10);
    return *end == '\0' && end == text + arg->len && text[0] != ' ' && text[0] != '+';
}

void kw_local_run(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc) {
    struct kw_worker *worker = session->worker;
    struct kw_str out = worker->scratch;
    worker->scratch = (struct kw_str){0};
    kw_str_clear(&out);
    kw_local_handler *run = find_handler(cmd);
    struct kw_local_call call = {session, cmd, argv, argc, &out};
    if (run) {
        run(&call);
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
