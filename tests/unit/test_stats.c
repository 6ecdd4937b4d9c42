/* Counters: per command and per error, their sum over workers, and the lines of INFO. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "proxy/stats.h"

static const struct kw_command *command(const char *name) {
    const struct kw_command *cmd = kw_command_by_full_name(name, strlen(name));
    assert_non_null(cmd);
    return cmd;
}

static void error(struct kw_stats *stats, const char *reply) {
    kw_stats_error(stats, reply, strlen(reply));
}

static void assert_commands(const struct kw_stats *stats, const char *want) {
    struct kw_str out = {0};
    kw_str_append_text(&out, "");
    kw_stats_print_commands(stats, &out);
    assert_string_equal(out.data, want);
    kw_str_deinit(&out);
}

static void assert_errors(const struct kw_stats *stats, const char *want) {
    struct kw_str out = {0};
    kw_str_append_text(&out, "");
    kw_stats_print_errors(stats, &out);
    assert_string_equal(out.data, want);
    kw_str_deinit(&out);
}

static void test_commands_are_counted_apart(void **state KW_UNUSED) {
    struct kw_stats stats = {0};
    assert_commands(&stats, "");
    kw_stats_command(&stats, command("get"), 10, false);
    kw_stats_command(&stats, command("get"), 15, true);
    kw_stats_command(&stats, command("get"), 0, false);
    kw_stats_rejected(&stats, command("config|get"));
    assert_int_equal(stats.requests, 3);
    assert_commands(&stats,
                    command("config|get")->id < command("get")->id
                        ? "cmdstat_config|get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n"
                          "cmdstat_get:calls=3,usec=25,usec_per_call=8.33,rejected_calls=0,failed_calls=1\r\n"
                        : "cmdstat_get:calls=3,usec=25,usec_per_call=8.33,rejected_calls=0,failed_calls=1\r\n"
                          "cmdstat_config|get:calls=0,usec=0,usec_per_call=0.00,rejected_calls=1,failed_calls=0\r\n");
    kw_stats_reset(&stats);
    assert_int_equal(stats.requests, 0);
    assert_commands(&stats, "");
    kw_stats_deinit(&stats);
}

static void test_error_names_end_where_redis_ends_them(void **state KW_UNUSED) {
    struct kw_stats stats = {0};
    error(&stats, "-ERRX y\r\n"); /* ERR is only its beginning */
    error(&stats, "-ERR unknown command\r\n");
    error(&stats, "-ERR\r\n");
    error(&stats, "-WRONGTYPE Operation against a key\r\n");
    error(&stats, "-ERR again");
    error(&stats, "- nameless\r\n");
    error(&stats, "-");
    error(&stats, "-ABCDEFGHIJKLMNOPQRSTUVWXYZ too long\r\n");
    assert_errors(&stats, "errorstat_ERRX:count=1\r\nerrorstat_ERR:count=3\r\nerrorstat_WRONGTYPE:count=1\r\n"
                          "errorstat_ABCDEFGHIJKLMNOPQRSTUV:count=1\r\n");
    kw_stats_deinit(&stats);
}

static void test_made_up_error_names_are_bounded(void **state KW_UNUSED) {
    struct kw_stats stats = {0};
    char reply[64];
    for (int i = 0; i < 1000; i++) {
        snprintf(reply, sizeof(reply), "-E%d x\r\n", i);
        error(&stats, reply);
    }
    assert_int_equal(stats.error_count, KW_STATS_ERRORS_MAX);
    error(&stats, "-E5 x\r\n"); /* a known one goes on counting */
    assert_int_equal(stats.errors[5].count, 2);
    kw_stats_deinit(&stats);
}

static void test_sums_over_workers(void **state KW_UNUSED) {
    struct kw_stats one = {.connections = 1, .bytes_in = 10, .bytes_out = 11, .clients = 2, .redirects = 3};
    struct kw_stats two = {.connections = 5, .bytes_in = 20, .bytes_out = 22, .clients = 4, .links = 7};
    struct kw_stats sum = {0};
    kw_stats_command(&one, command("get"), 10, false);
    kw_stats_command(&two, command("get"), 20, true);
    kw_stats_rejected(&two, command("set"));
    error(&one, "-ERR a\r\n");
    error(&two, "-MOVED 1 b\r\n");
    error(&two, "-ERR b\r\n");
    kw_stats_add(&sum, &one);
    kw_stats_add(&sum, &two);
    assert_int_equal(sum.requests, 2);
    assert_int_equal(sum.connections, 6);
    assert_int_equal(sum.bytes_in, 30);
    assert_int_equal(sum.bytes_out, 33);
    assert_int_equal(sum.clients, 6);
    assert_int_equal(sum.redirects, 3);
    assert_int_equal(sum.links, 7);
    assert_int_equal(sum.commands[command("get")->id].calls, 2);
    assert_int_equal(sum.commands[command("get")->id].total_us, 30);
    assert_int_equal(sum.commands[command("get")->id].failed, 1);
    assert_int_equal(sum.commands[command("set")->id].rejected, 1);
    assert_errors(&sum, "errorstat_ERR:count=2\r\nerrorstat_MOVED:count=1\r\n");
    kw_stats_deinit(&one);
    kw_stats_deinit(&two);
    kw_stats_deinit(&sum);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commands_are_counted_apart),
        cmocka_unit_test(test_error_names_end_where_redis_ends_them),
        cmocka_unit_test(test_made_up_error_names_are_bounded),
        cmocka_unit_test(test_sums_over_workers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
