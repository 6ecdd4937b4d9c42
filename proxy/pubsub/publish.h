/*
 * PUBLISH and SPUBLISH are answered with the number of receivers. A node counts
 * each worker of ours once, however many clients listen behind it: the reply is
 * corrected on its way, also inside of a transaction. (What a script publishes is
 * counted as the node does: only the node knows what it did.)
 */
#ifndef KW_PROXY_PUBLISH_H
#define KW_PROXY_PUBLISH_H

struct kw_link;
struct kw_request;
struct kw_worker;

/* The request will be answered with numbers of receivers; before it is sent. */
void kw_publish_mark(struct kw_worker *worker, struct kw_request *req);

/* The request's reply (whole, in req->reply) becomes the true number. */
void kw_publish_count(struct kw_link *link, struct kw_request *req);

#endif
