"""What people build on Redis, whole and from several threads at once, each result checked against a model of it."""

import collections
import random
import threading
import time
import unittest
import uuid

import redis
import support

RELEASE = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('DEL', KEYS[1]) else return 0 end"
EXTEND = "if redis.call('GET', KEYS[1]) == ARGV[1] then return redis.call('PEXPIRE', KEYS[1], ARGV[2]) else return 0 end"


class Pattern(unittest.TestCase):
    def setUp(self):
        self.r = self.connect()
        self.random = random.Random(7)

    def connect(self):
        r = redis.Redis(support.HOST, support.PORT, socket_timeout=30, decode_responses=True)
        self.addCleanup(r.connection_pool.disconnect)
        return r

    def by_threads(self, n, function):
        """function(connection, number of the thread) in n threads."""
        with support.Threads() as threads:
            for i in range(n):
                threads.start(function, self.connect(), i)


class Ranking(Pattern):
    def test_tournament(self):
        """Scores come in from everywhere; equal scores rank by who was there first; brackets are merged."""
        played = [(self.random.randrange(300), self.random.randrange(50)) for _ in range(4000)]
        totals, best = collections.Counter(), collections.Counter()
        for player, points in played:
            totals[player] += points
            best[player] = max(best[player], points)

        def play(r, part):
            for first in range(part * 1000, part * 1000 + 1000, 50):
                p = r.pipeline(transaction=False)
                for player, points in played[first : first + 50]:
                    p.zincrby("{cup}total", points, "p%03d" % player).zadd("{cup}best", {"p%03d" % player: points}, gt=True)
                p.execute()

        self.by_threads(4, play)
        expected = sorted(("p%03d" % p for p in totals), key=lambda name: (-totals[int(name[1:])], [-ord(c) for c in name]))
        self.assertEqual(self.r.zrevrange("{cup}total", 0, -1), expected)
        stored = dict(self.r.zrange("{cup}best", 0, -1, withscores=True))
        self.assertEqual(stored, {"p%03d" % p: float(n) for p, n in best.items()})
        p = self.r.pipeline(transaction=False)
        for name in expected[:50]:
            p.zrevrank("{cup}total", name).zscore("{cup}total", name)
        ranks = p.execute()
        self.assertEqual(ranks[::2], list(range(50)))
        self.assertEqual(ranks[1::2], [float(totals[int(name[1:])]) for name in expected[:50]])
        self.assertEqual(self.r.zrangestore("{cup}top", "{cup}total", 0, 9, desc=True), 10)
        self.assertEqual(set(self.r.zrange("{cup}top", 0, -1)), set(expected[:10]))
        low, high = totals[int(expected[200][1:])], totals[int(expected[100][1:])]
        between = [name for name in expected if low <= totals[int(name[1:])] < high]
        self.assertEqual(self.r.zrevrangebyscore("{cup}total", "(%d" % high, low), between)
        self.assertEqual(self.r.zcount("{cup}total", low, "(%d" % high), len(between))
        self.r.zunionstore("{cup}all", {"{cup}total": 1, "{cup}best": 1000}, aggregate="SUM")
        self.assertEqual(self.r.zscore("{cup}all", expected[0]), totals[int(expected[0][1:])] + 1000 * best[int(expected[0][1:])])
        self.assertEqual(self.r.zremrangebyrank("{cup}total", 0, -101), len(expected) - 100)
        self.assertEqual(self.r.zrevrange("{cup}total", 0, -1), expected[:100])


class Orders(Pattern):
    def setUp(self):
        super().setUp()
        self.r.delete("orders")
        self.r.xgroup_create("orders", "workers", "0", mkstream=True)

    def test_orders_survive_a_worker(self):
        """One of three workers takes orders and is never seen again. Each order is done once all the same."""
        done = collections.Counter()
        guard = threading.Lock()

        def place(r, part):
            for i in range(150):
                r.xadd("orders", {"order": part * 150 + i, "amount": i}, maxlen=100000, approximate=True)

        def finish(r, entries):
            for entry, fields in entries:
                with guard:
                    done[int(fields["order"])] += 1
                self.assertEqual(r.xack("orders", "workers", entry), 1)

        self.by_threads(2, place)
        ((_, lost),) = self.r.xreadgroup("workers", "lost", {"orders": ">"}, count=40)

        def work(r, number):
            while True:
                got = r.xreadgroup("workers", "w%d" % number, {"orders": ">"}, count=7)
                if not got:
                    return
                finish(r, got[0][1])

        self.by_threads(3, work)
        pending = self.r.xpending("orders", "workers")
        self.assertEqual((pending["pending"], pending["consumers"]), (40, [{"name": "lost", "pending": 40}]))
        self.assertEqual((pending["min"], pending["max"]), (lost[0][0], lost[-1][0]))

        def idle():
            return min(d["time_since_delivered"] for d in self.r.xpending_range("orders", "workers", "-", "+", 40))

        support.wait_until(lambda: idle() > 20, "the orders to be idle")
        self.assertEqual(self.r.xclaim("orders", "workers", "w0", 3600000, [lost[0][0]]), [])
        claimed = self.r.xclaim("orders", "workers", "w0", 20, [entry for entry, _ in lost[:10]])
        self.assertEqual(claimed, lost[:10])
        finish(self.r, claimed)
        start, rest = "0-0", []
        while True:
            start, entries = self.r.execute_command("XAUTOCLAIM", "orders", "workers", "w1", 20, start, "COUNT", 8)[:2]
            rest += entries
            if start == "0-0":
                break
        self.assertEqual(rest, lost[10:])
        times = {d["times_delivered"] for d in self.r.xpending_range("orders", "workers", "-", "+", 40)}
        self.assertEqual(times, {2})
        finish(self.r, rest)
        self.assertEqual(done, collections.Counter(range(300)))
        self.assertEqual(self.r.xpending("orders", "workers")["pending"], 0)

    def test_trimming(self):
        ids = [self.r.xadd("orders", {"n": i}) for i in range(500)]
        self.assertEqual(self.r.xtrim("orders", maxlen=400, approximate=False), 100)
        self.assertEqual(self.r.xtrim("orders", minid=ids[200], approximate=False), 100)
        self.assertEqual((self.r.xlen("orders"), self.r.xrange("orders", count=1)[0][0]), (300, ids[200]))
        self.r.xreadgroup("workers", "w", {"orders": ">"}, count=10)
        oldest = self.r.xpending("orders", "workers")["min"]
        self.assertEqual(oldest, ids[200])
        self.assertNotIn(self.r.xadd("orders", {"n": 1}, maxlen=50, approximate=False), ids)
        self.assertEqual(self.r.xlen("orders"), 50)
        deleted = self.r.execute_command("XAUTOCLAIM", "orders", "workers", "x", 0, "0-0")
        self.assertEqual((deleted[1], deleted[2]), ([], ids[200:210]))

    def test_orders_that_nobody_can_finish(self):
        bad = self.r.xadd("orders", {"order": "bad"})
        self.r.xreadgroup("workers", "w", {"orders": ">"})
        for _ in range(3):
            self.r.xclaim("orders", "workers", "w", 0, [bad])
        (detail,) = self.r.xpending_range("orders", "workers", "-", "+", 10)
        self.assertEqual(detail["times_delivered"], 4)
        with self.r.pipeline(transaction=False) as p:
            p.xadd("orders:dead", {"order": "bad", "was": bad}).xack("orders", "workers", bad).xdel("orders", bad)
            self.assertEqual(p.execute()[1:], [1, 1])
        self.assertEqual((self.r.xlen("orders"), self.r.xlen("orders:dead")), (0, 1))


class Limiters(Pattern):
    def test_sliding_window_and_token_bucket(self):
        """From many threads at one moment of time exactly the limit may pass."""
        now = 1700000000000
        for name, arguments in (
            ("limiter_window", lambda i: [now, 60000, 25, uuid.uuid4().hex]),
            ("limiter_bucket", lambda i: [now, 25, 1, 1]),
        ):
            passed = collections.Counter()
            guard = threading.Lock()
            self.r.script_flush()

            def call(r, number):
                limiter = r.register_script(support.script(name))
                for i in range(30):
                    for user in range(3):
                        allowed = limiter(["limit:%s:%d" % (name, user)], arguments(i))[0]
                        with guard:
                            passed[user] += allowed

            self.by_threads(6, call)
            self.assertEqual(passed, {0: 25, 1: 25, 2: 25}, name)

    def test_fixed_window_by_multi(self):
        passed = []

        def call(r, number):
            for _ in range(40):
                with r.pipeline() as p:
                    count, _ = p.incr("{limit}minute").expire("{limit}minute", 60, nx=True).execute()
                if count <= 100:
                    passed.append(count)

        self.by_threads(5, call)
        self.assertEqual(sorted(passed), list(range(1, 101)))
        self.assertTrue(50 < self.r.ttl("{limit}minute") <= 60)

    def test_sliding_log_by_multi(self):
        def allowed(now):
            with self.r.pipeline() as p:
                p.zremrangebyscore("limit:log", "-inf", now - 1000).zcard("limit:log")
                p.zadd("limit:log", {"%d" % now: now}).pexpire("limit:log", 5000)
                return p.execute()[1] < 3

        passed = [now for now in (0, 100, 200, 300, 1150, 1160, 2600) if allowed(now)]
        self.assertEqual(passed, [0, 100, 200, 1150, 2600])


class Locks(Pattern):
    def test_release_by_watch(self):
        def release(r, key, token):
            with r.pipeline() as p:
                while True:
                    try:
                        p.watch(key)
                        if p.get(key) != token:
                            return False
                        p.multi()
                        p.delete(key)
                        p.execute()
                        return True
                    except redis.WatchError:
                        continue

        self.assertTrue(self.r.set("lock:w", "mine", nx=True, px=10000))
        self.assertFalse(release(self.r, "lock:w", "another's"))
        self.assertTrue(release(self.r, "lock:w", "mine"))
        self.assertFalse(release(self.r, "lock:w", "mine"))
        inside = threading.Semaphore(1)
        done = []

        def work(r, number):
            for i in range(15):
                token = "%d:%d" % (number, i)
                support.wait_until(lambda: r.set("lock:w", token, nx=True, px=20000), "the lock")
                self.assertTrue(inside.acquire(blocking=False), "two are inside")
                done.append(token)
                inside.release()
                self.assertTrue(release(r, "lock:w", token))

        self.by_threads(5, work)
        self.assertEqual(len(set(done)), 75)

    def test_release_loses_to_a_change(self):
        """The lock passes to another between reading it and deleting it: the delete must not happen."""
        self.r.set("lock:late", "mine")
        with self.r.pipeline() as p:
            p.watch("lock:late")
            self.assertEqual(p.get("lock:late"), "mine")
            self.connect().set("lock:late", "another's")
            p.multi()
            p.delete("lock:late")
            self.assertRaises(redis.WatchError, p.execute)
        self.assertEqual(self.r.get("lock:late"), "another's")

    def test_deploys(self):
        """SETNX with a TTL, a number that only grows for each holder, and scripts that compare before they act."""
        release, extend = self.r.register_script(RELEASE), self.r.register_script(EXTEND)
        numbers, refused = [], []

        def deploy(r, number):
            for _ in range(20):
                token = uuid.uuid4().hex
                if not r.set("deploy:site", token, nx=True, ex=30):
                    refused.append(number)
                    continue
                fence = r.incr("deploy:fence")
                numbers.append(fence)
                self.assertEqual(extend(["deploy:site"], [token, 60000], client=r), 1)
                self.assertEqual(release(["deploy:site"], ["another's"], client=r), 0)
                self.assertEqual(release(["deploy:site"], [token], client=r), 1)

        self.by_threads(6, deploy)
        self.assertEqual(numbers, list(range(1, len(numbers) + 1)))
        self.assertEqual(len(numbers) + len(refused), 120)
        self.assertTrue(self.r.setnx("deploy:old", "1"))
        self.assertFalse(self.r.setnx("deploy:old", "2"))
        self.assertTrue(self.r.expire("deploy:old", 1))
        support.wait_until(lambda: self.r.setnx("deploy:old", "2"), "the old lock to expire")


class Queues(Pattern):
    def test_reliable_list(self):
        """Jobs move to the worker's own list and leave it when done; what a dead worker kept goes back."""
        done = collections.Counter()
        guard = threading.Lock()

        def work(r, number):
            own = "{jobs}busy:%d" % number
            while True:
                job = r.blmove("{jobs}waiting", own, 20, "RIGHT", "LEFT")
                if job == "end":
                    self.assertEqual(r.lrem(own, 1, job), 1)
                    return
                with guard:
                    done[job] += 1
                self.assertEqual(r.lrem(own, 1, job), 1)

        self.r.lpush("{jobs}waiting", *["job%d" % i for i in range(10)])
        for _ in range(5):
            self.r.lmove("{jobs}waiting", "{jobs}busy:dead", "RIGHT", "LEFT")
        with support.Threads() as threads:
            for i in range(5):
                threads.start(work, self.connect(), i)
            for i in range(10, 600):
                self.r.lpush("{jobs}waiting", "job%d" % i)
            while self.r.rpoplpush("{jobs}busy:dead", "{jobs}waiting"):
                pass
            support.wait_until(lambda: len(done) == 600, "all jobs to be done")
            self.r.lpush("{jobs}waiting", *["end"] * 5)
        self.assertEqual(done, collections.Counter("job%d" % i for i in range(600)))
        self.assertEqual(list(self.r.scan_iter("{jobs}*", count=1000)), [])

    def test_stream(self):
        self.r.xgroup_create("jobs", "g", mkstream=True)
        done = collections.Counter()
        guard = threading.Lock()

        def work(r, number):
            while True:
                for _, entries in r.xreadgroup("g", "w%d" % number, {"jobs": ">"}, count=5, block=10000):
                    for entry, fields in entries:
                        with guard:
                            done[fields["n"]] += 1
                        with r.pipeline() as p:
                            self.assertEqual(p.xack("jobs", "g", entry).xdel("jobs", entry).execute(), [1, 1])
                    if any(fields["n"] == "end" for _, fields in entries):
                        return

        with support.Threads() as threads:
            for i in range(4):
                threads.start(work, self.connect(), i)
            for i in range(400):
                self.r.xadd("jobs", {"n": i})
            support.wait_until(lambda: len(done) == 400, "all jobs to be done")
            for i in range(4):  # one at a time, so that each worker gets its own
                self.r.xadd("jobs", {"n": "end"})
                support.wait_until(lambda: done["end"] == i + 1, "worker %d to end" % i)
        self.assertEqual(sum(done.values()), 404)
        self.assertEqual((self.r.xlen("jobs"), self.r.xpending("jobs", "g")["pending"]), (0, 0))

    def test_delayed_jobs_and_priorities(self):
        self.r.zadd("later", {"job%d" % i: 1000 + i for i in range(50)})
        take = self.r.register_script(
            "local due = redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', ARGV[1], 'LIMIT', 0, ARGV[2]) "
            "if #due > 0 then redis.call('ZREM', KEYS[1], unpack(due)) end return due"
        )
        self.assertEqual(take(["later"], [1019, 100]), ["job%d" % i for i in range(20)])
        self.assertEqual(take(["later"], [1019, 100]), [])
        self.r.rpush("{prio}low", "l1", "l2")
        self.r.rpush("{prio}high", "h1")
        order = [self.r.blpop(["{prio}high", "{prio}low"], timeout=5)[1] for _ in range(3)]
        self.assertEqual(order, ["h1", "l1", "l2"])


class Sessions(Pattern):
    def test_sessions_slide_and_end(self):
        def use(r, number):
            for i in range(30):
                key = "session:%d:%d" % (number, i)
                with r.pipeline() as p:
                    self.assertEqual(p.hset(key, mapping={"user": i, "hits": 0}).expire(key, 100).execute(), [2, True])
                for hit in range(1, 4):
                    with r.pipeline() as p:
                        p.hincrby(key, "hits", 1).expire(key, 1800).hget(key, "user")
                        self.assertEqual(p.execute(), [hit, True, str(i)])
                self.assertGreater(r.ttl(key), 1700)
                self.assertEqual(r.delete(key) if i % 2 else 1, 1)

        self.by_threads(5, use)
        self.assertEqual(len(set(self.r.scan_iter("session:*", count=500))), 75)
        self.r.hset("session:short", "user", 1)
        self.r.pexpire("session:short", 50)
        support.wait_until(lambda: self.r.hgetall("session:short") == {}, "the session to expire")

    def test_one_session_a_user(self):
        """Whoever logs in ends the session before; of all that were ever made exactly one a user is left."""
        login = self.r.register_script(
            "local old = redis.call('GET', KEYS[1]) if old then redis.call('DEL', KEYS[2] .. old) end "
            "redis.call('SET', KEYS[2] .. ARGV[1], ARGV[2]) redis.call('SET', KEYS[1], ARGV[1]) return old"
        )

        def enter(r, number):
            for i in range(40):
                user = i % 8
                tag = "{user:%d}" % user
                login([tag + "current", tag + "session:"], ["%d-%d" % (number, i), user], client=r)

        self.by_threads(5, enter)
        for user in range(8):
            tag = "{user:%d}" % user
            self.assertEqual(self.r.keys(tag + "session:*"), [tag + "session:" + self.r.get(tag + "current")])

    def test_one_session_a_user_without_scripts(self):
        ended = []

        def enter(r, number):
            for i in range(30):
                mine = "%d-%d" % (number, i)
                r.set("solo:session:" + mine, "user", ex=1000)
                old = r.set("solo:current", mine, get=True)
                if old:
                    ended.append(old)
                    self.assertEqual(r.delete("solo:session:" + old), 1)

        self.by_threads(5, enter)
        self.assertEqual((len(ended), len(set(ended))), (149, 149))
        self.assertEqual(list(self.r.scan_iter("solo:session:*", count=1000)), ["solo:session:" + self.r.get("solo:current")])


class Caches(Pattern):
    def test_cache_aside_without_a_stampede(self):
        """Many readers miss at once: one of them loads, the others wait for what it finds."""
        loads = collections.Counter()
        guard = threading.Lock()

        def load(key):
            with guard:
                loads[key] += 1
            return "" if key.endswith("7") else "row of " + key

        def read(r, key):
            value = r.get("cache:" + key)
            if value is None:
                if r.set("loading:" + key, 1, nx=True, ex=30):
                    value = r.get("cache:" + key)  # another may just have put it there
                    if value is None:
                        value = load(key)
                        r.set("cache:" + key, value, ex=60 if value == "" else 300)
                    r.delete("loading:" + key)
                else:
                    support.wait_until(lambda: r.exists("cache:" + key), "the loader")
                    value = r.get("cache:" + key)
            return value

        def work(r, number):
            for i in range(60):
                key = "k%d" % i
                self.assertEqual(read(r, key), "" if key.endswith("7") else "row of " + key)

        self.by_threads(8, work)
        self.assertEqual(loads, collections.Counter("k%d" % i for i in range(60)))
        self.assertEqual(self.r.unlink(*["cache:k%d" % i for i in range(0, 60, 2)]), 30)
        self.assertEqual(self.r.mget(["cache:k%d" % i for i in range(4)]), [None, "row of k1", None, "row of k3"])

    def test_write_behind_counters(self):
        """Hits are counted in Redis and carried to the database by several writers; none is lost or carried twice."""
        database = collections.Counter()
        guard = threading.Lock()
        over = threading.Event()

        def hit(r, number):
            for i in range(400):
                page = "page%d" % ((i * (number + 1)) % 40)
                r.pipeline().hincrby("{hits}counts", page, 1).sadd("{hits}dirty", page).execute()

        def carry(r, number):
            while True:
                last = over.is_set()
                pages = r.spop("{hits}dirty", 10)
                for page in pages:
                    with r.pipeline() as p:
                        value, _ = p.hget("{hits}counts", page).hdel("{hits}counts", page).execute()
                    with guard:
                        database[page] += int(value or 0)
                if last and not pages:
                    return

        with support.Threads() as writers:
            for i in range(2):
                writers.start(carry, self.connect(), i)
            try:
                self.by_threads(4, hit)
            finally:
                over.set()
        expected = collections.Counter("page%d" % ((i * (n + 1)) % 40) for n in range(4) for i in range(400))
        self.assertEqual(database, expected)
        self.assertEqual(self.r.exists("{hits}counts", "{hits}dirty"), 0)

    def test_taking_counters_by_getdel(self):
        taken = []

        def count(r, number):
            for i in range(300):
                r.incr("taken:%d" % (i % 5))
                if i % 10 == number:
                    taken.append(int(r.getdel("taken:%d" % (i % 5)) or 0))

        self.by_threads(5, count)
        rest = [int(v) for v in self.r.mget(["taken:%d" % i for i in range(5)]) if v]
        self.assertEqual(sum(taken) + sum(rest), 1500)

    def test_versions_of_keys(self):
        """One INCR makes everything of a namespace old at once."""
        for generation in range(1, 4):
            version = self.r.incr("catalog:version")
            self.assertEqual(version, generation)
            keys = ["catalog:v%d:%d" % (version, i) for i in range(50)]
            self.assertEqual(self.r.mget(keys), [None] * 50)
            self.assertTrue(self.r.mset({key: "%s/%d" % (key, generation) for key in keys}))
            self.assertEqual(self.r.mget(keys), ["%s/%d" % (key, generation) for key in keys])
        old = [key for key in self.r.scan_iter("catalog:v[12]:*", count=100)]
        self.assertEqual((len(old), self.r.unlink(*old)), (100, 100))
        self.assertEqual(len(self.r.keys("catalog:v*:*")), 50)

    def test_versions_of_values(self):
        """Write only over the version that was read."""
        swap = self.r.register_script(
            "if (redis.call('HGET', KEYS[1], 'v') or '0') ~= ARGV[1] then return 0 end "
            "redis.call('HSET', KEYS[1], 'v', ARGV[1] + 1, 'data', ARGV[2]) return 1"
        )
        wins = []

        def write(r, number):
            for _ in range(40):
                while True:
                    version = r.hget("doc", "v") or "0"
                    if swap(["doc"], [version, "by %d" % number], client=r):
                        wins.append(int(version))
                        break

        self.by_threads(4, write)
        self.assertEqual((sorted(wins), self.r.hget("doc", "v")), (list(range(160)), "160"))


class Load(Pattern):
    def test_50000_operations_at_once(self):
        """20 threads with 2,500 operations each over strings, hashes, lists, sets and sorted sets; each reply is compared."""

        def step(p, model, rnd, tag):
            """Queues one operation; answers the reply that a single server gives."""
            key, n = "%s:%d" % (tag, rnd.randrange(40)), rnd.randrange(1000)
            kind = rnd.randrange(10)
            if kind < 2:
                p.set("s" + key, n)
                model["s" + key] = str(n)
                return True
            if kind < 4:
                p.get("s" + key)
                return model.get("s" + key)
            if kind == 4:
                p.incrby("n" + key, n)
                model["n" + key] = model.get("n" + key, 0) + n
                return model["n" + key]
            if kind == 5:
                p.hset("h" + key, "f%d" % (n % 5), n)
                fields = model.setdefault("h" + key, {})
                new = "f%d" % (n % 5) not in fields
                fields["f%d" % (n % 5)] = str(n)
                return int(new)
            if kind == 6:
                p.hgetall("h" + key)
                return dict(model.get("h" + key, {}))
            if kind == 7:
                p.rpush("l" + key, n)
                model.setdefault("l" + key, []).append(str(n))
                return len(model["l" + key])
            if kind == 8:
                p.lpop("l" + key)
                return model["l" + key].pop(0) if model.get("l" + key) else None
            p.mget("s" + key, "s%s:0" % tag, "none" + key)
            return [model.get("s" + key), model.get("s%s:0" % tag), None]

        def work(r, number):
            model, rnd = {}, random.Random(number)
            for batch in range(250):
                p = r.pipeline(transaction=False)
                expected = [step(p, model, rnd, "load:%d" % number) for _ in range(10)]
                p.incr("load:everyone")
                got = p.execute()
                self.assertEqual(got[:-1], expected)
                self.assertGreater(got[-1], batch)

        self.by_threads(20, work)
        self.assertEqual(self.r.get("load:everyone"), "5000")

    def test_single_operations_of_many_clients(self):
        """Without pipelines: every request waits for its reply, 50 connections."""
        began = time.monotonic()

        def work(r, number):
            for i in range(60):
                value = "%d:%d" % (number, i)
                self.assertTrue(r.set("single:%d" % number, value))
                self.assertEqual(r.get("single:%d" % number), value)
                self.assertEqual(r.append("single:%d" % number, "!"), len(value) + 1)

        self.by_threads(50, work)
        self.assertLess(time.monotonic() - began, 40 * support.TIME_SCALE)


if __name__ == "__main__":
    support.main()
