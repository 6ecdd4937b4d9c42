/*
 * Keeps libraft's connections fit for use. libraft sends on connections of its own making and never reads from them: a
 * follower connects to another one only when it has something to say, and a peer that was restarted is noticed only
 * when a message has been lost on the old connection. Both would hit the first vote of an election. So every
 * member is sent a message without meaning once a second, and twice when its process ends or comes: the first is
 * answered with a reset if the connection is dead, the second makes libraft see that and connect anew.
 *
 * The message is the answer to a vote of term 0, which any node ignores.
 */
#include "base/alloc.h"
#include "raft/store/replica_internal.h"

enum { AGAIN_MS = 60, VOTE_RESULT_VERSION = 2 };

static void on_sent(struct raft_io_send *send, int status KW_UNUSED) {
    kw_free(send);
}

static void warm(struct kw_replica *replica, const struct raft_server *server) {
    struct raft_message message = {
        .type = RAFT_REQUEST_VOTE_RESULT,
        .server_id = server->id,
        .server_address = server->address,
    };
    message.request_vote_result.version = VOTE_RESULT_VERSION;
    struct raft_io_send *send = kw_calloc(1, sizeof(*send));
    if (replica->io->send(replica->io, send, &message, on_sent) != 0) kw_free(send);
}

void kw_replica_warm_all(struct kw_replica *replica) {
    const struct raft_configuration *conf = &replica->raft.configuration;
    if (replica->closing || replica->failed) return;
    for (unsigned i = 0; i < conf->n; i++) {
        if (conf->servers[i].id != replica->options.id) warm(replica, &conf->servers[i]);
    }
}

static void on_again(uv_timer_t *timer) {
    kw_replica_warm_all(timer->data);
}

void kw_replica_warm_peer(struct kw_replica *replica, uint64_t id) {
    const struct raft_server *server = kw_replica_server(&replica->raft.configuration, id);
    if (replica->closing || replica->failed || !server) return;
    warm(replica, server);
    uv_timer_start(&replica->warm_again, on_again, AGAIN_MS, 0);
}
