/*
 * The server as one: ROLE, what concerns scripts of all shards (EXISTS, KILL,
 * DEBUG, FUNCTION STATS and KILL). A shard that runs a long script reads
 * nothing from the connection that sent it, so what stops or shows a script
 * goes on links of its own.
 */
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/gather.h"
#include "proxy/local/local.h"
#include "proxy/request/group.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/upstream/scripts.h"
#include "proxy/worker.h"

/* ---- ROLE: one primary; its offset is the shards' together, as in INFO. The replicas are not for clients. */

static void finish_role(struct kw_gathered *all) {
    long long offset = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        const redisReply *own = kw_reply_at(all->replies[i], 1, REDIS_REPLY_INTEGER);
        if (own) offset += own->integer;
    }
    kw_str_resp_array(all->out, 3);
    kw_str_resp_text(all->out, "master");
    kw_str_resp_int(all->out, offset);
    kw_str_resp_array(all->out, 0);
}

void kw_local_role(struct kw_local_call *call) {
    kw_gather(call, finish_role, NULL);
}

/* ---- SCRIPT EXISTS: where every shard has the script, or we do and would give it to a shard that lacks it. */

struct known {
    size_t count;
    bool here[];
};

static void finish_exists(struct kw_gathered *all) {
    const struct known *known = all->context;
    for (uint32_t i = 0; i < all->count; i++) {
        if (kw_reply_len(all->replies[i]) != known->count) return;
    }
    kw_str_resp_array(all->out, known->count);
    for (size_t n = 0; n < known->count; n++) {
        bool everywhere = true;
        for (uint32_t i = 0; i < all->count; i++) {
            const redisReply *one = kw_reply_at(all->replies[i], n, REDIS_REPLY_INTEGER);
            everywhere = everywhere && one && one->integer;
        }
        kw_str_resp_int(all->out, everywhere || known->here[n]);
    }
}

void kw_local_script_exists(struct kw_local_call *call) {
    struct kw_scripts *scripts = kw_server_scripts(call->session->worker->server);
    size_t count = call->argc - 2;
    struct known *known = kw_calloc(1, sizeof(*known) + count * sizeof(known->here[0]));
    known->count = count;
    struct kw_str text = {0};
    for (size_t n = 0; n < count; n++) {
        kw_str_clear(&text);
        const struct kw_arg *sha1 = &call->argv[n + 2];
        known->here[n] = kw_scripts_find(scripts, sha1->data, sha1->len, kw_scripts_moment(scripts), &text);
    }
    kw_str_deinit(&text);
    struct kw_gather_options options = {.context = known, .free_context = kw_free};
    kw_gather(call, finish_exists, &options);
}

/* ---- SCRIPT DEBUG */

void kw_local_script_debug(struct kw_local_call *call) {
    const struct kw_arg *mode = &call->argv[2];
    if (call->argc == 3 && kw_arg_is(mode, "no")) {
        kw_str_resp_simple(call->out, "OK");
    } else if (call->argc == 3 && (kw_arg_is(mode, "yes") || kw_arg_is(mode, "sync"))) {
        kw_str_resp_error(call->out, "ERR The script debugger needs a connection to the node that runs the script: use "
                                     "it there, not through Keyway");
    } else {
        kw_str_resp_error(call->out, "ERR Use SCRIPT DEBUG YES/SYNC/NO");
    }
}

/* ---- SCRIPT KILL, FUNCTION KILL */

/* How a shard's answer is worth telling; the highest is the reply. */
enum worth { NOT_BUSY, OTHER_ERROR, KILLED, UNKILLABLE };

static enum worth worth_of(const struct kw_request *part) {
    char head[16] = "";
    size_t len = kw_outq_peek(&part->reply, head, sizeof(head) - 1);
    head[len] = '\0';
    if (head[0] != '-') return KILLED;
    if (strncmp(head, "-NOTBUSY ", 9) == 0) return NOT_BUSY;
    return strncmp(head, "-UNKILLABLE ", 12) == 0 ? UNKILLABLE : OTHER_ERROR;
}

static bool merge_kill(struct kw_worker *worker, struct kw_request *parent) {
    (void)worker;
    struct kw_group *group = parent->group;
    struct kw_request *best = group->parts[0];
    for (uint32_t i = 1; i < group->part_count; i++) {
        if (worth_of(group->parts[i]) > worth_of(best)) best = group->parts[i];
    }
    kw_outq_splice(&parent->reply, &best->reply);
    parent->reply_type = best->reply_type;
    return true;
}

/* Two words, to every shard, past what runs there. */
static void ask_past_scripts(struct kw_local_call *call, const struct kw_broadcast_options *options) {
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, 2);
    for (size_t i = 0; i < 2; i++) kw_str_resp_bulk(&frame, call->argv[i].data, call->argv[i].len);
    kw_broadcast(call->session, call->cmd, frame.data, frame.len, options);
    kw_str_deinit(&frame);
}

void kw_local_script_kill(struct kw_local_call *call) {
    struct kw_broadcast_options options = {.merge = merge_kill, .tolerant = true, .own_links = true};
    ask_past_scripts(call, &options);
}

/* ---- FUNCTION STATS: the shard that runs a script; all have the same libraries. */

static bool runs_script(const struct kw_request *part) {
    static const char *const idle[] = {"*4\r\n$14\r\nrunning_script\r\n$-1\r\n",
                                       "%2\r\n$14\r\nrunning_script\r\n_\r\n"};
    char head[48];
    size_t len = kw_outq_peek(&part->reply, head, sizeof(head));
    for (size_t i = 0; i < KW_ARRAY_LEN(idle); i++) {
        size_t n = strlen(idle[i]);
        if (len >= n && memcmp(head, idle[i], n) == 0) return false;
    }
    return true;
}

static bool merge_running(struct kw_worker *worker, struct kw_request *parent) {
    (void)worker;
    struct kw_group *group = parent->group;
    struct kw_request *shown = group->parts[0];
    for (uint32_t i = 0; i < group->part_count; i++) {
        if (runs_script(group->parts[i])) shown = group->parts[i];
    }
    kw_outq_splice(&parent->reply, &shown->reply);
    parent->reply_type = shown->reply_type;
    return true;
}

void kw_local_function_stats(struct kw_local_call *call) {
    struct kw_broadcast_options options = {.merge = merge_running, .own_links = true};
    ask_past_scripts(call, &options);
}
