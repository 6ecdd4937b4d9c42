#!/usr/bin/python3
"""
Blocking commands through the proxy: as one Redis answers them; thousands of blocked clients beside others; clients that
leave swallow nothing; a primary that dies, fails over or loses the slot while clients wait is followed silently.
"""

import time

import harness
from harness import encode, parse_info, wait_until


class Base(harness.ProxyTest):
    def blocked(self, count):
        wait_until(lambda: int(self.proxy.info("clients")["blocked_clients"]) == count, what="%d blocked clients" % count)

    def waiting_at_node(self, key, count):
        """The node itself has so many blocked clients."""
        node = self.cluster.owner(harness.slot_of(key))
        wait_until(lambda: int(parse_info(node("INFO", "clients"))["blocked_clients"]) == count, what="%d at the node" % count)


class Judged(harness.JudgedTest, Base):
    DIRECTIVES = {"workers": 2}

    def test_as_one_redis(self):
        """(command that blocks, what wakes it): the bytes of the reply, served at once, woken, and timed out."""
        cases = [
            (("BLPOP", "{b}l", "30"), ("RPUSH", "{b}l", "x")),
            (("BRPOP", "{b}l", "{b}m", "30"), ("RPUSH", "{b}m", "x", "y")),
            (("BRPOPLPUSH", "{b}l", "{b}to", "30"), ("RPUSH", "{b}l", "x")),
            (("BLMOVE", "{b}l", "{b}to", "LEFT", "RIGHT", "30"), ("RPUSH", "{b}l", "x", "y")),
            (("BLMPOP", "30", "2", "{b}l", "{b}m", "LEFT", "COUNT", "2"), ("RPUSH", "{b}m", "x", "y", "z")),
            (("BZPOPMIN", "{b}z", "30"), ("ZADD", "{b}z", "1.5", "m", "2", "n")),
            (("BZPOPMAX", "{b}z", "30"), ("ZADD", "{b}z", "1.5", "m", "2", "n")),
            (("BZMPOP", "30", "1", "{b}z", "MAX", "COUNT", "5"), ("ZADD", "{b}z", "1.5", "m", "inf", "n")),
            (("XREAD", "BLOCK", "30000", "STREAMS", "{b}s", "$"), ("XADD", "{b}s", "5-1", "f", "v")),
            (("XREADGROUP", "GROUP", "g", "c", "BLOCK", "30000", "STREAMS", "{b}s", ">"), ("XADD", "{b}s", "6-1", "f", "v")),
        ]
        for resp in ("2", "3"):
            for command, wake in cases:
                with self.subTest(command=command, resp=resp):
                    sides = []
                    for port in (self.proxy.port, self.judge.port):
                        with harness.Client(port) as c, harness.Client(port) as other:
                            other.ok("FLUSHALL")
                            other.ok("XGROUP", "CREATE", "{b}s", "g", "$", "MKSTREAM")
                            c.ok("HELLO", resp)
                            seen = []
                            c.cmd(*command)
                            wait_until(lambda: b"flags=b" in other.ok("CLIENT", "LIST"), what="the client to block")
                            if port == self.proxy.port:
                                self.waiting_at_node("{b}s", 1)
                            other.ok(*wake)
                            c.read(10)
                            seen.append(c.raw)
                            short = [{"30": "0.01", "30000": "10"}.get(w, w) for w in command]
                            other.ok("FLUSHALL")
                            other.ok("XGROUP", "CREATE", "{b}s", "g", "$", "MKSTREAM")
                            c(*short)
                            seen.append(c.raw)
                            if command[0] not in ("XREAD",):
                                other.ok(*wake)
                                c(*command)
                                seen.append(c.raw)
                            sides.append(seen)
                    self.assertEqual(sides[0], sides[1])

    def test_several_waiters_are_served_in_their_order(self):
        for port in (self.proxy.port, self.judge.port):
            waiters = []
            with harness.Client(port) as p:
                for i in range(5):
                    c = harness.Client(port)
                    c.cmd("BLPOP", "{fair}l", "20")
                    wait_until(lambda: p.ok("CLIENT", "LIST").count(b"flags=b") == i + 1, what="the client to block")
                    # By links of their own: the order is that in which the node has heard of them.
                    self.waiting_at_node("{fair}l", i + 1) if port == self.proxy.port else None
                    waiters.append(c)
                p.ok("RPUSH", "{fair}l", *range(5))
                self.assertEqual([c.read(10) for c in waiters], [[b"{fair}l", b"%d" % i] for i in range(5)])
            for c in waiters:
                c.close()

    def test_pipelined_around_it(self):
        commands = [("SET", "{p}k", "1"), ("BLPOP", "{p}l", "0.01"), ("INCR", "{p}k"), ("RPUSH", "{p}l", "a"),
                    ("BLPOP", "{p}l", "1"), ("INCR", "{p}k"), ("BLPOP", "{p}l", "x"), ("BLPOP", "{p}l", "-1"), ("GET", "{p}k")]
        sides = [harness.Client(port).pipeline(commands) for port in (self.proxy.port, self.judge.port)]
        self.assertEqual(sides[0], sides[1])


class Leaving(Base):
    DIRECTIVES = {"workers": 2}

    def test_who_leaves_swallows_nothing(self):
        """A client leaves in the very moment in which an element comes, by every way to take one."""
        p = self.client()
        kinds = [
            ("BLPOP", "{left}%d", "0"), ("BRPOP", "{left}%d", "0"), ("BLMPOP", "0", "1", "{left}%d", "RIGHT", "COUNT", "2"),
            ("BZPOPMIN", "{left}%d", "0"), ("BZMPOP", "0", "1", "{left}%d", "MAX", "COUNT", "2"),
        ]
        for i in range(150):
            kind = kinds[i % len(kinds)]
            key = "{left}%d" % i
            c = self.proxy.client()
            if i % 2:
                c.ok("HELLO", "3")
            c.cmd(*[w % i if "%d" in w else w for w in kind])
            self.blocked(1)
            zset = kind[0].startswith("BZ")
            c.close()
            if zset:
                p.ok("ZADD", key, "1.5", "a", "2.5", "b")
                want, read = [b"a", b"1.5", b"b", b"2.5"], lambda: p("ZRANGE", key, 0, -1, "WITHSCORES")
            else:
                p.ok("RPUSH", key, "a", "b", "c")
                want, read = [b"a", b"b", b"c"], lambda: p("LRANGE", key, 0, -1)
            wait_until(lambda: read() == want, what="%r to be whole again: %r" % (kind, read()))

    def test_who_waited_for_long_swallows_nothing_either(self):
        """Longer than the proxy waits for a node's silence; and then the node is busy when the client leaves."""
        proxy = self.start_proxy({"request-timeout": 1000})
        node = self.cluster.primary_of(0)
        key = self.cluster.key(0, "long")
        leaver, pusher = proxy.client(), proxy.client()
        self.addCleanup(pusher.close)
        pusher.ok("EXISTS", key)  # its link is there: what it pushes is read before the node sees who has left
        began = time.monotonic()
        leaver.cmd("BLPOP", key, 0)
        wait_until(lambda: node.info("clients")["blocked_clients"] == "1", 10, "it to block")
        wait_until(lambda: time.monotonic() > began + 2.5, 10 + 2.5, "more than twice request-timeout to go by")
        with node.client() as sleeper:
            sleeper.cmd("DEBUG", "SLEEP", "0.6")
            pusher.cmd("RPUSH", key, "kept")
            leaver.close()
            self.assertEqual(sleeper.read(), b"OK")
        self.assertEqual(pusher.read(), 1)
        wait_until(lambda: node("LRANGE", key, 0, -1) == [b"kept"], 10, "the element to be where it was pushed")

    def test_elements_while_many_leave(self):
        """Takers come and go at random; at the end every element was taken once or is still there."""
        p = self.client()
        taken = []
        for i in range(200):
            c = self.proxy.client()
            c.cmd("BLPOP", "{many}l", "0")
            if i % 3 == 0:
                c.close()
                continue
            p.ok("RPUSH", "{many}l", i)
            taken.append(int(c.read(20)[1]))
            c.close()
        self.blocked(0)
        left = wait_until(lambda: p("LLEN", "{many}l") + len(taken) == sum(i % 3 != 0 for i in range(200)) or None)
        self.assertTrue(left)
        self.assertEqual(len(set(taken)), len(taken))

    def test_thousands_of_blocked_clients(self):
        """They hold a connection each, and nobody else notices."""
        count = 300 if harness.SANITIZER else 2000
        p = self.client()

        def latency():
            samples = []
            for i in range(500):
                began = time.perf_counter()
                p.ok("SET", "{fast}%d" % i, "v")
                samples.append(time.perf_counter() - began)
            return harness.percentile(samples, 0.5)

        def best():
            """Whatever else the machine does adds to some rounds; what blocked clients cost would add to all."""
            return min(latency() for _ in range(5))

        before = best()
        clients = [self.proxy.client() for _ in range(count)]
        for i, c in enumerate(clients):
            c.cmd("BLPOP", "{w%d}l" % (i % 100), "0")
        self.blocked(count)
        after = best()
        self.assertLess(after, before * 4 + 0.001)
        for i in range(100):
            p.ok("RPUSH", "{w%d}l" % i, *range(count // 100))
        for c in clients:
            c.read(30)
            c.close()
        self.blocked(0)


class Followed(Base):
    REPLICAS = 1
    DIRECTIVES = {"workers": 2}

    def wait_on(self, *commands):
        clients = []
        for command in commands:
            c = self.client()
            c.cmd(*command)
            clients.append(c)
        self.blocked(len(commands))
        return clients

    def commands(self, shard, timeout="100"):
        key = lambda name: self.cluster.key(shard, name)
        return [("BLPOP", key("l"), timeout), ("BLMOVE", key("m"), key("to"), "LEFT", "LEFT", timeout),
                ("BZPOPMIN", key("z"), timeout), ("XREAD", "BLOCK", str(int(float(timeout) * 1000)), "STREAMS", key("s"), "$")]

    def wake(self, shard, clients):
        p = self.client()
        key = lambda name: self.cluster.key(shard, name)
        # They wait at the new place before they are woken: the node says so.
        node = self.cluster.owner(harness.slot_of(key("l")))
        wait_until(lambda: int(parse_info(node("INFO", "clients"))["blocked_clients"]) == len(clients), 30, "all to wait there")
        p.ok("RPUSH", key("l"), "a"), p.ok("RPUSH", key("m"), "b"), p.ok("ZADD", key("z"), 1, "c"), p.ok("XADD", key("s"), "*", "f", "d")
        replies = [c.read(20) for c in clients]
        self.assertEqual(replies[:3], [[key("l").encode(), b"a"], b"b", [key("z").encode(), b"c", b"1"]])
        self.assertEqual(replies[3][0][1][0][1], [b"f", b"d"])

    def test_the_primary_dies(self):
        clients = self.wait_on(*self.commands(0))
        old = self.cluster.primary_of(0)
        old.kill()
        try:
            self.cluster.wait_promoted(0, old)
            self.wake(0, clients)
        finally:
            self.cluster.heal()

    def test_the_primary_freezes(self):
        clients = self.wait_on(*self.commands(2))
        old = self.cluster.primary_of(2)
        old.freeze()
        try:
            self.cluster.wait_promoted(2, old)
            self.wake(2, clients)
        finally:
            self.cluster.heal()

    def test_a_planned_failover(self):
        clients = self.wait_on(*self.commands(1))
        self.cluster.failover(1)
        self.wake(1, clients)

    def test_the_slot_moves(self):
        clients = self.wait_on(*self.commands(1))
        self.cluster.migrate_slot(harness.slot_of(self.cluster.key(1)), self.cluster.primary_of(2))
        self.wake(1, clients)
        self.cluster.migrate_slot(harness.slot_of(self.cluster.key(1)), self.cluster.primary_of(1))

    def test_the_timeout_goes_on_over_a_failover(self):
        """What is left of it, not all of it again."""

        def ended(c):
            self.assertIsNone(c.read(60))
            return time.monotonic()

        timeout = 5 + 3 * harness.TIME_SCALE
        clients = self.wait_on(*self.commands(0, "%g" % timeout))
        began = time.monotonic()
        waits = [harness.Worker(ended, c) for c in clients]
        # Half of it has gone by then: all of it again would end half of it late, whatever the machine adds to both.
        wait_until(lambda: time.monotonic() > began + timeout / 2, timeout, "half of the timeout to go by")
        asked = time.monotonic()
        self.cluster.failover(0)
        self.assertLess(max(w.finish() for w in waits), asked + timeout)


if __name__ == "__main__":
    harness.main()
