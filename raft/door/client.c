/* CLIENT: names and the list of connections, in the form of Redis 7.0. */
#include <arpa/inet.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/door/door_internal.h"

enum { ADDR_MAX = 80 };

bool kw_door_valid_name(const struct kw_arg *name) {
    for (size_t i = 0; i < name->len; i++) {
        if (name->data[i] < '!' || name->data[i] > '~') return false;
    }
    return true;
}

void kw_door_set_text(char **field, const struct kw_arg *value) {
    kw_free(*field);
    *field = value->len ? kw_strndup(value->data, value->len) : NULL;
}

void kw_door_client_id(struct kw_door_call *call) {
    kw_str_resp_int(call->out, (long long)call->session->id);
}

void kw_door_client_getname(struct kw_door_call *call) {
    if (call->session->name) {
        kw_str_resp_text(call->out, call->session->name);
    } else {
        kw_str_resp_null(call->out, call->resp);
    }
}

void kw_door_client_setname(struct kw_door_call *call) {
    if (!kw_door_valid_name(&call->argv[2])) {
        kw_str_resp_error(call->out, "ERR Client names cannot contain spaces, newlines or special characters.");
        return;
    }
    kw_door_set_text(&call->session->name, &call->argv[2]);
    kw_str_resp_simple(call->out, "OK");
}

void kw_door_client_setinfo(struct kw_door_call *call) {
    const struct kw_arg *what = &call->argv[2];
    bool is_name = kw_door_is(what, "lib-name");
    if (!is_name && !kw_door_is(what, "lib-ver")) {
        kw_str_resp_error(call->out, "ERR Unrecognized option '%.*s'", kw_door_shown(what), what->data);
    } else if (!kw_door_valid_name(&call->argv[3])) {
        kw_str_resp_error(call->out, "ERR %s cannot contain spaces, newlines or special characters.",
                          is_name ? "lib-name" : "lib-ver");
    } else {
        kw_door_set_text(is_name ? &call->session->lib_name : &call->session->lib_version, &call->argv[3]);
        kw_str_resp_simple(call->out, "OK");
    }
}

static void take_switch(struct kw_door_call *call, bool *into) {
    bool on = kw_door_is(&call->argv[2], "on");
    if (!on && !kw_door_is(&call->argv[2], "off")) {
        kw_door_syntax(call);
        return;
    }
    *into = on;
    kw_str_resp_simple(call->out, "OK");
}

void kw_door_client_no_evict(struct kw_door_call *call) {
    take_switch(call, &call->session->no_evict);
}

void kw_door_client_no_touch(struct kw_door_call *call) {
    take_switch(call, &call->session->no_touch);
}

/* ---- LIST, INFO */

static void print_address(const struct sockaddr_storage *address, char out[ADDR_MAX]) {
    char host[INET6_ADDRSTRLEN] = "?";
    unsigned port = 0;
    if (address->ss_family == AF_INET) {
        const struct sockaddr_in *v4 = (const struct sockaddr_in *)address;
        inet_ntop(AF_INET, &v4->sin_addr, host, sizeof(host));
        port = ntohs(v4->sin_port);
    } else if (address->ss_family == AF_INET6) {
        const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)address;
        inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof(host));
        port = ntohs(v6->sin6_port);
    }
    snprintf(out, ADDR_MAX, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host, port);
}

static void describe(const struct kw_door_session *session, struct kw_str *out) {
    struct sockaddr_storage peer = {0}, local = {0};
    int peer_len = sizeof(peer), local_len = sizeof(local), fd = -1;
    char peer_text[ADDR_MAX], local_text[ADDR_MAX], flags[4];
    uint64_t now = uv_now(session->door->loop);
    uv_tcp_getpeername(&session->tcp, (struct sockaddr *)&peer, &peer_len);
    uv_tcp_getsockname(&session->tcp, (struct sockaddr *)&local, &local_len);
    uv_fileno((const uv_handle_t *)&session->tcp, &fd);
    print_address(&peer, peer_text);
    print_address(&local, local_text);
    snprintf(flags, sizeof(flags), "%s%s",
             session->watch.on   ? "P"
             : session->no_evict ? ""
                                 : "N",
             session->no_evict ? "e" : "");
    kw_str_printf(out, "id=%llu addr=%s laddr=%s fd=%d name=%s age=%llu idle=%llu flags=%s db=0 sub=%d psub=0 ssub=0 ",
                  (unsigned long long)session->id, peer_text, local_text, fd, session->name ? session->name : "",
                  (unsigned long long)(now - session->since_ms) / 1000,
                  (unsigned long long)(now - session->last_ms) / 1000, flags, session->watch.on);
    kw_str_printf(out,
                  "multi=-1 qbuf=%zu qbuf-free=0 argv-mem=0 multi-mem=0 rbs=0 rbp=0 obl=0 oll=%u omem=%zu tot-mem=%zu "
                  "events=%s cmd=%s user=default redir=-1 resp=%d lib-name=%s lib-ver=%s\n",
                  session->carry_len, session->slot_count, kw_door_unread_bytes(session),
                  sizeof(*session) + session->carry_cap + kw_door_unread_bytes(session), session->writing ? "rw" : "r",
                  session->last ? session->last->name : "NULL", session->resp,
                  session->lib_name ? session->lib_name : "", session->lib_version ? session->lib_version : "");
}

void kw_door_client_info(struct kw_door_call *call) {
    struct kw_str line = {0};
    describe(call->session, &line);
    kw_str_resp_verbatim(call->out, call->resp, line.data, line.len);
    kw_str_deinit(&line);
}

static bool asked_for(const struct kw_door_call *call, uint64_t id, bool *bad) {
    if (call->argc == 2) return true;
    bool found = false;
    for (size_t i = 3; i < call->argc; i++) {
        uint64_t wanted = 0;
        *bad = *bad || !kw_door_u64(&call->argv[i], &wanted);
        found = found || wanted == id;
    }
    return found;
}

/* CLIENT LIST [TYPE normal|pubsub|master|replica] [ID id ...], oldest first */
void kw_door_client_list(struct kw_door_call *call) {
    bool by_type = call->argc == 4 && kw_door_is(&call->argv[2], "type");
    bool by_id = call->argc > 3 && kw_door_is(&call->argv[2], "id");
    bool bad = false;
    if (call->argc > 2 && !by_type && !by_id) {
        kw_door_syntax(call);
        return;
    }
    bool pubsub = by_type && kw_door_is(&call->argv[3], "pubsub");
    bool nobody = by_type && (kw_door_is(&call->argv[3], "master") || kw_door_is(&call->argv[3], "replica") ||
                              kw_door_is(&call->argv[3], "slave"));
    if (by_type && !pubsub && !nobody && !kw_door_is(&call->argv[3], "normal")) {
        kw_str_resp_error(call->out, "ERR Unknown client type '%.*s'", kw_door_shown(&call->argv[3]),
                          call->argv[3].data);
        return;
    }
    struct kw_str text = {0};
    const struct kw_door_session *oldest = call->door->sessions;
    while (oldest && oldest->next) oldest = oldest->next;
    for (const struct kw_door_session *one = oldest; one; one = one->prev) {
        bool wanted = by_type ? !nobody && one->watch.on == pubsub : asked_for(call, one->id, &bad);
        if (wanted) describe(one, &text);
    }
    if (bad) {
        kw_str_resp_error(call->out, "ERR Invalid client ID");
    } else {
        kw_str_resp_verbatim(call->out, call->resp, text.data ? text.data : "", text.len);
    }
    kw_str_deinit(&text);
}
