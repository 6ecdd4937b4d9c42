/* raft/store/aio.c: the one call goes elsewhere, every other one passes with its arguments and its error. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <errno.h>
#include <linux/aio_abi.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/base.h"
#include "raft/store/aio.h"

/* What is no context is refused by the kernel; a call made elsewhere cannot say so. */
static void test_only_destroy_goes_elsewhere(void **state KW_UNUSED) {
    aio_context_t context = 0;
    assert_int_equal(syscall(SYS_io_destroy, 4096L), -1);
    kw_aio_offload();
    assert_int_equal(syscall(SYS_io_destroy, 4096L), 0);
    assert_int_equal(syscall(SYS_io_setup, 8L, &context), 0);
    assert_int_equal(syscall(SYS_io_destroy, context), 0);
    assert_int_equal(syscall(SYS_getpid), getpid());
    errno = 0;
    assert_int_equal(syscall(SYS_close, -1L), -1);
    assert_int_equal(errno, EBADF);
}

/* Six arguments arrive. */
static void test_arguments_pass(void **state KW_UNUSED) {
    int from[2], to[2];
    char got[8] = "";
    assert_int_equal(pipe(from), 0);
    assert_int_equal(pipe(to), 0);
    assert_int_equal(write(from[1], "splice", 6), 6);
    assert_int_equal(syscall(SYS_splice, (long)from[0], NULL, (long)to[1], NULL, 6L, 0L), 6);
    assert_int_equal(read(to[0], got, sizeof(got)), 6);
    assert_string_equal(got, "splice");
    close(from[0]), close(from[1]), close(to[0]), close(to[1]);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_only_destroy_goes_elsewhere),
        cmocka_unit_test(test_arguments_pass),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
