"""
`./dev bench scale`: single large things, as users have them. One leaderboard, one stream, one channel with many
subscribers, one huge value, one MGET of very many keys; through Keyway, and direct at the nodes where that says something.
"""

import sys
import time

import generator
import long_requests
import session
import table
import targets

DESCRIPTION = """Single large things through Keyway and direct at the nodes, interleaved: leaderboards of 1 and 5 million members
at a moderate rate, one stream written by pipelines, 1,000 subscribers of one channel, a value of 512 MB, MGET of up
to 100,000 keys. Prints a Markdown table and writes the samples of every round as JSON."""


class Row:
    """`sample` makes one of a target; `without_proxy`: direct requests are measured as well."""

    def __init__(self, name, title, sample, without_proxy=True):
        self.name, self.title, self.sample, self.without_proxy = name, title, sample, without_proxy


def board(members, rate, seconds):
    """Filled by a pipeline; then ZINCRBY, ZREVRANK, pages, ZSCORE at a rate that is kept whatever the replies do (open loop)."""
    words = "--workload leaderboard --boards 1 --keys {}".format(members).split()

    def sample(target):
        target.backend.flush()
        began = time.monotonic()
        generator.run(target.port_args(), words + ["--fill", "--requests", 1], session.FILL_SECONDS)
        filled = time.monotonic() - began
        result = session.load_sample(target, words + ["--warmup", rate // 10, "--rate", rate, "--seconds", seconds], seconds)
        return {**result, "fill_per_second": members / filled}

    return sample


def load(words, seconds):
    """A workload that begins with nothing."""
    words = words.split() + ["--warmup", 1000, "--seconds", seconds]

    def sample(target):
        target.backend.flush()
        return session.load_sample(target, words, seconds)

    return sample


def fanout(subscribers, seconds):
    words = ["--workload", "fanout", "--warmup", 50, "--seconds", seconds, "--subscribers", subscribers]

    def sample(target):
        return session.deliveries(session.load_sample(target, words, seconds), subscribers)

    return sample


def value(megabytes):
    def sample(target):
        target.backend.flush()
        return long_requests.one_value(target, megabytes)

    return sample


def mget(keys, total):
    def sample(target):
        if target.backend.holds != "mget":
            target.backend.flush()
            long_requests.write_keys(target, total)
            target.backend.holds = "mget"
        return long_requests.many_keys(target, keys, max(1, 3 * total // keys))

    return sample


def table_of(quick):
    """The rows; the quick ones are a hundredth in size."""
    part = 100 if quick else 1
    seconds = 0.3 if quick else 3
    members = [1000000 // part, 5000000 // part]
    most = 10000 if quick else 100000
    rate = 2000
    megabytes = 512 // (32 if quick else 1)
    rows = [
        Row("board-%dm" % millions, "board of {:,} members, {:,} requests/s".format(count, rate), board(count, rate, seconds))
        for millions, count in zip((1, 5), members)
    ]
    rows += [
        Row("xadd", "XADD to one stream, pipeline 32", load("--workload xadd --pipeline 32 --keys 1", seconds)),
        Row("fanout-1000", "1,000 subscribers of one channel, messages delivered", fanout(1000, seconds)),
        Row("value-512m", "value of %d MB, written and read" % megabytes, value(megabytes), without_proxy=False),
    ]
    for name, keys in (("mget-1000", most // 100), ("mget-10000", most // 10), ("mget-100000", most)):
        keys = max(1000, keys)
        rows.append(Row(name, "MGET of {:,} keys".format(keys), mget(keys, most), without_proxy=False))
    return rows


def main(words):
    options = session.parser("scale", DESCRIPTION, 3, "bench-scale.json").parse_args(words)
    rows = session.chosen_rows(table_of(options.quick), options.only)
    kinds = [kind for kind in targets.OWN if kind.name in ("direct", "keyway")]
    with session.Session("scale", options, session.chosen_kinds(options, kinds)) as run:
        run.describe_rows(rows)
        for number in range(options.rounds):
            print("round %d of %d" % (number + 1, options.rounds), file=sys.stderr)
            for row in rows:
                for kind in run.kinds:
                    if kind is not targets.DIRECT or row.without_proxy:
                        sample = session.attempt(lambda: row.sample(run.target(kind)))
                        run.add(row.name, kind.name, sample)
                        session.show(row, kind, sample)
            run.end_round()
        print(table.render(run.record))
