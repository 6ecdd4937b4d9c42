/*
 * How the kernel is asked to schedule a worker. An ordinary thread that is woken takes the processor from whoever runs
 * there, and so a proxy that shares processors with nodes and clients wakes for each few requests. Under load it is
 * better to let the others go on until they have nothing more to say: one turn then serves more requests, with fewer
 * switches (SCHED_BATCH, sched(7)). A worker that is mostly idle stays an ordinary thread, for the sake of latency.
 */
#ifndef KW_PROXY_SCHEDULING_H
#define KW_PROXY_SCHEDULING_H

#include <stdbool.h>
#include <stdint.h>

enum kw_scheduling_mode { KW_SCHEDULING_AUTO, KW_SCHEDULING_NORMAL, KW_SCHEDULING_BATCH };

/* Zeroed: an ordinary thread that has not been looked at. */
struct kw_scheduling {
    uint64_t idle_us; /* that the loop had spent waiting when it was last looked at */
    uint64_t at_us;   /* when that was */
    bool batch;       /* what the kernel has been asked for */
    bool refused;     /* the kernel did not want it: it is not asked again */
};

/* What a worker should be that was `batch` until now and waited for `idle_us` of the last `wall_us`. */
bool kw_scheduling_wants_batch(enum kw_scheduling_mode mode, bool batch, uint64_t idle_us, uint64_t wall_us);

/*
 * Looks at the load since the last call, and asks the kernel for what follows from it. `idle_us`: that the calling
 * thread's loop has spent waiting since it began (uv_metrics_idle_time), microseconds.
 */
void kw_scheduling_tick(struct kw_scheduling *scheduling, enum kw_scheduling_mode mode, uint64_t idle_us,
                        uint64_t now_us);

#endif
