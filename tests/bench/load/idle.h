/* Connections that have asked once and are held. */
#ifndef KW_BENCH_LOAD_IDLE_H
#define KW_BENCH_LOAD_IDLE_H

#include "tests/bench/load/run.h"

/* Sends one request on each client of `run`, prints `ready`, and waits until standard input ends. */
void load_idle(struct load_run *run);

#endif
