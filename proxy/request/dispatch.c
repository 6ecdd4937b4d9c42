/*
 * Routing and order. While nothing unusual happens a request is sent the moment
 * it is parsed: no earlier one of its session is parked, and since the first of
 * those in flight was sent no route has changed, so that all of one slot share
 * one link. Otherwise it is parked, and a pass over the session's active list
 * (at the end of the turn, in order) sends what may go.
 */
#include "proxy/request/dispatch.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "proxy/request/group.h"
#include "proxy/request/order.h"
#include "proxy/request/request.h"
#include "proxy/request/route.h"
#include "proxy/request/stream.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

enum { NODE_RETRY_US = 10 * 1000, PAUSE_FIRST_MS = 5, PAUSE_LAST_MS = 100 };

/* A command with several keys begins or ends: what follows on its slot may have to wait for it. */
static void note_multikey(struct kw_session *session, const struct kw_request *req, int by) {
    session->multikey += (uint32_t)by;
    if (req->slot < 0) return;
    struct kw_slot_use *use = &session->worker->multikey[req->slot];
    use->all += (uint32_t)by;
    if (!(req->flags & KW_REQF_READONLY)) use->writes += (uint32_t)by;
}

static void active_append(struct kw_session *session, struct kw_request *req) {
    if (req->flags & KW_REQF_MULTIKEY) note_multikey(session, req, 1);
    session->writes += kw_request_is_write(req);
    req->active_prev = session->active_tail;
    req->active_next = NULL;
    if (session->active_tail) {
        session->active_tail->active_next = req;
    } else {
        session->active_head = req;
    }
    session->active_tail = req;
}

static void irregular_set(struct kw_session *session, bool on) {
    struct kw_worker *worker = session->worker;
    if ((session->irregular_at > 0) == on) return;
    if (on) {
        if (worker->irregular_count == worker->irregular_cap) {
            worker->irregular_cap = worker->irregular_cap ? worker->irregular_cap * 2 : 16;
            worker->irregular = kw_realloc(worker->irregular, worker->irregular_cap * sizeof(*worker->irregular));
        }
        worker->irregular[worker->irregular_count++] = session;
        session->irregular_at = worker->irregular_count;
        kw_worker_arm_retry(worker);
        return;
    }
    /* The last one takes its place. Whoever walks over them does so from the end. */
    struct kw_session *last = worker->irregular[--worker->irregular_count];
    worker->irregular[session->irregular_at - 1] = last;
    last->irregular_at = session->irregular_at;
    session->irregular_at = 0;
}

void kw_dispatch_forget(struct kw_request *req) {
    struct kw_session *session = req->session;
    if (!session) return;
    if (req->state == KW_REQ_PARKED && --session->parked == 0) irregular_set(session, false);
    if (req->active_prev) {
        req->active_prev->active_next = req->active_next;
    } else {
        session->active_head = req->active_next;
    }
    if (req->active_next) {
        req->active_next->active_prev = req->active_prev;
    } else {
        session->active_tail = req->active_prev;
    }
    req->active_prev = req->active_next = NULL;
    if (req->flags & KW_REQF_MULTIKEY) note_multikey(session, req, -1);
    session->writes -= kw_request_is_write(req);
    if (session->parked > 0) kw_dispatch_later(session);
}

void kw_dispatch_unpark(struct kw_request *req) {
    struct kw_session *session = req->session;
    if (--session->parked == 0) irregular_set(session, false);
    kw_request_move(req, KW_REQ_INFLIGHT);
}

void kw_dispatch_park(struct kw_request *req, uint64_t delay_us) {
    struct kw_session *session = req->session;
    kw_request_move(req, KW_REQ_PARKED);
    req->link = NULL;
    req->retry_us = delay_us ? kw_worker_now_us(session->worker) + delay_us : 0;
    session->parked++;
    irregular_set(session, true);
    kw_dispatch_later(session);
}

void kw_dispatch_drop_session(struct kw_session *session) {
    irregular_set(session, false);
    for (struct kw_request *req = session->active_head; req && session->multikey > 0; req = req->active_next) {
        if (req->flags & KW_REQF_MULTIKEY) note_multikey(session, req, -1);
    }
    session->parked = 0;
    session->multikey = 0;
    session->writes = 0;
}

void kw_dispatch_later(struct kw_session *session) {
    session->needs_pass = true;
    /* A dirty session is looked at again before the turn ends. */
    kw_session_mark_dirty(session);
}

void kw_dispatch_retry_now(struct kw_session *session) {
    for (struct kw_request *req = session->active_head; req; req = req->active_next) {
        if (req->state == KW_REQ_PARKED) req->retry_us = 0;
    }
    kw_dispatch_later(session);
}

bool kw_dispatch_slot_is_open(const struct kw_worker *worker, unsigned slot) {
    return (worker->open_slots[slot / 64] >> (slot % 64)) & 1U;
}

/*
 * A command with several keys may be refused with TRYAGAIN, at any moment, when somebody begins to move its slot;
 * what came behind it would have run by then. So writes on its slot wait for its reply (and it waits for reads
 * only if it writes itself). Everything else stays pipelined.
 */
static bool held_by_multikey(const struct kw_session *session, const struct kw_request *req) {
    if (req->slot < 0) return false;
    /* Nearly always nobody has such a command there: a command of 10,000 keys is as many parts, each asks this. */
    const struct kw_slot_use *use = &session->worker->multikey[req->slot];
    if ((req->flags & KW_REQF_READONLY ? use->writes : use->all) == 0) return false;
    for (const struct kw_request *at = session->active_head; at && at != req; at = at->active_next) {
        bool both_read = at->flags & req->flags & KW_REQF_READONLY;
        if (at->flags & KW_REQF_MULTIKEY && at->slot == req->slot && !both_read) return true;
    }
    return false;
}

static bool may_go_at_once(struct kw_session *session, const struct kw_request *req) {
    struct kw_worker *worker = session->worker;
    if (session->active_head == req) {
        session->route_seq = worker->route_seq;
        return !(req->flags & KW_REQF_EXCLUSIVE);
    }
    if (session->parked > 0 || session->route_seq != worker->route_seq || (req->flags & KW_REQF_EXCLUSIVE))
        return false;
    if (session->multikey > 0 && held_by_multikey(session, req)) return false;
    if (KW_UNLIKELY(kw_request_is_message(req)) && session->writes > 0) return false;
    return !worker->any_open || req->slot < 0 || !kw_dispatch_slot_is_open(worker, (unsigned)req->slot);
}

/* Out of memory: the request ends here, nothing has run. */
static void fail_memory(struct kw_worker *worker, struct kw_request *req) {
    kw_request_reply_error(worker, req, "ERR out of memory");
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

void kw_dispatch_new(struct kw_session *session, struct kw_request *req, const char *bytes, size_t len) {
    struct kw_worker *worker = session->worker;
    active_append(session, req);
    if (KW_LIKELY(may_go_at_once(session, req))) {
        struct kw_link *link = kw_route_link(worker, req, NULL);
        if (KW_LIKELY(link != NULL)) {
            kw_request_move(req, KW_REQ_PARKED);
            kw_request_move(req, KW_REQ_INFLIGHT);
            if (kw_link_send(link, req, bytes, len) == 0) return;
            fail_memory(worker, req);
            return;
        }
    }
    if (bytes && kw_request_keep_copy(worker, req, bytes, len)) {
        fail_memory(worker, req);
        return;
    }
    kw_dispatch_park(req, 0);
}

/* What a pass knows of the slots: see order.h. Returns true when the request was sent. */
static bool try_send(struct kw_worker *worker, struct kw_request *req, struct kw_link *prefer) {
    if (req->flags & KW_REQF_EXCLUSIVE) return kw_stream_start(worker, req);
    struct kw_link *link = kw_route_link(worker, req, prefer);
    if (!link) {
        req->retry_us = kw_worker_now_us(worker) + NODE_RETRY_US;
        return false;
    }
    if (prefer && prefer != link) return false;
    struct kw_session *session = req->session;
    kw_dispatch_unpark(req);
    if (req->start_us + 1000 < kw_worker_now_us(worker)) link->repeated++;
    if (kw_link_send(link, req, NULL, 0) == 0) return true;
    req->state = KW_REQ_PARKED;
    session->parked++;
    irregular_set(session, true);
    fail_memory(worker, req);
    return true;
}

/* Milliseconds that wrap: right for differences of days. */
static uint32_t now_ms(struct kw_worker *worker) {
    return (uint32_t)(kw_worker_now_us(worker) / 1000);
}

/* Looking again and again at many requests that cannot go would cost the others: the pause between grows. */
static void plan_next_pass(struct kw_session *session, bool sent) {
    unsigned pause_ms = sent || !session->pass_pause_ms ? PAUSE_FIRST_MS : session->pass_pause_ms * 2U;
    session->pass_pause_ms = (uint16_t)(pause_ms < PAUSE_LAST_MS ? pause_ms : PAUSE_LAST_MS);
    session->pass_due_ms = now_ms(session->worker) + session->pass_pause_ms;
}

static void pass(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    uint64_t now_us = kw_worker_now_us(worker);
    bool sent = false;
    session->needs_pass = false;
    kw_order_mark_later(session);
    kw_order_begin(worker);
    struct kw_request *next;
    for (struct kw_request *req = session->active_head; req; req = next) {
        next = req->active_next;
        if (req->state == KW_REQ_INFLIGHT) {
            kw_order_note_inflight(worker, req);
            continue;
        }
        if (req->state != KW_REQ_PARKED) continue;
        if (req->overtaken) {
            /* Its refusal stands: running it now would reverse the order. */
            kw_dispatch_forget(req);
            kw_request_complete(worker, req);
            if (session->closing) return;
            continue;
        }
        struct kw_link *prefer = NULL;
        bool may = kw_order_may_send(worker, req, &prefer) && req->retry_us <= now_us;
        if (may && try_send(worker, req, prefer)) {
            sent = true;
            if (req->state == KW_REQ_INFLIGHT) kw_order_note_inflight(worker, req);
        } else {
            kw_order_note_waiting(worker, req);
        }
    }
    plan_next_pass(session, sent);
}

void kw_dispatch_run_passes(struct kw_worker *worker, enum kw_run_passes which) {
    for (uint32_t at = worker->irregular_count; at > 0; at--) {
        if (at > worker->irregular_count) continue;
        struct kw_session *session = worker->irregular[at - 1];
        bool due =
            which == KW_RUN_ALL || (which == KW_RUN_DUE && (int32_t)(now_ms(worker) - session->pass_due_ms) >= 0);
        if (due || session->needs_pass) pass(session);
    }
}

static void expire_request(struct kw_worker *worker, struct kw_request *req) {
    if (req->reply.bytes == 0) {
        struct kw_node *node =
            req->target ? req->target : (req->slot >= 0 ? kw_worker_owner(worker, (unsigned)req->slot) : NULL);
        if (!worker->topology) {
            kw_request_reply_error(worker, req, "CLUSTERDOWN No node of the cluster has answered yet");
        } else if (!node) {
            kw_request_reply_error(worker, req, "CLUSTERDOWN Hash slot %d is not served by any node", (int)req->slot);
        } else {
            kw_request_reply_error(worker, req,
                                   "CLUSTERDOWN Node %s could not be used within request-timeout (%s); the command did "
                                   "not run",
                                   node->addr, node->last_error[0] ? node->last_error : "it did not answer");
        }
    }
    if (req->flags & KW_REQF_STREAMED) kw_stream_forget(req);
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

void kw_dispatch_expire(struct kw_worker *worker) {
    uint64_t now_us = kw_worker_now_us(worker);
    uint64_t timeout_us = kw_server_limits(worker->server)->request_timeout_us;
    for (uint32_t at = worker->irregular_count; at > 0; at--) {
        if (at > worker->irregular_count) continue;
        struct kw_request *next;
        for (struct kw_request *req = worker->irregular[at - 1]->active_head; req; req = next) {
            next = req->active_next;
            if (req->state != KW_REQ_PARKED) continue;
            bool late = now_us - req->start_us >= timeout_us && !(req->flags & KW_REQF_UNBOUNDED);
            /* What it waits for at that node will never be. */
            bool gone = req->target && !req->ask && req->flags & KW_REQF_UNBOUNDED && !req->target->serves_slots;
            if (late || gone) expire_request(worker, req);
        }
    }
}
