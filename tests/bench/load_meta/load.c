/*
 * put, get and ping. Closed loop: every client has `pipeline` requests under way, the next begins when one is answered.
 * Open loop: requests are due by a schedule, and late ones are late from when they were due. A request's tag is the
 * time from which its latency counts.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/work.h"

enum { PATIENCE_S = 60 };

struct load {
    const struct meta_options *options;
    struct load_histogram latency;
    struct kw_str key, value;
    uint64_t random, sequence;
    uint64_t begin_ns, end_ns; /* what is answered in between counts */
    uint64_t asked, answered, errors, missing;
    char first_error[256];
};

static void key_next(struct load *load) {
    const struct meta_options *options = load->options;
    uint64_t number =
        options->sequential ? load->sequence++ % options->keys : load_random_below(&load->random, options->keys);
    kw_str_clear(&load->key);
    kw_str_printf(&load->key, "key:%016llu", (unsigned long long)number);
}

static void ask(struct load *load, struct meta_link *link, uint64_t from_ns) {
    key_next(load);
    load->asked++;
    meta_link_request(link, load->options->request, &load->key, &load->value, from_ns);
}

static void count(struct load *load, const struct meta_answer *answer, uint64_t now) {
    load->answered++;
    if (answer->failed && load->errors++ == 0) {
        (void)snprintf(load->first_error, sizeof(load->first_error), "%.*s", (int)answer->len, answer->text);
    }
    if (answer->missing) load->missing++;
    load_histogram_add(&load->latency, now - answer->tag);
}

/* Whether a request may still begin. */
static bool goes_on(const struct load *load, uint64_t now) {
    return load->options->requests > 0 ? load->asked < load->options->requests : now < load->end_ns;
}

static void on_answer(struct meta_link *link, const struct meta_answer *answer) {
    struct load *load = link->ctx;
    uint64_t now = load_clock_ns();
    bool open = load->options->rate > 0;
    if (now >= load->begin_ns && (open ? answer->tag >= load->begin_ns : now <= load->end_ns)) count(load, answer, now);
    if (!open && goes_on(load, now)) ask(load, link, now);
}

static const struct meta_owner owner = {.answered = on_answer};

static bool any_due(const struct meta_link *links, uint64_t count) {
    for (uint64_t i = 0; i < count; i++) {
        if (links[i].due > 0) return true;
    }
    return false;
}

static void closed_loop(struct load *load, struct meta_link *links) {
    const struct meta_options *options = load->options;
    for (uint64_t i = 0; i < options->clients; i++) {
        for (uint64_t p = 0; p < options->pipeline && goes_on(load, load_clock_ns()); p++) {
            ask(load, &links[i], load_clock_ns());
        }
        meta_link_flush(&links[i]);
    }
}

static void open_loop(struct load *load, struct meta_link *links, int epoll) {
    const struct meta_options *options = load->options;
    double gap = (double)LOAD_NS_PER_SECOND / options->rate;
    uint64_t first = load_clock_ns();
    for (uint64_t nth = 0;; nth++) {
        uint64_t due = first + (uint64_t)(gap * (double)nth);
        if (!goes_on(load, due)) return;
        for (uint64_t now = load_clock_ns(); now < due; now = load_clock_ns()) (void)meta_turn(epoll, due - now);
        struct meta_link *link = &links[nth % options->clients];
        ask(load, link, due);
        meta_link_flush(link);
    }
}

static void print(const struct load *load, double seconds) {
    struct kw_str line = {0};
    kw_str_printf(&line,
                  "{\"workload\":\"%s\",\"protocol\":\"%s\",\"requests\":%llu,\"errors\":%llu,\"missing\":%llu,"
                  "\"seconds\":%.6f,\"per_second\":%.1f",
                  load->options->workload, load->options->protocol->name, (unsigned long long)load->answered,
                  (unsigned long long)load->errors, (unsigned long long)load->missing, seconds,
                  seconds > 0 ? (double)load->answered / seconds : 0.0);
    meta_latency_append(&line, "", &load->latency);
    (void)printf("%.*s}\n", (int)line.len, line.data);
    kw_str_deinit(&line);
}

void meta_work_load(const struct meta_options *options, int epoll) {
    struct load *load = kw_calloc(1, sizeof(*load));
    load->options = options;
    load->random = 0x9E3779B97F4A7C15ULL;
    for (uint64_t i = 0; i < options->size; i++) kw_str_append(&load->value, &"0123456789abcdef"[i % 16], 1);
    struct meta_link *links =
        meta_links_open(options, &owner, load, options->targets, options->target_count, options->clients, epoll);
    load->begin_ns = load_clock_ns() + (uint64_t)(options->warmup * (double)LOAD_NS_PER_SECOND);
    load->end_ns =
        options->requests > 0 ? UINT64_MAX : load->begin_ns + (uint64_t)(options->seconds * (double)LOAD_NS_PER_SECOND);
    if (options->rate > 0) {
        open_loop(load, links, epoll);
    } else {
        closed_loop(load, links);
    }
    uint64_t seen_ns = load_clock_ns();
    while (any_due(links, options->clients)) {
        uint64_t now = load_clock_ns();
        if (meta_turn(epoll, LOAD_NS_PER_SECOND)) seen_ns = now;
        if (now - seen_ns > PATIENCE_S * LOAD_NS_PER_SECOND) load_die("no answer for %d s", PATIENCE_S);
    }
    uint64_t now = load_clock_ns();
    uint64_t end_ns = options->requests == 0 && options->rate <= 0 ? load->end_ns : now;
    if (load->errors > 0) load_die("%llu errors, the first: %s", (unsigned long long)load->errors, load->first_error);
    print(load, (double)(end_ns - load->begin_ns) / (double)LOAD_NS_PER_SECOND);
    meta_links_close(links, options->clients);
    kw_str_deinit(&load->key);
    kw_str_deinit(&load->value);
    kw_free(load);
}
