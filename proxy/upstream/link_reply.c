/*
 * Replies of a node. Each is framed, matched with the first request in flight,
 * and copied (or referred to) once into the client's output; only errors are
 * read, because redirects must not reach the client.
 *
 * When the link dies, each request in flight is settled by what is known of it:
 * never handed to the kernel in full: it did not run, and is sent again; a read:
 * sent again; anything else: -INDOUBT, for nobody can know.
 */
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "proxy/pubsub/publish.h"
#include "proxy/request/blocking.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/order.h"
#include "proxy/request/orphan.h"
#include "proxy/request/redirect.h"
#include "proxy/request/stream.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/session/watch.h"
#include "proxy/upstream/link.h"
#include "proxy/worker.h"

enum { STREAM_FROM = 64 * 1024, ERROR_READ_MAX = 512 };

static void internal_done(struct kw_link *link, const char *text, size_t len) {
    struct kw_request *req = kw_link_pop(link);
    struct kw_worker *worker = link->worker;
    if (req->flags & KW_REQF_PROBE) {
        kw_stream_probed(link, text, len);
    } else if (req->flags & KW_REQF_CLIENT_ID && text[0] == ':') {
        link->node_client_id = kw_digits(text + 1, text + len);
        if (link->kind == KW_LINK_PUSH && link->owner && link->owner->ready) link->owner->ready(link);
    } else if (req->flags & KW_REQF_READY && text[0] != '-') {
        if (link->owner && link->owner->ready) link->owner->ready(link);
    } else if (text[0] == '-') {
        /* It may have been a script for an EVALSHA: which of them the node has is not known any more. */
        kw_script_set_deinit(&link->scripts);
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING, "node %s refused a command of Keyway's own: %.*s", link->node->addr,
                       len > 200 ? 200 : (int)len, text);
    }
    kw_request_free(worker, req);
}

/* The reply to a command of ours; its beginning is all that may matter. */
static void internal_piece(struct kw_link *link, struct kw_request *req, const char *bytes, size_t len, bool done) {
    if (done && req->reply.bytes == 0) {
        internal_done(link, bytes, len);
        return;
    }
    size_t room = req->reply.bytes < ERROR_READ_MAX ? ERROR_READ_MAX - req->reply.bytes : 0;
    if (len < room) room = len;
    if (room && !kw_outq_copy_try(&req->reply, link->worker->pool, bytes, room, ERROR_READ_MAX)) {
        kw_link_close(link, "out of memory");
        return;
    }
    if (!done) return;
    char text[ERROR_READ_MAX];
    internal_done(link, text, kw_outq_peek(&req->reply, text, sizeof(text)));
}

static void finish(struct kw_link *link, struct kw_request *req) {
    struct kw_node *node = link->node;
    uint64_t spent_us = kw_worker_now_us(link->worker) - req->sent_us;
    node->rtt_us += (uint64_t)(((int64_t)spent_us - (int64_t)node->rtt_us) / 16);
    if (req->flags & KW_REQF_EXCLUSIVE) {
        kw_stream_finished(link, req);
        kw_stream_forget(req);
    }
    if (KW_UNLIKELY(req->session && req->session->parked > 0 && req->reply_type != '-')) kw_order_note_ran(req);
    kw_dispatch_forget(req);
    kw_request_complete(link->worker, req);
}

/*
 * EXEC was refused because of what was queued, and that was no redirect. The client was told QUEUED, so the reason is
 * new to it: it is put in the words that Redis has for a transaction that cannot begin. `text` begins with the reason.
 */
static void reply_aborted(struct kw_worker *worker, struct kw_request *req, const char *text, size_t len) {
    const char *end = memchr(text, '\r', len);
    const char *why = len > 0 && text[0] == '-' ? text + 1 : text;
    size_t why_len = (size_t)((end ? end : text + len) - why);
    if (why_len > 4 && memcmp(why, "ERR ", 4) == 0) {
        why += 4;
        why_len -= 4;
    }
    kw_request_reply_error(worker, req, "EXECABORT Transaction discarded because of: %.*s", (int)why_len, why);
}

/* The whole reply is an error: a redirect is acted on, anything else is the client's. */
static void error_done(struct kw_link *link, const char *text, size_t len) {
    struct kw_request *req = kw_link_pop(link);
    if (kw_redirect_handle(link, req, text, len)) {
        /* Two errors were kept of a transaction; neither is its reply. */
        if (req->flags & KW_REQF_QUEUE_ERROR) {
            req->session->held_bytes -= req->reply.bytes;
            kw_outq_clear(&req->reply, link->worker->pool);
        }
        return;
    }
    if (req->flags & KW_REQF_QUEUE_ERROR) {
        reply_aborted(link->worker, req, text, len);
    }
    finish(link, req);
}

static void keep_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len) {
    struct kw_session *session = req->session;
    if (kw_request_keep_reply(link->worker, req, chunk, off, len)) {
        /* Memory is gone: this client is given up, its replies are dropped from here on. */
        kw_session_close(session);
        return;
    }
    session->held_bytes += len;
}

static void pass_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len) {
    struct kw_session *session = req->session;
    if (!(req->flags & KW_REQF_SILENT) && kw_outq_add_try(&session->out, link->worker->pool, chunk, off, len)) {
        kw_session_close(session);
        return;
    }
    req->reply_bytes += (uint32_t)len;
    kw_session_mark_dirty(session);
}

static void data_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len,
                       bool done) {
    struct kw_session *session = req->session;
    bool at_head = !req->parent && session->queue_head == req;
    if (KW_UNLIKELY(req->flags & KW_REQF_PUBLISH)) {
        keep_piece(link, req, chunk, off, len);
        if (done && !session->closing) kw_publish_count(link, req);
    } else if (at_head && req->reply.bytes == 0 && (done || (req->flags & KW_REQF_REPLYING)) &&
               req->reply_type != '-') {
        pass_piece(link, req, chunk, off, len);
    } else {
        keep_piece(link, req, chunk, off, len);
        if (at_head && !done && req->reply.bytes >= STREAM_FROM && !session->closing) kw_request_emit_ready(session);
    }
    if (!done || link->closing) return;
    if (KW_UNLIKELY(link->head != req)) return; /* settled meanwhile */
    if (KW_LIKELY(req->reply_type != '-')) {
        kw_link_pop(link);
        finish(link, req);
        return;
    }
    char text[ERROR_READ_MAX];
    size_t got = kw_outq_peek(&req->reply, text, sizeof(text));
    error_done(link, text, got);
}

/* A reply before the one that counts: +OK of MULTI, +QUEUED. The first error among them is kept, to be judged later. */
static void queued_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len,
                         bool done) {
    if (req->session && req->reply_type == '-' && !(req->flags & KW_REQF_QUEUE_ERROR))
        keep_piece(link, req, chunk, off, len);
    if (!done) return;
    if (req->reply_type == '-') req->flags |= KW_REQF_QUEUE_ERROR;
    req->reply_type = 0;
    req->skip--;
}

/* Bytes that belong to no request: a push, or an error that its owner understands. False: nobody expects them. */
static bool unasked_piece(struct kw_link *link, struct kw_chunk *chunk, size_t off, size_t len, bool done) {
    if (kw_outq_add_try(&link->push, link->worker->pool, chunk, off, len)) return false;
    if (!done) return true;
    bool is_push = link->scan.first == '>';
    const struct kw_link_owner *owner = link->owner;
    if (is_push && owner && owner->pushed) {
        owner->pushed(link, &link->push);
    } else if (!is_push && owner && owner->refused) {
        char text[ERROR_READ_MAX];
        owner->refused(link, text, kw_outq_peek(&link->push, text, sizeof(text)));
    } else if (!is_push) {
        return false;
    }
    kw_outq_clear(&link->push, link->worker->pool);
    return true;
}

/* A reply to somebody who has left. */
static void unowned_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len,
                          bool done) {
    bool orphan = req->flags & KW_REQF_ORPHAN;
    if (orphan && kw_outq_add_try(&req->reply, link->worker->pool, chunk, off, len)) {
        kw_link_close(link, "out of memory");
        return;
    }
    if (!done) return;
    kw_link_pop(link);
    if (orphan) kw_orphan_answered(link, req);
    kw_request_free(link->worker, req);
    /* Not for the pool: one more CLIENT UNBLOCK may be on its way, and would hit its next user. */
    if (orphan) kw_link_close(link, "not needed any more");
}

static void reply_piece(struct kw_link *link, struct kw_request *req, struct kw_chunk *chunk, size_t off, size_t len,
                        bool done) {
    if (!req->reply_type) req->reply_type = link->scan.first;
    if (req->session && kw_blocking_is(req) && !(req->flags & KW_REQF_REPLYING) && kw_session_has_left(req->session)) {
        /* It left before this came, and the loop only tells it later: what was taken for it must go back. */
        kw_session_close(req->session);
        if (link->closing) return;
    }
    if (KW_UNLIKELY(req->skip > 0)) {
        queued_piece(link, req, chunk, off, len, done);
    } else if (req->flags & KW_REQF_INTERNAL) {
        internal_piece(link, req, chunk->data + off, len, done);
    } else if (!req->session) {
        unowned_piece(link, req, chunk, off, len, done);
    } else {
        data_piece(link, req, chunk, off, len, done);
    }
}

bool kw_link_reply_bytes(struct kw_link *link, struct kw_chunk *chunk, size_t len) {
    size_t pos = 0;
    while (pos < len && !link->closing) {
        size_t used;
        enum kw_reply_result result = kw_reply_scan(&link->scan, chunk->data + pos, len - pos, &used);
        if (result == KW_REPLY_ERROR) return false;
        bool done = result == KW_REPLY_DONE;
        struct kw_request *req = link->head;
        if (KW_UNLIKELY(!req || link->scan.first == '>' || link->push.bytes > 0)) {
            if (!unasked_piece(link, chunk, pos, used, done)) return false;
        } else {
            reply_piece(link, req, chunk, pos, used, done);
        }
        pos += used;
    }
    return true;
}

static void fail_in_doubt(struct kw_worker *worker, struct kw_request *req, const char *addr, const char *why) {
    kw_request_reply_error(
        worker, req,
        "INDOUBT The connection to node %s was lost (%s) after the command was sent: it may have run "
        "or not",
        addr, why);
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

/*
 * What became of a request whose link is gone. One that blocks had, in all likelihood, nothing to take yet: it goes on
 * waiting at the new primary, as its client would not hear of a failover from one Redis either.
 */
static void settle_request(struct kw_link *link, struct kw_request *req, uint64_t sent, const char *why) {
    struct kw_worker *worker = link->worker;
    if (req->flags & KW_REQF_INTERNAL || !req->session) {
        kw_request_free(worker, req);
        return;
    }
    struct kw_session *session = req->session;
    if (req->flags & KW_REQF_REPLYING) {
        /* Half of the reply has left: the client can only be told by closing. */
        kw_request_give_up(req);
        kw_session_close(session);
        return;
    }
    session->held_bytes -= req->reply.bytes;
    kw_outq_clear(&req->reply, worker->pool);
    req->reply_type = 0;
    bool ran = link->connected && req->link_end <= sent;
    if (req->flags & KW_REQF_STREAMED) {
        kw_stream_lost(worker, req, link->node->addr, why, ran);
    } else if (ran && !(req->flags & KW_REQF_READONLY) && !kw_blocking_is(req)) {
        fail_in_doubt(worker, req, link->node->addr, why);
    } else if (kw_watch_is_exec(req)) {
        kw_watch_exec_failed(worker, req);
    } else {
        req->ask = false;
        if (!(req->flags & KW_REQF_ANY_SLOT)) req->target = NULL;
        if (req->attempts < UINT8_MAX) req->attempts++;
        kw_dispatch_park(req, 0);
    }
}

bool kw_link_awaits(const struct kw_link *link, const struct kw_request *req) {
    const struct kw_request *at = link->head;
    while (at && at != req) at = at->link_next;
    return at != NULL;
}

void kw_link_settle(struct kw_link *link, const char *why) {
    uint64_t sent = kw_link_sent_offset(link);
    struct kw_request *probing = link->streaming;
    if (probing && kw_link_awaits(link, probing)) probing = NULL;
    struct kw_request *req = link->head;
    link->head = link->tail = NULL;
    link->inflight = 0;
    link->streaming = NULL;
    if (probing) kw_stream_lost(link->worker, probing, link->node->addr, why, false);
    while (req) {
        struct kw_request *next = req->link_next;
        req->link_next = NULL;
        settle_request(link, req, sent, why);
        req = next;
    }
}

/* The client gets its answer now; the request stays in its place to swallow the reply. */
static void expire_inflight(struct kw_link *link, struct kw_request *req) {
    struct kw_worker *worker = link->worker;
    struct kw_request *ghost = kw_request_new(worker);
    /* A ghost takes the place in the link's queue: the request itself goes on to its client. */
    ghost->state = KW_REQ_INFLIGHT;
    ghost->link = link;
    ghost->link_next = req->link_next;
    ghost->link_end = req->link_end;
    ghost->sent_us = req->sent_us;
    ghost->flags = req->flags & KW_REQF_SCRIPT; /* it goes on running: see check_held in upstream.c */
    ghost->reply_type = req->reply_type;
    ghost->skip = req->skip;
    for (struct kw_request **at = &link->head; *at; at = &(*at)->link_next) {
        if (*at != req) continue;
        *at = ghost;
        break;
    }
    if (link->tail == req) link->tail = ghost;
    if (link->streaming == req) link->streaming = NULL;
    bool ran = req->link_end <= kw_link_sent_offset(link);
    if (req->flags & KW_REQF_READONLY || !ran) {
        kw_request_reply_error(worker, req, "TIMEOUT Node %s did not answer within request-timeout", link->node->addr);
    } else {
        kw_request_reply_error(worker, req,
                               "INDOUBT Node %s did not answer within request-timeout: the command may have run or not",
                               link->node->addr);
    }
    kw_dispatch_forget(req);
    kw_request_complete(worker, req);
}

/* While a link is paused its client is slow: what came meanwhile lies unread, and the node is not to blame. */
static bool is_late(const struct kw_link *link, const struct kw_request *req, uint64_t now_us, uint64_t timeout_us) {
    if (req->flags & (KW_REQF_UNBOUNDED | KW_REQF_REPLYING)) return false;
    if (link->resumed_us && now_us - link->resumed_us < timeout_us) return false;
    /* A streamed one takes as long as its client sends; the clock runs from its last byte. */
    if (req->flags & KW_REQF_STREAMED) return req->link_end != UINT64_MAX && now_us - req->sent_us >= timeout_us;
    return now_us - req->start_us >= timeout_us;
}

/* How long the node has owed an answer without a sign. A link that was idle, or is new, has not read for longer. */
static uint64_t silent_for(const struct kw_link *link, uint64_t now_us) {
    uint64_t since_us = link->last_read_us > link->head->sent_us ? link->last_read_us : link->head->sent_us;
    return now_us > since_us ? now_us - since_us : 0;
}

/* Those behind it came later and are not late either, unless the node fell silent in the middle of its reply. */
static bool next_are_in_time(const struct kw_link *link, const struct kw_request *req, uint64_t now_us,
                             uint64_t timeout_us) {
    if (link->repeated > 0) return false;
    return !(req->flags & KW_REQF_REPLYING) || now_us - link->last_read_us < timeout_us;
}

/* A private link has one request and is of no use without it. It goes once the ghost is in its place: nothing is
 * settled twice. */
static void expire_exclusive(struct kw_link *link, struct kw_request *req) {
    kw_stream_forget(req);
    expire_inflight(link, req);
    if (!link->closing) kw_link_close_later(link);
}

void kw_link_expire(struct kw_link *link, uint64_t now_us, uint64_t timeout_us) {
    bool all_ghosts = true;
    struct kw_request *next;
    for (struct kw_request *req = link->head; req; req = next) {
        next = req->link_next;
        if (!req->session) continue;
        bool late = is_late(link, req, now_us, timeout_us);
        if (!late) {
            all_ghosts = false;
            if (next_are_in_time(link, req, now_us, timeout_us)) break;
            continue;
        }
        if (req->flags & KW_REQF_EXCLUSIVE) {
            expire_exclusive(link, req);
            return;
        }
        expire_inflight(link, req);
        if (link->closing) return;
    }
    /* Nobody waits for this link any more and it has been silent for long: a new one may do better. */
    if (all_ghosts && link->head && silent_for(link, now_us) >= 2 * timeout_us) {
        kw_link_close(link, "no reply for twice the request-timeout");
        kw_server_topology_doubt(link->worker->server);
    }
}
