/* KEYWAY META LIST, ADD, REMOVE and TRANSFER: who the metadata nodes are. */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"

void kw_door_members(struct kw_door *door, const struct kw_replica_facts *facts, struct kw_str *out, int resp) {
    (void)door;
    char address[KW_DOOR_ADDRESS_SIZE];
    kw_str_resp_array(out, facts->member_count);
    for (unsigned i = 0; i < facts->member_count; i++) {
        const struct kw_replica_member *member = &facts->members[i];
        kw_door_host_port(address, member->peer.address.host, member->peer.address.port);
        kw_str_resp_map(out, resp, 5);
        kw_door_pair_int(out, "id", (long long)member->peer.id);
        kw_door_pair_text(out, "address", address);
        kw_door_pair_int(out, "raft_port", member->peer.address.raft_port);
        kw_door_pair_int(out, "voter", member->voter);
        kw_door_pair_int(out, "match_index", (long long)member->match_index);
    }
}

void kw_door_meta_list(struct kw_door_call *call) {
    struct kw_replica_facts facts;
    kw_replica_facts(call->door->replica, &facts);
    kw_door_members(call->door, &facts, call->out, call->resp);
}

static bool take_id(struct kw_door_call *call, const struct kw_arg *word, uint64_t *id) {
    if (kw_door_u64(word, id) && *id > 0 && *id <= (uint64_t)INT64_MAX) return true;
    kw_str_resp_error(call->out, "ERR the id of a metadata node is a number from 1 up");
    return false;
}

static bool is_member(const struct kw_replica_facts *facts, uint64_t id) {
    for (unsigned i = 0; i < facts->member_count; i++) {
        if (facts->members[i].peer.id == id) return true;
    }
    return false;
}

/* In the place of the id of a node. */
enum { TRANSFERS = 0 };

/* What a change of the members came to; `count` holds the id. */
static void on_changed(void *ctx, int code, const struct kw_meta_result *result) {
    (void)result;
    struct kw_door_slot *slot = ctx;
    const char *what = slot->own;
    switch (code) {
    case 0: kw_str_resp_simple(&slot->reply, "OK"); break;
    case KW_ELIMIT:
        kw_str_resp_error(&slot->reply, "BUSY another change of the members is under way: try again when it is done");
        break;
    case KW_EINVALID: kw_str_resp_error(&slot->reply, "ERR %s", what); break;
    case KW_EINDOUBT:
    case KW_ECLOSED:
        kw_str_resp_error(&slot->reply, "INDOUBT leadership changed meanwhile: look at KEYWAY META LIST, the same "
                                        "command can be sent again");
        break;
    case KW_ETIMEOUT:
        if (slot->count == TRANSFERS) {
            kw_str_resp_error(&slot->reply, "ERR the leadership was not taken over in time: it stays here");
            break;
        }
        kw_str_resp_error(&slot->reply,
                          "ERR node %lld did not come in time: is it running, with the same secret and cluster-name?",
                          slot->count);
        break;
    default: kw_door_outcome(slot->door, &slot->reply, code); break;
    }
    kw_door_slot_done(slot);
}

static struct kw_door_slot *change_slot(struct kw_door_call *call, uint64_t id, const char *if_invalid) {
    struct kw_door_slot *slot = kw_door_later(call);
    slot->count = (long long)id;
    slot->own = (void *)if_invalid; /* static text, not freed */
    return slot;
}

/* Only the leader's list is to be judged by. */
static bool leads(struct kw_door_call *call, struct kw_replica_facts *facts) {
    kw_replica_facts(call->door->replica, facts);
    if (facts->role == KW_ROLE_LEADER) return true;
    kw_door_outcome(call->door, call->out, KW_ENOTLEADER);
    return false;
}

void kw_door_meta_add(struct kw_door_call *call) {
    struct kw_replica_facts facts;
    struct kw_meta_peer peer = {0};
    char why[256] = "";
    if (!take_id(call, &call->args[0], &peer.id)) return;
    if (kw_meta_address_parse(&peer.address, call->args[1].data, call->args[1].len, why, sizeof(why))) {
        kw_str_resp_error(call->out, "ERR address: %s", why);
        return;
    }
    if (!leads(call, &facts)) return;
    if (facts.member_count >= KW_META_PEERS_MAX) {
        kw_str_resp_error(call->out, "ERR there are %d metadata nodes already: that is as many as there may be",
                          KW_META_PEERS_MAX);
        return;
    }
    struct kw_door_slot *slot =
        change_slot(call, peer.id, "a metadata node has this id or this address already, or had the id once");
    int err = kw_replica_add(call->door->replica, &peer, on_changed, slot);
    if (err) on_changed(slot, err, NULL);
}

void kw_door_meta_remove(struct kw_door_call *call) {
    struct kw_replica_facts facts;
    uint64_t id;
    if (!take_id(call, &call->args[0], &id) || !leads(call, &facts)) return;
    if (!is_member(&facts, id)) {
        kw_str_resp_error(call->out, "NOTFOUND no metadata node has the id %llu", (unsigned long long)id);
        return;
    }
    struct kw_door_slot *slot = change_slot(call, id, "the last voter cannot be removed");
    int err = kw_replica_remove(call->door->replica, id, on_changed, slot);
    if (err) on_changed(slot, err, NULL);
}

void kw_door_meta_transfer(struct kw_door_call *call) {
    struct kw_replica_facts facts;
    uint64_t id = 0;
    if (call->arg_count > 1) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'keyway|meta|transfer' command");
        return;
    }
    if ((call->arg_count == 1 && !take_id(call, &call->args[0], &id)) || !leads(call, &facts)) return;
    if (id && !is_member(&facts, id)) {
        kw_str_resp_error(call->out, "NOTFOUND no metadata node has the id %llu", (unsigned long long)id);
        return;
    }
    if (id == facts.id) {
        kw_str_resp_simple(call->out, "OK");
        return;
    }
    struct kw_door_slot *slot = change_slot(call, TRANSFERS, "there is no other voter that could lead");
    int err = kw_replica_transfer(call->door->replica, id, on_changed, slot);
    if (err) on_changed(slot, err, NULL);
}
