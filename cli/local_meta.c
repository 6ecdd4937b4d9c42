/*
 * The metadata nodes of a local cluster: keyway-meta processes beside this
 * very program, in folders meta-1, meta-2, ...
 *
 * Happy path: make the secret once (0600, in the cluster's folder), write each
 * node's configuration (0600: the secret stands in it), record the child, let
 * it exec; then wait until all of them follow one leader. A folder holds
 * meta.conf (written anew at each start), meta.log and data/.
 *
 * What can fail: a port that someone else took, a disk that cannot be
 * written, a node that ends or finds no leader; the end of its log is shown.
 * A node whose data was removed after the service had been formed is not
 * started again, for it is still a member, whose promises are gone.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/link.h"
#include "cli/local.h"
#include "cli/local_view.h"
#include "cli/meta_target.h"
#include "cli/port.h"
#include "cli/reply.h"
#include "cli/report.h"

#define PROGRAM "keyway-meta"
#define LOG     "meta.log"

enum { SECRET_BYTES = 32, ASK_MS = 1000, POLL_MS = 50 };

/* Makes the secret, unless there is one. */
static int secret_need(const struct kw_cli_local_state *state) {
    unsigned char bytes[SECRET_BYTES];
    char text[2 * SECRET_BYTES + 2];
    const char *path = kw_cli_local_path(state, KW_CLI_LOCAL_SECRET);
    if (access(path, F_OK) == 0) return 0;
    if (kw_cli_local_metas_alive(state) > 0) {
        kw_report_error("%s is gone while metadata nodes run with it: `keyway-cli local down` and `up` make a new one",
                        path);
        return KW_EIO;
    }
    if (getrandom(bytes, sizeof(bytes), 0) != (ssize_t)sizeof(bytes)) {
        kw_report_error("cannot make a secret: %s", strerror(errno));
        return KW_EIO;
    }
    for (unsigned i = 0; i < SECRET_BYTES; i++) (void)snprintf(text + 2 * (size_t)i, 3, "%02x", bytes[i]);
    text[sizeof(text) - 2] = '\n';
    return kw_cli_local_private_write(path, text, sizeof(text) - 1);
}

bool kw_cli_local_meta_lost(const struct kw_cli_local_state *state, unsigned index) {
    if (!state->meta_formed) return false;
    DIR *dir = opendir(kw_cli_local_meta_path(state, index, "data"));
    if (dir == NULL) return errno == ENOENT;
    bool empty = true;
    for (const struct dirent *entry; empty && (entry = readdir(dir)) != NULL;) {
        empty = strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0;
    }
    (void)closedir(dir);
    return empty;
}

static int conf_write(const struct kw_cli_local_state *state, unsigned index) {
    char secret[KW_CLI_SECRET_MAX];
    struct kw_str text = {0};
    int rc = kw_cli_secret_read(kw_cli_local_path(state, KW_CLI_LOCAL_SECRET), secret);
    if (rc != 0) return rc;
    kw_str_printf(&text, "# Written by keyway-cli at each start.\nid %u\nbind 127.0.0.1\nport %u\nraft-port %u\n",
                  index + 1, (unsigned)state->metas[index].port,
                  (unsigned)state->metas[index].port + KW_PORT_RAFT_OFFSET);
    for (unsigned i = 0; i < state->meta_count; i++) {
        unsigned port = state->metas[i].port;
        kw_str_printf(&text, "%s%u=127.0.0.1:%u:%u", i == 0 ? "peers " : ",", i + 1, port, port + KW_PORT_RAFT_OFFSET);
    }
    kw_str_printf(&text, "\ndir data\nsecret %s\nlogfile " LOG "\npidfile meta.pid\n", secret);
    explicit_bzero(secret, sizeof(secret));
    rc = kw_cli_local_private_write(kw_cli_local_meta_path(state, index, "meta.conf"), text.data, text.len);
    kw_str_deinit(&text);
    return rc;
}

static int meta_start(struct kw_cli_local_state *state, unsigned index, char *program) {
    char dir[PATH_MAX + 256];
    char log[PATH_MAX + 256];
    char conf[] = "meta.conf";
    char *argv[] = {program, conf, NULL};
    (void)snprintf(dir, sizeof(dir), "%s", kw_cli_local_meta_path(state, index, ""));
    (void)snprintf(log, sizeof(log), "%s", kw_cli_local_meta_path(state, index, LOG));
    if ((mkdir(dir, 0700) != 0 && errno != EEXIST) ||
        (mkdir(kw_cli_local_meta_path(state, index, "data"), 0700) != 0 && errno != EEXIST)) {
        kw_report_error("cannot prepare %s: %s", dir, strerror(errno));
        return KW_EIO;
    }
    int rc = conf_write(state, index);
    return rc == 0 ? kw_cli_local_run(state, &state->metas[index].process, argv, dir, log) : rc;
}

/* Whether this one is to be started: it does not run, and has what it needs. */
static bool wanting(const struct kw_cli_local_state *state, unsigned index) {
    return !kw_process_alive(&state->metas[index].process) && !kw_cli_local_meta_lost(state, index);
}

/* Says which have lost their data. Returns 0, or KW_EIO when the others are too few to go on. */
static int lost_judge(const struct kw_cli_local_state *state) {
    unsigned lost = 0;
    for (unsigned i = 0; i < state->meta_count; i++) {
        if (!kw_cli_local_meta_lost(state, i)) continue;
        kw_report_error("warning: metadata node %u has lost its data (%s) and is not started: empty, it would count as "
                        "a member that has forgotten what it promised",
                        i + 1, kw_cli_local_meta_path(state, i, "data"));
        lost++;
    }
    if (lost == 0 || state->meta_count - lost > state->meta_count / 2) return 0;
    kw_report_error("%u of %u metadata nodes are too few to go on: put the data back, or begin anew after "
                    "`keyway-cli local down --wipe`",
                    state->meta_count - lost, state->meta_count);
    return KW_EIO;
}

int kw_cli_local_metas_check(const struct kw_cli_local_state *state) {
    char program[PATH_MAX];
    if (kw_cli_local_metas_alive(state) == state->meta_count) return 0;
    int rc = kw_cli_local_program(PROGRAM, program);
    if (rc == 0) rc = lost_judge(state);
    for (unsigned i = 0; rc == 0 && i < state->meta_count; i++) {
        uint16_t port = state->metas[i].port;
        if (!wanting(state, i)) continue;
        rc = kw_cli_local_ports_check(port, (uint16_t)(port + KW_PORT_RAFT_OFFSET), "metadata node");
    }
    return rc;
}

int kw_cli_local_metas_start(struct kw_cli_local_state *state, unsigned *started) {
    char program[PATH_MAX];
    *started = 0;
    if (kw_cli_local_metas_alive(state) == state->meta_count) return 0;
    int rc = kw_cli_local_program(PROGRAM, program);
    if (rc == 0) rc = secret_need(state);
    for (unsigned i = 0; rc == 0 && i < state->meta_count; i++) {
        if (!wanting(state, i)) continue;
        rc = meta_start(state, i, program);
        *started += rc == 0;
    }
    return rc;
}

unsigned kw_cli_local_metas_alive(const struct kw_cli_local_state *state) {
    unsigned alive = 0;
    for (unsigned i = 0; i < state->meta_count; i++) alive += kw_process_alive(&state->metas[i].process);
    return alive;
}

int kw_cli_local_metas_remove(const struct kw_cli_local_state *state) {
    for (unsigned i = 0; i < state->meta_count; i++) {
        if (kw_cli_local_tree_remove(kw_cli_local_meta_path(state, i, "")) != 0) return KW_EIO;
    }
    return 0;
}

void kw_cli_local_meta_view_read(struct kw_cli_local_meta_view *view, uint16_t port, const char *secret) {
    memset(view, 0, sizeof(*view));
    redisContext *link = kw_cli_link_open_at("127.0.0.1", port, NULL, secret, ASK_MS, view->error, sizeof(view->error));
    if (link == NULL) return;
    redisReply *reply = kw_cli_link_command(link, "KEYWAY STATUS");
    view->answers = reply != NULL && reply->type == REDIS_REPLY_ARRAY;
    if (!view->answers) {
        (void)snprintf(view->error, sizeof(view->error), "%.120s",
                       reply != NULL && reply->type == REDIS_REPLY_ERROR ? reply->str : "no answer");
    }
    (void)snprintf(view->role, sizeof(view->role), "%s", kw_cli_map_text(reply, "role"));
    view->leader = kw_cli_map_int(reply, "leader", 0);
    view->term = kw_cli_map_int(reply, "term", 0);
    view->applied_index = kw_cli_map_int(reply, "applied_index", 0);
    view->attached = kw_cli_map_int(reply, "attached", 0) != 0;
    if (reply != NULL) freeReplyObject(reply);
    redisFree(link);
}

/* Whether a leader leads and node `index` follows one; the reason otherwise. */
static bool follows(const struct kw_cli_local_state *state, unsigned index, const char *secret, bool *leads,
                    char why[KW_CLI_LOCAL_WHY_SIZE]) {
    struct kw_cli_local_meta_view view;
    kw_cli_local_meta_view_read(&view, state->metas[index].port, secret);
    if (strcmp(view.role, "leader") == 0) *leads = true;
    if (view.answers && view.leader != 0) return true;
    (void)snprintf(why, KW_CLI_LOCAL_WHY_SIZE, "%s", view.answers ? "it knows no leader" : view.error);
    return false;
}

static int gave_up(const struct kw_cli_local_state *state, unsigned index, const char *why, int code) {
    kw_report_error("metadata node %u (port %u) %s", index + 1, (unsigned)state->metas[index].port, why);
    kw_report_log_tail(kw_cli_local_meta_path(state, index, LOG));
    return code;
}

/*
 * Node `index` is not there: it was not started, or has ended at once (removed from the service, its folder damaged). 0
 * while those that are not `out` can go on without it.
 */
static int out_judge(const struct kw_cli_local_state *state, unsigned index, const bool *out) {
    unsigned left = 0;
    for (unsigned i = 0; i < state->meta_count; i++) left += !out[i];
    if (kw_cli_local_meta_lost(state, index)) return 0; /* was judged before the start */
    if (!state->meta_formed || left <= state->meta_count / 2) return gave_up(state, index, "ended", KW_ECLOSED);
    return gave_up(state, index, "ended; the others go on without it", 0);
}

/* Looks at all of them each time: the one that is waited for may know no leader because others have ended. */
static int ended_judge(const struct kw_cli_local_state *state, bool *out) {
    bool fresh[KW_CLI_LOCAL_META_MAX] = {false};
    int rc = 0;
    for (unsigned i = 0; i < state->meta_count; i++) {
        fresh[i] = !out[i] && !kw_process_alive(&state->metas[i].process);
        out[i] = out[i] || fresh[i];
    }
    for (unsigned i = 0; i < state->meta_count; i++) {
        int code = fresh[i] ? out_judge(state, i, out) : 0;
        if (code != 0) rc = code;
    }
    return rc;
}

int kw_cli_local_metas_wait(struct kw_cli_local_state *state, uint64_t deadline_ms) {
    char secret[KW_CLI_SECRET_MAX];
    char why[KW_CLI_LOCAL_WHY_SIZE];
    bool leads = false;
    bool out[KW_CLI_LOCAL_META_MAX] = {false};
    if (state->meta_count == 0) return 0;
    int rc = kw_cli_secret_read(kw_cli_local_path(state, KW_CLI_LOCAL_SECRET), secret);
    if (rc != 0) return rc;
    for (unsigned i = 0; i < state->meta_count || !leads;) {
        if (i == state->meta_count) i = 0; /* all follow one whom nobody has seen lead: look again */
        rc = ended_judge(state, out);
        if (rc != 0) return rc;
        if (out[i] || follows(state, i, secret, &leads, why)) {
            i++;
            if (i < state->meta_count || leads) continue;
            (void)snprintf(why, sizeof(why), "it follows a leader that none of them is");
        }
        if (kw_clock_ms() >= deadline_ms) {
            char text[KW_CLI_LOCAL_WHY_SIZE + 32];
            (void)snprintf(text, sizeof(text), "is not ready in time: %s", why);
            return gave_up(state, i < state->meta_count ? i : 0, text, KW_ETIMEOUT);
        }
        kw_process_pause_ms(POLL_MS);
    }
    if (state->meta_formed) return 0;
    state->meta_formed = true;
    return kw_cli_local_record(state);
}
