/* The table of local commands. Rows are found by command id, filled in once. */
#include "proxy/local.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/session.h"
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
    {"auth", kw_local_auth, AT_ONCE},
    {"client|getname", kw_local_client_getname, AT_ONCE},
    {"client|getredir", kw_local_client_getredir, AT_ONCE},
    {"client|help", kw_local_client_help, AT_ONCE},
    {"client|id", kw_local_client_id, AT_ONCE},
    {"client|info", kw_local_client_info, AT_ONCE},
    {"client|kill", kw_local_client_kill, AT_ONCE},
    {"client|list", kw_local_client_list, AT_ONCE},
    {"client|no-evict", kw_local_client_no_evict, AT_ONCE},
    {"client|reply", kw_local_client_reply, AT_ONCE},
    {"client|setinfo", kw_local_client_setinfo, AT_ONCE},
    {"client|setname", kw_local_client_setname, AT_ONCE},
    {"command", kw_local_command, AT_ONCE},
    {"config|get", kw_local_config_get, AT_ONCE},
    {"config|help", kw_local_config_help, AT_ONCE},
    {"config|resetstat", kw_local_config_resetstat, AT_ONCE},
    {"config|rewrite", kw_local_config_rewrite, AT_ONCE},
    {"config|set", kw_local_config_set, AT_ONCE},
    {"discard", kw_local_discard, AT_ONCE},
    {"echo", kw_local_echo, AT_ONCE},
    {"exec", kw_local_exec, AT_ONCE},
    {"hello", kw_local_hello, IDLE},
    {"info", kw_local_info, AT_ONCE},
    {"multi", kw_local_multi, AT_ONCE},
    {"ping", kw_local_ping, AT_ONCE},
    {"quit", kw_local_quit, AT_ONCE},
    {"randomkey", kw_local_randomkey, AT_ONCE},
    {"reset", kw_local_reset, IDLE},
    {"scan", kw_local_scan, AT_ONCE},
    {"select", kw_local_select, AT_ONCE},
    {"slowlog|get", kw_local_slowlog_get, AT_ONCE},
    {"slowlog|help", kw_local_slowlog_help, AT_ONCE},
    {"slowlog|len", kw_local_slowlog_len, AT_ONCE},
    {"slowlog|reset", kw_local_slowlog_reset, AT_ONCE},
    {"time", kw_local_time, AT_ONCE},
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
    *out = strtoll(text, &end, 10);
    return *end == '\0' && end == text + arg->len && text[0] != ' ' && text[0] != '+';
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
