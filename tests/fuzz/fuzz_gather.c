/*
 * Replies of nodes that are understood and not only moved: what the scanner
 * takes for a whole RESP2 reply is made a tree, from pieces of any length, and
 * the tree is walked. The same bytes in one piece give the same tree. The first
 * byte seeds the lengths of the pieces.
 */
#include <stdint.h>
#include <string.h>

#include <hiredis/hiredis.h>

#include "base/base.h"
#include "base/buffer.h"
#include "base/resp_reply.h"
#include "base/str.h"
#include "proxy/local/gather.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static struct redisReply *parse(struct kw_pool *pool, const char *bytes, size_t len, size_t piece_max, uint32_t seed) {
    struct kw_outq queue = {0};
    for (size_t at = 0; at < len;) {
        seed = seed * 1664525 + 1013904223;
        size_t piece = 1 + (seed >> 8) % piece_max;
        if (piece > len - at) piece = len - at;
        struct kw_chunk *chunk = kw_chunk_new_try(pool, piece);
        KW_ASSERT(chunk);
        memcpy(chunk->data, bytes + at, piece);
        chunk->len = piece;
        KW_ASSERT(kw_outq_ref_try(&queue, pool, chunk, 0, piece) == 0);
        kw_chunk_unref(chunk);
        at += piece;
    }
    struct redisReply *reply = kw_reply_parse(&queue);
    kw_outq_clear(&queue, pool);
    return reply;
}

/* Every byte that the tree promises is read. */
static void print(const struct redisReply *reply, struct kw_str *out) {
    kw_str_printf(out, "%d %lld %zu ", reply->type, reply->type == REDIS_REPLY_INTEGER ? reply->integer : 0,
                  kw_reply_len(reply));
    if (reply->type == REDIS_REPLY_STRING || reply->type == REDIS_REPLY_STATUS || reply->type == REDIS_REPLY_ERROR) {
        kw_str_append(out, reply->str, reply->len);
    }
    for (size_t i = 0; i < kw_reply_len(reply); i++) {
        KW_ASSERT(kw_reply_at(reply, i, reply->element[i]->type) == reply->element[i]);
        print(reply->element[i], out);
    }
    KW_ASSERT(!kw_reply_at(reply, kw_reply_len(reply), REDIS_REPLY_STRING));
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size < 1) return 0;
    const char *bytes = (const char *)data + 1;
    struct kw_reply_scan scan = {0};
    size_t len = 0;
    if (kw_reply_scan(&scan, bytes, size - 1, &len) != KW_REPLY_DONE) return 0;
    struct kw_pool *pool = kw_pool_new();
    struct kw_str texts[2] = {0};
    for (int i = 0; i < 2; i++) {
        struct redisReply *reply = parse(pool, bytes, len, i ? 1 + data[0] % 32U : SIZE_MAX, data[0]);
        if (!reply) continue;
        print(reply, &texts[i]);
        freeReplyObject(reply);
    }
    KW_ASSERT(texts[0].len == texts[1].len &&
              (!texts[0].len || memcmp(texts[0].data, texts[1].data, texts[0].len) == 0));
    for (int i = 0; i < 2; i++) kw_str_deinit(&texts[i]);
    kw_pool_free(pool);
    return 0;
}
