/*
 * Rounds and map. Happy path: seeds become peers; a peer that comes up is
 * asked for its view; the first merge names the other nodes, which become
 * peers; when all have spoken (or a short while has passed) the map is
 * published. From then on a timer asks everybody once a period, and a merge
 * follows whenever a view or a link changed: 2 ms after the last awaited
 * answer, or 20 ms after the first news while some node keeps us waiting. A
 * hint (discovery_hint.c) is merged at once, before any node has spoken too.
 *
 * What can fail: every node, in any way; discovery_peer.c turns all of it
 * into "this peer has no view". Discovery owns the peers, the seeds and one
 * reference to the published map; kw_discovery_close() gives all back and
 * frees when the last libuv handle is closed.
 */
#include "cluster/discovery.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "cluster/discovery_internal.h"
#include "cluster/topology_internal.h"

enum {
    REFRESH_MS = 1000,
    TROUBLED_MS = 100,     /* the period while slots are in trouble */
    SOON_MS = 50,          /* shortest time between the beginnings of two rounds */
    SETTLE_MS = 2,         /* from the last awaited answer to the merge */
    GRACE_MS = 20,         /* from the first news to the merge while somebody is silent */
    FIRST_MAP_MS = 150,    /* how long the first map waits for nodes that are still connecting */
    ORPHAN_MS = 10 * 1000, /* how long a peer is kept that the map does not name */
    SAMPLE_ABOVE = 64,     /* with more peers than this, replicas are asked in turns ... */
    SAMPLE_REPLICAS = 16,  /* ... of about so many a round */
    PEERS_MAX = KW_TOPO_NODES_MAX + KW_SEEDS_MAX,
};

static void on_round(uv_timer_t *timer);
static void on_merge(uv_timer_t *timer);

/* ---- peers ---- */

static struct kw_disc_peer *find_peer(const struct kw_discovery *d, const char *host, unsigned port) {
    for (unsigned i = 0; i < d->peer_count; i++) {
        if (d->peers[i]->port == port && strcmp(d->peers[i]->host, host) == 0) return d->peers[i];
    }
    return NULL;
}

static void add_peer(struct kw_discovery *d, const char *host, unsigned port, bool seed) {
    if (d->peer_count >= PEERS_MAX) return;
    if (d->peer_count == d->peer_cap) {
        d->peer_cap = d->peer_cap ? d->peer_cap * 2 : 16;
        d->peers = kw_realloc((void *)d->peers, d->peer_cap * sizeof(struct kw_disc_peer *));
    }
    d->peers[d->peer_count++] = kw_disc_peer_new(d, host, port, seed);
    d->open_handles++;
}

static void remove_peer(struct kw_discovery *d, unsigned index) {
    struct kw_disc_peer *peer = d->peers[index];
    kw_log(KW_LOG_VERBOSE, "control link to %s:%u is given up", peer->host, peer->port);
    d->peers[index] = d->peers[--d->peer_count];
    kw_disc_peer_close(peer);
}

static unsigned count_views(const struct kw_discovery *d) {
    unsigned views = 0;
    for (unsigned i = 0; i < d->peer_count; i++) views += d->peers[i]->view != NULL;
    return views;
}

/* As long as nobody speaks to us, the seeds are tried (besides the nodes of the map). */
static void ensure_seeds(struct kw_discovery *d) {
    for (int i = 0; i < d->seed_count; i++) {
        if (!find_peer(d, d->seeds[i].host, d->seeds[i].port)) add_peer(d, d->seeds[i].host, d->seeds[i].port, true);
    }
}

/* The same for the nodes of a hint, which need not be those of the map. */
static void ensure_hinted(struct kw_discovery *d) {
    const char *host;
    unsigned port;
    for (unsigned i = 0; kw_disc_hint_node(d->hint, i, &host, &port); i++) {
        if (host && !find_peer(d, host, port)) add_peer(d, host, port, false);
    }
}

/* A seed's name for a node that has a link by its own address too. */
static bool is_double(const struct kw_discovery *d, const struct kw_disc_peer *peer) {
    if (!peer->view) return false;
    int index = kw_topology_find_id(d->current, kw_topo_view_self_id(peer->view));
    if (index < 0) return false;
    const struct kw_disc_peer *proper = find_peer(d, d->current->nodes[index].host, d->current->nodes[index].port);
    return proper && proper != peer && proper->view;
}

/* Brings the links in line with the map: a link to every node of it, and none for long to others. */
static void sync_peers(struct kw_discovery *d, bool connect) {
    const struct kw_topology *topo = d->current;
    uint64_t now = kw_clock_ms();
    unsigned views = count_views(d);

    for (unsigned i = 0; connect && i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        if (!find_peer(d, node->host, node->port)) add_peer(d, node->host, node->port, false);
    }
    for (unsigned i = 0; i < d->peer_count;) {
        struct kw_disc_peer *peer = d->peers[i];
        bool named = kw_topology_find_addr(topo, peer->host, peer->port) >= 0;
        if (named) {
            peer->orphan_since_ms = 0;
        } else if (peer->orphan_since_ms == 0) {
            peer->orphan_since_ms = now;
        }
        bool stale = !named && now - peer->orphan_since_ms > ORPHAN_MS && !(peer->seed && views == 0);
        if (stale || (!named && is_double(d, peer))) {
            remove_peer(d, i);
        } else {
            i++;
        }
    }
}

/* ---- rounds ---- */

static bool in_trouble(const struct kw_discovery *d) {
    return !d->current || kw_topology_troubled(d->current);
}

static void schedule_round(struct kw_discovery *d) {
    unsigned period = d->opts.refresh_ms;
    if (in_trouble(d) && period > TROUBLED_MS) period = TROUBLED_MS;
    if (d->soon && period > SOON_MS) period = SOON_MS;
    uint64_t due = d->round_began_ms + period, now = kw_clock_ms();
    uv_update_time(d->loop);
    uv_timer_start(&d->round_timer, on_round, due > now ? due - now : 0, 0);
}

/* In a big cluster the replicas take turns; primaries, and who has not spoken yet, are always asked. */
static bool has_turn(const struct kw_discovery *d, unsigned index) {
    const struct kw_disc_peer *peer = d->peers[index];
    if (d->peer_count <= SAMPLE_ABOVE || !peer->view || kw_topo_view_self_primary(peer->view)) return true;
    unsigned turns = d->peer_count / SAMPLE_REPLICAS;
    return (index + d->round) % turns == 0;
}

static void on_round(uv_timer_t *timer) {
    struct kw_discovery *d = timer->data;

    d->round++;
    d->round_began_ms = kw_clock_ms();
    d->soon = false;
    d->waiting = 0;
    if (count_views(d) == 0) ensure_seeds(d);
    if (d->hint && (!d->current || kw_disc_hint_is_foreign(d->hint, d->current))) ensure_hinted(d);
    if (d->current) sync_peers(d, false);
    for (unsigned i = 0; i < d->peer_count; i++) {
        if (has_turn(d, i)) kw_disc_peer_ask(d->peers[i]);
    }
    schedule_round(d);
}

/* ---- the map ---- */

static void schedule_merge(struct kw_discovery *d) {
    uint64_t delay = d->waiting == 0 ? SETTLE_MS : GRACE_MS;
    if (uv_is_active((uv_handle_t *)&d->merge_timer) && uv_timer_get_due_in(&d->merge_timer) <= delay) return;
    uv_update_time(d->loop);
    uv_timer_start(&d->merge_timer, on_merge, delay, 0);
}

/* The lowest version that any node of the map runs: what all of them understand. */
static void describe_server(const struct kw_discovery *d, struct kw_topology *topo) {
    const struct kw_disc_peer *lowest = NULL;
    for (unsigned i = 0; i < d->peer_count; i++) {
        const struct kw_disc_peer *peer = d->peers[i];
        bool speaks = peer->view ? kw_topology_find_id(topo, kw_topo_view_self_id(peer->view)) >= 0 : topo->standalone;
        if (!speaks || !peer->server_version[0]) continue;
        if (!lowest || strverscmp(peer->server_version, lowest->server_version) < 0) lowest = peer;
    }
    const char *name = lowest ? lowest->server_name : d->current ? d->current->server_name : "";
    const char *version = lowest ? lowest->server_version : d->current ? d->current->server_version : "";
    snprintf(topo->server_name, sizeof(topo->server_name), "%s", name);
    snprintf(topo->server_version, sizeof(topo->server_version), "%s", version);
}

/* The map in use with fresh marks of who answers us. */
static struct kw_topology *keep_current(const struct kw_discovery *d) {
    if (!d->current) return NULL;
    struct kw_topology *topo = kw_topology_clone(d->current);
    for (unsigned i = 0; i < topo->node_count; i++) topo->nodes[i].reachable = false;
    for (unsigned i = 0; i < d->peer_count; i++) {
        if (!d->peers[i]->view) continue;
        int index = kw_topology_find_id(topo, kw_topo_view_self_id(d->peers[i]->view));
        if (index >= 0) topo->nodes[index].reachable = true;
    }
    return topo;
}

/* The map of a single seed without cluster mode; NULL when this is none. */
static struct kw_topology *standalone_map(const struct kw_discovery *d) {
    if (d->seed_count != 1) return NULL;
    const struct kw_disc_peer *peer = find_peer(d, d->seeds[0].host, d->seeds[0].port);
    if (!peer || !peer->standalone) return NULL;
    struct kw_topology *topo = kw_topology_standalone(peer->host, peer->port);
    topo->nodes[0].reachable = kw_control_link_is_up(peer->link);
    return topo;
}

/* A new topology from what is known now, or NULL when nothing is. The caller holds the reference. */
static struct kw_topology *make_map(struct kw_discovery *d) {
    unsigned count = 0;
    const struct kw_topology *current = d->current;
    /* Room for the views of the hint before those of the nodes. */
    const struct kw_topo_view **all = kw_calloc(d->peer_count + KW_DISC_HINT_VIEWS, sizeof(struct kw_topo_view *));
    const struct kw_topo_view **views = all + KW_DISC_HINT_VIEWS;
    for (unsigned i = 0; i < d->peer_count; i++) {
        if (d->peers[i]->view) views[count++] = d->peers[i]->view;
    }
    if (d->hint) {
        /* Another cluster has been attached, and answers: the map in use is that of the old one. */
        bool replaced =
            current && kw_disc_hint_is_foreign(d->hint, current) && kw_disc_hint_is_confirmed(d->hint, views, count);
        if (replaced) current = NULL;
        kw_disc_hint_views(d->hint, views, count, all);
        count += KW_DISC_HINT_VIEWS;
        views = all;
    }
    struct kw_topology *topo = kw_topology_merge(views, count, current);
    kw_free((void *)all);

    if (topo && topo->owned_slots == 0 && d->current && d->current->owned_slots > 0) {
        /* Only nodes that forgot everything answer: they are no reason to forget it too. */
        kw_topology_unref(topo);
        topo = keep_current(d);
    }
    if (!topo) topo = standalone_map(d);
    if (!topo) topo = keep_current(d);
    if (topo) describe_server(d, topo);
    return topo;
}

static void publish(struct kw_discovery *d, struct kw_topology *topo) {
    struct kw_topology *old = d->current;
    topo->version = ++d->version;
    d->current = topo;
    kw_topology_log_change(old, topo);
    kw_topology_unref(old);
    if (d->opts.on_topology) d->opts.on_topology(d->opts.ctx, topo);
}

/*
 * The first map waits a moment for those that are still connecting, so that it
 * does not call nodes unreachable that we have hardly tried. Its other nodes
 * are tried meanwhile.
 */
static bool first_map_ready(struct kw_discovery *d, const struct kw_topology *topo) {
    uint64_t now = kw_clock_ms();
    if (d->first_news_ms == 0) d->first_news_ms = now;
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        if (!find_peer(d, node->host, node->port)) add_peer(d, node->host, node->port, false);
    }
    bool decided = true;
    for (unsigned i = 0; i < d->peer_count; i++) decided = decided && d->peers[i]->decided;
    if (decided || now - d->first_news_ms >= FIRST_MAP_MS) return true;
    uv_update_time(d->loop);
    uv_timer_start(&d->merge_timer, on_merge, d->first_news_ms + FIRST_MAP_MS - now, 0);
    return false;
}

static void on_merge(uv_timer_t *timer) {
    struct kw_discovery *d = timer->data;
    struct kw_topology *topo = make_map(d);

    d->news = false;
    if (!topo) return;
    if (!d->current && !d->hint && !first_map_ready(d, topo)) {
        kw_topology_unref(topo);
        return;
    }
    if (d->current && kw_topology_equal(topo, d->current)) {
        kw_topology_unref(topo);
    } else {
        publish(d, topo);
        if (d->closing) return;
    }
    sync_peers(d, true);
    schedule_round(d);
}

/* ---- from the peers ---- */

void kw_disc_peer_done(struct kw_disc_peer *peer, bool changed) {
    struct kw_discovery *d = peer->d;
    if (d->closing) return;
    d->news = d->news || changed || (!d->current && d->first_news_ms != 0);
    if (d->news) schedule_merge(d);
}

void kw_disc_peer_lost(struct kw_disc_peer *peer) {
    kw_discovery_refresh_soon(peer->d);
}

static void discovery_release(struct kw_discovery *d) {
    KW_ASSERT(d->open_handles > 0);
    if (--d->open_handles > 0 || !d->closing) return;
    void (*closed)(void *ctx) = d->closed;
    void *ctx = d->closed_ctx;
    kw_topology_unref(d->current);
    kw_disc_hint_free(d->hint);
    kw_free((void *)d->auth.user);
    kw_free((void *)d->auth.password);
    kw_free(d->seeds);
    kw_free((void *)d->peers);
    kw_free(d);
    if (closed) closed(ctx);
}

void kw_disc_peer_closed(struct kw_discovery *d) {
    discovery_release(d);
}

/* ---- public ---- */

int kw_discovery_seeds_check(const char *seeds, char *why, size_t why_len) {
    int count = kw_seeds_parse(NULL, seeds, why, why_len);
    return count < 0 ? count : 0;
}

int kw_discovery_new(struct kw_discovery **out, uv_loop_t *loop, const struct kw_discovery_options *opts) {
    char why[160];
    struct kw_seed *seeds = NULL;
    int count = opts->seeds ? kw_seeds_parse(&seeds, opts->seeds, why, sizeof(why)) : 0;
    if (count < 0) {
        kw_log(KW_LOG_WARNING, "seed nodes: %s", why);
        return count;
    }
    struct kw_discovery *d = kw_calloc(1, sizeof(*d));
    d->loop = loop;
    d->opts = *opts;
    d->opts.seeds = d->opts.user = d->opts.password = NULL; /* borrowed until we return */
    d->seeds = seeds;
    d->seed_count = count;
    kw_discovery_set_refresh(d, opts->refresh_ms);
    kw_discovery_set_auth(d, opts->user, opts->password);
    int rc = uv_timer_init(loop, &d->round_timer);
    KW_ASSERT(rc == 0);
    rc = uv_timer_init(loop, &d->merge_timer);
    KW_ASSERT(rc == 0);
    d->round_timer.data = d->merge_timer.data = d;
    d->open_handles = 2;
    *out = d;
    return 0;
}

void kw_discovery_start(struct kw_discovery *d) {
    KW_ASSERT(!d->started && !d->closing);
    d->started = true;
    ensure_seeds(d);
    uv_timer_start(&d->round_timer, on_round, 0, 0);
}

void kw_discovery_refresh_soon(struct kw_discovery *d) {
    if (!d->started || d->closing || d->soon) return;
    d->soon = true;
    schedule_round(d);
}

void kw_discovery_hint(struct kw_discovery *d, struct kw_topo_view *view) {
    KW_ASSERT(!d->closing);
    kw_disc_hint_free(d->hint);
    d->hint = view ? kw_disc_hint_new(view) : NULL;
    d->news = true;
    uv_update_time(d->loop);
    uv_timer_start(&d->merge_timer, on_merge, 0, 0);
    kw_discovery_refresh_soon(d);
}

void kw_discovery_set_auth(struct kw_discovery *d, const char *user, const char *password) {
    char *new_user = user && user[0] ? kw_strdup(user) : NULL;
    char *new_password = password && password[0] ? kw_strdup(password) : NULL;
    kw_free((void *)d->auth.user);
    kw_free((void *)d->auth.password);
    d->auth.user = new_user;
    d->auth.password = new_password;
}

void kw_discovery_set_refresh(struct kw_discovery *d, unsigned refresh_ms) {
    d->opts.refresh_ms = refresh_ms ? refresh_ms : REFRESH_MS;
    if (d->started && !d->closing) schedule_round(d);
}

struct kw_topology *kw_discovery_current(const struct kw_discovery *d) {
    return d->current;
}

static void on_timer_closed(uv_handle_t *handle) {
    discovery_release(handle->data);
}

void kw_discovery_close(struct kw_discovery *d, void (*closed)(void *ctx), void *ctx) {
    KW_ASSERT(!d->closing);
    d->closing = true;
    d->closed = closed;
    d->closed_ctx = ctx;
    for (unsigned i = 0; i < d->peer_count; i++) kw_disc_peer_close(d->peers[i]);
    d->peer_count = 0;
    uv_close((uv_handle_t *)&d->round_timer, on_timer_closed);
    uv_close((uv_handle_t *)&d->merge_timer, on_timer_closed);
}
