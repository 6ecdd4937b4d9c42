#!/usr/bin/python3
"""
Valkey 8 as the shards: the same promises in small. Skipped where valkey-server is not installed.
"""

import shutil

import harness

VALKEY = shutil.which("valkey-server")


@harness.unittest.skipUnless(VALKEY, "valkey-server is not installed")
class Valkey(harness.ProxyTest):
    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(3, 1, program=VALKEY)
        cls.proxy = harness.Proxy(cls.cluster, {"workers": 2, "request-timeout": 15000})

    def test_commands_of_every_kind(self):
        c = self.client()
        keys = [self.cluster.key(i, "v%d" % i) for i in range(3)]
        self.assertEqual(c("MSET", *[x for k in keys for x in (k, k)]), b"OK")
        self.assertEqual(c("MGET", *keys), [k.encode() for k in keys])
        self.assertEqual(c("EXISTS", *keys), 3)
        self.assertEqual(c("DEL", *keys), 3)
        for key in keys:
            self.assertEqual(c("HSET", key, "f", 1, "g", 2), 2)
            self.assertEqual(c("EVAL", "return redis.call('HGET', KEYS[1], 'g')", 1, key), b"2")
            self.assertEqual(c("DEL", key), 1)
            self.assertEqual(c("XADD", key, "1-1", "a", "b"), b"1-1")
            self.assertEqual(c("UNLINK", key), 1)
        self.assertError(c("RENAME", "a", "b"), "CROSSSLOT")
        self.assertEqual(c("DBSIZE"), 0)

    def test_slot_move(self):
        c = self.client()
        slot = harness.slot_of("{vk}")
        keys = [b"{vk}%d" % i for i in range(20)]
        for k in keys:
            c.ok("SET", k, k)
        owner = self.cluster.owner(slot)
        other = next(self.cluster.primary_of(i) for i in range(3) if self.cluster.primary_of(i) is not owner)
        move = self.cluster.move(slot, other).begin()
        move.move(*keys[:10])
        self.assertEqual(c.pipeline([("GET", k) for k in keys]), keys)
        self.assertEqual(c("SET", b"{vk}new", "n"), b"OK")
        move.move_all().finish()
        self.assertEqual(c("MGET", *keys), keys)
        self.assertEqual(c("UNLINK", b"{vk}new", *keys), 21)

    def test_what_only_valkey_has(self):
        c = self.client()
        self.assertEqual(c("CLIENT", "SETINFO", "LIB-NAME", "redis-py"), b"OK")
        self.assertEqual(c("CLIENT", "SETINFO", "lib-ver", "5.0.1"), b"OK")
        line = c.ok("CLIENT", "INFO").decode()
        self.assertIn("lib-name=redis-py lib-ver=5.0.1", line)
        self.assertError(c("CLIENT", "SETINFO", "NOSUCH", "x"), "ERR")
        self.assertError(c("CLIENT", "SETINFO", "LIB-NAME", "a b"), "ERR")
        self.assertEqual(len(c.ok("CLUSTER", "MYSHARDID")), 40)

    def test_failover(self):
        c = self.client()
        key = self.cluster.key(0, "vf")
        for i in range(1, 101):
            self.assertEqual(c("INCR", key), i)
        self.cluster.failover(0)
        for i in range(101, 201):
            self.assertEqual(c("INCR", key), i)
        c.ok("DEL", key)


if __name__ == "__main__":
    harness.main()
