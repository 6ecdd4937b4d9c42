#!/usr/bin/python3
"""
Commands over several slots that cannot be split are refused with -CROSSSLOT that names two of the keys, their slots
and a hash tag that would bring them together; scripts of one slot run wherever their slot is.
"""

import hashlib

import harness


class CrossSlot(harness.ProxyTest):
    def setUp(self):
        self.cluster.flush()
        self.a, self.b = "user:1", "order:7"
        self.assertNotEqual(harness.slot_of(self.a), harness.slot_of(self.b))

    def refused(self, *command):
        reply = self.client()(*command)
        self.assertError(reply, "CROSSSLOT")
        for word in (self.a, self.b, str(harness.slot_of(self.a)), str(harness.slot_of(self.b)), "{"):
            self.assertIn(word, reply.text)
        return reply

    def test_names_keys_slots_and_a_tag(self):
        a, b = self.a, self.b
        for command in (
            ["SINTERSTORE", a, b, a],
            ["RENAME", a, b],
            ["RENAMENX", a, b],
            ["SUNION", a, b],
            ["SDIFFSTORE", a, a, b],
            ["ZUNIONSTORE", a, 2, a, b],
            ["LMOVE", a, b, "LEFT", "RIGHT"],
            ["RPOPLPUSH", a, b],
            ["SMOVE", a, b, "m"],
            ["COPY", a, b],
            ["MSETNX", a, 1, b, 2],
            ["PFCOUNT", a, b],
            ["PFMERGE", a, b],
            ["BITOP", "AND", a, a, b],
            ["EVAL", "return 1", 2, a, b],
            ["EVALSHA", "f" * 40, 2, a, b],
            ["XREAD", "STREAMS", a, b, "0", "0"],
            ["LCS", a, b],
        ):
            with self.subTest(command=command):
                self.refused(*command)

    def test_the_suggested_tag_helps(self):
        reply = self.refused("RENAME", self.a, self.b)
        tag = harness.re.findall(r"\{([^{}]+)\}", reply.text)[0]
        c = self.client()
        c.ok("SET", "{%s}%s" % (tag, self.a), "v")
        self.assertEqual(c("RENAME", "{%s}%s" % (tag, self.a), "{%s}%s" % (tag, self.b)), b"OK")

    def test_one_line_whatever_the_keys_hold(self):
        c = self.client()
        for a, b in ((b"a\r\nb", b"\x00\xff"), (b"x" * 5000, b"y" * 5000), (b"{}", b"}{")):
            reply = c("RENAME", a, b)
            self.assertError(reply, "CROSSSLOT")
            self.assertTrue(c.raw.endswith(b"\r\n") and c.raw.count(b"\n") == 1)
            self.assertLess(len(c.raw), 2000)
            self.assertEqual(c("PING"), b"PONG")

    def test_nothing_was_done(self):
        c = self.client()
        c.ok("MSET", self.a, "1", self.b, "2")
        self.refused("RENAME", self.a, self.b)
        self.refused("MSETNX", self.a, "x", self.b, "y")
        self.assertEqual(c("MGET", self.a, self.b), [b"1", b"2"])

    def test_refusal_keeps_its_place_in_a_pipeline(self):
        c = self.client()
        replies = c.pipeline([("SET", self.a, "1"), ("RENAME", self.a, self.b), ("GET", self.a), ("GET", self.b)])
        self.assertEqual([replies[0], replies[2], replies[3]], [b"OK", b"1", None])
        self.assertError(replies[1], "CROSSSLOT")

    def test_same_slot_is_forwarded(self):
        c = self.client()
        self.assertEqual(c("SADD", "{t}a", 1, 2, 3), 3)
        self.assertEqual(c("SADD", "{t}b", 2, 3, 4), 3)
        self.assertEqual(c("SINTERSTORE", "{t}c", "{t}a", "{t}b"), 2)
        self.assertEqual(c("SINTERCARD", 2, "{t}a", "{t}b"), 2)
        self.assertEqual(c("RENAME", "{t}c", "{t}d"), b"OK")


class Scripts(harness.ProxyTest):
    SCRIPT = "return {KEYS[1], ARGV[1], redis.call('INCR', KEYS[1])}"

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.judge = harness.Server().start()
        cls.sha = hashlib.sha1(cls.SCRIPT.encode()).hexdigest()

    @classmethod
    def tearDownClass(cls):
        cls.judge.kill()
        super().tearDownClass()

    def test_eval_on_every_shard(self):
        c = self.client()
        for i in range(3):
            key = self.cluster.key(i, "ev")
            self.assertEqual(c("EVAL", self.SCRIPT, 1, key, "x"), [key.encode(), b"x", 1])
            self.assertEqual(c("GET", key), b"1")

    def test_load_exists_evalsha_flush(self):
        c = self.client()
        self.assertEqual(c("SCRIPT", "FLUSH"), b"OK")
        self.assertEqual(c("SCRIPT", "EXISTS", self.sha), [0])
        self.assertError(c("EVALSHA", self.sha, 1, self.cluster.key(0, "ns"), "x"), "NOSCRIPT")
        self.assertEqual(c("SCRIPT", "LOAD", self.SCRIPT), self.sha.encode())
        self.assertEqual(c("SCRIPT", "EXISTS", self.sha, "f" * 40), [1, 0])
        for i in range(3):
            key = self.cluster.key(i, "sha")
            self.assertEqual(c("EVALSHA", self.sha, 1, key, "x"), [key.encode(), b"x", 1])
        for node in self.cluster.nodes:
            self.assertEqual(node("SCRIPT", "EXISTS", self.sha), [1])
        self.assertEqual(c("SCRIPT", "FLUSH", "SYNC"), b"OK")
        self.assertEqual(c("SCRIPT", "EXISTS", self.sha), [0])

    def test_exists_only_if_on_every_shard(self):
        c = self.client()
        c.ok("SCRIPT", "FLUSH")
        self.cluster.nodes[0]("SCRIPT", "LOAD", self.SCRIPT)
        self.assertEqual(c("SCRIPT", "EXISTS", self.sha), [0])

    def test_a_text_that_never_ran_is_not_known(self):
        """What Redis refuses, or forgets, before it looks at the script: EVALSHA finds nothing afterwards."""
        text = "return redis.pcall('GET', KEYS[1])"
        sha = hashlib.sha1(text.encode()).hexdigest()
        c = self.client()
        ways = [[[name, text, keys]] for name in ("EVAL", "EVAL_RO", "eval") for keys in ("-1", "x", "1", "9223372036854775807")]
        ways += [[["MULTI"], ["EVAL", text, "1", "k"], ["DISCARD"]]]
        ways += [[["MULTI"], ["EVAL", text, "1", "k"], ["NOSUCH"], ["EXEC"]]]
        ways += [[["MULTI"], ["EVAL_RO", text, "-1"], ["EXEC"]], [["SCRIPT", "LOAD", text, "x"]]]
        with self.judge.client() as j:
            for way in ways:
                for side in (c, j):
                    side.ok("SCRIPT", "FLUSH")
                    for command in way:
                        side(*command)
                with self.subTest(way=way):
                    for command in (["EVALSHA", sha, "1", "k"], ["SCRIPT", "EXISTS", sha]):
                        self.assertEqual((c(*command), c.raw), (j(*command), j.raw))
        self.assertEqual(c("SCRIPT", "EXISTS", sha), [0])

    def test_what_is_no_script_is_not_known(self):
        c = self.client()
        with self.judge.client() as j:
            for way in (["EVAL", "return ((", "0"], ["EVAL_RO", "return ((", "1", "k"], ["SCRIPT", "LOAD", "return (("]):
                sha = hashlib.sha1(b"return ((").hexdigest()
                for command in (["SCRIPT", "FLUSH"], way, ["SCRIPT", "EXISTS", sha], ["EVALSHA", sha, "0"], way):
                    with self.subTest(way=way, command=command):
                        self.assertEqual((str(c(*command)), c.raw), (str(j(*command)), j.raw))

    def test_a_text_further_on_in_a_pipeline_is_not_known_yet(self):
        text = "return {KEYS[1], 'further on'}"
        sha = hashlib.sha1(text.encode()).hexdigest()
        c = self.client()
        with self.judge.client() as j:
            for first, then in (("k", "k"), ("k", "other"), ("other", "k")):
                program = [["EVALSHA", sha, "1", first], ["EVAL", text, "1", then]]
                for side in (c, j):
                    side.ok("SCRIPT", "FLUSH")
                ours, theirs = c.pipeline(program), j.pipeline(program)
                self.assertEqual([str(r) for r in ours], [str(r) for r in theirs])
                self.assertError(ours[0], "NOSCRIPT")
                self.assertEqual(c("EVALSHA", sha, "1", first), [first.encode(), b"further on"])

    def test_a_text_of_a_transaction_is_known(self):
        text = "return 'of a transaction'"
        sha = hashlib.sha1(text.encode()).hexdigest()
        c = self.client()
        for name, last in (("EVAL", "EXEC"), ("eval_ro", "exec")):
            c.ok("SCRIPT", "FLUSH")
            c.ok("MULTI")
            c.ok("SET", self.cluster.key(0), "v")
            c.ok(name, text, 1, self.cluster.key(0))
            self.assertEqual(c(last), [b"OK", b"of a transaction"])
            for i in range(3):
                self.assertEqual(c("EVALSHA", sha, 1, self.cluster.key(i)), b"of a transaction")

    def test_errors_are_those_of_redis(self):
        c = self.client()
        with self.judge.client() as j:
            for command in (
                ["EVAL", "return 1", "x"],
                ["EVAL", "return 1", "-1"],
                ["EVAL", "return 1", "3", "k"],
                ["EVAL", "return 1"],
                ["EVALSHA", "f" * 40, "0"],
                ["EVALSHA", "short", "1", "k"],
                ["EVAL", "return (", "1", "k"],
                ["EVAL", "return redis.call('GET')", "1", "k"],
                ["EVAL", "return redis.call('NOPE', 'k')", "1", "k"],
                ["EVAL", "return redis.error_reply('OWN words')", "1", "k"],
                ["EVAL_RO", "return redis.call('SET', KEYS[1], '1')", "1", "k"],
                ["SCRIPT", "EXISTS"],
                ["SCRIPT", "NOSUCH"],
                ["SCRIPT", "LOAD"],
                ["SCRIPT", "LOAD", "return ("],
                ["SCRIPT", "FLUSH", "MAYBE"],
                ["FCALL", "nofunction", "1", "k"],
            ):
                with self.subTest(command=command):
                    self.assertEqual(c(*command), j(*command))

    def test_results_of_every_shape(self):
        c = self.client()
        with self.judge.client() as j:
            for text in (
                "return 1",
                "return 'x'",
                "return {1, {2, 'three'}, false, true, redis.status_reply('FINE')}",
                "return nil",
                "return {}",
                "return redis.call('PING')",
                "return 3.99",
            ):
                for keys in (["0"], ["1", "shape"]):
                    c("EVAL", text, *keys), j("EVAL", text, *keys)
                    self.assertEqual(c.raw, j.raw, text)

    def test_without_keys(self):
        c = self.client()
        self.assertEqual(c("EVAL", "return ARGV[1]", 0, "x"), b"x")


if __name__ == "__main__":
    harness.main()
