/*
 * The commands as a table, sorted by name: how many words, what the command
 * needs of the replica, who runs it, and its line of KEYWAY HELP. Looking up,
 * COMMAND, HELP and the fuzz dictionary follow from it.
 */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"
#include "raft/door/door_internal.h"

enum { NAME_MAX_LEN = 64, WORDS_MAX = 3, TAIL_MAX = 128 };

#define LOCAL KW_DOOR_LOCAL
#define READ  KW_DOOR_READ
#define WRITE KW_DOOR_WRITE
#define GROUP KW_DOOR_GROUP
#define OPEN  KW_DOOR_NO_AUTH
#define IDLE  KW_DOOR_IDLE

/* clang-format off */
static const struct kw_door_row rows[] = {
    {"auth", -2, LOCAL, OPEN | IDLE, kw_door_auth, NULL, NULL},
    {"client", -2, GROUP, 0, NULL, NULL, NULL},
    {"client|getname", 2, LOCAL, 0, kw_door_client_getname, NULL, NULL},
    {"client|id", 2, LOCAL, 0, kw_door_client_id, NULL, NULL},
    {"client|info", 2, LOCAL, 0, kw_door_client_info, NULL, NULL},
    {"client|list", -2, LOCAL, 0, kw_door_client_list, NULL, NULL},
    {"client|no-evict", 3, LOCAL, 0, kw_door_client_no_evict, NULL, NULL},
    {"client|no-touch", 3, LOCAL, 0, kw_door_client_no_touch, NULL, NULL},
    {"client|setinfo", 4, LOCAL, 0, kw_door_client_setinfo, NULL, NULL},
    {"client|setname", 3, LOCAL, 0, kw_door_client_setname, NULL, NULL},
    {"command", -1, LOCAL, 0, kw_door_command, NULL, NULL},
    {"command|count", 2, LOCAL, 0, kw_door_command_count, NULL, NULL},
    {"command|docs", -2, LOCAL, 0, kw_door_command_docs, NULL, NULL},
    {"command|info", -2, LOCAL, 0, kw_door_command_info, NULL, NULL},
    {"command|list", -2, LOCAL, 0, kw_door_command_list, NULL, NULL},
    {"config", -2, GROUP, 0, NULL, NULL, NULL},
    {"config|get", -3, LOCAL, 0, kw_door_config_get, NULL, NULL},
    {"config|resetstat", 2, LOCAL, 0, kw_door_config_resetstat, NULL, NULL},
    {"config|rewrite", 2, LOCAL, 0, kw_door_config_rewrite, NULL, NULL},
    {"config|set", -4, LOCAL, 0, kw_door_config_set, NULL, NULL},
    {"echo", 2, LOCAL, 0, kw_door_echo, NULL, NULL},
    {"hello", -1, LOCAL, OPEN | IDLE, kw_door_hello, NULL, NULL},
    {"info", -1, LOCAL, 0, kw_door_info, NULL, NULL},
    {"keyway", -2, GROUP, 0, NULL, NULL, NULL},
    {"keyway|attach", -3, WRITE, 0, kw_door_attach, "<text of CLUSTER NODES> [REPLACE]", "Adopt an existing cluster; REPLACE also where another one is attached."},
    {"keyway|backup", 2, READ, KW_DOOR_INSIST, kw_door_backup, "", "Return everything as bytes for RESTORE."},
    {"keyway|config", -3, GROUP, 0, NULL, NULL, NULL},
    {"keyway|config|del", -4, WRITE, 0, kw_door_table_config_del, "<key> [<key> ...]", "Remove settings of the whole."},
    {"keyway|config|get", -4, READ, 0, kw_door_table_config_get, "<pattern> [<pattern> ...]", "Return settings of the whole and their values."},
    {"keyway|config|set", 5, WRITE, 0, kw_door_table_config_set, "<key> <value>", "Set a setting of the whole."},
    {"keyway|count", 3, READ, 0, kw_door_count, "<table>", "Return the number of records in a table."},
    {"keyway|delete", -4, WRITE, 0, kw_door_delete, "<table> <key> [EXPECT <version>]", "Remove a record."},
    {"keyway|detach", 2, WRITE, 0, kw_door_detach, "", "Forget the cluster that is attached."},
    {"keyway|get", 4, READ, 0, kw_door_get, "<table> <key>", "Return a record's value."},
    {"keyway|help", 2, LOCAL, 0, kw_door_help, "", "Print this help."},
    {"keyway|map", 2, READ, 0, kw_door_map, "", "Return the cluster map as bytes."},
    {"keyway|meta", -3, GROUP, 0, NULL, NULL, NULL},
    {"keyway|meta|add", 5, WRITE, KW_DOOR_NO_ID, kw_door_meta_add, "<id> <host:port[:raftport]>", "Add a metadata node that was started with `join yes`."},
    {"keyway|meta|list", 3, READ, 0, kw_door_meta_list, "", "Return the metadata nodes."},
    {"keyway|meta|remove", 4, WRITE, KW_DOOR_NO_ID, kw_door_meta_remove, "<id>", "Remove a metadata node; its id never comes back."},
    {"keyway|meta|transfer", -3, WRITE, KW_DOOR_NO_ID, kw_door_meta_transfer, "[<id>]", "Hand the leadership to another metadata node."},
    {"keyway|nodes", 2, READ, 0, kw_door_nodes, "", "Return the Redis nodes with role, offset and lag."},
    {"keyway|ops", 2, READ, 0, kw_door_ops, "", "Return the operations that are running."},
    {"keyway|proxies", 2, READ, 0, kw_door_proxies, "", "Return the proxies that are registered."},
    {"keyway|proxy", -3, GROUP, 0, NULL, NULL, NULL},
    {"keyway|proxy|register", 8, WRITE, 0, kw_door_proxy_register, "<id> <address> <version> <workers> <map_version>", "Register a proxy, and show that it lives."},
    {"keyway|proxy|remove", 4, WRITE, 0, kw_door_proxy_remove, "<id>", "Remove a proxy."},
    {"keyway|put", -5, WRITE, 0, kw_door_put, "<table> <key> <value> [EXPECT <version>|ABSENT]", "Write a record; return its version."},
    {"keyway|restore", 3, WRITE, 0, kw_door_restore, "<bytes>", "Bring a backup back into a service that is new and empty."},
    {"keyway|scan", -4, READ, 0, kw_door_scan, "<table> <cursor> [COUNT <n>]", "Walk through a table: key, value, version."},
    {"keyway|shards", 2, READ, 0, kw_door_shards, "", "Return the shards with their slots."},
    {"keyway|slots", 2, READ, 0, kw_door_slots, "", "Return the slot map in the form of CLUSTER SLOTS."},
    {"keyway|status", 2, READ, 0, kw_door_status, "", "Return what this metadata node is and knows."},
    {"keyway|version", 4, READ, 0, kw_door_version, "<table> <key>", "Return a record's version, 0 where there is none."},
    {"keyway|watch", -2, LOCAL, IDLE, kw_door_watch, "[VERSION <version>]", "Push the cluster map, now and after each change."},
    {"ping", -1, LOCAL, 0, kw_door_ping, NULL, NULL},
    {"quit", -1, LOCAL, OPEN | IDLE, kw_door_quit, NULL, NULL},
    {"reset", 1, LOCAL, OPEN | IDLE, kw_door_reset, NULL, NULL},
    {"select", 2, LOCAL, 0, kw_door_select, NULL, NULL},
    {"shutdown", -1, LOCAL, IDLE, kw_door_shutdown, NULL, NULL},
};
/* clang-format on */

const struct kw_door_row *kw_door_rows(size_t *count) {
    *count = KW_ARRAY_LEN(rows);
    return rows;
}

/* ---- looking up */

/* Order of a row's name against words joined by |. */
static int order(const char *name, const struct kw_arg *words, size_t count) {
    const char *at = name;
    for (size_t w = 0; w < count; w++) {
        for (size_t i = 0; i < words[w].len; i++) {
            int c = (unsigned char)words[w].data[i];
            if (c >= 'A' && c <= 'Z') c += 'a' - 'A';
            /* No name has such a byte in a word, and it must not be taken for the joint. */
            if (c == '|' || c == '\0') c = 0x7f;
            if ((unsigned char)*at != c) return (unsigned char)*at - c;
            at++;
        }
        if (w + 1 < count) {
            if (*at != '|') return (unsigned char)*at - '|';
            at++;
        }
    }
    return (unsigned char)*at;
}

static const struct kw_door_row *find_exactly(const struct kw_arg *words, size_t count) {
    size_t low = 0, high = KW_ARRAY_LEN(rows);
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        int cmp = order(rows[middle].name, words, count);
        if (cmp == 0) return &rows[middle];
        if (cmp < 0) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    return NULL;
}

const struct kw_door_row *kw_door_find(const struct kw_arg *words, size_t count) {
    const struct kw_door_row *found = NULL;
    for (size_t n = 1; n <= count && n <= WORDS_MAX; n++) {
        const struct kw_door_row *row = find_exactly(words, n);
        if (!row) break;
        found = row;
        if (row->kind != GROUP && row->run != kw_door_command) break;
    }
    return found;
}

static size_t words_of(const struct kw_door_row *row) {
    size_t words = 1;
    for (const char *c = row->name; *c; c++) words += *c == '|';
    return words;
}

/* ---- refusals, in Redis's words */

static void say_unknown(struct kw_door_call *call) {
    char tail[TAIL_MAX + 32] = "";
    size_t at = 0;
    for (size_t i = 1; i < call->argc && at < TAIL_MAX; i++) {
        size_t room = TAIL_MAX - at;
        size_t len = call->argv[i].len < room ? call->argv[i].len : room;
        at += (size_t)snprintf(tail + at, sizeof(tail) - at, "'%.*s' ", (int)len, call->argv[i].data);
    }
    kw_str_resp_error(call->out, "ERR unknown command '%.*s', with args beginning with: %s",
                      kw_door_shown(&call->argv[0]), call->argv[0].data, tail);
}

static void say_unknown_sub(struct kw_door_call *call, const struct kw_door_row *group) {
    const struct kw_arg *word = &call->argv[words_of(group)];
    char name[NAME_MAX_LEN];
    size_t len = strcspn(group->name, "|");
    for (size_t i = 0; i < len; i++) {
        char c = group->name[i];
        name[i] = (char)(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    }
    kw_str_resp_error(call->out, "ERR unknown subcommand '%.*s'. Try %.*s HELP.", kw_door_shown(word), word->data,
                      (int)len, name);
}

static bool arity_holds(const struct kw_door_row *row, size_t argc) {
    return row->arity >= 0 ? argc == (size_t)row->arity : argc >= (size_t)-row->arity;
}

/* ---- running */

/* KEYWAY LINEAR <read...> and KEYWAY ID <hex> <write...>: the words are taken out. False after an error was written. */
static bool take_prefix(struct kw_door_call *call, bool *insist) {
    if (call->argc < 2 || !kw_door_is(&call->argv[0], "keyway")) return true;
    size_t skip = 0;
    if (kw_door_is(&call->argv[1], "linear")) {
        skip = 1;
        *insist = true;
    } else if (kw_door_is(&call->argv[1], "id")) {
        skip = 2;
        call->has_id = call->argc > 2 && kw_door_hex_id(&call->argv[2], call->request_id);
    }
    if (skip == 0) return true;
    if (call->argc < skip + 2) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for 'keyway|%s' command",
                          skip == 1 ? "linear" : "id");
        return false;
    }
    if (skip == 2 && !call->has_id) {
        kw_str_resp_error(call->out, "ERR the request id must be 32 hex digits, not all zero");
        return false;
    }
    /* The words before it are done with: the first one moves up to the others. */
    struct kw_arg *words = (struct kw_arg *)call->argv;
    words[skip] = words[0];
    call->argv += skip;
    call->argc -= skip;
    return true;
}

bool kw_door_resolve(struct kw_door_call *call, bool *insist) {
    *insist = false;
    if (!take_prefix(call, insist)) return false;
    const struct kw_door_row *row = kw_door_find(call->argv, call->argc);
    if (!row) {
        say_unknown(call);
        return false;
    }
    size_t words = words_of(row);
    bool unknown_sub = call->argc > words && (row->kind == GROUP || row->run == kw_door_command);
    if (unknown_sub) {
        say_unknown_sub(call, row);
        return false;
    }
    if (!arity_holds(row, call->argc) || row->kind == GROUP) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for '%s' command", row->name);
        return false;
    }
    if (*insist && row->kind != READ) {
        kw_str_resp_error(call->out, "ERR KEYWAY LINEAR is for reads, '%s' is none", row->name);
        return false;
    }
    if (call->has_id && (row->kind != WRITE || (row->flags & KW_DOOR_NO_ID))) {
        kw_str_resp_error(call->out, "ERR '%s' takes no request id", row->name);
        return false;
    }
    call->row = row;
    call->args = call->argv + words;
    call->arg_count = call->argc - words;
    return true;
}

static void run_row(struct kw_door_call *call, bool insist) {
    if (call->row->kind == READ) {
        kw_door_call_read(call, insist);
    } else {
        call->row->run(call);
    }
}

bool kw_door_run(struct kw_door_session *session, const struct kw_arg *argv, size_t argc) {
    struct kw_door *door = session->door;
    struct kw_str out = door->scratch;
    door->scratch = (struct kw_str){0};
    kw_str_clear(&out);
    struct kw_door_call call = {
        .door = door, .session = session, .argv = argv, .argc = argc, .resp = session->resp, .out = &out};
    bool insist = false, waits = false;
    bool known = kw_door_resolve(&call, &insist);
    if (!session->authenticated && !(known && (call.row->flags & OPEN))) {
        /* Strangers are not told what there is. */
        kw_str_clear(&out);
        kw_str_resp_error(&out, "NOAUTH Authentication required.");
    } else if (!door->replica) {
        kw_str_clear(&out);
        kw_str_resp_error(&out, "LOADING keyway-meta is starting or stopping");
    } else if (known) {
        waits = (call.row->flags & IDLE) && session->head;
        if (!waits) {
            session->last = call.row;
            run_row(&call, insist);
        }
    }
    if (!waits) {
        door->commands++;
        if (!call.slot && out.len && !session->closing) kw_door_reply(session, &out);
    }
    if (out.cap > KW_DOOR_READ_SIZE) kw_str_deinit(&out);
    kw_str_deinit(&door->scratch);
    door->scratch = out;
    return !waits;
}

/* ---- COMMAND, HELP */

static const char *flag_of(const struct kw_door_row *row) {
    return row->kind == WRITE ? "write" : row->kind == READ ? "readonly" : "fast";
}

static bool is_top(const struct kw_door_row *row) {
    return strchr(row->name, '|') == NULL;
}

static void describe(struct kw_str *out, int resp, const struct kw_door_row *row) {
    kw_str_resp_array(out, 10);
    kw_str_resp_text(out, row->name);
    kw_str_resp_int(out, row->arity);
    kw_str_resp_set(out, resp, 1);
    kw_str_resp_simple(out, flag_of(row));
    for (int i = 0; i < 3; i++) kw_str_resp_int(out, 0); /* no keys */
    kw_str_resp_set(out, resp, 0);                       /* ACL categories */
    for (int i = 0; i < 3; i++) kw_str_resp_array(out, 0);
}

static size_t top_count(void) {
    size_t count = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) count += is_top(&rows[i]);
    return count;
}

void kw_door_command(struct kw_door_call *call) {
    kw_str_resp_array(call->out, top_count());
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (is_top(&rows[i])) describe(call->out, call->resp, &rows[i]);
    }
}

void kw_door_command_count(struct kw_door_call *call) {
    kw_str_resp_int(call->out, (long long)top_count());
}

/* Nothing to tell that COMMAND does not: clients take an empty map for "no documentation". */
void kw_door_command_docs(struct kw_door_call *call) {
    kw_str_resp_map(call->out, call->resp, 0);
}

void kw_door_command_info(struct kw_door_call *call) {
    if (call->arg_count == 0) {
        kw_door_command(call);
        return;
    }
    kw_str_resp_array(call->out, call->arg_count);
    for (size_t i = 0; i < call->arg_count; i++) {
        const struct kw_door_row *row = find_exactly(&call->args[i], 1);
        if (row) {
            describe(call->out, call->resp, row);
        } else {
            kw_str_resp_null_array(call->out, call->resp);
        }
    }
}

void kw_door_command_list(struct kw_door_call *call) {
    kw_str_resp_array(call->out, top_count());
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (is_top(&rows[i])) kw_str_resp_text(call->out, rows[i].name);
    }
}

static void help_words(struct kw_str *line, const struct kw_door_row *row) {
    for (const char *c = strchr(row->name, '|') + 1; *c; c++) {
        char upper = (char)(*c >= 'a' && *c <= 'z' ? *c - 'a' + 'A' : *c == '|' ? ' ' : *c);
        kw_str_append(line, &upper, 1);
    }
    if (row->args[0]) kw_str_printf(line, " %s", row->args);
}

void kw_door_help(struct kw_door_call *call) {
    static const char *const first[] = {
        "KEYWAY <subcommand> [<arg> [value] [opt] ...]. Subcommands are:",
        "ID <32 hex digits> <write ...>",
        "    A write with a request id: sent again it gets the first answer again.",
        "LINEAR <read ...>",
        "    A read that only the leader answers.",
    };
    size_t shown = 0;
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) shown += rows[i].help != NULL;
    kw_str_resp_array(call->out, KW_ARRAY_LEN(first) + shown * 2);
    for (size_t i = 0; i < KW_ARRAY_LEN(first); i++) kw_str_resp_simple(call->out, first[i]);
    struct kw_str line = {0};
    for (size_t i = 0; i < KW_ARRAY_LEN(rows); i++) {
        if (!rows[i].help) continue;
        kw_str_clear(&line);
        help_words(&line, &rows[i]);
        kw_str_resp_simple(call->out, line.data);
        kw_str_clear(&line);
        kw_str_printf(&line, "    %s", rows[i].help);
        kw_str_resp_simple(call->out, line.data);
    }
    kw_str_deinit(&line);
}
