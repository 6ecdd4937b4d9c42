"""
Words for the arguments of commands, by their names and types in COMMAND DOCS. Small worlds: few members, few groups,
small numbers, so that commands meet what others left; among them words that are wrong.

Nothing here lets a key expire, or a command block, while a test runs: times are far away or past, time-outs are short.
"""

INTEGERS = ["0", "1", "2", "3", "4", "7", "-1", "-2", "10"]
BAD_INTEGERS = ["", "abc", "1.5", " 1", "1 ", "0x10", "+1", "1e3", "nan", "-", "9223372036854775808", "\x00"]
LARGE_INTEGERS = ["9223372036854775807", "-9223372036854775808", "4294967296"]
DOUBLES = ["0", "1", "2", "3.5", "-2.25", "0.1", "1e3", "3.0e-5", "17", "-1"]
BAD_DOUBLES = ["", "abc", "nan", "1.5x", " 1", "--1", "0x", "1,5"]
BOUNDS = ["-inf", "+inf", "inf", "0", "1", "(1", "(3.5", "2", "10", "-1", "(-inf"]
LEXES = ["-", "+", "[m1", "[m5", "(m2", "(m7", "[", "(", "[zz"]
MEMBERS = ["m%d" % i for i in range(10)] + ["1", "2", "30", "-4", "", "7.5"]
VALUES = ["", "v", "text", "12", "-7", "3.25", "some longer value of 44 or more characters....", "\x00\r\n\xff", "10", "nan"]
IDS = ["0", "1", "1-1", "2-1", "3", "5-1", "0-0", "9-9", "1-*", "20-1", "18446744073709551615-18446744073709551615"]
FAR_SECONDS = (200000, 90000000)  # relative times: as milliseconds still more than any test takes


def pool(*words):
    return lambda g: g.r.choice(words)


def mixed(good, bad, large=()):
    """Mostly good words."""

    def word(g):
        x = g.r.random()
        if x < 0.94:
            return g.r.choice(good)
        return g.r.choice(bad if x < 0.98 or not large else large)

    return word


integer = mixed(INTEGERS, BAD_INTEGERS, LARGE_INTEGERS)
double = mixed(DOUBLES, BAD_DOUBLES, ["inf", "-inf", "1e308", "5e-324"])
bound = mixed(BOUNDS, BAD_DOUBLES + ["((1", "(x"])
lex = mixed(LEXES, ["", "x", "m1", "-inf", "5"])
member = pool(*MEMBERS)
value = pool(*VALUES)
timeout = mixed(["0.001", "0.002", "0.003"], ["-1", "abc", "", "nan", "-0.5"])
timeout_ms = mixed(["1", "2"], ["-1", "abc", "1.5", ""])


def long_value(g):
    return "L" * g.r.randrange(65, 90) if g.r.random() < 0.02 else value(g)


def seconds(g):
    x = g.r.random()
    if x < 0.85:
        return str(g.r.randrange(*FAR_SECONDS))
    return g.r.choice(["0", "-1", "-100000"] if x < 0.93 else BAD_INTEGERS + LARGE_INTEGERS[:2])


def milliseconds(g):
    x = g.r.random()
    if x < 0.85:
        return str(1000 * g.r.randrange(*FAR_SECONDS))
    return g.r.choice(["0", "-1", "-100000"] if x < 0.93 else BAD_INTEGERS + LARGE_INTEGERS[:2])


def near_future(word):
    """Whether a word, as a relative time, may come while a test runs."""
    return word.isdigit() and 0 < int(word) < FAR_SECONDS[0]


def unix_seconds(g):
    x = g.r.random()
    if x < 0.85:
        return str(4000000000 + g.r.randrange(9))
    return g.r.choice(["0", "1", "-1", "1000000000"] if x < 0.93 else BAD_INTEGERS + LARGE_INTEGERS[:2])


def unix_milliseconds(g):
    x = g.r.random()
    if x < 0.85:
        return str(4000000000000 + g.r.randrange(9))
    return g.r.choice(["0", "1", "-1", "1000000000000"] if x < 0.93 else BAD_INTEGERS + LARGE_INTEGERS[:2])


def restore_ttl(g):
    ttl = g.r.choice(["0", "0", "0", milliseconds(g), unix_milliseconds(g), "-1"])
    return "0" if near_future(ttl) else ttl  # past as a point in time, but not without ABSTTL


def new_stream_id(g):
    x = g.r.random()
    if x < 0.75:
        g.stream_id += 1
        return "%d-%d" % (g.stream_id, g.r.randrange(1, 3))
    if x < 0.85:
        g.stream_id += 1
        return "%d-*" % g.stream_id
    return g.r.choice(IDS + ["x", "1-x", "-1", ""])


def stream_id(g):
    x = g.r.random()
    if x < 0.5 and g.stream_id:
        return "%d-%d" % (g.r.randrange(max(1, g.stream_id - 30), g.stream_id + 1), g.r.randrange(1, 3))
    return g.r.choice(IDS if x < 0.95 else ["x", "", "1-2-3", "-1", "+", "$"])


def stream_bound(g):
    return g.r.choice(["-", "+", "-", "+", "(1-1", "(-", stream_id(g), stream_id(g)])


def read_id(g):
    return g.r.choice(["0", "0-0", "$", ">", stream_id(g)])


def threshold(g):
    return g.r.choice(["0", "1", "2", "3", "100", stream_id(g), "-1", "x"])


def score_or_rank(g):
    return g.r.choice(["0", "1", "2", "-1", "-2", "5", "10", "0", "-1", lex(g), bound(g), "x"])


def tagged(name):
    return lambda g: "{%s}%s%d" % (g.tag, name, g.r.randrange(3))


def range_end(g):
    if g.spec.group == "stream":
        return stream_bound(g)
    return score_or_rank(g)


def geo_member(g):
    return g.r.choice(["m0", "m1", "m2", "m3", "m4", "none"])


MINIMUM_IDLE = mixed(["0", "0", "0", "1000000000000"], ["x", "-1", ""])
GROUP = pool("g0", "g0", "g1", "g2")
CONSUMER = pool("c0", "c1", "c2")
LONGITUDE = mixed(["13.361389", "15.087269", "2.35", "-122.4", "0", "179.9"], ["181", "abc", "", "-200"])
LATITUDE = mixed(["38.115556", "37.502669", "48.85", "37.8", "0", "-84"], ["86", "abc", "", "-90"])
DISTANCE = mixed(["200", "1", "5000", "100.5", "0", "30000"], ["-1", "abc", "", "nan"])
SHA = ["0" * 40, "f" * 40, "short"]

# By (command, argument), then by argument, then by the type of the argument.
EXACT = {
    ("xadd", "id"): new_stream_id,
    ("xsetid", "last-id"): new_stream_id,
    ("xread", "id"): read_id,
    ("xreadgroup", "id"): read_id,
    ("xread", "milliseconds"): timeout_ms,
    ("xreadgroup", "milliseconds"): timeout_ms,
    ("xclaim", "ms"): pool("0", "1000000", "x"),
    ("xautoclaim", "start"): stream_bound,
    ("zrangebylex", "min"): lex,
    ("zrangebylex", "max"): lex,
    ("zrevrangebylex", "min"): lex,
    ("zrevrangebylex", "max"): lex,
    ("zremrangebylex", "min"): lex,
    ("zremrangebylex", "max"): lex,
    ("zlexcount", "min"): lex,
    ("zlexcount", "max"): lex,
    ("zrangestore", "min"): score_or_rank,
    ("zrangestore", "max"): score_or_rank,
    ("restore", "ttl"): restore_ttl,
    ("restore", "seconds"): pool("0", "30", "-1", "x"),
    ("wait", "timeout"): timeout_ms,
    ("client|pause", "timeout"): timeout_ms,
    ("setrange", "offset"): mixed(["0", "1", "5", "20"], BAD_INTEGERS + ["-1"]),
    ("setbit", "offset"): mixed(["0", "1", "7", "40"], BAD_INTEGERS + ["-1", "4294967296"]),
    ("setbit", "value"): mixed(["0", "1"], ["2", "x", "-1", ""]),
    ("getbit", "offset"): mixed(["0", "1", "7", "40"], BAD_INTEGERS + ["-1", "4294967296"]),
    ("bitfield", "value"): integer,
    ("bitop", "operation"): mixed(["AND", "or", "XOR", "NOT", "not"], ["NAND", ""]),
    ("geodist", "member1"): geo_member,
    ("geodist", "member2"): geo_member,
    ("xgroup|create", "id"): stream_id,
    ("scan", "type"): pool("string", "hash", "list", "set", "zset", "stream", "nosuch"),
    ("slowlog|get", "count"): mixed(["0", "1", "-1", "5"], BAD_INTEGERS + ["-2"]),
    ("acl|genpass", "bits"): mixed(["1", "5", "256", "4096"], ["0", "-1", "4097", "x"]),
    ("hincrbyfloat", "increment"): double,
    ("zincrby", "increment"): double,
    ("incrbyfloat", "increment"): double,
    ("acl|dryrun", "username"): pool("default", "default", "default", "nobody"),
    ("acl|dryrun", "command"): pool("get", "ping", "nosuch"),
    ("migrate", "timeout"): timeout_ms,
}

NAMED = {
    "member": member,
    "element": member,
    "pivot": member,
    "field": member,
    "value": long_value,
    "message": value,
    "score": double,
    "weight": double,
    "timeout": timeout,
    "seconds": seconds,
    "milliseconds": milliseconds,
    "unix-time-seconds": unix_seconds,
    "unix-time-milliseconds": unix_milliseconds,
    "group": GROUP,
    "groupname": GROUP,
    "consumer": CONSUMER,
    "consumername": CONSUMER,
    "id": stream_id,
    "last-id": stream_id,
    "lastid": stream_id,
    "max_deleted_entry_id": stream_id,
    "threshold": threshold,
    "min-idle-time": MINIMUM_IDLE,
    "start": range_end,
    "end": range_end,
    "stop": range_end,
    "min": bound,
    "max": bound,
    "encoding": mixed(["u8", "i5", "u4", "i64", "u63", "i1"], ["u64", "i65", "x", "u0", ""]),
    "offset": mixed(["0", "1", "8", "#1", "#3", "30"], BAD_INTEGERS + ["-1", "#x"]),
    "longitude": LONGITUDE,
    "latitude": LATITUDE,
    "radius": DISTANCE,
    "width": DISTANCE,
    "height": DISTANCE,
    "cursor": mixed(["0"], ["x", "", "-1", "5"]),
    "pattern": pool("*", "m*", "?1", "[m]*", "nomatch", "*0", "[a-", "\\"),
    "index": integer,
    "bit": mixed(["0", "1"], ["2", "x", "-1"]),
    "destination-db": mixed(["0"], ["x", "99", "-1"]),
    "channel": pool("ch0", "ch1", "ch2"),
    "shardchannel": tagged("sc"),
    "section": pool("server", "clients", "memory", "stats", "replication", "cpu", "keyspace", "all", "default", "nosuch"),
    "event": pool("command", "fork", "nosuch", "expire-cycle"),
    "command": pool("get", "GET", "set", "xgroup", "xgroup|create", "nosuch", "eval"),
    "command-name": pool("get", "SET", "xgroup", "xgroup|create", "nosuch", "sort", "", "config|get"),
    "categoryname": pool("read", "write", "admin", "scripting", "nosuch"),
    "category": pool("read", "admin", "stream", "nosuch"),
    "module-name": pool("nosuch"),
    "username": pool("default", "nobody"),
    "connection-name": pool("tester", "a-b", "with space", "", "new\nline", "tester"),
    "clientname": pool("tester", "a-b", "with space"),
    "client-id": mixed(["987654321", "987654322"], ["0", "-1", "x"]),
    "ip:port": pool("127.0.0.1:1", "nobody", "1.2.3.4:5"),
    "yes/no": pool("yes", "no", "maybe"),
    "prefix": pool("pre1:", "other:"),
    "operation": pool("AND"),
    "slot": pool("0", "16383", "16384", "x"),
    "node-id": pool("0" * 40, "x"),
    "version": mixed(["5", "6", "7"], ["x"]),
    "message-text": value,
    "library-name": pool("libone", "libtwo", "nosuch"),
    "library-name-pattern": pool("*", "lib*", "libone", "nosuch"),
}

TYPED = {"integer": integer, "double": double, "string": value, "pattern": NAMED["pattern"], "unix-time": unix_seconds}


def word(g, arg):
    """A word for an argument of COMMAND DOCS."""
    name = arg["name"].decode()
    make = EXACT.get((g.spec.name, name)) or NAMED.get(name) or TYPED[arg["type"].decode()]
    if make is range_end and arg["type"] == b"integer":
        make = integer
    return make(g)
