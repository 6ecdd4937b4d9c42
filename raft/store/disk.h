/*
 * The data folder of a metadata node, looked at before libraft opens it and
 * watched while it runs: who it belongs to, whether its log is whole, whether
 * there is room. Blocking calls, before the loop runs, unless said otherwise.
 */
#ifndef KW_RAFT_STORE_DISK_H
#define KW_RAFT_STORE_DISK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct kw_disk;

enum { KW_DISK_WHY_SIZE = 768, KW_DISK_RESERVE_BYTES = 32 * 1024 * 1024 };

enum kw_disk_found {
    KW_DISK_EMPTY, /* a new node; also one that was killed before its log held anything */
    KW_DISK_OURS,  /* has run before under this id and cluster name, its log can be read */
};

/*
 * Makes the folder if need be (0700), takes its lock (another process: KW_ELIMIT), checks the identity file ("id",
 * cluster name, format), scans closed and open segments, metadata files and snapshots (name, length, checksums): a torn
 * tail of an open segment is normal, bad data followed by good or non-zero bytes is corruption. Writes the identity of
 * a new node. Refusals (KW_EINVALID identity, KW_EPROTOCOL corruption, KW_EIO) say in `why` what is wrong, in which
 * file and at which byte, and what to do. What a crash can leave that libraft could not load is mended first
 * (disk_scan.c), so that libraft loads every folder that is accepted; a refused one is left as it was.
 */
int kw_disk_open(struct kw_disk **out, const char *dir, uint64_t id, const char *cluster, enum kw_disk_found *found,
                 char *why, size_t why_size);
void kw_disk_close(struct kw_disk *disk); /* NULL is allowed */

/* Judges a folder in the same way and changes nothing in it; what a start would mend is logged. */
int kw_disk_look(const char *dir, uint64_t id, const char *cluster, enum kw_disk_found *found, char *why,
                 size_t why_size);

/* A node that was removed from the cluster, or refused, must never come back under this id: recorded in the identity
 * file. 0 or KW_EIO. */
int kw_disk_retire(struct kw_disk *disk);

/*
 * The folder's incarnation tells it from any other that was ever used under the same id: a node whose folder was wiped
 * has forgotten its votes and entries and must not take part under its old id again. So each node writes down with
 * which folder each id took part (the file "peers"), for good: ids are never reused. Loop thread.
 */
uint64_t kw_disk_incarnation(const struct kw_disk *disk); /* never 0 */
/* 0: node `id` took part with this folder; KW_EINVALID: with another; KW_EUNKNOWN: never. */
int kw_disk_peer_check(const struct kw_disk *disk, uint64_t id, uint64_t incarnation);
/* The same, but one that is not known is noted, on the disk when 0 is returned; KW_ELIMIT: too many are known (1024
 * ids), KW_EIO. */
int kw_disk_peer_note(struct kw_disk *disk, uint64_t id, uint64_t incarnation);

/* The reserve: a file of KW_DISK_RESERVE_BYTES that is given up when the disk is full, so that the last entries and a
 * snapshot still fit. */
int kw_disk_reserve_make(struct kw_disk *disk);  /* 0, KW_EIO; also makes it anew later, when there is room */
bool kw_disk_reserve_drop(struct kw_disk *disk); /* true: there was one */
/* Bytes free for us on the folder's file system. Quick; loop thread allowed. */
uint64_t kw_disk_free_bytes(const struct kw_disk *disk);

/*
 * The watchdog is a thread of its own, since a stalled disk may stall the loop too: it ends the process (one line to
 * the log, _exit(70)) when an append that was started has not ended after `limit_ms`. kw_disk_append is told by the
 * guard; loop thread. The first append of a node's life also notes in the identity that there is a log now, with one
 * fsync: from then on a folder without log is a wiped one and refused.
 */
int kw_disk_watch(struct kw_disk *disk, unsigned limit_ms);
void kw_disk_append(struct kw_disk *disk, bool started);

#endif
