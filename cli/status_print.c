/* A status as tables and as JSON. Everything goes to the caller's string; nothing fails. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cli/grid.h"
#include "cli/json.h"
#include "cli/reply.h"
#include "cli/status.h"
#include "cluster/slot.h"

static const char *verdict_word(const struct kw_cli_status *status) {
    return !status->reached ? "unreachable" : status->reason_count > 0 ? "degraded" : "healthy";
}

static void number_text(char *out, size_t size, long long number) {
    if (number < 0)
        (void)snprintf(out, size, "-");
    else
        (void)snprintf(out, size, "%lld", number);
}

/* "0-100 200 300-400" */
static void ranges_print(const redisReply *ranges, struct kw_str *out) {
    for (size_t i = 0; i < kw_cli_list_len(ranges); i++) {
        const redisReply *range = kw_cli_list_at(ranges, i);
        long long first = kw_cli_reply_int(kw_cli_list_at(range, 0), 0);
        long long last = kw_cli_reply_int(kw_cli_list_at(range, 1), first);
        kw_str_printf(out, "%s%lld", i > 0 ? " " : "", first);
        if (last != first) kw_str_printf(out, "-%lld", last);
    }
}

static const char *node_word(const redisReply *node) {
    if (kw_cli_map_int(node, "failed", 0) != 0) return "failed";
    long long reachable = kw_cli_map_int(node, "reachable", -1);
    return reachable == 1 ? "ok" : reachable == 0 ? "silent" : "?";
}

static const redisReply *node_find(const redisReply *nodes, const char *name, const char *value) {
    for (size_t i = 0; i < kw_cli_list_len(nodes); i++) {
        const redisReply *node = kw_cli_list_at(nodes, i);
        if (strcmp(kw_cli_map_text(node, name), value) == 0) return node;
    }
    return NULL;
}

/* One node's row; `shard` is NULL for a node without slots of its own. */
static void node_row(struct kw_cli_grid *grid, size_t number, const char *role, const char *address,
                     const redisReply *node, const redisReply *shard) {
    struct kw_str ranges = {0};
    char offset[24];
    char lag[24];
    number_text(offset, sizeof(offset), kw_cli_map_int(node, "offset", -1));
    number_text(lag, sizeof(lag), strcmp(role, "primary") == 0 ? -1 : kw_cli_map_int(node, "lag", -1));
    kw_cli_grid_format(grid, number > 0 ? "%zu" : "-", number);
    kw_cli_grid_text(grid, role);
    kw_cli_grid_text(grid, address);
    kw_cli_grid_format(grid, "%.8s", kw_cli_map_text(node, "id"));
    kw_cli_grid_text(grid, node != NULL ? node_word(node) : "?");
    kw_cli_grid_text(grid, offset);
    kw_cli_grid_text(grid, lag);
    if (shard != NULL) {
        kw_cli_grid_number(grid, kw_cli_map_int(shard, "slot_count", 0));
        ranges_print(kw_cli_map_get(shard, "slots"), &ranges);
    } else {
        kw_cli_grid_text(grid, "");
    }
    kw_cli_grid_text(grid, ranges.len > 0 ? ranges.data : "");
    kw_str_deinit(&ranges);
}

static void shard_rows(struct kw_cli_grid *grid, size_t number, const redisReply *shard, const redisReply *nodes) {
    const char *id = kw_cli_map_text(shard, "primary");
    node_row(grid, number, "primary", kw_cli_map_text(shard, "address"), node_find(nodes, "id", id), shard);
    const redisReply *replicas = kw_cli_map_get(shard, "replicas");
    for (size_t i = 0; i < kw_cli_list_len(replicas); i++) {
        const char *address = kw_cli_reply_text(kw_cli_list_at(replicas, i));
        node_row(grid, number, "replica", address, node_find(nodes, "address", address), NULL);
    }
}

static long long first_slot(const redisReply *shard) {
    return kw_cli_reply_int(kw_cli_list_at(kw_cli_list_at(kw_cli_map_get(shard, "slots"), 0), 0), KW_SLOT_COUNT);
}

static int by_first_slot(const void *a, const void *b) {
    long long one = first_slot(*(const redisReply *const *)a);
    long long other = first_slot(*(const redisReply *const *)b);
    return one < other ? -1 : one > other;
}

static void shards_rows(struct kw_cli_grid *grid, const redisReply *shards, const redisReply *nodes) {
    size_t count = kw_cli_list_len(shards);
    if (count == 0) return;
    const redisReply **sorted = kw_calloc(count, sizeof(redisReply *));
    for (size_t i = 0; i < count; i++) sorted[i] = kw_cli_list_at(shards, i);
    qsort((void *)sorted, count, sizeof(redisReply *), by_first_slot);
    for (size_t i = 0; i < count; i++) shard_rows(grid, i + 1, sorted[i], nodes);
    kw_free((void *)sorted);
}

static bool shards_name(const redisReply *shards, const char *id) {
    return node_find(shards, "primary", id) != NULL;
}

void kw_cli_status_shards_print(const redisReply *shards, const redisReply *nodes, unsigned width, struct kw_str *out) {
    static const char *const titles[] = {"#", "ROLE", "ADDRESS", "ID", "STATE", ">OFFSET", ">LAG", ">SLOTS", "RANGES"};
    struct kw_cli_grid grid;
    kw_cli_grid_init(&grid, titles, KW_ARRAY_LEN(titles));
    shards_rows(&grid, shards, nodes);
    for (size_t i = 0; i < kw_cli_list_len(nodes); i++) {
        const redisReply *node = kw_cli_list_at(nodes, i);
        bool shown =
            shards_name(shards, kw_cli_map_text(node, "id")) || shards_name(shards, kw_cli_map_text(node, "primary"));
        if (!shown) node_row(&grid, 0, kw_cli_map_text(node, "role"), kw_cli_map_text(node, "address"), node, NULL);
    }
    kw_cli_grid_print(&grid, width, out);
    kw_cli_grid_deinit(&grid);
}

void kw_cli_status_members_print(const struct kw_cli_status *status, unsigned width, struct kw_str *out) {
    static const char *const titles[] = {">ID", "ADDRESS", ">RAFT", "ROLE", ">TERM", ">APPLIED", ">MATCH", "STATE"};
    const redisReply *members = kw_cli_map_get(status->status, "members");
    struct kw_cli_grid grid;
    kw_cli_grid_init(&grid, titles, KW_ARRAY_LEN(titles));
    for (size_t i = 0; i < kw_cli_list_len(members) && i < KW_CLI_STATUS_MEMBERS_MAX; i++) {
        const redisReply *map = kw_cli_list_at(members, i);
        const struct kw_cli_status_member *member = &status->members[i];
        long long match = kw_cli_map_int(map, "match_index", 0);
        char text[24];
        kw_cli_grid_number(&grid, kw_cli_map_int(map, "id", 0));
        kw_cli_grid_text(&grid, kw_cli_map_text(map, "address"));
        kw_cli_grid_number(&grid, kw_cli_map_int(map, "raft_port", 0));
        kw_cli_grid_text(&grid, member->role);
        number_text(text, sizeof(text), member->answers ? member->term : -1);
        kw_cli_grid_text(&grid, text);
        number_text(text, sizeof(text), member->answers ? member->applied_index : -1);
        kw_cli_grid_text(&grid, text);
        number_text(text, sizeof(text), match > 0 ? match : -1);
        kw_cli_grid_text(&grid, text);
        kw_cli_grid_text(&grid, !member->answers                       ? member->error
                                : kw_cli_map_int(map, "voter", 1) == 0 ? "ok, no voter yet"
                                                                       : "ok");
    }
    kw_cli_grid_print(&grid, width, out);
    kw_cli_grid_deinit(&grid);
}

static void proxies_print(const redisReply *proxies, unsigned width, struct kw_str *out) {
    static const char *const titles[] = {"ADDRESS", "VERSION", ">WORKERS", ">MAP", ">SEEN", "ID"};
    struct kw_cli_grid grid;
    kw_cli_grid_init(&grid, titles, KW_ARRAY_LEN(titles));
    for (size_t i = 0; i < kw_cli_list_len(proxies); i++) {
        const redisReply *proxy = kw_cli_list_at(proxies, i);
        long long idle_ms = kw_cli_map_int(proxy, "idle_ms", -1);
        kw_cli_grid_text(&grid, kw_cli_map_text(proxy, "address"));
        kw_cli_grid_text(&grid, kw_cli_map_text(proxy, "version"));
        kw_cli_grid_number(&grid, kw_cli_map_int(proxy, "workers", 0));
        kw_cli_grid_number(&grid, kw_cli_map_int(proxy, "map_version", 0));
        if (idle_ms < 0)
            kw_cli_grid_text(&grid, "?");
        else
            kw_cli_grid_format(&grid, "%lld.%lld s ago", idle_ms / 1000, idle_ms % 1000 / 100);
        kw_cli_grid_text(&grid, kw_cli_map_text(proxy, "id"));
    }
    kw_cli_grid_print(&grid, width, out);
    kw_cli_grid_deinit(&grid);
}

static void operations_print(const redisReply *operations, unsigned width, struct kw_str *out) {
    static const char *const titles[] = {"ID", "KIND", "STEP", "DETAIL"};
    static const char *const names[] = {"id", "kind", "step", "detail"};
    struct kw_cli_grid grid;
    kw_cli_grid_init(&grid, titles, KW_ARRAY_LEN(titles));
    for (size_t i = 0; i < kw_cli_list_len(operations); i++) {
        for (size_t j = 0; j < KW_ARRAY_LEN(names); j++) {
            const redisReply *value = kw_cli_map_get(kw_cli_list_at(operations, i), names[j]);
            if (value != NULL && value->type == REDIS_REPLY_INTEGER)
                kw_cli_grid_number(&grid, value->integer);
            else
                kw_cli_grid_text(&grid, kw_cli_reply_text(value));
        }
    }
    kw_cli_grid_print(&grid, width, out);
    kw_cli_grid_deinit(&grid);
}

static void section(struct kw_str *out, const char *title) {
    kw_str_printf(out, "\n%s\n", title);
}

static void reasons_print(const struct kw_cli_status *status, struct kw_str *out) {
    const char *at = status->reasons.len > 0 ? status->reasons.data : "";
    while (*at != '\0') {
        int len = (int)strcspn(at, "\n");
        kw_str_printf(out, "  ! %.*s\n", len, at);
        at += len + (at[len] == '\n');
    }
}

static void summary_print(const struct kw_cli_status *status, struct kw_str *out) {
    const redisReply *map = status->status;
    kw_str_printf(out, "Cluster %s: %s\n", kw_cli_map_text(map, "cluster"), verdict_word(status));
    reasons_print(status, out);
    long long leader = kw_cli_map_int(map, "leader", 0);
    if (leader != 0)
        kw_str_printf(out, "\nmetadata  leader %lld (%s), term %lld, applied %lld", leader,
                      kw_cli_map_text(map, "leader_address"), kw_cli_map_int(map, "term", 0),
                      kw_cli_map_int(map, "applied_index", 0));
    else
        kw_str_printf(out, "\nmetadata  no leader, term %lld, applied %lld", kw_cli_map_int(map, "term", 0),
                      kw_cli_map_int(map, "applied_index", 0));
    long long epoch = kw_cli_map_int(map, "recovery_epoch", 0);
    if (epoch > 0) kw_str_printf(out, ", recovery epoch %lld", epoch);
    kw_str_printf(out, "\ncluster   %lld shards, %lld nodes, %lld of %d slots, map %lld\n",
                  kw_cli_map_int(map, "shards", 0), kw_cli_map_int(map, "nodes", 0), kw_cli_map_int(map, "slots", 0),
                  KW_SLOT_COUNT, kw_cli_map_int(map, "map_version", 0));
}

void kw_cli_status_print(const struct kw_cli_status *status, unsigned width, struct kw_str *out) {
    if (!status->reached) {
        kw_str_printf(out, "No metadata node can be reached: %s\n", status->error);
        return;
    }
    summary_print(status, out);
    section(out, "METADATA NODES");
    kw_cli_status_members_print(status, width, out);
    if (kw_cli_list_len(status->shards) + kw_cli_list_len(status->nodes) > 0) {
        section(out, "SHARDS");
        kw_cli_status_shards_print(status->shards, status->nodes, width, out);
    }
    if (kw_cli_list_len(status->proxies) > 0) {
        section(out, "PROXIES");
        proxies_print(status->proxies, width, out);
    } else {
        kw_str_append_text(out, "\nNo proxy is registered.\n");
    }
    if (kw_cli_list_len(status->operations) > 0) {
        section(out, "OPERATIONS");
        operations_print(status->operations, width, out);
    } else {
        kw_str_append_text(out, "\nNo operation is running.\n");
    }
}

static void reasons_json(const struct kw_cli_status *status, struct kw_str *out) {
    const char *at = status->reasons.len > 0 ? status->reasons.data : "";
    struct kw_str line = {0};
    kw_str_append_text(out, "[");
    for (unsigned i = 0; *at != '\0'; i++) {
        size_t len = strcspn(at, "\n");
        kw_str_clear(&line);
        kw_str_append(&line, at, len);
        if (i > 0) kw_str_append_text(out, ", ");
        kw_cli_json_text(out, line.data);
        at += len + (at[len] == '\n');
    }
    kw_str_append_text(out, "]");
    kw_str_deinit(&line);
}

void kw_cli_status_members_json(const struct kw_cli_status *status, struct kw_str *out) {
    const redisReply *members = kw_cli_map_get(status->status, "members");
    kw_str_append_text(out, "[");
    for (size_t i = 0; i < kw_cli_list_len(members) && i < KW_CLI_STATUS_MEMBERS_MAX; i++) {
        const redisReply *map = kw_cli_list_at(members, i);
        const struct kw_cli_status_member *member = &status->members[i];
        kw_str_printf(out, "%s{\"id\": %lld, \"address\": ", i > 0 ? ", " : "", kw_cli_map_int(map, "id", 0));
        kw_cli_json_text(out, kw_cli_map_text(map, "address"));
        kw_str_printf(out, ", \"raft_port\": %lld, \"voter\": %s, \"match_index\": %lld, \"answers\": %s",
                      kw_cli_map_int(map, "raft_port", 0), kw_cli_map_int(map, "voter", 1) != 0 ? "true" : "false",
                      kw_cli_map_int(map, "match_index", 0), member->answers ? "true" : "false");
        if (member->answers) {
            kw_str_append_text(out, ", \"role\": ");
            kw_cli_json_text(out, member->role);
            kw_str_printf(out, ", \"term\": %lld, \"applied_index\": %lld", member->term, member->applied_index);
        }
        kw_str_append_text(out, "}");
    }
    kw_str_append_text(out, "]");
}

void kw_cli_status_json(const struct kw_cli_status *status, struct kw_str *out) {
    kw_str_printf(out, "{\"state\": \"%s\", \"reasons\": ", verdict_word(status));
    reasons_json(status, out);
    if (!status->reached) {
        kw_str_append_text(out, ", \"error\": ");
        kw_cli_json_text(out, status->error);
        kw_str_append_text(out, "}\n");
        return;
    }
    kw_str_append_text(out, ", \"metadata\": ");
    kw_cli_json_map(out, status->status, "members");
    kw_str_append_text(out, ", \"members\": ");
    kw_cli_status_members_json(status, out);
    kw_str_append_text(out, ", \"shards\": ");
    kw_cli_json_maps(out, status->shards);
    kw_str_append_text(out, ", \"nodes\": ");
    kw_cli_json_maps(out, status->nodes);
    kw_str_append_text(out, ", \"proxies\": ");
    kw_cli_json_maps(out, status->proxies);
    kw_str_append_text(out, ", \"operations\": ");
    kw_cli_json_maps(out, status->operations);
    kw_str_append_text(out, "}\n");
}
