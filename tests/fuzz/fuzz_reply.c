/*
 * Bytes from a node, scanned whole and in pieces: both must find the same ends
 * and the same error. A reply that is found is also checked on its own: its
 * bytes end exactly there, and none of its beginnings is a reply. The first
 * byte seeds the lengths of the pieces.
 */
#include <stdint.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/resp_reply.h"
#include "base/str.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BEGINNINGS_MAX = 128 }; /* bytes of a reply whose every beginning is tried */

/* Scans an exact copy of the bytes, so that a read beyond them is seen. */
static enum kw_reply_result scan_copy(struct kw_reply_scan *scan, const char *bytes, size_t len, size_t *used) {
    char *exact = kw_malloc(len);
    memcpy(exact, bytes, len);
    enum kw_reply_result result = kw_reply_scan(scan, exact, len, used);
    kw_free(exact);
    if (result == KW_REPLY_MORE) KW_ASSERT(*used == len);
    if (result == KW_REPLY_DONE) KW_ASSERT(*used <= len && kw_reply_scan_idle(scan));
    return result;
}

static void scan_stream(const char *bytes, size_t len, size_t piece_max, uint32_t seed, struct kw_str *out) {
    struct kw_reply_scan scan = {0};
    size_t at = 0;
    while (at < len) {
        seed = seed * 1664525 + 1013904223;
        size_t piece = 1 + (seed >> 8) % piece_max;
        if (piece > len - at || piece_max == SIZE_MAX) piece = len - at;
        size_t used = 0;
        enum kw_reply_result result = scan_copy(&scan, bytes + at, piece, &used);
        if (result == KW_REPLY_ERROR) {
            kw_str_append_text(out, "error\n");
            return;
        }
        at += used;
        if (result == KW_REPLY_DONE) kw_str_printf(out, "%c ends at %zu\n", scan.first, at);
    }
    kw_str_printf(out, "idle %d\n", (int)kw_reply_scan_idle(&scan));
}

static void check_first_alone(const char *bytes, size_t len) {
    struct kw_reply_scan scan = {0};
    size_t end = 0;
    if (scan_copy(&scan, bytes, len, &end) != KW_REPLY_DONE || end > BEGINNINGS_MAX) return;
    for (size_t cut = 0; cut <= end; cut++) {
        struct kw_reply_scan alone = {0};
        size_t used = 0;
        enum kw_reply_result result = scan_copy(&alone, bytes, cut, &used);
        KW_ASSERT(result == (cut < end ? KW_REPLY_MORE : KW_REPLY_DONE));
        KW_ASSERT(used == cut);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const char *bytes = (const char *)data + 1;
    size_t len = size - 1;
    struct kw_str whole = {0}, pieces = {0}, single = {0};
    scan_stream(bytes, len, SIZE_MAX, 0, &whole);
    scan_stream(bytes, len, 1 + data[0] % 32, data[0], &pieces);
    scan_stream(bytes, len, 1, 0, &single);
    KW_ASSERT(whole.len == pieces.len && memcmp(whole.data, pieces.data, whole.len) == 0);
    KW_ASSERT(whole.len == single.len && memcmp(whole.data, single.data, whole.len) == 0);
    check_first_alone(bytes, len);
    kw_str_deinit(&whole);
    kw_str_deinit(&pieces);
    kw_str_deinit(&single);
    return 0;
}
