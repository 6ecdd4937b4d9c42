#!/usr/bin/python3
# timeout: 200
"""MONITOR: the lines, their order and quoting as a plain redis-server writes them; over all workers, at no one's cost."""

import re
import time

import harness
from harness import ConnectionClosed, encode, wait_until

LINE = re.compile(rb"(\d+)\.(\d{6}) \[0 ([0-9.]+:\d+|lua)\] (.*)", re.S)


class MonitorTest(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.judge.client().ok("FLUSHALL")
        self.marks = 0

    def open(self, where, resp=2):
        c = where.client(timeout=15)
        self.addCleanup(c.close)
        if resp == 3:
            c.ok("HELLO", 3)
        return c

    def monitor(self, where, resp=2):
        m = self.open(where, resp)
        self.assertEqual(m("MONITOR"), b"OK")
        return m

    def lines_until(self, m, mark):
        """(address, rest) of every line before the mark's."""
        out = []
        while True:
            line = m.read()
            self.assertEqual(m.raw[:1], b"+")
            found = LINE.fullmatch(line)
            self.assertIsNotNone(found, line)
            self.assertLess(abs(int(found[1]) + int(found[2]) / 1e6 - time.time()), 60)
            if mark in line:
                return out
            if found[3] != b"lua":  # what scripts call is known at the nodes only
                out.append((found[3], found[4]))

    def shown(self, where, m, commands, resp=2):
        """What the monitor is shown of these commands of one client, and what that client was answered."""
        c = self.open(where, resp)
        self.marks += 1
        mark = b"mark-%d" % self.marks
        c.send(b"".join(x if isinstance(x, bytes) else encode(*x) for x in commands) + encode("ECHO", mark))
        while c.read() != mark:
            pass
        me = b"%s:%d" % (c.sock.getsockname()[0].encode(), c.sock.getsockname()[1])
        lines = self.lines_until(m, mark)
        self.assertEqual({addr for addr, _ in lines} - {me}, set())
        return [rest for _, rest in lines]

    def same(self, *commands):
        for resp in (2, 3):
            jm, pm = self.monitor(self.judge, resp), self.monitor(self.proxy, resp)
            with self.subTest(commands=commands, resp=resp):
                want = self.shown(self.judge, jm, commands, resp)
                self.assertEqual(self.shown(self.proxy, pm, commands, resp), want)
            jm.close()
            pm.close()


class Lines(MonitorTest):
    def test_quoting(self):
        self.same(["SET", "a", bytes(range(256))], ["set", "", 'x"y\\'], [b"eChO", b"\xc3\xa9 \r\n\t\a\b\0"], b'set  "q w" 1\r\n')

    def test_what_is_shown(self):
        self.same(
            ["SET", "a", "1"], ["GET", "a"], ["PING"], ["CLIENT", "ID"], ["CLIENT", "SETNAME", "x"], ["SELECT", "0"],
            ["CONFIG", "GET", "save"], ["CLIENT", "LIST"], ["CLIENT", "NO-EVICT", "on"], ["SLOWLOG", "LEN"],
            ["NOSUCH"], ["GET"], ["CLIENT", "NOSUCH"], ["MGET", "a", "b", "c"], ["DEL", "a", "b"], ["DBSIZE"], ["KEYS", "*"],
            ["INFO", "nosuchsection"], ["LPUSH", "l", "1"], ["LPUSH", "a"], ["INCR", "l"], ["COMMAND", "COUNT"],
            ["CLIENT", "REPLY", "SKIP"], ["GET", "a"], ["RESET"],
        )  # fmt: skip

    def test_secrets(self):
        self.same(["AUTH", "hush"], ["AUTH", "user", "hush"], ["HELLO", "3", "AUTH", "default", "hush", "SETNAME", "q"], ["HELLO", "2"])
        m = self.monitor(self.proxy)
        lines = self.shown(self.proxy, m, [["AUTH", "a", "hush", "hush"], ["HELLO", "9", "AUTH", "default", "hush"], ["HELLO", "x", "auth", "u", "hush"]])
        self.assertEqual([x for x in lines if b"hush" in x], [])
        self.assertEqual(len(lines), 3)

    def test_scripts(self):
        self.same(
            ["EVAL", "return redis.call('set', KEYS[1], 1)", "1", "k"], ["EVAL_RO", "return 1", "1", "k"],
            ["EVALSHA", "f" * 40, "1", "k"], ["FCALL", "nosuch", "1", "k"],
        )  # fmt: skip

    def test_transactions(self):
        self.same(["MULTI"], ["SET", "a", "1"], ["INCR", "a"], ["LPUSH", "a", "x y"], ["PING"], ["EXEC"], ["GET", "a"])
        self.same(["MULTI"], ["SET", "a", "1"], ["NOSUCH"], ["EXEC"], ["MULTI"], ["GET", "a"], ["DISCARD"], ["EXEC"], ["DISCARD"])
        self.same(["MULTI"], ["MULTI"], ["EXEC"], ["MULTI"], ["SET", "a", "2"], ["RESET"])
        self.same(["MULTI"], b"set a 2\r\n", ["SET", "a", "v" * 30000], ["EXEC"])

    def test_large_values(self):
        self.same(["SET", "a", "x" * 100000], ["MSET", "{a}1", "y" * 70000, "{a}2", "z" * 80000], ["MSET", "a", "y" * 70000, "b", "z" * 80000])
        m = self.monitor(self.proxy)
        value = b"v" * (3 << 20)
        lines = self.shown(self.proxy, m, [["SET", "big", value, "KEEPTTL"], ["STRLEN", "big"]])
        self.assertEqual(lines[0], b'"SET" "big" "... (3145728 more bytes)" "... (1 more arguments)"')
        self.assertEqual(lines[1], b'"STRLEN" "big"')

    def test_blocking(self):
        m = self.monitor(self.proxy)
        c = self.open(self.proxy)
        c.cmd("BLPOP", "nolist", "0")
        line = m.read()
        self.assertTrue(line.endswith(b'"BLPOP" "nolist" "0"'), line)


class Sessions(MonitorTest):
    def dialogue(self, where, resp, commands, until=b"the end\r\n"):
        """Everything that comes back for a write of these commands, times and ports taken out."""
        c = self.open(where, resp)
        c.send(b"".join(encode(*x) for x in commands) + encode("RESET") + encode("ECHO", "the end"))
        out = b""
        while not out.endswith(until):
            data = c.sock.recv(65536)
            if not data:
                out += b"<closed>"
                break
            out += data
        return re.sub(rb"\+\d+\.\d{6} \[0 [0-9.:]+\]", b"+T [0 A]", out)

    def same_dialogue(self, *commands):
        for resp in (2, 3):
            with self.subTest(commands=commands, resp=resp):
                want = self.dialogue(self.judge, resp, commands)
                self.assertEqual(self.dialogue(self.proxy, resp, commands), want)

    def test_what_a_monitor_may_do(self):
        self.same_dialogue(["SET", "a", "1"], ["MONITOR"], ["PING"], ["PING", "x"], ["GET", "a"], ["SET", "a", "2"], ["PUBLISH", "a", "b"])
        self.same_dialogue(["MONITOR"], ["MONITOR"], ["PING"])
        self.same_dialogue(["MONITOR", "x"], ["PING"])
        self.same_dialogue(["MONITOR"], ["PING"], ["RESET"], ["PING"], ["SET", "a", "3"], ["GET", "a"])
        self.same_dialogue(["MONITOR"], ["MULTI"], ["GET", "a"], ["EXEC"], ["RESET"])
        self.same_dialogue(["MONITOR"], ["CLIENT", "REPLY", "OFF"], ["PING"], ["CLIENT", "REPLY", "ON"])

    def test_quit(self):
        for where in (self.judge, self.proxy):
            c = self.open(where)
            c.send(encode("MONITOR") + encode("QUIT") + encode("PING"))
            self.assertEqual(c.read_until_close(), b"+OK\r\n+OK\r\n")

    def test_reset_ends_it(self):
        m = self.monitor(self.proxy)
        self.assertEqual(m("RESET"), b"RESET")
        c = self.open(self.proxy)
        c.ok("SET", "a", "1")
        self.assertEqual(m("GET", "a"), b"1")

    def test_all_workers_see_all_workers(self):
        def worker_of(c):
            return re.search(rb"worker=(\d+)", c.ok("CLIENT", "INFO"))[1]

        def one_each():
            found = {}
            while len(found) < 2:
                c = self.open(self.proxy)
                found.setdefault(worker_of(c), c)
            return [found[w] for w in sorted(found)]

        monitors, clients = one_each(), one_each()
        for m in monitors:
            self.assertEqual(m("MONITOR"), b"OK")
        for i in range(300):
            clients[i % 2].ok("SET", "k%d" % i, i)
        clients[0].ok("ECHO", "mark")
        want = [b'"SET" "k%d" "%d"' % (i, i) for i in range(300)]
        for m in monitors:
            lines = [rest for _, rest in self.lines_until(m, b"mark")]
            # Of one worker's clients the order is exact; between workers it is that of their loop turns.
            self.assertEqual([x for x in lines if int(x.split(b'"')[5]) % 2 == 0], want[::2])
            self.assertEqual([x for x in lines if int(x.split(b'"')[5]) % 2], want[1::2])

    def test_ends_with_its_connection(self):
        before = [self.monitor(self.proxy) for _ in range(20)]
        for m in before[::2]:
            m.close()
        c = self.open(self.proxy)
        c.ok("ECHO", "mark")
        for m in before[1::2]:
            self.lines_until(m, b"mark")


class SlowMonitor(MonitorTest):
    DIRECTIVES = {"workers": 2, "client-output-buffer-limit": ["normal", "4mb", "0", "0"]}

    def test_a_slow_monitor_is_closed_and_slows_nobody(self):
        slow = self.proxy.client(rcvbuf=4096)
        self.addCleanup(slow.close)
        slow.ok("MONITOR")
        good = self.monitor(self.proxy)
        c = self.open(self.proxy)
        value = "v" * 60000
        for i in range(0, 400, 20):
            c.send(b"".join(encode("SET", "k%d" % n, value) for n in range(i, i + 20)))
            for n in range(i, i + 20):
                self.assertEqual(c.read(), b"OK")
                self.assertTrue(good.read().endswith(b'"SET" "k%d" "%s"' % (n, value.encode())))
        wait_until(lambda: int(self.proxy.info("everything")["client_output_limit_disconnections"]) >= 1)
        with self.assertRaises(ConnectionClosed):
            while True:
                slow.read(timeout=10)
        c.ok("ECHO", "mark")
        self.lines_until(good, b"mark")


if __name__ == "__main__":
    harness.main()
