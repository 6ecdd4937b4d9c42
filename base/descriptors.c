/* The process's limit of file descriptors. */
#include "base/descriptors.h"

#include <sys/resource.h>

#include "base/log.h"

enum { RESERVE = 1024 }; /* for links, peers and files */

void kw_descriptors_want(long long maxclients) {
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit)) return;
    rlim_t want = (rlim_t)maxclients + RESERVE;
    if (limit.rlim_cur >= want) return;
    limit.rlim_cur = limit.rlim_max == RLIM_INFINITY || want < limit.rlim_max ? want : limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) || limit.rlim_cur < want) {
        kw_log(KW_LOG_WARNING, "maxclients %lld needs %llu file descriptors, the limit is %llu", maxclients,
               (unsigned long long)want, (unsigned long long)limit.rlim_cur);
    }
}
