#!/usr/bin/python3
# alone: yes
# timeout: 400
# sanitizers: no
"""
The metadata service while its nodes die, freeze, are cut off, and lose their disks: a bounded run of `./dev chaos meta`
with every acknowledged write judged, and the cases whose outcome is known beforehand.
"""

import os
import random
import re
import sys
import threading

import harness

sys.path.append(os.path.join(os.path.dirname(harness.HERE), "chaos"))

import meta as chaos  # noqa: E402

DISK_FAILED, FOLDER_REFUSED = 70, 2  # exit codes


class Chaos(harness.unittest.TestCase):
    def test_nothing_acknowledged_is_lost(self):
        """Every kind of fault once at least, in an order that the seed says."""
        disks, clocks = chaos.Disks(), chaos.Clocks()
        self.assertTrue(disks.usable() and clocks.usable())
        run = chaos.Run(harness.SEED, list(chaos.NAMES), disks, clocks)
        try:
            run.start_load()
            order = list(chaos.NAMES) + random.Random(harness.SEED).choices(chaos.NAMES, k=4)
            random.Random(harness.SEED).shuffle(order)
            for name in order:
                run.one_fault(name)
            run.end_load()
            self.assertTrue(run.verdict(), run.judge.failures)
        finally:
            run.close()
        self.assertGreater(run.judge.writes, 100)
        self.assertGreater(run.judge.reads, 50)


class Service(harness.unittest.TestCase):
    """Three nodes behind the relay, made anew for each test."""

    def setUp(self):
        self.disks, self.clocks = chaos.Disks(), chaos.Clocks()
        self.cluster, self.relay = chaos.start_cluster(3, self.disks, self.clocks)
        self.addCleanup(self.relay.close)
        self.addCleanup(self.cluster.close, check=False)
        self.stop = threading.Event()
        self.link = chaos.Follower(self.cluster, chaos.Judge(), random.Random(1), self.stop)
        self.addCleanup(self.link.close)

    def put(self, value):
        reply = self.link.ask("PUT", "config", "key", value)
        self.assertIsInstance(reply, int, reply)
        return reply

    def get(self):
        return self.link.ask("GET", "config", "key", read=True)

    def voters(self):
        return [m["id"] for m in self.cluster.leader().status()["members"] if m["voter"]]

    def change_members(self, done, *words):
        """KEYWAY META words, until done(voters). An election that comes between leaves it open, and the reply says so."""

        def changed():
            with self.cluster.leader().raw(timeout=60) as c:
                reply = c("KEYWAY", "META", *words)
            if isinstance(reply, harness.ReplyError) and not done(self.voters()):
                self.assertIn(reply.code, ("INDOUBT", "NOTLEADER", "NOLEADER", "BUSY"), reply)
            return done(self.voters())

        self.assertFalse(done(self.voters()))
        harness.wait_until(changed, 60, "META %s %s" % words[:2])

    def replace(self, lost, fresh):
        self.change_members(lambda voters: lost.id not in voters, "REMOVE", lost.id)
        self.change_members(lambda voters: fresh.id in voters, "ADD", fresh.id, fresh.full_addr)

    def test_a_failed_disk_ends_the_node_loudly(self):
        for order in ("fail EIO", "stall 60000"):
            with self.subTest(order):
                leader = self.cluster.leader()
                self.disks.control(leader, order)
                self.put(order)
                self.put(order)
                self.assertEqual(leader.wait_end(30), DISK_FAILED)
                self.assertEqual(self.get(), order.encode())
                self.disks.control(leader, None)
                self.cluster.heal()
                self.cluster.wait_applied()

    def test_without_a_majority_nothing_is_acknowledged(self):
        """The one that is left neither writes nor answers a linearizable read, and says so; then all goes on."""
        self.put("before")
        leader = self.cluster.leader()
        for node in self.cluster.nodes:
            if node is not leader:
                node.kill()
        with leader.raw(timeout=10) as c:
            reply = c("KEYWAY", "PUT", "config", "key", "alone")
            self.assertRegex(str(reply), "^(INDOUBT|NOLEADER|NOTLEADER)")
            harness.wait_until(lambda: str(c("KEYWAY", "LINEAR", "GET", "config", "key")).startswith(("NOLEADER", "NOTLEADER")), 10)
        self.cluster.heal()
        self.assertIn(self.get(), (b"before", b"alone"))
        self.put("after")
        self.assertEqual(self.get(), b"after")

    def test_a_leader_that_is_cut_off_reads_nothing_stale(self):
        self.put("old")
        leader = self.cluster.leader()
        self.relay.isolate(leader.id)
        with leader.raw(timeout=10) as c:
            self.link.close()
            self.link.port = next(n.port for n in self.cluster.nodes if n is not leader)
            self.put("new")
            reply = c("KEYWAY", "LINEAR", "GET", "config", "key")
            self.assertNotEqual(reply, b"old")
        self.relay.cut()
        harness.wait_until(lambda: self.cluster.leader_seen() is not None, 20, "a leader that all follow")
        self.assertEqual(self.get(), b"new")

    def test_a_leader_that_was_frozen_reads_nothing_stale(self):
        """When it thaws, the first thing that it finds is a read, and it does not know yet that another one leads."""
        self.put("old")
        leader = self.cluster.leader()
        with leader.raw(timeout=10) as c:
            c.ok("PING")
            leader.stop()
            c.send(harness.encode("KEYWAY", "LINEAR", "GET", "config", "key"))
            self.link.close()
            self.link.port = next(n.port for n in self.cluster.nodes if n is not leader)
            self.put("new")
            leader.cont()
            self.assertNotEqual(c.read(), b"old")
        harness.wait_until(lambda: self.cluster.leader_seen() is not None, 20, "a leader that all follow")
        self.assertEqual(self.get(), b"new")

    def test_a_retried_request_is_applied_once(self):
        words = ("KEYWAY", "ID", "%032x" % 7, "PUT", "config", "once", "1")

        def ask():
            """The reply of whoever leads: an election that comes between costs a try, which is what ids are for."""
            with self.cluster.leader().raw() as c:
                return c.ok(*words)

        first = harness.wait_until(ask, 20, "the first answer")
        self.assertIsInstance(self.link.ask("PUT", "config", "once", "2"), int)
        self.cluster.leader().kill()
        self.assertEqual(harness.wait_until(ask, 20, "the second answer"), first)
        self.assertEqual(self.link.ask("GET", "config", "once", read=True), b"2")

    def test_a_new_node_takes_the_place_of_a_wiped_one(self):
        for i in range(600):  # more than a snapshot ago
            self.put(i)
        lost = self.cluster.followers()[0]
        lost.kill()
        lost.wipe()
        fresh = self.cluster.add_node()
        self.replace(lost, fresh)
        self.assertNotIn(lost.id, self.voters())
        self.cluster.nodes.remove(lost)
        self.cluster.wait_applied()
        with fresh.raw() as c:
            self.assertEqual(c.ok("KEYWAY", "GET", "config", "key"), b"599")

    def test_a_wiped_node_is_refused_under_its_old_id(self):
        """Its votes and entries are forgotten: as a first member it would vote anew, and filled up by the leader as well."""
        self.put("before")
        lost = self.cluster.followers()[0]
        others = [node for node in self.cluster.nodes if node is not lost]
        peers = lost.directives["peers"]
        for directives in ({"peers": peers}, {"join": "yes"}):
            with self.subTest(**directives):
                if lost.alive():
                    lost.kill()
                lost.wipe()
                lost.directives.pop("peers", None)
                lost.directives.update(directives)
                seen = len(lost.log())
                lost.start(wait=False)
                self.assertEqual(lost.wait_end(), FOLDER_REFUSED)
                said = lost.log()[seen:]
                self.assertIn("not the one with which node %d took part before" % lost.id, said)
                self.assertIn("keyway-cli meta remove %d" % lost.id, said)
                self.assertRegex(said, "refused by .*it says, has another data folder")
                refusal = r"refused (?!by).*\bnode %d .*another data folder" % lost.id
                self.assertTrue(any(re.search(refusal, node.log()) for node in others))
                self.put("the others go on")
                self.assertEqual([node.alive() for node in others], [True, True])
        fresh = self.cluster.add_node()
        self.replace(lost, fresh)
        self.cluster.nodes.remove(lost)
        self.cluster.wait_applied()
        for node in (*others, fresh):  # each still knows the others after a new start
            node.restart()
            self.cluster.wait_leader()
        self.put("with the new one")
        self.assertEqual(self.get(), b"with the new one")

    def test_an_id_is_not_used_twice(self):
        """A folder of another node, and a folder that was damaged, are refused with a text that says what to do."""
        node = self.cluster.followers()[0]
        node.end()
        node.directives["id"] = 9
        node.directives["peers"] = node.directives["peers"].replace("%d=" % node.id, "9=")
        node.start(wait=False)
        self.assertEqual(node.wait_end(), 2)
        self.assertIn("id", node.log().splitlines()[-1])

    def test_a_damaged_log_is_refused(self):
        for i in range(50):
            self.put("x" * 1000 + str(i))
        self.cluster.wait_applied()  # the follower has them as well
        node = self.cluster.followers()[0]
        node.kill()
        segments = [name for name in os.listdir(node.data) if name.startswith("open-")]
        sizes = {}
        for name in segments:
            with open(os.path.join(node.data, name), "rb") as f:
                sizes[name] = len(f.read().rstrip(b"\0"))
        name = max(sizes, key=sizes.get)
        self.assertGreater(sizes[name], 20000)
        with open(os.path.join(node.data, name), "r+b") as f:
            f.seek(sizes[name] // 2)
            byte = f.read(1)
            f.seek(-1, os.SEEK_CUR)
            f.write(bytes([byte[0] ^ 1]))
        node.start(wait=False)
        self.assertEqual(node.wait_end(), 2)
        self.assertIn(name, node.log())
        self.assertIn("meta add", node.log().lower())
        self.put("the others go on")


if __name__ == "__main__":
    harness.main()
