/*
 * The bookkeeping of one pass over a session's active list: which slots have an
 * earlier request in flight, on which link, and which must wait.
 */
#ifndef KW_PROXY_ORDER_H
#define KW_PROXY_ORDER_H

#include <stdbool.h>

struct kw_worker;
struct kw_session;
struct kw_request;
struct kw_link;

/* Before a pass: notes at each parked request whether a later one of its slot is still in flight. */
void kw_order_mark_later(struct kw_session *session);

void kw_order_begin(struct kw_worker *worker);
void kw_order_note_inflight(struct kw_worker *worker, const struct kw_request *req);
void kw_order_note_waiting(struct kw_worker *worker, const struct kw_request *req);

/* Whether a parked request may be sent now; *prefer is the link that it must share with earlier ones, if any. */
bool kw_order_may_send(struct kw_worker *worker, const struct kw_request *req, struct kw_link **prefer);

/* `done` ran at its node: refused earlier requests that touch the same key can no longer run in order. */
void kw_order_note_ran(struct kw_request *done);

#endif
