/* What discovery.c (rounds, map), discovery_peer.c (one node) and discovery_hint.c share; not for others. */
#ifndef KW_CLUSTER_DISCOVERY_INTERNAL_H
#define KW_CLUSTER_DISCOVERY_INTERNAL_H

#include "cluster/control_link.h"
#include "cluster/discovery.h"
#include "cluster/seeds.h"

/* One address that we hold a control link to. Owned by discovery until closed, then by its link. */
struct kw_disc_peer {
    struct kw_discovery *d;       /* borrowed: outlives the peer */
    struct kw_control_link *link; /* own */
    char host[KW_TOPO_HOST_MAX + 1];
    unsigned port;
    bool seed;       /* from the seed list */
    bool decided;    /* it answered, or an attempt failed: no reason to wait for it at the start */
    bool asked;      /* CLUSTER NODES under way */
    bool standalone; /* it said that it has no cluster mode */
    bool complained; /* this outage is in the log */
    bool closing;
    uint64_t asked_round;
    uint64_t orphan_since_ms;  /* not in the map since then; 0: it is */
    struct kw_topo_view *view; /* own; its last word while the link is up, else NULL */
    char server_name[16];
    char server_version[32];
};

struct kw_disc_hint;

struct kw_discovery {
    uv_loop_t *loop;
    struct kw_discovery_options opts; /* strings in it are not used */
    struct kw_control_link_auth auth; /* own strings */
    struct kw_seed *seeds;            /* own */
    int seed_count;
    struct kw_disc_peer **peers; /* own */
    unsigned peer_count, peer_cap;
    uv_timer_t round_timer;      /* the next round */
    uv_timer_t merge_timer;      /* the next merge, while something is new */
    struct kw_topology *current; /* ref */
    struct kw_disc_hint *hint;   /* own; NULL: none */
    uint64_t version;
    uint64_t round;
    uint64_t round_began_ms;
    uint64_t first_news_ms; /* when the first view came */
    unsigned waiting;       /* peers asked in this round that have not answered */
    bool started, closing;
    bool soon; /* a refresh is wanted */
    bool news; /* a view or a link changed since the last merge */
    unsigned open_handles;
    void (*closed)(void *ctx);
    void *closed_ctx;
};

/* Makes a peer and connects it. */
struct kw_disc_peer *kw_disc_peer_new(struct kw_discovery *d, const char *host, unsigned port, bool seed);
/* Closes it; kw_disc_peer_closed() follows from the loop. */
void kw_disc_peer_close(struct kw_disc_peer *peer);
/* Sends CLUSTER NODES unless one is under way or the link is down. */
void kw_disc_peer_ask(struct kw_disc_peer *peer);

/* From the peer: it answered or fell away; `changed`: the map may have to change. */
void kw_disc_peer_done(struct kw_disc_peer *peer, bool changed);
/* From the peer: an established link was lost. */
void kw_disc_peer_lost(struct kw_disc_peer *peer);
/* From the peer: its memory is gone. */
void kw_disc_peer_closed(struct kw_discovery *d);

/* Takes `view` over. */
struct kw_disc_hint *kw_disc_hint_new(struct kw_topo_view *view);
void kw_disc_hint_free(struct kw_disc_hint *hint); /* NULL is allowed */

enum { KW_DISC_HINT_VIEWS = 2 };
/*
 * The hint as views for a merge with those of the nodes: KW_DISC_HINT_VIEWS of them, to stand before the others.
 * Borrowed until the next call.
 */
void kw_disc_hint_views(struct kw_disc_hint *hint, const struct kw_topo_view *const *views, size_t n,
                        const struct kw_topo_view *out[KW_DISC_HINT_VIEWS]);

/* True when it speaks of another cluster than `topo` (not NULL): they share no node. */
bool kw_disc_hint_is_foreign(const struct kw_disc_hint *hint, const struct kw_topology *topo);
/* True when one of the views is that of a node which the hint names, and which has company or slots. */
bool kw_disc_hint_is_confirmed(const struct kw_disc_hint *hint, const struct kw_topo_view *const *views, size_t n);
/* Address of the nth node; false when there are no more; NULL where it is not known. */
bool kw_disc_hint_node(const struct kw_disc_hint *hint, unsigned nth, const char **host, unsigned *port);

#endif
