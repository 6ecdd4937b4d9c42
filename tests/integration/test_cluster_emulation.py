#!/usr/bin/python3
# timeout: 300
"""
The proxies as a cluster: what CLUSTER, READONLY and ASKING answer, and that cluster clients work with it.

A real node of the cluster behind is the judge of shapes and errors: it has as many primaries as there are proxies here,
so that replies must agree in everything but names and numbers. The clients are redis-py (4.3 looks for cluster_enabled
in INFO before it asks for the slots), redis-cli and redis-benchmark; none of them is told more than one port.
"""

import logging
import re
import subprocess

import harness
from harness import Client, ProxyTest, Proxy, ReplyError, Server, free_port, parse_info, slot_of, wait_until

import redis
from redis.cluster import RedisCluster
from redis.exceptions import RedisClusterException, ResponseError

logging.getLogger("redis").setLevel(logging.CRITICAL + 1)

DISABLED = "ERR This instance has cluster support disabled"


def kinds(raw):
    """
    The shape of a reply: a nested list of type characters, each with what must agree: counts, names in maps, errors.
    """

    def take(pos, keep):
        end = raw.index(b"\r\n", pos)
        kind, rest = raw[pos : pos + 1].decode(), raw[pos + 1 : end]
        pos = end + 2
        if kind in "*%~":
            parts = []
            for i in range(int(rest) * (2 if kind == "%" else 1)):
                part, pos = take(pos, (kind == "%" and i % 2 == 0))
                parts.append(part)
            return [kind] + parts, pos
        if kind in "$=":
            text = raw[pos : pos + int(rest)]
            return (kind + text.decode() if keep else kind), pos + int(rest) + 2
        return (kind + rest.decode() if kind == "-" else kind), pos

    shape, pos = take(0, False)
    assert pos == len(raw), raw
    return shape


class Emulation(ProxyTest):
    """Three proxies in front of three shards, each of which knows of all."""

    @classmethod
    def setUpClass(cls):
        cls.proxies = []
        super().setUpClass()
        ports = [free_port() for _ in range(3)]
        cls.names = ["%s:%d" % (harness.HOST, port) for port in ports]
        cls.proxies = [cls.make_proxy(port) for port in ports]

    @classmethod
    def make_proxy(cls, port):
        return Proxy(cls.cluster, {"cluster-announce-proxies": cls.names, "workers": 2}, port=port)

    @classmethod
    def tearDownClass(cls):
        try:
            for proxy in cls.proxies:
                proxy.stop()
        finally:
            super().tearDownClass()

    def ask(self, server, resp, *words):
        """Reply and raw bytes, on a connection of its own."""
        with server.client() as c:
            if resp == 3:
                c.ok("HELLO", 3)
            return c(*words), c.raw

    def sums(self, command):
        """Calls of a command at each of the three proxies."""
        counts = []
        for proxy in self.proxies:
            text = proxy.info("commandstats").get("cmdstat_" + command, "calls=0,")
            counts.append(int(re.match(r"calls=(\d+)", text).group(1)))
        return counts


class Replies(Emulation):
    def test_shapes_are_those_of_a_node(self):
        node = self.cluster.nodes[0]
        key = self.cluster.key(0)
        slot = slot_of(key)
        node("SET", key, "v")
        self.addCleanup(node, "DEL", key)
        for resp in (2, 3):
            for words in (
                ["SLOTS"],
                ["SHARDS"],
                ["NODES"],
                ["INFO"],
                ["MYID"],
                ["KEYSLOT", key],
                ["COUNTKEYSINSLOT", slot],
                ["GETKEYSINSLOT", slot, 10],
                ["GETKEYSINSLOT", slot + 1, 10],
            ):
                with self.subTest(words=words, resp=resp):
                    real = self.ask(node, resp, "CLUSTER", *words)[1]
                    ours = self.ask(self.proxies[0], resp, "CLUSTER", *words)[1]
                    self.assertEqual(kinds(ours), kinds(real))
            for words in (["REPLICAS"], ["SLAVES"], ["COUNT-FAILURE-REPORTS"]):
                with self.subTest(words=words, resp=resp):
                    real = self.ask(node, resp, "CLUSTER", *words, node.id)[1]
                    me = self.proxies[0].client()("CLUSTER", "MYID")
                    self.assertEqual(self.ask(self.proxies[0], resp, "CLUSTER", *words, me)[1], real)
            for words in (["READONLY"], ["READWRITE"], ["ASKING"]):
                self.assertEqual(self.ask(self.proxies[0], resp, *words)[1], self.ask(node, resp, *words)[1])
            self.assertEqual(self.ask(self.proxies[0], resp, "CLUSTER", "LINKS")[1], b"*0\r\n")
            lines, raw = self.ask(self.proxies[0], resp, "CLUSTER", "HELP")
            self.assertEqual(set(kinds(raw)[1:]), {"+"})
            self.assertEqual(lines[0], self.ask(node, resp, "CLUSTER", "HELP")[0][0])

    def test_errors_are_those_of_a_node(self):
        for words in (
            ["CLUSTER"],
            ["CLUSTER", "NOSUCH"],
            ["CLUSTER", "SLOTS", "x"],
            ["CLUSTER", "KEYSLOT"],
            ["CLUSTER", "COUNTKEYSINSLOT"],
            ["CLUSTER", "COUNTKEYSINSLOT", "x"],
            ["CLUSTER", "COUNTKEYSINSLOT", ""],
            ["CLUSTER", "COUNTKEYSINSLOT", "-1"],
            ["CLUSTER", "COUNTKEYSINSLOT", "16384"],
            ["CLUSTER", "COUNTKEYSINSLOT", "99999999999999999999"],
            ["CLUSTER", "COUNTKEYSINSLOT", "007"],
            ["CLUSTER", "COUNTKEYSINSLOT", " 7"],
            ["CLUSTER", "GETKEYSINSLOT", "1"],
            ["CLUSTER", "GETKEYSINSLOT", "16384", "1"],
            ["CLUSTER", "GETKEYSINSLOT", "-1", "1"],
            ["CLUSTER", "GETKEYSINSLOT", "x", "1"],
            ["CLUSTER", "GETKEYSINSLOT", "1", "x"],
            ["CLUSTER", "GETKEYSINSLOT", "1", "-1"],
            ["CLUSTER", "REPLICAS", "x"],
            ["CLUSTER", "REPLICAS", "a" * 40],
            ["CLUSTER", "SLAVES", "a" * 41],
            ["CLUSTER", "COUNT-FAILURE-REPORTS", ""],
            ["READONLY", "x"],
            ["READWRITE", "x"],
            ["ASKING", "x"],
        ):
            with self.subTest(words=words):
                real = self.ask(self.cluster.nodes[0], 2, *words)[1]
                self.assertEqual(real[:1], b"-")
                self.assertEqual(self.ask(self.proxies[0], 2, *words)[1], real)

    def test_slots_are_shared_evenly_and_all_proxies_agree(self):
        ranges = [(0, 5460), (5461, 10921), (10922, 16383)]
        replies = [self.ask(proxy, 2, "CLUSTER", "SLOTS")[1] for proxy in self.proxies]
        self.assertEqual(replies[0], replies[1])
        self.assertEqual(replies[0], replies[2])
        shards = [self.ask(proxy, 2, "CLUSTER", "SHARDS")[1] for proxy in self.proxies]
        self.assertEqual(shards[0], shards[1])
        self.assertEqual(shards[0], shards[2])
        slots = self.ask(self.proxies[0], 2, "CLUSTER", "SLOTS")[0]
        ids = [proxy.client()("CLUSTER", "MYID") for proxy in self.proxies]
        self.assertEqual(len(set(ids)), 3)
        for row, (low, high), proxy, node_id in zip(slots, ranges, self.proxies, ids):
            self.assertEqual(row, [low, high, [harness.HOST.encode(), proxy.port, node_id, []]])
        for proxy, node_id in zip(self.proxies, ids):
            lines = proxy.client()("CLUSTER", "NODES").decode().splitlines()
            for line, (low, high), other, other_id in zip(lines, ranges, self.proxies, ids):
                flags = "myself,master" if other is proxy else "master"
                wanted = "%s %s:%d@0 %s - 0 0 " % (other_id.decode(), harness.HOST, other.port, flags)
                self.assertTrue(line.startswith(wanted), line)
                self.assertTrue(line.endswith(" connected %d-%d" % (low, high)), line)
            self.assertEqual(len(lines), 3)

    def test_nodes_lines_are_those_of_a_node(self):
        line = re.compile(
            r"[0-9a-f]{40} 127\.0\.0\.1:\d+@\d+ (myself,)?master - \d+ \d+ \d+ connected \d+-\d+\n"
        )
        for server in (self.cluster.nodes[0], self.proxies[0]):
            text = server.client()("CLUSTER", "NODES").decode()
            self.assertEqual(len(line.findall(text)), 3, text)
            self.assertEqual(line.sub("", text), "")
            self.assertEqual(text.count("myself"), 1)

    def test_info_has_the_fields_of_a_node(self):
        real = self.ask(self.cluster.nodes[0], 2, "CLUSTER", "INFO")[0].decode()
        ours = self.ask(self.proxies[1], 2, "CLUSTER", "INFO")[0].decode()
        of_bus = re.compile(r"cluster_stats_messages_\w+_(sent|received):\d+\r\n")
        names = [re.findall(r"^(\w+):", text, re.M) for text in (of_bus.sub("", real), ours)]
        self.assertEqual(names[1], names[0])
        wanted = {
            "cluster_state": "ok",
            "cluster_slots_assigned": "16384",
            "cluster_slots_ok": "16384",
            "cluster_slots_pfail": "0",
            "cluster_slots_fail": "0",
            "cluster_known_nodes": "3",
            "cluster_size": "3",
            "cluster_current_epoch": "3",
            "cluster_my_epoch": "2",
        }

        def settled():
            fields = parse_info(self.ask(self.proxies[1], 2, "CLUSTER", "INFO")[0])
            return fields if fields["cluster_slots_ok"] == "16384" else None

        # Clients are let in before the last node has answered, where that takes long.
        fields = wait_until(settled, 20, "every node to have answered")
        self.assertEqual({name: fields[name] for name in wanted}, wanted)

    def test_what_changes_a_cluster_is_refused(self):
        node_id = self.cluster.nodes[0].id
        c = self.proxies[0].client()
        for words in (
            ["ADDSLOTS", 1],
            ["ADDSLOTSRANGE", 1, 2],
            ["BUMPEPOCH"],
            ["DELSLOTS", 1],
            ["DELSLOTSRANGE", 1, 2],
            ["FAILOVER"],
            ["FLUSHSLOTS"],
            ["FORGET", node_id],
            ["MEET", "127.0.0.1", 1],
            ["REPLICATE", node_id],
            ["RESET"],
            ["SAVECONFIG"],
            ["SET-CONFIG-EPOCH", 1],
            ["SETSLOT", 1, "STABLE"],
        ):
            with self.subTest(words=words):
                reply = c("CLUSTER", *words)
                self.assertError(reply, "ERR 'cluster|%s' is not supported through Keyway: " % words[0].lower())
                self.assertIn("send it to a node itself", reply.text)
        self.cluster.wait_ok()

    def test_keys_are_counted_where_the_slot_lives(self):
        c = self.proxies[0].client()
        for shard in range(3):
            slot = slot_of(self.cluster.key(shard))
            keys = [self.cluster.key(shard, "count%d" % i) for i in range(5)]
            c.ok("MSET", *[w for key in keys for w in (key, 1)])
            self.addCleanup(self.cluster.flush)
            self.assertEqual(c("CLUSTER", "COUNTKEYSINSLOT", slot), 5)
            self.assertEqual(sorted(c("CLUSTER", "GETKEYSINSLOT", slot, 10)), sorted(k.encode() for k in keys))
            self.assertEqual(len(c("CLUSTER", "GETKEYSINSLOT", slot, 2)), 2)
            replies = c.pipeline([("MULTI",), ("CLUSTER", "COUNTKEYSINSLOT", slot), ("GET", keys[0]), ("EXEC",)])
            self.assertEqual(replies[3], [5, b"1"])

    def test_keys_are_counted_after_a_slot_moved(self):
        slot = slot_of(self.cluster.key(0, n=3))
        source, target = self.cluster.owner(slot), self.cluster.nodes[1]
        c = self.proxies[0].client()
        c.ok("SET", self.cluster.key(0, n=3), 1)
        self.addCleanup(self.cluster.flush)
        self.cluster.migrate_slot(slot, target)
        self.addCleanup(self.cluster.migrate_slot, slot, source)
        # A GET follows the redirect at once and teaches the worker where the slot is. A map that was being put together
        # just then is of a moment before and can undo that; the next one is right.
        self.assertEqual(c("GET", self.cluster.key(0, n=3)), b"1")
        wait_until(lambda: c("CLUSTER", "COUNTKEYSINSLOT", slot) == 1, 10, "the slot to be asked for at its new place")

    def test_state_is_that_of_the_shards(self):
        slot = slot_of(self.cluster.key(2, n=5))
        owner = self.cluster.owner(slot)

        def fields():
            return parse_info(self.proxies[0].client()("CLUSTER", "INFO"))

        owner("CLUSTER", "DELSLOTS", slot)
        try:
            wait_until(lambda: fields()["cluster_state"] == "fail", 20, "cluster_state:fail")
            self.assertEqual(fields()["cluster_slots_assigned"], "16383")
            self.assertEqual(fields()["cluster_slots_ok"], "16383")
        finally:
            owner("CLUSTER", "ADDSLOTS", slot)
        wait_until(lambda: fields()["cluster_state"] == "ok", 20, "cluster_state:ok")
        self.cluster.wait_ok()

        owner.freeze()
        try:
            wait_until(lambda: fields()["cluster_slots_fail"] == "5462", 30, "the shard's slots to count as failed")
            self.assertEqual(fields()["cluster_slots_ok"], str(16384 - 5462))
        finally:
            self.cluster.heal()
        wait_until(lambda: fields()["cluster_slots_ok"] == "16384", 30, "all slots to be well")

    def test_replies_keep_their_order(self):
        c = self.proxies[0].client()
        key = self.cluster.key(0)
        slot = slot_of(key)
        replies = c.pipeline(
            [
                ("SET", key, 1),
                ("CLUSTER", "KEYSLOT", key),
                ("CLUSTER", "COUNTKEYSINSLOT", slot),
                ("READONLY",),
                ("DEL", key),
                ("CLUSTER", "COUNTKEYSINSLOT", slot),
            ]
        )
        self.assertEqual(replies, [b"OK", slot, 1, b"OK", 1, 0])


class WhoIsTold(Emulation):
    """cluster_enabled, and the setting that rules it."""

    def test_a_plain_client_sees_no_cluster(self):
        plain = self.client()
        with RedisCluster(host=harness.HOST, port=self.proxy.port, read_from_replicas=True) as other:
            self.assertTrue(other.ping())
            for section in ([], ["everything"], ["cluster"], ["server", "cluster"]):
                info = parse_info(plain.ok("INFO", *section))
                self.assertEqual(info["cluster_enabled"], "0")
                self.assertEqual(info.get("redis_mode", "standalone"), "standalone")

    def test_a_client_that_asked_sees_one(self):
        asked = [["CLUSTER", sub] for sub in ("SLOTS", "SHARDS", "NODES", "INFO", "MYID")]
        for words in asked + [["READONLY"], ["READWRITE"], ["ASKING"]]:
            with self.subTest(words=words):
                c = self.client()
                c.ok(*words)
                info = parse_info(c.ok("INFO"))
                self.assertEqual((info["cluster_enabled"], info["redis_mode"]), ("1", "cluster"))

    def test_yes_tells_everybody(self):
        proxy = self.start_proxy({"cluster-emulation": "yes"})
        info = proxy.info()
        self.assertEqual((info["cluster_enabled"], info["redis_mode"]), ("1", "cluster"))

    def test_no_tells_nobody(self):
        proxy = self.start_proxy({"cluster-emulation": "no"})
        with Server() as plain:
            for words in (["CLUSTER", "SLOTS"], ["CLUSTER", "NODES"], ["CLUSTER", "INFO"], ["CLUSTER", "SHARDS"],
                          ["CLUSTER", "HELP"], ["CLUSTER", "KEYSLOT", "a"], ["CLUSTER", "LINKS"],
                          ["READONLY"], ["READWRITE"], ["ASKING"]):
                with self.subTest(words=words):
                    self.assertEqual(self.ask(plain, 2, *words)[0].text, DISABLED)
                    self.assertEqual(self.ask(proxy, 2, *words)[0], ReplyError(DISABLED))
        with proxy.client() as c:
            c("CLUSTER", "SLOTS")
            self.assertEqual(parse_info(c.ok("INFO"))["cluster_enabled"], "0")

    def test_settings_change_at_run_time(self):
        proxy = self.start_proxy()
        with proxy.client() as c:
            self.assertEqual(len(c.ok("CLUSTER", "SLOTS")), 1)
            c.ok("CONFIG", "SET", "cluster-announce-proxies", "%s kw-2.example:7379,[fd00::1]:7380" % proxy_name(proxy))
            self.assertEqual(
                [[row[2][0], row[2][1]] for row in c.ok("CLUSTER", "SLOTS")],
                [[b"127.0.0.1", proxy.port], [b"kw-2.example", 7379], [b"fd00::1", 7380]],
            )
            nodes = c.ok("CLUSTER", "NODES").decode().splitlines()
            self.assertIn(" kw-2.example:7379@0,kw-2.example master ", nodes[1])
            self.assertIn(" fd00::1:7380@0 master ", nodes[2])
            named = dict(zip(*[iter(c.ok("CLUSTER", "SHARDS")[1][3][0])] * 2))
            self.assertEqual((named[b"endpoint"], named[b"hostname"]), (b"kw-2.example", b"kw-2.example"))
            self.assertError(c("CONFIG", "SET", "cluster-announce-proxies", "nonsense"), "ERR CONFIG SET failed")
            self.assertEqual(len(c.ok("CLUSTER", "SLOTS")), 3)
            c.ok("CONFIG", "SET", "cluster-announce-proxies", "")
            self.assertEqual(len(c.ok("CLUSTER", "SLOTS")), 1)
            self.assertEqual(c.ok("CONFIG", "SET", "cluster-emulation", "no"), b"OK")
            self.assertEqual(c("CLUSTER", "SLOTS"), ReplyError(DISABLED))

    def test_alone_it_is_announced_as_the_client_came(self):
        proxy = self.start_proxy({"bind": "0.0.0.0"})
        seen = []
        for host in ("127.0.0.1", "127.0.0.2"):
            with Client(proxy.port, host=host) as c:
                slots = c.ok("CLUSTER", "SLOTS")
                self.assertEqual(slots, [[0, 16383, [host.encode(), proxy.port, c.ok("CLUSTER", "MYID"), []]]])
                self.assertIn(" %s:%d@0 myself,master - " % (host, proxy.port), c.ok("CLUSTER", "NODES").decode())
                seen.append(slots[0][2][2])
            with Client(proxy.port, host=host) as c:
                self.assertEqual(c.ok("CLUSTER", "MYID"), seen[-1])
        self.assertNotEqual(seen[0], seen[1])

    def test_myself_among_many(self):
        port = free_port()
        for names, wanted in (
            (["kw-1:%d" % port, "127.0.0.1:%d" % port], 1),  # the address by which the client came
            (["kw-1:%d" % port, "localhost:%d" % port], 1),  # what is bound
            (["kw-1:1", "kw-2:%d" % port], 1),  # the only one with this port
            (["kw-1:%d" % port, "kw-2:%d" % port], 0),  # no telling: the first
            (["kw-1:1", "kw-2:2"], 0),
        ):
            with self.subTest(names=names):
                proxy = self.start_proxy({"cluster-announce-proxies": names, "bind": "localhost"}, port=port)
                with proxy.client() as c:
                    nodes = c.ok("CLUSTER", "NODES").decode().splitlines()
                    self.assertEqual([i for i, line in enumerate(nodes) if " myself," in line], [wanted])
                    self.assertEqual(c.ok("CLUSTER", "MYID").decode(), nodes[wanted][:40])
                proxy.stop()


def proxy_name(proxy):
    return "%s:%d" % (harness.HOST, proxy.port)


class Clients(Emulation):
    """Real cluster clients, each given one proxy of three."""

    @classmethod
    def make_proxy(cls, port):
        directives = {"cluster-announce-proxies": cls.names, "cluster-emulation": "yes", "workers": 2}
        return Proxy(cls.cluster, directives, port=port)

    def setUp(self):
        self.addCleanup(self.cluster.flush)

    def use(self, rc):
        """What applications do with a RedisCluster."""
        before = self.sums("set")
        for i in range(300):
            self.assertTrue(rc.set("k%d" % i, i))
        spread = [now - then for now, then in zip(self.sums("set"), before)]
        self.assertEqual(sum(spread), 300)
        self.assertGreater(min(spread), 50, "each proxy has its share: %r" % spread)
        self.assertEqual([rc.get("k%d" % i) for i in range(300)], [b"%d" % i for i in range(300)])

        pipe = rc.pipeline()
        for i in range(300):
            pipe.incr("k%d" % i)
            pipe.get("k%d" % i)
        wanted = [v for i in range(300) for v in (i + 1, b"%d" % (i + 1))]
        self.assertEqual(pipe.execute(), wanted)

        self.assertTrue(all(rc.mset_nonatomic({"a": 1, "b": 2, "c": 3, "d": 4})))
        self.assertEqual(rc.mget_nonatomic("a", "b", "none", "c", "d"), [b"1", b"2", None, b"3", b"4"])
        self.assertEqual(rc.exists("a", "b", "none"), 2)
        self.assertEqual(rc.touch("a", "b", "c"), 3)
        self.assertEqual(rc.delete("a", "b", "c", "none"), 3)
        self.assertEqual(rc.unlink("d"), 1)
        self.assertTrue(rc.mset({"{t}1": 1, "{t}2": 2}))
        self.assertEqual(rc.mget("{t}1", "{t}2"), [b"1", b"2"])
        self.assertEqual(rc.eval("return redis.call('get', KEYS[1])", 1, "k7"), b"8")
        self.assertEqual(rc.register_script("return {KEYS[1], ARGV[1]}")(keys=["s"], args=["x"]), [b"s", b"x"])

        self.assertEqual(set(rc.cluster_nodes()), set(self.names))
        self.assertEqual(rc.cluster_info()["cluster_state"], "ok")
        self.assertEqual(rc.cluster_keyslot("k7"), slot_of("k7"))
        self.assertEqual(rc.cluster_countkeysinslot(slot_of("k7")), 1)
        self.assertEqual(rc.cluster_get_keys_in_slot(slot_of("k7"), 5), ["k7"])
        with self.assertRaises(ResponseError):
            rc.cluster_meet("127.0.0.1", 1)

    def test_redis_py(self):
        with RedisCluster(host=harness.HOST, port=self.proxies[1].port) as rc:
            self.assertEqual({node.name for node in rc.get_primaries()}, set(self.names))
            self.assertEqual(rc.get_replicas(), [])
            self.use(rc)

    def test_redis_py_that_reads_from_replicas(self):
        with RedisCluster(host=harness.HOST, port=self.proxies[1].port, read_from_replicas=True) as rc:
            self.use(rc)

    def test_redis_py_with_one_proxy(self):
        proxy = self.start_proxy({"cluster-emulation": "yes"})
        with RedisCluster(host=harness.HOST, port=proxy.port) as rc:
            self.assertEqual([node.name for node in rc.get_nodes()], [proxy_name(proxy)])
            pipe = rc.pipeline()
            for i in range(100):
                pipe.set("k%d" % i, i)
            self.assertEqual(pipe.execute(), [True] * 100)
            self.assertEqual(rc.mget_nonatomic("k1", "k2"), [b"1", b"2"])
            self.assertEqual(rc.dbsize(), 100)
            self.assertEqual(len(rc.keys("k*")), 100)

    def test_redis_py_where_plain_clients_see_none(self):
        """It looks at INFO first, as a plain client may: that one is told 0 all the same."""
        for options in ({}, {"read_from_replicas": True}):
            with RedisCluster(host=harness.HOST, port=self.proxy.port, **options) as rc:
                self.assertTrue(rc.set("k", "v"))
                self.assertEqual(rc.get("k"), b"v")
        plain = redis.Redis(port=self.proxy.port)
        self.addCleanup(plain.close)
        self.assertEqual(plain.info("cluster")["cluster_enabled"], 0)
        self.assertEqual(plain.info()["cluster_enabled"], 0)
        c = self.client()
        self.assertEqual(parse_info(c.ok("INFO"))["cluster_enabled"], "0")

    def test_redis_py_with_a_password(self):
        proxy = self.start_proxy({"cluster-emulation": "yes", "requirepass": "s3cret"})
        with proxy.client(password=None) as c:
            self.assertError(c("CLUSTER", "SLOTS"), "NOAUTH")
            self.assertError(c("READONLY"), "NOAUTH")
        with RedisCluster(host=harness.HOST, port=proxy.port, password="s3cret") as rc:
            self.assertTrue(rc.set("k", "v"))
            self.assertEqual(rc.get("k"), b"v")
        with self.assertRaises((RedisClusterException, redis.exceptions.AuthenticationError)):
            RedisCluster(host=harness.HOST, port=proxy.port, password="wrong")

    def test_a_slot_that_moves_is_not_noticed(self):
        """The proxies keep their shares whatever the shards do: no redirect reaches the client, and it may not retry."""
        slot = slot_of("k1")
        source = self.cluster.owner(slot)
        target = next(node for node in self.cluster.nodes if node is not source)
        with RedisCluster(host=harness.HOST, port=self.proxies[0].port, cluster_error_retry_attempts=1) as rc:
            rc.set("k1", "before")
            self.cluster.migrate_slot(slot, target)
            self.addCleanup(self.cluster.migrate_slot, slot, source)
            self.assertEqual(rc.get("k1"), b"before")
            self.assertTrue(rc.set("k1", "after"))
            self.assertEqual(rc.get("k1"), b"after")

    def run_tool(self, *argv):
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * harness.TIME_SCALE)
        self.assertEqual(done.returncode, 0, done.stdout)
        return done.stdout

    def test_redis_cli(self):
        port = str(self.proxies[0].port)
        self.assertEqual(self.run_tool("redis-cli", "-c", "-p", port, "SET", "foo", "bar"), "OK\n")
        self.assertEqual(self.run_tool("redis-cli", "-c", "-p", str(self.proxies[2].port), "GET", "foo"), "bar\n")
        check = self.run_tool("redis-cli", "--cluster", "check", proxy_name(self.proxies[1]))
        self.assertIn("All nodes agree about slots configuration", check)
        self.assertIn("All 16384 slots covered", check)
        self.assertNotIn("ERR", check)
        called = self.run_tool("redis-cli", "--cluster", "call", proxy_name(self.proxies[0]), "GET", "foo")
        self.assertEqual(re.findall(r"^(\S+): bar$", called, re.M), self.names)

    def test_redis_benchmark(self):
        before = self.sums("set")
        argv = ["redis-benchmark", "--cluster", "-p", str(self.proxies[2].port), "-t", "set,get", "-n", "3000"]
        # Each of its connections sends a command before any sends a second one; what comes then is taken by whoever is quick.
        text = self.run_tool(*argv, "-c", "300", "-r", "100000", "-q")
        self.assertIn("Cluster has 3 master nodes", text)
        self.assertNotIn("rror", text)
        spread = [now - then for now, then in zip(self.sums("set"), before)]
        self.assertGreaterEqual(sum(spread), 3000)
        self.assertGreaterEqual(min(spread), 100, "%r" % spread)


if __name__ == "__main__":
    harness.main()
