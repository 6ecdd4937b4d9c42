/*
 * Happy path: connect, INFO, CLUSTER INFO, CLUSTER NODES; parse them as the
 * metadata service will; put the node's own address into its own line where
 * it does not know it; try to reach each node.
 *
 * What can fail: no answer, a password that is missing or wrong, no cluster
 * mode, a cluster that is not whole, text that makes no sense. All is
 * reported here. Links are opened and closed within; the text is the
 * caller's.
 */
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "base/error.h"
#include "cli/attach.h"
#include "cli/info.h"
#include "cli/link.h"
#include "cli/report.h"
#include "cluster/topology.h"

enum { TIMEOUT_MS = 3000, REACH_MS = 1000 };

/* One node under examination. */
struct probe {
    const struct kw_seed *node;
    redisContext *link;          /* own */
    char host[INET6_ADDRSTRLEN]; /* of the node, as connected to */
};

/* The text that a command answers, to be freed with freeReplyObject; NULL and reported otherwise. */
static redisReply *text_ask(const struct probe *probe, const char *command) {
    redisReply *reply = kw_cli_link_command(probe->link, command);
    if (reply != NULL && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS)) return reply;
    const char *said = reply == NULL ? "no answer" : reply->type == REDIS_REPLY_ERROR ? reply->str : "no text";
    bool login = strncmp(said, "NOAUTH", 6) == 0;
    kw_report_error("%s:%u: %s: %s", probe->node->host, probe->node->port, command,
                    login ? "it wants a password: KEYWAY_CLUSTER_PASSWORD in the environment (and --username)" : said);
    if (reply != NULL) freeReplyObject(reply);
    return NULL;
}

/* Why there is no text: a node that hangs is as good as one that cannot be reached, and the next may answer. */
static int text_failure(const struct probe *probe) {
    return probe->link->err ? KW_EUNREACHABLE : KW_EPROTOCOL;
}

static int mode_check(struct probe *probe) {
    redisReply *info = text_ask(probe, "INFO");
    if (info == NULL) return text_failure(probe);
    bool cluster = kw_cli_info_is(info->str, "cluster_enabled", "1");
    freeReplyObject(info);
    if (cluster) return 0;
    kw_report_error("%s:%u is no node of a Redis Cluster (cluster_enabled is not 1): only clusters can be attached",
                    probe->node->host, probe->node->port);
    return KW_EINVALID;
}

static int whole_check(struct probe *probe) {
    redisReply *info = text_ask(probe, "CLUSTER INFO");
    if (info == NULL) return text_failure(probe);
    bool ok = kw_cli_info_is(info->str, "cluster_state", "ok");
    long long assigned = kw_cli_info_number(info->str, "cluster_slots_assigned");
    freeReplyObject(info);
    if (assigned != KW_SLOT_COUNT) {
        kw_report_error("%s:%u: %lld of %d slots have an owner: assign the others first", probe->node->host,
                        probe->node->port, assigned, KW_SLOT_COUNT);
        return KW_EINVALID;
    }
    if (ok) return 0;
    kw_report_error("%s:%u says that its cluster is down (cluster_state is not ok): mend it first", probe->node->host,
                    probe->node->port);
    return KW_EINVALID;
}

/* The address at the other end: what stands in for an own address that the node does not know. */
static bool peer_read(struct probe *probe) {
    struct sockaddr_storage addr = {0};
    socklen_t len = sizeof(addr);
    if (getpeername(probe->link->fd, (struct sockaddr *)&addr, &len) != 0) return false;
    const void *raw = addr.ss_family == AF_INET6 ? (const void *)&((struct sockaddr_in6 *)&addr)->sin6_addr
                                                 : (const void *)&((struct sockaddr_in *)&addr)->sin_addr;
    return inet_ntop(addr.ss_family, raw, probe->host, sizeof(probe->host)) != NULL;
}

/* Copies the text; in the node's own line the host becomes `host`. "id host:port@bus..." */
static void text_complete(const char *from, const char *self_id, const char *host, struct kw_str *out) {
    while (*from != '\0') {
        size_t len = strcspn(from, "\n");
        size_t id_len = strlen(self_id);
        if (len > id_len && strncmp(from, self_id, id_len) == 0 && from[id_len] == ' ') {
            size_t end = id_len + 1 + strcspn(from + id_len + 1, "@, \n");
            while (end > id_len && from[end] != ':') end--;
            kw_str_printf(out, "%s %s", self_id, host);
            kw_str_append(out, from + end, len - end);
        } else {
            kw_str_append(out, from, len);
        }
        kw_str_append_text(out, "\n");
        from += len + (from[len] == '\n');
    }
}

/* Says of each node that cannot be reached from here that it cannot. */
static void nodes_reach(const struct kw_topology *topo, const struct kw_cli_attach_login *login) {
    for (unsigned i = 0; i < topo->node_count; i++) {
        const struct kw_topo_node *node = &topo->nodes[i];
        char error[256];
        redisContext *link =
            kw_cli_link_open_at(node->host, node->port, login->user, login->password, REACH_MS, error, sizeof(error));
        bool good = link != NULL && kw_cli_link_succeeds(link, error, sizeof(error), "PING");
        if (link != NULL) redisFree(link);
        if (good) continue;
        kw_report_error("warning: node %s (%s) cannot be reached from here: %s", node->addr,
                        node->failed    ? "failed"
                        : node->primary ? "primary"
                                        : "replica",
                        error);
    }
}

static int nodes_take(struct probe *probe, const struct kw_cli_attach_login *login, struct kw_str *text) {
    redisReply *reply = text_ask(probe, "CLUSTER NODES");
    if (reply == NULL) return text_failure(probe);
    struct kw_topo_view *view = NULL;
    struct kw_topology *topo = NULL;
    int rc = kw_topo_view_parse(&view, reply->str, reply->len, probe->host);
    if (rc == 0) topo = kw_topology_merge((const struct kw_topo_view *const *)&view, 1, NULL);
    if (topo == NULL) {
        kw_report_error("%s:%u: what CLUSTER NODES answers cannot be understood: %s", probe->node->host,
                        probe->node->port, kw_error_text(rc));
        rc = rc != 0 ? rc : KW_EPROTOCOL;
    } else {
        const char *self = kw_topo_view_self_id(view);
        int index = kw_topology_find_id(topo, self);
        text_complete(reply->str, self, index >= 0 ? topo->nodes[index].host : probe->host, text);
        nodes_reach(topo, login);
    }
    kw_topology_unref(topo);
    kw_topo_view_free(view);
    freeReplyObject(reply);
    return rc;
}

int kw_cli_attach_probe(const struct kw_seed *node, const struct kw_cli_attach_login *login, struct kw_str *text) {
    char error[256];
    struct probe probe = {.node = node};
    probe.link =
        kw_cli_link_open_at(node->host, node->port, login->user, login->password, TIMEOUT_MS, error, sizeof(error));
    if (probe.link == NULL) {
        kw_report_error("%s:%u: %s", node->host, node->port, error);
        return KW_EUNREACHABLE;
    }
    int rc = peer_read(&probe) ? mode_check(&probe) : KW_EUNREACHABLE;
    if (rc == 0) rc = whole_check(&probe);
    if (rc == 0) rc = nodes_take(&probe, login, text);
    redisFree(probe.link);
    return rc;
}
