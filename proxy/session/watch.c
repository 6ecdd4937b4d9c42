/* See watch.h. The link is borrowed from the node's pool; its owner callback tells when it dies. */
#include "proxy/session/watch.h"

#include <string.h>

#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"

int kw_watch_slot(const struct kw_session *session) {
    return session->rare ? session->rare->watch_slot : -1;
}

struct kw_link *kw_watch_link(const struct kw_session *session) {
    return session->rare ? session->rare->watch_link : NULL;
}

bool kw_watch_holds(const struct kw_session *session) {
    return kw_watch_slot(session) >= 0;
}

bool kw_watch_is_lost(const struct kw_session *session) {
    return kw_watch_holds(session) && session->rare->watch_lost;
}

bool kw_watch_is_exec(const struct kw_request *req) {
    return req->flags & KW_REQF_WATCH && req->skip_total > 0;
}

static void on_lost(struct kw_link *link) {
    struct kw_session *session = link->owner_ref;
    session->rare->watch_link = NULL;
    session->rare->watch_lost = true;
}

static const struct kw_link_owner watch_owner = {.lost = on_lost};

/* Takes the link out of the session's hands. */
static struct kw_link *detach(struct kw_session *session) {
    struct kw_link *link = kw_watch_link(session);
    if (link) {
        link->owner = NULL;
        link->owner_ref = NULL;
    }
    if (session->rare) {
        session->rare->watch_link = NULL;
        session->rare->watch_slot = -1;
        session->rare->watch_lost = false;
    }
    return link;
}

void kw_watch_release(struct kw_session *session) {
    struct kw_link *link = detach(session);
    if (!link) return;
    static const char unwatch[] = "*1\r\n$7\r\nUNWATCH\r\n";
    if (kw_link_send_internal(link, unwatch, sizeof(unwatch) - 1, 0, NULL)) {
        kw_link_close(link, "out of memory");
    } else {
        kw_link_put_private(link);
    }
}

/* The first WATCH makes the link the session's; later ones find it there. */
static void watched(struct kw_session *session, const struct kw_request *req, struct kw_link *link) {
    struct kw_session_rare *rare = kw_session_rare(session);
    if (rare->watch_slot < 0) rare->watch_lost = false;
    rare->watch_slot = req->slot;
    rare->watch_link = link;
    link->owner = &watch_owner;
    link->owner_ref = session;
}

void kw_watch_answered(struct kw_request *req, struct kw_link *link) {
    KW_ASSERT(link);
    struct kw_session *session = req->session;
    bool ours = session && kw_watch_link(session) == link;
    if (kw_watch_is_exec(req)) {
        if (ours) detach(session);
        /* After an error nobody knows whether the node still watches. */
        if (req->reply_type == '-') {
            kw_link_close(link, "not needed any more");
        } else {
            kw_link_put_private(link);
        }
    } else if (session && req->reply_type != '-') {
        watched(session, req, link);
    } else if (!ours) {
        kw_link_put_private(link);
    } else {
        /* Refused while something else is watched here (the slot has moved): what was watched is lost with it. */
        kw_link_close(link, "the slot that was watched has moved");
    }
}

void kw_watch_reply_nil(struct kw_worker *worker, struct kw_request *req) {
    const char *nil = req->flags & KW_REQF_RESP3 ? "_\r\n" : "*-1\r\n";
    req->flags &= ~(uint32_t)KW_REQF_QUEUE_ERROR;
    kw_request_reply_text(worker, req, nil, strlen(nil));
}

void kw_watch_exec_failed(struct kw_worker *worker, struct kw_request *req) {
    if (req->session) detach(req->session);
    kw_watch_reply_nil(worker, req);
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}
