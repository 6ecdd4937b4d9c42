/*
 * COMMAND DOCS, answered from the table in the shape of Redis 7.0.15: summary,
 * history and the nested arguments of each command. Learned commands have a
 * group and nothing more. Nothing can fail; the caller owns the output.
 */
#include "cluster/command_internal.h"

enum { KW_DOC_DEPRECATED = 1, KW_DOC_SYSCMD = 2 };
enum { KW_ARG_OPTIONAL = 1, KW_ARG_MULTIPLE = 2, KW_ARG_MULTIPLE_TOKEN = 4 };
enum arg_type {
    ARG_STRING,
    ARG_INTEGER,
    ARG_DOUBLE,
    ARG_KEY,
    ARG_PATTERN,
    ARG_UNIX_TIME,
    ARG_PURE_TOKEN,
    ARG_ONEOF,
    ARG_BLOCK,
};

struct history {
    const char *since, *what;
};

struct arg {
    const char *name, *token, *since, *deprecated_since;
    uint8_t type, flags;
    int16_t key_spec;      /* index, or -1 */
    uint16_t first, count; /* sub-arguments: a run of args[] */
};

struct doc {
    const char *summary, *since, *group, *complexity, *deprecated_since, *replaced_by;
    uint8_t flags;
    uint16_t history_first, history_count;
    uint16_t arg_first, arg_count;
};

static const struct history histories[] = {
#define HISTORY(since_, what_) {.since = since_, .what = what_},
#include "cluster/command_table.inc"
};

static const struct arg args[] = {
#define ARG(name_, type_, token_, since_, deprecated_, flags_, key_spec_, first_, count_)                              \
    {.name = name_,                                                                                                    \
     .token = token_,                                                                                                  \
     .since = since_,                                                                                                  \
     .deprecated_since = deprecated_,                                                                                  \
     .type = ARG_##type_,                                                                                              \
     .flags = flags_,                                                                                                  \
     .key_spec = key_spec_,                                                                                            \
     .first = first_,                                                                                                  \
     .count = count_},
#include "cluster/command_table.inc"
};

/* By command id. */
static const struct doc docs[] = {
#define DOC(summary_, since_, group_, complexity_, flags_, deprecated_, replaced_, history_, history_n, arg_, arg_n)   \
    {.summary = summary_,                                                                                              \
     .since = since_,                                                                                                  \
     .group = group_,                                                                                                  \
     .complexity = complexity_,                                                                                        \
     .deprecated_since = deprecated_,                                                                                  \
     .replaced_by = replaced_,                                                                                         \
     .flags = flags_,                                                                                                  \
     .history_first = history_,                                                                                        \
     .history_count = history_n,                                                                                       \
     .arg_first = arg_,                                                                                                \
     .arg_count = arg_n},
#include "cluster/command_table.inc"
};

static const char *const doc_flag_names[] = {"deprecated", "syscmd"};
static const char *const arg_flag_names[] = {"optional", "multiple", "multiple_token"};
static const char *const arg_type_names[] = {"string",    "integer",    "double", "key",  "pattern",
                                             "unix-time", "pure-token", "oneof",  "block"};

/* ---- COMMAND DOCS. */

static void put_args(struct kw_str *out, int resp, const struct arg *first, size_t count) {
    kw_str_resp_array(out, count);
    for (const struct arg *arg = first; arg < first + count; arg++) {
        bool nested = arg->type == ARG_ONEOF || arg->type == ARG_BLOCK;
        kw_str_resp_map(out, resp,
                        2 + (size_t)(arg->key_spec >= 0) + !!arg->token + !!arg->since + !!arg->deprecated_since +
                            !!arg->flags + nested);
        kw_put_text_field(out, "name", arg->name);
        kw_put_text_field(out, "type", arg_type_names[arg->type]);
        if (arg->key_spec >= 0) kw_put_int_field(out, "key_spec_index", arg->key_spec);
        kw_put_text_field(out, "token", arg->token);
        kw_put_text_field(out, "since", arg->since);
        kw_put_text_field(out, "deprecated_since", arg->deprecated_since);
        if (arg->flags) {
            kw_str_resp_text(out, "flags");
            kw_put_bits(out, resp, arg->flags, arg_flag_names, KW_ARRAY_LEN(arg_flag_names), "");
        }
        if (nested) {
            kw_str_resp_text(out, "arguments");
            put_args(out, resp, &args[arg->first], arg->count);
        }
    }
}

static void put_history(struct kw_str *out, int resp, const struct doc *doc) {
    kw_str_resp_text(out, "history");
    kw_str_resp_set(out, resp, doc->history_count);
    for (const struct history *row = &histories[doc->history_first], *end = row + doc->history_count; row < end;
         row++) {
        kw_str_resp_array(out, 2);
        kw_str_resp_text(out, row->since);
        kw_str_resp_text(out, row->what);
    }
}

static const struct doc *doc_of(const struct kw_command *cmd) {
    static const struct doc learned = {.group = "module"};
    return cmd->id < KW_ARRAY_LEN(docs) ? &docs[cmd->id] : &learned;
}

/* Name and map, as an element of the reply's map. */
static void put_doc(struct kw_str *out, int resp, const struct kw_command *cmd) {
    const struct doc *doc = doc_of(cmd);
    kw_str_resp_bulk(out, cmd->name, cmd->name_len);
    kw_str_resp_map(out, resp,
                    1 + (size_t) !!doc->summary + !!doc->since + !!doc->complexity + !!doc->flags +
                        !!doc->deprecated_since + !!doc->replaced_by + !!doc->history_count + !!doc->arg_count +
                        cmd->container);
    kw_put_text_field(out, "summary", doc->summary);
    kw_put_text_field(out, "since", doc->since);
    kw_put_text_field(out, "group", doc->group);
    kw_put_text_field(out, "complexity", doc->complexity);
    if (doc->flags) {
        kw_str_resp_text(out, "doc_flags");
        kw_put_bits(out, resp, doc->flags, doc_flag_names, KW_ARRAY_LEN(doc_flag_names), "");
    }
    kw_put_text_field(out, "deprecated_since", doc->deprecated_since);
    kw_put_text_field(out, "replaced_by", doc->replaced_by);
    if (doc->history_count) put_history(out, resp, doc);
    if (doc->arg_count) {
        kw_str_resp_text(out, "arguments");
        put_args(out, resp, &args[doc->arg_first], doc->arg_count);
    }
    if (cmd->container) {
        kw_str_resp_text(out, "subcommands");
        kw_str_resp_map(out, resp, kw_command_count_shown(cmd));
        const struct kw_command *sub;
        for (unsigned at = 0; (sub = kw_command_next_shown(cmd, &at));) put_doc(out, resp, sub);
    }
}

void kw_command_reply_docs(struct kw_str *out, int resp, const struct kw_arg *names, size_t count) {
    const struct kw_command *cmd;
    if (count == 0) {
        kw_str_resp_map(out, resp, kw_command_count_shown(NULL));
        for (unsigned at = 0; (cmd = kw_command_next_shown(NULL, &at));) put_doc(out, resp, cmd);
        return;
    }
    size_t known = 0;
    for (size_t i = 0; i < count; i++) known += kw_command_find_shown(&names[i]) != NULL;
    kw_str_resp_map(out, resp, known);
    for (size_t i = 0; i < count; i++) {
        cmd = kw_command_find_shown(&names[i]);
        if (cmd) put_doc(out, resp, cmd);
    }
}
