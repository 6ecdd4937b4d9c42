/* A message that posts itself onwards; see tour.h. */
#include "proxy/tour.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

struct walk {
    struct kw_message message;
    struct kw_tour tour;
    struct kw_worker *home;
    struct kw_request *req;
    unsigned next;
};

struct job {
    struct kw_message message;
    struct kw_server *server;
    struct kw_worker *home;
    struct kw_request *req;
    void (*run)(struct kw_server *, const struct kw_arg *, size_t, int, struct kw_str *);
    int resp;
    struct kw_arg *argv; /* own, with their bytes */
    size_t argc;
    struct kw_str out;
};

struct kw_request *kw_request_new_async(struct kw_session *session, const struct kw_command *cmd) {
    struct kw_request *req = kw_request_new(session->worker);
    req->cmd = cmd;
    req->flags |= KW_REQF_LOCAL | KW_REQF_ASYNC;
    req->start_us = kw_worker_now_us(session->worker);
    kw_request_enqueue(session, req);
    return req;
}

void kw_request_finish_async(struct kw_worker *worker, struct kw_request *req, const struct kw_str *reply) {
    worker->async_requests--;
    req->flags &= ~(uint32_t)KW_REQF_ASYNC;
    kw_stats_command(&worker->stats, req->cmd, kw_worker_now_us(worker) - req->start_us, reply->data[0] == '-');
    if (reply->data[0] == '-') kw_stats_error(&worker->stats, reply->data, reply->len);
    kw_request_reply_text(worker, req, reply->data, reply->len);
    kw_request_complete(worker, req);
}

static void walk_home(struct kw_worker *worker, struct kw_message *message) {
    struct walk *walk = KW_CONTAINER_OF(message, struct walk, message);
    struct kw_str out = {0};
    walk->tour.finish(worker, walk->tour.context, kw_request_resp(walk->req), &out);
    /* Nothing written: somebody goes on with the request. */
    if (out.len) kw_request_finish_async(worker, walk->req, &out);
    kw_str_deinit(&out);
    walk->tour.free_context(walk->tour.context);
    kw_free(walk);
}

/* On to the next worker that still runs, or home; home stays for as long as it has such a request. */
static void walk_on(struct walk *walk) {
    struct kw_server *server = walk->home->server;
    while (walk->next < kw_server_worker_count(server)) {
        if (kw_worker_post(kw_server_worker(server, walk->next++), &walk->message)) return;
    }
    walk->message.run = walk_home;
    bool posted = kw_worker_post(walk->home, &walk->message);
    KW_ASSERT(posted);
}

static void walk_step(struct kw_worker *worker, struct kw_message *message) {
    struct walk *walk = KW_CONTAINER_OF(message, struct walk, message);
    walk->tour.visit(worker, walk->tour.context);
    walk_on(walk);
}

void kw_tour_start(struct kw_worker *home, struct kw_request *req, const struct kw_tour *tour) {
    struct walk *walk = kw_calloc(1, sizeof(*walk));
    walk->message.run = walk_step;
    walk->tour = *tour;
    walk->home = home;
    walk->req = req;
    home->async_requests++;
    walk_on(walk);
}

static void job_home(struct kw_worker *worker, struct kw_message *message) {
    struct job *job = KW_CONTAINER_OF(message, struct job, message);
    kw_request_finish_async(worker, job->req, &job->out);
    kw_str_deinit(&job->out);
    for (size_t i = 0; i < job->argc; i++) kw_free((void *)job->argv[i].data);
    kw_free(job->argv);
    kw_free(job);
}

static void job_run(struct kw_worker *worker, struct kw_message *message) {
    (void)worker;
    struct job *job = KW_CONTAINER_OF(message, struct job, message);
    job->run(job->server, job->argv, job->argc, job->resp, &job->out);
    message->run = job_home;
    bool posted = kw_worker_post(job->home, message);
    KW_ASSERT(posted);
}

void kw_job_start(struct kw_worker *home, struct kw_request *req, const struct kw_arg *argv, size_t argc,
                  void (*run)(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp,
                              struct kw_str *out)) {
    struct job *job = kw_calloc(1, sizeof(*job));
    job->message.run = job_run;
    home->async_requests++;
    job->server = home->server;
    job->home = home;
    job->req = req;
    job->run = run;
    job->argc = argc;
    job->resp = kw_request_resp(req);
    job->argv = kw_calloc(argc, sizeof(*job->argv));
    for (size_t i = 0; i < argc; i++) {
        job->argv[i] = (struct kw_arg){kw_strndup(argv[i].data, argv[i].len), argv[i].len};
    }
    kw_server_post(home->server, &job->message);
}
