#!/usr/bin/python3
# alone: yes
# sanitizers: no
"""
What a request costs Keyway, in instructions and system calls: counted, therefore not noisy. More than 10 % above the
baseline (cost_baseline.json) fails. Below it passes and prints a note: rewrite the baseline then, or it would hide the
next regression. Where libraries or tools differ from those of the baseline, the allowance is wider, and a note says so.

    test_cost.py                       the tests
    test_cost.py --show [ROW ...]      a table of all rows (cost_workloads.py), or of those, beside the baseline
    test_cost.py --profile ROW [-n N]  also the N functions in which most instructions of that row are spent
    test_cost.py --rewrite             measures all rows and makes the result the baseline

KEYWAY_BIN_DIR is the folder of the proxy that is measured, as in every test.
"""

import argparse
import contextlib
import json
import os
import re
import sys
import time

import cost_meter
import cost_workloads
import harness

BASELINE = os.path.join(harness.HERE, "cost_baseline.json")
METERS = (cost_meter.Instructions, cost_meter.SystemCalls)
ALLOWED = 1.10
ALLOWED_ELSEWHERE = 1.30
WORTH_A_NOTE = 0.90
# Which of the surroundings a figure depends on.
DEPENDS = {
    "instructions": ("libc6", "libuv1", "libjemalloc2", "valgrind", "node", "compiler", "avx2"),
    "calls": ("libc6", "libuv1", "libjemalloc2", "node"),
}
# A worker's timer has it wait anew ten times a second; it takes no other system call, however many silent clients there are.
TIMER_WAITS_A_SECOND = 10
# Clients that say nothing: what they have said before.
SILENT = (
    [("GET", "key:1")],
    [("SUBSCRIBE", "silence")],
    [("WATCH", "key:1")],
    [("MULTI",), ("GET", "key:1")],
)
BLOCKED = (("BLPOP", "nothing", 0), ("XREAD", "BLOCK", 60000, "STREAMS", "no stream", "$"))


# ------------------------------------------------------------------------------------------------------- baseline


def load_baseline():
    try:
        with open(BASELINE) as f:
            return json.load(f)
    except FileNotFoundError:
        return {"surroundings": {}, "rows": {}}


def save_baseline(rows):
    """One line a row, so that a diff shows what moved."""
    lines = ",\n".join("    %s: %s" % (json.dumps(name), json.dumps(figures)) for name, figures in rows.items())
    where = json.dumps(cost_meter.surroundings(), indent=2).replace("\n", "\n  ")
    with open(BASELINE, "w") as f:
        f.write('{\n  "surroundings": %s,\n  "rows": {\n%s\n  }\n}\n' % (where, lines))


def upstream(version):
    """Without epoch and Debian's revision: security updates of a library do not change what a request costs."""
    return re.sub(r"^\d+:", "", version).split("-")[0]


def differences(figure, here, there):
    """What differs of the things that this figure depends on, as text; '' when nothing does."""
    return ", ".join(
        "%s %s (baseline: %s)" % (name, here[name], there.get(name, "unknown"))
        for name in DEPENDS[figure]
        if upstream(here[name]) != upstream(there.get(name, "unknown"))
    )


def judge(name, figure, found, baseline, allowed):
    """(failure, note) about what one row costs, each a text or ''. found and baseline are dicts of figures."""
    row = cost_workloads.ROWS[name]
    if figure not in baseline:
        return "%s: there is no baseline of its %s; test_cost.py --rewrite makes it" % (name, figure), ""
    ratio = found[figure] / baseline[figure]
    text = "%s (%s): %.6g %s a %s, baseline %.6g, ratio %.3f" % (
        name, row.title, found[figure], figure, row.unit, baseline[figure], ratio)
    if ratio > allowed:
        kinds = ["%s %.6g (%.6g)" % (kind, n, baseline.get(kind, 0)) for kind, n in found.items() if kind != figure]
        kinds = ": " + ", ".join(kinds) if kinds else ""
        return "%s, allowed %.2f%s" % (text, allowed, kinds), ""
    if ratio < WORTH_A_NOTE:
        return "", "%s: lower the baseline with test_cost.py --rewrite" % text
    return "", ""


# ---------------------------------------------------------------------------------------------------------- tests


class Cost(harness.ProxyTest):
    """Every row with one meter: a test a row, made from cost_workloads.ROWS."""

    METER = None
    proxy = None

    @classmethod
    def setUpClass(cls):
        missing = "counts mean nothing under a sanitizer" if harness.SANITIZER else cls.METER.missing()
        if missing:
            raise harness.unittest.SkipTest(missing)
        cls.notes = []
        cls.baseline = load_baseline()
        differs = differences(cls.METER.FIGURE, cost_meter.surroundings(), cls.baseline["surroundings"])
        cls.allowed = ALLOWED_ELSEWHERE if differs else ALLOWED
        if differs:
            cls.notes.append("%s may be %.2f times the baseline here: %s" % (cls.METER.FIGURE, cls.allowed, differs))
        cls.cluster = harness.Cluster()
        cls.proxy = cls.METER(cls.cluster)
        cost_workloads.fill(cls.proxy)

    @classmethod
    def tearDownClass(cls):
        for note in cls.notes:
            print("note: " + note)
        super().tearDownClass()

    def check_row(self, name):
        found = self.proxy.measure(cost_workloads.ROWS[name])
        failure, note = judge(name, self.METER.FIGURE, found, self.baseline["rows"].get(name, {}), self.allowed)
        if note:
            self.notes.append(note)
        if failure:
            self.fail("%s\n%s" % (failure, self.proxy.detail(name)))


class Instructions(Cost):
    METER = cost_meter.Instructions


class SystemCalls(Cost):
    METER = cost_meter.SystemCalls

    # What is measured is a second in which nobody says anything.
    def check_quiet(self):
        began = time.monotonic()
        self.proxy.begin()
        time.sleep(1)
        counts = self.proxy.take()
        spent = time.monotonic() - began  # a second, or more where the machine was busy elsewhere
        text = "system calls of a quiet second: %s" % self.proxy.names
        self.assertEqual([counts[kind] for kind in ("read", "write", "other")], [0, 0, 0], text)
        self.assertLessEqual(counts["poll"], TIMER_WAITS_A_SECOND * spent + 2, text)

    def test_silent_clients_cost_nothing(self):
        self.check_quiet()
        for commands in SILENT:
            for _ in range(10):
                self.client().pipeline(commands)
        for commands in BLOCKED:
            for _ in range(10):
                self.client().send(harness.encode(*commands))
        with self.client() as c:
            wanted = b"blocked_clients:%d\r\n" % (10 * len(BLOCKED))
            harness.wait_until(lambda: wanted in c.ok("INFO", "clients"), 10, "clients to be blocked")
        self.check_quiet()


class Judging(harness.unittest.TestCase):
    """That a regression would be seen."""

    BASELINE = {"read": 1.0, "calls": 2.0}

    def judged(self, factor, allowed=ALLOWED, baseline=BASELINE):
        found = {kind: n * factor for kind, n in self.BASELINE.items()}
        return judge("get", "calls", found, baseline, allowed)

    def test_more_than_allowed_fails_and_says_what(self):
        failure, note = self.judged(1.11)
        for part in ("get (GET 64 B): 2.22 calls a request, baseline 2, ratio 1.110, allowed 1.10", "read 1.11 (1)"):
            self.assertIn(part, failure)
        self.assertEqual(note, "")

    def test_within_what_is_allowed_nothing_is_said(self):
        for factor in (0.91, 1, 1.09):
            self.assertEqual(self.judged(factor), ("", ""))
        self.assertEqual(self.judged(1.29, ALLOWED_ELSEWHERE), ("", ""))

    def test_much_less_is_noted(self):
        failure, note = self.judged(0.8)
        self.assertEqual(failure, "")
        self.assertIn("ratio 0.800", note)
        self.assertIn("--rewrite", note)

    def test_a_row_without_a_baseline_fails(self):
        self.assertIn("no baseline", self.judged(1, baseline={})[0])

    def test_the_baseline_has_the_rows_of_the_table(self):
        self.assertEqual(list(load_baseline()["rows"]), list(cost_workloads.ROWS))

    def test_other_versions_are_told_apart_and_updates_are_not(self):
        here = dict.fromkeys(DEPENDS["instructions"], "1:2.36-9+deb12u10")
        self.assertEqual(differences("instructions", here, dict(here, libc6="2.36-9+deb12u7")), "")
        self.assertEqual(differences("calls", here, dict(here, compiler="gcc 13")), "")
        self.assertIn("libc6", differences("calls", here, dict(here, libc6="2.37-1")))


def add_row_tests(cls):
    for name in cost_workloads.ROWS:
        if cls.METER.FIGURE == "calls" and name in cost_workloads.ARRIVE_AS_THEY_LIKE:
            continue
        setattr(cls, "test_" + name.replace("-", "_"), lambda self, name=name: self.check_row(name))


add_row_tests(Instructions)
add_row_tests(SystemCalls)


# --------------------------------------------------------------------------------------------------- command line


@contextlib.contextmanager
def running(meters):
    """The meters, each a proxy of its own in front of one cluster."""
    with contextlib.ExitStack() as stack:
        cluster = harness.Cluster()
        stack.callback(cluster.stop)
        proxies = []
        for meter in meters:
            if meter.missing():
                sys.exit(meter.missing())
            proxies.append(meter(cluster))
            stack.callback(proxies[-1].stop)
        cost_workloads.fill(proxies[0])
        yield proxies


def show(names, proxies):
    """Measures rows and prints them as it goes, with the ratio to the baseline; answers their figures."""
    known = load_baseline()["rows"]
    measured = {}
    print("%-13s %-27s %12s %6s %9s %6s  " % ("row", "", "instructions", "ratio", "calls", "ratio"),
          *("%6s" % kind for kind in cost_meter.KINDS))
    for name in names:
        row = cost_workloads.ROWS[name]
        figures = {}
        for proxy in proxies:
            figures.update({kind: round(n, 4) for kind, n in proxy.measure(row).items()})
        ratios = {f: "%.3f" % (figures[f] / known[name][f]) if name in known else "-" for f in DEPENDS}
        print("%-13s %-27s %12.1f %6s %9.4f %6s  " % (
            name, row.title, figures["instructions"], ratios["instructions"], figures["calls"], ratios["calls"]),
            *("%6.3f" % figures[kind] for kind in cost_meter.KINDS), flush=True)
        measured[name] = figures
    return measured


def show_profile(name, lines, proxy):
    print("\ninstructions a %s of %s, by function:" % (cost_workloads.ROWS[name].unit, name))
    costs = proxy.profile(cost_workloads.ROWS[name])
    total = sum(n for n, _ in costs)
    for n, function in costs[:lines]:
        print("%10.1f %5.1f%%  %s" % (n, 100 * n / total, function))


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--show", action="store_true")
    options.add_argument("--profile", metavar="ROW", choices=list(cost_workloads.ROWS))
    options.add_argument("--rewrite", action="store_true")
    options.add_argument("-n", type=int, default=40, dest="lines")
    options.add_argument("rows", nargs="*", help=", ".join(cost_workloads.ROWS))
    options = options.parse_args()
    if not (options.show or options.profile or options.rewrite):
        harness.main()
    names = options.rows or ([options.profile] if options.profile else list(cost_workloads.ROWS))
    for name in names:
        if name not in cost_workloads.ROWS:
            sys.exit("no row '%s'; there are: %s" % (name, ", ".join(cost_workloads.ROWS)))
    if options.rewrite and (options.rows or options.profile):
        sys.exit("--rewrite takes all rows")
    with running(METERS) as proxies:
        measured = show(names, proxies)
        if options.profile:
            show_profile(options.profile, options.lines, proxies[0])
    if options.rewrite:
        save_baseline(measured)
        print("written: %s" % os.path.relpath(BASELINE))


if __name__ == "__main__":
    main()
