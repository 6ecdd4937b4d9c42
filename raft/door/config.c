/* CONFIG GET, SET, REWRITE and RESETSTAT: the settings of this process (base/config.h), not those of the whole (KEYWAY
 * CONFIG). */
#include <string.h>

#include "raft/door/door_internal.h"

struct pairs {
    struct kw_str text;
    size_t count;
};

static void add_pair(void *ctx, const char *name, const char *value) {
    struct pairs *pairs = ctx;
    kw_door_pair_text(&pairs->text, name, value);
    pairs->count++;
}

void kw_door_config_get(struct kw_door_call *call) {
    struct pairs pairs = {0};
    if (kw_config_get(call->door->options.cfg, call->args, call->arg_count, add_pair, &pairs)) {
        kw_str_resp_error(call->out, "ERR out of memory");
    } else {
        kw_str_resp_map(call->out, call->resp, pairs.count);
        if (pairs.text.len) kw_str_append(call->out, pairs.text.data, pairs.text.len);
    }
    kw_str_deinit(&pairs.text);
}

void kw_door_config_set(struct kw_door_call *call) {
    struct kw_config_error err;
    if (call->arg_count % 2) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'config|set' command");
    } else if (kw_config_set_many(call->door->options.cfg, call->args, call->arg_count, &err)) {
        kw_str_resp_error(call->out, "ERR %s", err.text);
    } else {
        kw_str_resp_simple(call->out, "OK");
    }
}

void kw_door_config_rewrite(struct kw_door_call *call) {
    struct kw_config_error err;
    if (!kw_config_path(call->door->options.cfg)) {
        kw_str_resp_error(call->out, "ERR The server is running without a config file");
    } else if (kw_config_rewrite(call->door->options.cfg, NULL, &err)) {
        kw_str_resp_error(call->out, "ERR Rewriting config file: %s", err.text);
    } else {
        kw_str_resp_simple(call->out, "OK");
    }
}

/* The longest turns are looked for anew. */
void kw_door_config_resetstat(struct kw_door_call *call) {
    kw_replica_turn_reset(call->door->replica);
    kw_str_resp_simple(call->out, "OK");
}
