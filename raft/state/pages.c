/*
 * Pages hang in chunks of 16; both count their references. An image refers to
 * the chunks, so that freezing touches one counter for 16 pages. The first
 * change in a shared chunk copies the chunk (its pages are shared then), the
 * first change of a shared page copies the page. A page is ours alone when its
 * chunk is and it is itself.
 *
 * The count goes down with release order and is read with acquire order before
 * writing: what another thread read from an image happened before.
 */
#include "raft/state/pages.h"

#include <stdatomic.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "raft/state/bytes.h"
#include "raft/state/hash.h"

enum {
    CHUNK = 16,            /* pages in one: the first change in it after a freeze counts up so many, all over memory */
    ALLOC_STEP = 256,      /* the allocator's own, for pages of one to two KiB */
    PAGE_MARK = 0x45474150 /* "PAGE" */
};

struct page {
    _Atomic unsigned refs;
    uint32_t room;        /* bytes behind `wire` */
    unsigned char wire[]; /* header and content */
};

struct kw_pages_chunk {
    _Atomic unsigned refs;
    struct kw_piece page[CHUNK]; /* `base` is the wire of a page; NULL: none */
};

/* ---- one page ---- */

static struct page *page_of(const struct kw_piece *piece) {
    return KW_CONTAINER_OF((unsigned char *)(uintptr_t)piece->base, struct page, wire);
}

static size_t page_bytes(const struct page *page) {
    return offsetof(struct page, wire) + page->room;
}

/* Bytes to allocate for a page with that much content. */
static size_t page_size(size_t content) {
    KW_ASSERT(content <= UINT32_MAX / 2);
    size_t size = offsetof(struct page, wire) + KW_PAGE_HEADER + content;
    return (size + ALLOC_STEP - 1) / ALLOC_STEP * ALLOC_STEP;
}

static void page_set_len(struct page *page, size_t len) {
    kw_put32(page->wire, (uint32_t)len);
    kw_put32(page->wire + 4, PAGE_MARK);
}

/* Makes raw memory of page_size(len) bytes a page. */
static struct page *page_init(void *memory, size_t len) {
    struct page *page = memory;
    atomic_init(&page->refs, 1);
    page->room = (uint32_t)(page_size(len) - offsetof(struct page, wire));
    page_set_len(page, len);
    return page;
}

static struct page *page_new(size_t len) {
    return page_init(kw_malloc(page_size(len)), len);
}

static void page_unref(struct page *page) {
    if (atomic_fetch_sub_explicit(&page->refs, 1, memory_order_acq_rel) == 1) kw_free(page);
}

static uint64_t page_sum(const unsigned char *wire) {
    size_t len = kw_get32(wire);
    return kw_hash64(wire + KW_PAGE_HEADER, len, PAGE_MARK);
}

/* ---- chunks ---- */

static void chunk_unref(struct kw_pages_chunk *chunk) {
    if (atomic_fetch_sub_explicit(&chunk->refs, 1, memory_order_acq_rel) != 1) return;
    for (size_t i = 0; i < CHUNK && chunk->page[i].base; i++) page_unref(page_of(&chunk->page[i]));
    kw_free(chunk);
}

static void chunk_ref(struct kw_pages_chunk *chunk) {
    atomic_fetch_add_explicit(&chunk->refs, 1, memory_order_relaxed);
}

static struct kw_pages_chunk *chunk_copy(const struct kw_pages_chunk *from) {
    struct kw_pages_chunk *chunk = kw_malloc(sizeof(*chunk));
    atomic_init(&chunk->refs, 1);
    memcpy(chunk->page, from->page, sizeof(chunk->page));
    for (size_t i = 0; i < CHUNK && chunk->page[i].base; i++) {
        atomic_fetch_add_explicit(&page_of(&chunk->page[i])->refs, 1, memory_order_relaxed);
    }
    return chunk;
}

/* The place of a page, in a chunk that is the list's alone. */
static struct kw_piece *place_to_write(struct kw_pages *pages, size_t nth) {
    struct kw_pages_chunk **chunk = &pages->chunks[nth / CHUNK];
    if (atomic_load_explicit(&(*chunk)->refs, memory_order_acquire) > 1) {
        struct kw_pages_chunk *copy = chunk_copy(*chunk);
        chunk_unref(*chunk);
        *chunk = copy;
    }
    return &(*chunk)->page[nth % CHUNK];
}

static void place_set(struct kw_piece *place, const struct page *page, size_t len) {
    place->base = page->wire;
    place->len = KW_PAGE_HEADER + len;
}

/* ---- the list ---- */

void kw_pages_deinit(struct kw_pages *pages) {
    for (size_t i = 0; i * CHUNK < pages->count; i++) chunk_unref(pages->chunks[i]);
    kw_free((void *)pages->chunks);
    *pages = (struct kw_pages){0};
}

const unsigned char *kw_pages_read(const struct kw_pages *pages, size_t nth, size_t *len) {
    KW_ASSERT(nth < pages->count);
    const struct kw_piece *piece = &pages->chunks[nth / CHUNK]->page[nth % CHUNK];
    *len = piece->len - KW_PAGE_HEADER;
    return (const unsigned char *)piece->base + KW_PAGE_HEADER;
}

/* The page with another size of memory, its wire kept as far as it fits; it is ours alone. */
static struct page *resize(struct kw_pages *pages, struct page *page, size_t content) {
    size_t size = page_size(content);
    pages->heap += size - page_bytes(page);
    page = kw_realloc(page, size);
    page->room = (uint32_t)(size - offsetof(struct page, wire));
    return page;
}

/* A shared page's content in a page of our own, with the gap in it. */
static struct page *copy_with_gap(struct kw_pages *pages, struct page *from, size_t len, size_t at, size_t old,
                                  size_t fresh) {
    struct page *page = page_new(len - old + fresh);
    const unsigned char *source = from->wire + KW_PAGE_HEADER;
    unsigned char *content = page->wire + KW_PAGE_HEADER;
    memcpy(content, source, at);
    memcpy(content + at + fresh, source + at + old, len - at - old);
    pages->heap += page_bytes(page) - page_bytes(from);
    page_unref(from);
    return page;
}

static struct page *make_gap(struct kw_pages *pages, struct page *page, size_t len, size_t at, size_t old,
                             size_t fresh) {
    size_t after = len - old + fresh, needed = KW_PAGE_HEADER + after;
    if (needed > page->room) page = resize(pages, page, after);
    unsigned char *content = page->wire + KW_PAGE_HEADER;
    if (old != fresh) memmove(content + at + fresh, content + at + old, len - at - old);
    if (needed * 2 + ALLOC_STEP < page->room) page = resize(pages, page, after);
    page_set_len(page, after);
    return page;
}

unsigned char *kw_pages_edit(struct kw_pages *pages, size_t nth, size_t at, size_t old, size_t fresh) {
    KW_ASSERT(nth < pages->count);
    struct kw_piece *place = place_to_write(pages, nth);
    struct page *page = page_of(place);
    size_t len = place->len - KW_PAGE_HEADER;
    KW_ASSERT(at <= len && old <= len - at);

    bool shared = atomic_load_explicit(&page->refs, memory_order_acquire) > 1;
    page = shared ? copy_with_gap(pages, page, len, at, old, fresh) : make_gap(pages, page, len, at, old, fresh);
    place_set(place, page, len - old + fresh);
    return page->wire + KW_PAGE_HEADER + at;
}

void kw_pages_seal(struct kw_pages *pages, size_t nth) {
    struct page *page = page_of(&pages->chunks[nth / CHUNK]->page[nth % CHUNK]);
    kw_put64(page->wire + 8, page_sum(page->wire));
}

/* Makes room for one more chunk where the last is full. False: no memory. */
static bool reserve(struct kw_pages *pages) {
    size_t chunk = pages->count / CHUNK;
    if (pages->count % CHUNK > 0) return true;
    if (chunk == pages->chunk_room) {
        size_t room = chunk ? chunk * 2 : 4;
        void *grown = kw_realloc_try((void *)pages->chunks, room * sizeof(struct kw_pages_chunk *));
        if (!grown) return false;
        pages->heap += (room - chunk) * sizeof(struct kw_pages_chunk *);
        pages->chunks = grown;
        pages->chunk_room = room;
    }
    struct kw_pages_chunk *fresh = kw_calloc_try(1, sizeof(*fresh));
    if (!fresh) return false;
    atomic_init(&fresh->refs, 1);
    pages->chunks[chunk] = fresh;
    pages->heap += sizeof(*fresh);
    return true;
}

static void append(struct kw_pages *pages, struct page *page, size_t len) {
    place_set(place_to_write(pages, pages->count), page, len);
    pages->count++;
    pages->heap += page_bytes(page);
}

unsigned char *kw_pages_push(struct kw_pages *pages, size_t len) {
    bool room = reserve(pages);
    KW_ASSERT(room);
    struct page *page = page_new(len);
    append(pages, page, len);
    return page->wire + KW_PAGE_HEADER;
}

void kw_pages_pop(struct kw_pages *pages) {
    KW_ASSERT(pages->count > 0);
    kw_pages_drop(pages, pages->count - 1);
}

void kw_pages_drop(struct kw_pages *pages, size_t nth) {
    KW_ASSERT(nth < pages->count);
    size_t last = pages->count - 1;
    struct kw_piece *from = place_to_write(pages, last), *to = place_to_write(pages, nth);
    struct page *dropped = page_of(to);

    pages->heap -= page_bytes(dropped);
    page_unref(dropped);
    *to = *from;
    *from = (struct kw_piece){0};
    pages->count--;
    if (pages->count % CHUNK == 0) {
        chunk_unref(pages->chunks[pages->count / CHUNK]);
        pages->heap -= sizeof(struct kw_pages_chunk);
    }
}

/* ---- images ---- */

void kw_pages_freeze(const struct kw_pages *pages, struct kw_pages_image *image) {
    size_t chunks = (pages->count + CHUNK - 1) / CHUNK;
    image->count = pages->count;
    image->chunks = kw_malloc(chunks * sizeof(struct kw_pages_chunk *));
    for (size_t i = 0; i < chunks; i++) {
        chunk_ref(pages->chunks[i]);
        image->chunks[i] = pages->chunks[i];
    }
}

void kw_pages_image_pieces(const struct kw_pages_image *image, struct kw_piece *pieces) {
    for (size_t done = 0; done < image->count; done += CHUNK) {
        size_t n = image->count - done < CHUNK ? image->count - done : CHUNK;
        memcpy(pieces + done, image->chunks[done / CHUNK]->page, n * sizeof(*pieces));
    }
}

void kw_pages_image_deinit(struct kw_pages_image *image) {
    for (size_t i = 0; i * CHUNK < image->count; i++) chunk_unref(image->chunks[i]);
    kw_free((void *)image->chunks);
    *image = (struct kw_pages_image){0};
}

static int load_page(struct kw_pages *pages, struct kw_reader *reader) {
    const unsigned char *wire = kw_reader_take(reader, KW_PAGE_HEADER);
    if (!wire || kw_get32(wire + 4) != PAGE_MARK) return KW_EPROTOCOL;
    size_t len = kw_get32(wire);
    if (len > UINT32_MAX / 2 || !kw_reader_take(reader, len) || kw_get64(wire + 8) != page_sum(wire)) {
        return KW_EPROTOCOL;
    }
    void *memory = kw_malloc_try(page_size(len));
    if (!memory || !reserve(pages)) {
        kw_free(memory);
        return KW_ENOMEM;
    }
    struct page *page = page_init(memory, len);
    memcpy(page->wire, wire, KW_PAGE_HEADER + len);
    append(pages, page, len);
    return 0;
}

int kw_pages_load(struct kw_pages *pages, size_t count, const void *bytes, size_t len, size_t *used) {
    struct kw_reader reader = {bytes, (const unsigned char *)bytes + len, false};
    KW_ASSERT(pages->count == 0);
    for (size_t i = 0; i < count; i++) {
        int rc = load_page(pages, &reader);
        if (rc != 0) return rc;
    }
    *used = (size_t)(reader.at - (const unsigned char *)bytes);
    return 0;
}
