#!/usr/bin/python3
"""
Commands that the proxy splits over slots: merged in order, and an error as a whole when any part fails; never a nil
and never a short count for what was not read. One shard is killed (no replica) for that.
"""

import time

import harness

TIMEOUT_S = 1.0


class Split(harness.ProxyTest):
    def setUp(self):
        self.cluster.flush()
        self.keys = [self.cluster.key(i % 3, "k%d" % i, n=i) for i in range(30)]

    def test_mset_mget_order(self):
        c = self.client()
        self.assertEqual(c("MSET", *[x for k in self.keys for x in (k, "v" + k)]), b"OK")
        want = [b"v" + k.encode() for k in self.keys]
        self.assertEqual(c("MGET", *self.keys), want)
        self.assertEqual(c("MGET", *reversed(self.keys)), want[::-1])
        self.assertEqual(c("MGET", self.keys[0], "missing", self.keys[0]), [want[0], None, want[0]])

    def test_counts(self):
        c = self.client()
        c.ok("MSET", *[x for k in self.keys[:20] for x in (k, "v")])
        self.assertEqual(c("EXISTS", *self.keys), 20)
        self.assertEqual(c("EXISTS", *(self.keys + self.keys)), 40)
        self.assertEqual(c("TOUCH", *self.keys), 20)
        self.assertEqual(c("UNLINK", *self.keys[:5]), 5)
        self.assertEqual(c("DEL", *(self.keys + self.keys)), 15)
        self.assertEqual(c("EXISTS", *self.keys), 0)

    def test_repeated_key_in_mset(self):
        c = self.client()
        a, b = self.keys[:2]
        self.assertEqual(c("MSET", a, 1, b, 1, a, 2, b, 2, a, 3), b"OK")
        self.assertEqual(c("MGET", a, b), [b"3", b"2"])

    def test_wrong_type_in_mget_is_nil(self):
        c = self.client()
        c.ok("MSET", *[x for k in self.keys for x in (k, "v")])
        c.ok("DEL", self.keys[4])
        c.ok("RPUSH", self.keys[4], "x")
        want = [b"v"] * 30
        want[4] = None
        self.assertEqual(c("MGET", *self.keys), want)

    def test_arity_and_odd_mset(self):
        c = self.client()
        self.assertEqual(c("MGET").text, "ERR wrong number of arguments for 'mget' command")
        self.assertEqual(c("MSET", *self.keys[:3]).text, "ERR wrong number of arguments for 'mset' command")
        self.assertEqual(c("DEL").text, "ERR wrong number of arguments for 'del' command")

    def test_many_keys(self):
        """10,000 keys over all slots; also quick (not quadratic)."""
        c = self.client()
        stalls = self.stalls()
        keys = ["many:%d" % i for i in range(10000)]
        self.assertEqual(c("MSET", *[x for k in keys for x in (k, k)]), b"OK")
        began = time.monotonic()
        self.assertEqual(c("MGET", *keys), [k.encode() for k in keys])
        self.assertLess(time.monotonic() - began, 1.0 * harness.TIME_SCALE + stalls.worst_s)
        self.assertEqual(c("EXISTS", *keys), 10000)
        self.assertEqual(c("DEL", *keys), 10000)

    def test_order_with_neighbours_in_a_pipeline(self):
        c = self.client()
        for round_ in range(50):
            v = b"%d" % round_
            replies = c.pipeline(
                [("MSET", *[x for k in self.keys for x in (k, v)]), ("GET", self.keys[7]), ("MGET", *self.keys)]
                + [("INCR", self.keys[3]), ("MGET", *self.keys[2:5]), ("DEL", *self.keys), ("MGET", *self.keys)]
            )
            more = b"%d" % (round_ + 1)
            want = [b"OK", v, [v] * 30, round_ + 1, [v, more, v], 30, [None] * 30]
            self.assertEqual(replies, want, "round %d" % round_)

    def test_two_clients_do_not_mix(self):
        def run(name):
            with self.proxy.client() as c:
                keys = ["%s:%d" % (name, i) for i in range(20)]
                for i in range(200):
                    self.assertEqual(c("MSET", *[x for k in keys for x in (k, "%s%d" % (name, i))]), b"OK")
                    self.assertEqual(c("MGET", *keys), [b"%s%d" % (name.encode(), i)] * 20)

        for worker in [harness.Worker(run, n) for n in ("a", "b", "c", "d")]:
            worker.finish()


class FailedPart(harness.ProxyTest):
    DIRECTIVES = {"request-timeout": int(TIMEOUT_S * 1000)}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.keys = [cls.cluster.key(i % 3, "k%d" % i, n=i) for i in range(12)]
        with cls.proxy.client() as c:
            c.ok("MSET", *[x for k in cls.keys for x in (k, "v")])
        cls.cluster.nodes[1].kill()

    def check(self, *command):
        c = self.client()
        began = time.monotonic()
        reply = c(*command)
        took = time.monotonic() - began
        self.assertIsInstance(reply, harness.ReplyError, "a part failed, and the reply was %r" % (reply,))
        self.assertLess(took, TIMEOUT_S * 2 + 2 * harness.TIME_SCALE)
        # The connection is fit for use, and what lives is served.
        self.assertEqual(c("GET", self.keys[0]), b"v")
        self.assertEqual(c("MGET", self.keys[0], self.keys[2]), [b"v", b"v"])

    def test_mget(self):
        self.check("MGET", *self.keys)

    def test_exists(self):
        self.check("EXISTS", *self.keys)

    def test_touch(self):
        self.check("TOUCH", *self.keys)

    def test_mset(self):
        self.check("MSET", *[x for k in self.keys for x in (k, "v")])

    def test_del_and_unlink(self):
        """On keys of their own: the parts that live do run."""
        keys = [self.cluster.key(i % 3, "gone%d" % i, n=i) for i in range(6)]
        self.check("DEL", *keys)
        self.check("UNLINK", *keys)

    def test_cluster_wide_counts(self):
        self.check("DBSIZE")

    def test_pipeline_goes_on(self):
        """Errors of the dead shard stand exactly at their places."""
        c = self.client()
        replies = c.pipeline([("MGET", *self.keys), ("GET", self.keys[0]), ("EXISTS", *self.keys), ("GET", self.keys[2])])
        self.assertIsInstance(replies[0], harness.ReplyError)
        self.assertIsInstance(replies[2], harness.ReplyError)
        self.assertEqual([replies[1], replies[3]], [b"v", b"v"])


if __name__ == "__main__":
    harness.main()
