/* cli/local_state: the lock of a local cluster's folder. Each holder is a process of its own. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/error.h"
#include "cli/local_state.h"

struct folder {
    char dir[64];
    int end[2];   /* closed by the test: who waits on it goes away */
    int ready[2]; /* a byte from each who has come so far */
};

static int setup(void **state) {
    struct folder *f = calloc(1, sizeof(*f));
    snprintf(f->dir, sizeof(f->dir), "/tmp/keyway-lock-XXXXXX");
    *state = f;
    return !mkdtemp(f->dir) || pipe(f->end) || pipe(f->ready);
}

static int teardown(void **state) {
    struct folder *f = *state;
    char path[100];
    snprintf(path, sizeof(path), "%s/local.lock", f->dir);
    unlink(path);
    int err = rmdir(f->dir);
    for (int i = 0; i < 2; i++) {
        if (f->end[i] >= 0) close(f->end[i]);
        close(f->ready[i]);
    }
    free(f);
    return err;
}

/* In a child: until the test closes its end of the pipe. */
static void wait_for_the_end(const struct folder *f) {
    char byte;
    close(f->end[1]);
    (void)!write(f->ready[1], "r", 1);
    (void)!read(f->end[0], &byte, 1);
}

static void wait_ready(const struct folder *f) {
    char byte;
    assert_int_equal(read(f->ready[0], &byte, 1), 1);
}

static void let_go(struct folder *f) {
    close(f->end[1]);
    f->end[1] = -1;
}

static void only_one_has_it(void **state) {
    struct folder *f = *state;
    pid_t holder = -1;
    pid_t child = fork();
    if (child == 0) {
        if (kw_cli_local_lock(f->dir, &holder) < 0) _exit(1);
        wait_for_the_end(f);
        _exit(0);
    }
    wait_ready(f);
    assert_int_equal(kw_cli_local_lock(f->dir, &holder), KW_ELIMIT);
    assert_int_equal(holder, child);
    let_go(f);
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
    int lock = kw_cli_local_lock(f->dir, &holder);
    assert_true(lock >= 0);
    assert_int_equal(holder, 0);
    close(lock);
}

/* What `up` has forked and not yet let become another program may outlive it for a moment. */
static void a_child_does_not_keep_it(void **state) {
    struct folder *f = *state;
    pid_t holder = -1;
    pid_t parent = fork();
    if (parent == 0) {
        if (kw_cli_local_lock(f->dir, &holder) < 0) _exit(1);
        if (fork() == 0) wait_for_the_end(f);
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(parent, &status, 0), parent);
    assert_int_equal(status, 0);
    wait_ready(f); /* the child still lives, and waits */
    int lock = kw_cli_local_lock(f->dir, &holder);
    assert_true(lock >= 0);
    close(lock);
    let_go(f);
}

static void a_folder_that_is_not_there(void **state KW_UNUSED) {
    pid_t holder = -1;
    assert_int_equal(kw_cli_local_lock("/nowhere/at/all", &holder), KW_EIO);
    assert_int_equal(holder, 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_one_has_it, setup, teardown),
        cmocka_unit_test_setup_teardown(a_child_does_not_keep_it, setup, teardown),
        cmocka_unit_test(a_folder_that_is_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
