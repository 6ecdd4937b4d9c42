#!/usr/bin/python3
"""
`./dev chaos meta`: three real metadata nodes under load while they are killed, frozen, cut off from each other, and
their disks stall or fail; and then the judgement over every write that was acknowledged:

* a register that one writer counts up never goes back, and ends at the last acknowledged value or a later attempt;
* a counter that all increment by compare-and-set ends at exactly the number of successes, each with a version of its own;
* a linearizable read never shows less than what was acknowledged before it began;
* a retried request with an id is applied once; every node ends with the same records.

Prints what was done, and ends with "N passed, N failed, N skipped". The seed is printed; it fixes which faults come.
"""

import argparse
import os
import random
import sys
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "integration")]

import harness  # noqa: E402
import meta_harness  # noqa: E402
import relay as relays  # noqa: E402

WRITERS, COUNTERS, READERS = 4, 3, 2
ANSWER_S = 0.5  # a frozen leader does not answer: the others are asked soon
# Errors after which nothing was done, or the same id may be sent again.
RETRY = (b"NOTLEADER", b"NOLEADER", b"INDOUBT", b"BUSY")


class Judge:
    """What must hold; threads tell it what was acknowledged."""

    def __init__(self):
        self.lock = threading.Lock()
        self.failures = []
        self.acked = {}  # register -> last value acknowledged
        self.tried = {}  # register -> last value attempted
        self.increments = 0  # of the counter, acknowledged
        self.versions = {}  # version that an increment got -> value
        self.writes = self.reads = self.retries = 0
        self.longest_gap = 0.0
        self.last_write = time.monotonic()

    def fail(self, text):
        with self.lock:
            self.failures.append(text)
            few = len(self.failures) <= 20
        if few:
            print("FAILED: " + text, flush=True)

    def wrote(self):
        with self.lock:
            now = time.monotonic()
            self.longest_gap = max(self.longest_gap, now - self.last_write)
            self.last_write = now
            self.writes += 1


class Follower:
    """A client that finds the leader and repeats under the same request id what it has no answer to."""

    def __init__(self, cluster, judge, rng, stop):
        self.cluster, self.judge, self.rng, self.stop = cluster, judge, rng, stop
        self.conn, self.port = None, None

    def close(self):
        if self.conn:
            self.conn.close()
        self.conn = None

    def _connect(self):
        if not self.port:
            self.port = self.rng.choice(self.cluster.nodes).port
        self.conn = harness.Client(self.port, timeout=ANSWER_S, password=self.cluster.secret)

    def ask(self, *words, read=False):
        """The reply to `KEYWAY words`, an error reply as a ReplyError; None only when the run ends before there is one."""
        prefix = ("KEYWAY", "LINEAR") if read else ("KEYWAY", "ID", "%032x" % self.rng.getrandbits(128))
        first = True
        while first or not self.stop.is_set():
            try:
                if not self.conn:
                    self._connect()
                reply = self.conn(*prefix, *words)
            except (OSError, harness.ConnectionClosed, harness.ReplyError):
                self.close()
                self.port = None
                time.sleep(0.01)
            else:
                text = str(reply).encode() if isinstance(reply, Exception) else b""
                if not text.startswith(RETRY):
                    return reply
                self.port = None
                if text.startswith(b"NOTLEADER"):
                    self.port = int(text.rsplit(b":", 1)[1].strip(b"'\" "))
                self.close()
                time.sleep(0.005)
            if not first:
                self.judge.retries += 1
            first = False
        return None


def writer(me, link, judge, stop):
    key = "register:%d" % me
    value, version = 0, 0
    while not stop.is_set():
        value += 1
        judge.tried[key] = value
        reply = link.ask("PUT", "config", key, value)
        if reply is None:
            return
        if not isinstance(reply, int) or reply <= version:
            judge.fail("PUT of %s=%d answered %r after version %d" % (key, value, reply, version))
            return
        version = reply
        judge.acked[key] = value
        judge.wrote()


def counter(link, judge, stop):
    while not stop.is_set():
        version = link.ask("VERSION", "config", "counter", read=True)
        held = link.ask("GET", "config", "counter", read=True)
        if version is None or held is None and stop.is_set():
            return
        value = int(held or 0) + 1
        reply = link.ask("PUT", "config", "counter", value, "EXPECT", version)
        if reply is None:
            return
        if isinstance(reply, Exception):
            if not str(reply).startswith("CONFLICT"):
                judge.fail("a counted-up PUT answered %s" % reply)
            continue
        with judge.lock:
            judge.increments += 1
            again = judge.versions.setdefault(reply, value)
        if again != value:
            judge.fail("version %d was given to two writes, of %d and %d" % (reply, again, value))
        judge.wrote()


def reader(link, judge, rng, stop):
    while not stop.is_set():
        key = "register:%d" % rng.randrange(WRITERS)
        least = judge.acked.get(key, 0)
        reply = link.ask("GET", "config", key, read=True)
        if isinstance(reply, Exception):
            judge.fail("a read answered %s" % reply)
        elif reply is None and least and not stop.is_set():
            judge.fail("%s is gone, %d was acknowledged" % (key, least))
        elif reply is not None and int(reply) < least:
            judge.fail("stale read of %s: %d, but %d was acknowledged before" % (key, int(reply), least))
        judge.reads += 1


# ---------------------------------------------------------------------------------------------------------- faults


class Faults:
    """Each fault leaves a majority able to go on, or is over soon; all of them are mended by heal()."""

    def __init__(self, cluster, relay, disks, clocks, rng):
        self.cluster, self.relay, self.disks, self.clocks, self.rng = cluster, relay, disks, clocks, rng
        self.leader_or_any = lambda: (rng.random() < 0.6 and cluster.leader_seen()) or rng.choice(cluster.nodes)

    def kill(self):
        node = self.leader_or_any()
        node.kill()
        return "kill -9 of node %d" % node.id

    def kill_all(self):
        for node in self.cluster.nodes:
            node.kill()
        return "kill -9 of all nodes"

    def end(self):
        node = self.leader_or_any()
        node.end()
        return "SIGTERM of node %d" % node.id

    def freeze(self):
        node = self.leader_or_any()
        if not node.alive():  # its disk was bad a moment ago
            node.start()
        node.stop()
        return "SIGSTOP of node %d" % node.id

    def isolate(self):
        node = self.leader_or_any()
        self.relay.isolate(node.id)
        return "node %d cut off" % node.id

    def one_way(self):
        a, b = self.rng.sample([node.id for node in self.cluster.nodes], 2)
        self.relay.cut((a, b))
        return "nothing from node %d to node %d" % (a, b)

    def disk_stall(self):
        node = self.leader_or_any()
        self.disks.control(node, "stall 5000")
        return "disk of node %d stalls" % node.id

    def disk_fails(self):
        node = self.leader_or_any()
        self.disks.control(node, "fail EIO")
        return "disk of node %d fails" % node.id

    def disk_full(self):
        node = self.leader_or_any()
        self.disks.control(node, "fail ENOSPC")
        return "disk of node %d is full" % node.id

    def clock_jump(self):
        node = self.leader_or_any()
        step = self.rng.choice(("+3600", "-3600", "+315360000", "-86400"))
        self.clocks.set(node, step)
        return "clock of node %d set %s s" % (node.id, step)

    def heal(self):
        self.relay.cut()
        for node in self.cluster.nodes:
            self.disks.control(node, None)
            self.clocks.set(node, "+0")
            if node.frozen:
                node.cont()
        self.revive()

    def revive(self):
        """Starts what has ended: a node whose disk was bad may end a moment after that was mended."""
        for node in self.cluster.nodes:
            if not node.alive():
                node.start(wait=False)


NAMES = ("kill", "kill_all", "end", "freeze", "isolate", "one_way", "disk_stall", "disk_fails", "disk_full", "clock_jump")


class Disks:
    """The preloaded library (tools/disk_shim.c) between each node and its data folder."""

    def __init__(self):
        self.shim = harness.bin_path("libdisk_shim.so")

    def usable(self):
        return os.path.exists(self.shim) and not harness.SANITIZER

    def environment(self, node):
        return {"LD_PRELOAD": self.shim, "DISK_SHIM_DIR": node.data, "DISK_SHIM_CONTROL": os.path.join(node.dir, "order")}

    def control(self, node, order):
        path = os.path.join(node.dir, "order")
        if order:
            with open(path, "w") as f:
                f.write(order + "\n")
        elif os.path.exists(path):
            os.unlink(path)


class Clocks:
    """The wall clock of each node (tools/clock_shim.c)."""

    def __init__(self):
        self.shim = harness.bin_path("libclock_shim.so")

    def usable(self):
        return os.path.exists(self.shim) and not harness.SANITIZER

    def _path(self, node):
        return os.path.join(node.dir, "clock")

    def environment(self, node):
        return {"LD_PRELOAD": self.shim, "CLOCK_SHIM_FILE": self._path(node)}

    def set(self, node, step):
        with open(self._path(node) + ".new", "w") as f:
            f.write(step)
        os.replace(self._path(node) + ".new", self._path(node))


def preloads(node, parts):
    """One environment for several preloaded libraries."""
    env = {}
    for part in parts:
        for name, value in part.environment(node).items():
            env[name] = env[name] + " " + value if name == "LD_PRELOAD" and name in env else value
    return env


def start_cluster(count, disks, clocks):
    """A service whose nodes speak to each other through a relay."""
    cluster = meta_harness.MetaCluster(count, start=False, directives={"snapshot-entries": "500", "election-timeout": 300})
    relay = relays.Relay(
        {node.id: node.raft_port for node in cluster.nodes},
        lambda: {node.id: node.proc.pid for node in cluster.nodes if node.proc and node.alive()},
    )
    peers = " ".join("%d=%s:%d:%d" % (n.id, harness.HOST, n.port, relay.doors[n.id]) for n in cluster.nodes)
    for node in cluster.nodes:
        node.directives["peers"] = peers
        node.directives["announce"] = harness.HOST  # it listens on its own port, not on the one in peers
        clocks.set(node, "+0")
        env = preloads(node, [part for part in (disks, clocks) if part.usable()])
        node.env = {**os.environ, **env} if env else None
    cluster.start()
    return cluster, relay


class Run:
    def __init__(self, seed, names, disks, clocks, count=3):
        self.rng = random.Random(seed)
        self.judge, self.stop = Judge(), threading.Event()
        self.names, self.disks = names, disks
        self.cluster, self.relay = start_cluster(count, disks, clocks)
        self.faults = Faults(self.cluster, self.relay, disks, clocks, self.rng)
        self.done = dict.fromkeys(names, 0)
        self.unknown = 0
        self.threads = []

    def _work(self, what, *args):
        rng = random.Random(self.rng.random())
        link = Follower(self.cluster, self.judge, rng, self.stop)

        def run():
            try:
                what(*[link if a is Follower else rng if a is random else a for a in args])
            except Exception as e:  # a thread that dies silently would make the judgement easier
                self.judge.fail("%s ended: %r" % (what.__name__, e))
            finally:
                link.close()

        self.threads.append(threading.Thread(target=run, daemon=True))
        self.threads[-1].start()

    def start_load(self):
        for me in range(WRITERS):
            self._work(writer, me, Follower, self.judge, self.stop)
        for _ in range(COUNTERS):
            self._work(counter, Follower, self.judge, self.stop)
        for _ in range(READERS):
            self._work(reader, Follower, self.judge, random, self.stop)
        self.progress("before the first fault")

    def progress(self, when, count=50):
        least = self.judge.writes + count
        began = time.monotonic()

        def flowing():
            self.faults.revive()
            return self.judge.writes >= least

        try:
            harness.wait_until(flowing, 40, "writes " + when)
        except harness.WaitTimeout:
            logs = "\n".join("--- node %d\n%s" % (node.id, node.log()[-2000:]) for node in self.cluster.nodes)
            self.judge.fail("no writes %s\n%s" % (when, logs))
        return time.monotonic() - began

    def one_fault(self, name=None):
        name = name or self.rng.choice(self.names)
        self.judge.longest_gap = 0.0
        text = getattr(self.faults, name)()
        time.sleep(self.rng.uniform(0.1, 2.5))  # how long the fault lasts is part of it
        self.faults.heal()
        again = self.progress("after " + text)
        print("%-32s longest pause of writes %5.2f s, flowing %.2f s after it was mended" % (text, self.judge.longest_gap, again), flush=True)
        self.done[name] += 1

    def end_load(self):
        self.faults.heal()
        self.progress("at the end")
        self.stop.set()
        for thread in self.threads:
            thread.join(60)
            if thread.is_alive():
                self.judge.fail("a client hangs")
        self.settle()

    def settle(self):
        """Until all nodes are there and have applied a write of now: one whose disk was bad cannot, and ends late."""
        target = 0

        def settled():
            nonlocal target
            self.faults.revive()
            leader = self.cluster.leader_seen()
            if leader is None:
                return False
            if not target:
                with leader.raw(timeout=5) as c:
                    written = c("KEYWAY", "PUT", "config", "settled", "x")
                target = written if isinstance(written, int) else 0
            statuses = self.cluster._statuses().values()
            indexes = {s["applied_index"] for s in statuses}
            return target and len(statuses) == len(self.cluster.nodes) and len(indexes) == 1

        harness.wait_until(settled, 60, "all nodes to be back and level")

    def verdict(self):
        judge = self.judge
        with self.cluster.leader().raw() as c:
            for key, value in judge.acked.items():
                found = int(c.ok("KEYWAY", "LINEAR", "GET", "config", key) or 0)
                if not value <= found <= judge.tried[key]:
                    judge.fail("%s is %d; acknowledged %d, attempted %d" % (key, found, value, judge.tried[key]))
            found = int(c.ok("KEYWAY", "LINEAR", "GET", "config", "counter") or 0)
        # What was under way when the run ended may have come to pass: one increment a client.
        if not judge.increments <= found <= judge.increments + COUNTERS:
            judge.fail("the counter is %d after %d acknowledged increments" % (found, judge.increments))
        records = []
        for node in self.cluster.nodes:
            with node.raw() as c:
                cursor, items = c.ok("KEYWAY", "SCAN", "config", 0, "COUNT", 100000)
                records.append(sorted(zip(items[0::3], items[1::3], items[2::3])))
        if any(each != records[0] for each in records):
            judge.fail("the nodes do not hold the same records: %r" % records)
        if self.relay.lost_bytes == 0 and {"isolate", "one_way"} & {n for n, count in self.done.items() if count}:
            judge.fail("no partition lost a byte: the relay cuts nothing")
        return not judge.failures

    def close(self):
        self.stop.set()
        self.cluster.close(check=False)
        self.relay.close()


def main():
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--seconds", type=float, default=1800)
    options.add_argument("--seed", type=int, default=random.SystemRandom().randrange(1 << 32))
    options.add_argument("--only", default=",".join(NAMES), help="faults: " + ", ".join(NAMES))
    options = options.parse_args()
    names = options.only.split(",")
    if set(names) - set(NAMES):
        raise SystemExit("chaos: there is no fault %s; there are: %s" % (", ".join(set(names) - set(NAMES)), ", ".join(NAMES)))
    disks, clocks = Disks(), Clocks()
    skipped = 0
    for part, prefix in ((disks, "disk_"), (clocks, "clock_")):
        if not part.usable():
            skipped += sum(name.startswith(prefix) for name in names)
            names = [name for name in names if not name.startswith(prefix)]
    if not names:
        raise SystemExit("chaos: none of these faults can be had here")
    print("seed %d, faults: %s" % (options.seed, ", ".join(names)))
    run = Run(options.seed, names, disks, clocks)
    try:
        run.start_load()
        deadline = time.monotonic() + options.seconds
        while time.monotonic() < deadline and not run.judge.failures:
            run.one_fault()
        run.end_load()
        good = run.verdict()
    finally:
        run.close()
    judge = run.judge
    print("%d writes and %d linearizable reads acknowledged, %d attempts repeated, %d bytes lost in partitions" % (
        judge.writes, judge.reads, judge.retries, run.relay.lost_bytes))
    print("%d passed, %d failed, %d skipped" % (sum(run.done.values()) if good else 0, len(judge.failures), skipped))
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
