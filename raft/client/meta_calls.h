/*
 * Commands to the metadata service: those sent, in the order in which their
 * replies will come, and those that wait for a link. Every one that somebody
 * asked for is answered exactly once.
 */
#ifndef KW_RAFT_CLIENT_META_CALLS_H
#define KW_RAFT_CLIENT_META_CALLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "raft/client/meta_client.h"

enum kw_meta_call_kind {
    KW_META_CALL_HELLO,
    KW_META_CALL_WATCH,
    KW_META_CALL_STATUS,
    KW_META_CALL_REGISTER,
    KW_META_CALL_LEAVE,
    KW_META_CALL_ASK, /* somebody waits for the answer */
};

struct kw_meta_call {
    struct kw_meta_call *next;
    enum kw_meta_call_kind kind;
    char *frame; /* own; RESP */
    size_t len;
    kw_meta_client_reply_fn *fn; /* NULL: nobody waits any more */
    void *ctx;
    uint64_t deadline_ms;
    int resp;
    bool repeatable;
    bool may_have_run; /* it was on a link that was lost */
    unsigned moves;    /* times that it was answered NOTLEADER */
};

struct kw_meta_call_list {
    struct kw_meta_call *head, **tail;
};

struct kw_meta_calls {
    struct kw_meta_call_list sent, waiting;
    unsigned asks; /* of both that have not been answered */
};

void kw_meta_calls_init(struct kw_meta_calls *calls);

/* A call in RESP; argv_len may be NULL. */
struct kw_meta_call *kw_meta_call_new(enum kw_meta_call_kind kind, size_t argc, const char *const *argv,
                                      const size_t *argv_len);

void kw_meta_calls_append(struct kw_meta_call_list *list, struct kw_meta_call *call);
struct kw_meta_call *kw_meta_calls_take(struct kw_meta_call_list *list); /* the first; NULL: none */

/* Answers the call and frees it; it is in no list. */
void kw_meta_call_finish(struct kw_meta_calls *calls, struct kw_meta_call *call, int err, const char *reply,
                         size_t len);

/* The link is gone: what may be repeated waits again, the rest is answered KW_ELINKLOST. */
void kw_meta_calls_lost(struct kw_meta_calls *calls);
/* Answers all that wait. */
void kw_meta_calls_give_up(struct kw_meta_calls *calls);
/* Answers all; those that were sent keep their places in the order of replies. */
void kw_meta_calls_abandon(struct kw_meta_calls *calls);
/* Answers those whose time is over; one that was sent keeps its place in the order of replies. */
void kw_meta_calls_expire(struct kw_meta_calls *calls, uint64_t now_ms);
/* When the next one's time is over; UINT64_MAX: never. */
uint64_t kw_meta_calls_due_ms(const struct kw_meta_calls *calls);
/* Somebody waits for a reply to what was sent. */
bool kw_meta_calls_awaited(const struct kw_meta_calls *calls);

#endif
