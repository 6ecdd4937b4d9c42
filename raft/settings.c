/* The table of settings, and what they must be together before anything is opened. */
#include "raft/settings.h"

#include <arpa/inet.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/bind.h"
#include "base/error.h"
#include "raft/server.h"

enum { SECRET_MIN = 8, PORT_MAX = 65535 };

static const char *const loglevel_names[] = {"debug", "verbose", "notice", "warning", NULL};

static int apply_log(void *ctx, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    kw_meta_server_log_changed(ctx);
    return 0;
}

static int apply_auth(void *ctx, char *why, size_t why_size) {
    (void)why;
    (void)why_size;
    kw_meta_server_auth_changed(ctx);
    return 0;
}

static int valid_name(const char *value, char *why, size_t why_size) {
    size_t len = strlen(value);
    bool ok = len >= 1 && len <= 64;
    for (size_t i = 0; i < len; i++) ok = ok && value[i] > ' ' && value[i] <= '~';
    if (ok) return 0;
    snprintf(why, why_size, "must be 1 to 64 printable characters without blanks");
    return KW_EINVALID;
}

static int valid_secret(const char *value, char *why, size_t why_size) {
    if (!value[0] || strlen(value) >= SECRET_MIN) return 0;
    snprintf(why, why_size, "must have at least %d characters", SECRET_MIN);
    return KW_EINVALID;
}

#define S struct kw_meta_settings
#define INT(name, field, flags, value, min, max, unit, help)                                                           \
    { name, KW_CONFIG_INT, flags, KW_CONFIG_NUMBER_AT(S, field), value, min, max, NULL, NULL, unit, help, NULL, NULL }
#define TEXT(name, type, field, flags, value, help, validate, apply)                                                   \
    { name, type, flags, KW_CONFIG_TEXT_AT(S, field), value, 0, 0, NULL, NULL, NULL, help, validate, apply }

/* clang-format off */
const struct kw_config_row kw_meta_settings_rows[] = {
    INT("id", id, 0, "1", 1, LLONG_MAX, NULL, "Number of this node, its own for ever: a new or wiped data folder takes a new one"),
    TEXT("bind", KW_CONFIG_LIST, bind, 0, "127.0.0.1", "Addresses to listen on; * is all IPv4 ones, ::* all IPv6 ones; a - in front: no error where the machine lacks it", NULL, NULL),
    INT("port", port, 0, "7380", 1, PORT_MAX, NULL, "TCP port for clients"),
    INT("raft-port", raft_port, 0, "0", 0, PORT_MAX, NULL, "TCP port for the other metadata nodes; 0 is port + 10000"),
    TEXT("announce", KW_CONFIG_STRING, announce, 0, "", "Host under which the others reach this node; empty is the one in peers, else the first of bind", NULL, NULL),
    TEXT("peers", KW_CONFIG_LIST, peers, 0, "", "All first members, id=host:port[:raftport], this one among them; read by an empty data folder only", NULL, NULL),
    {"join", KW_CONFIG_BOOL, 0, KW_CONFIG_BOOL_AT(S, join), "no", 0, 0, NULL, NULL, NULL, "A node for a service that runs already: waits until it is added there (META ADD)", NULL, NULL},
    TEXT("dir", KW_CONFIG_STRING, dir, 0, ".", "Data folder", NULL, NULL),
    TEXT("cluster-name", KW_CONFIG_STRING, cluster_name, 0, "keyway", "Name of the service; nodes of another name are refused", valid_name, NULL),
    TEXT("secret", KW_CONFIG_SECRET, secret, 0, "", "What clients and other metadata nodes must know; may be empty only where all of bind is loopback", valid_secret, NULL),
    INT("heartbeat", heartbeat_ms, 0, "50", 10, 10000, "milliseconds", "How often the leader shows that it lives"),
    INT("election-timeout", election_timeout_ms, 0, "300", 50, 60000, "milliseconds", "Silence of the leader after which another one is elected"),
    INT("disk-timeout", disk_timeout_ms, 0, "5000", 100, 600000, "milliseconds", "A write to the log that takes longer ends the process; a leader falls silent after an election timeout already, so that another one is elected"),
    INT("snapshot-entries", snapshot_entries, 0, "8192", 16, 10000000, "entries", "Log entries between two snapshots"),
    INT("maxclients", maxclients, KW_CONFIG_MUTABLE, "10000", 1, 1000000, "connections", "Clients connected at once; one more is told so and closed"),
    TEXT("cluster-username", KW_CONFIG_STRING, cluster_username, KW_CONFIG_MUTABLE, "", "User towards the Redis nodes; empty is the default user", NULL, apply_auth),
    TEXT("cluster-password", KW_CONFIG_SECRET, cluster_password, KW_CONFIG_MUTABLE, "", "Password towards the Redis nodes; empty is none", NULL, apply_auth),
    {"loglevel", KW_CONFIG_ENUM, KW_CONFIG_MUTABLE, KW_CONFIG_ENUM_AT(S, loglevel), "notice", 0, 0, loglevel_names, NULL, NULL, "Least important kind of line that is logged", NULL, apply_log},
    TEXT("logfile", KW_CONFIG_STRING, logfile, 0, "", "File to log to; empty is standard output", NULL, NULL),
    TEXT("pidfile", KW_CONFIG_STRING, pidfile, 0, "", "File to write the process id to; empty is none", NULL, NULL),
};
/* clang-format on */
const size_t kw_meta_settings_row_count = KW_ARRAY_LEN(kw_meta_settings_rows);

static bool is_loopback(const char *host, size_t len) {
    char text[64];
    struct in_addr v4;
    if (len >= sizeof(text)) return false;
    memcpy(text, host, len);
    text[len] = '\0';
    if (inet_pton(AF_INET, text, &v4) == 1) return ntohl(v4.s_addr) >> 24 == 127;
    return strcmp(text, "::1") == 0 || strcmp(text, "localhost") == 0;
}

/* A secret is what stands between strangers and the service: without one only this machine may reach it. */
static int judge_secret(const struct kw_meta_settings *settings, char *why, size_t why_size) {
    const char *cursor = settings->bind;
    struct kw_bind_host at;
    while (!settings->secret[0] && kw_bind_next(&cursor, &at)) {
        if (is_loopback(at.host, at.len)) continue;
        snprintf(why, why_size,
                 "secret is empty, but bind names %.*s, where others can reach this node: give all metadata nodes and "
                 "proxies the same `secret` of at least %d characters, or bind loopback addresses only",
                 (int)at.len, at.host, SECRET_MIN);
        return KW_EINVALID;
    }
    return 0;
}

static const struct kw_meta_peer *own_entry(const struct kw_meta_identity *out, uint64_t id) {
    for (unsigned i = 0; i < out->peer_count; i++) {
        if (out->peers[i].id == id) return &out->peers[i];
    }
    return NULL;
}

static int judge_peers(const struct kw_meta_settings *settings, struct kw_meta_identity *out, char *why,
                       size_t why_size) {
    char reason[256] = "";
    if (!settings->peers[0]) {
        if (settings->join) return 0;
        snprintf(why, why_size,
                 "peers is empty: name all first members and this one among them (peers %lld=HOST:%lld ...), or say "
                 "`join yes` for a node that will be added to a running service",
                 settings->id, settings->port);
        return KW_EINVALID;
    }
    int count = kw_meta_peers_parse(out->peers, settings->peers, reason, sizeof(reason));
    if (count < 0) {
        snprintf(why, why_size, "peers '%.200s': %s", settings->peers, reason);
        return KW_EINVALID;
    }
    out->peer_count = (unsigned)count;
    if (own_entry(out, (uint64_t)settings->id) || settings->join) return 0;
    snprintf(why, why_size,
             "peers does not name this node: none of them has id %lld; the list is the same for all first members",
             settings->id);
    return KW_EINVALID;
}

/* The address for the others: an explicit one, the one of the list, the first that is listened on. */
static int judge_address(const struct kw_meta_settings *settings, struct kw_meta_identity *out, char *why,
                         size_t why_size) {
    long long raft_port = settings->raft_port ? settings->raft_port : settings->port + KW_META_RAFT_PORT_OFFSET;
    if (raft_port > PORT_MAX) {
        snprintf(why, why_size, "raft-port: port + %d is %lld, which is no port: set raft-port",
                 KW_META_RAFT_PORT_OFFSET, raft_port);
        return KW_EINVALID;
    }
    const struct kw_meta_peer *own = own_entry(out, (uint64_t)settings->id);
    if (own && !settings->announce[0]) {
        if (own->address.port != (unsigned)settings->port ||
            (settings->raft_port && own->address.raft_port != (unsigned)settings->raft_port)) {
            snprintf(why, why_size,
                     "peers gives this node the ports %u and %u, port and raft-port are %lld and %lld: correct one of "
                     "them, or set announce",
                     (unsigned)own->address.port, (unsigned)own->address.raft_port, settings->port, raft_port);
            return KW_EINVALID;
        }
        out->address = own->address;
        return 0;
    }
    const char *cursor = settings->bind;
    struct kw_bind_host at = {settings->announce, strlen(settings->announce), false};
    if (!settings->announce[0] && !kw_bind_next(&cursor, &at)) {
        snprintf(why, why_size, "bind names no address");
        return KW_EINVALID;
    }
    if (kw_bind_everywhere(at.host, at.len) || at.len > KW_META_HOST_MAX) {
        snprintf(why, why_size, "bind begins with %.*s, which is no address that others can connect to: set announce",
                 (int)(at.len > 80 ? 80 : at.len), at.host);
        return KW_EINVALID;
    }
    memcpy(out->address.host, at.host, at.len);
    out->address.host[at.len] = '\0';
    out->address.port = (unsigned)settings->port;
    out->address.raft_port = (unsigned)raft_port;
    return 0;
}

static int judge_times(const struct kw_meta_settings *settings, char *why, size_t why_size) {
    if (settings->election_timeout_ms >= 2 * settings->heartbeat_ms) return 0;
    snprintf(why, why_size, "election-timeout %lld ms is shorter than two heartbeats of %lld ms: no leader would last",
             settings->election_timeout_ms, settings->heartbeat_ms);
    return KW_EINVALID;
}

int kw_meta_settings_judge(const struct kw_meta_settings *settings, struct kw_meta_identity *out, char *why,
                           size_t why_size) {
    *out = (struct kw_meta_identity){0};
    int err = judge_secret(settings, why, why_size);
    if (!err) err = judge_times(settings, why, why_size);
    if (!err) err = judge_peers(settings, out, why, why_size);
    if (!err) err = judge_address(settings, out, why, why_size);
    return err;
}
