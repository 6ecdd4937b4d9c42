/*
 * The command table: every command and subcommand of Redis 7.0 and Valkey 8
 * as data (arity, flags, key specs, policies, docs), found by name in a few
 * nanoseconds, plus those that nodes were asked about at start ("learned":
 * modules, newer servers).
 *
 * Table rows are constant (command_table.inc, generated from live servers by
 * tests/tools/gen_commands.py). Learned commands are added by any one thread
 * while all others look up; they are never changed nor freed. So every
 * `const struct kw_command *` is valid for the life of the process.
 */
#ifndef KW_CLUSTER_COMMAND_H
#define KW_CLUSTER_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/arg.h"
#include "base/str.h"

struct redisReply;

/* Flags, in the order in which servers print them; `text` as in a COMMAND reply, NULL: never shown. */
#define KW_COMMAND_FLAG_MAP(X)                                                                                         \
    X(WRITE, "write")                                                                                                  \
    X(READONLY, "readonly")                                                                                            \
    X(DENYOOM, "denyoom")                                                                                              \
    X(MODULE, "module")                                                                                                \
    X(ADMIN, "admin")                                                                                                  \
    X(PUBSUB, "pubsub")                                                                                                \
    X(NOSCRIPT, "noscript")                                                                                            \
    X(BLOCKING, "blocking")                                                                                            \
    X(LOADING, "loading")                                                                                              \
    X(STALE, "stale")                                                                                                  \
    X(SKIP_MONITOR, "skip_monitor")                                                                                    \
    X(SKIP_SLOWLOG, "skip_slowlog")                                                                                    \
    X(ASKING, "asking")                                                                                                \
    X(FAST, "fast")                                                                                                    \
    X(NO_AUTH, "no_auth")                                                                                              \
    X(MAY_REPLICATE, NULL)                                                                                             \
    X(NO_MANDATORY_KEYS, "no_mandatory_keys")                                                                          \
    X(NO_ASYNC_LOADING, "no_async_loading")                                                                            \
    X(NO_MULTI, "no_multi")                                                                                            \
    X(MOVABLEKEYS, "movablekeys")                                                                                      \
    X(ALLOW_BUSY, "allow_busy")

/* ACL categories, in the order of ACL CAT. */
#define KW_ACL_CATEGORY_MAP(X)                                                                                         \
    X(KEYSPACE, "keyspace")                                                                                            \
    X(READ, "read")                                                                                                    \
    X(WRITE, "write")                                                                                                  \
    X(SET, "set")                                                                                                      \
    X(SORTEDSET, "sortedset")                                                                                          \
    X(LIST, "list")                                                                                                    \
    X(HASH, "hash")                                                                                                    \
    X(STRING, "string")                                                                                                \
    X(BITMAP, "bitmap")                                                                                                \
    X(HYPERLOGLOG, "hyperloglog")                                                                                      \
    X(GEO, "geo")                                                                                                      \
    X(STREAM, "stream")                                                                                                \
    X(PUBSUB, "pubsub")                                                                                                \
    X(ADMIN, "admin")                                                                                                  \
    X(FAST, "fast")                                                                                                    \
    X(SLOW, "slow")                                                                                                    \
    X(BLOCKING, "blocking")                                                                                            \
    X(DANGEROUS, "dangerous")                                                                                          \
    X(CONNECTION, "connection")                                                                                        \
    X(TRANSACTION, "transaction")                                                                                      \
    X(SCRIPTING, "scripting")

/* What a command does with a key. */
#define KW_KEY_FLAG_MAP(X)                                                                                             \
    X(RO, "RO")                                                                                                        \
    X(RW, "RW")                                                                                                        \
    X(OW, "OW")                                                                                                        \
    X(RM, "RM")                                                                                                        \
    X(ACCESS, "access")                                                                                                \
    X(UPDATE, "update")                                                                                                \
    X(INSERT, "insert")                                                                                                \
    X(DELETE, "delete")                                                                                                \
    X(NOT_KEY, "not_key")                                                                                              \
    X(INCOMPLETE, "incomplete")                                                                                        \
    X(VARIABLE_FLAGS, "variable_flags")

/* Two enums a map: bit numbers, then bits. */
#define X(name, text) KW_CMD_BIT_##name,
enum { KW_COMMAND_FLAG_MAP(X) KW_CMD_BITS };
#undef X
#define X(name, text) KW_CMD_##name = 1 << KW_CMD_BIT_##name,
enum { KW_COMMAND_FLAG_MAP(X) };
#undef X
#define X(name, text) KW_ACL_BIT_##name,
enum { KW_ACL_CATEGORY_MAP(X) KW_ACL_BITS };
#undef X
#define X(name, text) KW_ACL_##name = 1 << KW_ACL_BIT_##name,
enum { KW_ACL_CATEGORY_MAP(X) };
#undef X
#define X(name, text) KW_KEY_BIT_##name,
enum { KW_KEY_FLAG_MAP(X) KW_KEY_BITS };
#undef X
#define X(name, text) KW_KEY_##name = 1 << KW_KEY_BIT_##name,
enum { KW_KEY_FLAG_MAP(X) };
#undef X

/* On which nodes a cluster-wide command must run, and how the replies become one (command tips). */
enum kw_request_policy {
    KW_REQ_DEFAULT,
    KW_REQ_ALL_NODES,
    KW_REQ_ALL_SHARDS,
    KW_REQ_MULTI_SHARD,
    KW_REQ_SPECIAL,
};
enum kw_response_policy {
    KW_RESP_DEFAULT,
    KW_RESP_ONE_SUCCEEDED,
    KW_RESP_ALL_SUCCEEDED,
    KW_RESP_AGG_LOGICAL_AND,
    KW_RESP_AGG_LOGICAL_OR,
    KW_RESP_AGG_MIN,
    KW_RESP_AGG_MAX,
    KW_RESP_AGG_SUM,
    KW_RESP_SPECIAL,
};

/* Who knows the command. */
enum kw_command_origin {
    KW_COMMAND_REDIS,   /* Redis 7.0, and Valkey 8 too */
    KW_COMMAND_VALKEY,  /* Valkey 8 only */
    KW_COMMAND_OWN,     /* Keyway; COMMAND tells of it by name only */
    KW_COMMAND_LEARNED, /* a node, or whoever called kw_command_learn() */
};

enum kw_key_begin { KW_BEGIN_UNKNOWN, KW_BEGIN_INDEX, KW_BEGIN_KEYWORD };
enum kw_key_find { KW_FIND_UNKNOWN, KW_FIND_RANGE, KW_FIND_KEYNUM };

/* One key spec: where to begin, and how to go on from there. Meaning as in Redis's "Key specifications" page. */
struct kw_key_spec {
    enum kw_key_begin begin;
    int begin_at;        /* INDEX: position; KEYWORD: where the search starts, negative from the end */
    const char *keyword; /* KEYWORD, else NULL */
    enum kw_key_find find;
    union {
        struct {
            int last, step, limit;
        } range;
        struct {
            int count_at, first, step;
        } keynum;
        int numbers[3];
    };
    unsigned flags;    /* KW_KEY_* */
    const char *notes; /* or NULL */
};

struct kw_command {
    const char *name; /* lower case; a subcommand is "config|get" */
    unsigned name_len;
    unsigned id;                       /* dense: the table's are 0..kw_command_table_count()-1, learned ones follow */
    int arity;                         /* as COMMAND prints: negative is a minimum; counts the name(s) */
    int arity_newer;                   /* as Valkey 8 has it; the same for most */
    uint64_t flags;                    /* KW_CMD_* */
    uint32_t acl_categories;           /* KW_ACL_* */
    int first_key, last_key, key_step; /* as COMMAND prints */
    bool keys_simple;  /* all keys are exactly first_key..last_key by key_step: no movable keys, no other spec */
    uint8_t extractor; /* private to command_keys.c */
    enum kw_command_origin origin;
    const struct kw_key_spec *key_specs;
    unsigned key_spec_count;
    const char *const *tips; /* as COMMAND prints, policies included */
    unsigned tip_count;
    enum kw_request_policy request_policy;   /* Redis 7.0's; where it names none, Valkey 8's */
    enum kw_response_policy response_policy; /* likewise */
    bool container;                          /* has subcommands */
    const struct kw_command *subcommands;    /* the table's, neighbours in memory; learned ones are only looked up */
    unsigned subcommand_count;
    const struct kw_command *parent; /* container of a subcommand, else NULL */
};

/* ---- Finding a command. Any thread, no lock, no allocation. */

/* The command, or the container, of that name in any case; NULL: unknown. "config|get" is not a name here. */
const struct kw_command *kw_command_lookup(const char *name, size_t len);

/* The subcommand of that name ("get"); NULL: unknown or `container` is none. */
const struct kw_command *kw_command_lookup_sub(const struct kw_command *container, const char *sub, size_t len);

/*
 * The subcommand where argv[0] is a container and knows argv[1], else what
 * argv[0] names, else NULL. Reads no more than the first `argc` arguments;
 * one whose data is NULL names nothing.
 */
const struct kw_command *kw_command_resolve(const struct kw_arg *argv, size_t argc);

/* By full name, "config|get" too; NULL: unknown. */
const struct kw_command *kw_command_by_full_name(const char *name, size_t len);

unsigned kw_command_table_count(void);                  /* commands and subcommands in the table */
unsigned kw_command_count(void);                        /* with the learned ones */
const struct kw_command *kw_command_by_id(unsigned id); /* NULL: no such id */

/* True where a server of either kind would not answer "wrong number of arguments". */
bool kw_command_arity_ok(const struct kw_command *cmd, size_t argc);

/* "read" for KW_ACL_BIT_READ; NULL beyond the last. The number of a name in any case, or KW_EUNKNOWN. */
const char *kw_command_acl_category(unsigned bit);
int kw_command_acl_category_find(const char *name, size_t len);

/* ---- Keys of a request. */

/* Result of an extraction; reusable, grows and never shrinks, must not be copied. One thread. */
struct kw_key_positions {
    unsigned *pos; /* own, or inline_pos; indexes into argv, ascending */
    unsigned count;
    unsigned cap;
    unsigned inline_pos[16];
};

void kw_key_positions_init(struct kw_key_positions *keys);
void kw_key_positions_deinit(struct kw_key_positions *keys); /* frees; init again before the next use */

/*
 * The positions of all keys: those that the server's COMMAND GETKEYS names,
 * here always ascending (and the destination of a PFMERGE without sources,
 * which GETKEYS refuses and the command accepts). Returns how many (0: the command has none, or an
 * EVAL that declares none), KW_EINVALID where none can be told (wrong arity,
 * bad numkeys, missing keyword; a module's movable keys), or KW_ENOMEM. On
 * an error `out` is empty. Argument payloads that are not contiguous (data
 * NULL) are no keyword and no number. Source: getKeysFromCommandWithSpecs()
 * in Redis's db.c.
 */
int kw_command_keys(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc, struct kw_key_positions *out);

/*
 * The same while a request still streams in: `argc` arguments were declared,
 * only the first `have` are here, the others are not touched. Returns 1 when
 * all keys are certainly among these (`out` is filled, perhaps with none), 0
 * when that cannot be told yet, or the error that kw_command_keys() would give.
 */
int kw_command_keys_early(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc, size_t have,
                          struct kw_key_positions *out);

/* ---- Learning commands that the table lacks. One lock among learners; lookups never wait. */

enum { KW_COMMAND_LEARNED_MAX = 4096 };

struct kw_command_learned {
    const char *name; /* copied and lower-cased; a subcommand is "container|sub", after its container */
    size_t name_len;
    int arity; /* not 0 */
    uint64_t flags;
    uint32_t acl_categories;
    int first_key, last_key, key_step;
    const struct kw_key_spec *key_specs; /* copied with their texts; NULL: first..last by step is all there is */
    unsigned key_spec_count;
    const char *const *tips; /* copied */
    unsigned tip_count;
    bool container;
};

/*
 * Adds one command. Returns 1 when added, 0 when known already (the first
 * definition stays), KW_EINVALID (name, arity or positions that no server
 * would give; a subcommand of something that is no container), KW_ELIMIT
 * beyond KW_COMMAND_LEARNED_MAX, or KW_ENOMEM. Any thread.
 */
int kw_command_learn(const struct kw_command_learned *what);

/*
 * Walks a node's reply to COMMAND or COMMAND INFO (7 or 10 elements a
 * command; nil entries are skipped) and adds what is lacking. Malformed
 * entries are left out. Returns how many were added, KW_EPROTOCOL when it is
 * no array, KW_ELIMIT or KW_ENOMEM (what was added before stays). The reply
 * stays the caller's. Any thread.
 */
int kw_command_learn_reply(const struct redisReply *reply);

/* ---- COMMAND, answered locally. Appended to `out`; `resp` is 2 or 3 (maps and sets). Any thread. */

/*
 * Whether the replies below show commands that only Valkey knows; off at
 * start. They can be looked up either way.
 */
void kw_command_show_valkey(bool on);

/*
 * Whether the servers are newer than Redis 7.0, so that what only Valkey 8 has (commands, arities) is taken; on at
 * start. Any thread.
 */
void kw_command_accept_newer(bool on);
/* False for a command that the servers do not have. Any thread. */
bool kw_command_is_accepted(const struct kw_command *cmd);

/* The whole of COMMAND and its subcommands, HELP and errors included; argv[0] is "command". */
void kw_command_reply(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc);

void kw_command_reply_all(struct kw_str *out, int resp);   /* COMMAND */
void kw_command_reply_count(struct kw_str *out, int resp); /* COMMAND COUNT */

/* COMMAND INFO: all when count is 0; nil for an unknown name. */
void kw_command_reply_info(struct kw_str *out, int resp, const struct kw_arg *names, size_t count);

/* COMMAND DOCS: all when count is 0; unknown names are left out. */
void kw_command_reply_docs(struct kw_str *out, int resp, const struct kw_arg *names, size_t count);

/* COMMAND LIST [FILTERBY MODULE|ACLCAT|PATTERN x]: `argv` is what follows LIST. */
void kw_command_reply_list(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc);

/* COMMAND GETKEYS, GETKEYSANDFLAGS: `argv` is the command that is asked about. */
void kw_command_reply_getkeys(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc);
void kw_command_reply_getkeys_and_flags(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc);

#endif
