/* What command*.c share among themselves: names as words, the extractors, learned commands, pieces of replies. */
#ifndef KW_CLUSTER_COMMAND_INTERNAL_H
#define KW_CLUSTER_COMMAND_INTERNAL_H

#include <string.h>

#include "base/base.h"
#include "cluster/command.h"

/* Extractors for what key specs cannot tell: `getkeys_proc` of the servers. */
enum kw_key_extractor {
    KW_EXTRACT_NONE,
    KW_EXTRACT_SORT,
    KW_EXTRACT_SORT_RO,
    KW_EXTRACT_MIGRATE,
    KW_EXTRACT_GEORADIUS,
    KW_EXTRACT_XREAD,
    KW_EXTRACT_SET,
    KW_EXTRACT_BITFIELD,
    KW_EXTRACT_NUMKEYS_1,     /* NAME numkeys key... */
    KW_EXTRACT_NUMKEYS_2,     /* NAME x numkeys key... */
    KW_EXTRACT_STORE_NUMKEYS, /* NAME destination numkeys key... */
};

/* A name as two words, case folded: equal for names of up to 16 bytes exactly when the names are. */
struct kw_name_words {
    uint64_t head; /* first 8 bytes, zero padded, little endian */
    uint64_t tail; /* last 8 bytes where there are more than 8, else 0 */
};

/* ASCII upper case to lower case in each of 8 bytes; other bytes keep their value. */
static inline uint64_t kw_name_fold(uint64_t word) {
    const uint64_t ones = 0x0101010101010101ULL;
    uint64_t low = word & (ones * 0x7f);
    uint64_t from_a = low + ones * (0x80 - 'A');
    uint64_t after_z = low + ones * (0x80 - 'Z' - 1);
    return word | ((((from_a ^ after_z) & ~word) & (ones * 0x80)) >> 2);
}

static inline uint64_t kw_name_load(const char *bytes, size_t len) {
    uint64_t word = 0;
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
    if (len >= 8) {
        memcpy(&word, bytes, 8);
        return word;
    }
    if (len >= 4) {
        uint32_t low, high;
        memcpy(&low, bytes, 4);
        memcpy(&high, bytes + len - 4, 4);
        return low | (uint64_t)high << (8 * (len - 4));
    }
#endif
    for (size_t i = 0; i < len && i < 8; i++) word |= (uint64_t)(unsigned char)bytes[i] << (8 * i);
    return word;
}

static inline struct kw_name_words kw_name_words(const char *name, size_t len) {
    return (struct kw_name_words){
        .head = kw_name_fold(kw_name_load(name, len)),
        .tail = len > 8 ? kw_name_fold(kw_name_load(name + len - 8, 8)) : 0,
    };
}

/* Spreads a name within a scope (0, or its container's id + 1); use the top bits. As in gen_commands.py. */
static inline uint64_t kw_name_hash(struct kw_name_words words, size_t len, unsigned scope, uint64_t multiplier) {
    uint64_t mixed = ((words.head ^ (words.tail << 1 | words.tail >> 63)) + scope + len) * multiplier;
    return (mixed ^ mixed >> 29) * multiplier;
}

/* The part of a full name by which it is looked up in its scope: "get" of "config|get". */
static inline const char *kw_command_own_name(const struct kw_command *cmd, size_t *len) {
    size_t skip = cmd->parent ? cmd->parent->name_len + 1 : 0;
    *len = cmd->name_len - skip;
    return cmd->name + skip;
}

/* Learned commands: how many, the n-th, and by name. Any thread. */
unsigned kw_command_learned_count(void);
const struct kw_command *kw_command_learned_at(unsigned n);
const struct kw_command *kw_command_learned_find(const char *name, size_t len, unsigned scope);

/*
 * Keys in the server's own order, for COMMAND GETKEYS: as kw_command_keys(),
 * except that whatever has no keys, for good or bad reasons, gives 0. `flags`
 * (or NULL) receives the KW_KEY_* of each key.
 */
int kw_command_keys_as_server(const struct kw_command *cmd, const struct kw_arg *argv, size_t argc,
                              struct kw_key_positions *out, struct kw_key_positions *flags);

/* Whether some form of the command has keys; what COMMAND GETKEYS asks first. */
bool kw_command_has_keys(const struct kw_command *cmd);

/* ---- What the replies to COMMAND are made of (command_reply.c, command_docs.c). */

/* Headers whose shape depends on the protocol, `resp` 2 or 3. */

/* A set of status replies, one a bit that has a name; `sigil` goes before each ("@" or ""). */
void kw_put_bits(struct kw_str *out, int resp, uint64_t bits, const char *const *names, unsigned count,
                 const char *sigil);

/* Key and value within a map; a NULL text is left out. */
void kw_put_text_field(struct kw_str *out, const char *key, const char *text);
void kw_put_int_field(struct kw_str *out, const char *key, int value);

/* The next shown child of `parent` (NULL: the next command or container) from id *at on; NULL at the end. */
const struct kw_command *kw_command_next_shown(const struct kw_command *parent, unsigned *at);
size_t kw_command_count_shown(const struct kw_command *parent);

/* By full name; NULL: unknown, or not shown. */
const struct kw_command *kw_command_find_shown(const struct kw_arg *name);

#endif
