/* CLIENT PAUSE and UNPAUSE as commands; what they do is in pause.c. */
#include <limits.h>
#include <stdio.h>

#include "base/clock.h"
#include "proxy/local/local.h"
#include "proxy/server.h"
#include "proxy/session/pause.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

void kw_local_client_syntax(struct kw_local_call *call) {
    char name[129];
    const struct kw_arg *given = &call->argv[1];
    snprintf(name, sizeof(name), "%.*s", (int)(given->len < sizeof(name) ? given->len : sizeof(name) - 1), given->data);
    kw_str_resp_error(call->out, "ERR unknown subcommand or wrong number of arguments for '%s'. Try CLIENT HELP.",
                      name);
}

void kw_local_client_pause(struct kw_local_call *call) {
    struct kw_server *server = call->session->worker->server;
    bool all = true;
    long long timeout_ms;
    if (call->argc > 4) {
        kw_local_client_syntax(call);
        return;
    }
    if (call->argc == 4) {
        all = kw_arg_is(&call->argv[3], "all");
        if (!all && !kw_arg_is(&call->argv[3], "write")) {
            kw_str_resp_error(call->out, "ERR CLIENT PAUSE mode must be WRITE or ALL");
            return;
        }
    }
    if (!kw_arg_int(&call->argv[2], &timeout_ms)) {
        kw_str_resp_error(call->out, "ERR timeout is not an integer or out of range");
    } else if (timeout_ms < 0) {
        kw_str_resp_error(call->out, "ERR timeout is negative");
    } else {
        /* An end that no clock can show is one in the past for Redis as well. */
        bool possible = timeout_ms <= (LLONG_MAX - (long long)(kw_clock_wall_us() / 1000)) / 1000;
        if (possible) kw_pause_begin(kw_server_alert(server), (uint64_t)timeout_ms, all);
        kw_str_resp_simple(call->out, "OK");
    }
}

void kw_local_client_unpause(struct kw_local_call *call) {
    kw_pause_end(call->session->worker->server);
    kw_str_resp_simple(call->out, "OK");
}
