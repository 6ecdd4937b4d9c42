"""
What is read off a sample, and medians over the rounds of a run.

A sample is what bench_load printed with proxy_cpu and redis_cpu, processor seconds, added. One with `refused` says why
there are no figures, and has none.
"""

import statistics


def per_million(field):
    return lambda sample: sample[field] * 1e6 / sample["requests"] if field in sample and sample["requests"] else None


METRICS = {
    "cpu": per_million("proxy_cpu"),
    "redis_cpu": per_million("redis_cpu"),
    "throughput": lambda sample: sample.get("per_second"),
    "p50": lambda sample: sample.get("p50_us"),
    "p99": lambda sample: sample.get("p99_us"),
    "p999": lambda sample: sample.get("p999_us"),
    "idle_bytes": lambda sample: sample.get("idle_bytes"),
    "fill": lambda sample: sample.get("fill_per_second"),
    "growth_mb": lambda sample: sample.get("growth_mb"),
    "key_cpu": lambda sample: sample.get("key_cpu_us"),
    "key_time": lambda sample: sample.get("key_us"),
}


def rounds(run, workload, target, metric):
    """The figure of each round, None where there is none."""
    samples = run["samples"].get(workload, {}).get(target, [])
    return [None if "refused" in sample else METRICS[metric](sample) for sample in samples]


def spread(run, workload, target, metric):
    """(median, least, most) over the rounds, or None when a round has no figure."""
    values = rounds(run, workload, target, metric)
    if not values or None in values:
        return None
    return statistics.median(values), min(values), max(values)


def ratio(run, above, below, metric):
    """
    The median over the rounds of one figure divided by another, each a (workload, target). Both were taken within
    seconds of each other, so what disturbs the machine for a while touches both.
    """
    pairs = list(zip(rounds(run, *above, metric), rounds(run, *below, metric)))
    if not pairs or any(a is None or not b for a, b in pairs):
        return None
    return statistics.median(a / b for a, b in pairs)


def refusal(run, workload, target):
    """Why a target has no figures in a workload; None when it has."""
    samples = run["samples"].get(workload, {}).get(target, [])
    return next((sample["refused"] for sample in samples if "refused" in sample), None)


def others(run):
    """(median, most) share of the machine that other programs took while samples were taken; None where that is not known."""
    shares = [sample["others_share"] for by_target in run["samples"].values() for samples in by_target.values()
              for sample in samples if "others_share" in sample]
    return (statistics.median(shares), max(shares)) if shares else None
