/* hiredis with bounded waits. The context is the caller's; replies are, too. */
#include "cli/link.h"

#include <stdarg.h>
#include <stdio.h>

redisContext *kw_cli_link_open(uint16_t port, unsigned timeout_ms) {
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = (long)(timeout_ms % 1000) * 1000L};
    redisContext *link = redisConnectWithTimeout("127.0.0.1", port, timeout);
    if (link == NULL) return NULL;
    if (link->err != 0 || redisSetTimeout(link, timeout) != REDIS_OK) {
        redisFree(link);
        return NULL;
    }
    return link;
}

redisReply *kw_cli_link_command(redisContext *link, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    redisReply *reply = link->err == 0 ? redisvCommand(link, fmt, args) : NULL;
    va_end(args);
    return reply;
}

bool kw_cli_link_succeeds(redisContext *link, char *error, size_t error_size, const char *fmt, ...) {
    va_list args;
    va_start(args, fmt);
    redisReply *reply = link->err == 0 ? redisvCommand(link, fmt, args) : NULL;
    va_end(args);
    if (reply == NULL) {
        (void)snprintf(error, error_size, "no reply: %s", link->errstr);
        return false;
    }
    bool good = reply->type != REDIS_REPLY_ERROR;
    if (!good) (void)snprintf(error, error_size, "%s", reply->str);
    freeReplyObject(reply);
    return good;
}
