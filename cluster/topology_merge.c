/*
 * Merges the views of many nodes into one topology. A node may be stale, cut
 * off, forgotten or of another cluster; no single one is believed.
 *
 *   1. Which views count. A node that knows only itself and no slot has
 *      forgotten its cluster: ignored beside others. Views fall into clusters
 *      by the node ids that they share; only the cluster of the map in use
 *      counts (with no map: the one with most slots). A node that none of its
 *      peers knows any longer has been forgotten by them: ignored.
 *   2. Slots. The claim with the highest configuration epoch wins (that is
 *      Redis Cluster's own rule), so a stale minority cannot take back what a
 *      newer epoch took. Equal epochs: the owner's own view, then most views,
 *      then the smaller id. A node's own word beats hearsay: nobody can claim
 *      for a node what that node, at the same or a later epoch, denies.
 *      While we hear less than half of the shards of the map in use, a claim
 *      older than that map changes nothing: then we may be talking to the
 *      stale side alone.
 *   3. Roles. The owner of slots is a primary; otherwise the view that shows
 *      the node at the highest epoch says, the node itself before others.
 *   4. Failed. More than half of the primaries that have a view flag the node
 *      FAIL; at exactly half, only if we have no answer from it ourselves. A
 *      minority cannot flag FAIL by Redis's rules; a mere suspicion (PFAIL)
 *      does not count.
 *   5. Open slots. What the primaries say of themselves.
 *
 * Plain data in, plain data out; all scratch memory is owned by the merge and
 * freed before it returns. Nothing can fail: sizes are bounded by
 * KW_TOPO_NODES_MAX (ids beyond it are left out).
 */
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/topology_internal.h"

enum { TABLE_SIZE = 8192, NONE = 0xffff };

_Static_assert(TABLE_SIZE >= 4 * KW_TOPO_NODES_MAX, "the id table stays sparse");
_Static_assert((int)NONE > (int)KW_TOPO_NODES_MAX, "NONE is no index");

/* A view and the translation of its node indexes into those of the merge. */
struct entry {
    const struct kw_topo_view *view; /* borrowed */
    uint16_t *global;                /* own; per node of the view: index into nodes, or NONE */
    uint64_t *epoch;                 /* own; per node of the view, packed for the slot loop */
    uint16_t self;
    bool used;
    bool voter; /* an owner of slots */
};

/* What is known of one node id. */
struct merge_node {
    const char *id;                            /* borrowed from a view */
    const struct entry *own;                   /* the node's own view, or NULL */
    const struct kw_topo_view_node *role_from; /* the most credible line about it */
    const struct kw_topo_view_node *addr_from; /* a line with the address to use, or NULL */
    unsigned addr_votes;
    unsigned named_by; /* views in use that name it */
    uint16_t group;    /* union-find: parent */
    int out;           /* index in the topology, or -1 */
    bool owns;
    uint64_t claim_epoch; /* highest epoch at which it holds a slot */
};

struct merge {
    struct entry *entries;
    size_t entry_count;
    struct merge_node *nodes;
    unsigned node_count;
    uint16_t owner[KW_SLOT_COUNT];
    uint64_t owner_epoch[KW_SLOT_COUNT];
    uint16_t table[TABLE_SIZE]; /* open addressing: id -> index into nodes */
};

static unsigned id_hash(const char *id) {
    uint64_t hash = 0xcbf29ce484222325U;
    for (const char *c = id; *c; c++) hash = (hash ^ (unsigned char)*c) * 0x100000001b3U;
    return (unsigned)(hash >> 32) & (TABLE_SIZE - 1);
}

/* Index of an id; with `add` a new one is taken in while there is room. NONE when there is none. */
static uint16_t lookup(struct merge *m, const char *id, bool add) {
    unsigned at = id_hash(id);
    while (m->table[at] != NONE) {
        if (strcmp(m->nodes[m->table[at]].id, id) == 0) return m->table[at];
        at = (at + 1) & (TABLE_SIZE - 1);
    }
    if (!add || m->node_count == KW_TOPO_NODES_MAX) return NONE;
    uint16_t index = (uint16_t)m->node_count++;
    m->nodes[index] = (struct merge_node){.id = id, .group = index, .out = -1};
    m->table[at] = index;
    return index;
}

static void merge_init(struct merge *m, const struct kw_topo_view *const *views, size_t n) {
    memset(m->table, 0xff, sizeof(m->table));
    m->node_count = 0;
    m->entry_count = n;
    m->nodes = kw_calloc(KW_TOPO_NODES_MAX, sizeof(*m->nodes));
    m->entries = kw_calloc(n, sizeof(*m->entries));
    for (size_t i = 0; i < n; i++) {
        struct entry *e = &m->entries[i];
        e->view = views[i];
        e->global = kw_calloc(views[i]->node_count, sizeof(*e->global));
        e->epoch = kw_calloc(views[i]->node_count, sizeof(*e->epoch));
        for (unsigned j = 0; j < views[i]->node_count; j++) {
            e->global[j] = lookup(m, views[i]->nodes[j].id, true);
            e->epoch[j] = views[i]->nodes[j].epoch;
        }
        e->self = e->global[views[i]->self];
        e->used = e->self != NONE;
    }
}

static void merge_deinit(struct merge *m) {
    for (size_t i = 0; i < m->entry_count; i++) {
        kw_free(m->entries[i].global);
        kw_free(m->entries[i].epoch);
    }
    kw_free(m->entries);
    kw_free(m->nodes);
}

/* ---- 1. which views count ---- */

static bool alone(const struct entry *e) {
    return e->view->node_count == 1 && e->view->owned_slots == 0;
}

static void drop_alone(struct merge *m) {
    bool company = false;
    for (size_t i = 0; i < m->entry_count; i++) company |= m->entries[i].used && !alone(&m->entries[i]);
    for (size_t i = 0; company && i < m->entry_count; i++) {
        if (alone(&m->entries[i])) m->entries[i].used = false;
    }
}

/* Two links to one node (by name and by address) are one voice: the later epoch. */
static void drop_doubles(struct merge *m) {
    for (size_t i = 0; i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (!e->used) continue;
        struct entry *other = (struct entry *)m->nodes[e->self].own;
        if (!other) {
            m->nodes[e->self].own = e;
        } else if (e->epoch[e->view->self] > other->epoch[other->view->self]) {
            other->used = false;
            m->nodes[e->self].own = e;
        } else {
            e->used = false;
        }
    }
}

static uint16_t group_of(struct merge *m, uint16_t node) {
    while (m->nodes[node].group != node) {
        m->nodes[node].group = m->nodes[m->nodes[node].group].group;
        node = m->nodes[node].group;
    }
    return node;
}

static void join_groups(struct merge *m) {
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        for (unsigned j = 0; e->used && j < e->view->node_count; j++) {
            if (e->global[j] != NONE) m->nodes[group_of(m, e->global[j])].group = group_of(m, e->self);
        }
    }
}

/* The group that shares most nodes with the map in use; NONE when none shares any. */
static uint16_t group_of_current(struct merge *m, const struct kw_topology *current) {
    unsigned *shared = kw_calloc(m->node_count, sizeof(*shared));
    uint16_t best = NONE;
    for (unsigned i = 0; i < current->node_count; i++) {
        uint16_t node = lookup(m, current->nodes[i].id, false);
        if (node != NONE) shared[group_of(m, node)]++;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        if (!m->entries[i].used) continue;
        uint16_t group = group_of(m, m->entries[i].self);
        if (shared[group] > 0 && (best == NONE || shared[group] > shared[best])) best = group;
    }
    kw_free(shared);
    return best;
}

static void drop_foreign(struct merge *m, const struct kw_topology *current) {
    join_groups(m);
    uint16_t keep = current ? group_of_current(m, current) : NONE;
    const struct entry *best = NULL;
    for (size_t i = 0; keep == NONE && i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        if (e->used && (!best || e->view->owned_slots > best->view->owned_slots)) best = e;
    }
    if (best) keep = group_of(m, best->self);
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].used && group_of(m, m->entries[i].self) != keep) m->entries[i].used = false;
    }
}

static void drop_forgotten(struct merge *m) {
    size_t used = 0, known = 0;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        for (unsigned j = 0; e->used && j < e->view->node_count; j++) {
            if (e->global[j] != NONE && e->global[j] != e->self) m->nodes[e->global[j]].named_by++;
        }
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        used += m->entries[i].used;
        known += m->entries[i].used && m->nodes[m->entries[i].self].named_by > 0;
    }
    for (size_t i = 0; used > 1 && known > 0 && i < m->entry_count; i++) {
        struct entry *e = &m->entries[i];
        if (!e->used || m->nodes[e->self].named_by > 0) continue;
        e->used = false;
        m->nodes[e->self].own = NULL;
    }
}

/* ---- 2. slots ---- */

/* The node itself, at that epoch or later, says that it does not own the slot. */
static bool denied(const struct merge_node *node, unsigned slot, uint64_t epoch) {
    const struct entry *own = node->own;
    if (!own || !own->used || own->epoch[own->view->self] < epoch) return false;
    int16_t said = own->view->owner[slot];
    return said < 0 || own->global[said] != own->self;
}

static unsigned claim_votes(const struct merge *m, unsigned slot, uint16_t node, uint64_t epoch) {
    unsigned votes = 0;
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        int16_t said = e->view->owner[slot];
        votes += e->used && said >= 0 && e->global[said] == node && e->epoch[said] == epoch;
    }
    return votes;
}

/* Whether `a` beats `b` on a slot that both are said to own at the same epoch. */
static bool wins_tie(const struct merge *m, unsigned slot, uint16_t a, uint16_t b, uint64_t epoch) {
    /* A claim that has its owner's view and was not denied is confirmed by it, unless that view is older. */
    const struct entry *own_a = m->nodes[a].own, *own_b = m->nodes[b].own;
    bool sure_a = own_a && own_a->used && own_a->epoch[own_a->view->self] >= epoch;
    bool sure_b = own_b && own_b->used && own_b->epoch[own_b->view->self] >= epoch;
    if (sure_a != sure_b) return sure_a;
    unsigned votes_a = claim_votes(m, slot, a, epoch), votes_b = claim_votes(m, slot, b, epoch);
    if (votes_a != votes_b) return votes_a > votes_b;
    return strcmp(m->nodes[a].id, m->nodes[b].id) < 0;
}

/* Weighs one view's claims against the best so far. */
static void weigh_claims(struct merge *m, const struct entry *e) {
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        int16_t said = e->view->owner[slot];
        if (said < 0) continue;
        uint16_t node = e->global[said], best = m->owner[slot];
        uint64_t epoch = e->epoch[said], best_epoch = m->owner_epoch[slot];
        if (node == NONE || (node == best && epoch <= best_epoch) || (best != NONE && epoch < best_epoch)) continue;
        if (denied(&m->nodes[node], slot, epoch)) continue;
        if (best == NONE || epoch > best_epoch || wins_tie(m, slot, node, best, epoch)) {
            m->owner[slot] = node;
            m->owner_epoch[slot] = epoch;
        }
    }
}

static void assign_slots(struct merge *m) {
    memset(m->owner, 0xff, sizeof(m->owner));
    memset(m->owner_epoch, 0, sizeof(m->owner_epoch));
    for (size_t i = 0; i < m->entry_count; i++) {
        if (m->entries[i].used) weigh_claims(m, &m->entries[i]);
    }
}

/* Whether more than half of the shards of the map in use speak. */
static bool hear_majority(struct merge *m, const struct kw_topology *current) {
    unsigned heard = 0;
    for (size_t i = 0; i < m->entry_count; i++) {
        if (!m->entries[i].used) continue;
        int index = kw_topology_find_id(current, m->nodes[m->entries[i].self].id);
        heard += index >= 0 && current->nodes[index].slot_count > 0;
    }
    return 2 * heard > current->primary_count;
}

/* Slots whose owner in the map in use has a newer claim than any view has keep it. */
static void keep_newer_owners(struct merge *m, const struct kw_topology *current) {
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (current->owner[slot] < 0) continue;
        const struct kw_topo_node *owner = &current->nodes[current->owner[slot]];
        uint16_t node = lookup(m, owner->id, false);
        if (node == NONE || node == m->owner[slot]) continue;
        if (m->owner[slot] != NONE && m->owner_epoch[slot] >= owner->config_epoch) continue;
        if (denied(&m->nodes[node], slot, owner->config_epoch)) continue;
        m->owner[slot] = node;
        m->owner_epoch[slot] = owner->config_epoch;
    }
}

static void note_owners(struct merge *m) {
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (m->owner[slot] == NONE) continue;
        struct merge_node *node = &m->nodes[m->owner[slot]];
        node->owns = true;
        if (m->owner_epoch[slot] > node->claim_epoch) node->claim_epoch = m->owner_epoch[slot];
    }
}

/* ---- 3. roles and addresses ---- */

/* The majority's address for a node (Boyer and Moore); the node's own word goes before. */
static void vote_address(struct merge_node *node, const struct kw_topo_view_node *line, bool own) {
    if (line->host[0] == '\0') return;
    if (own) {
        node->addr_from = line;
        node->addr_votes = UINT32_MAX / 2;
    } else if (node->addr_votes == 0) {
        node->addr_from = line;
        node->addr_votes = 1;
    } else if (node->addr_from->port == line->port && strcmp(node->addr_from->host, line->host) == 0) {
        node->addr_votes++;
    } else {
        node->addr_votes--;
    }
}

static void describe_nodes(struct merge *m) {
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        for (unsigned j = 0; e->used && j < e->view->node_count; j++) {
            if (e->global[j] == NONE) continue;
            struct merge_node *node = &m->nodes[e->global[j]];
            const struct kw_topo_view_node *line = &e->view->nodes[j];
            bool own = e->global[j] == e->self;
            if (!node->role_from || line->epoch > node->role_from->epoch ||
                (own && line->epoch == node->role_from->epoch)) {
                node->role_from = line;
            }
            vote_address(node, line, own);
        }
    }
}

/* ---- 4. failed ---- */

static void judge_failed(struct merge *m, struct kw_topology *topo) {
    unsigned *votes = kw_calloc(2 * (size_t)m->node_count, sizeof(*votes));
    unsigned *fails = votes + m->node_count;
    bool have_voters = false;
    for (size_t i = 0; i < m->entry_count; i++) {
        m->entries[i].voter = m->entries[i].used && m->nodes[m->entries[i].self].owns;
        have_voters |= m->entries[i].voter;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        if (!(have_voters ? e->voter : e->used)) continue;
        for (unsigned j = 0; j < e->view->node_count; j++) {
            if (e->global[j] == NONE || e->global[j] == e->self) continue;
            votes[e->global[j]]++;
            fails[e->global[j]] += e->view->nodes[j].fail;
        }
    }
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].out < 0 || fails[i] == 0) continue;
        bool silent = !m->nodes[i].own || !m->nodes[i].own->used;
        topo->nodes[m->nodes[i].out].failed = 2 * fails[i] > votes[i] || (2 * fails[i] == votes[i] && silent);
    }
    kw_free(votes);
}

/* ---- the topology ---- */

static int by_id(const void *a, const void *b) {
    return strcmp((*(struct merge_node *const *)a)->id, (*(struct merge_node *const *)b)->id);
}

/* Nodes with a line and an address come into the topology, in the order of their ids. */
static struct kw_topology *build_nodes(struct merge *m) {
    struct merge_node **sorted = kw_calloc(m->node_count, sizeof(struct merge_node *));
    unsigned count = 0;
    for (unsigned i = 0; i < m->node_count; i++) {
        if (m->nodes[i].role_from && m->nodes[i].addr_from) sorted[count++] = &m->nodes[i];
    }
    if (count > 0) qsort((void *)sorted, count, sizeof(struct merge_node *), by_id);

    struct kw_topology *topo = kw_topology_new(count);
    for (unsigned i = 0; i < count; i++) {
        struct merge_node *from = sorted[i];
        struct kw_topo_node *node = &topo->nodes[i];
        memcpy(node->id, from->id, sizeof(node->id));
        kw_topo_node_set_addr(node, from->addr_from->host, from->addr_from->port);
        node->primary = from->owns || from->role_from->primary;
        node->config_epoch = from->role_from->epoch > from->claim_epoch ? from->role_from->epoch : from->claim_epoch;
        node->reachable = from->own && from->own->used;
        from->out = (int)i;
        if (node->config_epoch > topo->cluster_epoch) topo->cluster_epoch = node->config_epoch;
    }
    kw_free((void *)sorted);
    return topo;
}

static int primary_of(struct merge *m, const struct kw_topology *topo, const struct merge_node *node) {
    /* While a failover spreads, a replica's primary may itself be a replica already: follow a few steps. */
    for (int hops = 0; hops < 4; hops++) {
        if (node->out >= 0 && topo->nodes[node->out].primary) return node->out;
        uint16_t next = lookup(m, node->role_from->primary_id, false);
        if (next == NONE || !m->nodes[next].role_from) return -1;
        node = &m->nodes[next];
    }
    return -1;
}

static void build_links(struct merge *m, struct kw_topology *topo) {
    for (unsigned i = 0; i < m->node_count; i++) {
        const struct merge_node *node = &m->nodes[i];
        if (node->out >= 0) topo->nodes[node->out].primary_index = primary_of(m, topo, node);
    }
    for (unsigned slot = 0; slot < KW_SLOT_COUNT; slot++) {
        if (m->owner[slot] != NONE) topo->owner[slot] = (int16_t)m->nodes[m->owner[slot]].out;
    }
    for (size_t i = 0; i < m->entry_count; i++) {
        const struct entry *e = &m->entries[i];
        if (!e->used || !e->view->nodes[e->view->self].primary) continue;
        for (size_t word = 0; word < KW_ARRAY_LEN(topo->open_slots); word++) {
            topo->open_slots[word] |= e->view->open_slots[word];
        }
    }
}

struct kw_topology *kw_topology_merge(const struct kw_topo_view *const *views, size_t n,
                                      const struct kw_topology *current) {
    if (n == 0) return NULL;
    struct merge *m = kw_malloc(sizeof(*m));

    merge_init(m, views, n);
    drop_alone(m);
    drop_doubles(m);
    drop_foreign(m, current);
    drop_forgotten(m);
    assign_slots(m);
    if (current && !current->standalone && !hear_majority(m, current)) keep_newer_owners(m, current);
    note_owners(m);
    describe_nodes(m);
    struct kw_topology *topo = build_nodes(m);
    build_links(m, topo);
    judge_failed(m, topo);
    kw_topology_index(topo);
    merge_deinit(m);
    kw_free(m);
    return topo;
}
