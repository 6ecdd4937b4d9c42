/* When a worker asks to be scheduled as batch work. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "proxy/scheduling.h"

static void test_auto_follows_the_load_with_a_gap(void **state KW_UNUSED) {
    static const struct {
        bool batch;
        uint64_t idle_us;
        bool wants;
    } cases[] = {
        {false, 100000, false}, {false, 41000, false}, {false, 40000, true}, {false, 0, true},
        {true, 0, true},        {true, 60000, true},   {true, 61000, false}, {true, 100000, false},
        {false, 150000, false}, /* the clocks are not read in the same moment */
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        bool wants = kw_scheduling_wants_batch(KW_SCHEDULING_AUTO, cases[i].batch, cases[i].idle_us, 100000);
        assert_int_equal(wants, cases[i].wants);
    }
}

static void test_the_others_do_not_look_at_the_load(void **state KW_UNUSED) {
    for (uint64_t idle_us = 0; idle_us <= 100000; idle_us += 50000) {
        assert_true(kw_scheduling_wants_batch(KW_SCHEDULING_BATCH, false, idle_us, 100000));
        assert_false(kw_scheduling_wants_batch(KW_SCHEDULING_NORMAL, true, idle_us, 100000));
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_auto_follows_the_load_with_a_gap),
        cmocka_unit_test(test_the_others_do_not_look_at_the_load),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
