/* See meta_calls.h. A callback may ask anew: lists are taken whole before any runs. */
#include "raft/client/meta_calls.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/str.h"

static void list_init(struct kw_meta_call_list *list) {
    list->head = NULL;
    list->tail = &list->head;
}

void kw_meta_calls_init(struct kw_meta_calls *calls) {
    list_init(&calls->sent);
    list_init(&calls->waiting);
    calls->asks = 0;
}

struct kw_meta_call *kw_meta_call_new(enum kw_meta_call_kind kind, size_t argc, const char *const *argv,
                                      const size_t *argv_len) {
    struct kw_meta_call *call = kw_calloc(1, sizeof(*call));
    struct kw_str frame = {0};
    kw_str_resp_array(&frame, argc);
    for (size_t i = 0; i < argc; i++) kw_str_resp_bulk(&frame, argv[i], argv_len ? argv_len[i] : strlen(argv[i]));
    call->kind = kind;
    call->frame = frame.data;
    call->len = frame.len;
    return call;
}

void kw_meta_calls_append(struct kw_meta_call_list *list, struct kw_meta_call *call) {
    call->next = NULL;
    *list->tail = call;
    list->tail = &call->next;
}

struct kw_meta_call *kw_meta_calls_take(struct kw_meta_call_list *list) {
    struct kw_meta_call *call = list->head;
    if (!call) return NULL;
    list->head = call->next;
    if (!list->head) list->tail = &list->head;
    return call;
}

/* The caller's function, at most once. */
static void answer(struct kw_meta_calls *calls, struct kw_meta_call *call, int err, const char *reply, size_t len) {
    kw_meta_client_reply_fn *fn = call->fn;
    if (!fn) return;
    call->fn = NULL;
    KW_ASSERT(calls->asks > 0);
    calls->asks--;
    fn(call->ctx, err, reply, len);
}

void kw_meta_call_finish(struct kw_meta_calls *calls, struct kw_meta_call *call, int err, const char *reply,
                         size_t len) {
    answer(calls, call, err, reply, len);
    kw_free(call->frame);
    kw_free(call);
}

void kw_meta_calls_lost(struct kw_meta_calls *calls) {
    struct kw_meta_call_list sent = calls->sent, again, failed;
    if (!sent.head) return;
    list_init(&calls->sent);
    list_init(&again);
    list_init(&failed);
    struct kw_meta_call *call = sent.head;
    while (call) {
        struct kw_meta_call *next = call->next;
        call->may_have_run = true;
        kw_meta_calls_append(call->fn && call->repeatable ? &again : &failed, call);
        call = next;
    }
    if (again.head) {
        *again.tail = calls->waiting.head;
        if (!calls->waiting.head) calls->waiting.tail = again.tail;
        calls->waiting.head = again.head;
    }
    for (call = failed.head; call;) {
        struct kw_meta_call *next = call->next;
        kw_meta_call_finish(calls, call, KW_ELINKLOST, NULL, 0);
        call = next;
    }
}

void kw_meta_calls_give_up(struct kw_meta_calls *calls) {
    struct kw_meta_call *call = calls->waiting.head;
    list_init(&calls->waiting);
    while (call) {
        struct kw_meta_call *next = call->next;
        kw_meta_call_finish(calls, call, call->may_have_run ? KW_ELINKLOST : KW_EUNREACHABLE, NULL, 0);
        call = next;
    }
}

void kw_meta_calls_abandon(struct kw_meta_calls *calls) {
    for (struct kw_meta_call *call = calls->sent.head; call; call = call->next) {
        answer(calls, call, KW_ELINKLOST, NULL, 0);
    }
    kw_meta_calls_give_up(calls);
}

static void expire_waiting(struct kw_meta_calls *calls, uint64_t now_ms) {
    struct kw_meta_call_list kept, over;
    struct kw_meta_call *call = calls->waiting.head;
    list_init(&kept);
    list_init(&over);
    while (call) {
        struct kw_meta_call *next = call->next;
        kw_meta_calls_append(now_ms >= call->deadline_ms ? &over : &kept, call);
        call = next;
    }
    calls->waiting = kept;
    if (!kept.head) list_init(&calls->waiting);
    for (call = over.head; call;) {
        struct kw_meta_call *next = call->next;
        kw_meta_call_finish(calls, call, call->may_have_run ? KW_ETIMEOUT : KW_EUNREACHABLE, NULL, 0);
        call = next;
    }
}

void kw_meta_calls_expire(struct kw_meta_calls *calls, uint64_t now_ms) {
    for (struct kw_meta_call *call = calls->sent.head; call; call = call->next) {
        if (call->fn && now_ms >= call->deadline_ms) answer(calls, call, KW_ETIMEOUT, NULL, 0);
    }
    if (calls->waiting.head) expire_waiting(calls, now_ms);
}

static uint64_t least_due(const struct kw_meta_call_list *list, uint64_t due) {
    for (const struct kw_meta_call *call = list->head; call; call = call->next) {
        if (call->fn && call->deadline_ms < due) due = call->deadline_ms;
    }
    return due;
}

uint64_t kw_meta_calls_due_ms(const struct kw_meta_calls *calls) {
    return least_due(&calls->waiting, least_due(&calls->sent, UINT64_MAX));
}

bool kw_meta_calls_awaited(const struct kw_meta_calls *calls) {
    for (const struct kw_meta_call *call = calls->sent.head; call; call = call->next) {
        if (call->fn) return true;
    }
    return false;
}
