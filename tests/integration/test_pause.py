#!/usr/bin/python3
# alone: yes
# timeout: 200
"""CLIENT PAUSE and UNPAUSE: who waits, until when, in which order, and that waiting costs nothing."""

import os
import select
import time

import harness
from harness import encode, wait_until

LONG = "100000"


class PauseTest(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.judge.client().ok("FLUSHALL")

    def tearDown(self):
        for where in (self.judge, self.proxy):
            with where.client() as c:
                c.ok("CLIENT", "UNPAUSE")

    def open(self, where, resp=2):
        c = where.client(timeout=15)
        self.addCleanup(c.close)
        if resp == 3:
            c.ok("HELLO", 3)
        return c

    def blocked(self, where):
        """Clients that wait, as CLIENT LIST tells."""
        with where.client() as c:
            return [x for x in c.ok("CLIENT", "LIST").split(b"\n") if b" flags=" in x and b"b" in x.split(b" flags=")[1].split(b" ")[0]]

    def silent(self, c):
        """Nothing has come, and the server has had the chance."""
        self.assertFalse(select.select([c.sock], [], [], 0)[0], "an answer during the pause")


class Errors(PauseTest):
    def test_errors(self):
        for resp in (2, 3):
            j, p = self.open(self.judge, resp), self.open(self.proxy, resp)
            for command in (
                ["PAUSE"], ["PAUSE", "x"], ["PAUSE", "-1"], ["PAUSE", "10", "FOO"], ["PAUSE", "x", "FOO"], ["PAUSE", "10", "all", "x"],
                ["pause", "10", "all", "x"], ["PAUSE", "0"], ["PAUSE", "99999999999999999999"], ["PAUSE", "9223372036854775807"],
                ["PAUSE", "1.5"], ["PAUSE", " 1"], ["PAUSE", ""], ["UNPAUSE"], ["UNPAUSE", "x"], ["PAUSE", "0", "write"],
            ):  # fmt: skip
                with self.subTest(command=command, resp=resp):
                    j("CLIENT", *command), p("CLIENT", *command)
                    self.assertEqual(p.raw, j.raw)
                    self.assertEqual((j("SET", "a", "1"), p("SET", "a", "1")), (b"OK", b"OK"))


class Write(PauseTest):
    READS = [
        ["GET", "a"], ["PING"], ["MGET", "a", "b"], ["EXISTS", "a"], ["EVAL_RO", "return 1", "0"], ["TIME"],
        ["EVAL", "#!lua flags=no-writes\nreturn 1", "0"], ["EVAL", "#!lua flags=allow-oom,no-writes\nreturn 1", "0"],
        ["NOSUCH"], ["SET", "a"], ["XREAD", "STREAMS", "a", "0"], ["CLIENT", "ID"], ["FCALL_RO", "nosuch", "0"],
        ["SCRIPT", "LOAD", "return 3"], ["CONFIG", "GET", "nosuch"], ["DISCARD"], ["WATCH", "a"],
    ]  # fmt: skip
    WRITES = [
        ["SET", "a", "1"], ["MSET", "a", "1", "b", "2"], ["DEL", "a"], ["EVAL", "return 1", "0"], ["EVAL", "#!lua\nreturn 1", "0"],
        ["EVAL", "#!lua flags=allow-oom\nreturn 1", "0"], ["EVAL", "-- flags=no-writes\nreturn 1", "0"],
        ["EVALSHA", "f" * 40, "0"], ["PUBLISH", "a", "b"], ["SPUBLISH", "a", "b"], ["PFCOUNT", "a"], ["FLUSHALL"], ["GETEX", "a"],
        ["BLPOP", "a", "0.01"], ["FCALL", "nosuch", "0"], ["SORT", "a"], ["FUNCTION", "FLUSH"], ["SET", "big", "v" * 3000000],
    ]  # fmt: skip

    def answer(self, where, command, waits):
        """The bytes of the answer, which comes during the pause or waits for its end."""
        boss, c = self.open(where), self.open(where)
        boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
        c.cmd(*command)
        if waits:
            wait_until(lambda: self.blocked(where), what="%r to wait" % command[0])
            boss.ok("GET", "a")
            self.silent(c)
        else:
            c.read()
        boss.ok("CLIENT", "UNPAUSE")
        if waits:
            c.read()
        return c.raw if command[0] not in ("CLIENT", "TIME") else b""

    def test_which_commands_wait(self):
        for command in self.READS + self.WRITES:
            with self.subTest(command=[x[:40] for x in command]):
                waits = command in self.WRITES
                want = self.answer(self.judge, command, waits)
                self.assertEqual(self.answer(self.proxy, command, waits), want)

    def test_script_by_name(self):
        c = self.open(self.proxy)
        sha = c.ok("SCRIPT", "LOAD", "#!lua flags=no-writes\nreturn 7")
        self.assertEqual(self.answer(self.proxy, ["EVALSHA", sha, "0"], False), b":7\r\n")
        sha = c.ok("SCRIPT", "LOAD", "return 8")
        self.assertEqual(self.answer(self.proxy, ["EVALSHA", sha, "0"], True), b":8\r\n")

    def test_order_of_a_pipeline(self):
        for where in (self.judge, self.proxy):
            boss, c = self.open(where), self.open(where)
            c.ok("SET", "a", "0")
            boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
            c.send(b"".join(encode(*x) for x in (["GET", "a"], ["SET", "a", "1"], ["GET", "a"], ["INCR", "a"], ["NOSUCH"], ["GET", "a"])))
            self.assertEqual(c.read(), b"0")
            wait_until(lambda: self.blocked(where))
            self.silent(c)
            self.assertEqual(self.open(where)("GET", "a"), b"0")
            boss.ok("CLIENT", "UNPAUSE")
            got = c.read_n(5)
            self.assertEqual(got[:3] + got[4:], [b"OK", b"1", 2, b"2"])
            self.assertError(got[3], "ERR unknown command")

    def test_transactions(self):
        for where in (self.judge, self.proxy):
            boss, before, during, reads = (self.open(where) for _ in range(4))
            before.pipeline([["MULTI"], ["SET", "a", "1"], ["GET", "a"]])
            reads.pipeline([["MULTI"], ["SET", "a", "1"], ["DISCARD"], ["MULTI"], ["GET", "a"]])
            boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
            self.assertEqual(reads("EXEC"), [None])
            before.cmd("EXEC")
            during.send(encode("MULTI") + encode("SET", "b", "1") + encode("EXEC"))
            self.assertEqual(during.read(), b"OK")
            wait_until(lambda: len(self.blocked(where)) == 2)
            self.silent(before)
            self.silent(during)
            boss.ok("CLIENT", "UNPAUSE")
            self.assertEqual(before.read(), [b"OK", b"1"])
            self.assertEqual(during.read_n(2), [b"QUEUED", [b"OK"]])

    def test_replies_skipped_stay_skipped(self):
        for where in (self.judge, self.proxy):
            boss, c = self.open(where), self.open(where)
            boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
            c.send(encode("CLIENT", "REPLY", "SKIP") + encode("SET", "a", "1") + encode("GET", "a"))
            wait_until(lambda: self.blocked(where))
            boss.ok("CLIENT", "UNPAUSE")
            self.assertEqual(c.read(), b"1")

    def test_counted_once(self):
        boss, c = self.open(self.proxy), self.open(self.proxy)
        boss.ok("CONFIG", "RESETSTAT")
        boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
        c.send(encode("SET", "a", "1") + encode("SET", "b"))
        wait_until(lambda: self.blocked(self.proxy))
        boss.ok("CLIENT", "UNPAUSE")
        self.assertEqual(c.read(), b"OK")
        self.assertError(c.read(), "ERR wrong number")
        info = self.proxy.info("commandstats")
        self.assertTrue(info["cmdstat_set"].startswith("calls=1,"), info["cmdstat_set"])
        self.assertIn("rejected_calls=1", info["cmdstat_set"])


class All(PauseTest):
    def ends_on_time(self, pause_s, wait):
        """wait() waits for the end of a pause: never too early, and of several times mostly not late either."""
        late = []
        stalls = self.stalls()
        for _ in range(5):
            start = time.monotonic()
            wait()
            took = time.monotonic() - start
            self.assertGreaterEqual(took, pause_s)
            late.append(took - pause_s)
        self.assertLess(harness.percentile(late, 0.5), 0.1 * harness.TIME_SCALE + stalls.worst_s)

    def test_everything_waits_until_the_end(self):
        clients = [self.open(self.proxy) for _ in range(6)]
        boss = self.open(self.proxy)

        def wait():
            boss.send(encode("CLIENT", "PAUSE", "200") + encode("PING"))
            self.assertEqual(boss.read(), b"OK")
            for c in clients:
                c.cmd("PING")
            for c in clients + [boss]:
                self.assertEqual(c.read(), b"PONG")

        self.ends_on_time(0.2, wait)

    def test_unpause_waits_too(self):
        for where in (self.judge, self.proxy):
            boss, c = self.open(where), self.open(where)
            start = time.monotonic()
            boss.ok("CLIENT", "PAUSE", "300", "ALL")
            self.assertEqual(c("CLIENT", "UNPAUSE"), b"OK")
            self.assertGreaterEqual(time.monotonic() - start, 0.3)

    def test_the_stricter_and_longer_holds(self):
        boss, c = self.open(self.proxy), self.open(self.proxy)

        def wait():
            boss.ok("CLIENT", "PAUSE", "200", "WRITE")
            boss.ok("CLIENT", "PAUSE", "10", "ALL")
            self.assertEqual(c("PING"), b"PONG")

        self.ends_on_time(0.2, wait)

    def test_prolonged_while_somebody_waits(self):
        """The first pause is long enough for the second to come while it holds, and would end before that one."""
        boss, c = self.open(self.proxy), self.open(self.proxy)
        first_ms = int(1000 * max(3, harness.TIME_SCALE))
        boss.ok("CLIENT", "PAUSE", first_ms, "WRITE")
        c.cmd("SET", "a", "1")
        wait_until(lambda: self.blocked(self.proxy))
        again = time.monotonic()
        boss.ok("CLIENT", "PAUSE", first_ms + 500, "WRITE")
        self.assertEqual(c.read(), b"OK")
        self.assertGreaterEqual(time.monotonic() - again, first_ms / 1000 + 0.5)

    def test_monitors_go_on(self):
        for where in (self.judge, self.proxy):
            m, boss = self.open(where), self.open(where)
            m.ok("MONITOR")
            start = time.monotonic()
            boss.ok("CLIENT", "PAUSE", "2500", "ALL")
            self.assertEqual(m("PING"), b"PONG")
            self.assertLess(time.monotonic() - start, 2.4)
            self.assertEqual(boss("PING"), b"PONG")

    def test_in_flight_goes_on(self):
        """It blocks for long enough to be seen and to be overtaken by the pause, which is longer."""
        blocked, boss = self.open(self.proxy), self.open(self.proxy)
        blocks_s = max(2.5, harness.TIME_SCALE)
        pause_s = blocks_s + 3
        blocked.cmd("BLPOP", "nolist", blocks_s)
        wait_until(lambda: self.blocked(self.proxy))
        start = time.monotonic()
        boss.ok("CLIENT", "PAUSE", int(1000 * pause_s), "ALL")
        self.assertIsNone(blocked.read())
        self.assertLess(time.monotonic() - start, pause_s - 0.1)


class Many(PauseTest):
    COUNT = 1000

    def cpu_s(self):
        with open("/proc/%d/stat" % self.proxy.pid) as f:
            fields = f.read().rsplit(") ", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def test_waiting_costs_nothing(self):
        clients = [self.open(self.proxy) for _ in range(self.COUNT)]
        boss, other = self.open(self.proxy), self.open(self.proxy)

        def cost():
            before = self.cpu_s()
            for _ in range(4000):
                other.ok("GET", "a")
            return self.cpu_s() - before

        stalls = self.stalls()
        plain = cost()
        boss.ok("CLIENT", "PAUSE", LONG, "WRITE")
        for i, c in enumerate(clients):
            c.send(encode("SET", "k%d" % i, i) + encode("GET", "k%d" % i))
        wait_until(lambda: len(self.blocked(self.proxy)) == self.COUNT)
        paused = cost()
        # A virtual machine may count what was taken from it as spent.
        self.assertLess(paused, plain * 2 + 0.1 + stalls.worst_s)
        for c in clients[::2]:
            c.close()
        wait_until(lambda: int(self.proxy.info("clients")["connected_clients"]) <= self.COUNT // 2 + 3, what="those who left to be seen")
        boss.ok("CLIENT", "UNPAUSE")
        for i, c in enumerate(clients):
            if i % 2:
                self.assertEqual(c.read_n(2), [b"OK", b"%d" % i])
        self.assertIsNone(other("GET", "k0"), "a client that had left wrote")


if __name__ == "__main__":
    harness.main()
