#!/usr/bin/python3
"""
Random commands compared with one plain redis-server, reply by reply and byte by byte: strings, hashes, lists, sets,
sorted sets, streams with explicit ids, bitmaps, HyperLogLogs, scripts of one slot, MGET/MSET/DEL/EXISTS/TOUCH/UNLINK
over several slots, wrong types, wrong arity, unknown commands. The proxy gets pipelines of up to 500 commands in
chunks of random size; the judge gets the same bytes whole.

KEYWAY_RANDOM_COMMANDS says how many (default 200000), KEYWAY_TEST_SEED which ones.
"""

import os
import random

import harness

COMMANDS = int(os.environ.get("KEYWAY_RANDOM_COMMANDS", "200000"))
CLIENTS = 4

# Replies whose order depends on a hash seed: compared after sorting.
UNORDERED = {b"SMEMBERS", b"SINTER", b"SUNION", b"SDIFF", b"HKEYS", b"HVALS", b"HGETALL", b"KEYS"}

SCRIPTS = [
    "return redis.call('INCRBY', KEYS[1], ARGV[1])",
    "redis.call('RPUSH', KEYS[1], ARGV[1]); return redis.call('LRANGE', KEYS[1], 0, -1)",
    "return {redis.call('EXISTS', KEYS[1]), redis.call('TYPE', KEYS[1]), ARGV[1], 7, {1, {2}}, false}",
    "return redis.error_reply('MINE ' .. ARGV[1])",
    "return redis.pcall('HGET', KEYS[1], ARGV[1])",
    "return redis.call('GET', KEYS[1])",
    "return #KEYS",
    "return redis.status_reply(ARGV[1])",
]


class Generator:
    """Commands over a small key space, so that types clash, keys exist and keys are gone."""

    def __init__(self, seed, client):
        self.r = random.Random("%d/%d" % (seed, client))
        self.client = client
        self.stream_id = 0
        self.single = [
            self.strings, self.strings, self.numbers, self.hashes, self.hashes, self.lists, self.lists, self.sets,
            self.zsets, self.zsets, self.streams, self.bits, self.generic, self.generic, self.hyperloglog, self.expiry,
        ]  # fmt: skip

    def key(self, tag=None):
        r = self.r
        if tag is None:
            tag = r.randrange(24)
        if r.random() < 0.02:
            return b"{c%d.%d}\x00\r\n\xff" % (self.client, tag)
        return b"{c%d.%d}%d" % (self.client, tag, r.randrange(4))

    def keys(self, low=1, high=6, tag=None):
        return [self.key(tag) for _ in range(self.r.randint(low, high))]

    def value(self):
        r = self.r
        x = r.random()
        if x < 0.4:
            return b"%d" % r.randint(-1000, 1000)
        if x < 0.9:
            return bytes(r.randrange(97, 123) for _ in range(r.randrange(12)))
        if x < 0.97:
            return r.randbytes(r.randrange(60))
        if x < 0.999:
            return b"L" * r.randrange(64, 3000)
        return r.randbytes(r.randrange(10000, 100000))

    def small(self):
        """Members and fields: short enough to keep Redis's compact, ordered encodings."""
        return b"m%d" % self.r.randrange(12)

    def num(self):
        return b"%d" % self.r.randint(-5, 12)

    def pick(self, *commands):
        return self.r.choice(commands)

    def strings(self):
        k, v = self.key(), self.value()
        return self.pick(
            ["SET", k, v], ["GET", k], ["GET", k], ["GETSET", k, v], ["SETNX", k, v], ["APPEND", k, v[:50]],
            ["STRLEN", k], ["GETRANGE", k, self.num(), self.num()], ["SETRANGE", k, b"%d" % self.r.randrange(20), v[:20]],
            ["SET", k, v, "NX"], ["SET", k, v, "XX", "GET"], ["SET", k, v, "KEEPTTL"], ["GETDEL", k], ["SUBSTR", k, 0, 3],
            ["SET", k, v, "EX"], ["SET", k, v, "NX", "XX"], ["SET", k, v, "EX", "abc"], ["get", k], ["LCS", k, k],
        )  # fmt: skip

    def numbers(self):
        k = self.key()
        return self.pick(
            ["INCR", k], ["DECR", k], ["INCRBY", k, self.num()], ["DECRBY", k, self.num()], ["INCRBY", k, "x"],
            ["INCRBYFLOAT", k, "0.5"], ["SET", k, self.num()], ["INCRBY", k, "9223372036854775807"],
        )  # fmt: skip

    def hashes(self):
        k, f = self.key(), self.small()
        return self.pick(
            ["HSET", k, f, self.value()[:50]], ["HSET", k, f, "1", self.small(), "2"], ["HGET", k, f], ["HDEL", k, f],
            ["HGETALL", k], ["HLEN", k], ["HKEYS", k], ["HVALS", k], ["HMGET", k, f, self.small(), self.small()],
            ["HEXISTS", k, f], ["HINCRBY", k, f, self.num()], ["HSETNX", k, f, "x"], ["HSTRLEN", k, f],
            ["HINCRBYFLOAT", k, f, "1.5"], ["HMSET", k, f, "3"], ["HSET", k, f], ["HMSET", k],
        )  # fmt: skip

    def lists(self):
        k, v = self.key(), self.value()[:80]
        other = self.key(self.tag_of(k))
        return self.pick(
            ["RPUSH", k, v], ["LPUSH", k, v, self.small()], ["LPOP", k], ["RPOP", k], ["LRANGE", k, 0, -1],
            ["LRANGE", k, self.num(), self.num()], ["LLEN", k], ["LINDEX", k, self.num()], ["LSET", k, self.num(), v],
            ["LREM", k, self.num(), v], ["LTRIM", k, 0, 20], ["LINSERT", k, "BEFORE", self.small(), v], ["LPOP", k, 2],
            ["RPUSHX", k, v], ["LPOS", k, v], ["RPOPLPUSH", k, other], ["LMOVE", k, other, "LEFT", "RIGHT"],
            ["LMPOP", 2, k, other, "LEFT"], ["LRANGE", k, "a", "b"], ["SORT", k, "ALPHA"], ["BLPOP", k],
        )  # fmt: skip

    def sets(self):
        k, m = self.key(), self.small()
        others = [k] + self.keys(1, 2, self.tag_of(k))
        return self.pick(
            ["SADD", k, m], ["SADD", k, m, self.small(), self.small()], ["SREM", k, m], ["SISMEMBER", k, m], ["SCARD", k],
            ["SMEMBERS", k], ["SMISMEMBER", k, m, self.small()], ["SINTER"] + others, ["SUNION"] + others,
            ["SDIFF"] + others, ["SINTERSTORE", self.key(self.tag_of(k))] + others, ["SINTERCARD", len(others)] + others,
            ["SUNIONSTORE", self.key(self.tag_of(k))] + others, ["SMOVE", k, others[1], m], ["SINTERCARD", 0, k],
        )  # fmt: skip

    def zsets(self):
        k, m = self.key(), self.small()
        other = self.key(self.tag_of(k))
        return self.pick(
            ["ZADD", k, self.num(), m], ["ZADD", k, 1, m, 2, self.small()], ["ZADD", k, "NX", "CH", 3, m],
            ["ZINCRBY", k, self.num(), m], ["ZSCORE", k, m], ["ZRANK", k, m], ["ZREVRANK", k, m], ["ZCARD", k],
            ["ZRANGE", k, 0, -1, "WITHSCORES"], ["ZREVRANGE", k, 0, 3], ["ZRANGEBYSCORE", k, "-inf", "(5"],
            ["ZCOUNT", k, 0, 10], ["ZREM", k, m], ["ZPOPMIN", k], ["ZPOPMAX", k, 2], ["ZMSCORE", k, m, self.small()],
            ["ZREMRANGEBYRANK", k, 5, -1], ["ZRANGE", k, "0", "5", "BYSCORE", "LIMIT", 0, 2], ["ZADD", k, "x", m],
            ["ZUNIONSTORE", other, 2, k, other, "WEIGHTS", 1, 2], ["ZINTERSTORE", other, 2, k, other],
            ["ZRANGESTORE", other, k, 0, 3], ["ZMPOP", 2, k, other, "MIN"], ["ZLEXCOUNT", k, "-", "+"],
            ["ZUNION", 2, k, other, "WITHSCORES"], ["ZDIFF", 2, k, other], ["ZADD", k, 1],
        )  # fmt: skip

    def streams(self):
        k = self.key()
        self.stream_id += 1
        new, some = "%d-1" % self.stream_id, "%d-1" % self.r.randrange(1, self.stream_id + 1)
        return self.pick(
            ["XADD", k, new, "f", self.value()[:40]], ["XADD", k, "MAXLEN", 10, new, "a", "1", "b", "2"],
            ["XADD", k, some, "f", "v"], ["XLEN", k], ["XRANGE", k, "-", "+"], ["XREVRANGE", k, "+", "-", "COUNT", 2],
            ["XDEL", k, some], ["XTRIM", k, "MAXLEN", 5], ["XREAD", "COUNT", 2, "STREAMS", k, "0"],
            ["XREAD", "STREAMS", k, self.key(self.tag_of(k)), "0", some], ["XGROUP", "CREATE", k, "g", "0"],
            ["XGROUP", "DESTROY", k, "g"], ["XACK", k, "g", some], ["XREAD", "STREAMS", k], ["XADD", k, "0-0", "f", "v"],
            ["XGROUP", "CREATE", k, "g", "0", "MKSTREAM"], ["XPENDING", k, "g"], ["XSETID", k, some],
        )  # fmt: skip

    def bits(self):
        k = self.key()
        other = self.key(self.tag_of(k))
        return self.pick(
            ["SETBIT", k, self.r.randrange(64), self.r.randrange(2)], ["GETBIT", k, self.r.randrange(64)], ["BITCOUNT", k],
            ["BITPOS", k, 1], ["BITOP", "XOR", other, k, other], ["BITFIELD", k, "INCRBY", "u4", 4, 3], ["SETBIT", k, "x", 1],
            ["BITOP", "NOT", other, k, k], ["BITFIELD_RO", k, "GET", "u8", 0], ["BITFIELD", k, "INCRBY"],
        )  # fmt: skip

    def generic(self):
        k = self.key()
        other = self.key(self.tag_of(k))
        return self.pick(
            ["DEL", k], ["EXISTS", k], ["TYPE", k], ["RENAME", k, other], ["RENAMENX", k, other], ["COPY", k, other],
            ["OBJECT", "ENCODING", k], ["UNLINK", k], ["TOUCH", k], ["COPY", k, other, "REPLACE"], ["OBJECT", "REFCOUNT"],
            ["SORT", k, "ALPHA", "DESC"], ["OBJECT", "ENCODING", k], ["DUMP", self.key() + b"none"], ["DEL", k], ["UNLINK", k],
        )  # fmt: skip

    def hyperloglog(self):
        k = self.key()
        other = self.key(self.tag_of(k))
        return self.pick(["PFADD", k, self.small()], ["PFCOUNT", k], ["PFCOUNT", k, other], ["PFMERGE", other, k])

    def expiry(self):
        """Absolute times far away, so that the answers depend on no clock."""
        k = self.key()
        at = 4000000000 + self.r.randrange(1000)
        return self.pick(
            ["EXPIREAT", k, at], ["PEXPIREAT", k, at * 1000], ["EXPIRETIME", k], ["PEXPIRETIME", k], ["PERSIST", k],
            ["SET", k, "v", "EXAT", at], ["EXPIREAT", k, at, "GT"], ["GETEX", k, "PERSIST"], ["EXPIREAT", k, "soon"],
            ["EXPIREAT", k, 1], ["EXPIRE", k, -1],
        )  # fmt: skip

    def multi_key(self):
        """The commands that the proxy splits over slots."""
        keys = self.keys(1, 12)
        return self.pick(
            ["MGET"] + keys, ["MGET"] + keys, ["MGET"] + keys, ["MSET"] + [x for k in keys for x in (k, self.value())],
            ["MSET"] + [x for k in keys for x in (k, self.value())], ["DEL"] + keys, ["EXISTS"] + keys, ["TOUCH"] + keys,
            ["UNLINK"] + keys, ["MSET"] + keys + ["odd"] * (1 - len(keys) % 2), ["EXISTS"] + keys + keys,
        )  # fmt: skip

    def scripts(self):
        k = self.key()
        return self.pick(
            ["EVAL", self.r.choice(SCRIPTS), 1, k, self.small()], ["EVAL", self.r.choice(SCRIPTS), 1, k, self.num()],
            ["EVAL", SCRIPTS[6], 2, k, self.key(self.tag_of(k)), "a"], ["EVALSHA", "f" * 40, 1, k],
            ["EVAL", "return redis.call('NOPE')", 1, k], ["EVAL", "return (", 1, k], ["EVAL", SCRIPTS[6], 5, k],
            ["EVAL", SCRIPTS[6], "x", k], ["EVAL_RO", SCRIPTS[5], 1, k], ["EVAL", SCRIPTS[6], -1, k], ["EVAL", SCRIPTS[6], 0],
        )  # fmt: skip

    def wrong(self):
        k = self.key()
        return self.pick(
            ["GET"], ["GET", k, k], ["SET", k], ["NOSUCHCOMMAND"], ["NOSUCHCOMMAND", k, "a", "b" * 200], ["MGET"], ["MSET", k],
            ["MSET"], ["DEL"], ["nosuch\r\ncommand", "x\ny"], ["HSET"], ["LPUSH", k], ["EVAL"], ["EVAL", "return 1"], ["PING", 1, 2],
            ["OBJECT", "NOSUCH", k], ["XGROUP", "NOSUCH", k], ["ECHO"], ["EXISTS"], ["OBJECT"], ["ZADD"], ["X" * 300, "y"],
        )  # fmt: skip

    def plain(self):
        return self.pick(["PING"], ["PING", self.value()], ["ECHO", self.value()], ["SELECT", 0])

    def tag_of(self, key):
        return int(key[key.index(b".") + 1 : key.index(b"}")])

    def command(self):
        x = self.r.random()
        if x < 0.74:
            return self.r.choice(self.single)()
        if x < 0.90:
            return self.multi_key()
        if x < 0.95:
            return self.scripts()
        if x < 0.98:
            return self.wrong()
        return self.plain()


class Random(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}
    TEST_TIMEOUT = 3600

    def send_in_chunks(self, client, data, r):
        """Random pieces: most large, some of few bytes."""
        pos = 0
        style = r.random()
        while pos < len(data):
            if style < 0.4:
                n = len(data)
            elif style < 0.9:
                n = r.randrange(1, 5000)
            else:
                n = r.randrange(1, 40) if pos < 3000 else len(data)
            client.send(data[pos : pos + n])
            pos += n

    def same(self, command, got, got_raw, want, want_raw):
        if got_raw == want_raw:
            return True
        name = harness.to_bytes(command[0]).upper()
        if name in UNORDERED and isinstance(got, list) and isinstance(want, list):
            if name == b"HGETALL":
                return sorted(zip(got[::2], got[1::2])) == sorted(zip(want[::2], want[1::2]))
            return sorted(got) == sorted(want)
        return False

    def round(self, generator, proxy, judge, history):
        r = generator.r
        commands = [generator.command() for _ in range(r.choice([1, 1, 2, 5, 20, 100, 500]))]
        data = b"".join(harness.encode(*c) for c in commands)
        sender = harness.Worker(self.send_in_chunks, proxy, data, random.Random(r.random()))
        judge_sender = harness.Worker(judge.send, data)
        for i, command in enumerate(commands):
            want = judge.read()
            try:
                got = proxy.read()
            except Exception as e:
                self.fail("seed %d: no reply to %r (%r)" % (harness.SEED, command, e))
            history.append(command)
            if not self.same(command, got, proxy.raw, want, judge.raw):
                self.mismatch(command, proxy.raw, judge.raw, history)
        sender.finish()
        judge_sender.finish()
        del history[:-2000]
        return len(commands)

    def mismatch(self, command, got, want, history):
        about = [c for c in history[:-1] if len(c) > 1 and any(k in command[1:] for k in c[1:] if k in command)]
        self.fail(
            "seed %d: %r\n  proxy: %r\n  redis: %r\n  before it, on its keys:\n    %s"
            % (harness.SEED, command, got[:400], want[:400], "\n    ".join(repr(c)[:300] for c in about[-12:]))
        )

    def one_client(self, number, count):
        generator = Generator(harness.SEED, number)
        history = []
        done = 0
        with self.proxy.client() as proxy, self.judge.client() as judge:
            while done < count:
                done += self.round(generator, proxy, judge, history)
            self.assertEqual(proxy("ECHO", "end"), b"end")
        return done

    def test_replies_are_those_of_redis(self):
        workers = [harness.Worker(self.one_client, i, COMMANDS // CLIENTS) for i in range(CLIENTS)]
        total = sum(w.finish(3000) for w in workers)
        self.assertGreaterEqual(total, COMMANDS // CLIENTS * CLIENTS)
        with self.proxy.client() as proxy, self.judge.client() as judge:
            self.assertEqual(proxy.ok("DBSIZE"), judge.ok("DBSIZE"))
            self.assertEqual(sorted(proxy.ok("KEYS", "*")), sorted(judge.ok("KEYS", "*")))


if __name__ == "__main__":
    harness.main()
