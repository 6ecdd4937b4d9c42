"""redis-py where several clients meet at one key: WATCH, transaction(), blocking pops, redis.lock."""

import threading
import time
import unittest

import redis
import redis.lock
import support


class Meeting(unittest.TestCase):
    def setUp(self):
        self.r = self.connect()

    def connect(self, **kw):
        r = redis.Redis(support.HOST, support.PORT, socket_timeout=30, **dict({"decode_responses": True}, **kw))
        self.addCleanup(r.connection_pool.disconnect)
        return r

    def until_blocked(self, name, n=1):
        """Waits until n clients of this name wait in a blocking command."""

        def blocked():
            return sum(c["name"] == name and "b" in c["flags"] for c in self.r.client_list()) == n

        support.wait_until(blocked, "%d blocked clients called %s" % (n, name))


class Watch(Meeting):
    def test_exec_when_nothing_changed(self):
        self.r.set("{w}a", 10)
        with self.r.pipeline() as p:
            p.watch("{w}a")
            value = int(p.get("{w}a"))
            p.multi()
            p.set("{w}a", value + 1).get("{w}a").set("{w}b", "x")
            self.assertEqual(p.execute(), [True, "11", True])
        self.assertEqual(self.r.mget("{w}a", "{w}b"), ["11", "x"])

    def test_watch_error_when_something_changed(self):
        other = self.connect()
        for change in (
            lambda: other.set("{w}x", "new"),
            lambda: other.delete("{w}x"),
            lambda: other.expire("{w}x", 100),
            lambda: other.rename("{w}x", "{w}y"),
            lambda: other.eval("return redis.call('APPEND', KEYS[1], 'x')", 1, "{w}x"),
            lambda: other.pipeline().incr("{w}z").set("{w}x", 2).execute(),
        ):
            self.r.set("{w}x", "old")
            with self.r.pipeline() as p:
                p.watch("{w}x", "{w}unrelated")
                p.multi()
                p.set("{w}done", "never")
                change()
                self.assertRaises(redis.WatchError, p.execute)
        self.assertIsNone(self.r.get("{w}done"))

    def test_a_key_that_comes_or_expires(self):
        with self.r.pipeline() as p:
            p.watch("{w}new")
            self.r.rpush("{w}new", 1)
            p.multi()
            p.set("{w}done", 1)
            self.assertRaises(redis.WatchError, p.execute)
        self.r.set("{w}short", 1, px=1000)  # it must still be there when it is watched
        with self.r.pipeline() as p:
            p.watch("{w}short")
            support.wait_until(lambda: not self.r.exists("{w}short"), "the key to expire")
            p.multi()
            p.set("{w}done", 1)
            self.assertRaises(redis.WatchError, p.execute)
        self.assertEqual(self.r.exists("{w}done"), 0)

    def test_unwatch_and_reset_forget(self):
        with self.r.pipeline() as p:
            for forget in (p.unwatch, p.reset):
                p.watch("{w}forget")
                self.r.incr("{w}forget")
                forget()
                p.multi()
                self.assertEqual(p.set("{w}kept", 1).execute(), [True])

    def test_a_change_after_exec_or_discard_is_no_change(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True)
        self.addCleanup(c.disconnect)

        def say(*args):
            c.send_command(*args)
            return c.read_response()

        for end, reply in ((["EXEC"], [1]), (["DISCARD"], "OK")):
            self.r.delete("{w}n")
            self.assertEqual((say("WATCH", "{w}k"), say("MULTI"), say("INCR", "{w}n")), ("OK", "OK", "QUEUED"))
            self.assertEqual(say(*end), reply)
            self.r.incr("{w}k")
            self.assertEqual((say("MULTI"), say("INCR", "{w}m"), len(say("EXEC"))), ("OK", "QUEUED", 1))
        say("MULTI")
        c.send_command("WATCH", "{w}k")
        self.assertRaisesRegex(redis.ResponseError, "WATCH inside MULTI is not allowed", c.read_response)
        self.assertEqual(say("EXEC"), [])

    def test_own_change_counts_as_well(self):
        with self.r.pipeline() as p:
            p.watch("{w}own")
            p.incr("{w}own")
            p.multi()
            p.incr("{w}own")
            self.assertRaises(redis.WatchError, p.execute)

    def test_binary_and_many_watched_keys(self):
        keys = ["{w}many:%d" % i for i in range(200)]
        with self.r.pipeline() as p:
            p.watch(*keys)
            p.multi()
            p.set(keys[0], 1)
            self.r.set(keys[137], 1)
            self.assertRaises(redis.WatchError, p.execute)

    def test_increments_by_watch_from_threads(self):
        """The textbook: read, add one, write if nobody else wrote. Nothing may be lost and nothing counted twice."""

        def add():
            r = self.connect()
            with r.pipeline() as p:
                for _ in range(40):
                    while True:
                        try:
                            p.watch("{w}count")
                            value = int(p.get("{w}count") or 0)
                            p.multi()
                            p.set("{w}count", value + 1)
                            p.execute()
                            break
                        except redis.WatchError:
                            continue

        with support.Threads() as threads:
            for _ in range(5):
                threads.start(add)
        self.assertEqual(self.r.get("{w}count"), "200")

    def test_transaction_helper_moves_money(self):
        self.r.mset({"{bank}a": 1000, "{bank}b": 0})

        def move(source, target, amount, r):
            def body(p):
                left, got = int(p.get(source)), int(p.get(target))
                p.multi()
                if left >= amount:
                    p.set(source, left - amount).set(target, got + amount)

            r.transaction(body, source, target)

        def work(i):
            r = self.connect()
            for n in range(25):
                pair = ("{bank}a", "{bank}b") if (i + n) % 2 else ("{bank}b", "{bank}a")
                move(*pair, 7, r)

        with support.Threads() as threads:
            for i in range(4):
                threads.start(work, i)
        self.assertEqual(sum(map(int, self.r.mget("{bank}a", "{bank}b"))), 1000)
        value = self.r.transaction(lambda p: p.get("{bank}a"), "{bank}a", value_from_callable=True)
        self.assertEqual(value, self.r.get("{bank}a"))

    def test_errors_in_a_transaction(self):
        self.r.set("{w}text", "x")
        with self.r.pipeline() as p:
            p.watch("{w}text")
            p.multi()
            p.set("{w}before", 1).incr("{w}text").set("{w}after", 1)
            with self.assertRaisesRegex(redis.ResponseError, r"Command # 2 \(INCRBY \{w\}text 1\).*not an integer"):
                p.execute()
        self.assertEqual(self.r.mget("{w}before", "{w}after"), ["1", "1"])
        with self.r.pipeline() as p:
            p.set("{w}never", 1).execute_command("NOSUCH")
            self.assertRaisesRegex(redis.ResponseError, "unknown command 'NOSUCH'", p.execute)
        self.assertIsNone(self.r.get("{w}never"))


class BlockingPops(Meeting):
    def test_first_come_first_served(self):
        got = []
        with support.Threads() as threads:
            for i in range(3):
                r = self.connect(client_name="bp-fair")
                threads.start(lambda r=r, i=i: got.append((i, r.blpop("bp:fair", timeout=20)[1])))
                self.until_blocked("bp-fair", i + 1)
                support.wait_until(lambda: support.blocked_at_nodes() == i + 1, "the node to hear of waiter %d" % i)
            for i in range(3):
                self.r.rpush("bp:fair", i)
                support.wait_until(lambda: len(got) == i + 1, "waiter %d to be served" % i)
        self.assertEqual(got, [(0, "0"), (1, "1"), (2, "2")])

    def test_every_blocking_command(self):
        self.r.xgroup_create("{bp}stream", "g", "$", mkstream=True)
        stream = "{bp}stream"
        for name, wait, give, expected in (
            ("brpop", lambda r: r.brpop(["{bp}1", "{bp}2"], 20), lambda r: r.rpush("{bp}2", "a", "b"), ("{bp}2", "b")),
            ("blmove", lambda r: r.blmove("{bp}3", "{bp}4", 20, "LEFT", "RIGHT"), lambda r: r.rpush("{bp}3", "a"), "a"),
            ("brpoplpush", lambda r: r.brpoplpush("{bp}5", "{bp}6", 20), lambda r: r.rpush("{bp}5", "a"), "a"),
            (
                "blmpop",
                lambda r: r.blmpop(20, 2, "{bp}7", "{bp}8", direction="LEFT", count=5),
                lambda r: r.rpush("{bp}8", 1, 2),
                ["{bp}8", ["1", "2"]],
            ),
            (
                "bzpopmin",
                lambda r: r.bzpopmin(["{bp}9", "{bp}z"], 20),
                lambda r: r.zadd("{bp}z", {"m": 2, "n": 1}),
                ("{bp}z", "n", 1.0),
            ),
            ("bzpopmax", lambda r: r.bzpopmax("{bp}y", 20), lambda r: r.zadd("{bp}y", {"m": 2, "n": 1}), ("{bp}y", "m", 2.0)),
            (
                "bzmpop",
                lambda r: r.bzmpop(20, 1, ["{bp}x"], max=True),
                lambda r: r.zadd("{bp}x", {"m": 2}),
                ["{bp}x", [["m", "2"]]],
            ),
            ("xread", lambda r: len(r.xread({stream: "$"}, block=20000)), lambda r: r.xadd(stream, {"f": 1}), 1),
            (
                "xreadgroup",
                lambda r: r.xreadgroup("g", "c", {stream: ">"}, block=20000)[0][1][0][1],
                lambda r: r.xadd(stream, {"f": 2}),
                {"f": "2"},
            ),
        ):
            if name == "xreadgroup":
                self.r.xgroup_setid(stream, "g", "$")
            got = []
            with support.Threads() as threads:
                threads.start(lambda: got.append(wait(self.connect(client_name="bp-" + name))))
                self.until_blocked("bp-" + name)
                # what is added before XREAD has come to the node is nothing new to it
                support.wait_until(lambda: support.blocked_at_nodes() == 1, "the node to hear of " + name)
                give(self.r)
            self.assertEqual(got, [expected], name)

    def test_timeouts_say_none(self):
        for call in (
            lambda: self.r.blpop("{bp}none", 0.1),
            lambda: self.r.brpop(["{bp}none", "{bp}none2"], 0.1),
            lambda: self.r.blmove("{bp}none", "{bp}none2", 0.1),
            lambda: self.r.bzpopmin("{bp}none", 0.1),
            lambda: self.r.blmpop(0.1, 1, "{bp}none", direction="LEFT"),
            lambda: self.r.xread({"{bp}none": "$"}, block=100) or None,
        ):
            began = time.monotonic()
            self.assertIsNone(call())
            self.assertGreater(time.monotonic() - began, 0.09)

    def test_pushed_in_a_transaction_and_by_a_script(self):
        for push in (
            lambda: self.r.pipeline().rpush("{bp}t", 1).rpush("{bp}t", 2).execute(),
            lambda: self.r.eval("redis.call('RPUSH', KEYS[1], 1, 2)", 1, "{bp}t"),
        ):
            got = []
            with support.Threads() as threads:
                threads.start(lambda: got.append(self.connect(client_name="bp-t").blpop("{bp}t", 20)))
                self.until_blocked("bp-t")
                push()
            self.assertEqual(got, [("{bp}t", "1")])
            self.assertEqual(self.r.lpop("{bp}t"), "2")

    def test_in_a_transaction_it_does_not_block(self):
        with self.r.pipeline() as p:
            self.assertEqual(p.blpop("{bp}no", 0).rpush("{bp}no", 1).blpop("{bp}no", 0).execute(), [None, 1, ("{bp}no", "1")])

    def test_unblock_by_id(self):
        for error, expected in ((False, "None"), (True, "UNBLOCKED client unblocked via CLIENT UNBLOCK")):
            got = []

            def wait():
                try:
                    got.append(self.connect(client_name="bp-unblock").blpop("bp:unblock", 20))
                except redis.ResponseError as e:
                    got.append(e)

            with support.Threads() as threads:
                threads.start(wait)
                self.until_blocked("bp-unblock")
                ids = [c["id"] for c in self.r.client_list() if c["name"] == "bp-unblock" and "b" in c["flags"]]
                self.assertEqual(len(ids), 1)
                self.assertEqual(self.r.client_unblock(int(ids[0]), error=error), 1)
            self.assertEqual(str(got[0]), expected)
            self.assertEqual(self.r.client_unblock(int(ids[0])), 0)

    def test_pipelined_behind_a_pop(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True, client_name="bp-pipe")
        self.addCleanup(c.disconnect)
        c.send_command("BLPOP", "{bp}pipe", 0)
        c.send_command("SET", "{bp}after", "x")
        c.send_command("GET", "{bp}after")
        self.until_blocked("bp-pipe")
        self.assertIsNone(self.r.get("{bp}after"))
        self.r.rpush("{bp}pipe", "v")
        self.assertEqual([c.read_response() for _ in range(3)], [["{bp}pipe", "v"], "OK", "x"])

    def test_a_queue_with_many_workers(self):
        taken = [[] for _ in range(8)]

        def work(i):
            r = self.connect()
            while True:
                _, job = r.brpop("bp:jobs", 20)
                if job == "end":
                    return
                taken[i].append(int(job))

        with support.Threads() as threads:
            for i in range(8):
                threads.start(work, i)
            for first in range(0, 2000, 100):
                p = self.r.pipeline(transaction=False)
                for i in range(first, first + 100):
                    p.lpush("bp:jobs", i)
                p.execute()
            self.r.lpush("bp:jobs", *["end"] * 8)
        self.assertEqual(sorted(sum(taken, [])), list(range(2000)))
        for own in taken:
            self.assertEqual(own, sorted(own), "one worker saw jobs out of order")


class Lock(Meeting):
    def test_acquire_and_release(self):
        lock = self.r.lock("lock:a", timeout=10)
        self.assertTrue(lock.acquire(blocking=False))
        self.assertTrue(lock.owned() and lock.locked())
        self.assertLessEqual(self.r.pttl("lock:a"), 10000)
        other = self.connect().lock("lock:a", timeout=10)
        self.assertFalse(other.acquire(blocking=False))
        self.assertFalse(other.acquire(blocking_timeout=0.2))
        lock.release()
        self.assertFalse(lock.locked())
        self.assertTrue(other.acquire(blocking=False))
        other.release()
        self.assertRaisesRegex(redis.exceptions.LockError, "unlocked lock", lock.release)

    def test_as_a_context(self):
        with self.r.lock("lock:ctx", timeout=10, blocking_timeout=1):
            self.assertTrue(self.r.exists("lock:ctx"))
            with self.assertRaises(redis.exceptions.LockError):
                with self.connect().lock("lock:ctx", timeout=10, blocking_timeout=0.1):
                    self.fail("two have the lock")
        self.assertFalse(self.r.exists("lock:ctx"))

    def test_extend_and_reacquire(self):
        lock = self.r.lock("lock:ext", timeout=10)
        lock.acquire(blocking=False)
        lock.extend(20)
        self.assertTrue(25000 < self.r.pttl("lock:ext") <= 30000)
        lock.extend(15, replace_ttl=True)
        self.assertTrue(10000 < self.r.pttl("lock:ext") <= 15000)
        lock.reacquire()
        self.assertTrue(5000 < self.r.pttl("lock:ext") <= 10000)
        lock.release()

    def test_lost_to_another(self):
        lock = self.r.lock("lock:lost", timeout=10)
        lock.acquire(blocking=False)
        self.r.set("lock:lost", "somebody else's")
        for call in (lock.reacquire, lock.release):
            self.assertRaises(redis.exceptions.LockNotOwnedError, call)
        self.assertEqual(self.r.get("lock:lost"), "somebody else's")
        expired = self.r.lock("lock:expired", timeout=0.05)
        expired.acquire(blocking=False)
        support.wait_until(lambda: not self.r.exists("lock:expired"), "the lock to expire")
        self.assertRaises(redis.exceptions.LockNotOwnedError, expired.extend, 10)
        self.assertRaises(redis.exceptions.LockNotOwnedError, expired.release)

    def test_after_the_scripts_are_forgotten(self):
        lock = self.r.lock("lock:flush", timeout=10)
        lock.acquire(blocking=False)
        self.r.script_flush()
        lock.extend(10)
        lock.release()

    def test_only_one_at_a_time(self):
        inside = threading.Semaphore(1)
        total = []

        def work():
            r = self.connect()
            for _ in range(10):
                with r.lock("lock:one", timeout=20, sleep=0.002):
                    self.assertTrue(inside.acquire(blocking=False), "two threads are inside")
                    value = int(r.get("lock:count") or 0)
                    r.set("lock:count", value + 1)
                    total.append(1)
                    inside.release()

        with support.Threads() as threads:
            for _ in range(6):
                threads.start(work)
        self.assertEqual((self.r.get("lock:count"), len(total)), ("60", 60))


if __name__ == "__main__":
    support.main()
