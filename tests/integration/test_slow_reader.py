#!/usr/bin/python3
# alone: yes
"""
A client that asks for gigabytes and reads nothing: the proxy's memory stays bounded, others on the same shard and
worker stay fast, what is read in the end is whole; client-output-buffer-limit disconnects it.
"""

import time

import harness

MB = 1 << 20
REQUESTS = 2000
LIMIT_MB = 150


class SlowReader(harness.ProxyTest):
    PRIMARIES = 2
    DIRECTIVES = {"workers": 1}

    def setUp(self):
        self.big = self.cluster.key(0, "big")
        self.small = self.cluster.key(0, "small")
        self.value = bytes(range(256)) * (MB // 256)
        with self.client() as c:
            c.ok("SET", self.big, self.value)
            c.ok("SET", self.small, "s")

    def ask_for_much(self, proxy):
        """A client with a small window that has 2 GB of replies coming and reads one of them."""
        c = proxy.client(rcvbuf=65536)
        self.addCleanup(c.close)
        c.send(harness.encode("GET", self.big) * REQUESTS)
        self.assertEqual(c.read(), self.value)
        return c

    def timed_traffic(self, proxy, count=1000):
        took = []
        with proxy.client() as c:
            for _ in range(count):
                began = time.monotonic()
                self.assertEqual(c("GET", self.small), b"s")
                took.append(time.monotonic() - began)
        return took

    @harness.unittest.skipIf(harness.SANITIZER, "memory bounds mean nothing under a sanitizer")
    def test_memory_stays_bounded_and_others_fast(self):
        self.bounded(1, LIMIT_MB)

    @harness.unittest.skipIf(harness.SANITIZER, "memory bounds mean nothing under a sanitizer")
    def test_memory_of_five_slow_readers(self):
        self.bounded(5, 2 * LIMIT_MB)

    def bounded(self, readers, limit_mb):
        proxy = self.start_proxy({"workers": 1})
        slow = [self.ask_for_much(proxy) for _ in range(readers)]
        stalls = self.stalls()
        peak = 0
        took = []
        end = time.monotonic() + 3
        while time.monotonic() < end:
            took += self.timed_traffic(proxy, 200)
            peak = max(peak, proxy.rss_kb())
        self.assertLess(peak, limit_mb * 1024, "resident memory, kB")
        self.assertLess(harness.percentile(took, 0.99), 0.05 + stalls.worst_s)
        # The one who reads after all gets everything in order; the others leave.
        for _ in range(100):
            self.assertEqual(slow[0].read(), self.value)
        for c in slow:
            c.close()
        self.timed_traffic(proxy, 100)
        self.assertLess(proxy.peak_kb(), limit_mb * 1024, "peak resident memory, kB")

    @harness.unittest.skipIf(harness.SANITIZER, "memory bounds mean nothing under a sanitizer")
    def test_memory_of_many_leavers_comes_back(self):
        before = self.proxy.rss_kb()
        for _ in range(20):
            c = self.proxy.client(rcvbuf=65536)
            c.send(harness.encode("GET", self.big) * 100)
            self.assertEqual(c.read(), self.value)
            c.close()
        self.timed_traffic(self.proxy, 50)
        harness.wait_until(lambda: self.proxy.rss_kb() < before + 64 * 1024, 10, "memory to come back")

    def test_small_replies_unread(self):
        """A flood of small requests whose replies are not read: reading stops, memory stays, then all is answered."""
        count = 300000
        before = self.proxy.rss_kb()
        c = self.client(rcvbuf=65536)
        request = harness.encode("GET", self.small)
        sender = harness.Worker(c.send, request * count)
        stalls = self.stalls()
        took = self.timed_traffic(self.proxy, 500)
        self.assertLess(harness.percentile(took, 0.99), 0.1 * harness.TIME_SCALE + stalls.worst_s)
        if not harness.SANITIZER:
            self.assertLess(self.proxy.rss_kb() - before, 32 * 1024, "kB of growth")
        want = b"$1\r\ns\r\n" * count
        got = bytearray()
        while len(got) < len(want):
            got += c.sock.recv(1 << 20)
        self.assertEqual(bytes(got), want)
        sender.finish()

    def disconnected(self, limit):
        proxy = self.start_proxy({"workers": 1, "client-output-buffer-limit": limit})
        slow = self.ask_for_much(proxy)
        # Bystanders live on, whatever happens to the slow one.
        bystander = proxy.client()
        self.addCleanup(bystander.close)

        def gone():
            self.assertEqual(bystander("GET", self.small), b"s")
            listed = bystander.ok("CLIENT", "LIST").count(b"\n")
            return listed == 1

        harness.wait_until(gone, 15, "the slow reader to be disconnected")
        slow.read_until_close()
        return proxy

    def test_hard_limit_disconnects(self):
        self.disconnected(["normal", "2mb", "0", "0"])

    def test_soft_limit_disconnects(self):
        self.disconnected(["normal", "0", "512kb", "1"])

    def test_who_stops_reading_for_a_while_gets_everything(self):
        """Longer than request-timeout, then slowly: what the node had answered long ago is not its delay."""
        timeout_ms = int(500 * harness.TIME_SCALE)
        proxy = self.start_proxy({"workers": 1, "request-timeout": timeout_ms})
        c = proxy.client(rcvbuf=65536)
        self.addCleanup(c.close)
        c.send((harness.encode("GET", self.big) * 9 + harness.encode("INCR", self.small + "n")) * 20)
        self.assertEqual(c.read(), self.value)
        time.sleep(3 * timeout_ms / 1000)  # the pause of the reader is the point, nothing is waited for
        for i in range(1, 200):
            self.assertEqual(c.read(), i // 10 + 1 if i % 10 == 9 else self.value, "reply %d" % i)
            time.sleep(0.01)  # as is its slowness
        self.assertEqual(c("GET", self.small + "n"), b"20")

    def test_a_reader_stays_under_a_limit(self):
        """A client that does read is not disconnected, however much it asks for."""
        proxy = self.start_proxy({"workers": 1, "client-output-buffer-limit": ["normal", "32mb", "0", "0"]})
        c = proxy.client()
        self.addCleanup(c.close)
        c.send(harness.encode("GET", self.big) * 200)
        for _ in range(200):
            self.assertEqual(c.read(), self.value)


if __name__ == "__main__":
    harness.main()
