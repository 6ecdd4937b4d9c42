#!/usr/bin/python3
# alone: yes
"""
A frozen shard (SIGSTOP): traffic to the others keeps its pace on the same worker, requests for the frozen one end
by request-timeout with an error, and after SIGCONT everything is answered with the right values again.
"""

import socket
import time

import harness

TIMEOUT_S = max(3.0, 2.0 * harness.TIME_SCALE)


class Frozen(harness.ProxyTest):
    NODE_TIMEOUT = 30000
    DIRECTIVES = {"workers": 1, "request-timeout": int(TIMEOUT_S * 1000)}

    def setUp(self):
        self.node = self.cluster.nodes[0]
        self.frozen_key = self.cluster.key(0, "f")
        self.live_keys = [self.cluster.key(i, "l") for i in (1, 2)]
        with self.client() as c:
            for key in [self.frozen_key] + self.live_keys:
                c.ok("SET", key, key)

    def tearDown(self):
        self.node.thaw()
        harness.wait_until(lambda: self.healed(), 20, "shard 0 to answer again")

    def healed(self):
        with self.proxy.client() as c:
            return c("GET", self.frozen_key) == self.frozen_key.encode()

    def test_other_shards_keep_flowing(self):
        stuck = [self.client() for _ in range(10)]
        self.node.freeze()
        for c in stuck:
            c.send(harness.encode("GET", self.frozen_key) * 20)
        c = self.client()
        stalls = self.stalls()
        took = []
        for i in range(1000):
            key = self.live_keys[i % 2]
            began = time.monotonic()
            self.assertEqual(c("GET", key), key.encode())
            took.append(time.monotonic() - began)
        self.assertLess(harness.percentile(took, 0.99), 0.05 * harness.TIME_SCALE + stalls.worst_s)
        self.assertLess(max(took), 0.7 * harness.TIME_SCALE + stalls.worst_s)

    def test_requests_end_by_the_timeout(self):
        read, write, split = self.client(), self.client(), self.client()
        self.node.freeze()
        began = time.monotonic()
        read.cmd("GET", self.frozen_key)
        write.cmd("INCR", self.frozen_key + "n")
        split.cmd("MGET", self.frozen_key, *self.live_keys)
        replies = [c.read(timeout=30) for c in (read, write, split)]
        took = time.monotonic() - began
        for reply in replies:
            self.assertIsInstance(reply, harness.ReplyError)
        self.assertError(replies[1], "INDOUBT")
        self.assertGreater(took, TIMEOUT_S * 0.8)
        self.assertLess(took, TIMEOUT_S * 2 + 1 * harness.TIME_SCALE)
        # The connections live on.
        for c in (read, write, split):
            self.assertEqual(c("GET", self.live_keys[0]), self.live_keys[0].encode())

    def test_who_asks_every_node_waits_no_longer(self):
        """What has a private link to each node, too: its end is told once, and the proxy goes on."""
        asking = [(c, self.client()) for c in (["SCRIPT", "KILL"], ["FUNCTION", "KILL"], ["FUNCTION", "STATS"])]
        watching, watched = self.client(), self.client()
        watched.ok("WATCH", self.frozen_key)
        watched.pipeline([["MULTI"], ["INCR", self.frozen_key + "w"]])
        self.node.freeze()
        for command, c in asking:
            c.cmd(*command)
        watching.cmd("WATCH", self.frozen_key)
        watched.cmd("EXEC")
        for c in [c for _, c in asking] + [watching, watched]:
            self.assertIsInstance(c.read(timeout=30), harness.ReplyError)
            self.assertEqual(c("GET", self.live_keys[0]), self.live_keys[0].encode())

    def test_silence_in_the_middle_of_a_reply(self):
        """Those who wait behind it on the same link are told in time; its reader has the rest when it comes."""
        size = 80 << 20
        self.node("SET", self.frozen_key + "big", b"x" * size)
        self.addCleanup(lambda: (self.node.thaw(), self.node("DEL", self.frozen_key + "big")))
        reader, others = self.client(), [self.client() for _ in range(2)]
        reader.cmd("GET", self.frozen_key + "big")
        got = len(reader.sock.recv(1 << 20))
        self.node.freeze()
        reader.sock.settimeout(0.3)
        try:
            while got < size:
                got += len(reader.sock.recv(1 << 20))
        except socket.timeout:
            pass
        self.assertLess(got, size)
        for c in others:
            c.cmd("GET", self.frozen_key)
        for c in others:
            self.assertError(c.read(timeout=30), "TIMEOUT")
        self.node.thaw()
        reader.sock.settimeout(30)
        while got < size + len("$%d\r\n\r\n" % size):
            got += len(reader.sock.recv(1 << 20))
        self.assertEqual(reader("GET", self.live_keys[0]), self.live_keys[0].encode())

    def test_new_connections_are_served(self):
        stalls = self.stalls()
        with self.client() as c:
            self.node.freeze()
            c.cmd("GET", self.frozen_key)
            for _ in range(20):
                with self.proxy.client() as fresh:
                    began = time.monotonic()
                    self.assertEqual(fresh("PING"), b"PONG")
                    self.assertEqual(fresh("GET", self.live_keys[1]), self.live_keys[1].encode())
                    self.assertLess(time.monotonic() - began, 0.5 * harness.TIME_SCALE + stalls.worst_s)

    def test_thawed_node_answers_right(self):
        """Late replies of the thawed node must not be taken for those of later requests."""
        keys = [self.cluster.key(0, "late%d" % i) for i in range(200)]
        c = self.client()
        self.assertNoErrors(c.pipeline([("SET", k, k) for k in keys]))
        self.node.freeze()
        replies = c.pipeline([("GET", k) for k in keys])
        for reply in replies:
            self.assertIsInstance(reply, harness.ReplyError)
        self.node.thaw()
        harness.wait_until(self.healed, 20, "the thawed node to answer")
        for _ in range(3):
            self.assertEqual(c.pipeline([("GET", k) for k in keys]), [k.encode() for k in keys])

    def test_short_freeze_is_only_a_delay(self):
        keys = [self.cluster.key(0, "short%d" % i) for i in range(50)]
        c = self.client()
        self.assertNoErrors(c.pipeline([("SET", k, k) for k in keys]))
        self.node.freeze()
        data = b"".join(harness.encode("GET", k) for k in keys) + harness.encode("INCR", self.frozen_key + "s")
        c.send(data)
        harness.wait_until(lambda: self.node.unread_bytes() >= len(data), 1.5, "the proxy to send")
        self.node.thaw()
        replies = c.read_n(len(keys) + 1)
        self.assertEqual(replies[:-1], [k.encode() for k in keys])
        self.assertIsInstance(replies[-1], int)


if __name__ == "__main__":
    harness.main()
