/*
 * Keeps one slow call of libraft's off the loop: io_destroy(2), made for each log segment that is closed and at each
 * snapshot, waits for the kernel's grace period, 30 to 40 ms, while nothing else is served.
 */
#ifndef KW_RAFT_STORE_AIO_H
#define KW_RAFT_STORE_AIO_H

/* Once, before libraft runs. From then on that call is made by a thread of its own. */
void kw_aio_offload(void);

#endif
