/*
 * A command over many keys for nodes that take one slot at a time. The elements of a request are drawn, chained by slot
 * and written as one command a slot: linear in their number.
 */
#include <string.h>

#include "base/alloc.h"
#include "tests/bench/load/load.h"
#include "tests/bench/load/sources.h"

enum { NONE = UINT16_MAX };

struct split {
    struct load_source source;
    char *name;                /* own: the command */
    struct load_frame element; /* the words of one element */
    unsigned words;            /* how many */
    unsigned times;
    uint64_t *items;               /* own: those of this request */
    uint16_t *next;                /* own: the next element of the same slot */
    uint16_t *slots;               /* own: the slots of this request */
    struct kw_str head;            /* of the command that is being written */
    uint16_t first[KW_SLOT_COUNT]; /* NONE between two requests */
    uint16_t last[KW_SLOT_COUNT];
    uint16_t length[KW_SLOT_COUNT];
};

/* Chains the elements of a request, in their order; answers how many slots there are. */
static unsigned chain(struct split *split, struct load_draw *draw) {
    unsigned slots = 0;
    for (unsigned i = 0; i < split->times; i++) {
        split->items[i] = load_draw_item(draw);
        split->next[i] = NONE;
        load_frame_fill_item(&split->element, draw, split->items[i]);
        unsigned slot = kw_slot_of_key(load_frame_key(&split->element), split->element.key_len);
        if (split->first[slot] == NONE) {
            split->first[slot] = (uint16_t)i;
            split->length[slot] = 0;
            split->slots[slots++] = (uint16_t)slot;
        } else {
            split->next[split->last[slot]] = (uint16_t)i;
        }
        split->last[slot] = (uint16_t)i;
        split->length[slot]++;
    }
    return slots;
}

static void slot_send(struct split *split, struct load_run *run, struct load_client *client, unsigned slot,
                      uint32_t request) {
    load_frame_fill_item(&split->element, run->draw, split->items[split->first[slot]]);
    struct load_conn *conn = load_client_conn(run, client, &split->element);
    struct kw_str *head = &split->head;
    kw_str_clear(head);
    kw_str_resp_array(head, 1UL + (size_t)split->length[slot] * split->words);
    kw_str_resp_text(head, split->name);
    if (!kw_outq_copy_try(&conn->out, run->pool, head->data, head->len, run->chunk_bytes)) load_die("out of memory");
    for (uint16_t i = split->first[slot]; i != NONE; i = split->next[i]) {
        load_frame_fill_item(&split->element, run->draw, split->items[i]);
        load_frame_append(&split->element, &conn->out, run->pool, run->chunk_bytes);
    }
    load_client_expect(client, conn, request);
    split->first[slot] = NONE;
}

static void request(struct load_source *source, struct load_run *run, struct load_client *client, uint32_t index) {
    struct split *split = KW_CONTAINER_OF(source, struct split, source);
    unsigned slots = chain(split, run->draw);
    for (unsigned i = 0; i < slots; i++) slot_send(split, run, client, split->slots[i], index);
}

static void split_free(struct load_source *source) {
    struct split *split = KW_CONTAINER_OF(source, struct split, source);
    load_frame_deinit(&split->element);
    kw_str_deinit(&split->head);
    kw_free(split->name);
    kw_free(split->items);
    kw_free(split->next);
    kw_free(split->slots);
    kw_free(split);
}

struct load_source *load_source_split(const char *command, const char *repeat, unsigned times,
                                      const struct load_value *value, const struct load_draw *draw) {
    KW_ASSERT(times < NONE);
    struct split *split = kw_calloc(1, sizeof(*split));
    split->source = (struct load_source){.request = request, .free = split_free};
    split->name = kw_strdup(command);
    split->times = times;
    split->words = load_frame_words(&split->element, value, draw, repeat);
    split->source.bytes = load_frame_bytes(&split->element) * times;
    split->items = kw_calloc(times, sizeof(*split->items));
    split->next = kw_calloc(times, sizeof(*split->next));
    split->slots = kw_calloc(times, sizeof(*split->slots));
    memset(split->first, 0xff, sizeof(split->first));
    return &split->source;
}
