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


class Folder:
    """A local cluster in a folder of its own."""

    def __init__(self, name="local"):
        self.dir = os.path.join(temp_dir(name), "cluster")
        self.port = free_port()
        harness.at_end(lambda: self.running() and self.end())

    def argv(self, action, *args):
        return [bin_path("keyway-cli"), "local", action, "--dir", self.dir] + [str(a) for a in args]

    def run(self, action, *args, **kw):
        return subprocess.run(
            self.argv(action, *args), stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=150 * harness.TIME_SCALE, **kw
        )

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
        return [(int(p), int(s)) for p, s in re.findall(r"^(?:node|proxy) \d+ (\d+) (\d+)$", text, re.M)]

    def running(self):
        return [pid for pid, start in self.recorded() if pid and start_time(pid) == start]

    def end(self):
        self.run("down")
        for pid in self.running():
            os.kill(pid, signal.SIGKILL)

    def client(self):
        return Client(self.port)


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
        """A folder that runs two shards without replicas: enough for what does not depend on the layout."""
        folder = self.folder()
        self.good(folder.up("--shards", 2, "--replicas", 0))
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
        self.assertEqual(len(pids), 7)
        self.good(folder.run("down"), "7 processes")
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
        ]
        for victim in victims:
            self.assertIn(victim, folder.running())
            os.kill(victim, signal.SIGKILL)
            wait_until(lambda: start_time(victim) is None, what="the process to be gone")
            self.assertEqual(folder.run("status").returncode, 1, "a dead part is not reported")
            kept = folder.running()
            self.good(folder.up())
            after = folder.running()
            self.assertEqual(len(after), 7)
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
        self.assertEqual(len(folder.running()), 7)
        self.assertEqual(folder.run("status").returncode, 0)


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
        for broken in ("", "something else\n", text[: len(text) // 2], text.replace("layout 2 0", "layout 3 0")):
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

    def test_proxy_port_taken(self):
        folder = self.folder()
        with socket.socket() as s:
            s.bind(("127.0.0.1", folder.port))
            s.listen()
            self.bad(folder.up("--shards", 1, "--replicas", 0), "port %d" % folder.port, "--port")
        self.assertEqual(folder.running(), [])

    def test_proxy_port_where_nodes_would_be(self):
        folder = self.small()
        nodes = [n["port"] for n in folder.status()["nodes"]]
        self.good(folder.run("down"))
        self.bad(folder.run("up", "--port", nodes[0]), "belongs to a node")
        self.good(folder.run("down", "--wipe"))
        folder.port = nodes[0]  # the same folder would get the same ports again
        self.good(folder.up("--shards", 2, "--replicas", 0))
        self.assertNotIn(folder.port, [n["port"] for n in folder.status()["nodes"]])

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
        self.good(folder.up("--shards", 1, "--replicas", 0))

    def test_command_line(self):
        folder = self.folder()
        for args in (["--shards", "0"], ["--shards", "x"], ["--port", "70000"], ["--nope"], ["word"], ["--json"]):
            self.bad(folder.run("up", *args), args[0].lstrip("-"), code=2)
        self.bad(folder.run("sideways"), "sideways", code=2)


if __name__ == "__main__":
    harness.main()
