/*
 * Rows of 25 bytes (id, version, code) fill the pages in a ring; which row an
 * id has stands in an open-addressing index that is built from them, and never
 * part of a snapshot. Codes are written by numbers of their own, which do not
 * move when the table of errors changes.
 */
#include "raft/state/requests.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"

enum { ROW = KW_REQUEST_ID_SIZE + 9, PAGE_ROWS = 64, INDEX_MIN = 64, SEED = 0x6964 /* "id" */ };

/* More cannot have come about. */
#define ADDED_MAX (UINT64_MAX / 4)

/* The place in this list is the number in a snapshot: only to be appended to. */
static const int codes[] = {0, KW_ECONFLICT, KW_ELIMIT, KW_EINVALID, KW_EUNKNOWN};

static unsigned code_number(int code) {
    unsigned i = 0;
    while (i < KW_ARRAY_LEN(codes) && codes[i] != code) i++;
    KW_ASSERT(i < KW_ARRAY_LEN(codes));
    return i;
}

static const unsigned char *row_at(const struct kw_requests *requests, size_t row) {
    size_t len;
    return kw_pages_read(&requests->pages, row / PAGE_ROWS, &len) + row % PAGE_ROWS * ROW;
}

static void row_read(const unsigned char *row, struct kw_meta_result *result) {
    result->version = kw_get64(row + KW_REQUEST_ID_SIZE);
    result->code = codes[row[KW_REQUEST_ID_SIZE + 8]];
}

size_t kw_requests_count(const struct kw_requests *requests) {
    return (size_t)(requests->added < KW_REQUESTS_MAX ? requests->added : KW_REQUESTS_MAX);
}

size_t kw_requests_pages(uint64_t added) {
    return (size_t)(((added < KW_REQUESTS_MAX ? added : KW_REQUESTS_MAX) + PAGE_ROWS - 1) / PAGE_ROWS);
}

void kw_requests_row(const struct kw_requests *requests, size_t nth, const unsigned char **id,
                     struct kw_meta_result *result) {
    size_t first = requests->added > KW_REQUESTS_MAX ? (size_t)(requests->added % KW_REQUESTS_MAX) : 0;
    *id = row_at(requests, (first + nth) % KW_REQUESTS_MAX);
    row_read(*id, result);
}

/* ---- the index ---- */

static size_t home(const struct kw_requests *requests, const unsigned char *id) {
    return (size_t)kw_hash64(id, KW_REQUEST_ID_SIZE, SEED) & (requests->index_room - 1);
}

/* Where an id stands in the index, or the free place where it would. */
static size_t index_place(const struct kw_requests *requests, const unsigned char *id) {
    size_t at = home(requests, id);
    while (requests->index[at] && memcmp(row_at(requests, requests->index[at] - 1), id, KW_REQUEST_ID_SIZE) != 0) {
        at = (at + 1) & (requests->index_room - 1);
    }
    return at;
}

/* Those behind the one that goes move up, so that no search ends too early. */
static void index_remove(struct kw_requests *requests, size_t hole) {
    size_t mask = requests->index_room - 1;
    for (size_t at = (hole + 1) & mask; requests->index[at]; at = (at + 1) & mask) {
        size_t from = home(requests, row_at(requests, requests->index[at] - 1));
        if (((at - from) & mask) < ((at - hole) & mask)) continue;
        requests->index[hole] = requests->index[at];
        hole = at;
    }
    requests->index[hole] = 0;
}

/* Makes an index for `rows` rows, of which those that are there are entered. False: an id is there twice. */
static bool index_build(struct kw_requests *requests, size_t rows) {
    size_t room = INDEX_MIN;
    while (room < rows * 2) room *= 2;
    kw_free(requests->index);
    requests->index = kw_calloc(room, sizeof(*requests->index));
    requests->index_room = room;
    for (size_t row = 0; row < kw_requests_count(requests); row++) {
        size_t at = index_place(requests, row_at(requests, row));
        if (requests->index[at]) return false;
        requests->index[at] = (uint32_t)row + 1;
    }
    return true;
}

/* ---- what others call ---- */

void kw_requests_deinit(struct kw_requests *requests) {
    kw_pages_deinit(&requests->pages);
    kw_free(requests->index);
    *requests = (struct kw_requests){0};
}

size_t kw_requests_bytes(const struct kw_requests *requests) {
    return requests->pages.heap + requests->index_room * sizeof(*requests->index);
}

bool kw_requests_find(const struct kw_requests *requests, const unsigned char *id, struct kw_meta_result *result) {
    if (requests->added == 0) return false;
    size_t at = index_place(requests, id);
    if (!requests->index[at]) return false;
    row_read(row_at(requests, requests->index[at] - 1), result);
    return true;
}

static unsigned char *row_to_write(struct kw_requests *requests, size_t row) {
    size_t page = row / PAGE_ROWS, at = row % PAGE_ROWS * ROW, len;
    if (page == requests->pages.count) return kw_pages_push(&requests->pages, ROW);
    kw_pages_read(&requests->pages, page, &len);
    return kw_pages_edit(&requests->pages, page, at, at < len ? ROW : 0, ROW);
}

void kw_requests_add(struct kw_requests *requests, const unsigned char *id, const struct kw_meta_result *result) {
    size_t count = kw_requests_count(requests), row = (size_t)(requests->added % KW_REQUESTS_MAX);
    if (count == KW_REQUESTS_MAX) index_remove(requests, index_place(requests, row_at(requests, row)));
    size_t after = count < KW_REQUESTS_MAX ? count + 1 : count;
    if (after * 2 > requests->index_room) {
        bool built = index_build(requests, after);
        KW_ASSERT(built);
    }
    unsigned char *bytes = row_to_write(requests, row);
    memcpy(bytes, id, KW_REQUEST_ID_SIZE);
    kw_put64(bytes + KW_REQUEST_ID_SIZE, result->version);
    bytes[KW_REQUEST_ID_SIZE + 8] = (unsigned char)code_number(result->code);
    kw_pages_seal(&requests->pages, row / PAGE_ROWS);
    requests->added++;
    size_t at = index_place(requests, id);
    KW_ASSERT(!requests->index[at]);
    requests->index[at] = (uint32_t)row + 1;
}

bool kw_requests_adopt(struct kw_requests *requests) {
    size_t rows = kw_requests_count(requests);
    if (requests->added > ADDED_MAX || requests->pages.count != kw_requests_pages(requests->added)) return false;
    for (size_t page = 0; page < requests->pages.count; page++) {
        size_t len, left = rows - page * PAGE_ROWS;
        const unsigned char *bytes = kw_pages_read(&requests->pages, page, &len);
        if (len != (left < PAGE_ROWS ? left : PAGE_ROWS) * ROW) return false;
        for (size_t at = ROW - 1; at < len; at += ROW) {
            if (bytes[at] >= KW_ARRAY_LEN(codes)) return false;
        }
    }
    return index_build(requests, rows);
}
