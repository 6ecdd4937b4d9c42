/*
 * One node as discovery sees it: a control link, and what came over it.
 * When the link comes up: CLUSTER NODES, INFO server, and COMMAND for the
 * command table; from then on CLUSTER NODES once a round. The view lives as
 * long as the link and the node's good answers do. What can fail: no
 * connection, refusals, text that is no view; each leaves the peer without a
 * view, is logged once per outage, and is tried again by the link.
 */
#include <hiredis/hiredis.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "cluster/discovery_internal.h"

static void complain(struct kw_disc_peer *peer, const char *what, const char *why) {
    kw_log(peer->complained ? KW_LOG_VERBOSE : KW_LOG_WARNING, "node %s:%u: %s: %s", peer->host, peer->port, what, why);
    peer->complained = true;
}

/* Takes the peer's new view (owned; NULL: it has none any more); true when that is news. */
static bool set_view(struct kw_disc_peer *peer, struct kw_topo_view *view) {
    bool same = peer->view && view ? kw_topo_view_equal(peer->view, view) : peer->view == view;
    kw_topo_view_free(peer->view);
    peer->view = view;
    return !same;
}

static bool set_standalone(struct kw_disc_peer *peer, bool standalone) {
    bool changed = peer->standalone != standalone;
    peer->standalone = standalone;
    if (changed && standalone) {
        kw_log(KW_LOG_WARNING, "node %s:%u has no cluster mode (cluster-enabled no)%s", peer->host, peer->port,
               peer->d->seed_count == 1 ? ": it is used as a single shard" : ": ignored beside other seeds");
    }
    return changed;
}

/* A reply of CLUSTER NODES in good order becomes the view; true when the map may change by it. */
static bool take_nodes(struct kw_disc_peer *peer, const redisReply *reply) {
    if (reply->type == REDIS_REPLY_ERROR) {
        if (strstr(reply->str, "cluster support disabled")) {
            bool changed = set_standalone(peer, true);
            return set_view(peer, NULL) || changed;
        }
        complain(peer, "CLUSTER NODES refused", reply->str);
        return set_view(peer, NULL);
    }
    struct kw_topo_view *view = NULL;
    int rc = KW_EPROTOCOL;
    if (reply->type == REDIS_REPLY_STRING) {
        rc = kw_topo_view_parse(&view, reply->str, (size_t)reply->len, peer->host);
    }
    if (rc != 0) {
        complain(peer, "CLUSTER NODES not understood", kw_error_text(rc));
        return set_view(peer, NULL);
    }
    peer->complained = false;
    bool changed = set_standalone(peer, false);
    return set_view(peer, view) || changed;
}

static void on_nodes(void *ctx, const redisReply *reply) {
    struct kw_disc_peer *peer = ctx;
    peer->asked = false;
    if (peer->asked_round == peer->d->round) peer->d->waiting--;
    if (!reply) return; /* the link is down: on_down tells, or we are closing */
    peer->decided = true;
    bool changed = take_nodes(peer, reply);
    kw_disc_peer_done(peer, changed);
}

void kw_disc_peer_ask(struct kw_disc_peer *peer) {
    static const char *argv[] = {"CLUSTER", "NODES"};
    if (peer->asked || kw_control_link_command(peer->link, on_nodes, peer, 2, argv, NULL) != 0) return;
    peer->asked = true;
    peer->asked_round = peer->d->round;
    peer->d->waiting++;
}

/* Copies the value of an INFO line, up to its end and the room there is. */
static bool info_field(const redisReply *info, const char *name, char *value, size_t size) {
    const char *at = strstr(info->str, name);
    if (!at) return false;
    at += strlen(name);
    size_t len = strcspn(at, "\r\n");
    if (len >= size) len = size - 1;
    for (size_t i = 0; i < len; i++) value[i] = (char)(at[i] < ' ' || at[i] > '~' ? '?' : at[i]);
    value[len] = '\0';
    return true;
}

static void on_info(void *ctx, const redisReply *reply) {
    struct kw_disc_peer *peer = ctx;
    if (!reply || reply->type != REDIS_REPLY_STRING) return;
    if (info_field(reply, "\nvalkey_version:", peer->server_version, sizeof(peer->server_version))) {
        snprintf(peer->server_name, sizeof(peer->server_name), "valkey");
    } else if (info_field(reply, "\nredis_version:", peer->server_version, sizeof(peer->server_version))) {
        snprintf(peer->server_name, sizeof(peer->server_name), "redis");
    } else {
        return;
    }
    kw_disc_peer_done(peer, true);
}

static void on_commands(void *ctx, const redisReply *reply) {
    struct kw_disc_peer *peer = ctx;
    if (!reply) return;
    if (reply->type == REDIS_REPLY_ERROR) {
        kw_log(KW_LOG_WARNING, "node %s:%u: COMMAND refused: %s", peer->host, peer->port, reply->str);
        return;
    }
    int rc = peer->d->opts.learn(reply);
    if (rc < 0) {
        kw_log(KW_LOG_WARNING, "node %s:%u: its command table was not understood: %s", peer->host, peer->port,
               kw_error_text(rc));
    }
}

static void on_up(void *ctx) {
    static const char *info[] = {"INFO", "server"};
    static const char *commands[] = {"COMMAND"};
    struct kw_disc_peer *peer = ctx;

    kw_log(KW_LOG_VERBOSE, "control link to %s:%u is up", peer->host, peer->port);
    kw_disc_peer_ask(peer);
    /* Without these two the map is as good; a failure of the link shows in on_down. */
    (void)kw_control_link_command(peer->link, on_info, peer, 2, info, NULL);
    if (peer->d->opts.learn) (void)kw_control_link_command(peer->link, on_commands, peer, 1, commands, NULL);
}

static void on_down(void *ctx, int err, const char *why, bool was_up) {
    struct kw_disc_peer *peer = ctx;
    (void)err;
    complain(peer, was_up ? "control link lost" : "no control link", why);
    peer->decided = true;
    bool changed = set_view(peer, NULL);
    kw_disc_peer_done(peer, changed || was_up);
    if (was_up) kw_disc_peer_lost(peer);
}

struct kw_disc_peer *kw_disc_peer_new(struct kw_discovery *d, const char *host, unsigned port, bool seed) {
    struct kw_disc_peer *peer = kw_calloc(1, sizeof(*peer));
    peer->d = d;
    peer->seed = seed;
    peer->port = port;
    snprintf(peer->host, sizeof(peer->host), "%s", host);
    peer->link = kw_control_link_new(d->loop, &(struct kw_control_link_options){
                                                  .host = peer->host,
                                                  .port = port,
                                                  .auth = &d->auth,
                                                  .connect_timeout_ms = d->opts.connect_timeout_ms,
                                                  .command_timeout_ms = d->opts.command_timeout_ms,
                                                  .on_up = on_up,
                                                  .on_down = on_down,
                                                  .ctx = peer,
                                              });
    return peer;
}

static void on_link_closed(void *ctx) {
    struct kw_disc_peer *peer = ctx;
    struct kw_discovery *d = peer->d;
    kw_topo_view_free(peer->view);
    kw_free(peer);
    kw_disc_peer_closed(d);
}

void kw_disc_peer_close(struct kw_disc_peer *peer) {
    KW_ASSERT(!peer->closing);
    peer->closing = true;
    kw_control_link_close(peer->link, on_link_closed, peer);
}
