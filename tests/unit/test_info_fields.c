/* INFO of several shards as one: sections, sums, extremes, the worst of states, the keyspace. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "proxy/local/info_fields.h"

static void parse(struct kw_info_sections *sections, const char *a, const char *b) {
    struct kw_arg args[2] = {{a, a ? strlen(a) : 0}, {b, b ? strlen(b) : 0}};
    kw_info_sections_parse(sections, args, (size_t)(a != NULL) + (b != NULL));
}

static void test_sections_by_name(void **state KW_UNUSED) {
    struct kw_info_sections s;
    parse(&s, NULL, NULL);
    assert_true(s.wanted[KW_INFO_SERVER] && s.wanted[KW_INFO_KEYSPACE] && s.wanted[KW_INFO_KEYWAY]);
    assert_false(s.wanted[KW_INFO_COMMANDSTATS]);
    parse(&s, "CommandStats", NULL);
    assert_true(s.wanted[KW_INFO_COMMANDSTATS]);
    assert_false(s.wanted[KW_INFO_SERVER]);
    assert_false(kw_info_sections_need_shards(&s));
    parse(&s, "clients", "MEMORY");
    assert_true(s.wanted[KW_INFO_CLIENTS] && s.wanted[KW_INFO_MEMORY] && !s.wanted[KW_INFO_STATS]);
    assert_true(kw_info_sections_need_shards(&s));
    parse(&s, "default", "commandstats");
    assert_true(s.wanted[KW_INFO_SERVER] && s.wanted[KW_INFO_COMMANDSTATS]);
    parse(&s, "everything", NULL);
    for (int i = 0; i < KW_INFO_SECTIONS; i++) assert_true(s.wanted[i]);
    parse(&s, "all", NULL);
    for (int i = 0; i < KW_INFO_SECTIONS; i++) assert_true(s.wanted[i]);
    parse(&s, "nosuch", "serve");
    for (int i = 0; i < KW_INFO_SECTIONS; i++) assert_false(s.wanted[i]);
}

static void assert_fields(const struct kw_info_shards *shards, const char *section, const char *want) {
    struct kw_str out = {0};
    kw_str_append_text(&out, "");
    kw_info_print_fields(shards, section, &out);
    assert_string_equal(out.data, want);
    kw_str_deinit(&out);
}

static void assert_keyspace(const struct kw_info_shards *shards, const char *want) {
    struct kw_str out = {0};
    kw_str_append_text(&out, "");
    kw_info_print_keyspace(shards, &out);
    assert_string_equal(out.data, want);
    kw_str_deinit(&out);
}

static void test_fields_are_combined_each_in_its_way(void **state KW_UNUSED) {
    struct kw_info_shards shards = {0};
    kw_info_shards_add(&shards, "$999\r\n# Server\r\nredis_version:7.0.15\r\n# Memory\r\nused_memory:1000\r\n"
                                "used_memory_human:1000B\r\nused_memory_rss:3000\r\nmaxmemory_policy:noeviction\r\n"
                                "mem_fragmentation_ratio:3.00\r\n");
    kw_info_shards_add(&shards, "redis_version:7.2.0\nused_memory:1048\nused_memory_human:1.02K\n"
                                "used_memory_rss:3144\nmaxmemory_policy:allkeys-lru\nmem_fragmentation_ratio:3.00\n"
                                "used_memory_nobody_knows:7\nused_memor:9\n");
    assert_int_equal(shards.answered, 2);
    assert_string_equal(kw_info_text(&shards, "redis_version"), "7.0.15");
    assert_null(kw_info_text(&shards, "master_replid"));
    assert_fields(&shards, "server", "redis_version:7.0.15\r\n");
    assert_fields(&shards, "memory",
                  "used_memory:2048\r\nused_memory_human:2.00K\r\nused_memory_rss:6144\r\n"
                  "maxmemory_policy:noeviction\r\nmem_fragmentation_ratio:3.00\r\n");
    assert_fields(&shards, "stats", "");
    kw_info_shards_deinit(&shards);
    assert_fields(&shards, "memory", "");
}

static void test_the_worst_state_and_the_extremes_win(void **state KW_UNUSED) {
    struct kw_info_shards shards = {0};
    kw_info_shards_add(&shards, "loading:0\r\nrdb_last_save_time:200\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
                                "rdb_last_bgsave_time_sec:-1\r\n");
    kw_info_shards_add(&shards, "loading:1\r\nrdb_last_save_time:100\r\nrdb_last_bgsave_status:err\r\naof_enabled:0\r\n"
                                "rdb_last_bgsave_time_sec:-1\r\n");
    kw_info_shards_add(&shards, "loading:0\r\nrdb_last_save_time:300\r\nrdb_last_bgsave_status:ok\r\naof_enabled:1\r\n"
                                "rdb_last_bgsave_time_sec:-1\r\n");
    assert_fields(&shards, "persistence",
                  "loading:1\r\nrdb_last_save_time:100\r\nrdb_last_bgsave_status:err\r\n"
                  "rdb_last_bgsave_time_sec:-1\r\naof_enabled:0\r\n");
    kw_info_shards_deinit(&shards);
}

static void test_human_sizes_as_redis_prints_them(void **state KW_UNUSED) {
    static const struct {
        const char *bytes, *human;
    } rows[] = {{"0", "0B"},
                {"1023", "1023B"},
                {"1024", "1.00K"},
                {"1536", "1.50K"},
                {"1048576", "1.00M"},
                {"1073741824", "1.00G"},
                {"1099511627776", "1.00T"},
                {"1125899906842624", "1.00P"},
                {"1048575", "1024.00K"}};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        struct kw_info_shards shards = {0};
        struct kw_str text = {0}, want = {0};
        kw_str_printf(&text, "maxmemory:%s\r\nmaxmemory_human:x\r\n", rows[i].bytes);
        kw_str_printf(&want, "maxmemory:%s\r\nmaxmemory_human:%s\r\n", rows[i].bytes, rows[i].human);
        kw_info_shards_add(&shards, text.data);
        assert_fields(&shards, "memory", want.data);
        kw_str_deinit(&text);
        kw_str_deinit(&want);
    }
}

static void test_keyspace_adds_up_and_weighs_the_ttl(void **state KW_UNUSED) {
    struct kw_info_shards shards = {0};
    assert_keyspace(&shards, "");
    kw_info_shards_add(&shards, "# Keyspace\r\ndb0:keys=10,expires=1,avg_ttl=1000\r\n");
    kw_info_shards_add(&shards, "# Keyspace\r\n");
    kw_info_shards_add(&shards,
                       "# Keyspace\r\ndb0:keys=5,expires=3,avg_ttl=200,subexpiry=0\r\ndb1:keys=9,expires=0\r\n");
    assert_keyspace(&shards, "db0:keys=15,expires=4,avg_ttl=400\r\n");
    struct kw_info_shards none = {0};
    kw_info_shards_add(&none, "db0:keys=5,expires=0,avg_ttl=0\r\n");
    assert_keyspace(&none, "db0:keys=5,expires=0,avg_ttl=0\r\n");
    struct kw_info_shards odd = {0};
    kw_info_shards_add(&odd, "db0:nonsense\r\n");
    assert_keyspace(&odd, "");
}

static void test_odd_texts_do_no_harm(void **state KW_UNUSED) {
    struct kw_info_shards shards = {0};
    kw_info_shards_add(&shards, "");
    kw_info_shards_add(&shards, "$0");
    kw_info_shards_add(&shards, ":::\r\n\r\n\r\n:\nused_memory:\nused_memory_rss");
    kw_info_shards_add(&shards, "expired_keys:9223372036854775807\r\ntotal_forks:99999999999999999999999\r\n");
    kw_info_shards_add(&shards,
                       "expired_keys:5\r\n"
                       "master_replid:0123456789012345678901234567890123456789012345678901234567890123456789\n");
    assert_fields(&shards, "memory", "used_memory:0\r\n");
    assert_fields(&shards, "stats", "expired_keys:9223372036854775807\r\ntotal_forks:9223372036854775807\r\n");
    assert_int_equal(strlen(kw_info_text(&shards, "master_replid")), KW_INFO_TEXT_MAX - 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sections_by_name),
        cmocka_unit_test(test_fields_are_combined_each_in_its_way),
        cmocka_unit_test(test_the_worst_state_and_the_extremes_win),
        cmocka_unit_test(test_human_sizes_as_redis_prints_them),
        cmocka_unit_test(test_keyspace_adds_up_and_weighs_the_ttl),
        cmocka_unit_test(test_odd_texts_do_no_harm),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
