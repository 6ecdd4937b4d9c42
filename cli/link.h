/*
 * A blocking connection to a node, a proxy or a metadata node, for a few
 * commands. Every wait is bounded. Main thread.
 */
#ifndef KW_CLI_LINK_H
#define KW_CLI_LINK_H

#include <hiredis/hiredis.h>
#include <stdbool.h>
#include <stdint.h>

/* Connects to 127.0.0.1:port; each later command waits `timeout_ms` at most. NULL when it fails; redisFree ends it. */
redisContext *kw_cli_link_open(uint16_t port, unsigned timeout_ms);

/*
 * Connects to host:port and gives the password there (user NULL or "": the default one; password NULL or "": none).
 * NULL when it fails, with the reason in `error`; redisFree ends it.
 */
redisContext *kw_cli_link_open_at(const char *host, unsigned port, const char *user, const char *password,
                                  unsigned timeout_ms, char *error, size_t error_size);

/*
 * Sends a command (hiredis's format) and waits. Returns the reply, which may
 * be an error reply and which the caller frees with freeReplyObject; NULL
 * when the connection is gone or silent, and then it is of no more use.
 */
redisReply *kw_cli_link_command(redisContext *link, const char *fmt, ...);

/* As kw_cli_link_command, for one whose reply only matters as good or bad. The error text is cut to fit; never empty.
 */
bool kw_cli_link_succeeds(redisContext *link, char *error, size_t error_size, const char *fmt, ...);

#endif
