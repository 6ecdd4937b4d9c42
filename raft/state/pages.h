/*
 * Pages: a list of byte blocks that are shared between the living state and
 * its images, and copied when one of them is written while it is shared. A
 * page's bytes in memory are its bytes in a snapshot: a header with length and
 * checksum, then the content.
 *
 * One thread changes a list; an image of it may be read and given back on
 * another. Allocation of what we write ourselves cannot fail; a load can.
 */
#ifndef KW_RAFT_STATE_PAGES_H
#define KW_RAFT_STATE_PAGES_H

#include <stddef.h>
#include <stdint.h>

#include "raft/state/table.h"

enum { KW_PAGE_HEADER = 16 }; /* bytes: u32 length of the content, u32 mark, u64 checksum of the content */

struct kw_pages_chunk;

struct kw_pages {
    struct kw_pages_chunk **chunks; /* own; of a few pages each */
    size_t chunk_room;
    size_t count; /* pages */
    size_t heap;  /* bytes of heap */
};

void kw_pages_deinit(struct kw_pages *pages); /* images live on */

/* The content of a page; borrowed until the next change of that page. */
const unsigned char *kw_pages_read(const struct kw_pages *pages, size_t nth, size_t *len);

/*
 * Puts `fresh` bytes of room in the place of the `old` bytes at `at` and returns where the room begins; the caller
 * fills it, and calls kw_pages_seal once done with the page.
 */
unsigned char *kw_pages_edit(struct kw_pages *pages, size_t nth, size_t at, size_t old, size_t fresh);
void kw_pages_seal(struct kw_pages *pages, size_t nth); /* writes the checksum */

/* A new last page with room for `len` bytes, to be filled and sealed. */
unsigned char *kw_pages_push(struct kw_pages *pages, size_t len);
void kw_pages_pop(struct kw_pages *pages);
/* Puts the last page in the place of page `nth` (which is dropped). The list is one shorter. */
void kw_pages_drop(struct kw_pages *pages, size_t nth);

/* What the list was when it was frozen. */
struct kw_pages_image {
    struct kw_pages_chunk **chunks; /* own */
    size_t count;                   /* pages */
};

/* Takes a reference a chunk of pages. */
void kw_pages_freeze(const struct kw_pages *pages, struct kw_pages_image *image);
/* Writes its `image->count` pieces to `pieces`. */
void kw_pages_image_pieces(const struct kw_pages_image *image, struct kw_piece *pieces);
void kw_pages_image_deinit(struct kw_pages_image *image); /* any thread */

/*
 * Reads `count` pages from `bytes` into an empty list. 0 with the bytes read in `*used`; KW_EPROTOCOL when they are cut
 * or changed, KW_ENOMEM; the list is to be given back by kw_pages_deinit in any case.
 */
int kw_pages_load(struct kw_pages *pages, size_t count, const void *bytes, size_t len, size_t *used);

#endif
