"""
The services that `./dev bench meta` compares, three nodes each, started alike: Keyway's as meta_harness.py has it, and
etcd with its default settings. Both keep their data in temporary folders of the same disk and listen on free ports.

Each can say who leads, restart a node that was killed, and wait until all three are level again.
"""

import json
import os
import shutil
import urllib.request

import harness
import measure
import meta_harness

NODES = 3
READY_S = 30


class Keyway:
    name, protocol, note = "keyway", "keyway", ""

    def __init__(self, directives=None):
        self.cluster = meta_harness.MetaCluster(NODES, {"election-timeout": 300, **(directives or {})})
        self.nodes = self.cluster.nodes
        self.secret = self.cluster.secret

    @staticmethod
    def version():
        return measure.version_of(harness.bin_path("keyway-meta"))

    def leader(self):
        return self.cluster.wait_leader()

    def pids(self):
        return [node.pid for node in self.nodes]

    def restart(self, node):
        node.proc.wait(READY_S)
        node.restart()

    def wait_level(self):
        """Every node has what the leader had, and the leader knows. By INFO, since STATUS adds to the log at the leader."""
        leader = self.leader()
        target = int(leader.info("raft")["last_index"])

        def level():
            info = leader.info("raft")
            members = [info["member%d" % i] for i in range(int(info["members"]))]
            return all(int(member.split("match_index=")[1]) >= target for member in members)

        harness.wait_until(level, READY_S, "the nodes of keyway-meta to be level")
        self.cluster.wait_applied()

    def close(self):
        self.cluster.close(check=False)


class EtcdNode:
    def __init__(self, number, folder):
        self.name = "n%d" % number
        self.dir = os.path.join(folder, self.name)
        self.port, self.peer_port = harness.free_port(), harness.free_port()
        self.proc = None
        os.makedirs(self.dir)

    @property
    def addr(self):
        return "%s:%d" % (harness.HOST, self.port)

    @property
    def pid(self):
        return self.proc.pid

    @property
    def peer_url(self):
        return "http://%s:%d" % (harness.HOST, self.peer_port)

    def start(self, members):
        """Addresses and the folder are said; every other setting is etcd's own."""
        argv = ["etcd", "--name", self.name, "--data-dir", os.path.join(self.dir, "data"),
                "--listen-client-urls", "http://" + self.addr, "--advertise-client-urls", "http://" + self.addr,
                "--listen-peer-urls", self.peer_url, "--initial-advertise-peer-urls", self.peer_url,
                "--initial-cluster", ",".join("%s=%s" % (node.name, node.peer_url) for node in members),
                "--initial-cluster-token", os.path.basename(os.path.dirname(self.dir)), "--initial-cluster-state", "new"]
        env = {name: value for name, value in os.environ.items() if not name.startswith("ETCD_")}
        with open(os.path.join(self.dir, "log"), "ab") as log:
            self.proc = harness.spawn(argv, log, log, cwd=self.dir, env=env)

    def log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()

    def status(self):
        """What its maintenance service says of it, by the JSON gateway; no measurement goes that way."""
        if self.proc.poll() is not None:
            raise AssertionError("etcd ended with %r: %s" % (self.proc.returncode, self.log()[-2000:]))
        request = urllib.request.Request("http://%s/v3/maintenance/status" % self.addr, b"{}")
        with urllib.request.urlopen(request, timeout=2) as answer:
            return json.load(answer)


class Etcd:
    name, protocol, secret = "etcd", "etcd", ""
    note = "default settings, gRPC over one HTTP/2 connection a client"

    def __init__(self, directives=None):
        del directives  # Keyway's
        self.dir = harness.temp_dir("etcd")
        self.nodes = [EtcdNode(number, self.dir) for number in range(1, NODES + 1)]
        for node in self.nodes:
            node.start(self.nodes)
        self.wait_level()

    @staticmethod
    def version():
        return measure.version_of("etcd")

    @staticmethod
    def installed():
        return shutil.which("etcd") is not None

    def _leader_seen(self):
        statuses = [node.status() for node in self.nodes]
        leaders = {status.get("leader") for status in statuses}
        if len(leaders) != 1 or leaders & {None, "0"}:
            return None
        return next(node for node, status in zip(self.nodes, statuses) if status["header"]["member_id"] in leaders)

    def leader(self):
        return harness.wait_until(self._leader_seen, READY_S, "a leader of etcd")

    def pids(self):
        return [node.pid for node in self.nodes]

    def restart(self, node):
        node.proc.wait(READY_S)
        node.start(self.nodes)

    def wait_level(self):
        def level():
            statuses = [node.status() for node in self.nodes]
            return self._leader_seen() and len({status["raftIndex"] for status in statuses}) == 1

        harness.wait_until(level, READY_S, "the nodes of etcd to be level")

    def close(self):
        for node in self.nodes:
            harness.end_process(node.proc)
        shutil.rmtree(self.dir, ignore_errors=True)


SERVICES = {service.name: service for service in (Keyway, Etcd)}
