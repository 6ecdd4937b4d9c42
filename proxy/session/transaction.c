/* See transaction.h. A transaction belongs to its session and lives from MULTI to EXEC, DISCARD, RESET or the end. */
#include "proxy/session/transaction.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/str.h"
#include "proxy/local/local.h"
#include "proxy/pubsub/publish.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/intake.h"
#include "proxy/session/session.h"
#include "proxy/session/watch.h"
#include "proxy/upstream/script_load.h"
#include "proxy/worker.h"

struct kw_transaction {
    struct kw_str frames; /* own; MULTI and what was queued, as they go to the node */
    unsigned count;
    int slot; /* -1: no key so far */
    bool spoiled;
    bool publishes;
    bool calls_scripts; /* by digest */
    bool brings_scripts;
    uint16_t *commands; /* own; ids of what was queued, for the counters */
    unsigned commands_cap;
};

bool kw_transaction_begin(struct kw_session *session) {
    if (session->transaction) return false;
    session->transaction = kw_calloc(1, sizeof(*session->transaction));
    session->transaction->slot = kw_watch_slot(session);
    kw_str_append_text(&session->transaction->frames, "*1\r\n$5\r\nMULTI\r\n");
    return true;
}

void kw_transaction_spoil(struct kw_session *session) {
    if (session->transaction) session->transaction->spoiled = true;
}

void kw_transaction_discard(struct kw_session *session) {
    if (!session->transaction) return;
    kw_str_deinit(&session->transaction->frames);
    kw_free(session->transaction->commands);
    kw_free(session->transaction);
    session->transaction = NULL;
}

int kw_transaction_length(const struct kw_session *session) {
    return session->transaction ? (int)session->transaction->count : -1;
}

/* These act on the transaction itself, or end it. */
static bool runs_now(const struct kw_command *cmd) {
    static const char *const names[] = {"exec", "discard", "multi", "quit", "reset"};
    for (size_t i = 0; i < KW_ARRAY_LEN(names); i++) {
        if (strcmp(cmd->name, names[i]) == 0) return true;
    }
    return false;
}

/* Answered by the proxy elsewhere, but a node's answer is as good. */
static bool node_can_answer(const struct kw_command *cmd) {
    return strcmp(cmd->name, "ping") == 0 || strcmp(cmd->name, "echo") == 0 || strcmp(cmd->name, "time") == 0 ||
           strcmp(cmd->name, "select") == 0 || strcmp(cmd->name, "unwatch") == 0;
}

/* The slot that the command needs (-1: any), or false after the error was written. */
static bool slot_of(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                    int *slot, struct kw_str *error) {
    struct kw_plan plan;
    *slot = -1;
    if (node_can_answer(cmd)) return true;
    if (cmd->flags & KW_CMD_NO_MULTI) {
        kw_str_resp_error(error, "ERR Command not allowed inside a transaction");
        return false;
    }
    kw_planner_plan(session->worker->planner, cmd, argv, argc, &plan);
    switch (plan.kind) {
    case KW_PLAN_FORWARD:
    case KW_PLAN_EXCLUSIVE: *slot = plan.slot; return true;
    case KW_PLAN_ERROR: kw_str_append(error, plan.error->data, plan.error->len); return false;
    case KW_PLAN_SPLIT:
        kw_str_resp_error(error,
                          "CROSSSLOT Keys in request don't hash to the same slot: inside MULTI '%s' cannot be split",
                          cmd->name);
        return false;
    default: kw_str_resp_error(error, "ERR '%s' is not supported through Keyway inside MULTI", cmd->name); return false;
    }
}

static void append_frame(struct kw_str *to, const struct kw_arg *argv, size_t argc,
                         const struct kw_frame_source *frame) {
    if (frame->parse->is_inline) {
        kw_str_resp_array(to, argc);
        for (size_t i = 0; i < argc; i++) kw_str_resp_bulk(to, argv[i].data, argv[i].len);
        return;
    }
    size_t done = 0;
    for (unsigned i = 0; i < frame->big_count; i++) {
        kw_str_append(to, frame->base + done, frame->bigs[i].at - done);
        done = frame->bigs[i].at;
        for (const struct kw_seg *seg = frame->bigs[i].data.head; seg; seg = seg->next) {
            kw_str_append(to, seg->chunk->data + seg->off, seg->len);
        }
    }
    kw_str_append(to, frame->base + done, frame->len - done);
}

static void note_command(struct kw_transaction *txn, const struct kw_command *cmd) {
    if (txn->count == txn->commands_cap) {
        txn->commands_cap = txn->commands_cap ? txn->commands_cap * 2 : 8;
        txn->commands = kw_realloc(txn->commands, txn->commands_cap * sizeof(*txn->commands));
    }
    txn->commands[txn->count++] = (uint16_t)cmd->id;
}

/* Each queued command has run once; its own time is not known. */
static void count_commands(struct kw_session *session) {
    const struct kw_transaction *txn = session->transaction;
    for (unsigned i = 0; i < txn->count; i++) {
        kw_stats_command(&session->worker->stats, kw_command_by_id(txn->commands[i]), 0, false);
    }
}

bool kw_transaction_queue(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                          size_t argc, const struct kw_frame_source *frame) {
    struct kw_transaction *txn = session->transaction;
    if (runs_now(cmd)) return false;
    struct kw_str reply = {0};
    if (strcmp(cmd->name, "watch") == 0) {
        kw_str_resp_error(&reply, "ERR WATCH inside MULTI is not allowed");
        kw_command_answer(session, &reply);
        kw_str_deinit(&reply);
        return true;
    }
    int slot;
    bool ok = slot_of(session, cmd, argv, argc, &slot, &reply);
    if (ok && slot >= 0 && txn->slot >= 0 && slot != txn->slot) {
        kw_str_resp_error(
            &reply,
            "CROSSSLOT Keys in transaction don't hash to the same slot: '%s' is for slot %d, what was watched or "
            "queued before it for slot %d; a common hash tag in all names would fix it",
            cmd->name, slot, txn->slot);
        ok = false;
    }
    if (ok) {
        if (slot >= 0) txn->slot = slot;
        txn->calls_scripts |= strncmp(cmd->name, "evalsha", 7) == 0;
        txn->brings_scripts |= strcmp(cmd->name, "eval") == 0 || strcmp(cmd->name, "eval_ro") == 0;
        txn->publishes |= kw_planner_serve(cmd) == KW_SERVE_PUBLISH;
        if (!txn->spoiled) append_frame(&txn->frames, argv, argc, frame);
        note_command(txn, cmd);
        kw_str_resp_simple(&reply, "QUEUED");
    } else {
        txn->spoiled = true;
        kw_stats_error(&session->worker->stats, reply.data, reply.len);
        kw_stats_rejected(&session->worker->stats, cmd);
    }
    kw_command_answer(session, &reply);
    kw_str_deinit(&reply);
    /* What is queued counts as a request being received. */
    if (txn->frames.len > kw_server_limits(session->worker->server)->query_buffer_max) kw_session_close(session);
    return true;
}

static void send_all(struct kw_session *session, const struct kw_command *cmd) {
    struct kw_transaction *txn = session->transaction;
    struct kw_worker *worker = session->worker;
    if (txn->brings_scripts) {
        kw_scripts_remember_all(kw_server_scripts(worker->server), txn->frames.data, txn->frames.len);
    }
    kw_str_append_text(&txn->frames, "*1\r\n$4\r\nEXEC\r\n");
    struct kw_request *req = kw_request_new(worker);
    req->cmd = cmd;
    req->slot = (int16_t)txn->slot;
    req->start_us = kw_worker_now_us(worker);
    req->flags |= KW_REQF_MULTIKEY;
    req->skip_total = txn->count + 1;
    if (txn->calls_scripts) req->flags |= KW_REQF_EVALSHA;
    if (txn->publishes) kw_publish_mark(worker, req);
    if (kw_watch_holds(session)) {
        req->flags |= KW_REQF_EXCLUSIVE | KW_REQF_WATCH;
        session->hold = true;
    }
    kw_request_enqueue(session, req);
    if (txn->frames.len < KW_REF_MIN) {
        kw_dispatch_new(session, req, txn->frames.data, txn->frames.len);
    } else if (kw_request_keep_copy(worker, req, txn->frames.data, txn->frames.len)) {
        kw_request_reply_error(worker, req, "ERR out of memory");
        kw_request_complete(worker, req);
    } else {
        kw_dispatch_new(session, req, NULL, 0);
    }
}

void kw_transaction_exec(struct kw_session *session, const struct kw_command *cmd) {
    struct kw_transaction *txn = session->transaction;
    struct kw_str reply = {0};
    if (txn->spoiled) {
        kw_str_resp_error(&reply, "EXECABORT Transaction discarded because of previous errors.");
        kw_stats_error(&session->worker->stats, reply.data, reply.len);
        kw_watch_release(session);
    } else if (kw_watch_is_lost(session)) {
        kw_str_resp_null_array(&reply, kw_session_resp(session));
        kw_watch_release(session);
    } else if (txn->count == 0 && !kw_watch_holds(session)) {
        kw_str_resp_array(&reply, 0);
    } else {
        count_commands(session);
        send_all(session, cmd);
    }
    kw_command_answer(session, &reply);
    kw_str_deinit(&reply);
    kw_transaction_discard(session);
}
