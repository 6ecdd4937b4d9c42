#!/usr/bin/python3
"""
Passwords: what clients are told (compared with a redis-server that has the same password), and how the proxy gives
its own to the nodes (default user, named user, wrong password).
"""

import harness


class Clients(harness.ProxyTest):
    PRIMARIES = 1
    DIRECTIVES = {"requirepass": "secret"}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.judge = harness.Server(password="secret").start()

    @classmethod
    def tearDownClass(cls):
        cls.judge.kill()
        super().tearDownClass()

    def same(self, *commands, proxy=None, judge=None):
        """The same conversation on a fresh connection to both."""
        with harness.Client((proxy or self.proxy).port) as p, harness.Client((judge or self.judge).port) as j:
            for command in commands:
                want, got = j(*command), p(*command)
                self.assertEqual((got, p.raw), (want, j.raw), "%r in %r" % (command, commands))

    def test_noauth(self):
        self.same(["GET", "k"], ["SET", "k", "v"], ["PING"], ["ECHO", "x"], ["MULTI"], ["CONFIG", "GET", "port"], ["SELECT", "0"])
        self.same(["INFO"], ["CLIENT", "ID"], ["COMMAND", "COUNT"], ["EVAL", "return 1", "0"], ["SUBSCRIBE", "c"])

    def test_errors_before_noauth(self):
        self.same(["NOSUCH"], ["GET"], ["MGET"], ["AUTH"], ["AUTH", "a", "b", "c"], ["HELLO", "x"])

    def test_wrong_passwords(self):
        self.same(["AUTH", "wrong"], ["AUTH", "default", "wrong"], ["AUTH", "nobody", "secret"], ["AUTH", ""], ["GET", "k"])

    def test_right_passwords(self):
        self.same(["AUTH", "secret"], ["GET", "none"], ["AUTH", "default", "secret"], ["PING"])
        self.same(["AUTH", "default", "secret"], ["SET", "k", "v"], ["DEL", "k"])

    def test_a_wrong_password_does_not_log_out(self):
        self.same(["AUTH", "secret"], ["AUTH", "wrong"], ["GET", "none"])

    def test_reset_logs_out(self):
        self.same(["AUTH", "secret"], ["PING"], ["RESET"], ["GET", "none"], ["AUTH", "secret"], ["GET", "none"])

    def test_quit_needs_no_password(self):
        with harness.Client(self.proxy.port) as c:
            self.assertEqual(c("QUIT"), b"OK")
            self.assertEqual(c.read_until_close(), b"")

    def test_hello(self):
        self.same(["HELLO"], ["HELLO", "2"], ["HELLO", "2", "AUTH", "default", "wrong"], ["HELLO", "2", "AUTH", "default"])
        with harness.Client(self.proxy.port) as c:
            reply = c.ok("HELLO", "2", "AUTH", "default", "secret")
            self.assertIn(b"server", reply)
            self.assertEqual(c("GET", "none"), None)
        with harness.Client(self.proxy.port) as c:
            c.ok("HELLO", "2", "AUTH", "default", "secret", "SETNAME", "me")
            self.assertEqual(c("CLIENT", "GETNAME"), b"me")

    def test_pipelined_auth(self):
        with harness.Client(self.proxy.port) as c:
            replies = c.pipeline([("SET", "p", "1"), ("AUTH", "secret"), ("SET", "p", "2"), ("GET", "p"), ("DEL", "p")])
        self.assertError(replies[0], "NOAUTH")
        self.assertEqual(replies[1:], [b"OK", b"OK", b"2", 1])

    def test_long_password(self):
        with harness.Client(self.proxy.port) as c:
            self.assertError(c("AUTH", "x" * 5000), "WRONGPASS")
            self.assertError(c("AUTH", "secret\0more"), "WRONGPASS")
            self.assertError(c("AUTH", "secre"), "WRONGPASS")

    def test_no_password_configured(self):
        proxy = self.start_proxy({})
        with harness.Server() as judge:
            self.same(["AUTH", "x"], ["AUTH", "default", "anything"], ["GET", "none"], proxy=proxy, judge=judge)
            self.same(["AUTH", "nobody", "x"], ["PING"], proxy=proxy, judge=judge)


class Nodes(harness.ProxyTest):
    """Nodes that want a password themselves."""

    NODE_PASSWORD = "nodesecret"
    DIRECTIVES = {"cluster-password": "nodesecret", "request-timeout": 20000}

    def works(self, proxy):
        with proxy.client() as c:
            for i in range(3):
                key = self.cluster.key(i, "auth")
                self.assertEqual(c.pipeline([("SET", key, i), ("GET", key)]), [b"OK", b"%d" % i])
            self.assertEqual(c("MGET", *[self.cluster.key(i, "auth") for i in range(3)]), [b"0", b"1", b"2"])

    def test_default_user(self):
        self.works(self.proxy)

    def test_links_made_again_authenticate_again(self):
        self.works(self.proxy)
        for node in self.cluster.nodes:
            node("CLIENT", "KILL", "TYPE", "normal")
        self.works(self.proxy)

    def test_named_user(self):
        for node in self.cluster.nodes:
            node("ACL", "SETUSER", "keyway", "on", ">userpass", "~*", "&*", "+@all")
        self.works(self.start_proxy({"cluster-username": "keyway", "cluster-password": "userpass"}))
        for node in self.cluster.nodes:
            self.assertGreaterEqual(int(node.info("stats").get("total_connections_received")), 1)

    def test_both_sides(self):
        self.works(self.start_proxy({"requirepass": "front", "cluster-password": "nodesecret"}))

    def test_wrong_password(self):
        for directives in ({"cluster-password": "wrong"}, {}):
            with self.subTest(directives=directives):
                proxy = self.start_proxy(dict(directives, **{"request-timeout": 800}))
                with proxy.client() as c:
                    reply = c("SET", "k", "v")
                    self.assertIsInstance(reply, harness.ReplyError)
                    self.assertNotIn("nodesecret", reply.text)
                    self.assertNotEqual(reply.code, "INDOUBT")
                    self.assertEqual(c("PING"), b"PONG")
                said = harness.re.compile("WRONGPASS|NOAUTH|password|authent")
                harness.wait_until(lambda: said.search(proxy.log()), 10, "the log to say why")


if __name__ == "__main__":
    harness.main()
