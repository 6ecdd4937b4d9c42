/*
 * Links. A message leaves a node some time after send (the bytes are read only
 * then, and the callback tells the node that it may free them), and arrives
 * some time later, if the link is whole and somebody lives there. In order for
 * each link; with `disorder` late, early and twice.
 */
#include <string.h>

#include "base/alloc.h"
#include "sim.h"

/* How long a message may lie in its sender's memory when the link takes nothing. */
enum { STUCK_MS = 800 };

struct packet {
    struct sim_server *from, *to;
    struct raft_io_send *req;
    struct raft_message message;
    uint64_t digest; /* of what the message points to, when it was sent */
};

static uint64_t mix(uint64_t digest, const void *bytes, size_t len) {
    const uint8_t *at = bytes;
    for (size_t i = 0; i < len; i++) digest = (digest ^ at[i]) * 0x100000001b3u;
    return digest;
}

static uint64_t digest_of(const struct raft_message *message) {
    uint64_t digest = 0xcbf29ce484222325u;
    if (message->type == RAFT_APPEND_ENTRIES) {
        const struct raft_append_entries *append = &message->append_entries;
        for (unsigned i = 0; i < append->n_entries; i++) {
            digest = mix(digest, &append->entries[i].term, sizeof(raft_term));
            digest = mix(digest, append->entries[i].buf.base, append->entries[i].buf.len);
        }
    }
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        digest = mix(digest, message->install_snapshot.data.base, message->install_snapshot.data.len);
    }
    return digest;
}

/* The receiver's own memory, from libraft's heap when `raft` is set: all entries in one batch. */
static void *get(bool raft, size_t size) {
    return raft ? raft_malloc(size) : kw_malloc(size);
}

static void copy_entries(struct raft_append_entries *append, bool raft) {
    const struct raft_entry *from = append->entries;
    size_t bytes = 0;
    if (append->n_entries == 0) {
        append->entries = NULL;
        return;
    }
    for (unsigned i = 0; i < append->n_entries; i++) bytes += from[i].buf.len;
    append->entries = get(raft, append->n_entries * sizeof(*from));
    char *batch = get(raft, bytes);
    char *at = batch;
    for (unsigned i = 0; i < append->n_entries; i++) {
        struct raft_entry *entry = &append->entries[i];
        *entry = from[i];
        memcpy(at, from[i].buf.base, from[i].buf.len);
        entry->buf.base = at;
        entry->batch = batch;
        at += entry->buf.len;
    }
}

static void copy_contents(struct sim *sim, struct raft_message *message, bool raft) {
    if (message->type == RAFT_APPEND_ENTRIES) copy_entries(&message->append_entries, raft);
    if (message->type == RAFT_INSTALL_SNAPSHOT) {
        struct raft_install_snapshot *install = &message->install_snapshot;
        void *bytes = get(raft, install->data.len);
        memcpy(bytes, install->data.base, install->data.len);
        install->data.base = bytes;
        if (raft) sim_configuration(sim, &install->conf);
    }
}

static void trace_message(struct sim *sim, const struct packet *packet, const char *what) {
    const struct raft_message *m = &packet->message;
    if (!sim->options.trace) return;
    switch (m->type) {
    case RAFT_APPEND_ENTRIES:
        sim_trace(sim, packet->to, "%s from %s: append t%llu after %llu^%llu, %u entries, commit %llu", what,
                  packet->from->address, m->append_entries.term, m->append_entries.prev_log_index,
                  m->append_entries.prev_log_term, m->append_entries.n_entries, m->append_entries.leader_commit);
        break;
    case RAFT_APPEND_ENTRIES_RESULT:
        sim_trace(sim, packet->to, "%s from %s: result t%llu, rejected %llu, last %llu", what, packet->from->address,
                  m->append_entries_result.term, m->append_entries_result.rejected,
                  m->append_entries_result.last_log_index);
        break;
    case RAFT_INSTALL_SNAPSHOT:
        sim_trace(sim, packet->to, "%s from %s: install t%llu, %llu^%llu", what, packet->from->address,
                  m->install_snapshot.term, m->install_snapshot.last_index, m->install_snapshot.last_term);
        break;
    case RAFT_REQUEST_VOTE:
        sim_trace(sim, packet->to, "%s from %s: vote? t%llu, last %llu^%llu", what, packet->from->address,
                  m->request_vote.term, m->request_vote.last_log_index, m->request_vote.last_log_term);
        break;
    case RAFT_REQUEST_VOTE_RESULT:
        sim_trace(sim, packet->to, "%s from %s: vote t%llu: %s", what, packet->from->address,
                  m->request_vote_result.term, m->request_vote_result.vote_granted ? "yes" : "no");
        break;
    case RAFT_TIMEOUT_NOW: sim_trace(sim, packet->to, "%s from %s: timeout now", what, packet->from->address); break;
    }
}

static struct sim_link *link_of(struct sim *sim, const struct packet *packet) {
    return &sim->links[packet->from->id - 1][packet->to->id - 1];
}

static void arrive(struct sim *sim, struct sim_event *event) {
    struct packet *packet = event->subject;
    struct sim_server *to = packet->to;
    if (to->closing || !to->receive) return;
    struct raft_message message = packet->message;
    message.server_id = packet->from->id;
    message.server_address = packet->from->address;
    copy_contents(sim, &message, true);
    trace_message(sim, packet, "got");
    to->receive(to->io, &message);
}

/* The network's end of the link: whoever lives there now gets it. */
static void reach(struct sim *sim, struct sim_event *event) {
    struct packet *packet = event->subject;
    if (link_of(sim, packet)->cuts > 0 || !packet->to->raft) return;
    sim_at(sim, sim->now, packet->to, true, arrive, packet, 0);
}

static uint64_t latency(struct sim *sim, const struct sim_link *link) {
    return sim_delay(sim, sim->plan.net_latency) + (link->slow_until > sim->now ? sim_random(sim, 200 * SIM_MS) : 0);
}

static void transmit(struct sim *sim, struct packet *packet) {
    struct sim_link *link = link_of(sim, packet);
    uint64_t at = sim->now + latency(sim, link);
    if (sim->options.disorder && !sim->healed) {
        if (sim_chance(sim, 50)) at += sim_random(sim, 1000 * SIM_MS);
        if (sim_chance(sim, sim->plan.duplicates)) {
            sim_at(sim, at + sim_random(sim, 1000 * SIM_MS), NULL, false, reach, packet, 0);
        }
    } else if (at < link->delivered) {
        at = link->delivered;
    }
    link->delivered = at;
    sim_at(sim, at, NULL, false, reach, packet, 0);
}

static void leave(struct sim *sim, struct sim_event *event) {
    struct packet *packet = event->subject;
    struct sim_server *from = packet->from;
    struct raft_io_send *req = packet->req;
    bool lost = from->closing || link_of(sim, packet)->cuts > 0;
    if (digest_of(&packet->message) != packet->digest) {
        sim_fail(sim, "node %s: the bytes of a message changed while they were being sent", from->address);
    }
    if (!lost) {
        copy_contents(sim, &packet->message, false);
        transmit(sim, packet);
    }
    req->cb(req, from->closing ? RAFT_CANCELED : lost ? RAFT_NOCONNECTION : 0);
    sim_server_request_done(from);
}

/* A peer that does not read, or reads a large message slowly. */
static bool stuck(struct sim *sim, const struct packet *packet) {
    const struct sim_link *link = link_of(sim, packet);
    if (link->slow_until > sim->now || link->cuts > 0) return true;
    return packet->message.type == RAFT_APPEND_ENTRIES && packet->message.append_entries.n_entries > 1 &&
           sim_chance(sim, sim->healed ? 0 : sim->plan.stuck);
}

int sim_net_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message, raft_io_send_cb cb) {
    struct sim_server *from = io->impl;
    struct sim *sim = from->sim;
    if (from->closing) sim_fail(sim, "node %s: sends after the close", from->address);
    KW_ASSERT(message->server_id >= 1 && message->server_id <= sim->options.nodes);
    struct packet *packet = kw_calloc(1, sizeof(*packet));
    packet->from = from;
    packet->to = &sim->servers[message->server_id - 1];
    packet->req = req;
    packet->message = *message;
    packet->digest = digest_of(message);
    req->cb = cb;
    struct sim_link *link = link_of(sim, packet);
    uint64_t at = sim->now + sim_delay(sim, SIM_MS / 20);
    if (stuck(sim, packet)) at += sim_random(sim, STUCK_MS * SIM_MS);
    if (at < link->sent) at = link->sent;
    link->sent = at;
    from->outstanding++;
    sim_at(sim, at, from, true, leave, packet, 0);
    return 0;
}
