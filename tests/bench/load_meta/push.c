/*
 * How long a change of the map takes to reach all who watch: ATTACH ... REPLACE at the leader with two texts in turns,
 * and the time until the last of the watchers was pushed a map at least as new as the one that the reply named. The
 * leader pushes in the turn that applied the change, so a push may come before the reply: then it took nothing from it.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/work.h"

#define PAUSE_NS 30000000ULL
enum { PATIENCE_S = 30, SEEN_MAX = 16 };

/* What one watcher was pushed since the change was sent. */
struct watcher {
    struct {
        uint64_t version, at_ns;
    } seen[SEEN_MAX];
    unsigned count;
};

struct push {
    struct meta_link *links, *leader;
    struct watcher *watchers;
    uint64_t watcher_count, ready;
    uint64_t sent_ns, reply_ns, version;
    struct load_histogram from_sent, from_reply;
};

static void on_push(struct meta_link *link, const char *bytes, size_t len) {
    static const char begin[] = ">5\r\n$6\r\nkeyway\r\n$3\r\nmap\r\n:";
    struct push *push = link->ctx;
    if (link == push->leader || len < sizeof(begin) || memcmp(bytes, begin, sizeof(begin) - 1) != 0) return;
    struct watcher *watcher = &push->watchers[link - push->links];
    if (watcher->count == SEEN_MAX) load_die("more than %d maps for one change", SEEN_MAX);
    watcher->seen[watcher->count].version = strtoull(bytes + sizeof(begin) - 1, NULL, 10);
    watcher->seen[watcher->count++].at_ns = load_clock_ns();
}

static void on_answer(struct meta_link *link, const struct meta_answer *answer) {
    struct push *push = link->ctx;
    if (answer->failed) load_die("%.*s", (int)answer->len, answer->text);
    if (link != push->leader) {
        push->ready++;
        return;
    }
    push->reply_ns = load_clock_ns();
    push->version = strtoull(answer->text, NULL, 10);
}

static const struct meta_owner owner = {.answered = on_answer, .pushed = on_push};

/* When that watcher had the version; 0: not yet. */
static uint64_t reached_at(const struct watcher *watcher, uint64_t version) {
    for (unsigned i = 0; i < watcher->count; i++) {
        if (watcher->seen[i].version >= version) return watcher->seen[i].at_ns;
    }
    return 0;
}

/* When the last one had it; 0: not yet. */
static uint64_t all_reached_at(const struct push *push) {
    uint64_t last = 0;
    for (uint64_t i = 0; push->version > 0 && i < push->watcher_count; i++) {
        uint64_t at = reached_at(&push->watchers[i], push->version);
        if (at == 0) return 0;
        if (at > last) last = at;
    }
    return last;
}

static void file_read(struct kw_str *text, const char *path) {
    char buf[4096];
    size_t got;
    FILE *file = fopen(path, "r");
    if (!file) load_die("%s: %m", path);
    while ((got = fread(buf, 1, sizeof(buf), file)) > 0) kw_str_append(text, buf, got);
    (void)fclose(file);
}

static void pause_for(int epoll, uint64_t ns) {
    uint64_t end = load_clock_ns() + ns;
    for (uint64_t now = load_clock_ns(); now < end; now = load_clock_ns()) (void)meta_turn(epoll, end - now);
}

static void change(struct push *push, const struct kw_str *text, int epoll) {
    const char *words[] = {"KEYWAY", "ATTACH", text->data, "REPLACE"};
    const size_t lens[] = {6, 6, text->len, 7};
    uint64_t last;
    for (uint64_t i = 0; i < push->watcher_count; i++) push->watchers[i].count = 0;
    push->version = 0;
    push->sent_ns = load_clock_ns();
    meta_link_command(push->leader, words, lens, KW_ARRAY_LEN(words), 0);
    meta_link_flush(push->leader);
    while ((last = all_reached_at(push)) == 0) {
        (void)meta_turn(epoll, LOAD_NS_PER_SECOND);
        if (load_clock_ns() - push->sent_ns > PATIENCE_S * LOAD_NS_PER_SECOND) load_die("a watcher was left out");
    }
    load_histogram_add(&push->from_sent, last - push->sent_ns);
    load_histogram_add(&push->from_reply, last > push->reply_ns ? last - push->reply_ns : 0);
}

static void watch_all(struct push *push, int epoll) {
    const char *const words[] = {"KEYWAY", "WATCH"};
    for (uint64_t i = 0; i < push->watcher_count; i++) {
        meta_link_command(&push->links[i], words, NULL, KW_ARRAY_LEN(words), 0);
        meta_link_flush(&push->links[i]);
    }
    while (push->ready < push->watcher_count) (void)meta_turn(epoll, LOAD_NS_PER_SECOND);
}

static void print(const struct push *push, const struct meta_options *options) {
    struct kw_str line = {0};
    kw_str_printf(&line, "{\"workload\":\"push\",\"protocol\":\"keyway\",\"watchers\":%llu,\"changes\":%llu",
                  (unsigned long long)options->watchers, (unsigned long long)options->changes);
    meta_latency_append(&line, "sent_", &push->from_sent);
    meta_latency_append(&line, "reply_", &push->from_reply);
    (void)printf("%.*s}\n", (int)line.len, line.data);
    kw_str_deinit(&line);
}

void meta_work_push(const struct meta_options *options, int epoll) {
    struct push *push = kw_calloc(1, sizeof(*push));
    struct kw_str texts[2] = {{0}, {0}};
    for (int i = 0; i < 2; i++) file_read(&texts[i], options->text[i]);
    push->watcher_count = options->watchers;
    push->watchers = kw_calloc(options->watchers, sizeof(*push->watchers));
    push->links =
        meta_links_open(options, &owner, push, options->targets, options->target_count, options->watchers, epoll);
    push->leader = meta_links_open(options, &owner, push, options->leader, 1, 1, epoll);
    watch_all(push, epoll);
    /* One before, which may be the first map of all. */
    change(push, &texts[1], epoll);
    push->from_sent = push->from_reply = (struct load_histogram){0};
    for (uint64_t i = 0; i < options->changes; i++) {
        pause_for(epoll, PAUSE_NS);
        change(push, &texts[i % 2], epoll);
    }
    print(push, options);
    meta_links_close(push->links, options->watchers);
    meta_links_close(push->leader, 1);
    for (int i = 0; i < 2; i++) kw_str_deinit(&texts[i]);
    kw_free(push->watchers);
    kw_free(push);
}
