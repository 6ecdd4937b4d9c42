/*
 * The page about commands: its texts name commands that exist, what it says of
 * merged replies is what the proxy does, and every command has one row that
 * agrees with the planner.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "cluster/command.h"
#include "cluster/command_reference.h"
#include "cluster/planner.h"
#include "proxy/request/group.h"

struct row {
    const char *name, *text;
};

static const struct row hows[] = {
#define HOW(name, text) {name, text},
#include "cluster/deviation_table.inc"
};

static const struct row deviations[] = {
#define DEVIATION(name, text) {name, text},
#include "cluster/deviation_table.inc"
};

static const struct row refusals[] = {
#define SERVE(name, how, note) {name, note},
#include "cluster/serve_table.inc"
#undef SERVE
};

static struct kw_planner *planner;
static char *page; /* own */

static int make_page(void **state KW_UNUSED) {
    size_t size;
    planner = kw_planner_new();
    FILE *to = open_memstream(&page, &size);
    kw_command_reference(to);
    return fclose(to);
}

static int drop_page(void **state KW_UNUSED) {
    kw_planner_free(planner);
    free(page);
    return 0;
}

static const struct kw_command *command_of(const char *name) {
    const struct kw_command *cmd = kw_command_by_full_name(name, strlen(name));
    if (!cmd || strcmp(cmd->name, name) != 0) assert_string_equal(name, "a name of the command table");
    return cmd;
}

static void check_texts(const struct row *rows, size_t count) {
    for (size_t i = 0; i < count; i++) {
        command_of(rows[i].name);
        size_t len = strlen(rows[i].text);
        assert_true(len > 0 && rows[i].text[len - 1] != ' ');
        assert_null(strpbrk(rows[i].text, "\r\n|"));
        for (size_t k = 0; k < i; k++) assert_string_not_equal(rows[k].name, rows[i].name);
    }
}

static void test_texts_name_known_commands(void **state KW_UNUSED) {
    check_texts(hows, KW_ARRAY_LEN(hows));
    check_texts(deviations, KW_ARRAY_LEN(deviations));
}

/* A refused command has a reason, and nothing else to be said of it. */
static void test_nothing_is_said_of_refused_commands(void **state KW_UNUSED) {
    for (size_t i = 0; i < KW_ARRAY_LEN(hows); i++) {
        assert_int_not_equal(kw_planner_serve(command_of(hows[i].name)), KW_SERVE_REFUSED);
    }
    for (size_t i = 0; i < KW_ARRAY_LEN(deviations); i++) {
        const struct kw_command *cmd = command_of(deviations[i].name);
        if (!cmd->container) assert_int_not_equal(kw_planner_serve(cmd), KW_SERVE_REFUSED);
    }
}

static const char *how_of(const struct kw_command *cmd) {
    for (size_t i = 0; i < KW_ARRAY_LEN(hows); i++) {
        if (strcmp(hows[i].name, cmd->name) == 0) return hows[i].text;
    }
    assert_string_equal(cmd->name, "a command with a row HOW");
    return NULL;
}

/* Commands for every shard: the same words exactly where the same function merges the replies. */
static void test_words_for_merging_are_those_of_the_proxy(void **state KW_UNUSED) {
    const struct kw_command *all[64];
    size_t count = 0;
    for (unsigned id = 0; id < kw_command_table_count(); id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        if (kw_planner_serve(cmd) != KW_SERVE_SHARDS || cmd->container) continue;
        assert_true(count < KW_ARRAY_LEN(all));
        all[count++] = cmd;
    }
    assert_true(count > 10);
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < i; k++) {
            bool same = kw_merge_for(all[i], KW_SERVE_SHARDS) == kw_merge_for(all[k], KW_SERVE_SHARDS);
            if (same != (strcmp(how_of(all[i]), how_of(all[k])) == 0)) {
                assert_string_equal(all[i]->name, all[k]->name);
            }
        }
    }
}

/* "| `CONFIG GET`" or "| `CLIENT CAPA` (Valkey 8)" at the beginning of a line; NULL: there is none. */
static const char *find_row(const struct kw_command *cmd, unsigned *count) {
    char start[128];
    snprintf(start, sizeof(start), "\n| `%s`", cmd->name);
    for (char *c = start; *c; c++) {
        if (*c >= 'a' && *c <= 'z') *c = (char)(*c - 32);
        if (*c == '|' && c > start + 4) *c = ' ';
    }
    const char *found = NULL;
    *count = 0;
    for (const char *at = page; (at = strstr(at, start)); at++) {
        found = at + 1;
        ++*count;
    }
    return found;
}

static bool row_has(const char *row, const char *text) {
    const char *at = strstr(row, text);
    return at && at < row + strcspn(row, "\n");
}

/* Refused by the planner, for no fault of the arguments. */
static bool refuses(const struct kw_command *cmd) {
    struct kw_arg argv[16];
    struct kw_plan plan;
    size_t argc = (size_t)abs(cmd->arity);
    for (size_t i = 0; i < argc; i++) argv[i] = (struct kw_arg){"x", 1};
    kw_planner_plan(planner, cmd, argv, argc, &plan);
    return plan.kind == KW_PLAN_ERROR && strstr(plan.error->data, "is not supported through Keyway");
}

static void test_every_command_has_a_row(void **state KW_UNUSED) {
    unsigned rows = 0, count;
    for (unsigned id = 0; id < kw_command_table_count(); id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        const char *row = find_row(cmd, &count);
        bool listed = !cmd->container || strcmp(cmd->name, "command") == 0;
        if (count != listed) assert_string_equal(cmd->name, listed ? "a command with one row" : "no container");
        rows += count;
        if (!listed) continue;
        if (row_has(row, "| refused |") != refuses(cmd))
            assert_string_equal(cmd->name, "a command that the planner refuses");
        assert_false(row_has(row, "| refused |  |"));
    }
    /* No row of anything else: the heads of the tables begin in another way. */
    unsigned all = 0;
    for (const char *at = page; (at = strstr(at, "\n| `")); at++) all++;
    assert_int_equal(all, rows);
}

static void test_refused_commands_show_their_reason(void **state KW_UNUSED) {
    unsigned seen = 0, count;
    for (size_t i = 0; i < KW_ARRAY_LEN(refusals); i++) {
        const struct kw_command *cmd = command_of(refusals[i].name);
        if (kw_planner_serve(cmd) != KW_SERVE_REFUSED || cmd->container) continue;
        const char *row = find_row(cmd, &count);
        assert_non_null(row);
        if (!row_has(row, refusals[i].text)) assert_string_equal(cmd->name, refusals[i].text);
        seen++;
    }
    assert_true(seen > 15);
}

static void test_texts_are_on_the_page(void **state KW_UNUSED) {
    unsigned count;
    for (size_t i = 0; i < KW_ARRAY_LEN(deviations); i++) {
        const struct kw_command *cmd = command_of(deviations[i].name);
        const char *row = find_row(cmd, &count);
        if (row)
            assert_true(row_has(row, deviations[i].text));
        else
            assert_true(cmd->container);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts_name_known_commands),
        cmocka_unit_test(test_nothing_is_said_of_refused_commands),
        cmocka_unit_test(test_words_for_merging_are_those_of_the_proxy),
        cmocka_unit_test(test_every_command_has_a_row),
        cmocka_unit_test(test_refused_commands_show_their_reason),
        cmocka_unit_test(test_texts_are_on_the_page),
    };
    return cmocka_run_group_tests(tests, make_page, drop_page);
}
