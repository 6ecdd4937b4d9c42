/*
 * What a client sends to the door of a metadata node, whole and in pieces: it must not crash, every byte that it
 * answers is RESP, and where the replies do not depend on the moment both ways must answer the same. The door is the
 * real one, with a loop and a socket pair; behind it stands the real state with a log of one node that acknowledges at
 * once. The first byte chooses whether there is a secret and who leads, the second seeds the pieces.
 */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>
#include <uv.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "base/log.h"
#include "base/resp_reply.h"
#include "base/str.h"
#include "raft/door/door.h"
#include "raft/server.h"
#include "raft/settings.h"
#include "raft/state/state.h"
#include "raft/store/replica.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { INPUT_MAX = 16 * 1024, TURNS = 4 };
enum { WITH_SECRET = 1, FOLLOWER = 2 };

/* ---- the replica's stand-in: what was asked is done in order, at the next pump */

struct job {
    struct job *next;
    struct kw_str entry; /* of a submission */
    kw_replica_done *done;
    void *ctx;
};

static struct {
    struct kw_meta_state *state;
    struct job *head, **tail;
    uint64_t index;
    bool leads;
    int accept_fd;
} world;

static struct job *job_add(kw_replica_done *done, void *ctx) {
    struct job *job = kw_calloc(1, sizeof(*job));
    job->done = done;
    job->ctx = ctx;
    *world.tail = job;
    world.tail = &job->next;
    return job;
}

static void take_result(void *ctx, unsigned nth, const struct kw_meta_result *result) {
    (void)nth;
    *(struct kw_meta_result *)ctx = *result;
}

static void pump(struct kw_door *door) {
    while (world.head) {
        struct job *job = world.head;
        struct kw_meta_result result = {0};
        world.head = job->next;
        if (!world.head) world.tail = &world.head;
        if (job->entry.len) {
            int err =
                kw_meta_state_apply(world.state, ++world.index, job->entry.data, job->entry.len, take_result, &result);
            KW_ASSERT(err == 0);
        }
        if (job->done) job->done(job->ctx, 0, job->entry.len ? &result : NULL);
        if (door && job->entry.len) kw_door_applied(door);
        kw_str_deinit(&job->entry);
        kw_free(job);
    }
}

int __wrap_kw_replica_submit(struct kw_replica *r, const struct kw_record *record, kw_replica_done *done, void *ctx);
int __wrap_kw_replica_submit(struct kw_replica *r, const struct kw_record *record, kw_replica_done *done, void *ctx) {
    (void)r;
    if (!world.leads) return KW_ENOTLEADER;
    struct job *job = job_add(done, ctx);
    kw_entry_begin(&job->entry, 0);
    kw_record_encode(&job->entry, record);
    kw_entry_end(&job->entry, 1);
    return 0;
}

int __wrap_kw_replica_read(struct kw_replica *replica, kw_replica_done *done, void *ctx);
int __wrap_kw_replica_read(struct kw_replica *replica, kw_replica_done *done, void *ctx) {
    (void)replica;
    if (!world.leads) return KW_ENOTLEADER;
    job_add(done, ctx);
    return 0;
}

int __wrap_kw_replica_add(struct kw_replica *r, const struct kw_meta_peer *peer, kw_replica_done *done, void *ctx);
int __wrap_kw_replica_add(struct kw_replica *r, const struct kw_meta_peer *peer, kw_replica_done *done, void *ctx) {
    (void)r;
    if (peer->id == 1) return KW_EINVALID;
    job_add(done, ctx);
    return 0;
}

int __wrap_kw_replica_remove(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx);
int __wrap_kw_replica_remove(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx) {
    (void)replica;
    (void)id;
    job_add(done, ctx);
    return 0;
}

int __wrap_kw_replica_transfer(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx);
int __wrap_kw_replica_transfer(struct kw_replica *replica, uint64_t id, kw_replica_done *done, void *ctx) {
    (void)replica;
    (void)id;
    (void)done;
    (void)ctx;
    return KW_ELIMIT;
}

const struct kw_meta_state *__wrap_kw_replica_state(const struct kw_replica *replica);
const struct kw_meta_state *__wrap_kw_replica_state(const struct kw_replica *replica) {
    (void)replica;
    return world.state;
}

struct kw_meta_image *__wrap_kw_replica_backup(struct kw_replica *replica);
struct kw_meta_image *__wrap_kw_replica_backup(struct kw_replica *replica) {
    (void)replica;
    return kw_meta_state_freeze(world.state);
}

uint64_t __wrap_kw_replica_leader(const struct kw_replica *replica, struct kw_meta_address *out);
uint64_t __wrap_kw_replica_leader(const struct kw_replica *replica, struct kw_meta_address *out) {
    (void)replica;
    if (out) *out = (struct kw_meta_address){.host = "::1", .port = 7380, .raft_port = 17380};
    return world.leads ? 1 : 2;
}

enum kw_replica_role __wrap_kw_replica_role(const struct kw_replica *replica);
enum kw_replica_role __wrap_kw_replica_role(const struct kw_replica *replica) {
    (void)replica;
    return world.leads ? KW_ROLE_LEADER : KW_ROLE_FOLLOWER;
}

void __wrap_kw_replica_facts(struct kw_replica *replica, struct kw_replica_facts *out);
void __wrap_kw_replica_facts(struct kw_replica *replica, struct kw_replica_facts *out) {
    *out = (struct kw_replica_facts){.id = 1, .member_count = 2, .term = 7};
    out->leader_id = __wrap_kw_replica_leader(replica, &out->leader);
    out->role = __wrap_kw_replica_role(replica);
    out->members[0].peer = (struct kw_meta_peer){.id = 1, .address = out->leader};
    out->members[1].peer = (struct kw_meta_peer){.id = 2, .address = out->leader};
}

/* The settings' hooks are for the process, which is not here. */
void __wrap_kw_meta_server_log_changed(struct kw_meta_server *server);
void __wrap_kw_meta_server_log_changed(struct kw_meta_server *server) {
    (void)server;
}

void __wrap_kw_meta_server_auth_changed(struct kw_meta_server *server);
void __wrap_kw_meta_server_auth_changed(struct kw_meta_server *server) {
    (void)server;
}

/* ---- the network's stand-in: nobody listens, and the one who is accepted is the end of a socket pair */

static uv_connection_cb on_connection;
static uv_stream_t *listener;

int __wrap_uv_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *address, unsigned flags);
int __wrap_uv_tcp_bind(uv_tcp_t *tcp, const struct sockaddr *address, unsigned flags) {
    (void)tcp;
    (void)address;
    (void)flags;
    return 0;
}

int __wrap_uv_listen(uv_stream_t *stream, int backlog, uv_connection_cb cb);
int __wrap_uv_listen(uv_stream_t *stream, int backlog, uv_connection_cb cb) {
    (void)backlog;
    listener = stream;
    on_connection = cb;
    return 0;
}

int __wrap_uv_accept(uv_stream_t *server, uv_stream_t *client);
int __wrap_uv_accept(uv_stream_t *server, uv_stream_t *client) {
    (void)server;
    return uv_tcp_open((uv_tcp_t *)client, world.accept_fd);
}

/* ---- a client's life */

static void receive(int fd, struct kw_str *answers) {
    static char buffer[64 * 1024];
    for (;;) {
        ssize_t got = recv(fd, buffer, sizeof(buffer), MSG_DONTWAIT);
        if (got <= 0) return;
        kw_str_append(answers, buffer, (size_t)got);
    }
}

static void turns(uv_loop_t *loop, struct kw_door *door, int fd, struct kw_str *answers) {
    size_t before;
    do {
        before = answers->len;
        for (int i = 0; i < TURNS; i++) {
            uv_run(loop, UV_RUN_NOWAIT);
            pump(door);
        }
        uv_run(loop, UV_RUN_NOWAIT);
        receive(fd, answers);
    } while (answers->len > before);
}

static void on_door_closed(void *ctx) {
    *(bool *)ctx = true;
}

static void on_shutdown(void *ctx) {
    (void)ctx;
}

static void converse(const uint8_t *bytes, size_t len, unsigned flags, size_t piece_max, uint32_t seed,
                     struct kw_str *answers) {
    struct kw_meta_settings settings;
    struct kw_config *cfg = kw_config_new(kw_meta_settings_rows, kw_meta_settings_row_count, &settings);
    struct kw_config_error err;
    static const char with_secret[] = "secret longenough\n";
    if (flags & WITH_SECRET) kw_config_load_text(cfg, "fuzz", with_secret, sizeof(with_secret) - 1, &err);
    uv_loop_t loop;
    int fds[2];
    char why[256];
    struct kw_door *door;
    bool closed = false;
    world.state = kw_meta_state_new();
    world.head = NULL;
    world.tail = &world.head;
    world.index = 0;
    world.leads = !(flags & FOLLOWER);
    KW_ASSERT(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) == 0);
    world.accept_fd = fds[1];
    uv_loop_init(&loop);
    struct kw_door_options options = {.cfg = cfg, .settings = &settings, .on_shutdown = on_shutdown};
    KW_ASSERT(kw_door_open(&door, &loop, &options, why, sizeof(why)) == 0);
    kw_door_start(door, (struct kw_replica *)&world, NULL); /* never looked into */
    on_connection(listener, 0);
    for (size_t at = 0; at < len;) {
        seed = seed * 1664525 + 1013904223;
        size_t piece = piece_max == SIZE_MAX ? len : 1 + (seed >> 8) % piece_max;
        if (piece > len - at) piece = len - at;
        ssize_t sent = send(fds[0], bytes + at, piece, MSG_NOSIGNAL);
        if (sent <= 0) break; /* the door has closed */
        at += (size_t)sent;
        turns(&loop, door, fds[0], answers);
    }
    turns(&loop, door, fds[0], answers);
    kw_door_close(door, on_door_closed, &closed);
    pump(NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    KW_ASSERT(closed && uv_loop_close(&loop) == 0);
    receive(fds[0], answers);
    close(fds[0]);
    kw_meta_state_free(world.state);
    kw_config_free(cfg);
}

static void must_be_resp(const struct kw_str *answers) {
    struct kw_reply_scan scan = {0};
    size_t at = 0;
    while (at < answers->len) {
        size_t used = 0;
        enum kw_reply_result result = kw_reply_scan(&scan, answers->data + at, answers->len - at, &used);
        KW_ASSERT(result != KW_REPLY_ERROR);
        if (result == KW_REPLY_MORE) break;
        at += used;
    }
    KW_ASSERT(kw_reply_scan_idle(&scan));
}

/* Whether the answers may depend on the moment: they tell sizes or times, are pushed, or follow from what is under way.
 */
static bool depends_on_the_moment(const uint8_t *bytes, size_t len) {
    static const char *const words[] = {"info", "client", "prox", "watch", "tach", "restore", "id"};
    for (size_t i = 0; i < len; i++) {
        for (size_t w = 0; w < KW_ARRAY_LEN(words); w++) {
            size_t n = strlen(words[w]);
            if (len - i >= n && strncasecmp((const char *)bytes + i, words[w], n) == 0) return true;
        }
    }
    return false;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2 || size > INPUT_MAX) return 0;
    static bool quiet;
    if (!quiet) quiet = kw_log_open("/dev/null", KW_LOG_WARNING) == 0;
    struct kw_str whole = {0}, pieces = {0};
    unsigned flags = data[0];
    converse(data + 2, size - 2, flags, SIZE_MAX, 0, &whole);
    must_be_resp(&whole);
    converse(data + 2, size - 2, flags, 1 + data[1] % 64, data[1], &pieces);
    must_be_resp(&pieces);
    if (!depends_on_the_moment(data + 2, size - 2)) {
        KW_ASSERT(whole.len == pieces.len && (whole.len == 0 || memcmp(whole.data, pieces.data, whole.len) == 0));
    }
    kw_str_deinit(&whole);
    kw_str_deinit(&pieces);
    return 0;
}
