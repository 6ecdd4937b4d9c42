#!/usr/bin/python3
"""
What the proxy answers itself: INFO, SLOWLOG, CLIENT, COMMAND, HELLO and the small ones. Texts are compared with those
of a plain redis-server wherever they must be the same.
"""

import time

import harness


class Admin(harness.JudgedTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.c = self.client()
        self.alone(self.c)
        self.j = self.judge.client()
        self.addCleanup(self.j.close)

    def same(self, *commands):
        for command in commands:
            with self.subTest(command=command):
                want, got = self.j(*command), self.c(*command)
                self.assertEqual((got, self.c.raw), (want, self.j.raw))

    def info(self, section="everything"):
        return harness.parse_info(self.c.ok("INFO", section))


class Small(Admin):
    def test_ping_echo_select(self):
        self.same(["PING"], ["PING", "hello"], ["PING", "a", "b"], ["ECHO", "x"], ["ECHO", ""], ["ECHO"], ["ECHO", "a", "b"])
        self.same(["SELECT", "0"], ["SELECT"], ["SELECT", "x"], ["SELECT", "99999"], ["SELECT", "-1"], ["ping"], ["pInG"])
        self.assertError(self.c("SELECT", "1"), "ERR")

    def test_unknown_subcommands(self):
        self.same(["CLIENT", "NOSUCH"], ["CONFIG", "NOSUCH"], ["COMMAND", "NOSUCH"], ["SLOWLOG", "NOSUCH"], ["OBJECT", "NOSUCH", "k"])
        self.same(["CLIENT"], ["CONFIG"], ["SLOWLOG"], ["CONFIG", "GET"], ["CONFIG", "SET"], ["CONFIG", "SET", "x"])

    def test_hello(self):
        reply = self.c.ok("HELLO", "2")
        got = dict(zip(reply[::2], reply[1::2]))
        want_list = self.j.ok("HELLO", "2")
        want = dict(zip(want_list[::2], want_list[1::2]))
        self.assertEqual(list(got), list(want))
        for field in (b"server", b"proto", b"mode", b"role", b"modules"):
            self.assertEqual(got[field], want[field])
        self.assertEqual(got[b"id"], self.c.ok("CLIENT", "ID"))
        self.same(["HELLO", "4"], ["HELLO", "1"], ["HELLO", "x"], ["HELLO", "2", "NOSUCH"], ["HELLO", "2", "SETNAME", "a b"])
        self.c.ok("HELLO", "2", "SETNAME", "named")
        self.assertEqual(self.c("CLIENT", "GETNAME"), b"named")

    def test_reset(self):
        self.c.ok("CLIENT", "SETNAME", "x")
        self.same(["RESET"], ["CLIENT", "GETNAME"], ["PING"])

    def test_cluster_wide(self):
        keys = ["wide%d" % i for i in range(200)]
        self.c.ok("MSET", *[x for k in keys for x in (k, "v")])
        self.assertEqual(self.c("DBSIZE"), 200)
        self.assertEqual(sorted(self.c("KEYS", "wide1*")), sorted(k.encode() for k in keys if k.startswith("wide1")))
        self.assertIn(self.c("RANDOMKEY"), [k.encode() for k in keys])
        self.assertEqual(self.c("FLUSHALL"), b"OK")
        self.assertEqual(self.c("DBSIZE"), 0)
        self.assertEqual(self.c("RANDOMKEY"), None)
        self.c.ok("SET", "a", "b")
        self.assertEqual(self.c("FLUSHDB", "SYNC"), b"OK")
        self.assertEqual([n("DBSIZE") for n in self.cluster.nodes], [0, 0, 0])

    def test_scan(self):
        keys = set(b"scan%d" % i for i in range(500))
        self.c.ok("MSET", *[x for k in keys for x in (k, "v")])
        found, cursor, rounds = [], b"0", 0
        while True:
            cursor, some = self.c.ok("SCAN", cursor, "COUNT", 50)
            found += some
            rounds += 1
            self.assertLess(rounds, 500)
            if cursor == b"0":
                break
        self.assertEqual(set(found), keys)
        self.assertGreater(rounds, 3)
        self.same(["SCAN", "x"], ["SCAN"], ["SCAN", "0", "COUNT", "0"], ["SCAN", "0", "NOSUCH"], ["SCAN", "0", "COUNT"])


class Info(Admin):
    def test_what_clients_read(self):
        info = self.info()
        self.assertRegex(info["redis_version"], r"^\d+\.\d+\.\d+")
        want = {"cluster_enabled": "0", "role": "master", "loading": "0", "tcp_port": str(self.proxy.port)}
        want["process_id"] = str(self.proxy.pid)
        self.assertEqual({k: info.get(k) for k in want}, want)
        for field in (
            "redis_mode uptime_in_seconds connected_clients maxclients blocked_clients used_memory maxmemory_policy "
            "total_connections_received total_commands_processed instantaneous_ops_per_sec total_net_input_bytes "
            "total_net_output_bytes rejected_connections connected_slaves used_cpu_sys used_cpu_user"
        ).split():
            self.assertIn(field, info)

    def test_sections(self):
        def sections(*args):
            return [line[2:].lower() for line in self.c.ok("INFO", *args).decode().split("\r\n") if line.startswith("# ")]

        default = sections()
        for name in ("server", "clients", "memory", "persistence", "stats", "replication", "cpu", "cluster", "keyspace"):
            self.assertIn(name, default)
            self.assertEqual(sections(name), [name])
        self.assertNotIn("commandstats", default)
        self.assertIn("commandstats", sections("all"))
        self.assertEqual(sections("server", "clients"), ["server", "clients"])
        self.assertEqual(sections("SERVER"), ["server"])
        self.assertEqual(self.c.ok("INFO", "nosuchsection"), b"")

    def test_keyspace_sums_the_shards(self):
        self.c.ok("MSET", *[x for i in range(100) for x in ("ks%d" % i, "v")])
        for i in range(30):
            self.c.ok("EXPIRE", "ks%d" % i, 1000)

        def summed():
            value = self.info("keyspace").get("db0", "")
            return value.startswith("keys=100,expires=30,")

        harness.wait_until(summed, 10, "db0 to show the sums")

    def test_commandstats_and_errorstats(self):
        self.c.ok("CONFIG", "RESETSTAT")
        for _ in range(7):
            self.c.ok("SET", "stat", "v")
        for _ in range(3):
            self.assertError(self.c("LPUSH", "stat", "x"), "WRONGTYPE")
        self.assertError(self.c("NOSUCH"), "ERR")
        self.c.ok("MGET", "a", "b", "c")
        info = self.info()
        self.assertRegex(info["cmdstat_set"], r"^calls=7,usec=\d+,usec_per_call=[\d.]+,rejected_calls=0,failed_calls=0")
        self.assertRegex(info["cmdstat_lpush"], r"^calls=3,.*failed_calls=3")
        self.assertRegex(info["cmdstat_mget"], r"^calls=1,")
        self.assertEqual(info["errorstat_WRONGTYPE"], "count=3")
        self.assertEqual(info["errorstat_ERR"], "count=1")
        self.assertRegex(info["cmdstat_config|resetstat"], r"^calls=1,")

    def test_counters_move(self):
        before = self.info()
        with self.client() as other:
            other.ok("PING")
            now = self.info()
            self.assertEqual(int(now["total_connections_received"]), int(before["total_connections_received"]) + 1)
            self.assertEqual(int(now["connected_clients"]), int(before["connected_clients"]) + 1)
        self.assertGreater(int(now["total_commands_processed"]), int(before["total_commands_processed"]))
        self.assertGreater(int(now["total_net_output_bytes"]), int(before["total_net_output_bytes"]))


class Slowlog(Admin):
    def test_everything_logged(self):
        proxy = self.start_proxy({"slowlog-log-slower-than": 0, "slowlog-max-len": 5})
        with proxy.client() as c:
            c.ok("CLIENT", "SETNAME", "slow")
            c.ok("SLOWLOG", "RESET")
            for i in range(10):
                c.ok("SET", "sl%d" % i, "v")
            self.assertEqual(c("SLOWLOG", "LEN"), 5)
            entries = c.ok("SLOWLOG", "GET", 2)
            self.assertEqual(len(entries), 2)
            entries = c.ok("SLOWLOG", "GET", -1)
            self.assertLessEqual(len(entries), 5)
            sets = [e for e in entries if e[3][0] == b"SET"]
            self.assertGreaterEqual(len(sets), 1)
            number, at, took, args, addr, name = sets[0][:6]
            self.assertIsInstance(number, int)
            self.assertLess(abs(at - time.time()), 60)
            self.assertGreaterEqual(took, 0)
            self.assertEqual(args, [b"SET", b"sl9", b"v"])
            self.assertRegex(addr.decode(), r"^127\.0\.0\.1:\d+$")
            self.assertEqual(name, b"slow")
            numbers = [e[0] for e in entries]
            self.assertEqual(numbers, sorted(numbers, reverse=True))
            c.ok("SLOWLOG", "RESET")
            self.assertLessEqual(c("SLOWLOG", "LEN"), 1)

    def test_only_slow_ones(self):
        proxy = self.start_proxy({"slowlog-log-slower-than": 100000})
        with proxy.client() as c:
            # Where the machine stands still for a moment, a quick one is slow too: its client has waited as long.
            waited = 0
            for _ in range(20):
                began = time.monotonic()
                c.ok("GET", "quick")
                waited += time.monotonic() - began >= 0.1
            busy = "local t = redis.call('TIME'); local e = t[1] * 1e6 + t[2] + 200000; repeat t = redis.call('TIME') "
            c.ok("EVAL", busy + "until t[1] * 1e6 + t[2] > e return 1", 1, "busy")
            logged = c.ok("SLOWLOG", "GET", -1)
            entries = [e for e in logged if e[3][0] == b"EVAL"]
            self.assertEqual(len(entries), 1)
            self.assertGreaterEqual(entries[0][2], 200000)
            self.assertLessEqual(len(logged) - 1, waited)

    def test_long_arguments_are_cut_as_redis_does(self):
        proxy = self.start_proxy({"slowlog-log-slower-than": 0})
        commands = [["SET", "{cut}a", "x" * n] for n in (0, 127, 128, 129, 1000, 20000)]
        commands += [["DEL"] + ["{cut}%d" % i for i in range(n)] for n in (30, 31, 32, 100)]
        commands += [["MSET"] + ["{cut}" + "k" * 200, b"\x00\r\n$5\r\n"] * 40]
        with proxy.client() as c:
            self.j.ok("CONFIG", "SET", "slowlog-log-slower-than", 0)
            for command in commands:
                c.ok("SLOWLOG", "RESET"), self.j.ok("SLOWLOG", "RESET")
                c.ok(*command), self.j.ok(*command)

                def logged(client):
                    return [e[3] for e in client.ok("SLOWLOG", "GET") if e[3][0] == command[0].encode()]

                self.assertEqual(logged(c), logged(self.j))

    def test_who_it_was_is_as_it_was_then(self):
        proxy = self.start_proxy({"slowlog-log-slower-than": 0})
        addresses = []
        for i in range(3):
            with proxy.client() as gone:
                gone.ok("CLIENT", "SETNAME", "%d" % i * 70)
                gone.ok("GET", "who%d" % i)
                gone.ok("CLIENT", "SETNAME", "other")
                addresses.append(b"127.0.0.1:%d" % gone.sock.getsockname()[1])
        with proxy.client() as c:
            found = {e[3][1]: e[4:6] for e in c.ok("SLOWLOG", "GET", -1) if e[3][0] == b"GET"}
        self.assertEqual(found, {b"who%d" % i: [addresses[i], b"%d" % i * 63] for i in range(3)})

    def test_errors(self):
        self.same(["SLOWLOG", "GET", "x"], ["SLOWLOG", "GET", "-2"], ["SLOWLOG", "LEN", "x"])


class Clients(Admin):
    def fields(self, line):
        return dict(f.split("=", 1) for f in line.strip().split(" "))

    def test_id_and_name(self):
        mine = self.c.ok("CLIENT", "ID")
        with self.client() as other:
            self.assertGreater(other.ok("CLIENT", "ID"), mine)
        self.same(["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "me"], ["CLIENT", "GETNAME"], ["CLIENT", "SETNAME", "a b"])
        self.same(["CLIENT", "SETNAME", "a\n"], ["CLIENT", "SETNAME"], ["CLIENT", "SETNAME", ""], ["CLIENT", "GETNAME"])

    def test_setinfo(self):
        """Redis 7.0 does not have it, so clients in front of it hear what Redis says (test_valkey.py has the other half)."""
        for words in (("LIB-NAME", "redis-py"), ("NOSUCH", "x")):
            self.assertEqual(self.c("CLIENT", "SETINFO", *words), self.j("CLIENT", "SETINFO", *words))

    def test_info_and_list(self):
        self.c.ok("CLIENT", "SETNAME", "first")
        with self.client() as other:
            other.ok("CLIENT", "SETNAME", "second")
            mine = self.fields(self.c.ok("CLIENT", "INFO").decode())
            want = self.fields(self.j.ok("CLIENT", "INFO").decode())
            self.assertEqual([f for f in want if f not in mine], [], "fields of Redis that are missing")
            self.assertEqual((mine["name"], mine["cmd"], mine["db"], mine["user"]), ("first", "client|info", "0", "default"))
            self.assertEqual(mine["addr"], "127.0.0.1:%d" % self.c.sock.getsockname()[1])
            self.assertEqual(mine["laddr"], "127.0.0.1:%d" % self.proxy.port)
            listed = [self.fields(x) for x in self.c.ok("CLIENT", "LIST").decode().splitlines()]
            self.assertEqual(sorted(x["name"] for x in listed if x["name"]), ["first", "second"])
            by_id = self.c.ok("CLIENT", "LIST", "ID", other.ok("CLIENT", "ID")).decode()
            self.assertEqual(self.fields(by_id)["name"], "second")
            self.assertEqual(self.c("CLIENT", "LIST", "TYPE", "replica"), b"")
        self.same(["CLIENT", "LIST", "NOSUCH"], ["CLIENT", "LIST", "TYPE", "nosuch"], ["CLIENT", "LIST", "ID", "x"])

    def test_kill(self):
        def victim():
            return self.proxy.client()

        one = victim()
        self.assertEqual(self.c("CLIENT", "KILL", "ID", one.ok("CLIENT", "ID")), 1)
        self.assertEqual(one.read_until_close(), b"")
        self.assertEqual(self.c("CLIENT", "KILL", "ID", 999999999), 0)
        two = victim()
        two.ok("PING")
        addr = "127.0.0.1:%d" % two.sock.getsockname()[1]
        self.assertEqual(self.c("CLIENT", "KILL", addr), b"OK")
        self.assertEqual(two.read_until_close(), b"")
        three, four = victim(), victim()
        three.ok("PING"), four.ok("PING")
        self.assertEqual(self.c("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes"), 2)
        self.assertEqual(three.read_until_close() + four.read_until_close(), b"")
        self.assertEqual(self.c("PING"), b"PONG")
        self.same(["CLIENT", "KILL", "1.2.3.4:5"], ["CLIENT", "KILL", "ID", "x"], ["CLIENT", "KILL", "NOSUCH", "1"])
        with victim() as five:
            self.assertEqual(five("CLIENT", "KILL", "ID", five.ok("CLIENT", "ID"), "SKIPME", "no"), 1)
            self.assertEqual(five.read_until_close(), b"")

    def test_reply_modes(self):
        self.c.send(harness.encode("CLIENT", "REPLY", "SKIP") + harness.encode("SET", "r", "1") + harness.encode("GET", "r"))
        self.assertEqual(self.c.read(), b"1")
        data = harness.encode("CLIENT", "REPLY", "OFF") + harness.encode("SET", "r", "2") + harness.encode("NOSUCH")
        self.c.send(data + harness.encode("CLIENT", "REPLY", "ON") + harness.encode("GET", "r"))
        self.assertEqual(self.c.read_n(2), [b"OK", b"2"])
        self.same(["CLIENT", "REPLY", "NOSUCH"], ["CLIENT", "NO-EVICT", "ON"], ["CLIENT", "NO-EVICT", "x"])


class Command(Admin):
    def test_count_and_list(self):
        count = self.c.ok("COMMAND", "COUNT")
        self.assertGreater(count, 200)
        self.assertEqual(len([n for n in self.c.ok("COMMAND", "LIST") if b"|" not in n]), count)
        self.assertEqual(len(self.c.ok("COMMAND")), count)

    def test_info(self):
        names = ["get", "set", "mget", "eval", "sort", "xreadgroup", "object", "zunionstore", "nosuch", "GET"]
        got, want = self.c.ok("COMMAND", "INFO", *names), self.j.ok("COMMAND", "INFO", *names)
        for name, g, w in zip(names, got, want):
            with self.subTest(name=name):
                if w is None:
                    self.assertIsNone(g)
                    continue
                self.assertEqual(g[:2] + g[3:6], w[:2] + w[3:6])
                self.assertEqual(sorted(g[2]), sorted(w[2]))
                self.assertEqual(sorted(g[6]), sorted(w[6]))
                self.assertEqual(g[8], w[8], "key specs")

    def test_docs(self):
        reply = self.c.ok("COMMAND", "DOCS", "get", "nosuch")
        self.assertEqual(reply[0], b"get")
        self.assertIn(b"summary", reply[1])
        self.assertEqual(len(reply), 2)

    def test_getkeys(self):
        self.same(
            ["COMMAND", "GETKEYS", "GET", "k"],
            ["COMMAND", "GETKEYS", "MSET", "a", "1", "b", "2"],
            ["COMMAND", "GETKEYS", "EVAL", "return 1", "2", "a", "b", "c"],
            ["COMMAND", "GETKEYS", "ZUNIONSTORE", "d", "2", "a", "b"],
            ["COMMAND", "GETKEYS", "XREAD", "COUNT", "1", "STREAMS", "a", "b", "0", "0"],
            ["COMMAND", "GETKEYS", "SORT", "a", "BY", "nosort", "STORE", "b"],
            ["COMMAND", "GETKEYS", "MIGRATE", "h", "1", "", "0", "1", "KEYS", "a", "b"],
            ["COMMAND", "GETKEYS", "OBJECT", "ENCODING", "k"],
            ["COMMAND", "GETKEYS", "PING"],
            ["COMMAND", "GETKEYS", "NOSUCH", "k"],
            ["COMMAND", "GETKEYS", "GET"],
            ["COMMAND", "GETKEYS"],
        )


if __name__ == "__main__":
    harness.main()
