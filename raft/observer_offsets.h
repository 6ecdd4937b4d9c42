/*
 * How far each Redis node is: its replication offset, asked once a second over
 * a control link of its own. For people (NODES, status); nothing is decided by
 * it. On the loop's thread.
 */
#ifndef KW_RAFT_OBSERVER_OFFSETS_H
#define KW_RAFT_OBSERVER_OFFSETS_H

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "cluster/control_link.h"
#include "cluster/topology.h"

struct kw_offsets;

/* `auth` is borrowed until kw_offsets_close has called back. */
struct kw_offsets *kw_offsets_new(uv_loop_t *loop, const struct kw_control_link_auth *auth);
/* These nodes and no others from now on. */
void kw_offsets_follow(struct kw_offsets *offsets, const struct kw_topology *topo);
/* -1: not known now. */
int64_t kw_offsets_get(const struct kw_offsets *offsets, const char *host, unsigned port);
void kw_offsets_close(struct kw_offsets *offsets, void (*closed)(void *ctx), void *ctx);

/* The offset that the text of INFO replication tells; -1: none. Pure. */
int64_t kw_offsets_parse(const char *text, size_t len);

#endif
