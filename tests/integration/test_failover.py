#!/usr/bin/python3
# alone: yes
"""
Failover by gossip, seen through the proxy: clients keep their connections, reads are retried in silence, a write
that was on a link that died is -INDOUBT and is never repeated, what was not yet sent waits for the new primary.

The node is frozen before it is killed where a test must know that requests were written to it and not executed.
"""

import time

import harness


class Base(harness.ProxyTest):
    """Requests may wait for a second vote: a replica asks again after four node timeouts at the soonest."""

    REPLICAS = 1
    DIRECTIVES = {"workers": 2, "request-timeout": int(25000 * min(2, harness.TIME_SCALE))}

    def setUp(self):
        self.cluster.heal()

    def replicated(self, primary):
        """Waits until the replicas have all that the primary has."""

        def same():
            offset = primary.info("replication")["master_repl_offset"]
            replicas = self.cluster.replicas_of(primary)
            return bool(replicas) and all(r.info("replication")["master_repl_offset"] == offset for r in replicas)

        harness.wait_until(same, 10, "the replica to have everything")


class InFlight(Base):
    """What was written to a node that reads no more. The cluster must not give the node up before all is written."""

    NODE_TIMEOUT = int(2500 * min(2, harness.TIME_SCALE))

    def freeze_with(self, shard, client, data):
        """Freezes the shard's primary, sends data through the client and waits until it lies at the node unread."""
        primary = self.cluster.primary_of(shard)
        self.replicated(primary)
        primary.freeze()
        before = primary.unread_bytes()
        client.send(data)
        harness.wait_until(lambda: primary.unread_bytes() >= before + len(data), 10, "the proxy to send")
        return primary

    def test_reads_in_flight_are_retried_silently(self):
        c = self.client()
        keys = [self.cluster.key(0, "r%d" % i) for i in range(200)]
        self.assertNoErrors(c.pipeline([("SET", k, "v" + k) for k in keys]))
        primary = self.freeze_with(0, c, b"".join(harness.encode("GET", k) for k in keys))
        primary.kill()
        self.assertEqual(c.read_n(len(keys)), [b"v" + k.encode() for k in keys])

    def test_writes_in_flight_are_in_doubt_and_never_repeated(self):
        c = self.client()
        key = self.cluster.key(1, "counter")
        c.ok("SET", key, 100)
        primary = self.freeze_with(1, c, harness.encode("INCR", key) * 50)
        primary.kill()
        for i, reply in enumerate(c.read_n(50)):
            self.assertError(reply, "INDOUBT")
        self.assertEqual(c("GET", key), b"100", "a write in doubt was repeated")
        self.assertEqual(c("INCR", key), 101)

    def test_mixed_pipeline_keeps_its_order(self):
        c = self.client()
        key = self.cluster.key(2, "mixed")
        other = self.cluster.key(0, "other")
        c.ok("SET", key, "old")
        c.ok("SET", other, "there")
        data = [("GET", key), ("SET", key, "new"), ("GET", key), ("STRLEN", key)]
        primary = self.freeze_with(2, c, b"".join(harness.encode(*x) for x in data))
        c.cmd("GET", other)
        primary.kill()
        replies = c.read_n(5)
        self.assertError(replies[1], "INDOUBT")
        self.assertEqual([replies[i] for i in (0, 2, 3, 4)], [b"old", b"old", 3, b"there"])


class Failover(Base):
    NODE_TIMEOUT = 1000

    def test_what_was_not_sent_waits_for_the_new_primary(self):
        c = self.client()
        key = self.cluster.key(0, "waiting")
        c.ok("SET", key, 1)
        primary = self.cluster.primary_of(0)
        self.replicated(primary)
        primary.kill()
        # Two turns, so that the proxy knows of the broken link when the second is sent.
        first = c("INCR", key)
        if isinstance(first, harness.ReplyError):
            self.assertError(first, "INDOUBT")
        replies = c.pipeline([("INCR", key)] * 20 + [("GET", key)])
        self.assertNoErrors(replies)
        self.assertEqual(replies[-1], b"%d" % replies[-2])
        self.assertEqual(replies[:20], list(range(replies[0], replies[0] + 20)))

    def test_traffic_through_a_kill(self):
        """Sequential traffic to all shards on connections made before the kill; only the dead shard pauses."""
        self.client().pipeline([("SET", self.cluster.key(i, "t"), "v") for i in range(3)])
        stop = []

        def writer(shard):
            outcomes = {"ok": 0, "indoubt": 0}
            longest = 0.0
            with self.proxy.client() as c:
                while not stop:
                    began = time.monotonic()
                    for command in (("SET", self.cluster_keys[shard], "v"), ("GET", self.cluster_keys[shard])):
                        reply = c(*command)
                        if isinstance(reply, harness.ReplyError):
                            self.assertEqual((command[0], reply.code), ("SET", "INDOUBT"), reply)
                            outcomes["indoubt"] += 1
                        else:
                            outcomes["ok"] += 1
                    longest = max(longest, time.monotonic() - began)
                    counts[shard] += 1
            return outcomes, longest

        counts = [0, 0, 0]
        self.cluster_keys = [self.cluster.key(i, "t") for i in range(3)]
        stalls = self.stalls()
        workers = [harness.Worker(writer, i) for i in range(3)]
        harness.wait_until(lambda: min(counts) > 50, 10, "traffic")
        old = self.cluster.primary_of(1)
        old.kill()
        self.cluster.wait_promoted(1, old)
        promoted = time.monotonic()
        seen = list(counts)
        harness.wait_until(lambda: all(n > s + 50 for n, s in zip(counts, seen)), 10, "traffic after the failover")
        resumed = time.monotonic() - promoted
        stop.append(True)
        results = [w.finish() for w in workers]
        self.assertLessEqual(results[1][0]["indoubt"], 1)
        for i in (0, 2):
            self.assertEqual(results[i][0]["indoubt"], 0)
            limit = 0.5 * harness.TIME_SCALE + stalls.worst_s
            self.assertLess(results[i][1], limit, "shard %d stalled with the dead one" % i)
        self.assertLess(resumed, 3 * harness.TIME_SCALE + stalls.worst_s)

    def test_a_fresh_client_finds_the_new_primary(self):
        """No traffic while it happens: the proxy notices by itself, and the first request is served at once."""
        key = self.cluster.key(2, "fresh")
        with self.proxy.client() as c:
            c.ok("SET", key, "kept")
        primary = self.cluster.primary_of(2)
        self.replicated(primary)
        primary.kill()
        self.cluster.wait_promoted(2, primary)
        stalls = self.stalls()
        with self.proxy.client() as c:
            began = time.monotonic()
            self.assertEqual(c("GET", key), b"kept")
            self.assertEqual(c("SET", key, "on"), b"OK")
            self.assertLess(time.monotonic() - began, 1.0 * harness.TIME_SCALE + stalls.worst_s)

    def test_planned_failover_shows_no_error(self):
        c = self.client()
        key = self.cluster.key(1, "planned")
        c.ok("DEL", key)
        stop = []
        count = [0]

        def traffic():
            while not stop:
                for reply in c.pipeline([("INCR", key)] * 20 + [("GET", key)]):
                    if isinstance(reply, int):
                        self.assertEqual(reply, count[0] + 1)
                        count[0] = reply
                    else:
                        self.assertEqual(reply, b"%d" % count[0])

        worker = harness.Worker(traffic)
        try:
            for _ in range(3):
                goal = count[0] + 500
                harness.wait_until(lambda: count[0] >= goal or worker.error, 20, "traffic")
                self.cluster.failover(1)
                self.cluster.wait_ok()
            goal = count[0] + 500
            harness.wait_until(lambda: count[0] >= goal or worker.error, 20, "traffic after the last failover")
        finally:
            stop.append(True)
            worker.finish()
        self.assertEqual(c.ok("GET", key), b"%d" % count[0])


if __name__ == "__main__":
    harness.main()
