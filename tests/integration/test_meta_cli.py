#!/usr/bin/python3
# timeout: 400
"""
keyway-cli status, meta, attach and detach: what people look at the metadata service and change it with.

Real keyway-meta processes, real shards. Each command runs as people run it: addresses on the command line, the secret
in a file or in the environment, never among the arguments.
"""

import fcntl
import json
import os
import pty
import re
import resource
import signal
import struct
import subprocess
import termios
import unittest

import harness
import meta_harness
from harness import Client, Cluster, bin_path, free_port, temp_dir, wait_until
from meta_harness import MetaCluster

HEALTHY, FAILED, USAGE, DEGRADED = 0, 1, 2, 3


class CliTest(unittest.TestCase):
    """One metadata service a class; `meta_nodes` says of how many."""

    meta_nodes = 3
    shards = None

    @classmethod
    def setUpClass(cls):
        cls.meta = MetaCluster(cls.meta_nodes)
        cls.addClassCleanup(cls.meta.close)
        if cls.shards:
            cls.cluster = Cluster(**cls.shards)
            cls.addClassCleanup(cls.cluster.stop)

    def cli(self, *args, secret=meta_harness.SECRET, meta=None, env=None, stdin=subprocess.DEVNULL, **kw):
        environment = dict(os.environ, **(env or {}))
        environment.pop("KEYWAY_SECRET", None)
        if secret is not None:
            environment["KEYWAY_SECRET"] = secret
        argv = [bin_path("keyway-cli")] + [str(a) for a in args]
        if meta is not False:
            argv += ["--meta", ",".join(meta or self.meta.addresses())]
        if not isinstance(stdin, str):
            kw["stdin"] = stdin
        else:
            kw["input"] = stdin
        return subprocess.run(
            argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment, timeout=90 * harness.TIME_SCALE, **kw
        )

    def good(self, result, *texts):
        self.gives(result, 0, *texts)

    def gives(self, result, code, *texts):
        self.assertEqual(result.returncode, code, result.stdout)
        for text in texts:
            self.assertIn(text, result.stdout)

    def status(self, *args, **kw):
        return json.loads(self.cli("status", "--json", *args, **kw).stdout)

    def attach(self, *args, **kw):
        return self.cli("attach", self.cluster.nodes[0].addr, *args, **kw)

    def healthy(self, *args, **kw):
        """
        What `status` says when all is well: the leader reaches every node of the attached cluster, and each metadata node
        answers in time, which a busy machine can keep it from for a moment.
        """

        def well():
            result = self.cli("status", *args, **kw)
            return result if result.returncode == HEALTHY else None

        return wait_until(well, what="a healthy status")


class Status(CliTest):
    shards = {"primaries": 2, "replicas": 1}

    @classmethod
    def setUpClass(cls):
        super().setUpClass()

    def setUp(self):
        self.good(self.attach())
        self.healthy()

    def test_tables(self):
        result = self.healthy()
        leader = self.meta.leader()
        self.gives(result, HEALTHY, "Cluster keyway: healthy", "leader %d (%s)" % (leader.id, leader.addr), "16384 of 16384 slots")
        for node in self.cluster.nodes:
            self.assertEqual(len(re.findall(r"^\d +(?:primary|replica) +%s " % re.escape(node.addr), result.stdout, re.M)), 1)
        for member in self.meta.nodes:
            role = "leader" if member is leader else "follower"
            self.assertRegex(result.stdout, r"(?m)^ *%d +%s +%d +%s " % (member.id, member.addr, member.raft_port, role))
        self.assertRegex(result.stdout, r"(?m)^1 +primary .* 8192 +0-8191$")
        self.assertEqual([line for line in result.stdout.split("\n") if len(line) > 80 and "!" not in line], [])

    def test_json(self):
        status = json.loads(self.healthy("--json").stdout)
        self.assertEqual((status["state"], status["reasons"]), ("healthy", []))
        self.assertEqual(status["metadata"]["leader"], self.meta.leader().id)
        self.assertEqual(status["metadata"]["consistency"], "linearizable")
        self.assertEqual([m["id"] for m in status["members"]], [1, 2, 3])
        self.assertTrue(all(m["answers"] and m["voter"] for m in status["members"]))
        self.assertEqual(sorted(n["address"] for n in status["nodes"]), sorted(n.addr for n in self.cluster.nodes))
        self.assertEqual(sum(last - first + 1 for s in status["shards"] for first, last in s["slots"]), 16384)
        self.assertEqual([len(s["replicas"]) for s in status["shards"]], [1, 1])
        self.assertEqual((status["proxies"], status["operations"]), ([], []))

    def test_any_node_leads_to_the_leader(self):
        for node in self.meta.nodes:
            self.assertEqual(self.status(meta=[node.addr])["metadata"]["consistency"], "linearizable")

    def test_proxies_and_operations(self):
        with self.meta.raw() as c:
            c.ok("KEYWAY", "PROXY", "REGISTER", "proxy-1", "10.0.0.9:7379", "0.1.0", 4, 1)
            c.ok("KEYWAY", "PUT", "operations", "op-7", "move copying slot 5 of 9")
        try:
            self.gives(self.healthy(), HEALTHY, "10.0.0.9:7379", "proxy-1", "op-7", "copying", "slot 5 of 9")
            status = json.loads(self.healthy("--json").stdout)
            self.assertEqual(status["proxies"][0]["workers"], 4)
            self.assertEqual(status["operations"][0]["step"], "copying")
        finally:
            with self.meta.raw() as c:
                c.ok("KEYWAY", "PROXY", "REMOVE", "proxy-1")
                c.ok("KEYWAY", "DELETE", "operations", "op-7")

    def test_json_of_bytes_that_are_no_text(self):
        op = b'op "\xff\x00'
        with self.meta.raw() as c:
            c.ok("KEYWAY", "PUT", "operations", op, b'move "a\xff\x00 \xc3\xa9 \xc0\x80 \xed\xa0\x80 \xf4\x90 \xe2\x82 \\ "end"\x01\r\n\xc3')
        try:
            argv = [bin_path("keyway-cli"), "status", "--json", "--meta", ",".join(self.meta.addresses())]

            def run(argv):
                done = subprocess.run(argv, stdout=subprocess.PIPE, env=dict(os.environ, KEYWAY_SECRET=meta_harness.SECRET), timeout=60)
                return done.stdout if done.returncode == HEALTHY else None

            shown = wait_until(lambda: run(argv), what="a healthy status")
            bad = "\ufffd"
            row = {"id": 'op "' + bad + "\0", "kind": "move", "step": '"a' + bad + "\0"}
            row["detail"] = " ".join(("\xe9", bad * 2, bad * 3, bad * 2, bad * 2, "\\", '"end"\x01\r\n' + bad))
            self.assertEqual(json.loads(shown.decode("utf-8"))["operations"], [row])
            shown = wait_until(lambda: run(argv[:2] + argv[3:]), what="a healthy status")
            self.assertIn(b'op "?', shown)
            self.assertEqual([c for c in shown if c != 10 and not 32 <= c <= 126], [], "bytes that steer a terminal")
        finally:
            with self.meta.raw() as c:
                c.ok("KEYWAY", "DELETE", "operations", op)

    def test_dead_shard(self):
        victim = self.cluster.primary_of(0)
        victim.freeze()
        try:
            wait_until(
                lambda: self.cli("status").returncode == DEGRADED and victim.addr in " ".join(self.status()["reasons"]),
                what="the dead node to be seen",
            )
            self.gives(self.cli("status"), DEGRADED, "degraded", victim.addr)
        finally:
            victim.thaw()
            self.cluster.heal()
        self.healthy()

    def test_attach_goes_on_from_a_node_that_hangs(self):
        """It takes the connection, and no password is asked for by which it would show earlier."""
        hung = harness.Server().start()
        hung.freeze()
        try:
            self.good(self.cli("attach", hung.addr, self.cluster.nodes[0].addr), "Attached", hung.addr)
        finally:
            hung.thaw()
            hung.kill()

    def test_dead_metadata_nodes(self):
        first, second = self.meta.leader(), self.meta.followers()[0]
        second.kill()
        try:
            self.gives(self.cli("status"), DEGRADED, "metadata node %d (%s) does not answer" % (second.id, second.addr))
            first.kill()
            result = self.cli("status")
            self.gives(result, DEGRADED, "no leader" if "no leader" in result.stdout else "leader")
            self.assertEqual(self.status()["metadata"]["consistency"], "local")
            self.assertEqual(len(self.status()["nodes"]), 4, "what is known is still shown")
        finally:
            self.meta.heal()
        self.healthy()

    def test_frozen_leader(self):
        leader = self.meta.leader()
        leader.stop()
        try:
            self.meta.wait_leader(other_than=leader)

            def led_by_another():
                # The frozen one costs a second of the two that there are; what is left may be too short for the others once.
                status = self.status(meta=[leader.addr] + [n.addr for n in self.meta.running()])
                return status if status["metadata"]["consistency"] == "linearizable" else None

            status = wait_until(led_by_another, what="an answer of the new leader")
            self.assertIn("metadata node %d" % leader.id, " ".join(status["reasons"]))
        finally:
            self.meta.heal()
        self.healthy()

    def test_watch_plain(self):
        argv = [bin_path("keyway-cli"), "status", "--watch", "--json", "--meta", ",".join(self.meta.addresses())]
        read, write = os.pipe()
        proc = harness.spawn(argv, write, subprocess.DEVNULL, env=dict(os.environ, KEYWAY_SECRET=meta_harness.SECRET))
        os.close(write)
        with os.fdopen(read) as out:
            states = []
            while states.count("healthy") < 3:
                states.append(json.loads(out.readline())["state"])
                self.assertIn(states[-1], ("healthy", "degraded"))  # an answer may be late once
                self.assertLess(len(states), 20, states)
            proc.send_signal(signal.SIGINT)
            self.assertEqual(proc.wait(20 * harness.TIME_SCALE), 0)

    def test_watch_on_a_terminal(self):
        ours, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 80, 0, 0))
        argv = [bin_path("keyway-cli"), "status", "--watch", "--meta", ",".join(self.meta.addresses())]
        proc = harness.spawn(argv, theirs, subprocess.DEVNULL, env=dict(os.environ, KEYWAY_SECRET=meta_harness.SECRET))
        os.close(theirs)
        os.set_blocking(ours, False)
        screen = bytearray()

        def drawn():
            try:
                screen.extend(os.read(ours, 65536))
            except BlockingIOError:
                pass
            return sum(b"healthy" in look for look in looks()) >= 2

        def looks():
            return screen.split(b"\x1b[H")[1:-1]

        wait_until(drawn, what="two whole screens of a healthy cluster")  # an answer may be late once
        for look in looks():
            self.assertIn(b"more lines", look)
            self.assertLess(look.count(b"\n"), 12)
        proc.send_signal(signal.SIGINT)
        self.assertEqual(proc.wait(20 * harness.TIME_SCALE), 0)
        os.close(ours)

    def test_local_cluster_is_found(self):
        home = temp_dir("home")
        port = free_port()
        up = [bin_path("keyway-cli"), "local", "up", "--port", str(port), "--shards", "1", "--replicas", "0", "--meta", "1"]
        down = [bin_path("keyway-cli"), "local", "down", "--wipe"]

        def run(argv):
            return subprocess.run(argv, cwd=home, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

        self.addCleanup(run, down)
        self.good(run(up))
        status = json.loads(self.healthy("--json", meta=False, secret=None, cwd=home).stdout)
        self.assertEqual([p["address"].rsplit(":", 1)[1] for p in status["proxies"]], [str(port)])
        where = os.path.join(home, ".keyway", "local")
        self.healthy("--dir", where, meta=False, secret="something else")
        self.gives(self.cli("status", "--dir", home, meta=False), FAILED, "no local cluster")
        self.gives(self.cli("status", "--dir", where), FAILED, "--meta and --dir")


class Door(CliTest):
    """What stands between the tool and the service."""

    meta_nodes = 1

    def test_secret(self):
        self.gives(self.cli("status", secret=None), FAILED, "wants a secret", "--secret-file")
        self.gives(self.cli("status", secret="wrong secret"), FAILED, "does not take the secret")
        path = os.path.join(temp_dir("secret"), "secret")
        with open(path, "w") as f:
            f.write(meta_harness.SECRET + "\n")
        self.gives(self.cli("status", "--secret-file", path, secret="wrong secret"), DEGRADED, "no cluster is attached")
        self.gives(self.cli("status", "--secret-file", path + "x"), FAILED, path + "x", "No such file")
        with open(path, "w"):
            pass
        self.gives(self.cli("status", "--secret-file", path), FAILED, "holds no secret")

    def test_nobody_there(self):
        port = free_port()
        self.gives(self.cli("status", meta=["127.0.0.1:%d" % port]), FAILED, "127.0.0.1:%d" % port, "refused")
        status = self.status(meta=["127.0.0.1:%d" % port])
        self.assertEqual(status["state"], "unreachable")
        for words in (["list"], ["add", 9, "127.0.0.1:1"], ["remove", 9], ["transfer"], ["backup", "/tmp/never"]):
            self.gives(self.cli("meta", *words, "--timeout", 1, meta=["127.0.0.1:%d" % port]), FAILED, "no metadata node answers")
        self.assertFalse(os.path.exists("/tmp/never"))
        self.gives(self.cli("detach", meta=["127.0.0.1:%d" % port]), FAILED, "no metadata node answers")

    def test_addresses(self):
        for address in ("", "127.0.0.1", "127.0.0.1:x", "127.0.0.1:99999", ":7380"):
            self.gives(self.cli("status", meta=[address]), FAILED, "--meta %s: " % address)
        # A dead one first: the next is tried.
        self.gives(self.cli("status", meta=["127.0.0.1:%d" % free_port()] + self.meta.addresses()), DEGRADED, "leader 1")

    def test_words(self):
        for args, text in (
            (["status", "word"], "one word too many"),
            (["status", "--wacth"], "did you mean '--watch'?"),
            (["status", "-w"], "no option '-w'"),
            (["status", "--json=yes"], "takes no value"),
            (["status", "--secret-file"], "--secret-file"),
            (["meta"], "usage"),
            (["meta", "lost"], "did you mean `meta list`?"),
            (["meta", "list", "word"], "keyway-cli meta list"),
            (["meta", "add", "4"], "ID HOST:PORT"),
            (["meta", "add", "x", "127.0.0.1:1"], "ID takes a number"),
            (["meta", "add", "0", "127.0.0.1:1"], "ID takes a number"),
            (["meta", "add", "4", "127.0.0.1"], "no address"),
            (["meta", "add", "4", "127.0.0.1:1:0"], "RAFTPORT"),
            (["meta", "add", "4", "127.0.0.1:1:2:3"], "RAFTPORT"),
            (["meta", "remove", "-1"], "no option '-1'"),
            (["meta", "remove"], "keyway-cli meta remove ID"),
            (["meta", "backup"], "meta backup FILE"),
            (["meta", "list", "--force"], "no option --force"),
            (["meta", "list", "--timeout", "0"], "--timeout takes a number"),
            (["attach"], "which cluster?"),
            (["attach", "127.0.0.1:1", "--username", "u"], "KEYWAY_CLUSTER_PASSWORD"),
            (["detach", "word"], "one word too many"),
            (["statsu"], "did you mean 'status'?"),
            (["help", "nothing"], "no command 'nothing'"),
        ):
            self.gives(self.cli(*args, meta=False), USAGE, text)

    def test_help(self):
        top = self.cli("help", meta=False)
        self.good(top)
        commands = re.findall(r"^  (\w+) ", top.stdout, re.M)
        self.assertEqual(commands, ["local", "status", "attach", "detach", "meta", "help"])
        for command in commands[:-1]:
            one = self.cli(command, "--help", meta=False)
            self.good(one, "usage: keyway-cli %s" % command, "--help")
            self.assertEqual(one.stdout, self.cli("help", command, meta=False).stdout)
            self.assertNotIn("\\n", one.stdout)
            self.assertEqual([line for line in one.stdout.split("\n") if len(line) > 110], [])
        self.good(self.cli("--version", meta=False), "keyway-cli ")


class Members(CliTest):
    def test_list_add_remove_transfer(self):

        def all_ok():
            result = self.cli("meta", "list")
            self.good(result)
            return len(re.findall(r"\bok$", result.stdout, re.M)) == 3

        wait_until(all_ok, what="all three to answer in time")
        node = self.meta.add_node()
        self.good(self.cli("meta", "add", node.id, node.full_addr), "is a voter now", node.addr)
        members = json.loads(self.cli("meta", "list", "--json").stdout)
        self.assertEqual([(m["id"], m["voter"]) for m in members], [(1, True), (2, True), (3, True), (4, True)])
        self.gives(self.cli("meta", "add", node.id, node.full_addr), FAILED, "already")

        leader = self.meta.leader()
        heir = next(n for n in self.meta.nodes if n is not leader)
        self.good(self.cli("meta", "transfer", heir.id, meta=[leader.addr]), "Metadata node %d leads now" % heir.id)
        self.assertIs(self.meta.leader(), heir)
        self.good(self.cli("meta", "transfer"), "Another metadata node leads now")
        self.gives(self.cli("meta", "transfer", 99), FAILED, "99")

        self.good(self.cli("meta", "remove", node.id), "is out")
        self.assertEqual([m["id"] for m in json.loads(self.cli("meta", "list", "--json").stdout)], [1, 2, 3])
        self.gives(self.cli("meta", "remove", node.id), FAILED, "no metadata node has the id 4")
        if node.alive():
            node.kill()
        self.meta.nodes.remove(node)

    def test_without_a_leader(self):
        victims = [self.meta.leader(), self.meta.followers()[0]]
        for node in victims:
            node.kill()
        try:
            self.good(self.cli("meta", "list"), "Connection refused")
            self.gives(self.cli("meta", "remove", 1, "--timeout", 2), FAILED)
            self.gives(self.cli("detach", "--yes"), FAILED)
        finally:
            self.meta.heal()


class Backup(CliTest):
    meta_nodes = 1

    def fill(self):
        with self.meta.raw() as c:
            for i in range(50):
                c.ok("KEYWAY", "PUT", "config", "key-%d" % i, "value " * 100)
            c.ok("KEYWAY", "PUT", "families", "orders", "x")

    def test_backup_and_restore(self):
        self.fill()
        path = os.path.join(temp_dir("backup"), "meta.backup")
        result = self.cli("meta", "backup", path)
        self.good(result, path)
        size, index = map(int, re.search(r": (\d+) bytes, everything up to index (\d+)", result.stdout).groups())
        self.assertEqual(os.path.getsize(path), size)
        self.assertGreater(size, 30000)
        self.assertGreaterEqual(index, 51)
        self.assertEqual(os.stat(path).st_mode & 0o777, 0o600)
        self.assertEqual(os.listdir(os.path.dirname(path)), ["meta.backup"])

        # A file that is there stays, unless it is said.
        self.gives(self.cli("meta", "backup", path), FAILED, "--force")
        self.assertEqual(os.path.getsize(path), size)
        self.good(self.cli("meta", "backup", path, "--force"))

        # Not into a service that holds something.
        self.gives(self.cli("meta", "restore", path), FAILED, "empty")
        with MetaCluster(1) as other:
            self.good(
                self.cli("meta", "restore", path, meta=other.addresses()), "Restored %d bytes" % os.path.getsize(path), "50 config, 1 families", "recovery epoch 1"
            )
            with other.raw() as c:
                self.assertEqual(c("KEYWAY", "GET", "config", "key-49"), b"value " * 100)

    def test_damaged(self):
        self.fill()
        path = os.path.join(temp_dir("backup"), "meta.backup")
        self.good(self.cli("meta", "backup", path))
        with open(path, "rb") as f:
            image = f.read()
        with MetaCluster(1) as other:
            for bad in (image[:-1], image[: len(image) // 2], image[:100] + b"X" + image[101:], b"no backup at all"):
                with open(path, "wb") as f:
                    f.write(bad)
                self.gives(self.cli("meta", "restore", path, meta=other.addresses()), FAILED, "no backup")
            with open(path, "wb"):
                pass
            self.gives(self.cli("meta", "restore", path, meta=other.addresses()), FAILED, "it is empty")
            self.gives(self.cli("meta", "restore", os.path.dirname(path), meta=other.addresses()), FAILED, "not a file")
            self.gives(self.cli("meta", "restore", path + "x", meta=other.addresses()), FAILED, "No such file")
            with other.raw() as c:
                self.assertEqual(c("KEYWAY", "COUNT", "config"), 0)

    def test_disk_that_takes_nothing(self):
        self.fill()
        folder = temp_dir("backup")
        path = os.path.join(folder, "meta.backup")
        with open(path, "w") as f:
            f.write("the old one")

        def no_space():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))

        read, write = os.pipe()  # what it prints must not be a file
        argv = [bin_path("keyway-cli"), "meta", "backup", path, "--force", "--meta", self.meta.addresses()[0]]
        env = dict(os.environ, KEYWAY_SECRET=meta_harness.SECRET)
        proc = subprocess.Popen(argv, stdout=write, stderr=write, env=env, preexec_fn=no_space)
        os.close(write)
        with os.fdopen(read) as out:
            self.assertIn("cannot write %s" % path, out.read())
        self.assertEqual(proc.wait(20), FAILED)
        self.assertEqual(os.listdir(folder), ["meta.backup"], "something stayed behind")
        with open(path) as f:
            self.assertEqual(f.read(), "the old one")
        self.gives(self.cli("meta", "backup", os.path.join(folder, "no", "where")), FAILED, "cannot write")


class Attach(CliTest):
    shards = {"primaries": 3, "replicas": 0, "password": "open sesame"}
    password = {"KEYWAY_CLUSTER_PASSWORD": "open sesame"}

    def setUp(self):
        self.cli("detach", "--yes")

    def shown(self):
        with self.meta.raw() as c:
            return {s[3].decode() for s in c.ok("KEYWAY", "SHARDS")}

    def test_attach_and_detach(self):
        addresses = {n.addr for n in self.cluster.nodes}
        result = self.attach(env=self.password)
        self.good(result, "Attached: 3 shards, 3 nodes", "cluster-password", *addresses)
        self.assertNotIn("warning", result.stdout)
        self.assertEqual(self.shown(), addresses)
        self.good(self.attach(env=self.password), "Attached")

        self.gives(self.cli("detach", stdin="no\n"), FAILED, "Nothing was changed")
        self.gives(self.cli("detach", stdin=""), FAILED, "--yes")
        self.assertEqual(self.shown(), addresses)
        self.good(self.cli("detach", stdin="yes\n"), "Detach cluster keyway (3 shards", "Detached")
        self.assertEqual(self.shown(), set())
        self.gives(self.cli("detach", "--yes"), FAILED, "no cluster is attached")
        self.gives(self.cli("status"), DEGRADED, "no cluster is attached")

    def test_password(self):
        self.gives(self.attach(), FAILED, "KEYWAY_CLUSTER_PASSWORD")
        self.gives(self.attach(env={"KEYWAY_CLUSTER_PASSWORD": "wrong"}), FAILED, "WRONGPASS")
        self.good(self.attach("--username", "default", env=self.password))

    def test_first_that_answers(self):
        dead = "127.0.0.1:%d" % free_port()
        self.good(self.cli("attach", dead, self.cluster.nodes[1].addr, env=self.password), "Attached", dead)
        self.gives(self.cli("attach", dead), FAILED, "refused")
        self.gives(self.cli("attach", "nonsense"), FAILED, "nonsense")

    def test_a_node_that_cannot_be_reached(self):
        victim = self.cluster.nodes[2]
        victim.freeze()
        try:
            result = self.attach(env=self.password)
            self.good(result, "warning: node %s" % victim.addr)
        finally:
            victim.thaw()
            self.cluster.heal()

    def test_another_cluster(self):
        self.good(self.attach(env=self.password))
        with_one = Cluster(primaries=1)
        self.addCleanup(with_one.stop)
        other = with_one.nodes[0].addr
        self.gives(self.cli("attach", other), FAILED, "another cluster is attached")
        self.good(self.cli("attach", other, "--replace"), "Attached: 1 shards, 1 nodes")
        self.assertEqual(self.shown(), {other})

    def test_what_is_no_whole_cluster(self):
        port = free_port()
        folder = temp_dir("plain")
        proc = harness.spawn(
            [harness.redis_server(), "--port", str(port), "--dir", folder, "--save", ""], subprocess.DEVNULL, subprocess.DEVNULL
        )
        self.addCleanup(harness.end_process, proc)
        wait_until(lambda: Client(port)("PING") == b"PONG", what="a plain server")
        self.gives(self.cli("attach", "127.0.0.1:%d" % port), FAILED, "no node of a Redis Cluster")

        lacking = Cluster(primaries=1)
        self.addCleanup(lacking.stop)
        with Client(lacking.nodes[0].port) as c:
            c.ok("CLUSTER", "DELSLOTS", 5)
        self.gives(self.cli("attach", lacking.nodes[0].addr), FAILED, "16383 of 16384")
        self.assertEqual(self.shown(), set())

    def test_own_address_is_filled_in(self):
        """A node alone that was never met does not know its own address: ':port@bus' in its own line."""
        lone = Cluster(primaries=1, config={"bind": "127.0.0.1 127.0.0.2"})
        self.addCleanup(lone.stop)
        node = lone.nodes[0]
        with Client(node.port) as c:
            self.assertIn(b" :%d@" % node.port, c.ok("CLUSTER", "NODES"))
        address = "127.0.0.2:%d" % node.port  # not what a metadata node would guess by itself
        self.good(self.cli("attach", address), address)
        self.assertEqual(self.shown(), {address})


if __name__ == "__main__":
    harness.main()
