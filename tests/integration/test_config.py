#!/usr/bin/python3
"""
Settings: each bad one is refused at start with a message that names it and an exit code other than 0; file, command
line and CONFIG SET override each other in this order; CONFIG REWRITE keeps what people wrote.
"""

import os

import harness

NODE = "127.0.0.1:1"

BAD = [
    # arguments after a valid set of others, and a word that the message must contain
    (["--port", "70000"], "port"),
    (["--port", "abc"], "port"),
    (["--port", "-1"], "port"),
    (["--workers", "-1"], "workers"),
    (["--workers", "many"], "workers"),
    (["--maxclients", "0"], "maxclients"),
    (["--maxclients", "lots"], "maxclients"),
    (["--timeout", "-5"], "timeout"),
    (["--request-timeout", "-1"], "request-timeout"),
    (["--request-timeout", "5s"], "request-timeout"),
    (["--connect-timeout", "x"], "connect-timeout"),
    (["--read-from", "sometimes"], "read-from"),
    (["--loglevel", "chatty"], "loglevel"),
    (["--cluster-nodes", "nocolon"], "cluster-nodes"),
    (["--cluster-nodes", "host:notaport"], "cluster-nodes"),
    (["--cluster-nodes", "host:99999"], "cluster-nodes"),
    (["--client-output-buffer-limit", "unusual", "1mb", "1mb", "1"], "client-output-buffer-limit"),
    (["--client-output-buffer-limit", "normal", "1zb", "1mb", "1"], "client-output-buffer-limit"),
    (["--client-output-buffer-limit", "normal", "1mb"], "client-output-buffer-limit"),
    (["--proto-max-bulk-len", "1zb"], "proto-max-bulk-len"),
    (["--client-query-buffer-limit", "-1"], "client-query-buffer-limit"),
    (["--client-max-inflight", "0"], "client-max-inflight"),
    (["--slowlog-max-len", "x"], "slowlog-max-len"),
    (["--tcp-keepalive", "x"], "tcp-keepalive"),
    (["--node-links", "0"], "node-links"),
    (["--no-such-directive", "1"], "no-such-directive"),
    (["--bind", "999.1.1.1"], "999.1.1.1"),
    (["--logfile", "/nonexistent/folder/log"], "/nonexistent/folder/log"),
    (["--maxclients"], "maxclients"),
]


class BadSettings(harness.unittest.TestCase):
    def refused(self, argv, word):
        proxy = harness.Proxy(argv=argv, wait=False)
        try:
            code = proxy.wait(10)
        except harness.subprocess.TimeoutExpired:
            self.fail("it runs with %r: %s" % (argv, proxy.log()))
        finally:
            harness.end_process(proxy.proc)
        self.assertNotEqual(code, 0, "exit code 0 with %r" % argv)
        self.assertGreater(code, 0, "killed by a signal with %r: %s" % (argv, proxy.log()))
        self.assertIn(word, proxy.log())
        proxy.check_reports()
        return proxy.log()

    def test_bad_arguments(self):
        for args, word in BAD:
            with self.subTest(args=args):
                self.refused(["--port", str(harness.free_port()), "--cluster-nodes", NODE] + args, word)

    def test_empty_nodes(self):
        self.refused(["--port", str(harness.free_port()), "--cluster-nodes", ""], "cluster-nodes")

    def test_missing_file(self):
        self.refused(["/nonexistent/keyway.conf"], "/nonexistent/keyway.conf")

    def test_bad_line_in_file(self):
        path = os.path.join(harness.temp_dir("conf"), "keyway.conf")
        for line, word in (("nosuch yes", "nosuch"), ("port many", "port"), ('requirepass "open', "keyway.conf")):
            with self.subTest(line=line):
                with open(path, "w") as f:
                    f.write("# comment\ncluster-nodes %s\n%s\n" % (NODE, line))
                text = self.refused([path], word)
                self.assertIn("3", text, "the line is not named")

    def test_secrets_are_not_shown(self):
        log = self.refused(["--requirepass", "hunter2hunter2", "--port", "x", "--cluster-nodes", NODE], "port")
        self.assertNotIn("hunter2", log)

    def test_help_and_version(self):
        for option, word in (("--help", "cluster-nodes"), ("--version", "0.")):
            proxy = harness.Proxy(argv=[option], wait=False)
            self.assertEqual(proxy.wait(), 0)
            self.assertIn(word, proxy.log())


class Settings(harness.ProxyTest):
    PRIMARIES = 1

    def get(self, client, *patterns):
        reply = client.ok("CONFIG", "GET", *patterns)
        return dict(zip(reply[::2], reply[1::2]))

    def write_file(self, text):
        path = os.path.join(harness.temp_dir("conf"), "keyway.conf")
        with open(path, "w") as f:
            f.write(text)
        return path

    def start_from(self, path, *args):
        proxy = harness.Proxy(argv=[path] + list(args), wait=False)
        self.addCleanup(proxy.stop)
        with open(path) as f:
            proxy.port = int(harness.re.search(r"^port (\d+)", f.read(), harness.re.M).group(1))
        harness.wait_until(proxy._answers, 20, "the proxy")
        return proxy

    def file_text(self, port):
        nodes = " ".join(self.cluster.addresses())
        return (
            "# my proxy\nbind 127.0.0.1\nport %d\n\ncluster-nodes %s\n# a comment that stays\nmaxclients 100\n"
            "slowlog-max-len 50\n" % (port, nodes)
        )

    def test_file_then_command_line_then_set(self):
        path = self.write_file(self.file_text(harness.free_port()))
        proxy = self.start_from(path, "--maxclients", "70", "--timeout", "300")
        with proxy.client() as c:
            want = {b"maxclients": b"70", b"slowlog-max-len": b"50", b"timeout": b"300"}
            self.assertEqual(self.get(c, "maxclients", "slowlog-max-len", "timeout"), want)
            c.ok("CONFIG", "SET", "maxclients", "60", "slowlog-max-len", "20")
            self.assertEqual(self.get(c, "maxclients"), {b"maxclients": b"60"})

    def test_rewrite(self):
        port = harness.free_port()
        path = self.write_file(self.file_text(port))
        proxy = self.start_from(path)
        with proxy.client() as c:
            c.ok("CONFIG", "SET", "maxclients", "61")
            c.ok("CONFIG", "SET", "request-timeout", "1234")
            self.assertEqual(c("CONFIG", "REWRITE"), b"OK")
        proxy.stop()
        with open(path) as f:
            text = f.read()
        self.assertTrue(text.startswith("# my proxy\nbind 127.0.0.1\nport %d\n" % port), text)
        self.assertIn("# a comment that stays\n", text)
        self.assertIn("maxclients 61\n", text)
        self.assertIn("request-timeout 1234\n", text)
        again = self.start_from(path)
        with again.client() as c:
            want = {b"maxclients": b"61", b"request-timeout": b"1234"}
            self.assertEqual(self.get(c, "maxclients", "request-timeout"), want)

    def test_rewrite_without_file(self):
        self.assertEqual(self.client()("CONFIG", "REWRITE").text, "ERR The server is running without a config file")

    def test_get_patterns(self):
        c = self.client()
        self.assertEqual(self.get(c, "no-such-thing"), {})
        self.assertIn(b"maxclients", self.get(c, "MAXCLIENTS"))
        some = self.get(c, "slowlog-*", "port")
        self.assertEqual(set(some), {b"slowlog-log-slower-than", b"slowlog-max-len", b"port"})
        self.assertEqual(some[b"port"], b"%d" % self.proxy.port)
        everything = self.get(c, "*")
        for name in ("bind", "port", "workers", "maxclients", "timeout", "tcp-keepalive", "cluster-nodes", "request-timeout"):
            self.assertIn(name.encode(), everything)
        self.assertEqual(self.get(c, "proto-max-bulk-len"), {b"proto-max-bulk-len": b"536870912"})

    def test_set_errors(self):
        c = self.client()
        with harness.Server() as judge:
            with judge.client() as j:
                for args in (
                    ["maxclients"],
                    ["no-such", "1"],
                    ["timeout", "10", "timeout", "20"],
                    ["loglevel", "chatty"],
                    ["slowlog-max-len", "5", "no-such", "1"],
                ):
                    with self.subTest(args=args):
                        self.assertEqual(c("CONFIG", "SET", *args), j("CONFIG", "SET", *args))
        # Longer than Redis's words by a hint, otherwise the same.
        for name, value, words in (
            ("maxclients", "many", "argument couldn't be parsed into an integer"),
            ("timeout", "-1", "argument must be between 0 and"),
            ("port", "1", "can't set immutable config"),
        ):
            start = "ERR CONFIG SET failed (possibly related to argument '%s') - %s" % (name, words)
            self.assertError(c("CONFIG", "SET", name, value), start)
        self.assertError(c("CONFIG", "SET", "workers", "4"), "ERR CONFIG SET failed (possibly related to argument 'workers')")
        self.assertNotEqual(self.get(c, "slowlog-max-len"), {b"slowlog-max-len": b"5"})

    def test_a_pipeline_is_done_in_its_order(self):
        with self.client() as c:
            for turn in range(20):
                first = 1000 + 10 * turn
                settings = [["CONFIG", "SET", "slowlog-max-len", str(first + i)] for i in range(5)]
                replies = c.pipeline(settings + [["CONFIG", "GET", "slowlog-max-len"]])
                last = str(first + 4).encode()
                self.assertEqual(replies, [b"OK"] * 5 + [[b"slowlog-max-len", last]], "turn %d" % turn)
                self.assertEqual(c.ok("CONFIG", "GET", "slowlog-max-len")[1], last)
            c.ok("CONFIG", "SET", "slowlog-max-len", "128")

    def test_set_takes_effect(self):
        proxy = self.start_proxy({})
        with proxy.client() as c:
            c.ok("CONFIG", "SET", "requirepass", "later")
            with harness.Client(proxy.port) as other:
                self.assertError(other("GET", "k"), "NOAUTH")
                self.assertEqual(other("AUTH", "later"), b"OK")
            self.assertEqual(c("GET", "nothing"), None)
            c.ok("CONFIG", "SET", "requirepass", "")
            with harness.Client(proxy.port) as other:
                self.assertEqual(other("GET", "nothing"), None)
            # Long enough for the client that goes on talking not to be idle where the machine stands still for a moment.
            c.ok("CONFIG", "SET", "timeout", max(5, 2 * int(harness.TIME_SCALE)))
            with harness.Client(proxy.port) as idle:
                idle.ok("PING")
                harness.wait_until(lambda: c.ok("PING") and idle.closed(), 20, "the new timeout to work")
            c.ok("CONFIG", "SET", "timeout", "0")
            self.alone(c)
            c.ok("CONFIG", "SET", "maxclients", "2")
            with harness.Client(proxy.port) as second:
                self.assertEqual(second("PING"), b"PONG")
                with harness.Client(proxy.port) as third:
                    self.assertEqual(third.read_until_close(), b"-ERR max number of clients reached\r\n")
        proxy.password = None

    def test_resetstat(self):
        c = self.client()
        c.ok("SET", "k", "v")
        self.assertIn("cmdstat_set", harness.parse_info(c.ok("INFO", "commandstats")))
        self.assertEqual(c("CONFIG", "RESETSTAT"), b"OK")
        self.assertNotIn("cmdstat_set", harness.parse_info(c.ok("INFO", "commandstats")))

    def test_reference_pages_are_current(self):
        for program, name in (("keyway-proxy", "configuration.md"), ("keyway-meta", "metadata.md")):
            made = harness.subprocess.run([harness.bin_path(program), "--reference"], capture_output=True, text=True, check=True)
            with open(os.path.join(harness.REPO, "docs", name)) as page:
                self.assertTrue(page.read().endswith(made.stdout), "docs/%s is not what %s --reference prints" % (name, program))


class NodeSettings(harness.JudgedTest):
    """Names that are no settings of Keyway's are the nodes', replicas included; a name has one owner."""

    PRIMARIES = 2
    REPLICAS = 1

    def setUp(self):
        self.c = {2: self.client(), 3: self.client()}
        self.j = {2: self.judge.client(), 3: self.judge.client()}
        for side in (self.c, self.j):
            side[3].ok("HELLO", 3)
        for client in self.j.values():
            self.addCleanup(client.close)

    def same(self, *commands):
        for command in commands:
            for resp in (2, 3):
                with self.subTest(command=command, resp=resp):
                    want, got = self.j[resp](*command), self.c[resp](*command)
                    self.assertEqual((got, self.c[resp].raw), (want, self.j[resp].raw))

    def get(self, resp, *patterns):
        reply = self.c[resp].ok("CONFIG", "GET", *patterns)
        names = [pair[0] for pair in reply] if resp == 3 else reply[::2]
        self.assertEqual(len(names), len(set(names)), "a name twice")
        return dict(reply if resp == 3 else zip(reply[::2], reply[1::2]))

    def at_nodes(self, name):
        return {node("CONFIG", "GET", name)[1] for node in self.cluster.nodes}

    def test_set_reaches_every_node(self):
        # One name at a time: a server's order of several is that of its hash table.
        self.same(
            ["CONFIG", "SET", "maxmemory", "100mb"],
            ["CONFIG", "GET", "maxmemory"],
            ["CONFIG", "SET", "maxmemory-policy", "allkeys-lru"],
            ["CONFIG", "GET", "MaxMemory-Policy"],
            ["CONFIG", "SET", "notify-keyspace-events", "KEA"],
            ["CONFIG", "GET", "notify-keyspace-events"],
            ["CONFIG", "SET", "hash-max-listpack-entries", "7", "list-compress-depth", "2"],
            ["CONFIG", "GET", "hash-max-listpack-entries"],
            ["CONFIG", "SET", "save", "3600 1 300 100"],
            ["CONFIG", "GET", "save"],
            ["CONFIG", "SET", "save", ""],
            ["CONFIG", "GET", "appendonly"],
        )
        self.assertEqual(self.at_nodes("maxmemory"), {b"104857600"})
        self.assertEqual(self.at_nodes("notify-keyspace-events"), {b"AKE"})
        self.assertEqual(self.at_nodes("list-compress-depth"), {b"2"})
        self.same(["CONFIG", "SET", "maxmemory", "0"], ["CONFIG", "SET", "notify-keyspace-events", ""])
        self.same(["CONFIG", "SET", "maxmemory-policy", "noeviction"])

    def test_errors_are_the_nodes_own(self):
        self.same(
            ["CONFIG", "SET", "maxmemory", "x"],
            ["CONFIG", "SET", "maxmemory-policy", "nosuch"],
            ["CONFIG", "SET", "databases", "3"],
            ["CONFIG", "SET", "cluster-enabled", "yes"],
            ["CONFIG", "SET", "nosuch", "1"],
            ["CONFIG", "SET", "maxmemory", "1", "maxmemory", "2"],
            ["CONFIG", "SET", "maxmemory", "1", "nosuch", "2"],
            ["CONFIG", "SET", "maxmemory"],
            ["CONFIG", "SET", "maxmemory", "1", "save"],
            ["CONFIG", "GET", "nosuch"],
            ["CONFIG", "GET", ""],
            ["CONFIG", "GET", "maxmemory", "maxmemory"],
            ["CONFIG", "GET"],
            ["CONFIG", "SET"],
            ["CONFIG", "NOSUCH"],
        )
        self.assertEqual(self.at_nodes("maxmemory"), {b"0"})

    def test_get_is_a_union(self):
        for resp in (2, 3):
            some = self.get(resp, "slowlog-*", "maxmemory", "databases", "cluster-*", "maxmemory")
            self.assertEqual(some[b"databases"], b"1")
            self.assertEqual(some[b"cluster-enabled"], b"no")
            self.assertEqual(some[b"maxmemory"], b"0")
            self.assertIn(b"cluster-nodes", some)
            self.assertIn(b"cluster-node-timeout", some)
            self.assertIn(b"slowlog-max-len", some)
            everything = self.get(resp, "*")
            self.assertEqual(everything[b"port"], b"%d" % self.proxy.port)
            self.assertEqual(everything[b"cluster-enabled"], b"no")
            ours = {b"workers", b"request-timeout", b"cluster-nodes"}
            judged = self.j[2].ok("CONFIG", "GET", "*")[::2]
            self.assertEqual((set(judged) | ours) - set(everything), set())
            self.assertEqual(self.get(resp, "maxclient?"), {b"maxclients": b"10000"})
            self.assertEqual(self.get(resp, "maxclients", "DATABASES"), {b"maxclients": b"10000", b"databases": b"1"})

    def test_of_both_kinds(self):
        c = self.c[2]
        c.ok("CONFIG", "SET", "slowlog-max-len", "77", "maxmemory-samples", "9", "timeout", "600")
        self.assertEqual(self.get(3, "slowlog-max-len", "timeout"), {b"slowlog-max-len": b"77", b"timeout": b"600"})
        self.assertEqual(self.at_nodes("maxmemory-samples"), {b"9"})
        for args in (
            ["slowlog-max-len", "78", "maxmemory-samples", "x"],
            ["slowlog-max-len", "78", "nosuch", "1"],
            ["slowlog-max-len", "x", "maxmemory-samples", "10"],
            ["maxmemory-samples", "10", "slowlog-max-len", "78", "slowlog-max-len", "79"],
            ["maxmemory-samples", "10", "workers", "3"],
            ["maxmemory-samples", "10", "loglevel", "chatty"],
        ):
            with self.subTest(args=args):
                self.assertError(c("CONFIG", "SET", *args), "ERR")
                self.assertEqual(self.get(2, "slowlog-max-len"), {b"slowlog-max-len": b"77"})
                self.assertEqual(self.at_nodes("maxmemory-samples"), {b"9"})
        c.ok("CONFIG", "SET", "slowlog-max-len", "128", "maxmemory-samples", "5", "timeout", "0")

    def test_a_node_that_is_down(self):
        down = self.cluster.nodes[3]
        down.kill()
        watch = self.cluster.nodes[0]
        harness.wait_until(lambda: any(i == down.id and "fail" in f for i, f, _, _ in self.cluster.node_table(watch)), 20, "it to be given up")

        def refused():
            reply = self.c[2]("CONFIG", "SET", "list-compress-depth", "4")
            return isinstance(reply, harness.ReplyError) and "changed nothing: node %s is down" % down.addr in reply.text

        harness.wait_until(refused, 20, "the proxy to know")
        self.c[2]("CONFIG", "SET", "list-compress-depth", "5")
        self.assertNotIn(b"5", {n("CONFIG", "GET", "list-compress-depth")[1] for n in self.cluster.live_nodes()})
        self.assertEqual(self.c[2]("CONFIG", "RESETSTAT"), b"OK")
        down.spawn()
        self.cluster.heal()
        harness.wait_until(lambda: self.c[2]("CONFIG", "SET", "list-compress-depth", "0") == b"OK", 20, "the proxy to know")
        self.assertEqual(self.at_nodes("list-compress-depth"), {b"0"})

    def test_resetstat_of_everything(self):
        self.c[2].ok("SET", "k", "v")
        self.assertGreater(sum(n.calls("set") for n in self.cluster.nodes), 0)
        self.same(["CONFIG", "RESETSTAT"], ["CONFIG", "RESETSTAT", "x"])
        self.assertEqual(sum(n.calls("set") for n in self.cluster.nodes), 0)
        self.assertNotIn("cmdstat_set", harness.parse_info(self.c[2].ok("INFO", "commandstats")))

    def test_survives_a_failover(self):
        self.c[2].ok("CONFIG", "SET", "maxmemory-samples", "8")
        self.cluster.failover(0)
        self.assertEqual({self.cluster.primary_of(i)("CONFIG", "GET", "maxmemory-samples")[1] for i in range(2)}, {b"8"})
        self.c[2].ok("CONFIG", "SET", "maxmemory-samples", "5")


class SettingsWithoutNodes(harness.unittest.TestCase):
    def test_ours_are_there(self):
        proxy = harness.Proxy(["127.0.0.1:%d" % harness.free_port()], {"request-timeout": 300})
        try:
            with proxy.client() as c:
                self.assertEqual(c("CONFIG", "GET", "maxclients"), [b"maxclients", b"10000"])
                self.assertIn(b"request-timeout", c.ok("CONFIG", "GET", "*"))
                self.assertEqual(c("CONFIG", "RESETSTAT"), b"OK")
                self.assertEqual(c("CONFIG", "SET", "maxclients", "500"), b"OK")
                self.assertEqual(c("CONFIG", "SET", "maxmemory", "1").code, "CLUSTERDOWN")
        finally:
            proxy.stop()


if __name__ == "__main__":
    harness.main()
