"""
The workloads whose cost a request test_cost.py counts, as rows of a table: the clients of a row, and what each of them
sends in a round. A round gives the proxy the requests of all clients at once, so that it takes the same few loop turns
every time.
"""

import collections

import harness

CONNECTIONS = 50
SUBSCRIBERS = 20
KEYS = 500
BOARDS = 10
MEMBERS = 300
SMALL = b"v" * 64
LARGE = b"v" * 16384
LIMITER = (
    b"local n = redis.call('INCR', KEYS[1]) "
    b"if n == 1 then redis.call('EXPIRE', KEYS[1], ARGV[1]) end "
    b"return n <= tonumber(ARGV[2]) and 1 or 0"
)


class Talker:
    """A client of a row: sends the same commands in each round and expects so many replies, none of them an error."""

    def __init__(self, client, commands, replies=None):
        self.client = client
        self.data = b"".join(harness.encode(*words) for words in commands)
        self.replies = len(commands) if replies is None else replies

    def send(self):
        if self.data:
            self.client.send(self.data)

    def receive(self):
        for _ in range(self.replies):
            reply = self.client.read()
            if isinstance(reply, harness.ReplyError):
                raise AssertionError("an error where cost is counted: %r" % reply)


class Setting:
    """A setting of the proxy's that holds for as long as a row runs: stands among the clients of the row."""

    def __init__(self, proxy, name, value):
        self.client = proxy.client()
        self.name = name
        _, self.before = self.client.ok("CONFIG", "GET", name)
        self.client.ok("CONFIG", "SET", name, value)

    def close(self):
        self.client.ok("CONFIG", "SET", self.name, self.before)
        self.client.close()


# make(proxy) answers the clients and how many units they have done after one round; rounds is how many make a sample.
Row = collections.namedtuple("Row", "title unit make rounds")


def clients(commands_of, connections=CONNECTIONS):
    """Clients that send commands_of(n) each; a unit is a command."""

    def make(proxy):
        talkers = [Talker(proxy.client(), commands_of(n)) for n in range(connections)]
        return talkers, sum(t.replies for t in talkers)

    return make


def key(n):
    return "key:%d" % (n % KEYS)


def slow_gets(proxy):
    """Every request has an entry in the slow log."""
    setting = Setting(proxy, "slowlog-log-slower-than", 0)
    talkers, units = clients(lambda n: [("GET", key(n))])(proxy)
    return talkers + [Talker(setting, [])], units


def several_gets(n):
    return [("GET", key(32 * n + i)) for i in range(32)]


def mget(n):
    return [["MGET"] + [key(10 * n + i) for i in range(10)]]


def leaderboard(n):
    board = "board:%d" % (n % BOARDS)
    return [("ZINCRBY", board, 1, "member:%d" % n), ("ZREVRANGE", board, 0, 9, "WITHSCORES")]


def limiter(proxy):
    with proxy.client() as c:
        digest = c.ok("SCRIPT", "LOAD", LIMITER)
    return clients(lambda n: [("EVALSHA", digest, 1, "limit:%d" % n, 1000, 1000000)])(proxy)


def stream(proxy):
    def commands_of(n):
        key = "stream:%d" % n
        read = ("XREADGROUP", "GROUP", "readers", "one", "COUNT", 1, "NOACK", "STREAMS", key, ">")
        return [("XADD", key, "MAXLEN", 100, "*", "field", SMALL), read]

    with proxy.client() as c:
        for n in range(CONNECTIONS):
            c("XGROUP", "CREATE", "stream:%d" % n, "readers", "$", "MKSTREAM")  # it may be there from an earlier time
    return clients(commands_of)(proxy)


def fan_out(proxy):
    """One publisher of 5 messages a round; a unit is a message that reached a subscriber."""
    messages = 5
    talkers = []
    for _ in range(SUBSCRIBERS):
        c = proxy.client()
        c.ok("SUBSCRIBE", "news")
        talkers.append(Talker(c, [], messages))
    talkers.append(Talker(proxy.client(), [("PUBLISH", "news", SMALL)] * messages))
    return talkers, SUBSCRIBERS * messages


ROWS = {
    "get-alone": Row("GET 64 B, one connection", "request", clients(lambda n: [("GET", key(1))], 1), 100),
    "get": Row("GET 64 B", "request", clients(lambda n: [("GET", key(n))]), 20),
    "set": Row("SET 64 B", "request", clients(lambda n: [("SET", key(n), SMALL)]), 20),
    "get-pipeline": Row("GET 64 B, pipeline 32", "request", clients(several_gets), 4),
    "mget": Row("MGET of 10 keys over slots", "request", clients(mget), 10),
    "mget-many": Row("MGET of 2,000 keys", "request", clients(lambda n: [("MGET", *map(key, range(2000)))], 1), 2),
    "get-16k": Row("GET 16 KiB", "request", clients(lambda n: [("GET", "large:%d" % n)]), 10),
    "evalsha": Row("EVALSHA of a limiter", "request", limiter, 20),
    "leaderboard": Row("ZINCRBY, ZREVRANGE of 10", "request", clients(leaderboard), 10),
    "stream": Row("XADD, XREADGROUP", "request", stream, 10),
    "publish": Row("PUBLISH to %d subscribers" % SUBSCRIBERS, "delivery", fan_out, 20),
    "slowlog": Row("GET 64 B, all of them slow", "request", slow_gets, 20),
}

# Their system calls follow from how many turns the replies of the nodes are spread over, which is not the proxy's doing:
# shown, but not judged.
ARRIVE_AS_THEY_LIKE = ("mget-many",)


def fill(proxy):
    """What the rows read."""
    with proxy.client() as c:
        for n in range(KEYS):
            c.ok("SET", key(n), SMALL)
        for n in range(CONNECTIONS):
            c.ok("SET", "large:%d" % n, LARGE)
        for n in range(BOARDS):
            c.ok("ZADD", "board:%d" % n, *(word for m in range(MEMBERS) for word in (m, "member:%d" % m)))
