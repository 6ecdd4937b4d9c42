"""
Counts what keyway-proxy does for a request: instructions under valgrind's callgrind, system calls under strace. Both are
exact; what is left to chance is in how many loop turns the proxy finds the requests and the nodes' replies. So clients,
proxy and nodes go in lock step: whoever is not to move is stopped until everything has reached him. What counts of a row
is the least of several samples, because chance only ever adds turns.
"""

import collections
import os
import re
import shutil
import signal
import subprocess
import time

import harness

SAMPLES = 3
WARMING_ROUNDS = 3

# One worker; the nodes are not asked for their slots meanwhile; and no request counts as slow for having been stopped.
DIRECTIVES = {"workers": 1, "topology-refresh": 60000, "slowlog-log-slower-than": -1}

KINDS = {
    "read": ("read", "readv", "recvfrom", "recvmsg"),
    "write": ("write", "writev", "sendto", "sendmsg", "sendmmsg"),
    "poll": ("epoll_wait", "epoll_pwait", "epoll_pwait2"),
    "memory": ("mmap", "munmap", "mremap", "madvise", "brk"),  # the allocator takes and gives back when it pleases
    "other": (),
}


def kind_of(call):
    return next((kind for kind, calls in KINDS.items() if call in calls), "other")


def wait_states(pid, letters):
    """Waits until each thread of a process is in one of these states: "S" all idle, "Tt" all stopped."""
    deadline = time.monotonic() + 20 * harness.TIME_SCALE
    while True:
        states = set()
        for thread in os.listdir("/proc/%d/task" % pid):
            with open("/proc/%d/task/%s/stat" % (pid, thread)) as f:
                states.add(f.read().rsplit(")", 1)[1].split()[0])
        if states <= set(letters):
            return
        if time.monotonic() > deadline:
            raise harness.WaitTimeout("threads of %d are %s, waited for %s" % (pid, sorted(states), letters))
        time.sleep(0.0002)


def stop(processes):
    for p in processes:
        p.send_signal(signal.SIGSTOP)
    for p in processes:
        wait_states(p.pid, "Tt")


def go_on(processes):
    """They go on, and have done by the end of it what there was for them to do."""
    for p in processes:
        p.send_signal(signal.SIGCONT)
    for p in processes:
        wait_states(p.pid, "S")


class Meter(harness.Proxy):
    """A proxy under a tool: the words of TOOL stand before its own, {dir} in them is its directory."""

    FIGURE = ""
    TOOL = ()
    NEEDS = ()

    @classmethod
    def missing(cls):
        """Why this cannot be used here, or ''."""
        lacking = [name for name in cls.NEEDS if not shutil.which(name)]
        if lacking:
            return "not installed: %s" % ", ".join(lacking)
        # strace and vgdb both need ptrace, which containers can forbid.
        tried = subprocess.run(["strace", "-o", "/dev/null", "true"], capture_output=True, text=True, timeout=60)
        return "no process may be traced here: %s" % tried.stderr.strip() if tried.returncode else ""

    def __init__(self, cluster, directives=None):
        self.nodes = [node.proc for node in cluster.nodes]
        super().__init__(cluster, dict(DIRECTIVES, **(directives or {})))

    def start(self, wait=True):
        self.argv = [word.format(dir=self.dir) for word in self.TOOL] + self.argv
        return super().start(wait)

    def wait_idle(self):
        wait_states(self.pid, "S")

    def round(self, talkers):
        """What all have to say at once, and all that they are answered. One alone is in step by itself."""
        if len(talkers) == 1:
            talkers[0].send()
            talkers[0].receive()
            return
        self.wait_idle()
        stop([self.proc])
        for talker in talkers:
            talker.send()
        stop(self.nodes)
        go_on([self.proc])
        stop([self.proc])
        go_on(self.nodes)
        self.proc.send_signal(signal.SIGCONT)
        for talker in talkers:
            talker.receive()

    def samples(self, row, count):
        """Yields after every sample how many units it had; between two of them the caller takes the counts."""
        talkers, units = row.make(self)
        try:
            for _ in range(WARMING_ROUNDS):
                self.round(talkers)
            self.begin()
            for _ in range(count):
                for _ in range(row.rounds):
                    self.round(talkers)
                yield units * row.rounds
        finally:
            for talker in talkers:
                talker.client.close()

    def measure(self, row):
        """What a unit of the row costs: a dict, in which [FIGURE] is what is judged."""
        found = [{name: n / units for name, n in self.take().items()} for units in self.samples(row, SAMPLES)]
        return min(found, key=lambda counts: counts[self.FIGURE])

    def detail(self, name):
        """What helps to find out why the row `name`, just measured, costs what it does."""
        raise NotImplementedError

    def begin(self):
        """From here on it is counted."""
        raise NotImplementedError

    def take(self):
        """The counts since begin() or the last take()."""
        raise NotImplementedError


class Instructions(Meter):
    """Those of all threads; the kernel's are not seen."""

    FIGURE = "instructions"
    TOOL = ("valgrind", "-q", "--tool=callgrind", "--callgrind-out-file={dir}/callgrind")
    NEEDS = ("valgrind", "vgdb", "strace")

    dumps = 0

    def dump(self):
        """Has the counts written to a file, from where on they begin anew; answers its text."""
        self.wait_idle()
        done = subprocess.run(["vgdb", "--pid=%d" % self.pid, "dump"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, "vgdb: %s" % done.stderr
        self.dumps += 1
        path = os.path.join(self.dir, "callgrind.%d" % self.dumps)
        with open(path) as f:
            text = f.read()
        os.unlink(path)
        return text

    def begin(self):
        self.dump()

    def take(self):
        return {self.FIGURE: int(re.search(r"^summary: (\d+)", self.dump(), re.M).group(1))}

    def detail(self, name):
        return "test_cost.py --profile %s shows the functions" % name

    def profile(self, row):
        """(instructions a unit, function) of every function without those that it calls, the dearest first."""
        for units in self.samples(row, 1):
            costs = self_costs(self.dump())
        return sorted(((n / units, name) for name, n in costs.items()), reverse=True)


def self_costs(text):
    """Instructions by function, from a callgrind dump: the line after "calls=" is what was called, not the function."""
    names = {}
    costs = collections.Counter()
    current = None
    called = False
    for line in text.splitlines():
        named = re.match(r"(c?fn)=\((\d+)\)(?: (.*))?$", line)
        if named:
            if named.group(3):
                names[named.group(2)] = named.group(3)
            if named.group(1) == "fn":
                current = named.group(2)
        elif line.startswith("calls="):
            called = True
        elif re.match(r"[+*\-\d]\S* \d+$", line):
            if not called:
                costs[current] += int(line.split()[1])
            called = False
    return {names[number]: n for number, n in costs.items()}


class SystemCalls(Meter):
    """Those of all threads, by kind. The waits that only our own stopping interrupted are not counted."""

    FIGURE = "calls"
    TOOL = ("strace", "-D", "-f", "-qq", "-s", "0", "-e", "signal=none", "-o", "{dir}/calls")
    NEEDS = ("strace",)

    def position(self):
        self.wait_idle()
        return os.path.getsize(os.path.join(self.dir, "calls"))

    def begin(self):
        self.seen = self.position()

    def take(self):
        begin, self.seen = self.seen, self.position()
        with open(os.path.join(self.dir, "calls"), "rb") as f:
            f.seek(begin)
            text = f.read(self.seen - begin).decode()
        self.names = collections.Counter(re.findall(r"^\d+ +(\w+)\(", text, re.M))
        counts = dict.fromkeys(KINDS, 0)
        for name, n in self.names.items():
            counts[kind_of(name)] += n
        counts["poll"] -= text.count("EINTR")
        counts[self.FIGURE] = sum(counts.values())
        return counts

    def detail(self, name):
        return "the last sample: " + ", ".join("%d %s" % (n, call) for call, n in self.names.most_common())


# ------------------------------------------------------------------------------------------- what figures depend on


def program_says(*argv):
    """What a program prints, or '' where there is none."""
    try:
        return subprocess.run(argv, capture_output=True, text=True, timeout=30).stdout.strip()
    except OSError:
        return ""


def package_version(name):
    return program_says("dpkg-query", "-W", "-f=${Version}", name) or "unknown"


def compiler_of(path):
    """Name and version as the compiler wrote them into the program."""
    with open(path, "rb") as f:
        image = f.read()
    for name, pattern in (("clang", rb"clang version ([\d.]+)"), ("gcc", rb"GCC: \([^)]*\) ([\d.]+)")):
        found = re.search(pattern, image)
        if found:
            return "%s %s" % (name, found.group(1).decode())
    return "unknown"


def has_avx2():
    """Whether libc takes its AVX2 functions here; there are none newer under valgrind."""
    with open("/proc/cpuinfo") as f:
        return "avx2" in f.read().split()


def surroundings():
    """Versions of what the figures depend on besides Keyway."""
    found = {name: package_version(name) for name in ("libc6", "libuv1", "libjemalloc2", "valgrind")}
    found["node"] = (re.findall(r" v=(\S+)", program_says(harness.redis_server(), "--version")) or ["unknown"])[0]
    found["compiler"] = compiler_of(harness.bin_path("keyway-proxy"))
    found["avx2"] = "yes" if has_avx2() else "no"
    return found
