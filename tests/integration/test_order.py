#!/usr/bin/python3
"""
Order under a live slot move: pipelined commands of one client on one slot never overtake each other, nothing is lost
or repeated and no redirect reaches the client, while the slot is carried back and forth between shards.

Each test also proves that it was a test: the nodes must have answered redirects (INFO errorstats) while it ran.
"""

import collections

import harness

TAG = "moving"
DEPTH = 64
MOVES = int(harness.os.environ.get("KEYWAY_MOVES", "12"))


class Pipeline:
    """
    A client that keeps DEPTH rounds of commands in flight until told to stop. make(i) gives the commands of round i,
    check(i, replies) judges their replies.
    """

    def __init__(self, client, make, check):
        self.client, self.make, self.check = client, make, check
        self.stopping = False
        self.rounds = 0
        self.worker = harness.Worker(self._run)

    def _run(self):
        sent = 0
        pending = collections.deque()
        while pending or not self.stopping:
            batch = []
            while len(pending) < DEPTH and not self.stopping:
                commands = self.make(sent)
                batch += [harness.encode(*c) for c in commands]
                pending.append((sent, len(commands)))
                sent += 1
            if batch:
                self.client.send(b"".join(batch))
            for _ in range(max(1, len(pending) // 2) if pending else 0):
                i, n = pending.popleft()
                self.check(i, self.client.read_n(n))
                self.rounds = i + 1
        return sent

    def progress(self, rounds=100):
        """Waits until so many more rounds were answered."""
        goal = self.rounds + rounds

        def reached():
            if self.worker.error is not None:
                raise self.worker.error
            return self.rounds >= goal

        harness.wait_until(reached, 30, "the pipeline to go on")

    def stop(self):
        self.stopping = True
        return self.worker.finish()


class Order(harness.ProxyTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.slot = harness.slot_of("{%s}" % TAG)
        self.cluster.flush()
        self.redirects = self.redirect_count()
        # Other keys of the slot, so that a move takes its time and the watched keys go neither first nor last.
        with self.client() as c:
            for i in range(50):
                c.ok("SET", "{%s}filler%d" % (TAG, i), "x" * 100)

    def redirect_count(self):
        return {code: self.cluster.errors(code) for code in ("ASK", "MOVED", "TRYAGAIN")}

    def seen(self, code):
        return self.cluster.errors(code) - self.redirects[code]

    def next_primary(self):
        owner = self.cluster.owner(self.slot)
        nodes = self.cluster.nodes
        return nodes[(nodes.index(owner) + 1) % len(nodes)]

    def move_slowly(self, watched, pipelines):
        """One move with client traffic between all of its steps."""

        def traffic():
            for p in pipelines:
                p.progress(DEPTH)

        move = self.cluster.move(self.slot, self.next_primary()).begin()
        traffic()
        fillers = [k for k in move.keys(1000) if k not in watched]
        for i in range(0, len(fillers) // 2, 5):
            move.move(*fillers[i : i + 5])
        for key in watched:
            move.move(key)
            if key is watched[-1] or len(watched) == 1:
                traffic()
        move.move_all()
        traffic()
        move.finish()
        traffic()

    def run_moves(self, watched, pipelines, moves=MOVES):
        try:
            for p in pipelines:
                p.progress()
            for _ in range(moves):
                self.move_slowly(watched, pipelines)
        finally:
            rounds = [p.stop() for p in pipelines]
        return rounds

    def test_incr_is_strictly_increasing(self):
        key = b"{%s}counter" % TAG.encode()

        def check(i, replies):
            self.assertEqual(replies, [i + 1], "round %d" % i)

        p = Pipeline(self.client(), lambda i: [("INCR", key)], check)
        (rounds,) = self.run_moves([key], [p])
        self.assertEqual(int(self.client().ok("GET", key)), rounds)
        self.assertGreater(self.seen("ASK"), 0, "the test saw no ASK")
        self.assertGreater(self.seen("MOVED"), 0, "the test saw no MOVED")

    def test_append_keeps_sequence(self):
        key = b"{%s}log" % TAG.encode()

        def check(i, replies):
            self.assertEqual(replies, [(i + 1) * 8], "round %d" % i)

        p = Pipeline(self.client(), lambda i: [("APPEND", key, "%07d;" % i)], check)
        (rounds,) = self.run_moves([key], [p])
        self.assertEqual(self.client().ok("GET", key), b"".join(b"%07d;" % i for i in range(rounds)))
        self.assertGreater(self.seen("ASK"), 0, "the test saw no ASK")

    def test_reads_see_the_writes_before_them(self):
        key = b"{%s}seen" % TAG.encode()

        def check(i, replies):
            self.assertEqual(replies, [b"OK", b"%d" % i, 1, 0, None], "round %d" % i)

        def make(i):
            return [("SET", key, i), ("GET", key), ("DEL", key), ("EXISTS", key), ("GET", key)]

        p = Pipeline(self.client(), make, check)
        self.run_moves([key], [p])
        self.assertGreater(self.seen("ASK"), 0, "the test saw no ASK")

    def test_two_keys_of_the_slot(self):
        """TRYAGAIN: MGET of two keys in different places waits, and what was sent after it does not overtake it."""
        a, b = b"{%s}a" % TAG.encode(), b"{%s}b" % TAG.encode()

        def check(i, replies):
            n = b"%d" % (i + 1)
            self.assertEqual(replies, [i + 1, i + 1, [n, n]], "round %d" % i)

        p = Pipeline(self.client(), lambda i: [("INCR", a), ("INCR", b), ("MGET", a, b)], check)
        try:
            p.progress()
            for _ in range(MOVES):
                move = self.cluster.move(self.slot, self.next_primary()).begin()
                p.progress()
                before = self.cluster.errors("TRYAGAIN")
                move.move(a)
                harness.wait_until(lambda: self.cluster.errors("TRYAGAIN") > before, 10, "a TRYAGAIN")
                move.move(b)
                p.progress()
                move.move_all()
                move.finish()
                p.progress()
        finally:
            rounds = p.stop()
        self.assertEqual(self.client().ok("MGET", a, b), [b"%d" % rounds] * 2)
        self.assertGreaterEqual(self.seen("TRYAGAIN"), MOVES)

    def test_many_clients_and_a_split_command(self):
        """Counters of four clients in the moving slot, one of whose rounds also read over all shards."""
        keys = [b"{%s}c%d" % (TAG.encode(), i) for i in range(4)]
        elsewhere = [self.cluster.key(i, "still", 3) for i in range(3)]
        self.client().ok("MSET", *[x for k in elsewhere for x in (k, "v")])
        pipelines = []
        for key in keys[1:]:

            def check(i, replies):
                self.assertEqual(replies, [i + 1], "round %d" % i)

            pipelines.append(Pipeline(self.client(), lambda i, k=key: [("INCR", k)], check))

        def check_split(i, replies):
            self.assertEqual(replies, [i + 1, [b"v", b"%d" % (i + 1), b"v", b"v"], b"%d" % (i + 1)], "round %d" % i)

        def make_split(_):
            return [("INCR", keys[0]), ("MGET", elsewhere[0], keys[0], elsewhere[1], elsewhere[2]), ("GET", keys[0])]

        pipelines.append(Pipeline(self.client(), make_split, check_split))
        rounds = self.run_moves(keys, pipelines, max(3, MOVES // 3))
        final = [int(v) for v in self.client().ok("MGET", *(keys[1:] + keys[:1]))]
        self.assertEqual(final, rounds)
        self.assertGreater(self.seen("ASK"), 0, "the test saw no ASK")


class OrderOverManyLinks(harness.ProxyTest):
    """Several shared links to each node must not let one client's commands on a key pass each other."""

    PRIMARIES = 2
    DIRECTIVES = {"workers": 1, "node-links": 4}

    def run_client(self, n):
        key, other = "links%d" % n, self.cluster.key(n % 2, "links-other%d" % n)
        rounds = [100] * 30
        total = 0
        with self.proxy.client() as c:
            for count in rounds:
                commands, want = [], []
                for _ in range(count):
                    total += 1
                    commands += [("SET", key, total), ("GET", key), ("INCR", key), ("GET", other), ("STRLEN", key), ("GET", key)]
                    more = b"%d" % (total + 1)
                    want += [b"OK", b"%d" % total, total + 1, None, len(more), more]
                self.assertEqual(c.pipeline(commands), want)

    def test_pipelines_of_many_clients(self):
        for worker in [harness.Worker(self.run_client, n) for n in range(6)]:
            worker.finish()


if __name__ == "__main__":
    harness.main()
