/*
 * CLIENT UNBLOCK. The client is looked for on every worker. One that is blocked
 * at a node is unblocked by the node, so that the reply has the shape that its
 * command wants: the asking client's request is sent there, with the name that
 * the private link has at the node, and the node's answer is its answer. One
 * that waits here for a node is answered here. A link that is still being made
 * has no name yet; the search waits for it at that worker.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/local.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tour.h"
#include "proxy/upstream/link.h"
#include "proxy/worker.h"

enum { AGAIN_MS = 2 };

struct search {
    struct kw_message message;
    uv_timer_t again;
    struct kw_worker *home;
    struct kw_request *req; /* borrowed; asynchronous until the search is home */
    unsigned next;
    uint64_t id;
    bool error; /* ERROR instead of TIMEOUT */
    bool done;  /* answered at its worker */
    char *host; /* own; of the node where it is blocked */
    unsigned port;
    uint64_t node_client_id; /* 0: nowhere */
};

static void search_free(struct search *search) {
    kw_free(search->host);
    kw_free(search);
}

/* The client's blocking command, once nothing is before it. */
static struct kw_request *blocked_request(struct kw_worker *worker, uint64_t id) {
    for (struct kw_session *session = worker->sessions; session; session = session->next) {
        if (session->id != id) continue;
        struct kw_request *req = session->queue_head;
        const uint32_t blocking = KW_REQF_EXCLUSIVE | KW_REQF_UNBOUNDED;
        return req && (req->flags & blocking) == blocking ? req : NULL;
    }
    return NULL;
}

/* It waits for a node to come back. */
static void answer_here(struct kw_worker *worker, struct kw_request *req, bool error) {
    struct kw_str reply = {0};
    if (error) {
        kw_str_resp_error(&reply, "UNBLOCKED client unblocked via CLIENT UNBLOCK");
    } else {
        kw_str_resp_null_array(&reply, kw_request_resp(req));
    }
    kw_request_reply_text(worker, req, reply.data, reply.len);
    kw_str_deinit(&reply);
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

/* False: the link has no name at its node yet, or the command has not left. */
static bool look_at(struct search *search, struct kw_request *req) {
    struct kw_link *link = req->link;
    if (req->state == KW_REQ_PARKED) {
        answer_here(req->session->worker, req, search->error);
        search->done = true;
        return true;
    }
    if (req->state != KW_REQ_INFLIGHT || !link || !link->node) return true;
    if (!link->node_client_id || kw_link_sent_offset(link) < req->link_end) return false;
    search->host = kw_strndup(link->node->host, strlen(link->node->host));
    search->port = link->node->port;
    search->node_client_id = link->node_client_id;
    return true;
}

static void search_step(struct kw_worker *worker, struct kw_message *message);
static void search_home(struct kw_worker *worker, struct kw_message *message);

static void search_on(struct search *search) {
    struct kw_server *server = search->home->server;
    bool found = search->done || search->node_client_id;
    search->message.run = search_step;
    while (!found && search->next < kw_server_worker_count(server)) {
        if (kw_worker_post(kw_server_worker(server, search->next), &search->message)) return;
        search->next++;
    }
    search->message.run = search_home;
    bool posted = kw_worker_post(search->home, &search->message);
    KW_ASSERT(posted); /* it stays for as long as it has such a request */
}

static void on_again_closed(uv_handle_t *handle) {
    search_on(handle->data);
}

static void on_again(uv_timer_t *timer) {
    uv_close((uv_handle_t *)timer, on_again_closed);
}

static void search_step(struct kw_worker *worker, struct kw_message *message) {
    struct search *search = KW_CONTAINER_OF(message, struct search, message);
    struct kw_request *req = blocked_request(worker, search->id);
    if (req && !worker->stopping && !look_at(search, req)) {
        uv_timer_init(&worker->loop, &search->again);
        search->again.data = search;
        uv_timer_start(&search->again, on_again, AGAIN_MS, 0);
        return;
    }
    search->next++;
    search_on(search);
}

/* The request becomes an ordinary one that goes to that node. */
static void ask_node(struct kw_worker *worker, struct search *search) {
    struct kw_request *req = search->req;
    char id[24];
    struct kw_str text = {0};
    snprintf(id, sizeof(id), "%llu", (unsigned long long)search->node_client_id);
    kw_str_resp_array(&text, 4);
    kw_str_resp_text(&text, "CLIENT");
    kw_str_resp_text(&text, "UNBLOCK");
    kw_str_resp_text(&text, id);
    kw_str_resp_text(&text, search->error ? "ERROR" : "TIMEOUT");
    worker->async_requests--;
    req->flags &= ~(uint32_t)(KW_REQF_ASYNC | KW_REQF_LOCAL);
    req->target = kw_node_get(worker, search->host, search->port);
    kw_dispatch_new(req->session, req, text.data, text.len);
    kw_str_deinit(&text);
}

static void search_home(struct kw_worker *worker, struct kw_message *message) {
    struct search *search = KW_CONTAINER_OF(message, struct search, message);
    if (search->node_client_id && search->req->session) {
        ask_node(worker, search);
    } else {
        struct kw_str reply = {0};
        kw_str_resp_int(&reply, search->done);
        kw_request_finish_async(worker, search->req, &reply);
        kw_str_deinit(&reply);
    }
    search_free(search);
}

void kw_local_client_unblock(struct kw_local_call *call) {
    long long id;
    bool error = false;
    if (call->argc > 4) {
        kw_local_client_syntax(call);
        return;
    }
    if (call->argc == 4) {
        error = kw_arg_is(&call->argv[3], "error");
        if (!error && !kw_arg_is(&call->argv[3], "timeout")) {
            kw_str_resp_error(call->out, "ERR CLIENT UNBLOCK reason should be TIMEOUT or ERROR");
            return;
        }
    }
    if (!kw_arg_int(&call->argv[2], &id)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
        return;
    }
    struct search *search = kw_calloc(1, sizeof(*search));
    search->home = call->session->worker;
    search->req = kw_request_new_async(call->session, call->cmd);
    search->id = (uint64_t)id;
    search->error = error;
    search->home->async_requests++;
    search_on(search);
}
