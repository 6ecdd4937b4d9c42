/*
 * What every command has to be checked for while somebody asked for it: a pause
 * (pause.h), monitors (monitor.h). One word for the process, zero nearly
 * always, so that the data path pays one load and one branch for all of it.
 */
#ifndef KW_PROXY_ALERT_H
#define KW_PROXY_ALERT_H

#include <stdatomic.h>
#include <stdint.h>
#include <uv.h>

/* Two bits for the pause, which may both be set; the rest is the number of monitors. */
enum {
    KW_ALERT_PAUSE_WRITE = 1 << 0,
    KW_ALERT_PAUSE_ALL = 1 << 1,
    KW_ALERT_PAUSE = KW_ALERT_PAUSE_WRITE | KW_ALERT_PAUSE_ALL,
    KW_ALERT_MONITOR = 1 << 2,
};

struct kw_alert {
    _Atomic uint32_t word;
    uv_mutex_t lock;               /* held while a pause is changed */
    _Atomic uint64_t pause_end_us; /* monotonic */
};

/* Any thread. */
static inline uint32_t kw_alert_word(const struct kw_alert *alert) {
    return atomic_load_explicit(&alert->word, memory_order_relaxed);
}

#endif
