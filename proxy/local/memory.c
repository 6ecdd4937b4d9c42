/*
 * MEMORY over the shards: STATS adds up what is a number of bytes, keys or
 * clients, and makes percentages and ratios anew from the sums; what the doctor
 * and the allocator say stays each shard's own, under its name.
 */
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/gather.h"
#include "proxy/local/local.h"

static bool name_is(const redisReply *name, const char *text) {
    return name->len == strlen(text) && memcmp(name->str, text, name->len) == 0;
}

/* What one list of names and values says of a name; NULL: nothing. */
static const redisReply *value_of(const redisReply *pairs, const char *name, size_t len) {
    for (size_t i = 0; i + 1 < kw_reply_len(pairs); i += 2) {
        const redisReply *at = kw_reply_at(pairs, i, REDIS_REPLY_STRING);
        if (at && at->len == len && memcmp(at->str, name, len) == 0) return pairs->element[i + 1];
    }
    return NULL;
}

static double sum_of(const struct kw_gathered *all, const char *name) {
    double sum = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        const redisReply *value = value_of(all->replies[i], name, strlen(name));
        if (value && value->type == REDIS_REPLY_INTEGER) sum += (double)value->integer;
    }
    return sum;
}

/* Resident memory of the processes: not a field of its own, but all that is resident and the rest. */
static double resident(const struct kw_gathered *all) {
    return sum_of(all, "allocator.resident") + sum_of(all, "rss-overhead.bytes");
}

static double net(const struct kw_gathered *all) {
    return sum_of(all, "total.allocated") - sum_of(all, "startup.allocated");
}

static double used(const struct kw_gathered *all) {
    return resident(all) - sum_of(all, "fragmentation.bytes");
}

static double field_dataset(const struct kw_gathered *all) {
    return sum_of(all, "dataset.bytes");
}

static double field_peak(const struct kw_gathered *all) {
    return sum_of(all, "peak.allocated");
}

static double field_total(const struct kw_gathered *all) {
    return sum_of(all, "total.allocated");
}

static double field_allocated(const struct kw_gathered *all) {
    return sum_of(all, "allocator.allocated");
}

static double field_active(const struct kw_gathered *all) {
    return sum_of(all, "allocator.active");
}

static double field_resident(const struct kw_gathered *all) {
    return sum_of(all, "allocator.resident");
}

static double field_keys(const struct kw_gathered *all) {
    return sum_of(all, "keys.count");
}

/* Fields that are no sums: a quotient of sums, times `scale`. */
static const struct quotient {
    const char *name;
    double (*above)(const struct kw_gathered *all);
    double (*below)(const struct kw_gathered *all);
    double scale;
    bool whole; /* an integer */
} quotients[] = {
    {"keys.bytes-per-key", net, field_keys, 1, true},
    {"dataset.percentage", field_dataset, net, 100, false},
    {"peak.percentage", field_total, field_peak, 100, false},
    {"allocator-fragmentation.ratio", field_active, field_allocated, 1, false},
    {"allocator-rss.ratio", field_resident, field_active, 1, false},
    {"rss-overhead.ratio", resident, field_resident, 1, false},
    {"fragmentation", resident, used, 1, false},
};

static const struct quotient *quotient_named(const redisReply *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(quotients); i++) {
        if (name_is(name, quotients[i].name)) return &quotients[i];
    }
    return NULL;
}

static void print_quotient(const struct kw_gathered *all, const struct quotient *field) {
    double below = field->below(all);
    double value = below > 0 ? field->above(all) * field->scale / below : 0;
    if (field->whole) {
        kw_str_resp_int(all->out, (long long)value);
    } else {
        kw_str_resp_double(all->out, all->resp, (double)(float)value); /* a float, as the servers keep it */
    }
}

/* db.0 and the like: a list within the list, its numbers summed. */
static void print_inner(const struct kw_gathered *all, const redisReply *name, const redisReply *first) {
    kw_str_resp_map(all->out, all->resp, kw_reply_len(first) / 2);
    for (size_t i = 0; i + 1 < kw_reply_len(first); i += 2) {
        const redisReply *inner = first->element[i];
        long long sum = 0;
        for (uint32_t n = 0; inner->type == REDIS_REPLY_STRING && n < all->count; n++) {
            const redisReply *outer = value_of(all->replies[n], name->str, name->len);
            const redisReply *value = outer ? value_of(outer, inner->str, inner->len) : NULL;
            if (value && value->type == REDIS_REPLY_INTEGER) sum += value->integer;
        }
        kw_str_resp_bulk(all->out, inner->str ? inner->str : "", inner->len);
        kw_str_resp_int(all->out, sum);
    }
}

static void print_field(const struct kw_gathered *all, const redisReply *name, const redisReply *value) {
    kw_str_resp_bulk(all->out, name->str, name->len);
    const struct quotient *quotient = quotient_named(name);
    if (quotient) {
        print_quotient(all, quotient);
    } else if (value->type == REDIS_REPLY_ARRAY) {
        print_inner(all, name, value);
    } else if (value->type == REDIS_REPLY_INTEGER) {
        kw_str_resp_int(all->out, (long long)sum_of(all, name->str));
    } else {
        /* A ratio that is not known here: the first shard's stands for all. */
        kw_str_resp_double(all->out, all->resp, value->str ? strtod(value->str, NULL) : 0);
    }
}

/* The one that says most gives the fields: an empty shard has no db.0. */
static const redisReply *longest(const struct kw_gathered *all) {
    const redisReply *found = all->replies[0];
    for (uint32_t i = 1; i < all->count; i++) {
        if (kw_reply_len(all->replies[i]) > kw_reply_len(found)) found = all->replies[i];
    }
    return found;
}

static void finish_stats(struct kw_gathered *all) {
    const redisReply *fields = longest(all);
    for (size_t i = 0; i + 1 < kw_reply_len(fields); i += 2) {
        if (fields->element[i]->type != REDIS_REPLY_STRING) return;
    }
    kw_str_resp_map(all->out, all->resp, kw_reply_len(fields) / 2);
    for (size_t i = 0; i + 1 < kw_reply_len(fields); i += 2) {
        print_field(all, fields->element[i], fields->element[i + 1]);
    }
}

void kw_local_memory_stats(struct kw_local_call *call) {
    kw_gather(call, finish_stats, NULL);
}

void kw_local_memory_texts(struct kw_local_call *call) {
    kw_gather(call, kw_gather_texts, NULL);
}
