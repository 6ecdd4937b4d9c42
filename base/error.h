/*
 * The operational errors: one row each. Functions return 0 or a negative code
 * of this table. The two columns say what a caller may conclude: whether
 * trying again can help, and whether the command may have run at a node.
 */
#ifndef KW_BASE_ERROR_H
#define KW_BASE_ERROR_H

#include <stdbool.h>

/*        name         retry  may_have_run  text */
#define KW_ERROR_MAP(X)                                                                                                \
    X(NOMEM, true, false, "out of memory")                                                                             \
    X(INVALID, false, false, "invalid value")                                                                          \
    X(RANGE, false, false, "value out of range")                                                                       \
    X(UNKNOWN, false, false, "unknown name")                                                                           \
    X(IO, true, false, "input/output error")                                                                           \
    X(PROTOCOL, false, false, "protocol error")                                                                        \
    X(LIMIT, true, false, "limit reached")                                                                             \
    X(UNREACHABLE, true, false, "peer not reachable")                                                                  \
    X(LINKLOST, true, true, "connection lost before the reply")                                                        \
    X(TIMEOUT, true, true, "no reply in time")                                                                         \
    X(NOOWNER, true, false, "no node serves the slot")                                                                 \
    X(CONFLICT, false, false, "changed meanwhile by another")                                                          \
    X(NOTLEADER, true, false, "not the leader")                                                                        \
    X(INDOUBT, true, true, "outcome unknown")                                                                          \
    X(CLOSED, false, false, "closed")

enum kw_error {
    KW_OK = 0,
#define X(name, retry, ran, text) KW_ENUM_##name,
    KW_ERROR_MAP(X)
#undef X
#define X(name, retry, ran, text) KW_E##name = -KW_ENUM_##name,
        KW_ERROR_MAP(X)
#undef X
};

/* Static text for a code; "unknown error" for one that is not in the table. */
const char *kw_error_text(int code);

/* True where the same attempt may succeed later. */
bool kw_error_retryable(int code);

/* True where a node may have executed the command in spite of the error. */
bool kw_error_may_have_run(int code);

#endif
