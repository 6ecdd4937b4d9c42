/*
 * Each rule of the guard on a fake raft_io that notes what reaches it, and a
 * raft that is looked at only as a struct: what libraft is handed, what the
 * backend is handed, and that each rule can be switched off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "raft/store/guard.h"

/* One of everything: the last call of each kind. */
static struct {
    struct raft raft;
    struct raft_fsm fsm;
    struct kw_guard *guard;
    struct raft_io *io;
    /* As the backend. */
    raft_io_recv_cb receive;
    struct raft_message sent;
    struct raft_io_send *send_req;
    raft_io_send_cb send_cb;
    unsigned sends;
    struct raft_io_append *append_req;
    raft_io_append_cb append_cb;
    struct raft_io_snapshot_put *put_req;
    raft_io_snapshot_put_cb put_cb;
    struct raft_io_snapshot_get *get_req;
    raft_io_snapshot_get_cb get_cb;
    int result; /* of the disk's functions */
    unsigned terms_stored;
    /* As libraft. */
    struct raft_message received;
    unsigned receives, sent_back;
    struct raft_message answer; /* sent from within a receive */
    bool answers;
    unsigned appends_open, disk_errors;
    const char *operation;
} now;

static int fake_start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb receive) {
    (void)io, (void)msecs, (void)tick;
    now.receive = receive;
    return 0;
}

static void fake_close(struct raft_io *io, raft_io_close_cb cb) {
    (void)io, (void)cb;
}

static int fake_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                     raft_index *start, struct raft_entry *entries[], size_t *count) {
    static struct raft_snapshot loaded = {.index = 40, .term = 4};
    (void)io;
    *term = 5;
    *vote = 0;
    *snapshot = &loaded;
    *start = 41;
    *entries = NULL;
    *count = 0;
    return 0;
}

static int fake_set_term(struct raft_io *io, raft_term term) {
    (void)io, (void)term;
    now.terms_stored++;
    return now.result;
}

static int fake_set_vote(struct raft_io *io, raft_id id) {
    (void)io, (void)id;
    return now.result;
}

static int fake_truncate(struct raft_io *io, raft_index index) {
    (void)io, (void)index;
    return now.result;
}

static int fake_append(struct raft_io *io, struct raft_io_append *req, const struct raft_entry entries[], unsigned n,
                       raft_io_append_cb cb) {
    (void)io, (void)entries, (void)n;
    now.append_req = req;
    now.append_cb = cb;
    return now.result;
}

static int fake_send(struct raft_io *io, struct raft_io_send *req, const struct raft_message *message,
                     raft_io_send_cb cb) {
    (void)io;
    now.sent = *message;
    now.send_req = req;
    now.send_cb = cb;
    now.sends++;
    return now.result;
}

static int fake_put(struct raft_io *io, unsigned trailing, struct raft_io_snapshot_put *req,
                    const struct raft_snapshot *snapshot, raft_io_snapshot_put_cb cb) {
    (void)io, (void)trailing, (void)snapshot;
    now.put_req = req;
    now.put_cb = cb;
    return now.result;
}

static int fake_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb) {
    (void)io;
    now.get_req = req;
    now.get_cb = cb;
    return now.result;
}

static void sent_back(struct raft_io_send *req, int status) {
    (void)req, (void)status;
    now.sent_back++;
}

/* libraft's side of a receive; answers at once if it is told to. */
static void libraft_receive(struct raft_io *io, struct raft_message *message) {
    static struct raft_io_send req;
    now.received = *message;
    now.receives++;
    if (now.answers) assert_int_equal(io->send(io, &req, &now.answer, sent_back), 0);
}

static void on_disk_error(void *ctx, const char *operation, int code) {
    assert_ptr_equal(ctx, &now);
    assert_int_not_equal(code, 0);
    now.operation = operation;
    now.disk_errors++;
}

static void on_append(void *ctx, bool started) {
    assert_ptr_equal(ctx, &now);
    now.appends_open += started ? 1 : -1u;
}

static void begin_silent(unsigned rules, bool (*silent)(void *ctx)) {
    memset(&now, 0, sizeof(now));
    struct kw_guard_options options = {.raft = &now.raft,
                                       .rules = rules,
                                       .on_disk_error = on_disk_error,
                                       .on_append = on_append,
                                       .silent = silent,
                                       .ctx = &now};
    now.guard = kw_guard_new(&options);
    now.io = kw_guard_io(now.guard);
    now.io->version = 2;
    now.io->start = fake_start;
    now.io->close = fake_close;
    now.io->load = fake_load;
    now.io->set_term = fake_set_term;
    now.io->set_vote = fake_set_vote;
    now.io->truncate = fake_truncate;
    now.io->append = fake_append;
    now.io->send = fake_send;
    now.io->snapshot_put = fake_put;
    now.io->snapshot_get = fake_get;
    kw_guard_wrap(now.guard);
    assert_int_equal(now.io->start(now.io, 50, NULL, libraft_receive), 0);
}

static void begin(unsigned rules) {
    begin_silent(rules, NULL);
}

static void end(void) {
    kw_guard_free(now.guard);
}

static unsigned without(enum kw_guard_rule rule) {
    return KW_GUARD_ALL & ~(unsigned)rule;
}

static unsigned long long acted(enum kw_guard_rule rule) {
    return kw_guard_count(now.guard, (unsigned)__builtin_ctz((unsigned)rule));
}

static struct raft_message append_message(raft_term term, raft_index prev, unsigned entries, raft_index commit) {
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES, .server_id = 2};
    message.append_entries = (struct raft_append_entries){
        .term = term, .prev_log_index = prev, .prev_log_term = prev ? term : 0, .leader_commit = commit};
    if (entries == 0) return message;
    message.append_entries.n_entries = entries;
    message.append_entries.entries = raft_calloc(entries, sizeof(struct raft_entry));
    char *batch = raft_malloc((size_t)entries * 8);
    memset(batch, 'x', (size_t)entries * 8);
    for (unsigned i = 0; i < entries; i++) {
        message.append_entries.entries[i] = (struct raft_entry){
            .term = term, .type = RAFT_COMMAND, .buf = {.base = batch + (size_t)i * 8, .len = 8}, .batch = batch};
    }
    return message;
}

static void free_append(struct raft_message *message) {
    if (message->append_entries.n_entries == 0) return;
    raft_free(message->append_entries.entries[0].batch);
    raft_free(message->append_entries.entries);
}

static struct raft_message install_message(raft_term term, raft_index last) {
    struct raft_message message = {.type = RAFT_INSTALL_SNAPSHOT, .server_id = 2};
    message.install_snapshot =
        (struct raft_install_snapshot){.term = term, .last_index = last, .last_term = term, .conf_index = 1};
    raft_configuration_init(&message.install_snapshot.conf);
    assert_int_equal(raft_configuration_add(&message.install_snapshot.conf, 1, "1", RAFT_VOTER), 0);
    message.install_snapshot.data = (struct raft_buffer){.base = raft_malloc(8), .len = 8};
    return message;
}

static void free_install(struct raft_message *message) {
    raft_configuration_close(&message->install_snapshot.conf);
    raft_free(message->install_snapshot.data.base);
}

static struct raft_message result_message(raft_term term, raft_index rejected, raft_index last) {
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES_RESULT, .server_id = 2};
    message.append_entries_result =
        (struct raft_append_entries_result){.term = term, .rejected = rejected, .last_log_index = last};
    return message;
}

static void test_commit_is_clamped(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    struct raft_message message = append_message(3, 7, 0, 90);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.leader_commit, 7);
    assert_int_equal(acted(KW_GUARD_CLAMP_COMMIT), 1);
    message = append_message(3, 7, 2, 90);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.leader_commit, 9);
    free_append(&message);
    message = append_message(3, 7, 0, 5);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.leader_commit, 5);
    end();

    begin(without(KW_GUARD_CLAMP_COMMIT));
    message = append_message(3, 7, 0, 90);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.leader_commit, 90);
    end();
}

static void put_done(struct raft_io_snapshot_put *req, int status) {
    (void)req;
    assert_int_equal(status, 0);
}

static void put_snapshot(void) {
    static struct raft_io_snapshot_put req;
    struct raft_snapshot snapshot = {.index = 10, .term = 2};
    assert_int_equal(now.io->snapshot_put(now.io, 5, &req, &snapshot, put_done), 0);
}

static void test_install_waits_for_own_snapshot(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    put_snapshot();
    struct raft_message message = install_message(3, 20);
    now.receive(now.io, &message); /* freed: the sanitizer says if not */
    assert_int_equal(now.receives, 0);
    assert_int_equal(acted(KW_GUARD_DROP_INSTALL), 1);
    now.put_cb(now.put_req, 0);
    message = install_message(3, 20);
    now.receive(now.io, &message);
    assert_int_equal(now.receives, 1);
    free_install(&message);
    end();

    begin(without(KW_GUARD_DROP_INSTALL));
    put_snapshot();
    message = install_message(3, 20);
    now.receive(now.io, &message);
    assert_int_equal(now.receives, 1);
    free_install(&message);
    now.put_cb(now.put_req, 0);
    end();
}

/* What is sent when libraft answers `message` so. */
static raft_index answered(struct raft_message message, struct raft_message answer) {
    now.answers = true;
    now.answer = answer;
    now.receive(now.io, &message);
    now.answers = false;
    if (message.type == RAFT_INSTALL_SNAPSHOT) free_install(&message);
    if (message.type == RAFT_APPEND_ENTRIES) free_append(&message);
    return now.sent.append_entries_result.last_log_index;
}

static void test_result_claims_what_was_proved(void **state) {
    (void)state;
    static struct raft_io_send req;
    begin(KW_GUARD_ALL);
    assert_int_equal(answered(append_message(3, 7, 2, 0), result_message(3, 0, 50)), 9);
    assert_int_equal(answered(append_message(3, 7, 2, 0), result_message(3, 0, 8)), 8);
    assert_int_equal(answered(append_message(3, 7, 2, 0), result_message(4, 0, 50)), 0); /* of an older term */
    assert_int_equal(answered(install_message(3, 20), result_message(3, 0, 50)), 20);
    assert_int_equal(answered(install_message(3, 20), result_message(4, 0, 50)), 0);
    assert_int_equal(answered(append_message(3, 7, 2, 0), result_message(3, 7, 50)), 50); /* a rejection */
    assert_int_equal(acted(KW_GUARD_HONEST_RESULT), 4);
    struct raft_message later = result_message(3, 0, 50); /* when the disk has it */
    assert_int_equal(now.io->send(now.io, &req, &later, sent_back), 0);
    assert_int_equal(now.sent.append_entries_result.last_log_index, 50);
    end();

    begin(without(KW_GUARD_HONEST_RESULT));
    assert_int_equal(answered(install_message(3, 20), result_message(4, 0, 50)), 50);
    end();
}

static struct raft_message to_install;

/* libraft's side of a load: takes the snapshot apart and sends. */
static void libraft_loaded(struct raft_io_snapshot_get *get, struct raft_snapshot *snapshot, int status) {
    static struct raft_io_send req;
    (void)get;
    assert_int_equal(status, 0);
    raft_free(snapshot->bufs);
    raft_free(snapshot);
    assert_int_equal(now.io->send(now.io, &req, &to_install, sent_back), 0);
}

static struct raft_snapshot *new_snapshot(raft_index index, raft_term term) {
    struct raft_snapshot *snapshot = raft_calloc(1, sizeof(*snapshot));
    snapshot->index = index;
    snapshot->term = term;
    snapshot->bufs = raft_calloc(1, sizeof(*snapshot->bufs));
    snapshot->n_bufs = 1;
    return snapshot;
}

static void load_and_send(struct raft_snapshot *snapshot, int status) {
    static struct raft_io_snapshot_get req;
    to_install = (struct raft_message){.type = RAFT_INSTALL_SNAPSHOT, .server_id = 2};
    to_install.install_snapshot.last_term = 2;
    assert_int_equal(now.io->snapshot_get(now.io, &req, libraft_loaded), 0);
    now.get_cb(now.get_req, snapshot, status);
}

static void test_snapshot_is_sent_with_its_term(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    load_and_send(new_snapshot(30, 5), 0);
    assert_int_equal(now.sent.install_snapshot.last_term, 5);
    assert_int_equal(acted(KW_GUARD_SNAPSHOT_TERM), 1);
    load_and_send(new_snapshot(30, 2), 0);
    assert_int_equal(acted(KW_GUARD_SNAPSHOT_TERM), 1);
    end();

    begin(without(KW_GUARD_SNAPSHOT_TERM));
    load_and_send(new_snapshot(30, 5), 0);
    assert_int_equal(now.sent.install_snapshot.last_term, 2);
    end();
}

static void test_entries_are_sent_from_a_copy(void **state) {
    (void)state;
    static struct raft_io_send req;
    begin(KW_GUARD_ALL);
    struct raft_message message = append_message(3, 7, 2, 0);
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), 0);
    assert_int_equal(now.sent_back, 1);
    memset(message.append_entries.entries[0].batch, 'y', 16);
    assert_int_equal(now.sent.append_entries.n_entries, 2);
    for (unsigned i = 0; i < 2; i++) assert_memory_equal(now.sent.append_entries.entries[i].buf.base, "xxxxxxxx", 8);
    now.send_cb(now.send_req, 0);
    assert_int_equal(now.sent_back, 1);
    /* What could not be sent is libraft's to clean up. */
    now.result = RAFT_NOCONNECTION;
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), RAFT_NOCONNECTION);
    assert_int_equal(now.sent_back, 1);
    end();

    begin(without(KW_GUARD_COPY_ENTRIES));
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), 0);
    assert_int_equal(now.sent_back, 0);
    assert_ptr_equal(now.sent.append_entries.entries, message.append_entries.entries);
    free_append(&message);
    end();
}

static int no_init(struct raft_io *io, raft_id id, const char *address) {
    (void)io, (void)id, (void)address;
    return 0;
}

static raft_time no_time(struct raft_io *io) {
    (void)io;
    return 1000;
}

static int no_random(struct raft_io *io, int min, int max) {
    (void)io, (void)max;
    return min;
}

static int one_node_load(struct raft_io *io, raft_term *term, raft_id *vote, struct raft_snapshot **snapshot,
                         raft_index *start, struct raft_entry *entries[], size_t *count) {
    struct raft_configuration conf;
    (void)io;
    raft_configuration_init(&conf);
    assert_int_equal(raft_configuration_add(&conf, 1, "1", RAFT_VOTER), 0);
    *entries = raft_calloc(1, sizeof(struct raft_entry));
    (*entries)->term = 1;
    (*entries)->type = RAFT_CHANGE;
    assert_int_equal(raft_configuration_encode(&conf, &(*entries)->buf), 0);
    (*entries)->batch = (*entries)->buf.base;
    raft_configuration_close(&conf);
    *term = 1;
    *vote = 0;
    *snapshot = NULL;
    *start = 1;
    *count = 1;
    return 0;
}

static void close_now(struct raft_io *io, raft_io_close_cb cb) {
    cb(io);
}

/* A real leader, of itself alone: what it has matched is index 1. */
static void become_leader(unsigned rules) {
    memset(&now, 0, sizeof(now));
    struct kw_guard_options options = {.raft = &now.raft, .rules = rules, .on_disk_error = on_disk_error, .ctx = &now};
    now.guard = kw_guard_new(&options);
    now.io = kw_guard_io(now.guard);
    *now.io = (struct raft_io){.version = 2,
                               .init = no_init,
                               .time = no_time,
                               .random = no_random,
                               .start = fake_start,
                               .close = close_now,
                               .load = one_node_load,
                               .set_term = fake_set_term,
                               .set_vote = fake_set_vote,
                               .append = fake_append,
                               .truncate = fake_truncate,
                               .send = fake_send,
                               .snapshot_put = fake_put,
                               .snapshot_get = fake_get};
    kw_guard_wrap(now.guard);
    now.fsm.version = 1;
    assert_int_equal(raft_init(&now.raft, now.io, &now.fsm, 1, "1"), 0);
    assert_int_equal(raft_start(&now.raft), 0);
    assert_int_equal(raft_state(&now.raft), RAFT_LEADER);
}

static void test_late_rejection_is_dropped(void **state) {
    (void)state;
    become_leader(KW_GUARD_ALL);
    raft_index match = 0;
    assert_int_equal(raft_match_index(&now.raft, 1, &match), 0);
    assert_int_equal(match, 1);
    struct raft_message message = result_message(raft_current_term(&now.raft), 1, 0);
    message.server_id = 1;
    now.receive(now.io, &message);
    assert_int_equal(acted(KW_GUARD_STALE_REJECTION), 1);
    assert_int_equal(now.sends, 0);
    message.append_entries_result.term--; /* of another term: libraft's to judge */
    now.receive(now.io, &message);
    assert_int_equal(acted(KW_GUARD_STALE_REJECTION), 1);
    message = result_message(raft_current_term(&now.raft), 2, 1); /* not matched yet */
    now.receive(now.io, &message);
    assert_int_equal(acted(KW_GUARD_STALE_REJECTION), 1);
    raft_close(&now.raft, NULL);
    end();

    /* libraft goes back to what it knows to be there. */
    become_leader(without(KW_GUARD_STALE_REJECTION));
    message = result_message(raft_current_term(&now.raft), 1, 0);
    message.server_id = 1;
    now.receive(now.io, &message);
    assert_int_equal(now.sends, 1);
    now.send_cb(now.send_req, 0);
    raft_close(&now.raft, NULL);
    end();
}

static void load(void) {
    raft_term term;
    raft_id vote;
    raft_index start;
    size_t count;
    struct raft_snapshot *snapshot;
    struct raft_entry *entries;
    assert_int_equal(now.io->load(now.io, &term, &vote, &snapshot, &start, &entries, &count), 0);
}

static void test_entries_from_the_beginning(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    struct raft_message message = append_message(5, 0, 3, 3);
    now.receive(now.io, &message); /* nothing was compacted: as it is */
    assert_int_equal(now.received.append_entries.n_entries, 3);
    free_append(&message);
    load();
    message = append_message(5, 0, 3, 3);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.n_entries, 0);
    assert_int_equal(now.received.append_entries.prev_log_index, 40);
    assert_int_equal(now.received.append_entries.prev_log_term, 4);
    assert_int_equal(now.received.append_entries.leader_commit, 0);
    assert_int_equal(acted(KW_GUARD_PREV_ZERO), 1);
    end();

    begin(without(KW_GUARD_PREV_ZERO));
    load();
    message = append_message(5, 0, 3, 3);
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.n_entries, 3);
    free_append(&message);
    end();
}

static void test_a_change_comes_first(void **state) {
    (void)state;
    static const struct {
        unsigned entries, change, stay; /* counted from 0 */
    } rows[] = {{5, 3, 3}, {5, 1, 1}, {5, 4, 4}, {5, 0, 5}, {1, 0, 1}};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        begin(KW_GUARD_ALL);
        struct raft_message message = append_message(3, 7, rows[i].entries, 90);
        message.append_entries.entries[rows[i].change].type = RAFT_CHANGE;
        now.receive(now.io, &message);
        assert_int_equal(now.received.append_entries.n_entries, rows[i].stay);
        assert_int_equal(now.received.append_entries.leader_commit,
                         7 + rows[i].stay); /* no further than what is left */
        assert_int_equal(acted(KW_GUARD_CHANGE_FIRST), rows[i].stay < rows[i].entries);
        free_append(&message);
        end();
    }
    begin(without(KW_GUARD_CHANGE_FIRST));
    struct raft_message message = append_message(3, 7, 5, 90);
    message.append_entries.entries[3].type = RAFT_CHANGE;
    now.receive(now.io, &message);
    assert_int_equal(now.received.append_entries.n_entries, 5);
    free_append(&message);
    end();
}

static void append_done(struct raft_io_append *req, int status) {
    (void)req, (void)status;
}

static void test_disk_errors_are_fatal(void **state) {
    (void)state;
    static struct raft_io_append req;
    begin(KW_GUARD_ALL);
    assert_int_equal(now.io->set_term(now.io, 2), 0);
    assert_int_equal(now.io->append(now.io, &req, NULL, 0, append_done), 0);
    assert_int_equal(now.appends_open, 1);
    now.append_cb(now.append_req, 0);
    assert_int_equal(now.appends_open, 0);
    assert_int_equal(now.disk_errors, 0);
    assert_int_equal(now.io->append(now.io, &req, NULL, 0, append_done), 0);
    now.append_cb(now.append_req, RAFT_CANCELED); /* by the close */
    assert_int_equal(now.disk_errors, 0);
    assert_int_equal(now.io->append(now.io, &req, NULL, 0, append_done), 0);
    now.append_cb(now.append_req, RAFT_IOERR);
    assert_int_equal(now.disk_errors, 1);
    now.result = RAFT_IOERR;
    assert_int_equal(now.io->append(now.io, &req, NULL, 0, append_done), RAFT_IOERR);
    assert_int_equal(now.appends_open, 0);
    assert_int_equal(now.io->set_term(now.io, 3), RAFT_IOERR);
    assert_string_equal(now.operation, "storing the term");
    assert_int_equal(now.io->set_vote(now.io, 2), RAFT_IOERR);
    assert_int_equal(now.io->truncate(now.io, 2), RAFT_IOERR);
    assert_int_equal(now.disk_errors, 5);
    end();

    begin(without(KW_GUARD_DISK_ERRORS));
    now.result = RAFT_IOERR;
    assert_int_equal(now.io->set_term(now.io, 2), RAFT_IOERR);
    assert_int_equal(now.disk_errors, 0);
    end();
}

static void test_term_is_stored_once(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    load(); /* term 5 */
    assert_int_equal(now.io->set_term(now.io, 5), 0);
    assert_int_equal(now.terms_stored, 0);
    assert_int_equal(acted(KW_GUARD_KEEP_VOTE), 1);
    assert_int_equal(now.io->set_term(now.io, 6), 0);
    assert_int_equal(now.io->set_term(now.io, 6), 0);
    assert_int_equal(now.terms_stored, 1);
    now.result = RAFT_IOERR;
    assert_int_equal(now.io->set_term(now.io, 7), RAFT_IOERR);
    now.result = 0;
    assert_int_equal(now.io->set_term(now.io, 7), 0); /* it was not stored */
    assert_int_equal(now.terms_stored, 3);
    end();

    begin(without(KW_GUARD_KEEP_VOTE));
    load();
    assert_int_equal(now.io->set_term(now.io, 5), 0);
    assert_int_equal(now.terms_stored, 1);
    end();
}

static void test_lost_snapshot_is_not_sent(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    load_and_send(NULL, RAFT_IOERR);
    assert_int_equal(now.sends, 0);
    assert_int_equal(now.sent_back, 1); /* libraft frees what it holds */
    now.io->close(now.io, NULL);
    load_and_send(new_snapshot(30, 5), 0);
    assert_int_equal(now.sends, 0);
    assert_int_equal(now.sent_back, 2);
    assert_int_equal(acted(KW_GUARD_LOST_SNAPSHOT), 2);
    end();

    begin(without(KW_GUARD_LOST_SNAPSHOT));
    now.io->close(now.io, NULL);
    load_and_send(new_snapshot(30, 5), 0);
    assert_int_equal(now.sends, 1);
    end();
}

static bool is_silent(void *ctx) {
    (void)ctx;
    return true;
}

static void test_silent_leader(void **state) {
    (void)state;
    begin_silent(KW_GUARD_ALL, is_silent);
    struct raft_message message = append_message(5, 2, 3, 3);
    struct raft_io_send req = {0};
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), 0);
    assert_int_equal(now.sends, 0);
    assert_int_equal(now.sent_back, 1);
    free_append(&message);
    message = append_message(5, 2, 0, 3);
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), 0);
    assert_int_equal(now.sends, 0);
    message = (struct raft_message){.type = RAFT_REQUEST_VOTE};
    assert_int_equal(now.io->send(now.io, &req, &message, sent_back), 0);
    assert_int_equal(now.sends, 1);
    end();
}

static void test_injected_message_is_received(void **state) {
    (void)state;
    begin(KW_GUARD_ALL);
    struct raft_message message = {.type = RAFT_TIMEOUT_NOW, .server_id = 2};
    kw_guard_inject(now.guard, &message);
    assert_int_equal(now.receives, 1);
    assert_int_equal(now.received.type, RAFT_TIMEOUT_NOW);
    now.io->close(now.io, NULL);
    kw_guard_inject(now.guard, &message);
    assert_int_equal(now.receives, 1);
    end();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_commit_is_clamped),
        cmocka_unit_test(test_install_waits_for_own_snapshot),
        cmocka_unit_test(test_result_claims_what_was_proved),
        cmocka_unit_test(test_snapshot_is_sent_with_its_term),
        cmocka_unit_test(test_entries_are_sent_from_a_copy),
        cmocka_unit_test(test_late_rejection_is_dropped),
        cmocka_unit_test(test_entries_from_the_beginning),
        cmocka_unit_test(test_a_change_comes_first),
        cmocka_unit_test(test_disk_errors_are_fatal),
        cmocka_unit_test(test_term_is_stored_once),
        cmocka_unit_test(test_lost_snapshot_is_not_sent),
        cmocka_unit_test(test_silent_leader),
        cmocka_unit_test(test_injected_message_is_received),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
