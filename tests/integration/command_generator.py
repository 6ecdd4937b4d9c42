"""
Random calls of every command that a server describes: from its argument specifications (command_specs.py), words that
fit (command_words.py), and for the few commands that their specifications do not tell enough about, a maker here.

A program is a list of steps. Steps come in units: a command and, if what it left behind is not determined, a repair; a
transaction; a subscription from start to end. Names come from a shuffled deck, so that every command has its turn. The
keys of a command share a hash tag, but for the commands that are split over slots.
"""

import hashlib
import random

import command_words as words
from command_rules import RULES, exact, unordered_deeply
from harness import slot_of, to_bytes

TAGS = 5
SPLIT = {"mget", "mset", "del", "unlink", "exists", "touch"}

KEY_TYPES = {
    "string": "str", "bitmap": "str", "hash": "hash", "list": "list", "set": "set", "sorted-set": "zset", "stream": "stream",
    "hyperloglog": "hll", "geo": "geo",
}  # fmt: skip
ALL_TYPES = ["str", "hash", "list", "set", "zset", "stream", "hll", "geo", "int"]
KEYS_A_TYPE = 2

# Through Keyway these are refused, by design: the beginning of the error and why. The judge never sees them.
NOT_SUPPORTED = "ERR '%s' is not supported through Keyway"
NODE = "it would act on one node of the cluster, behind the back of whoever runs it"
REPLICATION = "replication goes from node to node"
REFUSED = {
    "bgrewriteaof": NODE,
    "bgsave": NODE,
    "save": NODE,
    "debug": NODE,
    "shutdown": NODE,
    "failover": NODE,
    "replicaof": NODE,
    "slaveof": NODE,
    "migrate": "slots are moved by the cluster's own tools",
    "module|load": NODE,
    "module|loadex": NODE,
    "module|unload": NODE,
    "pfdebug": NODE,
    "pfselftest": NODE,
    "move": "there is one database only",
    "swapdb": "there is one database only",
    "psync": REPLICATION,
    "replconf": REPLICATION,
    "sync": REPLICATION,
    "restore-asking": "redirects are Keyway's own business",
    "acl|setuser": "users are the configuration's",
    "acl|deluser": "users are the configuration's",
    "acl|load": "users are the configuration's",
    "acl|save": "users are the configuration's",
}

# What needs more than a reply to a call: the test of test_every_command.py that covers it.
OWN_TEST = {
    "monitor": "test_monitor: the connection becomes a stream",
    "quit": "test_quit: the connection ends",
    "script|debug": "test_script_debug: a debugger session needs a node of its own",
    "config|rewrite": "test_config_rewrite: a file of its own on either side",
    "asking": "test_cluster_clients: the judge has cluster support disabled",
    "readonly": "test_cluster_clients: the judge has cluster support disabled",
    "readwrite": "test_cluster_clients: the judge has cluster support disabled",
}
# Never a reply that is not an error, for want of what it needs; counted as covered all the same.
ALWAYS_ERROR = {
    "script|kill": "no script runs when a connection can ask",
    "function|kill": "no function runs when a connection can ask",
    "latency|graph": "no event was ever sampled",
}

# The random part of their effect is undone by deleting the keys they wrote.
RANDOM_EFFECT = {"spop": 1, "xadd": 1}

SCRIPTS = [
    b"return redis.call(unpack(ARGV))",
    b"return redis.pcall(unpack(ARGV))",
    b"redis.setresp(3); return redis.call(unpack(ARGV))",
    b"local r = redis.pcall(unpack(ARGV)); if type(r) == 'table' and r.err then return r.err end; return {KEYS[1], r}",
]
FIXED_SCRIPTS = [
    b"return {1, 'two', {3, false}, 4.9, true, nil, 5}",
    b"return #KEYS + #ARGV",
    b"return redis.error_reply('MINE it is')",
    b"return redis.status_reply('FINE')",
    b"return {err='ERR own'}",
    b"return {double=3.5}",
    b"return (",
    b"return nosuchglobal",
    b"return redis.call('NOSUCH')",
    b"return redis.call()",
    b"return redis.call('get')",
    b"#!lua flags=no-writes\nreturn redis.call('set', KEYS[1], 'x')",
    b"#!lua name=x\nreturn 1",
    b"redis.setresp(3); return {map={a=1}, double=2.5}",
    b"redis.setresp(3); return {map={a=1}}",
    b"redis.setresp(3); return {set={a=true}}",
    b"redis.setresp(3); return {double=2.5}",
    b"return redis.sha1hex(ARGV[1] or '')",
    b"return redis.call('ping')",
    b"return redis.pcall('echo', 'x')",
    b"return redis.call('multi')",
    b"return redis.pcall('subscribe', 'x')",
    b"return redis.call('type', KEYS[1])",
    b"return redis.call('type', KEYS[1]).ok",
    b"return type(redis.pcall('incr', KEYS[1]))",
]  # fmt: skip
LIBRARIES = [
    b"#!lua name=libone\nredis.register_function('fone', function(k, a) return {k, a} end)",
    b"#!lua name=libtwo\nredis.register_function{function_name='ftwo', callback=function(k, a)"
    b" return redis.call('GET', k[1]) end, flags={'no-writes'}}",
    b"#!lua name=libone\nredis.register_function('fone', function(k, a) return redis.pcall(unpack(a)) end)",
    b"#!lua name=libone\nredis.register_function('ftwo', function(k, a) return 1 end)",
    b"#!lua name=bad name\nreturn 1",
    b"#!nosuch name=x\nreturn 1",
    b"return 1",
    b"#!lua name=empty\nlocal x = 1",
]


class Step:
    """One command of a program, and how its reply is judged."""

    __slots__ = ("argv", "name", "rule", "replies", "inner", "refused", "may_refuse")

    def __init__(self, argv, name, rule=exact, replies=1, inner=None, refused=None, may_refuse=None):
        self.argv = [to_bytes(a) for a in argv]
        self.name = name
        self.rule = rule
        self.replies = replies  # how many replies the command has; 0 for some CLIENT REPLY
        self.inner = inner  # of EXEC: the rules of what was queued
        self.refused = refused  # only Keyway sees it; the error must begin like this
        self.may_refuse = may_refuse  # errors that begin like this are right too


def rule_of(name):
    return RULES.get(name, (exact,))[0]


class Generator:
    """Programs for one connection, from one seed."""

    def __init__(self, seed, specs, protocol, keys_of, payloads, refusals=True):
        self.r = random.Random(seed)
        self.specs = specs
        self.protocol = protocol
        self.keys_of = keys_of  # argv -> the keys that the judge finds in it
        self.payloads = payloads  # for RESTORE
        self.stream_id = 0
        self.tag = None
        self.spec = None
        self.deck = []
        self.refused_deck = []
        self.rare_done = set()
        self.callable = [n for n in sorted(specs.callable) if self.generated(n)]
        self.keyed = [n for n in self.callable if specs.callable[n].keyed]
        self.refusals = [n for n in sorted(REFUSED) if n in specs.callable] if refusals else []

    @staticmethod
    def generated(name):
        return name not in REFUSED and name not in OWN_TEST and not name.startswith("cluster|")

    # ------------------------------------------------------------------------------------------------------- keys

    def new_tag(self):
        self.tag = "t%d" % self.r.randrange(TAGS)

    def key(self, kind=None):
        """A key of the tag: mostly of a type that fits."""
        x = self.r.random()
        if self.favourite and x < 0.6:
            return self.favourite
        if kind is None or x < 0.08:
            kind = self.r.choice(ALL_TYPES)
        if x > 0.97:
            kind = "none"
        return "{%s}%s%d" % (self.tag, kind, self.r.randrange(KEYS_A_TYPE))

    def key_for(self, spec):
        kind = KEY_TYPES.get(spec.group)
        if kind == "zset" and "store" not in spec.name and spec.name.startswith(("zu", "zi")) and self.r.random() < 0.2:
            kind = "set"
        if kind == "str" and self.r.random() < 0.4 and spec.name.startswith(("inc", "dec", "get", "set", "app")):
            kind = "int"
        if spec.name.startswith("sort"):
            kind = self.r.choice(["list", "set", "zset"])
        if spec.name in SPLIT and self.r.random() < 0.7:
            tag, self.tag = self.tag, "t%d" % self.r.randrange(TAGS)
            key, self.tag = self.key(kind), tag
            return key
        return self.key(kind)

    def fill(self, kind=None):
        """Steps that give a key of the tag what its name says."""
        kind = kind or self.r.choice(ALL_TYPES)
        key = "{%s}%s%d" % (self.tag, kind, self.r.randrange(KEYS_A_TYPE))
        some = [words.member(self) for _ in range(self.r.randint(2, 5))]
        steps = [["DEL", key]]
        if kind == "str":
            steps.append(["SET", key, self.r.choice(words.VALUES)])
        elif kind == "int":
            steps.append(["SET", key, self.r.choice(words.INTEGERS)])
        elif kind == "hash":
            steps.append(["HSET", key] + [x for m in some for x in (m, words.value(self))])
        elif kind == "list":
            steps.append(["RPUSH", key] + some + some[:1])
        elif kind == "set":
            steps.append(["SADD", key] + self.r.choice([some, ["1", "2", "30", "-4"]]))
        elif kind == "zset":
            steps.append(["ZADD", key] + [x for m in some for x in (self.r.choice(words.DOUBLES), m)])
        elif kind == "hll":
            steps.append(["PFADD", key] + some)
        elif kind == "geo":
            places = zip(("13.361389", "15.087269", "2.35", "-122.4"), ("38.115556", "37.502669", "48.85", "37.8"))
            steps.append(["GEOADD", key] + [x for i, at in enumerate(places) for x in (*at, "m%d" % i)])
        elif kind == "stream":
            for _ in range(3):
                self.stream_id += 1
                steps.append(["XADD", key, "%d-1" % self.stream_id, "f", self.r.choice(words.VALUES)])
            steps.append(["XGROUP", "CREATE", key, "g0", "0"])
            steps.append(["XREADGROUP", "GROUP", "g0", "c0", "COUNT", "2", "STREAMS", key, ">"])
        return [self.plain(argv) for argv in steps]

    # -------------------------------------------------------------------------------------------------- arguments

    def arguments(self, args, ctx):
        out = []
        for i, arg in enumerate(args):
            flags = arg.get("flags", [])
            follows = args[i + 1] if i + 1 < len(args) else {}
            if arg["name"] == b"numkeys":
                ctx["keys"] = self.r.randint(1, 3)
            if b"optional" in flags and "keys" not in ctx and self.r.random() < 0.6:
                continue
            if b"optional" in flags and "keys" in ctx and arg["type"] != b"key" and self.r.random() < 0.6:
                continue
            if follows.get("name") == b"id" and b"multiple" in arg.get("flags", []) and arg["type"] == b"key":
                ctx["keys"] = ctx["ids"] = self.r.randint(1, 2)
            out += self.argument(arg, ctx)
        return out

    def times(self, arg, ctx):
        if b"multiple" not in arg.get("flags", []):
            return 1
        if arg["type"] == b"key" and "keys" in ctx or arg["name"] == b"weight":
            return ctx["keys"]
        if arg["name"] == b"id" and "ids" in ctx:
            return ctx["ids"]
        return self.r.choice([1, 1, 1, 2, 2, 3, 5])

    def argument(self, arg, ctx):
        out = []
        token = arg.get("token")
        every_time = b"multiple_token" in arg.get("flags", [])
        for turn in range(self.times(arg, ctx)):
            if token is not None and arg["type"] != b"pure-token" and (turn == 0 or every_time):
                out.append(token)
            out += self.one(arg, ctx)
        return out

    def one(self, arg, ctx):
        kind = arg["type"]
        if kind == b"pure-token":
            return [arg["token"]]
        if kind == b"oneof":
            return self.argument(self.r.choice(arg["arguments"]), ctx)
        if kind == b"block":
            return self.arguments(arg["arguments"], ctx)
        if kind == b"key":
            return [self.key_for(self.spec)]
        if arg["name"] == b"numkeys":
            wrong = self.r.random() < 0.04
            return [self.r.choice(["0", "-1", "x", "5", "", "1"]) if wrong else ctx["keys"]]
        return [words.word(self, arg)]

    def call(self, name):
        """A call of a command, valid as far as its specification tells: its words."""
        self.spec = self.specs.callable[name]
        maker = MAKERS.get(name)
        rest = maker(self) if maker else self.arguments(self.spec.args, {})
        return [to_bytes(w) for w in self.spec.words + list(rest)]

    # ---------------------------------------------------------------------------------------------------- mistakes

    def mistaken(self, argv, spec):
        """The call with a mistake in it."""
        argv = list(argv)
        first = len(spec.words)
        what = self.r.randrange(6)
        if what == 0:
            del argv[max(first, self.r.randrange(len(argv))) :]
        elif what == 1 and len(argv) > first:
            del argv[self.r.randrange(first, len(argv))]
        elif what == 2:
            argv.append(to_bytes(self.r.choice(["extra", "{%s}str0" % self.tag, "NX", "WITHSCORES", ""])))
        elif what == 3 and len(argv) > first:
            argv[self.r.randrange(first, len(argv))] = to_bytes(self.r.choice(["nosuchword", "", "\x00", "1.5.2"]))
        elif what == 4:
            argv += [to_bytes(w) for w in self.arguments(spec.args, {})[-self.r.randint(1, 3) :]]
        elif len(argv) > first + 1:
            i = self.r.randrange(first, len(argv) - 1)
            argv[i], argv[i + 1] = argv[i + 1], argv[i]
        return argv

    def harmless(self, argv, spec, one_slot):
        """Whether a mistaken call has its keys where they belong, and cannot block for long."""
        if "blocking" in spec.flags or spec.name in ("wait", "client|pause"):
            return len(argv) < 3  # what became of the time-out is hard to tell
        if argv[: len(spec.words)] != spec.words or spec.name == "client|kill":
            return False  # another command, or fewer conditions than meant
        if self.inner_call:
            return False  # the script would run with what is left of its arguments
        if any(a.upper() in (b"BY", b"GET", b"DB") for a in argv[2:]) and spec.name in ("sort", "sort_ro", "copy"):
            return False  # refused in cluster mode
        if spec.name in ("setex", "psetex", "restore") and len(argv) > 2 and words.near_future(argv[2]):
            return False  # a value became the time: the key would expire on one side before it does on the other
        if spec.name.startswith("georadius") and any(a.upper().startswith(b"STORE") for a in argv[2:]):
            return False  # a node looks for the slot of what it takes for a key before it sees the mistake
        return self.in_place(argv, spec, one_slot)

    def in_place(self, argv, spec, one_slot):
        """Whether the keys that Redis sees in a call share a slot, or that of the tag."""
        slots = {slot_of(k) for k in self.keys_of(argv)}
        if one_slot:
            return slots <= {slot_of("{%s}" % self.tag)}
        return len(slots) <= 1 or spec.name in SPLIT

    def spelled(self, argv, spec):
        """The name in lower, upper or mixed case."""
        style = self.r.random()
        if style < 0.4:
            return argv
        n = len(spec.words)
        change = bytes.upper if style < 0.9 else bytes.swapcase
        return [change(w) for w in argv[:n]] + argv[n:]

    def command(self, name, one_slot=False):
        """A call as a step: mostly valid."""
        spec = self.specs.callable[name]
        self.inner_call = False
        argv = self.call(name)
        while ("movablekeys" in spec.flags or one_slot and name in SPLIT) and not self.in_place(argv, spec, one_slot):
            argv = self.call(name)  # a wrong number of keys made a key of another word
        if self.r.random() < 0.15:
            for _ in range(4):
                wrong = self.mistaken(argv, spec)
                if self.harmless(wrong, spec, one_slot):
                    argv = wrong
                    break
        return Step(self.spelled(argv, spec), name, self.rule_for(name, argv), self.reply_count(name, argv))

    def rule_for(self, name, argv):
        if name in ("sort", "sort_ro") and not any(a.upper() == b"BY" for a in argv[2:]):
            return exact
        if name == "xadd" and b"*" not in argv:
            return exact
        if name.startswith(("eval", "fcall")):
            return self.inner_rule
        return rule_of(name)

    @staticmethod
    def reply_count(name, argv):
        if name in ("subscribe", "psubscribe", "ssubscribe", "unsubscribe", "punsubscribe", "sunsubscribe"):
            return max(1, len(argv) - 1)
        return 1

    def repairs(self, step):
        """What undoes the random part of a command's effect."""
        name = step.name
        argv = step.argv
        key = argv[1] if len(argv) > 1 else None
        if name.startswith(("eval", "fcall")) and self.inner_random:
            return [Step(["DEL", self.inner_random], "del")]
        if name in RANDOM_EFFECT and (name != "xadd" or b"*" in argv):
            undo = ["DEL", key]
        elif name == "set" and any(a.upper() in (b"EXAT", b"PXAT") for a in argv[3:]):
            # A time in the past leaves a key that DBSIZE counts, until somebody looks at it or a timer does.
            undo = ["EXISTS", key]
        elif name in ("sort", "sort_ro"):
            # Makes a skip list of a sorted set. Its levels are random, and they decide what a range by name finds in
            # it where scores differ. What is stored anew is a list again.
            undo = ["ZRANGESTORE", key, key, "0", "-1"]
        else:
            return []
        # A mistaken call may have no key, or another word in its place.
        return [self.plain(undo)] if key in self.keys_of(argv) else []

    # ------------------------------------------------------------------------------------------------------- units

    inner_rule = staticmethod(exact)
    inner_random = None
    inner_call = False
    favourite = None  # a key that has just been filled for the next command

    def script_arguments(self):
        """numkeys, keys and a command as arguments, for a script that runs it."""
        outer = self.spec
        name = self.r.choice(self.keyed)
        while "noscript" in self.specs.callable[name].flags and self.r.random() < 0.9 or name in SPLIT:
            name = self.r.choice(self.keyed)
        step = self.command(name, one_slot=True)
        self.inner_rule = unordered_deeply if step.rule is not exact else exact
        if step.name in LOOSE_IN_SCRIPTS:
            self.inner_rule = lambda _want, _got: True
        undo = self.repairs(step)
        self.inner_random = undo[0].argv[1] if undo else None
        self.spec = outer
        self.inner_call = True
        keys = self.keys_of(step.argv) or ["{%s}str0" % self.tag]
        return [len(keys)] + keys + step.argv

    def unit(self):
        """The next steps that belong together."""
        x = self.r.random()
        if x < 0.01:
            self.new_tag()
        if x < 0.10:
            return self.fill()
        if x < 0.16:
            return self.transaction()
        if x < 0.17:
            return self.subscription()
        if x < 0.18:
            return self.unknown()
        if x < 0.20 and self.refusals:
            return self.refused()
        if x < 0.205:
            return self.quiet()
        if x < 0.21:
            return self.queued_without_key()
        if not self.deck:
            self.deck = self.callable + self.keyed * 2
            self.r.shuffle(self.deck)
        return self.single(self.deck.pop())

    def single(self, name):
        self.inner_random = None
        if name in self.rare_done and self.r.random() < 0.8:
            return []
        if name in RARE:
            self.rare_done.add(name)
        kind = KEY_TYPES.get(self.specs.callable[name].group)
        before = self.fill(kind) if kind and self.r.random() < 0.2 else []
        self.favourite = before[0].argv[1].decode() if before else None
        step = self.command(name)
        self.favourite = None
        return before + [step] + self.repairs(step) + [self.plain(argv) for argv in self.aftermath(name)]

    def plain(self, argv):
        """A step of words as they are."""
        name = "|".join(argv[:2]).lower() if argv[0].lower() in self.specs.containers else argv[0].lower()
        return Step(argv, name, rule_of(name))

    def aftermath(self, name):
        """Back to the connection that the other steps expect."""
        if name in ("hello", "reset", "auth", "subscribe", "psubscribe", "ssubscribe"):
            return [["RESET"]] + ([["HELLO", "3"]] if self.protocol == 3 else [])
        if name == "multi":
            return [["DISCARD"]]
        if name == "watch":
            return [["UNWATCH"]]
        if name == "client|tracking":
            return [["CLIENT", *rest] for rest in (["CACHING", "YES"], ["TRACKINGINFO"], ["GETREDIR"], ["TRACKING", "OFF"])]
        return []

    def hello_step(self):
        return [Step(["HELLO", 3], "hello", rule_of("hello"))] if self.protocol == 3 else []

    def transaction(self):
        """MULTI ... EXEC in one slot, now and then WATCHed, discarded, or with mistakes."""
        steps, inner = [], []
        if self.r.random() < 0.3:
            steps.append(Step(["WATCH"] + [self.key() for _ in range(self.r.randint(1, 2))], "watch"))
            if self.r.random() < 0.5:
                steps += self.keyed_steps()
        steps.append(Step(["MULTI"], "multi"))
        for _ in range(self.r.choice([0, 1, 2, 3, 5, 8])):
            for step in self.keyed_steps():
                inner.append(step.rule)
                step.rule = exact  # +QUEUED, or an error
                steps.append(step)
        if self.r.random() < 0.1:
            wrong = self.r.choice([["MULTI"], ["WATCH", self.key()], ["NOSUCH", "x"], ["GET"]])
            steps.append(Step(wrong, "multi"))
        end = "DISCARD" if self.r.random() < 0.1 else "EXEC"
        steps.append(Step([end], end.lower(), inner=inner if end == "EXEC" else None))
        return steps

    def queued_without_key(self):
        """
        Commands about the server or the connection inside a transaction: a transaction runs on one node, so Keyway may
        refuse what it answers itself, or from several nodes.
        """
        names = [n for n in self.callable if n not in self.keyed and n not in NOT_QUEUED]
        step = self.command(self.r.choice(names))
        inner = [step.rule]
        step.rule, step.may_refuse = exact, NOT_SUPPORTED % step.name
        end = Step(["EXEC"], "exec", inner=inner, may_refuse="EXECABORT")
        return [Step(["MULTI"], "multi"), step, end]

    def keyed_steps(self):
        x = self.r.random()
        if x < 0.05:
            return [Step(self.r.choice([["PING"], ["PING", "x"], ["ECHO", "y"]]), "ping")]
        step = self.command(self.r.choice(self.keyed), one_slot=True)
        while step.name.startswith(("eval", "fcall")) or step.name == "watch":
            step = self.command(self.r.choice(self.keyed), one_slot=True)
        return [step] + self.repairs(step)

    def subscription(self):
        """A subscribed connection: in RESP2 little else is allowed."""
        verb = self.r.choice(["SUBSCRIBE", "PSUBSCRIBE", "SSUBSCRIBE"])
        name = "sc" if verb == "SSUBSCRIBE" else "ch"
        channels = ["{%s}%s%d" % (self.tag, name, i) for i in range(self.r.randint(1, 3))]
        steps = [Step([verb] + channels, verb.lower(), replies=len(channels))]
        for _ in range(self.r.randint(0, 5)):
            argv = self.r.choice(
                [["PING"], ["PING", "x"], ["GET", self.key("str")], ["ECHO", "x"], [verb, channels[0]], ["MULTI"],
                 ["PUBSUB", "NUMPAT"], ["NOSUCH"], ["GET"], ["DISCARD"]]
            )  # fmt: skip
            steps.append(Step(argv, "subscribed"))
            if argv[0] == "MULTI" and self.protocol == 3:
                steps.append(Step(["DISCARD"], "discard"))
        gone = {"SUBSCRIBE": "UNSUBSCRIBE", "PSUBSCRIBE": "PUNSUBSCRIBE", "SSUBSCRIBE": "SUNSUBSCRIBE"}[verb]
        x = self.r.random()
        if x < 0.5:
            steps.append(Step([gone] + channels, gone.lower(), replies=len(channels)))
        elif x < 0.8:
            steps.append(Step([gone], gone.lower(), replies=len(channels), rule=rule_of(gone.lower())))
        return steps + [Step(["RESET"], "reset")] + self.hello_step()

    def quiet(self):
        """CLIENT REPLY: commands without a reply."""
        mute = [Step(["SET", self.key("str"), "quiet"], "set", replies=0)]
        if self.r.random() < 0.5:
            return [Step(["CLIENT", "REPLY", "SKIP"], "client|reply", replies=0)] + mute
        return [
            Step(["CLIENT", "REPLY", "OFF"], "client|reply", replies=0),
            *mute,
            Step(["CLIENT", "REPLY", "SKIP"], "client|reply", replies=0),
            *mute,
            Step(["CLIENT", "REPLY", "ON"], "client|reply"),
        ]

    def unknown(self):
        """What no server knows: commands, subcommands, containers alone."""
        container = self.r.choice(sorted(self.specs.containers - {"cluster", "module", "debug"}))
        argv = self.r.choice(
            [["NOSUCH"], ["nosuch", "a", "b" * 200], [container], [container, "NOSUCH"], [container, "nosuch", "x", "y"],
             [""], ["x" * 300], ["no\r\nsuch", "\x00"], [container, ""], ["GET|SET", "x"], [container + "|help"]]
        )  # fmt: skip
        if argv == ["command"] or argv == ["COMMAND"]:
            return [Step(argv, "command", unordered_deeply)]
        return [Step(argv, "unknown")]

    def refused(self):
        if not self.refused_deck:
            self.refused_deck = list(self.refusals)
            self.r.shuffle(self.refused_deck)
        name = self.refused_deck.pop()
        argv = self.call(name)
        spec = self.specs.callable[name]
        while len(argv) < abs(spec.arity):
            argv.append(b"x")
        if spec.arity > 0:
            argv = argv[: spec.arity]
        return [Step(argv, name, refused=NOT_SUPPORTED % name)]

    def program(self, count):
        """About count steps, beginning with some data."""
        self.new_tag()
        steps = []
        for kind in ALL_TYPES:
            steps += self.fill(kind)
        while len(steps) < count:
            steps += self.unit()
        return steps


# Too slow, or forgetting too much, for every turn of the deck.
RARE = {"flushall", "flushdb", "script|flush", "function|flush", "command", "command|docs", "command|info", "command|list",
        "memory|malloc-stats", "client|pause", "memory|purge"}  # fmt: skip

# Not for a transaction of a single command: these change the connection, or have no single reply.
NOT_QUEUED = {
    "auth", "client|reply", "client|tracking", "discard", "exec", "hello", "multi", "psubscribe", "punsubscribe", "reset",
    "script|flush", "function|flush", "ssubscribe", "subscribe", "sunsubscribe", "unsubscribe", "unwatch", "select",
    # Refused by Keyway inside MULTI, and what they change at the judge would be missed by the steps that follow.
    "config|set", "flushall", "flushdb", "function|delete", "function|load", "function|restore", "script|load",
}  # fmt: skip

# Inside a script and under a rule that needs the form of the reply: only that there is one.
LOOSE_IN_SCRIPTS = {
    "spop", "srandmember", "hrandfield", "zrandmember", "dump", "ttl", "pttl", "expiretime", "pexpiretime", "xadd", "sscan",
    "hscan", "zscan", "object|idletime", "memory|usage", "xinfo|stream", "xinfo|consumers", "xpending",
}  # fmt: skip


# ------------------------------------------------------------- makers, for what a specification does not tell enough


def _eval(g):
    if g.r.random() < 0.3:
        g.inner_rule, g.inner_random = exact, None
        keys = [g.key() for _ in range(g.r.randint(0, 2))]
        count = len(keys) if g.r.random() < 0.9 else g.r.choice(["x", "-1", "9", ""])
        return [g.r.choice(FIXED_SCRIPTS), count] + keys + ["a"] * g.r.randrange(3)
    return [g.r.choice(SCRIPTS)] + g.script_arguments()


def _evalsha(g):
    script = g.r.choice(SCRIPTS)
    digest = hashlib.sha1(script).hexdigest() if g.r.random() < 0.9 else g.r.choice(words.SHA)
    return [digest] + g.script_arguments()


def _fcall(g):
    g.inner_rule, g.inner_random = exact, None
    if g.r.random() < 0.5:
        return [g.r.choice(["fone", "FONE"])] + g.script_arguments()
    keys = [g.key("str") for _ in range(g.r.randint(0, 2))]
    return [g.r.choice(["fone", "ftwo", "nosuch"]), len(keys)] + keys + ["ping"]


def _sha(g):
    return g.r.choice([hashlib.sha1(s).hexdigest() for s in SCRIPTS] + words.SHA)


def _sort(g):
    out = [g.key(g.r.choice(["list", "set", "zset", "list", None]))]
    by = g.r.random() < 0.15
    if by:
        out += ["BY", "nosort"]
    if not by and g.r.random() < 0.3:
        out += ["LIMIT", words.integer(g), words.integer(g)]
    if g.r.random() < 0.4:
        out.append(g.r.choice(["ASC", "DESC", "desc"]))
    if g.r.random() < 0.7:
        out.append("ALPHA")
    if g.spec.name == "sort" and g.r.random() < 0.3:
        out += ["STORE", g.key("list")]
    return out


def _getkeys(g):
    spec = g.spec
    argv = g.call(g.r.choice(g.keyed))
    if g.r.random() < 0.1:
        argv = g.r.choice([["ping"], ["nosuch", "x"], ["get"], ["config"]])
    g.spec = spec
    return argv


def _restore(g):
    payload = g.r.choice(g.payloads)
    if g.r.random() < 0.1:
        payload = g.r.choice([b"", b"junk", payload[:-1] + b"\x00"])
    out = [g.key(), words.restore_ttl(g), payload]
    tokens = [["REPLACE"], ["ABSTTL"], ["IDLETIME", g.r.choice(["0", "30", "-1", "x"])], ["FREQ", g.r.choice(["3", "256"])]]
    for token in tokens:
        if g.r.random() < 0.3 or token == ["REPLACE"] and g.r.random() < 0.6:
            out += token
    return out


def _copy(g):
    out = [g.key(), g.key()]
    if g.r.random() < 0.2:
        out += ["DB", g.r.choice(["0", "0", "x"])]
    return out + (["REPLACE"] if g.r.random() < 0.5 else [])


def _config_get(g):
    some = ["hash-max-*", "maxmemory-samples", "nosuch*", "list-max-listpack-size", "set-max-intset-entries", "lfu-*",
            "LIST-compress-depth", "hz", "zset-*"]  # fmt: skip
    return g.r.sample(some, g.r.randint(1, 2))


def _config_set(g):
    pairs = [["lfu-decay-time", "1"], ["lfu-log-factor", "10"], ["maxmemory-samples", "x"], ["lfu-log-factor", "-1"],
             ["nosuch", "1"], ["lfu-decay-time", "x"], ["lfu-decay-time"], ["list-compress-depth", "0"],
             ["activerehashing", "maybe"]]  # fmt: skip
    return [w for pair in g.r.sample(pairs, g.r.randint(1, 2)) for w in pair]


def _client_kill(g):
    some = [["127.0.0.1:1"], ["ID", "987654321"], ["ADDR", "1.2.3.4:5"], ["LADDR", "1.2.3.4:5"], ["USER", "nobody"],
            ["TYPE", "master"], ["ID", "x"], ["TYPE", "nosuch"], ["SKIPME", "yes", "ID", "987654321"], ["SKIPME", "maybe"],
            ["ID", "987654321", "ADDR", "1.2.3.4:5"], ["NOSUCH", "x"]]  # fmt: skip
    return g.r.choice(some)


def _client_list(g):
    return g.r.choice([[], ["TYPE", "normal"], ["TYPE", "nosuch"], ["ID", "x"], ["NOSUCH"], ["TYPE"], ["TYPE", "pubsub"]])


def _client_tracking(g):
    return g.r.choice(
        [["ON"], ["ON", "OPTIN"], ["ON", "OPTIN"], ["ON", "OPTIN"], ["ON", "OPTOUT"], ["ON", "NOLOOP"], ["OFF"], ["maybe"],
         ["ON", "BCAST"], ["ON", "BCAST", "PREFIX", "nosuch:"], ["ON", "OPTIN", "OPTOUT"], ["ON", "BCAST", "OPTIN"],
         ["ON", "PREFIX", "x"], ["ON", "REDIRECT", "987654321"], ["ON", "REDIRECT", "x"],
         ["ON", "BCAST", "PREFIX", "a", "PREFIX", "ab"]]
    )  # fmt: skip


def _hello(g):
    return g.r.choice([[], ["2"], ["3"], ["4"], ["x"], ["3", "SETNAME", "me"], ["2", "AUTH", "default", "x"], ["3", "AUTH"],
                       ["3", "NOSUCH"], ["3", "SETNAME", "a b"], ["2", "AUTH", "nobody", "x"]])  # fmt: skip


def _select(g):
    return [g.r.choice(["0", "0", "x", "-1", "16", "99", ""])]


def _auth(g):
    return g.r.choice([["x"], ["default", "x"], ["nobody", "x"], ["", ""]])


def _function_load(g):
    return (["REPLACE"] if g.r.random() < 0.5 else []) + [g.r.choice(LIBRARIES[:2] * 3 + LIBRARIES)]


def _function_restore(g):
    policy = g.r.choice([[], ["FLUSH"], ["APPEND"], ["REPLACE"], ["X"]])
    return [g.r.choice([g.payloads[-1], g.payloads[-1], b"junk", b""])] + policy


def _zrange(g):
    mode = g.r.choice(["", "", "BYSCORE", "BYLEX"])
    word = {"": words.integer, "BYSCORE": words.bound, "BYLEX": words.lex}[mode]
    out = [g.key("zset")] + ([g.key("zset")] if g.spec.name == "zrangestore" else []) + [word(g), word(g)]
    if mode:
        out.append(mode)
    if g.r.random() < 0.3:
        out.append("REV")
    if mode and g.r.random() < 0.3 or g.r.random() < 0.03:
        out += ["LIMIT", words.integer(g), words.integer(g)]
    if g.spec.name == "zrange" and g.r.random() < 0.3:
        out.append("WITHSCORES")
    return out


def _script_load(g):
    return [g.r.choice(SCRIPTS + FIXED_SCRIPTS)]


def _client_reply(g):
    return [g.r.choice(["ON", "ON", "maybe"])]


def _wait(g):
    return [g.r.choice(["0", "0", "-1", "x", "0"]), words.timeout_ms(g)]


MAKERS = {
    "auth": _auth,
    "client|kill": _client_kill,
    "client|list": _client_list,
    "client|reply": _client_reply,
    "client|tracking": _client_tracking,
    "command|getkeys": _getkeys,
    "command|getkeysandflags": _getkeys,
    "config|get": _config_get,
    "config|set": _config_set,
    "copy": _copy,
    "eval": _eval,
    "eval_ro": _eval,
    "evalsha": _evalsha,
    "evalsha_ro": _evalsha,
    "fcall": _fcall,
    "fcall_ro": _fcall,
    "function|load": _function_load,
    "function|restore": _function_restore,
    "hello": _hello,
    "restore": _restore,
    "script|exists": lambda g: [_sha(g) for _ in range(g.r.randint(1, 3))],
    "script|load": _script_load,
    "select": _select,
    "sort": _sort,
    "sort_ro": _sort,
    "wait": _wait,
    "zrange": _zrange,
    "zrangestore": _zrange,
}
