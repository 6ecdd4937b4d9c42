/*
 * Room on the disk. Looked at once a second: when it is short, the reserve is given up, so that what is under way still
 * fits, and leadership is handed on; when that is used up too, the node ends before a write fails. When there is room
 * again the reserve is made anew.
 */
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "raft/store/replica_internal.h"

#define MIB ((uint64_t)1024 * 1024)

enum {
    SHORT_MIB = 32,  /* a few segments of 8 MiB */
    END_MIB = 16,    /* after the reserve was given up */
    AGAIN_MIB = 128, /* the reserve fits, and then some */
};

static void hand_on(struct kw_replica *replica) {
    if (kw_replica_leads(replica)) kw_replica_transfer(replica, 0, NULL, NULL);
}

void kw_replica_space_check(struct kw_replica *replica) {
    static struct kw_log_limit limit;
    uint64_t free_bytes = kw_disk_free_bytes(replica->disk);
    replica->disk_free = free_bytes;
    if (replica->failed) return;
    if (free_bytes >= AGAIN_MIB * MIB && replica->short_of_space) {
        replica->short_of_space = kw_disk_reserve_make(replica->disk) != 0;
    } else if (free_bytes < SHORT_MIB * MIB && !replica->short_of_space) {
        replica->short_of_space = true;
        bool had = kw_disk_reserve_drop(replica->disk);
        kw_log_limited(&limit, KW_LOG_WARNING, "the disk of %s is nearly full (%llu MiB free)%s", replica->options.dir,
                       (unsigned long long)(free_bytes / MIB), had ? ": the reserve is given up" : "");
        hand_on(replica);
    } else if (free_bytes < END_MIB * MIB && replica->short_of_space) {
        kw_replica_fail(replica, 0, "the disk of %s is full (%llu MiB free): make room, then start this node again",
                        replica->options.dir, (unsigned long long)(free_bytes / MIB));
    }
}
