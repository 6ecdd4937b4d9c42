#include "base/bind.h"

#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/base.h"
#include "base/config.h"
#include "base/error.h"

enum { NAME_SIZE = 256 };

struct opening {
    int *fds;
    int count;
    unsigned port;
    int backlog;
    char *why;
    size_t why_size;
};

static bool is(const char *host, size_t len, const char *text) {
    return len == strlen(text) && memcmp(host, text, len) == 0;
}

bool kw_bind_everywhere(const char *host, size_t len) {
    static const char *const names[] = {"*", "::*", "0.0.0.0", "::"};
    for (size_t i = 0; i < KW_ARRAY_LEN(names); i++) {
        if (is(host, len, names[i])) return true;
    }
    return false;
}

bool kw_bind_next(const char **cursor, struct kw_bind_host *out) {
    out->host = kw_config_list_next(cursor, &out->len);
    if (!out->host) return false;
    out->optional = out->len > 1 && out->host[0] == '-';
    if (out->optional) {
        out->host++;
        out->len--;
    }
    return true;
}

/* A descriptor, or an errno below 0. */
static int listen_on(const struct addrinfo *at, int backlog) {
    int fd = socket(at->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) return -errno;
    int on = 1;
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    /* Each family has its own socket, so that both can be named beside each other. */
    if (at->ai_family == AF_INET6) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    /* Two may bind one port while neither listens: only listening tells that another process has it. */
    if (bind(fd, at->ai_addr, at->ai_addrlen) == 0 && listen(fd, backlog) == 0) return fd;
    int err = -errno;
    close(fd);
    return err;
}

/* The machine has no such address, or does not speak its protocol. */
static bool machine_lacks(int err) {
    return err == -EADDRNOTAVAIL || err == -EAFNOSUPPORT || err == -EPROTONOSUPPORT;
}

static int refuse(const struct opening *o, const struct kw_bind_host *word, int err) {
    snprintf(o->why, o->why_size, "cannot listen on %.*s:%u: %s", (int)word->len, word->host, o->port, strerror(-err));
    return KW_EIO;
}

/* Named before: by another word, or by a name that the resolver knows twice. */
static bool is_open(const struct opening *o, const struct addrinfo *at) {
    for (int i = 0; i < o->count; i++) {
        struct sockaddr_storage own = {0};
        socklen_t len = sizeof(own);
        if (getsockname(o->fds[i], (struct sockaddr *)&own, &len) != 0 || len != at->ai_addrlen) continue;
        /* Both families have the port in the same place; the one that was asked for may be "any". */
        ((struct sockaddr_in *)&own)->sin_port = ((const struct sockaddr_in *)(const void *)at->ai_addr)->sin_port;
        if (memcmp(&own, at->ai_addr, len) == 0) return true;
    }
    return false;
}

static int open_all(struct opening *o, const struct kw_bind_host *word, const struct addrinfo *found) {
    bool any = false;
    int lacking = 0;
    for (const struct addrinfo *at = found; at; at = at->ai_next) {
        if (is_open(o, at)) {
            any = true;
            continue;
        }
        if (o->count == KW_BIND_MAX) {
            snprintf(o->why, o->why_size, "bind names more than %d addresses", KW_BIND_MAX);
            return KW_EINVALID;
        }
        int fd = listen_on(at, o->backlog);
        if (fd >= 0) {
            o->fds[o->count++] = fd;
            any = true;
        } else if (machine_lacks(fd)) {
            lacking = fd;
        } else {
            return refuse(o, word, fd);
        }
    }
    return any || word->optional ? 0 : refuse(o, word, lacking);
}

static int open_word(struct opening *o, const struct kw_bind_host *word) {
    char name[NAME_SIZE], service[16];
    if (word->len >= sizeof(name)) {
        snprintf(o->why, o->why_size, "bind %.40s...: longer than a host name can be", word->host);
        return KW_EINVALID;
    }
    snprintf(name, sizeof(name), "%.*s", (int)word->len, word->host);
    snprintf(service, sizeof(service), "%u", o->port);
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found;
    if (is(word->host, word->len, "*")) hints.ai_family = AF_INET;
    if (is(word->host, word->len, "::*")) hints.ai_family = AF_INET6;
    int err = getaddrinfo(hints.ai_family == AF_UNSPEC ? name : NULL, service, &hints, &found);
    if (err) {
        snprintf(o->why, o->why_size, "bind %.*s: %s", (int)word->len, word->host, gai_strerror(err));
        return KW_EINVALID;
    }
    err = open_all(o, word, found);
    freeaddrinfo(found);
    return err;
}

int kw_bind_open(int fds[KW_BIND_MAX], const char *bind, unsigned port, int backlog, char *why, size_t why_size) {
    struct opening o = {.fds = fds, .port = port, .backlog = backlog, .why = why, .why_size = why_size};
    struct kw_bind_host word;
    const char *cursor = bind;
    int err = 0, words = 0;
    for (; !err && kw_bind_next(&cursor, &word); words++) err = open_word(&o, &word);
    if (!err && o.count == 0) {
        snprintf(why, why_size,
                 words > 0 ? "this machine has none of the addresses that bind names" : "bind names no address");
        err = KW_EINVALID;
    }
    if (!err) return o.count;
    while (o.count > 0) close(fds[--o.count]);
    return err;
}
