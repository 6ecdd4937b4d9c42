/* Commands about the connection itself, in Redis's words: PING, ECHO, HELLO, AUTH, SELECT, RESET, QUIT; SHUTDOWN. */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/log.h"
#include "raft/door/door_internal.h"

void kw_door_ping(struct kw_door_call *call) {
    if (call->argc > 2) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'ping' command");
    } else if (call->argc == 2) {
        kw_str_resp_bulk(call->out, call->argv[1].data, call->argv[1].len);
    } else {
        kw_str_resp_simple(call->out, "PONG");
    }
}

void kw_door_echo(struct kw_door_call *call) {
    kw_str_resp_bulk(call->out, call->argv[1].data, call->argv[1].len);
}

void kw_door_select(struct kw_door_call *call) {
    long long db;
    if (!kw_door_int(&call->argv[1], &db)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
    } else if (db != 0) {
        kw_str_resp_error(call->out, "ERR DB index is out of range");
    } else {
        kw_str_resp_simple(call->out, "OK");
    }
}

/* In a time that does not depend on where they differ. */
bool kw_door_same_secret(const char *secret, const struct kw_arg *given) {
    size_t len = strlen(secret);
    unsigned char differ = len != given->len;
    for (size_t i = 0; i < given->len; i++) {
        differ |= (unsigned char)(given->data[i] ^ (len ? secret[i % len] : 0));
    }
    return differ == 0;
}

static bool login(struct kw_door_call *call, const struct kw_arg *user, const struct kw_arg *password) {
    static const char wrong[] = "WRONGPASS invalid username-password pair or user is disabled.";
    bool ok = user->len == 7 && memcmp(user->data, "default", 7) == 0;
    if (kw_door_needs_secret(call->door)) {
        ok = kw_door_same_secret(call->door->options.settings->secret, password) && ok;
    }
    if (ok) {
        call->session->authenticated = true;
    } else {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING, "client id=%llu gave a wrong secret",
                       (unsigned long long)call->session->id);
        kw_str_resp_error(call->out, "%s", wrong);
    }
    return ok;
}

void kw_door_auth(struct kw_door_call *call) {
    static const struct kw_arg only_user = {"default", 7};
    if (call->argc > 3) {
        kw_door_syntax(call);
    } else if (call->argc == 2 && !kw_door_needs_secret(call->door)) {
        kw_str_resp_error(call->out, "ERR AUTH <password> called without any password configured for the default user. "
                                     "Are you sure your configuration is correct?");
    } else if (login(call, call->argc == 3 ? &call->argv[1] : &only_user, &call->argv[call->argc - 1])) {
        kw_str_resp_simple(call->out, "OK");
    }
}

static void hello_reply(struct kw_door_call *call) {
    int resp = call->session->resp;
    kw_str_resp_map(call->out, resp, 7);
    kw_door_pair_text(call->out, "server", "redis");
    kw_door_pair_text(call->out, "version", "7.0.15");
    kw_door_pair_int(call->out, "proto", resp);
    kw_door_pair_int(call->out, "id", (long long)call->session->id);
    kw_door_pair_text(call->out, "mode", "standalone");
    kw_door_pair_text(call->out, "role", "master");
    kw_str_resp_text(call->out, "modules");
    kw_str_resp_array(call->out, 0);
}

/* AUTH, SETNAME at argv[*i], done at once, as Redis does them; false after an error was written. */
static bool hello_option(struct kw_door_call *call, size_t *i) {
    const struct kw_arg *word = &call->argv[*i];
    size_t more = call->argc - 1 - *i;
    if (kw_door_is(word, "auth") && more >= 2) {
        if (!login(call, word + 1, word + 2)) return false;
        *i += 2;
        return true;
    }
    if (kw_door_is(word, "setname") && more >= 1) {
        *i += 1;
        if (kw_door_valid_name(word + 1)) {
            kw_door_set_text(&call->session->name, word + 1);
            return true;
        }
        kw_str_resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
        return false;
    }
    kw_str_resp_error(call->out, "ERR Syntax error in HELLO option '%.*s'", kw_door_shown(word), word->data);
    return false;
}

/* HELLO [protover [AUTH user password] [SETNAME name]] */
void kw_door_hello(struct kw_door_call *call) {
    long long version = call->session->resp;
    if (call->argc > 1 && !kw_door_int(&call->argv[1], &version)) {
        kw_str_resp_error(call->out, "ERR Protocol version is not an integer or out of range");
        return;
    }
    if (version != 2 && version != 3) {
        kw_str_resp_error(call->out, "NOPROTO unsupported protocol version");
        return;
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
    call->session->resp = (int)version;
    hello_reply(call);
}

void kw_door_reset(struct kw_door_call *call) {
    struct kw_door_session *session = call->session;
    kw_door_watch_stop(session);
    session->authenticated = !kw_door_needs_secret(call->door);
    session->resp = 2;
    session->no_evict = session->no_touch = false;
    kw_free(session->name);
    session->name = NULL;
    kw_str_resp_simple(call->out, "RESET");
}

void kw_door_quit(struct kw_door_call *call) {
    kw_str_resp_simple(call->out, "OK");
    call->session->ending = true;
}

void kw_door_shutdown(struct kw_door_call *call) {
    for (size_t i = 1; i < call->argc; i++) {
        const struct kw_arg *word = &call->argv[i];
        if (kw_door_is(word, "nosave") || kw_door_is(word, "save") || kw_door_is(word, "now")) continue;
        kw_door_syntax(call);
        return;
    }
    kw_log(KW_LOG_NOTICE, "client id=%llu sent SHUTDOWN", (unsigned long long)call->session->id);
    call->session->ending = true; /* as with Redis, the end of the connection is the answer */
    call->door->options.on_shutdown(call->door->options.ctx);
}
