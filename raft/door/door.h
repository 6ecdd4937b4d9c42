/*
 * The door of a metadata node: where clients come in, with RESP2 or RESP3
 * (docs/metadata.md). Reads and writes of the replicated state, pushes of the map to those who
 * watch it, and what an ordinary Redis client asks of a server. On the loop's thread.
 */
#ifndef KW_RAFT_DOOR_DOOR_H
#define KW_RAFT_DOOR_DOOR_H

#include <stddef.h>
#include <uv.h>

#include "base/config.h"
#include "raft/observer.h"
#include "raft/settings.h"
#include "raft/store/replica.h"

struct kw_door;

struct kw_door_options {
    struct kw_config *cfg;                   /* borrowed */
    const struct kw_meta_settings *settings; /* borrowed; read when needed, so that changes hold at once */
    void (*on_shutdown)(void *ctx);          /* a client sent SHUTDOWN */
    void *ctx;
};

/* Binds every address of `bind`; nobody is let in yet. 0, or KW_EINVALID, KW_EIO with the reason in `why`. */
int kw_door_open(struct kw_door **out, uv_loop_t *loop, const struct kw_door_options *options, char *why,
                 size_t why_size);
/* Lets clients in. Both are borrowed until kw_door_hush. */
void kw_door_start(struct kw_door *door, struct kw_replica *replica, struct kw_observer *observer);

/* The replica's events: entries were applied; role, term or leader changed. */
void kw_door_applied(struct kw_door *door);
void kw_door_role(struct kw_door *door);

/* No new connections from here on; those that are here are served. */
void kw_door_shut(struct kw_door *door);
/* Nothing is read any more, and replica and observer are not used: only replies that are due still leave. */
void kw_door_hush(struct kw_door *door);
/* Writes what is due as far as the sockets take it, closes all. `closed` runs from the loop, `door` is gone then. */
void kw_door_close(struct kw_door *door, void (*closed)(void *ctx), void *ctx);

#endif
