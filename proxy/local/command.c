/* COMMAND and its subcommands, from the table. */
#include "proxy/local/local.h"

void kw_local_command(struct kw_local_call *call) {
    kw_command_reply(call->out, call->resp, call->argv, call->argc);
}
