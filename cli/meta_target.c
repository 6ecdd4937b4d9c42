/*
 * Happy path: addresses from --meta, else from the state file of a local
 * cluster (--dir, or the two folders that `./dev up` and `local up` use),
 * else the default port; the secret from --secret-file, else a local cluster's
 * own, else KEYWAY_SECRET. A secret never stands on a command line.
 *
 * What can fail: an address that is none, a secret file that cannot be read,
 * a --dir without metadata nodes. The list of nodes is the target's.
 */
#include "cli/meta_target.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/str.h"
#include "cli/local_state.h"
#include "cli/report.h"

#define DEFAULT_ADDRESS "127.0.0.1:7380"

static const char *const local_dirs[] = {".keyway/local", ".keyway"};

bool kw_cli_meta_target_option(struct kw_cli_meta_target *target, int id, const char *value) {
    switch (id) {
    case KW_CLI_META_OPT_META: target->meta = value; return true;
    case KW_CLI_META_OPT_SECRET: target->secret_file = value; return true;
    case KW_CLI_META_OPT_DIR: target->dir = value; return true;
    default: return false;
    }
}

int kw_cli_secret_read(const char *path, char secret[KW_CLI_SECRET_MAX]) {
    FILE *file = fopen(path, "re");
    if (file == NULL) {
        kw_report_error("cannot read the secret in %s: %s", path, strerror(errno));
        return KW_EIO;
    }
    size_t len = fread(secret, 1, KW_CLI_SECRET_MAX - 1, file);
    bool failed = ferror(file) != 0;
    (void)fclose(file);
    secret[len] = '\0';
    secret[strcspn(secret, "\r\n")] = '\0';
    if (!failed && secret[0] != '\0') return 0;
    kw_report_error("%s holds no secret: its first line is what counts", path);
    return KW_EINVALID;
}

static int addresses_take(struct kw_cli_meta_target *target, const char *text) {
    char why[256];
    int count = kw_seeds_parse(&target->nodes, text, why, sizeof(why));
    if (count < 0) {
        kw_report_error("--meta %s: %s", text, why);
        return KW_EINVALID;
    }
    target->node_count = (unsigned)count;
    return 0;
}

/* Loads the state of a folder that has metadata nodes. */
static bool local_load(struct kw_cli_local_state *state, const char *dir) {
    return realpath(dir, state->dir) != NULL && kw_cli_local_state_load(state) == 0 && state->meta_count > 0;
}

static int local_take(struct kw_cli_meta_target *target, const struct kw_cli_local_state *state) {
    struct kw_str text = {0};
    for (unsigned i = 0; i < state->meta_count; i++) {
        kw_str_printf(&text, "%s127.0.0.1:%u", i > 0 ? "," : "", (unsigned)state->metas[i].port);
    }
    int rc = addresses_take(target, text.data);
    kw_str_deinit(&text);
    (void)snprintf(target->origin, sizeof(target->origin), "the local cluster in %s", state->dir);
    if (rc != 0 || target->secret_file != NULL) return rc;
    return kw_cli_secret_read(kw_cli_local_path(state, KW_CLI_LOCAL_SECRET), target->secret);
}

/* The local cluster that was named, or one that is found here; false: there is none. */
static bool local_find(struct kw_cli_local_state *state, const char *dir) {
    if (dir != NULL) return local_load(state, dir);
    for (size_t i = 0; i < KW_ARRAY_LEN(local_dirs); i++) {
        if (local_load(state, local_dirs[i])) return true;
    }
    return false;
}

int kw_cli_meta_target_resolve(struct kw_cli_meta_target *target) {
    const char *said = getenv("KEYWAY_SECRET");
    if (target->meta != NULL && target->dir != NULL) {
        kw_report_error("--meta and --dir both say which nodes: give one of them");
        return KW_EINVALID;
    }
    if (target->secret_file != NULL) {
        int rc = kw_cli_secret_read(target->secret_file, target->secret);
        if (rc != 0) return rc;
    } else if (said != NULL) {
        (void)snprintf(target->secret, sizeof(target->secret), "%s", said);
    }
    if (target->meta != NULL) {
        (void)snprintf(target->origin, sizeof(target->origin), "--meta");
        return addresses_take(target, target->meta);
    }
    struct kw_cli_local_state *state = kw_calloc(1, sizeof(*state));
    int rc;
    if (local_find(state, target->dir)) {
        rc = local_take(target, state);
    } else if (target->dir != NULL) {
        kw_report_error("there is no local cluster with metadata nodes in %s", target->dir);
        rc = KW_EUNKNOWN;
    } else {
        (void)snprintf(target->origin, sizeof(target->origin), "the default; name others with --meta");
        rc = addresses_take(target, DEFAULT_ADDRESS);
    }
    kw_free(state);
    return rc;
}

void kw_cli_meta_target_deinit(struct kw_cli_meta_target *target) {
    kw_free(target->nodes);
    target->nodes = NULL;
}
