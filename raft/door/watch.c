/*
 * Pushes of the cluster map. A change is encoded once for all watchers that had
 * the same map before (as a rule all of them), and queued for every one of them
 * in the turn that applied it; the bytes are shared. Somebody who comes back
 * with a version that is still kept gets the difference.
 *
 * A push is no reply: it leaves between two replies, never within one. While a
 * backup is being sent it waits, and then says what is true by that time.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"

/* The present map as a frame, without its first byte, which depends on the client's protocol. */
struct kw_door_encoded {
    struct kw_door_encoded *next;
    struct kw_map *from;    /* own reference; NULL: the whole */
    struct kw_chunk *frame; /* own reference */
};

static void encoded_drop(struct kw_door *door) {
    struct kw_door_encoded *one = door->encoded;
    door->encoded = NULL;
    while (one) {
        struct kw_door_encoded *next = one->next;
        kw_map_unref(one->from);
        kw_chunk_unref(one->frame);
        kw_free(one);
        one = next;
    }
}

static struct kw_chunk *chunk_of(struct kw_door *door, const struct kw_str *frame) {
    struct kw_chunk *chunk = kw_chunk_new_try(door->pool, frame->len);
    if (!chunk) return NULL;
    memcpy(chunk->data, frame->data, frame->len);
    chunk->len = frame->len;
    return chunk;
}

static struct kw_chunk *encode(struct kw_door *door, struct kw_map *from, struct kw_map **based_on) {
    struct kw_str bytes = {0}, frame = {0};
    bool diff = from && kw_map_diff(&bytes, from, door->map);
    *based_on = diff ? from : NULL;
    if (!diff) {
        kw_str_clear(&bytes);
        kw_map_encode(&bytes, door->map);
    }
    kw_str_append_text(&frame, "5\r\n");
    kw_str_resp_text(&frame, "keyway");
    kw_str_resp_text(&frame, "map");
    kw_str_resp_int(&frame, (long long)door->map->version);
    kw_str_resp_text(&frame, diff ? "diff" : "full");
    kw_str_resp_bulk(&frame, bytes.data, bytes.len);
    struct kw_chunk *chunk = chunk_of(door, &frame);
    kw_str_deinit(&bytes);
    kw_str_deinit(&frame);
    return chunk;
}

/* The frame for one who has `from` (NULL: nothing), made on first need. Borrowed; NULL: no memory. */
static struct kw_chunk *frame_for(struct kw_door *door, struct kw_map *from) {
    for (struct kw_door_encoded *one = door->encoded; one; one = one->next) {
        if (one->from == from) return one->frame;
    }
    struct kw_map *based_on;
    struct kw_chunk *frame = encode(door, from, &based_on);
    if (!frame) return NULL;
    struct kw_door_encoded *one = kw_calloc(1, sizeof(*one));
    /* Where no difference is worth its bytes, the whole is kept under both names. */
    one->from = from ? kw_map_ref(from) : NULL;
    one->frame = frame;
    one->next = door->encoded;
    door->encoded = one;
    return frame;
}

static void send_frame(struct kw_door_session *session, struct kw_chunk *frame) {
    if (!kw_door_send(session, session->resp >= 3 ? ">" : "*", 1)) return;
    if (kw_door_send_chunk(session, frame)) session->door->pushes++;
}

/* Between the pieces of a reply there is no room for a push. */
static bool in_long_reply(const struct kw_door_session *session) {
    return session->head && session->head->begun;
}

static void push_map(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    session->watch.due = in_long_reply(session);
    if (session->watch.due || session->watch.sent == door->map) return;
    struct kw_chunk *frame = frame_for(door, session->watch.sent);
    if (!frame) {
        kw_door_close_session(session);
        return;
    }
    kw_map_unref(session->watch.sent);
    session->watch.sent = kw_map_ref(door->map);
    send_frame(session, frame);
}

static void keep_older(struct kw_door *door, struct kw_map *map) {
    kw_map_unref(door->older[door->older_next]);
    door->older[door->older_next] = map;
    door->older_next = (door->older_next + 1) % KW_DOOR_MAPS_KEPT;
}

/*
 * The others learn that an entry is committed from the leader's next message, which may be as far away as the next
 * heartbeat. Their watchers should not wait for it: an entry of nothing is that message.
 */
static void tell_followers(struct kw_door *door) {
    struct kw_record nothing = {.type = KW_RECORD_NOP};
    if (kw_replica_role(door->replica) == KW_ROLE_LEADER) kw_replica_submit(door->replica, &nothing, NULL, NULL);
}

void kw_door_watch_applied(struct kw_door *door) {
    struct kw_map *map = kw_meta_state_map(kw_door_state(door));
    if (map == door->map) return;
    if (door->map) {
        keep_older(door, door->map);
        tell_followers(door);
    }
    door->map = kw_map_ref(map);
    encoded_drop(door);
    struct kw_door_session *next;
    for (struct kw_door_session *session = door->watchers; session; session = next) {
        next = session->watch.next;
        push_map(session);
    }
}

void kw_door_watch_resume(struct kw_door_session *session) {
    if (session->door->replica) push_map(session);
}

/* ---- signs of life */

static struct kw_chunk *alive_frame(struct kw_door *door) {
    struct kw_meta_address address;
    char leader[KW_DOOR_ADDRESS_SIZE] = "";
    struct kw_str frame = {0};
    door->alive_leader = kw_replica_leader(door->replica, &address);
    if (door->alive_leader) kw_door_host_port(leader, address.host, address.port);
    kw_str_append_text(&frame, "5\r\n");
    kw_str_resp_text(&frame, "keyway");
    kw_str_resp_text(&frame, "alive");
    kw_str_resp_int(&frame, (long long)kw_meta_state_index(kw_door_state(door)));
    kw_str_resp_int(&frame, (long long)door->alive_leader);
    kw_str_resp_text(&frame, leader);
    struct kw_chunk *chunk = chunk_of(door, &frame);
    kw_str_deinit(&frame);
    return chunk;
}

void kw_door_watch_alive(struct kw_door *door) {
    struct kw_chunk *frame = alive_frame(door);
    struct kw_door_session *next;
    for (struct kw_door_session *session = frame ? door->watchers : NULL; session; session = next) {
        next = session->watch.next;
        if (!in_long_reply(session)) send_frame(session, frame);
    }
    if (frame) kw_chunk_unref(frame);
}

/* ---- who watches */

static struct kw_map *kept_version(const struct kw_door *door, uint64_t version) {
    if (door->map->version == version) return door->map;
    for (unsigned i = 0; i < KW_DOOR_MAPS_KEPT; i++) {
        if (door->older[i] && door->older[i]->version == version) return door->older[i];
    }
    return NULL;
}

static void watch_start(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    if (session->watch.on) return;
    session->watch.on = true;
    session->watch.prev = NULL;
    session->watch.next = door->watchers;
    if (door->watchers) door->watchers->watch.prev = session;
    door->watchers = session;
    door->watcher_count++;
}

void kw_door_watch_stop(struct kw_door_session *session) {
    struct kw_door *door = session->door;
    kw_map_unref(session->watch.sent);
    session->watch.sent = NULL;
    session->watch.due = false;
    if (!session->watch.on) return;
    session->watch.on = false;
    door->watcher_count--;
    if (session->watch.prev) {
        session->watch.prev->watch.next = session->watch.next;
    } else {
        door->watchers = session->watch.next;
    }
    if (session->watch.next) session->watch.next->watch.prev = session->watch.prev;
}

void kw_door_watch_deinit(struct kw_door *door) {
    encoded_drop(door);
    kw_map_unref(door->map);
    for (unsigned i = 0; i < KW_DOOR_MAPS_KEPT; i++) kw_map_unref(door->older[i]);
}

/* WATCH [VERSION v] */
void kw_door_watch(struct kw_door_call *call) {
    struct kw_door_session *session = call->session;
    uint64_t version = 0;
    if (call->arg_count != 0 && !(call->arg_count == 2 && kw_door_is(&call->args[0], "version"))) {
        kw_door_syntax(call);
        return;
    }
    if (call->arg_count == 2 && !kw_door_u64(&call->args[1], &version)) {
        kw_str_resp_error(call->out, "ERR VERSION takes the version of a map");
        return;
    }
    struct kw_map *has = call->arg_count ? kept_version(call->door, version) : NULL;
    kw_map_unref(session->watch.sent);
    session->watch.sent = has ? kw_map_ref(has) : NULL;
    kw_str_resp_simple(call->out, "OK");
    kw_door_reply(session, call->out);
    kw_str_clear(call->out); /* it is on its way, before what follows */
    if (session->closing) return;
    watch_start(session);
    push_map(session);
    struct kw_chunk *alive = session->closing ? NULL : alive_frame(call->door);
    if (!alive) return;
    send_frame(session, alive);
    kw_chunk_unref(alive);
}
