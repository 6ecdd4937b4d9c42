/* One argument of a command, as the parser found it. Borrowed: valid while the request's bytes are. */
#ifndef KW_BASE_ARG_H
#define KW_BASE_ARG_H

#include <stddef.h>

struct kw_arg {
    const char *data; /* borrowed; not NUL-terminated; NULL when the payload is large and not contiguous */
    size_t len;       /* bytes */
};

#endif
