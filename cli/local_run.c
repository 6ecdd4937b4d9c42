/*
 * What the parts of a local cluster share: the state file as the record of
 * every process before it may run, files that others must not read, and the
 * end of everything.
 *
 * What can fail: a full or unwritable disk, a program that is not there, a
 * process that does not end. Each is reported here but for the last.
 */
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/local.h"
#include "cli/port.h"
#include "cli/report.h"

enum { STOP_TERM_MS = 15000, STOP_KILL_MS = 5000, NAME_MAX_LEN = 32 };

int kw_cli_local_record(const struct kw_cli_local_state *state) {
    int rc = kw_cli_local_state_save(state);
    if (rc != 0) kw_report_error("cannot write the state file in %s: %s", state->dir, strerror(errno));
    return rc;
}

int kw_cli_local_program(const char *name, char path[PATH_MAX]) {
    char self[PATH_MAX - NAME_MAX_LEN];
    ssize_t len = readlink("/proc/self/exe", self, sizeof(self) - 1);
    self[len > 0 ? len : 0] = '\0';
    char *slash = strrchr(self, '/');
    if (slash == NULL) {
        kw_report_error("cannot tell where keyway-cli lies, so not where %s does", name);
        return KW_EUNKNOWN;
    }
    *slash = '\0';
    (void)snprintf(path, PATH_MAX, "%s/%s", self, name);
    if (access(path, X_OK) == 0) return 0;
    kw_report_error("there is no %s beside keyway-cli (%s): build it first", name, path);
    return KW_EUNKNOWN;
}

int kw_cli_local_run(struct kw_cli_local_state *state, struct kw_process *process, char *const argv[], const char *cwd,
                     const char *log_path) {
    struct kw_process_pending pending;
    if (kw_process_prepare(&pending, argv, cwd, log_path) != 0) {
        kw_report_error("cannot start a process: %s", strerror(errno));
        return KW_EIO;
    }
    *process = pending.process;
    if (kw_cli_local_record(state) != 0) {
        kw_process_abandon(&pending);
        return KW_EIO;
    }
    if (kw_process_release(&pending) != 0) {
        kw_report_error("cannot run %s: %s", argv[0], strerror(errno));
        return KW_EIO;
    }
    return 0;
}

int kw_cli_local_private_write(const char *path, const char *text, size_t len) {
    char temporary[PATH_MAX + 300];
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    (void)unlink(temporary); /* of an interrupted run: its mode is not ours to trust */
    int fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    bool good = fd >= 0;
    if (good) {
        errno = ENOSPC; /* what a short write means */
        good = write(fd, text, len) == (ssize_t)len && fsync(fd) == 0;
        int saved = errno;
        close(fd);
        errno = saved;
    }
    if (good && rename(temporary, path) == 0) return 0;
    kw_report_error("cannot write %s: %s", path, strerror(errno));
    (void)unlink(temporary);
    return KW_EIO;
}

int kw_cli_local_ports_check(uint16_t port, uint16_t other, const char *what) {
    uint16_t taken = !kw_port_free(port) ? port : !kw_port_free(other) ? other : 0;
    if (taken == 0) return 0;
    kw_report_error("port %u, which belongs to %s %u of this cluster, is in use by another process", (unsigned)taken,
                    what, (unsigned)port);
    return KW_ELIMIT;
}

static int entry_remove(const char *path, const struct stat *info, int type, struct FTW *walk) {
    (void)info;
    (void)type;
    (void)walk;
    return remove(path);
}

int kw_cli_local_tree_remove(const char *path) {
    return nftw(path, entry_remove, 16, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT ? 0 : KW_EIO;
}

/* A stopped (frozen) process acts on SIGTERM only once it is continued. */
static unsigned signal_all(const struct kw_process *processes, unsigned count, int sig) {
    unsigned sent = 0;
    for (unsigned i = 0; i < count; i++) {
        if (!kw_process_signal(&processes[i], sig)) continue;
        (void)kw_process_signal(&processes[i], SIGCONT);
        sent++;
    }
    return sent;
}

static int stop_some(const struct kw_process *processes, unsigned count, unsigned *stopped, unsigned *killed) {
    *stopped += signal_all(processes, count, SIGTERM);
    if (kw_process_wait_gone(processes, count, STOP_TERM_MS) == 0) return 0;
    *killed += signal_all(processes, count, SIGKILL);
    return kw_process_wait_gone(processes, count, STOP_KILL_MS);
}

int kw_cli_local_stop_all(const struct kw_cli_local_state *state, unsigned *stopped, unsigned *killed) {
    struct kw_process nodes[KW_CLI_LOCAL_NODES_MAX];
    struct kw_process metas[KW_CLI_LOCAL_META_MAX];
    for (unsigned i = 0; i < state->node_count; i++) nodes[i] = state->nodes[i].process;
    for (unsigned i = 0; i < state->meta_count; i++) metas[i] = state->metas[i].process;

    /* In this order nobody sees those die whom he watches: the proxy, the metadata nodes, the shards. */
    *stopped = 0;
    *killed = 0;
    int rc = stop_some(&state->proxy, 1, stopped, killed);
    if (rc == 0) rc = stop_some(metas, state->meta_count, stopped, killed);
    if (rc == 0) rc = stop_some(nodes, state->node_count, stopped, killed);
    return rc;
}
