"""The programs of redis-tools as people use them: redis-cli by arguments and by pipes, redis-benchmark, inline by hand."""

import os
import re
import shutil
import socket
import subprocess
import tempfile
import threading
import unittest

import support

CLI = os.environ.get("KEYWAY_REDIS_CLI", "redis-cli")
BENCHMARK = os.environ.get("KEYWAY_REDIS_BENCHMARK", "redis-benchmark")


def cli(*args, stdin=b"", port=support.PORT, timeout=60 * support.TIME_SCALE):
    """Runs redis-cli to its end; answers (exit code, standard output, standard error)."""
    argv = [CLI, "-h", support.HOST, "-p", str(port), *map(str, args)]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def watch(*args, seconds=20 * support.TIME_SCALE):
    """What a redis-cli mode prints until it ends, or within a bounded time."""
    argv = ["stdbuf", "-oL", CLI, "-h", support.HOST, "-p", str(support.PORT), *args]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as proc:
        try:
            out, _ = proc.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            proc.terminate()
            out, _ = proc.communicate()
    return out.decode()


class Running:
    """A redis-cli mode that never ends by itself, read line by line while it runs."""

    def __init__(self, *args):
        argv = ["stdbuf", "-oL", CLI, "-h", support.HOST, "-p", str(support.PORT), *args]
        self.proc = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        self.text = ""
        self.reader = threading.Thread(target=self.read, daemon=True)
        self.reader.start()

    def read(self):
        for line in self.proc.stdout:
            self.text += line.decode().replace("\r", "\n")

    def until(self, pattern):
        """Waits until all that was printed has this in it."""
        return support.wait_until(lambda: re.search(pattern, self.text, re.M), "%r in %r" % (pattern, self.proc.args))

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.proc.terminate()
        self.proc.wait(20)
        self.reader.join(20)
        self.proc.stdout.close()
        if kind is not None:
            print("it printed: ..." + self.text[-500:])


def benchmark(*args, port=support.PORT):
    """Runs redis-benchmark to its end; answers (exit code, all it printed)."""
    argv = [BENCHMARK, "-h", support.HOST, "-p", str(port), *map(str, args)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=100 * support.TIME_SCALE)
    return done.returncode, done.stdout.decode().replace("\r", "\n")


class RedisCli(unittest.TestCase):
    def says(self, expected, *args, **kw):
        code, out, err = cli(*args, **kw)
        self.assertEqual((code, out.rstrip("\n"), err), (0, expected, ""), args)

    def test_commands_by_arguments(self):
        self.says("PONG", "PING")
        self.says("OK", "SET", "cli:k", "some words")
        self.says("some words", "GET", "cli:k")
        self.says('"some words"', "--no-raw", "GET", "cli:k")
        self.says("(nil)", "--no-raw", "GET", "cli:none")
        self.says("(integer) 3", "--no-raw", "RPUSH", "cli:l", "a", "b", "c")
        self.says('1) "a"\n2) "b"\n3) "c"', "--no-raw", "LRANGE", "cli:l", 0, -1)
        self.says("OK", "MSET", "cli:1", 1, "cli:2", 2)
        self.says("1\n2", "MGET", "cli:1", "cli:2")
        self.says("v", "EVAL", "return ARGV[1]", 1, "cli:k", "v")

    def test_errors_by_arguments(self):
        for args, expected in (
            (["INCR", "cli:text"], "ERR value is not an integer"),
            (["LPUSH", "cli:text", "x"], "WRONGTYPE Operation against"),
            (["RENAME", "cli:a", "cli:b"], "CROSSSLOT Keys in request don't hash to the same slot"),
            (["NOSUCH", "x"], "ERR unknown command 'NOSUCH'"),
        ):
            cli("SET", "cli:text", "words")
            code, out, err = cli("-e", *args)
            self.assertEqual(code, 1)
            self.assertTrue((out + err).startswith(expected), out + err)

    def test_commands_from_a_pipe_and_repeats(self):
        lines = b"SET cli:p 1\nINCRBY cli:p 41\nLPUSH cli:p x\nGET cli:p\n"
        out = cli(stdin=lines)[1].split("\n")
        self.assertEqual((out[:2], out[-2]), (["OK", "42"], "42"))
        self.assertIn("WRONGTYPE", out[2])
        self.says("1\n2\n3", "-r", 3, "INCR", "cli:repeat")

    def test_value_from_stdin(self):
        value = support.pattern(1 << 20).replace(b"\0", b"0")
        self.assertEqual(cli("-x", "SET", "cli:stdin", stdin=value)[1], "OK\n")
        self.says(str(1 << 20), "STRLEN", "cli:stdin")
        got = subprocess.run([CLI, "-p", str(support.PORT), "GET", "cli:stdin"], capture_output=True, timeout=30).stdout
        self.assertTrue(got == value + b"\n")

    def test_mass_insertion(self):
        protocol = b"".join(
            b"*3\r\n$3\r\nSET\r\n$%d\r\n%s\r\n$%d\r\n%d\r\n" % (len(k), k, len(str(i)), i)
            for i, k in ((i, b"cli:mass:%d" % i) for i in range(100000))
        )
        code, out, err = cli("--pipe", stdin=protocol)
        self.assertIn("errors: 0, replies: 100000", out + err)
        self.assertEqual(code, 0)
        self.says("99999", "GET", "cli:mass:99999")
        code, out, err = cli("--pipe", stdin=b"LPUSH cli:mass:1 x\r\nSET cli:mass:2 y\r\n")
        self.assertIn("errors: 1, replies: 2", out + err)

    def test_passwords(self):
        url = "redis://default:%s@%s:%d" % (support.AUTH_PASSWORD, support.HOST, support.AUTH_PORT)
        self.assertIn("PONG", subprocess.run([CLI, "--no-auth-warning", "-u", url, "PING"], capture_output=True, timeout=30).stdout.decode())
        self.says("PONG", "--no-auth-warning", "-a", support.AUTH_PASSWORD, "PING", port=support.AUTH_PORT)
        self.assertIn("NOAUTH Authentication required", cli("PING", port=support.AUTH_PORT)[1])
        out = "".join(cli("--no-auth-warning", "-a", "nope", "PING", port=support.AUTH_PORT)[1:])
        self.assertIn("WRONGPASS", out)

    def test_latency(self):
        out = watch("--latency", "--raw", "-i", "1")
        self.assertRegex(out, r"^\d+ \d+ \d+\.\d+ \d+\n")

    def test_stat(self):
        cli("SET", "cli:stat", "x")
        row = r"^(\d+) +(\S+) +(\d+) +(\d+) +(\d+) \(\+\d+\) +(\d+)"
        with Running("-i", "0.2", "--stat") as stat:
            support.wait_until(lambda: len(re.findall(row, stat.text, re.M)) >= 2, "two rows")
            self.assertGreaterEqual(int(re.search(row, stat.text, re.M)[1]), 1, "no keys in " + stat.text)

    def test_scans_of_the_whole_keyspace(self):
        cli("FLUSHALL")
        keys = {"cli:scan:%d" % i for i in range(1000)}
        cli(stdin="".join("SET %s %s\n" % (key, "v" * 10) for key in keys).encode())
        cli("SET", "cli:scan:77", "v" * 5000)
        code, out, err = cli("--scan", "--pattern", "cli:scan:*")
        self.assertEqual((code, set(out.split()), err), (0, keys, ""))
        for mode in ("--bigkeys", "--memkeys"):
            code, out, err = cli(mode)
            self.assertEqual(code, 0, out + err)
            self.assertIn("Sampled 1000 keys in the keyspace", out)
            self.assertRegex(out, r'(?i)Biggest +string found .{1,2}cli:scan:77.{1,2} has 5\d\d\d bytes')

    def test_resp3(self):
        self.says("OK", "-3", "SET", "cli:3", "x")
        cli("HSET", "cli:3h", "f", "v")
        cli("ZADD", "cli:3z", "2.5", "m")
        cli("SADD", "cli:3s", "m")
        self.says('1# "f" => "v"', "-3", "--no-raw", "HGETALL", "cli:3h")
        self.says("(double) 2.5", "-3", "--no-raw", "ZSCORE", "cli:3z", "m")
        self.says('1) 1) "m"\n   2) (double) 2.5', "-3", "--no-raw", "ZRANGE", "cli:3z", 0, -1, "WITHSCORES")
        self.says('1~ "m"', "-3", "--no-raw", "SMEMBERS", "cli:3s")
        self.says("(nil)", "-3", "--no-raw", "GET", "cli:none")
        self.says('{"f":"v"}', "--json", "HGETALL", "cli:3h")
        self.assertRegex(cli("-3", "INFO", "server")[1], r"(?m)^redis_version:\d")
        out = cli("-3", stdin=b"MULTI\nHGETALL cli:3h\nEXEC\n")[1]
        self.assertEqual(out.split("\n")[:2], ["OK", "QUEUED"])
        self.assertIn("f", out.split("QUEUED")[1])

    def test_other_ways_to_print(self):
        cli("RPUSH", "cli:print", "a,b", 'say "x"', "7")
        self.says('"a,b","say \\"x\\"","7"', "--csv", "LRANGE", "cli:print", 0, -1)
        self.says("a,b|say \"x\"|7", "-d", "|", "LRANGE", "cli:print", 0, -1)
        self.says('["a,b","say \\"x\\"","7"]', "--json", "LRANGE", "cli:print", 0, -1)
        self.says("(error) WRONGTYPE Operation against a key holding the wrong kind of value", "--no-raw", "GET", "cli:print")
        self.says("OK", "--quoted-input", "SET", '"cli:\\x00key"', "v")
        self.says("v", "--quoted-input", "GET", '"cli:\\x00key"')
        self.says("OK", "-n", 0, "SET", "cli:db", "x")

    def test_following_redirects_finds_none(self):
        """-c is for clusters: it must see every key at the address that it was given."""
        lines = "".join("SET cli:c:%d %d\nGET cli:c:%d\n" % (i, i, i) for i in range(300))
        code, out, err = cli("-c", stdin=lines.encode())
        self.assertEqual((code, err), (0, ""))
        self.assertNotIn("Redirected", out)
        self.assertEqual(out.split(), [word for i in range(300) for word in ("OK", str(i))])

    def test_script_from_a_file(self):
        with tempfile.NamedTemporaryFile("w", suffix=".lua") as f:
            f.write("return {KEYS[1], KEYS[2], ARGV[1], #ARGV, redis.call('INCR', KEYS[1])}")
            f.flush()
            self.says("{c}k1\n{c}k2\narg\n2\n1", "--eval", f.name, "{c}k1", "{c}k2", ",", "arg", "more")

    def test_functions_by_stdin(self):
        text = b"#!lua name=clilib\nredis.register_function('cli_f', function(keys) return redis.call('INCR', keys[1]) end)"
        self.assertEqual(cli("-x", "FUNCTION", "LOAD", "REPLACE", stdin=text)[1], "clilib\n")
        self.says("1", "FCALL", "cli_f", 1, "cli:f")
        self.says("OK", "FUNCTION", "DELETE", "clilib")

    def test_subscribe(self):
        for options, subscribed, message in (
            ([], r"^subscribe\ncli:ch\n1$", r"^message\ncli:ch\nwords$"),
            (["--csv"], r'^"subscribe","cli:ch",1$', r'^"message","cli:ch","words"$'),
            (
                ["-3", "--no-raw"],
                r'^1\) "subscribe"\n2\) "cli:ch"\n3\) \(integer\) 1$',
                r'^1\) "message"\n2\) "cli:ch"\n3\) "words"$',
            ),
        ):
            with Running(*options, "SUBSCRIBE", "cli:ch") as sub:
                sub.until(subscribed)
                self.says("1", "PUBLISH", "cli:ch", "words")
                sub.until(message)
            support.wait_until(lambda: cli("PUBLISH", "cli:ch", "x")[1] == "0\n", "the subscriber to be forgotten")
        with Running("PSUBSCRIBE", "cli:*") as sub:
            sub.until(r"^psubscribe\ncli:\*\n1$")
            self.says("1", "PUBLISH", "cli:any", "words")
            sub.until(r"^pmessage\ncli:\*\ncli:any\nwords$")

    def test_monitor(self):
        with Running("MONITOR") as monitor:
            monitor.until(r"^OK$")
            self.says("OK", "SET", "cli:monitored", 'a "b"\t\x01')
            monitor.until(r'^\d+\.\d{6} \[0 127\.0\.0\.1:\d+\] "SET" "cli:monitored" "a \\"b\\"\\t\\x01"$')

    def test_latency_history(self):
        with Running("--latency-history", "-i", "1") as history:
            history.until(r"(^\d+ \d+ \d+\.\d+ \d+\s+-- 1\.\d\d seconds range\s[^-]*){2}")

    def test_hotkeys(self):
        before = cli("--raw", "CONFIG", "GET", "maxmemory-policy")[1].split()[1]
        self.assertNotIn("lfu", before)
        code, out, err = cli("--hotkeys")
        self.assertEqual(code, 1)
        self.assertIn("ERR An LFU maxmemory policy is not selected, access frequency not tracked.", out + err)
        try:
            self.says("OK", "CONFIG", "SET", "maxmemory-policy", "allkeys-lfu")
            cli("FLUSHALL")
            cli(stdin=b"".join(b"SET cli:cold:%d x\n" % i for i in range(100)))
            cli("-r", 200, "INCR", "cli:hot")
            code, out, err = cli("--hotkeys")
            self.assertEqual((code, err), (0, ""))
            self.assertRegex(out, r"hot key found with counter: \d+\tkeyname: \"?cli:hot\"?")
        finally:
            self.says("OK", "CONFIG", "SET", "maxmemory-policy", before)

    def finishes(self, names, *args):
        """redis-benchmark with these arguments prints a rate for each of the names, and nothing of errors."""
        code, out = benchmark(*args)
        self.assertEqual(code, 0, out)
        for name in names:
            self.assertRegex(out, r"(?m)^ *%s: [\d.]+ requests per second" % re.escape(name))
        self.assertNotRegex(out.lower(), "error|moved")
        return out

    def test_benchmark(self):
        names = ("SET", "GET", "INCR", "MSET (10 keys)", "LPUSH", "ZADD")
        self.finishes(names, "-t", "set,get,incr,mset,lpush,zadd", "-P", 16, "-n", 20000, "-r", 5000, "-q")

    def test_benchmark_of_every_test_by_50_clients(self):
        names = "PING_INLINE PING_MBULK SET GET INCR LPUSH RPUSH LPOP RPOP SADD HSET SPOP ZADD ZPOPMIN".split()
        self.finishes(names + ["LRANGE_100 (first 100 elements)"], "-c", 50, "-n", 3000, "-q")

    def test_benchmark_by_threads(self):
        options = ["--threads", 2, "-c", 50, "-P", 8, "-n", 20000, "-r", 100000, "-q"]
        self.finishes(("SET", "GET", "LPUSH"), *options, "-t", "set,get,lpush")

    def test_benchmark_without_keepalive_and_with_big_values(self):
        self.finishes(("SET", "GET"), "-k", 0, "-c", 10, "-n", 500, "-d", 200000, "-t", "set,get", "-q")

    def test_benchmark_of_a_command(self):
        self.finishes(("HSET h:__rand_int__ f v",), "-n", 5000, "-r", 1000, "-q", "HSET", "h:__rand_int__", "f", "v")
        text = "return redis.call('incr', KEYS[1])"
        self.finishes(("eval %s 1 cli:bench" % text,), "-n", 2000, "-q", "eval", text, 1, "cli:bench")
        self.says("2000", "GET", "cli:bench")

    def test_benchmark_in_resp3_with_password(self):
        code, out = benchmark("-a", support.AUTH_PASSWORD, "-3", "-t", "set,get", "-n", 2000, "-q", port=support.AUTH_PORT)
        self.assertEqual(code, 0, out)
        self.assertRegex(out, r"(?m)^ *GET: [\d.]+ requests per second")

    def test_benchmark_for_clusters_understands_the_map(self):
        """It reads CLUSTER NODES and then declines a cluster of one node, which is what the proxies are to it."""
        code, out = benchmark("--cluster", "-t", "set", "-n", 10, "-q")
        self.assertEqual((code, out.strip()), (1, "Invalid cluster: 1 node(s)."))

    def test_benchmark_can_read_the_persistence_settings(self):
        done = subprocess.run([BENCHMARK, "-p", str(support.PORT), "-t", "ping", "-n", "1", "-q"], capture_output=True, timeout=30)
        self.assertNotIn("Could not fetch server CONFIG", (done.stdout + done.stderr).decode())

    def test_inline_by_hand(self):
        lines = b'SET cli:inline "a b\\x41"\r\nGET cli:inline\n\r\nLPUSH cli:inline x\r\nPING\r\nQUIT\r\n'
        expected = b"+OK\r\n$4\r\na bA\r\n-WRONGTYPE Operation against a key holding the wrong kind of value\r\n+PONG\r\n+OK\r\n"
        with socket.create_connection((support.HOST, support.PORT), timeout=20) as s:
            s.sendall(lines)
            got = b""
            while True:
                chunk = s.recv(65536)
                if not chunk:
                    break
                got += chunk
        self.assertEqual(got, expected)

    @unittest.skipUnless(shutil.which("nc"), "nc is not installed; test_inline_by_hand does the same by a socket")
    def test_inline_by_nc(self):
        argv = ["nc", support.HOST, str(support.PORT)]
        done = subprocess.run(argv, input=b"PING\r\nECHO hi\r\nQUIT\r\n", capture_output=True, timeout=20)
        self.assertEqual(done.stdout, b"+PONG\r\n$2\r\nhi\r\n+OK\r\n")


if __name__ == "__main__":
    support.main()
