/* While they are held nothing may come: neither bytes nor the end of a connection. */
#include "tests/bench/load/idle.h"

#include <errno.h>
#include <stdio.h>
#include <sys/epoll.h>
#include <unistd.h>

#include "tests/bench/load/load.h"

/* True at the end of standard input. */
static bool input_ended(void) {
    char bytes[256];
    ssize_t got = read(STDIN_FILENO, bytes, sizeof(bytes));
    return got == 0 || (got < 0 && errno != EINTR && errno != EAGAIN);
}

static void hold(struct load_run *run) {
    for (;;) {
        struct epoll_event event;
        int count = epoll_wait(run->epoll, &event, 1, -1);
        if (count < 0 && errno != EINTR) load_die("epoll_wait: %m");
        if (count <= 0) continue;
        struct load_conn *conn = event.data.ptr;
        if (!conn) {
            if (input_ended()) return;
            continue;
        }
        char byte;
        if (load_conn_read(conn, &byte, 1) > 0) {
            load_die("%s:%u sent something to a connection that had asked nothing", conn->node->host, conn->node->port);
        }
    }
}

void load_idle(struct load_run *run) {
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    load_run_phase(run, run->options.clients, 0);
    (void)puts("ready");
    (void)fflush(stdout);
    /* A file cannot be waited for: it is at its end soon enough. */
    if (epoll_ctl(run->epoll, EPOLL_CTL_ADD, STDIN_FILENO, &event) == 0) {
        hold(run);
    } else if (errno != EPERM) {
        load_die("epoll_ctl: %m");
    } else {
        while (!input_ended()) continue;
    }
}
