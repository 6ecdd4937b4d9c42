"""
The workloads of `./dev bench proxies`, one row each: the words of bench_load, and the data that must be there.

`fill` are bench_load's words for the data; a workload that changes it (`changes`) is preceded by a fresh fill each time,
so that every proxy begins with the same. `seconds` is a factor on the time that a run takes. `workers` set: the row runs
with that many instead of those of the command line, in proxies that can be told so. `floor` set: targets.FLOOR takes part, with
replies of that many bytes.
"""


IDLE = "idle"
BURST = "idle-burst"


class Workload:
    def __init__(self, name, title, load, fill="", changes=False, seconds=1, workers=None, floor=None, subscribers=0,
                 warmup=2000):
        self.name, self.title, self.fill, self.changes = name, title, fill, changes
        self.seconds, self.workers, self.floor, self.subscribers = seconds, workers, floor, subscribers
        self.load = load.split() + ["--warmup", warmup]
        if subscribers:
            self.load += ["--subscribers", subscribers]
        self.is_idle = load in (IDLE, BURST)
        self.is_burst = load == BURST
        self.is_script = "evalsha" in self.load


def strings(name, title, words, keys, size=64, **more):
    """A row over that many keys of that many bytes."""
    data = "--keys %d --size %d" % (keys, size)
    return Workload(name, title, "%s %s" % (words, data), "--workload set " + data, **more)


def table(keys, idle):
    """The rows, for that many small keys and idle connections."""
    return [
        strings("get", "GET 64 B, 50 connections", "--workload get", keys, floor=64),
        strings("set", "SET 64 B, 50 connections", "--workload set", keys, floor=64),
        strings("get-p16", "GET, pipeline 16", "--workload get --pipeline 16", keys),
        strings("set-p16", "SET, pipeline 16", "--workload set --pipeline 16", keys),
        strings("get-p32", "GET, pipeline 32", "--workload get --pipeline 32", keys),
        strings("set-p32", "SET, pipeline 32", "--workload set --pipeline 32", keys),
        strings("get-p64", "GET, pipeline 64", "--workload get --pipeline 64", keys),
        strings("set-p64", "SET, pipeline 64", "--workload set --pipeline 64", keys),
        strings("get-1000c", "GET, 1,000 connections", "--workload get --connections 1000", keys, floor=64),
        strings("set-1000c", "SET, 1,000 connections", "--workload set --connections 1000", keys),
        strings("mget10", "MGET of 10 keys over the slots", "--workload mget10", keys),
        strings("get-16k", "GET 16 KiB", "--workload get", 1000, 16384, floor=16384),
        strings("get-1m", "GET 1 MiB, 8 connections", "--workload get --connections 8", 32, 1 << 20, warmup=32),
        Workload("evalsha", "EVALSHA, a rate limiter", "--workload evalsha --keys %d" % keys, changes=True),
        Workload("leaderboard", "leaderboard mix", "--workload leaderboard --keys %d" % keys, "--workload leaderboard --keys %d" % keys),
        Workload("stream", "XADD and XREADGROUP", "--workload stream", changes=True),
        Workload("fanout", "PUBLISH to 100 subscribers, messages delivered", "--workload fanout", subscribers=100, warmup=100),
        strings("rate-5000", "GET and SET, 5,000/s", "--workload mixed --rate 5000", keys, seconds=2),
        strings("rate-20000", "GET and SET, 20,000/s", "--workload mixed --rate 20000", keys, seconds=2),
        strings("get-2w", "GET, two workers", "--workload get", keys, workers=2),
        strings("get-p32-2w", "GET, pipeline 32, two workers", "--workload get --pipeline 32", keys, workers=2),
        Workload("idle", "{:,} connections that asked once, one by one".format(idle), IDLE),
        Workload("idle-burst", "the same, all at once", BURST),
    ]
