/*
 * CONFIG: one name, one owner. What is a setting of Keyway's is read and
 * changed on the main thread, which owns the settings; any other name is the
 * nodes': read from one of them, set at every node of the topology, replicas
 * too, so that a failover changes nothing. A CONFIG SET of both kinds is judged
 * here first, then sent, and ours follow when every node has taken its part.
 */
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "base/glob.h"
#include "proxy/local/gather.h"
#include "proxy/local/local.h"
#include "proxy/request/group.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { RESET_WAIT_US = 1000 * 1000 };

/* What is true of the whole, whatever a node says of itself. */
static const struct {
    const char *name, *value;
} fixed[] = {
    {"databases", "1"},
    {"cluster-enabled", "no"},
};

static bool is_fixed(const struct kw_arg *name) {
    for (size_t f = 0; f < KW_ARRAY_LEN(fixed); f++) {
        if (kw_arg_is(name, fixed[f].name)) return true;
    }
    return false;
}

static bool is_ours(const struct kw_arg *name) {
    for (size_t i = 0; i < kw_settings_row_count; i++) {
        if (kw_arg_is(name, kw_settings_rows[i].name)) return true;
    }
    return false;
}

typedef void job_run(struct kw_server *, const struct kw_arg *, size_t, int, struct kw_str *);

static void start(struct kw_local_call *call, job_run *run) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    kw_job_start(call->session->worker, req, call->argv, call->argc, run);
}

/* The nodes have answered: the request goes on to the main thread, which completes it. */
static bool go_on(struct kw_worker *worker, struct kw_request *parent, const struct kw_arg *argv, size_t argc,
                  job_run *run) {
    parent->flags |= KW_REQF_ASYNC | KW_REQF_LOCAL;
    kw_job_start(worker, parent, argv, argc, run);
    return false;
}

/* A copy of arguments that outlives the call. Own. */
struct args {
    struct kw_arg *argv; /* own, with their bytes */
    size_t argc, cap;
};

static void args_add(struct args *args, const char *bytes, size_t len) {
    if (args->argc == args->cap) {
        args->cap = args->cap ? args->cap * 2 : 16;
        args->argv = kw_realloc(args->argv, args->cap * sizeof(*args->argv));
    }
    args->argv[args->argc++] = (struct kw_arg){kw_strndup(bytes, len), len};
}

static void args_deinit(struct args *args) {
    for (size_t i = 0; i < args->argc; i++) kw_free((void *)args->argv[i].data);
    kw_free(args->argv);
}

static void args_free(void *context) {
    args_deinit(context);
    kw_free(context);
}

static struct args *args_copy(const struct kw_arg *argv, size_t argc) {
    struct args *args = kw_calloc(1, sizeof(*args));
    for (size_t i = 0; i < argc; i++) args_add(args, argv[i].data, argv[i].len);
    return args;
}

/* ---- GET */

struct pairs {
    struct kw_str text;
    size_t count;
};

static void add_pair(void *ctx, const char *name, const char *value) {
    struct pairs *pairs = ctx;
    kw_str_resp_text(&pairs->text, name);
    /* A table's entries are one a line inside; Redis shows them in one. */
    char *flat = kw_strdup(value);
    for (char *c = flat; *c; c++) {
        if (*c == '\n') *c = ' ';
    }
    kw_str_resp_text(&pairs->text, flat);
    kw_free(flat);
    pairs->count++;
}

static bool matches_any(const struct kw_arg *patterns, size_t count, const char *name) {
    for (size_t i = 0; i < count; i++) {
        if (kw_glob_match(patterns[i].data, patterns[i].len, name, strlen(name), true)) return true;
    }
    return false;
}

/* The patterns, an empty argument, then names and values of a node. Ours come first, and win. */
static void get(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp, struct kw_str *out) {
    struct pairs pairs = {0};
    size_t patterns = 0;
    while (patterns < argc && argv[patterns].len) patterns++;
    if (kw_config_get(kw_server_config(server), argv, patterns, add_pair, &pairs)) {
        kw_str_resp_error(out, "ERR out of memory");
        kw_str_deinit(&pairs.text);
        return;
    }
    for (size_t f = 0; f < KW_ARRAY_LEN(fixed); f++) {
        if (matches_any(argv, patterns, fixed[f].name)) add_pair(&pairs, fixed[f].name, fixed[f].value);
    }
    for (size_t i = patterns + 1; i + 1 < argc; i += 2) {
        if (is_ours(&argv[i]) || is_fixed(&argv[i])) continue;
        kw_str_resp_bulk(&pairs.text, argv[i].data, argv[i].len);
        kw_str_resp_bulk(&pairs.text, argv[i + 1].data, argv[i + 1].len);
        pairs.count++;
    }
    kw_str_resp_map(out, resp, pairs.count);
    if (pairs.text.len) kw_str_append(out, pairs.text.data, pairs.text.len);
    kw_str_deinit(&pairs.text);
}

static bool node_answered_get(struct kw_worker *worker, struct kw_request *parent) {
    struct args *args = parent->group->context;
    redisReply *reply = kw_reply_parse(&parent->group->parts[0]->reply);
    args_add(args, "", 0);
    for (size_t i = 0; reply && i < kw_reply_len(reply); i++) {
        const redisReply *text = kw_reply_at(reply, i, REDIS_REPLY_STRING);
        args_add(args, text ? text->str : "", text ? text->len : 0);
    }
    if (reply) freeReplyObject(reply);
    return go_on(worker, parent, args->argv, args->argc, get);
}

void kw_local_config_get(struct kw_local_call *call) {
    const struct kw_arg *patterns = call->argv + 2;
    struct args *args = kw_calloc(1, sizeof(*args));
    bool ask = false;
    for (size_t i = 0; i < call->argc - 2; i++) {
        ask = ask || (!is_ours(&patterns[i]) && !is_fixed(&patterns[i]));
        /* The empty pattern matches nothing, and would be taken for the end of the patterns. */
        if (patterns[i].len) args_add(args, patterns[i].data, patterns[i].len);
    }
    struct kw_worker *worker = call->session->worker;
    if (!ask || !worker->topology) {
        kw_job_start(worker, kw_request_new_async(call->session, call->cmd), args->argv, args->argc, get);
        args_free(args);
        return;
    }
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, call->argc);
    for (size_t i = 0; i < call->argc; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    struct kw_broadcast_options options = {
        .merge = node_answered_get,
        .to = KW_TO_ANY_SHARD,
        .plain = true,
        .context = args,
        .free_context = args_free,
    };
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}

/* ---- SET */

static void set(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp, struct kw_str *out) {
    struct kw_config_error err;
    (void)resp;
    if (kw_config_set_many(kw_server_config(server), argv, argc, &err)) {
        kw_str_resp_error(out, "ERR %s", err.text);
    } else {
        kw_str_resp_simple(out, "OK");
    }
}

/* Whether ours would be taken: they are set in a configuration of nobody's, from which nothing follows. */
static bool judge_ours(const struct args *ours, struct kw_str *out) {
    struct kw_settings settings;
    struct kw_config_error err;
    struct kw_config_row *rows = kw_calloc(kw_settings_row_count, sizeof(*rows));
    memcpy(rows, kw_settings_rows, kw_settings_row_count * sizeof(*rows));
    for (size_t i = 0; i < kw_settings_row_count; i++) rows[i].apply = NULL;
    struct kw_config *scratch = kw_config_new(rows, kw_settings_row_count, &settings);
    bool ok = kw_config_set_many(scratch, ours->argv, ours->argc, &err) == 0;
    if (!ok) kw_str_resp_error(out, "ERR %s", err.text);
    kw_config_free(scratch);
    kw_free(rows);
    return ok;
}

/* An error text without its dash and line end. */
static void error_text(const struct kw_request *part, char *out, size_t size) {
    size_t len = kw_outq_peek(&part->reply, out, size - 1);
    out[len] = '\0';
    out[strcspn(out, "\r\n")] = '\0';
    memmove(out, out + 1, strlen(out));
}

static bool nodes_answered_set(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    struct args *ours = group->context;
    const struct kw_request *failed = NULL;
    uint32_t done = 0;
    for (uint32_t i = 0; i < group->part_count; i++) {
        if (group->parts[i]->reply_type != '-') {
            done++;
        } else if (!failed) {
            failed = group->parts[i];
        }
    }
    if (!failed) {
        if (ours->argc) return go_on(worker, parent, ours->argv, ours->argc, set);
        kw_request_reply_text(worker, parent, "+OK\r\n", 5);
        return true;
    }
    char text[512];
    error_text(failed, text, sizeof(text));
    if (done == 0) {
        kw_request_reply_error(worker, parent, "%s", text);
    } else {
        kw_request_reply_error(worker, parent,
                               "ERR CONFIG SET failed at node %s (%.300s); %u of %u nodes have the new %s",
                               kw_group_part_name(worker, failed), text, done, group->part_count,
                               ours->argc ? "values, Keyway's own settings are as before" : "values");
    }
    return true;
}

/* A node that is down would come back with the old value: better nothing is changed. */
static const char *failed_node(const struct kw_worker *worker) {
    for (const struct kw_node *node = worker->nodes; node; node = node->next) {
        if (node->in_topology && node->failed) return node->addr;
    }
    return NULL;
}

static void set_nodes(struct kw_local_call *call, const struct args *theirs, struct args *ours) {
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, theirs->argc + 2);
    kw_str_resp_text(&frame, "CONFIG");
    kw_str_resp_text(&frame, "SET");
    for (size_t i = 0; i < theirs->argc; i++) {
        kw_str_resp_bulk(&frame, theirs->argv[i].data, theirs->argv[i].len);
    }
    struct kw_broadcast_options options = {
        .merge = nodes_answered_set,
        .to = KW_TO_NODES,
        .tolerant = true,
        .plain = true,
        .context = ours,
        .free_context = args_free,
    };
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}

void kw_local_config_set(struct kw_local_call *call) {
    if (call->argc % 2) {
        kw_str_resp_error(call->out, "ERR syntax error");
        return;
    }
    struct args *ours = args_copy(NULL, 0);
    struct args theirs = {0};
    for (size_t i = 2; i < call->argc; i += 2) {
        struct args *whose = is_ours(&call->argv[i]) ? ours : &theirs;
        args_add(whose, call->argv[i].data, call->argv[i].len);
        args_add(whose, call->argv[i + 1].data, call->argv[i + 1].len);
    }
    struct kw_worker *worker = call->session->worker;
    const char *down = failed_node(worker);
    if (theirs.argc == 0) {
        kw_job_start(worker, kw_request_new_async(call->session, call->cmd), ours->argv, ours->argc, set);
        args_free(ours);
    } else if (ours->argc && !judge_ours(ours, call->out)) {
        args_free(ours);
    } else if (down) {
        kw_str_resp_error(call->out, "ERR CONFIG SET changed nothing: node %s is down and would keep the old value",
                          down);
        args_free(ours);
    } else {
        set_nodes(call, &theirs, ours);
    }
    args_deinit(&theirs);
}

/* ---- REWRITE */

static void rewrite(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp, struct kw_str *out) {
    (void)argv;
    (void)argc;
    (void)resp;
    struct kw_config_error err;
    if (!kw_config_path(kw_server_config(server))) {
        kw_str_resp_error(out, "ERR The server is running without a config file");
    } else if (kw_config_rewrite(kw_server_config(server), NULL, &err)) {
        kw_str_resp_error(out, "ERR Rewriting config file: %s", err.text);
    } else {
        kw_str_resp_simple(out, "OK");
    }
}

void kw_local_config_rewrite(struct kw_local_call *call) {
    start(call, rewrite);
}

/* ---- RESETSTAT: every node's counters, then ours, on every worker. */

struct reset {
    struct kw_str error; /* of a node that did not do it; empty: none */
};

static void reset_free(void *context) {
    struct reset *reset = context;
    kw_str_deinit(&reset->error);
    kw_free(reset);
}

static void reset_visit(struct kw_worker *worker, void *context) {
    (void)context;
    kw_stats_reset(&worker->stats);
}

static void reset_finish(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)resp;
    const struct reset *reset = context;
    if (reset->error.len) {
        kw_str_append(out, reset->error.data, reset->error.len);
    } else {
        kw_str_resp_simple(out, "OK");
    }
}

static void reset_ours(struct kw_worker *worker, struct kw_request *req, struct reset *reset) {
    struct kw_tour tour = {reset_visit, reset_finish, reset_free, reset};
    kw_tour_start(worker, req, &tour);
}

static bool nodes_answered_reset(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    struct reset *reset = group->context;
    group->context = NULL;
    group->free_context = NULL;
    for (uint32_t i = 0; i < group->part_count && !reset->error.len; i++) {
        const struct kw_request *part = group->parts[i];
        char text[400];
        if (part->reply_type != '-') continue;
        error_text(part, text, sizeof(text));
        kw_str_resp_error(&reset->error, "ERR CONFIG RESETSTAT failed at node %s (%s); Keyway's own counters are reset",
                          kw_group_part_name(worker, part), text);
    }
    parent->flags |= KW_REQF_ASYNC | KW_REQF_LOCAL;
    reset_ours(worker, parent, reset);
    return false;
}

void kw_local_config_resetstat(struct kw_local_call *call) {
    static const char ask[] = "*2\r\n$6\r\nCONFIG\r\n$9\r\nRESETSTAT\r\n";
    struct reset *reset = kw_calloc(1, sizeof(*reset));
    struct kw_worker *worker = call->session->worker;
    if (!worker->topology) {
        reset_ours(worker, kw_request_new_async(call->session, call->cmd), reset);
        return;
    }
    struct kw_broadcast_options options = {
        .merge = nodes_answered_reset,
        .to = KW_TO_LIVE_NODES,
        .tolerant = true,
        .plain = true,
        .wait_us = RESET_WAIT_US,
        .context = reset,
        .free_context = reset_free,
    };
    kw_broadcast(call->session, call->cmd, ask, sizeof(ask) - 1, &options);
}

void kw_local_config_help(struct kw_local_call *call) {
    static const char *const lines[] = {
        "CONFIG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET <pattern>",
        "    Return parameters matching the glob-like <pattern> and their values.",
        "SET <directive> <value>",
        "    Set the configuration <directive> to <value>.",
        "RESETSTAT",
        "    Reset statistics reported by the INFO command.",
        "REWRITE",
        "    Rewrite the configuration file.",
        "HELP",
        "    Prints this help.",
    };
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}
