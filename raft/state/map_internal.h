/* What the files of the map share; not for others. */
#ifndef KW_RAFT_STATE_MAP_INTERNAL_H
#define KW_RAFT_STATE_MAP_INTERNAL_H

#include "raft/state/bytes.h"
#include "raft/state/map.h"

enum {
    KW_MAP_SUM = 8,         /* bytes of checksum at the end of a map and of a difference */
    KW_MAP_NODE_BYTES = 54, /* of an encoded node with an empty host */
};

/* An empty map with room for `nodes`, one reference, no slot owned; NULL without memory. */
struct kw_map *kw_map_new_try(unsigned nodes);
/* Whether it is one that could be: ids in order, addresses whole, owners and followed nodes primaries. */
bool kw_map_valid(const struct kw_map *map);
bool kw_map_node_equal(const struct kw_map_node *a, const struct kw_map_node *b);

void kw_map_encode_node(struct kw_str *out, const struct kw_map_node *node);
/* False when the bytes are no node; what it says is for kw_map_valid to judge. */
bool kw_map_decode_node(struct kw_map_node *node, struct kw_reader *reader);

/* Appends the checksum of all from `start` on. */
void kw_map_seal(struct kw_str *out, size_t start);
/* A reader of what lies before the checksum; false when that is wrong, or missing. */
bool kw_map_open(struct kw_reader *reader, const void *bytes, size_t len);

#endif
