/*
 * Answers that need more than this worker: a tour visits every worker on its
 * own thread, one after the other, and comes home with what it gathered; a job
 * runs on the main thread. The request waits in its session's queue meanwhile.
 */
#ifndef KW_PROXY_TOUR_H
#define KW_PROXY_TOUR_H

#include <stdbool.h>

#include "base/arg.h"
#include "base/str.h"
#include "proxy/request/request.h"

struct kw_server;

struct kw_tour {
    void (*visit)(struct kw_worker *worker, void *context);
    /* At home: writes the reply, in RESP2 or 3; or nothing, when it finishes the request later. */
    void (*finish)(struct kw_worker *worker, void *context, int resp, struct kw_str *out);
    void (*free_context)(void *context);
    void *context; /* own */
};

/* A request in the session's queue that somebody will complete by kw_request_finish_async. */
struct kw_request *kw_request_new_async(struct kw_session *session, const struct kw_command *cmd);
void kw_request_finish_async(struct kw_worker *worker, struct kw_request *req, const struct kw_str *reply);

/* Starts at once; completes `req` (asynchronous) on `home`. */
void kw_tour_start(struct kw_worker *home, struct kw_request *req, const struct kw_tour *tour);

/* Runs `run` on the main thread with a copy of the arguments, then completes `req` on `home`. */
void kw_job_start(struct kw_worker *home, struct kw_request *req, const struct kw_arg *argv, size_t argc,
                  void (*run)(struct kw_server *server, const struct kw_arg *argv, size_t argc, int resp,
                              struct kw_str *out));

#endif
