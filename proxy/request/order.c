/*
 * Order per client and slot, judged with one stamp a slot, so that a pass is
 * linear in the number of requests. Owns nothing: the scratch is the worker's.
 */
#include "proxy/request/order.h"

#include <string.h>

#include "base/base.h"
#include "base/resp_request.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/request.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

static bool stamped(const struct kw_worker *worker, int slot) {
    return worker->pass_stamp[slot] == worker->pass_generation;
}

static void new_generation(struct kw_worker *worker) {
    if (++worker->pass_generation == 0) {
        memset(worker->pass_stamp, 0, sizeof(worker->pass_stamp));
        worker->pass_generation = 1;
    }
    worker->pass_barrier = false;
    worker->pass_seen = NULL;
    worker->pass_group = NULL;
    worker->pass_write = false;
}

/* Parts of one command for all shards stand next to each other: what is before the first is before all of them. */
static void note_group(struct kw_worker *worker, const struct kw_request *req) {
    if (!(req->flags & KW_REQF_ANY_SLOT) || (req->parent && worker->pass_group == req->parent)) return;
    worker->pass_group = req->parent;
    worker->pass_group_free = worker->pass_seen == NULL;
}

void kw_order_mark_later(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    new_generation(worker);
    for (struct kw_request *req = session->active_tail; req; req = req->active_prev) {
        if (req->slot < 0) continue;
        if (req->state == KW_REQ_INFLIGHT) {
            worker->pass_stamp[req->slot] = worker->pass_generation;
        } else {
            req->later_inflight = stamped(worker, req->slot);
        }
    }
}

void kw_order_begin(struct kw_worker *worker) {
    new_generation(worker);
}

void kw_order_note_inflight(struct kw_worker *worker, const struct kw_request *req) {
    note_group(worker, req);
    if (req->flags & (KW_REQF_ANY_SLOT | KW_REQF_EXCLUSIVE)) worker->pass_barrier = true;
    worker->pass_seen = req;
    worker->pass_write |= kw_request_is_write(req);
    if (req->slot < 0) return;
    int slot = req->slot;
    if (!stamped(worker, slot)) {
        worker->pass_stamp[slot] = worker->pass_generation;
        worker->pass_link[slot] = req->link;
        worker->pass_blocked[slot] = KW_PASS_FREE;
    } else if (worker->pass_link[slot] != req->link) {
        worker->pass_blocked[slot] = KW_PASS_BLOCKED;
    }
    /* See held_by_multikey in dispatch.c. */
    if (req->flags & KW_REQF_MULTIKEY && worker->pass_blocked[slot] == KW_PASS_FREE) {
        worker->pass_blocked[slot] = req->flags & KW_REQF_READONLY ? KW_PASS_READS : KW_PASS_BLOCKED;
    }
    /* While a slot is being moved its keys are in two places: one request at a time. */
    if (kw_dispatch_slot_is_open(worker, (unsigned)slot)) worker->pass_blocked[slot] = KW_PASS_BLOCKED;
}

void kw_order_note_waiting(struct kw_worker *worker, const struct kw_request *req) {
    note_group(worker, req);
    if (req->flags & (KW_REQF_ANY_SLOT | KW_REQF_EXCLUSIVE)) worker->pass_barrier = true;
    worker->pass_seen = req;
    worker->pass_write |= kw_request_is_write(req);
    if (req->slot < 0) return;
    worker->pass_stamp[req->slot] = worker->pass_generation;
    worker->pass_blocked[req->slot] = KW_PASS_BLOCKED;
}

bool kw_order_may_send(struct kw_worker *worker, const struct kw_request *req, struct kw_link **prefer) {
    *prefer = NULL;
    if (req->flags & KW_REQF_ANY_SLOT) {
        note_group(worker, req);
        return worker->pass_group_free;
    }
    if (worker->pass_barrier) return false;
    if (req->flags & KW_REQF_EXCLUSIVE) return !worker->pass_seen;
    /* Who hears of it may look at once. */
    if (kw_request_is_message(req) && worker->pass_write) return false;
    if (req->slot < 0) return true;
    if (req->later_inflight) return false;
    if (!stamped(worker, req->slot)) return true;
    if (worker->pass_blocked[req->slot] == KW_PASS_BLOCKED) return false;
    if (worker->pass_blocked[req->slot] == KW_PASS_READS && !(req->flags & KW_REQF_READONLY)) return false;
    *prefer = worker->pass_link[req->slot];
    return true;
}

/* The keys of a request whose bytes were kept in one piece. False when they cannot be told. */
static bool keys_of(const struct kw_request *req, struct kw_request_parse *parse, struct kw_arg *argv, size_t max,
                    struct kw_key_positions *keys) {
    if (!req->frame.chunk || req->frame.rest.bytes) return false;
    const char *base = req->frame.chunk->data + req->frame.off;
    if (kw_request_parse(parse, &kw_request_unlimited, base, req->frame.len) != KW_REQUEST_COMPLETE ||
        parse->argc > max)
        return false;
    for (uint32_t i = 0; i < parse->argc; i++) {
        argv[i] = (struct kw_arg){base + parse->args[i].off, parse->args[i].len};
    }
    return kw_command_keys(req->cmd, argv, parse->argc, keys) > 0;
}

/* True when both name a common key, or when that cannot be told. */
static bool share_key(const struct kw_request *a, const struct kw_request *b) {
    enum { ARGS = 64 };
    struct kw_request_parse parse[2];
    struct kw_arg argv[2][ARGS];
    struct kw_key_positions keys[2];
    for (int i = 0; i < 2; i++) {
        kw_request_parse_init(&parse[i]);
        kw_key_positions_init(&keys[i]);
    }
    bool shared = !keys_of(a, &parse[0], argv[0], ARGS, &keys[0]) || !keys_of(b, &parse[1], argv[1], ARGS, &keys[1]);
    for (unsigned i = 0; !shared && i < keys[0].count; i++) {
        const struct kw_arg *x = &argv[0][keys[0].pos[i]];
        for (unsigned k = 0; !shared && k < keys[1].count; k++) {
            const struct kw_arg *y = &argv[1][keys[1].pos[k]];
            shared = x->len == y->len && memcmp(x->data, y->data, x->len) == 0;
        }
    }
    for (int i = 0; i < 2; i++) {
        kw_request_parse_deinit(&parse[i]);
        kw_key_positions_deinit(&keys[i]);
    }
    return shared;
}

void kw_order_note_ran(struct kw_request *done) {
    for (struct kw_request *req = done->active_prev; req; req = req->active_prev) {
        if (req->state != KW_REQ_PARKED || req->slot != done->slot || req->reply.bytes == 0) continue;
        if ((req->flags & KW_REQF_READONLY) && (done->flags & KW_REQF_READONLY)) continue;
        if (share_key(req, done)) req->overtaken = true;
    }
}
