/*
 * Replicas in one process, on one loop, with real folders and sockets: what they elect, commit, refuse, and keep over a
 * restart. All of them listen on a loopback address of this process's own, so that its ports are nobody else's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <ftw.h>
#include <signal.h>
#include <unistd.h>
#include <uv.h>

#include "base/base.h"
#include "base/clock.h"
#include "base/error.h"
#include "base/log.h"
#include "base/str.h"
#include "raft/store/disk_internal.h"
#include "raft/store/replica_internal.h"

enum {
    NODES_MAX = 4,
    WAIT_MS = 30000,
    PORT_FIRST = 20000,
    CALM_MS = 5000, /* once there is a leader: a machine that is busy elsewhere does not unseat it */
    HASTE_MS = 500, /* where its end, or that of its followers, is to be noticed */
};

struct node {
    struct kw_replica *replica; /* NULL: not running */
    bool closed, fatal;
    int fatal_code;
    char why[KW_DISK_WHY_SIZE];
    unsigned applied_calls, role_calls;
    bool inside; /* a call of replica.h is running: no callback may come */
};

static struct {
    uv_loop_t loop;
    uv_timer_t beat; /* the loop never blocks for long while something is waited for */
    char root[64];
    char host[32];
    unsigned first_port;
    struct node nodes[NODES_MAX + 1];  /* by id, from 1 */
    struct kw_replica_options options; /* what a test asks for beside the usual */
    const struct kw_disk *filled;      /* the disk on which so many bytes are free; NULL: none */
    uint64_t free_bytes;
} t;

uint64_t __real_kw_disk_free_bytes(const struct kw_disk *disk);
uint64_t __wrap_kw_disk_free_bytes(const struct kw_disk *disk);
uint64_t __wrap_kw_disk_free_bytes(const struct kw_disk *disk) {
    return disk == t.filled ? t.free_bytes : __real_kw_disk_free_bytes(disk);
}

/* --- what happened to submissions --- */

struct tally {
    unsigned answered, good;
    int last;
    struct kw_meta_result result;
};

static void on_done(void *ctx, int code, const struct kw_meta_result *result) {
    struct tally *tally = ctx;
    tally->answered++;
    tally->last = code;
    if (code == 0) tally->good++;
    if (result) tally->result = *result;
}

static void on_applied(void *ctx) {
    struct node *node = ctx;
    assert_false(node->inside);
    node->applied_calls++;
}

static void on_role(void *ctx) {
    struct node *node = ctx;
    assert_false(node->inside);
    node->role_calls++;
}

static void on_fatal(void *ctx, int code, const char *why) {
    struct node *node = ctx;
    node->fatal_code = code;
    assert_false(node->fatal);
    node->fatal = true;
    snprintf(node->why, sizeof(node->why), "%s", why);
}

static void on_closed(void *ctx) {
    struct node *node = ctx;
    node->closed = true;
    node->replica = NULL;
}

/* --- the world --- */

static void on_beat(uv_timer_t *timer KW_UNUSED) {
}

static int remove_one(const char *path, const struct stat *st KW_UNUSED, int type KW_UNUSED,
                      struct FTW *ftw KW_UNUSED) {
    return remove(path);
}

static int make_world(void **state KW_UNUSED) {
    memset(&t, 0, sizeof(t));
    kw_log_set_level(getenv("TEST_LOG") ? KW_LOG_DEBUG : KW_LOG_WARNING + 1);
    unsigned pid = (unsigned)getpid();
    static unsigned round;
    round++;
    snprintf(t.host, sizeof(t.host), "127.%u.%u.%u", 1 + (pid >> 8) % 250, pid % 250, round);
    snprintf(t.root, sizeof(t.root), "/tmp/kw-replica-XXXXXX");
    t.first_port = PORT_FIRST;
    assert_non_null(mkdtemp(t.root));
    uv_loop_init(&t.loop);
    uv_timer_init(&t.loop, &t.beat);
    uv_timer_start(&t.beat, on_beat, 5, 5);
    return 0;
}

static bool wait_for(bool (*met)(void *ctx), void *ctx) {
    uint64_t deadline = kw_clock_ms() + WAIT_MS;
    while (!met(ctx)) {
        if (kw_clock_ms() > deadline) return false;
        uv_run(&t.loop, UV_RUN_ONCE);
    }
    return true;
}

static bool is_closed(void *ctx) {
    return ((struct node *)ctx)->closed;
}

static void stop(uint64_t id) {
    struct node *node = &t.nodes[id];
    node->inside = true;
    kw_replica_close(node->replica, on_closed, node);
    node->inside = false;
    assert_false(node->closed);
    assert_true(wait_for(is_closed, node));
}

static int drop_world(void **state KW_UNUSED) {
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (t.nodes[id].replica) stop(id);
    }
    uv_close((uv_handle_t *)&t.beat, NULL);
    uv_run(&t.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&t.loop), 0);
    return nftw(t.root, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

static struct kw_meta_peer peer_of(uint64_t id) {
    struct kw_meta_peer peer = {.id = id};
    snprintf(peer.address.host, sizeof(peer.address.host), "%s", t.host);
    peer.address.port = t.first_port + (unsigned)id;
    peer.address.raft_port = peer.address.port + KW_META_RAFT_PORT_OFFSET;
    return peer;
}

static const char *dir_of(uint64_t id) {
    static char dir[128];
    snprintf(dir, sizeof(dir), "%s/%u", t.root, (unsigned)id);
    return dir;
}

static struct node *leader(void) {
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = &t.nodes[id];
        if (node->replica && kw_replica_role(node->replica) == KW_ROLE_LEADER) return node;
    }
    return NULL;
}

/* Node `id` of `count` first members; 0: it waits to be added. */
static int try_open(uint64_t id, unsigned count, const char *dir, struct kw_replica **out, char *why, size_t why_size) {
    struct kw_meta_peer peers[NODES_MAX];
    for (unsigned i = 0; i < count; i++) peers[i] = peer_of(count - i); /* the order does not matter */
    struct kw_replica_options options = t.options;
    options.id = id;
    options.address = peer_of(id).address;
    options.bind = t.host;
    options.dir = dir;
    if (!options.secret) options.secret = "a secret of the test";
    options.cluster = "test";
    options.peers = peers;
    options.peer_count = count;
    options.join = count == 0;
    options.disk_timeout_ms = 20000;
    options.election_ms = leader() ? CALM_MS : 0;
    options.on_applied = on_applied;
    options.on_role = on_role;
    options.on_fatal = on_fatal;
    options.ctx = &t.nodes[id];
    return kw_replica_new(out, &t.loop, &options, why, why_size);
}

static void start(uint64_t id, unsigned count) {
    struct node *node = &t.nodes[id];
    char why[KW_DISK_WHY_SIZE] = "";
    memset(node, 0, sizeof(*node));
    int code = try_open(id, count, dir_of(id), &node->replica, why, sizeof(why));
    if (code) fail_msg("node %u does not start: %s", (unsigned)id, why);
}

static void start_three(void) {
    for (uint64_t id = 1; id <= 3; id++) start(id, 3);
}

static struct node *follower(void) {
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = &t.nodes[id];
        if (node->replica && kw_replica_role(node->replica) == KW_ROLE_FOLLOWER) return node;
    }
    return NULL;
}

static uint64_t id_of(const struct node *node) {
    return (uint64_t)(node - t.nodes);
}

static struct kw_replica_facts facts_of(const struct node *node) {
    struct kw_replica_facts facts;
    kw_replica_facts(node->replica, &facts);
    return facts;
}

/* All that run know one leader, which has committed in its term. */
static bool is_settled(void *ctx KW_UNUSED) {
    struct node *head = leader();
    if (!head) return false;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (t.nodes[id].replica && kw_replica_leader(t.nodes[id].replica, NULL) != id_of(head)) return false;
    }
    struct kw_replica_facts facts = facts_of(head);
    return facts.queue_records == 0 && facts.commit_index == facts.last_index;
}

static struct node *settle(void) {
    if (!wait_for(is_settled, NULL)) fail_msg("no leader");
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct kw_replica *replica = t.nodes[id].replica;
        if (replica && replica->raft.election_timeout != CALM_MS) raft_set_election_timeout(&replica->raft, CALM_MS);
    }
    return leader();
}

/* Every member that runs has applied what the leader has. */
static bool is_level(void *ctx KW_UNUSED) {
    if (!is_settled(NULL)) return false;
    uint64_t applied = facts_of(leader()).applied_index;
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (t.nodes[id].replica && facts_of(&t.nodes[id]).applied_index != applied) return false;
    }
    return true;
}

/* The leader knows that each member has all: a node can be level before its answer to the last message is here. */
static bool is_matched(void *ctx) {
    struct kw_replica_facts facts = facts_of(ctx);
    for (unsigned i = 0; i < facts.member_count; i++) {
        if (facts.members[i].match_index != facts.last_index) return false;
    }
    return true;
}

static void image_of(const struct node *node, struct kw_str *out) {
    struct kw_meta_image *image = kw_replica_backup(node->replica);
    size_t count = 0;
    const struct kw_piece *pieces = kw_meta_image_pieces(image, &count);
    for (size_t i = 0; i < count; i++) kw_str_append(out, pieces[i].base, pieces[i].len);
    kw_meta_image_free(image);
}

/* All that run hold the same bytes, sooner or later. */
static void assert_level(void) {
    if (!wait_for(is_level, NULL)) fail_msg("the nodes do not catch up");
    struct kw_str first = {0};
    image_of(leader(), &first);
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        if (!t.nodes[id].replica) continue;
        struct kw_str other = {0};
        image_of(&t.nodes[id], &other);
        assert_int_equal(first.len, other.len);
        assert_memory_equal(first.data, other.data, first.len);
        kw_str_deinit(&other);
    }
    kw_str_deinit(&first);
}

static int put(struct node *node, const char *key, const void *value, size_t len, const char *id, struct tally *tally) {
    struct kw_record record = {
        .type = KW_RECORD_PUT,
        .table = KW_META_LOCKS,
        .expect = KW_EXPECT_ANY,
        .key = key,
        .key_len = strlen(key),
        .value = value,
        .value_len = len,
    };
    if (id) snprintf((char *)record.request_id, sizeof(record.request_id), "%s", id);
    node->inside = true;
    int code = kw_replica_submit(node->replica, &record, on_done, tally);
    node->inside = false;
    return code;
}

static bool has(const struct node *node, const char *key, const char *value) {
    struct kw_ptable_item item;
    const struct kw_ptable *table = kw_meta_state_table(kw_replica_state(node->replica), KW_META_LOCKS);
    if (!kw_ptable_get(table, key, strlen(key), &item)) return false;
    return item.value_len == strlen(value) && memcmp(item.value, value, item.value_len) == 0;
}

struct count_of {
    const struct tally *tally;
    unsigned count;
};

static bool is_answered(void *ctx) {
    const struct count_of *want = ctx;
    return want->tally->answered >= want->count;
}

static void await(const struct tally *tally, unsigned count) {
    struct count_of want = {tally, count};
    if (!wait_for(is_answered, &want)) fail_msg("%u of %u answers", tally->answered, count);
    assert_int_equal(tally->answered, count);
}

/* `count` writes, each an entry of its own. */
static void put_singly(unsigned from, unsigned count) {
    for (unsigned i = from; i < from + count; i++) {
        char key[32];
        struct tally tally = {0};
        snprintf(key, sizeof(key), "key-%u", i);
        assert_int_equal(put(leader(), key, key, strlen(key), NULL, &tally), 0);
        await(&tally, 1);
        assert_int_equal(tally.last, 0);
    }
}

/* --- tests --- */

static void test_elects_and_commits(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct tally tally = {0};
    uint64_t before = facts_of(head).entries;
    assert_true(before > 0); /* a new leader's own */
    for (unsigned i = 0; i < 1000; i++) {
        char key[32];
        snprintf(key, sizeof(key), "key-%u", i);
        assert_int_equal(put(head, key, key, strlen(key), NULL, &tally), 0);
    }
    assert_int_equal(tally.answered, 0); /* never inline */
    await(&tally, 1000);
    assert_int_equal(tally.good, 1000);
    assert_true(has(head, "key-999", "key-999"));
    assert_int_equal(facts_of(head).entries - before, 4); /* 256 each, and 232 */
    assert_true(head->applied_calls > 0 && head->role_calls > 0);
    assert_level();
    if (!wait_for(is_matched, head)) fail_msg("the leader does not hear that all have all");
    struct kw_replica_facts facts = facts_of(head);
    assert_int_equal(facts.member_count, 3);
    assert_int_equal(facts.leader_id, id_of(head));
    assert_int_equal(facts.leader.port, peer_of(id_of(head)).address.port);
    assert_int_equal(facts.queue_records, 0);
    assert_int_equal(facts.queue_bytes, 0);
}

static void test_follower_refuses(void **state KW_UNUSED) {
    start_three();
    settle();
    struct node *other = follower();
    struct tally tally = {0};
    assert_int_equal(put(other, "k", "v", 1, NULL, &tally), KW_ENOTLEADER);
    assert_int_equal(kw_replica_read(other->replica, on_done, &tally), KW_ENOTLEADER);
    assert_int_equal(kw_replica_transfer(other->replica, 0, on_done, &tally), KW_ENOTLEADER);
    struct kw_meta_address address;
    assert_int_equal(kw_replica_leader(other->replica, &address), id_of(leader()));
    assert_int_equal(address.port, peer_of(id_of(leader())).address.port);
    assert_int_equal(facts_of(other).rejected, 2);
    assert_int_equal(tally.answered, 0);
}

static void test_reads(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct tally reads = {0}, writes = {0};
    uint64_t before = 0, rounds = 0;
    bool shared = false;
    for (unsigned attempt = 0; attempt < 20 && !shared; attempt++) { /* a busy machine makes it ask again */
        reads = (struct tally){0};
        before = facts_of(head).barriers;
        rounds = facts_of(head).rounds;
        for (unsigned i = 0; i < 100; i++) assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
        await(&reads, 100);
        assert_int_equal(reads.good, 100);
        shared = facts_of(head).rounds - rounds == 1 && facts_of(head).barriers == before;
    }
    assert_true(shared);
    assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
    await(&reads, 101);
    assert_int_equal(reads.good, 101);

    reads = (struct tally){0};
    head->replica->settled_term = 0; /* nothing of this term is committed, as far as it knows: the log says */
    for (unsigned i = 0; i < 100; i++) assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
    await(&reads, 100);
    assert_int_equal(reads.good, 100);
    assert_int_equal(facts_of(head).barriers - before, 1); /* shared */

    assert_true(facts_of(head).rounds - rounds >= 2);
    assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
    assert_int_equal(put(head, "k", "new", 3, NULL, &writes), 0);
    await(&reads, 101);
    assert_int_equal(writes.good, 1);
    assert_true(has(head, "k", "new"));
    assert_int_equal(facts_of(head).barriers - before, 1); /* it rode on the write */
}

/* A leader that nobody follows any more still believes in itself for a while: it must not answer. */
static void test_read_without_a_majority(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    for (uint64_t id = 1; id <= 3; id++) {
        if (id != id_of(head)) stop(id);
    }
    struct tally reads = {0}, writes = {0};
    if (kw_replica_role(head->replica) == KW_ROLE_LEADER) {
        assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
        raft_set_election_timeout(&head->replica->raft, HASTE_MS);
        await(&reads, 1);
        assert_int_equal(reads.last, KW_ENOTLEADER);
    }
    assert_int_equal(put(head, "k", "v", 1, NULL, &writes), KW_ENOTLEADER);
}

static void test_in_doubt(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    for (uint64_t id = 1; id <= 3; id++) {
        if (id == id_of(head)) continue;
        kw_replica_close(t.nodes[id].replica, on_closed, &t.nodes[id]);
    }
    struct tally tally = {0};
    assert_int_equal(put(head, "k", "v", 1, NULL, &tally), 0);
    raft_set_election_timeout(&head->replica->raft, HASTE_MS);
    await(&tally, 1);
    assert_int_equal(tally.last, KW_EINDOUBT);
}

static void test_queue_limits(void **state KW_UNUSED) {
    t.options.queue_max = 100;
    t.options.queue_bytes_max = 1024 * 1024;
    start_three();
    struct node *head = settle();
    struct tally tally = {0};
    for (unsigned i = 0; i < 100; i++) assert_int_equal(put(head, "k", "v", 1, NULL, &tally), 0);
    assert_int_equal(put(head, "k", "v", 1, NULL, &tally), KW_ELIMIT);
    await(&tally, 100);
    assert_int_equal(tally.good, 100);
    assert_int_equal(put(head, "k", "v", 1, NULL, &tally), 0);

    static char large[KW_REPLICA_RECORD_MAX];
    assert_int_equal(put(head, "k", large, 1024 * 1024, NULL, &tally), KW_ELIMIT);
    assert_int_equal(put(head, "k", large, sizeof(large), NULL, &tally), KW_EINVALID);
    await(&tally, 101);
}

static void test_request_id(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct tally first = {0}, again = {0}, other = {0};
    assert_int_equal(put(head, "k", "one", 3, "request", &first), 0);
    await(&first, 1);
    assert_true(first.result.version > 0);
    assert_int_equal(put(head, "k", "two", 3, NULL, &other), 0);
    await(&other, 1);
    assert_int_equal(put(head, "k", "one", 3, "request", &again), 0);
    await(&again, 1);
    assert_int_equal(again.last, 0);
    assert_int_equal(again.result.version, first.result.version);
    assert_true(has(head, "k", "two"));
}

static void test_leader_ends(void **state KW_UNUSED) {
    start_three();
    settle();
    put_singly(0, 20);
    uint64_t gone = id_of(leader()), term = facts_of(leader()).term;
    stop(gone);
    uint64_t begun = kw_clock_ms();
    struct node *head = settle();
    uint64_t took = kw_clock_ms() - begun;
    print_message("a new leader after %u ms\n", (unsigned)took);
    assert_true(head->replica->hint.followed + follower()->replica->hint.followed > 0);
    assert_true(facts_of(head).term > term);
    assert_true(has(head, "key-19", "key-19"));
    put_singly(20, 20);
    start(gone, 3);
    assert_level();
    assert_true(has(&t.nodes[gone], "key-39", "key-39"));
}

static void test_restart(void **state KW_UNUSED) {
    start_three();
    settle();
    put_singly(0, 10);
    uint64_t id = id_of(follower());
    stop(id);
    put_singly(10, 10);
    start(id, 3);
    assert_level();
    for (id = 1; id <= 3; id++) stop(id);
    start_three();
    settle();
    assert_level();
    assert_true(has(leader(), "key-19", "key-19"));
}

static bool was_told(void *ctx) {
    return ((struct node *)ctx)->applied_calls > 0;
}

static void test_snapshots(void **state KW_UNUSED) {
    t.options.snapshot_entries = 40;
    start_three();
    settle();
    put_singly(0, 20);
    uint64_t behind = id_of(follower());
    stop(behind);
    put_singly(20, 300);
    assert_true(facts_of(leader()).snapshots > 0);
    assert_true(facts_of(leader()).snapshot_index > 100);
    start(behind, 3); /* its log ends before the others' begins: it is sent a snapshot */
    assert_level();
    assert_true(facts_of(&t.nodes[behind]).snapshot_index > 100);
    assert_true(t.nodes[behind].applied_calls > 0);
    for (uint64_t id = 1; id <= 3; id++) stop(id);
    start(behind, 3);
    if (!wait_for(was_told, &t.nodes[behind])) fail_msg("on_applied does not come");
    assert_true(has(&t.nodes[behind], "key-100", "key-100")); /* from its snapshot, there is no leader */
    for (uint64_t id = 1; id <= 3; id++) {
        if (id != behind) start(id, 3);
    }
    settle();
    assert_level();
    assert_true(has(leader(), "key-319", "key-319"));
}

/* A snapshot of many pieces, some of them larger than one write. */
static void test_large_snapshot(void **state KW_UNUSED) {
    t.options.snapshot_entries = 20;
    start_three();
    struct node *head = settle();
    struct tally tally = {0};
    unsigned count = 0;
    static char value[2000];
    memset(value, 'x', sizeof(value));
    for (unsigned round = 0; round < 40; round++) {
        for (unsigned i = 0; i < 500; i++) {
            char key[32];
            snprintf(key, sizeof(key), "%u-%u", round, i);
            assert_int_equal(put(head, key, value, sizeof(value), NULL, &tally), 0);
            count++;
        }
        await(&tally, count);
    }
    assert_int_equal(tally.good, count);
    assert_true(facts_of(head).snapshots > 0);
    assert_level();
    for (uint64_t id = 1; id <= 3; id++) stop(id);
    start_three();
    settle();
    assert_level();
    const struct kw_ptable *table = kw_meta_state_table(kw_replica_state(leader()->replica), KW_META_LOCKS);
    assert_int_equal(kw_ptable_count(table), count);
}

static bool is_fatal(void *ctx) {
    return ((struct node *)ctx)->fatal;
}

static const struct kw_replica_member *member_of(const struct kw_replica_facts *facts, uint64_t id) {
    for (unsigned i = 0; i < facts->member_count; i++) {
        if (facts->members[i].peer.id == id) return &facts->members[i];
    }
    return NULL;
}

static void test_membership(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    put_singly(0, 20);
    struct kw_meta_peer fourth = peer_of(4);
    struct tally tally = {0};
    start(4, 0);
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), 0);
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), KW_ELIMIT);
    await(&tally, 1);
    assert_int_equal(tally.last, 0);
    struct kw_replica_facts facts = facts_of(head);
    assert_int_equal(facts.member_count, 4);
    assert_true(member_of(&facts, 4)->voter);
    assert_level();
    assert_true(has(&t.nodes[4], "key-19", "key-19"));
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), KW_EINVALID);
    fourth.id = 5;
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), KW_EINVALID); /* the address */
    assert_int_equal(kw_replica_remove(head->replica, 9, on_done, &tally), KW_EINVALID);

    assert_int_equal(kw_replica_remove(head->replica, 4, on_done, &tally), 0);
    if (!wait_for(is_fatal, &t.nodes[4])) fail_msg("the removed node does not notice");
    assert_int_equal(t.nodes[4].fatal_code, KW_EINVALID);
    assert_string_equal(t.nodes[4].why, "node 4 was removed from the cluster");
    stop(4);
    await(&tally, 2);
    assert_int_equal(tally.last, 0);
    facts = facts_of(head);
    assert_int_equal(facts.member_count, 3);
    assert_null(member_of(&facts, 4));
    put_singly(20, 5);

    char why[KW_DISK_WHY_SIZE];
    struct kw_replica *none = NULL;
    assert_int_equal(try_open(4, 0, dir_of(4), &none, why, sizeof(why)), KW_EINVALID); /* its id is used up */
}

static void test_removes_the_leader_and_the_dead(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    uint64_t dead = id_of(follower()), old = id_of(head);
    struct tally tally = {0};
    stop(dead);
    assert_int_equal(kw_replica_remove(head->replica, dead, on_done, &tally), 0);
    await(&tally, 1);
    assert_int_equal(tally.last, 0);
    assert_int_equal(kw_replica_remove(head->replica, old, on_done, &tally), 0);
    await(&tally, 2);
    assert_int_equal(tally.last, 0);
    if (!wait_for(is_fatal, head)) fail_msg("the removed leader does not notice");
    assert_int_equal(head->fatal_code, KW_EINVALID);
    raft_set_election_timeout(&t.nodes[6 - dead - old].replica->raft, HASTE_MS); /* the one of three that is left */
    stop(old);
    head = settle();
    assert_int_equal(facts_of(head).member_count, 1);
    put_singly(0, 5);
    assert_int_equal(kw_replica_remove(head->replica, id_of(head), on_done, &tally), KW_EINVALID); /* the last */
}

static void test_addition_that_does_not_catch_up(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct kw_meta_peer fourth = peer_of(4); /* runs nowhere */
    struct tally tally = {0};
    raft_set_max_catch_up_round_duration(&head->replica->raft, 200);
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), 0);
    await(&tally, 1);
    assert_int_equal(tally.last, KW_ETIMEOUT);
    assert_int_equal(facts_of(head).member_count, 3);
}

/* Its log holds its first addition, its removal and its second addition, and it is sent one entry at a time. */
static void test_addition_after_one_that_was_undone(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct kw_meta_peer fourth = peer_of(4); /* does not run yet */
    struct tally tally = {0}, again = {0};
    raft_set_max_catch_up_round_duration(&head->replica->raft, WAIT_MS);
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &tally), 0);
    put_singly(0, 5);
    assert_int_equal(tally.answered, 0);
    raft_set_max_catch_up_round_duration(&head->replica->raft, 100);
    await(&tally, 1);
    assert_int_equal(tally.last, KW_ETIMEOUT);
    put_singly(5, 5);
    raft_set_max_inflight_entries(&head->replica->raft, 1);
    raft_set_max_catch_up_round_duration(&head->replica->raft, WAIT_MS);
    start(4, 0);
    assert_int_equal(kw_replica_add(head->replica, &fourth, on_done, &again), 0);
    await(&again, 1);
    assert_int_equal(again.last, 0);
    put_singly(10, 5);
    assert_level();
    assert_false(t.nodes[4].fatal);
    stop(4);
    start(4, 0); /* nor does it take its old removal for a new one when it begins again */
    assert_level();
    assert_false(t.nodes[4].fatal);
}

static void test_transfer(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    uint64_t to = id_of(follower());
    struct tally tally = {0}, writes = {0};
    assert_int_equal(kw_replica_transfer(head->replica, id_of(head), on_done, &tally), KW_EINVALID);
    assert_int_equal(kw_replica_transfer(head->replica, to, on_done, &tally), 0);
    assert_int_equal(put(head, "k", "v", 1, NULL, &writes), 0); /* waits, and is told that nothing happened */
    await(&tally, 1);
    assert_int_equal(tally.last, 0);
    await(&writes, 1);
    assert_int_equal(writes.last, KW_ENOTLEADER);
    assert_int_equal(id_of(settle()), to);
}

static void test_close_answers(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    struct tally writes = {0}, reads = {0};
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(put(head, "k", "v", 1, NULL, &writes), 0);
        assert_int_equal(kw_replica_read(head->replica, on_done, &reads), 0);
        if (i == 25) uv_run(&t.loop, UV_RUN_NOWAIT);
    }
    kw_replica_close(head->replica, on_closed, head);
    assert_int_equal(writes.answered, 50);
    assert_int_equal(reads.answered, 50);
    assert_int_equal(writes.last, KW_ECLOSED);
    assert_int_equal(reads.last, KW_ECLOSED);
    assert_true(wait_for(is_closed, head));
}

static void ignore_apply(struct raft_apply *apply KW_UNUSED, int status KW_UNUSED, void *result KW_UNUSED) {
}

/* What another version, or a damaged disk, may have put into the log. */
static void test_unreadable_entry(void **state KW_UNUSED) {
    start_three();
    struct node *head = settle();
    put_singly(0, 3);
    struct raft_apply apply;
    struct raft_buffer buffer = {.base = raft_malloc(64), .len = 64};
    memset(buffer.base, 0x5a, 64);
    assert_int_equal(raft_apply(&head->replica->raft, &apply, &buffer, 1, ignore_apply), 0);
    struct tally behind = {0};
    assert_int_equal(put(head, "behind", "v", 1, NULL, &behind), 0);
    for (uint64_t id = 1; id <= 3; id++) {
        if (!wait_for(is_fatal, &t.nodes[id])) fail_msg("node %u goes on", (unsigned)id);
        assert_non_null(strstr(t.nodes[id].why, "cannot be applied"));
        assert_false(has(&t.nodes[id], "behind", "v"));
        assert_int_equal(kw_replica_role(t.nodes[id].replica), KW_ROLE_STOPPED);
    }
    await(&behind, 1);
    assert_int_equal(behind.last, KW_EINDOUBT);
}

static void test_refusals(void **state KW_UNUSED) {
    start(1, 1);
    settle(); /* alone is a majority */
    put_singly(0, 3);
    char why[KW_DISK_WHY_SIZE], dir[128];
    struct kw_replica *none = NULL;
    snprintf(dir, sizeof(dir), "%s", dir_of(1));
    assert_int_equal(try_open(1, 1, dir, &none, why, sizeof(why)), KW_ELIMIT); /* in use */
    assert_non_null(strstr(why, "in use"));
    /* Another folder, the same address. */
    assert_int_equal(try_open(1, 1, dir_of(2), &none, why, sizeof(why)), KW_EIO);
    assert_non_null(strstr(why, "cannot listen on"));
    stop(1);
    assert_int_equal(try_open(2, 1, dir, &none, why, sizeof(why)), KW_EINVALID); /* another's */
    t.options.snapshot_entries = 0;
    start(1, 1);
    settle();
    assert_true(has(leader(), "key-2", "key-2"));
}

/* What it has promised is gone with its folder: the others remember, and the node ends whichever way it comes back. */
static void test_a_wiped_node_ends(void **state KW_UNUSED) {
    start_three();
    settle();
    put_singly(0, 3);
    struct node *lost = follower();
    uint64_t id = id_of(lost);
    for (unsigned count = 3;; count = 0) { /* as a first member; then to be filled up */
        stop(id);
        assert_int_equal(nftw(dir_of(id), remove_one, 16, FTW_DEPTH | FTW_PHYS), 0);
        start(id, count);
        if (!wait_for(is_fatal, lost)) fail_msg("the node goes on with an empty folder");
        assert_int_equal(lost->fatal_code, KW_EINVALID);
        assert_non_null(strstr(lost->why, "not the one with which node"));
        assert_non_null(strstr(lost->why, "keyway-cli meta add NEW HOST:PORT"));
        if (count == 0) break;
    }
    stop(id);
    settle();
    put_singly(3, 3);
    for (uint64_t other = 1; other <= 3; other++) assert_false(t.nodes[other].fatal && other != id);
}

/* What the transport refuses is told with what it wants. */
static void test_a_short_secret(void **state KW_UNUSED) {
    char why[KW_DISK_WHY_SIZE];
    struct kw_replica *none = NULL;
    t.options.secret = "seven77";
    assert_int_equal(try_open(1, 1, dir_of(1), &none, why, sizeof(why)), KW_EINVALID);
    assert_non_null(strstr(why, "cluster's name must have 1 to 64 bytes"));
    assert_non_null(strstr(why, "at least 8"));
    assert_non_null(strstr(why, "1 to 65535"));
}

#define MIB ((uint64_t)1024 * 1024)

static bool has_reserve(uint64_t id) {
    char path[160];
    snprintf(path, sizeof(path), "%s/%s", dir_of(id), KW_DISK_FILE_RESERVE);
    return access(path, F_OK) == 0;
}

/* As the look once a second would find it. */
static void look_at_space(struct node *node, uint64_t free_bytes) {
    t.filled = node->replica->disk;
    t.free_bytes = free_bytes;
    kw_replica_space_check(node->replica);
    assert_int_equal(facts_of(node).disk_free_bytes, free_bytes);
}

static bool another_leads(void *ctx) {
    return leader() && leader() != ctx && is_settled(NULL);
}

static void test_a_disk_that_fills_up(void **state KW_UNUSED) {
    start_three();
    struct node *full = settle();
    uint64_t id = id_of(full);
    put_singly(0, 3);
    assert_true(has_reserve(id));
    look_at_space(full, 32 * MIB);
    assert_true(has_reserve(id));
    assert_int_equal(kw_replica_role(full->replica), KW_ROLE_LEADER);
    assert_int_equal(full->replica->change.step, KW_CHANGE_NONE);

    look_at_space(full, 32 * MIB - 1); /* short: the reserve goes, and leadership */
    assert_false(has_reserve(id));
    if (!wait_for(another_leads, full)) fail_msg("leadership is not handed on");
    put_singly(3, 3);
    look_at_space(full, 16 * MIB);
    look_at_space(full, 128 * MIB - 1); /* not enough to begin again */
    assert_false(has_reserve(id));
    look_at_space(full, 128 * MIB);
    assert_true(has_reserve(id));
    look_at_space(full, 15 * MIB); /* the reserve was there, so it goes first */
    assert_false(has_reserve(id));
    assert_false(full->replica->failed);

    look_at_space(full, 16 * MIB - 1);
    if (!wait_for(is_fatal, full)) fail_msg("the node goes on without room");
    assert_int_equal(full->fatal_code, KW_EIO);
    assert_non_null(strstr(full->why, "is full (15 MiB free)"));
    assert_non_null(strstr(full->why, dir_of(id)));
    look_at_space(full, 200 * MIB); /* it has ended: nothing is begun any more */
    assert_false(has_reserve(id));
    t.filled = NULL;
    stop(id);
    settle();
    put_singly(6, 3);
    start(id, 3); /* there is room again */
    assert_true(has_reserve(id));
    assert_level();
    assert_true(has(&t.nodes[id], "key-8", "key-8"));
}

static void on_stall(uv_timer_t *timer KW_UNUSED) {
    uint64_t end = kw_clock_us() + 60000;
    while (kw_clock_us() < end) continue;
}

static void on_timer_closed(uv_handle_t *handle) {
    *(bool *)handle->data = true;
}

static bool is_true(void *ctx) {
    return *(bool *)ctx;
}

static bool saw_stall(void *ctx) {
    return facts_of(ctx).longest_turn_us >= 55000;
}

static void test_longest_turn(void **state KW_UNUSED) {
    t.options.heartbeat_ms = 250; /* the loop blocks that long */
    start(1, 1);
    struct node *head = settle();
    uv_timer_t timer;
    uv_timer_init(&t.loop, &timer);
    uv_timer_stop(&t.beat);
    uint64_t longest_us = UINT64_MAX;
    for (unsigned attempt = 0; attempt < 5 && longest_us >= 200000; attempt++) { /* a busy machine stalls, too */
        kw_replica_turn_reset(head->replica);
        uint64_t until = kw_clock_ms() + 600;
        while (kw_clock_ms() < until) uv_run(&t.loop, UV_RUN_ONCE);
        longest_us = facts_of(head).longest_turn_us;
    }
    assert_true(longest_us < 200000); /* time spent blocked is no stall */
    uv_timer_start(&t.beat, on_beat, 5, 5);
    kw_replica_turn_reset(head->replica);
    uv_timer_start(&timer, on_stall, 1, 0);
    assert_true(wait_for(saw_stall, head));
    bool closed = false;
    timer.data = &closed;
    uv_close((uv_handle_t *)&timer, on_timer_closed);
    assert_true(wait_for(is_true, &closed));
}

#define WORLD_TEST(name) cmocka_unit_test_setup_teardown(name, make_world, drop_world)

int main(void) {
    const struct CMUnitTest tests[] = {
        WORLD_TEST(test_elects_and_commits),
        WORLD_TEST(test_follower_refuses),
        WORLD_TEST(test_reads),
        WORLD_TEST(test_read_without_a_majority),
        WORLD_TEST(test_in_doubt),
        WORLD_TEST(test_queue_limits),
        WORLD_TEST(test_request_id),
        WORLD_TEST(test_leader_ends),
        WORLD_TEST(test_restart),
        WORLD_TEST(test_snapshots),
        WORLD_TEST(test_large_snapshot),
        WORLD_TEST(test_membership),
        WORLD_TEST(test_removes_the_leader_and_the_dead),
        WORLD_TEST(test_addition_that_does_not_catch_up),
        WORLD_TEST(test_addition_after_one_that_was_undone),
        WORLD_TEST(test_transfer),
        WORLD_TEST(test_close_answers),
        WORLD_TEST(test_unreadable_entry),
        WORLD_TEST(test_refusals),
        WORLD_TEST(test_a_wiped_node_ends),
        WORLD_TEST(test_a_short_secret),
        WORLD_TEST(test_a_disk_that_fills_up),
        WORLD_TEST(test_longest_turn),
    };
    signal(SIGPIPE, SIG_IGN);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
