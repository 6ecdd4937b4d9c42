/*
 * Lookup in the command table. A name becomes two words (its first and last
 * 8 bytes, case folded), these a place in an open-addressed index that the
 * generator filled; one or two slots are compared as integers, and only names
 * beyond 16 bytes byte by byte. What the table lacks is asked of the learned
 * commands, if there are any. Allocates nothing; nothing can fail.
 */
#include "cluster/command.h"

#include <stdatomic.h>
#include <strings.h>

#include "base/error.h"
#include "cluster/command_internal.h"

static const struct kw_key_spec key_specs[] = {
#define KEY_SPEC(begin_, at_, keyword_, find_, a, b, c, flags_, notes_)                                                \
    {.begin = KW_BEGIN_##begin_,                                                                                       \
     .begin_at = at_,                                                                                                  \
     .keyword = keyword_,                                                                                              \
     .find = KW_FIND_##find_,                                                                                          \
     .numbers = {a, b, c},                                                                                             \
     .flags = flags_,                                                                                                  \
     .notes = notes_},
#include "cluster/command_table.inc"
};

static const char *const tips[] = {
#define TIP(text) text,
#include "cluster/command_table.inc"
};

static const struct kw_command commands[KW_COMMAND_TABLE_COUNT] = {
#define COMMAND(id_, name_, len_, arity_, newer_, flags_, acl_, first_, last_, step_, simple_, extractor_, spec_,      \
                spec_n, tip_, tip_n, request_, response_, sub_, sub_n, parent_, origin_)                               \
    {.name = name_,                                                                                                    \
     .name_len = len_,                                                                                                 \
     .id = id_,                                                                                                        \
     .arity = arity_,                                                                                                  \
     .arity_newer = newer_,                                                                                            \
     .flags = flags_,                                                                                                  \
     .acl_categories = acl_,                                                                                           \
     .first_key = first_,                                                                                              \
     .last_key = last_,                                                                                                \
     .key_step = step_,                                                                                                \
     .keys_simple = simple_,                                                                                           \
     .extractor = KW_EXTRACT_##extractor_,                                                                             \
     .origin = KW_COMMAND_##origin_,                                                                                   \
     .key_specs = &key_specs[spec_],                                                                                   \
     .key_spec_count = spec_n,                                                                                         \
     .tips = &tips[tip_],                                                                                              \
     .tip_count = tip_n,                                                                                               \
     .request_policy = KW_REQ_##request_,                                                                              \
     .response_policy = KW_RESP_##response_,                                                                           \
     .container = (sub_n) > 0,                                                                                         \
     .subcommands = (sub_n) > 0 ? &commands[sub_] : NULL,                                                              \
     .subcommand_count = sub_n,                                                                                        \
     .parent = (parent_) < 0 ? NULL : &commands[(parent_) < 0 ? 0 : (parent_)]},
#include "cluster/command_table.inc"
};

/* One place of the index: everything that a comparison needs, so that a hit touches one cache line. */
struct index_slot {
    uint64_t head, tail;
    uint16_t scope; /* container's id + 1, or 0 */
    uint16_t id;
    uint8_t len; /* 0: empty */
};

enum { INDEX_SIZE = 1 << KW_COMMAND_INDEX_BITS };

static const struct index_slot command_index[INDEX_SIZE] = {
#define SLOT(place_, head_, tail_, scope_, len_, id_)                                                                  \
    [place_] = {.head = head_, .tail = tail_, .scope = scope_, .id = id_, .len = len_},
#include "cluster/command_table.inc"
};

static const char *const category_names[KW_ACL_BITS] = {
#define X(name, text) [KW_ACL_BIT_##name] = text,
    KW_ACL_CATEGORY_MAP(X)
#undef X
};

/* The last word of a long name: its middle bytes are in neither word of the slot. */
static bool long_name_is(const struct kw_command *cmd, const char *name, size_t len) {
    size_t own_len;
    const char *own = kw_command_own_name(cmd, &own_len);
    return own_len == len && strncasecmp(own, name, len) == 0;
}

static const struct kw_command *find(const char *name, size_t len, unsigned scope) {
    struct kw_name_words words = kw_name_words(name, len);
    uint64_t hash = kw_name_hash(words, len, scope, KW_COMMAND_INDEX_MULTIPLIER);
    for (size_t at = (size_t)(hash >> (64 - KW_COMMAND_INDEX_BITS));; at = (at + 1) % INDEX_SIZE) {
        const struct index_slot *slot = &command_index[at];
        if (KW_LIKELY(slot->head == words.head && slot->tail == words.tail && slot->len == len &&
                      slot->scope == scope)) {
            if (len <= 16 || long_name_is(&commands[slot->id], name, len)) return &commands[slot->id];
        }
        if (slot->len == 0) return kw_command_learned_find(name, len, scope);
    }
}

const struct kw_command *kw_command_lookup(const char *name, size_t len) {
    return len ? find(name, len, 0) : NULL;
}

const struct kw_command *kw_command_lookup_sub(const struct kw_command *container, const char *sub, size_t len) {
    return container->container && len ? find(sub, len, container->id + 1) : NULL;
}

const struct kw_command *kw_command_resolve(const struct kw_arg *argv, size_t argc) {
    if (argc == 0 || !argv[0].data) return NULL;
    const struct kw_command *cmd = kw_command_lookup(argv[0].data, argv[0].len);
    if (KW_LIKELY(!cmd || !cmd->container) || argc < 2 || !argv[1].data) return cmd;
    const struct kw_command *sub = kw_command_lookup_sub(cmd, argv[1].data, argv[1].len);
    return sub ? sub : cmd;
}

const struct kw_command *kw_command_by_full_name(const char *name, size_t len) {
    const char *bar = memchr(name, '|', len);
    if (!bar) return kw_command_lookup(name, len);
    size_t container_len = (size_t)(bar - name);
    const struct kw_command *container = kw_command_lookup(name, container_len);
    return container ? kw_command_lookup_sub(container, bar + 1, len - container_len - 1) : NULL;
}

unsigned kw_command_table_count(void) {
    return KW_COMMAND_TABLE_COUNT;
}

unsigned kw_command_count(void) {
    return KW_COMMAND_TABLE_COUNT + kw_command_learned_count();
}

const struct kw_command *kw_command_by_id(unsigned id) {
    if (id < KW_COMMAND_TABLE_COUNT) return &commands[id];
    return kw_command_learned_at(id - KW_COMMAND_TABLE_COUNT);
}

static bool arity_allows(int arity, size_t argc) {
    return arity >= 0 ? argc == (size_t)arity : argc >= (size_t)-arity;
}

static atomic_bool newer_accepted = true;

void kw_command_accept_newer(bool on) {
    atomic_store_explicit(&newer_accepted, on, memory_order_relaxed);
}

bool kw_command_is_accepted(const struct kw_command *cmd) {
    return cmd->origin != KW_COMMAND_VALKEY || atomic_load_explicit(&newer_accepted, memory_order_relaxed);
}

bool kw_command_arity_ok(const struct kw_command *cmd, size_t argc) {
    if (arity_allows(cmd->arity, argc)) return true;
    return arity_allows(cmd->arity_newer, argc) && atomic_load_explicit(&newer_accepted, memory_order_relaxed);
}

const char *kw_command_acl_category(unsigned bit) {
    return bit < KW_ACL_BITS ? category_names[bit] : NULL;
}

int kw_command_acl_category_find(const char *name, size_t len) {
    for (int bit = 0; bit < KW_ACL_BITS; bit++) {
        const char *known = category_names[bit];
        if (strlen(known) == len && strncasecmp(known, name, len) == 0) return bit;
    }
    return KW_EUNKNOWN;
}
