/*
 * The process keyway-meta: one loop with the replica, the door for clients and
 * the observer of the Redis nodes; signals, pidfile, an end in good order.
 */
#ifndef KW_RAFT_SERVER_H
#define KW_RAFT_SERVER_H

#include "base/config.h"

struct kw_meta_server;
struct kw_meta_settings;

/* Exit codes. */
enum { KW_META_EXIT_CONFIG = 1, KW_META_EXIT_FOLDER = 2, KW_META_EXIT_DISK = 70 };

/* Runs until SIGTERM, SIGINT or SHUTDOWN; answers the exit code. Both are borrowed. */
int kw_meta_server_run(struct kw_config *cfg, struct kw_meta_settings *settings);

/* Apply hooks of the settings. */
void kw_meta_server_log_changed(struct kw_meta_server *server);
void kw_meta_server_auth_changed(struct kw_meta_server *server);

#endif
