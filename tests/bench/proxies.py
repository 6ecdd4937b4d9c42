"""
`./dev bench proxies`: Redis Cluster asked directly, Keyway, and other proxies, in turn: round after round, workload after
workload, one target right after the other, so that what disturbs the machine disturbs all.
"""

import contextlib
import sys

import generator
import measure
import session
import table
import targets
import workloads

DESCRIPTION = """Direct Redis Cluster, the floor, Keyway, nutcracker, haproxy and other proxies, interleaved on this machine.
Prints a Markdown table and writes the samples of every round as JSON."""


def parse(words):
    parser = session.parser("proxies", DESCRIPTION, 5, "bench.json")
    parser.add_argument("--seconds", type=float, help="that a run takes (1.5; 0.2 with --quick)")
    parser.add_argument("--connections", type=int, help="idle ones, whose memory is measured (10,000; 500 with --quick)")
    parser.add_argument("--list", action="store_true", help="print the rows and end")
    options = parser.parse_args(words)
    options.seconds = options.seconds or (0.2 if options.quick else 1.5)
    options.connections = options.connections or (500 if options.quick else 10000)
    return options


def concerns(row, kind):
    """Whether a row is for this kind of target at all."""
    if kind is targets.FLOOR:
        return row.floor is not None
    if row.is_idle:
        return kind is not targets.DIRECT
    return row.workers is None or kind.can_workers


def idle_sample(run, row, kind):
    """A fresh process, or memory that earlier work has left would hide what connections take."""
    count = min(run.options.connections, (run.descriptors - 500) // kind.descriptors)
    with run.fresh(kind, run.options.workers) as target:
        # Its links, pools and tables come first.
        generator.run(target.load_args(), ["--workload", "get", "--requests", 1000, "--keys", 1000])
        before = measure.anonymous_bytes(target.pids[0])
        with generator.AtOnce(target.port_args(), count) if row.is_burst else OneByOne(target, count):
            grown = measure.anonymous_bytes(target.pids[0]) - before
    return {"connections": count, "grown_bytes": grown, "idle_bytes": grown / count}


class OneByOne:
    """Connections that have asked once, each before the next was made."""

    def __init__(self, target, count):
        self.target, self.count = target, count

    def __enter__(self):
        with contextlib.ExitStack() as stack:
            for _ in range(self.count):
                stack.enter_context(self.target.client()).ok("GET", "nothing")
            self.stack = stack.pop_all()

    def __exit__(self, *_):
        self.stack.close()


def one_sample(run, row, kind, round_number):
    if row.is_idle:
        return idle_sample(run, row, kind)
    target = run.target(kind, row.workers, row.floor if kind is targets.FLOOR else None)
    session.fill_for(target, row.fill)
    if row.changes:
        target.backend.holds = None
    if row.is_script:
        session.load_scripts(target)
    seconds = run.options.seconds * row.seconds
    sample = session.load_sample(target, row.load + ["--seconds", seconds, "--seed", round_number + 1], seconds)
    if row.fill and sample["nils"]:
        raise generator.LoadFailed("%d of %d keys were not there" % (sample["nils"], sample["requests"]))
    return session.deliveries(sample, row.subscribers) if row.subscribers else sample


def one_round(run, rows, round_number):
    for row in rows:
        kinds = [kind for kind in run.kinds if concerns(row, kind)]
        # Nobody is always first, on data that has just been written, or always last.
        turn = round_number % len(kinds) if kinds else 0
        for kind in kinds[turn:] + kinds[:turn]:
            sample = session.attempt(one_sample, run, row, kind, round_number)
            run.add(row.name, kind.name, sample)
            session.show(row, kind, sample)
    run.end_round()


def main(words):
    options = parse(words)
    rows = session.chosen_rows(workloads.table(10000 if options.quick else 100000, options.connections), options.only)
    if options.list:
        for row in rows:
            print("%-12s %s" % (row.name, row.title))
        return
    with session.Session("proxies", options, session.chosen_kinds(options, targets.OWN)) as run:
        for kind in run.kinds:
            if kind is not targets.FLOOR:  # which starts with a row, whose replies it is to have
                run.target(kind)
        run.describe_rows(rows)
        for round_number in range(options.rounds):
            print("round %d of %d" % (round_number + 1, options.rounds), file=sys.stderr)
            one_round(run, rows, round_number)
        print(table.render(run.record))
