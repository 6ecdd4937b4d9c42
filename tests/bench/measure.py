"""
What the kernel says about processes: processor time, memory, and the machine that a run was made on.

Processor time comes from /proc/PID/task/*/schedstat, nanoseconds a thread; the ticks of /proc/PID/stat are 10 ms each,
too coarse for runs of a second. A thread that has ended in between would be missed: those measured here keep theirs.
"""

import datetime
import os
import platform
import re
import resource
import subprocess
import time

import harness


def cpu_seconds(pids):
    """Processor time of processes so far, all their threads."""
    total = 0
    for pid in pids:
        folder = "/proc/%d/task" % pid
        for thread in os.listdir(folder):
            with open(os.path.join(folder, thread, "schedstat")) as f:
                total += int(f.read().split()[0])
    return total / 1e9


def anonymous_bytes(pid):
    """
    Resident memory of a process without the pages of its program file, which the kernel takes and gives as it likes.
    Exact, where VmRSS may lag behind by many pages.
    """
    with open("/proc/%d/smaps_rollup" % pid) as f:
        for line in f:
            if line.startswith("Anonymous:"):
                return int(line.split()[1]) * 1024
    raise AssertionError("no Anonymous for %d" % pid)


def peak_bytes(pid):
    """The highest resident memory since reset_peak()."""
    return harness.rss_kb(pid, "VmHWM") * 1024


def reset_peak(pid):
    with open("/proc/%d/clear_refs" % pid, "w") as f:
        f.write("5")


class Processor:
    """Processor time spent by named groups of processes inside a with block: `spent` has the seconds afterwards."""

    def __init__(self, groups):
        self.groups = groups
        self.spent = {}

    def __enter__(self):
        self._before = {name: cpu_seconds(pids) for name, pids in self.groups.items()}
        return self

    def __exit__(self, *_):
        self.spent = {name: cpu_seconds(pids) - self._before[name] for name, pids in self.groups.items()}


def busy_seconds():
    """Processor time that anything on this machine has used so far; in ticks of 10 ms."""
    with open("/proc/stat") as f:
        user, nice, system, _, _, irq, softirq, steal = map(int, f.readline().split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


class Others:
    """`share`: how much of the machine was used inside a with block by anything but these processes and ended children."""

    def __init__(self, pids):
        self.pids = pids
        self.share = 0.0

    def _foreign(self):
        children = resource.getrusage(resource.RUSAGE_CHILDREN)
        return busy_seconds() - cpu_seconds(self.pids) - children.ru_utime - children.ru_stime

    def __enter__(self):
        self._began, self._before = time.monotonic(), self._foreign()
        return self

    def __exit__(self, *_):
        passed = time.monotonic() - self._began
        self.share = max(0.0, self._foreign() - self._before) / (passed * os.cpu_count())


def version_of(program):
    """The first line with a number that a program prints when asked for its version; '' when none does."""
    for option in ("--version", "-v"):
        try:
            done = subprocess.run([program, option], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                  stderr=subprocess.STDOUT, timeout=2)
        except (OSError, subprocess.TimeoutExpired):
            continue
        for line in done.stdout.decode("utf-8", "replace").splitlines():
            if done.returncode == 0 and re.search(r"\d", line):
                return short_version(line)
    return ""


def short_version(line):
    """The number alone, where one can be told."""
    found = re.search(r"\d+\.\d[\w.+~-]*", line)
    return found.group(0) if found else line.strip()


def processor_model():
    with open("/proc/cpuinfo") as f:
        found = re.search(r"^model name\s*:\s*(.*)$", f.read(), re.M)
    return found.group(1) if found else platform.machine()


def git(*words):
    done = subprocess.run(["git"] + list(words), cwd=harness.REPO, capture_output=True, text=True)
    return done.stdout.strip()


def facts():
    """What a reader must know about the machine and the programs to judge the figures."""
    return {
        "date": datetime.datetime.now(datetime.timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "commit": git("rev-parse", "--short", "HEAD") + (" and changes" if git("status", "--porcelain") else ""),
        "kernel": platform.release(),
        "processors": os.cpu_count(),
        "processor": processor_model(),
        "redis": version_of(harness.redis_server()),
    }
