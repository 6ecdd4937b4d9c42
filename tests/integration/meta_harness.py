"""
A metadata service under test: real keyway-meta processes on free loopback ports, each with a data folder of its own.

    cluster = MetaCluster(3)                     started, and a leader is known
    leader = cluster.leader()                    the node that the others follow, too
    with leader.client() as r:                   a redis-py connection
        r.execute_command("KEYWAY", "PUT", "config", "a", "1")
    with leader.raw() as c:                      the raw RESP client of harness.py: errors are values
        c("KEYWAY", "STATUS")
    leader.kill(); cluster.wait_leader()         kill -9; stop() freezes, cont() thaws, end() is SIGTERM
    leader.restart()                             the same folder, ports and id
    cluster.close()                              everything is ended, the folders are gone

Waiting, processes and ports are those of harness.py: only processes that were started here are ever signalled, and
nothing sleeps to synchronise.
"""

import os
import shutil
import signal

import harness
from harness import HOST, Client, ConnectionClosed, ReplyError, bin_path, end_process, free_port, spawn, wait_until

SECRET = "a secret of the tests"
# For tests that move much data and are not about elections: a busy machine must not cost them their leader or its disk.
CALM = {"election-timeout": 2000, "disk-timeout": 20000}
ANSWER_S = 2.0  # a node that is frozen or has no quorum answers later, or never


def pairs(reply):
    """A map as RESP2 (a flat list) or RESP3 (pairs) brings it, as a dict with text keys and values."""
    if reply and isinstance(reply[0], tuple):
        items = reply
    else:
        items = zip(reply[0::2], reply[1::2])
    return {_text(name): _plain(value) for name, value in items}


def _text(value):
    return value.decode("latin1") if isinstance(value, bytes) else value


def _plain(value):
    if isinstance(value, list) and value and isinstance(value[0], list):
        return [_plain_entry(entry) for entry in value]
    return _text(value)


def _plain_entry(entry):
    """An entry of a list: a map of its own where it begins with a name."""
    if entry and isinstance(entry[0], (bytes, tuple)):
        return pairs(entry)
    return [_text(v) for v in entry]


class MetaNode:
    """One keyway-meta process with its folder."""

    def __init__(self, node_id, directory, secret=SECRET, directives=None, env=None):
        self.id = node_id
        self.dir = directory
        self.secret = secret
        self.port, self.raft_port = free_port(), free_port()
        self.data = os.path.join(directory, "data")
        self.directives = dict(directives or {})
        self.env = env
        self.proc = None
        self.frozen = False
        os.makedirs(directory, exist_ok=True)

    @property
    def addr(self):
        return "%s:%d" % (HOST, self.port)

    @property
    def full_addr(self):
        """With the raft port, as `peers` and META ADD take it."""
        return "%s:%d:%d" % (HOST, self.port, self.raft_port)

    @property
    def pid(self):
        return self.proc.pid

    @property
    def log_path(self):
        return os.path.join(self.dir, "log")

    def argv(self):
        settings = {
            "id": self.id,
            "bind": HOST,
            "port": self.port,
            "raft-port": self.raft_port,
            "dir": self.data,
            "logfile": self.log_path,
        }
        if self.secret:
            settings["secret"] = self.secret
        settings.update(self.directives)
        return [bin_path("keyway-meta")] + harness.directive_args(settings)

    def start(self, wait=True):
        """Starts the process; with `wait` until it answers."""
        assert not self.alive()
        with open(os.path.join(self.dir, "stderr"), "ab") as err:
            self.proc = spawn(self.argv(), err, err, cwd=self.dir, env=self.env)
        self.frozen = False
        if wait:
            self.wait_ready()
        return self

    def wait_ready(self, timeout=20):
        def ready():
            if self.proc.poll() is not None:
                raise AssertionError("keyway-meta %d ended with %r: %s" % (self.id, self.proc.returncode, self.log()[-3000:]))
            with self.raw(timeout=ANSWER_S) as c:
                return c("PING") == b"PONG"

        wait_until(ready, timeout, "keyway-meta %d on port %d" % (self.id, self.port))
        return self

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self):
        """kill -9."""
        end_process(self.proc, signal.SIGKILL)
        self.frozen = False

    def stop(self):
        """Freezes the process (SIGSTOP)."""
        assert self.alive()
        self.proc.send_signal(signal.SIGSTOP)
        self.frozen = True

    def cont(self):
        """Thaws it."""
        self.proc.send_signal(signal.SIGCONT)
        self.frozen = False

    def end(self, timeout=20):
        """An orderly end (SIGTERM); answers the exit code."""
        if self.frozen:
            self.cont()
        if self.alive():
            self.proc.send_signal(signal.SIGTERM)
            self.proc.wait(timeout * harness.TIME_SCALE)
        return self.proc.returncode

    def restart(self, wait=True):
        """The same id, folder and ports, whether it is still running (kill -9) or not."""
        if self.alive():
            self.kill()
        return self.start(wait)

    def wait_end(self, timeout=20):
        """Waits for it to end by itself; answers the exit code."""
        return self.proc.wait(timeout * harness.TIME_SCALE)

    def wipe(self):
        """Removes the data folder of a process that has ended."""
        assert not self.alive()
        shutil.rmtree(self.data, ignore_errors=True)

    def raw(self, timeout=30.0, **kw):
        """The raw RESP client of harness.py, logged in."""
        kw.setdefault("password", self.secret or None)
        return Client(self.port, timeout=timeout, **kw)

    def client(self, **kw):
        """A redis-py connection."""
        import redis  # only here: most tests need the raw client only

        kw.setdefault("password", self.secret or None)
        kw.setdefault("socket_timeout", 30 * harness.TIME_SCALE)
        return redis.Redis(host=HOST, port=self.port, **kw)

    def __call__(self, *args):
        """One command on a connection of its own; an error reply raises."""
        with self.raw() as c:
            return c.ok(*args)

    def keyway(self, *args):
        return self("KEYWAY", *args)

    def status(self, timeout=ANSWER_S):
        """KEYWAY STATUS as a dict."""
        with self.raw(timeout=timeout) as c:
            return pairs(c.ok("KEYWAY", "STATUS"))

    def info(self, section="everything"):
        return harness.parse_info(self("INFO", section))

    def log(self):
        text = ""
        for name in ("stderr", "log"):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f.read()
        return text

    def check_reports(self):
        found = [line for line in self.log().splitlines() if any(r in line for r in harness._REPORTS)]
        if found:
            raise AssertionError("sanitizer report of node %d:\n%s" % (self.id, self.log()[-8000:]))


class MetaCluster:
    """`n` nodes with ids 1..n, started as each other's first members."""

    def __init__(self, n=3, directives=None, secret=SECRET, start=True, env=None):
        self.dir = harness.temp_dir("meta")
        self.secret = secret
        self.directives = dict(directives or {})
        # What a busy machine delays is not the leader's fault. Who measures or breaks elections says what they want.
        self.directives.setdefault("election-timeout", int(max(1500, 300 * harness.TIME_SCALE)))
        if harness.TIME_SCALE > 1:
            self.directives.setdefault("disk-timeout", int(2000 * harness.TIME_SCALE))
        self.nodes = [self._node(i, env) for i in range(1, n + 1)]
        self.directives["peers"] = " ".join("%d=%s" % (node.id, node.full_addr) for node in self.nodes)
        for node in self.nodes:
            node.directives.update(self.directives)
        if start:
            try:
                self.start()
            except BaseException:
                self.close(check=False)
                raise

    def _node(self, node_id, env=None):
        return MetaNode(node_id, os.path.join(self.dir, str(node_id)), self.secret, self.directives, env)

    def start(self):
        for node in self.nodes:
            node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        self.wait_leader()
        return self

    def add_node(self, node_id=None, directives=None, env=None):
        """A further process that waits to be added (join yes), started; META ADD is the caller's."""
        node_id = node_id or max(node.id for node in self.nodes) + 1
        node = self._node(node_id, env)
        node.directives.pop("peers", None)
        node.directives.update({"join": "yes", **(directives or {})})
        self.nodes.append(node)
        return node.start()

    def node(self, node_id):
        return next(node for node in self.nodes if node.id == node_id)

    def running(self):
        """Those that are neither dead nor frozen."""
        return [node for node in self.nodes if node.alive() and not node.frozen]

    def _statuses(self):
        found = {}
        for node in self.running():
            try:
                found[node.id] = node.status()
            except (OSError, ConnectionClosed, ReplyError):
                continue  # it is about to start or to end
        return found

    def leader_seen(self):
        """The leader that a majority of the members follows in one term; None while there is none."""
        statuses = self._statuses()
        for node_id, status in statuses.items():
            if status["role"] != "leader":
                continue
            voters = [m["id"] for m in status["members"] if m["voter"]]
            of = [s for i, s in statuses.items() if i in voters and s["leader"] == node_id and s["term"] == status["term"]]
            if len(of) > len(voters) // 2:
                return self.node(node_id)
        return None

    def wait_leader(self, other_than=None, timeout=20):
        """Waits for a leader (another one than that) and answers its node."""

        def elected():
            node = self.leader_seen()
            return node if node is not None and node is not other_than else None

        try:
            return wait_until(elected, timeout, "a leader")
        except harness.WaitTimeout as e:
            raise harness.WaitTimeout("%s\n%s" % (e, self.tails()))

    leader = wait_leader

    def followers(self):
        """Those that run beside the leader, once each member among them follows it: one that came back may not yet."""

        def following():
            leader = self.leader_seen()
            if leader is None:
                return None
            statuses = self._statuses()
            members = [m["id"] for m in statuses[leader.id]["members"]] if leader.id in statuses else [leader.id]
            if any(i not in statuses or statuses[i]["leader"] != leader.id for i in members if self.node(i) in self.running()):
                return None
            return [node for node in self.running() if node is not leader]

        return wait_until(following, 20, "the members to follow the leader")

    def wait_applied(self, timeout=20):
        """Waits until every running node has applied what the leader has."""

        def level():
            indexes = [s["applied_index"] for s in self._statuses().values()]
            return len(indexes) == len(self.running()) and len(set(indexes)) == 1

        wait_until(level, timeout, "all nodes to have applied the same")

    def client(self, node=None, **kw):
        """A redis-py connection to a node, the leader unless it is said."""
        return (node or self.leader()).client(**kw)

    def raw(self, node=None, **kw):
        return (node or self.leader()).raw(**kw)

    def addresses(self):
        return [node.addr for node in self.nodes]

    def heal(self):
        """Thaws what is frozen, starts what is dead, waits for a leader."""
        for node in self.nodes:
            if node.frozen:
                node.cont()
            if not node.alive():
                node.start(wait=False)
        for node in self.nodes:
            node.wait_ready()
        return self.wait_leader()

    def close(self, check=True):
        """Ends all in an orderly way; with `check`, exit codes must be 0 and the sanitizers silent."""
        bad = []
        for node in self.nodes:
            if not node.alive():
                continue
            try:
                code = node.end()
                if code != 0:
                    bad.append("node %d ended with %r: %s" % (node.id, code, node.log()[-2000:]))
            except Exception as e:  # the others must still be ended
                end_process(node.proc)
                bad.append("node %d did not end: %r: %s" % (node.id, e, node.log()[-2000:]))
        try:
            if check:
                for node in self.nodes:
                    node.check_reports()
        finally:
            if os.environ.get("KEYWAY_KEEP") != "1":
                shutil.rmtree(self.dir, ignore_errors=True)
        if check and bad:
            raise AssertionError("\n".join(bad))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            print(self.tails())
        self.close(check=kind is None)

    def tails(self, lines=12):
        """The last lines of each node's log, and how it ended if it did: for people who look at a failure."""
        parts = []
        for node in self.nodes:
            state = "not started" if node.proc is None else "frozen" if node.frozen else node.proc.poll()
            state = "running" if state is None else "exit code %d" % state if isinstance(state, int) else state
            parts.append("--- node %d (%s)\n%s" % (node.id, state, "\n".join(node.log().splitlines()[-lines:])))
        return "\n".join(parts)


class MetaTest(harness.ProxyTest):
    """A service of NODES nodes that the tests of a class share; none for NODES = 0. Override the capitals."""

    NODES = 3
    DIRECTIVES = {}
    meta = None

    @classmethod
    def setUpClass(cls):
        if cls.NODES:
            cls.meta = MetaCluster(cls.NODES, cls.DIRECTIVES)

    @classmethod
    def tearDownClass(cls):
        if cls.meta is not None:
            cls.meta.close()

    def run(self, result=None):
        bad = len(result.failures) + len(result.errors) if result is not None else 0
        ran = super().run(result)
        if result is not None and len(result.failures) + len(result.errors) > bad and self.meta is not None:
            print(self.meta.tails())
        return ran

    def raw(self, node=None, **kw):
        """The raw client, at the leader unless a node is said; closed at the end of the test."""
        c = self.meta.raw(node, **kw)
        self.addCleanup(c.close)
        return c

    def keyway(self, *args):
        """A KEYWAY command at the leader; errors are values."""
        with self.meta.raw() as c:
            return c("KEYWAY", *args)

    def watcher(self, node=None, *args, resp=3, **kw):
        """A connection that watches the map."""
        c = self.raw(node, **kw)
        if resp == 3:
            c.ok("HELLO", "3")
        self.assertEqual(c("KEYWAY", "WATCH", *args), b"OK")
        return c

    def next_push(self, c, what):
        """The next push of a kind (b"map" or b"alive")."""
        while True:
            push = c.read(10)
            if push[1] == what:
                return push
