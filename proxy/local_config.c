/* CONFIG: the proxy's own settings, changed on the main thread, which owns them. */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/config.h"
#include "proxy/group.h"
#include "proxy/local.h"
#include "proxy/server.h"
#include "proxy/session.h"
#include "proxy/tour.h"
#include "proxy/upstream.h"
#include "proxy/worker.h"

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

/*
 * What clients ask for that has no meaning of its own here (maxmemory, save,
 * databases): a fixed, truthful answer.
 */
static const struct {
    const char *name, *value;
} fixed[] = {
    {"databases", "1"},
    {"cluster-enabled", "no"},
    {"notify-keyspace-events", ""},
};

static void get(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp, struct kw_str *out) {
    struct pairs pairs = {0};
    if (kw_config_get(kw_server_config(server), argv + 2, argc - 2, add_pair, &pairs)) {
        kw_str_resp_error(out, "ERR out of memory");
    } else {
        for (size_t i = 2; i < argc; i++) {
            for (size_t f = 0; f < KW_ARRAY_LEN(fixed); f++) {
                if (kw_arg_is(&argv[i], fixed[f].name)) add_pair(&pairs, fixed[f].name, fixed[f].value);
            }
        }
        kw_str_resp_map(out, resp, pairs.count);
        if (pairs.text.len) kw_str_append(out, pairs.text.data, pairs.text.len);
    }
    kw_str_deinit(&pairs.text);
}

static void set(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp, struct kw_str *out) {
    struct kw_config_error err;
    (void)resp;
    if (kw_config_set_many(kw_server_config(server), argv + 2, argc - 2, &err)) {
        kw_str_resp_error(out, "ERR %s", err.text);
    } else {
        kw_str_resp_simple(out, "OK");
    }
}

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

static void start(struct kw_local_call *call,
                  void (*run)(struct kw_server *, const struct kw_arg *, size_t, int, struct kw_str *)) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    kw_job_start(call->session->worker, req, call->argv, call->argc, run);
}

/* A name that is no setting of ours, without wildcards: what people mean is the servers' own. */
static bool is_the_nodes(const struct kw_arg *name) {
    for (size_t i = 0; i < kw_settings_row_count; i++) {
        if (kw_arg_is(name, kw_settings_rows[i].name)) return false;
    }
    for (size_t f = 0; f < KW_ARRAY_LEN(fixed); f++) {
        if (kw_arg_is(name, fixed[f].name)) return false;
    }
    return !memchr(name->data, '*', name->len) && !memchr(name->data, '?', name->len) &&
           !memchr(name->data, '[', name->len);
}

static bool ask_a_node(struct kw_local_call *call) {
    struct kw_worker *worker = call->session->worker;
    struct kw_node *node = worker->nodes;
    while (node && !node->serves_slots) node = node->next;
    if (!node) return false;
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, 3);
    kw_str_resp_text(&frame, "CONFIG");
    kw_str_resp_text(&frame, "GET");
    kw_str_resp_bulk(&frame, call->argv[2].data, call->argv[2].len);
    struct kw_broadcast_options options = {.merge = kw_merge_for(call->cmd, KW_SERVE_SHARDS), .only = node};
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
    return true;
}

void kw_local_config_get(struct kw_local_call *call) {
    if (call->argc == 3 && is_the_nodes(&call->argv[2]) && ask_a_node(call)) return;
    start(call, get);
}

void kw_local_config_set(struct kw_local_call *call) {
    if (call->argc % 2) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'config|set' command");
        return;
    }
    start(call, set);
}

void kw_local_config_rewrite(struct kw_local_call *call) {
    start(call, rewrite);
}

static void reset_visit(struct kw_worker *worker, void *context) {
    (void)context;
    kw_stats_reset(&worker->stats);
}

static void reset_finish(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)context;
    (void)resp;
    kw_str_resp_simple(out, "OK");
}

static void reset_free(void *context) {
    (void)context;
}

void kw_local_config_resetstat(struct kw_local_call *call) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    struct kw_tour tour = {reset_visit, reset_finish, reset_free, NULL};
    kw_tour_start(call->session->worker, req, &tour);
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
        "    Print this help.",
    };
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}
