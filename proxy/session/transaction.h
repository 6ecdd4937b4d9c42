/*
 * MULTI, EXEC, DISCARD on one slot. The proxy queues the commands with the
 * checks that Redis makes at queue time, and sends MULTI ... EXEC as one unit,
 * so that no other client's commands come between on a shared link, and a
 * transaction that was refused by a node is sent again as a whole.
 */
#ifndef KW_PROXY_TRANSACTION_H
#define KW_PROXY_TRANSACTION_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arg.h"
#include "cluster/command.h"

struct kw_session;
struct kw_frame_source;
struct kw_transaction;

/* Starts one; false when one is open already. */
bool kw_transaction_begin(struct kw_session *session);
/* An error at queue time: EXEC will be refused. */
void kw_transaction_spoil(struct kw_session *session);
void kw_transaction_discard(struct kw_session *session);
/* Commands queued, or -1 outside of a transaction. */
int kw_transaction_length(const struct kw_session *session);

/* A command while a transaction is open: queued or refused, and answered. False: it is to be run now. */
bool kw_transaction_queue(struct kw_session *session, const struct kw_command *cmd, const struct kw_arg *argv,
                          size_t argc, const struct kw_frame_source *frame);

/* EXEC with a transaction open: sends it, or answers why not. */
void kw_transaction_exec(struct kw_session *session, const struct kw_command *cmd);

#endif
