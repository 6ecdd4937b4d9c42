/* clock_gettime in the units that we use. Owns nothing, cannot fail. */
#include "base/clock.h"

#include <time.h>

static uint64_t read_us(clockid_t id) {
    struct timespec now;
    clock_gettime(id, &now);
    return (uint64_t)now.tv_sec * 1000000U + (uint64_t)now.tv_nsec / 1000U;
}

uint64_t kw_clock_thread_us(void) {
    return read_us(CLOCK_THREAD_CPUTIME_ID);
}

uint64_t kw_clock_us(void) {
    return read_us(CLOCK_MONOTONIC);
}

uint64_t kw_clock_ms(void) {
    return kw_clock_us() / 1000U;
}

uint64_t kw_clock_wall_us(void) {
    return read_us(CLOCK_REALTIME);
}
