#!/usr/bin/python3
"""
What applications do, through redis-py and several connections at once: pipelines, cache-aside, session hashes,
counters, a leaderboard, a sliding-window limiter by EVALSHA, job lists, streams; and redis-py's own cluster-unaware
habits (connection pool, health checks, scan_iter, client names).
"""

import harness

try:
    import redis
except ImportError:
    redis = None

LIMITER = """
local now, window, limit = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', now - window)
if redis.call('ZCARD', KEYS[1]) >= limit then return 0 end
redis.call('ZADD', KEYS[1], now, ARGV[4])
redis.call('PEXPIRE', KEYS[1], window)
return 1
"""

THREADS = 8


@harness.unittest.skipUnless(redis, "python3-redis is not installed")
class Patterns(harness.ProxyTest):
    DIRECTIVES = {"workers": 2}

    def setUp(self):
        self.cluster.flush()
        self.r = redis.Redis(harness.HOST, self.proxy.port, socket_timeout=30, health_check_interval=1, client_name="app")
        self.addCleanup(self.r.close)

    def in_threads(self, work, count=THREADS):
        return [w.finish() for w in [harness.Worker(work, i) for i in range(count)]]

    def test_pipeline_without_transaction(self):
        def work(n):
            for round_ in range(20):
                p = self.r.pipeline(transaction=False)
                for i in range(50):
                    p.set("p:%d:%d" % (n, i), round_).get("p:%d:%d" % (n, i))
                self.assertEqual(p.execute(), [True, b"%d" % round_] * 50)

        self.in_threads(work)

    def test_error_inside_a_pipeline(self):
        p = self.r.pipeline(transaction=False)
        p.set("str", "x").lpush("str", "y").get("str")
        first, second, third = p.execute(raise_on_error=False)
        self.assertEqual((first, third), (True, b"x"))
        self.assertIsInstance(second, redis.ResponseError)
        self.assertTrue(str(second).startswith("WRONGTYPE"))

    def test_cache_aside(self):
        loads = []

        def fetch(key):
            value = self.r.get(key)
            if value is None:
                loads.append(key)
                value = b"row of " + key.encode()
                self.r.set(key, value, ex=60)
            return value

        def work(_):
            for i in range(200):
                self.assertEqual(fetch("cache:%d" % (i % 40)), b"row of cache:%d" % (i % 40))

        self.in_threads(work)
        self.assertLessEqual(len(loads), 40 * THREADS)
        self.assertEqual(self.r.mget(["cache:%d" % i for i in range(40)]), [b"row of cache:%d" % i for i in range(40)])
        self.assertEqual(self.r.delete(*["cache:%d" % i for i in range(40)]), 40)
        self.assertEqual(self.r.mget("cache:1", "cache:2"), [None, None])

    def test_session_hash(self):
        def work(n):
            for i in range(50):
                key = "session:%d:%d" % (n, i)
                self.r.hset(key, mapping={"user": n, "visits": 0, "agent": "x" * 100})
                self.r.expire(key, 1800)
                self.assertEqual(self.r.hincrby(key, "visits", 1), 1)
                self.assertEqual(self.r.hmget(key, "user", "visits", "none"), [b"%d" % n, b"1", None])
                self.assertTrue(1790 <= self.r.ttl(key) <= 1800)
                self.assertEqual(len(self.r.hgetall(key)), 3)

        self.in_threads(work)
        self.assertEqual(self.r.dbsize(), THREADS * 50)

    def test_counters(self):
        def work(_):
            for i in range(200):
                self.r.incr("hits:%d" % (i % 10))
                self.r.incrbyfloat("sum:%d" % (i % 10), 0.5)

        self.in_threads(work)
        total = sum(int(v) for v in self.r.mget(["hits:%d" % i for i in range(10)]))
        self.assertEqual(total, THREADS * 200)
        self.assertEqual(sum(float(v) for v in self.r.mget(["sum:%d" % i for i in range(10)])), THREADS * 100)

    def test_leaderboard(self):
        def work(n):
            for i in range(100):
                self.r.zincrby("board", 1, "player%d" % ((n + i) % 20))

        self.in_threads(work)
        board = self.r.zrevrange("board", 0, -1, withscores=True)
        self.assertEqual(sum(score for _, score in board), THREADS * 100)
        self.assertEqual([s for _, s in board], sorted((s for _, s in board), reverse=True))
        self.assertEqual(self.r.zrevrank("board", board[3][0]), 3)

    def test_sliding_window_limiter(self):
        script = self.r.register_script(LIMITER)

        def work(n):
            return sum(script(keys=["limit:user%d" % (i % 5)], args=[1000 + i, 60000, 20, "%d-%d" % (n, i)]) for i in range(100))

        self.assertEqual(sum(self.in_threads(work)), 5 * 20)

    def test_limiter_after_script_flush(self):
        """redis-py reloads a script that the server lost; EVALSHA over all shards works after that."""
        script = self.r.register_script(LIMITER)
        self.assertEqual(script(keys=["f1"], args=[1, 1000, 1, "a"]), 1)
        self.r.script_flush()
        for i in range(10):
            self.assertEqual(script(keys=["flush:%d" % i], args=[1, 1000, 1, "a"]), 1)

    def test_job_list(self):
        for i in range(300):
            self.r.lpush("jobs", i)

        def work(_):
            done = []
            while True:
                job = self.r.rpop("jobs")
                if job is None:
                    return done
                done.append(int(job))

        done = [j for part in self.in_threads(work) for j in part]
        self.assertEqual(sorted(done), list(range(300)))

    def test_stream(self):
        def work(n):
            return [self.r.xadd("events", {"from": n, "i": i}) for i in range(50)]

        ids = [i for part in self.in_threads(work) for i in part]
        self.assertEqual(len(set(ids)), THREADS * 50)
        self.r.xgroup_create("events", "g", "0")
        seen = []
        while True:
            reply = self.r.xreadgroup("g", "c", {"events": ">"}, count=70)
            if not reply:
                break
            batch = [i for i, _ in reply[0][1]]
            seen += batch
            self.assertEqual(self.r.xack("events", "g", *batch), len(batch))
        self.assertEqual(sorted(seen), sorted(ids))

    def test_lock_recipe(self):
        """redis-py's own Lock: SET NX PX and a compare-and-delete script."""
        state = {"inside": 0, "total": 0}

        def work(_):
            for _ in range(10):
                with self.r.lock("mutex", timeout=30, sleep=0.002, blocking_timeout=30):
                    state["inside"] += 1
                    self.assertEqual(state["inside"], 1)
                    state["total"] += 1
                    state["inside"] -= 1

        self.in_threads(work, 4)
        self.assertEqual(state["total"], 40)

    def test_scan_iter_and_info(self):
        self.r.mset({"scan:%d" % i: i for i in range(300)})
        self.assertEqual(sorted(self.r.scan_iter("scan:*", count=30)), sorted(b"scan:%d" % i for i in range(300)))
        self.assertEqual(self.r.info()["cluster_enabled"], 0)
        self.assertEqual(self.r.info("keyspace").get("db0", {}).get("keys"), 300)
        self.assertEqual(self.r.client_getname(), "app")
        self.assertTrue(self.r.ping())


if __name__ == "__main__":
    harness.main()
