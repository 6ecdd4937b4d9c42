/*
 * CLUSTER, READONLY, READWRITE, ASKING: what a cluster client asks. It is shown
 * a cluster whose nodes are the proxies (cluster/proxies.h); any of them serves
 * any slot, so that a client which follows this map is never redirected.
 *
 * INFO says cluster_enabled:0 to a client that has asked none of these, since
 * plain clients change their ways when it says 1: that is what the session's
 * `cluster_aware` and the setting cluster-emulation are for. One exception is
 * made, for a client that could not start otherwise: kw_local_asks_for_cluster.
 *
 * Nothing here fails but for what the client asked wrongly. The list is read
 * from the limits, which live as long as the process; one made for the call
 * (nothing is configured) is freed at its end.
 */
#include <stdio.h>
#include <string.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/proxies.h"
#include "cluster/slot.h"
#include "cluster/topology.h"
#include "proxy/local/local.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { ID_SHOWN_BYTES = 256 };

/* The list as this client sees it. */
struct view {
    const struct kw_proxies *proxies;
    unsigned self;           /* index of this proxy */
    struct kw_proxies alone; /* own; used when none are configured */
};

static const struct kw_limits *limits_of(const struct kw_session *session) {
    return kw_server_limits(session->worker->server);
}

bool kw_local_shows_cluster(const struct kw_session *session) {
    int emulation = limits_of(session)->cluster_emulation;
    return emulation == KW_CLUSTER_YES || (emulation == KW_CLUSTER_AUTO && session->cluster_aware);
}

/* What a client says to make itself known, before it asks anything. */
static bool is_introduction(const struct kw_command *cmd) {
    static const char *const names[] = {"auth", "client|setname", "client|setinfo"};
    for (size_t i = 0; i < KW_ARRAY_LEN(names); i++) {
        if (strcmp(cmd->name, names[i]) == 0) return true;
    }
    return false;
}

/*
 * RedisCluster of redis-py 4 gives up unless a bare INFO, the first thing that it says, has cluster_enabled:1. A plain
 * client may begin with the same bytes and is to see 0. So the answer to just these bytes says 0, and has a line of its
 * own that redis-py alone reads as a second, later cluster_enabled (info.c).
 */
bool kw_local_asks_for_cluster(const struct kw_local_call *call) {
    const struct kw_session *session = call->session;
    uint16_t before = session->worker->command_before;
    return limits_of(session)->cluster_emulation == KW_CLUSTER_AUTO && call->argc == 1 &&
           memcmp(call->argv[0].data, "INFO", 4) == 0 && (!before || is_introduction(kw_command_by_id(before - 1U)));
}

/* The address by which this client reached us. */
static void local_address(struct kw_session *session, char *host, size_t size, unsigned *port) {
    struct sockaddr_storage name;
    int len = sizeof(name);
    snprintf(host, size, "127.0.0.1");
    *port = 0;
    if (uv_tcp_getsockname(&session->tcp, (struct sockaddr *)&name, &len)) return;
    if (name.ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)&name;
        uv_ip6_name(v6, host, size);
        *port = ntohs(v6->sin6_port);
    } else {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)&name;
        uv_ip4_name(v4, host, size);
        *port = ntohs(v4->sin_port);
    }
}

/* Our own entry: by the client's way here, by what is bound, by a port that no other has; else the first. */
static unsigned find_self(struct kw_session *session, const struct kw_proxies *proxies, const char *host,
                          unsigned port) {
    const char *bound = kw_server_address(session->worker->server);
    int index = kw_proxies_find(proxies, host, port);
    if (index < 0) index = kw_proxies_find_text(proxies, bound);
    if (index < 0) index = kw_proxies_find_port(proxies, port);
    return index < 0 ? 0 : (unsigned)index;
}

static void view_init(struct view *view, struct kw_session *session) {
    char host[64];
    unsigned port;
    local_address(session, host, sizeof(host), &port);
    *view = (struct view){.proxies = &limits_of(session)->proxies};
    if (view->proxies->count == 0) {
        kw_proxies_one(&view->alone, host, port);
        view->proxies = &view->alone;
    }
    view->self = find_self(session, view->proxies, host, port);
}

static void view_deinit(struct view *view) {
    kw_proxies_deinit(&view->alone);
}

/* False after the error: this proxy shows no cluster to anybody. Else the client has shown what it is. */
static bool begin(struct kw_local_call *call) {
    if (limits_of(call->session)->cluster_emulation == KW_CLUSTER_NO) {
        kw_str_resp_error(call->out, "ERR This instance has cluster support disabled");
        return false;
    }
    call->session->cluster_aware = true;
    return true;
}

static void answer_ok(struct kw_local_call *call) {
    if (begin(call)) kw_str_resp_simple(call->out, "OK");
}

/* Where reads go is what read-from says, for every client. */
void kw_local_readonly(struct kw_local_call *call) {
    answer_ok(call);
}

void kw_local_readwrite(struct kw_local_call *call) {
    answer_ok(call);
}

void kw_local_asking(struct kw_local_call *call) {
    answer_ok(call);
}

static void print_slots(struct kw_local_call *call, const struct view *view) {
    kw_str_resp_array(call->out, view->proxies->count);
    for (unsigned i = 0; i < view->proxies->count; i++) {
        const struct kw_proxy *proxy = &view->proxies->list[i];
        kw_str_resp_array(call->out, 3);
        kw_str_resp_int(call->out, proxy->first_slot);
        kw_str_resp_int(call->out, proxy->last_slot);
        kw_str_resp_array(call->out, 4);
        kw_str_resp_text(call->out, proxy->host);
        kw_str_resp_int(call->out, proxy->port);
        kw_str_resp_text(call->out, proxy->id);
        kw_str_resp_map(call->out, call->resp, 0);
    }
}

static void print_pair(struct kw_local_call *call, const char *name, const char *value) {
    kw_str_resp_text(call->out, name);
    kw_str_resp_text(call->out, value);
}

static void print_shard_node(struct kw_local_call *call, const struct kw_proxy *proxy) {
    kw_str_resp_map(call->out, call->resp, proxy->named ? 8 : 7);
    print_pair(call, "id", proxy->id);
    kw_str_resp_text(call->out, "port");
    kw_str_resp_int(call->out, proxy->port);
    print_pair(call, "ip", proxy->host);
    print_pair(call, "endpoint", proxy->host);
    if (proxy->named) print_pair(call, "hostname", proxy->host);
    print_pair(call, "role", "master");
    kw_str_resp_text(call->out, "replication-offset");
    kw_str_resp_int(call->out, 0);
    print_pair(call, "health", "online");
}

static void print_shards(struct kw_local_call *call, const struct view *view) {
    kw_str_resp_array(call->out, view->proxies->count);
    for (unsigned i = 0; i < view->proxies->count; i++) {
        const struct kw_proxy *proxy = &view->proxies->list[i];
        kw_str_resp_map(call->out, call->resp, 2);
        kw_str_resp_text(call->out, "slots");
        kw_str_resp_array(call->out, 2);
        kw_str_resp_int(call->out, proxy->first_slot);
        kw_str_resp_int(call->out, proxy->last_slot);
        kw_str_resp_text(call->out, "nodes");
        kw_str_resp_array(call->out, 1);
        print_shard_node(call, proxy);
    }
}

/* "id host:port@bus[,hostname] flags primary ping pong epoch link slots": no bus, so 0; the epoch is the place. */
static void print_nodes(struct kw_local_call *call, const struct view *view) {
    struct kw_str text = {0};
    for (unsigned i = 0; i < view->proxies->count; i++) {
        const struct kw_proxy *proxy = &view->proxies->list[i];
        kw_str_printf(&text, "%s %s:%u@0%s%s %smaster - 0 0 %u connected %u", proxy->id, proxy->host, proxy->port,
                      proxy->named ? "," : "", proxy->named ? proxy->host : "", i == view->self ? "myself," : "", i + 1,
                      proxy->first_slot);
        if (proxy->last_slot > proxy->first_slot) kw_str_printf(&text, "-%u", proxy->last_slot);
        kw_str_append_text(&text, "\n");
    }
    kw_str_resp_verbatim(call->out, call->resp, text.data, text.len);
    kw_str_deinit(&text);
}

/* The slots of the shards behind, by the state of who owns them. */
struct slot_counts {
    unsigned owned, ok, suspect, failed;
};

static void count_slots(const struct kw_topology *topology, struct slot_counts *counts) {
    *counts = (struct slot_counts){0};
    if (!topology) return;
    counts->owned = topology->owned_slots;
    for (unsigned i = 0; i < topology->node_count; i++) {
        const struct kw_topo_node *node = &topology->nodes[i];
        if (node->failed) {
            counts->failed += node->slot_count;
        } else if (!node->reachable) {
            counts->suspect += node->slot_count;
        } else {
            counts->ok += node->slot_count;
        }
    }
}

/* Nodes and epochs are of what CLUSTER NODES shows; the state and the slots are those of the shards behind. */
static void print_info(struct kw_local_call *call, const struct view *view) {
    struct slot_counts slots;
    struct kw_str text = {0};
    unsigned count = view->proxies->count;
    count_slots(call->session->worker->topology, &slots);
    kw_str_printf(&text,
                  "cluster_state:%s\r\ncluster_slots_assigned:%u\r\ncluster_slots_ok:%u\r\ncluster_slots_pfail:%u\r\n"
                  "cluster_slots_fail:%u\r\ncluster_known_nodes:%u\r\ncluster_size:%u\r\ncluster_current_epoch:%u\r\n"
                  "cluster_my_epoch:%u\r\ncluster_stats_messages_sent:0\r\ncluster_stats_messages_received:0\r\n"
                  "total_cluster_links_buffer_limit_exceeded:0\r\n",
                  slots.owned == KW_SLOT_COUNT ? "ok" : "fail", slots.owned, slots.ok, slots.suspect, slots.failed,
                  count, count, count, view->self + 1);
    kw_str_resp_verbatim(call->out, call->resp, text.data, text.len);
    kw_str_deinit(&text);
}

static void print_myid(struct kw_local_call *call, const struct view *view) {
    kw_str_resp_text(call->out, view->proxies->list[view->self].id);
}

static void print_myshardid(struct kw_local_call *call, const struct view *view) {
    kw_str_resp_text(call->out, view->proxies->list[view->self].shard);
}

/* A node id in argument 2; false after the error. */
static bool known_node(struct kw_local_call *call, const struct view *view) {
    const struct kw_arg *id = &call->argv[2];
    if (kw_proxies_find_id(view->proxies, id->data, id->len) >= 0) return true;
    kw_str_resp_error(call->out, "ERR Unknown node %.*s", (int)(id->len > ID_SHOWN_BYTES ? ID_SHOWN_BYTES : id->len),
                      id->data);
    return false;
}

static void print_replicas(struct kw_local_call *call, const struct view *view) {
    if (known_node(call, view)) kw_str_resp_array(call->out, 0);
}

static void print_failure_reports(struct kw_local_call *call, const struct view *view) {
    if (known_node(call, view)) kw_str_resp_int(call->out, 0);
}

static void show(struct kw_local_call *call, void (*print)(struct kw_local_call *call, const struct view *view)) {
    struct view view;
    if (!begin(call)) return;
    view_init(&view, call->session);
    print(call, &view);
    view_deinit(&view);
}

void kw_local_cluster_slots(struct kw_local_call *call) {
    show(call, print_slots);
}

void kw_local_cluster_shards(struct kw_local_call *call) {
    show(call, print_shards);
}

void kw_local_cluster_nodes(struct kw_local_call *call) {
    show(call, print_nodes);
}

void kw_local_cluster_info(struct kw_local_call *call) {
    show(call, print_info);
}

void kw_local_cluster_myid(struct kw_local_call *call) {
    show(call, print_myid);
}

void kw_local_cluster_myshardid(struct kw_local_call *call) {
    show(call, print_myshardid);
}

void kw_local_cluster_replicas(struct kw_local_call *call) {
    show(call, print_replicas);
}

void kw_local_cluster_count_failure_reports(struct kw_local_call *call) {
    show(call, print_failure_reports);
}

/* The proxies have no links to each other. */
void kw_local_cluster_links(struct kw_local_call *call) {
    if (begin(call)) kw_str_resp_array(call->out, 0);
}

void kw_local_cluster_keyslot(struct kw_local_call *call) {
    if (begin(call)) kw_str_resp_int(call->out, kw_slot_of_key(call->argv[2].data, call->argv[2].len));
}

void kw_local_cluster_help(struct kw_local_call *call) {
    static const char *const lines[] = {
        "CLUSTER <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "COUNT-FAILURE-REPORTS <node-id>",
        "    Always 0: proxies do not watch each other.",
        "COUNTKEYSINSLOT <slot>",
        "    Number of keys in <slot>, from the shard that owns it.",
        "GETKEYSINSLOT <slot> <count>",
        "    Up to <count> keys of <slot>, from the shard that owns it.",
        "INFO",
        "    State of the slots of the shards, number of proxies.",
        "KEYSLOT <key>",
        "    Slot of <key>.",
        "LINKS",
        "    Always empty: proxies have no links to each other.",
        "MYID",
        "    Id of this proxy as a node.",
        "NODES",
        "    The proxies as nodes, one a line:",
        "    <id> <ip:port@0> <flags> - 0 0 <epoch> connected <slots>",
        "REPLICAS <node-id>",
        "    Always empty: every proxy is a master.",
        "SHARDS",
        "    The proxies as shards with their slots.",
        "SLOTS",
        "    The proxies with their slots.",
        "HELP",
        "    Print this help.",
    };
    if (!begin(call)) return;
    kw_str_resp_array(call->out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(call->out, lines[i]);
}
