/*
 * The state file: text, one fact a line, whole and replaced by rename, so
 * that a reader or a crash never meets half of it.
 *
 *     keyway-local 1
 *     boot 6f0c...                      pids mean nothing after another boot
 *     server /usr/bin/redis-server
 *     layout 3 1                        shards, replicas of each
 *     formed 1
 *     proxy 7379 1234 55667788          port, pid, start time
 *     metadata 3 1                      metadata nodes; whether they had a leader once; not in older files
 *     meta 7380 1240 55667801           port, pid, start time; in order of their ids
 *     node 18000 1235 55667790          port, pid, start time; in order
 *
 * A file that does not read back exactly is refused, never guessed at: the
 * pids in it decide what `down` stops. The caller owns the struct.
 */
#include "cli/local_state.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "base/str.h"

#define STATE_NAME  "local.state"
#define STATE_MAGIC "keyway-local 1"
#define LOCK_NAME   "local.lock"

enum { BOOT_ID_LEN = 36 };

const char *kw_cli_local_path(const struct kw_cli_local_state *state, const char *name) {
    static char path[PATH_MAX + 256];
    (void)snprintf(path, sizeof(path), "%s/%s", state->dir, name);
    return path;
}

const char *kw_cli_local_node_path(const struct kw_cli_local_state *state, unsigned index, const char *name) {
    static char path[PATH_MAX + 256];
    (void)snprintf(path, sizeof(path), "%s/node-%u%s%s", state->dir, (unsigned)state->nodes[index].port,
                   name[0] != '\0' ? "/" : "", name);
    return path;
}

const char *kw_cli_local_meta_path(const struct kw_cli_local_state *state, unsigned index, const char *name) {
    static char path[PATH_MAX + 256];
    (void)snprintf(path, sizeof(path), "%s/meta-%u%s%s", state->dir, index + 1, name[0] != '\0' ? "/" : "", name);
    return path;
}

/* The kernel's id of this boot; empty where there is none to read. */
static void boot_id_read(char id[BOOT_ID_LEN + 1]) {
    id[0] = '\0';
    FILE *file = fopen("/proc/sys/kernel/random/boot_id", "re");
    if (file == NULL) return;
    if (fgets(id, BOOT_ID_LEN + 1, file) == NULL) id[0] = '\0';
    (void)fclose(file);
}

/* Parses "PORT PID START". */
static bool process_parse(const char *text, uint16_t *port, struct kw_process *process) {
    unsigned value;
    int pid;
    uint64_t start;
    char rest;
    if (sscanf(text, "%u %d %" SCNu64 "%c", &value, &pid, &start, &rest) != 3) return false;
    if (value == 0 || value > UINT16_MAX || pid < 0) return false;
    *port = (uint16_t)value;
    process->pid = pid;
    process->start = start;
    return true;
}

/* "COUNT FORMED" */
static bool metadata_parse(const char *text, struct kw_cli_local_state *state) {
    unsigned formed;
    char rest;
    if (sscanf(text, "%u %u%c", &state->meta_count, &formed, &rest) != 2) return false;
    state->meta_known = true;
    state->meta_formed = formed == 1;
    return state->meta_count <= KW_CLI_LOCAL_META_MAX;
}

/* Takes in one line after the first. False when it makes no sense. `metas` counts the lines of metadata nodes. */
static bool line_parse(struct kw_cli_local_state *state, char *line, char boot[BOOT_ID_LEN + 1], unsigned *metas) {
    char *value = strchr(line, ' ');
    if (value == NULL) return false;
    *value++ = '\0';
    if (strcmp(line, "boot") == 0) {
        (void)snprintf(boot, BOOT_ID_LEN + 1, "%s", value);
        return true;
    }
    if (strcmp(line, "server") == 0) {
        return (size_t)snprintf(state->server, sizeof(state->server), "%s", value) < sizeof(state->server);
    }
    if (strcmp(line, "layout") == 0) {
        char rest;
        return sscanf(value, "%u %u%c", &state->shards, &state->replicas, &rest) == 2;
    }
    if (strcmp(line, "formed") == 0) {
        state->formed = strcmp(value, "1") == 0;
        return true;
    }
    if (strcmp(line, "proxy") == 0) return process_parse(value, &state->proxy_port, &state->proxy);
    if (strcmp(line, "metadata") == 0) return metadata_parse(value, state);
    if (strcmp(line, "meta") == 0) {
        if (*metas == state->meta_count) return false;
        struct kw_cli_local_meta *meta = &state->metas[(*metas)++];
        return process_parse(value, &meta->port, &meta->process);
    }
    if (strcmp(line, "node") == 0) {
        if (state->node_count == KW_CLI_LOCAL_NODES_MAX) return false;
        struct kw_cli_local_node *node = &state->nodes[state->node_count++];
        return process_parse(value, &node->port, &node->process);
    }
    return false;
}

static bool state_plausible(const struct kw_cli_local_state *state) {
    return state->server[0] == '/' && state->proxy_port != 0 && state->shards >= 1 &&
           state->shards <= KW_CLI_LOCAL_SHARDS_MAX && state->replicas <= KW_CLI_LOCAL_REPLICAS_MAX &&
           state->node_count == state->shards * (1 + state->replicas);
}

void kw_cli_local_state_forget(struct kw_cli_local_state *state) {
    state->proxy.pid = 0;
    for (unsigned i = 0; i < state->meta_count; i++) state->metas[i].process.pid = 0;
    for (unsigned i = 0; i < state->node_count; i++) state->nodes[i].process.pid = 0;
}

int kw_cli_local_state_load(struct kw_cli_local_state *state) {
    char dir[PATH_MAX];
    memcpy(dir, state->dir, sizeof(dir));
    memset(state, 0, sizeof(*state));
    memcpy(state->dir, dir, sizeof(dir));

    FILE *file = fopen(kw_cli_local_path(state, STATE_NAME), "re");
    if (file == NULL) return errno == ENOENT || errno == ENOTDIR ? KW_EUNKNOWN : KW_EIO;
    char line[PATH_MAX + 64];
    char boot[BOOT_ID_LEN + 1] = "";
    bool good = true;
    unsigned metas = 0;
    for (unsigned number = 0; good && fgets(line, sizeof(line), file) != NULL; number++) {
        size_t len = strlen(line);
        good = len > 0 && line[len - 1] == '\n';
        if (!good) break;
        line[len - 1] = '\0';
        good = number == 0 ? strcmp(line, STATE_MAGIC) == 0 : line_parse(state, line, boot, &metas);
    }
    bool failed = ferror(file) != 0;
    (void)fclose(file);
    if (failed) return KW_EIO;
    if (!good || !state_plausible(state) || metas != state->meta_count) return KW_EPROTOCOL;

    char now[BOOT_ID_LEN + 1];
    boot_id_read(now);
    if (strcmp(now, boot) != 0) kw_cli_local_state_forget(state);
    return 0;
}

static void state_print(const struct kw_cli_local_state *state, struct kw_str *out) {
    char boot[BOOT_ID_LEN + 1];
    boot_id_read(boot);
    kw_str_printf(out, STATE_MAGIC "\nboot %s\nserver %s\nlayout %u %u\nformed %d\n", boot, state->server,
                  state->shards, state->replicas, state->formed);
    kw_str_printf(out, "proxy %u %d %" PRIu64 "\n", (unsigned)state->proxy_port, (int)state->proxy.pid,
                  state->proxy.start);
    if (state->meta_known) kw_str_printf(out, "metadata %u %d\n", state->meta_count, state->meta_formed);
    for (unsigned i = 0; i < state->meta_count; i++) {
        const struct kw_cli_local_meta *meta = &state->metas[i];
        kw_str_printf(out, "meta %u %d %" PRIu64 "\n", (unsigned)meta->port, (int)meta->process.pid,
                      meta->process.start);
    }
    for (unsigned i = 0; i < state->node_count; i++) {
        const struct kw_cli_local_node *node = &state->nodes[i];
        kw_str_printf(out, "node %u %d %" PRIu64 "\n", (unsigned)node->port, (int)node->process.pid,
                      node->process.start);
    }
}

int kw_cli_local_state_save(const struct kw_cli_local_state *state) {
    char temporary[PATH_MAX + 256];
    (void)snprintf(temporary, sizeof(temporary), "%s/" STATE_NAME ".new", state->dir);
    int fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
    if (fd < 0) return KW_EIO;

    struct kw_str text = {0};
    state_print(state, &text);
    errno = ENOSPC; /* what a short write means */
    bool good = write(fd, text.data, text.len) == (ssize_t)text.len && fsync(fd) == 0;
    kw_str_deinit(&text);
    int saved = errno;
    close(fd);
    if (good && rename(temporary, kw_cli_local_path(state, STATE_NAME)) == 0) return 0;
    if (good) saved = errno;
    (void)unlink(temporary);
    errno = saved;
    return KW_EIO;
}

int kw_cli_local_state_remove(const struct kw_cli_local_state *state) {
    if (unlink(kw_cli_local_path(state, STATE_NAME)) != 0 && errno != ENOENT) return KW_EIO;
    if (unlink(kw_cli_local_path(state, LOCK_NAME)) != 0 && errno != ENOENT) return KW_EIO;
    return 0;
}

/*
 * A record lock is this process's alone. flock() would go over to the children, and one that was forked and is not yet
 * another program would keep it for a moment after its parent was killed.
 */
static int lock_ask(int fd, int what, struct flock *ask) {
    *ask = (struct flock){.l_type = F_WRLCK, .l_whence = SEEK_SET};
    return fcntl(fd, what, ask);
}

/* 0, KW_ELIMIT when another process has it, or KW_EIO. */
static int lock_take(int fd, pid_t *holder) {
    struct flock ask;
    while (lock_ask(fd, F_SETLK, &ask) != 0) {
        if (errno != EAGAIN && errno != EACCES) return KW_EIO;
        if (lock_ask(fd, F_GETLK, &ask) != 0) return KW_EIO;
        if (ask.l_type == F_UNLCK) continue; /* given back meanwhile */
        *holder = ask.l_pid;
        return KW_ELIMIT;
    }
    return 0;
}

int kw_cli_local_lock(const char *dir, pid_t *holder) {
    char path[PATH_MAX + 256];
    (void)snprintf(path, sizeof(path), "%s/" LOCK_NAME, dir);
    *holder = 0;
    for (;;) {
        int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0644);
        if (fd < 0) return KW_EIO;
        int rc = lock_take(fd, holder);
        if (rc != 0) {
            int saved = errno;
            close(fd);
            errno = saved;
            return rc;
        }
        /* `down --wipe` unlinks the file while it holds it: a lock on a file that is no longer there guards nothing. */
        struct stat held;
        struct stat named;
        if (fstat(fd, &held) == 0 && stat(path, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev) {
            return fd;
        }
        close(fd);
    }
}
