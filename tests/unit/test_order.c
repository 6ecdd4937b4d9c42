/*
 * Order per client and slot, judged on hand-made sessions: who may be sent, on
 * which link, who waits, and who was overtaken. And the table of a request's
 * states, whose forbidden moves end the process.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <sys/resource.h>
#include <sys/wait.h>

#include "base/alloc.h"
#include "base/base.h"
#include "proxy/request/dispatch.h"
#include "proxy/request/order.h"
#include "proxy/request/request.h"
#include "proxy/session/session.h"
#include "proxy/upstream/upstream.h"
#include "proxy/worker.h"

static struct kw_worker *worker;
static struct kw_session *session;
static struct kw_link *links[2];

static int set_up(void **state KW_UNUSED) {
    worker = kw_calloc(1, sizeof(*worker));
    worker->pool = kw_pool_new();
    session = kw_calloc(1, sizeof(*session));
    session->worker = worker;
    for (int i = 0; i < 2; i++) links[i] = kw_calloc(1, sizeof(struct kw_link));
    return 0;
}

static int tear_down(void **state KW_UNUSED) {
    while (session->active_head) {
        struct kw_request *req = session->active_head;
        session->active_head = req->active_next;
        kw_request_free(worker, req);
    }
    while (worker->free_requests) {
        struct kw_request *req = worker->free_requests;
        worker->free_requests = req->queue_next;
        kw_free(req);
    }
    kw_outq_clear(&worker->park, worker->pool);
    kw_pool_free(worker->pool);
    kw_free(links[0]);
    kw_free(links[1]);
    kw_free(session);
    kw_free(worker);
    return 0;
}

/* Appends a request to session->active, in flight on a link or (NULL) parked. */
static struct kw_request *add(int slot, struct kw_link *link, unsigned flags) {
    struct kw_request *req = kw_request_new(worker);
    req->session = session;
    req->slot = (int16_t)slot;
    req->flags = (uint16_t)flags;
    req->link = link;
    kw_request_move(req, KW_REQ_PARKED);
    if (link) kw_request_move(req, KW_REQ_INFLIGHT);
    req->active_prev = session->active_tail;
    if (session->active_tail) {
        session->active_tail->active_next = req;
    } else {
        session->active_head = req;
    }
    session->active_tail = req;
    return req;
}

/* A pass as dispatch makes it; returns how many parked ones may go, the last one's link in *prefer. */
static unsigned pass(struct kw_link **prefer) {
    unsigned may = 0;
    kw_order_mark_later(session);
    kw_order_begin(worker);
    for (struct kw_request *req = session->active_head; req; req = req->active_next) {
        struct kw_link *link = NULL;
        if (req->state == KW_REQ_INFLIGHT) {
            kw_order_note_inflight(worker, req);
        } else if (kw_order_may_send(worker, req, &link)) {
            may++;
            *prefer = link;
            kw_order_note_waiting(worker, req); /* it stays: the strictest continuation */
        } else {
            kw_order_note_waiting(worker, req);
        }
    }
    return may;
}

static void assert_pass(unsigned may, struct kw_link *prefer) {
    struct kw_link *got = NULL;
    assert_int_equal(pass(&got), may);
    assert_ptr_equal(got, prefer);
}

static void test_nothing_before_it(void **state KW_UNUSED) {
    add(5, NULL, 0);
    assert_pass(1, NULL);
}

static void test_behind_one_in_flight_it_takes_the_same_link(void **state KW_UNUSED) {
    add(5, links[1], 0);
    add(5, NULL, 0);
    assert_pass(1, links[1]);
}

static void test_behind_two_links_it_waits(void **state KW_UNUSED) {
    add(5, links[0], 0);
    add(5, links[1], 0);
    add(5, NULL, 0);
    assert_pass(0, NULL);
}

static void test_behind_a_waiting_one_it_waits(void **state KW_UNUSED) {
    add(5, NULL, 0);
    add(5, NULL, 0);
    assert_pass(1, NULL); /* the first alone */
}

static void test_other_slots_do_not_wait(void **state KW_UNUSED) {
    add(5, links[0], 0);
    add(5, links[1], 0);
    add(5, NULL, 0);
    add(6, NULL, 0);
    add(-1, NULL, 0);
    assert_pass(2, NULL);
}

static void test_a_later_one_in_flight_holds_it_back(void **state KW_UNUSED) {
    struct kw_request *parked = add(5, NULL, 0);
    struct kw_request *later = add(5, links[0], 0);
    assert_pass(0, NULL);
    assert_true(parked->later_inflight);
    kw_request_move(later, KW_REQ_DONE);
    session->active_tail = parked;
    parked->active_next = NULL;
    kw_request_free(worker, later);
    assert_pass(1, NULL);
    assert_false(parked->later_inflight);
}

static void test_a_slot_that_is_being_moved_takes_one_at_a_time(void **state KW_UNUSED) {
    worker->open_slots[5 / 64] |= 1ULL << 5;
    assert_true(kw_dispatch_slot_is_open(worker, 5));
    struct kw_request *first = add(5, NULL, 0);
    assert_pass(1, NULL);
    kw_request_move(first, KW_REQ_INFLIGHT);
    first->link = links[0];
    add(5, NULL, 0);
    add(6, NULL, 0);
    assert_pass(1, NULL); /* slot 6 */
}

static void test_what_concerns_all_slots_waits_for_all_and_all_for_it(void **state KW_UNUSED) {
    add(5, links[0], 0);
    add(-1, NULL, KW_REQF_ANY_SLOT);
    add(6, NULL, 0);
    add(-1, NULL, 0);
    assert_pass(0, NULL);
}

static void test_parts_of_one_broadcast_do_not_wait_for_each_other(void **state KW_UNUSED) {
    struct kw_request parent = {0}, other = {0};
    add(-1, links[0], KW_REQF_ANY_SLOT)->parent = &parent;
    add(-1, NULL, KW_REQF_ANY_SLOT)->parent = &parent;
    add(-1, NULL, KW_REQF_ANY_SLOT)->parent = &parent;
    add(-1, NULL, KW_REQF_ANY_SLOT)->parent = &other;
    add(7, NULL, 0);
    assert_pass(2, NULL);
}

/* Done and out of the list, as when its reply has left. */
static void finish(struct kw_request *req) {
    if (req->state == KW_REQ_PARKED) kw_request_move(req, KW_REQ_INFLIGHT);
    kw_request_move(req, KW_REQ_DONE);
    if (req->active_prev) {
        req->active_prev->active_next = req->active_next;
    } else {
        session->active_head = req->active_next;
    }
    if (req->active_next) {
        req->active_next->active_prev = req->active_prev;
    } else {
        session->active_tail = req->active_prev;
    }
    kw_request_free(worker, req);
}

static void add_parts(struct kw_request *parent, unsigned count) {
    while (count-- > 0) add(-1, NULL, KW_REQF_ANY_SLOT)->parent = parent;
}

/* Two of a slot on two links, a SET that waits for them, then DBSIZE, which must see the SET: its parts go together. */
static void test_parts_for_all_shards_wait_for_what_is_parked_before_them(void **state KW_UNUSED) {
    struct kw_request dbsize = {0};
    struct kw_request *first = add(5, links[0], 0), *second = add(5, links[1], 0), *set = add(5, NULL, 0);
    add_parts(&dbsize, 3);
    assert_pass(0, NULL);
    finish(first);
    assert_pass(1, links[1]); /* the SET alone */
    kw_request_move(set, KW_REQ_INFLIGHT);
    set->link = links[1];
    assert_pass(0, NULL);
    finish(second);
    assert_pass(0, NULL);
    finish(set);
    assert_pass(3, NULL);
}

/* One part is at its node already, another has to be sent again: what came behind them still waits for both. */
static void test_a_part_that_is_sent_again_goes_before_what_follows(void **state KW_UNUSED) {
    struct kw_request dbsize = {0};
    add_parts(&dbsize, 2);
    kw_request_move(session->active_head, KW_REQ_INFLIGHT);
    session->active_head->link = links[0];
    add(5, NULL, 0);
    assert_pass(1, NULL); /* the second part */
    finish(session->active_tail->active_prev);
    assert_pass(0, NULL);
    finish(session->active_head);
    assert_pass(1, NULL); /* the one of the slot */
}

static void test_two_broadcasts_with_one_of_a_slot_between(void **state KW_UNUSED) {
    struct kw_request before = {0}, behind = {0};
    add_parts(&before, 2);
    struct kw_request *set = add(5, NULL, 0);
    add_parts(&behind, 2);
    assert_pass(2, NULL); /* those of the first */
    finish(session->active_head);
    finish(session->active_head);
    assert_pass(1, NULL); /* the SET */
    finish(set);
    assert_pass(2, NULL);
}

static void test_an_exclusive_one_is_alone(void **state KW_UNUSED) {
    add(5, NULL, KW_REQF_EXCLUSIVE);
    assert_pass(1, NULL);
    add(6, NULL, 0);
    assert_pass(1, NULL); /* still only the first */
}

static void test_an_exclusive_one_waits_for_those_before(void **state KW_UNUSED) {
    add(6, links[0], 0);
    add(5, NULL, KW_REQF_EXCLUSIVE);
    assert_pass(0, NULL);
}

static void test_stamps_survive_the_generation_wrapping(void **state KW_UNUSED) {
    add(5, links[0], 0);
    add(5, links[1], 0);
    add(5, NULL, 0);
    worker->pass_generation = UINT32_MAX - 2;
    for (int i = 0; i < 6; i++) assert_pass(0, NULL);
    assert_true(worker->pass_generation > 0 && worker->pass_generation < 100);
}

/* ---- overtaken ---- */

static void set_command(struct kw_request *req, const char *frame, const char *name) {
    req->cmd = kw_command_lookup(name, strlen(name));
    assert_non_null(req->cmd);
    if (req->cmd->flags & KW_CMD_READONLY) req->flags |= KW_REQF_READONLY;
    assert_int_equal(kw_request_keep_copy(worker, req, frame, strlen(frame)), 0);
}

#define SET_A   "*3\r\n$3\r\nSET\r\n$4\r\n{t}a\r\n$1\r\n1\r\n"
#define SET_B   "*3\r\n$3\r\nSET\r\n$4\r\n{t}b\r\n$1\r\n1\r\n"
#define GET_A   "*2\r\n$3\r\nGET\r\n$4\r\n{t}a\r\n"
#define MGET_BA "*3\r\n$4\r\nMGET\r\n$4\r\n{t}b\r\n$4\r\n{t}a\r\n"

/* Whether `refused` (parked with a reply) is overtaken when `ran` is done behind it. */
static bool overtaken(const char *refused, const char *refused_name, int slot, const char *ran, const char *ran_name) {
    struct kw_request *first = add(5, NULL, 0);
    struct kw_request *second = add(slot, links[0], 0);
    set_command(first, refused, refused_name);
    set_command(second, ran, ran_name);
    kw_request_reply_text(worker, first, "-MOVED 5 x:1\r\n", 14);
    kw_order_note_ran(second);
    bool result = first->overtaken;
    assert_false(second->overtaken);
    while (session->active_head) {
        struct kw_request *req = session->active_head;
        session->active_head = req->active_next;
        kw_request_free(worker, req);
    }
    session->active_tail = NULL;
    return result;
}

static void test_only_the_same_key_overtakes(void **state KW_UNUSED) {
    assert_true(overtaken(SET_A, "set", 5, SET_A, "set"));
    assert_true(overtaken(SET_A, "set", 5, GET_A, "get"));
    assert_true(overtaken(GET_A, "get", 5, SET_A, "set"));
    assert_true(overtaken(SET_A, "set", 5, MGET_BA, "mget"));
    assert_false(overtaken(GET_A, "get", 5, MGET_BA, "mget")); /* two reads have no order */
    assert_false(overtaken(SET_A, "set", 5, SET_B, "set"));
    assert_false(overtaken(SET_A, "set", 6, SET_A, "set")); /* not of this slot */
    /* Where the keys cannot be told, the worse is taken for true. */
    assert_true(overtaken(SET_A, "set", 5, "*3\r\n$3\r\nSET\r\n$9\r\n", "set"));
}

static void test_one_that_was_never_refused_is_not_overtaken(void **state KW_UNUSED) {
    struct kw_request *first = add(5, NULL, 0);
    struct kw_request *second = add(5, links[0], 0);
    set_command(first, SET_A, "set");
    set_command(second, SET_A, "set");
    kw_order_note_ran(second);
    assert_false(first->overtaken);
}

/* ---- states ---- */

/* Whether the move ends the process, tried in a child. */
static bool move_aborts(enum kw_request_state from, enum kw_request_state to) {
    pid_t child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        struct rlimit none = {0, 0};
        setrlimit(RLIMIT_CORE, &none);
        signal(SIGABRT, SIG_DFL);
        if (!freopen("/dev/null", "w", stderr)) _exit(2);
        struct kw_request req = {.state = (uint8_t)from};
        kw_request_move(&req, to);
        _exit(req.state == to ? 0 : 3);
    }
    int status;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status) || (WIFEXITED(status) && WEXITSTATUS(status) == 0));
    return WIFSIGNALED(status);
}

static void test_states_move_only_as_drawn(void **state KW_UNUSED) {
    static const bool allowed[4][4] = {
        [KW_REQ_NEW] = {[KW_REQ_PARKED] = true, [KW_REQ_DONE] = true},
        [KW_REQ_PARKED] = {[KW_REQ_INFLIGHT] = true, [KW_REQ_DONE] = true},
        [KW_REQ_INFLIGHT] = {[KW_REQ_PARKED] = true, [KW_REQ_DONE] = true},
    };
    for (int from = 0; from < 4; from++) {
        for (int to = 0; to < 4; to++) {
            bool aborts = move_aborts((enum kw_request_state)from, (enum kw_request_state)to);
            if (aborts == allowed[from][to]) print_error("%d to %d\n", from, to);
            assert_int_equal(aborts, !allowed[from][to]);
        }
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        TEST(test_nothing_before_it),
        TEST(test_behind_one_in_flight_it_takes_the_same_link),
        TEST(test_behind_two_links_it_waits),
        TEST(test_behind_a_waiting_one_it_waits),
        TEST(test_other_slots_do_not_wait),
        TEST(test_a_later_one_in_flight_holds_it_back),
        TEST(test_a_slot_that_is_being_moved_takes_one_at_a_time),
        TEST(test_what_concerns_all_slots_waits_for_all_and_all_for_it),
        TEST(test_parts_of_one_broadcast_do_not_wait_for_each_other),
        TEST(test_parts_for_all_shards_wait_for_what_is_parked_before_them),
        TEST(test_a_part_that_is_sent_again_goes_before_what_follows),
        TEST(test_two_broadcasts_with_one_of_a_slot_between),
        TEST(test_an_exclusive_one_is_alone),
        TEST(test_an_exclusive_one_waits_for_those_before),
        TEST(test_stamps_survive_the_generation_wrapping),
        TEST(test_only_the_same_key_overtakes),
        TEST(test_one_that_was_never_refused_is_not_overtaken),
        cmocka_unit_test(test_states_move_only_as_drawn),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
