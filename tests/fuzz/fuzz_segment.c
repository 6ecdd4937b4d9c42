/*
 * A log segment with anything in it: the first byte says whether it is open,
 * the second how many zeros follow the input (a prepared segment is mostly
 * zeros), the rest is the segment. Checked: what is accepted holds together,
 * may be cut where the verdict says, and is then whole with the same entries.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "raft/store/disk_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { ZEROS_STEP = 64 };

/* The good batches alone are a whole segment. */
static void check_beginning(const uint8_t *bytes, const struct kw_segment *all) {
    struct kw_segment part;
    uint64_t term;
    uint8_t *exact = malloc(all->at);
    KW_ASSERT(exact);
    memcpy(exact, bytes, all->at); /* reads beyond the end are seen */
    kw_segment_check(&part, exact, all->at, false);
    KW_ASSERT(part.verdict == KW_SEGMENT_WHOLE && part.entries == all->entries && part.at == all->at);
    KW_ASSERT(part.first_term == all->first_term && part.last_term == all->last_term);
    KW_ASSERT(kw_segment_digest(exact, all->at, all->entries, &term) ==
              kw_segment_digest(bytes, all->at, all->entries, &term));
    KW_ASSERT(term == all->last_term && all->first_term > 0 && all->first_term <= term);
    free(exact);
}

/* Cut as it says, and as libraft will do with a torn tail, nothing changes. */
static void check_kept(const uint8_t *bytes, const struct kw_segment *all) {
    struct kw_segment kept;
    kw_segment_check(&kept, bytes, (size_t)all->keep, true);
    KW_ASSERT(kept.verdict != KW_SEGMENT_CORRUPT && kept.entries == all->entries && kept.keep == all->keep);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    bool open = data[0] & 1;
    size_t zeros = (size_t)data[1] * ZEROS_STEP, len = size - 2 + zeros;
    uint8_t *bytes = calloc(1, len ? len : 1);
    KW_ASSERT(bytes);
    memcpy(bytes, data + 2, size - 2);
    struct kw_segment segment;
    kw_segment_check(&segment, bytes, len, open);
    KW_ASSERT(segment.at <= len && segment.keep <= len);
    KW_ASSERT(open || segment.verdict == KW_SEGMENT_WHOLE || segment.verdict == KW_SEGMENT_CORRUPT);
    KW_ASSERT((segment.verdict == KW_SEGMENT_CORRUPT) == (segment.what != NULL));
    if (segment.verdict != KW_SEGMENT_CORRUPT) {
        KW_ASSERT(segment.verdict != KW_SEGMENT_WHOLE || segment.entries > 0);
        if (segment.entries > 0) check_beginning(bytes, &segment);
        if (open) check_kept(bytes, &segment);
    }
    free(bytes);
    return 0;
}
