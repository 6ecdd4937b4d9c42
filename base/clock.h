/* The clocks: monotonic for every duration and deadline, wall for what people read. Any thread. */
#ifndef KW_BASE_CLOCK_H
#define KW_BASE_CLOCK_H

#include <stdint.h>

uint64_t kw_clock_us(void);        /* monotonic, microseconds */
uint64_t kw_clock_ms(void);        /* monotonic, milliseconds */
uint64_t kw_clock_thread_us(void); /* processor time of the calling thread, microseconds */
uint64_t kw_clock_wall_us(void);   /* since the Unix epoch, microseconds; may jump */

#endif
