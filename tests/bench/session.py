"""
One run of a benchmark: the servers and proxies that it has started, and the record that becomes the JSON file.

What is started, is started when first asked for and ends with the session, whatever ends it. The record is written after
each round, so that a run that is broken off leaves what it had.
"""

import argparse
import contextlib
import fnmatch
import json
import os
import resource
import sys

import generator
import harness
import measure
import targets

FILL_SECONDS = 120
SHOWN = ("per_second", "p99_us", "idle_bytes", "growth_mb", "key_cpu_us")  # while it runs

EPILOG = """%s

example, a proxy that wants a configuration file:
  ./dev bench proxies --peer 'other=/opt/other/bin/other {config}' --peer-config other=other.conf.in""" % targets.PLACEHOLDERS


def parser(name, description, rounds, json_name):
    """The options that every benchmark has."""
    words = argparse.ArgumentParser("./dev bench " + name, description=description, epilog=EPILOG,
                                    formatter_class=argparse.RawDescriptionHelpFormatter)
    words.add_argument("--rounds", type=int, default=rounds, help="how often everything is measured (%(default)s)")
    words.add_argument("--quick", action="store_true", help="short runs on little data: to try things, not to quote them")
    words.add_argument("--only", metavar="NAME,...", default="", help="these rows; `get*` is any that begins so")
    words.add_argument("--targets", metavar="NAME,...", default="",
                       help="these targets, of: direct, floor, keyway, nutcracker, haproxy, peers")
    words.add_argument("--workers", type=int, default=1, help="worker threads of Keyway, and of those that can be told (%(default)s)")
    words.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND", help="one more proxy, with placeholders (below)")
    words.add_argument("--peer-config", action="append", default=[], metavar="NAME=FILE",
                       help="its configuration file, with placeholders; written anew for each start, as {config}")
    words.add_argument("--json", default=os.path.join(harness.REPO, "build", json_name), help="where the samples go (%(default)s)")
    return words


def assignment(text):
    name, equals, value = text.partition("=")
    if not equals or not name or not value:
        raise SystemExit("bench: not NAME=VALUE: %s" % text)
    return name, value


def peers(options):
    """--peer and --peer-config as kinds of targets."""
    configs = {}
    for text in options.peer_config:
        name, path = assignment(text)
        with open(path) as f:
            configs[name] = f.read()
    kinds = [targets.Kind(name, "", command, configs.pop(name, None)) for name, command in map(assignment, options.peer)]
    if configs:
        raise SystemExit("bench: there is no --peer %s" % ", ".join(configs))
    return kinds


def chosen_kinds(options, own):
    kinds = own + peers(options)
    if len({kind.name for kind in kinds}) < len(kinds):
        raise SystemExit("bench: two targets have the same name: %s" % ", ".join(kind.name for kind in kinds))
    if not options.targets:
        return kinds
    wanted = options.targets.split(",")
    unknown = set(wanted) - {kind.name for kind in kinds}
    if unknown:
        raise SystemExit("bench: no target %s; there are: %s" % (", ".join(unknown), ", ".join(kind.name for kind in kinds)))
    return [kind for kind in kinds if kind.name in wanted]


def chosen_rows(rows, only):
    """The rows that --only names, or all."""
    patterns = [word for word in only.split(",") if word]
    for pattern in patterns:
        if not fnmatch.filter([row.name for row in rows], pattern):
            raise SystemExit("bench: there is no row %s; there are: %s" % (pattern, " ".join(row.name for row in rows)))
    return [row for row in rows if not patterns or any(fnmatch.fnmatch(row.name, pattern) for pattern in patterns)]


def raise_limit():
    """As many descriptors as this user may have; answers how many."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    return most


class Session:
    def __init__(self, name, options, kinds):
        self.options, self.kinds = options, kinds
        self.descriptors = raise_limit()
        self.record = {"kind": name, "facts": measure.facts(), "options": vars(options), "rounds": 0, "targets": {},
                       "workloads": [], "samples": {}, "ended": []}
        self._stack = contextlib.ExitStack()
        self._backends, self._targets = {}, {}

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self._stack.close()

    def describe_rows(self, rows):
        self.record["workloads"] = [{"name": row.name, "title": row.title} for row in rows]

    def backend(self, kind):
        if kind.backend not in self._backends:
            self._backends[kind.backend] = targets.start_backend(kind.backend, self._stack)
        return self._backends[kind.backend]

    def fresh(self, kind, workers, reply=None):
        """A target of its own, for a with statement."""
        return targets.Target(kind, self.backend(kind), workers, reply)

    def target(self, kind, workers=None, reply=None):
        """The shared target of that kind, alive; of targets.FLOOR the one whose replies have that many bytes."""
        key = kind.name, workers or self.options.workers, reply
        if key not in self._targets:
            self._targets[key] = self._stack.enter_context(self.fresh(*((kind,) + key[1:])))
            self.record["targets"].setdefault(kind.name, self._targets[key].describe())
        elif not self._targets[key].alive():
            self.record["ended"].append(kind.name)
            self._targets[key].start()
        return self._targets[key]

    def add(self, workload, target_name, sample):
        self.record["samples"].setdefault(workload, {}).setdefault(target_name, []).append(sample)

    def end_round(self):
        self.record["rounds"] += 1
        write_json(self.record, self.options.json)


def fill_for(target, words):
    """The backend of a target with exactly the data that these words of bench_load make; '' is none at all."""
    backend = target.backend
    if backend.holds == words or not backend.nodes:
        return
    backend.flush()
    if words:
        generator.run(target.load_args(), words.split() + ["--fill", "--requests", 1], FILL_SECONDS)
    backend.holds = words


def load_scripts(target):
    """The script of workload evalsha at every server, as some proxies do not pass SCRIPT LOAD on."""
    for args in target.backend.each_load_args():
        generator.run(args, ["--workload", "evalsha", "--requests", 1])


def load_sample(target, words, seconds=0.0):
    """
    One run of bench_load, with the processor time that it meanwhile cost the proxy and the servers; connecting and what comes
    before the measured part is not in it.
    """
    watched = target.pids + target.backend.pids
    with measure.Others(watched) as others:
        sample = generator.run(target.load_args(), words + ["--watch", ",".join(map(str, watched))], seconds)
    sample["others_share"] = round(others.share, 3)
    spent = sample.pop("watched_cpu_seconds")
    if target.pids:
        sample["proxy_cpu"] = sum(spent[: len(target.pids)])
    if target.backend.pids:
        sample["redis_cpu"] = sum(spent[len(target.pids) :])
    if sample["errors"]:
        sample["refused"] = "%d errors in %d requests, the first: %s" % (sample["errors"], sample["requests"], sample["first_error"])
    return sample


def deliveries(sample, subscribers):
    """A sample of fan-out, with messages delivered for its requests."""
    sample["published"] = sample["requests"]
    sample["requests"] *= subscribers
    sample["per_second"] *= subscribers
    return sample


def attempt(measure_it, *args):
    """A sample, or one that says why there is none."""
    try:
        return measure_it(*args)
    except (generator.LoadFailed, harness.ConnectionClosed, harness.ReplyError, OSError, AssertionError) as e:
        return {"refused": " ".join(str(e).split())[:300]}


def show(row, kind, sample):
    """One line of progress; the table goes to standard output alone."""
    parts = ["%s %.4g" % (name, sample[name]) for name in SHOWN if name in sample]
    if sample.get("requests") and "proxy_cpu" in sample:
        parts.append("proxy %.2f s/million" % (sample["proxy_cpu"] * 1e6 / sample["requests"]))
    print("    %-12s %-12s %s" % (row.name, kind.name, sample.get("refused") or ", ".join(parts)), file=sys.stderr)


def write_json(record, path):
    folder = os.path.dirname(path)
    if folder:
        os.makedirs(folder, exist_ok=True)
    with open(path + ".new", "w") as f:
        json.dump(record, f, indent=1)
        f.write("\n")
    os.replace(path + ".new", path)
