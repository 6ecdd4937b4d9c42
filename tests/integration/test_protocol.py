#!/usr/bin/python3
"""
The wire protocol, judged by a real redis-server that is fed the same bytes: inline commands, quotes, empty requests,
every malformed header, binary keys and values, requests in single bytes, deep pipelines, limits. What Redis answers,
byte for byte and up to the end of the connection, is what the proxy must answer.
"""

import harness

# An unknown command: its answer is the same before and after AUTH.
MARK = b"*1\r\n$7\r\n--end--\r\n"
MARKED = b"-ERR unknown command '--end--', with args beginning with: \r\n"


class Judged(harness.ProxyTest):
    """A proxy and a plain server beside it."""

    PRIMARIES = 2
    PASSWORD = None

    @classmethod
    def setUpClass(cls):
        if cls.PASSWORD:
            cls.DIRECTIVES = {"requirepass": cls.PASSWORD}
        super().setUpClass()
        cls.judge = harness.Server(password=cls.PASSWORD).start()

    @classmethod
    def tearDownClass(cls):
        cls.judge.kill()
        super().tearDownClass()

    def converse(self, port, data, step=0, mark=MARK):
        """Sends the bytes and a mark; answers (all that came, whether the peer closed)."""
        with harness.Client(port, timeout=10) as c:
            out = b""
            try:
                if step:
                    for i in range(0, len(data), step):
                        c.send(data[i : i + step])
                else:
                    c.send(data)
                c.send(mark)
            except OSError:  # closed while we spoke
                pass
            try:
                while not out.endswith(MARKED):
                    chunk = c.sock.recv(1 << 16)
                    if not chunk:
                        return out, True
                    out += chunk
            except ConnectionError:
                return out, True
            except harness.socket.timeout:
                self.fail("no reply and no close after %r: got %r" % (data[:200], out[-300:]))
            return out, False

    def same(self, data, step=0):
        want = self.converse(self.judge.port, data)
        got = self.converse(self.proxy.port, data, step)
        self.assertEqual(got, want, "after %r" % data[:200])
        return want

    def same_all(self, cases):
        for data in cases:
            with self.subTest(data=data[:80]):
                self.same(data)

    def closes(self, cases):
        """As same_all, and Redis must have closed (or the case tests nothing)."""
        for data in cases:
            with self.subTest(data=data[:80]):
                self.assertTrue(self.same(data)[1], "Redis did not close")


class Protocol(Judged):
    def test_inline(self):
        self.same_all(
            [
                b"PING\r\n",
                b"PING\n",
                b"ping\r\nPING hello\r\n",
                b"  PING   spaced   \r\n",
                b"SET {x}a b\r\nGET {x}a\r\nDEL {x}a\r\n",
                b"SET {x}a \"quoted \\x41\\n\\r\\t\\a\\b\\\\ \\\" value\"\r\nGET {x}a\r\n",
                b"SET {x}a 'single \\' \\n quoted'\r\nGET {x}a\r\n",
                b"SET {x}a \"\"\r\nGET {x}a\r\nSTRLEN {x}a\r\n",
                b"\"PING\"\r\n",
                b"'ECHO' \"\\x00\\xff\"\r\n",
                b"ECHO \\x41\r\n",
                b"ECHO a\tb\r\n",
                b"NOSUCH thing\r\n",
                b"GET\r\n",
                b"PING\r\r\n",
                b"ECHO %s\r\n" % (b"x" * 60000),
                b"MSET a 1 b 2 c 3\r\nMGET a b c\r\nDEL a b c\r\n",
            ]
        )

    def test_empty_requests(self):
        self.same_all(
            [
                b"\r\n",
                b"\n",
                b"\r\n\r\n\r\nPING\r\n",
                b"*0\r\n",
                b"*-1\r\n",
                b"*-10\r\nPING\r\n",
                b"*0\r\n*1\r\n$4\r\nPING\r\n*-1\r\nPING\r\n",
                b"   \r\nPING\r\n",
                b"\"\"\r\n",
                b"*1\r\n$0\r\n\r\n",
            ]
        )

    def test_unbalanced_quotes(self):
        self.closes([b"ECHO \"x\r\n", b"ECHO 'x\r\n", b"ECHO \"x\"y\r\n", b"SET a b\r\nECHO 'a'b\r\nPING\r\n", b"\"\r\n"])

    def test_bad_multibulk_headers(self):
        self.closes(
            [
                b"*x\r\n",
                b"*\r\n",
                b"*1x\r\n",
                b"* 1\r\n",
                b"*+1\r\n",
                b"*01\r\n$4\r\nPING\r\n",
                b"*1048577000000\r\n",
                b"*2147483648\r\n",
                b"*9999999999999999999999\r\n",
                b"*-9223372036854775809\r\n",
                b"PING\r\n*x\r\nPING\r\n",
                b"SET a b\r\nGET a\r\n*abc\r\n",
            ]
        )

    def test_bad_bulk_headers(self):
        self.closes(
            [
                b"*1\r\nPING\r\n",
                b"*1\r\n:1\r\n",
                b"*1\r\n\r\n",
                b"*1\r\n$x\r\n",
                b"*1\r\n$\r\n",
                b"*1\r\n$-1\r\n",
                b"*1\r\n$-5\r\n",
                b"*1\r\n$4x\r\nPING\r\n",
                b"*1\r\n$04\r\nPING\r\n",
                b"*1\r\n$+4\r\nPING\r\n",
                b"*1\r\n$536870913\r\n",
                b"*1\r\n$99999999999999999999\r\n",
                b"*2\r\n$3\r\nGET\r\n$x\r\n",
                b"*2\r\n$3\r\nGET\r\n*1\r\n",
                b"*1\r\n$4\r\nPING\r\n*2\r\n$3\r\nGET\r\n%1\r\n",
                b"*1\r\n\xff\r\n",
            ]
        )

    def test_wrong_line_ends(self):
        """Redis skips two bytes after a bulk whatever they are, and after a header's CR."""
        self.same_all([b"*1\r\n$4\r\nPINGxx", b"*1\rX$4\rYPINGZZ", b"*2\r\n$4\r\nECHO\r\n$2\r\nhi\n\n"])

    def test_oversized_lines(self):
        for data in (b"A" * 66000, b"*1\r\n$" + b"1" * 66000, b"*" + b"1" * 66000, b"PING\r\n" + b"B" * 66000):
            with self.subTest(data=data[:20]):
                want = self.converse(self.judge.port, data, mark=b"")
                self.assertTrue(want[1], "Redis did not close")
                self.assertEqual(self.converse(self.proxy.port, data, mark=b""), want)

    def test_http_is_refused(self):
        for data in (
            b"POST / HTTP/1.1\r\nHost: x\r\n\r\n",
            b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            b"PING\r\nPOST / HTTP/1.1\r\nSET a hacked\r\n",
            b"*1\r\n$5\r\nhost:\r\n",
            b"*1\r\n$4\r\npost\r\n",
        ):
            with self.subTest(data=data):
                self.assertTrue(self.same(data)[1], "Redis did not close")

    def test_closes_after_earlier_replies(self):
        """Replies of requests before the broken one all come, also those that a node must give."""
        data = b"".join(harness.encode("SET", "e%d" % i, i) + harness.encode("GET", "e%d" % i) for i in range(200))
        self.closes([data + b"*x\r\n" + harness.encode("SET", "e0", "after")])
        with self.client() as c:
            self.assertEqual(c("GET", "e0"), b"0")

    def test_byte_by_byte(self):
        data = (
            harness.encode("SET", b"k\x00\r\n{t}", b"\r\n$5\r\n\x00\xff*1\r\n")
            + harness.encode("GET", b"k\x00\r\n{t}")
            + b"PING\r\nECHO 'a b'\r\n*0\r\n\r\n"
            + harness.encode("MSET", "a", "1", "b", "2", "c", "")
            + harness.encode("MGET", "a", "b", "c", "none")
            + harness.encode("DEL", "a", "b", "c", b"k\x00\r\n{t}")
            + harness.encode("NOSUCH", "x")
            + harness.encode("GET")
        )
        for step in (1, 2, 3, 7):
            with self.subTest(step=step):
                self.same(data, step)

    def test_bad_headers_byte_by_byte(self):
        for data in (b"PING\r\n*x\r\n", b"*1\r\n$abc\r\n", b"*1\r\nPING\r\n", b"ECHO 'x\r\n"):
            with self.subTest(data=data):
                want = self.converse(self.judge.port, data)
                got = self.converse(self.proxy.port, data, 1)
                self.assertEqual(got, want)

    def test_binary_keys_and_values(self):
        c = self.client()
        for key in (b"", b"\x00", b"\r\n", b"{}\xff", b"{\x00}", b"a{b}\r\n", bytes(range(256))):
            value = bytes(reversed(range(256))) * 3 + b"\r\n" + key
            self.assertEqual(c("SET", key, value), b"OK")
            self.assertEqual(c("GET", key), value)
            self.assertEqual(c("EXISTS", key, key), 2)
            self.assertEqual(c("DEL", key), 1)

    def test_deep_pipeline(self):
        n = 10000
        data = b"".join(harness.encode("SET", "deep%d" % (i % 500), i) + harness.encode("GET", "deep%d" % (i % 500)) for i in range(n))
        c = self.client()
        sender = harness.Worker(c.send, data)
        for i in range(n):
            self.assertEqual([c.read(), c.read()], [b"OK", b"%d" % i])
        sender.finish()

    def test_deep_pipeline_sent_before_any_read(self):
        """10,000 requests written by a client that reads only afterwards."""
        c = self.client()
        c.send(b"PING\r\n" * 5000 + harness.encode("INCR", "sentfirst") * 5000)
        self.assertEqual(c.read_n(5000), [b"PONG"] * 5000)
        self.assertEqual(c.read_n(5000), list(range(1, 5001)))
        c.ok("DEL", "sentfirst")

    def test_quit(self):
        for data in (
            b"QUIT\r\n",
            b"*1\r\n$4\r\nquit\r\n",
            b"SET q 1\r\nINCR q\r\nGET q\r\nQUIT\r\nINCR q\r\n",
            b"QUIT now\r\n",
        ):
            with self.subTest(data=data):
                self.assertTrue(self.same(data)[1], "Redis did not close")
        with self.client() as c:
            self.assertEqual(c("GET", "q"), b"2")

    def test_half_close_still_answers(self):
        """A client that shuts its writing side down (nc, printf | ...) gets all its replies."""
        data = b"".join(harness.encode("SET", "h%d" % i, i) for i in range(100)) + b"PING\r\n"
        with self.client() as c:
            c.send(data)
            c.sock.shutdown(harness.socket.SHUT_WR)
            self.assertEqual(c.read_until_close(), b"+OK\r\n" * 100 + b"+PONG\r\n")

    def test_long_unknown_commands(self):
        self.same_all(
            [
                harness.encode("x" * 5000),
                harness.encode("nosuch", "a" * 5000, "b"),
                harness.encode("nosuch", *["arg%d" % i for i in range(100)]),
                harness.encode("no\r\nsuch", "a\r\nb"),
                harness.encode("no\x00such"),
                harness.encode("", "x"),
            ]
        )


class Unauthenticated(Judged):
    PASSWORD = "secret"

    def test_limits_before_auth(self):
        self.closes(
            [
                b"*11\r\n",
                b"*1000\r\n$4\r\nPING\r\n",
                b"*1\r\n$16385\r\n",
                b"*2\r\n$3\r\nGET\r\n$1000000\r\n",
            ]
        )

    def test_within_the_limits(self):
        self.same_all([b"*10\r\n" + b"$1\r\nx\r\n" * 10, b"*2\r\n$4\r\nPING\r\n$16384\r\n" + b"x" * 16384 + b"\r\n"])

    def test_limits_end_with_auth(self):
        auth = harness.encode("AUTH", "secret")
        self.same_all([auth + harness.encode("MGET", *"abcdefghijklmnop"), auth + harness.encode("SET", "k", b"y" * 20000)])


if __name__ == "__main__":
    harness.main()
