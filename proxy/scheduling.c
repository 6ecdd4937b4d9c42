/* One look a tick at how long the loop waited; see scheduling.h. A kernel that refuses is not an error. */
#include "proxy/scheduling.h"

#include <pthread.h>
#include <sched.h>

/* Percent of the time in which the loop does not wait: from here on batch, and below that an ordinary thread again. */
enum { BATCH_FROM = 60, NORMAL_BELOW = 40 };

bool kw_scheduling_wants_batch(enum kw_scheduling_mode mode, bool batch, uint64_t idle_us, uint64_t wall_us) {
    if (mode != KW_SCHEDULING_AUTO) return mode == KW_SCHEDULING_BATCH;
    uint64_t busy_us = idle_us < wall_us ? wall_us - idle_us : 0;
    return busy_us * 100 >= wall_us * (batch ? NORMAL_BELOW : BATCH_FROM);
}

void kw_scheduling_tick(struct kw_scheduling *scheduling, enum kw_scheduling_mode mode, uint64_t idle_us,
                        uint64_t now_us) {
    uint64_t waited_us = idle_us - scheduling->idle_us;
    uint64_t wall_us = now_us - scheduling->at_us;
    bool first = scheduling->at_us == 0;
    scheduling->idle_us = idle_us;
    scheduling->at_us = now_us;
    if (scheduling->refused || (first && mode == KW_SCHEDULING_AUTO)) return;
    bool batch = kw_scheduling_wants_batch(mode, scheduling->batch, waited_us, wall_us);
    if (batch == scheduling->batch) return;
    struct sched_param none = {0};
    if (pthread_setschedparam(pthread_self(), batch ? SCHED_BATCH : SCHED_OTHER, &none)) {
        scheduling->refused = true;
    } else {
        scheduling->batch = batch;
    }
}
