/*
 * CLIENT LIST, INFO and KILL: a selection is carried over every worker. The
 * fields of a line are those of Redis 7.0 in its order; ours come behind them.
 * What a proxy does not count the way Redis does (its query buffers are shared,
 * arguments are not kept) is 0.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/session/intake.h"
#include "proxy/session/session.h"
#include "proxy/session/transaction.h"
#include "proxy/tour.h"
#include "proxy/tracking/tracking.h"
#include "proxy/worker.h"

enum { ADDR_MAX = 80, QUOTED_MAX = 128 };

/* One line of the list. */
struct line {
    uint64_t id;
    size_t at, len; /* in the selection's text */
};

/* Which clients: all conditions given must hold. */
struct selection {
    uint64_t *ids; /* own; in the order in which they were asked for */
    size_t id_count;
    bool by_id;
    char addr[ADDR_MAX], laddr[ADDR_MAX]; /* "": any */
    bool has_addr, has_laddr;
    enum { ANY_TYPE, NORMAL, PUBSUB, NOBODY } type;
    bool skip_me;
    uint64_t me;
    bool kill;
    bool plain; /* old form: CLIENT KILL addr */
    uint64_t killed;
    struct kw_str text;
    struct line *lines; /* own */
    size_t line_count, line_cap;
};

/* ------------------------------------------------------------------------------------------------------- a line */

static void flags_of(const struct kw_session *session, char *out) {
    const struct kw_tracking_options *now = kw_tracking_options(session);
    const struct {
        bool set;
        char letter;
    } flags[] = {
        {session->monitor, 'O'},
        {session->subscribed, 'P'},
        {session->transaction != NULL, 'x'},
        {session->hold || session->wait_unpause, 'b'},
        {session->tracking, 't'},
        {kw_tracking_is_broken(session), 'R'},
        {now && now->bcast, 'B'},
        {session->close_after_reply, 'c'},
        {session->no_evict, 'e'},
    };
    char *at = out;
    for (size_t i = 0; i < KW_ARRAY_LEN(flags); i++) {
        if (flags[i].set) *at++ = flags[i].letter;
    }
    if (at == out) *at++ = 'N';
    *at = '\0';
}

static void describe(const struct kw_session *session, struct kw_str *out) {
    char peer[ADDR_MAX], local[ADDR_MAX], flags[16];
    kw_session_peer(session, peer, sizeof(peer));
    kw_session_local(session, local, sizeof(local));
    flags_of(session, flags);
    const struct kw_tracking_options *now = kw_tracking_options(session);
    uint32_t now_s = (uint32_t)(kw_worker_now_us(session->worker) / 1000000);
    const struct kw_session_rare *who = session->rare;
    const struct kw_command *last = session->last_command ? kw_command_by_id(session->last_command - 1U) : NULL;
    size_t unread = kw_session_output_bytes(session) + session->held_bytes;
    size_t received = kw_intake_bytes_held(session);
    kw_str_printf(out, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%u idle=%u flags=%s db=0 sub=%zu psub=%zu ssub=%zu ",
                  (unsigned long long)session->id, peer, local, session->tcp.io_watcher.fd,
                  who && who->name ? who->name : "", now_s - session->created_s, now_s - session->last_s, flags,
                  kw_pubsub_count(session, KW_TOPIC_CHANNEL), kw_pubsub_count(session, KW_TOPIC_PATTERN),
                  kw_pubsub_count(session, KW_TOPIC_SHARD));
    kw_str_printf(out,
                  "multi=%d qbuf=%zu qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=0 omem=%zu tot-mem=%zu "
                  "events=%s cmd=%s user=default redir=%lld resp=%d ",
                  kw_transaction_length(session), received, unread, sizeof(*session) + unread + received,
                  session->writing ? "rw" : "r", last ? last->name : "NULL", now ? (long long)now->redirect : -1,
                  kw_session_resp(session));
    kw_str_printf(out, "lib-name=%s lib-ver=%s inflight=%u worker=%u\n", who && who->lib_name ? who->lib_name : "",
                  who && who->lib_version ? who->lib_version : "", session->inflight, session->worker->index);
}

void kw_local_client_info(struct kw_local_call *call) {
    struct kw_str line = {0};
    describe(call->session, &line);
    kw_str_resp_verbatim(call->out, call->resp, line.data, line.len);
    kw_str_deinit(&line);
}

/* ------------------------------------------------------------------------------------------------- the selection */

static bool selected(const struct selection *want, const struct kw_session *session) {
    char addr[ADDR_MAX];
    if (want->skip_me && session->id == want->me) return false;
    if (want->type == NOBODY || (want->type != ANY_TYPE && session->subscribed != (want->type == PUBSUB))) return false;
    if (want->has_addr) {
        kw_session_peer(session, addr, sizeof(addr));
        if (strcmp(addr, want->addr) != 0) return false;
    }
    if (want->has_laddr) {
        kw_session_local(session, addr, sizeof(addr));
        if (strcmp(addr, want->laddr) != 0) return false;
    }
    if (!want->by_id) return true;
    for (size_t i = 0; i < want->id_count; i++) {
        if (want->ids[i] == session->id) return true;
    }
    return false;
}

static void add_line(struct selection *want, const struct kw_session *session) {
    if (want->line_count == want->line_cap) {
        want->line_cap = want->line_cap ? want->line_cap * 2 : 16;
        want->lines = kw_realloc(want->lines, want->line_cap * sizeof(*want->lines));
    }
    struct line *line = &want->lines[want->line_count++];
    *line = (struct line){.id = session->id, .at = want->text.len};
    describe(session, &want->text);
    line->len = want->text.len - line->at;
}

static void visit(struct kw_worker *worker, void *context) {
    struct selection *want = context;
    struct kw_session *next;
    for (struct kw_session *session = worker->sessions; session; session = next) {
        next = session->next;
        if (!selected(want, session)) continue;
        if (!want->kill) {
            add_line(want, session);
            continue;
        }
        want->killed++;
        /* The killer hears of it before its own connection ends. */
        if (session->id == want->me) {
            kw_session_close_after_reply(session);
        } else {
            kw_session_close(session);
        }
    }
}

static int by_id(const void *a, const void *b) {
    const struct line *one = a, *two = b;
    return (one->id > two->id) - (one->id < two->id);
}

static void append_line(const struct selection *want, const struct line *line, struct kw_str *out) {
    if (line) kw_str_append(out, want->text.data + line->at, line->len);
}

/* Oldest first, or in the order asked for. */
static void finish_list(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    struct selection *want = context;
    struct kw_str text = {0};
    if (want->line_count) qsort(want->lines, want->line_count, sizeof(*want->lines), by_id);
    for (size_t i = 0; !want->by_id && i < want->line_count; i++) append_line(want, &want->lines[i], &text);
    for (size_t i = 0; want->line_count && i < want->id_count; i++) {
        struct line key = {.id = want->ids[i]};
        append_line(want, bsearch(&key, want->lines, want->line_count, sizeof(key), by_id), &text);
    }
    kw_str_resp_verbatim(out, resp, text.data ? text.data : "", text.len);
    kw_str_deinit(&text);
}

static void finish_kill(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    (void)resp;
    struct selection *want = context;
    if (!want->plain) {
        kw_str_resp_int(out, (long long)want->killed);
    } else if (want->killed) {
        kw_str_resp_simple(out, "OK");
    } else {
        kw_str_resp_error(out, "ERR No such client");
    }
}

static void selection_free(void *context) {
    struct selection *want = context;
    kw_str_deinit(&want->text);
    kw_free(want->lines);
    kw_free(want->ids);
    kw_free(want);
}

static struct selection *selection_new(struct kw_local_call *call, bool kill) {
    struct selection *want = kw_calloc(1, sizeof(*want));
    want->me = call->session->id;
    want->kill = kill;
    return want;
}

/* Starts it, unless an error was written. */
static void run_selection(struct kw_local_call *call, struct selection *want) {
    if (call->out->len) {
        selection_free(want);
        return;
    }
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    struct kw_tour tour = {visit, want->kill ? finish_kill : finish_list, selection_free, want};
    /* A client that kills itself does nothing behind it. */
    if (want->kill && !want->skip_me) call->session->wait_idle = true;
    kw_tour_start(call->session->worker, req, &tour);
}

static int shown_len(const struct kw_arg *arg) {
    return (int)(arg->len < QUOTED_MAX ? arg->len : QUOTED_MAX);
}

static bool take_type(struct kw_local_call *call, struct selection *want, const struct kw_arg *type) {
    if (kw_arg_is(type, "normal")) {
        want->type = NORMAL;
    } else if (kw_arg_is(type, "pubsub")) {
        want->type = PUBSUB;
    } else if (kw_arg_is(type, "master") || kw_arg_is(type, "slave") || kw_arg_is(type, "replica")) {
        want->type = NOBODY;
    } else {
        kw_str_resp_error(call->out, "ERR Unknown client type '%.*s'", shown_len(type), type->data);
        return false;
    }
    return true;
}

static void take_ids(struct kw_local_call *call, struct selection *want) {
    want->by_id = true;
    want->ids = kw_calloc(call->argc, sizeof(*want->ids));
    for (size_t i = 3; i < call->argc; i++) {
        long long id;
        if (!kw_arg_int(&call->argv[i], &id)) {
            kw_str_resp_error(call->out, "ERR Invalid client ID");
            return;
        }
        want->ids[want->id_count++] = (uint64_t)id;
    }
}

void kw_local_client_list(struct kw_local_call *call) {
    struct selection *want = selection_new(call, false);
    const struct kw_arg *argv = call->argv;
    if (call->argc == 4 && kw_arg_is(&argv[2], "type")) {
        take_type(call, want, &argv[3]);
    } else if (call->argc > 3 && kw_arg_is(&argv[2], "id")) {
        take_ids(call, want);
    } else if (call->argc != 2) {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
    run_selection(call, want);
}

/* An address longer than any of ours matches none. */
static void take_addr(char *to, bool *has, const struct kw_arg *from) {
    snprintf(to, ADDR_MAX, "%.*s", from->len < ADDR_MAX ? (int)from->len : 1, from->len < ADDR_MAX ? from->data : "?");
    *has = true;
}

static void take_kill_id(struct kw_local_call *call, struct selection *want, const struct kw_arg *value) {
    long long id;
    if (!kw_arg_int(value, &id) || id <= 0) {
        kw_str_resp_error(call->out, "ERR client-id should be greater than 0");
        return;
    }
    if (!want->ids) want->ids = kw_calloc(1, sizeof(*want->ids));
    want->by_id = true;
    want->ids[0] = (uint64_t)id;
    want->id_count = 1;
}

/* One option and its value; false after an error was written. */
static bool kill_option(struct kw_local_call *call, struct selection *want, size_t i) {
    const struct kw_arg *name = &call->argv[i], *value = &call->argv[i + 1];
    bool has_value = i + 1 < call->argc;
    if (has_value && kw_arg_is(name, "id")) {
        take_kill_id(call, want, value);
    } else if (has_value && kw_arg_is(name, "type")) {
        take_type(call, want, value);
    } else if (has_value && kw_arg_is(name, "addr")) {
        take_addr(want->addr, &want->has_addr, value);
    } else if (has_value && kw_arg_is(name, "laddr")) {
        take_addr(want->laddr, &want->has_laddr, value);
    } else if (has_value && kw_arg_is(name, "user")) {
        if (!(value->len == 7 && memcmp(value->data, "default", 7) == 0)) {
            kw_str_resp_error(call->out, "ERR No such user '%.*s'", shown_len(value), value->data);
        }
    } else if (has_value && kw_arg_is(name, "skipme") && (kw_arg_is(value, "yes") || kw_arg_is(value, "no"))) {
        want->skip_me = kw_arg_is(value, "yes");
    } else {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
    return call->out->len == 0;
}

void kw_local_client_kill(struct kw_local_call *call) {
    struct selection *want = selection_new(call, true);
    if (call->argc == 3) {
        want->plain = true;
        take_addr(want->addr, &want->has_addr, &call->argv[2]);
    } else {
        want->skip_me = true;
        for (size_t i = 2; i < call->argc && kill_option(call, want, i); i += 2) continue;
    }
    run_selection(call, want);
}
