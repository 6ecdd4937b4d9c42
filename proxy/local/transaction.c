/* MULTI, EXEC, DISCARD, UNWATCH as commands; what they do is in transaction.c. */
#include "proxy/session/transaction.h"
#include "proxy/local/local.h"
#include "proxy/session/session.h"
#include "proxy/session/watch.h"

void kw_local_multi(struct kw_local_call *call) {
    if (kw_transaction_begin(call->session)) {
        kw_str_resp_simple(call->out, "OK");
    } else {
        kw_str_resp_error(call->out, "ERR MULTI calls can not be nested");
    }
}

void kw_local_exec(struct kw_local_call *call) {
    if (!call->session->transaction) {
        kw_str_resp_error(call->out, "ERR EXEC without MULTI");
        return;
    }
    kw_transaction_exec(call->session, call->cmd);
}

void kw_local_discard(struct kw_local_call *call) {
    if (!call->session->transaction) {
        kw_str_resp_error(call->out, "ERR DISCARD without MULTI");
        return;
    }
    kw_transaction_discard(call->session);
    kw_watch_release(call->session);
    kw_str_resp_simple(call->out, "OK");
}

void kw_local_unwatch(struct kw_local_call *call) {
    kw_watch_release(call->session);
    kw_str_resp_simple(call->out, "OK");
}
