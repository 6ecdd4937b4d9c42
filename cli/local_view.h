/* What one node of a local cluster says of itself and of the others. Main thread. */
#ifndef KW_CLI_LOCAL_VIEW_H
#define KW_CLI_LOCAL_VIEW_H

#include <stdbool.h>
#include <stdint.h>

#include "base/str.h"
#include "cli/local_state.h"

enum { KW_CLI_LOCAL_SLOTS = 16384, KW_CLI_LOCAL_ID_LEN = 40 };

struct kw_cli_local_view {
    bool answers;          /* the rest means nothing otherwise */
    bool loading;          /* it answers, but still reads its data from disk; the rest means nothing */
    bool primary;          /* else replica */
    bool state_ok;         /* cluster_state */
    bool link_up;          /* replica: its link to the primary; primary: true */
    bool peers_settled;    /* no node that it knows is failing or in handshake */
    unsigned known_nodes;  /* itself included */
    unsigned slots_ok;     /* slots that it sees served, of KW_CLI_LOCAL_SLOTS */
    unsigned slot_count;   /* its own */
    unsigned links;        /* primary: replicas connected */
    uint16_t primary_port; /* replica: of its primary; 0 when unknown */
    long long offset;      /* replication offset */
    char id[KW_CLI_LOCAL_ID_LEN + 1];
    struct kw_str slots; /* own ranges as text, "0-5460 7000"; owned by the view */
};

enum { KW_CLI_LOCAL_WHY_SIZE = 160 };

/* What one metadata node says of itself. */
struct kw_cli_local_meta_view {
    bool answers;     /* the rest means nothing otherwise, but for `error` */
    bool attached;    /* it knows a cluster */
    char role[16];    /* leader, follower, candidate */
    long long leader; /* id; 0: it knows none */
    long long term;
    long long applied_index;
    char error[KW_CLI_LOCAL_WHY_SIZE]; /* why it does not answer */
};

void kw_cli_local_meta_view_read(struct kw_cli_local_meta_view *view, uint16_t port, const char *secret);

/* Asks the node on `port`. The view is overwritten: deinit it first if it was read before. */
void kw_cli_local_view_read(struct kw_cli_local_view *view, uint16_t port);
void kw_cli_local_view_deinit(struct kw_cli_local_view *view);

/* True when this node, by its own word, plays its part in a cluster of at least `node_count` that serves every slot. */
bool kw_cli_local_view_settled(const struct kw_cli_local_view *view, unsigned node_count);

/* Calls `each` for every own range, both ends included. */
void kw_cli_local_view_each_range(const struct kw_cli_local_view *view,
                                  void (*each)(void *arg, unsigned first, unsigned last), void *arg);

#endif
