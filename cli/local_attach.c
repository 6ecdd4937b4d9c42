/*
 * The local cluster and its metadata nodes: the one is attached to the other,
 * and the proxy has registered.
 *
 * Happy path: ask the leader; where no cluster is attached, hand over what the
 * first node says of it (CLUSTER NODES); wait until the map has every slot.
 * One that is attached already stays, whatever it is: the metadata service
 * follows the nodes' changes by itself.
 *
 * What can fail: the leader changes (the link follows it), the deadline
 * passes; then the last reason is reported.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/meta_link.h"
#include "cli/reply.h"
#include "cli/report.h"

enum { NODE_MS = 2000, CALL_MS = 4000, POLL_MS = 50 };

/* Whether the text knows the role of each node: word of a new replica reaches the others a moment later. */
static bool text_complete(const struct kw_cli_local_state *state, const char *text) {
    unsigned replicas = 0;
    for (const char *at = text; (at = strstr(at, "slave ")) != NULL; at++) replicas++;
    return replicas == state->node_count - state->shards;
}

/* Sends what node 0 says of the cluster. False with the reason in `why`. */
static bool hand_over(const struct kw_cli_local_state *state, struct kw_cli_meta_link *link,
                      char why[KW_CLI_LOCAL_WHY_SIZE]) {
    (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "node %u does not answer", (unsigned)state->nodes[0].port);
    redisContext *node = kw_cli_link_open(state->nodes[0].port, NODE_MS);
    if (node == NULL) return false;
    bool good = false;
    redisReply *text = kw_cli_link_command(node, "CLUSTER NODES");
    bool said = text != NULL && (text->type == REDIS_REPLY_STRING || text->type == REDIS_REPLY_STATUS);
    if (said && !text_complete(state, text->str)) {
        (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "node %u does not know every replica",
                       (unsigned)state->nodes[0].port);
    } else if (said) {
        redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_WRITE, "ATTACH", text->str, NULL);
        good = reply != NULL;
        if (!good) (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "%s", kw_cli_meta_link_error(link));
        if (reply != NULL) freeReplyObject(reply);
    }
    if (text != NULL) freeReplyObject(text);
    redisFree(node);
    return good;
}

/* One look, one step. True when the map is there. */
static bool attach_step(const struct kw_cli_local_state *state, struct kw_cli_meta_link *link,
                        char why[KW_CLI_LOCAL_WHY_SIZE]) {
    redisReply *status = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "STATUS", NULL);
    if (status == NULL) {
        (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "%s", kw_cli_meta_link_error(link));
        return false;
    }
    bool attached = kw_cli_map_int(status, "attached", 0) != 0;
    bool whole = attached && kw_cli_map_int(status, "slots", 0) == KW_CLI_LOCAL_SLOTS;
    freeReplyObject(status);
    if (attached) (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "its map lacks slots");
    if (!attached) (void)hand_over(state, link, why);
    return whole;
}

/* Whether a proxy with our port is there that was heard since `since_ms`. */
static bool registered_step(const struct kw_cli_local_state *state, struct kw_cli_meta_link *link, uint64_t since_ms,
                            char why[KW_CLI_LOCAL_WHY_SIZE]) {
    char port[8];
    bool found = false;
    (void)snprintf(port, sizeof(port), ":%u", (unsigned)state->proxy_port);
    redisReply *proxies = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "PROXIES", NULL);
    uint64_t age_ms = kw_clock_ms() - since_ms;
    (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "%s",
                   proxies == NULL ? kw_cli_meta_link_error(link) : "the proxy has not registered");
    for (size_t i = 0; i < kw_cli_list_len(proxies) && !found; i++) {
        const redisReply *proxy = kw_cli_list_at(proxies, i);
        const char *colon = strrchr(kw_cli_map_text(proxy, "address"), ':');
        long long idle_ms = kw_cli_map_int(proxy, "idle_ms", -1);
        found = colon != NULL && strcmp(colon, port) == 0 && idle_ms >= 0 && (uint64_t)idle_ms <= age_ms;
    }
    if (proxies != NULL) freeReplyObject(proxies);
    return found;
}

/* Repeats one of the two steps until it is done. */
static int repeat(const struct kw_cli_local_state *state, bool attach, uint64_t since_ms, uint64_t deadline_ms) {
    struct kw_cli_meta_target target = {.dir = state->dir};
    char why[KW_CLI_LOCAL_WHY_SIZE] = "";
    if (state->meta_count == 0) return 0;
    int rc = kw_cli_meta_target_resolve(&target);
    if (rc != 0) goto out_after_target;
    struct kw_cli_meta_link *link = kw_cli_meta_link_new(&target);
    kw_cli_meta_link_limit(link, CALL_MS);
    for (;;) {
        bool done = attach ? attach_step(state, link, why) : registered_step(state, link, since_ms, why);
        if (done || kw_clock_ms() >= deadline_ms) {
            rc = done ? 0 : KW_ETIMEOUT;
            break;
        }
        kw_process_pause_ms(POLL_MS);
    }
    kw_cli_meta_link_free(link);
    if (rc != 0)
        kw_report_error(attach ? "the metadata nodes have no map: %s" : "the metadata nodes lack the proxy: %s", why);
out_after_target:
    kw_cli_meta_target_deinit(&target);
    return rc;
}

int kw_cli_local_attach(const struct kw_cli_local_state *state, uint64_t deadline_ms) {
    return repeat(state, true, 0, deadline_ms);
}

int kw_cli_local_registered(const struct kw_cli_local_state *state, uint64_t since_ms, uint64_t deadline_ms) {
    return repeat(state, false, since_ms, deadline_ms);
}
