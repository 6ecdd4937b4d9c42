/*
 * A hint: the cluster as somebody outside of it sees it. The merge knows only
 * the words of nodes, so the hint becomes the view of a node that does not
 * exist: it owns nothing, so it has no vote on who failed; it has no address,
 * so it never enters a topology; it names the real nodes, so it counts as one
 * of their cluster, and what it says of their slots is hearsay with an epoch,
 * like that of any other node. A second such node, which names the first,
 * keeps the merge from taking the first for one that its peers have forgotten.
 *
 * A hint may be older than what the nodes say. A node that is only named here,
 * and owns no slot here, has left the cluster: it is not shown while nodes of
 * the cluster speak. Owns the view that it was made of; nothing can fail.
 */
#include <string.h>

#include "base/alloc.h"
#include "cluster/discovery_internal.h"
#include "cluster/topology_internal.h"

struct kw_disc_hint {
    struct kw_topo_view *voice;      /* own: what was said, and itself */
    struct kw_topo_view *echo;       /* own: itself and the voice */
    struct kw_topo_view_node *nodes; /* own: of `voice`, as they were said */
    unsigned node_count;             /* of these */
};

/* No node has such an id: theirs are hexadecimal. */
static const char voice_id[] = "(hint)..................................";
static const char echo_id[] = "(echo)..................................";
_Static_assert(sizeof(voice_id) == KW_TOPO_ID_LEN + 1, "as long as any id");
_Static_assert(sizeof(echo_id) == KW_TOPO_ID_LEN + 1, "as long as any id");

static struct kw_topo_view_node made_up(const char *id) {
    struct kw_topo_view_node node = {.primary = false};
    memcpy(node.id, id, sizeof(node.id));
    return node;
}

struct kw_disc_hint *kw_disc_hint_new(struct kw_topo_view *view) {
    struct kw_disc_hint *hint = kw_calloc(1, sizeof(*hint));
    unsigned count = view->node_count;
    hint->voice = view;
    hint->node_count = count;
    view->nodes = kw_realloc(view->nodes, (count + 1) * sizeof(*view->nodes));
    view->nodes[count] = made_up(voice_id);
    view->node_count = count + 1;
    view->self = count;
    memset(view->open_slots, 0, sizeof(view->open_slots));
    hint->nodes = kw_calloc(count + 1, sizeof(*hint->nodes));
    memcpy(hint->nodes, view->nodes, count * sizeof(*hint->nodes));

    hint->echo = kw_calloc(1, sizeof(*hint->echo));
    hint->echo->nodes = kw_calloc(2, sizeof(*hint->echo->nodes));
    hint->echo->nodes[0] = made_up(echo_id);
    hint->echo->nodes[1] = made_up(voice_id);
    hint->echo->node_count = 2;
    memset(hint->echo->owner, 0xff, sizeof(hint->echo->owner));
    return hint;
}

void kw_disc_hint_free(struct kw_disc_hint *hint) {
    if (!hint) return;
    kw_topo_view_free(hint->voice);
    kw_topo_view_free(hint->echo);
    kw_free(hint->nodes);
    kw_free(hint);
}

static const struct kw_topo_view_node *find(const struct kw_topo_view_node *nodes, unsigned count, const char *id) {
    for (unsigned i = 0; i < count; i++) {
        if (strcmp(nodes[i].id, id) == 0) return &nodes[i];
    }
    return NULL;
}

/* The view is of a node that the hint names, and says something of a cluster. */
static bool is_of(const struct kw_disc_hint *hint, const struct kw_topo_view *view) {
    return (view->node_count > 1 || view->owned_slots > 0) &&
           find(hint->nodes, hint->node_count, view->nodes[view->self].id);
}

static bool named_by_any(const struct kw_topo_view *const *views, size_t n, const char *id) {
    for (size_t i = 0; i < n; i++) {
        if (find(views[i]->nodes, views[i]->node_count, id)) return true;
    }
    return false;
}

void kw_disc_hint_views(struct kw_disc_hint *hint, const struct kw_topo_view *const *views, size_t n,
                        const struct kw_topo_view *out[KW_DISC_HINT_VIEWS]) {
    bool heard = kw_disc_hint_is_confirmed(hint, views, n);
    for (unsigned i = 0; i < hint->node_count; i++) {
        const struct kw_topo_view_node *said = &hint->nodes[i];
        bool gone = heard && said->slot_count == 0 && !named_by_any(views, n, said->id);
        struct kw_topo_view_node *shown = &hint->voice->nodes[i];
        *shown = *said;
        if (gone) {
            shown->host[0] = '\0';
            shown->port = 0;
        }
    }
    out[0] = hint->voice;
    out[1] = hint->echo;
}

bool kw_disc_hint_is_foreign(const struct kw_disc_hint *hint, const struct kw_topology *topo) {
    for (unsigned i = 0; i < hint->node_count; i++) {
        if (kw_topology_find_id(topo, hint->nodes[i].id) >= 0) return false;
    }
    return true;
}

bool kw_disc_hint_is_confirmed(const struct kw_disc_hint *hint, const struct kw_topo_view *const *views, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (is_of(hint, views[i])) return true;
    }
    return false;
}

bool kw_disc_hint_node(const struct kw_disc_hint *hint, unsigned nth, const char **host, unsigned *port) {
    if (nth >= hint->node_count) return false;
    *host = hint->nodes[nth].host[0] ? hint->nodes[nth].host : NULL;
    *port = hint->nodes[nth].port;
    return true;
}
