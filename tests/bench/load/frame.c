/*
 * Made by walking the words: literal bytes go to the text as they are, a placeholder leaves its width and a row in the
 * list of holes. Memory that is gone ends the process.
 */
#include "tests/bench/load/frame.h"

#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/sha1.h"
#include "cluster/command.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load/workloads.h"

enum hole_kind { HOLE_RAND, HOLE_ITEM, HOLE_BOARD, HOLE_POINTS, HOLE_RANK, HOLE_RANK_END, HOLE_NOW, HOLE_SERIAL };

enum { WIDTH_KEY = 12, WIDTH_BOARD = 3, WIDTH_POINTS = 3, WIDTH_NOW = 13, POINTS = 1000, PAGE = 10 };

/* Width 0: that of a rank. */
static const struct placeholder {
    const char *name;
    enum hole_kind kind;
    unsigned width;
} placeholders[] = {
    {"__rand__", HOLE_RAND, WIDTH_KEY},
    {"__item__", HOLE_ITEM, WIDTH_KEY},
    {"__board__", HOLE_BOARD, WIDTH_BOARD},
    {"__points__", HOLE_POINTS, WIDTH_POINTS},
    {"__rank__", HOLE_RANK, 0},
    {"__rank_end__", HOLE_RANK_END, 0},
    {"__now__", HOLE_NOW, WIDTH_NOW},
    {"__serial__", HOLE_SERIAL, WIDTH_KEY},
};

static const char value_name[] = "__value__";
static const char sha_name[] = "__sha__";

/* ---- Numbers. */

static unsigned digits_of(uint64_t number) {
    unsigned digits = 1;
    while (number >= 10) {
        number /= 10;
        digits++;
    }
    return digits;
}

static uint64_t power_of_ten(unsigned exponent) {
    uint64_t power = 1;
    while (exponent-- > 0) power *= 10;
    return power;
}

void load_draw_init(struct load_draw *draw, const struct load_options *options) {
    uint64_t members = options->keys / options->boards;
    uint64_t last = members > PAGE ? members - PAGE : 0;
    unsigned digits = digits_of(last);
    uint64_t low = digits > 1 ? power_of_ten(digits - 1) : 0;
    /* The end of the page must not need a digit more. */
    uint64_t high = power_of_ten(digits) - PAGE;
    if (last < high) high = last;
    *draw = (struct load_draw){
        .random = (options->seed + 1) * 0x9E3779B97F4A7C15ULL,
        .keys = options->keys,
        .boards = options->boards,
        .rank_low = low,
        .rank_count = high >= low ? high - low + 1 : 1,
        .rank_digits = digits,
    };
    if (draw->random == 0) draw->random = 1;
}

uint64_t load_draw_item(struct load_draw *draw) {
    return draw->sequential ? draw->next_item++ : load_random_below(&draw->random, draw->keys);
}

static void put_digits(char *at, uint64_t number, unsigned width) {
    static const char pairs[] = "0001020304050607080910111213141516171819202122232425262728293031323334353637383940"
                                "4142434445464748495051525354555657585960616263646566676869707172737475767778798081"
                                "828384858687888990919293949596979899";
    while (width >= 2) {
        width -= 2;
        memcpy(at + width, pairs + (number % 100) * 2, 2);
        number /= 100;
    }
    if (width == 1) at[0] = (char)('0' + number % 10);
}

/* ---- Values. */

void load_value_init(struct load_value *value, struct kw_pool *pool, size_t size) {
    value->size = size;
    value->chunk = kw_chunk_new_try(pool, size + 2);
    if (!value->chunk) load_die("no memory for a value of %zu bytes", size);
    for (size_t i = 0; i < size; i++) value->chunk->data[i] = (char)('a' + i % 26);
    memcpy(value->chunk->data + size, "\r\n", 2);
    value->chunk->len = size + 2;
    kw_sha1_hex(load_script, strlen(load_script), value->sha);
}

void load_value_deinit(struct load_value *value) {
    kw_chunk_unref(value->chunk);
}

/* ---- Words. */

struct words {
    struct kw_arg *list; /* own */
    size_t count, cap;
};

static void words_add(struct words *words, const char *text) {
    static const char blanks[] = " \t";
    for (const char *at = text + strspn(text, blanks); *at; at += strspn(at, blanks)) {
        if (words->count == words->cap) {
            words->cap = words->cap ? words->cap * 2 : 16;
            words->list = kw_realloc(words->list, words->cap * sizeof(*words->list));
        }
        size_t len = strcspn(at, blanks);
        words->list[words->count++] = (struct kw_arg){at, len};
        at += len;
    }
}

static bool starts(const char *at, const char *end, const char *name) {
    size_t len = strlen(name);
    return (size_t)(end - at) >= len && memcmp(at, name, len) == 0;
}

static const struct placeholder *placeholder_at(const char *at, const char *end) {
    for (size_t i = 0; i < KW_ARRAY_LEN(placeholders); i++) {
        if (starts(at, end, placeholders[i].name)) return &placeholders[i];
    }
    return NULL;
}

static void hole_add(struct load_frame *frame, enum hole_kind kind, size_t at) {
    if (frame->hole_count == frame->hole_cap) {
        frame->hole_cap = frame->hole_cap ? frame->hole_cap * 2 : 4;
        frame->holes = kw_realloc(frame->holes, frame->hole_cap * sizeof(*frame->holes));
    }
    frame->holes[frame->hole_count++] = (struct load_hole){(uint32_t)at, kind};
}

static void piece_end(struct load_frame *frame, bool value) {
    if (frame->piece_count == frame->piece_cap) {
        frame->piece_cap = frame->piece_cap ? frame->piece_cap * 2 : 2;
        frame->pieces = kw_realloc(frame->pieces, frame->piece_cap * sizeof(*frame->pieces));
    }
    frame->pieces[frame->piece_count++] = (struct load_piece){frame->text.len, value};
}

/* A word with its placeholders as text, with holes at places counted from the beginning of `out`. */
static void expand(struct load_frame *frame, const struct load_draw *draw, const struct kw_arg *word,
                   struct kw_str *out, size_t base) {
    const char *end = word->data + word->len;
    for (const char *at = word->data; at < end;) {
        const struct placeholder *found = placeholder_at(at, end);
        if (found) {
            hole_add(frame, found->kind, base + out->len);
            kw_str_printf(out, "%0*d", (int)(found->width ? found->width : draw->rank_digits), 0);
            at += strlen(found->name);
        } else if (starts(at, end, value_name)) {
            kw_str_append(out, frame->value->chunk->data, frame->value->size);
            at += strlen(value_name);
        } else if (starts(at, end, sha_name)) {
            kw_str_append_text(out, frame->value->sha);
            at += strlen(sha_name);
        } else {
            kw_str_append(out, at++, 1);
        }
    }
}

/* Appends a word as a bulk string; answers where its payload lies. */
static struct kw_arg word_append(struct load_frame *frame, const struct load_draw *draw, const struct kw_arg *word) {
    bool whole = word->len == strlen(value_name) && starts(word->data, word->data + word->len, value_name);
    if (whole && frame->value->size >= KW_REF_MIN) {
        kw_str_printf(&frame->text, "$%zu\r\n", frame->value->size);
        piece_end(frame, true);
        return (struct kw_arg){NULL, 0};
    }
    struct kw_str out = {0};
    size_t first = frame->hole_count;
    expand(frame, draw, word, &out, 0);
    kw_str_printf(&frame->text, "$%zu\r\n", out.len);
    size_t at = frame->text.len;
    for (size_t i = first; i < frame->hole_count; i++) frame->holes[i].at += (uint32_t)at;
    kw_str_append(&frame->text, out.data, out.len);
    kw_str_append(&frame->text, "\r\n", 2);
    struct kw_arg place = {frame->text.data + at, out.len};
    kw_str_deinit(&out);
    return place;
}

static void key_set(struct load_frame *frame, const struct kw_arg *place) {
    frame->has_key = place->data != NULL;
    if (!frame->has_key) return;
    frame->key_at = (size_t)(place->data - frame->text.data);
    frame->key_len = place->len;
}

/* The index of the first key among the words, or SIZE_MAX. */
static size_t first_key(const struct words *words) {
    struct kw_key_positions keys;
    size_t first = SIZE_MAX;
    const struct kw_command *cmd = kw_command_resolve(words->list, words->count);
    kw_key_positions_init(&keys);
    if (cmd && kw_command_keys(cmd, words->list, words->count, &keys) > 0) first = keys.pos[0];
    kw_key_positions_deinit(&keys);
    return first;
}

void load_frame_command(struct load_frame *frame, const struct load_value *value, const struct load_draw *draw,
                        const char *command, const char *repeat, unsigned times) {
    struct words words = {0};
    *frame = (struct load_frame){.value = value};
    words_add(&words, command);
    for (unsigned i = 0; i < times; i++) words_add(&words, repeat);
    size_t key = first_key(&words);
    kw_str_resp_array(&frame->text, words.count);
    for (size_t i = 0; i < words.count; i++) {
        struct kw_arg place = word_append(frame, draw, &words.list[i]);
        if (i == key) key_set(frame, &place);
    }
    piece_end(frame, false);
    kw_free(words.list);
}

unsigned load_frame_words(struct load_frame *frame, const struct load_value *value, const struct load_draw *draw,
                          const char *text) {
    struct words words = {0};
    *frame = (struct load_frame){.value = value};
    words_add(&words, text);
    for (size_t i = 0; i < words.count; i++) {
        struct kw_arg place = word_append(frame, draw, &words.list[i]);
        if (i == 0) key_set(frame, &place);
    }
    piece_end(frame, false);
    kw_free(words.list);
    return (unsigned)words.count;
}

void load_frame_deinit(struct load_frame *frame) {
    kw_str_deinit(&frame->text);
    kw_free(frame->holes);
    kw_free(frame->pieces);
}

/* ---- A turn. */

/* One item a command, drawn when it is first wanted. */
struct turn {
    uint64_t item;
    bool drawn;
    bool given; /* by the caller: it stands for __rand__ as well */
    uint64_t rank;
};

static uint64_t turn_item(struct turn *turn, struct load_draw *draw) {
    if (!turn->drawn) turn->item = load_draw_item(draw);
    turn->drawn = true;
    return turn->item;
}

static void fill(struct load_frame *frame, struct load_draw *draw, struct turn *turn) {
    for (size_t i = 0; i < frame->hole_count; i++) {
        char *at = frame->text.data + frame->holes[i].at;
        switch ((enum hole_kind)frame->holes[i].kind) {
        case HOLE_RAND: put_digits(at, turn->given ? turn->item : load_draw_item(draw), WIDTH_KEY); break;
        case HOLE_ITEM: put_digits(at, turn_item(turn, draw), WIDTH_KEY); break;
        case HOLE_BOARD: put_digits(at, turn_item(turn, draw) % draw->boards, WIDTH_BOARD); break;
        case HOLE_POINTS: put_digits(at, load_random_below(&draw->random, POINTS), WIDTH_POINTS); break;
        case HOLE_RANK:
            turn->rank = draw->rank_low + load_random_below(&draw->random, draw->rank_count);
            put_digits(at, turn->rank, draw->rank_digits);
            break;
        case HOLE_RANK_END: put_digits(at, turn->rank + PAGE - 1, draw->rank_digits); break;
        case HOLE_NOW: put_digits(at, draw->now_ms, WIDTH_NOW); break;
        case HOLE_SERIAL: put_digits(at, draw->serial++, WIDTH_KEY); break;
        }
    }
}

void load_frame_fill(struct load_frame *frame, struct load_draw *draw) {
    struct turn turn = {0};
    fill(frame, draw, &turn);
}

void load_frame_fill_item(struct load_frame *frame, struct load_draw *draw, uint64_t item) {
    struct turn turn = {.item = item, .drawn = true, .given = true};
    fill(frame, draw, &turn);
}

void load_frame_append(const struct load_frame *frame, struct kw_outq *out, struct kw_pool *pool, size_t cap) {
    size_t at = 0;
    for (const struct load_piece *piece = frame->pieces; piece < frame->pieces + frame->piece_count; piece++) {
        size_t len = piece->end - at;
        if (len > 0 && !kw_outq_copy_try(out, pool, frame->text.data + at, len, cap)) load_die("out of memory");
        if (piece->value && kw_outq_ref_try(out, pool, frame->value->chunk, 0, frame->value->size + 2) != 0) {
            load_die("out of memory");
        }
        at = piece->end;
    }
}
