/*
 * KEYWAY ATTACH and DETACH: adopting an existing Redis Cluster, and forgetting
 * it. The text of CLUSTER NODES becomes the first map, from which the observer
 * goes on. Each refusal says what to do.
 */
#include <string.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"

static struct kw_map *map_of_text(struct kw_door_call *call, const struct kw_arg *text) {
    struct kw_topo_view *view;
    /* A node that was never met has no address in its own words: it is on this machine, then. */
    int err = kw_topo_view_parse(&view, text->data, text->len, "127.0.0.1");
    if (err) {
        kw_str_resp_error(call->out, "ERR the text is no reply of CLUSTER NODES: %s", kw_error_text(err));
        return NULL;
    }
    const struct kw_topo_view *views[] = {view};
    struct kw_topology *topology = kw_topology_merge(views, 1, NULL);
    struct kw_map *map = NULL;
    if (!topology || topology->owned_slots == 0) {
        kw_str_resp_error(call->out, "ERR the cluster has no slots: form it first, then attach it");
    } else {
        map = kw_map_from_topology(topology);
    }
    kw_topology_unref(topology);
    kw_topo_view_free(view);
    return map;
}

/* ATTACH text [REPLACE] */
void kw_door_attach(struct kw_door_call *call) {
    bool replace = call->arg_count == 2 && kw_door_is(&call->args[1], "replace");
    if (call->arg_count > 1 && !replace) {
        kw_door_syntax(call);
        return;
    }
    if (kw_replica_role(call->door->replica) != KW_ROLE_LEADER) {
        kw_door_outcome(call->door, call->out, KW_ENOTLEADER);
        return;
    }
    const struct kw_map *now = kw_meta_state_map(kw_door_state(call->door));
    struct kw_map *fresh = map_of_text(call, &call->args[0]);
    if (!fresh) return;
    if (now->node_count > 0 && !replace && !kw_map_shares_a_node(now, fresh)) {
        kw_str_resp_error(call->out, "ERR another cluster is attached: detach first (KEYWAY DETACH), or say REPLACE");
    } else {
        struct kw_str bytes = {0};
        kw_map_encode(&bytes, fresh);
        struct kw_record record = {
            .type = KW_RECORD_MAP, .expect = now->version, .value = bytes.data, .value_len = bytes.len};
        kw_door_submit(call, &record, kw_door_answer_version);
        kw_str_deinit(&bytes);
    }
    kw_map_unref(fresh);
}

void kw_door_detach(struct kw_door_call *call) {
    if (kw_replica_role(call->door->replica) != KW_ROLE_LEADER) {
        kw_door_outcome(call->door, call->out, KW_ENOTLEADER);
        return;
    }
    const struct kw_map *now = kw_meta_state_map(kw_door_state(call->door));
    if (now->node_count == 0 && !call->has_id) {
        kw_str_resp_error(call->out, "ERR no cluster is attached");
        return;
    }
    struct kw_record record = {.type = KW_RECORD_DETACH, .expect = now->version};
    kw_door_submit(call, &record, kw_door_answer_version);
}
