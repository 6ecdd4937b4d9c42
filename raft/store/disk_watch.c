/*
 * The watchdog: a thread that looks at the oldest append under way, four times
 * a limit, and ends the process when that has taken longer. A leader whose
 * disk stands still keeps sending heartbeats, so nobody else would be elected.
 *
 * A process that was stopped and continued must not be taken for one with a
 * stalled disk: its thread was stopped as well and sees that it slept far
 * longer than it meant to; all appends then begin anew.
 */
#include <errno.h>
#include <stdatomic.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/alloc.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/disk_internal.h"

enum { CHECKS_A_LIMIT = 4, EXIT_CODE = 70, LOG_WAIT_MS = 200 };

void kw_disk_watch_init(struct kw_disk_watch *watch) {
    pthread_condattr_t attr;
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&watch->wake, &attr);
    pthread_condattr_destroy(&attr);
    pthread_mutex_init(&watch->lock, NULL);
}

void kw_disk_watch_deinit(struct kw_disk_watch *watch) {
    if (watch->running) {
        pthread_mutex_lock(&watch->lock);
        watch->stop = true;
        pthread_cond_signal(&watch->wake);
        pthread_mutex_unlock(&watch->lock);
        pthread_join(watch->thread, NULL);
    }
    pthread_cond_destroy(&watch->wake);
    pthread_mutex_destroy(&watch->lock);
    kw_free(watch->started_ms);
}

static void ring_grow(struct kw_disk_watch *watch) {
    size_t cap = watch->cap ? watch->cap * 2 : 16;
    uint64_t *grown = kw_malloc(cap * sizeof(*grown));
    for (size_t i = 0; i < watch->count; i++) grown[i] = watch->started_ms[(watch->head + i) % watch->cap];
    kw_free(watch->started_ms);
    watch->started_ms = grown;
    watch->cap = cap;
    watch->head = 0;
}

void kw_disk_watch_append(struct kw_disk_watch *watch, bool started) {
    pthread_mutex_lock(&watch->lock);
    if (started) {
        if (watch->count == watch->cap) ring_grow(watch);
        watch->started_ms[(watch->head + watch->count++) % watch->cap] = kw_clock_ms();
    } else {
        KW_ASSERT(watch->count > 0);
        watch->head = (watch->head + 1) % watch->cap;
        watch->count--;
    }
    pthread_mutex_unlock(&watch->lock);
}

static void begin_anew(struct kw_disk_watch *watch, uint64_t now_ms) {
    for (size_t i = 0; i < watch->count; i++) watch->started_ms[(watch->head + i) % watch->cap] = now_ms;
}

struct last_words {
    uint64_t age_ms;
    unsigned limit_ms;
    atomic_bool said;
};

static void *say(void *arg) {
    struct last_words *words = arg;
    kw_log(KW_LOG_WARNING,
           "the disk stands still: an append has taken %llu ms (limit %u ms); this process ends, so that another node "
           "can lead",
           (unsigned long long)words->age_ms, words->limit_ms);
    atomic_store(&words->said, true);
    return NULL;
}

/* The log may lie on the disk that stands still: it gets a little time, and then the process ends all the same. */
KW_NORETURN static void end_process(uint64_t age_ms, unsigned limit_ms) {
    static struct last_words words;
    const struct timespec step = {.tv_nsec = 1000000L};
    pthread_t speaker;
    words.age_ms = age_ms;
    words.limit_ms = limit_ms;
    if (pthread_create(&speaker, NULL, say, &words) == 0) {
        pthread_detach(speaker);
        for (int i = 0; i < LOG_WAIT_MS && !atomic_load(&words.said); i++) nanosleep(&step, NULL);
    }
    _exit(EXIT_CODE);
}

static void sleep_until(struct kw_disk_watch *watch, uint64_t until_ms) {
    const struct timespec until = {.tv_sec = (time_t)(until_ms / 1000U),
                                   .tv_nsec = (long)(until_ms % 1000U) * 1000000L};
    while (!watch->stop && pthread_cond_timedwait(&watch->wake, &watch->lock, &until) != ETIMEDOUT) {
    }
}

static void *run(void *arg) {
    struct kw_disk_watch *watch = arg;
    pthread_mutex_lock(&watch->lock);
    const uint64_t interval_ms = watch->limit_ms / CHECKS_A_LIMIT;
    while (!watch->stop) {
        sleep_until(watch, watch->looked_ms + interval_ms);
        uint64_t now_ms = kw_clock_ms();
        if (now_ms - watch->looked_ms > 2 * interval_ms) begin_anew(watch, now_ms);
        watch->looked_ms = now_ms; /* and not later: a stop between two looks must be seen by the next */
        uint64_t age_ms = watch->count > 0 ? now_ms - watch->started_ms[watch->head] : 0;
        if (!watch->stop && age_ms > watch->limit_ms) end_process(age_ms, watch->limit_ms);
    }
    pthread_mutex_unlock(&watch->lock);
    return NULL;
}

int kw_disk_watch(struct kw_disk *disk, unsigned limit_ms) {
    struct kw_disk_watch *watch = &disk->watch;
    if (watch->running || limit_ms < CHECKS_A_LIMIT) return KW_EINVALID;
    watch->limit_ms = limit_ms;
    watch->looked_ms = kw_clock_ms();
    begin_anew(watch, watch->looked_ms);
    if (pthread_create(&watch->thread, NULL, run, watch) != 0) return KW_ENOMEM;
    watch->running = true;
    return 0;
}
