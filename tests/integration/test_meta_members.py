#!/usr/bin/python3
# timeout: 300
"""
Metadata nodes that come and go: one that is added before it runs and then once more, what a removed one ends with, and one
that was away while the members changed.
"""

import os
import subprocess

import harness
from harness import Worker, bin_path, wait_until
from meta_harness import CALM, SECRET, MetaCluster, MetaNode, MetaTest, pairs

REMOVED = 2  # exit code, as for every folder that must not be used


class MembersTest(MetaTest):
    DIRECTIVES = CALM

    def members(self):
        return {m["id"]: m for m in (pairs(m) for m in self.meta.leader().keyway("META", "LIST"))}

    def cli(self, *args):
        """`keyway-cli meta ...` with its own timeout; the exit code and what it said."""
        argv = [bin_path("keyway-cli"), "meta", *map(str, args), "--meta", ",".join(n.addr for n in self.meta.running())]
        env = dict(os.environ, KEYWAY_SECRET=SECRET)
        done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=env, timeout=90 * harness.TIME_SCALE)
        return done.returncode, done.stdout

    def puts(self, name, count):
        """Writes one after another, each an entry of its own in the log."""
        with self.meta.raw() as c:
            for i in range(count):
                c.ok("KEYWAY", "PUT", "config", name, i)


class AddedTwice(MembersTest):
    def test_a_node_that_came_too_late_is_added_again(self):
        """Its log then holds its own removal, which is not the present one."""
        late = MetaNode(4, os.path.join(self.meta.dir, "4"), SECRET, {**CALM, "join": "yes"})
        self.puts("before", 130)
        adding = Worker(self.cli, "add", late.id, late.full_addr)
        wait_until(lambda: late.id in self.members(), 10, "the node to be listed")
        self.puts("meanwhile", 130)
        code, text = adding.finish()
        self.assertEqual(code, 1, text)
        self.assertIn("node 4 did not come in time", text)
        self.assertEqual(sorted(self.members()), [1, 2, 3])
        self.puts("after", 130)

        self.meta.nodes.append(late)
        late.start()
        code, text = self.cli("add", late.id, late.full_addr)
        self.assertEqual(code, 0, text)
        self.assertIn("is a voter now", text)
        self.assertEqual({i: m["voter"] for i, m in self.members().items()}, {1: 1, 2: 1, 3: 1, 4: 1})
        self.puts("again", 130)
        self.meta.wait_applied()
        self.assertEqual(late.keyway("GET", "config", "again"), b"129")
        self.assertTrue(late.alive())
        with open(os.path.join(late.data, "identity")) as f:
            self.assertIn("retired no\n", f.read())
        self.assertEqual(late.end(), 0)  # it is not a member on its way out: the same folder serves on
        late.start()
        wait_until(lambda: late.status()["leader"] == self.meta.leader().id, 10, "the node to follow")


class Removed(MembersTest):
    def ends(self, node):
        """Of a node that was removed: its process, and each later one on its folder."""
        self.assertEqual(node.wait_end(), REMOVED, node.log())
        self.assertIn("node %d was removed from the cluster" % node.id, node.log())
        seen = len(node.log())
        node.start(wait=False)
        self.assertEqual(node.wait_end(), REMOVED, node.log())
        self.assertIn("must not come back", node.log()[seen:])
        self.meta.nodes.remove(node)

    def test_a_removed_node_ends_with_2(self):
        fresh = self.meta.add_node()
        self.assertEqual(self.meta.leader().keyway("META", "ADD", fresh.id, fresh.full_addr), b"OK")
        follower = self.meta.followers()[0]
        self.assertEqual(self.meta.leader().keyway("META", "REMOVE", follower.id), b"OK")
        self.ends(follower)
        leader = self.meta.leader()
        self.assertEqual(leader.keyway("META", "REMOVE", leader.id), b"OK")
        self.ends(leader)
        self.meta.wait_leader(leader)
        self.puts("the others go on", 3)
        self.assertEqual(sorted(self.members()), sorted(node.id for node in self.meta.nodes))


class AwayDuringAChange(MembersTest):
    NODES = 0
    DIRECTIVES = {**CALM, "snapshot-entries": 16}

    def away(self):
        """A follower that was dead while a node was added, and caught up with that among other entries; and the node."""
        self.meta = MetaCluster(3, self.DIRECTIVES)
        self.addCleanup(self.meta.close, check=False)
        follower = self.meta.followers()[0]
        follower.kill()
        self.puts("before", 2)
        fresh = self.meta.add_node()
        self.assertEqual(self.meta.leader().keyway("META", "ADD", fresh.id, fresh.full_addr), b"OK")
        self.puts("after", 2)
        follower.start()
        self.meta.wait_applied()
        return follower, fresh

    def test_it_can_lead_the_next_change(self):
        follower, fresh = self.away()
        self.puts("again", 2)
        leader = self.meta.leader()
        wait_until(lambda: leader.keyway("META", "TRANSFER", follower.id) == b"OK", 20, "the leadership to be handed on")
        self.assertIs(self.meta.wait_leader(leader), follower)
        self.assertEqual(follower.keyway("META", "REMOVE", fresh.id), b"OK")
        self.assertEqual(fresh.wait_end(), REMOVED)

    def test_its_snapshot_knows_the_members(self):
        follower, fresh = self.away()
        for i in range(6):  # until its log does not reach back to the change
            self.puts("round %d" % i, 100)
            self.meta.wait_applied()
        follower.restart()
        self.assertEqual([m["id"] for m in follower.status()["members"]], [1, 2, 3, 4])
        self.meta.wait_leader()


if __name__ == "__main__":
    harness.main()
