#!/usr/bin/python3
"""
What a cluster says about itself never reaches the client: MOVED, ASK, TRYAGAIN, CLUSTERDOWN, LOADING, READONLY,
MASTERDOWN. Requests wait, bounded by request-timeout, and are answered once the cluster can.

Each test checks at the nodes that the redirect in question was in fact given.
"""

import time

import harness

HIDDEN = ("MOVED", "ASK", "TRYAGAIN", "CLUSTERDOWN", "LOADING", "READONLY", "MASTERDOWN")


class Redirects(harness.ProxyTest):
    DIRECTIVES = {"workers": 2, "request-timeout": 20000}

    def setUp(self):
        self.cluster.flush()
        self.open_move = None
        self.slot = harness.slot_of("{half}")
        self.keys = [b"{half}%d" % i for i in range(10)]
        self.c = self.client()
        self.c.ok("MSET", *[x for k in self.keys for x in (k, k)])

    def begin(self):
        owner = self.cluster.owner(self.slot)
        other = next(n for n in self.cluster.nodes if n is not owner)
        self.open_move = self.cluster.move(self.slot, other).begin()
        return self.open_move

    def tearDown(self):
        """A test that failed half-way must not spoil the next one."""
        if self.open_move is not None and self.cluster.owner(self.slot) is self.open_move.src:
            self.open_move.move_all().finish()

    def test_ask(self):
        move = self.begin()
        move.move(*self.keys[:5])
        asks = self.cluster.errors("ASK")
        try:
            replies = self.c.pipeline(
                [("GET", k) for k in self.keys]
                + [("SET", b"{half}new", "n"), ("GET", b"{half}new"), ("EXISTS", b"{half}none"), ("INCR", b"{half}n")]
                + [("MGET",) + tuple(self.keys[:5]), ("MGET",) + tuple(self.keys[5:]), ("DEL", self.keys[0], self.keys[1])]
            )
            self.assertEqual(replies[:10], self.keys)
            self.assertEqual(replies[10:14], [b"OK", b"n", 0, 1])
            self.assertEqual(replies[14:], [self.keys[:5], self.keys[5:], 2])
            self.assertGreater(self.cluster.errors("ASK"), asks)
            # New keys are made at the target.
            self.assertEqual(move.dst("CLUSTER", "COUNTKEYSINSLOT", self.slot), 5)
        finally:
            move.move_all()
            move.finish()
        self.assertEqual(self.c("GET", b"{half}new"), b"n")

    def test_moved(self):
        moves = self.cluster.errors("MOVED")
        for _ in range(4):
            self.begin().move_all().finish()
            self.assertEqual(self.c.pipeline([("GET", k) for k in self.keys]), self.keys)
            self.assertEqual(self.c("MGET", *self.keys), self.keys)
        self.assertGreater(self.cluster.errors("MOVED"), moves)

    def test_tryagain_waits_for_the_end_of_the_move(self):
        move = self.begin()
        move.move(*self.keys[:5])
        before = self.cluster.errors("TRYAGAIN")
        other_key = self.other_slot_key()
        bystander = self.client()
        data = [("MGET", self.keys[0], self.keys[9]), ("SET", self.keys[0], "after"), ("GET", other_key)]
        self.c.send(b"".join(harness.encode(*x) for x in data))
        harness.wait_until(lambda: self.cluster.errors("TRYAGAIN") > before, 10, "a TRYAGAIN")
        # Others are not held up, not in this slot either.
        self.assertEqual(bystander("GET", self.keys[1]), self.keys[1])
        self.assertEqual(bystander("GET", other_key), None)
        self.assertEqual(bystander("GET", self.keys[0]), self.keys[0], "the SET overtook the MGET")
        move.move_all()
        move.finish()
        self.assertEqual(self.c.read_n(3), [[self.keys[0], self.keys[9]], b"OK", None])

    def other_slot_key(self):
        return next(k for k in ("x%d" % i for i in range(100)) if self.cluster.owner(harness.slot_of(k)) is not None)

    def test_tryagain_is_bounded(self):
        proxy = self.start_proxy({"request-timeout": 800})
        move = self.begin()
        move.move(*self.keys[:5])
        try:
            with proxy.client() as c:
                began = time.monotonic()
                reply = c("MGET", self.keys[0], self.keys[9])
                self.assertIsInstance(reply, harness.ReplyError)
                self.assertNotIn(reply.code, HIDDEN)
                self.assertGreater(time.monotonic() - began, 0.6)
                self.assertLess(time.monotonic() - began, 3 * harness.TIME_SCALE)
                self.assertEqual(c("GET", self.keys[0]), self.keys[0])
        finally:
            move.move_all()
            move.finish()

    def test_split_command_with_a_part_in_the_moving_slot(self):
        """MGET over slots one of which is half moved: waits as a whole, and the reply is whole."""
        move = self.begin()
        move.move(*self.keys[:5])
        before = self.cluster.errors("TRYAGAIN")
        far = [self.cluster.key(i, "far", 5) for i in range(3)]
        self.client().ok("MSET", *[x for k in far for x in (k, k)])
        keys = [far[0], self.keys[0], far[1], self.keys[9], far[2]]
        self.c.send(harness.encode("MGET", *keys) + harness.encode("DEL", *keys))
        harness.wait_until(lambda: self.cluster.errors("TRYAGAIN") > before, 10, "a TRYAGAIN")
        move.move_all()
        move.finish()
        self.assertEqual(self.c.read_n(2), [[harness.to_bytes(k) for k in keys], 5])

    def test_clusterdown_of_one_slot(self):
        """A slot without an owner: requests wait and succeed when it has one; others are not held up."""
        owner = self.cluster.owner(self.slot)
        before = self.cluster.errors("CLUSTERDOWN")
        owner("CLUSTER", "DELSLOTS", self.slot)
        try:
            self.c.send(harness.encode("SET", self.keys[0], "x") + harness.encode("GET", self.keys[0]))
            harness.wait_until(lambda: self.cluster.errors("CLUSTERDOWN") > before, 10, "a CLUSTERDOWN")
            self.assertEqual(self.client()("SET", self.cluster.key(1, "else", 7), "fine"), b"OK")
        finally:
            owner("CLUSTER", "ADDSLOTS", self.slot)
        self.assertEqual(self.c.read_n(2), [b"OK", b"x"])


class Loading(harness.ProxyTest):
    DIRECTIVES = {"request-timeout": 60000}
    NODE_TIMEOUT = 20000  # more than a load takes: a node that starts hears nothing of the others meanwhile

    def setUp(self):
        self.node = self.cluster.nodes[0]
        self.keys = [self.cluster.key(0, "load%d" % i) for i in range(2000)]
        self.c = self.client()
        self.assertNoErrors(self.c.pipeline([("SET", k, k) for k in self.keys]))

    def check(self):
        keys, c = self.keys, self.c
        replies = c.pipeline([("GET", keys[0]), ("SET", keys[1], "new"), ("GET", keys[1]), ("MGET", keys[2], "elsewhere")])
        self.assertEqual(replies, [keys[0].encode(), b"OK", b"new", [keys[2].encode(), None]])

    def test_loading(self):
        """A node that loads its data again, slowly, while the cluster still counts on it: long enough to be met."""
        for name, value in (("key-load-delay", int(1500 * harness.TIME_SCALE)), ("loading-process-events-interval-bytes", 1024)):
            self.node("CONFIG", "SET", name, value)
        reload = harness.Worker(self.node, "DEBUG", "RELOAD")
        harness.wait_until(lambda: self.node.info("persistence")["loading"] == "1", 10, "the node to load")
        before = self.node.error_count("LOADING")
        self.check()
        self.assertGreater(self.node.error_count("LOADING"), before, "the proxy never met a LOADING")
        reload.finish()

    def test_restart_with_data(self):
        """A restarted node says CLUSTERDOWN while it loads and until it has heard of the others."""
        self.node("SAVE")
        self.node.kill()
        self.node.config.update({"key-load-delay": int(500 * harness.TIME_SCALE), "loading-process-events-interval-bytes": "1024"})
        self.node.spawn().wait_ready(loading_ok=True)
        with harness.Client(self.node.port) as direct:
            self.assertError(direct("GET", self.keys[0]), ("CLUSTERDOWN", "LOADING"))
        self.check()
        self.cluster.wait_ok()


class Replicas(harness.ProxyTest):
    """READONLY and MASTERDOWN, with reads at the replicas."""

    PRIMARIES = 3
    REPLICAS = 1
    NODE_CONFIG = {"replica-serve-stale-data": "no"}
    DIRECTIVES = {"read-from": "replica", "request-timeout": 20000, "workers": 2}

    def setUp(self):
        self.cluster.heal()

    def traffic(self, key, stop, count):
        with self.proxy.client() as c:
            while not stop:
                write = c("SET", key, "%d" % count[0])
                read = c("GET", key)
                if isinstance(write, harness.ReplyError):
                    self.assertError(write, "INDOUBT")
                self.assertNotIsInstance(read, harness.ReplyError)
                count[0] += 1

    def under_traffic(self, action):
        stop, counts = [], [[0], [0]]
        key = self.cluster.key(1, "roles")
        workers = [harness.Worker(self.traffic, key + str(i), stop, counts[i]) for i in range(2)]

        def more():
            goals = [n[0] + 30 for n in counts]

            def reached():
                for w in workers:
                    if w.error:
                        raise AssertionError(repr(w.error))
                return all(n[0] >= g for n, g in zip(counts, goals))

            harness.wait_until(reached, 25, "traffic")

        try:
            more()
            action()
            more()
        finally:
            stop.append(True)
            for w in workers:
                w.finish()

    def test_planned_failovers(self):
        def action():
            for _ in range(3):
                self.cluster.failover(1)
                self.cluster.wait_ok()

        self.under_traffic(action)

    def test_killed_primary_behind_a_stale_replica(self):
        old = self.cluster.primary_of(1)

        def action():
            old.kill()
            self.cluster.wait_promoted(1, old)

        self.under_traffic(action)

    def test_masterdown_is_hidden(self):
        """A replica without its primary refuses reads; with read-from prefer-replica they go on, to the primary."""
        proxy = self.start_proxy({"read-from": "prefer-replica"})
        primary = self.cluster.primary_of(2)
        (replica,) = self.cluster.replicas_of(primary)
        key = self.cluster.key(2, "stale")
        c = proxy.client()
        self.addCleanup(c.close)
        c.ok("SET", key, "v")
        before = replica.error_count("MASTERDOWN")
        # Credentials that the primary does not know keep the replica from syncing again.
        replica("CONFIG", "SET", "masterauth", "wrong", "masteruser", "nobody")
        replica("CLIENT", "KILL", "TYPE", "master")
        harness.wait_until(lambda: replica.info("replication")["master_link_status"] == "down", 10, "the link to be down")
        try:
            for _ in range(20):
                self.assertEqual(c("GET", key), b"v")
            self.assertGreater(replica.error_count("MASTERDOWN"), before, "no MASTERDOWN was given")
        finally:
            replica("CONFIG", "SET", "masterauth", "", "masteruser", "")
            self.cluster.wait_ok()


if __name__ == "__main__":
    harness.main()
