/* Inside of the intake: shared by intake.c, command_request.c and stream.c. */
#ifndef KW_PROXY_INTAKE_H
#define KW_PROXY_INTAKE_H

#include <stdbool.h>
#include <stddef.h>

#include "base/buffer.h"
#include "base/resp_request.h"

struct kw_session;
struct kw_request;

/* A large payload of the frame being received. */
struct kw_big {
    size_t at; /* offset in the carry behind which it belongs */
    struct kw_outq data;
};

/* A frame that has not arrived whole, and bytes behind it that must wait. */
struct kw_intake {
    struct kw_request_parse parse;
    struct kw_chunk *carry; /* own; the frame's bytes without large payloads; carry->len is their number */
    struct kw_big *bigs;    /* own; one for each large argument, in order */
    unsigned big_count;
    size_t big_left;           /* of the payload being received, bytes */
    size_t big_bytes;          /* kept in bigs */
    struct kw_request *stream; /* borrowed; the frame is being streamed as this */
    bool streaming;            /* the frame flows through, or is dropped */
    bool stream_open;          /* a link takes its bytes */
    bool ready;                /* the carried frame is complete and waits to be run */
    size_t stream_sent;        /* bytes of the carry that have been passed on */
    struct kw_outq backlog;    /* received, not looked at yet */
};

/* Plans and starts a command whose frame is complete. */
struct kw_frame_source {
    const struct kw_request_parse *parse;
    const char *base;       /* the frame's first byte */
    struct kw_chunk *chunk; /* that holds it, at `off` */
    size_t off;
    size_t len;
    struct kw_big *bigs;
    unsigned big_count;
};
/* False: not now (the session says what it waits for); it is to be given again later. */
bool kw_command_request(struct kw_session *session, const struct kw_frame_source *frame);

/*
 * A frame announces a large value: true when it is streamed from here on
 * (the session's queue has its request).
 */
bool kw_command_stream(struct kw_session *session, struct kw_intake *intake);

#endif
