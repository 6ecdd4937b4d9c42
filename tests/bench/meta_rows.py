"""
What `./dev bench meta` measures, one row each: requests, failover, pushes, large states.

A row makes a sample of a service. Rows that want a service of their own (`own`) are given its class, all others the
shared one, which is level and has a leader.
"""

import os
import subprocess
import threading
import time

import generator
import harness
import measure
import meta_load
import meta_services

MS = 1000.0  # microseconds
MB = 1 << 20


class Row:
    """`others`: asked of the services beside Keyway's as well."""

    def __init__(self, name, title, sample, others=False, own=False):
        self.name, self.title, self.sample, self.others, self.own = name, title, sample, others, own


# ---- requests


def load(workload, clients, seconds):
    """Clients at the leader, where a request takes the fewest ways."""

    def sample(service):
        watched = service.pids()
        words = meta_load.words_of(service, [service.leader()], workload, "--clients", clients, "--seconds", seconds,
                                   "--warmup", seconds / 5, "--keys", 1000)
        if workload == "get":
            fill = meta_load.words_of(service, [service.leader()], "put", "--sequential", "--requests", 1000, "--clients", 8)
            meta_load.run(fill)
        with measure.Others(watched) as others, measure.Processor({"nodes": watched}) as processor:
            result = meta_load.run(words, seconds)
        if result["missing"]:
            raise AssertionError("%d reads found nothing" % result["missing"])
        result["others_share"] = round(others.share, 3)
        result["nodes_cpu"] = processor.spent["nodes"]
        return result

    return sample


# ---- failover


def failover(kills):
    """kill -9 of the leader, again and again; in between the killed one comes back and is level with the others."""

    def sample(service):
        gaps = []
        for _ in range(kills):
            service.wait_level()
            leader = service.leader()
            others = [node for node in service.nodes if node is not leader]
            result = meta_load.run(meta_load.words_of(service, others, "failover", "--kill", leader.pid))
            gaps.append(result["gap_us"] / MS)
            service.restart(leader)
        service.wait_level()
        return {"gaps_ms": gaps}

    return sample


# ---- pushes


def nodes_text(ports, turned):
    """CLUSTER NODES of three shards; turned, two of them have changed places."""
    ranges = ["0-5460", "5461-10922", "10923-16383"]
    if turned:
        ranges[0], ranges[1] = ranges[1], ranges[0]
    lines = []
    for i, port in enumerate(ports):
        node_id, primary = "%040x" % (i + 1), "%040x" % (i - len(ranges) + 1)
        address = "%s:%d@%d" % (harness.HOST, port, port + 10000)
        if i < len(ranges):
            epoch = 10 + i + (100 if turned else 0)
            lines.append("%s %s %smaster - 0 0 %d connected %s" % (node_id, address, "" if i else "myself,", epoch, ranges[i]))
        else:
            lines.append("%s %s slave %s 0 0 1 connected" % (node_id, address, primary))
    return "\n".join(lines) + "\n"


def texts():
    """Two maps of the same six nodes, of which none is there: the leader sees nothing that it would change."""
    ports = [harness.free_port() for _ in range(6)]
    return [nodes_text(ports, turned) for turned in (False, True)]


def push(watchers, changes, at_leader=False):
    """Watchers at all nodes in turns; or all at the leader, where proxies go as soon as they know it."""

    def sample(service):
        folder = harness.temp_dir("bench-meta")
        files = []
        for number, text in enumerate(texts()):
            files.append(os.path.join(folder, "%d" % number))
            with open(files[-1], "w") as f:
                f.write(text)
        service.wait_level()
        leader = service.leader()
        words = meta_load.words_of(service, [leader] if at_leader else service.nodes, "push", "--leader", leader.addr,
                                   "--watchers", watchers, "--changes", changes, "--text-a", files[0], "--text-b", files[1])
        return meta_load.run(words)

    return sample


def proxies(count, changes):
    """Real proxies, asked in turns which map they have: what the asking takes is in the figure."""

    def sample(service):
        started = []
        try:
            settings = {"meta-nodes": service.cluster.addresses(), "meta-secret": service.secret, "workers": 1}
            for _ in range(count):
                started.append(harness.Proxy(None, dict(settings), wait=False))
            gaps = proxy_gaps(service, started, changes)
        finally:
            for proxy in started:
                proxy.stop()
        return {"push_p50_ms": sorted(gaps)[len(gaps) // 2], "push_max_ms": max(gaps)}

    return sample


def map_version(client):
    for line in client.ok("INFO", "metadata").split(b"\r\n"):
        if line.startswith(b"meta_map_version:"):
            return int(line.split(b":")[1])
    return 0


def proxy_gaps(service, started, changes):
    """From sending a change until every proxy has it, milliseconds."""
    pair = texts()
    gaps = []
    with service.leader().raw() as leader:
        version = leader.ok("KEYWAY", "ATTACH", pair[1], "REPLACE")
        clients = [harness.wait_until(proxy.client, 20, "a proxy") for proxy in started]
        for client in clients:
            harness.wait_until(lambda c=client: map_version(c) >= version, 20, "the map at a proxy")
        for number in range(changes):
            began = time.monotonic()
            version = leader.ok("KEYWAY", "ATTACH", pair[number % 2], "REPLACE")
            for client in clients:
                while map_version(client) < version:
                    assert time.monotonic() < began + 20, "a proxy was left out"
            gaps.append((time.monotonic() - began) * 1000)
        for client in clients:
            client.close()
    return gaps


# ---- large states


class Fill:
    def __init__(self, table, records, size):
        self.table, self.records, self.size = table, records, size

    def write(self, service):
        words = meta_load.words_of(service, [service.leader()], "put", "--table", self.table, "--sequential", "--keys",
                                   self.records, "--requests", self.records, "--size", self.size, "--clients", 4, "--pipeline", 256)
        return meta_load.run(words, 600)


def number(node, section, name):
    return int(node.info(section)[name])


def snapshot_seconds(node):
    """How long writing the newest snapshot took: from the birth of its file to its last change, its name."""
    names = [name for name in os.listdir(node.data) if name.startswith("snapshot-") and not name.endswith(".meta")]
    paths = [os.path.join(node.data, name) for name in names if "tmp" not in name]
    if not paths:
        return None
    newest = max(paths, key=os.path.getmtime)
    words = subprocess.run(["stat", "-c", "%.9W %.9Z", newest], capture_output=True, text=True, check=True).stdout.split()
    return float(words[1]) - float(words[0])


def watch(service, rate, seconds):
    """
    A slow stream of writes at the leader, and PINGs at each node: the longest wait, milliseconds, is what a loop was busy
    with or the machine did not give it. The latter alone is what PINGs wait for at a plain redis-server meanwhile.
    """
    plain = harness.Server().start()
    plain.protocol, plain.secret = meta_services.Keyway.protocol, ""
    longest, failures = {}, []

    def probe(asked, node):
        words = meta_load.words_of(asked, [node], "ping", "--rate", 500, "--seconds", seconds)
        try:
            longest[node] = meta_load.run(words, seconds)["max_us"] / MS
        except generator.LoadFailed as e:
            failures.append(e)

    threads = [threading.Thread(target=probe, args=(plain, plain))]
    threads += [threading.Thread(target=probe, args=(service, node)) for node in service.nodes]
    for thread in threads:
        thread.start()
    words = meta_load.words_of(service, [service.leader()], "put", "--rate", rate, "--seconds", seconds)
    try:
        writes = meta_load.run(words, seconds)
    finally:
        for thread in threads:
            thread.join()
        plain.kill()
    if failures:
        raise failures[0]
    return writes, longest.pop(plain), max(longest.values())


WRITE_RATE = 300
# Often, so that there are some to look at. Three nodes write theirs to one disk at once here, which is not what the
# watchdog over a node's disk is for.
STATE_DIRECTIVES = {"snapshot-entries": 1000, "disk-timeout": 20000}


def state(fills, seconds):
    """A fresh service; the same slow stream before the state is there, which says what the machine does to an empty one."""

    def sample(service_class):
        service = service_class(STATE_DIRECTIVES)
        try:
            return state_sample(service, fills, seconds)
        except generator.LoadFailed as e:
            raise AssertionError("%s%s" % (e, last_words(service)))
        finally:
            service.close()

    return sample


def last_words(service):
    """What nodes that have ended said at the end."""
    ended = [node for node in service.nodes if not node.alive()]
    return "".join("; node %d ended: %s" % (node.id, node.log().strip().splitlines()[-1]) for node in ended)


def most(service, section, name):
    return max(number(node, section, name) for node in service.nodes)


def state_sample(service, fills, seconds):
    empty_writes, _, empty_ping = watch(service, WRITE_RATE, seconds)
    empty_turn = most(service, "raft", "longest_turn_us") / MS
    before = most(service, "memory", "used_memory")
    written = sum(fill.write(service)["seconds"] for fill in fills)
    service.wait_level()
    filled_turn = most(service, "raft", "longest_turn_us") / MS
    snapshots = {node.id: number(node, "raft", "snapshots") for node in service.nodes}
    writes, plain_ping, ping = watch(service, WRITE_RATE, seconds)
    taken = min(number(node, "raft", "snapshots") - snapshots[node.id] for node in service.nodes)
    if taken < 1:
        raise AssertionError("no snapshot was taken meanwhile")
    records = sum(fill.records for fill in fills)
    used = most(service, "memory", "used_memory")
    return {
        "records": records,
        "fill_per_second": records / written,
        "used_mb": used / MB,
        "record_bytes": (used - before) / records,
        "rss_mb": most(service, "memory", "used_memory_rss") / MB,
        "snapshot_s": max(snapshot_seconds(node) for node in service.nodes),
        "snapshots": taken,
        "stall_ms": most(service, "raft", "longest_turn_us") / MS,
        "stall_cpu_ms": most(service, "raft", "longest_turn_cpu_us") / MS,
        "stall_empty_ms": empty_turn,
        "stall_fill_ms": filled_turn,
        "ping_max_ms": ping,
        "ping_empty_max_ms": empty_ping,
        "ping_plain_max_ms": plain_ping,
        "write_p50_us": writes["p50_us"],
        "write_p99_us": writes["p99_us"],
        "write_max_us": writes["max_us"],
        "write_empty_p50_us": empty_writes["p50_us"],
        "write_empty_p99_us": empty_writes["p99_us"],
        "write_empty_max_us": empty_writes["max_us"],
    }


def table_of(options):
    """The rows; the quick ones are a hundredth in size."""
    part = 100 if options.quick else 1
    many = 64
    count = "{:,}".format
    changes = 5 if options.quick else 20
    scripts, locks = 100000 // part, 1000000 // part
    # Quick: enough writes for a snapshot all the same.
    stream = 4 if options.quick else 12
    kills = -(-options.kills // options.rounds)
    real = 3 if options.quick else 50
    return [
        Row("put-1", "writes of 100 bytes, 1 client", load("put", 1, options.seconds), others=True),
        Row("put-64", "writes of 100 bytes, 64 clients", load("put", many, options.seconds), others=True),
        Row("get-1", "linearizable reads, 1 client", load("get", 1, options.seconds), others=True),
        Row("get-64", "linearizable reads, 64 clients", load("get", many, options.seconds), others=True),
        Row("failover", "kill -9 of the leader to the next committed write", failover(kills), others=True),
        Row("push-50", "a change of the map to the last of 50 watchers at all nodes", push(50, changes)),
        Row("push-50-leader", "the same, all of them at the leader, where proxies go", push(50, changes, at_leader=True)),
        Row("push-proxies", "a change of the map to the last of %d real proxies" % real, proxies(real, changes)),
        Row("state-scripts", "%s scripts of 500 bytes and %s rules of 100" % (count(scripts), count(scripts)),
            state([Fill("scripts", scripts, 500), Fill("families", scripts, 100)], stream), own=True),
        Row("state-locks", "%s locks of 100 bytes" % count(locks), state([Fill("locks", locks, 100)], stream), own=True),
    ]
