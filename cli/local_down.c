/*
 * `keyway-cli local down`: stops exactly the processes that the state file
 * names, by pid and start time. The data stays, unless --wipe, which removes
 * what `up` made and nothing else, and only where there is a state file.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "cli/local.h"
#include "cli/report.h"

static int data_remove(const struct kw_cli_local_state *state) {
    static const char *const files[] = {"proxy.conf", "proxy.log", "proxy.pid", KW_CLI_LOCAL_SECRET};
    for (size_t i = 0; i < KW_ARRAY_LEN(files); i++) {
        if (unlink(kw_cli_local_path(state, files[i])) != 0 && errno != ENOENT) return KW_EIO;
    }
    if (kw_cli_local_nodes_remove(state) != 0 || kw_cli_local_metas_remove(state) != 0 ||
        kw_cli_local_state_remove(state) != 0)
        return KW_EIO;
    (void)rmdir(state->dir); /* stays where something else is in it */
    return 0;
}

static int stop(struct kw_cli_local_state *state) {
    unsigned stopped;
    unsigned killed;
    int rc = kw_cli_local_stop_all(state, &stopped, &killed);
    if (rc != 0) {
        kw_report_error("some processes of %s would not end, not even killed", state->dir);
        return rc;
    }
    kw_cli_local_state_forget(state);
    rc = kw_cli_local_record(state);
    if (rc != 0) return rc;
    if (stopped == 0)
        (void)printf("Nothing was running in %s.\n", state->dir);
    else
        (void)printf("Stopped %u processes of %s", stopped, state->dir);
    if (killed > 0) (void)printf(", %u of them had to be killed", killed);
    if (stopped > 0) (void)printf(".\n");
    return 0;
}

int kw_cli_local_down(const struct kw_cli_local_options *options) {
    struct kw_cli_local_state state;
    if (realpath(options->dir, state.dir) == NULL) {
        (void)printf("Nothing is running: there is no folder %s.\n", options->dir);
        return KW_EXIT_OK;
    }
    int rc = kw_cli_local_state_load(&state);
    if (rc == KW_EUNKNOWN) {
        (void)printf("Nothing is running: there is no local cluster in %s.\n", state.dir);
        return KW_EXIT_OK;
    }
    pid_t holder;
    int lock = kw_cli_local_lock(state.dir, &holder);
    if (lock == KW_ELIMIT) {
        kw_report_error("another keyway-cli (pid %d) is at work in %s", (int)holder, state.dir);
        return KW_EXIT_FAILED;
    }
    if (lock < 0) {
        kw_report_error("cannot lock %s: %s", state.dir, strerror(errno));
        return KW_EXIT_FAILED;
    }
    rc = kw_cli_local_state_load(&state); /* again, now that it stands still */
    if (rc != 0) {
        kw_report_error("the state file in %s cannot be read: %s", state.dir,
                        rc == KW_EIO ? strerror(errno) : "it is not one of keyway-cli's");
    }
    if (rc == 0) rc = stop(&state);
    if (rc == 0 && options->wipe) {
        rc = data_remove(&state);
        if (rc == 0)
            (void)printf("Removed its data.\n");
        else
            kw_report_error("cannot remove the data in %s: %s", state.dir, strerror(errno));
    }
    close(lock);
    return rc == 0 ? KW_EXIT_OK : KW_EXIT_FAILED;
}
