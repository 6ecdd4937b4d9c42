/*
 * The replicated state machine: tables, the cluster map, and the answers
 * already given to requests with an id. Applying the same entries in the same
 * order gives the same bytes everywhere: no clock, no randomness, no pointer
 * order, no locale. Applying never fails as a whole: each record gets a
 * result. One thread.
 */
#ifndef KW_RAFT_STATE_STATE_H
#define KW_RAFT_STATE_STATE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/str.h"
#include "raft/state/map.h"
#include "raft/state/record.h"
#include "raft/state/table.h"

struct kw_meta_state;

/* What a record came to. */
struct kw_meta_result {
    int code;         /* 0, or: KW_ECONFLICT (expect did not hold), KW_ELIMIT (table full), KW_EINVALID (key, value, map
                         refused), KW_EUNKNOWN (no such key) */
    uint64_t version; /* of what was written (the last part of a backup: the recovery epoch), or of what stands there
                         (CONFLICT); 0: nothing. Versions of records are never below the entry's index, and no two
                         writes have the same */
};

/* One call a record, in order, from within kw_meta_state_apply. */
typedef void kw_meta_result_fn(void *ctx, unsigned nth, const struct kw_meta_result *result);

struct kw_meta_state *kw_meta_state_new(void);
void kw_meta_state_free(struct kw_meta_state *state);

/*
 * Applies the entry at `index`. `fn` may be NULL. An entry that cannot be read at all (KW_EPROTOCOL: the log is
 * damaged; KW_EUNKNOWN: it, or a record in it, was written by a newer version) changes nothing and is returned, and so
 * is one whose index is not above the last (KW_ERANGE: it would be applied twice): the process must not go on.
 */
int kw_meta_state_apply(struct kw_meta_state *state, uint64_t index, const void *entry, size_t len,
                        kw_meta_result_fn *fn, void *ctx);

/* What is in it; borrowed until the next apply or load. */
uint64_t kw_meta_state_index(const struct kw_meta_state *state);          /* of the last entry applied */
uint64_t kw_meta_state_recovery_epoch(const struct kw_meta_state *state); /* grows with each restore from a backup */
struct kw_map *kw_meta_state_map(const struct kw_meta_state *state);      /* kw_map_ref to keep it */
const struct kw_ptable *kw_meta_state_table(const struct kw_meta_state *state, enum kw_meta_table table);
size_t kw_meta_state_bytes(const struct kw_meta_state *state);

/*
 * Snapshot: an image of everything, in pieces to be written one behind the other (borrowed until it is freed). Taking
 * it is quick whatever the size (table.h).
 */
struct kw_meta_image;
struct kw_meta_image *kw_meta_state_freeze(struct kw_meta_state *state);
const struct kw_piece *kw_meta_image_pieces(const struct kw_meta_image *image, size_t *count);
size_t kw_meta_image_bytes(const struct kw_meta_image *image);
void kw_meta_image_free(struct kw_meta_image *image); /* any thread */

/*
 * Replaces all that is in `state` with an image's bytes. 0; KW_EPROTOCOL or KW_EUNKNOWN with the reason in `why`,
 * `state` is unchanged then.
 */
int kw_meta_state_load(struct kw_meta_state *state, const void *bytes, size_t len, char *why, size_t why_size);

/*
 * Backup and restore: an image is the backup. It comes back as RESTORE records of at most 512 KiB payload each,
 * submitted in order to a new, empty service: the last one makes it effective, with the recovery epoch one higher than
 * the backup's, and the versions of what is written from then on, and of the map, higher by the gap: those that the old
 * service gave after the backup are not given again, for a client may hold one and a proxy a map. Encodes part `nth` of
 * the image at `bytes`; false: there is no such part.
 */
#define KW_META_RESTORE_GAP (UINT64_C(1) << 40)
bool kw_meta_restore_part(struct kw_record *out, struct kw_str *scratch, const void *bytes, size_t len, unsigned nth);

#endif
