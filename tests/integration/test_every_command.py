#!/usr/bin/python3
# timeout: 600
"""
Every command of Redis, with arguments made from the server's own COMMAND DOCS, against one plain redis-server: the same
random programs (valid calls, mistakes, transactions, scripts, subscriptions) go to it and through Keyway, and the
replies must be the same bytes; what cannot be is under a rule of command_rules.py. In RESP2 and in RESP3.

First two plain servers are compared with each other, which proves the rules. KEYWAY_EVERY_COMMANDS says how many steps
(default 160000 in all), KEYWAY_TEST_SEED which ones, KEYWAY_EVERY_LIMIT after how many different kinds of difference to
give up (default 12).
"""

import collections
import os
import random
import socket
import unittest

import command_generator
import command_rules
import command_specs
import harness
from command_generator import ALWAYS_ERROR, OWN_TEST, REFUSED, Generator
from harness import ConnectionClosed, ReplyError, encode

STEPS = int(os.environ.get("KEYWAY_EVERY_COMMANDS", "160000"))
LIMIT = int(os.environ.get("KEYWAY_EVERY_LIMIT", "12"))
PROGRAM = 250
REPLY_TIMEOUT = 20
QUICK = {"hz": "500"}  # time-outs of blocked clients are looked at by a timer


def read_raw(client):
    """The bytes of the next reply; invalidations, which come whenever they come, are passed over."""
    while True:
        value = client.read()
        if not (isinstance(value, harness.Push) and value and value[0] == b"invalidate"):
            return value, client.raw


def take(client, step):
    """The bytes of all replies to a step; one that is an error stands for all."""
    out = b""
    for _ in range(step.replies):
        value, raw = read_raw(client)
        out += raw
        if isinstance(value, ReplyError):
            break
    return out


class Differences:
    """Kinds of difference, each with its first example."""

    def __init__(self, seed):
        self.seed = seed
        self.found = collections.OrderedDict()

    def add(self, step, want, got, history):
        key = (step.name, want[:1], got[:25] if got[:1] == b"-" else got[:1])
        if key in self.found:
            return
        about = [s.argv for s in history if set(s.argv[1:]) & set(step.argv[1:]) or s.name in ("flushall", "flushdb")]
        self.found[key] = "seed %d: %s\n  got:   %r\n  redis: %r\n  before it, on its words:\n    %s" % (
            self.seed, shown(step.argv), got[:500], want[:500], "\n    ".join(shown(a) for a in about[-8:]) or "-",
        )  # fmt: skip

    def __len__(self):
        return len(self.found)

    def __str__(self):
        return "\n\n".join(self.found.values())


def shown(argv):
    return " ".join(a.decode() if a.isalnum() else repr(a)[1:] for a in argv)[:600]


class Run:
    """Programs sent to both sides. `ours` is the side under test, `theirs` says what is right: functions that connect."""

    def __init__(self, ours, theirs, specs, seed, protocol, payloads, refusals):
        self.connect = (ours, theirs)
        self.protocol = protocol
        self.helper = theirs()
        self.generator = Generator("%d/%d" % (seed, protocol), specs, protocol, self.keys_of, payloads, refusals)
        self.r = random.Random(seed)
        self.differences = Differences(seed)
        self.calls = collections.Counter()
        self.successes = collections.Counter()
        self.ours = self.theirs = None

    def keys_of(self, argv):
        reply = self.helper("COMMAND", "GETKEYS", *argv)
        return [] if isinstance(reply, ReplyError) else reply

    def close(self):
        for c in (self.ours, self.theirs):
            if c is not None:
                c.close()
        self.ours = self.theirs = None

    def reset(self):
        """New connections, no data, no scripts but the ones that programs count on, no functions."""
        self.close()
        self.ours, self.theirs = (make() for make in self.connect)
        for c in (self.ours, self.theirs):
            c.sock.settimeout(REPLY_TIMEOUT * harness.TIME_SCALE)
            c.ok("FLUSHALL")
            c.ok("SCRIPT", "FLUSH")
            c.ok("FUNCTION", "FLUSH")
            for script in command_generator.SCRIPTS:
                c.ok("SCRIPT", "LOAD", script)
            for library in command_generator.LIBRARIES[1:3]:
                c.ok("FUNCTION", "LOAD", library)
            if self.protocol == 3:
                c.ok("HELLO", 3)

    def run(self, count):
        done = 0
        while done < count and len(self.differences) < LIMIT:
            self.reset()
            done += self.program()
        self.close()

    def program(self):
        steps = self.generator.program(PROGRAM)
        history = []
        pos = 0
        while pos < len(steps):
            part = steps[pos : pos + self.r.choice([1, 1, 2, 5, 20, 60])]
            pos += len(part)
            if not self.pipeline(part, history):
                return len(history)
        return len(history)

    def pipeline(self, part, history):
        """True when the next part can follow. Reads every reply even after a difference: nothing may be left running."""
        self.theirs.send(b"".join(encode(*s.argv) for s in part if not s.refused))
        self.ours.send(b"".join(encode(*s.argv) for s in part))
        good = True
        for step in part:
            want = got = b""
            try:
                want = b"" if step.refused else take(self.theirs, step)
                got = take(self.ours, step)
            except (ConnectionClosed, socket.timeout, AssertionError) as e:
                if good:
                    self.differences.add(step, want, b"no reply: %r" % repr(e).encode(), history)
                return False
            if good:
                good = self.judge(step, want, got, history)
                history.append(step)
        return good

    def judge(self, step, want, got, history):
        if step.refused:
            if not got.startswith(b"-" + step.refused.encode()):
                self.differences.add(step, b"-" + step.refused.encode() + b"...", got, history)
                return False
            self.calls[step.name] += 1
            return True
        self.calls[step.name] += 1
        if want[:1] not in (b"", b"-", b"!") and want != b"+QUEUED\r\n":
            self.successes[step.name] += 1
        if command_rules.same(step, want, got):
            return True
        if step.may_refuse and got.startswith(b"-" + step.may_refuse.encode()):
            return True
        self.differences.add(step, want, got, history)
        spec = self.generator.specs.callable.get(step.name)
        return b"is not supported through Keyway" in got and spec is not None and not spec.keyed


def sample_payloads(server):
    """DUMPs of a key of every type, and last a FUNCTION DUMP, from a server that is then emptied."""
    with server.client() as c:
        for argv in (["SET", "s", "text"], ["SET", "i", 12], ["RPUSH", "l", 1, "two"], ["SADD", "x", "a", "b"],
                     ["SADD", "y", 1, 2], ["HSET", "h", "f", "v"], ["ZADD", "z", 1, "m", 2.5, "n"],
                     ["XADD", "st", "1-1", "f", "v"]):  # fmt: skip
            c.ok(*argv)
        out = [c.ok("DUMP", k) for k in ("s", "i", "l", "x", "y", "h", "z", "st")]
        c.ok("FUNCTION", "LOAD", command_generator.LIBRARIES[0])
        out.append(c.ok("FUNCTION", "DUMP"))
        c.ok("FLUSHALL")
        c.ok("FUNCTION", "FLUSH")
        return out


def specs_of(server):
    with server.client() as c:
        return command_specs.Specs(c)


def never_worked(run):
    """The commands that should answer something else than an error at times, and never did."""
    wanted = {n for n in run.generator.specs.callable if Generator.generated(n)} - set(ALWAYS_ERROR)
    return sorted(n for n in wanted if not run.successes[n])


class Rules(unittest.TestCase):
    """The rules are true: two plain servers show no difference. And the calls are good: each command works at least once."""

    def compare(self, protocol):
        with harness.Server(config=QUICK) as one, harness.Server(config=QUICK) as two:
            payloads = sample_payloads(two)
            run = Run(one.client, two.client, specs_of(two), harness.SEED, protocol, payloads, refusals=False)
            run.run(STEPS // 8)
            for _ in range(40):
                if not never_worked(run) or len(run.differences):
                    break
                run.run(2000)
            run.helper.close()
        self.assertFalse(len(run.differences), "\n" + str(run.differences))
        self.assertEqual(never_worked(run), [], "only errors came of these")

    def test_two_plain_servers_in_resp2(self):
        self.compare(2)

    def test_two_plain_servers_in_resp3(self):
        self.compare(3)


# Forms of served commands that Keyway refuses by design: the call, how the error begins, why.
REFUSED_FORMS = [
    (["SELECT", 1], "ERR DB index is out of range", "there is one database only"),
    (["COPY", "{t}a", "{t}b", "DB", 1], "ERR Copying to another database is not allowed in cluster mode", "one database"),
    (["SORT", "{t}a", "BY", "{t}w_*"], "ERR BY option of SORT denied in Cluster mode", "the nodes run in cluster mode"),
    (["SORT", "{t}a", "GET", "{t}w_*"], "ERR GET option of SORT denied in Cluster mode", "the nodes run in cluster mode"),
    (["SORT_RO", "{t}a", "BY", "{t}w_*"], "ERR BY option of SORT denied in Cluster mode", "the nodes run in cluster mode"),
    (["RENAME", "{one}a", "{two}a"], "CROSSSLOT", "two slots, one command"),
    (["SMOVE", "{one}a", "{two}a", "m"], "CROSSSLOT", "two slots, one command"),
    (["EVAL", "return 1", 2, "{one}a", "{two}a"], "CROSSSLOT", "two slots, one script"),
]

# What CLUSTER says to clients that speak the cluster protocol; the rest changes a cluster, which is refused.
CLUSTER_READS = {
    "cluster|countkeysinslot": [0],
    "cluster|getkeysinslot": [0, 10],
    "cluster|help": [],
    "cluster|info": [],
    "cluster|keyslot": ["{user}:1"],
    "cluster|myid": [],
    "cluster|nodes": [],
    "cluster|shards": [],
    "cluster|slots": [],
    "cluster|links": [],
}
# Need the id of a node that the client learned; answered or refused, never sent to a node.
CLUSTER_OF_NODE = {"cluster|replicas", "cluster|slaves", "cluster|count-failure-reports"}


class EveryCommand(harness.ProxyTest):
    """Through Keyway, in front of three shards."""

    NODE_CONFIG = QUICK
    DIRECTIVES = {"workers": 2}
    TEST_TIMEOUT = 500

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.judge = harness.Server(config=QUICK).start()
        cls.specs = specs_of(cls.judge)
        cls.payloads = sample_payloads(cls.judge)

    @classmethod
    def tearDownClass(cls):
        cls.judge.kill()
        super().tearDownClass()

    def compare(self, protocol):
        run = Run(self.proxy.client, self.judge.client, self.specs, harness.SEED, protocol, self.payloads, refusals=True)
        run.run(STEPS * 3 // 8)
        run.helper.close()
        self.assertFalse(len(run.differences), "\n" + str(run.differences))
        if STEPS >= 40000:
            wanted = set(REFUSED) | {n for n in self.specs.callable if Generator.generated(n)}
            self.assertEqual(sorted(n for n in wanted if not run.calls[n]), [], "never called")

    def test_everything_is_accounted_for(self):
        """No command of either side is forgotten, and no table names what does not exist."""
        with self.judge.client() as theirs, self.client() as ours:
            known, served = command_specs.names(theirs), command_specs.names(ours)
        self.assertEqual(sorted(known ^ served), [], "listed on one side only")
        self.assertEqual(known, set(self.specs.callable) | self.specs.containers)
        cluster = {n for n in known if n.startswith("cluster|")}
        homes = [{n for n in self.specs.callable if Generator.generated(n)}, set(REFUSED), set(OWN_TEST), cluster]
        for name in sorted(self.specs.callable):
            self.assertEqual(sum(name in home for home in homes), 1, "%s must be in one table" % name)
        tables = [REFUSED, OWN_TEST, ALWAYS_ERROR, command_rules.RULES, CLUSTER_READS, CLUSTER_OF_NODE,
                  command_generator.RARE, command_generator.MAKERS, command_generator.NOT_QUEUED]  # fmt: skip
        for table in tables:
            self.assertEqual(sorted(set(table) - known), [], "named in a table, unknown to Redis")

    def test_refused_by_design(self):
        """Each of them once, with as many words as it takes."""
        c = self.client()
        for name in sorted(REFUSED):
            spec = self.specs.callable[name]
            words = [w.decode() for w in spec.words]
            argv = words + ["x"] * (abs(spec.arity) - len(words))
            with self.subTest(argv=argv):
                self.assertError(c(*argv), "ERR '%s' is not supported through Keyway" % name)
        for argv, error, why in REFUSED_FORMS:
            with self.subTest(argv=argv, why=why):
                self.assertError(c(*argv), error)
        self.assertEqual(c("PING"), b"PONG")

    def test_whole_scans_find_the_same(self):
        """Every element at least once, whatever the cursors; MATCH, COUNT and TYPE too."""
        r = random.Random(harness.SEED)
        with self.judge.client() as theirs, self.client() as ours:
            for c in (ours, theirs):
                c.ok("FLUSHALL")
            for i in range(300):
                argv = r.choice([["SET", "k%d" % i, "v"], ["RPUSH", "k%d" % i, "v"], ["SADD", "big:set", "m%d" % i],
                                 ["HSET", "big:hash", "f%d" % i, i], ["ZADD", "big:zset", i, "m%d" % i]])  # fmt: skip
                self.assertEqual(ours.ok(*argv), theirs.ok(*argv))
            for argv in (["SCAN"], ["SSCAN", "big:set"], ["HSCAN", "big:hash"], ["ZSCAN", "big:zset"]):
                for options in ([], ["COUNT", 7], ["MATCH", "*1*"], ["COUNT", 1000, "MATCH", "[km]2?"]):
                    self.assertEqual(self.scanned(ours, argv, options), self.scanned(theirs, argv, options), (argv, options))
            for kind in ("string", "list", "hash", "nosuch"):
                options = ["COUNT", 20, "TYPE", kind]
                self.assertEqual(self.scanned(ours, ["SCAN"], options), self.scanned(theirs, ["SCAN"], options), options)

    def scanned(self, client, argv, options):
        cursor, found = b"0", set()
        width = 2 if argv[0] in ("HSCAN", "ZSCAN") else 1
        for _ in range(5000):
            cursor, part = client.ok(*argv, cursor, *options)
            found |= set(zip(*[iter(part)] * width))
            if cursor == b"0":
                return found
        self.fail("%r does not come to an end" % argv)

    def test_quit(self):
        """+OK, the end; what was sent behind it is not answered."""
        ends = []
        for side in (self.judge.client, self.proxy.client):
            with side() as c:
                c.send(encode("PING") + encode("QUIT") + encode("PING"))
                ends.append(c.read_until_close())
        self.assertEqual(ends[0], ends[1])

    def test_monitor(self):
        """A monitor sees what other connections send, as Redis writes it."""
        lines = []
        for side in (self.judge.client, self.proxy.client):
            with side() as watching, side() as working:
                self.assertEqual(watching("MONITOR"), b"OK")
                working.ok("SET", "mon:key", 'a "b"\n\x01')
                while b"mon:key" not in watching.read():
                    pass
                lines.append(watching.raw[watching.raw.index(b'] "') :])
        self.assertEqual(lines[0], lines[1])

    def test_script_debug(self):
        """Off is what it is; a session is refused; other words are errors as in Redis."""
        with self.judge.client() as theirs, self.client() as ours:
            for argv in (["SCRIPT", "DEBUG", "NO"], ["SCRIPT", "DEBUG", "maybe"], ["SCRIPT", "DEBUG"]):
                self.assertEqual(ours(*argv), theirs(*argv), argv)
            for word in ("YES", "SYNC"):
                self.assertError(ours("SCRIPT", "DEBUG", word), "ERR The script debugger needs")
            self.assertEqual(ours("EVAL", "return 1", 0), 1)

    def test_config_rewrite(self):
        """Both were started without a configuration file."""
        with self.judge.client() as theirs, self.client() as ours:
            self.assertEqual(ours("CONFIG", "REWRITE"), theirs("CONFIG", "REWRITE"))

    def test_cluster_clients(self):
        """Clients that speak the cluster protocol get one node that has every slot; nobody changes it."""
        c = self.client()
        for name in sorted(n for n in self.specs.callable if n.startswith("cluster|")):
            words = name.split("|")
            if name in CLUSTER_READS:
                with self.subTest(name=name):
                    self.assertNotIsInstance(c(*words, *CLUSTER_READS[name]), ReplyError)
            elif name not in CLUSTER_OF_NODE:
                need = abs(self.specs.callable[name].arity) - len(words)
                with self.subTest(name=name):
                    self.assertError(c(*words, *["1"] * need), "ERR")
        self.assertEqual(c("CLUSTER", "KEYSLOT", "{user}:1"), harness.slot_of("{user}:1"))
        self.assertIn(b"cluster_state:ok", c.ok("CLUSTER", "INFO"))
        slots = [s for low, high, *_ in c.ok("CLUSTER", "SLOTS") for s in range(low, high + 1)]
        self.assertEqual(slots, list(range(harness.SLOTS)))
        for name in ("READONLY", "READWRITE", "ASKING"):
            self.assertEqual(c(name), b"OK")

    def test_in_resp2(self):
        self.compare(2)

    def test_in_resp3(self):
        self.compare(3)


if __name__ == "__main__":
    harness.main()
