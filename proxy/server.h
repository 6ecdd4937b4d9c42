/*
 * The process: settings, workers, the acceptor, discovery, signals. It lives on
 * the main thread's loop; what workers may call is marked so.
 */
#ifndef KW_PROXY_SERVER_H
#define KW_PROXY_SERVER_H

#include <stddef.h>
#include <stdint.h>

#include "base/config.h"
#include "base/str.h"
#include "proxy/settings.h"

struct kw_server;
struct kw_worker;
struct kw_message;
struct kw_scripts;
struct kw_alert;
struct kw_topics;
struct kw_follow;

/*
 * Runs until SIGTERM or SIGINT and a drain; returns the process's exit code.
 * `cfg` and `settings` are borrowed.
 */
int kw_server_run(struct kw_config *cfg, struct kw_settings *settings);

/* Any thread. The limits in force; valid for the life of the process. */
const struct kw_limits *kw_server_limits(const struct kw_server *server);
/* Any thread: something hints at a changed topology (a redirect, a lost link): the nodes are asked soon. */
void kw_server_topology_doubt(struct kw_server *server);
uint64_t kw_server_next_client_id(struct kw_server *server);
const char *kw_server_address(const struct kw_server *server);
/* The AUTH command towards nodes in RESP, or nothing. */
void kw_server_node_auth(const struct kw_server *server, struct kw_str *out);
unsigned kw_server_worker_count(const struct kw_server *server);
struct kw_worker *kw_server_worker(struct kw_server *server, unsigned index);

/* What INFO says of the process. */
struct kw_server_facts {
    const char *run_id;
    const char *executable;
    const char *config_file;
    unsigned port;
    long long maxclients;
    uint64_t started_ms; /* monotonic */
    uint64_t rejected_connections;
};
void kw_server_facts(const struct kw_server *server, struct kw_server_facts *facts);

/* Runs on the main thread, soon. Any thread; takes ownership; `run` gets NULL as its worker. */
void kw_server_post(struct kw_server *server, struct kw_message *message);
/* The texts of scripts seen. Any thread. */
struct kw_scripts *kw_server_scripts(struct kw_server *server);
/* Who subscribes to what. Any thread. */
struct kw_topics *kw_server_topics(struct kw_server *server);

/* What every command is checked for; see alert.h. Any thread. */
struct kw_alert *kw_server_alert(struct kw_server *server);

/* The metadata service as it is followed; NULL: none is configured. Any thread; what may be asked of it: follow.h. */
struct kw_follow *kw_server_follow(struct kw_server *server);

/* Main thread. */
struct kw_config *kw_server_config(struct kw_server *server);

/* Apply hooks of the settings. Main thread. */
void kw_server_settings_changed(struct kw_server *server);
int kw_server_reopen_log(struct kw_server *server, char *why, size_t why_size);

#endif
