#!/usr/bin/python3
"""
docs/commands.md: it is what `keyway-proxy --commands` prints, and what it says is so. Every row is tried at a running
proxy: a refused command is refused with the reason that stands there, any other is served, in front of Redis and of
Valkey. What is said to be different for all is looked at one by one.
"""

import os
import re
import shutil

import harness

VALKEY = shutil.which("valkey-server")
PAGE = os.path.join(harness.REPO, "docs", "commands.md")
ROW = re.compile(r"^\| `([^`]+)`( \(Valkey 8\))? \| (.*?) \| (.*) \|$", re.M)
NOT_SUPPORTED = "is not supported through Keyway"


def printed():
    made = harness.subprocess.run([harness.bin_path("keyway-proxy"), "--commands"], capture_output=True, text=True, check=True)
    return made.stdout


class Page(harness.unittest.TestCase):
    def test_is_current(self):
        with open(PAGE) as page:
            self.assertEqual(page.read(), printed(), "docs/commands.md is not what --commands prints")


class Rows:
    """Each row of the page at the proxy. `newer`: the servers have what is marked as Valkey's."""

    newer = False

    def try_row(self, words):
        with self.proxy.client() as c:
            arity = abs(c.ok("COMMAND", "INFO", "|".join(words).lower())[0][1])
        with self.proxy.client() as c:
            return c(*(words + ["x"] * (arity - len(words))))

    def test_every_row(self):
        rows = ROW.findall(printed())
        self.assertGreater(len(rows), 300)
        tried = 0
        for name, valkey, served, text in rows:
            words = name.split()
            if valkey and not self.newer:
                continue
            tried += 1
            with self.subTest(name):
                reply = self.try_row(words)
                error = reply.text if isinstance(reply, harness.ReplyError) else ""
                self.assertFalse(error.startswith("ERR unknown"), error)
                if served == "refused":
                    self.assertTrue(text)
                    self.assertEqual(error, "ERR '%s' %s: %s" % ("|".join(words).lower(), NOT_SUPPORTED, text))
                else:
                    self.assertNotIn(NOT_SUPPORTED, error)
        self.assertGreater(tried, 300)


class RowsBeforeRedis(Rows, harness.ProxyTest):
    PRIMARIES = 2

    def test_what_only_valkey_has_is_unknown(self):
        marked = [name.split() for name, valkey, _, _ in ROW.findall(printed()) if valkey]
        self.assertGreater(len(marked), 3)
        c = self.client()
        for words in marked:
            with self.subTest(words):
                self.assertError(c(*words), "ERR unknown %s '%s'" % ("subcommand" if len(words) > 1 else "command", words[-1]))


@harness.unittest.skipUnless(VALKEY, "valkey-server is not installed")
class RowsBeforeValkey(Rows, harness.ProxyTest):
    newer = True

    @classmethod
    def setUpClass(cls):
        cls.cluster = harness.Cluster(2, 0, program=VALKEY)
        cls.proxy = harness.Proxy(cls.cluster)
        # Clients are let in before the nodes have said what they are, where that takes long.
        newest = next(name for name, valkey, _, _ in ROW.findall(printed()) if valkey)
        asked = ("COMMAND", "INFO", newest.replace(" ", "|"))

        def known():
            with cls.proxy.client() as c:
                return c.ok(*asked)[0] is not None

        harness.wait_until(known, 20, "the proxy to know of Valkey's commands")


class Differences(harness.ProxyTest):
    """What the page says is different for all, one by one."""

    DIRECTIVES = {"workers": 2}

    def test_one_database(self):
        c = self.client()
        c.ok("RPUSH", "{t}a", 1)
        self.assertEqual(c("SELECT", 0), b"OK")
        for command in (["SELECT", 1], ["COPY", "{t}a", "{t}b", "DB", 1], ["MOVE", "{t}a", 1], ["SWAPDB", 0, 1]):
            with self.subTest(command):
                self.assertError(c(*command), "ERR")

    def test_sort(self):
        c = self.client()
        c.ok("RPUSH", "{t}l", 2, 1)
        for name in ("SORT", "SORT_RO"):
            self.assertError(c(name, "{t}l", "BY", "{t}w_*"), "ERR BY option of SORT denied in")
            self.assertError(c(name, "{t}l", "GET", "#"), "ERR GET option of SORT denied in")
            self.assertEqual(c(name, "{t}l", "BY", "nosort"), [b"2", b"1"])

    def test_inside_multi(self):
        refused = ["SUBSCRIBE x", "AUTH x", "HELLO 2", "CLIENT ID", "CONFIG GET port", "COMMAND COUNT", "INFO"]
        refused += ["SCAN 0", "DBSIZE", "FLUSHALL", "SCRIPT LOAD x", "WAIT 0 0"]
        for command in refused:
            with self.subTest(command):
                c = self.client()
                c.ok("MULTI")
                self.assertIn(NOT_SUPPORTED + " inside MULTI", c(*command.split()).text)
                self.assertError(c("EXEC"), "EXECABORT")
        c = self.client()
        self.assertEqual(c.pipeline([("MULTI",), ("PING",), ("ECHO", "x"), ("SELECT", 0), ("EXEC",)])[-1], [b"PONG", b"x", b"OK"])

    def test_scripts_see_their_shard(self):
        c = self.client()
        self.cluster.flush()
        keys = [self.cluster.key(i) for i in range(3)]
        self.assertEqual(c("MSET", *[x for k in keys for x in (k, k)]), b"OK")
        self.assertEqual(c("EVAL", "return redis.call('dbsize')", 1, keys[0]), 1)
        self.assertError(c("EVAL", "return redis.call('get', ARGV[1])", 1, keys[0], keys[1]), "ERR Script attempted to access a non local key")
        self.assertError(c("EVAL", "return redis.call('select', 1)", 0), "ERR SELECT is not allowed in cluster mode")

    def test_receivers(self):
        # Those that are leaving still count when a worker is chosen: only among all new ones has each worker some.
        c = self.client()
        self.alone(c)
        subscribers = [self.client() for _ in range(4)]
        for s in subscribers:
            s.ok("SUBSCRIBE", "ch")
        self.assertEqual(c("PUBLISH", "ch", "1"), 4)
        # From a script each worker counts once, at the home; none elsewhere.
        counts = [c("EVAL", "return redis.call('publish', 'ch', '2')", 1, self.cluster.key(i)) for i in range(3)]
        self.assertEqual(sorted(counts), [0, 0, 2])
        for s in subscribers:
            self.assertEqual([s.read()[2] for _ in range(4)], [b"1", b"2", b"2", b"2"])

    def test_receivers_at_another_process(self):
        other = self.start_proxy({"workers": 1})
        with other.client() as one, other.client() as two:
            one.ok("SUBSCRIBE", "far")
            two.ok("SUBSCRIBE", "far")
            self.assertEqual(self.client()("PUBLISH", "far", "1"), 1)
            with other.client() as c:
                self.assertEqual(c("PUBLISH", "far", "2"), 2)

    def test_monitor_does_not_see_scripts(self):
        m = self.client()
        m.ok("MONITOR")
        c = self.client()
        c.ok("EVAL", "return redis.call('set', KEYS[1], 'inner')", 1, "k")
        c.ok("GET", "last")
        lines = [m.read()]
        while b'"last"' not in lines[-1]:
            lines.append(m.read())
        self.assertEqual([line.split(b'"')[1] for line in lines], [b"EVAL", b"GET"])

    def test_fixed_settings(self):
        c = self.client()
        self.assertEqual(c("CONFIG", "GET", "databases"), [b"databases", b"1"])
        self.assertEqual(c("CONFIG", "GET", "cluster-enabled"), [b"cluster-enabled", b"no"])

    def test_a_cursor_names_a_shard(self):
        self.cluster.flush()
        c = self.client()
        cursor, pages = b"0", 0
        while True:
            cursor, keys = c.ok("SCAN", cursor, "COUNT", 1000)
            self.assertEqual(keys, [])
            pages += 1
            if cursor == b"0":
                break
        self.assertEqual(pages, 3)


if __name__ == "__main__":
    harness.main()
