"""
What is measured: the servers behind, and the proxies in front of them.

A proxy of any make is a row: a command line and, where it wants one, a configuration file, both with placeholders
(fill() has them). Those of this file and those that --peer names are treated alike. Each runs as one process in the
foreground, on a free loopback port, with a temporary folder for its logs; the harness records and ends it.
"""

import os
import re
import shlex

import harness
import measure

CLIENTS = 15000  # more connections than any workload holds

PLACEHOLDERS = """\
placeholders, in command lines and in configuration files:
  {port}            the port to listen on, at 127.0.0.1
  {nodes} {nodes,}  host:port of every cluster node, with spaces or commas between them
  {node1} {node2} ...        host:port of one node
  {nodeport1} {nodeport2} ...  its port alone
  {node}            in a configuration file: the line is written once for each node
  {workers}         the number of worker threads; without it the proxy has no row with two workers
  {config}          the path of the configuration file that was written (--peer-config)
  {dir}             an empty folder, for logs
  {port2}           a second free port
Other braces are left as they are. The program must stay in the foreground, as one process."""

NUTCRACKER_CONFIG = """\
bench:
  listen: 127.0.0.1:{port}
  hash: fnv1a_64
  distribution: ketama
  redis: true
  preconnect: true
  backlog: 4096
  servers:
   - {node}:1
"""

HAPROXY_CONFIG = """\
global
    nbthread {workers}
defaults
    mode tcp
    timeout connect 10s
    timeout client 1h
    timeout server 1h
listen bench
    bind 127.0.0.1:{port} backlog 4096
    server redis {node}
"""


class Kind:
    """How a proxy is started. `backend` names what stands behind it; without a command line clients ask that directly."""

    def __init__(self, name, note, command=None, config=None, backend="cluster", descriptors=1):
        self.name, self.note, self.command, self.config, self.backend = name, note, command, config, backend
        self.descriptors = descriptors  # that one client costs the proxy
        self.can_workers = "{workers}" in (command or "") + (config or "")


DIRECT = Kind("direct", "a cluster client, without a proxy")

FLOOR = Kind("floor",
             "forwards nothing and asks nobody, one read and one write of a canned reply for each request: "
             "what a proxy spends beyond it is its own work and that towards the nodes",
             "{bin}/bench_floor --port {port} --reply-bytes {reply}", backend="nobody")

OWN = [
    DIRECT,
    FLOOR,
    Kind("keyway", "",
         "{bin}/keyway-proxy --bind 127.0.0.1 --port {port} --workers {workers} --logfile {dir}/proxy.log --cluster-nodes {nodes}"),
    Kind("nutcracker", "does not speak the cluster protocol: three plain servers of its own behind it",
         "nutcracker -c {config} -a 127.0.0.1 -s {port2} -o {dir}/nutcracker.log -p {dir}/pid", NUTCRACKER_CONFIG, "three"),
    Kind("haproxy", "forwards TCP and knows nothing of Redis: one plain server of its own behind it",
         "haproxy -db -f {config}", HAPROXY_CONFIG, "one", descriptors=2),
]


class Backend:
    """Redis servers, and what data they have."""

    def __init__(self, nodes, is_cluster):
        self.nodes, self.is_cluster = nodes, is_cluster
        self.holds = None  # the arguments of the fill whose data is there, unchanged

    @property
    def addresses(self):
        return [node.addr for node in self.nodes]

    @property
    def pids(self):
        return [node.proc.pid for node in self.nodes]

    def load_args(self):
        return ["--targets", ",".join(self.addresses)] + (["--cluster"] if self.is_cluster else [])

    def each_load_args(self):
        """For runs that shall reach every server."""
        return [self.load_args()] if self.is_cluster else [["--targets", address] for address in self.addresses]

    def flush(self):
        """Empty at once, so that no thread frees in the background while something is measured."""
        for node in self.nodes:
            node("FLUSHALL", "SYNC")
        self.holds = None


def start_backend(name, stack):
    settings = {"maxclients": str(CLIENTS)}
    if name == "cluster":
        cluster = harness.Cluster(3, 0, node_timeout=15000, config=settings)
        stack.callback(cluster.stop)
        return Backend(cluster.nodes, True)
    count = {"three": 3, "one": 1, "nobody": 0}[name]
    return Backend([stack.enter_context(harness.Server(config=settings)) for _ in range(count)], False)


def fill(template, values, nodes):
    """A template with its placeholders replaced."""
    values = dict(values)
    values["nodes"], values["nodes,"] = " ".join(nodes), ",".join(nodes)
    for i, node in enumerate(nodes):
        values["node%d" % (i + 1)], values["nodeport%d" % (i + 1)] = node, node.rsplit(":", 1)[1]
    lines = []
    for line in template.split("\n"):
        for node in nodes if "{node}" in line else [""]:
            values["node"] = node
            lines.append(re.sub(r"\{([a-z]+[0-9]*,?)\}", lambda m: str(values.get(m.group(1), m.group(0))), line))
    return "\n".join(lines)


class Target:
    """A running proxy, or (kind DIRECT) none. Use it as a context manager."""

    def __init__(self, kind, backend, workers, reply=None):
        self.kind, self.backend, self.workers = kind, backend, workers
        self.reply = reply  # bytes of what FLOOR answers
        self.proc = None
        if kind.command:
            self.dir = harness.temp_dir("bench-%s" % kind.name)
            self.start()

    def start(self):
        """Begins, or begins again on another port."""
        self.port = harness.free_port()
        values = {"port": self.port, "port2": harness.free_port(), "workers": self.workers, "dir": self.dir,
                  "bin": os.path.dirname(harness.bin_path("keyway-proxy")), "config": os.path.join(self.dir, "config")}
        if self.kind is FLOOR:
            values["reply"] = self.reply
        if self.kind.config is not None:
            with open(values["config"], "w") as f:
                f.write(fill(self.kind.config, values, self.backend.addresses))
        self.argv = shlex.split(fill(self.kind.command, values, self.backend.addresses))
        with open(self.output_path, "ab") as out:
            self.proc = harness.spawn(self.argv, out, out, cwd=self.dir)
        harness.wait_until(self._answers, 20, "%s on port %d" % (self.kind.name, self.port))

    def _answers(self):
        if not self.alive():
            raise AssertionError("%s ended with %r: %s" % (self.kind.name, self.proc.returncode, self.output_tail()))
        with harness.Client(self.port, timeout=2) as client:
            return not isinstance(client("GET", "nothing"), harness.ReplyError)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.proc is not None:
            harness.end_process(self.proc)

    @property
    def output_path(self):
        return os.path.join(self.dir, "output")

    def output_tail(self):
        with open(self.output_path, errors="replace") as f:
            return f.read()[-1000:].strip()

    def alive(self):
        return self.proc is None or self.proc.poll() is None

    @property
    def pids(self):
        return [] if self.proc is None else [self.proc.pid]

    def client(self):
        return harness.Client(self.port, timeout=60)

    def port_args(self):
        """bench_load's words for this target alone: whatever it prepares goes through it too."""
        return self.backend.load_args() if self.proc is None else ["--targets", "%s:%d" % (harness.HOST, self.port)]

    def load_args(self):
        """The same, but scripts, groups and data are prepared at the nodes, whatever the proxy can do of it."""
        behind = ["--prepare", ",".join(self.backend.addresses)]
        return self.port_args() + (behind if self.proc is not None and self.backend.is_cluster else [])

    def describe(self):
        version = measure.version_of(self.argv[0]) if self.proc is not None else ""
        return {"note": self.kind.note, "version": version, "command": self.kind.command or ""}
