/*
 * A cursor steps from element to element; an aggregate's children simply
 * follow it. Skipping counts elements and needs no stack. Nothing is
 * allocated, but for the output of the conversion.
 */
#include "raft/client/meta_frame.h"

#include <string.h>

#include "base/error.h"

/* One element: a string with its payload, a line, or the header of an aggregate. */
struct item {
    char type;
    bool null;
    uint64_t count;   /* elements that follow as its children */
    struct kw_arg at; /* payload of a string, text of a line */
};

struct cursor {
    const char *at, *end;
};

static bool is_string(char type) {
    return type == '$' || type == '=' || type == '!';
}

static bool is_aggregate(char type) {
    return type == '*' || type == '%' || type == '~' || type == '>' || type == '|';
}

static bool next(struct cursor *c, struct item *item) {
    const char *lf = c->at < c->end ? memchr(c->at, '\n', (size_t)(c->end - c->at)) : NULL;
    if (!lf || lf - c->at < 2 || lf[-1] != '\r') return false;
    *item = (struct item){.type = c->at[0], .at = {c->at + 1, (size_t)(lf - c->at) - 2}};
    c->at = lf + 1;
    if (item->type == '_') item->null = true;
    if (!is_string(item->type) && !is_aggregate(item->type)) return true;
    if (item->at.len == 2 && memcmp(item->at.data, "-1", 2) == 0) {
        item->null = true;
        return true;
    }
    size_t number = kw_digits(item->at.data, item->at.data + item->at.len);
    if (number == SIZE_MAX) return false;
    if (is_aggregate(item->type)) {
        item->count = item->type == '%' || item->type == '|' ? 2 * (uint64_t)number : number;
        return true;
    }
    if ((size_t)(c->end - c->at) < 2 || number > (size_t)(c->end - c->at) - 2) return false;
    item->at = (struct kw_arg){c->at, number};
    c->at += number + 2;
    return true;
}

/* Steps over `count` elements with all that is in them. */
static bool skip(struct cursor *c, uint64_t count) {
    struct item item;
    for (; count > 0; count--) {
        if (!next(c, &item)) return false;
        count += item.count + (item.type == '|'); /* attributes stand before their element */
    }
    return true;
}

static bool arg_is(const struct kw_arg *arg, const char *text) {
    return arg->len == strlen(text) && memcmp(arg->data, text, arg->len) == 0;
}

static bool next_text(struct cursor *c, struct kw_arg *out) {
    struct item item;
    if (!next(c, &item) || item.null || (item.type != '$' && item.type != '+')) return false;
    *out = item.at;
    return true;
}

/* An integer, or a string of digits. */
static bool next_number(struct cursor *c, uint64_t *out) {
    struct item item;
    if (!next(c, &item) || item.null || (item.type != ':' && item.type != '$')) return false;
    size_t number = kw_digits(item.at.data, item.at.data + item.at.len);
    *out = number;
    return number != SIZE_MAX;
}

/* ---- pushes ---- */

static int parse_map(struct kw_meta_push *out, struct cursor *c, uint64_t fields) {
    struct kw_arg how;
    if (fields < 3 || !next_number(c, &out->number) || !next_text(c, &how) || !next_text(c, &out->bytes)) {
        return KW_EPROTOCOL;
    }
    if (arg_is(&how, "full")) {
        out->kind = KW_META_PUSH_MAP;
    } else if (arg_is(&how, "diff")) {
        out->kind = KW_META_PUSH_DIFF;
    } else {
        return KW_EPROTOCOL;
    }
    return 0;
}

static int parse_alive(struct kw_meta_push *out, struct cursor *c, uint64_t fields) {
    if (fields < 3 || !next_number(c, &out->number) || !next_number(c, &out->leader_id) ||
        !next_text(c, &out->leader)) {
        return KW_EPROTOCOL;
    }
    out->kind = KW_META_PUSH_ALIVE;
    return 0;
}

int kw_meta_push_parse(struct kw_meta_push *out, const char *frame, size_t len) {
    struct cursor c = {frame, frame + len};
    struct item head;
    struct kw_arg subject, what;
    *out = (struct kw_meta_push){.kind = KW_META_PUSH_OTHER};
    if (!next(&c, &head) || head.type != '>' || head.count < 1 || !next_text(&c, &subject)) return KW_EPROTOCOL;
    if (!arg_is(&subject, "keyway")) return 0;
    if (head.count < 2 || !next_text(&c, &what)) return KW_EPROTOCOL;
    if (arg_is(&what, "map")) return parse_map(out, &c, head.count - 2);
    if (arg_is(&what, "alive")) return parse_alive(out, &c, head.count - 2);
    return 0;
}

/* ---- replies ---- */

/* Puts the cursor before the value of `name` in a map whose header was read; false: it has none. */
static bool find_field(struct cursor *c, const struct item *map, const char *name) {
    if (map->type != '%') return false;
    for (uint64_t i = 0; i < map->count; i += 2) {
        struct item key;
        if (!next(c, &key) || key.count > 0) return false;
        if ((key.type == '$' || key.type == '+') && arg_is(&key.at, name)) return true;
        if (!skip(c, 1)) return false;
    }
    return false;
}

void kw_meta_members_each(const char *frame, size_t len, kw_meta_member_fn *fn, void *ctx) {
    struct cursor c = {frame, frame + len};
    struct item status, members, member;
    if (!next(&c, &status) || !find_field(&c, &status, "members") || !next(&c, &members) || members.type != '*') return;
    for (uint64_t i = 0; i < members.count; i++) {
        struct cursor inside = c;
        struct kw_arg address;
        if (!next(&inside, &member)) return;
        if (find_field(&inside, &member, "address") && next_text(&inside, &address)) fn(ctx, address.data, address.len);
        if (!skip(&c, 1)) return;
    }
}

bool kw_meta_is_error(const char *frame, size_t len, const char *code) {
    size_t code_len = strlen(code);
    return len > code_len + 1 && frame[0] == '-' && memcmp(frame + 1, code, code_len) == 0 &&
           (frame[code_len + 1] == ' ' || frame[code_len + 1] == '\r');
}

bool kw_meta_is_notleader(const char *frame, size_t len, struct kw_arg *address) {
    static const char code[] = "-NOTLEADER ";
    size_t code_len = sizeof(code) - 1;
    if (!kw_meta_is_error(frame, len, "NOTLEADER") || len <= code_len) return false;
    const char *at = frame + code_len, *end = at;
    while (end<frame + len && * end> ' ') end++;
    *address = (struct kw_arg){at, (size_t)(end - at)};
    return true;
}

/* ---- RESP2 ---- */

static void put_line(struct kw_str *out, char type, const struct kw_arg *text) {
    kw_str_append(out, &type, 1);
    kw_str_append(out, text->data, text->len);
    kw_str_append(out, "\r\n", 2);
}

static int put_resp2(struct kw_str *out, struct cursor *c, const struct item *item) {
    switch (item->type) {
    case '|': return skip(c, item->count) ? 0 : KW_EPROTOCOL;
    case '*':
    case '%':
    case '~':
    case '>':
        if (item->null) {
            kw_str_append_text(out, "*-1\r\n");
        } else {
            kw_str_resp_array(out, (size_t)item->count);
        }
        return 0;
    case '_': kw_str_resp_nil(out); return 0;
    case '#': kw_str_resp_int(out, item->at.len > 0 && item->at.data[0] == 't'); return 0;
    case '!': kw_str_resp_error(out, "%.*s", (int)item->at.len, item->at.data); return 0;
    case ',':
    case '(': kw_str_resp_bulk(out, item->at.data, item->at.len); return 0;
    case '=':
        if (item->at.len < 4) return KW_EPROTOCOL;
        kw_str_resp_bulk(out, item->at.data + 4, item->at.len - 4);
        return 0;
    case '$':
        if (item->null) {
            kw_str_resp_nil(out);
        } else {
            kw_str_resp_bulk(out, item->at.data, item->at.len);
        }
        return 0;
    default: put_line(out, item->type, &item->at); return 0;
    }
}

int kw_meta_to_resp2(struct kw_str *out, const char *frame, size_t len) {
    struct cursor c = {frame, frame + len};
    struct item item;
    while (c.at < c.end) {
        if (!next(&c, &item) || put_resp2(out, &c, &item) != 0) return KW_EPROTOCOL;
    }
    return 0;
}
