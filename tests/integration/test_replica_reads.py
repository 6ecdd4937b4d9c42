#!/usr/bin/python3
"""
read-from: which node serves a read, told by the nodes' own command counters; writes always go to the primary, and a
shard without its replicas is read from the primary.
"""

import harness

READS = 60


class ReplicaReads(harness.ProxyTest):
    PRIMARIES = 2
    REPLICAS = 1

    def setUp(self):
        self.cluster.heal()
        self.primary = self.cluster.primary_of(0)
        (self.replica,) = self.cluster.replicas_of(self.primary)
        self.key = self.cluster.key(0, "read")
        self.hash = self.cluster.key(0, "readhash")
        with self.client() as c:
            c.ok("SET", self.key, "v")
            c.ok("HSET", self.hash, "f", "v")
        self.replicated()

    def replicated(self):
        def same():
            offsets = [n.info("replication")["master_repl_offset"] for n in (self.primary, self.replica)]
            return offsets[0] == offsets[1]

        harness.wait_until(same, 10, "replication")

    def counted(self, proxy, run, *commands):
        """Runs and answers {command: (calls at the primary, calls at the replica)}."""
        before = {c: (self.primary.calls(c), self.replica.calls(c)) for c in commands}
        with proxy.client() as client:
            run(client)
        self.replicated()
        return {c: (self.primary.calls(c) - b[0], self.replica.calls(c) - b[1]) for c, b in before.items()}

    def read(self, client):
        for _ in range(READS // 2):
            self.assertEqual(client.ok("GET", self.key), b"v")
        replies = client.pipeline([("GET", self.key)] * (READS // 2) + [("HGET", self.hash, "f")] * READS)
        self.assertEqual(replies, [b"v"] * len(replies))

    def test_primary_is_the_default(self):
        calls = self.counted(self.proxy, self.read, "get", "hget")
        self.assertEqual(calls, {"get": (READS, 0), "hget": (READS, 0)})

    def test_replica(self):
        calls = self.counted(self.start_proxy({"read-from": "replica"}), self.read, "get", "hget")
        self.assertEqual(calls, {"get": (0, READS), "hget": (0, READS)})

    def test_prefer_replica(self):
        calls = self.counted(self.start_proxy({"read-from": "prefer-replica"}), self.read, "get", "hget")
        self.assertEqual(calls, {"get": (0, READS), "hget": (0, READS)})

    def test_nearest(self):
        calls = self.counted(self.start_proxy({"read-from": "nearest"}), self.read, "get", "hget")
        self.assertEqual({c: sum(n) for c, n in calls.items()}, {"get": READS, "hget": READS})

    def test_writes_go_to_the_primary(self):
        def write(client):
            for i in range(20):
                self.assertEqual(client.ok("SET", self.key + "w", i), b"OK")
            self.assertEqual(client.ok("GETDEL", self.key + "w"), b"19")
            self.assertEqual(client.ok("EVAL", "return redis.call('INCR', KEYS[1])", 1, self.key + "i"), 1)
            client.ok("DEL", self.key + "i")

        calls = self.counted(self.start_proxy({"read-from": "replica"}), write, "set", "getdel", "eval", "del")
        # What the replica counts came to it by replication (SET; GETDEL as DEL; the script's effects), not from us.
        self.assertEqual(calls["set"][0], 20)
        self.assertEqual(calls["getdel"], (1, 0))
        self.assertEqual(calls["eval"], (1, 0))

    def test_split_reads(self):
        proxy = self.start_proxy({"read-from": "replica"})
        other = self.cluster.key(1, "read")
        with self.client() as c:
            c.ok("SET", other, "w")
        second = self.cluster.primary_of(1)
        (second_replica,) = self.cluster.replicas_of(second)
        offset = second.info("replication")["master_repl_offset"]
        harness.wait_until(lambda: int(second_replica.info("replication")["master_repl_offset"]) >= int(offset))

        def read(client):
            for _ in range(READS):
                self.assertEqual(client.ok("MGET", self.key, other), [b"v", b"w"])

        calls = self.counted(proxy, read, "mget", "get")
        self.assertEqual([sum(n[i] for n in calls.values()) for i in (0, 1)], [0, READS])

    def test_order_of_a_clients_write_and_read(self):
        """One connection that writes and reads a key gets some value of its own past, never a foreign or torn one."""
        proxy = self.start_proxy({"read-from": "replica"})
        with proxy.client() as c:
            for i in range(100):
                replies = c.pipeline([("SET", self.key + "o", "%d" % i), ("GET", self.key + "o")])
                self.assertEqual(replies[0], b"OK")
                self.assertTrue(replies[1] is None or int(replies[1]) <= i)

    def test_dead_replica(self):
        """Reads go to the primary when the replica is gone, and return to the replica when it is back."""
        proxy = self.start_proxy({"read-from": "prefer-replica", "topology-refresh": 500})
        with proxy.client() as c:
            c.ok("GET", self.key)
            self.replica("SAVE")  # Redis serves what it has, until it is in sync again
            self.replica.kill()
            for _ in range(50):
                self.assertEqual(c("GET", self.key), b"v")
            self.replica.start()
            self.cluster.wait_ok()

            def back():
                before = self.replica.calls("get")
                self.assertEqual(c("GET", self.key), b"v")
                return self.replica.calls("get") > before

            harness.wait_until(back, 20, "reads to return to the replica")

    def test_strict_replica_reads_wait_for_the_replica(self):
        """read-from replica: a read waits for the replica's return; a write is not held up."""
        proxy = self.start_proxy({"read-from": "replica", "topology-refresh": 500, "request-timeout": 30000})
        with proxy.client() as reader, proxy.client() as writer:
            reader.ok("GET", self.key)
            self.replica("SAVE")
            self.replica.kill()
            reader.cmd("GET", self.key)
            self.assertEqual(writer("SET", self.key, "v"), b"OK")
            self.replica.start()
            self.assertEqual(reader.read(), b"v")

    def test_runtime_change(self):
        proxy = self.start_proxy({})
        with proxy.client() as c:
            c.ok("CONFIG", "SET", "read-from", "replica")

            def reads_there():
                before = self.replica.calls("get")
                self.assertEqual(c("GET", self.key), b"v")
                return self.replica.calls("get") > before

            harness.wait_until(reads_there, 10, "CONFIG SET read-from to take effect")


if __name__ == "__main__":
    harness.main()
