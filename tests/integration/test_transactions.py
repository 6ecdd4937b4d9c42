#!/usr/bin/python3
"""MULTI/EXEC on one slot: the same replies as a single Redis, one unit under concurrency, whole through a slot move."""

import harness
from harness import encode


class Transactions(harness.JudgedTest):
    def same(self, *commands):
        """One pipeline to both; the raw bytes of the replies must be equal."""
        data = b"".join(encode(*c) for c in commands)
        with self.proxy.client() as ours, self.judge.client() as theirs:
            got, want = [], []
            for c, raw in ((ours, got), (theirs, want)):
                c.send(data)
                for _ in commands:
                    c.read()
                    raw.append(c.raw)
        self.assertEqual(got, want, repr(commands))

    def test_same_as_redis(self):
        self.same(["MULTI"], ["SET", "{a}1", "x"], ["INCR", "{a}2"], ["GET", "{a}1"], ["EXEC"], ["GET", "{a}2"])
        self.same(["MULTI"], ["EXEC"])
        self.same(["EXEC"], ["DISCARD"], ["MULTI"], ["MULTI"], ["SET", "{a}1", "y"], ["DISCARD"], ["GET", "{a}1"])
        self.same(["MULTI"], ["NOSUCH", "x"], ["SET", "{a}1", "z"], ["EXEC"], ["GET", "{a}1"])
        self.same(["MULTI"], ["GET"], ["EXEC"], ["PING"])
        self.same(["MULTI"], ["SET", "{a}s", "text"], ["LPUSH", "{a}s", "x"], ["GET", "{a}s"], ["EXEC"])
        self.same(["MULTI"], ["PING"], ["ECHO", "hi"], ["EVAL", "return KEYS[1]", "1", "{a}k"], ["EXEC"])
        self.same(["MULTI"], ["BLPOP", "{a}none", "0"], ["EXEC"])
        self.same(["MULTI"], ["SET", "{a}1", "q"], ["RESET"], ["EXEC"])
        self.same(["MULTI"], ["MGET", "{a}1", "{a}2"], ["DEL", "{a}1", "{a}2"], ["EXEC"])

    def test_large_values_inside(self):
        value = "v" * 3000000
        self.same(["MULTI"], ["SET", "{a}big", value], ["STRLEN", "{a}big"], ["APPEND", "{a}big", "w" * 100000], ["EXEC"])

    def test_over_slots_is_refused_as_a_whole(self):
        c = self.client()
        self.assertEqual(c("MULTI"), b"OK")
        self.assertEqual(c("SET", "one", "1"), b"QUEUED")
        self.assertError(c("SET", "two", "2"), "CROSSSLOT")
        self.assertError(c("EXEC"), "EXECABORT")
        self.assertEqual(c("EXISTS", "one", "two"), 0)
        c("MULTI")
        self.assertError(c("MSET", "one", "1", "two", "2"), "CROSSSLOT")
        self.assertEqual(c("DISCARD"), b"OK")

    def test_nobody_comes_between(self):
        """Two counters that are only ever changed together: no reader sees them differ."""

        def write(worker):
            c = self.proxy.client()
            while not worker.stopping:
                c.pipeline([("MULTI",), ("INCR", "{t}a"), ("INCR", "{t}b"), ("EXEC",)] * 20)
            c.close()

        def read(worker):
            c = self.proxy.client()
            while not worker.stopping:
                replies = c.pipeline([("MULTI",), ("GET", "{t}a"), ("GET", "{t}b"), ("EXEC",)] * 20)
                for a, b in replies[3::4]:
                    assert a == b, (a, b)
            c.close()

        workers = [Looper(write), Looper(write), Looper(read), Looper(read)]
        c = self.client()
        harness.wait_until(lambda: int(c("GET", "{t}a") or 0) > 2000, 30, "transactions")
        for worker in workers:
            worker.finish()
        self.assertEqual(c("GET", "{t}a"), c("GET", "{t}b"))

    def test_whole_through_a_slot_move(self):
        """Transactions while their slot moves to and fro: none lost, none twice, no error."""
        c = self.client()
        c("SET", "{move}a", "0")

        def write(worker):
            client = self.proxy.client()
            expected = 0
            while not worker.stopping:
                replies = client.pipeline([("MULTI",), ("INCR", "{move}a"), ("INCR", "{move}b"), ("EXEC",)] * 5)
                for pair in replies[3::4]:
                    expected += 1
                    assert pair == [expected, expected], (pair, expected)
                worker.done = expected
            client.close()

        worker = Looper(write)
        slot = harness.slot_of("{move}a")
        for _ in range(4):
            before = worker.done
            harness.wait_until(lambda: worker.done > before + 50 or worker.error, 30, "transactions to go on")
            src = self.cluster.owner(slot)
            dst = next(n for n in self.cluster.nodes if n is not src)
            self.cluster.move(slot, dst).begin().move_all().finish()
        worker.finish()
        self.assertEqual(c("GET", "{move}a"), str(worker.done).encode())


class Looper(harness.threading.Thread):
    def __init__(self, work):
        super().__init__(daemon=True)
        self.work, self.stopping, self.error, self.done = work, False, None, 0
        self.start()

    def run(self):
        try:
            self.work(self)
        except BaseException as e:  # handed to the test
            self.error = e

    def finish(self):
        self.stopping = True
        self.join(30 * harness.TIME_SCALE)
        if self.error:
            raise self.error
        assert not self.is_alive()


if __name__ == "__main__":
    harness.main()
