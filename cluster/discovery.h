/*
 * Discovery: keeps the topology. One control link to every known node; in
 * each round all are asked for `CLUSTER NODES` at once, their views are merged
 * (topology_merge.c), and a topology that differs from the last is published.
 *
 * It starts with nothing but seeds, which may all be down, and goes on for as
 * long as it lives: a lost link, kw_discovery_refresh_soon() and troubled
 * slots make the rounds quicker; a dead or frozen node delays nobody. Once a
 * good map is known, nodes of another cluster and nodes that forgot theirs do
 * not destroy it. When no node answers, the last map stays, with its nodes
 * marked as not reachable.
 *
 * Everything here runs on the thread of the loop. Memory is bounded by
 * KW_TOPO_NODES_MAX nodes; a reply by the limit of the link.
 */
#ifndef KW_CLUSTER_DISCOVERY_H
#define KW_CLUSTER_DISCOVERY_H

#include <stddef.h>
#include <uv.h>

#include "cluster/topology.h"

struct kw_discovery;
struct redisReply;

struct kw_discovery_options {
    const char *seeds;           /* see cluster/seeds.h; NULL: none, the nodes come by kw_discovery_hint() */
    const char *user;            /* NULL or "": the default user */
    const char *password;        /* NULL or "": no AUTH */
    unsigned refresh_ms;         /* between rounds while all is well; 0: 1000 */
    unsigned connect_timeout_ms; /* 0: 500 */
    unsigned command_timeout_ms; /* a node silent for longer is not reachable; 0: 1000 */
    /*
     * A new topology, borrowed: kw_topology_ref() to keep it. Never inline
     * from a call of this header.
     */
    void (*on_topology)(void *ctx, struct kw_topology *topo);
    /* Reply of `COMMAND`, once per connect of each node; NULL: not asked. Negative is logged. */
    int (*learn)(const struct redisReply *reply);
    void *ctx;
};

/* Copies the options. 0, or KW_EINVALID when the seeds are no seed list. */
int kw_discovery_new(struct kw_discovery **out, uv_loop_t *loop, const struct kw_discovery_options *opts);

/* Begins to connect. Once. */
void kw_discovery_start(struct kw_discovery *d);

/*
 * A round as soon as may be: at once, or 50 ms after the last one began.
 * Calls in between coalesce. For MOVED, lost links and the like.
 */
void kw_discovery_refresh_soon(struct kw_discovery *d);

/*
 * What somebody else who watches the cluster says of it (the metadata
 * service), as a view; whose "myself" line it has does not matter. Owned from
 * here on; NULL takes it back. It is merged at once, and from then on with the
 * nodes' views, as one more voice: a node that has not answered yet is served
 * by it, a later configuration epoch at any node beats it, and no node counts
 * as reachable by it. A round begins at once.
 */
void kw_discovery_hint(struct kw_discovery *d, struct kw_topo_view *view);

/* New credentials for the connections that are made from now on; copied. */
void kw_discovery_set_auth(struct kw_discovery *d, const char *user, const char *password);

/* New period between rounds, in milliseconds; 0: 1000. */
void kw_discovery_set_refresh(struct kw_discovery *d, unsigned refresh_ms);

/* The topology published last, borrowed; NULL before the first. */
struct kw_topology *kw_discovery_current(const struct kw_discovery *d);

/*
 * Closes all links. No callback but `closed` (may be NULL) runs afterwards;
 * it runs from the loop, when all memory is given back. `d` is gone then.
 */
void kw_discovery_close(struct kw_discovery *d, void (*closed)(void *ctx), void *ctx);

/* For the configuration: 0, or KW_EINVALID with the reason in `why`. Any thread. */
int kw_discovery_seeds_check(const char *seeds, char *why, size_t why_len);

#endif
