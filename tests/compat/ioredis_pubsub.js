'use strict';
/* Publish and subscribe, keyspace notifications and MONITOR through ioredis. */

const { assert, test, bytes, range, until, once, inbox, ioredisMaker } = require('./support');

for (const { name, Redis, options } of require('./ioredis_versions')) {
  const maker = ioredisMaker(Redis);
  const connect = (more = {}) => maker({ ...options, ...more });
  const named = (key) => `${name.replace(/ /g, '-')}:${key}`;

  test(`${name}: message, pmessage and smessage, the counts of subscriptions and of receivers`, async () => {
    const [publisher, subscriber] = [connect(), connect()];
    const [plain, pattern, sharded] = [inbox(), inbox(), inbox()];
    subscriber.on('message', plain.push);
    subscriber.on('pmessage', pattern.push);
    subscriber.on('smessage', sharded.push);
    const [a, b] = [named('a'), named('b')];
    assert.equal(await subscriber.subscribe(a, b), 2);
    assert.equal(await subscriber.subscribe(b), 2);
    assert.equal(await subscriber.psubscribe(named('?')), 3);
    assert.equal(await subscriber.ssubscribe(a), 1);
    assert.equal(await publisher.publish(a, 'to a'), 2);
    assert.equal(await publisher.publish(b, 'to b'), 2);
    assert.equal(await publisher.publish(named('c'), 'to c'), 1);
    assert.equal(await publisher.spublish(a, 'sharded'), 1);
    assert.equal(await publisher.spublish(b, 'to nobody'), 0);
    assert.deepEqual(await plain.wait(2), [[a, 'to a'], [b, 'to b']]);
    const matched = ['a', 'b', 'c'].map((c) => [named('?'), named(c), `to ${c}`]);
    assert.deepEqual(await pattern.wait(3), matched);
    assert.deepEqual(await sharded.wait(1), [[a, 'sharded']]);
    assert.equal(await subscriber.unsubscribe(a), 2);
    assert.equal(await publisher.publish(a, 'only the pattern'), 1);
    assert.equal(await subscriber.unsubscribe(b), 1);
    assert.equal(await subscriber.punsubscribe(named('?')), 0);
    assert.equal(await subscriber.sunsubscribe(a), 0);
    assert.equal(await publisher.publish(a, 'to nobody'), 0);
    assert.deepEqual(await pattern.wait(4), [...matched, [named('?'), a, 'only the pattern']]);
    assert.equal(plain.calls.length, 2);
    assert.equal(await subscriber.set(named('usable'), '1'), 'OK');
  });

  test(`${name}: PUBSUB counts what several clients subscribed to`, async () => {
    const [redis, ...others] = range(6).map(() => connect());
    const channels = range(20).map((i) => named(`ps:${i}`));
    for (const other of others) await other.subscribe(...channels);
    await others[0].psubscribe(named('ps:*'), named('x*'));
    await others[1].psubscribe(named('ps:*'));
    await others[2].ssubscribe(channels[0]);
    await others[3].ssubscribe(channels[0]);
    assert.deepEqual((await redis.pubsub('CHANNELS', named('ps:*'))).sort(), [...channels].sort());
    assert.deepEqual(await redis.pubsub('NUMSUB', channels[7], named('none'), channels[3]), [channels[7], 5, named('none'), 0, channels[3], 5]);
    assert.deepEqual(await redis.pubsub('SHARDCHANNELS', named('ps:*')), [channels[0]]);
    assert.deepEqual(await redis.pubsub('SHARDNUMSUB', channels[0], channels[1]), [channels[0], 2, channels[1], 0]);
    assert.ok((await redis.pubsub('NUMPAT')) >= 2);
    assert.equal(await redis.publish(channels[0], 'x'), 7);
    await Promise.all(others.map((other) => other.quit()));
    await until(async () => (await redis.publish(channels[0], 'x')) === 0, 'the last to leave');
    await until(async () => (await redis.pubsub('CHANNELS', named('ps:*'))).length === 0, 'its other channels to be gone');
  });

  test(`${name}: messages of any bytes and of 2 MB, as Buffers`, async () => {
    const [publisher, subscriber] = [connect(), connect()];
    const box = inbox();
    subscriber.on('messageBuffer', box.push);
    const channel = Buffer.from([0, 13, 10, 255, 36, ...Buffer.from(name)]);
    assert.equal(await subscriber.subscribe(channel), 1);
    const messages = [Buffer.from(range(256)), Buffer.alloc(0), bytes(2 << 20)];
    for (const message of messages) assert.equal(await publisher.publish(channel, message), 1);
    const got = await box.wait(3);
    assert.ok(got.every(([on, message], i) => channel.equals(on) && messages[i].equals(message)));
  });

  test(`${name}: publish in pipelines and in MULTI and in scripts; 3,000 messages in order`, async () => {
    const [publisher, subscriber] = [connect(), connect()];
    const box = inbox();
    subscriber.on('message', (_, message) => box.push(message));
    await subscriber.subscribe(named('order'));
    for (const round of range(3)) {
      const batch = round === 1 ? publisher.multi() : publisher.pipeline();
      for (const i of range(1000)) batch.publish(named('order'), String(round * 1000 + i));
      assert.ok((await batch.exec()).every(([error, count]) => error === null && count === 1));
    }
    const text = "return redis.call('PUBLISH', ARGV[1], ARGV[2])";
    await publisher.eval(text, 1, named('key'), named('order'), 'scripted');
    const got = await box.wait(3001);
    assert.deepEqual(got.map(([message]) => message), [...range(3000).map(String), 'scripted']);
  });

  test(`${name}: a subscriber that lost its connection is subscribed again`, async () => {
    const [publisher, subscriber] = [connect(), connect({ retryStrategy: () => 1 })];
    const [plain, pattern] = [inbox(), inbox()];
    subscriber.on('message', plain.push);
    subscriber.on('pmessage', pattern.push);
    subscriber.on('error', () => {});
    const id = await subscriber.client('ID');
    await subscriber.subscribe(named('back'));
    await subscriber.psubscribe(named('bac*'));
    assert.equal(await publisher.client('KILL', 'ID', id), 1);
    await until(async () => (await publisher.publish(named('back'), 'm')) === 2, 'both subscriptions');
    await Promise.all([plain.wait(1), pattern.wait(1)]);
  });

  test(`${name}: keyspace notifications: set, del, expired of keys in all slots, each once`, async () => {
    const [redis, subscriber] = [connect(), connect()];
    const before = (await redis.config('GET', 'notify-keyspace-events'))[1];
    assert.equal(await redis.config('SET', 'notify-keyspace-events', 'KEA'), 'OK');
    const box = inbox();
    const mine = named('note:');
    subscriber.on('pmessage', (_, channel, message) => {
      if (message.startsWith(mine)) box.push(channel.split(':')[1], message);
    });
    await subscriber.psubscribe('__keyevent@0__:*');
    const keys = range(60).map((i) => `${mine}${i}`);
    for (const key of keys) await redis.set(key, 'v', 'PX', 30);
    const expected = keys.flatMap((key) => ['set', 'expire', 'expired'].map((event) => `${event} ${key}`));
    // a key that nobody asks for expires when the server gets to it
    const text = () => box.calls.map((call) => call.join(' '));
    await until(async () => (await redis.exists(...keys)) === 0 && box.calls.length >= 180, 'every event');
    await redis.hset(`${mine}hash`, 'f', 'v');
    await redis.del(`${mine}hash`);
    await box.wait(182);
    assert.deepEqual(text().sort(), [...expected, `hset ${mine}hash`, `del ${mine}hash`].sort());
    const space = connect();
    const ofKey = inbox();
    space.on('message', ofKey.push);
    await space.subscribe(`__keyspace@0__:${mine}one`);
    await redis.set(`${mine}one`, '1');
    await redis.incr(`${mine}one`);
    assert.deepEqual((await ofKey.wait(2)).map(([, event]) => event), ['set', 'incrby']);
    assert.equal(await redis.config('SET', 'notify-keyspace-events', before), 'OK');
  });

  test(`${name}: monitor() sees what others send, once and in order`, async () => {
    const [redis, source, watcher] = [connect(), connect(), connect()];
    // ioredis takes a line that comes together with the OK for a reply to nothing: no client may be greeting yet
    await Promise.all([redis, source, watcher].map((client) => client.ping()));
    const monitor = await watcher.monitor();
    const box = inbox();
    monitor.on('monitor', (time, args, from, database) => {
      if ((args[1] ?? '').startsWith(named('mon:'))) box.push(args.join(' '), from, database, Number(time));
    });
    for (const i of range(100)) await source.set(named(`mon:${i}`), `v ${i} "x"`);
    await redis.get(named('mon:end'));
    const got = await box.wait(101);
    const expected = range(100).map((i) => `set ${named(`mon:${i}`)} v ${i} "x"`);
    assert.deepEqual(got.map(([line]) => line), [...expected, `get ${named('mon:end')}`]);
    assert.ok(got.every(([, from, database]) => /^127\.0\.0\.1:\d+$/.test(from) && database === '0'));
    assert.equal(new Set(got.slice(0, 100).map(([, from]) => from)).size, 1);
    assert.ok(got.every(([, , , time], i) => i === 0 || time >= got[i - 1][3]));
    monitor.disconnect();
    await once(monitor, 'end');
  });
}
