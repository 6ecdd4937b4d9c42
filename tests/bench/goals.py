"""
What has been promised, as data: one row a goal. verdict() compares a stored run with it.

A goal is a bound on a metric of Keyway in a workload: `of` says of what. PEER: a multiple of what the peer named REFERENCE
reached in the same run; a workload's name: a multiple of Keyway's own figure there; PLAIN: the figure itself.
"""

REFERENCE = "predixy"
PEER = "peer"
PLAIN = "plain"
AT_MOST = "at most"
AT_LEAST = "at least"


class Goal:
    def __init__(self, workload, metric, way, bound, of=PEER):
        self.workload, self.metric, self.way, self.bound, self.of = workload, metric, way, bound, of


PROCESSOR = {
    "get": 0.80, "set": 0.80,
    "get-p32": 0.55, "set-p32": 0.55,
    "get-1000c": 0.80, "set-1000c": 0.80,
    "mget10": 0.65,
    "get-16k": 0.65,
    "evalsha": 0.80,
    "leaderboard": 0.80,
}
FASTER = {"get-p32": 1.15, "set-p32": 1.15, "mget10": 1.15, "get-16k": 1.15}

GOALS = (
    [Goal(name, "cpu", AT_MOST, bound) for name, bound in PROCESSOR.items()]
    + [Goal(name, "redis_cpu", AT_MOST, 1.0) for name in PROCESSOR]
    + [Goal(name, "throughput", AT_LEAST, FASTER.get(name, 1.0)) for name in PROCESSOR]
    + [Goal(name, metric, AT_MOST, 1.0) for name in ("rate-5000", "rate-20000") for metric in ("p50", "p99")]
    + [
        Goal("get-2w", "cpu", AT_MOST, 1.1, of="get"),
        Goal("get-p32-2w", "cpu", AT_MOST, 1.1, of="get-p32"),
        Goal("idle", "idle_bytes", AT_MOST, 512, of=PLAIN),
        Goal("board-1m", "p99", AT_MOST, 1000, of=PLAIN),
        Goal("board-5m", "p99", AT_MOST, 1000, of=PLAIN),
        Goal("xadd", "throughput", AT_LEAST, 200000, of=PLAIN),
        Goal("value-512m", "growth_mb", AT_MOST, 8, of=PLAIN),
        Goal("mget-10000", "key_cpu", AT_MOST, 1.25, of="mget-1000"),
    ]
)


def find(workload, metric):
    return next((goal for goal in GOALS if goal.workload == workload and goal.metric == metric), None)


def verdict(goal, value):
    """'met' or 'not met'."""
    return "met" if (value <= goal.bound if goal.way == AT_MOST else value >= goal.bound) else "not met"
