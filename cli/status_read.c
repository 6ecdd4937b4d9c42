/*
 * Happy path: ask the leader for everything on one connection, then each
 * metadata node for its own role. Without a leader any node's own state is
 * taken, and that is said.
 *
 * What can fail: no node answers; then `reached` is false and `error` says
 * why. What is missing or broken in the answers makes the state degraded, a
 * line of reason each. Replies are the struct's.
 */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "cli/link.h"
#include "cli/reply.h"
#include "cli/report.h"
#include "cli/status.h"
#include "cluster/slot.h"

enum { PROXY_SILENT_MS = 12000, REASON_MAX = 300 };

static void reason_add(struct kw_cli_status *status, const char *fmt, ...) KW_PRINTF(2, 3);

static void reason_add(struct kw_cli_status *status, const char *fmt, ...) {
    char text[REASON_MAX];
    va_list args;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    kw_str_printf(&status->reasons, "%s%s", status->reason_count > 0 ? "\n" : "", text);
    status->reason_count++;
}

static redisReply *status_ask(struct kw_cli_status *status, struct kw_cli_meta_link *link) {
    redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_LEADER, "STATUS", NULL);
    if (reply == NULL) reply = kw_cli_meta_ask(link, KW_CLI_META_ANY, "STATUS", NULL);
    if (reply == NULL) (void)snprintf(status->error, sizeof(status->error), "%s", kw_cli_meta_link_error(link));
    return reply;
}

/* A list that every node answers; one that is not answered is a reason. */
static redisReply *list_ask(struct kw_cli_status *status, struct kw_cli_meta_link *link, const char *what) {
    redisReply *reply = kw_cli_meta_ask(link, KW_CLI_META_ANY, what, NULL);
    if (reply == NULL) reason_add(status, "KEYWAY %s was not answered: %s", what, kw_cli_meta_link_error(link));
    return reply;
}

/* Asks a member itself. */
static void member_look(struct kw_cli_status_member *member, const char *address,
                        const struct kw_cli_meta_target *target) {
    struct kw_seed *seed = NULL;
    if (kw_seeds_parse(&seed, address, member->error, sizeof(member->error)) < 0) return;
    redisContext *link = kw_cli_link_open_at(seed->host, seed->port, NULL, target->secret, KW_CLI_STATUS_LOOK_MS,
                                             member->error, sizeof(member->error));
    kw_free(seed);
    if (link == NULL) return;
    redisReply *reply = kw_cli_link_command(link, "KEYWAY STATUS");
    if (reply != NULL && reply->type == REDIS_REPLY_ARRAY) {
        member->answers = true;
        (void)snprintf(member->role, sizeof(member->role), "%s", kw_cli_map_text(reply, "role"));
        member->term = kw_cli_map_int(reply, "term", 0);
        member->applied_index = kw_cli_map_int(reply, "applied_index", 0);
    } else {
        (void)snprintf(member->error, sizeof(member->error), "%.*s", (int)sizeof(member->error) - 1,
                       reply != NULL && reply->type == REDIS_REPLY_ERROR ? reply->str : "no answer");
    }
    if (reply != NULL) freeReplyObject(reply);
    redisFree(link);
}

static void members_judge(struct kw_cli_status *status, const struct kw_cli_meta_target *target) {
    const redisReply *members = kw_cli_map_get(status->status, "members");
    for (size_t i = 0; i < kw_cli_list_len(members) && i < KW_CLI_STATUS_MEMBERS_MAX; i++) {
        const redisReply *map = kw_cli_list_at(members, i);
        const char *address = kw_cli_map_text(map, "address");
        struct kw_cli_status_member *member = &status->members[i];
        member_look(member, address, target);
        long long id = kw_cli_map_int(map, "id", 0);
        if (!member->answers)
            reason_add(status, "metadata node %lld (%s) does not answer: %s", id, address, member->error);
        else if (kw_cli_map_int(map, "voter", 1) == 0)
            reason_add(status, "metadata node %lld (%s) is not a voter yet", id, address);
    }
    if (kw_cli_map_int(status->status, "leader", 0) == 0) {
        reason_add(status, "the metadata service has no leader: what is shown may be old");
    } else if (strcmp(kw_cli_map_text(status->status, "consistency"), "linearizable") != 0) {
        reason_add(status, "the metadata leader (%s) does not answer: what is shown may be old",
                   kw_cli_map_text(status->status, "leader_address"));
    }
}

static void cluster_judge(struct kw_cli_status *status) {
    if (kw_cli_map_int(status->status, "attached", 0) == 0) {
        reason_add(status, "no cluster is attached: `keyway-cli attach HOST:PORT` does that");
        return;
    }
    long long slots = kw_cli_map_int(status->status, "slots", 0);
    if (slots < KW_SLOT_COUNT)
        reason_add(status, "%lld of %d slots have no owner", KW_SLOT_COUNT - slots, KW_SLOT_COUNT);
    for (size_t i = 0; i < kw_cli_list_len(status->nodes); i++) {
        const redisReply *node = kw_cli_list_at(status->nodes, i);
        const char *role = kw_cli_map_text(node, "role");
        const char *address = kw_cli_map_text(node, "address");
        if (kw_cli_map_int(node, "failed", 0) != 0)
            reason_add(status, "%s %s has failed", role, address);
        else if (kw_cli_map_int(node, "reachable", -1) == 0)
            reason_add(status, "%s %s is not reachable from the metadata leader", role, address);
    }
}

static void proxies_judge(struct kw_cli_status *status) {
    for (size_t i = 0; i < kw_cli_list_len(status->proxies); i++) {
        const redisReply *proxy = kw_cli_list_at(status->proxies, i);
        long long idle_ms = kw_cli_map_int(proxy, "idle_ms", -1);
        if (idle_ms >= PROXY_SILENT_MS)
            reason_add(status, "proxy %s has been silent for %lld s", kw_cli_map_text(proxy, "address"),
                       idle_ms / 1000);
    }
}

void kw_cli_status_read_members(struct kw_cli_status *status, struct kw_cli_meta_link *link,
                                const struct kw_cli_meta_target *target) {
    memset(status, 0, sizeof(*status));
    status->status = status_ask(status, link);
    status->reached = status->status != NULL;
    if (status->reached) members_judge(status, target);
}

void kw_cli_status_read(struct kw_cli_status *status, struct kw_cli_meta_link *link,
                        const struct kw_cli_meta_target *target) {
    kw_cli_status_read_members(status, link, target);
    if (!status->reached) return;
    status->shards = list_ask(status, link, "SHARDS");
    status->nodes = list_ask(status, link, "NODES");
    status->proxies = list_ask(status, link, "PROXIES");
    status->operations = list_ask(status, link, "OPS");
    cluster_judge(status);
    proxies_judge(status);
}

void kw_cli_status_deinit(struct kw_cli_status *status) {
    redisReply *replies[] = {status->status, status->shards, status->nodes, status->proxies, status->operations};
    for (size_t i = 0; i < KW_ARRAY_LEN(replies); i++) {
        if (replies[i] != NULL) freeReplyObject(replies[i]);
    }
    kw_str_deinit(&status->reasons);
    memset(status, 0, sizeof(*status));
}

int kw_cli_status_code(const struct kw_cli_status *status) {
    if (!status->reached) return KW_EXIT_FAILED;
    return status->reason_count == 0 ? KW_EXIT_OK : KW_EXIT_DEGRADED;
}
