/*
 * WAIT: every primary is asked, for what the client wrote may be at any of
 * them, each on a link of its own. A node waits for what its connection knows
 * of (the replication offset after its last command), so a PING goes first; by
 * then everything that the client sent before has been answered. The smallest
 * number is the answer: so many replicas have everything.
 */
#include <stdlib.h>

#include "proxy/local/local.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/worker.h"

static bool merge_least(struct kw_worker *worker, struct kw_request *parent) {
    struct kw_group *group = parent->group;
    long long least = -1;
    for (uint32_t i = 0; i < group->part_count; i++) {
        char text[32];
        size_t len = kw_outq_peek(&group->parts[i]->reply, text, sizeof(text) - 1);
        text[len] = '\0';
        if (text[0] != ':') {
            kw_request_reply_error(worker, parent, "ERR a node answered WAIT in an unexpected shape");
            return true;
        }
        long long count = strtoll(text + 1, NULL, 10);
        if (least < 0 || count < least) least = count;
    }
    struct kw_str out = {0};
    kw_str_resp_int(&out, least);
    kw_request_reply_text(worker, parent, out.data, out.len);
    kw_str_deinit(&out);
    return true;
}

void kw_local_wait(struct kw_local_call *call) {
    struct kw_str frame = {0};
    kw_str_append_text(&frame, "*1\r\n$4\r\nPING\r\n");
    kw_str_resp_array(&frame, call->argc);
    for (size_t i = 0; i < call->argc; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    struct kw_broadcast_options options = {.merge = merge_least, .own_links = true, .blocks = true, .skip = 1};
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}
