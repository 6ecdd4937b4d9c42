#!/usr/bin/env python3
"""
The command table against live servers: the stored table is what the generator writes today; COMMAND, COMMAND DOCS and
the other subcommands answer as redis-server does, element by element, in RESP2 and RESP3; COMMAND GETKEYS and
GETKEYSANDFLAGS agree over generated and hand-picked requests of every command; learned commands behave as their models.

The local side is tests/tools/command_probe.c, compiled here with the compiler in CC (default cc). Nothing is shared
with other tests; servers are KEYWAY_REDIS_SERVER and KEYWAY_VALKEY_SERVER. KEYWAY_TEST_SEED repeats a run.
"""

import os
import random
import shlex
import shutil
import socket
import subprocess
import sys
import tempfile
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, os.path.join(REPO, "tests", "tools"))
import gen_commands  # noqa: E402
import harness  # noqa: E402

REDIS = os.environ.get("KEYWAY_REDIS_SERVER", "redis-server")
VALKEY = os.environ.get("KEYWAY_VALKEY_SERVER", "valkey-server")
SEED = int(os.environ.get("KEYWAY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)
SAMPLES = 60  # generated requests a command

SOURCES = ["tests/tools/command_probe.c", "cluster/command.c", "cluster/command_docs.c", "cluster/command_keys.c",
           "cluster/command_learn.c", "cluster/command_reply.c", "base/alloc.c", "base/clock.c", "base/error.c",
           "base/glob.c", "base/log.c", "base/str.c"]


class Failure(str):
    """An error reply."""


class Map(list):
    """A RESP3 map: [key, value, ...]."""


class Set(list):
    """A RESP3 set."""


class Peer:
    """One side of a comparison: requests out, typed replies in, pipelined so that thousands of questions are quick."""

    def __init__(self, reader, writer):
        self.reader, self.writer = reader, writer

    @staticmethod
    def encode(words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        return b"".join(parts)

    def __call__(self, *words):
        return self.many([words])[0]

    def many(self, requests):
        replies = []
        for start in range(0, len(requests), 100):
            part = requests[start:start + 100]
            self.writer.write(b"".join(self.encode(words) for words in part))
            self.writer.flush()
            replies += [self.read() for _ in part]
        return replies

    def read(self):
        line = self.reader.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("the peer is gone")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return "+" + rest.decode("latin-1")
        if kind == b"-":
            return Failure(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        if kind == b"_":
            return None
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self.reader.read(size + 2)[:-2].decode("latin-1")
        if kind == b"%":
            return Map(self.read() for _ in range(size * 2))
        return (Set if kind == b"~" else list)(self.read() for _ in range(size))


def resp_text(value):
    """The RESP2 bytes of a parsed reply."""
    if value is None:
        return b"*-1\r\n"
    if isinstance(value, int):
        return b":%d\r\n" % value
    if isinstance(value, str):
        data = value.encode("latin-1")
        return data + b"\r\n" if data.startswith(b"+") else b"$%d\r\n%s\r\n" % (len(data), data)
    return b"*%d\r\n" % len(value) + b"".join(resp_text(v) for v in value)


def compile_probe(folder):
    program = os.path.join(folder, "command_probe")
    hiredis = subprocess.check_output(["pkg-config", "--cflags", "--libs", "hiredis"], text=True)
    command = shlex.split(os.environ.get("CC", "cc"))
    command += ["-std=gnu11", "-D_GNU_SOURCE", "-O1", "-g", "-I", REPO, "-o", program]
    command += shlex.split(os.environ.get("KEYWAY_PROBE_CFLAGS", ""))
    command += [os.path.join(REPO, source) for source in SOURCES]
    subprocess.run(command + shlex.split(hiredis) + ["-lpthread"], check=True)
    return program


class Table(unittest.TestCase):
    def test_stored_table_is_current(self):
        generator = os.path.join(REPO, "tests", "tools", "gen_commands.py")
        check = subprocess.run([sys.executable, generator, "--check"], capture_output=True, text=True)
        self.assertEqual(check.returncode, 0, check.stdout + check.stderr)


class Compared(unittest.TestCase):
    """Redis, Valkey and the probe side by side."""

    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="keyway-probe-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        program = compile_probe(cls.folder)
        cls.redis = cls.start_server(REDIS)
        cls.valkey = cls.start_server(VALKEY)
        cls.probe_proc = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        cls.addClassCleanup(cls.end_probe)
        cls.ours = Peer(cls.probe_proc.stdout, cls.probe_proc.stdin)

    @classmethod
    def start_server(cls, program):
        server = harness.Server(program).start()
        cls.addClassCleanup(server.kill)
        sock = socket.create_connection(("127.0.0.1", server.port), timeout=60)
        file = sock.makefile("rwb")
        cls.addClassCleanup(sock.close)
        cls.addClassCleanup(file.close)
        return Peer(file, file)

    @classmethod
    def end_probe(cls):
        cls.probe_proc.stdin.close()
        status = cls.probe_proc.wait(timeout=20)
        cls.probe_proc.stdout.close()
        assert status == 0, "the probe ended with %d" % status

    def same(self, ours, theirs, what):
        """Recursive comparison that names the place of the first difference."""
        self.assertIs(type(ours), type(theirs), "%s: %.200r / %.200r" % (what, ours, theirs))
        if isinstance(theirs, list):
            self.assertEqual(len(ours), len(theirs), "%s: %.300r / %.300r" % (what, ours, theirs))
            for i, (a, b) in enumerate(zip(ours, theirs)):
                self.same(a, b, "%s[%d]" % (what, i))
        else:
            self.assertEqual(ours, theirs, what)


class Replies(Compared):
    def setUp(self):
        self.speak(2)

    def speak(self, version):
        for peer in (self.ours, self.redis):
            peer("HELLO", str(version))

    def info_by_name(self, peer, *words):
        """COMMAND's entries, their subcommands in one order."""
        entries = {}
        for entry in peer(*words):
            entry[9].sort(key=lambda sub: sub[0])
            entries[entry[0]] = entry
        return entries

    def docs_by_name(self, peer, *words):
        def sort_subcommands(doc):
            for i in range(0, len(doc), 2):
                if doc[i] == "subcommands":
                    pairs = sorted(zip(doc[i + 1][::2], doc[i + 1][1::2]), key=lambda pair: pair[0])
                    doc[i + 1] = type(doc[i + 1])(x for pair in pairs for x in pair)

        reply = peer(*words)
        for doc in reply[1::2]:
            sort_subcommands(doc)
        return dict(zip(reply[::2], reply[1::2]))

    def test_command_and_info(self):
        for version in (2, 3):
            self.speak(version)
            for words in (("COMMAND",), ("COMMAND", "INFO")):
                ours, theirs = self.info_by_name(self.ours, *words), self.info_by_name(self.redis, *words)
                self.assertEqual(sorted(ours), sorted(theirs))
                self.assertGreater(len(theirs), 230)
                for name in theirs:
                    self.same(ours[name], theirs[name], "RESP%d %s" % (version, name))

    def test_docs(self):
        for version in (2, 3):
            self.speak(version)
            ours = self.docs_by_name(self.ours, "COMMAND", "DOCS")
            theirs = self.docs_by_name(self.redis, "COMMAND", "DOCS")
            self.assertEqual(sorted(ours), sorted(theirs))
            for name in theirs:
                self.same(ours[name], theirs[name], "RESP%d %s" % (version, name))

    def test_list(self):
        def listed(peer, *words):
            reply = peer("COMMAND", "LIST", *words)
            return sorted(reply) if isinstance(reply, list) else reply

        for line in ["", "FILTERBY PATTERN x*", "filterby pattern *|G[e-f]T*", "FILTERBY ACLCAT Hash",
                     "FILTERBY ACLCAT nothing", "FILTERBY MODULE nothing", "FILTERBY SIZE 1", "FILTERBY ACLCAT",
                     "SORTBY", "FILTERBY PATTERN a b"]:
            words = line.split()
            self.assertEqual(listed(self.ours, *words), listed(self.redis, *words), words)
        for category in gen_commands.CATEGORIES:
            words = ("FILTERBY", "ACLCAT", category)
            self.assertEqual(listed(self.ours, *words), listed(self.redis, *words), words)

    def test_subcommands_and_errors(self):
        for line in ["COMMAND COUNT", "COMMAND COUNT x", "COMMAND HELP", "COMMAND help x", "COMMAND FOO",
                     "COMMAND FOO a b",
                     "COMMAND INFO get nothing GET object|encoding OBJECT|nothing get|x config|get|x |",
                     "COMMAND DOCS nothing", "COMMAND DOCS get nothing CONFIG|get get", "COMMAND GETKEYS",
                     "COMMAND GETKEYS get", "COMMAND GETKEYSANDFLAGS x", "COMMAND GETKEYS nothing a b",
                     "COMMAND GETKEYS object nothing a"]:
            for version in (2, 3):
                self.speak(version)
                self.same(self.ours(*line.split()), self.redis(*line.split()), "RESP%d %s" % (version, line))

    def test_valkey_commands_when_asked_for(self):
        self.ours("VALKEY", "1")
        self.addCleanup(self.ours, "VALKEY", "0")
        self.assertEqual(sorted(self.ours("COMMAND", "LIST")), sorted(self.valkey("COMMAND", "LIST")))
        redis = set(self.redis("COMMAND", "LIST"))
        newer = [name for name in self.valkey("COMMAND", "LIST") if name not in redis]
        self.assertIn("waitaof", newer)
        self.same(self.ours("COMMAND", "INFO", *newer), self.valkey("COMMAND", "INFO", *newer), "COMMAND INFO")


WORDS = [
    "a", "b", "key", "0", "1", "2", "3", "10", "-1", "+2", "02", "2x", " 2", "", "x", "get", "GET", "by", "limit",
    "store", "STORE", "storedist", "streams", "STREAMS", "count", "block", "group", "noack", "keys", "KEYS",
    "auth", "auth2", "copy", "replace", "set", "incrby", "overflow", "weights", "aggregate", "withscores", "left",
    "min", "99999999",
]

PICKED = """
EVAL s 0|EVAL s 0 a|EVAL s 1 a b|EVAL s 2 a|EVAL s x a|EVAL s -1 a|EVAL s 01 a b|EVAL s 2x a b|EVAL s 3 a b c d
EVALSHA_RO s 2 a b|FCALL f 2 a b c|FCALL_RO f 0|SORT a|SORT a STORE b|SORT a BY store GET store STORE b STORE c
SORT a LIMIT 0 store STORE b|SORT a get store|SORT a STORE|SORT_RO a BY x|MIGRATE h 1 k 0 9|MIGRATE h 1 k 0 9 KEYS a
MIGRATE h 1 () 0 9 KEYS a b|MIGRATE h 1 () 0 9 AUTH keys KEYS a|MIGRATE h 1 () 0 9 AUTH2 keys keys COPY KEYS a b c
MIGRATE h 1 () 0 9 KEYS|MIGRATE h 1 () 0 9|MIGRATE h 1 () 0 9 KEYS a KEYS b|GEORADIUS k 1 2 3 m STORE a
GEORADIUS k 1 2 3 m STORE a STOREDIST b|GEORADIUS k 1 2 3 m STOREDIST b STORE a|GEORADIUS k 1 2 3 m COUNT 1 STORE
GEORADIUS k 1 2 3 m store storedist b|GEORADIUSBYMEMBER k store 1 m
GEORADIUSBYMEMBER k m 1 m store x asc storedist y|XREAD STREAMS a b 0 0|XREAD COUNT 1 STREAMS a 0
XREAD STREAMS a b 0|XREAD BLOCK 0 COUNT 2 STREAMS a 0|XREAD COUNT 1 a 0|XREAD COUNT streams STREAMS a 0
XREADGROUP GROUP g c STREAMS a >|XREADGROUP GROUP streams c COUNT 1 NOACK STREAMS a b > >
XREADGROUP GROUP g c STREAMS a b > >|XREADGROUP GROUP g c NOACK STREAMS|SET a b|SET a b GET|SET a b EX 1 get
SET a get|BITFIELD a|BITFIELD a GET u8 0|BITFIELD a GET u8 0 OVERFLOW SAT SET u8 0 1
BITFIELD a OVERFLOW WRAP GET u8 0|BITFIELD a x|ZUNION 2 a b|ZUNION 3 a b|ZUNION 2 a b WEIGHTS 1 2
ZUNIONSTORE d 2 a b|ZUNIONSTORE d 2x a b|ZUNIONSTORE d 0 a|ZDIFF 1 a|ZINTERCARD 2 a b LIMIT 1|SINTERCARD 1 a
SINTERCARD 3 a|LMPOP 2 a b LEFT|BLMPOP 0 2 a b LEFT|ZMPOP 1 a MIN|BZMPOP 0 1 a MAX|OBJECT ENCODING k|OBJECT HELP
OBJECT|MEMORY USAGE k|MEMORY USAGE k SAMPLES 5|MEMORY DOCTOR|XGROUP CREATE k g 0|XINFO STREAM k|XGROUP|PUBLISH c m
SPUBLISH c m|SSUBSCRIBE c|MSET a 1 b 2|MSET a 1 b|MGET a b c|DEL a|BLPOP a b 0|BITOP AND d a b|COPY a b|RENAME a b
SMOVE a b m|LMOVE a b LEFT LEFT|PFMERGE d a b|PFCOUNT a b|RESTORE-ASKING a 0 x|PFDEBUG ENCODE a|DEBUG OBJECT a
CONFIG GET x|PING|CLIENT LIST|WATCH a b|LCS a b|GEOSEARCHSTORE d s FROMMEMBER m BYRADIUS 1 m|FUNCTION LOAD x
CLUSTER KEYSLOT a
"""


class Keys(Compared):
    """COMMAND GETKEYS of both servers against ours."""

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.random = random.Random(SEED)

    def requests_of(self, name, arity):
        """Requests of one command: its name(s), then words that mean something to some extractor."""
        words = name.split("|")
        for n in range(SAMPLES):
            fewest = abs(arity)
            argc = fewest if arity > 0 else fewest + self.random.choice((0, 0, 1, 1, 2, 3, 4, 5, 7, 9))
            request = list(words)
            while len(request) < argc:
                request.append("k%d" % len(request) if self.random.random() < 0.45 else self.random.choice(WORDS))
            if n == 0 and argc > len(words):
                request.pop()  # wrong arity
            yield request

    def compare(self, server, requests, note):
        for question in ("GETKEYS", "GETKEYSANDFLAGS"):
            asked = [["COMMAND", question] + request for request in requests]
            ours, theirs = self.ours.many(asked), server.many(asked)
            for request, a, b in zip(asked, ours, theirs):
                self.same(a, b, "%s, seed %d: %r" % (note, SEED, request))
        return list(zip(requests, server.many([["COMMAND", "GETKEYS"] + request for request in requests])))

    def positions_agree(self, compared):
        """kw_command_keys() names the same keys, ascending; where the server has none or an error, none or an error."""
        ours = self.ours.many([["KEYS"] + request for request, _ in compared])
        for (request, theirs), positions in zip(compared, ours):
            if isinstance(theirs, list) and theirs:
                self.assertIsInstance(positions, list, request)
                self.assertEqual(positions, sorted(positions), request)
                self.assertEqual(sorted(request[p] for p in positions), sorted(theirs), request)
            elif request[0].lower() == "pfmerge" and len(request) == 2:
                self.assertEqual(positions, [1])  # GETKEYS refuses what the command accepts
            else:
                self.assertTrue(isinstance(positions, Failure) or positions == [], (request, positions, theirs))

    def test_picked_requests(self):
        requests = []
        for request in PICKED.replace("\n", "|").split("|"):
            if len(request.split()) > 1:  # GETKEYS itself wants two words in Redis 7.0
                requests.append(["" if word == "()" else word for word in request.split()])
        self.positions_agree(self.compare(self.redis, requests, "redis"))

    def test_every_command_of_redis(self):
        self.every_command(self.redis, "redis")

    def test_every_command_of_valkey(self):
        """Where the two servers do not agree on the arity, ours takes both, and only the keys are compared."""
        ours = {entry[0]: entry for entry in self.flat(self.ours("COMMAND"))}

        def same(entry):
            model = ours.get(entry[0])
            return model is None or (model[1] == entry[1] and model[8] == entry[8])

        self.every_command(self.valkey, "valkey", same)

    def flat(self, entries):
        for entry in entries:
            yield entry
            yield from self.flat(entry[9])

    def every_command(self, server, note, wanted=lambda entry: True):
        requests = []
        for entry in sorted(self.flat(server("COMMAND")), key=lambda entry: entry[0]):
            if wanted(entry):
                requests += [r for r in self.requests_of(entry[0], entry[1]) if len(r) > 1]
        self.positions_agree(self.compare(server, requests, note))

    def test_second_arity(self):
        """What only the newer server takes: the keys are told anyhow."""
        self.same(self.ours("COMMAND", "GETKEYS", "ZRANK", "z", "m", "WITHSCORE"), ["z"], "ZRANK WITHSCORE")


class Learned(Compared):
    """A server's whole COMMAND reply under other names is learned, and then behaves as its model."""

    PREFIX = "m."

    def renamed(self, entry):
        copy = list(entry)
        copy[0] = self.PREFIX + entry[0].upper()
        copy[9] = [self.renamed(sub) for sub in entry[9]]
        return copy

    def lowered(self, entry):
        return [entry[0].lower()] + entry[1:9] + [[self.lowered(sub) for sub in entry[9]]]

    def test_learn_whole_table(self):
        commands = self.redis("COMMAND")
        self.assertEqual(self.ours("LEARN", resp_text(commands)), 0)
        copies = [self.renamed(entry) for entry in commands]
        total = sum(1 + len(entry[9]) for entry in commands)
        self.assertEqual(self.ours("LEARN", resp_text(copies)), total)
        self.assertEqual(self.ours("LEARN", resp_text(copies)), 0)
        self.assertEqual(self.ours("COMMAND", "COUNT"), 2 * len(commands))
        names = [copy[0] for copy in copies]
        for entry in copies:
            entry[9].sort(key=lambda sub: sub[0])
        infos = self.ours("COMMAND", "INFO", *names)
        for info, copy in zip(infos, copies):
            info[9].sort(key=lambda sub: sub[0])
            self.same(info, self.lowered(copy), copy[0])
        self.keys_as_model(commands)

    def keys_as_model(self, commands):
        """By key specs alone: equal to the model where the model needs no extractor."""
        compared = 0
        for entry in commands:
            if entry[0] in gen_commands.EXTRACTOR_OF or entry[9]:
                continue
            request = ["k%d" % i for i in range(abs(entry[1]) + (entry[1] < 0))]
            model = self.ours("COMMAND", "GETKEYS", entry[0], *request[1:])
            copy = self.ours("COMMAND", "GETKEYS", self.PREFIX + entry[0], *request[1:])
            self.same(copy, model, entry[0])
            compared += isinstance(model, list)
        self.assertGreater(compared, 100)
        self.same(self.ours("COMMAND", "GETKEYS", "M.EVAL", "s", "2", "a", "b", "c"), ["a", "b"], "m.eval")
        self.same(self.ours("COMMAND", "GETKEYS", "m.xread", "STREAMS", "a", "b", "0", "0"), ["a", "b"], "m.xread")

    def test_old_form_and_nonsense(self):
        seven = [["old.cmd", -3, ["+write", "+fast", "+unheard-of"], 1, -1, 2, ["+@write", "+@unheard-of"]],
                 ["old.keyless", 1, [], 0, 0, 0, []], None, 7, [], ["short", 2], ["bad name", 1, [], 0, 0, 0, []],
                 ["zero.arity", 0, [], 0, 0, 0, []], ["bad.step", 2, [], 1, 1, 0, []]]
        self.assertEqual(self.ours("LEARN", resp_text(seven)), 2)
        self.same(self.ours("COMMAND", "INFO", "OLD.CMD"),
                  [["old.cmd", -3, ["+write", "+fast"], 1, -1, 2, ["+@write"], [], [], []]], "INFO")
        self.same(self.ours("COMMAND", "GETKEYS", "old.cmd", "a", "1", "b", "2"), ["a", "b"], "GETKEYS")
        self.same(self.ours("COMMAND", "DOCS", "old.cmd"), ["old.cmd", ["group", "module"]], "DOCS")
        self.assertLess(self.ours("LEARN", b":1\r\n"), 0)


if __name__ == "__main__":
    harness.main()
