/*
 * KEYWAY: what may be asked of the metadata service, and changed in its live
 * settings, through a proxy. The request goes to the main thread, which holds
 * the link to the service, and comes home with the answer; in between it waits
 * in its session's queue, as any other. A change carries a request id, so that
 * the client library may repeat it when a metadata node is lost: the service
 * makes it once.
 */
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "proxy/local/local.h"
#include "proxy/meta/follow.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/worker.h"

enum { NAME_SHOWN_BYTES = 64, ID_BYTES = 16, EXTRA_ARGS = 2 };

/* What passes. */
static const struct {
    const char *word, *second; /* of CONFIG; NULL: none */
    bool changes;
} passes[] = {
    {"help", NULL, false},   {"status", NULL, false},  {"shards", NULL, false}, {"slots", NULL, false},
    {"nodes", NULL, false},  {"proxies", NULL, false}, {"ops", NULL, false},    {"config", "get", false},
    {"config", "set", true}, {"config", "del", true},
};

struct question {
    struct kw_message message;
    struct kw_server *server;
    struct kw_worker *home;
    struct kw_request *req; /* borrowed; asynchronous until the answer is home */
    char **argv;            /* own, with their bytes */
    size_t *argv_len;       /* own */
    size_t argc;
    int resp;
    bool changes;
    struct kw_str out; /* own */
};

static void put_error(struct kw_str *out, int err, bool changes) {
    kw_str_clear(out);
    switch (err) {
    case KW_EUNREACHABLE:
        kw_str_resp_error(out, "ERR no metadata node answers (see INFO metadata); nothing was done");
        break;
    case KW_ELIMIT:
        kw_str_resp_error(out, "ERR too large for the way through the proxy, or too much is under way: ask a metadata "
                               "node itself");
        break;
    case KW_ELINKLOST:
    case KW_ETIMEOUT:
        if (changes) {
            kw_str_resp_error(out, "INDOUBT the metadata service did not answer in time: the change may have been made "
                                   "or not");
        } else {
            kw_str_resp_error(out, "TIMEOUT the metadata service did not answer in time");
        }
        break;
    default: kw_str_resp_error(out, "ERR metadata service: %s", kw_error_text(err)); break;
    }
}

static void question_home(struct kw_worker *worker, struct kw_message *message) {
    struct question *question = KW_CONTAINER_OF(message, struct question, message);
    kw_request_finish_async(worker, question->req, &question->out);
    kw_str_deinit(&question->out);
    for (size_t i = 0; i < question->argc; i++) kw_free(question->argv[i]);
    kw_free((void *)question->argv);
    kw_free(question->argv_len);
    kw_free(question);
}

static void on_answer(void *ctx, int err, const char *reply, size_t len) {
    struct question *question = ctx;
    if (err) {
        put_error(&question->out, err, question->changes);
    } else {
        kw_str_append(&question->out, reply, len);
    }
    question->message.run = question_home;
    bool posted = kw_worker_post(question->home, &question->message);
    KW_ASSERT(posted); /* it stays for as long as it has such a request */
}

/* Main thread. */
static void question_ask(struct kw_worker *worker, struct kw_message *message) {
    struct question *question = KW_CONTAINER_OF(message, struct question, message);
    struct kw_meta_client_ask ask = {
        .argc = question->argc,
        .argv = (const char *const *)question->argv,
        .argv_len = question->argv_len,
        .resp = question->resp,
        .repeatable = true,
        .fn = on_answer,
        .ctx = question,
    };
    (void)worker;
    int err = kw_follow_ask(kw_server_follow(question->server), &ask);
    if (err) on_answer(question, err, NULL, 0);
}

static void add_arg(struct question *question, const char *bytes, size_t len) {
    question->argv[question->argc] = kw_strndup(bytes, len);
    question->argv_len[question->argc++] = len;
}

/* KEYWAY ID <32 hexadecimal digits> ... */
static void add_request_id(struct question *question) {
    unsigned char id[ID_BYTES];
    char text[2 * ID_BYTES + 1];
    ssize_t got = getrandom(id, sizeof(id), 0);
    KW_ASSERT(got == (ssize_t)sizeof(id)); /* so few bytes come whole */
    for (size_t i = 0; i < sizeof(id); i++) snprintf(text + 2 * i, 3, "%02x", id[i]);
    add_arg(question, "ID", 2);
    add_arg(question, text, sizeof(text) - 1);
}

static void ask(struct kw_local_call *call, bool changes) {
    struct kw_worker *worker = call->session->worker;
    struct question *question = kw_calloc(1, sizeof(*question));
    question->message.run = question_ask;
    question->server = worker->server;
    question->home = worker;
    question->req = kw_request_new_async(call->session, call->cmd);
    question->resp = call->resp;
    question->changes = changes;
    question->argv = (char **)kw_calloc(call->argc + EXTRA_ARGS, sizeof(char *));
    question->argv_len = kw_calloc(call->argc + EXTRA_ARGS, sizeof(*question->argv_len));
    add_arg(question, call->argv[0].data, call->argv[0].len);
    if (changes) add_request_id(question);
    for (size_t i = 1; i < call->argc; i++) add_arg(question, call->argv[i].data, call->argv[i].len);
    worker->async_requests++;
    kw_server_post(worker->server, &question->message);
}

/* Whether the words pass; one that lacks its second word does, and is told so by the service. */
static bool may_pass(const struct kw_arg *argv, size_t argc, bool *changes) {
    for (size_t i = 0; i < KW_ARRAY_LEN(passes); i++) {
        if (!kw_arg_is(&argv[0], passes[i].word)) continue;
        if (passes[i].second && argc > 1 && !kw_arg_is(&argv[1], passes[i].second)) continue;
        *changes = passes[i].changes;
        return true;
    }
    return false;
}

void kw_local_keyway(struct kw_local_call *call) {
    bool linear = kw_arg_is(&call->argv[1], "linear") && call->argc > 2;
    const struct kw_arg *words = call->argv + (linear ? 2 : 1);
    bool changes = false;
    if (!kw_server_follow(call->session->worker->server)) {
        kw_str_resp_error(call->out, "ERR no metadata service is configured (directive meta-nodes)");
    } else if (!may_pass(words, (size_t)(call->argv + call->argc - words), &changes) || (linear && changes)) {
        int shown = words[0].len > NAME_SHOWN_BYTES ? NAME_SHOWN_BYTES : (int)words[0].len;
        kw_str_resp_error(call->out, "ERR KEYWAY %.*s does not pass through the proxy: use keyway-cli", shown,
                          words[0].data);
    } else {
        ask(call, changes);
    }
}
