/*
 * One look at a node: CLUSTER INFO, CLUSTER NODES and INFO REPLICATION over
 * a connection of its own, taken apart into a struct.
 *
 * A node that refuses, hangs or breaks off leaves `answers` false. Replies
 * are freed here; the slots text belongs to the view.
 */
#include "cli/local_view.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/info.h"
#include "cli/link.h"

enum { ASK_TIMEOUT_MS = 1000 };

static void cluster_info_take(struct kw_cli_local_view *view, char *info) {
    view->state_ok = kw_cli_info_is(info, "cluster_state", "ok");
    view->slots_ok = (unsigned)kw_cli_info_number(info, "cluster_slots_ok");
    view->known_nodes = (unsigned)kw_cli_info_number(info, "cluster_known_nodes");
}

static void replication_take(struct kw_cli_local_view *view, char *info) {
    view->primary = kw_cli_info_is(info, "role", "master");
    view->link_up = view->primary || kw_cli_info_is(info, "master_link_status", "up");
    view->primary_port = (uint16_t)kw_cli_info_number(info, "master_port");
    view->links = (unsigned)kw_cli_info_number(info, "connected_slaves");
    view->offset = kw_cli_info_number(info, view->primary ? "master_repl_offset" : "slave_repl_offset");
}

static void slot_count_add(void *arg, unsigned first, unsigned last) {
    unsigned *count = arg;
    *count += last - first + 1;
}

/* id ip:port@bus flags primary ping pong epoch link slot slot ... */
static void node_line_take(struct kw_cli_local_view *view, char *line) {
    char *save = NULL;
    const char *id = strtok_r(line, " ", &save);
    (void)strtok_r(NULL, " ", &save);
    const char *flags = strtok_r(NULL, " ", &save);
    if (id == NULL || flags == NULL) return;
    if (strstr(flags, "fail") != NULL || strstr(flags, "handshake") != NULL) view->peers_settled = false;
    if (strstr(flags, "myself") == NULL) return;

    (void)snprintf(view->id, sizeof(view->id), "%s", id);
    for (unsigned skipped = 0; skipped < 5; skipped++) (void)strtok_r(NULL, " ", &save);
    for (const char *slot = strtok_r(NULL, " ", &save); slot != NULL; slot = strtok_r(NULL, " ", &save)) {
        if (*slot == '[') continue; /* a slot on the move */
        kw_str_printf(&view->slots, "%s%s", view->slots.len > 0 ? " " : "", slot);
    }
}

static void cluster_nodes_take(struct kw_cli_local_view *view, char *text) {
    char *save = NULL;
    view->peers_settled = true;
    for (char *line = strtok_r(text, "\n", &save); line != NULL; line = strtok_r(NULL, "\n", &save)) {
        node_line_take(view, line);
    }
    kw_cli_local_view_each_range(view, slot_count_add, &view->slot_count);
}

/* Asks one thing and hands the text over. False when there is none. */
static bool ask(redisContext *link, struct kw_cli_local_view *view, const char *command,
                void (*take)(struct kw_cli_local_view *view, char *text)) {
    redisReply *reply = kw_cli_link_command(link, command);
    bool good = reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
    if (good) take(view, reply->str);
    if (reply != NULL && reply->type == REDIS_REPLY_ERROR && strncmp(reply->str, "LOADING", 7) == 0) {
        view->loading = true;
    }
    if (reply != NULL) freeReplyObject(reply);
    return good;
}

static void pong_take(struct kw_cli_local_view *view, char *text) {
    (void)view;
    (void)text;
}

void kw_cli_local_view_read(struct kw_cli_local_view *view, uint16_t port) {
    memset(view, 0, sizeof(*view));
    redisContext *link = kw_cli_link_open(port, ASK_TIMEOUT_MS);
    if (link == NULL) return;
    view->answers = ask(link, view, "PING", pong_take) && ask(link, view, "CLUSTER INFO", cluster_info_take) &&
                    ask(link, view, "CLUSTER NODES", cluster_nodes_take) &&
                    ask(link, view, "INFO REPLICATION", replication_take);
    if (view->loading) view->answers = true;
    redisFree(link);
}

void kw_cli_local_view_deinit(struct kw_cli_local_view *view) {
    kw_str_deinit(&view->slots);
}

bool kw_cli_local_view_settled(const struct kw_cli_local_view *view, unsigned node_count) {
    return view->answers && !view->loading && view->state_ok && view->link_up && view->peers_settled &&
           view->known_nodes >= node_count && view->slots_ok == KW_CLI_LOCAL_SLOTS;
}

void kw_cli_local_view_each_range(const struct kw_cli_local_view *view,
                                  void (*each)(void *arg, unsigned first, unsigned last), void *arg) {
    const char *at = view->slots.data;
    while (at != NULL && *at != '\0') {
        char *end;
        unsigned long first = strtoul(at, &end, 10);
        unsigned long last = first;
        if (*end == '-') last = strtoul(end + 1, &end, 10);
        if (end == at || first > last || last >= KW_CLI_LOCAL_SLOTS) return;
        each(arg, (unsigned)first, (unsigned)last);
        at = *end == ' ' ? end + 1 : NULL;
    }
}
