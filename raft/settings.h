/*
 * The settings of keyway-meta: one row each in settings.c, from which the
 * command line, the file, CONFIG GET/SET and the reference page follow. The
 * process has one thread, which reads them where they are.
 */
#ifndef KW_RAFT_SETTINGS_H
#define KW_RAFT_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/config.h"
#include "raft/store/address.h"

struct kw_meta_settings {
    long long id;
    char *bind;
    long long port;
    long long raft_port;
    char *announce;
    char *peers;
    bool join;
    char *dir;
    char *cluster_name;
    char *secret;
    long long heartbeat_ms;
    long long election_timeout_ms;
    long long disk_timeout_ms;
    long long snapshot_entries;
    long long maxclients;
    char *cluster_username;
    char *cluster_password;
    int loglevel;
    char *logfile;
    char *pidfile;
};

extern const struct kw_config_row kw_meta_settings_rows[];
extern const size_t kw_meta_settings_row_count;

/* What follows from the settings, and is judged together because no row can judge it alone. */
struct kw_meta_identity {
    struct kw_meta_address address; /* as the others reach this node */
    struct kw_meta_peer peers[KW_META_PEERS_MAX];
    unsigned peer_count;
};

/* 0, or KW_EINVALID with the reason and what to do in `why`. */
int kw_meta_settings_judge(const struct kw_meta_settings *settings, struct kw_meta_identity *out, char *why,
                           size_t why_size);

#endif
