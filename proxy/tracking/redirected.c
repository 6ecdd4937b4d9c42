/* See redirected.h. Targets are found by id in a short list of the worker: few clients are ever named. */
#include "proxy/tracking/redirected.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/str.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/tracking/tracking.h"
#include "proxy/worker.h"

struct note {
    struct kw_message message;
    struct kw_worker *home;
    uint64_t from; /* client ids */
    uint64_t to;
    void (*gone)(void *session);
    size_t len;
    char frame[];
};

static struct kw_session *session_by_id(struct kw_worker *worker, uint64_t id) {
    struct kw_session *session = worker->sessions;
    while (session && session->id != id) session = session->next;
    return session;
}

static struct kw_session *target_by_id(struct kw_worker *worker, uint64_t id) {
    for (size_t i = 0; i < worker->target_count; i++) {
        if (worker->targets[i]->id == id) return worker->targets[i];
    }
    return NULL;
}

void kw_tracking_make_target(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    if (target_by_id(worker, session->id)) return;
    worker->targets = kw_realloc(worker->targets, (worker->target_count + 1) * sizeof(struct kw_session *));
    worker->targets[worker->target_count++] = session;
}

void kw_tracking_leave_target(struct kw_session *session) {
    struct kw_worker *worker = session->worker;
    for (size_t i = 0; i < worker->target_count; i++) {
        if (worker->targets[i] != session) continue;
        worker->targets[i] = worker->targets[--worker->target_count];
        return;
    }
}

/* RESP3 gets the frame as it is; RESP2 a message, if it listens at all. */
static void hand_on(struct kw_session *target, const struct note *note) {
    static const char head[] = ">2\r\n$10\r\ninvalidate\r\n";
    static const char message[] = "*3\r\n$7\r\nmessage\r\n$20\r\n__redis__:invalidate\r\n";
    struct kw_str text = {0};
    if (target->resp3) {
        kw_str_append(&text, note->frame, note->len);
    } else if (target->subscribed) {
        const char *keys = note->frame + sizeof(head) - 1;
        size_t len = note->len - (sizeof(head) - 1);
        kw_str_append_text(&text, message);
        if (*keys == '_') {
            kw_str_resp_null_array(&text, 2);
        } else {
            kw_str_append(&text, keys, len);
        }
    }
    if (text.len) {
        struct kw_outq *to = kw_session_push_queue(target);
        if (!kw_outq_copy_try(to, target->worker->pool, text.data, text.len, 4096) || kw_session_over_limit(target)) {
            kw_session_close(target);
        }
    }
    kw_str_deinit(&text);
}

static void come_back(struct kw_worker *worker, struct kw_message *message) {
    struct note *note = KW_CONTAINER_OF(message, struct note, message);
    struct kw_session *session = session_by_id(worker, note->from);
    if (session) note->gone(session);
    kw_free(note);
}

static void arrive(struct kw_worker *worker, struct kw_message *message) {
    struct note *note = KW_CONTAINER_OF(message, struct note, message);
    struct kw_session *target = target_by_id(worker, note->to);
    if (target) {
        hand_on(target, note);
        kw_free(note);
        return;
    }
    note->message.run = come_back;
    if (!kw_worker_post(note->home, &note->message)) kw_free(note);
}

void kw_redirected_send(struct kw_session *from, unsigned worker, uint64_t id, const char *frame, size_t len,
                        void (*gone)(void *session)) {
    struct note *note = kw_calloc(1, sizeof(*note) + len);
    note->message.run = arrive;
    note->home = from->worker;
    note->from = from->id;
    note->to = id;
    note->gone = gone;
    note->len = len;
    memcpy(note->frame, frame, len);
    if (!kw_worker_post(kw_server_worker(from->worker->server, worker), &note->message)) kw_free(note);
}
