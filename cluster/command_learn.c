/*
 * Commands that the table lacks, told by nodes at start: modules, newer
 * servers. Happy path: a COMMAND reply is walked, each unknown name is copied
 * into one block and published.
 *
 * Readers take no lock: entries are immutable, and a place of the index goes
 * from empty to one entry, once, with a release store. Learners share a
 * mutex. Entries are never freed, and bounded by KW_COMMAND_LEARNED_MAX; the
 * texts of one entry are bounded too, since a node chose them.
 */
#include <hiredis/hiredis.h>
#include <pthread.h>
#include <stdatomic.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cluster/command_internal.h"

enum {
    INDEX_BITS = 13,
    INDEX_SIZE = 1 << INDEX_BITS, /* twice the most entries */
    NAME_MAX_BYTES = 128,
    TEXT_MAX_BYTES = 512,
    LIST_MAX = 64,          /* key specs, tips of one command */
    POSITION_MAX = 1 << 20, /* in a key spec */
    SUBCOMMANDS_MAX = 1024, /* of one container in a reply */
};

static const uint64_t multiplier = 0x9e3779b97f4a7c15ULL;

static pthread_mutex_t learn_lock = PTHREAD_MUTEX_INITIALIZER;
static _Atomic(const struct kw_command *) learned[KW_COMMAND_LEARNED_MAX];
static atomic_uint learned_count;
static _Atomic uint16_t learned_index[INDEX_SIZE]; /* number in learned[] + 1; 0: empty */

/* ---- Lookup. */

unsigned kw_command_learned_count(void) {
    return atomic_load_explicit(&learned_count, memory_order_acquire);
}

const struct kw_command *kw_command_learned_at(unsigned n) {
    return n < kw_command_learned_count() ? atomic_load_explicit(&learned[n], memory_order_acquire) : NULL;
}

static size_t first_place(const char *own_name, size_t len, unsigned scope) {
    return (size_t)(kw_name_hash(kw_name_words(own_name, len), len, scope, multiplier) >> (64 - INDEX_BITS));
}

const struct kw_command *kw_command_learned_find(const char *name, size_t len, unsigned scope) {
    if (KW_LIKELY(kw_command_learned_count() == 0)) return NULL;
    for (size_t at = first_place(name, len, scope);; at = (at + 1) % INDEX_SIZE) {
        unsigned n = atomic_load_explicit(&learned_index[at], memory_order_acquire);
        if (n == 0) return NULL;
        const struct kw_command *cmd = atomic_load_explicit(&learned[n - 1], memory_order_acquire);
        size_t own_len;
        const char *own = kw_command_own_name(cmd, &own_len);
        unsigned own_scope = cmd->parent ? cmd->parent->id + 1 : 0;
        if (own_scope == scope && own_len == len && strncasecmp(own, name, len) == 0) return cmd;
    }
}

/* With the lock held, and room. */
static void publish(const struct kw_command *cmd) {
    unsigned n = cmd->id - kw_command_table_count();
    size_t len;
    const char *own = kw_command_own_name(cmd, &len);
    size_t at = first_place(own, len, cmd->parent ? cmd->parent->id + 1 : 0);
    while (atomic_load_explicit(&learned_index[at], memory_order_relaxed)) at = (at + 1) % INDEX_SIZE;
    atomic_store_explicit(&learned[n], cmd, memory_order_release);
    atomic_store_explicit(&learned_count, n + 1, memory_order_release);
    atomic_store_explicit(&learned_index[at], (uint16_t)(n + 1), memory_order_release);
}

/* ---- Checks: what a node says must not make the extraction run wild. */

static bool name_ok(const char *name, size_t len) {
    if (len == 0 || len > NAME_MAX_BYTES) return false;
    for (size_t i = 0; i < len; i++) {
        if (name[i] <= ' ' || name[i] > '~') return false;
    }
    return true;
}

static bool position_ok(int value) {
    return value >= -POSITION_MAX && value <= POSITION_MAX;
}

static bool text_ok(const char *text) {
    return !text || strnlen(text, TEXT_MAX_BYTES + 1) <= TEXT_MAX_BYTES;
}

static bool spec_ok(const struct kw_key_spec *spec) {
    for (int i = 0; i < 3; i++) {
        if (!position_ok(spec->numbers[i])) return false;
    }
    if (!position_ok(spec->begin_at) || !text_ok(spec->notes) || !text_ok(spec->keyword)) return false;
    if (spec->begin == KW_BEGIN_INDEX && spec->begin_at < 1) return false;
    if (spec->begin == KW_BEGIN_KEYWORD && (!spec->keyword || spec->begin_at == 0)) return false;
    if (spec->find == KW_FIND_RANGE) return spec->range.step >= 1 && spec->range.limit >= 0;
    if (spec->find == KW_FIND_KEYNUM) {
        return spec->keynum.step >= 1 && spec->keynum.count_at >= 0 && spec->keynum.first >= 1;
    }
    return true;
}

static bool learned_ok(const struct kw_command_learned *what) {
    if (!name_ok(what->name, what->name_len) || what->arity == 0 || !position_ok(what->arity)) return false;
    if (!position_ok(what->first_key) || !position_ok(what->last_key) || !position_ok(what->key_step)) return false;
    if (what->first_key < 0 || (what->first_key > 0 && what->key_step < 1)) return false;
    if (what->key_spec_count > LIST_MAX || what->tip_count > LIST_MAX) return false;
    for (unsigned i = 0; i < what->key_spec_count; i++) {
        if (!spec_ok(&what->key_specs[i])) return false;
    }
    for (unsigned i = 0; i < what->tip_count; i++) {
        if (!what->tips[i] || !text_ok(what->tips[i])) return false;
    }
    return true;
}

/* Where first..last by step is all there is to know about the keys. */
static bool is_simple(const struct kw_command_learned *what) {
    if (what->first_key == 0 || (what->flags & KW_CMD_MOVABLEKEYS) || what->key_spec_count > 1) return false;
    if (what->key_spec_count == 0) return true;
    const struct kw_key_spec *spec = &what->key_specs[0];
    if (spec->begin != KW_BEGIN_INDEX || spec->find != KW_FIND_RANGE || spec->range.limit) return false;
    if (spec->flags & (KW_KEY_NOT_KEY | KW_KEY_INCOMPLETE)) return false;
    int last = spec->range.last < 0 ? spec->range.last : spec->begin_at + spec->range.last;
    return spec->begin_at == what->first_key && last == what->last_key && spec->range.step == what->key_step;
}

/* ---- Policies, from the tips. */

static const char *const request_names[] = {"default", "all_nodes", "all_shards", "multi_shard", "special"};
static const char *const response_names[] = {"default",         "one_succeeded",  "all_succeeded",
                                             "agg_logical_and", "agg_logical_or", "agg_min",
                                             "agg_max",         "agg_sum",        "special"};

static unsigned policy(const struct kw_command_learned *what, const char *prefix, const char *const *names,
                       unsigned count) {
    size_t prefix_len = strlen(prefix);
    for (unsigned i = 0; i < what->tip_count; i++) {
        if (strncmp(what->tips[i], prefix, prefix_len) != 0) continue;
        for (unsigned n = 0; n < count; n++) {
            if (strcmp(what->tips[i] + prefix_len, names[n]) == 0) return n;
        }
    }
    return 0;
}

/* ---- One entry: the command, its key specs, its tips and all texts in one block. */

static char *copy_text(char **room, const char *text) {
    if (!text) return NULL;
    size_t size = strlen(text) + 1;
    char *copy = memcpy(*room, text, size);
    *room += size;
    return copy;
}

static size_t text_size(const char *text) {
    return text ? strlen(text) + 1 : 0;
}

static struct kw_command *new_entry(const struct kw_command_learned *what, const struct kw_command *parent) {
    size_t size = sizeof(struct kw_command) + what->key_spec_count * sizeof(struct kw_key_spec) +
                  what->tip_count * sizeof(char *) + what->name_len + 1;
    for (unsigned i = 0; i < what->key_spec_count; i++) {
        size += text_size(what->key_specs[i].keyword) + text_size(what->key_specs[i].notes);
    }
    for (unsigned i = 0; i < what->tip_count; i++) size += text_size(what->tips[i]);
    struct kw_command *cmd = kw_calloc_try(1, size);
    if (!cmd) return NULL;
    struct kw_key_spec *specs = (struct kw_key_spec *)(cmd + 1);
    const char **tips = (const char **)(specs + what->key_spec_count);
    char *room = (char *)(tips + what->tip_count);
    char *name = room;
    for (size_t i = 0; i < what->name_len; i++) {
        char c = what->name[i];
        *room++ = (char)(c >= 'A' && c <= 'Z' ? c - 'A' + 'a' : c);
    }
    room++;
    for (unsigned i = 0; i < what->key_spec_count; i++) {
        specs[i] = what->key_specs[i];
        specs[i].keyword = copy_text(&room, what->key_specs[i].keyword);
        specs[i].notes = copy_text(&room, what->key_specs[i].notes);
    }
    for (unsigned i = 0; i < what->tip_count; i++) tips[i] = copy_text(&room, what->tips[i]);
    *cmd = (struct kw_command){
        .name = name,
        .name_len = (unsigned)what->name_len,
        .id = kw_command_table_count() + kw_command_learned_count(),
        .arity = what->arity,
        .arity_newer = what->arity,
        .flags = what->flags,
        .acl_categories = what->acl_categories,
        .first_key = what->first_key,
        .last_key = what->first_key ? what->last_key : 0,
        .key_step = what->first_key ? what->key_step : 0,
        .keys_simple = is_simple(what),
        .extractor = KW_EXTRACT_NONE,
        .origin = KW_COMMAND_LEARNED,
        .key_specs = specs,
        .key_spec_count = what->key_spec_count,
        .tips = tips,
        .tip_count = what->tip_count,
        .request_policy = policy(what, "request_policy:", request_names, KW_ARRAY_LEN(request_names)),
        .response_policy = policy(what, "response_policy:", response_names, KW_ARRAY_LEN(response_names)),
        .container = what->container && !parent,
        .parent = parent,
    };
    return cmd;
}

/* With the lock held. */
static int add(const struct kw_command_learned *what) {
    const struct kw_command *parent = NULL;
    const char *bar = memchr(what->name, '|', what->name_len);
    if (bar) {
        size_t container_len = (size_t)(bar - what->name);
        parent = kw_command_lookup(what->name, container_len);
        if (!parent || !parent->container || container_len + 1 == what->name_len) return KW_EINVALID;
    }
    if (kw_command_by_full_name(what->name, what->name_len)) return 0;
    if (kw_command_learned_count() == KW_COMMAND_LEARNED_MAX) return KW_ELIMIT;
    struct kw_command *cmd = new_entry(what, parent);
    if (!cmd) return KW_ENOMEM;
    publish(cmd);
    return 1;
}

int kw_command_learn(const struct kw_command_learned *what) {
    if (!learned_ok(what)) return KW_EINVALID;
    pthread_mutex_lock(&learn_lock);
    int result = add(what);
    pthread_mutex_unlock(&learn_lock);
    return result;
}

/* ---- A node's reply. */

static bool is_text(const redisReply *reply) {
    return reply && (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS);
}

static bool is_array(const redisReply *reply) {
    return reply && reply->type == REDIS_REPLY_ARRAY;
}

static int int_of(const redisReply *reply) {
    if (!reply || reply->type != REDIS_REPLY_INTEGER) return 0;
    if (reply->integer > POSITION_MAX || reply->integer < -POSITION_MAX) return POSITION_MAX + 1; /* refused later */
    return (int)reply->integer;
}

static bool text_is(const redisReply *reply, const char *text) {
    return is_text(reply) && reply->len == strlen(text) && memcmp(reply->str, text, reply->len) == 0;
}

/* Bits of the names in a list; `skip` leaves out a first character ('@'). Names that are not known give nothing. */
static uint64_t bits_of(const redisReply *list, const char *const *names, unsigned count, char skip) {
    uint64_t bits = 0;
    for (size_t i = 0; is_array(list) && i < list->elements; i++) {
        redisReply word = *list->element[i];
        if (!is_text(&word)) continue;
        if (word.len && word.str[0] == skip) {
            word.str++;
            word.len--;
        }
        for (unsigned n = 0; n < count; n++) {
            if (names[n] && text_is(&word, names[n])) bits |= 1ULL << n;
        }
    }
    return bits;
}

#define X(name, text) text,
static const char *const command_flag_names[] = {KW_COMMAND_FLAG_MAP(X)};
static const char *const category_names[] = {KW_ACL_CATEGORY_MAP(X)};
static const char *const key_flag_names[] = {KW_KEY_FLAG_MAP(X)};
#undef X

/* The value of a key in a map that is a flat array; NULL: not there. */
static const redisReply *field(const redisReply *map, const char *key) {
    for (size_t i = 0; is_array(map) && i + 1 < map->elements; i += 2) {
        if (text_is(map->element[i], key)) return map->element[i + 1];
    }
    return NULL;
}

static const char *text_of(const redisReply *reply) {
    return is_text(reply) ? reply->str : NULL;
}

/* What it cannot make sense of stays "unknown": no keys are told by it. */
static struct kw_key_spec spec_of(const redisReply *map) {
    const redisReply *begin = field(map, "begin_search"), *start = field(begin, "spec");
    const redisReply *find = field(map, "find_keys"), *how = field(find, "spec");
    struct kw_key_spec spec = {
        .flags = (unsigned)bits_of(field(map, "flags"), key_flag_names, KW_ARRAY_LEN(key_flag_names), 0),
        .notes = text_of(field(map, "notes")),
    };
    if (text_is(field(begin, "type"), "index")) {
        spec.begin = KW_BEGIN_INDEX;
        spec.begin_at = int_of(field(start, "index"));
    } else if (text_is(field(begin, "type"), "keyword")) {
        spec.begin = KW_BEGIN_KEYWORD;
        spec.begin_at = int_of(field(start, "startfrom"));
        spec.keyword = text_of(field(start, "keyword"));
    }
    if (text_is(field(find, "type"), "range")) {
        spec.find = KW_FIND_RANGE;
        spec.range.last = int_of(field(how, "lastkey"));
        spec.range.step = int_of(field(how, "keystep"));
        spec.range.limit = int_of(field(how, "limit"));
    } else if (text_is(field(find, "type"), "keynum")) {
        spec.find = KW_FIND_KEYNUM;
        spec.keynum.count_at = int_of(field(how, "keynumidx"));
        spec.keynum.first = int_of(field(how, "firstkey"));
        spec.keynum.step = int_of(field(how, "keystep"));
    }
    return spec;
}

/* Adds one entry of the reply, without its subcommands. As kw_command_learn(). */
static int learn_entry(const redisReply *entry) {
    size_t n = entry->elements;
    struct kw_key_spec specs[LIST_MAX];
    const char *tips[LIST_MAX];
    struct kw_command_learned what = {
        .name = entry->element[0]->str,
        .name_len = entry->element[0]->len,
        .arity = int_of(entry->element[1]),
        .flags = bits_of(entry->element[2], command_flag_names, KW_ARRAY_LEN(command_flag_names), 0),
        .first_key = int_of(entry->element[3]),
        .last_key = int_of(entry->element[4]),
        .key_step = int_of(entry->element[5]),
        .key_specs = specs,
        .tips = tips,
    };
    if (n > 6) {
        what.acl_categories = (uint32_t)bits_of(entry->element[6], category_names, KW_ARRAY_LEN(category_names), '@');
    }
    for (size_t i = 0; n > 7 && is_array(entry->element[7]) && i < entry->element[7]->elements && i < LIST_MAX; i++) {
        if (is_text(entry->element[7]->element[i])) tips[what.tip_count++] = entry->element[7]->element[i]->str;
    }
    if (n > 8 && is_array(entry->element[8])) {
        if (entry->element[8]->elements > LIST_MAX) return KW_EINVALID;
        for (size_t i = 0; i < entry->element[8]->elements; i++) {
            specs[what.key_spec_count++] = spec_of(entry->element[8]->element[i]);
        }
    }
    what.container = n > 9 && is_array(entry->element[9]) && entry->element[9]->elements > 0;
    return kw_command_learn(&what);
}

/* An entry, or one of its subcommands at depth 1. Counts what was added; 0 or what ends the walk. */
static int walk_entry(const redisReply *entry, int depth, int *added) {
    if (!is_array(entry) || entry->elements < 6 || !is_text(entry->element[0])) return 0;
    int result = learn_entry(entry);
    if (result == KW_ENOMEM || result == KW_ELIMIT) return result;
    if (result > 0) ++*added;
    if (depth > 0 || entry->elements < 10 || !is_array(entry->element[9])) return 0;
    const redisReply *subs = entry->element[9];
    for (size_t i = 0; i < subs->elements && i < SUBCOMMANDS_MAX; i++) {
        int failed = walk_entry(subs->element[i], depth + 1, added);
        if (failed) return failed;
    }
    return 0;
}

int kw_command_learn_reply(const struct redisReply *reply) {
    if (!is_array(reply)) return KW_EPROTOCOL;
    int added = 0;
    for (size_t i = 0; i < reply->elements; i++) {
        int failed = walk_entry(reply->element[i], 0, &added);
        if (failed) return failed;
    }
    return added;
}
