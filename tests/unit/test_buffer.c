/*
 * Chunks and queues against the plainest model of them, a byte string: random
 * operations with a printed seed, references and their lifetimes, and a heap
 * that fails at each allocation in turn. kw_pool_free asserts that nothing is
 * left outside, so that every test ends with a check for leaks.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/buffer.h"
#include "base/error.h"
#include "base/str.h"

/* The queue's links, counts and content, against the bytes that it should hold. */
static void assert_holds(const struct kw_outq *q, const void *bytes, size_t len) {
    const char *want = bytes;
    size_t at = 0;
    const struct kw_seg *last = NULL;
    for (const struct kw_seg *seg = q->head; seg; last = seg, seg = seg->next) {
        assert_true(seg->chunk->refs > 0);
        assert_true(seg->off + seg->len <= seg->chunk->len && seg->chunk->len <= seg->chunk->cap);
        assert_true(at + seg->len <= len);
        if (seg->len) assert_memory_equal(seg->chunk->data + seg->off, want + at, seg->len);
        at += seg->len;
    }
    assert_ptr_equal(q->tail, last);
    assert_int_equal(at, len);
    assert_int_equal(q->bytes, len);
}

static struct kw_chunk *filled_chunk(struct kw_pool *pool, size_t len, unsigned seed) {
    struct kw_chunk *chunk = kw_chunk_new_try(pool, len);
    assert_non_null(chunk);
    for (size_t i = 0; i < len; i++) chunk->data[i] = (char)(seed * 31 + i * 7 + i / 251);
    chunk->len = len;
    return chunk;
}

static void test_copies_are_contiguous_and_share_a_chunk(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_outq q = {0};
    char *first = kw_outq_copy_try(&q, pool, "hello ", 6, 4096);
    char *second = kw_outq_copy_try(&q, pool, "world", 5, 4096);
    assert_ptr_equal(second, first + 6);
    assert_ptr_equal(q.head, q.tail);
    assert_holds(&q, "hello world", 11);
    char large[5000];
    memset(large, 'x', sizeof(large));
    char *third = kw_outq_copy_try(&q, pool, large, sizeof(large), 4096);
    assert_ptr_not_equal(q.head, q.tail);
    assert_memory_equal(third, large, sizeof(large));
    assert_int_equal(q.bytes, 11 + sizeof(large));
    kw_outq_clear(&q, pool);
    assert_holds(&q, "", 0);
    kw_pool_free(pool);
}

static void test_a_chunk_filled_by_another_is_not_written_into(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_outq a = {0}, b = {0};
    assert_non_null(kw_outq_copy_try(&a, pool, "aaaa", 4, 4096));
    struct kw_chunk *chunk = a.tail->chunk;
    assert_int_equal(kw_outq_ref_try(&b, pool, chunk, 0, 2), 0);
    assert_non_null(kw_outq_copy_try(&b, pool, "bb", 2, 4096)); /* its piece does not end where the chunk does */
    assert_non_null(kw_outq_copy_try(&a, pool, "cc", 2, 4096));
    assert_holds(&a, "aaaacc", 6);
    assert_holds(&b, "aabb", 4);
    struct kw_outq c = {0};
    assert_int_equal(kw_outq_ref_try(&c, pool, chunk, 4, 2), 0);
    assert_non_null(kw_outq_copy_try(&c, pool, "dd", 2, 4096)); /* this one does: it goes on in place */
    assert_non_null(kw_outq_copy_try(&a, pool, "ee", 2, 4096)); /* and this queue must notice */
    assert_holds(&a, "aaaaccee", 8);
    assert_holds(&c, "ccdd", 4);
    kw_outq_clear(&a, pool);
    assert_holds(&b, "aabb", 4);
    assert_holds(&c, "ccdd", 4);
    kw_outq_clear(&b, pool);
    kw_outq_clear(&c, pool);
    kw_pool_free(pool);
}

static void test_add_copies_the_small_and_refers_to_the_large(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_chunk *chunk = filled_chunk(pool, 3 * KW_REF_MIN, 1);
    struct kw_outq q = {0};
    assert_int_equal(kw_outq_add_try(&q, pool, chunk, 0, 0), 0);
    assert_holds(&q, "", 0);
    assert_null(q.head);
    assert_int_equal(kw_outq_add_try(&q, pool, chunk, 10, KW_REF_MIN - 1), 0);
    assert_int_equal(chunk->refs, 1);
    assert_int_equal(kw_outq_add_try(&q, pool, chunk, 10 + KW_REF_MIN - 1, KW_REF_MIN), 0);
    assert_int_equal(chunk->refs, 2);
    assert_holds(&q, chunk->data + 10, 2 * KW_REF_MIN - 1);
    char saved[64];
    memcpy(saved, chunk->data + 10, sizeof(saved));
    kw_chunk_unref(chunk); /* the queue keeps it alive */
    assert_memory_equal(q.head->chunk->data, saved, sizeof(saved));
    kw_outq_clear(&q, pool);
    kw_pool_free(pool);
}

static void test_neighbouring_references_are_one_piece(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_chunk *chunk = filled_chunk(pool, 1000, 2);
    struct kw_outq q = {0};
    assert_int_equal(kw_outq_ref_try(&q, pool, chunk, 100, 50), 0);
    assert_int_equal(kw_outq_ref_try(&q, pool, chunk, 150, 50), 0);
    assert_int_equal(kw_outq_ref_try(&q, pool, chunk, 150, 0), 0);
    assert_ptr_equal(q.head, q.tail);
    assert_int_equal(chunk->refs, 2);
    assert_int_equal(kw_outq_ref_try(&q, pool, chunk, 201, 9), 0);
    assert_int_equal(chunk->refs, 3);
    struct iovec iov[4];
    assert_int_equal(kw_outq_iov(&q, iov, 4), 2);
    assert_ptr_equal(iov[0].iov_base, chunk->data + 100);
    assert_int_equal(iov[0].iov_len, 100);
    assert_int_equal(iov[1].iov_len, 9);
    assert_int_equal(kw_outq_iov(&q, iov, 1), 1);
    assert_int_equal(kw_outq_iov(&q, iov, 0), 0);
    kw_outq_consume(&q, pool, 100);
    assert_int_equal(chunk->refs, 2);
    kw_outq_clear(&q, pool);
    assert_int_equal(chunk->refs, 1);
    kw_chunk_unref(chunk);
    kw_pool_free(pool);
}

static void test_splice_moves_everything(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_outq a = {0}, b = {0};
    kw_outq_splice(&a, &b);
    assert_holds(&a, "", 0);
    assert_non_null(kw_outq_copy_try(&b, pool, "one", 3, 4096));
    kw_outq_splice(&a, &b);
    assert_holds(&a, "one", 3);
    assert_holds(&b, "", 0);
    kw_outq_splice(&a, &b);
    assert_non_null(kw_outq_copy_try(&b, pool, "two", 3, 4096));
    kw_outq_splice(&a, &b);
    assert_non_null(kw_outq_copy_try(&a, pool, "three", 5, 4096));
    assert_holds(&a, "onetwothree", 11);
    kw_outq_clear(&a, pool);
    kw_pool_free(pool);
}

static void test_the_pool_reuses_and_trims(void **state KW_UNUSED) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_chunk *chunks[200];
    for (size_t i = 0; i < KW_ARRAY_LEN(chunks); i++) chunks[i] = filled_chunk(pool, 64 * 1024, (unsigned)i);
    size_t full = kw_pool_bytes(pool);
    assert_true(full >= KW_ARRAY_LEN(chunks) * 64 * 1024);
    for (size_t i = 0; i < KW_ARRAY_LEN(chunks); i++) kw_chunk_unref(chunks[i]);
    assert_int_equal(kw_pool_bytes(pool), full);
    struct kw_chunk *again = kw_chunk_new_try(pool, 20 * 1024);
    assert_ptr_equal(again, chunks[KW_ARRAY_LEN(chunks) - 1]); /* the warmest */
    assert_int_equal(again->len, 0);
    kw_chunk_unref(again);
    for (int turn = 0; turn < 3; turn++) kw_pool_trim(pool);
    assert_true(kw_pool_bytes(pool) < full / 10);
    struct kw_chunk *odd = filled_chunk(pool, 1000 * 1000, 1); /* of no class: never kept */
    size_t with_odd = kw_pool_bytes(pool);
    kw_chunk_unref(odd);
    assert_true(kw_pool_bytes(pool) + 1000 * 1000 <= with_odd);
    kw_pool_free(pool);
}

/* ---- against the model ---- */

enum { QUEUES = 3, MODEL_MAX = 1024 * 1024 };

struct model {
    struct kw_pool *pool;
    struct kw_outq q[QUEUES];
    struct kw_str want[QUEUES];
    struct kw_chunk *sources[4];
    uint64_t random;
    unsigned failures;
};

static size_t pick(struct model *m, size_t below) {
    m->random ^= m->random << 13;
    m->random ^= m->random >> 7;
    m->random ^= m->random << 17;
    return (size_t)(m->random >> 11) % below;
}

/* Mostly small, sometimes around the sizes where something changes. */
static size_t pick_len(struct model *m, size_t max) {
    static const size_t around[] = {1, 2048, 4096, KW_REF_MIN, 65536};
    size_t len = pick(m, 4) ? pick(m, 300) : around[pick(m, KW_ARRAY_LEN(around))] + pick(m, 3) - 1;
    return len < max ? len : max;
}

static void want_drop(struct kw_str *want, size_t len) {
    memmove(want->data, want->data + len, want->len - len);
    want->len -= len;
}

static void want_append(struct kw_str *want, const void *bytes, size_t len) {
    kw_str_append(want, bytes, len);
}

static void step_append(struct model *m, struct kw_outq *q, struct kw_str *want) {
    struct kw_chunk *source = m->sources[pick(m, KW_ARRAY_LEN(m->sources))];
    size_t off = pick(m, 1000);
    size_t len = pick_len(m, source->len - off);
    bool ok;
    switch (pick(m, 3)) {
    case 0: ok = kw_outq_copy_try(q, m->pool, source->data + off, len, pick(m, 2) ? 4096 : 16384) != NULL; break;
    case 1: ok = kw_outq_ref_try(q, m->pool, source, off, len) == 0; break;
    default: ok = kw_outq_add_try(q, m->pool, source, off, len) == 0; break;
    }
    if (ok) {
        want_append(want, source->data + off, len);
    } else {
        m->failures++;
    }
}

/* A move that fails half-way has moved whole pieces: no byte is lost or twice there. */
static void step_move(struct model *m, size_t to, size_t from) {
    size_t len = pick_len(m, m->q[from].bytes);
    size_t before = m->q[from].bytes;
    int err = kw_outq_move_try(&m->q[to], &m->q[from], m->pool, len);
    size_t moved = before - m->q[from].bytes;
    assert_true(err == KW_ENOMEM ? moved < len : moved == len);
    m->failures += err != 0;
    want_append(&m->want[to], m->want[from].data ? m->want[from].data : "", moved);
    if (moved) want_drop(&m->want[from], moved);
}

static void step_peek(struct model *m, const struct kw_outq *q, const struct kw_str *want) {
    char out[5000];
    size_t max = pick(m, sizeof(out));
    size_t got = kw_outq_peek(q, out, max);
    assert_int_equal(got, max < want->len ? max : want->len);
    if (got) assert_memory_equal(out, want->data, got);
}

static void model_step(struct model *m) {
    size_t a = pick(m, QUEUES), b = (a + 1 + pick(m, QUEUES - 1)) % QUEUES;
    struct kw_outq *q = &m->q[a];
    struct kw_str *want = &m->want[a];
    size_t kind = pick(m, 20);
    if (kind < 10) {
        if (q->bytes < MODEL_MAX) step_append(m, q, want);
    } else if (kind < 14) {
        size_t len = pick_len(m, q->bytes);
        kw_outq_consume(q, m->pool, len);
        if (len) want_drop(want, len);
    } else if (kind < 17) {
        step_move(m, b, a);
    } else if (kind == 17) {
        kw_outq_splice(&m->q[b], q);
        if (want->len) want_append(&m->want[b], want->data, want->len);
        kw_str_clear(want);
    } else if (kind == 18) {
        step_peek(m, q, want);
    } else if (pick(m, 4) == 0) {
        kw_outq_clear(q, m->pool);
        kw_str_clear(want);
        kw_pool_trim(m->pool);
    }
    for (int i = 0; i < QUEUES; i++) assert_holds(&m->q[i], m->want[i].data, m->want[i].len);
}

static void model_run(uint64_t seed, int steps, bool heap_fails) {
    struct model m = {.pool = kw_pool_new(), .random = seed};
    print_message("seed %llu\n", (unsigned long long)seed);
    for (unsigned i = 0; i < KW_ARRAY_LEN(m.sources); i++) m.sources[i] = filled_chunk(m.pool, 2000 + 30000 * i, i);
    for (int i = 0; i < steps; i++) {
        kw_alloc_fail_nth(heap_fails && pick(&m, 2) ? 1 + (long)pick(&m, 2) : 0);
        model_step(&m);
    }
    kw_alloc_fail_nth(0);
    if (heap_fails) assert_true(m.failures > 10);
    if (!heap_fails) assert_int_equal(m.failures, 0);
    for (int i = 0; i < QUEUES; i++) {
        kw_outq_clear(&m.q[i], m.pool);
        kw_str_deinit(&m.want[i]);
    }
    for (unsigned i = 0; i < KW_ARRAY_LEN(m.sources); i++) kw_chunk_unref(m.sources[i]);
    kw_pool_free(m.pool);
}

static void test_queues_behave_as_byte_strings(void **state KW_UNUSED) {
    for (uint64_t seed = 1; seed <= 8; seed++) model_run(seed * 0x9e3779b97f4a7c15ULL, 1500, false);
}

static void test_queues_behave_as_byte_strings_when_memory_fails(void **state KW_UNUSED) {
    for (uint64_t seed = 1; seed <= 8; seed++) model_run(seed * 0xbf58476d1ce4e5b9ULL, 1500, true);
}

/* ---- each allocation fails once ---- */

/* The nth allocation of a fixed tale fails; the queue is as before that step. True when none failed. */
static bool tale_with_failure(long nth) {
    struct kw_pool *pool = kw_pool_new();
    struct kw_chunk *source = filled_chunk(pool, 100 * 1024, 5);
    struct kw_outq q = {0}, other = {0};
    struct kw_str want = {0};
    static const struct {
        size_t off, len;
        bool copy;
    } steps[] = {{0, 100, true}, {50, 5000, true}, {7, 20000, false}, {9, 10, false}, {0, 70000, true}, {3, 1, false}};
    bool failed = false;
    kw_alloc_fail_nth(nth);
    for (size_t i = 0; i < KW_ARRAY_LEN(steps) && !failed; i++) {
        const char *from = source->data + steps[i].off;
        size_t pool_bytes = kw_pool_bytes(pool);
        failed = steps[i].copy ? !kw_outq_copy_try(&q, pool, from, steps[i].len, 4096)
                               : kw_outq_add_try(&q, pool, source, steps[i].off, steps[i].len) == KW_ENOMEM;
        if (!failed) kw_str_append(&want, from, steps[i].len);
        if (failed) assert_int_equal(kw_pool_bytes(pool), pool_bytes);
        assert_holds(&q, want.data ? want.data : "", want.len);
    }
    if (!failed) failed = kw_outq_move_try(&other, &q, pool, want.len / 2) == KW_ENOMEM;
    kw_alloc_fail_nth(0);
    assert_int_equal(other.bytes + q.bytes, want.len);
    assert_holds(&other, want.data, other.bytes);
    size_t moved = other.bytes;
    assert_holds(&q, want.data ? want.data + moved : "", want.len - moved);
    kw_outq_clear(&q, pool);
    kw_outq_clear(&other, pool);
    kw_str_deinit(&want);
    kw_chunk_unref(source);
    kw_pool_free(pool);
    return !failed;
}

static void test_each_failing_allocation_leaves_the_queue_as_it_was(void **state KW_UNUSED) {
    long nth = 1;
    while (!tale_with_failure(nth)) nth++;
    assert_true(nth > 8); /* as many allocations did fail, one after the other */
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_copies_are_contiguous_and_share_a_chunk),
        cmocka_unit_test(test_a_chunk_filled_by_another_is_not_written_into),
        cmocka_unit_test(test_add_copies_the_small_and_refers_to_the_large),
        cmocka_unit_test(test_neighbouring_references_are_one_piece),
        cmocka_unit_test(test_splice_moves_everything),
        cmocka_unit_test(test_the_pool_reuses_and_trims),
        cmocka_unit_test(test_queues_behave_as_byte_strings),
        cmocka_unit_test(test_queues_behave_as_byte_strings_when_memory_fails),
        cmocka_unit_test(test_each_failing_allocation_leaves_the_queue_as_it_was),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
