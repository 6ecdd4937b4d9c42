#!/usr/bin/python3
"""
WATCH through the proxy: what a single Redis does, plus what a cluster adds: the node that watches dies, its slot moves,
keys of two slots. Links are private only while something is watched, and come back to a warm pool.
"""

import harness
from harness import parse_info, wait_until


class Watch(harness.JudgedTest):
    DIRECTIVES = {"workers": 1}

    def both(self, *steps):
        """Runs steps (who, command...) by two clients of each side; compares every reply's bytes."""
        sides = []
        for port in (self.proxy.port, self.judge.port):
            with harness.Client(port) as a, harness.Client(port) as b:
                replies = []
                for who, *command in steps:
                    c = a if who == "a" else b
                    c(*command)
                    if command[0] != "HELLO":  # tells the connection's number
                        replies.append((command, c.raw))
                sides.append(replies)
        self.assertEqual(sides[0], sides[1])
        return sides[0]

    def test_as_a_single_redis(self):
        for resp in ("2", "3"):
            hello = [("a", "HELLO", resp)]
            self.both(("b", "DEL", "{w}k", "{w}l"))
            for steps in (
                [("a", "WATCH", "{w}k"), ("a", "MULTI"), ("a", "SET", "{w}k", "1"), ("a", "EXEC"), ("a", "GET", "{w}k")],
                [("a", "WATCH", "{w}k"), ("b", "SET", "{w}k", "2"), ("a", "MULTI"), ("a", "SET", "{w}k", "3"), ("a", "EXEC"),
                 ("a", "GET", "{w}k"), ("a", "MULTI"), ("a", "SET", "{w}k", "4"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("b", "SET", "{w}k", "2"), ("a", "UNWATCH"), ("a", "MULTI"), ("a", "INCR", "{w}k"),
                 ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("b", "SET", "{w}k", "2"), ("a", "MULTI"), ("a", "DISCARD"), ("a", "MULTI"),
                 ("a", "INCR", "{w}k"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k", "{w}l"), ("a", "SET", "{w}l", "own"), ("a", "MULTI"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("a", "MULTI"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("a", "WATCH", "{w}l"), ("b", "DEL", "{w}l"), ("a", "MULTI"), ("a", "PING"),
                 ("a", "EXEC")],
                [("a", "MULTI"), ("a", "WATCH", "{w}k"), ("a", "SET", "{w}k", "9"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("a", "MULTI"), ("a", "NOSUCH"), ("a", "EXEC"), ("b", "SET", "{w}k", "5"),
                 ("a", "MULTI"), ("a", "GET", "{w}k"), ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("b", "SET", "{w}k", "6"), ("a", "RESET"), ("a", "MULTI"), ("a", "GET", "{w}k"),
                 ("a", "EXEC")],
                [("a", "WATCH", "{w}k"), ("b", "SET", "{w}k", "7"), ("a", "MULTI"), ("a", "UNWATCH"), ("a", "EXEC"),
                 ("a", "MULTI"), ("a", "UNWATCH"), ("a", "EXEC")],
                [("a", "WATCH"), ("a", "UNWATCH", "x"), ("a", "UNWATCH")],
                [("a", "WATCH", "{w}k"), ("a", "MULTI"), ("a", "HSET", "{w}k", "f", "v"), ("a", "INCR", "{w}k"), ("a", "EXEC")],
            ):
                self.both(*hello, *steps)

    def test_pipelined_in_one_write(self):
        commands = [("WATCH", "{p}k"), ("GET", "{p}k"), ("MULTI",), ("INCR", "{p}k"), ("EXEC",), ("GET", "{p}k"),
                    ("WATCH", "{p}k"), ("SET", "{p}k", "7"), ("MULTI",), ("INCR", "{p}k"), ("EXEC",), ("GET", "{p}k")]
        replies = []
        for port in (self.proxy.port, self.judge.port):
            with harness.Client(port) as c:
                replies.append(c.pipeline(commands))
        self.assertEqual(replies[0], replies[1])
        self.assertIsNone(replies[0][10])

    def test_a_counter_loses_nothing(self):
        """Optimistic increments from many threads: each success counts once."""

        def work():
            done = 0
            with self.proxy.client() as c:
                while done < 20:
                    c.ok("WATCH", "{cas}n")
                    value = int(c.ok("GET", "{cas}n") or 0)
                    c.ok("MULTI")
                    c.ok("SET", "{cas}n", value + 1)
                    done += c.ok("EXEC") is not None

        workers = [harness.Worker(work) for _ in range(8)]
        for w in workers:
            w.finish()
        self.assertEqual(self.client()("GET", "{cas}n"), b"160")

    def test_links_are_reused(self):
        """A thousand transactions with WATCH open a handful of connections at the node, not a thousand."""
        node = self.cluster.owner(harness.slot_of("{reuse}k"))
        before = int(parse_info(node("INFO", "stats"))["total_connections_received"])
        c = self.client()
        for _ in range(1000):
            c.ok("WATCH", "{reuse}k")
            c.ok("MULTI")
            c.ok("INCR", "{reuse}k")
            self.assertIsNotNone(c.ok("EXEC"))
        after = int(parse_info(node("INFO", "stats"))["total_connections_received"])
        self.assertLess(after - before, 10)

    def test_keys_of_two_slots(self):
        c = self.client()
        a, b = self.cluster.key(0), self.cluster.key(1)
        self.assertError(c("WATCH", a, b), "CROSSSLOT")
        self.assertEqual(c("WATCH", a), b"OK")
        self.assertError(c("WATCH", b), "CROSSSLOT")
        c("MULTI")
        self.assertError(c("SET", b, "1"), "CROSSSLOT")
        self.assertError(c("EXEC"), "EXECABORT")
        self.assertEqual(c("WATCH", b), b"OK")
        self.assertEqual(c("UNWATCH"), b"OK")

    def test_a_client_that_leaves_watches_nothing(self):
        node = self.cluster.owner(harness.slot_of("{gone}k"))

        def watching():
            lines = node("CLIENT", "LIST").decode().splitlines()
            return [l for l in lines if " cmd=watch " in l]

        with self.proxy.client() as c:
            c.ok("WATCH", "{gone}k")
            self.assertEqual(len(watching()), 1)
        wait_until(lambda: not watching(), what="the node to watch nothing")


class WatchAndTrouble(harness.ProxyTest):
    REPLICAS = 1
    DIRECTIVES = {"workers": 1}

    def watch(self, key):
        c = self.client()
        c.ok("SET", key, "1")
        c.ok("WATCH", key)
        return c

    def exec_of(self, c, key):
        c.ok("MULTI")
        self.assertEqual(c("INCR", key), b"QUEUED")
        return c("EXEC")

    def test_the_slot_moves_away(self):
        key = self.cluster.key(0, "moved", 3)
        slot = harness.slot_of(key)
        c = self.watch(key)
        self.cluster.migrate_slot(slot, self.cluster.primary_of(1))
        self.assertIsNone(self.exec_of(c, key))
        self.assertEqual(c("GET", key), b"1")
        self.assertEqual(self.exec_of(c, key), [2])

    def test_the_slot_moves_while_nothing_is_there(self):
        """An absent key is watched too: nobody may set it at the new node unseen."""
        key = self.cluster.key(0, "absent", 5)
        c = self.client()
        c.ok("WATCH", key)
        self.cluster.migrate_slot(harness.slot_of(key), self.cluster.primary_of(1))
        self.client().ok("SET", key, "other")
        self.assertIsNone(self.exec_of(c, key))
        self.assertEqual(c("GET", key), b"other")

    def test_a_failover_between(self):
        key = self.cluster.key(2, "failover")
        c = self.watch(key)
        self.cluster.failover(2)
        self.assertIsNone(self.exec_of(c, key))
        wait_until(lambda: self.exec_of(c, key) == [2], what="the transaction to work again")

    def test_the_node_dies_between(self):
        key = self.cluster.key(1, "killed")
        c = self.watch(key)
        old = self.cluster.primary_of(1)
        old.kill()
        try:
            self.cluster.wait_promoted(1, old)
            self.assertIsNone(self.exec_of(c, key))
            value = int(c.ok("GET", key))
            self.assertEqual(self.exec_of(c, key), [value + 1])
        finally:
            self.cluster.heal()


if __name__ == "__main__":
    harness.main()
