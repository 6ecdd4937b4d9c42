#!/usr/bin/python3
# alone: yes
# sanitizers: no
"""
`./dev bench`: that a run leaves samples and a table, that a proxy named on the command line takes part, that what is
refused is shown as refused, and that nothing is left running. How fast anything is, is not looked at.
"""

import contextlib
import json
import os
import signal
import socket
import subprocess
import unittest

import harness

RUN = os.path.join(harness.REPO, "tests", "bench", "run")

# A peer that needs no other package: a plain server, which answers without a cluster and refuses two workloads.
PEER_CONFIG = """\
port {port}
bind 127.0.0.1
save ""
dir {dir}
rename-command PUBLISH ""
rename-command XADD ""
"""


def table_rows(text, title):
    """The rows under a title, as dicts by the words of its head; by name of the workload."""
    part = text.split("### " + title, 1)[1].split("###", 1)[0]
    lines = [[word.strip() for word in line.strip("|").split(" | ")] for line in part.splitlines() if line.startswith("|")]
    return {line[1].strip("`"): dict(zip(lines[0], line)) for line in lines[2:]}


class Bench(unittest.TestCase):
    def setUp(self):
        self.dir = harness.temp_dir("test-bench")
        self.json = os.path.join(self.dir, "out.json")
        self.scratch = os.path.join(self.dir, "scratch")
        os.mkdir(self.scratch)
        self.env = {**os.environ, "TMPDIR": self.scratch}

    def argv(self, *words):
        """A run of Keyway and the peer."""
        config = os.path.join(self.dir, "peer.conf.in")
        with open(config, "w") as f:
            f.write(PEER_CONFIG)
        peer = ["--peer", "plain=%s {config}" % harness.redis_server(), "--peer-config", "plain=" + config]
        return [RUN, "proxies", "--quick", "--seconds", "0.1", "--json", self.json] + peer + list(words)

    def bench(self, *argv, code=0):
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=180)
        self.assertEqual(done.returncode, code, done.stderr[-2000:])
        return done

    def assertNothingLeft(self):
        self.assertEqual(os.listdir(self.scratch), [])
        for pid in filter(str.isdigit, os.listdir("/proc")):
            try:
                with open("/proc/%s/cmdline" % pid, errors="replace") as f:
                    self.assertNotIn(self.scratch, f.read(), "process %s" % pid)
            except (FileNotFoundError, ProcessLookupError):
                pass

    def test_a_run(self):
        done = self.bench(*self.argv("--rounds", "2", "--only", "set,fanout,stream,idle", "--targets", "direct,floor,keyway,plain", "--connections", "100"))
        self.assertNothingLeft()
        with open(self.json) as f:
            run = json.load(f)
        self.assertEqual(run["rounds"], 2)
        for fact in ("date", "commit", "kernel", "processors", "redis"):
            self.assertTrue(run["facts"][fact], fact)
        self.assertRegex(run["targets"]["plain"]["version"], r"^\d+\.\d+")
        for target in ("direct", "keyway", "plain"):
            samples = run["samples"]["set"][target]
            self.assertEqual(len(samples), 2)
            # One run may fall wholly into a moment when the machine stands still.
            self.assertGreater(sum(sample["requests"] for sample in samples), 0)
            self.assertGreater(sum(sample["redis_cpu"] for sample in samples), 0)
            self.assertEqual(sum(sample.get("proxy_cpu", 0) for sample in samples) > 0, target != "direct")
        self.assertEqual(run["samples"]["idle"]["keyway"][0]["connections"], 100)

        # Only where a canned reply will do, and with no server behind it.
        self.assertEqual([name for name, targets in run["samples"].items() if "floor" in targets], ["set"])
        self.assertGreater(sum(sample["proxy_cpu"] for sample in run["samples"]["set"]["floor"]), 0)
        self.assertNotIn("redis_cpu", run["samples"]["set"]["floor"][0])
        self.assertEqual(done.stdout.split("###")[0].count("- **floor**: forwards nothing"), 1)

        speed = table_rows(done.stdout, "Requests per second")
        for target in ("direct", "floor", "keyway", "plain"):
            self.assertRegex(speed["set"][target], r"^[\d,]+ \([\d,]+-[\d,]+\)$")
        # Told by the generator that it cannot go on, and by error replies.
        for workload, command in (("fanout", "publish"), ("stream", "xadd|xreadgroup")):
            self.assertRegex(speed[workload]["keyway"], r"^[\d,]+ \(")
            self.assertEqual(speed[workload]["plain"], "-")
            self.assertRegex(run["samples"][workload]["plain"][0]["refused"], "(?i)" + command)
            self.assertRegex(done.stdout, r"(?i)- `%s` has no figures for plain: .*(%s)" % (workload, command))
        self.assertIn("idle", table_rows(done.stdout, "Memory of an idle connection, bytes"))

        again = self.bench(RUN, "table", self.json)
        self.assertEqual(again.stdout, done.stdout)

    def test_broken_off(self):
        """Ctrl-C ends every process, and the rounds that were done are kept."""
        argv = self.argv("--rounds", "1000", "--only", "get", "--targets", "keyway,plain")
        with subprocess.Popen(argv, env=self.env, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as proc:
            try:
                while "round 2" not in proc.stderr.readline():
                    self.assertIsNone(proc.poll())
                proc.send_signal(signal.SIGINT)
                self.assertEqual(proc.wait(60), 130)
            finally:
                proc.kill()
        self.assertNothingLeft()
        with open(self.json) as f:
            run = json.load(f)
        self.assertEqual(len(run["samples"]["get"]["keyway"]), run["rounds"])

    def test_mistakes(self):
        for words, says in (
            (["--only", "nonesuch"], "there is no row nonesuch"),
            (["--targets", "nonesuch"], "no target nonesuch"),
            (["--peer", "nonesuch"], "not NAME=VALUE"),
            (["--peer-config", "nonesuch=/dev/null"], "there is no --peer nonesuch"),
        ):
            done = self.bench(*self.argv(*words), code=1)
            self.assertIn(says, done.stderr)
        self.assertIn("there is no command 'nonesuch'", self.bench(RUN, "nonesuch", code=1).stderr)
        for words in (["--help"], ["proxies", "--help"], ["scale", "--help"]):
            self.assertIn("usage", self.bench(RUN, *words).stdout)


class Floor(unittest.TestCase):
    """One canned reply for each request, however the bytes of the requests come."""

    REQUESTS = (("GET", "a"), ("SET", "a", b"*1\r\n$4\r\nPING\r\n$"), ("SET", "b", ""), ("SET", "c", "9" * 300), ("PING",))

    @staticmethod
    def start_floor(size):
        """Its port and process, when it listens. Programs that know nothing of our ports may take one before it does."""
        for _ in range(5):
            port = harness.free_port()
            argv = [harness.bin_path("bench_floor"), "--port", str(port), "--reply-bytes", str(size)]
            proc = harness.spawn(argv, subprocess.DEVNULL, None)

            def settled():
                if proc.poll() is None:
                    harness.Client(port).close()
                return True

            harness.wait_until(settled, 20, "the floor listens")
            if proc.poll() is None:
                return port, proc
        raise AssertionError("the floor finds no port")

    @contextlib.contextmanager
    def floor(self, size):
        """A function that sends pieces and, when so many replies are there, the end; it answers all that came."""
        port, proc = self.start_floor(size)

        def ask(pieces):
            got = b""
            with harness.Client(port) as client:
                for data, replies in pieces:
                    client.send(data)
                    while len(got) < replies * len(self.reply(size)):
                        got += client.sock.recv(1 << 20)
                client.sock.shutdown(socket.SHUT_WR)
                return got + b"".join(iter(lambda: client.sock.recv(1 << 20), b""))

        try:
            yield ask
        finally:
            harness.end_process(proc)

    @staticmethod
    def reply(size):
        return b"$%d\r\n%s\r\n" % (size, b"x" * size)

    def test_pipelines(self):
        """Replies of several writes too; and requests that fill more than one read."""
        batch = b"".join(harness.encode(*words) for words in self.REQUESTS)
        for size, times in ((64, 1), (64, 2000), (16384, 400), (200000, 3)):
            count = times * len(self.REQUESTS)
            with self.floor(size) as ask:
                self.assertTrue(ask([(batch * times, count)]) == self.reply(size) * count, (size, times))

    def test_every_byte_alone(self):
        pieces = []
        for ended, words in enumerate(self.REQUESTS):
            frame = harness.encode(*words)
            pieces += [(frame[i : i + 1], ended) for i in range(len(frame) - 1)] + [(frame[-1:], ended + 1)]
        with self.floor(3) as ask:
            self.assertEqual(ask(pieces), self.reply(3) * len(self.REQUESTS))

    def test_broken_off_anywhere(self):
        """No reply to a request that has not ended, and the connection is closed."""
        begun = b""
        with self.floor(3) as ask:
            for ended, words in enumerate(self.REQUESTS):
                frame = harness.encode(*words)
                for i in range(len(frame)):
                    self.assertEqual(ask([(begun + frame[:i], 0)]), self.reply(3) * ended, begun + frame[:i])
                begun += frame


class Goals(unittest.TestCase):
    """The goal column, from records made by hand."""

    def table(self, samples, rounds=1):
        names = {target for by_target in samples.values() for target in by_target}
        run = {
            "kind": "proxies",
            "rounds": rounds,
            "facts": dict.fromkeys(("date", "commit", "kernel", "processors", "processor", "redis"), "x"),
            "targets": {name: {"note": "", "version": ""} for name in sorted(names)},
            "workloads": [{"name": name, "title": name.upper()} for name in samples],
            "samples": samples,
        }
        path = os.path.join(harness.temp_dir("test-bench"), "made.json")
        with open(path, "w") as f:
            json.dump(run, f)
        return subprocess.run([RUN, "table", path], capture_output=True, text=True, check=True, timeout=20).stdout

    def processor(self, samples):
        return table_rows(self.table(samples, len(next(iter(samples["get"].values())))), "Processor time of the proxy")

    @staticmethod
    def sample(seconds, requests=1000000):
        return {"requests": requests, "errors": 0, "proxy_cpu": seconds}

    def test_beside_the_peer(self):
        for seconds, goal in ((8.0, "met"), (8.1, "not met")):
            row = self.processor({"get": {"keyway": [self.sample(seconds)], "predixy": [self.sample(10.0)]}})["get"]
            self.assertEqual(row["keyway / predixy"], "%.2f" % (seconds / 10))
            self.assertEqual(row["goal"], "&le; 0.80: " + goal)

    def test_rounds_are_compared_one_by_one(self):
        """The middle one of the rounds' ratios, not the ratio of what was in the middle of each."""
        ours = [self.sample(s) for s in (7.0, 70.0, 35.0)]
        theirs = [self.sample(s) for s in (10.0, 100.0, 70.0)]
        row = self.processor({"get": {"keyway": ours, "predixy": theirs}})["get"]
        self.assertEqual((row["keyway"], row["keyway / predixy"]), ("35.00 (7.00-70.00)", "0.70"))

    def test_beside_one_worker(self):
        rows = self.processor({"get": {"keyway": [self.sample(10.0)]}, "get-2w": {"keyway": [self.sample(11.5)]}})
        self.assertEqual(rows["get-2w"]["goal"], "1.15 x, &le; 1.10 x `get`: not met")
        self.assertEqual(rows["get"]["goal"], "&le; 0.80: ?")

    def test_a_round_that_was_refused(self):
        samples = {"get": {"keyway": [self.sample(1.0), {"refused": "ERR no"}], "predixy": [self.sample(9.0)] * 2}}
        row = self.processor(samples)["get"]
        self.assertEqual((row["keyway"], row["keyway / predixy"], row["goal"]), ("-", "-", "&le; 0.80: ?"))
        self.assertIn("- `get` has no figures for keyway: ERR no", self.table(samples, 2))


if __name__ == "__main__":
    harness.main()
