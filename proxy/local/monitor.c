/* MONITOR; see monitor.h. */
#include "proxy/session/monitor.h"
#include "proxy/local/local.h"
#include "proxy/session/session.h"

/* It runs when nothing is in flight, so that its OK comes before the first line. A second one is not answered. */
void kw_local_monitor(struct kw_local_call *call) {
    if (call->session->monitor) return;
    kw_str_resp_simple(call->out, "OK");
    kw_monitor_begin(call->session);
}
