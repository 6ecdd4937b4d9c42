'use strict';
/* Publish and subscribe through node-redis, every version and protocol. */

const { assert, test, host, port, bytes, range, until, inbox, nodeRedisMaker } = require('./support');

const anyBytes = Buffer.from(range(256));

for (const { name, redis: library, options } of require('./node_redis_versions')) {
  const connect = nodeRedisMaker(library, options);
  const prefix = name.replace(/ /g, '-');
  const named = (channel) => `${prefix}:${channel}`;
  const resp3 = options?.RESP === 3;

  test(`${name}: subscribe, the count of receivers, unsubscribe one listener and the channel`, async () => {
    const [publisher, one, two] = await Promise.all([connect(), connect(), connect()]);
    const channel = named('news');
    assert.equal(await publisher.publish(channel, 'to nobody'), 0);
    const [first, also, second] = [inbox(), inbox(), inbox()];
    await one.subscribe(channel, first.push);
    await one.subscribe(channel, also.push);
    assert.equal(await publisher.publish(channel, 'a'), 1);
    await two.subscribe(channel, second.push);
    assert.equal(await publisher.publish(channel, 'b'), 2);
    await Promise.all([first.wait(2), also.wait(2), second.wait(1)]);
    await one.unsubscribe(channel, also.push);
    assert.equal(await publisher.publish(channel, 'c'), 2);
    await first.wait(3); // it may be on its way still when the publisher has its answer
    await one.unsubscribe(channel);
    assert.equal(await publisher.publish(channel, 'd'), 1);
    assert.deepEqual(await second.wait(3), [['b', channel], ['c', channel], ['d', channel]]);
    assert.deepEqual(first.calls, [['a', channel], ['b', channel], ['c', channel]]);
    assert.deepEqual(also.calls, [['a', channel], ['b', channel]]);
    // node-redis 5 and 6 answer Buffers after RESP2's subscriptions
    assert.equal(String(await one.set(named('usable'), '1')), 'OK');
    assert.equal(String(await one.get(named('usable'))), '1');
  });

  test(`${name}: patterns, and a message that matches twice`, async () => {
    const [publisher, subscriber] = await Promise.all([connect(), connect()]);
    const others = await publisher.pubSubNumPat();
    const [exact, wide, narrow] = [inbox(), inbox(), inbox()];
    await subscriber.subscribe(named('shop.eu'), exact.push);
    await subscriber.pSubscribe(named('shop.*'), wide.push);
    await subscriber.pSubscribe(named('shop.[eu]?'), narrow.push);
    assert.equal(await publisher.publish(named('shop.eu'), '1'), 3);
    assert.equal(await publisher.publish(named('shop.us'), '2'), 2);
    assert.equal(await publisher.publish(named('shop.asia'), '3'), 1);
    assert.equal(await publisher.publish(named('else'), '4'), 0);
    assert.equal(await publisher.pubSubNumPat(), others + 2);
    await subscriber.pUnsubscribe(named('shop.[eu]?'));
    assert.equal(await publisher.publish(named('shop.us'), '5'), 1);
    const shops = [['1', named('shop.eu')], ['2', named('shop.us')], ['3', named('shop.asia')], ['5', named('shop.us')]];
    assert.deepEqual(await wide.wait(4), shops);
    assert.deepEqual(narrow.calls, shops.slice(0, 2));
    assert.deepEqual(exact.calls, shops.slice(0, 1));
    await subscriber.pUnsubscribe(named('shop.*'));
    await subscriber.unsubscribe(named('shop.eu'));
    assert.equal(await publisher.publish(named('shop.eu'), '6'), 0);
    assert.equal(await publisher.pubSubNumPat(), others);
  });

  test(`${name}: sharded channels in all slots are apart from the others`, async () => {
    const [publisher, subscriber] = await Promise.all([connect(), connect()]);
    const [sharded, plain] = [inbox(), inbox()];
    const channels = range(40).map((i) => named(`shard:${i}`));
    for (const channel of channels) await subscriber.sSubscribe(channel, sharded.push);
    const counts = await Promise.all(channels.map((channel) => publisher.sPublish(channel, `to ${channel}`)));
    assert.deepEqual(counts, channels.map(() => 1));
    assert.equal(await publisher.publish(channels[0], 'not sharded'), 0);
    await subscriber.subscribe(channels[0], plain.push);
    assert.equal(await publisher.publish(channels[0], 'plain'), 1);
    assert.deepEqual(await plain.wait(1), [['plain', channels[0]]]);
    const got = await sharded.wait(40);
    assert.deepEqual(got.map(([, channel]) => channel).sort(), [...channels].sort());
    assert.ok(got.every(([message, channel]) => message === `to ${channel}`));
    assert.deepEqual((await publisher.pubSubShardChannels(named('shard:*'))).sort(), [...channels].sort());
    assert.deepEqual({ ...(await publisher.pubSubShardNumSub([channels[3], named('none')])) }, { [channels[3]]: 1, [named('none')]: 0 });
    await subscriber.sUnsubscribe(channels[3]);
    assert.equal(await publisher.sPublish(channels[3], 'x'), 0);
    assert.equal(await publisher.sPublish(channels[4], 'y'), 1);
    assert.deepEqual((await sharded.wait(41))[40], ['y', channels[4]]);
  });

  test(`${name}: 300 channels on a duplicate, PUBSUB, and order within a channel`, async () => {
    const publisher = await connect();
    const subscriber = publisher.duplicate();
    await subscriber.connect();
    const box = inbox();
    const channels = range(300).map((i) => named(`many:${i}`));
    await subscriber.subscribe(channels, box.push);
    assert.deepEqual((await publisher.pubSubChannels(named('many:*'))).sort(), [...channels].sort());
    const asked = [channels[0], channels[299], named('none')];
    assert.deepEqual({ ...(await publisher.pubSubNumSub(asked)) }, { [channels[0]]: 1, [channels[299]]: 1, [named('none')]: 0 });
    const counts = await Promise.all(range(3000).map((i) => publisher.publish(channels[i % 300], String(i))));
    assert.ok(counts.every((count) => count === 1));
    const got = await box.wait(3000);
    for (const c of [0, 1, 150, 299]) {
      const mine = got.filter(([, channel]) => channel === channels[c]).map(([message]) => Number(message));
      assert.deepEqual(mine, range(10).map((round) => round * 300 + c));
    }
    await subscriber.unsubscribe();
    assert.deepEqual(await publisher.pubSubChannels(named('many:*')), []);
    await (subscriber.close ?? subscriber.quit).call(subscriber);
  });

  test(`${name}: messages and channels of any bytes, empty, and of 2 MB`, async () => {
    const [publisher, subscriber] = await Promise.all([connect(), connect()]);
    const box = inbox();
    const channel = named('Größe 漢字');
    await subscriber.subscribe(channel, box.push, true);
    const large = bytes(2 << 20);
    for (const message of [anyBytes, '', large, '\r\n$-1\r\n']) assert.equal(await publisher.publish(channel, message), 1);
    const got = await box.wait(4);
    assert.deepEqual(got.map(([message]) => message.length), [256, 0, 2 << 20, 7]);
    assert.ok(got[0][0].equals(anyBytes) && got[2][0].equals(large));
    assert.ok(got.every(([, on]) => on.toString() === channel));
  });

  test(`${name}: 5,000 messages arrive once and in order at two subscribers`, async () => {
    const [publisher, one, two] = await Promise.all([connect(), connect(), connect()]);
    const [first, second] = [inbox(), inbox()];
    await one.subscribe(named('flood'), first.push);
    await two.pSubscribe(named('floo*'), second.push);
    const counts = await Promise.all(range(5000).map((i) => publisher.publish(named('flood'), String(i))));
    assert.ok(counts.every((count) => count === 2));
    for (const box of [first, second]) {
      const got = await box.wait(5000);
      assert.ok(got.every(([message], i) => message === String(i)));
    }
  });

  test(`${name}: a subscriber whose connection is killed is subscribed again`, async () => {
    const publisher = await connect();
    const subscriber = await connect({ socket: { host, port, reconnectStrategy: () => 1 } });
    const id = await subscriber.sendCommand(['CLIENT', 'ID']);
    const [plain, pattern, sharded] = [inbox(), inbox(), inbox()];
    await subscriber.subscribe(named('again'), plain.push);
    await subscriber.pSubscribe(named('again*'), pattern.push);
    await subscriber.sSubscribe(named('again'), sharded.push);
    assert.equal(await publisher.sendCommand(['CLIENT', 'KILL', 'ID', String(id)]), 1);
    await until(async () => (await publisher.publish(named('again'), 'back')) === 2, 'both subscriptions');
    await until(async () => (await publisher.sPublish(named('again'), 'back')) === 1, 'the sharded subscription');
    await Promise.all([plain.wait(1), pattern.wait(1), sharded.wait(1)]);
  });

  if (resp3) {
    test(`${name}: commands on the connection that is subscribed`, async () => {
      const client = await connect();
      const box = inbox();
      await client.subscribe(named('same'), box.push);
      for (const i of range(200)) {
        const [, count, value] = await Promise.all([
          client.set(named('k'), String(i)),
          client.publish(named('same'), String(i)),
          client.get(named('k')),
        ]);
        assert.deepEqual([count, value], [1, String(i)]);
      }
      assert.deepEqual((await box.wait(200)).map(([message]) => message), range(200).map(String));
    });
  }
}
