"""
A stored run as Markdown. Everything comes from the JSON (and the bounds from goals.py), so that a table printed again is
the same, and the ones of docs/performance.md are never typed.
"""

import goals
import metrics

OURS = "keyway"
NOTHING = "-"


class Column:
    """One metric of a table: its name where a cell has several, and how its figures are written."""

    def __init__(self, metric, name="", digits=0):
        self.metric, self.name, self.digits = metric, name, digits

    def text(self, value):
        return "{:,.{}f}".format(value, self.digits)


class Table:
    """`without_proxy`: direct requests have such a figure too. It shows the workloads that have figures for it."""

    def __init__(self, title, columns, without_proxy=False):
        self.title, self.columns, self.without_proxy = title, columns, without_proxy


TABLES = {
    "proxies": [
        Table("Processor time of the proxy, seconds per million requests", [Column("cpu", digits=2)]),
        Table("Requests per second", [Column("throughput")], without_proxy=True),
        Table("Latency in microseconds, p50 / p99 / p99.9",
              [Column("p50", "p50"), Column("p99", "p99"), Column("p999", "p99.9")], without_proxy=True),
        Table("Processor time of Redis behind it, seconds per million requests", [Column("redis_cpu", digits=2)], without_proxy=True),
        Table("Memory of an idle connection, bytes", [Column("idle_bytes")]),
    ],
    "scale": [
        Table("Requests or messages per second", [Column("throughput")], without_proxy=True),
        Table("Latency in microseconds, p50 / p99 / p99.9",
              [Column("p50", "p50"), Column("p99", "p99"), Column("p999", "p99.9")], without_proxy=True),
        Table("Processor time of the proxy, seconds per million requests or messages", [Column("cpu", digits=2)]),
        Table("Members per second while the board is filled", [Column("fill")], without_proxy=True),
        Table("Growth of the proxy's memory, MB", [Column("growth_mb", digits=1)]),
        Table("Processor time of the proxy, and time in all, for a key of MGET, microseconds",
              [Column("key_cpu", "processor", digits=2), Column("key_time", "in all", digits=2)]),
    ],
}


def cell(run, workload, target, columns):
    """Medians; with one metric its least and most as well."""
    spreads = [metrics.spread(run, workload, target, column.metric) for column in columns]
    if None in spreads:
        return NOTHING
    texts = [column.text(spread[0]) for column, spread in zip(columns, spreads)]
    if len(columns) == 1 and run["rounds"] > 1:
        return "%s (%s-%s)" % (texts[0], columns[0].text(spreads[0][1]), columns[0].text(spreads[0][2]))
    return " / ".join(texts)


def goal_text(run, workload, column):
    """'<= 0.80: met', with the figure in front unless the column before shows it."""
    goal = goals.find(workload, column.metric)
    if goal is None:
        return None
    sign = "&le;" if goal.way == goals.AT_MOST else "&ge;"
    if goal.of == goals.PLAIN:
        spread = metrics.spread(run, workload, OURS, column.metric)
        value, text = spread and spread[0], "%s %s" % (sign, "{:,g}".format(goal.bound))
    elif goal.of == goals.PEER:
        value = metrics.ratio(run, (workload, OURS), (workload, goals.REFERENCE), column.metric)
        text = "%s %.2f" % (sign, goal.bound)
    else:
        value = metrics.ratio(run, (workload, OURS), (goal.of, OURS), column.metric)
        text = "%s %.2f x `%s`" % (sign, goal.bound, goal.of)
        if value is not None:
            text = "%.2f x, %s" % (value, text)
    name = column.name + " " if column.name else ""
    return "%s%s: %s" % (name, text, "?" if value is None else goals.verdict(goal, value))


def goal_cell(run, workload, columns):
    found = [text for text in (goal_text(run, workload, column) for column in columns) if text]
    return "; ".join(found) or NOTHING


def ratio_cell(run, workload, columns):
    values = [metrics.ratio(run, (workload, OURS), (workload, goals.REFERENCE), column.metric) for column in columns]
    return NOTHING if None in values else " / ".join("%.2f" % value for value in values)


def row_line(words):
    return "| %s |" % " | ".join(words)


def table_lines(run, table):
    targets = [name for name in run["targets"] if name != "direct" or table.without_proxy]
    compared = goals.REFERENCE in targets and OURS in targets
    head = ["workload", ""] + targets + (["keyway / %s" % goals.REFERENCE] if compared else []) + ["goal"]
    rows = []
    for workload in run["workloads"]:
        name = workload["name"]
        cells = [cell(run, name, target, table.columns) for target in targets]
        if set(cells) == {NOTHING}:
            continue
        ratios = [ratio_cell(run, name, table.columns)] if compared else []
        rows.append(row_line([workload["title"], "`%s`" % name] + cells + ratios + [goal_cell(run, name, table.columns)]))
    if not rows:
        return []
    return ["### " + table.title, "", row_line(head), row_line(["---"] * len(head))] + rows + [""]


def about_lines(run):
    """The machine, the programs, and what had no figures."""
    facts = run["facts"]
    lines = ["%s; commit %s; %s processors (%s), Linux %s; redis-server %s; rounds: %d, shown are medians (least-most)." % (
        facts["date"], facts["commit"], facts["processors"], facts["processor"], facts["kernel"], facts["redis"], run["rounds"])]
    others = metrics.others(run)
    if others:
        lines.append("- other programs took %.0f %% of the processors meanwhile, at most %.0f %%" % (100 * others[0], 100 * others[1]))
    for name, target in run["targets"].items():
        words = [word for word in (target["version"], target["note"]) if word]
        if words:
            lines.append("- **%s**: %s" % (name, "; ".join(words)))
    for workload in run["workloads"]:
        for target in run["targets"]:
            why = metrics.refusal(run, workload["name"], target)
            if why is not None:
                lines.append("- `%s` has no figures for %s: %s" % (workload["name"], target, why))
    for name in sorted(set(run.get("ended", []))):
        lines.append("- %s ended by itself, and was started again: %d times" % (name, run["ended"].count(name)))
    return lines + [""]


def render(run):
    lines = about_lines(run)
    for table in TABLES[run["kind"]]:
        lines += table_lines(run, table)
    return "\n".join(lines)
