"""The programs of redis-tools as people use them: redis-cli by arguments and by pipes, redis-benchmark, inline by hand."""

import os
import re
import shutil
import socket
import subprocess
import unittest

import support

CLI = os.environ.get("KEYWAY_REDIS_CLI", "redis-cli")
BENCHMARK = os.environ.get("KEYWAY_REDIS_BENCHMARK", "redis-benchmark")


def cli(*args, stdin=b"", port=support.PORT, timeout=30):
    """Runs redis-cli to its end; answers (exit code, standard output, standard error)."""
    argv = [CLI, "-h", support.HOST, "-p", str(port), *map(str, args)]
    done = subprocess.run(argv, input=stdin, capture_output=True, timeout=timeout)
    return done.returncode, done.stdout.decode(), done.stderr.decode()


def watch(*args, seconds=1.5):
    """What a redis-cli mode that never ends prints within a bounded time."""
    argv = ["stdbuf", "-oL", CLI, "-h", support.HOST, "-p", str(support.PORT), *args]
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT) as proc:
        try:
            out, _ = proc.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            proc.terminate()
            out, _ = proc.communicate()
    return out.decode()


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
        out = watch("--latency", "--raw", "-i", "1", seconds=5)
        self.assertRegex(out, r"^\d+ \d+ \d+\.\d+ \d+\n")

    def test_stat(self):
        cli("SET", "cli:stat", "x")
        out = watch("-i", "0.2", "--stat")
        rows = re.findall(r"^(\d+) +(\S+) +(\d+) +(\d+) +(\d+) \(\+\d+\) +(\d+)", out, re.M)
        self.assertGreaterEqual(len(rows), 2, out)
        self.assertGreaterEqual(int(rows[0][0]), 1, "no keys in " + out)

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

    def test_benchmark(self):
        argv = [BENCHMARK, "-h", support.HOST, "-p", str(support.PORT), "-t", "set,get,incr,mset,lpush,zadd"]
        done = subprocess.run(argv + ["-P", "16", "-n", "20000", "-r", "5000", "-q"], capture_output=True, timeout=90)
        out = done.stdout.decode().replace("\r", "\n")
        self.assertEqual(done.returncode, 0, out)
        for name in ("SET", "GET", "INCR", "MSET (10 keys)", "LPUSH", "ZADD"):
            self.assertRegex(out, r"(?m)^ *%s: [\d.]+ requests per second" % re.escape(name))
        self.assertNotRegex((out + done.stderr.decode()).lower(), "error")

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
