/* From a request to a link: owner, replica, or the node that a redirect named. */
#ifndef KW_PROXY_ROUTE_H
#define KW_PROXY_ROUTE_H

struct kw_worker;
struct kw_request;
struct kw_link;
struct kw_node;

/* NULL while no node can take it. `prefer` is returned if it still leads to the right node. */
struct kw_link *kw_route_link(struct kw_worker *worker, const struct kw_request *req, struct kw_link *prefer);

/* The node for a request that needs a private link; NULL while there is none. */
struct kw_node *kw_route_node(struct kw_worker *worker, const struct kw_request *req);

#endif
