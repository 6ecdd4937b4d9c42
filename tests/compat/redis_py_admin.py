"""redis-py as operators use it: who is connected, pausing and killing, tracking, MONITOR, settings, memory, WAIT, INFO."""

import time
import unittest

import redis
import support

INFO_NUMBERS = (
    "connected_clients used_memory total_commands_processed instantaneous_ops_per_sec keyspace_hits keyspace_misses "
    "connected_slaves uptime_in_seconds evicted_keys expired_keys used_cpu_sys loading pubsub_channels blocked_clients"
).split()


class Admin(unittest.TestCase):
    def setUp(self):
        self.r = self.connect()

    def connect(self, **kw):
        r = redis.Redis(support.HOST, support.PORT, socket_timeout=30, **dict({"decode_responses": True}, **kw))
        self.addCleanup(r.connection_pool.disconnect)
        return r

    def connection(self, **kw):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True, **kw)
        self.addCleanup(c.disconnect)
        return c

    def named(self, name, **kw):
        return [c for c in self.r.client_list(**kw) if c["name"] == name]


class Clients(Admin):
    def test_list_by_id_and_type(self):
        one, two = (self.connect(client_name="ad-list", single_connection_client=True) for _ in range(2))
        ids = [one.client_id(), two.client_id()]
        self.assertEqual(len(set(ids)), 2)
        self.assertEqual([self.r.client_list(client_id=[str(i)])[0]["id"] for i in ids], list(map(str, ids)))
        self.assertEqual(len(self.named("ad-list", _type="normal")), 2)
        self.assertEqual(self.named("ad-list", _type="pubsub"), [])
        ps = one.pubsub()
        ps.subscribe("ad:c")
        ps.psubscribe("ad:*", "ad2:*")
        for _ in range(3):
            self.assertIsNotNone(ps.get_message(timeout=20))
        (entry,) = self.named("ad-list", _type="pubsub")
        self.assertEqual((entry["sub"], entry["psub"], entry["flags"]), ("1", "2", "P"))
        ps.close()

    def test_fields_of_an_entry(self):
        c = self.connection(client_name="ad-fields")
        for args in (["GET", "x"], ["MULTI"], ["SET", "{ad}q", "1"], ["SET", "{ad}q", "2"]):
            c.send_command(*args)
            c.read_response()
        (entry,) = self.named("ad-fields")
        for field, value in (("db", "0"), ("multi", "2"), ("cmd", "set"), ("user", "default"), ("resp", "2"), ("flags", "x")):
            self.assertEqual(entry[field], value, field)
        for field in "id addr laddr fd age idle sub psub qbuf obl oll omem tot-mem events redir".split():
            self.assertIn(field, entry)
        self.assertRegex(entry["addr"], r"^127\.0\.0\.1:\d+$")

    def test_info_names_and_no_evict(self):
        r = self.connect(single_connection_client=True)
        self.assertTrue(r.client_setname("ad-me"))
        self.assertEqual(r.client_getname(), "ad-me")
        info = r.client_info()
        self.assertEqual((info["name"], int(info["id"])), ("ad-me", r.client_id()))
        self.assertRaisesRegex(redis.ResponseError, "cannot contain spaces", r.client_setname, "a b")
        self.assertEqual(r.client_no_evict("ON"), "OK")
        self.assertEqual(r.client_getredir(), -1)

    def test_kill_by_id_address_and_type(self):
        for by in ("id", "addr", "address alone"):
            c = self.connection(client_name="ad-kill")
            c.send_command("PING")
            c.read_response()
            (entry,) = self.named("ad-kill")
            if by == "id":
                self.assertEqual(self.r.client_kill_filter(_id=entry["id"]), 1)
            elif by == "addr":
                self.assertEqual(self.r.client_kill_filter(addr=entry["addr"]), 1)
            else:
                self.assertTrue(self.r.client_kill(entry["addr"]))
            self.assertRaises(redis.ConnectionError, c.read_response)
            support.wait_until(lambda: not self.named("ad-kill"), "the killed client to be gone")
        self.assertEqual(self.r.client_kill_filter(_id="999999999"), 0)
        self.assertRaisesRegex(redis.ResponseError, "No such client", self.r.client_kill, "127.0.0.1:1")
        support.wait_until(lambda: not self.r.client_list(_type="pubsub"), "earlier subscribers to be gone")
        ps = self.connect().pubsub()
        ps.subscribe("ad:killed")
        ps.get_message(timeout=20)
        self.assertEqual(self.r.client_kill_filter(_type="pubsub"), 1)
        self.assertRaises(redis.ConnectionError, ps.get_message, timeout=20)

    def test_a_killed_client_of_a_pool_comes_back(self):
        r = self.connect(client_name="ad-back", retry_on_timeout=True)
        self.assertTrue(r.set("ad:back", 1))
        (entry,) = self.named("ad-back")
        self.r.client_kill_filter(_id=entry["id"])
        support.wait_until(lambda: not self.named("ad-back"), "the killed client to be gone")
        self.assertEqual(r.get("ad:back"), "1")

    def test_pause_of_writes_and_unpause(self):
        self.r.set("ad:p", "old")
        self.assertTrue(self.r.client_pause(20000, all=False))
        self.addCleanup(self.r.client_unpause)
        self.assertEqual(self.r.get("ad:p"), "old")  # reads go on
        writer = self.connection(client_name="ad-paused")
        writer.send_command("SET", "ad:p", "new")
        support.wait_until(lambda: [c["cmd"] for c in self.named("ad-paused")] == ["set"], "the write to be held")
        self.assertEqual(self.r.get("ad:p"), "old")
        self.assertEqual(self.r.client_unpause(), "OK")
        self.assertEqual(writer.read_response(), "OK")
        self.assertEqual(self.r.get("ad:p"), "new")

    def test_pause_of_everything_ends_by_itself(self):
        c = self.connection()
        began = time.monotonic()
        c.send_command("CLIENT", "PAUSE", 400)
        self.assertEqual(c.read_response(), "OK")
        c.send_command("GET", "ad:p")
        c.read_response()
        self.assertGreater(time.monotonic() - began, 0.39)

    def test_monitor(self):
        seen = []
        with self.r.monitor() as m:
            self.r.set("ad:mon", 'a "quoted"\nvalue')
            self.r.mget("ad:mon1", "ad:mon2", "ad:mon3")
            self.r.ping()
            self.r.echo("end of monitor")
            for command in m.listen():
                seen.append(command)
                if command["command"] == "ECHO end of monitor":
                    break
        words = [c["command"] for c in seen]
        wanted = ['SET ad:mon a "quoted"\\nvalue', "MGET ad:mon1 ad:mon2 ad:mon3", "PING", "ECHO end of monitor"]
        self.assertEqual([w for w in words if w in wanted], wanted)
        for c in seen:
            self.assertEqual((c["db"], c["client_address"], c["client_type"]), (0, "127.0.0.1", "tcp"))
            self.assertLess(abs(c["time"] - time.time()), 60)


class Tracking(Admin):
    """RESP2: invalidations are messages on a channel of another connection."""

    def setUp(self):
        super().setUp()
        self.listener = self.connection()
        self.listener.send_command("CLIENT", "ID")
        self.listener_id = self.listener.read_response()
        self.listener.send_command("SUBSCRIBE", "__redis__:invalidate")
        self.listener.read_response()

    def invalidated(self):
        kind, channel, keys = self.listener.read_response()
        self.assertEqual((kind, channel), ("message", "__redis__:invalidate"))
        return keys

    def test_what_was_read_and_then_written(self):
        cache = self.connect(single_connection_client=True)
        keys = ["ad:t:%d" % i for i in range(20)]
        self.r.mset(dict.fromkeys(keys, "old"))
        self.assertEqual(cache.client_tracking_on(clientid=self.listener_id), "OK")
        info = cache.client_trackinginfo()
        self.assertIn("on", info[1] if isinstance(info, list) else info)
        self.assertEqual(cache.client_getredir(), self.listener_id)
        for key in keys:
            self.assertEqual(cache.get(key), "old")
        self.r.set("ad:t:unread", 1)
        for key in keys:
            self.r.set(key, "new")
            self.assertEqual(self.invalidated(), [key])
        self.r.set(keys[0], "newer")  # told once, until it is read again
        cache.get(keys[1])
        self.r.delete(keys[1])
        self.assertEqual(self.invalidated(), [keys[1]])
        self.assertEqual(cache.client_tracking_off(), "OK")

    def test_broadcast_by_prefix(self):
        cache = self.connect(single_connection_client=True)
        cache.client_tracking_on(clientid=self.listener_id, prefix=["ad:b:"], bcast=True, noloop=True)
        self.r.set("ad:other", 1)
        cache.set("ad:b:own", 1)
        got = set()
        for i in range(20):
            self.r.set("ad:b:%d" % i, 1)
        while len(got) < 20:
            got.update(self.invalidated())
        self.assertEqual(got, {"ad:b:%d" % i for i in range(20)})

    def test_flush_says_everything(self):
        cache = self.connect(single_connection_client=True)
        cache.client_tracking_on(clientid=self.listener_id)
        self.r.set("ad:flush", 1)
        cache.get("ad:flush")
        self.r.flushall()
        self.assertIsNone(self.invalidated())

    def test_expired_keys(self):
        cache = self.connect(single_connection_client=True)
        cache.client_tracking_on(clientid=self.listener_id)
        self.r.set("ad:ttl", 1, px=2000)  # it must still be there when it is read
        self.assertEqual(cache.get("ad:ttl"), "1")
        self.assertEqual(self.invalidated(), ["ad:ttl"])


class Server(Admin):
    def test_config(self):
        for name, value in (("slowlog-max-len", "77"), ("maxmemory-policy", "allkeys-lru"), ("hash-max-listpack-entries", "99")):
            (before,) = self.r.config_get(name).values()
            self.assertTrue(self.r.config_set(name, value))
            self.assertEqual(self.r.config_get(name), {name: value})
            self.r.config_set(name, before)
        both = self.r.config_get("maxmemory", "timeout")
        self.assertEqual(set(both), {"maxmemory", "timeout"})
        self.assertIn("slowlog-log-slower-than", self.r.config_get("slowlog*"))
        self.assertEqual(self.r.config_get("no-such-setting"), {})
        self.assertRaises(redis.ResponseError, self.r.config_set, "no-such-setting", 1)
        self.assertTrue(self.r.config_resetstat())

    def test_slowlog(self):
        (before,) = self.r.config_get("slowlog-log-slower-than").values()
        self.addCleanup(self.r.config_set, "slowlog-log-slower-than", before)
        self.r.config_set("slowlog-log-slower-than", 0)
        self.assertTrue(self.r.slowlog_reset())
        self.r.set("ad:slow", "x")
        entries = self.r.slowlog_get(100)
        (entry,) = [e for e in entries if e["command"] == b"SET ad:slow x"]
        self.assertGreaterEqual(entry["duration"], 0)
        self.assertLess(abs(entry["start_time"] - time.time()), 60)
        ids = [e["id"] for e in entries]
        self.assertEqual(ids, sorted(ids, reverse=True))
        self.assertGreaterEqual(self.r.slowlog_len(), 1)
        self.assertEqual(len(self.r.slowlog_get(1)), 1)

    def test_memory_and_object(self):
        self.r.set("ad:int", 7)
        self.r.set("ad:raw", "x" * 1000)
        self.r.rpush("ad:list", *range(10))
        self.assertGreater(self.r.memory_usage("ad:raw", samples=0), 1000)
        self.assertIsNone(self.r.memory_usage("ad:none"))
        self.assertEqual([self.r.object("encoding", k) for k in ("ad:int", "ad:raw", "ad:list")], ["int", "raw", "quicklist"])
        self.assertEqual(self.r.object("refcount", "ad:raw"), 1)
        self.assertLess(self.r.object("idletime", "ad:raw"), 60)
        self.assertIsNone(self.r.object("encoding", "ad:none"))
        stats = self.r.memory_stats()
        self.assertGreater(stats["total.allocated"], 0)
        self.assertGreater(stats["keys.count"], 2)
        self.assertIsInstance(self.r.execute_command("MEMORY DOCTOR"), str)
        self.assertTrue(self.r.memory_purge())

    def test_latency(self):
        self.assertEqual(self.r.execute_command("LATENCY RESET"), 0)
        self.assertEqual(self.r.execute_command("LATENCY LATEST"), [])
        self.assertEqual(self.r.execute_command("LATENCY HISTORY", "command"), [])
        self.assertIsInstance(self.r.execute_command("LATENCY DOCTOR"), str)
        self.r.set("ad:lat", 1)
        histogram = self.r.execute_command("LATENCY HISTOGRAM", "set")
        self.assertEqual(histogram[0], "set")
        self.assertGreaterEqual(dict(zip(histogram[1][::2], histogram[1][1::2]))["calls"], 1)

    def test_wait(self):
        self.r.set("ad:wait", 1)
        self.assertEqual(self.r.wait(0, 1000), 0)
        began = time.monotonic()
        self.assertEqual(self.r.wait(1, 100), 0)  # no replicas here: it takes its time
        self.assertGreater(time.monotonic() - began, 0.09)

    def test_info(self):
        info = self.r.info()
        for field in ("redis_version", "redis_mode", "used_memory_human", "role", "maxmemory_policy"):
            self.assertIsInstance(info[field], str, field)
        for field in INFO_NUMBERS:
            self.assertIsInstance(info[field], (int, float), field)
        self.assertEqual((info["role"], info["redis_mode"]), ("master", "standalone"))
        self.r.mset({"ad:info:%d" % i: i for i in range(50)})
        self.assertEqual(self.r.info("keyspace")["db0"]["keys"], self.r.dbsize())
        self.assertGreaterEqual(self.r.dbsize(), 50)
        self.assertEqual(set(self.r.info("clients")) & {"connected_clients", "redis_version"}, {"connected_clients"})
        self.assertIn("cmdstat_mset", self.r.info("commandstats"))
        self.assertIn("redis_version", self.r.info("everything"))
        self.assertEqual(self.r.info("persistence")["loading"], 0)

    def test_counts_of_commands(self):
        self.r.config_resetstat()
        for _ in range(7):
            self.r.getrange("ad:stat", 0, 1)
        stat = self.r.info("commandstats")["cmdstat_getrange"]
        self.assertEqual((stat["calls"], stat["rejected_calls"], stat["failed_calls"]), (7, 0, 0))
        self.r.set("ad:text", "x")
        self.assertRaises(redis.ResponseError, self.r.incr, "ad:text")
        self.assertEqual(self.r.info("errorstats")["errorstat_ERR"], "count=1")

    def test_command_tables(self):
        commands = self.r.command()
        self.assertEqual((commands["get"]["arity"], commands["get"]["first_key_pos"]), (2, 1))
        self.assertEqual(len(commands), self.r.command_count())
        self.assertEqual(self.r.command_getkeys("MSET", "a", 1, "b", 2), ["a", "b"])
        self.assertIn("sunion", self.r.command_list())
        self.assertEqual(self.r.execute_command("COMMAND INFO", "nosuch"), [None])
        docs = self.r.execute_command("COMMAND DOCS", "get")
        self.assertEqual(docs[0], "get")

    def test_small_things(self):
        self.assertTrue(self.r.ping())
        seconds, micros = self.r.time()
        self.assertTrue(abs(seconds - time.time()) < 60 and 0 <= micros < 1000000)
        self.assertEqual(self.r.echo("x y"), "x y")
        self.assertIn("Redis ver.", self.r.lolwut())
        self.assertLess(abs(self.r.lastsave().timestamp() - time.time()), 86400)
        self.assertEqual(self.r.role()[0], "master")
        self.assertEqual(self.r.acl_whoami(), "default")
        self.assertIn("default", self.r.acl_users())
        self.assertIn("string", self.r.acl_cat())


if __name__ == "__main__":
    support.main()
