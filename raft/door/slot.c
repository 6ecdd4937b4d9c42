/*
 * The order of replies: a request whose reply comes later takes a slot at the
 * end of its connection's queue; what is behind it waits in the queue too. A slot outlives
 * its connection when the replica still has to answer it; it is freed by
 * kw_door_slot_done in any case.
 */
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "raft/door/door_internal.h"

static void slot_free(struct kw_door_slot *slot) {
    if (slot->free_own) slot->free_own(slot->own);
    if (slot->image) kw_meta_image_free(slot->image);
    kw_str_deinit(&slot->reply);
    kw_free(slot);
}

static void enqueue(struct kw_door_session *session, struct kw_door_slot *slot) {
    slot->door = session->door;
    slot->session = session;
    slot->resp = session->resp;
    if (session->tail) {
        session->tail->next = slot;
    } else {
        session->head = slot;
    }
    session->tail = slot;
    session->slot_count++;
}

struct kw_door_slot *kw_door_slot_new(struct kw_door_session *session, const struct kw_arg *argv, size_t argc) {
    size_t bytes = 0;
    for (size_t i = 0; i < argc; i++) bytes += argv[i].len;
    struct kw_door_slot *slot = kw_calloc(1, sizeof(*slot) + argc * sizeof(slot->argv[0]) + bytes);
    char *at = (char *)&slot->argv[argc];
    slot->argc = argc;
    for (size_t i = 0; i < argc; i++) {
        if (argv[i].len) memcpy(at, argv[i].data, argv[i].len);
        slot->argv[i] = (struct kw_arg){at, argv[i].len};
        at += argv[i].len;
    }
    enqueue(session, slot);
    return slot;
}

static void count_error(const struct kw_door_slot *slot) {
    if (slot->reply.len && slot->reply.data[0] == '-') slot->door->errors++;
}

static void run_read(struct kw_door_slot *slot) {
    kw_door_read_due(slot);
    slot->session->held_bytes += slot->reply.len;
    count_error(slot);
}

void kw_door_slots_advance(struct kw_door_session *session) {
    while (!session->closing && session->head && session->head->done) {
        struct kw_door_slot *slot = session->head;
        /* Both go on when the socket has taken some. */
        if (slot->read_due && session->out.bytes >= KW_DOOR_OUT_HIGH) return;
        if (slot->read_due) run_read(slot);
        if (slot->image && !kw_door_stream(session)) return;
        session->head = slot->next;
        if (!session->head) session->tail = NULL;
        session->slot_count--;
        session->held_bytes -= slot->reply.len;
        if (slot->reply.len) kw_door_send(session, slot->reply.data, slot->reply.len);
        slot_free(slot);
    }
    if (!session->closing && session->watch.due) kw_door_watch_resume(session);
    if (!session->closing && (session->paused || session->held)) kw_door_mark(session);
}

void kw_door_slot_done(struct kw_door_slot *slot) {
    struct kw_door_session *session = slot->session;
    if (!session) {
        slot_free(slot);
        return;
    }
    slot->done = true;
    session->held_bytes += slot->reply.len;
    count_error(slot);
    if (session->head == slot) {
        kw_door_slots_advance(session);
    } else if (kw_door_unread_bytes(session) > KW_DOOR_OUTPUT_MAX) {
        session->door->slow_closed++;
        kw_door_close_session(session);
    }
}

void kw_door_reply(struct kw_door_session *session, const struct kw_str *reply) {
    if (!session->head) {
        if (reply->len && reply->data[0] == '-') session->door->errors++;
        kw_door_send(session, reply->data, reply->len);
        return;
    }
    struct kw_door_slot *slot = kw_door_slot_new(session, NULL, 0);
    kw_str_append(&slot->reply, reply->data, reply->len);
    kw_door_slot_done(slot);
}

void kw_door_slots_forget(struct kw_door_session *session) {
    struct kw_door_slot *slot = session->head;
    session->head = session->tail = NULL;
    session->slot_count = 0;
    session->held_bytes = 0;
    while (slot) {
        struct kw_door_slot *next = slot->next;
        slot->session = NULL;
        slot->next = NULL;
        if (slot->done) slot_free(slot);
        slot = next;
    }
}
