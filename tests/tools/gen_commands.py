#!/usr/bin/env python3
"""
Writes cluster/command_table.inc, the command table, from what the supported servers say about themselves.

Happy path: a redis-server 7.0 and a valkey-server 8 start on free loopback ports, answer COMMAND and COMMAND DOCS, and
end. The two answers are merged (Redis 7.0 decides where both know a command; Valkey adds what Redis lacks: commands,
subcommands, a second arity, policies where Redis names none), Keyway's own commands are put behind them, the lookup
index is computed, and rows are printed in a fixed order, so that the same servers always give the same bytes.

    gen_commands.py             write the table
    gen_commands.py --check     write nothing; print the difference and exit 1 if there is one

Environment: KEYWAY_REDIS_SERVER, KEYWAY_VALKEY_SERVER (programs; defaults redis-server, valkey-server).
"""

import difflib
import os
import random
import socket
import subprocess
import sys
import tempfile
import time

REPO = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TABLE = os.path.join(REPO, "cluster", "command_table.inc")

# Flags that the servers keep to themselves ("hidden on purpose" in their addReplyFlagsForCommand).
MAY_REPLICATE = {"eval", "evalsha", "fcall", "pfcount", "publish", "spublish"}

# COMMAND is answered by the proxy itself, in Redis 7.0's shape: no second arity.
ONE_ARITY = {"command"}

# The extractors that the servers fall back on where key specs do not tell (getkeys_proc in their commands.def).
EXTRACTORS = {
    "SORT": ["sort"],
    "SORT_RO": ["sort_ro"],
    "MIGRATE": ["migrate"],
    "GEORADIUS": ["georadius", "georadiusbymember"],
    "XREAD": ["xread", "xreadgroup"],
    "SET": ["set"],
    "BITFIELD": ["bitfield"],
    "NUMKEYS_1": ["lmpop", "sintercard", "zdiff", "zinter", "zintercard", "zmpop", "zunion"],
    "NUMKEYS_2": ["blmpop", "bzmpop", "eval", "evalsha", "eval_ro", "evalsha_ro", "fcall", "fcall_ro"],
    "STORE_NUMKEYS": ["zdiffstore", "zinterstore", "zunionstore"],
}
EXTRACTOR_OF = {name: kind for kind, names in EXTRACTORS.items() for name in names}

FLAGS = ["write", "readonly", "denyoom", "module", "admin", "pubsub", "noscript", "blocking", "loading", "stale",
         "skip_monitor", "skip_slowlog", "asking", "fast", "no_auth", "may_replicate", "no_mandatory_keys",
         "no_async_loading", "no_multi", "movablekeys", "allow_busy"]
KEY_FLAGS = ["RO", "RW", "OW", "RM", "access", "update", "insert", "delete", "not_key", "incomplete", "variable_flags"]
CATEGORIES = ["keyspace", "read", "write", "set", "sortedset", "list", "hash", "string", "bitmap", "hyperloglog", "geo",
              "stream", "pubsub", "admin", "fast", "slow", "blocking", "dangerous", "connection", "transaction",
              "scripting"]

# What Keyway adds. COMMAND tells of it by name only: its lists are those of one Redis.
OWN = {
    "keyway": {"arity": -2, "flags": {"admin", "noscript", "loading", "stale"}, "cats": {"admin", "slow", "dangerous"},
               "docs": {"summary": "Asks the metadata service.", "since": "0.1.0", "group": "server"}},
}

# ------------------------------------------------------------------------------------------------------ live servers


class Connection:
    """Just enough of RESP2 to ask and to read nested replies; texts are str, status replies lose their '+'."""

    def __init__(self, port):
        self.sock = socket.create_connection(("127.0.0.1", port), timeout=30)
        self.file = self.sock.makefile("rb")

    def __call__(self, *words):
        parts = [b"*%d\r\n" % len(words)]
        for word in words:
            data = word if isinstance(word, bytes) else str(word).encode()
            parts.append(b"$%d\r\n%s\r\n" % (len(data), data))
        self.sock.sendall(b"".join(parts))
        return self.read()

    def close(self):
        self.file.close()
        self.sock.close()

    def read(self):
        line = self.file.readline()
        if not line.endswith(b"\r\n"):
            raise EOFError("connection closed")
        kind, rest = line[:1], line[1:-2]
        if kind == b"+":
            return rest.decode("latin-1")
        if kind == b"-":
            return RuntimeError(rest.decode("latin-1"))
        if kind == b":":
            return int(rest)
        size = int(rest)
        if size < 0:
            return None
        if kind == b"$":
            return self.file.read(size + 2)[:-2].decode("latin-1")
        return [self.read() for _ in range(size)]


def free_port():
    """From below the ephemeral range: a port of that is anybody's, and a connection to a free one may meet itself."""
    for _ in range(1000):
        port = random.SystemRandom().randrange(22000, 28000)
        with socket.socket() as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                sock.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise RuntimeError("no free port found")


class LiveServer:
    """A server process of its own, without persistence; ends with the `with` block."""

    def __init__(self, program):
        self.program = program
        self.connection = None

    def __enter__(self):
        self.dir = tempfile.TemporaryDirectory(prefix="keyway-commands-")
        deadline = time.monotonic() + 60
        self.start()
        while True:
            try:
                self.connection = Connection(self.port)
                if self.connection("PING") == "PONG":
                    return self.connection
            except OSError:
                pass
            if time.monotonic() > deadline:
                self.__exit__()
                raise RuntimeError("%s does not start" % self.program)
            if self.proc.poll() is not None:
                self.start()  # another program took the port meanwhile
            time.sleep(0.02)

    def start(self):
        self.port = free_port()
        args = [self.program, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--appendonly", "no",
                "--dir", self.dir.name, "--enable-debug-command", "no"]
        self.proc = subprocess.Popen(args, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def __exit__(self, *_):
        if self.connection:
            self.connection.close()
        self.proc.kill()
        self.proc.wait()
        self.dir.cleanup()


def as_dict(flat):
    return dict(zip(flat[::2], flat[1::2]))


def read_server(program):
    """{name: row} for every command and subcommand; row has the COMMAND fields, `docs`, and `subs` (names)."""
    with LiveServer(program) as server:
        commands, docs = server("COMMAND"), as_dict(server("COMMAND", "DOCS"))
    rows = {}

    def walk(entry, doc):
        name, arity, flags, first, last, step, cats, tips, specs, subs = entry
        doc = as_dict(doc)
        sub_docs = as_dict(doc.pop("subcommands", []))
        rows[name] = {"name": name, "arity": arity, "flags": set(flags), "first": first, "last": last, "step": step,
                      "cats": {cat.lstrip("@") for cat in cats}, "tips": tips, "specs": [as_dict(s) for s in specs],
                      "docs": doc, "subs": sorted(sub[0] for sub in subs)}
        for sub in subs:
            walk(sub, sub_docs[sub[0]])

    for entry in commands:
        walk(entry, docs[entry[0]])
    return rows


# ------------------------------------------------------------------------------------------------------------- merging


def policy(tips, kind):
    for tip in tips:
        if tip.startswith(kind + ":"):
            return tip.split(":", 1)[1].upper()
    return None


def merge(redis, valkey):
    """The union, in table order: commands by name, then the subcommands of each container by name."""
    rows = {}
    for name in sorted(set(redis) | set(valkey)):
        row = dict(redis.get(name) or valkey[name])
        other = valkey.get(name, row)
        row["origin"] = "REDIS" if name in redis else "VALKEY"
        row["arity_newer"] = row["arity"] if name.split("|")[0] in ONE_ARITY else other["arity"]
        row["subs"] = sorted(set(row["subs"]) | set(other["subs"]))
        for kind in ("request_policy", "response_policy"):
            row[kind] = policy(row["tips"], kind) or policy(other["tips"], kind) or "DEFAULT"
        if name in MAY_REPLICATE:
            row["flags"] = row["flags"] | {"may_replicate"}
        rows[name] = row
    order = [name for name in rows if "|" not in name]
    for name in list(order):
        order += rows[name]["subs"]
    return [rows[name] for name in order] + [own_row(name, OWN[name]) for name in sorted(OWN)]


def own_row(name, row):
    return {"name": name, "origin": "OWN", "arity_newer": row["arity"], "first": 0, "last": 0, "step": 0, "tips": [],
            "specs": [], "subs": [], "request_policy": "DEFAULT", "response_policy": "DEFAULT", **row}


def spec_positions(spec, argc):
    begin, find = as_dict(spec["begin_search"]), as_dict(spec["find_keys"])
    if begin["type"] != "index" or find["type"] != "range":
        return None
    first, how = as_dict(begin["spec"])["index"], as_dict(find["spec"])
    if how["limit"]:
        return None
    last = first + how["lastkey"] if how["lastkey"] >= 0 else argc + how["lastkey"]
    return list(range(first, last + 1, how["keystep"]))


def keys_simple(row):
    """All keys of every call are first..last by step, whichever way they are computed."""
    specs = [spec for spec in row["specs"] if "not_key" not in spec["flags"]]
    if not specs or len(specs) != len(row["specs"]) or row["first"] <= 0 or "movablekeys" in row["flags"]:
        return False
    fewest = abs(row["arity"])
    for argc in [fewest] if row["arity"] > 0 else range(fewest, fewest + 9):
        told = [spec_positions(spec, argc) for spec in specs]
        if None in told:
            return False
        last = row["last"] if row["last"] >= 0 else argc + row["last"]
        if sorted(sum(told, [])) != list(range(row["first"], last + 1, row["step"])):
            return False
    return True


# -------------------------------------------------------------------------------------------------------- lookup index

MASK = (1 << 64) - 1
INDEX_BITS = 11


def words_of(name):
    """The two words by which command.c knows a name: its first and (beyond 8 bytes) its last 8 bytes."""
    data = name.encode()
    head = int.from_bytes(data[:8], "little")
    tail = int.from_bytes(data[-8:], "little") if len(data) > 8 else 0
    return head, tail


def index_hash(name, scope, multiplier):
    head, tail = words_of(name)
    mixed = ((head ^ (tail << 1 & MASK) ^ (tail >> 63)) + scope + len(name)) * multiplier & MASK
    mixed ^= mixed >> 29
    return mixed * multiplier & MASK


def build_index(rows):
    """Open addressing with linear probing; the multiplier with the fewest steps of 64 candidates."""
    ids = {row["name"]: i for i, row in enumerate(rows)}
    best = None
    state = 0x9E3779B97F4A7C15
    for _ in range(64):
        state = (state * 6364136223846793005 + 1442695040888963407) & MASK
        multiplier = state | 1
        slots, steps = [None] * (1 << INDEX_BITS), 0
        for row in rows:
            container, _, sub = row["name"].partition("|")
            scope = ids[container] + 1 if sub else 0
            name = sub or container
            at = index_hash(name, scope, multiplier) >> (64 - INDEX_BITS)
            while slots[at]:
                at = (at + 1) % len(slots)
                steps += 1
            slots[at] = (name, scope, ids[row["name"]])
        if best is None or steps < best[0]:
            best = (steps, multiplier, slots)
    return best[1], best[2]


# ------------------------------------------------------------------------------------------------------------ printing


def text(value):
    if value is None:
        return "NULL"
    return '"%s"' % value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def bits(prefix, values, known):
    unknown = set(values) - set(known)
    if unknown:
        raise SystemExit("%s: the C table does not know %s" % (prefix, sorted(unknown)))
    return " | ".join(prefix + v.upper() for v in known if v in values) or "0"


class Pool:
    """Runs of rows in one flat array; the same run is stored once."""

    def __init__(self):
        self.rows, self.starts = [], {}

    def add(self, run):
        run = tuple(run)
        if not run:
            return 0, 0
        if run not in self.starts:
            self.starts[run] = len(self.rows)
            self.rows += run
        return self.starts[run], len(run)


def spec_row(spec):
    begin, find = as_dict(spec["begin_search"]), as_dict(spec["find_keys"])
    start, how = as_dict(begin["spec"]), as_dict(find["spec"])
    numbers = {"range": ("lastkey", "keystep", "limit"), "keynum": ("keynumidx", "firstkey", "keystep"),
               "unknown": ()}[find["type"]]
    values = [how[n] for n in numbers] + [0] * (3 - len(numbers))
    return "KEY_SPEC(%s, %d, %s, %s, %d, %d, %d, %s, %s)" % (
        begin["type"].upper(), start.get("index", start.get("startfrom", 0)), text(start.get("keyword")),
        find["type"].upper(), *values, bits("KW_KEY_", spec["flags"], KEY_FLAGS), text(spec.get("notes")))


class ArgPool:
    """Argument trees flattened: the children of one list are neighbours, parents point at them by index."""

    def __init__(self):
        self.rows = []

    def add(self, args):
        start = len(self.rows)
        self.rows += [None] * len(args)
        for i, flat in enumerate(args):
            arg = as_dict(flat)
            first, count = self.add(arg.get("arguments", []))
            self.rows[start + i] = "ARG(%s, %s, %s, %s, %s, %s, %d, %d, %d)" % (
                text(arg["name"]), arg["type"].upper().replace("-", "_"), text(arg.get("token")),
                text(arg.get("since")), text(arg.get("deprecated_since")),
                bits("KW_ARG_", arg.get("flags", []), ["optional", "multiple", "multiple_token"]),
                arg.get("key_spec_index", -1), first, count)
        return start if args else 0, len(args)


def render(rows):
    specs, tips, history, args = Pool(), Pool(), Pool(), ArgPool()
    ids = {row["name"]: i for i, row in enumerate(rows)}
    commands, docs = [], []
    for row in rows:
        spec_at = specs.add(spec_row(spec) for spec in row["specs"])
        tip_at = tips.add("TIP(%s)" % text(tip) for tip in row["tips"])
        sub_at = (ids[row["subs"][0]] if row["subs"] else 0, len(row["subs"]))
        parent = row["name"].partition("|")[0]
        commands.append("COMMAND(%s)" % ", ".join(str(value) for value in (
            ids[row["name"]], text(row["name"]), len(row["name"]), row["arity"], row["arity_newer"],
            bits("KW_CMD_", row["flags"], FLAGS), bits("KW_ACL_", row["cats"], CATEGORIES), row["first"], row["last"],
            row["step"], str(keys_simple(row)).lower(), EXTRACTOR_OF.get(row["name"], "NONE"), *spec_at, *tip_at,
            row["request_policy"], row["response_policy"], *sub_at,
            ids[parent] if parent != row["name"] else -1, row["origin"])))
        doc = row["docs"]
        unknown = set(doc) - {"summary", "since", "group", "complexity", "doc_flags", "deprecated_since",
                              "replaced_by", "history", "arguments"}
        if unknown:
            raise SystemExit("%s: unknown field of COMMAND DOCS: %s" % (row["name"], sorted(unknown)))
        docs.append("DOC(%s, %s, %s, %s, %s, %s, %s, %d, %d, %d, %d)" % (
            text(doc["summary"]), text(doc["since"]), text(doc["group"]), text(doc.get("complexity")),
            bits("KW_DOC_", doc.get("doc_flags", []), ["deprecated", "syscmd"]), text(doc.get("deprecated_since")),
            text(doc.get("replaced_by")),
            *history.add("HISTORY(%s, %s)" % (text(a), text(b)) for a, b in doc.get("history", [])),
            *args.add(doc.get("arguments", []))))
    multiplier, slots = build_index(rows)
    index = []
    for at, slot in enumerate(slots):
        if slot:
            head, tail = words_of(slot[0])
            index.append("SLOT(%d, 0x%016xULL, 0x%016xULL, %d, %d, %d)" % (
                at, head, tail, slot[1], len(slot[0]), slot[2]))

    out = [HEADER]
    macros = ["KEY_SPEC", "TIP", "COMMAND", "SLOT", "HISTORY", "ARG", "DOC"]
    for macro in macros:
        out.append("#ifndef %s\n#define %s(...)\n#endif" % (macro, macro))
    out += ["", "#define KW_COMMAND_TABLE_COUNT %d" % len(rows), "#define KW_COMMAND_INDEX_BITS %d" % INDEX_BITS,
            "#define KW_COMMAND_INDEX_MULTIPLIER 0x%016xULL" % multiplier]
    for title, lines in (("Key specs. " + KEY_SPEC_HELP, specs.rows), ("Tips.", tips.rows),
                         ("Commands. " + COMMAND_HELP, commands), ("Lookup index. " + SLOT_HELP, index),
                         ("History: since, what changed.", history.rows), ("Arguments. " + ARG_HELP, args.rows),
                         ("Docs, one a command in the order above. " + DOC_HELP, docs)):
        out += ["", "/* %s */" % title] + list(lines)
    out += [""] + ["#undef " + macro for macro in macros]
    return "\n".join(out) + "\n"


HEADER = """\
/*
 * The command table: the union of the commands of Redis 7.0 and Valkey 8, as
 * these say themselves, and Keyway's own. Written by tests/tools/gen_commands.py; do not edit.
 * Rows are macros: whoever includes this defines those that it wants.
 */"""
KEY_SPEC_HELP = "begin, index or startfrom, keyword, find, its three numbers, flags, notes"
COMMAND_HELP = ("id, name, its length, arity, arity of the newer server, flags, categories, first key, last key, step, "
                "simple, extractor, key specs (first, count), tips, request policy, response policy, subcommands, "
                "parent, origin")
SLOT_HELP = "place, first 8 bytes of the name, last 8, container's id + 1, length, id"
ARG_HELP = "name, type, token, since, deprecated since, flags, key spec, sub-arguments (first, count)"
DOC_HELP = "summary, since, group, complexity, flags, deprecated since, replaced by, history, arguments"


def generate():
    redis = read_server(os.environ.get("KEYWAY_REDIS_SERVER", "redis-server"))
    valkey = read_server(os.environ.get("KEYWAY_VALKEY_SERVER", "valkey-server"))
    return render(merge(redis, valkey))


def main(argv):
    if argv not in ([], ["--check"]):
        sys.stderr.write(__doc__)
        return 2
    table = generate()
    if not argv:
        with open(TABLE, "w") as out:
            out.write(table)
        return 0
    with open(TABLE) as stored:
        lines = list(difflib.unified_diff(stored.read().splitlines(), table.splitlines(), "command_table.inc",
                                          "live servers", lineterm=""))
    for line in lines[:200]:
        print(line)
    return 1 if lines else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
