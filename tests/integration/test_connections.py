#!/usr/bin/python3
# alone: yes
"""
Connections: limits and their texts, idle timeout, clients that leave at the wrong moment, an orderly end (in-flight
requests answered, new connections refused, exit code 0), and a start before any node is up.
"""

import os
import signal
import socket
import subprocess
import time

import harness


# Makes requests so long that what lies unread at a frozen node is them, and not what else the proxy asks the nodes.
LONG_NAME = "x" * 2000


def open_files(proxy):
    return len(os.listdir("/proc/%d/fd" % proxy.pid))


def client_count(client):
    return client.ok("CLIENT", "LIST").count(b"\n")


class Connections(harness.ProxyTest):
    DIRECTIVES = {"workers": 2}

    def test_maxclients(self):
        proxy = self.start_proxy({"maxclients": 5})
        first = proxy.client()
        self.addCleanup(first.close)
        self.assertEqual(first("PING"), b"PONG")
        self.alone(first)  # the client of the start's own PING may not be gone yet
        clients = [first] + [proxy.client() for _ in range(4)]
        for c in clients:
            self.addCleanup(c.close)
            self.assertEqual(c("PING"), b"PONG")
        for _ in range(3):
            with harness.Client(proxy.port) as c:
                self.assertEqual(c.read_until_close(), b"-ERR max number of clients reached\r\n")
        harness.wait_until(lambda: int(proxy_info(first)["rejected_connections"]) == 3, 5, "rejected_connections")
        clients.pop().close()

        def accepted():
            with harness.Client(proxy.port) as c:
                return c("PING") == b"PONG"

        harness.wait_until(accepted, 10, "a place to be free again")
        for c in clients:
            self.assertEqual(c("PING"), b"PONG")

    def test_maxclients_in_a_storm(self):
        """Who comes while others are still on their way to a worker, or leaving it, is counted all the same."""
        most, came = 40, 120
        proxy = self.start_proxy({"maxclients": most, "workers": 4})
        everyone = 0
        for _ in range(40):
            clients = []
            for _ in range(came):
                clients.append(socket.socket())
                clients[-1].setblocking(False)
                clients[-1].connect_ex((harness.HOST, proxy.port))
            served = 0
            for c in clients:
                c.settimeout(10 * harness.TIME_SCALE)
                try:
                    c.sendall(b"PING\r\n")
                    served += c.recv(100) == b"+PONG\r\n"
                except ConnectionError:
                    pass  # refused, and closed before we wrote
            for c in clients:
                c.close()
            self.assertLessEqual(served, most)
            everyone += served
        self.assertGreater(everyone, most)

    def test_who_waits_to_be_told_is_not_idle(self):
        """Subscribers, monitors and blocked clients, as in Redis; also right after what they waited for has come."""
        proxy = self.start_proxy({"timeout": max(4, int(2 * harness.TIME_SCALE))})
        subscriber, monitor, blocked, idle = [proxy.client() for _ in range(4)]
        for c in (subscriber, monitor, blocked, idle):
            self.addCleanup(c.close)
        key = self.cluster.key(0, "idle")
        subscriber.ok("SUBSCRIBE", "idle")
        monitor.ok("MONITOR")
        blocked.cmd("BLPOP", key, 0)
        idle.ok("PING")
        self.assertEqual(idle.read_until_close(), b"")
        with proxy.client() as c:
            c.ok("RPUSH", key, "v")
            self.assertEqual(blocked.read(), [key.encode(), b"v"])
            # The housekeeping that looks for idle clients has come round since.
            self.assertEqual(c.ok("PUBLISH", "idle", "m"), 1)
            seen = int(proxy_info(c)["total_commands_processed"])
            harness.wait_until(lambda: int(proxy_info(c)["total_commands_processed"]) > seen + 20, 5, "a while")
        self.assertEqual(blocked("PING"), b"PONG")
        self.assertEqual(subscriber.read(), [b"message", b"idle", b"m"])

    def test_idle_timeout(self):
        idle_s = max(5, int(2 * harness.TIME_SCALE))  # much more than the busy client may be held up
        proxy = self.start_proxy({"timeout": idle_s})
        idle, busy = proxy.client(), proxy.client()
        self.addCleanup(idle.close)
        self.addCleanup(busy.close)
        began = time.monotonic()
        idle.ok("PING")
        while not idle.closed():
            self.assertEqual(busy("PING"), b"PONG")
            self.assertLess(time.monotonic() - began, idle_s + 10 * harness.TIME_SCALE, "the idle client is still there")
        self.assertGreater(time.monotonic() - began, idle_s - 0.1)
        self.assertEqual(busy("PING"), b"PONG")

    def test_leave_in_the_middle_of_a_request(self):
        bystander = self.client()
        key = self.cluster.key(0, "partial")
        bystander.ok("SET", key, "kept")
        whole = harness.encode("SET", key, "x" * 50000) + harness.encode("MSET", "a", "1", "b", "2")
        for cut in list(range(1, 60)) + [1000, 20000, 50030, len(whole) - 1]:
            with self.proxy.client() as c:
                c.send(whole[: min(cut, 50000)])
        self.assertEqual(bystander("GET", key), b"kept")
        self.alone(bystander)

    def test_leave_with_replies_outstanding(self):
        bystander = self.client()
        keys = [self.cluster.key(i, "left") for i in range(3)]
        bystander.ok("DEL", *keys)
        sent = 0
        for i in range(60):
            c = self.proxy.client()
            c.send(b"".join(harness.encode("INCR", k) for k in keys) * 30 + harness.encode("MGET", *keys) * 10)
            if i % 2:
                c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\x01\0\0\0\0\0\0\0")  # leave by RST
            else:
                sent += 30
            c.close()
            self.assertEqual(bystander("PING"), b"PONG")
        self.alone(bystander)
        for key in keys:
            self.assertLessEqual(int(bystander.ok("GET", key)), 60 * 30)
        replies = bystander.pipeline([("SET", k, k) for k in keys] + [("GET", k) for k in keys])
        self.assertEqual(replies[3:], [k.encode() for k in keys])

    def test_replies_never_reach_another_client(self):
        """New clients take the places of those that left with replies outstanding."""
        big = self.cluster.key(1, "theirs")
        mine = self.cluster.key(1, "mine")
        with self.client() as c:
            c.ok("SET", big, "theirs" * 10000)
            c.ok("SET", mine, "mine")
        for _ in range(100):
            c = self.proxy.client()
            c.send(harness.encode("GET", big) * 10)
            c.close()
            with self.proxy.client() as fresh:
                self.assertEqual(fresh("GET", mine), b"mine")

    def test_many_connections(self):
        clients = [self.client()]
        self.alone(clients[0])
        clients += [self.client() for _ in range(499)]
        for i, c in enumerate(clients):
            c.cmd("SET", "many%d" % i, i)
        self.assertEqual([c.read() for c in clients], [b"OK"] * 500)
        for i, c in enumerate(clients):
            c.cmd("GET", "many%d" % i)
        self.assertEqual([c.read() for c in clients], [b"%d" % i for i in range(500)])
        self.assertEqual(client_count(clients[0]), 500)

    def test_no_descriptor_is_left_behind(self):
        with self.proxy.client() as c:
            self.alone(c)
            c.ok("MGET", "a", "b", "c", "d")
        before = open_files(self.proxy)
        for i in range(1000):
            with harness.Client(self.proxy.port) as c:
                if i % 3 == 0:
                    c.send(b"*2\r\n$3\r\nGET\r\n$1\r\na")
                elif i % 3 == 1:
                    self.assertEqual(c("PING"), b"PONG")
        harness.wait_until(lambda: open_files(self.proxy) <= before + 2, 10, "descriptors to be closed")

    def test_port_in_use_is_an_error(self):
        second = harness.Proxy(self.cluster, {}, port=self.proxy.port, wait=False)
        self.addCleanup(harness.end_process, second.proc)
        self.assertNotEqual(second.wait(), 0)
        self.assertIn(str(self.proxy.port), second.log())

    def test_pidfile(self):
        path = os.path.join(harness.temp_dir("pid"), "keyway.pid")
        proxy = harness.Proxy(self.cluster, {"pidfile": path})
        with open(path) as f:
            self.assertEqual(int(f.read()), proxy.pid)
        proxy.stop()
        self.assertFalse(os.path.exists(path))

    def test_some_seeds_are_dead(self):
        dead = "%s:%d" % (harness.HOST, harness.free_port())
        proxy = self.start_proxy({}, nodes=[dead, self.cluster.nodes[1].addr])
        with proxy.client() as c:
            for i in range(3):
                key = self.cluster.key(i, "seeds")
                self.assertEqual(c.pipeline([("SET", key, i), ("GET", key)]), [b"OK", b"%d" % i])


def proxy_info(client):
    return harness.parse_info(client.ok("INFO", "everything"))


class Ending(harness.ProxyTest):
    """Each test ends a proxy of its own."""

    NODE_TIMEOUT = 15000

    def tearDown(self):
        self.cluster.nodes[0].thaw()

    def refused(self, proxy):
        try:
            with harness.Client(proxy.port, timeout=5) as c:
                return c.closed()
        except ConnectionRefusedError:
            return True

    def drain(self, signal_number):
        node = self.cluster.nodes[0]
        slow, fast = self.cluster.key(0, "slow" + LONG_NAME), self.cluster.key(1, "fast")
        proxy = harness.Proxy(self.cluster, {"workers": 2, "shutdown-timeout": 20})
        self.addCleanup(harness.end_process, proxy.proc)
        clients = [proxy.client() for _ in range(10)]
        for c in clients:
            self.addCleanup(c.close)
            c.ok("SET", slow, "1")
            c.ok("SET", fast, "f")
        node.freeze()
        data = harness.encode("INCR", slow)
        for c in clients:
            c.send(data + harness.encode("GET", fast))
        harness.wait_until(lambda: node.unread_bytes() >= len(data) * 10, 10, "the requests to be on their way")
        proxy.proc.send_signal(signal_number)
        harness.wait_until(lambda: self.refused(proxy), 10, "new connections to be refused")
        self.assertTrue(proxy.alive(), "it ended with requests in flight")
        node.thaw()
        self.assertEqual(sorted(c.read() for c in clients), list(range(2, 12)))
        self.assertEqual([c.read() for c in clients], [b"f"] * 10)
        for c in clients:
            self.assertEqual(c.read_until_close(), b"")
        self.assertEqual(proxy.wait(10), 0)
        proxy.check_reports()

    def test_sigterm_drains(self):
        self.drain(signal.SIGTERM)

    def test_sigint_drains(self):
        self.drain(signal.SIGINT)

    def test_idle_clients_do_not_hold_it(self):
        proxy = harness.Proxy(self.cluster, {"shutdown-timeout": 30})
        clients = [proxy.client() for _ in range(20)]
        for c in clients:
            c.ok("PING")
        began = time.monotonic()
        proxy.stop()
        self.assertLess(time.monotonic() - began, 5 * harness.TIME_SCALE)
        for c in clients:
            self.assertEqual(c.read_until_close(), b"")
            c.close()

    def test_shutdown_timeout(self):
        """A node that never answers holds the end up to shutdown-timeout only."""
        proxy = harness.Proxy(self.cluster, {"shutdown-timeout": 1, "request-timeout": 60000})
        self.addCleanup(harness.end_process, proxy.proc)
        key = self.cluster.key(0, "never" + LONG_NAME)
        with proxy.client() as c:
            c.ok("SET", key, "v")
            self.cluster.nodes[0].freeze()
            data = harness.encode("GET", key)
            c.send(data)
            harness.wait_until(lambda: self.cluster.nodes[0].unread_bytes() >= len(data), 10, "the request to be sent")
            began = time.monotonic()
            proxy.terminate()
            proxy.wait(15)
            took = time.monotonic() - began
        self.assertGreater(took, 0.9)
        self.assertLess(took, 5 * harness.TIME_SCALE)
        proxy.check_reports()

    def test_terminate_right_after_the_start(self):
        """The end may come while the first topology arrives."""
        for _ in range(20):
            proxy = harness.Proxy(self.cluster, {"workers": 2})
            self.addCleanup(harness.end_process, proxy.proc)
            with proxy.client() as c:
                c.ok("CLIENT", "LIST")
                proxy.stop()

    def test_terminate_before_anything_was_reached(self):
        proxy = harness.Proxy(["%s:%d" % (harness.HOST, harness.free_port())], {})
        with proxy.client() as c:
            c.cmd("GET", "k")
            proxy.stop()


class EarlyStart(harness.ProxyTest):
    """The proxy starts while every node is down."""

    def test_requests_wait_for_the_nodes(self):
        with self.client() as c:
            c.ok("MSET", "a", "1", "b", "2", "c", "3")
        for node in self.cluster.nodes:
            node("SAVE")
            node.kill()
        proxy = self.start_proxy({"request-timeout": 30000, "workers": 2})
        clients = [proxy.client() for _ in range(5)]
        for c in clients:
            self.addCleanup(c.close)
            self.assertEqual(c("PING"), b"PONG")
            c.send(harness.encode("MGET", "a", "b", "c") + harness.encode("INCR", "a") + harness.encode("ECHO", "x"))
        for node in self.cluster.nodes:
            node.start()
        for c in clients:
            replies = c.read_n(3)
            self.assertNoErrors(replies)
            self.assertEqual(replies[0][1:], [b"2", b"3"])
            self.assertEqual(replies[2], b"x")
        self.assertEqual(clients[0].ok("GET", "a"), b"6")

    def test_waiting_ends_by_the_timeout(self):
        dead = "%s:%d" % (harness.HOST, harness.free_port())
        proxy = self.start_proxy({"request-timeout": 700}, nodes=[dead])
        with proxy.client() as c:
            began = time.monotonic()
            replies = c.pipeline([("GET", "k"), ("SET", "k", "v"), ("MGET", "a", "b"), ("PING",)])
            self.assertLess(time.monotonic() - began, 4 * harness.TIME_SCALE)
            for reply in replies[:3]:
                self.assertIsInstance(reply, harness.ReplyError)
            # Nothing was sent, so nothing is in doubt.
            self.assertFalse(replies[1].text.startswith("INDOUBT"), replies[1])
            self.assertEqual(replies[3], b"PONG")


if __name__ == "__main__":
    harness.main()
