"""
`./dev bench meta`: the metadata service beside etcd, three nodes each on this machine and the same disk, in turn: round
after round, row after row, one right after the other, so that what disturbs the machine disturbs both.
"""

import argparse
import os
import sys

import harness
import meta_rows
import meta_services
import meta_table
import session

DESCRIPTION = """keyway-meta beside etcd (apt install etcd-server), three nodes each, interleaved on this machine. Prints a Markdown
table with the goals and writes the samples of every round as JSON."""
JSON = os.path.join(harness.REPO, "build", "bench-meta.json")
SHOWN = ("per_second", "p50_us", "p99_us", "sent_max_us", "push_max_ms", "used_mb", "snapshot_s", "stall_ms")


def parse(words):
    parser = argparse.ArgumentParser("./dev bench meta", description=DESCRIPTION)
    parser.add_argument("--rounds", type=positive, default=3, help="how often everything is measured (%(default)s)")
    parser.add_argument("--quick", action="store_true", help="short runs on little data: to try things, not to quote them")
    parser.add_argument("--only", metavar="NAME,...", default="", help="these rows; `put*` is any that begins so")
    parser.add_argument("--services", metavar="NAME,...", default="", help="of: %s" % ", ".join(meta_services.SERVICES))
    parser.add_argument("--seconds", type=float, help="that a run of requests takes (5; 0.5 with --quick)")
    parser.add_argument("--kills", type=positive, help="of leaders, over all rounds (20; 2 with --quick)")
    parser.add_argument("--json", default=JSON, help="where the samples go (%(default)s)")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    options = parser.parse_args(words)
    options.seconds = options.seconds or (0.5 if options.quick else 5.0)
    options.kills = options.kills or (2 if options.quick else 20)
    return options


def positive(text):
    value = int(text)
    if value < 1:
        raise ValueError
    return value


def chosen_services(options):
    """Those that --services names; else all, but etcd only where it is installed, which is said."""
    known = meta_services.SERVICES
    wanted = [name for name in options.services.split(",") if name]
    unknown = set(wanted) - set(known)
    if unknown:
        raise SystemExit("bench: no service %s; there are: %s" % (", ".join(sorted(unknown)), ", ".join(known)))
    chosen = [service for name, service in known.items() if name in wanted or not wanted]
    if meta_services.Etcd not in chosen or meta_services.Etcd.installed():
        return chosen
    if wanted:
        raise SystemExit("bench: there is no etcd on this machine (apt install etcd-server)")
    print("bench: there is no etcd on this machine (apt install etcd-server): Keyway alone", file=sys.stderr)
    return [service for service in chosen if service is not meta_services.Etcd]


class Run(session.Session):
    """The services, started when first asked for; ended with the session."""

    def __init__(self, options, classes):
        super().__init__("meta", options, classes)
        self._services = {}
        for service in classes:
            self.record["targets"][service.name] = {"version": service.version(), "note": service.note}

    def service(self, service_class):
        if service_class not in self._services:
            service = service_class()
            self._stack.callback(service.close)
            self._services[service_class] = service
        return self._services[service_class]


def one_sample(run, row, service_class):
    return row.sample(service_class if row.own else run.service(service_class))


def show(row, service_class, sample):
    parts = ["%s %.4g" % (name, sample[name]) for name in SHOWN if name in sample]
    if "gaps_ms" in sample:
        parts.append("gaps " + " ".join("%.0f" % gap for gap in sample["gaps_ms"]) + " ms")
    print("    %-14s %-8s %s" % (row.name, service_class.name, sample.get("refused") or ", ".join(parts)), file=sys.stderr)


def one_round(run, rows, number):
    for row in rows:
        classes = [service for service in run.kinds if row.others or service is meta_services.Keyway]
        # Nobody is always first.
        turn = number % len(classes) if classes else 0
        for service_class in classes[turn:] + classes[:turn]:
            sample = session.attempt(one_sample, run, row, service_class)
            run.add(row.name, service_class.name, sample)
            show(row, service_class, sample)
    run.end_round()


def main(words):
    options = parse(words)
    rows = session.chosen_rows(meta_rows.table_of(options), options.only)
    if options.list:
        for row in rows:
            print("%-14s %s" % (row.name, row.title))
        return
    if not os.access(harness.bin_path("bench_meta"), os.X_OK):
        raise SystemExit("bench: there is no %s (it wants libnghttp2-dev)" % harness.bin_path("bench_meta"))
    with Run(options, chosen_services(options)) as run:
        run.describe_rows(rows)
        for number in range(options.rounds):
            print("round %d of %d" % (number + 1, options.rounds), file=sys.stderr)
            one_round(run, rows, number)
        print(meta_table.render(run.record))
