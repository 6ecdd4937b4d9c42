/*
 * What the metadata service sends, understood as far as a client needs it:
 * pushes, the members in STATUS, redirections; and replies made fit for RESP2.
 * The bytes are one whole RESP value (base/resp_reply.h found its end), and
 * otherwise untrusted: what has another shape is refused. Pure; any thread.
 */
#ifndef KW_RAFT_CLIENT_META_FRAME_H
#define KW_RAFT_CLIENT_META_FRAME_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/str.h"

enum kw_meta_push_kind {
    KW_META_PUSH_MAP,   /* `bytes` are a map */
    KW_META_PUSH_DIFF,  /* `bytes` lead to the map of `number` */
    KW_META_PUSH_ALIVE, /* `number` is the applied index */
    KW_META_PUSH_OTHER, /* of another subject: to be passed over */
};

struct kw_meta_push {
    enum kw_meta_push_kind kind;
    uint64_t number;
    struct kw_arg bytes; /* borrowed */
    uint64_t leader_id;
    struct kw_arg leader; /* borrowed; "host:port" or empty */
};

/* 0, or KW_EPROTOCOL. */
int kw_meta_push_parse(struct kw_meta_push *out, const char *frame, size_t len);

/* Calls `fn` with the address of each member in a reply of STATUS; any other reply has none. */
typedef void kw_meta_member_fn(void *ctx, const char *address, size_t len);
void kw_meta_members_each(const char *frame, size_t len, kw_meta_member_fn *fn, void *ctx);

/* True for -NOTLEADER; `*address` is "host:port", borrowed. */
bool kw_meta_is_notleader(const char *frame, size_t len, struct kw_arg *address);
/* True for an error reply with that code ("WRONGPASS"). */
bool kw_meta_is_error(const char *frame, size_t len, const char *code);

/* Appends the value as RESP2 has it. 0, or KW_EPROTOCOL. */
int kw_meta_to_resp2(struct kw_str *out, const char *frame, size_t len);

#endif
