/*
 * A request prepared once and sent many times: its RESP text with holes of fixed width, into which the numbers of each
 * turn are written before the text is copied to a connection. Large values are referred to, never copied.
 *
 *   __rand__      12 digits, random below --keys, anew at each place
 *   __item__      12 digits, random below --keys, the same in the whole command
 *   __board__     3 digits, the board that the item belongs to
 *   __points__    3 random digits
 *   __rank__      a rank that a board has, and __rank_end__, 9 behind it; no leading zeros
 *   __now__       13 digits, the time in ms since 1970
 *   __serial__    12 digits, one more each time
 *   __value__     --size bytes
 *   __sha__       the digest of load_script
 */
#ifndef KW_BENCH_LOAD_FRAME_H
#define KW_BENCH_LOAD_FRAME_H

#include <stdbool.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/buffer.h"
#include "base/str.h"
#include "tests/bench/load/options.h"

/* Where the numbers come from; the same sequence for the same seed. */
struct load_draw {
    uint64_t random;
    uint64_t keys, boards;
    uint64_t rank_low, rank_count; /* what __rank__ may be */
    unsigned rank_digits;
    uint64_t serial;
    uint64_t now_ms; /* whoever uses frames keeps it */
    bool sequential; /* items come one after the other, from next_item on */
    uint64_t next_item;
};

void load_draw_init(struct load_draw *draw, const struct load_options *options);

/* A number below `keys`: random, or the next one. */
uint64_t load_draw_item(struct load_draw *draw);

/* What the words of all frames of a run share. */
struct load_value {
    struct kw_chunk *chunk; /* own: `size` bytes and CRLF */
    size_t size;
    char sha[41];
};

void load_value_init(struct load_value *value, struct kw_pool *pool, size_t size);
void load_value_deinit(struct load_value *value);

struct load_hole {
    uint32_t at; /* in the text */
    uint32_t kind;
};

/* A stretch of text, with the value by reference behind it or not. */
struct load_piece {
    size_t end; /* in the text; it begins where the one before ended */
    bool value;
};

struct load_frame {
    struct kw_str text;
    struct load_hole *holes; /* own */
    size_t hole_count, hole_cap;
    struct load_piece *pieces; /* own; at least one, the last goes to the end of the text */
    size_t piece_count, piece_cap;
    const struct load_value *value; /* borrowed */
    bool has_key;                   /* key_at and key_len are its first key, in the text */
    size_t key_at, key_len;
};

/* A whole command: the words of `command`, then `times` times those of `repeat`. */
void load_frame_command(struct load_frame *frame, const struct load_value *value, const struct load_draw *draw,
                        const char *command, const char *repeat, unsigned times);

/* Words without a command around them; the first counts as key. Answers how many. */
unsigned load_frame_words(struct load_frame *frame, const struct load_value *value, const struct load_draw *draw,
                          const char *words);

void load_frame_deinit(struct load_frame *frame);

/* Fills the holes for one turn. */
void load_frame_fill(struct load_frame *frame, struct load_draw *draw);
/* The same with a given number for __rand__ and __item__. */
void load_frame_fill_item(struct load_frame *frame, struct load_draw *draw, uint64_t item);

static inline const char *load_frame_key(const struct load_frame *frame) {
    return frame->text.data + frame->key_at;
}

/* Appends the frame to a queue, whose new chunks shall have `cap` bytes. */
void load_frame_append(const struct load_frame *frame, struct kw_outq *out, struct kw_pool *pool, size_t cap);

/* Bytes of one turn, without a value by reference. */
static inline size_t load_frame_bytes(const struct load_frame *frame) {
    return frame->text.len;
}

#endif
