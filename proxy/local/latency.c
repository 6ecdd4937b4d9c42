/*
 * LATENCY: what the shards have noticed, as if one server had. Of an event the
 * newest sample and the largest maximum count; samples are put in order of
 * time; histograms are added. The graph and the doctor's words stay each
 * shard's own, under its name.
 */
#include <stdlib.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/local/gather.h"
#include "proxy/local/local.h"

/* ---- LATEST */

struct event {
    const redisReply *name;
    long long at, latest, max;
};

static struct event *find_event(struct event *events, size_t count, const redisReply *name) {
    for (size_t i = 0; i < count; i++) {
        if (events[i].name->len == name->len && memcmp(events[i].name->str, name->str, name->len) == 0) {
            return &events[i];
        }
    }
    return NULL;
}

/* [name, time of the newest, its milliseconds, the largest of all times] */
static bool read_event(const redisReply *from, struct event *event) {
    const redisReply *at = kw_reply_at(from, 1, REDIS_REPLY_INTEGER);
    const redisReply *latest = kw_reply_at(from, 2, REDIS_REPLY_INTEGER);
    const redisReply *max = kw_reply_at(from, 3, REDIS_REPLY_INTEGER);
    event->name = kw_reply_at(from, 0, REDIS_REPLY_STRING);
    if (!event->name || !at || !latest || !max) return false;
    event->at = at->integer;
    event->latest = latest->integer;
    event->max = max->integer;
    return true;
}

static size_t add_event(struct event *events, size_t count, const struct event *fresh) {
    struct event *known = find_event(events, count, fresh->name);
    if (!known) {
        events[count] = *fresh;
        return count + 1;
    }
    if (fresh->at > known->at || (fresh->at == known->at && fresh->latest > known->latest)) {
        known->at = fresh->at;
        known->latest = fresh->latest;
    }
    if (fresh->max > known->max) known->max = fresh->max;
    return count;
}

static size_t count_elements(const struct kw_gathered *all) {
    size_t count = 0;
    for (uint32_t i = 0; i < all->count; i++) count += kw_reply_len(all->replies[i]);
    return count;
}

static void finish_latest(struct kw_gathered *all) {
    struct event *events = kw_calloc(count_elements(all) + 1, sizeof(*events));
    size_t count = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        for (size_t n = 0; n < kw_reply_len(all->replies[i]); n++) {
            struct event event;
            if (read_event(all->replies[i]->element[n], &event)) count = add_event(events, count, &event);
        }
    }
    kw_str_resp_array(all->out, count);
    for (size_t i = 0; i < count; i++) {
        kw_str_resp_array(all->out, 4);
        kw_str_resp_bulk(all->out, events[i].name->str, events[i].name->len);
        kw_str_resp_int(all->out, events[i].at);
        kw_str_resp_int(all->out, events[i].latest);
        kw_str_resp_int(all->out, events[i].max);
    }
    kw_free(events);
}

void kw_local_latency_latest(struct kw_local_call *call) {
    kw_gather(call, finish_latest, NULL);
}

/* ---- HISTORY */

struct sample {
    long long at, took;
    size_t nth; /* keeps the order of a shard's own */
};

static int by_time(const void *a, const void *b) {
    const struct sample *x = a, *y = b;
    if (x->at != y->at) return x->at < y->at ? -1 : 1;
    return x->nth < y->nth ? -1 : 1;
}

static void finish_history(struct kw_gathered *all) {
    struct sample *samples = kw_calloc(count_elements(all) + 1, sizeof(*samples));
    size_t count = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        for (size_t n = 0; n < kw_reply_len(all->replies[i]); n++) {
            const redisReply *at = kw_reply_at(all->replies[i]->element[n], 0, REDIS_REPLY_INTEGER);
            const redisReply *took = kw_reply_at(all->replies[i]->element[n], 1, REDIS_REPLY_INTEGER);
            if (!at || !took) continue;
            samples[count] = (struct sample){at->integer, took->integer, count};
            count++;
        }
    }
    qsort(samples, count, sizeof(*samples), by_time);
    kw_str_resp_array(all->out, count);
    for (size_t i = 0; i < count; i++) {
        kw_str_resp_array(all->out, 2);
        kw_str_resp_int(all->out, samples[i].at);
        kw_str_resp_int(all->out, samples[i].took);
    }
    kw_free(samples);
}

void kw_local_latency_history(struct kw_local_call *call) {
    kw_gather(call, finish_history, NULL);
}

/* ---- GRAPH, DOCTOR */

/* Shards that have no sample of the event have nothing to draw; it is an error where none has one. */
static void finish_graph(struct kw_gathered *all) {
    static const char no_samples[] = "ERR No samples available for event";
    uint32_t kept = 0;
    const redisReply *error = NULL, *worse = NULL;
    for (uint32_t i = 0; i < all->count; i++) {
        redisReply *reply = all->replies[i];
        if (reply->type == REDIS_REPLY_ERROR) {
            error = reply;
            if (strncmp(reply->str, no_samples, sizeof(no_samples) - 1) != 0) worse = reply;
            continue;
        }
        const char *name = all->names[i];
        /* Swapped, not dropped: the whole array is given back in the end. */
        all->replies[i] = all->replies[kept];
        all->names[i] = all->names[kept];
        all->replies[kept] = reply;
        all->names[kept++] = name;
    }
    if (worse || kept == 0) {
        if (error) kw_str_resp_error(all->out, "%s", (worse ? worse : error)->str);
        return;
    }
    struct kw_gathered some = *all;
    some.count = kept;
    kw_gather_texts(&some);
}

void kw_local_latency_graph(struct kw_local_call *call) {
    struct kw_gather_options options = {.tolerant = true};
    kw_gather(call, finish_graph, &options);
}

void kw_local_latency_doctor(struct kw_local_call *call) {
    kw_gather(call, kw_gather_texts, NULL);
}

/* ---- HISTOGRAM */

/* Of one command: how many calls took at most so long, at the bounds that any shard names. */
struct histogram {
    const redisReply *name;
    long long calls;
    const redisReply **of; /* own array; the buckets of each shard that has the command */
    uint32_t of_count;
};

static struct histogram *histogram_of(struct histogram *all, size_t *count, const redisReply *name, uint32_t shards) {
    for (size_t i = 0; i < *count; i++) {
        if (all[i].name->len == name->len && memcmp(all[i].name->str, name->str, name->len) == 0) return &all[i];
    }
    struct histogram *fresh = &all[(*count)++];
    fresh->name = name;
    fresh->of = kw_calloc(shards, sizeof(redisReply *));
    return fresh;
}

/* name, ["calls", n, "histogram_usec", [bound, calls up to it, ...]], ... */
static size_t read_histograms(const redisReply *from, struct histogram *all, size_t count, uint32_t shards) {
    for (size_t i = 0; i + 1 < kw_reply_len(from); i += 2) {
        const redisReply *name = kw_reply_at(from, i, REDIS_REPLY_STRING);
        const redisReply *body = kw_reply_at(from, i + 1, REDIS_REPLY_ARRAY);
        const redisReply *calls = body ? kw_reply_at(body, 1, REDIS_REPLY_INTEGER) : NULL;
        const redisReply *buckets = body ? kw_reply_at(body, 3, REDIS_REPLY_ARRAY) : NULL;
        if (!name || !calls || !buckets) continue;
        struct histogram *one = histogram_of(all, &count, name, shards);
        if (one->of_count == shards) continue;
        one->calls += calls->integer;
        one->of[one->of_count++] = buckets;
    }
    return count;
}

static long long bucket_number(const redisReply *buckets, size_t n) {
    const redisReply *number = kw_reply_at(buckets, n, REDIS_REPLY_INTEGER);
    return number ? number->integer : 0;
}

/* Counts are cumulative: up to a bound that a shard does not name it has as many as up to the one below. */
static long long calls_up_to(const redisReply *buckets, long long bound) {
    long long calls = 0;
    for (size_t n = 0; n + 1 < kw_reply_len(buckets) && bucket_number(buckets, n) <= bound; n += 2) {
        calls = bucket_number(buckets, n + 1);
    }
    return calls;
}

static int ascending(const void *a, const void *b) {
    long long x = *(const long long *)a, y = *(const long long *)b;
    return x < y ? -1 : x > y;
}

static size_t bounds_of(const struct histogram *one, long long **out) {
    size_t room = 1, count = 0, distinct = 0;
    for (uint32_t i = 0; i < one->of_count; i++) room += kw_reply_len(one->of[i]) / 2;
    long long *bounds = kw_calloc(room, sizeof(*bounds));
    for (uint32_t i = 0; i < one->of_count; i++) {
        for (size_t n = 0; n + 1 < kw_reply_len(one->of[i]); n += 2) bounds[count++] = bucket_number(one->of[i], n);
    }
    qsort(bounds, count, sizeof(*bounds), ascending);
    for (size_t i = 0; i < count; i++) {
        if (distinct == 0 || bounds[distinct - 1] != bounds[i]) bounds[distinct++] = bounds[i];
    }
    *out = bounds;
    return distinct;
}

static void print_histogram(struct kw_str *out, int resp, const struct histogram *one) {
    long long *bounds;
    size_t count = bounds_of(one, &bounds);
    kw_str_resp_bulk(out, one->name->str, one->name->len);
    kw_str_resp_map(out, resp, 2);
    kw_str_resp_text(out, "calls");
    kw_str_resp_int(out, one->calls);
    kw_str_resp_text(out, "histogram_usec");
    kw_str_resp_map(out, resp, count);
    for (size_t b = 0; b < count; b++) {
        long long calls = 0;
        for (uint32_t i = 0; i < one->of_count; i++) calls += calls_up_to(one->of[i], bounds[b]);
        kw_str_resp_int(out, bounds[b]);
        kw_str_resp_int(out, calls);
    }
    kw_free(bounds);
}

static void finish_histogram(struct kw_gathered *all) {
    struct histogram *histograms = kw_calloc(count_elements(all) / 2 + 1, sizeof(*histograms));
    size_t count = 0;
    for (uint32_t i = 0; i < all->count; i++) {
        count = read_histograms(all->replies[i], histograms, count, all->count);
    }
    kw_str_resp_map(all->out, all->resp, count);
    for (size_t i = 0; i < count; i++) {
        print_histogram(all->out, all->resp, &histograms[i]);
        kw_free(histograms[i].of);
    }
    kw_free(histograms);
}

void kw_local_latency_histogram(struct kw_local_call *call) {
    kw_gather(call, finish_histogram, NULL);
}
