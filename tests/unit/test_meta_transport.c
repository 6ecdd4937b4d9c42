/*
 * The transport with real sockets: peers that meet, strangers of every kind beside them, closing at every moment, the
 * crash hint against a process that is killed, and three real libraft servers over it.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "raft/store/handshake.h"
#include "raft/store/transport.h"

enum { PATIENCE_MS = 15000, STREAMS_MAX = 4, IDS = 4, BYTES = 100000, STRANGERS = 1000 };

static uv_loop_t loop;
static uv_timer_t tick; /* so that conditions are looked at when nothing happens, too */

#define UNTIL(condition)                                                                                               \
    do {                                                                                                               \
        uint64_t give_up_ms = kw_clock_ms() + PATIENCE_MS;                                                             \
        while (!(condition)) {                                                                                         \
            if (kw_clock_ms() > give_up_ms) fail_msg("never: %s", #condition);                                         \
            uv_run(&loop, UV_RUN_ONCE);                                                                                \
        }                                                                                                              \
    } while (0)

/* A port that nobody has, as of now. */
static unsigned free_port(void) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    close(fd);
    return ntohs(at.sin_port);
}

/* One end of a connection that was given to "libraft": what has come in over it. */
struct end {
    uv_stream_t *stream;
    unsigned char *bytes; /* BYTES of them at most */
    size_t len;
    bool ended;
};

struct node {
    struct kw_meta_transport *transport;
    struct raft_uv_transport *raft;
    uint64_t id;
    unsigned port;
    char address[KW_META_ADDRESS_SIZE];
    struct end accepted[STREAMS_MAX];
    unsigned accepted_count;
    uint64_t from_id;
    char from_address[KW_META_ADDRESS_SIZE];
    unsigned ups[IDS], downs[IDS];
    uint64_t remembers[IDS]; /* incarnations, by id; 0: nothing */
    unsigned disowned;
    uint64_t disowned_by;
    bool closed;
};

static void free_closed(uv_handle_t *handle) {
    raft_free(handle);
}

static void end_close(struct end *end) {
    if (end->stream) uv_close((uv_handle_t *)end->stream, free_closed);
    kw_free(end->bytes);
    memset(end, 0, sizeof(*end));
}

static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf) {
    struct end *end = handle->data;
    (void)suggested;
    *buf = uv_buf_init((char *)end->bytes + end->len, (unsigned)(BYTES - end->len));
}

static void on_read(uv_stream_t *stream, ssize_t count, const uv_buf_t *buf) {
    struct end *end = stream->data;
    (void)buf;
    if (count > 0) end->len += (size_t)count;
    if (count < 0) end->ended = true;
    if (count < 0) uv_read_stop(stream);
}

static void end_open(struct end *end, uv_stream_t *stream) {
    end->stream = stream;
    end->bytes = kw_malloc(BYTES);
    stream->data = end;
    assert_int_equal(uv_read_start(stream, on_alloc, on_read), 0);
}

static void on_accept(struct raft_uv_transport *raft, raft_id id, const char *address, uv_stream_t *stream) {
    struct node *node = raft->data;
    assert_false(node->closed);
    assert_true(node->accepted_count < STREAMS_MAX);
    node->from_id = id;
    snprintf(node->from_address, sizeof(node->from_address), "%s", address);
    end_open(&node->accepted[node->accepted_count++], stream);
}

static void on_peer(void *ctx, uint64_t id, bool up) {
    struct node *node = ctx;
    assert_true(id < IDS);
    (*(up ? &node->ups[id] : &node->downs[id]))++;
    assert_true(node->ups[id] == node->downs[id] + up);
}

static enum kw_handshake_reason judge(void *ctx, uint64_t id, uint64_t incarnation, bool proved) {
    struct node *node = ctx;
    if (id >= IDS) return KW_REASON_NONE;
    if (node->remembers[id] && node->remembers[id] != incarnation) return KW_REASON_INCARNATION;
    if (proved) node->remembers[id] = incarnation;
    return KW_REASON_NONE;
}

static void on_disowned(void *ctx, uint64_t by) {
    struct node *node = ctx;
    node->disowned++;
    node->disowned_by = by;
}

static struct kw_meta_transport_options options_of(struct node *node) {
    return (struct kw_meta_transport_options){.bind = "127.0.0.1",
                                              .raft_port = node->port,
                                              .secret = "correct horse",
                                              .cluster = "orders",
                                              .on_peer = on_peer,
                                              .incarnation = 1000 + node->id,
                                              .judge = judge,
                                              .on_disowned = on_disowned,
                                              .ctx = node};
}

static void node_open_with(struct node *node, const struct kw_meta_transport_options *options) {
    assert_int_equal(kw_meta_transport_new(&node->transport, &loop, options), 0);
    node->raft = kw_meta_transport_raft(node->transport);
    if (!node->address[0]) snprintf(node->address, sizeof(node->address), "127.0.0.1:1:%u", node->port);
    assert_int_equal(node->raft->init(node->raft, node->id, node->address), 0);
    node->raft->data = node;
    assert_int_equal(node->raft->listen(node->raft, on_accept), 0);
}

static void node_open(struct node *node, uint64_t id) {
    memset(node, 0, sizeof(*node));
    node->id = id;
    node->port = free_port();
    struct kw_meta_transport_options options = options_of(node);
    node_open_with(node, &options);
}

static void on_closed(struct raft_uv_transport *raft) {
    struct node *node = raft->data;
    assert_false(node->closed);
    node->closed = true;
}

static void node_close(struct node *node) {
    for (unsigned i = 0; i < STREAMS_MAX; i++) end_close(&node->accepted[i]);
    node->raft->close(node->raft, on_closed);
    UNTIL(node->closed);
    kw_meta_transport_free(node->transport);
}

struct attempt {
    struct raft_uv_connect req;
    struct end end;
    int status;
    bool done;
};

static void on_connect(struct raft_uv_connect *req, uv_stream_t *stream, int status) {
    struct attempt *attempt = req->data;
    assert_false(attempt->done);
    assert_true((stream != NULL) == (status == 0));
    attempt->done = true;
    attempt->status = status;
    if (stream) end_open(&attempt->end, stream);
}

static int attempt_start(struct attempt *attempt, struct node *from, uint64_t id, const char *address) {
    memset(attempt, 0, sizeof(*attempt));
    attempt->req.data = attempt;
    int rc = from->raft->connect(from->raft, &attempt->req, id, address, on_connect);
    assert_false(attempt->done); /* never inline */
    return rc;
}

static int attempt_run(struct attempt *attempt, struct node *from, uint64_t id, const char *address) {
    assert_int_equal(attempt_start(attempt, from, id, address), 0);
    UNTIL(attempt->done);
    return attempt->status;
}

static struct kw_meta_transport_facts facts_of(const struct node *node) {
    struct kw_meta_transport_facts facts;
    kw_meta_transport_facts(node->transport, &facts);
    return facts;
}

/* All that is written at one end comes out at the other. */
static void pass_bytes(struct end *from, struct end *to, size_t count) {
    unsigned char *bytes = kw_malloc(count);
    size_t sent = 0, before = to->len;
    for (size_t i = 0; i < count; i++) bytes[i] = (unsigned char)(i * 31 + before);
    while (sent < count) {
        uv_buf_t buf = uv_buf_init((char *)bytes + sent, (unsigned)(count - sent));
        int n = uv_try_write(from->stream, &buf, 1);
        if (n == UV_EAGAIN) n = 0;
        assert_true(n >= 0);
        sent += (size_t)n;
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    UNTIL(to->len == before + count);
    assert_memory_equal(to->bytes + before, bytes, count);
    kw_free(bytes);
}

static bool finished; /* the last test came to its end */

static int setup(void **state) {
    (void)state;
    finished = false;
    uv_loop_init(&loop);
    uv_timer_init(&loop, &tick);
    return 0;
}

static void on_tick(uv_timer_t *timer) {
    (void)timer;
}

static void begin(void) {
    uv_timer_start(&tick, on_tick, 5, 5);
}

/* Nothing is left on the loop. */
static void finish(void) {
    uv_timer_stop(&tick);
    uv_run(&loop, UV_RUN_DEFAULT);
    finished = true;
}

/* The loop of a test that failed is left alone: what is on it may be anywhere, and would never end. */
static int teardown(void **state) {
    (void)state;
    if (!finished) return 0;
    uv_close((uv_handle_t *)&tick, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void check_tuned(const struct end *end) {
    static const struct {
        int level, option, value;
    } options[] = {{IPPROTO_TCP, TCP_NODELAY, 1},
                   {IPPROTO_TCP, TCP_USER_TIMEOUT, 2000},
                   {SOL_SOCKET, SO_KEEPALIVE, 1},
                   {IPPROTO_TCP, TCP_KEEPIDLE, 1}};
    int fd;
    assert_int_equal(uv_fileno((uv_handle_t *)end->stream, &fd), 0);
    for (size_t i = 0; i < KW_ARRAY_LEN(options); i++) {
        int value = 0;
        socklen_t len = sizeof(value);
        assert_int_equal(getsockopt(fd, options[i].level, options[i].option, &value, &len), 0);
        assert_int_equal(value, options[i].value);
    }
}

static void test_peers_meet(void **state) {
    (void)state;
    struct node a, b;
    struct attempt attempt;
    begin();
    node_open(&a, 1);
    node_open(&b, 2);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    UNTIL(b.accepted_count == 1);
    assert_int_equal(b.from_id, 1);
    assert_string_equal(b.from_address, a.address);
    check_tuned(&attempt.end);
    check_tuned(&b.accepted[0]);
    pass_bytes(&attempt.end, &b.accepted[0], BYTES);
    pass_bytes(&b.accepted[0], &attempt.end, BYTES);
    assert_int_equal(facts_of(&b).accepted, 1);
    end_close(&attempt.end);
    UNTIL(b.accepted[0].ended);
    node_close(&a);
    node_close(&b);
    finish();
}

/* Names, IPv6 addresses, several addresses to listen on; and names that are none. */
static void test_every_kind_of_address(void **state) {
    (void)state;
    struct node a, b = {.id = 2};
    struct attempt attempt;
    char address[KW_META_ADDRESS_SIZE];
    begin();
    node_open(&a, 1);
    b.port = free_port();
    struct kw_meta_transport_options options = options_of(&b);
    options.bind = "127.0.0.1  ::1";
    node_open_with(&b, &options);
    static const char *const hosts[] = {"127.0.0.1", "localhost", "[::1]"};
    for (unsigned i = 0; i < KW_ARRAY_LEN(hosts); i++) {
        snprintf(address, sizeof(address), "%s:1:%u", hosts[i], b.port);
        assert_int_equal(attempt_run(&attempt, &a, 2, address), 0);
        UNTIL(b.accepted_count == i + 1);
        pass_bytes(&attempt.end, &b.accepted[i], 1000);
        end_close(&attempt.end);
    }
    assert_int_equal(attempt_run(&attempt, &a, 2, "no.such.name.invalid:1:2"), RAFT_NOCONNECTION);
    assert_int_equal(attempt_start(&attempt, &a, 2, "not an address"), RAFT_NOCONNECTION);
    assert_true(strlen(a.raft->errmsg) > 0);
    snprintf(address, sizeof(address), "127.0.0.1:1:%u", free_port());
    assert_int_equal(attempt_run(&attempt, &a, 2, address), RAFT_NOCONNECTION);
    node_close(&a);
    node_close(&b);
    finish();
}

/*
 * A name that stands for two addresses, which no machine is sure to have; all others are looked up as they are.
 */
static const char two_addresses[] = "two-addresses.test";
static uv_getaddrinfo_cb resolved;

typedef const char *text;
typedef const struct addrinfo *wish;
int __real_uv_getaddrinfo(uv_loop_t *on, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, text name, text port, wish as);
int __wrap_uv_getaddrinfo(uv_loop_t *on, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, text name, text port, wish as);

static void add_second(uv_getaddrinfo_t *req, int status, struct addrinfo *found) {
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct sockaddr_in *first = (struct sockaddr_in *)found->ai_addr;
    char service[16];
    snprintf(service, sizeof(service), "%u", ntohs(first->sin_port));
    assert_null(found->ai_next);
    assert_int_equal(getaddrinfo("127.0.0.2", service, &hints, &found->ai_next), 0);
    resolved(req, status, found);
}

int __wrap_uv_getaddrinfo(uv_loop_t *on, uv_getaddrinfo_t *req, uv_getaddrinfo_cb cb, text name, text port, wish as) {
    if (strcmp(name, two_addresses) != 0) return __real_uv_getaddrinfo(on, req, cb, name, port, as);
    resolved = cb;
    return __real_uv_getaddrinfo(on, req, add_second, "127.0.0.1", port, as);
}

/* The first is deaf, the second hears. */
static void test_the_next_address_is_tried(void **state) {
    (void)state;
    struct node a, b = {.id = 2, .port = free_port()};
    struct attempt attempt;
    char address[KW_META_ADDRESS_SIZE];
    begin();
    node_open(&a, 1);
    struct kw_meta_transport_options options = options_of(&b);
    options.bind = "127.0.0.2";
    node_open_with(&b, &options);
    snprintf(address, sizeof(address), "%s:1:%u", two_addresses, b.port);
    assert_int_equal(attempt_run(&attempt, &a, 2, address), 0);
    end_close(&attempt.end);
    node_close(&b);
    node_close(&a);
    finish();
}

static void test_listening_fails_with_a_reason(void **state) {
    (void)state;
    struct node a, b = {.id = 2};
    struct kw_meta_transport_options options;
    begin();
    node_open(&a, 1);
    static const char *const binds[] = {"127.0.0.1", "no.such.name.invalid", " ", ""};
    static const char *const reasons[] = {
        "cannot listen on 127.0.0.1:", "bind no.such.name.invalid: ", "bind names no address", "bind names no address"};
    for (size_t i = 0; i < KW_ARRAY_LEN(binds); i++) {
        b = (struct node){.id = 2, .port = a.port};
        options = options_of(&b);
        options.bind = binds[i];
        assert_int_equal(kw_meta_transport_new(&b.transport, &loop, &options), 0);
        b.raft = kw_meta_transport_raft(b.transport);
        assert_int_equal(b.raft->init(b.raft, 2, "127.0.0.1:1:2"), 0);
        b.raft->data = &b;
        assert_int_equal(b.raft->listen(b.raft, on_accept), RAFT_IOERR);
        assert_memory_equal(b.raft->errmsg, reasons[i], strlen(reasons[i]));
        node_close(&b);
    }
    options.secret = "seven77";
    assert_int_equal(kw_meta_transport_new(&b.transport, &loop, &options), KW_EINVALID);
    options.secret = "";
    options.cluster = "";
    assert_int_equal(kw_meta_transport_new(&b.transport, &loop, &options), KW_EINVALID);
    kw_meta_transport_free(NULL);
    node_close(&a);
    finish();
}

static void node_open_as(struct node *node, uint64_t id, uint64_t incarnation) {
    *node = (struct node){.id = id, .port = free_port()};
    struct kw_meta_transport_options options = options_of(node);
    options.incarnation = incarnation;
    node_open_with(node, &options);
}

/* Its folder was wiped: the one who is refused is told so whoever dials, for either purpose; the other one goes on. */
static void test_another_folder_is_refused(void **state) {
    (void)state;
    struct node a, b;
    struct attempt attempt;
    struct raft_configuration conf;
    begin();
    node_open(&b, 2);
    node_open_as(&a, 1, 1001);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    assert_int_equal(a.remembers[2], 1002);
    assert_int_equal(b.remembers[1], 1001);
    end_close(&attempt.end);
    node_close(&a);

    node_open_as(&a, 1, 7);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), RAFT_NOCONNECTION);
    assert_int_equal(a.disowned, 1);
    assert_int_equal(a.disowned_by, 2);
    assert_int_equal(attempt_run(&attempt, &b, 1, a.address), RAFT_NOCONNECTION);
    UNTIL(a.disowned == 2);
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 1, a.address, RAFT_VOTER), 0);
    kw_meta_transport_peers(b.transport, &conf);
    UNTIL(a.disowned == 4); /* each time */
    raft_configuration_close(&conf);
    assert_int_equal(b.disowned, 0);
    assert_int_equal(b.ups[1], 0);
    assert_int_equal(a.accepted_count, 0);
    assert_int_equal(b.remembers[1], 1001);
    assert_int_equal(facts_of(&b).refused_cluster, 1);
    node_close(&a);
    node_close(&b);
    finish();
}

/* Peers that are not ours: refused on both sides, counted by reason, while an honest one comes in. */
static void test_wrong_peers_are_refused(void **state) {
    (void)state;
    struct node b, wrong;
    struct attempt attempt;
    begin();
    node_open(&b, 2);
    for (int i = 0; i < 4; i++) {
        wrong = (struct node){.id = i == 3 ? 2 : 1, .port = free_port()};
        struct kw_meta_transport_options options = options_of(&wrong);
        if (i == 0) options.secret = "incorrect horse";
        if (i == 1) options.cluster = "order";
        node_open_with(&wrong, &options);
        assert_int_equal(attempt_run(&attempt, &wrong, i == 2 ? 3 : 2, b.address), RAFT_NOCONNECTION);
        node_close(&wrong);
    }
    struct kw_meta_transport_facts facts = facts_of(&b);
    assert_int_equal(facts.refused_secret, 1);
    assert_int_equal(facts.refused_cluster, 3);
    assert_int_equal(facts.refused_protocol, 0);
    assert_int_equal(b.accepted_count, 0);

    struct node a;
    node_open(&a, 1);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    end_close(&attempt.end);
    node_close(&a);
    node_close(&b);
    finish();
}

/* A plain socket, connected. */
static int stranger_open(unsigned port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(fcntl(fd, F_SETFL, O_NONBLOCK), 0);
    return fd;
}

/* Has the other side closed it? What it said before is dropped. */
static bool stranger_ended(int fd) {
    char bytes[512];
    ssize_t n;
    while ((n = recv(fd, bytes, sizeof(bytes), 0)) > 0) {
    }
    return n == 0 || (errno != EAGAIN && errno != EWOULDBLOCK);
}

static bool stranger_says(int fd, const void *bytes, size_t len) {
    return send(fd, bytes, len, MSG_NOSIGNAL) == (ssize_t)len;
}

static void hello_for(struct kw_handshake *shake, unsigned char hello[KW_HANDSHAKE_HELLO],
                      const struct kw_handshake_self *self) {
    static const unsigned char nonce[KW_HANDSHAKE_NONCE] = "once";
    const unsigned char *out;
    kw_handshake_dial(shake, self, 2, KW_PURPOSE_RAFT, nonce);
    assert_int_equal(kw_handshake_out(shake, &out), KW_HANDSHAKE_HELLO);
    memcpy(hello, out, KW_HANDSHAKE_HELLO);
}

static const struct kw_handshake_self honest = {
    .id = 1, .address = "127.0.0.1:1:2", .cluster = "orders", .secret = "correct horse", .secret_len = 13};

/* Garbage, at once; nothing or half a handshake, when the time is up; even in drops that never end. */
static void test_strangers_are_shown_out(void **state) {
    (void)state;
    struct node a, b = {.id = 2, .port = free_port()};
    struct attempt attempt, late;
    struct kw_handshake shake;
    unsigned char hello[KW_HANDSHAKE_HELLO], proof[KW_HANDSHAKE_PROOF] = "none";
    begin();
    node_open(&a, 1);
    struct kw_meta_transport_options options = options_of(&b);
    options.handshake_timeout_ms = 1000;
    node_open_with(&b, &options);
    hello_for(&shake, hello, &honest);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    UNTIL(b.accepted_count == 1);

    uint64_t began_ms = kw_clock_ms();
    int garbage = stranger_open(b.port);
    assert_true(stranger_says(garbage, "*1\r\n$4\r\nPING\r\n", 14));
    UNTIL(stranger_ended(garbage));
    assert_true(kw_clock_ms() - began_ms < 1000);
    assert_int_equal(facts_of(&b).refused_protocol, 1);

    int guess = stranger_open(b.port);
    assert_true(stranger_says(guess, hello, sizeof(hello)) && stranger_says(guess, proof, sizeof(proof)));
    UNTIL(stranger_ended(guess));
    assert_int_equal(facts_of(&b).refused_secret, 1);

    int quitter = stranger_open(b.port);
    assert_true(stranger_says(quitter, hello, 20));
    close(quitter);
    UNTIL(facts_of(&b).refused_protocol == 2);

    int silent = stranger_open(b.port), half = stranger_open(b.port), hanging = stranger_open(b.port),
        dripping = stranger_open(b.port);
    began_ms = kw_clock_ms();
    assert_true(stranger_says(half, hello, sizeof(hello) - 1));
    assert_true(stranger_says(hanging, hello, sizeof(hello)));
    size_t dripped = 0;
    while (facts_of(&b).refused_protocol < 6) {
        assert_true(kw_clock_ms() - began_ms < PATIENCE_MS);
        if (dripped < sizeof(hello) - 1) (void)stranger_says(dripping, hello + dripped++, 1);
        pass_bytes(&attempt.end, &b.accepted[0], 10);
        uv_run(&loop, UV_RUN_ONCE);
    }
    assert_true(kw_clock_ms() - began_ms >= 990);
    UNTIL(stranger_ended(silent) && stranger_ended(half) && stranger_ended(hanging) && stranger_ended(dripping));

    assert_int_equal(attempt_run(&late, &a, 2, b.address), 0);
    assert_int_equal(facts_of(&b).accepted, 2);
    assert_int_equal(facts_of(&b).refused_busy, 0);
    assert_false(attempt.end.ended);
    close(garbage), close(guess), close(silent), close(half), close(hanging), close(dripping);
    end_close(&attempt.end);
    end_close(&late.end);
    node_close(&a);
    node_close(&b);
    finish();
}

/* A gigabyte after an honest hello: cut off after what the kernel's buffers hold, and none of it kept. */
static void test_a_gigabyte(void **state) {
    (void)state;
    enum { PIECE = 65536 };
    struct node a, b;
    struct attempt attempt;
    struct kw_handshake shake;
    unsigned char hello[KW_HANDSHAKE_HELLO], *piece = kw_calloc(1, PIECE);
    begin();
    node_open(&a, 1);
    node_open(&b, 2);
    hello_for(&shake, hello, &honest);
    for (int with_hello = 0; with_hello < 2; with_hello++) {
        size_t sent = 0, gigabyte = (size_t)1 << 30;
        int fd = stranger_open(b.port);
        if (with_hello) assert_true(stranger_says(fd, hello, sizeof(hello)));
        while (sent < gigabyte) {
            ssize_t n = send(fd, piece, PIECE, MSG_NOSIGNAL);
            if (n < 0 && errno != EAGAIN) break;
            if (n > 0) sent += (size_t)n;
            uv_run(&loop, UV_RUN_NOWAIT);
        }
        assert_true(sent < gigabyte / 64);
        close(fd);
    }
    assert_int_equal(facts_of(&b).refused_protocol, 1);
    assert_int_equal(facts_of(&b).refused_secret, 1);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    end_close(&attempt.end);
    kw_free(piece);
    node_close(&a);
    node_close(&b);
    finish();
}

static unsigned open_files(void) {
    unsigned count = 0;
    for (int fd = 0; fd < 4096; fd++) count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

/* A thousand that say nothing, or a hello: the connection of before goes on, a peer still comes in at once. */
static void test_a_thousand_strangers(void **state) {
    (void)state;
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    rlim_t before = limit.rlim_cur;
    if (limit.rlim_cur < 3000) limit.rlim_cur = 3000 < limit.rlim_max ? 3000 : limit.rlim_max;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    assert_true(limit.rlim_cur >= 2 * STRANGERS + 100);

    struct node a, b = {.id = 2, .port = free_port()};
    struct attempt attempt, late;
    struct kw_handshake shake;
    unsigned char hello[KW_HANDSHAKE_HELLO];
    static int strangers[STRANGERS];
    begin();
    node_open(&a, 1);
    struct kw_meta_transport_options options = options_of(&b);
    options.handshake_timeout_ms = 4 * PATIENCE_MS; /* nobody has to go because his time is up */
    node_open_with(&b, &options);
    hello_for(&shake, hello, &honest);
    assert_int_equal(attempt_run(&attempt, &a, 2, b.address), 0);
    UNTIL(b.accepted_count == 1);
    unsigned files = open_files();
    for (unsigned i = 0; i < STRANGERS; i++) {
        strangers[i] = stranger_open(b.port);
        if (i % 2) (void)stranger_says(strangers[i], hello, sizeof(hello));
        if (i % 100 == 99) pass_bytes(&attempt.end, &b.accepted[0], 100);
    }
    UNTIL(facts_of(&b).refused_busy == STRANGERS - 64);
    assert_int_equal(open_files(), files + STRANGERS + 64);
    uint64_t began_ms = kw_clock_ms();
    assert_int_equal(attempt_run(&late, &a, 2, b.address), 0);
    assert_true(kw_clock_ms() - began_ms < 5000); /* long before the strangers' time is up */
    UNTIL(b.accepted_count == 2);
    pass_bytes(&late.end, &b.accepted[1], 1000);
    pass_bytes(&attempt.end, &b.accepted[0], 1000);
    for (unsigned i = 0; i < STRANGERS; i++) close(strangers[i]);
    UNTIL(open_files() == files + 2);
    end_close(&attempt.end);
    end_close(&late.end);
    node_close(&a);
    node_close(&b);
    finish();
    limit.rlim_cur = before;
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
}

/* A plain socket that has got as far as the proof, which is to be sent. */
static int insider_open(unsigned port, struct kw_handshake *shake, const struct kw_handshake_self *self, uint64_t id,
                        unsigned char proof[KW_HANDSHAKE_PROOF]) {
    static const unsigned char nonce[KW_HANDSHAKE_NONCE] = "once";
    const unsigned char *out;
    unsigned char *at;
    kw_handshake_dial(shake, self, id, KW_PURPOSE_RAFT, nonce);
    int fd = stranger_open(port);
    size_t room = kw_handshake_out(shake, &out);
    assert_true(stranger_says(fd, out, room));
    room = kw_handshake_room(shake, &at);
    UNTIL(recv(fd, at, room, MSG_PEEK) == (ssize_t)room);
    assert_int_equal(recv(fd, at, room, 0), room);
    assert_int_equal(kw_handshake_took(shake, room), KW_HANDSHAKE_MORE);
    assert_int_equal(kw_handshake_out(shake, &out), KW_HANDSHAKE_PROOF);
    memcpy(proof, out, KW_HANDSHAKE_PROOF);
    return fd;
}

/* The proof and what libraft says next in one packet: the handshake takes only what is its own. */
static void test_no_byte_is_lost(void **state) {
    (void)state;
    struct node b;
    struct kw_handshake shake;
    unsigned char bytes[KW_HANDSHAKE_PROOF + 1000];
    begin();
    node_open(&b, 2);
    int fd = insider_open(b.port, &shake, &honest, 2, bytes);
    for (size_t i = KW_HANDSHAKE_PROOF; i < sizeof(bytes); i++) bytes[i] = (unsigned char)i;
    assert_true(stranger_says(fd, bytes, sizeof(bytes)));
    UNTIL(b.accepted_count == 1 && b.accepted[0].len == sizeof(bytes) - KW_HANDSHAKE_PROOF);
    assert_memory_equal(b.accepted[0].bytes, bytes + KW_HANDSHAKE_PROOF, b.accepted[0].len);
    close(fd);
    node_close(&b);
    finish();
}

/* Somebody who accepts and then says nothing. */
static int silent_listener(unsigned *port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 8), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &len), 0);
    *port = ntohs(at.sin_port);
    return fd;
}

/* Who does not know the secret can say it, dialling or dialled, and is not believed. */
static void test_a_stranger_cannot_disown(void **state) {
    (void)state;
    static const unsigned char refusal[KW_HANDSHAKE_CHALLENGE] = {
        'k', 'w', 'm', 'e', 't', 'a', '<', '\n', 0, 1, KW_REASON_INCARNATION};
    struct node a, b;
    struct attempt attempt;
    struct kw_handshake shake;
    unsigned char proof[KW_HANDSHAKE_PROOF];
    unsigned port;
    char address[KW_META_ADDRESS_SIZE];
    begin();
    node_open(&a, 1);
    node_open(&b, 2);
    int fd = insider_open(b.port, &shake, &honest, 2, proof);
    proof[0] = KW_REASON_INCARNATION;
    assert_true(stranger_says(fd, proof, sizeof(proof)));
    UNTIL(stranger_ended(fd));
    close(fd);
    assert_int_equal(b.disowned, 0);
    assert_int_equal(facts_of(&b).refused_secret, 1);

    int listener = silent_listener(&port);
    snprintf(address, sizeof(address), "127.0.0.1:1:%u", port);
    assert_int_equal(attempt_start(&attempt, &a, 2, address), 0);
    fd = accept(listener, NULL, NULL);
    assert_true(fd >= 0);
    assert_true(stranger_says(fd, refusal, sizeof(refusal)));
    UNTIL(attempt.done);
    assert_int_equal(attempt.status, RAFT_NOCONNECTION);
    assert_int_equal(a.disowned, 0);
    close(fd);
    close(listener);
    node_close(&a);
    node_close(&b);
    finish();
}

static void test_a_dialled_one_that_says_nothing(void **state) {
    (void)state;
    struct node a = {.id = 1, .port = free_port()};
    struct attempt attempt;
    unsigned port;
    char address[KW_META_ADDRESS_SIZE];
    begin();
    struct kw_meta_transport_options options = options_of(&a);
    options.handshake_timeout_ms = 200;
    node_open_with(&a, &options);
    int fd = silent_listener(&port);
    snprintf(address, sizeof(address), "127.0.0.1:1:%u", port);
    uint64_t began_ms = kw_clock_ms();
    assert_int_equal(attempt_run(&attempt, &a, 2, address), RAFT_NOCONNECTION);
    assert_true(kw_clock_ms() - began_ms >= 195);
    close(fd);
    node_close(&a);
    finish();
}

/* Closed while connections are in every state on both sides: each is cancelled, nothing is left. */
static void test_closing_cancels(void **state) {
    (void)state;
    struct node a, b;
    struct attempt attempts[4];
    unsigned port;
    char silent[KW_META_ADDRESS_SIZE], name[KW_META_ADDRESS_SIZE];
    begin();
    int fd = silent_listener(&port);
    snprintf(silent, sizeof(silent), "127.0.0.1:1:%u", port);
    for (int turns = 0; turns < 8; turns++) {
        node_open(&a, 1);
        node_open(&b, 2);
        snprintf(name, sizeof(name), "localhost:1:%u", b.port);
        int stranger = stranger_open(b.port);
        assert_int_equal(attempt_start(&attempts[0], &a, 2, silent), 0);
        assert_int_equal(attempt_start(&attempts[1], &b, 2, silent), 0);
        UNTIL(facts_of(&b).refused_protocol == 0);
        assert_int_equal(attempt_start(&attempts[2], &a, 2, b.address), 0);
        assert_int_equal(attempt_start(&attempts[3], &a, 2, name), 0);
        for (int i = 0; i < turns; i++) uv_run(&loop, UV_RUN_NOWAIT);
        node_close(&a);
        node_close(&b);
        for (int i = 0; i < 4; i++) {
            assert_true(attempts[i].done);
            if (i < 2 || turns == 0) assert_int_equal(attempts[i].status, RAFT_CANCELED);
            end_close(&attempts[i].end);
        }
        close(stranger);
    }
    close(fd);
    finish();
}

struct closer {
    uv_check_t check;
    struct node *watched, *victim;
    int skip;
    bool called;
};

/* Runs between reading and the closing of handles, where a proved connection has not been given on yet. */
static void on_check(uv_check_t *check) {
    struct closer *closer = check->data;
    if (closer->called || facts_of(closer->watched).accepted == 0 || closer->skip-- > 0) return;
    closer->called = true;
    closer->victim->raft->close(closer->victim->raft, on_closed);
}

static void test_closing_between_proof_and_handover(void **state) {
    (void)state;
    unsigned canceled = 0, kept = 0;
    begin();
    for (int skip = 0; skip < 8; skip++) {
        struct node a, b;
        struct attempt attempt;
        node_open(&a, 1);
        node_open(&b, 2);
        struct closer closer = {.watched = &b, .victim = skip % 2 ? &b : &a, .skip = skip / 2};
        uv_check_init(&loop, &closer.check);
        closer.check.data = &closer;
        uv_check_start(&closer.check, on_check);
        assert_int_equal(attempt_start(&attempt, &a, 2, b.address), 0);
        UNTIL(attempt.done && closer.victim->closed);
        if (skip % 2 == 0) canceled += attempt.status == RAFT_CANCELED;
        if (skip == 1) assert_int_equal(b.accepted_count, 0); /* proved, but never given on */
        kept += attempt.status == 0;
        uv_close((uv_handle_t *)&closer.check, NULL);
        end_close(&attempt.end);
        for (unsigned i = 0; i < STREAMS_MAX; i++) end_close(&b.accepted[i]);
        struct node *other = closer.victim == &a ? &b : &a;
        kw_meta_transport_free(closer.victim->transport);
        node_close(other);
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_true(canceled > 0 && kept > 0);
    finish();
}

/* What a transport does in a process of its own, until it is killed. */
static int serve(const char *id, const char *port) {
    struct node node = {.id = strtoull(id, NULL, 10), .port = (unsigned)strtoul(port, NULL, 10)};
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    setup(NULL);
    begin();
    struct kw_meta_transport_options options = options_of(&node);
    node_open_with(&node, &options);
    return uv_run(&loop, UV_RUN_DEFAULT);
}

static pid_t process_start(const struct node *node) {
    char id[24], port[16];
    snprintf(id, sizeof(id), "%llu", (unsigned long long)node->id);
    snprintf(port, sizeof(port), "%u", node->port);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        execl("/proc/self/exe", "serve", "serve", id, port, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void process_kill(pid_t pid) {
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

static void peers_of(struct raft_configuration *conf, const struct node *nodes, unsigned count) {
    static struct raft_server servers[IDS];
    static char addresses[IDS][KW_META_ADDRESS_SIZE];
    for (unsigned i = 0; i < count; i++) {
        snprintf(addresses[i], sizeof(addresses[i]), "127.0.0.1:1:%u", nodes[i].port);
        servers[i] = (struct raft_server){.id = nodes[i].id, .address = addresses[i], .role = RAFT_VOTER};
    }
    *conf = (struct raft_configuration){.servers = servers, .n = count};
}

/* Killed: known at once. Back: known within the retry. Left out: not spoken of again. */
static void test_a_killed_process_is_known_at_once(void **state) {
    (void)state;
    struct node nodes[3] = {{0}, {.id = 2, .port = free_port()}, {.id = 3, .port = free_port()}};
    struct node *own = &nodes[0];
    struct raft_configuration conf;
    uint64_t fastest_us = UINT64_MAX;
    begin();
    node_open(own, 1);
    peers_of(&conf, nodes, 3);
    kw_meta_transport_peers(own->transport, &conf);
    pid_t third = process_start(&nodes[2]);
    for (unsigned round = 1; round <= 5; round++) {
        pid_t second = process_start(&nodes[1]);
        UNTIL(own->ups[2] == round);
        uint64_t killed_us = kw_clock_us();
        process_kill(second);
        UNTIL(own->downs[2] == round);
        uint64_t took_us = kw_clock_us() - killed_us;
        if (took_us < fastest_us) fastest_us = took_us;
    }
    print_message("fastest of 5 hints: %llu us after the kill\n", (unsigned long long)fastest_us);
    assert_true(fastest_us < 200000); /* one that waited for a timeout would be late each time */
    UNTIL(own->ups[3] == 1);
    assert_int_equal(own->downs[3], 0);
    assert_int_equal(own->ups[1], 0); /* own id: never so much as dialled */
    assert_int_equal(facts_of(own).refused_cluster, 0);

    kw_meta_transport_peers(own->transport, &conf); /* the same again changes nothing */
    peers_of(&conf, nodes, 2);
    kw_meta_transport_peers(own->transport, &conf);
    process_kill(third);
    pid_t second = process_start(&nodes[1]);
    UNTIL(own->ups[2] == 6);
    assert_int_equal(own->ups[3], 1);
    assert_int_equal(own->downs[3], 0);
    process_kill(second);
    node_close(own);
    finish();
}

/* Both directions beside each other; the one that was dialled notices the dialler's end; closing reports nothing. */
static void test_hints_both_ways(void **state) {
    (void)state;
    struct node nodes[2];
    struct raft_configuration conf;
    begin();
    node_open(&nodes[0], 1);
    node_open(&nodes[1], 2);
    peers_of(&conf, nodes, 2);
    unsigned files = open_files();
    kw_meta_transport_peers(nodes[0].transport, &conf);
    kw_meta_transport_peers(nodes[1].transport, &conf);
    UNTIL(nodes[0].ups[2] == 1 && nodes[1].ups[1] == 1);
    assert_int_equal(open_files(), files + 4);
    assert_int_equal(nodes[0].accepted_count, 0); /* not libraft's */
    peers_of(&conf, nodes, 1);
    kw_meta_transport_peers(nodes[0].transport, &conf);
    UNTIL(open_files() == files + 2); /* both ends have let go */
    assert_int_equal(nodes[0].downs[2], 0);
    node_close(&nodes[0]);
    UNTIL(nodes[1].downs[1] == 1);
    node_close(&nodes[1]);
    assert_int_equal(nodes[1].downs[1], 1);
    finish();
}

/* Three real libraft servers. */
struct server {
    struct kw_meta_transport *transport;
    struct raft_io io;
    struct raft raft;
    struct raft_fsm fsm;
    char dir[64], address[KW_META_ADDRESS_SIZE];
    unsigned port, applied;
    bool closed;
};

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result) {
    struct server *server = fsm->data;
    server->applied++;
    assert_int_equal(buf->len, 8);
    *result = NULL;
    return 0;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs) {
    (void)fsm;
    (void)bufs;
    (void)n_bufs;
    return RAFT_NOMEM;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf) {
    (void)fsm;
    (void)buf;
    return RAFT_NOMEM;
}

static void server_open(struct server *server, unsigned id, struct raft_configuration *conf) {
    struct kw_meta_transport_options options = {
        .bind = "127.0.0.1", .raft_port = server->port, .secret = "correct horse", .cluster = "orders"};
    snprintf(server->dir, sizeof(server->dir), "/tmp/kw-transport-XXXXXX");
    assert_non_null(mkdtemp(server->dir));
    assert_int_equal(kw_meta_transport_new(&server->transport, &loop, &options), 0);
    assert_int_equal(raft_uv_init(&server->io, &loop, server->dir, kw_meta_transport_raft(server->transport)), 0);
    raft_uv_set_connect_retry_delay(&server->io, 150);
    server->fsm = (struct raft_fsm){
        .version = 1, .data = server, .apply = fsm_apply, .snapshot = fsm_snapshot, .restore = fsm_restore};
    assert_int_equal(raft_init(&server->raft, &server->io, &server->fsm, id, server->address), 0);
    raft_set_election_timeout(&server->raft, 300);
    raft_set_heartbeat_timeout(&server->raft, 50);
    assert_int_equal(raft_bootstrap(&server->raft, conf), 0);
    assert_int_equal(raft_start(&server->raft), 0);
}

static void on_raft_closed(struct raft *raft) {
    struct server *server = raft->data;
    server->closed = true;
}

static int remove_file(const char *dir, const char *name) {
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", dir, name);
    return unlink(path);
}

static void remove_dir(const char *dir) {
    uv_fs_t scan;
    uv_dirent_t entry;
    assert_true(uv_fs_scandir(NULL, &scan, dir, 0, NULL) >= 0);
    while (uv_fs_scandir_next(&scan, &entry) != UV_EOF) assert_int_equal(remove_file(dir, entry.name), 0);
    uv_fs_req_cleanup(&scan);
    assert_int_equal(rmdir(dir), 0);
}

static void server_close(struct server *server) {
    server->raft.data = server;
    raft_close(&server->raft, on_raft_closed);
    UNTIL(server->closed);
    raft_uv_close(&server->io);
    kw_meta_transport_free(server->transport);
    remove_dir(server->dir);
}

static struct server *leader_of(struct server servers[3]) {
    for (int i = 0; i < 3; i++) {
        if (raft_state(&servers[i].raft) == RAFT_LEADER) return &servers[i];
    }
    return NULL;
}

static bool all_know(struct server servers[3], raft_id leader) {
    for (int i = 0; i < 3; i++) {
        raft_id id;
        const char *address;
        raft_leader(&servers[i].raft, &id, &address);
        if (id != leader) return false;
    }
    return true;
}

static void on_applied(struct raft_apply *req, int status, void *result) {
    (void)result;
    *(int *)req->data = status;
}

static void apply_one(struct server servers[3], struct server *leader, unsigned nth) {
    struct raft_apply apply;
    int outcome = -1;
    struct raft_buffer buf = {.base = raft_calloc(1, 8), .len = 8};
    apply.data = &outcome;
    assert_int_equal(raft_apply(&leader->raft, &apply, &buf, 1, on_applied), 0);
    UNTIL(outcome == 0 && servers[0].applied == nth && servers[1].applied == nth && servers[2].applied == nth);
}

/* Of one who knows the secret and has gone mad; each killed or blocked libraft by itself. */
static void send_nonsense(const struct server *server, uint64_t id) {
    enum { PREAMBLE = 16, ENTRY_AT = PREAMBLE + 40, WHOLE = PREAMBLE + 64 };
    static const struct {
        size_t at;
        unsigned char value;
    } rows[] = {
        {0, 0},             /* an unknown type of message */
        {15, 0x80},         /* a header of 2^63 bytes */
        {8, 16},            /* one that is too short */
        {PREAMBLE + 32, 9}, /* more entries than it holds */
        {PREAMBLE + 39, 1}, /* ... far more */
        {ENTRY_AT + 8, 0},  /* an unknown type of entry */
        {ENTRY_AT + 12, 0}, /* an entry of nothing */
        {ENTRY_AT + 15, 0xff},
    };
    struct kw_handshake_self self = {
        .id = 9, .address = "127.0.0.1:9:9", .cluster = "orders", .secret = "correct horse", .secret_len = 13};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        struct kw_handshake shake;
        unsigned char bytes[KW_HANDSHAKE_PROOF + WHOLE] = {0}, *message = bytes + KW_HANDSHAKE_PROOF;
        int fd = insider_open(server->port, &shake, &self, id, bytes);
        message[0] = RAFT_APPEND_ENTRIES;
        message[8] = WHOLE - PREAMBLE;
        message[PREAMBLE + 32] = 1;
        message[ENTRY_AT + 8] = RAFT_COMMAND;
        message[ENTRY_AT + 12] = 8;
        message[rows[i].at] = rows[i].value;
        assert_true(stranger_says(fd, bytes, sizeof(bytes)));
        UNTIL(stranger_ended(fd));
        close(fd);
    }
}

static void test_libraft_runs_over_it(void **state) {
    (void)state;
    static struct server servers[3];
    struct raft_configuration conf;
    begin();
    raft_configuration_init(&conf);
    for (unsigned i = 0; i < 3; i++) {
        servers[i].port = free_port();
        snprintf(servers[i].address, sizeof(servers[i].address), "127.0.0.1:%u:%u", i + 1, servers[i].port);
        assert_int_equal(raft_configuration_add(&conf, i + 1, servers[i].address, RAFT_VOTER), 0);
    }
    for (unsigned i = 0; i < 3; i++) server_open(&servers[i], i + 1, &conf);
    raft_configuration_close(&conf);
    int stranger = stranger_open(servers[0].port); /* still there at the end */
    struct server *leader = NULL;
    UNTIL((leader = leader_of(servers)) && all_know(servers, (raft_id)(leader - servers) + 1));
    for (int i = 0; i < 3; i++) raft_set_election_timeout(&servers[i].raft, 10000); /* a busy machine unseats nobody */
    apply_one(servers, leader, 1);
    send_nonsense(leader, (raft_id)(leader - servers) + 1);
    assert_int_equal(raft_state(&leader->raft), RAFT_LEADER);
    apply_one(servers, leader, 2);
    struct kw_meta_transport_facts facts;
    kw_meta_transport_facts(servers[0].transport, &facts);
    assert_true(facts.accepted >= 1);
    for (int i = 0; i < 3; i++) server_close(&servers[i]);
    close(stranger);
    finish();
}

int main(int argc, char **argv) {
    if (argc == 4 && strcmp(argv[1], "serve") == 0) return serve(argv[2], argv[3]);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_peers_meet, setup, teardown),
        cmocka_unit_test_setup_teardown(test_every_kind_of_address, setup, teardown),
        cmocka_unit_test_setup_teardown(test_the_next_address_is_tried, setup, teardown),
        cmocka_unit_test_setup_teardown(test_listening_fails_with_a_reason, setup, teardown),
        cmocka_unit_test_setup_teardown(test_wrong_peers_are_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_another_folder_is_refused, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_stranger_cannot_disown, setup, teardown),
        cmocka_unit_test_setup_teardown(test_strangers_are_shown_out, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_gigabyte, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_thousand_strangers, setup, teardown),
        cmocka_unit_test_setup_teardown(test_no_byte_is_lost, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_dialled_one_that_says_nothing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing_cancels, setup, teardown),
        cmocka_unit_test_setup_teardown(test_closing_between_proof_and_handover, setup, teardown),
        cmocka_unit_test_setup_teardown(test_a_killed_process_is_known_at_once, setup, teardown),
        cmocka_unit_test_setup_teardown(test_hints_both_ways, setup, teardown),
        cmocka_unit_test_setup_teardown(test_libraft_runs_over_it, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
