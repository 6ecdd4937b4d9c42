/*
 * Where the keys of a request are. Happy path: the command's keys are a plain
 * range and are written down without looking at an argument. Otherwise the
 * key specs are followed, and where these do not tell (SORT, MIGRATE, a bad
 * numkeys...) an extractor of the command's own, exactly as the servers do:
 * getKeysFromCommandWithSpecs() in Redis's db.c.
 *
 * All of it works on a prefix too: reading or naming an argument that has not
 * arrived marks the scan as `unseen` and ends it. What can fail: memory for
 * more than 16 positions. The caller owns the result.
 */
#include <limits.h>
#include <stdlib.h>
#include <strings.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cluster/command_internal.h"

enum { SPECS_INVALID = -1000 }; /* the specs did not lead to keys: ask the extractor */

struct scan {
    const struct kw_arg *argv;
    long argc; /* declared */
    long have; /* arrived */
    bool unseen;
    bool to_the_letter; /* by the specs even where first..last tells it sooner */
    struct kw_key_positions *out;
    struct kw_key_positions *flags; /* or NULL */
};

void kw_key_positions_init(struct kw_key_positions *keys) {
    keys->pos = keys->inline_pos;
    keys->count = 0;
    keys->cap = KW_ARRAY_LEN(keys->inline_pos);
}

void kw_key_positions_deinit(struct kw_key_positions *keys) {
    if (keys->pos != keys->inline_pos) kw_free(keys->pos);
    keys->pos = NULL;
    keys->count = keys->cap = 0;
}

static bool reserve(struct kw_key_positions *keys, size_t more) {
    size_t need = keys->count + more;
    if (KW_LIKELY(need <= keys->cap)) return true;
    if (need > UINT_MAX / 2) return false;
    size_t cap = keys->cap;
    while (cap < need) cap *= 2;
    unsigned *own = keys->pos == keys->inline_pos ? NULL : keys->pos;
    unsigned *grown = kw_realloc_try(own, cap * sizeof(*grown));
    if (!grown) return false;
    if (!own) memcpy(grown, keys->inline_pos, keys->count * sizeof(*grown));
    keys->pos = grown;
    keys->cap = (unsigned)cap;
    return true;
}

/* ---- Arguments as the extractors read them. */

static const struct kw_arg *arg_at(struct scan *scan, long i) {
    if (i < scan->have) return &scan->argv[i];
    scan->unseen = true;
    return NULL;
}

static bool arg_is(struct scan *scan, long i, const char *word) {
    const struct kw_arg *arg = arg_at(scan, i);
    return arg && arg->data && arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

/* string2ll() of the servers for what is not negative: digits only, no leading zero. Returns -1 for the rest. */
static long long strict_number(const struct kw_arg *arg) {
    if (!arg || !arg->data || arg->len == 0 || arg->len > 18) return -1;
    if (arg->data[0] == '0') return arg->len == 1 ? 0 : -1;
    long long value = 0;
    for (size_t i = 0; i < arg->len; i++) {
        if (arg->data[i] < '0' || arg->data[i] > '9') return -1;
        value = value * 10 + (arg->data[i] - '0');
    }
    return value;
}

/* atoi() of bytes without an end mark: leading space and sign, then digits as long as there are any. */
static long long loose_number(const struct kw_arg *arg) {
    if (!arg || !arg->data) return 0;
    const char *at = arg->data, *end = at + arg->len;
    while (at < end && (*at == ' ' || (*at >= '\t' && *at <= '\r'))) at++;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    long long value = 0;
    for (; at < end && *at >= '0' && *at <= '9'; at++) {
        if (value < INT_MAX) value = value * 10 + (*at - '0');
    }
    return negative ? -value : value;
}

/* ---- Writing keys down. 0, KW_ENOMEM, or 0 with scan->unseen. */

static int add_range(struct scan *scan, long first, long last, long step, unsigned flags) {
    unsigned span = (unsigned)(last - first); /* narrow: a long division costs more than all the rest */
    long count = (step == 1 ? span : span / (unsigned)step) + 1L;
    if (first + (count - 1) * step >= scan->have) {
        scan->unseen = true;
        return 0;
    }
    struct kw_key_positions *out = scan->out;
    if (!reserve(out, (size_t)count)) return KW_ENOMEM;
    if (scan->flags && !reserve(scan->flags, (size_t)count)) return KW_ENOMEM;
    for (long i = 0; i < count; i++) {
        if (scan->flags) scan->flags->pos[scan->flags->count++] = flags;
        out->pos[out->count++] = (unsigned)(first + i * step);
    }
    return 0;
}

static int add_key(struct scan *scan, long pos, unsigned flags) {
    return add_range(scan, pos, pos, 1, flags);
}

static void clear(struct scan *scan) {
    scan->out->count = 0;
    if (scan->flags) scan->flags->count = 0;
}

/* ---- Key specs. */

/* Where the spec's keys begin: a position, 0 (keyword absent: no keys by this spec), or SPECS_INVALID. */
static long spec_begin(struct scan *scan, const struct kw_key_spec *spec) {
    if (spec->begin == KW_BEGIN_INDEX) return spec->begin_at;
    if (spec->begin != KW_BEGIN_KEYWORD) return SPECS_INVALID;
    long start = spec->begin_at > 0 ? spec->begin_at : scan->argc + spec->begin_at;
    long end = spec->begin_at > 0 ? scan->argc - 1 : 1;
    long step = start <= end ? 1 : -1;
    for (long i = start; i != end && i >= 1 && i < scan->argc && !scan->unseen; i += step) {
        if (arg_is(scan, i, spec->keyword)) return i + 1;
    }
    return 0;
}

/* Adds the keys of one spec. 0, SPECS_INVALID, or KW_ENOMEM. */
static int follow_spec(struct scan *scan, const struct kw_key_spec *spec) {
    long first = spec_begin(scan, spec);
    if (first == SPECS_INVALID) return SPECS_INVALID;
    if (scan->unseen || first == 0) return 0;
    long last, step;
    if (spec->find == KW_FIND_RANGE) {
        step = spec->range.step;
        if (spec->range.last >= 0) {
            last = first + spec->range.last;
        } else if (spec->range.limit == 0) {
            last = scan->argc + spec->range.last;
        } else {
            last = first + (scan->argc - first) / spec->range.limit + spec->range.last;
        }
    } else if (spec->find == KW_FIND_KEYNUM) {
        step = spec->keynum.step;
        if (first + spec->keynum.count_at >= scan->argc) return SPECS_INVALID;
        const struct kw_arg *arg = arg_at(scan, first + spec->keynum.count_at);
        if (!arg) return 0;
        long long count = strict_number(arg);
        if (count < 0 || count > scan->argc) return SPECS_INVALID;
        first += spec->keynum.first;
        last = first + (long)count - 1;
    } else {
        return SPECS_INVALID;
    }
    if (last >= scan->argc || last < first) return SPECS_INVALID;
    int failed = add_range(scan, first, last, step, spec->flags);
    if (failed) return failed;
    return spec->flags & KW_KEY_INCOMPLETE ? SPECS_INVALID : 0;
}

static unsigned real_specs(const struct kw_command *cmd, bool *variable) {
    unsigned count = 0;
    for (unsigned i = 0; i < cmd->key_spec_count; i++) {
        count += !(cmd->key_specs[i].flags & KW_KEY_NOT_KEY);
        if (cmd->key_specs[i].flags & KW_KEY_VARIABLE_FLAGS) *variable = true;
    }
    return count;
}

static int follow_specs(struct scan *scan, const struct kw_command *cmd) {
    for (unsigned i = 0; i < cmd->key_spec_count; i++) {
        if (cmd->key_specs[i].flags & KW_KEY_NOT_KEY) continue;
        int failed = follow_spec(scan, &cmd->key_specs[i]);
        if (failed) return failed;
        if (scan->unseen) return 0;
    }
    return 0;
}

/* ---- Extractors, one a family. 0 or KW_ENOMEM; what they cannot make sense of adds no key. */

/* SORT key [BY pattern] [LIMIT offset count] [GET pattern ...] [STORE destination]; the last STORE counts. */
static int extract_sort(struct scan *scan) {
    long store = 0;
    for (long i = 2; i < scan->argc && !scan->unseen; i++) {
        if (arg_is(scan, i, "limit")) {
            i += 2;
        } else if (arg_is(scan, i, "get") || arg_is(scan, i, "by")) {
            i += 1;
        } else if (i + 1 < scan->argc && arg_is(scan, i, "store")) {
            store = i + 1;
        }
    }
    if (scan->unseen) return 0;
    int failed = add_key(scan, 1, KW_KEY_RO | KW_KEY_ACCESS);
    return failed || !store ? failed : add_key(scan, store, KW_KEY_OW | KW_KEY_UPDATE);
}

/* MIGRATE host port key|"" db timeout [COPY] [REPLACE] [AUTH password | AUTH2 user password] [KEYS key ...] */
static int extract_migrate(struct scan *scan) {
    const unsigned flags = KW_KEY_RW | KW_KEY_ACCESS | KW_KEY_DELETE;
    for (long i = 6; i < scan->argc && !scan->unseen; i++) {
        if (arg_is(scan, i, "keys")) {
            if (scan->argv[3].len > 0 || i + 1 >= scan->argc) return 0; /* a syntax error */
            return add_range(scan, i + 1, scan->argc - 1, 1, flags);
        }
        if (arg_is(scan, i, "auth"))
            i += 1;
        else if (arg_is(scan, i, "auth2"))
            i += 2;
    }
    return scan->unseen ? 0 : add_key(scan, 3, flags);
}

/* GEORADIUS key longitude latitude radius unit [...] [STORE key] [STOREDIST key]; the last of the two counts. */
static int extract_georadius(struct scan *scan) {
    long store = 0;
    for (long i = 5; i + 1 < scan->argc && !scan->unseen; i++) {
        if (arg_is(scan, i, "store") || arg_is(scan, i, "storedist")) store = ++i;
    }
    if (scan->unseen) return 0;
    int failed = add_key(scan, 1, 0);
    return failed || !store ? failed : add_key(scan, store, 0);
}

/* XREAD [COUNT n] [BLOCK ms] STREAMS key ... id ..., XREADGROUP GROUP group consumer [...] [NOACK] STREAMS ... */
static int extract_xread(struct scan *scan) {
    for (long i = 1; i < scan->argc && !scan->unseen; i++) {
        if (arg_is(scan, i, "block") || arg_is(scan, i, "count")) {
            i += 1;
        } else if (arg_is(scan, i, "group")) {
            i += 2;
        } else if (arg_is(scan, i, "streams")) {
            long rest = scan->argc - i - 1;
            return rest == 0 || rest % 2 ? 0 : add_range(scan, i + 1, i + rest / 2, 1, 0);
        } else if (!arg_is(scan, i, "noack")) {
            return 0;
        }
    }
    return 0;
}

/* SET key value [...] [GET]: the position is certain, the flags depend. */
static int extract_set(struct scan *scan) {
    unsigned flags = KW_KEY_OW | KW_KEY_UPDATE;
    for (long i = 3; scan->flags && i < scan->argc; i++) {
        if (arg_is(scan, i, "get")) flags = KW_KEY_RW | KW_KEY_ACCESS | KW_KEY_UPDATE;
    }
    return add_key(scan, 1, flags);
}

/* BITFIELD key [GET type offset | [OVERFLOW how] SET|INCRBY type offset value] ...: read-only when all are GET. */
static int extract_bitfield(struct scan *scan) {
    unsigned flags = KW_KEY_RO | KW_KEY_ACCESS;
    for (long i = 2; scan->flags && i < scan->argc; i++) {
        long after = scan->argc - i - 1;
        if (after >= 2 && arg_is(scan, i, "get")) {
            i += 2;
        } else if (after >= 1 && arg_is(scan, i, "overflow")) {
            i += 1;
        } else {
            flags = KW_KEY_RW | KW_KEY_ACCESS | KW_KEY_UPDATE;
            break;
        }
    }
    return add_key(scan, 1, flags);
}

/* NAME ... numkeys key ...; `store`: position of a destination, named after the others, or 0. */
static int extract_numkeys(struct scan *scan, long count_at, long store) {
    if (count_at >= scan->argc) return 0;
    long long count = loose_number(arg_at(scan, count_at));
    if (scan->unseen || count < 1 || count > scan->argc - count_at - 1) return 0;
    int failed = add_range(scan, count_at + 1, count_at + (long)count, 1, 0);
    return failed || !store || scan->unseen ? failed : add_key(scan, store, 0);
}

static int extract(struct scan *scan, enum kw_key_extractor how) {
    switch (how) {
    case KW_EXTRACT_SORT: return extract_sort(scan);
    case KW_EXTRACT_SORT_RO: return add_key(scan, 1, KW_KEY_RO | KW_KEY_ACCESS);
    case KW_EXTRACT_MIGRATE: return extract_migrate(scan);
    case KW_EXTRACT_GEORADIUS: return extract_georadius(scan);
    case KW_EXTRACT_XREAD: return extract_xread(scan);
    case KW_EXTRACT_SET: return extract_set(scan);
    case KW_EXTRACT_BITFIELD: return extract_bitfield(scan);
    case KW_EXTRACT_NUMKEYS_1: return extract_numkeys(scan, 1, 0);
    case KW_EXTRACT_NUMKEYS_2: return extract_numkeys(scan, 2, 0);
    case KW_EXTRACT_STORE_NUMKEYS: return extract_numkeys(scan, 2, 1);
    case KW_EXTRACT_NONE: break;
    }
    return 0;
}

/* ---- The whole. */

bool kw_command_has_keys(const struct kw_command *cmd) {
    bool variable = false;
    return cmd->keys_simple || cmd->extractor != KW_EXTRACT_NONE || real_specs(cmd, &variable) > 0 ||
           (cmd->flags & KW_CMD_MOVABLEKEYS);
}

/* 0 or KW_ENOMEM; no keys when the range is empty. Learned commands without key specs have only this. */
static int simple_keys(struct scan *scan, const struct kw_command *cmd) {
    long last = cmd->last_key < 0 ? scan->argc + cmd->last_key : cmd->last_key;
    if (last < cmd->first_key || last >= scan->argc) return 0;
    return add_range(scan, cmd->first_key, last, cmd->key_step, 0);
}

/* Keys in the server's order. 0 (perhaps unseen, perhaps no keys) or KW_ENOMEM. */
static int scan_keys(struct scan *scan, const struct kw_command *cmd) {
    clear(scan);
    if (cmd->keys_simple && !scan->to_the_letter) return simple_keys(scan, cmd);
    bool variable = false;
    if (real_specs(cmd, &variable) > 0 && !variable) {
        int failed = follow_specs(scan, cmd);
        if (failed != SPECS_INVALID) return failed;
        if (scan->unseen) return 0;
        clear(scan);
    }
    if (cmd->extractor == KW_EXTRACT_NONE && cmd->keys_simple && !cmd->key_spec_count) return simple_keys(scan, cmd);
    return extract(scan, (enum kw_key_extractor)cmd->extractor);
}

/* EVAL with a numkeys of 0, and its like: no keys, and nothing wrong with that. */
static bool declares_none(struct scan *scan, const struct kw_command *cmd) {
    if (!(cmd->flags & KW_CMD_NO_MANDATORY_KEYS)) return false;
    if (cmd->extractor != KW_EXTRACT_NUMKEYS_2) return true;
    return scan->have > 2 && strict_number(&scan->argv[2]) == 0;
}

static int compare_positions(const void *a, const void *b) {
    unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
    return (x > y) - (x < y);
}

static void sort_positions(struct kw_key_positions *keys) {
    for (unsigned i = 1; i < keys->count; i++) {
        if (keys->pos[i - 1] > keys->pos[i]) {
            qsort(keys->pos, keys->count, sizeof(*keys->pos), compare_positions);
            return;
        }
    }
}

/* 0 or an error; the answer is in scan->out and scan->unseen. */
static int scan_request(struct scan *scan, const struct kw_command *cmd) {
    scan->out->count = 0;
    if (scan->argc < 1 || !kw_command_arity_ok(cmd, (size_t)scan->argc)) return KW_EINVALID;
    int failed = scan_keys(scan, cmd);
    if (failed || scan->unseen) {
        scan->out->count = 0;
        return failed;
    }
    if (KW_UNLIKELY(scan->out->count == 0) && kw_command_has_keys(cmd) && !declares_none(scan, cmd)) return KW_EINVALID;
    if (!cmd->keys_simple) sort_positions(scan->out);
    return 0;
}

int kw_command_keys(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                    struct kw_key_positions *out) {
    if (argc > INT_MAX) return KW_EINVALID;
    struct scan scan = {.argv = argv, .argc = (long)argc, .have = (long)argc, .out = out};
    int failed = scan_request(&scan, cmd);
    return failed ? failed : (int)out->count;
}

int kw_command_keys_early(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc, size_t have,
                          struct kw_key_positions *out) {
    out->count = 0;
    if (argc > INT_MAX) return KW_EINVALID;
    KW_ASSERT(have <= argc);
    struct scan scan = {.argv = argv, .argc = (long)argc, .have = (long)have, .out = out};
    int failed = scan_request(&scan, cmd);
    return failed ? failed : !scan.unseen;
}

int kw_command_keys_as_server(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                              struct kw_key_positions *out, struct kw_key_positions *flags) {
    out->count = 0;
    if (argc > INT_MAX) return KW_EINVALID;
    struct scan scan = {
        .argv = argv, .argc = (long)argc, .have = (long)argc, .to_the_letter = true, .out = out, .flags = flags};
    int failed = scan_keys(&scan, cmd);
    return failed ? failed : (int)out->count;
}
