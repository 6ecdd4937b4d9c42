/*
 * Requests that hold a link of their own: blocking commands, and commands with
 * a value too large to be kept (they flow through while they are received).
 * One at a time a session; it starts when everything before it is done.
 */
#ifndef KW_PROXY_STREAM_H
#define KW_PROXY_STREAM_H

#include <stdbool.h>
#include <stddef.h>

struct kw_worker;
struct kw_request;
struct kw_link;
struct kw_session;

/* A value announced with this many bytes or more is streamed, if its slot is known by then. */
enum { KW_STREAM_MIN = 1024 * 1024 };

/* From a dispatch pass: takes a private link and starts. False: not now. */
bool kw_stream_start(struct kw_worker *worker, struct kw_request *req);

/* The answer of the question whether the slot is at this node (before a streamed value is sent). */
void kw_stream_probed(struct kw_link *link, const char *text, size_t len);

/* The reply has come: the link goes back to the pool, or is closed. */
void kw_stream_finished(struct kw_link *link, struct kw_request *req);

/* It is over: what still comes of its frame is dropped. */
void kw_stream_forget(struct kw_request *req);

/* Its link died. */
void kw_stream_lost(struct kw_worker *worker, struct kw_request *req, const char *addr, const char *why, bool ran);

/* Bytes of the streamed frame. False: the request is over, drop the rest. */
struct kw_chunk;
bool kw_stream_bytes(struct kw_session *session, struct kw_chunk *chunk, size_t off, size_t len);
/* The frame is complete. */
void kw_stream_sent(struct kw_session *session);

/* True while the streamed request can take more bytes. */
bool kw_stream_ready(const struct kw_session *session);

#endif
