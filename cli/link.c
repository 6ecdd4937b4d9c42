/* hiredis with bounded waits. The context is the caller's; replies are, too. */
#include "cli/link.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

static redisContext *connect_to(const char *host, unsigned port, unsigned timeout_ms, char *error, size_t error_size) {
    struct timeval timeout = {.tv_sec = timeout_ms / 1000, .tv_usec = (long)(timeout_ms % 1000) * 1000L};
    redisContext *link = redisConnectWithTimeout(host, (int)port, timeout);
    if (link != NULL && link->err == 0 && redisSetTimeout(link, timeout) == REDIS_OK) return link;
    (void)snprintf(error, error_size, "%s", link != NULL && link->errstr[0] != '\0' ? link->errstr : "cannot connect");
    if (link != NULL) redisFree(link);
    return NULL;
}

redisContext *kw_cli_link_open(uint16_t port, unsigned timeout_ms) {
    char error[128];
    return connect_to("127.0.0.1", port, timeout_ms, error, sizeof(error));
}

redisContext *kw_cli_link_open_at(const char *host, unsigned port, const char *user, const char *password,
                                  unsigned timeout_ms, char *error, size_t error_size) {
    redisContext *link = connect_to(host, port, timeout_ms, error, error_size);
    if (link == NULL || password == NULL || password[0] == '\0') return link;
    bool good = user != NULL && user[0] != '\0'
                    ? kw_cli_link_succeeds(link, error, error_size, "AUTH %s %s", user, password)
                    : kw_cli_link_succeeds(link, error, error_size, "AUTH %s", password);
    if (good) return link;
    redisFree(link);
    return NULL;
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
        bool silent = link->err == REDIS_ERR_IO && (errno == EAGAIN || errno == EWOULDBLOCK);
        (void)snprintf(error, error_size, "no reply: %s", silent ? "it is silent" : link->errstr);
        return false;
    }
    bool good = reply->type != REDIS_REPLY_ERROR;
    if (!good) (void)snprintf(error, error_size, "%s", reply->str);
    freeReplyObject(reply);
    return good;
}
