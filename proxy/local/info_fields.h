/* INFO of the shards, brought together: which fields, and what one number for all of them is. Pure. */
#ifndef KW_PROXY_INFO_FIELDS_H
#define KW_PROXY_INFO_FIELDS_H

#include <stdbool.h>
#include <stddef.h>

#include "base/arg.h"
#include "base/str.h"

enum kw_info_section {
    KW_INFO_SERVER,
    KW_INFO_CLIENTS,
    KW_INFO_MEMORY,
    KW_INFO_PERSISTENCE,
    KW_INFO_STATS,
    KW_INFO_REPLICATION,
    KW_INFO_CPU,
    KW_INFO_MODULES,
    KW_INFO_COMMANDSTATS,
    KW_INFO_ERRORSTATS,
    KW_INFO_CLUSTER,
    KW_INFO_KEYSPACE,
    KW_INFO_KEYWAY,
    KW_INFO_METADATA,
    KW_INFO_SECTIONS
};

struct kw_info_sections {
    bool wanted[KW_INFO_SECTIONS];
};

enum { KW_INFO_FIELDS_MAX = 64, KW_INFO_TEXT_MAX = 64 };

struct kw_info_shards {
    unsigned answered;
    bool seen[KW_INFO_FIELDS_MAX];
    long long number[KW_INFO_FIELDS_MAX];
    char text[KW_INFO_FIELDS_MAX][KW_INFO_TEXT_MAX];
    unsigned long long keys, expires, ttl_sum;
};

/* The sections that `args` name: none: the default ones; "all", "everything", "default". */
void kw_info_sections_parse(struct kw_info_sections *sections, const struct kw_arg *args, size_t count);
bool kw_info_sections_need_shards(const struct kw_info_sections *sections);

/* Takes in the INFO text (NUL-terminated) of one shard. */
void kw_info_shards_add(struct kw_info_shards *shards, const char *text);
void kw_info_shards_deinit(struct kw_info_shards *shards);

/* The combined fields of a section, one a line. */
void kw_info_print_fields(const struct kw_info_shards *shards, const char *section, struct kw_str *out);
void kw_info_print_keyspace(const struct kw_info_shards *shards, struct kw_str *out);
/* A field's text; NULL when no shard gave it. */
const char *kw_info_text(const struct kw_info_shards *shards, const char *field);

#endif
