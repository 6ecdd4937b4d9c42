/*
 * From signal 9 for one node to the first write that the others have committed. Every other node is asked: again
 * RETRY_NS after each refusal, and once more every AGAIN_NS while earlier writes are without an answer, so that a node
 * that keeps a write until some timeout of its own (etcd does) costs nothing. The same for both protocols.
 */
#include <errno.h>
#include <signal.h>
#include <stdio.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load_meta/work.h"

#define RETRY_NS 1000000ULL
#define AGAIN_NS 5000000ULL
enum { PATIENCE_S = 60 };

struct attempt {
    struct failover *failover;
    uint64_t due_ns; /* of the next write */
};

struct failover {
    uint64_t killed_ns, done_ns;
    uint64_t tries;
    struct attempt *attempts; /* one a link */
    struct meta_link *links;
};

static void on_answer(struct meta_link *link, const struct meta_answer *answer) {
    struct failover *failover = link->ctx;
    uint64_t now = load_clock_ns();
    struct attempt *attempt = &failover->attempts[link - failover->links];
    if (!answer->failed) {
        /* Before the kill it only says that the path is there. */
        if (answer->tag > 0 && failover->done_ns == 0) failover->done_ns = now;
        return;
    }
    if (attempt->due_ns > now + RETRY_NS) attempt->due_ns = now + RETRY_NS;
}

static void on_end(struct meta_link *link) {
    load_die("%s:%u, which was not killed, ended", link->address->host, (unsigned)link->address->port);
}

static const struct meta_owner owner = {.answered = on_answer, .ended = on_end};

static void write_at(struct failover *failover, struct meta_link *link, const struct kw_str *key, uint64_t tag) {
    failover->tries++;
    meta_link_request(link, META_PUT, key, key, tag);
    meta_link_flush(link);
    failover->attempts[link - failover->links].due_ns = load_clock_ns() + AGAIN_NS;
}

static void wait_answers(struct failover *failover, uint64_t count, int epoll) {
    for (uint64_t i = 0; i < count; i++) {
        while (failover->links[i].due > 0) (void)meta_turn(epoll, LOAD_NS_PER_SECOND);
    }
}

static void wait_commit(struct failover *failover, uint64_t count, const struct kw_str *key, int epoll) {
    while (failover->done_ns == 0) {
        uint64_t next = UINT64_MAX, now = load_clock_ns();
        if (now - failover->killed_ns > PATIENCE_S * LOAD_NS_PER_SECOND) load_die("no write in %d s", PATIENCE_S);
        for (uint64_t i = 0; i < count; i++) {
            struct attempt *attempt = &failover->attempts[i];
            if (attempt->due_ns <= now) write_at(failover, &failover->links[i], key, now);
            if (attempt->due_ns < next) next = attempt->due_ns;
        }
        now = load_clock_ns();
        (void)meta_turn(epoll, next > now ? next - now : 0);
    }
}

void meta_work_failover(const struct meta_options *options, int epoll) {
    uint64_t count = (uint64_t)options->target_count;
    struct failover failover = {.attempts = kw_calloc(count, sizeof(struct attempt))};
    struct kw_str key = {0};
    kw_str_append_text(&key, "failover");
    failover.links = meta_links_open(options, &owner, &failover, options->targets, options->target_count, count, epoll);
    for (uint64_t i = 0; i < count; i++) write_at(&failover, &failover.links[i], &key, 0);
    wait_answers(&failover, count, epoll);
    failover.tries = 0;
    for (uint64_t i = 0; i < count; i++) failover.attempts[i].due_ns = 0;
    failover.killed_ns = load_clock_ns();
    if (kill((pid_t)options->kill, SIGKILL) != 0) load_die("kill %llu: %m", (unsigned long long)options->kill);
    wait_commit(&failover, count, &key, epoll);
    (void)printf("{\"workload\":\"failover\",\"protocol\":\"%s\",\"gap_us\":%.1f,\"tries\":%llu}\n",
                 options->protocol->name, (double)(failover.done_ns - failover.killed_ns) / LOAD_NS_PER_US,
                 (unsigned long long)failover.tries);
    meta_links_close(failover.links, count);
    kw_free(failover.attempts);
    kw_str_deinit(&key);
}
