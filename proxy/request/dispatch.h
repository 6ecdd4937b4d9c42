/*
 * Which link a request takes, and when. Order per client and slot: a request is
 * sent only when every earlier one of its session and slot is done or in flight
 * on the same link; otherwise it is parked and tried again when one of these
 * completes, when the topology changes, or when its retry time has come.
 */
#ifndef KW_PROXY_DISPATCH_H
#define KW_PROXY_DISPATCH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kw_worker;
struct kw_session;
struct kw_request;
struct kw_link;
struct kw_topology;
struct kw_node;

/*
 * Appends to session->active and sends, or parks. For a frame that still lies in the read buffer
 * (req->frame empty), `bytes` are copied once, to the link or to the parking chunk.
 */
void kw_dispatch_new(struct kw_session *session, struct kw_request *req, const char *bytes, size_t len);

/* A refused or lost request goes back to waiting; tried again not before `delay_us` from now. */
void kw_dispatch_park(struct kw_request *req, uint64_t delay_us);

/* A parked request goes to a link of its own: it counts as in flight from here. */
void kw_dispatch_unpark(struct kw_request *req);

/* Takes the request out of session->active; later ones of its slot may go on. */
void kw_dispatch_forget(struct kw_request *req);

/* The session is about to close: it leaves the list of those with parked requests. */
void kw_dispatch_drop_session(struct kw_session *session);

/* Tries the session's parked requests again, at the end of this loop turn. */
void kw_dispatch_later(struct kw_session *session);
/* The same, without waiting for the retry time of any: what they waited for is there. */
void kw_dispatch_retry_now(struct kw_session *session);
enum kw_run_passes {
    KW_RUN_NEEDED, /* sessions that asked for it */
    KW_RUN_DUE,    /* and those whose pause is over */
    KW_RUN_ALL,    /* what happened concerns everybody */
};
void kw_dispatch_run_passes(struct kw_worker *worker, enum kw_run_passes which);

/* Answers parked requests that have waited for request-timeout. */
void kw_dispatch_expire(struct kw_worker *worker);

/* A new snapshot: owners, open slots, links to failed nodes. */
void kw_dispatch_topology(struct kw_worker *worker, struct kw_topology *topology);

/* What a redirect taught. */
void kw_dispatch_slot_moved(struct kw_worker *worker, unsigned slot, struct kw_node *node);
void kw_dispatch_slot_open(struct kw_worker *worker, unsigned slot);
/* Marks that no topology has confirmed for a while are forgotten. */
void kw_dispatch_expire_open(struct kw_worker *worker);
bool kw_dispatch_slot_is_open(const struct kw_worker *worker, unsigned slot);

#endif
