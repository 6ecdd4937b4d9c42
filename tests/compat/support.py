"""
What the Python programs share: the addresses that tests/compat/run hands over, the limiter scripts, values with no short
period, threads, waiting on conditions, and a main() that ends with the counted line.
"""

import hashlib
import os
import sys
import threading
import time
import unittest

import redis

HERE = os.path.dirname(os.path.abspath(__file__))
HOST = "127.0.0.1"
PORT = int(os.environ["KEYWAY_PORT"])
AUTH_PORT = int(os.environ["KEYWAY_AUTH_PORT"])
AUTH_PASSWORD = os.environ["KEYWAY_AUTH_PASSWORD"]
NODE_PORTS = [int(port) for port in os.environ["KEYWAY_NODE_PORTS"].split()]
TIME_SCALE = float(os.environ.get("KEYWAY_TIME_SCALE", "1"))


def script(name):
    with open(os.path.join(HERE, name + ".lua"), encoding="utf-8") as f:
        return f.read()


def pattern(size):
    """Bytes of every value, without a period that could hide a shift within the first megabyte."""
    block = b"".join(hashlib.sha256(b"%d" % i).digest() for i in range(1 << 15))
    return (block * (size // len(block) + 1))[:size]


def blocked_at_nodes():
    """How many commands wait at the nodes: the proxy's list says that a client waits, not that its node has heard."""
    total = 0
    for port in NODE_PORTS:
        with redis.Redis(HOST, port) as node:
            total += node.info("clients")["blocked_clients"]
    return total


def wait_until(cond, what, seconds=20 * TIME_SCALE):
    """Polls cond() until it is true and answers its value."""
    deadline = time.monotonic() + seconds
    while True:
        value = cond()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError("waited %d s for %s (last: %r)" % (seconds, what, value))
        time.sleep(0.005)


class Threads:
    """Functions that run at the same time; leaving the block waits for all and raises what the first of them raised."""

    def __init__(self):
        self.threads = []
        self.failures = []

    def start(self, function, *args):
        def run():
            try:
                function(*args)
            except BaseException as e:
                self.failures.append(e)

        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def __enter__(self):
        return self

    def __exit__(self, kind, _value, _trace):
        for thread in self.threads:
            thread.join(60 * TIME_SCALE)
        if kind is None and self.failures:
            raise self.failures[0]
        if kind is None and any(thread.is_alive() for thread in self.threads):
            raise AssertionError("a thread did not come to its end")


class _Result(unittest.TextTestResult):
    passed = 0

    def addSuccess(self, test):
        self.passed += 1
        super().addSuccess(test)


def main():
    """Runs the tests of the calling file; the last line says how many passed, failed and were skipped."""
    suite = unittest.defaultTestLoader.loadTestsFromModule(sys.modules["__main__"])
    result = unittest.TextTestRunner(stream=sys.stdout, resultclass=_Result, verbosity=2).run(suite)
    failed = len(result.failures) + len(result.errors)
    print("%d passed, %d failed, %d skipped" % (result.passed, failed, len(result.skipped)), flush=True)
    sys.exit(1 if failed else 0)
