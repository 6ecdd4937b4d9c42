/*
 * The planner. The happy path, one key, is a lookup, a hash and no memory.
 * Several keys are grouped by slot in linear time with a stamp a slot; the
 * scratch grows with the largest request and belongs to the caller's thread.
 */
#include "cluster/planner.h"

#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/error.h"
#include "cluster/slot.h"

enum { NAME_SHOWN_BYTES = 128, LEARNED_SERVE_DEFAULT = KW_SERVE_KEYS };

struct serve_row {
    const char *name;
    enum kw_serve serve;
    const char *note;
};

static const struct serve_row serve_rows[] = {
#define SERVE(name, how, note) {name, KW_SERVE_##how, note},
#include "cluster/serve_table.inc"
#undef SERVE
};

/* Row of each table command, by id; NULL: served by its keys. Filled once, then constant. */
static const struct serve_row **serve_by_id;

struct kw_planner {
    struct kw_key_positions keys;
    uint32_t generation;
    uint32_t stamp[KW_SLOT_COUNT]; /* generation in which part_of_slot is valid */
    uint32_t part_of_slot[KW_SLOT_COUNT];
    struct kw_plan_part *parts;
    uint32_t *order;
    uint32_t *key_part;
    uint32_t cap;
    struct kw_str error;
};

static const struct serve_row *find_row(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(serve_rows); i++) {
        if (strcmp(serve_rows[i].name, name) == 0) return &serve_rows[i];
    }
    return NULL;
}

static void serve_table_build(void) {
    unsigned count = kw_command_table_count();
    const struct serve_row **table = kw_calloc(count, sizeof(*table));
    for (unsigned id = 0; id < count; id++) {
        const struct kw_command *cmd = kw_command_by_id(id);
        table[id] = find_row(cmd->name);
        if (!table[id] && cmd->parent) table[id] = find_row(cmd->parent->name);
    }
    serve_by_id = table;
}

struct kw_planner *kw_planner_new(void) {
    if (!serve_by_id) serve_table_build();
    struct kw_planner *planner = kw_calloc(1, sizeof(*planner));
    kw_key_positions_init(&planner->keys);
    return planner;
}

void kw_planner_free(struct kw_planner *planner) {
    if (!planner) return;
    kw_key_positions_deinit(&planner->keys);
    kw_free(planner->parts);
    kw_free(planner->order);
    kw_free(planner->key_part);
    kw_str_deinit(&planner->error);
    kw_free(planner);
}

static const struct serve_row *row_of(const struct kw_command *cmd) {
    return cmd->id < kw_command_table_count() ? serve_by_id[cmd->id] : NULL;
}

enum kw_serve kw_planner_serve(const struct kw_command *cmd) {
    const struct serve_row *row = row_of(cmd);
    return row ? row->serve : KW_SERVE_KEYS;
}

static void plan_error(struct kw_planner *planner, struct kw_plan *plan) {
    plan->kind = KW_PLAN_ERROR;
    plan->error = &planner->error;
}

static int shown(size_t len) {
    return len > NAME_SHOWN_BYTES ? NAME_SHOWN_BYTES : (int)len;
}

/* "-CROSSSLOT ..." that names two keys, their slots, and the names that would share one. */
static void cross_slot_error(struct kw_str *out, const struct kw_command *cmd, const struct kw_arg *a,
                             const struct kw_arg *b) {
    const char *tag;
    size_t tag_len;
    kw_slot_hash_tag(a->data, a->len, &tag, &tag_len);
    bool whole_key = tag_len == a->len;
    kw_str_resp_error(
        out,
        "CROSSSLOT Keys in request don't hash to the same slot: '%.*s' is in slot %u and '%.*s' in slot "
        "%u, so '%s' cannot run in one step; a common hash tag such as {%.*s} in both names%s would fix it",
        shown(a->len), a->data, kw_slot_of_key(a->data, a->len), shown(b->len), b->data,
        kw_slot_of_key(b->data, b->len), cmd->name, shown(tag_len), tag,
        whole_key ? "" : " (the first already has it)");
}

static bool grow(struct kw_planner *planner, uint32_t need) {
    if (need <= planner->cap) return true;
    struct kw_plan_part *parts = kw_realloc_try(planner->parts, need * sizeof(*parts));
    if (parts) planner->parts = parts;
    uint32_t *order = kw_realloc_try(planner->order, need * sizeof(*order));
    if (order) planner->order = order;
    uint32_t *key_part = kw_realloc_try(planner->key_part, need * sizeof(*key_part));
    if (key_part) planner->key_part = key_part;
    if (!parts || !order || !key_part) return false;
    planner->cap = need;
    return true;
}

/* Groups keys by slot: parts in order of first appearance, keys ascending within each. */
static int group_by_slot(struct kw_planner *planner, const struct kw_arg *argv, struct kw_plan *plan) {
    unsigned n = planner->keys.count;
    if (!grow(planner, n)) return KW_ENOMEM;
    uint32_t generation = ++planner->generation;
    uint32_t part_count = 0;
    for (unsigned i = 0; i < n; i++) {
        const struct kw_arg *key = &argv[planner->keys.pos[i]];
        unsigned slot = kw_slot_of_key(key->data, key->len);
        if (planner->stamp[slot] != generation) {
            planner->stamp[slot] = generation;
            planner->part_of_slot[slot] = part_count;
            planner->parts[part_count++] = (struct kw_plan_part){.slot = (uint16_t)slot};
        }
        planner->key_part[i] = planner->part_of_slot[slot];
        planner->parts[planner->key_part[i]].key_count++;
    }
    uint32_t start = 0;
    for (uint32_t p = 0; p < part_count; p++) {
        planner->parts[p].start = start;
        start += planner->parts[p].key_count;
        planner->parts[p].key_count = 0;
    }
    for (unsigned i = 0; i < n; i++) {
        struct kw_plan_part *part = &planner->parts[planner->key_part[i]];
        planner->order[part->start + part->key_count++] = i;
    }
    plan->kind = KW_PLAN_SPLIT;
    plan->part_count = part_count;
    plan->parts = planner->parts;
    plan->order = planner->order;
    plan->key_part = planner->key_part;
    return 0;
}

/*
 * The place where a cross-slot request is decided. What can be split is split;
 * gathering (moving the slots together) will be decided here too; the rest is
 * refused by name.
 */
static void plan_cross_slot(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv,
                            size_t argc, unsigned other, struct kw_plan *plan) {
    switch (plan->serve) {
    case KW_SERVE_SPLIT_SET:
        /* A key without its value: Redis says so before it looks at any. */
        if (argc % 2 == 0) {
            kw_planner_arity_error(&planner->error, cmd);
            break;
        }
        if (group_by_slot(planner, argv, plan) == 0) return;
        kw_str_resp_error(&planner->error, "ERR out of memory");
        break;
    case KW_SERVE_SPLIT_GET:
    case KW_SERVE_SPLIT_SUM:
        if (group_by_slot(planner, argv, plan) == 0) return;
        kw_str_resp_error(&planner->error, "ERR out of memory");
        break;
    default:
        cross_slot_error(&planner->error, cmd, &argv[planner->keys.pos[0]], &argv[planner->keys.pos[other]]);
        break;
    }
    plan_error(planner, plan);
}

static bool takes_a_link(enum kw_serve serve) {
    return serve == KW_SERVE_BLOCKING || serve == KW_SERVE_WATCH;
}

static void plan_by_keys(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv,
                         size_t argc, struct kw_plan *plan) {
    const struct kw_key_positions *keys = &planner->keys;
    const struct kw_arg *first = &argv[keys->pos[0]];
    unsigned slot = kw_slot_of_key(first->data, first->len);
    plan->kind = takes_a_link(plan->serve) ? KW_PLAN_EXCLUSIVE : KW_PLAN_FORWARD;
    plan->slot = (int)slot;
    for (unsigned i = 1; i < keys->count; i++) {
        const struct kw_arg *key = &argv[keys->pos[i]];
        if (kw_slot_of_key(key->data, key->len) != slot) {
            plan_cross_slot(planner, cmd, argv, argc, i, plan);
            return;
        }
    }
}

static bool word_is(const struct kw_arg *arg, const char *word) {
    return arg->data && arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

/* XREAD and XREADGROUP hold a link only when told to wait. */
static bool stream_read_blocks(const struct kw_arg *argv, size_t argc) {
    for (size_t i = 1; i < argc && !word_is(&argv[i], "streams"); i++) {
        if (word_is(&argv[i], "block")) return true;
    }
    return false;
}

/* XINFO HELP and its like: a text that every node has. */
static bool is_help(const struct kw_command *cmd) {
    return cmd->name_len > 5 && strcmp(cmd->name + cmd->name_len - 5, "|help") == 0;
}

/* The slot that an argument names; -1: it is none, and a node will say so. */
static int slot_argument(const struct kw_arg *arg) {
    int slot = 0;
    if (!arg->data || arg->len == 0 || arg->len > 5) return -1;
    for (size_t i = 0; i < arg->len; i++) {
        if (arg->data[i] < '0' || arg->data[i] > '9') return -1;
        slot = slot * 10 + (arg->data[i] - '0');
    }
    return slot < KW_SLOT_COUNT ? slot : -1;
}

static void plan_keyless(struct kw_planner *planner, const struct kw_command *cmd, struct kw_plan *plan) {
    if (plan->serve == KW_SERVE_ANY || is_help(cmd) ||
        (cmd->flags & (KW_CMD_MOVABLEKEYS | KW_CMD_READONLY | KW_CMD_WRITE))) {
        plan->kind = KW_PLAN_FORWARD;
        plan->slot = -1;
        return;
    }
    kw_str_resp_error(&planner->error, "ERR '%s' is not supported through Keyway", cmd->name);
    plan_error(planner, plan);
}

static void plan_refused(struct kw_planner *planner, const struct kw_command *cmd, struct kw_plan *plan) {
    kw_str_resp_error(&planner->error, "ERR '%s' is not supported through Keyway: %s", cmd->name, row_of(cmd)->note);
    plan_error(planner, plan);
}

void kw_planner_plan(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                     struct kw_plan *plan) {
    *plan = (struct kw_plan){.serve = kw_planner_serve(cmd), .slot = -1};
    kw_str_clear(&planner->error);
    switch (plan->serve) {
    case KW_SERVE_LOCAL: plan->kind = KW_PLAN_LOCAL; return;
    case KW_SERVE_SHARDS: plan->kind = KW_PLAN_SHARDS; return;
    case KW_SERVE_REFUSED: plan_refused(planner, cmd, plan); return;
    case KW_SERVE_SLOT:
        plan->kind = KW_PLAN_FORWARD;
        plan->slot = slot_argument(&argv[2]);
        return;
    case KW_SERVE_PUBLISH:
        /* A shard channel lives in the slot of its name, though it is no key. */
        plan->kind = KW_PLAN_FORWARD;
        if (cmd->first_key > 0) plan->slot = (int)kw_slot_of_key(argv[1].data, argv[1].len);
        return;
    default: break;
    }
    if (cmd->keys_simple && cmd->first_key == 1 && cmd->last_key == 1) {
        plan->kind = takes_a_link(plan->serve) ? KW_PLAN_EXCLUSIVE : KW_PLAN_FORWARD;
        plan->slot = (int)kw_slot_of_key(argv[1].data, argv[1].len);
        return;
    }
    int count = kw_command_keys(cmd, argv, argc, &planner->keys);
    plan->key_count = planner->keys.count;
    plan->keys = planner->keys.pos;
    if (count == KW_ENOMEM) {
        kw_str_resp_error(&planner->error, "ERR out of memory");
        plan_error(planner, plan);
    } else if (count <= 0) {
        /* No key can be told: a node will say what is wrong with it, if anything. */
        plan_keyless(planner, cmd, plan);
    } else {
        plan_by_keys(planner, cmd, argv, argc, plan);
        if (plan->kind == KW_PLAN_EXCLUSIVE && (cmd->flags & KW_CMD_MOVABLEKEYS) && cmd->name[0] == 'x' &&
            !stream_read_blocks(argv, argc)) {
            plan->kind = KW_PLAN_FORWARD;
        }
    }
}

int kw_planner_plan_early(struct kw_planner *planner, const struct kw_command *cmd, const struct kw_arg *argv,
                          size_t argc, size_t have, int *slot) {
    if (kw_planner_serve(cmd) == KW_SERVE_LOCAL || kw_planner_serve(cmd) == KW_SERVE_REFUSED ||
        kw_planner_serve(cmd) == KW_SERVE_SHARDS) {
        return 0;
    }
    int known = kw_command_keys_early(cmd, argv, argc, have, &planner->keys);
    if (known <= 0 || planner->keys.count == 0) return 0;
    struct kw_plan plan = {.serve = KW_SERVE_KEYS};
    kw_str_clear(&planner->error);
    for (unsigned i = 0; i < planner->keys.count; i++) {
        if (!argv[planner->keys.pos[i]].data) return 0;
    }
    plan_by_keys(planner, cmd, argv, argc, &plan);
    *slot = plan.slot;
    return plan.kind == KW_PLAN_FORWARD;
}

void kw_planner_unknown_error(struct kw_str *out, const struct kw_arg *argv, size_t argc) {
    struct kw_str args = {0};
    for (size_t i = 1; i < argc && args.len < NAME_SHOWN_BYTES; i++) {
        int room = (int)(NAME_SHOWN_BYTES - args.len);
        int len = argv[i].len < (size_t)room ? (int)argv[i].len : room;
        kw_str_printf(&args, "'%.*s' ", argv[i].data ? len : 0, argv[i].data ? argv[i].data : "");
    }
    kw_str_resp_error(out, "ERR unknown command '%.*s', with args beginning with: %s", shown(argv[0].len), argv[0].data,
                      args.data ? args.data : "");
    kw_str_deinit(&args);
}

void kw_planner_unknown_sub_error(struct kw_str *out, const struct kw_command *container, const struct kw_arg *argv) {
    struct kw_str upper = {0};
    for (const char *c = container->name; *c; c++) {
        char up = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
        kw_str_append(&upper, &up, 1);
    }
    kw_str_resp_error(out, "ERR unknown subcommand '%.*s'. Try %s HELP.", shown(argv[1].len),
                      argv[1].data ? argv[1].data : "", upper.data);
    kw_str_deinit(&upper);
}

void kw_planner_arity_error(struct kw_str *out, const struct kw_command *cmd) {
    kw_str_resp_error(out, "ERR wrong number of arguments for '%s' command", cmd->name);
}
