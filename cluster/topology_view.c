/*
 * Parses `CLUSTER NODES`: one line a node,
 *
 *   <id> <ip:port@cport[,hostname][,name=value...]> <flags> <primary id or ->
 *   <ping> <pong> <epoch> <link state> [<slot> | <first-last> | [slot->-id] | [slot-<-id] ...]
 *
 * The bytes come from a peer: every field is bounded, a malformed line makes
 * the whole view invalid (half a map is worse than yesterday's), fields that
 * later servers may add after the known ones are passed over. The view is
 * owned by the caller; a failed parse leaves nothing behind.
 */
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "cluster/topology_internal.h"

/* A run of bytes inside the reply. */
struct span {
    const char *at;
    size_t len;
};

/* Cuts the part before the next `mark` off `rest` and steps over the mark; the last part has none. */
static struct span cut(struct span *rest, char mark) {
    const char *end = rest->len > 0 ? memchr(rest->at, mark, rest->len) : NULL;
    struct span part = {rest->at, end ? (size_t)(end - rest->at) : rest->len};
    size_t used = end ? part.len + 1 : part.len;
    rest->at += used;
    rest->len -= used;
    return part;
}

static bool span_is(struct span s, const char *text) {
    return s.len == strlen(text) && memcmp(s.at, text, s.len) == 0;
}

/* The last `mark` of a span, or NULL. */
static const char *find_last(struct span s, char mark) {
    return s.len > 0 ? memrchr(s.at, mark, s.len) : NULL;
}

/* A decimal number of at most `max`; false for anything else. */
static bool span_number(struct span s, uint64_t max, uint64_t *value) {
    uint64_t sum = 0;
    if (s.len == 0 || s.len > 20) return false;
    for (size_t i = 0; i < s.len; i++) {
        unsigned digit = (unsigned)(unsigned char)s.at[i] - '0';
        if (digit > 9 || sum > (UINT64_MAX - digit) / 10) return false;
        sum = sum * 10 + digit;
    }
    *value = sum;
    return sum <= max;
}

static bool span_id(struct span s, char id[KW_TOPO_ID_LEN + 1]) {
    if (s.len != KW_TOPO_ID_LEN) return false;
    for (size_t i = 0; i < s.len; i++) {
        char c = s.at[i];
        if (!((c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'))) return false;
    }
    memcpy(id, s.at, s.len);
    id[s.len] = '\0';
    return true;
}

static bool span_host(struct span s, char host[KW_TOPO_HOST_MAX + 1]) {
    if (s.len > KW_TOPO_HOST_MAX) return false;
    for (size_t i = 0; i < s.len; i++) {
        if (s.at[i] <= ' ' || s.at[i] > '~') return false;
    }
    memcpy(host, s.at, s.len);
    host[s.len] = '\0';
    return true;
}

/* ip:port@cport[,hostname][,name=value...]; the ip may be empty, or IPv6 without brackets. */
static bool parse_address(struct span field, struct kw_topo_view_node *node) {
    struct span address = cut(&field, ',');
    struct span hostname = cut(&field, ',');
    const char *bus = find_last(address, '@');
    if (bus) address.len = (size_t)(bus - address.at);

    const char *colon = find_last(address, ':');
    if (!colon) return false;
    struct span host = {address.at, (size_t)(colon - address.at)};
    struct span port = {colon + 1, address.len - host.len - 1};
    uint64_t number;
    if (!span_number(port, UINT16_MAX, &number) || !span_host(host, node->host)) return false;
    node->port = (unsigned)number;
    if (node->host[0] == '\0' && hostname.len > 0 && !memchr(hostname.at, '=', hostname.len)) {
        return span_host(hostname, node->host);
    }
    return true;
}

struct flags {
    bool myself, handshake, noaddr, primary, replica, fail;
};

static struct flags parse_flags(struct span field) {
    struct flags f = {0};
    while (field.len > 0) {
        struct span flag = cut(&field, ',');
        f.myself = f.myself || span_is(flag, "myself");
        f.handshake = f.handshake || span_is(flag, "handshake");
        f.noaddr = f.noaddr || span_is(flag, "noaddr");
        f.primary = f.primary || span_is(flag, "master") || span_is(flag, "primary");
        f.replica = f.replica || span_is(flag, "slave") || span_is(flag, "replica");
        f.fail = f.fail || span_is(flag, "fail");
    }
    return f;
}

/* [slot->-id] is migrating, [slot-<-id] importing; other things in brackets are not ours to judge. */
static bool parse_open_slot(struct kw_topo_view *view, struct span token) {
    struct span inner = {token.at + 1, token.len - 1};
    struct span slot = cut(&inner, '-');
    uint64_t number;
    if (!span_number(slot, KW_SLOT_COUNT - 1, &number)) return false;
    if (inner.len > 0 && (inner.at[0] == '>' || inner.at[0] == '<')) {
        view->open_slots[number / 64] |= UINT64_C(1) << (number % 64);
    }
    return true;
}

static bool parse_slots(struct kw_topo_view *view, struct span rest, unsigned index) {
    while (rest.len > 0) {
        struct span token = cut(&rest, ' ');
        if (token.len == 0) continue;
        if (token.at[0] == '[') {
            if (!parse_open_slot(view, token)) return false;
            continue;
        }
        bool range = memchr(token.at, '-', token.len) != NULL;
        uint64_t first, last;
        if (!span_number(cut(&token, '-'), KW_SLOT_COUNT - 1, &first)) return false;
        last = first;
        if (range && (!span_number(token, KW_SLOT_COUNT - 1, &last) || last < first)) return false;
        for (uint64_t slot = first; slot <= last; slot++) {
            if (view->owner[slot] >= 0) return false; /* one map cannot give a slot to two nodes */
            view->owner[slot] = (int16_t)index;
            view->owned_slots++;
            view->nodes[index].slot_count++;
        }
    }
    return true;
}

static int parse_line(struct kw_topo_view *view, struct span line, bool *seen_self) {
    struct kw_topo_view_node *node = &view->nodes[view->node_count];
    struct span id = cut(&line, ' '), address = cut(&line, ' '), flag_field = cut(&line, ' '),
                primary = cut(&line, ' ');
    cut(&line, ' '); /* ping sent */
    cut(&line, ' '); /* pong received */
    struct span epoch = cut(&line, ' '), link = cut(&line, ' ');

    memset(node, 0, sizeof(*node));
    if (link.len == 0 || !span_id(id, node->id) || !parse_address(address, node) ||
        !span_number(epoch, UINT64_MAX, &node->epoch)) {
        return KW_EPROTOCOL;
    }
    struct flags flags = parse_flags(flag_field);
    if (flags.handshake && !flags.myself) return 0; /* its id is not yet its own */
    if (flags.primary && flags.replica) return KW_EPROTOCOL;
    if (!span_is(primary, "-") && !span_id(primary, node->primary_id)) return KW_EPROTOCOL;
    node->primary = !flags.replica;
    if (node->primary) node->primary_id[0] = '\0';
    node->fail = flags.fail;
    if (flags.noaddr || node->port == 0) {
        node->host[0] = '\0';
        node->port = 0;
    }
    if (flags.myself) {
        if (*seen_self) return KW_EPROTOCOL;
        *seen_self = true;
        view->self = view->node_count;
    }
    if (!parse_slots(view, line, view->node_count)) return KW_EPROTOCOL;
    view->node_count++;
    return 0;
}

static bool is_loopback(const char *host) {
    return strncmp(host, "127.", 4) == 0 || strcmp(host, "::1") == 0;
}

/* A node that has never been met by address knows itself by none, or by loopback. */
static void repair_self_host(struct kw_topo_view *view, const char *from_host) {
    struct kw_topo_view_node *self = &view->nodes[view->self];
    bool from_remote = !is_loopback(from_host) && strcmp(from_host, "localhost") != 0;
    if (self->port == 0) return;
    if (self->host[0] == '\0' || (is_loopback(self->host) && from_remote)) {
        snprintf(self->host, sizeof(self->host), "%s", from_host);
    }
}

static int parse_text(struct kw_topo_view *view, struct span text) {
    bool seen_self = false;
    while (text.len > 0) {
        struct span line = cut(&text, '\n');
        if (line.len > 0 && line.at[line.len - 1] == '\r') line.len--;
        if (line.len == 0) continue;
        int rc = parse_line(view, line, &seen_self);
        if (rc != 0) return rc;
    }
    return seen_self ? 0 : KW_EPROTOCOL;
}

int kw_topo_view_parse(struct kw_topo_view **out, const char *text, size_t len, const char *from_host) {
    size_t lines = 1;
    for (size_t i = 0; i < len; i++) lines += text[i] == '\n';
    if (lines > KW_TOPO_NODES_MAX + 1) return KW_ELIMIT;

    struct kw_topo_view *view = kw_calloc_try(1, sizeof(*view));
    if (!view) return KW_ENOMEM;
    int rc = KW_ENOMEM;
    view->nodes = kw_calloc_try(lines, sizeof(*view->nodes));
    if (!view->nodes) goto err_after_view;
    memset(view->owner, 0xff, sizeof(view->owner));

    rc = parse_text(view, (struct span){text, len});
    if (rc != 0) goto err_after_view;
    repair_self_host(view, from_host);
    *out = view;
    return 0;

err_after_view:
    kw_topo_view_free(view);
    return rc;
}

void kw_topo_view_free(struct kw_topo_view *view) {
    if (!view) return;
    kw_free(view->nodes);
    kw_free(view);
}

const char *kw_topo_view_self_id(const struct kw_topo_view *view) {
    return view->nodes[view->self].id;
}

bool kw_topo_view_self_primary(const struct kw_topo_view *view) {
    return view->nodes[view->self].primary;
}

static bool view_node_equal(const struct kw_topo_view_node *a, const struct kw_topo_view_node *b) {
    return strcmp(a->id, b->id) == 0 && strcmp(a->primary_id, b->primary_id) == 0 && strcmp(a->host, b->host) == 0 &&
           a->port == b->port && a->primary == b->primary && a->fail == b->fail && a->epoch == b->epoch;
}

bool kw_topo_view_equal(const struct kw_topo_view *a, const struct kw_topo_view *b) {
    if (a->node_count != b->node_count || a->self != b->self || memcmp(a->owner, b->owner, sizeof(a->owner)) != 0 ||
        memcmp(a->open_slots, b->open_slots, sizeof(a->open_slots)) != 0) {
        return false;
    }
    for (unsigned i = 0; i < a->node_count; i++) {
        if (!view_node_equal(&a->nodes[i], &b->nodes[i])) return false;
    }
    return true;
}
