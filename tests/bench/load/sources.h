/*
 * What a run sends: commands in turn, one command split over slots as a cluster client does it, or the reader and
 * writer of streams. Made for a run, freed by load_source_free().
 */
#ifndef KW_BENCH_LOAD_SOURCES_H
#define KW_BENCH_LOAD_SOURCES_H

#include "tests/bench/load/run.h"

/* Frames in turn; `repeat` and `times` belong to the first. */
struct load_source *load_source_commands(const char *const *commands, size_t count, const char *repeat, unsigned times,
                                         const struct load_value *value, const struct load_draw *draw);

/* One command of `times` elements that begin with a key: a command for each slot among them. */
struct load_source *load_source_split(const char *command, const char *repeat, unsigned times,
                                      const struct load_value *value, const struct load_draw *draw);

/* XADD, XREADGROUP, XACK of client number i on stream number i modulo --keys. */
struct load_source *load_source_stream(uint32_t clients, const struct load_value *value, const struct load_draw *draw);

/* The name of a stream, for whoever makes its group: 19 characters and a NUL. */
void load_stream_name(char name[32], uint64_t number);
extern const char load_stream_group[];

void load_source_free(struct load_source *source);

#endif
