"""redis-py: what applications do with it, from several threads where they would; errors, passwords, size and load."""

import hashlib
import threading
import time
import unittest

import redis
import support

NOW = 1700000000000


class RedisPy(unittest.TestCase):
    def setUp(self):
        self.r = redis.Redis(support.HOST, support.PORT, socket_timeout=30, decode_responses=True)
        self.addCleanup(self.r.close)

    def tearDown(self):
        self.r.connection_pool.disconnect()

    def test_cache_aside(self):
        for i in range(20):
            self.assertIsNone(self.r.get("cache:%d" % i))
            self.assertTrue(self.r.set("cache:%d" % i, "row %d" % i, ex=60))
            self.assertEqual(self.r.get("cache:%d" % i), "row %d" % i)
            self.assertGreater(self.r.ttl("cache:%d" % i), 55)
        self.assertIsNone(self.r.set("cache:7", "x", nx=True))
        self.assertEqual(self.r.getex("cache:7", ex=10), "row 7")
        self.assertLessEqual(self.r.ttl("cache:7"), 10)

    def test_sessions(self):
        for i in range(50):
            key = "session:%d" % i
            self.assertEqual(self.r.hset(key, mapping={"user": "u%d" % i, "visits": 1}), 2)
            self.assertTrue(self.r.expire(key, 1800))
            self.assertEqual(self.r.hincrby(key, "visits", 2), 3)
            self.assertEqual(self.r.hgetall(key), {"user": "u%d" % i, "visits": "3"})
            self.assertEqual(self.r.delete(key), 1)
            self.assertEqual(self.r.hgetall(key), {})

    def test_counters_pipelined_from_threads(self):
        failures = []

        def work():
            try:
                for _ in range(10):
                    p = self.r.pipeline(transaction=False)
                    for i in range(50):
                        p.incr("count:%d" % i).incrby("count:by:%d" % i, 10).hincrby("count:h:%d" % i, "f", 3)
                    p.execute()
            except Exception as e:
                failures.append(e)

        threads = [threading.Thread(target=work) for _ in range(4)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        self.assertEqual(failures, [])
        for i in range(50):
            self.assertEqual((self.r.get("count:%d" % i), self.r.get("count:by:%d" % i)), ("40", "400"))
            self.assertEqual(self.r.hget("count:h:%d" % i, "f"), "120")

    def test_leaderboard(self):
        self.assertEqual(self.r.zadd("board", {"player%d" % i: i * 10 for i in range(200)}), 200)
        self.assertEqual(self.r.zincrby("board", 5000, "player3"), 5030.0)
        self.assertEqual(self.r.zrevrank("board", "player3"), 0)
        self.assertEqual(self.r.zrevrange("board", 0, 1, withscores=True), [("player3", 5030.0), ("player199", 1990.0)])
        rank = self.r.zrevrank("board", "player100")
        self.assertEqual(self.r.zrevrange("board", rank - 1, rank + 1), ["player101", "player100", "player99"])
        self.assertIsNone(self.r.zrevrank("board", "nobody"))

    def test_limiters_by_register_script(self):
        window = self.r.register_script(support.script("limiter_window"))
        bucket = self.r.register_script(support.script("limiter_bucket"))
        self.r.script_flush()
        allowed = [window(["limit:w"], [NOW + i, 60000, 4, "id%d" % i])[0] for i in range(8)]
        self.assertEqual(allowed, [1, 1, 1, 1, 0, 0, 0, 0])
        self.assertEqual(window(["limit:w"], [NOW + 120000, 60000, 4, "later"]), [1, 1])
        left = [bucket(["limit:b"], [NOW, 3, 1, 1]) for _ in range(4)]
        self.assertEqual(left, [[1, 2], [1, 1], [1, 0], [0, 0]])
        for i in range(30):  # every shard has it, not only the one that first said NOSCRIPT
            self.assertEqual(bucket(["limit:b:%d" % i], [NOW, 3, 1, 1]), [1, 2])

    def test_script_in_a_pipeline(self):
        bucket = self.r.register_script(support.script("limiter_bucket"))
        self.r.script_flush()
        p = self.r.pipeline(transaction=False)
        for i in range(30):
            bucket(["limit:p:%d" % i], [NOW, 3, 1, 1], client=p)
        self.assertEqual(p.execute(), [[1, 2]] * 30)

    def test_eval_makes_the_script_known_for_every_key(self):
        text = "return redis.call('INCR', KEYS[1])"
        self.r.script_flush()
        self.assertEqual(self.r.eval(text, 1, "known:first"), 1)
        sha = hashlib.sha1(text.encode()).hexdigest()
        for i in range(30):
            self.assertEqual(self.r.evalsha(sha, 1, "known:%d" % i), 1)

    def test_streams(self):
        ids = [self.r.xadd("jobs", {"n": i}) for i in range(10)]
        self.assertTrue(self.r.xgroup_create("jobs", "workers", "0"))
        with self.assertRaisesRegex(redis.ResponseError, "BUSYGROUP"):
            self.r.xgroup_create("jobs", "workers", "0")
        (name, entries), = self.r.xreadgroup("workers", "a", {"jobs": ">"}, count=6)
        self.assertEqual((name, entries), ("jobs", [(ids[i], {"n": str(i)}) for i in range(6)]))
        self.assertEqual(self.r.xack("jobs", "workers", ids[0], ids[1]), 2)
        pending = self.r.xpending("jobs", "workers")
        self.assertEqual((pending["pending"], pending["min"], pending["max"]), (4, ids[2], ids[5]))
        claimed = self.r.execute_command("XAUTOCLAIM", "jobs", "workers", "b", 0, "0-0")
        self.assertEqual(claimed[0], "0-0")
        detail = self.r.xpending_range("jobs", "workers", "-", "+", 10)
        self.assertEqual([(d["message_id"], d["consumer"]) for d in detail], [(i, "b") for i in ids[2:6]])

    def test_queue_from_two_connections(self):
        taken = []

        def work():
            with redis.Redis(support.HOST, support.PORT, single_connection_client=True) as worker:
                while not taken or taken[-1] != b"end":
                    popped = worker.brpop(["{q}jobs", "{q}more"], timeout=10)
                    if popped is None:
                        return
                    taken.append(popped[1])

        t = threading.Thread(target=work)
        t.start()
        for i in range(100):
            self.r.lpush("{q}jobs", "job%d" % i)
        self.r.lpush("{q}jobs", "end")
        t.join()
        self.assertEqual(taken, [b"job%d" % i for i in range(100)] + [b"end"])
        began = time.monotonic()
        self.assertIsNone(self.r.blpop("{q}jobs", timeout=1))
        self.assertLess(time.monotonic() - began, 10)

    def test_over_slots(self):
        pairs = {"multi:%d" % i: "v%d" % i for i in range(300)}
        keys = list(pairs)
        self.assertTrue(self.r.mset(pairs))
        self.assertEqual(self.r.mget(keys + ["multi:none"]), list(pairs.values()) + [None])
        self.assertEqual(set(self.r.scan_iter("multi:*", count=50)), set(keys))
        self.assertEqual((self.r.exists(*keys), self.r.touch(*keys)), (300, 300))
        self.assertEqual((self.r.delete(*keys[:100]), self.r.unlink(*keys)), (100, 200))

    def test_big_binary_values(self):
        with redis.Redis(support.HOST, support.PORT) as r:
            for size in (1 << 20, 20 << 20):
                value = support.pattern(size)
                self.assertTrue(r.set("big", value))
                self.assertTrue(r.get("big") == value, "the value of %d bytes came back changed" % size)
                p = r.pipeline(transaction=False).get("small").getrange("big", size - 5, -1).strlen("big")
                self.assertEqual(p.execute(), [None, value[-5:], size])

    def test_50000_commands_in_a_pipeline(self):
        p = self.r.pipeline(transaction=False)
        for i in range(50000):
            p.incr("pipe:%d" % (i % 100))
        self.assertEqual(p.execute(), [i // 100 + 1 for i in range(50000)])

    def test_name_info_and_leaving(self):
        with redis.Redis(support.HOST, support.PORT, client_name="app", health_check_interval=1, decode_responses=True) as r:
            self.assertEqual(r.client_getname(), "app")
            self.assertIn("app", [c["name"] for c in r.client_list()])
            self.assertEqual(r.info("persistence")["loading"], 0)
            self.assertRegex(r.info()["redis_version"], r"^\d+\.\d+\.\d+$")
            self.assertIsInstance(r.config_get("maxclients"), dict)
            self.assertIsInstance(r.slowlog_get(), list)

    def test_quit_says_ok_and_closes(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20)
        c.send_command("SET", "quit:k", "v")
        c.send_command("QUIT")
        self.assertEqual([c.read_response(), c.read_response()], [b"OK", b"OK"])
        self.assertRaises(redis.ConnectionError, c.read_response)

    def test_passwords(self):
        for user in ("", "default"):
            url = "redis://%s:%s@%s:%d/0" % (user, support.AUTH_PASSWORD, support.HOST, support.AUTH_PORT)
            with redis.from_url(url) as r:
                self.assertTrue(r.set("auth:k", "v"))
        with redis.Redis(support.HOST, support.AUTH_PORT, password="nope") as r:
            self.assertRaisesRegex(redis.RedisError, "(?i)invalid username-password", r.ping)
        with redis.Redis(support.HOST, support.AUTH_PORT) as r:
            self.assertRaisesRegex(redis.RedisError, "(?i)authentication required", r.get, "auth:k")

    def test_errors_and_going_on(self):
        self.r.set("err:s", "x")
        with self.assertRaisesRegex(redis.ResponseError, "WRONGTYPE Operation against a key"):
            self.r.lpush("err:s", "y")
        with self.assertRaisesRegex(redis.ResponseError, "don't hash to the same slot.*hash tag"):
            self.r.rename("err:a", "err:b")
        with self.assertRaisesRegex(redis.ResponseError, "unknown command 'NOSUCHCOMMAND'"):
            self.r.execute_command("NOSUCHCOMMAND")
        p = self.r.pipeline(transaction=False).set("err:p", 1).lpush("err:p", "x").get("err:p")
        first, second, third = p.execute(raise_on_error=False)
        self.assertEqual((first, third), (True, "1"))
        self.assertRegex(str(second), "^WRONGTYPE")

    def test_transactions_of_one_slot(self):
        with self.r.pipeline() as p:
            p.set("{txn}a", "1").incr("{txn}n").incr("{txn}n").get("{txn}a")
            self.assertEqual(p.execute(), [True, 1, 2, "1"])
        with self.r.pipeline() as p:
            p.set("txn:a", "1").set("txn:b", "2")
            self.assertRaises(redis.RedisError, p.execute)
        self.assertEqual(self.r.exists("txn:a", "txn:b"), 0)

    def test_scan_iter_is_complete(self):
        kinds = {"string": set(), "hash": set(), "zset": set(), "list": set(), "set": set(), "stream": set()}
        p = self.r.pipeline(transaction=False)
        for i in range(400):
            p.set("scan:s:%d" % i, i).hset("scan:h:%d" % i, "f", i).zadd("scan:z:%d" % i, {"m": i})
            p.rpush("scan:l:%d" % i, i).sadd("scan:e:%d" % i, i).xadd("scan:x:%d" % i, {"f": i})
            for kind, letter in zip(kinds, "shzlex"):
                kinds[kind].add("scan:%s:%d" % (letter, i))
        p.execute()
        everything = set().union(*kinds.values())
        for count in (None, 1, 7, 100, 100000):
            found = list(self.r.scan_iter("scan:*", count=count))
            self.assertEqual((set(found), len(found)), (everything, len(everything)), count)
        for kind, keys in kinds.items():
            self.assertEqual(set(self.r.scan_iter("scan:*", count=500, _type=kind)), keys)
        self.assertEqual(set(self.r.scan_iter("scan:[sh]:39?", _type="hash")), {"scan:h:%d" % i for i in range(390, 400)})
        self.assertEqual(list(self.r.scan_iter("scan:none:*")), [])
        self.assertEqual(set(self.r.keys("scan:z:*")), kinds["zset"])
        self.assertIn(self.r.randomkey(), set(self.r.scan_iter()))

    def test_scans_within_a_key(self):
        members = ["m%d" % i for i in range(2000)]
        self.r.sadd("inner:set", *members)
        self.r.hset("inner:hash", mapping={m: i for i, m in enumerate(members)})
        self.r.zadd("inner:zset", {m: i for i, m in enumerate(members)})
        self.assertEqual(set(self.r.sscan_iter("inner:set", count=50)), set(members))
        self.assertEqual(dict(self.r.hscan_iter("inner:hash", count=50)), {m: str(i) for i, m in enumerate(members)})
        self.assertEqual(dict(self.r.zscan_iter("inner:zset", match="m19?")), {"m19%d" % i: 190.0 + i for i in range(10)})

    def test_stream_groups_in_detail(self):
        ids = [self.r.xadd("detail", {"n": i}, id="%d-1" % (i + 1)) for i in range(10)]
        self.assertEqual(self.r.xlen("detail"), 10)
        self.assertEqual([i for i, _ in self.r.xrange("detail", "3-0", "5-9")], ids[2:5])
        self.assertEqual([i for i, _ in self.r.xrevrange("detail", count=2)], [ids[9], ids[8]])
        self.r.xgroup_create("detail", "g", id="2-1", entries_read=2)
        self.assertEqual(self.r.xgroup_createconsumer("detail", "g", "idle"), 1)
        ((_, first),) = self.r.xreadgroup("g", "a", {"detail": ">"}, count=3)
        ((_, second),) = self.r.xreadgroup("g", "b", {"detail": ">"}, count=2, noack=True)
        self.assertEqual([i for i, _ in first + second], ids[2:7])
        (group,) = self.r.xinfo_groups("detail")
        self.assertEqual((group["consumers"], group["pending"], group["last-delivered-id"], group["lag"]), (3, 3, ids[6], 3))
        self.assertEqual({c["name"]: c["pending"] for c in self.r.xinfo_consumers("detail", "g")}, {"a": 3, "b": 0, "idle": 0})
        claimed = self.r.xclaim("detail", "g", "b", 0, [ids[2], ids[3]])
        self.assertEqual(claimed, [(ids[2], {"n": "2"}), (ids[3], {"n": "3"})])
        self.assertEqual(self.r.xclaim("detail", "g", "b", 0, [ids[4]], justid=True), [ids[4]])
        detail = self.r.xpending_range("detail", "g", "-", "+", 10, consumername="b")
        self.assertEqual([(d["message_id"], d["times_delivered"]) for d in detail], [(ids[2], 2), (ids[3], 2), (ids[4], 1)])
        self.assertEqual(self.r.xack("detail", "g", *ids[2:4]), 2)
        self.assertEqual(self.r.xgroup_delconsumer("detail", "g", "b"), 1)
        self.assertEqual(self.r.xdel("detail", ids[0], ids[9]), 2)
        self.assertEqual(self.r.xtrim("detail", maxlen=5, approximate=False), 3)
        self.assertEqual(self.r.xtrim("detail", minid=ids[6]), 0)
        info = self.r.xinfo_stream("detail")
        self.assertEqual((info["length"], info["last-generated-id"], info["first-entry"][0]), (5, ids[9], ids[4]))
        self.assertEqual(self.r.xgroup_destroy("detail", "g"), 1)
        with self.assertRaisesRegex(redis.ResponseError, "^No such key|NOGROUP"):
            self.r.xreadgroup("g", "a", {"detail": ">"})

    def test_functions(self):
        library = """#!lua name=compat
            redis.register_function('compat_add', function(keys, args) return redis.call('INCRBY', keys[1], args[1]) end)
            redis.register_function{function_name='compat_get', flags={'no-writes'},
                callback=function(keys, args) return redis.call('GET', keys[1]) end}"""
        self.r.function_flush()
        self.assertEqual(self.r.function_load(library), "compat")
        self.assertRaisesRegex(redis.ResponseError, "already exists", self.r.function_load, library)
        self.assertEqual(self.r.function_load(library, replace=True), "compat")
        for i in range(30):  # every shard has it
            self.assertEqual(self.r.fcall("compat_add", 1, "fn:%d" % i, i), i)
            self.assertEqual(self.r.fcall_ro("compat_get", 1, "fn:%d" % i), str(i))
        with self.assertRaisesRegex(redis.ResponseError, "write flag"):
            self.r.fcall_ro("compat_add", 1, "fn:1", 1)
        (listed,) = self.r.function_list(library="compat")
        self.assertIn("compat", listed)
        dump = redis.Redis(support.HOST, support.PORT).function_dump()
        self.assertTrue(self.r.function_delete("compat"))
        self.assertRaisesRegex(redis.ResponseError, "Function not found", self.r.fcall, "compat_add", 1, "fn:1", 1)
        self.assertTrue(self.r.function_restore(dump))
        self.assertEqual(self.r.fcall("compat_add", 1, "fn:1", 1), 2)
        self.r.function_flush()

    def test_values_of_every_type(self):
        self.assertEqual(self.r.setrange("v:s", 3, "abc"), 6)
        self.assertEqual((self.r.setbit("v:b", 7, 1), self.r.bitcount("v:b"), self.r.bitpos("v:b", 1)), (0, 1, 7))
        self.assertEqual(self.r.bitfield("v:f").set("u8", 0, 200).incrby("u8", 0, 100, "SAT").execute(), [0, 255])
        self.assertEqual((self.r.incrbyfloat("v:n", 10.5), self.r.append("v:n", "0")), (10.5, 5))
        self.assertEqual(self.r.linsert("v:l", "BEFORE", "x", "y"), 0)
        self.assertEqual((self.r.rpush("v:l", *"abcab"), self.r.lpos("v:l", "b", count=0)), (5, [1, 4]))
        self.assertEqual((self.r.lrem("v:l", 1, "a"), self.r.lrange("v:l", 0, -1)), (1, ["b", "c", "a", "b"]))
        self.assertEqual((self.r.pfadd("v:hll", *range(1000)), abs(self.r.pfcount("v:hll") - 1000) < 50), (1, True))
        self.assertEqual(self.r.geoadd("v:geo", [13.361389, 38.115556, "Palermo", 15.087269, 37.502669, "Catania"]), 2)
        self.assertEqual(self.r.geosearch("v:geo", longitude=15, latitude=37, radius=100, unit="km"), ["Catania"])
        self.assertAlmostEqual(self.r.geodist("v:geo", "Palermo", "Catania", "km"), 166.2742, 3)
        self.assertEqual(self.r.sadd("{v}1", *"abc") + self.r.sadd("{v}2", *"bcd"), 6)
        self.assertEqual((self.r.sinter("{v}1", "{v}2"), self.r.sintercard(2, ["{v}1", "{v}2"])), ({"b", "c"}, 2))
        self.assertEqual((self.r.sdiffstore("{v}3", "{v}1", "{v}2"), self.r.smismember("{v}3", ["a", "b"])), (1, [1, 0]))
        self.assertEqual(self.r.zadd("v:z", {"a": 1, "b": 2.5, "c": float("inf")}), 3)
        self.assertEqual(self.r.zrangebyscore("v:z", "(1", "+inf", withscores=True), [("b", 2.5), ("c", float("inf"))])
        self.assertEqual((self.r.zmscore("v:z", ["a", "x"]), self.r.zpopmax("v:z")), ([1.0, None], [("c", float("inf"))]))
        self.assertEqual((self.r.hsetnx("v:h", "f", "1"), self.r.hincrbyfloat("v:h", "f", 0.5)), (True, 1.5))
        self.assertEqual((self.r.hmget("v:h", "f", "g"), self.r.hstrlen("v:h", "f")), (["1.5", None], 3))
        raw = redis.Redis(support.HOST, support.PORT)
        self.assertEqual(raw.restore("v:copy", 0, raw.dump("v:z")), b"OK")
        self.assertEqual(self.r.zrange("v:copy", 0, -1), ["a", "b"])
        self.assertEqual(self.r.sort("v:l", alpha=True, desc=True), ["c", "b", "b", "a"])
        self.assertEqual((self.r.copy("{v}1", "{v}9"), self.r.type("{v}9")), (True, "set"))
        self.assertFalse(self.r.renamenx("{v}9", "{v}2"))


if __name__ == "__main__":
    support.main()
