/* See meta_nodes.h. A fixed array; what peers name beyond it is left out. */
#include "raft/client/meta_nodes.h"

#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/error.h"
#include "base/log.h"

enum { AVOID_MIN_MS = 2 * 1000, AVOID_MAX_MS = 60 * 1000 };

static int find(const struct kw_meta_nodes *nodes, const struct kw_seed *seed) {
    for (unsigned i = 0; i < nodes->count; i++) {
        if (nodes->list[i].port == seed->port && strcmp(nodes->list[i].host, seed->host) == 0) return (int)i;
    }
    return -1;
}

static int add(struct kw_meta_nodes *nodes, const struct kw_seed *seed, bool configured) {
    if (nodes->count == KW_META_CLIENT_NODES_MAX) return -1;
    struct kw_meta_node *node = &nodes->list[nodes->count];
    *node = (struct kw_meta_node){.port = seed->port, .configured = configured, .avoid_ms = AVOID_MIN_MS};
    memcpy(node->host, seed->host, sizeof(node->host));
    return (int)nodes->count++;
}

int kw_meta_nodes_init(struct kw_meta_nodes *nodes, const char *text) {
    char why[160];
    struct kw_seed *seeds;
    int count = kw_seeds_parse(&seeds, text, why, sizeof(why));
    nodes->count = nodes->at = 0;
    if (count < 0) {
        kw_log(KW_LOG_WARNING, "metadata nodes: %s", why);
        return count;
    }
    for (int i = 0; i < count; i++) {
        if (add(nodes, &seeds[i], true) < 0) break;
    }
    kw_free(seeds);
    return 0;
}

int kw_meta_nodes_learn(struct kw_meta_nodes *nodes, const char *address, size_t len) {
    char text[KW_META_CLIENT_ADDRESS_SIZE], why[160];
    struct kw_seed *seeds;
    if (len == 0 || len >= sizeof(text)) return -1;
    memcpy(text, address, len);
    text[len] = '\0';
    if (strlen(text) != len) return -1;
    int count = kw_seeds_parse(&seeds, text, why, sizeof(why));
    if (count < 0) return -1;
    int index = count == 1 ? find(nodes, &seeds[0]) : -1;
    if (count == 1 && index < 0) index = add(nodes, &seeds[0], false);
    kw_free(seeds);
    return index;
}

void kw_meta_nodes_members_begin(struct kw_meta_nodes *nodes) {
    for (unsigned i = 0; i < nodes->count; i++) nodes->list[i].named = false;
}

void kw_meta_nodes_member(struct kw_meta_nodes *nodes, const char *address, size_t len) {
    int index = kw_meta_nodes_learn(nodes, address, len);
    if (index >= 0) nodes->list[index].named = true;
}

void kw_meta_nodes_members_end(struct kw_meta_nodes *nodes) {
    unsigned kept = 0, at = nodes->at;
    bool any = false;
    for (unsigned i = 0; i < nodes->count; i++) any = any || nodes->list[i].named;
    if (!any) return; /* an answer without members says nothing of them */
    for (unsigned i = 0; i < nodes->count; i++) {
        if (!nodes->list[i].configured && !nodes->list[i].named && i != at) continue;
        if (i == at) nodes->at = kept;
        nodes->list[kept++] = nodes->list[i];
    }
    nodes->count = kept;
}

void kw_meta_nodes_advance(struct kw_meta_nodes *nodes) {
    nodes->at = (nodes->at + 1) % nodes->count;
}

const struct kw_meta_node *kw_meta_nodes_current(const struct kw_meta_nodes *nodes) {
    return &nodes->list[nodes->at];
}

void kw_meta_nodes_avoid(struct kw_meta_nodes *nodes, unsigned index, uint64_t now_ms) {
    struct kw_meta_node *node = &nodes->list[index];
    node->avoid_until = now_ms + node->avoid_ms;
    node->avoid_ms = node->avoid_ms * 2 > AVOID_MAX_MS ? AVOID_MAX_MS : node->avoid_ms * 2;
}

void kw_meta_nodes_trust(struct kw_meta_nodes *nodes, unsigned index) {
    nodes->list[index].avoid_ms = AVOID_MIN_MS;
    nodes->list[index].avoid_until = 0;
}

bool kw_meta_nodes_avoided(const struct kw_meta_nodes *nodes, unsigned index, uint64_t now_ms) {
    return now_ms < nodes->list[index].avoid_until;
}

void kw_meta_node_print(const struct kw_meta_node *node, char out[KW_META_CLIENT_ADDRESS_SIZE]) {
    bool v6 = strchr(node->host, ':') != NULL;
    snprintf(out, KW_META_CLIENT_ADDRESS_SIZE, v6 ? "[%s]:%u" : "%s:%u", node->host, node->port);
}
