#!/usr/bin/python3
# alone: yes
# sanitizers: no
# timeout: 300
"""
`./dev bench meta`: that a short run leaves samples, a table and nothing running, that etcd takes part where it is
installed and is said to be missing where not, and that mistakes are refused. How fast anything is, is not looked at.
"""

import json
import os
import shutil
import subprocess
import unittest

import harness
from meta_harness import MetaCluster

RUN = os.path.join(harness.REPO, "tests", "bench", "run")
ETCD = shutil.which("etcd") is not None


def load(*words):
    """bench_meta as it is."""
    argv = [harness.bin_path("bench_meta")] + [str(word) for word in words]
    return subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60)


class BenchMeta(unittest.TestCase):
    def setUp(self):
        self.dir = harness.temp_dir("test-bench-meta")
        self.json = os.path.join(self.dir, "out.json")
        self.scratch = os.path.join(self.dir, "scratch")
        os.mkdir(self.scratch)
        self.env = {**os.environ, "TMPDIR": self.scratch}

    def bench(self, *words, code=0):
        argv = [RUN, "meta", "--quick", "--json", self.json] + list(words)
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240)
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
        done = self.bench("--rounds", "2", "--seconds", "0.2", "--kills", "2")
        self.assertNothingLeft()
        with open(self.json) as f:
            run = json.load(f)
        self.assertEqual((run["kind"], run["rounds"]), ("meta", 2))
        services = ["keyway", "etcd"] if ETCD else ["keyway"]
        self.assertEqual(list(run["targets"]), services)
        self.assertEqual("there is no etcd" in done.stderr, not ETCD)
        for row, by_service in run["samples"].items():
            shared = row.startswith(("put", "get")) or row == "failover"
            self.assertEqual(set(by_service), set(services if shared else ["keyway"]), row)
            for service, samples in by_service.items():
                self.assertEqual(len(samples), 2)
                for sample in samples:
                    self.assertNotIn("refused", sample, (row, service))
                    self.check_sample(row, sample)
                if row.startswith(("put", "get")):  # one run may fall wholly into a moment when the machine stands still
                    self.assertGreater(sum(sample["requests"] for sample in samples), 0, (row, service))
        rows = [line.split(" | ") for line in done.stdout.splitlines() if line.startswith("| ")]
        named = {row[1].strip("`") for row in rows}
        self.assertLessEqual(set(run["samples"]), named)
        judged = [row[-1] for row in rows if "&" in row[-1]]
        self.assertGreaterEqual(len(judged), 6)
        for text in judged:
            self.assertRegex(text, ": (met|not met) \\|$" if ETCD or "etcd" not in text else r": \? \|$")
        again = subprocess.run([RUN, "table", self.json], capture_output=True, text=True, timeout=20)
        self.assertEqual(again.stdout, done.stdout)

    def check_sample(self, row, sample):
        if row.startswith(("put", "get")):
            self.assertLessEqual(sample["p50_us"], sample["p999_us"])
            self.assertAlmostEqual(sample["per_second"], sample["requests"] / sample["seconds"], delta=1)
        elif row == "failover":
            self.assertEqual(len(sample["gaps_ms"]), 1)
            self.assertGreater(sample["gaps_ms"][0], 1)
        elif row.startswith("state"):
            self.assertGreaterEqual(sample["snapshots"], 1)
            self.assertGreater(sample["used_mb"], 1)
            self.assertGreater(sample["snapshot_s"], 0)

    def test_mistakes(self):
        for words, code, says in (
            (["--only", "nonesuch"], 1, "there is no row nonesuch"),
            (["--services", "nonesuch"], 1, "no service nonesuch"),
            (["--rounds", "0"], 2, "--rounds"),
            (["--nonesuch"], 2, "--nonesuch"),
        ):
            self.assertIn(says, self.bench(*words, code=code).stderr)
        self.assertIn("usage", self.bench("--help").stdout)


class Load(unittest.TestCase):
    """The generator: what it counts is what was there."""

    @classmethod
    def setUpClass(cls):
        cls.meta = MetaCluster(1)
        cls.addClassCleanup(cls.meta.close)

    def words(self, *more):
        node = self.meta.nodes[0]
        return ["--protocol", "keyway", "--targets", node.addr, "--secret", node.secret] + list(more)

    def result(self, *more):
        done = load(*self.words(*more))
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        return json.loads(done.stdout)

    def test_what_was_written(self):
        node = self.meta.nodes[0]
        result = self.result("--workload", "put", "--table", "locks", "--sequential", "--keys", 300, "--requests", 300,
                             "--size", 77, "--clients", 3, "--pipeline", 7)
        self.assertEqual((result["requests"], result["missing"]), (300, 0))
        self.assertEqual(node.keyway("COUNT", "locks"), 300)
        self.assertEqual(len(node.keyway("GET", "locks", "key:%016d" % 299)), 77)
        result = self.result("--workload", "get", "--table", "locks", "--keys", 600, "--sequential", "--requests", 600)
        self.assertEqual((result["requests"], result["missing"]), (600, 300))

    def test_rate(self):
        result = self.result("--workload", "ping", "--rate", 200, "--seconds", 1)
        self.assertEqual(result["requests"], 200)

    def test_what_is_no_result(self):
        for words, says in (
            (["--workload", "put", "--requests", 5, "--table", "nonesuch"], "errors, the first: "),
            (["--workload", "put", "--requests", 5, "--secret", "another secret"], "WRONGPASS"),
        ):
            done = load(*self.words(*words))
            self.assertEqual((done.returncode, done.stdout), (1, ""), done.stderr)
            self.assertIn(says, done.stderr)
        port = harness.free_port()
        done = load("--protocol", "keyway", "--targets", "127.0.0.1:%d" % port, "--workload", "put", "--requests", 1)
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("cannot connect", done.stderr)

    def test_bad_options(self):
        for words, says in (
            (["--nonesuch"], "no option '--nonesuch'"),
            (["--workload"], "takes a value"),
            (["--workload", "nonesuch"], "no workload 'nonesuch'"),
            (["--protocol", "nonesuch"], "no protocol 'nonesuch'"),
            (["--workload", "put"], "either --requests or --seconds"),
            (["--workload", "put", "--seconds", "1", "--requests", "1"], "either --requests or --seconds"),
            (["--workload", "put", "--seconds", "x"], "a number above 0"),
            (["--workload", "put", "--requests", "-1"], "a number from 1"),
            (["--workload", "failover"], "wants --kill"),
            (["--workload", "push"], "wants --leader"),
            (["--protocol", "etcd", "--workload", "ping", "--requests", "1"], "etcd has no workload ping"),
            (["--targets", "nonsense"], "--targets"),
        ):
            done = load(*self.words(*words))
            self.assertEqual((done.returncode, done.stdout), (2, ""), words)
            self.assertEqual(done.stderr.count("\n"), 1, done.stderr)
            self.assertIn(says, done.stderr)


if __name__ == "__main__":
    harness.main()
