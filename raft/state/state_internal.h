/* The body of the state, shared by applying, images and restoring; not for others. */
#ifndef KW_RAFT_STATE_STATE_INTERNAL_H
#define KW_RAFT_STATE_STATE_INTERNAL_H

#include <stdbool.h>

#include "raft/state/requests.h"
#include "raft/state/state.h"

/* Higher numbers cannot have come about: a snapshot that has one is refused, and nothing overflows. */
#define KW_META_NUMBER_MAX (UINT64_MAX / 4)

struct kw_meta_state {
    struct kw_ptable *tables[KW_META_TABLE_COUNT];
    struct kw_ptable *parts; /* of a backup that is coming in: u32 number -> bytes */
    uint64_t parts_total;    /* bytes of that backup */
    struct kw_requests requests;
    struct kw_map *map;
    uint64_t index;
    uint64_t recovery_epoch;
    uint64_t clock; /* version given last */
    bool touched;   /* something was written: it is too late to restore */
};

void kw_meta_state_init(struct kw_meta_state *state);
void kw_meta_state_deinit(struct kw_meta_state *state);

/* The entry of a RESTORE record at `index`. */
void kw_meta_apply_restore(struct kw_meta_state *state, const struct kw_record *record, struct kw_meta_result *result);
/* Whether the parts of a loaded snapshot are such as could have come in. */
bool kw_meta_parts_valid(const struct kw_meta_state *state);
/* Forgets a backup that has not come in whole. */
void kw_meta_drop_parts(struct kw_meta_state *state);

#endif
