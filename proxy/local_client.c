/* CLIENT: what concerns this connection is answered here; LIST and KILL visit every worker. */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local.h"
#include "proxy/server.h"
#include "proxy/session.h"
#include "proxy/tour.h"
#include "proxy/worker.h"

enum { IDS_MAX = 1024 };

/* Which clients: all conditions given must hold. */
struct selection {
    uint64_t ids[IDS_MAX];
    size_t id_count;
    char addr[80];
    bool has_addr, has_laddr, by_id;
    char laddr[80];
    uint64_t max_age_s;
    bool nobody; /* a type or user that no client of ours has */
    bool skip_me;
    uint64_t me;
    bool plain; /* old form: CLIENT KILL addr */
    bool kill;
    uint64_t killed;
    struct kw_str text;
};

void kw_local_client_id(struct kw_local_call *call) {
    kw_str_resp_int(call->out, (long long)call->session->id);
}

void kw_local_client_getname(struct kw_local_call *call) {
    const struct kw_session_rare *who = call->session->rare;
    if (who && who->name) {
        kw_str_resp_text(call->out, who->name);
    } else {
        kw_str_resp_null(call->out, call->resp);
    }
}

void kw_local_client_getredir(struct kw_local_call *call) {
    kw_str_resp_int(call->out, -1);
}

void kw_local_client_info(struct kw_local_call *call) {
    struct kw_str line = {0};
    kw_session_describe(call->session, &line);
    kw_str_resp_verbatim(call->out, call->resp, line.data, line.len);
    kw_str_deinit(&line);
}

void kw_local_client_no_evict(struct kw_local_call *call) {
    bool on = kw_arg_is(&call->argv[2], "on");
    if (!on && !kw_arg_is(&call->argv[2], "off")) {
        kw_str_resp_error(call->out, "ERR syntax error");
        return;
    }
    call->session->no_evict = on;
    kw_str_resp_simple(call->out, "OK");
}

void kw_local_client_reply(struct kw_local_call *call) {
    struct kw_session *session = call->session;
    if (kw_arg_is(&call->argv[2], "on")) {
        session->reply_off = session->reply_skip = false;
        kw_str_resp_simple(call->out, "OK");
    } else if (kw_arg_is(&call->argv[2], "off")) {
        session->reply_off = true;
    } else if (kw_arg_is(&call->argv[2], "skip")) {
        session->reply_skip_next = !session->reply_off;
    } else {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
}

void kw_local_client_help(struct kw_local_call *call) {
    static const char *const lines[] = {
        "CLIENT <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "GETNAME",
        "    Return the name of the current connection.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections: ADDR, LADDR, ID, TYPE, USER, SKIPME.",
        "LIST [TYPE (NORMAL|MASTER|REPLICA|PUBSUB)] [ID <id> [<id> ...]]",
        "    Return information about client connections.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "HELP",
        "    Print this help.",
    };
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}

static bool selected(const struct selection *want, const struct kw_session *session) {
    if (want->nobody || (want->skip_me && session->id == want->me)) return false;
    if (want->has_addr) {
        char peer[80];
        kw_session_peer(session, peer, sizeof(peer));
        if (strcmp(peer, want->addr) != 0) return false;
    }
    if (!want->by_id) return true;
    for (size_t i = 0; i < want->id_count; i++) {
        if (want->ids[i] == session->id) return true;
    }
    return false;
}

static void visit(struct kw_worker *worker, void *context) {
    struct selection *want = context;
    struct kw_session *next;
    for (struct kw_session *session = worker->sessions; session; session = next) {
        next = session->next;
        if (!selected(want, session)) continue;
        if (!want->kill) {
            kw_session_describe(session, &want->text);
        } else {
            want->killed++;
            /* The killer hears of it before its own connection ends. */
            if (session->id == want->me) {
                kw_session_close_after_reply(session);
            } else {
                kw_session_close(session);
            }
        }
    }
}

static void finish_list(struct kw_worker *worker, void *context, int resp, struct kw_str *out) {
    (void)worker;
    struct selection *want = context;
    kw_str_resp_verbatim(out, resp, want->text.data ? want->text.data : "", want->text.len);
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
    kw_free(want);
}

static void start(struct kw_local_call *call, struct selection *want) {
    struct kw_request *req = kw_request_new_async(call->session, call->cmd);
    struct kw_tour tour = {visit, want->kill ? finish_kill : finish_list, selection_free, want};
    kw_tour_start(call->session->worker, req, &tour);
}

static struct selection *selection_new(struct kw_local_call *call, bool kill) {
    struct selection *want = kw_calloc(1, sizeof(*want));
    want->me = call->session->id;
    want->kill = kill;
    return want;
}

/* False for a type that Redis does not know. */
static bool take_type(struct selection *want, const struct kw_arg *type) {
    if (kw_arg_is(type, "normal")) return true;
    want->nobody = true;
    return kw_arg_is(type, "master") || kw_arg_is(type, "slave") || kw_arg_is(type, "replica") ||
           kw_arg_is(type, "pubsub");
}

void kw_local_client_list(struct kw_local_call *call) {
    struct selection *want = selection_new(call, false);
    const struct kw_arg *argv = call->argv;
    if (call->argc == 4 && kw_arg_is(&argv[2], "type")) {
        if (!take_type(want, &argv[3])) {
            kw_str_resp_error(call->out, "ERR Unknown client type '%.*s'", (int)(argv[3].len & 127), argv[3].data);
        }
    } else if (call->argc > 3 && kw_arg_is(&argv[2], "id")) {
        want->by_id = true;
        for (size_t i = 3; i < call->argc && want->id_count < IDS_MAX; i++) {
            long long id;
            if (!kw_arg_int(&argv[i], &id)) {
                kw_str_resp_error(call->out, "ERR Invalid client ID");
                break;
            }
            want->ids[want->id_count++] = (uint64_t)id;
        }
    } else if (call->argc != 2) {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
    if (call->out->len) {
        selection_free(want);
    } else {
        start(call, want);
    }
}

static void copy_text(char *to, size_t size, const struct kw_arg *from) {
    snprintf(to, size, "%.*s", (int)(from->len > size ? size : from->len), from->data);
}

/* One option and its value; false after an error was written. */
static bool kill_option(struct kw_local_call *call, struct selection *want, size_t i) {
    const struct kw_arg *name = &call->argv[i], *value = &call->argv[i + 1];
    long long number;
    if (kw_arg_is(name, "id")) {
        if (!kw_arg_int(value, &number) || number <= 0) {
            kw_str_resp_error(call->out, "ERR client-id should be greater than 0");
            return false;
        }
        want->by_id = true;
        want->ids[0] = (uint64_t)number;
        want->id_count = 1;
    } else if (kw_arg_is(name, "addr")) {
        want->has_addr = true;
        copy_text(want->addr, sizeof(want->addr), value);
    } else if (kw_arg_is(name, "laddr")) {
        want->nobody = want->nobody || !kw_arg_is(value, kw_server_address(call->session->worker->server));
    } else if (kw_arg_is(name, "type")) {
        if (!take_type(want, value)) {
            kw_str_resp_error(call->out, "ERR Unknown client type '%.*s'", (int)(value->len & 127), value->data);
            return false;
        }
    } else if (kw_arg_is(name, "user")) {
        if (!kw_arg_is(value, "default")) {
            kw_str_resp_error(call->out, "ERR No such user '%.*s'", (int)(value->len & 127), value->data);
            return false;
        }
    } else if (kw_arg_is(name, "skipme") && (kw_arg_is(value, "yes") || kw_arg_is(value, "no"))) {
        want->skip_me = kw_arg_is(value, "yes");
    } else {
        kw_str_resp_error(call->out, "ERR syntax error");
        return false;
    }
    return true;
}

void kw_local_client_kill(struct kw_local_call *call) {
    struct selection *want = selection_new(call, true);
    if (call->argc == 3) {
        want->plain = want->has_addr = true;
        copy_text(want->addr, sizeof(want->addr), &call->argv[2]);
    } else if (call->argc > 3 && call->argc % 2 == 0) {
        want->skip_me = true;
        for (size_t i = 2; i < call->argc && kill_option(call, want, i); i += 2) continue;
    } else {
        kw_str_resp_error(call->out, "ERR syntax error");
    }
    if (call->out->len) {
        selection_free(want);
    } else {
        start(call, want);
    }
}
