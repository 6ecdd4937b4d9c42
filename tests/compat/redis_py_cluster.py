"""redis.cluster.RedisCluster and its asyncio twin, written for a cluster: they take the proxy's port for one node of it."""

import asyncio
import logging
import unittest

import redis
import redis.asyncio.cluster
import redis.cluster
import support


class RedisCluster(unittest.TestCase):
    def setUp(self):
        self.r = self.connect()

    def connect(self, port=support.PORT, **kw):
        kw = dict({"decode_responses": True, "socket_timeout": 30}, **kw)
        r = redis.cluster.RedisCluster(host=support.HOST, port=port, **kw)
        self.addCleanup(r.close)
        return r

    def test_the_map(self):
        self.assertIsNotNone(self.r.get_node(support.HOST, support.PORT), "the map does not have the address that was dialled")
        for key in ("a", "b", "c", "{x}1"):
            self.assertIn(self.r.get_node_from_key(key), self.r.get_primaries())
        self.assertEqual(len(self.r.nodes_manager.slots_cache), 16384)
        for node in self.r.get_primaries():
            self.assertTrue(self.r.ping(target_nodes=node))

    def test_keys_of_every_slot(self):
        for i in range(500):
            self.assertTrue(self.r.set("rc:%d" % i, i, ex=100))
        self.assertEqual([self.r.get("rc:%d" % i) for i in range(500)], [str(i) for i in range(500)])
        self.assertEqual(self.r.mget_nonatomic(["rc:%d" % i for i in range(50)]), [str(i) for i in range(50)])
        self.assertTrue(self.r.mset_nonatomic({"rc:m:%d" % i: i for i in range(50)}))
        self.assertEqual(self.r.exists(*("rc:m:%d" % i for i in range(50))), 50)
        self.assertEqual(self.r.delete(*("rc:m:%d" % i for i in range(50))), 50)

    def test_pipelines(self):
        p = self.r.pipeline()
        for i in range(300):
            p.incr("rc:p:%d" % i).hset("rc:h:%d" % i, "f", i)
        self.assertEqual(p.execute(), [1, 1] * 300)
        p = self.r.pipeline()
        p.set("rc:text", "x").incr("rc:text").get("rc:text")
        first, second, third = p.execute(raise_on_error=False)
        self.assertEqual((first, third), (True, "x"))
        self.assertRegex(str(second), "not an integer")

    def test_whole_keyspace_once(self):
        self.r.flushall()
        self.r.mset_nonatomic({"rc:all:%d" % i: i for i in range(400)})
        keys = {"rc:all:%d" % i for i in range(400)}
        for found in (list(self.r.scan_iter("rc:all:*", count=50)), self.r.keys("rc:all:*", target_nodes=self.r.PRIMARIES)):
            self.assertEqual((len(found), set(found)), (400, keys))
        self.assertEqual(self.r.dbsize(target_nodes=self.r.PRIMARIES), 400)
        self.assertIn(self.r.randomkey(), keys)
        self.assertTrue(self.r.flushdb())
        self.assertEqual(self.r.dbsize(target_nodes=self.r.PRIMARIES), 0)

    def test_cluster_commands(self):
        self.assertEqual(self.r.cluster_keyslot("user:7"), self.r.keyslot("user:7"))
        info = self.r.cluster_info(target_nodes=self.r.get_default_node())
        for field, value in (("cluster_state", "ok"), ("cluster_slots_assigned", "16384"), ("cluster_slots_fail", "0")):
            self.assertEqual(info[field], value, field)
        nodes = self.r.cluster_nodes()
        self.assertIn("%s:%d" % (support.HOST, support.PORT), nodes)
        self.assertTrue(any("master" in node["flags"] for node in nodes.values()))
        self.assertEqual(sum("myself" in node["flags"] for node in nodes.values()), 1)
        self.assertTrue(all(node["connected"] for node in nodes.values()))
        covered = sum(last - first + 1 for first, last in self.r.cluster_slots(self.r.get_default_node()))
        self.assertEqual(covered, 16384)
        shards = self.r.execute_command("CLUSTER SHARDS", target_nodes=self.r.get_default_node())
        self.assertGreaterEqual(len(shards), 1)
        self.r.set("{rc-slot}1", 1)
        self.r.set("{rc-slot}2", 2)
        slot = self.r.keyslot("{rc-slot}")
        self.assertEqual(self.r.cluster_countkeysinslot(slot), 2)
        self.assertEqual(set(self.r.cluster_get_keys_in_slot(slot, 10)), {"{rc-slot}1", "{rc-slot}2"})

    def test_publish_and_subscribe(self):
        ps = self.r.pubsub()
        ps.subscribe("rc:ch")
        self.assertEqual(ps.get_message(timeout=20)["type"], "subscribe")
        for i in range(50):
            self.r.publish("rc:ch", i)
        self.assertEqual([ps.get_message(timeout=20)["data"] for _ in range(50)], [str(i) for i in range(50)])
        self.assertEqual(self.r.pubsub_numsub("rc:ch", target_nodes=self.r.ALL_NODES), [("rc:ch", 1)])
        ps.close()

    def test_scripts_locks_and_moves_within_a_tag(self):
        self.assertEqual(self.r.eval("return redis.call('INCRBY', KEYS[1], ARGV[1])", 1, "rc:lua", 5), 5)
        self.assertEqual(self.r.rpush("{rc}l", 1, 2, 3), 3)
        self.assertEqual(self.r.rpoplpush("{rc}l", "{rc}m"), "3")
        self.assertTrue(self.r.rename("{rc}m", "{rc}n"))
        self.assertEqual(self.r.sadd("{rc}a", 1, 2) + self.r.sadd("{rc}b", 2, 3), 4)
        self.assertEqual(self.r.sinter("{rc}a", "{rc}b"), {"2"})
        self.assertEqual(self.r.brpop(["{rc}n", "{rc}l"], timeout=1), ("{rc}n", "3"))
        self.assertEqual(self.r.xadd("{rc}s", {"f": 1}, id="5-1"), "5-1")
        self.assertEqual(self.r.xread({"{rc}s": 0}), [["{rc}s", [("5-1", {"f": "1"})]]])

    def test_from_threads(self):
        def work():
            for i in range(200):
                self.r.incr("rc:t:%d" % (i % 20))

        with support.Threads() as threads:
            for _ in range(6):
                threads.start(work)
        self.assertEqual([self.r.get("rc:t:%d" % i) for i in range(20)], ["60"] * 20)

    def test_errors(self):
        self.r.set("rc:e", "x")
        self.assertRaisesRegex(redis.ResponseError, "WRONGTYPE", self.r.lpush, "rc:e", 1)
        with self.assertRaisesRegex(redis.exceptions.RedisClusterException, "same key slot"):
            self.r.mget("rc:e1", "rc:e2")

    def test_reads_from_replicas_and_a_name(self):
        r = self.connect(read_from_replicas=True, client_name="rc-replicas")
        r.set("rc:r", 1)
        support.wait_until(lambda: all(r.get("rc:r") == "1" for _ in range(10)), "the value at every node")

    def test_password(self):
        r = self.connect(port=support.AUTH_PORT, password=support.AUTH_PASSWORD)
        for i in range(20):
            self.assertTrue(r.set("rc:auth:%d" % i, i))
            self.assertEqual(r.get("rc:auth:%d" % i), str(i))
        with self.assertRaisesRegex(redis.exceptions.RedisClusterException, "cannot be connected"):
            self.connect(port=support.AUTH_PORT)

    def test_plain_clients_see_no_cluster(self):
        with redis.Redis(support.HOST, support.PORT) as plain:
            plain.ping()
            self.assertEqual(plain.info("cluster"), {"cluster_enabled": 0})
            self.assertEqual(plain.info("server")["redis_mode"], "standalone")
            self.assertEqual(plain.info()["cluster_enabled"], 0)


class AsyncioRedisCluster(unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self):
        self.r = redis.asyncio.cluster.RedisCluster(
            host=support.HOST, port=support.PORT, decode_responses=True, socket_timeout=30
        )
        await self.r.initialize()

    async def asyncTearDown(self):
        await self.r.close()

    async def test_keys_of_every_slot(self):
        await asyncio.gather(*(self.r.set("rca:%d" % i, i) for i in range(500)))
        got = await asyncio.gather(*(self.r.get("rca:%d" % i) for i in range(500)))
        self.assertEqual(got, [str(i) for i in range(500)])
        self.assertEqual(await self.r.delete(*("rca:%d" % i for i in range(500))), 500)

    async def test_pipelines(self):
        for task in range(10):
            p = self.r.pipeline()
            for i in range(50):
                p.incr("rca:p:%d:%d" % (task, i))
            self.assertEqual(await p.execute(), [1] * 50)

    async def test_errors_and_going_on(self):
        await self.r.set("rca:e", "x")
        got = await asyncio.gather(self.r.lpush("rca:e", 1), self.r.get("rca:e"), return_exceptions=True)
        self.assertRegex(str(got[0]), "WRONGTYPE")
        self.assertEqual(got[1], "x")


if __name__ == "__main__":
    logging.disable()  # the library tells every error that a test asks for
    support.main()
