/* The table of fields and their combination; the order is the one in which Redis prints them. */
#include "proxy/local/info_fields.h"

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"

enum combine { SUM, MAX, MIN, FIRST, HUMAN, RATIO, WORST };

static const struct {
    const char *section;
    const char *name;
    enum combine combine;
    const char *of; /* HUMAN: the field it tells; RATIO: "a/b" by index of the two fields before it in the table */
} fields[] = {
    {"server", "redis_version", FIRST, NULL},
    {"memory", "used_memory", SUM, NULL},
    {"memory", "used_memory_human", HUMAN, "used_memory"},
    {"memory", "used_memory_rss", SUM, NULL},
    {"memory", "used_memory_rss_human", HUMAN, "used_memory_rss"},
    {"memory", "used_memory_peak", SUM, NULL},
    {"memory", "used_memory_peak_human", HUMAN, "used_memory_peak"},
    {"memory", "used_memory_overhead", SUM, NULL},
    {"memory", "used_memory_dataset", SUM, NULL},
    {"memory", "total_system_memory", MAX, NULL},
    {"memory", "total_system_memory_human", HUMAN, "total_system_memory"},
    {"memory", "used_memory_lua", SUM, NULL},
    {"memory", "used_memory_scripts", SUM, NULL},
    {"memory", "number_of_cached_scripts", MAX, NULL},
    {"memory", "number_of_functions", MAX, NULL},
    {"memory", "number_of_libraries", MAX, NULL},
    {"memory", "maxmemory", SUM, NULL},
    {"memory", "maxmemory_human", HUMAN, "maxmemory"},
    {"memory", "maxmemory_policy", FIRST, NULL},
    {"memory", "mem_fragmentation_ratio", RATIO, NULL},
    {"memory", "mem_fragmentation_bytes", SUM, NULL},
    {"memory", "mem_not_counted_for_evict", SUM, NULL},
    {"memory", "mem_clients_normal", SUM, NULL},
    {"memory", "mem_aof_buffer", SUM, NULL},
    {"memory", "mem_allocator", FIRST, NULL},
    {"memory", "lazyfree_pending_objects", SUM, NULL},
    {"memory", "lazyfreed_objects", SUM, NULL},
    {"persistence", "loading", MAX, NULL},
    {"persistence", "async_loading", MAX, NULL},
    {"persistence", "rdb_changes_since_last_save", SUM, NULL},
    {"persistence", "rdb_bgsave_in_progress", MAX, NULL},
    {"persistence", "rdb_last_save_time", MIN, NULL},
    {"persistence", "rdb_last_bgsave_status", WORST, NULL},
    {"persistence", "rdb_last_bgsave_time_sec", MAX, NULL},
    {"persistence", "rdb_saves", SUM, NULL},
    {"persistence", "aof_enabled", MIN, NULL},
    {"persistence", "aof_rewrite_in_progress", MAX, NULL},
    {"persistence", "aof_rewrite_scheduled", MAX, NULL},
    {"persistence", "aof_last_bgrewrite_status", WORST, NULL},
    {"persistence", "aof_last_write_status", WORST, NULL},
    {"persistence", "aof_current_size", SUM, NULL},
    {"persistence", "aof_base_size", SUM, NULL},
    {"stats", "instantaneous_ops_per_sec", SUM, NULL},
    {"stats", "sync_full", SUM, NULL},
    {"stats", "sync_partial_ok", SUM, NULL},
    {"stats", "sync_partial_err", SUM, NULL},
    {"stats", "expired_keys", SUM, NULL},
    {"stats", "evicted_keys", SUM, NULL},
    {"stats", "keyspace_hits", SUM, NULL},
    {"stats", "keyspace_misses", SUM, NULL},
    {"stats", "latest_fork_usec", MAX, NULL},
    {"stats", "total_forks", SUM, NULL},
    {"stats", "tracking_total_keys", SUM, NULL},
    {"stats", "tracking_total_items", SUM, NULL},
    {"stats", "tracking_total_prefixes", MAX, NULL},
    {"replication", "connected_slaves", SUM, NULL},
    {"replication", "master_replid", FIRST, NULL},
    {"replication", "master_repl_offset", SUM, NULL},
};
_Static_assert(KW_ARRAY_LEN(fields) <= KW_INFO_FIELDS_MAX, "struct kw_info_shards has too little room");

static const struct {
    const char *name;
    enum kw_info_section section;
    bool by_default;
    bool asks_shards;
} sections_known[] = {
    {"server", KW_INFO_SERVER, true, true},
    {"clients", KW_INFO_CLIENTS, true, false},
    {"memory", KW_INFO_MEMORY, true, true},
    {"persistence", KW_INFO_PERSISTENCE, true, true},
    {"stats", KW_INFO_STATS, true, true},
    {"replication", KW_INFO_REPLICATION, true, true},
    {"cpu", KW_INFO_CPU, true, false},
    {"modules", KW_INFO_MODULES, true, false},
    {"commandstats", KW_INFO_COMMANDSTATS, false, false},
    {"errorstats", KW_INFO_ERRORSTATS, true, false},
    {"cluster", KW_INFO_CLUSTER, true, false},
    {"keyspace", KW_INFO_KEYSPACE, true, true},
    {"keyway", KW_INFO_KEYWAY, true, true},
    {"metadata", KW_INFO_METADATA, true, false},
};

static bool arg_is(const struct kw_arg *arg, const char *word) {
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

void kw_info_sections_parse(struct kw_info_sections *sections, const struct kw_arg *args, size_t count) {
    *sections = (struct kw_info_sections){0};
    for (size_t i = 0; i < KW_ARRAY_LEN(sections_known); i++) {
        bool *wanted = &sections->wanted[sections_known[i].section];
        if (count == 0) *wanted = sections_known[i].by_default;
        for (size_t a = 0; a < count; a++) {
            if (arg_is(&args[a], sections_known[i].name) || arg_is(&args[a], "all") || arg_is(&args[a], "everything") ||
                (arg_is(&args[a], "default") && sections_known[i].by_default)) {
                *wanted = true;
            }
        }
    }
}

bool kw_info_sections_need_shards(const struct kw_info_sections *sections) {
    for (size_t i = 0; i < KW_ARRAY_LEN(sections_known); i++) {
        if (sections->wanted[sections_known[i].section] && sections_known[i].asks_shards) return true;
    }
    return false;
}

static void take_number(struct kw_info_shards *shards, size_t at, long long value) {
    long long *have = &shards->number[at];
    if (!shards->seen[at] && fields[at].combine != SUM) {
        *have = value;
        return;
    }
    switch (fields[at].combine) {
    case MAX: *have = value > *have ? value : *have; break;
    case MIN: *have = value < *have ? value : *have; break;
    default:
        /* A counter that a node has let run below zero is printed unsigned there: keep what we have. */
        if (__builtin_add_overflow(*have, value, have)) *have = INT64_MAX;
        break;
    }
}

static void take_field(struct kw_info_shards *shards, const char *name, size_t name_len, const char *value,
                       size_t value_len) {
    for (size_t at = 0; at < KW_ARRAY_LEN(fields); at++) {
        if (strlen(fields[at].name) != name_len || memcmp(fields[at].name, name, name_len) != 0) continue;
        take_number(shards, at, strtoll(value, NULL, 10));
        bool worse = fields[at].combine == WORST && strncmp(value, "ok", 2) != 0;
        if (!shards->seen[at] || worse) {
            snprintf(shards->text[at], KW_INFO_TEXT_MAX, "%.*s", (int)value_len, value);
        }
        shards->seen[at] = true;
        return;
    }
}

/* db0:keys=2,expires=1,avg_ttl=500 */
static void take_keyspace(struct kw_info_shards *shards, const char *value) {
    unsigned long long keys = 0, expires = 0, ttl = 0;
    if (sscanf(value, "keys=%llu,expires=%llu,avg_ttl=%llu", &keys, &expires, &ttl) < 2) return;
    shards->keys += keys;
    shards->expires += expires;
    shards->ttl_sum += ttl * expires;
}

void kw_info_shards_add(struct kw_info_shards *shards, const char *text) {
    /* Skip the header of a bulk or verbatim string, if it is there. */
    if (*text == '$' || *text == '=') text += strcspn(text, "\n");
    shards->answered++;
    while (*text) {
        size_t len = strcspn(text, "\r\n");
        const char *colon = memchr(text, ':', len);
        if (colon) {
            size_t name_len = (size_t)(colon - text);
            if (name_len == 3 && memcmp(text, "db0", 3) == 0) {
                take_keyspace(shards, colon + 1);
            } else {
                take_field(shards, text, name_len, colon + 1, len - name_len - 1);
            }
        }
        text += len;
        text += strspn(text, "\r\n");
    }
}

void kw_info_shards_deinit(struct kw_info_shards *shards) {
    *shards = (struct kw_info_shards){0};
}

static size_t find_field(const char *name) {
    for (size_t at = 0; at < KW_ARRAY_LEN(fields); at++) {
        if (strcmp(fields[at].name, name) == 0) return at;
    }
    KW_ASSERT(name == NULL); /* only names of the table are asked for */
    return 0;
}

const char *kw_info_text(const struct kw_info_shards *shards, const char *field) {
    size_t at = find_field(field);
    return shards->seen[at] ? shards->text[at] : NULL;
}

/* As Redis's bytesToHuman. */
static void print_human(struct kw_str *out, long long bytes) {
    static const char units[] = "BKMGTP";
    double value = (double)bytes;
    size_t unit = 0;
    while (value >= 1024 && unit + 2 < sizeof(units)) {
        value /= 1024;
        unit++;
    }
    if (unit == 0) {
        kw_str_printf(out, "%lldB", bytes);
    } else {
        kw_str_printf(out, "%.2f%c", value, units[unit]);
    }
}

static void print_value(const struct kw_info_shards *shards, size_t at, struct kw_str *out) {
    switch (fields[at].combine) {
    case HUMAN: print_human(out, shards->number[find_field(fields[at].of)]); break;
    case RATIO: {
        long long used = shards->number[find_field("used_memory")];
        long long rss = shards->number[find_field("used_memory_rss")];
        kw_str_printf(out, "%.2f", used ? (double)rss / (double)used : 0.0);
        break;
    }
    case FIRST:
    case WORST: kw_str_append_text(out, shards->text[at]); break;
    default: kw_str_printf(out, "%lld", shards->number[at]); break;
    }
}

void kw_info_print_fields(const struct kw_info_shards *shards, const char *section, struct kw_str *out) {
    for (size_t at = 0; at < KW_ARRAY_LEN(fields); at++) {
        if (strcmp(fields[at].section, section) != 0 || !shards->seen[at]) continue;
        kw_str_printf(out, "%s:", fields[at].name);
        print_value(shards, at, out);
        kw_str_append(out, "\r\n", 2);
    }
}

void kw_info_print_keyspace(const struct kw_info_shards *shards, struct kw_str *out) {
    if (!shards->keys) return;
    unsigned long long ttl = shards->expires ? shards->ttl_sum / shards->expires : 0;
    kw_str_printf(out, "db0:keys=%llu,expires=%llu,avg_ttl=%llu\r\n", shards->keys, shards->expires, ttl);
}
