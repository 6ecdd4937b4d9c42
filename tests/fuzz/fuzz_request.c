/*
 * Bytes from a client, parsed whole and in pieces: both must find the same
 * frames, the same arguments and the same end. The first byte chooses the
 * limits and from which size on payloads go elsewhere, the second seeds the
 * lengths of the pieces; the rest is what the client sends.
 */
#include <limits.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_request.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 32 * 1024 }; /* below the limit of a line, whose error depends on how the bytes arrive */

/* A client's stream with the frame in progress, as the intake keeps it: large payloads are not in `carry`. */
struct stream {
    const char *bytes;
    size_t len;
    size_t at;
    size_t big_left;
    char *carry; /* own; exactly as long as it says */
    size_t carry_len;
    struct kw_str bigs; /* the large payloads of the frame, one behind the other */
    struct kw_request_parse parse;
};

static void carry_set(struct stream *s, size_t keep, size_t more) {
    char *exact = kw_malloc(keep + more);
    if (keep) memcpy(exact, s->carry, keep);
    if (more) memcpy(exact + keep, s->bytes + s->at, more);
    kw_free(s->carry);
    s->carry = exact;
    s->carry_len = keep + more;
    s->at += more;
}

static void take_big(struct stream *s, size_t upto) {
    size_t take = upto - s->at < s->big_left ? upto - s->at : s->big_left;
    kw_str_append(&s->bigs, s->bytes + s->at, take);
    s->at += take;
    s->big_left -= take;
}

/* Lets the parser see the stream up to `upto`. */
static enum kw_request_result see(struct stream *s, const struct kw_request_limits *limits, size_t upto) {
    for (;;) {
        take_big(s, upto);
        if (s->big_left > 0) return KW_REQUEST_MORE;
        carry_set(s, s->carry_len, upto - s->at);
        enum kw_request_result result = kw_request_parse(&s->parse, limits, s->carry, s->carry_len);
        KW_ASSERT(result != KW_REQUEST_MORE || s->parse.need >= 1);
        if (result != KW_REQUEST_BIG) return result;
        KW_ASSERT((size_t)s->parse.bulk_len >= limits->big_min);
        s->at -= s->carry_len - s->parse.pos;
        carry_set(s, s->parse.pos, 0);
        s->big_left = (size_t)s->parse.bulk_len;
    }
}

/* What the frame said, in a form that does not depend on where its bytes lie. */
static void describe(const struct stream *s, enum kw_request_result result, struct kw_str *out) {
    const struct kw_request_parse *p = &s->parse;
    kw_str_printf(out, "result %d\n", (int)result);
    if (result == KW_REQUEST_ERROR) kw_str_printf(out, "%s\n", p->error);
    if (result != KW_REQUEST_COMPLETE) return;
    KW_ASSERT(p->argc == p->argc_seen && p->argc > 0);
    size_t big_at = 0;
    for (uint32_t i = 0; i < p->argc; i++) {
        const struct kw_request_arg *arg = &p->args[i];
        const char *from = (p->is_inline ? p->unquoted : s->carry) + arg->off;
        if (arg->big) {
            from = s->bigs.data + big_at;
            big_at += arg->len;
        } else {
            KW_ASSERT(arg->off + arg->len <= (p->is_inline ? p->unquoted_len : p->frame_len));
        }
        kw_str_resp_bulk(out, from, arg->len);
    }
}

/* The next frame, seen in pieces of 1 to `piece_max` bytes (SIZE_MAX: at once). False at the end of the stream or
 * behind an error. */
static bool next_frame(struct stream *s, const struct kw_request_limits *limits, size_t piece_max, uint32_t *seed,
                       struct kw_str *out) {
    enum kw_request_result result = KW_REQUEST_MORE;
    size_t upto = s->at;
    kw_request_parse_reset(&s->parse);
    kw_str_clear(&s->bigs);
    carry_set(s, 0, 0);
    while (result == KW_REQUEST_MORE && upto < s->len) {
        *seed = *seed * 1664525 + 1013904223;
        size_t piece = piece_max == SIZE_MAX ? SIZE_MAX : 1 + (*seed >> 8) % piece_max;
        upto = s->len - upto < piece ? s->len : upto + piece;
        result = see(s, limits, upto);
    }
    describe(s, result, out);
    if (result != KW_REQUEST_COMPLETE && result != KW_REQUEST_EMPTY) return false;
    KW_ASSERT(s->parse.frame_len > 0 && s->parse.frame_len <= s->carry_len);
    s->at -= s->carry_len - s->parse.frame_len;
    kw_str_printf(out, "ends at %zu\n", s->at);
    return true;
}

static void parse_stream(const char *bytes, size_t len, const struct kw_request_limits *limits, size_t piece_max,
                         uint32_t seed, struct kw_str *out) {
    struct stream s = {.bytes = bytes, .len = len};
    kw_request_parse_init(&s.parse);
    while (next_frame(&s, limits, piece_max, &seed, out)) {
    }
    kw_request_parse_deinit(&s.parse);
    kw_str_deinit(&s.bigs);
    kw_free(s.carry);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    static const size_t big_mins[] = {SIZE_MAX, 1, 8, 64};
    if (size < 2 || size > INPUT_MAX) return 0;
    struct kw_request_limits limits = {
        .max_bulk_len = data[0] & 4 ? 512LL * 1024 * 1024 : 4096,
        .max_multibulk = data[0] & 8 ? 10 : INT_MAX,
        .big_min = big_mins[data[0] & 3],
    };
    limits.max_bulk_unauth = data[0] & 8 ? 1024 : limits.max_bulk_len;
    const char *bytes = (const char *)data + 2;
    struct kw_str whole = {0}, pieces = {0}, single = {0};
    parse_stream(bytes, size - 2, &limits, SIZE_MAX, 0, &whole);
    parse_stream(bytes, size - 2, &limits, 1 + data[1] % 32, data[1], &pieces);
    KW_ASSERT(whole.len == pieces.len && memcmp(whole.data, pieces.data, whole.len) == 0);
    if (size < 512) {
        parse_stream(bytes, size - 2, &limits, 1, 0, &single);
        KW_ASSERT(whole.len == single.len && memcmp(whole.data, single.data, whole.len) == 0);
    }
    kw_str_deinit(&whole);
    kw_str_deinit(&pieces);
    kw_str_deinit(&single);
    return 0;
}
