#!/usr/bin/python3
"""
Pub/sub through the proxy beside one redis-server: replies, order, counts; fan-out from one upstream subscription; sharded
channels on any shard from one connection; slow subscribers; keyspace notifications from every primary; failover, slot
moves.
"""

import random
import time

import harness
from harness import Push, encode, wait_until


def flat(value):
    return list(value) if isinstance(value, list) else value


class Base(harness.ProxyTest):
    def subscribe(self, *names, command="SUBSCRIBE", resp=2, proxy=None):
        c = self.client() if proxy is None else proxy.client()
        if proxy is not None:
            self.addCleanup(c.close)
        if resp == 3:
            c.ok("HELLO", "3")
        c.cmd(command, *names)
        for name in names:
            reply = c.read()
            self.assertEqual(reply[:2], [command.lower().encode(), harness.to_bytes(name)])
        return c


class Judged(harness.JudgedTest, Base):
    DIRECTIVES = {"workers": 2}

    def nobody_left(self):
        """The subscribers of before are gone, which PUBLISH would count."""
        with self.proxy.client() as c:
            self.alone(c)

    def both(self, steps, resp="2"):
        """
        Runs (who, command...) or (who, None, n): reads n more frames. Compares the bytes of every frame on both sides.
        """
        sides = []
        for port in (self.proxy.port, self.judge.port):
            clients = {}
            seen = []
            if port == self.proxy.port:
                self.nobody_left()
            for who, *command in steps:
                if who not in clients:
                    clients[who] = harness.Client(port)
                    if resp == "3":
                        clients[who].ok("HELLO", "3")
                c = clients[who]
                frames = 1
                if command[0] is None:
                    frames = command[1]
                else:
                    c.cmd(*command)
                    if command[0] in ("SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE", "UNSUBSCRIBE", "PUNSUBSCRIBE", "SUNSUBSCRIBE"):
                        frames = max(1, len(command) - 1)
                for _ in range(frames):
                    c.read(10)
                    seen.append((who, command, c.raw))
            for c in clients.values():
                c.close()
            sides.append(seen)
        self.assertEqual(sides[0], sides[1])

    def test_replies_and_counts(self):
        for resp in ("2", "3"):
            self.both([
                ("s", "SUBSCRIBE", "a", "b", "a"), ("s", "PSUBSCRIBE", "a*"), ("s", "SSUBSCRIBE", "x", "y"),
                ("p", "PUBLISH", "a", "one"), ("s", None, 2), ("p", "PUBLISH", "zz", "none"), ("p", "SPUBLISH", "y", "shard"),
                ("s", None, 1), ("s", "UNSUBSCRIBE", "a"), ("p", "PUBLISH", "a", "two"), ("s", None, 1),
                ("s", "PUNSUBSCRIBE", "a*", "nope"), ("p", "PUBLISH", "a", "three"), ("s", "SUNSUBSCRIBE", "x"),
                ("s", "SUNSUBSCRIBE"), ("s", "UNSUBSCRIBE"), ("s", "UNSUBSCRIBE"), ("s", "PUNSUBSCRIBE"), ("s", "GET", "k"),
            ], resp)

    def test_many_subscribers_are_counted(self):
        for resp in ("2", "3"):
            steps = [("s%d" % i, "SUBSCRIBE", "c") for i in range(5)] + [("q%d" % i, "PSUBSCRIBE", "*") for i in range(3)]
            steps += [("p", "PUBLISH", "c", "m")] + [("s%d" % i, None, 1) for i in range(5)]
            steps += [("q%d" % i, None, 1) for i in range(3)]
            steps += [("s0", "UNSUBSCRIBE", "c"), ("p", "PUBLISH", "c", "m"), ("p", "PUBLISH", "", "empty name"),
                      ("p", "PUBSUB", "NUMSUB", "c", "none"), ("p", "PUBSUB", "NUMPAT"), ("p", "PUBSUB", "CHANNELS"),
                      ("p", "PUBSUB", "CHANNELS", "x*"), ("p", "PUBSUB", "SHARDCHANNELS"), ("p", "PUBSUB", "NUMSUB"),
                      ("p", "PUBSUB", "SHARDNUMSUB", "c")]
            self.both(steps, resp)

    def test_what_a_resp2_subscriber_may_say(self):
        self.both([
            ("s", "SUBSCRIBE", "c"), ("s", "PING"), ("s", "PING", "hello"), ("s", "GET", "k"), ("s", "SET", "k"),
            ("s", "CLIENT", "ID"), ("s", "HELLO", "3"), ("s", "PUBLISH", "c", "x"), ("s", "NOSUCH"), ("s", "MULTI"),
            ("s", "SSUBSCRIBE", "q"), ("s", "UNSUBSCRIBE"), ("s", "GET", "k"), ("s", "SUNSUBSCRIBE"), ("s", "GET", "k"),
            ("s", "SUBSCRIBE", "c"), ("s", "RESET"), ("s", "GET", "k"), ("s", "PUBLISH", "c", "nobody"),
            ("s", "SUBSCRIBE"), ("s", "SUBSCRIBE", "c"), ("s", "QUIT"),
        ])

    def test_a_resp3_subscriber_may_say_all(self):
        self.both([
            ("s", "SUBSCRIBE", "c"), ("s", "PING"), ("s", "PING", "hello"), ("s", "GET", "k"), ("s", "SET", "k", "v"),
            ("s", "GET", "k"), ("p", "PUBLISH", "c", "x"), ("s", None, 1), ("s", "MULTI"), ("s", "GET", "k"), ("s", "EXEC"),
            ("s", "DEL", "k"), ("s", "UNSUBSCRIBE", "c"),
        ], "3")

    def test_publish_in_a_transaction_and_a_script(self):
        self.both([
            ("s", "SUBSCRIBE", "c"), ("p", "MULTI"), ("p", "SET", "{t}k", "v"), ("p", "PUBLISH", "c", "in multi"),
            ("p", "GET", "{t}k"),
            ("p", "DISCARD"), ("p", "DEL", "{t}k"),
        ])
        c, p = self.subscribe("tx"), self.client()
        p.ok("MULTI"), p.ok("SET", "{t}k", "v"), p.ok("PUBLISH", "tx", "m1")
        p.ok("EXEC")
        self.assertEqual(c.read(10), [b"message", b"tx", b"m1"])
        p.ok("EVAL", "return redis.call('publish', 'tx', ARGV[1])", "0", "m2")
        self.assertEqual(c.read(10), [b"message", b"tx", b"m2"])

    def test_binary_and_large_messages(self):
        for size in (0, 1, 1000, 16383, 16384, 100000, 3000000):
            body = random.Random(size).randbytes(size)
            for resp in (2, 3):
                name = b"bin\r\n\x00$5%d %d" % (resp, size)
                c = self.subscribe(name, resp=resp)
                self.assertEqual(self.client()("PUBLISH", name, body), 1)
                self.assertEqual(flat(c.read(20)), [b"message", name, body])

    def test_long_names(self):
        for size in (70000, 300000):
            name = b"n" * size
            c = self.subscribe(name)
            self.assertEqual(self.client()("PUBLISH", name, "m"), 1)
            self.assertEqual(c.read(20), [b"message", name, b"m"])


class Fanout(Base):
    DIRECTIVES = {"workers": 2, "client-output-buffer-limit": ["pubsub", "4mb", "1mb", "60"]}

    def test_order_over_channels(self):
        """One publisher, many channels: a subscriber to all of them sees its order."""
        names = ["o%d" % i for i in range(20)]
        subs = [self.subscribe(*names, resp=r) for r in (2, 3, 2)]
        p = self.client()
        rng = random.Random(7)
        sent = [(rng.choice(names).encode(), b"%d" % i) for i in range(5000)]
        p.send(b"".join(encode("PUBLISH", *m) for m in sent))
        self.assertEqual(p.read_n(len(sent)), [3] * len(sent))
        for c in subs:
            self.assertEqual([tuple(c.read(20)[1:]) for _ in sent], sent)

    def test_one_upstream_subscription(self):
        """Two hundred subscribers to a channel are one subscriber a worker at the node."""
        subs = [self.subscribe("up") for _ in range(200)]
        counts = sum(n("PUBSUB", "NUMSUB", "up")[1] for n in self.cluster.nodes)
        self.assertEqual(counts, 2)
        p = self.client()
        self.assertEqual(p("PUBSUB", "NUMSUB", "up"), [b"up", 200])
        self.assertEqual(p("PUBLISH", "up", "m"), 200)
        for c in subs:
            self.assertEqual(c.read(20), [b"message", b"up", b"m"])
            c.close()
        wait_until(lambda: sum(n("PUBSUB", "NUMSUB", "up")[1] for n in self.cluster.nodes) == 0, what="no subscription left")
        self.assertEqual(p("PUBLISH", "up", "m"), 0)

    def test_subscribers_elsewhere_count(self):
        """One that subscribed at the node itself, and one behind another proxy."""
        other = self.start_proxy({"workers": 1})
        c = self.subscribe("far", proxy=other)
        mine = self.subscribe("far")
        p = self.client()
        self.assertEqual(p("PUBLISH", "far", "m"), 2)
        for s in (c, mine):
            self.assertEqual(s.read(10), [b"message", b"far", b"m"])
        with harness.Client(self.cluster.owner(0).port) as direct:
            direct("SUBSCRIBE", "far")
            self.assertEqual(p("PUBLISH", "far", "m"), 3)

    def test_pushes_between_ordinary_replies(self):
        """RESP3: messages come between replies, never inside one, also while a large reply is leaving."""
        c = self.subscribe("mix", resp=3)
        p = self.client()
        big = b"v" * 3000000
        p.ok("SET", "bigmix", big)
        c.send(b"".join(encode("GET", "bigmix") for _ in range(5)))
        sent = 0
        replies, pushes = 0, []
        while replies < 5 or len(pushes) < sent:
            if sent < 200:
                p.ok("PUBLISH", "mix", sent)
                sent += 1
            frame = c.read(20) if replies < 5 or sent == 200 else None
            if isinstance(frame, Push):
                pushes.append(int(frame[2]))
            elif frame is not None:
                self.assertEqual(frame, big)
                replies += 1
        self.assertEqual(pushes, list(range(len(pushes))))

    def test_a_slow_subscriber_is_closed_and_others_are_not(self):
        slow = self.proxy.client(rcvbuf=4096)
        self.addCleanup(slow.close)
        slow("SUBSCRIBE", "flood")
        fast = self.subscribe("flood")
        p = self.client()
        body = b"x" * 20000
        before = self.proxy.rss_kb()
        got = 0
        for i in range(2000):
            p.ok("PUBLISH", "flood", body)
            self.assertEqual(fast.read(10)[2], body)
            got += 1
        self.assertEqual(got, 2000)
        wait_until(lambda: p("PUBSUB", "NUMSUB", "flood")[1] == 1, what="the slow one to be closed")
        self.assertIn("output buffer limits", self.proxy.log())
        if not harness.SANITIZER:
            self.assertLess(self.proxy.rss_kb() - before, 40000)

    def test_a_message_tells_of_what_was_written_before_it(self):
        """SET and PUBLISH in one pipeline, the key at a shard that is busy: who hears of it finds it."""
        c, other, p = self.subscribe("news"), self.client(), self.client()
        key = self.cluster.key(2, "news")
        spin = "local n = 0 for i = 1, tonumber(ARGV[1]) do n = n + i end return n"
        for i in range(20):
            p.send(encode("EVAL", spin, 1, key, 1000000) + encode("SET", key, i) + encode("PUBLISH", "news", i))
            self.assertEqual(c.read(20)[2], b"%d" % i)
            self.assertEqual(other("GET", key), b"%d" % i)
            self.assertEqual(p.read_n(3)[1:], [b"OK", 1])

    def test_pipelined_subscribe_publish(self):
        c = self.client()
        c.ok("HELLO", "3")
        c.send(encode("GET", "a") + encode("SUBSCRIBE", "own") + encode("PUBLISH", "own", "m") + encode("GET", "b"))
        frames = [c.read(10) for _ in range(5)]
        self.assertIsNone(frames[0])
        self.assertEqual(frames[1], [b"subscribe", b"own", 1])
        self.assertIn(Push([b"message", b"own", b"m"]), frames[2:])
        self.assertEqual([f for f in frames[2:] if not isinstance(f, Push)], [1, None])

    def test_sharded_channels_of_all_shards_on_one_connection(self):
        names = [self.cluster.key(i % 3, "shard", n=i) for i in range(30)]
        c = self.subscribe(*names, command="SSUBSCRIBE")
        p = self.client()
        for name in names:
            self.assertEqual(p("SPUBLISH", name, "m"), 1)
            self.assertEqual(c.read(10), [b"smessage", harness.to_bytes(name), b"m"])
        self.assertEqual(len(p("PUBSUB", "SHARDCHANNELS")), 30)
        self.assertEqual(p("PUBSUB", "SHARDNUMSUB", names[0], names[1]), [names[0].encode(), 1, names[1].encode(), 1])

    def test_churn(self):
        """Clients come and go at random; in the end nothing is left at the nodes, and every count was right."""
        rng = random.Random(harness.SEED)
        names = ["churn%d" % i for i in range(5)]
        clients = []
        p = self.client()
        for _ in range(300):
            roll = rng.random()
            if roll < 0.4 or not clients:
                c = self.proxy.client()
                mine = {rng.choice(names)}
                c("SUBSCRIBE", *mine)
                clients.append((c, mine))
            elif roll < 0.6:
                c, _ = clients.pop(rng.randrange(len(clients)))
                c.cmd("UNSUBSCRIBE")
                while c.read(10)[0] != b"unsubscribe":
                    pass
                c.close()
            elif roll < 0.8:
                c, mine = rng.choice(clients)
                name = rng.choice(names)
                c.cmd("SUBSCRIBE", name)
                while c.read(10)[0] != b"subscribe":
                    pass
                mine.add(name)
            else:
                name = rng.choice(names)
                want = sum(name in mine for _, mine in clients)
                self.assertEqual(p("PUBLISH", name, "m"), want)
        for c, _ in clients:
            c.close()
        for name in names:
            wait_until(lambda: p("PUBSUB", "NUMSUB", name) == [name.encode(), 0], what="nobody to subscribe")
        wait_until(lambda: not any(n("PUBSUB", "CHANNELS", "churn*") for n in self.cluster.nodes), what="nothing left")


class Notifications(Base):
    NODE_CONFIG = {"notify-keyspace-events": "KEA"}

    def events_of(self, c, count):
        return sorted(tuple(flat(c.read(10)))[-2:] for _ in range(count))

    def test_from_every_primary(self):
        for resp in (2, 3):
            space = self.subscribe("__keyspace@0__:*", command="PSUBSCRIBE", resp=resp)
            event = self.subscribe("__keyevent@0__:set", resp=resp)
            everything = self.subscribe("*", command="PSUBSCRIBE", resp=resp)
            p = self.client()
            keys = [self.cluster.key(i) for i in range(3)]
            for key in keys:
                p.ok("SET", key, "1")
            self.assertEqual(self.events_of(space, 3), sorted((("__keyspace@0__:" + k).encode(), b"set") for k in keys))
            self.assertEqual(self.events_of(event, 3), sorted((b"__keyevent@0__:set", k.encode()) for k in keys))
            self.assertEqual(len(self.events_of(everything, 6)), 6)
            # What is published is heard once, not once a shard.
            p.ok("PUBLISH", "plain", "m")
            self.assertEqual(flat(everything.read(10)), [b"pmessage", b"*", b"plain", b"m"])
            p.ok("PUBLISH", "plain", "end")
            self.assertEqual(flat(everything.read(10)), [b"pmessage", b"*", b"plain", b"end"])
            for c in (space, event, everything):
                c.close()

    def test_expired(self):
        c = self.subscribe("__keyevent@0__:expired")
        p = self.client()
        for i in range(3):
            p.ok("SET", self.cluster.key(i, "gone"), "1", "PX", "20")
        got = {c.read(20)[2] for _ in range(3)}
        self.assertEqual(got, {self.cluster.key(i, "gone").encode() for i in range(3)})


class Trouble(Base):
    REPLICAS = 1
    DIRECTIVES = {"workers": 2}

    def hears(self, c, publish, name):
        """Publishes until the subscriber has heard a message of now."""
        mark = "m%d" % random.getrandbits(48)

        def heard():
            publish(name, mark)
            # A message may be lost now, and then what others publish must not keep us from sending it again.
            again_at = time.monotonic() + 2 * harness.TIME_SCALE
            try:
                while time.monotonic() < again_at:
                    if flat(c.read(0.5))[-1] == mark.encode():
                        return True
            except OSError:
                pass
            return False

        wait_until(heard, 30, "a message on %s" % name)

    def test_a_busy_node_is_asked_once(self):
        """It answers nothing for longer than the proxy's housekeeping takes to come round: the link is not given up."""
        primaries = [self.cluster.primary_of(i) for i in range(self.cluster.primaries)]
        for tracking in (False, True):
            with self.start_proxy().client() as c:
                c.ok("HELLO", 3)
                before = sum(n.calls("subscribe") + n.calls("client|tracking") for n in primaries)
                sleepers = [n.client() for n in primaries]
                for s in sleepers:
                    self.addCleanup(s.close)
                    s.cmd("DEBUG", "SLEEP", "0.7")
                c.cmd(*(["CLIENT", "TRACKING", "ON", "BCAST"] if tracking else ["SUBSCRIBE", "busy"]))
                self.assertEqual(c.read(), b"OK" if tracking else [b"subscribe", b"busy", 1])
                for s in sleepers:
                    self.assertEqual(s.read(), b"OK")
                asked = sum(n.calls("subscribe") + n.calls("client|tracking") for n in primaries) - before
                self.assertEqual(asked, len(primaries) if tracking else 1)

    def test_who_is_counted_has_the_message(self):
        """While subscribers come and go on other workers: a count that says two means both subscriptions have it."""
        publishers = [self.client() for _ in range(3)]
        for i in range(150):
            c = harness.Client(self.proxy.port)
            number = c.ok("CLIENT", "ID")
            c.send(encode("SUBSCRIBE", "counted") + encode("PSUBSCRIBE", "count*"))
            mark, count = b"", 0
            while count < 2:
                for k, p in enumerate(publishers):
                    mark = b"%d-%d" % (i, k)
                    count = p("PUBLISH", "counted", mark)
                    self.assertLessEqual(count, 2)
                    if count == 2:
                        break
            kinds = set()
            while len(kinds) < 2:
                frame = c.read(10)
                if flat(frame)[-1] == mark:
                    kinds.add(frame[0])
            self.assertEqual(publishers[0]("CLIENT", "KILL", "ID", number), 1)
            c.close()

    def test_the_home_node_dies(self):
        c = self.subscribe("home", resp=3)
        pattern = self.subscribe("hom*", command="PSUBSCRIBE")
        p = self.client()
        old = self.cluster.owner(0)
        old.kill()
        try:
            self.cluster.wait_promoted(0, old)
            self.hears(c, lambda n, m: p("PUBLISH", n, m), "home")
            self.hears(pattern, lambda n, m: p("PUBLISH", n, m), "home")
            self.assertEqual(p("PUBLISH", "home", "again"), 2)
            with self.proxy.client() as fresh:
                self.assertEqual(fresh("SUBSCRIBE", "home"), [b"subscribe", b"home", 1])
        finally:
            self.cluster.heal()

    def test_a_planned_failover(self):
        name = self.cluster.key(1, "planned")
        c = self.subscribe(name, command="SSUBSCRIBE")
        d = self.subscribe("plain")
        p = self.client()
        for shard in (0, 1):
            self.cluster.failover(shard)
        self.hears(c, lambda n, m: p("SPUBLISH", n, m), name)
        self.hears(d, lambda n, m: p("PUBLISH", n, m), "plain")
        wait_until(lambda: p("PUBLISH", "plain", "m") == 1, what="the count to be right again")

    def test_a_slot_moves(self):
        name = self.cluster.key(2, "moves", 4)
        c = self.subscribe(name, command="SSUBSCRIBE", resp=3)
        p = self.client()
        self.cluster.migrate_slot(harness.slot_of(name), self.cluster.primary_of(1))
        self.hears(c, lambda n, m: p("SPUBLISH", n, m), name)
        self.assertEqual(p("SPUBLISH", name, "m"), 1)

    def test_no_message_twice_over_a_failover(self):
        c = self.subscribe("once")
        p = self.client()
        stop = []
        sent = [0]

        def publish():
            with self.proxy.client() as mine:
                while not stop:
                    sent[0] += 1
                    mine("PUBLISH", "once", sent[0])
            return sent[0]

        w = harness.Worker(publish)
        self.cluster.failover(0)
        self.hears(c, lambda n, m: p("PUBLISH", n, m), "once")
        heard = sent[0]
        wait_until(lambda: sent[0] > heard + 10 or w.error, what="messages behind the mark")
        stop.append(1)
        last = w.finish()
        p.ok("PUBLISH", "once", "end")
        got = []
        while True:
            body = c.read(10)[2]
            if body == b"end":
                break
            if not body.startswith(b"m"):
                got.append(int(body))
        self.assertEqual(got, sorted(set(got)))
        self.assertLessEqual(got[-1], last)


if __name__ == "__main__":
    harness.main()
