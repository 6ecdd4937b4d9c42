"""
What every integration test stands on: real redis-server processes formed into a cluster, the proxy under test, a raw
RESP client, and waiting on conditions.

Happy path: a test file makes a subclass of ProxyTest, whose cluster and proxy start once a class, and ends with
`harness.main()`. Nodes live in a temporary directory, on free loopback ports; every process that is started is
recorded here, and only recorded ones are ever signalled: on a normal end, on an exception, at interpreter exit, and
(PDEATHSIG) when the interpreter itself is killed. Nothing here sleeps to synchronise: wait_until() polls a condition
and fails with what it waited for.

Environment: KEYWAY_BIN_DIR (folder of keyway-proxy, else build/bin of the repository), KEYWAY_REDIS_SERVER
(default redis-server), KEYWAY_TIME_SCALE (factor on every time bound; sanitizer builds set 5 by themselves),
KEYWAY_KEEP=1 (leave the temporary directories), KEYWAY_TEST_SEED, KEYWAY_VERBOSE=1.
"""

import atexit
import binascii
import ctypes
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
REPO = os.path.dirname(os.path.dirname(HERE))
SLOTS = 16384
HOST = "127.0.0.1"


# ---------------------------------------------------------------------------------------------- processes and time


def bin_path(name):
    """The path of a built program, wherever this build put it."""
    folder = os.environ.get("KEYWAY_BIN_DIR") or os.path.join(REPO, "build", "bin")
    return os.path.join(folder, name)


def redis_server():
    """The name of the server program that plays the shards."""
    return os.environ.get("KEYWAY_REDIS_SERVER", "redis-server")


def sanitizer_of(path):
    """'address', 'thread' or '' for a program, told by the runtime that is linked into it."""
    try:
        with open(path, "rb") as f:
            image = f.read()
    except OSError:
        return ""
    if b"__asan_init" in image:
        return "address"
    if b"__tsan_init" in image:
        return "thread"
    return ""


SANITIZER = sanitizer_of(bin_path("keyway-proxy"))
TIME_SCALE = float(os.environ.get("KEYWAY_TIME_SCALE", "5" if SANITIZER else "1"))
SEED = int(os.environ.get("KEYWAY_TEST_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 31)

_started = []
_directories = []
_at_end = []
_libc = ctypes.CDLL(None, use_errno=True)


def _die_with_parent():
    os.setpgid(0, 0)
    _libc.prctl(1, int(signal.SIGKILL), 0, 0, 0)  # PR_SET_PDEATHSIG


def spawn(argv, stdout, stderr, cwd=None, env=None):
    """Starts and records a process. Call it from the main thread: the child dies with the thread that made it."""
    proc = subprocess.Popen(
        argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=stderr, cwd=cwd, env=env, preexec_fn=_die_with_parent
    )
    _started.append(proc)
    return proc


def end_process(proc, sig=signal.SIGKILL, timeout=20):
    """Signals a recorded process (thawed first, if need be) and reaps it; answers its exit code."""
    assert proc in _started
    if proc.poll() is None:
        proc.send_signal(sig)
        proc.send_signal(signal.SIGCONT)
        proc.wait(timeout)
    return proc.returncode


def temp_dir(name):
    path = tempfile.mkdtemp(prefix="keyway-%s-" % name)
    _directories.append(path)
    return path


def at_end(work):
    """Has work() called when the interpreter ends, also by a signal: for processes that end_process() cannot end."""
    _at_end.append(work)


@atexit.register
def _end_everything():
    for work in _at_end:
        try:
            work()
        except Exception:  # as below
            pass
    for proc in _started:
        try:
            end_process(proc)
        except Exception:  # the others must still be ended
            pass
    if os.environ.get("KEYWAY_KEEP") != "1":
        for path in _directories:
            shutil.rmtree(path, ignore_errors=True)


def _exit_on_signal(number, _frame):
    """At once: an exception would end one test, and the next would begin."""
    sys.stdout.flush()
    _end_everything()
    os._exit(128 + number)


for _number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
    signal.signal(_number, _exit_on_signal)


class WaitTimeout(AssertionError):
    """A condition did not come true in time."""


def wait_until(cond, timeout=15.0, what=None):
    """Polls cond() until it is true and answers its value. Connection errors count as 'not yet'."""
    deadline = time.monotonic() + timeout * TIME_SCALE
    pause = 0.002
    last = None
    while True:
        try:
            last = cond()
            if last:
                return last
        except (OSError, ConnectionClosed, ReplyError) as e:
            last = e
        if time.monotonic() > deadline:
            raise WaitTimeout("timed out after %.1f s waiting for %s (last: %r)" % (timeout * TIME_SCALE, what or cond, last))
        time.sleep(pause)
        pause = min(pause * 1.5, 0.05)


_ports_held = {}


def hold_port(port):
    """
    Claims a port among all test processes of the machine, by a name that the kernel keeps for as long as this one
    lives; False when another has it. The port itself stays unbound: whoever is started on it may end and start again,
    and nobody else takes it meanwhile.
    """
    if port in _ports_held:
        return False
    claim = socket.socket(socket.AF_UNIX)
    try:
        claim.bind("\0keyway-test-port-%d" % port)
    except OSError:
        claim.close()
        return False
    _ports_held[port] = claim
    return True


def free_port():
    """
    A free loopback port, never given twice among the test processes that run. From below the ephemeral range, and
    outside of where keyway-cli looks for ports of nodes (18000 and 28000, 4000 each).
    """
    r = random.SystemRandom()
    for _ in range(1000):
        port = r.choice((r.randrange(10000, 18000), r.randrange(22000, 28000)))
        if not hold_port(port):
            continue
        with socket.socket() as s:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                s.bind((HOST, port))
                return port
            except OSError:
                continue
    raise AssertionError("no free port found")


def rss_kb(pid, field="VmRSS"):
    """Resident memory of a process, kB; VmHWM is its high-water mark."""
    with open("/proc/%d/status" % pid) as f:
        for line in f:
            if line.startswith(field + ":"):
                return int(line.split()[1])
    raise AssertionError("no %s for %d" % (field, pid))


# -------------------------------------------------------------------------------------------------- the raw client


class ConnectionClosed(Exception):
    """The peer closed the connection where a reply was due."""


class ReplyError(Exception):
    """An error reply. Client.read() answers it as a value; Client.ok() raises it."""

    def __init__(self, text):
        super().__init__(text)
        self.text = text

    @property
    def code(self):
        return self.text.split(" ", 1)[0]

    def __eq__(self, other):
        return isinstance(other, ReplyError) and self.text == other.text

    def __hash__(self):
        return hash(self.text)

    def __repr__(self):
        return "ReplyError(%r)" % self.text


class Status(bytes):
    """A simple string reply: compares as bytes, prints as what it is."""

    def __repr__(self):
        return "+" + self.decode("latin1")


class Push(list):
    """A RESP3 out-of-band message."""


def to_bytes(value):
    if isinstance(value, bytes):
        return value
    return str(value).encode()


def encode(*args):
    """One command as a RESP array of bulk strings."""
    out = [b"*%d\r\n" % len(args)]
    for arg in args:
        arg = to_bytes(arg)
        out.append(b"$%d\r\n%s\r\n" % (len(arg), arg))
    return b"".join(out)


class Client:
    """
    A blocking socket and a RESP reader. Calling it sends one command and answers its reply; an error reply is a
    ReplyError *value*. read() takes the next reply, and raw holds that reply's bytes exactly as they came.
    """

    def __init__(self, port, host=HOST, timeout=30.0, rcvbuf=None, password=None):
        self.timeout = timeout * TIME_SCALE
        self.sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        if rcvbuf:
            self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, rcvbuf)
        self.sock.settimeout(self.timeout)
        self.sock.connect((host, port))
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buf = bytearray()
        self.pos = 0
        self.raw = b""
        if password is not None:
            self.ok("AUTH", password)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.sock.close()

    def send(self, data):
        self.sock.sendall(data)

    def cmd(self, *args):
        self.send(encode(*args))

    def __call__(self, *args):
        self.cmd(*args)
        return self.read()

    def ok(self, *args):
        """The reply, which must not be an error."""
        reply = self(*args)
        if isinstance(reply, ReplyError):
            raise reply
        return reply

    def pipeline(self, commands):
        """Sends all, then reads all; for pipelines that fit the socket buffers of both ends."""
        self.send(b"".join(encode(*c) for c in commands))
        return [self.read() for _ in commands]

    def _fill(self):
        try:
            chunk = self.sock.recv(262144)
        except ConnectionResetError:
            raise ConnectionClosed("reset by the peer")
        if not chunk:
            raise ConnectionClosed("closed by the peer; unread: %r" % bytes(self.buf[self.pos : self.pos + 200]))
        self.buf += chunk

    def _line(self):
        while True:
            end = self.buf.find(b"\r\n", self.pos)
            if end >= 0:
                line = bytes(self.buf[self.pos : end])
                self.pos = end + 2
                return line
            self._fill()

    def _exactly(self, n):
        while len(self.buf) - self.pos < n + 2:
            self._fill()
        data = bytes(self.buf[self.pos : self.pos + n])
        assert self.buf[self.pos + n : self.pos + n + 2] == b"\r\n", "bulk without its line end"
        self.pos += n + 2
        return data

    def _value(self):
        line = self._line()
        kind, rest = line[:1], line[1:]
        if kind == b"+":
            return Status(rest)
        if kind == b"-":
            return ReplyError(rest.decode("latin1"))
        if kind == b":":
            return int(rest)
        if kind == b"$":
            return None if rest == b"-1" else self._exactly(int(rest))
        if kind == b"*":
            return None if rest == b"-1" else [self._value() for _ in range(int(rest))]
        if kind == b"_":
            return None
        if kind == b"#":
            return rest == b"t"
        if kind == b",":
            return float(rest)
        if kind == b"(":
            return int(rest)
        if kind == b"=":
            return self._exactly(int(rest))[4:]
        if kind == b"!":
            return ReplyError(self._exactly(int(rest)).decode("latin1"))
        if kind == b"~":
            return [self._value() for _ in range(int(rest))]
        if kind == b">":
            return Push(self._value() for _ in range(int(rest)))
        if kind == b"%":
            return [(self._value(), self._value()) for _ in range(int(rest))]
        raise AssertionError("not RESP: %r" % line[:200])

    def read(self, timeout=None):
        """The next reply. Raises ConnectionClosed at end of file, socket.timeout when nothing comes."""
        if timeout is not None:
            self.sock.settimeout(timeout * TIME_SCALE)
        start = self.pos
        try:
            value = self._value()
        except BaseException:
            self.pos = start
            raise
        finally:
            if timeout is not None:
                self.sock.settimeout(self.timeout)
        self.raw = bytes(self.buf[start : self.pos])
        if self.pos > 1 << 16 or self.pos == len(self.buf):
            del self.buf[: self.pos]
            self.pos = 0
        return value

    def read_n(self, n):
        return [self.read() for _ in range(n)]

    def read_until_close(self, timeout=10.0):
        """Every byte up to the end of the stream; fails when the peer keeps the connection open."""
        self.sock.settimeout(timeout * TIME_SCALE)
        out = bytes(self.buf[self.pos :])
        self.buf, self.pos = bytearray(), 0
        try:
            while True:
                chunk = self.sock.recv(262144)
                if not chunk:
                    return out
                out += chunk
        except ConnectionResetError:
            return out
        except socket.timeout:
            raise AssertionError("connection still open after %g s, got %r" % (timeout, out[-300:]))

    def closed(self):
        """True once the peer has closed, False when it is open with nothing to read."""
        self.sock.setblocking(False)
        try:
            return self.sock.recv(1, socket.MSG_PEEK) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True
        finally:
            self.sock.settimeout(self.timeout)


def parse_info(text):
    """INFO text as a dict of strings."""
    if isinstance(text, bytes):
        text = text.decode()
    return dict(line.split(":", 1) for line in text.split("\r\n") if ":" in line and not line.startswith("#"))


# ------------------------------------------------------------------------------------------------- keys and slots


def slot_of(key):
    """The hash slot of a key, hash tags respected."""
    key = to_bytes(key)
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return binascii.crc_hqx(key, 0) % SLOTS


# -------------------------------------------------------------------------------------------------------- servers


class Server:
    """One redis-server process; standalone unless a Cluster made it."""

    def __init__(self, program=None, directory=None, config=None, password=None, cluster=False):
        self.program = program or redis_server()
        self.dir = directory or temp_dir("server")
        self.cluster = cluster
        self.password = password
        self.config = {
            "save": "",
            "appendonly": "no",
            "bind": HOST,
            "protected-mode": "no",
            "enable-debug-command": "yes",
            "repl-diskless-sync-delay": "0",
            "repl-diskless-load": "swapdb",
        }
        if password:
            self.config.update({"requirepass": password, "masterauth": password})
        self.config.update(config or {})
        self.port = self.bus_port = 0
        self.id = None
        self.proc = None
        self.frozen = False

    @property
    def addr(self):
        return "%s:%d" % (HOST, self.port)

    @property
    def log_path(self):
        return os.path.join(self.dir, "log")

    def _argv(self):
        argv = [self.program, "--port", str(self.port), "--dir", self.dir, "--daemonize", "no"]
        for name, value in self.config.items():
            argv += ["--" + name, str(value)]
        if self.cluster:
            argv += ["--cluster-enabled", "yes", "--cluster-port", str(self.bus_port)]
        return argv

    def spawn(self):
        """Starts the process without waiting; takes other ports as long as none was ever used."""
        if not self.port:
            self.port = free_port()
            self.bus_port = free_port()
        with open(self.log_path, "ab") as log:
            self.proc = spawn(self._argv(), log, log, cwd=self.dir)
        self.frozen = False
        return self

    def wait_ready(self, loading_ok=False):
        def ready():
            if self.proc.poll() is not None:
                raise AssertionError("%s ended: %s" % (self.program, self.log_tail()))
            with Client(self.port, timeout=2) as c:
                if self.password:
                    c("AUTH", self.password)
                reply = c("PING")
                return reply == b"PONG" or (loading_ok and isinstance(reply, ReplyError) and reply.code == "LOADING")

        wait_until(ready, 20, "%s on port %d" % (self.program, self.port))
        return self

    def start(self):
        return self.spawn().wait_ready()

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        self.kill()

    def client(self, **kw):
        return Client(self.port, password=self.password, **kw)

    def __call__(self, *args):
        """One command on a connection of its own; an error reply raises."""
        with self.client() as c:
            return c.ok(*args)

    def info(self, section="everything"):
        return parse_info(self("INFO", section))

    def error_count(self, code):
        """How many error replies of this code the server has given (INFO errorstats)."""
        value = self.info("errorstats").get("errorstat_" + code, "count=0")
        return int(value.split("=")[1])

    def calls(self, command):
        """How often a command ran here (INFO commandstats)."""
        value = self.info("commandstats").get("cmdstat_" + command.lower(), "calls=0,")
        return int(re.match(r"calls=(\d+)", value).group(1))

    def unread_bytes(self):
        """Bytes that the kernel holds for this server and that it has not read yet (for frozen servers)."""
        total = 0
        with open("/proc/net/tcp") as f:
            for line in f.readlines()[1:]:
                fields = line.split()
                if int(fields[1].split(":")[1], 16) == self.port and fields[3] == "01":
                    total += int(fields[4].split(":")[1], 16)
        return total

    def alive(self):
        return self.proc is not None and self.proc.poll() is None

    def kill(self, sig=signal.SIGKILL):
        end_process(self.proc, sig)
        self.frozen = False

    def freeze(self):
        assert self.alive()
        self.proc.send_signal(signal.SIGSTOP)
        self.frozen = True

    def thaw(self):
        self.proc.send_signal(signal.SIGCONT)
        self.frozen = False

    def log_tail(self, lines=15):
        with open(self.log_path, errors="replace") as f:
            return "".join(f.readlines()[-lines:])


class SlotMove:
    """
    One slot on its way to another primary, step by step, so that a test can stop half-way: begin() marks it,
    move(keys) carries keys over, finish() hands the ownership over.
    """

    def __init__(self, cluster, slot, dst):
        self.cluster, self.slot, self.dst = cluster, slot, dst
        self.src = cluster.owner(slot)
        assert self.src is not dst, "slot %d is there already" % slot

    def begin(self):
        # Two nodes that bumped to the same epoch settle that between them; a move in the middle of it can be undone.
        wait_until(self.cluster.epochs_settled, 10, "the epochs to settle")
        self.dst("CLUSTER", "SETSLOT", self.slot, "IMPORTING", self.src.id)
        self.src("CLUSTER", "SETSLOT", self.slot, "MIGRATING", self.dst.id)
        return self

    def keys(self, count=100):
        return self.src("CLUSTER", "GETKEYSINSLOT", self.slot, count)

    def move(self, *keys):
        auth = ["AUTH", self.src.password] if self.src.password else []
        reply = self.src("MIGRATE", HOST, self.dst.port, "", 0, 10000, *auth, "KEYS", *keys)
        assert reply in (b"OK", b"NOKEY"), reply

    def move_all(self):
        while True:
            keys = self.keys()
            if not keys:
                return self
            self.move(*keys)

    def finish(self):
        self.dst("CLUSTER", "SETSLOT", self.slot, "NODE", self.dst.id)
        self.src("CLUSTER", "SETSLOT", self.slot, "NODE", self.dst.id)
        self.cluster._owner[self.slot] = self.dst
        return self


class Cluster:
    """
    N primaries, each with R replicas: nodes[0..N-1] begin as primaries with even shares of the slots, and
    replicas_of(primary) are theirs. Roles change in tests; owner(slot) and primary_of(shard) ask the nodes.
    """

    def __init__(self, primaries=3, replicas=0, node_timeout=1000, config=None, password=None, program=None):
        self.dir = temp_dir("cluster")
        self.primaries, self.replicas = primaries, replicas
        self.nodes = []
        self._owner = {}
        self._failovers = {}
        self.node_timeout = node_timeout
        settings = {"cluster-node-timeout": node_timeout, "cluster-require-full-coverage": "no"}
        settings["cluster-allow-replica-migration"] = "no"
        settings["cluster-replica-validity-factor"] = "0"
        settings.update(config or {})
        for i in range(primaries * (1 + replicas)):
            directory = os.path.join(self.dir, str(i))
            os.mkdir(directory)
            self.nodes.append(Server(program, directory, settings, password, cluster=True))
        for node in self.nodes:
            node.spawn()
        for node in self.nodes:
            node.wait_ready()
            node.id = node("CLUSTER", "MYID").decode()
        self._form()

    def _form(self):
        n = self.primaries
        for i, node in enumerate(self.nodes):
            node("CLUSTER", "SET-CONFIG-EPOCH", i + 1)
        for i in range(n):
            self.nodes[i]("CLUSTER", "ADDSLOTSRANGE", SLOTS * i // n, SLOTS * (i + 1) // n - 1)
        wait_until(self._all_met, 30, "the nodes to meet")
        for i, node in enumerate(self.nodes[n:]):
            node("CLUSTER", "REPLICATE", self.nodes[i % n].id)
        self.wait_ok()
        if self.replicas:
            # CLUSTER SLOTS leaves out replicas of whose offset it has not heard anything but 0.
            for i in range(n):
                self.nodes[i]("SET", self.key(i), "x")
                self.nodes[i]("DEL", self.key(i))
            wait_until(self._replicas_listed, 30, "CLUSTER SLOTS to list every replica")

    def _replicas_listed(self):
        return all(len(r) == 3 + self.replicas for node in self.nodes for r in node("CLUSTER", "SLOTS"))

    def _all_met(self):
        known = self.nodes[0]("CLUSTER", "NODES").decode()
        for node in self.nodes[1:]:
            # Told once, or again where the handshake took too long and was given up.
            if ":%d@" % node.port not in known:
                self.nodes[0]("CLUSTER", "MEET", HOST, node.port, node.bus_port)
        for node in self.nodes:
            lines = node("CLUSTER", "NODES").decode().splitlines()
            if len(lines) != len(self.nodes) or any("handshake" in line or " disconnected" in line for line in lines):
                return False
        return True

    def _all_ok(self):
        """All slots are served, every replica is in sync, and no live node thinks ill of another."""
        live = self.live_nodes()
        ids = {node.id for node in live}
        for node in live:
            if node.info("replication").get("master_link_status", "up") != "up":
                return False
            info = parse_info(node("CLUSTER", "INFO"))
            if info["cluster_state"] != "ok" or int(info["cluster_slots_ok"]) != SLOTS:
                return False
            rows = [line.split() for line in node("CLUSTER", "NODES").decode().splitlines()]
            if sum("slave" in row[2].split(",") for row in rows) != self.primaries * self.replicas:
                return False
            known = [row for row in rows if row[0] in ids]
            if any(row[7] != "connected" or {"fail", "fail?", "handshake"} & set(row[2].split(",")) for row in known):
                return False
        return True

    def wait_ok(self):
        wait_until(self._all_ok, 40, "the cluster to be whole")
        return self

    def addresses(self):
        return [node.addr for node in self.nodes]

    def live_nodes(self):
        return [node for node in self.nodes if node.alive() and not node.frozen]

    def node_table(self, at=None):
        """CLUSTER NODES as a list of (node id, flags set, primary id or '-', slot ranges)."""
        rows = []
        for line in (at or self.live_nodes()[0])("CLUSTER", "NODES").decode().splitlines():
            f = line.split()
            rows.append((f[0], set(f[2].split(",")), f[3], [s for s in f[8:] if not s.startswith("[")]))
        return rows

    def by_id(self, node_id):
        """The node with an id; None for a stranger's."""
        return next((node for node in self.nodes if node.id == node_id), None)

    def shard_slot(self, shard):
        """The first slot of the even share that shard number `shard` began with."""
        return SLOTS * shard // self.primaries

    def owner_told(self, slot, at):
        """(node, config epoch) that one node believes to be the primary of a slot; None when it knows of none."""
        for line in at("CLUSTER", "NODES").decode().splitlines():
            f = line.split()
            node = self.by_id(f[0])
            for r in f[8:]:
                low, _, high = r.partition("-")
                if node and r[0] != "[" and "master" in f[2].split(",") and int(low) <= slot <= int(high or low):
                    return node, int(f[6])
        return None

    def owner_seen(self, slot):
        """
        The primary that serves a slot now; None in the moment when none does. What a node says of itself counts, since
        what others have heard may be of a moment ago; of two that claim the slot the one with the higher epoch is right.
        Where no live node claims it, it is the (dead or frozen) one that the others still name.
        """
        if slot in self._owner and not self.replicas:
            return self._owner[slot]
        told = [(at, self.owner_told(slot, at)) for at in self.live_nodes()]
        for claims in ([t for at, t in told if t and t[0] is at], [t for _, t in told if t]):
            if claims:
                return max(claims, key=lambda t: t[1])[0]
        return None

    def owner(self, slot):
        """The primary that serves a slot. While a failover is under way a node can see none: that moment is waited out."""
        return wait_until(lambda: self.owner_seen(slot), 15, "an owner of slot %d" % slot)

    def primary_of(self, shard):
        return self.owner(self.shard_slot(shard))

    def replicas_of(self, primary, at=None):
        found = [self.by_id(i) for i, flags, of, _ in self.node_table(at) if of == primary.id and "slave" in flags]
        return [node for node in found if node is not None]

    def tag(self, shard, n=0):
        """A hash tag (without braces) whose slot lies in the even share of the shard; n picks different slots."""
        low, high = self.shard_slot(shard), self.shard_slot(shard + 1)
        i = 0
        seen = set()
        while True:
            slot = slot_of("t%d" % i)
            if low <= slot < high and slot not in seen:
                seen.add(slot)
                if len(seen) > n:
                    return "t%d" % i
            i += 1

    def key(self, shard, name="k", n=0):
        """A key on a shard: same shard and n, same slot."""
        return "{%s}%s" % (self.tag(shard, n), name)

    def move(self, slot, dst):
        return SlotMove(self, slot, dst)

    def migrate_slot(self, slot, dst):
        """The whole move at once, in the way of redis-cli."""
        return self.move(slot, dst).begin().move_all().finish()

    def wait_promoted(self, shard, old, timeout=30):
        """Waits until gossip made another node the primary of the shard and every live node knows it."""

        def promoted():
            slot = self.shard_slot(shard)
            new = self.owner_seen(slot)
            if new is None or new is old:
                return None
            told = [self.owner_told(slot, node) for node in self.live_nodes()]
            return new if all(t and t[0] is new for t in told) else None

        return wait_until(promoted, timeout, "a new primary of shard %d" % shard)

    def failover(self, shard):
        """
        A planned failover of a shard; answers (old primary, new primary). Primaries do not vote twice about one shard
        within two node timeouts, so a second failover waits for that. A replica gives up a failover that was not voted
        for in five seconds, and refuses one while it has no link to its primary: then it is asked again.
        """
        last = self._failovers.get(shard, 0)
        wait_until(lambda: time.monotonic() > last + 2.2 * self.node_timeout / 1000, 60, "votes to be allowed again")
        old = self.primary_of(shard)
        replica = wait_until(lambda: self.replicas_of(old), 15, "a replica of shard %d" % shard)[0]
        again_at = 0

        def replaced():
            nonlocal again_at
            if self.owner_seen(self.shard_slot(shard)) not in (None, old):
                return True
            if time.monotonic() > again_at:
                replica("CLUSTER", "FAILOVER")
                again_at = time.monotonic() + 6
            return False

        wait_until(replaced, 40, "the replica of shard %d to take over" % shard)
        new = self.wait_promoted(shard, old)
        self._failovers[shard] = time.monotonic()
        return old, new

    def flush(self):
        for i in range(self.primaries):
            self.primary_of(i)("FLUSHALL")

    def errors(self, code):
        """Error replies of a code, summed over the live nodes."""
        return sum(node.error_count(code) for node in self.live_nodes())

    def heal(self):
        """Thaws what is frozen, starts what is dead, waits until all is well."""
        for node in self.nodes:
            if node.frozen:
                node.thaw()
            if not node.alive():
                node.spawn()
        for node in self.nodes:
            node.wait_ready()
        return self.wait_ok()

    def epochs_settled(self):
        """Every live node knows of the highest epoch, and no two primaries share one."""
        live = self.live_nodes()
        infos = [parse_info(n("CLUSTER", "INFO")) for n in live]
        mine = [i["cluster_my_epoch"] for n, i in zip(live, infos) if n.info("replication")["role"] == "master"]
        return len({i["cluster_current_epoch"] for i in infos}) == 1 and len(set(mine)) == len(mine)

    def stop(self):
        for node in self.nodes:
            if node.proc is not None:
                node.kill()
        if os.environ.get("KEYWAY_KEEP") != "1":
            shutil.rmtree(self.dir, ignore_errors=True)


# ------------------------------------------------------------------------------------------------------ the proxy

_REPORTS = ("AddressSanitizer", "LeakSanitizer", "ThreadSanitizer", "UndefinedBehaviorSanitizer", "runtime error:")


class Proxy:
    """
    keyway-proxy as a process. Directives are given as a dict (value: one string, or a list for several words of
    one directive); with config_file=True they go into a file instead of the command line.
    """

    def __init__(self, nodes=None, directives=None, argv=None, wait=True, port=None, env=None):
        self.dir = temp_dir("proxy")
        self.port = port or free_port()
        self.proc = None
        self.env = env
        settings = {"bind": HOST, "port": self.port, "logfile": os.path.join(self.dir, "proxy.log")}
        if nodes is not None:
            settings["cluster-nodes"] = nodes.addresses() if isinstance(nodes, Cluster) else nodes
        settings.update(directives or {})
        self.password = settings.get("requirepass")
        self.argv = [bin_path("keyway-proxy")] + (argv if argv is not None else directive_args(settings))
        self.port = int(settings["port"])
        self.start(wait)

    def start(self, wait=True):
        with open(self.stderr_path, "ab") as err, open(os.path.join(self.dir, "stdout"), "ab") as out:
            self.proc = spawn(self.argv, out, err, cwd=self.dir, env=self.env)
        if wait:
            wait_until(self._answers, 20, "keyway-proxy on port %d" % self.port)
        return self

    def _answers(self):
        if self.proc.poll() is not None:
            raise AssertionError("keyway-proxy ended with %r: %s" % (self.proc.returncode, self.log()[-3000:]))
        with Client(self.port, timeout=5, password=self.password) as c:
            return c("PING") == b"PONG"

    @property
    def pid(self):
        return self.proc.pid

    @property
    def stderr_path(self):
        return os.path.join(self.dir, "stderr")

    def log(self):
        """Everything that the process wrote: standard output, standard error and its log file."""
        text = ""
        for name in ("stdout", "stderr", "proxy.log"):
            path = os.path.join(self.dir, name)
            if os.path.exists(path):
                with open(path, errors="replace") as f:
                    text += f.read()
        return text

    def client(self, **kw):
        kw.setdefault("password", self.password)
        return Client(self.port, **kw)

    def info(self, section="everything"):
        with self.client() as c:
            return parse_info(c.ok("INFO", section))

    def rss_kb(self):
        return rss_kb(self.pid)

    def peak_kb(self):
        return rss_kb(self.pid, "VmHWM")

    def reset_peak(self):
        """Makes VmHWM start anew from the present size."""
        with open("/proc/%d/clear_refs" % self.pid, "w") as f:
            f.write("5")

    def alive(self):
        return self.proc.poll() is None

    def terminate(self):
        self.proc.send_signal(signal.SIGTERM)

    def wait(self, timeout=20):
        return self.proc.wait(timeout * TIME_SCALE)

    def check_reports(self):
        found = [line for line in self.log().splitlines() if any(r in line for r in _REPORTS)]
        if found:
            raise AssertionError("sanitizer report:\n%s" % self.log()[-8000:])

    def stop(self):
        """Ends it in an orderly way; the exit code must be 0 and the sanitizers must have nothing to say."""
        if self.proc is None:
            return
        early = self.proc.poll()
        if early is None:
            self.terminate()
            try:
                self.wait(30)
            except subprocess.TimeoutExpired:
                end_process(self.proc)
                raise AssertionError("keyway-proxy ignored SIGTERM: %s" % self.log()[-3000:])
        code, self.proc = self.proc.returncode, None
        self.check_reports()
        if early is not None:
            raise AssertionError("keyway-proxy had ended by itself with %r: %s" % (early, self.log()[-3000:]))
        if code != 0:
            raise AssertionError("keyway-proxy ended with %r: %s" % (code, self.log()[-3000:]))


def directive_args(settings):
    """Directives as command line arguments."""
    argv = []
    for name, value in settings.items():
        argv.append("--" + name)
        argv += [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]
    return argv


def directive_lines(settings):
    """Directives as the text of a configuration file."""
    lines = []
    for name, value in settings.items():
        words = [str(v) for v in value] if isinstance(value, (list, tuple)) else [str(value)]
        lines.append(" ".join([name] + [w if w and " " not in w else '"%s"' % w for w in words]))
    return "\n".join(lines) + "\n"


# ------------------------------------------------------------------------------------------------ threads in tests


class Worker(threading.Thread):
    """A thread whose exception is not lost: join() raises it in the test."""

    def __init__(self, work, *args):
        super().__init__(daemon=True)
        self._work, self._args = work, args
        self.error = None
        self.result = None
        self.start()

    def run(self):
        try:
            self.result = self._work(*self._args)
        except BaseException as e:
            self.error = e

    def finish(self, timeout=60):
        self.join(timeout * TIME_SCALE)
        if self.is_alive():
            raise AssertionError("worker still runs after %g s: %r" % (timeout, self._work))
        if self.error is not None:
            raise self.error
        return self.result


class Stalls:
    """
    How long the machine itself held anybody up at worst (worst_s), told by a thread on each processor that sleeps a
    moment and looks how late it wakes: a shared machine may take one processor away, on which the proxy just runs, and
    leave us the other. A bound on time that says "nobody was in the way" allows for it: what stopped everybody is not
    the proxy's doing. A few milliseconds where nothing else runs.
    """

    def __init__(self):
        self._ending = threading.Event()
        processors = sorted(os.sched_getaffinity(0))[:8]
        self._late_s = dict.fromkeys(processors, 0.0)
        self._threads = [threading.Thread(target=self._watch, args=(p,), daemon=True) for p in processors]
        for thread in self._threads:
            thread.start()

    @property
    def worst_s(self):
        return max(self._late_s.values())

    def stop(self):
        self._ending.set()
        for thread in self._threads:
            thread.join()

    def _watch(self, processor):
        os.sched_setaffinity(0, {processor})  # of this thread only
        while not self._ending.is_set():
            began = time.monotonic()
            time.sleep(0.001)
            self._late_s[processor] = max(self._late_s[processor], time.monotonic() - began - 0.001)


def percentile(samples, p):
    ordered = sorted(samples)
    return ordered[min(len(ordered) - 1, int(len(ordered) * p))]


# ---------------------------------------------------------------------------------------------------- test classes


class ProxyTest(unittest.TestCase):
    """A cluster and a proxy that the tests of a class share. Override the capitals."""

    PRIMARIES = 3
    REPLICAS = 0
    NODE_TIMEOUT = 1000
    NODE_CONFIG = {}
    NODE_PASSWORD = None
    DIRECTIVES = {}
    TEST_TIMEOUT = 120

    cluster = None
    proxy = None

    @classmethod
    def setUpClass(cls):
        cls.cluster = Cluster(cls.PRIMARIES, cls.REPLICAS, cls.NODE_TIMEOUT, cls.NODE_CONFIG, cls.NODE_PASSWORD)
        cls.proxy = Proxy(cls.cluster, cls.DIRECTIVES)

    @classmethod
    def tearDownClass(cls):
        try:
            if cls.proxy is not None:
                cls.proxy.stop()
        finally:
            cls.cluster.stop()

    def run(self, result=None):
        def on_alarm(_number, _frame):
            raise AssertionError("test still runs after %d s" % (self.TEST_TIMEOUT * TIME_SCALE))

        signal.signal(signal.SIGALRM, on_alarm)
        signal.alarm(int(self.TEST_TIMEOUT * TIME_SCALE))
        try:
            return super().run(result)
        finally:
            signal.alarm(0)

    def alone(self, client):
        """Waits until the proxy lists no clients but this one: those of before may not have been seen to leave yet."""
        wait_until(lambda: client.ok("CLIENT", "LIST").count(b"\n") == 1, 10, "the other clients to be gone")

    def client(self, **kw):
        """A connection to the shared proxy, closed at the end of the test."""
        c = self.proxy.client(**kw)
        self.addCleanup(c.close)
        return c

    def stalls(self):
        """What the machine itself is to blame for from here to the end of the test."""
        stalls = Stalls()
        self.addCleanup(stalls.stop)
        return stalls

    def start_proxy(self, directives=None, nodes=None, **kw):
        """A proxy of this test's own; its orderly end is part of the test."""
        proxy = Proxy(nodes if nodes is not None else self.cluster, directives, **kw)
        self.addCleanup(proxy.stop)
        return proxy

    def assertError(self, reply, code):
        """The reply is an error that starts with the text (or with one of a tuple of texts)."""
        self.assertIsInstance(reply, ReplyError, "expected -%s, got %r" % (code, reply))
        self.assertTrue(reply.text.startswith(code), "expected -%s, got -%s" % (code, reply.text))

    def assertNoErrors(self, replies):
        for i, reply in enumerate(replies):
            self.assertNotIsInstance(reply, ReplyError, "reply %d of %d" % (i, len(replies)))


class JudgedTest(ProxyTest):
    """With one plain redis-server beside, `judge`, that says what is right."""

    judge = None

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.judge = Server().start()

    @classmethod
    def tearDownClass(cls):
        cls.judge.kill()
        super().tearDownClass()


class _Result(unittest.TextTestResult):
    """Counts passes, and tells how long each test took."""

    passed = 0

    def startTest(self, test):
        self._began = time.monotonic()
        super().startTest(test)

    def addSuccess(self, test):
        self.passed += 1
        super().addSuccess(test)

    def stopTest(self, test):
        if os.environ.get("KEYWAY_VERBOSE") == "1":
            self.stream.writeln("    %.2f s" % (time.monotonic() - self._began))
        super().stopTest(test)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self._show_log(test)

    def addError(self, test, err):
        super().addError(test, err)
        self._show_log(test)

    def _show_log(self, test):
        proxy = getattr(test, "proxy", None)
        if isinstance(proxy, Proxy):
            tail = proxy.log().splitlines()[-15:]
            self.stream.writeln("\n    proxy log of %s: %s" % (test, "\n        ".join([""] + tail)))


def main():
    """Runs the tests of the calling file; the last line says how many passed, failed and were skipped."""
    names = [a for a in sys.argv[1:] if not a.startswith("-")]
    module = sys.modules["__main__"]
    loader = unittest.defaultTestLoader
    suite = loader.loadTestsFromNames(names, module) if names else loader.loadTestsFromModule(module)
    if not os.access(bin_path("keyway-proxy"), os.X_OK):
        print("keyway-proxy not found at %s" % bin_path("keyway-proxy"))
        print("0 passed, %d failed, 0 skipped" % suite.countTestCases())
        sys.exit(1)
    print("seed %d (KEYWAY_TEST_SEED), %s%s" % (SEED, bin_path("keyway-proxy"), " " + SANITIZER if SANITIZER else ""))
    sys.stdout.flush()
    try:
        result = unittest.TextTestRunner(stream=sys.stdout, resultclass=_Result, verbosity=2).run(suite)
    except BaseException:
        traceback.print_exc()
        print("0 passed, 1 failed, 0 skipped")
        raise
    failed = len(result.failures) + len(result.errors) + len(result.unexpectedSuccesses)
    print("%d passed, %d failed, %d skipped" % (result.passed, failed, len(result.skipped)))
    sys.stdout.flush()
    sys.exit(1 if failed else 0)
