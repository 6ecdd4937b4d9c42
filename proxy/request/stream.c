/*
 * Exclusive requests. A streamed one asks the node first whether it serves the
 * key (EXISTS answers with the redirect that the command itself would get), for
 * once its bytes have flowed they cannot be sent again.
 */
#include "proxy/request/stream.h"

#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "base/str.h"
#include "proxy/request/blocking.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/redirect.h"
#include "proxy/request/route.h"
#include "proxy/session/intake.h"
#include "proxy/session/session.h"
#include "proxy/session/watch.h"
#include "proxy/upstream/link.h"
#include "proxy/worker.h"

enum { LINK_QUEUE_MAX = 512 * 1024 };

static struct kw_intake *intake_of(const struct kw_request *req) {
    struct kw_intake *intake = req->session ? req->session->intake : NULL;
    return intake && intake->stream == req ? intake : NULL;
}

static void unpark(struct kw_request *req, struct kw_link *link) {
    kw_dispatch_unpark(req);
    req->link = link;
}

static bool probe(struct kw_link *link, struct kw_request *req) {
    struct kw_str *text = &link->worker->scratch;
    const struct kw_arg key = {req->frame.chunk->data + req->frame.off, req->frame.len};
    kw_str_clear(text);
    kw_str_resp_array(text, 2);
    kw_str_resp_text(text, "EXISTS");
    kw_str_resp_bulk(text, key.data, key.len);
    if (req->ask && kw_link_send_internal(link, "*1\r\n$6\r\nASKING\r\n", 16, 0, NULL)) return false;
    return kw_link_send_internal(link, text->data, text->len, KW_REQF_PROBE, NULL) == 0;
}

static struct kw_link *link_for(struct kw_worker *worker, const struct kw_request *req) {
    if (req->flags & KW_REQF_WATCH && kw_watch_link(req->session)) return kw_watch_link(req->session);
    struct kw_node *node = kw_route_node(worker, req);
    return node ? kw_link_get_private(node, kw_request_resp(req)) : NULL;
}

bool kw_stream_start(struct kw_worker *worker, struct kw_request *req) {
    if (kw_watch_is_exec(req) && !kw_watch_link(req->session)) {
        kw_watch_exec_failed(worker, req);
        return true;
    }
    struct kw_link *link = link_for(worker, req);
    if (link && req->attempts > 0 && kw_blocking_is(req)) kw_blocking_shorten(worker, req);
    if (!link) {
        req->retry_us = kw_worker_now_us(worker) + 10000;
        return false;
    }
    unpark(req, link);
    int err;
    if (req->flags & KW_REQF_STREAMED) {
        link->streaming = req;
        err = probe(link, req) ? 0 : KW_ENOMEM;
    } else {
        err = kw_link_send(link, req, NULL, 0);
    }
    if (err) {
        kw_link_close(link, "out of memory");
        return req->state != KW_REQ_PARKED;
    }
    return true;
}

void kw_stream_probed(struct kw_link *link, const char *text, size_t len) {
    struct kw_request *req = link->streaming;
    if (!req) return;
    if (text[0] == '-') {
        /* Judged as the reply of the command itself: a redirect parks it, anything else is its answer. */
        kw_request_reply_text(link->worker, req, text, len);
        req->flags &= ~(uint32_t)KW_REQF_STREAMED;
        bool parked = kw_redirect_handle(link, req, text, len);
        req->flags |= KW_REQF_STREAMED;
        if (parked) return;
        kw_stream_finished(link, req);
        kw_stream_forget(req);
        kw_dispatch_forget(req);
        kw_request_complete(link->worker, req);
        return;
    }
    if (req->ask && kw_link_send_internal(link, "*1\r\n$6\r\nASKING\r\n", 16, 0, NULL)) {
        kw_link_close(link, "out of memory");
        return;
    }
    struct kw_intake *intake = intake_of(req);
    KW_ASSERT(intake);
    intake->stream_open = true;
    kw_link_await(link, req);
    kw_session_resume(req->session);
}

/* The frame has not been sent whole: nobody can use the link any more. */
static bool half_sent(const struct kw_request *req) {
    return intake_of(req) != NULL && intake_of(req)->stream_sent > 0;
}

void kw_stream_forget(struct kw_request *req) {
    struct kw_intake *intake = intake_of(req);
    if (!intake) return;
    intake->stream_open = false;
    intake->stream = NULL;
    kw_session_resume(req->session);
}

void kw_stream_finished(struct kw_link *link, struct kw_request *req) {
    bool half = half_sent(req);
    link->streaming = NULL;
    struct kw_intake *intake = intake_of(req);
    if (intake) intake->stream_open = false;
    if (half) {
        kw_link_close(link, "the node answered before it had the whole command");
    } else if (req->flags & KW_REQF_WATCH) {
        kw_watch_answered(req, link);
    } else {
        kw_link_put_private(link);
    }
}

void kw_stream_lost(struct kw_worker *worker, struct kw_request *req, const char *addr, const char *why, bool ran) {
    if (!half_sent(req) && !ran && intake_of(req)) {
        intake_of(req)->stream_open = false;
        kw_dispatch_park(req, 0);
        return;
    }
    kw_stream_forget(req);
    if (ran) {
        kw_request_reply_error(
            worker, req,
            "INDOUBT The connection to node %s was lost (%s) after the command was sent: it may have "
            "run or not",
            addr, why);
    } else {
        kw_request_reply_error(
            worker, req,
            "TRYAGAIN The connection to node %s was lost (%s) while a large value was on its way; the "
            "command did not run",
            addr, why);
    }
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

bool kw_stream_ready(const struct kw_session *session) {
    const struct kw_intake *intake = session->intake;
    if (!intake->stream) return true; /* being dropped */
    const struct kw_link *link = intake->stream->link;
    return intake->stream_open && link && !link->writing && link->out.bytes < LINK_QUEUE_MAX;
}

bool kw_stream_bytes(struct kw_session *session, struct kw_chunk *chunk, size_t off, size_t len) {
    struct kw_intake *intake = session->intake;
    if (!intake->stream || len == 0) return intake->stream != NULL;
    struct kw_link *link = intake->stream->link;
    if (kw_link_send_bytes(link, chunk, off, len)) {
        kw_link_close(link, "out of memory");
        return false;
    }
    return true;
}

void kw_stream_sent(struct kw_session *session) {
    struct kw_intake *intake = session->intake;
    struct kw_request *req = intake->stream;
    intake->stream = NULL;
    intake->stream_open = false;
    if (!req || !req->link) return;
    req->link_end = req->link->enqueued;
    req->sent_us = kw_worker_now_us(session->worker);
    req->link->streaming = NULL;
}
