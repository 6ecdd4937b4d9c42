/* Preparations go through hiredis with bounded waits, the load through plain sockets. */
#include "tests/bench/load/nodes.h"

#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"

enum { LINK_TIMEOUT_S = 30 };

static const uint16_t NO_OWNER = UINT16_MAX;

static unsigned node_add(struct load_nodes *nodes, const char *host, unsigned port) {
    for (unsigned i = 0; i < nodes->count; i++) {
        if (nodes->list[i].port == port && strcmp(nodes->list[i].host, host) == 0) return i;
    }
    nodes->list = kw_realloc(nodes->list, (nodes->count + 1) * sizeof(*nodes->list));
    struct load_node *node = &nodes->list[nodes->count];
    (void)snprintf(node->host, sizeof(node->host), "%s", host);
    node->port = port;
    return nodes->count++;
}

/* One row of CLUSTER SLOTS: first slot, last slot, the primary, replicas. An empty address is the one that we asked. */
static bool take_range(struct load_nodes *nodes, const redisReply *range, const struct kw_seed *asked) {
    if (range->type != REDIS_REPLY_ARRAY || range->elements < 3) return false;
    const redisReply *first = range->element[0];
    const redisReply *last = range->element[1];
    const redisReply *primary = range->element[2];
    if (primary->type != REDIS_REPLY_ARRAY || primary->elements < 2) return false;
    if (first->integer < 0 || last->integer >= KW_SLOT_COUNT) return false;
    const redisReply *host = primary->element[0];
    bool named = host->type == REDIS_REPLY_STRING && host->len > 0;
    unsigned node = node_add(nodes, named ? host->str : asked->host, (unsigned)primary->element[1]->integer);
    for (long long slot = first->integer; slot <= last->integer; slot++) nodes->owner[slot] = (uint16_t)node;
    return true;
}

static void ask_slots(struct load_nodes *nodes, const struct kw_seed *seed) {
    struct load_node first = {.port = seed->port};
    (void)snprintf(first.host, sizeof(first.host), "%s", seed->host);
    redisContext *link = load_node_link(&first);
    redisReply *reply = redisCommand(link, "CLUSTER SLOTS");
    if (!reply) load_die("CLUSTER SLOTS of %s:%u: %s", first.host, first.port, link->errstr);
    if (reply->type != REDIS_REPLY_ARRAY) {
        load_die("CLUSTER SLOTS of %s:%u: %s", first.host, first.port, reply->str ? reply->str : "no list");
    }
    for (size_t slot = 0; slot < KW_SLOT_COUNT; slot++) nodes->owner[slot] = NO_OWNER;
    for (size_t i = 0; i < reply->elements; i++) {
        if (!take_range(nodes, reply->element[i], seed)) load_die("CLUSTER SLOTS: row %zu is malformed", i);
    }
    for (size_t slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (nodes->owner[slot] == NO_OWNER) load_die("CLUSTER SLOTS: slot %zu has no owner", slot);
    }
    freeReplyObject(reply);
    redisFree(link);
}

void load_nodes_init(struct load_nodes *nodes, const struct load_addresses *addresses, bool cluster) {
    nodes->list = NULL;
    nodes->count = 0;
    nodes->cluster = cluster;
    if (cluster) {
        ask_slots(nodes, &addresses->list[0]);
        return;
    }
    for (int i = 0; i < addresses->count; i++) (void)node_add(nodes, addresses->list[i].host, addresses->list[i].port);
}

void load_nodes_deinit(struct load_nodes *nodes) {
    kw_free(nodes->list);
}

unsigned load_nodes_for_key(const struct load_nodes *nodes, const char *key, size_t len, unsigned otherwise) {
    return nodes->cluster ? nodes->owner[kw_slot_of_key(key, len)] : otherwise;
}

redisContext *load_node_link(const struct load_node *node) {
    struct timeval timeout = {.tv_sec = LINK_TIMEOUT_S};
    redisContext *link = redisConnectWithTimeout(node->host, (int)node->port, timeout);
    if (!link || link->err != 0) {
        load_die("cannot connect to %s:%u: %s", node->host, node->port, link ? link->errstr : "out of memory");
    }
    (void)redisSetTimeout(link, timeout);
    return link;
}

int load_node_connect(const struct load_node *node) {
    char port[16];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *found = NULL;
    (void)snprintf(port, sizeof(port), "%u", node->port);
    int rc = getaddrinfo(node->host, port, &hints, &found);
    if (rc != 0) load_die("cannot resolve %s: %s", node->host, gai_strerror(rc));
    int fd = socket(found->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, found->ai_addr, found->ai_addrlen) != 0) {
        load_die("cannot connect to %s:%u: %m", node->host, node->port);
    }
    freeaddrinfo(found);
    int on = 1;
    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)) != 0 || fcntl(fd, F_SETFL, O_NONBLOCK) != 0) {
        load_die("cannot set up a connection: %m");
    }
    return fd;
}
