#!/usr/bin/python3
"""
CLIENT TRACKING through the proxy, in every mode, beside one redis-server; then what a cluster adds: keys of all shards,
lost trackers, failover, moved slots. The judge of the second half is the rule that matters: whatever a client has cached
and not been told to forget is what the server has.
"""

import random

import harness
from harness import Push, encode, wait_until


def invalidated(frame):
    """The keys that a push names; None for all."""
    assert frame[0] == b"invalidate", frame
    return frame[1]


class Modes(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}

    def both(self, steps):
        """(who, command...) sends and reads one frame; (who, None, n) reads n frames. `@x` is x's client id."""
        sides = []
        for port in (self.proxy.port, self.judge.port):
            clients, ids, seen = {}, {}, []
            for who, *command in steps:
                if who not in clients:
                    clients[who] = harness.Client(port)
                    ids["@" + who] = clients[who].ok("CLIENT", "ID")
                c = clients[who]
                if command[0] is not None:
                    c.cmd(*[ids.get(w, w) for w in command])
                for _ in range(1 if command[0] is not None else command[1]):
                    c.read(10)
                    raw = c.raw
                    for i in ids.values() if b"redirect" in raw or "GETREDIR" in command else ():
                        raw = raw.replace(b":%d\r\n" % i, b":ID\r\n")
                    if command[0] != "HELLO":
                        seen.append((who, command, raw))
            for c in clients.values():
                c.close()
            sides.append(seen)
        self.assertEqual(sides[0], sides[1])

    def test_default(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON"), ("a", "GET", "k"), ("b", "SET", "k", "1"), ("a", None, 1),
            ("b", "SET", "k", "2"), ("a", "PING"), ("a", "GET", "k"), ("a", "SET", "k", "3"), ("a", None, 1),
            ("a", "MGET", "{h}1", "{h}2"), ("b", "DEL", "{h}1"), ("b", "SET", "{h}2", "x"), ("a", None, 1),
            ("a", "CLIENT", "TRACKINGINFO"), ("a", "CLIENT", "GETREDIR"), ("a", "CLIENT", "TRACKING", "OFF"),
            ("a", "CLIENT", "TRACKINGINFO"), ("a", "CLIENT", "GETREDIR"), ("a", "GET", "k"), ("b", "SET", "k", "4"),
            ("a", "PING"), ("b", "DEL", "k", "{h}2"),
        ])

    def test_noloop(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "NOLOOP"), ("a", "GET", "k"), ("a", "SET", "k", "1"),
            ("a", "PING"), ("a", "GET", "k"), ("b", "SET", "k", "2"), ("a", None, 1), ("a", "CLIENT", "TRACKINGINFO"),
            ("b", "DEL", "k"),
        ])

    def test_optin(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "OPTIN"), ("a", "GET", "k"), ("b", "SET", "k", "1"),
            ("a", "PING"), ("a", "CLIENT", "CACHING", "YES"), ("a", "GET", "k"), ("b", "SET", "k", "2"), ("a", None, 1),
            ("a", "CLIENT", "CACHING", "YES"), ("a", "CLIENT", "TRACKINGINFO"), ("a", "GET", "k"), ("b", "SET", "k", "3"),
            ("a", None, 1), ("a", "PING"), ("a", "CLIENT", "CACHING", "NO"), ("a", "CLIENT", "CACHING", "MAYBE"),
            ("a", "CLIENT", "CACHING", "YES"), ("a", "MULTI"), ("a", "GET", "k"), ("a", "EXEC"), ("b", "SET", "k", "4"),
            ("a", None, 1), ("b", "DEL", "k"),
        ])

    def test_optout(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "OPTOUT"), ("a", "GET", "k"), ("b", "SET", "k", "1"),
            ("a", None, 1), ("a", "CLIENT", "CACHING", "NO"), ("a", "GET", "k"), ("b", "SET", "k", "2"), ("a", "PING"),
            ("a", "CLIENT", "CACHING", "YES"), ("a", "CLIENT", "TRACKINGINFO"), ("b", "DEL", "k"),
        ])

    def test_bcast(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "u:", "PREFIX", "o:"),
            ("b", "SET", "u:1", "1"), ("a", None, 1), ("b", "SET", "x:1", "1"), ("b", "SET", "o:1", "1"), ("a", None, 1),
            ("a", "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "x:"), ("b", "SET", "x:1", "2"), ("a", None, 1),
            ("b", "SET", "u:1", "2"), ("a", None, 1), ("b", "DEL", "u:1"), ("a", None, 1), ("b", "DEL", "o:1"), ("a", None, 1),
            ("b", "DEL", "x:1"), ("a", None, 1), ("a", "CLIENT", "TRACKING", "OFF"), ("b", "SET", "u:1", "3"), ("a", "PING"),
            ("b", "DEL", "u:1"),
        ])
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "BCAST"), ("b", "SET", "anything", "1"), ("a", None, 1),
            ("a", "CLIENT", "TRACKINGINFO"), ("b", "DEL", "anything"), ("a", None, 1),
        ])

    def test_other_options_on_the_way(self):
        """What was read under the options of before is still told of, and told once."""
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON"), ("a", "GET", "k"), ("a", "GET", "l"),
            ("a", "CLIENT", "TRACKING", "ON", "NOLOOP"), ("b", "SET", "k", "1"), ("a", None, 1), ("a", "SET", "l", "1"),
            ("a", "PING"), ("a", "CLIENT", "TRACKING", "ON", "OPTIN"), ("a", "GET", "k"), ("b", "SET", "k", "2"),
            ("a", "PING"), ("b", "DEL", "k", "l"),
        ])
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON", "BCAST", "PREFIX", "u:"), ("b", "SET", "u:1", "1"),
            ("a", None, 1), ("a", "CLIENT", "TRACKING", "ON", "BCAST"), ("b", "SET", "x:1", "1"), ("a", None, 1),
            ("a", "CLIENT", "TRACKINGINFO"), ("b", "DEL", "x:1"), ("a", None, 1), ("a", "CLIENT", "TRACKING", "OFF"),
            ("b", "DEL", "u:1"), ("a", "PING"),
        ])

    def test_redirect(self):
        for hello in ([], [("b", "HELLO", "3")]):
            listen = [] if hello else [("b", "SUBSCRIBE", "__redis__:invalidate")]
            self.both(hello + listen + [
                ("a", "CLIENT", "TRACKING", "ON", "REDIRECT", "@b"), ("a", "CLIENT", "GETREDIR"), ("a", "GET", "k"),
                ("c", "SET", "k", "1"), ("b", None, 1), ("a", "HGETALL", "{k}h"), ("c", "HSET", "{k}h", "f", "v"), ("b", None, 1),
                ("a", "HGETALL", "{k}h"), ("a", "ZRANGE", "{k}z", "0", "-1", "WITHSCORES"), ("a", "CLIENT", "TRACKINGINFO"),
                ("c", "DEL", "k", "{k}h"), ("b", None, 1),
            ])

    def test_redirect_of_bcast_from_resp3(self):
        self.both([
            ("b", "SUBSCRIBE", "__redis__:invalidate"), ("a", "HELLO", "3"),
            ("a", "CLIENT", "TRACKING", "ON", "REDIRECT", "@b", "BCAST", "PREFIX", "r:"), ("c", "SET", "r:1", "1"), ("b", None, 1),
            ("c", "DEL", "r:1"), ("b", None, 1), ("a", "PING"),
        ])

    def test_wrong_words(self):
        on = ("CLIENT", "TRACKING", "ON")
        self.both([("a", "HELLO", "3")] + [("a",) + c for c in (
            ("CLIENT", "TRACKING"), ("CLIENT", "TRACKING", "MAYBE"), on + ("NOSUCH",), on + ("REDIRECT",), on + ("PREFIX",),
            on + ("REDIRECT", "x"), on + ("REDIRECT", "999999"), on + ("PREFIX", "a"), on + ("BCAST", "OPTIN"),
            on + ("BCAST", "OPTOUT"), on + ("OPTIN", "OPTOUT"), on + ("BCAST", "PREFIX", "foo", "PREFIX", "foobar"),
            on + ("REDIRECT", "@a", "REDIRECT", "@a"), ("CLIENT", "CACHING", "YES"), ("CLIENT", "CACHING", "NO"),
            ("CLIENT", "CACHING"), on + ("BCAST", "PREFIX", "foo"), on + ("BCAST", "PREFIX", "foobar"), on,
            on + ("BCAST", "REDIRECT", "999999", "OPTOUT"), on + ("REDIRECT", "999999", "NOSUCH"), on + ("NOSUCH", "REDIRECT", "9"),
            on + ("REDIRECT", "@a", "NOSUCH"), on + ("REDIRECT", "0"), ("CLIENT", "TRACKING", "OFF", "REDIRECT", "999999"),
            ("CLIENT", "TRACKING", "MAYBE", "REDIRECT", "@a"), on + ("REDIRECT", "-1"),
            on + ("OPTIN",), ("CLIENT", "TRACKING", "OFF"), on + ("OPTIN",), on + ("OPTOUT",), on + ("BCAST",),
            ("CLIENT", "CACHING", "NO"), ("CLIENT", "TRACKING", "OFF"), ("CLIENT", "TRACKING", "OFF"),
            ("CLIENT", "TRACKING", "OFF", "NOSUCH"),
        )])

    def test_flushall_is_told_once(self):
        """
        Every shard says that all is to be forgotten; a client of one Redis hears it once. (The last of them writes that after
        its reply to b; when it answers b again, it has. Between the two a could ask for something new, which is told anew.)
        """
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON"), ("b", "SET", "k", "1"), ("b", "SET", "l", "1"),
            ("b", "SET", "m", "1"), ("a", "GET", "k"), ("a", "GET", "l"), ("a", "GET", "m"), ("b", "FLUSHALL"),
            ("b", "GET", "k"), ("a", None, 1), ("a", "PING"), ("a", "GET", "k"), ("b", "FLUSHALL"), ("a", None, 1), ("a", "PING"),
        ])

    def test_reset_ends_it(self):
        self.both([
            ("a", "HELLO", "3"), ("a", "CLIENT", "TRACKING", "ON"), ("a", "GET", "k"), ("a", "RESET"),
            ("a", "CLIENT", "TRACKINGINFO"), ("b", "SET", "k", "1"), ("a", "PING"), ("b", "DEL", "k"),
        ])


class Cache:
    """A client that caches what it reads, as client-side caching libraries do."""

    def __init__(self, port, *options):
        self.c = harness.Client(port)
        self.c.ok("HELLO", "3")
        self.c.ok("CLIENT", "TRACKING", "ON", *options)
        self.known = {}

    def take(self, frame):
        keys = invalidated(frame)
        if keys is None:
            self.known.clear()
        else:
            for key in keys:
                self.known.pop(key, None)

    def call(self, *command):
        self.c.cmd(*command)
        while True:
            frame = self.c.read(20)
            if not isinstance(frame, Push):
                return frame
            self.take(frame)

    def get(self, key):
        key = harness.to_bytes(key)
        if key not in self.known:
            self.known[key] = object()
            value = self.call("GET", key)
            self.known[key] = value
        return self.known[key]

    def drain(self):
        """Takes every push that has come."""
        self.call("PING")


class Cluster(harness.ProxyTest):
    REPLICAS = 1
    DIRECTIVES = {"workers": 2}

    def cache(self, *options):
        cache = Cache(self.proxy.port, *options)
        self.addCleanup(cache.c.close)
        return cache

    def agrees(self, cache, truth):
        """Within a moment nothing is cached that is not so."""

        def same():
            cache.drain()
            return all(truth.get(k, v) == v for k, v in cache.known.items())

        wait_until(same, 10, "the cache to agree")

    def test_keys_of_all_shards(self):
        for options in ((), ("NOLOOP",), ("BCAST",), ("BCAST", "PREFIX", "{"), ("OPTOUT",)):
            cache = self.cache(*options)
            p = self.client()
            rng = random.Random(3)
            keys = [self.cluster.key(i % 3, "all", n=i).encode() for i in range(24)]
            truth = {}
            for key in keys:
                p.ok("DEL", key)
                truth[key] = None
            for _ in range(400):
                key = rng.choice(keys)
                if rng.random() < 0.6:
                    cache.get(key)
                else:
                    truth[key] = b"%d" % rng.getrandbits(20)
                    p.ok("SET", key, truth[key])
            self.agrees(cache, truth)
            p.ok("FLUSHALL")
            self.agrees(cache, {k: None for k in keys})

    def test_split_reads_are_tracked(self):
        cache = self.cache()
        p = self.client()
        keys = [self.cluster.key(i, "mget") for i in range(3)]
        for key in keys:
            p.ok("SET", key, "1")
        self.assertEqual(cache.call("MGET", *keys), [b"1"] * 3)
        p.ok("MSET", *[w for k in keys for w in (k, "2")])
        got = set()
        while len(got) < 3:
            got.update(invalidated(cache.c.read(10)))
        self.assertEqual(got, {k.encode() for k in keys})

    def test_a_slot_moves(self):
        """Also a key that was absent when it was read, and is set at the new owner."""
        p = self.client()
        for options in ((), ("BCAST",)):
            n = 7 if options else 8
            here, absent = self.cluster.key(0, "here", n=n), self.cluster.key(0, "absent", n=n)
            p.ok("SET", here, "old")
            cache = self.cache(*options)
            self.assertEqual(cache.get(here), b"old")
            self.assertIsNone(cache.get(absent))
            self.cluster.migrate_slot(harness.slot_of(here), self.cluster.primary_of(1))
            p.ok("SET", here, "new")
            p.ok("SET", absent, "new")
            self.agrees(cache, {here.encode(): b"new", absent.encode(): b"new"})
            self.assertEqual((cache.get(here), cache.get(absent)), (b"new", b"new"))
            p.ok("SET", here, "newer")
            self.agrees(cache, {here.encode(): b"newer", absent.encode(): b"new"})

    def test_no_push_comes_before_the_reply(self):
        """Some nodes track already, and tell of it, while another one keeps the client waiting."""
        p = self.client()
        key = self.cluster.key(0, "early").encode()
        node, slow = self.cluster.primary_of(0), self.cluster.primary_of(1)
        trackers = lambda: int(node.info("clients")["tracking_clients"])
        wait_until(lambda: trackers() == 0, 10, "the clients of before to be gone")
        c = self.client()
        c.ok("HELLO", "3")
        slow.freeze()
        try:
            c.cmd("CLIENT", "TRACKING", "ON", "BCAST")
            wait_until(lambda: trackers() == 1, 10, "the first node to track")
            p.ok("SET", key, "1")
        finally:
            slow.thaw()
        self.assertEqual(c.read(20), b"OK")
        p.ok("SET", key, "2")
        self.assertEqual(invalidated(c.read(20)), [key])

    def test_a_primary_dies(self):
        p = self.client()
        for options, shard in (((), 1), (("BCAST",), 2)):
            key = self.cluster.key(shard, "dies")
            p.ok("SET", key, "old")
            cache = self.cache(*options)
            self.assertEqual(cache.get(key), b"old")
            old = self.cluster.primary_of(shard)
            old.kill()
            try:
                self.cluster.wait_promoted(shard, old)
                wait_until(lambda: p("SET", key, "new") == b"OK", 20, "the new primary")
                self.agrees(cache, {key.encode(): b"new"})
                self.assertEqual(cache.get(key), b"new")
                p.ok("SET", key, "newer")
                self.agrees(cache, {key.encode(): b"newer"})
            finally:
                self.cluster.heal()

    def test_a_planned_failover(self):
        p = self.client()
        key = self.cluster.key(0, "planned")
        p.ok("SET", key, "old")
        caches = [self.cache(), self.cache("BCAST")]
        for cache in caches:
            self.assertEqual(cache.get(key), b"old")
        self.cluster.failover(0)
        wait_until(lambda: p("SET", key, "new") == b"OK", 20, "the new primary")
        for cache in caches:
            self.agrees(cache, {key.encode(): b"new"})
        for value in (b"a", b"b", b"c"):
            for cache in caches:
                cache.get(key)
            p.ok("SET", key, value)
            for cache in caches:
                self.agrees(cache, {key.encode(): value})

    def test_the_target_of_a_redirect_leaves(self):
        listener = self.proxy.client()
        number = listener.ok("CLIENT", "ID")
        listener("SUBSCRIBE", "__redis__:invalidate")
        c, p = self.client(), self.client()
        c.ok("HELLO", "3")
        c.ok("CLIENT", "TRACKING", "ON", "REDIRECT", number)
        c("GET", "redir")
        listener.close()
        wait_until(lambda: b"id=%d " % number not in p("CLIENT", "LIST"), what="the listener to be gone")
        p.ok("SET", "redir", "1")
        self.assertEqual(c.read(10), Push([b"tracking-redir-broken", number]))
        self.assertIn(b"broken_redirect", dict(c("CLIENT", "TRACKINGINFO"))[b"flags"])

    def test_links_go_with_the_client(self):
        def links():
            return sum(n("CLIENT", "LIST").count(b"flags=t") for n in self.cluster.live_nodes())

        wait_until(lambda: links() == 0, what="the tracking connections of earlier tests to be gone")
        caches = [self.cache("BCAST") for _ in range(5)]
        self.assertEqual(links(), 15)
        for cache in caches:
            cache.c.close()
        wait_until(lambda: links() == 0, what="no tracking connection to be left")


if __name__ == "__main__":
    harness.main()
