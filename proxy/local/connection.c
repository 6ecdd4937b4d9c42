/* Commands about the connection itself: PING, ECHO, AUTH, HELLO, SELECT, RESET, QUIT, TIME. */
#include <string.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "proxy/local/local.h"
#include "proxy/pubsub/pubsub.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/monitor.h"
#include "proxy/session/session.h"
#include "proxy/session/transaction.h"
#include "proxy/session/watch.h"
#include "proxy/tracking/tracking.h"
#include "proxy/worker.h"

void kw_local_ping(struct kw_local_call *call) {
    if (call->argc > 2) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'ping' command");
    } else if (call->session->subscribed && call->resp < 3) {
        kw_str_append_text(call->out, "*2\r\n$4\r\npong\r\n");
        kw_str_resp_bulk(call->out, call->argc == 2 ? call->argv[1].data : "", call->argc == 2 ? call->argv[1].len : 0);
    } else if (call->argc == 2) {
        kw_str_resp_bulk(call->out, call->argv[1].data, call->argv[1].len);
    } else {
        kw_str_append(call->out, "+PONG\r\n", 7);
    }
}

void kw_local_echo(struct kw_local_call *call) {
    kw_str_resp_bulk(call->out, call->argv[1].data, call->argv[1].len);
}

void kw_local_time(struct kw_local_call *call) {
    uint64_t now_us = kw_clock_wall_us();
    char text[32];
    kw_str_resp_array(call->out, 2);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(now_us / 1000000));
    kw_str_resp_text(call->out, text);
    snprintf(text, sizeof(text), "%llu", (unsigned long long)(now_us % 1000000));
    kw_str_resp_text(call->out, text);
}

void kw_local_select(struct kw_local_call *call) {
    long long db;
    if (!kw_arg_int(&call->argv[1], &db)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
    } else if (db != 0) {
        kw_str_resp_error(call->out, "ERR DB index is out of range");
    } else {
        kw_str_resp_simple(call->out, "OK");
    }
}

/* Compares in a time that does not depend on where they differ. */
static bool same_secret(const char *secret, const struct kw_arg *given) {
    size_t len = strlen(secret);
    unsigned char differ = len != given->len;
    for (size_t i = 0; i < given->len; i++) {
        differ |= (unsigned char)(given->data[i] ^ (len ? secret[i % len] : 0));
    }
    return differ == 0;
}

static bool login(struct kw_session *session, const struct kw_arg *user, const struct kw_arg *password) {
    const struct kw_limits *limits = kw_server_limits(session->worker->server);
    if (!(user->len == 7 && memcmp(user->data, "default", 7) == 0)) return false;
    if (limits->needs_password && !same_secret(limits->password, password)) return false;
    session->authenticated = true;
    return true;
}

static const char wrong_password[] = "WRONGPASS invalid username-password pair or user is disabled.";

void kw_local_auth(struct kw_local_call *call) {
    const struct kw_limits *limits = kw_server_limits(call->session->worker->server);
    if (call->argc > 3) {
        kw_str_resp_error(call->out, "ERR syntax error");
        return;
    }
    if (call->argc == 2 && !limits->needs_password) {
        kw_str_resp_error(call->out, "ERR AUTH <password> called without any password configured for the default user. "
                                     "Are you sure your configuration is correct?");
        return;
    }
    static const struct kw_arg only_user = {"default", 7};
    const struct kw_arg *user = call->argc == 3 ? &call->argv[1] : &only_user;
    if (login(call->session, user, &call->argv[call->argc - 1])) {
        kw_str_resp_simple(call->out, "OK");
    } else {
        kw_str_resp_error(call->out, "%s", wrong_password);
    }
}

static bool valid_name(const struct kw_arg *name) {
    for (size_t i = 0; i < name->len; i++) {
        if (name->data[i] < '!' || name->data[i] > '~') return false;
    }
    return true;
}

static void set_text(char **field, const struct kw_arg *value) {
    kw_free(*field);
    *field = value->len ? kw_strndup(value->data, value->len) : NULL;
}

static const char bad_name[] = "ERR Client names cannot contain spaces, newlines or special characters.";

void kw_local_client_setname(struct kw_local_call *call) {
    if (!valid_name(&call->argv[2])) {
        kw_str_resp_error(call->out, "%s", bad_name);
        return;
    }
    set_text(&kw_session_rare(call->session)->name, &call->argv[2]);
    kw_str_resp_simple(call->out, "OK");
}

void kw_local_client_setinfo(struct kw_local_call *call) {
    const struct kw_arg *what = &call->argv[2];
    struct kw_session_rare *who = kw_session_rare(call->session);
    bool is_name = kw_arg_is(what, "lib-name");
    if (!is_name && !kw_arg_is(what, "lib-ver")) {
        kw_str_resp_error(call->out, "ERR Unrecognized option '%.*s'", (int)(what->len > 64 ? 64 : what->len),
                          what->data);
    } else if (!valid_name(&call->argv[3])) {
        kw_str_resp_error(call->out, "ERR %s cannot contain spaces, newlines or special characters.",
                          is_name ? "lib-name" : "lib-ver");
    } else {
        set_text(is_name ? &who->lib_name : &who->lib_version, &call->argv[3]);
        kw_str_resp_simple(call->out, "OK");
    }
}

static void hello_reply(struct kw_local_call *call) {
    const struct kw_topology *topology = call->session->worker->topology;
    int resp = kw_session_resp(call->session);
    kw_str_resp_map(call->out, resp, 7);
    kw_str_resp_text(call->out, "server");
    kw_str_resp_text(call->out, "redis");
    kw_str_resp_text(call->out, "version");
    kw_str_resp_text(call->out, topology && topology->server_version[0] ? topology->server_version : "7.0.15");
    kw_str_resp_text(call->out, "proto");
    kw_str_resp_int(call->out, resp);
    kw_str_resp_text(call->out, "id");
    kw_str_resp_int(call->out, (long long)call->session->id);
    kw_str_resp_text(call->out, "mode");
    kw_str_resp_text(call->out, kw_local_shows_cluster(call->session) ? "cluster" : "standalone");
    kw_str_resp_text(call->out, "role");
    kw_str_resp_text(call->out, "master");
    kw_str_resp_text(call->out, "modules");
    kw_str_resp_array(call->out, 0);
}

/* AUTH, SETNAME at argv[*i], done at once, as Redis does them; false after an error was written. */
static bool hello_option(struct kw_local_call *call, size_t *i) {
    const struct kw_arg *word = &call->argv[*i];
    size_t more = call->argc - 1 - *i;
    if (kw_arg_is(word, "auth") && more >= 2) {
        if (!login(call->session, word + 1, word + 2)) {
            kw_str_resp_error(call->out, "%s", wrong_password);
            return false;
        }
        *i += 2;
    } else if (kw_arg_is(word, "setname") && more >= 1) {
        if (!valid_name(word + 1)) {
            kw_str_resp_error(call->out, "%s", bad_name);
            return false;
        }
        set_text(&kw_session_rare(call->session)->name, word + 1);
        *i += 1;
    } else {
        kw_str_resp_error(call->out, "ERR Syntax error in HELLO option '%.*s'", (int)(word->len > 64 ? 64 : word->len),
                          word->data);
        return false;
    }
    return true;
}

/* HELLO [protover [AUTH user password] [SETNAME name]] */
void kw_local_hello(struct kw_local_call *call) {
    long long version = kw_session_resp(call->session);
    if (call->argc > 1) {
        if (!kw_arg_int(&call->argv[1], &version)) {
            kw_str_resp_error(call->out, "ERR Protocol version is not an integer or out of range");
            return;
        }
        if (version != 2 && version != 3) {
            kw_str_resp_error(call->out, "NOPROTO unsupported protocol version");
            return;
        }
    }
    for (size_t i = 2; i < call->argc; i++) {
        if (!hello_option(call, &i)) return;
    }
    if (!call->session->authenticated) {
        kw_str_resp_error(call->out, "NOAUTH HELLO must be called with the client already authenticated, otherwise the "
                                     "HELLO AUTH <user> <pass> option can be used to authenticate the client and "
                                     "select the RESP protocol version at the same time");
        return;
    }
    bool other = kw_session_resp(call->session) != version;
    call->session->resp3 = version == 3;
    if (other) kw_tracking_protocol(call->session);
    hello_reply(call);
}

void kw_local_reset(struct kw_local_call *call) {
    struct kw_session *session = call->session;
    session->authenticated = !kw_server_limits(session->worker->server)->needs_password;
    kw_transaction_discard(session);
    kw_watch_release(session);
    kw_tracking_stop(session);
    kw_monitor_end(session);
    session->reply_off = session->reply_skip_next = false;
    if (session->rare) {
        kw_free(session->rare->name);
        session->rare->name = NULL;
    }
    session->resp3 = false;
    session->cluster_aware = false;
    kw_str_resp_simple(call->out, "RESET");
    kw_pubsub_reset(session, call->out);
}

void kw_local_quit(struct kw_local_call *call) {
    struct kw_session *session = call->session;
    struct kw_request *req = kw_request_new(session->worker);
    req->flags |= KW_REQF_LOCAL | KW_REQF_CLOSE;
    kw_request_enqueue(session, req);
    session->hold = true; /* what was pipelined behind it is not looked at */
    kw_request_reply_text(session->worker, req, "+OK\r\n", 5);
    kw_request_complete(session->worker, req);
}
