/* A link a node, found by address; see observer_offsets.h. Freed when the last link and the timer are closed. */
#include "raft/observer_offsets.h"

#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/arg.h"
#include "base/base.h"

enum { ASK_MS = 1000, REPLY_MAX = 64 * 1024 };

struct place {
    struct place *next;
    struct kw_offsets *owner;
    struct kw_control_link *link;
    char host[KW_TOPO_HOST_MAX + 1];
    unsigned port;
    int64_t offset; /* -1: not known */
    bool wanted;
};

struct kw_offsets {
    uv_loop_t *loop;
    const struct kw_control_link_auth *auth; /* borrowed */
    uv_timer_t timer;
    struct place *places;
    unsigned open; /* links and the timer */
    bool closing;
    void (*closed)(void *ctx);
    void *ctx;
};

static void closed_one(struct kw_offsets *offsets) {
    if (--offsets->open > 0) return;
    void (*closed)(void *) = offsets->closed;
    void *ctx = offsets->ctx;
    kw_free(offsets);
    if (closed) closed(ctx);
}

/* ---- asking */

static int64_t field(const char *text, size_t len, const char *name) {
    size_t name_len = strlen(name);
    const char *end = text + len;
    for (const char *at = text; at && at < end; at = memchr(at, '\n', (size_t)(end - at))) {
        if (*at == '\n') at++;
        if ((size_t)(end - at) <= name_len || memcmp(at, name, name_len) != 0) continue;
        size_t value = kw_digits(at + name_len, end);
        return value <= (size_t)INT64_MAX ? (int64_t)value : -1;
    }
    return -1;
}

int64_t kw_offsets_parse(const char *text, size_t len) {
    /* A replica says both; the other one is what its own replicas would be sent. */
    int64_t offset = field(text, len, "slave_repl_offset:");
    return offset >= 0 ? offset : field(text, len, "master_repl_offset:");
}

static void on_reply(void *ctx, const struct redisReply *reply) {
    struct place *place = ctx;
    place->offset = reply && reply->type == REDIS_REPLY_STRING ? kw_offsets_parse(reply->str, reply->len) : -1;
}

static void ask(struct place *place) {
    const char *argv[] = {"INFO", "replication"};
    const size_t len[] = {4, 11};
    if (!kw_control_link_is_up(place->link)) return;
    kw_control_link_command(place->link, on_reply, place, 2, argv, len);
}

static void on_up(void *ctx) {
    ask(ctx);
}

static void on_down(void *ctx, int err, const char *why, bool was_up) {
    (void)err;
    (void)why;
    (void)was_up;
    ((struct place *)ctx)->offset = -1;
}

static void on_timer(uv_timer_t *timer) {
    struct kw_offsets *offsets = timer->data;
    for (struct place *place = offsets->places; place; place = place->next) ask(place);
}

/* ---- who is asked */

static struct place *find(const struct kw_offsets *offsets, const char *host, unsigned port) {
    for (struct place *place = offsets->places; place; place = place->next) {
        if (place->port == port && strcmp(place->host, host) == 0) return place;
    }
    return NULL;
}

static void add(struct kw_offsets *offsets, const struct kw_topo_node *node) {
    struct place *place = kw_calloc(1, sizeof(*place));
    place->owner = offsets;
    place->port = node->port;
    place->offset = -1;
    place->wanted = true;
    memcpy(place->host, node->host, sizeof(place->host));
    struct kw_control_link_options options = {
        .host = place->host,
        .port = place->port,
        .auth = offsets->auth,
        .reply_max = REPLY_MAX,
        .on_up = on_up,
        .on_down = on_down,
        .ctx = place,
    };
    place->link = kw_control_link_new(offsets->loop, &options);
    place->next = offsets->places;
    offsets->places = place;
    offsets->open++;
}

static void on_link_closed(void *ctx) {
    struct place *place = ctx;
    struct kw_offsets *offsets = place->owner;
    kw_free(place);
    closed_one(offsets);
}

static void drop_unwanted(struct kw_offsets *offsets) {
    struct place **at = &offsets->places;
    while (*at) {
        struct place *place = *at;
        if (place->wanted) {
            at = &place->next;
        } else {
            *at = place->next;
            kw_control_link_close(place->link, on_link_closed, place);
        }
    }
}

void kw_offsets_follow(struct kw_offsets *offsets, const struct kw_topology *topo) {
    for (struct place *place = offsets->places; place; place = place->next) place->wanted = false;
    for (unsigned i = 0; i < topo->node_count; i++) {
        if (topo->nodes[i].port == 0 || !topo->nodes[i].host[0]) continue;
        struct place *known = find(offsets, topo->nodes[i].host, topo->nodes[i].port);
        if (known) {
            known->wanted = true;
        } else {
            add(offsets, &topo->nodes[i]);
        }
    }
    drop_unwanted(offsets);
}

int64_t kw_offsets_get(const struct kw_offsets *offsets, const char *host, unsigned port) {
    const struct place *place = find(offsets, host, port);
    return place ? place->offset : -1;
}

struct kw_offsets *kw_offsets_new(uv_loop_t *loop, const struct kw_control_link_auth *auth) {
    struct kw_offsets *offsets = kw_calloc(1, sizeof(*offsets));
    offsets->loop = loop;
    offsets->auth = auth;
    offsets->open = 1;
    uv_timer_init(loop, &offsets->timer);
    offsets->timer.data = offsets;
    uv_timer_start(&offsets->timer, on_timer, ASK_MS, ASK_MS);
    return offsets;
}

static void on_timer_closed(uv_handle_t *handle) {
    closed_one(handle->data);
}

void kw_offsets_close(struct kw_offsets *offsets, void (*closed)(void *ctx), void *ctx) {
    offsets->closed = closed;
    offsets->ctx = ctx;
    for (struct place *place = offsets->places; place; place = place->next) place->wanted = false;
    drop_unwanted(offsets);
    uv_close((uv_handle_t *)&offsets->timer, on_timer_closed);
}
