#!/usr/bin/python3
# alone: yes
"""
The load generator of the benchmark: that it sends what it says, to whom it says, counts every reply and every error,
keeps its schedule, and does not take a broken run for a result. Against the port and, as a cluster client, the nodes.
"""

import json
import os
import subprocess
import time

import harness

MB = 1024 * 1024
TIMES = ("p50_us", "p90_us", "p99_us", "p999_us", "max_us")

# Workload, requests, further words, and what must have run at the nodes. Counts of MGET and MSET depend on the slots.
COMMANDS = [
    ("get", 300, "--fill --keys 100", {"get": 300, "set": 100}),
    ("set", 300, "", {"set": 300}),
    ("mixed", 300, "--fill --keys 100", {"get": 150, "set": 250}),
    ("evalsha", 300, "--keys 100", {"evalsha": 300, "hset": 300}),
    ("leaderboard", 300, "--fill --keys 1000 --boards 4",
     {"zadd": 1000, "zincrby": 60, "zrevrank": 60, "zrevrange": 120, "zscore": 60}),
    ("xadd", 300, "--keys 10", {"xadd": 300}),
    ("set", 301, "--pipeline 16", {"set": 301}),
    ("set", 300, "--warmup 50 --pipeline 7", {"set": 350}),
    ("set", 300, "--size 20000 --keys 10", {"set": 300}),
]

# What makes no sense, and a part of what is said about it.
REFUSED = [
    ("", "--targets is missing"),
    ("--targets HERE --requests 1", "--workload is missing"),
    ("--targets HERE --workload get", "--requests or --seconds is missing"),
    ("--targets HERE --workload get --requests 1 --seconds 1", "exclude each other"),
    ("--targets HERE --workload nothing --requests 1", "there is no workload 'nothing'"),
    ("--targets HERE --workload get --requests 1 --speed 9", "there is no option '--speed'"),
    ("--targets HERE --workload get --requests", "--requests takes a value"),
    ("--targets HERE --workload get --requests 1x", "not '1x'"),
    ("--targets HERE --workload get --requests -1", "not '-1'"),
    ("--targets HERE --workload get --requests +1", "not '+1'"),
    ("--targets HERE --workload get --requests 1 --connections 0", "not '0'"),
    ("--targets HERE --workload get --requests 1 --rate 0", "not '0'"),
    ("--targets HERE --workload get --seconds soon", "not 'soon'"),
    ("--targets nowhere --workload get --requests 1", "--targets"),
    ("--targets HERE --workload command --requests 1", "wants --command"),
    ("--targets HERE --workload get --requests 1 --command PING", "workload command only"),
    ("--targets HERE --workload fanout --requests 1", "wants --subscribers"),
    ("--targets HERE --workload fanout --requests 1 --subscribers 1 --size 8", "32 bytes at least"),
    ("--targets HERE --workload get --requests 1 --subscribers 1", "fanout only"),
    ("--targets HERE --workload ping --requests 1 --fill", "nothing to --fill"),
    ("--targets HERE --workload get --requests 1 --fill --size 1048576", "fewer --keys"),
    ("--targets HERE --workload idle --requests 1", "--requests"),
]


def total(nodes, command):
    return sum(node.calls(command) for node in nodes)


def argv(targets, words):
    return [harness.bin_path("bench_load"), "--targets", targets] + [str(word) for word in words]


def run(targets, words, **kw):
    """One run to its end: exit code, standard output, standard error."""
    done = subprocess.run(argv(targets, words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          timeout=60 * harness.TIME_SCALE, **kw)
    return done.returncode, done.stdout, done.stderr


def measure(targets, words):
    """What a run that succeeds prints, as an object."""
    code, out, err = run(targets, words)
    if code != 0:
        raise AssertionError("exit code %d: %s" % (code, err))
    assert out.count("\n") == 1, out
    return json.loads(out)


class Generator(harness.ProxyTest):
    def setUp(self):
        self.cluster.flush()
        for node in self.cluster.nodes:
            node("CONFIG", "RESETSTAT")
        self.port = "%s:%d" % (harness.HOST, self.proxy.port)
        self.first = self.cluster.nodes[0].addr

    def server(self):
        server = harness.Server().start()
        self.addCleanup(lambda: server.kill() if server.alive() else None)
        return server

    def start(self, targets, words, **kw):
        """A run in the background."""
        proc = subprocess.Popen(argv(targets, words), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **kw)
        self.addCleanup(self.end, proc)
        return proc

    def end(self, proc):
        if proc.poll() is None:
            proc.kill()
        proc.communicate()

    def stat(self, name):
        return sum(int(node.info("stats")[name]) for node in self.cluster.nodes)

    def check_result(self, result, requests):
        self.assertEqual((result["requests"], result["errors"], result["first_error"]), (requests, 0, ""))
        self.assertGreater(result["seconds"], 0)
        self.assertAlmostEqual(result["per_second"], requests / result["seconds"], delta=result["per_second"] / 100)
        times = [result[name] for name in TIMES]
        self.assertEqual(times, sorted(times))
        self.assertGreater(times[0], 0)
        self.assertLess(times[-1], result["seconds"] * 1e6 + 1)
        self.assertGreater(result["cpu_seconds"], 0)

    def both(self):
        """By the port, and as a cluster client; on empty nodes that have counted nothing."""
        for targets, words in ((self.port, []), (self.first, ["--cluster"])):
            self.setUp()
            yield targets, words + ["--connections", "4"]

    # ---- What is sent.

    def test_commands(self):
        for workload, requests, more, wanted in COMMANDS:
            for targets, words in self.both():
                result = measure(targets, words + ["--workload", workload, "--requests", requests] + more.split())
                self.check_result(result, requests)
                self.assertEqual(result["nils"], 0)
                self.assertEqual({name: total(self.cluster.nodes, name) for name in wanted}, wanted)

    def test_ping(self):
        for targets, words in self.both():
            self.check_result(measure(targets, words + ["--workload", "ping", "--requests", "300"]), 300)

    def test_values(self):
        """The value is --size bytes, under keys below --keys."""
        for size in (1, 64, 16384, 100000):
            for targets, words in self.both():
                measure(targets, words + ["--workload", "set", "--requests", 50, "--keys", 3, "--size", size])
                keys = [b"key:%012d" % i for i in range(3)]
                self.assertEqual(sorted(k for n in self.cluster.nodes for k in n("KEYS", "*")), keys)
                with self.proxy.client() as c:
                    self.assertEqual([len(c.ok("GET", k)) for k in keys], [size] * 3)

    def test_fill(self):
        """Every key is written once, whatever the number of them."""
        for keys in (1, 999):
            for targets, words in self.both():
                measure(targets, words + ["--workload", "get", "--requests", 1, "--keys", keys, "--fill"])
                there = {k for n in self.cluster.nodes for k in n("KEYS", "*")}
                self.assertEqual(there, {b"key:%012d" % i for i in range(keys)})
                self.assertEqual(total(self.cluster.nodes, "set"), keys)

    def test_many_keys(self):
        """Every key of an MGET is read, every key of an MSET is written, however they are split."""
        for workload, requests in (("mget10", 100), ("mget10000", 3)):
            for targets, words in self.both():
                more = ["--workload", workload, "--requests", requests, "--keys", 500, "--fill"]
                self.check_result(measure(targets, words + more), requests)
                self.assertEqual(self.stat("keyspace_misses"), 0)
                self.assertEqual(self.stat("keyspace_hits"), requests * int(workload[4:]))
        for targets, words in self.both():
            more = ["--workload", "mset10", "--requests", 100, "--keys", 50]
            self.check_result(measure(targets, words + more), 100)
            self.assertEqual(sum(node("DBSIZE") for node in self.cluster.nodes), 50)

    def test_split_keys(self):
        """The keys are the same, split or not: as many of them are among those that exist, about a half."""
        hits = []
        for targets, words in self.both():
            measure(targets, words + ["--workload", "get", "--requests", 1, "--keys", 10000, "--fill"])
            before = self.stat("keyspace_hits")
            measure(targets, words + ["--workload", "mget10000", "--requests", 2, "--keys", 20000])
            hits.append(self.stat("keyspace_hits") - before)
        self.assertEqual(hits[0], hits[1])
        self.assertTrue(9000 < hits[0] < 11000, hits)

    def test_stream(self):
        """Eight entries, one reading, one acknowledgement; what was read is acknowledged."""
        for targets, words in self.both():
            for pipeline in (1, 20):
                self.setUp()
                more = ["--workload", "stream", "--requests", 800, "--pipeline", pipeline]
                self.check_result(measure(targets, words + more), 800)
                counts = [total(self.cluster.nodes, name) for name in ("xadd", "xreadgroup", "xack")]
                self.assertEqual(sum(counts), 800)
                self.assertGreater(counts[0], 600)
                self.assertGreater(counts[2], 50)
                read = pending = 0
                with self.proxy.client() as c:
                    for i in range(4):
                        group = c.ok("XINFO", "GROUPS", "stream:%012d" % i)[0]
                        group = dict(zip(group[::2], group[1::2]))
                        read += group[b"entries-read"] or 0  # nil before the first reading
                        pending += group[b"pending"]
                self.assertGreater(read, 400)
                self.assertLessEqual(pending, 4 * 10 * pipeline)
                self.assertLess(pending, read / 2)

    def test_same_keys(self):
        """The sequence of keys belongs to the seed."""
        words = ["--workload", "set", "--requests", 200, "--keys", 1 << 32, "--seed"]
        for seed, keys in ((7, 200), (7, 200), (8, 400)):
            measure(self.port, words + [seed])
            self.assertEqual(sum(node("DBSIZE") for node in self.cluster.nodes), keys)
        measure(self.first, words + [8, "--cluster"])
        self.assertEqual(sum(node("DBSIZE") for node in self.cluster.nodes), 400)

    def test_targets_take_turns(self):
        one, two = self.server(), self.server()
        words = ["--workload", "set", "--requests", 200, "--connections", 4, "--rate", 2000]
        self.check_result(measure("%s,%s" % (one.addr, two.addr), words), 200)
        self.assertEqual((one.calls("set"), two.calls("set")), (100, 100))

    def test_prepare(self):
        """What is prepared goes by the nodes, the load by the port."""
        words = ["--workload", "get", "--requests", 200, "--keys", 100, "--fill", "--prepare", self.first]
        before = int(self.proxy.info("stats")["total_commands_processed"])
        result = measure(self.port, words)
        after = int(self.proxy.info("stats")["total_commands_processed"])
        self.assertEqual((result["nils"], total(self.cluster.nodes, "set")), (0, 100))
        self.assertLess(after - before, 300)

    def test_watch(self):
        server = self.server()
        words = ["--workload", "set", "--requests", 20000, "--watch", "%d,%d" % (server.proc.pid, os.getpid())]
        result = measure(server.addr, words)
        busy, idle = result["watched_cpu_seconds"]
        self.assertGreater(busy, 0.01)
        self.assertLess(idle, busy)

    # ---- What is counted.

    def test_errors(self):
        """Error replies are counted, and the first is shown."""
        for targets, words in self.both():
            with self.proxy.client() as c:
                c.ok("RPUSH", "list", "x")
            words = words + ["--workload", "command", "--requests", 300, "--command", "GET list", "--command", "GET other"]
            result = measure(targets, words)
            self.assertEqual((result["requests"], result["errors"], result["nils"]), (300, 150, 150))
            self.assertTrue(result["first_error"].startswith("WRONGTYPE "), result["first_error"])

    def test_replies(self):
        """Replies of every shape are framed, to the byte."""
        server = self.server()
        commands = [
            "EVAL return{1,{2,{3,'x'},{}},false,{err='MINE'},'a\\r\\nb'} 0", "GET nothing", "LRANGE nothing 0 9",
            "BLPOP nothing 0.001", "COMMAND DOCS get set mget", "EVAL return{err='MY'} 0", "PING", "EXISTS a", "ECHO +OK",
            "GETRANGE nothing 0 1", "COMMAND INFO get nothing", "CONFIG GET maxmemory",
        ]
        expected = 0
        with server.client() as c:
            for words in commands:
                c(*words.split())
                expected += len(c.raw)
        words = ["--workload", "command", "--requests", 10 * len(commands), "--connections", 1]
        for command in commands:
            words += ["--command", command]
        for pipeline in (1, 5, 1000):
            result = measure(server.addr, words + ["--pipeline", pipeline])
            self.assertEqual((result["requests"], result["bytes_in"]), (10 * len(commands), 10 * expected))
            self.assertEqual((result["errors"], result["first_error"], result["nils"]), (10, "MY", 20))

    def test_large_values(self):
        """The same bytes cost the same, in one value or in sixteen."""
        server = self.server()
        spent = []
        for size, requests in ((MB, 128), (16 * MB, 8)):
            words = ["--size", size, "--keys", 2, "--requests", requests, "--connections", 2]
            result = measure(server.addr, ["--workload", "get", "--fill"] + words)
            self.check_result(result, requests)
            self.assertEqual(result["bytes_in"], requests * (size + len("$%d\r\n\r\n" % size)))
            spent.append(result["cpu_seconds"] + measure(server.addr, ["--workload", "set"] + words)["cpu_seconds"])
        self.assertLess(spent[1], 5 * spent[0])

    # ---- When.

    def test_seconds(self):
        for targets, words in self.both():
            began = time.monotonic()
            result = measure(targets, words + ["--workload", "set", "--seconds", "0.3"])
            self.check_result(result, total(self.cluster.nodes, "set"))
            self.assertGreaterEqual(result["seconds"], 0.29)
            self.assertLess(result["seconds"], time.monotonic() - began)

    def check_rate(self, result, rate, stalls):
        """
        A second's worth of requests, never faster. It ends later only by what the latest reply took from when its request
        was due: the machine may stand still at the end of the second. Who falls behind steadily shows in the middle one.
        """
        self.assertLess(result["per_second"], rate * 1.1)
        self.assertLess(result["seconds"], 1.01 + result["max_us"] / 1e6)
        self.assertLess(result["p50_us"], (0.05 * harness.TIME_SCALE + stalls.worst_s) * 1e6)

    def test_rate(self):
        stalls = self.stalls()
        for targets, words in self.both():
            words = words + ["--workload", "set", "--rate"]
            for rate, length in ((400, ["--seconds", 1]), (2000, ["--seconds", 1]), (1000, ["--requests", 1000])):
                result = measure(targets, words + [rate] + length)
                self.check_result(result, rate)
                self.check_rate(result, rate, stalls)
            self.assertEqual(total(self.cluster.nodes, "set"), 400 + 2000 + 1000)

    def test_no_coordinated_omission(self):
        """
        While a server stands still requests go on being due: a fifth of them waits for more than 100 ms. The run is so much
        longer than that second that it is not over when the second begins late, and that a longer one is not half of it.
        """
        server = self.server()
        words = ["--workload", "set", "--rate", 400, "--seconds", 4, "--connections", 1]
        proc = self.start(server.addr, words, stdin=subprocess.DEVNULL)
        harness.wait_until(lambda: server.calls("set") > 100)
        server.freeze()
        frozen = time.monotonic()
        harness.wait_until(lambda: time.monotonic() > frozen + 1, what="a second")
        server.thaw()
        result = json.loads(proc.communicate(timeout=60)[0])
        self.check_result(result, 1600)
        self.assertGreater(result["max_us"], 950000)
        self.assertGreater(result["p90_us"], 100000)
        self.assertLess(result["p50_us"], 100000)

    # ---- Connections that are no requests.

    def test_fanout(self):
        for targets, words in self.both():
            for more in ("", "--pipeline 8 --warmup 40", "--size 32", "--size 100000", "--rate 1000"):
                self.setUp()
                load = ["--workload", "fanout", "--requests", 200, "--subscribers", 20] + more.split()
                result = measure(targets, words + load)
                self.check_result(result, 200)
                self.assertGreater(result["each_p50_us"], 0)
                self.assertLessEqual(result["each_p50_us"], result["p50_us"])
                self.assertLessEqual(result["each_max_us"], result["max_us"])
                self.assertGreater(result["bytes_in"], 200 * 20 * 32)
                self.assertEqual(total(self.cluster.nodes, "publish"), 240 if "--warmup" in load else 200)

    def test_idle(self):
        c = self.client()
        self.alone(c)
        words = ["--workload", "idle", "--connections", 300]
        proc = self.start(self.port, words, stdin=subprocess.PIPE)
        self.assertEqual(proc.stdout.readline(), "ready\n")
        self.assertEqual(total(self.cluster.nodes, "get"), 300)
        self.assertEqual(int(harness.parse_info(c.ok("INFO", "clients"))["connected_clients"]), 301)
        self.assertIsNone(proc.poll())
        out, err = proc.communicate(timeout=30)
        self.assertEqual((proc.returncode, err), (0, ""))
        self.check_result(json.loads(out), 300)

    # ---- What is no result.

    def check_failed(self, code, out, err, why):
        self.assertEqual((code, out), (1, ""), err)
        self.assertEqual(err.count("\n"), 1, err)
        self.assertIn(why, err)

    def test_lost_connection(self):
        server = self.server()
        proc = self.start(server.addr, ["--workload", "set", "--seconds", 60], stdin=subprocess.DEVNULL)
        harness.wait_until(lambda: server.calls("set") > 100)
        server.kill()
        out, err = proc.communicate(timeout=30)
        self.check_failed(proc.returncode, out, err, server.addr)

    def test_lost_idle_connection(self):
        server = self.server()
        proc = self.start(server.addr, ["--workload", "idle", "--connections", 3], stdin=subprocess.PIPE)
        self.assertEqual(proc.stdout.readline(), "ready\n")
        server("CLIENT", "KILL", "SKIPME", "yes")
        self.assertEqual(proc.wait(timeout=30), 1)
        out, err = proc.communicate()
        self.check_failed(proc.returncode, out, err, "closed a connection")

    def test_lost_message(self):
        """A subscriber that is cut off is a failure, not a slow delivery."""
        server = self.server()
        words = ["--workload", "fanout", "--seconds", 60, "--subscribers", 3, "--connections", 1]
        proc = self.start(server.addr, words, stdin=subprocess.DEVNULL)
        harness.wait_until(lambda: server.calls("publish") > 100)
        server("CLIENT", "KILL", "TYPE", "pubsub")
        out, err = proc.communicate(timeout=30)
        self.check_failed(proc.returncode, out, err, "closed a connection")

    def test_foreign_message(self):
        """A message that nobody published in this run must not count as one."""
        server = self.server()
        words = ["--workload", "fanout", "--seconds", 60, "--subscribers", 1, "--connections", 1]
        proc = self.start(server.addr, words, stdin=subprocess.DEVNULL)
        channel = harness.wait_until(lambda: server("PUBSUB", "CHANNELS"))[0]
        server("PUBLISH", channel, b"%08d:%013d:%08d:" % (0, 1 << 40, 0) + b"x" * 32)
        out, err = proc.communicate(timeout=30)
        self.check_failed(proc.returncode, out, err, "in place of")

    def test_nobody_listens(self):
        code, out, err = run("%s:%d" % (harness.HOST, harness.free_port()), ["--workload", "get", "--requests", 1])
        self.check_failed(code, out, err, "cannot connect")

    def test_no_cluster(self):
        code, out, err = run(self.server().addr, ["--cluster", "--workload", "get", "--requests", 1])
        self.check_failed(code, out, err, "cluster support disabled")

    def test_bad_options(self):
        for words, why in REFUSED:
            with self.subTest(words):
                line = words.replace("HERE", self.port).split()
                done = subprocess.run([harness.bin_path("bench_load")] + line, stdin=subprocess.DEVNULL,
                                      capture_output=True, text=True, timeout=30)
                self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
                self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
                self.assertIn(why, done.stderr)


if __name__ == "__main__":
    harness.main()
