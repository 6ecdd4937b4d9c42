"""redis-py: publish and subscribe by channel and by pattern, in threads, what PUBSUB tells, keyspace notifications."""

import queue
import threading
import unittest

import redis
import support


class Subscribers(unittest.TestCase):
    def setUp(self):
        self.r = self.connect()

    def connect(self, **kw):
        r = redis.Redis(support.HOST, support.PORT, socket_timeout=30, **dict({"decode_responses": True}, **kw))
        self.addCleanup(r.connection_pool.disconnect)
        return r

    def subscriber(self, *channels, patterns=(), r=None, **kw):
        """A PubSub that is known to listen to these."""
        ps = (r or self.r).pubsub(**kw)
        self.addCleanup(ps.close)
        if channels:
            ps.subscribe(*channels)
        if patterns:
            ps.psubscribe(*patterns)
        quiet = kw.get("ignore_subscribe_messages", False)
        kinds = ["subscribe"] * len(channels) + ["psubscribe"] * len(patterns)
        if not quiet:
            self.assertEqual([self.take(ps)["type"] for _ in kinds], kinds)
        return ps

    def take(self, ps):
        """The next message, whatever it is."""
        message = ps.get_message(timeout=20)
        self.assertIsNotNone(message, "no message came")
        return message

    def data(self, ps, n):
        return [self.take(ps)["data"] for _ in range(n)]

    def until_subscribed(self, channel, n):
        support.wait_until(lambda: self.r.pubsub_numsub(channel)[0][1] == n, "%d subscribers of %s" % (n, channel))


class WhatIsDelivered(Subscribers):
    def test_subscribe_message_unsubscribe(self):
        ps = self.r.pubsub()
        ps.subscribe("ps:a", "ps:b")
        for n, channel in enumerate(("ps:a", "ps:b"), 1):
            self.assertEqual(self.take(ps), {"type": "subscribe", "pattern": None, "channel": channel, "data": n})
        self.assertEqual(self.r.publish("ps:a", "one"), 1)
        self.assertEqual(self.take(ps), {"type": "message", "pattern": None, "channel": "ps:a", "data": "one"})
        ps.unsubscribe("ps:a")
        self.assertEqual(self.take(ps), {"type": "unsubscribe", "pattern": None, "channel": "ps:a", "data": 1})
        self.assertEqual((self.r.publish("ps:a", "lost"), self.r.publish("ps:b", "two")), (0, 1))
        self.assertEqual(self.take(ps)["data"], "two")
        ps.unsubscribe()
        self.assertEqual(self.take(ps), {"type": "unsubscribe", "pattern": None, "channel": "ps:b", "data": 0})
        self.assertFalse(ps.subscribed)
        ps.close()

    def test_patterns_and_a_channel_at_once(self):
        ps = self.subscriber("news.art", patterns=("news.*", "n?ws.[ab]rt"))
        self.assertEqual(self.r.publish("news.art", "m"), 3)
        got = {(m["type"], m["pattern"]) for m in (self.take(ps) for _ in range(3))}
        self.assertEqual(got, {("message", None), ("pmessage", "news.*"), ("pmessage", "n?ws.[ab]rt")})
        self.assertEqual(self.r.publish("news.music", "m"), 1)
        self.assertEqual(self.take(ps), {"type": "pmessage", "pattern": "news.*", "channel": "news.music", "data": "m"})
        ps.punsubscribe("news.*")
        self.assertEqual(self.take(ps), {"type": "punsubscribe", "pattern": None, "channel": "news.*", "data": 2})
        self.assertEqual(self.r.publish("news.music", "m"), 0)

    def test_handlers_and_quiet_confirmations(self):
        seen = []
        ps = self.r.pubsub(ignore_subscribe_messages=True)
        self.addCleanup(ps.close)
        ps.subscribe(**{"ps:h": lambda m: seen.append(("h", m["data"]))})
        ps.psubscribe(**{"ps:h:*": lambda m: seen.append(("p", m["channel"]))})
        ps.subscribe("ps:plain")
        self.until_subscribed("ps:plain", 1)
        for channel in ("ps:h", "ps:h:1", "ps:plain"):
            self.assertEqual(self.r.publish(channel, "x"), 1)
        support.wait_until(lambda: (ps.get_message(timeout=1) or {}).get("channel") == "ps:plain", "the plain message")
        self.assertEqual(seen, [("h", "x"), ("p", "ps:h:1")])

    def test_run_in_thread(self):
        seen = queue.Queue()
        ps = self.r.pubsub(ignore_subscribe_messages=True)
        ps.subscribe(**{"ps:thread": lambda m: seen.put(m["data"])})
        thread = ps.run_in_thread(sleep_time=0.01, daemon=True)
        self.until_subscribed("ps:thread", 1)
        for i in range(500):
            self.assertEqual(self.r.publish("ps:thread", i), 1)
        self.assertEqual([seen.get(timeout=20) for _ in range(500)], [str(i) for i in range(500)])
        thread.stop()
        thread.join(20)
        self.assertFalse(thread.is_alive())
        self.until_subscribed("ps:thread", 0)

    def test_listen_until_told_to_stop(self):
        ps = self.subscriber("ps:listen")

        def publish():
            for word in ("a", "b", "stop"):
                self.r.publish("ps:listen", word)

        got = []
        with support.Threads() as threads:
            threads.start(publish)
            for message in ps.listen():
                got.append(message["data"])
                if message["data"] == "stop":
                    break
        self.assertEqual(got, ["a", "b", "stop"])

    def test_publish_counts_over_connections(self):
        everyone = [self.subscriber("ps:count", r=self.connect()) for _ in range(8)]
        patterned = self.subscriber(patterns=("ps:cou*",), r=self.connect())
        self.assertEqual(self.r.publish("ps:count", "x"), 9)
        for ps in everyone + [patterned]:
            self.assertEqual(self.take(ps)["data"], "x")
        everyone[0].unsubscribe("ps:count")
        self.take(everyone[0])
        self.assertEqual(self.r.publish("ps:count", "x"), 8)
        for ps in everyone[1:]:
            ps.close()
        support.wait_until(lambda: self.r.publish("ps:count", "x") == 1, "closed subscribers to be forgotten")

    def test_publish_from_pipelines_transactions_and_scripts(self):
        ps = self.subscriber("ps:from")
        p = self.r.pipeline(transaction=False)
        for i in range(3):
            p.publish("ps:from", i).set("ps:k:%d" % i, i)
        self.assertEqual(p.execute(), [1, True] * 3)
        self.assertEqual(self.data(ps, 3), ["0", "1", "2"])
        with self.r.pipeline() as p:
            self.assertEqual(p.publish("ps:from", "txn").incr("ps:txn").execute(), [1, 1])
        self.assertEqual(self.take(ps)["data"], "txn")
        self.r.eval("redis.call('PUBLISH', ARGV[1], ARGV[2])", 1, "ps:k", "ps:from", "script")
        self.assertEqual(self.take(ps)["data"], "script")

    def test_order_of_10000_messages(self):
        subscribers = [self.subscriber("ps:order", r=self.connect()) for _ in range(4)]

        def publish():
            p = self.r.pipeline(transaction=False)
            for i in range(10000):
                p.publish("ps:order", i)
            self.assertEqual(p.execute(), [4] * 10000)

        with support.Threads() as threads:
            threads.start(publish)
            for ps in subscribers:
                threads.start(lambda ps=ps: self.assertEqual(self.data(ps, 10000), [str(i) for i in range(10000)]))

    def test_many_channels_and_publishers(self):
        channels = ["ps:many:%d" % i for i in range(600)]
        ps = self.subscriber(*channels)

        def publish(part):
            r = self.connect()
            for channel in channels[part::3]:
                for i in range(3):
                    self.assertEqual(r.publish(channel, i), 1)

        got = {}
        with support.Threads() as threads:
            for part in range(3):
                threads.start(publish, part)
            for _ in range(3 * len(channels)):
                message = self.take(ps)
                got.setdefault(message["channel"], []).append(message["data"])
        self.assertEqual(got, {channel: ["0", "1", "2"] for channel in channels})
        self.assertEqual(set(self.r.pubsub_channels("ps:many:*")), set(channels))
        ps.unsubscribe()
        self.assertEqual(sorted(self.take(ps)["data"] for _ in channels), list(range(len(channels))))
        self.assertEqual(self.r.pubsub_channels("ps:many:*"), [])

    def test_binary_channels_and_payloads(self):
        r = self.connect(decode_responses=False)
        channel = b"ps:\x00\xff\r\n:bin"
        ps = self.subscriber(channel, r=r)
        big = [support.pattern(100000), support.pattern(3 << 20)]
        for payload in [b"", b"\x00", b"\r\n$5\r\nhello\r\n", bytes(range(256))] + big:
            self.assertEqual(r.publish(channel, payload), 1)
            message = self.take(ps)
            self.assertEqual(message["channel"], channel)
            self.assertTrue(message["data"] == payload, "a payload of %d bytes came changed" % len(payload))


class WhatPubsubTells(Subscribers):
    def test_channels_numsub_numpat(self):
        support.wait_until(lambda: self.r.pubsub_numpat() == 0, "earlier subscribers to be gone")
        one = self.subscriber("ps:tell:a", "ps:tell:b", r=self.connect())
        two = self.subscriber("ps:tell:b", patterns=("ps:tell:*", "ps:other:*"), r=self.connect())
        self.subscriber(patterns=("ps:tell:*",), r=self.connect())
        self.assertEqual(set(self.r.pubsub_channels("ps:tell:*")), {"ps:tell:a", "ps:tell:b"})
        self.assertLessEqual({"ps:tell:a", "ps:tell:b"}, set(self.r.pubsub_channels()))
        self.assertEqual(self.r.pubsub_channels("ps:tell:?z"), [])
        told = self.r.pubsub_numsub("ps:tell:b", "ps:tell:none", "ps:tell:a")
        self.assertEqual(told, [("ps:tell:b", 2), ("ps:tell:none", 0), ("ps:tell:a", 1)])
        self.assertEqual(self.r.pubsub_numsub(), [])
        self.assertEqual(self.r.pubsub_numpat(), 2)  # patterns, not subscribers
        two.close()
        self.until_subscribed("ps:tell:b", 1)
        one.close()
        support.wait_until(lambda: self.r.pubsub_channels("ps:tell:*") == [], "the channels to be gone")


class TheConnection(Subscribers):
    def test_same_channel_twice_counts_once(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True)
        self.addCleanup(c.disconnect)
        c.send_command("SUBSCRIBE", "ps:twice", "ps:twice")
        self.assertEqual([c.read_response(), c.read_response()], [["subscribe", "ps:twice", 1]] * 2)
        self.assertEqual(self.r.publish("ps:twice", "m"), 1)
        self.assertEqual(c.read_response(), ["message", "ps:twice", "m"])
        c.send_command("UNSUBSCRIBE", "ps:never")
        self.assertEqual(c.read_response(), ["unsubscribe", "ps:never", 1])

    def test_what_a_subscriber_may_say(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True)
        self.addCleanup(c.disconnect)
        c.send_command("UNSUBSCRIBE")
        self.assertEqual(c.read_response(), ["unsubscribe", None, 0])
        c.send_command("SUBSCRIBE", "ps:say")
        c.read_response()
        for args in (["GET", "a"], ["PUBLISH", "a", "b"], ["MULTI"], ["CLIENT", "ID"]):
            c.send_command(*args)
            name = "|".join(args).lower() if args[0] == "CLIENT" else args[0].lower()
            with self.assertRaises(redis.ResponseError) as caught:
                c.read_response()
            allowed = "(P|S)SUBSCRIBE / (P|S)UNSUBSCRIBE / PING / QUIT / RESET"
            expected = "Can't execute '%s': only %s are allowed in this context" % (name, allowed)
            self.assertEqual(str(caught.exception), expected)
        c.send_command("PING")
        self.assertEqual(c.read_response(), ["pong", ""])
        c.send_command("PING", "words")
        self.assertEqual(c.read_response(), ["pong", "words"])
        c.send_command("UNSUBSCRIBE")
        self.assertEqual(c.read_response(), ["unsubscribe", "ps:say", 0])
        c.send_command("PING")
        self.assertEqual(c.read_response(), "PONG")
        c.send_command("SUBSCRIBE", "ps:say")
        c.send_command("RESET")
        c.send_command("PING")
        self.assertEqual([c.read_response() for _ in range(3)], [["subscribe", "ps:say", 1], "RESET", "PONG"])
        self.assertEqual(self.r.publish("ps:say", "x"), 0)
        c.send_command("SUBSCRIBE", "ps:say")
        c.send_command("QUIT")
        self.assertEqual([c.read_response() for _ in range(2)], [["subscribe", "ps:say", 1], "OK"])
        self.assertRaises(redis.ConnectionError, c.read_response)

    def test_subscriptions_come_back_after_a_kill(self):
        r = self.connect(client_name="ps-killed")
        ps = self.subscriber("ps:back", patterns=("ps:bac*",), r=r)
        mine = [c["id"] for c in self.r.client_list(_type="pubsub") if c["name"] == "ps-killed"]
        self.assertEqual(len(mine), 1)
        self.assertEqual(self.r.client_kill_filter(_id=mine[0]), 1)
        self.assertRaises(redis.ConnectionError, ps.get_message, timeout=20)
        kinds = [self.take(ps)["type"] for _ in range(2)]  # redis-py connects anew and subscribes by itself
        self.assertEqual(sorted(kinds), ["psubscribe", "subscribe"])
        self.assertEqual(self.r.publish("ps:back", "again"), 2)
        self.assertEqual(sorted(self.data(ps, 2)), ["again", "again"])

    def test_health_checks_of_a_subscriber(self):
        ps = self.subscriber("ps:health", r=self.connect(health_check_interval=1))
        ps.check_health()
        ps.ping()
        self.assertEqual(self.r.publish("ps:health", "m"), 1)
        # where a second has passed, redis-py checks by itself as well, and what answers that is nothing
        kinds = [support.wait_until(lambda: ps.get_message(timeout=1), "a message")["type"] for _ in range(2)]
        self.assertEqual(kinds, ["pong", "message"])

    def test_sharded_channels(self):
        c = redis.Connection(support.HOST, support.PORT, socket_timeout=20, decode_responses=True)
        self.addCleanup(c.disconnect)
        c.send_command("SSUBSCRIBE", "{ps}shard")
        self.assertEqual(c.read_response(), ["ssubscribe", "{ps}shard", 1])
        self.assertEqual(self.r.execute_command("SPUBLISH", "{ps}shard", "m"), 1)
        self.assertEqual(c.read_response(), ["smessage", "{ps}shard", "m"])
        self.assertEqual(self.r.publish("{ps}shard", "not for it"), 0)
        self.assertEqual(self.r.execute_command("PUBSUB SHARDNUMSUB", "{ps}shard"), ["{ps}shard", 1])
        self.assertEqual(self.r.execute_command("PUBSUB SHARDCHANNELS"), ["{ps}shard"])
        c.send_command("SUNSUBSCRIBE", "{ps}shard")
        self.assertEqual(c.read_response(), ["sunsubscribe", "{ps}shard", 0])

    def test_with_a_password(self):
        r = redis.Redis(support.HOST, support.AUTH_PORT, password=support.AUTH_PASSWORD, decode_responses=True, socket_timeout=20)
        self.addCleanup(r.connection_pool.disconnect)
        ps = self.subscriber("ps:auth", r=r)
        self.assertEqual(r.publish("ps:auth", "m"), 1)
        self.assertEqual(self.take(ps)["data"], "m")
        with redis.Redis(support.HOST, support.AUTH_PORT) as stranger:
            self.assertRaisesRegex(redis.RedisError, "(?i)authentication required", stranger.publish, "ps:auth", "m")
            self.assertRaisesRegex(redis.RedisError, "(?i)authentication required", stranger.pubsub_channels)

    def test_subscribers_come_and_go_while_others_publish(self):
        stop = threading.Event()

        def publish():
            r = self.connect()
            while not stop.is_set():
                r.publish("ps:busy", "x")

        def come_and_go():
            r = self.connect()
            for i in range(30):
                own = "ps:own:%d:%d" % (threading.get_ident(), i)
                ps = r.pubsub(ignore_subscribe_messages=True)
                ps.subscribe("ps:busy", own)
                self.until_subscribed(own, 1)
                self.assertEqual(r.publish(own, "mine"), 1)
                support.wait_until(lambda: (ps.get_message(timeout=5) or {}).get("data") == "mine", "its own message")
                ps.close()

        with support.Threads() as publishers:
            publishers.start(publish)
            try:
                with support.Threads() as threads:
                    for _ in range(4):
                        threads.start(come_and_go)
            finally:
                stop.set()


class KeyspaceNotifications(Subscribers):
    """What happens to keys, wherever they live, told on one connection."""

    def setUp(self):
        super().setUp()
        self.r.config_set("notify-keyspace-events", "KEA")
        self.addCleanup(self.r.config_set, "notify-keyspace-events", "")
        self.assertEqual(set(self.r.config_get("notify-keyspace-events")["notify-keyspace-events"]), set("AKE"))

    def test_events_of_keys_over_all_shards(self):
        ps = self.subscriber(patterns=("__keyevent@0__:set",))
        keys = ["ks:%d" % i for i in range(60)]
        for key in keys:
            self.r.set(key, 1)
        self.assertEqual(sorted(self.data(ps, 60)), sorted(keys))

    def test_what_happens_to_one_key_in_order(self):
        ps = self.subscriber("__keyspace@0__:ks:one")
        self.r.set("ks:one", 1)
        self.r.expire("ks:one", 100)
        self.r.incr("ks:one")
        self.r.delete("ks:one")
        self.r.lpush("ks:one", "a")
        self.r.rpop("ks:one")
        self.assertEqual(self.data(ps, 7), ["set", "expire", "incrby", "del", "lpush", "rpop", "del"])

    def test_expired_keys(self):
        ps = self.subscriber("__keyevent@0__:expired")
        keys = ["ks:gone:%d" % i for i in range(30)]
        for key in keys:
            self.r.set(key, 1, px=30)
        support.wait_until(lambda: self.r.exists(*keys) == 0, "the keys to expire")
        self.assertEqual(sorted(self.data(ps, 30)), sorted(keys))

    def test_nothing_once_it_is_switched_off(self):
        ps = self.subscriber("__keyevent@0__:del", "ks:end")
        self.r.config_set("notify-keyspace-events", "")
        for i in range(10):
            self.r.set("ks:off:%d" % i, 1)
            self.r.delete("ks:off:%d" % i)
        self.r.publish("ks:end", "end")
        self.assertEqual(self.take(ps)["data"], "end")


if __name__ == "__main__":
    support.main()
