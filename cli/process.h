/*
 * A process of ours, known by pid and kernel start time together, so that a
 * pid which the kernel gave to someone else later is never taken for ours.
 * Main thread.
 */
#ifndef KW_CLI_PROCESS_H
#define KW_CLI_PROCESS_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct kw_process {
    pid_t pid;      /* 0: never started, or known to be gone */
    uint64_t start; /* clock ticks since boot, field 22 of /proc/PID/stat */
};

/* A child between fork and exec: it waits for kw_process_release and leaves if this process goes first. */
struct kw_process_pending {
    struct kw_process process;
    int go_fd;    /* own; written to let the child go on */
    int error_fd; /* own; the child's errno where exec fails, end of file where it succeeds */
};

/*
 * Forks a detached child (session of its own, standard input from /dev/null,
 * both outputs appended to `log_path`, no other descriptor inherited) that
 * will run argv[0] in `cwd` once released. So a caller can record the pid
 * before anything runs that would outlive it. Paths are the caller's, used
 * before the fork returns in the child only. Returns 0 or KW_EIO with errno
 * set; on 0 the caller must release or abandon it.
 */
int kw_process_prepare(struct kw_process_pending *pending, char *const argv[], const char *cwd, const char *log_path);

/* Lets the child exec. Returns 0, or KW_EIO with the child's errno when it could not. Closes `pending` either way. */
int kw_process_release(struct kw_process_pending *pending);

/* The child leaves without running anything. Closes `pending`. */
void kw_process_abandon(struct kw_process_pending *pending);

/*
 * True while exactly this process runs; a zombie does not. Reaps it where it is a child of ours. One that is just
 * ending is waited for (5 s at most).
 */
bool kw_process_alive(const struct kw_process *process);

/* Sends `sig` to exactly this process. False when it is gone already. */
bool kw_process_signal(const struct kw_process *process, int sig);

/*
 * Waits until all of the `count` processes are gone, at most `timeout_ms`.
 * Returns 0 or KW_ETIMEOUT.
 */
int kw_process_wait_gone(const struct kw_process *processes, unsigned count, uint64_t timeout_ms);

/* Sleeps; the pause between two looks at a condition. */
void kw_process_pause_ms(unsigned ms);

#endif
