"""redis-py under asyncio: many tasks over one pool, queues, scripts, streams, publish and subscribe, WATCH, locks."""

import asyncio
import unittest

import redis.asyncio
import support

NOW = 1700000000000


class RedisAsyncio(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        asyncio.get_running_loop().set_debug(False)
        pool = redis.asyncio.BlockingConnectionPool(
            host=support.HOST, port=support.PORT, max_connections=50, timeout=60, decode_responses=True
        )
        self.r = redis.asyncio.Redis(connection_pool=pool)

    async def asyncTearDown(self):
        await self.r.connection_pool.disconnect()

    async def until_listed(self, name, wanted):
        """Waits until the proxy lists clients of this name, and only in these commands."""
        for _ in range(2000):
            commands = [c["cmd"] for c in await self.r.client_list() if c["name"] == name]
            if commands == wanted:
                return
            await asyncio.sleep(0.005)
        self.fail("client %s is in %s, not in %s" % (name, commands, wanted))

    async def test_cache_aside_and_sessions(self):
        async def one(i):
            self.assertIsNone(await self.r.get("a:cache:%d" % i))
            self.assertTrue(await self.r.set("a:cache:%d" % i, i, ex=60))
            self.assertEqual(await self.r.get("a:cache:%d" % i), str(i))
            self.assertEqual(await self.r.hset("a:session:%d" % i, mapping={"u": i, "c": "x"}), 2)
            self.assertTrue(await self.r.expire("a:session:%d" % i, 100))
            self.assertEqual(await self.r.hgetall("a:session:%d" % i), {"u": str(i), "c": "x"})

        await asyncio.gather(*(one(i) for i in range(200)))

    async def test_counters_pipelined(self):
        async def one():
            p = self.r.pipeline(transaction=False)
            for i in range(50):
                p.incr("a:count:%d" % i).hincrby("a:h:%d" % i, "f", 2)
            return await p.execute()

        await asyncio.gather(*(one() for _ in range(20)))
        self.assertEqual(await self.r.mget(["a:count:%d" % i for i in range(50)]), ["20"] * 50)

    async def test_2000_operations_at_once(self):
        await asyncio.gather(*(self.r.set("a:many:%d" % i, i) for i in range(2000)))
        got = await asyncio.gather(*(self.r.get("a:many:%d" % i) for i in range(2000)))
        self.assertEqual(got, [str(i) for i in range(2000)])

    async def test_limiter_by_register_script(self):
        await self.r.script_flush()
        bucket = self.r.register_script(support.script("limiter_bucket"))
        replies = await asyncio.gather(*(bucket(["a:limit"], [NOW, 5, 1, 1]) for _ in range(12)))
        self.assertEqual(sum(allowed for allowed, _ in replies), 5)

    async def test_leaderboard(self):
        await self.r.zadd("a:board", {"p%d" % i: i for i in range(100)})
        self.assertEqual(await self.r.zrevrank("a:board", "p90"), 9)
        self.assertEqual(await self.r.zrevrange("a:board", 8, 10, withscores=True), [("p91", 91.0), ("p90", 90.0), ("p89", 89.0)])

    async def test_queue(self):
        async def work():
            taken = []
            while True:
                _, job = await self.r.brpop("a:queue", timeout=10)
                if job == "end":
                    return taken
                taken.append(job)

        workers = [asyncio.create_task(work()) for _ in range(4)]
        for i in range(200):
            await self.r.lpush("a:queue", i)
        await self.r.lpush("a:queue", *["end"] * 4)
        taken = sum(await asyncio.gather(*workers), [])
        self.assertEqual(sorted(map(int, taken)), list(range(200)))

    async def test_a_cancelled_pop_takes_nothing(self):
        """The client leaves in the middle of a block: the job that comes later must stay in the list."""
        gone = redis.asyncio.Redis(host=support.HOST, port=support.PORT, decode_responses=True, client_name="gone")
        task = asyncio.create_task(gone.blpop("a:left", timeout=20))
        await self.until_listed("gone", ["blpop"])
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await gone.connection_pool.disconnect()
        await self.until_listed("gone", [])
        await self.r.rpush("a:left", "job")
        for _ in range(2000):  # what its node gave it in the moment of leaving is put back
            if await self.r.llen("a:left"):
                break
            await asyncio.sleep(0.005)
        self.assertEqual(await self.r.lrange("a:left", 0, -1), ["job"])

    async def test_streams_and_blocking_read(self):
        await self.r.xgroup_create("a:jobs", "g", "$", mkstream=True)
        read = asyncio.create_task(self.r.xreadgroup("g", "c", {"a:jobs": ">"}, count=1, block=8000))
        entry = await self.r.xadd("a:jobs", {"k": "v"})
        self.assertEqual(await read, [["a:jobs", [(entry, {"k": "v"})]]])
        self.assertEqual((await self.r.xpending("a:jobs", "g"))["pending"], 1)
        self.assertEqual(await self.r.xack("a:jobs", "g", entry), 1)

    async def take(self, ps):
        """The next message, whatever it is."""
        message = None
        for _ in range(200):
            message = await ps.get_message(timeout=1)
            if message is not None:
                return message
        self.fail("no message came")

    async def test_subscribe_patterns_and_leave(self):
        async with self.r.pubsub() as ps:
            await ps.subscribe("a:ch")
            await ps.psubscribe("a:*")
            self.assertEqual([(await self.take(ps))["type"] for _ in range(2)], ["subscribe", "psubscribe"])
            self.assertEqual(await self.r.publish("a:ch", "m"), 2)
            got = [await self.take(ps) for _ in range(2)]
            self.assertEqual({(m["type"], m["data"]) for m in got}, {("message", "m"), ("pmessage", "m")})
            self.assertEqual(await self.r.pubsub_numsub("a:ch"), [("a:ch", 1)])
            await ps.unsubscribe("a:ch")
            self.assertEqual((await self.take(ps))["type"], "unsubscribe")
            self.assertEqual(await self.r.publish("a:ch", "m"), 1)

    async def test_a_room_of_chatters(self):
        """Everybody listens and everybody speaks: each hears all, and each speaker in the order of speaking."""
        members, lines = 12, 25
        ready = asyncio.Semaphore(0)
        everybody = asyncio.Event()

        async def listen():
            heard = []
            async with self.r.pubsub(ignore_subscribe_messages=False) as ps:
                await ps.subscribe("a:room")
                self.assertEqual((await self.take(ps))["type"], "subscribe")
                ready.release()
                while len(heard) < members * lines:
                    heard.append(tuple(map(int, (await self.take(ps))["data"].split())))
            return heard

        async def speak(who):
            await everybody.wait()
            for line in range(lines):
                self.assertEqual(await self.r.publish("a:room", "%d %d" % (who, line)), members)

        listeners = [asyncio.create_task(listen()) for _ in range(members)]
        for _ in range(members):
            await asyncio.wait_for(ready.acquire(), 30)
        everybody.set()
        await asyncio.gather(*(speak(who) for who in range(members)))
        heard = await asyncio.gather(*listeners)
        for one in heard:
            by_speaker = [[line for who, line in one if who == speaker] for speaker in range(members)]
            self.assertEqual(by_speaker, [list(range(lines))] * members)

    async def test_listener_task_with_handlers(self):
        heard = []
        ps = self.r.pubsub(ignore_subscribe_messages=True)
        await ps.subscribe(**{"a:handler": lambda m: heard.append(m["data"])})
        task = asyncio.create_task(ps.run(poll_timeout=0.05))
        while (await self.r.pubsub_numsub("a:handler"))[0][1] != 1:
            await asyncio.sleep(0.005)
        for i in range(100):
            await self.r.publish("a:handler", i)
        while len(heard) < 100:
            await asyncio.sleep(0.005)
        task.cancel()
        with self.assertRaises(asyncio.CancelledError):
            await task
        await ps.close()
        self.assertEqual(heard, [str(i) for i in range(100)])

    async def test_keyspace_notifications(self):
        await self.r.config_set("notify-keyspace-events", "Ex")
        try:
            async with self.r.pubsub() as ps:
                await ps.psubscribe("__keyevent@*__:expired")
                await self.take(ps)
                keys = ["a:exp:%d" % i for i in range(20)]
                await asyncio.gather(*(self.r.set(key, 1, px=40) for key in keys))
                while await self.r.exists(*keys):
                    await asyncio.sleep(0.01)
                self.assertEqual(sorted([(await self.take(ps))["data"] for _ in keys]), sorted(keys))
        finally:
            await self.r.config_set("notify-keyspace-events", "")

    async def test_watch_from_many_tasks(self):
        async def add():
            async with self.r.pipeline() as p:
                while True:
                    try:
                        await p.watch("{a}count")
                        value = int(await p.get("{a}count") or 0)
                        p.multi()
                        p.set("{a}count", value + 1)
                        return await p.execute()
                    except redis.WatchError:
                        continue

        await asyncio.gather(*(add() for _ in range(30)))
        self.assertEqual(await self.r.get("{a}count"), "30")

    async def test_transactions(self):
        async def one(i):
            async with self.r.pipeline(transaction=True) as p:
                p.set("{a:%d}x" % i, i).incr("{a:%d}n" % i).mget("{a:%d}x" % i, "{a:%d}n" % i)
                self.assertEqual(await p.execute(), [True, 1, [str(i), "1"]])

        await asyncio.gather(*(one(i) for i in range(100)))

    async def test_lock(self):
        inside = 0

        async def work():
            nonlocal inside
            async with self.r.lock("a:lock", timeout=20, sleep=0.005):
                inside += 1
                self.assertEqual(inside, 1, "two tasks are inside")
                await self.r.incr("a:locked")
                inside -= 1

        await asyncio.gather(*(work() for _ in range(20)))
        self.assertEqual(await self.r.get("a:locked"), "20")
        lock = self.r.lock("a:lock2", timeout=10)
        await lock.acquire()
        await self.r.set("a:lock2", "another's")
        with self.assertRaises(redis.exceptions.LockNotOwnedError):
            await lock.release()

    async def test_more_tasks_than_connections(self):
        pool = redis.asyncio.BlockingConnectionPool(host=support.HOST, port=support.PORT, max_connections=3, timeout=60)
        r = redis.asyncio.Redis(connection_pool=pool)
        await asyncio.gather(*(r.incr("a:pool:%d" % (i % 7)) for i in range(700)))
        self.assertEqual(await r.mget(["a:pool:%d" % i for i in range(7)]), [b"100"] * 7)
        await pool.disconnect()

    async def test_pipelines_of_many_tasks(self):
        async def one(task):
            p = self.r.pipeline(transaction=False)
            for i in range(200):
                p.set("a:p:%d:%d" % (task, i), i).get("a:p:%d:%d" % (task, i))
            self.assertEqual(await p.execute(), [v for i in range(200) for v in (True, str(i))])

        await asyncio.gather(*(one(task) for task in range(20)))

    async def test_scan_iter(self):
        await self.r.mset({"a:scan:%d" % i: i for i in range(500)})
        self.assertEqual({key async for key in self.r.scan_iter("a:scan:*", count=20)}, {"a:scan:%d" % i for i in range(500)})

    async def test_monitor(self):
        async with self.r.monitor() as m:
            await self.r.set("a:mon", 1)
            await self.r.echo("a:end")
            seen = []
            while not seen or seen[-1] != "ECHO a:end":
                seen.append((await m.next_command())["command"])
        self.assertIn("SET a:mon 1", seen)

    async def test_errors_and_going_on(self):
        await self.r.set("a:err", "x")
        got = await asyncio.gather(self.r.lpush("a:err", 1), self.r.get("a:err"), return_exceptions=True)
        self.assertRegex(str(got[0]), "WRONGTYPE")
        self.assertEqual(got[1], "x")
        with self.assertRaisesRegex(redis.ResponseError, "unknown command 'NOSUCHCOMMAND'"):
            await self.r.execute_command("NOSUCHCOMMAND")
        self.assertTrue(await self.r.ping())

    async def test_big_value_and_password(self):
        url = "redis://:%s@%s:%d" % (support.AUTH_PASSWORD, support.HOST, support.AUTH_PORT)
        r = redis.asyncio.from_url(url)
        value = support.pattern(20 << 20)
        await r.set("a:big", value)
        self.assertTrue(await r.get("a:big") == value)
        await r.close()


if __name__ == "__main__":
    support.main()
