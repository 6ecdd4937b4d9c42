/* The command table: lookup, arity, keys whole and early, learning. What a live server says is compared in integration.
 */
#include <ctype.h>
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cluster/command.h"

enum { ARGS_MAX = 64 };

struct request {
    char text[1024];
    struct kw_arg argv[ARGS_MAX];
    size_t argc;
};

/* Splits at spaces; "()" is the empty argument, "~" one whose payload is not contiguous. */
static struct request *request(const char *line) {
    static struct request made;
    made.argc = 0;
    snprintf(made.text, sizeof(made.text), "%s", line);
    char *save = NULL;
    for (char *word = strtok_r(made.text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        struct kw_arg *arg = &made.argv[made.argc++];
        *arg = (struct kw_arg){.data = word, .len = strlen(word)};
        if (strcmp(word, "()") == 0) arg->len = 0;
        if (strcmp(word, "~") == 0) *arg = (struct kw_arg){.data = NULL, .len = 100000};
    }
    return &made;
}

static const struct kw_command *lookup(const char *name) {
    return kw_command_lookup(name, strlen(name));
}

static const struct kw_command *full(const char *name) {
    return kw_command_by_full_name(name, strlen(name));
}

/* "1 3 5", or the error's text. */
static const char *keys_of(const char *line) {
    static char told[256];
    struct request *r = request(line);
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    int count = kw_command_keys(kw_command_resolve(r->argv, r->argc), r->argv, r->argc, &keys);
    told[0] = '\0';
    if (count < 0)
        snprintf(told, sizeof(told), "%s", kw_error_text(count));
    else
        assert_int_equal(count, keys.count);
    for (unsigned i = 0; count > 0 && i < keys.count; i++) {
        size_t len = strlen(told);
        snprintf(told + len, sizeof(told) - len, i ? " %u" : "%u", keys.pos[i]);
    }
    kw_key_positions_deinit(&keys);
    return told;
}

/* The fewest arguments that must have arrived for the keys to be certain; -1: an error from the start. */
static int early(const char *line) {
    struct request *r = request(line);
    const struct kw_command *cmd = kw_command_resolve(r->argv, r->argc);
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    int result = -1;
    for (size_t have = 0; have <= r->argc; have++) {
        int known = kw_command_keys_early(cmd, r->argv, r->argc, have, &keys);
        if (known == 0) continue;
        if (known > 0) result = (int)have;
        break;
    }
    kw_key_positions_deinit(&keys);
    return result;
}

static void test_every_name_is_found(void **state) {
    (void)state;
    assert_true(kw_command_table_count() > 360);
    for (unsigned id = 0; id < kw_command_table_count(); id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        assert_int_equal(cmd->id, id);
        assert_int_equal(cmd->name_len, strlen(cmd->name));
        char upper[64];
        for (unsigned i = 0; i <= cmd->name_len; i++) upper[i] = (char)toupper(cmd->name[i]);
        assert_ptr_equal(full(cmd->name), cmd);
        assert_ptr_equal(full(upper), cmd);
        assert_int_equal(cmd->parent != NULL, strchr(cmd->name, '|') != NULL);
        for (unsigned i = 0; i < cmd->subcommand_count; i++) assert_ptr_equal(cmd->subcommands[i].parent, cmd);
        assert_int_equal(cmd->container, cmd->subcommand_count > 0);
        /* One byte changed, added or lost is another name. */
        for (unsigned i = 0; i < cmd->name_len; i++) {
            for (unsigned bit = 0; bit < 8; bit++) {
                memcpy(upper, cmd->name, cmd->name_len);
                upper[i] = (char)(upper[i] ^ (1 << bit));
                const struct kw_command *other = kw_command_by_full_name(upper, cmd->name_len);
                if (other == cmd) assert_true(bit == 5 && isalpha((unsigned char)cmd->name[i]));
            }
        }
        memcpy(upper, cmd->name, cmd->name_len);
        upper[cmd->name_len] = '\0';
        assert_true(kw_command_by_full_name(upper, cmd->name_len + 1) != cmd);
        assert_true(kw_command_by_full_name(upper, cmd->name_len - 1) != cmd);
    }
    assert_null(kw_command_by_id(kw_command_count()));
}

static void test_lookup_refuses_what_is_no_name(void **state) {
    (void)state;
    assert_null(kw_command_lookup("", 0));
    assert_null(lookup("nothing"));
    assert_null(lookup("config|get"));
    assert_null(lookup("get "));
    assert_null(kw_command_lookup("get\0", 4));
    assert_null(lookup("georadiusbymemXer_ro")); /* beyond 16 bytes, changed in the middle */
    assert_null(full("|"));
    assert_null(full("|get"));
    assert_null(full("config|"));
    assert_null(full("config|get|x"));
    assert_null(full("get|get"));
    assert_null(kw_command_lookup_sub(lookup("get"), "get", 3));
    char name[512];
    memset(name, 'g', sizeof(name));
    for (size_t len = 0; len <= sizeof(name); len++) assert_null(kw_command_lookup(name, len));
}

static const char *resolved(const char *line) {
    struct request *r = request(line);
    const struct kw_command *cmd = kw_command_resolve(r->argv, r->argc);
    return cmd ? cmd->name : "-";
}

static void test_resolve(void **state) {
    (void)state;
    assert_string_equal(resolved("GeT k"), "get");
    assert_string_equal(resolved("CONFIG gEt k"), "config|get");
    assert_string_equal(resolved("CONFIG"), "config");
    assert_string_equal(resolved("CONFIG nothing"), "config");
    assert_string_equal(resolved("CONFIG ~"), "config");
    assert_string_equal(resolved("~ get"), "-");
    assert_string_equal(resolved("CONFIG|GET x"), "-");
    assert_null(kw_command_resolve(NULL, 0));
}

static void test_table_facts(void **state) {
    (void)state;
    const struct kw_command *get = lookup("get"), *mset = lookup("mset"), *sort = lookup("sort");
    assert_true((get->flags & (KW_CMD_READONLY | KW_CMD_FAST)) == (KW_CMD_READONLY | KW_CMD_FAST));
    assert_true(get->keys_simple && get->first_key == 1 && get->last_key == 1 && get->key_step == 1);
    assert_true(mset->keys_simple && mset->last_key == -1 && mset->key_step == 2);
    assert_int_equal(mset->request_policy, KW_REQ_MULTI_SHARD);
    assert_int_equal(mset->response_policy, KW_RESP_ALL_SUCCEEDED);
    assert_true((sort->flags & KW_CMD_MOVABLEKEYS) && !sort->keys_simple);
    assert_true(lookup("eval")->flags & KW_CMD_MAY_REPLICATE);
    assert_false(lookup("ssubscribe")->keys_simple); /* a channel is no key */
    assert_int_equal(lookup("waitaof")->origin, KW_COMMAND_VALKEY);
    assert_int_equal(get->origin, KW_COMMAND_REDIS);
    assert_true(get->acl_categories & KW_ACL_READ);
    assert_string_equal(kw_command_acl_category(KW_ACL_BIT_SCRIPTING), "scripting");
    assert_null(kw_command_acl_category(KW_ACL_BITS));
    assert_int_equal(kw_command_acl_category_find("SortedSet", 9), KW_ACL_BIT_SORTEDSET);
    assert_int_equal(kw_command_acl_category_find("sorted", 6), KW_EUNKNOWN);
}

static void test_arity(void **state) {
    (void)state;
    assert_true(kw_command_arity_ok(lookup("get"), 2));
    assert_false(kw_command_arity_ok(lookup("get"), 1));
    assert_false(kw_command_arity_ok(lookup("get"), 3));
    assert_true(kw_command_arity_ok(lookup("mget"), 1000));
    assert_false(kw_command_arity_ok(lookup("mget"), 1));
    assert_true(kw_command_arity_ok(lookup("zrank"), 4)); /* WITHSCORE, of the newer server */
    assert_int_equal(lookup("zrank")->arity, 3);
    assert_false(kw_command_arity_ok(full("config|get"), 2));
}

static void test_keys(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"get k", "1"},
        {"get", "invalid value"},
        {"ping", ""},
        {"config get x", ""},
        {"mset a 1 b 2", "1 3"},
        {"mset a 1 b", "1 3"},
        {"blpop a b 0", "1 2"},
        {"object encoding k", "2"},
        {"object help", ""},
        {"ssubscribe c", ""},
        {"eval s 0", ""},
        {"eval s 0 a", ""},
        {"eval s 2 a b c", "3 4"},
        {"eval s 3 a b", "invalid value"},
        {"eval s x a b", "invalid value"},
        {"eval s ~ a b", "invalid value"},
        {"eval ~ 1 a", "3"},
        {"fcall_ro f 1 ~", "3"},
        {"zunionstore d 2 a b weights 1 2", "1 3 4"},
        {"zunionstore d 2x a b", "1 3 4"},
        {"zunionstore d 0 a", "invalid value"},
        {"sort a limit 0 store store b get store", "1 6"},
        {"sort a by store", "1"},
        {"sort_ro a get #", "1"},
        {"migrate h 1 k 0 9", "3"},
        {"migrate h 1 () 0 9 auth keys keys a b", "9 10"},
        {"migrate h 1 k 0 9 keys a", "invalid value"},
        {"georadius k 1 2 3 m storedist b store a", "1 7 9"},
        {"xread count 1 streams a b 0 0", "4 5"},
        {"xread count 1 streams a b 0", "4"},
        {"xread count 1 a b 0", "invalid value"},
        {"xreadgroup group g c block 0 noack streams a >", "8"},
        {"bitfield k set u8 0 ~", "1"},
        {"set k ~ ex ~ get", "1"},
        {"pfmerge d", "1"},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        const char *got = keys_of(cases[i][0]);
        if (strcmp(got, cases[i][1]) != 0) fail_msg("%s: %s instead of %s", cases[i][0], got, cases[i][1]);
    }
}

static void test_keys_early(void **state) {
    (void)state;
    static const struct {
        const char *line;
        int have;
    } cases[] = {
        {"ping", 0},
        {"set k v", 2},
        {"set k ~ ex 10", 2},
        {"append k v", 2},
        {"mset a 1 b 2", 4},
        {"mget a b c", 4},
        {"eval s 0 x", 3},
        {"eval s 2 a b c d", 5},
        {"eval s x a", -1},
        {"eval s 9 a", -1},
        {"sort a limit 0 1", 3},
        {"sort_ro a by x", 2},
        {"bitfield k set u8 0 1", 2},
        {"zunionstore d 2 a b weights 1 1", 5},
        {"xread streams a b 0 0", 4},
        {"xadd k * f v", 2},
        {"migrate h 1 k 0 9", 5},
        {"migrate h 1 k 0 9 copy replace", 7},
        {"restore k 0 v", 2},
        {"get", -1},
        {"georadius k 1 2 3 m asc", 2},
        {"georadius k 1 2 3 m count 1", 7},
        {"object encoding k", 3},
    };
    for (size_t i = 0; i < KW_ARRAY_LEN(cases); i++) {
        int have = early(cases[i].line);
        if (have != cases[i].have) fail_msg("%s: known at %d instead of %d", cases[i].line, have, cases[i].have);
    }
}

/* A count that a peer declares costs no memory before the arguments are here. */
static void test_early_allocates_nothing(void **state) {
    (void)state;
    struct request *r = request("eval s 900000 a b");
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    assert_int_equal(kw_command_keys_early(lookup("eval"), r->argv, 1000000, 5, &keys), 0);
    assert_int_equal(kw_command_keys_early(lookup("mget"), r->argv, 1000000, 5, &keys), 0);
    assert_ptr_equal(keys.pos, keys.inline_pos);
    kw_key_positions_deinit(&keys);
}

static void test_many_keys_and_no_memory(void **state) {
    (void)state;
    enum { COUNT = 1000 };
    struct kw_arg argv[COUNT + 1] = {{.data = "mget", .len = 4}};
    for (size_t i = 1; i <= COUNT; i++) argv[i] = (struct kw_arg){.data = "k", .len = 1};
    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    kw_alloc_fail_nth(1);
    assert_int_equal(kw_command_keys(lookup("mget"), argv, COUNT + 1, &keys), KW_ENOMEM);
    assert_int_equal(keys.count, 0);
    kw_alloc_fail_nth(0);
    for (int again = 0; again < 2; again++) {
        assert_int_equal(kw_command_keys(lookup("mget"), argv, COUNT + 1, &keys), COUNT);
        for (unsigned i = 0; i < COUNT; i++) assert_int_equal(keys.pos[i], i + 1);
        assert_int_equal(kw_command_keys(lookup("mget"), argv, 3, &keys), 2);
    }
    kw_key_positions_deinit(&keys);
}

static int learn_named(const char *name, int arity, bool container) {
    struct kw_command_learned what = {.name = name,
                                      .name_len = strlen(name),
                                      .arity = arity,
                                      .first_key = 1,
                                      .last_key = 1,
                                      .key_step = 1,
                                      .container = container};
    return kw_command_learn(&what);
}

static void test_learn(void **state) {
    (void)state;
    unsigned before = kw_command_count();
    assert_null(lookup("json.get"));
    assert_int_equal(learn_named("JSON.GET", -2, false), 1);
    assert_int_equal(learn_named("json.get", 5, false), 0);
    const struct kw_command *cmd = lookup("Json.Get");
    assert_non_null(cmd);
    assert_int_equal(cmd->arity, -2);
    assert_string_equal(cmd->name, "json.get");
    assert_int_equal(cmd->id, before);
    assert_ptr_equal(kw_command_by_id(before), cmd);
    assert_int_equal(cmd->origin, KW_COMMAND_LEARNED);
    assert_string_equal(keys_of("JSON.GET doc path"), "1");
    assert_int_equal(learn_named("get", -9, false), 0);
    assert_int_equal(lookup("get")->arity, 2);

    assert_int_equal(learn_named("ft", -2, true), 1);
    assert_int_equal(learn_named("ft|list", 2, false), 1);
    assert_int_equal(learn_named("client|future", 2, false), 1);
    assert_string_equal(resolved("FT List"), "ft|list");
    assert_string_equal(resolved("ft none"), "ft");
    assert_string_equal(resolved("CLIENT FUTURE"), "client|future");
    assert_int_equal(learn_named("get|x", 2, false), KW_EINVALID);
    assert_int_equal(learn_named("none|x", 2, false), KW_EINVALID);
    assert_int_equal(learn_named("ft|", 2, false), KW_EINVALID);
    assert_int_equal(learn_named("", 2, false), KW_EINVALID);
    assert_int_equal(learn_named("with space", 2, false), KW_EINVALID);
    assert_int_equal(learn_named("no.arity", 0, false), KW_EINVALID);
    assert_int_equal(kw_command_count(), before + 4);

    kw_alloc_fail_nth(1);
    assert_int_equal(learn_named("later", 2, false), KW_ENOMEM);
    kw_alloc_fail_nth(0);
    assert_null(lookup("later"));
}

static void test_learn_key_specs(void **state) {
    (void)state;
    const struct kw_key_spec specs[] = {
        {.begin = KW_BEGIN_KEYWORD,
         .begin_at = -1,
         .keyword = "INTO",
         .find = KW_FIND_RANGE,
         .range = {0, 1, 0},
         .flags = KW_KEY_OW},
        {.begin = KW_BEGIN_INDEX, .begin_at = 1, .find = KW_FIND_KEYNUM, .keynum = {0, 1, 1}, .flags = KW_KEY_RO},
    };
    const char *const tips[] = {"request_policy:all_shards", "response_policy:agg_min"};
    struct kw_command_learned what = {.name = "mod.merge",
                                      .name_len = 9,
                                      .arity = -3,
                                      .flags = KW_CMD_WRITE | KW_CMD_MOVABLEKEYS,
                                      .key_specs = specs,
                                      .key_spec_count = 2,
                                      .tips = tips,
                                      .tip_count = 2};
    assert_int_equal(kw_command_learn(&what), 1);
    assert_string_equal(keys_of("mod.merge 2 a b"), "2 3");
    assert_string_equal(keys_of("mod.merge 2 a b into c"), "2 3 5");
    assert_string_equal(keys_of("mod.merge x a"), "invalid value");
    assert_int_equal(lookup("mod.merge")->request_policy, KW_REQ_ALL_SHARDS);
    assert_int_equal(lookup("mod.merge")->response_policy, KW_RESP_AGG_MIN);

    struct kw_key_spec bad = specs[1];
    bad.keynum.step = 0;
    what.name = "mod.wrong";
    what.key_specs = &bad;
    what.key_spec_count = 1;
    assert_int_equal(kw_command_learn(&what), KW_EINVALID);

    /* Movable keys that only the module can tell. */
    what = (struct kw_command_learned){.name = "mod.own", .name_len = 7, .arity = -2, .flags = KW_CMD_MOVABLEKEYS};
    assert_int_equal(kw_command_learn(&what), 1);
    assert_string_equal(keys_of("mod.own a"), "invalid value");
}

static int learn_text(const char *resp) {
    redisReader *reader = redisReaderCreate();
    void *reply = NULL;
    redisReaderFeed(reader, resp, strlen(resp));
    assert_int_equal(redisReaderGetReply(reader, &reply), REDIS_OK);
    int result = kw_command_learn_reply(reply);
    freeReplyObject(reply);
    redisReaderFree(reader);
    return result;
}

static void test_learn_reply(void **state) {
    (void)state;
    assert_int_equal(learn_text(":1\r\n"), KW_EPROTOCOL);
    assert_int_equal(learn_text("*0\r\n"), 0);
    assert_int_equal(learn_text("*3\r\n$-1\r\n:1\r\n*1\r\n$1\r\nx\r\n"), 0);
    assert_int_equal(
        learn_text(
            "*1\r\n*7\r\n$6\r\nTD.ADD\r\n:-3\r\n*2\r\n+write\r\n+denyoom\r\n:1\r\n:1\r\n:1\r\n*1\r\n+@write\r\n"),
        1);
    const struct kw_command *cmd = lookup("td.add");
    assert_non_null(cmd);
    assert_true(cmd->flags == (KW_CMD_WRITE | KW_CMD_DENYOOM));
    assert_true(cmd->acl_categories == KW_ACL_WRITE);
    assert_true(cmd->keys_simple);
    assert_int_equal(learn_text("*1\r\n*7\r\n$6\r\nTD.ADD\r\n:-3\r\n*0\r\n:1\r\n:99999999999\r\n:1\r\n*0\r\n"), 0);
}

enum { LEARNERS_COMMANDS = 300 };
static atomic_bool learning_done;

static void *look_up_all_the_time(void *arg) {
    unsigned *seen = arg;
    while (!atomic_load(&learning_done) || *seen == 0) {
        char name[32];
        for (unsigned i = 0; i < LEARNERS_COMMANDS; i++) {
            int len = snprintf(name, sizeof(name), "thread.%u", i);
            const struct kw_command *cmd = kw_command_lookup(name, (size_t)len);
            if (!cmd) break; /* published in this order */
            if (strcmp(cmd->name, name) != 0 || cmd->arity != -2 || kw_command_by_id(cmd->id) != cmd) abort();
            *seen = i + 1;
        }
        if (kw_command_lookup("get", 3)->arity != 2) abort();
    }
    return NULL;
}

static void test_learning_beside_lookups(void **state) {
    (void)state;
    pthread_t threads[2];
    unsigned seen[2] = {0};
    for (size_t i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, look_up_all_the_time, &seen[i]), 0);
    for (unsigned i = 0; i < LEARNERS_COMMANDS; i++) {
        char name[32];
        snprintf(name, sizeof(name), "thread.%u", i);
        assert_int_equal(learn_named(name, -2, false), 1);
    }
    atomic_store(&learning_done, true);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_true(seen[i] > 0);
    }
}

static const char *reply_to(int resp, const char *line) {
    static struct kw_str out;
    struct request *r = request(line);
    kw_str_clear(&out);
    kw_command_reply(&out, resp, r->argv, r->argc);
    return out.data;
}

static void test_replies(void **state) {
    (void)state;
    assert_string_equal(reply_to(2, "command getkeys mset a 1 b 2"), "*2\r\n$1\r\na\r\n$1\r\nb\r\n");
    assert_string_equal(reply_to(2, "command getkeysandflags get a"),
                        "*1\r\n*2\r\n$1\r\na\r\n*2\r\n+RO\r\n+access\r\n");
    assert_string_equal(reply_to(3, "command getkeysandflags get a"),
                        "*1\r\n*2\r\n$1\r\na\r\n~2\r\n+RO\r\n+access\r\n");
    assert_string_equal(reply_to(2, "command info nothing"), "*1\r\n$-1\r\n");
    assert_string_equal(reply_to(3, "command info ~"), "*1\r\n_\r\n");
    assert_string_equal(reply_to(2, "command list filterby pattern xinfo|str*"), "*1\r\n$12\r\nxinfo|stream\r\n");
    assert_string_equal(reply_to(2, "command list filterby pattern ~"), "-ERR syntax error\r\n");
    assert_string_equal(reply_to(2, "command docs nothing"), "*0\r\n");
    assert_string_equal(reply_to(3, "command docs nothing"), "%0\r\n");
    assert_string_equal(reply_to(2, "command ~"), "-ERR unknown subcommand ''. Try COMMAND HELP.\r\n");
    assert_string_equal(reply_to(2, "command info waitaof"), "*1\r\n$-1\r\n");
    kw_command_show_valkey(true);
    assert_memory_equal(reply_to(2, "command info waitaof"), "*1\r\n*10\r\n$7\r\nwaitaof\r\n", 22);
    kw_command_show_valkey(false);
}

/* Last: fills what may be learned. */
static void test_learning_is_bounded(void **state) {
    (void)state;
    char name[32];
    int result = 0;
    for (unsigned i = 0; i <= KW_COMMAND_LEARNED_MAX; i++) {
        snprintf(name, sizeof(name), "fill.%u", i);
        result = learn_named(name, 2, false);
        if (result != 1) break;
    }
    assert_int_equal(result, KW_ELIMIT);
    assert_int_equal(kw_command_count(), kw_command_table_count() + KW_COMMAND_LEARNED_MAX);
    assert_non_null(lookup("fill.0"));
    assert_non_null(lookup("json.get"));
    assert_null(lookup("fill.99999"));
    for (unsigned id = 0; id < kw_command_count(); id++)
        assert_ptr_equal(full(kw_command_by_id(id)->name), kw_command_by_id(id));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_name_is_found),
        cmocka_unit_test(test_lookup_refuses_what_is_no_name),
        cmocka_unit_test(test_resolve),
        cmocka_unit_test(test_table_facts),
        cmocka_unit_test(test_arity),
        cmocka_unit_test(test_keys),
        cmocka_unit_test(test_keys_early),
        cmocka_unit_test(test_early_allocates_nothing),
        cmocka_unit_test(test_many_keys_and_no_memory),
        cmocka_unit_test(test_learn),
        cmocka_unit_test(test_learn_key_specs),
        cmocka_unit_test(test_learn_reply),
        cmocka_unit_test(test_learning_beside_lookups),
        cmocka_unit_test(test_replies),
        cmocka_unit_test(test_learning_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
