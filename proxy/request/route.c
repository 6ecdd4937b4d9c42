/* Routing; the topology's consequences for a worker are in route_topology.c. Owns nothing. */
#include "proxy/request/route.h"

#include "base/base.h"
#include "proxy/request/request.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/settings.h"
#include "proxy/tracking/tracking.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

static struct kw_node *any_primary(struct kw_worker *worker) {
    struct kw_node *found = NULL;
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        if (!node->serves_slots || node->failed) continue;
        if (!found || (found->failures > 0 && node->failures == 0)) found = node;
    }
    return found;
}

struct kw_node *kw_route_node(struct kw_worker *worker, const struct kw_request *req) {
    struct kw_node *node = req->target;
    if (!node) node = req->slot >= 0 ? kw_worker_owner(worker, (unsigned)req->slot) : any_primary(worker);
    /* A frozen node's kernel takes connections all the same: what goes there is stuck. Its successor will come. */
    return node && node->failed ? NULL : node;
}

/* A node that refused a connection is tried again when its pause is over, like any other. */
static bool usable(const struct kw_node *node) {
    return !node->failed && (node->failures == 0 || kw_worker_now_us(node->worker) >= node->connect_not_before_us);
}

/* The replica that reads of this primary go to; NULL when none will do. */
static struct kw_node *pick_replica(struct kw_node *primary, int read_from) {
    struct kw_node *best = NULL;
    for (unsigned i = 0; i < primary->replica_count; i++) {
        unsigned at = (primary->link_turn + i) % primary->replica_count;
        struct kw_node *node = primary->replicas[at];
        if (!usable(node)) continue;
        if (read_from != KW_READ_NEAREST) {
            primary->link_turn = at + 1;
            return node;
        }
        if (!best || node->rtt_us < best->rtt_us) best = node;
    }
    if (best && usable(primary) && primary->rtt_us <= best->rtt_us) return NULL;
    return best;
}

static struct kw_link *shared_link(struct kw_node *node, const struct kw_request *req) {
    return kw_link_pick(node, req->flags & KW_REQF_RESP3 ? KW_LINK_SHARED3 : KW_LINK_SHARED, req->session->id);
}

static struct kw_link *read_link(struct kw_worker *worker, struct kw_node *primary, const struct kw_request *req) {
    int read_from = kw_server_limits(worker->server)->read_from;
    struct kw_node *replica = pick_replica(primary, read_from);
    if (replica) {
        enum kw_link_kind kind = req->flags & KW_REQF_RESP3 ? KW_LINK_REPLICA3 : KW_LINK_REPLICA;
        struct kw_link *link = kw_link_pick(replica, kind, req->session->id);
        if (link) return link;
    }
    if (read_from == KW_READ_REPLICA && primary->replica_count > 0) return NULL;
    return shared_link(primary, req);
}

struct kw_link *kw_route_link(struct kw_worker *worker, const struct kw_request *req, struct kw_link *prefer) {
    struct kw_node *node = kw_route_node(worker, req);
    if (KW_UNLIKELY(!node)) return NULL;
    if (KW_UNLIKELY(req->session->tracking)) return kw_tracking_link(req->session, node);
    if (prefer) return prefer->node == node && !prefer->closing ? prefer : shared_link(node, req);
    if (KW_UNLIKELY(kw_server_limits(worker->server)->read_from != KW_READ_PRIMARY) && !req->target &&
        (req->flags & KW_REQF_READONLY) && req->slot >= 0) {
        /* One that a replica refused goes to the primary. */
        if (req->attempts == 0) return read_link(worker, node, req);
    }
    return shared_link(node, req);
}
