/*
 * Glue: the client's callbacks on one side, discovery and INFO on the other.
 * The facts are copied under a lock, because INFO is answered by workers.
 * Nothing here can fail but the first reading of the addresses.
 */
#include "proxy/meta/follow.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/bind.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cluster/discovery.h"

struct kw_follow {
    struct kw_meta_client *client;  /* own */
    struct kw_discovery *discovery; /* borrowed */
    struct kw_map *map;             /* reference; NULL: none yet */
    bool believed;                  /* the map is discovery's hint */
    bool down;                      /* told so */
    uv_mutex_t lock;
    struct kw_meta_client_facts facts; /* under the lock */
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* ---- the map ---- */

static struct kw_topo_view *view_of(const struct kw_map *map) {
    struct kw_topo_view *view = NULL;
    struct kw_str text = {0};
    if (map->version == 0 || map->node_count == 0) return NULL;
    kw_map_nodes_text(&text, map, 0);
    /* Its own host: nothing is to be put in its place. */
    int err = kw_topo_view_parse(&view, text.data, text.len, map->nodes[0].host);
    if (err)
        kw_log(KW_LOG_WARNING, "metadata: map %llu is not used: %s", (unsigned long long)map->version,
               kw_error_text(err));
    kw_str_deinit(&text);
    return view;
}

static void believe(struct kw_follow *follow) {
    struct kw_topo_view *view = follow->map ? view_of(follow->map) : NULL;
    if (!view && !follow->believed) return;
    follow->believed = view != NULL;
    kw_discovery_hint(follow->discovery, view);
}

static void on_map(void *ctx, struct kw_map *map) {
    struct kw_follow *follow = ctx;
    bool news = !follow->map || follow->map->version != map->version;
    kw_log(news ? KW_LOG_NOTICE : KW_LOG_VERBOSE, "metadata: map %llu: %u nodes%s", (unsigned long long)map->version,
           map->node_count, map->node_count == 0 ? " (no cluster is attached)" : "");
    kw_map_unref(follow->map);
    follow->map = kw_map_ref(map);
    believe(follow);
}

/* ---- the link ---- */

static void on_facts(void *ctx, const struct kw_meta_client_facts *facts) {
    struct kw_follow *follow = ctx;
    uv_mutex_lock(&follow->lock);
    follow->facts = *facts;
    uv_mutex_unlock(&follow->lock);
}

static void on_link(void *ctx, bool up, const struct kw_meta_client_facts *facts) {
    struct kw_follow *follow = ctx;
    on_facts(ctx, facts);
    if (up) {
        kw_log(KW_LOG_NOTICE, "metadata: follows %s%s", facts->node, follow->down ? "; the service is back" : "");
        follow->down = false;
        if (!follow->believed) believe(follow);
        return;
    }
    follow->down = true;
    kw_log(KW_LOG_WARNING,
           "metadata: no node of the service can be followed (%s: %s); goes on with what the Redis nodes say%s",
           facts->node, facts->why, facts->refused ? "; see the directive meta-secret" : "");
    if (follow->believed) kw_discovery_hint(follow->discovery, NULL);
    follow->believed = false;
}

int kw_follow_ask(struct kw_follow *follow, const struct kw_meta_client_ask *ask) {
    return kw_meta_client_ask(follow->client, ask);
}

void kw_follow_print(struct kw_follow *follow, struct kw_str *out) {
    kw_str_printf(out, "meta_configured:%d\r\n", follow != NULL);
    if (!follow) return;
    uv_mutex_lock(&follow->lock);
    struct kw_meta_client_facts facts = follow->facts;
    uv_mutex_unlock(&follow->lock);
    long long idle_ms = facts.last_seen_ms ? (long long)(kw_clock_ms() - facts.last_seen_ms) : -1;
    kw_str_printf(
        out,
        "meta_link:%s\r\nmeta_node:%s\r\nmeta_leader:%s\r\nmeta_map_version:%llu\r\nmeta_last_seen_ms:%lld\r\n"
        "meta_reconnects:%llu\r\nmeta_last_error:%s\r\n",
        facts.up ? "up" : "down", facts.node, facts.leader, (unsigned long long)facts.map_version, idle_ms,
        (unsigned long long)facts.reconnects, facts.up ? "" : facts.why);
}

/* ---- beginning and end ---- */

int kw_follow_start(struct kw_follow **out, uv_loop_t *loop, const struct kw_follow_options *opts) {
    const char *colon = strrchr(opts->address, ':');
    bool anywhere = colon && kw_bind_everywhere(opts->address, (size_t)(colon - opts->address));
    struct kw_meta_client_identity identity = {
        .id = opts->id,
        .address = anywhere ? colon : opts->address,
        .version = KW_VERSION,
        .workers = opts->workers,
    };
    struct kw_follow *follow = kw_calloc(1, sizeof(*follow));
    follow->discovery = opts->discovery;
    struct kw_meta_client_options options = {
        .nodes = opts->nodes,
        .secret = opts->secret,
        .identity = &identity,
        .on_map = on_map,
        .on_link = on_link,
        .on_facts = on_facts,
        .ctx = follow,
    };
    int err = kw_meta_client_new(&follow->client, loop, &options);
    if (err) {
        kw_free(follow);
        return err;
    }
    int rc = uv_mutex_init(&follow->lock);
    KW_ASSERT(rc == 0);
    *out = follow;
    return 0;
}

static void on_closed(void *ctx) {
    struct kw_follow *follow = ctx;
    void (*closed)(void *ctx) = follow->closed;
    void *closed_ctx = follow->closed_ctx;
    kw_map_unref(follow->map);
    uv_mutex_destroy(&follow->lock);
    kw_free(follow);
    closed(closed_ctx);
}

void kw_follow_close(struct kw_follow *follow, void (*closed)(void *ctx), void *ctx) {
    follow->closed = closed;
    follow->closed_ctx = ctx;
    kw_meta_client_close(follow->client, on_closed, follow);
}
