/*
 * KEYWAY BACKUP and RESTORE. A backup is an image of the state as it stands at
 * that moment; it is passed on piece by piece, so its size costs nobody. A
 * backup comes back in parts, one entry behind the other, after all of it was
 * checked; the last part makes it effective, and the recovery epoch one higher.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"

void kw_door_backup(struct kw_door_call *call) {
    /* A backup is always confirmed, so it has a slot. */
    call->slot->image = kw_replica_backup(call->door->replica);
    if (kw_meta_image_bytes(call->slot->image) <= KW_DOOR_BULK_MAX) return;
    kw_meta_image_free(call->slot->image);
    call->slot->image = NULL;
    kw_str_resp_error(call->out,
                      "ERR the state has more than %d MiB, which RESTORE could not take back: copy the data "
                      "folder of a node that is stopped",
                      KW_DOOR_BULK_MAX / (1024 * 1024));
}

/* The bytes while their parts are under way. */
struct restore {
    struct kw_str scratch;
    bool has_id;
    unsigned char id[KW_REQUEST_ID_SIZE];
    unsigned next;
    size_t len;
    char bytes[];
};

static void restore_free(void *own) {
    struct restore *restore = own;
    kw_str_deinit(&restore->scratch);
    kw_free(restore);
}

static void on_part(void *ctx, int code, const struct kw_meta_result *result);

/* False: there are no more parts. */
static bool submit_part(struct kw_door_slot *slot) {
    struct restore *restore = slot->own;
    struct kw_record record = {0};
    kw_str_clear(&restore->scratch);
    if (!kw_meta_restore_part(&record, &restore->scratch, restore->bytes, restore->len, restore->next)) return false;
    struct kw_door_call ids = {.has_id = restore->has_id};
    memcpy(ids.request_id, restore->id, sizeof(ids.request_id));
    kw_door_request_id(record.request_id, &ids, restore->next);
    restore->next++;
    int err = kw_replica_submit(slot->door->replica, &record, on_part, slot);
    if (err) on_part(slot, err, NULL);
    return true;
}

static void on_part(void *ctx, int code, const struct kw_meta_result *result) {
    struct kw_door_slot *slot = ctx;
    if (code) {
        kw_door_outcome(slot->door, &slot->reply, code);
    } else if (result->code) {
        kw_str_resp_error(&slot->reply, "ERR something was written meanwhile: restore into a new, empty service (%s)",
                          kw_error_text(result->code));
    } else if (submit_part(slot)) {
        return;
    } else {
        kw_str_resp_simple(&slot->reply, "OK");
    }
    kw_door_slot_done(slot);
}

/* Proxies that live through a disaster register by themselves, before anybody can restore; a restore keeps them. */
static bool is_empty(const struct kw_meta_state *state) {
    size_t records = 0;
    for (unsigned t = 0; t < KW_META_TABLE_COUNT; t++) {
        if (t != KW_META_PROXIES) records += kw_ptable_count(kw_meta_state_table(state, (enum kw_meta_table)t));
    }
    return records == 0 && kw_meta_state_map(state)->version == 0;
}

/* Whether an image can be loaded: into a state of nobody's. */
static bool judge(struct kw_door_call *call, const struct kw_arg *bytes) {
    char why[256] = "";
    struct kw_meta_state *scratch = kw_meta_state_new();
    int err = kw_meta_state_load(scratch, bytes->data, bytes->len, why, sizeof(why));
    kw_meta_state_free(scratch);
    if (err) kw_str_resp_error(call->out, "ERR these bytes are no backup, or a damaged one: %s", why);
    return err == 0;
}

void kw_door_restore(struct kw_door_call *call) {
    const struct kw_arg *bytes = &call->args[0];
    if (kw_replica_role(call->door->replica) != KW_ROLE_LEADER) {
        kw_door_outcome(call->door, call->out, KW_ENOTLEADER);
        return;
    }
    /* With a request id it may be a second try, whose first one came through. */
    if (!call->has_id && !is_empty(kw_door_state(call->door))) {
        kw_str_resp_error(call->out, "ERR something was written here already: restore into a new, empty service");
        return;
    }
    if (!judge(call, bytes)) return;
    struct restore *restore = kw_malloc_try(sizeof(*restore) + bytes->len);
    if (!restore) {
        kw_str_resp_error(call->out, "ERR out of memory");
        return;
    }
    *restore = (struct restore){.has_id = call->has_id, .len = bytes->len};
    memcpy(restore->id, call->request_id, sizeof(restore->id));
    memcpy(restore->bytes, bytes->data, bytes->len);
    struct kw_door_slot *slot = kw_door_later(call);
    slot->own = restore;
    slot->free_own = restore_free;
    if (!submit_part(slot)) on_part(slot, KW_EPROTOCOL, NULL);
}
