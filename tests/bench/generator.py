"""
bench_load, the load generator in C: run(), which answers what it measured, and AtOnce, connections that are held.
"""

import json
import subprocess

import harness

MARGIN = 120  # seconds that a run may take beyond what it was told, before it counts as hung


class LoadFailed(Exception):
    """The generator could not do its work at all: nobody listens, or it does not know the workload."""


def command(target_args, load_args):
    return [harness.bin_path("bench_load")] + list(target_args) + [str(word) for word in load_args]


def run(target_args, load_args, seconds=0.0):
    """One run to its end; the JSON object that it prints."""
    argv = command(target_args, load_args)
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=seconds + MARGIN)
    except subprocess.TimeoutExpired:
        raise LoadFailed("no end after %d s" % (seconds + MARGIN))
    lines = done.stdout.strip().splitlines()
    if not lines or not lines[-1].startswith("{"):
        raise LoadFailed(last_words(done.stderr) or "exit code %d" % done.returncode)
    return json.loads(lines[-1])


def last_words(text):
    """The last line that it said, without its name."""
    lines = text.strip().splitlines()
    return lines[-1].replace("bench_load: ", "", 1) if lines else ""


class AtOnce:
    """Connections that asked once, all in the same moment, and are silent until the with block ends."""

    def __init__(self, target_args, connections):
        self.argv = command(target_args, ["--workload", "idle", "--connections", connections])

    def __enter__(self):
        # It ends when its standard input does, so it cannot outlive this process.
        self.proc = subprocess.Popen(self.argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if self.proc.stdout.readline().strip() != "ready":
            self.__exit__()
            raise LoadFailed(last_words(self.error) or "not every connection was made")
        return self

    def __exit__(self, *_):
        self.proc.stdin.close()
        self.error = self.proc.stderr.read()
        self.proc.stdout.close()
        self.proc.stderr.close()
        self.proc.wait(MARGIN)
