"""
What bench_load is not for, because one request is all there is: a very large value, and MGET of very many keys. What
counts is the proxy's memory and processor time, so a plain client is good enough.
"""

import statistics
import time

import harness
import measure

MB = 1 << 20
BLOCK = bytes(range(256)) * (MB // 256)
VALUE = "v" * 64
SCRATCH = memoryview(bytearray(MB))


def receive(client, size):
    """Exactly that many bytes, in a buffer that is good until the next call."""
    buffer = SCRATCH[:size]
    got = 0
    while got < size:
        more = client.sock.recv_into(buffer[got:])
        if not more:
            raise harness.ConnectionClosed("closed after %d of %d bytes" % (got, size))
        got += more
    return buffer


def expect(client, wanted):
    """The next bytes are these. An error reply is named."""
    begin = bytes(receive(client, min(len(wanted), 5)))
    if begin[:1] == b"-" != wanted[:1]:
        rest = client.sock.recv(200)
        raise harness.ReplyError((begin[1:] + rest).decode("latin1").split("\r\n")[0])
    if begin + bytes(receive(client, len(wanted) - len(begin))) != wanted:
        raise AssertionError("other bytes than those that were written")


def one_value(target, megabytes):
    """Writes and reads back one value; how far the proxy's memory rose meanwhile above what it was."""
    pid = target.pids[0]
    size = b"$%d\r\n" % (megabytes * MB)
    with target.client() as client:
        client.ok("GET", "large")
        measure.reset_peak(pid)
        before = measure.peak_bytes(pid)
        times = [time.monotonic()]
        client.send(b"*3\r\n$3\r\nSET\r\n$5\r\nlarge\r\n" + size)
        for _ in range(megabytes):
            client.send(BLOCK)
        client.send(b"\r\n")
        expect(client, b"+OK\r\n")
        times.append(time.monotonic())
        client.cmd("GET", "large")
        expect(client, size)
        for _ in range(megabytes):
            expect(client, BLOCK)
        expect(client, b"\r\n")
        times.append(time.monotonic())
        grown = max(0, measure.peak_bytes(pid) - before)
        client.ok("UNLINK", "large")
    return {"megabytes": megabytes, "growth_mb": grown / MB, "write_seconds": times[1] - times[0], "read_seconds": times[2] - times[1]}


def key(number):
    return "mget:%d" % number


def write_keys(target, count):
    """The keys of many_keys(), a thousand in a request."""
    with target.client() as client:
        for first in range(0, count, 1000):
            words = [word for number in range(first, min(first + 1000, count)) for word in (key(number), VALUE)]
            client.ok("MSET", *words)


def many_keys(target, keys, requests):
    """MGET of so many keys, over all slots, one request after the other; the proxy's processor time for one key."""
    request = harness.encode("MGET", *[key(number) for number in range(keys)])
    header = b"*%d\r\n" % keys
    value = b"$%d\r\n%s\r\n" % (len(VALUE), VALUE.encode())
    whole = value * min(keys, 1000)
    times = []
    with target.client() as client:
        with measure.Processor({"proxy": target.pids, "redis": target.backend.pids}) as processor:
            for _ in range(requests):
                began = time.monotonic()
                client.send(request)
                expect(client, header)
                for _ in range(keys // 1000):
                    expect(client, whole)
                times.append(time.monotonic() - began)
    return {"requests": requests, "keys": keys, "key_cpu_us": processor.spent["proxy"] * 1e6 / (requests * keys),
            "key_us": statistics.median(times) * 1e6 / keys, "redis_cpu": processor.spent["redis"]}
