/*
 * ACL for a server that has one user, `default`, who may do everything and
 * whose password is the setting requirepass. What would change users is
 * refused by the table (serve_table.inc).
 */
#include <errno.h>
#include <string.h>
#include <sys/random.h>

#include "base/base.h"
#include "base/sha256.h"
#include "proxy/local/local.h"
#include "proxy/server.h"
#include "proxy/session/session.h"
#include "proxy/worker.h"

enum { GENPASS_DEFAULT_BITS = 256, GENPASS_MAX_BITS = 4096, NAME_SHOWN_BYTES = 128 };

static int shown(size_t len) {
    return len > NAME_SHOWN_BYTES ? NAME_SHOWN_BYTES : (int)len;
}

static bool is_default(const struct kw_arg *name) {
    return name->len == 7 && memcmp(name->data, "default", 7) == 0;
}

/* More arguments than the subcommand takes: the words that Redis has for those that check it themselves. */
static void too_many(struct kw_local_call *call) {
    const struct kw_arg *word = &call->argv[1];
    kw_str_resp_error(call->out, "ERR unknown subcommand or wrong number of arguments for '%.*s'. Try ACL HELP.",
                      shown(word->len), word->data);
}

void kw_local_acl_whoami(struct kw_local_call *call) {
    kw_str_resp_text(call->out, "default");
}

void kw_local_acl_users(struct kw_local_call *call) {
    kw_str_resp_array(call->out, 1);
    kw_str_resp_text(call->out, "default");
}

/* ---- The one user */

/* The digest of the password as Redis shows it; false when there is none. */
static bool password_digest(const struct kw_local_call *call, char hex[KW_SHA256_HEX_SIZE]) {
    const struct kw_limits *limits = kw_server_limits(call->session->worker->server);
    if (!limits->needs_password) return false;
    kw_sha256_hex(limits->password, strlen(limits->password), hex);
    return true;
}

void kw_local_acl_list(struct kw_local_call *call) {
    char hex[KW_SHA256_HEX_SIZE];
    struct kw_str line = {0};
    if (password_digest(call, hex)) {
        kw_str_printf(&line, "user default on #%s ~* &* +@all", hex);
    } else {
        kw_str_append_text(&line, "user default on nopass ~* &* +@all");
    }
    kw_str_resp_array(call->out, 1);
    kw_str_resp_bulk(call->out, line.data, line.len);
    kw_str_deinit(&line);
}

void kw_local_acl_getuser(struct kw_local_call *call) {
    char hex[KW_SHA256_HEX_SIZE];
    struct kw_str *out = call->out;
    if (!is_default(&call->argv[2])) {
        kw_str_resp_null(out, call->resp);
        return;
    }
    bool has_password = password_digest(call, hex);
    kw_str_resp_map(out, call->resp, 6);
    kw_str_resp_text(out, "flags");
    kw_str_resp_set(out, call->resp, has_password ? 1 : 2);
    kw_str_resp_text(out, "on");
    if (!has_password) kw_str_resp_text(out, "nopass");
    kw_str_resp_text(out, "passwords");
    kw_str_resp_array(out, has_password ? 1 : 0);
    if (has_password) kw_str_resp_text(out, hex);
    kw_str_resp_text(out, "commands");
    kw_str_resp_text(out, "+@all");
    kw_str_resp_text(out, "keys");
    kw_str_resp_text(out, "~*");
    kw_str_resp_text(out, "channels");
    kw_str_resp_text(out, "&*");
    kw_str_resp_text(out, "selectors");
    kw_str_resp_array(out, 0);
}

/* The default user may do everything, so only what no user could do is an error. */
void kw_local_acl_dryrun(struct kw_local_call *call) {
    const struct kw_arg *user = &call->argv[2], *name = &call->argv[3];
    if (!is_default(user)) {
        kw_str_resp_error(call->out, "ERR User '%.*s' not found", shown(user->len), user->data);
        return;
    }
    const struct kw_command *cmd = kw_command_lookup(name->data, name->len);
    if (cmd && cmd->container && call->argc > 4) {
        cmd = kw_command_lookup_sub(cmd, call->argv[4].data, call->argv[4].len);
    }
    if (!cmd) {
        kw_str_resp_error(call->out, "ERR Command '%.*s' not found", shown(name->len), name->data);
    } else if (!kw_command_arity_ok(cmd, call->argc - 3)) {
        kw_str_resp_error(call->out, "ERR wrong number of arguments for '%s' command", cmd->name);
    } else {
        kw_str_resp_simple(call->out, "OK");
    }
}

/* ---- Categories */

static void list_categories(struct kw_local_call *call) {
    kw_str_resp_array(call->out, KW_ACL_BITS);
    for (unsigned bit = 0; bit < KW_ACL_BITS; bit++) kw_str_resp_text(call->out, kw_command_acl_category(bit));
}

/* COMMAND LIST FILTERBY ACLCAT has the same members, subcommands too. */
void kw_local_acl_cat(struct kw_local_call *call) {
    const struct kw_arg *category = &call->argv[2];
    if (call->argc > 3) {
        too_many(call);
    } else if (call->argc == 2) {
        list_categories(call);
    } else if (kw_command_acl_category_find(category->data, category->len) < 0) {
        kw_str_resp_error(call->out, "ERR Unknown category '%.*s'", shown(category->len), category->data);
    } else {
        const struct kw_arg filter[] = {{"filterby", 8}, {"aclcat", 6}, *category};
        kw_command_reply_list(call->out, call->resp, filter, KW_ARRAY_LEN(filter));
    }
}

/* ---- GENPASS, LOG */

/* False when the kernel gives no random bytes. */
static bool random_bytes(unsigned char *out, size_t len) {
    while (len) {
        ssize_t got = getrandom(out, len, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return false;
        out += got;
        len -= (size_t)got;
    }
    return true;
}

void kw_local_acl_genpass(struct kw_local_call *call) {
    static const char digits[] = "0123456789abcdef";
    unsigned char bytes[GENPASS_MAX_BITS / 8] = {0};
    char text[GENPASS_MAX_BITS / 4];
    long long bits = GENPASS_DEFAULT_BITS;
    if (call->argc > 3) {
        too_many(call);
        return;
    }
    if (call->argc == 3 && !kw_arg_int(&call->argv[2], &bits)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
        return;
    }
    if (bits <= 0 || bits > GENPASS_MAX_BITS) {
        kw_str_resp_error(call->out, "ERR ACL GENPASS argument must be the number of bits for the output password, a "
                                     "positive number up to 4096");
        return;
    }
    size_t chars = ((size_t)bits + 3) / 4;
    if (!random_bytes(bytes, (chars + 1) / 2)) {
        kw_str_resp_error(call->out, "ERR no random bytes are to be had");
        return;
    }
    for (size_t i = 0; i < chars; i++) text[i] = digits[i % 2 ? bytes[i / 2] & 15 : bytes[i / 2] >> 4];
    kw_str_resp_bulk(call->out, text, chars);
}

/* Nothing is ever denied to the default user, and what failed to log in is not kept: the log is empty. */
void kw_local_acl_log(struct kw_local_call *call) {
    long long count;
    if (call->argc > 3) {
        too_many(call);
    } else if (call->argc == 3 && kw_arg_is(&call->argv[2], "reset")) {
        kw_str_resp_simple(call->out, "OK");
    } else if (call->argc == 3 && !kw_arg_int(&call->argv[2], &count)) {
        kw_str_resp_error(call->out, "ERR value is not an integer or out of range");
    } else {
        kw_str_resp_array(call->out, 0);
    }
}
