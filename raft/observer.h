/*
 * The observer: while this node leads and a cluster is attached, it asks the
 * Redis nodes what they are (cluster/discovery.h), and submits each change of the
 * map. On a follower, or with no cluster, it has no connection at all.
 *
 * What the nodes say is believed only where it can be an improvement: a
 * picture without a single reachable node, without slots, of another cluster, or of an epoch
 * that was left behind changes nothing. Everything on the loop's thread.
 */
#ifndef KW_RAFT_OBSERVER_H
#define KW_RAFT_OBSERVER_H

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "cluster/topology.h"
#include "raft/state/map.h"

struct kw_observer;
struct kw_replica;

/* `replica` is borrowed. User and password: "" for none; copied. */
struct kw_observer *kw_observer_new(uv_loop_t *loop, struct kw_replica *replica, const char *user,
                                    const char *password);

/* Something was applied, or the role changed: starts, stops or looks again. */
void kw_observer_update(struct kw_observer *observer, bool leader);
void kw_observer_set_auth(struct kw_observer *observer, const char *user, const char *password);

/* No callback but `closed` runs afterwards; `observer` is gone then. */
void kw_observer_close(struct kw_observer *observer, void (*closed)(void *ctx), void *ctx);

/* What was seen last; borrowed until the next turn; NULL: nothing is observed here. `observer` may be NULL. */
const struct kw_topology *kw_observer_topology(const struct kw_observer *observer);
/* Replication offset of a node as it said last; -1: unknown. `observer` may be NULL. */
int64_t kw_observer_offset(const struct kw_observer *observer, const char *host, unsigned port);

/* Why a picture of the nodes must not replace the map; NULL: it may. Pure. */
const char *kw_observer_refusal(const struct kw_map *map, const struct kw_topology *seen, const struct kw_map *fresh);

#endif
