"""A stored run of `./dev bench meta` as Markdown, with the goals and whether it is met. All of it comes from the JSON."""

import statistics

import goals
import table

OURS, THEIRS = "keyway", "etcd"
NOTHING = table.NOTHING


class Figure:
    """A metric of some rows: how it is read off a sample, and written. `whole`: of all samples of a run at once."""

    def __init__(self, name, read, digits=0, whole=False):
        self.name, self.read, self.digits, self.whole = name, read, digits, whole

    def text(self, value):
        return "{:,.{}f}".format(value, self.digits)


def field(name, scale=1.0):
    return lambda sample: sample[name] * scale


def of_gaps(judge):
    return lambda samples: judge([gap for sample in samples for gap in sample["gaps_ms"]])


MILLI = 0.001

# name of the row, or what it begins with -> figures
FIGURES = {
    "put-": [
        Figure("per second", field("per_second")),
        Figure("p50 ms", field("p50_us", MILLI), 2),
        Figure("p99 ms", field("p99_us", MILLI), 2),
        Figure("p99.9 ms", field("p999_us", MILLI), 2),
    ],
    "failover": [
        Figure("median ms", of_gaps(statistics.median), whole=True),
        Figure("worst ms", of_gaps(max), whole=True),
        Figure("kills", of_gaps(len), whole=True),
    ],
    "push-50": [
        Figure("from sending, median ms", field("sent_p50_us", MILLI), 2),
        Figure("from sending, worst ms", field("sent_max_us", MILLI), 2),
        Figure("from the reply, median ms", field("reply_p50_us", MILLI), 2),
        Figure("from the reply, worst ms", field("reply_max_us", MILLI), 2),
    ],
    "push-proxies": [
        Figure("from sending, median ms", field("push_p50_ms"), 2),
        Figure("from sending, worst ms", field("push_max_ms"), 2),
    ],
    "state-": [
        Figure("memory MB", field("used_mb"), 1),
        Figure("bytes a record", field("record_bytes")),
        Figure("resident MB", field("rss_mb"), 1),
        Figure("written a second", field("fill_per_second")),
        Figure("snapshot s", field("snapshot_s"), 2),
        Figure("longest turn of a loop ms", field("stall_ms"), 1),
        Figure("the same, processor time", field("stall_cpu_ms"), 1),
        Figure("the same, behind the fill", field("stall_fill_ms"), 1),
        Figure("the same, still empty", field("stall_empty_ms"), 1),
        Figure("longest PING ms", field("ping_max_ms"), 1),
        Figure("the same, still empty", field("ping_empty_max_ms"), 1),
        Figure("the same, a plain redis-server", field("ping_plain_max_ms"), 1),
        Figure("write p50 ms", field("write_p50_us", MILLI), 2),
        Figure("write p99 ms", field("write_p99_us", MILLI), 2),
        Figure("longest write ms", field("write_max_us", MILLI), 1),
        Figure("the same, still empty", field("write_empty_max_us", MILLI), 1),
    ],
}
FIGURES["get-"] = FIGURES["put-"]


class Goal:
    """`times`: the bound is a multiple of etcd's figure of the same round."""

    def __init__(self, row, figure, way, bound, times=False):
        self.row, self.figure, self.way, self.bound, self.times = row, figure, way, bound, times

    def words(self):
        sign = "&ge;" if self.way == goals.AT_LEAST else "&le;"
        return "%s %s%s" % (sign, "{:,g}".format(self.bound), " x etcd" if self.times else "")


GOALS = [
    Goal("put-1", "per second", goals.AT_LEAST, 1.5, times=True),
    Goal("put-1", "p99 ms", goals.AT_MOST, 1, times=True),
    Goal("put-64", "per second", goals.AT_LEAST, 5, times=True),
    Goal("put-64", "p99 ms", goals.AT_MOST, 1, times=True),
    Goal("get-64", "per second", goals.AT_LEAST, 5, times=True),
    Goal("failover", "median ms", goals.AT_MOST, 100),
    Goal("failover", "worst ms", goals.AT_MOST, 350),
    Goal("push-50", "from sending, worst ms", goals.AT_MOST, 20),
    Goal("push-50-leader", "from sending, worst ms", goals.AT_MOST, 20),
    Goal("push-proxies", "from sending, worst ms", goals.AT_MOST, 20),
    Goal("state-scripts", "longest turn of a loop ms", goals.AT_MOST, 20),
    Goal("state-locks", "longest turn of a loop ms", goals.AT_MOST, 20),
]


def figures_of(row):
    return next(figures for begin, figures in FIGURES.items() if row.startswith(begin))


def values(run, row, service, figure):
    """One figure a round, or one for all; none where a round has none."""
    samples = run["samples"].get(row, {}).get(service, [])
    if not samples or any("refused" in sample for sample in samples):
        return []
    return [figure.read(samples)] if figure.whole else [figure.read(sample) for sample in samples]


def cell(run, row, service, figure):
    found = values(run, row, service, figure)
    if not found:
        return NOTHING
    text = figure.text(statistics.median(found))
    if len(found) > 1:
        text += " (%s-%s)" % (figure.text(min(found)), figure.text(max(found)))
    return text


def ratios(run, row, figure):
    pairs = zip(values(run, row, OURS, figure), values(run, row, THEIRS, figure))
    return [ours / theirs for ours, theirs in pairs if theirs]


def goal_text(run, row, figure):
    goal = next((goal for goal in GOALS if goal.row == row and goal.figure == figure.name), None)
    if goal is None:
        return NOTHING
    found = ratios(run, row, figure) if goal.times else values(run, row, OURS, figure)
    if not found:
        return goal.words() + ": ?"
    # A multiple is the median of the rounds; a bound on what must never be longer holds for every round.
    value = statistics.median(found) if goal.times else max(found)
    return "%s: %s" % (goal.words(), goals.verdict(goal, value))


def row_lines(run, workload):
    row = workload["name"]
    for figure in figures_of(row):
        cells = [cell(run, row, service, figure) for service in run["targets"]]
        if set(cells) == {NOTHING}:
            continue
        ratio = ratios(run, row, figure)
        words = [workload["title"], "`%s`" % row, figure.name] + cells
        if len(run["targets"]) > 1:
            words.append("%.2f" % statistics.median(ratio) if ratio else NOTHING)
        yield table.row_line(words + [goal_text(run, row, figure)])


def render(run):
    head = ["row", "", "figure"] + list(run["targets"]) + (["keyway / etcd"] if len(run["targets"]) > 1 else []) + ["goal"]
    lines = table.about_lines(run) + [table.row_line(head), table.row_line(["---"] * len(head))]
    for workload in run["workloads"]:
        lines += row_lines(run, workload)
    return "\n".join(lines)
