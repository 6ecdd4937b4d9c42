#!/usr/bin/python3
"""
Commands that concern the whole server: LATENCY, MEMORY, ROLE, LASTSAVE, SCRIPT, FUNCTION, ACL, CONFIG of the nodes, the
keyspace as one, COMMAND, and the refusals. In RESP2 and in RESP3, byte by byte as a plain redis-server where its answer
does not depend on time or place; where it does, the shape is the server's and the numbers are the shards'.
"""

import hashlib
import re

import harness
from harness import ReplyError, wait_until

THRESHOLD_MS = 250  # of the pauses that tests make
QUIET_MS = 1000 * 1000  # more than the machine adds by itself, however long it stands still
SLOW_S, SLOWER_S, SLOWEST_S = 0.3, 0.4, 0.5  # each above it
BUSY = "while true do end"
KILLED = "ERR Script killed by user with "
BUSY_LIBRARY = "#!lua name=busy\nredis.register_function('spin', function() while true do end end)"


class Wide(harness.JudgedTest):
    """c[2], c[3]: clients of the proxy that speak RESP2 and RESP3; j[2], j[3]: the same at the judge."""

    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.judge("FLUSHALL")
        self.c = {2: self.client(), 3: self.client()}
        self.j = {2: self.judge.client(), 3: self.judge.client()}
        for side in (self.c, self.j):
            side[3].ok("HELLO", 3)
        for client in self.j.values():
            self.addCleanup(client.close)

    def same(self, *commands):
        """Byte by byte the same, in both protocols."""
        for command in commands:
            for resp in (2, 3):
                with self.subTest(command=command, resp=resp):
                    want, got = self.j[resp](*command), self.c[resp](*command)
                    self.assertEqual((got, self.c[resp].raw), (want, self.j[resp].raw))

    def same_members(self, *commands):
        """The same elements in any order."""
        for command in commands:
            for resp in (2, 3):
                with self.subTest(command=command, resp=resp):
                    want, got = self.j[resp].ok(*command), self.c[resp].ok(*command)
                    self.assertEqual(self.c[resp].raw.split(b"\r\n")[0], self.j[resp].raw.split(b"\r\n")[0])
                    self.assertEqual(sorted(got, key=repr), sorted(want, key=repr))

    def refused(self, *commands):
        """Errors that say what to do, without anything happening."""
        for command in commands:
            for resp in (2, 3):
                with self.subTest(command=command, resp=resp):
                    reply = self.c[resp](*command)
                    self.assertError(reply, "ERR")
                    self.assertIn("not supported through Keyway: ", reply.text)

    def every_shard(self, *command):
        return [self.cluster.primary_of(i)(*command) for i in range(self.PRIMARIES)]

    def fill(self, count, prefix="wide"):
        names = ["%s%d" % (prefix, i) for i in range(count)]
        for side in (self.c, self.j):
            side[2].ok("MSET", *[x for name in names for x in (name, "v")])
        return [name.encode() for name in names]

    def shape(self, resp, *command):
        """First bytes of both replies: the type and, for fixed shapes, the length."""
        self.j[resp].ok(*command), self.c[resp].ok(*command)
        return self.c[resp].raw[:1], self.j[resp].raw[:1]


def pairs(reply):
    """A map reply of either protocol as a dict, in depth where values are maps too."""
    if reply and isinstance(reply[0], tuple):
        return dict(reply)
    return dict(zip(reply[::2], reply[1::2]))


class Latency(Wide):
    NODE_CONFIG = {"latency-monitor-threshold": QUIET_MS}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.judge("CONFIG", "SET", "latency-monitor-threshold", QUIET_MS)

    def setUp(self):
        super().setUp()
        self.every_shard("LATENCY", "RESET")
        self.judge("LATENCY", "RESET")

    def pause(self, node, seconds):
        """Something for the monitor of one server to see, and nothing else."""
        node("CONFIG", "SET", "latency-monitor-threshold", THRESHOLD_MS)
        node("DEBUG", "SLEEP", seconds)
        node("CONFIG", "SET", "latency-monitor-threshold", QUIET_MS)

    def test_nothing_seen(self):
        self.same(["LATENCY", "LATEST"], ["LATENCY", "HISTORY", "command"], ["LATENCY", "GRAPH", "nosuch"])
        self.same(["LATENCY", "RESET"], ["LATENCY", "RESET", "nosuch", "other"], ["LATENCY", "HELP"], ["LATENCY"])
        self.same(["LATENCY", "NOSUCH"], ["LATENCY", "HISTORY"], ["LATENCY", "LATEST", "x"], ["LATENCY", "GRAPH"])

    def test_latest_and_history(self):
        # A server keeps one sample a second; those of one shard are on both sides of another's.
        for shard, seconds in ((0, SLOW_S), (1, SLOWEST_S), (0, SLOW_S), (2, SLOWER_S)):
            node = self.cluster.nodes[shard]
            second = node("TIME")[0]
            wait_until(lambda: node("TIME")[0] != second, 5, "the next second")
            self.pause(node, seconds)
        own = [row for latest in self.every_shard("LATENCY", "LATEST") for row in latest if row[0] == b"command"]
        self.assertEqual(len(own), 3)
        for resp in (2, 3):
            latest = [row for row in self.c[resp].ok("LATENCY", "LATEST") if row[0] == b"command"]
            self.assertEqual(len(latest), 1)
            newest = max(row[1] for row in own)
            self.assertEqual(latest[0][1], newest)
            self.assertIn(latest[0][2], [row[2] for row in own if row[1] == newest])
            self.assertEqual(latest[0][3], max(row[3] for row in own))
            self.assertGreaterEqual(latest[0][3], SLOWEST_S * 1000)
            history = self.c[resp].ok("LATENCY", "HISTORY", "command")
            samples = [s for one in self.every_shard("LATENCY", "HISTORY", "command") for s in one]
            self.assertEqual(sorted(history), sorted(samples))
            self.assertEqual([s[0] for s in history], sorted(s[0] for s in history))
            self.assertGreaterEqual(len(history), 4)

    def test_reset_sums(self):
        for node in self.cluster.nodes[:2]:
            self.pause(node, SLOW_S)
        self.assertEqual(self.c[2]("LATENCY", "RESET", "command"), 2)
        self.assertEqual(self.c[3]("LATENCY", "RESET", "command"), 0)
        self.assertEqual(self.c[2]("LATENCY", "HISTORY", "command"), [])

    def test_texts_name_their_shards(self):
        self.pause(self.judge, SLOW_S)
        self.pause(self.cluster.primary_of(0), SLOW_S)
        for resp in (2, 3):
            got, want = self.shape(resp, "LATENCY", "GRAPH", "command")
            self.assertEqual(got, want)
            only = self.c[resp].ok("LATENCY", "GRAPH", "command")
            self.assertIn(b"command - high", only)
            self.assertNotIn(b"# Node", only, "one shard has a graph")
        self.pause(self.cluster.primary_of(1), SLOWEST_S)
        for resp in (2, 3):
            graphs = self.c[resp].ok("LATENCY", "GRAPH", "command")
            for shard in (0, 1):
                self.assertIn(b"# Node %s\n" % self.cluster.primary_of(shard).addr.encode(), graphs)
            self.assertNotIn(self.cluster.primary_of(2).addr.encode(), graphs)
            got, want = self.shape(resp, "LATENCY", "DOCTOR")
            self.assertEqual(got, want)
            doctor = self.c[resp].ok("LATENCY", "DOCTOR")
            self.assertEqual(doctor.count(b"# Node "), 3)
            self.assertIn(b"command: ", doctor)

    def test_doctor_that_says_the_same_everywhere(self):
        for node in self.cluster.nodes + [self.judge]:
            node("CONFIG", "SET", "latency-monitor-threshold", 0)
        try:
            self.same(["LATENCY", "DOCTOR"])
        finally:
            for node in self.cluster.nodes + [self.judge]:
                node("CONFIG", "SET", "latency-monitor-threshold", QUIET_MS)

    def test_histogram(self):
        self.same(["LATENCY", "HISTOGRAM", "nosuch"])
        self.c[2].ok("CONFIG", "RESETSTAT"), self.judge("CONFIG", "RESETSTAT")
        self.same(["LATENCY", "HISTOGRAM", "set", "get"])
        for shard, calls in ((0, 5), (1, 7)):
            for i in range(calls):
                self.c[2].ok("SET", self.cluster.key(shard), i)
        self.c[2].ok("GET", self.cluster.key(2))
        self.judge("SET", "a", "b")
        for resp in (2, 3):
            got, want = self.shape(resp, "LATENCY", "HISTOGRAM", "set")
            self.assertEqual(got, want)
            reply = pairs(self.c[resp].ok("LATENCY", "HISTOGRAM", "set", "get", "nosuch"))
            self.assertEqual(set(reply), {b"set", b"get"})
            body = pairs(reply[b"set"])
            self.assertEqual(list(body), [b"calls", b"histogram_usec"])
            self.assertEqual(body[b"calls"], 12)
            buckets = list(pairs(body[b"histogram_usec"]).items())
            self.assertEqual(buckets, sorted(buckets))
            counts = [count for _, count in buckets]
            self.assertEqual(counts, sorted(counts), "cumulative")
            self.assertEqual(counts[-1], 12)
            bounds = set()
            for reply in self.every_shard("LATENCY", "HISTOGRAM", "set"):
                if reply:
                    bounds |= set(pairs(pairs(pairs(reply)[b"set"])[b"histogram_usec"]))
            self.assertEqual({bound for bound, _ in buckets}, bounds)


class Memory(Wide):
    def test_usage(self):
        # A node in cluster mode spends more on a key than the judge does: it keeps lists of keys by slot.
        key = self.cluster.key(1)
        self.c[2].ok("SET", key, "v" * 100)
        for command in (["MEMORY", "USAGE", key], ["MEMORY", "USAGE", key, "SAMPLES", "0"]):
            for resp in (2, 3):
                self.assertEqual(self.c[resp](*command), self.cluster.primary_of(1)(*command))
        self.same(["MEMORY", "USAGE", "nosuch"])
        self.same(["MEMORY", "USAGE", "k", "SAMPLES"], ["MEMORY", "USAGE", "k", "SAMPLES", "x"], ["MEMORY", "USAGE"])
        self.same(["MEMORY", "USAGE", "k", "SAMPLES", "-1"], ["MEMORY", "HELP"], ["MEMORY", "NOSUCH"], ["MEMORY"])

    def test_purge_and_doctor(self):
        self.same(["MEMORY", "PURGE"], ["MEMORY", "DOCTOR"], ["MEMORY", "DOCTOR", "x"], ["MEMORY", "PURGE", "x"])

    def test_malloc_stats(self):
        for resp in (2, 3):
            got, want = self.shape(resp, "MEMORY", "MALLOC-STATS")
            self.assertEqual(got, want)
            text = self.c[resp].ok("MEMORY", "MALLOC-STATS")
            self.assertEqual(re.findall(rb"^# Node (\S+)$", text, re.M), self.names_in_order(text))
            self.assertEqual(text.count(b"Begin jemalloc statistics"), 3)
        self.same(["MEMORY", "MALLOC-STATS", "x"])

    def names_in_order(self, text):
        names = re.findall(rb"^# Node (\S+)$", text, re.M)
        self.assertEqual(sorted(names), sorted(n.addr.encode() for n in self.cluster.nodes))
        return names

    def test_stats(self):
        self.fill(100)
        for resp in (2, 3):
            want, got = pairs(self.j[resp].ok("MEMORY", "STATS")), pairs(self.c[resp].ok("MEMORY", "STATS"))
            self.assertEqual(list(got), list(want))
            for name in want:
                self.assertEqual(type(got[name]), type(want[name]), name)
            self.assertEqual(self.c[resp].raw[:4], self.j[resp].raw[:4])
            self.assertEqual(got[b"keys.count"], 100)
            startup = sum(pairs(r)[b"startup.allocated"] for r in self.every_shard("MEMORY", "STATS"))
            self.assertEqual(got[b"startup.allocated"], startup)
            self.assertEqual(got[b"keys.bytes-per-key"], (got[b"total.allocated"] - startup) // 100)
            ratio = got[b"allocator.active"] / got[b"allocator.allocated"]
            self.assertAlmostEqual(float(got[b"allocator-fragmentation.ratio"]), ratio, places=4)
            self.assertGreater(float(got[b"peak.percentage"]), 0)
            self.assertLessEqual(float(got[b"peak.percentage"]), 100.01)
            self.assertGreater(float(got[b"fragmentation"]), 1)
            inner = pairs(got[b"db.0"])
            self.assertEqual(list(inner), list(pairs(want[b"db.0"])))
            wait_until(lambda: self.table_overhead(self.c[resp].ok("MEMORY", "STATS")) ==
                       sum(map(self.table_overhead, self.every_shard("MEMORY", "STATS"))),
                       10, "tables that are not just being rehashed, and their sum")

    def table_overhead(self, stats):
        return pairs(pairs(stats)[b"db.0"])[b"overhead.hashtable.main"]

    def test_stats_when_some_shards_are_empty(self):
        for shard in range(3):
            self.cluster.flush()
            self.c[2].ok("SET", self.cluster.key(shard), "v")
            for resp in (2, 3):
                stats = pairs(self.c[resp].ok("MEMORY", "STATS"))
                self.assertIn(b"db.0", stats)
                self.assertEqual(stats[b"keys.count"], 1)


class Server(Wide):
    def test_lastsave(self):
        times = self.every_shard("LASTSAVE")
        for resp in (2, 3):
            self.assertEqual(self.c[resp]("LASTSAVE"), min(times))
        node = self.cluster.primary_of(times.index(min(times)))
        wait_until(lambda: int(node("TIME")[0]) > max(times), 10, "the clock to go on")
        self.assertEqual(node("SAVE"), b"OK")
        after = self.every_shard("LASTSAVE")
        self.assertNotEqual(after, times)
        self.assertEqual(self.c[2]("LASTSAVE"), min(after))
        self.same(["LASTSAVE", "x"])

    def test_role_and_time(self):
        self.same(["ROLE"], ["ROLE", "x"], ["TIME", "x"])
        for resp in (2, 3):
            before, now, after = self.j[resp].ok("TIME"), self.c[resp].ok("TIME"), self.j[resp].ok("TIME")
            self.assertEqual(self.c[resp].raw[:4], self.j[resp].raw[:4])
            self.assertIn(int(now[0]), range(int(before[0]), int(after[0]) + 1))

    def test_lolwut_and_modules(self):
        self.same(["LOLWUT"], ["LOLWUT", "VERSION", "5", "1", "1", "1"], ["MODULE", "LIST"], ["MODULE", "HELP"], ["MODULE"])

    def test_refusals(self):
        self.refused(
            ["DEBUG", "SLEEP", "0"],
            ["DEBUG", "OBJECT", "k"],
            ["SHUTDOWN"],
            ["SHUTDOWN", "NOSAVE"],
            ["SAVE"],
            ["BGSAVE"],
            ["BGREWRITEAOF"],
            ["REPLICAOF", "NO", "ONE"],
            ["SLAVEOF", "NO", "ONE"],
            ["MIGRATE", "h", "1", "k", "0", "1"],
            ["SYNC"],
            ["PSYNC", "?", "-1"],
            ["REPLCONF", "ACK", "0"],
            ["FAILOVER"],
            ["SWAPDB", "0", "1"],
            ["MOVE", "k", "1"],
            ["MODULE", "LOAD", "/nosuch.so"],
            ["MODULE", "UNLOAD", "x"],
            ["ACL", "SETUSER", "ann", "on"],
            ["ACL", "DELUSER", "ann"],
            ["ACL", "LOAD"],
            ["ACL", "SAVE"],
        )
        self.assertError(self.c[2]("SELECT", "1"), "ERR DB index is out of range")
        self.assertTrue(self.proxy.alive())

    def test_slowlog(self):
        # Nothing is slow here: whoever had to wait for a processor would be in the log of one side alone.
        for side in (self.c, self.j):
            side[2].ok("CONFIG", "SET", "slowlog-log-slower-than", -1)
            self.addCleanup(side[2], "CONFIG", "SET", "slowlog-log-slower-than", 10000)
            side[2].ok("SLOWLOG", "RESET")
        self.same(["SLOWLOG", "GET"], ["SLOWLOG", "LEN"], ["SLOWLOG", "RESET"], ["SLOWLOG", "GET", "0"], ["SLOWLOG", "GET", "-1"])
        self.same(["SLOWLOG", "GET", "x"], ["SLOWLOG", "GET", "-2"], ["SLOWLOG", "GET", " 1"], ["SLOWLOG", "GET", ""])
        self.same(["SLOWLOG", "GET", "99999999999999999999"], ["SLOWLOG", "GET", "1", "2"], ["SLOWLOG", "LEN", "x"])
        self.same(["SLOWLOG", "RESET", "x"], ["SLOWLOG", "NOSUCH"], ["SLOWLOG"])
        proxy = self.start_proxy({"slowlog-log-slower-than": 0, "workers": 3})
        clients = [proxy.client() for _ in range(6)]
        for i, client in enumerate(clients):
            self.addCleanup(client.close)
            client.ok("SET", "slow%d" % i, "v")
        with proxy.client() as c:
            c.ok("HELLO", 3)
            entries = c.ok("SLOWLOG", "GET", -1)
            self.assertEqual({e[3][1] for e in entries if e[3][0] == b"SET"}, {b"slow%d" % i for i in range(6)})
            for entry in entries:
                self.assertEqual([type(x) for x in entry[:6]], [int, int, int, list, bytes, bytes])


class Keyspace(Wide):
    def scan_all(self, client, *args):
        found, cursor, rounds = [], b"0", 0
        while True:
            cursor, some = client.ok("SCAN", cursor, *args)
            found += some
            rounds += 1
            self.assertLess(rounds, 2000)
            if cursor == b"0":
                return found, rounds

    def test_counts_and_keys(self):
        keys = self.fill(300)
        self.same(["DBSIZE"], ["DBSIZE", "x"], ["KEYS"], ["KEYS", "nosuch*"], ["KEYS", "wide7"])
        self.same_members(["KEYS", "*"], ["KEYS", "wide1?"], ["KEYS", "*[02]"])
        self.assertEqual(sum(self.every_shard("DBSIZE")), len(keys))

    def test_scan_is_complete(self):
        keys = self.fill(300)
        lists = ["{%s}list" % self.cluster.tag(i) for i in range(3)]
        for name in lists:
            self.c[2].ok("RPUSH", name, "a")
        for resp in (2, 3):
            everything = set(keys) | {name.encode() for name in lists}
            found, rounds = self.scan_all(self.c[resp], "COUNT", 7)
            self.assertEqual(set(found), everything)
            self.assertGreater(rounds, 10)
            self.assertEqual(set(self.scan_all(self.c[resp])[0]), everything)
            self.assertEqual(set(self.scan_all(self.c[resp], "MATCH", "wide2*")[0]), {k for k in keys if k.startswith(b"wide2")})
            found, _ = self.scan_all(self.c[resp], "TYPE", "list", "COUNT", 1000)
            self.assertEqual(sorted(found), sorted(name.encode() for name in lists))
            self.assertEqual(self.scan_all(self.c[resp], "TYPE", "nosuch")[0], [])
            self.assertEqual(set(self.scan_all(self.c[resp], "TYPE", "string", "MATCH", "wide29?", "COUNT", 50)[0]),
                             {b"wide29%d" % i for i in range(10)})

    def test_scan_survives_deletions(self):
        keys = self.fill(300)
        cursor, found = self.c[2].ok("SCAN", 0, "COUNT", 20)
        gone = [k for k in keys if k not in found][:100]
        self.c[2].ok("DEL", *gone)
        while cursor != b"0":
            cursor, some = self.c[2].ok("SCAN", cursor, "COUNT", 20)
            found += some
        self.assertEqual(set(keys) - set(gone) - set(found), set())

    def test_scan_errors(self):
        self.same(["SCAN", "x"], ["SCAN", " 5"], ["SCAN", "5x"], ["SCAN", "99999999999999999999999"], ["SCAN"])
        self.same(["SCAN", "0", "COUNT", "0"], ["SCAN", "0", "COUNT", "x"], ["SCAN", "0", "COUNT"], ["SCAN", "0", "NOSUCH", "1"])
        self.same(["SCAN", "0", "MATCH"], ["SCAN", "0", "TYPE"], ["SCAN", "-1"], ["SCAN", "+5"], ["SCAN", "18446744073709551615"])
        self.same(["SCAN", "1000", "COUNT", "0"], ["SCAN", "1023", "NOSUCH", "x"], ["SCAN", "1000"])
        self.assertEqual(self.c[2].ok("SCAN", "")[1], [])

    def test_randomkey_is_fair(self):
        self.same(["RANDOMKEY"], ["RANDOMKEY", "x"])
        for shard, count in ((0, 90), (1, 10)):
            self.c[2].ok("MSET", *[x for i in range(count) for x in (self.cluster.key(shard, "r%d" % i), "v")])
        drawn = self.c[3].pipeline([["RANDOMKEY"]] * 500)
        small = sum(key.startswith(b"{%s}" % self.cluster.tag(1).encode()) for key in drawn)
        self.assertTrue(all(key.startswith(b"{") for key in drawn))
        self.assertGreater(small, 15)  # 50 are to be expected, within 5 standard deviations
        self.assertLess(small, 85)

    def test_randomkey_of_what_has_expired(self):
        node = self.cluster.primary_of(0)

        def milliseconds():
            seconds, micros = node("TIME")
            return int(seconds) * 1000 + int(micros) // 1000

        node("DEBUG", "SET-ACTIVE-EXPIRE", 0)
        try:
            self.c[2].ok("SET", self.cluster.key(1, "here"), "v")
            for _ in range(20):
                # A look at the key itself would take it away.
                self.c[2].ok("SET", self.cluster.key(0, "gone"), "v", "PX", 1)
                over = milliseconds() + 3
                wait_until(lambda: milliseconds() > over, 5, "it to expire")
                self.assertEqual(self.c[3]("RANDOMKEY"), self.cluster.key(1, "here").encode())
        finally:
            node("DEBUG", "SET-ACTIVE-EXPIRE", 1)

    def test_flush(self):
        for command in (["FLUSHALL"], ["FLUSHDB"], ["FLUSHALL", "ASYNC"], ["FLUSHDB", "SYNC"], ["flushdb", "async"]):
            self.fill(30)
            self.same(command, ["DBSIZE"])
        self.fill(3)
        self.same(["FLUSHALL", "NOW"], ["FLUSHDB", "SYNC", "ASYNC"], ["FLUSHALL", "SYNC", "x"], ["DBSIZE"])

    def test_object(self):
        for side in (self.c, self.j):
            side[2].ok("SET", "n", "text")
            side[2].ok("RPUSH", "l", "a", "b")
        self.same(["OBJECT", "ENCODING", "n"], ["OBJECT", "ENCODING", "l"], ["OBJECT", "REFCOUNT", "l"], ["OBJECT", "HELP"])
        self.same(["OBJECT", "FREQ", "n"], ["OBJECT", "IDLETIME", "nosuch"], ["OBJECT", "FREQ", "nosuch"])
        for resp in (2, 3):
            # The two servers were written to one after the other, and count whole seconds.
            self.assertEqual(self.shape(resp, "OBJECT", "IDLETIME", "n"), (b":", b":"))
            self.assertIn(self.c[resp]("OBJECT", "IDLETIME", "n"), range(60))
        self.same(["OBJECT", "ENCODING"], ["OBJECT", "ENCODING", "a", "b"], ["OBJECT", "NOSUCH", "k"], ["OBJECT"])

    def test_copy_dump_restore(self):
        for side in (self.c, self.j):
            side[2].ok("SET", "{t}a", "v")
        self.same(["COPY", "{t}a", "{t}b"], ["COPY", "{t}a", "{t}b"], ["COPY", "{t}a", "{t}b", "REPLACE"], ["GET", "{t}b"])
        self.same(["COPY", "{t}a", "{t}c", "DB", "0"], ["COPY", "{t}a", "{t}a"], ["COPY", "{t}a", "{t}b", "DB", "x"])
        self.same(["COPY", "nosuch{t}", "{t}b"], ["COPY", "{t}a"], ["COPY", "{t}a", "{t}b", "NOSUCH"], ["DUMP", "{t}a"], ["DUMP", "nosuch"])
        payload = self.c[2].ok("DUMP", "{t}a")
        self.same(["RESTORE", "r", "0", payload], ["RESTORE", "r", "0", payload], ["RESTORE", "r", "0", payload, "REPLACE"])
        self.same(["RESTORE", "s", "0", "x" * 20], ["RESTORE", "s", "-1", payload], ["GET", "r"], ["RESTORE", "s", "0", payload, "NOSUCH"])
        self.assertError(self.c[2]("COPY", "{t}a", "{u}a"), "CROSSSLOT")

    def test_hyperloglogs(self):
        for side in (self.c, self.j):
            side[2].ok("PFADD", "{h}a", "1", "2", "3")
            side[2].ok("PFADD", "{h}b", "3", "4")
        self.same(["PFCOUNT", "{h}a", "{h}b"], ["PFMERGE", "{h}c", "{h}a", "{h}b"], ["PFCOUNT", "{h}c"], ["PFMERGE", "{h}d"])
        self.assertError(self.c[2]("PFCOUNT", "{h}a", "{i}b"), "CROSSSLOT")

    def test_sort(self):
        for side in (self.c, self.j):
            side[2].ok("RPUSH", "{s}l", "3", "1", "2")
            side[2].ok("RPUSH", "{s}w", "b", "a")
        self.same(["SORT", "{s}l"], ["SORT", "{s}l", "DESC", "LIMIT", "0", "2"], ["SORT", "{s}w", "ALPHA"], ["SORT", "{s}w"])
        self.same(["SORT", "{s}l", "STORE", "{s}to"], ["LRANGE", "{s}to", "0", "-1"], ["SORT", "{s}l", "BY", "nosort"])
        self.same(["SORT_RO", "{s}l"], ["SORT", "{s}l", "NOSUCH"], ["SORT", "nosuch"])
        self.assertError(self.c[2]("SORT", "{s}l", "STORE", "{u}to"), "CROSSSLOT")

    def test_sort_with_patterns_is_refused_by_the_nodes(self):
        """Keys named by patterns may live anywhere: a node in cluster mode says so in words of its own."""
        self.c[2].ok("RPUSH", "{s}l", "3", "1")
        for resp in (2, 3):
            self.assertError(self.c[resp]("SORT", "{s}l", "BY", "{s}weight_*"), "ERR BY option of SORT denied in Cluster mode")
            self.assertError(self.c[resp]("SORT", "{s}l", "GET", "{s}name_*"), "ERR GET option of SORT denied in Cluster mode")
            self.assertError(self.c[resp]("SORT", "{s}l", "GET", "#"), "ERR GET option of SORT denied in Cluster mode")


class FailedShard(harness.ProxyTest):
    def test_it_shows(self):
        """A shard that cannot be reached makes the whole an error: no answer is made of what the others say."""
        with self.proxy.client() as c:
            c.ok("MSET", *[x for i in range(30) for x in ("k%d" % i, "v")])
            self.cluster.primary_of(1).kill()
            c.ok("CONFIG", "SET", "request-timeout", 1000)
            for command in (["FLUSHALL"], ["FLUSHDB", "ASYNC"], ["DBSIZE"], ["KEYS", "*"], ["LASTSAVE"], ["ROLE"], ["MEMORY", "STATS"],
                            ["LATENCY", "LATEST"], ["SCRIPT", "EXISTS", "x"], ["FUNCTION", "STATS"], ["RANDOMKEY"]):
                with self.subTest(command=command):
                    self.assertError(c(*command), ("CLUSTERDOWN", "INDOUBT"))
            self.assertError(c("SCRIPT", "KILL"), ("CLUSTERDOWN", "INDOUBT"))
            # From here on it matters what the others say: they have time for it.
            c.ok("CONFIG", "SET", "request-timeout", 20000)
            reply = c("CONFIG", "SET", "maxmemory-samples", "7")
            self.assertError(reply, "ERR")
            self.assertIn(self.cluster.nodes[1].addr, reply.text)
            # A setting is read from any node that answers.
            self.assertEqual(c("CONFIG", "GET", "maxmemory-policy"), [b"maxmemory-policy", b"noeviction"])


class Scripts(Wide):
    NODE_TIMEOUT = 30000  # a node that runs a script does not talk to the others
    NODE_CONFIG = {"busy-reply-threshold": 50}
    DIRECTIVES = {"workers": 2, "request-timeout": 60000}  # longer than any script here runs

    def tearDown(self):
        for node in self.cluster.nodes:
            with node.client() as c:
                c("SCRIPT", "KILL"), c("FUNCTION", "KILL")
        wait_until(lambda: all(isinstance(n("DBSIZE"), int) for n in self.cluster.nodes), 10, "no script to run")
        for node in self.cluster.nodes + [self.judge]:
            node("FUNCTION", "FLUSH")

    def test_exists_load_flush(self):
        self.same(["SCRIPT", "LOAD", "return 1"], ["SCRIPT", "EXISTS", hashlib.sha1(b"return 1").hexdigest(), "nosuch"])
        self.same(["EVAL", "return 2", "1", "k"], ["SCRIPT", "EXISTS", hashlib.sha1(b"return 2").hexdigest()])
        self.same(["SCRIPT", "EXISTS"], ["SCRIPT", "LOAD", "not lua"], ["SCRIPT", "FLUSH", "NOW"], ["SCRIPT", "FLUSH", "SYNC", "x"])
        for how in ([], ["ASYNC"], ["SYNC"]):
            self.same(["SCRIPT", "LOAD", "return 1"], ["SCRIPT", "FLUSH"] + how)
            self.same(["SCRIPT", "EXISTS", hashlib.sha1(b"return 1").hexdigest()])
        self.same(["SCRIPT", "HELP"], ["SCRIPT"], ["SCRIPT", "NOSUCH"], ["SCRIPT", "LOAD"])

    def test_exists_everywhere_or_not(self):
        for only in range(3):
            self.every_shard("SCRIPT", "FLUSH")
            sha = self.cluster.nodes[only]("SCRIPT", "LOAD", "return 'one'")
            self.assertEqual(self.c[2]("SCRIPT", "EXISTS", sha), [0])
        self.every_shard("SCRIPT", "LOAD", "return 'one'")
        self.assertEqual(self.c[3]("SCRIPT", "EXISTS", sha, "nosuch"), [1, 0])

    def test_debug(self):
        self.same(["SCRIPT", "DEBUG", "NO"], ["SCRIPT", "DEBUG", "x"], ["SCRIPT", "DEBUG"])
        self.assertError(self.c[2]("SCRIPT", "DEBUG", "YES"), "ERR")
        self.assertError(self.c[3]("SCRIPT", "DEBUG", "sync"), "ERR")

    def test_kill_without_one(self):
        self.same(["SCRIPT", "KILL"], ["FUNCTION", "KILL"], ["SCRIPT", "KILL", "x"], ["FUNCTION", "KILL", "x"])

    def started(self, shard, *command):
        """A client of the proxy whose command runs at the shard until it is killed."""
        runner = self.client()
        runner.cmd(*command)

        self.wait_busy(self.cluster.nodes[shard])
        return runner

    def wait_busy(self, node):
        with node.client() as c:
            wait_until(lambda: getattr(c("DBSIZE"), "code", "") == "BUSY", 10, "the script to run")

    def test_kill(self):
        for resp in (2, 3):
            runner = self.started(1, "EVAL", BUSY, 1, self.cluster.key(1))
            self.assertEqual(self.c[resp]("SCRIPT", "KILL"), b"OK")
            self.assertError(runner.read(), KILLED)
            self.assertError(self.c[resp]("SCRIPT", "KILL"), "NOTBUSY")

    def test_unkillable_wins(self):
        wrote = self.cluster.key(0)
        sly = "redis.call('SET', KEYS[1], 'x') local t repeat t = redis.call('TIME') until t[1] + 0 > tonumber(ARGV[1]) return 'done'"
        until = int(self.cluster.nodes[0]("TIME")[0]) + 1 + int(4 * harness.TIME_SCALE)
        first = self.started(0, "EVAL", sly, 1, wrote, until)
        second = self.started(2, "EVAL", BUSY, 1, self.cluster.key(2))
        self.assertError(self.c[2]("SCRIPT", "KILL"), "UNKILLABLE Sorry the script already executed write commands")
        self.assertError(second.read(), KILLED)
        self.assertEqual(first.read(), b"done")

    def test_function_kill_and_stats(self):
        self.same(["FUNCTION", "LOAD", BUSY_LIBRARY])
        self.same_members(["FUNCTION", "STATS"])
        runner = self.started(2, "FCALL", "spin", 1, self.cluster.key(2))
        for resp in (2, 3):
            stats = pairs(self.c[resp].ok("FUNCTION", "STATS"))
            running = pairs(stats[b"running_script"])
            self.assertEqual(running[b"name"], b"spin")
            self.assertEqual(running[b"command"][0], b"FCALL")
            self.assertEqual(self.c[resp].raw[:1], b"*" if resp == 2 else b"%")
        self.assertError(self.c[2]("SCRIPT", "KILL"), "BUSY")
        self.assertEqual(self.c[2]("FUNCTION", "KILL"), b"OK")
        self.assertError(runner.read(), KILLED)
        self.same(["FUNCTION", "FLUSH"])

    def test_busy_is_told(self):
        """A script that somebody runs at the node itself: the answer is the node's, as it would be of one Redis."""
        node = self.cluster.primary_of(0)
        direct = node.client()
        self.addCleanup(direct.close)
        try:
            direct.cmd("EVAL", BUSY, 0)
            self.wait_busy(node)
            key = self.cluster.key(0)
            for resp in (2, 3):
                for command in (["GET", key], ["SET", key, "v"], ["DBSIZE"], ["FLUSHALL"], ["KEYS", "*"], ["RANDOMKEY"], ["SCAN", "0"]):
                    self.assertError(self.c[resp](*command), "BUSY Redis is busy running a script")
            reply = self.c[2]("CONFIG", "SET", "maxmemory-samples", "6", "slowlog-max-len", "99")
            self.assertError(reply, "ERR CONFIG SET failed at node %s (BUSY " % node.addr)
            self.assertIn("2 of 3 nodes have the new values, Keyway's own settings are as before", reply.text)
            self.assertEqual(self.c[2]("CONFIG", "GET", "slowlog-max-len")[1], b"128")
            self.assertIn(node.addr, self.c[2]("CONFIG", "RESETSTAT").text)
        finally:
            self.assertEqual(self.c[2]("SCRIPT", "KILL"), b"OK")
            self.assertError(direct.read(), KILLED)

    def test_busy_with_a_script_that_came_the_same_way(self):
        """One worker, so that the others' commands would take the link that the script holds. It may take a second to see."""
        proxy = self.start_proxy({"workers": 1})
        with proxy.client() as runner, proxy.client() as other:
            runner.cmd("EVAL", BUSY, 1, self.cluster.key(1))
            self.wait_busy(self.cluster.nodes[1])
            began = int(self.cluster.nodes[0]("TIME")[0])
            wait_until(lambda: int(self.cluster.nodes[0]("TIME")[0]) > began + 2, 10, "two seconds to go by")
            # For the proxy too, should all have stood still: its timers run before what comes behind this.
            self.assertEqual(other("PING"), b"PONG")
            try:
                for command in (["GET", self.cluster.key(1)], ["DBSIZE"]):
                    self.assertError(other(*command), "BUSY Redis is busy running a script")
            finally:
                self.assertEqual(other("SCRIPT", "KILL"), b"OK")
                self.assertError(runner.read(), KILLED)

    def test_functions(self):
        code = "#!lua name=lib\nredis.register_function('f', function(k, a) return a[1] end)"
        self.same(["FUNCTION", "LOAD", code], ["FUNCTION", "LOAD", code], ["FUNCTION", "LOAD", "REPLACE", code], ["FUNCTION", "LOAD", "x"])
        self.same(["FCALL", "f", "1", "k", "hello"], ["FUNCTION", "LIST"], ["FUNCTION", "LIST", "LIBRARYNAME", "l*", "WITHCODE"])
        self.same(["FUNCTION", "LIST", "NOSUCH"], ["FUNCTION", "DUMP"], ["FUNCTION", "HELP"], ["FUNCTION", "NOSUCH"], ["FUNCTION"])
        self.same_members(["FUNCTION", "STATS"])
        payload = self.c[2].ok("FUNCTION", "DUMP")
        self.same(["FUNCTION", "DELETE", "lib"], ["FUNCTION", "DELETE", "lib"], ["FUNCTION", "LIST"])
        self.same(["FUNCTION", "RESTORE", payload], ["FUNCTION", "RESTORE", payload], ["FUNCTION", "RESTORE", payload, "REPLACE"])
        self.same(["FUNCTION", "RESTORE", "x" * 20], ["FUNCTION", "RESTORE", payload, "NOSUCH"], ["FUNCTION", "FLUSH", "NOW"])
        for shard in range(3):
            self.assertEqual(self.c[2]("FCALL", "f", 1, self.cluster.key(shard), "x"), b"x")
        self.same(["FUNCTION", "FLUSH", "SYNC"], ["FUNCTION", "LIST"], ["FUNCTION", "FLUSH", "ASYNC"])


class Acl(Wide):
    def test_who_and_users(self):
        self.same(["ACL", "WHOAMI"], ["ACL", "LIST"], ["ACL", "USERS"], ["ACL", "GETUSER", "default"], ["ACL", "GETUSER", "nobody"])
        self.same(["ACL", "WHOAMI", "x"], ["ACL", "GETUSER"], ["ACL"], ["ACL", "NOSUCH"], ["ACL", "HELP"])

    def test_with_a_password(self):
        self.j[2].ok("CONFIG", "SET", "requirepass", "secret of 64 bytes or more, so that the digest needs two blocks.")
        self.c[2].ok("CONFIG", "SET", "requirepass", "secret of 64 bytes or more, so that the digest needs two blocks.")
        try:
            self.same(["ACL", "LIST"], ["ACL", "GETUSER", "default"])
            for word in ("a" * 55, "a" * 56, "a" * 63, "a" * 64, "short"):
                self.j[2].ok("CONFIG", "SET", "requirepass", word), self.c[2].ok("CONFIG", "SET", "requirepass", word)
                self.same(["ACL", "LIST"])
        finally:
            self.c[2].ok("CONFIG", "SET", "requirepass", ""), self.j[2].ok("CONFIG", "SET", "requirepass", "")
        self.same(["ACL", "LIST"])

    def test_categories(self):
        self.same(["ACL", "CAT"], ["ACL", "CAT", "nosuch"], ["ACL", "CAT", "geo", "x"], ["ACL", "CAT", ""])
        for category in self.judge("ACL", "CAT"):
            self.same_members(["ACL", "CAT", category])
        self.same_members(["ACL", "CAT", "GEO"])

    def test_genpass(self):
        for resp in (2, 3):
            self.assertRegex(self.c[resp].ok("ACL", "GENPASS"), rb"^[0-9a-f]{64}$")
            self.assertRegex(self.c[resp].ok("ACL", "GENPASS", 5), rb"^[0-9a-f]{2}$")
            self.assertRegex(self.c[resp].ok("ACL", "GENPASS", 4096), rb"^[0-9a-f]{1024}$")
            self.assertNotEqual(self.c[resp].ok("ACL", "GENPASS"), self.c[resp].ok("ACL", "GENPASS"))
        self.same(["ACL", "GENPASS", "0"], ["ACL", "GENPASS", "4097"], ["ACL", "GENPASS", "x"], ["ACL", "GENPASS", "1", "2"])

    def test_log_and_dryrun(self):
        self.same(["ACL", "LOG"], ["ACL", "LOG", "5"], ["ACL", "LOG", "x"], ["ACL", "LOG", "RESET"], ["ACL", "LOG", "1", "2"])
        self.same(["ACL", "DRYRUN", "default", "get", "k"], ["ACL", "DRYRUN", "default", "get"], ["ACL", "DRYRUN", "nobody", "get", "k"])
        self.same(["ACL", "DRYRUN", "default", "nosuch"], ["ACL", "DRYRUN", "default", "config"], ["ACL", "DRYRUN", "default"])
        self.same(["ACL", "DRYRUN", "default", "config", "nosuch"], ["ACL", "DRYRUN", "default", "config", "get", "x"])


class Command(Wide):
    """The table is compared element by element in test_command_table.py; here the whole way through the proxy."""

    def freeze(self, value):
        """Maps and sets in any order."""
        if isinstance(value, list):
            return tuple(sorted((self.freeze(v) for v in value), key=repr))
        return tuple(self.freeze(v) for v in value) if isinstance(value, tuple) else value

    def test_everything(self):
        # A server's own order is that of its hash table.
        for resp in (2, 3):
            for command in (["COMMAND"], ["COMMAND", "LIST"], ["COMMAND", "INFO"]):
                got, want = self.c[resp].ok(*command), self.j[resp].ok(*command)
                self.assertEqual(self.freeze(got), self.freeze(want), command)
                self.assertEqual(self.c[resp].raw[:5], self.j[resp].raw[:5])
        self.same(["COMMAND", "COUNT"], ["COMMAND", "COUNT", "x"], ["COMMAND", "HELP"], ["COMMAND", "NOSUCH"])

    def test_info_and_docs(self):
        for names in (["get"], ["set", "nosuch", "XREAD"], ["config|get"], ["zadd", "eval", "sort", "object"]):
            for resp in (2, 3):
                for sub in ("INFO", "DOCS"):
                    command = ["COMMAND", sub] + names
                    got, want = self.c[resp].ok(*command), self.j[resp].ok(*command)
                    self.assertEqual(self.freeze(got), self.freeze(want), command)
                    self.assertEqual(sorted(self.c[resp].raw), sorted(self.j[resp].raw), command)

    def test_keys(self):
        for what in ("GETKEYS", "GETKEYSANDFLAGS"):
            self.same(
                ["COMMAND", what, "SET", "a", "b"],
                ["COMMAND", what, "MSET", "a", "1", "b", "2"],
                ["COMMAND", what, "EVAL", "return 1", "2", "a", "b"],
                ["COMMAND", what, "SORT", "a", "STORE", "b"],
                ["COMMAND", what, "PING"],
                ["COMMAND", what, "NOSUCH"],
                ["COMMAND", what, "GET"],
                ["COMMAND", what],
            )

    def test_list_filters(self):
        self.same_members(["COMMAND", "LIST", "FILTERBY", "ACLCAT", "geo"], ["COMMAND", "LIST", "FILTERBY", "PATTERN", "*scan"])
        self.same(["COMMAND", "LIST", "FILTERBY", "MODULE", "x"], ["COMMAND", "LIST", "FILTERBY"], ["COMMAND", "LIST", "NOSUCH", "x", "y"])


class InTransactions(Wide):
    def test_what_cannot_be_queued_says_so(self):
        for command in (["LATENCY", "LATEST"], ["ROLE"], ["ACL", "WHOAMI"], ["MEMORY", "STATS"], ["SCRIPT", "EXISTS", "x"]):
            self.c[2].ok("MULTI")
            self.assertIsInstance(self.c[2](*command), ReplyError)
            self.assertError(self.c[2]("EXEC"), "EXECABORT")

    def test_order_in_a_pipeline(self):
        for key in [self.cluster.key(shard) for shard in range(3)] * 3:
            commands = [["SET", key, "1"], ["DBSIZE"], ["LATENCY", "LATEST"], ["GET", key], ["ROLE"], ["SCRIPT", "KILL"]]
            got = self.c[2].pipeline(commands + [["DEL", key], ["DBSIZE"]])
            self.assertEqual(got[:4], [b"OK", 1, [], b"1"])
            self.assertEqual(got[4][0], b"master")
            self.assertError(got[5], "NOTBUSY")
            self.assertEqual(got[6:], [1, 0], "what came behind the kill overtook it")


if __name__ == "__main__":
    harness.main()
