/*
 * A client leaves while it blocks in BLPOP or its like. The node is told to stop
 * waiting; should it have taken an element in that very moment, for nobody, the
 * element is put back where it was. So nothing is swallowed by who has left.
 */
#ifndef KW_PROXY_ORPHAN_H
#define KW_PROXY_ORPHAN_H

#include <stdbool.h>

struct kw_link;
struct kw_request;
struct kw_worker;

/*
 * The request of a client that is about to be closed, in flight on its private link. True: it is seen to from here on,
 * the link closes by itself. False: closing the link is all there is to do.
 */
bool kw_orphan_adopt(struct kw_link *link, struct kw_request *req);

/* Tells the node, by another link, that nobody waits any more. Repeated until it has answered. */
void kw_orphan_unblock(struct kw_link *link);

/* Its reply is complete, in req->reply: what was taken goes back. The request stays the caller's. */
void kw_orphan_answered(struct kw_link *link, struct kw_request *req);

#endif
