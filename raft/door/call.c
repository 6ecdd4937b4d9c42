/*
 * A call's way through the replica: a read is confirmed by the quorum where
 * this node leads, a write is submitted; and what came of it, in words.
 *
 * A read elsewhere is answered from this node's own state, unless the client
 * insisted (KEYWAY LINEAR). One that was waiting when leadership ended is
 * answered in that way, too. A read that was confirmed may be done later, with what is
 * true by then: so a client that asks for more than it reads holds no replies.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"
#include "raft/state/hash.h"

const struct kw_meta_state *kw_door_state(const struct kw_door *door) {
    return kw_replica_state(door->replica);
}

/* ---- words */

static void say_not_leader(struct kw_door *door, struct kw_str *out) {
    struct kw_meta_address address;
    uint64_t leader = door->replica ? kw_replica_leader(door->replica, &address) : 0;
    if (leader == 0 || leader == (uint64_t)door->options.settings->id) {
        kw_str_resp_error(out, "NOLEADER no leader is known at the moment: try again, here or at another node");
        return;
    }
    char text[KW_DOOR_ADDRESS_SIZE];
    kw_door_host_port(text, address.host, address.port);
    kw_str_resp_error(out, "NOTLEADER %s", text);
}

void kw_door_outcome(struct kw_door *door, struct kw_str *out, int code) {
    switch (code) {
    case KW_ENOTLEADER: say_not_leader(door, out); break;
    case KW_ELIMIT:
        kw_str_resp_error(out, "BUSY too much waits for the log, or its disk is full; nothing was written: try again");
        break;
    case KW_EINVALID: kw_str_resp_error(out, "ERR the command is larger than an entry of the log may be"); break;
    case KW_EINDOUBT:
        kw_str_resp_error(out, "INDOUBT leadership changed meanwhile: it may have been done or not; with the same "
                               "KEYWAY ID it can be sent again");
        break;
    case KW_ECLOSED:
        kw_str_resp_error(out, "INDOUBT this node is stopping: it may have been done or not; with the same KEYWAY ID "
                               "it can be sent again");
        break;
    default: kw_str_resp_error(out, "ERR %s", kw_error_text(code)); break;
    }
}

void kw_door_refusal(struct kw_str *out, const struct kw_meta_result *result) {
    switch (result->code) {
    case KW_ECONFLICT:
        kw_str_resp_error(out, "CONFLICT the version that stands is %llu", (unsigned long long)result->version);
        break;
    case KW_ELIMIT: kw_str_resp_error(out, "ERR the table is full"); break;
    case KW_EUNKNOWN: kw_str_resp_error(out, "NOTFOUND there is nothing under that name"); break;
    case KW_EINVALID: kw_str_resp_error(out, "ERR refused: key, value or map is not valid"); break;
    default: kw_str_resp_error(out, "ERR %s", kw_error_text(result->code)); break;
    }
}

/* ---- reads */

static void run_read(struct kw_door_slot *slot, bool linear) {
    struct kw_door_call call = {
        .door = slot->door,
        .session = slot->session,
        .row = slot->row,
        .argv = slot->argv,
        .argc = slot->argc,
        .resp = slot->resp,
        .linear = linear,
        .out = &slot->reply,
        .slot = slot,
    };
    size_t words = 1;
    for (const char *c = slot->row->name; *c; c++) words += *c == '|';
    call.args = call.argv + words;
    call.arg_count = call.argc - words;
    slot->row->run(&call);
}

/* Confirmed or not: the reply is made when its turn has come and the client has room for it (kw_door_read_due). */
static void on_read(void *ctx, int code, const struct kw_meta_result *result) {
    (void)result;
    struct kw_door_slot *slot = ctx;
    slot->code = code;
    slot->read_due = slot->session != NULL;
    kw_door_slot_done(slot);
}

void kw_door_read_due(struct kw_door_slot *slot) {
    int code = slot->door->replica ? slot->code : KW_ECLOSED;
    bool local = !slot->insist && code != KW_ECLOSED && code != KW_ELIMIT;
    slot->read_due = false;
    if (code == 0 || local) {
        run_read(slot, code == 0);
    } else {
        kw_door_outcome(slot->door, &slot->reply, code == KW_ECLOSED ? KW_ENOTLEADER : code);
    }
}

void kw_door_call_read(struct kw_door_call *call, bool insist) {
    struct kw_door *door = call->door;
    insist = insist || (call->row->flags & KW_DOOR_INSIST);
    if (!insist && kw_replica_role(door->replica) != KW_ROLE_LEADER) {
        call->row->run(call);
        return;
    }
    struct kw_door_slot *slot = kw_door_slot_new(call->session, call->argv, call->argc);
    slot->row = call->row;
    slot->insist = insist;
    call->slot = slot;
    int err = kw_replica_read(door->replica, on_read, slot);
    if (err) on_read(slot, err, NULL);
}

/* ---- writes */

struct kw_door_slot *kw_door_later(struct kw_door_call *call) {
    call->slot = kw_door_slot_new(call->session, NULL, 0);
    return call->slot;
}

static void on_submitted(void *ctx, int code, const struct kw_meta_result *result) {
    struct kw_door_slot *slot = ctx;
    if (slot->session) {
        if (code) {
            kw_door_outcome(slot->door, &slot->reply, code);
        } else {
            slot->answer(slot, result);
        }
    }
    kw_door_slot_done(slot);
}

void kw_door_request_id(unsigned char out[KW_REQUEST_ID_SIZE], const struct kw_door_call *call, unsigned nth) {
    memset(out, 0, KW_REQUEST_ID_SIZE);
    if (!call->has_id) return;
    memcpy(out, call->request_id, KW_REQUEST_ID_SIZE);
    if (nth == 0) return;
    /* Each record needs an id of its own, the same one when the request is sent again; not that of the next request of
     * a client that counts. */
    uint64_t mix = kw_hash64(call->request_id, KW_REQUEST_ID_SIZE, nth);
    for (unsigned i = 0; i < sizeof(mix); i++) out[i] ^= (unsigned char)(mix >> (8 * i));
}

void kw_door_submit(struct kw_door_call *call, struct kw_record *record, kw_door_answer *answer) {
    struct kw_door_slot *slot = kw_door_later(call);
    slot->answer = answer;
    kw_door_request_id(record->request_id, call, 0);
    int err = kw_replica_submit(call->door->replica, record, on_submitted, slot);
    if (err) on_submitted(slot, err, NULL);
}

void kw_door_submit_more(struct kw_door_slot *slot, const struct kw_record *record, kw_replica_done *done) {
    slot->waiting++;
    int err = kw_replica_submit(slot->door->replica, record, done, slot);
    if (err) done(slot, err, NULL);
}

void kw_door_answer_ok(struct kw_door_slot *slot, const struct kw_meta_result *result) {
    if (result->code) {
        kw_door_refusal(&slot->reply, result);
    } else {
        kw_str_resp_simple(&slot->reply, "OK");
    }
}

void kw_door_answer_version(struct kw_door_slot *slot, const struct kw_meta_result *result) {
    if (result->code) {
        kw_door_refusal(&slot->reply, result);
    } else {
        kw_str_resp_int(&slot->reply, (long long)result->version);
    }
}

void kw_door_answer_deleted(struct kw_door_slot *slot, const struct kw_meta_result *result) {
    if (result->code && result->code != KW_EUNKNOWN) {
        kw_door_refusal(&slot->reply, result);
    } else {
        kw_str_resp_int(&slot->reply, result->code == 0);
    }
}
