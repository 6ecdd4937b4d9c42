/* SLOWLOG over all workers: newest first. An entry has a seventh and eighth field: microseconds at the node, and in the
 * proxy. */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/session/session.h"
#include "proxy/slowlog.h"
#include "proxy/tour.h"
#include "proxy/worker.h"

enum { DEFAULT_COUNT = 10 };

struct gathered {
    struct kw_slow_entry *entries; /* own */
    size_t count;
    size_t wanted;
    size_t length;
    bool clear;
};

static void visit(struct kw_worker *worker, void *context) {
    struct gathered *all = context;
    size_t here = kw_slowlog_length(worker->slowlog);
    size_t taken = here < all->wanted ? here : all->wanted;
    all->length += here;
    if (all->clear) kw_slowlog_clear(worker->slowlog);
    if (!taken) return;
    all->entries = kw_realloc(all->entries, (all->count + taken) * sizeof(*all->entries));
    all->count += kw_slowlog_copy(worker->slowlog, all->entries + all->count, taken);
}

static int newest_first(const void *a, const void *b) {
    const struct kw_slow_entry *x = a, *y = b;
    return x->id < y->id ? 1 : x->id > y->id ? -1 : 0;
}

static void print(struct kw_str *out, const struct kw_slow_entry *entry) {
    kw_str_resp_array(out, 8);
    kw_str_resp_int(out, (long long)entry->id);
    kw_str_resp_int(out, (long long)entry->wall_s);
    kw_str_resp_int(out, (long long)entry->total_us);
    kw_slow_entry_print_args(out, entry);
    kw_slow_entry_print_client(out, entry);
    kw_str_resp_int(out, (long long)entry->node_us);
    kw_str_resp_int(out, (long long)(entry->total_us - entry->node_us));
}

static void finish_get(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)resp;
    struct gathered *all = context;
    if (all->count) qsort(all->entries, all->count, sizeof(*all->entries), newest_first);
    size_t shown = all->count < all->wanted ? all->count : all->wanted;
    kw_str_resp_array(out, shown);
    for (size_t i = 0; i < shown; i++) print(out, &all->entries[i]);
}

static void finish_len(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)resp;
    kw_str_resp_int(out, (long long)((struct gathered *)context)->length);
}

static void finish_reset(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)resp;
    (void)context;
    kw_str_resp_simple(out, "OK");
}

static void gathered_free(void *context) {
    struct gathered *all = context;
    for (size_t i = 0; i < all->count; i++) kw_slow_entry_deinit(&all->entries[i]);
    kw_free(all->entries);
    kw_free(all);
}

static void start(struct kw_local_call *call, size_t wanted, bool clear,
                  void (*finish)(struct kw_worker *, void *, int, struct kw_str *)) {
    struct gathered *all = kw_calloc(1, sizeof(*all));
    all->wanted = wanted;
    all->clear = clear;
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    struct kw_tour tour = {visit, finish, gathered_free, all};
    kw_tour_start(call->session->worker, req, &tour);
}

void kw_local_slowlog_get(struct kw_local_call *call) {
    long long count = DEFAULT_COUNT;
    if (call->argc > 3) {
        const struct kw_arg *word = &call->argv[1];
        kw_str_resp_error(call->out,
                          "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try SLOWLOG HELP.",
                          (int)word->len, word->data);
        return;
    }
    if (call->argc > 2 && (!kw_arg_int(&call->argv[2], &count) || count < -1)) {
        kw_str_resp_error(call->out, "ERR count should be greater than or equal to -1");
        return;
    }
    start(call, count < 0 ? SIZE_MAX : (size_t)count, false, finish_get);
}

void kw_local_slowlog_len(struct kw_local_call *call) {
    start(call, 0, false, finish_len);
}

void kw_local_slowlog_reset(struct kw_local_call *call) {
    start(call, 0, true, finish_reset);
}

void kw_local_slowlog_help(struct kw_local_call *call) {
    static const char *const lines[] = {
        "SLOWLOG <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GET [<count>]",
        "    Return top <count> entries from the slowlog (default: 10, -1 mean all).",
        "    Entries are made of: id, timestamp, time in microseconds, arguments array, client IP and port,",
        "    client name, time at the node in microseconds, time in the proxy in microseconds.",
        "LEN",
        "    Return the length of the slowlog.",
        "RESET",
        "    Reset the slowlog.",
        "HELP",
        "    Print this help.",
    };
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}
