/*
 * COMMAND, answered from the table in the shape of Redis 7.0.15: the entries
 * of COMMAND INFO, LIST with its filters, GETKEYS. Order within a set or map of
 * commands is the table's (the server's own order is that of its hash table).
 * Learned commands appear too. What can fail: memory in GETKEYS, which is
 * told to the client. The caller owns the output.
 */
#include <stdatomic.h>
#include <strings.h>

#include "base/error.h"
#include "base/glob.h"
#include "cluster/command_internal.h"

#define X(name, text) text,
static const char *const command_flag_names[] = {KW_COMMAND_FLAG_MAP(X)};
static const char *const key_flag_names[] = {KW_KEY_FLAG_MAP(X)};
#undef X

static atomic_bool show_valkey;

void kw_command_show_valkey(bool on) {
    atomic_store_explicit(&show_valkey, on, memory_order_relaxed);
}

/* ---- RESP pieces whose shape depends on the protocol. */

void kw_put_bits(struct kw_str *out, int resp, uint64_t bits, const char *const *names, unsigned count,
                 const char *sigil) {
    size_t named = 0;
    for (unsigned n = 0; n < count; n++) named += names[n] && (bits >> n & 1);
    kw_str_resp_set(out, resp, named);
    for (unsigned n = 0; n < count; n++) {
        if (names[n] && (bits >> n & 1)) kw_str_printf(out, "+%s%s\r\n", sigil, names[n]);
    }
}

void kw_put_text_field(struct kw_str *out, const char *key, const char *text) {
    if (!text) return;
    kw_str_resp_text(out, key);
    kw_str_resp_text(out, text);
}

void kw_put_int_field(struct kw_str *out, const char *key, int value) {
    kw_str_resp_text(out, key);
    kw_str_resp_int(out, value);
}

/* ---- Walking the commands. */

static bool shown(const struct kw_command *cmd) {
    return cmd->origin != KW_COMMAND_VALKEY || atomic_load_explicit(&show_valkey, memory_order_relaxed);
}

const struct kw_command *kw_command_next_shown(const struct kw_command *parent, unsigned *at) {
    const struct kw_command *cmd;
    while ((cmd = kw_command_by_id((*at)++))) {
        if (cmd->parent == parent && cmd->origin != KW_COMMAND_OWN && shown(cmd)) return cmd;
    }
    return NULL;
}

size_t kw_command_count_shown(const struct kw_command *parent) {
    size_t count = 0;
    for (unsigned at = 0; kw_command_next_shown(parent, &at);) count++;
    return count;
}

const struct kw_command *kw_command_find_shown(const struct kw_arg *name) {
    const struct kw_command *cmd = name->data ? kw_command_by_full_name(name->data, name->len) : NULL;
    return cmd && shown(cmd) ? cmd : NULL;
}

/* ---- COMMAND INFO. */

static void put_begin_search(struct kw_str *out, int resp, const struct kw_key_spec *spec) {
    static const char *const types[] = {"unknown", "index", "keyword"};
    kw_str_resp_text(out, "begin_search");
    kw_str_resp_map(out, resp, 2);
    kw_put_text_field(out, "type", types[spec->begin]);
    kw_str_resp_text(out, "spec");
    if (spec->begin == KW_BEGIN_INDEX) {
        kw_str_resp_map(out, resp, 1);
        kw_put_int_field(out, "index", spec->begin_at);
    } else if (spec->begin == KW_BEGIN_KEYWORD) {
        kw_str_resp_map(out, resp, 2);
        kw_put_text_field(out, "keyword", spec->keyword);
        kw_put_int_field(out, "startfrom", spec->begin_at);
    } else {
        kw_str_resp_map(out, resp, 0);
    }
}

static void put_find_keys(struct kw_str *out, int resp, const struct kw_key_spec *spec) {
    static const char *const types[] = {"unknown", "range", "keynum"};
    static const char *const fields[][3] = {
        {NULL, NULL, NULL}, {"lastkey", "keystep", "limit"}, {"keynumidx", "firstkey", "keystep"}};
    kw_str_resp_text(out, "find_keys");
    kw_str_resp_map(out, resp, 2);
    kw_put_text_field(out, "type", types[spec->find]);
    kw_str_resp_text(out, "spec");
    kw_str_resp_map(out, resp, spec->find == KW_FIND_UNKNOWN ? 0 : 3);
    for (int i = 0; i < 3 && fields[spec->find][i]; i++) kw_put_int_field(out, fields[spec->find][i], spec->numbers[i]);
}

static void put_key_specs(struct kw_str *out, int resp, const struct kw_command *cmd) {
    kw_str_resp_set(out, resp, cmd->key_spec_count);
    for (unsigned i = 0; i < cmd->key_spec_count; i++) {
        const struct kw_key_spec *spec = &cmd->key_specs[i];
        kw_str_resp_map(out, resp, spec->notes ? 4 : 3);
        kw_put_text_field(out, "notes", spec->notes);
        kw_str_resp_text(out, "flags");
        kw_put_bits(out, resp, spec->flags, key_flag_names, KW_KEY_BITS, "");
        put_begin_search(out, resp, spec);
        put_find_keys(out, resp, spec);
    }
}

static void put_categories(struct kw_str *out, int resp, uint32_t categories) {
    const char *names[KW_ACL_BITS];
    for (unsigned bit = 0; bit < KW_ACL_BITS; bit++) names[bit] = kw_command_acl_category(bit);
    kw_put_bits(out, resp, categories, names, KW_ACL_BITS, "@");
}

static void put_info(struct kw_str *out, int resp, const struct kw_command *cmd) {
    kw_str_resp_array(out, 10);
    kw_str_resp_bulk(out, cmd->name, cmd->name_len);
    kw_str_resp_int(out, cmd->arity);
    kw_put_bits(out, resp, cmd->flags, command_flag_names, KW_CMD_BITS, "");
    kw_str_resp_int(out, cmd->first_key);
    kw_str_resp_int(out, cmd->last_key);
    kw_str_resp_int(out, cmd->key_step);
    put_categories(out, resp, cmd->acl_categories);
    kw_str_resp_set(out, resp, cmd->tip_count);
    for (unsigned i = 0; i < cmd->tip_count; i++) kw_str_resp_text(out, cmd->tips[i]);
    put_key_specs(out, resp, cmd);
    if (!cmd->container) {
        kw_str_resp_set(out, resp, 0);
        return;
    }
    kw_str_resp_array(out, kw_command_count_shown(cmd));
    const struct kw_command *sub;
    for (unsigned at = 0; (sub = kw_command_next_shown(cmd, &at));) put_info(out, resp, sub);
}

void kw_command_reply_all(struct kw_str *out, int resp) {
    kw_str_resp_array(out, kw_command_count_shown(NULL));
    const struct kw_command *cmd;
    for (unsigned at = 0; (cmd = kw_command_next_shown(NULL, &at));) put_info(out, resp, cmd);
}

void kw_command_reply_count(struct kw_str *out, int resp) {
    (void)resp;
    kw_str_resp_int(out, (long long)kw_command_count_shown(NULL));
}

void kw_command_reply_info(struct kw_str *out, int resp, const struct kw_arg *names, size_t count) {
    if (count == 0) {
        kw_command_reply_all(out, resp);
        return;
    }
    kw_str_resp_array(out, count);
    for (size_t i = 0; i < count; i++) {
        const struct kw_command *cmd = kw_command_find_shown(&names[i]);
        if (cmd)
            put_info(out, resp, cmd);
        else
            kw_str_resp_null(out, resp);
    }
}

/* ---- COMMAND LIST. */

enum list_filter { LIST_ALL, LIST_MODULE, LIST_ACLCAT, LIST_PATTERN, LIST_SYNTAX_ERROR };

static bool arg_is(const struct kw_arg *arg, const char *word) {
    return arg->data && arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

static enum list_filter filter_of(const struct kw_arg *argv, size_t argc) {
    if (argc == 0) return LIST_ALL;
    if (argc != 3 || !arg_is(&argv[0], "filterby") || !argv[2].data) return LIST_SYNTAX_ERROR;
    if (arg_is(&argv[1], "module")) return LIST_MODULE;
    if (arg_is(&argv[1], "aclcat")) return LIST_ACLCAT;
    return arg_is(&argv[1], "pattern") ? LIST_PATTERN : LIST_SYNTAX_ERROR;
}

/* Nodes do not say which module a command is of, so none is of the module that is asked for. */
static bool listed(const struct kw_command *cmd, enum list_filter filter, const struct kw_arg *value) {
    if (filter == LIST_MODULE) return false;
    if (filter == LIST_PATTERN) return kw_glob_match(value->data, value->len, cmd->name, cmd->name_len, true);
    if (filter == LIST_ALL) return true;
    int bit = kw_command_acl_category_find(value->data, value->len);
    return bit >= 0 && (cmd->acl_categories >> bit & 1);
}

static size_t put_names(struct kw_str *out, const struct kw_command *parent, enum list_filter filter,
                        const struct kw_arg *value) {
    size_t count = 0;
    const struct kw_command *cmd;
    for (unsigned at = 0; (cmd = kw_command_next_shown(parent, &at));) {
        if (listed(cmd, filter, value)) {
            kw_str_resp_bulk(out, cmd->name, cmd->name_len);
            count++;
        }
        if (cmd->container) count += put_names(out, cmd, filter, value);
    }
    return count;
}

void kw_command_reply_list(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc) {
    (void)resp;
    enum list_filter filter = filter_of(argv, argc);
    if (filter == LIST_SYNTAX_ERROR) {
        kw_str_resp_error(out, "ERR syntax error");
        return;
    }
    struct kw_str names = {0};
    size_t count = put_names(&names, NULL, filter, argc ? &argv[2] : NULL);
    kw_str_resp_array(out, count);
    if (count) kw_str_append(out, names.data, names.len);
    kw_str_deinit(&names);
}

/* ---- COMMAND GETKEYS. */

static const char *getkeys_error(const struct kw_command *cmd, size_t argc) {
    if (!cmd) return "ERR Invalid command specified";
    if (!kw_command_has_keys(cmd)) return "ERR The command has no key arguments";
    if (!kw_command_arity_ok(cmd, argc)) return "ERR Invalid number of arguments specified for command";
    return NULL;
}

static void put_keys(struct kw_str *out, int resp, const struct kw_arg *argv, const struct kw_key_positions *keys,
                     const struct kw_key_positions *flags) {
    kw_str_resp_array(out, keys->count);
    for (unsigned i = 0; i < keys->count; i++) {
        const struct kw_arg *key = &argv[keys->pos[i]];
        if (flags) kw_str_resp_array(out, 2);
        if (key->data)
            kw_str_resp_bulk(out, key->data, key->len);
        else
            kw_str_resp_null(out, resp);
        if (flags) kw_put_bits(out, resp, flags->pos[i], key_flag_names, KW_KEY_BITS, "");
    }
}

static void reply_getkeys(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc, bool with_flags) {
    const struct kw_command *cmd = kw_command_resolve(argv, argc);
    if (cmd && cmd->container && argc > 1) cmd = NULL; /* a subcommand that it does not have */
    const char *wrong = getkeys_error(cmd, argc);
    if (wrong) {
        kw_str_resp_error(out, "%s", wrong);
        return;
    }
    struct kw_key_positions keys, flags;
    kw_key_positions_init(&keys);
    kw_key_positions_init(&flags);
    int count = kw_command_keys_as_server(cmd, argv, argc, &keys, with_flags ? &flags : NULL);
    if (count == KW_ENOMEM) {
        kw_str_resp_error(out, "ERR out of memory");
    } else if (count <= 0 && !(cmd->flags & KW_CMD_NO_MANDATORY_KEYS)) {
        kw_str_resp_error(out, "ERR Invalid arguments specified for command");
    } else {
        put_keys(out, resp, argv, &keys, with_flags ? &flags : NULL);
    }
    kw_key_positions_deinit(&keys);
    kw_key_positions_deinit(&flags);
}

void kw_command_reply_getkeys(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc) {
    reply_getkeys(out, resp, argv, argc, false);
}

void kw_command_reply_getkeys_and_flags(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc) {
    reply_getkeys(out, resp, argv, argc, true);
}

/* ---- The whole of COMMAND. */

static void reply_help(struct kw_str *out) {
    static const char *const lines[] = {
        "COMMAND <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "(no subcommand)",
        "    Return details about all Redis commands.",
        "COUNT",
        "    Return the total number of commands in this Redis server.",
        "LIST",
        "    Return a list of all commands in this Redis server.",
        "INFO [<command-name> ...]",
        "    Return details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "DOCS [<command-name> ...]",
        "    Return documentation details about multiple Redis commands.",
        "    If no command names are given, documentation details for all",
        "    commands are returned.",
        "GETKEYS <full-command>",
        "    Return the keys from a full Redis command.",
        "GETKEYSANDFLAGS <full-command>",
        "    Return the keys and the access flags from a full Redis command.",
        "HELP",
        "    Prints this help.",
    };
    kw_str_resp_array(out, KW_ARRAY_LEN(lines));
    for (size_t i = 0; i < KW_ARRAY_LEN(lines); i++) kw_str_resp_simple(out, lines[i]);
}

void kw_command_reply(struct kw_str *out, int resp, const struct kw_arg *argv, size_t argc) {
    if (argc < 2) {
        kw_command_reply_all(out, resp);
        return;
    }
    const struct kw_command *sub = kw_command_resolve(argv, argc);
    const struct kw_arg *word = &argv[1], *rest = argv + 2;
    size_t rest_count = argc - 2;
    if (!sub || !sub->parent) {
        int len = word->data ? (int)(word->len < 128 ? word->len : 128) : 0;
        kw_str_resp_error(out, "ERR unknown subcommand '%.*s'. Try COMMAND HELP.", len, word->data ? word->data : "");
    } else if (!kw_command_arity_ok(sub, argc)) {
        kw_str_resp_error(out, "ERR wrong number of arguments for '%s' command", sub->name);
    } else if (arg_is(word, "count")) {
        kw_command_reply_count(out, resp);
    } else if (arg_is(word, "info")) {
        kw_command_reply_info(out, resp, rest, rest_count);
    } else if (arg_is(word, "docs")) {
        kw_command_reply_docs(out, resp, rest, rest_count);
    } else if (arg_is(word, "list")) {
        kw_command_reply_list(out, resp, rest, rest_count);
    } else if (arg_is(word, "getkeys")) {
        kw_command_reply_getkeys(out, resp, rest, rest_count);
    } else if (arg_is(word, "getkeysandflags")) {
        kw_command_reply_getkeys_and_flags(out, resp, rest, rest_count);
    } else {
        reply_help(out);
    }
}
