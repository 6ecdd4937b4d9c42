/*
 * The planner: where a command goes, how it is split, what is refused and in
 * which words. The texts of unknown commands and subcommands were taken from
 * Redis 7.0.15.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "cluster/planner.h"
#include "cluster/slot.h"

enum { ARGS_MAX = 32 };

static struct kw_planner *planner;

static int make_planner(void **state KW_UNUSED) {
    planner = kw_planner_new();
    return 0;
}

static int drop_planner(void **state KW_UNUSED) {
    kw_planner_free(planner);
    return 0;
}

/* Words between blanks become arguments; "BIG" one whose payload is elsewhere. */
static size_t split_words(const char *line, struct kw_arg *argv) {
    size_t argc = 0;
    for (;;) {
        line += strspn(line, " ");
        size_t len = strcspn(line, " ");
        if (len == 0) return argc;
        assert_true(argc < ARGS_MAX);
        bool big = len == 3 && memcmp(line, "BIG", 3) == 0;
        argv[argc++] = (struct kw_arg){big ? NULL : line, big ? 1 << 20 : len};
        line += len;
    }
}

static struct kw_plan plan_line(const char *line) {
    struct kw_arg argv[ARGS_MAX];
    struct kw_plan plan;
    size_t argc = split_words(line, argv);
    const struct kw_command *cmd = kw_command_resolve(argv, argc);
    assert_non_null(cmd);
    kw_planner_plan(planner, cmd, argv, argc, &plan);
    return plan;
}

static int slot_of(const char *key) {
    return (int)kw_slot_of_key(key, strlen(key));
}

static void assert_goes(const char *line, enum kw_plan_kind kind, int slot) {
    struct kw_plan plan = plan_line(line);
    if (plan.kind != kind || plan.slot != slot) print_error("%s\n", line);
    assert_int_equal(plan.kind, kind);
    assert_int_equal(plan.slot, slot);
}

static void assert_refused(const char *line, const char *error) {
    struct kw_plan plan = plan_line(line);
    assert_int_equal(plan.kind, KW_PLAN_ERROR);
    assert_string_equal(plan.error->data, error);
}

static void test_one_key_goes_to_its_slot(void **state KW_UNUSED) {
    assert_int_equal(slot_of("foo"), 12182); /* CLUSTER KEYSLOT foo */
    assert_goes("GET foo", KW_PLAN_FORWARD, 12182);
    assert_goes("set foo bar EX 10", KW_PLAN_FORWARD, 12182);
    assert_goes("SET foo BIG", KW_PLAN_FORWARD, 12182);
    assert_goes("HSET {foo}x f v", KW_PLAN_FORWARD, 12182);
    assert_goes("GET {}foo", KW_PLAN_FORWARD, slot_of("{}foo"));
    assert_goes("MGET foo", KW_PLAN_FORWARD, 12182);
    assert_goes("DEL foo", KW_PLAN_FORWARD, 12182);
    assert_goes("OBJECT ENCODING foo", KW_PLAN_FORWARD, 12182);
    assert_goes("XREAD COUNT 5 STREAMS foo 0", KW_PLAN_FORWARD, 12182);
}

static void test_several_keys_of_one_slot_stay_together(void **state KW_UNUSED) {
    int slot = slot_of("t");
    assert_goes("MGET {t}1 {t}2 {t}3", KW_PLAN_FORWARD, slot);
    assert_goes("MSET {t}1 a {t}2 BIG", KW_PLAN_FORWARD, slot);
    assert_goes("DEL {t}1 {t}1", KW_PLAN_FORWARD, slot);
    assert_goes("RENAME a{t} b{t}", KW_PLAN_FORWARD, slot);
    assert_goes("SINTERSTORE {t}d {t}a {t}b", KW_PLAN_FORWARD, slot);
    assert_goes("ZUNIONSTORE {t}d 2 {t}a {t}b WEIGHTS 1 2", KW_PLAN_FORWARD, slot);
    assert_goes("EVAL script 2 {t}a {t}b other", KW_PLAN_FORWARD, slot);
    assert_goes("SORT {t}a STORE {t}b", KW_PLAN_FORWARD, slot);
}

static void assert_part(const struct kw_plan *plan, unsigned part, const char *slot_key, uint32_t count,
                        const uint32_t *keys) {
    assert_int_equal(plan->parts[part].slot, slot_of(slot_key));
    assert_int_equal(plan->parts[part].key_count, count);
    for (uint32_t i = 0; i < count; i++) {
        assert_int_equal(plan->order[plan->parts[part].start + i], keys[i]);
        assert_int_equal(plan->key_part[keys[i]], part);
    }
}

static void test_split_groups_by_slot_in_order_of_appearance(void **state KW_UNUSED) {
    struct kw_plan plan = plan_line("MGET {b}1 {a}1 {b}2 c {a}2 {b}1");
    assert_int_equal(plan.kind, KW_PLAN_SPLIT);
    assert_int_equal(plan.serve, KW_SERVE_SPLIT_GET);
    assert_int_equal(plan.key_count, 6);
    assert_int_equal(plan.part_count, 3);
    assert_part(&plan, 0, "b", 3, (const uint32_t[]){0, 2, 5});
    assert_part(&plan, 1, "a", 2, (const uint32_t[]){1, 4});
    assert_part(&plan, 2, "c", 1, (const uint32_t[]){3});

    plan = plan_line("MSET a 1 {b}1 2 {a} BIG");
    assert_int_equal(plan.serve, KW_SERVE_SPLIT_SET);
    assert_int_equal(plan.part_count, 2);
    assert_part(&plan, 0, "a", 2, (const uint32_t[]){0, 2});
    assert_part(&plan, 1, "b", 1, (const uint32_t[]){1});
    assert_int_equal(plan.keys[2], 5); /* its place in argv */

    /* A key without its value, over several slots: nothing may be sent. */
    assert_refused("MSET a 1 b", "-ERR wrong number of arguments for 'mset' command\r\n");

    static const char *const sums[] = {"DEL a b", "UNLINK a b", "EXISTS a b", "TOUCH a b"};
    for (size_t i = 0; i < KW_ARRAY_LEN(sums); i++) {
        plan = plan_line(sums[i]);
        assert_int_equal(plan.kind, KW_PLAN_SPLIT);
        assert_int_equal(plan.serve, KW_SERVE_SPLIT_SUM);
        assert_int_equal(plan.part_count, 2);
    }
}

/* An MGET of `count` keys; the names are one block behind the arguments. */
static struct kw_arg *many_keys(size_t count) {
    struct kw_arg *argv = malloc((count + 1) * (sizeof(*argv) + 16));
    assert_non_null(argv);
    char *names = (char *)(argv + count + 1);
    argv[0] = (struct kw_arg){"MGET", 4};
    for (size_t i = 0; i < count; i++) {
        int len = snprintf(names + 16 * i, 16, "key:%zu", i);
        argv[i + 1] = (struct kw_arg){names + 16 * i, (size_t)len};
    }
    return argv;
}

static void test_ten_thousand_keys_are_each_in_one_part(void **state KW_UNUSED) {
    enum { COUNT = 10000 };
    struct kw_arg *argv = many_keys(COUNT);
    struct kw_plan plan;
    kw_planner_plan(planner, kw_command_lookup("mget", 4), argv, COUNT + 1, &plan);
    assert_int_equal(plan.kind, KW_PLAN_SPLIT);
    assert_int_equal(plan.key_count, COUNT);
    static bool slot_seen[KW_SLOT_COUNT], key_seen[COUNT];
    uint32_t start = 0;
    for (unsigned p = 0; p < plan.part_count; p++) {
        const struct kw_plan_part *part = &plan.parts[p];
        assert_false(slot_seen[part->slot]);
        slot_seen[part->slot] = true;
        assert_int_equal(part->start, start);
        start += part->key_count;
        for (uint32_t k = part->start; k < start; k++) {
            uint32_t key = plan.order[k];
            assert_true(key < COUNT && !key_seen[key]);
            assert_true(k == part->start || plan.order[k - 1] < key);
            key_seen[key] = true;
            assert_int_equal(plan.key_part[key], p);
            assert_int_equal(kw_slot_of_key(argv[plan.keys[key]].data, argv[plan.keys[key]].len), part->slot);
        }
    }
    assert_int_equal(start, COUNT);
    free(argv);
}

/* Seconds of processor time for `rounds` plans of `count` keys. */
static double time_plans(size_t count, int rounds) {
    struct kw_arg *argv = many_keys(count);
    struct kw_plan plan;
    const struct kw_command *mget = kw_command_lookup("mget", 4);
    clock_t from = clock();
    for (int i = 0; i < rounds; i++) kw_planner_plan(planner, mget, argv, count + 1, &plan);
    double took = (double)(clock() - from) / CLOCKS_PER_SEC;
    assert_int_equal(plan.kind, KW_PLAN_SPLIT);
    free(argv);
    return took;
}

static void test_grouping_is_linear(void **state KW_UNUSED) {
    time_plans(100000, 1); /* the scratch has grown */
    double few = time_plans(1000, 200);
    double many = time_plans(100000, 2);
    assert_true(many < few * 15 + 0.05); /* the same number of keys; quadratic would be a hundredfold */
}

static void test_a_failing_heap_is_answered(void **state KW_UNUSED) {
    int refused = 0;
    for (long nth = 1;; nth++) {
        struct kw_planner *fresh = kw_planner_new();
        struct kw_arg *argv = many_keys(500);
        struct kw_plan plan;
        kw_alloc_fail_nth(nth);
        kw_planner_plan(fresh, kw_command_lookup("mget", 4), argv, 501, &plan);
        kw_alloc_fail_nth(0);
        bool done = plan.kind == KW_PLAN_SPLIT;
        if (!done) {
            assert_int_equal(plan.kind, KW_PLAN_ERROR);
            assert_string_equal(plan.error->data, "-ERR out of memory\r\n");
            kw_planner_plan(fresh, kw_command_lookup("mget", 4), argv, 501, &plan); /* and the next may go */
            assert_int_equal(plan.kind, KW_PLAN_SPLIT);
            refused++;
        }
        kw_planner_free(fresh);
        free(argv);
        if (done) break;
    }
    assert_true(refused >= 4);
}

static void test_cross_slot_names_keys_slots_and_tag(void **state KW_UNUSED) {
    assert_refused("RENAME foo bar",
                   "-CROSSSLOT Keys in request don't hash to the same slot: 'foo' is in slot 12182 and 'bar' in slot "
                   "5061, so 'rename' cannot run in one step; a common hash tag such as {foo} in both names would fix "
                   "it\r\n");
    assert_refused("SUNIONSTORE {foo}x a{foo} bar y",
                   "-CROSSSLOT Keys in request don't hash to the same slot: '{foo}x' is in slot 12182 and 'bar' in "
                   "slot 5061, so 'sunionstore' cannot run in one step; a common hash tag such as {foo} in both names "
                   "(the first already has it) would fix it\r\n");
    assert_int_equal(plan_line("EVAL script 2 foo bar").kind, KW_PLAN_ERROR);
    assert_int_equal(plan_line("MSETNX foo 1 bar 2").kind, KW_PLAN_ERROR);
    assert_int_equal(plan_line("BLPOP foo bar 0").kind, KW_PLAN_ERROR);
}

static void test_cross_slot_is_short_and_one_line_whatever_the_keys(void **state KW_UNUSED) {
    char key[3000];
    memset(key, 'k', sizeof(key));
    memcpy(key, "a\r\nb", 4);
    struct kw_arg argv[] = {{"rename", 6}, {key, sizeof(key)}, {"bar", 3}};
    struct kw_plan plan;
    kw_planner_plan(planner, kw_command_lookup("rename", 6), argv, 3, &plan);
    assert_int_equal(plan.kind, KW_PLAN_ERROR);
    assert_memory_equal(plan.error->data, "-CROSSSLOT ", 11);
    assert_true(plan.error->len < 600);
    assert_int_equal(strcspn(plan.error->data, "\r\n"), plan.error->len - 2);
}

static void test_refused_commands_say_why(void **state KW_UNUSED) {
    assert_refused("SAVE", "-ERR 'save' is not supported through Keyway: run it at the node itself\r\n");
    assert_refused("SWAPDB 0 1", "-ERR 'swapdb' is not supported through Keyway: there is one database only\r\n");
    assert_refused("DEBUG SLEEP 0", "-ERR 'debug' is not supported through Keyway: run it at the node itself\r\n");
    /* A container's row holds for its subcommands. */
    assert_refused("MODULE UNLOAD x",
                   "-ERR 'module|unload' is not supported through Keyway: modules are loaded by each node, from its "
                   "configuration file\r\n");
    /* Refused whatever the keys. */
    assert_refused("MIGRATE host 6379 foo 0 100",
                   "-ERR 'migrate' is not supported through Keyway: slots are moved by the cluster's own tools\r\n");
}

static void test_slots_named_as_arguments(void **state KW_UNUSED) {
    assert_goes("CLUSTER COUNTKEYSINSLOT 5", KW_PLAN_FORWARD, 5);
    assert_goes("CLUSTER GETKEYSINSLOT 16383 10", KW_PLAN_FORWARD, 16383);
    /* No slot: any node says what is wrong with it. */
    assert_goes("CLUSTER COUNTKEYSINSLOT x", KW_PLAN_FORWARD, -1);
    assert_goes("CLUSTER COUNTKEYSINSLOT 16384", KW_PLAN_FORWARD, -1);
    assert_goes("SPUBLISH foo x", KW_PLAN_FORWARD, 12182);
    assert_goes("PUBLISH foo x", KW_PLAN_FORWARD, -1);
    assert_goes("WATCH foo", KW_PLAN_EXCLUSIVE, 12182);
}

static void test_every_row_has_its_kind(void **state KW_UNUSED) {
    static const struct {
        const char *name;
        enum kw_serve serve;
        const char *note;
    } rows[] = {
#define SERVE(name, how, note) {name, KW_SERVE_##how, note},
#include "cluster/serve_table.inc"
#undef SERVE
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        const struct kw_command *cmd = kw_command_by_full_name(rows[i].name, strlen(rows[i].name));
        if (!cmd) {
            assert_string_equal(rows[i].name, "a name of the command table");
            continue;
        }
        assert_string_equal(cmd->name, rows[i].name);
        assert_int_equal(kw_planner_serve(cmd), rows[i].serve);
        assert_int_equal(rows[i].serve == KW_SERVE_REFUSED, rows[i].note[0] != '\0');
        for (size_t k = 0; k < i; k++) assert_string_not_equal(rows[k].name, rows[i].name);
    }
}

static void test_what_needs_no_key(void **state KW_UNUSED) {
    assert_goes("PING", KW_PLAN_LOCAL, -1);
    assert_goes("CONFIG GET maxmemory", KW_PLAN_LOCAL, -1);
    assert_goes("CLIENT ID", KW_PLAN_LOCAL, -1);
    assert_goes("DBSIZE", KW_PLAN_SHARDS, -1);
    assert_goes("KEYS *", KW_PLAN_SHARDS, -1);
    assert_goes("LOLWUT", KW_PLAN_FORWARD, -1);
    assert_goes("EVAL script 0", KW_PLAN_FORWARD, -1);
    assert_goes("EVAL script 0 foo bar", KW_PLAN_FORWARD, -1);
    assert_goes("EVALSHA 0123 0", KW_PLAN_FORWARD, -1);
    assert_goes("FCALL name 0", KW_PLAN_FORWARD, -1);
    /* No key can be told: a node says what is wrong with it. */
    assert_goes("EVAL script many foo", KW_PLAN_FORWARD, -1);
    assert_goes("EVAL script 5 foo", KW_PLAN_FORWARD, -1);
    assert_goes("ZUNIONSTORE d nothing a", KW_PLAN_FORWARD, -1);
}

static void test_blocking_commands_get_a_link_of_their_own(void **state KW_UNUSED) {
    int slot = slot_of("s");
    assert_goes("BLPOP s 0", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("BLPOP {s}1 {s}2 0", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("BLMOVE {s}1 {s}2 LEFT RIGHT 0", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("BRPOPLPUSH {s}1 {s}2 0", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("BZPOPMIN s 0", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("BLMPOP 0 2 {s}1 {s}2 LEFT", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("XREAD BLOCK 0 STREAMS s $", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("xread count 1 block 0 streams s $", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("XREAD STREAMS s 0", KW_PLAN_FORWARD, slot);
    assert_goes("XREAD COUNT 1 STREAMS {s}block {s}b 0 0", KW_PLAN_FORWARD, slot);
    assert_goes("XREAD STREAMS block 0", KW_PLAN_FORWARD, slot_of("block")); /* a key of that name */
    assert_goes("XREADGROUP GROUP g c BLOCK 5 STREAMS s >", KW_PLAN_EXCLUSIVE, slot);
    assert_goes("XREADGROUP GROUP g c NOACK STREAMS s >", KW_PLAN_FORWARD, slot);
}

/* ---- early, for streaming ---- */

static void assert_early(const char *line, size_t have, int known, int slot) {
    struct kw_arg argv[ARGS_MAX];
    size_t argc = split_words(line, argv);
    /* What has not arrived must not be touched. */
    struct kw_arg *exact = malloc(have * sizeof(*exact));
    assert_non_null(exact);
    memcpy(exact, argv, have * sizeof(*exact));
    int got_slot = -7;
    const struct kw_command *cmd = kw_command_lookup(argv[0].data, argv[0].len);
    assert_non_null(cmd);
    int got = kw_planner_plan_early(planner, cmd, exact, argc, have, &got_slot);
    free(exact);
    if (got != known) print_error("%s, %zu\n", line, have);
    assert_int_equal(got, known);
    if (known) assert_int_equal(got_slot, slot);
}

static void test_early_plans_are_certain(void **state KW_UNUSED) {
    int k = slot_of("k");
    assert_early("SET k BIG", 1, 0, 0);
    assert_early("SET k BIG", 2, 1, k);
    assert_early("SET k BIG", 3, 1, k);
    assert_early("SET k BIG EX 10", 3, 1, k);
    assert_early("APPEND k BIG", 3, 1, k);
    assert_early("HSET k f1 BIG f2 v2", 4, 1, k);
    assert_early("GET BIG", 2, 0, 0); /* a key that cannot be looked at */
    assert_early("MSET k BIG", 3, 1, k);
    assert_early("MSET k BIG b 2", 3, 0, 0);
    assert_early("MSET k 1 b BIG", 5, 0, 0);
    assert_early("MSET {k}1 1 {k}2 BIG", 5, 1, k);
    assert_early("DEL k BIG", 3, 0, 0);
    assert_early("EVAL BIG 1 k a", 2, 0, 0);
    assert_early("EVAL BIG 1 k a", 4, 1, k);
    assert_early("EVAL script 1 k BIG more", 3, 0, 0);
    assert_early("EVAL script 1 k BIG more", 5, 1, k);
    assert_early("EVAL script 2 k other BIG", 5, 0, 0); /* several slots */
    assert_early("EVAL script 0 BIG", 4, 0, 0);
    assert_early("EVAL script many BIG", 4, 0, 0);
    assert_early("ECHO BIG", 2, 0, 0);
    assert_early("PING BIG", 2, 0, 0);
    assert_early("SYNC", 1, 0, 0);
}

/* What is said early is what is said in the end. */
static void test_early_agrees_with_the_whole(void **state KW_UNUSED) {
    static const char *const lines[] = {"SET k v",
                                        "SET k v EX 10",
                                        "MSET {k}1 a {k}2 b",
                                        "MSET a 1 b 2",
                                        "EVAL s 2 {k}a {k}b x",
                                        "EVAL s 2 a b",
                                        "DEL a b",
                                        "RENAME {k}a {k}b",
                                        "ZUNIONSTORE {k}d 2 {k}a {k}b",
                                        "SORT k GET # BY nosort STORE {k}d",
                                        "XADD k * f v",
                                        "LPUSH k a b c",
                                        "GEORADIUS k 1 1 1 m STORE {k}d",
                                        "XREAD STREAMS k 0"};
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) {
        struct kw_arg argv[ARGS_MAX];
        struct kw_plan plan = plan_line(lines[i]);
        enum kw_plan_kind kind = plan.kind;
        int slot = plan.slot;
        size_t argc = split_words(lines[i], argv);
        int before = 0;
        for (size_t have = 1; have <= argc; have++) {
            int early_slot = -7;
            int early = kw_planner_plan_early(planner, kw_command_lookup(argv[0].data, argv[0].len), argv, argc, have,
                                              &early_slot);
            assert_true(early >= before); /* never taken back */
            before = early;
            if (!early) continue;
            assert_int_equal(kind, KW_PLAN_FORWARD);
            assert_int_equal(early_slot, slot);
        }
        assert_int_equal(before, kind == KW_PLAN_FORWARD);
    }
}

/* ---- words ---- */

static void assert_unknown(const struct kw_arg *argv, size_t argc, const char *want) {
    struct kw_str out = {0};
    kw_planner_unknown_error(&out, argv, argc);
    assert_string_equal(out.data, want);
    kw_str_deinit(&out);
}

#define ARG(text)                                                                                                      \
    { text, sizeof(text) - 1 }
#define TEN(c) c c c c c c c c c c

static void test_unknown_commands_in_the_words_of_redis(void **state KW_UNUSED) {
    const struct kw_arg plain[] = {ARG("nosuch"), ARG("a"), ARG("b b"), ARG("c\r\nd"), ARG("e\0f"), ARG("")};
    assert_unknown(plain, 6, "-ERR unknown command 'nosuch', with args beginning with: 'a' 'b b' 'c  d' 'e' '' \r\n");
    assert_unknown(plain, 1, "-ERR unknown command 'nosuch', with args beginning with: \r\n");
    const struct kw_arg long_name[] = {ARG(TEN("nnnnnnnnnn") TEN("nnnnnnnnnn")), ARG("a")};
    assert_unknown(
        long_name, 2,
        "-ERR unknown command '" TEN("nnnnnnnnnn") "nnnnnnnnnnnnnnnnnnnnnnnnnnnn', with args beginning with: "
                                                   "'a' \r\n");
    const struct kw_arg long_args[] = {ARG("nosuch"), ARG(TEN("aaaaaaaaaa")), ARG(TEN("bbbbbbbbbb")), ARG("z")};
    assert_unknown(long_args, 4,
                   "-ERR unknown command 'nosuch', with args beginning with: '" TEN(
                       "aaaaaaaaaa") "' 'bbbbbbbbbbbbbbbbbbbbbbbbb' \r\n");
    const struct kw_arg big[] = {ARG("nosuch"), {NULL, 1 << 20}, ARG("z")};
    assert_unknown(big, 3, "-ERR unknown command 'nosuch', with args beginning with: '' 'z' \r\n");
}

static void test_unknown_subcommands_in_the_words_of_redis(void **state KW_UNUSED) {
    struct kw_str out = {0};
    const struct kw_arg config[] = {ARG("config"), ARG("nosuch"), ARG("x")};
    kw_planner_unknown_sub_error(&out, kw_command_lookup("config", 6), config);
    assert_string_equal(out.data, "-ERR unknown subcommand 'nosuch'. Try CONFIG HELP.\r\n");
    kw_str_clear(&out);
    const struct kw_arg xgroup[] = {ARG("xgroup"), ARG("Foo")};
    kw_planner_unknown_sub_error(&out, kw_command_lookup("xgroup", 6), xgroup);
    assert_string_equal(out.data, "-ERR unknown subcommand 'Foo'. Try XGROUP HELP.\r\n");
    kw_str_clear(&out);
    kw_planner_arity_error(&out, kw_command_lookup("get", 3));
    kw_planner_arity_error(&out, kw_command_by_full_name("config|get", 10));
    assert_string_equal(out.data, "-ERR wrong number of arguments for 'get' command\r\n"
                                  "-ERR wrong number of arguments for 'config|get' command\r\n");
    kw_str_deinit(&out);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_one_key_goes_to_its_slot),
        cmocka_unit_test(test_several_keys_of_one_slot_stay_together),
        cmocka_unit_test(test_split_groups_by_slot_in_order_of_appearance),
        cmocka_unit_test(test_ten_thousand_keys_are_each_in_one_part),
        cmocka_unit_test(test_grouping_is_linear),
        cmocka_unit_test(test_a_failing_heap_is_answered),
        cmocka_unit_test(test_cross_slot_names_keys_slots_and_tag),
        cmocka_unit_test(test_cross_slot_is_short_and_one_line_whatever_the_keys),
        cmocka_unit_test(test_refused_commands_say_why),
        cmocka_unit_test(test_slots_named_as_arguments),
        cmocka_unit_test(test_every_row_has_its_kind),
        cmocka_unit_test(test_what_needs_no_key),
        cmocka_unit_test(test_blocking_commands_get_a_link_of_their_own),
        cmocka_unit_test(test_early_plans_are_certain),
        cmocka_unit_test(test_early_agrees_with_the_whole),
        cmocka_unit_test(test_unknown_commands_in_the_words_of_redis),
        cmocka_unit_test(test_unknown_subcommands_in_the_words_of_redis),
    };
    return cmocka_run_group_tests(tests, make_planner, drop_planner);
}
