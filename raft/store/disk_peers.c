/*
 * With which data folder each other node took part: a file of text, one line
 * an id that this node has ever shaken hands with, the last one a checksum of
 * those before it. Replaced as a whole, like the identity.
 *
 *   keyway-meta-peers 1
 *   2 0123456789abcdef
 *   check 8c0ffee1
 *
 * A line is never taken out or changed: what an id once was, it stays. A file that is gone says nothing, so this node
 * believes each peer once more; the others still remember.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/crc32.h"
#include "base/error.h"
#include "base/str.h"
#include "raft/store/disk_internal.h"

enum { LINE_MAX_BYTES = 40, FILE_MAX_BYTES = (KW_DISK_KNOWN_PEERS_MAX + 2) * LINE_MAX_BYTES };

static const char head[] = "keyway-meta-peers 1\n";

static void print(struct kw_str *out, const struct kw_disk_peers *peers) {
    char text[LINE_MAX_BYTES + 1];
    kw_str_append(out, head, sizeof(head) - 1);
    for (size_t i = 0; i < peers->count; i++) {
        const struct kw_disk_peer *peer = &peers->peer[i];
        int len = snprintf(text, sizeof(text), "%" PRIu64 " %016" PRIx64 "\n", peer->id, peer->incarnation);
        kw_str_append(out, text, (size_t)len);
    }
    int len = snprintf(text, sizeof(text), "check %08" PRIx32 "\n", kw_crc32(0, out->data, out->len));
    kw_str_append(out, text, (size_t)len);
}

static void add(struct kw_disk_peers *peers, uint64_t id, uint64_t incarnation) {
    if (!peers->peer) peers->peer = kw_malloc(KW_DISK_KNOWN_PEERS_MAX * sizeof(*peers->peer));
    peers->peer[peers->count++] = (struct kw_disk_peer){id, incarnation};
}

/* What was read is ours if it is what we would write. */
static bool parse(struct kw_disk_peers *out, const struct kw_disk_bytes *bytes) {
    struct kw_str text = {0}, again = {0};
    uint64_t id, incarnation;
    kw_str_append(&text, bytes->data, bytes->len);
    const char *at = strchr(text.data, '\n');
    while (at && out->count < KW_DISK_KNOWN_PEERS_MAX &&
           sscanf(at + 1, "%" SCNu64 " %" SCNx64, &id, &incarnation) == 2) {
        add(out, id, incarnation);
        at = strchr(at + 1, '\n');
    }
    print(&again, out);
    bool same = again.len == bytes->len && memcmp(again.data, bytes->data, again.len) == 0;
    kw_str_deinit(&text);
    kw_str_deinit(&again);
    return same;
}

int kw_disk_peers_read(int dir_fd, struct kw_disk_peers *out, const struct kw_disk_why *why) {
    struct kw_disk_bytes bytes = {0};
    int code = kw_disk_file_read(dir_fd, KW_DISK_FILE_PEERS, FILE_MAX_BYTES, &bytes, why);
    if (code == 0 && !parse(out, &bytes)) {
        code = kw_disk_refuse_damage(why, KW_DISK_FILE_PEERS, 0, "not what a node writes, or its checksum is wrong");
    }
    kw_free(bytes.data);
    return code == KW_EUNKNOWN ? 0 : code;
}

void kw_disk_peers_deinit(struct kw_disk_peers *peers) {
    kw_free(peers->peer);
}

uint64_t kw_disk_incarnation(const struct kw_disk *disk) {
    return disk->identity.incarnation;
}

int kw_disk_peer_check(const struct kw_disk *disk, uint64_t id, uint64_t incarnation) {
    const struct kw_disk_peers *peers = &disk->peers;
    for (size_t i = 0; i < peers->count; i++) {
        if (peers->peer[i].id == id) return peers->peer[i].incarnation == incarnation ? 0 : KW_EINVALID;
    }
    return KW_EUNKNOWN;
}

int kw_disk_peer_note(struct kw_disk *disk, uint64_t id, uint64_t incarnation) {
    struct kw_disk_peers *peers = &disk->peers;
    struct kw_str text = {0};
    int code = kw_disk_peer_check(disk, id, incarnation);
    if (code != KW_EUNKNOWN) return code;
    if (peers->count == KW_DISK_KNOWN_PEERS_MAX) {
        kw_log_limited(
            &peers->failures, KW_LOG_WARNING,
            "the file \"%s\" of the data folder is full: it knows %d nodes, there is no room for node %" PRIu64
            ". Replace this node by one with a new id",
            KW_DISK_FILE_PEERS, KW_DISK_KNOWN_PEERS_MAX, id);
        return KW_ELIMIT;
    }
    add(peers, id, incarnation);
    print(&text, peers);
    code = kw_disk_file_replace(disk->dir_fd, KW_DISK_FILE_PEERS, KW_DISK_FILE_PEERS_NEW, text.data, text.len);
    kw_str_deinit(&text);
    if (code == 0) return 0;
    peers->count--;
    kw_log_limited(&peers->failures, KW_LOG_WARNING, "cannot write node %" PRIu64 " to the file \"%s\": %s", id,
                   KW_DISK_FILE_PEERS, strerror(errno));
    return code;
}
