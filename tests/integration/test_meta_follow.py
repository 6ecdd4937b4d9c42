#!/usr/bin/python3
# timeout: 400
"""
The proxy follows the metadata service: real Redis nodes, real keyway-meta processes (one, three), a real proxy that is
told of nothing but `meta-nodes`, unless the test is about `cluster-nodes` beside it.
"""

import re
import threading
import time

import harness
import meta_harness
from harness import HOST, Client, Proxy, ReplyError, SlotMove, free_port, wait_until
from meta_harness import MetaCluster, pairs

# A follower is left after 3 s of silence; a node that ends, at once.
ANOTHER_S = 2.0
FROZEN_S = 6.0
# From a change at the Redis nodes to the map at a proxy: they settle it among themselves first.
MAP_S = 10.0


def nodes_text(cluster):
    return cluster.nodes[0]("CLUSTER", "NODES")


class FollowTest(harness.ProxyTest):
    """A cluster, attached to a metadata service of METAS nodes, and a proxy that knows of the latter only."""

    METAS = 3
    PRIMARIES = 2
    SECRET = meta_harness.SECRET
    SEEDS = None
    META_PROXY = True
    PROXY_DIRECTIVES = {}

    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(cls.PRIMARIES, cls.REPLICAS, cls.NODE_TIMEOUT)
        cls.addClassCleanup(cls.cluster.stop)
        cls.meta = MetaCluster(cls.METAS, secret=cls.SECRET)
        cls.addClassCleanup(cls.meta.close)
        cls.meta.leader().keyway("ATTACH", nodes_text(cls.cluster))
        if cls.META_PROXY:
            cls.proxy = cls.new_proxy()

    @classmethod
    def new_proxy(cls, directives=None, nodes=None, wait=True):
        settings = {"meta-nodes": cls.meta.addresses(), "workers": 2, **cls.PROXY_DIRECTIVES}
        if cls.SECRET:
            settings["meta-secret"] = cls.SECRET
        settings.update(directives or {})
        return Proxy(nodes, {name: value for name, value in settings.items() if value is not None}, wait=wait)

    @classmethod
    def tearDownClass(cls):
        if cls.proxy is not None:
            cls.proxy.stop()

    def setUp(self):
        self.meta.heal()
        if self.proxy is not None:
            wait_until(lambda: self.fact("meta_link") == "up", 10, "the proxy to follow")

    def fact(self, name, proxy=None):
        return (proxy or self.proxy).info("metadata").get(name)

    def start(self, directives=None, nodes=None, wait=True):
        proxy = self.new_proxy(directives, nodes, wait)
        self.addCleanup(proxy.stop)
        return proxy

    def followed(self, proxy=None):
        addr = self.fact("meta_node", proxy)
        return next(node for node in self.meta.nodes if node.addr == addr)

    def up_at_another(self, old):
        info = self.proxy.info("metadata")  # in one look: the address may be that of an attempt
        return info["meta_link"] == "up" and info["meta_node"] != old.addr

    def map_version(self):
        return self.meta.leader().status()["map_version"]

    def serves(self, c, mark):
        """Every shard is written and read through the proxy."""
        for shard in range(self.PRIMARIES):
            key = self.cluster.key(shard, "%s-%d" % (mark, shard))
            self.assertEqual(c("SET", key, mark), b"OK")
            self.assertEqual(c("GET", key), to_bytes(mark))


def to_bytes(text):
    return text.encode()


class OneNode(FollowTest):
    METAS = 1
    SECRET = ""

    def test_the_cluster_is_found_by_the_map_alone(self):
        c = self.client()
        self.serves(c, "one")
        self.assertEqual(c.ok("CONFIG", "GET", "meta-nodes"), [b"meta-nodes", self.meta.nodes[0].addr.encode()])
        info = self.proxy.info("metadata")
        self.assertEqual(info["meta_configured"], "1")
        self.assertEqual(info["meta_link"], "up")
        self.assertEqual(info["meta_node"], self.meta.nodes[0].addr)
        wait_until(lambda: self.fact("meta_leader") == self.meta.nodes[0].addr, 5, "the leader to be known")
        wait_until(lambda: int(self.fact("meta_map_version")) == self.map_version(), 5, "the newest map")
        self.assertLess(int(info["meta_last_seen_ms"]), 3000 * harness.TIME_SCALE)
        self.assertEqual(info["meta_reconnects"], "0")

    def test_traffic_goes_on_without_it(self):
        meta = self.meta.nodes[0]
        meta.kill()
        wait_until(lambda: self.fact("meta_link") == "down", 5, "the loss to be seen")
        self.assertNotEqual(self.fact("meta_last_error"), "")
        c = self.client()
        self.serves(c, "alone")
        wait_until(lambda: isinstance(c("KEYWAY", "STATUS"), ReplyError), 5, "the loss to be said")
        self.assertError(c("KEYWAY", "STATUS"), "ERR no metadata node answers")
        meta.start()
        wait_until(lambda: self.fact("meta_link") == "up", ANOTHER_S + 2, "it to be followed again")
        self.serves(c, "again")
        wait_until(lambda: "the service is back" in self.proxy.log(), 5, "it to be said")  # behind the fact, by its thread

    def test_the_map_routes_while_no_node_says_who_serves_what(self):
        for node in self.cluster.nodes:
            node("ACL", "SETUSER", "default", "-cluster")
            self.addCleanup(node, "ACL", "SETUSER", "default", "+cluster")
        proxy = self.start()
        with proxy.client() as c:
            self.serves(c, "by-the-map")
        shards = self.with_shards(proxy)
        self.assertEqual([line.split("state=")[1] for line in shards], ["unreachable"] * self.PRIMARIES)
        wait_until(lambda: proxy.log().count("CLUSTER NODES refused") == len(self.cluster.nodes), 10, "the refusals")
        with proxy.client() as c:
            self.serves(c, "still")

    @staticmethod
    def with_shards(proxy):
        with proxy.client() as c:
            text = c.ok("INFO", "keyway").decode()
        return [line for line in text.split("\r\n") if line.startswith("shard") and "primary=" in line]


class NoService(harness.ProxyTest):
    PRIMARIES = 1

    def test_without_meta_nodes(self):
        c = self.client()
        for words in (["STATUS"], ["help"], ["CONFIG", "SET", "a", "b"], ["nonsense"]):
            self.assertError(c("KEYWAY", *words), "ERR no metadata service is configured (directive meta-nodes)")
        self.assertError(c("KEYWAY"), "ERR wrong number of arguments for 'keyway' command")
        self.assertEqual(self.proxy.info("metadata"), {"meta_configured": "0"})

    def test_command_tells_of_it_by_name_only(self):
        c = self.client()
        self.assertEqual(c.ok("COMMAND", "INFO", "keyway")[0][:2], [b"keyway", -2])
        self.assertNotIn(b"keyway", c.ok("COMMAND", "LIST"))
        self.assertEqual(c.ok("COMMAND", "COUNT"), self.cluster.nodes[0]("COMMAND", "COUNT"))

    def test_bad_settings(self):
        for words, word in ((["--meta-nodes", "nocolon"], "meta-nodes"), (["--meta-nodes", "a:1 b:x"], "meta-nodes")):
            proxy = Proxy(argv=["--port", str(free_port())] + words, wait=False)
            self.assertEqual(proxy.wait(), 2)
            self.assertIn(word, proxy.log())


class ThreeNodes(FollowTest):
    REPLICAS = 1
    # A failover that was not voted for at first makes a primary keep its clients waiting for five seconds.
    PROXY_DIRECTIVES = {"request-timeout": 15000}

    def slots_at_proxy(self):
        return {line.split(",")[0]: line for line in OneNode.with_shards(self.proxy)}

    def test_a_moved_slot_reaches_the_proxy_as_a_map(self):
        slot = 100
        before = self.map_version()
        move = SlotMove(self.cluster, slot, self.cluster.primary_of(1)).begin()
        move.move_all()
        move.finish()
        wait_until(lambda: self.map_version() > before, MAP_S, "the service to see it")
        version = self.map_version()
        wait_until(lambda: int(self.fact("meta_map_version")) >= version, 2, "the map at the proxy")
        logged = lambda: [int(v) for v in re.findall(r"metadata: map (\d+)", self.proxy.log())]
        wait_until(lambda: max(logged(), default=0) >= version, 5, "the log")
        SlotMove(self.cluster, slot, self.cluster.primary_of(0)).begin().move_all().finish()
        wait_until(lambda: self.map_version() > version, MAP_S, "the service to see it")

    def test_a_failover_reaches_the_proxy_as_a_map(self):
        before = self.map_version()
        _, new = self.cluster.failover(1)

        def in_map():
            shards = self.meta.leader().keyway("SHARDS")
            return any(pairs(shard)["primary"] == new.id for shard in shards)

        wait_until(in_map, MAP_S, "the service to see it")
        version = self.map_version()
        self.assertGreater(version, before)
        wait_until(lambda: int(self.fact("meta_map_version")) >= version, 2, "the map at the proxy")
        wait_until(lambda: any(new.addr in line for line in OneNode.with_shards(self.proxy)), 5, "the proxy to use it")
        self.serves(self.client(), "failed-over")

    def test_the_leader_is_followed(self):
        leader = self.meta.leader()
        wait_until(lambda: self.fact("meta_node") == leader.addr, 10, "the proxy to go to the leader")
        wait_until(lambda: self.fact("meta_leader") == leader.addr, 5, "the leader to be known")

    def test_a_killed_node_is_left_for_another(self):
        wait_until(lambda: self.fact("meta_node") == self.meta.leader().addr, 10, "the proxy to go to the leader")
        for _ in range(2):
            old = self.followed()
            reconnects = int(self.fact("meta_reconnects"))
            old.kill()
            wait_until(lambda: self.up_at_another(old), ANOTHER_S, "another node")
            self.assertGreater(int(self.fact("meta_reconnects")), reconnects)
            leader = self.meta.wait_leader(other_than=old)
            wait_until(lambda: self.fact("meta_node") == leader.addr, 5, "the new leader to be followed")
            old.restart()

    def test_a_frozen_node_is_left_for_another(self):
        wait_until(lambda: self.fact("meta_node") == self.meta.leader().addr, 10, "the proxy to go to the leader")
        old = self.followed()
        old.stop()
        try:
            wait_until(lambda: self.up_at_another(old), FROZEN_S, "another node")
        finally:
            old.cont()

    def test_all_gone_and_back(self):
        log_before = len(self.proxy.log())
        stop, failed = threading.Event(), []

        def traffic():
            with self.proxy.client() as c:
                while not stop.is_set():
                    for shard in range(self.PRIMARIES):
                        key = self.cluster.key(shard, "traffic-%d" % shard)
                        if c("SET", key, "x") != b"OK" or c("GET", key) != b"x":
                            failed.append(key)

        worker = harness.Worker(traffic)
        try:
            for node in self.meta.nodes:
                node.kill()
            wait_until(lambda: "goes on with what the Redis nodes say" in self.proxy.log()[log_before:], 10, "the log")
            self.assertEqual(self.fact("meta_link"), "down")
            # What the nodes do is followed without the service, too.
            old, new = self.cluster.failover(0)
            wait_until(lambda: any(new.addr in line for line in OneNode.with_shards(self.proxy)), 10, "the failover")
            self.meta.start()
            wait_until(lambda: self.fact("meta_link") == "up", 5, "the service to be followed again")
            wait_until(lambda: "the service is back" in self.proxy.log()[log_before:], 5, "it to be said")
        finally:
            stop.set()
        worker.finish()
        self.assertEqual(failed, [])
        log = self.proxy.log()[log_before:]
        self.assertEqual(log.count("goes on with what the Redis nodes say"), 1)
        self.assertEqual(log.count("the service is back"), 1)
        version = wait_until(self.map_version, 10, "a map")
        wait_until(lambda: int(self.fact("meta_map_version")) >= version, 5, "the map at the proxy")
        self.serves(self.client(), "back")

    def test_members_are_learned(self):
        """A proxy that was told of one node only follows the others when that one is gone."""
        first = self.meta.followers()[0]
        proxy = self.start({"meta-nodes": first.addr})
        wait_until(lambda: self.fact("meta_leader", proxy) == self.meta.leader().addr, 10, "the leader to be known")
        wait_until(lambda: self.fact("meta_node", proxy) == self.meta.leader().addr, 10, "it to be followed")
        first.kill()
        leader = self.followed(proxy)
        leader.stop()
        try:
            wait_until(lambda: self.fact("meta_node", proxy) not in (first.addr, leader.addr), FROZEN_S + 4, "the third")
        finally:
            leader.cont()

    def test_wrong_secret(self):
        proxy = self.start({"meta-secret": "not this one"}, nodes=self.cluster)
        wait_until(lambda: "refuses the secret" in proxy.log(), 10, "the reason in the log")
        self.assertNotIn("not this one", proxy.log())
        self.assertIn("meta-secret", proxy.log().split("refuses the secret", 1)[1])
        info = proxy.info("metadata")
        self.assertEqual(info["meta_link"], "down")
        self.assertIn("WRONGPASS", info["meta_last_error"])
        with proxy.client() as c:
            self.serves(c, "by-seeds")
            self.assertError(c("KEYWAY", "STATUS"), "ERR no metadata node answers")

    def test_no_secret(self):
        proxy = self.start({"meta-secret": None}, nodes=self.cluster)
        wait_until(lambda: "wants a secret" in proxy.log(), 10, "the reason in the log")

    def test_cluster_nodes_beside_a_service_that_is_not_there(self):
        proxy = self.start({"meta-nodes": "%s:%d" % (HOST, free_port())}, nodes=self.cluster)
        with proxy.client() as c:
            self.serves(c, "seeds-only")

    def test_the_default_of_cluster_nodes_is_not_used(self):
        proxy = self.start()
        self.assertNotIn("127.0.0.1:7000", proxy.log())


class Asking(FollowTest):
    def compare(self, c, *words):
        """The same bytes as the node gives that the proxy follows."""
        node = self.followed()
        with node.raw() as direct:
            direct.ok("HELLO", c.resp)
            c.cmd("KEYWAY", *words)
            c.read()
            direct.cmd("KEYWAY", *words)
            direct.read()
        self.assertEqual(self.masked(c.raw), self.masked(direct.raw), words)

    @staticmethod
    def masked(raw):
        """A linearizable read is itself an entry of the members' logs: their indexes are never the same twice."""
        return re.sub(rb"(match_index|applied_index)\r\n:\d+", rb"\1\r\n:", raw)

    def both(self):
        for resp in (2, 3):
            c = self.client()
            c.ok("HELLO", resp)
            c.resp = resp
            yield c

    def setUp(self):
        super().setUp()
        wait_until(lambda: self.fact("meta_node") == self.meta.leader().addr, 10, "the proxy to go to the leader")
        # Registration has happened, and nothing else is written from here on.
        wait_until(lambda: len(self.meta.leader().keyway("PROXIES")) == 1, 10, "the proxy to be registered")
        self.meta.wait_applied()

    def test_answers_are_those_of_the_service(self):
        for c in self.both():
            for words in (["STATUS"], ["SHARDS"], ["SLOTS"], ["OPS"], ["HELP"], ["CONFIG", "GET", "*"], ["linear", "slots"]):
                with self.subTest(words=words, resp=c.resp):
                    self.compare(c, *words)
            status = c.ok("KEYWAY", "STATUS")
            self.assertEqual(pairs(status)["role"], "leader")
            self.assertEqual(pairs(status)["shards"], self.PRIMARIES)
            nodes = [pairs(node) for node in c.ok("KEYWAY", "NODES")]
            self.assertEqual({node["id"] for node in nodes}, {node.id for node in self.cluster.nodes})

    def test_errors_are_those_of_the_service(self):
        for c in self.both():
            for words in (["STATUS", "x"], ["CONFIG"], ["CONFIG", "GET"], ["CONFIG", "SET", "a"]):
                with self.subTest(words=words):
                    reply = c("KEYWAY", *words)
                    self.assertIsInstance(reply, ReplyError)
                    with self.followed().raw() as direct:
                        self.assertEqual(direct("KEYWAY", *words), reply)

    def test_settings_are_changed(self):
        c = self.client()
        self.assertEqual(c("KEYWAY", "CONFIG", "SET", "colour", "blue"), b"OK")
        self.assertEqual(c("KEYWAY", "CONFIG", "GET", "col*"), [b"colour", b"blue"])
        self.assertEqual(self.meta.leader().keyway("CONFIG", "GET", "colour"), [b"colour", b"blue"])
        self.assertEqual(c("KEYWAY", "config", "del", "colour", "nosuch"), 1)
        self.assertEqual(c("KEYWAY", "CONFIG", "GET", "colour"), [])

    def test_the_rest_does_not_pass(self):
        c = self.client()
        for words in (["PUT", "config", "a", "b"], ["DELETE", "config", "a"], ["ATTACH", "x"], ["DETACH"], ["BACKUP"],
                      ["META", "REMOVE", "1"], ["PROXY", "REMOVE", "x"], ["WATCH"], ["nonsense"], ["CONFIG", "nonsense"],
                      ["LINEAR", "CONFIG", "SET", "a", "b"], ["ID", "0" * 32, "CONFIG", "SET", "a", "b"]):
            with self.subTest(words=words):
                reply = c("KEYWAY", *words)
                self.assertError(reply, "ERR KEYWAY %s does not pass through the proxy" % (words[1] if words[0] == "LINEAR" else words[0]))
                self.assertIn("keyway-cli", reply.text)

    def test_in_multi(self):
        c = self.client()
        c.ok("MULTI")
        self.assertError(c("KEYWAY", "STATUS"), "ERR 'keyway' is not supported through Keyway inside MULTI")
        self.assertError(c("EXEC"), "EXECABORT")

    def test_replies_keep_their_order(self):
        c = self.client()
        key = self.cluster.key(0)
        replies = c.pipeline([("SET", key, "1"), ("KEYWAY", "CONFIG", "GET", "none"), ("GET", key), ("KEYWAY", "OPS"), ("INCR", key)])
        self.assertEqual(replies, [b"OK", [], b"1", [], 2])
        many = [("KEYWAY", "CONFIG", "GET", "none") if i % 3 else ("ECHO", str(i)) for i in range(300)]
        for i, reply in enumerate(c.pipeline(many)):
            self.assertEqual(reply, [] if i % 3 else b"%d" % i)

    def test_a_client_that_does_not_wait(self):
        for _ in range(20):
            c = self.proxy.client()
            c.cmd("KEYWAY", "STATUS")
            c.close()
        self.serves(self.client(), "unhurt")

    def test_asking_while_the_leader_is_killed(self):
        """Nothing is lost and nothing is made twice; without a leader the client is told so."""
        c = self.client()
        c.ok("KEYWAY", "CONFIG", "SET", "n", "0")
        old = self.followed()
        old.kill()
        reply = c("KEYWAY", "CONFIG", "SET", "n", "1")
        if reply != b"OK":
            # It may take longer than a command waits to find a leader; then it says so.
            self.assertIn(reply.code, ("ERR", "INDOUBT", "NOLEADER", "NOTLEADER"))
        self.meta.wait_leader(other_than=old)
        wait_until(lambda: c("KEYWAY", "CONFIG", "SET", "n", "2") == b"OK", 10, "the next leader")
        self.assertEqual(c.ok("KEYWAY", "CONFIG", "GET", "n"), [b"n", b"2"])
        old.restart()
        c.ok("KEYWAY", "CONFIG", "DEL", "n")


class Listed(FollowTest):
    META_PROXY = False

    def listed(self):
        return {pairs(proxy)["address"]: pairs(proxy) for proxy in self.meta.leader().keyway("PROXIES")}

    def test_proxies_are_listed_and_vanish(self):
        one, two = self.start({"workers": 1}), self.start({"workers": 3})
        addresses = ["%s:%d" % (HOST, proxy.port) for proxy in (one, two)]
        wait_until(lambda: sorted(self.listed()) == sorted(addresses), 10, "both to be listed")
        found = self.listed()
        for proxy, address, workers in ((one, addresses[0], 1), (two, addresses[1], 3)):
            self.assertEqual(found[address]["workers"], workers)
            self.assertEqual(found[address]["id"], proxy.info("server")["run_id"])
            self.assertEqual(found[address]["version"], proxy.info("keyway")["keyway_version"])
        # The version of the map is told with the next sign of life.
        version = self.map_version()
        wait_until(lambda: all(entry["map_version"] == version for entry in self.listed().values()), 10, "their versions")
        with one.client() as c:
            self.assertEqual({pairs(entry)["address"] for entry in c.ok("KEYWAY", "PROXIES")}, set(addresses))
        two.terminate()
        two.wait()
        wait_until(lambda: list(self.listed()) == [addresses[0]], 5, "the one that ended to be gone")
        harness.end_process(one.proc)
        one.proc = None
        self.assertEqual(list(self.listed()), [addresses[0]])
        wait_until(lambda: self.listed() == {}, 45, "the one that was killed to be given up")
        two.start(wait=True)

    def test_a_wildcard_is_not_an_address(self):
        proxy = self.start({"bind": "0.0.0.0"})
        wait_until(lambda: "%s:%d" % (HOST, proxy.port) in self.listed(), 10, "the end of its own link")


if __name__ == "__main__":
    harness.main()
