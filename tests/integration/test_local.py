#!/usr/bin/python3
# timeout: 400
"""
keyway-cli local up, status and down: what people start a cluster with on their own machine.

Each test has a folder of its own. The processes that `up` leaves are ended through `down`, and for the case that this
does not work, through the pids in the state file, checked against their start times.
"""

import json
import os
import re
import resource
import shutil
import signal
import socket
import subprocess
import time
import unittest

import harness
from harness import Client, bin_path, free_port, temp_dir, wait_until

NOT_RUNNING = 3


def start_time(pid):
    """Field 22 of /proc/PID/stat, or None when there is no such process or only its remains."""
    try:
        with open("/proc/%d/stat" % pid) as f:
            fields = f.read().rsplit(") ", 1)[1].split()
    except (OSError, IndexError):
        return None
    return None if fields[0] in "ZX" else int(fields[19])


def run_to_end(argv, **kw):
    """A program that has ended, with all that it wrote as its stdout."""
    timeout = 150 * harness.TIME_SCALE
    return subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=timeout, **kw)


class Folder:
    """A local cluster in a folder of its own."""

    def __init__(self, name="local"):
        self.dir = os.path.join(temp_dir(name), "cluster")
        self.port = free_port()
        harness.at_end(lambda: self.running() and self.end())

    def argv(self, action, *args):
        return [bin_path("keyway-cli"), "local", action, "--dir", self.dir] + [str(a) for a in args]

    def run(self, action, *args, **kw):
        return run_to_end(self.argv(action, *args), **kw)

    def up(self, *args):
        timeout = int(60 * min(harness.TIME_SCALE, 2))
        return self.run("up", "--port", self.port, "--timeout", timeout, *args)

    def status(self):
        return json.loads(self.run("status", "--json").stdout)

    def recorded(self):
        """(pid, start) of everything that the state file names."""
        try:
            with open(os.path.join(self.dir, "local.state")) as f:
                text = f.read()
        except OSError:
            return []
        return [(int(p), int(s)) for p, s in re.findall(r"^(?:node|meta|proxy) \d+ (\d+) (\d+)$", text, re.M)]

    def running(self):
        return [pid for pid, start in self.recorded() if pid and start_time(pid) == start]

    def end(self):
        self.run("down")
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)

    def client(self):
        return Client(self.port)

    def path(self, *names):
        return os.path.join(self.dir, *names)

    def secret(self):
        with open(self.path("meta.secret")) as f:
            return f.read().strip()

    def meta(self, port):
        """A connection to the metadata node on that port, logged in."""
        return Client(port, password=self.secret())

    def meta_leader(self):
        """The entry of the leading metadata node in `status`; after a vote there may be none for a moment."""
        return wait_until(lambda: next((m for m in self.status()["meta"] if m.get("role") == "leader"), None), what="a leader")

    def edit_state(self, pattern, replacement):
        with open(self.path("local.state")) as f:
            text = f.read()
        with open(self.path("local.state"), "w") as f:
            f.write(re.sub(pattern, replacement, text, flags=re.M))


class LocalTest(unittest.TestCase):
    def folder(self):
        folder = Folder()
        self.addCleanup(folder.end)
        return folder

    def good(self, result, *texts):
        self.assertEqual(result.returncode, 0, result.stdout)
        for text in texts:
            self.assertIn(text, result.stdout)

    def bad(self, result, *texts, code=1):
        self.assertEqual(result.returncode, code, result.stdout)
        for text in texts:
            self.assertIn(text, result.stdout)

    def small(self):
        """A folder that runs two shards and one metadata node: enough for what does not depend on the layout."""
        folder = self.folder()
        self.good(folder.up("--shards", 2, "--replicas", 0, "--meta", 1))
        return folder


class Lifecycle(LocalTest):
    def test_up_down_up_keeps_data_and_ports(self):
        folder = self.folder()
        self.good(folder.up(), "127.0.0.1:%d" % folder.port)
        first = folder.status()
        self.assertEqual(first["state"], "running")
        self.assertEqual(sorted(n["role"] for n in first["nodes"]), ["primary"] * 3 + ["replica"] * 3)
        self.assertEqual(sum(n["slot_count"] for n in first["nodes"]), 16384)
        for node in first["nodes"]:
            with Client(node["port"]) as c:
                self.assertEqual(c("DBSIZE"), 0, "up left a key behind")
        with folder.client() as c:
            for i in range(100):
                c.ok("SET", "key:%d" % i, "value:%d" % i)

        pids = folder.running()
        self.assertEqual(len(pids), 10)
        self.good(folder.run("down"), "10 processes")
        self.assertEqual([pid for pid in pids if start_time(pid)], [])
        self.assertEqual(folder.run("status").returncode, NOT_RUNNING)

        self.good(folder.up())
        again = folder.status()
        self.assertEqual([n["port"] for n in again["nodes"]], [n["port"] for n in first["nodes"]])
        with folder.client() as c:
            for i in range(100):
                self.assertEqual(c("GET", "key:%d" % i), b"value:%d" % i)

    def test_second_up_changes_nothing(self):
        folder = self.small()
        pids = folder.running()
        self.good(folder.up(), "Already running", str(folder.port))
        self.assertEqual(folder.running(), pids)

    def test_down_without_anything(self):
        folder = self.folder()
        self.good(folder.run("down"), "Nothing is running")
        self.good(folder.run("down", "--wipe"), "Nothing is running")
        self.assertEqual(folder.run("status").returncode, NOT_RUNNING)
        self.good(self.small().run("down"))

    def test_two_clusters_side_by_side(self):
        one, two = self.small(), self.small()
        ports = [n["port"] for f in (one, two) for n in f.status()["nodes"]]
        self.assertEqual(len(set(ports)), 4)
        with one.client() as c:
            c.ok("SET", "whose", "one")
        with two.client() as c:
            self.assertIsNone(c("GET", "whose"))
        self.good(one.run("down"))
        self.assertEqual(two.status()["state"], "running")

    def test_wipe_removes_only_its_own(self):
        folder = self.small()
        stranger = os.path.join(folder.dir, "notes.txt")
        with open(stranger, "w") as f:
            f.write("mine")
        self.good(folder.run("down", "--wipe"), "Removed")
        self.assertEqual(os.listdir(folder.dir), ["notes.txt"])
        self.good(folder.run("down", "--wipe"), "Nothing is running")
        self.assertTrue(os.path.exists(stranger))


class Repair(LocalTest):
    def test_only_what_is_missing_is_started(self):
        folder = self.folder()
        self.good(folder.up())
        before = folder.status()
        victims = [
            before["proxy"]["pid"],
            next(n["pid"] for n in before["nodes"] if n["role"] == "primary"),
            next(n["pid"] for n in before["nodes"] if n["role"] == "replica"),
            next(m["pid"] for m in before["meta"] if m["role"] == "leader"),
        ]
        for victim in victims:
            self.assertIn(victim, folder.running())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: start_time(victim) is None, what="the process to be gone")
            self.assertEqual(folder.run("status").returncode, 1, "a dead part is not reported")
            kept = folder.running()
            self.good(folder.up())
            after = folder.running()
            self.assertEqual(len(after), 10)
            self.assertEqual(set(kept) - set(after), set(), "something that ran was started anew")
            self.assertEqual(folder.run("status").returncode, 0)

    def test_interrupted_up_is_resumed_or_ended(self):
        for delay in (0.01, 0.05, 0.15, 0.4, 0.9, 1.6):
            folder = self.folder()
            up = harness.spawn(folder.argv("up", "--port", folder.port), subprocess.DEVNULL, subprocess.DEVNULL)
            time.sleep(delay)  # an interruption at a random moment is the point, nothing is waited for
            up.send_signal(signal.SIGINT)
            up.wait(20 * harness.TIME_SCALE)
            if delay > 0.5:
                self.good(folder.up())
                self.assertEqual(folder.run("status").returncode, 0)
            self.good(folder.run("down"))
            self.assertEqual(folder.running(), [])

    def test_concurrent_ups(self):
        folder = self.folder()
        ups = [
            harness.spawn(folder.argv("up", "--port", folder.port), subprocess.PIPE, subprocess.STDOUT)
            for _ in range(4)
        ]
        results = [(up.communicate(timeout=150 * harness.TIME_SCALE)[0].decode(), up.returncode) for up in ups]
        self.assertIn(0, [code for _, code in results], results)
        for text, code in results:
            if code != 0:
                self.assertIn("another keyway-cli", text)
        self.assertEqual(len(folder.running()), 10)
        self.assertEqual(folder.run("status").returncode, 0)


class Metadata(LocalTest):
    """The metadata nodes that belong to a local cluster."""

    def keyway(self, folder, *args):
        with folder.meta(folder.meta_leader()["port"]) as c:
            return c.ok("KEYWAY", *args)

    def test_they_know_the_cluster_and_the_proxy(self):
        folder = self.folder()
        self.good(folder.up("--replicas", 0), "3 of 3 metadata nodes")
        status = folder.status()
        self.assertEqual([m["state"] for m in status["meta"]], ["ok"] * 3)
        self.assertEqual(sorted(m["role"] for m in status["meta"]), ["follower", "follower", "leader"])
        self.assertEqual([m["id"] for m in status["meta"]], [1, 2, 3])
        shards = [dict(zip(s[0::2], s[1::2])) for s in self.keyway(folder, "SHARDS")]
        addresses = sorted(s[b"address"].decode() for s in shards)
        self.assertEqual(addresses, sorted("127.0.0.1:%d" % n["port"] for n in status["nodes"]))
        self.assertEqual(sum(s[b"slot_count"] for s in shards), 16384)
        proxies = [dict(zip(p[0::2], p[1::2])) for p in self.keyway(folder, "PROXIES")]
        self.assertEqual([p[b"address"].decode().rsplit(":", 1)[1] for p in proxies], [str(folder.port)])

    def test_what_they_hold_outlives_down(self):
        folder = self.small()
        ports = [m["port"] for m in folder.status()["meta"]]
        secret = folder.secret()
        self.keyway(folder, "PUT", "config", "colour", "blue")
        self.good(folder.run("down"))
        self.good(folder.up(), "1 of 1 metadata nodes")
        self.assertEqual([m["port"] for m in folder.status()["meta"]], ports)
        self.assertEqual(folder.secret(), secret)
        self.assertEqual(self.keyway(folder, "GET", "config", "colour"), b"blue")

    def test_the_secret_is_seen_by_its_owner_only(self):
        folder = self.small()
        secret = folder.secret()
        self.assertGreaterEqual(len(secret), 32)
        for name in ("meta.secret", "proxy.conf", "meta-1/meta.conf"):
            self.assertEqual(os.stat(folder.path(name)).st_mode & 0o777, 0o600, name)
        for pid in folder.running():
            for what in ("cmdline", "environ"):
                with open("/proc/%d/%s" % (pid, what), "rb") as f:
                    self.assertNotIn(secret.encode(), f.read())
        for name in ("local.state", "proxy.log", "meta-1/meta.log"):
            with open(folder.path(name)) as f:
                self.assertNotIn(secret, f.read(), name)
        with Client(folder.status()["meta"][0]["port"]) as c:
            self.assertEqual(c("KEYWAY", "STATUS").code, "NOAUTH")

    def test_none_wanted(self):
        folder = self.folder()
        self.good(folder.up("--shards", 1, "--replicas", 0, "--meta", 0))
        self.assertEqual(folder.status()["meta"], [])
        self.assertEqual(sorted(n for n in os.listdir(folder.dir) if n.startswith("meta")), [])
        self.good(folder.up("--meta", 1), "goes on without", "--meta 1")
        self.good(folder.run("down"))
        self.good(folder.up())
        self.assertEqual(folder.status()["meta"], [])
        self.good(folder.run("down"))
        self.good(folder.up("--meta", 1), "adding 1")
        self.assertEqual([m["state"] for m in folder.status()["meta"]], ["ok"])

    def test_folder_of_an_older_version(self):
        folder = self.folder()
        self.good(folder.up("--shards", 1, "--replicas", 0, "--meta", 0))
        folder.edit_state(r"^metadata .*\n", "")
        pids = folder.running()
        self.good(folder.up(), "goes on without", "Already running")
        self.assertEqual(folder.running(), pids)
        self.assertEqual(folder.run("status").returncode, 0)
        with folder.client() as c:
            c.ok("SET", "key", "value")
        self.good(folder.run("down"))
        self.good(folder.up(), "adding 3")
        self.assertEqual([m["state"] for m in folder.status()["meta"]], ["ok"] * 3)
        with folder.client() as c:
            self.assertEqual(c("GET", "key"), b"value")
        self.good(folder.up(), "Already running")

    def test_another_number_is_refused(self):
        folder = self.small()
        for number in (0, 3):
            self.bad(folder.up("--meta", number), "1 metadata node;", "--wipe")
        self.good(folder.up("--meta", 1))

    def test_one_that_lost_its_data_does_not_begin_anew(self):
        folder = self.folder()
        self.good(folder.up("--shards", 1, "--replicas", 0))
        self.keyway(folder, "PUT", "config", "colour", "blue")
        self.good(folder.run("down"))
        shutil.rmtree(folder.path("meta-2"))
        for _ in range(2):  # it stays so
            self.good(folder.up(), "metadata node 2 has lost its data", "2 of 3 metadata nodes")
            status = folder.status()
            self.assertEqual([m["state"] for m in status["meta"]], ["ok", "down", "ok"])
            self.assertEqual(status["state"], "degraded")
            self.assertEqual(self.keyway(folder, "GET", "config", "colour"), b"blue")
            self.good(folder.up(), "metadata node 2 has lost its data", "Already running")
            self.good(folder.run("down"))
        shutil.rmtree(folder.path("meta-3", "data"))
        self.bad(folder.up(), "1 of 3 metadata nodes are too few", "--wipe")
        self.assertEqual(folder.running(), [])
        self.good(folder.run("down", "--wipe"))
        self.assertFalse(os.path.exists(folder.dir))

    def serves(self, folder):
        with folder.client() as c:
            c.ok("SET", "key", "value")
            self.assertEqual(c("GET", "key"), b"value")

    def test_one_that_was_removed_is_gone_on_without(self):
        folder = self.folder()
        self.good(folder.up("--shards", 1, "--replicas", 0))
        pid = folder.status()["meta"][2]["pid"]
        argv = [bin_path("keyway-cli"), "meta", "remove", "3", "--dir", folder.dir]
        self.good(run_to_end(argv), "is out")
        wait_until(lambda: start_time(pid) is None, what="the removed node's process to end")
        for _ in range(2):  # while the others run, and when all are started
            self.good(folder.up(), "metadata node 3", "the others go on without it", "was removed from the cluster")
            self.assertEqual([m["state"] for m in folder.status()["meta"]], ["ok", "ok", "down"])
            self.serves(folder)
            self.keyway(folder, "PUT", "config", "colour", "blue")
            self.good(folder.run("down"))
        self.good(folder.up(), "the others go on without it")

    def test_one_that_is_damaged_is_gone_on_without(self):
        folder = self.folder()
        self.good(folder.up("--shards", 1, "--replicas", 0))
        self.keyway(folder, "PUT", "config", "colour", "blue")
        self.good(folder.run("down"))
        self.damage(folder, 2)
        self.good(folder.up(), "metadata node 2", "the others go on without it", "identity")
        self.assertEqual([m["state"] for m in folder.status()["meta"]], ["ok", "down", "ok"])
        self.assertEqual(self.keyway(folder, "GET", "config", "colour"), b"blue")
        self.serves(folder)
        self.good(folder.run("down"))
        self.damage(folder, 3)
        result = folder.up("--timeout", 15)
        self.bad(result, "metadata node 3", "ended")  # at once, not because the first has waited in vain
        self.assertNotIn("not ready in time", result.stdout)

    def damage(self, folder, number):
        path = folder.path("meta-%d" % number, "data", "identity")
        with open(path, "r+b") as f:
            text = f.read()
            f.seek(0)
            f.write(text.replace(b"incarnation ", b"incarnation 0", 1))

    def test_no_program(self):
        folder = self.folder()
        place = temp_dir("programs")
        for name in ("keyway-cli", "keyway-proxy"):
            shutil.copy(bin_path(name), place)
        argv = [os.path.join(place, "keyway-cli")] + folder.argv("up", "--port", folder.port, "--shards", 1, "--replicas", 0)[1:]
        result = run_to_end(argv)
        self.bad(result, "there is no keyway-meta beside keyway-cli")
        result = run_to_end(argv + ["--meta", "0"])
        self.good(result)


class Safety(LocalTest):
    def test_recycled_pid_is_left_alone(self):
        folder = self.small()
        state = os.path.join(folder.dir, "local.state")
        pids = folder.running()
        bystander = harness.spawn(["sleep", "600"], subprocess.DEVNULL, subprocess.DEVNULL)
        with open(state) as f:
            text = f.read()
        node = re.search(r"^node (\d+) (\d+) (\d+)$", text, re.M)
        victim = int(node.group(2))
        os.kill(victim, signal.SIGKILL)
        with open(state, "w") as f:
            f.write(text.replace(node.group(0), "node %s %d %s" % (node.group(1), bystander.pid, node.group(3))))
        self.assertEqual(folder.run("status").returncode, 1)
        self.good(folder.run("down"), "%d processes" % (len(pids) - 1))
        self.assertIsNone(bystander.poll())
        harness.end_process(bystander)

    def test_frozen_processes_are_ended(self):
        folder = self.small()
        for pid in folder.running():
            os.kill(pid, signal.SIGSTOP)
        self.good(folder.run("down"))
        self.assertEqual(folder.running(), [])

    def test_broken_state_file_is_refused(self):
        folder = self.small()
        state = os.path.join(folder.dir, "local.state")
        with open(state) as f:
            text = f.read()
        less_meta = re.sub(r"(?m)^meta .*\n", "", text)
        more_meta = text.replace("metadata 1 1", "metadata 7 1")
        for broken in ("", "something else\n", text[: len(text) // 2], text.replace("layout 2 0", "layout 3 0"), less_meta, more_meta):
            with open(state, "w") as f:
                f.write(broken)
            for action in ("up", "down", "status"):
                self.bad(folder.run(action), "not one of keyway-cli's")
        with open(state, "w") as f:
            f.write(text)


class Refusals(LocalTest):
    def test_other_layout(self):
        folder = self.small()
        self.bad(folder.up("--shards", 3), "2 shards", "--wipe")
        self.bad(folder.up("--replicas", 1), "2 shards")
        self.bad(folder.run("up", "--port", free_port()), "already runs on port %d" % folder.port)
        self.assertEqual(folder.run("status").returncode, 0)

    def test_node_port_taken(self):
        folder = self.small()
        port = folder.status()["nodes"][1]["port"]
        self.good(folder.run("down"))
        for taken in (port, port + 10000):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", taken))
                s.listen()
                self.bad(folder.up(), "port %d" % taken, "in use")
        self.good(folder.up())

    def test_meta_port_taken(self):
        folder = self.small()
        meta = folder.status()["meta"][0]
        self.good(folder.run("down"))
        for taken in (meta["port"], meta["raft_port"]):
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                s.bind(("127.0.0.1", taken))
                s.listen()
                self.bad(folder.up(), "port %d" % taken, "metadata node", "in use")
        self.good(folder.up())

    def test_proxy_port_taken(self):
        folder = self.folder()
        with socket.socket() as s:
            s.bind(("127.0.0.1", folder.port))
            s.listen()
            self.bad(folder.up("--shards", 1, "--replicas", 0), "port %d" % folder.port, "--port")
        self.assertEqual(folder.running(), [])

    def test_proxy_port_where_nodes_would_be(self):
        folder = self.small()
        before = folder.status()
        nodes = [n["port"] for n in before["nodes"]]
        meta = before["meta"][0]
        self.good(folder.run("down"))
        for port in (nodes[0], meta["port"], meta["raft_port"]):
            self.bad(folder.run("up", "--port", port), "belongs to a node")
        self.good(folder.run("down", "--wipe"))
        folder.port = nodes[0]  # the same folder would get the same ports again
        self.good(folder.up("--shards", 2, "--replicas", 0, "--meta", 1))
        after = folder.status()
        self.assertNotIn(folder.port, [n["port"] for n in after["nodes"] + after["meta"]])

    def test_no_server(self):
        folder = self.folder()
        empty = dict(os.environ, PATH=temp_dir("empty"))
        self.bad(folder.run("up", env=empty), "apt install redis-server")
        self.bad(folder.run("up", "--server", "/nothing/here"), "/nothing/here")

    def test_server_that_ends_at_once(self):
        folder = self.folder()
        self.bad(folder.up("--server", "/bin/false"), "ended")
        wait_until(lambda: not folder.running(), what="the other nodes to end as well")

    def test_folder_that_cannot_be(self):
        folder = self.folder()
        folder.dir = "/proc/keyway"
        self.bad(folder.up(), "/proc/keyway")

    def test_nothing_can_be_written(self):
        folder = self.folder()

        def no_space():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))

        self.bad(folder.run("up", preexec_fn=no_space), "cannot write")
        self.assertEqual(folder.running(), [])
        self.good(folder.up("--shards", 1, "--replicas", 0, "--meta", 1))

    def test_command_line(self):
        folder = self.folder()
        for args in (["--shards", "0"], ["--shards", "x"], ["--port", "70000"], ["--nope"], ["word"], ["--json"], ["--shards"]):
            self.bad(folder.run("up", *args), args[0].lstrip("-"), code=2)
        for number in ("2", "4", "7", "x", "-1"):
            self.bad(folder.run("up", "--meta", number), "--meta", code=2)
        self.bad(folder.run("up", "--wipe=1"), "no option --wipe", code=2)
        self.bad(folder.run("down", "--wipe=1"), "takes no value", code=2)
        self.bad(folder.run("up", "--replica", "1"), "did you mean '--replicas'?", code=2)
        self.bad(folder.run("sideways"), "sideways", code=2)
        self.bad(folder.run("stauts"), "did you mean 'status'?", code=2)
        self.good(folder.run("up", "--help"), "--meta N", "--wipe")
        self.assertFalse(os.path.exists(folder.dir))


if __name__ == "__main__":
    harness.main()
