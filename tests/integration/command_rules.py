"""
What "the same reply" means. Replies are compared as raw bytes; a command whose reply is not determined by what it was
given has a rule here, with its reason. Errors are never under a rule: their bytes must be equal.

A reply is parsed to (kind, data): kind is the RESP type byte, data bytes, or a list for what has elements (a map is
the flat list of its keys and values), or None for the nulls of RESP2.
"""

AGGREGATES = b"*~%>"
MINUTE = 60000
EPOCH = 10**11  # milliseconds: larger numbers are points in time


def parse(raw, pos=0):
    """One reply from position pos on: ((kind, data), position behind it)."""
    end = raw.index(b"\r\n", pos)
    kind, rest, pos = raw[pos : pos + 1], raw[pos + 1 : end], end + 2
    if kind in (b"$", b"=", b"!"):
        if rest == b"-1":
            return (kind, None), pos
        return (kind, raw[pos : pos + int(rest)]), pos + int(rest) + 2
    if kind not in (b"*", b"~", b"%", b">"):
        return (kind, rest), pos
    if rest == b"-1":
        return (kind, None), pos
    items = []
    for _ in range(int(rest) * (2 if kind == b"%" else 1)):
        item, pos = parse(raw, pos)
        items.append(item)
    return (kind, items), pos


def values(raw):
    """Every reply in the bytes."""
    pos, out = 0, []
    while pos < len(raw):
        value, pos = parse(raw, pos)
        out.append(value)
    return out


def is_error(value):
    return value[0] in (b"-", b"!")


def is_list(value):
    return isinstance(value[1], list)


# ------------------------------------------------------------------------------------------------------- the rules
# Each takes (want, got), parsed, of which neither is an error.


def exact(want, got):
    return want == got


def unordered(want, got):
    """The same elements in any order."""
    return want[0] == got[0] and is_list(want) and is_list(got) and sorted(map(repr, want[1])) == sorted(map(repr, got[1]))


def unordered_pairs(want, got):
    """The same pairs in any order: a RESP3 map, or its flat RESP2 form."""

    def pairs(value):
        return sorted(repr(p) for p in zip(value[1][::2], value[1][1::2]))

    return want[0] == got[0] and is_list(want) and is_list(got) and pairs(want) == pairs(got)


def _canonical(value):
    if not is_list(value):
        return repr(value)
    if value[0] == b"%":
        return repr(sorted((_canonical(k), _canonical(v)) for k, v in zip(value[1][::2], value[1][1::2])))
    return repr(sorted(_canonical(v) for v in value[1]))


def unordered_deeply(want, got):
    """The same elements in any order at every depth."""
    return want[0] == got[0] and _canonical(want) == _canonical(got)


def kind(want, got):
    """The same RESP type; null stays null."""
    return want[0] == got[0] and (want[1] is None) == (got[1] is None)


def text(want, got):
    """Some text, in the same RESP type."""
    return kind(want, got) and bool(got[1])


def length(want, got):
    """The same type and number of elements, the elements of the same types."""
    if not is_list(want) or not is_list(got):
        return kind(want, got)
    return want[0] == got[0] and [v[0] for v in want[1]] == [v[0] for v in got[1]]


def field_names(want, got):
    """The same names of fields; of their values only the types."""
    if not is_list(want) or not is_list(got) or want[0] != got[0]:
        return False
    names = [v for v in want[1][::2]] == [v for v in got[1][::2]]
    return names and [v[0] for v in want[1][1::2]] == [v[0] for v in got[1][1::2]]


def near(tolerance):
    """Numbers close to each other; negative ones are answers (-1, -2), not measures."""

    def rule(want, got):
        if want[0] != b":" or got[0] != b":":
            return want == got
        a, b = int(want[1]), int(got[1])
        return a == b or (a >= 0 and b >= 0 and abs(a - b) <= tolerance)

    return rule


def half_to_double(want, got):
    if want[0] != b":" or got[0] != b":":
        return want == got
    return int(want[1]) <= 2 * int(got[1]) + 64 and int(got[1]) <= 2 * int(want[1]) + 64


def times_apart(want, got, label=b""):
    """Equal, but for points in time and idle times, which may differ by a minute."""
    if is_list(want) and is_list(got):
        if want[0] != got[0] or len(want[1]) != len(got[1]):
            return False
        labels = [b""] + [v[1] for v in want[1][:-1]]
        return all(times_apart(w, g, l) for w, g, l in zip(want[1], got[1], labels))
    if want[0] == got[0] == b":" and want[1] is not None:
        a, b = int(want[1]), int(got[1])
        if label in (b"idle", b"inactive", b"seen-time", b"active-time") or (a > EPOCH and b > EPOCH):
            return abs(a - b) <= MINUTE
    return want == got


def pending(want, got):
    """XPENDING with a range: [id, consumer, idle, deliveries]; the idle time may differ by a minute."""
    if not is_list(want) or not is_list(got) or len(want[1]) != len(got[1]):
        return want == got
    for w, g in zip(want[1], got[1]):
        if not is_list(w) or not is_list(g) or len(w[1]) != 4 or len(g[1]) != 4:
            return want == got
        if [w[1][i] for i in (0, 1, 3)] != [g[1][i] for i in (0, 1, 3)] or not near(MINUTE)(w[1][2], g[1][2]):
            return False
    return True


def dump(want, got):
    """Same RDB type and size: sets are stored in the order of their hash table, consumers with the time."""
    if want[1] is None or got[1] is None:
        return want == got
    return want[0] == got[0] and len(want[1]) == len(got[1]) and want[1][:1] == got[1][:1]


def sizes(want, got):
    """The same size."""
    return want[0] == got[0] and len(want[1] or b"") == len(got[1] or b"")


def scan(want, got):
    """[cursor, elements]: the form only; that whole scans find the same is a test of its own."""
    form = [v[0] for v in want[1]] if is_list(want) else None
    return is_list(got) and want[0] == got[0] and form == [v[0] for v in got[1]] == [b"$", b"*"]


def hello(want, got):
    """The same fields in the same order; id, version and modules are each server's own."""
    if not is_list(want) or not is_list(got) or want[0] != got[0] or len(want[1]) != len(got[1]):
        return False
    own = {b"id", b"version", b"modules"}
    pairs = zip(want[1][::2], want[1][1::2], got[1][::2], got[1][1::2])
    return all(wk == gk and (wv == gv or wk[1] in own and wv[0] == gv[0]) for wk, wv, gk, gv in pairs)


def role(want, got):
    """A primary; its offset and its replicas are of its own."""
    return is_list(want) and is_list(got) and want[1][0] == got[1][0] and length(want, got)


HASHED = "a set keeps its members in the order of a hash table that every process seeds for itself"
RANDOM = "the answer is drawn at random"
CLOCK = "the answer is a time, or was counted from one"
OWN = "every server has its own identity, settings and history"
GLOBAL = "the table of the server is a hash table"

RULES = {
    "smembers": (unordered, HASHED),
    "sinter": (unordered, HASHED),
    "sunion": (unordered, HASHED),
    "sdiff": (unordered, HASHED),
    "hkeys": (unordered, "a hash with a long value is a hash table"),
    "hvals": (unordered, "a hash with a long value is a hash table"),
    "hgetall": (unordered_pairs, "a hash with a long value is a hash table"),
    "keys": (unordered, GLOBAL),
    "scan": (scan, "the cursor is the position in a hash table, and through Keyway names the shard too"),
    "sscan": (scan, "the cursor is the position in a hash table"),
    "hscan": (scan, "the cursor is the position in a hash table"),
    "zscan": (scan, "the cursor is the position in a hash table"),
    "spop": (length, RANDOM),
    "srandmember": (length, RANDOM),
    "hrandfield": (length, RANDOM),
    "zrandmember": (length, RANDOM),
    "randomkey": (kind, RANDOM),
    "sort": (unordered, "BY a constant leaves a set in the order of its hash table"),
    "sort_ro": (unordered, "BY a constant leaves a set in the order of its hash table"),
    "dump": (dump, "a set is stored in the order of its hash table, a consumer with its time"),
    "ttl": (near(60), CLOCK),
    "pttl": (near(MINUTE), CLOCK),
    "expiretime": (near(60), CLOCK),
    "pexpiretime": (near(MINUTE), CLOCK),
    "time": (length, CLOCK),
    "lastsave": (kind, CLOCK),
    "object|idletime": (near(60), CLOCK),
    "xadd": (kind, "the id * is the time"),
    "xinfo|consumers": (times_apart, CLOCK),
    "xinfo|stream": (times_apart, CLOCK),
    "xpending": (pending, CLOCK),
    "memory|usage": (half_to_double, "how much a key takes depends on the allocator's mood and on its slot's bookkeeping"),
    "memory|malloc-stats": (text, OWN),
    "memory|stats": (kind, OWN),
    "memory|doctor": (text, OWN),
    "info": (kind, OWN),
    "hello": (hello, OWN),
    "role": (role, OWN),
    "lolwut": (text, RANDOM),
    "acl|genpass": (sizes, RANDOM),
    "acl|cat": (unordered, GLOBAL),
    "acl|getuser": (unordered_deeply, GLOBAL),
    "acl|log": (kind, OWN),
    "acl|list": (text, "passwords and rules are the server's own"),
    "client|id": (kind, OWN),
    "client|info": (text, OWN),
    "client|list": (text, OWN),
    "client|kill": (kind, OWN),
    "client|trackinginfo": (unordered_deeply, "flags come in no promised order"),
    "config|get": (unordered_pairs, GLOBAL),
    "command": (unordered_deeply, GLOBAL),
    "command|list": (unordered, GLOBAL),
    "command|docs": (unordered_deeply, GLOBAL),
    "command|info": (unordered_deeply, GLOBAL),
    "command|getkeysandflags": (unordered_deeply, "flags are a set"),
    "function|list": (unordered_deeply, GLOBAL),
    "function|dump": (sizes, "libraries are kept in a hash table"),
    "latency|histogram": (kind, "which commands ran, and how fast, is the server's own history"),
    "latency|doctor": (text, OWN),
    "slowlog|help": (kind, "Keyway's entries have two columns more, of which its help tells"),
    "slowlog|get": (kind, "what was slow is the server's own history"),
    "slowlog|len": (kind, "what was slow is the server's own history"),
    "pubsub|channels": (unordered, GLOBAL),
    "pubsub|shardchannels": (unordered, GLOBAL),
    "unsubscribe": (kind, "a hash table says which channel is left first"),
    "punsubscribe": (kind, "a list says which pattern is left first"),
    "sunsubscribe": (kind, "a hash table says which channel is left first"),
}


def same(step, want_raw, got_raw):
    """Whether got answers the step as want does."""
    if want_raw == got_raw:
        return True
    if step.inner is not None:
        return _same_exec(step, want_raw, got_raw)
    wants, gots = values(want_raw), values(got_raw)
    if len(wants) != len(gots):
        return False
    return all(same_value(step.rule, w, g) for w, g in zip(wants, gots))


def same_value(rule, want, got):
    if want == got:
        return True
    if is_error(want) or is_error(got):
        return False
    return rule(want, got)


def _same_exec(step, want_raw, got_raw):
    """EXEC: every element under the rule of the command that was queued."""
    want, got = parse(want_raw)[0], parse(got_raw)[0]
    if not is_list(want) or not is_list(got) or len(want[1]) != len(got[1]) or len(want[1]) != len(step.inner):
        return False
    return all(same_value(r, w, g) for r, w, g in zip(step.inner, want[1], got[1]))
