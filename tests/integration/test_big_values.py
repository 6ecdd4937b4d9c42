#!/usr/bin/python3
# alone: yes
"""
Values of 64 MB (and of 512 MB with KEYWAY_BIG=1) through the proxy, which must pass them on without holding them:
its memory grows by a few megabytes only. Clients that leave in the middle of a value harm nobody.
"""

import hashlib
import os
import socket

import harness

MB = 1 << 20
GROWTH_KB = 8 * 1024


def pattern(size):
    """A value with no short period, made quickly."""
    block = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(1 << 15))
    return (block * (size // len(block) + 1))[:size]


def send_set(client, key, value):
    """SET without a copy of the value."""
    key = harness.to_bytes(key)
    client.send(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(key), key, len(value)))
    client.send(value)
    client.send(b"\r\n")


def read_digest(client, size):
    """Reads one bulk reply of a known size, holding nothing of it; answers its digest."""
    header = b"$%d\r\n" % size
    head = client.sock.recv(len(header), socket.MSG_WAITALL)
    assert head == header, head
    digest = hashlib.sha1()
    buffer = bytearray(1 << 20)
    left = size
    while left:
        n = client.sock.recv_into(buffer, min(left, len(buffer)))
        assert n, "closed with %d bytes missing" % left
        digest.update(memoryview(buffer)[:n])
        left -= n
    assert client.sock.recv(2, socket.MSG_WAITALL) == b"\r\n"
    return digest.hexdigest()


class BigValues(harness.ProxyTest):
    PRIMARIES = 2
    DIRECTIVES = {"workers": 1, "request-timeout": 30000}
    TEST_TIMEOUT = 300

    def setUp(self):
        self.key = self.cluster.key(0, "big")
        self.small = self.cluster.key(0, "small")
        self.client().ok("SET", self.small, "s")

    def round_trip(self, size):
        value = pattern(size)
        want = hashlib.sha1(value).hexdigest()
        c = self.client(timeout=120)
        c.ok("GET", self.small)
        self.proxy.reset_peak()
        before = self.proxy.rss_kb()
        send_set(c, self.key, value)
        self.assertEqual(c.read(), b"OK")
        set_growth = self.proxy.peak_kb() - before
        del value
        c.cmd("GET", self.key)
        self.assertEqual(read_digest(c, size), want)
        growth = self.proxy.peak_kb() - before
        self.assertEqual(self.cluster.nodes[0]("STRLEN", self.key), size)
        self.assertEqual(c.ok("GET", self.small), b"s")
        self.assertEqual(c.ok("DEL", self.key), 1)
        if not harness.SANITIZER:
            self.assertLess(set_growth, GROWTH_KB, "kB while it was written")
            self.assertLess(growth, GROWTH_KB, "kB while it was read")

    def test_64_mb(self):
        self.round_trip(64 * MB)

    @harness.unittest.skipUnless(os.environ.get("KEYWAY_BIG") == "1", "set KEYWAY_BIG=1")
    def test_512_mb(self):
        self.round_trip(512 * MB)

    def test_sizes_around_every_threshold(self):
        c = self.client()
        sizes = [n + d for n in (1024, 4096, 16384, 32768, 65536, 131072, 262144, MB) for d in (-2, -1, 0, 1, 2)]
        value = pattern(MB + 2)
        for size in sizes:
            replies = c.pipeline(
                [("SET", self.key, value[:size]), ("GET", self.small), ("GET", self.key), ("STRLEN", self.key)]
            )
            self.assertEqual(replies[0], b"OK", size)
            self.assertEqual(replies[1], b"s", size)
            self.assertTrue(replies[2] == value[:size], "size %d: other bytes came back" % size)
            self.assertEqual(replies[3], size)

    def test_big_parts_of_split_commands(self):
        c = self.client()
        values = {self.cluster.key(i % 2, "part%d" % i, n=i): pattern(8 * MB + i) for i in range(4)}
        keys = list(values)
        self.assertEqual(c.ok("MSET", *[x for k in keys for x in (k, values[k])]), b"OK")
        self.assertTrue(c.ok("MGET", *keys) == [values[k] for k in keys])
        self.assertEqual(c.ok("DEL", *keys), 4)

    def test_interleaved_with_small_requests_of_others(self):
        value = pattern(32 * MB)
        big, other = self.client(), self.client()
        sender = harness.Worker(send_set, big, self.key, value)
        count = 0
        while sender.is_alive() or count < 100:
            self.assertEqual(other.ok("INCR", self.small + "n"), count + 1)
            count += 1
        sender.finish()
        self.assertEqual(big.read(), b"OK")
        self.assertTrue(big.ok("GET", self.key) == value)
        other.ok("DEL", self.small + "n")

    def test_client_leaves_in_the_middle_of_sending(self):
        value = pattern(8 * MB)
        other = self.client()
        self.client().ok("SET", self.key, "before")
        for keep in (1, 100, 20000, 5 * MB):
            c = self.client()
            c.send(b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n" % (len(self.key), self.key.encode(), len(value)))
            c.send(value[:keep])
            c.close()
            for _ in range(50):
                self.assertEqual(other.ok("GET", self.small), b"s")
        self.assertEqual(other.ok("GET", self.key), b"before")

    def test_client_leaves_in_the_middle_of_reading(self):
        other = self.client()
        other.ok("SET", self.key, pattern(16 * MB))
        for keep in (1, 20000, 3 * MB):
            c = self.client()
            c.cmd("GET", self.key)
            c.sock.recv(keep, socket.MSG_WAITALL)
            c.close()
            for _ in range(50):
                self.assertEqual(other.ok("GET", self.small), b"s")

    def test_bulk_limit(self):
        proxy = self.start_proxy({"proto-max-bulk-len": "1mb"})
        with proxy.client() as c:
            self.assertEqual(c("SET", self.key, b"x" * MB), b"OK")
        with proxy.client() as c:
            c.send(b"*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$%d\r\n" % (MB + 1))
            self.assertEqual(c.read_until_close(), b"-ERR Protocol error: invalid bulk length\r\n")

    def test_query_buffer_limit(self):
        """A command of many arguments that no limit of its own stops is stopped by client-query-buffer-limit."""
        proxy = self.start_proxy({"client-query-buffer-limit": "1mb"})
        with proxy.client() as c, proxy.client() as other:
            try:
                c.send(b"*100000\r\n$5\r\nRPUSH\r\n$1\r\nk\r\n" + b"$100\r\n%s\r\n" % (b"x" * 100) * 50000)
            except OSError:
                pass
            out = c.read_until_close()
            self.assertNotIn(b":", out[:1])
            self.assertEqual(other("GET", self.small), b"s")


if __name__ == "__main__":
    harness.main()
