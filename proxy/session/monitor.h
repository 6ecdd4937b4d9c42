/*
 * MONITOR: sessions that are shown every command that the proxy receives. A
 * command is written as a line on its client's worker; lines are collected over
 * a loop turn and go as one message to each worker that has monitors.
 */
#ifndef KW_PROXY_MONITOR_H
#define KW_PROXY_MONITOR_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arg.h"
#include "base/str.h"
#include "cluster/command.h"

struct kw_big;
struct kw_request;
struct kw_request_parse;
struct kw_session;
struct kw_worker;

/* The session sees what runs from here on. */
void kw_monitor_begin(struct kw_session *session);
/* It sees no more; nothing when it was no monitor. */
void kw_monitor_end(struct kw_session *session);

/* A monitor does not use the keyspace. */
bool kw_monitor_refuses(const struct kw_session *session, const struct kw_command *cmd);

/*
 * Writes the line of a command that is about to run; large arguments are in `bigs` where `argv` does not have them.
 * What has not been received yet is only counted. `line` stays empty when the command is not shown.
 */
void kw_monitor_line(const struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                     const struct kw_request_parse *parse, const struct kw_big *bigs, struct kw_str *line);
/* Shows it, once `session` has started the command. */
void kw_monitor_show(struct kw_session *session, const struct kw_str *line);
/* The queued commands of its transaction, which has been sent as `req`. */
void kw_monitor_show_queued(struct kw_session *session, const struct kw_request *req);

/* Sends what was collected; at the end of a loop turn, before replies leave. */
void kw_monitor_flush(struct kw_worker *worker);

#endif
