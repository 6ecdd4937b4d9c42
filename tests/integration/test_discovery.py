"""
Discovery against real clusters: tests/tools/discovery_probe.c prints each topology that it publishes as a line of
JSON; the tests wait for a picture that satisfies a condition, and where speed is promised, measure it against what
the nodes themselves say. Nothing is mocked; every class starts its own small cluster and ends it.
"""

import json
import os
import subprocess
import tempfile
import threading
import time
import unittest

import harness
from harness import Cluster, Server, wait_until


def spawn_probe(argv, log):
    proc = subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                            preexec_fn=harness._die_with_parent)
    harness._started.append(proc)
    return proc


class Probe:
    """A running discovery_probe; its topologies are collected by a thread as they come."""

    def __init__(self, seeds, *auth):
        self.maps = []
        self.log_file = tempfile.TemporaryFile()
        self.proc = spawn_probe([harness.bin_path("discovery_probe"), seeds, *auth], self.log_file)
        self.reader = threading.Thread(target=self._read, daemon=True)
        self.reader.start()

    def _read(self):
        for line in self.proc.stdout:
            seen = json.loads(line)
            seen["at"] = time.monotonic()
            self.maps.append(seen)

    def tell(self, word):
        self.proc.stdin.write(word.encode() + b"\n")
        self.proc.stdin.flush()

    def log(self):
        # pread: the child appends through the same open file, whose offset must stay its own.
        fd = self.log_file.fileno()
        return os.pread(fd, os.fstat(fd).st_size, 0).decode(errors="replace")

    def satisfying(self, cond):
        """The newest topology if it satisfies cond; one without the node or owner that cond looks at does not."""
        try:
            newest = self.maps[-1]
            return newest if cond(newest) else None
        except (LookupError, TypeError):
            return None

    def wait(self, cond, what, timeout=10):
        """Waits until the newest topology satisfies cond; answers that topology."""
        try:
            return wait_until(lambda: self.satisfying(cond), timeout, what)
        except harness.WaitTimeout as e:
            raise harness.WaitTimeout("%s\nlast map: %r\nlog:\n%s" % (e, self.maps[-1:], self.log()[-3000:]))

    def close(self):
        """Ends in good order; the status tells whether the loop was left clean."""
        if self.proc.poll() is None:
            self.proc.stdin.close()
        code = self.proc.wait(20 * harness.TIME_SCALE)
        self.reader.join(10)
        self.proc.stdout.close()
        log = self.log()
        self.log_file.close()
        return code, log


def node_of(topo, server):
    return next((n for n in topo["nodes"] if n["addr"] == server.addr), None)


def owner_of(topo, slot):
    for node in topo["nodes"]:
        if any(low <= slot <= high for low, high in node["slots"]):
            return node
    return None


def whole(topo, nodes, shards=3):
    return (topo["owned"] == 16384 and topo["shards"] == shards and len(topo["nodes"]) == nodes
            and all(n["reachable"] and not n["failed"] for n in topo["nodes"]))


class DiscoveryTest(unittest.TestCase):
    def probe(self, seeds, *auth):
        probe = Probe(seeds, *auth)

        def close():
            code, log = probe.close()
            self.assertEqual(code, 0, log[-3000:])

        self.addCleanup(close)
        return probe

    def stalls(self):
        stalls = harness.Stalls()
        self.addCleanup(stalls.stop)
        return stalls

    def assertWithin(self, seconds, limit, stalls, what=None):
        """Of a promise about speed; what the machine itself was late by is allowed for."""
        self.assertLess(seconds, limit * harness.TIME_SCALE + stalls.worst_s, what)


class WithReplicas(DiscoveryTest):
    """Three primaries, three replicas, gossip failover on."""

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(primaries=3, replicas=1, node_timeout=1000)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()

    def setUp(self):
        self.cluster.heal()

    def started(self, seeds=None):
        probe = self.probe(seeds or self.cluster.nodes[0].addr)
        probe.wait(lambda t: whole(t, 6), "the whole map")
        return probe

    def test_one_seed_gives_the_whole_map(self):
        stalls = self.stalls()
        began = time.monotonic()
        probe = self.started()
        first = probe.maps[0]
        self.assertWithin(first["at"] - began, 1.0, stalls)
        self.assertTrue(whole(first, 6), "the first map is complete already: %r" % first)
        self.assertIn(first["server"], ("redis", "valkey"))
        self.assertRegex(first["server_version"], r"^\d+\.\d+\.\d+$")
        for server in self.cluster.nodes:
            node = node_of(first, server)
            self.assertEqual(node["id"], server.id)
            if node["primary"]:
                index = first["nodes"].index(node)
                self.assertEqual(node["primary_index"], index)
                self.assertEqual(len(node["replicas"]), 1)
                self.assertEqual(first["nodes"][node["replicas"][0]]["primary_index"], index)
        for shard in range(3):
            slot = self.cluster.shard_slot(shard)
            self.assertEqual(owner_of(first, slot)["id"], self.cluster.owner(slot).id)

    def test_a_name_as_seed_ends_up_with_one_link_a_node(self):
        probe = self.started("localhost:%d" % self.cluster.nodes[0].port)
        wait_until(lambda: "localhost:%d is given up" % self.cluster.nodes[0].port in probe.log(), 5,
                   "the double link to be given up")
        probe.wait(lambda t: whole(t, 6), "the whole map without the name")

    def test_a_quiet_cluster_publishes_nothing_new(self):
        probe = self.started()
        version = probe.maps[-1]["version"]
        server = self.cluster.nodes[0]
        before = server.calls("cluster|nodes")
        for _ in range(5):
            probe.tell("refresh")
            asked = server.calls("cluster|nodes")
            wait_until(lambda: server.calls("cluster|nodes") > asked, 5, "another round")
        self.assertGreaterEqual(server.calls("cluster|nodes") - before, 5)
        self.assertEqual(probe.maps[-1]["version"], version)

    def test_refreshes_coalesce(self):
        probe = self.started()
        server = self.cluster.nodes[0]
        before, began = server.calls("cluster|nodes"), time.monotonic()
        while time.monotonic() - began < 0.5:
            probe.tell("refresh")
        rounds = wait_until(lambda: max(0, server.calls("cluster|nodes") - before - 1), 5, "two rounds") + 1
        spent = time.monotonic() - began
        self.assertLessEqual(rounds, spent / 0.050 + 2, "at most a round each 50 ms")

    def test_killed_primary(self):
        probe = self.started()
        old = self.cluster.primary_of(0)
        slot = self.cluster.shard_slot(0)
        stalls = self.stalls()
        killed = time.monotonic()
        old.kill()
        lost = probe.wait(lambda t: not node_of(t, old)["reachable"], "the lost link to show")
        self.assertWithin(lost["at"] - killed, 0.5, stalls, "a lost link shows at once")
        new = self.cluster.wait_promoted(0, old)
        promoted = time.monotonic()
        found = probe.wait(lambda t: owner_of(t, slot) and owner_of(t, slot)["id"] == new.id, "the new primary")
        self.assertWithin(found["at"] - promoted, 1.0, stalls)
        failed = probe.wait(lambda t: node_of(t, old)["failed"], "the dead primary to be failed")
        self.assertEqual(failed["owned"], 16384)
        self.assertIn("slots of %s are now served by %s" % (old.addr, new.addr), probe.log())
        print("    kill: lost link shown after %.0f ms; new map %.0f ms from what gossip showed to the test"
              % ((lost["at"] - killed) * 1000, (found["at"] - promoted) * 1000))
        old.start()
        back = probe.wait(lambda t: whole(t, 6) and not node_of(t, old)["primary"], "the old primary as replica", 30)
        self.assertEqual(back["nodes"][node_of(back, old)["primary_index"]]["id"], new.id)

    def test_planned_failover(self):
        probe = self.started()
        slot = self.cluster.shard_slot(1)
        stalls = self.stalls()
        old, new = self.cluster.failover(1)
        done = time.monotonic()
        found = probe.wait(
            lambda t: owner_of(t, slot)["id"] == new.id and not node_of(t, old)["primary"], "the swapped roles")
        self.assertWithin(found["at"] - done, 1.3, stalls, "within one steady period")
        self.assertEqual(found["owned"], 16384)
        self.assertEqual(found["nodes"][node_of(found, old)["primary_index"]]["id"], new.id)

    def test_frozen_replica_delays_nobody(self):
        probe = self.started()
        primary = self.cluster.primary_of(2)
        frozen = self.cluster.replicas_of(primary)[0]
        frozen.freeze()
        probe.wait(lambda t: not node_of(t, frozen)["reachable"], "the frozen node to be unreachable", 10)
        # A change elsewhere is seen as fast as ever: an open slot shows within a refresh.
        slot = self.cluster.shard_slot(0)
        src, dst = self.cluster.owner(slot), self.cluster.primary_of(1)
        src("CLUSTER", "SETSLOT", slot, "MIGRATING", dst.id)
        stalls = self.stalls()
        asked = time.monotonic()
        probe.tell("refresh")
        try:
            shown = probe.wait(lambda t: slot in t["open"], "the open slot")
            self.assertWithin(shown["at"] - asked, 0.6, stalls)  # the frozen one would hold it up for a second
            print("    with a frozen node: change shown after %.0f ms" % ((shown["at"] - asked) * 1000))
        finally:
            src("CLUSTER", "SETSLOT", slot, "STABLE")
        frozen.thaw()
        probe.wait(lambda t: whole(t, 6), "the thawed node", 20)

    def test_frozen_primary_is_replaced_and_returns(self):
        probe = self.started()
        old = self.cluster.primary_of(0)
        slot = self.cluster.shard_slot(0)
        old.freeze()
        new = self.cluster.wait_promoted(0, old)
        probe.wait(lambda t: owner_of(t, slot)["id"] == new.id, "the new primary", 5)
        seen = len(probe.maps)
        old.thaw()  # for a moment it still believes that it owns the slots
        probe.wait(lambda t: whole(t, 6) and not node_of(t, old)["primary"], "the old primary as replica", 30)
        for topo in probe.maps[seen - 1:]:
            self.assertEqual(owner_of(topo, slot)["id"], new.id, "the stale primary never takes slots back")

    def test_frozen_node_at_the_start(self):
        primary = self.cluster.primary_of(2)
        frozen = self.cluster.replicas_of(primary)[0]
        frozen.freeze()
        stalls = self.stalls()
        began = time.monotonic()
        probe = self.probe(",".join([frozen.addr, primary.addr]))
        first = probe.wait(lambda t: t["owned"] == 16384, "a map in spite of the frozen seed")
        self.assertWithin(first["at"] - began, 1.0, stalls)
        self.assertFalse(node_of(first, frozen)["reachable"])

    def test_all_nodes_frozen_keeps_the_map(self):
        probe = self.started()
        for node in self.cluster.nodes:
            node.freeze()
        lost = probe.wait(lambda t: not any(n["reachable"] for n in t["nodes"]), "nobody to be reachable")
        self.assertEqual(lost["owned"], 16384)
        for node in self.cluster.nodes:
            node.thaw()
        probe.wait(lambda t: whole(t, 6), "the cluster back", 30)


class Primaries(DiscoveryTest):
    """Three primaries without replicas: slots, foreign nodes, starts from nothing."""

    def setUp(self):
        self.cluster = Cluster(primaries=3, node_timeout=1000)
        self.addCleanup(self.cluster.stop)

    def test_slot_move(self):
        probe = self.probe(self.cluster.nodes[1].addr)
        probe.wait(lambda t: whole(t, 3), "the whole map")
        move = self.cluster.move(100, self.cluster.nodes[2]).begin()
        probe.wait(lambda t: t["open"] == [100], "the slot to be open")
        move.move_all().finish()
        done = probe.wait(lambda t: owner_of(t, 100)["id"] == self.cluster.nodes[2].id and not t["open"], "the move")
        self.assertEqual(done["owned"], 16384)
        self.assertIn("1 slots moved from %s to %s" % (self.cluster.nodes[0].addr, self.cluster.nodes[2].addr),
                      probe.log())

    def test_starts_with_every_seed_down(self):
        for node in self.cluster.nodes:
            node.kill()
        probe = self.probe(",".join(self.cluster.addresses()))
        wait_until(lambda: probe.log().count("refused") >= 6, 5, "some attempts")
        self.assertEqual(probe.maps, [])
        for node in self.cluster.nodes:
            node.spawn()
        for node in self.cluster.nodes:
            node.wait_ready()
        stalls = self.stalls()
        up = time.monotonic()
        found = probe.wait(lambda t: whole(t, 3), "the whole map", 20)
        self.assertWithin(found["at"] - up, 3.0, stalls)

    def test_primary_without_replica_dies_and_returns(self):
        probe = self.probe(self.cluster.nodes[0].addr)
        probe.wait(lambda t: whole(t, 3), "the whole map")
        victim = self.cluster.nodes[2]
        victim.kill()
        lost = probe.wait(lambda t: node_of(t, victim)["failed"], "the failed primary")
        self.assertEqual(lost["owned"], 16384, "it keeps its slots: nobody took them")
        victim.start()
        stalls = self.stalls()
        back = time.monotonic()
        found = probe.wait(lambda t: node_of(t, victim)["reachable"], "the node again")
        self.assertWithin(found["at"] - back, 1.5, stalls)
        probe.wait(lambda t: whole(t, 3), "no longer failed", 20)

    def test_foreign_and_reset_nodes_do_not_destroy_the_map(self):
        stranger = Server(cluster=True).start()
        self.addCleanup(stranger.kill)
        probe = self.probe(",".join([stranger.addr] + self.cluster.addresses()))
        probe.wait(lambda t: whole(t, 3), "the whole map")
        self.assertIsNone(node_of(probe.maps[-1], stranger))
        ids = {n.id for n in self.cluster.nodes}
        victim = self.cluster.nodes[2]
        victim("FLUSHALL")
        victim("CLUSTER", "RESET", "HARD")
        lost = probe.wait(lambda t: not node_of(t, victim) or not node_of(t, victim)["reachable"], "the reset to show")
        # Its peers drop the address of a node that answers under another id: its own slots may lose their owner.
        self.assertGreaterEqual(lost["owned"], 16384 * 2 // 3 - 1)
        self.assertLessEqual({n["id"] for n in lost["nodes"]}, ids)
        for shard in range(2):
            self.assertEqual(owner_of(lost, self.cluster.shard_slot(shard))["id"], self.cluster.nodes[shard].id)

    def test_forgotten_node_leaves_and_new_node_joins(self):
        probe = self.probe(self.cluster.nodes[0].addr)
        probe.wait(lambda t: whole(t, 3), "the whole map")
        joiner = Server(cluster=True, config={"cluster-node-timeout": 1000}).start()
        self.addCleanup(joiner.kill)
        joiner.id = joiner("CLUSTER", "MYID").decode()
        self.cluster.nodes[0]("CLUSTER", "MEET", harness.HOST, joiner.port, joiner.bus_port)
        probe.wait(lambda t: whole(t, 4), "the new node", 15)

        def forgotten_by_all():
            # A node that was just met may be learned of again by gossip: forget until it holds.
            for node in self.cluster.nodes:
                if joiner.id in node("CLUSTER", "NODES").decode():
                    node("CLUSTER", "FORGET", joiner.id)
            return all(joiner.id not in node("CLUSTER", "NODES").decode() for node in self.cluster.nodes)

        # As long as the map shows it, it may have come back by a message that was on its way when it was forgotten.
        wait_until(lambda: forgotten_by_all() and probe.satisfying(lambda t: whole(t, 3)), 30, "the node to leave the map")


class Alone(DiscoveryTest):
    """Servers without cluster mode, and passwords."""

    def test_single_server_is_one_shard(self):
        with Server() as server:
            probe = self.probe(server.addr)
            topo = probe.wait(lambda t: t["server_version"] != "", "a map")
            self.assertTrue(topo["standalone"])
            self.assertEqual((topo["shards"], topo["owned"]), (1, 16384))
            self.assertEqual(topo["nodes"][0]["addr"], server.addr)
            self.assertIn("has no cluster mode", probe.log())
            server.kill()
            lost = probe.wait(lambda t: not t["nodes"][0]["reachable"], "the loss")
            self.assertEqual(lost["owned"], 16384)
            server.start()
            probe.wait(lambda t: t["nodes"][0]["reachable"], "the server again")

    def test_password(self):
        with Server(password="pa55 \r\n word") as server:
            probe = self.probe(server.addr, "pa55 \r\n word")
            probe.wait(lambda t: t["owned"] == 16384, "a map")
            wrong = self.probe(server.addr, "guess")
            wait_until(lambda: "WRONGPASS" in wrong.log(), 5, "the refusal in the log")
            self.assertEqual(wrong.maps, [])
            server("ACL", "SETUSER", "proxy", "on", ">secret", "+@all", "~*")
            named = self.probe(server.addr, "secret", "proxy")
            named.wait(lambda t: t["owned"] == 16384, "a map for a named user")

    def test_command_table_is_learned_on_each_connect(self):
        with Server() as server:
            probe = self.probe(server.addr)
            probe.wait(lambda t: True, "a map")
            wait_until(lambda: server.calls("command") == 1, 5, "COMMAND to be asked")
            server.kill()
            probe.wait(lambda t: not t["nodes"][0]["reachable"], "the loss")
            server.start()
            again = probe.wait(lambda t: t["nodes"][0]["reachable"] and t["learned"] >= 1, "the server again")
            self.assertGreaterEqual(again["learned"], 1)

    def test_bad_seeds_are_refused(self):
        for seeds in ("", "noport", "host:0", "host:70000", "[::1:7000", "a b:1"):
            done = subprocess.run([harness.bin_path("discovery_probe"), seeds], stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=10 * harness.TIME_SCALE)
            self.assertEqual(done.returncode, 2, seeds)
            self.assertIn(b"seed nodes:", done.stderr)


if __name__ == "__main__":
    harness.main()
