/*
 * From a complete frame to a plan, and from the plan to requests on their way.
 * The checks come in the order in which Redis makes them: unknown command,
 * arity, authentication, then what the command itself wants.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/local/local.h"
#include "proxy/pubsub/publish.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/group.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/alert.h"
#include "proxy/session/intake.h"
#include "proxy/session/monitor.h"
#include "proxy/session/pause.h"
#include "proxy/session/session.h"
#include "proxy/session/transaction.h"
#include "proxy/session/watch.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/script_load.h"
#include "proxy/upstream/scripts.h"
#include "proxy/worker.h"

/* A reply that is known now, in its order. */
static void answer(struct kw_session *session, const struct kw_str *reply) {
    struct kw_worker *worker = session->worker;
    if (KW_UNLIKELY(session->reply_off || session->reply_skip)) return;
    if (!session->queue_head) {
        if (kw_outq_copy_try(&session->out, worker->pool, reply->data, reply->len, 4096)) {
            kw_session_mark_dirty(session);
        } else {
            kw_session_close(session);
        }
        return;
    }
    struct kw_request *req = kw_request_new(worker);
    req->flags |= KW_REQF_LOCAL;
    kw_request_enqueue(session, req);
    kw_request_reply_text(worker, req, reply->data, reply->len);
    kw_request_complete(worker, req);
}

void kw_command_answer(struct kw_session *session, const struct kw_str *reply) {
    if (reply->len) answer(session, reply);
}

/* A wrong EXEC ends its transaction, and says so. */
static void reject_exec(struct kw_session *session, const struct kw_str *reply) {
    struct kw_str text = {0};
    kw_str_append(&text, reply->data + 5, reply->len - 7); /* without "-ERR " and the line's end */
    struct kw_str line = {0};
    kw_str_resp_error(&line, "EXECABORT Transaction discarded because of: %s", text.data);
    kw_transaction_discard(session);
    kw_watch_release(session);
    answer(session, &line);
    kw_str_deinit(&line);
    kw_str_deinit(&text);
}

static void reject(struct kw_session *session, const struct kw_command *cmd, const struct kw_str *reply) {
    struct kw_worker *worker = session->worker;
    kw_stats_error(&worker->stats, reply->data, reply->len);
    if (cmd) kw_stats_rejected(&worker->stats, cmd);
    if (cmd && strcmp(cmd->name, "exec") == 0 && strncmp(reply->data, "-ERR ", 5) == 0) {
        reject_exec(session, reply);
        return;
    }
    kw_transaction_spoil(session);
    answer(session, reply);
}

/* Fills worker->argv from the frame. False when memory is gone. */
static bool fill_argv(struct kw_worker *worker, const struct kw_request_parse *parse, const char *base,
                      uint32_t count) {
    if (!kw_worker_argv_reserve(worker, count)) return false;
    if (parse->is_inline) base = parse->unquoted;
    for (uint32_t i = 0; i < count; i++) {
        const struct kw_request_arg *arg = &parse->args[i];
        worker->argv[i] = (struct kw_arg){arg->big ? NULL : base + arg->off, arg->len};
    }
    return true;
}

/* A browser tricked into talking to us: Redis closes on these two words, before the body can do harm. */
static bool is_http(const struct kw_arg *name) {
    return name->data && ((name->len == 4 && strncasecmp(name->data, "post", 4) == 0) ||
                          (name->len == 5 && strncasecmp(name->data, "host:", 5) == 0));
}

/* In RESP2 a reply cannot be told from a message, so a subscriber may say little. */
static bool may_run_subscribed(const struct kw_command *cmd) {
    static const char *const names[] = {"subscribe",    "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe",
                                        "sunsubscribe", "ping",       "quit",       "reset"};
    for (size_t i = 0; i < KW_ARRAY_LEN(names); i++) {
        if (strcmp(cmd->name, names[i]) == 0) return true;
    }
    return false;
}

/* The command, with its subcommand where it has one; NULL after the error was answered. */
static const struct kw_command *find_command(struct kw_session *session, size_t argc, size_t have) {
    struct kw_worker *worker = session->worker;
    const struct kw_arg *argv = worker->argv;
    struct kw_str *text = &worker->scratch;
    kw_str_clear(text);
    const struct kw_command *cmd = argv[0].data ? kw_command_lookup(argv[0].data, argv[0].len) : NULL;
    if (KW_UNLIKELY(!cmd || !kw_command_is_accepted(cmd))) {
        if (is_http(&argv[0])) {
            kw_log(KW_LOG_WARNING, "client id=%llu closed: it speaks HTTP (possible cross protocol attack)",
                   (unsigned long long)session->id);
            kw_session_close(session);
            return NULL;
        }
        kw_planner_unknown_error(text, argv, have);
        reject(session, NULL, text);
        return NULL;
    }
    if (KW_UNLIKELY(cmd->container && have > 1)) {
        const struct kw_command *sub = argv[1].data ? kw_command_lookup_sub(cmd, argv[1].data, argv[1].len) : NULL;
        if (!sub || !kw_command_is_accepted(sub)) {
            kw_planner_unknown_sub_error(text, cmd, argv);
            reject(session, cmd, text);
            return NULL;
        }
        cmd = sub;
    }
    if (KW_UNLIKELY(!kw_command_arity_ok(cmd, argc))) {
        kw_planner_arity_error(text, cmd);
        reject(session, cmd, text);
        return NULL;
    }
    if (KW_UNLIKELY(!session->authenticated && !(cmd->flags & KW_CMD_NO_AUTH))) {
        kw_str_resp_error(text, "NOAUTH Authentication required.");
        reject(session, cmd, text);
        return NULL;
    }
    if (KW_UNLIKELY(session->subscribed && !session->resp3 && !may_run_subscribed(cmd))) {
        /* The words are Redis's. */
        kw_str_resp_error(text,
                          "ERR Can't execute '%s': only (P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET are "
                          "allowed in this context",
                          cmd->name);
        reject(session, cmd, text);
        return NULL;
    }
    worker->command_before = session->last_command;
    session->last_command = (uint16_t)(cmd->id + 1);
    return cmd;
}

static struct kw_request *request_for(struct kw_session *session, const struct kw_command *cmd, int slot) {
    struct kw_request *req = kw_request_new(session->worker);
    req->cmd = cmd;
    req->slot = (int16_t)slot;
    req->start_us = kw_worker_now_us(session->worker);
    if (cmd->flags & KW_CMD_READONLY) req->flags |= KW_REQF_READONLY;
    if (cmd->flags & KW_CMD_NOSCRIPT && cmd->flags & KW_CMD_MOVABLEKEYS) req->flags |= KW_REQF_SCRIPT;
    kw_request_enqueue(session, req);
    return req;
}

/* An inline command is put into RESP for the node. */
static void encode(struct kw_str *text, const struct kw_arg *argv, size_t argc) {
    kw_str_clear(text);
    kw_str_resp_array(text, argc);
    for (size_t i = 0; i < argc; i++) kw_str_resp_bulk(text, argv[i].data, argv[i].len);
}

/* Puts the frame into the request by reference, large payloads in their places. */
static int take_frame(struct kw_worker *worker, struct kw_request *req, const struct kw_frame_source *frame) {
    if (frame->big_count == 0) {
        req->frame.chunk = kw_chunk_ref(frame->chunk);
        req->frame.off = frame->off;
        req->frame.len = frame->len;
        return 0;
    }
    size_t done = 0;
    for (unsigned i = 0; i <= frame->big_count; i++) {
        size_t upto = i < frame->big_count ? frame->bigs[i].at : frame->len;
        int err = kw_outq_ref_try(&req->frame.rest, worker->pool, frame->chunk, frame->off + done, upto - done);
        if (err) return err;
        if (i < frame->big_count) kw_outq_splice(&req->frame.rest, &frame->bigs[i].data);
        done = upto;
    }
    return 0;
}

static void fail_memory(struct kw_session *session, struct kw_request *req) {
    kw_request_reply_error(session->worker, req, "ERR out of memory");
    kw_request_complete(session->worker, req);
}

/* A text that goes to a node is kept, as the node does, and an EVALSHA asks for what is known by now: see scripts.h. */
static void note_call(struct kw_worker *worker, struct kw_request *req, size_t argc) {
    struct kw_scripts *scripts = kw_server_scripts(worker->server);
    const struct kw_arg *argv = worker->argv;
    const char *name = req->cmd->name;
    if (strncmp(name, "evalsha", 7) == 0) {
        req->flags |= KW_REQF_EVALSHA;
        req->moment = kw_scripts_moment(scripts);
    } else if (strncmp(name, "eval", 4) == 0 && argc > 2 && argv[1].data && kw_script_takes_text(&argv[2], argc)) {
        kw_scripts_remember(scripts, argv[1].data, argv[1].len);
    }
}

static void forward(struct kw_session *session, const struct kw_command *cmd, const struct kw_frame_source *frame,
                    const struct kw_plan *plan, size_t argc) {
    struct kw_worker *worker = session->worker;
    struct kw_request *req = request_for(session, cmd, plan->slot);
    const char *bytes = frame->base;
    size_t len = frame->len;
    if (plan->key_count > 1) req->flags |= KW_REQF_MULTIKEY;
    if (KW_UNLIKELY(req->flags & KW_REQF_SCRIPT)) note_call(worker, req, argc);
    if (KW_UNLIKELY(plan->serve == KW_SERVE_PUBLISH)) {
        /* Channels live at one node, so that their order is that of one Redis. */
        if (plan->slot < 0) req->slot = (int16_t)worker->home_slot;
        kw_publish_mark(worker, req);
    }
    if (KW_UNLIKELY(plan->kind == KW_PLAN_EXCLUSIVE)) {
        /* WATCH changes nothing: it may be sent again. */
        req->flags |= plan->serve == KW_SERVE_WATCH ? KW_REQF_EXCLUSIVE | KW_REQF_WATCH | KW_REQF_READONLY
                                                    : KW_REQF_EXCLUSIVE | KW_REQF_UNBOUNDED;
        session->hold = true;
    }
    if (KW_UNLIKELY(frame->parse->is_inline)) {
        encode(&worker->scratch, worker->argv, argc);
        bytes = worker->scratch.data;
        len = worker->scratch.len;
        if (len >= KW_REF_MIN) {
            if (kw_request_keep_copy(worker, req, bytes, len)) {
                fail_memory(session, req);
                return;
            }
            bytes = NULL;
        }
    } else if (KW_UNLIKELY(len >= KW_REF_MIN || frame->big_count > 0)) {
        if (take_frame(worker, req, frame)) {
            fail_memory(session, req);
            return;
        }
        bytes = NULL;
    }
    kw_dispatch_new(session, req, bytes, len);
}

/* A large argument that must be looked at (a key, or a command of ours) is made contiguous after all. */
static bool flatten(struct kw_worker *worker, const struct kw_frame_source *frame, uint32_t arg, struct kw_outq *keep) {
    unsigned nth = 0;
    for (uint32_t i = 0; i < arg; i++) nth += frame->parse->args[i].big;
    struct kw_outq *data = &frame->bigs[nth].data;
    struct kw_chunk *chunk = kw_chunk_new_try(worker->pool, data->bytes);
    if (!chunk) return false;
    chunk->len = kw_outq_peek(data, chunk->data, data->bytes);
    int err = kw_outq_ref_try(keep, worker->pool, chunk, 0, chunk->len);
    worker->argv[arg].data = chunk->data;
    kw_chunk_unref(chunk);
    return err == 0;
}

/* Whether an argument must be contiguous to plan the command. */
static bool must_see(const struct kw_command *cmd, uint32_t arg, size_t argc) {
    enum kw_serve serve = kw_planner_serve(cmd);
    if (serve == KW_SERVE_LOCAL || serve == KW_SERVE_SHARDS) return true;
    if (serve == KW_SERVE_SPLIT_SET) return arg % 2 == 1;
    if (cmd->flags & KW_CMD_MOVABLEKEYS || !cmd->keys_simple) {
        /* The script's text and what follows the keys are not looked at; anything else may be a key. */
        return !(cmd->flags & KW_CMD_NOSCRIPT) || arg != 1;
    }
    int last = cmd->last_key < 0 ? (int)argc + cmd->last_key : cmd->last_key;
    return cmd->first_key > 0 && (int)arg >= cmd->first_key && (int)arg <= last &&
           ((int)arg - cmd->first_key) % cmd->key_step == 0;
}

static bool see_large(struct kw_worker *worker, const struct kw_command *cmd, const struct kw_frame_source *frame,
                      struct kw_outq *keep) {
    const struct kw_request_parse *parse = frame->parse;
    for (uint32_t i = 0; i < parse->argc_seen; i++) {
        if (parse->args[i].big && must_see(cmd, i, parse->argc_seen) && !flatten(worker, frame, i, keep)) return false;
    }
    return true;
}

/* Large values by argument, for the split. */
static void split(struct kw_session *session, const struct kw_command *cmd, const struct kw_frame_source *frame,
                  const struct kw_plan *plan, size_t argc) {
    struct kw_worker *worker = session->worker;
    if (frame->big_count == 0) {
        kw_split_request(session, cmd, plan, worker->argv, NULL);
        return;
    }
    struct kw_outq *by_arg = kw_calloc(argc, sizeof(*by_arg));
    unsigned nth = 0;
    for (size_t i = 0; i < argc; i++) {
        if (frame->parse->args[i].big) kw_outq_splice(&by_arg[i], &frame->bigs[nth++].data);
    }
    kw_split_request(session, cmd, plan, worker->argv, by_arg);
    for (size_t i = 0; i < argc; i++) kw_outq_clear(&by_arg[i], worker->pool);
    kw_free(by_arg);
}

static void shards(struct kw_session *session, const struct kw_command *cmd, size_t argc) {
    struct kw_worker *worker = session->worker;
    encode(&worker->scratch, worker->argv, argc);
    struct kw_str frame = worker->scratch;
    worker->scratch = (struct kw_str){0};
    struct kw_broadcast_options options = {.merge = kw_merge_for(cmd, KW_SERVE_SHARDS)};
    kw_broadcast(session, cmd, frame.data, frame.len, &options);
    kw_str_deinit(&frame);
}

/* What SCRIPT LOAD and FLUSH mean for the texts that are kept. EVAL: see note_call. */
static void note_script(struct kw_session *session, const struct kw_command *cmd, size_t argc) {
    struct kw_worker *worker = session->worker;
    struct kw_scripts *scripts = kw_server_scripts(worker->server);
    const struct kw_arg *argv = worker->argv;
    if (session->transaction) return;
    if (strcmp(cmd->name, "script|load") == 0 && argc == 3) {
        kw_scripts_remember(scripts, argv[2].data, argv[2].len);
    } else if (strcmp(cmd->name, "script|flush") == 0 &&
               (argc == 2 || (argc == 3 && (kw_arg_is(&argv[2], "async") || kw_arg_is(&argv[2], "sync"))))) {
        kw_scripts_clear(scripts);
    }
}

/* A command of ours that has to wait for the replies before it. */
static bool must_wait(struct kw_session *session, const struct kw_command *cmd) {
    if (!session->queue_head || !kw_local_wants_idle(cmd)) return false;
    session->wait_idle = true;
    return true;
}

/* What CLIENT PAUSE has to know of a transaction when EXEC comes. */
static void note_queued(struct kw_session *session, const struct kw_command *cmd, size_t argc) {
    bool first = kw_transaction_length(session) <= 1;
    bool before = !first && session->queued_write;
    session->queued_write = before || kw_pause_may_write(session, cmd, session->worker->argv, argc);
}

/* False: not now. `queued` is set when it has become part of a transaction, or was refused there. */
static bool run_plan(struct kw_session *session, const struct kw_command *cmd, const struct kw_frame_source *frame,
                     size_t argc, bool *queued) {
    struct kw_worker *worker = session->worker;
    struct kw_plan plan;
    if (KW_UNLIKELY(cmd->flags & KW_CMD_NOSCRIPT)) note_script(session, cmd, argc);
    if (KW_UNLIKELY(session->transaction != NULL) && kw_transaction_queue(session, cmd, worker->argv, argc, frame)) {
        note_queued(session, cmd, argc);
        *queued = true;
        return true;
    }
    kw_planner_plan(worker->planner, cmd, worker->argv, argc, &plan);
    switch (plan.kind) {
    case KW_PLAN_FORWARD:
    case KW_PLAN_EXCLUSIVE:
        if (plan.serve == KW_SERVE_WATCH && kw_watch_holds(session) && kw_watch_slot(session) != plan.slot) {
            kw_str_clear(&worker->scratch);
            kw_str_resp_error(&worker->scratch,
                              "CROSSSLOT Keys watched don't hash to the same slot: %d after %d; a common hash tag in "
                              "all names would fix it",
                              plan.slot, kw_watch_slot(session));
            reject(session, cmd, &worker->scratch);
            break;
        }
        forward(session, cmd, frame, &plan, argc);
        break;
    case KW_PLAN_SPLIT: split(session, cmd, frame, &plan, argc); break;
    case KW_PLAN_LOCAL:
        if (must_wait(session, cmd)) return false;
        kw_local_run(session, cmd, worker->argv, argc);
        break;
    case KW_PLAN_SHARDS: shards(session, cmd, argc); break;
    case KW_PLAN_ERROR: reject(session, cmd, plan.error); break;
    }
    return true;
}

/* The same while somebody monitors or a pause is in force. */
static bool run_alert(struct kw_session *session, const struct kw_command *cmd, const struct kw_frame_source *frame,
                      size_t argc) {
    struct kw_worker *worker = session->worker;
    if (kw_monitor_refuses(session, cmd)) {
        kw_str_clear(&worker->scratch);
        kw_str_resp_error(&worker->scratch, "ERR Replica can't interact with the keyspace");
        reject(session, cmd, &worker->scratch);
        return true;
    }
    if (kw_pause_holds(session, cmd, worker->argv, argc)) return false;
    struct kw_str line = {0};
    const struct kw_request *last = session->queue_tail;
    bool queued = false;
    kw_monitor_line(session, cmd, worker->argv, frame->parse, frame->bigs, &line);
    bool taken = run_plan(session, cmd, frame, argc, &queued);
    if (taken && !queued) {
        const struct kw_request *sent = session->queue_tail;
        if (sent && sent != last) kw_monitor_show_queued(session, sent);
        kw_monitor_show(session, &line);
    }
    kw_str_deinit(&line);
    return taken;
}

/* A value flows through: all that a monitor is shown of it is its size. */
static void show_stream(struct kw_session *session, const struct kw_command *cmd,
                        const struct kw_request_parse *parse) {
    struct kw_str line = {0};
    kw_monitor_line(session, cmd, session->worker->argv, parse, NULL, &line);
    kw_monitor_show(session, &line);
    kw_str_deinit(&line);
}

bool kw_command_request(struct kw_session *session, const struct kw_frame_source *frame) {
    struct kw_worker *worker = session->worker;
    size_t argc = frame->parse->argc_seen;
    session->reply_skip = session->reply_skip_next;
    session->reply_skip_next = false;
    if (!fill_argv(worker, frame->parse, frame->base, (uint32_t)argc)) {
        kw_session_close(session);
        return true;
    }
    const struct kw_command *cmd = find_command(session, argc, argc);
    if (!cmd) return true;
    if (KW_UNLIKELY(session->tracking)) kw_tracking_next_command(session, cmd);
    struct kw_outq flattened = {0};
    bool taken = true;
    if (KW_UNLIKELY(frame->big_count > 0) && !see_large(worker, cmd, frame, &flattened)) {
        kw_session_close(session);
    } else {
        bool queued = false;
        taken = KW_UNLIKELY(kw_alert_word(worker->alert)) ? run_alert(session, cmd, frame, argc)
                                                          : run_plan(session, cmd, frame, argc, &queued);
        if (!taken) {
            /* What was said for this command still holds when it is given again. */
            session->reply_skip_next = session->reply_skip;
            if (session->tracking) kw_tracking_caching(session, kw_tracking_caching_now(session));
        }
    }
    kw_outq_clear(&flattened, worker->pool);
    return taken;
}

bool kw_command_stream(struct kw_session *session, struct kw_intake *intake) {
    struct kw_worker *worker = session->worker;
    const struct kw_request_parse *parse = &intake->parse;
    uint32_t have = parse->argc_seen;
    if (intake->big_count > 1 || !fill_argv(worker, parse, intake->carry->data, have)) return false;
    const struct kw_command *cmd = kw_command_lookup(worker->argv[0].data, worker->argv[0].len);
    int slot;
    /* Anything unusual is left to the ordinary way, which collects the frame and says what is wrong. */
    if (!cmd || session->transaction || cmd->container || !kw_command_arity_ok(cmd, parse->argc) ||
        !session->authenticated || session->monitor)
        return false;
    if (!kw_planner_plan_early(worker->planner, cmd, worker->argv, parse->argc, have, &slot)) return false;
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    bool known = kw_command_keys_early(cmd, worker->argv, parse->argc, have, &keys) > 0;
    const struct kw_arg *key = known ? &worker->argv[keys.pos[0]] : NULL;
    struct kw_request *req = NULL;
    if (key && key->len < KW_REF_MIN) {
        session->reply_skip = session->reply_skip_next;
        session->reply_skip_next = false;
        req = request_for(session, cmd, slot);
        req->flags |= KW_REQF_EXCLUSIVE | KW_REQF_STREAMED;
        session->hold = true;
        session->last_command = (uint16_t)(cmd->id + 1);
        if (kw_request_keep_copy(worker, req, key->data, key->len)) {
            fail_memory(session, req);
            session->hold = false;
            req = NULL;
        }
    }
    kw_key_positions_deinit(&keys);
    if (!req) return false;
    intake->stream = req;
    if (KW_UNLIKELY(kw_alert_word(worker->alert))) {
        show_stream(session, cmd, parse);
        if (kw_pause_holds(session, cmd, worker->argv, have)) return true;
    }
    kw_dispatch_new(session, req, NULL, 0);
    return true;
}
