/* The table itself. Keys have 16 bytes, as redis-benchmark's have. Owns nothing, cannot fail. */
#include "tests/bench/load/workloads.h"

#include <stddef.h>
#include <string.h>

#include "base/base.h"

/*
 * Token bucket: ARGV is the time in ms, the capacity, tokens a second. The state of a key has constant size, so that a
 * run measures the same at its end as at its beginning.
 */
const char load_script[] = "local now, capacity, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])\n"
                           "local bucket = redis.call('HMGET', KEYS[1], 'tokens', 'at')\n"
                           "local tokens, at = tonumber(bucket[1]) or capacity, tonumber(bucket[2]) or now\n"
                           "tokens = math.min(capacity, tokens + math.max(0, now - at) * rate / 1000)\n"
                           "local allowed = tokens >= 1 and 1 or 0\n"
                           "tokens = tokens - allowed\n"
                           "redis.call('HSET', KEYS[1], 'tokens', tostring(tokens), 'at', now)\n"
                           "redis.call('PEXPIRE', KEYS[1], math.ceil(capacity * 1000 / rate))\n"
                           "return {allowed, math.floor(tokens)}\n";

static const char fill_key[] = "SET key:__item__ __value__";

static const struct load_workload table[] = {
    {.name = "ping", .summary = "PING", .commands = {"PING"}},
    {.name = "get", .summary = "GET of a key", .commands = {"GET key:__rand__"}, .fill = fill_key},
    {.name = "set", .summary = "SET of a key", .commands = {"SET key:__rand__ __value__"}, .fill = fill_key},
    {.name = "mixed",
     .summary = "GET and SET in turn",
     .commands = {"GET key:__rand__", "SET key:__rand__ __value__"},
     .fill = fill_key},
    {.name = "mget10",
     .summary = "MGET of 10 keys",
     .commands = {"MGET"},
     .repeat = "key:__rand__",
     .times = 10,
     .fill = fill_key},
    {.name = "mset10",
     .summary = "MSET of 10 keys",
     .commands = {"MSET"},
     .repeat = "key:__rand__ __value__",
     .times = 10,
     .fill = fill_key},
    {.name = "mget10000",
     .summary = "MGET of 10,000 keys",
     .commands = {"MGET"},
     .repeat = "key:__rand__",
     .times = 10000,
     .fill = fill_key},
    {.name = "evalsha",
     .summary = "a token-bucket limiter of one user, by EVALSHA",
     .commands = {"EVALSHA __sha__ 1 limit:{user:__rand__} __now__ 100 10"},
     .script = true},
    {.name = "leaderboard",
     .summary = "ZINCRBY, ZREVRANK, a page in the middle, a page at the top, ZSCORE",
     .commands = {"ZINCRBY board:__board__ __points__ member:__item__", "ZREVRANK board:__board__ member:__item__",
                  "ZREVRANGE board:__board__ __rank__ __rank_end__ WITHSCORES",
                  "ZREVRANGE board:__board__ 0 9 WITHSCORES", "ZSCORE board:__board__ member:__item__"},
     .fill = "ZADD board:__board__ __points____points__ member:__item__"},
    {.name = "xadd",
     .summary = "XADD to one of --keys streams, trimmed",
     .commands = {"XADD stream:__rand__ MAXLEN ~ 100000 * f __value__"}},
    {.name = "stream",
     .summary = "XADD, XREADGROUP of what was added and XACK of what was read, 8:1:1; a stream a connection",
     .kind = LOAD_STREAM},
    {.name = "fanout",
     .summary = "PUBLISH to --subscribers connections; latencies of single deliveries are each_*",
     .kind = LOAD_FANOUT},
    {.name = "idle",
     .summary = "one GET a connection, then `ready`; they are held until standard input ends",
     .kind = LOAD_IDLE,
     .commands = {"GET key:__rand__"}},
    {.name = "command", .summary = "those of --command in turn"},
};

const struct load_workload *load_workload_find(const char *name) {
    for (size_t i = 0; i < KW_ARRAY_LEN(table); i++) {
        if (strcmp(table[i].name, name) == 0) return &table[i];
    }
    return NULL;
}

const struct load_workload *load_workload_next(const struct load_workload *workload) {
    const struct load_workload *next = workload ? workload + 1 : table;
    return next < table + KW_ARRAY_LEN(table) ? next : NULL;
}
