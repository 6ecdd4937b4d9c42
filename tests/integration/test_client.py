#!/usr/bin/python3
# timeout: 300
"""
CLIENT and what belongs to the connection (QUIT, RESET): bytes and errors as a plain redis-server gives them, in RESP2
and RESP3; CLIENT LIST, KILL and UNBLOCK over all workers.
"""

import harness
from harness import encode, wait_until

END = ["ECHO", "this is the end"]
# What Redis 7.0 prints, up to what only a server that keeps the data can know.
TOLD = "name flags db sub psub ssub multi cmd user redir resp".split()


def fields(line):
    """One line of CLIENT LIST as a dict, in its order."""
    return dict(f.split("=", 1) for f in line.decode().rstrip("\n").split(" "))


class ClientTest(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.judge.client().ok("FLUSHALL")

    def open(self, where, resp=2):
        c = where.client(timeout=15)
        self.addCleanup(c.close)
        if resp == 3:
            c.ok("HELLO", 3)
        return c

    def bytes_of(self, where, commands, resp):
        """What comes back for commands that are sent at once, up to the end marker or the end of the stream."""
        c = self.open(where, resp)
        c.send(b"".join(x if isinstance(x, bytes) else encode(*x) for x in commands + [END]))
        out = bytearray()
        tail = b"this is the end\r\n"
        while not out.endswith(tail):
            try:
                chunk = c.sock.recv(65536)
            except ConnectionResetError:  # closed before all that we sent was read
                chunk = b""
            if not chunk:
                return bytes(out) + b"<closed>"
            out += chunk
        return bytes(out)

    def same(self, *commands):
        """The commands, in one write, give the same bytes as from the judge."""
        for resp in (2, 3):
            with self.subTest(commands=commands, resp=resp):
                want = self.bytes_of(self.judge, list(commands), resp)
                self.assertEqual(self.bytes_of(self.proxy, list(commands), resp), want)

    def each(self, *commands):
        for command in commands:
            self.same(command)

    def listed(self, where, client_id):
        with where.client() as c:
            text = c.ok("CLIENT", "LIST", "ID", client_id)
        return fields(text) if text else None

    def on_each_worker(self, resp=2):
        """A connection to every worker, by worker."""
        found = {}
        while len(found) < self.DIRECTIVES["workers"]:
            c = self.open(self.proxy, resp)
            found.setdefault(fields(c.ok("CLIENT", "INFO")[:-1])["worker"], c)
        return [found[w] for w in sorted(found)]


class Words(ClientTest):
    def test_errors(self):
        self.each(
            ["CLIENT"], ["CLIENT", "NOSUCH"], ["CLIENT", "NOSUCH", "x"], ["CLIENT", "ID", "x"], ["CLIENT", "HELP", "x"],
            ["CLIENT", "INFO", "x"], ["CLIENT", "REPLY"], ["CLIENT", "REPLY", "foo"], ["CLIENT", "NO-EVICT"],
            ["CLIENT", "NO-EVICT", "x"], ["CLIENT", "SETNAME"], ["CLIENT", "SETNAME", "a b"], ["CLIENT", "SETNAME", "a\n"],
            ["CLIENT", "SETNAME", b"\xff"], ["CLIENT", "GETNAME", "x"], ["CLIENT", "GETREDIR", "x"],
            ["CLIENT", "TRACKINGINFO", "x"],
        )  # fmt: skip

    def test_errors_of_list_and_kill(self):
        self.each(
            ["CLIENT", "LIST", "TYPE"], ["CLIENT", "LIST", "TYPE", "foo"], ["CLIENT", "LIST", "TYPE", "master"],
            ["CLIENT", "LIST", "TYPE", "replica"], ["CLIENT", "LIST", "TYPE", "slave"], ["CLIENT", "LIST", "TYPE", "pubsub"],
            ["CLIENT", "LIST", "ID"], ["CLIENT", "LIST", "ID", "x"], ["CLIENT", "LIST", "ID", "99999999"],
            ["CLIENT", "LIST", "ID", "99999999", "x"], ["CLIENT", "LIST", "ID", "99999999", "0", "-1"],
            ["CLIENT", "LIST", "FOO"], ["CLIENT", "LIST", "TYPE", "normal", "x"],
            ["CLIENT", "KILL"], ["CLIENT", "KILL", "1.2.3.4:5"], ["CLIENT", "KILL", ""], ["CLIENT", "KILL", "x" * 200],
            ["CLIENT", "KILL", "ID", "x"], ["CLIENT", "KILL", "ID", "0"], ["CLIENT", "KILL", "ID", "-1"],
            ["CLIENT", "KILL", "ID", ""], ["CLIENT", "KILL", "ID", "99999999"], ["CLIENT", "KILL", "TYPE", "foo"],
            ["CLIENT", "KILL", "TYPE", "master"], ["CLIENT", "KILL", "TYPE", "slave"], ["CLIENT", "KILL", "TYPE", "replica"],
            ["CLIENT", "KILL", "TYPE", "pubsub"], ["CLIENT", "KILL", "USER", "nobody"], ["CLIENT", "KILL", "USER", "DEFAULT"],
            ["CLIENT", "KILL", "SKIPME", "maybe"], ["CLIENT", "KILL", "ID", "1", "TYPE"], ["CLIENT", "KILL", "ID", "0", "TYPE"],
            ["CLIENT", "KILL", "ID", "99999999", "SKIPME", "no", "ADDR", "1.1.1.1:1"], ["CLIENT", "KILL", "LADDR", "1.1.1.1:1"],
            ["CLIENT", "KILL", "LADDR", "x" * 200], ["CLIENT", "KILL", "ADDR", "1.1.1.1:1", "USER", "default"],
            ["CLIENT", "KILL", "FOO", "bar"], ["CLIENT", "KILL", "FOO", "bar", "x"],
            ["CLIENT", "KILL", "ID", "1", "ID", "99999999"], ["CLIENT", "KILL", "MAXAGE", "1"],
        )  # fmt: skip

    def test_errors_of_unblock(self):
        self.each(
            ["CLIENT", "UNBLOCK"], ["CLIENT", "UNBLOCK", "x"], ["CLIENT", "UNBLOCK", ""], ["CLIENT", "UNBLOCK", "1", "FOO"],
            ["CLIENT", "UNBLOCK", "x", "FOO"], ["CLIENT", "UNBLOCK", "99999999"], ["CLIENT", "UNBLOCK", "0"],
            ["CLIENT", "UNBLOCK", "-1"], ["CLIENT", "UNBLOCK", "1", "timeout", "x"], ["Client", "unBlock", "1", "error", "x"],
        )  # fmt: skip

    def test_answers(self):
        self.each(["CLIENT", "HELP"], ["CLIENT", "TRACKINGINFO"], ["CLIENT", "GETREDIR"], ["CLIENT", "GETNAME"])
        self.same(["CLIENT", "SETNAME", "a"], ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "a b"], ["CLIENT", "GETNAME"])
        self.same(["CLIENT", "SETNAME", "a"], ["CLIENT", "SETNAME", ""], ["CLIENT", "GETNAME"])
        self.same(["CLIENT", "SETNAME", "a"], ["RESET"], ["CLIENT", "GETNAME"])
        self.same(["CLIENT", "NO-EVICT", "on"], ["client", "no-evict", "OFF"])

    def test_reply(self):
        skip, off, on = ["CLIENT", "REPLY", "SKIP"], ["CLIENT", "REPLY", "OFF"], ["CLIENT", "REPLY", "ON"]
        self.same(skip, ["PING", "1"], ["PING", "2"])
        self.same(off, ["PING", "1"], skip, ["PING", "2"], ["NOSUCH"], ["GET"], on, ["PING", "3"])
        self.same(skip, skip, ["PING", "1"], ["PING", "2"])
        self.same(skip, on, ["PING", "1"])
        self.same(skip, off, ["PING", "1"], on, ["PING", "2"])
        self.same(skip, ["NOSUCH"], ["NOSUCH"], skip, ["CLIENT", "REPLY", "x"], ["PING"])
        self.same(skip, ["SET", "a", "1"], ["GET", "a"], skip, ["GET", "a"], ["GET", "a"], off, ["GET", "a"], on, ["GET", "a"])
        self.same(["MULTI"], ["SET", "a", "2"], ["EXEC"], skip, ["MULTI"], ["GET", "a"], ["EXEC"])
        self.same(off, ["RESET"], ["PING", "after reset"], skip, ["RESET"], ["PING"])
        self.same(off, ["CLIENT", "ID"], ["CLIENT", "LIST"], ["CLIENT", "KILL", "ID", "99999999"], on)

    def test_quit_without_replies(self):
        """A plain Redis leaves such a connection open for ever; here it ends."""
        for first in ("OFF", "SKIP"):
            sent = [["CLIENT", "REPLY", first], ["QUIT"]]
            self.assertEqual(self.bytes_of(self.proxy, sent, 2), b"<closed>")

    def test_reply_skip_of_a_value_that_flows_through(self):
        value = b"v" * (3 << 20)
        self.same(["CLIENT", "REPLY", "SKIP"], ["SET", "big", value], ["STRLEN", "big"], ["SET", "big", value], ["PING"])

    def test_quit(self):
        self.same(["SET", "a", "1"], ["GET", "a"], ["QUIT"], ["SET", "a", "2"], ["GET", "a"])
        self.same(["QUIT", "x"], ["PING"])
        self.same(["MULTI"], ["SET", "a", "1"], ["QUIT"], ["EXEC"])
        self.same([*["MGET"], *["k%d" % i for i in range(50)]], ["DBSIZE"], ["QUIT"], ["PING"])
        with self.proxy.client() as c:
            self.assertEqual(c("GET", "a"), b"1", "a command behind QUIT ran")

    def test_reset(self):
        self.same(["SET", "a", "1"], ["MULTI"], ["SET", "a", "2"], ["RESET"], ["GET", "a"], ["EXEC"])
        self.same(["RESET"], ["GET", "nokey"], ["CLIENT", "TRACKINGINFO"])
        self.same(["WATCH", "a"], ["RESET"], ["SET", "a", "5"], ["MULTI"], ["GET", "a"], ["EXEC"])
        self.same(["RESET", "x"])


class Listed(ClientTest):
    def told(self, where, resp, setup, last=None):
        """What CLIENT LIST tells of a client after these commands, as another client sees it."""
        c = self.open(where, resp)
        client_id = c.ok("CLIENT", "ID")
        for command in setup:
            c.ok(*command)
        if last:
            c.cmd(*last)
            wait_until(lambda: self.listed(where, client_id)["cmd"] == last[0].lower(), what="%r to arrive" % last)
        line = self.listed(where, client_id)
        return {f: line[f] for f in TOLD}

    def test_fields_are_those_of_redis(self):
        want = list(fields(self.open(self.judge).ok("CLIENT", "LIST").split(b"\n")[0]))
        got = list(fields(self.open(self.proxy).ok("CLIENT", "LIST").split(b"\n")[0]))
        self.assertEqual(got[: len(want)], want)
        c = self.open(self.proxy)
        line = fields(c.ok("CLIENT", "INFO")[:-1])
        self.assertEqual(line["addr"], "%s:%d" % c.sock.getsockname())
        self.assertEqual(line["laddr"], "%s:%d" % c.sock.getpeername())
        self.assertEqual(int(line["id"]), c.ok("CLIENT", "ID"))

    def test_states(self):
        states = [
            ([], None),
            ([["CLIENT", "SETNAME", "ann"]], None),
            ([["MULTI"]], None),
            ([["MULTI"], ["SET", "a", "1"], ["SET", "a", "2"]], None),
            ([["CLIENT", "NO-EVICT", "on"]], None),
            ([["CLIENT", "NO-EVICT", "on"], ["RESET"]], None),
            ([["CLIENT", "SETNAME", "ann"], ["RESET"], ["PING"]], None),
            ([["GET", "a"], ["CLIENT", "LIST"]], None),
            ([["CONFIG", "GET", "save"]], None),
            ([["SUBSCRIBE", "ch"]], None),
            ([["PSUBSCRIBE", "ch*"]], None),
            ([["SSUBSCRIBE", "ch"]], None),
            ([["SUBSCRIBE", "ch"], ["PSUBSCRIBE", "p*"], ["UNSUBSCRIBE", "ch"]], None),
            ([["MONITOR"]], None),
            ([["MONITOR"], ["RESET"]], None),
            ([], ["BLPOP", "nolist", "0"]),
            ([], ["XREAD", "BLOCK", "0", "STREAMS", "nostream", "$"]),
        ]
        for resp in (2, 3):
            for setup, last in states:
                with self.subTest(resp=resp, setup=setup, last=last):
                    want = self.told(self.judge, resp, setup, last)
                    self.assertEqual(self.told(self.proxy, resp, setup, last), want)

    def test_info_is_the_own_line(self):
        for resp in (2, 3):
            want, got = (fields(self.open(w, resp).ok("CLIENT", "INFO")[:-1]) for w in (self.judge, self.proxy))
            self.assertEqual({f: got[f] for f in TOLD}, {f: want[f] for f in TOLD})

    def test_order_and_ids(self):
        first = self.open(self.proxy)
        self.alone(first)
        clients = self.on_each_worker() + self.on_each_worker()
        ids = [c.ok("CLIENT", "ID") for c in clients]

        def shown(*args):
            return [int(fields(x)["id"]) for x in clients[0].ok("CLIENT", "LIST", *args).split(b"\n") if x]

        everybody = shown()
        self.assertEqual(everybody, sorted(everybody))
        self.assertLessEqual(set(ids), set(everybody))
        for asked in (ids, ids[::-1], [ids[2], ids[0], ids[2]], [ids[1], 99999999]):
            self.assertEqual(shown("ID", *asked), [i for i in asked if i != 99999999])
        many = ids[:1] * 3000
        self.assertEqual(shown("ID", *many), many)
        self.assertEqual(shown("TYPE", "normal"), everybody)
        clients[1].ok("SUBSCRIBE", "ch")
        self.assertEqual(shown("TYPE", "pubsub"), [ids[1]])
        self.assertNotIn(ids[1], shown("TYPE", "NORMAL"))


class Kill(ClientTest):
    def gone(self, c):
        wait_until(c.closed, what="the killed connection to close")

    def test_each_way(self):
        killer, other = self.on_each_worker()
        for way in ("old", "addr", "laddr", "id", "user", "all"):
            with self.subTest(way=way):
                victim = self.open(self.proxy)
                addr = "%s:%d" % victim.sock.getsockname()
                laddr = "%s:%d" % victim.sock.getpeername()
                client_id = victim.ok("CLIENT", "ID")
                if way == "old":
                    self.assertEqual(killer("CLIENT", "KILL", addr), b"OK")
                else:
                    options = {
                        "addr": ["ADDR", addr],
                        "laddr": ["LADDR", laddr, "ID", client_id],
                        "id": ["ID", client_id],
                        "user": ["USER", "default", "ADDR", addr],
                        "all": ["ID", client_id, "ADDR", addr, "LADDR", laddr, "TYPE", "normal", "USER", "default", "SKIPME", "no"],
                    }[way]
                    wrong = ["ID", client_id, "ADDR", "9.9.9.9:9"]
                    self.assertEqual(killer("CLIENT", "KILL", *wrong), 0)
                    self.assertEqual(killer("CLIENT", "KILL", "ID", client_id, "LADDR", addr), 0)
                    self.assertEqual(killer("CLIENT", "KILL", "ID", client_id, "TYPE", "pubsub"), 0)
                    self.assertEqual(victim("PING"), b"PONG")
                    self.assertEqual(killer("CLIENT", "KILL", *options), 1)
                self.gone(victim)
                self.assertIsNone(self.listed(self.proxy, client_id))
        self.assertEqual(other("PING"), b"PONG")

    def test_by_type(self):
        killer, other = self.on_each_worker()
        subscribers = [self.open(self.proxy) for _ in range(4)]
        for s in subscribers:
            s.ok("SUBSCRIBE", "ch")
        self.assertEqual(killer("CLIENT", "KILL", "TYPE", "pubsub"), 4)
        for s in subscribers:
            self.gone(s)
        self.assertEqual(other("PING"), b"PONG")
        count = int(self.proxy.info("clients")["connected_clients"]) - 1
        self.assertGreaterEqual(count, 2)
        self.assertGreaterEqual(killer("CLIENT", "KILL", "TYPE", "normal"), 1)
        self.gone(other)
        self.assertEqual(killer("PING"), b"PONG", "the killer skips itself")

    def test_oneself(self):
        for where in (self.judge, self.proxy):
            for resp in (2, 3):
                with self.subTest(where=where, resp=resp):
                    c = self.open(where, resp)
                    client_id = c.ok("CLIENT", "ID")
                    me = "%s:%d" % c.sock.getsockname()
                    self.assertEqual(c.pipeline([["CLIENT", "KILL", "ID", client_id], ["PING"]]), [0, b"PONG"])
                    c.send(encode("SET", "a", "1") + encode("CLIENT", "KILL", "ID", client_id, "SKIPME", "NO"))
                    c.send(encode("SET", "a", "2") + encode("PING"))
                    self.assertEqual(c.read_until_close(), b"+OK\r\n:1\r\n")
                    c = self.open(where, resp)
                    c.send(encode("CLIENT", "KILL", "%s:%d" % c.sock.getsockname()) + encode("SET", "a", "3"))
                    self.assertEqual(c.read_until_close(), b"+OK\r\n")
                    self.assertNotEqual(me, "")
                    self.assertEqual(self.open(where)("GET", "a"), b"1")

    def test_kill_of_a_blocked_client(self):
        victim, killer = self.on_each_worker()
        client_id = victim.ok("CLIENT", "ID")
        victim.cmd("BLPOP", "nolist", "0")
        wait_until(lambda: self.listed(self.proxy, client_id)["flags"] == "b")
        self.assertEqual(killer("CLIENT", "KILL", "ID", client_id), 1)
        self.gone(victim)


class Unblock(ClientTest):
    COMMANDS = [
        ["BLPOP", "{u}l", "0"],
        ["BRPOP", "{u}l", "0"],
        ["BLMOVE", "{u}l", "{u}m", "LEFT", "LEFT", "0"],
        ["BRPOPLPUSH", "{u}l", "{u}m", "0"],
        ["BLMPOP", "0", "1", "{u}l", "LEFT"],
        ["BZPOPMIN", "{u}z", "0"],
        ["BZMPOP", "0", "1", "{u}z", "MIN"],
        ["XREAD", "BLOCK", "0", "STREAMS", "{u}s", "$"],
    ]

    def unblocked(self, where, helper, blocked, command, how):
        client_id = blocked.ok("CLIENT", "ID")
        blocked.cmd(*command)
        wait_until(lambda: self.listed(where, client_id)["flags"] == "b", what="%r to block" % command)
        said = helper("CLIENT", "UNBLOCK", client_id, *how)
        blocked.read()
        reply = blocked.raw
        again = blocked("ECHO", "goes on")
        return said, reply, again, helper("CLIENT", "UNBLOCK", client_id, *how)

    def test_every_blocking_command(self):
        for resp in (2, 3):
            j, jh = self.open(self.judge, resp), self.open(self.judge)
            workers = self.on_each_worker(resp)
            for n, command in enumerate(self.COMMANDS):
                for how in ([], ["TIMEOUT"], ["error"]):
                    with self.subTest(resp=resp, command=command, how=how):
                        want = self.unblocked(self.judge, jh, j, command, how)
                        for blocked, helper in (workers, workers[::-1]):
                            self.assertEqual(self.unblocked(self.proxy, helper, blocked, command, how), want)

    def test_at_once_on_new_links(self):
        """UNBLOCK right behind the command, many times, while private links are still being made."""
        clients = [self.open(self.proxy) for _ in range(60)]
        ids = [c.ok("CLIENT", "ID") for c in clients]
        helper = self.open(self.proxy)
        for i, c in enumerate(clients):
            c.cmd("BLPOP", "list%d" % i, "0")
        for client_id in ids:
            wait_until(lambda: self.listed(self.proxy, client_id)["cmd"] == "blpop")
        self.assertEqual(helper.pipeline([["CLIENT", "UNBLOCK", i] for i in ids]), [1] * len(ids))
        for c in clients:
            self.assertIsNone(c.read())

    def test_what_is_not_blocked(self):
        c, helper = self.on_each_worker()
        client_id = c.ok("CLIENT", "ID")
        self.assertEqual(helper("CLIENT", "UNBLOCK", client_id), 0)
        self.assertEqual(helper("CLIENT", "UNBLOCK", helper.ok("CLIENT", "ID")), 0)
        c.ok("SUBSCRIBE", "ch")
        self.assertEqual(helper("CLIENT", "UNBLOCK", client_id), 0)
        c = self.open(self.proxy)
        c.send(encode("BLPOP", "nolist", "0.01"))
        self.assertIsNone(c.read())
        self.assertEqual(helper("CLIENT", "UNBLOCK", c.ok("CLIENT", "ID")), 0)

    def test_helper_that_leaves(self):
        """The asking client is gone before the answer: the other is unblocked all the same or later, nothing hangs."""
        blocked, helper = self.on_each_worker()
        client_id = blocked.ok("CLIENT", "ID")
        blocked.cmd("BLPOP", "nolist", "0")
        wait_until(lambda: self.listed(self.proxy, client_id)["flags"] == "b")
        helper.cmd("CLIENT", "UNBLOCK", client_id)
        helper.close()
        other = self.open(self.proxy)
        wait_until(lambda: other("CLIENT", "UNBLOCK", client_id) in (0, 1))
        self.assertIsNone(blocked.read())


class UnblockWithoutNode(harness.ProxyTest):
    DIRECTIVES = {"workers": 2, "request-timeout": 60000}

    def test_waiting_for_a_node(self):
        node = self.cluster.primary_of(0)
        key = self.cluster.key(0, "list")
        node.kill()
        for resp, how, want in (
            (2, "TIMEOUT", b"*-1\r\n"),
            (3, "TIMEOUT", b"_\r\n"),
            (2, "ERROR", b"-UNBLOCKED client unblocked via CLIENT UNBLOCK\r\n"),
        ):
            c, helper = self.client(), self.client()
            c.ok("HELLO", resp)
            client_id = c.ok("CLIENT", "ID")
            c.cmd("BLPOP", key, "0")
            wait_until(lambda: helper("CLIENT", "UNBLOCK", client_id, how) == 1, what="the client to be blocked")
            c.read()
            self.assertEqual(c.raw, want)
            self.assertEqual(c("PING"), b"PONG")


if __name__ == "__main__":
    harness.main()
