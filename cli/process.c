/*
 * Starting, recognising and stopping processes.
 *
 * Happy path: prepare forks, the caller records pid and start time on disk,
 * release lets the child exec. A caller killed in between leaves no orphan:
 * the child reads end of file instead of the byte and exits. Later any
 * process can tell from pid and start time whether that very process still
 * runs, and signals it through a pidfd, so that nothing can slip between the
 * check and the signal.
 *
 * Descriptors of a pending child belong to the struct until it is released
 * or abandoned; nothing is allocated.
 */
#include "cli/process.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"

enum { DYING_MS = 5000 };

struct stat_fields {
    char state;
    unsigned threads;
    uint64_t start;
};

/* What the kernel says of a pid; false when there is no such process. */
static bool stat_read(pid_t pid, struct stat_fields *fields) {
    char path[64];
    char text[1024];
    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return false;
    ssize_t len = read(fd, text, sizeof(text) - 1);
    close(fd);
    if (len <= 0) return false;
    text[len] = '\0';

    /* The name in field 2 may hold anything, also ")": the last one closes it. */
    const char *at = strrchr(text, ')');
    if (at == NULL || at[1] != ' ') return false;
    at += 2;
    fields->state = *at;
    for (int field = 3; field < 20; field++) {
        at = strchr(at, ' ');
        if (at == NULL) return false;
        at++;
    }
    return sscanf(at, "%u %*d %" SCNu64, &fields->threads, &fields->start) == 2;
}

bool kw_process_alive(const struct kw_process *process) {
    if (process->pid <= 0) return false;
    uint64_t deadline_ms = kw_clock_ms() + DYING_MS;
    for (;;) {
        int status;
        struct stat_fields fields;
        (void)waitpid(process->pid, &status, WNOHANG); /* fails harmlessly where it is no child of ours */
        if (!stat_read(process->pid, &fields) || fields.start != process->start) return false;
        if (fields.state != 'Z' && fields.state != 'X') return true;
        /* Its first thread has ended; as long as others have not, its ports and files are still taken. */
        if (fields.threads <= 1 || kw_clock_ms() >= deadline_ms) return false;
        kw_process_pause_ms(5);
    }
}

bool kw_process_signal(const struct kw_process *process, int sig) {
    if (process->pid <= 0) return false;
    int fd = pidfd_open(process->pid, 0);
    if (fd < 0 && errno != ENOSYS && errno != EPERM) return false;
    bool sent = false;
    if (kw_process_alive(process)) {
        sent = (fd >= 0 ? pidfd_send_signal(fd, sig, NULL, 0) : kill(process->pid, sig)) == 0;
    }
    if (fd >= 0) close(fd);
    return sent;
}

void kw_process_pause_ms(unsigned ms) {
    struct timespec pause = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000L};
    (void)nanosleep(&pause, NULL);
}

int kw_process_wait_gone(const struct kw_process *processes, unsigned count, uint64_t timeout_ms) {
    uint64_t deadline = kw_clock_ms() + timeout_ms;
    for (;;) {
        unsigned alive = 0;
        for (unsigned i = 0; i < count; i++) alive += kw_process_alive(&processes[i]);
        if (alive == 0) return 0;
        if (kw_clock_ms() >= deadline) return KW_ETIMEOUT;
        kw_process_pause_ms(20);
    }
}

/* The child's side: wires itself up, waits for the byte, execs. Async-signal-safe calls only. */
KW_NORETURN static void child_run(char *const argv[], const char *cwd, const char *log_path, int go_fd, int error_fd) {
    char byte;
    int failure = 0;
    (void)setsid();
    int null_fd = open("/dev/null", O_RDONLY);
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND, 0644);
    if (null_fd < 0 || log_fd < 0 || dup2(null_fd, 0) < 0 || dup2(log_fd, 1) < 0 || dup2(log_fd, 2) < 0 ||
        chdir(cwd) != 0) {
        failure = errno;
    }
    ssize_t got;
    do {
        got = read(go_fd, &byte, 1);
    } while (got < 0 && errno == EINTR);
    if (got != 1) _exit(0);

    if (failure == 0) {
        sigset_t none;
        sigemptyset(&none);
        (void)sigprocmask(SIG_SETMASK, &none, NULL);
        int keep = 3;
        if (error_fd != keep) {
            (void)dup3(error_fd, keep, O_CLOEXEC);
            error_fd = keep;
        }
        (void)close_range((unsigned)keep + 1, ~0U, 0);
        (void)execv(argv[0], argv);
        failure = errno;
    }
    (void)!write(error_fd, &failure, sizeof(failure));
    _exit(127);
}

int kw_process_prepare(struct kw_process_pending *pending, char *const argv[], const char *cwd, const char *log_path) {
    int go[2];
    int report[2];
    if (pipe2(go, O_CLOEXEC) != 0) return KW_EIO;
    if (pipe2(report, O_CLOEXEC) != 0) goto err_after_go;

    pid_t pid = fork();
    if (pid < 0) goto err_after_report;
    if (pid == 0) {
        close(go[1]);
        close(report[0]);
        child_run(argv, cwd, log_path, go[0], report[1]);
    }
    close(go[0]);
    close(report[1]);
    pending->process.pid = pid;
    pending->go_fd = go[1];
    pending->error_fd = report[0];
    struct stat_fields fields;
    if (!stat_read(pid, &fields)) {
        kw_process_abandon(pending);
        errno = ESRCH;
        return KW_EIO;
    }
    pending->process.start = fields.start;
    return 0;

err_after_report:
    close(report[0]);
    close(report[1]);
err_after_go:
    close(go[0]);
    close(go[1]);
    return KW_EIO;
}

int kw_process_release(struct kw_process_pending *pending) {
    int failure = 0;
    if (write(pending->go_fd, "g", 1) != 1) failure = errno;
    close(pending->go_fd);
    if (failure == 0) {
        ssize_t got = read(pending->error_fd, &failure, sizeof(failure));
        if (got != (ssize_t)sizeof(failure)) failure = 0;
    }
    close(pending->error_fd);
    if (failure == 0) return 0;
    (void)waitpid(pending->process.pid, NULL, 0);
    errno = failure;
    return KW_EIO;
}

void kw_process_abandon(struct kw_process_pending *pending) {
    close(pending->go_fd);
    close(pending->error_fd);
    (void)waitpid(pending->process.pid, NULL, 0);
}
