"""redis-py under asyncio: many tasks over one pool, queues, scripts, streams."""

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
        self.assertEqual(await self.r.lrange("a:left", 0, -1), ["job"])

    async def test_streams_and_blocking_read(self):
        await self.r.xgroup_create("a:jobs", "g", "$", mkstream=True)
        read = asyncio.create_task(self.r.xreadgroup("g", "c", {"a:jobs": ">"}, count=1, block=8000))
        entry = await self.r.xadd("a:jobs", {"k": "v"})
        self.assertEqual(await read, [["a:jobs", [(entry, {"k": "v"})]]])
        self.assertEqual((await self.r.xpending("a:jobs", "g"))["pending"], 1)
        self.assertEqual(await self.r.xack("a:jobs", "g", entry), 1)

    async def test_errors_and_going_on(self):
        await self.r.set("a:err", "x")
        got = await asyncio.gather(self.r.lpush("a:err", 1), self.r.get("a:err"), return_exceptions=True)
        self.assertRegex(str(got[0]), "WRONGTYPE")
        self.assertEqual(got[1], "x")
        with self.assertRaisesRegex(redis.ResponseError, support.NOT_SERVED):
            await self.r.publish("c", "m")
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
