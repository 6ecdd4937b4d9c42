/*
 * CLIENT PAUSE: commands of all clients wait, or only those that may write,
 * until the pause ends by itself or by CLIENT UNPAUSE. A command that must wait
 * stays in its session's intake, which takes nothing more; it costs nothing
 * until the end, when its worker looks at its sessions once.
 */
#ifndef KW_PROXY_PAUSE_H
#define KW_PROXY_PAUSE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"
#include "cluster/command.h"

struct kw_alert;
struct kw_server;
struct kw_session;
struct kw_worker;

void kw_pause_init(struct kw_alert *alert);
void kw_pause_deinit(struct kw_alert *alert);

/*
 * In force for every worker when this returns. The longer end and the stricter kind of it and a pause that still runs
 * hold. Any thread.
 */
void kw_pause_begin(struct kw_alert *alert, uint64_t timeout_ms, bool all);
/* Ends it; workers take up what waits. Any thread. */
void kw_pause_end(struct kw_server *server);

/* Whether CLIENT PAUSE WRITE holds the command; a script that says that it only reads is none. */
bool kw_pause_may_write(const struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                        size_t argc);
/* True when the command must wait: the session is marked, and woken at the end of the pause. Worker's thread. */
bool kw_pause_holds(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc);

/* A worker's part: the timer that ends the waiting. */
void kw_pause_worker_init(struct kw_worker *worker);
void kw_pause_worker_close(struct kw_worker *worker);

#endif
