"""
The RESP door of keyway-meta, at real processes: what clients may ask before and after they have proved themselves, the
order of replies, tables, pushes of the map, proxies, membership, backup, and the observer beside a real Redis Cluster.
"""

import hashlib
import os
import socket
import subprocess
import time

import harness
from harness import Client, ConnectionClosed, Push, ReplyError, Worker, encode, wait_until
from meta_harness import CALM, SECRET, MetaCluster, MetaNode, MetaTest, pairs

CONF = "config"


class Strangers(MetaTest):
    NODES = 1

    def stranger(self):
        c = Client(self.meta.nodes[0].port)
        self.addCleanup(c.close)
        return c

    def test_nothing_without_the_secret(self):
        c = self.stranger()
        for words in (("PING",), ("KEYWAY", "STATUS"), ("KEYWAY", "PUT", CONF, "a", "1"), ("NOSUCH", "x"), ("INFO",),
                      ("SHUTDOWN",), ("KEYWAY", "WATCH"), ("COMMAND",), ("CONFIG", "GET", "secret")):
            self.assertEqual(c(*words), ReplyError("NOAUTH Authentication required."), words)
        self.assertError(c("HELLO", "3"), "NOAUTH HELLO must be called")
        self.assertEqual(self.keyway("COUNT", CONF), 0)

    def test_wrong_secret(self):
        c = self.stranger()
        for words in (("AUTH", "wrong"), ("AUTH", SECRET + "x"), ("AUTH", SECRET[:-1]), ("AUTH", ""), ("AUTH", "someone", SECRET),
                      ("HELLO", "3", "AUTH", "default", "wrong")):
            self.assertError(c(*words), "WRONGPASS")
            self.assertError(c("PING"), "NOAUTH")

    def test_ways_in(self):
        for words in (("AUTH", SECRET), ("AUTH", "default", SECRET)):
            c = self.stranger()
            self.assertEqual(c(*words), b"OK")
            self.assertEqual(c("PING"), b"PONG")
        c = self.stranger()
        hello = dict(c("HELLO", "3", "AUTH", "default", SECRET, "SETNAME", "me"))
        self.assertEqual((hello[b"server"], hello[b"proto"], hello[b"role"]), (b"redis", 3, b"master"))
        self.assertEqual(c("CLIENT", "GETNAME"), b"me")
        self.assertEqual(c("RESET"), b"RESET")
        self.assertError(c("PING"), "NOAUTH")

    def test_limits_before_authentication(self):
        for frame, text in ((b"*11\r\n", "unauthenticated multibulk length"), (b"*2\r\n$16385\r\n", "unauthenticated bulk length")):
            c = self.stranger()
            c.send(frame)
            self.assertEqual(c.read(), ReplyError("ERR Protocol error: " + text))
            self.assertEqual(c.read_until_close(), b"")
        c = self.raw()
        self.assertEqual(c("ECHO", b"x" * 20000), b"x" * 20000)

    def test_garbage(self):
        for bytes_ in (b"*1\r\n:1\r\n", b"*-x\r\n", b"*1\r\n$-5\r\n", b"GET / HTTP/1.1\r\nHost: here\r\n\r\n", b"POST / HTTP/1.1\r\n\r\n",
                       os.urandom(40) + b"\r\n" + b"\"\r\n", b"\x16\x03\x01\x02\x00\x01\x00" * 9 + b"\r\n"):
            c = self.stranger()
            c.send(bytes_)
            c.sock.shutdown(socket.SHUT_WR)
            c.read_until_close()
        self.assertEqual(self.raw()("PING"), b"PONG")

    def test_maxclients(self):
        c = self.raw()
        self.alone(c)
        here = int(harness.parse_info(c("INFO", "clients"))["connected_clients"])
        self.assertEqual(c("CONFIG", "SET", "maxclients", here + 1), b"OK")
        try:
            one = self.stranger()
            self.assertError(one("PING"), "NOAUTH")
            with Client(self.meta.nodes[0].port) as other:
                self.assertEqual(other.read(), ReplyError("ERR max number of clients reached"))
                self.assertEqual(other.read_until_close(), b"")
            self.assertEqual(harness.parse_info(c("INFO", "clients"))["rejected_connections"], "1")
        finally:
            c.ok("CONFIG", "SET", "maxclients", 10000)


class Connections(MetaTest):
    DIRECTIVES = CALM

    def test_ordinary_client(self):
        c = self.raw()
        self.assertEqual(c("PING"), b"PONG")
        self.assertEqual(c("ping", "hello"), b"hello")
        self.assertEqual(c("ECHO", "x"), b"x")
        self.assertEqual(c("SELECT", "0"), b"OK")
        self.assertError(c("SELECT", "1"), "ERR DB index is out of range")
        self.assertError(c("SELECT", "x"), "ERR value is not an integer")
        self.assertError(c("HELLO", "4"), "NOPROTO")
        self.assertIsInstance(c("CLIENT", "ID"), int)
        self.assertEqual(c("CLIENT", "SETNAME", "bob"), b"OK")
        self.assertError(c("CLIENT", "SETNAME", "b b"), "ERR Client names cannot contain")
        self.assertEqual(c("CLIENT", "SETINFO", "LIB-NAME", "lib"), b"OK")
        self.assertEqual(c("CLIENT", "SETINFO", "LIB-VER", "1.2"), b"OK")
        self.assertEqual(c("CLIENT", "NO-EVICT", "ON"), b"OK")
        self.assertEqual(c("CLIENT", "NO-TOUCH", "OFF"), b"OK")
        line = c("CLIENT", "INFO").decode()
        for part in ("name=bob", "lib-name=lib", "lib-ver=1.2", "cmd=client|info", "resp=2", "flags=e"):
            self.assertIn(part, line)
        self.assertIn("name=bob", c("CLIENT", "LIST").decode())
        self.assertIn("name=bob", c("CLIENT", "LIST", "ID", c("CLIENT", "ID")).decode())
        self.assertEqual(c("QUIT"), b"OK")
        self.assertEqual(c.read_until_close(), b"")

    def test_command_and_config(self):
        c = self.raw()
        names = c("COMMAND", "LIST")
        self.assertEqual(c("COMMAND", "COUNT"), len(names))
        self.assertEqual([row[0] for row in c("COMMAND")], names)
        self.assertEqual(c("COMMAND", "DOCS", "keyway"), [])
        self.assertEqual([row and row[0] for row in c("COMMAND", "INFO", "keyway", "nosuch")], [b"keyway", None])
        self.assertEqual(c("CONFIG", "GET", "cluster-na*"), [b"cluster-name", b"keyway"])
        self.assertEqual(c("CONFIG", "SET", "loglevel", "verbose"), b"OK")
        self.assertEqual(c("CONFIG", "GET", "loglevel"), [b"loglevel", b"verbose"])
        self.assertError(c("CONFIG", "SET", "id", "7"), "ERR CONFIG SET failed")
        self.assertError(c("CONFIG", "REWRITE"), "ERR The server is running without a config file")
        info = harness.parse_info(c("INFO"))
        for name in ("redis_version", "connected_clients", "used_memory", "term", "commit_index", "guard_rule_1", "refused_peers",
                     "longest_turn_us", "locks", "leader_address"):
            self.assertIn(name, info)
        self.assertEqual(set(harness.parse_info(c("INFO", "clients"))) & {"term", "used_memory"}, set())

    def test_refusals_in_redis_words(self):
        c = self.raw()
        for words, text in (
            (("FOO", "bar", "b"), "ERR unknown command 'FOO', with args beginning with: 'bar' 'b' "),
            (("KEYWAY", "FOO"), "ERR unknown subcommand 'FOO'. Try KEYWAY HELP."),
            (("CLIENT", "FOO"), "ERR unknown subcommand 'FOO'. Try CLIENT HELP."),
            (("KEYWAY",), "ERR wrong number of arguments for 'keyway' command"),
            (("keyway", "get", "config"), "ERR wrong number of arguments for 'keyway|get' command"),
            (("KEYWAY", "CONFIG", "SET", "a"), "ERR wrong number of arguments for 'keyway|config|set' command"),
            (("KEYWAY", "LINEAR"), "ERR wrong number of arguments for 'keyway|linear' command"),
            (("KEYWAY", "LINEAR", "PUT", CONF, "a", "1"), "ERR KEYWAY LINEAR is for reads"),
            (("KEYWAY", "ID", "xy", "PUT", CONF, "a", "1"), "ERR the request id must be 32 hex digits"),
            (("KEYWAY", "ID", "0" * 32, "PUT", CONF, "a", "1"), "ERR the request id must be"),
            (("KEYWAY", "ID", "1" * 32, "GET", CONF, "a"), "ERR 'keyway|get' takes no request id"),
            (("KEYWAY", "PUT", "nosuch", "a", "1"), "ERR there is no table 'nosuch'"),
            (("KEYWAY", "PUT", CONF, "a", "1", "EXPECT"), "ERR syntax error"),
            (("KEYWAY", "PUT", CONF, "a", "1", "EXPECT", "-1"), "ERR EXPECT takes"),
            (("KEYWAY", "PUT", CONF, "", "1"), "ERR the key is empty"),
            (("KEYWAY", "PUT", CONF, "k" * 257, "1"), "ERR the key has 257 bytes"),
            (("KEYWAY", "PUT", CONF, "k", b"v" * 65537), "ERR the value has 65537 bytes"),
            (("KEYWAY", "SCAN", CONF, "x"), "ERR invalid cursor"),
            (("KEYWAY", "SCAN", CONF, "0", "COUNT", "0"), "ERR syntax error"),
            (("KEYWAY", "WATCH", "VERSION"), "ERR syntax error"),
            (("KEYWAY", "META", "ADD", "0", "127.0.0.1:1"), "ERR the id of a metadata node"),
            (("KEYWAY", "META", "ADD", "9", "nowhere"), "ERR address"),
            (("KEYWAY", "META", "REMOVE", "99"), "NOTFOUND"),
            (("KEYWAY", "META", "TRANSFER", "99"), "NOTFOUND"),
            (("KEYWAY", "ATTACH", "no nodes"), "ERR the text is no reply of CLUSTER NODES"),
            (("KEYWAY", "DETACH"), "ERR no cluster is attached"),
            (("KEYWAY", "PROXY", "REGISTER", "a b", "h:1", "1", "1", "0"), "ERR the id of a proxy"),
            (("KEYWAY", "PROXY", "REGISTER", "a", "h:1", "1", "x", "0"), "ERR value is not an integer"),
            (("KEYWAY", "RESTORE", "junk"), "ERR"),
        ):
            self.assertError(c(*words), text)
        self.assertEqual(c("KEYWAY", "COUNT", CONF), 0)

    def test_inline_and_pieces(self):
        c = self.raw()
        c.send(b"PING\r\n\r\nECHO \"a b\"\n*0\r\n")
        self.assertEqual(c.read_n(2), [b"PONG", b"a b"])
        frame = encode("KEYWAY", "PUT", CONF, "piece", "1") + encode("PING") + encode("KEYWAY", "GET", CONF, "piece")
        for i in range(len(frame)):
            c.send(frame[i : i + 1])
        replies = c.read_n(3)
        self.assertEqual(replies[1:], [b"PONG", b"1"])
        self.assertEqual(c("KEYWAY", "DELETE", CONF, "piece"), 1)

    def test_replies_keep_their_order(self):
        """Reads confirmed by the quorum, writes, and what is answered at once, mixed in one pipeline."""
        c = self.raw()
        commands, expected = [], []
        for i in range(400):
            commands += [("ECHO", i), ("KEYWAY", "CONFIG", "SET", "o", i), ("PING",), ("KEYWAY", "NOSUCH"), ("KEYWAY", "GET", CONF, "o")]
            expected += [b"%d" % i, b"OK", b"PONG", None, None]
        replies = c.pipeline(commands)
        for i, (reply, want) in enumerate(zip(replies, expected)):
            if want is not None:
                self.assertEqual(reply, want, i)
            elif i % 5 == 3:
                self.assertError(reply, "ERR unknown subcommand")
            else:
                # A read is confirmed after it came: it sees every write before it.
                self.assertGreaterEqual(int(reply), i // 5)
        c.ok("KEYWAY", "CONFIG", "DEL", "o")

    def test_idle_commands_wait(self):
        """HELLO changes the protocol of what is behind it only, and no push overtakes the reply to WATCH."""
        c = self.raw()
        c.send(encode("KEYWAY", "CONFIG", "GET", "nothing*") + encode("HELLO", "3") + encode("KEYWAY", "CONFIG", "GET", "nothing*"))
        self.assertEqual(c.read(), [])
        self.assertEqual(c.raw, b"*0\r\n")
        self.assertEqual(dict(c.read())[b"proto"], 3)
        c.read()
        self.assertEqual(c.raw, b"%0\r\n")
        c.send(encode("KEYWAY", "CONFIG", "SET", "i", "1") + encode("KEYWAY", "WATCH") + encode("KEYWAY", "CONFIG", "DEL", "i"))
        self.assertEqual(c.read_n(2), [b"OK", b"OK"])
        self.assertEqual([c.read()[1], c.read()[1]], [b"map", b"alive"])
        reply = c.read()
        while isinstance(reply, Push):  # a sign of life comes every second
            reply = c.read()
        self.assertEqual(reply, 1)

    def test_big_pipeline_is_bounded(self):
        """Far more than may be under way at once, from a client that reads only at the end."""
        c = self.raw()
        value = b"x" * 1000
        done = Worker(lambda: c.send(b"".join(encode("KEYWAY", "PUT", CONF, "p%d" % (i % 7), value) for i in range(5000))))
        versions = c.read_n(5000)
        done.finish()
        self.assertTrue(all(isinstance(v, int) for v in versions), [v for v in versions if not isinstance(v, int)][:3])
        self.assertEqual(versions, sorted(set(versions)))
        self.assertEqual(c("KEYWAY", "CONFIG", "DEL", *["p%d" % i for i in range(7)]), 7)

    def test_slow_reader_is_held_back(self):
        """Replies that nobody reads do not pile up: the door stops taking requests."""
        c = self.raw(rcvbuf=4096)
        leader = self.meta.leader()
        c.ok("KEYWAY", "PUT", CONF, "big", b"x" * 60000)
        c.sock.settimeout(1 * harness.TIME_SCALE)
        request = encode("KEYWAY", "GET", CONF, "big") * 100
        sent = 0
        with self.assertRaises(socket.timeout):
            while sent < 64 * 1024 * 1024:
                c.send(request)
                sent += len(request)
        unread = [int(f[5:]) for f in leader("CLIENT", "LIST").decode().split() if f.startswith("omem=")]
        self.assertLess(max(unread), 128 * 1024 * 1024)
        self.assertLess(sent, 64 * 1024 * 1024)
        c.close()
        leader("KEYWAY", "CONFIG", "DEL", "big")

    def test_big_replies_in_a_pipeline(self):
        """Replies of more than the output limit together: a client that reads gets them all, and they are not piled up."""
        text = os.urandom(4 * 1024 * 1024)
        # So large an entry can cost a slow machine its leader: sent again under the same id.
        put = ("ID", "b" * 32, "PUT", "scripts", "big", text)
        wait_until(lambda: isinstance(self.keyway(*put), int), 30, "the big value to be written")
        leader = self.meta.leader()
        c = self.raw(leader)
        before = harness.rss_kb(leader.pid)
        c.send(encode("KEYWAY", "GET", "scripts", "big") * 40 + encode("KEYWAY", "LINEAR", "VERSION", "scripts", "big"))
        for _ in range(40):
            self.assertEqual(c.read(), text)
        self.assertIsInstance(c.read(), int)
        self.assertLess(harness.rss_kb(leader.pid) - before, 64 * 1024 * (4 if harness.sanitizer_of(harness.bin_path("keyway-meta")) else 1))
        c.ok("KEYWAY", "DELETE", "scripts", "big")

    def test_client_that_leaves_in_between(self):
        """The write of a client that does not wait for its reply is done all the same, and harms nobody."""
        for i in range(20):
            with self.meta.raw() as c:
                c.send(encode("KEYWAY", "CONFIG", "SET", "gone%d" % i, "1") + encode("KEYWAY", "GET", CONF, "gone0"))
        c = self.raw()
        wait_until(lambda: c("KEYWAY", "COUNT", CONF) == 20, 10, "all writes")
        self.assertEqual(c("KEYWAY", "CONFIG", "DEL", *["gone%d" % i for i in range(20)]), 20)

    def test_redis_py_and_redis_cli(self):
        with self.meta.client(decode_responses=True) as r:
            self.assertTrue(r.ping())
            self.assertEqual(r.execute_command("KEYWAY", "STATUS")[:2], ["id", self.meta.leader().id])
            self.assertEqual(r.info("server")["keyway_role"], "meta")
        leader = self.meta.leader()
        out = subprocess.run(["redis-cli", "-p", str(leader.port), "-a", SECRET, "--no-auth-warning", "KEYWAY", "HELP"],
                             stdout=subprocess.PIPE, timeout=20, check=True).stdout.decode()
        self.assertIn("STATUS", out)


class Tables(MetaTest):
    def test_put_get_delete(self):
        c = self.raw()
        first = c("KEYWAY", "PUT", "Locks", b"k\x00\r\n", b"v\xff\x00")
        self.assertIsInstance(first, int)
        self.assertEqual(c("KEYWAY", "GET", "locks", b"k\x00\r\n"), b"v\xff\x00")
        self.assertEqual(c("KEYWAY", "VERSION", "locks", b"k\x00\r\n"), first)
        self.assertEqual(c("KEYWAY", "COUNT", "locks"), 1)
        self.assertEqual(c("KEYWAY", "SCAN", "locks", 0), [b"0", [b"k\x00\r\n", b"v\xff\x00", first]])
        self.assertEqual(c("KEYWAY", "DELETE", "locks", b"k\x00\r\n"), 1)
        self.assertEqual(c("KEYWAY", "DELETE", "locks", b"k\x00\r\n"), 0)
        self.assertIsNone(c("KEYWAY", "GET", "locks", b"k\x00\r\n"))
        self.assertEqual(c("KEYWAY", "VERSION", "locks", b"k\x00\r\n"), 0)

    def test_expect(self):
        c = self.raw()
        first = c("KEYWAY", "PUT", "families", "f", "1", "EXPECT", "ABSENT")
        self.assertEqual(c("KEYWAY", "PUT", "families", "f", "2", "EXPECT", "ABSENT"),
                         ReplyError("CONFLICT the version that stands is %d" % first))
        second = c("KEYWAY", "PUT", "families", "f", "2", "EXPECT", first)
        self.assertGreater(second, first)
        self.assertError(c("KEYWAY", "PUT", "families", "f", "3", "EXPECT", first), "CONFLICT")
        self.assertError(c("KEYWAY", "DELETE", "families", "f", "EXPECT", first), "CONFLICT")
        self.assertEqual(c("KEYWAY", "DELETE", "families", "f", "EXPECT", second), 1)

    def test_request_id(self):
        c = self.raw()
        put = ("KEYWAY", "ID", "00112233445566778899aAbBcCdDeEfF", "PUT", "sessions", "s", "1")
        first = c(*put)
        self.assertEqual(c("KEYWAY", "DELETE", "sessions", "s"), 1)
        self.assertEqual(c(*put), first)
        self.assertEqual(c("KEYWAY", "COUNT", "sessions"), 0)
        c.ok("KEYWAY", "CONFIG", "SET", "a", "1")
        c.ok("KEYWAY", "CONFIG", "SET", "b", "1")
        delete = ("KEYWAY", "ID", "f" * 32, "CONFIG", "DEL", "a", "b", "c")
        self.assertEqual(c(*delete), 2)
        self.assertEqual(c(*delete), 2)

    def test_scan_walks_through_all(self):
        c = self.raw()
        keys = {b"s%d" % i for i in range(500)}
        c.pipeline([("KEYWAY", "PUT", "scripts", key, b"t" * 100) for key in sorted(keys)])
        seen, cursor, pages = [], b"0", 0
        while True:
            cursor, flat = c("KEYWAY", "SCAN", "scripts", cursor, "COUNT", "70")
            seen += flat[0::3]
            pages += 1
            if cursor == b"0":
                break
        self.assertEqual((sorted(seen), pages >= 7), (sorted(keys), True))
        c.pipeline([("KEYWAY", "DELETE", "scripts", key) for key in keys])

    def test_config_of_the_whole(self):
        c = self.raw()
        for name in ("b-two", "a-one", "a-two"):
            self.assertEqual(c("KEYWAY", "CONFIG", "SET", name, name.upper()), b"OK")
        self.assertEqual(c("KEYWAY", "CONFIG", "GET", "a-*", "*two"), [b"a-one", b"A-ONE", b"a-two", b"A-TWO", b"b-two", b"B-TWO"])
        self.assertEqual(c("KEYWAY", "CONFIG", "GET", "a-one"), [b"a-one", b"A-ONE"])
        self.assertEqual(c("KEYWAY", "CONFIG", "DEL", "a-one", "a-two", "b-two", "c"), 3)

    def test_followers_point_to_the_leader(self):
        leader, follower = self.meta.leader(), self.meta.followers()[0]
        version = leader("KEYWAY", "PUT", CONF, "far", "1")
        c = self.raw(follower)
        hint = ReplyError("NOTLEADER " + leader.addr)
        for words in (("PUT", CONF, "far", "2"), ("CONFIG", "SET", "a", "1"), ("CONFIG", "DEL", "a", "b"), ("DETACH",), ("BACKUP",),
                      ("PROXY", "REGISTER", "p", "h:1", "v", "1", "0"), ("PROXY", "REMOVE", "p"), ("META", "ADD", "7", "127.0.0.1:9"),
                      ("META", "REMOVE", "1"), ("META", "TRANSFER"), ("RESTORE", "x"), ("ATTACH", "x"), ("DELETE", CONF, "far"),
                      ("LINEAR", "GET", CONF, "far"), ("LINEAR", "STATUS"), ("ID", "a" * 32, "PUT", CONF, "far", "2")):
            self.assertEqual(c("KEYWAY", *words), hint, words)
        wait_until(lambda: c("KEYWAY", "GET", CONF, "far") == b"1", 5, "the follower to have it")
        self.assertEqual(pairs(c("KEYWAY", "STATUS"))["consistency"], "local")
        status = pairs(leader.raw()("KEYWAY", "LINEAR", "STATUS"))
        self.assertEqual((status["consistency"], status["role"], status["leader_address"]), ("linearizable", "leader", leader.addr))
        self.assertEqual(self.keyway("DELETE", CONF, "far", "EXPECT", version), 1)

    def test_ops(self):
        c = self.raw()
        c.ok("KEYWAY", "PUT", "operations", "op1", "failover promote shard 3 to node x")
        self.assertEqual(c("KEYWAY", "OPS"), [[b"id", b"op1", b"kind", b"failover", b"step", b"promote", b"detail", b"shard 3 to node x"]])
        self.assertEqual(pairs(c("KEYWAY", "STATUS"))["operations"], 1)
        c.ok("KEYWAY", "DELETE", "operations", "op1")


class Failures(MetaTest):
    def setUp(self):
        self.addCleanup(self.meta.heal)

    def test_no_leader(self):
        """One node alone: it does not serve on as leader, answers reads from what it has, and says NOLEADER."""
        leader = self.meta.leader()
        leader("KEYWAY", "PUT", CONF, "n", "1")
        self.meta.wait_applied()
        others = self.meta.followers()
        c, r = self.raw(leader), self.raw(leader)
        for node in others:
            node.stop()
        c.cmd("KEYWAY", "PUT", CONF, "n", "2")
        r.cmd("KEYWAY", "GET", CONF, "n")
        self.assertError(c.read(), ("INDOUBT", "NOLEADER", "NOTLEADER"))
        self.assertEqual(r.read(), b"1")
        wait_until(lambda: leader.status()["leader"] == 0, 10, "the leader to step down")
        self.assertError(c("KEYWAY", "PUT", CONF, "n", "3"), "NOLEADER")
        self.assertError(c("KEYWAY", "LINEAR", "GET", CONF, "n"), "NOLEADER")

    def test_kill_of_the_leader(self):
        old = self.meta.leader()
        old("KEYWAY", "PUT", CONF, "k", "1")
        old.kill()
        new = self.meta.wait_leader(old)
        with new.raw() as c:
            self.assertEqual(c("KEYWAY", "LINEAR", "GET", CONF, "k"), b"1")
            self.assertIsInstance(c("KEYWAY", "PUT", CONF, "k", "2"), int)
        old.restart()
        wait_until(lambda: old.keyway("GET", CONF, "k") == b"2", 10, "the old leader to have caught up")

    def test_orderly_end_hands_on(self):
        old = self.meta.leader()
        self.assertEqual(old.end(), 0)
        self.assertRegex(old.log(), r"(?s)stopping.*leadership was handed on\n.*bye")
        new = self.meta.wait_leader(old)
        old.start()
        self.assertIsNot(new, old)

    def test_shutdown(self):
        node = self.meta.followers()[0]
        with node.raw() as c:
            c.cmd("SHUTDOWN")
            self.assertEqual(c.read_until_close(), b"")
        self.assertEqual(node.wait_end(), 0)

    def test_transfer(self):
        old = self.meta.leader()
        to = self.meta.followers()[-1]
        self.assertEqual(old.keyway("META", "TRANSFER", to.id), b"OK")
        self.assertIs(self.meta.wait_leader(old), to)
        self.assertEqual(to.keyway("META", "TRANSFER"), b"OK")
        self.assertIsNot(self.meta.wait_leader(to), to)


class Members(MetaTest):
    def test_add_and_remove(self):
        new = self.meta.add_node()
        self.assertEqual(new.status()["leader"], 0)
        self.assertError(new.raw()("KEYWAY", "PUT", CONF, "a", "1"), "NOLEADER")
        leader = self.meta.leader()
        leader("KEYWAY", "PUT", CONF, "m", "1")
        self.assertError(leader.raw()("KEYWAY", "META", "ADD", leader.id, new.full_addr), "ERR a metadata node has this id")
        self.assertError(leader.raw()("KEYWAY", "META", "ADD", 77, leader.full_addr), "ERR a metadata node has this id or this address")
        self.assertEqual(leader.keyway("META", "ADD", new.id, new.full_addr), b"OK")
        members = {m["id"]: m for m in (pairs(m) for m in leader.keyway("META", "LIST"))}
        self.assertEqual(sorted(members), [1, 2, 3, 4])
        self.assertEqual((members[4]["voter"], members[4]["address"], members[4]["raft_port"]), (1, new.addr, new.raft_port))
        wait_until(lambda: new.keyway("GET", CONF, "m") == b"1", 10, "the new node to have it")
        self.assertEqual(leader.keyway("META", "REMOVE", new.id), b"OK")
        self.assertEqual(len(leader.keyway("META", "LIST")), 3)
        new.wait_end()
        self.meta.nodes.remove(new)


class Watching(MetaTest):
    def test_map_and_alive_at_once(self):
        for node in self.meta.nodes:
            for resp, kind in ((2, list), (3, Push)):
                c = self.watcher(node, resp=resp)
                push = c.read(5)
                self.assertIs(type(push), kind)
                self.assertEqual(push[:2] + push[3:4], [b"keyway", b"map", b"full"])
                self.assertEqual(push[4], c_map(node))
                alive = c.read(5)
                leader = self.meta.leader()
                self.assertEqual(alive[:2] + alive[3:], [b"keyway", b"alive", leader.id, leader.addr.encode()])
                self.assertEqual(self.next_push(c, b"alive")[1], b"alive")

    def test_other_commands_beside(self):
        c = self.watcher()
        replies = 0
        for i in range(50):
            c.cmd("ECHO", i)
            reply = c.read()
            while isinstance(reply, Push):
                reply = c.read()
            replies += reply == b"%d" % i
        self.assertEqual(replies, 50)
        c.cmd("RESET")
        reply = c.read()
        while isinstance(reply, Push):
            reply = c.read()
        self.assertEqual(reply, b"RESET")
        with self.assertRaises(socket.timeout):
            c.read(2.5)

    def test_new_leader_is_told(self):
        node = self.meta.followers()[0]
        c = self.watcher(node)
        old = self.meta.leader()
        old.kill()
        new = self.meta.wait_leader(old)
        while self.next_push(c, b"alive")[3:] != [new.id, new.addr.encode()]:
            pass
        old.restart()

    def test_a_watcher_that_has_gone(self):
        for _ in range(30):
            self.watcher().close()
        leader = self.meta.leader()
        wait_until(lambda: leader.info("clients")["watchers"] == "0", 10, "the watchers to be gone")


def c_map(node):
    with node.raw() as c:
        return c("KEYWAY", "MAP")


def c_nodes(meta):
    return sorted(pairs(node)["id"] for node in meta.leader().keyway("NODES"))


def cluster_text(tag, nodes):
    """CLUSTER NODES of a cluster that is nowhere."""
    lines = []
    for i in range(nodes):
        first, last = 16384 * i // nodes, 16384 * (i + 1) // nodes - 1
        lines.append("%s%032d 127.0.0.%d:%d@1 %smaster - 0 0 1 connected %d-%d" %
                     (tag * 8, i, 1 + i % 200, 1 + i % 60, "" if i else "myself,", first, last))
    return "\n".join(lines)


class Proxies(MetaTest):
    def proxies(self, node=None):
        return {p["id"]: p for p in (pairs(p) for p in (node or self.meta.leader()).keyway("PROXIES"))}

    def test_register(self):
        leader = self.meta.leader()
        c = self.raw()
        self.assertEqual(c("KEYWAY", "PROXY", "REGISTER", "p1", "10.0.0.1:7379", "0.1.0", "4", "17"), b"OK")
        p = self.proxies()["p1"]
        self.assertEqual((p["address"], p["version"], p["workers"], p["map_version"]), ("10.0.0.1:7379", "0.1.0", 4, 17))
        self.assertGreaterEqual(p["idle_ms"], 0)
        version = c("KEYWAY", "VERSION", "proxies", "p1")
        wait_until(lambda: self.proxies()["p1"]["idle_ms"] > 500, 5, "some silence")
        began = time.monotonic()
        self.assertEqual(c("KEYWAY", "PROXY", "REGISTER", "p1", "10.0.0.1:7379", "0.1.0", "4", "17"), b"OK")
        idle_ms = self.proxies()["p1"]["idle_ms"]  # without the sign of life it would be 500 more than has gone by
        self.assertLess(idle_ms, (time.monotonic() - began) * 1000 + 100)
        self.assertEqual(c("KEYWAY", "VERSION", "proxies", "p1"), version, "a sign of life was written to the log")
        c.ok("KEYWAY", "PROXY", "REGISTER", "p1", "10.0.0.1:7379", "0.1.0", "4", "18")
        self.assertGreater(c("KEYWAY", "VERSION", "proxies", "p1"), version)
        follower = self.meta.followers()[0]
        wait_until(lambda: "p1" in self.proxies(follower), 5, "the follower to know it")
        self.assertEqual(self.proxies(follower)["p1"]["idle_ms"], -1)
        self.assertEqual(c("KEYWAY", "PROXY", "REMOVE", "p1"), 1)
        self.assertEqual(c("KEYWAY", "PROXY", "REMOVE", "p1"), 0)
        self.assertEqual(leader.status()["proxies"], 0)

    def test_silence_ends_it(self):
        """Also of those that a new leader has never heard: of them it tells no idle time, but it deletes them as well."""
        c = self.raw()
        for proxy, port in (("unheard", 1), ("silent", 2), ("alive", 3)):
            c.ok("KEYWAY", "PROXY", "REGISTER", proxy, "h:%d" % port, "v", "1", "0")
        old = self.meta.leader()
        old.kill()
        new = self.meta.wait_leader(old)
        self.assertEqual({p["idle_ms"] for p in self.proxies(new).values()}, {-1})
        c = self.raw(new)
        c.ok("KEYWAY", "PROXY", "REGISTER", "silent", "h:2", "v", "1", "0")
        self.assertGreaterEqual(self.proxies(new)["silent"]["idle_ms"], 0)
        old.restart()

        def only_alive():
            c.ok("KEYWAY", "PROXY", "REGISTER", "alive", "h:3", "v", "1", "0")
            proxies = self.proxies(new)
            self.assertGreaterEqual(proxies["alive"]["idle_ms"], 0)
            if "unheard" in proxies:
                self.assertEqual(proxies["unheard"]["idle_ms"], -1)
            if "silent" in proxies:
                self.assertLess(proxies["silent"]["idle_ms"], 33000 * harness.TIME_SCALE)
            return list(proxies) == ["alive"]

        wait_until(only_alive, 40, "the silent proxies to be deleted")
        c.ok("KEYWAY", "PROXY", "REMOVE", "alive")


class Backups(MetaTest):
    NODES = 0

    def test_backup_and_restore(self):
        with MetaCluster(3, CALM) as meta:
            with meta.raw() as c:
                c.pipeline([("KEYWAY", "PUT", "scripts", "s%d" % i, os.urandom(20000)) for i in range(300)])
                c.ok("KEYWAY", "CONFIG", "SET", "a", "1")
                image = c("KEYWAY", "BACKUP")
                self.assertGreater(len(image), 300 * 20000)
                self.assertEqual(c.pipeline([("PING",), ("KEYWAY", "BACKUP"), ("ECHO", "x")])[::2], [b"PONG", b"x"])
                self.assertError(c("KEYWAY", "RESTORE", image), "ERR something was written here already")
                texts = {i: c("KEYWAY", "GET", "scripts", "s%d" % i) for i in (0, 150, 299)}
        with MetaCluster(3, CALM) as meta:
            with meta.raw() as c:
                for bad in (b"", b"junk", image[:-1], image[:1000] + b"x" + image[1001:]):
                    self.assertError(c("KEYWAY", "RESTORE", bad), "ERR these bytes are no backup, or a damaged one")
                self.assertEqual(meta.leader().status()["recovery_epoch"], 0)
                # Proxies that lived through it all are there before anybody.
                c.ok("KEYWAY", "PROXY", "REGISTER", "p1", "10.0.0.1:7379", "0.1.0", "4", "17")
                self.assertEqual(c("KEYWAY", "RESTORE", image), b"OK")
                self.assertIn(b"p1", c.ok("KEYWAY", "PROXIES")[0])
                for i, text in texts.items():
                    self.assertEqual(c("KEYWAY", "GET", "scripts", "s%d" % i), text)
                self.assertEqual(c("KEYWAY", "CONFIG", "GET", "*"), [b"a", b"1"])
                self.assertEqual(meta.leader().status()["recovery_epoch"], 1)
                self.assertIsInstance(c("KEYWAY", "PUT", CONF, "a", "2"), int)
            meta.wait_applied()
            for node in meta.nodes:
                self.assertEqual(node.status()["recovery_epoch"], 1)

    def test_versions_of_before_are_not_given_again(self):
        """What the old service wrote after the backup is lost, and so must its versions be: clients and proxies hold them."""
        with MetaCluster(1, CALM) as meta:
            with meta.raw() as c:
                c.ok("KEYWAY", "PUT", CONF, "a", "before")
                c.ok("KEYWAY", "ATTACH", cluster_text("a", 3))
                image = c.ok("KEYWAY", "BACKUP")
                kept, nodes = c_map(meta.nodes[0]), c_nodes(meta)
                for i in range(20):
                    version = c.ok("KEYWAY", "PUT", CONF, "a", "after %d" % i)
                    map_version = c.ok("KEYWAY", "ATTACH", cluster_text("ab"[i % 2], 3 + i), "REPLACE")
        with MetaCluster(1, CALM) as meta:
            with meta.raw() as c:
                self.assertEqual(c("KEYWAY", "RESTORE", image), b"OK")
                self.assertError(c("KEYWAY", "PUT", CONF, "a", "x", "EXPECT", version), "CONFLICT")
                self.assertGreater(meta.leader().status()["map_version"], map_version)
                self.assertEqual(c("KEYWAY", "GET", CONF, "a"), b"before")
                self.assertGreater(c.ok("KEYWAY", "PUT", CONF, "a", "new"), version)
                self.assertGreater(c.ok("KEYWAY", "PUT", CONF, "b", "new"), version)
                now = c_map(meta.nodes[0])
                self.assertEqual((len(now), c_nodes(meta)), (len(kept), nodes))
            for old in (map_version, map_version - 1):
                with meta.raw() as c:
                    c.ok("KEYWAY", "WATCH", "VERSION", old)
                    push = self.next_push(c, b"map")
                    restored = meta.leader().status()["map_version"]
                    self.assertEqual(push[2:5], [restored, b"full", now])
            with meta.raw() as c:
                self.assertGreater(c.ok("KEYWAY", "ATTACH", cluster_text("b", 4), "REPLACE"), restored)


class Process(MetaTest):
    """The program itself: its pages, its refusals, its exit codes."""

    NODES = 0

    def setUp(self):
        self.dir = harness.temp_dir("meta-process")

    def node(self, **directives):
        node = MetaNode(1, os.path.join(self.dir, "n"), secret=directives.pop("secret", None))
        node.directives.update({"peers": "1=" + node.full_addr, "logfile": ""})
        node.directives.update({k.replace("_", "-"): v for k, v in directives.items()})
        self.addCleanup(lambda: node.proc and harness.end_process(node.proc))
        return node

    def refused(self, node, code, *texts):
        node.start(wait=False)
        self.assertEqual(node.wait_end(), code, node.log())
        for text in texts:
            self.assertIn(text, node.log())

    def run_once(self, *args):
        done = subprocess.run([harness.bin_path("keyway-meta"), *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, timeout=20)
        return done.returncode, done.stdout.decode(), done.stderr.decode()

    def test_pages(self):
        self.assertEqual(self.run_once("--version")[:2], (0, "keyway-meta 0.1.0\n"))
        code, text, _ = self.run_once("--help")
        self.assertEqual(code, 0)
        for name in ("id", "raft-port", "announce", "peers", "join", "dir", "cluster-name", "secret", "heartbeat", "election-timeout",
                     "disk-timeout", "snapshot-entries", "maxclients", "cluster-username", "cluster-password", "loglevel", "pidfile"):
            self.assertIn(name, text)
        self.assertIn("| `election-timeout` |", self.run_once("--reference")[1])

    def test_refused_settings(self):
        self.refused(self.node(bind="0.0.0.0"), 1, "secret is empty", "0.0.0.0")
        self.refused(self.node(bind=["127.0.0.1", "::"]), 1, "secret is empty")
        self.refused(self.node(secret="short"), 1, "at least 8 characters")
        self.refused(self.node(peers="2=127.0.0.1:7000"), 1, "peers does not name this node")
        self.refused(self.node(peers="1=nowhere"), 1, "peers '1=nowhere'")
        self.refused(self.node(peers=""), 1, "peers is empty", "join yes")
        self.refused(self.node(election_timeout=60), 1, "election-timeout")
        self.refused(self.node(nosuch="1"), 1, "nosuch")

    def test_ready_line_pidfile_and_end(self):
        node = self.node(pidfile=os.path.join(self.dir, "pid"))
        node.start()
        self.assertIn("ready: node 1 serves clients on %s" % node.addr, node.log())
        with open(os.path.join(self.dir, "pid")) as f:
            self.assertEqual(int(f.read()), node.pid)
        wait_until(lambda: node.status()["role"] == "leader", 10, "the only node to lead")
        self.assertIsInstance(node.keyway("PUT", CONF, "a", "1"), int)
        self.assertEqual(node.end(), 0)
        self.assertFalse(os.path.exists(os.path.join(self.dir, "pid")))
        node.start()
        self.assertEqual(node.keyway("GET", CONF, "a"), b"1")
        self.assertEqual(node.end(), 0)

    def test_port_in_use(self):
        node = self.node()
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            s.bind((harness.HOST, node.port))
            s.listen()
            self.refused(node, 1, "cannot listen on %s" % node.addr)

    def test_folder_in_use_or_of_another(self):
        node = self.node()
        node.start()
        other = self.node()
        other.data = node.data
        self.refused(other, 2, "in use")
        self.assertEqual(self.run_once("--check-dir", node.data)[0], 2)
        self.assertEqual(node.end(), 0)
        code, text, _ = self.run_once("--check-dir", node.data)
        self.assertEqual((code, "node 1" in text), (0, True), text)
        renamed = self.node(cluster_name="other")
        renamed.data = node.data
        self.refused(renamed, 2, "belongs to the cluster")
        self.assertEqual(self.run_once("--check-dir", os.path.join(self.dir, "nothing"))[0], 2)

    def test_check_dir_changes_nothing(self):
        node = self.node()
        node.start()
        wait_until(lambda: node.status()["role"] == "leader", 10, "the only node to lead")

        def looked_at(*texts):
            before = contents(node.data)
            code, out, err = self.run_once("--check-dir", node.data)
            self.assertEqual(code, 0, err)
            for text in ("everything in it can be read", *texts):
                self.assertIn(text, out + err)
            self.assertEqual(contents(node.data), before)

        node.keyway("PUT", CONF, "a", "1")
        self.assertEqual(node.end(), 0)
        looked_at()
        node.start()
        with node.raw() as c:
            c.send(b"".join(encode("KEYWAY", "PUT", CONF, "k%d" % i, b"x" * 5000) for i in range(200)))
            c.read_n(50)
            node.kill()
        looked_at()
        # What a crash at other moments leaves: a file whose bytes did not get to the disk, one that was not given its length.
        names = os.listdir(node.data)
        self.assertNotIn("metadata2", names)
        unused = "open-%d" % (max(int(name[5:]) for name in names if name.startswith("open-")) + 1)
        for name, text in (("metadata2", bytes(32)), (unused, bytes(5))):
            with open(os.path.join(node.data, name), "wb") as f:
                f.write(text)
        looked_at("a start mends this", "metadata2: ", unused + ": ")
        os.unlink(os.path.join(node.data, "lock"))
        looked_at("a start mends this")
        node.start()
        self.assertEqual(node.keyway("GET", CONF, "k49"), b"x" * 5000)
        self.assertIn("the log is mended after a crash", node.log())
        self.assertEqual(node.end(), 0)
        looked_at()

    def test_config_file(self):
        node = self.node()
        path = os.path.join(self.dir, "keyway-meta.conf")
        with open(path, "w") as f:
            f.write(harness.directive_lines({"maxclients": 77, "cluster-name": "fromfile"}))
        argv = node.argv()
        node.argv = lambda: [argv[0], path, *argv[1:]]
        node.start()
        with node.raw() as c:
            self.assertEqual(c("CONFIG", "GET", "maxclients"), [b"maxclients", b"77"])
            self.assertEqual(c("CONFIG", "SET", "maxclients", "78"), b"OK")
            self.assertEqual(c("CONFIG", "REWRITE"), b"OK")
        with open(path) as f:
            self.assertIn("maxclients 78", f.read())
        self.assertEqual(node.status()["cluster"], "fromfile")
        self.assertEqual(node.end(), 0)


def contents(folder):
    """All that a folder and its files say of themselves, but for when they were read."""
    found = {}
    for name in (".", *os.listdir(folder)):
        path = os.path.join(folder, name)
        stat = os.stat(path)
        digest = None
        if os.path.isfile(path):
            with open(path, "rb") as f:
                digest = hashlib.sha256(f.read()).hexdigest()
        found[name] = (digest, stat.st_ino, stat.st_mode, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
    return found


class Attached(MetaTest):
    """Beside a real Redis Cluster: three primaries with a replica each."""

    cluster = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.cluster = harness.Cluster(3, 1)

    @classmethod
    def tearDownClass(cls):
        cls.cluster.stop()
        super().tearDownClass()

    def setUp(self):
        if not self.meta.leader().status()["attached"]:
            version = self.keyway("ATTACH", self.cluster.nodes[0]("CLUSTER", "NODES"))
            self.assertIsInstance(version, int, version)
        self.meta.wait_applied()  # no node still has the map of the test before

    def nodes(self, node=None):
        return {n["id"]: n for n in (pairs(n) for n in (node or self.meta.leader()).keyway("NODES"))}

    def test_attach(self):
        status = self.meta.leader().status()
        self.assertEqual((status["attached"], status["shards"], status["nodes"], status["slots"]), (1, 3, 6, 16384))
        shards = {s["address"]: s for s in (pairs(s) for s in self.keyway("SHARDS"))}
        self.assertEqual(sorted(shards), sorted(self.cluster.primary_of(i).addr for i in range(3)))
        self.assertEqual(sum(s["slot_count"] for s in shards.values()), 16384)
        self.assertTrue(all(len(s["replicas"]) == 1 for s in shards.values()), shards)
        expected = sorted([r[0], r[1], r[2][0], r[2][1]] for r in self.cluster.nodes[0]("CLUSTER", "SLOTS"))
        self.assertEqual(sorted([r[0], r[1], r[2][0], r[2][1]] for r in self.keyway("SLOTS")), expected)
        # The same again is no offence; text of another cluster is.
        self.assertIsInstance(self.keyway("ATTACH", self.cluster.nodes[1]("CLUSTER", "NODES")), int)
        with harness.Server(cluster=True) as stranger:
            wait_until(lambda: b"myself" in stranger("CLUSTER", "NODES"), 5, "the stranger")
            self.assertError(self.keyway("ATTACH", stranger("CLUSTER", "NODES")), "ERR the cluster has no slots")
            stranger("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            text = stranger("CLUSTER", "NODES")
            self.assertError(self.keyway("ATTACH", text), "ERR another cluster is attached: detach first")
            version = self.meta.leader().status()["map_version"]
            replaced = self.keyway("ATTACH", text, "REPLACE")
            self.assertGreater(replaced, version)
            self.assertEqual(self.meta.leader().status()["nodes"], 1)
            wait_until(lambda: [n["reachable"] for n in self.nodes().values()] == [1], 10, "the observer to watch the new one")
        self.assertIsInstance(self.keyway("ATTACH", self.cluster.nodes[0]("CLUSTER", "NODES"), "REPLACE"), int)

    def test_nodes_with_offsets(self):
        self.cluster.primary_of(0)("SET", self.cluster.key(0), "x")

        def watched():
            nodes = self.nodes()
            return len(nodes) == 6 and all(n["reachable"] == 1 and n["offset"] > 0 and n["lag"] == 0 for n in nodes.values())

        wait_until(watched, 15, "offsets of all nodes")
        nodes = self.nodes()
        self.assertEqual(sorted(n["role"] for n in nodes.values()), ["primary"] * 3 + ["replica"] * 3)
        for n in nodes.values():
            self.assertEqual(n["primary"] in nodes if n["role"] == "replica" else n["primary"] == "", True)
        follower = self.meta.followers()[0]
        wait_until(lambda: len(self.nodes(follower)) == 6, 5, "the follower's map")
        self.assertEqual({(n["reachable"], n["offset"], n["lag"]) for n in self.nodes(follower).values()}, {(-1, -1, -1)})

    def test_changes_are_committed_and_pushed(self):
        watchers = [self.watcher(node) for node in self.meta.nodes]
        maps = [self.next_push(c, b"map") for c in watchers]
        self.assertEqual({m[3] for m in maps}, {b"full"})
        old, new = self.cluster.failover(0)
        for c, first in zip(watchers, maps):
            push = self.next_push(c, b"map")
            self.assertEqual(push[3], b"diff")
            self.assertGreater(push[2], first[2])
            self.assertLess(len(push[4]), len(maps[0][4]))
        wait_until(lambda: self.nodes()[new.id]["role"] == "primary" and self.nodes()[old.id]["primary"] == new.id, 15, "the new roles")
        # Who comes back with a version that is kept gets the difference, who has the newest gets none.
        late = self.watcher(self.meta.leader(), "VERSION", maps[0][2])
        self.assertEqual(late.read(5)[3], b"diff")

        def nothing_new():
            newest = self.watcher(self.meta.leader(), "VERSION", self.meta.leader().status()["map_version"])
            return newest.read(5)[1] == b"alive"

        wait_until(nothing_new, 10, "a moment without a change")
        unknown = self.watcher(self.meta.leader(), "VERSION", 123456789)
        self.assertEqual(unknown.read(5)[3], b"full")

    def test_slot_move_is_followed(self):
        slot = self.cluster.shard_slot(1) + 5
        before = self.meta.leader().status()["map_version"]
        dst = self.cluster.primary_of(2)
        self.cluster.migrate_slot(slot, dst)
        wait_until(lambda: any(r[0] <= slot <= r[1] and r[2][1] == dst.port for r in self.keyway("SLOTS")), 15, "the slot's new owner")
        self.assertGreater(self.meta.leader().status()["map_version"], before)

    def test_a_new_leader_observes(self):
        old = self.meta.leader()
        old.kill()
        new = self.meta.wait_leader(old)
        wait_until(lambda: all(n["reachable"] == 1 for n in self.nodes(new).values()), 15, "the new leader to watch the nodes")
        old.restart()
        self.meta.wait_leader()

    def test_another_is_watched_though_the_old_one_never_answered(self):
        old = self.meta.leader()
        with harness.Server(cluster=True) as dead:
            dead("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
            wait_until(lambda: b"cluster_state:ok" in dead("CLUSTER", "INFO"), 10, "the other cluster")
            self.assertIsInstance(self.keyway("ATTACH", dead("CLUSTER", "NODES"), "REPLACE"), int)
            wait_until(lambda: [n["reachable"] for n in self.nodes().values()] == [1], 10, "the other cluster to be watched")
            dead.kill()
            logged = {node.id: len(node.log()) for node in self.meta.nodes}
            old.kill()
            new = self.meta.wait_leader(old)
            wait_until(lambda: "observer: watching the 1 nodes" in new.log()[logged[new.id] :], 10, "the new leader to ask")
            self.assertNotIn(1, [n["reachable"] for n in self.nodes(new).values()])
            version = self.keyway("ATTACH", self.cluster.nodes[0]("CLUSTER", "NODES"), "REPLACE")
            self.assertIsInstance(version, int)
        wait_until(lambda: [n["reachable"] for n in self.nodes(new).values()] == [1] * 6, 10, "the observer to watch the new one")
        old.restart()
        self.meta.wait_leader()

    def test_silence_of_all_nodes_changes_nothing(self):
        wait_until(lambda: all(n["reachable"] == 1 for n in self.nodes().values()), 15, "all nodes")
        before = c_map(self.meta.leader())
        for node in self.cluster.nodes:
            node.freeze()
        try:
            wait_until(lambda: all(n["reachable"] == 0 for n in self.nodes().values()), 20, "the silence to be seen")
            self.assertEqual(c_map(self.meta.leader()), before)
        finally:
            self.cluster.heal()

    def test_detach(self):
        c = self.watcher()
        first = self.next_push(c, b"map")
        version = self.keyway("DETACH")
        self.assertGreater(version, first[2])
        seen = first[2]
        while seen < version:  # what the observer noticed meanwhile comes first
            seen = self.next_push(c, b"map")[2]
        self.assertEqual(seen, version)
        status = self.meta.leader().status()
        self.assertEqual((status["attached"], status["nodes"], status["slots"], status["shards"]), (0, 0, 0, 0))
        self.assertError(self.keyway("DETACH"), "ERR no cluster is attached")

    def test_pushed_at_once_from_every_node(self):
        """
        Not with the next heartbeat only: some of many tries, since a busy machine has its own delays. They are counted from
        the reply to the writer: what the disks take before that is not the subject.
        """
        watchers = [self.watcher(node) for node in self.meta.nodes]
        text = self.cluster.nodes[0]("CLUSTER", "NODES")
        admin = self.raw()
        took, quick = [], 0.02 * harness.TIME_SCALE
        while sum(t < quick for t in took) < 5:
            self.assertLess(len(took), 60, took)
            i = len(took)
            version = admin("KEYWAY", "DETACH") if i % 2 == 0 else admin("KEYWAY", "ATTACH", text)
            began = time.monotonic()
            for c in watchers:
                seen = 0
                while seen < version:
                    seen = self.next_push(c, b"map")[2]
            took.append(time.monotonic() - began)
        if len(took) % 2:
            admin.ok("KEYWAY", "ATTACH", text)

    def test_many_watchers(self):
        leader = self.meta.leader()
        watchers = [self.watcher(leader) for _ in range(50)]
        for c in watchers:
            self.next_push(c, b"map")
        text = self.cluster.nodes[0]("CLUSTER", "NODES")
        for _ in range(20):
            self.keyway("DETACH")
            version = self.keyway("ATTACH", text)
        for c in watchers:
            seen = 0
            while seen < version:
                seen = self.next_push(c, b"map")[2]


class SlowWatcher(MetaTest):
    NODES = 1
    DIRECTIVES = CALM

    def test_it_is_closed_and_the_others_are_served(self):
        node = self.meta.nodes[0]
        slow, quick = self.watcher(node, rcvbuf=4096), self.watcher(node)
        texts = [cluster_text("a", 1500), cluster_text("b", 1500)]
        admin = self.raw(node)
        version, pushed, rounds = 0, 0, 0
        while node.info("clients")["slow_clients_closed"] == "0":
            version = admin("KEYWAY", "ATTACH", texts[rounds % 2], "REPLACE")
            self.assertIsInstance(version, int)
            push = []
            while push[2:3] != [version]:
                push = self.next_push(quick, b"map")
            pushed += len(push[4])
            rounds += 1
            self.assertLess(pushed, 256 * 1024 * 1024, "it is not closed")
        self.assertGreater(pushed, 64 * 1024 * 1024)
        self.assertIn("it does not read what it is sent", node.log())
        wait_until(lambda: node.info("clients")["watchers"] == "1", 5, "only the quick one")
        slow.close()


if __name__ == "__main__":
    harness.main()
