/*
 * Discovery runs while this node leads and a cluster is attached. Each picture
 * it publishes is compared with the map of the state; where they differ the new
 * map is submitted, on condition that the map is still the one compared with. One submission
 * at a time; a conflict, or a change meanwhile, makes it look again.
 *
 * What can fail: the submission (another leader goes on from what the nodes say,
 * as this one would); the nodes, in any way, which discovery turns into pictures.
 */
#include "raft/observer.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "cluster/discovery.h"
#include "cluster/seeds.h"
#include "raft/observer_offsets.h"
#include "raft/store/replica.h"

struct kw_observer {
    uv_loop_t *loop;
    struct kw_replica *replica;     /* borrowed */
    struct kw_discovery *discovery; /* own; NULL: not observing */
    struct kw_offsets *offsets;     /* own; beside discovery */
    struct kw_control_link_auth auth;
    char *user, *password; /* own */
    bool leader;
    bool submitting;
    bool closing;
    struct kw_map *begun_with; /* own reference: the map whose nodes were asked first */
    struct kw_topology *seen;  /* own reference; what was published last */
    /* What was looked at last, and is not looked at again: own references. */
    struct kw_map *judged_map;
    struct kw_topology *judged_seen;
    struct kw_topology *written; /* own reference: the picture that was committed last */
    uint64_t written_version;    /* the map that it became */
    unsigned open;               /* closes under way */
    void (*closed)(void *ctx);
    void *ctx;
};

static void look(struct kw_observer *observer);

/* ---- what may be believed */

static int find_node(const struct kw_map *map, const char *id) {
    unsigned low = 0, high = map->node_count;
    while (low < high) {
        unsigned middle = low + (high - low) / 2;
        int cmp = strcmp(map->nodes[middle].id, id);
        if (cmp == 0) return (int)middle;
        if (cmp < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return -1;
}

static bool shares_a_node(const struct kw_map *map, const struct kw_topology *seen) {
    for (unsigned i = 0; i < seen->node_count; i++) {
        if (find_node(map, seen->nodes[i].id) >= 0) return true;
    }
    return false;
}

/*
 * A slot would go from an owner with a higher epoch to one with a lower, while the recorded owner, still a member,
 * does not answer: then we hear only those who have missed a change, such as a primary that is cut off from its
 * cluster.
 */
static bool goes_back(const struct kw_map *map, const struct kw_topology *seen, const struct kw_map *fresh) {
    int before_owner = -1, before_fresh = -1;
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int owner = map->owner[slot], next = fresh->owner[slot];
        if (owner < 0 || next < 0 || (owner == before_owner && next == before_fresh)) continue;
        before_owner = owner;
        before_fresh = next;
        const struct kw_map_node *recorded = &map->nodes[owner], *told = &fresh->nodes[next];
        if (strcmp(recorded->id, told->id) == 0 || told->config_epoch >= recorded->config_epoch) continue;
        int index = kw_topology_find_id(seen, recorded->id);
        if (index >= 0 && !seen->nodes[index].reachable) return true;
    }
    return false;
}

const char *kw_observer_refusal(const struct kw_map *map, const struct kw_topology *seen, const struct kw_map *fresh) {
    unsigned reachable = 0;
    for (unsigned i = 0; i < seen->node_count; i++) reachable += seen->nodes[i].reachable;
    if (reachable == 0) return "no node answers";
    if (seen->owned_slots == 0) return "no slot has an owner";
    if (!seen->standalone && !shares_a_node(map, seen)) return "it is another cluster";
    if (goes_back(map, seen, fresh)) return "only nodes answer that missed the last change";
    return NULL;
}

/* ---- writing what changed */

static void remember(struct kw_observer *observer, struct kw_map *map, struct kw_topology *seen) {
    struct kw_map *old_map = observer->judged_map;
    struct kw_topology *old_seen = observer->judged_seen;
    observer->judged_map = map ? kw_map_ref(map) : NULL;
    observer->judged_seen = seen ? kw_topology_ref(seen) : NULL;
    kw_map_unref(old_map);
    kw_topology_unref(old_seen);
}

static void free_when_done(struct kw_observer *observer) {
    if (!observer->closing || observer->open > 0 || observer->submitting) return;
    void (*closed)(void *) = observer->closed;
    void *ctx = observer->ctx;
    remember(observer, NULL, NULL);
    kw_topology_unref(observer->seen);
    kw_topology_unref(observer->written);
    kw_free(observer->user);
    kw_free(observer->password);
    kw_free(observer);
    if (closed) closed(ctx);
}

static void on_written(void *ctx, int code, const struct kw_meta_result *result) {
    struct kw_observer *observer = ctx;
    observer->submitting = false;
    if (observer->closing) {
        free_when_done(observer);
        return;
    }
    if (code || result->code) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_VERBOSE, "observer: the map was not taken: %s",
                       kw_error_text(code ? code : result->code));
        kw_topology_unref(observer->written);
        observer->written = NULL;
        /* Refused as it is, it would be refused again. */
        if (code || result->code == KW_ECONFLICT) remember(observer, NULL, NULL);
    } else {
        observer->written_version = result->version;
        kw_log(KW_LOG_NOTICE, "observer: the nodes have changed: map version %llu",
               (unsigned long long)result->version);
    }
    if (!code) look(observer);
}

static void submit(struct kw_observer *observer, const struct kw_map *map, const struct kw_map *fresh) {
    struct kw_str bytes = {0};
    kw_map_encode(&bytes, fresh);
    struct kw_record record = {
        .type = KW_RECORD_MAP, .expect = map->version, .value = bytes.data, .value_len = bytes.len};
    observer->submitting = kw_replica_submit(observer->replica, &record, on_written, observer) == 0;
    if (observer->submitting) {
        kw_topology_unref(observer->written);
        observer->written = kw_topology_ref(observer->seen);
    } else {
        remember(observer, NULL, NULL); /* the next change of anything tries again */
    }
    kw_str_deinit(&bytes);
}

static void look(struct kw_observer *observer) {
    struct kw_topology *seen = observer->seen;
    if (!observer->discovery || !seen || observer->submitting) return;
    struct kw_map *map = kw_meta_state_map(kw_replica_state(observer->replica));
    if (map == observer->judged_map && seen == observer->judged_seen) return;
    remember(observer, map, seen);
    struct kw_map *fresh = kw_map_from_topology(seen);
    const char *refusal = kw_observer_refusal(map, seen, fresh);
    if (refusal) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_NOTICE, "observer: what the nodes say is not taken: %s", refusal);
    } else if ((seen != observer->written || map->version != observer->written_version) && !kw_map_equal(map, fresh)) {
        submit(observer, map, fresh);
    }
    kw_map_unref(fresh);
}

/* ---- observing */

static void on_topology(void *ctx, struct kw_topology *topo) {
    struct kw_observer *observer = ctx;
    kw_topology_unref(observer->seen);
    observer->seen = kw_topology_ref(topo);
    kw_offsets_follow(observer->offsets, topo);
    look(observer);
}

static void add_seed(struct kw_str *seeds, const struct kw_map_node *node, unsigned *count) {
    if (*count >= KW_SEEDS_MAX || node->port == 0 || !node->host[0]) return;
    kw_str_printf(seeds, strchr(node->host, ':') ? "%s[%s]:%u" : "%s%s:%u", *count ? " " : "", node->host, node->port);
    (*count)++;
}

/* Primaries first: where not all have room, they know the others. */
static void seeds_of(const struct kw_map *map, struct kw_str *seeds) {
    unsigned count = 0;
    for (unsigned i = 0; i < map->node_count; i++) {
        if (map->nodes[i].primary) add_seed(seeds, &map->nodes[i], &count);
    }
    for (unsigned i = 0; i < map->node_count; i++) {
        if (!map->nodes[i].primary) add_seed(seeds, &map->nodes[i], &count);
    }
}

static void start(struct kw_observer *observer, struct kw_map *map) {
    struct kw_str seeds = {0};
    seeds_of(map, &seeds);
    struct kw_discovery_options options = {
        .seeds = seeds.data ? seeds.data : "",
        .user = observer->user,
        .password = observer->password,
        .on_topology = on_topology,
        .ctx = observer,
    };
    int err = kw_discovery_new(&observer->discovery, observer->loop, &options);
    if (err) {
        static struct kw_log_limit limit;
        kw_log_limited(&limit, KW_LOG_WARNING, "observer: the map names no node that can be asked");
        observer->discovery = NULL;
    } else {
        kw_log(KW_LOG_NOTICE, "observer: watching the %u nodes of the cluster", map->node_count);
        observer->begun_with = kw_map_ref(map);
        observer->offsets = kw_offsets_new(observer->loop, &observer->auth);
        kw_discovery_start(observer->discovery);
    }
    kw_str_deinit(&seeds);
}

static void on_part_closed(void *ctx) {
    struct kw_observer *observer = ctx;
    observer->open--;
    free_when_done(observer);
}

static void stop(struct kw_observer *observer) {
    if (!observer->discovery) return;
    observer->open += 2;
    kw_discovery_close(observer->discovery, on_part_closed, observer);
    kw_offsets_close(observer->offsets, on_part_closed, observer);
    observer->discovery = NULL;
    observer->offsets = NULL;
    kw_topology_unref(observer->seen);
    kw_topology_unref(observer->written);
    observer->seen = observer->written = NULL;
    kw_map_unref(observer->begun_with);
    observer->begun_with = NULL;
    remember(observer, NULL, NULL);
    if (!observer->closing) kw_log(KW_LOG_NOTICE, "observer: stopped");
}

/* The map has come to name another cluster than the one that is watched, or asked for while none of it answers. */
static bool watches_another(const struct kw_observer *observer, const struct kw_map *map) {
    if (!observer->discovery) return false;
    if (observer->seen && !observer->seen->standalone) return !shares_a_node(map, observer->seen);
    return !kw_map_shares_a_node(map, observer->begun_with);
}

void kw_observer_update(struct kw_observer *observer, bool leader) {
    struct kw_map *map = kw_meta_state_map(kw_replica_state(observer->replica));
    bool wanted = leader && map->node_count > 0;
    observer->leader = leader;
    if (!wanted || watches_another(observer, map)) stop(observer);
    if (wanted && !observer->discovery) start(observer, map);
    look(observer);
}

/* ---- life */

static void set_auth(struct kw_observer *observer, const char *user, const char *password) {
    char *old_user = observer->user, *old_password = observer->password;
    observer->user = kw_strdup(user);
    observer->password = kw_strdup(password);
    observer->auth = (struct kw_control_link_auth){observer->user, observer->password};
    kw_free(old_user);
    kw_free(old_password);
}

struct kw_observer *kw_observer_new(uv_loop_t *loop, struct kw_replica *replica, const char *user,
                                    const char *password) {
    struct kw_observer *observer = kw_calloc(1, sizeof(*observer));
    observer->loop = loop;
    observer->replica = replica;
    set_auth(observer, user, password);
    return observer;
}

void kw_observer_set_auth(struct kw_observer *observer, const char *user, const char *password) {
    set_auth(observer, user, password);
    if (observer->discovery) kw_discovery_set_auth(observer->discovery, user, password);
}

void kw_observer_close(struct kw_observer *observer, void (*closed)(void *ctx), void *ctx) {
    observer->closing = true;
    observer->closed = closed;
    observer->ctx = ctx;
    observer->open++; /* until all closes are begun, so that `closed` runs from the loop */
    stop(observer);
    observer->open--;
    free_when_done(observer);
}

const struct kw_topology *kw_observer_topology(const struct kw_observer *observer) {
    return observer ? observer->seen : NULL;
}

int64_t kw_observer_offset(const struct kw_observer *observer, const char *host, unsigned port) {
    return observer && observer->offsets ? kw_offsets_get(observer->offsets, host, port) : -1;
}
