/*
 * Key extraction over any argv of any command. The input: a command's full name
 * and a newline (or two bytes that choose one), then arguments, each behind a
 * byte with its length; a length byte with the top
 * bit set picks a word from a dictionary instead (so that keywords and numbers
 * are met often), the last of which stands for a payload that is not contiguous.
 *
 * Judged: no crash; positions ascending and inside argv; the early form never
 * contradicts the whole one, whatever prefix is known.
 */
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "base/str.h"
#include "cluster/command.h"

enum { ARGS_MAX = 40 };

static const char *const words[] = {"store", "STOREDIST", "streams",  "keys",  "auth",
                                    "auth2", "get",       "by",       "limit", "count",
                                    "block", "group",     "noack",    "0",     "1",
                                    "2",     "3",         "-1",       "2x",    "",
                                    "set",   "incrby",    "overflow", "copy",  "99999999999999999999",
                                    NULL};

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static size_t parse_args(const uint8_t *data, size_t size, struct kw_arg *argv, size_t argc) {
    size_t at = 0;
    while (at < size && argc < ARGS_MAX) {
        uint8_t head = data[at++];
        if (head & 0x80) {
            const char *word = words[(head & 0x7f) % KW_ARRAY_LEN(words)];
            argv[argc++] = (struct kw_arg){.data = word, .len = word ? strlen(word) : 100000};
        } else {
            size_t len = head < size - at ? head : size - at;
            argv[argc++] = (struct kw_arg){.data = (const char *)data + at, .len = len};
            at += len;
        }
    }
    return argc;
}

/* Name of the chosen command as one or two arguments. */
static size_t put_name(const struct kw_command *cmd, struct kw_arg *argv) {
    if (!cmd->parent) {
        argv[0] = (struct kw_arg){.data = cmd->name, .len = cmd->name_len};
        return 1;
    }
    size_t skip = cmd->parent->name_len + 1;
    argv[0] = (struct kw_arg){.data = cmd->name, .len = cmd->parent->name_len};
    argv[1] = (struct kw_arg){.data = cmd->name + skip, .len = cmd->name_len - skip};
    return 2;
}

static void check_early(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc, int whole,
                        const struct kw_key_positions *keys) {
    struct kw_key_positions early;
    kw_key_positions_init(&early);
    for (size_t have = 0; have <= argc; have++) {
        /* Only the prefix exists: reading beyond it is a crash under AddressSanitizer. */
        struct kw_arg *prefix = malloc(have * sizeof(*prefix) + 1);
        KW_ASSERT(prefix);
        if (have) memcpy(prefix, argv, have * sizeof(*prefix));
        int known = kw_command_keys_early(cmd, prefix, argc, have, &early);
        free(prefix);
        if (known < 0) KW_ASSERT(known == whole);
        if (known == 1) {
            KW_ASSERT(whole == (int)early.count);
            for (unsigned i = 0; i < early.count; i++) KW_ASSERT(early.pos[i] == keys->pos[i] && early.pos[i] < have);
        }
        if (have == argc) KW_ASSERT(known != 0);
    }
    kw_key_positions_deinit(&early);
}

/* The command that the input is about; *used: how many bytes said so. */
static const struct kw_command *choose(const uint8_t *data, size_t size, size_t *used) {
    const uint8_t *end = memchr(data, '\n', size);
    const struct kw_command *named = end ? kw_command_by_full_name((const char *)data, (size_t)(end - data)) : NULL;
    *used = named ? (size_t)(end - data) + 1 : 2;
    return named ? named : kw_command_by_id((unsigned)(data[0] << 8 | data[1]) % kw_command_table_count());
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 2) return 0;
    size_t used;
    const struct kw_command *cmd = choose(data, size, &used);
    struct kw_arg argv[ARGS_MAX + 2];
    size_t argc = parse_args(data + used, size - used, argv, put_name(cmd, argv));
    const struct kw_command *resolved = kw_command_resolve(argv, argc);
    KW_ASSERT(resolved == cmd || (resolved && resolved->parent == cmd));
    cmd = resolved;

    struct kw_key_positions keys;
    kw_key_positions_init(&keys);
    int count = kw_command_keys(cmd, argv, argc, &keys);
    KW_ASSERT(count < 0 ? keys.count == 0 : keys.count == (unsigned)count);
    for (unsigned i = 0; i < keys.count; i++) {
        KW_ASSERT(keys.pos[i] >= 1 && keys.pos[i] < argc);
        KW_ASSERT(i == 0 || keys.pos[i] > keys.pos[i - 1]);
    }
    check_early(cmd, argv, argc, count, &keys);
    kw_key_positions_deinit(&keys);

    kw_command_by_full_name((const char *)data, size);
    struct kw_str out = {0};
    kw_command_reply_getkeys_and_flags(&out, 2, argv, argc);
    kw_command_reply_list(&out, 2, argv + 1, argc - 1);
    kw_str_deinit(&out);
    return 0;
}
