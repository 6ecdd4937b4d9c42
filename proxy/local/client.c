/* CLIENT: what concerns this connection only. The other subcommands are in local_client_*.c. */
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/session/session.h"

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
        "CACHING (YES|NO)",
        "    Enable/disable tracking of the keys for next command in OPTIN/OPTOUT modes.",
        "GETREDIR",
        "    Return the client ID we are redirecting to when tracking is enabled.",
        "GETNAME",
        "    Return the name of the current connection.",
        "ID",
        "    Return the ID of the current connection.",
        "INFO",
        "    Return information about the current client connection.",
        "KILL <ip:port>",
        "    Kill connection made from <ip:port>.",
        "KILL <option> <value> [<option> <value> [...]]",
        "    Kill connections. Options are:",
        "    * ADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made from the specified address",
        "    * LADDR (<ip:port>|<unixsocket>:0)",
        "      Kill connections made to specified local address",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Kill connections by type.",
        "    * USER <username>",
        "      Kill connections authenticated by <username>.",
        "    * SKIPME (YES|NO)",
        "      Skip killing current connection (default: yes).",
        "LIST [options ...]",
        "    Return information about client connections. Options:",
        "    * TYPE (NORMAL|MASTER|REPLICA|PUBSUB)",
        "      Return clients of specified type.",
        "UNPAUSE",
        "    Stop the current client pause, resuming traffic.",
        "PAUSE <timeout> [WRITE|ALL]",
        "    Suspend all, or just write, clients for <timeout> milliseconds.",
        "REPLY (ON|OFF|SKIP)",
        "    Control the replies sent to the current connection.",
        "SETNAME <name>",
        "    Assign the name <name> to the current connection.",
        "UNBLOCK <clientid> [TIMEOUT|ERROR]",
        "    Unblock the specified blocked client.",
        "TRACKING (ON|OFF) [REDIRECT <id>] [BCAST] [PREFIX <prefix> [...]]",
        "         [OPTIN] [OPTOUT] [NOLOOP]",
        "    Control server assisted client side caching.",
        "TRACKINGINFO",
        "    Report tracking status for the current connection.",
        "NO-EVICT (ON|OFF)",
        "    Protect current client connection from eviction.",
        "HELP",
        "    Prints this help.",
    };
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}
