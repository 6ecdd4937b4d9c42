"""
bench_meta, the load generator for metadata services: run() answers what it measured, Running is one that goes on
meanwhile.
"""

import json
import subprocess

import generator
import harness


def command(words):
    return [harness.bin_path("bench_meta")] + [str(word) for word in words]


def words_of(service, nodes, workload, *more):
    """The words that every run has."""
    words = ["--protocol", service.protocol, "--targets", ",".join(node.addr for node in nodes), "--workload", workload]
    if service.secret:
        words += ["--secret", service.secret]
    return words + list(more)


def result(code, out, err):
    lines = out.strip().splitlines()
    if code != 0 or not lines:
        raise generator.LoadFailed(generator.last_words(err).replace("bench_meta: ", "", 1) or "exit code %d" % code)
    return json.loads(lines[-1])


def run(words, seconds=0.0):
    """One run to its end; the JSON object that it prints."""
    try:
        done = subprocess.run(command(words), stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              timeout=seconds + generator.MARGIN)
    except subprocess.TimeoutExpired:
        raise generator.LoadFailed("no end after %d s" % (seconds + generator.MARGIN))
    return result(done.returncode, done.stdout, done.stderr)


class Running:
    """A run beside others, for a with statement; `result` is there behind it."""

    def __init__(self, words):
        self.words = words

    def __enter__(self):
        self.proc = subprocess.Popen(command(self.words), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                     stderr=subprocess.PIPE, text=True)
        return self

    def __exit__(self, kind, *_):
        if kind is not None:
            self.proc.kill()
        out, err = self.proc.communicate(timeout=generator.MARGIN)
        if kind is None:
            self.result = result(self.proc.returncode, out, err)
