/*
 * Nodes of a worker and the choice of a link. A node that cannot be reached is
 * tried again after a growing pause; meanwhile requests for it stay parked.
 */
#include "proxy/upstream/upstream.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/request/orphan.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/upstream/link.h"
#include "proxy/worker.h"

enum { PRIVATE_IDLE_MAX = 32, PRIVATE_IDLE_US = 30 * 1000 * 1000, HELD_US = 200 * 1000 };

struct kw_node *kw_node_find(struct kw_worker *worker, const char *addr, size_t len) {
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        if (strlen(node->addr) == len && memcmp(node->addr, addr, len) == 0) return node;
    }
    return NULL;
}

/* A row of the worker's table: the lowest that is free, row 0 being nobody's. */
static void take_index(struct kw_worker *worker, struct kw_node *node) {
    unsigned at = 1;
    while (at < worker->node_table_size && worker->node_table[at]) at++;
    if (at >= worker->node_table_size) {
        unsigned size = worker->node_table_size * 2;
        KW_ASSERT(size <= UINT16_MAX + 1U);
        worker->node_table = kw_realloc(worker->node_table, size * sizeof(struct kw_node *));
        memset(worker->node_table + worker->node_table_size, 0,
               (size - worker->node_table_size) * sizeof(struct kw_node *));
        worker->node_table_size = size;
    }
    worker->node_table[at] = node;
    node->index = (uint16_t)at;
}

struct kw_node *kw_node_get(struct kw_worker *worker, const char *host, unsigned port) {
    char addr[300];
    int len = snprintf(addr, sizeof(addr), "%s:%u", host, port);
    struct kw_node *node = kw_node_find(worker, addr, (size_t)len);
    if (node) return node;
    node = kw_calloc(1, sizeof(*node));
    node->worker = worker;
    node->host = kw_strdup(host);
    node->port = port;
    node->addr = kw_strdup(addr);
    node->next = worker->nodes;
    worker->nodes = node;
    take_index(worker, node);
    return node;
}

void kw_node_close_links(struct kw_node *node, const char *why) {
    while (node->all) kw_link_close(node->all, why);
}

static bool node_is_named(struct kw_worker *worker, const struct kw_node *node) {
    for (uint32_t at = 0; at < worker->irregular_count; at++) {
        for (struct kw_request *req = worker->irregular[at]->active_head; req; req = req->active_next) {
            if (req->target == node) return true;
        }
    }
    return false;
}

void kw_node_sweep(struct kw_worker *worker) {
    struct kw_node **at = &worker->nodes;
    while (*at) {
        struct kw_node *node = *at;
        if (node->in_topology || node->all || node_is_named(worker, node)) {
            at = &node->next;
            continue;
        }
        *at = node->next;
        worker->node_table[node->index] = NULL;
        kw_free(node->replicas);
        kw_free(node->host);
        kw_free(node->addr);
        kw_free(node);
    }
}

static bool may_connect(const struct kw_node *node) {
    return kw_worker_now_us(node->worker) >= node->connect_not_before_us;
}

static unsigned links_wanted(const struct kw_node *node) {
    return kw_server_limits(node->worker->server)->node_links;
}

static struct kw_link *add_link(struct kw_node *node, enum kw_link_kind kind) {
    unsigned count = node->link_count[kind];
    if (count >= KW_LINKS_MAX || !may_connect(node)) return NULL;
    struct kw_link *link = kw_link_new(node, kind);
    if (!link) return NULL;
    node->links[kind][node->link_count[kind]++] = link;
    /* Sessions may now be led to another link than that of their requests in flight. */
    if (count > 0) node->worker->route_seq++;
    return link;
}

/*
 * Which of several links is a function of the session alone, as long as route_seq stays: all of a session's
 * requests for a node share one link, whatever the load, or their order would be lost.
 */
struct kw_link *kw_link_pick(struct kw_node *node, enum kw_link_kind kind, uint64_t session_id) {
    struct kw_link **links = node->links[kind];
    unsigned wanted = links_wanted(node);
    if (KW_LIKELY(wanted == 1 && node->link_count[kind] == 1 && !links[0]->paused && !links[0]->held)) return links[0];
    while (node->link_count[kind] < wanted && add_link(node, kind)) continue;
    unsigned count = node->link_count[kind];
    for (unsigned i = 0; i < count; i++) {
        struct kw_link *link = links[(session_id + i) % count];
        if (!link->paused && !link->held) return link;
    }
    /* All wait for a slow client or a long script: one more, for those who do not deserve to wait. */
    struct kw_link *more = add_link(node, kind);
    if (more || count == 0) return more;
    /* None to be had. One that waits for its only client goes on reading for the others now. */
    node->worker->recheck_paused = true;
    return links[session_id % count];
}

/* Links that were added for the time of a jam go when they are idle. */
static void drop_surplus(struct kw_node *node, enum kw_link_kind kind) {
    unsigned count = node->link_count[kind];
    if (count <= links_wanted(node)) return;
    for (unsigned i = 0; i < count; i++) {
        if (node->links[kind][i]->paused || node->links[kind][i]->held) return; /* the jam is not over */
    }
    struct kw_link *last = node->links[kind][count - 1];
    if (!last->head && !last->paused && !last->held && last->connected) kw_link_close(last, "not needed any more");
}

struct kw_link *kw_link_get_private(struct kw_node *node, int resp) {
    struct kw_link *link = node->idle_private;
    if (link) {
        node->idle_private = link->idle_next;
        node->idle_private_count--;
        link->idle_next = NULL;
        link->idle_since_us = 0;
    } else if (may_connect(node)) {
        link = kw_link_new(node, KW_LINK_PRIVATE);
    }
    if (link && link->resp != resp && kw_link_speak(link, resp)) {
        kw_link_close(link, "out of memory");
        return NULL;
    }
    return link;
}

struct kw_link *kw_link_new_push(struct kw_node *node, const struct kw_link_owner *owner, void *owner_ref) {
    struct kw_link *link = may_connect(node) ? kw_link_new(node, KW_LINK_PUSH) : NULL;
    if (!link) return NULL;
    link->owner = owner;
    link->owner_ref = owner_ref;
    return link;
}

/* Somebody's reply is to come. What comes for commands of ours (UNWATCH, HELLO) is in nobody's way. */
static bool is_used(const struct kw_link *link) {
    const struct kw_request *req = link->head;
    while (req && req->flags & KW_REQF_INTERNAL) req = req->link_next;
    return req != NULL;
}

void kw_link_put_private(struct kw_link *link) {
    struct kw_node *node = link->node;
    if (link->closing || !node) return;
    link->owner = NULL;
    link->owner_ref = NULL;
    if (is_used(link) || node->idle_private_count >= PRIVATE_IDLE_MAX) {
        kw_link_close(link, "not needed any more");
        return;
    }
    link->idle_since_us = kw_worker_now_us(link->worker);
    link->idle_next = node->idle_private;
    node->idle_private = link;
    node->idle_private_count++;
}

void kw_link_retire(struct kw_link *link) {
    link->retiring = true;
    if (!link->head) kw_link_close(link, "not needed any more");
}

void kw_upstream_forget(struct kw_link *link) {
    struct kw_node *node = link->node;
    for (int kind = 0; kind < KW_LINK_SHARED_KINDS; kind++) {
        for (unsigned i = 0; i < node->link_count[kind]; i++) {
            if (node->links[kind][i] != link) continue;
            node->links[kind][i] = node->links[kind][--node->link_count[kind]];
            node->links[kind][node->link_count[kind]] = NULL;
        }
    }
    for (struct kw_link **at = &node->idle_private; *at; at = &(*at)->idle_next) {
        if (*at != link) continue;
        *at = link->idle_next;
        node->idle_private_count--;
        break;
    }
    if (link->prev) {
        link->prev->next = link->next;
    } else {
        node->all = link->next;
    }
    if (link->next) link->next->prev = link->prev;
    node->worker->route_seq++;
}

/* Requests that wait too long for their reply; see link_reply.c for what becomes of the reply. */
/* Others are then told by the node itself that it is busy. */
static void check_held(struct kw_link *link, uint64_t now_us) {
    bool held = link->head && link->head->flags & KW_REQF_SCRIPT && now_us - link->head->sent_us > HELD_US;
    if (held == link->held) return;
    link->held = held;
    link->worker->route_seq++;
}

static void tick_link(struct kw_link *link, uint64_t now_us, uint64_t timeout_us) {
    if (!link->connected) {
        if (now_us >= link->connect_deadline_us) kw_link_close(link, "connect timed out");
        return;
    }
    if (link->idle_since_us && now_us - link->idle_since_us > PRIVATE_IDLE_US) {
        kw_link_close(link, "idle");
        return;
    }
    if (link->retiring && !link->head) {
        kw_link_close(link, "not needed any more");
        return;
    }
    if (link->kind == KW_LINK_PRIVATE && link->streaming) {
        /* A large value on its way: its node must answer the probe and take the bytes. */
        bool silent = link->head && (link->head->flags & KW_REQF_INTERNAL) && now_us - link->head->sent_us > timeout_us;
        bool stuck = link->blocked_since_us && now_us - link->blocked_since_us > timeout_us;
        if (silent || stuck) {
            kw_link_close(link, "the node takes nothing");
            return;
        }
    }
    check_held(link, now_us);
    if (link->head && link->head->flags & KW_REQF_ORPHAN) kw_orphan_unblock(link);
    if (link->head && !link->paused) kw_link_expire(link, now_us, timeout_us);
}

void kw_upstream_tick(struct kw_worker *worker) {
    uint64_t now_us = kw_worker_now_us(worker);
    uint64_t timeout_us = kw_server_limits(worker->server)->request_timeout_us;
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        struct kw_link *next;
        for (struct kw_link *link = node->all; link; link = next) {
            next = link->next;
            tick_link(link, now_us, timeout_us);
        }
        for (int kind = 0; kind < KW_LINK_SHARED_KINDS; kind++) drop_surplus(node, (enum kw_link_kind)kind);
    }
}

void kw_upstream_recheck_paused(struct kw_worker *worker) {
    worker->recheck_paused = false;
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        for (struct kw_link *link = node->all; link; link = link->next) {
            if (link->paused) kw_link_check_pause(link);
        }
    }
}

void kw_upstream_close_all(struct kw_worker *worker) {
    for (struct kw_node *node = worker->nodes; node; node = node->next) {
        kw_node_close_links(node, "shutting down");
        node->in_topology = false;
    }
}
