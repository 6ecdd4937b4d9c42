/* Words of a request, and the small pieces of replies. Pure: no connection, no state. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "base/base.h"
#include "base/error.h"
#include "raft/door/door_internal.h"

enum { SHOWN_MAX = 128 };

bool kw_door_is(const struct kw_arg *arg, const char *word) {
    return arg->len == strlen(word) && strncasecmp(arg->data, word, arg->len) == 0;
}

bool kw_door_u64(const struct kw_arg *arg, uint64_t *out) {
    if (arg->len == 0 || arg->len > 20 || (arg->len > 1 && arg->data[0] == '0')) return false;
    uint64_t value = 0;
    for (size_t i = 0; i < arg->len; i++) {
        unsigned digit = (unsigned)(unsigned char)arg->data[i] - '0';
        if (digit > 9 || value > (UINT64_MAX - digit) / 10) return false;
        value = value * 10 + digit;
    }
    *out = value;
    return true;
}

bool kw_door_int(const struct kw_arg *arg, long long *out) {
    bool negative = arg->len > 0 && arg->data[0] == '-';
    struct kw_arg digits = {arg->data + negative, arg->len - negative};
    uint64_t value;
    if (!kw_door_u64(&digits, &value) || value > (uint64_t)INT64_MAX) return false;
    *out = negative ? -(long long)value : (long long)value;
    return true;
}

static int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

bool kw_door_hex_id(const struct kw_arg *arg, unsigned char out[KW_REQUEST_ID_SIZE]) {
    unsigned char any = 0;
    if (arg->len != (size_t)KW_REQUEST_ID_SIZE * 2) return false;
    for (size_t i = 0; i < KW_REQUEST_ID_SIZE; i++) {
        int high = hex_digit(arg->data[i * 2]), low = hex_digit(arg->data[i * 2 + 1]);
        if (high < 0 || low < 0) return false;
        out[i] = (unsigned char)(high << 4 | low);
        any |= out[i];
    }
    return any != 0; /* all zero stands for none */
}

bool kw_door_expect(struct kw_str *out, const struct kw_arg *words, size_t count, bool may_be_absent,
                    uint64_t *expect) {
    *expect = KW_EXPECT_ANY;
    if (count == 0) return true;
    if (count != 2 || !kw_door_is(&words[0], "expect")) {
        kw_str_resp_error(out, "ERR syntax error");
        return false;
    }
    if (may_be_absent && kw_door_is(&words[1], "absent")) {
        *expect = KW_EXPECT_ABSENT;
        return true;
    }
    if (kw_door_u64(&words[1], expect) && *expect != KW_EXPECT_ANY) return true;
    kw_str_resp_error(out, may_be_absent ? "ERR EXPECT takes a version or ABSENT" : "ERR EXPECT takes a version");
    return false;
}

static const struct kw_door_table tables[] = {
#define X(name, text, key, value, count) {KW_META_##name, text, key, value},
    KW_META_TABLES(X)
#undef X
};

bool kw_door_table_find(struct kw_str *out, const struct kw_arg *word, struct kw_door_table *table) {
    for (size_t i = 0; i < KW_ARRAY_LEN(tables); i++) {
        if (!kw_door_is(word, tables[i].name)) continue;
        *table = tables[i];
        return true;
    }
    char names[160] = "";
    for (size_t i = 0, at = 0; i < KW_ARRAY_LEN(tables); i++) {
        at += (size_t)snprintf(names + at, sizeof(names) - at, " %s", tables[i].name);
    }
    kw_str_resp_error(out, "ERR there is no table '%.*s'; there are:%s", kw_door_shown(word), word->data, names);
    return false;
}

bool kw_door_table_fits(struct kw_str *out, const struct kw_door_table *table, const struct kw_arg *key,
                        const struct kw_arg *value) {
    if (key->len == 0) {
        kw_str_resp_error(out, "ERR the key is empty");
    } else if (key->len > table->key_max) {
        kw_str_resp_error(out, "ERR the key has %zu bytes, a key in %s may have %zu", key->len, table->name,
                          table->key_max);
    } else if (value && value->len > table->value_max) {
        kw_str_resp_error(out, "ERR the value has %zu bytes, a value in %s may have %zu", value->len, table->name,
                          table->value_max);
    } else {
        return true;
    }
    return false;
}

int kw_door_shown(const struct kw_arg *arg) {
    return (int)(arg->len < SHOWN_MAX ? arg->len : SHOWN_MAX);
}

void kw_door_pair_int(struct kw_str *out, const char *name, long long value) {
    kw_str_resp_text(out, name);
    kw_str_resp_int(out, value);
}

void kw_door_pair_bulk(struct kw_str *out, const char *name, const void *bytes, size_t len) {
    kw_str_resp_text(out, name);
    kw_str_resp_bulk(out, bytes, len);
}

void kw_door_pair_text(struct kw_str *out, const char *name, const char *value) {
    kw_door_pair_bulk(out, name, value, strlen(value));
}

void kw_door_host_port(char out[KW_DOOR_ADDRESS_SIZE], const char *host, unsigned port) {
    bool v6 = strchr(host, ':') != NULL;
    snprintf(out, KW_DOOR_ADDRESS_SIZE, "%s%s%s:%u", v6 ? "[" : "", host, v6 ? "]" : "", port);
}

struct kw_arg kw_door_word(const char **at, const char *end) {
    while (*at < end && **at == ' ') (*at)++;
    const char *first = *at;
    while (*at < end && **at != ' ') (*at)++;
    return (struct kw_arg){first, (size_t)(*at - first)};
}

void kw_door_syntax(struct kw_door_call *call) {
    kw_str_resp_error(call->out, "ERR syntax error");
}
